//! Where there is no sandbox: the program is started as it is, and that is said.

use std::process::Stdio;

use trunkline_model::Isolation;

use crate::running::Control;
use crate::{LaunchError, Launcher, Program, Running, environment, find};

const REASON: &str = "programs are confined on Linux only";

impl Launcher {
    #[expect(clippy::unused_async, reason = "the same on every system")]
    pub(crate) async fn start(&self, program: &Program) -> Result<Running, LaunchError> {
        let file = find::find(&program.command, program.cwd.as_deref())?;
        let mut command = tokio::process::Command::new(file);
        command
            .args(&program.args)
            .env_clear()
            .envs(environment::of(program, None))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        if let Some(folder) = &program.cwd {
            command.current_dir(folder);
        }
        let mut child = command
            .spawn()
            .map_err(LaunchError::io("the program cannot be started"))?;
        let pid = child.id().unwrap_or_default();
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(LaunchError::Sandbox("the program has no pipes".to_owned()));
        };
        Ok(Running {
            stdin,
            stdout,
            stderr,
            pid,
            isolation: Isolation::none(REASON),
            hints: Vec::new(),
            control: Control {
                child,
                stopped: false,
            },
        })
    }

    #[expect(clippy::unused_self, reason = "the same on every system")]
    pub(crate) fn try_out(&self, _sandbox: &trunkline_model::Sandbox) -> Isolation {
        Isolation::none(REASON)
    }

    #[expect(clippy::unused_self, reason = "the same on every system")]
    pub(crate) fn find_hints(&self, _program: &Program) -> Vec<String> {
        Vec::new()
    }
}
