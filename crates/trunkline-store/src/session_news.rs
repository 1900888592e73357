//! What replicas have to hear of each other's sessions: told on a channel of `PostgreSQL`, and found by looking for it.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use trunkline_model::SessionKey;

use crate::catalogue::timestamp;
use crate::db::{Row, StoreError, Tx, stmts};
use crate::store::Store;

/// On this channel `PostgreSQL` tells every process.
pub(crate) const CHANNEL: &str = "trunkline_sessions";
/// Clocks of replicas may differ by so much, and what was written in that time is looked at again.
const SLACK: Duration = Duration::from_secs(30);

stmts! {
    /// Delivered when the transaction commits.
    SESSION_NOTIFY = "SELECT $1 AS channel, $2 AS payload",
        postgres: "SELECT $1 AS channel, $2 AS payload FROM pg_notify($1, $2)";
    SESSION_NEWS_ENDED = "SELECT session_key, expires_at, ended_at AS at FROM session_ended WHERE ended_at >= $1";
    SESSION_NEWS_OPENED = "SELECT session_key, opened_at AS at FROM session_upstream WHERE opened_at >= $1";
    SESSION_NEWS_CHANGED = "SELECT session_key, updated_at AS at FROM session_state WHERE updated_at >= $1";
}

/// Something about a session that another process may have to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionNews {
    /// Its client ended it. With when its id would have expired.
    Ended(SessionKey, Timestamp),
    /// It has an upstream session that it had not.
    Opened(SessionKey),
    /// What is kept for it has changed.
    Changed(SessionKey),
}

impl SessionNews {
    /// Tells the other processes when the transaction commits. SQLite has no such thing: there it is found.
    pub(crate) async fn tell(&self, tx: &mut Tx) -> Result<(), StoreError> {
        if matches!(tx, Tx::Postgres(_)) {
            tx.fetch_all(&SESSION_NOTIFY, vec![CHANNEL.into(), self.to_payload().into()])
                .await?;
        }
        Ok(())
    }

    fn to_payload(self) -> String {
        match self {
            Self::Ended(key, expires_at) => format!("ended {} {}", key.to_hex(), expires_at.as_microsecond()),
            Self::Opened(key) => format!("opened {}", key.to_hex()),
            Self::Changed(key) => format!("changed {}", key.to_hex()),
        }
    }

    /// `None` for what this version does not know.
    pub(crate) fn of_payload(payload: &str) -> Option<Self> {
        let mut words = payload.split(' ');
        let (kind, key) = (words.next()?, SessionKey::from_hex(words.next()?)?);
        match kind {
            "ended" => Some(Self::Ended(key, timestamp(words.next()?.parse().ok()?))),
            "opened" => Some(Self::Opened(key)),
            "changed" => Some(Self::Changed(key)),
            _ => None,
        }
    }
}

/// Looks for news: the net below the notifications, and all there is with SQLite.
pub(crate) struct Search {
    since: Timestamp,
    /// What the last look found, so that it is not found again.
    seen: HashSet<(SessionNews, i64)>,
}

impl Search {
    /// From now on.
    pub(crate) fn begin(store: &Store) -> Self {
        Self {
            since: store.now(),
            seen: HashSet::new(),
        }
    }

    /// What is new since the last look.
    pub(crate) async fn look(&mut self, store: &Store) -> Result<Vec<SessionNews>, StoreError> {
        let now = store.now();
        let slack = SignedDuration::try_from(SLACK).unwrap_or_default();
        let since = self.since.checked_sub(slack).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut found = HashSet::new();
        for stmt in [&SESSION_NEWS_ENDED, &SESSION_NEWS_OPENED, &SESSION_NEWS_CHANGED] {
            let rows = store
                .db()
                .fetch_all(stmt, vec![since.as_microsecond().into()])
                .await?;
            for row in &rows {
                found.extend(read(stmt.name, row).map_err(StoreError::database(stmt.name))?);
            }
        }
        let news = found.difference(&self.seen).map(|(news, _)| *news).collect();
        self.seen = found;
        self.since = now;
        Ok(news)
    }
}

fn read(stmt: &str, row: &Row) -> Result<Option<(SessionNews, i64)>, sqlx::Error> {
    let Some(key) = SessionKey::from_hex(&row.required_text("session_key")?) else {
        return Ok(None);
    };
    let news = if stmt == SESSION_NEWS_ENDED.name {
        SessionNews::Ended(key, timestamp(row.required_int("expires_at")?))
    } else if stmt == SESSION_NEWS_OPENED.name {
        SessionNews::Opened(key)
    } else {
        SessionNews::Changed(key)
    };
    Ok(Some((news, row.required_int("at")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_as_it_was_written() {
        let key = SessionKey([7; 16]);
        for news in [
            SessionNews::Ended(key, Timestamp::from_second(100).unwrap()),
            SessionNews::Opened(key),
            SessionNews::Changed(key),
        ] {
            assert_eq!(SessionNews::of_payload(&news.to_payload()), Some(news));
        }
        for other in [
            "",
            "ended",
            "opened xyz",
            "later 07070707070707070707070707070707",
        ] {
            assert_eq!(SessionNews::of_payload(other), None);
        }
    }
}
