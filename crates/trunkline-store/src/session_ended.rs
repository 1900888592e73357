//! `session_ended`: sessions that a client ended before they expired. A session id is sealed into a token that any replica
//! opens, so that "this one is over" has to be written down somewhere that all of them read.

use jiff::Timestamp;
use trunkline_model::SessionKey;

use crate::catalogue::timestamp;
use crate::db::{Row, StoreError, stmts};
use crate::session_news::SessionNews;
use crate::session_state::{SESSION_STATE_DELETE, SESSION_STATE_MEET};
use crate::session_upstream::UpstreamSession;
use crate::store::Store;

stmts! {
    SESSION_END = "INSERT INTO session_ended (session_key, expires_at, ended_at) VALUES ($1, $2, $3) \
        ON CONFLICT (session_key) DO UPDATE SET expires_at = excluded.expires_at";
    SESSION_ENDED_LIST = "SELECT session_key, expires_at FROM session_ended WHERE expires_at > $1 ORDER BY session_key";
    SESSION_ENDED_PRUNE = "DELETE FROM session_ended WHERE expires_at <= $1";
}

impl Store {
    /// Writes down that a session is over, and takes out what was kept for it: its upstream sessions, which the caller is
    /// to end. `expires_at` is when its token expires anyway, and the row can go.
    pub async fn session_end(
        &self,
        key: SessionKey,
        expires_at: Timestamp,
    ) -> Result<Vec<UpstreamSession>, StoreError> {
        let values = vec![
            key.to_hex().into(),
            expires_at.as_microsecond().into(),
            self.now().as_microsecond().into(),
        ];
        let mut tx = self.db().begin().await?;
        tx.execute(&SESSION_END, values).await?;
        for stmt in [&SESSION_STATE_MEET, &SESSION_STATE_DELETE] {
            tx.execute(stmt, vec![key.to_hex().into()]).await?;
        }
        let upstream = self.claim_of_session(&mut tx, key).await?;
        SessionNews::Ended(key, expires_at).tell(&mut tx).await?;
        tx.commit().await?;
        Ok(upstream)
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
