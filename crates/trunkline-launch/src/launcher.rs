//! What starts programs: one for a gateway.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use trunkline_model::{Isolation, Origin, Sandbox, Server};

use crate::{LaunchError, Program, Running};

/// What a [`Launcher`] needs to know of its gateway.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary that calls [`crate::main_if_helper`]; [`Setup::new`] takes this process's own.
    pub executable: PathBuf,
    /// Where programs have their private folders (`programs/<name>`): the gateway's data directory.
    pub state_dir: PathBuf,
    /// What no program may read, whatever is allowed around it: the configuration file, the data directory.
    pub hidden: Vec<PathBuf>,
    /// Whether programs that were declared through the API are started (`general_settings.mcp_stdio: admin`).
    pub from_api: bool,
    /// Ports that the gateway listens on: never connected to, but with `ports: any`.
    pub own_ports: Vec<u16>,
}

impl Setup {
    /// For this process's own binary.
    pub fn new(state_dir: PathBuf) -> Self {
        Self {
            // Also when the file was replaced meanwhile.
            executable: PathBuf::from("/proc/self/exe"),
            hidden: vec![state_dir.clone()],
            state_dir,
            own_ports: Vec::new(),
            from_api: false,
        }
    }
}

/// Starts programs.
#[derive(Debug)]
pub struct Launcher {
    pub(crate) setup: Setup,
    /// What this kernel enforces of a sandbox, found once for each.
    known: Mutex<Vec<(Sandbox, Isolation)>>,
}

impl Launcher {
    /// A launcher. Nothing is started or looked at yet.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            known: Mutex::default(),
        }
    }

    /// The program of a stdio server, if it may be started. Whoever starts one asks here: a row of the database is no
    /// right to run programs, even if it was one when it was written. Secrets in `env` are as they were declared.
    pub fn program(&self, server: &Server) -> Result<Program, LaunchError> {
        let definition = &server.definition;
        if server.origin != Origin::File && !self.setup.from_api {
            return Err(LaunchError::NotAllowed);
        }
        Ok(Program {
            command: definition.command.clone().ok_or(LaunchError::NoCommand)?,
            args: definition.args.clone(),
            env: definition.env.clone(),
            cwd: definition.cwd.clone().map(PathBuf::from),
            sandbox: definition.sandbox.clone(),
            name: server.id.as_str().to_owned(),
        })
    }

    /// Starts a program. It runs until it ends, is stopped, or what is returned is dropped. Must be called within a
    /// tokio runtime; the pipes belong to it.
    pub async fn spawn(&self, program: &Program) -> Result<Running, LaunchError> {
        let mut running = self.start(program).await?;
        running.hints = self.hints(program);
        let (name, pid, isolation) = (&program.name, running.pid, running.isolation.summary());
        match (&program.sandbox, running.isolation.degree) {
            (Sandbox::Off, _) => {
                tracing::warn!(
                    server = name,
                    pid,
                    "program started WITHOUT a sandbox: it may do all that this gateway may"
                );
            }
            (_, trunkline_model::Degree::Full) => {
                tracing::info!(server = name, pid, isolation, "program started");
            }
            _ => tracing::warn!(
                server = name,
                pid,
                isolation,
                "program started, confined in part only"
            ),
        }
        for hint in &running.hints {
            tracing::warn!(server = name, "{hint}");
        }
        Ok(running)
    }

    /// What of a sandbox is enforced here, tried out by a process that confines itself. Blocks for some milliseconds the
    /// first time that it is asked about a sandbox.
    pub fn isolation(&self, sandbox: &Sandbox) -> Isolation {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, isolation)) = known().iter().find(|(known, _)| known == sandbox) {
            return isolation.clone();
        }
        let isolation = self.try_out(sandbox);
        let mut known = known();
        // Sandboxes come with changes of the configuration: a bound all the same.
        if known.len() >= 1000 {
            known.clear();
        }
        known.push((sandbox.clone(), isolation.clone()));
        isolation
    }

    /// What probably keeps a program from working, for people: arguments that name what the sandbox hides.
    pub fn hints(&self, program: &Program) -> Vec<String> {
        self.find_hints(program)
    }
}

/// Ports as people write them: `53, 443, 8000-8010`.
#[cfg(target_os = "linux")]
pub(crate) fn ranges(ports: &[u16]) -> String {
    let mut sorted = ports.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in sorted {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    if ranges.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(", ")
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    #[test]
    fn ports_are_shown_as_ranges() {
        assert_eq!(super::ranges(&[443, 53, 8001, 8000, 443]), "53, 443, 8000-8001");
        assert_eq!(super::ranges(&[]), "none");
    }
}
