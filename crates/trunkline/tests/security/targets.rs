//! Odd request targets, hosts and forwarding headers, byte for byte over TCP: S06. Whether a request needs the key
//! depends on the route that serves it and on nothing else.

use trunkline_testkit::{ScriptedUpstream, TestGateway};

use crate::support::{body_of, config, list_message, listed, raw, status_of};

/// What the routes say that answer anybody. Anything else with a 2xx is something that was not for everybody.
fn is_public(answer: &str) -> bool {
    let body = body_of(answer);
    body.contains("I'm alive!")
        || body.contains(r#""status":"healthy""#)
        || body.contains(r#""enabled": true"#)
}

/// Targets that some server somewhere took for another: what a public path could hide, and what a private one could be
/// disguised as.
const TARGETS: [&str; 46] = [
    "/mcp",
    "/mcp/",
    "//mcp",
    "///mcp",
    "/./mcp",
    "/mcp/.",
    "/mcp/..",
    "/mcp%2f",
    "/mcp%2F..%2Fhealth%2Fliveliness",
    "/%6dcp",
    "/mcp;a=b",
    "/mcp;/health/liveliness",
    "/mcp?/health/liveliness",
    "/mcp?path=/health/liveliness",
    "/mcp#/health/liveliness",
    "/mcp\\..\\health\\liveliness",
    "/health/liveliness/../../mcp",
    "/health/liveliness/..%2f..%2fmcp",
    "/health/liveliness/%2e%2e/%2e%2e/mcp",
    "/health/liveliness/..;/..;/mcp",
    "/health/liveliness/mcp",
    "/health/liveliness%00/mcp",
    "/health/liveliness;/../../v1/mcp/server",
    "/health/liveliness/../../v1/mcp/server",
    "/health/liveliness?/../../v1/mcp/server",
    "/health/liveliness#/../../v1/mcp/server",
    "/health/../v1/mcp/server",
    "/health/%2e%2e/v1/mcp/server",
    "/health/mcp",
    "/health%2fliveliness/mcp",
    "/mcp/enabled/../",
    "/mcp/enabled/mcp",
    "/mcp/health%2fliveliness",
    "/files/mcp",
    "/FILES/MCP",
    "/files%2fmcp",
    "/health,files/mcp",
    "/files/mcp/../../health/liveliness",
    "/v1/mcp/server",
    "/v1//mcp/server",
    "/V1/MCP/SERVER",
    "/v1/mcp/server/",
    "/v1/mcp/server/..%2f..%2f..%2fhealth%2fliveliness",
    "/v1/mcp/server;jsessionid=health",
    "/metrics",
    "/metrics/../health/liveliness",
];

/// Hosts, `{port}` being the gateway's own port; `None`: no such header.
const HOSTS: [Option<&str>; 20] = [
    Some("127.0.0.1:{port}"),
    Some("localhost"),
    Some("127.0.0.1#/health/liveliness"),
    Some("127.0.0.1/health/liveliness"),
    Some("127.0.0.1/health/liveliness?"),
    Some("127.0.0.1/health/liveliness#"),
    Some("127.0.0.1?/health/liveliness"),
    Some("127.0.0.1\\health\\liveliness"),
    Some("user@127.0.0.1"),
    Some("127.0.0.1@evil.example.com"),
    Some("127.0.0.1:80:80"),
    Some("127.0.0.1\t/health"),
    Some("127.0.0.1\u{b}"),
    Some("127.0.0.1\u{c}/health/liveliness"),
    Some("127.0.0.1, localhost"),
    Some("[::1]:{port}"),
    Some("[::1]/health/liveliness"),
    Some("[::1"),
    Some(""),
    None,
];

/// Headers of proxies and frameworks that rewrite where a request goes or who sent it.
const REWRITES: [&str; 10] = [
    "",
    "X-Original-URL: /health/liveliness\r\n",
    "X-Rewrite-URL: /health/liveliness\r\n",
    "X-Forwarded-Host: localhost\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n",
    "X-Forwarded-Prefix: /health/liveliness\r\nX-Forwarded-Path: /health/liveliness\r\n",
    "X-Forwarded-Uri: /health/liveliness\r\nX-Forwarded-Method: GET\r\n",
    "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1;host=localhost;proto=https\r\n",
    "X-HTTP-Method-Override: GET\r\nX-Method-Override: HEAD\r\n",
    "X-Script-Name: /health\r\nSCRIPT_NAME: /health/liveliness\r\n",
    "X-Envoy-Original-Path: /health/liveliness\r\nX-Accel-Redirect: /health/liveliness\r\n",
];

/// One request with a message that would list tools if it got anywhere.
fn request(method: &str, target: &str, host: Option<&str>, more: &str) -> String {
    let host = host.map(|host| format!("Host: {host}\r\n")).unwrap_or_default();
    let body = list_message();
    format!(
        "{method} {target} HTTP/1.1\r\n{host}{more}Connection: close\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn gateway() -> (TestGateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream)])).await;
    listed(&gateway, "files").await;
    upstream.clear();
    (gateway, upstream)
}

#[tokio::test]
async fn s06_no_target_host_or_forwarding_header_opens_a_door() {
    let (gateway, upstream) = gateway().await;
    let port = gateway.port();
    let own = format!("127.0.0.1:{port}");
    let absolute = [
        format!("http://{own}/mcp"),
        format!("http://{own}/v1/mcp/server"),
        format!("http://{own}/health/liveliness/../../mcp"),
        format!("http://{own}/mcp#/health/liveliness"),
        format!("http://{own}#/health/liveliness"),
        format!("http://health@{own}/v1/mcp/server"),
        "http://localhost/health/liveliness@127.0.0.1/mcp".to_owned(),
        "http:///mcp".to_owned(),
        "file:///mcp".to_owned(),
        "gopher://127.0.0.1/mcp".to_owned(),
        own.clone(),
        "*".to_owned(),
        "mcp".to_owned(),
        "?/mcp".to_owned(),
        "#/mcp".to_owned(),
    ];
    let mut requests = Vec::new();
    for method in ["GET", "POST"] {
        let plain = TARGETS.iter().copied().chain(absolute.iter().map(String::as_str));
        for target in plain {
            for rewrite in REWRITES {
                requests.push(request(method, target, Some(&own), rewrite));
            }
            for host in HOSTS {
                let host = host.map(|host| host.replace("{port}", &port.to_string()));
                requests.push(request(method, target, host.as_deref(), ""));
            }
        }
    }
    assert!(requests.len() > 3000);
    for request in requests {
        let answer = raw(port, request.as_bytes()).await;
        let status = status_of(&answer);
        let public = status == 200 && is_public(&answer);
        // 4xx, each its own way of saying no. Nothing else: no 2xx, no redirect, no 5xx, no closed connection.
        assert!(
            public || (400..500).contains(&status),
            "{}\n=> {answer}",
            request.lines().take(5).collect::<Vec<_>>().join("\n")
        );
        assert!(!answer.contains("echo"), "a tool is shown: {answer}");
    }
    assert_eq!(upstream.everything(), "");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[tokio::test]
async fn s06_with_the_key_the_decision_is_the_same_whatever_a_proxy_would_say() {
    let (gateway, _upstream) = gateway().await;
    let own = format!("127.0.0.1:{}", gateway.port());
    let key = format!("X-LiteLLM-Api-Key: {}\r\n", gateway.master_key());
    for (method, target, expected) in [
        ("POST", "/mcp", 200),
        ("POST", "/files/mcp", 200),
        ("GET", "/v1/mcp/server", 200),
        ("GET", "/health/liveliness/../../v1/mcp/server", 404),
        ("POST", "//mcp", 404),
        ("POST", "/nosuch/mcp", 404),
        ("POST", "/mcp/nosuch", 403),
    ] {
        for rewrite in REWRITES {
            let more = format!("{key}{rewrite}");
            let answer = raw(
                gateway.port(),
                request(method, target, Some(&own), &more).as_bytes(),
            )
            .await;
            assert_eq!(
                status_of(&answer),
                expected,
                "{method} {target} {rewrite:?}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn s06_a_name_that_is_not_utf8_or_has_a_slash_in_it_is_no_server() {
    let (gateway, upstream) = gateway().await;
    let own = format!("127.0.0.1:{}", gateway.port());
    let key = format!("X-LiteLLM-Api-Key: {}\r\n", gateway.master_key());
    for target in [
        "/%ff%fe/mcp",
        "/mcp/%ff",
        "/files%2f..%2ffiles/mcp",
        "/mcp/files%2fmcp",
        "/%00/mcp",
        "/files%00/mcp",
        "/files%0d%0aX-Injected:%201/mcp",
        "/mcp/files%0d%0aSet-Cookie:a=b",
        "/..%2f..%2fetc%2fpasswd/mcp",
    ] {
        for headers in ["", key.as_str()] {
            let answer = raw(
                gateway.port(),
                request("POST", target, Some(&own), headers).as_bytes(),
            )
            .await;
            let status = status_of(&answer);
            let expected = if headers.is_empty() { 401..=401 } else { 400..=404 };
            assert!(expected.contains(&status), "{target}: {answer}");
            let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
            assert!(
                !head.contains("x-injected:") && !head.contains("set-cookie:"),
                "{head}"
            );
        }
    }
    assert_eq!(upstream.everything(), "");
}

#[tokio::test]
async fn s06_one_connection_cannot_smuggle_a_second_request_past_the_first() {
    let (gateway, upstream) = gateway().await;
    let own = format!("127.0.0.1:{}", gateway.port());
    let hidden = format!("POST /mcp HTTP/1.1\r\nHost: {own}\r\nContent-Length: 0\r\n\r\n");
    for head in [
        // Two lengths, a length and chunks, chunks that are not quite.
        format!("Content-Length: {}\r\nContent-Length: 0\r\n", hidden.len()),
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
            hidden.len()
        ),
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: xchunked\r\n",
            hidden.len()
        ),
        format!("Content-Length: +{}\r\n", hidden.len()),
        format!("Content-Length: {},0\r\n", hidden.len()),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        " Transfer-Encoding: chunked\r\n".to_owned(),
        "Content-Length: 99999999999999999999999999\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
    ] {
        let request = format!(
            "POST /health/liveliness HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n{head}\r\n{hidden}"
        );
        let answer = raw(gateway.port(), request.as_bytes()).await;
        let answers = answer.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{head:?}: {answers} answers: {answer}");
        assert!((400..500).contains(&status_of(&answer)), "{head:?}: {answer}");
    }
    assert_eq!(upstream.everything(), "");
    gateway.client().get("/v1/mcp/server").await.expect_status(200);
}
