//! `grace_period`: a secret that was replaced is good for a while longer, with what the key has and no more, and ends with the key.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{McpClient, Replicas, ScratchDatabase, ScriptedUpstream, TestGateway, eventually};

use crate::matrix::call;
use crate::support::{PATIENCE, WAYS, Way, config, generate, listed, post, with};

fn grant() -> Value {
    json!({"object_permission": {"mcp_servers": ["files"]}})
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The HTTP status that a secret gets.
async fn status(gateway: &TestGateway, secret: &str) -> u16 {
    with(gateway, secret).get("/key/info").await.status.as_u16()
}

/// Another secret for the key; the answer.
async fn regenerated(gateway: &TestGateway, secret: &str, grace: &str) -> Value {
    post(
        gateway,
        "/key/regenerate",
        json!({"key": secret, "grace_period": grace}),
    )
    .await
}

async fn keeps_the_old_secret(mut gateway: TestGateway, files: &ScriptedUpstream) {
    listed(&gateway, &["files"]).await;
    let old = text(&generate(&gateway, grant()).await["key"]);
    let mut session = McpClient::over(with(&gateway, &old), "/mcp");
    session.initialize().await;
    let stream = session.get_stream().await;
    let made = regenerated(&gateway, &old, "1h").await;
    let new = text(&made["key"]);
    let old_hash =
        text(&with(&gateway, &old).get("/key/info").await.json()["info"]["previous_secrets"][0]["token"]);
    assert_ne!(made["token"], old_hash);
    // The session of before goes on, its stream too.
    assert_eq!(session.tool_names().await, ["files-echo"]);
    for way in WAYS {
        for secret in [&old, &new] {
            let tools = way.tools(&with(&gateway, secret), None).await;
            assert_eq!(tools.map(|tools| tools.len()), Ok(1), "{way:?}");
        }
    }
    // What restricts the key restricts both, at once, and is counted once.
    post(&gateway, "/key/update", json!({"key": new, "rpm_limit": 1})).await;
    let before = files.count("tools/call");
    for secret in [&old, &new, &old] {
        Way::Bare
            .ask(&with(&gateway, secret), None, "tools/call", &call("files-echo"))
            .await;
    }
    assert_eq!(files.count("tools/call") - before, 1);
    gateway.restart().await;
    assert_eq!(
        (status(&gateway, &old).await, status(&gateway, &new).await),
        (200, 200),
        "it is stored"
    );
    // Nobody is given it again.
    let taken = json!({"key": old});
    gateway
        .client()
        .post("/key/generate", &taken)
        .await
        .expect_status(400);
    post(&gateway, "/key/block", json!({"key": new})).await;
    assert_eq!(
        (status(&gateway, &old).await, status(&gateway, &new).await),
        (401, 401)
    );
    post(&gateway, "/key/unblock", json!({"key": new})).await;
    assert_eq!(
        (status(&gateway, &old).await, status(&gateway, &new).await),
        (200, 200)
    );
    post(&gateway, "/key/delete", json!({"keys": [new]})).await;
    assert_eq!(
        (status(&gateway, &old).await, status(&gateway, &new).await),
        (401, 401)
    );
    drop(stream);
}

#[tokio::test]
async fn s21_a_replaced_secret_is_good_until_its_time_is_over_on_sqlite() {
    let files = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &files, "")])).await;
    keeps_the_old_secret(gateway, &files).await;
}

#[tokio::test]
async fn s21_a_replaced_secret_is_good_until_its_time_is_over_on_postgres() {
    let files = ScriptedUpstream::start().await;
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let builder = TestGateway::builder().config(&config(&[("files", &files, "")]));
    let gateway = builder.database_url(&database.url()).start().await;
    keeps_the_old_secret(gateway, &files).await;
}

#[tokio::test]
async fn s21_a_replaced_secret_ends_by_itself_with_its_streams() {
    let files = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &files, "")])).await;
    listed(&gateway, &["files"]).await;
    let old = text(&generate(&gateway, grant()).await["key"]);
    let mut session = McpClient::over(with(&gateway, &old), "/mcp");
    session.initialize().await;
    let stream = session.get_stream().await;
    let began = Instant::now();
    let made = regenerated(&gateway, &old, "3s").await;
    assert_eq!(status(&gateway, &old).await, 200);
    let (_, broken) = tokio::time::timeout(PATIENCE, stream.rest()).await.unwrap();
    assert!(broken.is_none(), "{broken:?}");
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(2500) && took < Duration::from_secs(6),
        "{took:?}"
    );
    assert_eq!(status(&gateway, &old).await, 401);
    let info = with(&gateway, &text(&made["key"]))
        .get("/key/info")
        .await
        .expect_status(200)
        .json();
    assert_eq!(info["info"]["previous_secrets"], json!([]));
}

#[tokio::test]
async fn a_regeneration_without_a_grace_period_ends_all_that_were_before() {
    let gateway = TestGateway::start("").await;
    let first = text(&generate(&gateway, json!({})).await["key"]);
    let second = text(&regenerated(&gateway, &first, "1d").await["key"]);
    let third = text(&regenerated(&gateway, &second, "2w").await["key"]);
    for secret in [&first, &second, &third] {
        assert_eq!(status(&gateway, secret).await, 200);
    }
    let last = text(&post(&gateway, "/key/regenerate", json!({"key": third})).await["key"]);
    for secret in [&first, &second, &third] {
        assert_eq!(status(&gateway, secret).await, 401);
    }
    assert_eq!(status(&gateway, &last).await, 200);
    for wrong in ["soon", "0s", "-1", "91d", "1y", "99999999999999999d"] {
        let body = json!({"key": last, "grace_period": wrong});
        gateway
            .client()
            .post("/key/regenerate", &body)
            .await
            .expect_status(422);
    }
    // There is an end to how many there are.
    let mut all = vec![last];
    for _ in 0..10 {
        let next = text(&regenerated(&gateway, all.last().unwrap(), "1d").await["key"]);
        all.push(next);
    }
    let mut good = 0;
    for secret in &all {
        good += usize::from(status(&gateway, secret).await == 200);
    }
    assert_eq!(good, 9, "eight and its own");
    assert_eq!(
        (status(&gateway, &all[0]).await, status(&gateway, &all[10]).await),
        (401, 200)
    );
}

#[tokio::test]
async fn b28_a_replaced_secret_is_good_on_every_replica_and_ends_there_with_the_key() {
    let files = ScriptedUpstream::start().await;
    let builder = TestGateway::builder().config(&config(&[("files", &files, "")]));
    let Some(replicas) = Replicas::start(builder, 2).await else {
        return;
    };
    let [here, there] = &replicas.gateways[..] else {
        panic!("two gateways");
    };
    let old = text(&generate(here, grant()).await["key"]);
    let new = text(&regenerated(here, &old, "1h").await["key"]);
    eventually(
        "the other replica knows both",
        Duration::from_secs(1),
        async || (status(there, &old).await, status(there, &new).await) == (200, 200),
    )
    .await;
    post(here, "/key/block", json!({"key": new})).await;
    eventually("and that they are blocked", Duration::from_secs(1), async || {
        (status(there, &old).await, status(there, &new).await) == (401, 401)
    })
    .await;
}
