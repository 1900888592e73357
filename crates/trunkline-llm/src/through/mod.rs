//! The APIs of providers that are relayed as they are, whatever the route: which there are, and how each tells of an error.
//!
//! - [`passage`]: a request by its path: where it goes, which model it names, what reads its answer.
//! - [`body`]: what of a body the gateway has to know, and what of it changes; `contents` has what is Google's and AWS's.
//! - [`meter`]: what an answer took, read beside it.
//!
//! Another API is a variant of [`Api`] and an arm in [`passage`].

pub mod body;
mod contents;
pub mod meter;
pub mod passage;

pub use body::Asked;
pub use contents::is_usual;
pub use meter::{Meter, Shape};
pub use passage::Passage;

use serde_json::json;

use crate::provider::VERTEX_ANTHROPIC;
use crate::{Dialect, Failure};

/// An API that is relayed as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Api {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Google's AI Studio's.
    Gemini,
    /// Google's cloud's.
    Vertex,
    /// AWS's Bedrock Runtime's.
    Bedrock,
    /// Azure OpenAI's.
    Azure,
    /// Cohere's.
    Cohere,
    /// Mistral's.
    Mistral,
    /// That of vLLM, wherever it runs.
    Vllm,
}

impl Api {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::OpenAi,
        Self::Anthropic,
        Self::Gemini,
        Self::Vertex,
        Self::Bedrock,
        Self::Azure,
        Self::Cohere,
        Self::Mistral,
        Self::Vllm,
    ];

    /// What its routes begin with here, as in LiteLLM.
    pub fn routes(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["openai"],
            Self::Anthropic => &["anthropic"],
            Self::Gemini => &["gemini"],
            Self::Vertex => &["vertex_ai", "vertex-ai"],
            Self::Bedrock => &["bedrock"],
            Self::Azure => &["azure"],
            Self::Cohere => &["cohere"],
            Self::Mistral => &["mistral"],
            Self::Vllm => &["vllm"],
        }
    }

    /// The prefixes of its deployments in `model_list`. What the first stands for is what names of models begin with that are no
    /// deployment's.
    pub fn providers(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["openai"],
            Self::Anthropic => &["anthropic"],
            Self::Gemini => &["gemini"],
            Self::Vertex => &["vertex_ai", VERTEX_ANTHROPIC],
            Self::Bedrock => &["bedrock"],
            Self::Azure => &["azure"],
            Self::Cohere => &["cohere", "cohere_chat"],
            Self::Mistral => &["mistral"],
            Self::Vllm => &["hosted_vllm"],
        }
    }

    /// The prefix of its names.
    pub fn prefix(self) -> &'static str {
        self.providers().first().copied().unwrap_or_default()
    }

    /// An error of the gateway's own, as the provider's clients read one: JSON text, and a header if it says something there.
    pub fn error(
        self,
        failure: &Failure,
        request_id: &str,
    ) -> (String, Option<(&'static str, &'static str)>) {
        let message = &failure.message;
        match self {
            Self::OpenAi | Self::Azure | Self::Mistral | Self::Vllm => {
                (failure.body(Dialect::OpenAi, Some(request_id)), None)
            }
            Self::Anthropic => (failure.body(Dialect::Anthropic, Some(request_id)), None),
            Self::Gemini | Self::Vertex => {
                let error =
                    json!({"code": failure.status, "message": message, "status": googles(failure.status)});
                (json!({ "error": error }).to_string(), None)
            }
            Self::Bedrock => {
                let kind = awss(failure.status);
                (
                    json!({ "message": message }).to_string(),
                    Some(("x-amzn-errortype", kind)),
                )
            }
            Self::Cohere => (json!({ "message": message }).to_string(), None),
        }
    }
}

/// Google's word for a status.
fn googles(status: u16) -> &'static str {
    match status {
        400 | 413 | 415 | 422 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 => "DEADLINE_EXCEEDED",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

/// AWS's.
fn awss(status: u16) -> &'static str {
    match status {
        400 | 413 | 415 | 422 => "ValidationException",
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_that_the_providers_clients_know() {
        let failure = Failure::new(403, "no \"such\" key");
        let told = |api: Api| api.error(&failure, "r1");
        let (google, _) = told(Api::Gemini);
        assert_eq!(
            google,
            r#"{"error":{"code":403,"message":"no \"such\" key","status":"PERMISSION_DENIED"}}"#
        );
        assert_eq!(
            told(Api::Bedrock),
            (
                r#"{"message":"no \"such\" key"}"#.to_owned(),
                Some(("x-amzn-errortype", "AccessDeniedException"))
            )
        );
        assert!(told(Api::Anthropic).0.contains("\"permission_error\""));
        assert!(told(Api::OpenAi).0.contains("\"code\":\"403\""));
    }
}
