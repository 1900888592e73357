//! What stays open belongs to a key: it ends with it, and hears of what changes for it and of nothing else.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{
    EventStream, McpClient, ScriptedUpstream, SseClient, TestGateway, ToolAnswer, ToolCall,
};

use crate::support::{MODERN, PATIENCE, config, generate, key, listed, post, set, with};

/// From the answer to the change to its effect.
const SOON: Duration = Duration::from_secs(1);

async fn gateway(upstreams: [&ScriptedUpstream; 2]) -> TestGateway {
    let gateway = TestGateway::start(&config(&[
        ("files", upstreams[0], ""),
        ("notes", upstreams[1], ""),
    ]))
    .await;
    listed(&gateway, &["files", "notes"]).await;
    gateway
}

/// A session with its standing stream.
async fn standing(gateway: &TestGateway, key: &str) -> (McpClient, EventStream) {
    let mut client = McpClient::over(with(gateway, key), "/mcp");
    client.initialize().await;
    let stream = client.get_stream().await;
    assert_eq!(stream.status(), 200);
    (client, stream)
}

/// `subscriptions/listen` of the new era.
async fn subscription(gateway: &TestGateway, key: &str) -> EventStream {
    let http = with(gateway, key)
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", "subscriptions/listen");
    let params = json!({
        "notifications": {"toolsListChanged": true},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let mut stream = McpClient::over(http, "/mcp")
        .open("subscriptions/listen", &params)
        .await;
    let first = stream.expect_next(PATIENCE).await;
    assert_eq!(
        first["method"], "notifications/subscriptions/acknowledged",
        "{first}"
    );
    stream
}

/// Reads a stream to its end, and when that was.
async fn end_of(stream: EventStream) -> Instant {
    let rest = tokio::time::timeout(PATIENCE, stream.rest()).await;
    let (_, broken) = rest.expect("the stream ends");
    assert!(broken.is_none(), "in order: {broken:?}");
    Instant::now()
}

async fn end_of_sse(mut client: SseClient) -> Instant {
    let read = async { while client.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the stream ends");
    Instant::now()
}

/// All kinds of streams of a key end within a second of `revoke`, those of others and of the administrator do not.
async fn all_end_within_a_second(
    what: &str,
    lifetime: Option<&str>,
    revoke: impl AsyncFnOnce(&TestGateway, &str),
) {
    let slow = |call: &ToolCall| ToolAnswer::progress(call, 200, Duration::from_millis(100));
    let tool = json!({"name": "slow", "inputSchema": {"type": "object"}});
    let files = ScriptedUpstream::builder().tool_fn(&tool, slow).start().await;
    let notes = ScriptedUpstream::start().await;
    let gateway = gateway([&files, &notes]).await;
    let grant = json!({"mcp_servers": ["files"]});
    let other = key(&gateway, grant.clone()).await;
    let made = generate(
        &gateway,
        json!({"object_permission": grant, "duration": lifetime}),
    )
    .await;
    let until = Instant::now() + Duration::from_secs(3);
    let mine = made["key"].as_str().unwrap();
    let (mut client, stream) = standing(&gateway, mine).await;
    let listen = subscription(&gateway, mine).await;
    let sse = SseClient::try_open(&with(&gateway, mine), "/sse")
        .await
        .ok()
        .unwrap();
    let answer = client.call_stream("files-slow", &json!({}), Some("t")).await;
    let (_, mut others) = standing(&gateway, &other).await;
    let (_, mut masters) = standing(&gateway, gateway.master_key()).await;

    if lifetime.is_some() {
        tokio::time::sleep_until(until.into()).await;
    } else {
        revoke(&gateway, mine).await;
    }
    let began = Instant::now();
    let ends = tokio::join!(end_of(stream), end_of(listen), end_of_sse(sse), end_of(answer));
    for (kind, ended) in [
        ("GET", ends.0),
        ("listen", ends.1),
        ("SSE", ends.2),
        ("call", ends.3),
    ] {
        let after = ended.saturating_duration_since(began);
        assert!(after < SOON, "{what}: {kind} ended after {after:?}");
    }
    let (status, _) = crate::support::Way::Bare
        .ask(&with(&gateway, mine), None, "tools/list", &json!({}))
        .await;
    assert_eq!(status, 401, "{what}");
    for stream in [&mut others, &mut masters] {
        let quiet = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
        assert!(quiet.is_err(), "{what}: {quiet:?}");
    }
}

#[tokio::test]
async fn s21_b28_a_deleted_keys_streams_end_within_a_second() {
    all_end_within_a_second("deleted", None, async |gateway, key| {
        post(gateway, "/key/delete", json!({"keys": [key]})).await;
    })
    .await;
}

#[tokio::test]
async fn s21_b28_a_blocked_keys_streams_end_within_a_second() {
    all_end_within_a_second("blocked", None, async |gateway, key| {
        post(gateway, "/key/block", json!({"key": key})).await;
    })
    .await;
}

#[tokio::test]
async fn s21_b28_a_regenerated_keys_streams_end_within_a_second() {
    all_end_within_a_second("regenerated", None, async |gateway, key| {
        post(gateway, "/key/regenerate", json!({"key": key})).await;
    })
    .await;
}

#[tokio::test]
async fn s21_b28_an_expired_keys_streams_end_within_a_second() {
    all_end_within_a_second("expired", Some("3s"), async |_, _| {}).await;
}

#[tokio::test]
async fn b28_a_changed_grant_is_told_within_a_second_to_the_sessions_that_see_it_and_to_no_others() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = gateway([&files, &notes]).await;
    let (mine, other) = (
        key(&gateway, json!({"mcp_servers": ["files"]})).await,
        key(&gateway, json!({"mcp_servers": ["files"]})).await,
    );
    let (mut client, mut stream) = standing(&gateway, &mine).await;
    let mut listen = subscription(&gateway, &mine).await;
    let (_, mut others) = standing(&gateway, &other).await;
    assert_eq!(client.tool_names().await, ["files-echo"]);
    for (servers, tools) in [
        (json!(["files", "notes"]), vec!["files-echo", "notes-echo"]),
        (json!(["notes"]), vec!["notes-echo"]),
        (json!([]), vec![]),
    ] {
        post(
            &gateway,
            "/key/update",
            json!({"key": mine, "object_permission": {"mcp_servers": servers}}),
        )
        .await;
        // The very next request of the same session.
        assert_eq!(client.tool_names().await, tools);
        for stream in [&mut stream, &mut listen] {
            let told = stream.expect_next(SOON).await;
            assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
        }
    }
    let quiet = tokio::time::timeout(Duration::from_millis(500), others.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // What a server says goes to those who may still use it.
    let reply = client.call("files-echo", &json!({"message": "hi"}), None).await;
    assert!(
        reply.everything().contains("Unknown tool"),
        "{}",
        reply.everything()
    );
    assert_eq!(files.count("tools/call"), 0);
}

/// What was let through goes on to its end, as nobody can say what a server has done of it; what comes after it is refused.
#[tokio::test]
async fn b28_a_call_under_way_ends_when_its_grant_is_taken_away_and_no_other_begins() {
    let slow = |call: &ToolCall| ToolAnswer::progress(call, 20, Duration::from_millis(100));
    let tool = json!({"name": "slow", "inputSchema": {"type": "object"}});
    let files = ScriptedUpstream::builder().tool_fn(&tool, slow).start().await;
    let notes = ScriptedUpstream::start().await;
    let gateway = gateway([&files, &notes]).await;
    let mine = key(&gateway, json!({"mcp_servers": ["files", "notes"]})).await;
    let (mut client, mut stream) = standing(&gateway, &mine).await;
    let mut answer = client.call_stream("files-slow", &json!({}), Some("t")).await;
    answer.expect_next(PATIENCE).await;
    let less = json!({"key": mine, "object_permission": {"mcp_servers": ["notes"]}});
    post(&gateway, "/key/update", less).await;
    // The session goes on, with less.
    let told = stream.expect_next(SOON).await;
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    let refused = client.call("files-slow", &json!({}), None).await.everything();
    assert!(refused.contains("Unknown tool"), "{refused}");
    assert_eq!(client.tool_names().await, ["notes-echo"]);
    let (events, broken) = tokio::time::timeout(PATIENCE, answer.rest())
        .await
        .expect("it ends");
    assert!(broken.is_none(), "in order: {broken:?}");
    let last = events.last().unwrap().message.to_string();
    assert!(last.contains("\"result\""), "{last}");
    assert_eq!(files.count("tools/call"), 1);
}

#[tokio::test]
async fn s21_a_session_of_one_key_is_useless_with_another() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = gateway([&files, &notes]).await;
    let grant = json!({"mcp_servers": ["files"]});
    let (one, two) = (key(&gateway, grant.clone()).await, key(&gateway, grant).await);
    let mut owner = McpClient::over(with(&gateway, &one), "/mcp");
    owner.initialize().await;
    let session = owner.session().unwrap().to_owned();
    for thief in [two.as_str(), gateway.master_key()] {
        let mut stolen = McpClient::over(with(&gateway, thief), "/mcp");
        stolen.set_session(Some(&session));
        let reply = stolen.request("tools/list", &Value::Null).await;
        assert_eq!(reply.status, 404, "{}", reply.everything());
        assert_eq!(stolen.get_stream().await.status(), 404);
        assert_eq!(stolen.delete().await.status, 404);
    }
    // It is still its owner's, whatever was tried.
    assert_eq!(owner.tool_names().await, ["files-echo"]);
    // A new secret of the same key is another principal.
    let new = post(&gateway, "/key/regenerate", json!({"key": one})).await;
    let mut after = McpClient::over(with(&gateway, new["key"].as_str().unwrap()), "/mcp");
    after.set_session(Some(&session));
    assert_eq!(after.request("tools/list", &Value::Null).await.status, 404);
    after.initialize().await;
    assert_eq!(
        after
            .tool_names()
            .await
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>(),
        set(&["files-echo"])
    );
}
