//! Real servers: what the Python SDK sees of each directly, over its pipes or its event stream, and through the gateway,
//! JSON for JSON. Programs are in the sandbox, without a network unless they need one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use trunkline_testkit::{ForeignServer, TestGateway, tools};

use crate::support::{is, row};

/// A program, and what is asked of it.
pub(crate) struct Real {
    pub(crate) command: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) steps: Value,
    /// What it gets besides the sandbox that every program has.
    pub(crate) sandbox: Value,
    /// Its environment, directly and behind the gateway. What it keeps is kept apart, so that both begin with nothing.
    pub(crate) env: [Value; 2],
}

impl Real {
    pub(crate) fn new(command: impl Into<PathBuf>, args: Vec<String>, steps: Value) -> Self {
        Self {
            command: command.into(),
            args,
            steps,
            sandbox: json!({"network": "deny"}),
            env: [json!({}), json!({})],
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stdio")
}

pub(crate) fn text(path: &Path) -> String {
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
        ["read", "notes://nowhere/7"],
    ])
}

fn few(environment: &str) -> Option<Real> {
    let script = text(&folder().join("fastmcp_server.py"));
    Some(Real::new(tools::python(environment)?, vec![script], few_steps()))
}

fn time() -> Option<Real> {
    let python = tools::python("time")?;
    let steps = json!([
        ["tools"],
        ["call", "convert_time", {"source_timezone": "UTC", "time": "12:30", "target_timezone": "Asia/Tokyo"}],
        ["call", "convert_time", {"source_timezone": "Nowhere", "time": "12:30", "target_timezone": "UTC"}],
    ]);
    let args = vec!["--local-timezone=UTC".to_owned()];
    Some(Real::new(python.with_file_name("mcp-server-time"), args, steps))
}

fn everything() -> Option<Real> {
    let modules = tools::node_modules()?;
    let script = text(&modules.join("@modelcontextprotocol/server-everything/dist/index.js"));
    let args = vec![script, "stdio".to_owned()];
    Some(Real::new("node", args, everything_steps()))
}

fn everything_steps() -> Value {
    json!([
        ["tools"],
        ["prompts"],
        ["templates"],
        ["call", "echo", {"message": "héllo\n\u{2028}"}],
        ["call", "get-sum", {"a": 1.5, "b": 2}],
        ["call", "get-sum", {"a": "no number", "b": 2}],
        ["call", "get-tiny-image", {}],
        ["call", "get-structured-content", {"location": "New York"}],
        ["call", "get-annotated-message", {"messageType": "error", "includeImage": true}],
        ["call", "trigger-long-running-operation", {"duration": 0.3, "steps": 3}],
        ["prompt", "args-prompt", {"city": "Paris"}],
        ["read", "demo://resource/static/document/architecture.md"],
    ])
}

/// What the client saw.
struct Seen {
    direct: Value,
    through: Value,
    /// Lists of the endpoint of all servers, where names have the server's before them.
    beside_others: Value,
}

fn compare(plan: &Value) -> Option<Seen> {
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
    Some(Seen {
        direct: report["direct"].clone(),
        through: report["gateway"].clone(),
        beside_others: report["all"].clone(),
    })
}

fn is_list(step: &Value) -> bool {
    step.as_array().is_some_and(|step| step.len() == 1)
}

fn assert_same(steps: &Value, seen: &Seen) {
    let steps = steps.as_array().unwrap();
    let mut lists = seen.beside_others.as_array().unwrap().iter();
    for (number, step) in steps.iter().enumerate() {
        let direct = &seen.direct[number];
        let mut through = seen.through[number].clone();
        if is_list(step) {
            own_words_removed(&mut through);
            let mut beside = lists.next().unwrap().clone();
            own_words_removed(&mut beside);
            without_prefix(&mut beside, step);
            same(direct, &beside, &format!("{step} beside others"));
        }
        same(direct, &through, &step.to_string());
    }
    assert!(lists.next().is_none());
    assert!(
        seen.direct[0]["result"]["tools"]
            .as_array()
            .is_some_and(|tools| !tools.is_empty())
    );
    let failed = |answer: &Value| answer["error"].is_object() || answer["result"]["isError"] == json!(true);
    assert!(
        seen.direct.as_array().unwrap().iter().any(failed),
        "no error among what is compared: {}",
        seen.direct
    );
}

/// Says where two answers differ, not how long they are.
#[track_caller]
fn same(direct: &Value, through: &Value, step: &str) {
    let mut found = Vec::new();
    differences(direct, through, "", &mut found);
    assert!(found.is_empty(), "{step}:\n{}", found.join("\n"));
    assert_eq!(direct, through, "{step}");
}

fn differences(direct: &Value, through: &Value, place: &str, found: &mut Vec<String>) {
    match (direct, through) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                let place = format!("{place}/{name}");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => differences(a, b, &place, found),
                    (one, other) => found.push(format!("{place}: {one:?} became {other:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (number, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &format!("{place}/{number}"), found);
            }
        }
        _ if direct != through => found.push(format!("{place}: {direct} became {through}")),
        _ => {}
    }
}

/// What came of the attempts to list is the gateway's own.
fn own_words_removed(answer: &mut Value) {
    if let Some(list) = answer["result"].as_object_mut() {
        list.remove("_meta");
    }
}

fn without_prefix(answer: &mut Value, step: &Value) {
    for kind in ["tools", "prompts"] {
        let list = answer["result"].get_mut(kind).and_then(Value::as_array_mut);
        for item in list.into_iter().flatten() {
            let name = item["name"].as_str().unwrap();
            let own = name.strip_prefix("real-");
            item["name"] = json!(own.unwrap_or_else(|| panic!("{step}: {name}")));
        }
    }
}

/// A program in the sandbox, directly and through the gateway. Both answers are known to be the same: the direct ones, for
/// those who expect something of them.
pub(crate) async fn check(real: Option<Real>) -> Option<Value> {
    let real = real?;
    let config = format!(
        "mcp_servers:\n  real:\n    transport: stdio\n    command: {}\n    args: {}\n    prefix: never\n    sandbox: {}\n    env: {}\n",
        text(&real.command),
        json!(real.args),
        real.sandbox,
        real.env[1],
    );
    let direct = json!({"command": text(&real.command), "args": real.args, "env": real.env[0]});
    let (row, answers) = behind_a_gateway(&config, direct, &real.steps).await;
    assert_eq!(row["programs"][0]["restarts"], 0, "{row}");
    if cfg!(target_os = "linux") {
        assert_ne!(row["isolation"]["degree"], "none", "{row}");
    }
    answers
}

/// Compares all steps; the server's row after it, and the answers.
async fn behind_a_gateway(config: &str, direct: Value, steps: &Value) -> (Value, Option<Value>) {
    let gateway = TestGateway::start(config).await;
    is(&gateway, "real", "ok").await;
    let plan = json!({
        "direct": direct,
        "gateway": format!("{}/real/mcp", gateway.url()),
        "all": format!("{}/mcp", gateway.url()),
        "headers": {"x-litellm-api-key": gateway.master_key()},
        "steps": steps,
    });
    let seen = tokio::task::spawn_blocking(move || compare(&plan)).await.unwrap();
    if let Some(seen) = &seen {
        assert_same(steps, seen);
    }
    (row(&gateway, "real").await, seen.map(|seen| seen.direct))
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
async fn b62_fastmcp_2_is_what_it_is_directly() {
    check(few("fastmcp2")).await;
}

/// FastMCP of an environment, listening.
async fn few_listening(environment: &str, transport: &str) -> Option<ForeignServer> {
    let python = tools::python(environment)?;
    let name = format!("FastMCP of {environment} over {transport}");
    let server = ForeignServer::start(&name, |port| {
        let mut command = Command::new(python);
        command
            .arg(folder().join("fastmcp_server.py"))
            .args([transport, &port.to_string()]);
        command
    });
    Some(server.await)
}

/// server-everything, listening.
async fn everything_listening(transport: &str) -> Option<ForeignServer> {
    let modules = tools::node_modules()?;
    let name = format!("server-everything over {transport}");
    let server = ForeignServer::start(&name, |port| {
        let mut command = Command::new("node");
        command
            .arg("--require")
            .arg(modules.with_file_name("loopback.cjs"))
            .arg(modules.join("@modelcontextprotocol/server-everything/dist/index.js"))
            .arg(transport)
            .env("PORT", port.to_string());
        command
    });
    Some(server.await)
}

/// A server that listens, directly and through the gateway.
async fn check_listening(transport: &str, url: &str, steps: &Value) {
    let config =
        format!("mcp_servers:\n  real:\n    url: {url}\n    transport: {transport}\n    prefix: never\n");
    behind_a_gateway(&config, json!({transport: url}), steps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_servers_over_sse_are_what_they_are_directly() {
    let (Some(fastmcp), Some(npm)) = (
        few_listening("sdk1", "sse").await,
        everything_listening("sse").await,
    ) else {
        return;
    };
    for (server, steps) in [(&fastmcp, few_steps()), (&npm, everything_steps())] {
        let url = server.url().replace("/mcp", "/sse");
        check_listening("sse", &url, &steps).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_server_everything_over_http_is_what_it_is_directly() {
    if let Some(server) = everything_listening("streamableHttp").await {
        check_listening("http", &server.url(), &everything_steps()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_fastmcp_over_http_is_what_it_is_directly() {
    for environment in ["sdk1", "fastmcp2", "sdk2"] {
        if let Some(server) = few_listening(environment, "http").await {
            check_listening("http", &server.url(), &few_steps()).await;
        }
    }
}
