//! The wire of the revisions with a hand-shake, row by row.

use http::{Method, Request};
use serde_json::{Value, json};
use trunkline_testkit::{McpClient, Reply, ScriptedUpstream, TestGateway};

use crate::support::{PATIENCE, messages};

async fn rig() -> (TestGateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start().await;
    let config = format!("mcp_servers:\n  files:\n    url: {}\n", upstream.url());
    let gateway = TestGateway::start(&config).await;
    trunkline_testkit::eventually("it is listed", PATIENCE, async || {
        gateway
            .mcp()
            .request("tools/list", &Value::Null)
            .await
            .outcome()
            .is_ok()
    })
    .await;
    (gateway, upstream)
}

/// Headers in place of the right ones; an empty value takes one away.
type Changes = Vec<(&'static str, &'static str)>;

async fn session(gateway: &TestGateway, revision: &str) -> McpClient {
    let mut client = gateway.mcp().with_protocol(revision);
    client.initialize().await;
    client
}

/// A POST of this body on the client's session, with these headers in place of the right ones.
async fn send(client: &McpClient, body: &str, changes: &[(&str, &str)]) -> Reply {
    let mut request = client.post(body.to_owned());
    for (name, value) in changes {
        let name: http::HeaderName = name.parse().unwrap();
        match *value {
            "" => drop(request.headers_mut().remove(&name)),
            value => drop(request.headers_mut().insert(name, value.parse().unwrap())),
        }
    }
    client.http().try_send(request).await.unwrap()
}

fn hello(revision: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}}).to_string()
}

#[tokio::test]
async fn s25_what_is_no_message_is_refused_with_its_status() {
    let (gateway, upstream) = rig().await;
    let client = session(&gateway, "2025-11-25").await;
    upstream.clear();
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    let rows: Vec<(&str, &str, Changes, u16, i64)> = vec![
        (
            "one type accepted",
            ping,
            vec![("accept", "application/json")],
            406,
            -32600,
        ),
        (
            "another content type",
            ping,
            vec![("content-type", "text/plain")],
            415,
            -32600,
        ),
        ("no JSON", "{\"jsonrpc\":", vec![], 400, -32700),
        ("a text", "\"x\"", vec![], 400, -32600),
        (
            "id null",
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            vec![],
            400,
            -32600,
        ),
        (
            "id an object",
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            vec![],
            400,
            -32600,
        ),
        ("no method", r#"{"jsonrpc":"2.0","id":1}"#, vec![], 400, -32600),
        (
            "a method that is none",
            r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
            vec![],
            400,
            -32600,
        ),
        (
            "params that are none",
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":1}"#,
            vec![],
            400,
            -32600,
        ),
        (
            "a batch",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            vec![],
            400,
            -32600,
        ),
        (
            "a version of nobody",
            ping,
            vec![("mcp-protocol-version", "1.0")],
            400,
            -32600,
        ),
        (
            "an old one that never was",
            ping,
            vec![("mcp-protocol-version", "2025-01-01")],
            400,
            -32600,
        ),
        (
            "a session of nobody",
            ping,
            vec![("mcp-session-id", "nobody")],
            404,
            -32600,
        ),
    ];
    for (what, body, changes, status, code) in rows {
        let reply = send(&client, body, &changes).await;
        assert_eq!(reply.status.as_u16(), status, "{what}: {}", reply.text());
        let answer = reply.json();
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(code), &Value::Null),
            "{what}"
        );
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn s25_errors_of_methods_travel_at_200_and_what_harms_nobody_is_taken() {
    let (gateway, upstream) = rig().await;
    let client = session(&gateway, "2025-11-25").await;
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    // With the id: 404 would end the session.
    for (body, code) in [
        (
            r#"{"jsonrpc":"2.0","id":"é\u0031","method":"tools/call","params":{"name":"nobody's"}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"é\u0031","method":"tools/call","params":{}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"é\u0031","method":"tools/call","params":[]}"#,
            -32602,
        ),
        (r#"{"jsonrpc":"2.0","id":"é\u0031","method":"no/such"}"#, -32601),
        (
            r#"{"jsonrpc":"2.0","id":"é\u0031","method":"initialize"}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"é\u0031","method":"initialize","params":{}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"é\u0031","method":"logging/setLevel","params":{"level":"loud"}}"#,
            -32602,
        ),
    ] {
        let reply = send(&client, body, &[]).await;
        assert_eq!(reply.status.as_u16(), 200, "{body}: {}", reply.text());
        assert_eq!(reply.json()["error"]["code"], code, "{body}: {}", reply.text());
        assert!(
            reply.text().contains(r#""id":"é\u0031""#),
            "the id as it was spelled: {}",
            reply.text()
        );
    }
    // Lenient where nobody is harmed.
    for changes in [
        vec![("accept", "*/*")],
        vec![("accept", "")],
        vec![("content-type", "application/json; charset=utf-8")],
        vec![("mcp-protocol-version", "")],
        vec![("mcp-session-id", "")],
    ] {
        let reply = send(&client, ping, &changes).await;
        assert_eq!(reply.status.as_u16(), 200, "{changes:?}: {}", reply.text());
    }
    for (body, status) in [
        (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, 202),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/of/nobody","params":{"x":1}}"#,
            202,
        ),
        (r#"{"jsonrpc":"2.0","id":"to nothing","result":{}}"#, 202),
        (
            r#"{"jsonrpc":"2.0","id":"to nothing","error":{"code":1,"message":"m"}}"#,
            202,
        ),
    ] {
        let reply = send(&client, body, &[]).await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.len()),
            (status, 0),
            "{body}: {}",
            reply.text()
        );
    }
    assert_eq!(upstream.count("tools/call"), 0);
}

#[tokio::test]
async fn s21_methods_without_a_session() {
    let (gateway, _upstream) = rig().await;
    let ask = async |method: Method, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri("/mcp");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        gateway
            .client()
            .try_send(request.body(bytes::Bytes::new()).unwrap())
            .await
            .unwrap()
    };
    let stream = ("accept", "text/event-stream");
    let unknown = ("mcp-session-id", "nobody");
    for (method, headers, status) in [
        (Method::GET, vec![stream], 405),
        (Method::DELETE, vec![], 405),
        (Method::GET, vec![stream, unknown], 404),
        (Method::DELETE, vec![unknown], 404),
        (Method::GET, vec![stream, unknown, ("last-event-id", "1-1")], 404),
        (Method::PUT, vec![], 405),
    ] {
        let reply = ask(method.clone(), &headers).await;
        assert_eq!(
            reply.status.as_u16(),
            status,
            "{method} {headers:?}: {}",
            reply.text()
        );
        if status == 405 {
            assert!(
                reply.header("allow").is_some_and(|allow| allow.contains("POST")),
                "{method}"
            );
        }
    }
    let client = session(&gateway, "2025-11-25").await;
    let id = client.session().unwrap().to_owned();
    assert!(id.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{id}");
    let session = ("mcp-session-id", id.as_str());
    // A stream has to be wanted.
    assert_eq!(
        ask(Method::GET, &[session, ("accept", "application/json")])
            .await
            .status
            .as_u16(),
        406
    );
    let ended = ask(Method::DELETE, &[session]).await;
    assert!(
        [200, 204].contains(&ended.status.as_u16()),
        "clients take no other word for it: {}",
        ended.status
    );
    assert_eq!(ask(Method::GET, &[session, stream]).await.status.as_u16(), 404);
}

#[tokio::test]
async fn revisions_are_negotiated_without_an_error() {
    let (gateway, _upstream) = rig().await;
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
        ("", "2025-11-25"),
    ] {
        let reply = send(&gateway.mcp(), &hello(asked), &[("mcp-protocol-version", "")]).await;
        assert_eq!(reply.status.as_u16(), 200);
        assert_eq!(reply.json()["result"]["protocolVersion"], agreed, "{asked}");
        assert!(reply.header("mcp-session-id").is_some(), "{asked}");
    }
    // What is no version is no parameter.
    for wrong in ["7", "null", "{}"] {
        let body = hello("X").replace("\"X\"", wrong);
        let reply = send(&gateway.mcp(), &body, &[]).await;
        assert_eq!(reply.json()["error"]["code"], -32602, "{wrong}");
    }
}

/// Priming events are of 2025-11-25: clients of earlier revisions take an empty event for a broken one.
#[tokio::test]
async fn b60_only_clients_that_know_it_get_a_priming_event() {
    let upstream = ScriptedUpstream::builder()
        .tool_fn(
            &json!({"name": "slow", "inputSchema": {"type": "object"}}),
            |call| trunkline_testkit::ToolAnswer::progress(call, 1, std::time::Duration::ZERO),
        )
        .start()
        .await;
    let config = format!("mcp_servers:\n  files:\n    url: {}\n", upstream.url());
    let gateway = TestGateway::start(&config).await;
    for (revision, primed) in [
        ("2024-11-05", false),
        ("2025-03-26", false),
        ("2025-06-18", false),
        ("2025-11-25", true),
    ] {
        let client = session(&gateway, revision).await;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "files-slow", "arguments": {}, "_meta": {"progressToken": 1}}});
        let reply = send(&client, &body.to_string(), &[]).await;
        assert_eq!(
            reply.header("content-type"),
            Some("text/event-stream"),
            "{revision}"
        );
        assert_eq!(reply.header("x-accel-buffering"), Some("no"));
        let text = reply.text();
        assert_eq!(
            text.starts_with("id: ") && text.contains("retry: "),
            primed,
            "{revision}: {text}"
        );
        assert_eq!(text.contains("id: "), primed, "{revision}: {text}");
        let answer: Value = serde_json::from_str(messages(&reply).last().unwrap()).unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], "done", "{revision}");
    }
}
