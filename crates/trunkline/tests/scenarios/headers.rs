//! What of a request's headers reaches servers, and what of a server's comes back.

use serde_json::{Value, json};
use trunkline_testkit::{Act, Canary, HttpClient, McpClient, Recorded, ScriptedUpstream, TestGateway};

use crate::support::{Config, health, listed, message, row, said, text};

/// The requests of one surface since the last look.
fn taken(upstream: &ScriptedUpstream) -> Vec<Recorded> {
    let requests = upstream.requests();
    upstream.clear();
    requests
}

#[tokio::test]
async fn b50_the_same_headers_on_every_way_to_a_server() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::default()
        .server(
            "files",
            &upstream,
            "static_headers: {X-Static: fixed, X-Both: fixed-wins}\nextra_headers: [X-Tenant-*, x-request-source, X-BOTH]",
        )
        .start()
        .await;
    listed(&gateway, "files").await;
    let id = text(&row(&gateway.client(), "files").await["server_id"]).to_owned();
    let canary = Canary::new("not-forwarded");
    let sending = |client: HttpClient| {
        client
            .with_header("X-TENANT-Region", "eu")
            .with_header("x-tenant-id", "t1")
            .with_header("X-Request-Source", "test")
            .with_header("x-both", "from-client")
            .with_header("x-mcp-files-x-direct", "direct")
            // Nobody asked for these.
            .with_header("x-tenantless", canary.value())
            .with_header("x-private", canary.value())
            .with_header("cookie", canary.value())
            .with_header("x-forwarded-for", canary.value())
            .with_header("x-mcp-other-x-direct", canary.value())
            .with_header("te", "trailers")
            .with_header("keep-alive", canary.value())
    };
    taken(&upstream);

    let mut ways = Vec::new();
    let mut client = McpClient::over(sending(gateway.client()), "/mcp");
    client.initialize().await;
    assert_eq!(client.tool_names().await, ["files-echo"]);
    ways.push(("list", taken(&upstream)));
    assert_eq!(said(&client.call("files-echo", &message("hi"), None).await), "hi");
    ways.push(("call", taken(&upstream)));
    let rest = sending(gateway.client());
    // Another client's headers are another list: this one is fetched, not taken from the one above.
    rest.clone()
        .with_header("x-tenant-id", "t1")
        .get("/mcp-rest/tools/list")
        .await
        .expect_status(200);
    let call = json!({"server_id": id, "name": "echo", "arguments": message("rest")});
    rest.post("/mcp-rest/tools/call", &call).await.expect_status(200);
    ways.push(("REST", taken(&upstream)));
    for route in ["connection", "tools/list"] {
        let path = format!("/mcp-rest/test/{route}");
        let tested = rest.post(&path, &json!({"server_id": id})).await.json();
        assert_eq!(tested["outcome"]["status"], "ok", "{tested}");
        ways.push(("test", taken(&upstream)));
    }
    for (way, requests) in &ways {
        assert!(!requests.is_empty(), "{way} asked nobody");
        for request in requests {
            let at = format!("{way}: {}", request.everything());
            for (name, value) in [
                ("x-static", "fixed"),
                ("x-both", "fixed-wins"),
                ("x-tenant-region", "eu"),
                ("x-tenant-id", "t1"),
                ("x-request-source", "test"),
                ("x-direct", "direct"),
            ] {
                assert_eq!(request.headers.get_all(name).iter().count(), 1, "{name} in {at}");
                assert_eq!(request.header(name), Some(value), "{name} in {at}");
            }
            for name in [
                "te",
                "keep-alive",
                "cookie",
                "x-forwarded-for",
                "x-private",
                "x-tenantless",
            ] {
                assert_eq!(request.header(name), None, "{name} in {at}");
            }
            canary.assert_absent(&[(way, request.everything())]);
        }
    }
    // The gateway's own question has no client: the fixed ones alone.
    assert_eq!(health(&sending(gateway.client()), &id).await["status"], "healthy");
    let own = taken(&upstream);
    assert!(!own.is_empty());
    for request in &own {
        assert_eq!(request.header("x-static"), Some("fixed"));
        assert_eq!(request.header("x-tenant-id"), None);
    }
}

#[tokio::test]
async fn b50_two_clients_headers_are_kept_apart() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::default()
        .server("files", &upstream, "extra_headers: [x-user]")
        .start()
        .await;
    listed(&gateway, "files").await;
    let mut clients = ["ann", "bob"].map(|user| (user, gateway.mcp().with_header("x-user", user)));
    for (_, client) in &mut clients {
        client.initialize().await;
    }
    upstream.clear();
    for _ in 0..3 {
        for (user, client) in &mut clients {
            assert_eq!(
                said(&client.call("files-echo", &message(user), None).await),
                *user
            );
        }
    }
    let mut user_of = std::collections::HashMap::new();
    for request in upstream.requests() {
        let user = request.header("x-user").unwrap_or_default().to_owned();
        if request.is("tools/call") {
            assert_eq!(request.json()["params"]["arguments"]["message"], user);
        }
        if let Some(session) = &request.session {
            let before = user_of.insert(session.clone(), user.clone());
            assert!(
                before.is_none_or(|before| before == user),
                "{session} is used by two"
            );
        }
    }
    assert_eq!(user_of.len(), 2);
}

/// Everything a client can do with a server, with these headers for proof.
async fn use_everything(gateway: &TestGateway, client: &HttpClient, id: &str) {
    for path in ["/mcp", "/files/mcp"] {
        let mut mcp = McpClient::over(client.clone(), path);
        mcp.initialize().await;
        mcp.request("tools/list", &Value::Null).await.result();
        mcp.call("files-echo", &message("hi"), Some("t")).await.result();
        mcp.delete().await;
    }
    client.get("/mcp-rest/tools/list").await.expect_status(200);
    let call = json!({"server_id": id, "name": "echo", "arguments": message("rest")});
    client
        .post("/mcp-rest/tools/call", &call)
        .await
        .expect_status(200);
    for route in ["connection", "tools/list"] {
        client
            .post(&format!("/mcp-rest/test/{route}"), &json!({"server_id": id}))
            .await
            .expect_status(200);
    }
    health(&gateway.client(), id).await;
}

#[tokio::test]
async fn b51_the_gateways_own_key_never_goes_upstream() {
    let key = Canary::key("master");
    let upstream = ScriptedUpstream::start().await;
    // The most that a file can ask for.
    let config = Config::default().server(
        "files",
        &upstream,
        "extra_headers: [Authorization, x-custom, \"x-*\"]",
    );
    let gateway = TestGateway::builder()
        .config(&config.text())
        .master_key(Some(key.value()))
        .start()
        .await;
    listed(&gateway, "files").await;
    let id = text(&row(&gateway.client(), "files").await["server_id"]).to_owned();
    let bearer = format!("Bearer {}", key.value());
    for proof in [
        gateway.anonymous().with_header("authorization", &bearer),
        gateway.anonymous().with_header("x-litellm-api-key", &bearer),
        gateway.anonymous().with_header("x-litellm-api-key", key.value()),
        // In a second place as well, where a rule or an address would copy it from.
        gateway
            .anonymous()
            .with_header("authorization", &bearer)
            .with_header("x-custom", key.value()),
        gateway
            .anonymous()
            .with_header("x-litellm-api-key", key.value())
            .with_header("authorization", &bearer)
            .with_header("x-mcp-files-authorization", &bearer)
            .with_header("x-mcp-auth", key.value()),
    ] {
        use_everything(&gateway, &proof, &id).await;
    }
    assert!(upstream.count("tools/call") >= 15);
    key.assert_absent(&[
        ("requests to the server", upstream.everything()),
        ("the log", gateway.log()),
    ]);

    // With the key in its own header, `Authorization` is the client's to send to the one server.
    let own = Canary::new("of-the-client");
    let client = gateway
        .anonymous()
        .with_header("x-litellm-api-key", key.value())
        .with_header("authorization", &format!("Bearer {}", own.value()));
    upstream.clear();
    let mut mcp = McpClient::over(client, "/files/mcp");
    mcp.initialize().await;
    mcp.call("files-echo", &message("hi"), None).await.result();
    let sent = upstream
        .requests()
        .into_iter()
        .find(|request| request.is("tools/call"))
        .unwrap();
    assert_eq!(
        sent.header("authorization"),
        Some(&*format!("Bearer {}", own.value()))
    );
    key.assert_absent(&[("requests to the server", upstream.everything())]);
}

#[tokio::test]
async fn b52_what_a_refusing_server_says_is_mapped_and_its_words_are_bounded() {
    let secret = Canary::new("echoed");
    let upstream = ScriptedUpstream::start().await;
    let entry = format!(
        "auth_type: bearer_token\nauthentication_token: {}",
        secret.value()
    );
    let gateway = Config::default().server("files", &upstream, &entry).start().await;
    listed(&gateway, "files").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    client.call("files-echo", &message("warm"), None).await.result();
    let rest = async || {
        let body = json!({"name": "files-echo", "arguments": message("x")});
        gateway.client().post("/mcp-rest/tools/call", &body).await
    };
    // The words repeat the credential, and do not end.
    let words = format!("you sent {} {}", secret.value(), "blah ".repeat(2000));
    for (status, outcome, http, later) in [
        (400, "protocol_error", 502, None),
        (401, "auth_required", 401, None),
        (403, "forbidden", 403, None),
        (409, "protocol_error", 502, None),
        (429, "rate_limited", 429, Some("7")),
        (503, "upstream_error", 502, Some("7")),
    ] {
        let refusal = Act::status(status, &words)
            .with_header("retry-after", later.unwrap_or_default())
            .with_header(
                "www-authenticate",
                &format!("Bearer realm=\"{}\"", secret.value()),
            )
            .with_header("x-internal", "host-17");
        upstream.on("tools/call", refusal);
        let reply = client.call("files-echo", &message("x"), None).await;
        let error = reply.error();
        let data = &error.data["outcome"];
        assert_eq!(data["status"], outcome, "{status}: {error:?}");
        assert_eq!(data["http_status"], status, "{error:?}");
        assert_eq!(data["step"], "call", "{error:?}");
        assert_eq!(
            data["retry_after_s"],
            later.map_or(Value::Null, |_| json!(7)),
            "{error:?}"
        );
        assert!(error.message.contains("you sent [redacted]"), "{error:?}");
        assert!(error.message.len() < 1000, "{}", error.message.len());
        assert_eq!(reply.header("x-internal"), None);
        assert_eq!(
            reply.status, 200,
            "the answer to the client is no refusal of the client"
        );

        let reply = rest().await.expect_status(http);
        assert!(reply.text().contains(outcome), "{}", reply.text());
        assert_eq!(reply.header("retry-after"), later, "{status}");
        assert_eq!(reply.header("x-internal"), None);
        secret.assert_absent(&[("MCP", error.message.clone()), ("REST", reply.everything())]);
    }
    secret.assert_absent(&[("the log", gateway.log())]);
    gateway.says("you sent [redacted]").await;
    for line in gateway.log().lines() {
        assert!(line.len() < 2000, "{line}");
    }
    upstream.behave();
    assert_eq!(
        said(&client.call("files-echo", &message("back"), None).await),
        "back"
    );
}
