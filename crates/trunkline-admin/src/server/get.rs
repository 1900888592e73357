//! `GET /v1/mcp/server/{server_id}`: shows a server. Contacts nobody and changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use trunkline_model::ServerId;

use crate::App;
use crate::actor::Admin;
use crate::error::ApiError;
use crate::openapi::ServerRow;
use crate::row;

/// Show an MCP server
///
/// With what is known of its health; nothing is contacted.
#[utoipa::path(
    get,
    path = "/v1/mcp/server/{server_id}",
    tag = "MCP servers",
    params(("server_id" = String, Path, description = "The server's id.")),
    responses(
        (status = 200, description = "The server.", body = ServerRow),
        (status = 404, description = "No such server.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn get(
    _admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let server = super::find(&ServerId::new(id), &app)?;
    Ok(Json(row::row(&server, &app)))
}
