//! Who may use which model, how much, and who is told what.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, eventually};

use crate::support::{World, chat};

const CHAT: &str = "/v1/chat/completions";

async fn may(client: &HttpClient, model: &str) -> Result<(), String> {
    let reply = client.post(CHAT, &chat(model)).await;
    if reply.status == 200 {
        return Ok(());
    }
    let reply = reply.expect_status(403);
    Err(reply.json()["error"]["type"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

async fn listed(client: &HttpClient) -> Vec<String> {
    let models = client.get("/v1/models").await.expect_status(200).json();
    let names = models["data"].as_array().unwrap().iter();
    names.map(|own| own["id"].as_str().unwrap().to_owned()).collect()
}

fn denied(level: &str) -> Result<(), String> {
    Err(format!("{level}_model_access_denied"))
}

#[tokio::test]
async fn a_key_lists_and_uses_what_it_was_given() {
    let world = World::start().await;
    let none = world.key(json!({})).await;
    assert_eq!(may(&none, "mine").await, denied("key"));
    assert_eq!(
        may(&none, "no-such-model").await,
        denied("key"),
        "what there is, it is not told"
    );
    assert_eq!(listed(&none).await, Vec::<String>::new());
    let one = world.key(json!({"models": ["mine"]})).await;
    assert_eq!(may(&one, "mine").await, Ok(()));
    assert_eq!(may(&one, "other").await, denied("key"));
    assert_eq!(listed(&one).await, ["mine"]);
    one.get("/v1/models/other").await.expect_status(404);
    let info = one.get("/model/info").await.expect_status(200).json();
    assert_eq!(info["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        info["data"][0]["litellm_params"],
        json!({"model": "openai/gpt-x"}),
        "not where it is"
    );
    let all = world.key(json!({"models": ["all-proxy-models"]})).await;
    assert_eq!(listed(&all).await, ["mine", "other"]);
    let begin = world.key(json!({"models": ["oth*"]})).await;
    assert_eq!(listed(&begin).await, ["other"]);
    let asked = world.provider.requests().len();
    assert_eq!(asked, 1, "what was denied was not sent");
}

#[tokio::test]
async fn teams_users_organizations_and_end_users_narrow() {
    let world = World::start().await;
    let admin = world.gateway.client();
    let post = async |path: &str, body: Value| admin.post(path, &body).await.expect_status(200).json();
    post(
        "/organization/new",
        json!({"organization_id": "o", "organization_alias": "o", "models": ["mine", "other"]}),
    )
    .await;
    post(
        "/team/new",
        json!({"team_id": "t", "organization_id": "o", "models": ["mine"]}),
    )
    .await;
    let member = world.key(json!({"team_id": "t"})).await;
    assert_eq!(may(&member, "mine").await, Ok(()));
    assert_eq!(may(&member, "other").await, denied("key"));
    let takes = world
        .key(json!({"team_id": "t", "models": ["all-team-models"]}))
        .await;
    assert_eq!(listed(&takes).await, ["mine"]);
    // More than the team has cannot be given.
    let body = json!({"team_id": "t", "models": ["other"]});
    assert!(admin.post("/key/generate", &body).await.status.is_client_error());
    post("/team/update", json!({"team_id": "t", "models": ["other"]})).await;
    assert_eq!(listed(&takes).await, ["other"]);
    admin
        .try_send(patch(
            "/organization/update",
            &json!({"organization_id": "o", "models": ["mine"]}),
        ))
        .await
        .unwrap()
        .expect_status(200);
    assert_eq!(may(&takes, "other").await, denied("org"));
    post(
        "/user/new",
        json!({"user_id": "u", "models": ["mine"], "auto_create_key": false}),
    )
    .await;
    let of_user = world
        .key(json!({"user_id": "u", "models": ["all-proxy-models"]}))
        .await;
    assert_eq!(may(&of_user, "other").await, denied("user"));
    assert_eq!(may(&of_user, "mine").await, Ok(()));
    post(
        "/user/update",
        json!({"user_id": "u", "models": ["no-default-models"]}),
    )
    .await;
    assert_eq!(may(&of_user, "mine").await, denied("user"));
    post("/customer/new", json!({"user_id": "e", "models": ["mine"]})).await;
    let all = world.key(json!({"models": ["all-proxy-models"]})).await;
    let for_e = all.clone().with_header("x-litellm-end-user-id", "e");
    assert_eq!(may(&for_e, "other").await, denied("customer"));
    let mut body = chat("other");
    body["user"] = "e".into();
    all.post(CHAT, &body).await.expect_status(403);
    post("/customer/block", json!({"user_ids": ["e"]})).await;
    let mut body = chat("mine");
    body["user"] = "e".into();
    all.post(CHAT, &body).await.expect_status(401);
    body["user"] = "somebody".into();
    all.post(CHAT, &body).await.expect_status(200);
}

fn patch(path: &str, body: &Value) -> http::Request<bytes::Bytes> {
    http::Request::patch(path)
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_string()))
        .unwrap()
}

#[tokio::test]
async fn limits_and_routes_of_a_key_hold() {
    let world = World::start().await;
    let slow = world.key(json!({"models": ["mine"], "rpm_limit": 1})).await;
    slow.post(CHAT, &chat("mine")).await.expect_status(200);
    let reply = slow.post(CHAT, &chat("mine")).await.expect_status(429);
    assert_eq!(reply.json()["error"]["type"], "throttling_error");
    assert!(reply.header("retry-after").is_some());
    let shut = world
        .key(json!({"models": ["mine"], "max_parallel_requests": 0}))
        .await;
    shut.post(CHAT, &chat("mine")).await.expect_status(429);
    let api = world
        .key(json!({"models": ["mine"], "key_type": "llm_api"}))
        .await;
    api.post(CHAT, &chat("mine")).await.expect_status(200);
    api.get("/v1/models").await.expect_status(200);
    let other = world
        .key(json!({"models": ["mine"], "allowed_routes": ["mcp_routes"]}))
        .await;
    other.post(CHAT, &chat("mine")).await.expect_status(403);
    let blocked = world.key(json!({"models": ["mine"], "blocked": true})).await;
    blocked.post(CHAT, &chat("mine")).await.expect_status(401);
    blocked.get("/model/info").await.expect_status(401);
    assert_eq!(world.provider.requests().len(), 2);
}

#[tokio::test]
async fn a_place_is_held_as_long_as_the_answer_comes() {
    let world = World::start().await;
    let one = world
        .key(json!({"models": ["mine"], "max_parallel_requests": 1}))
        .await;
    let (says, script) = tokio::sync::mpsc::channel(4);
    world.provider.next(trunkline_testkit::Turn::Live(script));
    let mut body = chat("mine");
    body["stream"] = true.into();
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_string()))
        .unwrap();
    says.send("data: {}\n\n".to_owned()).await.unwrap();
    let mut chunks = one.open(request).await.unwrap();
    chunks.next().await.unwrap().unwrap();
    one.post(CHAT, &chat("mine")).await.expect_status(429);
    drop(says);
    while chunks.next().await.is_some() {}
    one.post(CHAT, &chat("mine")).await.expect_status(200);
}

#[tokio::test]
async fn a_key_keeps_its_models_over_a_change_and_shows_them() {
    let world = World::start().await;
    let admin = world.gateway.client();
    let made = admin
        .post("/key/generate", &json!({"models": ["mine"]}))
        .await
        .expect_status(200)
        .json();
    assert_eq!(made["models"], json!(["mine"]));
    let key = made["key"].as_str().unwrap();
    let change = json!({"key": key, "key_alias": "a", "object_permission": null});
    admin.post("/key/update", &change).await.expect_status(200);
    let info = admin
        .get(&format!("/key/info?key={key}"))
        .await
        .expect_status(200)
        .json();
    assert_eq!(info["info"]["models"], json!(["mine"]));
    admin
        .post("/key/update", &json!({"key": key, "models": []}))
        .await
        .expect_status(200);
    let client = world
        .gateway
        .anonymous()
        .with_header("authorization", &format!("Bearer {key}"));
    assert_eq!(may(&client, "mine").await, denied("key"));
}

#[tokio::test]
async fn b71_what_is_denied_is_in_the_audit_log_once() {
    let world = World::start().await;
    let one = world.key(json!({"models": ["mine"], "user_id": "u"})).await;
    let asked = one.clone().with_header("x-litellm-call-id", "attempt");
    assert_eq!(may(&asked, "other").await, denied("key"));
    let barred = world
        .key(json!({"models": ["mine"], "allowed_routes": ["mcp_routes"]}))
        .await;
    barred.get("/v1/models").await.expect_status(403);
    let mut rows = Vec::new();
    eventually("the denials are written", Duration::from_secs(20), async || {
        let reply = world
            .gateway
            .client()
            .get("/audit/export?after=0")
            .await
            .expect_status(200);
        rows = reply
            .text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect();
        rows.retain(|row| row["action"] == "denied");
        rows.len() >= 2
    })
    .await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    let row = &rows[0];
    assert_eq!(row["table_name"], "LiteLLM_ProxyModelTable", "{row}");
    assert_eq!(
        (&row["object_id"], &row["changed_by"]),
        (&json!("other"), &json!("u")),
        "{row}"
    );
    assert!(row.to_string().contains("model_not_granted"), "{row}");
    assert_eq!(row["request_id"], "attempt", "{row}");
    assert!(rows[1].to_string().contains("route_not_allowed"), "{}", rows[1]);
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let world = World::start().await;
    let made = world
        .gateway
        .client()
        .post("/key/generate", &json!({"models": ["mine"]}))
        .await;
    let made = made.expect_status(200).json();
    let key = made["key"].as_str().unwrap();
    let own = world
        .gateway
        .anonymous()
        .with_header("authorization", &format!("Bearer {key}"));
    let (says, script) = tokio::sync::mpsc::channel(4);
    world.provider.next(trunkline_testkit::Turn::Live(script));
    let mut body = chat("mine");
    body["stream"] = true.into();
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_string()))
        .unwrap();
    says.send("data: {}\n\n".to_owned()).await.unwrap();
    let mut chunks = own.open(request).await.unwrap();
    chunks.next().await.unwrap().unwrap();
    world
        .gateway
        .client()
        .post("/key/block", &json!({"key": key}))
        .await
        .expect_status(200);
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        while chunks.next().await.is_some() {}
    })
    .await;
    assert!(ended.is_ok(), "the stream goes on");
    let heard = tokio::time::timeout(Duration::from_secs(10), says.closed()).await;
    assert!(heard.is_ok(), "the provider goes on");
}
