//! What is translated between the eras beside calls: subscriptions to resources, and questions that cannot be read.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, EventStream, McpClient, ScriptedUpstream, Sessions, Socket, TestGateway, ToolAnswer, eventually,
};

use crate::support::{Config, PATIENCE, assert_calm, gateway_of, tool};

const MODERN: &str = "2026-07-28";

/// A server that speaks the new era only, with resources.
async fn library() -> (TestGateway, ScriptedUpstream) {
    let found = json!({
        "resultType": "complete",
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}, "resources": {"subscribe": true}},
        "ttlMs": 0,
        "cacheScope": "private",
    });
    let upstream = ScriptedUpstream::builder()
        .sessions(Sessions::Off)
        .revisions(&[MODERN])
        .on("server/discover", Act::Result(found.to_string()))
        .on("subscriptions/listen", Act::Listen)
        .start()
        .await;
    let gateway = Config::default()
        .server("files", &upstream, &format!("protocol_version: \"{MODERN}\""))
        .start()
        .await;
    assert_eq!(gateway.mcp_at("/files/mcp").tool_names().await, ["files-echo"]);
    (gateway, upstream)
}

async fn client(gateway: &TestGateway) -> (McpClient, EventStream) {
    let mut client = gateway.mcp_at("/files/mcp").with_protocol("2025-11-25");
    client.initialize().await;
    let stream = client.get_stream().await;
    (client, stream)
}

fn uri(uri: &str) -> Value {
    json!({"uri": uri})
}

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
}

/// The URIs of each `subscriptions/listen` so far.
fn listened(upstream: &ScriptedUpstream) -> Vec<Value> {
    let asked = upstream.requests().into_iter();
    asked
        .filter(|request| request.is("subscriptions/listen"))
        .map(|request| request.json()["params"]["notifications"]["resourceSubscriptions"].clone())
        .collect()
}

#[tokio::test]
async fn b61_a_client_with_a_hand_shake_hears_of_resources_of_a_server_without() {
    let (gateway, upstream) = library().await;
    let (mut one, mut to_one) = client(&gateway).await;
    let (mut two, mut to_two) = client(&gateway).await;
    let done = |reply: trunkline_testkit::RpcReply| assert_eq!(reply.result(), json!({}));
    done(one.request("resources/subscribe", &uri("a://1")).await);
    // What is listened to already needs no other stream.
    done(two.request("resources/subscribe", &uri("a://1")).await);
    assert_eq!(listened(&upstream), [json!(["a://1"])]);
    done(two.request("resources/subscribe", &uri("a://2")).await);
    assert_eq!(listened(&upstream), [json!(["a://1"]), json!(["a://1", "a://2"])]);
    eventually("the first stream is closed", PATIENCE, async || {
        upstream.listeners() == 1
    })
    .await;
    // As the old era has it: nothing of the subscription is left.
    upstream.push(&updated("a://2"));
    upstream.push(&updated("a://1"));
    assert_eq!(to_two.expect_next(PATIENCE).await, updated("a://2"));
    assert_eq!(to_two.expect_next(PATIENCE).await, updated("a://1"));
    assert_eq!(to_one.expect_next(PATIENCE).await, updated("a://1"));

    done(two.request("resources/unsubscribe", &uri("a://2")).await);
    eventually("less is listened to", PATIENCE, async || {
        listened(&upstream).last() == Some(&json!(["a://1"])) && upstream.listeners() == 1
    })
    .await;
    // A part of what was subscribed to.
    upstream.push(&updated("a://2"));
    upstream.push(&updated("a://1/part"));
    assert_eq!(to_two.expect_next(PATIENCE).await, updated("a://1/part"));
    assert_eq!(to_one.expect_next(PATIENCE).await, updated("a://1/part"));

    one.delete().await.expect_status(200);
    upstream.push(&updated("a://1"));
    assert_eq!(to_two.expect_next(PATIENCE).await, updated("a://1"));
    two.delete().await.expect_status(200);
    eventually("nothing is listened to", PATIENCE, async || {
        upstream.listeners() == 0
    })
    .await;
    assert_eq!(upstream.count("resources/subscribe"), 0);
    assert_calm(&gateway);
}

#[tokio::test]
async fn b61_updates_that_a_broken_stream_lost_are_made_up_for() {
    let (gateway, upstream) = library().await;
    let (mut client, mut stream) = client(&gateway).await;
    client
        .request("resources/subscribe", &uri("a://1"))
        .await
        .result();
    upstream.stop().await;
    upstream.reopen(Socket::Serve).await;
    // Nobody knows whether it changed meanwhile.
    assert_eq!(stream.expect_next(PATIENCE).await, updated("a://1"));
    upstream.push(&updated("a://1"));
    assert_eq!(stream.expect_next(PATIENCE).await, updated("a://1"));
    // Without a session there is nowhere to tell it, and what the server does not take is no success.
    let refused = gateway
        .mcp_at("/files/mcp")
        .request("resources/subscribe", &uri("a://1"))
        .await
        .error();
    assert!(refused.message.contains("initialize"), "{refused:?}");
    upstream.on(
        "subscriptions/listen",
        Act::Result(json!({"resultType": "complete"}).to_string()),
    );
    let refused = client.request("resources/subscribe", &uri("a://3")).await.error();
    assert!(refused.message.contains("a://3"), "{refused:?}");
}

/// Questions with parameters that are none, in the middle of a call.
async fn asking(params: Value) -> (TestGateway, ScriptedUpstream) {
    let asked = json!({"jsonrpc": "2.0", "id": "bad", "method": "elicitation/create", "params": params});
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "."}});
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("ask"), move |_| ToolAnswer::Stream {
            before: vec![
                (Duration::ZERO, asked.clone()),
                (Duration::from_millis(500), log.clone()),
            ],
            result: json!({"content": [{"type": "text", "text": "went on"}]}),
        })
        .start()
        .await;
    (gateway_of(&[("files", &upstream)]).await, upstream)
}

/// How the server's question was refused.
async fn refusal(upstream: &ScriptedUpstream) -> Value {
    let find = || {
        let posted = upstream.requests().into_iter().map(|request| request.json());
        posted
            .filter(|posted| posted["id"] == "bad")
            .find_map(|posted| posted.get("error").cloned())
    };
    eventually("the server is answered", PATIENCE, async || find().is_some()).await;
    find().unwrap()
}

#[tokio::test]
async fn b59_a_question_that_cannot_be_read_is_refused_at_once_and_the_call_goes_on() {
    // No JSON-RPC at all, and JSON-RPC that no client of either era can be asked.
    for (params, code) in [(json!(7), -32600), (json!([1]), -32602)] {
        let (gateway, upstream) = asking(params.clone()).await;
        // Called by a client of the new era, which is asked by a result.
        let mut client = McpClient::over(gateway.client(), "/mcp")
            .with_header("mcp-protocol-version", MODERN)
            .with_header("mcp-method", "tools/call")
            .with_header("mcp-name", "files-ask");
        let call = json!({
            "name": "files-ask",
            "arguments": {},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
            },
        });
        let result = client.request("tools/call", &call).await.result();
        assert_eq!(result["content"][0]["text"], "went on", "{params}: {result}");
        assert_eq!(refusal(&upstream).await["code"], code, "{params}");
    }
    // By one of the old era the second is handed on as it is: it may know what is meant.
    let (gateway, upstream) = asking(json!(7)).await;
    let mut client = gateway.mcp().with_capabilities(json!({"elicitation": {}}));
    client.initialize().await;
    let reply = client.call("files-ask", &json!({}), None).await;
    assert_eq!(reply.result()["content"][0]["text"], "went on");
    assert_eq!(refusal(&upstream).await["code"], -32600);
}

#[tokio::test]
async fn b59_a_question_on_the_standing_stream_that_cannot_be_read_is_refused() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = gateway.mcp().with_capabilities(json!({"elicitation": {}}));
    client.initialize().await;
    let _stream = client.get_stream().await;
    client
        .call("files-echo", &crate::support::message("hi"), None)
        .await;
    eventually("the server's stream is open", PATIENCE, async || {
        upstream.listeners() > 0
    })
    .await;
    upstream.push(&json!({"jsonrpc": "2.0", "id": "bad", "method": "elicitation/create", "params": 7}));
    assert_eq!(refusal(&upstream).await["code"], -32600);
}
