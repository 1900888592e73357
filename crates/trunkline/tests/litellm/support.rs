//! Running LiteLLM's programs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use trunkline_testkit::{TestGateway, repository_root};

/// What a busy machine may need.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a program wrote, and whether it says that it worked.
pub(crate) struct Done {
    pub(crate) worked: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A file beside this one.
pub(crate) fn script(name: &str) -> String {
    let folder = repository_root().join("crates/trunkline/tests/litellm");
    folder.join(name).to_str().unwrap().to_owned()
}

/// Runs a program of the environment with nothing of the tester's own: LiteLLM's programs keep logins and settings at home.
pub(crate) async fn run(program: &Path, args: &[&str], gateway: &TestGateway, key: &str) -> Done {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .env("COLUMNS", "200")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LITELLM_PROXY_URL", gateway.url())
        .env("LITELLM_PROXY_API_KEY", key)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{args:?} did not end")).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done {
        worked: output.status.success(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
