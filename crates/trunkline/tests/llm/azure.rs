//! Azure: its addresses, its ways to say who asks, and its own members, which pass.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, ScriptedProvider, TestGateway, Turn, filtered};

use crate::support::{chat, raw};

const CHAT: &str = "/v1/chat/completions";

struct World {
    provider: ScriptedProvider,
    key: Canary,
    gateway: TestGateway,
}

/// `mine` has a key, `token` a token, `next` the newer addresses.
async fn world() -> World {
    let key = Canary::key("azure");
    let provider = ScriptedProvider::start_azure(key.value(), &["my-dep", "tts"]).await;
    let (root, own) = (provider.root(), key.value());
    let entry = |name: &str, model: &str, base: &str, more: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params:\n      model: azure/{model}\n      api_base: {base}\n{more}"
        )
    };
    let list = [
        entry(
            "mine",
            "my-dep",
            &root,
            &format!("      api_key: {own}\n      api_version: 2024-10-21\n"),
        ),
        entry(
            "token",
            "o_series/my-dep",
            &root,
            &format!("      azure_ad_token: {own}\n      api_version: 2025-03-01-preview\n"),
        ),
        entry(
            "next",
            "my-dep",
            &format!("{root}/openai/v1/"),
            &format!("      api_key: {own}\n"),
        ),
        entry("usual", "my-dep", &root, &format!("      api_key: {own}\n")),
        entry("gone", "no-such", &root, &format!("      api_key: {own}\n")),
        entry(
            "tts",
            "tts",
            &root,
            &format!("      api_key: {own}\n      input_cost_per_character: 0.00002\n"),
        ),
        entry("nobody", "my-dep", &root, ""),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", list.concat())).await;
    World {
        provider,
        key,
        gateway,
    }
}

async fn sent(client: &HttpClient, world: &World, path: &str, body: &Value) -> (String, Option<String>) {
    client.post(path, body).await.expect_status(200);
    let request = world.provider.requests().pop().unwrap();
    (request.path, request.query)
}

#[tokio::test]
async fn addresses_have_the_deployment_and_the_revision() {
    let world = world().await;
    let client = world.gateway.client();
    let old = Some("api-version=2024-10-21".to_owned());
    let at = |rest: &str| format!("/openai/deployments/my-dep/{rest}");
    for (path, body) in [
        ("chat/completions", chat("mine")),
        ("completions", json!({"model": "mine", "prompt": "p"})),
        ("embeddings", json!({"model": "mine", "input": "p"})),
        ("images/generations", json!({"model": "mine", "prompt": "p"})),
    ] {
        let got = sent(&client, &world, &format!("/v1/{path}"), &body).await;
        assert_eq!(got, (at(path), old.clone()));
    }
    let usual = Some("api-version=2025-02-01-preview".to_owned());
    assert_eq!(
        sent(&client, &world, CHAT, &chat("usual")).await,
        (at("chat/completions"), usual)
    );
    let got = sent(&client, &world, CHAT, &chat("next")).await;
    assert_eq!(got, ("/openai/v1/chat/completions".to_owned(), None));
    let got = sent(&client, &world, CHAT, &chat("token")).await;
    assert_eq!(got.0, at("chat/completions"));
    let request = world.provider.requests().pop().unwrap();
    assert_eq!(request.header("api-key"), None);
    assert_eq!(
        request.header("authorization"),
        Some(format!("Bearer {}", world.key.value()).as_str())
    );
    let speech = json!({"model": "tts", "input": "abc", "voice": "v"});
    let reply = client.post("/v1/audio/speech", &speech).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-response-cost"), Some("0.00006"));
    assert_eq!(
        world.provider.requests().pop().unwrap().path,
        "/openai/deployments/tts/audio/speech"
    );
}

#[tokio::test]
async fn responses_have_their_own_address_and_are_found_again() {
    let world = world().await;
    let client = world.gateway.client();
    let body = |model: &str| json!({"model": model, "input": "Hi"});
    for (model, path, query) in [
        ("mine", "/openai/responses", Some("api-version=2024-10-21")),
        ("usual", "/openai/v1/responses", Some("api-version=preview")),
        ("next", "/openai/v1/responses", None),
    ] {
        let reply = client
            .post("/v1/responses", &body(model))
            .await
            .expect_status(200)
            .json();
        let request = world.provider.requests().pop().unwrap();
        assert_eq!(
            (request.path.as_str(), request.query.as_deref()),
            (path, query),
            "{model}"
        );
        let id = reply["id"].as_str().unwrap();
        client
            .get(&format!("/v1/responses/{id}/input_items?limit=3"))
            .await
            .expect_status(200);
        let request = world.provider.requests().pop().unwrap();
        let wanted = query.map_or("limit=3".to_owned(), |own| format!("{own}&limit=3"));
        assert!(
            request.path.starts_with(path) && request.path.ends_with("/input_items"),
            "{}",
            request.path
        );
        assert_eq!(request.query, Some(wanted), "{model}");
    }
}

#[tokio::test]
async fn what_azure_says_of_texts_passes_byte_for_byte() {
    let world = world().await;
    let client = world.gateway.client();
    let filters = "\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{\"hate\":{\"filtered\":false}}}]";
    let events = [
        format!("data: {{\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",{filters}}}\n\n"),
        "data: {\"choices\":[{\"content_filter_results\":{},\"delta\":{\"content\":\"He\",\"role\":\"assistant\"},\"finish_reason\":null,\"index\":0}],\"model\":\"gpt-4o-2024\"}\n\n".to_owned(),
        "data: {\"choices\":[{\"content_filter_offsets\":{\"check_offset\":1},\"delta\":{},\"finish_reason\":\"stop\",\"index\":0}],\"model\":\"gpt-4o-2024\"}\n\n".to_owned(),
        "data: {\"choices\":[],\"model\":\"gpt-4o-2024\",\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,\"total_tokens\":6}}\n\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ];
    let mut body = chat("mine");
    body["stream"] = true.into();
    let all = events.concat();
    let wanted = format!("{}{}", events[..3].concat(), events[4])
        .replace("\"gpt-4o-2024\"", "\"mine\"")
        .replace("\"model\":\"\"", "\"model\":\"mine\"");
    // Cut at every 7th byte: the answer is the same.
    for at in (0..all.len()).step_by(7).filter(|at| all.is_char_boundary(*at)) {
        let (first, second) = all.split_at(at);
        world
            .provider
            .next(Turn::Stream(vec![first.to_owned(), second.to_owned()]));
        let reply = client.post(CHAT, &body).await.expect_status(200);
        assert_eq!(reply.text(), wanted, "cut at {at}");
    }
    let said = format!(
        "{{\"choices\":[{{\"content_filter_results\":{{}},\"message\":{{\"content\":\"Hi\"}}}}],\"model\":\"gpt-4o-2024\",{filters} }}"
    );
    world.provider.next(Turn::Answer(200, said.clone()));
    let reply = raw(&client, CHAT, &chat("mine").to_string())
        .await
        .expect_status(200);
    assert_eq!(reply.text(), said.replace("gpt-4o-2024", "mine"));
    // In Anthropic's dialect the same stream is a message.
    let message = json!({"model": "mine", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    world.provider.next(Turn::Stream(vec![all]));
    let reply = client
        .post("/v1/messages", &message)
        .await
        .expect_status(200)
        .text();
    assert!(
        reply.contains("\"text\":\"He\"") && reply.contains("message_stop"),
        "{reply}"
    );
    let tools = json!({"model": "mine", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}]});
    let reply = client
        .post("/v1/messages", &tools)
        .await
        .expect_status(200)
        .json();
    assert_eq!(reply["content"][0]["name"], "weather");
}

#[tokio::test]
async fn what_azure_refuses_is_told() {
    let mut world = world().await;
    let client = world.gateway.client();
    world.provider.next(Turn::Answer(400, filtered().to_string()));
    let reply = client.post(CHAT, &chat("mine")).await.expect_status(400);
    let error = reply.json()["error"].clone();
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(
        error["provider_specific_fields"]["code"], "content_filter",
        "{error}"
    );
    assert_eq!(error["param"], "prompt");
    let gone = client.post(CHAT, &chat("gone")).await.expect_status(404).json();
    assert_eq!(
        gone["error"]["provider_specific_fields"]["code"], "DeploymentNotFound",
        "{gone}"
    );
    let reply = client.post(CHAT, &chat("nobody")).await.expect_status(503);
    assert!(reply.text().contains("AZURE_OPENAI_API_KEY"), "{}", reply.text());
    // It repeats what it was sent, and nobody sees that.
    let echo = json!({"error": {"message": format!("bad {}", world.key.value()), "code": world.key.value()}});
    world.provider.next(Turn::Answer(400, echo.to_string()));
    let shown = [
        client
            .post(CHAT, &chat("token"))
            .await
            .expect_status(400)
            .everything(),
        client.get("/v1/model/info").await.expect_status(200).everything(),
        {
            world.gateway.stop(trunkline_testkit::Signal::Term).await;
            world.gateway.log()
        },
    ];
    for text in &shown {
        world.key.assert_absent(&[("what people see", text)]);
    }
}
