//! Real servers: what the Python SDK sees of each directly, over its pipes or its event stream, and through the gateway,
//! JSON for JSON.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use trunkline_testkit::{ForeignServer, TestGateway, tools};

use crate::support::is;

/// A program, and what is asked of it.
struct Real {
    command: PathBuf,
    args: Vec<String>,
    steps: Value,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stdio")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn few_steps() -> Value {
    json!([
        ["tools"],
        ["prompts"],
        ["resources"],
        ["templates"],
        ["call", "add", {"a": 1, "b": 2}],
        ["call", "add", {"a": "no number"}],
        ["call", "fail", {"why": "rain"}],
        ["prompt", "summarise", {"topic": "rivers"}],
        ["read", "notes://today"],
        ["read", "notes://day/7"],
    ])
}

fn few(environment: &str) -> Option<Real> {
    Some(Real {
        command: tools::python(environment)?,
        args: vec![text(&folder().join("fastmcp_server.py"))],
        steps: few_steps(),
    })
}

fn time() -> Option<Real> {
    let python = tools::python("time")?;
    Some(Real {
        command: python.with_file_name("mcp-server-time"),
        args: vec!["--local-timezone=UTC".to_owned()],
        steps: json!([
            ["tools"],
            ["call", "convert_time", {"source_timezone": "UTC", "time": "12:30", "target_timezone": "Asia/Tokyo"}],
            ["call", "convert_time", {"source_timezone": "Nowhere", "time": "12:30", "target_timezone": "UTC"}],
        ]),
    })
}

fn everything() -> Option<Real> {
    let modules = tools::node_modules()?;
    Some(Real {
        command: "node".into(),
        args: vec![
            text(&modules.join("@modelcontextprotocol/server-everything/dist/index.js")),
            "stdio".to_owned(),
        ],
        steps: everything_steps(),
    })
}

fn everything_steps() -> Value {
    json!([
        ["tools"],
        ["prompts"],
        ["templates"],
        ["call", "echo", {"message": "héllo\n\u{2028}"}],
        ["call", "get-sum", {"a": 1.5, "b": 2}],
        ["call", "get-tiny-image", {}],
        ["call", "get-structured-content", {"location": "New York"}],
        ["call", "get-annotated-message", {"messageType": "error", "includeImage": true}],
        ["call", "trigger-long-running-operation", {"duration": 0.3, "steps": 3}],
        ["prompt", "args-prompt", {"city": "Paris"}],
        ["read", "demo://resource/static/document/architecture.md"],
    ])
}

/// What the client saw, directly and through the gateway.
fn compare(plan: &Value) -> Option<(Value, Value)> {
    let mut child = Command::new(tools::python("sdk1")?)
        .arg(folder().join("compare.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(plan.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{plan}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    Some((report["direct"].clone(), report["gateway"].clone()))
}

fn assert_same(steps: &Value, direct: &Value, through: &Value) {
    let steps = steps.as_array().unwrap();
    for (number, step) in steps.iter().enumerate() {
        let mut through = through[number].clone();
        if step.as_array().is_some_and(|step| step.len() == 1)
            && let Some(list) = through["result"].as_object_mut()
        {
            // What came of the attempts to list is the gateway's own.
            list.remove("_meta");
        }
        assert_eq!(direct[number], through, "{step}");
    }
    assert!(
        direct[0]["result"]["tools"]
            .as_array()
            .is_some_and(|tools| !tools.is_empty())
    );
}

async fn check(real: Option<Real>) {
    let Some(real) = real else { return };
    let config = format!(
        "mcp_servers:\n  real:\n    transport: stdio\n    command: {}\n    args: {}\n    prefix: never\n    sandbox: off\n",
        text(&real.command),
        json!(real.args)
    );
    let gateway = TestGateway::start(&config).await;
    is(&gateway, "real", "ok").await;
    let plan = json!({
        "direct": {"command": text(&real.command), "args": real.args},
        "gateway": format!("{}/real/mcp", gateway.url()),
        "headers": {"x-litellm-api-key": gateway.master_key()},
        "steps": real.steps,
    });
    let compared = tokio::task::spawn_blocking(move || compare(&plan)).await.unwrap();
    let Some((direct, through)) = compared else { return };
    assert_same(&real.steps, &direct, &through);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_mcp_server_time_is_what_it_is_directly() {
    check(time()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_server_everything_is_what_it_is_directly() {
    check(everything()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_fastmcp_of_the_sdk_is_what_it_is_directly() {
    check(few("sdk1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_fastmcp_4_is_what_it_is_directly() {
    check(few("sdk2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_servers_over_sse_are_what_they_are_directly() {
    let (Some(python), Some(modules)) = (tools::python("sdk1"), tools::node_modules()) else {
        return;
    };
    let fastmcp = ForeignServer::start("FastMCP over SSE", |port| {
        let mut command = Command::new(&python);
        command
            .arg(folder().join("fastmcp_server.py"))
            .args(["sse", &port.to_string()]);
        command
    })
    .await;
    let npm = ForeignServer::start("server-everything over SSE", |port| {
        let mut command = Command::new("node");
        command
            .arg("--require")
            .arg(modules.with_file_name("loopback.cjs"))
            .arg(modules.join("@modelcontextprotocol/server-everything/dist/index.js"))
            .arg("sse")
            .env("PORT", port.to_string());
        command
    })
    .await;
    for (server, steps) in [(&fastmcp, few_steps()), (&npm, everything_steps())] {
        let url = server.url().replace("/mcp", "/sse");
        let config =
            format!("mcp_servers:\n  real:\n    url: {url}\n    transport: sse\n    prefix: never\n");
        let gateway = TestGateway::start(&config).await;
        is(&gateway, "real", "ok").await;
        let plan = json!({
            "direct": {"sse": url},
            "gateway": format!("{}/real/mcp", gateway.url()),
            "headers": {"x-litellm-api-key": gateway.master_key()},
            "steps": steps,
        });
        let compared = tokio::task::spawn_blocking(move || compare(&plan)).await.unwrap();
        let Some((direct, through)) = compared else { return };
        assert_same(&steps, &direct, &through);
    }
}
