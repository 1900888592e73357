//! Searches, moderations, pictures, speech and transcriptions: what goes through, what it costs, and who may.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline_testkit::{HttpClient, Reply, ScriptedProvider, TestGateway, Turn, eventually};

use crate::cost::logged;
use crate::support::{World, entry};

const SPEECH: &str = "/v1/audio/speech";
const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// `mine` of OpenAI's, `vllm` and `free`, whose prices the operator says.
async fn world() -> World {
    let key = trunkline_testkit::Canary::key("provider");
    let models = ["gpt-x", "tts-1", "whisper-1"];
    let provider = ScriptedProvider::start(key.value(), &models).await;
    let of = |name: &str, model: &str, more: &str| entry(name, model, &provider.url(), key.value(), more);
    let list = [
        of(
            "mine",
            "openai/gpt-x",
            "      output_cost_per_image: 0.04\n      input_cost_per_token: 1.0e-06\n",
        ),
        of(
            "vllm",
            "hosted_vllm/gpt-x",
            "      input_cost_per_token: 2.0e-06\n",
        ),
        of("tts", "openai/tts-1", ""),
        of("whisper", "openai/whisper-1", ""),
        of("groq", "groq/gpt-x", ""),
        of("free", "openai/gpt-x", "      input_cost_per_token: 0\n"),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", list.concat())).await;
    World {
        provider,
        key,
        gateway,
    }
}

fn speech() -> Value {
    json!({"model": "tts", "input": "Gr\u{fc}\u{df}e!", "voice": "alloy"})
}

/// A sound with every byte, and what looks like the end of a part.
fn sound() -> Vec<u8> {
    let mut sound: Vec<u8> = (0..=255).collect();
    sound.extend_from_slice(b"\r\n--b0undar\r\n\r\n--b0undary");
    sound
}

/// A form as clients write it.
fn form(model: Option<&str>, more: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(b"--b0undary-x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n");
    body.extend_from_slice(&sound());
    let fields = model
        .map(|own| ("model", own))
        .into_iter()
        .chain(more.iter().copied());
    for (name, value) in fields {
        let part =
            format!("\r\n--b0undary-x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
        body.extend_from_slice(part.as_bytes());
    }
    body.extend_from_slice(b"\r\n--b0undary-x--\r\n");
    body
}

async fn send_form(client: &HttpClient, path: &str, body: Vec<u8>) -> Reply {
    let request = http::Request::post(path)
        .header("content-type", "multipart/form-data; boundary=b0undary-x")
        .body(Bytes::from(body))
        .unwrap();
    client.try_send(request).await.unwrap()
}

#[tokio::test]
async fn every_path_of_litellms_leads_there_and_is_written_down() {
    let world = world().await;
    let client = world.gateway.client();
    let documents = json!({"model": "vllm", "query": "q", "documents": ["a", "b"], "top_n": 1});
    let harm = json!({"model": "mine", "input": ["a"]});
    let picture = json!({"model": "mine", "prompt": "a cat", "n": 2});
    for (path, begins, body, call_type) in [
        ("rerank", &["/v1", "", "/v2"][..], &documents, "arerank"),
        ("moderations", &["/v1", ""], &harm, "amoderation"),
        (
            "images/generations",
            &["/v1", "", "/openai/deployments/mine"],
            &picture,
            "aimage_generation",
        ),
        (
            "audio/speech",
            &["/v1", "", "/openai/deployments/tts"],
            &speech(),
            "aspeech",
        ),
    ] {
        for (index, begin) in begins.iter().enumerate() {
            let id = format!("{call_type}-{index}");
            let asked = client.clone().with_header("x-litellm-call-id", &id);
            let reply = asked
                .post(&format!("{begin}/{path}"), body)
                .await
                .expect_status(200);
            assert_eq!(reply.header("x-litellm-model-group"), body["model"].as_str());
            let sent = world.provider.requests().pop().unwrap();
            assert_eq!(sent.path, format!("/v1/{path}"));
            let mut wanted = body.clone();
            wanted["model"] = if path == "audio/speech" { "tts-1" } else { "gpt-x" }.into();
            assert_eq!(sent.json(), wanted);
            let row = logged(&client, &id).await;
            assert_eq!(
                (&row["call_type"], &row["model_group"]),
                (&json!(call_type), &body["model"]),
                "{row}"
            );
        }
    }
    for begin in ["/v1", "", "/openai/deployments/whisper"] {
        let id = format!("heard{begin}");
        let asked = client.clone().with_header("x-litellm-call-id", &id);
        let reply = send_form(
            &asked,
            &format!("{begin}/audio/transcriptions"),
            form(Some("whisper"), &[]),
        )
        .await;
        assert_eq!(reply.expect_status(200).json()["text"], "what was said");
        assert_eq!(world.provider.requests().pop().unwrap().path, TRANSCRIPTIONS);
        assert_eq!(logged(&client, &id).await["call_type"], "atranscription");
    }
}

#[tokio::test]
async fn documents_are_ordered_by_whoever_can_and_paid_as_they_count() {
    let cohere = ScriptedProvider::start_cohere("k", &["rerank-v3.5"]).await;
    let voyage = ScriptedProvider::start_voyage("k", &["rerank-2"]).await;
    let jina = ScriptedProvider::start("k", &["jina-reranker-v2-base-multilingual"]).await;
    let list = [
        entry("cohere", "cohere/rerank-v3.5", &cohere.root(), "k", ""),
        entry("voyage", "voyage/rerank-2", &voyage.url(), "k", ""),
        entry(
            "jina",
            "jina_ai/jina-reranker-v2-base-multilingual",
            &jina.url(),
            "k",
            "",
        ),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", list.concat())).await;
    let client = gateway.client();
    let ask = async |model: &str| {
        let body = json!({"model": model, "query": "q", "documents": ["a", "b"], "top_n": 1});
        client.post("/v2/rerank", &body).await.expect_status(200)
    };
    for (model, provider, path, cost) in [
        // One search at 2 thousandths of a dollar.
        ("cohere", &cohere, "/v2/rerank", "0.002"),
        // 30 tokens at 50 billionths.
        ("voyage", &voyage, "/v1/rerank", "0.0000015"),
        ("jina", &jina, "/v1/rerank", "0.0000015"),
    ] {
        let reply = ask(model).await;
        let results = reply.json()["results"].clone();
        assert_eq!(results, json!([{"index": 0, "relevance_score": 0.5}]), "{model}");
        assert_eq!(reply.header("x-litellm-response-cost"), Some(cost), "{model}");
        assert_eq!(provider.requests()[0].path, path, "{model}");
    }
    assert_eq!(voyage.requests()[0].json()["top_k"], 1);
    // Bytes pass as they are.
    let said = "{ \"results\" : [ {\"index\":0,\"relevance_score\":1.0e-2} ],\"meta\":{\"billed_units\":{\"search_units\":2}} }";
    cohere.next(Turn::Answer(200, said.to_owned()));
    let reply = ask("cohere").await;
    assert_eq!(
        (reply.text().as_str(), reply.header("x-litellm-response-cost")),
        (said, Some("0.004"))
    );
    // What the provider rejects is told in the envelope.
    let body = json!({"model": "cohere", "query": "q", "documents": []});
    let reply = client.post("/v1/rerank", &body).await.expect_status(400);
    assert_eq!(reply.json()["error"]["code"], "400");
    // Cohere is asked for chats at its compatible address.
    let chat = json!({"model": "cohere", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 3});
    client
        .post("/v1/chat/completions", &chat)
        .await
        .expect_status(200);
    let sent = cohere.requests().pop().unwrap();
    assert_eq!(sent.path, "/compatibility/v1/chat/completions");
    assert_eq!(sent.json()["max_tokens"], 3);
    let mut pieces = chat;
    pieces["stream"] = true.into();
    let reply = client
        .post("/v1/chat/completions", &pieces)
        .await
        .expect_status(200);
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
}

#[tokio::test]
async fn speech_comes_piece_by_piece_and_leaving_is_heard() {
    let world = world().await;
    let client = world.gateway.client();
    let asked = client.clone().with_header("x-litellm-call-id", "said");
    let every: Vec<u8> = (0..=255).collect();
    world.provider.next(Turn::Bytes("audio/wav", every.clone()));
    let reply = asked.post(SPEECH, &speech()).await.expect_status(200);
    assert_eq!(reply.body, every);
    assert_eq!(reply.header("content-type"), Some("audio/wav"));
    // 6 characters at 15 millionths.
    assert_eq!(reply.header("x-litellm-response-cost"), Some("0.00009"));
    assert_eq!(logged(&client, "said").await["spend"], json!(0.000_09));
    let (says, script) = mpsc::channel(4);
    world.provider.next(Turn::LiveOf("audio/mpeg", script));
    says.send("first".to_owned()).await.unwrap();
    let request = http::Request::post(SPEECH)
        .header("content-type", "application/json")
        .header("x-litellm-call-id", "left")
        .body(Bytes::from(speech().to_string()))
        .unwrap();
    let mut chunks = client.open(request).await.unwrap();
    let (_, piece) = chunks.next().await.unwrap().unwrap();
    assert_eq!(piece, "first");
    drop(chunks);
    let gone = tokio::time::timeout(Duration::from_secs(10), says.closed()).await;
    assert!(gone.is_ok(), "the provider does not hear that nobody waits");
    // What was asked for is paid.
    assert_eq!(logged(&client, "left").await["spend"], json!(0.000_09));
    let metrics = client.get("/metrics").await.text();
    let line = "trunkline_mcp_requests_total{kind=\"aspeech\",outcome=\"client_gone\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    // An end that is none is none for the client either.
    world
        .provider
        .next(Turn::BrokenOf("audio/mpeg", vec!["begun".to_owned()]));
    let request = http::Request::post(SPEECH)
        .header("content-type", "application/json")
        .body(Bytes::from(speech().to_string()))
        .unwrap();
    assert!(
        client.try_send(request).await.is_err(),
        "half a sound is no sound"
    );
    // Nobody's page is shown as one.
    world
        .provider
        .next(Turn::Bytes("text/html", b"<script>".to_vec()));
    let reply = client.post(SPEECH, &speech()).await.expect_status(200);
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    world.provider.next(Turn::Answer(
        400,
        json!({"error": {"message": "no such voice", "type": "t"}}).to_string(),
    ));
    let reply = client.post(SPEECH, &speech()).await.expect_status(400);
    assert!(reply.text().contains("no such voice"), "{}", reply.text());
}

#[tokio::test]
async fn forms_keep_every_byte_but_the_model() {
    let world = world().await;
    let client = world.gateway.client();
    let ask = async |model, more: &[(&str, &str)], id: &str| {
        let asked = client.clone().with_header("x-litellm-call-id", id);
        send_form(&asked, TRANSCRIPTIONS, form(model, more)).await
    };
    let more = [
        ("language", "de"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    ];
    let reply = ask(Some("whisper"), &more, "a").await.expect_status(200);
    let sent = world.provider.requests().pop().unwrap();
    assert_eq!(sent.body, form(Some("whisper-1"), &more));
    assert_eq!(
        sent.header("content-type"),
        Some("multipart/form-data; boundary=b0undary-x")
    );
    // 3 seconds at a ten thousandth of a dollar.
    assert_eq!(reply.header("x-litellm-response-cost"), Some("0.0003"));
    let reply = ask(Some("whisper"), &[("response_format", "verbose_json")], "b").await;
    assert_eq!(
        reply.expect_status(200).header("x-litellm-response-cost"),
        Some("0.00025")
    );
    // A text says nothing of what it took, and is no nothing.
    let reply = ask(Some("whisper"), &[("response_format", "text")], "c")
        .await
        .expect_status(200);
    assert_eq!(reply.text(), "what was said");
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(logged(&client, "c").await["spend"], Value::Null);
    let priced = ask(Some("mine"), &[("stream", "True")], "d")
        .await
        .expect_status(200);
    assert!(!priced.text().is_empty());
    let reply = ask(Some("whisper"), &[("stream", "true")], "e")
        .await
        .expect_status(200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(
        reply.text().ends_with("\n\n") && reply.text().contains("\"usage\""),
        "{}",
        reply.text()
    );
    let row = logged(&client, "e").await;
    assert_eq!(
        (&row["prompt_tokens"], &row["completion_tokens"]),
        (&json!(14), &json!(45)),
        "{row}"
    );
}

#[tokio::test]
async fn s23_a_form_that_could_be_read_in_two_ways_is_refused() {
    let world = world().await;
    let client = world.gateway.client();
    let before = world.provider.requests().len();
    for more in [
        &[("model", "groq")][..],
        &[("Model", "groq")],
        &[("api_base", "http://elsewhere")],
        &[("fallbacks", "[]")],
        &[("x\"; name=\"model", "groq")],
    ] {
        let reply = send_form(&client, TRANSCRIPTIONS, form(Some("whisper"), more)).await;
        let error = reply.expect_status(400).json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error", "{more:?}");
    }
    let none = send_form(&client, TRANSCRIPTIONS, form(None, &[]))
        .await
        .expect_status(400);
    assert_eq!(none.json()["error"]["param"], "model");
    let json = client
        .post(TRANSCRIPTIONS, &json!({"model": "whisper"}))
        .await
        .expect_status(400);
    assert!(json.text().contains("multipart/form-data"), "{}", json.text());
    assert_eq!(world.provider.requests().len(), before, "nothing of it was sent");
    let big = vec![0; 17 * 1024 * 1024];
    let request = http::Request::post(TRANSCRIPTIONS)
        .header("content-type", "multipart/form-data; boundary=b0undary-x")
        .body(Bytes::from(big))
        .unwrap();
    // The gateway may say so and close before it has read everything.
    if let Ok(reply) = client.try_send(request).await {
        reply.expect_status(413);
    }
}

#[tokio::test]
async fn who_may_not_is_refused_and_what_has_no_price_is_no_nothing() {
    let world = world().await;
    let own = world
        .key(json!({"models": ["vllm", "groq", "mine", "free"]}))
        .await;
    let reply = own.post(SPEECH, &speech()).await.expect_status(403);
    assert_eq!(reply.json()["error"]["type"], "key_model_access_denied");
    let reply = send_form(&own, TRANSCRIPTIONS, form(Some("whisper"), &[])).await;
    assert_eq!(
        reply.expect_status(403).json()["error"]["type"],
        "key_model_access_denied"
    );
    // Its provider does not have this.
    let search = |model: &str| json!({"model": model, "query": "q", "documents": ["a"]});
    let reply = own.post("/v1/rerank", &search("groq")).await.expect_status(400);
    assert!(
        reply.text().contains("does not serve this endpoint"),
        "{}",
        reply.text()
    );
    own.post("/v1/rerank", &search("nobody")).await.expect_status(403);
    let piecemeal = json!({"model": "mine", "prompt": "p", "stream": true});
    own.post("/v1/images/generations", &piecemeal)
        .await
        .expect_status(400);
    world
        .gateway
        .anonymous()
        .post("/v1/rerank", &search("vllm"))
        .await
        .expect_status(401);
    let routes = world
        .key(json!({"models": ["vllm"], "allowed_routes": ["/v1/chat/completions"]}))
        .await;
    routes
        .post("/v1/rerank", &search("vllm"))
        .await
        .expect_status(403);
    // Two pictures at 4 cents, 30 tokens at 2 millionths; what is free costs nothing, what is not known is not nothing.
    let picture = json!({"model": "mine", "prompt": "a cat", "n": 2});
    let harm = |model: &str| json!({"model": model, "input": "a"});
    for (path, body, cost) in [
        ("/v1/images/generations", &picture, Some("0.08")),
        ("/v1/rerank", &search("vllm"), Some("0.00006")),
        ("/v1/moderations", &harm("free"), Some("0")),
        ("/v1/moderations", &harm("mine"), None),
    ] {
        let reply = own.post(path, body).await.expect_status(200);
        assert_eq!(reply.header("x-litellm-response-cost"), cost, "{path}");
    }
    // Who may spend so much is let in where somebody can say what it costs.
    let limited = world
        .key(json!({"models": ["groq", "mine", "tts"], "max_budget": 1}))
        .await;
    let unpriced = json!({"model": "groq", "input": "a", "voice": "v"});
    let reply = limited.post(SPEECH, &unpriced).await.expect_status(422);
    assert_eq!(reply.json()["error"]["type"], "budget_exceeded");
    limited.post(SPEECH, &speech()).await.expect_status(200);
    let limited = world.key(json!({"models": ["tts"], "rpm_limit": 1})).await;
    limited.post(SPEECH, &speech()).await.expect_status(200);
    limited.post(SPEECH, &speech()).await.expect_status(429);
    let told = world.gateway.log();
    eventually("it is said once", Duration::from_secs(5), async || {
        told.contains("what a request cost is not known")
    })
    .await;
}

#[tokio::test]
async fn an_error_within_a_transcription_is_recorded_and_has_no_credential() {
    let world = world().await;
    let client = world.gateway.client();
    let words = format!("the key {} is over its quota", world.key.value());
    let error = json!({"type": "error", "error": {"message": words}});
    let delta = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"what\"}\n\n";
    let pieces = vec![delta.to_owned(), format!("data: {error}\n\n")];
    world.provider.next(Turn::Stream(pieces));
    let asked = client.clone().with_header("x-litellm-call-id", "within");
    let body = form(Some("mine"), &[("stream", "true")]);
    let reply = send_form(&asked, TRANSCRIPTIONS, body).await.expect_status(200);
    let text = reply.text();
    assert!(text.starts_with(delta), "{text}");
    assert!(text.contains("the key [redacted] is over its quota"), "{text}");
    let row = logged(&client, "within").await;
    assert_eq!(row["status"], "failure", "{row}");
    world
        .key
        .assert_absent(&[("the stream", &text), ("the record", &row.to_string())]);
}
