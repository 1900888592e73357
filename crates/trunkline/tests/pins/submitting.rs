//! Submissions: a key of a team submits, an administrator decides, and the submitter sees what became of it and nothing else.

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, ScriptedUpstream, TestGateway};

async fn made(gateway: &TestGateway, body: Value) -> HttpClient {
    let made = gateway.client().post("/key/generate", &body).await;
    let made = made.expect_status(200).json();
    let key = made["key"].as_str().unwrap().to_owned();
    gateway
        .anonymous()
        .with_header("authorization", &format!("Bearer {key}"))
}

async fn seen(http: &HttpClient) -> Vec<Value> {
    let list = http
        .get("/v1/mcp/server/submissions")
        .await
        .expect_status(200)
        .json();
    assert_eq!(list["total"], list["items"].as_array().unwrap().len());
    list["items"].as_array().unwrap().clone()
}

/// No program, and nothing of the gateway's environment.
async fn is_nothing_of_the_gateways(http: &HttpClient, submission: &Value) {
    for refused in [
        json!({"transport": "stdio", "command": "sh"}),
        json!({"auth_type": "bearer_token", "credentials": {"auth_value": "os.environ/HOME"}}),
        json!({"static_headers": {"X-A": "os.environ/LITELLM_MASTER_KEY"}}),
        json!({"env_vars": [{"name": "A", "value": "os.environ/DATABASE_URL"}], "static_headers": {"X-A": "${A}"}}),
        json!({"extra_headers": ["X-A: os.environ/HOME"]}),
    ] {
        let mut body = submission.clone();
        body.as_object_mut()
            .unwrap()
            .extend(refused.as_object().unwrap().clone());
        http.post("/v1/mcp/server/register", &body)
            .await
            .expect_status(403);
    }
}

/// A submitter decides nothing, and sees nothing of servers.
async fn decides_nothing(service: &HttpClient, ann: &HttpClient) {
    for verdict in ["approve", "reject"] {
        let path = format!("/v1/mcp/server/three/{verdict}");
        service.put(&path, &json!({})).await.expect_status(403);
    }
    ann.get("/v1/mcp/server/one").await.expect_status(403);
}

#[tokio::test]
async fn s29_s30_a_submitter_sees_what_becomes_of_what_it_submitted() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start("general_settings: {}\n").await;
    let boss = gateway.client();
    for id in ["t", "u"] {
        boss.post("/team/new", &json!({"team_id": id}))
            .await
            .expect_status(200);
    }
    boss.post("/user/new", &json!({"user_id": "ann"}))
        .await
        .expect_status(200);
    let ann = made(&gateway, json!({"team_id": "t", "user_id": "ann"})).await;
    let also_ann = made(&gateway, json!({"user_id": "ann"})).await;
    let service = made(&gateway, json!({"team_id": "u"})).await;
    let alone = made(&gateway, json!({})).await;
    let submission = |id: &str| {
        json!({
            "server_id": id, "alias": id, "url": upstream.url(), "transport": "http", "source_url": "https://example.com/source",
            "static_headers": {"X-Key": "the-secret-of-the-submitter"},
        })
    };
    let submit = async |http: &HttpClient, id: &str, status: u16| {
        let reply = http.post("/v1/mcp/server/register", &submission(id)).await;
        assert_eq!(reply.status.as_u16(), status, "{id}: {}", reply.text());
        assert!(!reply.text().contains("the-secret"), "{}", reply.text());
    };
    submit(&alone, "alone", 403).await;
    submit(&gateway.anonymous(), "nobody", 401).await;
    submit(&ann, "one", 201).await;
    submit(&ann, "two", 201).await;
    submit(&service, "three", 201).await;
    submit(&boss, "four", 201).await;
    is_nothing_of_the_gateways(&ann, &submission("bad")).await;
    assert_eq!(upstream.requests().len(), 0, "nobody contacts what waits");

    boss.put("/v1/mcp/server/one/approve", &json!({}))
        .await
        .expect_status(200);
    let notes = json!({"review_notes": "there is one already"});
    boss.put("/v1/mcp/server/two/reject", &notes)
        .await
        .expect_status(200);
    let own = seen(&ann).await;
    assert_eq!(own, seen(&also_ann).await, "every key of the user");
    let brief: Vec<_> = own
        .iter()
        .map(|row| {
            assert!(
                row["reviewed_at"].is_string() && row["submitted_at"].is_string(),
                "{row}"
            );
            assert_eq!(row["source_url"], "https://example.com/source");
            assert!(
                row.get("url").is_none() && row.get("static_headers").is_none(),
                "{row}"
            );
            [
                &row["server_id"],
                &row["approval_status"],
                &row["reviewed_by"],
                &row["review_notes"],
                &row["submitted_by"],
            ]
        })
        .collect();
    assert_eq!(
        json!(brief),
        json!([
            ["one", "active", "master_key", null, "ann"],
            ["two", "rejected", "master_key", "there is one already", "ann"],
        ])
    );
    let others: Vec<_> = seen(&service)
        .await
        .iter()
        .map(|row| row["server_id"].clone())
        .collect();
    assert_eq!(others, ["three"]);
    assert_eq!(seen(&alone).await, [Value::Null; 0]);
    assert_eq!(seen(&boss).await.len(), 4);
    decides_nothing(&service, &ann).await;
    // Nor does anybody fill the registry with what nobody looks at.
    for number in 0..19 {
        submit(&service, &format!("more{number}"), 201).await;
    }
    submit(&service, "too_many", 403).await;
    submit(&ann, "of_another", 201).await;
}
