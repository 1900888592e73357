//! What the tests of commands share.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use trunkline_testkit::{TestGateway, tools};

/// Waiting longer is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_trunkline");

/// A script of `tests/python`.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(name)
}

/// `terminal_server.py`, which ends with the test; `None` without its Python.
pub(crate) struct Server {
    pub(crate) port: u16,
    _child: Child,
}

impl Server {
    pub(crate) async fn start() -> Option<Self> {
        let python = tools::python("sdk1")?;
        let mut child = Command::new(python)
            .arg(script("terminal_server.py"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        Some(Self { port, _child: child })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// A configuration file with it as `t`.
    pub(crate) fn config(&self) -> String {
        format!(
            "mcp_servers:\n  t:\n    url: {}\n    transport: http\n",
            self.url()
        )
    }
}

/// The home of a gateway's commands: clients' files are put there.
pub(crate) fn home(gateway: &TestGateway) -> PathBuf {
    gateway.data_dir().parent().unwrap().to_owned()
}

/// Runs a command that finds the gateway through its data directory.
pub(crate) async fn run(gateway: &TestGateway, args: &[&str]) -> Output {
    let data_dir = gateway.data_dir();
    let mut all = args.to_vec();
    let place = all.iter().position(|arg| *arg == "--").unwrap_or(all.len());
    all.splice(place..place, ["--data-dir", data_dir.to_str().unwrap()]);
    gateway.run(&all).await
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn both(output: &Output) -> String {
    format!("{}{}", stdout(output), String::from_utf8_lossy(&output.stderr))
}

/// # Panics
/// When the exit code is another one; shows the output.
#[track_caller]
pub(crate) fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", both(output));
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", both(output)))
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
