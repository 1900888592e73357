//! The shapes of the REST routes that `trunkline-gateway` serves, for the document alone: that crate relays tools as
//! the bytes they came in, so it has no types to derive a schema from.

#![expect(
    dead_code,
    reason = "types and functions here are read by the macros that make the document, never run"
)]

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::{OpenApi, ToSchema};

use crate::error::ErrorBody;
use crate::outcome::OutcomeBody;

/// The routes.
#[derive(OpenApi)]
#[openapi(paths(rest_tools_list, rest_tools_call, all_tools, liveliness, readiness, metrics))]
pub(crate) struct DataPlane;

/// A tool as its server sent it; members that are not listed here are relayed too.
#[derive(ToSchema)]
pub(crate) struct Tool {
    /// Its name. `/v1/mcp/tools` has the exposed one (`{prefix}-{name}`), the other routes the server's own.
    name: String,
    /// For people.
    title: Option<String>,
    /// For models.
    description: Option<String>,
    /// JSON Schema of the arguments.
    #[schema(rename = "inputSchema")]
    input_schema: Map<String, Value>,
    /// JSON Schema of the structured result.
    #[schema(rename = "outputSchema")]
    output_schema: Option<Map<String, Value>>,
    /// Hints about its effects.
    annotations: Option<Map<String, Value>>,
    /// Where it comes from, in `/mcp-rest/tools/list`.
    mcp_info: Option<ToolOrigin>,
}

/// The server of a tool.
#[derive(ToSchema)]
struct ToolOrigin {
    /// Its id.
    server_id: String,
    /// Its name.
    server_name: Option<String>,
    /// Its alias.
    alias: Option<String>,
    /// Its logo.
    logo_url: Option<String>,
}

/// Tools of one or all servers.
#[derive(ToSchema)]
struct ToolList {
    /// Those that the caller may use.
    tools: Vec<Tool>,
    /// Null, `partial_failure` or `unexpected_error`.
    error: Option<String>,
    /// What happened, a line.
    message: String,
    /// What came of asking each server: the reason of every tool that is not there.
    server_outcomes: BTreeMap<String, OutcomeBody>,
}

/// Tools of all servers under their exposed names.
#[derive(ToSchema)]
struct AllTools {
    /// Those that the caller may use.
    tools: Vec<Tool>,
    /// What came of asking each server: the reason of every tool that is not there.
    server_outcomes: BTreeMap<String, OutcomeBody>,
}

/// A call.
#[derive(ToSchema)]
struct ToolCall {
    /// Id, name or alias of the server; not needed where the name is enough.
    server_id: Option<String>,
    /// The tool's own or exposed name.
    name: String,
    /// Its arguments.
    arguments: Option<Map<String, Value>>,
}

/// What the tool answered, as its server sent it.
#[derive(ToSchema)]
struct ToolResult {
    /// For models.
    content: Vec<Map<String, Value>>,
    /// By the tool's output schema.
    #[schema(rename = "structuredContent")]
    structured_content: Option<Map<String, Value>>,
    /// Whether the tool failed.
    #[schema(rename = "isError")]
    is_error: Option<bool>,
}

/// Whether the gateway can serve.
#[derive(ToSchema)]
struct Readiness {
    /// `healthy`, or why not.
    status: String,
    /// `connected` or `Not connected`.
    db: String,
}

/// List tools
///
/// Of all servers, or of one. Names are the servers' own.
#[utoipa::path(
    get,
    path = "/mcp-rest/tools/list",
    tag = "MCP tools",
    params(
        ("server_id" = Option<String>, Query, description = "Id, name or alias of one server."),
        ("mcp_server_name" = Option<String>, Query, description = "Name of one server."),
        ("toolset_name" = Option<String>, Query, description = "Name or id of a toolset that the caller was granted: its tools alone."),
    ),
    responses(
        (status = 200, description = "The tools, and why others are missing.", body = ToolList),
        (status = 403, description = "One server, and the caller may not use it, or it refuses the gateway.", body = ErrorBody),
        (status = 404, description = "One server or toolset, and there is none of that name.", body = ErrorBody),
        (status = 502, description = "One server, and it cannot be used.", body = ErrorBody),
        (status = 504, description = "One server, and it did not answer.", body = ErrorBody),
    ),
)]
fn rest_tools_list() {}

/// Call a tool
#[utoipa::path(
    post,
    path = "/mcp-rest/tools/call",
    tag = "MCP tools",
    request_body = ToolCall,
    responses(
        (status = 200, description = "The tool's answer, also when the tool says that it failed.", body = ToolResult),
        (status = 400, description = "A missing parameter.", body = ErrorBody),
        (status = 403, description = "The caller may not use the tool.", body = ErrorBody),
        (status = 404, description = "No such server.", body = ErrorBody),
        (status = 429, description = "The server is limiting the gateway.", body = ErrorBody),
        (status = 502, description = "The server cannot be used.", body = ErrorBody),
        (status = 504, description = "The server did not answer.", body = ErrorBody),
    ),
)]
fn rest_tools_call() {}

/// List the tools of all servers under their exposed names
#[utoipa::path(
    get,
    path = "/v1/mcp/tools",
    tag = "MCP tools",
    responses((status = 200, description = "The tools, and why others are missing.", body = AllTools)),
)]
fn all_tools() {}

/// Is the process alive?
#[utoipa::path(
    get,
    path = "/health/liveliness",
    tag = "Health",
    security(()),
    responses((status = 200, description = "It is.", body = String, example = json!("I'm alive!"))),
)]
fn liveliness() {}

/// Can it serve?
#[utoipa::path(
    get,
    path = "/health/readiness",
    tag = "Health",
    security(()),
    responses(
        (status = 200, description = "It can.", body = Readiness),
        (status = 503, description = "It cannot, or it is shutting down.", body = Readiness),
    ),
)]
fn readiness() {}

/// Metrics in the `OpenMetrics` text format
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Health",
    responses((status = 200, description = "The metrics.", body = String, content_type = "application/openmetrics-text")),
)]
fn metrics() {}
