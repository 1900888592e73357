//! S23: what is decided about is what is sent. Whatever the spelling, the size and the pieces: either a request is refused
//! and nothing of it is sent, or the server gets the very call that was decided about.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trunkline_testkit::{ScriptedUpstream, TestGateway, eventually};

use crate::support::{CLIENT_INFO, MODERN, PATIENCE, metadata};

/// A server with a tool that may be called and one that may not.
async fn rig(general: &str) -> (TestGateway, ScriptedUpstream) {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let upstream = ScriptedUpstream::builder()
        .tool(tool("allowed"))
        .tool(tool("denied"))
        .start()
        .await;
    let config = format!(
        "mcp_servers:\n  files:\n    url: {}\n    prefix: never\n    allowed_tools: [allowed]\n{general}",
        upstream.url()
    );
    let gateway = TestGateway::start(&config).await;
    eventually("it is listed", PATIENCE, async || {
        gateway.mcp_at("/files/mcp").tool_names().await == ["allowed"]
    })
    .await;
    upstream.clear();
    (gateway, upstream)
}

/// Which tools were called since the last look.
fn called(upstream: &ScriptedUpstream) -> Vec<String> {
    let mut names = Vec::new();
    for request in upstream.requests() {
        if request.is("tools/call") {
            names.push(
                request.json()["params"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    upstream.clear();
    names
}

/// The body of a call of either era.
fn body(params: &str, modern: bool) -> String {
    let params = if modern {
        crate::support::appended(params, &format!(r#""_meta":{{{}}}"#, metadata(CLIENT_INFO, "{}")))
    } else {
        params.to_owned()
    };
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
}

async fn send(gateway: &TestGateway, body: &str, modern: Option<&str>) -> trunkline_testkit::Reply {
    let mut request = gateway.mcp_at("/files/mcp").post(body.to_owned());
    if let Some(name) = modern {
        for (header, value) in [
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", name),
        ] {
            let header: http::HeaderName = header.parse().unwrap();
            request.headers_mut().insert(header, value.parse().unwrap());
        }
    }
    gateway.client().try_send(request).await.unwrap()
}

#[tokio::test]
async fn s23_a_key_that_is_there_twice_in_any_spelling_is_refused_where_it_counts() {
    let (gateway, upstream) = rig("").await;
    let twice = [
        r#"{"name":"allowed","name":"denied","arguments":{}}"#,
        r#"{"name":"denied","name":"allowed","arguments":{}}"#,
        r#"{"name":"allowed","arguments":{},"n\u0061me":"denied"}"#,
        r#"{"\u006e\u0061\u006d\u0065":"denied","arguments":{},"name":"allowed"}"#,
        r#"{"name":"allowed","arguments":{},"arguments":{"x":1}}"#,
        r#"{"name":"allowed","_meta":{"progressToken":1,"progressT\u006fken":2}}"#,
    ];
    for params in twice {
        for modern in [None, Some("allowed"), Some("denied")] {
            if modern.is_some() && params.contains("_meta") {
                continue;
            }
            let reply = send(&gateway, &body(params, modern.is_some()), modern).await;
            let answer = reply.json();
            assert!(answer["error"]["code"].is_i64(), "{params} {modern:?}: {answer}");
            assert_eq!(called(&upstream), Vec::<String>::new(), "{params} {modern:?}");
        }
    }
    // The envelope's own members.
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"denied"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"allowed"},"p\u0061rams":{"name":"denied"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"allowed"}}"#,
    ] {
        send(&gateway, text, None).await.expect_status(400);
        assert_eq!(called(&upstream), Vec::<String>::new(), "{text}");
    }
    // REST reads the same way.
    for text in [
        r#"{"name":"allowed","name":"denied"}"#,
        r#"{"name":"allowed","server_id":"files","server_\u0069d":"other"}"#,
    ] {
        let request = gateway.mcp_at("/mcp-rest/tools/call").post(text);
        let reply = gateway.client().try_send(request).await.unwrap();
        assert_eq!(reply.status.as_u16(), 400, "{text}: {}", reply.text());
        assert_eq!(called(&upstream), Vec::<String>::new(), "{text}");
    }
}

#[tokio::test]
async fn s23_every_other_spelling_is_the_call_that_was_decided_about() {
    let (gateway, upstream) = rig("").await;
    // Parameters, and what may be called by them.
    let rows: [(&str, Option<&str>); 13] = [
        (r#"{"name":"allowed","arguments":{}}"#, Some("allowed")),
        (r#"{"n\u0061me":"allowed","arguments":{}}"#, Some("allowed")),
        (r#"{"name":"\u0061llowed","arguments":{}}"#, Some("allowed")),
        // A server that does not mind the case of letters would take another one: it gets none.
        (r#"{"Name":"denied","name":"allowed","NAME":"denied"}"#, None),
        (r#"{"name":"allowed","Arguments":{}}"#, None),
        (r#"{"name ":"denied","name":"allowed"}"#, Some("allowed")),
        (
            r#"{"arguments":{"name":"denied","name":"allowed"},"name":"allowed"}"#,
            Some("allowed"),
        ),
        (r#"{"name":"denied","arguments":{}}"#, None),
        (r#"{"name":"\u0064enied","arguments":{}}"#, None),
        (r#"{"Name":"allowed"}"#, None),
        (r#"{"name":["allowed"]}"#, None),
        (r#"{"name":"allowed\u0000"}"#, None),
        (r#"{"name":"files-denied"}"#, None),
    ];
    for (params, tool) in rows {
        for modern in [None, Some("allowed"), Some("denied")] {
            let reply = send(&gateway, &body(params, modern.is_some()), modern).await;
            let is_result = reply.json().get("result").is_some();
            // With a header that names another tool nothing is called at all.
            let expected = tool.filter(|tool| modern.is_none_or(|header| header == *tool));
            assert_eq!(
                is_result,
                expected.is_some(),
                "{params} {modern:?}: {}",
                reply.text()
            );
            let expected: Vec<String> = expected.map(str::to_owned).into_iter().collect();
            assert_eq!(called(&upstream), expected, "{params} {modern:?}");
        }
    }
}

#[tokio::test]
async fn s23_a_batch_is_decided_about_message_by_message() {
    let (gateway, upstream) = rig("").await;
    let mut client = gateway.mcp_at("/files/mcp").with_protocol("2025-03-26");
    client.initialize().await;
    let call = |id: u32, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#)
    };
    let batch = [
        call(1, r#"{"name":"allowed"}"#),
        call(2, r#"{"name":"denied"}"#),
        call(3, r#"{"name":"allowed","n\u0061me":"denied"}"#),
        call(4, r#"{"name":"\u0061llowed"}"#),
        format!("[{}]", call(5, r#"{"name":"denied"}"#)),
    ];
    let reply = client
        .send_message(format!("[{}]", batch.join(",")))
        .await
        .unwrap();
    let answers: Value = serde_json::from_slice(&reply.raw).unwrap();
    let of = |id: u32| {
        answers
            .as_array()
            .unwrap()
            .iter()
            .find(|answer| answer["id"] == id)
            .unwrap()
    };
    assert!(
        of(1)["result"].is_object() && of(4)["result"].is_object(),
        "{answers}"
    );
    assert!(
        of(2)["error"].is_object() && of(3)["error"].is_object(),
        "{answers}"
    );
    let mut names = called(&upstream);
    names.dedup();
    assert_eq!(names, ["allowed"]);
}

#[tokio::test]
async fn s23_one_byte_over_the_limit_is_refused_and_nothing_is_cut_off() {
    let limit = 64 * 1024;
    let (gateway, upstream) = rig("general_settings:\n  mcp_max_body_bytes: 65536\n").await;
    // What lies behind the limit would change what the call is.
    let build = |length: usize| {
        let (head, tail) = (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"allowed","arguments":{"message":""#,
            r#""}}}"#,
        );
        format!("{head}{}{tail}", "x".repeat(length - head.len() - tail.len()))
    };
    let reply = send(&gateway, &build(limit), None).await.expect_status(200);
    assert!(reply.json()["result"].is_object());
    assert_eq!(called(&upstream), ["allowed"]);
    for over in [1, 2, 1000, limit] {
        send(&gateway, &build(limit + over), None)
            .await
            .expect_status(413);
        assert_eq!(called(&upstream), Vec::<String>::new(), "{over} over");
    }
    // A good message with blanks up to, and over, the limit.
    let good = body(r#"{"name":"allowed"}"#, false);
    let padded = |length: usize| format!("{good}{}", " ".repeat(length - good.len()));
    send(&gateway, &padded(limit), None).await.expect_status(200);
    assert_eq!(called(&upstream), ["allowed"]);
    send(&gateway, &padded(limit + 1), None).await.expect_status(413);
    assert_eq!(called(&upstream), Vec::<String>::new());
}

/// In chunks of any size, with a piece of a character or of an escape in each.
#[tokio::test]
async fn s23_a_body_in_pieces_is_the_body() {
    let (gateway, upstream) = rig("").await;
    let text = body(
        r#"{"n\u0061me":"\u0061llowed","arguments":{"message":"é\ud83d\ude80 \"denied\""}}"#,
        false,
    );
    for size in [1, 2, 3, 7, 64, text.len()] {
        let mut wire = format!(
            "POST /files/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Litellm-Api-Key: {}\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
            gateway.master_key()
        )
        .into_bytes();
        for chunk in text.as_bytes().chunks(size) {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
        // In two writes as well: the second chunk must not be taken for another request.
        let (first, second) = wire.split_at(wire.len() / 2);
        stream.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(second).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.contains("HTTP/1.1 200") && answer.contains("\\\"denied\\\""),
            "{size}: {answer}"
        );
        let sent = upstream.requests();
        let sent = sent.iter().find(|request| request.is("tools/call")).unwrap();
        assert!(
            String::from_utf8_lossy(&sent.body)
                .contains(r#""arguments":{"message":"é\ud83d\ude80 \"denied\""}"#),
            "{size}"
        );
        assert_eq!(called(&upstream), ["allowed"], "{size}");
    }
}
