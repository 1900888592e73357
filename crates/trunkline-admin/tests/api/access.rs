//! Who may come in: nobody without the key, on any route, and nothing happens before it is checked.

use axum::body::Body;
use http::Request;

use crate::harness::{Harness, KEY, plain};

/// Method and path of every operation that this router serves, from the document.
fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(trunkline_admin::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let ours = path.starts_with("/v1/mcp/server")
            || path.starts_with("/v1/mcp/access_groups")
            || path.starts_with("/v1/mcp/toolset")
            || trunkline_model::key::MANAGEMENT_PATHS
                .iter()
                .any(|begin| path.starts_with(begin))
            || path.starts_with("/mcp-rest/test/");
        for method in item.as_object().unwrap().keys().filter(|_| ours) {
            operations.push((
                method.to_uppercase(),
                path.replace("{server_id}", "id-a")
                    .replace("{toolset_id}", "id-a")
                    .replace("{key}", &"0".repeat(64))
                    .replace("{team_id}", "t"),
            ));
        }
    }
    operations
}

#[test]
fn the_inventory_of_routes() {
    let mut operations = operations();
    operations.sort();
    let list: Vec<String> = operations
        .iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    insta::assert_snapshot!(list.join("\n"));
}

#[tokio::test]
async fn s05_s19_every_operation_asks_for_the_key() {
    let gateway = Harness::new().await;
    gateway.registered(plain("a")).await;
    let wrong = [
        None,
        Some(("authorization", "Bearer".to_owned())),
        Some(("authorization", KEY.to_owned())),
        Some(("authorization", "Bearer sk-wrong".to_owned())),
        Some(("authorization", format!("Bearer {}", &KEY[..KEY.len() - 1]))),
        Some(("authorization", "Basic c2std3Jvbmc=".to_owned())),
        Some(("x-litellm-api-key", "sk-wrong".to_owned())),
        Some(("x-api-key", "' OR 1=1 --".to_owned())),
        Some(("cookie", format!("token={KEY}"))),
    ];
    for (method, path) in operations() {
        for header in &wrong {
            let mut request = Request::builder().method(method.as_str()).uri(&path);
            if let Some((name, value)) = header {
                request = request.header(*name, value);
            }
            // A body that would be carried out, so that a missing check does harm and is seen.
            let body = Body::from(r#"{"server_id":"id-a","url":"https://elsewhere.example/mcp"}"#);
            let answer = gateway.send(request.body(body).unwrap()).await;
            assert_eq!(
                answer.status, 401,
                "{method} {path} with {header:?}: {}",
                answer.text
            );
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            let error = &answer.json()["error"];
            assert_eq!(error["code"], "401");
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .contains("Authentication Error")
            );
            assert!(error["param"].is_null());
        }
        let answer = gateway.ask_text(&method, &path, "{\"nonsense\":1}").await;
        assert_ne!(answer.status, 401, "{method} {path} with the key");
        assert_ne!(answer.status, 405, "{method} {path} is served");
    }
    assert!(!gateway.answers.lock().unwrap().contains(KEY));
    let contacted = gateway.probe.probed.lock().unwrap().len();
    assert_eq!(contacted, 0, "no upstream was contacted for anybody");
}

#[tokio::test]
async fn s05_a_request_without_the_key_changes_nothing() {
    let gateway = Harness::new().await;
    gateway.registered(plain("a")).await;
    let before = gateway.get("/v1/mcp/server").await.text;
    for (method, path) in operations() {
        let body = Body::from(r#"{"server_id":"id-a","url":"https://elsewhere.example/mcp"}"#);
        let request = Request::builder()
            .method(method.as_str())
            .uri(&path)
            .body(body)
            .unwrap();
        assert_eq!(gateway.send(request).await.status, 401);
    }
    assert_eq!(gateway.get("/v1/mcp/server").await.text, before);
    assert_eq!(gateway.probe.contacts(), 0);
}

#[tokio::test]
async fn s02_metacharacters_in_keys_are_just_wrong_keys() {
    let gateway = Harness::new().await;
    let long = "x".repeat(1 << 20);
    for key in [
        "'; DROP TABLE mcp_server; --",
        "\" OR \"\"=\"",
        "%00",
        "sk-\\x27",
        long.as_str(),
    ] {
        for name in ["authorization", "x-litellm-api-key", "x-api-key", "api-key"] {
            let value = if name == "authorization" {
                format!("Bearer {key}")
            } else {
                key.to_owned()
            };
            let request = Request::get("/v1/mcp/server")
                .header(name, value)
                .body(Body::empty())
                .unwrap();
            assert_eq!(gateway.send(request).await.status, 401);
        }
    }
    assert_eq!(gateway.get("/v1/mcp/server").await.text, "[]");
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let gateway = Harness::new().await;
    let request = Request::get("/v1/mcp/server")
        .header("authorization", format!("Bearer {KEY}"))
        .header("authorization", "Bearer other")
        .body(Body::empty())
        .unwrap();
    let answer = gateway.send(request).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], "400");
}
