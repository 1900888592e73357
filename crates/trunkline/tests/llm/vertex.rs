//! Google's cloud: tokens for a service account, and Gemini's and Anthropic's models within a project.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{ScriptedProvider, TestGateway};

use crate::support::chat;

const CHAT: &str = "/v1/chat/completions";
const CLAUDE: &str = "claude-sonnet-4-5@20250929";

struct World {
    provider: ScriptedProvider,
    /// Holds the file with the credentials.
    folder: tempfile::TempDir,
    gateway: TestGateway,
}

async fn world() -> World {
    let provider = ScriptedProvider::start_vertex(&["gemini-2.5-pro", CLAUDE]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.json");
    std::fs::write(&file, provider.account()).unwrap();
    let root = provider.root();
    let entry = |name: &str, model: &str, more: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params:\n      model: vertex_ai/{model}\n      api_base: {root}\n      vertex_location: europe-west1\n{more}"
        )
    };
    let at = |file: &str| format!("      vertex_project: my-project\n      vertex_credentials: {file}\n");
    let inline = serde_json::to_string(&provider.account()).unwrap();
    let file = file.to_str().unwrap();
    let list = [
        entry("gemini", "gemini-2.5-pro", &at(file)),
        entry("claude", CLAUDE, &format!("      vertex_credentials: {inline}\n")),
        entry("lost", "gemini-2.5-pro", &at(&format!("{file}.not"))),
        entry("nobody", "gemini-2.5-pro", ""),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", list.concat())).await;
    World {
        provider,
        folder,
        gateway,
    }
}

#[tokio::test]
async fn one_token_serves_many_until_a_minute_before_its_end() {
    let world = world().await;
    let client = world.gateway.client();
    let all = (0..8).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.post(CHAT, &chat("gemini")).await.expect_status(200).json() })
    });
    for answer in all.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "Hello", "{answer}");
    }
    assert_eq!(
        world.provider.tokens_given(),
        1,
        "one is fetched, however many wait"
    );
    client.post(CHAT, &chat("gemini")).await.expect_status(200);
    assert_eq!(world.provider.tokens_given(), 1);
    // Another deployment, whose tokens end soon.
    world.provider.tokens_live(61);
    client.post(CHAT, &chat("claude")).await.expect_status(200);
    assert_eq!(world.provider.tokens_given(), 2);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    client.post(CHAT, &chat("claude")).await.expect_status(200);
    assert_eq!(world.provider.tokens_given(), 3);
    drop(world.folder);
}

#[tokio::test]
async fn both_dialects_stream_and_call_tools() {
    let world = world().await;
    let client = world.gateway.client();
    let tools =
        json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    for model in ["gemini", "claude"] {
        let mut body = chat(model);
        body["max_tokens"] = 99.into();
        body["stream"] = true.into();
        let text = client.post(CHAT, &body).await.expect_status(200).text();
        assert!(
            text.contains("\"content\":\"He\"") && text.ends_with("data: [DONE]\n\n"),
            "{text}"
        );
        body["tools"] = tools.clone();
        let text = client.post(CHAT, &body).await.expect_status(200).text();
        assert!(text.contains("\"finish_reason\":\"tool_calls\""), "{text}");
        let message =
            json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
        let reply = client
            .post("/v1/messages", &message)
            .await
            .expect_status(200)
            .json();
        assert_eq!(
            (&reply["model"], &reply["content"][0]["text"]),
            (&json!(model), &json!("Hello"))
        );
    }
    let sent = world.provider.requests().pop().unwrap();
    assert!(
        sent.path
            .ends_with("/models/claude-sonnet-4-5%4020250929:rawPredict"),
        "{}",
        sent.path
    );
    let body: Value = sent.json();
    assert_eq!(
        (&body["model"], &body["anthropic_version"]),
        (&Value::Null, &json!("vertex-2023-10-16"))
    );
}

#[tokio::test]
async fn a_token_that_is_not_given_is_named_and_keys_are_shown_nowhere() {
    let mut world = world().await;
    let client = world.gateway.client();
    let reply = client.post(CHAT, &chat("lost")).await.expect_status(500);
    assert!(
        reply.text().contains("vertex_credentials cannot be read"),
        "{}",
        reply.text()
    );
    let reply = client.post(CHAT, &chat("nobody")).await.expect_status(503);
    assert!(
        reply.text().contains("GOOGLE_APPLICATION_CREDENTIALS"),
        "{}",
        reply.text()
    );
    world.provider.tokens_refused();
    let reply = client.post(CHAT, &chat("claude")).await.expect_status(500);
    assert!(
        reply.text().contains("no token was given") && reply.text().contains("invalid_grant"),
        "{}",
        reply.text()
    );
    let asked = world.provider.requests();
    assert!(
        asked.iter().all(|own| own.path == "/token"),
        "nothing went to a model"
    );
    let info = client.get("/v1/model/info").await.expect_status(200).everything();
    world.gateway.stop(trunkline_testkit::Signal::Term).await;
    for text in [info, world.gateway.log(), reply.everything()] {
        assert!(
            !text.contains("PRIVATE KEY") && !text.contains("token-"),
            "{text}"
        );
    }
}
