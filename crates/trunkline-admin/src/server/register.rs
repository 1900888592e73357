//! `POST /v1/mcp/server/register`: submits a server for review.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::Value;
use trunkline_model::{Approval, ApprovalStatus};

use super::create;
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::error::ApiError;
use crate::openapi::{NewServer, ServerRow};
use crate::programs::MayRun;
use crate::{request, row};

/// Submit an MCP server for review
///
/// It serves nobody until it is approved. So far an administrator submits; LiteLLM asks
/// for the key of a team here.
#[utoipa::path(
    post,
    path = "/v1/mcp/server/register",
    tag = "MCP submissions",
    request_body = NewServer,
    responses(
        (status = 201, description = "Submitted: `approval_status` is `pending_review`.", body = ServerRow),
        (status = 400, description = "As for registering.", body = crate::error::ErrorBody),
        (status = 403, description = "stdio servers come from the configuration file.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn register(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let declared = request::new_server(&body, MayRun::No)?;
    let pending = |now| Approval {
        status: ApprovalStatus::PendingReview,
        submitted_by: Some(admin.id().to_owned()),
        submitted_at: Some(now),
        ..Approval::default()
    };
    let (server, warnings) = create::insert(declared, pending, &admin, &app).await?;
    tracing::info!(actor = admin.id(), path = admin.path(), server_id = %server.id, "server submitted for review");
    Ok((StatusCode::CREATED, Json(row::row_with(&server, warnings, &app))))
}
