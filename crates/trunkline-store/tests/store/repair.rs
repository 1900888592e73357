//! Drift: named exactly, mended by adding, never by dropping.

use trunkline_model::{ApprovalStatus, Server};
use trunkline_store::{Drift, RepairReport, Store};

use crate::fixture::{at, both, by, full, server};

/// The columns that restarts of LiteLLM lost.
const LOST: [&str; 6] = [
    "source_url",
    "approval_status",
    "submitted_by",
    "submitted_at",
    "reviewed_at",
    "review_notes",
];

async fn repaired(store: &Store) -> RepairReport {
    let report = store.repair().await.unwrap();
    assert!(report.unresolved.is_empty(), "{report:?}");
    store.verify().await.unwrap();
    report
}

both! {
    async fn b32_each_lost_column_is_named_and_restored(db) {
        let store = db.store().await;
        let schema = db.schema().await;
        let mut row = full("a", "a");
        row.approval.status = ApprovalStatus::Active;
        store.server_insert(&by(), &row).await.unwrap();
        for (index, column) in LOST.into_iter().enumerate() {
            // An index goes with its column.
            db.by_hand("DROP INDEX IF EXISTS mcp_server_approval_status").await;
            db.by_hand(&format!("ALTER TABLE mcp_server DROP COLUMN {column}")).await;
            // A process that starts now.
            let fresh = db.connect().await;
            fresh.migrate().await.unwrap();
            let drift = fresh.verify().await.unwrap_err();
            assert_eq!(drift.differences, [Drift::MissingColumn { table: "mcp_server", column }]);
            let text = drift.to_string();
            assert!(text.contains(&format!("mcp_server.{column}")) && text.contains("trunkline db repair"), "{text}");
            assert!(fresh.server_insert(&by(), &server("too_early")).await.is_err());
            let report = repaired(&fresh).await;
            assert!(report.done.contains(&format!("added column mcp_server.{column}")), "{report:?}");
            assert_eq!(db.schema().await, schema);
            // Both the new process and the one that ran all the time store again.
            fresh.server_insert(&by(), &full(&format!("{index}"), "new")).await.unwrap();
            store.server_insert(&by(), &full(&format!("{index}x"), "new")).await.unwrap();
            assert_eq!(store.server_list().await.unwrap().len(), 3 + index * 2);
        }
        let kept = store.server_get(&row.id).await.unwrap().unwrap();
        assert_eq!(kept.definition.credentials, row.definition.credentials);
        assert_eq!(kept.stamps, row.stamps);
    }

    async fn all_six_at_once(db) {
        let store = db.store().await;
        store.server_insert(&by(), &full("a", "a")).await.unwrap();
        db.by_hand("DROP INDEX mcp_server_approval_status").await;
        for column in LOST {
            db.by_hand(&format!("ALTER TABLE mcp_server DROP COLUMN {column}")).await;
        }
        assert_eq!(store.verify().await.unwrap_err().differences.len(), 6);
        repaired(&store).await;
        // A rejected submission does not begin to serve because nobody remembers.
        assert!(!store.server_list().await.unwrap()[0].is_active());
        store.server_insert(&by(), &full("b", "b")).await.unwrap();
    }

    async fn a_lost_approval_fails_closed(db) {
        let store = db.store().await;
        let submitted = |id: &str| {
            let mut row: Server = server(id);
            row.approval.status = ApprovalStatus::PendingReview;
            row.approval.submitted_at = Some(at(1));
            row
        };
        store.server_insert(&by(), &server("administrator")).await.unwrap();
        store.server_insert(&by(), &submitted("submission")).await.unwrap();
        db.by_hand("DROP INDEX mcp_server_approval_status").await;
        db.by_hand("ALTER TABLE mcp_server DROP COLUMN approval_status").await;
        let report = repaired(&store).await;
        assert!(report.warnings[0].starts_with("1 server(s) now wait for review"), "{report:?}");
        assert_eq!(store.server_list().await.unwrap(), [server("administrator"), submitted("submission")]);

        db.by_hand("ALTER TABLE mcp_server DROP COLUMN disallowed_tools").await;
        let report = repaired(&store).await;
        assert!(report.warnings[0].contains("mcp_server.disallowed_tools"), "{report:?}");
    }

    async fn repair_builds_what_the_migrations_build(db) {
        let store = db.store().await;
        let schema = db.schema().await;
        let tables = [
            "mcp_server", "mcp_catalogue", "registry_revision", "call_record", "session_ended", "session_upstream",
            "session_state", "replica",
        ];
        for table in tables {
            db.by_hand(&format!("DROP TABLE {table}")).await;
        }
        let differences = store.verify().await.unwrap_err().differences;
        // A table's triggers go with it.
        let is_trigger = |found: &&trunkline_store::Drift| matches!(found, trunkline_store::Drift::MissingTrigger { .. });
        let triggers = differences.iter().filter(is_trigger).count();
        assert!((1..=2).contains(&triggers), "{differences:?}");
        assert_eq!(differences.len(), tables.len() + triggers);
        let report = repaired(&store).await;
        assert!(report.done.contains(&"added table mcp_server".to_owned()), "{report:?}");
        assert_eq!(db.schema().await, schema);
        store.server_insert(&by(), &full("a", "a")).await.unwrap();
        assert_eq!(store.server_list().await.unwrap(), [full("a", "a")]);
        store.call_record_insert(&[crate::records::record("r", 1)]).await.unwrap();
        assert_eq!(repaired(&store).await, RepairReport::default(), "nothing is left to do");
    }

    async fn repair_migrates_first(db) {
        let store = db.connect().await;
        let report = repaired(&store).await;
        assert!(report.done[0].contains("0001_registry"), "{report:?}");
        store.server_insert(&by(), &server("a")).await.unwrap();
    }

    async fn what_cannot_be_mended_by_adding_is_left_and_named(db) {
        let store = db.store().await;
        store.server_insert(&by(), &server("a")).await.unwrap();
        db.by_hand("ALTER TABLE mcp_server DROP COLUMN rpm").await;
        db.by_hand("ALTER TABLE mcp_server ADD COLUMN rpm BOOLEAN").await;
        db.by_hand("CREATE TABLE copy (server_id TEXT PRIMARY KEY NOT NULL, fetched_at BIGINT NOT NULL, definition_digest TEXT NOT NULL, \
            protocol_version TEXT NOT NULL, server_info TEXT, instructions TEXT, tools TEXT NOT NULL, capabilities TEXT, extra TEXT NOT NULL)").await;
        db.by_hand("DROP TABLE mcp_catalogue").await;
        db.by_hand("ALTER TABLE copy RENAME TO mcp_catalogue").await;
        let differences = store.verify().await.unwrap_err().differences;
        assert!(
            matches!(&differences[..], [
                Drift::WrongType { table: "mcp_server", column: "rpm", expected: "BIGINT", found },
                Drift::NotNullable { table: "mcp_catalogue", column: "protocol_version" },
                Drift::BlocksInsert { table: "mcp_catalogue", column },
            ] if found.eq_ignore_ascii_case("boolean") && column == "extra"),
            "{differences:?}"
        );
        let report = store.repair().await.unwrap();
        assert_eq!(report.unresolved, differences);
        assert!(report.done.is_empty());
    }

    async fn a_lost_key_is_a_drift(db) {
        let store = db.store().await;
        db.by_hand("DROP TABLE session_ended").await;
        db.by_hand("CREATE TABLE session_ended (session_key TEXT NOT NULL, expires_at BIGINT NOT NULL DEFAULT 0, ended_at BIGINT NOT NULL DEFAULT 0)").await;
        assert_eq!(store.verify().await.unwrap_err().differences, [Drift::MissingKey { table: "session_ended" }]);
        repaired(&store).await;
        store.session_end(trunkline_model::SessionKey([1; 16]), at(1 << 33)).await.unwrap();
        store.session_end(trunkline_model::SessionKey([1; 16]), at(1 << 33)).await.unwrap();
        assert_eq!(store.session_ended_list().await.unwrap().len(), 1);
    }

    async fn an_unreachable_database_is_not_called_drift(db) {
        let store = db.store().await;
        store.close().await;
        let drift = store.verify().await.unwrap_err();
        assert!(matches!(&drift.differences[..], [Drift::Unreadable { .. }]));
        assert!(!drift.to_string().contains("repair"), "{drift}");
    }
}
