//! A schema that lost something: the gateway does not start on it, says precisely what is missing, and what to do.

use trunkline_testkit::{ScriptedUpstream, Signal, TestGateway};

use crate::{Database, LOST_COLUMNS, populate, post_works, rows, serves};

async fn populated(database: &Database) -> (TestGateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start().await;
    let gateway = database.gateway().start().await;
    populate(&gateway, &upstream).await;
    (gateway, upstream)
}

fn drop_column(database: &Database, column: &str) {
    if column == "approval_status" {
        // SQLite refuses to drop an indexed column; PostgreSQL drops the index with it.
        database.sql("DROP INDEX mcp_server_approval_status");
    }
    database.sql(&format!("ALTER TABLE mcp_server DROP COLUMN {column}"));
}

/// Start, status, repair, start: with what each says about these columns.
async fn named_and_repaired(database: &Database, gateway: &mut TestGateway, columns: &[&str]) {
    let failure = gateway.try_restart().await.expect_err("it must not start");
    assert!(failure.exit.code.is_some_and(|code| code != 0), "{failure}");
    let (code, status) = database.command(&database.gateway(), "status").await;
    assert_eq!(code, Some(1), "{status}");
    for column in columns {
        let name = format!("mcp_server.{column}");
        assert!(failure.stderr.contains(&name), "{name} is not named: {failure}");
        assert!(status.contains(&name), "{name} is not named: {status}");
    }
    for said in [&failure.stderr, &status] {
        assert!(said.contains("trunkline db repair"), "{said}");
    }

    let (code, repaired) = database.command(&database.gateway(), "repair").await;
    assert_eq!(code, Some(0), "{repaired}");
    for column in columns {
        assert!(
            repaired.contains(&format!("added column mcp_server.{column}")),
            "{repaired}"
        );
    }
    let (code, status) = database.command(&database.gateway(), "status").await;
    assert_eq!(code, Some(0), "{status}");
    gateway
        .try_restart()
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// One at a time, as somebody does by hand: all other values stay.
async fn one_column(database: Database) {
    let (mut gateway, _upstream) = populated(&database).await;
    let read = rows(&gateway).await;
    gateway.stop(Signal::Term).await;
    drop_column(&database, "review_notes");
    named_and_repaired(&database, &mut gateway, &["review_notes"]).await;
    let now = rows(&gateway).await;
    let without: Vec<String> = read
        .iter()
        .map(|row| row.replace("\"no — see “policy” ✗\"", "null"))
        .collect();
    assert_ne!(without, read, "the value was in it");
    assert_eq!(now, without);
    post_works(&gateway, "later").await;
    serves(&gateway).await;
}

#[tokio::test]
async fn bug2_a_dropped_column_is_named_and_repaired_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    one_column(database).await;
}

#[tokio::test]
async fn bug2_a_dropped_column_is_named_and_repaired_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    one_column(database).await;
}

/// All that the reported version lost, at once. Who was approved is lost with it: no submission may begin to serve.
async fn all_six(database: Database) {
    let (mut gateway, _upstream) = populated(&database).await;
    gateway.stop(Signal::Term).await;
    for column in LOST_COLUMNS {
        drop_column(&database, column);
    }
    named_and_repaired(&database, &mut gateway, &LOST_COLUMNS).await;
    assert_eq!(rows(&gateway).await.len(), 5, "no row is lost");
    post_works(&gateway, "later").await;
    let tools = gateway.client().get("/v1/mcp/tools").await.expect_status(200);
    for id in ["submitted_waiting", "submitted_rejected"] {
        assert!(!tools.text().contains(id), "{id} serves: {}", tools.text());
    }
}

#[tokio::test]
async fn bug2_the_six_lost_columns_are_named_and_repaired_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    all_six(database).await;
}

#[tokio::test]
async fn bug2_the_six_lost_columns_are_named_and_repaired_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    all_six(database).await;
}

/// Under a gateway that runs: it goes on serving, refuses the change with 503, and says why in its log.
async fn while_running(database: Database) {
    let (gateway, _upstream) = populated(&database).await;
    serves(&gateway).await;
    drop_column(&database, "review_notes");
    let server =
        serde_json::json!({"server_name": "later", "url": "http://127.0.0.1:9/mcp", "transport": "http"});
    let client = gateway.client();
    client.post("/v1/mcp/server", &server).await.expect_status(503);
    gateway.says("review_notes").await;
    serves(&gateway).await;

    let (code, said) = database.command(&database.gateway(), "repair").await;
    assert_eq!(code, Some(0), "{said}");
    post_works(&gateway, "later").await;
    serves(&gateway).await;
}

#[tokio::test]
async fn bug2_a_column_dropped_under_a_running_gateway_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    while_running(database).await;
}

#[tokio::test]
async fn bug2_a_column_dropped_under_a_running_gateway_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    while_running(database).await;
}

/// A whole table is restored, too.
#[tokio::test]
async fn bug2_a_dropped_table_is_named_and_repaired() {
    let Some(database) = Database::postgres() else {
        return;
    };
    let (mut gateway, _upstream) = populated(&database).await;
    gateway.stop(Signal::Term).await;
    database.sql("DROP TABLE mcp_catalogue");
    let failure = gateway.try_restart().await.expect_err("it must not start");
    assert!(failure.stderr.contains("mcp_catalogue"), "{failure}");
    let (code, said) = database.command(&database.gateway(), "repair").await;
    assert_eq!(code, Some(0), "{said}");
    gateway.restart().await;
    serves(&gateway).await;
}
