//! What an answer took and cost: in its headers, in its record, and in streams that nobody asked about it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline_testkit::{HttpClient, ScriptedProvider, TestGateway, Turn, eventually};

use crate::support::{World, chat, entry, raw};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

/// `mine` costs 3 and 7 millionths of a dollar a token, `translated` (of chat completions alone) one, `listed` what the table says, `unpriced` nobody knows what.
pub(crate) async fn priced(more: &str) -> World {
    let key = trunkline_testkit::Canary::key("provider");
    let provider = ScriptedProvider::start(key.value(), &["gpt-x", "gpt-4o"]).await;
    let prices = "      input_cost_per_token: 0.000003\n      output_cost_per_token: 7.0e-06\n      cache_read_input_token_cost: 1.0e-06\n";
    let own = entry("mine", "openai/gpt-x", &provider.url(), key.value(), prices);
    let listed = entry("listed", "openai/gpt-4o", &provider.url(), key.value(), "");
    let unpriced = entry("unpriced", "hosted_vllm/gpt-x", &provider.url(), key.value(), "");
    let each = "      input_cost_per_token: 1.0e-06\n      output_cost_per_token: 1.0e-06\n";
    let translated = entry(
        "translated",
        "hosted_vllm/gpt-x",
        &provider.url(),
        key.value(),
        each,
    );
    let gateway =
        TestGateway::start(&format!("model_list:\n{own}{listed}{unpriced}{translated}{more}")).await;
    World {
        provider,
        key,
        gateway,
    }
}

/// The newest record of a request, once it is written.
pub(crate) async fn logged(admin: &HttpClient, id: &str) -> Value {
    let mut row = Value::Null;
    eventually("the call is written down", Duration::from_secs(10), async || {
        let path = format!("/spend/logs?request_id={id}");
        let rows = admin.get(&path).await.expect_status(200).json();
        row = rows[0].clone();
        !row.is_null()
    })
    .await;
    row
}

#[tokio::test]
async fn an_answer_says_what_it_cost_to_the_billionth() {
    let world = priced("").await;
    let own = world
        .key(json!({"models": ["all-proxy-models"], "key_alias": "a", "max_budget": 1, "rpm_limit": 9}))
        .await;
    let usage = json!({
        "prompt_tokens": 1000, "completion_tokens": 3, "total_tokens": 1003,
        "prompt_tokens_details": {"cached_tokens": 400}, "completion_tokens_details": {"reasoning_tokens": 2},
    });
    let said = json!({"id": "x", "model": "gpt-x", "choices": [], "usage": usage}).to_string();
    world.provider.next(Turn::Answer(200, said));
    let asked = own
        .clone()
        .with_header("x-litellm-call-id", "first")
        .with_header("x-litellm-tags", "blue, green");
    let reply = asked.post(CHAT, &chat("mine")).await.expect_status(200);
    // 600 · 3 + 400 · 1 + 3 · 7 millionths.
    for (name, value) in [
        ("x-litellm-response-cost", "0.002221"),
        ("x-litellm-response-cost-input", "0.0022"),
        ("x-litellm-response-cost-output", "0.000021"),
        ("x-litellm-response-cost-cache-read", "0.0004"),
        ("x-litellm-key-spend", "0.002221"),
        ("x-litellm-key-max-budget", "1"),
        ("x-litellm-key-rpm-limit", "9"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    assert_eq!(
        reply.header("x-litellm-response-cost-reasoning"),
        None,
        "it has no price of its own"
    );
    let row = logged(&world.gateway.client(), "first").await;
    let wanted = [
        ("spend", json!(0.002_221)),
        ("prompt_tokens", json!(1000)),
        ("completion_tokens", json!(3)),
        ("total_tokens", json!(1003)),
        ("model", json!("gpt-x")),
        ("model_group", json!("mine")),
        ("custom_llm_provider", json!("openai")),
        ("call_type", json!("acompletion")),
        ("status", json!("success")),
        ("request_tags", json!(["blue", "green"])),
        ("api_base", json!(world.provider.url())),
        ("requester_ip_address", json!("127.0.0.1")),
    ];
    for (name, value) in wanted {
        assert_eq!(row[name], value, "{name}: {row}");
    }
    assert_eq!(row["metadata"]["user_api_key_alias"], "a");
    assert_eq!(row["metadata"]["usage_object"]["cache_read_input_tokens"], 400);
    assert_eq!(row["metadata"]["usage_object"]["reasoning_tokens"], 2);
    assert_eq!(row["metadata"]["usage_is_estimated"], false);
    // The table's price, and an embedding, which has no answer to pay for.
    let reply = own.post(CHAT, &chat("listed")).await.expect_status(200);
    // 5 · 2500 + 3 · 10000 billionths.
    assert_eq!(reply.header("x-litellm-response-cost"), Some("0.0000425"));
    let body = json!({"model": "mine", "input": "a"});
    let reply = own.post("/v1/embeddings", &body).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-response-cost"), Some("0.000006"));
    assert_eq!(reply.header("x-litellm-key-spend"), Some("0.0022695"));
}

#[tokio::test]
async fn what_has_no_price_has_no_cost_and_is_no_nothing() {
    let world = priced("").await;
    let own = world.key(json!({"models": ["unpriced"]})).await;
    for n in 0..2 {
        let asked = own.clone().with_header("x-litellm-call-id", &format!("call-{n}"));
        let reply = asked.post(CHAT, &chat("unpriced")).await.expect_status(200);
        assert_eq!(reply.header("x-litellm-response-cost"), None);
    }
    let row = logged(&world.gateway.client(), "call-1").await;
    assert_eq!(
        (&row["spend"], &row["prompt_tokens"]),
        (&Value::Null, &json!(5)),
        "{row}"
    );
    let told = world.gateway.log();
    assert_eq!(
        told.matches("what a request cost is not known").count(),
        1,
        "{told}"
    );
    // Who may spend so much and no more is not let in: nobody could say when it is spent.
    let limited = world
        .key(json!({"models": ["unpriced", "mine"], "max_budget": 5}))
        .await;
    let reply = limited.post(CHAT, &chat("unpriced")).await.expect_status(422);
    assert_eq!(reply.json()["error"]["type"], "budget_exceeded");
    assert!(
        reply.text().contains("nobody can say what the model costs"),
        "{}",
        reply.text()
    );
    limited.post(CHAT, &chat("mine")).await.expect_status(200);
    // A search costs more than its tokens.
    let mut body = chat("mine");
    body["web_search_options"] = json!({});
    limited.post(CHAT, &body).await.expect_status(422);
}

/// What a provider says to who asks for the usage.
fn events(end: &[&str]) -> Vec<String> {
    let chunk = |text: &str| {
        format!(
            "data: {{\"id\":\"a\",\"model\":\"gpt-x\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}],\"usage\":null}}\n\n"
        )
    };
    let mut texts = vec![chunk("one"), chunk("two")];
    texts.extend(end.iter().map(|own| (*own).to_owned()));
    texts
}

const USAGE: &str = "data: {\"id\":\"a\",\"model\":\"gpt-x\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2,\"total_tokens\":12}}\n\n";

#[tokio::test]
async fn a_stream_is_counted_and_looks_as_if_nobody_had_asked() {
    let world = priced("").await;
    let own = world.key(json!({"models": ["mine"]})).await;
    let sent = "{\"model\":\"mine\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"stream\":true}";
    world
        .provider
        .next(Turn::Stream(events(&[USAGE, "data: [DONE]\n\n"])));
    let asked = own.clone().with_header("x-litellm-call-id", "plain");
    let reply = raw(&asked, CHAT, sent).await.expect_status(200);
    let wanted = events(&["data: [DONE]\n\n"])
        .concat()
        .replace("gpt-x", "mine")
        .replace(",\"usage\":null", "");
    assert_eq!(reply.text(), wanted);
    assert_eq!(
        reply.header("x-litellm-response-cost"),
        None,
        "nobody knows it at the beginning"
    );
    let requests = world.provider.requests();
    assert_eq!(
        requests[0].json()["stream_options"],
        json!({"include_usage": true})
    );
    let row = logged(&world.gateway.client(), "plain").await;
    assert_eq!(
        (&row["spend"], &row["total_tokens"]),
        (&json!(0.000_044), &json!(12)),
        "{row}"
    );
    // Who asks for it gets every byte.
    let sent = sent.replace(
        "\"stream\":true",
        "\"stream\":true,\"stream_options\":{\"include_usage\":true}",
    );
    world
        .provider
        .next(Turn::Stream(events(&[USAGE, "data: [DONE]\n\n"])));
    let reply = raw(&own, CHAT, &sent).await.expect_status(200);
    assert_eq!(
        reply.text(),
        events(&[USAGE, "data: [DONE]\n\n"])
            .concat()
            .replace("gpt-x", "mine")
    );
    let requests = world.provider.requests();
    assert_eq!(
        std::str::from_utf8(&requests[1].body).unwrap(),
        sent.replace("\"mine\"", "\"gpt-x\"")
    );
}

#[tokio::test]
async fn a_stream_without_its_end_is_charged_by_a_guess_that_says_so() {
    let world = priced("").await;
    let own = world.key(json!({"models": ["mine"]})).await;
    let mut body = chat("mine");
    body["stream"] = true.into();
    world.provider.next(Turn::Broken(events(&[])));
    let asked = own.clone().with_header("x-litellm-call-id", "broken");
    asked.post(CHAT, &body).await.expect_status(200);
    let guessed = (body.to_string().len() as u64).div_ceil(4);
    let admin = world.gateway.client();
    let row = logged(&admin, "broken").await;
    assert_eq!(
        (&row["metadata"]["usage_is_estimated"], &row["status"]),
        (&json!(true), &json!("failure")),
        "{row}"
    );
    assert_eq!(
        (&row["prompt_tokens"], &row["completion_tokens"]),
        (&json!(guessed), &json!(2)),
        "{row}"
    );
    // The client that leaves pays for what it had.
    let (says, script) = mpsc::channel(4);
    world.provider.next(Turn::Live(script));
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .header("x-litellm-call-id", "left")
        .body(bytes::Bytes::from(body.to_string()))
        .unwrap();
    says.send(events(&[]).concat()).await.unwrap();
    let mut chunks = own.open(request).await.unwrap();
    chunks.next().await.unwrap().unwrap();
    drop(chunks);
    let row = logged(&admin, "left").await;
    assert_eq!(
        (
            &row["metadata"]["usage_is_estimated"],
            &row["metadata"]["outcome"]
        ),
        (&json!(true), &json!("client_gone")),
        "{row}"
    );
    assert!(row["spend"].as_f64().is_some_and(|spend| spend > 0.0), "{row}");
}

#[tokio::test]
async fn who_leaves_before_the_answer_pays_for_what_was_asked() {
    let world = priced("").await;
    let own = world.key(json!({"models": ["mine"]})).await;
    let admin = world.gateway.client();
    let request = |id: &str, body: &Value| {
        let request = http::Request::post(CHAT)
            .header("content-type", "application/json")
            .header("x-litellm-call-id", id);
        request.body(bytes::Bytes::from(body.to_string())).unwrap()
    };
    let body = chat("mine");
    let asked = (body.to_string().len() as u64).div_ceil(4);
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let (says, half) = mpsc::channel(4);
    says.send("{\"id\":\"x\",".to_owned()).await.unwrap();
    for (id, body, turn) in [
        ("silent", &body, Turn::Silence),
        ("streamed", &streamed, Turn::Silence),
        ("half", &body, Turn::LiveJson(half)),
    ] {
        world.provider.next(turn);
        let hasty = own.clone().with_limit(Duration::from_millis(700));
        assert!(hasty.try_send(request(id, body)).await.is_err());
        let row = logged(&admin, id).await;
        let guessed = (body.to_string().len() as u64).div_ceil(4);
        assert_eq!(
            (
                &row["metadata"]["outcome"],
                &row["metadata"]["usage_is_estimated"],
                &row["prompt_tokens"],
                &row["completion_tokens"],
            ),
            (&json!("client_gone"), &json!(true), &json!(guessed), &json!(0)),
            "{row}"
        );
        assert!(row["spend"].as_f64().is_some_and(|spend| spend > 0.0), "{row}");
    }
    // So does who has no patience.
    world.provider.next(Turn::Silence);
    let hasty = own.clone().with_header("x-litellm-timeout", "0.3");
    let hasty = hasty.with_header("x-litellm-call-id", "late");
    hasty.post(CHAT, &body).await.expect_status(408);
    let row = logged(&admin, "late").await;
    assert_eq!(row["prompt_tokens"], json!(asked), "{row}");
    assert!(row["spend"].as_f64().is_some_and(|spend| spend > 0.0), "{row}");
    // What the provider says that it did not do costs nothing.
    world.provider.next(Turn::Answer(400, "{}".to_owned()));
    let own = own.with_header("x-litellm-call-id", "refused");
    own.post(CHAT, &body).await.expect_status(400);
    let row = logged(&admin, "refused").await;
    assert_eq!(row["spend"], json!(0.0), "{row}");
}

#[tokio::test]
async fn what_has_a_price_in_part_is_unknown_and_charged_all_the_same() {
    let world = priced("").await;
    let made = world
        .gateway
        .client()
        .post("/key/generate", &json!({"models": ["mine"], "max_budget": 0.01}))
        .await
        .expect_status(200)
        .json();
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let own = world.gateway.anonymous().with_header("authorization", &bearer);
    let said = |usage: Value| json!({"id": "x", "model": "gpt-x", "choices": [], "usage": usage}).to_string();
    // 1,000 tokens of sound for 3 millionths each, as if they were text.
    let usage = json!({
        "prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000,
        "prompt_tokens_details": {"audio_tokens": 1000},
    });
    world.provider.next(Turn::Answer(200, said(usage.clone())));
    let asked = own.clone().with_header("x-litellm-call-id", "sound");
    let reply = asked.post(CHAT, &chat("mine")).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-response-cost"), None);
    let row = logged(&world.gateway.client(), "sound").await;
    assert_eq!(row["spend"], Value::Null, "{row}");
    let info = async || {
        let path = format!("/key/info?key={}", made["token"].as_str().unwrap());
        let info = world.gateway.client().get(&path).await.expect_status(200).json();
        info["info"]["spend"].as_f64().unwrap()
    };
    assert!((info().await - 0.003).abs() < 1e-9, "{}", info().await);
    for _ in 0..3 {
        world.provider.next(Turn::Answer(200, said(usage.clone())));
        own.post(CHAT, &chat("mine")).await.expect_status(200);
    }
    let sent = world.provider.requests().len();
    let reply = own.post(CHAT, &chat("mine")).await.expect_status(422);
    assert_eq!(
        reply.json()["error"]["type"],
        "budget_exceeded",
        "{}",
        reply.text()
    );
    assert_eq!(world.provider.requests().len(), sent);
    // It is there after it was written, too.
    eventually("the charge is stored", Duration::from_secs(10), async || {
        (info().await - 0.012).abs() < 1e-9
    })
    .await;
}

#[tokio::test]
async fn a_response_costs_what_it_took() {
    let world = priced("").await;
    let own = world.key(json!({"models": ["mine"], "max_budget": 1})).await;
    let admin = world.gateway.client();
    let usage = json!({
        "input_tokens": 1000, "input_tokens_details": {"cached_tokens": 400},
        "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 1003,
    });
    let said = json!({"id": "resp_9", "object": "response", "model": "gpt-x", "output": [], "usage": usage});
    let body = json!({"model": "mine", "input": "Hi"});
    world.provider.next(Turn::Answer(200, said.to_string()));
    let asked = own
        .clone()
        .with_header("x-litellm-call-id", "whole")
        .with_header("x-litellm-tags", "blue");
    let reply = asked.post(RESPONSES, &body).await.expect_status(200);
    // 600 · 3 + 400 · 1 + 3 · 7 millionths, as of a chat.
    assert_eq!(reply.header("x-litellm-response-cost"), Some("0.002221"));
    assert_eq!(reply.header("x-litellm-key-spend"), Some("0.002221"));
    let row = logged(&admin, "whole").await;
    for (name, value) in [
        ("spend", json!(0.002_221)),
        ("prompt_tokens", json!(1000)),
        ("completion_tokens", json!(3)),
        ("call_type", json!("aresponses")),
        ("model_group", json!("mine")),
        ("request_tags", json!(["blue"])),
    ] {
        assert_eq!(row[name], value, "{name}: {row}");
    }
    assert_eq!(row["metadata"]["usage_object"]["cache_read_input_tokens"], 400);
    assert_eq!(row["metadata"]["usage_object"]["reasoning_tokens"], 2);
    assert_eq!(row["metadata"]["usage_is_estimated"], false);
    let today: String = row["startTime"].as_str().unwrap().chars().take(10).collect();
    let path = format!("/tag/daily/activity?tags=blue&start_date={today}&end_date={today}");
    let days = admin.get(&path).await.expect_status(200).json();
    let endpoints = &days["results"][0]["breakdown"]["endpoints"];
    assert!(endpoints["/responses"].is_object(), "{days}");
    // In pieces: what the last event says.
    let event = |kind: &str, usage: &Value| {
        let response = json!({"id": "resp_9", "model": "gpt-x", "usage": usage});
        format!(
            "event: {kind}\ndata: {}\n\n",
            json!({"type": kind, "response": response})
        )
    };
    world.provider.next(Turn::Stream(vec![
        event("response.created", &Value::Null),
        event("response.completed", &usage),
    ]));
    let stream = json!({"model": "mine", "input": "Hi", "stream": true});
    let asked = own.clone().with_header("x-litellm-call-id", "pieces");
    asked.post(RESPONSES, &stream).await.expect_status(200);
    let row = logged(&admin, "pieces").await;
    assert_eq!(
        (&row["spend"], &row["metadata"]["usage_is_estimated"]),
        (&json!(0.002_221), &json!(false)),
        "{row}"
    );
    // Without its end it is guessed.
    world
        .provider
        .next(Turn::Broken(vec![event("response.created", &Value::Null)]));
    let asked = own.clone().with_header("x-litellm-call-id", "broken");
    asked.post(RESPONSES, &stream).await.expect_status(200);
    let row = logged(&admin, "broken").await;
    assert_eq!(row["metadata"]["usage_is_estimated"], true, "{row}");
    assert!(row["spend"].as_f64().is_some_and(|spend| spend > 0.0), "{row}");
}

#[tokio::test]
async fn what_is_asked_about_a_response_costs_nothing_and_tools_of_the_providers_nobody_knows_what() {
    let world = priced("").await;
    let own = world
        .key(json!({"models": ["mine", "translated"], "max_budget": 1}))
        .await;
    let admin = world.gateway.client();
    let body = json!({"model": "mine", "input": "Hi"});
    // What is kept tells of its tokens again, and nobody takes them again.
    let made = own.post(RESPONSES, &body).await.expect_status(200);
    let spent = made.header("x-litellm-key-spend").unwrap().to_owned();
    let path = format!("{RESPONSES}/{}", made.json()["id"].as_str().unwrap());
    let asked = own.clone().with_header("x-litellm-call-id", "again");
    let again = asked.get(&path).await.expect_status(200);
    assert_eq!(again.json()["usage"]["input_tokens"], 5);
    assert_eq!(again.header("x-litellm-response-cost"), None);
    assert_eq!(again.header("x-litellm-key-spend"), Some(spent.as_str()));
    let row = logged(&admin, "again").await;
    assert_eq!(row["call_type"], "aget_responses", "{row}");
    assert!(row["spend"].as_f64().is_none_or(|spend| spend == 0.0), "{row}");
    own.delete(&path).await.expect_status(200);
    // What tokens do not pay for, or what nobody sees the end of.
    for more in [
        json!({"background": true}),
        json!({"tools": [{"type": "web_search"}]}),
    ] {
        let mut body = body.clone();
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let reply = own.post(RESPONSES, &body).await.expect_status(422);
        assert_eq!(reply.json()["error"]["type"], "budget_exceeded");
        // Where it is translated it is left out, and pays for nothing.
        body["model"] = "translated".into();
        body["drop_params"] = true.into();
        let reply = own.post(RESPONSES, &body).await.expect_status(200);
        assert_eq!(reply.header("x-litellm-response-cost"), Some("0.000008"));
    }
}

#[tokio::test]
async fn prices_are_shown_and_wrong_ones_stop_the_start() {
    let world = priced("").await;
    let own = world.key(json!({"models": ["all-proxy-models"]})).await;
    let info = own.get("/model/info").await.expect_status(200).json();
    let of = |name: &str| {
        let rows = info["data"].as_array().unwrap();
        rows.iter().find(|row| row["model_name"] == name).unwrap()["model_info"].clone()
    };
    assert_eq!(of("mine")["input_cost_per_token"], 0.000_003);
    assert_eq!(of("unpriced")["input_cost_per_token"], Value::Null);
    let listed = of("listed");
    assert_eq!(
        (
            &listed["mode"],
            &listed["max_input_tokens"],
            &listed["supports_vision"]
        ),
        (&json!("chat"), &json!(128_000), &json!(true))
    );
    assert_eq!(listed["input_cost_per_token"], 0.000_002_5);
    let groups = own.get("/model_group/info").await.expect_status(200).json();
    let names: Vec<&str> = groups["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|own| own["model_group"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["listed", "mine", "translated", "unpriced"]);
    assert_eq!(groups["data"][0]["output_cost_per_token"], 0.000_01);
    let one = world.key(json!({"models": ["mine"]})).await;
    let groups = one
        .get("/model_group/info?model_group=listed")
        .await
        .expect_status(200)
        .json();
    assert_eq!(groups["data"], json!([]), "what it may not use it is not told");
    for (wrong, words) in [("-1", "must be dollars"), ("cheap", "must be dollars")] {
        let own = entry(
            "m",
            "openai/gpt-x",
            "http://127.0.0.1:9/v1",
            "k",
            &format!("      input_cost_per_token: {wrong}\n"),
        );
        let builder = TestGateway::builder().config(&format!("model_list:\n{own}"));
        let refused = builder.try_start().await.err().unwrap();
        assert!(format!("{refused:?}").contains(words), "{wrong}: {refused:?}");
    }
}
