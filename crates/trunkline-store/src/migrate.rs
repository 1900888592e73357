//! Bringing a database to this binary's schema.
//!
//! Every migration runs in a transaction of its own, together with the row that says it ran, under a lock that ends with
//! the transaction: a process that is killed leaves either all of a migration or nothing, and no lock. A database that
//! a newer binary migrated is fine: migrations only add, so two versions can share one database while an upgrade rolls. Unless what
//! is added protects something: a version that does not know it would serve without, and does not start (ADR 0038).
//!
//! One more: `migrations/{sqlite,postgres}/NNNN_name.sql` with the next number, and a line in [`MigrationSet::embedded`]. A column or
//! table that somebody relies on to be refused something is in a step of its own whose name begins with `guard_`.
//! A statement ends with a line that ends in `;`. Columns are nullable or have a default; nothing is dropped or renamed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _};

use crate::db::{Db, StoreError, Tx, stmts};
use crate::schema::Dialect;
use crate::store::Store;

/// What the names of steps begin with that older versions must know to serve.
const GUARD: &str = "guard_";
/// How long to wait for another process that is migrating.
const LOCK_TIMEOUT: Duration = Duration::from_mins(1);

stmts! {
    /// The one table that is not made by a migration.
    CREATE_MIGRATION_TABLE = "CREATE TABLE IF NOT EXISTS trunkline_migration (version BIGINT PRIMARY KEY NOT NULL, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";
    MIGRATION_TABLE_EXISTS = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'trunkline_migration'",
        postgres: "SELECT 'trunkline_migration' AS name WHERE to_regclass('trunkline_migration') IS NOT NULL";
    /// `PostgreSQL`: the number is arbitrary, and the same in every version. SQLite has its lock already, but has to look at
    /// its tables once: what it remembers of them may be older than the lock, and `ALTER TABLE` would trust it.
    MIGRATION_LOCK = "SELECT CAST(count(*) > 0 AS INTEGER) AS locked FROM sqlite_master",
        postgres: "SELECT 1 AS locked FROM pg_advisory_xact_lock(7236837461720001)";
    MIGRATION_LOCK_TIMEOUT = "SELECT '' AS timeout", postgres: "SELECT set_config('lock_timeout', '60s', true) AS timeout";
}

/// Statements that need the table above.
pub(crate) mod applied {
    crate::db::stmts! {
        MIGRATION_LIST = "SELECT version, name, applied_at FROM trunkline_migration ORDER BY version";
        MIGRATION_INSERT = "INSERT INTO trunkline_migration (version, name, applied_at) VALUES ($1, $2, $3)";
    }
}

/// One step of the schema.
#[derive(Clone, Debug)]
pub struct Migration {
    /// Its number. Steps are applied in this order.
    pub version: i64,
    /// What it is for.
    pub name: Cow<'static, str>,
    /// Its statements for SQLite.
    pub sqlite: Cow<'static, str>,
    /// Its statements for `PostgreSQL`.
    pub postgres: Cow<'static, str>,
}

impl Migration {
    /// `0001_registry`.
    pub fn label(&self) -> String {
        label(self.version, &self.name)
    }
}

pub(crate) fn label(version: i64, name: &str) -> String {
    format!("{version:04}_{name}")
}

/// The steps that a binary knows.
#[derive(Clone, Debug)]
pub struct MigrationSet(Vec<Migration>);

impl MigrationSet {
    /// The steps of this binary.
    pub fn embedded() -> Self {
        macro_rules! step {
            ($version:literal, $name:literal) => {
                step!("000", $version, $name)
            };
            ($zeros:literal, $version:literal, $name:literal) => {
                Migration {
                    version: $version,
                    name: Cow::Borrowed($name),
                    sqlite: Cow::Borrowed(include_str!(concat!(
                        "../migrations/sqlite/",
                        $zeros,
                        $version,
                        "_",
                        $name,
                        ".sql"
                    ))),
                    postgres: Cow::Borrowed(include_str!(concat!(
                        "../migrations/postgres/",
                        $zeros,
                        $version,
                        "_",
                        $name,
                        ".sql"
                    ))),
                }
            };
        }
        Self(vec![
            step!(1, "registry"),
            step!(2, "records"),
            step!(3, "catalogue_capabilities"),
            step!(4, "schema_compat"),
            step!(5, "sessions"),
            step!(6, "replica"),
            step!(7, "programs"),
            step!(8, "openapi"),
            step!(9, "tls"),
            step!("00", 10, "keys"),
            step!("00", 11, "tenants"),
            step!("00", 12, "toolsets_and_limits"),
            step!("00", 13, "audit"),
            step!("00", 14, "rules"),
            step!("00", 15, "approvals"),
            step!("00", 16, "budgets"),
            step!("00", 17, "limits"),
            step!("00", 18, "delegation"),
            step!("00", 19, "ledger"),
            step!("00", 20, "ledger_moves"),
            step!("00", 21, "models"),
            step!("00", 22, "token_limits"),
            step!("00", 23, "model_budgets"),
        ])
    }

    /// What an older binary knows: the steps up to and including `version`.
    #[must_use]
    pub fn up_to(mut self, version: i64) -> Self {
        self.0.retain(|step| step.version <= version);
        self
    }

    /// What a newer binary knows.
    #[must_use]
    pub fn with(mut self, step: Migration) -> Self {
        self.0.push(step);
        self.0.sort_by_key(|step| step.version);
        self
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Migration] {
        &self.0
    }
}

/// What [`Store::migrate`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrateReport {
    /// Labels of the steps that were applied now.
    pub applied: Vec<String>,
    /// How many were applied before.
    pub already_applied: usize,
    /// Labels of applied steps that this binary does not know: a newer one was here.
    pub unknown: Vec<String>,
    /// Sentences for people, to be logged.
    pub notices: Vec<String>,
}

/// Why the schema could not be brought up to date. Nothing of the step that failed is left behind.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A statement failed.
    #[error(
        "migration {migration} failed at the statement {statement:?}; the schema is as it was before this migration"
    )]
    Statement {
        /// Label of the step.
        migration: String,
        /// Its text, shortened.
        statement: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// A newer version protects something in a way that this one does not know. Nothing was changed.
    #[error(
        "a newer version of this program made the database ({migration}), and keeps something from somebody there in a way that this version \
         does not know: it would be let through. Start the newer version, or restore a backup from before it"
    )]
    Guarded {
        /// Label of the first such step.
        migration: String,
    },
    /// Another process is migrating, and did not end in time.
    #[error("migration {migration} could not start: the migration lock was not free for {} s", LOCK_TIMEOUT.as_secs())]
    Locked {
        /// Label of the step.
        migration: String,
        /// What the driver said.
        #[source]
        source: StoreError,
    },
    /// The database could not be asked.
    #[error("the applied migrations cannot be read or written")]
    Store(#[from] StoreError),
}

impl Store {
    /// Applies the steps of this binary that are missing. Safe to call from many processes at once.
    pub async fn migrate(&self) -> Result<MigrateReport, MigrateError> {
        self.migrate_set(&MigrationSet::embedded()).await
    }

    /// As [`Store::migrate`], with other steps: those of an older or newer version.
    pub async fn migrate_set(&self, set: &MigrationSet) -> Result<MigrateReport, MigrateError> {
        let before = self.applied_migrations().await?;
        check_guards(set, &before)?;
        let mut report = MigrateReport::default();
        for step in set.steps() {
            // Without a lock first: at most starts there is nothing to do, and nobody to wait for.
            if before.contains_key(&step.version) || !self.apply(step).await? {
                report.already_applied += 1;
            } else {
                report.applied.push(step.label());
            }
        }
        report_strangers(set, &before, &mut report);
        Ok(report)
    }

    /// Version to (name, time in microseconds) of what was applied. Empty for a database that was never migrated.
    pub(crate) async fn applied_migrations(&self) -> Result<BTreeMap<i64, (String, i64)>, StoreError> {
        if self
            .db()
            .fetch_first(&MIGRATION_TABLE_EXISTS, vec![])
            .await?
            .is_none()
        {
            return Ok(BTreeMap::new());
        }
        let rows = self.db().fetch_all(&applied::MIGRATION_LIST, vec![]).await?;
        rows.iter()
            .map(|row| {
                Ok((
                    row.required_int("version")?,
                    (row.required_text("name")?, row.required_int("applied_at")?),
                ))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(StoreError::database(applied::MIGRATION_LIST.name))
    }

    /// Applies one step; `false` if another process was faster.
    async fn apply(&self, step: &Migration) -> Result<bool, MigrateError> {
        let locked = |source| MigrateError::Locked {
            migration: step.label(),
            source,
        };
        let mut tx = begin_locked(self.db()).await.map_err(locked)?;
        tx.execute(&CREATE_MIGRATION_TABLE, vec![]).await?;
        let rows = tx.fetch_all(&applied::MIGRATION_LIST, vec![]).await?;
        if rows
            .iter()
            .any(|row| row.int("version").ok().flatten() == Some(step.version))
        {
            return Ok(false);
        }
        let text = match &tx {
            Tx::Sqlite(_) => &step.sqlite,
            Tx::Postgres(_) => &step.postgres,
        };
        for statement in statements(text) {
            tx.run_ddl(&statement)
                .await
                .map_err(|source| MigrateError::Statement {
                    migration: step.label(),
                    statement: shorten(&statement),
                    source,
                })?;
        }
        let record = vec![
            step.version.into(),
            step.name.as_ref().into(),
            self.now().as_microsecond().into(),
        ];
        tx.execute(&applied::MIGRATION_INSERT, record).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Refuses what a newer version guards and this one does not.
fn check_guards(set: &MigrationSet, applied: &BTreeMap<i64, (String, i64)>) -> Result<(), MigrateError> {
    let is_known = |version: &i64| set.steps().iter().any(|step| step.version == *version);
    let guard = applied
        .iter()
        .find(|(version, (name, _))| name.starts_with(GUARD) && !is_known(version));
    match guard {
        Some((version, (name, _))) => Err(MigrateError::Guarded {
            migration: label(*version, name),
        }),
        None => Ok(()),
    }
}

/// Says what was applied that this binary does not know, or knows under another name.
fn report_strangers(set: &MigrationSet, applied: &BTreeMap<i64, (String, i64)>, report: &mut MigrateReport) {
    for (version, (name, _)) in applied {
        let known = set.steps().iter().find(|step| step.version == *version);
        if known.is_none_or(|step| step.name != *name) {
            report.unknown.push(label(*version, name));
        }
    }
    if !report.unknown.is_empty() {
        report.notices.push(format!(
            "the database was migrated by another version of this program ({}); that is fine as long as every column \
             this version reads is there, which is checked next",
            report.unknown.join(", ")
        ));
    }
}

/// Begins a transaction that no other migration or repair runs beside.
pub(crate) async fn begin_locked(db: &Db) -> Result<Tx, StoreError> {
    let deadline = tokio::time::Instant::now() + LOCK_TIMEOUT;
    loop {
        match lock_once(db).await {
            // SQLite gives up after its busy timeout; a long migration of another process is worth more patience.
            Err(StoreError::Database { source, .. })
                if is_busy(&source) && tokio::time::Instant::now() < deadline => {}
            done => return done,
        }
    }
}

async fn lock_once(db: &Db) -> Result<Tx, StoreError> {
    let mut tx = db.begin().await?;
    tx.fetch_all(&MIGRATION_LOCK_TIMEOUT, vec![]).await?;
    tx.lock().await?;
    Ok(tx)
}

pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        // SQLITE_BUSY and its extended codes.
        .is_some_and(|code| code.parse::<i64>().is_ok_and(|code| code & 0xff == 5))
}

impl Tx {
    /// Waits for the migration lock longer than an ordinary statement may take.
    async fn lock(&mut self) -> Result<(), StoreError> {
        let Self::Postgres(tx) = self else {
            return self.fetch_all(&MIGRATION_LOCK, vec![]).await.map(drop);
        };
        let patience = LOCK_TIMEOUT + Duration::from_secs(5);
        tokio::time::timeout(patience, tx.execute(MIGRATION_LOCK.postgres))
            .await
            .map_err(|_| StoreError::Timeout {
                statement: MIGRATION_LOCK.name,
            })?
            .map(drop)
            .map_err(StoreError::database(MIGRATION_LOCK.name))
    }

    /// Runs a statement that this crate wrote, but not as a `&'static str`: a piece of a migration file, or a repair made
    /// of names in `schema.rs`. Never data. Not bounded in time: altering a big table takes as long as it takes.
    pub(crate) async fn run_ddl(&mut self, statement: &str) -> Result<u64, sqlx::Error> {
        let statement = AssertSqlSafe(statement.to_owned());
        match self {
            Self::Sqlite(tx) => tx
                .execute(sqlx::raw_sql(statement))
                .await
                .map(|done| done.rows_affected()),
            Self::Postgres(tx) => tx
                .execute(sqlx::raw_sql(statement))
                .await
                .map(|done| done.rows_affected()),
        }
    }
}

/// Cuts a migration file into statements: one ends with a line that ends in `;`. Comment lines are left out.
fn statements(text: &str) -> Vec<String> {
    let (mut all, mut current) = (Vec::new(), String::new());
    for line in text.lines() {
        if line.trim_start().starts_with("--") {
            continue;
        }
        current.push_str(line);
        current.push('\n');
        if line.trim_end().ends_with(';') {
            all.push(std::mem::take(&mut current).trim().to_owned());
        }
    }
    if !current.trim().is_empty() {
        all.push(current.trim().to_owned());
    }
    all
}

/// What makes a trigger, from the migration that has it.
pub(crate) fn trigger_statements(dialect: Dialect, trigger: &str) -> Vec<String> {
    let set = MigrationSet::embedded();
    let texts = set.0.iter().map(|step| match dialect {
        Dialect::Sqlite => &step.sqlite,
        Dialect::Postgres => &step.postgres,
    });
    let makes = |statement: &String| {
        statement.starts_with(&format!("CREATE TRIGGER {trigger} "))
            // What it runs, there: made again, it is the same.
            || statement.starts_with("CREATE OR REPLACE FUNCTION")
    };
    texts
        .filter(|text| text.contains(trigger))
        .flat_map(|text| statements(text))
        .filter(makes)
        .collect()
}

/// One line of at most 200 characters.
fn shorten(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_line_ends() {
        let text = "-- why\nCREATE TABLE a (\n  b TEXT DEFAULT ';'\n);\n\nINSERT INTO a VALUES ('x');\nDELETE FROM a";
        assert_eq!(
            statements(text),
            [
                "CREATE TABLE a (\n  b TEXT DEFAULT ';'\n);",
                "INSERT INTO a VALUES ('x');",
                "DELETE FROM a"
            ]
        );
        assert_eq!(shorten("CREATE\n  TABLE a"), "CREATE TABLE a");
        assert_eq!(shorten(&"é".repeat(300)).chars().count(), 201);
    }

    #[test]
    fn every_file_is_embedded_for_both_databases() {
        let labels: Vec<_> = MigrationSet::embedded()
            .steps()
            .iter()
            .map(Migration::label)
            .collect();
        for folder in ["sqlite", "postgres"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("migrations")
                .join(folder);
            let mut files: Vec<_> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            let wanted: Vec<_> = labels.iter().map(|label| format!("{label}.sql")).collect();
            assert_eq!(files, wanted, "{folder}");
        }
        let versions: Vec<_> = MigrationSet::embedded()
            .steps()
            .iter()
            .map(|step| step.version)
            .collect();
        assert!(
            versions.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{versions:?}"
        );
    }
}
