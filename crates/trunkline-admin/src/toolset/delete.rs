//! `DELETE /v1/mcp/toolset/{toolset_id}`: removes a toolset and what it granted.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;

use super::error::ToolsetError;
use crate::App;
use crate::actor::Admin;

/// Delete a toolset
///
/// Nobody is granted anything by it from then on, and its URL leads nowhere, on every replica within a second. Keys keep its
/// name in `mcp_toolsets`, where it grants nothing.
#[utoipa::path(
    delete,
    path = "/v1/mcp/toolset/{toolset_id}",
    tag = "Toolsets",
    params(("toolset_id" = String, Path, description = "The toolset's id.")),
    responses(
        (status = 202, description = "Deleted."),
        (status = 403, description = "The caller is no administrator.", body = crate::error::ErrorBody),
        (status = 404, description = "No such toolset.", body = crate::error::ErrorBody),
        (status = 503, description = "The database did not delete it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ToolsetError> {
    if let Err(error) = app.registry.toolset_delete(admin.actor(), &id).await {
        return Err(ToolsetError::Write(id, error));
    }
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        toolset_id = id,
        "toolset deleted"
    );
    Ok(StatusCode::ACCEPTED)
}
