//! `PUT /v1/mcp/server/{server_id}/approve`: lets a submitted server serve.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde_json::Value;
use trunkline_model::{ApprovalStatus, ServerId};

use super::{Verdict, pin};
use crate::actor::Admin;
use crate::body::{Loc, Problems};
use crate::error::ApiError;
use crate::openapi::ServerRow;
use crate::{App, checks, row};

/// Approve a submission
///
/// Its tools are listed with its own credential, and pinned as they are. If they cannot be, nothing is approved: try again, or say
/// `pin=false`.
#[utoipa::path(
    put,
    path = "/v1/mcp/server/{server_id}/approve",
    tag = "MCP submissions",
    params(
        ("server_id" = String, Path, description = "The server's id."),
        ("pin" = Option<bool>, Query, description = "`false`: nothing is pinned. Otherwise the tools are listed and accepted as they are."),
    ),
    responses(
        (status = 200, description = "Approved: the server serves.", body = ServerRow),
        (status = 400, description = "Not pending review.", body = crate::error::ErrorBody),
        (status = 403, description = "A stdio server, and administrators may not run programs.", body = crate::error::ErrorBody),
        (status = 404, description = "No such server.", body = crate::error::ErrorBody),
        (status = 409, description = "Managed by file, changed while its tools were listed, or its tools cannot be pinned.", body = crate::error::ErrorBody),
        (status = 422, description = "A parameter that is unknown.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn approve(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let wants_pins = wants_pins(query.as_deref().unwrap_or_default())?;
    let id = ServerId::new(id);
    let seen = super::find_reviewable(&id, ApprovalStatus::Active, &admin, &app)?;
    let pinned = if wants_pins {
        let pins = pin::at_approval(&seen, &app).await?;
        Some((seen, pins))
    } else {
        None
    };
    let verdict = Verdict {
        status: ApprovalStatus::Active,
        notes: None,
        pinned,
    };
    let server = super::review(id, verdict, &admin, &app).await?;
    let warnings = checks::standing_warnings(&server.definition);
    Ok(Json(row::row_with(&server, warnings, &app)))
}

fn wants_pins(query: &str) -> Result<bool, ApiError> {
    let mut problems = Problems::default();
    let mut wanted = true;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let at = [Loc::from("query"), Loc::from(name.as_ref())];
        match (name.as_ref(), value.as_ref()) {
            ("pin", "true" | "True") => wanted = true,
            ("pin", "false" | "False") => wanted = false,
            ("pin", _) => problems.add("bool_parsing", &at, "Input should be a valid boolean"),
            _ => problems.add(
                "extra_forbidden",
                &at,
                "Extra inputs are not permitted; no such parameter",
            ),
        }
    }
    problems.into_result().map(|()| wanted)
}
