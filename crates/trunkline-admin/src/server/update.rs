//! `PUT /v1/mcp/server`: changes a server. Omitted fields are kept, null sets the default, the id never changes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::Value;
use trunkline_model::{Origin, Server};

use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::error::ApiError;
use crate::openapi::{ServerChange, ServerRow};
use crate::programs::MayRun;
use crate::{request, row};

/// Change an MCP server
///
/// Fields that are omitted are kept, null sets the default of a new server, and secrets that come back as `***` are
/// kept. Servers of the configuration file are changed there.
#[utoipa::path(
    put,
    path = "/v1/mcp/server",
    tag = "MCP servers",
    request_body = ServerChange,
    responses(
        (status = 202, description = "Changed.", body = ServerRow),
        (status = 400, description = "As for registering.", body = crate::error::ErrorBody),
        (status = 403, description = "stdio servers come from the configuration file, or from administrators with `mcp_stdio: admin`.", body = crate::error::ErrorBody),
        (status = 404, description = "No such server.", body = crate::error::ErrorBody),
        (status = 409, description = "Managed by file.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON, no `server_id`.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let may_run = MayRun::of(&admin, &app);
    let id = request::required_id(&body, may_run)?;
    let _writing = app.writing.lock().await;
    let server = super::find_changeable(&id, &app)?;
    let declared = request::change(&server, &body, may_run)?;
    let mut stamps = server.stamps.clone();
    stamps.updated_at = Some(app.now());
    stamps.updated_by = Some(admin.id().to_owned());
    let changed = Server {
        id,
        origin: Origin::Database,
        definition: declared.definition,
        approval: server.approval.clone(),
        stamps,
        // Found anew when the row is read back: a secret that does not open and is not given again stays as it is.
        defect: None,
    };
    let stored = app.registry.update(admin.actor(), changed).await?;
    tracing::info!(actor = admin.id(), path = admin.path(), server_id = %stored.id, fields = ?body.keys().collect::<Vec<_>>(), "server changed");
    Ok((
        StatusCode::ACCEPTED,
        Json(row::row_with(&stored, declared.warnings, &app)),
    ))
}
