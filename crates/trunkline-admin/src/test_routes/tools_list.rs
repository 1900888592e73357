//! `POST /mcp-rest/test/tools/list`: which tools does a server have?

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::TraceStep;
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::error::ApiError;
use crate::openapi::NewServer;
use crate::outcome::OutcomeBody;

/// The tools of a server, as it sent them, under its own names.
#[derive(Serialize, ToSchema)]
pub(crate) struct ToolsAnswer {
    /// Empty after a failure.
    #[schema(value_type = Vec<crate::data_plane::Tool>)]
    tools: Vec<Box<RawValue>>,
    /// Null, or the kind of the failure: `outcome.status`.
    error: Option<&'static str>,
    /// What happened, a line.
    message: String,
    /// What came of it.
    outcome: OutcomeBody,
    /// The way there, step by step.
    trace: Vec<TraceStep>,
    /// The negotiated revision.
    protocol_version: Option<String>,
    /// What to know about the declaration.
    warnings: Vec<String>,
}

/// List the tools of an MCP server that need not be registered
///
/// The body is a server as for registering, or `server_id` of a registered one: its stored credentials are used then,
/// unless the body gives a URL elsewhere. Nothing is stored. A failure of the server is an answer with status 200.
#[utoipa::path(
    post,
    path = "/mcp-rest/test/tools/list",
    tag = "MCP tests",
    request_body = NewServer,
    responses(
        (status = 200, description = "It was tried.", body = ToolsAnswer),
        (status = 400, description = "As for registering.", body = crate::error::ErrorBody),
        (status = 403, description = "stdio servers come from the configuration file, or from administrators with `mcp_stdio: admin`.", body = crate::error::ErrorBody),
        (status = 404, description = "`server_id` alone, and there is no such server.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn tools_list(
    admin: Admin,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Json<ToolsAnswer>, ApiError> {
    let tested = super::test(&body, &admin, &headers, &app).await?;
    let failed = tested.failure.is_some();
    Ok(Json(ToolsAnswer {
        error: failed.then(|| tested.probe.outcome.status.as_str()),
        outcome: tested.outcome(),
        message: tested
            .failure
            .unwrap_or_else(|| "Successfully retrieved tools".to_owned()),
        trace: tested.trace,
        tools: if failed { Vec::new() } else { tested.probe.tools },
        protocol_version: tested.probe.protocol_version,
        warnings: tested.warnings,
    }))
}
