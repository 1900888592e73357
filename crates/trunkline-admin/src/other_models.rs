//! The shapes of the routes to models that are no texts, which `trunkline-gateway` serves, for the document alone.

#![expect(
    dead_code,
    reason = "types and functions here are read by the macros that make the document, never run"
)]

use crate::data_plane::{ModelAnswer, ModelErrorBody, ModelRequest};

/// The order of documents by how well they answer
///
/// Also at `/rerank` and `/v2/rerank`. Requests and answers are Cohere's.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
pub(crate) fn rerank() {}

/// Whether texts are harmful
///
/// Also at `/moderations`.
#[utoipa::path(
    post,
    path = "/v1/moderations",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
pub(crate) fn moderations() {}

/// Pictures of a model
///
/// Also at `/images/generations` and `/openai/deployments/{model}/images/generations`.
#[utoipa::path(
    post,
    path = "/v1/images/generations",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The provider's answer.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
pub(crate) fn images() {}

/// A text that is said aloud
///
/// Also at `/audio/speech` and `/openai/deployments/{model}/audio/speech`.
#[utoipa::path(
    post,
    path = "/v1/audio/speech",
    tag = "Models",
    request_body = ModelRequest,
    responses(
        (status = 200, description = "The sound, piece by piece as the provider sends it.", body = Vec<u8>, content_type = "audio/mpeg"),
        (status = 400, description = "No such model, a request that cannot be relayed, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
pub(crate) fn speech() {}

/// What is said in a sound
///
/// Also at `/audio/transcriptions` and `/openai/deployments/{model}/audio/transcriptions`. The body is a form with a `file` and a `model`.
#[utoipa::path(
    post,
    path = "/v1/audio/transcriptions",
    tag = "Models",
    request_body(content = ModelRequest, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The provider's answer: JSON, text or an event stream.", body = ModelAnswer),
        (status = 400, description = "No such model, a request that cannot be relayed, or the provider rejects it.", body = ModelErrorBody),
        (status = 403, description = "The caller may not use the model.", body = ModelErrorBody),
        (status = 408, description = "No answer in time.", body = ModelErrorBody),
        (status = 429, description = "A limit of the key or of the provider, or every deployment failed a moment ago.", body = ModelErrorBody),
        (status = 500, description = "The provider failed, or cannot be reached.", body = ModelErrorBody),
        (status = 503, description = "The model is configured and cannot be used.", body = ModelErrorBody),
    ),
)]
pub(crate) fn transcriptions() {}
