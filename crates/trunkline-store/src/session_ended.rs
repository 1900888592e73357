//! `session_ended`: sessions that a client ended before they expired. A session id is sealed into a token that any replica
//! opens, so that "this one is over" has to be written down somewhere that all of them read.

use jiff::Timestamp;
use trunkline_model::SessionKey;

use crate::catalogue::timestamp;
use crate::db::{Row, StoreError, stmts};
use crate::store::Store;

stmts! {
    SESSION_END = "INSERT INTO session_ended (session_key, expires_at) VALUES ($1, $2) \
        ON CONFLICT (session_key) DO UPDATE SET expires_at = excluded.expires_at";
    SESSION_ENDED_LIST = "SELECT session_key, expires_at FROM session_ended WHERE expires_at > $1 ORDER BY session_key";
    SESSION_ENDED_PRUNE = "DELETE FROM session_ended WHERE expires_at <= $1";
}

impl Store {
    /// Writes down that a session is over. `expires_at` is when its token expires anyway, and the row can go.
    pub async fn session_end(&self, key: SessionKey, expires_at: Timestamp) -> Result<(), StoreError> {
        let values = vec![key.to_hex().into(), expires_at.as_microsecond().into()];
        self.db().execute(&SESSION_END, values).await.map(drop)
    }

    /// The ended sessions whose tokens have not expired yet, by key. The others are deleted.
    pub async fn session_ended_list(&self) -> Result<Vec<(SessionKey, Timestamp)>, StoreError> {
        let now = self.now().as_microsecond();
        self.db().execute(&SESSION_ENDED_PRUNE, vec![now.into()]).await?;
        let rows = self.db().fetch_all(&SESSION_ENDED_LIST, vec![now.into()]).await?;
        rows.iter()
            .filter_map(|row| decode(row).transpose())
            .collect::<Result<_, _>>()
            .map_err(StoreError::database(SESSION_ENDED_LIST.name))
    }
}

/// `None` for a key that this binary did not write.
fn decode(row: &Row) -> Result<Option<(SessionKey, Timestamp)>, sqlx::Error> {
    let key = SessionKey::from_hex(&row.required_text("session_key")?);
    let expires_at = timestamp(row.required_int("expires_at")?);
    Ok(key.map(|key| (key, expires_at)))
}
