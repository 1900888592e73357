//! B78: what was saved is there again, field by field, after an edit of another one and after a restart; and a server whose address
//! changes shows nothing of the server that was there before.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Act, HttpClient, McpClient, ScriptedUpstream, TestGateway, eventually};

use crate::support::{PATIENCE, WAYS, config, generate, key, listed, post, set, toolset, with};

/// A row without what changes by itself.
fn lasting(mut row: Value) -> Value {
    let members = row.as_object_mut().unwrap();
    for name in [
        "updated_at",
        "last_active",
        "status",
        "last_health_check",
        "health_check_error",
        "health",
        "outcome",
        "warnings",
        "tool_count",
    ] {
        members.remove(name);
    }
    row
}

async fn server(gateway: &TestGateway, id: &str) -> Value {
    let path = format!("/v1/mcp/server/{id}");
    lasting(gateway.client().get(&path).await.expect_status(200).json())
}

async fn info(gateway: &TestGateway, hash: &str) -> Value {
    let path = format!("/key/info?key={hash}");
    let row = gateway.client().get(&path).await.expect_status(200).json();
    lasting(row["info"].clone())
}

#[tokio::test]
async fn b78_a_servers_fields_survive_an_edit_of_another_and_a_restart() {
    let upstream = ScriptedUpstream::start().await;
    let mut gateway = TestGateway::start(&config(&[])).await;
    let body = json!({
        "server_id": "s", "server_name": "files", "alias": "files", "description": "What it is.", "url": upstream.url(),
        "transport": "http", "instructions": "Ask it nicely.", "allowed_tools": ["echo"], "disallowed_tools": ["gone"],
        "mcp_access_groups": ["dev"], "available_on_public_internet": false, "allow_all_keys": false,
        "extra_headers": ["x-tenant"], "static_headers": {"x-static": ""}, "allowed_params": {"echo": ["message"]},
        "tool_conditions": [{"tools": ["*"], "when": "args.message != 'no'", "reason": "not that"}],
        "tool_name_to_display_name": {"echo": "say"}, "tool_name_to_description": {"echo": "Says it."},
        "mcp_info": {"mcp_server_cost_info": {"default_cost_per_query": 0.5}},
        "auth_type": "bearer_token", "credentials": {"auth_value": "a-secret-of-this-server"},
    });
    let made = gateway.client().post("/v1/mcp/server", &body).await;
    let made = lasting(made.expect_status(201).json());
    for (name, value) in body.as_object().unwrap() {
        if name != "credentials" {
            assert_eq!(&made[name], value, "{name} as it was made");
        }
    }
    assert_eq!(server(&gateway, "s").await, made);
    gateway.restart().await;
    assert_eq!(server(&gateway, "s").await, made, "after a restart");
    // An edit of one field, by itself and with everything that was read, as a form sends it.
    let change = json!({"server_id": "s", "description": "Edited."});
    let http = gateway.client();
    http.put("/v1/mcp/server", &change).await.expect_status(202);
    let mut expected = made.clone();
    expected["description"] = json!("Edited.");
    assert_eq!(server(&gateway, "s").await, expected, "one field was edited");
    let mut form = json!({"server_id": "s"});
    for name in body
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "credentials")
    {
        form[name] = expected[name].clone();
    }
    form["instructions"] = json!("Ask it again.");
    http.put("/v1/mcp/server", &form).await.expect_status(202);
    expected["instructions"] = json!("Ask it again.");
    assert_eq!(server(&gateway, "s").await, expected, "a form was sent");
    // A mistake is named, and changes nothing.
    for (field, value) in [
        ("allowed_tools", json!("echo")),
        ("tool_conditions", json!([{"tools": ["*"], "when": "args.("}])),
        ("url", json!("ftp://nowhere")),
        ("no_such_field", json!(1)),
    ] {
        let mut wrong = json!({"server_id": "s", "description": "lost"});
        wrong[field] = value;
        let refused = http.put("/v1/mcp/server", &wrong).await;
        assert!(
            matches!(refused.status.as_u16(), 400 | 422),
            "{field}: {}",
            refused.text()
        );
        assert!(refused.text().contains(field), "{field}: {}", refused.text());
    }
    gateway.restart().await;
    assert_eq!(server(&gateway, "s").await, expected, "after another restart");
    // And the secret that nobody can read is there still: the server is asked with it.
    upstream.clear();
    let path = "/v1/mcp/server/health?server_ids=s";
    gateway.client().get(path).await.expect_status(200);
    let sent = upstream.requests();
    let is_sent = |own: &trunkline_testkit::Recorded| {
        own.header("authorization") == Some("Bearer a-secret-of-this-server")
    };
    assert!(
        !sent.is_empty() && sent.iter().all(is_sent),
        "{}",
        upstream.everything()
    );
}

#[tokio::test]
async fn b78_a_keys_grants_survive_an_edit_of_another_field_and_a_restart() {
    let upstream = ScriptedUpstream::start().await;
    let mut gateway =
        TestGateway::start(&config(&[("files", &upstream, "    access_groups: [dev]\n")])).await;
    listed(&gateway, &["files"]).await;
    toolset(&gateway, "suite", &[("files", "echo")]).await;
    let permission = json!({
        "mcp_servers": ["files"], "mcp_access_groups": ["dev"], "mcp_toolsets": ["suite"],
        "mcp_tool_permissions": {"files": ["echo"]},
    });
    let body = json!({
        "key_alias": "mine", "user_id": "u", "metadata": {"level": 1}, "models": ["a"], "allowed_routes": ["/mcp"],
        "rpm_limit": 500, "tpm_limit": 500, "max_parallel_requests": 20, "mcp_rpm_limit": {"files": 300},
        "model_rpm_limit": {"a": 3}, "max_budget": 1.5, "budget_duration": "30d", "object_permission": permission,
    });
    let made = generate(&gateway, body.clone()).await;
    let hash = made["token"].as_str().unwrap();
    let before = info(&gateway, hash).await;
    for (name, value) in body.as_object().unwrap() {
        let shown = &before[name];
        if name == "object_permission" {
            for (list, value) in value.as_object().unwrap() {
                assert_eq!(&shown[list], value, "{list}: {before}");
            }
        } else {
            assert_eq!(shown, value, "{name}: {before}");
        }
    }
    gateway.restart().await;
    assert_eq!(info(&gateway, hash).await, before, "after a restart");
    post(
        &gateway,
        "/key/update",
        json!({"key": hash, "key_alias": "other"}),
    )
    .await;
    let mut expected = before.clone();
    expected["key_alias"] = json!("other");
    assert_eq!(info(&gateway, hash).await, expected, "one field was edited");
    let wrong = json!({"key": hash, "key_alias": "lost", "object_permission": {"mcp_server": ["files"]}});
    let refused = gateway.client().post("/key/update", &wrong).await;
    assert!(matches!(refused.status.as_u16(), 400 | 422), "{}", refused.text());
    assert!(refused.text().contains("mcp_server"), "{}", refused.text());
    gateway.restart().await;
    assert_eq!(info(&gateway, hash).await, expected, "after another restart");
    listed(&gateway, &["files"]).await;
    let http = with(&gateway, made["key"].as_str().unwrap());
    let shown = crate::support::Way::Bare.tools(&http, None).await;
    assert_eq!(shown, Ok(set(&["files-echo"])));
}

/// Nobody is shown, or led to, what another server had under this name: not while the new one is asked, not when it cannot be, and not
/// after a restart, when what was known last is shown first.
#[tokio::test]
async fn b78_another_address_shows_nothing_of_the_server_that_was_there() {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let with_prompt = |name: &str| {
        let prompts = json!({"prompts": [{"name": format!("{name}-prompt")}]});
        let resources = json!({"resources": [{"uri": format!("memo://{name}"), "name": name}]});
        ScriptedUpstream::builder()
            .initialize_member(
                "capabilities",
                json!({"tools": {}, "prompts": {}, "resources": {}}),
            )
            .tool(tool(name))
            .on("prompts/list", Act::Result(prompts.to_string()))
            .on("resources/list", Act::Result(resources.to_string()))
            .start()
    };
    let (first, second) = (with_prompt("former").await, with_prompt("fresh").await);
    let down = ScriptedUpstream::refusing().await;
    let mut gateway = TestGateway::start(&config(&[])).await;
    let row = |url: String| json!({"server_id": "s", "alias": "own", "url": url, "transport": "http"});
    let made = gateway.client().post("/v1/mcp/server", &row(first.url())).await;
    made.expect_status(201);
    let mine = key(&gateway, json!({"mcp_servers": ["own"]})).await;
    let mut session = McpClient::over(with(&gateway, &mine), "/mcp");
    session.initialize().await;
    eventually("the server is listed", PATIENCE, async || {
        session.tool_names().await == ["own-former"]
    })
    .await;
    for method in ["prompts/list", "resources/list"] {
        let said = session.request(method, &json!({})).await.everything();
        assert!(said.contains("former"), "{said}");
    }
    for (number, next) in [&second, &down].into_iter().enumerate() {
        let gone = if number == 0 { ["former"] } else { ["fresh"] };
        let change = json!({"server_id": "s", "url": next.url()});
        gateway
            .client()
            .put("/v1/mcp/server", &change)
            .await
            .expect_status(202);
        let heard = (first.requests().len(), second.requests().len());
        // Its sessions may end upstream, and nothing else goes there.
        let is_quiet = || {
            let of = |own: &ScriptedUpstream, before: usize| {
                own.requests()[before.min(own.requests().len())..]
                    .iter()
                    .all(|own| own.is("DELETE") || own.is("notifications/cancelled"))
            };
            of(&first, heard.0) && (number == 0 || of(&second, heard.1))
        };
        for run in ["at once", "after a restart"] {
            shows_nothing_of(&with(&gateway, &mine), &gone, run).await;
            shows_nothing_of(&gateway.client(), &gone, run).await;
            let said = session.request("tools/list", &json!({})).await.everything();
            assert!(!said.contains(gone[0]), "{run}: {said}");
            if run == "at once" && number == 1 {
                // Half a second after a start whoever is known already is asked again: not where it was.
                tokio::time::sleep(Duration::from_millis(1200)).await;
            }
            assert!(
                is_quiet(),
                "{number} {run}: {}{}",
                first.everything(),
                second.everything()
            );
            if number == 0 {
                eventually("the new one is shown", PATIENCE, async || {
                    let mut client = McpClient::over(with(&gateway, &mine), "/mcp");
                    client.initialize_only().await;
                    client.tool_names().await == ["own-fresh"]
                })
                .await;
            }
            gateway.restart().await;
        }
    }
}

async fn shows_nothing_of(http: &HttpClient, gone: &[&str], run: &str) {
    for way in WAYS {
        for (method, params) in [
            ("tools/list", json!({})),
            ("prompts/list", json!({})),
            ("resources/list", json!({})),
            ("resources/templates/list", json!({})),
        ] {
            let is_rest = matches!(way, crate::support::Way::Rest | crate::support::Way::AllTools);
            if is_rest && method != "tools/list" {
                continue;
            }
            let said = way.ask(http, None, method, &params).await.1.to_string();
            for name in gone {
                assert!(!said.contains(name), "{way:?} {method} {run}: {said}");
            }
        }
        for name in gone {
            let call = json!({"name": format!("own-{name}"), "arguments": {}});
            let (_, said) = way.ask(http, None, "tools/call", &call).await;
            assert!(
                said["result"]["content"].is_null() || said["result"]["isError"] == true,
                "{way:?} {run}: {said}"
            );
        }
    }
}
