//! Liveness says that the process answers; readiness, whether it should get traffic. Neither depends on upstreams, and
//! readiness not on the database: what is known is served without it (tenet 3).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
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
    answer::json(
        StatusCode::OK,
        serde_json::json!({"status": "healthy", "db": db}).to_string(),
    )
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
