//! Virtual keys: nothing is lost, a write is seen when it returns, changes of others are followed, and what cannot be read
//! is there and says so.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use trunkline_auth::key_hash;
use trunkline_model::{
    CallLimits, Delegation, KeyHash, ObjectPermission, PreviousSecret, Stamps, VirtualKey,
};
use trunkline_store::{KeyWriteError, Registry, Store};

use crate::fixture::{at, both, by};

fn hash(number: usize) -> KeyHash {
    key_hash(&format!("sk-{number}"))
}

fn key(number: usize) -> VirtualKey {
    VirtualKey::new(hash(number))
}

fn aliased(number: usize, alias: &str) -> VirtualKey {
    VirtualKey {
        key_alias: Some(alias.to_owned()),
        ..key(number)
    }
}

/// A key with every field away from its default.
fn full(number: usize) -> VirtualKey {
    let text = |field: &str| Some(format!("{field} {number} é 漢 '\"\\ $1 {{}}"));
    let list = |field: &str| vec![format!("{field} {number}"), "b,\"c\"".to_owned()];
    VirtualKey {
        key_name: text("key_name"),
        key_alias: text("key_alias"),
        key_type: text("key_type"),
        user_id: text("user_id"),
        team_id: text("team_id"),
        metadata: json!({"z": 1, "a": {"list": [null, true, 0.5]}})
            .as_object()
            .cloned()
            .unwrap()
            .into(),
        expires: Some(Timestamp::from_microsecond(1_700_000_000_123_456).unwrap()),
        blocked: true,
        allowed_routes: list("route"),
        object_permission: ObjectPermission {
            id: text("permission"),
            mcp_servers: list("server"),
            mcp_access_groups: list("group"),
            mcp_tool_permissions: [("s".to_owned(), list("tool")), (String::new(), vec![])].into(),
            mcp_toolsets: list("toolset"),
            models: list("model"),
            toolsets: Vec::new(),
        },
        stamps: Stamps {
            created_at: Some(at(1)),
            created_by: text("created_by"),
            updated_at: Some(at(2)),
            updated_by: text("updated_by"),
        },
        rotation_count: u32::MAX,
        last_rotation_at: Some(at(-1)),
        limits: CallLimits {
            rpm_limit: Some(0),
            max_parallel_requests: Some(u32::MAX),
            mcp_rpm_limit: [("s \"é".to_owned(), 0), (String::new(), u32::MAX)].into(),
            tpm_limit: Some(i64::MAX.unsigned_abs()),
            model_rpm_limit: [("m \"é".to_owned(), u32::MAX)].into(),
            model_tpm_limit: [("m".to_owned(), i64::MAX.unsigned_abs()), (String::new(), 0)].into(),
        },
        budget_id: text("budget"),
        spending: crate::tenants::spending(),
        previous: vec![
            PreviousSecret {
                hash: hash(number + 1000),
                until: at(3),
            },
            PreviousSecret {
                hash: hash(number + 2000),
                until: at(-3),
            },
        ],
        delegation: Delegation {
            by: text("by"),
            is_whole: true,
            alias: true,
            metadata: true,
        },
        ..key(number)
    }
}

async fn load(store: &Store) -> Arc<Registry> {
    Registry::load(store.clone(), vec![]).await.unwrap()
}

fn known(registry: &Registry) -> Vec<KeyHash> {
    let mut hashes: Vec<_> = registry.keys().ring().all().keys().copied().collect();
    hashes.sort();
    hashes
}

fn sorted(numbers: impl IntoIterator<Item = usize>) -> Vec<KeyHash> {
    let mut hashes: Vec<_> = numbers.into_iter().map(hash).collect();
    hashes.sort();
    hashes
}

/// Waits until it holds of the other process.
async fn becomes(registry: &Registry, what: &str, holds: impl Fn(&Registry) -> bool) {
    let mut changes = registry.keys().subscribe();
    let seen = async {
        while !holds(registry) {
            changes.changed().await.unwrap();
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(15), seen).await.is_ok(),
        "{what}"
    );
}

both! {
    async fn every_field_of_a_key_comes_back(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        assert!(registry.keys().ring().is_empty());
        let stored = registry.keys().insert(&by(), full(1)).await.unwrap();
        assert_eq!(*stored, full(1));
        registry.keys().insert(&by(), key(2)).await.unwrap();
        // As another process reads it.
        let other = load(&store).await;
        assert_eq!(*other.keys().ring().get(&hash(1)).unwrap(), full(1));
        assert_eq!(*other.keys().ring().get(&hash(2)).unwrap(), key(2));
        assert_eq!(store.key_list().await.unwrap().len(), 2);
        assert!(other.keys().ring().get(&hash(3)).is_none());
    }

    async fn a_write_of_a_key_is_seen_when_it_returns(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let (keys, mut changes) = (registry.keys(), registry.keys().subscribe());
        let one = keys.insert(&by(), aliased(1, "one")).await.unwrap();
        keys.insert(&by(), aliased(2, "two")).await.unwrap();
        assert_eq!(known(&registry), sorted([1, 2]));
        assert!(Arc::ptr_eq(&one, &keys.ring().get(&hash(1)).unwrap()), "what did not change is the same object");
        changes.mark_unchanged();
        let edit = |user: &'static str| Box::new(move |key: &mut VirtualKey| key.user_id = Some(user.to_owned()));
        let two = keys.update(&by(), hash(2), edit("u")).await.unwrap();
        assert_eq!(two.user_id.as_deref(), Some("u"));
        assert!(changes.has_changed().unwrap());
        let stamp = || (at(5), "admin".to_owned());
        assert!(keys.set_blocked(&by(), hash(2), true, stamp()).await.unwrap().blocked);
        assert!(keys.ring().get(&hash(2)).unwrap().blocked);
        assert!(!keys.set_blocked(&by(), hash(2), false, stamp()).await.unwrap().blocked);
        // Another secret for the same key.
        let renew = |to: usize| Box::new(move |key: &mut VirtualKey| {
            key.hash = hash(to);
            key.id = hash(to).to_hex().into();
        });
        assert_eq!(keys.update(&by(), hash(2), renew(3)).await.unwrap().key_alias.as_deref(), Some("two"));
        assert_eq!(known(&registry), sorted([1, 3]));
        assert!(matches!(keys.update(&by(), hash(3), renew(1)).await, Err(KeyWriteError::Duplicate)));
        assert_eq!(keys.delete(&by(), &[hash(3), hash(9)]).await.unwrap(), 1);
        assert_eq!(known(&registry), sorted([1]));
        assert_eq!(keys.delete(&by(), &[hash(3)]).await.unwrap(), 0);
        registry.refresh().await.unwrap();
        assert!(Arc::ptr_eq(&one, &keys.ring().get(&hash(1)).unwrap()));
        assert_eq!(store.revision().await.unwrap(), 0, "servers were not written");
    }

    async fn refusals_of_keys_say_why(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let keys = registry.keys();
        keys.insert(&by(), aliased(1, "one")).await.unwrap();
        keys.insert(&by(), aliased(2, "two")).await.unwrap();
        assert!(matches!(keys.insert(&by(), key(1)).await, Err(KeyWriteError::Duplicate)));
        assert!(matches!(keys.insert(&by(), aliased(3, "one")).await, Err(KeyWriteError::AliasTaken { alias }) if alias == "one"));
        let rename = |alias: &'static str| Box::new(move |key: &mut VirtualKey| key.key_alias = Some(alias.to_owned()));
        assert!(matches!(keys.update(&by(), hash(2), rename("one")).await, Err(KeyWriteError::AliasTaken { .. })));
        assert!(keys.update(&by(), hash(2), rename("two")).await.is_ok(), "its own");
        assert!(matches!(keys.update(&by(), hash(9), rename("x")).await, Err(KeyWriteError::NotFound)));
        let stamp = (at(5), "admin".to_owned());
        assert!(matches!(keys.set_blocked(&by(), hash(9), true, stamp).await, Err(KeyWriteError::NotFound)));
        assert!(matches!(keys.insert(&by(), aliased(3, "a\0b")).await, Err(KeyWriteError::Store(_))));
        assert_eq!(known(&registry), sorted([1, 2]));
        assert_eq!(store.key_list().await.unwrap().len(), 2);
    }

    async fn b28_changes_of_keys_by_others_are_followed(db) {
        let (here, there) = (load(&db.store().await).await, load(&db.connect().await).await);
        let watching = tokio::spawn(there.clone().watch(std::future::pending()));
        for number in 0..20 {
            here.keys().insert(&by(), key(number)).await.unwrap();
        }
        becomes(&there, "new ones", |other| known(other) == sorted(0..20)).await;
        let untouched = there.keys().ring().get(&hash(7)).unwrap();
        let stamp = (at(5), "admin".to_owned());
        here.keys().set_blocked(&by(), hash(3), true, stamp).await.unwrap();
        becomes(&there, "blocked", |other| other.keys().ring().get(&hash(3)).unwrap().blocked).await;
        // As many as before, and not the same.
        here.keys().delete(&by(), &[hash(4)]).await.unwrap();
        here.keys().insert(&by(), key(40)).await.unwrap();
        let expected = sorted((0..20).filter(|number| *number != 4).chain([40]));
        becomes(&there, "one gone and one new", |other| known(other) == expected).await;
        assert!(Arc::ptr_eq(&untouched, &there.keys().ring().get(&hash(7)).unwrap()));
        here.keys().delete(&by(), &(0..50).map(hash).collect::<Vec<_>>()).await.unwrap();
        becomes(&there, "none", |other| other.keys().ring().is_empty()).await;
        watching.abort();
    }

    async fn a_database_from_a_backup_is_read_as_it_is(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        for number in 0..3 {
            registry.keys().insert(&by(), key(number)).await.unwrap();
        }
        let watching = tokio::spawn(registry.clone().watch(std::future::pending()));
        db.by_hand(&format!("DELETE FROM verification_token WHERE token <> '{}'", hash(1).to_hex())).await;
        db.by_hand("UPDATE registry_revision SET revision = 1 WHERE id = 2").await;
        becomes(&registry, "what the backup has", |own| known(own) == sorted([1])).await;
        watching.abort();
    }

    async fn s05_a_key_that_cannot_be_read_says_so_and_is_not_lost(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let keys = registry.keys();
        let broken = [
            ("object_permission", r#"'{"mcp_servers":["a"],"blocked_tools":["x"]}'"#),
            ("object_permission", r#"'{"mcp_servers":"a"}'"#),
            ("object_permission", "'['"),
            ("allowed_routes", "'{}'"),
            ("metadata", "'[]'"),
            ("expires", "9223372036854775807"),
            ("rpm_limit", "-1"),
            ("mcp_rpm_limit", r#"'{"s":-1}'"#),
            ("tpm_limit", "-1"),
            ("model_max_budget", r#"'{"m":{}}'"#),
            ("model_rpm_limit", "'[]'"),
            ("model_tpm_limit", r#"'{"m":"many"}'"#),
            ("delegation", r#"'{"by":1}'"#),
            ("delegation", r#"'{"words":["later"]}'"#),
            ("delegation", r#"'{"more":1}'"#),
        ];
        for (number, (column, value)) in broken.iter().enumerate() {
            keys.insert(&by(), key(number)).await.unwrap();
            db.by_hand(&format!("UPDATE verification_token SET {column} = {value} WHERE token = '{}'", hash(number).to_hex())).await;
        }
        // What says nothing is no reason.
        keys.insert(&by(), key(20)).await.unwrap();
        let newer = r#"{"mcp_servers":["a"],"blocked_tools":[],"later":null}"#;
        db.by_hand(&format!("UPDATE verification_token SET object_permission = '{newer}', blocked = NULL WHERE token = '{}'", hash(20).to_hex())).await;
        // A row that nobody's key can be of.
        db.by_hand("INSERT INTO verification_token (token) VALUES ('no hash')").await;
        registry.refresh().await.unwrap();
        for (number, (column, value)) in broken.iter().enumerate() {
            let defect = keys.ring().get(&hash(number)).unwrap().defect.clone();
            assert!(defect.as_deref().is_some_and(|defect| defect.contains(column)), "{column} {value}: {defect:?}");
            let refused = keys.update(&by(), hash(number), Box::new(|key| key.user_id = None)).await;
            assert!(matches!(refused, Err(KeyWriteError::Unreadable { .. })));
            let stamp = (at(5), "admin".to_owned());
            assert!(keys.set_blocked(&by(), hash(number), true, stamp).await.unwrap().blocked);
            let text = db.ask(&format!("SELECT CAST({column} AS TEXT) FROM verification_token WHERE token = '{}'", hash(number).to_hex())).await;
            assert_eq!(text, [value.trim_matches('\'')], "as it was");
        }
        let good = keys.ring().get(&hash(20)).unwrap();
        assert_eq!((&good.defect, good.object_permission.mcp_servers.as_slice()), (&None, &["a".to_owned()][..]));
        assert_eq!(db.ask("SELECT CAST(count(*) AS TEXT) FROM verification_token").await, ["17"]);
    }

    async fn s18_what_a_version_before_delegation_writes_is_an_administrators(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let keys = registry.keys();
        let own = Delegation { by: Some("u".to_owned()), is_whole: true, alias: true, metadata: false };
        keys.insert(&by(), VirtualKey { delegation: own.clone(), ..aliased(1, "one") }).await.unwrap();
        assert_eq!(load(&store).await.keys().ring().get(&hash(1)).unwrap().delegation, own);
        // It knows neither column, and writes the others with a revision of its own.
        db.by_hand("UPDATE verification_token SET rpm_limit = 1, revision = 99").await;
        db.by_hand("UPDATE registry_revision SET revision = 99 WHERE id = 2").await;
        let read = load(&store).await.keys().ring().get(&hash(1)).unwrap();
        assert_eq!(read.delegation, Delegation { is_whole: false, ..own });
        assert_eq!(read.administrators_limit(), Some("rpm_limit"));
        // And it refuses a key whose alias it would take for an administrator's word.
        let stored = db.ask("SELECT object_permission FROM verification_token").await;
        assert!(stored[0].contains("restricted_by\":[\"words\"]"), "{stored:?}");
        let keys = load(&store).await;
        let block = keys.keys().set_blocked(&by(), hash(1), true, (at(5), "admin".to_owned())).await.unwrap();
        assert!(block.blocked && !block.delegation.is_whole);
    }

    async fn s34_secrets_of_before_end_with_one_that_an_older_version_gives(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let previous = vec![PreviousSecret { hash: hash(1001), until: at(1_000_000_000) }];
        registry.keys().insert(&by(), VirtualKey { previous: previous.clone(), ..key(1) }).await.unwrap();
        assert_eq!(load(&store).await.keys().ring().get(&hash(1)).unwrap().previous, previous);
        // It does not know the column, and what it gives another secret has none beside it.
        db.by_hand(&format!("UPDATE verification_token SET token = '{}'", hash(2).to_hex())).await;
        assert_eq!(load(&store).await.keys().ring().get(&hash(2)).unwrap().previous, []);
        // What the first version with the column wrote is read as it was.
        let first = format!(r#"[{{"token":"{}","until":1000000000000000}}]"#, hash(1001).to_hex());
        db.by_hand(&format!("UPDATE verification_token SET previous_tokens = '{first}'")).await;
        assert_eq!(load(&store).await.keys().ring().get(&hash(2)).unwrap().previous.len(), 1);
    }

    async fn b42_a_row_of_no_key_hides_no_deletion(db) {
        let (here, there) = (load(&db.store().await).await, load(&db.store().await).await);
        let watching = tokio::spawn(there.clone().watch(std::future::pending()));
        for number in 0..3 {
            here.keys().insert(&by(), key(number)).await.unwrap();
        }
        becomes(&there, "all", |other| known(other) == sorted([0, 1, 2])).await;
        // As many rows as there were keys before the next deletion.
        db.by_hand("INSERT INTO verification_token (token) VALUES ('no hash')").await;
        here.keys().delete(&by(), &[hash(0)]).await.unwrap();
        assert_eq!(known(&here), sorted([1, 2]));
        becomes(&there, "one gone", |other| known(other) == sorted([1, 2])).await;
        here.keys().delete(&by(), &[hash(1)]).await.unwrap();
        assert_eq!(known(&here), sorted([2]));
        becomes(&there, "two gone", |other| known(other) == sorted([2])).await;
        let again = hash(9);
        here.keys().update(&by(), hash(2), Box::new(move |key| { key.hash = again; key.id = again.to_hex().into(); })).await.unwrap();
        assert_eq!(known(&here), sorted([9]));
        becomes(&there, "another secret", |other| known(other) == sorted([9])).await;
        watching.abort();
    }
}
