//! `DELETE /v1/mcp/server/{server_id}`: removes a server and everything that hangs on it.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use trunkline_model::ServerId;

use crate::App;
use crate::actor::Admin;
use crate::error::ApiError;

/// Delete an MCP server
///
/// Calls in flight end; what is kept about the server goes with it. Servers of the configuration file are removed
/// there.
#[utoipa::path(
    delete,
    path = "/v1/mcp/server/{server_id}",
    tag = "MCP servers",
    params(("server_id" = String, Path, description = "The server's id.")),
    responses(
        (status = 202, description = "Deleted."),
        (status = 404, description = "No such server.", body = crate::error::ErrorBody),
        (status = 409, description = "Managed by file.", body = crate::error::ErrorBody),
        (status = 503, description = "The database did not delete it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = ServerId::new(id);
    let _writing = app.writing.lock().await;
    super::find_changeable(&id, &app)?;
    app.registry.delete(admin.actor(), &id).await?;
    tracing::info!(actor = admin.id(), path = admin.path(), server_id = %id, "server deleted");
    Ok(StatusCode::ACCEPTED)
}
