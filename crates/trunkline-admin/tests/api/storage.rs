//! The API on real databases: what was answered is there after a restart, and a store that fails is never a success.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use sqlx::{Connection as _, Executor as _};

use crate::harness::{Harness, plain};

/// What must hold on every database.
async fn b26_servers_are_there_after_a_restart(url: &str) {
    let gateway = Harness::on(url, Vec::new()).await;
    let mut body = plain("a");
    body["credentials"] = json!({"auth_value": "kept"});
    body["auth_type"] = json!("bearer_token");
    body["description"] = json!("quotes ' \" \\ and 日本語");
    gateway.registered(body).await;
    gateway
        .ask("POST", "/v1/mcp/server/register", Some(plain("b")))
        .await;
    let answer = gateway
        .put(json!({"server_id": "id-a", "timeout": 2.5, "rpm": 7}))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(
        gateway
            .ask(
                "PUT",
                "/v1/mcp/server/id-b/reject",
                Some(json!({"review_notes": "no"}))
            )
            .await
            .status,
        200
    );
    assert_eq!(gateway.post(plain("A")).await.status, 400, "B35");
    let before = gateway.get("/v1/mcp/server").await.json();
    gateway.registry.store().close().await;

    let again = Harness::on(url, Vec::new()).await;
    assert_eq!(
        again.get("/v1/mcp/server").await.json(),
        before,
        "on the first read, without a write"
    );
    let stored = again.stored("id-a");
    assert_eq!(
        stored
            .definition
            .credentials
            .auth_value
            .as_ref()
            .unwrap()
            .expose(),
        "kept"
    );
    assert_eq!(again.ask("DELETE", "/v1/mcp/server/id-a", None).await.status, 202);
    again.registry.store().close().await;
}

#[tokio::test]
async fn b26_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    b26_servers_are_there_after_a_restart(&format!("sqlite://{}", path.display())).await;
}

#[tokio::test]
async fn b26_postgres() {
    let Some(database) = Postgres::create().await else {
        return;
    };
    b26_servers_are_there_after_a_restart(&database.url).await;
    database.drop().await;
}

#[tokio::test]
async fn b31_a_secret_that_does_not_open_is_said_and_can_be_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("registry.db").display());
    let gateway = Harness::sealed_under("old", &url, Vec::new()).await;
    for alias in ["kept", "replaced"] {
        let mut body = plain(alias);
        body["auth_type"] = json!("bearer_token");
        body["credentials"] = json!({"auth_value": "old-secret"});
        gateway.registered(body).await;
    }
    gateway.registered(plain("open")).await;
    gateway.registry.store().close().await;

    let gateway = Harness::sealed_under("new", &url, Vec::new()).await;
    let row = gateway.get("/v1/mcp/server/id-kept").await.json();
    assert_eq!(
        [&row["status"], &row["outcome"]["status"]],
        ["unhealthy", "misconfigured"]
    );
    assert!(
        row["outcome"]["message"]
            .as_str()
            .unwrap()
            .contains("LITELLM_SALT_KEY"),
        "{row}"
    );
    let health = gateway.get("/v1/mcp/server/health").await.json();
    let statuses: Vec<_> = health
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["unhealthy", "healthy", "unhealthy"],
        "nothing else is affected"
    );
    let test = gateway
        .ask(
            "POST",
            "/mcp-rest/test/tools/list",
            Some(json!({"server_id": "id-kept"})),
        )
        .await;
    assert_eq!(test.json()["error"], "misconfigured");
    let contacted: Vec<_> = gateway
        .probe
        .refreshed
        .lock()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        contacted,
        ["id-open"],
        "a server without its credential is not contacted"
    );
    assert!(gateway.probe.probed.lock().unwrap().is_empty());

    let edited = gateway
        .put(json!({"server_id": "id-kept", "description": "edited"}))
        .await;
    assert_eq!(
        edited.json()["outcome"]["status"],
        "misconfigured",
        "{}",
        edited.text
    );
    let again = json!({"server_id": "id-replaced", "credentials": {"auth_value": "new-secret"}});
    let replaced = gateway.put(again).await;
    assert_eq!(
        replaced.json()["outcome"]["status"],
        "pending",
        "{}",
        replaced.text
    );
    gateway.registry.store().close().await;

    let gateway = Harness::sealed_under("old", &url, Vec::new()).await;
    let kept = gateway.stored("id-kept");
    assert_eq!(kept.defect, None, "an edit did not wipe the secret");
    assert_eq!(
        kept.definition.credentials.auth_value.as_ref().unwrap().expose(),
        "old-secret"
    );
    assert_eq!(kept.definition.description.as_deref(), Some("edited"));
}

#[tokio::test]
async fn a_store_that_fails_is_said_and_changes_nothing() {
    let gateway = Harness::new().await;
    gateway.registered(plain("a")).await;
    gateway
        .ask("POST", "/v1/mcp/server/register", Some(plain("b")))
        .await;
    let before = gateway.get("/v1/mcp/server").await.text;
    gateway.registry.store().close().await;
    for (method, path, body) in [
        ("POST", "/v1/mcp/server", Some(plain("c"))),
        ("POST", "/v1/mcp/server/register", Some(plain("c"))),
        (
            "PUT",
            "/v1/mcp/server",
            Some(json!({"server_id": "id-a", "description": "x"})),
        ),
        ("DELETE", "/v1/mcp/server/id-a", None),
        ("PUT", "/v1/mcp/server/id-b/approve?pin=false", None),
        ("PUT", "/v1/mcp/server/id-b/reject", None),
    ] {
        let answer = gateway.ask(method, path, body).await;
        assert_eq!(answer.status, 503, "{method} {path}: {}", answer.text);
        assert!(answer.error().contains("trunkline db status"), "{}", answer.text);
    }
    assert_eq!(
        gateway.get("/v1/mcp/server").await.text,
        before,
        "reading goes on"
    );
}

/// A database for one test.
struct Postgres {
    name: String,
    url: String,
}

/// The server that the tests may make databases on, with its administration database; `make test` names it.
fn server() -> url::Url {
    let named = std::env::var("TRUNKLINE_TEST_POSTGRES");
    let text = named
        .as_deref()
        .unwrap_or("postgres://root@127.0.0.1:5432/postgres");
    text.parse().unwrap()
}

impl Postgres {
    /// `None`, said loudly, when there is no server; a failure in CI, where there must be one.
    #[expect(clippy::print_stdout, reason = "a test that did not run has to be seen")]
    async fn create() -> Option<Self> {
        let mut admin = match sqlx::PgConnection::connect(server().as_str()).await {
            Ok(admin) => admin,
            Err(error) => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "PostgreSQL is not running: {error}"
                );
                println!("SKIPPED: PostgreSQL is not running: {error}");
                return None;
            }
        };
        #[expect(clippy::disallowed_methods, reason = "a name that no other run has")]
        let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("trunkline_admin_{}_{unique}", std::process::id());
        admin
            .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .unwrap();
        let mut url = server();
        url.set_path(&name);
        Some(Self {
            name,
            url: url.into(),
        })
    }

    async fn drop(self) {
        let mut admin = sqlx::PgConnection::connect(server().as_str()).await.unwrap();
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        admin.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
}
