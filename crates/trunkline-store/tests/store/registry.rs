//! The snapshot that requests read: right at the start, changed before a write returns, and changed by others.

use std::sync::Arc;
use std::time::Duration;

use trunkline_model::{Origin, Server, ServerId};
use trunkline_store::{Registry, Store, WriteError};

use crate::fixture::{both, by, named, server, with_credential};

fn of_file(id: &str, name: &str) -> Server {
    let mut server = named(id, name);
    server.origin = Origin::File;
    server
}

async fn load(store: &Store, file: Vec<Server>) -> Arc<Registry> {
    Registry::load(store.clone(), file).await.unwrap()
}

fn ids(registry: &Registry) -> Vec<String> {
    let mut ids: Vec<_> = registry
        .snapshot()
        .servers()
        .iter()
        .map(|own| own.id.to_string())
        .collect();
    ids.sort();
    ids
}

/// Waits until the registry has these ids.
async fn becomes(registry: &Registry, wanted: &[&str]) {
    let mut changes = registry.subscribe();
    let seen = async {
        while ids(registry) != wanted {
            changes.changed().await.unwrap();
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(15), seen).await.is_ok(),
        "{:?} never became {wanted:?}",
        ids(registry)
    );
}

both! {
    async fn b26_the_first_snapshot_has_all(db) {
        let store = db.store().await;
        store.server_insert(&by(), &with_credential("stored", "x")).await.unwrap();
        let registry = load(&store, vec![of_file("file", "f")]).await;
        let snapshot = registry.snapshot();
        assert_eq!(snapshot.servers().len(), 2);
        assert_eq!(**snapshot.get(&ServerId::new("stored")).unwrap(), with_credential("stored", "x"));
        assert_eq!(snapshot.find("F").unwrap().origin, Origin::File);
        assert!(snapshot.revision > 0);
    }

    async fn a_write_is_seen_when_it_returns(db) {
        let store = db.store().await;
        let registry = load(&store, vec![]).await;
        let before = registry.snapshot();
        let changes = registry.subscribe();
        let stored = registry.insert(&by(), with_credential("a", "one")).await.unwrap();
        assert_eq!(*stored, with_credential("a", "one"));
        assert_eq!(ids(&registry), ["a"]);
        assert!(registry.snapshot().revision > before.revision);
        assert_eq!(*changes.borrow(), registry.snapshot().revision);
        assert!(before.servers().is_empty(), "who holds a snapshot keeps it");

        registry.insert(&by(), server("b")).await.unwrap();
        assert!(Arc::ptr_eq(&stored, registry.snapshot().get(&stored.id).unwrap()), "what did not change is the same object");
        let updated = registry.update(&by(), with_credential("a", "two")).await.unwrap();
        assert_eq!(updated.definition.credentials, with_credential("a", "two").definition.credentials);
        assert!(Arc::ptr_eq(&updated, registry.snapshot().get(&updated.id).unwrap()));
        registry.delete(&by(), &updated.id).await.unwrap();
        assert_eq!(ids(&registry), ["b"]);
        let revision = registry.snapshot().revision;
        registry.refresh().await.unwrap();
        assert_eq!(registry.snapshot().revision, revision, "nothing changed");
        assert_eq!(store.server_list().await.unwrap(), [server("b")]);
    }

    async fn refusals_say_why(db) {
        let store = db.store().await;
        let mut file = of_file("f1", "GitHub");
        file.definition.alias = Some("gh".to_owned());
        let registry = load(&store, vec![file]).await;
        registry.insert(&by(), named("d1", "jira")).await.unwrap();
        let taken = |result: Result<Arc<Server>, WriteError>, by: &str| match result {
            Err(WriteError::NameTaken { by: owner, .. }) => assert_eq!(owner.as_str(), by),
            other => panic!("{other:?}"),
        };
        taken(registry.insert(&by(), named("d2", "GITHUB")).await, "f1");
        taken(registry.insert(&by(), named("d2", "F1")).await, "f1");
        taken(registry.insert(&by(), named("Gh", "x")).await, "f1");
        taken(registry.insert(&by(), named("d2", "JIRA")).await, "d1");
        taken(registry.update(&by(), named("d1", "github")).await, "f1");
        let id = |id: &str| ServerId::new(id);
        assert!(matches!(registry.insert(&by(), named("d1", "x")).await, Err(WriteError::DuplicateId { .. })));
        assert!(matches!(registry.insert(&by(), named("f1", "x")).await, Err(WriteError::DuplicateId { .. })));
        assert!(matches!(registry.update(&by(), named("f1", "x")).await, Err(WriteError::ManagedByFile { .. })));
        assert!(matches!(registry.delete(&by(), &id("f1")).await, Err(WriteError::ManagedByFile { .. })));
        assert!(matches!(registry.update(&by(), named("d9", "x")).await, Err(WriteError::NotFound { .. })));
        assert!(matches!(registry.delete(&by(), &id("d9")).await, Err(WriteError::NotFound { .. })));
        assert_eq!(ids(&registry), ["d1", "f1"]);
    }

    async fn b35_the_file_has_the_name_and_nothing_is_lost(db) {
        let store = db.store().await;
        for row in [named("0", "GITHUB"), named("1", "free"), named("shared", "third")] {
            store.server_insert(&by(), &row).await.unwrap();
        }
        for _ in 0..2 {
            let registry = load(&store, vec![of_file("9", "github"), of_file("shared", "s")]).await;
            let snapshot = registry.snapshot();
            assert_eq!(ids(&registry), ["0", "1", "9", "shared"]);
            assert_eq!(snapshot.find("GitHub").unwrap().id.as_str(), "9");
            let defect = snapshot.get(&ServerId::new("0")).unwrap().defect.clone().unwrap();
            assert!(defect.contains("GITHUB") && defect.contains('9') && defect.contains("configuration file"), "{defect}");
            assert_eq!(snapshot.get(&ServerId::new("shared")).unwrap().origin, Origin::File);
        }
        // It can be edited, renamed, and is sound then.
        let registry = load(&store, vec![of_file("9", "github")]).await;
        let mut clashing = named("0", "GITHUB");
        clashing.definition.description = Some("edited".to_owned());
        assert!(registry.update(&by(), clashing).await.unwrap().defect.is_some());
        assert_eq!(registry.update(&by(), named("0", "renamed")).await.unwrap().defect, None);
        // Without the file's server of the same id, the stored one is back.
        assert_eq!(registry.snapshot().get(&ServerId::new("shared")).unwrap().origin, Origin::Database);
        // Deleting one never touches the other.
        registry.delete(&by(), &ServerId::new("0")).await.unwrap();
        assert_eq!(registry.snapshot().find("github").unwrap().id.as_str(), "9");
    }

    async fn two_processes_cannot_take_one_name(db) {
        let (one, two) = (db.store().await, db.connect().await);
        let (one, two) = (load(&one, vec![]).await, load(&two, vec![]).await);
        for round in 0..10 {
            let name = format!("name{round}");
            let by = by();
            let (a, b) = tokio::join!(
                one.insert(&by, named(&format!("a{round}"), &name)),
                two.insert(&by, named(&format!("b{round}"), &name.to_uppercase())),
            );
            let loser = match (a, b) {
                (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
                other => panic!("{other:?}"),
            };
            assert!(matches!(loser, WriteError::NameTaken { .. }), "{loser:?}");
        }
        one.refresh().await.unwrap();
        assert_eq!(one.snapshot().servers().len(), 10);
    }

    async fn writers_of_one_process_are_in_single_file(db) {
        let registry = load(&db.store().await, vec![]).await;
        let tasks: tokio::task::JoinSet<_> = (0..20)
            .map(|index| {
                let registry = Arc::clone(&registry);
                async move {
                    let id = format!("s{index:02}");
                    registry.insert(&by(), server(&id)).await.unwrap();
                    assert!(ids(&registry).contains(&id));
                }
            })
            .collect();
        tasks.join_all().await;
        assert_eq!(registry.snapshot().servers().len(), 20);
    }

    async fn b27_another_process_s_change_is_followed(db) {
        let (here, there) = (db.store().await, db.connect().await);
        let (here, there) = (load(&here, vec![]).await, load(&there, vec![]).await);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let watching = tokio::spawn(Arc::clone(&here).watch(async move {
            let _ = stopped.await;
        }));
        there.insert(&by(), server("a")).await.unwrap();
        becomes(&here, &["a"]).await;
        there.insert(&by(), server("b")).await.unwrap();
        there.delete(&by(), &ServerId::new("a")).await.unwrap();
        becomes(&here, &["b"]).await;
        if !db.is_sqlite() {
            // Every connection is cut, the listening one, too.
            let cut = "SELECT CAST(count(pg_terminate_backend(pid)) AS TEXT) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            db.ask(cut).await;
        }
        // The writer's own pool may still hold a dead connection.
        while there.insert(&by(), server("c")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        becomes(&here, &["b", "c"]).await;
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), watching).await.unwrap().unwrap();
    }

    async fn an_outage_stops_changes_and_nothing_else(db) {
        let store = db.store().await;
        let registry = load(&store, vec![of_file("f", "f")]).await;
        registry.insert(&by(), server("a")).await.unwrap();
        let before = registry.snapshot();
        store.close().await;
        assert!(matches!(registry.insert(&by(), server("b")).await, Err(WriteError::Store(_))));
        assert!(registry.refresh().await.is_err());
        assert!(Arc::ptr_eq(&before, &registry.snapshot()));
        // Following goes on (and says so once) until it is told to stop.
        let quick = Arc::clone(&registry).watch(tokio::time::sleep(Duration::from_millis(1_200)));
        tokio::time::timeout(Duration::from_secs(10), quick).await.unwrap();
        assert!(Arc::ptr_eq(&before, &registry.snapshot()));
    }
}
