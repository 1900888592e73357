//! `POST /v1/mcp/server`: registers a server.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::Value;
use trunkline_model::{Approval, Origin, Server, ServerId, Snapshot, Stamps};
use trunkline_store::Actor;

use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::error::ApiError;
use crate::openapi::{NewServer, ServerRow};
use crate::programs::MayRun;
use crate::request::{self, Declared};
use crate::row;

/// Register an MCP server
///
/// Unknown fields are refused. `transport` is `sse` when it is omitted, and Streamable HTTP is tried first then.
#[utoipa::path(
    post,
    path = "/v1/mcp/server",
    tag = "MCP servers",
    request_body = NewServer,
    responses(
        (status = 201, description = "The server is registered and serves.", body = ServerRow),
        (status = 400, description = "An id or name that is taken, an address that is none, a restriction that is not served.", body = crate::error::ErrorBody),
        (status = 403, description = "stdio servers come from the configuration file, or from administrators with `mcp_stdio: admin`.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn create(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let declared = request::new_server(&body, MayRun::of(&admin, &app))?;
    let (server, warnings) = insert(
        declared,
        |_, _| Ok(Approval::default()),
        (admin.id(), admin.actor()),
        &app,
    )
    .await?;
    tracing::info!(actor = admin.id(), path = admin.path(), server_id = %server.id, "server registered");
    Ok((StatusCode::CREATED, Json(row::row_with(&server, warnings, &app))))
}

/// Stores what a request declares. `approval` is made from the time of the stamps and what there is, while nobody else writes.
pub(super) async fn insert(
    declared: Declared,
    approval: impl FnOnce(jiff::Timestamp, &Snapshot) -> Result<Approval, ApiError>,
    (by, actor): (&str, &Actor),
    app: &App,
) -> Result<(Arc<Server>, Vec<String>), ApiError> {
    let now = app.now();
    let _writing = app.writing.lock().await;
    let server = Server {
        id: declared.id.unwrap_or_else(|| ServerId::new((app.new_id)())),
        origin: Origin::Database,
        definition: declared.definition,
        approval: approval(now, &app.registry.snapshot())?,
        stamps: Stamps {
            created_at: Some(now),
            created_by: Some(by.to_owned()),
            updated_at: Some(now),
            updated_by: Some(by.to_owned()),
        },
        defect: None,
    };
    Ok((app.registry.insert(actor, server).await?, declared.warnings))
}
