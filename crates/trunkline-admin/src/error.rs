//! The one place that says failures in HTTP: LiteLLM's `{"detail": {"error": …}}`, `FastAPI`'s 422.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use trunkline_model::ServerId;
use trunkline_store::WriteError;
use utoipa::ToSchema;

use crate::body::Problem;

/// Why a request of an admin is not carried out. Texts are fixed but for ids, names and field names.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// 422: the body is not what the schema says.
    Invalid(Vec<Problem>),
    /// 413
    TooLarge,
    /// 400
    BadRequest(String),
    /// 403
    Forbidden(String),
    /// 404
    NotFound(ServerId),
    /// 404: the server has no pin for this tool.
    NoPin(ServerId, String),
    /// 409
    ManagedByFile(ServerId),
    /// 409: it is not what the caller has seen.
    Conflict(String),
    /// 502: the server could not be listed.
    NotListed(String),
    /// From the store.
    Write(WriteError),
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// LiteLLM's envelope of management errors.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    detail: ErrorDetail,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
struct ErrorDetail {
    /// For people: what is wrong and what to do.
    error: String,
}

/// `FastAPI`'s envelope of validation errors.
#[derive(Serialize, ToSchema)]
pub(crate) struct ValidationErrorBody {
    /// Everything that is wrong with the body.
    detail: Vec<Problem>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(detail) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                Json(ValidationErrorBody { detail }),
            )
                .into_response(),
            other => {
                let (status, error) = other.words();
                respond(status, error)
            }
        }
    }
}

impl ApiError {
    /// Status and text, on one line.
    pub(crate) fn words(self) -> (StatusCode, String) {
        match self {
            Self::Invalid(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                (StatusCode::UNPROCESSABLE_ENTITY, problems.join("; "))
            }
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request body is larger than {} bytes", crate::MAX_BODY),
            ),
            Self::BadRequest(error) => (StatusCode::BAD_REQUEST, error),
            Self::Forbidden(error) => (StatusCode::FORBIDDEN, error),
            Self::NotFound(id) => (
                StatusCode::NOT_FOUND,
                format!("MCP Server not found, passed server_id={id}"),
            ),
            Self::NoPin(id, tool) => (
                StatusCode::NOT_FOUND,
                format!("MCP Server {id} has no pin for a tool {tool:?}"),
            ),
            Self::ManagedByFile(id) => (
                StatusCode::CONFLICT,
                format!(
                    "MCP Server {id} is managed by file: change it under mcp_servers in the configuration file, which is read again when it changes"
                ),
            ),
            Self::Conflict(error) => (StatusCode::CONFLICT, error),
            Self::NotListed(error) => (StatusCode::BAD_GATEWAY, error),
            Self::Write(error) => write_error(error),
        }
    }
}

pub(crate) fn respond(status: StatusCode, error: String) -> Response {
    (
        status,
        Json(ErrorBody {
            detail: ErrorDetail { error },
        }),
    )
        .into_response()
}

/// What the store says. A conflict is 400, as with LiteLLM; what the store could not do is 503, never a success.
fn write_error(error: WriteError) -> (StatusCode, String) {
    match error {
        WriteError::DuplicateId { id } => (
            StatusCode::BAD_REQUEST,
            format!("MCP Server with id {id} already exists. Cannot create another."),
        ),
        WriteError::NameTaken { name, by } => (
            StatusCode::BAD_REQUEST,
            format!(
                "the name {name:?} already belongs to MCP Server {by} (names of servers, ignoring case, are ids, aliases and server names): choose another alias or server_name"
            ),
        ),
        WriteError::ManagedByFile { id } => ApiError::ManagedByFile(id).words(),
        WriteError::NotFound { id } => ApiError::NotFound(id).words(),
        WriteError::Store(error) => {
            // The source names tables and statements: for the log, not for the answer.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the store could not carry out a change"
            );
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database did not carry out the change: nothing is changed for clients, which are served as before; the gateway's log and `trunkline db status` say what is wrong; then try again".to_owned(),
            )
        }
    }
}
