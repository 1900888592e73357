//! One gateway a SQLite database. Two would both write into it, and each count limits and budgets for itself.
//!
//! The lock is advisory and the operating system's, on a file beside the database: it is gone with the process that holds it,
//! however that ends. What is in the file is for people: who holds it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::settings::{Settings, private_folder};

/// Held until it is dropped.
pub(super) struct DatabaseLock {
    file: File,
    /// The holder, in the words of whoever is refused for it.
    who: &'static str,
}

impl DatabaseLock {
    /// Locks the database of these settings. `None` where there is nothing to lock: PostgreSQL is for many.
    ///
    /// The database of a data directory has one gateway. Processes that were each told by name of the same file, or that a client
    /// started for itself (`embedded`), are let: they see each other's changes; a warning says what they do not share.
    pub(super) fn take(settings: &Settings, embedded: bool) -> anyhow::Result<Option<Self>> {
        let Some(database) = trunkline_store::sqlite_file(&settings.database_url) else {
            return Ok(None);
        };
        // By whichever link it is reached.
        let database = std::fs::canonicalize(&database).unwrap_or(database);
        let mut path = OsString::from(&database);
        path.push(LOCK_SUFFIX);
        let path = PathBuf::from(path);
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) => {
                // Opening the database says why nothing can be written there.
                tracing::warn!(file = %path.display(), %error, "the lock of the database cannot be opened: another gateway on it would not be noticed");
                return Ok(None);
            }
        };
        match file.try_lock() {
            Ok(()) => {
                let who = if embedded {
                    "`trunkline stdio --config`, process"
                } else {
                    "process"
                };
                Ok(Some(Self { file, who }))
            }
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&path);
                let database = database.display();
                if settings.is_own_database() && !embedded {
                    bail!(
                        "another gateway has the database {database} open: {holder}. SQLite is for one gateway at a time\n  to do: stop that one, or give this one a data directory of its own (--data-dir DIR); several replicas share a PostgreSQL database (DATABASE_URL=postgresql://…)"
                    );
                }
                tracing::warn!(%database, %holder, "another gateway has this SQLite database open: limits and budgets are counted by each for itself; several replicas share a PostgreSQL database");
                Ok(None)
            }
            Err(TryLockError::Error(error)) => {
                tracing::warn!(file = %path.display(), %error, "files cannot be locked there: another gateway on this database would not be noticed");
                Ok(None)
            }
        }
    }

    /// Tells who holds it.
    pub(super) fn tell(&mut self, url: &str) {
        let text = format!("{} {}, {url}\n", self.who, std::process::id());
        let told = self
            .file
            .set_len(0)
            .and_then(|()| self.file.write_all(text.as_bytes()));
        if let Err(error) = told {
            tracing::debug!(%error, "who holds the lock of the database could not be written down");
        }
    }
}

/// What the name of the lock ends with.
pub(crate) const LOCK_SUFFIX: &str = ".lock";

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What the holder wrote, on one line; it may be about to.
fn holder(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => line.chars().take(200).collect(),
        _ => "one that is just starting".to_owned(),
    }
}
