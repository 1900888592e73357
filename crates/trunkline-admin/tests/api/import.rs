//! `POST /v1/mcp/server/import`: the files of other programs.

use serde_json::{Value, json};

use crate::harness::Harness;

const PATH: &str = "/v1/mcp/server/import";

async fn import(gateway: &Harness, body: Value) -> Value {
    let answer = gateway.ask("POST", PATH, Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Names of the entries of a list of the answer.
fn names<'a>(answer: &'a Value, list: &str) -> Vec<&'a str> {
    let list = answer[list].as_array().unwrap().iter();
    list.map(|entry| entry["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_programs_shape_is_understood() {
    let gateway = Harness::new().await;
    for (body, name, transport, auth_type) in [
        (
            json!({"mcpServers": {"claude": {"type": "http", "url": "https://a.example/mcp", "headers": {"Authorization": "Bearer canary-1"}}}}),
            "claude",
            "http",
            json!("bearer_token"),
        ),
        (
            json!({"mcpServers": {"windsurf": {"serverUrl": "https://b.example/mcp", "headers": {"X-API-Key": "canary-2"}}}}),
            "windsurf",
            "http",
            json!("api_key"),
        ),
        (
            json!({"inputs": [], "servers": {"vscode": {"type": "sse", "url": "https://c.example/sse"}}}),
            "vscode",
            "sse",
            Value::Null,
        ),
        (
            json!({"context_servers": {"zed": {"source": "custom", "url": "https://d.example/mcp"}}}),
            "zed",
            "http",
            Value::Null,
        ),
        (
            json!({"mcp_servers": {"litellm": {"url": "https://e.example/mcp", "auth_type": "bearer_token", "authentication_token": "canary-3"}}}),
            "litellm",
            "http",
            json!("bearer_token"),
        ),
        (
            json!({"mcp_servers": {"codex": {"url": "https://f.example/mcp", "http_headers": {"Authorization": "Basic Y2FuYXJ5OjQ="}}}}),
            "codex",
            "http",
            json!("basic"),
        ),
        (
            json!({"mcp_servers": [{"type": "url", "name": "anthropic", "url": "https://g.example/mcp", "authorization_token": "canary-5"}]}),
            "anthropic",
            "http",
            json!("bearer_token"),
        ),
    ] {
        let answer = import(&gateway, body).await;
        assert_eq!(names(&answer, "imported"), [name], "{answer}");
        let imported = &answer["imported"][0];
        assert_eq!(imported["alias"], name);
        assert_eq!(imported["transport"], transport);
        assert_eq!(imported["auth_type"], auth_type, "{answer}");
        let id = imported["server_id"].as_str().unwrap();
        let row = gateway.get(&format!("/v1/mcp/server/{id}")).await.json();
        assert_eq!(row["server_name"], name);
        assert_eq!(row["auth_type"], auth_type);
    }
    let secret = |id: &str| {
        gateway
            .stored(id)
            .definition
            .credentials
            .auth_value
            .clone()
            .unwrap()
    };
    let id = |name: &str| {
        let snapshot = gateway.registry.snapshot();
        snapshot.find(name).unwrap().id.as_str().to_owned()
    };
    assert_eq!(secret(&id("claude")).expose(), "canary-1");
    assert_eq!(secret(&id("windsurf")).expose(), "canary-2");
    assert_eq!(secret(&id("litellm")).expose(), "canary-3");
    assert_eq!(secret(&id("anthropic")).expose(), "canary-5");
    // S13: what was given as a secret is in no answer.
    assert!(!gateway.answers.lock().unwrap().contains("canary"));
}

#[tokio::test]
async fn each_server_is_registered_whole_or_refused_with_what_to_do() {
    let gateway = Harness::new().await;
    gateway
        .registered(json!({"alias": "taken", "url": "https://a.example/mcp"}))
        .await;
    let body = json!({"mcpServers": {
        "good": {"url": "https://b.example/mcp", "autoApprove": ["x"], "headers": {"X-Fixed": "canary-a"}},
        "taken": {"url": "https://c.example/mcp"},
        "off": {"url": "https://d.example/mcp", "disabled": true},
        "program": {"command": "npx", "args": ["-y", "server"], "env": {"TOKEN": "canary-b"}},
        "asks": {"url": "https://e.example/mcp", "headers": {"Authorization": "Bearer ${input:key}"}},
        "varies": {"url": "https://${env:HOST}/mcp"},
        "both": {"url": "https://f.example/mcp", "command": "x"},
        "wrong": {"command": ["npx"], "nonsense": "${input:key}"},
        "said": {"type": "local", "url": "https://f.example/mcp"},
        "neither": {"headers": {}},
        "nowhere": {"url": "file:///etc/passwd"},
        "io.github.user/fetch": {"url": "https://g.example/mcp"},
        "text": "https://h.example/mcp",
        "broken": {"url": "https://i.example/mcp", "headers": {"Authorization": 5}},
    }});
    let preview = gateway
        .ask("POST", &format!("{PATH}?dry_run=true"), Some(body.clone()))
        .await
        .json();
    assert_eq!(preview["dry_run"], true);
    assert_eq!(
        gateway.registry.snapshot().servers().len(),
        1,
        "a preview stores nothing"
    );

    let answer = import(&gateway, body).await;
    for list in ["imported", "skipped", "errors"] {
        assert_eq!(
            names(&preview, list),
            names(&answer, list),
            "the preview says what happens"
        );
    }
    assert_eq!(
        names(&answer, "imported"),
        ["good", "io.github.user/fetch"],
        "{answer}"
    );
    assert_eq!(answer["imported"][1]["alias"], "io.github.user_fetch");
    assert_eq!(names(&answer, "skipped"), ["taken", "off"]);
    assert_eq!(gateway.registry.snapshot().servers().len(), 3);
    let warnings = answer["imported"][0]["warnings"].to_string();
    assert!(warnings.contains("autoApprove"), "{warnings}");
    for (name, status, words) in [
        ("program", 403, "configuration file"),
        ("asks", 422, "${input:key}"),
        ("varies", 422, "${env:HOST}"),
        // Whatever else is wrong with them is not looked at.
        ("both", 403, "configuration file"),
        ("wrong", 403, "configuration file"),
        ("said", 403, "configuration file"),
        ("neither", 422, "neither"),
        ("nowhere", 400, "http"),
        ("text", 422, "object"),
        ("broken", 422, "headers.Authorization"),
    ] {
        let errors = answer["errors"].as_array().unwrap();
        let error = errors.iter().find(|error| error["name"] == name).unwrap();
        assert_eq!(error["status"], status, "{error}");
        assert!(
            error["error"].as_str().unwrap().contains(words),
            "{words}: {error}"
        );
    }
    assert!(!gateway.answers.lock().unwrap().contains("canary"), "S13");

    // A second time, nothing happens.
    let again = import(
        &gateway,
        json!({"mcpServers": {"good": {"url": "https://b.example/mcp"}}}),
    )
    .await;
    assert_eq!(names(&again, "skipped"), ["good"]);
}

#[tokio::test]
async fn a_preview_knows_names_that_are_twice_in_the_request() {
    let gateway = Harness::new().await;
    let body = json!({"mcpServers": {"Git": {"url": "https://a.example/mcp"}}, "servers": {"git": {"url": "https://b.example/mcp"}}});
    let preview = gateway
        .ask("POST", &format!("{PATH}?dry_run=1"), Some(body))
        .await
        .json();
    assert_eq!(names(&preview, "imported"), ["Git"]);
    assert_eq!(names(&preview, "errors"), ["git"]);
}

#[tokio::test]
async fn what_is_no_import_is_refused_as_a_whole() {
    let gateway = Harness::new().await;
    for (path, body) in [
        (PATH.to_owned(), json!({"mcpServer": {}})),
        (PATH.to_owned(), json!({"mcpServers": "x"})),
        (PATH.to_owned(), json!({})),
        (format!("{PATH}?dry_run=perhaps"), json!({"mcpServers": {}})),
    ] {
        let answer = gateway.ask("POST", &path, Some(body)).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
    }
    let many: serde_json::Map<String, Value> = (0..1001)
        .map(|number| (format!("s{number}"), json!({"url": "https://a.example"})))
        .collect();
    let answer = gateway.ask("POST", PATH, Some(json!({"mcpServers": many}))).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(gateway.registry.snapshot().servers().is_empty());
    let unknown = json!({"mcp_servers": {"a": {"url": "https://a.example/mcp", "auth_typ": "none"}}});
    let answer = import(&gateway, unknown).await;
    let error = answer["errors"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("auth_typ") && error.contains("did you mean auth_type"),
        "{error}"
    );
}
