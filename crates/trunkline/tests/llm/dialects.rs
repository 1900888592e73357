//! Two dialects, on either side: what passes as it is, what is translated, and what is said where it cannot be.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, Reply, ScriptedProvider, TestGateway, Turn};

use crate::support::{chat, entry, raw};

pub(crate) const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const STREAM: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"usage\":{\"input_tokens\":1}}}\r\n\r\n: x\n\nevent: unheard_of\ndata: {\"type\":\"unheard_of\",\"model\":\"claude-x\"}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":2}}\n\n";

/// A provider of each dialect, and a gateway with the models `claude`, `gpt` and `gemini` of them.
pub(crate) struct Both {
    pub(crate) anthropic: ScriptedProvider,
    pub(crate) openai: ScriptedProvider,
    pub(crate) gemini: ScriptedProvider,
    pub(crate) gateway: TestGateway,
    pub(crate) key: Canary,
}

impl Both {
    pub(crate) async fn start() -> Self {
        Self::with("", "").await
    }

    /// With more lines of the deployments, and below the list.
    pub(crate) async fn with(params: &str, more: &str) -> Self {
        let key = Canary::key("provider");
        let anthropic = ScriptedProvider::start_anthropic(key.value(), &["claude-x"]).await;
        let openai = ScriptedProvider::start(key.value(), &["gpt-x"]).await;
        let gemini = ScriptedProvider::start_gemini(key.value(), &["gemini-x"]).await;
        let entries = [
            entry("gemini", "gemini/gemini-x", &gemini.url(), key.value(), params),
            entry(
                "claude",
                "anthropic/claude-x",
                &anthropic.url(),
                key.value(),
                params,
            ),
            entry("gpt", "hosted_vllm/gpt-x", &openai.url(), key.value(), params),
            entry("hidden", "hosted_vllm/gpt-x", &openai.url(), key.value(), ""),
        ];
        let gateway = TestGateway::start(&format!("model_list:\n{}{more}", entries.concat())).await;
        Self {
            anthropic,
            openai,
            gemini,
            gateway,
            key,
        }
    }
}

/// A message for a model.
pub(crate) fn message(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]})
}

/// Status and type of Anthropic's envelope.
fn envelope(reply: &Reply) -> (u16, String) {
    let json = reply.json();
    assert_eq!(json["type"], "error", "{json}");
    let words = json["error"]["message"]
        .as_str()
        .is_some_and(|text| !text.is_empty());
    assert!(words, "{json}");
    let kind = json["error"]["type"].as_str().unwrap_or_default().to_owned();
    (reply.status.as_u16(), kind)
}

fn with_key(gateway: &TestGateway, key: &str) -> HttpClient {
    gateway.anonymous().with_header("x-api-key", key)
}

#[tokio::test]
async fn what_speaks_anthropics_dialect_on_both_sides_keeps_every_byte() {
    let both = Both::start().await;
    let client = with_key(&both.gateway, both.gateway.master_key());
    let client = client
        .with_header("anthropic-beta", "one,two")
        .with_header("anthropic-version", "2024-01-01");
    let sent = "{\"max_tokens\" : 1e2,\n \"model\":\"claude\" ,\"thinking\":{\"type\":\"adaptive\"},\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9\u{e9}\",\"cache_control\":{\"type\":\"ephemeral\"}}]}]}";
    let sent = &sent.replace("1e2", "2000");
    let said = "{ \"id\":\"x\", \"model\" : \"claude-x-2025\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"c2==\"},{\"type\":\"unheard_of\",\"n\":1.50}],\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":10,\"output_tokens\":4}}";
    both.anthropic.next(Turn::Answer(200, said.to_owned()));
    let reply = raw(&client, MESSAGES, sent).await.expect_status(200);
    assert_eq!(reply.text(), said.replace("\"claude-x-2025\"", "\"claude\""));
    let requests = both.anthropic.requests();
    let asked = std::str::from_utf8(&requests[0].body).unwrap();
    assert_eq!(asked, sent.replace("\"claude\"", "\"claude-x\""));
    for (name, value) in [
        ("x-api-key", Some(both.key.value())),
        ("anthropic-beta", Some("one,two")),
        ("anthropic-version", Some("2024-01-01")),
        ("authorization", None),
    ] {
        assert_eq!(requests[0].header(name), value, "{name}");
    }
    assert_eq!(reply.header("x-litellm-model-group"), Some("claude"));
    let metrics = both.gateway.client().get("/metrics").await.text();
    for line in [
        "trunkline_llm_tokens_total{model=\"claude\",kind=\"input\"} 13",
        "trunkline_llm_tokens_total{model=\"claude\",kind=\"output\"} 4",
        "trunkline_mcp_requests_total{kind=\"anthropic_messages\",outcome=\"ok\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    // A stream too, and the revision where nobody says one.
    both.anthropic
        .next(Turn::Stream(STREAM.chars().map(String::from).collect()));
    let mut body = message("claude");
    body["stream"] = true.into();
    let reply = both
        .gateway
        .client()
        .post(MESSAGES, &body)
        .await
        .expect_status(200);
    assert_eq!(reply.text(), STREAM.replacen("claude-x", "claude", 1));
    assert_eq!(
        both.anthropic.requests()[1].header("anthropic-version"),
        Some("2023-06-01")
    );
}

#[tokio::test]
async fn what_anthropic_says_beside_an_answer_reaches_the_client() {
    let both = Both::start().await;
    let limit = ("anthropic-ratelimit-requests-remaining", "49".to_owned());
    let said = json!({"id": "m", "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    both.anthropic
        .next(Turn::AnswerWith(200, said.to_string(), limit));
    let reply = both
        .gateway
        .client()
        .post(CHAT, &chat("claude"))
        .await
        .expect_status(200);
    assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some("49"));
    assert_eq!(reply.header("anthropic-ratelimit-requests-remaining"), Some("49"));
    let reply = both
        .gateway
        .client()
        .post(MESSAGES, &message("claude"))
        .await
        .expect_status(200);
    assert_eq!(reply.header("llm_provider-request-id"), Some("req_1"));
}

#[tokio::test]
async fn a_chat_with_anthropics_model_is_translated_and_says_what_was_left_out() {
    let both = Both::start().await;
    let client = both.gateway.client();
    let mut body = chat("claude");
    body["user"] = "u".into();
    body["store"] = true.into();
    let reply = client.post(CHAT, &body).await.expect_status(200);
    let answer = reply.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello");
    assert_eq!(
        (&answer["model"], &answer["object"]),
        (&json!("claude"), &json!("chat.completion"))
    );
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 10);
    assert!(answer["created"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(reply.header("x-trunkline-dropped-params"), Some("store"));
    let asked = both.anthropic.requests()[0].json();
    assert_eq!(
        (&asked["max_tokens"], &asked["metadata"]["user_id"]),
        (&json!(4096), &json!("u"))
    );
    let metrics = client.get("/metrics").await.text();
    for line in [
        "trunkline_llm_tokens_total{model=\"claude\",kind=\"input\"} 17",
        "trunkline_mcp_requests_total{kind=\"acompletion\",outcome=\"ok\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    // What the client relies on is not left out unless somebody says so.
    body["seed"] = 1.into();
    let reply = client.post(CHAT, &body).await.expect_status(400);
    let error = &reply.json()["error"];
    assert_eq!((&error["param"], &error["code"]), (&json!("seed"), &json!("400")));
    body["drop_params"] = true.into();
    let reply = client.post(CHAT, &body).await.expect_status(200);
    assert_eq!(reply.header("x-trunkline-dropped-params"), Some("seed,store"));
    assert_eq!(
        both.anthropic.requests().len(),
        2,
        "nothing is sent that was refused"
    );
}

#[tokio::test]
async fn what_may_be_left_out_is_said_in_the_file_or_at_the_deployment() {
    let mut body = chat("claude");
    body["seed"] = 1.into();
    let file = Both::with("", "litellm_settings:\n  drop_params: true\n").await;
    file.gateway.client().post(CHAT, &body).await.expect_status(200);
    let own = Both::with("      drop_params: true\n", "").await;
    own.gateway.client().post(CHAT, &body).await.expect_status(200);
    let less = Both::with(
        "      drop_params: false\n",
        "litellm_settings:\n  drop_params: true\n",
    )
    .await;
    less.gateway.client().post(CHAT, &body).await.expect_status(400);
    // Named ones, also where nothing is translated.
    let named = Both::with("      additional_drop_params: [seed, temperature]\n", "").await;
    named.gateway.client().post(CHAT, &body).await.expect_status(200);
    let mut same = chat("gpt");
    same["temperature"] = 1.into();
    let reply = named.gateway.client().post(CHAT, &same).await.expect_status(200);
    assert_eq!(reply.header("x-trunkline-dropped-params"), Some("temperature"));
    assert!(named.openai.requests()[0].json().get("temperature").is_none());
}

#[tokio::test]
async fn a_message_of_an_openai_model_is_translated() {
    let both = Both::start().await;
    let client = both.gateway.client();
    let reply = client.post(MESSAGES, &message("gpt")).await.expect_status(200);
    let answer = reply.json();
    assert_eq!(answer["content"], json!([{"type": "text", "text": "Hello"}]));
    assert_eq!(
        (&answer["model"], &answer["stop_reason"]),
        (&json!("gpt"), &json!("end_turn"))
    );
    assert_eq!(answer["usage"]["input_tokens"], 5);
    assert_eq!(both.openai.requests()[0].path, "/v1/chat/completions");
    assert_eq!(both.openai.requests()[0].header("anthropic-version"), None);
    let mut body = message("gpt");
    body["stream"] = true.into();
    let reply = client.post(MESSAGES, &body).await.expect_status(200);
    let text = reply.text();
    assert!(
        text.starts_with("event: message_start\n") && text.ends_with("data: {\"type\":\"message_stop\"}\n\n"),
        "{text}"
    );
    assert!(text.contains("\"output_tokens\":3"), "{text}");
}

#[tokio::test]
async fn errors_are_in_anthropics_envelope() {
    let both = Both::with("", "general_settings:\n  mcp_max_body_bytes: 4000\n").await;
    let client = both.gateway.client();
    let reply = both.gateway.anonymous().post(MESSAGES, &message("claude")).await;
    assert_eq!(envelope(&reply), (401, "authentication_error".to_owned()));
    assert!(reply.header("www-authenticate").is_some());
    assert!(
        reply.json()["request_id"]
            .as_str()
            .is_some_and(|id| !id.is_empty())
    );
    let made = client.post("/key/generate", &json!({"models": ["gpt"]})).await;
    let made = made.expect_status(200).json();
    let limited = with_key(&both.gateway, made["key"].as_str().unwrap());
    let reply = limited.post(MESSAGES, &message("claude")).await;
    assert_eq!(envelope(&reply), (403, "permission_error".to_owned()));
    limited.post(MESSAGES, &message("gpt")).await.expect_status(200);
    for body in [
        "{",
        "[]",
        "{\"model\":\"nobody\"}",
        "{\"model\":\"claude\",\"guardrails\":[\"a\"]}",
        "{\"model\":\"claude\",\"metadata\":{\"user_id\":1}}",
    ] {
        let reply = raw(&client, MESSAGES, body).await;
        assert_eq!(
            envelope(&reply),
            (400, "invalid_request_error".to_owned()),
            "{body}"
        );
    }
    let large = format!("{{\"model\":\"claude\",\"x\":\"{}\"}}", "x".repeat(5000));
    assert_eq!(
        envelope(&raw(&client, MESSAGES, &large).await),
        (413, "request_too_large".to_owned())
    );
    // What the providers say.
    for (status, kind) in [
        (429, "rate_limit_error"),
        (529, "overloaded_error"),
        (404, "not_found_error"),
        (500, "api_error"),
    ] {
        for (provider, model) in [(&both.anthropic, "claude"), (&both.openai, "gpt")] {
            let body = json!({"type": "error", "error": {"type": kind, "message": "words"}}).to_string();
            provider.next(Turn::AnswerWith(status, body, ("retry-after", "7".to_owned())));
            let reply = client.post(MESSAGES, &message(model)).await;
            assert_eq!(envelope(&reply), (status, kind.to_owned()));
            assert_eq!(reply.header("retry-after"), Some("7"));
        }
    }
    for provider in [&both.anthropic, &both.openai] {
        provider.next(Turn::Answer(200, "not json".to_owned()));
    }
    for model in ["claude", "gpt"] {
        assert_eq!(envelope(&client.post(MESSAGES, &message(model)).await).0, 500);
    }
}

#[tokio::test]
async fn streams_that_break_end_with_an_error_of_the_clients_dialect() {
    let both = Both::start().await;
    let client = both.gateway.client();
    let begin = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"claude-x\"}}\n\n";
    let half = format!("{begin}event: content_block_start\ndata: {{\"ty");
    let chunk = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He\"}}]}\n\n";
    for (path, model, texts, is_broken) in [
        (MESSAGES, "claude", half.clone(), true),
        (MESSAGES, "gpt", format!("{chunk}data: {{\"ha"), true),
        (CHAT, "claude", half, true),
        // They end without saying that they are complete.
        (MESSAGES, "gpt", chunk.to_owned(), false),
        (CHAT, "claude", begin.to_owned(), false),
        (CHAT, "claude", format!("{begin}data: nonsense\n\n"), false),
    ] {
        let provider = if model == "claude" {
            &both.anthropic
        } else {
            &both.openai
        };
        let turn = if is_broken { Turn::Broken } else { Turn::Stream };
        provider.next(turn(vec![texts]));
        let mut body = if path == CHAT { chat(model) } else { message(model) };
        body["stream"] = true.into();
        let text = client.post(path, &body).await.expect_status(200).text();
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        if path == CHAT {
            assert!(
                last.starts_with("data: {\"error\":{") && !text.contains("[DONE]"),
                "{text}"
            );
        } else {
            assert!(
                last.starts_with("event: error\ndata: {\"type\":\"error\""),
                "{text}"
            );
            assert!(!text.contains("message_stop"), "{text}");
        }
    }
}

#[tokio::test]
async fn another_deployment_may_speak_another_dialect() {
    let key = Canary::key("provider");
    let anthropic = ScriptedProvider::start_anthropic(key.value(), &["claude-x"]).await;
    let openai = ScriptedProvider::start(key.value(), &["gpt-x"]).await;
    let entries = [
        entry(
            "m",
            "anthropic/claude-x",
            &anthropic.url(),
            key.value(),
            "      order: 1\n",
        ),
        entry(
            "m",
            "hosted_vllm/gpt-x",
            &openai.url(),
            key.value(),
            "      order: 2\n",
        ),
    ];
    let more = "router_settings:\n  disable_cooldowns: true\n";
    let gateway = TestGateway::start(&format!("model_list:\n{}{more}", entries.concat())).await;
    let client = gateway.client();
    for (path, body) in [(MESSAGES, message("m")), (CHAT, chat("m"))] {
        anthropic.next(Turn::Answer(529, "{}".to_owned()));
        let reply = client.post(path, &body).await.expect_status(200);
        assert_eq!(reply.header("x-litellm-attempted-retries"), Some("1"));
        assert!(reply.text().contains("Hello"), "{}", reply.text());
    }
    // What one has no word for, another may have.
    let mut body = chat("m");
    body["seed"] = 1.into();
    client.post(CHAT, &body).await.expect_status(200);
    assert_eq!((anthropic.requests().len(), openai.requests().len()), (2, 3));
}

#[tokio::test]
async fn tokens_are_counted_by_who_can_and_models_are_listed_as_the_client_knows_them() {
    let both = Both::start().await;
    let client = both.gateway.client();
    let mut body = message("claude");
    body.as_object_mut().unwrap().remove("max_tokens");
    let reply = client
        .post("/v1/messages/count_tokens", &body)
        .await
        .expect_status(200);
    assert_eq!(reply.json(), json!({"input_tokens": 14}));
    body["model"] = "gpt".into();
    let reply = client.post("/anthropic/v1/messages/count_tokens", &body).await;
    let reply = reply.expect_status(200);
    assert_eq!(
        reply.header("x-trunkline-estimated"),
        Some("true"),
        "{}",
        reply.text()
    );
    body["model"] = "claude".into();
    body["stream"] = true.into();
    assert_eq!(
        envelope(&client.post("/v1/messages/count_tokens", &body).await).0,
        400
    );
    let list = client
        .with_header("anthropic-version", "2023-06-01")
        .get("/v1/models")
        .await
        .json();
    assert_eq!(
        (&list["first_id"], &list["last_id"], &list["has_more"]),
        (&json!("claude"), &json!("hidden"), &json!(false))
    );
    assert_eq!(list["data"][0]["type"], "model");
}

#[tokio::test]
async fn limits_and_routes_of_a_key_hold_for_messages() {
    let both = Both::start().await;
    let make = async |body: Value| {
        let made = both
            .gateway
            .client()
            .post("/key/generate", &body)
            .await
            .expect_status(200)
            .json();
        with_key(&both.gateway, made["key"].as_str().unwrap())
    };
    let once = make(json!({"models": ["claude"], "rpm_limit": 1})).await;
    once.post(CHAT, &chat("claude")).await.expect_status(200);
    let reply = once.post(MESSAGES, &message("claude")).await;
    assert_eq!(envelope(&reply), (429, "rate_limit_error".to_owned()));
    assert!(reply.header("retry-after").is_some());
    let llm = make(json!({"models": ["claude"], "allowed_routes": ["llm_api_routes"]})).await;
    llm.post(MESSAGES, &message("claude")).await.expect_status(200);
    let mcp = make(json!({"models": ["claude"], "allowed_routes": ["mcp_routes"]})).await;
    assert_eq!(envelope(&mcp.post(MESSAGES, &message("claude")).await).0, 403);
}

#[tokio::test]
async fn s19_no_credential_of_a_client_reaches_a_provider_and_none_of_a_provider_a_client() {
    let both = Both::start().await;
    let master = both.gateway.master_key();
    let client = with_key(&both.gateway, master).with_header("cookie", "a=b");
    for (path, body) in [
        (MESSAGES, message("claude")),
        (MESSAGES, message("gpt")),
        (CHAT, chat("claude")),
    ] {
        client.post(path, &body).await.expect_status(200);
        let refusal = json!({"error": {"message": format!("bad key {}", both.key.value())}}).to_string();
        for provider in [&both.anthropic, &both.openai] {
            provider.next(Turn::Answer(401, refusal.clone()));
        }
        let reply = client.post(path, &body).await;
        assert!(
            !reply.everything().contains(both.key.value()),
            "{}",
            reply.everything()
        );
        // What is left of the script is somebody else's.
        for model in ["claude", "gpt"] {
            client.post(CHAT, &chat(model)).await;
        }
    }
    for request in both
        .anthropic
        .requests()
        .into_iter()
        .chain(both.openai.requests())
    {
        let all = format!("{:?}", request.headers);
        assert!(
            !all.contains(master) && request.header("cookie").is_none(),
            "{all}"
        );
    }
}

#[tokio::test]
async fn geminis_models_answer_clients_of_both_dialects() {
    let both = Both::start().await;
    let client = both.gateway.client();
    let answer = client.post(CHAT, &chat("gemini")).await.expect_status(200).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello");
    assert_eq!(
        answer["usage"]["completion_tokens"], 3,
        "what was thought is written, too"
    );
    let answer = client
        .post(MESSAGES, &message("gemini"))
        .await
        .expect_status(200)
        .json();
    assert_eq!(answer["content"], json!([{"type": "text", "text": "Hello"}]));
    assert_eq!(answer["usage"]["cache_read_input_tokens"], 10);
    // A call and its result, in pieces.
    let function =
        json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
    let mut body = chat("gemini");
    body["tools"] = json!([function]);
    body["stream"] = true.into();
    let text = client.post(CHAT, &body).await.expect_status(200).text();
    assert!(
        text.contains("__thought__c2ln") && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
    let call = json!({"id": "call_r1_0__thought__c2ln", "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    body["messages"] = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_r1_0__thought__c2ln", "content": "Rain"},
    ]);
    let text = client.post(CHAT, &body).await.expect_status(200).text();
    assert!(
        text.contains("\"content\":\"llo\"") && text.contains("\"finish_reason\":\"stop\""),
        "{text}"
    );
    let requests = both.gemini.requests();
    let last = requests.last().unwrap();
    assert_eq!(last.path, "/v1/v1beta/models/gemini-x:streamGenerateContent");
    assert_eq!(last.json()["contents"][1]["parts"][0]["thoughtSignature"], "c2ln");
    assert_eq!(
        (last.header("x-goog-api-key"), last.header("authorization")),
        (Some(both.key.value()), None)
    );
    // What it says when it refuses.
    let body =
        json!({"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}).to_string();
    both.gemini.next(Turn::Answer(429, body));
    let reply = client.post(MESSAGES, &message("gemini")).await;
    assert_eq!(envelope(&reply), (429, "rate_limit_error".to_owned()));
    assert!(reply.text().contains("quota"), "{}", reply.text());
}
