//! Failures of the model routes: LiteLLM's `{"error": {"message", "type", "param", "code"}}`, and `FastAPI`'s 422.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use trunkline_store::{ModelWriteError, WriteError};

use crate::actor::AuthErrorBody;
use crate::error::ApiError;

/// Why a request about a model is not carried out. No text has a value of the body in it.
#[derive(Debug)]
pub(crate) enum ModelError {
    /// 422: the body is not what the schema says.
    Invalid(ApiError),
    /// 400, with the field.
    Bad(&'static str, String),
    /// 500, as LiteLLM: models are not kept in the database.
    Off,
    /// 400: it is in the file.
    OfFile(String),
    /// From the store, with the id.
    Write(String, ModelWriteError),
}

impl From<ApiError> for ModelError {
    fn from(error: ApiError) -> Self {
        Self::Invalid(error)
    }
}

impl IntoResponse for ModelError {
    fn into_response(self) -> Response {
        let bad = (StatusCode::BAD_REQUEST, "bad_request_error");
        let ((status, kind), param, message) = match self {
            Self::Invalid(error) => return error.into_response(),
            Self::Bad(param, message) => (bad, Some(param), message),
            Self::Off => (
                (StatusCode::INTERNAL_SERVER_ERROR, "auth_error"),
                None,
                "Set `'STORE_MODEL_IN_DB='True'` in your env to enable this feature, or general_settings.store_model_in_db: true".to_owned(),
            ),
            Self::OfFile(id) => (
                bad,
                Some("id"),
                format!("The model with id={id} is in the configuration file: change it there"),
            ),
            Self::Write(id, ModelWriteError::NotFound) => (
                bad,
                Some("id"),
                format!("Model with id={id} not found in db"),
            ),
            Self::Write(id, ModelWriteError::Duplicate) => {
                (bad, Some("id"), format!("Model with id={id} exists already"))
            }
            Self::Write(_, ModelWriteError::Refused { reason }) => (bad, Some("litellm_params"), reason),
            Self::Write(_, error @ ModelWriteError::Unreadable { .. }) => (
                bad,
                Some("id"),
                format!("{error}. Delete it and make another"),
            ),
            // Logged and said as for servers.
            Self::Write(_, ModelWriteError::Store(error)) => {
                return ApiError::Write(WriteError::Store(error)).into_response();
            }
        };
        (status, Json(AuthErrorBody::new(status, kind, param, message))).into_response()
    }
}
