//! Calls under way: called off, left alone, too late.

use std::time::Duration;

use serde_json::json;
use trunkline_testkit::{Act, Recorded, ScriptedUpstream, ToolAnswer, eventually};

use crate::support::{
    Config, PATIENCE, assert_calm, gateway_of, health, listed, message, row, said, text, tool,
};

/// A server whose tool `slow` takes its time before the head of the answer or after it.
async fn slow_upstream(before_head: bool, time: Duration) -> ScriptedUpstream {
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("slow"), move |call| {
            let pause = if before_head { Duration::ZERO } else { time };
            let result = json!({"content": [{"type": "text", "text": call.arguments["message"]}]});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
            ToolAnswer::Stream { before: vec![(pause, log)], result }
        })
        .start()
        .await;
    if before_head {
        upstream.on("tools/call", Act::Delay(time));
    }
    upstream
}

fn call(id: &str, text: &str) -> String {
    let params = json!({"name": "files-slow", "arguments": message(text)});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

/// The upstream's call that has this message.
fn call_with(upstream: &ScriptedUpstream, text: &str) -> Option<Recorded> {
    upstream
        .requests()
        .into_iter()
        .find(|request| request.is("tools/call") && request.json()["params"]["arguments"]["message"] == text)
}

/// Waits for the one cancellation, and checks that it is of the call with this message.
async fn cancelled(upstream: &ScriptedUpstream, text: &str) {
    eventually("the upstream is told", PATIENCE, async || {
        upstream.count("notifications/cancelled") > 0
    })
    .await;
    let call = call_with(upstream, text).unwrap();
    let requests = upstream.requests();
    let told: Vec<_> = requests
        .iter()
        .filter(|request| request.is("notifications/cancelled"))
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].json()["params"]["requestId"], call.json()["id"]);
    assert_eq!(told[0].session, call.session);
}

#[tokio::test]
async fn a_cancelled_call_is_called_off_upstream_and_no_other() {
    for before_head in [true, false] {
        let upstream = slow_upstream(before_head, Duration::from_millis(1500)).await;
        let gateway = gateway_of(&[("files", &upstream)]).await;
        let (mut first, mut second) = (gateway.mcp(), gateway.mcp());
        first.initialize().await;
        second.initialize().await;
        // Two calls of one client, and one of another that goes by the same id.
        let calls = [
            (&first, "1", "mine"),
            (&first, "2", "my other"),
            (&second, "1", "somebody's"),
        ];
        let [mine, other, somebodys] = calls.map(|(client, id, text)| {
            let (client, body) = (client.clone(), call(id, text));
            tokio::spawn(async move { client.send_message(body).await.unwrap() })
        });
        eventually("all calls are there", PATIENCE, async || {
            upstream.count("tools/call") == 3
        })
        .await;
        let cancel = json!({"requestId": "1", "reason": "changed my mind"});
        assert_eq!(first.notify("notifications/cancelled", &cancel).await.status, 202);
        cancelled(&upstream, "mine").await;
        assert!(!other.is_finished() && !somebodys.is_finished());
        assert!(mine.await.unwrap().outcome().is_err());
        assert_eq!(said(&other.await.unwrap()), "my other");
        assert_eq!(said(&somebodys.await.unwrap()), "somebody's");
        cancelled(&upstream, "mine").await;
        // What is over cannot be called off.
        let late = json!({"requestId": "2"});
        assert_eq!(first.notify("notifications/cancelled", &late).await.status, 202);
        assert_eq!(
            said(&first.send_message(call("3", "next")).await.unwrap()),
            "next"
        );
        assert_eq!(upstream.count("notifications/cancelled"), 1);
        assert_calm(&gateway);
    }
}

#[tokio::test]
async fn a_client_that_leaves_calls_its_call_off_upstream() {
    for before_head in [true, false] {
        let upstream = slow_upstream(before_head, Duration::from_secs(30)).await;
        let gateway = gateway_of(&[("files", &upstream)]).await;
        let mut client = gateway.mcp();
        client.initialize().await;
        let leaving = {
            let client = client.clone();
            tokio::spawn(async move { client.send_message(call("1", "left alone")).await })
        };
        eventually("the call is there", PATIENCE, async || {
            upstream.count("tools/call") == 1
        })
        .await;
        leaving.abort();
        cancelled(&upstream, "left alone").await;
        eventually("it is noted", PATIENCE, async || {
            gateway.log().contains("client_gone")
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_of_rest_that_leaves_calls_its_call_off_upstream() {
    let upstream = slow_upstream(true, Duration::from_secs(30)).await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let leaving = {
        let client = gateway.client();
        let body = json!({"name": "files-slow", "arguments": message("rest")});
        tokio::spawn(async move { client.post("/mcp-rest/tools/call", &body).await })
    };
    eventually("the call is there", PATIENCE, async || {
        upstream.count("tools/call") == 1
    })
    .await;
    leaving.abort();
    cancelled(&upstream, "rest").await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_called_off_and_says_so() {
    let upstream = slow_upstream(true, Duration::from_secs(30)).await;
    let gateway = Config::default()
        .server("files", &upstream, "timeout: 0.5")
        .start()
        .await;
    listed(&gateway, "files").await;
    let error = gateway
        .mcp()
        .call("files-slow", &message("late"), None)
        .await
        .error();
    assert_eq!(error.data["outcome"]["status"], "timeout", "{error:?}");
    assert_eq!(error.data["outcome"]["step"], "call", "{error:?}");
    cancelled(&upstream, "late").await;
    // The server itself is as usable as before.
    let own = row(&gateway.client(), "files").await;
    assert_eq!(
        health(&gateway.client(), text(&own["server_id"])).await["status"],
        "healthy"
    );
}
