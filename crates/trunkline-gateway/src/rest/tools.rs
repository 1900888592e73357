//! `GET /v1/mcp/tools`: all tools that the key may use, under the names that MCP clients call them by.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use trunkline_mcp::ListKind;
use trunkline_model::CallKind;

use crate::Gateway;
use crate::accept::Arrived;
use crate::answer;
use crate::listing;
use crate::record::Pending;
use crate::rest::{enter, tools_body};

/// Lists.
pub async fn handle(
    State(gateway): State<Arc<Gateway>>,
    arrived: Option<Extension<Arrived>>,
    headers: HeaderMap,
) -> Response {
    let arrived = arrived.map(|Extension(arrived)| arrived);
    let context = match enter(&gateway, arrived, &headers, "/v1/mcp/tools") {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    let mut pending = Pending::begin(&gateway, &context, CallKind::ListTools, 0);
    let listing = listing::list(&gateway, &context, ListKind::Tools).await;
    let body = tools_body(&listing, &context, true);
    pending.sent(body.len());
    pending.finish(listing.outcome_word(), listing.failure());
    answer::json(StatusCode::OK, body)
}
