//! `session_state`: what a client set for its session: log level and resource subscriptions; and which replica has its stream.

use jiff::Timestamp;
use trunkline_model::{ServerId, SessionKey};

use crate::catalogue::{storable, timestamp};
use crate::db::{Row, StoreError, Value, stmts};
use crate::session_news::SessionNews;
use crate::store::Store;

stmts! {
    SESSION_STATE_GET = "SELECT log_level, subscriptions, listener, listened_until FROM session_state WHERE session_key = $1";
    /// Not for a session that has ended in the meantime.
    SESSION_STATE_MAKE = "INSERT INTO session_state (session_key) SELECT CAST($1 AS TEXT) \
        WHERE NOT EXISTS (SELECT 1 FROM session_ended WHERE session_key = $1) ON CONFLICT (session_key) DO NOTHING";
    /// SQLite has one writer; in `PostgreSQL` two replicas may change one session at the same time, or one may end it.
    SESSION_STATE_LOCK = "SELECT log_level, subscriptions, listener, listened_until FROM session_state WHERE session_key = $1 \
            AND NOT EXISTS (SELECT 1 FROM session_ended WHERE session_key = $1)",
        postgres: "SELECT log_level, subscriptions, listener, listened_until FROM session_state WHERE session_key = $1 \
            AND NOT EXISTS (SELECT 1 FROM session_ended WHERE session_key = $1) FOR UPDATE";
    SESSION_STATE_SET = "UPDATE session_state SET log_level = $2, subscriptions = $3, listener = $4, listened_until = $5, \
        updated_at = $6, expires_at = $7 WHERE session_key = $1";
    /// Waits for whoever is about to make the row, so that the next statement finds it.
    SESSION_STATE_MEET = "INSERT INTO session_state (session_key) VALUES ($1) ON CONFLICT (session_key) DO NOTHING";
    SESSION_STATE_DELETE = "DELETE FROM session_state WHERE session_key = $1";
    SESSION_STATE_PRUNE = "DELETE FROM session_state WHERE expires_at <= $1";
}

/// Subscriptions of one session that are kept; and bytes of a URI.
const MAX_SUBSCRIPTIONS: usize = 500;
const MAX_URI: usize = 4096;

/// What is kept for a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// The log level that the client set.
    pub log_level: Option<String>,
    /// Servers, and their own URIs of the resources that are subscribed to.
    pub subscriptions: Vec<(ServerId, String)>,
    /// The process that has the client's stream.
    pub listener: Option<String>,
    /// Until when that is believed without its saying so again.
    pub listened_until: Timestamp,
}

/// One change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// The client set its log level.
    LogLevel(String),
    /// The client subscribed to a resource.
    Subscribe(ServerId, String),
    /// The client does not want to hear of it any more.
    Unsubscribe(ServerId, String),
    /// The client's stream is with this process.
    Listen {
        /// Which.
        listener: String,
        /// Until when, unless it says so again.
        until: Timestamp,
    },
    /// The client's stream is with this process still, unless it is with another one by now.
    Renew {
        /// Which.
        listener: String,
        /// Until when, unless it says so again.
        until: Timestamp,
    },
    /// The client's stream with this process is over.
    Leave {
        /// Which.
        listener: String,
    },
}

impl StateChange {
    /// Whether it is worth a row where there is none.
    fn makes(&self) -> bool {
        match self {
            Self::LogLevel(_) | Self::Subscribe(..) | Self::Listen { .. } => true,
            Self::Unsubscribe(..) | Self::Renew { .. } | Self::Leave { .. } => false,
        }
    }
}

impl SessionState {
    /// Makes a change; whether anybody else has to hear of it.
    pub fn apply(&mut self, change: &StateChange) -> bool {
        match change {
            StateChange::LogLevel(level) => {
                self.log_level = Some(level.clone());
                true
            }
            StateChange::Subscribe(server, uri) => {
                let same = |own: &(ServerId, String)| own.0 == *server && own.1 == *uri;
                let fits = self.subscriptions.len() < MAX_SUBSCRIPTIONS && uri.len() <= MAX_URI;
                if fits && !self.subscriptions.iter().any(same) {
                    self.subscriptions.push((server.clone(), uri.clone()));
                }
                true
            }
            StateChange::Unsubscribe(server, uri) => {
                self.subscriptions.retain(|own| own.0 != *server || own.1 != *uri);
                true
            }
            StateChange::Listen { listener, until } => {
                let moved = self.listener.as_ref() != Some(listener);
                self.listener = Some(listener.clone());
                self.listened_until = *until;
                moved
            }
            StateChange::Renew { listener, until } => {
                let moved = self.listener.is_none();
                if moved || self.listener.as_ref() == Some(listener) {
                    self.listener = Some(listener.clone());
                    self.listened_until = *until;
                }
                moved
            }
            StateChange::Leave { listener } => {
                let own = self.listener.as_ref() == Some(listener);
                if own {
                    self.listener = None;
                }
                own
            }
        }
    }
}

impl Store {
    /// What is kept for a session, if anything.
    pub async fn session_state(&self, session: SessionKey) -> Result<Option<SessionState>, StoreError> {
        let row = self
            .db()
            .fetch_first(&SESSION_STATE_GET, vec![session.to_hex().into()])
            .await?;
        row.as_ref()
            .map(decode)
            .transpose()
            .map_err(StoreError::database(SESSION_STATE_GET.name))
    }

    /// Changes it. `expires_at` is when the session's id expires at the latest, and the row can go.
    pub async fn session_state_change(
        &self,
        session: SessionKey,
        change: &StateChange,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let key = session.to_hex();
        let mut tx = self.db().begin().await?;
        if change.makes() {
            tx.execute(&SESSION_STATE_MAKE, vec![key.as_str().into()]).await?;
        }
        let rows = tx
            .fetch_all(&SESSION_STATE_LOCK, vec![key.as_str().into()])
            .await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let mut state = decode(row).map_err(StoreError::database(SESSION_STATE_LOCK.name))?;
        let is_news = state.apply(change);
        let pairs: Vec<(&str, &str)> = state
            .subscriptions
            .iter()
            .map(|(server, uri)| (server.as_str(), uri.as_str()))
            .collect();
        let subscriptions = serde_json::to_string(&pairs).unwrap_or_else(|_| "[]".to_owned());
        let values = vec![
            key.into(),
            Value::Text(state.log_level),
            storable(&subscriptions).into(),
            Value::Text(state.listener),
            state.listened_until.as_microsecond().into(),
            self.now().as_microsecond().into(),
            expires_at.as_microsecond().into(),
        ];
        tx.execute(&SESSION_STATE_SET, values).await?;
        if is_news {
            SessionNews::Changed(session).tell(&mut tx).await?;
        }
        tx.commit().await
    }

    /// Deletes what is kept for sessions whose ids have expired.
    pub async fn session_state_prune(&self) -> Result<u64, StoreError> {
        let now = self.now().as_microsecond();
        self.db().execute(&SESSION_STATE_PRUNE, vec![now.into()]).await
    }
}

fn decode(row: &Row) -> Result<SessionState, sqlx::Error> {
    let pairs: Vec<(String, String)> =
        serde_json::from_str(&row.required_text("subscriptions")?).unwrap_or_default();
    Ok(SessionState {
        log_level: row.text("log_level")?,
        subscriptions: pairs
            .into_iter()
            .map(|(server, uri)| (ServerId::new(server), uri))
            .collect(),
        listener: row.text("listener")?,
        listened_until: timestamp(row.required_int("listened_until")?),
    })
}
