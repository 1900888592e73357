//! Several deployments of one name.

use serde_json::json;
use trunkline_testkit::{ScriptedProvider, TestGateway, Turn};

use crate::support::{chat, entry};

const CHAT: &str = "/v1/chat/completions";

struct Two {
    first: ScriptedProvider,
    second: ScriptedProvider,
    gateway: TestGateway,
}

impl Two {
    /// The first is asked as long as it can be.
    async fn start(more: &str) -> Self {
        let first = ScriptedProvider::start("a", &["gpt-x"]).await;
        let second = ScriptedProvider::start("b", &["gpt-x"]).await;
        let entries = [
            entry(
                "m",
                "openai/gpt-x",
                &first.url(),
                "a",
                "      order: 1\n    model_info: {id: first}\n",
            ),
            entry(
                "m",
                "openai/gpt-x",
                &second.url(),
                "b",
                "      order: 2\n    model_info: {id: second}\n",
            ),
        ];
        let gateway = TestGateway::start(&format!("model_list:\n{}{more}", entries.concat())).await;
        Self {
            first,
            second,
            gateway,
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.first.requests().len(), self.second.requests().len())
    }
}

#[tokio::test]
async fn who_fails_is_followed_by_another_and_left_alone() {
    let two = Two::start("").await;
    let client = two.gateway.client();
    two.first.next(Turn::Answer(500, "{}".to_owned()));
    let reply = client.post(CHAT, &chat("m")).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-attempted-retries"), Some("1"));
    assert_eq!(reply.header("x-litellm-model-id"), Some("second"));
    assert_eq!(two.counts(), (1, 1));
    let reply = client.post(CHAT, &chat("m")).await.expect_status(200);
    assert_eq!(
        reply.header("x-litellm-model-id"),
        Some("second"),
        "the first rests"
    );
    assert_eq!(two.counts(), (1, 2));
    // Streams too, before they begin.
    let two = Two::start("").await;
    two.first.next(Turn::Answer(429, "{}".to_owned()));
    let mut body = chat("m");
    body["stream"] = true.into();
    let reply = two.gateway.client().post(CHAT, &body).await.expect_status(200);
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(two.counts(), (1, 1));
}

#[tokio::test]
async fn all_of_them_failing_is_said_with_the_last_words() {
    let two = Two::start("").await;
    let client = two.gateway.client();
    two.first.next(Turn::Answer(500, "{}".to_owned()));
    let words = json!({"error": {"message": "busy"}}).to_string();
    two.second
        .next(Turn::AnswerWith(429, words, ("retry-after", "30".to_owned())));
    let reply = client.post(CHAT, &chat("m")).await.expect_status(429);
    assert_eq!(reply.json()["error"]["message"], "openai: busy");
    assert_eq!(reply.header("x-litellm-attempted-retries"), Some("1"));
    let reply = client.post(CHAT, &chat("m")).await.expect_status(429);
    assert!(
        reply
            .text()
            .contains("No deployments available for selected model"),
        "{}",
        reply.text()
    );
    assert!(reply.header("retry-after").is_some());
    assert_eq!(two.counts(), (1, 1), "both rest");
}

#[tokio::test]
async fn what_is_the_clients_fault_is_not_tried_again() {
    let two = Two::start("").await;
    let client = two.gateway.client();
    for status in [400, 404, 422] {
        two.first.next(Turn::Answer(status, "{}".to_owned()));
        client.post(CHAT, &chat("m")).await.expect_status(status);
        if status == 404 {
            break;
        }
    }
    assert_eq!(two.second.requests().len(), 0);
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_twice() {
    let two = Two::start("router_settings:\n  timeout: 0.5\n").await;
    two.first.next(Turn::Silence);
    let client = two.gateway.client();
    let named = client.clone().with_header("x-litellm-call-id", "late");
    named.post(CHAT, &chat("m")).await.expect_status(408);
    // Nobody knows what it came to, which is not nothing.
    let row = crate::cost::logged(&client, "late").await;
    assert!(row["spend"].is_null(), "{row}");
    // It took longer than the file lets it, and is left alone.
    client.post(CHAT, &chat("m")).await.expect_status(200);
    assert_eq!(two.counts(), (1, 1));
}

#[tokio::test]
async fn s38_the_impatience_of_one_client_puts_nothing_to_rest() {
    let two = Two::start("").await;
    let hasty = two.gateway.client().with_header("x-litellm-timeout", "0.3");
    two.first.next(Turn::Silence);
    hasty.post(CHAT, &chat("m")).await.expect_status(408);
    let reply = two.gateway.client().post(CHAT, &chat("m")).await;
    let reply = reply.expect_status(200);
    assert_eq!(reply.header("x-litellm-model-id"), Some("first"));
    assert_eq!(two.counts(), (2, 0));
}

#[tokio::test]
async fn retries_and_rests_are_what_the_file_says() {
    let two = Two::start("router_settings:\n  num_retries: 0\n  disable_cooldowns: true\n").await;
    let client = two.gateway.client();
    two.first.next(Turn::Answer(500, "{}".to_owned()));
    client.post(CHAT, &chat("m")).await.expect_status(500);
    let reply = client.post(CHAT, &chat("m")).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-model-id"), Some("first"));
    assert_eq!(two.counts(), (2, 0));
}

#[tokio::test]
async fn a_deployment_that_is_not_there_costs_nobody_an_answer() {
    let provider = ScriptedProvider::start("b", &["gpt-x"]).await;
    let entries = [
        entry(
            "m",
            "openai/gpt-x",
            "http://127.0.0.1:9/v1",
            "a",
            "      order: 1\n",
        ),
        entry("m", "openai/gpt-x", &provider.url(), "b", "      order: 2\n"),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", entries.concat())).await;
    let reply = gateway.client().post(CHAT, &chat("m")).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-attempted-retries"), Some("1"));
}

#[tokio::test]
async fn shares_are_kept() {
    let first = ScriptedProvider::start("a", &["gpt-x"]).await;
    let second = ScriptedProvider::start("b", &["gpt-x"]).await;
    let entries = [
        entry("m", "openai/gpt-x", &first.url(), "a", "      weight: 9\n"),
        entry("m", "openai/gpt-x", &second.url(), "b", "      weight: 1\n"),
    ];
    let gateway = TestGateway::start(&format!("model_list:\n{}", entries.concat())).await;
    let client = gateway.client();
    for _ in 0..200 {
        client.post(CHAT, &chat("m")).await.expect_status(200);
    }
    let (nine, one) = (first.requests().len(), second.requests().len());
    assert_eq!(nine + one, 200);
    // 20 are expected; fewer than 3 or more than 60 happen once in millions of runs.
    assert!((3..60).contains(&one), "{one}");
}
