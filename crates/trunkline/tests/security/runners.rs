//! Programs that run whatever they are told to, as those do that stand on lists of allowed commands: what an administrator
//! lets them do is done in the sandbox, and reaches nothing from there (S04, S32).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use trunkline_testkit::{TestGateway, eventually, tools};

use crate::support::PATIENCE;

/// Reads `KEY`, connects to each of `ADDRESSES`, and writes what came of it to `REPORT`, `done` last.
const PYTHON: &str = r"
import errno, os, socket
came = []
try:
    came.append(open(os.environ['KEY']).read())
except OSError as error:
    came.append(errno.errorcode[error.errno])
for address in os.environ['ADDRESSES'].split():
    host, port = address.split(':')
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        came.append('connected')
    except OSError as error:
        came.append(errno.errorcode.get(error.errno, 'timeout'))
open(os.environ['REPORT'], 'w').write(' '.join(came + ['done']))
";

/// The same.
const NODE: &str = r"
const fs = require('fs'), net = require('net');
const came = [], addresses = process.env.ADDRESSES.split(' ');
try { came.push(fs.readFileSync(process.env.KEY, 'utf8')); } catch (error) { came.push(error.code); }
const next = () => {
  const address = addresses.shift();
  if (!address) return fs.writeFileSync(process.env.REPORT, [...came, 'done'].join(' '));
  const [host, port] = address.split(':');
  const socket = net.connect({host, port: Number(port), timeout: 3000});
  const done = word => { came.push(word); socket.destroy(); next(); };
  socket.once('connect', () => done('connected'));
  socket.once('timeout', () => done('timeout'));
  socket.once('error', error => done(error.code));
};
next();
";

/// For whoever runs a line of shell.
const LINE: &str = "exec \"$PYTHON\" -c \"$PAYLOAD\"";

/// An interpreter, and not what stands for it in `PATH`.
fn python() -> PathBuf {
    let mut command = Command::new("python3");
    command.args([
        "-c",
        "import os, sys; print(os.path.realpath(sys._base_executable))",
    ]);
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// Runners, each with how it is told to run something; those that are not on this machine are left out.
fn runners() -> Vec<(&'static str, Vec<&'static str>)> {
    let all = [
        ("python3", vec!["-c", PYTHON]),
        ("node", vec!["-e", NODE]),
        ("bash", vec!["-c", LINE]),
        ("env", vec!["sh", "-c", LINE]),
        ("npx", vec!["--yes", "--offline", "--call", LINE]),
    ];
    let there = |command: &str| {
        let mut command = Command::new(command);
        let status = command.arg("--version").stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    all.into_iter().filter(|(command, _)| there(command)).collect()
}

/// Has a runner declared, and waits for what it reports.
async fn reported(gateway: &TestGateway, id: &str, mut body: Value, folder: &Path, env: Value) -> String {
    let report = folder.join(id);
    body["server_id"] = json!(id);
    body["alias"] = json!(id);
    body["transport"] = json!("stdio");
    body["env"] = env;
    body["env"]["REPORT"] = json!(report);
    body["env"]["PAYLOAD"] = json!(PYTHON);
    body["env"]["PYTHON"] = json!(python());
    gateway
        .client()
        .post("/v1/mcp/server", &body)
        .await
        .expect_status(201);
    let read = || std::fs::read_to_string(&report).unwrap_or_default();
    eventually(&format!("{id} has run"), PATIENCE, async || {
        read().ends_with("done")
    })
    .await;
    // It speaks no protocol: not to be started again and again.
    let path = format!("/v1/mcp/server/{id}");
    gateway.client().delete(&path).await.expect_status(202);
    read()
}

#[tokio::test]
async fn s04_s32_runners_that_may_run_anything_reach_nothing_from_the_sandbox() {
    if tools::landlock(4).is_none() {
        return;
    }
    let gateway = TestGateway::start("general_settings:\n  mcp_stdio: admin\n").await;
    let home = std::env::home_dir().unwrap();
    let secret = tempfile::Builder::new()
        .prefix(".canary")
        .tempdir_in(home)
        .unwrap();
    let key = secret.path().join("id_ed25519");
    std::fs::write(&key, "canary-key").unwrap();
    let reports = tempfile::tempdir().unwrap();
    let folder = reports.path().canonicalize().unwrap();
    let own = format!("127.0.0.1:{}", gateway.port());
    let tried = runners();
    assert!(tried.len() >= 3, "{tried:?}");
    for (command, args) in tried {
        let body = json!({"command": command, "args": args});
        let mut free = body.clone();
        free["sandbox"] = json!("off");
        let env = json!({"KEY": key, "ADDRESSES": own});
        let came = reported(&gateway, &format!("{command}-free"), free, &folder, env).await;
        assert_eq!(
            came, "canary-key connected done",
            "{command} cannot be tried here"
        );

        let mut held = body;
        // For those that start another program: where that is.
        let prefix = python().parent().and_then(Path::parent).map(Path::to_owned);
        held["sandbox"] = json!({"write": [folder], "read": [prefix]});
        let addresses = format!("{own} 169.254.169.254:80 169.254.170.2:80 127.0.0.1:22");
        let env = json!({"KEY": key, "ADDRESSES": addresses});
        let came = reported(&gateway, &format!("{command}-held"), held, &folder, env).await;
        assert_eq!(came, "EACCES EACCES EACCES EACCES EACCES done", "{command}");
    }
}
