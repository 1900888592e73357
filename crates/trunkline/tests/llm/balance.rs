//! Which of several deployments is asked, how often and how soon again, and what they may get.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline_testkit::{Chunks, HttpClient, ScriptedProvider, TestGateway, Turn};

use crate::support::{chat, entry};

const CHAT: &str = "/v1/chat/completions";

fn with(more: &Value) -> Value {
    let mut body = chat("m");
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// One model of one deployment.
async fn one(params: &str, more: &str) -> (ScriptedProvider, TestGateway) {
    let provider = ScriptedProvider::start("a", &["gpt-x"]).await;
    let own = entry("m", "openai/gpt-x", &provider.url(), "a", params);
    let gateway = TestGateway::start(&format!("model_list:\n{own}{more}")).await;
    (provider, gateway)
}

/// One of two deployments.
async fn two(params: [&str; 2], more: &str) -> (ScriptedProvider, ScriptedProvider, TestGateway) {
    let first = ScriptedProvider::start("a", &["gpt-x"]).await;
    let second = ScriptedProvider::start("b", &["gpt-x"]).await;
    let entries = [
        entry("m", "openai/gpt-x", &first.url(), "a", params[0]),
        entry("m", "openai/gpt-x", &second.url(), "b", params[1]),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}{more}", entries.concat())).await;
    (first, second, gateway)
}

/// A stream that began.
async fn open(client: &HttpClient) -> Chunks {
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .body(with(&json!({"stream": true})).to_string().into())
        .unwrap();
    client.open(request).await.unwrap()
}

fn fail(provider: &ScriptedProvider, status: u16) {
    provider.next(Turn::Answer(status, "{}".to_owned()));
}

#[tokio::test]
async fn who_failed_is_asked_again_after_a_wait_if_somebody_says_how_often() {
    let (provider, gateway) = one("", "").await;
    let client = gateway.client();
    fail(&provider, 500);
    let began = Instant::now();
    let reply = client
        .post(CHAT, &with(&json!({"num_retries": 1})))
        .await
        .expect_status(200);
    assert!(
        began.elapsed() >= Duration::from_millis(370),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(reply.header("x-litellm-attempted-retries"), Some("1"));
    assert_eq!(reply.header("x-litellm-max-retries"), Some("1"));
    assert!(provider.requests()[1].json().get("num_retries").is_none());
    // The header, the deployment, the file; and nobody.
    fail(&provider, 500);
    let header = client.clone().with_header("x-litellm-num-retries", "1");
    header.post(CHAT, &chat("m")).await.expect_status(200);
    fail(&provider, 500);
    client.post(CHAT, &chat("m")).await.expect_status(500);
    let wrong = client.clone().with_header("x-litellm-num-retries", "many");
    wrong.post(CHAT, &chat("m")).await.expect_status(400);
    for (params, more) in [
        ("      num_retries: 1\n", ""),
        ("", "router_settings:\n  num_retries: 1\n"),
    ] {
        let (provider, gateway) = one(params, more).await;
        fail(&provider, 503);
        gateway.client().post(CHAT, &chat("m")).await.expect_status(200);
        assert_eq!(provider.requests().len(), 2);
        fail(&provider, 400);
        gateway.client().post(CHAT, &chat("m")).await.expect_status(400);
        assert_eq!(provider.requests().len(), 3, "what is the client's fault is not");
    }
}

#[tokio::test]
async fn a_wait_is_as_long_as_the_provider_wants_and_never_longer_than_the_request() {
    let (provider, gateway) = one("", "router_settings:\n  num_retries: 2\n").await;
    let client = gateway.client();
    let wants = |seconds: &str| {
        provider.next(Turn::AnswerWith(
            429,
            "{}".to_owned(),
            ("retry-after", seconds.to_owned()),
        ));
    };
    wants("1");
    let began = Instant::now();
    client.post(CHAT, &chat("m")).await.expect_status(200);
    assert!(began.elapsed() >= Duration::from_secs(1));
    wants("30");
    let began = Instant::now();
    let hasty = client.clone().with_header("x-litellm-timeout", "3");
    let reply = hasty.post(CHAT, &chat("m")).await.expect_status(429);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(reply.header("retry-after"), Some("30"));
    wants("30");
    client
        .post(CHAT, &with(&json!({"timeout": 3})))
        .await
        .expect_status(429);
    assert_eq!(provider.requests().len(), 4);
}

#[tokio::test]
async fn policies_say_which_failure_is_worth_how_much() {
    let more = "router_settings:\n  retry_policy: {RateLimitErrorRetries: 0, BadRequestErrorRetries: 1}\n  model_group_retry_policy: {m: {InternalServerErrorRetries: 1}}\n";
    let (provider, gateway) = one("", more).await;
    let client = gateway.client();
    fail(&provider, 429);
    client
        .post(CHAT, &with(&json!({"num_retries": 3})))
        .await
        .expect_status(429);
    assert_eq!(provider.requests().len(), 1);
    for status in [400, 500] {
        fail(&provider, status);
        client.post(CHAT, &chat("m")).await.expect_status(200);
    }
    assert_eq!(provider.requests().len(), 5);
}

#[tokio::test]
async fn demand_36_a_provider_that_is_down_is_not_stormed_by_retries() {
    let (provider, gateway) = one(
        "",
        "router_settings:\n  num_retries: 5\n  disable_cooldowns: true\n",
    )
    .await;
    (0..500).for_each(|_| fail(&provider, 500));
    let client = gateway.client().with_header("x-litellm-timeout", "4");
    let body = chat("m");
    let all = join_all((0..50).map(|_| client.post(CHAT, &body))).await;
    assert!(all.iter().all(|own| own.status == 500));
    // A fifth of the requests and ten, in each of two stretches of ten seconds at most.
    let asked = provider.requests().len();
    assert!((51..=50 + 20 + 20).contains(&asked), "{asked}");
}

#[tokio::test]
async fn demand_36_from_the_second_request_on_who_is_down_costs_nobody_anything() {
    let (first, second, gateway) = two(["      order: 1\n", "      order: 2\n"], "").await;
    (0..50).for_each(|_| fail(&first, 500));
    let client = gateway.client();
    for _ in 0..20 {
        client.post(CHAT, &chat("m")).await.expect_status(200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (1, 20));
}

#[tokio::test]
async fn demand_36_an_only_deployment_that_is_down_is_tried_by_one_at_a_time() {
    let (provider, gateway) = one("", "").await;
    let client = gateway.client();
    for _ in 0..10 {
        fail(&provider, 500);
        client.post(CHAT, &chat("m")).await.expect_status(500);
    }
    let (sender, receiver) = mpsc::channel(1);
    provider.next(Turn::Live(receiver));
    let trial = {
        let client = client.clone();
        tokio::spawn(async move { client.post(CHAT, &chat("m")).await })
    };
    while provider.requests().len() < 11 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(sender);
    trial.await.unwrap();
    // It answered: everybody may ask again.
    let body = chat("m");
    let all = join_all((0..5).map(|_| client.post(CHAT, &body))).await;
    assert!(all.iter().all(|own| own.status == 200));
    // And while it is tried, nobody else does.
    for _ in 0..10 {
        fail(&provider, 500);
        client.post(CHAT, &chat("m")).await.expect_status(500);
    }
    provider.next(Turn::Silence);
    let before = provider.requests().len();
    let hasty = client.clone().with_header("x-litellm-timeout", "2");
    let trial = tokio::spawn(async move { hasty.post(CHAT, &chat("m")).await });
    while provider.requests().len() == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reply = client.post(CHAT, &chat("m")).await.expect_status(429);
    assert!(
        reply.text().contains("No deployments available"),
        "{}",
        reply.text()
    );
    assert!(reply.header("retry-after").is_some());
    assert_eq!(provider.requests().len(), before + 1);
    trial.await.unwrap().expect_status(408);
    client.post(CHAT, &chat("m")).await.expect_status(200);
}

#[tokio::test]
async fn failures_may_be_allowed_before_anybody_rests() {
    let more = "router_settings:\n  num_retries: 0\n  allowed_fails: 1\n  allowed_fails_policy: {AuthenticationErrorAllowedFails: 100}\n";
    let (first, second, gateway) = two(["      order: 1\n", "      order: 2\n"], more).await;
    let client = gateway.client();
    fail(&first, 401);
    client.post(CHAT, &chat("m")).await.expect_status(401);
    fail(&first, 401);
    client.post(CHAT, &chat("m")).await.expect_status(401);
    fail(&first, 500);
    client.post(CHAT, &chat("m")).await.expect_status(500);
    client.post(CHAT, &chat("m")).await.expect_status(200);
    assert_eq!(
        (first.requests().len(), second.requests().len()),
        (3, 1),
        "more than one in a minute"
    );
    // A rest may be the deployment's own.
    let params = ["      order: 1\n      cooldown_time: 0.3\n", "      order: 2\n"];
    let (first, second, gateway) = two(params, "").await;
    let client = gateway.client();
    fail(&first, 500);
    client.post(CHAT, &chat("m")).await.expect_status(200);
    tokio::time::sleep(Duration::from_millis(350)).await;
    client.post(CHAT, &chat("m")).await.expect_status(200);
    assert_eq!((first.requests().len(), second.requests().len()), (2, 1));
}

#[tokio::test]
async fn a_deployment_gets_no_more_than_it_may() {
    let (first, second, gateway) = two(
        ["      rpm: 2\n      order: 1\n", "      rpm: 1\n      order: 2\n"],
        "",
    )
    .await;
    let client = gateway.client();
    for _ in 0..3 {
        client.post(CHAT, &chat("m")).await.expect_status(200);
    }
    let reply = client.post(CHAT, &chat("m")).await.expect_status(429);
    let after: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after));
    assert_eq!((first.requests().len(), second.requests().len()), (2, 1));
    // Tokens count when they are known.
    let (provider, gateway) = one("      tpm: 1\n", "").await;
    gateway.client().post(CHAT, &chat("m")).await.expect_status(200);
    gateway.client().post(CHAT, &chat("m")).await.expect_status(429);
    assert_eq!(provider.requests().len(), 1);
    // Those at the same time, until the answer ends.
    let (provider, gateway) = one("", "router_settings:\n  default_max_parallel_requests: 1\n").await;
    let client = gateway.client();
    let (sender, receiver) = mpsc::channel(1);
    provider.next(Turn::Live(receiver));
    let stream = open(&client).await;
    client.post(CHAT, &chat("m")).await.expect_status(429);
    drop(sender);
    drop(stream);
    let mut status = 0;
    for _ in 0..100 {
        status = client.post(CHAT, &chat("m")).await.status.as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status, 200);
}

#[tokio::test]
async fn requests_reach_deployments_by_their_tags() {
    let params = ["      tags: [free, 'default']\n", "      tags: [paid]\n"];
    let more = "router_settings:\n  enable_tag_filtering: true\n";
    let (first, second, gateway) = two(params, more).await;
    let client = gateway.client();
    for _ in 0..5 {
        client.post(CHAT, &chat("m")).await.expect_status(200);
        client
            .post(CHAT, &with(&json!({"tags": ["paid"]})))
            .await
            .expect_status(200);
        client
            .post(CHAT, &with(&json!({"metadata": {"tags": ["paid"]}})))
            .await
            .expect_status(200);
        let header = client.clone().with_header("x-litellm-tags", "paid,x");
        header.post(CHAT, &chat("m")).await.expect_status(200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (5, 15));
    assert!(
        second
            .requests()
            .iter()
            .all(|own| own.json().get("metadata").is_none())
    );
    let (first, second, gateway) = two(["      tags: [free]\n", "      tags: [paid]\n"], more).await;
    let reply = gateway
        .client()
        .post(CHAT, &with(&json!({"tags": ["other"]})))
        .await;
    let reply = reply.expect_status(401);
    assert!(reply.text().contains("tag"), "{}", reply.text());
    assert_eq!((first.requests().len(), second.requests().len()), (0, 0));
}

#[tokio::test]
async fn strategies_are_what_their_names_say() {
    let cheap = "      input_cost_per_token: 0.000001\n      output_cost_per_token: 0.000001\n";
    let dear = "      input_cost_per_token: 0.00001\n      output_cost_per_token: 0.00001\n";
    let strategy = |name: &str| format!("router_settings:\n  routing_strategy: {name}\n");
    let (first, second, gateway) = two([dear, cheap], &strategy("cost-based-routing")).await;
    for _ in 0..10 {
        gateway.client().post(CHAT, &chat("m")).await.expect_status(200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (0, 10));
    // Each in turn: whoever has had more tokens waits.
    let (first, second, gateway) = two(["", ""], &strategy("usage-based-routing-v2")).await;
    for _ in 0..10 {
        gateway.client().post(CHAT, &chat("m")).await.expect_status(200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (5, 5));
    // Whoever has a stream under way is busy.
    let (first, second, gateway) = two(["", ""], &strategy("least-busy")).await;
    let client = gateway.client();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel::<String>(1)).unzip();
    for (provider, receiver) in [&first, &second].into_iter().zip(receivers) {
        provider.next(Turn::Live(receiver));
    }
    let stream = open(&client).await;
    let busy = if first.requests().is_empty() {
        &second
    } else {
        &first
    };
    let free = if first.requests().is_empty() {
        &first
    } else {
        &second
    };
    // The other one's turn is a stream, too.
    let other = open(&client).await;
    assert_eq!((busy.requests().len(), free.requests().len()), (1, 1));
    drop((stream, other, senders));
    // Whoever is slow is asked no more, once that is known.
    let (first, second, gateway) = two(["", ""], &strategy("latency-based-routing")).await;
    fail(&first, 429);
    for _ in 0..10 {
        gateway.client().post(CHAT, &chat("m")).await.expect_status(200);
    }
    assert!(first.requests().len() <= 1, "{}", first.requests().len());
    assert!(second.requests().len() >= 10);
}
