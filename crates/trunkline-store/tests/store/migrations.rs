//! The schema: both databases get the same one, whole or not at all, at every start and from every version.

use trunkline_model::Secret;
use trunkline_store::{MigrateError, Migration, MigrationSet, Store};

use crate::fixture::{Db, at, both, by, full, on_postgres, on_sqlite, server, vault};

fn step(version: i64, name: &'static str, text: &'static str) -> Migration {
    Migration {
        version,
        name: name.into(),
        sqlite: text.into(),
        postgres: text.into(),
    }
}

/// What the next version will bring: a column, and a table.
fn newer() -> MigrationSet {
    MigrationSet::embedded().with(step(
        1000,
        "future",
        "ALTER TABLE mcp_server ADD COLUMN mood TEXT NOT NULL DEFAULT 'good';\nCREATE TABLE future (id BIGINT);\n",
    ))
}

both! {
    async fn s05_a_version_that_does_not_know_what_protects_somebody_does_not_start(db) {
        let store = db.store().await;
        let guard = step(1001, "guard_mood", "ALTER TABLE mcp_server ADD COLUMN only_when_in_the_mood TEXT;\n");
        let newest = newer().with(guard);
        store.migrate_set(&newest).await.unwrap();
        let schema = db.schema().await;
        // Older ones, of which one knows all but that.
        for set in [MigrationSet::embedded(), newer()] {
            let refused = store.migrate_set(&set).await.unwrap_err();
            assert!(matches!(&refused, MigrateError::Guarded { migration } if migration == "1001_guard_mood"), "{refused}");
        }
        assert_eq!(db.schema().await, schema);
        assert_eq!(store.migrate_set(&newest).await.unwrap().applied, Vec::<String>::new());
    }

    async fn b32_five_restarts_change_nothing(db) {
        let store = db.store().await;
        store.server_insert(&by(), &full("a", "a")).await.unwrap();
        let schema = db.schema().await;
        store.close().await;
        for round in 0..5 {
            let store = db.connect().await;
            let report = store.migrate().await.unwrap();
            assert!(report.applied.is_empty() && report.notices.is_empty(), "{report:?}");
            assert_eq!(report.already_applied, MigrationSet::embedded().steps().len());
            store.verify().await.unwrap();
            assert_eq!(db.schema().await, schema);
            store.server_insert(&by(), &server(&format!("round{round}"))).await.unwrap();
            assert_eq!(store.server_list().await.unwrap().len(), round + 2);
            assert_eq!(store.server_get(&full("a", "a").id).await.unwrap().unwrap(), full("a", "a"));
            store.close().await;
        }
    }

    async fn b32_an_older_database_is_upgraded_with_its_rows(db) {
        let all = MigrationSet::embedded();
        let newer: Vec<String> = all.steps().iter().skip(1).map(Migration::label).collect();
        let store = db.connect().await;
        let report = store.migrate_set(&all.clone().up_to(1)).await.unwrap();
        assert_eq!(report.applied, ["0001_registry"]);
        // This version writes columns that the older one did not have, so they are there while it does.
        let newer_columns = [("schema_compat", "BOOLEAN NOT NULL DEFAULT FALSE"), ("cwd", "TEXT"), ("sandbox", "TEXT"), ("spec", "TEXT"), ("openapi", "TEXT"),
            ("tls_ca", "TEXT"), ("tls_client_cert", "TEXT"), ("tls_client_key", "TEXT"), ("tls_server_name", "TEXT"), ("tls_min_version", "TEXT"),
            ("connect_timeout", "DOUBLE PRECISION"), ("list_timeout", "DOUBLE PRECISION"),
            ("tool_arguments", "TEXT"), ("tool_conditions", "TEXT"), ("tool_approval", "TEXT"),
            ("approval_by_user", "BOOLEAN NOT NULL DEFAULT FALSE"), ("reviewed_by", "TEXT")];
        for (column, kind) in newer_columns {
            db.by_hand(&format!("ALTER TABLE mcp_server ADD COLUMN {column} {kind}")).await;
        }
        // And the table that it writes with every change.
        db.by_hand("CREATE TABLE audit_log (seq BIGINT PRIMARY KEY, updated_at BIGINT, changed_by TEXT, changed_by_api_key TEXT, action TEXT, \
            table_name TEXT, object_id TEXT, before_value TEXT, updated_values TEXT, request_id TEXT, details TEXT)").await;
        store.server_insert(&by(), &full("a", "a")).await.unwrap();
        db.by_hand("DROP TABLE audit_log").await;
        for (column, _) in newer_columns {
            db.by_hand(&format!("ALTER TABLE mcp_server DROP COLUMN {column}")).await;
        }
        let drift = store.verify().await.unwrap_err().to_string();
        assert!(drift.contains("table call_record is missing"), "{drift}");
        assert_eq!(store.status().await.unwrap().pending, newer);
        store.close().await;

        let store = db.connect().await;
        assert_eq!(store.migrate().await.unwrap().applied, newer);
        store.verify().await.unwrap();
        let mut upgraded = full("a", "a");
        upgraded.definition.schema_compat = false;
        upgraded.definition.cwd = None;
        upgraded.definition.sandbox = trunkline_model::Sandbox::default();
        upgraded.definition.spec = None;
        upgraded.definition.openapi = trunkline_model::OpenApiFilter::default();
        upgraded.definition.tls = trunkline_model::TlsSettings::default();
        (upgraded.definition.connect_timeout, upgraded.definition.list_timeout) = (None, None);
        upgraded.definition.tool_arguments.clear();
        upgraded.definition.tool_conditions.clear();
        upgraded.definition.tool_approval.clear();
        upgraded.definition.approval_by_user = false;
        upgraded.approval.reviewed_by = None;
        assert_eq!(store.server_list().await.unwrap(), [upgraded]);
        store.call_record_insert(&[crate::records::record("r", 1)]).await.unwrap();
    }

    async fn b32_two_versions_share_a_database(db) {
        let old = db.store().await;
        old.server_insert(&by(), &full("a", "a")).await.unwrap();
        let new = db.connect().await;
        assert_eq!(new.migrate_set(&newer()).await.unwrap().applied, ["1000_future"]);
        db.by_hand("UPDATE mcp_server SET mood = 'bad'").await;

        // The old version goes on, restarts, and says what it sees.
        old.server_insert(&by(), &full("b", "b")).await.unwrap();
        old.close().await;
        let old = db.connect().await;
        let report = old.migrate().await.unwrap();
        assert_eq!(report.unknown, ["1000_future"]);
        assert!(report.notices[0].contains("1000_future"), "{report:?}");
        old.verify().await.unwrap();
        assert!(old.server_update(&by(), &full("a", "edited")).await.unwrap());
        let status = old.status().await.unwrap();
        assert_eq!(status.unknown[0].label, "1000_future");
        assert!(status.pending.is_empty() && status.drift.is_none());

        // What the new version wrote has survived the old one's edit.
        assert_eq!(db.ask("SELECT mood FROM mcp_server WHERE server_id = 'a'").await, ["bad"]);
        assert_eq!(new.server_list().await.unwrap(), [full("a", "edited"), full("b", "b")]);
    }

    async fn b33_a_failing_migration_leaves_nothing_and_names_its_statement(db) {
        let store = db.store().await;
        store.server_insert(&by(), &full("a", "a")).await.unwrap();
        let schema = db.schema().await;
        let broken = MigrationSet::embedded().with(step(
            900,
            "broken",
            "-- adds a column\nALTER TABLE mcp_server ADD COLUMN half TEXT;\nUPDATE mcp_server SET half = 'x';\n\
             CREATE TABLE other (id BIGINT);\nINSERT INTO nowhere\n    VALUES (1);\nCREATE TABLE never (id BIGINT);\n",
        ));
        let error = store.migrate_set(&broken).await.unwrap_err();
        let MigrateError::Statement { migration, statement, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((migration.as_str(), statement.as_str()), ("0900_broken", "INSERT INTO nowhere VALUES (1);"));
        assert!(error.to_string().contains("0900_broken") && error.to_string().contains("INSERT INTO nowhere"), "{error}");
        assert_eq!(db.schema().await, schema);
        assert_eq!(store.server_list().await.unwrap(), [full("a", "a")]);
        assert!(store.migrate().await.unwrap().unknown.is_empty());
        // Mended, it applies.
        let mended = MigrationSet::embedded().with(step(900, "broken", "CREATE TABLE other (id BIGINT);\n"));
        assert_eq!(store.migrate_set(&mended).await.unwrap().applied, ["0900_broken"]);
    }

    async fn eight_migrate_at_once(db) {
        let mut tasks = tokio::task::JoinSet::new();
        let shared = db.connect().await;
        for index in 0..8 {
            // Half of them in one process, half as processes of their own.
            let store = if index % 2 == 0 { shared.clone() } else { db.connect().await };
            tasks.spawn(async move {
                let report = store.migrate_set(&newer()).await.unwrap();
                store.verify().await.unwrap();
                store.server_insert(&by(), &server(&format!("s{index}"))).await.unwrap();
                report.applied.len()
            });
        }
        let applied: usize = tasks.join_all().await.into_iter().sum();
        assert_eq!(applied, newer().steps().len(), "each step once");
        assert_eq!(shared.server_list().await.unwrap().len(), 8);
        assert_eq!(shared.revision().await.unwrap(), 8);
    }

    async fn status_tells_what_is_there(db) {
        db.clock.set(77);
        let store = db.connect().await;
        let fresh = store.status().await.unwrap();
        assert!(fresh.applied.is_empty() && fresh.rows.is_empty() && fresh.drift.is_some());
        assert_eq!(fresh.pending.len(), MigrationSet::embedded().steps().len());
        store.migrate().await.unwrap();
        store.server_insert(&by(), &server("a")).await.unwrap();
        let status = store.status().await.unwrap();
        assert_eq!(status.backend, if db.is_sqlite() { "sqlite" } else { "postgres" });
        assert_eq!(status.applied[0].label, "0001_registry");
        assert_eq!(status.applied[0].applied_at, at(77));
        assert_eq!(status.drift, None);
        assert_eq!(status.rows, [("mcp_server", 1), ("mcp_catalogue", 0), ("call_record", 0), ("session_ended", 0), ("session_upstream", 0), ("session_state", 0)]);
        assert!(!status.location.contains("root@"), "{}", status.location);
    }
}

/// Every statement is known to both databases, with the same parameters and columns.
#[test]
fn statements_are_the_same_on_both() {
    on_postgres(|postgres| {
        Box::pin(async move {
            let postgres = postgres.store().await.prepare_all().await.unwrap();
            let sqlite = Db::sqlite().store().await.prepare_all().await.unwrap();
            assert_eq!(sqlite, postgres);
            assert!(postgres.len() > 20, "{}", postgres.len());
        })
    });
}

/// The two folders of migrations make one schema.
#[test]
fn schemas_are_the_same_on_both() {
    on_postgres(|postgres| {
        Box::pin(async move {
            let sqlite = Db::sqlite();
            postgres.store().await;
            sqlite.store().await;
            assert_eq!(sqlite.schema().await, postgres.schema().await);
            assert!(sqlite.schema().await.len() > 80);
        })
    });
}

#[test]
fn the_file_is_private_and_durable() {
    on_sqlite(|db| {
        Box::pin(async move {
            let store = db.store().await;
            store.server_insert(&by(), &server("a")).await.unwrap();
            let path = db.path.clone().unwrap();
            assert_eq!(store.location(), path.display().to_string());
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let mode =
                    |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode(path.parent().unwrap()), 0o700);
                for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
                    let file = entry.unwrap().path();
                    assert_eq!(mode(&file), 0o600, "{}", file.display());
                }
            }
            assert_eq!(db.ask("PRAGMA journal_mode").await, ["wal"]);
            store.close().await;
            assert!(
                !path.with_extension("db-wal").exists(),
                "the log is merged at the end"
            );
        })
    });
}

#[tokio::test]
async fn memory_is_one_database_for_all_connections() {
    let clock = std::sync::Arc::new(crate::fixture::TestClock::new(at(0)));
    let url = Secret::new("sqlite::memory:");
    let store = Store::connect(&url, vault("salt"), clock.clone()).await.unwrap();
    store.migrate().await.unwrap();
    store.verify().await.unwrap();
    let tasks: tokio::task::JoinSet<_> = (0..8)
        .map(|index| {
            let store = store.clone();
            async move {
                store
                    .server_insert(&by(), &server(&format!("s{index}")))
                    .await
                    .unwrap();
                store.server_list().await.unwrap().len()
            }
        })
        .collect();
    tasks.join_all().await;
    assert_eq!(store.server_list().await.unwrap().len(), 8);
    let other = Store::connect(&url, vault("salt"), clock).await.unwrap();
    assert!(other.verify().await.is_err(), "another one is another database");
}
