//! From a database URL to open pools. Errors never repeat the URL: it may hold a password (S14).

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use trunkline_model::Secret;

use crate::db::Db;
use crate::migrate::is_busy;

/// How long SQLite waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller waits for a connection, and the start for a server that does not listen yet.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Parameters that LiteLLM's database library knows and this one does not need.
const PRISMA_PARAMETERS: [&str; 6] = [
    "connection_limit",
    "pool_timeout",
    "connect_timeout",
    "socket_timeout",
    "sslaccept",
    "sslidentity",
];

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a URL of a known kind.
    #[error(
        "the database URL {found}: give sqlite://PATH, sqlite::memory:, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Scheme {
        /// What is wrong with it, without repeating it.
        found: String,
    },
    /// A URL of a known kind that cannot be read.
    #[error("the database URL cannot be read: {reason}")]
    Url {
        /// Why, without repeating it.
        reason: String,
    },
    /// The file or its folder cannot be made.
    #[error("the database file {} cannot be made", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// It is there, or should be, and does not open.
    #[error("the database {location} cannot be opened")]
    Open {
        /// Where, without secrets.
        location: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
}

/// Opens the database, and says where it is without saying how to get in.
pub(crate) async fn open(url: &Secret) -> Result<(Db, String), ConnectError> {
    let text = url.expose().trim();
    match text.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => open_sqlite(text).await,
        Some("postgres" | "postgresql") => open_postgres(text).await,
        Some(scheme) if is_scheme(scheme) && text.contains("://") => Err(ConnectError::Scheme {
            found: format!("has the unknown scheme {scheme:?}"),
        }),
        _ => Err(ConnectError::Scheme {
            found: if text.is_empty() {
                "is empty"
            } else {
                "has no scheme"
            }
            .to_owned(),
        }),
    }
}

/// Whether it looks like a scheme, so that it can be shown: a pasted password does not.
fn is_scheme(text: &str) -> bool {
    text.len() <= 24
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

// === SQLite ===

/// The file that a URL of SQLite's names; none where the database is another one, or in memory alone.
pub fn sqlite_file(url: &Secret) -> Option<PathBuf> {
    let text = url.expose().trim();
    if !text.starts_with("sqlite:") || is_memory(text) {
        return None;
    }
    let path = sqlite_options(text).ok()?.get_filename().to_path_buf();
    (!path.as_os_str().is_empty()).then_some(path)
}

fn is_memory(url: &str) -> bool {
    url.trim_start_matches("sqlite:").trim_start_matches("//") == ":memory:"
}

fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, ConnectError> {
    SqliteConnectOptions::from_str(url).map_err(|_| ConnectError::Url {
        reason: "of the parameters of a sqlite URL only mode=rwc is of use".to_owned(),
    })
}

async fn open_sqlite(url: &str) -> Result<(Db, String), ConnectError> {
    let options = sqlite_options(url)?
        .journal_mode(SqliteJournalMode::Wal)
        // FULL, not NORMAL: what was answered with 201 is there after a power cut, too. Writes are rare and off the path.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // KiB, per connection. The default of 2 MB each is more than the whole registry needs.
        .pragma("cache_size", "-512")
        .statement_cache_capacity(40);
    if is_memory(url) {
        return open_memory(options).await;
    }
    let path = options.get_filename().to_path_buf();
    if path.as_os_str().is_empty() {
        return Err(ConnectError::Url {
            reason: "a sqlite URL needs a path: sqlite://PATH".to_owned(),
        });
    }
    make_private_file(&path).map_err(|source| ConnectError::File {
        path: path.clone(),
        source,
    })?;
    let location = path.display().to_string();
    let writer = open_writer(&options).await.map_err(|source| ConnectError::Open {
        location: location.clone(),
        source,
    })?;
    let readers = sqlite_pool(2, 0)
        // Not `read_only`: a WAL database needs its shared-memory file, which a read-only connection cannot make.
        .connect_lazy_with(options.pragma("query_only", "ON"));
    Ok((Db::Sqlite { writer, readers }, location))
}

/// Opens the connection that writes. Whoever opens a new file first makes it one with a write-ahead log, and SQLite tells others at once
/// that it is locked meanwhile, whatever their time-out.
async fn open_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let deadline = tokio::time::Instant::now() + BUSY_TIMEOUT;
    loop {
        match sqlite_pool(1, 0).connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}

/// Two connections to a private in-memory database would be two databases: one pool of one connection does it all.
async fn open_memory(options: SqliteConnectOptions) -> Result<(Db, String), ConnectError> {
    let location = ":memory:".to_owned();
    let pool: SqlitePool = sqlite_pool(1, 1)
        .idle_timeout(None)
        .connect_with(options)
        .await
        .map_err(|source| ConnectError::Open {
            location: location.clone(),
            source,
        })?;
    let db = Db::Sqlite {
        writer: pool.clone(),
        readers: pool,
    };
    Ok((db, location))
}

fn sqlite_pool(max: u32, min: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(max)
        .min_connections(min)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_mins(5))
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Makes the file and its folder readable by nobody else. What exists keeps its mode.
fn make_private_file(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

// === PostgreSQL ===

async fn open_postgres(url: &str) -> Result<(Db, String), ConnectError> {
    let options = postgres_options(url)?;
    let location = postgres_location(&options);
    let pool = PgPoolOptions::new()
        .max_connections(5)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_mins(5))
        .connect_with(options)
        .await
        .map_err(|source| ConnectError::Open {
            location: location.clone(),
            source,
        })?;
    Ok((Db::Postgres(pool), location))
}

/// Reads the URL as LiteLLM's database library would: its parameters are translated or dropped, so that a `DATABASE_URL`
/// works unchanged, and the driver never logs one that it does not know (with its value).
fn postgres_options(text: &str) -> Result<PgConnectOptions, ConnectError> {
    let unreadable = |reason: &str| ConnectError::Url {
        reason: reason.to_owned(),
    };
    let mut url = url::Url::parse(text).map_err(|error| ConnectError::Url {
        // Its words are fixed sentences: "invalid port number".
        reason: format!("{error} (a password with characters such as @ / # ? has to be percent-encoded)"),
    })?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    url.set_query(None);
    let (mut schema, mut bouncer) = (None, false);
    for (key, value) in pairs {
        match key.as_str() {
            "schema" => schema = Some(value),
            "pgbouncer" => bouncer = value == "true",
            "sslmode" | "sslrootcert" | "sslcert" | "sslkey" | "host" | "port" | "user" | "password"
            | "dbname" | "application_name" | "options" => {
                url.query_pairs_mut().append_pair(&key, &value);
            }
            known if PRISMA_PARAMETERS.contains(&known) => {
                tracing::debug!(parameter = known, "parameter of the database URL has no effect");
            }
            _ => return Err(unreadable("it has a parameter that is not known (after the '?')")),
        }
    }
    let mut options = PgConnectOptions::from_str(url.as_str())
        .map_err(|_| unreadable("a parameter after the '?' has a value that is not known"))?;
    if options.get_application_name().is_none() {
        options = options.application_name("trunkline");
    }
    if let Some(schema) = schema {
        options = options.options([("search_path", format!("\"{}\"", schema.replace('"', "\"\"")))]);
    }
    // Behind PgBouncer in transaction mode a prepared statement may live on another connection.
    Ok(options.statement_cache_capacity(if bouncer { 0 } else { 40 }))
}

fn postgres_location(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(
        || options.get_host().to_owned(),
        |socket| socket.display().to_string(),
    );
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("{host}:{}/{database}", options.get_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s14_errors_do_not_repeat_the_url() {
        for url in [
            "",
            "canary-pw",
            "canary-pw:x",
            "mysql://u:canary-pw@h/db",
            "canary-pw+++++++++++++++++++++++++://x",
            "postgres://u:canary-pw@h:port/db",
            "postgres://u:canary/pw@#h/db?sslmode=canary-pw",
            "postgres://u:canary-pw@127.0.0.1:1/db",
            "postgres://u:canary-pw@127.0.0.1:1/db?canary-pw=canary-pw",
            "sqlite://x?canary-pw=canary-pw",
            "sqlite:///proc/nothing/here.db",
        ] {
            let Err(error) = open(&Secret::new(url)).await else {
                panic!("{url} must not open");
            };
            let text = format!("{error} {error:?}");
            assert!(!text.contains("canary"), "{url}: {text}");
        }
    }

    #[test]
    fn the_file_of_a_url() {
        for (url, file) in [
            (
                "sqlite:///var/lib/t/trunkline.db",
                Some("/var/lib/t/trunkline.db"),
            ),
            ("sqlite:////var/trunkline.db?mode=rwc", Some("//var/trunkline.db")),
            ("sqlite://a%20b.db", Some("a b.db")),
            ("sqlite:t.db", Some("t.db")),
            ("sqlite::memory:", None),
            ("sqlite://:memory:", None),
            ("sqlite:", None),
            ("postgresql://u:p@h/db", None),
        ] {
            assert_eq!(sqlite_file(&Secret::new(url)), file.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn a_litellm_url_works_unchanged() {
        let options = postgres_options(
            "postgresql://user:p%40ss@db:5433/litellm?schema=my%22s&connection_limit=10&pool_timeout=60&sslmode=disable&pgbouncer=true",
        )
        .unwrap();
        assert_eq!(postgres_location(&options), "db:5433/litellm");
        assert!(options.get_options().unwrap().contains("search_path="));
    }
}
