//! `replica`: the gateways that share this database, and where they reach each other.
//!
//! Ages are by the database's clock, the one clock that all of them share: a replica whose own clock is wrong must not
//! take the others for dead.

use std::time::Duration;

use jiff::Timestamp;
use trunkline_model::ReplicaId;

use crate::catalogue::timestamp;
use crate::db::{Row, StoreError, Value, stmts};
use crate::store::Store;

stmts! {
    REPLICA_BEAT = "INSERT INTO replica (id, address, proof, started_at, seen_at) \
        VALUES ($1, $2, $3, $4, CAST(unixepoch('subsec') * 1000000 AS INTEGER)) \
        ON CONFLICT (id) DO UPDATE SET address = excluded.address, proof = excluded.proof, seen_at = excluded.seen_at",
        postgres: "INSERT INTO replica (id, address, proof, started_at, seen_at) \
        VALUES ($1, $2, $3, $4, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)) \
        ON CONFLICT (id) DO UPDATE SET address = excluded.address, proof = excluded.proof, seen_at = excluded.seen_at";
    REPLICA_LIST = "SELECT id, address, proof, started_at, \
        CAST(unixepoch('subsec') * 1000000 AS INTEGER) - seen_at AS age FROM replica ORDER BY seen_at DESC, id LIMIT 256",
        postgres: "SELECT id, address, proof, started_at, \
        CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) - seen_at AS age FROM replica ORDER BY seen_at DESC, id LIMIT 256";
    REPLICA_PRUNE = "DELETE FROM replica WHERE seen_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - $1",
        postgres: "DELETE FROM replica WHERE seen_at < CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) - $1";
    REPLICA_REMOVE = "DELETE FROM replica WHERE id = $1";
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Its id.
    pub id: ReplicaId,
    /// `HOST:PORT` where the others reach it; `None` if they do not.
    pub address: Option<String>,
    /// Shows that the address was written by somebody who has the root secret. Opaque here.
    pub proof: Option<String>,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// Since it was last heard of. Not of use when it is written.
    pub age: Duration,
}

impl Store {
    /// Writes down that a replica is alive.
    pub async fn replica_beat(&self, row: &ReplicaRow) -> Result<(), StoreError> {
        let values = vec![
            row.id.to_hex().into(),
            Value::Text(row.address.clone()),
            Value::Text(row.proof.clone()),
            row.started_at.as_microsecond().into(),
        ];
        self.db().execute(&REPLICA_BEAT, values).await.map(drop)
    }

    /// The replicas, the last heard of first; 256 at most.
    pub async fn replica_list(&self) -> Result<Vec<ReplicaRow>, StoreError> {
        let rows = self.db().fetch_all(&REPLICA_LIST, Vec::new()).await?;
        rows.iter()
            .filter_map(|row| decode(row).transpose())
            .collect::<Result<_, _>>()
            .map_err(StoreError::database(REPLICA_LIST.name))
    }

    /// Deletes the replicas that were not heard of for longer than `age`; how many.
    pub async fn replica_prune(&self, age: Duration) -> Result<u64, StoreError> {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        self.db().execute(&REPLICA_PRUNE, vec![age.into()]).await
    }

    /// Takes a replica off the list.
    pub async fn replica_remove(&self, id: ReplicaId) -> Result<(), StoreError> {
        self.db()
            .execute(&REPLICA_REMOVE, vec![id.to_hex().into()])
            .await
            .map(drop)
    }
}

/// `None` for an id that this binary did not write.
fn decode(row: &Row) -> Result<Option<ReplicaRow>, sqlx::Error> {
    let Some(id) = ReplicaId::from_hex(&row.required_text("id")?) else {
        return Ok(None);
    };
    Ok(Some(ReplicaRow {
        id,
        address: row.text("address")?,
        proof: row.text("proof")?,
        started_at: timestamp(row.required_int("started_at")?),
        age: Duration::from_micros(u64::try_from(row.required_int("age")?).unwrap_or(0)),
    }))
}
