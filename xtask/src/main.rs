//! `cargo xtask TASK`: what of this repository is generated, and the rules that no other tool checks.
//!
//! - `tidy`: dependency directions, crate docs, who may make principals, words that must not be in the tree
//! - `contracts [--check]`: writes docs/openapi.json and docs/config.schema.json, or says that they are stale
//!
//! To add a task: a module with `pub fn run`, an arm in `main`, a line above.

mod contracts;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "usage: cargo xtask tidy | contracts [--check]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["tidy"] => tidy::run(&root()),
        ["contracts"] => contracts::run(&root(), contracts::Mode::Write),
        ["contracts", "--check"] => contracts::run(&root(), contracts::Mode::Check),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder with the workspace's Cargo.toml.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// What a program prints, when it ends well.
fn output(root: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output();
    let output = output.with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of {program}"))
}
