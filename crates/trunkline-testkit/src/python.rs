//! The server of `demo/backend` in a process of its own.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use crate::process::{Process, Signal};
use crate::{repository_root, tools};

/// Python takes seconds to import all that on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How it is started.
#[derive(Clone, Debug)]
pub struct FastMcpOptions {
    /// The bearer key it asks for.
    pub key: String,
    /// JSON answers rather than SSE.
    pub json: bool,
    /// No sessions.
    pub stateless: bool,
    /// Mounted at `/mcp`, so that `POST /mcp` is answered with 307 to `/mcp/`.
    pub mounted: bool,
}

impl Default for FastMcpOptions {
    fn default() -> Self {
        Self {
            key: "demo-key".to_owned(),
            json: false,
            stateless: false,
            mounted: false,
        }
    }
}

/// One request as the server logged it, when its answer was complete.
#[derive(Clone, Debug, Deserialize)]
pub struct BackendRequest {
    /// HTTP method.
    pub method: String,
    /// Path.
    pub path: String,
    /// JSON-RPC method.
    pub rpc: Option<String>,
    /// Whether it had a session id.
    pub session: bool,
    /// `none`, `ok` or `wrong`.
    pub auth: String,
    /// The status it was answered with; `None` when the client left before.
    pub status: Option<u16>,
}

/// A real FastMCP server of mcp 1.16.0 with 12 tools behind a bearer key. Dropping it kills the process.
#[derive(Debug)]
pub struct FastMcpBackend {
    options: FastMcpOptions,
    folder: TempDir,
    process: Process,
    port: u16,
}

impl FastMcpBackend {
    /// Starts it on a free port; `None` when there is no Python for it (never with `CI=true`).
    pub async fn start(options: FastMcpOptions) -> Option<Self> {
        let python = tools::python("backend")?;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (process, port) = launch(&python, &options, &folder, 0).await;
        Some(Self {
            options,
            folder,
            process,
            port,
        })
    }

    /// Its endpoint, as the report has it: without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// The bearer key it asks for.
    pub fn key(&self) -> &str {
        &self.options.key
    }

    /// Every request whose answer is complete, over restarts.
    pub fn requests(&self) -> Vec<BackendRequest> {
        let log = std::fs::read_to_string(self.folder.path().join("requests.jsonl")).unwrap_or_default();
        log.lines()
            .map(|line| serde_json::from_str(line).expect("a line of the request log"))
            .collect()
    }

    /// How many requests had this JSON-RPC method.
    pub fn count(&self, rpc: &str) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.rpc.as_deref() == Some(rpc))
            .count()
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        // Truncated, not removed: the server may be about to append.
        let _ = std::fs::write(self.folder.path().join("requests.jsonl"), "");
    }

    /// What the server printed.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Ends the process; the port then refuses.
    pub async fn stop(&mut self) {
        self.process.send(Signal::Kill);
        self.process.wait(Duration::from_secs(10)).await;
    }

    /// Ends the process and starts a new one on the same port, which knows no session of the old one.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.stop().await;
        let python = tools::python("backend").expect("it was there before");
        (self.process, self.port) = launch(&python, &self.options, &self.folder, self.port).await;
    }
}

async fn launch(
    python: &std::path::Path,
    options: &FastMcpOptions,
    folder: &TempDir,
    port: u16,
) -> (Process, u16) {
    let flag = |on: bool| if on { "1" } else { "0" };
    let mut command = Command::new(python);
    command
        .args([
            "-m",
            "uvicorn",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--app-dir",
        ])
        .arg(repository_root().join("demo/backend"))
        .arg("app:app")
        .env("MCP_KEY", &options.key)
        .env("MCP_JSON", flag(options.json))
        .env("MCP_STATELESS", flag(options.stateless))
        .env("MCP_MOUNT", if options.mounted { "mcp" } else { "root" })
        .env("MCP_LOG", folder.path().join("requests.jsonl"));
    let mut process = Process::spawn("the FastMCP backend", &mut command);
    let address = process
        .wait_for_line("Uvicorn running on http://127.0.0.1:", START_LIMIT)
        .await;
    let address = address.unwrap_or_else(|exit| panic!("{exit:?}\n{}", process.output()));
    let port = address
        .split_whitespace()
        .next()
        .and_then(|port| port.parse().ok());
    (process, port.unwrap_or_else(|| panic!("no port in `{address}`")))
}
