//! The audit log: no change without its row, no row without its change, and nothing touches a row.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use trunkline_model::{KeyHash, VirtualKey};
use trunkline_store::{Actor, AuditFilter, AuditRow, AuditSort, Denial, Denials, Drift, Registry, Store};

use crate::fixture::{at, both, by, server, with_credential};

const HOUR: Duration = Duration::from_hours(1);

/// All rows, oldest first.
async fn rows(store: &Store) -> Vec<AuditRow> {
    store.audit_after(0, 10_000).await.unwrap()
}

/// Action, table and object of each.
async fn said(store: &Store) -> Vec<(String, String, String)> {
    let all = rows(store).await;
    all.into_iter()
        .map(|row| (row.action, row.table_name, row.object_id))
        .collect()
}

fn row(action: &str, table: &str, id: &str) -> (String, String, String) {
    (action.to_owned(), table.to_owned(), id.to_owned())
}

/// What was refused to a key.
fn denial(object: &str, time: Timestamp) -> Denial {
    Denial {
        at: time,
        by: Actor {
            changed_by: "u".to_owned(),
            changed_by_api_key: "hash".to_owned(),
            request_id: Some("r".to_owned()),
            ..Actor::default()
        },
        table: "LiteLLM_MCPServerTable",
        object_id: object.to_owned(),
        details: vec![("reason", "no_grant".into()), ("status", 403.into())],
    }
}

async fn denied(store: &Store, denials: impl IntoIterator<Item = Denial>) {
    let (queue, writer) = Denials::new(store.clone());
    for one in denials {
        queue.send(one);
    }
    let lost = queue.lost();
    drop(queue);
    writer.await;
    assert_eq!(lost, 0);
}

both! {
    async fn a_change_and_its_row_are_one(db) {
        let store = db.store().await;
        store.server_insert(&by(), &server("a")).await.unwrap();
        assert!(store.server_insert(&by(), &server("a")).await.is_err(), "taken");
        assert!(!store.server_update(&by(), &server("none")).await.unwrap());
        let mut changed = with_credential("a", "canary-one");
        changed.definition.description = Some("other".to_owned());
        assert!(store.server_update(&by(), &changed).await.unwrap());
        assert!(store.server_update(&by(), &with_credential("a", "canary-two")).await.unwrap());
        assert!(store.server_delete(&by(), &changed.id).await.unwrap());
        assert!(!store.server_delete(&by(), &changed.id).await.unwrap());
        let table = "LiteLLM_MCPServerTable";
        let expected = ["created", "updated", "updated", "deleted"].map(|action| row(action, table, "a"));
        assert_eq!(said(&store).await, expected);
        let all = rows(&store).await;
        let [made, first, second, gone] = &all[..] else { panic!("{all:?}") };
        assert_eq!(made.before_value, None);
        assert_eq!(made.updated_values.as_ref().unwrap()["server_id"], "a");
        assert_eq!(first.before_value.as_ref().unwrap()["description"], Value::Null);
        assert_eq!(first.updated_values.as_ref().unwrap()["description"], "other");
        assert_eq!(second.before_value.as_ref().unwrap()["credentials"], "(secret)");
        assert_eq!(second.updated_values.as_ref().unwrap()["credentials"], "(another secret)");
        assert_eq!((&gone.updated_values, &gone.before_value.as_ref().unwrap()["credentials"]), (&None, &json!("(secret)")));
        assert_eq!((made.seq, gone.seq), (1, 4), "without gaps");
        assert_eq!((&*made.changed_by, made.updated_at), ("test", at(1_700_000_000)));
        // Neither clear nor sealed.
        let dump = format!("{all:?}");
        assert!(!dump.contains("canary") && !dump.contains("enc:"), "{dump}");
    }

    async fn without_the_log_nothing_is_changed(db) {
        let store = db.store().await;
        let registry = Registry::load(store.clone(), vec![]).await.unwrap();
        let key = VirtualKey::new(KeyHash([1; 32]));
        registry.keys().insert(&by(), key.clone()).await.unwrap();
        db.by_hand("ALTER TABLE audit_log RENAME TO elsewhere").await;
        assert!(registry.insert(&by(), server("a")).await.is_err());
        assert!(registry.keys().insert(&by(), VirtualKey::new(KeyHash([2; 32]))).await.is_err());
        assert!(registry.keys().delete(&by(), &[key.hash]).await.is_err());
        assert!(registry.set_file_servers(&by(), vec![server("f")], &trunkline_store::FileSettings::default(), at(1)).await.is_err());
        assert!(registry.snapshot().servers().is_empty());
        assert_eq!(registry.keys().ring().directory().keys.len(), 1);
        assert_eq!(store.server_list().await.unwrap(), []);
        assert_eq!(store.key_list().await.unwrap().len(), 1);
        db.by_hand("ALTER TABLE elsewhere RENAME TO audit_log").await;
        registry.insert(&by(), server("a")).await.unwrap();
        assert_eq!(rows(&store).await.len(), 2, "what failed has left none");
    }

    async fn a_file_that_changes_something_is_a_row(db) {
        let store = db.store().await;
        let registry = Registry::load(store.clone(), vec![]).await.unwrap();
        let settings = trunkline_store::FileSettings { file: "config.yaml".to_owned(), applied: vec![], needs_restart: vec![] };
        let process = Actor::process("configuration file");
        for _ in 0..2 {
            registry.set_file_servers(&process, vec![server("f")], &settings, at(1)).await.unwrap();
        }
        let all = rows(&store).await;
        let [only] = &all[..] else { panic!("{all:?}") };
        assert_eq!((&*only.action, &*only.table_name, &*only.object_id), ("updated", "LiteLLM_Config", "config.yaml"));
        assert_eq!(only.changed_by, "configuration file");
        assert_eq!(only.updated_values.as_ref().unwrap()["servers"]["added"], json!(["name_f"]));
    }

    async fn nothing_changes_or_deletes_a_row(db) {
        let store = db.store().await;
        for id in ["a", "b"] {
            store.server_insert(&by(), &server(id)).await.unwrap();
        }
        let before = rows(&store).await;
        for refused in [
            "UPDATE audit_log SET action = 'x'",
            "UPDATE audit_log SET changed_by = 'x' WHERE seq = 1",
            "DELETE FROM audit_log",
            "DELETE FROM audit_log WHERE seq = 2",
            "INSERT INTO audit_log (seq, action) VALUES (1, 'x')",
        ] {
            let error = db.try_by_hand(refused).await.unwrap_err().to_string();
            assert!(error.contains("append-only") || refused.starts_with("INSERT"), "{refused}: {error}");
        }
        if db.is_sqlite() {
            let replaced = db.try_by_hand("INSERT OR REPLACE INTO audit_log (seq, action) VALUES (1, 'x')").await;
            assert!(replaced.unwrap_err().to_string().contains("append-only"));
        } else {
            assert!(db.try_by_hand("TRUNCATE audit_log").await.unwrap_err().to_string().contains("append-only"));
        }
        assert_eq!(rows(&store).await, before);
    }

    async fn a_lost_trigger_stops_the_start_and_is_repaired(db) {
        let store = db.store().await;
        let table = if db.is_sqlite() { "" } else { " ON audit_log" };
        db.by_hand(&format!("DROP TRIGGER audit_log_update{table}")).await;
        let drift = store.verify().await.unwrap_err();
        let lost = Drift::MissingTrigger { table: "audit_log", trigger: "audit_log_update" };
        assert_eq!(drift.differences, [lost]);
        assert!(drift.to_string().contains("trigger audit_log_update"), "{drift}");
        let report = store.repair().await.unwrap();
        assert_eq!(report.done, ["added trigger audit_log_update on audit_log"]);
        store.verify().await.unwrap();
        let all = rows(&store).await;
        assert_eq!((all.len(), &*all[0].table_name, &*all[0].changed_by), (1, "trunkline_schema", "trunkline db repair"));
        assert!(db.try_by_hand("UPDATE audit_log SET action = 'x'").await.is_err());
        assert_eq!(store.repair().await.unwrap(), trunkline_store::RepairReport::default());
        assert_eq!(rows(&store).await.len(), 1, "a repair that did nothing leaves none");
        // The whole table.
        db.by_hand("DROP TABLE audit_log").await;
        store.repair().await.unwrap();
        store.verify().await.unwrap();
        assert!(db.try_by_hand("UPDATE audit_log SET action = 'x'").await.is_err());
        store.server_insert(&by(), &server("a")).await.unwrap();
        assert!(rows(&store).await.iter().all(|row| row.seq > 1), "numbers are not used again");
    }

    async fn retention_deletes_what_is_older_and_says_so(db) {
        let store = db.store().await;
        for (index, time) in [1000, 2000, 3000].into_iter().enumerate() {
            db.clock.set(time);
            store.server_insert(&by(), &server(&format!("s{index}"))).await.unwrap();
        }
        let callers = (0..1500).map(|caller: u32| {
            let mut denial = denial("d", at(1500));
            denial.by.changed_by_api_key = caller.to_string();
            denial
        });
        denied(&store, callers).await;
        db.clock.set(4000);
        assert_eq!(store.audit_prune(at(2000), HOUR).await.unwrap(), 1501);
        let kept = said(&store).await;
        assert_eq!(kept[..2], [
            row("created", "LiteLLM_MCPServerTable", "s1"),
            row("created", "LiteLLM_MCPServerTable", "s2"),
        ]);
        assert_eq!(kept[2..], [row("deleted", "LiteLLM_AuditLog", "retention"), row("deleted", "LiteLLM_AuditLog", "retention")]);
        let all = rows(&store).await;
        let deleted: i64 = all[2..].iter().map(|row| row.details["rows"].as_i64().unwrap()).sum();
        assert_eq!((deleted, &all[2].details["older_than"]), (1501, &json!("1970-01-01T00:33:20Z")));
        // What is left is guarded as before.
        assert!(db.try_by_hand("DELETE FROM audit_log WHERE object_id = 's1'").await.is_err());
        // Another replica looks within the hour: somebody has.
        db.clock.set(4000 + 1800);
        let other = db.connect().await;
        assert_eq!(other.audit_prune(at(3500), HOUR).await.unwrap(), 0);
        db.clock.set(4000 + 3600);
        assert_eq!(other.audit_prune(at(3500), HOUR).await.unwrap(), 2);
        // Numbers are not used again, also when all rows are gone.
        let last = rows(&store).await.last().unwrap().seq;
        store.server_insert(&by(), &server("later")).await.unwrap();
        assert_eq!(rows(&store).await.last().unwrap().seq, last + 1);
    }

    async fn reading_on_misses_nothing_while_rows_are_added(db) {
        let store = db.store().await;
        let other = db.connect().await;
        let write = async |store: &Store, name: &str| {
            for index in 0..40 {
                store.server_insert(&by(), &server(&format!("{name}{index}"))).await.unwrap();
                denied(store, (0..3).map(|_| denial("d", at(1)))).await;
            }
        };
        let read = async {
            let mut seen: Vec<i64> = Vec::new();
            while seen.len() < 320 {
                let after = seen.last().copied().unwrap_or(0);
                seen.extend(store.audit_after(after, 7).await.unwrap().iter().map(|row| row.seq));
                tokio::task::yield_now().await;
            }
            seen
        };
        let ((), (), seen) = tokio::join!(write(&store, "x"), write(&other, "y"), read);
        assert_eq!(seen, (1..=320).collect::<Vec<i64>>());
    }

    async fn a_page_is_filtered_and_sorted(db) {
        let store = db.store().await;
        for (index, id) in ["b", "a", "c"].into_iter().enumerate() {
            db.clock.set(1000 + i64::try_from(index).unwrap());
            store.server_insert(&by(), &server(id)).await.unwrap();
        }
        denied(&store, [denial("a", at(1005))]).await;
        let page = async |filter: AuditFilter, order, part| {
            let (total, rows) = store.audit_page(&filter, order, part).await.unwrap();
            (total, rows.into_iter().map(|row| row.object_id).collect::<String>())
        };
        let all = AuditFilter::default;
        let newest = (AuditSort::of("updated_at").unwrap(), true);
        assert_eq!(page(all(), newest, (0, 10)).await, (4, "acab".to_owned()));
        assert_eq!(page(all(), newest, (1, 2)).await, (4, "ca".to_owned()));
        let by_object = AuditSort::of("object_id").unwrap();
        assert_eq!(page(all(), (by_object, false), (0, 10)).await, (4, "aabc".to_owned()));
        assert_eq!(page(all(), (by_object, true), (0, 10)).await, (4, "cbaa".to_owned()));
        assert_eq!(AuditSort::of("seq; DROP TABLE audit_log"), None);
        let text = |text: &str| Some(text.to_owned());
        for (filter, expected) in [
            (AuditFilter { object_id: text("a"), ..all() }, "aa"),
            (AuditFilter { action: text("denied"), ..all() }, "a"),
            (AuditFilter { changed_by: text("test"), ..all() }, "cab"),
            (AuditFilter { changed_by_api_key: text("hash"), ..all() }, "a"),
            (AuditFilter { table_name: text("x' OR '1'='1"), ..all() }, ""),
            (AuditFilter { since: Some(at(1001)), until: Some(at(1002)), ..all() }, "ca"),
        ] {
            let found = page(filter.clone(), newest, (0, 10)).await;
            assert_eq!(found, (expected.len() as u64, expected.to_owned()), "{filter:?}");
        }
        let denied = store.audit_of_request("r", 10).await.unwrap();
        assert_eq!((denied.len(), &denied[0].details["reason"]), (1, &json!("no_grant")));
        assert_eq!(store.audit_get(denied[0].seq).await.unwrap().as_ref(), Some(&denied[0]));
        assert_eq!(store.audit_get(99).await.unwrap(), None);
    }

    async fn denials_that_have_no_place_are_counted(db) {
        let store = db.store().await;
        let (queue, writer) = Denials::new(store.clone());
        let queue = Arc::new(queue);
        for caller in 0..5000 {
            let mut denial = denial("d\0\u{1b}[31m\r\n", at(1));
            denial.by.changed_by_api_key = caller.to_string();
            queue.send(denial);
        }
        let lost = queue.lost();
        assert_eq!(lost, 5000 - 4096);
        drop(queue);
        writer.await;
        let all = rows(&store).await;
        assert_eq!(all.len(), 4096);
        assert_eq!(all[0].object_id, "d\u{fffd}\u{1b}[31m\r\n");
    }
}
