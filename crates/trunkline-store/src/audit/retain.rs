//! Retention: what is older than a number of days leaves the log, in batches, and the log says so.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, json};

use super::entry::Entry;
use super::{Actor, append};
use crate::db::{StoreError, stmts};
use crate::store::Store;

/// How many rows one transaction deletes: SQLite has one writer, and it must not be busy for long.
const BATCH: i64 = 1000;
/// Between two batches, for other writers.
const PAUSE: Duration = Duration::from_millis(20);

stmts! {
    /// One row if nobody looked since `$2`. The trigger of the log lets what is older than `before_at` be deleted, and nothing else.
    AUDIT_CLAIM = "INSERT INTO audit_retention (id, before_at, looked_at) VALUES (1, $1, $3) ON CONFLICT (id) DO UPDATE \
        SET before_at = $1, looked_at = $3 WHERE audit_retention.looked_at IS NULL OR audit_retention.looked_at <= $2";
    AUDIT_PRUNE = "DELETE FROM audit_log WHERE seq IN (SELECT seq FROM audit_log WHERE updated_at < $1 ORDER BY updated_at LIMIT $2)";
}

impl Store {
    /// Deletes the rows that were written before `limit`, unless another replica looked for some within `every`; how many. Each
    /// batch leaves a row that says what it deleted.
    pub async fn audit_prune(&self, limit: Timestamp, every: Duration) -> Result<u64, StoreError> {
        let now = self.now().as_microsecond();
        let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
        let limit = limit.as_microsecond();
        let claim = vec![limit.into(), now.saturating_sub(every).into(), now.into()];
        if self.db().execute(&AUDIT_CLAIM, claim).await? == 0 {
            return Ok(0);
        }
        let by = Actor::process("retention");
        let mut total = 0;
        loop {
            let mut tx = self.db().begin().await?;
            let deleted = tx.execute(&AUDIT_PRUNE, vec![limit.into(), BATCH.into()]).await?;
            if deleted == 0 {
                return Ok(total);
            }
            let before = Timestamp::from_microsecond(limit)
                .map(|at| at.to_string())
                .unwrap_or_default();
            let details = Map::from_iter([
                ("rows".to_owned(), json!(deleted)),
                ("older_than".to_owned(), json!(before)),
            ]);
            let entry = Entry::about("deleted", super::entry::AUDIT_LOG, "retention", details);
            append(&mut tx, self, &by, vec![entry]).await?;
            tx.commit().await?;
            total += deleted;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
