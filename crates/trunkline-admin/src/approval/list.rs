//! `GET /v1/mcp/approvals`: what waits, and what was decided and can be used.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::{ApprovalError, ApprovalRow};
use crate::App;
use crate::actor::Admin;

/// List approvals of calls
///
/// Those that are not over, the newest first, 200 at most.
#[utoipa::path(
    get,
    path = "/v1/mcp/approvals",
    tag = "Approvals",
    responses(
        (status = 200, description = "The approvals.", body = [ApprovalRow]),
        (status = 403, description = "The caller is no administrator.", body = crate::error::ErrorBody),
        (status = 503, description = "The database is away.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn list(
    admin: Admin,
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<ApprovalRow>>, ApprovalError> {
    let approvals = app.registry.store().approval_list().await?;
    let rows = approvals
        .iter()
        .map(|own| ApprovalRow::of(own, &app, admin.is_full()));
    Ok(Json(rows.collect()))
}
