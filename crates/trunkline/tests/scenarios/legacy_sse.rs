//! Clients of the HTTP+SSE transport of 2024-11-05: the same as over Streamable HTTP, on one stream.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trunkline_testkit::{Act, ScriptedUpstream, Signal, SseClient, TestGateway, ToolAnswer, eventually};

use crate::support::{Config, PATIENCE, assert_calm, gateway_of, listed, message, register, text, tool};

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The first text of a result.
fn said(answer: &Value) -> &str {
    text(&answer["result"]["content"][0]["text"])
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({"name": tool, "arguments": arguments})
}

async fn begun(gateway: &TestGateway, path: &str) -> SseClient {
    let mut client = SseClient::open(&gateway.client(), path).await;
    client.initialize("2024-11-05", &json!({})).await;
    client
}

#[tokio::test]
async fn b19_every_path_and_revision_of_the_old_transport_works() {
    let (files, more) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = gateway_of(&[("files", &files), ("more", &more)]).await;
    for (path, servers) in [
        ("/sse", &["files-echo", "more-echo"][..]),
        ("/sse/", &["files-echo", "more-echo"]),
        ("/mcp/sse", &["files-echo", "more-echo"]),
        ("/mcp/sse/", &["files-echo", "more-echo"]),
        ("/files/sse", &["files-echo"]),
        ("/files/mcp/sse", &["files-echo"]),
        ("/mcp/more/sse", &["more-echo"]),
        ("/mcp/files,more/sse", &["files-echo", "more-echo"]),
    ] {
        let mut client = SseClient::open(&gateway.client(), path).await;
        let begun = client.initialize("2025-06-18", &json!({})).await;
        assert_eq!(begun["protocolVersion"], "2025-06-18", "{path}");
        let listed = client.request("tools/list", &Value::Null).await;
        assert_eq!(crate::support::names(&listed["result"]), servers, "{path}");
    }
    for revision in REVISIONS {
        let mut client = SseClient::open(&gateway.client(), "/sse").await;
        let begun = client.initialize(revision, &json!({})).await;
        assert_eq!(begun["protocolVersion"], revision);
        let answer = client
            .request("tools/call", &call("files-echo", &message(revision)))
            .await;
        assert_eq!(said(&answer), revision);
    }
    let narrow = gateway.client().with_header("x-mcp-servers", "more");
    let mut client = SseClient::open(&narrow, "/sse").await;
    client.initialize("2024-11-05", &json!({})).await;
    let listed = client.request("tools/list", &Value::Null).await;
    assert_eq!(crate::support::names(&listed["result"]), ["more-echo"]);
    // Clients that try the new transport first read this and go on with GET.
    let tried = gateway.client().post("/sse", &json!({})).await;
    assert_eq!((tried.status.as_u16(), tried.header("allow")), (405, Some("GET")));
    let unknown = SseClient::try_open(&gateway.client(), "/nope/sse").await;
    assert_eq!(unknown.unwrap_err().status, 404);
    assert_calm(&gateway);
}

#[tokio::test]
async fn b18_the_address_for_messages_is_one_that_the_client_can_reach() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::builder()
        .config(&Config::of(&[("files", &upstream)]).text())
        .env("SERVER_ROOT_PATH", "/llm")
        .start()
        .await;
    listed(&gateway, "files").await;
    for path in ["/llm/files/sse", "/files/sse"] {
        let mut client = begun(&gateway, path).await;
        assert!(
            client
                .endpoint()
                .starts_with("/llm/files/sse/messages?session_id="),
            "{}",
            client.endpoint()
        );
        let answer = client
            .request("tools/call", &call("files-echo", &message("hi")))
            .await;
        assert_eq!(said(&answer), "hi");
    }
}

#[tokio::test]
async fn b05_posts_are_answered_side_by_side_and_progress_comes_first() {
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("slow"), |call| {
            ToolAnswer::progress(call, 3, Duration::from_millis(300))
        })
        .tool(tool("fast"))
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = begun(&gateway, "/sse").await;
    let mut slow = call("files-slow", &json!({}));
    slow["_meta"] = json!({"progressToken": "mine"});
    let slow = client.send("tools/call", &slow).await;
    let fast = client
        .send("tools/call", &call("files-fast", &message("quick")))
        .await;
    let mut seen = Vec::new();
    loop {
        let message = client.expect_next().await;
        if message["id"] == fast {
            assert_eq!(said(&message), "quick");
            seen.push("fast");
        } else if message["id"] == slow {
            assert_eq!(said(&message), "done");
            seen.push("slow");
            break;
        } else if message["method"] == "notifications/progress" {
            assert_eq!(message["params"]["progressToken"], "mine");
            seen.push("progress");
        }
    }
    assert!(
        seen.iter().position(|what| *what == "fast") < seen.iter().position(|what| *what == "slow"),
        "{seen:?}"
    );
    assert_eq!(
        seen.iter().filter(|what| **what == "progress").count(),
        3,
        "{seen:?}"
    );
}

#[tokio::test]
async fn b59_what_a_server_asks_comes_on_the_stream_and_the_answer_goes_back() {
    let ask = |id: &str, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"messages": [], "maxTokens": 1}});
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("ask"), move |_| ToolAnswer::Stream {
            before: vec![
                (Duration::ZERO, ask("s1", "sampling/createMessage")),
                (Duration::ZERO, ask("s2", "elicitation/create")),
                (Duration::ZERO, json!({"jsonrpc": "2.0", "id": "s3", "method": "roots/list"})),
                (Duration::from_secs(2), json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "."}})),
            ],
            result: json!({"content": [{"type": "text", "text": "asked"}]}),
        })
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = SseClient::open(&gateway.client(), "/files/sse").await;
    client
        .initialize(
            "2025-11-25",
            &json!({"sampling": {}, "elicitation": {}, "roots": {}}),
        )
        .await;
    let id = client.send("tools/call", &call("files-ask", &json!({}))).await;
    for method in ["sampling/createMessage", "elicitation/create", "roots/list"] {
        let asked = client.expect_next().await;
        assert_eq!(asked["method"], method, "{asked}");
        client
            .say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"answer": method}}))
            .await;
    }
    let answers = || {
        let posted = upstream.requests().into_iter().map(|request| request.json());
        let mut answers: Vec<_> = posted
            .filter(|posted| posted.get("result").is_some())
            .map(|posted| (posted["id"].clone(), posted["result"]["answer"].clone()))
            .collect();
        answers.sort_by_key(|(id, _)| id.to_string());
        answers
    };
    eventually("three answers", PATIENCE, async || answers().len() == 3).await;
    assert_eq!(
        answers(),
        [
            (json!("s1"), json!("sampling/createMessage")),
            (json!("s2"), json!("elicitation/create")),
            (json!("s3"), json!("roots/list")),
        ]
    );
    assert_eq!(said(&client.answer(id).await), "asked");

    // A client that declared nothing is asked nothing, and the server hears so.
    upstream.clear();
    let mut client = begun(&gateway, "/files/sse").await;
    let id = client.send("tools/call", &call("files-ask", &json!({}))).await;
    assert_eq!(said(&client.answer(id).await), "asked");
    let refused = upstream
        .requests()
        .iter()
        .filter(|request| request.json()["error"]["code"] == -32601)
        .count();
    assert_eq!(refused, 3);
}

#[tokio::test]
async fn b61_changes_and_updates_come_on_the_stream() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = begun(&gateway, "/sse").await;
    client.request("tools/list", &Value::Null).await;
    let body = json!({"server_name": "more", "url": upstream.url(), "transport": "http"});
    register(&gateway.client(), &body).await;
    let told = client.expect_next().await;
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    // An update of a resource, on the server's stream of this session.
    upstream.on("resources/subscribe", Act::Result("{}".to_owned()));
    let mut client = begun(&gateway, "/files/sse").await;
    let subscribed = client
        .request("resources/subscribe", &json!({"uri": "a://b"}))
        .await;
    assert_eq!(subscribed["result"], json!({}));
    eventually("the server's stream is open", PATIENCE, async || {
        upstream.listeners() > 0
    })
    .await;
    upstream.push(
        &json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "a://b"}}),
    );
    let told = client.expect_next().await;
    assert_eq!(told["params"]["uri"], "a://b", "{told}");
}

#[tokio::test]
async fn b22_a_stream_is_a_session_and_closing_it_ends_it() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = begun(&gateway, "/sse").await;
    let mut other = begun(&gateway, "/sse").await;
    let set = json!({"value": 1});
    client.request("tools/call", &call("files-set_value", &set)).await;
    let mine = client
        .request("tools/call", &call("files-get_value", &json!({})))
        .await;
    assert_eq!(said(&mine), "1");
    let theirs = other
        .request("tools/call", &call("files-get_value", &json!({})))
        .await;
    assert_eq!(said(&theirs), "no value in this session");

    // Under way when it closes: the server hears that nobody waits.
    upstream.on("tools/call", Act::Hang);
    client
        .send("tools/call", &call("files-get_value", &json!({})))
        .await;
    eventually("the call is there", PATIENCE, async || {
        upstream.count("tools/call") == 4
    })
    .await;
    let (endpoint, sessions) = (client.endpoint().to_owned(), upstream.sessions());
    drop(client);
    eventually("the session is given back", PATIENCE, async || {
        upstream.sessions() == sessions - 1
    })
    .await;
    assert_eq!(upstream.count("DELETE"), 1);
    // It was there first: after the end of its session a server refuses it.
    assert_eq!(upstream.count("notifications/cancelled"), 1);
    let late = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    gateway.client().post(&endpoint, &late).await.expect_status(404);
    assert_eq!(other.request("ping", &Value::Null).await["result"], json!({}));
    gateway.says("client_gone").await;
}

#[tokio::test]
async fn b04_a_call_is_cancelled_by_its_id() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    upstream.on("tools/call", Act::Hang);
    let mut client = begun(&gateway, "/sse").await;
    let id = client
        .send("tools/call", &call("files-echo", &message("x")))
        .await;
    let params = json!({"requestId": id});
    client
        .say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
        .await;
    eventually("the server is told", PATIENCE, async || {
        upstream.count("notifications/cancelled") == 1
    })
    .await;
    assert_eq!(client.request("ping", &Value::Null).await["result"], json!({}));
}

#[tokio::test]
async fn b60_a_batch_is_answered_by_one_event_where_there_are_batches() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": "a", "method": "ping"},
        {"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": call("files-echo", &message("hi"))},
    ]);
    let mut client = SseClient::open(&gateway.client(), "/sse").await;
    client.initialize("2025-03-26", &json!({})).await;
    client.say(&batch).await;
    let answer = client.expect_next().await;
    assert_eq!(
        (&answer[0]["id"], &answer[1]["id"]),
        (&json!("a"), &json!("b")),
        "{answer}"
    );
    let mut client = begun(&gateway, "/sse").await;
    client.post(&batch).await.expect_status(400);
    client.post(&json!({"no": "message"})).await.expect_status(400);
    // The new era has no such transport; clients that look for it are told so and begin with `initialize`.
    let found = client.request("server/discover", &json!({"_meta": {}})).await;
    assert_eq!(found["error"]["code"], -32601);
}

#[tokio::test]
async fn s21_the_address_for_messages_is_good_for_its_caller_and_route_alone() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = begun(&gateway, "/files/sse").await;
    let ping = json!({"jsonrpc": "2.0", "id": 9, "method": "ping"});
    let endpoint = client.endpoint().to_owned();
    let query = endpoint.split_once('?').unwrap().1.to_owned();
    // Authentication, on the stream and on every message.
    gateway.anonymous().get("/sse").await.expect_status(401);
    gateway
        .anonymous()
        .post(&endpoint, &ping)
        .await
        .expect_status(401);
    let wrong = gateway
        .client()
        .with_header("x-litellm-api-key", "Bearer sk-wrong");
    wrong.post(&endpoint, &ping).await.expect_status(401);
    // Another route, the same route by its other names, and none at all.
    for (path, status) in [
        (format!("/sse/messages?{query}"), 404),
        (format!("/mcp/sse/messages?{query}"), 404),
        (format!("/files/mcp/sse/messages?{query}"), 202),
        (format!("/files/sse/messages/?{query}"), 202),
        ("/files/sse/messages?session_id=AAAA".to_owned(), 404),
        (format!("{endpoint}A"), 404),
        ("/files/sse/messages".to_owned(), 400),
    ] {
        let reply = gateway.client().post(&path, &ping).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    for _ in 0..2 {
        assert_eq!(client.expect_next().await["result"], json!({}));
    }
    // It is no session of the other transport.
    let id = query.strip_prefix("session_id=").unwrap();
    let mut other = gateway.mcp_at("/files/mcp");
    other.set_session(Some(id));
    assert_eq!(other.request("ping", &Value::Null).await.status, 404);
    // Another process with the same secret, which is no replica of this one: nothing is done, and the answer says why.
    let config = Config::of(&[("files", &upstream)]).text();
    let replica = TestGateway::builder()
        .config(&config)
        .master_key(Some(gateway.master_key()))
        .start()
        .await;
    let elsewhere = replica.client().post(&endpoint, &ping).await.expect_status(502);
    assert!(elsewhere.text().contains("out of reach"), "{}", elsewhere.text());
}

#[tokio::test]
async fn b22_what_a_client_subscribed_to_is_subscribed_to_again_on_a_new_session() {
    let upstream = ScriptedUpstream::builder()
        .initialize_member(
            "capabilities",
            json!({"tools": {}, "resources": {"subscribe": true}}),
        )
        .on(
            "resources/list",
            Act::Result(r#"{"resources":[{"uri":"file:///a","name":"a"}]}"#.to_owned()),
        )
        .on("resources/subscribe", Act::Result("{}".to_owned()))
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = begun(&gateway, "/sse").await;
    let uri = json!({"uri": "file:///a"});
    let subscribed = client.request("resources/subscribe", &uri).await;
    assert_eq!(subscribed["result"], json!({}), "{subscribed}");
    upstream.expire_sessions();
    upstream.clear();
    let answer = client
        .request("tools/call", &call("files-echo", &message("hi")))
        .await;
    assert_eq!(said(&answer), "hi");
    eventually("it is subscribed to again", PATIENCE, async || {
        upstream.count("resources/subscribe") == 1
    })
    .await;
    let requests = upstream.requests();
    let session = |method| {
        let own = requests.iter().rfind(|request| request.is(method));
        own.unwrap().session.clone()
    };
    assert_eq!(session("resources/subscribe"), session("tools/call"));
    assert_eq!(upstream.count("initialize"), 1);
}

#[tokio::test]
async fn s38_open_streams_of_one_key_have_a_bound() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::of(&[("files", &upstream)])
        .general("mcp_max_streams_per_principal: 3")
        .start()
        .await;
    listed(&gateway, "files").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let standing = client.get_stream().await;
    let mut one = begun(&gateway, "/sse").await;
    let two = begun(&gateway, "/sse").await;
    let full = gateway.client().get("/sse").await.expect_status(503);
    assert!(full.header("retry-after").is_some());
    let error = full.json()["error"].clone();
    assert!(
        text(&error["message"]).contains("mcp_max_streams_per_principal"),
        "{error}"
    );
    assert_eq!(
        error["data"],
        json!({"limit": "mcp_max_streams_per_principal", "max": 3})
    );
    assert_eq!(client.get_stream().await.status(), 503);
    // What is open goes on, and what is closed makes room.
    let answer = one
        .request("tools/call", &call("files-echo", &message("hi")))
        .await;
    assert_eq!(said(&answer), "hi");
    drop((two, standing));
    eventually("there is room", PATIENCE, async || {
        SseClient::try_open(&gateway.client(), "/sse").await.is_ok()
    })
    .await;
}

/// A client that asks for much and reads nothing.
#[tokio::test]
async fn s38_a_client_that_does_not_read_fills_no_memory() {
    let large = "x".repeat(256 * 1024);
    let answer = large.clone();
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("large"), move |_| ToolAnswer::text(&answer))
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut other = begun(&gateway, "/sse").await;
    let request = format!(
        "GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Litellm-Api-Key: {}\r\nAccept: text/event-stream\r\n\r\n",
        gateway.master_key()
    );
    let mut socket = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let endpoint = loop {
        socket.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some(endpoint) = text.lines().find_map(|line| line.strip_prefix("data: "))
            && text.contains("\n\n")
        {
            break endpoint.to_owned();
        }
    };
    let before = gateway.rss_bytes();
    let mut taken = 0;
    let refused = loop {
        let message = json!({"jsonrpc": "2.0", "id": taken, "method": "tools/call", "params": call("files-large", &json!({}))});
        let reply = gateway.client().post(&endpoint, &message).await;
        if reply.status != 202 {
            break reply.expect_status(503);
        }
        taken += 1;
        assert!(taken < 1000, "it has no bound");
    };
    assert!(refused.header("retry-after").is_some());
    let grown = gateway.rss_bytes().saturating_sub(before) / (1024 * 1024);
    assert!(grown < 150, "{grown} MiB for {taken} answers of 256 KiB");
    let answer = other
        .request("tools/call", &call("files-large", &json!({})))
        .await;
    assert_eq!(said(&answer).len(), large.len());
    drop(socket);
    eventually("nothing is under way", PATIENCE, async || {
        upstream.sessions() <= 2
    })
    .await;
    assert_calm(&gateway);
}

#[tokio::test]
async fn streams_of_the_old_transport_end_when_the_gateway_stops_and_calls_finish() {
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("slow"), |call| {
            ToolAnswer::progress(call, 3, Duration::from_millis(300))
        })
        .start()
        .await;
    let mut gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = begun(&gateway, "/sse").await;
    let silent = SseClient::open(&gateway.client(), "/sse").await;
    let id = client.send("tools/call", &call("files-slow", &json!({}))).await;
    eventually("the call is there", PATIENCE, async || {
        upstream.count("tools/call") == 1
    })
    .await;
    gateway.signal(Signal::Term);
    assert_eq!(said(&client.answer(id).await), "done");
    assert_eq!(client.next().await, None);
    drop(silent);
    let exit = gateway.wait().await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.took < Duration::from_secs(8), "{exit:?}");
    assert_eq!(upstream.sessions(), 0);
    assert_calm(&gateway);
}
