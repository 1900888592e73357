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
#[openapi(paths(
    rest_tools_list,
    rest_tools_call,
    all_tools,
    chat_completions,
    completions,
    embeddings,
    messages,
    count_tokens,
    responses,
    response,
    response_delete,
    response_cancel,
    response_input_items,
    crate::other_models::rerank,
    crate::other_models::moderations,
    crate::other_models::images,
    crate::other_models::speech,
    crate::other_models::transcriptions,
    crate::own_apis::openai,
    crate::own_apis::anthropic,
    crate::own_apis::gemini,
    crate::own_apis::vertex_ai,
    crate::own_apis::bedrock,
    crate::own_apis::azure,
    crate::own_apis::cohere,
    crate::own_apis::mistral,
    crate::own_apis::vllm,
    models,
    model,
    model_info,
    model_groups,
    liveliness,
    readiness,
    metrics
))]
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

/// OpenAI's or Anthropic's request: only these members are looked at, all others are relayed as they are, or translated if the provider
/// speaks the other dialect. LiteLLM's own (`guardrails`, `cache`, `api_base` …) are refused.
#[derive(ToSchema)]
pub(crate) struct ModelRequest {
    /// The name of the model, as `/v1/models` lists it.
    model: String,
    /// Whether the answer comes in pieces, as an event stream.
    stream: Option<bool>,
    /// The end user whom it is made for.
    user: Option<String>,
    /// Names of models that are asked when this one fails.
    fallbacks: Option<Vec<String>>,
    /// No other name is asked.
    disable_fallbacks: Option<bool>,
    /// How often it is tried again.
    num_retries: Option<u32>,
    /// Seconds that it may take.
    timeout: Option<f64>,
    /// Which deployments it is for, and by what else it is found.
    tags: Option<Vec<String>>,
}

/// The provider's answer, in which `model` is the name that was asked for.
#[derive(ToSchema)]
pub(crate) struct ModelAnswer {
    /// The name of the model.
    model: Option<String>,
    /// Tokens, as the provider counts them.
    usage: Option<Map<String, Value>>,
}

/// OpenAI's envelope of errors.
#[derive(ToSchema)]
pub(crate) struct ModelErrorBody {
    /// What went wrong.
    error: ModelError,
}

/// What went wrong.
#[derive(ToSchema)]
struct ModelError {
    /// For people.
    message: String,
    /// LiteLLM's type.
    #[schema(rename = "type")]
    kind: String,
    /// The member of the request that it is about.
    param: Option<String>,
    /// The HTTP status as text.
    code: String,
}

/// Anthropic's envelope of errors.
#[derive(ToSchema)]
struct MessageErrorBody {
    /// `error`
    #[schema(rename = "type")]
    kind: String,
    /// What went wrong.
    error: MessageError,
    /// The id of the request.
    request_id: Option<String>,
}

/// What went wrong.
#[derive(ToSchema)]
struct MessageError {
    /// Anthropic's type.
    #[schema(rename = "type")]
    kind: String,
    /// For people.
    message: String,
}

/// How many tokens a message would take.
#[derive(ToSchema)]
struct TokenCount {
    /// Of the request.
    input_tokens: u64,
}

/// A model.
#[derive(ToSchema)]
struct Model {
    /// Its name.
    id: String,
    /// `model`
    object: String,
    /// A time, the same for all.
    created: i64,
    /// `openai`, whoever it is.
    owned_by: String,
}

/// The models that the caller may use.
#[derive(ToSchema)]
struct ModelNames {
    /// `list`
    object: String,
    /// In the order of their names.
    data: Vec<Model>,
}

/// A deployment.
#[derive(ToSchema)]
struct ModelDeployment {
    /// The name that clients ask for.
    model_name: String,
    /// Which model of which provider; for administrators, where it is. Never a credential.
    litellm_params: Map<String, Value>,
    /// Its `id`, and what the configuration says.
    model_info: Map<String, Value>,
    /// Why it cannot be used, for administrators.
    defect: Option<String>,
}

/// The deployments of the models that the caller may use.
#[derive(ToSchema)]
struct ModelDeployments {
    /// By name.
    data: Vec<ModelDeployment>,
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

/// Chat with a model
///
/// Also at `/chat/completions`, `/engines/{model}/chat/completions` and `/openai/deployments/{model}/chat/completions`.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer; with `stream`, its event stream.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
fn chat_completions() {}

/// Let a model go on with a text
///
/// Also at `/completions`, `/engines/{model}/completions` and `/openai/deployments/{model}/completions`.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer; with `stream`, its event stream.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
fn completions() {}

/// Vectors for texts
///
/// Also at `/embeddings`, `/engines/{model}/embeddings` and `/openai/deployments/{model}/embeddings`.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer; with `stream`, its event stream.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
fn embeddings() {}

/// A message of a model, in Anthropic's dialect
///
/// Also at `/anthropic/v1/messages`. Errors are in Anthropic's envelope.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer, translated if it speaks another dialect; with `stream`, its event stream.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed or translated, or the provider rejects it.", body = MessageErrorBody),
        (status = 403, description = "The caller may not use the model.", body = MessageErrorBody),
        (status = 408, description = "No answer in time.", body = MessageErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = MessageErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = MessageErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = MessageErrorBody),
    ),
)]
fn messages() {}

/// How many tokens a message would take
///
/// Also at `/anthropic/v1/messages/count_tokens`. Providers of OpenAI's dialect do not say it.
#[utoipa::path(
    post,
    path = "/v1/messages/count_tokens",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer.", body = TokenCount),
        (status = 400, description = "No such model, or its provider does not say it, or rejects the request.", body = MessageErrorBody),
        (status = 403, description = "The caller may not use the model.", body = MessageErrorBody),
    ),
)]
fn count_tokens() {}

/// A response of a model, in OpenAI's newer dialect
///
/// Also at `/responses` and `/openai/v1/responses`.
#[utoipa::path(
    post,
    path = "/v1/responses",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer, translated if it speaks another dialect; with `stream`, its event stream.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed or translated, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
fn responses() {}

/// A response that its provider keeps
///
/// Also at `/responses/{response_id}` and `/openai/v1/responses/{response_id}`, like those below. Only the key that asked for it may.
#[utoipa::path(
    get,
    path = "/v1/responses/{response_id}",
    tag = "Models",
    params(("response_id" = String, Path, description = "Its id, as the gateway gave it.")),
    responses(
        (status = 200, description = "The provider's answer.", body = ModelAnswer),
        (status = 403, description = "The caller may not use the model any more.", body = ModelErrorBody),
        (status = 404, description = "There is none, or it is another key's.", body = ModelErrorBody),
    ),
)]
fn response() {}

/// Have a response kept no longer
#[utoipa::path(
    delete,
    path = "/v1/responses/{response_id}",
    tag = "Models",
    params(("response_id" = String, Path, description = "Its id, as the gateway gave it.")),
    responses(
        (status = 200, description = "The provider's answer.", body = ModelAnswer),
        (status = 403, description = "The caller may not use the model any more.", body = ModelErrorBody),
        (status = 404, description = "There is none, or it is another key's.", body = ModelErrorBody),
    ),
)]
fn response_delete() {}

/// Have a response in the background written no further
#[utoipa::path(
    post,
    path = "/v1/responses/{response_id}/cancel",
    tag = "Models",
    params(("response_id" = String, Path, description = "Its id, as the gateway gave it.")),
    responses(
        (status = 200, description = "The provider's answer.", body = ModelAnswer),
        (status = 400, description = "It is not in the background.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model any more.", body = ModelErrorBody),
        (status = 404, description = "There is none, or it is another key's.", body = ModelErrorBody),
    ),
)]
fn response_cancel() {}

/// What was asked for a response
#[utoipa::path(
    get,
    path = "/v1/responses/{response_id}/input_items",
    tag = "Models",
    params(("response_id" = String, Path, description = "Its id, as the gateway gave it.")),
    responses(
        (status = 200, description = "The provider's answer.", body = ModelAnswer),
        (status = 403, description = "The caller may not use the model any more.", body = ModelErrorBody),
        (status = 404, description = "There is none, or it is another key's.", body = ModelErrorBody),
    ),
)]
fn response_input_items() {}

/// List the models that the caller may use
///
/// Also at `/models`.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "Models",
    params(("return_wildcard_routes" = Option<bool>, Query, description = "With the names that have a `*`.")),
    responses((status = 200, description = "Their names.", body = ModelNames)),
)]
fn models() {}

/// Whether the caller may use a model
///
/// Also at `/models/{model}`.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "Models",
    params(("model" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "It may.", body = Model),
        (status = 404, description = "There is none, or it may not.", body = ModelErrorBody),
    ),
)]
fn model() {}

/// The deployments of the models that the caller may use
///
/// Also at `/model/info`.
#[utoipa::path(
    get,
    path = "/v1/model/info",
    tag = "Models",
    params(("litellm_model_id" = Option<String>, Query, description = "One deployment.")),
    responses(
        (status = 200, description = "Those.", body = ModelDeployments),
        (status = 400, description = "No such deployment.", body = ModelErrorBody),
    ),
)]
fn model_info() {}

/// A model, with what all its deployments are together.
#[derive(ToSchema)]
#[expect(clippy::struct_field_names, reason = "LiteLLM's names")]
struct ModelGroup {
    /// The name that clients ask for.
    model_group: String,
    /// LiteLLM's prefixes of its providers.
    providers: Vec<String>,
    /// `chat`, `embedding` …
    mode: Option<String>,
    /// Tokens of a request, at most.
    max_input_tokens: Option<u64>,
    /// Tokens of an answer, at most.
    max_output_tokens: Option<u64>,
    /// Dollars, the most of all; null if one of them has no price.
    input_cost_per_token: Option<f64>,
    /// The same of answers.
    output_cost_per_token: Option<f64>,
}

/// The models that the caller may use.
#[derive(ToSchema)]
struct ModelGroups {
    /// By name.
    data: Vec<ModelGroup>,
}

/// The models that the caller may use, each with what it costs and can do
#[utoipa::path(
    get,
    path = "/model_group/info",
    tag = "Models",
    params(("model_group" = Option<String>, Query, description = "One of them.")),
    responses((status = 200, description = "Those.", body = ModelGroups)),
)]
fn model_groups() {}

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
