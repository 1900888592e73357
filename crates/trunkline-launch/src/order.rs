//! What is said between the gateway, the watcher and the confined step: lines of JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trunkline_model::{Degree, Isolation};

/// The first argument of a watcher.
pub(crate) const WATCH: &str = "__watch-program";
/// The first argument of a confined step.
pub(crate) const CONFINE: &str = "__confine-program";
/// The first argument of a process that confines itself and says what came of it.
pub(crate) const PROBE: &str = "__probe-sandbox";

/// What a watcher starts. It holds secrets: it goes through the socket and is nowhere else.
#[derive(Deserialize, Serialize)]
pub(crate) struct Order {
    /// The file.
    pub(crate) file: PathBuf,
    /// `argv[0]`.
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    pub(crate) limits: Limits,
    /// `None`: not confined.
    pub(crate) rules: Option<Rules>,
}

/// What a watcher counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Limits {
    /// 0: no limit.
    pub(crate) processes: u32,
    /// MiB of all together; 0: no limit.
    pub(crate) memory_mb: u32,
}

/// What a confined step enforces: a sandbox, with everything found that can be found before.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Rules {
    /// Whether there is a network.
    pub(crate) network: bool,
    /// TCP ports to connect to; `None` for all.
    pub(crate) ports: Option<Vec<u16>>,
    /// What may be read and executed.
    pub(crate) read: Vec<PathBuf>,
    /// Folders whose names may be listed, and no more.
    pub(crate) list: Vec<PathBuf>,
    /// What may be changed too.
    pub(crate) write: Vec<PathBuf>,
    pub(crate) max_processes: u32,
    pub(crate) max_memory_mb: u32,
    pub(crate) max_file_mb: u32,
    pub(crate) max_open_files: u32,
    /// Processes that it may not signal.
    pub(crate) guarded: Vec<u32>,
}

/// From the gateway to the watcher, after the order.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// End the family: `SIGTERM`, and `SIGKILL` after so many milliseconds.
    Stop { grace_ms: u64 },
}

/// From the watcher to the gateway, and the first three from the confined step to the watcher.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// What is enforced; `exec` follows.
    Confined(Enforced),
    /// The sandbox cannot be set up.
    Refused(String),
    /// `exec` failed: the error's number.
    NotExecuted(i32),
    /// The program runs.
    Started { pid: u32, enforced: Enforced },
    /// The watcher cannot do its work.
    Failed(String),
    /// The family is over.
    Ended {
        code: Option<i32>,
        signal: Option<i32>,
        cause: Why,
    },
}

/// Why a family is over.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The program ended.
    Itself,
    /// It was told to.
    Stopped,
    /// More processes than this.
    Processes(u32),
    /// More threads than this.
    Threads(u32),
    /// More memory than this, MiB.
    Memory(u32),
}

/// [`Isolation`] on this wire.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Enforced {
    pub(crate) degree: String,
    pub(crate) done: Vec<String>,
    pub(crate) missing: Vec<String>,
}

impl From<Enforced> for Isolation {
    fn from(wire: Enforced) -> Self {
        Self {
            // What is not understood is not taken for protection.
            degree: Degree::parse(&wire.degree).unwrap_or(Degree::None),
            enforced: wire.done,
            missing: wire.missing,
        }
    }
}

/// A line of what is said.
pub(crate) fn line(said: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(said).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The environment as text: names and values that are no UTF-8 are left out, which nobody declares.
pub(crate) fn texts(env: BTreeMap<std::ffi::OsString, std::ffi::OsString>) -> Vec<(String, String)> {
    env.into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
