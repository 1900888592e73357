//! The wire of 2026-07-28 as a server must check it: step by step, in the order of the specification's servers. Each row is
//! a request, and its status, code and id.

use http::{Method, Request};
use serde_json::{Value, json};
use trunkline_testkit::{Reply, TestGateway};

use crate::servers::{Asking, Plan};
use crate::support::{CLIENT_INFO, Era, MODERN, Modern, error, gateway_of, metadata, result};

/// Headers in place of the right ones; an empty value takes one away.
type Headers = Vec<(&'static str, &'static str)>;

struct Rig {
    gateway: TestGateway,
    server: Asking,
}

async fn rig() -> Rig {
    let server = Asking::start(Era::Modern, Plan::default()).await;
    let gateway = gateway_of(&[("asks", &server.server, Era::Modern)], "").await;
    Rig { gateway, server }
}

impl Rig {
    fn client(&self) -> Modern {
        Modern::at(&self.gateway, "/asks/mcp")
    }

    /// A body as it is, with these headers in place of the right ones; an empty value takes one away.
    async fn send(&self, body: &str, changes: &[(&str, &str)]) -> Reply {
        let mut request = self.client().post("tools/call", Some("ask"), body.to_owned());
        for (name, value) in changes {
            let name: http::HeaderName = name.parse().unwrap();
            match *value {
                "" => drop(request.headers_mut().remove(&name)),
                value => drop(request.headers_mut().insert(name, value.parse().unwrap())),
            }
        }
        self.gateway.client().try_send(request).await.unwrap()
    }
}

/// A call with this as `_meta`, and an id of its own kind.
fn with_meta(meta: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":"m1","method":"tools/call","params":{{"name":"ask","arguments":{{}},"_meta":{meta}}}}}"#
    )
}

fn good() -> String {
    with_meta(&format!("{{{}}}", metadata(CLIENT_INFO, "{}")))
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, code: i64, id: &Value, what: &str) {
    assert_eq!(reply.status.as_u16(), status, "{what}: {}", reply.text());
    let answer = reply.json();
    assert_eq!(
        (&answer["error"]["code"], &answer["id"]),
        (&json!(code), id),
        "{what}: {answer}"
    );
}

#[tokio::test]
async fn s23_headers_bodies_and_metadata_are_checked_in_their_order() {
    let rig = rig().await;
    let (none, own, seven) = (json!(null), json!("m1"), json!(7));
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    let later = good().replace(MODERN, "2099-01-01");
    let number = good().replace("\"m1\"", "7");
    // What, body, changes of headers, status, code, id.
    let rows: Vec<(&str, String, Headers, u16, i64, &Value)> = vec![
        (
            "one type accepted",
            good(),
            vec![("accept", "application/json")],
            406,
            -32600,
            &none,
        ),
        (
            "the other",
            good(),
            vec![("accept", "text/event-stream")],
            406,
            -32600,
            &none,
        ),
        (
            "neither",
            good(),
            vec![("accept", "text/html, image/*")],
            406,
            -32600,
            &none,
        ),
        (
            "accept before content type",
            good(),
            vec![("accept", "text/html"), ("content-type", "text/plain")],
            406,
            -32600,
            &none,
        ),
        (
            "no content type",
            good(),
            vec![("content-type", "")],
            415,
            -32600,
            &none,
        ),
        (
            "another",
            good(),
            vec![("content-type", "text/plain")],
            415,
            -32600,
            &none,
        ),
        ("no JSON", "{".to_owned(), vec![], 400, -32700, &none),
        ("nothing", String::new(), vec![], 400, -32700, &none),
        (
            "no UTF-16 either",
            "\u{feff}{}".to_owned(),
            vec![],
            400,
            -32700,
            &none,
        ),
        ("an array", format!("[{}]", good()), vec![], 400, -32600, &none),
        ("an empty one", "[]".to_owned(), vec![], 400, -32600, &none),
        ("a text", "\"hello\"".to_owned(), vec![], 400, -32600, &none),
        (
            "a response",
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(),
            vec![],
            400,
            -32600,
            &none,
        ),
        (
            "an error",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#.to_owned(),
            vec![],
            400,
            -32600,
            &none,
        ),
        (
            "id null",
            good().replace("\"m1\"", "null"),
            vec![],
            400,
            -32600,
            &none,
        ),
        (
            "id of another type",
            good().replace("\"m1\"", "[1]"),
            vec![],
            400,
            -32600,
            &none,
        ),
        (
            "id true",
            good().replace("\"m1\"", "true"),
            vec![],
            400,
            -32600,
            &none,
        ),
        (
            "another JSON-RPC",
            good().replace("\"2.0\"", "\"1.0\""),
            vec![],
            400,
            -32600,
            &none,
        ),
        ("no metadata", with_meta("{}"), vec![], 400, -32602, &own),
        ("metadata that is none", with_meta("7"), vec![], 400, -32602, &own),
        (
            "no params",
            r#"{"jsonrpc":"2.0","id":"m1","method":"tools/call"}"#.to_owned(),
            vec![],
            400,
            -32602,
            &own,
        ),
        (
            "no version",
            with_meta(&format!(r#"{{"{capabilities}":{{}}}}"#)),
            vec![],
            400,
            -32602,
            &own,
        ),
        (
            "a version that is none",
            with_meta(&format!(r#"{{"{version}":7,"{capabilities}":{{}}}}"#)),
            vec![],
            400,
            -32602,
            &own,
        ),
        (
            "no capabilities",
            with_meta(&format!(r#"{{"{version}":"{MODERN}"}}"#)),
            vec![],
            400,
            -32602,
            &own,
        ),
        (
            "capabilities that are none",
            with_meta(&format!(r#"{{"{version}":"{MODERN}","{capabilities}":[]}}"#)),
            vec![],
            400,
            -32602,
            &own,
        ),
        (
            "no version header",
            good(),
            vec![("mcp-protocol-version", "")],
            400,
            -32020,
            &own,
        ),
        (
            "another version",
            good(),
            vec![("mcp-protocol-version", "2025-11-25")],
            400,
            -32020,
            &own,
        ),
        (
            "mismatch before version",
            later.clone(),
            vec![],
            400,
            -32020,
            &own,
        ),
        (
            "a later version, both",
            later,
            vec![("mcp-protocol-version", "2099-01-01")],
            400,
            -32022,
            &own,
        ),
        (
            "no method header",
            good(),
            vec![("mcp-method", "")],
            400,
            -32020,
            &own,
        ),
        (
            "another method",
            good(),
            vec![("mcp-method", "tools/list")],
            400,
            -32020,
            &own,
        ),
        (
            "another case",
            good(),
            vec![("mcp-method", "Tools/Call")],
            400,
            -32020,
            &own,
        ),
        (
            "no name header",
            good(),
            vec![("mcp-name", "")],
            400,
            -32020,
            &own,
        ),
        (
            "another name",
            good(),
            vec![("mcp-name", "Ask")],
            400,
            -32020,
            &own,
        ),
        (
            "a name in broken base64",
            good(),
            vec![("mcp-name", "=?base64?YXNr?=x")],
            400,
            -32020,
            &own,
        ),
        (
            "an id that is a number",
            number,
            vec![("mcp-name", "x")],
            400,
            -32020,
            &seven,
        ),
    ];
    for (what, body, changes, status, code, id) in rows {
        let reply = rig.send(&body, &changes).await;
        assert_refused(&reply, status, code, id, what);
        if code == -32022 {
            let data = &reply.json()["error"]["data"];
            assert_eq!(data, &json!({"supported": [MODERN], "requested": "2099-01-01"}));
        }
    }
    assert_eq!(rig.server.begun(), 0, "nothing of it was sent");
}

#[tokio::test]
async fn s23_what_is_lenient_is_served() {
    let rig = rig().await;
    let without_info = with_meta(&format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
    ));
    let rows: Vec<(&str, String, Headers)> = vec![
        ("as it should be", good(), vec![]),
        ("anything accepted", good(), vec![("accept", "*/*")]),
        ("nothing said about it", good(), vec![("accept", "")]),
        (
            "with weights",
            good(),
            vec![("accept", "text/event-stream;q=0.5 , application/json")],
        ),
        (
            "with a charset",
            good(),
            vec![("content-type", "Application/JSON; charset=utf-8")],
        ),
        ("no clientInfo", without_info, vec![]),
        ("blanks around a name", good(), vec![("mcp-name", " ask ")]),
        ("a name in base64", good(), vec![("mcp-name", "=?base64?YXNr?=")]),
        (
            "a session id of before",
            good(),
            vec![("mcp-session-id", "nobody-knows-it")],
        ),
        ("an event id", good(), vec![("last-event-id", "1-1")]),
        (
            "headers of parameters that are none",
            good(),
            vec![("mcp-param-nobody", "x")],
        ),
    ];
    let count = rows.len();
    for (what, body, changes) in rows {
        let reply = rig.send(&body, &changes).await;
        assert_eq!(reply.status.as_u16(), 200, "{what}: {}", reply.text());
        assert_eq!(result(&reply)["resultType"], "complete", "{what}");
        assert_eq!(reply.header("mcp-session-id"), None, "{what}");
    }
    assert_eq!(rig.server.done(), count);
}

#[tokio::test]
async fn s23_a_routing_header_is_there_once() {
    let rig = rig().await;
    for (name, value) in [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "ask"),
        ("mcp-param-region", "eu"),
    ] {
        let mut request = rig.client().post("tools/call", Some("ask"), good());
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(&name, value.parse().unwrap());
        if name == "mcp-param-region" {
            request.headers_mut().append(&name, value.parse().unwrap());
        }
        let reply = rig.gateway.client().try_send(request).await.unwrap();
        assert_refused(&reply, 400, -32020, &json!("m1"), name.as_str());
    }
    assert_eq!(rig.server.begun(), 0);
}

#[tokio::test]
async fn s25_only_posts_and_only_methods_that_are_there() {
    let rig = rig().await;
    for method in [
        Method::GET,
        Method::DELETE,
        Method::PUT,
        Method::HEAD,
        Method::PATCH,
        Method::OPTIONS,
    ] {
        let request = Request::builder()
            .method(&method)
            .uri("/asks/mcp")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", MODERN)
            .body(bytes::Bytes::new())
            .unwrap();
        let reply = rig.gateway.client().try_send(request).await.unwrap();
        assert_eq!(reply.status.as_u16(), 405, "{method}: {}", reply.everything());
        assert!(
            reply.header("allow").is_some_and(|allow| allow.contains("POST")),
            "{method}"
        );
    }
    let client = rig.client();
    for removed in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
    ] {
        let params = json!({"protocolVersion": "2025-11-25", "uri": "memo://ask", "level": "info"});
        let reply = client.ask(removed, &params).await;
        assert_refused(&reply, 404, -32601, &json!("m1"), removed);
        assert_eq!(rig.server.heard_of(removed).len(), 0, "{removed}");
    }
    let reply = client.ask("nobody/knows", &json!({})).await;
    assert_refused(&reply, 404, -32601, &json!("m1"), "a method of nobody");
    // An unknown tool is no unknown method.
    let reply = client
        .ask("tools/call", &json!({"name": "other", "arguments": {}}))
        .await;
    assert_refused(&reply, 200, -32602, &json!("m1"), "a tool of nobody");
    // Posted notifications are taken and done nothing about: the id may be anybody's.
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"m1"}}"#;
    let request = client.post("notifications/cancelled", None, body.to_owned());
    let reply = rig.gateway.client().try_send(request).await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), reply.body.len()),
        (202, 0),
        "{}",
        reply.everything()
    );
}

/// A header that names a later revision is a request of it; a body that does not say so is wrong.
#[tokio::test]
async fn s23_the_body_decides_of_which_era_a_request_is() {
    let rig = rig().await;
    let plain = r#"{"jsonrpc":"2.0","id":"m1","method":"tools/list"}"#;
    for version in [MODERN, "2099-12-31"] {
        let reply = rig
            .send(
                plain,
                &[
                    ("mcp-protocol-version", version),
                    ("mcp-method", "tools/list"),
                    ("mcp-name", ""),
                ],
            )
            .await;
        assert_refused(&reply, 400, -32602, &json!("m1"), version);
    }
    // A plain `initialize` that asks for it is answered with the last revision that has one.
    let hello = format!(
        r#"{{"jsonrpc":"2.0","id":"m1","method":"initialize","params":{{"protocolVersion":"{MODERN}","capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
    );
    let reply = rig
        .send(
            &hello,
            &[("mcp-protocol-version", ""), ("mcp-method", ""), ("mcp-name", "")],
        )
        .await;
    assert_eq!(result(&reply)["protocolVersion"], "2025-11-25");
    // One with metadata is of the new era, in which there is none.
    let claimed = rig
        .client()
        .ask("initialize", &json!({"protocolVersion": "2025-11-25"}))
        .await;
    assert_refused(&claimed, 404, -32601, &json!("m1"), "initialize with metadata");
}

/// Arguments, headers `Mcp-Param-*`, and whether they say the same.
fn arguments_and_headers() -> Vec<(String, Headers, bool)> {
    let long = "123456789012345678901234567890";
    vec![
        (r#"{"region":"eu"}"#.into(), vec![("region", "eu")], true),
        (
            r#"{"region":"é"}"#.into(),
            vec![("region", "=?base64?w6k=?=")],
            true,
        ),
        (r#"{"region":null}"#.into(), vec![], true),
        ("{}".into(), vec![("other", "x")], true),
        (r#"{"count":42.0}"#.into(), vec![("count", "42")], true),
        (r#"{"count":4.2e1}"#.into(), vec![("count", "42")], true),
        (format!(r#"{{"count":{long}}}"#), vec![("count", long)], true),
        (
            r#"{"deep":{"flag":true},"x":1e400}"#.into(),
            vec![("flag", "true")],
            true,
        ),
        (r#"{"region":"eu"}"#.into(), vec![], false),
        ("{}".into(), vec![("region", "eu")], false),
        (r#"{"region":"eu"}"#.into(), vec![("region", "EU")], false),
        (
            r#"{"region":"é"}"#.into(),
            vec![("region", "=?base64?w6k?=")],
            false,
        ),
        (r#"{"count":42}"#.into(), vec![("count", "43")], false),
        (
            format!(r#"{{"count":{long}}}"#),
            vec![("count", "123456789012345678901234567891")],
            false,
        ),
        (
            r#"{"deep":{"flag":true},"x":1e400}"#.into(),
            vec![("flag", "false")],
            false,
        ),
        (
            r#"{"region":"eu","region":"us"}"#.into(),
            vec![("region", "us")],
            false,
        ),
        (
            r#"{"region":"eu","\u0072egion":"us"}"#.into(),
            vec![("region", "eu")],
            false,
        ),
    ]
}

/// `x-mcp-header`: what a header says of an argument.
#[tokio::test]
async fn s23_headers_of_parameters_say_what_the_arguments_say() {
    let schema = json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
    }});
    let upstream = trunkline_testkit::ScriptedUpstream::builder()
        .tool(json!({"name": "ask", "inputSchema": schema}))
        .start()
        .await;
    let config = format!(
        "mcp_servers:\n  asks:\n    url: {}\n    prefix: never\n",
        upstream.url()
    );
    let gateway = TestGateway::start(&config).await;
    let client = Modern::at(&gateway, "/asks/mcp");
    result(&client.ask("tools/list", &json!({})).await);
    let rows = arguments_and_headers();
    let mut served = 0;
    for (arguments, headers, good) in rows {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"m1","method":"tools/call","params":{{"name":"ask","arguments":{arguments},"_meta":{{{}}}}}}}"#,
            metadata(CLIENT_INFO, "{}")
        );
        let mut request = client.post("tools/call", Some("ask"), body);
        for (name, value) in &headers {
            let name: http::HeaderName = format!("mcp-param-{name}").parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let reply = gateway.client().try_send(request).await.unwrap();
        if good {
            // The scripted server reads numbers that it can hold, and answers the others with an error of its own.
            assert_ne!(
                reply.status.as_u16(),
                400,
                "{arguments} {headers:?}: {}",
                reply.text()
            );
            served += 1;
        } else {
            assert_refused(
                &reply,
                400,
                -32020,
                &json!("m1"),
                &format!("{arguments} {headers:?}"),
            );
        }
    }
    let sent = upstream.requests();
    let calls = sent
        .iter()
        .filter(|own| String::from_utf8_lossy(&own.body).contains("tools/call"));
    assert_eq!(calls.count(), served, "what was refused was not sent");
    assert_eq!(
        error(
            &client
                .ask(
                    "tools/call",
                    &json!({"name": "ask", "arguments": {"region": "eu"}})
                )
                .await
        )["code"],
        -32020
    );
}
