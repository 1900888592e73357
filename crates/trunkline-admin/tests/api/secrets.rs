//! S13, B48: canaries in every secret field, every route, every kind of failure: no answer holds one.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_model::{OutcomeStatus, Step};

use crate::harness::{Harness, KEY, outcome, plain};

/// Every place that takes a secret, each with a canary of its own.
fn with_canaries(id: &str) -> Value {
    json!({
        "server_id": id,
        "alias": format!("{id}-alias"),
        "url": "https://upstream.example/mcp",
        "transport": "http",
        "auth_type": "bearer_token",
        "credentials": {
            "auth_value": "canary-auth-value",
            "client_id": "canary-client-id",
            "client_secret": "canary-client-secret",
            "aws_access_key_id": "canary-aws-id",
            "aws_secret_access_key": "canary-aws-secret",
            "aws_session_token": "canary-aws-token",
            "id_jag_resource_client_secret": "canary-jag",
            "client_private_key": "canary-private-key",
        },
        "extra_headers": ["X-Given: canary-extra"],
        "static_headers": {"X-Fixed": "Bearer canary-static"},
        "env_vars": [{"name": "A", "value": "canary-variable"}],
        "env": {"B": "canary-environment"},
    })
}

#[tokio::test]
async fn s13_b48_no_answer_holds_a_secret() {
    let log = Log::default();
    let _listening = log.listen();
    let gateway = Harness::new().await;
    gateway.registered(with_canaries("a")).await;
    let submitted = gateway
        .ask("POST", "/v1/mcp/server/register", Some(with_canaries("b")))
        .await;
    assert_eq!(submitted.status, 201);
    // A server that repeats in its error what it was sent.
    let repeats = "denied: canary-auth-value, Bearer canary-static, canary-static, canary-extra, canary-variable, canary-client-secret";
    let denied = outcome(OutcomeStatus::Forbidden, Step::Initialize, Some(403), repeats);
    gateway.script("*", denied, vec![], Duration::ZERO);
    let mut statuses = std::collections::BTreeSet::new();
    for (method, path, body) in [
        ("GET", "/v1/mcp/server", None),
        ("GET", "/v1/mcp/server/a", None),
        ("GET", "/v1/mcp/server/health", None),
        ("GET", "/v1/mcp/server/submissions", None),
        ("GET", "/v1/mcp/access_groups", None),
        ("POST", "/v1/mcp/server", Some(with_canaries("a"))),
        (
            "POST",
            "/v1/mcp/server",
            Some(
                json!({"server_id": "c", "url": "https://canary@host", "credentials": {"auth_value": "canary-x"}}),
            ),
        ),
        ("PUT", "/v1/mcp/server", Some(with_canaries("a"))),
        ("PUT", "/v1/mcp/server", Some(with_canaries("nobody"))),
        (
            "PUT",
            "/v1/mcp/server",
            Some(json!({"server_id": "a", "credentials": "canary-y", "canary_field_value": "canary-z"})),
        ),
        (
            "PUT",
            "/v1/mcp/server",
            Some(json!({"server_id": "a", "transport": "stdio", "command": "canary-command"})),
        ),
        ("POST", "/mcp-rest/test/connection", Some(with_canaries("new"))),
        ("POST", "/mcp-rest/test/tools/list", Some(with_canaries("new"))),
        (
            "POST",
            "/mcp-rest/test/connection",
            Some(json!({"server_id": "a"})),
        ),
        (
            "POST",
            "/mcp-rest/test/tools/list",
            Some(json!({"server_id": "a"})),
        ),
        ("PUT", "/v1/mcp/server/b/approve?pin=false", None),
        ("PUT", "/v1/mcp/server/b/reject", None),
        ("GET", "/v1/mcp/server/a", None),
        ("GET", "/v1/mcp/server/health", None),
        ("DELETE", "/v1/mcp/server/a", None),
    ] {
        let answer = gateway.ask(method, path, body).await;
        statuses.insert(answer.status.as_u16());
    }
    gateway
        .ask_text(
            "POST",
            "/v1/mcp/server",
            "{\"credentials\":{\"auth_value\":\"canary-broken",
        )
        .await;
    assert_eq!(
        statuses.into_iter().collect::<Vec<_>>(),
        [200, 202, 400, 403, 404, 422],
        "every kind was driven"
    );
    let answers = gateway.answers.lock().unwrap();
    assert!(answers.contains("denied: ***, ***"), "the error itself is shown");
    // The name of a field that does not exist is the caller's own text, and is what the error is about.
    let answers = answers.replace("canary_field_value", "");
    let found: Vec<&str> = answers
        .match_indices("canary")
        .map(|(at, _)| &answers[at..(at + 30).min(answers.len())])
        .collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(!answers.contains(KEY));
    let log = log.text();
    assert!(log.contains("server registered"), "{log}");
    assert!(!log.contains("canary") && !log.contains(KEY), "{log}");
}

#[tokio::test]
async fn every_change_is_logged_with_who_where_and_what() {
    let log = Log::default();
    let _listening = log.listen();
    let gateway = Harness::new().await;
    for (method, path, body, message) in [
        ("POST", "/v1/mcp/server", Some(plain("a")), "server registered"),
        (
            "PUT",
            "/v1/mcp/server",
            Some(json!({"server_id": "id-a", "description": "x"})),
            "server changed",
        ),
        ("DELETE", "/v1/mcp/server/id-a", None, "server deleted"),
        (
            "POST",
            "/v1/mcp/server/register",
            Some(plain("a")),
            "server submitted for review",
        ),
        (
            "PUT",
            "/v1/mcp/server/id-a/approve?pin=false",
            None,
            "submission reviewed",
        ),
        (
            "POST",
            "/mcp-rest/test/connection",
            Some(json!({"server_id": "id-a"})),
            "server tested",
        ),
    ] {
        gateway.ask(method, path, body).await;
        let text = log.text();
        let line = text
            .lines()
            .rfind(|line| line.contains(message))
            .unwrap_or_else(|| panic!("{message}: {text}"));
        for part in [
            "actor=\"master_key\"".to_owned(),
            format!("path=\"{}\"", path.split('?').next().unwrap()),
            "server_id=id-a".to_owned(),
        ] {
            assert!(line.contains(&part), "{part} in {line}");
        }
    }
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn b48_errors_are_silent_about_other_servers() {
    let gateway = Harness::new().await;
    gateway.registered(with_canaries("secretive")).await;
    gateway
        .registered(json!({"server_id": "plain", "url": "https://u.example"}))
        .await;
    for (method, path, body) in [
        ("GET", "/v1/mcp/server/nobody", None),
        ("GET", "/v1/mcp/server/plain", None),
        ("PUT", "/v1/mcp/server", Some(json!({"server_id": "nobody"}))),
        (
            "PUT",
            "/v1/mcp/server",
            Some(json!({"server_id": "plain", "x": 1})),
        ),
        ("PUT", "/v1/mcp/server/plain/approve", None),
        (
            "POST",
            "/mcp-rest/test/connection",
            Some(json!({"server_id": "nobody"})),
        ),
    ] {
        let answer = gateway.ask(method, path, body).await;
        assert!(
            !answer.text.contains("secretive"),
            "{method} {path}: {}",
            answer.text
        );
    }
}
