//! The launcher of programs, and what the binary says about them.

use std::path::PathBuf;

use trunkline_launch::{Launcher, Setup};
use trunkline_model::{Server, Transport};

use crate::cli::Sources;
use crate::settings::Settings;

/// The launcher of a gateway that listens on `own_ports`.
pub(crate) fn launcher(settings: &Settings, sources: &Sources, own_ports: Vec<u16>) -> Launcher {
    let mut setup = Setup::new(settings.data_dir.clone());
    setup.own_ports = own_ports;
    setup.from_api = settings.config.general.stdio_from_api;
    setup.hidden.extend(sources.config.clone());
    let database = settings.database_url.expose();
    if let Some(path) = database.strip_prefix("sqlite:") {
        let path = path
            .trim_start_matches("//")
            .split('?')
            .next()
            .unwrap_or_default();
        let path = PathBuf::from(path);
        // SQLite's own files stand beside it.
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            setup.hidden.push(file.into());
        }
    }
    Launcher::new(setup)
}

/// What to say about a server's program without starting it: what is enforced, and what the sandbox hides from it.
/// Empty for a server that is none.
pub(crate) fn remarks(server: &Server, launcher: &Launcher) -> Vec<String> {
    if server.definition.transport != Transport::Stdio {
        return Vec::new();
    }
    let program = match launcher.program(server) {
        Ok(program) => program,
        Err(error) => return vec![error.to_string()],
    };
    let isolation = launcher.isolation(&program.sandbox).summary();
    let mut remarks = vec![format!("isolation: {isolation}")];
    remarks.extend(launcher.hints(&program));
    remarks
}
