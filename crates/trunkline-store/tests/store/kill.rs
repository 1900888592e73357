//! `kill -9` in the middle of writes and of migrations. The test starts itself again as a child, which says what is
//! committed, kills it, and compares.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trunkline_model::Secret;
use trunkline_store::{Migration, MigrationSet, Store};

use crate::fixture::{Db, TestClock, at, both, by, full, vault, with_credential};
use crate::records::{catalogue, record};

const URL: &str = "TRUNKLINE_TEST_CHILD_URL";
const TASK: &str = "TRUNKLINE_TEST_CHILD_TASK";
const STEPS: i64 = 90;

fn spawn(db: &Db, task: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--ignored", "--nocapture"])
        .env(URL, &db.url)
        .env(TASK, task)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Steps that each make a table, fill it, and index it.
fn many_steps() -> MigrationSet {
    (1..=STEPS).fold(MigrationSet::embedded(), |set, index| {
        let text = format!(
            "CREATE TABLE step_{index} (id BIGINT);\nINSERT INTO step_{index} VALUES (1);\nCREATE INDEX step_{index}_id ON step_{index} (id);\n"
        );
        set.with(Migration {
            version: 1000 + index,
            name: format!("step_{index}").into(),
            sqlite: text.clone().into(),
            postgres: text.into(),
        })
    })
}

/// What the child runs. It is a test because the test binary is the only program at hand; alone, it has nothing to do.
#[test]
#[ignore = "started by the tests of this file"]
fn child() {
    let (Ok(url), Ok(task)) = (std::env::var(URL), std::env::var(TASK)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock = std::sync::Arc::new(TestClock::new(at(1)));
        let store = Store::connect(&Secret::new(url), vault("salt"), clock)
            .await
            .unwrap();
        match task.as_str() {
            "migrate" => migrate(&store).await,
            _ => write(&store, &task).await,
        }
    });
}

/// Applies step after step. Says each one after it is committed.
async fn migrate(store: &Store) {
    println!("\nready");
    for index in 1..=STEPS {
        let report = store
            .migrate_set(&many_steps().up_to(1000 + index))
            .await
            .unwrap();
        for label in report.applied {
            println!("\nstep {}", &label["1000_".len()..]);
        }
    }
}

/// Writes for ever. Says each thing after it is committed.
async fn write(store: &Store, round: &str) {
    println!("\nready");
    for index in 0.. {
        let id = format!("r{round}n{index}");
        store
            .server_insert(&by(), &with_credential(&id, &id))
            .await
            .unwrap();
        println!("\nserver {id}");
        store
            .catalogue_put(&catalogue(&id, &format!("[\"{id}\"]")))
            .await
            .unwrap();
        println!("\ncatalogue {id}");
        store
            .call_record_insert(&[record(&id, 1), record(&id, 2)])
            .await
            .unwrap();
        println!("\nrecord {id}");
    }
}

/// Kills the child after it said so many lines. Returns everything it said.
fn kill_after(mut child: Child, lines: usize) -> Vec<String> {
    let mut reader = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while said.len() < lines {
        match reader.next() {
            Some(line) => said.extend(word(&line.unwrap())),
            None => panic!("the child ended by itself: {said:?}"),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What was in the pipe was committed, too. The last line may be torn.
    said.extend(reader.map_while(Result::ok).filter_map(|line| word(&line)));
    said
}

fn word(line: &str) -> Option<String> {
    ["server ", "catalogue ", "record ", "step ", "ready"]
        .iter()
        .any(|start| line.starts_with(start))
        .then(|| line.to_owned())
}

/// `PostgreSQL` may still be finishing what the dead process asked for.
async fn quiet(db: &Db) {
    let others = "SELECT CAST(count(*) AS TEXT) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while !db.is_sqlite() && db.ask(others).await != ["0"] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

both! {
    async fn b32_killed_while_writing(db) {
        db.store().await.close().await;
        let mut committed = Vec::new();
        for round in 0..10 {
            let child = spawn(db, &round.to_string());
            let lines = 3 + round * 7;
            committed.extend(tokio::task::spawn_blocking(move || kill_after(child, lines)).await.unwrap());
            quiet(db).await;

            let store = db.connect().await;
            assert!(store.migrate().await.unwrap().applied.is_empty());
            store.verify().await.unwrap();
            let servers = store.server_list().await.unwrap();
            let catalogues = store.catalogue_list().await.unwrap();
            let records = store.call_record_list(100_000).await.unwrap();
            for server in &servers {
                assert_eq!(*server, with_credential(server.id.as_str(), server.id.as_str()), "whole or not there");
            }
            for line in &committed {
                let (kind, id) = line.split_once(' ').unwrap_or((line, ""));
                let there = match kind {
                    "server" => servers.iter().any(|own| own.id.as_str() == id),
                    "catalogue" => catalogues.contains(&catalogue(id, &format!("[\"{id}\"]"))),
                    "record" => records.iter().filter(|own| own.request_id == id).count() == 2,
                    _ => true,
                };
                assert!(there, "lost after round {round}: {line}");
            }
            assert_eq!(usize::try_from(store.revision().await.unwrap()).unwrap(), servers.len(), "counted with each write");
            store.close().await;
        }
    }

    async fn b32_killed_while_migrating(db) {
        let store = db.store().await;
        store.server_insert(&by(), &full("a", "a")).await.unwrap();
        store.close().await;
        let mut committed = Vec::new();
        for _ in 0..10 {
            let child = spawn(db, "migrate");
            committed.extend(tokio::task::spawn_blocking(move || kill_after(child, 6)).await.unwrap());
            quiet(db).await;

            let applied = db.ask("SELECT name FROM trunkline_migration WHERE version > 1000 ORDER BY version").await;
            for line in committed.iter().filter_map(|line| line.strip_prefix("step ")) {
                assert!(applied.iter().any(|name| name == line), "lost: {line}");
            }
            let tables = db.schema().await.into_iter().filter(|line| line.contains(".id ") && line.starts_with("step_"));
            assert_eq!(tables.count(), applied.len(), "a table for each applied step, and no other");
            let one = |table: &String| format!("SELECT '{table}' FROM {table}");
            let rows: Vec<_> = applied.iter().map(one).collect();
            assert_eq!(db.ask(&rows.join(" UNION ALL ")).await.len(), applied.len(), "one row in each");
            let store = db.connect().await;
            store.verify().await.unwrap();
            assert_eq!(store.server_list().await.unwrap(), [full("a", "a")]);
            store.close().await;
        }
        let store = db.connect().await;
        store.migrate_set(&many_steps()).await.unwrap();
        assert_eq!(db.ask("SELECT CAST(count(*) AS TEXT) FROM trunkline_migration WHERE version > 1000").await, [STEPS.to_string()]);
        assert_eq!(store.server_list().await.unwrap(), [full("a", "a")]);
    }
}
