//! `trunkline db repair`: adds what the live schema lacks, drops nothing, and says what it did and what it could not do.

use serde_json::Map;

use crate::audit::entry::{self, Entry};
use crate::audit::{Actor, append};
use crate::db::{StoreError, Tx};
use crate::migrate::{MigrateError, begin_locked, trigger_statements};
use crate::schema::{Column, TABLES, Table};
use crate::store::Store;
use crate::verify::Drift;

/// Columns that hold something back. When one was lost, what it said is lost, too, and the default lets more through.
const RESTRICTIONS: [&str; 7] = [
    "allowed_tools",
    "disallowed_tools",
    "allowed_params",
    "available_on_public_internet",
    "tool_arguments",
    "tool_conditions",
    "tool_approval",
];

/// What [`Store::repair`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Sentences about what was added.
    pub done: Vec<String>,
    /// What somebody should look at now.
    pub warnings: Vec<String>,
    /// What is still wrong, because mending it would change or drop something.
    pub unresolved: Vec<Drift>,
}

/// Why a repair failed. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The migrations have to be applied first, and that failed.
    #[error("the migrations could not be applied before the repair")]
    Migrate(#[from] MigrateError),
    /// A statement of the repair failed.
    #[error("the repair failed at the statement {statement:?}; nothing was changed")]
    Statement {
        /// Its text.
        statement: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// The database could not be asked.
    #[error("the database could not be asked")]
    Store(#[from] StoreError),
}

impl Store {
    /// Migrates, then adds the tables, columns, keys and indexes that are missing. Safe to run at any time, also beside a
    /// gateway that serves.
    pub async fn repair(&self) -> Result<RepairReport, RepairError> {
        let mut report = RepairReport::default();
        for step in self.migrate().await?.applied {
            report.done.push(format!("applied migration {step}"));
        }
        let mut repair = Repair {
            store: self,
            tx: None,
            report,
        };
        for difference in self.differences().await? {
            repair.mend(difference).await?;
        }
        for table in TABLES {
            repair.add_indexes(table).await?;
        }
        let Repair { tx, report, .. } = repair;
        if let Some(mut tx) = tx {
            let said = [("done", &report.done), ("warnings", &report.warnings)];
            let said = said.map(|(name, lines)| (name.to_owned(), lines.clone().into()));
            let entry = Entry::of_values(entry::SCHEMA, "", Map::from_iter(said));
            let by = Actor::process("trunkline db repair");
            append(&mut tx, self, &by, vec![entry]).await?;
            tx.commit().await?;
        }
        Ok(report)
    }
}

struct Repair<'a> {
    store: &'a Store,
    /// Begun with the first statement, so that a repair of a sound database takes no lock.
    tx: Option<Tx>,
    report: RepairReport,
}

impl Repair<'_> {
    async fn mend(&mut self, difference: Drift) -> Result<(), RepairError> {
        match difference {
            Drift::MissingTable { table } => {
                let Some(table) = find(table) else { return Ok(()) };
                self.run(table.ddl(self.store.dialect())).await?;
                self.report.done.push(format!("added table {}", table.name));
            }
            Drift::MissingColumn { table, column } => {
                let found = find(table).and_then(|table| table.columns.iter().find(|own| own.name == column));
                match found {
                    // A key cannot be added to rows that have lost theirs.
                    Some(own) if !own.key => self.add_column(table, own).await?,
                    _ => self
                        .report
                        .unresolved
                        .push(Drift::MissingColumn { table, column }),
                }
            }
            Drift::MissingKey { table } => {
                let key = find(table).map(Table::key).unwrap_or_default().join(", ");
                self.run(format!("CREATE UNIQUE INDEX {table}_key ON {table} ({key})"))
                    .await?;
                self.report
                    .done
                    .push(format!("added a unique index on {table} ({key})"));
            }
            Drift::MissingTrigger { table, trigger } => {
                for statement in trigger_statements(self.store.dialect(), trigger) {
                    self.run(statement).await?;
                }
                self.report
                    .done
                    .push(format!("added trigger {trigger} on {table}"));
            }
            other => self.report.unresolved.push(other),
        }
        Ok(())
    }

    async fn add_column(&mut self, table: &'static str, column: &'static Column) -> Result<(), RepairError> {
        let submissions_known = self
            .store
            .live_table(table)
            .await?
            .columns
            .contains_key("submitted_at");
        let ddl = column.ddl(self.store.dialect());
        self.run(format!("ALTER TABLE {table} ADD COLUMN {ddl}")).await?;
        self.report
            .done
            .push(format!("added column {table}.{}", column.name));
        if (table, column.name) == ("mcp_server", "approval_status") {
            self.withhold(submissions_known).await?;
        }
        if table == "mcp_server" && RESTRICTIONS.contains(&column.name) {
            self.report.warnings.push(format!(
                "mcp_server.{} is at its default ({}) for every server: set it again where it restricted something",
                column.name,
                column.default.unwrap_or("NULL, all")
            ));
        }
        Ok(())
    }

    /// Who was approved is lost. A submission must not begin to serve because of that; what was never submitted was made
    /// by an administrator.
    async fn withhold(&mut self, submissions_known: bool) -> Result<(), RepairError> {
        let mut statement = "UPDATE mcp_server SET approval_status = 'pending_review'".to_owned();
        if submissions_known {
            statement.push_str(" WHERE submitted_at IS NOT NULL");
        }
        let changed = self.run(statement).await?;
        if changed > 0 {
            self.report.warnings.push(format!(
                "{changed} server(s) now wait for review, because it is lost whether they were approved: approve them again"
            ));
        }
        Ok(())
    }

    async fn add_indexes(&mut self, table: &'static Table) -> Result<(), RepairError> {
        let live = self.store.live_table(table.name).await?;
        for column in table.indexed {
            let name = format!("{}_{column}", table.name);
            if live.indexes.contains_key(&name) {
                continue;
            }
            self.run(format!("CREATE INDEX {name} ON {} ({column})", table.name))
                .await?;
            self.report.done.push(format!("added index {name}"));
        }
        Ok(())
    }

    /// The statement is made of names and literals of `schema.rs`, never of data.
    async fn run(&mut self, statement: String) -> Result<u64, RepairError> {
        let tx = match &mut self.tx {
            Some(tx) => tx,
            None => self.tx.insert(begin_locked(self.store.db()).await?),
        };
        tx.run_ddl(&statement)
            .await
            .map_err(|source| RepairError::Statement { statement, source })
    }
}

fn find(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}
