//! Times that connections and lists may take: the server's own before the one for all. Those of calls are B64's.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{Act, HttpClient, ScriptedUpstream, TestGateway};

use crate::support::{Tls, becomes, entry, row, servers};
use crate::tunnel::{Manner, Tunnel};

/// What the test of a connection says, and how long it took.
async fn tried(client: &HttpClient, body: &Value) -> (String, Duration) {
    let began = Instant::now();
    let reply = client.post("/mcp-rest/test/connection", body).await;
    (reply.expect_status(200).text(), began.elapsed())
}

#[tokio::test]
async fn timed_a_connection_that_hangs_ends_at_its_deadline() {
    // TCP is accepted, and the handshake never answered.
    let hanging = ScriptedUpstream::hanging().await;
    let url = format!("https://127.0.0.1:{}/mcp", hanging.port());
    let config = servers(&[
        entry("short", &url, &Tls::default(), "connect_timeout: 0.5"),
        entry("usual", &url, &Tls::default(), ""),
        entry("long", &url, &Tls::default(), "connect_timeout: 2.5"),
    ]);
    let gateway = TestGateway::start(&format!(
        "{config}general_settings:\n  mcp_connect_timeout_ms: 1500\n"
    ))
    .await;
    let client = gateway.client();
    for (server, seconds) in [("short", 0.5), ("usual", 1.5), ("long", 2.5)] {
        let outcome = becomes(&gateway, server, "timeout").await;
        assert_eq!(outcome["step"], "tls", "{outcome}");
        let message = outcome["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("no connection within {seconds:.1} s")),
            "{message}"
        );
        assert!(
            outcome["hint"].as_str().unwrap().contains("connect_timeout"),
            "{outcome}"
        );
        let id = &row(&client, server).await["server_id"];
        let (text, took) = tried(&client, &json!({"server_id": id})).await;
        assert!(
            text.contains(&format!("no connection within {seconds:.1} s")),
            "{text}"
        );
        let took = took.as_secs_f64();
        assert!(took >= seconds && took < seconds + 0.9, "{server}: {took} s");
    }
    // By the API.
    let body = json!({"server_name": "stored", "transport": "http", "url": url, "connect_timeout": 0.25, "list_timeout": 7});
    let (text, took) = tried(&client, &body).await;
    assert!(
        text.contains("no connection within 0.2 s") || text.contains("within 0.3 s"),
        "{text}"
    );
    assert!(took < Duration::from_millis(1200), "{took:?}");
    client.post("/v1/mcp/server", &body).await.expect_status(201);
    let stored = row(&client, "stored").await;
    assert_eq!(
        (&stored["connect_timeout"], &stored["list_timeout"]),
        (&json!(0.25), &json!(7.0))
    );
}

#[tokio::test]
async fn timed_a_proxy_that_hangs_ends_at_the_deadline_of_the_connection() {
    let manner = Manner {
        hangs: true,
        ..Manner::default()
    };
    let tunnel = Tunnel::start(manner).await;
    let gateway = TestGateway::builder()
        .config("mcp_servers: {}\n")
        .env("HTTPS_PROXY", &tunnel.url(""))
        .start()
        .await;
    let body = json!({"transport": "http", "url": "https://files.internal/mcp", "connect_timeout": 2.5});
    let (text, took) = tried(&gateway.client(), &body).await;
    assert!(
        text.contains("the proxy gave no answer: no connection within 2.5 s"),
        "{text}"
    );
    // Its name is looked up here before, for at most a second.
    assert!(took >= Duration::from_millis(2500), "{took:?}");
    assert!(took < Duration::from_millis(4500), "{took:?}");
    assert_eq!(tunnel.asked()[0].line, "CONNECT files.internal:443");
}

#[tokio::test]
async fn a_list_has_the_time_of_its_server_before_that_of_all() {
    let upstream = ScriptedUpstream::start().await;
    upstream.on("tools/list", Act::Delay(Duration::from_millis(1500)));
    let config = servers(&[
        entry("usual", &upstream.url(), &Tls::default(), ""),
        entry("long", &upstream.url(), &Tls::default(), "list_timeout: 15"),
    ]);
    let gateway = TestGateway::start(&format!(
        "{config}general_settings:\n  mcp_list_timeout_ms: 500\n"
    ))
    .await;
    let outcome = becomes(&gateway, "usual", "timeout").await;
    assert_eq!(outcome["step"], "list", "{outcome}");
    becomes(&gateway, "long", "ok").await;
    let config = servers(&[entry(
        "short",
        &upstream.url(),
        &Tls::default(),
        "list_timeout: 0.5",
    )]);
    let gateway = TestGateway::start(&config).await;
    let outcome = becomes(&gateway, "short", "timeout").await;
    assert_eq!(outcome["step"], "list", "{outcome}");
    assert!(
        outcome["message"].as_str().unwrap().contains("0.5 s"),
        "{outcome}"
    );
}
