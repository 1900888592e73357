//! `GET /v1/mcp/server/submissions`: what was submitted for review, and what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use trunkline_model::{ApprovalStatus, Server};
use utoipa::ToSchema;

use crate::App;
use crate::actor::Admin;
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
#[utoipa::path(
    get,
    path = "/v1/mcp/server/submissions",
    tag = "MCP submissions",
    responses((status = 200, description = "Every server that was submitted.", body = Submissions)),
)]
pub(crate) async fn submissions(_admin: Admin, State(app): State<Arc<App>>) -> Json<Submissions> {
    let snapshot = app.registry.snapshot();
    let submitted: Vec<&Arc<Server>> = snapshot
        .servers()
        .iter()
        .filter(|server| server.approval.submitted_at.is_some())
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
        items: submitted.iter().map(|server| row::row(server, &app)).collect(),
    })
}
