//! At a terminal: progress, questions, tables that fit.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;
use trunkline_testkit::{TestGateway, tools};

use crate::support::{BINARY, Server, script};

/// What a terminal showed, and the exit code.
async fn at_terminal(gateway: &TestGateway, plan: Value, args: &[&str]) -> Option<(String, i64)> {
    let python = tools::python("sdk1")?;
    let output = Command::new(python)
        .arg(script("terminal.py"))
        .arg(plan.to_string())
        .arg(BINARY)
        .args(args)
        .env("TRUNKLINE_URL", gateway.url())
        .env("TRUNKLINE_KEY", gateway.master_key())
        .env("HOME", gateway.data_dir())
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(seen["left"], json!([]), "{seen}");
    Some((seen["shown"].as_str()?.to_owned(), seen["code"].as_i64()?))
}

#[tokio::test]
async fn questions_of_a_server_are_asked_and_progress_is_shown() {
    let Some(server) = Server::start().await else {
        return;
    };
    let gateway = TestGateway::start(&server.config()).await;
    let plan = json!([["Name:", "Ann"], ["= true:", "n"]]);
    let Some((shown, code)) = at_terminal(&gateway, plan, &["call", "t.who"]).await else {
        return;
    };
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("the server asks: who is there?"), "{shown}");
    assert!(shown.contains("Ann False"), "{shown}");

    let (shown, code) = at_terminal(&gateway, json!([]), &["call", "t.steps", "-a", "count=3"])
        .await
        .unwrap();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("100 %") && shown.contains("step 3"), "{shown}");
    assert!(shown.trim_end().ends_with("done"), "{shown}");

    let (shown, _) = at_terminal(&gateway, json!([]), &["tools"]).await.unwrap();
    assert!(shown.contains("\u{1b}[1m"), "headings are bold: {shown}");
}

#[tokio::test]
async fn an_import_asks_before_it_does_anything() {
    let Some(server) = Server::start().await else {
        return;
    };
    let gateway = TestGateway::start(&server.config()).await;
    let file = gateway.data_dir().join(".cursor/mcp.json");
    let entry =
        json!({"mcpServers": {"other": {"url": server.url(), "headers": {"X-Key": "${env:NOT_SET_HERE}"}}}});
    crate::support::write(&file, &entry.to_string());
    let args = ["import", "clients", "cursor"];
    let plan = json!([["NOT_SET_HERE", "canary-typed"], ["[y/N]", "n"]]);
    let (shown, code) = at_terminal(&gateway, plan, &args).await.unwrap();
    assert_eq!(code, 7, "{shown}");
    let plan = json!([["NOT_SET_HERE", "canary-typed"], ["[y/N]", "y"]]);
    let (shown, code) = at_terminal(&gateway, plan, &args).await.unwrap();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("ok, 6 tools"), "{shown}");
    assert!(
        !shown.contains("canary"),
        "a secret is not shown while it is typed: {shown}"
    );
}
