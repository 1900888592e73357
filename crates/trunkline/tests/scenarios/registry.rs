//! Where servers are declared, and what is shown of them.

use serde_json::{Value, json};
use trunkline_testkit::{Act, Canary, ScriptedUpstream, TestGateway, eventually};

use crate::support::{
    Config, PATIENCE, array, becomes, health, listed, message, names, outcome, register, row, said, text,
    tool,
};

#[tokio::test]
async fn b26_servers_of_the_database_are_there_on_the_first_read_after_a_restart() {
    let (one, two) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let config = Config::default().general("store_model_in_db: false").text();
    let mut gateway = TestGateway::start(&config).await;
    for (name, upstream) in [("one", &one), ("two", &two)] {
        let body = json!({"server_name": name, "url": upstream.url(), "transport": "http"});
        register(&gateway.client(), &body).await;
        listed(&gateway, name).await;
    }
    let before = gateway.client().get("/v1/mcp/server").await.json();
    for kill in [false, true] {
        if kill {
            gateway.kill9().await;
        }
        gateway.restart().await;
        let after = gateway.client().get("/v1/mcp/server").await.json();
        let ids = |rows: &Value| {
            array(rows)
                .iter()
                .map(|row| row["server_id"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&after), ids(&before));
        let list = gateway.mcp().request("tools/list", &Value::Null).await.result();
        assert_eq!(names(&list), ["one-echo", "two-echo"], "{list}");
        for (server, name) in [("one", "one-echo"), ("two", "two-echo")] {
            assert_eq!(
                said(&gateway.mcp().call(name, &message(server), None).await),
                server
            );
        }
    }
}

#[tokio::test]
async fn b29_every_field_of_the_file_has_effect_and_is_shown_and_is_managed_there() {
    let secret = Canary::new("of-the-file");
    let upstream = ScriptedUpstream::builder()
        .bearer(secret.value())
        .tool(tool("read"))
        .tool(tool("write"))
        .tool(tool("drop"))
        .start()
        .await;
    let entry = format!(
        "alias: gh\ndescription: For the tests.\naccess_groups: [dev, ops]\nallowed_tools: [read, drop]\n\
         disallowed_tools: [drop]\ninstructions: Read before you write.\nauth_type: bearer_token\n\
         authentication_token: {}\nstatic_headers: {{X-Static: fixed}}\nextra_headers: [x-tenant]\ntimeout: 12.5\n\
         max_concurrent_requests: 3",
        secret.value()
    );
    let gateway = Config::default()
        .server("github", &upstream, &entry)
        .start()
        .await;
    listed(&gateway, "gh").await;

    // Shown.
    let shown = row(&gateway.client(), "github").await;
    for (field, value) in [
        ("alias", json!("gh")),
        ("server_name", json!("github")),
        ("description", json!("For the tests.")),
        ("mcp_access_groups", json!(["dev", "ops"])),
        ("allowed_tools", json!(["read", "drop"])),
        ("disallowed_tools", json!(["drop"])),
        ("instructions", json!("Read before you write.")),
        ("auth_type", json!("bearer_token")),
        ("extra_headers", json!(["x-tenant"])),
        ("timeout", json!(12.5)),
        ("max_concurrent_requests", json!(3)),
        ("url", json!(upstream.url())),
        ("is_config", json!(true)),
        ("status", json!("healthy")),
    ] {
        assert_eq!(shown[field], value, "{field} of {shown}");
    }
    secret.assert_absent(&[("the row", shown.to_string())]);
    let id = text(&shown["server_id"]).to_owned();
    let one = gateway
        .client()
        .get(&format!("/v1/mcp/server/{id}"))
        .await
        .expect_status(200)
        .json();
    assert_eq!(one["description"], shown["description"]);
    let groups = gateway
        .client()
        .get("/v1/mcp/access_groups")
        .await
        .expect_status(200)
        .text();
    assert!(groups.contains("dev") && groups.contains("ops"), "{groups}");

    // In effect.
    for path in ["/gh/mcp", "/dev/mcp", "/ops/mcp", "/mcp"] {
        assert_eq!(gateway.mcp_at(path).tool_names().await, ["gh-read"], "{path}");
    }
    let mut client = gateway.mcp().with_header("x-tenant", "t1");
    let hello = client.initialize().await.result();
    assert!(
        text(&hello["instructions"]).contains("Read before you write."),
        "{hello}"
    );
    upstream.clear();
    assert_eq!(said(&client.call("gh-read", &message("hi"), None).await), "hi");
    for hidden in ["gh-write", "gh-drop", "write", "drop"] {
        let error = client.call(hidden, &json!({}), None).await.error();
        assert_eq!(error.code, -32602, "{hidden}: {error:?}");
    }
    let called: Vec<_> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.is("tools/call"))
        .collect();
    assert_eq!(called.len(), 1, "what is hidden is not called either");
    assert_eq!(called[0].header("x-static"), Some("fixed"));
    assert_eq!(called[0].header("x-tenant"), Some("t1"));

    // Changed in the file, and nowhere else.
    let change = json!({"server_id": id, "description": "changed"});
    for reply in [
        gateway.client().put("/v1/mcp/server", &change).await,
        gateway.client().delete(&format!("/v1/mcp/server/{id}")).await,
    ] {
        let reply = reply.expect_status(409);
        assert!(reply.text().contains("managed by file"), "{}", reply.text());
    }
    assert_eq!(
        row(&gateway.client(), "github").await["description"],
        "For the tests."
    );
}

#[tokio::test]
async fn b30_a_reference_is_resolved_wherever_it_stands_and_never_sent() {
    let secret = Canary::new("referenced");
    let upstream = ScriptedUpstream::builder()
        .bearer(secret.value())
        .require_header("x-extra", secret.value())
        .start()
        .await;
    let unset = ScriptedUpstream::start().await;
    let entry = "auth_type: bearer_token\nauthentication_token: os.environ/GOOD_TOKEN\nstatic_headers: {X-Extra: os.environ/GOOD_TOKEN}";
    let config = Config::default()
        .server("of_file", &upstream, entry)
        .server(
            "of_file_unset",
            &unset,
            &entry.replace("GOOD_TOKEN", "NOT_SET_ANYWHERE"),
        )
        .text();
    let mut gateway = TestGateway::builder()
        .config(&config)
        .env("GOOD_TOKEN", secret.value())
        .start()
        .await;
    let declare = |name: &str, url: String, variable: &str| {
        let reference = format!("os.environ/{variable}");
        json!({
            "server_name": name,
            "url": url,
            "transport": "http",
            "auth_type": "bearer_token",
            "credentials": {"auth_value": reference},
            "static_headers": {"X-Extra": reference},
        })
    };
    register(
        &gateway.client(),
        &declare("of_api", upstream.url(), "GOOD_TOKEN"),
    )
    .await;
    register(
        &gateway.client(),
        &declare("of_api_unset", unset.url(), "NOT_SET_ANYWHERE"),
    )
    .await;

    for run in ["first", "after a restart"] {
        for name in ["of_file", "of_api"] {
            listed(&gateway, name).await;
            let mut client = gateway.mcp_at(&format!("/{name}/mcp"));
            assert_eq!(client.tool_names().await, [format!("{name}-echo")], "{run}");
            assert_eq!(
                said(&client.call("echo", &message("hi"), None).await),
                "hi",
                "{run}"
            );
            let id = text(&row(&gateway.client(), name).await["server_id"]).to_owned();
            assert_eq!(
                health(&gateway.client(), &id).await["status"],
                "healthy",
                "{run}: {name}"
            );
            let tested = gateway
                .client()
                .post("/mcp-rest/test/connection", &json!({"server_id": id}))
                .await
                .json();
            assert_eq!(tested["status"], "ok", "{run}: {name}: {tested}");
        }
        for name in ["of_file_unset", "of_api_unset"] {
            becomes(&gateway, name, "misconfigured").await;
            let shown = row(&gateway.client(), name).await;
            assert!(
                shown["outcome"].to_string().contains("NOT_SET_ANYWHERE"),
                "{shown}"
            );
            let error = gateway
                .mcp_at(&format!("/{name}/mcp"))
                .call("echo", &json!({}), None)
                .await
                .error();
            assert!(error.message.contains("misconfigured"), "{error:?}");
            let id = text(&shown["server_id"]).to_owned();
            let checked = health(&gateway.client(), &id).await;
            assert_eq!(checked["outcome"]["status"], "misconfigured", "{checked}");
            gateway
                .client()
                .post("/mcp-rest/test/tools/list", &json!({"server_id": id}))
                .await
                .expect_status(200);
        }
        gateway.restart().await;
    }
    assert_eq!(unset.requests().len(), 0, "{}", unset.everything());
    assert!(
        !upstream.everything().contains("os.environ"),
        "{}",
        upstream.everything()
    );
    let rows = gateway.client().get("/v1/mcp/server").await.text();
    secret.assert_absent(&[("the rows", rows), ("the log", gateway.log())]);
}

#[tokio::test]
async fn b48_failures_tell_nothing_of_secrets_and_of_other_servers() {
    let kinds = ["token", "header", "client-secret", "aws", "hidden-name"];
    let [token, header, client_secret, aws, hidden] = kinds.map(Canary::new);
    let upstream = ScriptedUpstream::builder().bearer("another one").start().await;
    let other = ScriptedUpstream::start().await;
    let gateway = TestGateway::start("{}").await;
    let body = json!({
        "server_name": "target",
        "url": upstream.url(),
        "transport": "http",
        "auth_type": "bearer_token",
        "credentials": {
            "auth_value": token.value(),
            "client_secret": client_secret.value(),
            "aws_secret_access_key": aws.value(),
        },
        "static_headers": {"X-Key": header.value()},
    });
    let id = register(&gateway.client(), &body).await;
    let body = json!({"server_name": hidden.value(), "url": other.url(), "transport": "http"});
    register(&gateway.client(), &body).await;
    becomes(&gateway, "target", "auth_required").await;

    let mut seen = String::new();
    // What an upstream says about what it was sent.
    let echo = format!("{} {}", token.value(), header.value());
    for status in [401, 403, 404, 500] {
        upstream.on(
            "*",
            Act::status(status, &echo)
                .with_header("www-authenticate", &format!("Bearer x=\"{}\"", token.value())),
        );
        // A new session each time, and an attempt that is due.
        let checked = health(&gateway.client(), &id).await;
        seen += &checked.to_string();
        let mut client = gateway.mcp_at("/target/mcp");
        client.initialize().await;
        seen += &client.request("tools/list", &Value::Null).await.everything();
        seen += &client.call("target-echo", &json!({}), None).await.everything();
        let call = json!({"server_id": id, "name": "echo", "arguments": {}});
        seen += &gateway
            .client()
            .post("/mcp-rest/tools/call", &call)
            .await
            .everything();
        for path in [
            format!("/mcp-rest/tools/list?server_id={id}"),
            format!("/v1/mcp/server/{id}"),
        ] {
            seen += &gateway.client().get(&path).await.everything();
        }
        for route in ["connection", "tools/list"] {
            let path = format!("/mcp-rest/test/{route}");
            seen += &gateway
                .client()
                .post(&path, &json!({"server_id": id}))
                .await
                .everything();
        }
    }
    // A name in the selection that there is not, and a server that is not selected.
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for path in ["/nobody/mcp", "/mcp/nobody", "/target/mcp"] {
        seen += &gateway.client().post(path, &list).await.everything();
    }
    hidden.assert_absent(&[("answers about another server", &seen)]);
    let everywhere = gateway.client().get("/v1/mcp/server").await.everything();
    for canary in [&token, &header, &client_secret, &aws] {
        canary.assert_absent(&[
            ("answers", &*seen),
            ("rows", &everywhere),
            ("the log", &gateway.log()),
        ]);
    }
    assert!(
        seen.contains("[redacted]"),
        "the servers' words were seen: {seen}"
    );
}

#[tokio::test]
async fn b70_health_tells_down_refused_empty_and_unknown_apart() {
    let down = ScriptedUpstream::refusing().await;
    let locked = ScriptedUpstream::builder().bearer("secret").start().await;
    let empty = ScriptedUpstream::start().await;
    empty.set_tools([]);
    let gateway = Config::of(&[("down", &down), ("locked", &locked), ("empty", &empty)])
        .start()
        .await;
    let submission = json!({"server_name": "submitted", "url": empty.url(), "transport": "http"});
    gateway
        .client()
        .post("/v1/mcp/server/register", &submission)
        .await;
    let mut states = std::collections::HashSet::new();
    for (server, status, kind, tools) in [
        ("down", "unhealthy", "unreachable", Value::Null),
        ("locked", "unhealthy", "auth_required", Value::Null),
        ("empty", "healthy", "ok", json!(0)),
        ("submitted", "unknown", "pending_review", Value::Null),
    ] {
        let id = text(&row(&gateway.client(), server).await["server_id"]).to_owned();
        let checked = health(&gateway.client(), &id).await;
        assert_eq!(checked["status"], status, "{server}: {checked}");
        assert_eq!(checked["outcome"]["status"], kind, "{server}: {checked}");
        assert_eq!(checked["tool_count"], tools, "{server}: {checked}");
        if status == "unhealthy" {
            assert!(checked["outcome"]["hint"].is_string(), "{checked}");
        }
        states.insert((status, kind));
    }
    assert_eq!(states.len(), 4);
    // The same in a list: nothing there is nothing, with a reason where it is one.
    let list = gateway.mcp().request("tools/list", &Value::Null).await.result();
    assert_eq!(names(&list), [""; 0]);
    assert_eq!(outcome(&list, "empty")["tool_count"], 0, "{list}");
    assert_eq!(outcome(&list, "locked")["http_status"], 401, "{list}");
    assert_eq!(outcome(&list, "down")["status"], "unreachable", "{list}");
    assert_eq!(
        outcome(&list, "submitted"),
        &Value::Null,
        "a submission serves nobody"
    );
    // And as it changes.
    locked.set_bearer(None);
    let id = text(&row(&gateway.client(), "locked").await["server_id"]).to_owned();
    eventually("it is let in", PATIENCE, async || {
        health(&gateway.client(), &id).await["status"] == "healthy"
    })
    .await;
    assert_eq!(health(&gateway.client(), &id).await["tool_count"], 1);
}
