//! `GET /v1/mcp/server/health`.

use std::time::Duration;

use serde_json::json;
use trunkline_model::{OutcomeStatus, Step};

use crate::harness::{Harness, outcome, plain};

#[tokio::test]
async fn b70_four_states_are_four_answers() {
    let gateway = Harness::new().await;
    for alias in ["down", "locked", "empty", "works", "unasked"] {
        gateway.registered(plain(alias)).await;
    }
    let refused = outcome(OutcomeStatus::Unreachable, Step::Tcp, None, "connection refused");
    gateway.script("id-down", refused, vec![], Duration::ZERO);
    let locked = outcome(
        OutcomeStatus::AuthRequired,
        Step::Initialize,
        Some(401),
        "unauthorized",
    );
    gateway.script("id-locked", locked, vec![], Duration::ZERO);
    let ok = outcome(OutcomeStatus::Ok, Step::List, None, "");
    gateway.script("id-empty", ok, vec![], Duration::ZERO);
    let query = "server_ids=id-down&server_ids=id-locked&server_ids=id-empty&server_ids=id-works&server_ids=id-works&server_ids=nobody";
    let answer = gateway.get(&format!("/v1/mcp/server/health?{query}")).await;
    assert_eq!(answer.status, 200);
    let health = answer.json();
    let seen: Vec<_> = health
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            json!([
                item["server_id"],
                item["status"],
                item["outcome"]["status"],
                item["outcome"]["http_status"],
                item["tool_count"]
            ])
        })
        .collect();
    assert_eq!(
        seen,
        [
            json!(["id-down", "unhealthy", "unreachable", null, null]),
            json!(["id-empty", "healthy", "ok", null, 0]),
            json!(["id-locked", "unhealthy", "auth_required", 401, null]),
            json!(["id-works", "healthy", "ok", null, 1]),
            json!(["nobody", "unknown", "misconfigured", null, null]),
        ]
    );
    insta::assert_json_snapshot!(health[2]);
    // What health found is in the rows, where nobody was asked nothing is claimed.
    let row = gateway.get("/v1/mcp/server/id-locked").await.json();
    assert_eq!(row["status"], "unhealthy");
    assert_eq!(row["last_health_check"], "2023-11-14T22:13:20Z");
    assert!(
        row["health_check_error"]
            .as_str()
            .unwrap()
            .contains("auth_required at initialize (HTTP 401)")
    );
    let row = gateway.get("/v1/mcp/server/id-unasked").await.json();
    assert_eq!(
        [
            &row["status"],
            &row["last_health_check"],
            &row["health_check_error"]
        ],
        [&json!("unknown"), &json!(null), &json!(null)]
    );
    assert_eq!(row["outcome"]["at"], json!(null));
}

#[tokio::test]
async fn a_check_ends_whatever_servers_do() {
    let gateway = Harness::new().await;
    let ok = outcome(OutcomeStatus::Ok, Step::List, None, "");
    for index in 0..30 {
        gateway.registered(plain(&format!("s{index:02}"))).await;
        let takes = if index % 3 == 0 {
            Duration::from_hours(1)
        } else {
            Duration::from_secs(2)
        };
        gateway.script(&format!("id-s{index:02}"), ok.clone(), vec![], takes);
    }
    // Only now: the database waits by the same clock.
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let health = gateway.get("/v1/mcp/server/health").await.json();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(10) && took < Duration::from_secs(11),
        "{took:?}"
    );
    let health = health.as_array().unwrap();
    assert_eq!(health.len(), 30);
    let late: Vec<_> = health
        .iter()
        .filter(|item| item["status"] == "unhealthy")
        .collect();
    assert_eq!(late.len(), 10);
    assert!(
        late.iter().all(|item| item["outcome"]["status"] == "timeout"),
        "{late:?}"
    );
    // All at once, not one after the other.
    gateway
        .probe
        .scripts
        .lock()
        .unwrap()
        .retain(|_, script| script.takes < Duration::from_mins(1));
    let start = tokio::time::Instant::now();
    let health = gateway.get("/v1/mcp/server/health").await.json();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(
        health
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["status"] == "healthy")
    );
}
