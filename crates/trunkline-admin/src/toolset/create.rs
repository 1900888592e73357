//! `POST /v1/mcp/toolset`: makes a toolset.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::Value;
use trunkline_model::{Stamps, Toolset};

use super::body::Change;
use super::error::ToolsetError;
use super::row;
use super::schema::{NewToolset, ToolsetRow};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;

/// Make a toolset
///
/// A named list of tools, of one or several servers. It is served at `/toolset/{name}/mcp`, and `mcp_toolsets` of a key grants
/// it. Servers and tools that are not there now are kept, and named in `warnings`.
#[utoipa::path(
    post,
    path = "/v1/mcp/toolset",
    tag = "Toolsets",
    request_body = NewToolset,
    responses(
        (status = 201, description = "The toolset.", body = ToolsetRow),
        (status = 403, description = "The caller is no administrator.", body = crate::error::ErrorBody),
        (status = 409, description = "A name that is taken.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn create(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Value>), ToolsetError> {
    let (name, change) = Change::of_new(&body)?;
    let now = app.now();
    let id = (app.new_id)();
    let mut toolset = Toolset::new(id.clone(), name, Vec::new());
    toolset.stamps = Stamps {
        created_at: Some(now),
        created_by: Some(admin.id().to_owned()),
        updated_at: Some(now),
        updated_by: Some(admin.id().to_owned()),
    };
    change.apply(&mut toolset);
    let stored = app.registry.toolset_insert(admin.actor(), toolset).await;
    let stored = stored.map_err(|error| ToolsetError::Write(id, error))?;
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        toolset_id = stored.id,
        "toolset made"
    );
    Ok((StatusCode::CREATED, Json(row::full(&stored, &app))))
}
