//! OpenAI's own SDK for Python against the gateway, and Anthropic's.

use std::process::Command;

use serde_json::{Value, json};
use trunkline_testkit::tools;

use crate::dialects::Both;
use crate::support::World;

/// Runs the program with a key; what it reports.
async fn report(world: &World, key: &str) -> Option<Value> {
    let mut command = Command::new(tools::python("openai")?);
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/python/client_openai.py"
        ))
        .env("OPENAI_BASE_URL", format!("{}/v1", world.gateway.url()))
        .env("OPENAI_API_KEY", key);
    run(command).await
}

async fn run(mut command: Command) -> Option<Value> {
    // Not on the runtime: the provider runs on it.
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}")))
}

#[tokio::test]
async fn openais_python_sdk_works_with_and_without_streams_and_tools() {
    let world = crate::cost::priced("").await;
    let made = world
        .gateway
        .client()
        .post("/key/generate", &json!({"models": ["mine"]}))
        .await;
    let made = made.expect_status(200).json();
    let Some(report) = report(&world, made["key"].as_str().unwrap()).await else {
        return;
    };
    let wanted = json!({
        "models": ["mine"],
        "chat": {"model": "mine", "content": "Hello", "finish": "stop", "tokens": 8},
        "plain_stream": {"content": "Hello", "usages": 0},
        "priced": {"cost": "0.000036", "content": "Hello"},
        "stream": {"models": ["mine"], "content": "Hello", "finish": "stop", "tokens": 8},
        "tools": {"name": "weather", "arguments": {"city": "Oslo"}, "finish": "tool_calls"},
        "completion": {"model": "mine", "text": "and so on"},
        "embedding": {"model": "mine", "vector": [0.25, -0.5]},
        "denied": {"error": "PermissionDeniedError", "status": 403, "type": "key_model_access_denied", "param": "model"},
        "rejected": {"error": "BadRequestError", "status": 400, "type": "invalid_request_error"},
        "no_key": {"error": "AuthenticationError", "status": 401},
        "left": true,
    });
    assert_eq!(report, wanted);
}

#[tokio::test]
async fn sdks_of_both_dialects_work_with_providers_of_both() {
    let both = Both::start().await;
    let models = json!({"models": ["claude", "gpt"]});
    let made = both.gateway.client().post("/key/generate", &models).await;
    let made = made.expect_status(200).json();
    let Some(python) = tools::python("anthropic") else {
        return;
    };
    let mut command = Command::new(python);
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/python/client_anthropic.py"
        ))
        .env("GATEWAY_URL", both.gateway.url())
        .env("GATEWAY_KEY", made["key"].as_str().unwrap());
    let report = run(command).await.unwrap();
    let calls = json!([["weather", {"city": "Oslo"}]]);
    let messages = |model: &str, took: Value, ends: &str| {
        json!({
            "text": [model, "Hello", "end_turn", took],
            "stream": ["Hello", model, "end_turn", took],
            "tools": [calls, "tool_use", ends],
            "stream_tools": [calls, "tool_use", ends],
        })
    };
    let wanted = json!({
        "models": ["claude", "gpt"],
        "messages_claude": messages("claude", json!([5, 10, 3]), "end_turn"),
        "messages_gpt": messages("gpt", json!([5, 0, 3]), "end_turn"),
        "chat_claude": {
            "text": ["claude", "Hello", "stop", 20],
            "stream": ["Hello", "stop", 20],
            "tools": ["weather", {"city": "Oslo"}, "tool_calls", "stop"],
            "thoughts": "Hm.",
            "stream_tools": ["weather", {"city": "Oslo"}],
        },
        "count": 14,
        "bearer": "Hello",
        "no_key": {"error": "AuthenticationError", "status": 401, "type": "authentication_error"},
        "denied": {"error": "PermissionDeniedError", "status": 403, "type": "permission_error"},
        "rejected": {"error": "BadRequestError", "status": 400, "type": "invalid_request_error"},
        "not_carried": {"error": "BadRequestError", "status": 400, "type": "invalid_request_error"},
        "chat_rejected": {"error": "BadRequestError", "status": 400, "type": "invalid_request_error"},
    });
    assert_eq!(report, wanted);
}
