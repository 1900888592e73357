//! The official SDKs on both sides: a server of each era that asks everything in the middle of one call, and the clients of
//! both SDKs in the eras that they speak. What they were asked and what came of it is what it is without a gateway, and the
//! server counted each call once.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use trunkline_testkit::{TestGateway, eventually, tools};

use crate::support::{Era, PATIENCE};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(name)
}

/// A server and its port; it ends with the test.
async fn server(python: &Path, name: &str) -> (Child, u16) {
    let mut child = Command::new(python)
        .arg(script(name))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.next_line().await.unwrap();
    let port = port.and_then(|port| port.parse().ok());
    (child, port.unwrap_or_else(|| panic!("{name} said no port")))
}

/// What the tools said to a client: `{"ask": {"text", "asked", "error"}}`.
async fn client(python: &Path, name: &str, gateway: &TestGateway, arguments: &[&str]) -> Value {
    let output = Command::new(python)
        .arg(script(name))
        .args([&format!("{}/asks/mcp", gateway.url()), gateway.master_key()])
        .args(arguments)
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&printed)
        .unwrap_or_else(|_| panic!("{name}: {printed}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn b59_official_clients_before_an_official_server_of_the_old_era() {
    every_client(Era::Legacy, "asks_server1.py").await;
}

#[tokio::test]
async fn b59_official_clients_before_an_official_server_of_the_new_era() {
    every_client(Era::Modern, "asks_server2.py").await;
}

async fn every_client(era: Era, name: &str) {
    let (Some(sdk1), Some(sdk2)) = (tools::python("sdk1"), tools::python("sdk2")) else {
        return;
    };
    let python = match era {
        Era::Legacy => &sdk1,
        Era::Modern => &sdk2,
    };
    let (_child, port) = server(python, name).await;
    let config = format!(
        "mcp_servers:\n  asks:\n    url: http://127.0.0.1:{port}/mcp\n    prefix: never\n    protocol_version: '{}'\n",
        era.version()
    );
    let gateway = TestGateway::start(&config).await;
    eventually("it is listed", PATIENCE, async || {
        gateway
            .mcp_at("/asks/mcp")
            .tool_names()
            .await
            .contains(&"ask".to_owned())
    })
    .await;
    let modern: &[&str] = match era {
        // A page that has to be visited first: in the old era an error, which no client answers by itself.
        Era::Legacy => &["2026-07-28", "ask", "sign_in"],
        Era::Modern => &["2026-07-28", "ask"],
    };
    let (old, both_old, both_new) = tokio::join!(
        client(&sdk1, "asks_client1.py", &gateway, &["ask"]),
        client(&sdk2, "asks_client2.py", &gateway, &["legacy", "ask"]),
        client(&sdk2, "asks_client2.py", &gateway, modern),
    );
    for (who, said) in [("1.x", &old), ("2.x legacy", &both_old), ("2.x", &both_new)] {
        let ask = &said["ask"];
        assert_eq!(ask["error"], false, "{who}, {era:?} server: {said}");
        assert_eq!(
            ask["asked"],
            json!(["form", "sampling", "url"]),
            "{who}, {era:?} server"
        );
        let answers: Value = serde_json::from_str(ask["text"].as_str().unwrap()).unwrap();
        assert_eq!(
            answers,
            json!({"form": "Ann", "page": "accept", "sampling": "Paris"}),
            "{who}, {era:?} server"
        );
    }
    if era == Era::Legacy {
        assert_eq!(both_new["sign_in"]["text"], "signed in", "{both_new}");
        assert_eq!(both_new["sign_in"]["asked"], json!(["url"]), "{both_new}");
    }
    let counted = gateway.mcp_at("/asks/mcp").call("count", &json!({}), None).await;
    assert_eq!(
        counted.result()["content"][0]["text"],
        "3",
        "each once, {era:?} server"
    );
}
