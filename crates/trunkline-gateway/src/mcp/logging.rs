//! `logging/setLevel`: kept for the session, and set on its upstream sessions when they are next used, by any replica.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_mcp::rpc;
use trunkline_upstream::log_level;

use crate::Gateway;
use crate::answer;
use crate::context::Context;

#[derive(Deserialize)]
struct Params {
    level: String,
}

/// Sets the session's log level.
pub async fn set_level(
    gateway: &Gateway,
    context: &Context,
    id: &str,
    params: Option<&RawValue>,
) -> Response {
    let read = params.and_then(|params| serde_json::from_str::<Params>(params.get()).ok());
    if let Some(level) = read.and_then(|params| log_level(&params.level)) {
        // Without a session there is nothing that the level could be of.
        if let Some(session) = context.session {
            let lasts = context.lasts_until;
            gateway.upstreams.set_log_level(session, level, lasts).await;
        }
        answer::json(StatusCode::OK, rpc::response(id, "{}"))
    } else {
        let text = "Invalid params: `level` must be one of debug, info, notice, warning, error, critical, alert, emergency";
        answer::rpc_error(StatusCode::OK, id, rpc::INVALID_PARAMS, text)
    }
}
