//! Gateways with some servers, keys, and the ways in.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, McpClient, ScriptedUpstream, SseClient, TestGateway, eventually};

/// What a busy machine may need for anything that is not measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const MODERN: &str = "2026-07-28";

/// A configuration with these servers over Streamable HTTP, each with more lines of its own.
pub(crate) fn config(servers: &[(&str, &ScriptedUpstream, &str)]) -> String {
    let of = |(name, upstream, more): &(&str, &ScriptedUpstream, &str)| {
        format!(
            "  {name}:\n    url: {}\n    transport: http\n{more}",
            upstream.url()
        )
    };
    let servers: String = servers.iter().map(of).collect();
    format!("mcp_servers:\n{servers}")
}

/// Waits until the gateway has listed the servers, so that it has no reason to contact them by itself.
pub(crate) async fn listed(gateway: &TestGateway, servers: &[&str]) {
    eventually("the servers are listed", PATIENCE, async || {
        let rows = gateway
            .client()
            .get("/v1/mcp/server")
            .await
            .expect_status(200)
            .json();
        let rows = rows.as_array().unwrap().clone();
        let is_listed = |name: &&str| {
            let row = rows.iter().find(|row| row["server_name"] == **name);
            row.is_some_and(|row| row["outcome"]["status"] == "ok")
        };
        servers.iter().all(is_listed)
    })
    .await;
}

/// Makes a key; its answer.
pub(crate) async fn generate(gateway: &TestGateway, body: Value) -> Value {
    let answer = gateway.client().post("/key/generate", &body).await;
    answer.expect_status(200).json()
}

/// Makes a key that may use what `permission` says; the key.
pub(crate) async fn key(gateway: &TestGateway, permission: Value) -> String {
    let made = generate(gateway, json!({"object_permission": permission})).await;
    made["key"].as_str().unwrap().to_owned()
}

/// A management request that must work.
pub(crate) async fn post(gateway: &TestGateway, path: &str, body: Value) -> Value {
    gateway.client().post(path, &body).await.expect_status(200).json()
}

/// Makes a toolset; its row.
pub(crate) async fn toolset(gateway: &TestGateway, name: &str, tools: &[(&str, &str)]) -> Value {
    let body = json!({"toolset_name": name, "tools": members(tools)});
    let made = gateway.client().post("/v1/mcp/toolset", &body).await;
    made.expect_status(201).json()
}

/// Tools as a toolset has them.
pub(crate) fn members(tools: &[(&str, &str)]) -> Value {
    let tools = tools.iter();
    tools
        .map(|(server, tool)| json!({"server_id": server, "tool_name": tool}))
        .collect()
}

/// A client with a key. It keeps its connections: most tests here ask many questions with one key.
pub(crate) fn with(gateway: &TestGateway, key: &str) -> HttpClient {
    gateway
        .anonymous()
        .keeping_connections()
        .with_header("authorization", &format!("Bearer {key}"))
}

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A session of the old era.
    Session,
    /// The old era without a session.
    Bare,
    /// The new era.
    Modern,
    /// The transport of 2024-11-05.
    Sse,
    /// `/mcp-rest`
    Rest,
    /// `/v1/mcp/tools`, and a call over `/mcp-rest`.
    AllTools,
}

pub(crate) const WAYS: [Way; 6] = [
    Way::Session,
    Way::Bare,
    Way::Modern,
    Way::Sse,
    Way::Rest,
    Way::AllTools,
];

impl Way {
    /// Asks, and gives the HTTP status and what was said. `server`: at the server's own path; `toolset/{name}`: at a toolset's.
    pub(crate) async fn ask(
        self,
        http: &HttpClient,
        server: Option<&str>,
        method: &str,
        params: &Value,
    ) -> (u16, Value) {
        let path = server.map_or_else(|| "/mcp".to_owned(), |server| format!("/{server}/mcp"));
        match self {
            Self::Session => {
                let mut client = McpClient::over(http.clone(), &path);
                let begun = client.initialize_only().await;
                if begun.status != 200 {
                    return said(&begun);
                }
                said(&client.request(method, params).await)
            }
            Self::Bare => said(&McpClient::over(http.clone(), &path).request(method, params).await),
            Self::Modern => {
                let mut params = params.clone();
                params["_meta"] = json!({
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                let mut http = http
                    .clone()
                    .with_header("mcp-protocol-version", MODERN)
                    .with_header("mcp-method", method);
                if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
                    http = http.with_header("mcp-name", name);
                }
                said(&McpClient::over(http, &path).request(method, &params).await)
            }
            Self::Sse => {
                let path = server.map_or_else(|| "/sse".to_owned(), |server| format!("/{server}/sse"));
                match SseClient::try_open(http, &path).await {
                    Err(chunks) => (chunks.status.as_u16(), Value::Null),
                    Ok(mut client) => (200, client.request(method, params).await),
                }
            }
            Self::Rest | Self::AllTools => {
                let query = server.map_or_else(String::new, |server| match server.strip_prefix("toolset/") {
                    Some(toolset) => format!("?toolset_name={toolset}"),
                    None => format!("?server_id={server}"),
                });
                let reply = match (method, self) {
                    ("tools/list", Self::Rest) => http.get(&format!("/mcp-rest/tools/list{query}")).await,
                    ("tools/list", _) => http.get("/v1/mcp/tools").await,
                    _ => {
                        let mut body = params.clone();
                        if let Some(server) = server {
                            body["server_id"] = server.into();
                        }
                        http.post("/mcp-rest/tools/call", &body).await
                    }
                };
                let body = serde_json::from_str(&reply.text()).unwrap_or_default();
                (reply.status.as_u16(), body)
            }
        }
    }

    /// The exposed names that a list shows; the status if it is none.
    pub(crate) async fn tools(
        self,
        http: &HttpClient,
        server: Option<&str>,
    ) -> Result<BTreeSet<String>, u16> {
        let (status, said) = self.ask(http, server, "tools/list", &json!({})).await;
        if status != 200 {
            return Err(status);
        }
        let tools = said["result"]["tools"].as_array().or(said["tools"].as_array());
        let tools = tools.unwrap_or_else(|| panic!("{self:?}: {said}"));
        let name = |tool: &Value| {
            let name = tool["name"].as_str().unwrap();
            match self {
                Self::Rest => format!("{}-{name}", tool["mcp_info"]["server_name"].as_str().unwrap()),
                _ => name.to_owned(),
            }
        };
        Ok(tools.iter().map(name).collect())
    }
}

fn said(reply: &trunkline_testkit::RpcReply) -> (u16, Value) {
    let message = reply.events.last().map(|event| event.message.clone());
    let message = message.or_else(|| serde_json::from_slice(&reply.raw).ok());
    (reply.status.as_u16(), message.unwrap_or_default())
}

pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
