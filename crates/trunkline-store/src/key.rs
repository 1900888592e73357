//! `verification_token`: the virtual keys.

use std::collections::HashSet;
use std::sync::Arc;

use trunkline_model::{KeyHash, VirtualKey};

use crate::audit::entry::{self, Entry};
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::key_row;
use crate::server_row::Cell;
use crate::store::Store;

/// The columns, in the order of `key_row::encode`. Written out in every statement: another version may have more.
macro_rules! key_columns {
    () => {
        "token, key_name, key_alias, key_type, user_id, team_id, metadata, expires, blocked, allowed_routes, \
         object_permission, created_at, created_by, updated_at, updated_by, rotation_count, last_rotation_at, rpm_limit, \
         max_parallel_requests, mcp_rpm_limit, tpm_limit, model_rpm_limit, model_tpm_limit, budget_id, previous_tokens, \
         delegation, delegated_revision, max_budget, soft_budget, budget_duration, budget_reset_at, model_max_budget, \
         revision"
    };
}

macro_rules! key_parameters {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, \
         $27, $28, $29, $30, $31, $32, $33"
    };
}

stmts! {
    /// All that were written after a revision; all there are after -1.
    KEY_LIST_SINCE = concat!("SELECT ", key_columns!(), " FROM verification_token WHERE revision > $1");
    KEY_TOKENS = "SELECT token FROM verification_token";
    KEY_GET = concat!("SELECT ", key_columns!(), " FROM verification_token WHERE token = $1");
    KEY_BY_ALIAS = "SELECT token FROM verification_token WHERE key_alias = $1";
    KEY_INSERT = concat!(
        "INSERT INTO verification_token (", key_columns!(), ") VALUES (", key_parameters!(), ") ON CONFLICT (token) DO NOTHING"
    );
    /// The last parameter is the token that the row had.
    KEY_UPDATE = concat!(
        "UPDATE verification_token SET (", key_columns!(), ") = (", key_parameters!(), ") WHERE token = $34"
    );
    KEY_BLOCK = "UPDATE verification_token SET (blocked, updated_at, updated_by, delegated_revision, revision) = ($2, $3, $4, $5, $6) WHERE token = $1";
    KEY_DELETE = "DELETE FROM verification_token WHERE token = $1";
}

/// Why a change of a key was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyWriteError {
    /// There is a key with this hash.
    #[error("this key exists already")]
    Duplicate,
    /// Another key has the alias.
    #[error("another key has the alias {alias:?}")]
    AliasTaken {
        /// The alias.
        alias: String,
    },
    /// There is no such key.
    #[error("there is no such key")]
    NotFound,
    /// Something of its row cannot be read, and would be lost if it was written.
    #[error("the key cannot be changed: {defect}")]
    Unreadable {
        /// What.
        defect: String,
    },
    /// The database refused or is away.
    #[error("the change could not be stored")]
    Store(#[from] StoreError),
}

/// A change of a key as it is stored when nobody else can write.
pub type KeyEdit = Box<dyn FnOnce(&mut VirtualKey) + Send>;

impl Store {
    /// The keys that were written after a revision of theirs; -1: all. A row that cannot be read as a whole is there with
    /// [`VirtualKey::defect`].
    pub(crate) async fn key_list_since(&self, revision: i64) -> Result<Vec<Arc<VirtualKey>>, StoreError> {
        let rows = self
            .db()
            .fetch_many(&KEY_LIST_SINCE, vec![revision.into()], |row| {
                key_row::decode(row).map(Arc::new)
            })
            .await?;
        let unreadable = rows.iter().filter(|key| key.is_none()).count();
        let keys: Vec<_> = rows.into_iter().flatten().collect();
        if unreadable > 0 {
            tracing::warn!(
                unreadable,
                "rows of verification_token have a token that is the hash of no key"
            );
        }
        Ok(keys)
    }

    /// Every key, in no order.
    pub async fn key_list(&self) -> Result<Vec<Arc<VirtualKey>>, StoreError> {
        self.key_list_since(-1).await
    }

    /// The hashes of all keys that there are.
    pub(crate) async fn key_hashes(&self) -> Result<HashSet<KeyHash>, StoreError> {
        let rows = self.db().fetch_all(&KEY_TOKENS, vec![]).await?;
        let hash = |row: &Row| KeyHash::from_hex(&row.text("token").ok().flatten()?);
        Ok(rows.iter().filter_map(hash).collect())
    }
}

/// Writes a new key.
pub(crate) async fn insert(tx: &mut Tx, key: &VirtualKey, revision: i64) -> Result<(), KeyWriteError> {
    let cells = key_row::encode(key, revision)?;
    check_alias(tx, key, key.hash).await?;
    if tx.execute(&KEY_INSERT, values(cells)).await? == 0 {
        return Err(KeyWriteError::Duplicate);
    }
    Ok(())
}

/// Writes another state of the key with this hash, its hash too. What cannot be read as a whole is refused: it would be lost.
pub(crate) async fn replace(
    tx: &mut Tx,
    hash: KeyHash,
    key: &VirtualKey,
    revision: i64,
) -> Result<(), KeyWriteError> {
    let before = find(tx, hash).await?.ok_or(KeyWriteError::NotFound)?;
    if let Some(defect) = before.defect {
        return Err(KeyWriteError::Unreadable { defect });
    }
    check_alias(tx, key, hash).await?;
    if key.hash != hash && find(tx, key.hash).await?.is_some() {
        return Err(KeyWriteError::Duplicate);
    }
    let mut parameters = values(key_row::encode(key, revision)?);
    parameters.push(hash.to_hex().into());
    tx.execute(&KEY_UPDATE, parameters).await?;
    Ok(())
}

/// Blocks or unblocks a key, also one that cannot be read.
pub(crate) async fn block(tx: &mut Tx, key: &VirtualKey, revision: i64) -> Result<(), KeyWriteError> {
    let parameters = vec![
        key.hash.to_hex().into(),
        Value::Bool(Some(key.blocked)),
        crate::server_row::time(key.stamps.updated_at),
        crate::server_row::text(key.stamps.updated_by.as_ref()),
        key_row::delegated_revision(&key.delegation, revision),
        revision.into(),
    ];
    tx.execute(&KEY_BLOCK, parameters).await?;
    Ok(())
}

/// Deletes a key.
pub(crate) async fn delete(tx: &mut Tx, hash: KeyHash) -> Result<(), KeyWriteError> {
    tx.execute(&KEY_DELETE, vec![hash.to_hex().into()]).await?;
    Ok(())
}

/// The row of the audit log about a key.
pub(crate) fn entry_of(
    hash: KeyHash,
    before: Option<&VirtualKey>,
    after: Option<&VirtualKey>,
) -> Result<Entry, StoreError> {
    let cells = |key: Option<&VirtualKey>| key.map(|key| key_row::encode(key, 0)).transpose();
    let (before, after) = (cells(before)?, cells(after)?);
    Ok(Entry::of(
        entry::KEYS,
        &hash.to_hex(),
        before.as_deref(),
        after.as_deref(),
    ))
}

async fn find(tx: &mut Tx, hash: KeyHash) -> Result<Option<VirtualKey>, StoreError> {
    let rows = tx.fetch_all(&KEY_GET, vec![hash.to_hex().into()]).await?;
    Ok(rows.first().and_then(key_row::decode))
}

/// Aliases are unique; writers are in single file, so that this sees what the one before has written.
async fn check_alias(tx: &mut Tx, key: &VirtualKey, own: KeyHash) -> Result<(), KeyWriteError> {
    let Some(alias) = &key.key_alias else {
        return Ok(());
    };
    let rows = tx.fetch_all(&KEY_BY_ALIAS, vec![alias.as_str().into()]).await?;
    let own = own.to_hex();
    let is_other = |row: &Row| row.text("token").ok().flatten().as_deref() != Some(&own);
    if rows.iter().any(is_other) {
        return Err(KeyWriteError::AliasTaken { alias: alias.clone() });
    }
    Ok(())
}

pub(crate) fn values(cells: Vec<Cell>) -> Vec<Value> {
    cells.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_parameters_and_cells_are_the_same_list() {
        let key = VirtualKey::new(KeyHash([1; 32]));
        let cells = key_row::encode(&key, 1).unwrap();
        let written: Vec<_> = cells.iter().map(|(column, _)| *column).collect();
        let columns: Vec<_> = key_columns!().split(", ").collect();
        assert_eq!(columns, written);
        let parameters: Vec<_> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        assert_eq!(key_parameters!(), parameters.join(", "));
        let table = crate::schema::TABLES
            .iter()
            .find(|table| table.name == "verification_token");
        let table: Vec<_> = table.unwrap().columns.iter().map(|column| column.name).collect();
        assert_eq!(table, columns);
    }
}
