//! Liveness says that the process answers; readiness, whether it should get traffic. Neither depends on upstreams, and
//! readiness not on the database: what is known is served without it (tenet 3).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use tokio::time::Instant;
use trunkline_store::Store;

use crate::Gateway;
use crate::answer;

/// `GET /health/liveliness`, LiteLLM's spelling, and its sane aliases.
pub async fn live() -> Response {
    answer::json(StatusCode::OK, "\"I'm alive!\"")
}

/// `GET /health/readiness`.
pub async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    if gateway.draining.is_cancelled() {
        return answer::json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"shutting_down"}"#);
    }
    let connected = gateway.database.is_connected(gateway.registry.store()).await;
    let db = if connected { "connected" } else { "Not connected" };
    let mut body = serde_json::json!({"status": "healthy", "db": db});
    if let Some(read) = gateway.configuration.read() {
        body["configuration"] = serde_json::json!({
            "loaded_at": read.loaded_at.to_string(),
            "valid": read.mistakes == 0,
        });
    }
    answer::json(StatusCode::OK, body.to_string())
}

/// The configuration file as it was read last, if there is one.
#[derive(Default)]
pub struct ConfigurationState(Mutex<Option<Read>>);

/// What came of reading the file.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// When what holds was read.
    pub loaded_at: Timestamp,
    /// In the file as it is now, which was not taken.
    pub mistakes: usize,
}

impl ConfigurationState {
    /// What came of reading the file last.
    pub fn read(&self) -> Option<Read> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file was read, and holds.
    pub fn loaded(&self, loaded_at: Timestamp) {
        let read = Read {
            loaded_at,
            mistakes: 0,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    /// The file was read, and has mistakes: what was read before holds on. Says since when that does.
    pub fn refused(&self, mistakes: usize) -> Timestamp {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded_at = read.map_or(Timestamp::UNIX_EPOCH, |read| read.loaded_at);
        *read = Some(Read { loaded_at, mistakes });
        loaded_at
    }
}

/// How long an answer of the database about itself is good for.
const FRESH: Duration = Duration::from_secs(1);

/// Whether the database answers; asked once a second at most, since anybody may ask for readiness.
#[derive(Default)]
pub struct DatabaseState {
    last: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl DatabaseState {
    async fn is_connected(&self, store: &Store) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, connected)) = *last
            && at.elapsed() < FRESH
        {
            return connected;
        }
        let asked = tokio::time::timeout(Duration::from_secs(1), store.revision()).await;
        let connected = matches!(asked, Ok(Ok(_)));
        *last = Some((Instant::now(), connected));
        connected
    }
}
