//! What cannot be read grants nothing: the database loses what says who may do what, and nobody gets more, is somebody else, or
//! reaches a server.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, ScriptedUpstream, Signal, TestGateway, eventually};

use crate::database::Database;
use crate::support::{PATIENCE, WAYS, Way, config, generate, key, listed, post, set, toolset, with};

/// Every table that says who may do what, with a column that does.
const TABLES: [(&str, &str); 8] = [
    ("verification_token", "object_permission"),
    ("team_table", "object_permission"),
    ("user_table", "object_permission"),
    ("organization_table", "object_permission"),
    ("end_user_table", "object_permission"),
    ("mcp_toolset", "tools"),
    ("mcp_server", "allow_all_keys"),
    ("registry_revision", "revision"),
];

/// The database is looked at once a second: after this long it was, at least once.
const LOOKED_AT: Duration = Duration::from_millis(1300);

/// A key that belongs to somebody on every level, each of whom takes something away, so that one that is overlooked shows.
struct World {
    gateway: TestGateway,
    database: Database,
    upstreams: [ScriptedUpstream; 3],
    http: HttpClient,
    token: String,
}

impl World {
    async fn new() -> Option<Self> {
        let database = Database::create()?;
        let upstreams = [
            ScriptedUpstream::start().await,
            ScriptedUpstream::start().await,
            ScriptedUpstream::start().await,
        ];
        let [files, notes, extra] = &upstreams;
        let text = config(&[("files", files, ""), ("notes", notes, ""), ("extra", extra, "")]);
        let gateway = database.gateway().config(&text).start().await;
        listed(&gateway, &["files", "notes", "extra"]).await;
        toolset(&gateway, "suite", &[("files", "echo"), ("notes", "echo")]).await;
        let all = json!({"mcp_servers": ["files", "notes", "extra"]});
        let of = |names: Value| json!({"mcp_servers": names});
        let organization = json!({"organization_id": "o", "organization_alias": "o", "object_permission": of(json!(["files", "extra"]))});
        post(&gateway, "/organization/new", organization).await;
        let team = json!({"team_id": "t", "organization_id": "o", "object_permission": all});
        post(&gateway, "/team/new", team).await;
        let user = json!({"user_id": "u", "auto_create_key": false, "object_permission": {"mcp_toolsets": ["suite"]}});
        post(&gateway, "/user/new", user).await;
        let end_user = json!({"user_id": "e", "object_permission": of(json!(["files", "notes"]))});
        post(&gateway, "/customer/new", end_user).await;
        let made = generate(
            &gateway,
            json!({"team_id": "t", "user_id": "u", "object_permission": all}),
        )
        .await;
        let http = with(&gateway, made["key"].as_str().unwrap()).with_header("x-litellm-end-user-id", "e");
        let token = made["token"].as_str().unwrap().to_owned();
        Some(Self {
            gateway,
            database,
            upstreams,
            http,
            token,
        })
    }

    /// What the key has: of `files` the one tool.
    fn own() -> BTreeSet<String> {
        set(&["files-echo"])
    }

    /// Has every replica look at the database again, if it can.
    async fn look(&self, can_say_so: bool) {
        if can_say_so {
            self.say_so();
        }
        tokio::time::sleep(LOOKED_AT).await;
    }

    /// Says that something was written.
    fn say_so(&self) {
        self.database
            .sql("UPDATE registry_revision SET revision = revision + 1");
    }

    /// Checks that the key has no more than before, a stranger nothing, and that nothing goes where it must not.
    async fn check(&self, what: &str) {
        let stranger = with(&self.gateway, "sk-nobodys-key-0123456789");
        let [files, notes, extra] = &self.upstreams;
        for way in WAYS {
            match way.tools(&self.http, None).await {
                Ok(tools) => assert!(tools.is_subset(&Self::own()), "{what} {way:?}: {tools:?}"),
                Err(status) => assert!(matches!(status, 401 | 403 | 503), "{what} {way:?}: {status}"),
            }
            let before = files.requests().len();
            for tool in ["files-echo", "notes-echo", "extra-echo"] {
                let call = json!({"name": tool, "arguments": {"message": "x"}});
                let (status, said) = way.ask(&stranger, None, "tools/call", &call).await;
                assert_eq!(status, 401, "{what} {way:?}: {said}");
            }
            assert_eq!(files.requests().len(), before, "{what} {way:?}");
            for tool in ["notes-echo", "extra-echo"] {
                let call = json!({"name": tool, "arguments": {"message": "x"}});
                way.ask(&self.http, None, "tools/call", &call).await;
            }
            assert_eq!(
                (notes.count("tools/call"), extra.count("tools/call")),
                (0, 0),
                "{what} {way:?}"
            );
        }
    }

    /// A change of what the key may do.
    async fn change(&self) -> u16 {
        let body = json!({"key": self.token, "key_alias": "changed"});
        self.gateway
            .client()
            .with_limit(PATIENCE)
            .post("/key/update", &body)
            .await
            .status
            .as_u16()
    }

    async fn heals(&self, what: &str) {
        self.look(true).await;
        eventually(what, PATIENCE, async || {
            Way::Bare.tools(&self.http, None).await == Ok(Self::own()) && self.change().await == 200
        })
        .await;
    }
}

#[tokio::test]
async fn s05_b42_a_table_that_is_away_gives_nobody_more() {
    let Some(world) = World::new().await else { return };
    assert_eq!(Way::Bare.tools(&world.http, None).await, Ok(World::own()));
    for (table, _) in TABLES {
        world.database.sql(&format!("ALTER TABLE {table} RENAME TO away"));
        world.check(table).await;
        world.look(table != "registry_revision").await;
        world.check(table).await;
        if matches!(table, "verification_token" | "registry_revision") {
            assert_eq!(
                world.change().await,
                503,
                "{table}: what cannot be written is not said to be"
            );
        }
        world.database.sql(&format!("ALTER TABLE away RENAME TO {table}"));
        world.heals(table).await;
    }
}

#[tokio::test]
async fn s05_b42_a_column_that_is_away_gives_nobody_more() {
    let Some(world) = World::new().await else { return };
    for (table, column) in TABLES {
        world
            .database
            .sql(&format!("ALTER TABLE {table} RENAME COLUMN {column} TO away"));
        world.look(table != "registry_revision").await;
        world.check(table).await;
        world
            .database
            .sql(&format!("ALTER TABLE {table} RENAME COLUMN away TO {column}"));
        world.heals(table).await;
    }
}

#[tokio::test]
async fn s05_b42_a_row_that_cannot_be_read_gives_nobody_more_1() {
    rows_that_cannot_be_read(&TABLES[..3]).await;
}

#[tokio::test]
async fn s05_b42_a_row_that_cannot_be_read_gives_nobody_more_2() {
    rows_that_cannot_be_read(&TABLES[3..6]).await;
}

/// Rows that are not what this version wrote: whoever they are about is refused, and has back what it had when they are mended.
async fn rows_that_cannot_be_read(tables: &[(&str, &str)]) {
    let Some(world) = World::new().await else { return };
    for (table, column) in tables {
        let kept = format!("CREATE TABLE kept AS SELECT rowid AS id, {column} AS value FROM {table}");
        for damage in ["'no json'", "'[7]'", "x'ff00'"] {
            world.database.sql(&kept);
            let revision = match *table {
                "mcp_toolset" => String::new(),
                _ => ", revision = (SELECT max(revision) + 1 FROM registry_revision)".to_owned(),
            };
            world
                .database
                .sql(&format!("UPDATE {table} SET {column} = {damage}{revision}"));
            world.look(true).await;
            world.check(&format!("{table} {damage}")).await;
            let refused = Way::Bare.tools(&world.http, None).await;
            assert!(
                refused != Ok(World::own()),
                "{table} {damage}: it is not what it was"
            );
            world.database.sql(&format!(
                "UPDATE {table} SET {column} = (SELECT value FROM kept WHERE id = {table}.rowid){revision}"
            ));
            world.database.sql("DROP TABLE kept");
            world.say_so();
            // It was refused: what it has again was read.
            let healed = async || Way::Bare.tools(&world.http, None).await == Ok(World::own());
            eventually(&format!("{table} {damage} is mended"), PATIENCE, healed).await;
        }
    }
}

/// Going back to a version that does not know a rule lets nobody through.
#[tokio::test]
async fn s05_a_version_that_does_not_know_what_protects_somebody_does_not_start() {
    let Some(database) = Database::create() else {
        return;
    };
    let mut gateway = database.gateway().start().await;
    gateway.stop(Signal::Term).await;
    for (name, starts) in [("more", true), ("guard_more", false)] {
        database.sql(&format!(
            "INSERT INTO trunkline_migration VALUES (9000, '{name}', 0)"
        ));
        match database.gateway().try_start().await {
            Ok(mut gateway) => {
                assert!(starts, "{name}");
                gateway.stop(Signal::Term).await;
            }
            Err(failure) => {
                let said = failure.to_string();
                assert!(!starts && said.contains("9000_guard_more"), "{said}");
            }
        }
        database.sql("DELETE FROM trunkline_migration WHERE version = 9000");
    }
}

/// Whatever a caller's own token for the server is, and whoever the server is for: without a good key nobody is somebody.
#[tokio::test]
async fn b47_a_wrong_key_beside_any_token_is_nobody_before_every_server() {
    let passes = ScriptedUpstream::start().await;
    let unserved = ScriptedUpstream::start().await;
    let text = config(&[
        (
            "passes",
            &passes,
            "    allow_all_keys: true\n    extra_headers: [authorization]\n",
        ),
        (
            "grants",
            &unserved,
            "    allow_all_keys: true\n    auth_type: oauth_delegate\n",
        ),
    ]);
    let gateway = TestGateway::start(&text).await;
    let good = key(&gateway, json!({})).await;
    let beside = |key: &str, token: &str| {
        let http = gateway.anonymous().with_header("x-litellm-api-key", key);
        http.with_header("authorization", token)
    };
    let shown = beside(&good, "Bearer upstream-token");
    eventually("the good key has the server", PATIENCE, async || {
        Way::Bare.tools(&shown, None).await == Ok(set(&["passes-echo"]))
    })
    .await;
    let before = (passes.requests().len(), unserved.requests().len());
    let shorter = &good[..good.len() - 1];
    for token in [
        "Bearer upstream-token",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Basic dTpw",
        "Bearer ",
    ] {
        for wrong in ["sk-wrong-0123456789", shorter, "", "null", "Bearer"] {
            let http = beside(wrong, token);
            let alone = gateway.anonymous().with_header("authorization", token);
            for http in [&http, &alone] {
                refused(http, &format!("{wrong:?} beside {token:?}")).await;
            }
        }
    }
    assert_eq!((passes.requests().len(), unserved.requests().len()), before);
    for words in [
        "auth_type: true_passthrough",
        "oauth_passthrough: true",
        "delegate_auth_to_upstream: true",
    ] {
        let text = config(&[(
            "passes",
            &passes,
            &format!("    allow_all_keys: true\n    {words}\n"),
        )]);
        let failure = TestGateway::builder().config(&text).try_start().await;
        assert!(
            failure.is_err(),
            "{words} lets in whoever has no key, and is not served"
        );
    }
}

/// Checks that a client is refused with 401, whatever it asks of whom.
async fn refused(http: &HttpClient, what: &str) {
    let call = json!({"name": "passes-echo", "arguments": {"message": "x"}});
    for way in WAYS {
        for server in [None, Some("passes"), Some("grants")] {
            for (method, params) in [
                ("initialize", json!({})),
                ("tools/list", json!({})),
                ("tools/call", call.clone()),
            ] {
                if matches!(way, Way::Rest | Way::AllTools) && method == "initialize" {
                    continue;
                }
                let (status, said) = way.ask(http, server, method, &params).await;
                assert_eq!(status, 401, "{what}: {way:?} {server:?} {method}: {said}");
            }
        }
    }
}
