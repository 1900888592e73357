//! What comes to a client without being asked for, and how it ends.

use std::time::Duration;

use serde_json::json;
use trunkline_testkit::{Act, EventStream, ScriptedUpstream, Signal, TestGateway, ToolAnswer, eventually};

use crate::support::{Config, PATIENCE, assert_calm, gateway_of, listed, message, register, said, tool};

/// A client's standing stream, with the client.
async fn standing(gateway: &TestGateway, path: &str) -> (trunkline_testkit::McpClient, EventStream) {
    let mut client = gateway.mcp_at(path);
    client.initialize().await;
    let stream = client.get_stream().await;
    assert_eq!(stream.status(), 200);
    (client, stream)
}

async fn expect_list_changed(stream: &mut EventStream) {
    let told = stream.expect_next(PATIENCE).await;
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
}

#[tokio::test]
async fn the_standing_stream_tells_of_servers_that_come_and_go() {
    let (files, more) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = gateway_of(&[("files", &files)]).await;
    let (mut client, mut stream) = standing(&gateway, "/mcp").await;
    let (_, mut narrow) = standing(&gateway, "/files/mcp").await;
    assert_eq!(client.tool_names().await, ["files-echo"]);

    let body = json!({"server_name": "more", "url": more.url(), "transport": "http"});
    let id = register(&gateway.client(), &body).await;
    expect_list_changed(&mut stream).await;
    assert_eq!(client.tool_names().await, ["files-echo", "more-echo"]);
    gateway
        .client()
        .delete(&format!("/v1/mcp/server/{id}"))
        .await
        .expect_status(202);
    expect_list_changed(&mut stream).await;
    assert_eq!(client.tool_names().await, ["files-echo"]);

    // Who does not see the server hears nothing of it.
    let quiet = tokio::time::timeout(Duration::from_millis(500), narrow.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

/// Twice in a row, closer than the gateway lists by itself: no change is lost.
#[tokio::test]
async fn the_standing_stream_tells_of_an_upstreams_own_changes() {
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let (mut client, mut stream) = standing(&gateway, "/mcp").await;
    // A call that wants progress makes the gateway listen to the server.
    client
        .call("files-echo", &message("hi"), Some("t"))
        .await
        .result();
    assert_eq!(upstream.count("GET"), 1);
    upstream.set_tools([tool("first")]);
    upstream.push(&changed);
    expect_list_changed(&mut stream).await;
    assert_eq!(client.tool_names().await, ["files-first"]);
    upstream.set_tools([tool("first"), tool("second")]);
    upstream.push(&changed);
    expect_list_changed(&mut stream).await;
    assert_eq!(client.tool_names().await, ["files-first", "files-second"]);
    assert_eq!(upstream.count("tools/list"), 3);
}

#[tokio::test]
async fn the_standing_stream_is_for_sessions() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    assert_eq!(gateway.mcp().get_stream().await.status(), 405);
    let mut unknown = gateway.mcp();
    unknown.set_session(Some("unknown"));
    assert_eq!(unknown.get_stream().await.status(), 404);
    let mut client = gateway.mcp();
    client.initialize().await;
    let json_only = client
        .http()
        .clone()
        .with_header("accept", "application/json")
        .with_header("mcp-session-id", client.session().unwrap());
    json_only.get("/mcp").await.expect_status(406);
    assert_eq!(gateway.anonymous().get("/mcp").await.status, 401);
}

#[tokio::test]
async fn the_standing_stream_ends_with_its_session() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let (client, stream) = standing(&gateway, "/mcp").await;
    let (_, mut other) = standing(&gateway, "/mcp").await;
    client.delete().await.expect_status(200);
    let (events, broken) = tokio::time::timeout(PATIENCE / 2, stream.rest())
        .await
        .expect("it ends");
    assert!(events.is_empty() && broken.is_none(), "{events:?} {broken:?}");
    assert!(
        tokio::time::timeout(Duration::from_millis(200), other.next())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn streams_end_and_calls_finish_when_the_gateway_is_told_to_stop() {
    for signal in [Signal::Term, Signal::Int] {
        let upstream = ScriptedUpstream::builder()
            .tool_fn(&tool("slow"), |call| {
                ToolAnswer::progress(call, 3, Duration::from_millis(300))
            })
            .start()
            .await;
        let mut gateway = gateway_of(&[("files", &upstream)]).await;
        let (mut client, stream) = standing(&gateway, "/mcp").await;
        let calling = tokio::spawn(async move { client.call("files-slow", &message(""), Some("t")).await });
        eventually("the call is there", PATIENCE, async || {
            upstream.count("tools/call") == 1
        })
        .await;
        gateway.signal(signal);
        let (_, broken) = tokio::time::timeout(PATIENCE, stream.rest())
            .await
            .expect("it ends");
        assert!(broken.is_none(), "{signal:?}: {broken:?}");
        let reply = calling.await.unwrap();
        assert_eq!(said(&reply), "done", "{signal:?}");
        let progress = reply.notifications().len();
        assert_eq!(progress, 6, "{signal:?}: three of each");
        let exit = gateway.wait().await;
        assert_eq!(exit.code, Some(0), "{signal:?}: {exit:?}");
        // The client's own goes on with the next process; there is no other, since it took over the one that listed.
        assert_eq!(upstream.sessions(), 1, "{signal:?}");
        assert_calm(&gateway);
    }
}

/// A client that holds a stream open and never reads must not keep the gateway alive.
#[tokio::test]
async fn a_call_without_end_is_cut_off_when_the_time_to_drain_is_over() {
    let upstream = ScriptedUpstream::start().await;
    upstream.on("tools/call", trunkline_testkit::Act::Hang);
    let config = Config::of(&[("files", &upstream)]).text();
    let mut gateway = TestGateway::builder()
        .config(&config)
        .arg("--drain-timeout")
        .arg("1")
        .start()
        .await;
    listed(&gateway, "files").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let calling = tokio::spawn(async move {
        client
            .try_request("tools/call", &json!({"name": "files-echo"}))
            .await
    });
    eventually("the call is there", PATIENCE, async || {
        upstream.count("tools/call") == 1
    })
    .await;
    let exit = gateway.stop(Signal::Term).await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.took < Duration::from_secs(4), "{exit:?}");
    assert!(calling.await.unwrap().is_err());
    // What was cut off is on record, and the server knows that nobody waits.
    assert!(gateway.log().contains("client_gone"), "{}", gateway.log());
    assert_eq!(upstream.count("notifications/cancelled"), 1);
    assert!(
        !gateway.log().contains("could not be written"),
        "{}",
        gateway.log()
    );
}

/// A server that is edited is watched again, by whoever listened before.
#[tokio::test]
async fn b61_who_listens_hears_of_changes_of_a_server_that_was_edited() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start("").await;
    let server =
        json!({"server_id": "files", "server_name": "files", "url": upstream.url(), "transport": "http"});
    let admin = gateway.client();
    admin.post("/v1/mcp/server", &server).await.expect_status(201);
    listed(&gateway, "files").await;
    let (mut client, mut stream) = standing(&gateway, "/mcp").await;
    eventually("the gateway listens", PATIENCE, async || {
        upstream.count("GET") == 1
    })
    .await;
    let edit = json!({"server_id": "files", "static_headers": {"X-Edited": "yes"}});
    admin.put("/v1/mcp/server", &edit).await.expect_status(202);
    eventually("it listens with the new definition", PATIENCE, async || {
        let requests = upstream.requests().into_iter();
        requests
            .filter(|request| request.is("GET") && request.header("x-edited").is_some())
            .count()
            == 1
    })
    .await;
    upstream.set_tools([tool("other")]);
    upstream.push(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    // The edit itself may be told of, too.
    loop {
        expect_list_changed(&mut stream).await;
        if client.tool_names().await == ["files-other"] {
            break;
        }
    }
}

/// A server's answer that breaks off is asked for again, once, however slowly that is answered.
#[tokio::test]
async fn b60_a_slow_resumption_is_asked_for_once() {
    let upstream = ScriptedUpstream::builder().no_get_stream().start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let first = trunkline_testkit::Act::Http {
        status: 200,
        headers: vec![("content-type".into(), "text/event-stream".into())],
        body: "id: e1\nretry: 10\ndata:\n\n".into(),
    };
    upstream.once("tools/call", first);
    // Longer than the gateway waits for a first frame before its own answer becomes a stream.
    upstream.on("GET", trunkline_testkit::Act::Delay(Duration::from_secs(7)));
    let mut client = gateway.mcp();
    client.initialize().await;
    let reply = client.call("files-echo", &message("x"), None).await;
    // This server then has nothing to say; what matters is how often it was asked.
    reply.error();
    let asked: Vec<_> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.is("GET") && request.header("last-event-id") == Some("e1"))
        .collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
}

/// Nobody asked for what comes there, and it has no end: at full speed it takes a processor from everybody else.
#[tokio::test]
async fn timed_a_flood_on_a_standing_stream_is_read_at_a_pace() {
    const LOOK: Duration = Duration::from_secs(3);
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    upstream.once("GET", Act::EndlessNotifications(Duration::ZERO));
    let (mut client, _stream) = standing(&gateway, "/mcp").await;
    client
        .call("files-echo", &message("hi"), Some("t"))
        .await
        .result();
    eventually("the gateway listens", PATIENCE, async || {
        upstream.count("GET") == 1
    })
    .await;
    let before = gateway.processor_time();
    tokio::time::sleep(LOOK).await;
    let used = gateway.processor_time().saturating_sub(before);
    assert!(used < LOOK / 4, "{used:?} in {LOOK:?}");
    let reply = client.call("files-echo", &message("hi"), None).await;
    assert_eq!(said(&reply), "hi");
}
