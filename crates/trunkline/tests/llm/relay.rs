//! What goes through is what was sent, but for the name of the model.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use trunkline_testkit::{ScriptedProvider, TestGateway, Turn, eventually};

use crate::support::{World, chat, entry, raw};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn requests_and_answers_keep_every_byte() {
    let world = World::start().await;
    let sent = "{\"temperature\" : 1.0,\n \"model\":\"mine\" ,\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\u{e9} 1e5\"}],\"seed\":12345678901234567890}";
    let said = "{ \"id\":\"x\", \"model\" : \"gpt-x-2024\",\"choices\":[{\"n\":1.50}],\"extra\":{\"a\":[ ]} ,\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}";
    world.provider.next(Turn::Answer(200, said.to_owned()));
    let reply = raw(&world.gateway.client(), CHAT, sent).await.expect_status(200);
    assert_eq!(reply.text(), said.replace("\"gpt-x-2024\"", "\"mine\""));
    let requests = world.provider.requests();
    let asked = std::str::from_utf8(&requests[0].body).unwrap();
    assert_eq!(asked, sent.replace("\"mine\"", "\"gpt-x\""));
    // What LiteLLM's clients look for.
    for (name, value) in [
        ("x-litellm-model-group", "mine"),
        ("x-litellm-model-api-base", world.provider.url().as_str()),
        ("x-litellm-attempted-retries", "0"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    assert!(reply.header("x-litellm-call-id").is_some_and(|id| !id.is_empty()));
    assert_eq!(reply.header("x-litellm-model-id").map(str::len), Some(32));
    // Tokens are counted beside the answer.
    let metrics = world.gateway.client().get("/metrics").await.text();
    for line in [
        "trunkline_llm_tokens_total{model=\"mine\",kind=\"input\"} 3",
        "trunkline_llm_tokens_total{model=\"mine\",kind=\"output\"} 4",
        "trunkline_mcp_requests_total{kind=\"acompletion\",outcome=\"ok\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn demand_37_a_stream_split_anywhere_is_the_same() {
    const SAID: &str = ": alive\n\ndata: {\"id\":\"a\", \"model\":\"gpt-x\",\"choices\":[{\"delta\":{\"content\":\"\u{e9}\\u00e9\"}}]}\r\n\r\ndata: {\"model\":\"gpt-x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";
    let world = World::start().await;
    let client = world.gateway.client();
    let mut body = chat("mine");
    body["stream"] = true.into();
    // Who does not ask for the usage gets the same without it.
    let mut asks = body.clone();
    asks["stream_options"] = json!({"include_usage": true});
    let wanted = SAID.replace("\"gpt-x\"", "\"mine\"");
    let begin = wanted.find("data: {\"model\":\"mine\",\"choices\":[]").unwrap();
    let end = wanted.find("data: [DONE]").unwrap();
    let without = format!("{}{}", &wanted[..begin], &wanted[end..]);
    let cuts: Vec<usize> = (0..=SAID.len()).filter(|at| SAID.is_char_boundary(*at)).collect();
    for at in cuts {
        let (first, second) = SAID.split_at(at);
        let pieces = [first, second].map(ToOwned::to_owned).to_vec();
        world.provider.next(Turn::Stream(pieces.clone()));
        let reply = client.post(CHAT, &body).await.expect_status(200);
        assert_eq!(reply.text(), without, "split at {at}");
        world.provider.next(Turn::Stream(pieces));
        let reply = client.post(CHAT, &asks).await.expect_status(200);
        assert_eq!(reply.text(), wanted, "split at {at}");
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    }
    let single: Vec<String> = SAID.chars().map(String::from).collect();
    world.provider.next(Turn::Stream(single));
    assert_eq!(client.post(CHAT, &asks).await.text(), wanted);
}

#[tokio::test]
async fn pieces_come_at_once_and_leaving_is_heard() {
    let world = World::start().await;
    let (says, script) = mpsc::channel(4);
    world.provider.next(Turn::Live(script));
    let mut body = chat("mine");
    body["stream"] = true.into();
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_string()))
        .unwrap();
    let first = "data: {\"model\":\"gpt-x\",\"n\":1}\n\n";
    says.send(first.to_owned()).await.unwrap();
    let mut chunks = world.gateway.client().open(request).await.unwrap();
    let (_, piece) = chunks.next().await.unwrap().unwrap();
    assert_eq!(piece, first.replace("gpt-x", "mine"));
    // The provider has not ended: nothing was kept back.
    says.send(first.to_owned()).await.unwrap();
    let (_, piece) = chunks.next().await.unwrap().unwrap();
    assert_eq!(piece, first.replace("gpt-x", "mine"));
    drop(chunks);
    let gone = tokio::time::timeout(Duration::from_secs(10), says.closed()).await;
    assert!(gone.is_ok(), "the provider does not hear that nobody waits");
    let client = world.gateway.client();
    eventually("the record says so", Duration::from_secs(10), async || {
        let metrics = client.get("/metrics").await.text();
        metrics.contains("trunkline_mcp_requests_total{kind=\"acompletion\",outcome=\"client_gone\"} 1")
    })
    .await;
}

#[tokio::test]
async fn leaving_before_the_answer_is_heard_too() {
    let world = World::start().await;
    world.provider.next(Turn::Silence);
    let client = world.gateway.client();
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(chat("mine").to_string()))
        .unwrap();
    let waiting = tokio::spawn(async move { client.try_send(request).await });
    eventually("the provider is asked", Duration::from_secs(10), async || {
        world.provider.requests().len() == 1
    })
    .await;
    waiting.abort();
    let client = world.gateway.client();
    eventually("the record says so", Duration::from_secs(10), async || {
        let metrics = client.get("/metrics").await.text();
        metrics.contains("trunkline_mcp_requests_total{kind=\"acompletion\",outcome=\"client_gone\"} 1")
    })
    .await;
}

#[tokio::test]
async fn every_path_of_litellms_leads_there() {
    let world = World::start().await;
    let client = world.gateway.client();
    let text = json!({"model": "mine", "prompt": "once"});
    let embed = json!({"model": "mine", "input": "text"});
    for (path, body) in [
        ("chat/completions", chat("mine")),
        ("completions", text),
        ("embeddings", embed),
    ] {
        for begin in ["/v1", "", "/engines/mine", "/openai/deployments/mine"] {
            let reply = client
                .post(&format!("{begin}/{path}"), &body)
                .await
                .expect_status(200);
            assert_eq!(reply.json()["model"], "mine");
            assert_eq!(
                world.provider.requests().last().unwrap().path,
                format!("/v1/{path}")
            );
        }
    }
    // The path counts more than the body.
    let reply = client
        .post("/openai/deployments/other/chat/completions", &chat("nobody"))
        .await;
    assert_eq!(reply.expect_status(200).json()["model"], "other");
    for path in ["/v1/models", "/models"] {
        let models = client.get(path).await.expect_status(200).json();
        assert_eq!(models["object"], "list");
        let names: Vec<_> = models["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|own| own["id"].clone())
            .collect();
        assert_eq!(names, ["mine", "other"]);
    }
    let one = client.get("/v1/models/mine").await.expect_status(200).json();
    assert_eq!(one["id"], "mine");
    client.get("/v1/models/nobody").await.expect_status(404);
    for path in ["/v1/model/info", "/model/info"] {
        let info = client.get(path).await.expect_status(200).json();
        assert_eq!(info["data"][0]["litellm_params"]["model"], "openai/gpt-x");
        assert_eq!(info["data"][0]["model_info"]["db_model"], false);
    }
}

#[tokio::test]
async fn s14_the_providers_key_is_nowhere_and_the_gateways_goes_nowhere() {
    let mut world = World::start().await;
    let client = world.gateway.client().with_header("x-secret", "of-the-client");
    let mut seen = Vec::new();
    for path in ["/v1/models", "/v1/model/info", "/metrics", "/v1/mcp/server"] {
        seen.push(client.get(path).await.everything());
    }
    seen.push(
        client
            .post(CHAT, &chat("mine"))
            .await
            .expect_status(200)
            .everything(),
    );
    // A provider that repeats what it was sent.
    let echo =
        json!({"error": {"message": format!("bad key {}", world.key.value()), "type": world.key.value()}});
    world.provider.next(Turn::Answer(400, echo.to_string()));
    seen.push(
        client
            .post(CHAT, &chat("mine"))
            .await
            .expect_status(400)
            .everything(),
    );
    world
        .provider
        .next(Turn::Stream(vec![format!("data: {echo}\n\n")]));
    client.post(CHAT, &chat("mine")).await.expect_status(200);
    for request in world.provider.requests() {
        let headers = format!("{:?}", request.headers);
        assert!(!headers.contains(world.gateway.master_key()), "{headers}");
        assert!(!headers.contains("of-the-client"), "{headers}");
        assert_eq!(
            request.header("authorization"),
            Some(format!("Bearer {}", world.key.value()).as_str())
        );
    }
    seen.push(
        world
            .gateway
            .stop(trunkline_testkit::Signal::Term)
            .await
            .code
            .map_or_else(String::new, |code| code.to_string()),
    );
    seen.push(world.gateway.log());
    for haystack in &seen {
        world.key.assert_absent(&[("what people see", haystack)]);
    }
}

#[tokio::test]
async fn a_file_that_is_read_again_brings_other_models() {
    let provider = ScriptedProvider::start("k", &["gpt-x"]).await;
    let config = |name| {
        format!(
            "model_list:\n{}",
            entry(name, "openai/gpt-x", &provider.url(), "k", "")
        )
    };
    let gateway = TestGateway::start(&config("before")).await;
    let client = gateway.client();
    client.post(CHAT, &chat("before")).await.expect_status(200);
    std::fs::write(gateway.config_path(), config("after")).unwrap();
    eventually("the other model is there", Duration::from_secs(10), async || {
        client.post(CHAT, &chat("after")).await.status == 200
    })
    .await;
    client.post(CHAT, &chat("before")).await.expect_status(400);
}

#[tokio::test]
async fn b79_clients_that_leave_large_streams_hold_nobody_up() {
    let world = World::start().await;
    let client = world.gateway.client();
    let text = "x".repeat(64 * 1024);
    let piece = format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
    );
    let mut body = chat("mine");
    body["stream"] = true.into();
    let mut streams = Vec::new();
    for _ in 0..30 {
        // 5 MiB each.
        world.provider.next(Turn::Stream(vec![piece.clone(); 80]));
        let request = http::Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(body.to_string().into())
            .unwrap();
        let mut stream = client.open(request).await.unwrap();
        assert!(stream.next().await.is_some());
        streams.push(stream);
    }
    let leaving = tokio::spawn(async move {
        for stream in streams {
            drop(stream);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let mut slowest = std::time::Duration::ZERO;
    while !leaving.is_finished() {
        let began = std::time::Instant::now();
        client.get("/health/readiness").await.expect_status(200);
        slowest = slowest.max(began.elapsed());
    }
    leaving.await.unwrap();
    // Counting 5 MiB takes longer; a machine that does other things may take as long as this.
    assert!(slowest < std::time::Duration::from_millis(500), "{slowest:?}");
    client
        .post("/v1/chat/completions", &chat("mine"))
        .await
        .expect_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn demand_38_a_large_body_does_not_move_the_others() {
    let world = World::with("general_settings:\n  mcp_max_body_bytes: 33554432\n").await;
    let client = world.gateway.client();
    let text = "a word ".repeat(10 * 1024 * 1024 / 7);
    let large = format!(r#"{{"model":"mine","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let sender = {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..6 {
                raw(&client, CHAT, &large).await.expect_status(200);
            }
        })
    };
    let mut times = Vec::new();
    while !sender.is_finished() {
        let began = std::time::Instant::now();
        client.get("/v1/models").await.expect_status(200);
        times.push(began.elapsed());
    }
    sender.await.unwrap();
    times.sort_unstable();
    assert!(
        times.len() >= 100,
        "{} requests beside six of 10 MiB",
        times.len()
    );
    // A machine that does other things may take as long as this.
    let late = times[times.len() * 99 / 100];
    assert!(late < std::time::Duration::from_millis(500), "{late:?}");
}
