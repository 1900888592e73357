//! Fifty servers, good and bad.

use std::time::Duration;

use serde_json::Value;
use trunkline_testkit::{Act, Cursors, ScriptedUpstream, TestGateway, eventually};

use crate::support::{Config, PATIENCE, assert_calm, message, names, outcome, said, stored};

struct Fleet {
    servers: Vec<(String, ScriptedUpstream)>,
}

impl Fleet {
    /// 34 good ones of ten tools, one of 437 in pages, 5 that refuse, 5 that hang, 5 that answer garbage.
    async fn start() -> Self {
        let mut servers = Vec::new();
        for number in 0..50 {
            let (kind, upstream) = match number {
                0..34 => ("good", ScriptedUpstream::builder().tools("t", 10).start().await),
                34 => {
                    let big = ScriptedUpstream::builder().tools("t", 437).page_size(100);
                    ("big", big.cursors(Cursors::RepeatedOnce(1)).start().await)
                }
                35..40 => ("refuses", ScriptedUpstream::refusing().await),
                40..45 => ("hangs", ScriptedUpstream::hanging().await),
                _ => (
                    "garbage",
                    ScriptedUpstream::builder().on("*", garbage(number)).start().await,
                ),
            };
            servers.push((format!("{kind}{number}"), upstream));
        }
        Self { servers }
    }

    fn config(&self) -> Config {
        let servers = self.servers.iter();
        servers.fold(Config::default(), |config, (name, upstream)| {
            config.server(name, upstream, "")
        })
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &(String, ScriptedUpstream)> {
        self.servers
            .iter()
            .filter(move |(name, _)| name.starts_with(kind))
    }

    /// Every tool that can be there is there once, and every absence has its reason.
    fn check(&self, list: &Value) {
        let tools = names(list);
        let distinct: std::collections::HashSet<_> = tools.iter().collect();
        assert_eq!((tools.len(), distinct.len()), (34 * 10 + 437, 34 * 10 + 437));
        for (name, _) in &self.servers {
            let outcome = outcome(list, name);
            let expected: &[&str] = match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
                "good" | "big" => &["ok"],
                "refuses" => &["unreachable"],
                "hangs" => &["timeout"],
                _ => &["protocol_error", "unreachable"],
            };
            let status = outcome["status"]
                .as_str()
                .unwrap_or_else(|| panic!("nothing about {name}: {list}"));
            assert!(expected.contains(&status), "{name}: {outcome}");
            if status != "ok" {
                for part in ["step", "message", "at"] {
                    assert!(
                        outcome[part].as_str().is_some_and(|text| !text.is_empty()),
                        "{part}: {outcome}"
                    );
                }
                assert!(outcome["hint"].is_string(), "{name}: {outcome}");
            }
        }
    }
}

/// Five kinds of it.
fn garbage(number: usize) -> Act {
    match number % 5 {
        0 => Act::html(),
        1 => Act::not_json(),
        2 => Act::Truncate(20),
        3 => Act::Result("[]".to_owned()),
        _ => Act::Http {
            status: 200,
            headers: vec![("content-type".into(), "application/json".into())],
            body: vec![0xff; 1000].into(),
        },
    }
}

async fn list(gateway: &TestGateway) -> (Value, Duration) {
    let reply = gateway.mcp().request("tools/list", &Value::Null).await;
    (reply.result(), reply.elapsed)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_servers_are_listed_within_the_deadline_and_every_absence_is_explained() {
    let fleet = Fleet::start().await;
    let mut gateway = fleet.config().start().await;
    // Cold: the deadline of the fan-out is two seconds, and nothing but waiting for those that hang takes that long.
    let (cold, took) = list(&gateway).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    fleet.check(&cold);

    // Warm: from memory, without asking anybody.
    eventually("all is stored", PATIENCE, async || stored(&gateway).await == 35).await;
    for (_, upstream) in fleet.of("good").chain(fleet.of("big")) {
        upstream.clear();
    }
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let (warm, took) = list(&gateway).await;
        fleet.check(&warm);
        fastest = fastest.min(took);
    }
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
    let asked: usize = fleet
        .of("good")
        .chain(fleet.of("big"))
        .map(|(_, upstream)| upstream.requests().len())
        .sum();
    assert_eq!(asked, 0, "a warm list asks nobody");
    assert_eq!(
        said(&gateway.mcp().call("big34-t_436", &message("last"), None).await),
        "last"
    );

    // Killed, and started while all hang: the first list is the stored one.
    gateway.kill9().await;
    for (_, upstream) in fleet.of("good").chain(fleet.of("big")) {
        upstream.on("*", Act::Hang);
    }
    gateway.restart().await;
    let (stored, took) = list(&gateway).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(names(&stored), names(&cold));
    for (name, _) in fleet.of("good").chain(fleet.of("big")) {
        assert_eq!(outcome(&stored, name)["stale"], true, "{name}");
    }
    for (name, _) in fleet
        .of("refuses")
        .chain(fleet.of("hangs"))
        .chain(fleet.of("garbage"))
    {
        assert!(outcome(&stored, name)["message"].is_string(), "{name}");
    }
    assert_calm(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_servers_that_come_back_are_found_again() {
    let fleet = Fleet::start().await;
    let gateway = fleet.config().start().await;
    fleet.check(&list(&gateway).await.0);
    for (_, upstream) in fleet.of("refuses").chain(fleet.of("garbage")) {
        upstream.behave();
        upstream.reopen(trunkline_testkit::Socket::Serve).await;
    }
    eventually("the ten are there", PATIENCE, async || {
        names(&list(&gateway).await.0).len() == 34 * 10 + 437 + 10
    })
    .await;
    assert_calm(&gateway);
}
