//! The launcher of programs, and what the binary says about them.

use trunkline_launch::{Launcher, Setup};
use trunkline_model::{Server, Transport};

use crate::cli::Sources;
use crate::serve::LOCK_SUFFIX;
use crate::settings::Settings;

/// The launcher of a gateway that listens on `own_ports`.
pub(crate) fn launcher(settings: &Settings, sources: &Sources, own_ports: Vec<u16>) -> Launcher {
    let mut setup = Setup::new(settings.data_dir.clone());
    setup.own_ports = own_ports;
    setup.from_api = settings.config.general.stdio_from_api;
    setup.hidden.extend(sources.config.clone());
    if let Some(database) = trunkline_store::sqlite_file(&settings.database_url) {
        // SQLite's own files stand beside it, and the lock.
        for suffix in ["", "-wal", "-shm", "-journal", LOCK_SUFFIX] {
            let mut file = database.clone().into_os_string();
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
