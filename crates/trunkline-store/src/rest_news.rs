//! What replicas tell each other of deployments of models that fail: on a channel of `PostgreSQL`, and nowhere written down. What is not
//! heard is found out by whoever asks the deployment.

use crate::db::{StoreError, stmts};
use crate::store::Store;

/// On this channel `PostgreSQL` tells every process.
pub(crate) const CHANNEL: &str = "trunkline_rests";
/// Bytes of one piece of news: less than `PostgreSQL` takes.
pub const MOST_NEWS: usize = 7_000;

stmts! {
    REST_NOTIFY = "SELECT $1 AS channel, $2 AS payload",
        postgres: "SELECT $1 AS channel, $2 AS payload FROM pg_notify($1, $2)";
}

impl Store {
    /// Tells all processes that share the database, this one, too. With SQLite there is nobody to tell.
    pub async fn rest_tell(&self, news: &str) -> Result<(), StoreError> {
        if self.is_shared() {
            self.db()
                .fetch_all(&REST_NOTIFY, vec![CHANNEL.into(), news.into()])
                .await?;
        }
        Ok(())
    }
}
