//! What is no conversation, of providers that have it in another form: vectors, texts that a chat goes on with, counts of tokens.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, ScriptedProvider, TestGateway, Turn};

use crate::cost::logged;

const EMBEDDINGS: &str = "/v1/embeddings";
const COMPLETIONS: &str = "/v1/completions";
const COUNT: &str = "/v1/messages/count_tokens";
const PRICES: &str = "      input_cost_per_token: 1.0e-06\n      output_cost_per_token: 2.0e-06\n      cache_read_input_token_cost: 1.0e-07\n      cache_creation_input_token_cost: 1.0e-06\n";

struct World {
    gemini: ScriptedProvider,
    vertex: ScriptedProvider,
    bedrock: ScriptedProvider,
    anthropic: ScriptedProvider,
    openai: ScriptedProvider,
    gateway: TestGateway,
}

async fn world() -> World {
    let key = Canary::key("provider");
    let key = key.value();
    let gemini = ScriptedProvider::start_gemini(key, &["gemini-2.5-pro", "gemini-embedding-001"]).await;
    let vertex = ScriptedProvider::start_vertex(&[
        "gemini-2.5-pro",
        "text-embedding-005",
        "gemini-embedding-001",
        "claude-x",
    ])
    .await;
    let bedrock = ScriptedProvider::start_bedrock(
        &format!("AKID:{key}"),
        &[
            "anthropic.claude-v1:0",
            "us.anthropic.claude-v1:0",
            "amazon.titan-embed-text-v2:0",
            "amazon.titan-embed-text-v1",
            "cohere.embed-english-v3",
            "amazon.nova-lite-v1:0",
        ],
    )
    .await;
    let anthropic = ScriptedProvider::start_anthropic(key, &["claude-x"]).await;
    let openai = ScriptedProvider::start(key, &["gpt-x"]).await;
    let account = serde_json::to_string(&vertex.account()).unwrap();
    let mut list = String::from("model_list:\n");
    let mut add = |name: &str, model: &str, more: &str| {
        let entry =
            format!("  - model_name: {name}\n    litellm_params:\n      model: {model}\n{more}{PRICES}");
        list.push_str(&entry);
    };
    let at = |url: &str| format!("      api_base: {url}\n      api_key: {key}\n");
    add("gemini", "gemini/gemini-2.5-pro", &at(&gemini.url()));
    add("gemini-v", "gemini/gemini-embedding-001", &at(&gemini.url()));
    let own = format!(
        "      api_base: {}\n      vertex_location: europe-west1\n      vertex_credentials: {account}\n",
        vertex.root()
    );
    add("vertex", "vertex_ai/gemini-2.5-pro", &own);
    add("vertex-v", "vertex_ai/text-embedding-005", &own);
    add("vertex-g", "vertex_ai/gemini-embedding-001", &own);
    add("vertex-claude", "vertex_ai/claude-x", &own);
    let own = format!(
        "      aws_bedrock_runtime_endpoint: {}\n      aws_access_key_id: AKID\n      aws_secret_access_key: {key}\n",
        bedrock.root()
    );
    add("bedrock", "bedrock/us.anthropic.claude-v1:0", &own);
    add("nova", "bedrock/amazon.nova-lite-v1:0", &own);
    add("titan", "bedrock/amazon.titan-embed-text-v2:0", &own);
    add(
        "titan-few",
        "bedrock/amazon.titan-embed-text-v2:0",
        &format!("{own}      rpm: 3\n"),
    );
    add("titan-1", "bedrock/amazon.titan-embed-text-v1", &own);
    add("cohere", "bedrock/cohere.embed-english-v3", &own);
    add("claude", "anthropic/claude-x", &at(&anthropic.root()));
    add("groq", "groq/gpt-x", &at(&openai.url()));
    let gateway = TestGateway::start(&list).await;
    World {
        gemini,
        vertex,
        bedrock,
        anthropic,
        openai,
        gateway,
    }
}

fn named(client: &HttpClient, id: &str) -> HttpClient {
    client.clone().with_header("x-litellm-call-id", id)
}

#[tokio::test]
async fn vectors_come_in_one_form_from_every_provider() {
    let world = world().await;
    let client = world.gateway.client();
    // How many tokens each says that two texts take; Gemini does not say it.
    for (model, tokens) in [
        ("gemini-v", None),
        ("vertex-v", Some(6)),
        ("vertex-g", Some(6)),
        ("titan", Some(8)),
        ("cohere", Some(9)),
    ] {
        let body = json!({"model": model, "input": ["a", "bcd"], "user": "u"});
        let reply = named(&client, model)
            .post(EMBEDDINGS, &body)
            .await
            .expect_status(200);
        let answer = reply.json();
        let vectors: Vec<&Value> = answer["data"].as_array().unwrap().iter().collect();
        assert_eq!(vectors.len(), 2, "{answer}");
        for (index, length) in [(0, 1), (1, 3)] {
            assert_eq!(
                vectors[index],
                &json!({"object": "embedding", "index": index, "embedding": [length, 0.5]}),
                "{answer}"
            );
        }
        assert_eq!(
            (&answer["object"], &answer["model"]),
            (&json!("list"), &json!(model))
        );
        let told = answer["usage"]["prompt_tokens"].as_u64();
        // What is guessed is what is recorded: clients want a number there.
        assert_eq!(
            told,
            tokens.or(Some(body.to_string().len().div_ceil(4) as u64)),
            "{answer}"
        );
        assert_eq!(answer["usage"]["total_tokens"].as_u64(), told, "{answer}");
        assert_eq!(reply.header("x-trunkline-dropped-params"), Some("user"));
        let row = logged(&client, model).await;
        assert_eq!(row["call_type"], "aembedding");
        assert_eq!(row["prompt_tokens"].as_u64(), told, "{row}");
        assert_eq!(row["metadata"]["usage_is_estimated"], tokens.is_none(), "{row}");
        if let Some(tokens) = tokens {
            let cost = tokens.to_string();
            assert_eq!(
                reply.header("x-litellm-response-cost"),
                Some(format!("0.00000{cost}").as_str())
            );
        }
    }
    // One text at a time where there is no other way.
    let path = |own: &ScriptedProvider, end: &str| {
        own.requests()
            .iter()
            .filter(|own| own.path.ends_with(end))
            .count()
    };
    assert_eq!(path(&world.bedrock, "titan-embed-text-v2%3A0/invoke"), 2);
    assert_eq!(path(&world.bedrock, "cohere.embed-english-v3/invoke"), 1);
    assert_eq!(path(&world.vertex, "text-embedding-005:predict"), 1);
    assert_eq!(path(&world.vertex, "gemini-embedding-001:predict"), 2);
    // As OpenAI's SDK asks for it.
    let body = json!({"model": "titan", "input": "abc", "encoding_format": "base64", "dimensions": 1});
    let answer = client.post(EMBEDDINGS, &body).await.expect_status(200).json();
    assert_eq!(answer["data"][0]["embedding"], "AABAQA==", "3 as four bytes");
    let sent = world.bedrock.requests().pop().unwrap().json();
    assert_eq!(sent, json!({"inputText": "abc", "dimensions": 1}));
}

#[tokio::test]
async fn each_text_that_is_asked_for_alone_is_a_request_of_the_deployments() {
    let world = world().await;
    let client = world.gateway.client();
    let three = json!({"model": "titan-few", "input": ["a", "b", "c"]});
    client.post(EMBEDDINGS, &three).await.expect_status(200);
    assert_eq!(world.bedrock.requests().len(), 3);
    let one = json!({"model": "titan-few", "input": "a"});
    let reply = client.post(EMBEDDINGS, &one).await.expect_status(429);
    assert!(
        reply.text().contains("No deployments available"),
        "{}",
        reply.text()
    );
    assert_eq!(world.bedrock.requests().len(), 3);
}

#[tokio::test]
async fn what_a_model_cannot_do_with_texts_is_said() {
    let world = world().await;
    let client = world.gateway.client();
    for (model, more, param) in [
        ("gemini-v", json!({"input": [1, 2]}), "input"),
        ("titan", json!({"input": [[1, 2]]}), "input"),
        ("titan", json!({"input": ""}), "input"),
        ("cohere", json!({"input": "a", "dimensions": 8}), "dimensions"),
        ("titan-1", json!({"input": "a", "dimensions": 8}), "dimensions"),
        ("vertex-v", json!({"input": "a", "input_type": "x"}), "input_type"),
        ("nova", json!({"input": "a"}), "model"),
    ] {
        let mut body = more.clone();
        body["model"] = model.into();
        let reply = client.post(EMBEDDINGS, &body).await.expect_status(400).json();
        assert_eq!(reply["error"]["param"], param, "{model} {more}: {reply}");
    }
    assert!(world.bedrock.requests().is_empty() && world.gemini.requests().is_empty());
    // One of several that fails fails all, and what may have been done is charged.
    world.bedrock.next(Turn::Answer(
        200,
        json!({"embedding": [1], "inputTextTokenCount": 4}).to_string(),
    ));
    world.bedrock.next(Turn::Answer(
        429,
        json!({"message": "Too many requests"}).to_string(),
    ));
    let body = json!({"model": "titan", "input": ["a", "b"]});
    let reply = named(&client, "half")
        .post(EMBEDDINGS, &body)
        .await
        .expect_status(429);
    assert!(reply.text().contains("Too many requests"), "{}", reply.text());
    let row = logged(&client, "half").await;
    assert_eq!(row["status"], "failure", "{row}");
    world.bedrock.next(Turn::Answer(200, "{}".to_owned()));
    let body = json!({"model": "titan", "input": "a"});
    client.post(EMBEDDINGS, &body).await.expect_status(500);
}

#[tokio::test]
async fn texts_go_on_with_models_that_only_chat() {
    let world = world().await;
    let client = world.gateway.client();
    for model in ["claude", "gemini", "vertex", "vertex-claude", "bedrock", "groq"] {
        let body =
            json!({"model": model, "prompt": ["Hi"], "max_tokens": 5, "temperature": 0.5, "stop": "x"});
        let reply = named(&client, model)
            .post(COMPLETIONS, &body)
            .await
            .expect_status(200);
        let answer = reply.json();
        assert_eq!(answer["object"], "text_completion", "{model}: {answer}");
        assert_eq!(answer["choices"][0]["text"], "Hello", "{model}: {answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["model"], model);
        assert!(
            answer["usage"]["total_tokens"]
                .as_u64()
                .is_some_and(|own| own > 0),
            "{answer}"
        );
        let row = logged(&client, model).await;
        assert_eq!(row["call_type"], "atext_completion", "{row}");
        assert!(row["spend"].as_f64().is_some_and(|own| own > 0.0), "{row}");
        let mut pieces = body.clone();
        pieces["stream"] = true.into();
        pieces["stream_options"] = json!({"include_usage": true});
        let text = client.post(COMPLETIONS, &pieces).await.expect_status(200).text();
        assert!(text.ends_with("data: [DONE]\n\n"), "{model}: {text}");
        let said: String = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .inspect(|chunk| assert_eq!(chunk["object"], "text_completion", "{model}: {text}"))
            .filter_map(|chunk| Some(chunk["choices"][0]["text"].as_str()?.to_owned()))
            .collect();
        assert_eq!(said, "Hello", "{model}: {text}");
        assert!(text.contains("\"prompt_tokens\""), "{model}: {text}");
    }
    let sent = world.openai.requests().pop().unwrap();
    assert_eq!(sent.path, "/v1/chat/completions");
    assert_eq!(
        sent.json()["messages"],
        json!([{"role": "user", "content": "Hi"}])
    );
    assert_eq!(
        world.anthropic.requests()[0].json()["stop_sequences"],
        json!(["x"])
    );
    for (more, param) in [
        (json!({"prompt": ["a", "b"]}), "prompt"),
        (json!({"prompt": [1, 2]}), "prompt"),
        (json!({"prompt": "a", "suffix": "b"}), "suffix"),
        (json!({"prompt": "a", "echo": true}), "echo"),
        (json!({"prompt": "a", "logprobs": 2}), "logprobs"),
    ] {
        for model in ["claude", "groq"] {
            let mut body = more.clone();
            body["model"] = model.into();
            let reply = client.post(COMPLETIONS, &body).await.expect_status(400).json();
            assert_eq!(reply["error"]["param"], param, "{model} {more}: {reply}");
        }
    }
    let body = json!({"model": "claude", "prompt": "a", "echo": true, "drop_params": true});
    let reply = client.post(COMPLETIONS, &body).await.expect_status(200);
    assert_eq!(reply.header("x-trunkline-dropped-params"), Some("echo"));
}

#[tokio::test]
async fn tokens_are_counted_by_who_can_and_guessed_for_the_others() {
    let world = world().await;
    let client = world.gateway.client();
    let body = |model: &str| {
        json!({
            "model": model, "system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}],
        })
    };
    for (model, end) in [
        ("gemini", ":countTokens"),
        ("vertex", ":countTokens"),
        ("vertex-claude", "/count-tokens:rawPredict"),
        ("bedrock", "/model/anthropic.claude-v1%3A0/count-tokens"),
    ] {
        let reply = named(&client, model)
            .post(COUNT, &body(model))
            .await
            .expect_status(200);
        assert_eq!(reply.json(), json!({"input_tokens": 31}), "{model}");
        assert_eq!(reply.header("x-trunkline-estimated"), None);
        let provider = match model {
            "gemini" => &world.gemini,
            "bedrock" => &world.bedrock,
            _ => &world.vertex,
        };
        let sent = provider.requests().pop().unwrap();
        assert!(sent.path.ends_with(end), "{model}: {}", sent.path);
        assert!(String::from_utf8_lossy(&sent.body).contains("weather"), "{model}");
        let row = logged(&client, model).await;
        assert_eq!(
            (&row["call_type"], &row["spend"]),
            (&json!("acount_tokens"), &json!(0.0)),
            "{row}"
        );
    }
    let before = world.openai.requests().len() + world.bedrock.requests().len();
    for model in ["groq", "nova"] {
        let few = client.post(COUNT, &body(model)).await.expect_status(200);
        assert_eq!(few.header("x-trunkline-estimated"), Some("true"), "{model}");
        let mut long = body(model);
        long["messages"][0]["content"] = "word ".repeat(1000).into();
        let many = client.post(COUNT, &long).await.expect_status(200);
        let of = |reply: &trunkline_testkit::Reply| reply.json()["input_tokens"].as_u64().unwrap();
        assert!(of(&many) > of(&few) + 1000, "{} {}", few.text(), many.text());
    }
    assert_eq!(
        world.openai.requests().len() + world.bedrock.requests().len(),
        before
    );
}
