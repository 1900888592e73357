//! What a request to a provider's own API cannot do: ask for another model than the one that was decided about, be read otherwise by the
//! provider, cost what nobody sees, go on when its key is none any more.

use super::*;

const CHAT: &str = "/openai/v1/chat/completions";

fn with(more: &Value) -> Value {
    let mut body = contents();
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

fn hi(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
}

/// A request with a body of a kind.
async fn of_kind(client: &HttpClient, path: &str, kind: &str, body: &'static [u8]) -> Reply {
    let request = http::Request::post(path)
        .header("content-type", kind)
        .body(Bytes::from_static(body))
        .unwrap();
    client.try_send(request).await.unwrap()
}

#[tokio::test]
async fn a_body_asks_for_no_other_model_than_the_one_that_was_decided_about() {
    let world = world().await;
    let narrow = world
        .key(json!({"models": ["gemini/gemini-2.5-pro", "mine"]}))
        .await;
    for more in [
        json!({"generationConfig": {"routingConfig": {"manualMode": {"modelName": "gemini-x"}}}}),
        json!({"generation_config": {"routing_config": {"autoMode": {}}}}),
        json!({"model": "models/gemini-x"}),
    ] {
        let reply = narrow.post(GENERATE, &with(&more)).await;
        assert_eq!(reply.status, 400, "{more}: {}", reply.text());
        assert_eq!(reply.json()["error"]["status"], "INVALID_ARGUMENT", "{more}");
    }
    // What the account keeps is for those who may use all of it, and its batches are of files.
    let kept = [
        json!({"cachedContent": "cachedContents/theirs"}),
        json!({"tools": [{"fileSearch": {"fileSearchStoreNames": ["theirs"]}}]}),
        json!({"tools": [{"retrieval": {"vertexAiSearch": {"datastore": "theirs"}}}]}),
    ];
    for more in &kept {
        let reply = narrow.post(GENERATE, &with(more)).await;
        assert_eq!(reply.status, 403, "{more}: {}", reply.text());
        assert!(reply.text().contains("all models of gemini"), "{}", reply.text());
    }
    let batch = "/gemini/v1beta/models/gemini-2.5-pro:batchGenerateContent";
    narrow.post(batch, &contents()).await.expect_status(403);
    assert!(world.gemini.requests().is_empty());
    let all = world.key(json!({"models": ["gemini/*"]})).await;
    all.post(GENERATE, &with(&kept[0])).await.expect_status(200);
    // The name of a deployment is the provider's wherever a body has it.
    let path = "/gemini/v1beta/models/mine:batchEmbedContents";
    let own = json!({"model": "models/mine", "content": {"parts": [{"text": "a"}]}});
    let body = json!({"requests": [own.clone(), own]});
    narrow.post(path, &body).await.expect_status(200);
    let mut others = body;
    others["requests"][1]["model"] = "models/gemini-2.5-pro".into();
    narrow.post(path, &others).await.expect_status(400);
    // At Azure the deployment of the path answers, whatever its clients write in the body.
    let azures = world.key(json!({"models": ["azure/gpt"]})).await;
    let path = "/azure/openai/deployments/gpt/chat/completions?api-version=2024-10-21";
    azures.post(path, &hi("gpt-4o")).await.expect_status(200);
    assert_eq!(world.azure.requests().pop().unwrap().json()["model"], "gpt");
}

#[tokio::test]
async fn a_body_is_sent_as_what_it_was_read_as() {
    let world = world().await;
    let client = world.key(json!({"models": ["openai/gpt-4o"]})).await;
    let twice = b"{\"model\":\"gpt-4o\",\"messages\":[],\"z\":\"&model=dear&\"}";
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/jsonx",
    ] {
        let reply = of_kind(&client, CHAT, kind, twice).await;
        assert_eq!(reply.status, 415, "{kind}: {}", reply.text());
    }
    assert!(world.openai.requests().is_empty());
    let chat = b"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    of_kind(&client, CHAT, "application/json; charset=utf-7", chat)
        .await
        .expect_status(200);
    let sent = world.openai.requests().pop().unwrap();
    assert_eq!(sent.header("content-type"), Some("application/json"));
    let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nx\r\n--b--\r\n";
    let kind = "multipart/form-data; boundary=b; boundary*0=c";
    of_kind(&client, "/openai/v1/audio/transcriptions", kind, form)
        .await
        .expect_status(200);
    let sent = world.openai.requests().pop().unwrap();
    assert_eq!(
        sent.header("content-type"),
        Some("multipart/form-data; boundary=b")
    );
    assert_eq!(&sent.body[..], &form[..]);
}

#[tokio::test]
async fn answers_of_every_kind_end_with_their_key() {
    let world = world().await;
    for kind in [
        "text/event-stream; charset=utf-8",
        "application/x-ndjson",
        "application/json",
        "application/octet-stream",
    ] {
        let secret = world.secret(json!({"models": ["gemini/*"]})).await;
        let (says, script) = mpsc::channel(4);
        world.gemini.next(Turn::LiveOf(kind, script));
        says.send("data: {\"a\":1}\n\n".to_owned()).await.unwrap();
        let request = http::Request::post("/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent")
            .header("content-type", "application/json")
            .body(Bytes::from(contents().to_string()))
            .unwrap();
        let client = world.gateway.anonymous().with_header("x-goog-api-key", &secret);
        let mut chunks = client.open(request).await.unwrap();
        assert!(chunks.next().await.unwrap().is_ok(), "{kind}");
        let block = json!({"key": secret});
        let admin = world.gateway.client();
        admin.post("/key/block", &block).await.expect_status(200);
        let ended = tokio::time::timeout(Duration::from_secs(10), says.closed()).await;
        assert!(
            ended.is_ok(),
            "{kind}: the provider does not hear that it is over"
        );
        let last = tokio::time::timeout(Duration::from_secs(10), chunks.next()).await;
        assert!(
            matches!(last, Ok(Some(Err(_)))),
            "{kind}: half an answer says that it is whole"
        );
    }
}

#[tokio::test]
async fn streams_are_asked_what_they_took_and_only_who_asked_is_told() {
    let world = world().await;
    let admin = world.gateway.client();
    for (id, path, body) in [
        ("unasked", CHAT, hi("gpt-4o")),
        (
            "completion",
            "/openai/v1/completions",
            json!({"model": "gpt-4o", "prompt": "Hi"}),
        ),
    ] {
        // As OpenAI has it.
        let usage = "{\"prompt_tokens\":5,\"completion_tokens\":700}";
        let kind = "text/event-stream; charset=utf-8";
        let said = format!(
            "data: {{\"model\":\"gpt-4o\",\"choices\":[{{}}],\"usage\":null}}\n\ndata: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n"
        );
        world.openai.next(Turn::Bytes(kind, said.into_bytes()));
        let mut body = body;
        body["stream"] = true.into();
        let asked = admin.clone().with_header("x-litellm-call-id", id);
        let reply = asked.post(path, &body).await.expect_status(200);
        assert_eq!(
            reply.text(),
            "data: {\"model\":\"gpt-4o\",\"choices\":[{}]}\n\ndata: [DONE]\n\n"
        );
        let sent = world.openai.requests().pop().unwrap().json();
        assert_eq!(sent["stream_options"]["include_usage"], true, "{sent}");
        let row = logged(&admin, id).await;
        assert_eq!(row["metadata"]["usage_is_estimated"], false, "{row}");
        assert_eq!(
            (&row["prompt_tokens"], &row["completion_tokens"]),
            (&json!(5), &json!(700)),
            "{row}"
        );
    }
    // Who asks gets every byte, and sends every byte.
    let body = "{\"stream\" : true, \"stream_options\":{\"include_usage\":true},\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    let reply = send(&admin, "POST", CHAT, body).await.expect_status(200);
    assert!(reply.text().contains("\"prompt_tokens\""), "{}", reply.text());
    assert_eq!(world.openai.requests().pop().unwrap().body, body);
}

#[tokio::test]
async fn nothing_hides_what_it_took() {
    let world = world().await;
    let poor = json!({"models": ["mine", "gemini/*", "bedrock/*"], "max_budget": 5});
    let poor = world.key(poor).await;
    let path = "/gemini/v1beta/models/mine:generateContent";
    for query in [
        "fields=candidates",
        "%66ields=candidates",
        "callback=f",
        "alt=proto",
    ] {
        let reply = poor.post(&format!("{path}?{query}"), &contents()).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
    }
    // A search has no price that is known, in whatever form it is asked for.
    for tools in [
        json!([{"googleSearch": {}}]),
        json!({"googleSearch": {}}),
        json!(["googleSearch"]),
    ] {
        let reply = poor.post(path, &with(&json!({ "tools": tools }))).await;
        assert_eq!(reply.status, 422, "{tools}: {}", reply.text());
    }
    assert!(world.gemini.requests().is_empty());
    let tools = json!({"tools": [{"functionDeclarations": [{"name": "f"}]}]});
    poor.post(&format!("{path}?oauth_token=x"), &with(&tools))
        .await
        .expect_status(200);
    assert_eq!(world.gemini.requests().pop().unwrap().query, None);
    let body = json!({
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]},
    });
    let reply = poor.post("/bedrock/model/a.claude-v1:0/converse", &body).await;
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert!(world.bedrock.requests().is_empty());
}

#[tokio::test]
async fn a_name_of_deployments_of_others_leads_to_no_account() {
    let key = Canary::key("provider");
    let openai = ScriptedProvider::start(key.value(), &["gpt-4o", "gpt"]).await;
    let azure = ScriptedProvider::start_azure(key.value(), &["gpt", "gpt-4o"]).await;
    let entry = |name: &str, model: &str| {
        format!(
            "  - model_name: \"{name}\"\n    litellm_params:\n      model: \"azure/{model}\"\n      api_base: {}\n      api_key: {}\n",
            azure.root(),
            key.value()
        )
    };
    for (name, model) in [("openai/gpt-4o", "gpt"), ("openai/*", "*")] {
        let gateway = TestGateway::builder()
            .env("OPENAI_API_KEY", key.value())
            .env("OPENAI_BASE_URL", &openai.url())
            .config(&format!("model_list:\n{}", entry(name, model)))
            .start()
            .await;
        let made = gateway
            .client()
            .post("/key/generate", &json!({ "models": [name] }))
            .await;
        let secret = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
        let client = gateway
            .anonymous()
            .with_header("authorization", &format!("Bearer {secret}"));
        let reply = client.post(CHAT, &hi("gpt-4o")).await.expect_status(400);
        assert!(reply.text().contains("name of model_list"), "{}", reply.text());
        // As what it is it can be asked.
        client
            .post("/v1/chat/completions", &hi("openai/gpt-4o"))
            .await
            .expect_status(200);
        let files = client.get("/openai/v1/files").await;
        let wanted = if name == "openai/*" { 400 } else { 403 };
        assert_eq!(files.status, wanted, "{}", files.text());
    }
    assert!(openai.requests().is_empty());
}

#[tokio::test]
async fn counting_the_tokens_of_claude_on_googles_cloud_is_about_its_model_and_costs_nothing() {
    let provider = ScriptedProvider::start_vertex(&["claude-x", "claude-y"]).await;
    let account = serde_json::to_string(&provider.account()).unwrap();
    let config = format!(
        "model_list:\n  - model_name: c\n    litellm_params:\n      model: vertex_ai/claude-x\n      api_base: {}\n      vertex_location: europe-west1\n      vertex_credentials: {account}\n      use_in_pass_through: true\n",
        provider.root()
    );
    let gateway = TestGateway::start(&config).await;
    let made = json!({"models": ["c", "vertex_ai/claude-y"], "max_budget": 1});
    let made = gateway.client().post("/key/generate", &made).await;
    let secret = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
    let client = gateway
        .anonymous()
        .with_header("authorization", &format!("Bearer {secret}"));
    let path = "/vertex_ai/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict";
    let body = |model: &str| {
        json!({
            "anthropic_version": "vertex-2023-10-16", "model": model,
            "messages": [{"role": "user", "content": "Hi"}],
        })
    };
    for (model, wanted) in [("c", "claude-x"), ("claude-y", "claude-y")] {
        let asked = client.clone().with_header("x-litellm-call-id", model);
        let reply = asked.post(path, &body(model)).await.expect_status(200);
        assert_eq!(reply.json()["input_tokens"], 31);
        assert_eq!(provider.requests().pop().unwrap().json()["model"], wanted);
        assert_eq!(logged(&gateway.client(), model).await["spend"], json!(0.0));
    }
    client.post(path, &body("claude-x")).await.expect_status(403);
}

#[tokio::test]
async fn requests_to_bedrock_without_a_body_are_signed_as_they_are() {
    let world = world().await;
    let client = world.gateway.client();
    // The provider has no such operation, and knows who asks.
    for path in [
        "/bedrock/async-invoke?maxResults=1&b",
        "/bedrock/async-invoke/arn:aws:bedrock:us-east-1:1:async-invoke%2Fx",
    ] {
        client.get(path).await.expect_status(404);
    }
}

#[tokio::test]
async fn limits_of_tokens_and_of_single_models_hold_here_too() {
    let world = world().await;
    let key = async |more: Value| {
        let mut body = json!({"models": ["openai/gpt-4o"]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        world.key(body).await
    };
    let tokens = key(json!({"tpm_limit": 400})).await;
    tokens.post(CHAT, &hi("gpt-4o")).await.expect_status(200);
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 399, "total_tokens": 400});
    let choices =
        json!([{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]);
    let long = json!({"id": "x", "object": "chat.completion", "model": "gpt-4o", "choices": choices, "usage": usage});
    world.openai.next(Turn::Answer(200, long.to_string()));
    tokens.post(CHAT, &hi("gpt-4o")).await.expect_status(200);
    let requests = key(json!({"model_rpm_limit": {"openai/gpt-4o": 1}})).await;
    requests.post(CHAT, &hi("gpt-4o")).await.expect_status(200);
    let money = key(json!({"model_max_budget": {"openai/gpt-4o": {"max_budget": 0.000_01}}})).await;
    money.post(CHAT, &hi("gpt-4o")).await.expect_status(200);
    let sent = world.openai.requests().len();
    for (client, status, word) in [
        (&tokens, 429, "tpm_limit"),
        (&requests, 429, "model_rpm_limit"),
        (&money, 422, "budget"),
    ] {
        let reply = client.post(CHAT, &hi("gpt-4o")).await.expect_status(status);
        assert!(reply.text().to_lowercase().contains(word), "{}", reply.text());
    }
    assert_eq!(
        world.openai.requests().len(),
        sent,
        "nothing of what is refused is sent"
    );
}

#[tokio::test]
async fn what_may_be_spent_on_a_model_is_not_spent_where_nobody_can_tell_the_model() {
    let world = world().await;
    let limited =
        json!({"models": ["all-proxy-models"], "model_max_budget": {"openai/gpt-4o": {"max_budget": 5}}});
    let client = world.key(limited).await;
    client.post(CHAT, &hi("gpt-4o")).await.expect_status(200);
    let sent = world.openai.requests().len();
    // A batch may be one of that model's.
    let batch =
        json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let reply = client.post("/openai/v1/batches", &batch).await.expect_status(422);
    assert!(
        reply
            .text()
            .contains("nobody can say which of them this request is about"),
        "{}",
        reply.text()
    );
    assert_eq!(world.openai.requests().len(), sent, "nothing of it was sent");
    // What is only shown costs nothing.
    client.get("/openai/v1/files").await.expect_status(200);
}

#[tokio::test]
async fn names_that_somebody_makes_up_are_no_longer_than_names_are() {
    let world = world().await;
    let client = world.gateway.client();
    let long = "x".repeat(513);
    for path in [
        format!("/gemini/v1beta/models/{long}:generateContent"),
        format!("/gemini/v1beta/models/{long}:countTokens"),
        "/gemini/v1beta/models/:generateContent".to_owned(),
        format!("/azure/openai/deployments/{long}/chat/completions"),
        format!("/bedrock/model/{long}/converse"),
    ] {
        let reply = send(&client, "POST", &path, &contents().to_string()).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
    // Nor are responses to be had below a deployment.
    let path = "/azure/openai/deployments/gpt/responses";
    client
        .post(path, &json!({"input": "Hi"}))
        .await
        .expect_status(400);
    assert!(world.gemini.requests().is_empty() && world.azure.requests().is_empty());
}

#[tokio::test]
async fn one_failure_is_as_many_as_the_file_lets_pass() {
    let key = Canary::key("provider");
    let provider = ScriptedProvider::start(key.value(), &["gpt-4o"]).await;
    let entry = |order: u32| {
        format!(
            "  - model_name: m\n    litellm_params:\n      model: openai/gpt-4o\n      api_base: {}\n      api_key: {}\n      order: {order}\n    model_info: {{id: n{order}}}\n",
            provider.url(),
            key.value()
        )
    };
    let rules = "router_settings:\n  allowed_fails: 1\n  cooldown_time: 60\n";
    let gateway = TestGateway::start(&format!("model_list:\n{}{}{rules}", entry(1), entry(2))).await;
    let client = gateway.client();
    let whom = async |status: u16| {
        let reply = client.post(CHAT, &hi("m")).await.expect_status(status);
        reply.header("x-litellm-model-id").unwrap().to_owned()
    };
    for wanted in ["n1", "n1"] {
        provider.next(Turn::Answer(500, r#"{"error":{"message":"down"}}"#.to_owned()));
        assert_eq!(whom(500).await, wanted);
    }
    assert_eq!(whom(200).await, "n2", "two are more than may fail");
}

#[tokio::test]
async fn tokens_of_another_name_are_counted_by_the_name_that_the_provider_knows() {
    let world = world().await;
    let client = world.key(json!({"models": ["mine"]})).await;
    let count = "/gemini/v1beta/models/mine:countTokens";
    for key in ["generateContentRequest", "generate_content_request"] {
        let mut request = contents();
        request["model"] = "models/mine".into();
        let body = json!({ key: request });
        client.post(count, &body).await;
        let sent = world.gemini.requests().pop().unwrap();
        assert!(
            sent.path.ends_with("/models/gemini-x:countTokens"),
            "{}",
            sent.path
        );
        assert_eq!(sent.json()[key]["model"], "models/gemini-x");
        assert_eq!(sent.json()[key]["contents"], contents()["contents"]);
        let mut other = contents();
        other["model"] = "models/gemini-2.5-pro".into();
        client
            .post(count, &json!({ key: other }))
            .await
            .expect_status(400);
    }
    client.post(count, &contents()).await.expect_status(200);
}

#[tokio::test]
async fn what_nobody_can_count_and_what_is_said_to_be_written_hold_tokens_too() {
    let world = world().await;
    let small = json!({"models": ["openai/*", "gemini/gemini-2.5-pro"], "tpm_limit": 300});
    let client = world.key(small.clone()).await;
    // What it takes is not to be seen: what was held for it, the usual 256, is what it took. A file is read by no model.
    let upload = json!({"file": "word ".repeat(10_000)});
    client.post("/openai/v1/files", &upload).await.expect_status(201);
    let sent = world.openai.requests().len();
    let reply = client.post("/openai/v1/files", &upload).await.expect_status(429);
    assert!(reply.text().contains("tpm_limit"), "{}", reply.text());
    assert_eq!(world.openai.requests().len(), sent);
    // As much as may be written is held while it is under way.
    let client = world.key(small).await;
    let (answer, live) = mpsc::channel(4);
    world.gemini.next(Turn::LiveJson(live));
    let bounded = with(&json!({"generationConfig": {"maxOutputTokens": 290}}));
    let first = tokio::spawn({
        let (client, bounded) = (client.clone(), bounded.clone());
        async move { client.post(GENERATE, &bounded).await }
    });
    eventually("it is under way", Duration::from_secs(10), async || {
        world.gemini.requests().len() == 1
    })
    .await;
    let little = with(&json!({"generationConfig": {"maxOutputTokens": 5}}));
    client.post(GENERATE, &little).await.expect_status(429);
    let text = json!({"candidates": [], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}});
    answer.send(text.to_string()).await.unwrap();
    drop(answer);
    first.await.unwrap().expect_status(200);
    client.post(GENERATE, &little).await.expect_status(200);
}

#[tokio::test]
async fn answers_that_come_sooner_have_no_usual_price() {
    let world = world().await;
    let path = "/bedrock/model/amazon.nova-lite-v1%3A0/converse";
    let body = json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]});
    let mut sooner = body.clone();
    sooner["performanceConfig"] = json!({"latency": "optimized"});
    let client = world.gateway.client();
    let header = "x-amzn-bedrock-service-tier";
    let poor = world
        .key(json!({"models": ["all-proxy-models"], "max_budget": 5}))
        .await;
    for (client, body, word) in [
        (client.clone(), &sooner, "sooner"),
        (client.with_header(header, "priority"), &body, "header"),
    ] {
        let reply = client
            .with_header("x-litellm-call-id", word)
            .post(path, body)
            .await;
        reply.expect_status(200);
        let row = logged(&world.gateway.client(), word).await;
        assert_eq!(row["spend"], Value::Null, "{word}: {row}");
    }
    poor.post(path, &body).await.expect_status(200);
    let sent = world.bedrock.requests().len();
    poor.post(path, &sooner).await.expect_status(422);
    poor.with_header(header, "flex")
        .post(path, &body)
        .await
        .expect_status(422);
    assert_eq!(world.bedrock.requests().len(), sent);
}
