//! `PUT /v1/mcp/server/{server_id}/approve`: lets a submitted server serve.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use trunkline_model::{ApprovalStatus, ServerId};

use crate::App;
use crate::actor::Admin;
use crate::error::ApiError;
use crate::openapi::ServerRow;
use crate::row;

/// Approve a submission
#[utoipa::path(
    put,
    path = "/v1/mcp/server/{server_id}/approve",
    tag = "MCP submissions",
    params(("server_id" = String, Path, description = "The server's id.")),
    responses(
        (status = 200, description = "Approved: the server serves.", body = ServerRow),
        (status = 400, description = "Not pending review.", body = crate::error::ErrorBody),
        (status = 403, description = "A stdio server, and administrators may not run programs.", body = crate::error::ErrorBody),
        (status = 404, description = "No such server.", body = crate::error::ErrorBody),
        (status = 409, description = "Managed by file.", body = crate::error::ErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn approve(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let server = super::review(ServerId::new(id), ApprovalStatus::Active, None, &admin, &app).await?;
    Ok(Json(row::row(&server, &app)))
}
