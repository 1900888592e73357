//! Being sent elsewhere with a credential in the hand: S11.

use serde_json::{Value, json};
use trunkline_testkit::{Act, Canary, ScriptedUpstream, TestGateway};

use crate::support::{config, listed};

/// Where an upstream may want to send the gateway; `{port}` is somebody else's.
const ELSEWHERE: [&str; 14] = [
    "http://127.0.0.1:{port}/mcp",
    "//127.0.0.1:{port}/mcp",
    "\\\\127.0.0.1:{port}/mcp",
    "http://localhost:{port}/mcp",
    "http://user:password@127.0.0.1:{port}/mcp",
    "https://127.0.0.1:{port}/mcp",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://2852039166/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "javascript:alert(1)",
    "http://127.0.0.1:{port}",
    "http://%31%32%37.0.0.1:{port}/mcp",
];

#[tokio::test]
async fn s11_a_credential_never_follows_a_redirect_to_another_origin() {
    let secret = Canary::new("credential");
    let other = ScriptedUpstream::start().await;
    let upstream = ScriptedUpstream::builder().bearer(secret.value()).start().await;
    let text = config(&[("files", &upstream)])
        + &format!(
            "    auth_type: bearer_token\n    authentication_token: {}\n",
            secret.value()
        );
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, "files").await;
    let client = gateway.client();
    for location in ELSEWHERE {
        let location = location.replace("{port}", &other.port().to_string());
        let statuses: &[u16] = if location.starts_with("//") {
            &[301, 302, 303, 307, 308]
        } else {
            &[307]
        };
        for &status in statuses {
            let act = Act::status(status, "moved").with_header("location", &location);
            // At every step: the whole handshake, in the middle of a session, and on the streams.
            for method in [
                "initialize",
                "notifications/initialized",
                "tools/list",
                "tools/call",
                "GET",
                "DELETE",
            ] {
                upstream.behave();
                client.get("/v1/mcp/server/health").await;
                upstream.expire_sessions();
                upstream.on(method, act.clone());
                let reply = client
                    .post("/mcp-rest/tools/call", &json!({"name": "echo", "arguments": {"message": "m"}, "_meta": {"progressToken": 1}}))
                    .await;
                let answered = !["initialize", "notifications/initialized", "tools/call"].contains(&method);
                assert_eq!(
                    reply.status.is_success(),
                    answered,
                    "{location} {status} {method}: {}",
                    reply.text()
                );
                secret.assert_absent(&[("the answer", reply.everything())]);
            }
        }
        upstream.behave();
        upstream.on("*", Act::status(307, "moved").with_header("location", &location));
        let health = client.get("/v1/mcp/server/health").await;
        assert!(
            health.text().contains("unhealthy"),
            "{location}: {}",
            health.text()
        );
        let tried = client
            .post(
                "/mcp-rest/test/tools/list",
                &json!({"server_id": health.json()[0]["server_id"]}),
            )
            .await;
        assert_ne!(tried.json()["error"], Value::Null, "{location}");
        secret.assert_absent(&[("health", health.text()), ("the test", tried.text())]);
    }
    assert_eq!(other.connections(), 0, "nobody else was contacted");
    secret.assert_absent(&[("the log", gateway.log())]);
}

#[tokio::test]
async fn s11_a_redirect_within_the_origin_is_followed_but_not_for_ever() {
    let upstream = ScriptedUpstream::builder().redirect_slash().start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream)])).await;
    listed(&gateway, "files").await;
    // Round in a circle.
    upstream.on("*", Act::redirect("/mcp/"));
    upstream.clear();
    let health = gateway.client().get("/v1/mcp/server/health").await.text();
    assert!(health.contains("redirects more than"), "{health}");
    assert!(upstream.requests().len() < 20, "{}", upstream.requests().len());
}
