//! `POST /v1/mcp/approvals/{approval_id}/approve` and `/deny`: says yes or no, once.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use trunkline_model::CallApprovalState;
use trunkline_store::Decided;

use super::{ApprovalError, ApprovalRow};
use crate::App;
use crate::actor::Admin;

/// Approve a call
///
/// The caller makes the same call again, on any replica, within ten minutes. One of `first_use` is for all calls of the tool by the
/// caller, until the tool's definition changes.
#[utoipa::path(
    post,
    path = "/v1/mcp/approvals/{approval_id}/approve",
    tag = "Approvals",
    params(("approval_id" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "Approved.", body = ApprovalRow),
        (status = 403, description = "The caller is no administrator.", body = crate::error::ErrorBody),
        (status = 404, description = "No such approval.", body = crate::error::ErrorBody),
        (status = 409, description = "It was decided before, or is too old.", body = crate::error::ErrorBody),
        (status = 503, description = "The database did not write it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn approve(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ApprovalRow>, ApprovalError> {
    decide(&admin, &app, id, true).await
}

/// Deny a call
///
/// The same call is refused for ten minutes; then it asks again.
#[utoipa::path(
    post,
    path = "/v1/mcp/approvals/{approval_id}/deny",
    tag = "Approvals",
    params(("approval_id" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "Denied.", body = ApprovalRow),
        (status = 403, description = "The caller is no administrator.", body = crate::error::ErrorBody),
        (status = 404, description = "No such approval.", body = crate::error::ErrorBody),
        (status = 409, description = "It was decided before, or is too old.", body = crate::error::ErrorBody),
        (status = 503, description = "The database did not write it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn deny(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ApprovalRow>, ApprovalError> {
    decide(&admin, &app, id, false).await
}

async fn decide(admin: &Admin, app: &App, id: String, yes: bool) -> Result<Json<ApprovalRow>, ApprovalError> {
    match app
        .registry
        .store()
        .approval_decide(admin.actor(), &id, yes)
        .await?
    {
        Decided::NotFound => Err(ApprovalError::NotFound(id)),
        Decided::NotPending(own) => {
            let state = match own.state {
                CallApprovalState::Pending => "too old",
                state => state.as_str(),
            };
            Err(ApprovalError::Decided(id, state))
        }
        Decided::Done(own) => {
            tracing::info!(
                actor = admin.id(),
                path = admin.path(),
                approval_id = id,
                tool = own.tool,
                state = own.state.as_str(),
                "call approval decided"
            );
            Ok(Json(ApprovalRow::of(&own, app, true)))
        }
    }
}
