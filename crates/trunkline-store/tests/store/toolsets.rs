//! Toolsets: nothing is lost, a write and what follows from it for keys is seen when it returns, changes of others are followed,
//! and what cannot be read grants nothing.

use std::sync::Arc;
use std::time::Duration;

use trunkline_auth::key_hash;
use trunkline_model::{KeyHash, Stamps, Toolset, ToolsetTool, VirtualKey};
use trunkline_store::{Registry, Store, ToolsetWriteError};

use crate::fixture::{at, both, by};

fn toolset(id: &str, name: &str, tools: &[(&str, &str)]) -> Toolset {
    Toolset::new(id.to_owned(), name.to_owned(), list(tools))
}

fn list(tools: &[(&str, &str)]) -> Vec<ToolsetTool> {
    let tool = |(server, tool): &(&str, &str)| ToolsetTool {
        server_id: (*server).to_owned(),
        tool_name: (*tool).to_owned(),
    };
    tools.iter().map(tool).collect()
}

fn hash() -> KeyHash {
    key_hash("sk-1")
}

/// A key that was granted these.
fn key(toolsets: &[&str]) -> VirtualKey {
    let mut key = VirtualKey::new(hash());
    key.object_permission.mcp_toolsets = toolsets.iter().map(|name| (*name).to_owned()).collect();
    key
}

async fn load(store: &Store) -> Arc<Registry> {
    Registry::load(store.clone(), vec![]).await.unwrap()
}

/// The ids of what the key is granted now.
fn granted(registry: &Registry) -> Vec<String> {
    let key = registry.keys().ring().get(&hash()).unwrap();
    let toolsets = key.object_permission.toolsets.iter();
    toolsets.map(|toolset| toolset.id.clone()).collect()
}

async fn becomes(registry: &Registry, what: &str, holds: impl Fn(&Registry) -> bool) {
    let seen = async {
        while !holds(registry) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(15), seen).await.is_ok(),
        "{what}"
    );
}

both! {
    async fn every_field_of_a_toolset_comes_back(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let mut full = toolset("1", "é 漢 '\"\\ $1 {}", &[("s", "a"), ("s\"", "b,"), ("s", "a"), ("", "")]);
        full.description = Some("for \u{2028} people".into());
        full.stamps = Stamps {
            created_at: Some(at(1)),
            created_by: Some("c".into()),
            updated_at: Some(at(2)),
            updated_by: Some("u".into()),
        };
        assert_eq!(*registry.toolset_insert(&by(), full.clone()).await.unwrap(), full);
        registry.toolset_insert(&by(), toolset("2", "plain", &[])).await.unwrap();
        // As another process reads it.
        let other = load(&store).await;
        let snapshot = other.snapshot();
        assert_eq!(**snapshot.toolsets().get("1").unwrap(), full);
        assert_eq!(**snapshot.toolsets().get("2").unwrap(), toolset("2", "plain", &[]));
        assert_eq!(store.toolset_list().await.unwrap().len(), 2);
    }

    async fn a_write_of_a_toolset_is_seen_when_it_returns_and_so_are_its_grants(db) {
        let registry = load(&db.store().await).await;
        let (mut keys, mut changes) = (registry.keys().subscribe(), registry.subscribe());
        // Granted before there is one: it counts as soon as there is.
        registry.keys().insert(&by(), key(&["Later", "2"])).await.unwrap();
        assert_eq!(granted(&registry), Vec::<String>::new());
        registry.toolset_insert(&by(), toolset("1", "later", &[("s", "a")])).await.unwrap();
        assert_eq!(granted(&registry), ["1"]);
        registry.toolset_insert(&by(), toolset("2", "two", &[])).await.unwrap();
        assert_eq!(granted(&registry), ["1", "2"]);
        assert!(keys.has_changed().unwrap() && changes.has_changed().unwrap());
        keys.mark_unchanged();
        changes.mark_unchanged();
        // Of no interest for the key.
        let before = registry.keys().ring().get(&hash()).unwrap();
        registry.toolset_insert(&by(), toolset("3", "three", &[])).await.unwrap();
        assert!(Arc::ptr_eq(&before, &registry.keys().ring().get(&hash()).unwrap()));
        assert!(!keys.has_changed().unwrap() && changes.has_changed().unwrap());
        // Its tools.
        let edit = Box::new(|own: &mut Toolset| own.set_tools(list(&[("s", "b")])));
        let written = registry.toolset_update(&by(), "1", edit).await.unwrap();
        assert_eq!(written.tools(), list(&[("s", "b")]));
        let now = registry.keys().ring().get(&hash()).unwrap();
        assert!(Arc::ptr_eq(&now.object_permission.toolsets[0], &written));
        // A grant by name is of whoever has the name.
        let rename = |name: &'static str| Box::new(move |own: &mut Toolset| name.clone_into(&mut own.name));
        registry.toolset_update(&by(), "1", rename("other")).await.unwrap();
        assert_eq!(granted(&registry), ["2"]);
        registry.toolset_update(&by(), "3", rename("LATER")).await.unwrap();
        assert_eq!(granted(&registry), ["3", "2"]);
        registry.toolset_delete(&by(), "2").await.unwrap();
        assert_eq!(granted(&registry), ["3"]);
        registry.toolset_delete(&by(), "3").await.unwrap();
        assert_eq!(granted(&registry), Vec::<String>::new());
        // Written back, a key keeps what was written, and gets nothing for it.
        let edit = Box::new(|key: &mut VirtualKey| key.user_id = Some("u".into()));
        let key = registry.keys().update(&by(), hash(), edit).await.unwrap();
        assert_eq!(key.object_permission.mcp_toolsets, ["Later", "2"]);
        assert_eq!(granted(&registry), Vec::<String>::new());
    }

    async fn refusals_of_toolsets_say_why(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        registry.toolset_insert(&by(), toolset("id-1", "One", &[])).await.unwrap();
        registry.toolset_insert(&by(), toolset("id-2", "two", &[])).await.unwrap();
        for name in ["One", "oNE", "id-2"] {
            let refused = registry.toolset_insert(&by(), toolset("id-3", name, &[])).await;
            assert!(matches!(refused, Err(ToolsetWriteError::NameTaken { name: own }) if own == name));
        }
        let rename = |name: &'static str| Box::new(move |own: &mut Toolset| name.clone_into(&mut own.name));
        let taken = registry.toolset_update(&by(), "id-2", rename("ONE")).await;
        assert!(matches!(taken, Err(ToolsetWriteError::NameTaken { .. })));
        assert!(registry.toolset_update(&by(), "id-2", rename("TWO")).await.is_ok(), "its own");
        assert!(matches!(registry.toolset_update(&by(), "x", rename("x")).await, Err(ToolsetWriteError::NotFound)));
        assert!(matches!(registry.toolset_delete(&by(), "x").await, Err(ToolsetWriteError::NotFound)));
        let nul = registry.toolset_insert(&by(), toolset("id-3", "a\0b", &[])).await;
        assert!(matches!(nul, Err(ToolsetWriteError::Store(_))));
        assert_eq!(store.toolset_list().await.unwrap().len(), 2);
        assert_eq!(registry.snapshot().toolsets().all().len(), 2);
    }

    async fn b28_changes_of_toolsets_by_others_are_followed(db) {
        let (here, there) = (load(&db.store().await).await, load(&db.connect().await).await);
        let watching = tokio::spawn(there.clone().watch(std::future::pending()));
        here.keys().insert(&by(), key(&["set"])).await.unwrap();
        here.toolset_insert(&by(), toolset("1", "set", &[("s", "a")])).await.unwrap();
        becomes(&there, "a new one", |other| {
            other.keys().ring().get(&hash()).is_some() && granted(other) == ["1"]
        }).await;
        let edit = Box::new(|own: &mut Toolset| own.set_tools(list(&[("s", "b")])));
        here.toolset_update(&by(), "1", edit).await.unwrap();
        becomes(&there, "other tools", |other| {
            let key = other.keys().ring().get(&hash()).unwrap();
            key.object_permission.toolsets[0].tools() == list(&[("s", "b")])
        }).await;
        here.toolset_delete(&by(), "1").await.unwrap();
        becomes(&there, "none", |other| {
            granted(other).is_empty() && other.snapshot().toolsets().all().is_empty()
        }).await;
        watching.abort();
    }

    async fn b42_a_toolset_that_cannot_be_read_grants_nothing_and_is_not_lost(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        registry.keys().insert(&by(), key(&["set", "1"])).await.unwrap();
        let broken = [
            ("tools", "'['"),
            ("tools", r#"'{"server_id":"s","tool_name":"a"}'"#),
            ("tools", r#"'[{"server_id":"s"}]'"#),
            // A newer version may mean a restriction by it.
            ("tools", r#"'[{"server_id":"s","tool_name":"a","arguments":{}}]'"#),
            ("toolset_name", "NULL"),
            ("updated_at", "9223372036854775807"),
        ];
        for (column, value) in broken {
            registry.toolset_insert(&by(), toolset("1", "set", &[("s", "a")])).await.unwrap();
            assert_eq!(granted(&registry), ["1", "1"]);
            db.by_hand(&format!("UPDATE mcp_toolset SET {column} = {value}")).await;
            registry.refresh().await.unwrap();
            assert_eq!(granted(&registry), Vec::<String>::new(), "{column} {value}");
            let snapshot = registry.snapshot();
            let defect = snapshot.toolsets().get("1").unwrap().defect.clone();
            assert!(defect.is_some_and(|defect| defect.contains(column)), "{column} {value}");
            let edit = Box::new(|own: &mut Toolset| own.description = None);
            let refused = registry.toolset_update(&by(), "1", edit).await;
            assert!(matches!(refused, Err(ToolsetWriteError::Unreadable { .. })));
            registry.toolset_delete(&by(), "1").await.unwrap();
        }
        // The table is away: what was known is known, keys are followed all the same, and nothing begins without it.
        registry.toolset_insert(&by(), toolset("1", "set", &[("s", "a")])).await.unwrap();
        db.by_hand("ALTER TABLE mcp_toolset RENAME TO away").await;
        assert!(registry.refresh().await.is_err());
        assert_eq!(granted(&registry), ["1", "1"]);
        assert!(matches!(registry.toolset_delete(&by(), "1").await, Err(ToolsetWriteError::Store(_))));
        registry.keys().delete(&by(), &[hash()]).await.unwrap();
        assert!(registry.keys().ring().is_empty());
        assert!(Registry::load(store.clone(), vec![]).await.is_err());
    }
}
