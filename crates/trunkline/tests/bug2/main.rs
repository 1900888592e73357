//! The second founding bug: at every restart the schema lost columns, and the next registration failed.
//!
//! Everything here runs on both databases, with the binary as people start it.
//!
//! - [`restarts`]: ten of them, another version's database, nothing changes
//! - [`kills`]: `kill -9` in the middle of the start and of writes
//! - [`drift`]: a column dropped by hand is named, and `db repair` restores it
//! - [`shared`]: two gateways on one database
//! - [`outages`]: the database is not there, or goes away
//!
//! One more: an `async fn of(database: Database)` and its two tests, one for each database.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod drift;
mod kills;
mod outages;
mod proxy;
mod restarts;
mod shared;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_testkit::{GatewayBuilder, ScratchDatabase, ScriptedUpstream, TestGateway, tools};

/// What the reported version lost.
const LOST_COLUMNS: [&str; 6] = [
    "source_url",
    "approval_status",
    "submitted_by",
    "submitted_at",
    "reviewed_at",
    "review_notes",
];

/// A database of its own, and a way past the gateway into it.
enum Database {
    Sqlite { folder: TempDir, python: PathBuf },
    Postgres(ScratchDatabase),
}

impl Database {
    /// `None` when there is no Python to look into it with (never with `CI=true`).
    fn sqlite() -> Option<Self> {
        let python = tools::python("backend")?;
        let folder = tempfile::tempdir().unwrap();
        Some(Self::Sqlite { folder, python })
    }

    /// `None` when there is no server (never with `CI=true`).
    fn postgres() -> Option<Self> {
        ScratchDatabase::create().map(Self::Postgres)
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite { folder, .. } => format!("sqlite://{}", file(folder).display()),
            Self::Postgres(database) => database.url(),
        }
    }

    /// A gateway on it.
    fn gateway(&self) -> GatewayBuilder {
        TestGateway::builder().database_url(&self.url())
    }

    /// Runs a statement as somebody with the database's own tools would: rows as lines, columns separated by `|`.
    fn sql(&self, statement: &str) -> String {
        match self {
            Self::Sqlite { folder, python } => {
                let output = Command::new(python)
                    .args(["-c", SQL])
                    .arg(file(folder))
                    .arg(statement)
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{statement}: {}", printed(&output));
                String::from_utf8(output.stdout).unwrap()
            }
            Self::Postgres(database) => database.sql(statement),
        }
    }

    /// All that is stored about servers.
    fn dump(&self) -> String {
        self.sql("SELECT * FROM mcp_server WHERE server_id NOT LIKE 'later%' ORDER BY server_id")
    }

    /// What `db …` commands say, with their exit code.
    async fn command(&self, builder: &GatewayBuilder, command: &str) -> (Option<i32>, String) {
        let home = tempfile::tempdir().unwrap();
        let args = ["db", command, "--data-dir", home.path().to_str().unwrap()];
        let output = builder.run(&args).await;
        (output.status.code(), printed(&output))
    }
}

const SQL: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10)
for row in connection.execute(sys.argv[2]).fetchall():
    print('|'.join('' if value is None else str(value) for value in row))
connection.commit()
";

fn file(folder: &TempDir) -> PathBuf {
    Path::new(folder.path()).join("trunkline.db")
}

fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

// === What is in it ===

/// Servers with every kind of field, and submissions in every state.
async fn populate(gateway: &TestGateway, upstream: &ScriptedUpstream) {
    let client = gateway.client();
    for server in [every_field(&upstream.url()), as_reported(&upstream.url())] {
        client.post("/v1/mcp/server", &server).await.expect_status(201);
    }
    for id in ["waiting", "approved", "rejected"] {
        let submission = json!({
            "server_id": id,
            "server_name": format!("submitted_{id}"),
            "url": upstream.url(),
            "transport": "http",
            "source_url": format!("https://example.com/{id}"),
        });
        client
            .post("/v1/mcp/server/register", &submission)
            .await
            .expect_status(201);
    }
    client
        .put("/v1/mcp/server/approved/approve?pin=false", &json!({}))
        .await
        .expect_status(200);
    let why = json!({"review_notes": "no — see “policy” ✗"});
    client
        .put("/v1/mcp/server/rejected/reject", &why)
        .await
        .expect_status(200);
}

fn as_reported(url: &str) -> Value {
    json!({
        "server_id": "reported",
        "server_name": "reported",
        "url": url,
        "transport": "http",
        "auth_type": "bearer_token",
        "extra_headers": ["Authorization: Bearer key"],
    })
}

fn every_field(url: &str) -> Value {
    json!({
        "server_id": "full",
        "server_name": "Full_Server",
        "alias": "full",
        "description": "ünïcode ✓\nsecond line",
        "instructions": "Use it.",
        "url": url,
        "transport": "http",
        "auth_type": "api_key",
        "credentials": {"auth_value": "secret", "client_id": "id", "client_secret": "s", "scopes": ["a", "b"]},
        "mcp_info": {
            "server_name": "Shown", "description": "d", "logo_url": "https://example.com/l.png",
            "mcp_server_cost_info": {"default_cost_per_query": 0.25}, "free": [1, null, {"a": "b"}],
        },
        "mcp_access_groups": ["dev", "ops"],
        "allowed_tools": ["echo", "other"],
        "disallowed_tools": ["drop"],
        "tool_name_to_display_name": {"echo": "say"},
        "tool_name_to_description": {"echo": "Says it."},
        "extra_headers": ["X-Trace", "x-tenant-*"],
        "static_headers": {"X-Region": "${REGION}", "X-Key": "k"},
        "env_vars": [
            {"name": "REGION", "value": "eu", "scope": "global", "description": "where"},
        ],
        "args": ["-x"],
        "env": {"A": "b"},
        "issuer": "https://issuer.example.com",
        "authorization_url": "https://issuer.example.com/authorize",
        "token_url": "https://issuer.example.com/token",
        "registration_url": "https://issuer.example.com/register",
        "oauth2_flow": "client_credentials",
        "token_exchange_endpoint": "https://issuer.example.com/exchange",
        "audience": "aud",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_exchange_profile": "rfc8693",
        "allow_all_keys": true,
        "dcr_bridge": true,
        "per_server_oauth_discovery": true,
        "byok_description": ["go there", "click"],
        "byok_api_key_help_url": "https://example.com/help",
        "source_url": "https://example.com/source",
        "timeout": 12.5,
        "max_concurrent_requests": 4,
        "rpm": 100,
        "prefix": "never",
        "session": "shared",
        "protocol_version": "2025-06-18",
    })
}

/// The rows as an administrator reads them, in bytes, without what is found out anew by each process.
async fn rows(gateway: &TestGateway) -> Vec<String> {
    let reply = gateway.client().get("/v1/mcp/server").await.expect_status(200);
    let rows = reply.json();
    let stored = rows.as_array().unwrap().iter().filter(|row| {
        !row["server_id"].as_str().unwrap().starts_with("later") && row["is_config"] == json!(false)
    });
    let texts = stored.cloned().map(|mut row| {
        for found in [
            "outcome",
            "status",
            "last_health_check",
            "health_check_error",
            "tool_count",
            "health",
            "circuit",
        ] {
            row.as_object_mut().unwrap().shift_remove(found);
        }
        row.to_string()
    });
    texts.collect()
}

/// `POST /v1/mcp/server` works, with the fields that were lost, and the server is there.
async fn post_works(gateway: &TestGateway, name: &str) {
    let server = json!({
        "server_id": name,
        "server_name": name,
        "url": "http://127.0.0.1:9/mcp",
        "transport": "http",
        "source_url": "https://example.com/source",
    });
    let client = gateway.client();
    let made = client.post("/v1/mcp/server", &server).await.expect_status(201);
    assert_eq!(made.json()["source_url"], "https://example.com/source");
    assert_eq!(made.json()["approval_status"], "active");
    client
        .get(&format!("/v1/mcp/server/{name}"))
        .await
        .expect_status(200);
}

/// The tools of the approved servers are listed and can be called.
async fn serves(gateway: &TestGateway) {
    let mut mcp = gateway.mcp();
    mcp.initialize().await;
    let names = mcp.tool_names().await;
    for tool in ["reported-echo", "submitted_approved-echo"] {
        assert!(
            names.iter().any(|name| name == tool),
            "{tool} is not in {names:?}"
        );
        let called = mcp.call(tool, &json!({"message": "m"}), None).await.result();
        assert_eq!(called["content"][0]["text"], "m");
    }
    for hidden in ["submitted_waiting-echo", "submitted_rejected-echo"] {
        assert!(
            !names.iter().any(|name| name == hidden),
            "{hidden} is in {names:?}"
        );
    }
}
