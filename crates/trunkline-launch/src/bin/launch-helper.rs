//! The gateway's part in starting programs, without a gateway, for the tests of this crate.
//!
//! `launch-helper hold STATE COMMAND ARGUMENT…` starts the program without a sandbox's counting being in the way, says its pid on
//! standard output, and holds it until it is killed itself.

use std::io::Write as _;
use std::process::ExitCode;

use trunkline_launch::{Launcher, Program, Setup};
use trunkline_model::Sandbox;

fn main() -> ExitCode {
    if let Some(code) = trunkline_launch::main_if_helper() {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    let (Some("hold"), Some(state), Some(command)) =
        (arguments.next().as_deref(), arguments.next(), arguments.next())
    else {
        return ExitCode::FAILURE;
    };
    let program = Program {
        command,
        args: arguments.collect(),
        env: std::collections::BTreeMap::new(),
        cwd: None,
        sandbox: Sandbox::default(),
        name: "held".to_owned(),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let launcher = Launcher::new(Setup::new(state.into()));
        match launcher.spawn(&program).await {
            Ok(mut running) => {
                let _ = writeln!(std::io::stdout(), "{}", running.pid);
                running.wait().await;
                ExitCode::SUCCESS
            }
            Err(error) => {
                let _ = writeln!(std::io::stdout(), "{error}");
                ExitCode::FAILURE
            }
        }
    })
}
