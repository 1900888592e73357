//! Where the registry lives: SQLite and `PostgreSQL` from the same statements.
//!
//! - [`Store`] is one open database. Every method is one unit of work, in one transaction.
//! - [`Registry`] is what requests read: the servers of the configuration file and of the database, and the toolsets, as one
//!   immutable [`trunkline_model::Snapshot`], rebuilt when any of them changes. **Nothing on a warm request's path calls [`Store`].**
//! - [`Keys`] is the same for the virtual keys and whom they belong to: what requests look into is a
//!   [`trunkline_auth::KeyRing`].
//! - [`MigrationSet`] brings a database to this binary's schema, [`Store::verify`] checks that it got there, and
//!   [`Store::repair`] adds what is missing.
//!
//! How to add one more…
//! - **statement**: in the `stmts!` list of its resource's file; one text serves both databases unless they differ.
//!   `Store::prepare_all` and the tests pick it up.
//! - **column**: a new `migrations/{sqlite,postgres}/NNNN_name.sql` (nullable or with a default: an older binary goes on
//!   writing to the same table), a line in `schema.rs`, and the field in `server_row.rs` or its resource's file.
//! - **table**: the same, and a file here named after it.
//!
//! Conventions: ids, enums and JSON are `TEXT`; times are `BIGINT`, microseconds since 1970 UTC, passed in (but for
//! the ages in `replica`); secrets
//! are sealed by [`trunkline_auth::Vault`] for the context `table|id|column` before they get here.

mod audit;
mod bind;
mod budget_row;
mod call_approval;
mod call_record;
mod catalogue;
mod connect;
mod db;
mod key;
mod key_row;
mod keys;
mod limit_share;
mod migrate;
mod registry;
mod repair;
mod replica;
mod rest_news;
mod schema;
mod server;
mod server_row;
mod session_ended;
mod session_news;
mod session_state;
mod session_upstream;
mod spend;
mod status;
mod store;
mod stored_model;
mod stored_models;
mod tenant;
mod tenant_row;
mod toolset;
mod toolsets;
mod verify;
mod watch;

pub use audit::Actor;
pub use audit::denials::{Denial, Denials};
pub use audit::read::{AuditFilter, AuditRow, AuditSort};
pub use call_approval::{APPROVAL_LASTS, Approved, Decided, MAX_PENDING};
pub use call_record::{CallUse, StoredCallRecord};
pub use catalogue::CatalogueRow;
pub use connect::{ConnectError, sqlite_file};
pub use db::StoreError;
pub use key::{KeyEdit, KeyWriteError};
pub use keys::Keys;
pub use limit_share::{
    LimitAsk, LimitShares, MOST_IN_A_MINUTE, MinuteAsk, MinuteShare, PlaceAsk, PlaceShare,
};
pub use migrate::{MigrateError, MigrateReport, Migration, MigrationSet};
pub use registry::{FileChange, FileSettings, Registry, RegistryError, WriteError};
pub use repair::{RepairError, RepairReport};
pub use replica::ReplicaRow;
pub use rest_news::MOST_NEWS;
pub use session_news::SessionNews;
pub use session_state::{SessionState, StateChange};
pub use session_upstream::{Put, UpstreamSession, UpstreamSessionKey};
pub use spend::book::{SpendBook, Spent};
pub use spend::day_of;
pub use spend::read::{
    DayRow, DaySums, DaysFilter, DaysOf, LogFilter, LogSort, MAX_DAYS_ROWS, TagSpend, TeamUserSpend,
};
pub use status::{AppliedMigration, DbStatus};
pub use store::{PreparedStatement, Store, statements};
pub use stored_model::{ModelEdit, ModelWriteError};
pub use tenant::{DirectoryWrite, SpendReset};
pub use toolset::{ToolsetEdit, ToolsetWriteError};
pub use verify::{Drift, SchemaDrift};
