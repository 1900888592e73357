//! `GET /v1/mcp/toolset`: shows the toolsets that the caller was granted, to the administrator all.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::Value;

use super::error::ToolsetError;
use super::row;
use super::schema::ToolsetRow;
use crate::App;
use crate::actor::Caller;
use crate::body::{Loc, Problems};

/// List the toolsets
///
/// Ordered by name. A key sees those that it was granted.
#[utoipa::path(
    get,
    path = "/v1/mcp/toolset",
    tag = "Toolsets",
    responses(
        (status = 200, description = "The toolsets.", body = Vec<ToolsetRow>),
        (status = 422, description = "There are no parameters.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn list(
    caller: Caller,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ToolsetError> {
    // A filter that is passed over would show more than was asked for.
    let mut problems = Problems::default();
    for (name, _) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let at = [Loc::from("query"), Loc::from(name.as_ref())];
        problems.add(
            "extra_forbidden",
            &at,
            "Extra inputs are not permitted; no such parameter",
        );
    }
    problems.into_result()?;
    let snapshot = app.registry.snapshot();
    let all = snapshot.toolsets().all().iter();
    Ok(Json(match caller.principal.holder() {
        Some(holder) if !row::sees_all(&caller.principal) => all
            .filter(|toolset| holder.has_toolset(toolset))
            .map(|toolset| Value::from(row::row(toolset)))
            .collect(),
        _ => all.map(|toolset| row::full(toolset, &app)).collect(),
    }))
}
