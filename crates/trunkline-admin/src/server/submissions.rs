//! `GET /v1/mcp/server/submissions`: what was submitted for review, and what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use trunkline_model::{ApprovalStatus, Server};
use utoipa::ToSchema;

use crate::App;
use crate::actor::Caller;
use crate::openapi::ServerRow;
use crate::row;

/// Submissions with their numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Submissions {
    /// All.
    total: usize,
    /// Waiting.
    pending_review: usize,
    /// Approved.
    active: usize,
    /// Rejected.
    rejected: usize,
    /// The servers.
    #[schema(value_type = Vec<ServerRow>)]
    items: Vec<Value>,
}

/// List the submissions
///
/// To administrators all of them. To others those of their user, or of their key if it has none: what became of each, and not what
/// an administrator has made of it.
#[utoipa::path(
    get,
    path = "/v1/mcp/server/submissions",
    tag = "MCP submissions",
    responses((status = 200, description = "The servers that were submitted.", body = Submissions)),
)]
pub(crate) async fn submissions(caller: Caller, State(app): State<Arc<App>>) -> Json<Submissions> {
    let snapshot = app.registry.snapshot();
    let submitted: Vec<&Arc<Server>> = snapshot
        .servers()
        .iter()
        .filter(|server| server.approval.submitted_at.is_some())
        .filter(|server| caller.sees_all() || server.approval.submitted_by.as_deref() == Some(caller.name()))
        .collect();
    let count = |status| {
        submitted
            .iter()
            .filter(|server| server.approval.status == status)
            .count()
    };
    Json(Submissions {
        total: submitted.len(),
        pending_review: count(ApprovalStatus::PendingReview),
        active: count(ApprovalStatus::Active),
        rejected: count(ApprovalStatus::Rejected),
        items: submitted
            .iter()
            .map(|server| {
                if caller.sees_all() {
                    row::row(server, &app)
                } else {
                    row::submission(server, &[])
                }
            })
            .collect(),
    })
}
