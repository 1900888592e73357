//! Liveness says that the process answers; readiness, whether it should get traffic. Neither depends on upstreams, and
//! readiness not on the database: what is known is served without it (tenet 3).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

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
    let asked = gateway.registry.store().revision();
    let connected = matches!(
        tokio::time::timeout(Duration::from_secs(1), asked).await,
        Ok(Ok(_))
    );
    let db = if connected { "connected" } else { "Not connected" };
    answer::json(
        StatusCode::OK,
        serde_json::json!({"status": "healthy", "db": db}).to_string(),
    )
}
