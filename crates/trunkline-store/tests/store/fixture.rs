//! A database for one test, and servers to put into it.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use trunkline_auth::Vault;
use trunkline_model::{
    Approval, ApprovalStatus, AuthType, Clock, Credentials, EnvVar, EnvVarScope, OpenApiFilter,
    OperationMatch, Origin, Pem, PrefixMode, Sandbox, Secret, Server, ServerDefinition, ServerId,
    SessionMode, Stamps, TlsSettings, TlsVersion, Transport, tool_rule,
};
use trunkline_store::{Actor, Store};

/// Runs a test against SQLite and against `PostgreSQL`.
macro_rules! both {
    ($(async fn $name:ident($db:ident) $body:block)+) => {$(
        mod $name {
            use super::*;

            async fn run($db: &crate::fixture::Db) $body

            #[test]
            fn sqlite() {
                crate::fixture::on_sqlite(|db| Box::pin(async move { run(&db).await }));
            }

            #[test]
            fn postgres() {
                crate::fixture::on_postgres(|db| Box::pin(async move { run(&db).await }));
            }
        }
    )+};
}
pub(crate) use both;

/// A database that exists as long as its test.
pub(crate) struct Db {
    pub(crate) url: String,
    pub(crate) clock: Arc<TestClock>,
    /// The file, for SQLite.
    pub(crate) path: Option<PathBuf>,
    folder: Option<tempfile::TempDir>,
}

pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    pub(crate) fn set(&self, seconds: i64) {
        *self.0.lock().unwrap() = at(seconds);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Who makes the changes of the tests.
pub(crate) fn by() -> Actor {
    Actor::process("test")
}

pub(crate) fn vault(key: &str) -> Arc<Vault> {
    Arc::new(Vault::derive(&Secret::new(key)))
}

impl Db {
    fn new(url: String, path: Option<PathBuf>, folder: Option<tempfile::TempDir>) -> Arc<Self> {
        let clock = Arc::new(TestClock::new(at(1_700_000_000)));
        Arc::new(Self {
            url,
            clock,
            path,
            folder,
        })
    }

    pub(crate) fn sqlite() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").join("trunkline.db");
        let url = format!("sqlite://{}", path.display());
        Self::new(url, Some(path), Some(folder))
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.folder.is_some()
    }

    /// Opens it as a process would, without migrating.
    pub(crate) async fn connect(&self) -> Store {
        self.connect_with("salt").await
    }

    pub(crate) async fn connect_with(&self, key: &str) -> Store {
        Store::connect(&Secret::new(self.url.clone()), vault(key), self.clock.clone())
            .await
            .unwrap()
    }

    /// Opens and migrates it.
    pub(crate) async fn store(&self) -> Store {
        let store = self.connect().await;
        store.migrate().await.unwrap();
        store.verify().await.unwrap();
        store
    }

    /// Somebody at the database's own prompt.
    pub(crate) async fn by_hand(&self, sql: &str) {
        self.try_by_hand(sql).await.unwrap();
    }

    /// The same of what the database may refuse.
    pub(crate) async fn try_by_hand(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            let done = sqlx::raw_sql(sql).execute(&mut connection).await;
            connection.close().await.unwrap();
            done.map(drop)
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let done = sqlx::raw_sql(sql).execute(&mut connection).await;
            connection.close().await.unwrap();
            done.map(drop)
        }
    }

    /// The first column of every row, a text.
    pub(crate) async fn ask(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        }
    }

    /// One line for each column and index: name, type, whether it is required, has a default, is a key.
    pub(crate) async fn schema(&self) -> Vec<String> {
        let (columns, indexes) = if self.is_sqlite() {
            (
                "SELECT m.name || '.' || c.name || ' ' || replace(upper(c.type), 'INTEGER', 'BIGINT') || ' ' || c.\"notnull\" \
                 || ' ' || (c.dflt_value IS NOT NULL) || ' ' || (c.pk > 0) \
                 FROM sqlite_master m, pragma_table_info(m.name) c \
                 WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'",
                "SELECT tbl_name || ' ' || name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
            )
        } else {
            (
                "SELECT c.relname || '.' || a.attname || ' ' || upper(format_type(a.atttypid, NULL)) || ' ' \
                 || a.attnotnull::int || ' ' || a.atthasdef::int || ' ' \
                 || coalesce((SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)), 0) \
                 FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
                 WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped",
                "SELECT tablename || ' ' || indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%_pkey'",
            )
        };
        let mut lines = self.ask(columns).await;
        lines.extend(self.ask(indexes).await);
        lines.sort();
        lines
    }
}

type Test = fn(Arc<Db>) -> Pin<Box<dyn Future<Output = ()>>>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn on_sqlite(test: Test) {
    runtime().block_on(test(Db::sqlite()));
}

pub(crate) fn on_postgres(test: Test) {
    runtime().block_on(async {
        let admin_url = std::env::var("TRUNKLINE_TEST_POSTGRES")
            .unwrap_or_else(|_| "postgres://root@127.0.0.1:5432/postgres".to_owned());
        let mut admin = match PgConnection::connect(&admin_url).await {
            Ok(admin) => admin,
            Err(error) => {
                let notice = format!("NOT TESTED: no PostgreSQL at TRUNKLINE_TEST_POSTGRES: {error}");
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{notice}");
                eprintln!("\n*** {notice} ***\n");
                return;
            }
        };
        let name = format!("trunkline_test_{}", uuid::Uuid::new_v4().simple());
        create(&mut admin, &name).await;
        let mut url = url::Url::parse(&admin_url).unwrap();
        url.set_path(&name);
        let outcome = AssertUnwindSafe(test(Db::new(url.to_string(), None, None)))
            .catch_unwind()
            .await;
        let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
        sqlx::raw_sql(drop).execute(&mut admin).await.unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

async fn create(admin: &mut PgConnection, name: &str) {
    for _ in 0..20 {
        let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
        match sqlx::raw_sql(create).execute(&mut *admin).await {
            Ok(_) => return,
            // Another test is copying the template at this moment.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
    panic!("no database for the test");
}

// === servers ===

pub(crate) fn server(id: &str) -> Server {
    Server {
        id: ServerId::new(id),
        origin: Origin::Database,
        definition: ServerDefinition {
            server_name: Some(format!("name_{id}")),
            url: Some(format!("https://{id}.example/mcp")),
            ..ServerDefinition::default()
        },
        approval: Approval::default(),
        stamps: Stamps::default(),
        defect: None,
    }
}

pub(crate) fn named(id: &str, name: &str) -> Server {
    let mut server = server(id);
    server.definition.server_name = Some(name.to_owned());
    server
}

pub(crate) fn with_credential(id: &str, value: &str) -> Server {
    let mut server = server(id);
    server.definition.auth_type = Some(AuthType::BearerToken);
    server.definition.credentials.auth_value = Some(Secret::new(value));
    server
}

fn filter(tags: Vec<String>, paths: Vec<String>) -> OpenApiFilter {
    let (mut include, mut exclude) = (OperationMatch::default(), OperationMatch::default());
    include.tags = tags;
    exclude.paths = paths;
    OpenApiFilter { include, exclude }
}

/// A server with every field away from its default; texts carry `tag`.
pub(crate) fn full(id: &str, tag: &str) -> Server {
    let text = |field: &str| Some(format!("{field} {tag} é 漢 '\"\\ $1 {{}}"));
    let list = |field: &str| vec![format!("{field} {tag}"), String::new(), "b,\"c\"".to_owned()];
    let map = |field: &str| {
        BTreeMap::from([
            (format!("{field} {tag}"), format!("value {tag}")),
            (String::new(), String::new()),
        ])
    };
    let secrets = |field: &str| -> BTreeMap<String, Secret> {
        map(field)
            .into_iter()
            .map(|(name, value)| (name, Secret::new(value)))
            .collect()
    };
    let env_var = |scope| EnvVar {
        name: format!("NAME {tag}"),
        value: Secret::new(format!("value {tag}")),
        scope,
        description: text("description"),
    };
    Server {
        id: ServerId::new(id),
        origin: Origin::Database,
        definition: ServerDefinition {
            server_name: Some(format!("server_name {id}{tag}")),
            alias: Some(format!("alias {id}{tag}")),
            description: text("description"),
            instructions: text("instructions"),
            url: text("url"),
            spec_path: text("spec_path"),
            spec: json!({"openapi": "3.0.0", "info": {"title": tag}})
                .as_object()
                .cloned(),
            openapi: filter(
                vec![format!("tag {tag}"), "b,\"c\"".to_owned()],
                vec![format!("/path/{tag}/*")],
            ),
            transport: Transport::Stdio,
            auth_type: Some(AuthType::OauthDelegate),
            credentials: Credentials {
                auth_value: text("auth_value").map(Secret::new),
                other: secrets("other"),
            },
            mcp_info: json!({"z": 1, "a": {"cost": 0.5, "list": [null, true, tag]}})
                .as_object()
                .cloned(),
            mcp_access_groups: list("group"),
            allowed_tools: Some(list("tool")),
            disallowed_tools: list("not"),
            allowed_params: BTreeMap::from([("tool".to_owned(), list("param")), (tag.to_owned(), vec![])]),
            tool_arguments: tool_rule::parse_arguments(&json!({tag: {
                "pinned": {"value": {"a": [1, tag]}}, "claim": {"value_from": "metadata.a.b"},
                "default": {"default": 1.5}, "team": {"default_from": "team_id"},
            }}))
            .unwrap(),
            tool_approval: tool_rule::parse_approval(&json!({"*": "always", tag: "first_use", "b": "never"})).unwrap(),
            approval_by_user: true,
            tool_conditions: tool_rule::parse_conditions(
                &json!([{"tools": ["*", tag], "when": "args.a == 1", "reason": tag}, {"tools": ["b"], "when": "true"}]),
                false,
            )
            .unwrap(),
            tool_name_to_display_name: map("display"),
            tool_name_to_description: map("describe"),
            pinned_tools: Some(json!({"tool": {"description": tag, "input_schema": {"type": "object"}}})),
            extra_headers: list("x-header"),
            static_headers: secrets("static"),
            env_vars: vec![env_var(EnvVarScope::Global), env_var(EnvVarScope::User)],
            command: text("command"),
            args: list("arg"),
            env: secrets("env"),
            issuer: text("issuer"),
            authorization_url: text("authorization_url"),
            token_url: text("token_url"),
            registration_url: text("registration_url"),
            oauth2_flow: text("oauth2_flow"),
            token_exchange_endpoint: text("token_exchange_endpoint"),
            audience: text("audience"),
            subject_token_type: text("subject_token_type"),
            token_exchange_profile: text("token_exchange_profile"),
            allow_all_keys: true,
            available_on_public_internet: false,
            delegate_auth_to_upstream: true,
            oauth_passthrough: true,
            dcr_bridge: Some(false),
            per_server_oauth_discovery: true,
            is_byok: true,
            byok_description: list("step"),
            byok_api_key_help_url: text("byok_api_key_help_url"),
            source_url: text("source_url"),
            timeout: Some(0.125),
            // Of the configuration file alone: there is no column.
            tool_timeouts: BTreeMap::new(),
            connect_timeout: Some(0.25),
            list_timeout: Some(90.5),
            tls: TlsSettings {
                ca: text("tls_ca").map(Pem::inline),
                client_cert: text("tls_client_cert").map(Pem::inline),
                client_key: text("tls_client_key").map(Secret::new),
                server_name: text("tls_server_name"),
                min_version: Some(TlsVersion::Tls13),
            },
            max_concurrent_requests: Some(u32::MAX),
            rpm: Some(0),
            prefix: PrefixMode::Never,
            session: SessionMode::PerClient,
            protocol_version: text("protocol_version"),
            schema_compat: true,
            cwd: text("cwd"),
            sandbox: Sandbox::Off,
        },
        approval: Approval {
            status: ApprovalStatus::Rejected,
            submitted_by: text("submitted_by"),
            submitted_at: Some(Timestamp::from_microsecond(1_700_000_000_123_456).unwrap()),
            reviewed_by: Some("reviewer".to_owned()),
            reviewed_at: Some(at(-1)),
            review_notes: text("review_notes"),
        },
        stamps: Stamps {
            created_at: Some(at(1)),
            created_by: text("created_by"),
            updated_at: Some(at(2)),
            updated_by: text("updated_by"),
        },
        defect: None,
    }
}
