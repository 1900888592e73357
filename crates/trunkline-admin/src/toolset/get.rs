//! `GET /v1/mcp/toolset/{toolset_id}`: shows a toolset, to the administrator and to keys that were granted it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use super::error::ToolsetError;
use super::row;
use super::schema::ToolsetRow;
use crate::App;
use crate::actor::Caller;

/// Show a toolset
///
/// A key sees those that it was granted. Others are 403 for it, whether there are any or not.
#[utoipa::path(
    get,
    path = "/v1/mcp/toolset/{toolset_id}",
    tag = "Toolsets",
    params(("toolset_id" = String, Path, description = "The toolset's id.")),
    responses(
        (status = 200, description = "The toolset.", body = ToolsetRow),
        (status = 403, description = "It was not granted to the caller.", body = crate::error::ErrorBody),
        (status = 404, description = "No such toolset.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn get(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ToolsetError> {
    let snapshot = app.registry.snapshot();
    let toolset = snapshot.toolsets().get(&id);
    match caller.principal.holder() {
        Some(holder) if !row::sees_all(&caller.principal) => {
            let toolset = toolset.filter(|toolset| holder.has_toolset(toolset));
            let toolset = toolset.ok_or(ToolsetError::NotGranted)?;
            Ok(Json(row::row(toolset).into()))
        }
        _ => {
            let toolset = toolset.ok_or(ToolsetError::NotFound(id))?;
            Ok(Json(row::full(toolset, &app)))
        }
    }
}
