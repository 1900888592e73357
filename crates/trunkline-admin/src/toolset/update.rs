//! `PUT /v1/mcp/toolset`: changes a toolset.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use trunkline_model::Toolset;

use super::body::Change;
use super::error::ToolsetError;
use super::row;
use super::schema::{ToolsetChange, ToolsetRow};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;

/// Change a toolset
///
/// What the body does not name stays as it is. It counts from the next request on, for all keys that were granted the toolset
/// and for its URL, on every replica within a second; sessions whose lists change are told.
#[utoipa::path(
    put,
    path = "/v1/mcp/toolset",
    tag = "Toolsets",
    request_body = ToolsetChange,
    responses(
        (status = 200, description = "The toolset as it is now.", body = ToolsetRow),
        (status = 400, description = "What is stored of it cannot be read.", body = crate::error::ErrorBody),
        (status = 403, description = "The caller is no administrator.", body = crate::error::ErrorBody),
        (status = 404, description = "No such toolset.", body = crate::error::ErrorBody),
        (status = 409, description = "A name that is taken.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON, no `toolset_id`.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ToolsetError> {
    let (id, change) = Change::of_existing(&body)?;
    let (now, by) = (app.now(), admin.id().to_owned());
    let edit = move |toolset: &mut Toolset| {
        change.apply(toolset);
        toolset.stamps.updated_at = Some(now);
        toolset.stamps.updated_by = Some(by);
    };
    let stored = app
        .registry
        .toolset_update(admin.actor(), &id, Box::new(edit))
        .await;
    let stored = stored.map_err(|error| ToolsetError::Write(id, error))?;
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        toolset_id = stored.id,
        "toolset changed"
    );
    Ok(Json(row::full(&stored, &app)))
}
