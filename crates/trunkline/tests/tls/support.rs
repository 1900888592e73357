//! Configurations, and every way to a server.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Bare, BareServer, HttpClient, Said, TestGateway, eventually};

use crate::front::Identity;

/// What a busy machine may need for anything that is not measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The `tls_` fields of a server.
#[derive(Clone, Default)]
pub(crate) struct Tls(Vec<(&'static str, String)>);

impl Tls {
    pub(crate) fn ca(pem: &str) -> Self {
        Self::default().with("tls_ca", pem)
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, value.to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn identity(self, identity: &Identity) -> Self {
        self.with("tls_client_cert", &identity.cert)
            .with("tls_client_key", &identity.key)
    }

    /// The same in the body of a request.
    pub(crate) fn body(&self, mut body: Value) -> Value {
        for (name, value) in &self.0 {
            body[*name] = value.as_str().into();
        }
        body
    }
}

/// An entry of `mcp_servers`; `more` are further lines.
pub(crate) fn entry(name: &str, url: &str, tls: &Tls, more: &str) -> String {
    let mut text = format!("  {name}:\n    url: {url}\n");
    for (field, value) in &tls.0 {
        // A JSON string is a YAML one, whatever its lines are.
        writeln!(text, "    {field}: {}", json!(value)).unwrap();
    }
    for line in more.lines().map(str::trim).filter(|line| !line.is_empty()) {
        writeln!(text, "    {line}").unwrap();
    }
    text
}

pub(crate) fn servers(entries: &[String]) -> String {
    format!("mcp_servers:\n{}", entries.concat())
}

/// A server's row in the management API, by name.
pub(crate) async fn row(client: &HttpClient, server: &str) -> Value {
    let rows = client.get("/v1/mcp/server").await.expect_status(200).json();
    let own = |row: &&Value| row["alias"] == server || row["server_name"] == server;
    let found = rows.as_array().unwrap().iter().find(own);
    found
        .unwrap_or_else(|| panic!("no server {server} in {rows}"))
        .clone()
}

/// Waits until the server's outcome is this, and gives it.
pub(crate) async fn becomes(gateway: &TestGateway, server: &str, status: &str) -> Value {
    let client = gateway.client();
    let mut last = Value::Null;
    eventually(&format!("{server} is {status}"), PATIENCE, async || {
        last = row(&client, server).await["outcome"].clone();
        last["status"] == status
    })
    .await;
    last
}

/// What a way to a server said.
pub(crate) struct Answer {
    pub(crate) place: &'static str,
    pub(crate) worked: bool,
    pub(crate) text: String,
}

/// Uses a server in every way that there is: `tool` is one of its tools, by its own name.
pub(crate) async fn everywhere(gateway: &TestGateway, server: &str, tool: &str) -> Vec<Answer> {
    let client = gateway.client();
    let mut said = Vec::new();
    let mut note = |place, worked, text| said.push(Answer { place, worked, text });
    let id = row(&client, server).await["server_id"]
        .as_str()
        .unwrap()
        .to_owned();

    for what in ["connection", "tools/list"] {
        let path = format!("/mcp-rest/test/{what}");
        let reply = client
            .post(&path, &json!({"server_id": id}))
            .await
            .expect_status(200);
        note("test route", reply.json()["error"].is_null(), reply.text());
    }
    let health = client
        .get(&format!("/v1/mcp/server/health?server_ids={id}"))
        .await
        .expect_status(200);
    note(
        "health",
        health.json()[0]["outcome"]["status"] == "ok",
        health.text(),
    );
    let list = client.get(&format!("/mcp-rest/tools/list?server_id={id}")).await;
    note("REST list", list.status.is_success(), list.text());
    let body = json!({"server_id": id, "name": tool, "arguments": {}});
    let call = client.post("/mcp-rest/tools/call", &body).await;
    note("REST call", call.status.is_success(), call.text());

    let mut mcp = gateway.mcp_at(&format!("/{server}/mcp"));
    mcp.initialize().await;
    let list = mcp.request("tools/list", &Value::Null).await;
    note("MCP list", list.outcome().is_ok(), list.everything());
    let call = mcp.call(&format!("{server}-{tool}"), &json!({}), None).await;
    note("MCP call", call.outcome().is_ok(), call.everything());

    let (data, config) = (gateway.data_dir(), gateway.config_path());
    let mut args = vec!["doctor", server, "--data-dir", data.to_str().unwrap()];
    if config.exists() {
        args.extend(["--config", config.to_str().unwrap()]);
    }
    let doctor = gateway.run(&args).await;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&doctor.stdout),
        String::from_utf8_lossy(&doctor.stderr)
    );
    note("doctor", doctor.status.success(), text);
    said
}

/// # Panics
/// When one of the ways did not work.
#[track_caller]
pub(crate) fn all_worked(said: &[Answer]) {
    for Answer { place, worked, text } in said {
        assert!(worked, "{place}: {text}");
    }
}

/// # Panics
/// When one of the ways worked, or does not say all of these words.
#[track_caller]
pub(crate) fn all_refused(said: &[Answer], words: &[&str]) {
    for Answer { place, worked, text } in said {
        assert!(!worked, "{place}: {text}");
        for words in words {
            assert!(text.contains(words), "{place}: not `{words}`: {text}");
        }
    }
}

/// An HTTP API with its document at `/openapi.json`, and its port.
pub(crate) async fn api() -> (BareServer, u16) {
    let document = json!({
        "openapi": "3.0.3", "info": {"title": "Pets", "version": "1"},
        "paths": {"/pets": {"get": {"operationId": "listPets"}}}
    });
    let server = BareServer::start(move |request: Bare| {
        let said = match request.head.uri.path() {
            "/openapi.json" => Said::json(200, document.to_string()),
            "/pets" => Said::json(200, r#"[{"name":"Rex"}]"#),
            _ => Said::status(404),
        };
        async move { said }
    })
    .await;
    let port = server
        .url()
        .trim_end_matches("/mcp")
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    (server, port)
}

/// The PEM text in a file of a folder; its path.
pub(crate) fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
