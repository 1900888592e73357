//! A PostgreSQL database for one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{Canary, tools};

/// A database of its own. Dropping it drops the database, with whoever is still connected.
///
/// The server is `TRUNKLINE_TEST_POSTGRES` (`make test` sets it), or the one at 127.0.0.1:5432 with the user's own
/// name and no password. It is spoken to with `psql`, so that this crate needs no database client.
#[derive(Debug)]
pub struct ScratchDatabase {
    server: String,
    name: String,
}

impl Drop for ScratchDatabase {
    fn drop(&mut self) {
        // The server may have been stopped by the test: nothing to clean up then.
        let _ = psql(
            &self.server,
            &format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name),
        );
    }
}

impl ScratchDatabase {
    /// A new, empty database; `None` when there is no server or no psql (never with `CI=true`).
    pub fn create() -> Option<Self> {
        let server = std::env::var("TRUNKLINE_TEST_POSTGRES").unwrap_or_else(|_| default_server());
        let random = Canary::new("db");
        let name = format!("trunkline_test_{}", &random.value()[random.value().len() - 16..]);
        let created = psql(&server, &format!("CREATE DATABASE \"{name}\""));
        let created = created
            .filter(|output| output.status.success())
            .map(|_| Self { server, name });
        tools::available(
            "PostgreSQL (TRUNKLINE_TEST_POSTGRES, or 127.0.0.1:5432) and psql",
            created,
        )
    }

    /// `postgres://…/NAME`
    pub fn url(&self) -> String {
        in_database(&self.server, &self.name)
    }

    /// Runs a statement and gives its rows, columns separated by `|`.
    ///
    /// # Panics
    /// When it fails; shows the server's words.
    pub fn sql(&self, statement: &str) -> String {
        let output = psql(&self.url(), statement).expect("psql was there before");
        assert!(
            output.status.success(),
            "{statement}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn default_server() -> String {
    let user = Command::new("id")
        .arg("-un")
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    format!(
        "postgres://{}@127.0.0.1:5432/postgres",
        String::from_utf8_lossy(&user).trim()
    )
}

/// The same server's URL with another database.
fn in_database(server: &str, name: &str) -> String {
    let (address, parameters) = server
        .split_once('?')
        .map_or((server, None), |(head, tail)| (head, Some(tail)));
    let host_end = address
        .rfind('/')
        .filter(|&at| at > "postgres://".len())
        .unwrap_or(address.len());
    let parameters = parameters.map(|tail| format!("?{tail}")).unwrap_or_default();
    format!("{}/{name}{parameters}", &address[..host_end])
}

fn psql(url: &str, statement: &str) -> Option<Output> {
    // Debian keeps the programs of a server package out of PATH.
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let programs = installed
        .map(|version| version.path().join("bin/psql"))
        .filter(|path| Path::is_file(path));
    std::iter::once(PathBuf::from("psql"))
        .chain(programs)
        .find_map(|program| {
            Command::new(program)
                .args([
                    "--no-psqlrc",
                    "--quiet",
                    "--tuples-only",
                    "--no-align",
                    "--set=ON_ERROR_STOP=1",
                    "-c",
                    statement,
                    url,
                ])
                .env("PGCONNECT_TIMEOUT", "5")
                .output()
                .ok()
        })
}

#[cfg(test)]
mod tests {
    use super::in_database;

    #[test]
    fn the_database_is_replaced_in_any_url() {
        assert_eq!(in_database("postgres://u@h:1/a", "b"), "postgres://u@h:1/b");
        assert_eq!(in_database("postgres://u@h:1", "b"), "postgres://u@h:1/b");
        assert_eq!(
            in_database("postgres://u@h:1/a?sslmode=disable", "b"),
            "postgres://u@h:1/b?sslmode=disable"
        );
    }
}
