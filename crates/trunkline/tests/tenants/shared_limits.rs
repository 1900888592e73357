//! Limits across replicas: several gateways on one PostgreSQL database let through together what the limit says, and no more,
//! whichever of them is asked; also when one is killed, started again, or the database is away.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use trunkline_testkit::{
    HttpClient, Replicas, ScratchDatabase, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall, eventually,
};

use crate::proxy::Proxy;
use crate::support::{PATIENCE, Way, config, generate, listed, post, with};
use crate::world::secret;

/// Long enough that all who are asked at once come while the first ones run, on a busy machine, too.
const SLOW: (u32, Duration) = (20, Duration::from_millis(100));

async fn upstream() -> ScriptedUpstream {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let slow = |call: &ToolCall| ToolAnswer::progress(call, SLOW.0, SLOW.1);
    ScriptedUpstream::builder()
        .tool_fn(&tool("read"), |_: &ToolCall| ToolAnswer::text("done"))
        .tool_fn(&tool("slow"), slow)
        .start()
        .await
}

struct Shared {
    replicas: Replicas,
    upstreams: [ScriptedUpstream; 3],
}

impl Shared {
    /// Three replicas with the servers `files`, `notes`, and `few`, which has a limit of its own; `None` without PostgreSQL.
    async fn start() -> Option<Self> {
        let upstreams = [upstream().await, upstream().await, upstream().await];
        let [files, notes, few] = &upstreams;
        let text = config(&[
            ("files", files, ""),
            ("notes", notes, ""),
            ("few", few, "    rpm: 14\n"),
        ]);
        let replicas = Replicas::start(TestGateway::builder().config(&text), 3).await?;
        for gateway in &replicas.gateways {
            listed(gateway, &["files", "notes", "few"]).await;
        }
        Some(Self { replicas, upstreams })
    }

    fn gateways(&self) -> &[TestGateway] {
        &self.replicas.gateways
    }

    fn sent(&self) -> usize {
        self.upstreams.iter().map(|own| own.count("tools/call")).sum()
    }

    /// A key that may use everything and has these members, too; every replica knows it.
    async fn key(&self, members: Value) -> String {
        let made = secret(&generate(&self.gateways()[0], with_all(members)).await);
        for gateway in self.gateways() {
            known(gateway, &made).await;
        }
        made
    }

    async fn make(&self, path: &str, body: Value) {
        post(&self.gateways()[0], path, body).await;
    }

    /// So many calls at once, one after the other to another replica; those that were let through, and what the others were told.
    async fn hammer(&self, of: &Of, count: usize) -> (usize, Vec<Value>) {
        let before = self.sent();
        let calls = (0..count).map(|number| {
            let key = &of.keys[number % of.keys.len()];
            let http = of.client(&self.gateways()[number % self.gateways().len()], key);
            async move { called(&http, of.tool).await }
        });
        let (done, refused) = sorted(join_all(calls).await);
        assert_eq!(
            self.sent() - before,
            done,
            "{}: nothing is sent of what is refused",
            of.what
        );
        (done, refused)
    }
}

/// Somebody with a limit.
struct Of {
    what: &'static str,
    keys: Vec<String>,
    end_user: Option<&'static str>,
    tool: &'static str,
    /// The limit, and what it is called.
    max: usize,
    limit: &'static str,
}

impl Of {
    fn client(&self, gateway: &TestGateway, key: &str) -> HttpClient {
        let http = with(gateway, key);
        match self.end_user {
            Some(id) => http.with_header("x-litellm-end-user-id", id),
            None => http,
        }
    }
}

fn with_all(mut members: Value) -> Value {
    members["object_permission"] = json!({"mcp_servers": ["files", "notes", "few"]});
    members
}

async fn known(gateway: &TestGateway, key: &str) {
    eventually("the replica knows the key", PATIENCE, async || {
        Way::Bare.tools(&with(gateway, key), None).await.is_ok()
    })
    .await;
}

/// What the call was refused with.
async fn called(http: &HttpClient, tool: &str) -> Result<(), Value> {
    let params = json!({"name": tool, "arguments": {}});
    let (status, said) = Way::Bare.ask(http, None, "tools/call", &params).await;
    if said.get("result").is_some() {
        return Ok(());
    }
    assert_eq!(status, 429, "{said}");
    Err(said["error"]["data"].clone())
}

fn sorted(results: Vec<Result<(), Value>>) -> (usize, Vec<Value>) {
    let count = results.len();
    let refused: Vec<Value> = results.into_iter().filter_map(Result::err).collect();
    (count - refused.len(), refused)
}

/// Everybody who may have a limit, with a limit of `member` of its own and nobody else's; `max` and more for each.
async fn everybody(shared: &Shared, member: &'static str, tool: &'static str, max: usize) -> Vec<Of> {
    let limit = |max: usize| json!({member: max});
    let mut all = Vec::new();
    let mut add = |what, keys, end_user, max| {
        all.push(Of {
            what,
            keys,
            end_user,
            tool,
            max,
            limit: member,
        });
    };
    add("key", vec![shared.key(limit(max)).await], None, max);
    shared
        .make("/team/new", with_all(json!({"team_id": "t", member: max + 1})))
        .await;
    let of_team = json!({"team_id": "t"});
    let keys = vec![shared.key(of_team.clone()).await, shared.key(of_team).await];
    add("team", keys, None, max + 1);
    let user = json!({"user_id": "u", "auto_create_key": false, member: max + 2});
    shared.make("/user/new", with_all(user)).await;
    let of_user = json!({"user_id": "u"});
    let keys = vec![shared.key(of_user.clone()).await, shared.key(of_user).await];
    add("user", keys, None, max + 2);
    for (number, id) in ["bk", "bo", "be"].into_iter().enumerate() {
        let budget = json!({"budget_id": id, member: max + 3 + number});
        shared.make("/budget/new", budget).await;
    }
    let of_budget = shared.key(json!({"budget_id": "bk"})).await;
    add("budget of a key", vec![of_budget], None, max + 3);
    let organization =
        with_all(json!({"organization_id": "o", "organization_alias": "o", "budget_id": "bo"}));
    shared.make("/organization/new", organization).await;
    let team = with_all(json!({"team_id": "to", "organization_id": "o"}));
    shared.make("/team/new", team).await;
    let of_organization = json!({"team_id": "to"});
    let keys = vec![
        shared.key(of_organization.clone()).await,
        shared.key(of_organization).await,
    ];
    add("budget of an organization", keys, None, max + 4);
    shared
        .make(
            "/customer/new",
            with_all(json!({"user_id": "e", "budget_id": "be"})),
        )
        .await;
    let keys = vec![shared.key(json!({})).await, shared.key(json!({})).await];
    add("budget of an end user", keys, Some("e"), max + 5);
    all
}

/// The test's own patience: a minute begins with the first call, and what is looked at must be over before its end.
fn is_within_a_minute(began: Instant, what: &str) {
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(55),
        "{what}: too slow to say anything: {took:?}"
    );
}

#[tokio::test]
async fn calls_in_a_minute_are_as_many_as_the_limit_on_all_replicas_together() {
    let Some(mut shared) = Shared::start().await else {
        return;
    };
    let mut all = everybody(&shared, "rpm_limit", "files-read", 20).await;
    let any = vec![shared.key(json!({})).await, shared.key(json!({})).await];
    let per_server = shared.key(json!({"mcp_rpm_limit": {"Notes": 13}})).await;
    let team = json!({"team_id": "ts", "mcp_rpm_limit": {"files": 9}});
    shared.make("/team/new", with_all(team)).await;
    let of_team = json!({"team_id": "ts"});
    let of_team = vec![shared.key(of_team.clone()).await, shared.key(of_team).await];
    for (what, keys, tool, max, limit) in [
        (
            "key, one server",
            vec![per_server],
            "notes-read",
            13,
            "mcp_rpm_limit",
        ),
        ("team, one server", of_team, "files-read", 9, "mcp_rpm_limit"),
        ("server", any, "few-read", 14, "rpm"),
    ] {
        all.push(Of {
            what,
            keys,
            end_user: None,
            tool,
            max,
            limit,
        });
    }
    let began = Instant::now();
    for of in &all {
        let (mut done, refused) = shared.hammer(of, 3 * of.max).await;
        for refused in &refused {
            assert_eq!(
                (&refused["limit"], refused["max"].as_u64()),
                (&json!(of.limit), u64::try_from(of.max).ok()),
                "{}: {refused}",
                of.what
            );
            let wait = refused["retry_after_s"].as_u64().unwrap();
            assert!((1..=60).contains(&wait), "{}: {refused}", of.what);
        }
        // What one replica has in advance and does not need is another's in a moment.
        eventually(of.what, Duration::from_secs(10), async || {
            done += shared.hammer(of, 6).await.0;
            done >= of.max
        })
        .await;
        assert_eq!(done, of.max, "{}", of.what);
    }
    is_within_a_minute(began, "all");
    // Nor does a new process begin a new minute.
    let began = Instant::now();
    let of = &all[0];
    let fresh = Of {
        what: "a key after a restart",
        keys: vec![shared.key(json!({"rpm_limit": 5})).await],
        ..Of {
            what: "",
            keys: Vec::new(),
            ..*of
        }
    };
    let (mut done, _) = shared.hammer(&fresh, 15).await;
    shared.replicas.gateways[2].kill9().await;
    shared.replicas.gateways[2].restart().await;
    listed(&shared.gateways()[2], &["files"]).await;
    done += shared.hammer(&fresh, 15).await.0;
    assert!(done <= 5, "{done}");
    is_within_a_minute(began, "a restart");
}

#[tokio::test]
async fn one_replica_with_all_calls_has_the_whole_limit() {
    let Some(shared) = Shared::start().await else {
        return;
    };
    let key = shared
        .key(json!({"rpm_limit": 30, "max_parallel_requests": 4}))
        .await;
    let (one, other) = (
        with(&shared.gateways()[0], &key),
        with(&shared.gateways()[1], &key),
    );
    let began = Instant::now();
    let mut done = 0;
    for _ in 0..35 {
        done += usize::from(called(&one, "files-read").await.is_ok());
    }
    assert_eq!(done, 30);
    let refused = called(&other, "files-read").await.unwrap_err();
    assert_eq!(refused["limit"], "rpm_limit");
    is_within_a_minute(began, "one replica");
    // Another one was asked a moment ago.
    let key = shared.key(json!({"max_parallel_requests": 4})).await;
    let (one, other) = (
        with(&shared.gateways()[0], &key),
        with(&shared.gateways()[1], &key),
    );
    assert_eq!(called(&other, "files-read").await, Ok(()));
    eventually("the place is given back", PATIENCE, async || {
        let all = (0..4).map(|_| called(&one, "files-slow"));
        join_all(all).await.iter().all(Result::is_ok)
    })
    .await;
}

#[tokio::test]
async fn calls_at_the_same_time_are_as_many_as_the_limit_on_all_replicas_together() {
    let Some(shared) = Shared::start().await else {
        return;
    };
    for of in &everybody(&shared, "max_parallel_requests", "files-slow", 2).await {
        for round in 0..2 {
            let began = Instant::now();
            let (done, refused) = shared.hammer(of, 4 * of.max).await;
            // One that began when another had ended needs two of them, one after the other.
            if began.elapsed() < 3 * SLOW.0 * SLOW.1 / 2 {
                assert_eq!(done, of.max, "{} {round}: {refused:?}", of.what);
            }
            assert!(
                refused.iter().all(|refused| refused["limit"] == of.limit),
                "{} {round}: {refused:?}",
                of.what
            );
        }
    }
    let most = shared.upstreams[0].max_in_flight();
    assert!(most <= 2 + 5, "the greatest of the limits, and not more: {most}");
}

#[tokio::test]
async fn places_of_a_replica_that_was_killed_come_back() {
    let Some(mut shared) = Shared::start().await else {
        return;
    };
    let key = shared.key(json!({"max_parallel_requests": 2})).await;
    let clients: Vec<HttpClient> = shared.gateways().iter().map(|own| with(own, &key)).collect();
    let running: Vec<_> = (0..2)
        .map(|_| {
            let http = clients[0].clone();
            tokio::spawn(async move {
                let params = json!({"name": "files-slow", "arguments": {}});
                Way::Bare.ask(&http, None, "tools/call", &params).await
            })
        })
        .collect();
    eventually("both are under way", PATIENCE, async || {
        shared.upstreams[0].count("tools/call") == 2
    })
    .await;
    for http in &clients[1..] {
        assert_eq!(
            called(http, "files-read").await.unwrap_err()["limit"],
            "max_parallel_requests"
        );
    }
    shared.replicas.gateways[0].kill9().await;
    for running in running {
        running.abort();
    }
    let refused = called(&clients[1], "files-read").await.unwrap_err();
    assert_eq!(
        refused["limit"], "max_parallel_requests",
        "nobody knows yet that it is gone"
    );
    let began = Instant::now();
    eventually("its places are free", Duration::from_secs(40), async || {
        called(&clients[1], "files-read").await.is_ok()
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

/// Gateways on one database, each behind a wire of its own.
async fn behind_wires(text: &str) -> Option<(ScratchDatabase, Vec<(Proxy, TestGateway)>)> {
    let database = ScratchDatabase::create()?;
    let url = database.url();
    let (user, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let address = if address.contains(':') {
        address.to_owned()
    } else {
        format!("{address}:5432")
    };
    // With the same root secret: others would not take them for replicas.
    let builder = TestGateway::builder().config(text);
    let mut gateways = Vec::new();
    for _ in 0..2 {
        let proxy = Proxy::new(&address).await;
        let url = format!("{user}@127.0.0.1:{}/{name}", proxy.port());
        let builder = builder.clone().database_url(&url);
        gateways.push((proxy, builder.start().await));
    }
    for (_, gateway) in &gateways {
        eventually("each knows the other", PATIENCE, async || {
            gateway.log().contains("replicas that share the database")
        })
        .await;
    }
    Some((database, gateways))
}

/// A key that may use `files` and has these members, too.
async fn of_files(gateway: &TestGateway, mut members: Value) -> String {
    members["object_permission"] = json!({"mcp_servers": ["files"]});
    secret(&generate(gateway, members).await)
}

async fn each(gateways: &[(Proxy, TestGateway)], key: &str, count: usize) -> Vec<usize> {
    let mut done = Vec::new();
    for (_, gateway) in gateways {
        let http = with(gateway, key);
        let calls = (0..count).map(|_| called(&http, "files-read"));
        done.push(sorted(join_all(calls).await).0);
    }
    done
}

#[tokio::test]
async fn b34_without_the_database_each_replica_has_its_part_of_a_limit() {
    let files = upstream().await;
    let text = config(&[("files", &files, "")]);
    let Some((_database, mut gateways)) = behind_wires(&text).await else {
        return;
    };
    let used_up = of_files(&gateways[0].1, json!({"rpm_limit": 6})).await;
    let unused = of_files(&gateways[0].1, json!({"rpm_limit": 7})).await;
    let single = of_files(&gateways[0].1, json!({"rpm_limit": 1})).await;
    let parallel = of_files(&gateways[0].1, json!({"max_parallel_requests": 3})).await;
    let none = of_files(
        &gateways[0].1,
        json!({"rpm_limit": 0, "max_parallel_requests": 0}),
    )
    .await;
    for (_, gateway) in &gateways {
        listed(gateway, &["files"]).await;
        for key in [&used_up, &unused, &single, &parallel, &none] {
            known(gateway, key).await;
        }
    }
    // Everything is taken, and both know it.
    let before: usize = each(&gateways, &used_up, 12).await.iter().sum();
    assert!(before <= 6, "{before}");
    for (proxy, _) in &mut gateways {
        proxy.cut().await;
    }
    let began = Instant::now();
    let unused_done = each(&gateways, &unused, 12).await;
    assert_eq!(unused_done.iter().sum::<usize>(), 7, "{unused_done:?}");
    assert!(unused_done.iter().all(|done| *done >= 3), "{unused_done:?}");
    assert_eq!(each(&gateways, &single, 4).await.iter().sum::<usize>(), 1);
    assert_eq!(each(&gateways, &none, 2).await, [0, 0]);
    let used = before + each(&gateways, &used_up, 12).await.iter().sum::<usize>();
    assert!(used <= 6, "{used}: what was used up stays so");
    let mut most = Vec::new();
    for (_, gateway) in &gateways {
        let http = with(gateway, &parallel);
        let calls = (0..6).map(|_| called(&http, "files-slow"));
        most.push(sorted(join_all(calls).await).0);
    }
    most.sort_unstable();
    assert_eq!(most, [1, 2], "parts of three");
    is_within_a_minute(began, "without the database");
    for (proxy, gateway) in &mut gateways {
        proxy.mend().await;
        let log = async || {
            gateway
                .log()
                .contains("limits are shared with the other replicas again")
        };
        eventually("limits are shared again", PATIENCE, log).await;
        assert!(
            gateway.log().contains("each lets through its part of them"),
            "it is said"
        );
    }
    // What was let through meanwhile is counted.
    eventually("it is paid", Duration::from_secs(10), async || {
        each(&gateways, &unused, 3).await == [0, 0]
    })
    .await;
    let fresh = of_files(&gateways[0].1, json!({"rpm_limit": 4})).await;
    known(&gateways[1].1, &fresh).await;
    let both = async |count: usize| each(&gateways, &fresh, count).await.iter().sum::<usize>();
    let mut done = both(8).await;
    eventually("the whole limit", Duration::from_secs(10), async || {
        done += both(1).await;
        done >= 4
    })
    .await;
    assert_eq!(done, 4);
}

/// A wire that is held keeps back every byte: who waited for the database would wait for its deadline.
#[tokio::test]
async fn b34_a_held_database_delays_a_limited_call_by_a_second_once() {
    let files = upstream().await;
    let text = config(&[("files", &files, "")]);
    let Some((_database, gateways)) = behind_wires(&text).await else {
        return;
    };
    let (proxy, gateway) = &gateways[0];
    listed(gateway, &["files"]).await;
    let body = json!({"rpm_limit": 100_000, "max_parallel_requests": 1000, "object_permission": {"mcp_servers": ["files"]}});
    let warm = secret(&generate(gateway, body.clone()).await);
    let cold = secret(&generate(gateway, body).await);
    let http = with(gateway, &warm);
    for _ in 0..20 {
        assert_eq!(called(&http, "files-read").await, Ok(()));
    }
    // What was asked for beside those calls has come.
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.hold(true);
    let began = Instant::now();
    assert_eq!(called(&http, "files-read").await, Ok(()));
    let took = began.elapsed();
    assert!(
        took < Duration::from_millis(350),
        "no statement on its path: {took:?}"
    );
    for key in [&warm, &cold] {
        let http = with(gateway, key);
        let began = Instant::now();
        for _ in 0..30 {
            assert_eq!(called(&http, "files-read").await, Ok(()));
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    proxy.hold(false);
}
