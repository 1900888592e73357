//! One statement list, two drivers.
//!
//! A [`Stmt`] is a static text (one for both databases, or one each), a [`Value`] is a parameter, a [`Row`] is what comes
//! back. The two drivers meet in this file only: resources never see `sqlx` types. Statements never contain data:
//! `sqlx` takes `&'static str` here, so that a text built at run time does not compile (S02).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Postgres, Row as _, Sqlite, Transaction};
use tokio::task::{JoinError, JoinSet};
use trunkline_model::ServerId;

/// How long one operation may wait for `PostgreSQL`. SQLite has its own bound, `busy_timeout`.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// Rows that something is made of at once, and such pieces that are being made.
const PIECE: usize = 1_024;
const MAKING: usize = 4;

/// Why the database did not do something. No variant holds a value of a row or a part of the connection URL.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A server with this id is stored already.
    #[error("a server with the id {id} exists already")]
    Duplicate {
        /// The id.
        id: ServerId,
    },
    /// Another stored server has this name, alias, prefix or id, ignoring case (B35).
    #[error("the name {name:?} is taken by the server {by}")]
    NameTaken {
        /// The name as it was given.
        name: String,
        /// Who has it.
        by: ServerId,
    },
    /// A text holds U+0000, which `PostgreSQL` cannot store. Refused for both databases, so that they stay alike.
    #[error("the value for {column} holds a NUL character, which cannot be stored")]
    Nul {
        /// The column.
        column: &'static str,
    },
    /// No answer in time.
    #[error("the database did not answer statement {statement} within {} s", OPERATION_TIMEOUT.as_secs())]
    Timeout {
        /// Name of the statement.
        statement: &'static str,
    },
    /// The database refused, or could not be reached.
    #[error("the database failed at statement {statement}")]
    Database {
        /// Name of the statement.
        statement: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Whether the same may succeed later: the database is away or busy, and it is not about what was to be written.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Duplicate { .. } | Self::NameTaken { .. } | Self::Nul { .. } => false,
            Self::Database { source, .. } => match source {
                sqlx::Error::Database(error) => {
                    let code = error.code().unwrap_or_default();
                    match code.parse::<u32>() {
                        // SQLite's primary codes: busy, locked, no memory, read-only, I/O, full, cannot open.
                        Ok(code) if code.to_string().len() < 5 => matches!(code & 0xff, 5..=8 | 10 | 13 | 14),
                        // PostgreSQL's classes: what is wrong with data, constraints, names or sizes stays wrong.
                        _ => !["22", "23", "42", "54"]
                            .iter()
                            .any(|class| code.starts_with(class)),
                    }
                }
                sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_)
                | sqlx::Error::RowNotFound => false,
                _ => true,
            },
        }
    }

    /// Whether the database is there, and others were in the way: locks, deadlocks, transactions that took too long.
    pub fn is_contention(&self) -> bool {
        let Self::Database {
            source: sqlx::Error::Database(error),
            ..
        } = self
        else {
            return false;
        };
        let code = error.code().unwrap_or_default();
        matches!(&*code, "40001" | "40P01" | "55P03" | "57014" | "25P03" | "25P04")
    }

    pub(crate) fn database(statement: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { statement, source }
    }
}

/// A statement under a name, which errors carry.
#[derive(Debug)]
pub(crate) struct Stmt {
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// Declares statements: `NAME = "text for both";` or `NAME = "SQLite's text", postgres: "PostgreSQL's";`, and `ALL` of them.
macro_rules! stmts {
    ($( $(#[$doc:meta])* $name:ident = $text:expr $(, postgres: $postgres:expr)? ; )+) => {
        $(
            $(#[$doc])*
            pub(crate) static $name: $crate::db::Stmt = $crate::db::Stmt {
                name: stringify!($name),
                sqlite: $text,
                postgres: $crate::db::stmts!(@postgres $text $(, $postgres)?),
            };
        )+
        /// Every statement of this file.
        pub(crate) static ALL: &[&$crate::db::Stmt] = &[$(&$name),+];
    };
    (@postgres $text:expr) => { $text };
    (@postgres $text:expr, $postgres:expr) => { $postgres };
}
pub(crate) use stmts;

/// A parameter. `None` is NULL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(Option<String>),
    /// A text that others have as well, and that nobody copies.
    Shared(Option<Arc<str>>),
    Int(Option<i64>),
    Bool(Option<bool>),
    Double(Option<f64>),
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

/// A row of either database. Columns are read by name, so that their order in a statement does not matter.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! getters {
    ($($name:ident -> $type:ty;)+) => {
        impl Row {
            $(
                pub(crate) fn $name(&self, column: &str) -> Result<Option<$type>, sqlx::Error> {
                    match self {
                        Row::Sqlite(row) => row.try_get(column),
                        Row::Postgres(row) => row.try_get(column),
                    }
                }
            )+
        }
    };
}
getters! {
    text -> String;
    int -> i64;
    bool -> bool;
    double -> f64;
}

impl Row {
    /// A text that cannot be NULL.
    pub(crate) fn required_text(&self, column: &str) -> Result<String, sqlx::Error> {
        self.text(column)?
            .ok_or_else(|| sqlx::Error::ColumnNotFound(column.to_owned()))
    }

    /// A number that cannot be NULL.
    pub(crate) fn required_int(&self, column: &str) -> Result<i64, sqlx::Error> {
        self.int(column)?
            .ok_or_else(|| sqlx::Error::ColumnNotFound(column.to_owned()))
    }
}

/// An open database.
pub(crate) enum Db {
    /// One writer, because SQLite has one, and readers that it does not block (WAL).
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

/// A transaction. Dropped without [`Tx::commit`], it is rolled back.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Binds `values` to the text of a statement, for either driver.
macro_rules! bound {
    ($text:expr, $values:expr) => {{
        let mut query = sqlx::query($text);
        for value in $values {
            query = match value {
                Value::Text(value) => query.bind(value),
                Value::Shared(value) => query.bind(value),
                Value::Int(value) => query.bind(value),
                Value::Bool(value) => query.bind(value),
                Value::Double(value) => query.bind(value),
            };
        }
        query
    }};
}

impl Db {
    /// `sqlite` or `postgres`.
    pub(crate) fn backend(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Reads.
    pub(crate) async fn fetch_all(
        &self,
        stmt: &'static Stmt,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite { readers, .. } => bound!(stmt.sqlite, values)
                .fetch_all(readers)
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect())
                .map_err(StoreError::database(stmt.name)),
            Self::Postgres(pool) => bounded(stmt, bound!(stmt.postgres, values).fetch_all(pool))
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
        }
    }

    /// Reads, and makes something of each row as it comes: of many, never all are in memory at once.
    pub(crate) async fn fetch_each<T>(
        &self,
        stmt: &'static Stmt,
        values: Vec<Value>,
        mut read: impl FnMut(&Row) -> T,
    ) -> Result<Vec<T>, StoreError> {
        let mut made = Vec::new();
        match self {
            Self::Sqlite { readers, .. } => {
                let mut rows = bound!(stmt.sqlite, values).fetch(readers);
                while let Some(row) = rows.try_next().await.map_err(StoreError::database(stmt.name))? {
                    made.push(read(&Row::Sqlite(row)));
                }
            }
            Self::Postgres(pool) => {
                let mut rows = bound!(stmt.postgres, values).fetch(pool);
                while let Some(row) = bounded(stmt, rows.try_next()).await? {
                    made.push(read(&Row::Postgres(row)));
                }
            }
        }
        Ok(made)
    }

    /// The same of very many rows, in no order: others make something of them while more come.
    pub(crate) async fn fetch_many<T: Send + 'static>(
        &self,
        stmt: &'static Stmt,
        values: Vec<Value>,
        read: fn(&Row) -> T,
    ) -> Result<Vec<T>, StoreError> {
        let Self::Postgres(pool) = self else {
            return self.fetch_each(stmt, values, read).await;
        };
        let mut making: JoinSet<Vec<T>> = JoinSet::new();
        let (mut made, mut rows) = (Vec::new(), Vec::new());
        let all = move |rows: Vec<PgRow>| rows.into_iter().map(|row| read(&Row::Postgres(row))).collect();
        let mut coming = bound!(stmt.postgres, values).fetch(pool);
        while let Some(row) = bounded(stmt, coming.try_next()).await? {
            rows.push(row);
            if rows.len() == PIECE {
                let piece = std::mem::replace(&mut rows, Vec::with_capacity(PIECE));
                making.spawn_blocking(move || all(piece));
            }
            // No more are in memory than that.
            if making.len() > MAKING
                && let Some(piece) = making.join_next().await
            {
                made.extend(piece.map_err(crashed(stmt))?);
            }
        }
        made.extend::<Vec<T>>(all(rows));
        while let Some(piece) = making.join_next().await {
            made.extend(piece.map_err(crashed(stmt))?);
        }
        Ok(made)
    }

    /// Reads the first row, if there is one.
    pub(crate) async fn fetch_first(
        &self,
        stmt: &'static Stmt,
        values: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(stmt, values).await?.into_iter().next())
    }

    /// Begins to write. SQLite takes its write lock now, not at the first write, so that no transaction fails half-way
    /// because another one was faster.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        static BEGIN: Stmt = Stmt {
            name: "BEGIN",
            sqlite: "BEGIN IMMEDIATE",
            postgres: "BEGIN",
        };
        match self {
            Self::Sqlite { writer, .. } => writer
                .begin_with(BEGIN.sqlite)
                .await
                .map(Tx::Sqlite)
                .map_err(StoreError::database(BEGIN.name)),
            Self::Postgres(pool) => bounded(&BEGIN, pool.begin()).await.map(Tx::Postgres),
        }
    }

    /// One statement in a transaction of its own. Returns how many rows it changed.
    pub(crate) async fn execute(&self, stmt: &'static Stmt, values: Vec<Value>) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let changed = tx.execute(stmt, values).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Closes every connection, after what is running has ended.
    pub(crate) async fn close(&self) {
        match self {
            // The writer last: the last connection to close merges the write-ahead log into the database file.
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// Runs a statement. Returns how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        stmt: &'static Stmt,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(tx) => bound!(stmt.sqlite, values)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected())
                .map_err(StoreError::database(stmt.name)),
            Self::Postgres(tx) => bounded(stmt, bound!(stmt.postgres, values).execute(&mut **tx))
                .await
                .map(|done| done.rows_affected()),
        }
    }

    /// Reads within the transaction.
    pub(crate) async fn fetch_all(
        &mut self,
        stmt: &'static Stmt,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(tx) => bound!(stmt.sqlite, values)
                .fetch_all(&mut **tx)
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect())
                .map_err(StoreError::database(stmt.name)),
            Self::Postgres(tx) => bounded(stmt, bound!(stmt.postgres, values).fetch_all(&mut **tx))
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
        }
    }

    /// Makes it last.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        static COMMIT: Stmt = Stmt {
            name: "COMMIT",
            sqlite: "COMMIT",
            postgres: "COMMIT",
        };
        match self {
            Self::Sqlite(tx) => tx.commit().await.map_err(StoreError::database(COMMIT.name)),
            Self::Postgres(tx) => bounded(&COMMIT, tx.commit()).await,
        }
    }
}

/// Something could not be made of rows.
fn crashed(stmt: &'static Stmt) -> impl FnOnce(JoinError) -> StoreError {
    move |_| StoreError::database(stmt.name)(sqlx::Error::WorkerCrashed)
}

/// Bounds an operation on a network that may swallow packets.
async fn bounded<T>(
    stmt: &'static Stmt,
    operation: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(OPERATION_TIMEOUT, operation)
        .await
        .map_err(|_| StoreError::Timeout { statement: stmt.name })?
        .map_err(StoreError::database(stmt.name))
}
