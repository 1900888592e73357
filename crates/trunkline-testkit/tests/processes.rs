//! The helpers around processes, on programs that are not the gateway.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use trunkline_testkit::{
    Act, FastMcpBackend, FastMcpOptions, McpClient, ScratchDatabase, ScriptedUpstream, Signal, TestGateway,
};

fn program(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("stand-in");
    std::fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A gateway whose liveliness is answered by a scripted server in this process.
async fn stand_in(folder: &tempfile::TempDir, health: &ScriptedUpstream, text: &str) -> TestGateway {
    let listening = format!("listening on {}", health.origin());
    health.on("GET", Act::status(200, "alive"));
    TestGateway::builder()
        .binary(&program(
            folder,
            &format!("{text}\necho '{listening}'\nwhile :; do sleep 0.05; done\n"),
        ))
        .config("general_settings: {}\n")
        .env("GREETING", "hello")
        .start()
        .await
}

#[tokio::test]
async fn a_gateway_is_started_stopped_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let health = ScriptedUpstream::start().await;
    let trap = "trap 'echo bye >&2; exit 7' TERM\necho \"$GREETING $* $LITELLM_MASTER_KEY ${HOME#/tmp}\" >&2\ncat \"${10}\" >&2\n";
    let mut gateway = stand_in(&folder, &health, trap).await;
    let log = gateway.log();
    assert!(
        log.starts_with("hello serve --host 127.0.0.1 --port 0 --data-dir "),
        "{log}"
    );
    assert!(log.contains(gateway.master_key()), "{log}");
    assert!(gateway.rss_bytes() > 100_000);
    let pid = gateway.pid();
    let exit = gateway.stop(Signal::Term).await;
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    assert!(
        gateway.log().ends_with("bye\n"),
        "the log can be read after the end"
    );
    gateway.restart().await;
    assert_ne!(gateway.pid(), pid);
    assert!(
        gateway.log().contains(&format!("--port {}", health.port())),
        "same port: {}",
        gateway.log()
    );
    gateway.kill9().await;
}

#[tokio::test]
async fn a_gateway_that_does_not_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let broken = program(&folder, "echo 'no such file: config.yaml' >&2; exit 3\n");
    let failure = TestGateway::builder()
        .binary(&broken)
        .try_start()
        .await
        .unwrap_err();
    assert_eq!(failure.exit.code, Some(3));
    assert!(failure.to_string().contains("no such file: config.yaml"));
    let output = TestGateway::builder().binary(&broken).run(&["doctor"]).await;
    assert_eq!(output.status.code(), Some(3));
}

#[tokio::test]
async fn the_environment_of_the_test_does_not_reach_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let output = TestGateway::builder()
        .binary(&program(&folder, "env\n"))
        .run(&[])
        .await;
    let names = String::from_utf8(output.stdout).unwrap();
    assert!(!names.contains("CARGO_"), "{names}");
}

#[tokio::test]
async fn the_fastmcp_backend_serves_logs_and_restarts() {
    let Some(mut backend) = FastMcpBackend::start(FastMcpOptions {
        mounted: true,
        ..Default::default()
    })
    .await
    else {
        return;
    };
    let refused = McpClient::new(&backend.url()).initialize_only().await;
    assert_eq!(refused.status, 401);
    // Mounted: its own path redirects.
    let key = format!("Bearer {}", backend.key());
    let mut client = McpClient::new(&format!("{}/", backend.url())).with_header("authorization", &key);
    client.initialize().await;
    assert_eq!(client.list_tools().await.len(), 12);
    trunkline_testkit::eventually("three requests are logged", Duration::from_secs(5), async || {
        backend.requests().len() == 4
    })
    .await;
    let requests = backend.requests();
    assert_eq!((backend.count("initialize"), backend.count("tools/list")), (2, 1));
    assert_eq!(
        (requests[0].auth.as_str(), requests[0].status),
        ("none", Some(401))
    );
    assert_eq!(
        (requests[3].auth.as_str(), requests[3].status, requests[3].session),
        ("ok", Some(200), true)
    );
    backend.restart().await;
    backend.clear();
    let forgotten = client.request("tools/list", &serde_json::Value::Null).await;
    assert_eq!(
        forgotten.status,
        400,
        "FastMCP 1.16 does not say 404: {}",
        forgotten.everything()
    );
}

#[test]
fn a_scratch_database_is_there_and_goes_away() {
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    database.sql("CREATE TABLE t (a INT, b TEXT)");
    database.sql("INSERT INTO t VALUES (1, 'one'), (2, 'two')");
    assert_eq!(database.sql("SELECT a, b FROM t ORDER BY a"), "1|one\n2|two");
    let url = database.url();
    drop(database);
    let name = url.rsplit('/').next().unwrap();
    let other = ScratchDatabase::create().unwrap();
    assert_eq!(
        other.sql(&format!(
            "SELECT count(*) FROM pg_database WHERE datname = '{name}'"
        )),
        "0"
    );
}
