//! Making the gateway connect where it should not, from every place that takes an address: S11, S12.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, ScriptedUpstream, TestGateway};

use crate::support::{config, listed};

/// Every way to make the gateway contact `url`. Gives what each answered, by its name.
async fn contact(gateway: &TestGateway, name: &str, url: &str, secret: &str) -> Vec<(&'static str, String)> {
    let client = gateway.client();
    let body = json!({
        "server_id": name, "server_name": name, "url": url, "transport": "http",
        "auth_type": "bearer_token", "credentials": {"auth_value": secret},
        "static_headers": {"x-static": secret},
    });
    let mut seen = Vec::new();
    for route in ["/mcp-rest/test/connection", "/mcp-rest/test/tools/list"] {
        let reply = client.post(route, &body).await;
        assert!(
            [200, 400].contains(&reply.status.as_u16()),
            "{url}: {}",
            reply.text()
        );
        seen.push(("test route", reply.text()));
    }
    let registered = client.post("/v1/mcp/server", &body).await;
    seen.push(("registration", registered.text()));
    if registered.status.as_u16() == 400 {
        return seen;
    }
    registered.expect_status(201);
    let health = client
        .get(&format!("/v1/mcp/server/health?server_ids={name}"))
        .await;
    seen.push(("health", health.text()));
    let row = client.get(&format!("/v1/mcp/server/{name}")).await;
    seen.push(("row", row.text()));
    let stored = client
        .post("/mcp-rest/test/connection", &json!({"server_id": name}))
        .await;
    seen.push(("test of the stored", stored.text()));
    let list = client
        .get(&format!("/mcp-rest/tools/list?server_id={name}"))
        .await;
    assert!(!list.status.is_success(), "{url}: {}", list.text());
    seen.push(("REST list", list.text()));
    let called = client
        .post(
            "/mcp-rest/tools/call",
            &json!({"server_id": name, "name": "echo", "arguments": {}}),
        )
        .await;
    assert!(!called.status.is_success(), "{url}: {}", called.text());
    seen.push(("REST call", called.text()));
    let mut mcp = gateway.mcp_at(&format!("/{name}/mcp"));
    mcp.initialize().await;
    seen.push((
        "MCP list",
        mcp.request("tools/list", &Value::Null)
            .await
            .error()
            .data
            .to_string(),
    ));
    let call = mcp.call("echo", &json!({}), None).await;
    seen.push(("MCP call", call.error().message));
    let data = gateway.data_dir().display().to_string();
    let doctor = gateway
        .run(&[
            "doctor",
            name,
            "--data-dir",
            &data,
            "--config",
            &gateway.config_path().display().to_string(),
        ])
        .await;
    assert_eq!(doctor.status.code(), Some(1), "{url}");
    seen.push(("doctor", String::from_utf8_lossy(&doctor.stdout).into_owned()));
    client
        .delete(&format!("/v1/mcp/server/{name}"))
        .await
        .expect_status(202);
    seen
}

/// Cloud metadata, spelt as the parsers of the world accept it.
const METADATA: [&str; 14] = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://0xa9.0376.43518/",
    "http://169.254.43518/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://100.100.100.200/",
];

#[tokio::test]
async fn s12_metadata_addresses_are_refused_by_every_fetch_site_in_every_spelling() {
    let secret = Canary::new("credential");
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    for (index, url) in METADATA.iter().enumerate() {
        for (place, text) in contact(&gateway, &format!("meta-{index}"), url, secret.value()).await {
            // What registration answers is what is known before the first attempt.
            if place != "registration" && place != "MCP call" {
                assert!(text.contains("are not allowed"), "{url}: {place}: {text}");
                assert!(text.contains("misconfigured"), "{url}: {place}: {text}");
            }
            secret.assert_absent(&[(place, &text)]);
        }
    }
    // The addresses that could be meant well and are not unicast.
    for url in [
        "http://0.0.0.0:1/",
        "http://[::]:1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://240.0.0.1/",
    ] {
        let body = json!({"url": url, "transport": "http"});
        let reply = gateway.client().post("/mcp-rest/test/connection", &body).await;
        assert!(
            reply.text().contains("are not allowed"),
            "{url}: {}",
            reply.text()
        );
    }
}

/// The loopback address, spelt as above; `{port}` is a server that counts connections.
const LOOPBACK: [&str; 13] = [
    "http://127.0.0.1:{port}/mcp",
    "http://localhost:{port}/mcp",
    "http://LOCALHOST:{port}/mcp",
    "http://localhost.:{port}/mcp",
    "http://127.1:{port}/mcp",
    "http://2130706433:{port}/mcp",
    "http://0x7f000001:{port}/mcp",
    "http://017700000001:{port}/mcp",
    "http://0x7f.1:{port}/mcp",
    "http://127.0.0.1.:{port}/mcp",
    "http://[::ffff:127.0.0.1]:{port}/mcp",
    "http://[::ffff:7f00:1]:{port}/mcp",
    "http://１２７.０.０.１:{port}/mcp",
];

#[tokio::test]
async fn s11_what_the_administrator_narrowed_is_never_connected_to() {
    let forbidden = ScriptedUpstream::start().await;
    let text = "general_settings:\n  mcp_egress_allow: [public]\nmcp_servers: {}\n";
    let gateway = TestGateway::start(text).await;
    for (index, url) in LOOPBACK.iter().enumerate() {
        let url = url.replace("{port}", &forbidden.port().to_string());
        for (place, text) in contact(&gateway, &format!("local-{index}"), &url, "some-credential").await {
            assert!(!text.contains("\"status\":\"ok\""), "{url}: {place}: {text}");
        }
    }
    assert_eq!(forbidden.connections(), 0, "not one packet");
}

#[tokio::test]
async fn s11_only_web_addresses_are_addresses() {
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    for url in [
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "gopher://127.0.0.1:6379/_INFO",
        "ftp://127.0.0.1/",
        "dict://127.0.0.1:11211/",
        "ldap://127.0.0.1/",
        "jar:http://127.0.0.1!/",
        "data:text/plain,hello",
        "javascript:alert(1)",
        "unix:/var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
        "ws://127.0.0.1/",
        "//127.0.0.1/mcp",
        "/etc/passwd",
        "127.0.0.1:80",
        "http://",
        "http:///mcp",
        "http://user:password@127.0.0.1/mcp",
        "http://user@127.0.0.1/mcp",
        "http://169.254.169.254@127.0.0.1/",
        "http://127.0.0.1\\@169.254.169.254/\n",
        "http://127.0.0.1/mcp\r\nX-Injected: 1",
        "http://127.0.0.1/ mcp",
        "http://127.0.0.1/mcp#fragment",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://exa mple.com/",
    ] {
        for field in ["url", "spec_path"] {
            for route in [
                "/v1/mcp/server",
                "/v1/mcp/server/register",
                "/mcp-rest/test/connection",
                "/mcp-rest/test/tools/list",
            ] {
                let reply = gateway
                    .client()
                    .post(route, &json!({field: url, "transport": "http"}))
                    .await;
                let status = reply.status.as_u16();
                // `http:///mcp` is read as the host `mcp`, which is a host like any other.
                let understood = url == "http:///mcp";
                assert!(
                    [400, 422].contains(&status) || understood,
                    "{route} {field}={url:?}: {}",
                    reply.everything()
                );
            }
        }
    }
    // The password of a refused address is not repeated.
    let reply = gateway
        .client()
        .post(
            "/v1/mcp/server",
            &json!({"url": "http://user:hunter2secret@h/", "transport": "http"}),
        )
        .await;
    assert!(!reply.expect_status(400).text().contains("hunter2secret"));
}

#[tokio::test]
async fn s11_a_name_is_checked_after_it_is_resolved() {
    let upstream = ScriptedUpstream::start().await;
    // `localhost` looks like any name; what it resolves to does not.
    let text = format!(
        "general_settings:\n  mcp_egress_allow: [public, private]\n{}",
        config(&[("files", &upstream)]).replace("127.0.0.1", "localhost")
    );
    let gateway = TestGateway::start(&text).await;
    let health = gateway.client().get("/v1/mcp/server/health").await.text();
    assert!(health.contains("are not allowed (loopback)"), "{health}");
    assert_eq!(upstream.connections(), 0);
    // Allowed, the same name works: it was the address that was refused.
    let text = text.replace("private]", "loopback]");
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, "files").await;
    assert!(upstream.connections() > 0);
}
