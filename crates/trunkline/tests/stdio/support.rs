//! What these tests share.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use trunkline_testkit::{McpClient, Reply, TestGateway, eventually};

/// What a busy machine may need for anything that is not measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A program under `mcp_servers`.
pub(crate) struct Entry {
    name: String,
    mark: String,
    options: Vec<String>,
    sandbox: &'static str,
    more: String,
}

impl Entry {
    /// `server.py`, with a mark that nobody else has.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mark: format!("mark-{}", trunkline_testkit::Canary::new("program").value()),
            options: Vec::new(),
            sandbox: "off",
            more: String::new(),
        }
    }

    /// An option of `server.py`.
    pub(crate) fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// In the sandbox that every program has, instead of none.
    pub(crate) fn confined(mut self) -> Self {
        self.sandbox = "{}";
        self
    }

    /// More lines of the entry, in YAML's flow style, one a line.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.more.push_str("    ");
        self.more.push_str(line);
        self.more.push('\n');
        self
    }

    pub(crate) fn yaml(&self) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stdio/server.py");
        let mut args = vec![script.to_string_lossy().into_owned(), self.mark.clone()];
        args.extend(self.options.iter().cloned());
        format!(
            "  {}:\n    transport: stdio\n    command: python3\n    args: {}\n    prefix: never\n    sandbox: {}\n{}",
            self.name,
            json!(args),
            self.sandbox,
            self.more
        )
    }

    /// The processes of it that there are.
    pub(crate) fn processes(&self) -> Vec<u32> {
        processes(&self.mark)
    }

    /// Waits until there are so many.
    pub(crate) async fn becomes(&self, count: usize, limit: Duration) {
        let what = format!("{} processes of {}", count, self.name);
        eventually(&what, limit, async || self.processes().len() == count).await;
    }
}

/// The processes that have this among their arguments; those that have ended and are not waited for count too.
pub(crate) fn processes(mark: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let named = line
            .split(|byte| *byte == 0)
            .any(|argument| argument == mark.as_bytes());
        let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
        if named && first.ends_with(b"python3") {
            found.push(pid);
        }
    }
    found
}

/// The state of a process and its parent, if there is one: `Z` has ended and is not waited for.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// See [`stat`].
pub(crate) fn state(pid: u32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// The parent of a process that has not ended.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid)
        .filter(|(state, _)| *state != 'Z')
        .map(|(_, parent)| parent)
}

/// The children of a process; those that have ended and are not waited for among them.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid))
        .collect()
}

/// A gateway before these.
pub(crate) async fn gateway(entries: &[&Entry]) -> TestGateway {
    TestGateway::start(&config(entries)).await
}

pub(crate) fn config(entries: &[&Entry]) -> String {
    let servers: String = entries.iter().map(|entry| entry.yaml()).collect();
    format!("mcp_servers:\n{servers}")
}

/// The row of a server.
pub(crate) async fn row(gateway: &TestGateway, name: &str) -> Value {
    let rows = gateway
        .client()
        .get("/v1/mcp/server")
        .await
        .expect_status(200)
        .json();
    let rows = rows.as_array().unwrap();
    let found = rows
        .iter()
        .find(|row| row["alias"] == *name || row["server_name"] == *name);
    found.unwrap_or_else(|| panic!("no {name}: {rows:?}")).clone()
}

/// Waits until a server's outcome has this status.
pub(crate) async fn is(gateway: &TestGateway, name: &str, status: &str) -> Value {
    eventually(&format!("{name} is {status}"), PATIENCE, async || {
        row(gateway, name).await["outcome"]["status"] == status
    })
    .await;
    row(gateway, name).await
}

/// A client of the old era with one server, after its hand-shake.
pub(crate) async fn client(gateway: &TestGateway, name: &str) -> McpClient {
    client_with(gateway, name, json!({})).await
}

pub(crate) async fn client_with(gateway: &TestGateway, name: &str, capabilities: Value) -> McpClient {
    let mut client = gateway
        .mcp_at(&format!("/{name}/mcp"))
        .with_protocol("2025-11-25")
        .with_capabilities(capabilities);
    client.initialize().await;
    client
}

/// The text of a result.
#[track_caller]
pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text: {result}"))
}

/// Calls a tool; the text of its result.
pub(crate) async fn said(client: &mut McpClient, tool: &str, arguments: &Value) -> String {
    let reply = client.call(tool, arguments, None).await;
    text(&reply.result()).to_owned()
}

/// A request of the new era.
pub(crate) async fn modern(gateway: &TestGateway, name: &str, method: &str, params: &Value) -> Reply {
    modern_with(gateway, name, (method, params), &json!({})).await
}

/// The same of a client that can be asked.
pub(crate) async fn modern_with(
    gateway: &TestGateway,
    name: &str,
    (method, params): (&str, &Value),
    capabilities: &Value,
) -> Reply {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    let body = json!({"jsonrpc": "2.0", "id": "m1", "method": method, "params": params});
    let mut request = Request::post(format!("/{name}/mcp"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
        request = request.header("mcp-name", name);
    }
    let request = request.body(Bytes::from(body.to_string())).unwrap();
    gateway.client().try_send(request).await.unwrap()
}

/// The result in an answer of the new era, JSON or events.
#[track_caller]
pub(crate) fn result(reply: &Reply) -> Value {
    let text = reply.text();
    let last = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap_or(&text);
    let message: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{}", reply.everything()));
    assert!(message.get("result").is_some(), "{}", reply.everything());
    message["result"].clone()
}
