//! Peers that want it all: memory, connections, time. S38. What holds each time: memory stays bounded, another server's
//! calls go on, and the answer says what was wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trunkline_testkit::{Act, Cursors, McpClient, ScriptedUpstream, TestGateway, ToolAnswer, eventually};

use crate::support::{PATIENCE, body_of, config, listed, outcome, raw, status_of};

const MIB: u64 = 1 << 20;

/// A gateway with a good server and a bad one. Nothing of the bad one is listed yet when it is bad from the start.
async fn beside(bad: &ScriptedUpstream) -> (TestGateway, ScriptedUpstream) {
    let good = ScriptedUpstream::start().await;
    let text = format!(
        "general_settings:\n  mcp_list_timeout_ms: 5000\n  mcp_call_timeout_ms: 2000\n{}",
        config(&[("good", &good), ("bad", bad)])
    );
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, "good").await;
    (gateway, good)
}

/// A call of the good server works, and in a time that says that nobody stands in its way.
async fn good_goes_on(gateway: &TestGateway) {
    let began = Instant::now();
    let body = json!({"server_id": "good", "name": "echo", "arguments": {"message": "still here"}});
    let reply = gateway.client().post("/mcp-rest/tools/call", &body).await;
    assert!(reply.expect_status(200).text().contains("still here"));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

fn assert_bounded(gateway: &TestGateway, bytes: u64) {
    let used = gateway.rss_bytes();
    assert!(used < bytes, "{} MiB are in use", used / MIB);
}

async fn bad_call(gateway: &TestGateway) -> trunkline_testkit::Reply {
    let body = json!({"server_id": "bad", "name": "echo", "arguments": {"message": "m"}});
    gateway.client().post("/mcp-rest/tools/call", &body).await
}

#[tokio::test]
async fn s38_frames_larger_than_the_limit_are_refused_and_not_kept() {
    for framing in [trunkline_testkit::Framing::Json, trunkline_testkit::Framing::Sse] {
        let bad = ScriptedUpstream::builder().framing(framing).start().await;
        let (gateway, _good) = beside(&bad).await;
        listed(&gateway, "bad").await;
        for method in ["tools/call", "tools/list", "initialize"] {
            bad.behave();
            bad.expire_sessions();
            bad.on(method, Act::GiantFrame(200 << 20));
            let health = gateway.client().get("/v1/mcp/server/health").await;
            if method == "tools/call" {
                let reply = bad_call(&gateway).await.expect_status(502);
                assert!(reply.text().contains("larger than"), "{}", reply.text());
            } else {
                assert!(
                    health.text().contains("larger than"),
                    "{method}: {}",
                    health.text()
                );
            }
            good_goes_on(&gateway).await;
        }
        assert_bounded(&gateway, 450 * MIB);
    }
}

#[tokio::test]
async fn s38_lists_that_never_end_are_ended() {
    for cursors in [Cursors::Loop(3), Cursors::Endless] {
        let bad = ScriptedUpstream::builder()
            .tools("t", 40)
            .page_size(10)
            .cursors(cursors)
            .start()
            .await;
        let (gateway, _good) = beside(&bad).await;
        eventually("the list has an end", PATIENCE, async || {
            outcome(&gateway.client(), "bad").await["status"] != "pending"
        })
        .await;
        assert!(
            bad.count("tools/list") <= 1100,
            "{cursors:?}: {}",
            bad.count("tools/list")
        );
        good_goes_on(&gateway).await;
        assert_bounded(&gateway, 200 * MIB);
    }
}

#[tokio::test]
async fn s38_depth_is_refused_wherever_it_comes_from() {
    let deep = "[".repeat(10 << 20);
    let closed = "[".repeat(5 << 20) + &"]".repeat(5 << 20);
    let bad = ScriptedUpstream::builder()
        .tool_raw(r#"{"name": "deep", "inputSchema": {"type": "object"}}"#, {
            let answer = format!(r#"{{"content": [], "structuredContent": {{"a": {closed}}}}}"#);
            move |_| ToolAnswer::Raw(answer.clone())
        })
        .tool_raw(
            r#"{"name": "echo", "inputSchema": {"type": "object"}}"#,
            ToolAnswer::echo,
        )
        .start()
        .await;
    let (gateway, _good) = beside(&bad).await;
    listed(&gateway, "bad").await;
    // From an upstream.
    let reply = gateway
        .client()
        .post(
            "/mcp-rest/tools/call",
            &json!({"server_id": "bad", "name": "deep"}),
        )
        .await;
    assert!(
        !reply.status.is_success() && reply.body.len() < 10_000,
        "{}",
        reply.status
    );
    for (text, said) in [
        (deep.clone(), "protocol_error"),
        (closed.clone(), "protocol_error"),
        // One definition is left out, whatever else is in the list.
        (format!(r#"{{"tools": {closed}}}"#), "nested too deep"),
        (
            format!(r#"{{"tools": [{{"name": "a", "inputSchema": {closed}}}]}}"#),
            "nested too deep",
        ),
    ] {
        bad.once("tools/list", Act::Result(text));
        let health = gateway.client().get("/v1/mcp/server/health").await.text();
        assert!(health.contains(said), "{}", &health[..health.len().min(2000)]);
    }
    // Its own list again.
    gateway.client().get("/v1/mcp/server/health").await;
    bad.once(
        "tools/call",
        Act::status(200, &deep).with_header("content-type", "application/json"),
    );
    bad_call(&gateway).await.expect_status(502);
    // From a client.
    let client = gateway.mcp();
    for text in [
        deep.clone(),
        closed.clone(),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"bad-echo","arguments":{{"a":{closed}}}}}}}"#
        ),
        format!(r#"{{"jsonrpc":"2.0","id":{closed},"method":"ping"}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","x":{deep}"#),
        "{\"a\":".repeat(1 << 20),
    ] {
        let reply = client.send_message(text).await.unwrap();
        assert_eq!(reply.status.as_u16(), 400);
    }
    for route in [
        "/mcp-rest/tools/call",
        "/v1/mcp/server",
        "/mcp-rest/test/connection",
    ] {
        let body: Vec<u8> = format!(r#"{{"name": "echo", "arguments": {}}}"#, "[".repeat(900_000)).into();
        let request = format!(
            "POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Litellm-Api-Key: {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            gateway.master_key(),
            body.len()
        );
        let answer = raw(gateway.port(), &[request.as_bytes(), &body].concat()).await;
        assert!([400, 422].contains(&status_of(&answer)), "{route}: {answer}");
        assert!(body_of(&answer).len() < 2000);
    }
    good_goes_on(&gateway).await;
    assert_bounded(&gateway, 450 * MIB);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[tokio::test]
async fn s38_endless_messages_before_an_answer_end_at_the_deadline() {
    let bad = ScriptedUpstream::start().await;
    let (gateway, _good) = beside(&bad).await;
    listed(&gateway, "bad").await;
    for act in [
        Act::EndlessNotifications(Duration::ZERO),
        Act::SlowLoris(Duration::from_millis(5)),
        Act::KeepAlivesOnly(Duration::from_millis(1)),
    ] {
        bad.behave();
        bad.on("tools/call", act.clone());
        let began = Instant::now();
        // One that reads all, one that is streamed to, and good ones in between.
        let mut mcp = gateway.mcp();
        let streamed = async {
            let reply = mcp
                .call("bad-echo", &json!({"message": "m"}), Some("token"))
                .await;
            reply.error();
        };
        let good = async {
            for _ in 0..20 {
                good_goes_on(&gateway).await;
            }
        };
        let (reply, (), ()) = tokio::join!(bad_call(&gateway), streamed, good);
        assert!(
            [502, 504].contains(&reply.status.as_u16()),
            "{act:?}: {}",
            reply.text()
        );
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{act:?}: {:?}",
            began.elapsed()
        );
        assert_bounded(&gateway, 250 * MIB);
    }
}

#[tokio::test]
async fn s38_a_client_that_does_not_read_holds_up_nobody_and_nothing_is_kept_for_it() {
    let bad = ScriptedUpstream::start().await;
    bad.on("tools/call", Act::EndlessNotifications(Duration::ZERO));
    let (gateway, _good) = beside(&bad).await;
    listed(&gateway, "bad").await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "bad-echo", "arguments": {}, "_meta": {"progressToken": 1}}}).to_string();
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Litellm-Api-Key: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{message}",
            gateway.master_key(),
            message.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    for _ in 0..10 {
        good_goes_on(&gateway).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_bounded(&gateway, 200 * MIB);
}

#[tokio::test]
async fn s38_a_server_that_asks_without_end_is_not_answered_without_end() {
    let questions: Vec<String> = (0..20_000)
        .map(|id| {
            format!("event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n\n")
        })
        .collect();
    let questions = questions.concat();
    let bad = ScriptedUpstream::start().await;
    let (gateway, _good) = beside(&bad).await;
    listed(&gateway, "bad").await;
    let connections = bad.connections();
    bad.on(
        "tools/call",
        Act::status(200, &questions).with_header("content-type", "text/event-stream"),
    );
    let reply = bad_call(&gateway).await;
    assert!(!reply.status.is_success());
    good_goes_on(&gateway).await;
    let opened = bad.connections() - connections;
    assert!(opened < 100, "{opened} connections for 20,000 questions");
    assert_bounded(&gateway, 200 * MIB);
}

#[tokio::test]
async fn s38_names_by_the_thousand() {
    let definition =
        |index: usize| json!({"name": format!("tool_{index}"), "inputSchema": {"type": "object"}});
    let bad = ScriptedUpstream::start().await;
    bad.set_tools((0..10_100).map(definition));
    let (gateway, _good) = beside(&bad).await;
    eventually("the list is refused", PATIENCE, async || {
        let outcome = outcome(&gateway.client(), "bad").await;
        outcome["message"]
            .as_str()
            .unwrap_or_default()
            .contains("does not end")
    })
    .await;
    // A definition with a million members, and one that is long all the same.
    let members: Vec<String> = (0..50_000).map(|index| format!("\"k{index}\":0")).collect();
    let wide = format!(r#"{{"tools": [{{"name": "wide", {}}}]}}"#, members.join(","));
    let long = json!({"tools": [{"name": "n".repeat(1 << 20), "description": "d".repeat(4 << 20), "inputSchema": {}}]}).to_string();
    for text in [wide, long] {
        bad.once("tools/list", Act::Result(text));
        let health = gateway.client().get("/v1/mcp/server/health").await.text();
        assert!(health.contains(r#""status":"ok""#), "{health}");
        for name in gateway.mcp().tool_names().await {
            assert!(name.len() <= 64, "{} characters", name.len());
        }
    }
    good_goes_on(&gateway).await;
    assert_bounded(&gateway, 300 * MIB);
}

#[tokio::test]
async fn s38_heads_are_bounded_in_number_size_and_time() {
    let bad = ScriptedUpstream::start().await;
    let (gateway, _good) = beside(&bad).await;
    let many: Vec<String> = (0..5000).map(|index| format!("X-{index}: y\r\n")).collect();
    let many = many.concat();
    let long = format!("X-Long: {}\r\n", "y".repeat(1 << 20));
    for headers in [&many, &long] {
        let request = format!("GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n");
        let answer = raw(gateway.port(), request.as_bytes()).await;
        assert!([0, 400, 431].contains(&status_of(&answer)), "{answer}");
    }
    // Many connections that begin and do not go on, each with half a head.
    let mut idle = Vec::new();
    for index in 0..600 {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
        let begun = match index % 3 {
            0 => String::new(),
            1 => "GET /mcp HTT".to_owned(),
            _ => format!(
                "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: {}",
                "y".repeat(30_000)
            ),
        };
        stream.write_all(begun.as_bytes()).await.unwrap();
        idle.push(stream);
    }
    for _ in 0..5 {
        good_goes_on(&gateway).await;
    }
    assert_bounded(&gateway, 250 * MIB);
}

#[tokio::test]
async fn s38_half_a_head_is_not_waited_for_for_ever() {
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let mut slow = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    let mut piece = [0; 64];
    // A byte a second, so that the connection is never idle.
    for byte in b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" {
        let _ = slow.write_all(&[*byte]).await;
        if tokio::time::timeout(Duration::from_secs(1), slow.read(&mut piece))
            .await
            .is_ok()
        {
            return;
        }
    }
    panic!("it is still waited for");
}

#[tokio::test]
async fn s38_ten_thousand_sessions_cost_next_to_nothing() {
    let bad = ScriptedUpstream::start().await;
    let (gateway, _good) = beside(&bad).await;
    let before = gateway.rss_bytes();
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"flood","version":"1"}}}"#;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Litellm-Api-Key: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        gateway.master_key(),
        body.len()
    );
    let mut answers = vec![0; 64 * 1024];
    let mut seen = 0;
    for _ in 0..200 {
        // Fifty at a time over one connection; each is a new session.
        stream.write_all(request.repeat(50).as_bytes()).await.unwrap();
        let mut answered = 0;
        while answered < 50 {
            let length = stream.read(&mut answers).await.unwrap();
            assert!(length > 0, "the connection was closed after {seen} sessions");
            answered += String::from_utf8_lossy(&answers[..length])
                .matches("HTTP/1.1 200")
                .count();
        }
        seen += answered;
    }
    assert!(seen >= 10_000);
    let grown = gateway.rss_bytes().saturating_sub(before);
    assert!(
        grown < 50 * MIB,
        "{} MiB for 10,000 sessions that nobody uses",
        grown / MIB
    );
    assert_eq!(bad.count("initialize"), 1, "an upstream hears of none of them");
    good_goes_on(&gateway).await;
}

#[tokio::test]
async fn s38_a_batch_is_bounded_and_every_request_in_it_is_answered() {
    let bad = ScriptedUpstream::builder()
        .tool_fn(
            &json!({"name": "big", "inputSchema": {"type": "object"}}),
            |call| {
                let bytes = call.arguments["bytes"].as_u64().unwrap_or_default();
                ToolAnswer::text(&"x".repeat(usize::try_from(bytes).unwrap()))
            },
        )
        .start()
        .await;
    let (gateway, _good) = beside(&bad).await;
    listed(&gateway, "bad").await;
    let mut client = McpClient::over(gateway.client(), "/mcp").with_protocol("2025-03-26");
    client.initialize().await;
    let call = |id: usize| {
        // The share of each of fifty is 64 MiB / 50.
        let bytes = if id == 7 { 1_400_000 } else { 10 };
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "bad-big", "arguments": {"bytes": bytes}}})
    };
    let batch: Vec<Value> = (0..50).map(call).collect();
    let reply = client.send_message(json!(batch).to_string()).await.unwrap();
    let answers: Value = serde_json::from_slice(&reply.raw).unwrap();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 50, "each has an answer");
    for answer in answers {
        if answer["id"] == 7 {
            assert!(
                answer["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("larger than"),
                "{answer}"
            );
        } else {
            assert!(answer.get("result").is_some(), "{answer}");
        }
    }
    // Alone it fits.
    let reply = client.send_message(json!([call(7)]).to_string()).await.unwrap();
    let answers: Value = serde_json::from_slice(&reply.raw).unwrap();
    assert!(answers[0].get("result").is_some());
    // More than fifty are refused.
    let batch: Vec<Value> = (0..51).map(call).collect();
    let reply = client.send_message(json!(batch).to_string()).await.unwrap();
    assert_eq!(reply.status.as_u16(), 400);
    assert_bounded(&gateway, 200 * MIB);
}

#[tokio::test]
async fn s38_bodies_are_bounded_and_numbers_may_be_absurd() {
    let bad = ScriptedUpstream::start().await;
    let (gateway, _good) = beside(&bad).await;
    listed(&gateway, "bad").await;
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#,
        "x".repeat(17 << 20)
    );
    let reply = gateway.mcp().send_message(text).await.unwrap();
    assert_eq!(reply.status.as_u16(), 413);
    // A deadline beyond the end of the clock is a long one.
    for timeout in [1e9, 1e18, 1.8e19, 1e300, 1e-300, 0.0, -1.0] {
        let body = json!({"server_id": "odd", "alias": "odd", "url": bad.url(), "transport": "http", "timeout": timeout});
        let registered = gateway.client().post("/v1/mcp/server", &body).await;
        if registered.status.as_u16() != 201 {
            assert!(
                [400, 422].contains(&registered.status.as_u16()),
                "{timeout}: {}",
                registered.text()
            );
            continue;
        }
        listed(&gateway, "odd").await;
        let call = json!({"server_id": "odd", "name": "echo", "arguments": {"message": "m"}});
        let reply = gateway.client().post("/mcp-rest/tools/call", &call).await;
        assert!(
            [200, 504].contains(&reply.status.as_u16()),
            "{timeout}: {}",
            reply.text()
        );
        gateway
            .client()
            .delete("/v1/mcp/server/odd")
            .await
            .expect_status(202);
    }
    for header in [
        "99999999999999999999999",
        "-1",
        "Wed, 21 Oct 2099 07:28:00 GMT",
        "18446744073709551615",
        "1e9",
    ] {
        bad.on("*", Act::status(429, "no").with_header("retry-after", header));
        let health = gateway.client().get("/v1/mcp/server/health").await.text();
        assert!(health.contains("rate_limited"), "{header}: {health}");
    }
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[tokio::test]
async fn s38_an_answer_that_is_nothing_is_no_success() {
    let bad = ScriptedUpstream::start().await;
    let (gateway, _good) = beside(&bad).await;
    listed(&gateway, "bad").await;
    for result in ["null", "7", "\"text\"", "[]", "true"] {
        bad.on("tools/call", Act::Result(result.to_owned()));
        let reply = bad_call(&gateway).await.expect_status(502);
        assert!(
            reply.text().contains("is no object"),
            "{result}: {}",
            reply.text()
        );
        let reply = gateway
            .mcp()
            .call("bad-echo", &json!({"message": "m"}), None)
            .await;
        assert!(reply.error().message.contains("is no object"), "{result}");
    }
}
