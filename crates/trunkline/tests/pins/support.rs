//! A server, its pins, and every way to its tools.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, McpClient, ScriptedUpstream, TestGateway, ToolCall, eventually};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const MODERN: &str = "2026-07-28";
/// The server's id.
pub(crate) const ID: &str = "mail";

/// A tool that sends mail.
pub(crate) fn send() -> Value {
    json!({
        "name": "send",
        "description": "Sends a mail.",
        "inputSchema": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "text": {"type": "string"}},
            "required": ["to"],
            "additionalProperties": false,
        },
        "annotations": {"destructiveHint": false},
    })
}

/// A tool without anything special.
pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("The tool {name}."), "inputSchema": {"type": "object"}})
}

/// A server that answers calls of any tool with `ran`.
pub(crate) async fn upstream(tools: &[Value]) -> ScriptedUpstream {
    let mut builder = ScriptedUpstream::builder();
    for own in tools {
        builder = builder.tool_fn(own, |_: &ToolCall| trunkline_testkit::ToolAnswer::text("ran"));
    }
    builder.start().await
}

/// A gateway with the server in its database, listed.
pub(crate) async fn gateway_with(upstream: &ScriptedUpstream) -> TestGateway {
    let gateway = TestGateway::start("general_settings: {}\n").await;
    register(&gateway.client(), upstream).await;
    listed(&gateway.client()).await;
    gateway
}

pub(crate) async fn register(http: &HttpClient, upstream: &ScriptedUpstream) {
    let body = json!({"server_id": ID, "alias": ID, "url": upstream.url(), "transport": "http"});
    http.post("/v1/mcp/server", &body).await.expect_status(201);
}

/// Waits until the gateway has listed the server.
pub(crate) async fn listed(http: &HttpClient) {
    eventually("the server is listed", PATIENCE, async || {
        row(http).await["outcome"]["status"] == "ok"
    })
    .await;
}

pub(crate) async fn row(http: &HttpClient) -> Value {
    let path = format!("/v1/mcp/server/{ID}");
    http.get(&path).await.expect_status(200).json()
}

/// Accepts what is listed.
pub(crate) async fn pin(http: &HttpClient, body: Value) -> Value {
    let path = format!("/v1/mcp/server/{ID}/pin");
    http.post(&path, &body).await.expect_status(200).json()
}

/// What is told of every tool.
pub(crate) async fn report(http: &HttpClient) -> Value {
    let path = format!("/v1/mcp/server/{ID}/pin");
    http.get(&path).await.expect_status(200).json()
}

/// What is told of one tool.
pub(crate) async fn told(http: &HttpClient, tool: &str) -> Value {
    let report = report(http).await;
    let tools = report["tools"].as_array().unwrap();
    let found = tools.iter().find(|own| own["name"] == tool);
    found.unwrap_or_else(|| panic!("no {tool} in {report}")).clone()
}

/// The server lists something else from now on, and the gateway has seen it.
pub(crate) async fn drift(http: &HttpClient, upstream: &ScriptedUpstream, tools: &[Value]) {
    upstream.set_tools(tools.iter().cloned());
    refresh(http).await;
}

/// Lists the server anew.
pub(crate) async fn refresh(http: &HttpClient) {
    let path = format!("/v1/mcp/server/health?server_ids={ID}");
    http.get(&path).await.expect_status(200);
}

/// A request of 2026-07-28.
pub(crate) async fn modern(http: &HttpClient, method: &str, params: &Value) -> Value {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut http = http
        .clone()
        .with_header("accept", "application/json, text/event-stream")
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", method);
    if let Some(name) = params["name"].as_str() {
        http = http.with_header("mcp-name", name);
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    http.post("/mcp", &body).await.json()
}

fn names(tools: &Value) -> Vec<String> {
    let tools = tools.as_array().unwrap_or_else(|| panic!("no tools: {tools}"));
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The names that every way of listing gives, the same on all.
pub(crate) async fn tools(http: &HttpClient) -> Vec<String> {
    let mut client = McpClient::over(http.clone(), "/mcp");
    client.initialize().await;
    let old = client.tool_names().await;
    let new = modern(http, "tools/list", &json!({})).await;
    assert_eq!(names(&new["result"]["tools"]), old, "{new}");
    let rest = http.get("/mcp-rest/tools/list").await.expect_status(200).json();
    // Of one server alone it lists names without a prefix.
    let own = |name: &String| name.strip_prefix("mail-").unwrap_or(name).to_owned();
    let rest: Vec<String> = names(&rest["tools"]);
    assert_eq!(
        rest.iter().map(own).collect::<Vec<_>>(),
        old.iter().map(own).collect::<Vec<_>>()
    );
    old
}

/// Calls a tool on every way in: whether it reaches the server, the same on all.
pub(crate) async fn runs(http: &HttpClient, upstream: &ScriptedUpstream, tool: &str) -> bool {
    let mut ran = Vec::new();
    let mut calls = upstream.count("tools/call");
    let mut note = |way: String| {
        let now = upstream.count("tools/call");
        ran.push((way, now > calls));
        calls = now;
    };
    let arguments = json!({"to": "a@b.example"});
    for (path, name) in [
        ("/mcp", format!("mail-{tool}")),
        ("/mcp", tool.to_owned()),
        ("/mail/mcp", tool.to_owned()),
        ("/mail/mcp", format!("mail-{tool}")),
    ] {
        let mut client = McpClient::over(http.clone(), path);
        client.initialize().await;
        client.call(&name, &arguments, None).await;
        note(format!("{path} {name}"));
        let params = json!({"name": name, "arguments": arguments, "task": {"ttl": 1000}});
        client.request("tools/call", &params).await;
        note(format!("{path} {name} as a task"));
    }
    let params = json!({"name": format!("mail-{tool}"), "arguments": arguments});
    modern(http, "tools/call", &params).await;
    note("new era".to_owned());
    let body = json!({"server_id": ID, "name": tool, "arguments": arguments});
    let status = http.post("/mcp-rest/tools/call", &body).await.status;
    note("REST".to_owned());
    let all = ran.iter().all(|(_, own)| *own);
    assert!(
        all || !ran.iter().any(|(_, own)| *own),
        "{tool}: not the same on every way in: {ran:?}"
    );
    assert_eq!(status == 200, all, "REST says {status}");
    all
}
