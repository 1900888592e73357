//! Official servers and clients, where what they do is not in the conformance suite.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use trunkline_testkit::{TestGateway, eventually, repository_root, tools};

use crate::support::{PATIENCE, listed, text};
use crate::tasks::Client;

/// `server-everything` of npm, on the loopback interface.
struct Everything {
    modules: PathBuf,
    port: u16,
    _child: Child,
}

impl Everything {
    async fn start() -> Option<Self> {
        let modules = tools::node_modules()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|free| free.local_addr())
            .unwrap()
            .port();
        // It would listen on all interfaces.
        let preload = repository_root().join("scripts/node/loopback.cjs");
        let child = Command::new(modules.join(".bin/mcp-server-everything"))
            .arg("streamableHttp")
            .env("PORT", port.to_string())
            .env("NODE_OPTIONS", format!("--require \"{}\"", preload.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually("server-everything listens", PATIENCE, async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
        })
        .await;
        Some(Self {
            modules,
            port,
            _child: child,
        })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// What the client of `tests/node/tasks.mjs` sees.
    async fn seen(&self, url: &str, bearer: &str, tool: &str) -> Value {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/node/tasks.mjs");
        let output = Command::new("node")
            .arg(script)
            .args([url, tool])
            .env("MCP_BEARER", bearer)
            .env("MCP_NODE_MODULES", &self.modules)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{url}: {printed}\n{errors}");
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }
}

#[tokio::test]
async fn b62_tasks_of_the_reference_server_are_what_its_own_client_sees() {
    let Some(server) = Everything::start().await else {
        return;
    };
    let config = format!("mcp_servers:\n  everything:\n    url: {}\n", server.url());
    let gateway = TestGateway::start(&config).await;
    listed(&gateway, "everything").await;
    let url = format!("{}/mcp", gateway.url());
    let (own, exposed) = ("simulate-research-query", "everything-simulate-research-query");
    let direct_url = server.url();
    let client = Client::of(&gateway);
    let (direct, through, without) = tokio::join!(
        server.seen(&direct_url, "none", own),
        server.seen(&url, gateway.master_key(), exposed),
        // A client of the new era, which has none of these tasks.
        client.result(
            "tools/call",
            json!({"name": exposed, "arguments": {"topic": "python"}})
        ),
    );
    assert_eq!(through, direct);
    assert_eq!(direct["statuses"], json!(["working", "input_required"]));
    for yes in ["about_it", "result_about_it", "listed", "same_id"] {
        assert_eq!(through[yes], true, "{yes}: {through}");
    }
    assert!(text(&through["text"]).contains("python (snake)"), "{through}");
    assert!(
        text(&without["content"][0]["text"]).contains("Research Report"),
        "{without}"
    );
}
