//! The clients that people have, each listing and calling in all four modes of the server.
//!
//! What a client sees of the server directly is what it must see through the gateway.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;
use trunkline_testkit::{Canary, FastMcpBackend, Signal, TestGateway, repository_root, tools};

use crate::{
    JSON_STATEFUL, JSON_STATELESS, Mode, SSE_STATEFUL, SSE_STATELESS, TOOLS, as_reported, assert_calm,
    backend, register,
};

/// What a client of `tests/python` and `tests/node` prints.
#[derive(Debug, Deserialize)]
struct Report {
    protocol: String,
    tools: Vec<String>,
    echo: String,
    fail: Failure,
    slow: Slow,
    log: Vec<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Failure {
    is_error: bool,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Slow {
    text: String,
    ms: u64,
    progress: Vec<Progress>,
}

#[derive(Debug, Deserialize)]
struct Progress {
    at_ms: u64,
    #[serde(rename = "progress")]
    value: f64,
    total: Option<f64>,
    message: Option<String>,
}

/// A program of `tests/`, and what runs it.
#[derive(Clone)]
struct Client {
    program: PathBuf,
    script: &'static str,
    /// Modes of the client, a report of each target for each.
    modes: &'static [&'static str],
}

impl Client {
    fn python(environment: &str, script: &'static str, modes: &'static [&'static str]) -> Option<Self> {
        let program = tools::python(environment)?;
        Some(Self {
            program,
            script,
            modes,
        })
    }

    /// Runs it over the targets, one report for each.
    async fn reports(self, bearer: String, targets: Vec<String>, modules: Option<PathBuf>) -> Vec<Report> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(self.script);
        let output = Command::new(&self.program)
            .arg(script)
            .arg(self.modes.join(","))
            .args(targets)
            .env("MCP_BEARER", bearer)
            .env(
                "MCP_NODE_MODULES",
                modules.unwrap_or_else(|| repository_root().join("none")),
            )
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let (printed, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{}: {:?}\n{printed}\n{errors}",
            self.script,
            output.status
        );
        printed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

/// One of the four modes with a gateway of its own before it.
struct Rig {
    mode: Mode,
    backend: FastMcpBackend,
    gateway: TestGateway,
}

impl Rig {
    async fn new(mode: Mode, key: &Canary, master_key: &str) -> Option<Self> {
        let backend = backend(mode, key).await?;
        let gateway = TestGateway::builder().master_key(Some(master_key)).start().await;
        register(&gateway, &as_reported(&backend.url(), key.value())).await;
        Some(Self {
            mode,
            backend,
            gateway,
        })
    }

    async fn all(key: &Canary, master_key: &str) -> Option<Vec<Self>> {
        let rigs = tokio::join!(
            Self::new(SSE_STATEFUL, key, master_key),
            Self::new(SSE_STATELESS, key, master_key),
            Self::new(JSON_STATEFUL, key, master_key),
            Self::new(JSON_STATELESS, key, master_key),
        );
        Some(vec![rigs.0?, rigs.1?, rigs.2?, rigs.3?])
    }
}

/// # Panics
/// When the gateway shows more or less than the server does.
#[track_caller]
fn assert_same(what: &str, direct: &Report, through: &Report) {
    assert_eq!(through.tools, TOOLS, "{what}");
    assert_eq!(through.echo, "héllo", "{what}");
    assert_eq!(through.fail, direct.fail, "{what}");
    assert!(through.fail.is_error, "{what}");
    assert_eq!(through.slow.text, "done", "{what}");
    if through.protocol == "2026-07-28" && through.log.is_empty() {
        // In this revision clients ask for log messages with every request, and not every one does.
        // Answers in JSON have no room for them.
        assert!(!what.contains("fastmcp") || what.contains("json: true"), "{what}");
    } else {
        assert_eq!(through.log, direct.log, "{what}");
    }
    assert!(
        ["2025-06-18", "2025-11-25", "2026-07-28"].contains(&through.protocol.as_str()),
        "{what}: {}",
        through.protocol
    );

    let progress = &through.slow.progress;
    // This server sends progress on the session's stream, and the answer on the request's: which of the two comes
    // first at the end is chance, and clients stop listening for progress with the answer.
    let certain = direct.slow.progress.len().saturating_sub(1);
    assert!(
        progress.len() >= certain,
        "{what}: {} of {certain}: {progress:?}",
        progress.len()
    );
    for (index, step) in progress.iter().enumerate() {
        let number = u32::try_from(index + 1).unwrap();
        assert!(
            (step.value - f64::from(number)).abs() < f64::EPSILON,
            "{what}: {progress:?}"
        );
        assert_eq!(step.total, Some(3.0), "{what}");
        assert_eq!(
            step.message.as_deref(),
            Some(&*format!("step {number}")),
            "{what}"
        );
    }
    // The first step is done after 300 of 900 ms: half of the rest may be lost to a busy machine.
    if let Some(first) = progress.first() {
        assert!(
            through.slow.ms.saturating_sub(first.at_ms) > 300,
            "{what}: progress was held back: {:?}",
            through.slow
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bug1_every_client_in_every_mode() {
    let key = Canary::new("backend-key");
    let master_key = Canary::key("master").value().to_owned();
    let clients: Option<Vec<Client>> = [
        Client::python("sdk1", "python/client_sdk1.py", &["-"]),
        Client::python("sdk2", "python/client_sdk2.py", &["auto", "legacy"]),
        Client::python("sdk2", "python/client_fastmcp.py", &["auto", "legacy"]),
    ]
    .into_iter()
    .collect();
    let (Some(mut clients), Some(mut rigs)) = (clients, Box::pin(Rig::all(&key, &master_key)).await) else {
        return;
    };
    let modules = tools::node_modules();
    if modules.is_some() {
        clients.push(Client {
            program: "node".into(),
            script: "node/client.mjs",
            modes: &["-"],
        });
    }

    let targets = rigs.iter().map(|rig| format!("={}", rig.backend.url())).collect();
    let direct = clients[0]
        .clone()
        .reports(key.value().to_owned(), targets, None)
        .await;
    let progress: Vec<usize> = direct.iter().map(|report| report.slow.progress.len()).collect();
    assert!(
        progress[0] >= 2 && progress[2] >= 2,
        "the server reports progress: {progress:?}"
    );
    assert_eq!(
        direct[0].log,
        ["syncing m"],
        "the server logs on the stream of the call"
    );
    for rig in &rigs {
        rig.backend.clear();
    }

    let targets: Vec<String> = rigs
        .iter()
        .map(|rig| format!("mirror-={}/mcp", rig.gateway.url()))
        .collect();
    let running = clients.iter().map(|client| {
        let work = client
            .clone()
            .reports(master_key.clone(), targets.clone(), modules.clone());
        tokio::spawn(work)
    });
    let running: Vec<_> = running.collect();
    for (client, reports) in clients.iter().zip(running) {
        let reports = reports.await.unwrap();
        assert_eq!(reports.len(), client.modes.len() * rigs.len());
        for (mode, reports) in client.modes.iter().zip(reports.chunks(rigs.len())) {
            for ((rig, direct), through) in rigs.iter().zip(&direct).zip(reports) {
                let what = format!("{} {mode} {:?}", client.script, rig.mode);
                assert_same(&what, direct, through);
            }
        }
    }

    for rig in &mut rigs {
        let began = rig.backend.count("initialize");
        // A session for each client where there are sessions; the one that the list was made with is older.
        let sessions = clients.iter().map(|client| client.modes.len()).sum();
        let most = if rig.mode.stateless { 0 } else { sessions };
        assert!(began <= most, "{:?}: {began} initialize for {most}", rig.mode);
        for request in rig.backend.requests() {
            assert_eq!(request.auth, "ok", "{request:?}");
            // Asking which era a server is of is no part of a session.
            let first = matches!(request.rpc.as_deref(), Some("initialize" | "server/discover"));
            assert_eq!(request.session, !first && !rig.mode.stateless, "{request:?}");
        }
        assert_eq!(
            rig.backend.count("tools/list"),
            0,
            "lists are answered from the catalogue"
        );
        assert_eq!(rig.gateway.stop(Signal::Term).await.code, Some(0));
        assert_calm(&rig.gateway.log());
        key.assert_absent(&[("the log", rig.gateway.log())]);
    }
}

/// The same over the transport of 2024-11-05, which the server does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bug1_clients_of_the_old_transport_see_what_others_see() {
    let key = Canary::new("backend-key");
    let master_key = Canary::key("master").value().to_owned();
    let (Some(client), Some(rig)) = (
        Client::python("sdk1", "python/client_sdk1.py", &["-"]),
        Rig::new(SSE_STATEFUL, &key, &master_key).await,
    ) else {
        return;
    };
    let direct = client
        .clone()
        .reports(
            key.value().to_owned(),
            vec![format!("={}", rig.backend.url())],
            None,
        )
        .await;
    let mut clients = vec![Client {
        modes: &["sse"],
        ..client
    }];
    let modules = tools::node_modules();
    if modules.is_some() {
        clients.push(Client {
            program: "node".into(),
            script: "node/client.mjs",
            modes: &["sse"],
        });
    }
    let targets: Vec<String> = ["sse", "mcp/sse", "mirror/sse"]
        .map(|path| format!("mirror-={}/{path}", rig.gateway.url()))
        .to_vec();
    for client in clients {
        let script = client.script;
        let reports = client
            .reports(master_key.clone(), targets.clone(), modules.clone())
            .await;
        assert_eq!(reports.len(), targets.len());
        for (target, through) in targets.iter().zip(&reports) {
            assert_same(&format!("{script} {target}"), &direct[0], through);
        }
    }
    assert_calm(&rig.gateway.log());
}
