//! A page in somebody's browser: DNS rebinding and foreign origins, on every transport. S25.

use http::{Method, Request};
use trunkline_testkit::{Reply, ScriptedUpstream, TestGateway};

use crate::support::{config, list_message, listed};

/// One route of each kind: the MCP transports, REST, management, health, metrics, and no route at all.
const ROUTES: [(Method, &str); 17] = [
    (Method::POST, "/mcp"),
    (Method::GET, "/mcp"),
    (Method::DELETE, "/mcp"),
    (Method::POST, "/mcp/"),
    (Method::POST, "/files/mcp"),
    (Method::GET, "/files/mcp"),
    (Method::DELETE, "/mcp/files"),
    (Method::OPTIONS, "/mcp"),
    (Method::GET, "/mcp-rest/tools/list"),
    (Method::POST, "/mcp-rest/tools/call"),
    (Method::POST, "/mcp-rest/test/connection"),
    (Method::GET, "/v1/mcp/server"),
    (Method::POST, "/v1/mcp/server"),
    (Method::GET, "/health/liveliness"),
    (Method::GET, "/health/readiness"),
    (Method::GET, "/metrics"),
    (Method::GET, "/nothing/here"),
];

async fn ask(gateway: &TestGateway, method: &Method, path: &str, headers: &[(&str, String)]) -> Reply {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(list_message().into()).unwrap();
    gateway.client().try_send(request).await.unwrap()
}

#[tokio::test]
async fn s25_a_rebound_name_and_a_foreign_origin_are_refused_on_every_transport() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream)])).await;
    listed(&gateway, "files").await;
    upstream.clear();
    let port = gateway.port();
    for (method, path) in &ROUTES {
        for host in [
            "evil.example.com".to_owned(),
            format!("evil.example.com:{port}"),
            "127.0.0.1.evil.example.com".to_owned(),
            "localhost.evil.example.com".to_owned(),
            "notlocalhost".to_owned(),
            "localhost.".to_owned(),
            "127.0.0.2".to_owned(),
            "0.0.0.0".to_owned(),
            "2130706433".to_owned(),
            "0x7f.1".to_owned(),
            "[::]".to_owned(),
            "169.254.169.254".to_owned(),
        ] {
            let reply = ask(&gateway, method, path, &[("host", host.clone())]).await;
            assert_eq!(reply.status.as_u16(), 421, "{method} {path} Host: {host}");
        }
        for origin in [
            "http://evil.example.com".to_owned(),
            "https://evil.example.com".to_owned(),
            format!("http://evil.example.com:{port}"),
            format!("http://127.0.0.1:{port}.evil.example.com"),
            format!("http://evil.example.com/http://127.0.0.1:{port}"),
            format!("http://evil.example.com#127.0.0.1:{port}"),
            format!("http://user@127.0.0.1:{port}"),
            format!("http://127.0.0.1:{}", port.wrapping_add(1)),
            "http://127.0.0.1".to_owned(),
            "null".to_owned(),
            "file://".to_owned(),
            format!("ftp://127.0.0.1:{port}"),
            format!("chrome-extension://127.0.0.1:{port}"),
            String::new(),
        ] {
            let reply = ask(&gateway, method, path, &[("origin", origin.clone())]).await;
            assert_eq!(reply.status.as_u16(), 403, "{method} {path} Origin: {origin:?}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
        // Both right: let in, whatever comes of it.
        let own = [
            ("host", format!("127.0.0.1:{port}")),
            ("origin", format!("http://127.0.0.1:{port}")),
        ];
        let reply = ask(&gateway, method, path, &own).await;
        assert!(![403, 421].contains(&reply.status.as_u16()), "{method} {path}");
    }
    let asked = upstream.everything();
    assert!(!asked.contains("evil"), "{asked}");
}

#[tokio::test]
async fn s25_an_open_stream_is_asked_for_its_origin_too() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream)])).await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let session = client.session().unwrap().to_owned();
    let own = client.get_stream().await;
    assert_eq!(own.status().as_u16(), 200);
    for header in [
        ("origin", "http://evil.example.com".to_owned()),
        ("host", "evil.example.com".to_owned()),
    ] {
        for method in [Method::GET, Method::DELETE, Method::POST] {
            let headers = [("mcp-session-id", session.clone()), header.clone()];
            let reply = ask(&gateway, &method, "/mcp", &headers).await;
            assert!([403, 421].contains(&reply.status.as_u16()), "{method} {header:?}");
        }
    }
    // The session was not ended from there.
    client.request("ping", &serde_json::Value::Null).await.result();
}

#[tokio::test]
async fn s25_names_and_origins_are_allowed_one_by_one() {
    let text = "general_settings:\n  allowed_hosts: [gw.example.com]\n  allowed_origins: ['https://app.example.com']\nmcp_servers: {}\n";
    let gateway = TestGateway::start(text).await;
    let status = async |headers: &[(&str, String)]| {
        ask(&gateway, &Method::GET, "/v1/mcp/server", headers)
            .await
            .status
            .as_u16()
    };
    let header = |name: &'static str, value: &str| (name, value.to_owned());
    assert_eq!(status(&[header("host", "gw.example.com")]).await, 200);
    assert_eq!(status(&[header("host", "GW.EXAMPLE.COM:443")]).await, 200);
    assert_eq!(status(&[header("origin", "https://app.example.com")]).await, 200);
    assert_eq!(status(&[header("host", "a.gw.example.com")]).await, 421);
    assert_eq!(status(&[header("host", "gw.example.com.evil.com")]).await, 421);
    assert_eq!(status(&[header("origin", "http://app.example.com")]).await, 403);
    assert_eq!(
        status(&[header("origin", "https://app.example.com.evil.com")]).await,
        403
    );
    assert_eq!(
        status(&[header("origin", "https://app.example.com:8443")]).await,
        403
    );
}
