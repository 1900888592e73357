//! `/mcp-rest/test/…`.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use trunkline_model::{OutcomeStatus, Secret, Step};

use crate::harness::{Harness, KEY, outcome, plain};

const CONNECTION: &str = "/mcp-rest/test/connection";
const TOOLS: &str = "/mcp-rest/test/tools/list";

async fn test(gateway: &Harness, path: &str, body: Value) -> Value {
    let answer = gateway.ask("POST", path, Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn what_works_is_shown_with_its_trace() {
    let gateway = Harness::new().await;
    let body = json!({"url": "https://u.example/mcp", "transport": "http", "auth_type": "bearer_token", "credentials": {"auth_value": "new-key"}});
    let connection = test(&gateway, CONNECTION, body.clone()).await;
    assert_eq!(connection["status"], "ok");
    assert!(connection.get("error").is_none());
    let tools = gateway.ask("POST", TOOLS, Some(body)).await;
    assert!(
        tools
            .text
            .contains(r#"{"name":"echo","inputSchema":{"type":"object"},"x-unknown":1.0}"#),
        "relayed as it came"
    );
    insta::assert_json_snapshot!(tools.json());
    let (probed, _) = gateway.probe.probed.lock().unwrap()[0].clone();
    assert_eq!(
        probed.definition.credentials.auth_value,
        Some(Secret::new("new-key"))
    );
    assert_eq!(
        gateway.get("/v1/mcp/server").await.json(),
        json!([]),
        "nothing is stored"
    );
}

#[tokio::test]
async fn a_failure_is_an_answer_that_says_why() {
    let gateway = Harness::new().await;
    let locked = outcome(
        OutcomeStatus::AuthRequired,
        Step::Initialize,
        Some(401),
        "unauthorized",
    );
    gateway.script("*", locked, vec![r#"{"name":"left over"}"#], Duration::ZERO);
    let body = json!({"url": "https://u.example/mcp"});
    insta::assert_json_snapshot!(
        "connection_failure",
        test(&gateway, CONNECTION, body.clone()).await
    );
    insta::assert_json_snapshot!("tools_failure", test(&gateway, TOOLS, body).await);
}

#[tokio::test]
async fn a_registered_server_is_tried_with_its_own_credentials() {
    let gateway = Harness::new().await;
    let mut body = plain("a");
    body["auth_type"] = json!("bearer_token");
    body["credentials"] = json!({"auth_value": "stored-key"});
    body["static_headers"] = json!({"x-tenant": "stored-tenant"});
    gateway.registered(body).await;
    for body in [
        json!({"server_id": "id-a"}),
        json!({"server_id": "id-a", "url": "https://upstream.example/other", "transport": "http"}),
        json!({"server_id": "id-a", "credentials": {"auth_value": "***"}}),
    ] {
        test(&gateway, TOOLS, body.clone()).await;
        let (probed, _) = gateway.probe.probed.lock().unwrap().pop().unwrap();
        let definition = probed.definition;
        assert_eq!(
            definition.credentials.auth_value,
            Some(Secret::new("stored-key")),
            "{body}"
        );
        assert_eq!(definition.static_headers["x-tenant"].expose(), "stored-tenant");
    }
    test(
        &gateway,
        TOOLS,
        json!({"server_id": "id-a", "credentials": {"auth_value": "another"}}),
    )
    .await;
    let (probed, _) = gateway.probe.probed.lock().unwrap().pop().unwrap();
    assert_eq!(
        probed.definition.credentials.auth_value,
        Some(Secret::new("another"))
    );
}

#[tokio::test]
async fn s11_stored_credentials_go_nowhere_else() {
    let gateway = Harness::new().await;
    let mut body = plain("a");
    body["auth_type"] = json!("bearer_token");
    body["credentials"] = json!({"auth_value": "stored-key"});
    body["static_headers"] = json!({"x-tenant": "stored-tenant"});
    body["env_vars"] = json!([{"name": "A", "value": "stored-value"}]);
    gateway.registered(body).await;
    for url in [
        "https://evil.example/mcp",
        "http://upstream.example/mcp",
        "https://upstream.example:8443/mcp",
        "https://upstream.example.evil.example/mcp",
    ] {
        test(&gateway, TOOLS, json!({"server_id": "id-a", "url": url})).await;
        let (probed, _) = gateway.probe.probed.lock().unwrap().pop().unwrap();
        let definition = probed.definition;
        assert_eq!(definition.url.as_deref(), Some(url));
        assert_eq!(definition.credentials.auth_value, None, "{url}");
        assert!(definition.static_headers.is_empty() && definition.env_vars.is_empty());
        let masked = json!({"server_id": "id-a", "url": url, "credentials": {"auth_value": "***"}, "static_headers": {"x-tenant": "***"}});
        assert_eq!(
            gateway.ask("POST", TOOLS, Some(masked)).await.problems().len(),
            2,
            "nothing to keep"
        );
    }
    test(
        &gateway,
        TOOLS,
        json!({"server_id": "id-a", "spec_path": "https://evil.example/openapi.json"}),
    )
    .await;
    let (probed, _) = gateway.probe.probed.lock().unwrap().pop().unwrap();
    assert_eq!(probed.definition.credentials.auth_value, None);
    assert_eq!(
        gateway.stored("id-a").definition.credentials.auth_value,
        Some(Secret::new("stored-key"))
    );
}

#[tokio::test]
async fn b51_the_gateways_key_stays_here() {
    let gateway = Harness::new().await;
    let request = Request::post(TOOLS)
        .header("x-litellm-api-key", KEY)
        .header("authorization", "Bearer for-the-upstream")
        .header("x-copy", format!("Bearer {KEY}"))
        .header("cookie", "a=b")
        .header("x-tenant", "blue")
        .body(Body::from(
            json!({"url": "https://u.example/mcp", "extra_headers": ["x-*", "authorization"]}).to_string(),
        ))
        .unwrap();
    assert_eq!(gateway.send(request).await.status, 200);
    let (_, headers) = gateway.probe.probed.lock().unwrap().pop().unwrap();
    assert_eq!(headers["authorization"], "Bearer for-the-upstream");
    assert_eq!(headers["x-tenant"], "blue");
    assert!(!format!("{headers:?}").contains(KEY));
    assert!(!headers.contains_key("cookie"));
}

#[tokio::test]
async fn a_probe_that_never_ends_is_ended() {
    let gateway = Harness::new().await;
    let ok = outcome(OutcomeStatus::Ok, Step::List, None, "");
    gateway.script("*", ok, vec![], Duration::from_hours(9));
    // Only now: the database waits by the same clock.
    tokio::time::pause();
    let answer = test(&gateway, TOOLS, json!({"url": "https://u.example/mcp"})).await;
    assert_eq!(answer["error"], "timeout");
    assert_eq!(answer["tools"], json!([]));
}

#[tokio::test]
async fn a_submission_can_be_tried_by_its_reviewer() {
    let gateway = Harness::new().await;
    gateway
        .ask("POST", "/v1/mcp/server/register", Some(plain("a")))
        .await;
    assert_eq!(
        test(&gateway, CONNECTION, json!({"server_id": "id-a"})).await["status"],
        "ok"
    );
}

#[tokio::test]
async fn mistakes_in_the_request_are_errors() {
    let gateway = Harness::new().await;
    for path in [CONNECTION, TOOLS] {
        let unknown = gateway
            .ask(
                "POST",
                path,
                Some(json!({"url": "https://u.example", "naem": "x"})),
            )
            .await;
        assert_eq!(unknown.problems()[0].1, "naem");
        let empty = gateway.ask("POST", path, Some(json!({}))).await;
        assert_eq!(empty.problems()[0].0, "value_error");
    }
    assert_eq!(gateway.probe.contacts(), 0);
}
