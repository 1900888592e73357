//! The shapes of providers' own APIs, which `trunkline-gateway` relays, for the document alone.

#![expect(
    dead_code,
    reason = "functions here are read by the macros that make the document, never run"
)]

/// OpenAI's own API, as it is
///
/// The path is the provider's, with its slashes. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/openai/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn openai() {}

/// Anthropic's own API, as it is
///
/// The path is the provider's, with its slashes. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/anthropic/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn anthropic() {}

/// Google AI Studio's own API, as it is
///
/// The path is the provider's, with its slashes. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/gemini/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn gemini() {}

/// Google's cloud's own API, as it is
///
/// The path is the provider's, with its slashes. Also at `/vertex-ai/{path}`. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/vertex_ai/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn vertex_ai() {}

/// AWS's Bedrock Runtime's own API, as it is
///
/// The path is the provider's, with its slashes. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/bedrock/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn bedrock() {}

/// Azure OpenAI's own API, as it is
///
/// The path is the provider's, with its slashes. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/azure/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn azure() {}

/// Cohere's own API, as it is
///
/// The path is the provider's, with its slashes. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/cohere/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn cohere() {}

/// Mistral's own API, as it is
///
/// The path is the provider's, with its slashes. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/mistral/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn mistral() {}

/// vLLM's own API, as it is
///
/// The path is the provider's, with its slashes. Errors of the gateway's own are in the provider's form.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/vllm/{path}",
    tag = "Models",
    params(("path" = String, Path, description = "The path at the provider.")),
    responses(
        (status = 200, description = "The provider's answer, with its own status."),
        (status = 400, description = "A path that leads elsewhere, or a body that can be read in two ways."),
        (status = 403, description = "The caller may not use the model, or not all of the provider's where nobody can tell which it is."),
        (status = 408, description = "No answer in time."),
        (status = 422, description = "A budget is exceeded, or there is one and nobody knows what it will cost."),
        (status = 429, description = "A limit of the key or of the provider."),
        (status = 500, description = "The provider failed, or cannot be reached."),
        (status = 503, description = "The gateway has no credential for the provider."),
    ),
)]
pub(crate) fn vllm() {}
