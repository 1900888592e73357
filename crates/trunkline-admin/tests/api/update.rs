//! `PUT` and `DELETE /v1/mcp/server`.

use serde_json::json;
use trunkline_model::{Approval, Origin, Secret, Server, ServerDefinition, ServerId, Stamps};

use crate::harness::{Harness, plain};

#[tokio::test]
async fn omitted_keeps_and_null_clears() {
    let gateway = Harness::new().await;
    let mut body = plain("a");
    body["description"] = json!("old");
    body["timeout"] = json!(5);
    body["mcp_access_groups"] = json!(["g"]);
    body["allowed_tools"] = json!(["echo"]);
    body["allow_all_keys"] = json!(true);
    let before = gateway.registered(body).await;
    let answer = gateway
        .put(json!({"server_id": "id-a", "timeout": null, "description": "new"}))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let after = answer.json();
    assert_eq!(
        (&after["timeout"], &after["description"]),
        (&json!(null), &json!("new"))
    );
    for field in [
        "alias",
        "url",
        "transport",
        "mcp_access_groups",
        "allowed_tools",
        "allow_all_keys",
        "created_at",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_ne!(after["updated_at"], before["updated_at"]);
    let cleared = gateway
        .put(json!({"server_id": "id-a", "description": null, "mcp_access_groups": null, "allowed_tools": null, "allow_all_keys": null, "transport": null}))
        .await
        .json();
    assert_eq!(
        [
            &cleared["description"],
            &cleared["mcp_access_groups"],
            &cleared["allowed_tools"],
            &cleared["allow_all_keys"],
            &cleared["transport"]
        ],
        [
            &json!(null),
            &json!([]),
            &json!(null),
            &json!(false),
            &json!("sse")
        ]
    );
    assert_eq!(gateway.get("/v1/mcp/server/id-a").await.json(), cleared);
}

#[tokio::test]
async fn secrets_are_kept_when_they_come_back_masked() {
    let gateway = Harness::new().await;
    let mut body = plain("a");
    body["auth_type"] = json!("bearer_token");
    body["credentials"] = json!({"auth_value": "secret-1", "client_secret": "secret-2", "scopes": ["a"]});
    body["static_headers"] = json!({"X-One": "secret-3", "X-Two": "secret-4"});
    body["env_vars"] = json!([{"name": "A", "value": "secret-5"}]);
    body["env"] = json!({"B": "secret-6"});
    let row = gateway.registered(body).await;
    assert_eq!(row["credentials"], json!({"scopes": ["a"]}));
    let answer = gateway
        .put(json!({
            "server_id": "id-a",
            "credentials": {"auth_value": "***", "client_secret": null},
            "static_headers": {"x-one": "***", "X-Three": "secret-7"},
            "env_vars": row["env_vars"],
            "env": row["env"],
        }))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let stored = gateway.stored("id-a");
    let definition = &stored.definition;
    assert_eq!(definition.credentials.auth_value, Some(Secret::new("secret-1")));
    assert!(!definition.credentials.other.contains_key("client_secret"));
    assert_eq!(
        definition.credentials.other["scopes"].expose(),
        r#"["a"]"#,
        "omitted members are kept"
    );
    assert_eq!(definition.static_headers["x-one"].expose(), "secret-3");
    assert_eq!(definition.static_headers["X-Three"].expose(), "secret-7");
    assert_eq!(definition.static_headers.len(), 2, "the map is what was given");
    assert_eq!(definition.env_vars[0].value.expose(), "secret-5");
    assert_eq!(definition.env["B"].expose(), "secret-6");
    let nothing_to_keep = gateway
        .put(json!({"server_id": "id-a", "static_headers": {"new": "***"}, "credentials": {"client_secret": "***"}, "env_vars": [{"name": "C", "value": "***"}]}))
        .await;
    let places: Vec<String> = nothing_to_keep
        .problems()
        .into_iter()
        .map(|(_, place)| place)
        .collect();
    assert_eq!(
        places,
        [
            "credentials.client_secret",
            "static_headers.new",
            "env_vars.0.value"
        ]
    );
    let none = gateway
        .put(json!({"server_id": "id-a", "credentials": null}))
        .await;
    assert_eq!(none.status, 202);
    assert_eq!(gateway.stored("id-a").definition.credentials.auth_value, None);
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let gateway = Harness::new().await;
    let before = gateway.registered(plain("a")).await;
    gateway.registered(plain("b")).await;
    for (body, status) in [
        (
            json!({"server_id": "id-a", "description": "new", "url": "file:///x"}),
            400,
        ),
        (
            json!({"server_id": "id-a", "description": "new", "alias": "B"}),
            400,
        ),
        (
            json!({"server_id": "id-a", "description": "new", "url": null}),
            422,
        ),
        (
            json!({"server_id": "id-a", "description": "new", "rpm": "x"}),
            422,
        ),
        (
            json!({"server_id": "id-a", "description": "new", "approval_status": "rejected"}),
            422,
        ),
        (
            json!({"server_id": "id-a", "description": "new", "is_config": true}),
            422,
        ),
        (json!({"description": "new"}), 422),
        (json!({"server_id": 5}), 422),
        (json!({"server_id": "nobody", "description": "new"}), 404),
        (json!({"server_id": "a", "description": "new"}), 404),
    ] {
        let answer = gateway.put(body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    assert_eq!(gateway.get("/v1/mcp/server/id-a").await.json(), before);
}

#[tokio::test]
async fn two_changes_at_once_are_both_there() {
    let gateway = Harness::new().await;
    gateway.registered(plain("a")).await;
    let (one, two) = tokio::join!(
        gateway.put(json!({"server_id": "id-a", "description": "d"})),
        gateway.put(json!({"server_id": "id-a", "instructions": "i"})),
    );
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (202, 202));
    let row = gateway.get("/v1/mcp/server/id-a").await.json();
    assert_eq!(
        (&row["description"], &row["instructions"]),
        (&json!("d"), &json!("i"))
    );
}

#[tokio::test]
async fn texts_of_unknown_servers_are_litellms() {
    let gateway = Harness::new().await;
    for (method, path, body) in [
        ("GET", "/v1/mcp/server/nobody", None),
        ("DELETE", "/v1/mcp/server/nobody", None),
        ("PUT", "/v1/mcp/server/nobody/approve", None),
        ("PUT", "/v1/mcp/server/nobody/reject", None),
        ("PUT", "/v1/mcp/server", Some(json!({"server_id": "nobody"}))),
        (
            "POST",
            "/mcp-rest/test/connection",
            Some(json!({"server_id": "nobody"})),
        ),
    ] {
        let answer = gateway.ask(method, path, body).await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert_eq!(answer.error(), "MCP Server not found, passed server_id=nobody");
    }
}

fn file_server() -> Server {
    Server {
        id: ServerId::new("from-file"),
        origin: Origin::File,
        definition: ServerDefinition {
            server_name: Some("filed".into()),
            alias: Some("filed_alias".into()),
            description: Some("d".into()),
            instructions: Some("i".into()),
            url: Some("https://file.example/mcp".into()),
            mcp_access_groups: vec!["group".into()],
            allowed_tools: Some(vec!["echo".into()]),
            auth_type: Some(trunkline_model::AuthType::BearerToken),
            ..ServerDefinition::default()
        },
        approval: Approval::default(),
        stamps: Stamps::default(),
        defect: None,
    }
}

#[tokio::test]
async fn b29_servers_of_the_file_are_shown_and_changed_there() {
    let gateway = Harness::with_file_servers(vec![file_server()]).await;
    let row = gateway.get("/v1/mcp/server/from-file").await.json();
    assert_eq!(row["is_config"], true);
    for (field, value) in [
        ("description", json!("d")),
        ("instructions", json!("i")),
        ("alias", json!("filed_alias")),
        ("mcp_access_groups", json!(["group"])),
        ("allowed_tools", json!(["echo"])),
        ("auth_type", json!("bearer_token")),
        ("transport", json!("http")),
        ("created_at", json!(null)),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
    for (method, path, body) in [
        (
            "PUT",
            "/v1/mcp/server",
            Some(json!({"server_id": "from-file", "description": "x"})),
        ),
        ("DELETE", "/v1/mcp/server/from-file", None),
        ("PUT", "/v1/mcp/server/from-file/approve", None),
        ("PUT", "/v1/mcp/server/from-file/reject", None),
    ] {
        let answer = gateway.ask(method, path, body).await;
        assert_eq!(answer.status, 409, "{method} {path}: {}", answer.text);
        assert!(answer.error().contains("managed by file"), "{}", answer.text);
    }
    for body in [
        json!({"server_id": "from-file", "url": "https://u.example"}),
        json!({"alias": "FILED", "url": "https://u.example"}),
    ] {
        assert_eq!(
            gateway.post(body).await.status,
            400,
            "B35: the file's id and names are taken"
        );
    }
    assert_eq!(gateway.get("/v1/mcp/server/from-file").await.json(), row);
    assert_eq!(
        gateway.get("/v1/mcp/access_groups").await.json(),
        json!({"access_groups": ["group"]})
    );
}

#[tokio::test]
async fn a_deleted_server_is_gone_and_its_names_are_free() {
    let gateway = Harness::new().await;
    gateway.registered(plain("a")).await;
    let answer = gateway.ask("DELETE", "/v1/mcp/server/id-a", None).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (202, ""));
    assert_eq!(gateway.get("/v1/mcp/server/id-a").await.status, 404);
    assert_eq!(gateway.get("/v1/mcp/server").await.json(), json!([]));
    assert_eq!(
        gateway.ask("DELETE", "/v1/mcp/server/id-a", None).await.status,
        404
    );
    gateway.registered(plain("a")).await;
}

#[tokio::test]
async fn reading_has_no_side_effects() {
    let gateway = Harness::new().await;
    gateway.registered(plain("a")).await;
    let revision = gateway.registry.snapshot().revision;
    let written = gateway.registry.store().revision().await.unwrap();
    for path in [
        "/v1/mcp/server",
        "/v1/mcp/server/id-a",
        "/v1/mcp/access_groups",
        "/v1/mcp/server/submissions",
    ] {
        let first = gateway.get(path).await;
        assert_eq!(first.status, 200, "{path}");
        assert_eq!(gateway.get(path).await.text, first.text);
    }
    assert_eq!(gateway.probe.contacts(), 0, "nobody is contacted");
    assert_eq!(gateway.registry.snapshot().revision, revision);
    assert_eq!(gateway.registry.store().revision().await.unwrap(), written);
}

#[tokio::test]
async fn filters_that_are_not_served_are_refused() {
    let gateway = Harness::new().await;
    assert_eq!(gateway.get("/v1/mcp/server?team_id=t").await.status, 400);
    assert_eq!(gateway.get("/v1/mcp/server?user_id=u").await.status, 400);
    assert_eq!(
        gateway
            .get("/v1/mcp/server?team_id=&connected_app_view=true")
            .await
            .status,
        200
    );
}
