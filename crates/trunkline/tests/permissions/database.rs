//! The database of a gateway, looked into and changed as somebody with the database's own tools would.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use trunkline_testkit::{GatewayBuilder, TestGateway, tools};

/// An SQLite file.
pub(crate) struct Database {
    folder: TempDir,
    python: PathBuf,
}

const SQL: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10)
if sys.argv[2] == '.dump':
    print('\\n'.join(connection.iterdump()))
else:
    for row in connection.execute(sys.argv[2]).fetchall():
        print('|'.join('' if value is None else str(value) for value in row))
    connection.commit()
";

/// What a request may write without anybody's right to change anything: what was asked, who was refused, how often that was, and
/// that a replica is alive.
const WRITTEN_ANYWAY: [&str; 7] = [
    r#"INSERT INTO "call_record""#,
    // Sums of the same, and which of them are in.
    r#"INSERT INTO "spend_daily""#,
    r#"INSERT INTO "spend_batch""#,
    r#"INSERT INTO "audit_log""#,
    // How many rows that has.
    r#"INSERT INTO "registry_revision" VALUES(4,"#,
    r#"INSERT INTO "sqlite_sequence""#,
    r#"INSERT INTO "replica""#,
];

impl Database {
    /// `None` when there is no Python to look into it with (never with `CI=true`).
    pub(crate) fn create() -> Option<Self> {
        let python = tools::python("backend")?;
        let folder = tempfile::tempdir().unwrap();
        Some(Self { folder, python })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("trunkline.db")
    }

    /// A gateway on it.
    pub(crate) fn gateway(&self) -> GatewayBuilder {
        TestGateway::builder().database_url(&format!("sqlite://{}", self.file().display()))
    }

    /// Runs a statement: rows as lines, columns separated by `|`.
    pub(crate) fn sql(&self, statement: &str) -> String {
        let mut command = Command::new(&self.python);
        let output = command
            .args(["-c", SQL])
            .arg(self.file())
            .arg(statement)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statement}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Every row of every table, as statements.
    pub(crate) fn rows(&self) -> BTreeSet<String> {
        let all = self.sql(".dump");
        let is_kept = |line: &&str| {
            line.starts_with("INSERT INTO") && !WRITTEN_ANYWAY.iter().any(|begin| line.starts_with(begin))
        };
        all.lines().filter(is_kept).map(str::to_owned).collect()
    }

    /// Checks that every row is as it was.
    pub(crate) fn is_still(&self, before: &BTreeSet<String>) {
        let now = self.rows();
        let (gone, new): (Vec<_>, Vec<_>) = (
            before.difference(&now).collect(),
            now.difference(before).collect(),
        );
        assert!(
            gone.is_empty() && new.is_empty(),
            "gone: {gone:#?}\nnew: {new:#?}"
        );
    }
}
