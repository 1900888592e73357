//! The clients, and what they print.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use trunkline_testkit::tools;

use crate::servers::{Server, Step};

/// What runs a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// An environment of `scripts/python-env.sh`.
    Python(&'static str),
    /// Node, with the packages of `scripts/node`.
    Node,
    /// The Node of `scripts/conformance` with them: what needs a newer one than the machine may have.
    NewNode,
    /// The same Node with the packages beside it. Every step is a process.
    Inspector,
}

/// A program of this folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) program: Program,
    pub(crate) script: &'static str,
    /// Sessions of each kind are opened with each.
    pub(crate) modes: &'static [&'static str],
}

/// A session of a plan: see `python/plan.py`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Session {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) mode: String,
    pub(crate) headers: Value,
    pub(crate) steps: Vec<Step>,
}

/// What came of a session.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) answers: Vec<Answer>,
}

impl Report {
    pub(crate) fn is_modern(&self) -> bool {
        self.protocol == "2026-07-28"
    }
}

/// What came of a step.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Answer {
    /// `{"result": …}` or `{"error": …}`
    #[serde(flatten)]
    pub(crate) result: Value,
    pub(crate) log: Vec<Value>,
    pub(crate) progress: Vec<Value>,
}

impl Client {
    pub(crate) const fn new(program: Program, script: &'static str, modes: &'static [&'static str]) -> Self {
        Self {
            program,
            script,
            modes,
        }
    }

    /// What this client asks of a server: all, unless it cannot, or each step costs a process.
    pub(crate) fn steps(&self, server: &Server) -> Vec<Step> {
        let steps = server.steps.iter();
        match self.program {
            Program::Inspector => steps.filter(|step| step.inspected).cloned().collect(),
            _ => steps.cloned().collect(),
        }
    }

    /// Starts it; `None` if what it needs is not there.
    pub(crate) fn start(&self) -> Option<RunningClient> {
        let (program, modules) = match self.program {
            Program::Python(environment) => (tools::python(environment)?, PathBuf::new()),
            Program::Node => ("node".into(), tools::node_modules()?),
            Program::NewNode => (tools::conformance()?.node, tools::node_modules()?),
            Program::Inspector => {
                let environment = tools::conformance()?;
                (environment.node, environment.modules)
            }
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/clients")
            .join(self.script);
        let mut child = Command::new(program)
            .arg(script)
            .env("MCP_NODE_MODULES", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(RunningClient {
            script: self.script,
            stdin,
            reports: BufReader::new(stdout).lines(),
            _child: child,
        })
    }
}

/// A client in a process of its own. What it says on stderr is seen with the test's.
pub(crate) struct RunningClient {
    script: &'static str,
    stdin: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl RunningClient {
    /// One report for each session.
    ///
    /// # Panics
    /// When the client ends before that.
    pub(crate) async fn reports(&mut self, plan: &[Session]) -> Vec<Report> {
        let mut line = serde_json::to_vec(plan).unwrap();
        line.push(b'\n');
        self.stdin.write_all(&line).await.unwrap();
        let mut reports = Vec::new();
        for _ in plan {
            let line = self.reports.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("{} has ended", self.script));
            reports.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
        }
        reports
    }
}
