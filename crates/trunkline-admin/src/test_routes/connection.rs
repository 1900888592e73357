//! `POST /mcp-rest/test/connection`: does a server answer?

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::TraceStep;
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::error::ApiError;
use crate::openapi::NewServer;
use crate::outcome::OutcomeBody;

/// Whether the server answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConnectionAnswer {
    /// `ok` or `error`.
    status: &'static str,
    /// True after a failure, else not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<bool>,
    /// Why, after a failure, else not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// What came of it.
    outcome: OutcomeBody,
    /// The way there, step by step.
    trace: Vec<TraceStep>,
    /// The negotiated revision.
    protocol_version: Option<String>,
    /// What to know about the declaration.
    warnings: Vec<String>,
}

/// Test the connection to an MCP server
///
/// The body is a server as for registering, or `server_id` of a registered one: its stored credentials are used then,
/// unless the body gives a URL elsewhere. Nothing is stored. A failure of the server is an answer with status 200.
#[utoipa::path(
    post,
    path = "/mcp-rest/test/connection",
    tag = "MCP tests",
    request_body = NewServer,
    responses(
        (status = 200, description = "It was tried.", body = ConnectionAnswer),
        (status = 400, description = "As for registering.", body = crate::error::ErrorBody),
        (status = 403, description = "stdio servers come from the configuration file, or from administrators with `mcp_stdio: admin`.", body = crate::error::ErrorBody),
        (status = 404, description = "`server_id` alone, and there is no such server.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn connection(
    admin: Admin,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Json<ConnectionAnswer>, ApiError> {
    let tested = super::test(&body, &admin, &headers, &app).await?;
    Ok(Json(ConnectionAnswer {
        status: if tested.failure.is_none() { "ok" } else { "error" },
        error: tested.failure.is_some().then_some(true),
        outcome: tested.outcome(),
        message: tested.failure,
        trace: tested.trace,
        protocol_version: tested.probe.protocol_version,
        warnings: tested.warnings,
    }))
}
