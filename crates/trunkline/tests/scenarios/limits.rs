//! How much one key may hold, and how long a call may take.

use std::time::Duration;

use serde_json::json;
use trunkline_testkit::{Act, McpClient, ScriptedUpstream, SseClient, TestGateway, ToolAnswer, eventually};

use crate::support::{Config, PATIENCE, gateway_of, listed, message, row, said, tool};

async fn session(gateway: &TestGateway) -> McpClient {
    let mut client = gateway.mcp();
    client.initialize().await;
    client
}

#[tokio::test]
async fn s38_a_flood_of_sessions_stops_at_its_bound_and_disturbs_nobody() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::of(&[("files", &upstream)])
        .general("mcp_max_sessions_per_principal: 5")
        .start()
        .await;
    listed(&gateway, "files").await;
    let mut first = session(&gateway).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(session(&gateway).await);
    }
    let stream = SseClient::open(&gateway.client(), "/sse").await;
    for _ in 0..20 {
        let full = gateway.mcp().initialize_only().await;
        assert_eq!(full.status, 503);
        let wait: u64 = full.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        let error = full.error();
        assert!(
            error.message.contains("mcp_max_sessions_per_principal") && error.message.contains("DELETE"),
            "{error:?}"
        );
        assert_eq!(
            error.data,
            json!({"limit": "mcp_max_sessions_per_principal", "max": 5})
        );
    }
    gateway.client().get("/sse").await.expect_status(503);
    // Those who are in go on, and so does what needs no session.
    assert_eq!(said(&first.call("files-echo", &message("in"), None).await), "in");
    assert_eq!(
        said(&gateway.mcp().call("files-echo", &message("none"), None).await),
        "none"
    );
    // A session that ended makes room for one, a closed stream for another.
    others[0].delete().await.expect_status(200);
    let mut next = session(&gateway).await;
    assert_eq!(
        said(&next.call("files-echo", &message("next"), None).await),
        "next"
    );
    assert_eq!(gateway.mcp().initialize_only().await.status, 503);
    drop(stream);
    eventually("there is room", PATIENCE, async || {
        gateway.mcp().initialize_only().await.status == 200
    })
    .await;
}

#[tokio::test]
async fn b05_requests_of_one_session_run_side_by_side() {
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("slow"), |call| {
            ToolAnswer::progress(call, 3, Duration::from_millis(400))
        })
        .tool(tool("fast"))
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = session(&gateway).await;
    let mut same = gateway.mcp();
    same.set_session(client.session());
    let mut slow = client.call_stream("files-slow", &json!({}), Some("t")).await;
    slow.expect_next(PATIENCE).await;
    // The slow one is under way for all of the time in which the fast one is answered.
    assert_eq!(
        said(&same.call("files-fast", &message("quick"), None).await),
        "quick"
    );
    let (rest, broken) = slow.rest().await;
    assert!(broken.is_none());
    assert!(rest.len() > 1, "it was not over yet: {rest:?}");
    assert_eq!(upstream.sessions(), 1, "one session upstream");
    assert_eq!(upstream.max_in_flight(), 2);
}

/// The figures of a tool that takes 90 s, a default of 60 s and a server with 300 s, at a sixtieth.
#[tokio::test]
async fn b64_a_slow_tool_is_answered_within_the_time_that_it_was_given() {
    let upstream = ScriptedUpstream::start().await;
    upstream.on("tools/call", Act::Delay(Duration::from_millis(1500)));
    let gateway = Config::default()
        .server("short", &upstream, "")
        .server("long", &upstream, "timeout: 5\ntool_timeouts: {quick: 0.5}")
        .server("tool", &upstream, "timeout: 0.5\ntool_timeouts: {echo: 5}")
        .server("brief", &upstream, "timeout: 5\ntool_timeouts: {echo: 0.5}")
        .general("mcp_call_timeout_ms: 1000")
        .start()
        .await;
    for server in ["short", "long", "tool", "brief"] {
        listed(&gateway, server).await;
    }
    let hi = message("hi");
    // The default, the server's, the tool's over the server's, both ways.
    for (server, answered) in [("short", false), ("long", true), ("tool", true), ("brief", false)] {
        let reply = gateway.mcp().call(&format!("{server}-echo"), &hi, None).await;
        assert_eq!(
            reply.outcome().is_ok(),
            answered,
            "{server}: {}",
            reply.everything()
        );
        if !answered {
            let error = reply.error();
            assert_eq!(error.data["outcome"]["status"], "timeout", "{error:?}");
        }
    }
    // The request's own: more where the operator said nothing, less everywhere, never more than the operator said.
    for (server, asked, answered) in [
        ("short", "5", true),
        ("long", "0.5", false),
        ("brief", "5", false),
    ] {
        let mut client = gateway.mcp().with_header("x-litellm-timeout", asked);
        let reply = client.call(&format!("{server}-echo"), &hi, None).await;
        assert_eq!(
            reply.outcome().is_ok(),
            answered,
            "{server} {asked}: {}",
            reply.everything()
        );
    }
    let rest = gateway.client().with_header("x-litellm-timeout", "5");
    let called = json!({"name": "short-echo", "arguments": hi});
    rest.post("/mcp-rest/tools/call", &called)
        .await
        .expect_status(200);
    let mut wrong = gateway.mcp().with_header("x-litellm-timeout", "soon");
    let error = wrong.call("short-echo", &hi, None).await.error();
    assert_eq!(error.code, -32602);
    assert!(error.message.contains("x-litellm-timeout"), "{error:?}");
    // The general limit of what may be asked for.
    let gateway = Config::of(&[("short", &upstream)])
        .general("mcp_call_timeout_ms: 500")
        .general("mcp_max_call_timeout_ms: 1000")
        .start()
        .await;
    listed(&gateway, "short").await;
    let mut client = gateway.mcp().with_header("x-litellm-timeout", "60");
    let late = client.call("short-echo", &hi, None).await;
    assert_eq!(late.error().data["outcome"]["status"], "timeout");
}

#[tokio::test]
async fn b29_deadlines_of_tools_are_shown_and_are_the_files_alone() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::default()
        .server("files", &upstream, "tool_timeouts: {echo: 90}")
        .start()
        .await;
    let shown = row(&gateway.client(), "files").await;
    assert_eq!(shown["tool_timeouts"], json!({"echo": 90.0}));
    let body = json!({"server_name": "more", "url": upstream.url(), "tool_timeouts": {"echo": 90}});
    let refused = gateway
        .client()
        .post("/v1/mcp/server", &body)
        .await
        .expect_status(422);
    assert!(
        refused.text().contains("configuration file only"),
        "{}",
        refused.text()
    );
}
