//! Providers' own APIs, relayed as they are: which keys of the gateway's lead where, what of a request goes on, what cannot lead out, and
//! what is written down.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline_testkit::{Canary, HttpClient, Reply, ScriptedProvider, TestGateway, Turn, eventually};

use crate::cost::logged;

mod bounds;

const GENERATE: &str = "/gemini/v1beta/models/gemini-2.5-pro:generateContent";

/// Every provider with its key, and a gateway that knows the keys from its environment.
struct World {
    openai: ScriptedProvider,
    anthropic: ScriptedProvider,
    gemini: ScriptedProvider,
    bedrock: ScriptedProvider,
    azure: ScriptedProvider,
    key: Canary,
    gateway: TestGateway,
}

/// `mine` is a model of Gemini's by another name, `chat` one of OpenAI's.
async fn world() -> World {
    let key = Canary::key("provider");
    let openai = ScriptedProvider::start(key.value(), &["gpt-4o"]).await;
    let anthropic = ScriptedProvider::start_anthropic(key.value(), &["claude-x"]).await;
    let gemini = ScriptedProvider::start_gemini(key.value(), &["gemini-2.5-pro", "gemini-x"]).await;
    let bedrock = ScriptedProvider::start_bedrock(
        &format!("AKID:{}", key.value()),
        &["a.claude-v1:0", "amazon.nova-lite-v1:0"],
    )
    .await;
    let azure = ScriptedProvider::start_azure(key.value(), &["gpt", "gpt-4o"]).await;
    let list = [
        format!(
            "  - model_name: mine\n    litellm_params:\n      model: gemini/gemini-x\n      api_base: {}\n      api_key: {}\n      input_cost_per_token: 1.0e-06\n      output_cost_per_token: 2.0e-06\n",
            gemini.url(),
            key.value()
        ),
        format!(
            "  - model_name: chat\n    litellm_params:\n      model: openai/gpt-4o\n      api_base: {}\n      api_key: {}\n",
            openai.url(),
            key.value()
        ),
        format!(
            "  - model_name: azures\n    litellm_params:\n      model: azure/gpt\n      api_base: {}\n      api_key: {}\n      use_in_pass_through: true\n",
            azure.root(),
            key.value()
        ),
    ];
    let gateway = TestGateway::builder()
        .env("OPENAI_API_KEY", key.value())
        .env("OPENAI_BASE_URL", &openai.url())
        .env("ANTHROPIC_API_KEY", key.value())
        .env("ANTHROPIC_API_BASE", &anthropic.root())
        .env("GEMINI_API_KEY", key.value())
        .env("GEMINI_API_BASE", &gemini.url())
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", key.value())
        .env("AWS_BEDROCK_RUNTIME_ENDPOINT", &bedrock.root())
        .config(&format!("model_list:\n{}", list.concat()))
        .start()
        .await;
    World {
        openai,
        anthropic,
        gemini,
        bedrock,
        azure,
        key,
        gateway,
    }
}

impl World {
    /// The secret of a new key.
    async fn secret(&self, body: Value) -> String {
        let made = self.gateway.client().post("/key/generate", &body).await;
        made.expect_status(200).json()["key"].as_str().unwrap().to_owned()
    }

    async fn key(&self, body: Value) -> HttpClient {
        let secret = self.secret(body).await;
        let bearer = format!("Bearer {secret}");
        self.gateway.anonymous().with_header("authorization", &bearer)
    }
}

async fn send(client: &HttpClient, method: &str, path: &str, body: &str) -> Reply {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Bytes::from(body.to_owned()))
        .unwrap();
    client.try_send(request).await.unwrap()
}

fn contents() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]})
}

#[tokio::test]
async fn every_providers_clients_come_with_a_key_of_the_gateways_and_it_goes_no_further() {
    let world = world().await;
    let secret = world.secret(json!({"models": ["all-proxy-models"]})).await;
    let chat = "{\n \"model\": \"gpt-4o\",\"messages\" : [{\"role\":\"user\",\"content\":\"\\u00e9\"}] }";
    let azures = chat.replace("gpt-4o", "gpt");
    let generate = " {\"contents\": [ {\"role\":\"user\",\"parts\":[{\"text\":\"Hi\"}]}] }";
    let converse = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"Hi\"}]}]}";
    let cases: [(&str, String, &str, &str, &ScriptedProvider, &str, &str); 6] = [
        (
            "authorization",
            format!("Bearer {secret}"),
            "/openai/v1/chat/completions",
            chat,
            &world.openai,
            "/v1/chat/completions",
            "openai/gpt-4o",
        ),
        (
            "x-goog-api-key",
            secret.clone(),
            GENERATE,
            generate,
            &world.gemini,
            "/v1/v1beta/models/gemini-2.5-pro:generateContent",
            "gemini/gemini-2.5-pro",
        ),
        (
            "x-nothing",
            String::new(),
            "/gemini/v1beta/models/gemini-2.5-pro:generateContent?key=KEY",
            generate,
            &world.gemini,
            "/v1/v1beta/models/gemini-2.5-pro:generateContent",
            "gemini/gemini-2.5-pro",
        ),
        (
            "authorization",
            format!("Bearer {secret}"),
            "/bedrock/model/a.claude-v1%3A0/converse",
            converse,
            &world.bedrock,
            "/model/a.claude-v1%3A0/converse",
            "bedrock/a.claude-v1:0",
        ),
        (
            "api-key",
            secret.clone(),
            "/azure/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            &azures,
            &world.azure,
            "/openai/deployments/gpt/chat/completions",
            "azure/gpt",
        ),
        (
            "x-litellm-api-key",
            secret.clone(),
            "/openai/chat/completions",
            chat,
            &world.openai,
            "/v1/chat/completions",
            "openai/gpt-4o",
        ),
    ];
    for (index, (header, value, path, body, provider, wanted, name)) in cases.into_iter().enumerate() {
        let id = format!("case-{index}");
        let path = path.replace("KEY", &secret);
        let client = world.gateway.anonymous().with_header("x-litellm-call-id", &id);
        let client = client.with_header(header, &value).with_header("x-other", &secret);
        let reply = send(&client, "POST", &path, body).await.expect_status(200);
        assert!(reply.text().contains("Hello"), "{path}: {}", reply.text());
        let sent = provider.requests().pop().unwrap();
        assert_eq!((sent.path.as_str(), sent.method.as_str()), (wanted, "POST"));
        assert_eq!(sent.body, body, "every byte");
        let everything = format!("{:?} {:?}", sent.headers, sent.query);
        assert!(!everything.contains(&secret), "{everything}");
        let row = logged(&world.gateway.client(), &id).await;
        assert_eq!(row["call_type"], "pass_through_endpoint", "{row}");
        assert_eq!(row["model_group"], name, "{row}");
        assert_eq!(row["status"], "success");
        assert!(row["prompt_tokens"].as_u64().is_some_and(|own| own > 0), "{row}");
    }
    // Anthropic's own, beside the routes that are served as what they are.
    let client = world.gateway.anonymous().with_header("x-api-key", &secret);
    let client = client.with_header("anthropic-version", "2023-06-01");
    let reply = send(&client, "POST", "/anthropic/v1/messages", "{}").await;
    assert_eq!(
        (reply.status.as_u16(), world.anthropic.requests().len()),
        (400, 0)
    );
    send(
        &client,
        "POST",
        "/anthropic/v1/messages/batches",
        "{\"requests\":[]}",
    )
    .await;
    let sent = world.anthropic.requests().pop().unwrap();
    assert_eq!(sent.path, "/v1/messages/batches");
    assert_eq!(sent.header("x-api-key"), Some(world.key.value()));
    assert_eq!(sent.header("anthropic-version"), Some("2023-06-01"));
}

#[tokio::test]
async fn a_key_asks_the_models_that_it_has_and_no_others() {
    let world = world().await;
    let narrow = world
        .key(json!({"models": ["mine", "gemini/gemini-2.5-pro"]}))
        .await;
    let path = |model: &str, how: &str| format!("/gemini/v1beta/models/{model}:{how}");
    let reply = narrow
        .clone()
        .with_header("x-litellm-call-id", "own")
        .post(&path("mine", "generateContent"), &contents())
        .await
        .expect_status(200);
    assert_eq!(reply.header("x-litellm-model-group"), Some("mine"));
    let sent = world.gemini.requests().pop().unwrap();
    assert!(
        sent.path.ends_with("/models/gemini-x:generateContent"),
        "{}",
        sent.path
    );
    // 15 and 3 tokens at one and two millionths.
    let row = logged(&world.gateway.client(), "own").await;
    assert_eq!(
        (&row["spend"], &row["prompt_tokens"], &row["model"]),
        (&json!(0.000_021), &json!(15), &json!("gemini-x")),
        "{row}"
    );
    narrow
        .post(&path("gemini-2.5-pro", "generateContent"), &contents())
        .await
        .expect_status(200);
    let before = world.gemini.requests().len();
    for path in [
        // By its provider's name it is another one.
        path("gemini-x", "generateContent"),
        path("gemini-2.5-flash", "streamGenerateContent"),
        path("gemini-2.5-pro", "somethingNew"),
        "/gemini/v1beta/cachedContents".to_owned(),
        "/gemini/v1beta/models/".to_owned() + "gemini-2.5-pro",
    ] {
        let reply = send(&narrow, "POST", &path, &contents().to_string()).await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text());
        assert_eq!(reply.json()["error"]["status"], "PERMISSION_DENIED", "{path}");
    }
    for method in ["GET", "DELETE"] {
        let reply = send(&narrow, method, "/openai/v1/files/file-1/content", "").await;
        assert_eq!(reply.status, 403, "{}", reply.text());
        assert!(reply.text().contains("all models of openai"), "{}", reply.text());
    }
    assert_eq!(world.gemini.requests().len(), before);
    assert!(world.openai.requests().is_empty());
    // Without a list there is nothing, and with all of one provider all of that one.
    let nothing = world.key(json!({})).await;
    nothing.post(GENERATE, &contents()).await.expect_status(403);
    let openais = world.key(json!({"models": ["openai/*"]})).await;
    openais.get("/openai/v1/files").await.expect_status(200);
    openais.post(GENERATE, &contents()).await.expect_status(403);
    // A body that two readers could read in two ways names no model.
    let twice = "{\"model\":\"openai/gpt-4o\",\"model\":\"other\",\"messages\":[]}";
    let reply = send(&openais, "POST", "/openai/v1/chat/completions", twice).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    // Routes of the key count, too.
    let passes = json!({"models": ["all-proxy-models"], "allowed_routes": ["mapped_pass_through_routes"]});
    let passes = world.key(passes).await;
    passes.get("/openai/v1/files").await.expect_status(200);
    passes.get("/v1/models").await.expect_status(403);
    let narrow = json!({"models": ["all-proxy-models"], "allowed_routes": ["/openai/v1/chat/completions"]});
    let narrow = world.key(narrow).await;
    let reply = narrow.get("/openai/v1/files").await.expect_status(403);
    assert!(reply.text().contains("allowed_routes"), "{}", reply.text());
    world
        .gateway
        .anonymous()
        .get("/openai/v1/files")
        .await
        .expect_status(401);
}

#[tokio::test]
async fn what_is_about_no_model_passes_whatever_it_is() {
    let world = world().await;
    let all = world.key(json!({"models": ["all-proxy-models"]})).await;
    let reply = all
        .get("/openai/v1/files/file-1/content")
        .await
        .expect_status(200);
    assert_eq!(reply.body, "\u{1}every byte\u{0}");
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    let form =
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\x00\xff\r\n--b--\r\n";
    let request = http::Request::post("/openai/v1/files?purpose=x")
        .header("content-type", "multipart/form-data; boundary=b")
        .header("x-litellm-call-id", "file")
        .header("openai-organization", "somebody-else")
        .header("cookie", "a=b")
        .header("openai-beta", "assistants=v2")
        .body(Bytes::from_static(form))
        .unwrap();
    all.try_send(request).await.unwrap().expect_status(201);
    let sent = world.openai.requests().pop().unwrap();
    assert_eq!(
        (&sent.body[..], sent.query.as_deref()),
        (&form[..], Some("purpose=x"))
    );
    assert_eq!(
        sent.header("content-type"),
        Some("multipart/form-data; boundary=b")
    );
    assert_eq!(sent.header("openai-beta"), Some("assistants=v2"));
    assert_eq!(
        (sent.header("openai-organization"), sent.header("cookie")),
        (None, None)
    );
    // Nobody knows what it cost; what is only shown costs nothing.
    let admin = world.gateway.client();
    assert_eq!(logged(&admin, "file").await["spend"], Value::Null);
    let shown = all.clone().with_header("x-litellm-call-id", "shown");
    shown.get("/openai/v1/models").await.expect_status(200);
    assert_eq!(logged(&admin, "shown").await["spend"], json!(0.0));
    let reply = all.delete("/openai/v1/files/file-1").await.expect_status(200);
    assert_eq!(reply.json()["deleted"], true);
    // Whoever has a budget does not ask for what nobody knows the price of.
    let poor = world
        .key(json!({"models": ["all-proxy-models"], "max_budget": 5}))
        .await;
    poor.get("/openai/v1/files").await.expect_status(200);
    let reply = send(&poor, "POST", "/openai/v1/fine_tuning/jobs", "{}").await;
    assert_eq!(reply.status, 422, "{}", reply.text());
    // Responses belong to keys, and are not to be had by another door.
    for path in [
        "/openai/responses",
        "/openai/v1/responses/resp_x/more",
        "/azure/openai/responses",
    ] {
        let reply = send(&all, "GET", path, "").await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
    }
}

#[tokio::test]
async fn nothing_leads_out_of_the_providers_address() {
    let world = world().await;
    let client = world.gateway.client();
    for path in [
        "/openai/v1/../../admin",
        "/openai/..%2f..%2fadmin",
        "/openai/%2e%2e/admin",
        "/openai/v1/%2E./x",
        "/openai/v1//x",
        "/openai//evil.example/x",
        "/openai/v1/a%2Fb",
        "/openai/v1/a%5Cb",
        "/openai/v1/a%00b",
        "/openai/v1/a%0d%0aX-Evil:1",
        "/openai/v1/%25%32%65%25%32%65/x",
        "/openai/https://evil.example/x",
        "/bedrock/model/..%2F..%2Fx/converse",
        "/vertex_ai/v1/projects/other/secrets/x",
    ] {
        let reply = send(&client, "GET", path, "").await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
    }
    assert!(world.openai.requests().is_empty() && world.bedrock.requests().is_empty());
    // What looks like a host is a segment.
    send(&client, "GET", "/openai/v1/x@evil.example:80", "").await;
    assert_eq!(
        world.openai.requests().pop().unwrap().path,
        "/v1/x%40evil.example:80"
    );
}

#[tokio::test]
async fn streams_pass_byte_for_byte_and_say_what_they_took() {
    let world = world().await;
    let admin = world.gateway.client();
    let stream = "/gemini/v1beta/models/mine:streamGenerateContent?alt=sse";
    let pieces = [
        ": a comment\r\n\r\ndata: {\"candidates\":[],  \"usageMetadata\":{\"promptTokenCount\":7}}\r\n",
        "\r\ndata: {\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":4},\"modelVersion\":\"x\"}\r\n\r\n",
    ];
    world
        .gemini
        .next(Turn::Stream(pieces.map(str::to_owned).to_vec()));
    let asked = admin.clone().with_header("x-litellm-call-id", "stream");
    let reply = asked.post(stream, &contents()).await.expect_status(200);
    assert_eq!(reply.text(), pieces.concat());
    let sent = world.gemini.requests().pop().unwrap();
    assert_eq!(sent.query.as_deref(), Some("alt=sse"));
    let row = logged(&admin, "stream").await;
    assert_eq!(
        (&row["spend"], &row["completion_tokens"]),
        (&json!(0.000_015), &json!(4)),
        "{row}"
    );
    // Frames of AWS's.
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]});
    let asked = admin.clone().with_header("x-litellm-call-id", "frames");
    let path = "/bedrock/model/a.claude-v1:0/converse-stream";
    let reply = asked.post(path, &converse).await.expect_status(200);
    assert_eq!(
        reply.header("content-type"),
        Some("application/vnd.amazon.eventstream")
    );
    let row = logged(&admin, "frames").await;
    assert_eq!(
        (&row["prompt_tokens"], &row["completion_tokens"]),
        (&json!(5), &json!(3)),
        "{row}"
    );
    // Each piece comes at once, and leaving is heard.
    let (says, script) = mpsc::channel(4);
    world.gemini.next(Turn::Live(script));
    says.send("data: {\"a\":1}\n\n".to_owned()).await.unwrap();
    let request = http::Request::post(stream)
        .header("content-type", "application/json")
        .header("x-litellm-call-id", "left")
        .body(Bytes::from(contents().to_string()))
        .unwrap();
    let mut chunks = admin.open(request).await.unwrap();
    assert_eq!(chunks.next().await.unwrap().unwrap().1, "data: {\"a\":1}\n\n");
    drop(chunks);
    let gone = tokio::time::timeout(Duration::from_secs(10), says.closed()).await;
    assert!(gone.is_ok(), "the provider does not hear that nobody waits");
    let row = logged(&admin, "left").await;
    assert_eq!(row["metadata"]["usage_is_estimated"], true, "{row}");
    eventually("the record says so", Duration::from_secs(10), async || {
        let metrics = admin.get("/metrics").await.text();
        metrics.contains("kind=\"pass_through_endpoint\",outcome=\"client_gone\"} 1")
    })
    .await;
    // Half an answer is none.
    world
        .gemini
        .next(Turn::Broken(vec!["data: {\"a\":1}\n\n".to_owned()]));
    let request = http::Request::post(stream)
        .header("content-type", "application/json")
        .body(Bytes::from(contents().to_string()))
        .unwrap();
    assert!(admin.try_send(request).await.is_err());
}

#[tokio::test]
async fn an_answer_in_one_piece_says_what_it_cost_and_one_in_pieces_cannot() {
    let world = world().await;
    let admin = world.gateway.client();
    let asked = admin.clone().with_header("x-litellm-call-id", "paid");
    let path = "/gemini/v1beta/models/mine:generateContent";
    let reply = asked.post(path, &contents()).await.expect_status(200);
    let said: f64 = reply.header("x-litellm-response-cost").unwrap().parse().unwrap();
    let row = logged(&admin, "paid").await;
    let spent = row["spend"].as_f64().unwrap();
    assert!(spent > 0.0 && (said - spent).abs() < 1e-12, "{said} {row}");
    let asked = admin.clone().with_header("x-litellm-call-id", "pieces");
    let stream = "/gemini/v1beta/models/mine:streamGenerateContent?alt=sse";
    let reply = asked.post(stream, &contents()).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-response-cost"), None);
    // One that is too large to be waited for goes on as it comes, whole.
    let large = json!({"candidates": [], "filler": "x".repeat(5 * 1024 * 1024)}).to_string();
    world.gemini.next(Turn::Answer(200, large.clone()));
    let reply = admin.post(path, &contents()).await.expect_status(200);
    assert!(
        reply.text() == large,
        "{} of {} bytes",
        reply.text().len(),
        large.len()
    );
}

#[tokio::test]
async fn errors_are_the_providers_own_without_its_credential() {
    let world = world().await;
    let client = world.gateway.client();
    let secret = world.key.value();
    let said = format!(
        "{{ \"error\": {{\"code\":400,\"message\":\"bad {secret}\",\"status\":\"INVALID_ARGUMENT\"}} }}"
    );
    world.gemini.next(Turn::Answer(400, said.clone()));
    let reply = client.post(GENERATE, &contents()).await.expect_status(400);
    assert_eq!(reply.text(), said.replace(secret, "[redacted]"));
    // In the middle of a stream, too.
    let event = format!("data: {{\"error\":{{\"message\":\"key {secret}\"}}}}\n\n");
    world
        .gemini
        .next(Turn::Stream(vec!["data: {\"a\":1}\n\n".to_owned(), event]));
    let path = "/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
    let asked = client.clone().with_header("x-litellm-call-id", "within");
    let reply = asked.post(path, &contents()).await.expect_status(200);
    world.key.assert_absent(&[("the stream", &reply.text())]);
    let row = logged(&client, "within").await;
    assert_eq!(row["status"], "failure", "{row}");
    world.key.assert_absent(&[("the record", &row.to_string())]);
    // Nobody to ask.
    let reply = client.get("/mistral/v1/models").await.expect_status(503);
    assert!(reply.text().contains("MISTRAL_API_KEY"), "{}", reply.text());
    let reply = client.get("/cohere/v1/models").await.expect_status(503);
    assert_eq!(
        reply.json()["message"]
            .as_str()
            .map(|own| own.contains("COHERE_API_KEY")),
        Some(true)
    );
    // What leads elsewhere is not followed.
    world.gemini.next(Turn::AnswerWith(
        302,
        "{}".to_owned(),
        ("location", world.openai.url()),
    ));
    client.post(GENERATE, &contents()).await.expect_status(500);
    assert!(world.openai.requests().is_empty());
    let bedrock = world
        .gateway
        .anonymous()
        .with_header("authorization", "Bearer sk-wrong-0123456789");
    let reply = bedrock.get("/bedrock/model/x/converse").await.expect_status(401);
    assert_eq!(reply.header("x-amzn-errortype"), Some("AccessDeniedException"));
    assert!(reply.json()["message"].is_string(), "{}", reply.text());
}

#[tokio::test]
async fn googles_cloud_is_asked_within_the_project_of_the_credential() {
    let provider = ScriptedProvider::start_vertex(&["gemini-2.5-pro", "claude-x"]).await;
    let account = serde_json::to_string(&provider.account()).unwrap();
    let entry = |name: &str, model: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params:\n      model: vertex_ai/{model}\n      api_base: {}\n      vertex_location: europe-west1\n      vertex_credentials: {account}\n      use_in_pass_through: true\n",
            provider.root()
        )
    };
    let list = [entry("g", "gemini-2.5-pro"), entry("c", "claude-x")];
    let gateway = TestGateway::start(&format!("model_list:\n{}", list.concat())).await;
    let client = gateway.client();
    for path in [
        "/vertex_ai/v1beta1/projects/theirs/locations/us/publishers/google/models/gemini-2.5-pro:generateContent",
        "/vertex-ai/v1beta1/publishers/google/models/g:generateContent",
    ] {
        let reply = client.post(path, &contents()).await.expect_status(200);
        assert!(reply.text().contains("Hello"), "{}", reply.text());
        let sent = provider.requests().pop().unwrap();
        assert_eq!(
            sent.path,
            "/v1beta1/projects/my-project/locations/europe-west1/publishers/google/models/gemini-2.5-pro:generateContent"
        );
        let token = sent.header("authorization").unwrap();
        assert!(token.starts_with("Bearer token-"), "{token}");
    }
    let body = json!({
        "anthropic_version": "vertex-2023-10-16", "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    let path = "/vertex_ai/v1/projects/p/locations/l/publishers/anthropic/models/claude-x:rawPredict";
    let asked = client.clone().with_header("x-litellm-call-id", "claude");
    let reply = asked.post(path, &body).await.expect_status(200);
    assert_eq!(reply.json()["content"][0]["text"], "Hello");
    let row = logged(&client, "claude").await;
    assert_eq!(row["model_group"], "vertex_ai/claude-x", "{row}");
    assert!(
        row["completion_tokens"].as_u64().is_some_and(|own| own > 0),
        "{row}"
    );
}
