//! One open database. The methods are in the files of their resources.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{Executor as _, SqlSafeStr as _, Statement as _};
use trunkline_auth::Vault;
use trunkline_model::{Clock, Secret};

use crate::audit::{self, read as audit_read, retain as audit_retain};
use crate::connect::{self, ConnectError};
use crate::db::{Db, Stmt, StoreError};
use crate::schema::Dialect;
use crate::{
    call_approval, call_record, catalogue, key, limit_share, migrate, replica, rest_news, server,
    session_ended, session_news, session_state, session_upstream, spend, status, stored_model, tenant,
    toolset, verify,
};

/// One open database: SQLite (one writer, two readers) or `PostgreSQL` (up to five connections). Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    db: Db,
    /// Where the database is, without secrets.
    location: String,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    spend: spend::book::SpendBook,
}

/// Every statement that is sent to `PostgreSQL`, by its name in the code: tests make each fail in turn.
pub fn statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    all_statements().map(|own| (own.name, own.postgres))
}

/// What a database makes of one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedStatement {
    /// The statement's name in the code.
    pub name: &'static str,
    /// How many parameters it takes, if the database says so.
    pub parameters: usize,
    /// The names of the columns it returns.
    pub columns: Vec<String>,
}

impl Store {
    /// Opens `sqlite://PATH` (made if it is not there, for this user only), `sqlite::memory:`, `postgres://…` or
    /// `postgresql://…`. Neither migrates nor verifies.
    pub async fn connect(
        url: &Secret,
        vault: Arc<Vault>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        let (db, location) = connect::open(url).await?;
        Ok(Self(Arc::new(Inner {
            db,
            location,
            vault,
            clock,
            spend: spend::book::SpendBook::default(),
        })))
    }

    /// `sqlite` or `postgres`.
    pub fn backend(&self) -> &'static str {
        self.0.db.backend()
    }

    /// Where the database is, without secrets: a path, or `host:port/database`.
    pub fn location(&self) -> &str {
        &self.0.location
    }

    /// `HOST:PORT` of the database's server; `None` where there is none on a network.
    pub fn server_address(&self) -> Option<&str> {
        match self.0.db {
            Db::Sqlite { .. } => None,
            // A socket is a path, which begins with the slash.
            Db::Postgres(_) => self
                .0
                .location
                .split('/')
                .next()
                .filter(|address| !address.is_empty()),
        }
    }

    /// Closes every connection, after what is running has ended.
    pub async fn close(&self) {
        self.0.db.close().await;
    }

    /// Has the database prepare every statement of this crate, without running any: finds what the schema does not have.
    pub async fn prepare_all(&self) -> Result<Vec<PreparedStatement>, StoreError> {
        let mut prepared = Vec::new();
        for stmt in all_statements() {
            prepared.push(self.prepare(stmt).await?);
        }
        Ok(prepared)
    }

    async fn prepare(&self, stmt: &'static Stmt) -> Result<PreparedStatement, StoreError> {
        let failed = StoreError::database(stmt.name);
        let (parameters, columns) = match self.db() {
            Db::Sqlite { writer, .. } => {
                let statement = writer.prepare(stmt.sqlite.into_sql_str()).await.map_err(failed)?;
                (count_parameters(stmt.sqlite), names(statement.columns()))
            }
            Db::Postgres(pool) => {
                let statement = pool.prepare(stmt.postgres.into_sql_str()).await.map_err(failed)?;
                (count_parameters(stmt.postgres), names(statement.columns()))
            }
        };
        Ok(PreparedStatement {
            name: stmt.name,
            parameters,
            columns,
        })
    }

    /// What everybody has spent, in memory. Whose it is is stored: see [`Store::spend_refresh`].
    pub fn spend(&self) -> &spend::book::SpendBook {
        &self.0.spend
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.0.vault
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.0.db {
            Db::Sqlite { .. } => Dialect::Sqlite,
            Db::Postgres(_) => Dialect::Postgres,
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("backend", &self.backend())
            .field("location", &self.location())
            .finish_non_exhaustive()
    }
}

fn all_statements() -> impl Iterator<Item = &'static Stmt> {
    [
        server::ALL,
        key::ALL,
        tenant::ALL,
        toolset::ALL,
        stored_model::ALL,
        audit::ALL,
        audit_read::ALL,
        audit_retain::ALL,
        catalogue::ALL,
        call_approval::ALL,
        call_record::ALL,
        session_ended::ALL,
        session_news::ALL,
        rest_news::ALL,
        session_state::ALL,
        session_upstream::ALL,
        replica::ALL,
        limit_share::ALL,
        spend::ALL,
        spend::daily::ALL,
        spend::read::ALL,
        migrate::ALL,
        migrate::applied::ALL,
        status::ALL,
        verify::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}

fn names<C: sqlx::Column>(columns: &[C]) -> Vec<String> {
    columns.iter().map(|column| column.name().to_owned()).collect()
}

/// The highest `$N` of a text, or how many `?` it has. The drivers count differently (SQLite knows only the number of distinct ones).
fn count_parameters(text: &str) -> usize {
    text.split('$')
        .skip(1)
        .filter_map(|rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest[..digits].parse().ok()
        })
        .max()
        .unwrap_or_else(|| text.matches('?').count())
}
