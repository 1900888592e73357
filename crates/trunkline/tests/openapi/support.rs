//! An API that notes what it is asked, and configurations.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Bare, BareServer, HttpClient, RpcReply, Said, TestGateway, eventually};

/// What a busy machine may need for anything that is not measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A request as the API saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An API whose answers are a function of the request.
pub(crate) struct Api {
    server: BareServer,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Api {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Said + Send + Sync + 'static) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let notes = seen.clone();
        let answer = Arc::new(answer);
        let server = BareServer::start(move |bare: Bare| {
            let own = Seen {
                method: bare.head.method.to_string(),
                target: bare
                    .head
                    .uri
                    .path_and_query()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                headers: bare
                    .head
                    .headers
                    .iter()
                    .map(|(name, value)| {
                        (
                            name.to_string(),
                            String::from_utf8_lossy(value.as_bytes()).into_owned(),
                        )
                    })
                    .collect(),
                body: bare.body.to_vec(),
            };
            notes.lock().unwrap().push(own.clone());
            let answer = answer.clone();
            async move { answer(&own) }
        })
        .await;
        Self { server, seen }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn origin(&self) -> String {
        self.server.url().trim_end_matches("/mcp").to_owned()
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets them.
    pub(crate) fn clear(&self) {
        self.seen.lock().unwrap().clear();
    }
}

/// A document of pets.
pub(crate) fn pets() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Pets", "version": "1.2"},
        "paths": {
            "/pets": {
                "get": {"operationId": "listPets", "tags": ["read"], "summary": "All pets", "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer"}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}}]},
                "post": {"operationId": "createPet", "tags": ["write"], "requestBody": {"required": true, "content": {"application/json": {"schema": {
                    "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "id": {"type": "integer", "readOnly": true}}}}}}}
            },
            "/pets/{petId}": {
                "parameters": [{"name": "petId", "in": "path", "required": true, "schema": {"type": "string"}}],
                "get": {"operationId": "getPet", "tags": ["read"], "responses": {"200": {"description": "", "content": {"application/json": {"schema": {
                    "type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}}}}}}},
                "delete": {"operationId": "deletePet", "tags": ["write"]}
            }
        }
    })
}

/// An entry of `mcp_servers` with the document in it; `more` are further lines.
pub(crate) fn entry(name: &str, document: &Value, more: &str) -> String {
    let mut text = format!("  {name}:\n    spec: {document}\n");
    for line in more.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text.push_str("    ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A gateway with these entries, each listed.
pub(crate) async fn gateway(entries: &str) -> TestGateway {
    TestGateway::start(&format!("mcp_servers:\n{entries}")).await
}

/// A server's row in the management API, by name.
pub(crate) async fn row(client: &HttpClient, server: &str) -> Value {
    let rows = client.get("/v1/mcp/server").await.expect_status(200).json();
    let found = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["alias"] == server || row["server_name"] == server);
    found
        .unwrap_or_else(|| panic!("no server {server} in {rows}"))
        .clone()
}

/// Waits until the server's outcome is this.
pub(crate) async fn becomes(gateway: &TestGateway, server: &str, status: &str) -> Value {
    let client = gateway.client();
    eventually(&format!("{server} is {status}"), PATIENCE, async || {
        row(&client, server).await["outcome"]["status"] == status
    })
    .await;
    row(&client, server).await["outcome"].clone()
}

/// The names of the tools, of a client that begins anew.
pub(crate) async fn names(gateway: &TestGateway) -> Vec<String> {
    let mut client = gateway.mcp();
    client.initialize().await;
    client.tool_names().await
}

/// Calls a tool as a client of the old era.
pub(crate) async fn call(gateway: &TestGateway, tool: &str, arguments: &Value) -> Value {
    let mut client = gateway.mcp();
    client.initialize().await;
    client.call(tool, arguments, None).await.result()
}

/// A request as clients of 2026-07-28 make it.
pub(crate) async fn modern(client: &HttpClient, path: &str, method: &str, mut params: Value) -> RpcReply {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut http = client
        .clone()
        .with_header("mcp-protocol-version", "2026-07-28")
        .with_header("mcp-method", method);
    if let Some(name) = params["name"].as_str() {
        http = http.with_header("mcp-name", name);
    }
    let mut client = trunkline_testkit::McpClient::over(http, path);
    client.request(method, &params).await
}

/// The text of a result's first block.
pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text in {result}"))
}
