//! `GET /v1/mcp/server`: shows all servers. Contacts nobody and changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::Value;

use crate::App;
use crate::actor::Admin;
use crate::error::ApiError;
use crate::openapi::ServerRow;
use crate::row;

/// List the MCP servers
///
/// Those of the configuration file and of the database, submissions too, ordered by name.
#[utoipa::path(
    get,
    path = "/v1/mcp/server",
    tag = "MCP servers",
    responses(
        (status = 200, description = "The servers.", body = Vec<ServerRow>),
        (status = 400, description = "A filter that is not served.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn list(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    refuse_filters(query.as_deref().unwrap_or_default())?;
    let snapshot = app.registry.snapshot();
    Ok(Json(
        snapshot
            .servers()
            .iter()
            .map(|server| row::row(server, &app))
            .collect(),
    ))
}

/// A filter that is passed over would show more than was asked for.
fn refuse_filters(query: &str) -> Result<(), ApiError> {
    let filter = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| matches!(name.as_ref(), "team_id" | "user_id") && !value.is_empty());
    match filter {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::BadRequest(format!(
            "{name}: there are no teams and users yet, so servers cannot be filtered by them"
        ))),
    }
}
