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
