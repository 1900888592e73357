//! Programs of others that tests run: the environments of `scripts/`.
//!
//! A machine without them skips what needs them, and says so on stderr; with `CI=true` that is a failure, so that no
//! check is green because it did nothing.

use std::path::PathBuf;
use std::process::Command;

use crate::repository_root;

/// The Python of an environment of `scripts/python-env.sh` (`backend`, `sdk1`, `sdk2`), made when it is not there.
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
