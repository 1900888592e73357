//! `POST /v1/mcp/server/register`: submits a server for review.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::Value;
use trunkline_model::{Approval, ApprovalStatus, Snapshot};

use super::create;
use crate::App;
use crate::actor::Submitter;
use crate::body::JsonObject;
use crate::error::ApiError;
use crate::openapi::{NewServer, ServerRow};
use crate::programs::MayRun;
use crate::{request, row};

/// Submissions of one user, or of one key without a user, that may wait.
const MAX_WAITING: usize = 20;

/// Submit an MCP server for review
///
/// It serves nobody, and nobody contacts it, until it is approved. For keys of teams, and for proxy admins, whom LiteLLM refuses
/// here. Who submits sees what becomes of it in `/v1/mcp/server/submissions`.
#[utoipa::path(
    post,
    path = "/v1/mcp/server/register",
    tag = "MCP submissions",
    request_body = NewServer,
    responses(
        (status = 201, description = "Submitted: `approval_status` is `pending_review`.", body = ServerRow),
        (status = 400, description = "As for registering.", body = crate::error::ErrorBody),
        (status = 403, description = "stdio servers come from the configuration file; a key of no team; too many that wait.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn register(
    submitter: Submitter,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if !submitter.is_full() {
        request::refuse_all_references(&body)?;
    }
    let declared = request::new_server(&body, MayRun::No)?;
    let pending = |now, snapshot: &Snapshot| {
        check_waiting(&submitter, snapshot)?;
        Ok(Approval {
            status: ApprovalStatus::PendingReview,
            submitted_by: Some(submitter.name().to_owned()),
            submitted_at: Some(now),
            ..Approval::default()
        })
    };
    let by = (submitter.id(), submitter.actor());
    let (server, warnings) = create::insert(declared, pending, by, &app).await?;
    tracing::info!(actor = submitter.id(), path = submitter.path(), server_id = %server.id, "server submitted for review");
    let shown = if submitter.is_full() {
        row::row_with(&server, warnings, &app)
    } else {
        row::submission(&server, &warnings)
    };
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Whoever submits must not fill the registry.
fn check_waiting(submitter: &Submitter, snapshot: &Snapshot) -> Result<(), ApiError> {
    let waiting = snapshot.servers().iter().filter(|server| {
        server.approval.status == ApprovalStatus::PendingReview
            && server.approval.submitted_by.as_deref() == Some(submitter.name())
    });
    if submitter.is_full() || waiting.count() < MAX_WAITING {
        return Ok(());
    }
    Err(ApiError::Forbidden(format!(
        "{MAX_WAITING} of your submissions wait for a review: more can be submitted when some of them are decided"
    )))
}
