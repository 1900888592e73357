//! A warm request makes no statement: the wire to the database keeps back every byte, and nobody notices.

use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_testkit::{ScratchDatabase, ScriptedUpstream, TestGateway};

use crate::parity::ways::{Entry, Line, WAYS, Way};
use crate::proxy::Proxy;
use crate::support::{config, generate, listed, post, with};

/// A request that waited for the held wire would take longer than any of its deadlines.
const AT_ONCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 20;

async fn behind_proxy(database: &ScratchDatabase) -> (Proxy, String) {
    let url = database.url();
    let (user, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let address = if address.contains(':') {
        address.to_owned()
    } else {
        format!("{address}:5432")
    };
    let proxy = Proxy::new(&address).await;
    let url = format!("{user}@127.0.0.1:{}/{name}", proxy.port());
    (proxy, url)
}

#[tokio::test]
async fn s05_no_warm_request_of_a_key_waits_for_the_database() {
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let (proxy, url) = behind_proxy(&database).await;
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let text = config(&[("files", &files, ""), ("notes", &notes, "")]);
    let gateway = TestGateway::builder()
        .config(&text)
        .database_url(&url)
        .start()
        .await;
    listed(&gateway, &["files", "notes"]).await;
    // Everybody who could have to be looked up.
    let all = json!({"mcp_servers": ["files", "notes"]});
    let organization = json!({"organization_id": "o", "organization_alias": "o", "object_permission": all});
    post(&gateway, "/organization/new", organization).await;
    let team = json!({"team_id": "t", "organization_id": "o", "object_permission": all});
    post(&gateway, "/team/new", team).await;
    let user =
        json!({"user_id": "u", "auto_create_key": false, "object_permission": {"mcp_servers": ["files"]}});
    post(&gateway, "/user/new", user).await;
    post(
        &gateway,
        "/customer/new",
        json!({"user_id": "e", "object_permission": all}),
    )
    .await;
    let made = generate(
        &gateway,
        json!({"team_id": "t", "user_id": "u", "object_permission": all}),
    )
    .await;
    let http = with(&gateway, made["key"].as_str().unwrap()).with_header("x-litellm-end-user-id", "e");

    let call = |tool: &str| json!({"name": tool, "arguments": {"message": "x"}});
    let mut lines = Vec::new();
    for way in WAYS {
        let mut line = Line::open(way, Entry::Whole, &http, "", "").await;
        let first = line.ask("tools/call", &call("files-echo")).await;
        assert!(first.is_done(), "{way:?}: {first:?}");
        lines.push((way, line));
    }
    proxy.hold(true);
    for round in 0..ROUNDS {
        for (way, line) in &mut lines {
            let began = Instant::now();
            let listed = line.ask("tools/list", &json!({})).await;
            let done = line.ask("tools/call", &call("files-echo")).await;
            let denied = line.ask("tools/call", &call("notes-echo")).await;
            let took = began.elapsed();
            let tools = listed.tools().unwrap_or_default();
            assert_eq!(tools, ["files-echo"], "{way:?} {round}: {listed:?}");
            assert!(
                done.is_done() && !denied.is_done(),
                "{way:?} {round}: {done:?} {denied:?}"
            );
            assert!(took < AT_ONCE, "{way:?} {round}: {took:?}");
        }
    }
    // Nor does who is nobody.
    let began = Instant::now();
    let mut stranger = Line::open(
        Way::Bare,
        Entry::Whole,
        &with(&gateway, "sk-nobody-0123456789"),
        "",
        "",
    )
    .await;
    assert_eq!(stranger.ask("tools/list", &json!({})).await.status, 401);
    assert!(began.elapsed() < AT_ONCE);
    assert_eq!(notes.count("tools/call"), 0);
    proxy.hold(false);
}

/// What breaks out of a text, a comment or a statement, and what makes a database wait.
const HOSTILE: [&str; 12] = [
    "sk-' OR '1'='1",
    "sk-'; DROP TABLE verification_token; --",
    "sk-\\'; SELECT pg_sleep(5); --",
    "sk-'||(SELECT pg_sleep(5))||'",
    "sk-') UNION SELECT NULL,NULL--",
    "sk-$$;SELECT pg_sleep(5);$$",
    "sk-%27%20OR%201%3D1",
    "sk-1/**/OR/**/1=1",
    "sk-x' AND 1=CAST((SELECT version()) AS int)--",
    "$1",
    "sk-%",
    "sk-_",
];

/// Whether a credential is good is known without a statement: the wire to the database keeps back every byte, and each is refused all the
/// same. So nothing in it is ever part of one, and it takes as long as for any other wrong key.
#[tokio::test]
async fn s02_a_wrong_credential_is_refused_without_a_statement_and_within_the_same_time() {
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let (proxy, url) = behind_proxy(&database).await;
    let gateway = TestGateway::builder()
        .database_url(&url)
        .config("{}")
        .start()
        .await;
    let made = generate(&gateway, json!({})).await;
    let good = made["key"].as_str().unwrap().to_owned();
    // So long as good keys are, and of the same beginning.
    let plain = format!("{}{}", &good[..good.len() - 4], "0000");
    let paths = ["/mcp", "/key/info", "/v1/models", "/mcp-rest/tools/list"];
    let headers = [
        "authorization",
        "x-litellm-api-key",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
    ];
    proxy.hold(true);
    let asked = async |key: &str| {
        let mut took = Vec::new();
        for header in headers {
            for path in paths {
                let value = if header == "authorization" {
                    format!("Bearer {key}")
                } else {
                    key.to_owned()
                };
                let http = gateway.anonymous().with_header(header, &value);
                let began = Instant::now();
                let reply = http.get(path).await;
                took.push(began.elapsed());
                assert_eq!(reply.status, 401, "{header} {key:?} {path}: {}", reply.text());
            }
        }
        took
    };
    let (mut usual, mut hostile) = (Vec::new(), Vec::new());
    let long = format!("sk-{}", "a'".repeat(10_000));
    for _ in 0..3 {
        for value in HOSTILE {
            // By turns, so that a busy machine is busy for both.
            usual.extend(asked(&plain).await);
            hostile.extend(asked(value).await);
        }
    }
    let longest = usual.iter().chain(&hostile).max().unwrap();
    assert!(*longest < AT_ONCE, "something waited: {longest:?}");
    let median = |all: &mut Vec<Duration>| {
        all.sort();
        all[all.len() / 2]
    };
    let (usual, hostile) = (median(&mut usual), median(&mut hostile));
    let bound = usual * 2 + Duration::from_millis(2);
    assert!(hostile < bound, "{hostile:?}, and {usual:?} of another wrong key");
    asked(&long).await;
    proxy.hold(false);
    let http = with(&gateway, &good);
    http.get("/key/info").await.expect_status(200);
}
