//! Failures of the key routes: LiteLLM's `{"error": {"message", "type", "param", "code"}}`, and `FastAPI`'s 422.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use trunkline_store::{KeyWriteError, StoreError};

use crate::actor::AuthErrorBody;
use crate::error::ApiError;

/// Why a request about a key is not carried out. No text has a key in it.
#[derive(Debug)]
pub(crate) enum KeyError {
    /// 422: the body or the query is not what the schema says.
    Invalid(ApiError),
    /// 400, with the field.
    Bad(&'static str, String),
    /// 403: another one's key.
    NotOwn,
    /// 404
    NotFound,
    /// 404: nobody has this id. With the word for what it would be, and the field.
    Nobody(&'static str, &'static str, String),
    /// 403, with the field: more than the caller may hand out.
    TooMuch(&'static str, String),
    /// From the store.
    Write(KeyWriteError),
}

impl From<ApiError> for KeyError {
    fn from(error: ApiError) -> Self {
        Self::Invalid(error)
    }
}

impl From<KeyWriteError> for KeyError {
    fn from(error: KeyWriteError) -> Self {
        Self::Write(error)
    }
}

impl From<StoreError> for KeyError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

/// Status and `error.type`.
type Kind = (StatusCode, &'static str);

impl IntoResponse for KeyError {
    fn into_response(self) -> Response {
        match self.words() {
            Ok(((status, kind), param, message)) => {
                (status, Json(AuthErrorBody::new(status, kind, param, message))).into_response()
            }
            Err(error) => error.into_response(),
        }
    }
}

impl KeyError {
    /// Whether the caller may not do it, whatever else is the matter.
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::NotOwn | Self::TooMuch(..))
    }

    /// Why, for people, on one line.
    pub(crate) fn reason(self) -> String {
        match self.words() {
            Ok((_, _, message)) => message,
            Err(error) => error.words().1,
        }
    }

    /// Status, the field that is wrong, and the text; or the error that has a body of its own.
    fn words(self) -> Result<(Kind, Option<&'static str>, String), ApiError> {
        let bad = (StatusCode::BAD_REQUEST, "bad_request_error");
        Ok(match self {
            Self::Invalid(error) => return Err(error),
            Self::Bad(param, message) => (bad, Some(param), message),
            Self::NotOwn => (
                (StatusCode::FORBIDDEN, "auth_error"),
                Some("key"),
                "Authentication Error, You are not allowed to access this key's info. A key may see its own"
                    .to_owned(),
            ),
            Self::NotFound | Self::Write(KeyWriteError::NotFound) => (
                (StatusCode::NOT_FOUND, "not_found_error"),
                Some("key"),
                "Key not found in database".to_owned(),
            ),
            Self::Nobody(what, param, id) => (
                (StatusCode::NOT_FOUND, "not_found_error"),
                Some(param),
                format!("{what} not found, passed {param}={id}"),
            ),
            Self::TooMuch(param, message) => ((StatusCode::FORBIDDEN, "auth_error"), Some(param), message),
            Self::Write(KeyWriteError::Duplicate) => (
                bad,
                Some("key"),
                "this key exists already: choose another".to_owned(),
            ),
            Self::Write(KeyWriteError::AliasTaken { alias }) => (
                bad,
                Some("key_alias"),
                format!(
                    "Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
                ),
            ),
            Self::Write(error @ KeyWriteError::Unreadable { .. }) => (
                bad,
                Some("key"),
                format!("{error}. It is refused everywhere; delete it and make another"),
            ),
            Self::Write(KeyWriteError::Store(error)) => {
                // The source names tables and statements: for the log, not for the answer.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the store could not carry out a change of a key"
                );
                (
                    (StatusCode::SERVICE_UNAVAILABLE, "no_db_connection"),
                    None,
                    "the database did not carry out the change: nothing is changed; the gateway's log and `trunkline db status` say what is wrong; then try again".to_owned(),
                )
            }
        })
    }
}
