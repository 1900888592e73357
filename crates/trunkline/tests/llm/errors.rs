//! Whatever goes wrong is said in OpenAI's envelope, with LiteLLM's statuses and types.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Reply, ScriptedProvider, TestGateway, Turn};

use crate::support::{World, chat, entry, raw};

const CHAT: &str = "/v1/chat/completions";

/// Status, type and param, and that the code is the status as text.
fn envelope(reply: &Reply) -> (u16, String, Value) {
    let json = reply.json();
    let error = &json["error"];
    let status = reply.status.as_u16();
    assert_eq!(error["code"], status.to_string(), "{json}");
    assert!(
        error["message"].as_str().is_some_and(|text| !text.is_empty()),
        "{json}"
    );
    (
        status,
        error["type"].as_str().unwrap_or_default().to_owned(),
        error["param"].clone(),
    )
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_nothing_is_sent() {
    let world = World::with("general_settings:\n  mcp_max_body_bytes: 4000\n").await;
    let client = world.gateway.client();
    for (body, param) in [
        ("{\"messages\":[]}", json!("model")),
        ("{\"model\":\"nobody\",\"messages\":[]}", json!("model")),
        ("{\"model\":\"mine\",\"guardrails\":[\"a\"]}", json!("guardrails")),
        (
            "{\"model\":\"mine\",\"api_base\":\"http://evil\"}",
            json!("api_base"),
        ),
        ("{\"model\":\"mine\",\"stream\":1}", json!("stream")),
        ("{\"model\":\"mine\",\"model\":\"other\"}", Value::Null),
        ("[]", Value::Null),
        ("{", Value::Null),
    ] {
        let reply = raw(&client, CHAT, body).await;
        assert_eq!(
            envelope(&reply),
            (400, "invalid_request_error".to_owned(), param),
            "{body}"
        );
    }
    let reply = client.post(CHAT, &chat("nobody")).await;
    let text = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with("Invalid model name passed in model=nobody"),
        "{text}"
    );
    let large = format!("{{\"model\":\"mine\",\"x\":\"{}\"}}", "x".repeat(5000));
    assert_eq!(envelope(&raw(&client, CHAT, &large).await).0, 413);
    let streamed = json!({"model": "mine", "input": "a", "stream": true});
    assert_eq!(envelope(&client.post("/v1/embeddings", &streamed).await).0, 400);
    let late = client.clone().with_header("x-litellm-timeout", "soon");
    assert_eq!(envelope(&late.post(CHAT, &chat("mine")).await).0, 400);
    let reply = world.gateway.anonymous().post(CHAT, &chat("mine")).await;
    assert_eq!(envelope(&reply), (401, "auth_error".to_owned(), Value::Null));
    assert!(world.provider.requests().is_empty());
}

#[tokio::test]
async fn what_a_provider_says_reaches_the_client_with_its_status() {
    let world = World::start().await;
    let client = world.gateway.client();
    // The provider itself rejects this one.
    let mut unknown = chat("mine");
    unknown["no_such_member"] = 1.into();
    let reply = client.post(CHAT, &unknown).await;
    assert_eq!(envelope(&reply).0, 400);
    assert!(
        reply
            .text()
            .contains("Unrecognized request argument supplied: no_such_member"),
        "{}",
        reply.text()
    );
    let error = |kind: &str, code: &str| {
        json!({"error": {"message": "words", "type": kind, "code": code, "param": "p"}}).to_string()
    };
    for (status, kind, wanted) in [
        (400, "invalid_request_error", "invalid_request_error"),
        (404, "", "not_found_error"),
        (422, "own", "own"),
        (429, "tokens", "throttling_error"),
        (500, "server_error", "server_error"),
        (503, "", "service_unavailable_error"),
    ] {
        world.provider.next(Turn::AnswerWith(
            status,
            error(kind, "c"),
            ("retry-after", "7".to_owned()),
        ));
        let reply = client.post(CHAT, &chat("mine")).await;
        assert_eq!(
            envelope(&reply),
            (status, wanted.to_owned(), json!("p")),
            "{status}"
        );
        assert_eq!(reply.json()["error"]["message"], "openai: words");
        assert_eq!(reply.json()["error"]["provider_specific_fields"]["code"], "c");
        assert_eq!(reply.header("retry-after"), Some("7"));
        assert_eq!(
            reply.header("x-litellm-attempted-retries"),
            Some("0"),
            "there is nobody else to ask"
        );
    }
    for body in ["<html>", "[]", "not json"] {
        world.provider.next(Turn::Answer(200, body.to_owned()));
        assert_eq!(envelope(&client.post(CHAT, &chat("mine")).await).0, 500, "{body}");
    }
    world.provider.next(Turn::AnswerWith(
        302,
        String::new(),
        ("location", "http://127.0.0.1:1/".to_owned()),
    ));
    assert_eq!(envelope(&client.post(CHAT, &chat("mine")).await).0, 500);
}

#[tokio::test]
async fn silence_refusal_and_rules_of_egress_have_their_statuses() {
    let world = World::start().await;
    world.provider.next(Turn::Silence);
    let hasty = world.gateway.client().with_header("x-litellm-timeout", "0.3");
    let reply = hasty.post(CHAT, &chat("mine")).await;
    assert_eq!(envelope(&reply), (408, "timeout_error".to_owned(), Value::Null));
    // Nobody listens there; the second may not be reached at all.
    let nobody = entry("nobody", "openai/gpt-x", "http://127.0.0.1:9/v1", "k", "");
    let metadata = entry("metadata", "openai/gpt-x", "http://169.254.169.254/v1", "k", "");
    let gateway = TestGateway::start(&format!("model_list:\n{nobody}{metadata}")).await;
    let reply = gateway.client().post(CHAT, &chat("nobody")).await;
    assert_eq!(envelope(&reply).0, 500);
    let reply = gateway.client().post(CHAT, &chat("metadata")).await;
    assert_eq!(envelope(&reply).0, 500);
    assert!(reply.text().contains("not allowed"), "{}", reply.text());
}

#[tokio::test]
async fn what_is_configured_and_cannot_be_used_says_why() {
    let entries = [
        entry(
            "unset",
            "openai/gpt-x",
            "https://a.example/v1",
            "os.environ/NO_SUCH_KEY",
            "",
        ),
        entry("later", "sagemaker/claude", "https://a.example", "k", ""),
        entry("starless", "openai/*", "https://a.example", "k", ""),
        "  - model_name: keyless\n    litellm_params:\n      model: groq/llama\n".to_owned(),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", entries.concat())).await;
    let client = gateway.client();
    for (name, why) in [
        ("unset", "NO_SUCH_KEY"),
        ("later", "sagemaker is not served yet"),
        ("starless", "for which its name has none"),
        ("keyless", "GROQ_API_KEY"),
    ] {
        let reply = client.post(CHAT, &chat(name)).await;
        assert_eq!(envelope(&reply).0, 503, "{name}");
        assert!(reply.text().contains(why), "{}", reply.text());
    }
    let models = client.get("/v1/models").await.json();
    assert_eq!(models["data"], json!([]));
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_and_is_not_begun_anew() {
    let world = World::with("litellm_settings:\n  request_timeout: 1\n").await;
    let client = world.gateway.client();
    let mut body = chat("mine");
    body["stream"] = true.into();
    let whole = "data: {\"model\":\"gpt-x\"}\n\n";
    world
        .provider
        .next(Turn::Broken(vec![format!("{whole}data: {{\"half")]));
    let reply = client.post(CHAT, &body).await.expect_status(200);
    let text = reply.text();
    let rest = text
        .strip_prefix("data: {\"model\":\"mine\"}\n\ndata: ")
        .expect(&text);
    let error: Value = serde_json::from_str(rest.trim()).expect(&text);
    assert_eq!(error["error"]["code"], "500");
    // The same when nothing more comes.
    let (says, script) = tokio::sync::mpsc::channel(4);
    world.provider.next(Turn::Live(script));
    says.send(whole.to_owned()).await.unwrap();
    let reply = client.with_limit(Duration::from_secs(20)).post(CHAT, &body).await;
    assert!(reply.text().contains("\"code\":\"408\""), "{}", reply.text());
    assert!(!reply.text().contains("[DONE]"));
    assert_eq!(world.provider.requests().len(), 2);
}

#[tokio::test]
async fn s14_an_error_within_a_stream_does_not_tell_the_providers_key() {
    let world = World::start().await;
    let client = world.gateway.client();
    let secret = world.key.value();
    let mut body = chat("mine");
    body["stream"] = true.into();
    let event = json!({"error": {"message": format!("Incorrect API key provided: {secret}."), "code": "invalid_api_key"}});
    let events = vec![
        "data: {\"model\":\"gpt-x\",\"choices\":[]}\n\n".to_owned(),
        format!("data: {event}\n\n"),
    ];
    let message = json!({"model": "mine", "max_tokens": 5, "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    let response = json!({"model": "mine", "stream": true, "input": "Hi"});
    for (path, body) in [
        (CHAT, &body),
        ("/v1/messages", &message),
        ("/v1/responses", &response),
    ] {
        world.provider.next(Turn::Stream(events.clone()));
        let reply = client.post(path, body).await.expect_status(200);
        let text = reply.text();
        assert!(text.contains("Incorrect API key provided"), "{path}: {text}");
        assert!(!text.contains(secret), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_serve_an_endpoint_is_not_asked() {
    let provider = ScriptedProvider::start("k", &["llama"]).await;
    let own = entry("m", "groq/llama", &provider.url(), "k", "");
    let gateway = TestGateway::start(&format!("model_list:\n{own}")).await;
    let body = json!({"model": "m", "input": "a"});
    let reply = gateway.client().post("/v1/embeddings", &body).await;
    assert_eq!(envelope(&reply).0, 400);
    assert!(provider.requests().is_empty());
}
