//! `verification_token`: the virtual keys.

use std::collections::HashSet;

use trunkline_model::{KeyHash, VirtualKey};

use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::key_row;
use crate::server::KEYS;
use crate::server_row::Cell;
use crate::store::Store;

/// The columns, in the order of `key_row::encode`. Written out in every statement: another version may have more.
macro_rules! key_columns {
    () => {
        "token, key_name, key_alias, key_type, user_id, team_id, metadata, expires, blocked, allowed_routes, \
         object_permission, created_at, created_by, updated_at, updated_by, rotation_count, last_rotation_at, rpm_limit, \
         max_parallel_requests, mcp_rpm_limit, revision"
    };
}

macro_rules! key_parameters {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21"
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
        "UPDATE verification_token SET (", key_columns!(), ") = (", key_parameters!(), ") WHERE token = $22"
    );
    KEY_BLOCK = "UPDATE verification_token SET (blocked, updated_at, updated_by, revision) = ($2, $3, $4, $5) WHERE token = $1";
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

/// A change of a key that was read in the transaction that will write it.
pub type KeyEdit = Box<dyn FnOnce(&mut VirtualKey) + Send>;

impl Store {
    /// The keys that were written after a revision of theirs; -1: all. A row that cannot be read as a whole is there with
    /// [`VirtualKey::defect`].
    pub(crate) async fn key_list_since(&self, revision: i64) -> Result<Vec<VirtualKey>, StoreError> {
        let rows = self
            .db()
            .fetch_all(&KEY_LIST_SINCE, vec![revision.into()])
            .await?;
        let keys: Vec<_> = rows.iter().filter_map(key_row::decode).collect();
        if keys.len() < rows.len() {
            let unreadable = rows.len() - keys.len();
            tracing::warn!(
                unreadable,
                "rows of verification_token have a token that is the hash of no key"
            );
        }
        Ok(keys)
    }

    /// Every key, in no order.
    pub async fn key_list(&self) -> Result<Vec<VirtualKey>, StoreError> {
        self.key_list_since(-1).await
    }

    /// The hashes of all keys that there are.
    pub(crate) async fn key_hashes(&self) -> Result<HashSet<KeyHash>, StoreError> {
        let rows = self.db().fetch_all(&KEY_TOKENS, vec![]).await?;
        let hash = |row: &Row| KeyHash::from_hex(&row.text("token").ok().flatten()?);
        Ok(rows.iter().filter_map(hash).collect())
    }

    pub(crate) async fn key_insert(&self, key: &VirtualKey) -> Result<(), KeyWriteError> {
        let (mut tx, revision) = self.begin_change(KEYS).await?;
        let cells = key_row::encode(key, revision)?;
        check_alias(&mut tx, key, key.hash).await?;
        if tx.execute(&KEY_INSERT, values(cells)).await? == 0 {
            return Err(KeyWriteError::Duplicate);
        }
        Ok(tx.commit().await?)
    }

    /// Reads a key, changes it, and writes it, its hash too. Returns it as it was written.
    pub(crate) async fn key_update(&self, hash: KeyHash, edit: KeyEdit) -> Result<VirtualKey, KeyWriteError> {
        let (mut tx, revision) = self.begin_change(KEYS).await?;
        let mut key = get(&mut tx, hash).await?;
        if let Some(defect) = key.defect {
            return Err(KeyWriteError::Unreadable { defect });
        }
        edit(&mut key);
        check_alias(&mut tx, &key, hash).await?;
        let replaced = key.hash != hash;
        if replaced && get(&mut tx, key.hash).await.is_ok() {
            return Err(KeyWriteError::Duplicate);
        }
        let mut parameters = values(key_row::encode(&key, revision)?);
        parameters.push(hash.to_hex().into());
        tx.execute(&KEY_UPDATE, parameters).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Blocks or unblocks a key, also one that cannot be read. Returns it as it was written.
    pub(crate) async fn key_block(
        &self,
        hash: KeyHash,
        edit: impl FnOnce(&mut VirtualKey),
    ) -> Result<VirtualKey, KeyWriteError> {
        let (mut tx, revision) = self.begin_change(KEYS).await?;
        let mut key = get(&mut tx, hash).await?;
        edit(&mut key);
        let parameters = vec![
            hash.to_hex().into(),
            Value::Bool(Some(key.blocked)),
            crate::server_row::time(key.stamps.updated_at),
            crate::server_row::text(key.stamps.updated_by.as_ref()),
            revision.into(),
        ];
        tx.execute(&KEY_BLOCK, parameters).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Deletes keys; how many there were.
    pub(crate) async fn key_delete(&self, hashes: &[KeyHash]) -> Result<u64, StoreError> {
        let (mut tx, _) = self.begin_change(KEYS).await?;
        let mut deleted = 0;
        for hash in hashes {
            deleted += tx.execute(&KEY_DELETE, vec![hash.to_hex().into()]).await?;
        }
        if deleted > 0 {
            tx.commit().await?;
        }
        Ok(deleted)
    }
}

async fn get(tx: &mut Tx, hash: KeyHash) -> Result<VirtualKey, KeyWriteError> {
    let rows = tx.fetch_all(&KEY_GET, vec![hash.to_hex().into()]).await?;
    rows.first()
        .and_then(key_row::decode)
        .ok_or(KeyWriteError::NotFound)
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
