//! Limits of tokens and of single models (ADR 0044): what may be taken in a minute, of whom, and what it takes to be refused.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline_testkit::{
    Canary, HttpClient, Replicas, Reply, ScriptedProvider, TestGateway, Turn, eventually,
};

use crate::cost::{logged, priced};
use crate::support::{World, chat, entry};

const CHAT: &str = "/v1/chat/completions";

/// An answer that took so many tokens, most of them written.
fn took(tokens: u64) -> Turn {
    let usage = json!({"prompt_tokens": 1, "completion_tokens": tokens - 1, "total_tokens": tokens});
    let message = json!({"role": "assistant", "content": "done"});
    let choices = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
    let body =
        json!({"id": "x", "object": "chat.completion", "model": "gpt-x", "choices": choices, "usage": usage});
    Turn::Answer(200, body.to_string())
}

/// A chat that may write so much.
fn bounded(model: &str, most: u64) -> Value {
    let mut body = chat(model);
    body["max_tokens"] = most.into();
    body
}

async fn post(world: &World, path: &str, body: Value) {
    let admin = world.gateway.client();
    admin.post(path, &body).await.expect_status(200);
}

/// What a refused request is told.
fn refusal(reply: Reply) -> String {
    let reply = reply.expect_status(429);
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let error = &reply.json()["error"];
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("throttling_error"), &json!("429")),
        "{error}"
    );
    error["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tokens_of_a_minute_are_what_models_took_and_no_more() {
    let world = World::start().await;
    let own = world.key(json!({"models": ["mine"], "tpm_limit": 500})).await;
    // Each may take some 390 and takes 8: five of them leave room for a sixth.
    for _ in 0..5 {
        let reply = own.post(CHAT, &bounded("mine", 380)).await.expect_status(200);
        assert_eq!(reply.header("x-litellm-key-tpm-limit"), Some("500"));
    }
    world.provider.next(took(430));
    own.post(CHAT, &bounded("mine", 380)).await.expect_status(200);
    let asked = world.provider.requests().len();
    // 470 are gone.
    let said = refusal(own.post(CHAT, &bounded("mine", 380)).await);
    assert!(
        said.starts_with("Rate limit exceeded: tpm_limit of this key is 500 tokens a minute; try again in "),
        "{said}"
    );
    let message = own
        .post("/v1/messages", &bounded("mine", 380))
        .await
        .expect_status(429)
        .json();
    assert_eq!(message["error"]["type"], "rate_limit_error", "{message}");
    assert_eq!(world.provider.requests().len(), asked, "nothing of it was sent");
    // Other keys, and what takes no tokens, go on.
    let other = world.key(json!({"models": ["mine"], "tpm_limit": 500})).await;
    other.post(CHAT, &bounded("mine", 380)).await.expect_status(200);
    own.get("/v1/models").await.expect_status(200);
}

#[tokio::test]
async fn what_may_be_taken_is_held_while_a_request_is_under_way() {
    let world = World::start().await;
    let own = world.key(json!({"models": ["mine"], "tpm_limit": 1000})).await;
    let (answer, live) = mpsc::channel(4);
    world.provider.next(Turn::LiveJson(live));
    let first = tokio::spawn({
        let own = own.clone();
        async move { own.post(CHAT, &bounded("mine", 900)).await }
    });
    eventually(
        "the first one is under way",
        Duration::from_secs(10),
        async || world.provider.requests().len() == 1,
    )
    .await;
    let reply = own.post(CHAT, &bounded("mine", 900)).await;
    assert_eq!(
        reply.header("retry-after"),
        Some("1"),
        "it comes back when the first one is done"
    );
    refusal(reply);
    own.post(CHAT, &bounded("mine", 10)).await.expect_status(200);
    let Turn::Answer(_, text) = took(20) else {
        unreachable!()
    };
    answer.send(text).await.unwrap();
    drop(answer);
    first.await.unwrap().expect_status(200);
    own.post(CHAT, &bounded("mine", 900)).await.expect_status(200);
}

#[tokio::test]
async fn whoever_asks_for_more_than_the_limit_waits_until_nothing_is_used() {
    let world = World::start().await;
    let own = world.key(json!({"models": ["mine"], "tpm_limit": 100})).await;
    own.post(CHAT, &bounded("mine", 100_000)).await.expect_status(200);
    refusal(own.post(CHAT, &bounded("mine", 100_000)).await);
    let nothing = world.key(json!({"models": ["mine"], "tpm_limit": 0})).await;
    refusal(nothing.post(CHAT, &chat("mine")).await);
}

#[tokio::test]
async fn streams_count_what_they_took_also_when_the_client_leaves() {
    let world = World::start().await;
    let own = world.key(json!({"models": ["mine"], "tpm_limit": 2_000})).await;
    let (answer, live) = mpsc::channel(4);
    world.provider.next(Turn::Live(live));
    let mut body = bounded("mine", 10);
    body["stream"] = true.into();
    let piece = json!({"id": "x", "choices": [{"index": 0, "delta": {"content": "word ".repeat(2_000)}}]});
    answer.send(format!("data: {piece}\n\n")).await.unwrap();
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_string()))
        .unwrap();
    let mut stream = own.open(request).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    // 10,000 bytes are about 2,500 tokens, which is more than there is.
    eventually(
        "it is known what the stream took",
        Duration::from_secs(10),
        async || own.post(CHAT, &bounded("mine", 10)).await.status == 429,
    )
    .await;
}

#[tokio::test]
async fn teams_users_and_budgets_limit_tokens_of_all_their_keys() {
    let world = World::start().await;
    post(
        &world,
        "/team/new",
        json!({"team_id": "t", "models": ["mine"], "tpm_limit": 100}),
    )
    .await;
    post(
        &world,
        "/user/new",
        json!({"user_id": "u", "auto_create_key": false, "tpm_limit": 100}),
    )
    .await;
    post(&world, "/budget/new", json!({"budget_id": "b", "tpm_limit": 100})).await;
    post(
        &world,
        "/organization/new",
        json!({"organization_id": "o", "organization_alias": "o", "budget_id": "b"}),
    )
    .await;
    post(
        &world,
        "/team/new",
        json!({"team_id": "of", "organization_id": "o", "models": ["mine"]}),
    )
    .await;
    post(&world, "/customer/new", json!({"user_id": "e", "budget_id": "b"})).await;
    let models = json!(["mine"]);
    for (body, end_user, whose) in [
        (json!({"team_id": "t"}), None, "this team"),
        (json!({"user_id": "u", "models": models}), None, "this user"),
        (json!({"team_id": "of"}), None, "the budget of this organization"),
        (
            json!({"models": models}),
            Some("e"),
            "the budget of this end user",
        ),
        (
            json!({"budget_id": "b", "models": models}),
            None,
            "the budget of this key",
        ),
    ] {
        let client = |key: HttpClient| match end_user {
            Some(id) => key.with_header("x-litellm-end-user-id", id),
            None => key,
        };
        let first = client(world.key(body.clone()).await);
        let again = if whose.ends_with("key") {
            first.clone()
        } else {
            client(world.key(body).await)
        };
        world.provider.next(took(99));
        first.post(CHAT, &bounded("mine", 5)).await.expect_status(200);
        let said = refusal(again.post(CHAT, &bounded("mine", 5)).await);
        assert!(
            said.contains(&format!("tpm_limit of {whose} is 100 tokens a minute")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn single_models_have_limits_of_their_own() {
    let world = World::start().await;
    let limits = json!({
        "models": ["mine", "other"], "model_rpm_limit": {"mine": 2, "absent": 0}, "model_tpm_limit": {"other": 100},
    });
    let own = world.key(limits).await;
    for _ in 0..2 {
        own.post(CHAT, &chat("mine")).await.expect_status(200);
    }
    let said = refusal(own.post(CHAT, &chat("mine")).await);
    assert!(
        said.contains("model_rpm_limit of this key for the model \"mine\" is 2 a minute"),
        "{said}"
    );
    world.provider.next(took(200));
    own.post(CHAT, &bounded("other", 5)).await.expect_status(200);
    let said = refusal(own.post(CHAT, &bounded("other", 5)).await);
    assert!(
        said.contains("model_tpm_limit of this key for the model \"other\" is 100 tokens a minute"),
        "{said}"
    );
    // Of a team's keys together.
    let team = json!({"team_id": "t", "models": ["mine", "other"], "model_rpm_limit": {"mine": 1}, "model_tpm_limit": {"other": 50}});
    post(&world, "/team/new", team).await;
    let keys = [
        world.key(json!({"team_id": "t"})).await,
        world.key(json!({"team_id": "t"})).await,
    ];
    keys[0].post(CHAT, &chat("mine")).await.expect_status(200);
    assert!(refusal(keys[1].post(CHAT, &chat("mine")).await).contains("model_rpm_limit of this team"));
    world.provider.next(took(50));
    keys[1].post(CHAT, &bounded("other", 5)).await.expect_status(200);
    assert!(refusal(keys[0].post(CHAT, &bounded("other", 5)).await).contains("model_tpm_limit of this team"));
}

#[tokio::test]
async fn all_replicas_count_tokens_together() {
    let key = Canary::key("provider");
    let provider = ScriptedProvider::start(key.value(), &["gpt-x"]).await;
    let own = entry("mine", "openai/gpt-x", &provider.url(), key.value(), "");
    let builder = TestGateway::builder().config(&format!("model_list:\n{own}"));
    let Some(replicas) = Replicas::start(builder, 3).await else {
        return;
    };
    let made = replicas.gateways[0]
        .client()
        .post("/key/generate", &json!({"models": ["mine"], "tpm_limit": 480}))
        .await
        .expect_status(200)
        .json();
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let clients: Vec<HttpClient> = replicas
        .gateways
        .iter()
        .map(|gateway| gateway.anonymous().with_header("authorization", &bearer))
        .collect();
    for client in &clients {
        eventually("the replica knows the key", Duration::from_secs(20), async || {
            client.get("/v1/models").await.status == 200
        })
        .await;
    }
    // Each may take some 20 tokens and takes 8.
    let asked = (0..90).map(|number| {
        let client = &clients[number % 3];
        async move { client.post(CHAT, &bounded("mine", 10)).await.status }
    });
    let statuses = join_all(asked).await;
    assert!(
        statuses.iter().all(|status| *status == 200 || *status == 429),
        "{statuses:?}"
    );
    let done = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(provider.requests().len(), done);
    assert!(
        done >= 10 && done * 8 <= 480,
        "{done} of 8 tokens each are within 480"
    );
    // What the ones under way did not take is there for others, on every replica, until all of it is used.
    let mut used = done;
    eventually("the rest is used", Duration::from_secs(20), async || {
        for client in &clients {
            used += usize::from(client.post(CHAT, &bounded("mine", 10)).await.status == 200);
        }
        assert!(used * 8 <= 480, "{used}");
        used * 8 > 480 - 80
    })
    .await;
}

/// What somebody is told who has spent it.
fn spent(reply: Reply) -> String {
    let error = reply.expect_status(422).json()["error"].clone();
    assert_eq!(error["type"], "budget_exceeded", "{error}");
    error["message"].as_str().unwrap().to_owned()
}

/// Of the usual answer of `mine`: 5 · 3 + 3 · 7 millionths of a dollar.
const ONE: f64 = 0.000_036;

fn near(value: &Value, wanted: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - wanted).abs() < 1e-12)
}

#[tokio::test]
async fn what_may_be_spent_on_a_model_is_held_for_that_model() {
    let mut world = priced("").await;
    let budgets =
        json!({"mine": {"budget_limit": 0.000_05, "time_period": "1mo"}, "unpriced": {"max_budget": 1}});
    let own = world
        .key(json!({"models": ["all-proxy-models"], "model_max_budget": budgets}))
        .await;
    let call = own.clone().with_header("x-litellm-call-id", "second");
    own.post(CHAT, &chat("mine")).await.expect_status(200);
    call.post(CHAT, &chat("mine")).await.expect_status(200);
    let said = spent(own.post(CHAT, &chat("mine")).await);
    assert_eq!(
        said,
        "Budget has been exceeded! Current cost: 0.000072, Max budget: 0.00005 (model_max_budget of this key for the model \"mine\")"
    );
    // Of what nobody knows the price of nobody could say when it is spent.
    assert!(spent(own.post(CHAT, &chat("unpriced")).await).contains("nobody can say what the model costs"));
    own.post(CHAT, &chat("translated")).await.expect_status(200);
    let info = own.get("/key/info").await.expect_status(200).json()["info"].clone();
    assert!(near(&info["model_spend"]["mine"], 2.0 * ONE), "{info}");
    let usage = &info["model_max_budget_usage"]["mine"];
    assert!(
        near(&usage["current_spend"], 2.0 * ONE) && near(&usage["max_budget"], 0.000_05),
        "{usage}"
    );
    assert_eq!(
        info["model_max_budget"],
        json!({"mine": {"max_budget": 0.000_05, "budget_duration": "1mo"}, "unpriced": {"max_budget": 1.0, "budget_duration": null}})
    );
    // It is there after a restart, and goes with another secret.
    logged(&world.gateway.client(), "second").await;
    world.gateway.restart().await;
    let admin = world.gateway.client();
    let listed = admin
        .get("/key/list?return_full_object=true")
        .await
        .expect_status(200)
        .json();
    let token = listed["keys"][0]["token"].as_str().unwrap().to_owned();
    let made = admin
        .post("/key/regenerate", &json!({"key": token}))
        .await
        .expect_status(200)
        .json();
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let own = world.gateway.anonymous().with_header("authorization", &bearer);
    spent(own.post(CHAT, &chat("mine")).await);
    let more = json!({"key": made["token"], "model_max_budget": {"mine": {"max_budget": 1}}});
    admin.post("/key/update", &more).await.expect_status(200);
    own.post(CHAT, &chat("mine")).await.expect_status(200);
    let wrong = json!({"model_max_budget": {"mine": {"max_budget": 1, "tpm_limit": 5}}});
    let refused = admin
        .post("/key/generate", &wrong)
        .await
        .expect_status(422)
        .json();
    assert_eq!(
        refused["detail"][0]["loc"],
        json!(["body", "model_max_budget", "mine"]),
        "{refused}"
    );
}

#[tokio::test]
async fn teams_users_and_budgets_hold_what_may_be_spent_on_a_model_for_all_their_keys() {
    let world = priced("").await;
    let budgets = json!({"mine": {"max_budget": 0.000_05, "budget_duration": "1mo"}});
    post(
        &world,
        "/team/new",
        json!({"team_id": "t", "models": ["mine"], "model_max_budget": budgets}),
    )
    .await;
    post(
        &world,
        "/user/new",
        json!({"user_id": "u", "auto_create_key": false, "model_max_budget": budgets}),
    )
    .await;
    post(
        &world,
        "/budget/new",
        json!({"budget_id": "b", "model_max_budget": budgets}),
    )
    .await;
    let models = json!(["mine"]);
    for (body, whose) in [
        (json!({"team_id": "t"}), "team"),
        (json!({"user_id": "u", "models": models}), "user"),
        (json!({"budget_id": "b", "models": models}), "key"),
    ] {
        let first = world.key(body.clone()).await;
        let again = if whose == "key" {
            first.clone()
        } else {
            world.key(body).await
        };
        first.post(CHAT, &chat("mine")).await.expect_status(200);
        again.post(CHAT, &chat("mine")).await.expect_status(200);
        let said = spent(first.post(CHAT, &chat("mine")).await);
        assert!(
            said.contains(&format!("of this {whose} for the model \"mine\"")),
            "{said}"
        );
    }
    // What a budget says of a model and nobody can read may be a limit.
    post(
        &world,
        "/budget/new",
        json!({"budget_id": "odd", "model_max_budget": {"mine": {"rpm_limit": 1}}}),
    )
    .await;
    let odd = world
        .key(json!({"budget_id": "odd", "models": ["mine", "translated"]}))
        .await;
    spent(odd.post(CHAT, &chat("mine")).await);
    odd.post(CHAT, &chat("translated")).await.expect_status(200);
}

#[tokio::test]
async fn a_fallback_is_not_asked_for_which_nothing_is_left_to_spend() {
    let world = priced("router_settings:\n  fallbacks: [{translated: [mine]}]\n").await;
    let own = world
        .key(
            json!({"models": ["mine", "translated"], "model_max_budget": {"mine": {"max_budget": 0.000_03}}}),
        )
        .await;
    let fails = || {
        world
            .provider
            .next(Turn::Answer(500, r#"{"error":{"message":"down"}}"#.to_owned()));
    };
    fails();
    let reply = own.post(CHAT, &chat("translated")).await.expect_status(200);
    assert_eq!(
        reply.header("x-litellm-model-group"),
        Some("mine"),
        "it pays for the one that answered"
    );
    fails();
    own.post(CHAT, &chat("translated")).await.expect_status(500);
    assert_eq!(world.provider.requests().len(), 3);
}

#[tokio::test]
async fn a_fallback_is_held_to_the_limits_of_its_own_model() {
    let world = World::start().await;
    // Whoever asks names what follows: one that cannot answer, and one of which it may have little.
    let mut body = bounded("mine", 5);
    body["fallbacks"] = json!(["other"]);
    body["num_retries"] = 0.into();
    let down = || Turn::Answer(400, r#"{"error":{"message":"no"}}"#.to_owned());
    let often = world
        .key(json!({"models": ["mine", "other"], "model_rpm_limit": {"other": 1}}))
        .await;
    world.provider.next(down());
    let reply = often.post(CHAT, &body).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-model-group"), Some("other"));
    world.provider.next(down());
    often.post(CHAT, &body).await.expect_status(400);
    assert!(refusal(often.post(CHAT, &chat("other")).await).contains("model_rpm_limit"));
    // What the one took that answered is of its model, and what was held for the one before is there again.
    let much = world
        .key(json!({"models": ["mine", "other"], "model_tpm_limit": {"mine": 1_000, "other": 100}}))
        .await;
    let mut large = body.clone();
    large["max_tokens"] = 900.into();
    world.provider.next(down());
    world.provider.next(took(100));
    much.post(CHAT, &large).await.expect_status(200);
    world.provider.next(down());
    much.post(CHAT, &large).await.expect_status(400);
    assert!(refusal(much.post(CHAT, &bounded("other", 5)).await).contains("model_tpm_limit"));
    let sent = world.provider.requests().len();
    much.post(CHAT, &bounded("mine", 900)).await.expect_status(200);
    assert_eq!(world.provider.requests().len(), sent + 1);
}

#[tokio::test]
async fn what_is_not_paid_by_tokens_counts_what_it_reads() {
    let world = World::start().await;
    let own = world.key(json!({"models": ["mine"], "tpm_limit": 150})).await;
    let speech = json!({"model": "mine", "input": "word ".repeat(80), "voice": "v"});
    own.post("/v1/audio/speech", &speech).await.expect_status(200);
    assert!(refusal(own.post("/v1/audio/speech", &speech).await).contains("tpm_limit"));
}
