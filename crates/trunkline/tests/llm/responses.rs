//! Responses: relayed to a provider that has them, translated for others, and kept for whom they were made.

use std::process::Command;

use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, Reply, ScriptedProvider, TestGateway, Turn, tools};

use crate::support::{entry, raw};

const RESPONSES: &str = "/v1/responses";

/// A provider with responses, twice under one name, one with chat completions alone, Anthropic and Gemini.
struct World {
    first: ScriptedProvider,
    second: ScriptedProvider,
    anthropic: ScriptedProvider,
    gemini: ScriptedProvider,
    gateway: TestGateway,
}

impl World {
    async fn start() -> Self {
        let key = Canary::key("provider");
        let first = ScriptedProvider::start(key.value(), &["gpt-x"]).await;
        let second = ScriptedProvider::start(key.value(), &["gpt-x"]).await;
        let anthropic = ScriptedProvider::start_anthropic(key.value(), &["claude-x"]).await;
        let gemini = ScriptedProvider::start_gemini(key.value(), &["gemini-x"]).await;
        let entries = [
            entry("gemini", "gemini/gemini-x", &gemini.url(), key.value(), ""),
            entry("mine", "openai/gpt-x", &first.url(), key.value(), ""),
            entry("two", "openai/gpt-x", &first.url(), key.value(), ""),
            entry("two", "openai/gpt-x", &second.url(), key.value(), ""),
            entry("chat", "hosted_vllm/gpt-x", &first.url(), key.value(), ""),
            entry("claude", "anthropic/claude-x", &anthropic.url(), key.value(), ""),
        ];
        let gateway = TestGateway::start(&format!("model_list:\n{}", entries.concat())).await;
        Self {
            first,
            second,
            anthropic,
            gemini,
            gateway,
        }
    }

    async fn key(&self, models: &[&str]) -> (String, HttpClient) {
        let body = json!({"models": models});
        let made = self.gateway.client().post("/key/generate", &body).await;
        let key = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
        let client = self
            .gateway
            .anonymous()
            .with_header("authorization", &format!("Bearer {key}"));
        (key, client)
    }
}

fn id(reply: &Reply) -> String {
    reply.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_provider_that_has_responses_gets_every_byte_but_the_name() {
    let world = World::start().await;
    let client = world.gateway.client();
    let sent = "{ \"input\" : [{\"role\":\"user\",\"content\":\"\\u00e9\u{e9}\"}],\n \"model\":\"mine\" ,\"store\":false,\"temperature\":0.50}";
    let said = "{ \"id\":\"resp_7\", \"object\":\"response\",\"model\" : \"gpt-x-2025\",\"output\":[{\"type\":\"unheard_of\",\"n\":1.50}],\"usage\":{\"input_tokens\":13,\"output_tokens\":4}}";
    for path in [RESPONSES, "/responses", "/openai/v1/responses"] {
        world.first.next(Turn::Answer(200, said.to_owned()));
        let reply = raw(&client, path, sent).await.expect_status(200);
        let sealed = id(&reply);
        assert!(sealed.starts_with("resp_") && sealed.len() > 40, "{sealed}");
        let wanted = said.replace("gpt-x-2025", "mine").replace("resp_7", &sealed);
        assert_eq!(reply.text(), wanted);
        assert_eq!(reply.header("x-litellm-model-group"), Some("mine"));
    }
    let asked = world.first.requests();
    assert_eq!(asked[0].path, "/v1/responses");
    let body = std::str::from_utf8(&asked[0].body).unwrap();
    assert_eq!(body, sent.replace("\"mine\"", "\"gpt-x\""));
    let metrics = client.get("/metrics").await.text();
    let line = "trunkline_llm_tokens_total{model=\"mine\",kind=\"input\"} 39";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_response_is_where_it_was_made_and_its_keys_alone() {
    let world = World::start().await;
    let (_, mine) = world.key(&["two", "mine"]).await;
    let (_, other) = world.key(&["two", "mine"]).await;
    for _ in 0..8 {
        let made = mine
            .post(RESPONSES, &json!({"model": "two", "input": "Hi"}))
            .await;
        let made = made.expect_status(200);
        let own = id(&made);
        let path = format!("{RESPONSES}/{own}");
        // There are two deployments, and one of them knows it.
        let got = mine.get(&path).await.expect_status(200).json();
        assert_eq!((&got["id"], &got["model"]), (&json!(own), &json!("two")));
        let items = mine.get(&format!("{path}/input_items?limit=5&order=asc")).await;
        assert_eq!(
            items.expect_status(200).json()["data"][0]["content"][0]["text"],
            "Hi"
        );
        let next = json!({"model": "two", "input": "And?", "previous_response_id": own});
        let next = mine.post(RESPONSES, &next).await.expect_status(200).json();
        assert_eq!(next["previous_response_id"], own.as_str());
        // Nobody else, and under no other name of a model.
        for path in [path.clone(), format!("{path}/input_items")] {
            other.get(&path).await.expect_status(404);
        }
        other.delete(&path).await.expect_status(404);
        let stolen = json!({"model": "two", "input": "And?", "previous_response_id": own});
        other.post(RESPONSES, &stolen).await.expect_status(400);
        let renamed = json!({"model": "mine", "input": "And?", "previous_response_id": own});
        mine.post(RESPONSES, &renamed).await.expect_status(400);
        let cancelled = mine.post(&format!("{path}/cancel"), &json!({})).await;
        assert!(cancelled.expect_status(400).text().contains("synchronous"));
        let gone = mine.delete(&path).await.expect_status(200).json();
        assert_eq!((&gone["id"], &gone["deleted"]), (&json!(own), &json!(true)));
        mine.get(&path).await.expect_status(404);
    }
    assert!(world.first.requests().len() + world.second.requests().len() >= 8 * 5);
    // The provider's own id is nobody's, and no deployment rests because somebody asks for what is not there.
    for unknown in ["resp_0001", "resp_", "x"] {
        let reply = mine
            .get(&format!("{RESPONSES}/{unknown}"))
            .await
            .expect_status(404);
        assert_eq!(reply.json()["error"]["code"], "404");
    }
    let odd = mine.get(&format!("{RESPONSES}/resp_0001?model=x")).await;
    odd.expect_status(400);
    world
        .gateway
        .anonymous()
        .get(&format!("{RESPONSES}/x"))
        .await
        .expect_status(401);
}

#[tokio::test]
async fn a_key_that_lost_the_model_loses_its_responses() {
    let world = World::start().await;
    let (key, mine) = world.key(&["mine"]).await;
    let made = mine
        .post(RESPONSES, &json!({"model": "mine", "input": "Hi"}))
        .await;
    let path = format!("{RESPONSES}/{}", id(&made.expect_status(200)));
    mine.get(&path).await.expect_status(200);
    let other = json!({"key": key, "models": ["claude"]});
    world
        .gateway
        .client()
        .post("/key/update", &other)
        .await
        .expect_status(200);
    let reply = mine.get(&path).await.expect_status(403);
    assert_eq!(reply.json()["error"]["type"], "key_model_access_denied");
}

#[tokio::test]
async fn what_the_provider_keeps_for_anybody_is_asked_for_by_nobody() {
    let world = World::start().await;
    let client = world.gateway.client();
    for (body, param) in [
        (
            json!({"model": "mine", "input": "Hi", "conversation": "conv_1"}),
            "conversation",
        ),
        (
            json!({"model": "mine", "input": "Hi", "prompt": {"id": "pmpt_1"}}),
            "prompt",
        ),
        (
            json!({"model": "mine", "input": [{"type": "item_reference", "id": "msg_1"}]}),
            "input[0]",
        ),
        (
            json!({"model": "mine", "input": [{"role": "user", "content": "Hi"}, {"id": "msg_1"}]}),
            "input[1]",
        ),
        (
            json!({"model": "mine", "input": "Hi", "previous_response_id": "resp_0001"}),
            "previous_response_id",
        ),
        (
            json!({"model": "mine", "input": "Hi", "Previous_Response_ID": "resp_0001"}),
            "previous_response_id",
        ),
        (
            json!({"model": "mine", "input": "Hi", "tools": [{"type": "image_generation", "model": "x"}]}),
            "tools[0]",
        ),
        (
            json!({"model": "chat", "input": "Hi", "previous_response_id": "resp_1"}),
            "previous_response_id",
        ),
    ] {
        let reply = client.post(RESPONSES, &body).await.expect_status(400);
        assert_eq!(reply.json()["error"]["param"], param, "{body}");
    }
    assert!(world.first.requests().is_empty());
}

#[tokio::test]
async fn others_are_asked_in_their_own_dialect() {
    let world = World::start().await;
    let client = world.gateway.client();
    let body =
        |model: &str| json!({"model": model, "instructions": "Be brief.", "input": "Hi", "store": true});
    let chat = client.post(RESPONSES, &body("chat")).await.expect_status(200);
    assert_eq!(chat.header("x-trunkline-dropped-params"), Some("store"));
    let chat = chat.json();
    assert_eq!(chat["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(
        (&chat["store"], &chat["instructions"]),
        (&json!(false), &json!("Be brief."))
    );
    assert_eq!(world.first.requests()[0].path, "/v1/chat/completions");
    let claude = client
        .post(RESPONSES, &body("claude"))
        .await
        .expect_status(200)
        .json();
    assert_eq!(
        (
            &claude["model"],
            &claude["usage"]["total_tokens"],
            &claude["status"]
        ),
        (&json!("claude"), &json!(20), &json!("completed"))
    );
    assert_eq!(
        world.anthropic.requests()[0].json()["system"][0]["text"],
        "Be brief."
    );
    // Nothing of it is kept.
    let path = format!("{RESPONSES}/{}", chat["id"].as_str().unwrap());
    client.get(&path).await.expect_status(404);
    let refused = client
        .post(
            RESPONSES,
            &json!({"model": "chat", "input": "Hi", "tools": [{"type": "web_search"}]}),
        )
        .await;
    assert_eq!(refused.expect_status(400).json()["error"]["param"], "tools[0]");
}

#[tokio::test]
async fn geminis_models_answer_with_responses() {
    let world = World::start().await;
    let client = world.gateway.client();
    let body = json!({"model": "gemini", "instructions": "Be brief.", "input": "Hi"});
    let answer = client.post(RESPONSES, &body).await.expect_status(200).json();
    assert_eq!(answer["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(
        (
            &answer["model"],
            &answer["status"],
            &answer["usage"]["output_tokens"]
        ),
        (&json!("gemini"), &json!("completed"), &json!(3))
    );
    let mut body = body;
    body["tools"] = json!([{"type": "function", "name": "weather", "parameters": {"type": "object"}}]);
    body["stream"] = true.into();
    let text = client.post(RESPONSES, &body).await.expect_status(200).text();
    assert!(
        text.contains("event: response.completed") && text.contains("__thought__c2ln"),
        "{text}"
    );
    // The signature goes back with the call's id.
    let id = "call_r1_0__thought__c2ln";
    body["input"] = json!([
        {"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": id, "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": id, "output": "Rain"},
    ]);
    let text = client.post(RESPONSES, &body).await.expect_status(200).text();
    assert!(
        text.contains("\"delta\":\"llo\"") && text.contains("event: response.completed"),
        "{text}"
    );
    let requests = world.gemini.requests();
    let last = requests.last().unwrap();
    assert_eq!(last.path, "/v1/v1beta/models/gemini-x:streamGenerateContent");
    assert_eq!(last.json()["contents"][1]["parts"][0]["thoughtSignature"], "c2ln");
    let refused = json!({"model": "gemini", "input": "Hi", "previous_response_id": "resp_1"});
    client.post(RESPONSES, &refused).await.expect_status(400);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_that_has_its_number() {
    let world = World::start().await;
    let client = world.gateway.client();
    let first = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-x\"}}\n\n";
    world.first.next(Turn::Broken(vec![first.to_owned()]));
    let text = client
        .post(
            RESPONSES,
            &json!({"model": "mine", "input": "Hi", "stream": true}),
        )
        .await
        .text();
    assert!(
        !text.contains("resp_1\"") && text.contains("\"model\":\"mine\""),
        "{text}"
    );
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let data = last
        .strip_prefix("event: error\ndata: ")
        .unwrap_or_else(|| panic!("{text}"));
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (&data["type"], &data["sequence_number"]),
        (&json!("error"), &json!(1))
    );
}

#[tokio::test]
async fn openais_python_sdk_has_responses_of_all_providers() {
    let world = World::start().await;
    let (key, _) = world.key(&["mine", "chat", "claude"]).await;
    let Some(python) = tools::python("openai") else {
        return;
    };
    let mut command = Command::new(python);
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/python/client_responses.py"
        ))
        .env("OPENAI_BASE_URL", format!("{}/v1", world.gateway.url()))
        .env("OPENAI_API_KEY", key);
    // Not on the runtime: the providers run on it.
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |model: &str, tokens: u64| {
        json!({
            "text": ["Hello", "completed", model, tokens],
            "stream": ["Hello", "Hello", "completed", model, tokens, true],
            "tools": ["weather", {"city": "Oslo"}, "Hello"],
            "parsed": ["weather", "Oslo"],
        })
    };
    let wanted = json!({
        "mine": of("mine", 8),
        "chat": of("chat", 8),
        "claude": of("claude", 20),
        "kept": {"same": true, "items": 1, "previous": true, "deleted": "NotFoundError"},
        "unknown": ["NotFoundError", 404],
        "denied": ["PermissionDeniedError", 403],
    });
    assert_eq!(report, wanted);
}
