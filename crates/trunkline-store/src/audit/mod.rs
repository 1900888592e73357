//! `audit_log`: who changed what, and who was refused what. Append-only.
//!
//! - A change is made in a [`Change`], which [`Store::begin_change`] gives for an [`Actor`] alone, and which is committed with its
//!   [`Entry`]s alone: the rows and what they are about are one transaction.
//! - [`entry`] makes rows of what was there before and after, without secrets, bounded.
//! - [`denials`] is the queue of what was refused: nothing waits for it.
//! - [`read`] is what the log is asked, [`retain`] what leaves it.

pub(crate) mod denials;
pub(crate) mod entry;
pub(crate) mod read;
pub(crate) mod retain;

use serde_json::{Map, Value as Json, json};
use trunkline_model::ServerId;

use crate::catalogue::storable;
use crate::db::{StoreError, Tx, Value, stmts};
use crate::registry::{FileChange, FileSettings};
use crate::store::Store;
use entry::Entry;

/// The row of `registry_revision` that numbers the rows of the log.
const AUDIT: i64 = 4;

stmts! {
    /// Last in every transaction that writes rows, so that it is held for short: `PostgreSQL` locks the row until the end of the
    /// transaction, and numbers are visible in their order, without gaps. Who reads on after a number misses nothing.
    AUDIT_NUMBERS = "INSERT INTO registry_revision (id, revision) VALUES ($1, $2 + COALESCE((SELECT max(seq) FROM audit_log), 0)) \
        ON CONFLICT (id) DO UPDATE SET revision = registry_revision.revision + $2 RETURNING revision";
    AUDIT_INSERT = "INSERT INTO audit_log (seq, updated_at, changed_by, changed_by_api_key, action, table_name, object_id, \
        before_value, updated_values, request_id, details) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
}

/// Who makes a change, or wants something: every change of the registry has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The user, or the stable name of the caller ([`trunkline_model::Principal::id`]); of a process what it is.
    pub changed_by: String,
    /// The hash of the virtual key, or `master_key`; empty if it is a process.
    pub changed_by_api_key: String,
    /// The request, if it was one.
    pub request_id: Option<String>,
    /// Whom the caller says that it does it for (`litellm-changed-by`): a claim, never who it was.
    pub claimed_by: Option<String>,
    /// What was asked: a method and a path, or a command.
    pub operation: Option<String>,
}

impl Actor {
    /// A process that is nobody's request.
    pub fn process(name: &str) -> Self {
        Self {
            changed_by: name.to_owned(),
            ..Self::default()
        }
    }
}

/// A transaction that changes something. Dropped without [`Change::commit`], nothing is changed, and nothing said.
pub(crate) struct Change<'a> {
    pub(crate) tx: Tx,
    /// The number of the change among those of its kind.
    pub(crate) revision: i64,
    pub(crate) store: &'a Store,
    pub(crate) by: &'a Actor,
}

impl Change<'_> {
    /// Makes the change last, and its rows with it.
    pub(crate) async fn commit(self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let Self {
            mut tx, store, by, ..
        } = self;
        append(&mut tx, store, by, entries).await?;
        tx.commit().await
    }
}

impl Store {
    /// Writes down that a server does not list what is pinned, which nobody has asked for.
    pub async fn audit_drift(
        &self,
        at: jiff::Timestamp,
        server: &ServerId,
        details: Vec<(&'static str, Json)>,
    ) -> Result<(), StoreError> {
        let details = details.into_iter().map(|(name, value)| (name.to_owned(), value));
        let entry = Entry::about("drifted", entry::SERVERS, server.as_str(), details.collect());
        let by = Actor::process("pins");
        let mut tx = self.db().begin().await?;
        append_rows(&mut tx, [(at.as_microsecond(), &by, entry)].into_iter()).await?;
        tx.commit().await
    }

    /// Writes down that the configuration file changes something.
    pub(crate) async fn audit_file(
        &self,
        by: &Actor,
        settings: &FileSettings,
        change: &FileChange,
    ) -> Result<(), StoreError> {
        let FileSettings {
            file,
            applied,
            needs_restart,
        } = settings;
        let FileChange {
            added,
            changed,
            removed,
        } = change;
        let values = [
            (
                "servers",
                json!({"added": added, "changed": changed, "removed": removed}),
            ),
            ("settings", json!(applied)),
            ("needs_restart", json!(needs_restart)),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value));
        let entry = Entry::of_values(entry::CONFIG, file, Map::from_iter(values));
        let mut tx = self.db().begin().await?;
        append(&mut tx, self, by, vec![entry]).await?;
        tx.commit().await
    }
}

/// Writes rows in a transaction that is about to be committed.
pub(crate) async fn append(
    tx: &mut Tx,
    store: &Store,
    by: &Actor,
    entries: Vec<Entry>,
) -> Result<(), StoreError> {
    let now = store.now().as_microsecond();
    let rows = entries.into_iter().map(|entry| (now, by, entry));
    append_rows(tx, rows).await
}

/// The same, each with its time and its actor.
async fn append_rows(
    tx: &mut Tx,
    rows: impl ExactSizeIterator<Item = (i64, &Actor, Entry)>,
) -> Result<(), StoreError> {
    if rows.len() == 0 {
        return Ok(());
    }
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let last = tx
        .fetch_all(&AUDIT_NUMBERS, vec![AUDIT.into(), count.into()])
        .await?
        .first()
        .map_or(Err(sqlx::Error::RowNotFound), |row| row.required_int("revision"))
        .map_err(StoreError::database(AUDIT_NUMBERS.name))?;
    for (seq, (at, by, entry)) in (last - count + 1..).zip(rows) {
        tx.execute(&AUDIT_INSERT, values(seq, at, by, entry)).await?;
    }
    Ok(())
}

fn values(seq: i64, at: i64, by: &Actor, entry: Entry) -> Vec<Value> {
    let Entry {
        action,
        table,
        object_id,
        before,
        after,
        mut details,
    } = entry;
    for (name, value) in [("claimed_by", &by.claimed_by), ("operation", &by.operation)] {
        if let Some(value) = value {
            details.insert(name.to_owned(), entry::bounded_text(value).into());
        }
    }
    let json =
        |value: Option<Map<String, Json>>| Value::Text(value.map(|value| Json::from(value).to_string()));
    let text = |value: &str| Value::Text(Some(entry::bounded_text(&storable(value))));
    vec![
        seq.into(),
        at.into(),
        text(&by.changed_by),
        text(&by.changed_by_api_key),
        action.into(),
        table.into(),
        text(&object_id),
        json(before),
        json(after),
        Value::Text(
            by.request_id
                .as_deref()
                .map(|id| entry::bounded_text(&storable(id))),
        ),
        json((!details.is_empty()).then_some(details)),
    ]
}
