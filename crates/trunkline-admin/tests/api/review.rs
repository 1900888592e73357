//! Submissions: a submitted server serves nobody until it is approved.

use serde_json::{Value, json};

use crate::harness::{Harness, plain};

async fn submit(gateway: &Harness, body: Value) -> Value {
    let answer = gateway.ask("POST", "/v1/mcp/server/register", Some(body)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_submission_serves_nobody_until_it_is_approved() {
    let gateway = Harness::new().await;
    let mut body = plain("a");
    body["mcp_access_groups"] = json!(["group"]);
    body["source_url"] = json!("https://source.example/a");
    let row = submit(&gateway, body).await;
    assert_eq!(row["approval_status"], "pending_review");
    assert_eq!(row["submitted_by"], "master_key");
    assert!(row["submitted_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(row["source_url"], "https://source.example/a");
    assert_eq!(
        [&row["reviewed_at"], &row["review_notes"]],
        [&json!(null), &json!(null)]
    );
    assert_eq!(row["outcome"]["status"], "pending_review");
    assert_eq!(row["status"], "unknown");
    assert!(!gateway.stored("id-a").is_active());
    assert_eq!(
        gateway.get("/v1/mcp/access_groups").await.json(),
        json!({"access_groups": []})
    );
    let health = gateway.get("/v1/mcp/server/health").await.json();
    assert_eq!(health[0]["outcome"]["status"], "pending_review");
    assert_eq!(gateway.probe.contacts(), 0, "nobody contacts it");

    let changed = gateway
        .put(json!({"server_id": "id-a", "description": "x"}))
        .await;
    assert_eq!(
        changed.json()["approval_status"],
        "pending_review",
        "an edit is no approval"
    );

    let approved = gateway
        .ask("PUT", "/v1/mcp/server/id-a/approve?pin=false", None)
        .await;
    assert_eq!(approved.status, 200);
    let approved = approved.json();
    assert_eq!(approved["approval_status"], "active");
    assert!(approved["reviewed_at"].is_string());
    assert_eq!(approved["submitted_at"], row["submitted_at"]);
    assert!(gateway.stored("id-a").is_active());
    assert_eq!(
        gateway.get("/v1/mcp/access_groups").await.json(),
        json!({"access_groups": ["group"]})
    );
    let again = gateway
        .ask("PUT", "/v1/mcp/server/id-a/approve?pin=false", None)
        .await;
    assert_eq!(again.status, 400);
    assert!(again.error().contains("not pending review"));
}

#[tokio::test]
async fn a_rejection_has_a_reason_and_is_final() {
    let gateway = Harness::new().await;
    submit(&gateway, plain("a")).await;
    let path = "/v1/mcp/server/id-a/reject";
    let wrong = gateway.ask("PUT", path, Some(json!({"notes": "x"}))).await;
    assert_eq!(
        wrong.problems(),
        [("extra_forbidden".to_owned(), "notes".to_owned())]
    );
    let answer = gateway
        .ask("PUT", path, Some(json!({"review_notes": "not ours"})))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["approval_status"], "rejected");
    assert_eq!(answer.json()["review_notes"], "not ours");
    assert!(!gateway.stored("id-a").is_active());
    for verdict in ["approve", "reject"] {
        let answer = gateway
            .ask("PUT", &format!("/v1/mcp/server/id-a/{verdict}"), None)
            .await;
        assert_eq!(answer.status, 400, "{verdict}");
    }
    submit(&gateway, plain("b")).await;
    assert_eq!(
        gateway
            .ask("PUT", "/v1/mcp/server/id-b/reject", None)
            .await
            .status,
        200,
        "a reason is optional"
    );
}

#[tokio::test]
async fn submissions_are_counted() {
    let gateway = Harness::new().await;
    gateway.registered(plain("registered")).await;
    for alias in ["a", "b", "c", "d"] {
        submit(&gateway, plain(alias)).await;
    }
    gateway
        .ask("PUT", "/v1/mcp/server/id-a/approve?pin=false", None)
        .await;
    gateway.ask("PUT", "/v1/mcp/server/id-b/reject", None).await;
    let list = gateway.get("/v1/mcp/server/submissions").await.json();
    let counts = ["total", "pending_review", "active", "rejected"].map(|name| list[name].as_u64().unwrap());
    assert_eq!(counts, [4, 2, 1, 1]);
    let items = list["items"].as_array().unwrap();
    let ids: Vec<&str> = items
        .iter()
        .map(|item| item["server_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        ["id-a", "id-b", "id-c", "id-d"],
        "what was registered by an admin is no submission"
    );
}
