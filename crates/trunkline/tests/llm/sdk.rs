//! OpenAI's own SDK for Python against the gateway.

use std::process::Command;

use serde_json::{Value, json};
use trunkline_testkit::tools;

use crate::support::World;

/// Runs the program with a key; what it reports.
async fn report(world: &World, key: &str) -> Option<Value> {
    let python = tools::python("openai")?;
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client_openai.py");
    let mut command = Command::new(python);
    command
        .arg(program)
        .env("OPENAI_BASE_URL", format!("{}/v1", world.gateway.url()))
        .env("OPENAI_API_KEY", key);
    // Not on the runtime: the provider runs on it.
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}")))
}

#[tokio::test]
async fn openais_python_sdk_works_with_and_without_streams_and_tools() {
    let world = World::start().await;
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
