//! S13, S14: a key is in the answer that makes it, and nowhere else. S02: what is sent as a key is data.

use serde_json::json;
use trunkline_testkit::{Canary, ScriptedUpstream, TestGateway};

use crate::support::{WAYS, config, generate, listed, with};

#[tokio::test]
async fn s13_s14_a_key_is_in_the_answer_that_makes_it_and_nowhere_else() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::builder()
        .config(&config(&[("files", &upstream, "")]))
        .env("RUST_LOG", "trace")
        .start()
        .await;
    listed(&gateway, &["files"]).await;
    let (first, second, wrong) = (Canary::key("first"), Canary::key("second"), Canary::key("wrong"));
    let grant = json!({"mcp_servers": ["files"]});
    let body = json!({"key": first.value(), "object_permission": grant, "key_alias": "canary"});
    let made = generate(&gateway, body.clone()).await;
    assert_eq!(made["key"], first.value());
    let hash = made["token"].as_str().unwrap();
    let mut answers = String::new();
    let admin = gateway.client();
    // Every way to name it, also those that fail.
    for (path, body) in [
        ("/key/generate", body),
        ("/key/update", json!({"key": first.value(), "user_id": "u"})),
        (
            "/key/update",
            json!({"key": first.value(), "nonsense": first.value()}),
        ),
        ("/key/block", json!({"key": first.value()})),
        ("/key/unblock", json!({"key": first.value()})),
        ("/key/unblock", json!({"key": wrong.value()})),
        ("/key/delete", json!({"keys": [wrong.value()]})),
        (
            "/key/regenerate",
            json!({"key": first.value(), "new_key": "sk-short"}),
        ),
        ("/key/generate", json!({"key": [wrong.value()]})),
    ] {
        answers += &admin.post(path, &body).await.everything();
    }
    for path in [
        format!("/key/info?key={}", first.value()),
        format!("/key/info?key={}", wrong.value()),
        format!("/key/list?return_full_object=true&key_hash={}", first.value()),
        "/key/list?return_full_object=true".to_owned(),
        "/metrics".to_owned(),
    ] {
        answers += &admin.get(&path).await.everything();
        answers += &with(&gateway, first.value()).get(&path).await.everything();
        answers += &with(&gateway, wrong.value()).get(&path).await.everything();
    }
    let call = json!({"name": "files-echo", "arguments": {"message": "hi"}});
    for way in WAYS {
        for key in [&first, &wrong] {
            for (method, params) in [("tools/list", json!({})), ("tools/call", call.clone())] {
                let (_, said) = way.ask(&with(&gateway, key.value()), None, method, &params).await;
                answers += &said.to_string();
            }
        }
    }
    let path = format!("/key/{}/regenerate", first.value());
    let renewed = admin
        .post(&path, &json!({"new_key": second.value()}))
        .await
        .expect_status(200)
        .json();
    assert_eq!(renewed["key"], second.value());
    let deleted = admin
        .post("/key/delete", &json!({"keys": [second.value()]}))
        .await;
    answers += &deleted.expect_status(200).everything();
    answers += &admin.post(&path, &json!({})).await.everything();
    gateway.says(hash).await;
    let stored = stored(&gateway);
    for canary in [&first, &second, &wrong] {
        canary.assert_absent(&[
            ("an answer", answers.as_bytes()),
            ("the log", gateway.log().as_bytes()),
            ("stdout", gateway.stdout().as_bytes()),
            ("upstream", upstream.everything().as_bytes()),
            ("the database", &stored),
        ]);
    }
}

/// All that is in the data directory.
fn stored(gateway: &TestGateway) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(gateway.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    assert!(!all.is_empty());
    all
}

#[tokio::test]
async fn s02_what_is_sent_as_a_key_is_data() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream, "")])).await;
    listed(&gateway, &["files"]).await;
    let made = generate(
        &gateway,
        json!({"key_alias": "'; DROP TABLE verification_token; --"}),
    )
    .await;
    let before = gateway
        .client()
        .get("/key/list?return_full_object=true")
        .await
        .text();
    for hostile in [
        "' OR '1'='1",
        "sk-' OR 1=1 --",
        "\" OR \"\"=\"",
        "sk-%27%20OR%201=1",
        "sk-x'; DELETE FROM verification_token; --",
        "$1",
        "{}",
    ] {
        for way in WAYS {
            assert_eq!(
                way.tools(&with(&gateway, hostile), None).await,
                Err(401),
                "{hostile} {way:?}"
            );
        }
        for path in ["/key/update", "/key/block", "/key/delete", "/key/regenerate"] {
            let body = if path == "/key/delete" {
                json!({"keys": [hostile]})
            } else {
                json!({"key": hostile})
            };
            gateway.client().post(path, &body).await.expect_status(404);
        }
        gateway
            .client()
            .post("/key/delete", &json!({"key_aliases": [hostile]}))
            .await
            .expect_status(404);
    }
    assert_eq!(
        gateway
            .client()
            .get("/key/list?return_full_object=true")
            .await
            .text(),
        before
    );
    let alias = made["key_alias"].clone();
    gateway
        .client()
        .post("/key/delete", &json!({"key_aliases": [alias]}))
        .await
        .expect_status(200);
}
