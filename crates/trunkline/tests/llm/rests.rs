//! Rests of deployments over replicas (ADR 0047): what one finds out the others know, one of all tries who may be back, and one that has a network
//! of its own to blame takes nothing from the others.

use std::time::Duration;

use futures_util::future::join_all;
use trunkline_testkit::{HttpClient, ScratchDatabase, ScriptedProvider, TestGateway, Turn, eventually};

use crate::support::{chat, entry};

const CHAT: &str = "/v1/chat/completions";
/// Longer than it takes to hear of something, on a busy machine, too.
const HEARD: Duration = Duration::from_millis(1_500);

struct Two {
    /// Asked first, and last.
    primary: ScriptedProvider,
    backup: ScriptedProvider,
    gateways: [TestGateway; 2],
    _database: ScratchDatabase,
}

fn config(primary: &str, backup: Option<&str>, rest: u32) -> String {
    let params = |order: u32| format!("      order: {order}\n    model_info:\n      id: number-{order}\n");
    let mut list = entry("m", "openai/gpt-x", primary, "key", &params(1));
    if let Some(backup) = backup {
        list += &entry("m", "openai/gpt-x", backup, "key", &params(2));
    }
    format!("model_list:\n{list}router_settings:\n  cooldown_time: {rest}\n")
}

impl Two {
    /// Two gateways on one database that ask the same two; `None` without PostgreSQL. `second`: the configuration of the second one, if
    /// it is another.
    async fn start(
        alone: bool,
        rest: u32,
        second: impl Fn(&ScriptedProvider, &ScriptedProvider) -> Option<String>,
    ) -> Option<Self> {
        let database = ScratchDatabase::create()?;
        let primary = ScriptedProvider::start("key", &["gpt-x"]).await;
        let backup = ScriptedProvider::start("key", &["gpt-x"]).await;
        let text = config(&primary.url(), (!alone).then(|| backup.url()).as_deref(), rest);
        let other = second(&primary, &backup).unwrap_or_else(|| text.clone());
        // With one master key: what is sealed in the database is both's.
        let builder = TestGateway::builder().database_url(&database.url());
        let start = async |text: &str| builder.clone().config(text).start().await;
        let gateways = [start(&text).await, start(&other).await];
        eventually("each knows the other", Duration::from_secs(20), async || {
            database.sql("SELECT count(*) FROM replica") == "2"
        })
        .await;
        // The parts of limits are those of two from the next sign of life on.
        tokio::time::sleep(Duration::from_secs(4)).await;
        Some(Self {
            primary,
            backup,
            gateways,
            _database: database,
        })
    }

    fn client(&self, number: usize) -> HttpClient {
        self.gateways[number].client()
    }

    async fn ask(&self, number: usize) -> u16 {
        self.client(number).post(CHAT, &chat("m")).await.status.as_u16()
    }

    fn asked(&self) -> usize {
        self.primary.requests().len()
    }
}

fn fails(provider: &ScriptedProvider, times: usize) {
    (0..times).for_each(|_| provider.next(Turn::Answer(500, "{}".to_owned())));
}

#[tokio::test]
async fn demand_36_what_one_replica_finds_down_the_others_do_not_ask() {
    let Some(two) = Two::start(false, 60, |_, _| None).await else {
        return;
    };
    fails(&two.primary, 100);
    assert_eq!(two.ask(0).await, 200);
    assert_eq!(two.asked(), 1);
    tokio::time::sleep(HEARD).await;
    for number in [1, 0, 1, 1, 0, 1] {
        let reply = two.client(number).post(CHAT, &chat("m")).await.expect_status(200);
        assert_eq!(reply.header("x-litellm-attempted-retries"), Some("0"));
    }
    assert_eq!(
        (two.asked(), two.backup.requests().len()),
        (1, 7),
        "nobody pays for it again"
    );
}

#[tokio::test]
async fn demand_36_one_request_of_all_replicas_finds_out_whether_it_is_back() {
    let Some(two) = Two::start(false, 1, |_, _| None).await else {
        return;
    };
    fails(&two.primary, 1);
    assert_eq!(two.ask(0).await, 200);
    // Whoever tries it hears nothing until it gives up.
    two.primary.next(Turn::Silence);
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    let (clients, body) = ([two.client(0), two.client(1)], chat("m"));
    let hasty = [0, 1].map(|number| two.client(number).with_header("x-litellm-timeout", "4"));
    eventually("somebody tries it", Duration::from_secs(20), async || {
        // Those that go on elsewhere are done soon; the one that tries is not.
        for client in hasty.clone() {
            let body = body.clone();
            tokio::spawn(async move { client.post(CHAT, &body).await });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        two.asked() == 2
    })
    .await;
    let others = join_all((0..20).map(|number| {
        let (client, body) = (&clients[number % 2], &body);
        async move { client.post(CHAT, body).await.status.as_u16() }
    }))
    .await;
    assert!(others.iter().all(|status| *status == 200), "{others:?}");
    assert_eq!(two.asked(), 2, "one trial of all");
    eventually("both ask it again", Duration::from_secs(20), async || {
        let before = two.asked();
        let asked = [two.ask(0).await, two.ask(1).await];
        assert_eq!(asked, [200, 200]);
        two.asked() == before + 2
    })
    .await;
}

#[tokio::test]
async fn demand_36_an_only_deployment_breaks_by_the_failures_of_all_replicas() {
    let Some(two) = Two::start(true, 5, |_, _| None).await else {
        return;
    };
    fails(&two.primary, 10);
    // Ten in a row, whoever saw them.
    for number in 0..10 {
        assert_eq!(two.ask(number % 2).await, 500);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    tokio::time::sleep(HEARD).await;
    // Whoever tries it hears nothing for a while.
    two.primary.next(Turn::Silence);
    let body = chat("m");
    let clients = [0, 1].map(|number| two.client(number).with_header("x-litellm-timeout", "3"));
    let all = join_all((0..40).map(|number| {
        let (client, body) = (&clients[number % 2], &body);
        async move { client.post(CHAT, body).await.status.as_u16() }
    }))
    .await;
    assert_eq!(two.asked(), 11, "one trial of all: {all:?}");
    let refused = all.iter().filter(|status| **status == 429).count();
    assert_eq!(refused, 39, "{all:?}");
    // It answers: everybody may ask again.
    eventually("both ask it again", Duration::from_secs(20), async || {
        [two.ask(0).await, two.ask(1).await] == [200, 200]
    })
    .await;
}

#[tokio::test]
async fn demand_36_a_replica_that_alone_cannot_reach_a_deployment_takes_it_from_nobody() {
    // The second one's way to the first deployment leads nowhere.
    let nowhere = "http://127.0.0.1:9/v1";
    let other =
        |_: &ScriptedProvider, backup: &ScriptedProvider| Some(config(nowhere, Some(&backup.url()), 1));
    let Some(two) = Two::start(false, 1, other).await else {
        return;
    };
    assert_eq!((two.ask(0).await, two.asked()), (200, 1));
    assert_eq!(two.ask(1).await, 200, "by the other deployment");
    tokio::time::sleep(HEARD).await;
    // It is believed once, and then the first one finds that it answers.
    eventually(
        "the first one asks it again",
        Duration::from_secs(20),
        async || {
            let before = two.asked();
            assert_eq!(two.ask(0).await, 200);
            two.asked() > before
        },
    )
    .await;
    for _ in 0..8 {
        // The second one finds it down again and again, and says so.
        assert_eq!(two.ask(1).await, 200);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = two.asked();
        assert_eq!(two.ask(0).await, 200);
        assert_eq!(two.asked(), before + 1, "nobody else believes it");
    }
}
