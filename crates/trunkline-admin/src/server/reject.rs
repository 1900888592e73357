//! `PUT /v1/mcp/server/{server_id}/reject`: ends a submission, with a reason.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value};
use trunkline_model::{ApprovalStatus, ServerId};
use utoipa::ToSchema;

use super::Verdict;
use crate::App;
use crate::actor::Admin;
use crate::body::{At, JsonObject, Loc, Problems};
use crate::error::ApiError;
use crate::openapi::ServerRow;
use crate::row;

/// Why a submission is rejected.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the shape of a body, for the document; `review_notes` below reads it"
)]
pub(crate) struct Rejection {
    /// For the submitter.
    review_notes: Option<String>,
}

/// Reject a submission
#[utoipa::path(
    put,
    path = "/v1/mcp/server/{server_id}/reject",
    tag = "MCP submissions",
    params(("server_id" = String, Path, description = "The server's id.")),
    request_body = Option<Rejection>,
    responses(
        (status = 200, description = "Rejected: the server serves nobody.", body = ServerRow),
        (status = 400, description = "Not pending review.", body = crate::error::ErrorBody),
        (status = 404, description = "No such server.", body = crate::error::ErrorBody),
        (status = 409, description = "Managed by file.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn reject(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let notes = review_notes(&body)?;
    let verdict = Verdict {
        status: ApprovalStatus::Rejected,
        notes,
        pinned: None,
    };
    let server = super::review(ServerId::new(id), verdict, &admin, &app).await?;
    Ok(Json(row::row(&server, &app)))
}

fn review_notes(body: &Map<String, Value>) -> Result<Option<String>, ApiError> {
    let mut problems = Problems::default();
    let mut notes = None;
    for (key, value) in body {
        if key != "review_notes" {
            let at = [Loc::from("body"), Loc::from(key.as_str())];
            problems.add(
                "extra_forbidden",
                &at,
                "Extra inputs are not permitted; did you mean review_notes?",
            );
        } else if !value.is_null() {
            notes = At::field(key, &mut problems).text(value).map(str::to_owned);
        }
    }
    problems.into_result().map(|()| notes)
}
