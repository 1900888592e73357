//! Bedrock: signed requests, Converse in either client's dialect, streams of frames, and what is wrong with them.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, ScriptedProvider, TestGateway, Turn, frame};

use crate::support::chat;

const CHAT: &str = "/v1/chat/completions";
const FRAMES: &str = "application/vnd.amazon.eventstream";
const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

struct World {
    provider: ScriptedProvider,
    secret: Canary,
    gateway: TestGateway,
}

/// `claude` and `nova` are signed for, `token` has a token, `wrong` another secret.
async fn world() -> World {
    let secret = Canary::key("aws");
    let key = format!("AKIDTEST:{}", secret.value());
    let models = [CLAUDE, "amazon.nova-lite-v1:0"];
    let provider = ScriptedProvider::start_bedrock(&key, &models).await;
    let root = provider.root();
    let entry = |name: &str, model: &str, more: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params:\n      model: bedrock/{model}\n      aws_bedrock_runtime_endpoint: {root}\n{more}"
        )
    };
    let signed = |secret: &str| {
        format!(
            "      aws_access_key_id: AKIDTEST\n      aws_secret_access_key: {secret}\n      aws_region_name: eu-north-1\n"
        )
    };
    let list = [
        entry("claude", CLAUDE, &signed(secret.value())),
        entry(
            "nova",
            "converse/us-west-2/amazon.nova-lite-v1:0",
            &format!("{}      aws_session_token: session\n", signed(secret.value())),
        ),
        entry("token", CLAUDE, &format!("      api_key: {}\n", secret.value())),
        entry("wrong", CLAUDE, &signed("another-secret")),
        entry("nobody", CLAUDE, ""),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", list.concat())).await;
    World {
        provider,
        secret,
        gateway,
    }
}

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}}])
}

#[tokio::test]
async fn requests_are_signed_and_go_where_the_model_is() {
    let mut world = world().await;
    let client = world.gateway.client();
    for model in ["claude", "nova", "token"] {
        let reply = client.post(CHAT, &chat(model)).await.expect_status(200).json();
        assert_eq!(reply["choices"][0]["message"]["content"], "Hello", "{reply}");
        assert_eq!(
            (&reply["model"], &reply["usage"]["total_tokens"]),
            (&json!(model), &json!(8))
        );
        assert!(reply["id"].as_str().is_some_and(|id| !id.is_empty()));
    }
    let requests = world.provider.requests();
    assert_eq!(
        requests[0].path,
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    );
    assert_eq!(requests[1].path, "/model/amazon.nova-lite-v1%3A0/converse");
    assert_eq!(requests[1].header("x-amz-security-token"), Some("session"));
    assert!(
        requests[0]
            .header("authorization")
            .unwrap()
            .contains("/eu-north-1/bedrock/aws4_request")
    );
    assert_eq!(requests[2].header("x-amz-date"), None);
    let reply = client.post(CHAT, &chat("wrong")).await.expect_status(403);
    assert!(
        reply.text().contains("refuses the gateway's credential"),
        "{}",
        reply.text()
    );
    let reply = client.post(CHAT, &chat("nobody")).await.expect_status(503);
    assert!(reply.text().contains("aws_access_key_id"), "{}", reply.text());
    let shown = [
        client.get("/v1/model/info").await.expect_status(200).everything(),
        {
            world.gateway.stop(trunkline_testkit::Signal::Term).await;
            world.gateway.log()
        },
    ];
    for text in &shown {
        world.secret.assert_absent(&[("what people see", text)]);
    }
    for request in world.provider.requests().iter().take(2) {
        world
            .secret
            .assert_absent(&[("what is sent", &format!("{:?}", request.headers))]);
    }
}

#[tokio::test]
async fn tools_pictures_documents_and_caches_are_carried() {
    let world = world().await;
    let client = world.gateway.client();
    let mut body = chat("claude");
    body["tools"] = weather();
    body["tool_choice"] = "required".into();
    let reply = client.post(CHAT, &body).await.expect_status(200).json();
    let message = reply["choices"][0]["message"].clone();
    assert_eq!(
        message["tool_calls"][0]["function"]["arguments"],
        "{\"city\":\"Oslo\"}"
    );
    assert_eq!(reply["choices"][0]["finish_reason"], "tool_calls");
    let sent = world.provider.requests()[0].json();
    assert_eq!(sent["toolConfig"]["toolChoice"], json!({"any": {}}));
    // The turn after it, with two results, without tools.
    let mut call = message.clone();
    let mut second = call["tool_calls"][0].clone();
    second["id"] = "tooluse_2".into();
    call["tool_calls"].as_array_mut().unwrap().push(second);
    let body = json!({"model": "claude", "max_tokens": 9, "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            {"type": "file", "file": {"filename": "a b_c.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        ]},
        call,
        {"role": "tool", "tool_call_id": "tooluse_1", "content": "cold"},
        {"role": "tool", "tool_call_id": "tooluse_2", "content": ""},
    ]});
    let reply = client.post(CHAT, &body).await.expect_status(200).json();
    assert_eq!(reply["choices"][0]["message"]["content"], "Hello");
    let sent = world.provider.requests().pop().unwrap().json();
    assert_eq!(sent["system"], json!([{"text": "Be brief."}]));
    assert_eq!(sent["inferenceConfig"]["maxTokens"], 9);
    let content = &sent["messages"][0]["content"];
    assert_eq!(content[1], json!({"cachePoint": {"type": "default"}}));
    assert_eq!(content[2]["image"]["format"], "png");
    assert_eq!(content[3]["document"]["format"], "pdf");
    assert_eq!(
        sent["messages"][2]["content"][1]["toolResult"]["toolUseId"],
        "tooluse_2"
    );
    assert_eq!(sent["toolConfig"]["tools"][0]["toolSpec"]["name"], "weather");
    // A picture elsewhere is nothing that it reads, and nothing is sent.
    let before = world.provider.requests().len();
    let elsewhere = json!({"model": "claude", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]});
    client.post(CHAT, &elsewhere).await.expect_status(400);
    assert_eq!(world.provider.requests().len(), before);
}

#[tokio::test]
async fn streams_of_frames_are_streams_of_every_dialect() {
    let world = world().await;
    let client = world.gateway.client();
    let mut body = chat("claude");
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let reply = client.post(CHAT, &body).await.expect_status(200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let text = reply.text();
    assert!(
        text.contains("\"content\":\"He\"") && text.contains("\"total_tokens\":8"),
        "{text}"
    );
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(world.provider.requests()[0].path.ends_with("/converse-stream"));
    body["tools"] = weather();
    let text = client.post(CHAT, &body).await.expect_status(200).text();
    assert!(
        text.contains("\\\"Oslo\\\"}") && text.contains("\"finish_reason\":\"tool_calls\""),
        "{text}"
    );
    let message = json!({"model": "claude", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    let text = client
        .post("/v1/messages", &message)
        .await
        .expect_status(200)
        .text();
    assert!(
        text.contains("\"text\":\"llo\"")
            && text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        "{text}"
    );
    let response = json!({"model": "claude", "input": "Hi", "stream": true});
    let text = client
        .post("/v1/responses", &response)
        .await
        .expect_status(200)
        .text();
    assert!(
        text.contains("response.output_text.delta") && text.contains("response.completed"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stream_that_fails_in_its_middle_says_so() {
    let world = world().await;
    let client = world.gateway.client();
    let mut body = chat("claude");
    body["stream"] = true.into();
    let begin = || {
        [
            frame("event", "messageStart", &json!({"role": "assistant"})),
            frame(
                "event",
                "contentBlockDelta",
                &json!({"contentBlockIndex": 0, "delta": {"text": "He"}}),
            ),
        ]
        .concat()
    };
    let slow = frame(
        "exception",
        "throttlingException",
        &json!({"message": "Too many tokens"}),
    );
    let mut flipped = begin();
    let middle = flipped.len() - 9;
    flipped[middle] ^= 1;
    for (bytes, wanted) in [
        ([begin(), slow].concat(), "Too many tokens"),
        (begin(), "ended before it was complete"),
        (
            begin()[..begin().len() - 3].to_vec(),
            "ended before it was complete",
        ),
        (flipped, "the sum of a frame is wrong"),
        (b"{\"message\": \"no frames at all\"}".to_vec(), "frame"),
    ] {
        world.provider.next(Turn::Bytes(FRAMES, bytes));
        let text = client.post(CHAT, &body).await.expect_status(200).text();
        assert!(
            text.contains("\"error\"") && text.contains(wanted),
            "{wanted}: {text}"
        );
        assert!(!text.contains("[DONE]"), "{text}");
    }
    // Errors that come instead of a stream have their status.
    let said = json!({"message": "Input is too long for requested model."}).to_string();
    world.provider.next(Turn::Answer(400, said));
    let reply = client.post(CHAT, &body).await.expect_status(400);
    assert!(reply.text().contains("Input is too long"), "{}", reply.text());
}

#[tokio::test]
async fn thoughts_forms_and_what_has_no_word() {
    let world = world().await;
    let client = world.gateway.client();
    let thought = json!({"output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}}, {"text": "Hi"}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 5, "outputTokens": 9, "totalTokens": 14, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 10}});
    world.provider.next(Turn::Answer(200, thought.to_string()));
    let message = json!({"model": "claude", "max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 2000},
        "messages": [{"role": "user", "content": "Hi"}]});
    let reply = client
        .post("/v1/messages", &message)
        .await
        .expect_status(200)
        .json();
    assert_eq!(
        reply["content"][0],
        json!({"type": "thinking", "thinking": "hm", "signature": "sig"})
    );
    assert_eq!(
        (
            &reply["usage"]["input_tokens"],
            &reply["usage"]["cache_read_input_tokens"]
        ),
        (&json!(5), &json!(100))
    );
    let sent = world.provider.requests().pop().unwrap().json();
    assert_eq!(
        sent["additionalModelRequestFields"]["thinking"],
        json!({"type": "enabled", "budget_tokens": 2000})
    );
    // It goes back as it came.
    let again = json!({"model": "claude", "max_tokens": 3000, "messages": [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": reply["content"]}, {"role": "user", "content": "And?"}]});
    client.post("/v1/messages", &again).await.expect_status(200);
    let sent = world.provider.requests().pop().unwrap().json();
    assert_eq!(
        sent["messages"][1]["content"][0]["reasoningContent"]["reasoningText"]["signature"],
        "sig"
    );
    // A form is a tool, and comes back as text.
    let formed = json!({"output": {"message": {"role": "assistant", "content": [
        {"toolUse": {"toolUseId": "t", "name": "json_tool_call", "input": {"a": 1}}}]}}, "stopReason": "tool_use",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}});
    world.provider.next(Turn::Answer(200, formed.to_string()));
    let mut body = chat("nova");
    body["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let reply = client.post(CHAT, &body).await.expect_status(200).json();
    assert_eq!(
        (
            &reply["choices"][0]["message"]["content"],
            &reply["choices"][0]["finish_reason"]
        ),
        (&json!("{\"a\":1}"), &json!("stop"))
    );
    let sent = world.provider.requests().pop().unwrap().json();
    assert_eq!(
        sent["toolConfig"]["toolChoice"],
        json!({"tool": {"name": "json_tool_call"}})
    );
    // What has no word is refused, or left out and named.
    let mut body = chat("claude");
    body["seed"] = 7.into();
    let reply = client.post(CHAT, &body).await.expect_status(400);
    assert_eq!(reply.json()["error"]["param"], "seed");
    body["drop_params"] = true.into();
    let reply = client.post(CHAT, &body).await.expect_status(200);
    assert_eq!(reply.header("x-trunkline-dropped-params"), Some("seed"));
}
