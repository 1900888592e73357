//! Calls that take long: what happens around them in the meantime does not end them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, Framing, McpClient, ScriptedUpstream, Sessions, Socket, ToolAnswer, UpstreamBuilder, eventually,
};

use crate::eras::modern;
use crate::support::{
    Config, PATIENCE, assert_calm, gateway_of, listed, message, modern_upstream, register, said,
};

/// A server with state, and a tool that says nothing for a while.
fn slow(takes: Duration) -> UpstreamBuilder {
    let tool = json!({"name": "slow", "inputSchema": {"type": "object"}});
    ScriptedUpstream::builder()
        .stateful_tools()
        .tool_fn(&tool, move |_| ToolAnswer::Stream {
            before: vec![(
                takes,
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "still here"}}),
            )],
            result: json!({"content": [{"type": "text", "text": "done"}], "isError": false}),
        })
}

fn ends(upstream: &ScriptedUpstream) -> usize {
    let requests = upstream.requests().into_iter();
    requests.filter(|request| request.http_method == "DELETE").count()
}

#[tokio::test]
async fn b64_a_session_is_not_idle_while_a_call_runs_on_it() {
    let upstream = slow(Duration::from_secs(4)).start().await;
    let config = Config::of(&[("notes", &upstream)]).general("mcp_session_idle_ms: 1000");
    let gateway = config.start().await;
    listed(&gateway, "notes").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    client
        .call("notes-set_value", &json!({"value": 1}), None)
        .await
        .result();
    let http = gateway.client();
    let body = json!({"name": "notes-slow", "arguments": {}});
    let none = json!({});
    // On the client's own session, and on the shared one.
    let (own, shared) = tokio::join!(
        client.call("notes-slow", &none, None),
        http.post("/mcp-rest/tools/call", &body)
    );
    assert_eq!(said(&own), "done");
    assert_eq!(shared.expect_status(200).json()["content"][0]["text"], "done");
    assert_eq!(ends(&upstream), 0, "nothing ended meanwhile");
    // And the state of the session is what it was.
    assert_eq!(said(&client.call("notes-get_value", &json!({}), None).await), "1");
    eventually("both are ended when nobody uses them", PATIENCE, async || {
        ends(&upstream) == 2
    })
    .await;
    assert_calm(&gateway);
}

#[tokio::test]
async fn an_edit_that_changes_nothing_for_sessions_ends_none() {
    let upstream = slow(Duration::from_secs(3)).start().await;
    let gateway = Config::default().start().await;
    let http = gateway.client();
    let id = register(
        &http,
        &json!({"server_name": "notes", "url": upstream.url(), "transport": "http"}),
    )
    .await;
    listed(&gateway, "notes").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    client
        .call("notes-set_value", &json!({"value": 1}), None)
        .await
        .result();
    let opened = upstream.count("initialize");
    let body = json!({"name": "notes-slow", "arguments": {}});
    let edit = async {
        eventually("the call has begun", PATIENCE, async || {
            upstream.count("tools/call") >= 2
        })
        .await;
        let change = json!({"server_id": id, "description": "another text"});
        http.put("/v1/mcp/server", &change).await.expect_status(202);
    };
    let (shared, ()) = tokio::join!(http.post("/mcp-rest/tools/call", &body), edit);
    assert_eq!(shared.expect_status(200).json()["content"][0]["text"], "done");
    assert_eq!(ends(&upstream), 0);
    assert_eq!(said(&client.call("notes-get_value", &json!({}), None).await), "1");
    assert_eq!(upstream.count("initialize"), opened + 1, "the shared one of REST");

    // One that leads elsewhere lets what runs come to its end, and then ends what was opened for it.
    let edit = async {
        eventually("the call has begun", PATIENCE, async || {
            upstream.count("tools/call") >= 4
        })
        .await;
        let change = json!({"server_id": id, "static_headers": {"x-other": "1"}});
        http.put("/v1/mcp/server", &change).await.expect_status(202);
    };
    let (shared, ()) = tokio::join!(http.post("/mcp-rest/tools/call", &body), edit);
    assert_eq!(shared.expect_status(200).json()["content"][0]["text"], "done");
    eventually("the old sessions are ended", PATIENCE, async || {
        ends(&upstream) >= 2
    })
    .await;
    assert_calm(&gateway);
}

#[tokio::test]
async fn b64_a_call_whose_head_is_withheld_becomes_a_stream() {
    let upstream = ScriptedUpstream::builder()
        .framing(Framing::Json)
        .sessions(Sessions::Off)
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    upstream.on("tools/call", Act::Delay(Duration::from_secs(8)));
    let mut client = gateway.mcp();
    client.initialize().await;
    let began = Instant::now();
    let mut stream = client.call_stream("files-echo", &message("late"), None).await;
    let head = began.elapsed();
    assert!(
        head > Duration::from_secs(4) && head < Duration::from_secs(8),
        "{head:?}"
    );
    let last = stream.expect_next(PATIENCE).await;
    assert_eq!(last["result"]["content"][0]["text"], "late", "{last}");
    assert_calm(&gateway);
}

#[tokio::test]
async fn b22_a_batch_runs_on_the_clients_own_session() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let gateway = gateway_of(&[("notes", &upstream)]).await;
    let mut client = gateway
        .mcp()
        .with_protocol("2025-03-26")
        .with_capabilities(json!({"sampling": {}}));
    client.initialize().await;
    client
        .call("notes-set_value", &json!({"value": 7}), None)
        .await
        .result();
    let get = json!([{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "notes-get_value", "arguments": {}}}]);
    let reply = client.send_message(get.to_string()).await.unwrap();
    let answers: Value = serde_json::from_slice(&reply.raw).unwrap();
    assert_eq!(answers[0]["result"]["content"][0]["text"], "7", "{answers}");
}

#[tokio::test]
async fn s23_a_client_cannot_send_mirrored_headers_of_its_own() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::default()
        .server("files", &upstream, "extra_headers: [\"*\"]")
        .start()
        .await;
    listed(&gateway, "files").await;
    upstream.clear();
    let params = json!({"name": "files-echo", "arguments": {"message": "m"}});
    let headers = [
        ("x-mcp-files-mcp-param-region", "eu"),
        ("mcp-param-zone", "1"),
        ("x-mcp-files-x-plain", "yes"),
    ];
    modern(&gateway.client(), "tools/call", params, &headers)
        .await
        .expect_status(200);
    let requests = upstream.requests();
    let call = requests.iter().find(|request| request.is("tools/call")).unwrap();
    assert_eq!(call.header("x-plain"), Some("yes"));
    assert_eq!(
        (call.header("mcp-param-region"), call.header("mcp-param-zone")),
        (None, None)
    );
}

#[tokio::test]
async fn b62_a_uri_that_reads_like_one_under_a_prefix_leads_to_its_own_server() {
    let library = |uri: &str| {
        let resources = json!({"resources": [{"uri": uri, "name": "it"}]});
        let read = json!({"contents": [{"uri": uri, "text": format!("of {uri}")}]});
        ScriptedUpstream::builder()
            .initialize_member("capabilities", json!({"tools": {}, "resources": {}}))
            .on("resources/list", Act::Result(resources.to_string()))
            .on("resources/read", Act::Result(read.to_string()))
    };
    let (git, docs) = (
        library("git+https://example.com/a").start().await,
        library("git+ssh://example.com/b").start().await,
    );
    let gateway = gateway_of(&[("git", &git), ("docs", &docs)]).await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let listed = client.request("resources/list", &json!({})).await.result();
    let mut uris: Vec<&str> = Vec::new();
    for resource in listed["resources"].as_array().unwrap() {
        uris.push(resource["uri"].as_str().unwrap());
    }
    uris.sort_unstable();
    assert_eq!(
        uris,
        ["docs+git+ssh://example.com/b", "git+git+https://example.com/a"]
    );
    // As it is listed, and as people write it who know the server.
    for (uri, text, server) in [
        (
            "docs+git+ssh://example.com/b",
            "of git+ssh://example.com/b",
            &docs,
        ),
        ("git+ssh://example.com/b", "of git+ssh://example.com/b", &docs),
        (
            "git+git+https://example.com/a",
            "of git+https://example.com/a",
            &git,
        ),
        ("git+https://example.com/a", "of git+https://example.com/a", &git),
    ] {
        let before = server.count("resources/read");
        let read = client
            .request("resources/read", &json!({"uri": uri}))
            .await
            .result();
        assert_eq!(read["contents"][0]["text"], text, "{uri}");
        assert_eq!(server.count("resources/read"), before + 1, "{uri}");
    }
    // The long form is understood where there is one server as well.
    let mut alone = gateway.mcp_at("/docs/mcp");
    alone.initialize().await;
    let long = json!({"uri": "docs+git+ssh://example.com/b"});
    alone.request("resources/read", &long).await.result();
    let asked = docs
        .requests()
        .into_iter()
        .rfind(|request| request.is("resources/read"))
        .unwrap();
    assert_eq!(asked.json()["params"]["uri"], "git+ssh://example.com/b");
}

/// A server of the new era whose stream breaks: it is asked again, and what may have happened meanwhile is told.
#[tokio::test]
async fn b61_a_subscription_outlives_a_broken_stream_and_not_its_server() {
    const MODERN: &str = "2026-07-28";
    let upstream = modern_upstream()
        .on("subscriptions/listen", Act::Listen)
        .start()
        .await;
    let gateway = Config::default().start().await;
    let http = gateway.client();
    let body = json!({"server_name": "notes", "url": upstream.url(), "protocol_version": MODERN});
    let id = register(&http, &body).await;
    listed(&gateway, "notes").await;
    let mut client = McpClient::over(gateway.client(), "/mcp")
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", "subscriptions/listen");
    let params = json!({
        "notifications": {"resourceSubscriptions": ["a://1"]},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let mut stream = client.open("subscriptions/listen", &params).await;
    let first = stream.expect_next(PATIENCE).await;
    assert_eq!(
        first["params"]["notifications"]["resourceSubscriptions"],
        json!(["a://1"])
    );
    let updated =
        json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "a://1"}});
    upstream.push(&updated);
    assert_eq!(stream.expect_next(PATIENCE).await["params"]["uri"], "a://1");

    upstream.stop().await;
    upstream.reopen(Socket::Serve).await;
    eventually("it is subscribed to again", PATIENCE, async || {
        upstream.listeners() == 1
    })
    .await;
    assert_eq!(
        stream.expect_next(PATIENCE).await["params"]["uri"],
        "a://1",
        "it may have changed"
    );
    upstream.push(&updated);
    assert_eq!(stream.expect_next(PATIENCE).await["params"]["uri"], "a://1");

    http.delete(&format!("/v1/mcp/server/{id}"))
        .await
        .expect_status(202);
    let last = stream.expect_next(PATIENCE).await;
    assert_eq!(last["result"]["resultType"], "complete", "{last}");
    eventually("and nobody listens to it any more", PATIENCE, async || {
        upstream.listeners() == 0
    })
    .await;
    assert_calm(&gateway);
}
