//! Failures of the toolset routes: LiteLLM's `{"detail": {"error": …}}`, and `FastAPI`'s 422.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use trunkline_store::{ToolsetWriteError, WriteError};

use crate::error::{ApiError, respond};

/// Why a request about a toolset is not carried out.
#[derive(Debug)]
pub(crate) enum ToolsetError {
    /// 422: the body or the query is not what the schema says.
    Invalid(ApiError),
    /// 403: not granted to the caller, or there is none: the two are not told apart.
    NotGranted,
    /// 404, with the id.
    NotFound(String),
    /// From the store, with the id.
    Write(String, ToolsetWriteError),
}

impl From<ApiError> for ToolsetError {
    fn from(error: ApiError) -> Self {
        Self::Invalid(error)
    }
}

impl IntoResponse for ToolsetError {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Invalid(error) => return error.into_response(),
            Self::NotGranted => (
                StatusCode::FORBIDDEN,
                "API key does not have access to this toolset.".to_owned(),
            ),
            Self::NotFound(id) | Self::Write(id, ToolsetWriteError::NotFound) => {
                (StatusCode::NOT_FOUND, format!("Toolset '{id}' not found."))
            }
            Self::Write(_, ToolsetWriteError::NameTaken { name }) => (
                StatusCode::CONFLICT,
                format!(
                    "A toolset named '{name}' already exists. Names are compared ignoring case, and with ids."
                ),
            ),
            Self::Write(_, error @ ToolsetWriteError::Unreadable { .. }) => (
                StatusCode::BAD_REQUEST,
                format!("{error}. It grants nothing; delete it and make another"),
            ),
            // Logged and said as for servers.
            Self::Write(_, ToolsetWriteError::Store(error)) => {
                return ApiError::Write(WriteError::Store(error)).into_response();
            }
        };
        respond(status, text)
    }
}
