//! Starts programs (MCP servers over stdio) confined, and ends them with all their descendants.
//!
//! A program is never started by the gateway itself. The gateway's binary starts itself again as a *watcher*
//! ([`watch`](self)), one small process per program, which starts itself once more as the *confined step*: that one closes
//! descriptors, sets limits, gives up privileges, and becomes the program by `exec`.
//!
//! ```text
//!  gateway ──socket── watcher ──── confined step ⇒ exec ⇒ program ── its children …
//!          └───────── stdin, stdout, stderr of the program ─────────┘
//! ```
//!
//! - The watcher is a child subreaper: whatever descends from the program and loses its parent becomes its child, also
//!   what called `setsid` or forked twice. The family is over when the kernel says that the watcher has no children.
//! - The socket between gateway and watcher is also the sign of life: its end, however the gateway went, kills the family.
//! - The watcher is behind a fence of its own where the kernel has one (`fence`): one call then kills all of the family, which
//!   nobody outruns who multiplies.
//! - No code here is unsafe: what happens between `fork` and `exec` happens in a process of its own, after `exec`.
//!
//! What is enforced is said, never assumed: the confined step reports what it did ([`Isolation`]).
//!
//! To add a rule: a member of [`trunkline_model::SandboxRules`], a member of the order (`order`), and a step in `confine`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

pub use trunkline_model::{Degree, Isolation};
use trunkline_model::{Sandbox, Secret};

mod environment;
mod find;
mod launcher;
mod running;

#[cfg(target_os = "linux")]
mod capabilities;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod family;
#[cfg(target_os = "linux")]
mod fence;
#[cfg(target_os = "linux")]
mod folders;
#[cfg(target_os = "linux")]
mod order;
#[cfg(target_os = "linux")]
mod paths;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod start;
#[cfg(target_os = "linux")]
mod syscalls;
#[cfg(target_os = "linux")]
mod watch;

pub use find::search_path;
pub use launcher::{Launcher, Setup};
pub use running::{Cause, Control, Ended, Running};

/// A program to start.
#[derive(Clone, Debug)]
pub struct Program {
    /// A name that is looked up in `PATH`, or a path.
    pub command: String,
    /// Its arguments, one each: there is no shell.
    pub args: Vec<String>,
    /// Variables over the clean environment.
    pub env: BTreeMap<String, Secret>,
    /// Where it starts; its private folder if there is none.
    pub cwd: Option<PathBuf>,
    /// What it may do.
    pub sandbox: Sandbox,
    /// The server's stable name: names its private folder, and it in logs.
    pub name: String,
}

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no such program.
    #[error("command not found: {command}{}", not_found(command, path))]
    NotFound {
        /// As it was declared.
        command: String,
        /// Where it was looked for; empty if it is a path itself.
        path: String,
    },
    /// There is a file, and it is no program.
    #[error("{} is not executable: {reason}", file.display())]
    NotExecutable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Whoever declared it had no right to (any more).
    #[error(
        "its program was declared through the API, and general_settings.mcp_stdio does not allow that: set it to admin, or declare the server in the configuration file"
    )]
    NotAllowed,
    /// The server says no program.
    #[error("there is no `command`")]
    NoCommand,
    /// The folder to start in is not there.
    #[error("cwd {} is not a folder that can be entered", folder.display())]
    Cwd {
        /// The folder.
        folder: PathBuf,
    },
    /// The sandbox could not be set up, so nothing was started.
    #[error("the sandbox could not be set up: {0}")]
    Sandbox(String),
    /// The operating system refused.
    #[error("{what}: {error}")]
    Io {
        /// What was done.
        what: &'static str,
        /// What it said.
        error: std::io::Error,
    },
}

impl LaunchError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io { what, error }
    }
}

/// What to say besides: where it was looked for, and what is probably meant.
fn not_found(command: &str, path: &str) -> String {
    if command.trim().contains(char::is_whitespace) && !std::path::Path::new(command).exists() {
        let first = command.split_whitespace().next().unwrap_or_default();
        return format!(
            " (arguments belong into `args`, one each: there is no shell; the command is {first:?})"
        );
    }
    if path.is_empty() {
        return String::new();
    }
    format!(" (looked for in PATH {path}; install it where the gateway runs, or give its full path)")
}

/// Runs the watcher or the confined step if this process was started as one of them. To be called first in `main`, before
/// arguments are parsed and before there are threads.
pub fn main_if_helper() -> Option<ExitCode> {
    #[cfg(target_os = "linux")]
    {
        let mut arguments = std::env::args_os().skip(1);
        let role = arguments.next()?;
        match role.to_str()? {
            order::WATCH => Some(watch::main()),
            order::CONFINE => Some(confine::main(arguments)),
            order::PROBE => Some(confine::probe(arguments)),
            _ => None,
        }
    }
    #[cfg(not(target_os = "linux"))]
    None
}
