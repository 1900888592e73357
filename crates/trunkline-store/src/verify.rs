//! Whether the live database has what the code reads. Asked after every migration, before anything is served: schema
//! that drifted is found at the start and named, not by the first request that fails.

use std::collections::BTreeMap;
use std::fmt;

use crate::db::{StoreError, stmts};
use crate::schema::{Column, Dialect, TABLES, Table, triggers};
use crate::store::Store;

stmts! {
    LIVE_COLUMNS = "SELECT name AS name, type AS type, \"notnull\" AS required, dflt_value IS NOT NULL AS has_default, \
            pk > 0 AS is_key FROM pragma_table_info($1)",
        postgres: "SELECT CAST(a.attname AS TEXT) AS name, format_type(a.atttypid, NULL) AS type, \
            a.attnotnull AS required, (a.atthasdef OR a.attidentity <> '') AS has_default, \
            EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)) AS is_key \
            FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    LIVE_INDEXES = "SELECT l.name AS name, l.\"unique\" = 1 AND l.partial = 0 AS is_unique, i.name AS column_name \
            FROM pragma_index_list($1) AS l, pragma_index_info(l.name) AS i ORDER BY l.name, i.seqno",
        postgres: "SELECT CAST(c.relname AS TEXT) AS name, i.indisunique AND i.indpred IS NULL AS is_unique, \
            CAST(a.attname AS TEXT) AS column_name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
            WHERE i.indrelid = to_regclass($1) ORDER BY c.relname, a.attnum";
    LIVE_TRIGGERS = "SELECT name AS name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = $1",
        postgres: "SELECT CAST(tgname AS TEXT) AS name FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal AND tgenabled IN ('O', 'A')";
}

/// How the live database differs from what this binary needs. Its text names every table and column, and the command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SchemaDrift {
    /// Every difference, in the order of the schema.
    pub differences: Vec<Drift>,
}

/// One difference. Tables, columns and indexes that this binary does not know are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// A table is not there.
    MissingTable {
        /// Its name.
        table: &'static str,
    },
    /// A column is not there.
    MissingColumn {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// A column holds values of another type.
    WrongType {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What the code reads, in words.
        expected: &'static str,
        /// What the database declares.
        found: String,
    },
    /// A column that may be NULL here is `NOT NULL` there: storing fails.
    NotNullable {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// A column that this binary does not know has to be given a value: storing fails.
    BlocksInsert {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
    },
    /// Nothing keeps the table's key unique: storing fails.
    MissingKey {
        /// The table.
        table: &'static str,
    },
    /// A trigger is not there: rows could be changed that nothing may change.
    MissingTrigger {
        /// The table.
        table: &'static str,
        /// The trigger.
        trigger: &'static str,
    },
    /// The live schema cannot be read: nothing is known about it.
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTable { table } => write!(f, "table {table} is missing"),
            Self::MissingColumn { table, column } => write!(f, "column {table}.{column} is missing"),
            Self::WrongType {
                table,
                column,
                expected,
                found,
            } => write!(f, "column {table}.{column} is {found}, not {expected}"),
            Self::NotNullable { table, column } => {
                write!(f, "column {table}.{column} is NOT NULL, but has to take NULL")
            }
            Self::BlocksInsert { table, column } => write!(
                f,
                "column {table}.{column} is unknown to this version, NOT NULL and without a default, so that no row can be stored"
            ),
            Self::MissingKey { table } => write!(f, "table {table} has lost its primary key"),
            Self::MissingTrigger { table, trigger } => {
                write!(f, "trigger {trigger} of table {table} is missing")
            }
            Self::Unreadable { reason } => write!(f, "the live schema cannot be read: {reason}"),
        }
    }
}

impl fmt::Display for SchemaDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database schema is not what this version needs: ")?;
        for (index, difference) in self.differences.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            difference.fmt(f)?;
        }
        let unreadable = |difference: &Drift| matches!(difference, Drift::Unreadable { .. });
        if !self.differences.iter().any(unreadable) {
            f.write_str(". Run `trunkline db repair`: it adds what is missing and drops nothing")?;
        }
        Ok(())
    }
}

/// A table as it is.
pub(crate) struct LiveTable {
    /// By name.
    pub(crate) columns: BTreeMap<String, LiveColumn>,
    /// By name: whether it keeps its columns unique, and which they are, sorted.
    pub(crate) indexes: BTreeMap<String, (bool, Vec<String>)>,
}

pub(crate) struct LiveColumn {
    pub(crate) kind: String,
    pub(crate) required: bool,
    pub(crate) has_default: bool,
    pub(crate) is_key: bool,
}

impl Store {
    /// Checks that every table and column that this binary reads is in the live database.
    pub async fn verify(&self) -> Result<(), SchemaDrift> {
        let differences = self.differences().await.unwrap_or_else(|error| {
            vec![Drift::Unreadable {
                reason: chain(&error),
            }]
        });
        if differences.is_empty() {
            Ok(())
        } else {
            Err(SchemaDrift { differences })
        }
    }

    pub(crate) async fn differences(&self) -> Result<Vec<Drift>, StoreError> {
        let mut differences = Vec::new();
        for table in TABLES {
            let live = self.live_table(table.name).await?;
            compare(table, &live, self.dialect(), &mut differences);
        }
        for (table, trigger) in triggers(self.dialect()) {
            let rows = self.db().fetch_all(&LIVE_TRIGGERS, vec![(*table).into()]).await?;
            let is_it = |row: &crate::db::Row| row.text("name").ok().flatten().as_deref() == Some(trigger);
            if !rows.iter().any(is_it) {
                differences.push(Drift::MissingTrigger { table, trigger });
            }
        }
        Ok(differences)
    }

    /// A table that is not there has no columns.
    pub(crate) async fn live_table(&self, table: &'static str) -> Result<LiveTable, StoreError> {
        let mut live = LiveTable {
            columns: BTreeMap::new(),
            indexes: BTreeMap::new(),
        };
        let rows = self.db().fetch_all(&LIVE_COLUMNS, vec![table.into()]).await?;
        for row in &rows {
            let read = || {
                let column = LiveColumn {
                    kind: row.required_text("type")?,
                    required: row.bool("required")?.unwrap_or_default(),
                    has_default: row.bool("has_default")?.unwrap_or_default(),
                    is_key: row.bool("is_key")?.unwrap_or_default(),
                };
                Ok((row.required_text("name")?, column))
            };
            let (name, column) = read().map_err(StoreError::database(LIVE_COLUMNS.name))?;
            live.columns.insert(name, column);
        }
        let rows = self.db().fetch_all(&LIVE_INDEXES, vec![table.into()]).await?;
        for row in &rows {
            let read = || {
                let is_unique = row.bool("is_unique")?.unwrap_or_default();
                // An index over an expression has no column.
                let column = row.text("column_name")?.unwrap_or_default();
                Ok((row.required_text("name")?, is_unique, column))
            };
            let (name, is_unique, column) = read().map_err(StoreError::database(LIVE_INDEXES.name))?;
            let entry = live.indexes.entry(name).or_insert((is_unique, Vec::new()));
            entry.1.push(column);
            entry.1.sort();
        }
        Ok(live)
    }
}

fn compare(table: &'static Table, live: &LiveTable, dialect: Dialect, differences: &mut Vec<Drift>) {
    let name = table.name;
    if live.columns.is_empty() {
        differences.push(Drift::MissingTable { table: name });
        return;
    }
    for column in table.columns {
        match live.columns.get(column.name) {
            None => differences.push(Drift::MissingColumn {
                table: name,
                column: column.name,
            }),
            Some(found) => compare_column(name, column, found, dialect, differences),
        }
    }
    for (column, found) in &live.columns {
        let known = table.columns.iter().any(|own| own.name == column);
        if !known && found.required && !found.has_default {
            differences.push(Drift::BlocksInsert {
                table: name,
                column: column.clone(),
            });
        }
    }
    if !has_key(table, live) {
        differences.push(Drift::MissingKey { table: name });
    }
}

fn compare_column(
    table: &'static str,
    column: &'static Column,
    found: &LiveColumn,
    dialect: Dialect,
    differences: &mut Vec<Drift>,
) {
    if !column.kind.accepts(&found.kind, dialect) {
        differences.push(Drift::WrongType {
            table,
            column: column.name,
            expected: column.kind.describe(),
            found: found.kind.clone(),
        });
    }
    if found.required && column.default.is_none() && !column.key {
        differences.push(Drift::NotNullable {
            table,
            column: column.name,
        });
    }
}

/// Whether a primary key or a unique index is over exactly the key's columns. While one of them is missing, that is said
/// already.
fn has_key(table: &Table, live: &LiveTable) -> bool {
    let mut key = table.key();
    key.sort_unstable();
    if key.iter().any(|column| !live.columns.contains_key(*column)) {
        return true;
    }
    let primary: Vec<_> = live
        .columns
        .iter()
        .filter(|(_, column)| column.is_key)
        .map(|(name, _)| name)
        .collect();
    primary == key
        || live
            .indexes
            .values()
            .any(|(is_unique, columns)| *is_unique && *columns == key)
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
