//! A gateway with a server, and what its audit log says.

use axum::body::Bytes;
use axum::http::Request;
use serde_json::Value;
use trunkline_testkit::{
    GatewayBuilder, HttpClient, Reply, ScratchDatabase, ScriptedUpstream, TestGateway, eventually,
};

use crate::support::{PATIENCE, config, listed};

/// A gateway with the server `files`.
pub(crate) struct World {
    pub(crate) gateway: TestGateway,
    pub(crate) upstream: ScriptedUpstream,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(TestGateway::builder()).await
    }

    /// On PostgreSQL; `None` where there is none.
    pub(crate) async fn on_postgres() -> Option<(Self, ScratchDatabase)> {
        let database = ScratchDatabase::create()?;
        let world = Self::of(TestGateway::builder().database_url(&database.url())).await;
        Some((world, database))
    }

    pub(crate) async fn of(builder: GatewayBuilder) -> Self {
        let upstream = ScriptedUpstream::start().await;
        let gateway = builder
            .env("STORE_MODEL_IN_DB", "true")
            .config(&config(&[("files", &upstream, "")]))
            .start()
            .await;
        listed(&gateway, &["files"]).await;
        Self { gateway, upstream }
    }
}

/// A request with any method, as somebody.
pub(crate) async fn send(http: &HttpClient, method: &str, path: &str, body: &Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Bytes::from(body.to_string()))
        .unwrap();
    http.try_send(request).await.unwrap()
}

/// The rows after one, oldest first: each is one line.
pub(crate) async fn rows(gateway: &TestGateway, after: u64) -> Vec<Value> {
    let path = format!("/audit/export?after={after}");
    let reply = gateway.client().get(&path).await.expect_status(200);
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let text = reply.text();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The number of the last row.
pub(crate) async fn last(gateway: &TestGateway) -> u64 {
    let page = gateway
        .client()
        .get("/audit?page_size=1")
        .await
        .expect_status(200)
        .json();
    let id = page["audit_logs"][0]["id"].as_str();
    id.map_or(0, |id| id.parse().unwrap())
}

/// The rows about what was refused, as soon as there are so many.
pub(crate) async fn denied(gateway: &TestGateway, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    eventually("the denials are written", PATIENCE, async || {
        found = rows(gateway, 0).await;
        found.retain(|row| row["action"] == "denied");
        found.len() >= count
    })
    .await;
    found
}
