//! Other names that are asked when all of one fails, and under which names models are found.

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, Reply, ScriptedProvider, TestGateway, Turn};

use crate::support::{chat, entry};

const CHAT: &str = "/v1/chat/completions";
const FAILS: &str = r#"{"error":{"message":"down","type":"server_error"}}"#;

/// Providers `a`, `b` and `c` with a model each, of the same name.
struct Three {
    providers: Vec<ScriptedProvider>,
    gateway: TestGateway,
}

impl Three {
    async fn start(more: &str) -> Self {
        let mut providers = Vec::new();
        let mut entries = String::from("model_list:\n");
        for name in ["a", "b", "c"] {
            let provider = ScriptedProvider::start(name, &["gpt-x"]).await;
            entries += &entry(name, "openai/gpt-x", &provider.url(), name, "");
            providers.push(provider);
        }
        let gateway = TestGateway::start(&(entries + more)).await;
        Self { providers, gateway }
    }

    fn counts(&self) -> Vec<usize> {
        self.providers.iter().map(|own| own.requests().len()).collect()
    }

    fn fail(&self, index: usize) {
        self.providers[index].next(Turn::Answer(500, FAILS.to_owned()));
    }

    async fn key(&self, body: Value) -> HttpClient {
        let made = self.gateway.client().post("/key/generate", &body).await;
        let key = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
        let client = self.gateway.anonymous();
        client.with_header("authorization", &format!("Bearer {key}"))
    }
}

fn fallbacks(reply: &Reply) -> &str {
    reply.header("x-litellm-attempted-fallbacks").unwrap_or("none")
}

#[tokio::test]
async fn another_name_is_asked_when_one_fails_and_the_answer_says_which() {
    let three = Three::start("router_settings:\n  fallbacks: [{a: [b, c]}]\n").await;
    let client = three.gateway.client();
    let reply = client.post(CHAT, &chat("a")).await.expect_status(200);
    assert_eq!((fallbacks(&reply), three.counts()), ("0", vec![1, 0, 0]));
    three.fail(0);
    let named = client.clone().with_header("x-litellm-call-id", "fell");
    let reply = named.post(CHAT, &chat("a")).await.expect_status(200);
    assert_eq!((fallbacks(&reply), three.counts()), ("1", vec![2, 1, 0]));
    assert_eq!(reply.header("x-litellm-model-group"), Some("b"));
    assert_eq!(reply.json()["model"], "b", "the client sees who answered");
    let row = crate::cost::logged(&client, "fell").await;
    assert_eq!(row["model_group"], "b", "{row}");
    three.fail(0);
    three.fail(1);
    let reply = client.post(CHAT, &chat("a")).await.expect_status(200);
    assert_eq!((fallbacks(&reply), three.counts()), ("2", vec![3, 2, 1]));
    // Of a stream, too, before it begins.
    three.fail(0);
    let mut body = chat("a");
    body["stream"] = true.into();
    let reply = client.post(CHAT, &body).await.expect_status(200);
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    assert!(reply.text().contains(r#""model":"b""#), "{}", reply.text());
    // All of them: what the first said.
    for index in 0..3 {
        three.fail(index);
    }
    let reply = client.post(CHAT, &chat("a")).await.expect_status(500);
    assert_eq!(reply.json()["error"]["message"], "openai: down");
    assert_eq!(fallbacks(&reply), "2");
    assert_eq!(reply.header("x-litellm-model-group"), Some("a"));
}

#[tokio::test]
async fn s23_a_name_that_the_caller_may_not_use_is_never_asked() {
    let three =
        Three::start("router_settings:\n  fallbacks: [{a: [b, c]}]\n  default_fallbacks: [b]\n").await;
    let two = three.key(json!({"models": ["a", "c"]})).await;
    three.fail(0);
    let reply = two.post(CHAT, &chat("a")).await.expect_status(200);
    assert_eq!((fallbacks(&reply), three.counts()), ("1", vec![1, 0, 1]));
    let one = three.key(json!({"models": ["a"]})).await;
    three.fail(0);
    let reply = one.post(CHAT, &chat("a")).await.expect_status(500);
    assert_eq!((fallbacks(&reply), three.counts()), ("0", vec![2, 0, 1]));
    // What the client names itself is no way around.
    three.fail(0);
    let mut body = chat("a");
    body["fallbacks"] = json!(["b", "c"]);
    one.post(CHAT, &body).await.expect_status(500);
    assert_eq!(three.counts(), vec![3, 0, 1]);
}

#[tokio::test]
async fn a_name_that_nobody_could_pay_for_is_never_asked() {
    let priced = "      input_cost_per_token: 0.000001\n      output_cost_per_token: 0.000001\n";
    let a = ScriptedProvider::start("a", &["gpt-x"]).await;
    let b = ScriptedProvider::start("b", &["gpt-x"]).await;
    let c = ScriptedProvider::start("c", &["gpt-x"]).await;
    let entries = [
        entry("a", "openai/gpt-x", &a.url(), "a", priced),
        entry("b", "openai/gpt-x", &b.url(), "b", ""),
        entry("c", "openai/gpt-x", &c.url(), "c", priced),
    ];
    let more = "router_settings:\n  fallbacks: [{a: [b, c]}]\n";
    let gateway = TestGateway::start(&format!("model_list:\n{}{more}", entries.concat())).await;
    let body = json!({"models": ["a", "b", "c"], "max_budget": 1.0});
    let made = gateway.client().post("/key/generate", &body).await;
    let key = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
    let client = gateway
        .anonymous()
        .with_header("authorization", &format!("Bearer {key}"));
    a.next(Turn::Answer(500, FAILS.to_owned()));
    let reply = client.post(CHAT, &chat("a")).await.expect_status(200);
    assert_eq!(reply.json()["model"], "c", "what b costs nobody knows");
    assert_eq!(b.requests().len(), 0);
}

#[tokio::test]
async fn what_the_request_says_counts_more_and_goes_to_no_provider() {
    let three = Three::start("litellm_settings:\n  fallbacks: [{a: [b]}]\n").await;
    let client = three.gateway.client();
    let ask = |more: Value| {
        let mut body = chat("a");
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    three.fail(0);
    let reply = client
        .post(CHAT, &ask(json!({"fallbacks": ["c"]})))
        .await
        .expect_status(200);
    assert_eq!(
        (reply.json()["model"].clone(), three.counts()),
        (json!("c"), vec![1, 0, 1])
    );
    assert!(three.providers[2].requests()[0].json().get("fallbacks").is_none());
    three.fail(0);
    client
        .post(CHAT, &ask(json!({"disable_fallbacks": true})))
        .await
        .expect_status(500);
    three.fail(0);
    client
        .post(CHAT, &ask(json!({"fallbacks": []})))
        .await
        .expect_status(500);
    assert_eq!(three.counts(), vec![3, 0, 1]);
    for (body, param) in [
        (
            json!({"fallbacks": [{"model": "c", "api_base": "http://evil"}]}),
            "fallbacks",
        ),
        (json!({"fallbacks": "c"}), "fallbacks"),
        (
            json!({"context_window_fallbacks": [{"a": ["c"]}]}),
            "context_window_fallbacks",
        ),
        (json!({"num_retries": "many"}), "num_retries"),
        (json!({"Fallbacks": ["c"]}), "fallbacks"),
    ] {
        let reply = client.post(CHAT, &ask(body)).await.expect_status(400);
        assert_eq!(reply.json()["error"]["param"], param);
    }
    assert_eq!(three.counts(), vec![3, 0, 1]);
}

#[tokio::test]
async fn names_that_follow_each_other_are_asked_once_and_no_more_than_the_file_says() {
    let more = "router_settings:\n  fallbacks: [{a: [b, a]}, {b: [a, c, b]}, {c: [a, b]}]\n";
    let three = Three::start(more).await;
    let client = three.gateway.client();
    for index in 0..3 {
        three.fail(index);
    }
    let reply = client.post(CHAT, &chat("a")).await.expect_status(500);
    assert_eq!((fallbacks(&reply), three.counts()), ("2", vec![1, 1, 1]));
    let three = Three::start(&format!("{more}  max_fallbacks: 1\n")).await;
    three.fail(0);
    three.fail(1);
    let client = three.gateway.client();
    client.post(CHAT, &chat("a")).await.expect_status(500);
    assert_eq!(three.counts(), vec![1, 1, 0]);
}

#[tokio::test]
async fn what_is_too_long_and_what_is_not_talked_about_have_names_of_their_own() {
    let key = "k";
    let openai = ScriptedProvider::start(key, &["gpt-x"]).await;
    let anthropic = ScriptedProvider::start_anthropic(key, &["claude-x"]).await;
    let gemini = ScriptedProvider::start_gemini(key, &["gemini-x"]).await;
    let long = ScriptedProvider::start(key, &["gpt-long"]).await;
    let open = ScriptedProvider::start(key, &["gpt-open"]).await;
    let entries = [
        entry("openai", "openai/gpt-x", &openai.url(), key, ""),
        entry("anthropic", "anthropic/claude-x", &anthropic.url(), key, ""),
        entry("gemini", "gemini/gemini-x", &gemini.url(), key, ""),
        entry("long", "openai/gpt-long", &long.url(), key, ""),
        entry("open", "openai/gpt-open", &open.url(), key, ""),
    ];
    let more = "router_settings:\n  context_window_fallbacks: [{'*': [long]}]\n  content_policy_fallbacks: [{openai: [open]}, {anthropic: [open]}, {gemini: [open]}]\n";
    let gateway = TestGateway::start(&format!("model_list:\n{}{more}", entries.concat())).await;
    let client = gateway.client();
    let too_long = [
        (
            &openai,
            "openai",
            r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
        ),
        (
            &anthropic,
            "anthropic",
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"}}"#,
        ),
        (
            &gemini,
            "gemini",
            r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}"#,
        ),
    ];
    for (provider, name, words) in too_long {
        provider.next(Turn::Answer(400, words.to_owned()));
        let reply = client.post(CHAT, &chat(name)).await.expect_status(200);
        assert_eq!(reply.json()["model"], "long", "{name}");
    }
    let not_said = [
        (
            &openai,
            "openai",
            r#"{"error":{"message":"m","code":"content_policy_violation"}}"#,
        ),
        (
            &anthropic,
            "anthropic",
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
        ),
        (
            &gemini,
            "gemini",
            r#"{"error":{"code":400,"message":"The prompt has prohibited content","status":"INVALID_ARGUMENT"}}"#,
        ),
    ];
    for (provider, name, words) in not_said {
        provider.next(Turn::Answer(400, words.to_owned()));
        let reply = client.post(CHAT, &chat(name)).await.expect_status(200);
        assert_eq!(reply.json()["model"], "open", "{name}");
    }
    // The same over Anthropic's dialect, and nothing else goes there.
    openai.next(Turn::Answer(400, too_long[0].2.to_owned()));
    let message =
        json!({"model": "openai", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let reply = client.post("/v1/messages", &message).await.expect_status(200);
    assert_eq!(reply.json()["model"], "long");
    openai.next(Turn::Answer(
        400,
        r#"{"error":{"message":"no such tool"}}"#.to_owned(),
    ));
    client.post(CHAT, &chat("openai")).await.expect_status(400);
    assert_eq!((long.requests().len(), open.requests().len()), (4, 3));
}

#[tokio::test]
async fn what_may_have_been_done_is_not_asked_of_another_name() {
    let three = Three::start("router_settings:\n  fallbacks: [{a: [b]}]\n  timeout: 0.5\n").await;
    let client = three.gateway.client();
    three.providers[0].next(Turn::Silence);
    client.post(CHAT, &chat("a")).await.expect_status(408);
    // Nor does another one go on with an answer that broke.
    three.providers[0].next(Turn::Broken(vec!["data: {\"choices\":[]}\n\n".to_owned()]));
    let mut body = chat("a");
    body["stream"] = true.into();
    let reply = client.post(CHAT, &body).await.expect_status(200);
    assert!(!reply.text().contains("[DONE]"), "{}", reply.text());
    assert_eq!(three.counts(), vec![2, 0, 0]);
}

#[tokio::test]
async fn a_response_of_a_fallback_is_gone_on_from_where_it_is() {
    let three = Three::start("router_settings:\n  fallbacks: [{a: [b]}]\n").await;
    let client = three.key(json!({"models": ["a", "b"]})).await;
    three.fail(0);
    let body = json!({"model": "a", "input": "Hi"});
    let reply = client
        .post("/v1/responses", &body)
        .await
        .expect_status(200)
        .json();
    assert_eq!(reply["model"], "b");
    let next = json!({"model": "a", "input": "More", "previous_response_id": reply["id"]});
    let reply = client
        .post("/v1/responses", &next)
        .await
        .expect_status(200)
        .json();
    assert_eq!(reply["model"], "b");
    assert_eq!(three.counts(), vec![1, 2, 0]);
}

#[tokio::test]
async fn an_alias_is_a_name_of_its_own() {
    let more = "router_settings:\n  model_group_alias: {other: a, secret: {model: b, hidden: true}}\n  fallbacks: [{other: [c]}]\n";
    let three = Three::start(more).await;
    let client = three.gateway.client();
    let reply = client.post(CHAT, &chat("other")).await.expect_status(200);
    assert_eq!(
        (reply.json()["model"].clone(), three.counts()),
        (json!("other"), vec![1, 0, 0])
    );
    let reply = client.post(CHAT, &chat("secret")).await.expect_status(200);
    assert_eq!(
        (reply.json()["model"].clone(), three.counts()),
        (json!("secret"), vec![1, 1, 0])
    );
    three.fail(0);
    let reply = client.post(CHAT, &chat("other")).await.expect_status(200);
    assert_eq!(reply.json()["model"], "c");
    assert_eq!(listed(&client, "/v1/models").await, ["a", "b", "c", "other"]);
    // Who may use it is asked by the name that is used.
    let by_alias = three.key(json!({"models": ["other"]})).await;
    by_alias.post(CHAT, &chat("other")).await.expect_status(200);
    by_alias.post(CHAT, &chat("a")).await.expect_status(403);
    assert_eq!(listed(&by_alias, "/v1/models").await, ["other"]);
    let by_name = three.key(json!({"models": ["a"]})).await;
    by_name.post(CHAT, &chat("other")).await.expect_status(403);
}

async fn listed(client: &HttpClient, path: &str) -> Vec<String> {
    let list = client.get(path).await.expect_status(200).json();
    let names = list["data"].as_array().unwrap().iter();
    names.map(|own| own["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_star_stands_for_names_and_the_one_that_says_most_counts() {
    let any = ScriptedProvider::start("any", &["gpt-x", "own/gpt-x"]).await;
    let own = ScriptedProvider::start("own", &["gpt-x", "ft-4"]).await;
    let entries = [
        entry("exact", "openai/gpt-x", &own.url(), "own", ""),
        entry("'openai/*'", "'openai/*'", &own.url(), "own", ""),
        entry("'openai/gpt-*'", "'openai/ft-*'", &own.url(), "own", ""),
        entry("'*'", "'hosted_vllm/*'", &any.url(), "any", ""),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", entries.concat())).await;
    let client = gateway.client();
    for (name, provider, model) in [
        ("exact", &own, "gpt-x"),
        ("openai/gpt-4", &own, "ft-4"),
        ("openai/x", &own, "x"),
        ("own/gpt-x", &any, "own/gpt-x"),
    ] {
        let reply = client.post(CHAT, &chat(name)).await;
        assert_eq!(
            provider.requests().last().unwrap().json()["model"],
            model,
            "{name}"
        );
        if reply.status.is_success() {
            assert_eq!(reply.json()["model"], name);
        }
    }
    assert_eq!(listed(&client, "/v1/models").await, ["exact"]);
    assert_eq!(
        listed(&client, "/v1/models?return_wildcard_routes=true").await,
        ["*", "exact", "openai/*", "openai/gpt-*"]
    );
    client.get("/v1/models/openai/gpt-4").await.expect_status(200);
    let made = client
        .post("/key/generate", &json!({"models": ["openai/*"]}))
        .await;
    let key = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
    let some = gateway
        .anonymous()
        .with_header("authorization", &format!("Bearer {key}"));
    some.post(CHAT, &chat("openai/gpt-4")).await.expect_status(200);
    let before = any.requests().len();
    for name in ["gpt-x", "own/gpt-x", "openai", "OpenAI/gpt-4"] {
        some.post(CHAT, &chat(name)).await.expect_status(403);
        some.get(&format!("/v1/models/{name}")).await.expect_status(404);
    }
    assert_eq!(any.requests().len(), before);
    // A name is no pattern.
    client.post(CHAT, &chat("openai/*")).await.expect_status(400);
}
