//! `trunkline db status`: what is there, without changing it.

use jiff::Timestamp;

use crate::catalogue::timestamp;
use crate::db::{Stmt, StoreError, stmts};
use crate::migrate::{MigrationSet, label};
use crate::store::Store;
use crate::verify::SchemaDrift;

stmts! {
    COUNT_SERVERS = "SELECT count(*) AS rows FROM mcp_server";
    COUNT_CATALOGUES = "SELECT count(*) AS rows FROM mcp_catalogue";
    COUNT_RECORDS = "SELECT count(*) AS rows FROM call_record";
    COUNT_SESSIONS = "SELECT count(*) AS rows FROM session_ended";
    COUNT_UPSTREAM_SESSIONS = "SELECT count(*) AS rows FROM session_upstream";
    COUNT_SESSION_STATES = "SELECT count(*) AS rows FROM session_state";
}

/// The state of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbStatus {
    /// `sqlite` or `postgres`.
    pub backend: &'static str,
    /// A path, or `host:port/database`; without secrets.
    pub location: String,
    /// Applied steps that this binary knows.
    pub applied: Vec<AppliedMigration>,
    /// Labels of the steps that [`Store::migrate`] would apply.
    pub pending: Vec<String>,
    /// Applied steps that this binary does not know.
    pub unknown: Vec<AppliedMigration>,
    /// What [`Store::verify`] finds.
    pub drift: Option<SchemaDrift>,
    /// Table and number of rows, of the tables that are there.
    pub rows: Vec<(&'static str, u64)>,
}

/// A step that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedMigration {
    /// `0001_registry`.
    pub label: String,
    /// When.
    pub applied_at: Timestamp,
}

impl Store {
    /// Looks at the migrations, the schema and the number of rows.
    pub async fn status(&self) -> Result<DbStatus, StoreError> {
        let set = MigrationSet::embedded();
        let live = self.applied_migrations().await?;
        let known = |version: i64, name: &str| {
            set.steps()
                .iter()
                .any(|step| step.version == version && step.name == name)
        };
        let (mut applied, mut unknown) = (Vec::new(), Vec::new());
        for (version, (name, at)) in &live {
            let list = if known(*version, name) {
                &mut applied
            } else {
                &mut unknown
            };
            list.push(AppliedMigration {
                label: label(*version, name),
                applied_at: timestamp(*at),
            });
        }
        let pending = set
            .steps()
            .iter()
            .filter(|step| !live.contains_key(&step.version))
            .map(crate::Migration::label)
            .collect();
        Ok(DbStatus {
            backend: self.backend(),
            location: self.location().to_owned(),
            applied,
            pending,
            unknown,
            drift: self.verify().await.err(),
            rows: self.count_rows().await?,
        })
    }

    async fn count_rows(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let counts: [(&'static str, &'static Stmt); 6] = [
            ("mcp_server", &COUNT_SERVERS),
            ("mcp_catalogue", &COUNT_CATALOGUES),
            ("call_record", &COUNT_RECORDS),
            ("session_ended", &COUNT_SESSIONS),
            ("session_upstream", &COUNT_UPSTREAM_SESSIONS),
            ("session_state", &COUNT_SESSION_STATES),
        ];
        let mut rows = Vec::new();
        for (table, stmt) in counts {
            if self.live_table(table).await?.columns.is_empty() {
                continue;
            }
            let count = self
                .db()
                .fetch_first(stmt, vec![])
                .await?
                .map(|row| row.required_int("rows"))
                .transpose()
                .map_err(StoreError::database(stmt.name))?;
            rows.push((table, count.unwrap_or_default().unsigned_abs()));
        }
        Ok(rows)
    }
}
