//! Servers in the database: nothing is lost, nothing is executed, nothing secret is readable.

use proptest::prelude::*;
use trunkline_model::{Secret, Server, ServerId};
use trunkline_store::{Store, StoreError};

use crate::fixture::{TestClock, at, both, by, full, named, server, vault, with_credential};

both! {
    async fn every_field_comes_back(db) {
        let store = db.store().await;
        let first = full("id", "one");
        store.server_insert(&by(), &first).await.unwrap();
        assert_eq!(store.server_get(&first.id).await.unwrap().unwrap(), first);
        assert_eq!(store.server_list().await.unwrap(), std::slice::from_ref(&first));
        // Every field is changed, too: to another value, and to nothing.
        let second = full("id", "two");
        assert!(store.server_update(&by(), &second).await.unwrap());
        assert_eq!(store.server_get(&first.id).await.unwrap().unwrap(), second);
        let bare = Server { stamps: second.stamps.clone(), ..server("id") };
        assert!(store.server_update(&by(), &bare).await.unwrap());
        assert_eq!(store.server_get(&first.id).await.unwrap().unwrap(), bare);
        assert!(!store.server_update(&by(), &server("other")).await.unwrap());
        assert_eq!(store.server_get(&ServerId::new("other")).await.unwrap(), None);
    }

    async fn b26_servers_are_there_on_the_first_read_after_a_restart(db) {
        let store = db.store().await;
        for id in ["c", "a", "b"] {
            store.server_insert(&by(), &full(id, id)).await.unwrap();
        }
        store.close().await;
        let again = db.connect().await;
        assert_eq!(again.server_list().await.unwrap(), [full("a", "a"), full("b", "b"), full("c", "c")]);
    }

    async fn b31_a_damaged_credential_takes_out_one_server(db) {
        let store = db.store().await;
        for id in ["a", "b", "c"] {
            store.server_insert(&by(), &with_credential(id, id)).await.unwrap();
        }
        db.by_hand("UPDATE mcp_server SET credentials = 'tl1:x:y' WHERE server_id = 'b'").await;
        // A sealed text moved to another row does not open there.
        db.by_hand("UPDATE mcp_server SET credentials = (SELECT credentials FROM mcp_server WHERE server_id = 'a') WHERE server_id = 'c'").await;
        let servers = store.server_list().await.unwrap();
        assert_eq!(servers[0], with_credential("a", "a"));
        for broken in &servers[1..] {
            let defect = broken.defect.as_deref().unwrap();
            assert!(defect.contains("credentials cannot be decrypted"), "{defect}");
            assert_eq!(broken.definition.url, server(broken.id.as_str()).definition.url);
            assert!(broken.definition.credentials.auth_value.is_none());
        }
        // Replaced, it is sound again.
        assert!(store.server_update(&by(), &with_credential("b", "new")).await.unwrap());
        assert_eq!(store.server_get(&ServerId::new("b")).await.unwrap().unwrap(), with_credential("b", "new"));
    }

    async fn b31_other_damage_is_a_defect_too(db) {
        let store = db.store().await;
        let columns = ["transport", "auth_type", "mcp_info", "allowed_tools", "extra_headers", "prefix", "session", "approval_status"];
        for column in columns {
            store.server_insert(&by(), &server(column)).await.unwrap();
            db.by_hand(&format!("UPDATE mcp_server SET {column} = '{{nonsense' WHERE server_id = '{column}'")).await;
        }
        store.server_insert(&by(), &server("zz")).await.unwrap();
        db.by_hand("UPDATE mcp_server SET rpm = -5 WHERE server_id = 'prefix'").await;
        let servers = store.server_list().await.unwrap();
        assert_eq!(servers.len(), columns.len() + 1);
        for broken in servers.iter().filter(|own| own.id.as_str() != "zz") {
            let defect = broken.defect.as_deref().unwrap();
            assert!(defect.contains(broken.id.as_str()), "{defect}");
            assert!(!defect.contains("nonsense"), "{defect}");
        }
        let withheld = store.server_get(&ServerId::new("approval_status")).await.unwrap().unwrap();
        assert!(!withheld.is_active(), "what cannot be read must not serve");
        assert_eq!(store.server_get(&ServerId::new("zz")).await.unwrap().unwrap(), server("zz"));
    }

    async fn b31_the_wrong_key_wipes_nothing(db) {
        let store = db.store().await;
        store.server_insert(&by(), &with_credential("a", "secret")).await.unwrap();
        let stranger = db.connect_with("another salt").await;
        let mut seen = stranger.server_list().await.unwrap().pop().unwrap();
        assert!(seen.defect.as_deref().unwrap().contains("LITELLM_SALT_KEY"));
        seen.definition.description = Some("edited".to_owned());
        assert!(stranger.server_update(&by(), &seen).await.unwrap());
        let mut expected = with_credential("a", "secret");
        expected.definition.description = Some("edited".to_owned());
        assert_eq!(store.server_get(&expected.id).await.unwrap().unwrap(), expected);
        // With the right key, an emptied credential is empty.
        expected.definition.credentials.auth_value = None;
        assert!(store.server_update(&by(), &expected).await.unwrap());
        assert_eq!(store.server_get(&expected.id).await.unwrap().unwrap(), expected);
    }

    async fn s02_sql_in_data_is_data(db) {
        let store = db.store().await;
        let evil = [
            "'; DROP TABLE mcp_server; --",
            "\" OR 1=1 --",
            "$1", "?1", ":id", "%s", "\\'; DELETE FROM mcp_server; --", "a\u{2028}b\r\n\u{1b}[31m", "' || pg_sleep(10) || '",
        ];
        for (index, text) in evil.iter().enumerate() {
            let mut row = full(text, text);
            row.definition.static_headers.insert((*text).to_owned(), Secret::new(*text));
            store.server_insert(&by(), &row).await.unwrap();
            assert_eq!(store.server_get(&row.id).await.unwrap().unwrap(), row);
            assert!(store.server_update(&by(), &row).await.unwrap());
            assert_eq!(store.server_list().await.unwrap().len(), index + 1);
        }
        assert!(!store.server_delete(&by(), &ServerId::new("' OR '1'='1")).await.unwrap());
        assert!(store.server_delete(&by(), &ServerId::new(evil[0])).await.unwrap());
        assert_eq!(store.server_list().await.unwrap().len(), evil.len() - 1);
        let huge = "x".repeat(1 << 20);
        let mut row = server("huge");
        row.definition.description = Some(huge.clone());
        store.server_insert(&by(), &row).await.unwrap();
        assert_eq!(store.server_get(&row.id).await.unwrap().unwrap(), row);
        store.verify().await.unwrap();
    }

    async fn b35_names_clash_without_case(db) {
        let store = db.store().await;
        let mut first = named("one", "GitHub");
        first.definition.alias = Some("gh".to_owned());
        store.server_insert(&by(), &first).await.unwrap();
        let taken = |result: Result<(), StoreError>, given: &str| match result {
            Err(StoreError::NameTaken { name, by }) => {
                assert_eq!((name.as_str(), by.as_str()), (given, "one"));
            }
            other => panic!("{given}: {other:?}"),
        };
        taken(store.server_insert(&by(), &named("two", "GITHUB")).await, "GITHUB");
        taken(store.server_insert(&by(), &named("two", "Gh")).await, "Gh");
        taken(store.server_insert(&by(), &named("two", "ONE")).await, "ONE");
        taken(store.server_insert(&by(), &named("GITHUB", "two")).await, "GITHUB");
        assert!(matches!(store.server_insert(&by(), &named("one", "x")).await, Err(StoreError::Duplicate { id }) if id.as_str() == "one"));
        store.server_insert(&by(), &named("two", "git hub")).await.unwrap();
        taken(store.server_update(&by(), &named("two", "github")).await.map(drop), "github");
        // "my server" and "my_server" prefix tools alike.
        assert!(matches!(store.server_insert(&by(), &named("three", "git_hub")).await, Err(StoreError::NameTaken { .. })));
        // Rows that clash already, by an older version or by hand, can be edited, and deleted one by one.
        db.by_hand("UPDATE mcp_server SET server_name = 'github' WHERE server_id = 'two'").await;
        let mut second = named("two", "github");
        second.definition.description = Some("edited".to_owned());
        assert!(store.server_update(&by(), &second).await.unwrap());
        assert!(store.server_delete(&by(), &ServerId::new("two")).await.unwrap());
        assert_eq!(store.server_list().await.unwrap(), [first]);
    }

    async fn every_write_counts_and_a_refused_one_does_not(db) {
        let store = db.store().await;
        let start = store.revision().await.unwrap();
        store.server_insert(&by(), &server("a")).await.unwrap();
        assert_eq!(store.revision().await.unwrap(), start + 1);
        store.server_insert(&by(), &server("a")).await.unwrap_err();
        store.server_update(&by(), &server("missing")).await.unwrap();
        store.server_delete(&by(), &ServerId::new("missing")).await.unwrap();
        assert_eq!(store.revision().await.unwrap(), start + 1);
        store.server_update(&by(), &server("a")).await.unwrap();
        store.server_delete(&by(), &ServerId::new("a")).await.unwrap();
        assert_eq!(store.revision().await.unwrap(), start + 3);
        // An emptied table is filled again.
        db.by_hand("DELETE FROM registry_revision").await;
        assert_eq!(store.revision().await.unwrap(), 0);
        store.server_insert(&by(), &server("a")).await.unwrap();
        assert_eq!(store.revision().await.unwrap(), 1);
    }

    async fn a_nul_is_refused_by_name(db) {
        let store = db.store().await;
        let mut row = server("a");
        row.definition.description = Some("a\0b".to_owned());
        assert!(matches!(store.server_insert(&by(), &row).await, Err(StoreError::Nul { column: "description" })));
        row.definition.description = None;
        // Inside JSON it is escaped, and kept.
        row.definition.args = vec!["a\0b".to_owned()];
        row.definition.static_headers.insert("h".to_owned(), Secret::new("a\0b"));
        store.server_insert(&by(), &row).await.unwrap();
        assert_eq!(store.server_get(&row.id).await.unwrap().unwrap(), row);
    }

    async fn s13_secrets_are_neither_stored_nor_said(db) {
        let store = db.store().await;
        let canary = "canary-5d1f0c";
        let mut row = full("a", canary);
        // Only what is meant to be secret carries the canary.
        let clean = full("a", "clean");
        let secret = row.definition.clone();
        row = clean.clone();
        row.definition.credentials = secret.credentials;
        row.definition.static_headers = secret.static_headers;
        row.definition.env_vars = secret.env_vars;
        row.definition.env = secret.env;
        store.server_insert(&by(), &row).await.unwrap();
        store.server_update(&by(), &row).await.unwrap();
        let mut said = vec![format!("{row:?}"), format!("{store:?}")];
        said[0] = said[0].replace(&format!("static {canary}"), "").replace(&format!("env {canary}"), "")
            .replace(&format!("other {canary}"), "").replace(&format!("NAME {canary}"), "")
            .replace(&format!("description {canary}"), "");
        let text = |error: &StoreError| format!("{error} {error:?}");
        said.push(text(&store.server_insert(&by(), &row).await.unwrap_err()));
        let mut other = row.clone();
        other.id = ServerId::new("b");
        said.push(text(&store.server_insert(&by(), &other).await.unwrap_err()));
        db.by_hand("ALTER TABLE mcp_server RENAME TO gone").await;
        said.push(text(&store.server_update(&by(), &row).await.unwrap_err()));
        said.push(text(&store.server_insert(&by(), &other).await.unwrap_err()));
        db.by_hand("ALTER TABLE gone RENAME TO mcp_server").await;
        db.by_hand("UPDATE mcp_server SET credentials = 'x' || credentials").await;
        said.push(format!("{:?}", store.server_list().await.unwrap()[0].defect));
        store.close().await;
        said.push(text(&store.server_insert(&by(), &other).await.unwrap_err()));
        for text in said {
            assert!(!text.contains(canary), "{text}");
        }
        if let Some(path) = &db.path {
            for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()));
            }
        } else {
            let rows = db.ask("SELECT CAST(mcp_server AS TEXT) FROM mcp_server").await;
            assert!(rows[0].contains("clean") && !rows[0].contains(canary));
        }
    }

    async fn deleting_a_server_leaves_no_reference(db) {
        let store = db.store().await;
        for id in ["a", "b"] {
            store.server_insert(&by(), &server(id)).await.unwrap();
            store.catalogue_put(&crate::records::catalogue(id, "[]")).await.unwrap();
        }
        assert!(store.server_delete(&by(), &ServerId::new("a")).await.unwrap());
        assert!(!store.server_delete(&by(), &ServerId::new("a")).await.unwrap());
        assert_eq!(store.server_list().await.unwrap(), [server("b")]);
        assert_eq!(store.catalogue_list().await.unwrap(), [crate::records::catalogue("b", "[]")]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text comes back as it went in, through every way of storing one.
    #[test]
    fn any_text_comes_back(text in "[^\0]{0,40}", any in ".{0,40}", micros in -300_000_000_000_000_i64..9_000_000_000_000_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clock = std::sync::Arc::new(TestClock::new(at(0)));
            let store = Store::connect(&Secret::new("sqlite::memory:"), vault("k"), clock).await.unwrap();
            store.migrate().await.unwrap();
            let mut row = full("id", &any);
            row.definition.server_name = Some(text.clone());
            row.definition.alias = Some(text.clone());
            for column in [&mut row.definition.description, &mut row.definition.url, &mut row.approval.review_notes] {
                *column = Some(text.clone());
            }
            strip_nuls(&mut row);
            row.stamps.created_at = Some(jiff::Timestamp::from_microsecond(micros).unwrap());
            store.server_insert(&by(), &row).await.unwrap();
            assert_eq!(store.server_get(&row.id).await.unwrap().unwrap(), row);
            store.close().await;
        });
    }
}

/// `full` writes its tag into plain columns, too, where U+0000 is refused.
fn strip_nuls(row: &mut Server) {
    let definition = &mut row.definition;
    let tls = &mut definition.tls;
    for pem in [&mut tls.ca, &mut tls.client_cert].into_iter().flatten() {
        pem.text.retain(|c| c != '\0');
    }
    let plain = [
        &mut definition.instructions,
        &mut definition.spec_path,
        &mut definition.command,
        &mut definition.cwd,
        &mut definition.issuer,
        &mut definition.authorization_url,
        &mut definition.token_url,
        &mut definition.registration_url,
        &mut definition.oauth2_flow,
        &mut definition.token_exchange_endpoint,
        &mut definition.audience,
        &mut definition.subject_token_type,
        &mut definition.token_exchange_profile,
        &mut definition.byok_api_key_help_url,
        &mut definition.source_url,
        &mut definition.protocol_version,
        &mut tls.server_name,
        &mut row.approval.submitted_by,
        &mut row.stamps.created_by,
        &mut row.stamps.updated_by,
    ];
    for text in plain.into_iter().flatten() {
        text.retain(|c| c != '\0');
    }
}
