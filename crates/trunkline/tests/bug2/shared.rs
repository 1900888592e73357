//! Two gateways on one database.

use std::time::Duration;

use serde_json::json;
use trunkline_testkit::{ScriptedUpstream, TestGateway, eventually};

use crate::{Database, populate, post_works, rows, serves};

/// Two seconds by design, and as much again for a busy machine.
const SOON: Duration = Duration::from_secs(4);

async fn knows(gateway: &TestGateway, path: &str) -> bool {
    gateway.client().get(path).await.status.as_u16() == 200
}

/// With a key each, which is a mistake: what one seals, the other cannot open, and says so. All else is shared.
async fn two_gateways(database: Database) {
    let upstream = ScriptedUpstream::start().await;
    // Both at once on an empty database: one migrates, the other waits, neither fails.
    let (a, b) = tokio::join!(database.gateway().start(), database.gateway().start());
    populate(&a, &upstream).await;
    eventually("B has what A registered", SOON, async || {
        rows(&b).await.len() == 5
    })
    .await;
    let sealed = b
        .client()
        .get("/v1/mcp/server/reported")
        .await
        .expect_status(200)
        .json();
    let outcome = &sealed["outcome"];
    assert_eq!(outcome["status"], "misconfigured", "{outcome}");
    assert!(outcome.to_string().contains("LITELLM_SALT_KEY"), "{outcome}");

    post_works(&b, "later_b").await;
    eventually("A has what B registered", SOON, async || {
        knows(&a, "/v1/mcp/server/later_b").await
    })
    .await;
    let change = json!({"server_id": "later_b", "description": "changed"});
    a.client().put("/v1/mcp/server", &change).await.expect_status(202);
    eventually("B has A's change", SOON, async || {
        let row = b.client().get("/v1/mcp/server/later_b").await.json();
        row["description"] == "changed"
    })
    .await;
    b.client()
        .delete("/v1/mcp/server/later_b")
        .await
        .expect_status(202);
    eventually("it is gone from A", SOON, async || {
        !knows(&a, "/v1/mcp/server/later_b").await
    })
    .await;
}

/// With one key for both, as replicas have.
async fn replicas(database: Database) {
    let upstream = ScriptedUpstream::builder().bearer("key").start().await;
    let builder = database
        .gateway()
        .master_key(Some("sk-replicas-3f9d1c7a5e2b8046"));
    let (a, b) = tokio::join!(builder.clone().start(), builder.start());
    populate(&a, &upstream).await;
    eventually("B reads the same rows", SOON, async || {
        rows(&b).await == rows(&a).await
    })
    .await;
    // The credential that A sealed is opened by B: the upstream asks for it.
    let call = json!({"server_id": "reported", "name": "echo", "arguments": {"message": "m"}});
    for gateway in [&a, &b] {
        let called = gateway.client().post("/mcp-rest/tools/call", &call).await;
        assert_eq!(called.expect_status(200).json()["content"][0]["text"], "m");
    }
    // A session begun at A goes on at B.
    let mut mcp = a.mcp();
    mcp.initialize().await;
    let mut at_b = b.mcp();
    at_b.set_session(mcp.session());
    let called = at_b.call("reported-echo", &json!({"message": "m"}), None).await;
    assert_eq!(called.result()["content"][0]["text"], "m");
    // The same name twice at once: one of the two.
    let server = json!({"server_id": "later", "server_name": "later", "url": "http://127.0.0.1:9/mcp", "transport": "http"});
    let (client_a, client_b) = (a.client(), b.client());
    let (one, other) = tokio::join!(
        client_a.post("/v1/mcp/server", &server),
        client_b.post("/v1/mcp/server", &server)
    );
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 400], "{} {}", one.text(), other.text());
}

#[tokio::test]
async fn bug2_two_gateways_on_one_database_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    replicas(database).await;
}

#[tokio::test]
async fn bug2_two_gateways_on_one_database_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    replicas(database).await;
}

#[tokio::test]
async fn bug2_changes_are_seen_by_the_other_gateway_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    two_gateways(database).await;
}

#[tokio::test]
async fn bug2_changes_are_seen_by_the_other_gateway_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    two_gateways(database).await;
}

/// An old gateway and a new one during an upgrade: the old one is stopped, and the new one never stopped serving.
#[tokio::test]
async fn bug2_a_rolling_restart_never_stops_serving() {
    let Some(database) = Database::postgres() else {
        return;
    };
    let upstream = ScriptedUpstream::start().await;
    let builder = database
        .gateway()
        .master_key(Some("sk-replicas-3f9d1c7a5e2b8046"));
    let mut old = builder.clone().start().await;
    populate(&old, &upstream).await;
    let new = builder.start().await;
    serves(&new).await;
    serves(&old).await;
    assert_eq!(old.stop(trunkline_testkit::Signal::Term).await.code, Some(0));
    serves(&new).await;
    post_works(&new, "later").await;
}
