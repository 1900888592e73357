//! Restarts change nothing.

use std::time::Duration;

use trunkline_testkit::{ScriptedUpstream, Signal, eventually};

use crate::{Database, LOST_COLUMNS, populate, post_works, rows, serves};

async fn ten_restarts(database: Database) {
    let upstream = ScriptedUpstream::start().await;
    let mut gateway = database.gateway().start().await;
    populate(&gateway, &upstream).await;
    let (read, stored) = (rows(&gateway).await, database.dump());
    assert_eq!(read.len(), 5);
    for column in LOST_COLUMNS {
        let filled = database.sql(&format!(
            "SELECT count(*) FROM mcp_server WHERE {column} IS NOT NULL"
        ));
        assert_ne!(filled.trim(), "0", "{column} is in use");
    }
    serves(&gateway).await;

    for round in 0..10 {
        // Every other one ends like a machine that is switched off.
        if round % 2 == 1 {
            gateway.kill9().await;
        } else {
            assert_eq!(gateway.stop(Signal::Term).await.code, Some(0));
        }
        gateway.restart().await;
        // On the first read, without a write before it (B26).
        assert_eq!(rows(&gateway).await, read, "after restart {round}");
        assert_eq!(database.dump(), stored, "after restart {round}");
        post_works(&gateway, &format!("later_{round}")).await;
    }
    serves(&gateway).await;
    assert_eq!(database.sql("SELECT count(*) FROM mcp_server").trim(), "15");
    assert!(!gateway.log().contains("database migrated"), "{}", gateway.log());
}

#[tokio::test]
async fn bug2_b32_ten_restarts_lose_nothing_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    ten_restarts(database).await;
}

#[tokio::test]
async fn bug2_b32_ten_restarts_lose_nothing_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    ten_restarts(database).await;
}

/// A newer version was here and left a migration, a column and a table; then this one comes back, then the newer one.
async fn another_version(database: Database) {
    let upstream = ScriptedUpstream::start().await;
    let mut gateway = database.gateway().start().await;
    populate(&gateway, &upstream).await;
    let read = rows(&gateway).await;
    gateway.stop(Signal::Term).await;

    database.sql("ALTER TABLE mcp_server ADD COLUMN of_the_future TEXT NOT NULL DEFAULT 'f'");
    database.sql("CREATE TABLE of_the_future (id BIGINT PRIMARY KEY, note TEXT)");
    database.sql("INSERT INTO of_the_future VALUES (1, 'kept')");
    database.sql("INSERT INTO trunkline_migration (version, name, applied_at) VALUES (99, 'future', 1)");
    let (code, said) = database.command(&database.gateway(), "status").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("0099_future"), "{said}");

    gateway.restart().await;
    gateway.says("0099_future").await;
    assert_eq!(rows(&gateway).await, read);
    serves(&gateway).await;
    post_works(&gateway, "later").await;
    assert_eq!(database.sql("SELECT note FROM of_the_future").trim(), "kept");
    let filled = database.sql("SELECT DISTINCT of_the_future FROM mcp_server");
    assert_eq!(filled.trim(), "f");
}

#[tokio::test]
async fn bug2_b32_a_newer_versions_database_works_and_stays_whole_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    another_version(database).await;
}

#[tokio::test]
async fn bug2_b32_a_newer_versions_database_works_and_stays_whole_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    another_version(database).await;
}

/// The servers are in the database alone, and the file says LiteLLM's `store_model_in_db: false`.
#[tokio::test]
async fn bug2_b26_servers_of_the_database_are_there_whatever_store_model_in_db_says() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    let upstream = ScriptedUpstream::start().await;
    let config = "general_settings:\n  store_model_in_db: false\n";
    let mut gateway = database.gateway().config(config).start().await;
    populate(&gateway, &upstream).await;
    let read = rows(&gateway).await;
    gateway.restart().await;
    assert_eq!(rows(&gateway).await, read);
    serves(&gateway).await;
}

/// What was listed before the restart is listed at once after it, also when the upstream is gone.
#[tokio::test]
async fn bug2_tools_are_there_after_a_restart_without_the_upstream() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    let upstream = ScriptedUpstream::start().await;
    let mut gateway = database.gateway().start().await;
    populate(&gateway, &upstream).await;
    let tools = async |gateway: &trunkline_testkit::TestGateway| {
        let reply = gateway.client().get("/v1/mcp/tools").await.expect_status(200);
        reply.json()["tools"].as_array().unwrap().len()
    };
    eventually("three servers are listed", Duration::from_secs(5), async || {
        tools(&gateway).await == 3
    })
    .await;
    // The catalogue is written beside the answer.
    eventually(
        "three catalogues are stored",
        Duration::from_secs(5),
        async || database.sql("SELECT count(*) FROM mcp_catalogue").trim() == "3",
    )
    .await;
    upstream.stop().await;
    gateway.restart().await;
    assert_eq!(tools(&gateway).await, 3);
}

async fn migrated_twice(database: Database) {
    let builder = database.gateway();
    let (code, said) = database.command(&builder, "status").await;
    assert_eq!(code, Some(1), "an empty database is not ready: {said}");
    assert!(said.contains("pending  0001_registry"), "{said}");
    let (code, said) = database.command(&builder, "migrate").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("applied 0001_registry"), "{said}");
    for _ in 0..2 {
        let (code, said) = database.command(&builder, "migrate").await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("nothing to do"), "{said}");
    }
    let (code, said) = database.command(&builder, "repair").await;
    assert_eq!((code, said.trim()), (Some(0), "nothing to repair"));
    let (code, said) = database.command(&builder, "status").await;
    assert_eq!(code, Some(0), "{said}");
    let gateway = builder.start().await;
    post_works(&gateway, "later").await;
}

#[tokio::test]
async fn bug2_migrating_again_does_nothing_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    migrated_twice(database).await;
}

#[tokio::test]
async fn bug2_migrating_again_does_nothing_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    migrated_twice(database).await;
}
