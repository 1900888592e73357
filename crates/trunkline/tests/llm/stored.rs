//! Models of the database: made, changed and removed through the API, on every replica, without their credentials.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Canary, Replicas, ScriptedProvider, Signal, TestGateway, eventually};

use crate::support::{chat, entry};

const CHAT: &str = "/v1/chat/completions";
const ON: &str = "general_settings:\n  store_model_in_db: true\n";

fn model(name: &str, id: &str, provider: &ScriptedProvider, key: &str) -> Value {
    json!({
        "model_name": name,
        "litellm_params": {"model": "openai/gpt-x", "api_base": provider.url(), "api_key": key},
        "model_info": {"id": id, "team": "ours"},
    })
}

#[tokio::test]
async fn a_model_of_the_database_is_served_changed_and_gone_and_its_key_is_never_shown() {
    let key = Canary::key("provider");
    let provider = ScriptedProvider::start(key.value(), &["gpt-x"]).await;
    let own = entry(
        "filed",
        "openai/gpt-x",
        &provider.url(),
        key.value(),
        "    model_info: {id: filed}\n",
    );
    let mut gateway = TestGateway::start(&format!("model_list:\n{own}{ON}")).await;
    let client = gateway.client();
    client.post(CHAT, &chat("m")).await.expect_status(400);
    let made = client
        .post("/model/new", &model("m", "one", &provider, key.value()))
        .await;
    let mut said = vec![made.everything()];
    let made = made.expect_status(200).json();
    assert_eq!(
        (made["model_id"].clone(), made["model_info"]["db_model"].clone()),
        (json!("one"), json!(true))
    );
    client.post(CHAT, &chat("m")).await.expect_status(200);
    let info = client.get("/model/info?litellm_model_id=one").await;
    said.push(info.everything());
    let row = info.expect_status(200).json()["data"][0].clone();
    assert_eq!(row["model_info"]["db_model"], true, "{row}");
    assert_eq!(row["model_info"]["team"], "ours");
    let filed = client
        .get("/model/info?litellm_model_id=filed")
        .await
        .expect_status(200)
        .json();
    assert_eq!(filed["data"][0]["model_info"]["db_model"], false);
    // What the body does not name stays: the key.
    let change =
        json!({"model_name": "renamed", "litellm_params": {"rpm": 100}, "model_info": {"id": "one"}});
    let changed = client.post("/model/update", &change).await.expect_status(200);
    said.push(changed.everything());
    client.post(CHAT, &chat("m")).await.expect_status(400);
    client.post(CHAT, &chat("renamed")).await.expect_status(200);
    // It is there after a restart.
    gateway.stop(Signal::Term).await;
    gateway.restart().await;
    let client = gateway.client();
    client.post(CHAT, &chat("renamed")).await.expect_status(200);
    client
        .post("/model/block", &json!({"id": "one"}))
        .await
        .expect_status(200);
    client.post(CHAT, &chat("renamed")).await.expect_status(503);
    client
        .post("/model/unblock", &json!({"id": "one"}))
        .await
        .expect_status(200);
    client.post(CHAT, &chat("renamed")).await.expect_status(200);
    client
        .post("/model/delete", &json!({"id": "one"}))
        .await
        .expect_status(200);
    client.post(CHAT, &chat("renamed")).await.expect_status(400);
    client
        .post("/model/delete", &json!({"id": "one"}))
        .await
        .expect_status(400);
    said.push(client.get("/audit").await.everything());
    said.push(gateway.log());
    for text in said {
        assert!(!text.contains(key.value()), "the key is told: {text}");
    }
}

#[tokio::test]
async fn what_would_be_no_model_or_is_the_files_is_refused() {
    let provider = ScriptedProvider::start("k", &["gpt-x"]).await;
    let own = entry(
        "filed",
        "openai/gpt-x",
        &provider.url(),
        "k",
        "    model_info: {id: filed}\n",
    );
    let gateway = TestGateway::start(&format!("model_list:\n{own}{ON}")).await;
    let client = gateway.client();
    for (body, status, words) in [
        (json!({"model_name": "m"}), 400, "Field required"),
        (
            json!({"model_name": "m", "litellm_params": {"model": "nobody/x"}}),
            400,
            "names no provider",
        ),
        (
            json!({"model_name": "m", "litellm_params": {"model": "openai/x", "api_bases": "x"}}),
            400,
            "did you mean",
        ),
        (
            json!({"model_name": "m", "litellm_params": {"model": "openai/x", "organization": "os.environ/HOME"}}),
            400,
            "in credentials alone",
        ),
        (
            json!({"model_name": "m", "litellm_params": {"model": "openai/x"}, "litlm": 1}),
            422,
            "litlm",
        ),
        (model("m", "filed", &provider, "k"), 400, "configuration file"),
        (model("m", "a b", &provider, "k"), 400, "without blanks"),
    ] {
        let reply = client.post("/model/new", &body).await.expect_status(status);
        assert!(reply.text().contains(words), "{body}: {}", reply.text());
    }
    for path in ["/model/delete", "/model/block"] {
        let reply = client
            .post(path, &json!({"id": "filed"}))
            .await
            .expect_status(400);
        assert!(reply.text().contains("configuration file"), "{}", reply.text());
    }
    client
        .post("/model/new", &model("m", "one", &provider, "k"))
        .await
        .expect_status(200);
    client
        .post("/model/new", &model("m", "one", &provider, "k"))
        .await
        .expect_status(400);
    let bad = json!({"litellm_params": {"model": "nobody/x"}, "model_info": {"id": "one"}});
    client.post("/model/update", &bad).await.expect_status(400);
    client.post(CHAT, &chat("m")).await.expect_status(200);
    // Who is no administrator makes none.
    let made = client.post("/key/generate", &json!({"models": ["m"]})).await;
    let key = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
    let some = gateway
        .anonymous()
        .with_header("authorization", &format!("Bearer {key}"));
    let reply = some.post("/model/new", &model("n", "two", &provider, "k")).await;
    assert!(matches!(reply.status.as_u16(), 401 | 403), "{}", reply.status);
    // Without the setting there are none.
    let gateway = TestGateway::start("").await;
    let reply = gateway
        .client()
        .post("/model/new", &model("m", "one", &provider, "k"))
        .await;
    assert!(reply.expect_status(500).text().contains("STORE_MODEL_IN_DB"));
}

#[tokio::test]
async fn s09_an_address_of_metadata_is_not_asked_for_a_model_either() {
    let gateway = TestGateway::start(ON).await;
    let client = gateway.client();
    let params = json!({"model": "openai/x", "api_base": "http://169.254.169.254/latest", "api_key": "k"});
    let body = json!({"model_name": "m", "litellm_params": params});
    client.post("/model/new", &body).await.expect_status(200);
    let reply = client.post(CHAT, &chat("m")).await.expect_status(500);
    assert!(reply.text().contains("169.254.169.254"), "{}", reply.text());
    assert!(
        reply.text().contains("not allowed") || reply.text().contains("link-local"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn a_model_is_on_every_replica_within_a_second() {
    let provider = ScriptedProvider::start("k", &["gpt-x"]).await;
    let Some(replicas) = Replicas::start(TestGateway::builder().config(ON), 2).await else {
        return;
    };
    let [first, second] = &replicas.gateways[..] else {
        panic!("two were started");
    };
    let (here, there) = (first.client(), second.client());
    here.post("/model/new", &model("m", "one", &provider, "k"))
        .await
        .expect_status(200);
    let second = Duration::from_secs(1);
    eventually("the other one has it", second, async || {
        there.post(CHAT, &chat("m")).await.status == 200
    })
    .await;
    there
        .post("/model/delete", &json!({"id": "one"}))
        .await
        .expect_status(200);
    eventually("it is gone here, too", second, async || {
        here.post(CHAT, &chat("m")).await.status == 400
    })
    .await;
}
