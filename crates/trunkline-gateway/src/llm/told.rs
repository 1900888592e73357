//! What clients are told when they get no answer of a model: the envelope of their dialect, LiteLLM's statuses and types.

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::Response;
use trunkline_auth::AuthError;
use trunkline_llm::through::Api;
use trunkline_llm::{BadRequest, Cause, Dialect, Failure, ProviderError};
use trunkline_model::{Level, OutcomeStatus, RequestId};
use trunkline_policy::Denial;
use trunkline_upstream::fault::{Fault, printable};

use super::models::Ready;
use super::route::NoDeployment;
use crate::answer;
use crate::limits::{Exceeded, Limit};

/// Why there is no answer.
#[derive(Debug)]
pub struct Refused {
    /// For the client.
    pub failure: Failure,
    /// For records.
    pub word: &'static str,
    /// When to try again, seconds.
    pub retry_after: Option<u64>,
    /// What the provider has against the request, where names have an own list for that.
    pub cause: Option<Cause>,
}

impl Refused {
    /// A request that cannot be served as it is.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::new(status, message),
            word: "invalid_request",
            retry_after: None,
            cause: None,
        }
    }

    /// The same about a member of the body.
    #[must_use]
    pub fn param(mut self, param: Option<String>) -> Self {
        self.failure = self.failure.param(param);
        self
    }

    fn word(mut self, word: &'static str) -> Self {
        self.word = word;
        self
    }

    /// The answer in OpenAI's envelope.
    pub fn answer(&self) -> Response {
        self.answer_in(Dialect::OpenAi, &RequestId::new(""))
    }

    /// The answer in the envelope of a dialect.
    pub fn answer_in(&self, dialect: Dialect, request_id: &RequestId) -> Response {
        let status = StatusCode::from_u16(self.failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = self.failure.body(dialect, Some(request_id.as_str()));
        let mut response = answer::json(status, body);
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl Refused {
    /// The answer as the clients of a provider's own API read it.
    pub(super) fn answer_of(&self, api: Api, request_id: &RequestId) -> Response {
        let mut response = self.answer_in(Dialect::OpenAi, request_id);
        let (body, said) = api.error(&self.failure, request_id.as_str());
        if let Some((name, value)) = said {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        *response.body_mut() = body.into();
        response
    }
}

/// Nobody is known to ask, as a provider's clients read it.
pub(super) fn unauthorized_in(api: Api, error: AuthError, request_id: &RequestId) -> Response {
    let (mut parts, _) = answer::unauthorized(error, false).into_parts();
    let failure = Failure::new(parts.status.as_u16(), error.to_string()).kind(error.error_type());
    let (body, said) = api.error(&failure, request_id.as_str());
    if let Some((name, value)) = said {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }
    Response::from_parts(parts, body.into())
}

/// Nobody is known to ask.
pub(super) fn unauthorized(error: AuthError, dialect: Dialect, request_id: &RequestId) -> Response {
    let response = answer::unauthorized(error, false);
    if dialect != Dialect::Anthropic {
        return response;
    }
    let (parts, _) = response.into_parts();
    let failure = Failure::new(parts.status.as_u16(), error.to_string());
    Response::from_parts(parts, failure.body(dialect, Some(request_id.as_str())).into())
}

/// Who is known may not use a route, or is known no more.
pub(super) fn route(error: AuthError) -> Refused {
    let status = answer::unauthorized(error, false).status().as_u16();
    let refused = Refused::new(status, error.to_string()).word("denied");
    Refused {
        failure: refused.failure.kind("auth_error"),
        ..refused
    }
}

/// The time that a request may take is over.
pub(super) fn late(time: std::time::Duration) -> Refused {
    let text = format!("it took longer than the {} s that it may", time.as_secs_f64());
    Refused::new(408, text).word(OutcomeStatus::Timeout.as_str())
}

/// The provider told of an error in the middle of its answer.
pub(super) fn within(words: String) -> Refused {
    Refused::new(500, words).word(OutcomeStatus::UpstreamError.as_str())
}

/// A request that cannot be sent as it is.
pub(super) fn bad(error: BadRequest) -> Refused {
    Refused::new(400, error.message).param(error.param)
}

/// The caller may not use the model. The lists are not shown: they are for the log.
pub(super) fn denied(denial: Denial, model: &str) -> Refused {
    let kind = match denial.level {
        Level::Team => "team_model_access_denied",
        Level::User => "user_model_access_denied",
        Level::Organization => "org_model_access_denied",
        Level::EndUser => "customer_model_access_denied",
        Level::Key | Level::Scope | Level::Server => "key_model_access_denied",
    };
    let text = format!(
        "The requested model '{}' is not available for this API key, or the model name is invalid. Check the models available to you (GET /v1/models) and try again; an administrator gives a key models with `models`.",
        printable(model)
    );
    let refused = Refused::new(403, text)
        .param(Some("model".to_owned()))
        .word("denied");
    Refused {
        failure: refused.failure.kind(kind),
        ..refused
    }
}

/// The caller may not use all models of an API, and nothing says which of them the request is about.
pub(super) fn untold(denial: Denial, api: Api) -> Refused {
    let mut refused = denied(denial, api.prefix());
    refused.failure.message = format!(
        "This request does not say which one model of {0} it is about, or is about what several have in common: it is only for keys that may use all models of {0}. An administrator gives a key all of them with `models: [\"{0}/*\"]`.",
        api.prefix()
    );
    refused
}

/// There is nobody to ask in an API's name.
pub(super) fn no_account(api: Api) -> Refused {
    let variables = match api {
        Api::Bedrock => "AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        Api::Vertex => "VERTEXAI_CREDENTIALS and VERTEXAI_PROJECT",
        Api::Azure => "AZURE_API_BASE and AZURE_API_KEY",
        Api::Vllm => "HOSTED_VLLM_API_BASE",
        Api::OpenAi => "OPENAI_API_KEY",
        Api::Anthropic => "ANTHROPIC_API_KEY",
        Api::Gemini => "GEMINI_API_KEY",
        Api::Cohere => "COHERE_API_KEY",
        Api::Mistral => "MISTRAL_API_KEY",
    };
    let text = format!(
        "the gateway has no credential for {0} of its own: its operator has to set {variables}, or `use_in_pass_through: true` for a deployment of {0}",
        api.prefix()
    );
    Refused::new(503, text).word(OutcomeStatus::Misconfigured.as_str())
}

/// A name is one of `model_list`, and none of its deployments is of this API: it does not mean the API's own model.
pub(super) fn of_others(name: &str, api: Api) -> Refused {
    let text = format!(
        "{} is a name of model_list, and none of its deployments is of {}: ask for it at /v1/chat/completions and the like. An operator who means {1}'s own model gives the deployments another name.",
        printable(name),
        api.prefix()
    );
    Refused::new(400, text).param(Some("model".to_owned()))
}

/// A body that a provider could read as something else than the gateway does.
pub(super) fn other_kind(api: Api) -> Refused {
    let text = format!(
        "the body must be `application/json` or `multipart/form-data`: which model of {} it is for cannot be read of another `content-type`",
        api.prefix()
    );
    Refused::new(415, text)
}

/// There is no model of the name.
pub(super) fn unknown(model: &str) -> Refused {
    let text = format!(
        "Invalid model name passed in model={}. Call `/v1/models` to view available models for your key.",
        printable(model)
    );
    Refused::new(400, text).param(Some("model".to_owned()))
}

/// A limit of the caller's. A budget has LiteLLM's status for it.
pub(super) fn limited(exceeded: &Exceeded) -> Refused {
    if let Limit::Budget(_) | Limit::ModelBudget(_) = exceeded.limit {
        let refused = Refused::new(422, exceeded.to_string()).word("denied");
        return Refused {
            failure: refused.failure.kind("budget_exceeded"),
            ..refused
        };
    }
    Refused {
        retry_after: Some(exceeded.retry_after.as_secs()),
        ..Refused::new(429, exceeded.to_string()).word("rate_limited")
    }
}

/// Nothing can be asked.
pub(super) fn nobody(why: &NoDeployment, model: &str) -> Refused {
    let name = printable(model);
    match why {
        NoDeployment::Unknown | NoDeployment::Tried => unknown(model),
        NoDeployment::Unusable(defect) => {
            let text = format!("the model {name} is configured and cannot be used: {defect}");
            Refused::new(503, text).word(OutcomeStatus::Misconfigured.as_str())
        }
        NoDeployment::Gone => {
            let text = format!(
                "the deployment of the model {name} that has this response is not configured any more"
            );
            Refused::new(404, text)
        }
        NoDeployment::OtherEndpoint => {
            let text = format!("the provider of the model {name} does not serve this endpoint");
            Refused::new(400, text)
        }
        NoDeployment::OtherTags => {
            let text =
                format!("No deployments match the tags of this request (tag routing). Passed model={name}.");
            let refused = Refused::new(401, text).word("denied");
            Refused {
                failure: refused.failure.kind("auth_error"),
                ..refused
            }
        }
        NoDeployment::Resting(left) | NoDeployment::Full(left) => {
            let seconds = left.as_secs() + 1;
            let text = format!(
                "No deployments available for selected model, Try again in {seconds} seconds. Passed model={name}."
            );
            Refused {
                retry_after: Some(seconds),
                ..Refused::new(429, text).word(OutcomeStatus::RateLimited.as_str())
            }
        }
    }
}

/// There was no answer at all.
pub(super) fn fault(ready: &Ready, fault: Fault) -> Refused {
    let fault = Fault {
        message: ready.redacted(&fault.message),
        ..fault
    };
    let status = if fault.status == OutcomeStatus::Timeout {
        408
    } else {
        500
    };
    let text = format!("{}: {}", ready.deployment.provider, fault.message);
    Refused::new(status, text).word(fault.status.as_str())
}

/// There was an answer, and it is no success.
pub(super) fn provider(ready: &Ready, status: u16, body: &[u8], retry_after: Option<u64>) -> Refused {
    let mut error = ProviderError::read(body);
    let cause = error.cause(status);
    error.message = ready.redacted(&error.message);
    for word in [&mut error.kind, &mut error.code, &mut error.param] {
        *word = word.take().map(|word| ready.redacted(&word));
    }
    let word = match status {
        401 => OutcomeStatus::AuthRequired.as_str(),
        403 => OutcomeStatus::Forbidden.as_str(),
        408 => OutcomeStatus::Timeout.as_str(),
        429 => OutcomeStatus::RateLimited.as_str(),
        400..=499 => "invalid_request",
        _ => OutcomeStatus::UpstreamError.as_str(),
    };
    Refused {
        failure: error.failure(status, &ready.deployment.provider),
        word,
        retry_after,
        cause,
    }
}

/// There was an answer that cannot be handed on.
pub(super) fn unreadable(ready: &Ready, why: &str) -> Refused {
    let text = format!(
        "{} gave an answer that cannot be handed on: {}",
        ready.deployment.provider,
        // What is wrong with it may be said with words of its own.
        ready.redacted(why)
    );
    Refused::new(500, text).word(OutcomeStatus::ProtocolError.as_str())
}
