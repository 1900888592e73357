//! What the scenarios share: configurations, and looking at what the gateway says about its servers.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, HttpClient, RpcReply, ScriptedUpstream, Sessions, TestGateway, UpstreamBuilder, eventually,
};

/// What a busy machine may need for anything that is not measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration file in the making.
#[derive(Default)]
pub(crate) struct Config {
    servers: String,
    general: String,
}

impl Config {
    /// One server for each upstream.
    pub(crate) fn of(servers: &[(&str, &ScriptedUpstream)]) -> Self {
        servers.iter().fold(Self::default(), |config, (name, upstream)| {
            config.server(name, upstream, "")
        })
    }

    /// A server; `more` are further lines of its entry, in YAML's flow style (`key: value`), one a line.
    pub(crate) fn server(mut self, name: &str, upstream: &ScriptedUpstream, more: &str) -> Self {
        writeln!(self.servers, "  {name}:\n    url: {}", upstream.url()).unwrap();
        for line in more.lines().map(str::trim).filter(|line| !line.is_empty()) {
            writeln!(self.servers, "    {line}").unwrap();
        }
        self
    }

    /// A line of `general_settings`.
    pub(crate) fn general(mut self, line: &str) -> Self {
        writeln!(self.general, "  {line}").unwrap();
        self
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (section, lines) in [
            ("mcp_servers", &self.servers),
            ("general_settings", &self.general),
        ] {
            if !lines.is_empty() {
                write!(text, "{section}:\n{lines}").unwrap();
            }
        }
        text
    }

    /// A gateway with it.
    pub(crate) async fn start(&self) -> TestGateway {
        TestGateway::start(&self.text()).await
    }
}

/// A gateway in front of these, each listed already, so that the gateway has no reason to contact them by itself.
pub(crate) async fn gateway_of(servers: &[(&str, &ScriptedUpstream)]) -> TestGateway {
    let gateway = Config::of(servers).start().await;
    for (name, _) in servers {
        listed(&gateway, name).await;
    }
    gateway
}

/// Waits until the gateway has listed the server.
pub(crate) async fn listed(gateway: &TestGateway, server: &str) {
    becomes(gateway, server, "ok").await;
}

/// Waits until what the gateway knows of the server is this. Asks without side effects.
pub(crate) async fn becomes(gateway: &TestGateway, server: &str, status: &str) {
    let client = gateway.client();
    eventually(&format!("{server} is {status}"), PATIENCE, async || {
        row(&client, server).await["outcome"]["status"] == status
    })
    .await;
}

/// How many catalogues are in the database: written a moment after they are shown.
pub(crate) async fn stored(gateway: &TestGateway) -> usize {
    let data = gateway.data_dir();
    let output = gateway
        .run(&["db", "status", "--data-dir", data.to_str().unwrap()])
        .await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("mcp_catalogue: ")?.strip_suffix(" rows"));
    rows.and_then(|rows| rows.parse().ok())
        .unwrap_or_else(|| panic!("no count of catalogues: {output:?}"))
}

/// A server's row in the management API, by name.
pub(crate) async fn row(client: &HttpClient, server: &str) -> Value {
    let rows = client.get("/v1/mcp/server").await.expect_status(200).json();
    let found = array(&rows)
        .iter()
        .find(|row| row["alias"] == server || row["server_name"] == server);
    found
        .unwrap_or_else(|| panic!("no server {server} in {rows}"))
        .clone()
}

/// Registers a server and gives its id.
pub(crate) async fn register(client: &HttpClient, body: &Value) -> String {
    let row = client
        .post("/v1/mcp/server", body)
        .await
        .expect_status(201)
        .json();
    text(&row["server_id"]).to_owned()
}

/// The health of a server, asked for now.
pub(crate) async fn health(client: &HttpClient, id: &str) -> Value {
    let path = format!("/v1/mcp/server/health?server_ids={id}");
    client.get(&path).await.expect_status(200).json()[0].clone()
}

/// One server's outcome in the result of `tools/list`.
pub(crate) fn outcome<'a>(result: &'a Value, server: &str) -> &'a Value {
    &result["_meta"]["litellm.ai/server_outcomes"][server]
}

/// The names of the tools in an answer that has `tools`.
pub(crate) fn names(answer: &Value) -> Vec<String> {
    array(&answer["tools"])
        .iter()
        .map(|tool| text(&tool["name"]).to_owned())
        .collect()
}

/// The first text of a tool's result.
pub(crate) fn said(reply: &RpcReply) -> String {
    text(&reply.result()["content"][0]["text"]).to_owned()
}

/// `{"message": …}`, what the echoing tools return.
pub(crate) fn message(text: &str) -> Value {
    json!({"message": text})
}

/// A server of 2026-07-28 alone, with the entry that says so.
pub(crate) fn modern_upstream() -> UpstreamBuilder {
    ScriptedUpstream::builder()
        .sessions(Sessions::Off)
        .revisions(&["2026-07-28"])
        .on(
            "server/discover",
            Act::Result(
                json!({
                    "resultType": "complete",
                    "supportedVersions": ["2026-07-28"],
                    "capabilities": {"tools": {}, "resources": {}},
                    "ttlMs": 0,
                    "cacheScope": "private",
                })
                .to_string(),
            ),
        )
}

/// The line of an entry for [`modern_upstream`].
pub(crate) const MODERN: &str = "protocol_version: \"2026-07-28\"";

/// A tool definition without anything special.
pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("The tool {name}."), "inputSchema": {"type": "object"}})
}

#[track_caller]
pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no array: {value}"))
}

#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// # Panics
/// When the log tells of a panic or of an error.
#[track_caller]
pub(crate) fn assert_calm(gateway: &TestGateway) {
    let log = gateway.log();
    for word in ["panicked", "backtrace", "ERROR"] {
        assert!(!log.contains(word), "`{word}` in the log:\n{log}");
    }
}
