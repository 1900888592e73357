//! The database is not there at the start, or goes away while the gateway serves (B34): data traffic goes on, changes
//! are refused with 503, and all is well again without a restart.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, ScratchDatabase, ScriptedUpstream, TestGateway, eventually};

use crate::proxy::Proxy;
use crate::{Database, populate, post_works, rows, serves};

/// Longest that a change waits for a database that does not answer, and as much again for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

// === Not there at the start ===

#[tokio::test]
async fn bug2_b34_a_database_that_is_not_there_is_said_without_its_password() {
    let password = Canary::new("database-password");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("postgresql://user:{}@127.0.0.1:{port}/db", password.value());
    let failure = TestGateway::builder()
        .database_url(&url)
        .try_start()
        .await
        .expect_err("it must not start");
    assert!(failure.exit.code.is_some_and(|code| code != 0), "{failure}");
    assert!(
        failure.stderr.contains(&format!("127.0.0.1:{port}")) && failure.stderr.contains("database"),
        "{failure}"
    );
    password.assert_absent(&[("the output", &failure.stdout), ("the log", &failure.stderr)]);
}

#[tokio::test]
async fn bug2_a_refused_login_is_said_without_the_password() {
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let password = Canary::new("database-password");
    let (_, address) = database
        .url()
        .split_once('@')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let url = format!("postgresql://nobody_known_here:{}@{address}", password.value());
    let failure = TestGateway::builder()
        .database_url(&url)
        .try_start()
        .await
        .expect_err("it must not start");
    assert!(failure.exit.code.is_some_and(|code| code != 0), "{failure}");
    assert!(
        failure.stderr.contains("nobody_known_here"),
        "the server's words: {failure}"
    );
    password.assert_absent(&[("the output", &failure.stdout), ("the log", &failure.stderr)]);
}

#[tokio::test]
async fn bug2_a_file_that_is_no_database_is_said_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkline.db");
    let text = "this is not a database, it is somebody's only copy of something\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let nowhere = folder.path().join("trunkline.db/inside/a/file.db");
    for path in [&path, &nowhere] {
        let url = format!("sqlite://{}", path.display());
        let failure = TestGateway::builder()
            .database_url(&url)
            .try_start()
            .await
            .expect_err("it must not start");
        assert!(failure.exit.code.is_some_and(|code| code != 0), "{failure}");
        assert!(failure.stderr.contains("trunkline.db"), "{failure}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

/// Compose files start both at once: the gateway waits a little for the database.
#[tokio::test]
async fn bug2_b34_a_database_that_comes_late_is_waited_for() {
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let (mut proxy, url) = behind_proxy(&database).await;
    proxy.cut().await;
    let starting = TestGateway::builder().database_url(&url).start();
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.mend().await;
    };
    let (gateway, ()) = tokio::join!(starting, later);
    post_works(&gateway, "later").await;
}

// === Lost while running ===

async fn behind_proxy(database: &ScratchDatabase) -> (Proxy, String) {
    let url = database.url();
    let (before, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let address = if address.contains(':') {
        address.to_owned()
    } else {
        format!("{address}:5432")
    };
    let proxy = Proxy::new(&address).await;
    let url = format!("{before}@127.0.0.1:{}/{name}", proxy.port());
    (proxy, url)
}

async fn rig() -> Option<(ScratchDatabase, Proxy, TestGateway, ScriptedUpstream)> {
    let database = ScratchDatabase::create()?;
    let (proxy, url) = behind_proxy(&database).await;
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::builder().database_url(&url).start().await;
    populate(&gateway, &upstream).await;
    serves(&gateway).await;
    Some((database, proxy, gateway, upstream))
}

fn any_server(name: &str) -> Value {
    json!({"server_id": name, "server_name": name, "url": "http://127.0.0.1:9/mcp", "transport": "http"})
}

/// What goes on, and what is refused and how.
async fn without_database(gateway: &TestGateway, read: &[String]) {
    // At once: nothing on the way of a request waits for the database.
    let quick = gateway.client().with_limit(Duration::from_secs(5));
    serves(gateway).await;
    assert_eq!(rows(gateway).await, read);
    quick.get("/v1/mcp/tools").await.expect_status(200);
    let ready = quick.get("/health/readiness").await.expect_status(200);
    assert_eq!(ready.json()["db"], "Not connected", "{}", ready.text());
    // A key that nobody has is still no key (never 503, never let in).
    let stranger = gateway
        .anonymous()
        .with_header("authorization", "Bearer sk-nobody");
    stranger.get("/v1/mcp/server").await.expect_status(401);

    let refused = gateway
        .client()
        .with_limit(PATIENCE)
        .post("/v1/mcp/server", &any_server("refused"))
        .await
        .expect_status(503);
    assert!(refused.text().contains("database"), "{}", refused.text());
    serves(gateway).await;
}

async fn recovered(gateway: &TestGateway) {
    let client = gateway.client().with_limit(PATIENCE);
    eventually("changes are stored again", PATIENCE, async || {
        stored(&client, "recovered").await
    })
    .await;
    post_works(gateway, "later").await;
    let ready = client.get("/health/readiness").await.expect_status(200);
    assert_eq!(ready.json()["db"], "connected");
    serves(gateway).await;
}

/// Whether it is registered now; a refusal must be 503.
async fn stored(client: &HttpClient, name: &str) -> bool {
    let reply = client.post("/v1/mcp/server", &any_server(name)).await;
    let status = reply.status.as_u16();
    assert!([201, 503].contains(&status), "{status}: {}", reply.text());
    status == 201
}

#[tokio::test]
async fn bug2_b34_a_lost_database_stops_changes_and_not_traffic() {
    let Some((_database, mut proxy, gateway, _upstream)) = rig().await else {
        return;
    };
    let read = rows(&gateway).await;
    proxy.cut().await;
    without_database(&gateway, &read).await;
    proxy.mend().await;
    recovered(&gateway).await;
}

/// The connections stay open and nothing comes: what a dead machine or a firewall looks like.
#[tokio::test]
async fn bug2_b34_a_silent_database_stops_changes_and_not_traffic() {
    let Some((_database, proxy, gateway, _upstream)) = rig().await else {
        return;
    };
    let read = rows(&gateway).await;
    proxy.hold(true);
    without_database(&gateway, &read).await;
    proxy.hold(false);
    recovered(&gateway).await;
}

/// Clients that come while the database is away are served, and what is theirs is written down when it is back.
#[tokio::test]
async fn bug2_b34_sessions_of_an_outage_are_written_down_after_it() {
    for silent in [false, true] {
        let Some((database, mut proxy, gateway, _upstream)) = rig().await else {
            return;
        };
        let before: usize = database
            .sql("SELECT count(*) FROM session_upstream")
            .parse()
            .unwrap();
        if silent {
            proxy.hold(true);
        } else {
            proxy.cut().await;
        }
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = gateway.mcp().with_limit(Duration::from_secs(20));
            client.initialize().await;
            let called = client.call("reported-echo", &json!({"message": "m"}), None).await;
            assert_eq!(called.result()["content"][0]["text"], "m");
            let level = client
                .request("logging/setLevel", &json!({"level": "info"}))
                .await;
            level.result();
            clients.push(client);
        }
        let said = gateway
            .log()
            .matches("sessions of clients cannot be looked up")
            .count();
        assert_eq!(said, 1, "once: {}", gateway.log());
        if silent {
            proxy.hold(false);
        } else {
            proxy.mend().await;
        }
        // The next round of upkeep is within 15 s.
        eventually("they are written down", Duration::from_secs(45), async || {
            let rows: usize = database
                .sql("SELECT count(*) FROM session_upstream")
                .parse()
                .unwrap();
            rows >= before + 5
        })
        .await;
        for client in &mut clients {
            let called = client.call("reported-echo", &json!({"message": "m"}), None).await;
            assert_eq!(called.result()["content"][0]["text"], "m");
        }
    }
}

/// An administrator ends all connections: the next change may fail, but only with 503, and soon none does.
#[tokio::test]
async fn bug2_b34_terminated_connections_are_made_again() {
    let Some(database) = Database::postgres() else {
        return;
    };
    let upstream = ScriptedUpstream::start().await;
    let gateway = database.gateway().start().await;
    populate(&gateway, &upstream).await;
    for round in 0..3 {
        database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let client = gateway.client();
        let name = format!("later_{round}");
        eventually("changes are stored again", Duration::from_secs(10), async || {
            stored(&client, &name).await
        })
        .await;
    }
    serves(&gateway).await;
    // The other way in, too: what somebody else writes is noticed again.
    let other = database.gateway().start().await;
    post_works(&other, "later_elsewhere").await;
    eventually("it is noticed", Duration::from_secs(5), async || {
        let reply = gateway.client().get("/v1/mcp/server/later_elsewhere").await;
        reply.status.as_u16() == 200
    })
    .await;
}

/// Another process holds SQLite's write lock.
#[tokio::test]
async fn bug2_b34_a_locked_sqlite_stops_changes_and_not_traffic() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    let Database::Sqlite { folder, python } = &database else {
        panic!("it is SQLite");
    };
    let upstream = ScriptedUpstream::start().await;
    let gateway = database.gateway().start().await;
    populate(&gateway, &upstream).await;
    let read = rows(&gateway).await;
    let mut holder = Command::new(python)
        .args(["-c", HOLD])
        .arg(crate::file(folder))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();

    let (client, server) = (gateway.client().with_limit(PATIENCE), any_server("refused"));
    let refused = client.post("/v1/mcp/server", &server);
    let meanwhile = async {
        serves(&gateway).await;
        assert_eq!(rows(&gateway).await, read);
    };
    let (refused, ()) = tokio::join!(refused, meanwhile);
    refused.expect_status(503);

    drop(holder.stdin.take());
    holder.wait().unwrap();
    post_works(&gateway, "later").await;
}

/// Takes the write lock, says so, and keeps it until its input ends.
const HOLD: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
connection.execute('BEGIN IMMEDIATE')
print('x', end='', flush=True)
sys.stdin.read()
connection.execute('ROLLBACK')
";
