//! `kill -9` at any moment: what was answered is stored, and the next start works.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use trunkline_testkit::HttpClient;

use crate::{Database, post_works};

/// Starts the binary on an empty database and kills it some milliseconds later.
fn start_and_kill(database: &Database, after: Duration) {
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_trunkline"))
        .args(["serve", "--port", "0", "--data-dir"])
        .arg(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("DATABASE_URL", database.url())
        .env("LITELLM_MASTER_KEY", "sk-killed-81c3f7e2a9b04d56")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    // Fails when it has ended by itself, which it must not have.
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn empty(database: &Database) {
    match database {
        Database::Sqlite { folder, .. } => {
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        Database::Postgres(database) => {
            database.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        }
    }
}

/// The delays cover the start from before the database is opened until it listens, on fast machines and slow.
async fn killed_while_starting(database: Database) {
    let whole_start = database.gateway().start().await.started_in();
    for tenths in 1..=10 {
        empty(&database);
        for _ in 0..2 {
            start_and_kill(&database, whole_start * tenths / 10);
        }
        let gateway = database.gateway().start().await;
        post_works(&gateway, &format!("later_{tenths}")).await;
    }
}

#[tokio::test]
async fn bug2_killed_in_the_middle_of_the_start_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    killed_while_starting(database).await;
}

#[tokio::test]
async fn bug2_killed_in_the_middle_of_the_start_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    killed_while_starting(database).await;
}

/// Registers servers one after the other until the gateway is gone; notes what was answered with 201.
async fn write_until_gone(client: HttpClient, prefix: String, stored: Arc<Mutex<Vec<String>>>) {
    for number in 0.. {
        let id = format!("{prefix}_{number}");
        let server = json!({
            "server_id": id, "server_name": id, "url": "http://127.0.0.1:9/mcp", "transport": "http",
            "source_url": "https://example.com", "static_headers": {"X-Key": "k"},
        });
        let request = http_post(&server.to_string());
        match client.try_send(request).await {
            Ok(reply) => {
                assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
                stored.lock().unwrap().push(id);
            }
            Err(_) => return,
        }
    }
}

fn http_post(body: &str) -> axum::http::Request<axum::body::Bytes> {
    axum::http::Request::post("/v1/mcp/server")
        .header("content-type", "application/json")
        .body(body.to_owned().into())
        .unwrap()
}

async fn killed_while_writing(database: Database) {
    let stored = Arc::new(Mutex::new(Vec::new()));
    let mut gateway = database.gateway().start().await;
    for round in 0..4 {
        let before = stored.lock().unwrap().len();
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let prefix = format!("w{round}_{writer}");
                tokio::spawn(write_until_gone(gateway.client(), prefix, Arc::clone(&stored)))
            })
            .collect();
        // More each time, so that it does not always hit the same state of the journal.
        trunkline_testkit::eventually("writes are under way", Duration::from_secs(20), async || {
            stored.lock().unwrap().len() >= before + 5 + 7 * round
        })
        .await;
        gateway.kill9().await;
        for writer in writers {
            writer.await.unwrap();
        }
        gateway.restart().await;

        let rows = gateway
            .client()
            .get("/v1/mcp/server")
            .await
            .expect_status(200)
            .json();
        let rows = rows.as_array().unwrap();
        let there: Vec<&str> = rows.iter().filter_map(|row| row["server_id"].as_str()).collect();
        for id in stored.lock().unwrap().iter() {
            assert!(
                there.contains(&id.as_str()),
                "{id} was answered with 201 and is lost"
            );
        }
        // What was never answered is there wholly or not at all.
        for row in rows {
            assert_eq!(row["source_url"], "https://example.com", "{row}");
            assert_eq!(row["static_headers"], json!({"X-Key": "***"}), "{row}");
            assert_eq!(row["approval_status"], "active", "{row}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bug2_killed_in_the_middle_of_writes_sqlite() {
    let Some(database) = Database::sqlite() else {
        return;
    };
    killed_while_writing(database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bug2_killed_in_the_middle_of_writes_postgres() {
    let Some(database) = Database::postgres() else {
        return;
    };
    killed_while_writing(database).await;
}
