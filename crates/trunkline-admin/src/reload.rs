//! `POST /config/reload`: reads the configuration file again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use trunkline_store::Actor;
use utoipa::ToSchema;

use crate::App;
use crate::actor::Admin;
use crate::error::{ApiError, ErrorBody, respond};
use crate::probe::BoxFuture;

/// The configuration file of the running gateway. A trait, because what is read is put together in the binary.
pub trait Configuration: Send + Sync + 'static {
    /// Reads it again, for somebody; what is not taken leaves everything as it is.
    fn reload(&self, by: Actor) -> BoxFuture<'_, Result<Reloaded, NotReloaded>>;
}

/// What a file that was read again has changed. Names of servers and settings alone, never values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfigReloaded)]
pub struct Reloaded {
    /// Whether anything is another than before.
    pub changed: bool,
    /// The servers of the file that are other ones.
    pub servers: ReloadedServers,
    /// Settings that hold from now on.
    pub applied: Vec<String>,
    /// Settings of the file that hold after a restart; until then the former ones do.
    pub needs_restart: Vec<String>,
    /// What to know about the file, each with its place.
    pub notices: Vec<String>,
}

/// The servers of the file that are other ones, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfigReloadedServers)]
pub struct ReloadedServers {
    /// New ones.
    pub added: Vec<String>,
    /// Those that are declared in another way.
    pub changed: Vec<String>,
    /// Those that are gone. Calls under way finish.
    pub removed: Vec<String>,
}

/// Why a file was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// The gateway was started without one.
    NoFile,
    /// The audit log cannot be written.
    NotStored {
        /// Since when the configuration holds that goes on.
        loaded_at: Timestamp,
    },
    /// It has mistakes, or cannot be read.
    Invalid {
        /// Since when the configuration holds that goes on.
        loaded_at: Timestamp,
        /// What is wrong.
        mistakes: Vec<Mistake>,
    },
}

/// A mistake in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfigMistake)]
pub struct Mistake {
    /// From 1; 0 if it is not in the file.
    pub line: u32,
    /// From 1; 0 if it is not in the file.
    pub column: u32,
    /// What is wrong and what to do.
    pub message: String,
}

/// A file that was not taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigRefused {
    detail: ConfigRefusedDetail,
}

/// Why.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigRefusedDetail {
    /// For people.
    error: String,
    /// Since when the configuration holds that goes on.
    #[schema(value_type = String, format = DateTime)]
    loaded_at: Timestamp,
    /// Every mistake with its place.
    mistakes: Vec<Mistake>,
}

/// Read the configuration file again
///
/// The same happens by itself when the file changes, and on SIGHUP. Servers that are declared as before keep their sessions,
/// lists and calls under way. A file with mistakes changes nothing.
#[utoipa::path(
    post,
    path = "/config/reload",
    tag = "Configuration",
    responses(
        (status = 200, description = "What is other than before.", body = Reloaded),
        (status = 400, description = "The gateway was started without a file.", body = ErrorBody),
        (status = 422, description = "The file has mistakes; nothing is changed.", body = ConfigRefused),
        (status = 503, description = "The database did not store that it was read; nothing is changed.", body = ErrorBody),
    ),
)]
pub(crate) async fn reload(admin: Admin, State(app): State<Arc<App>>) -> Response {
    match app.configuration.reload(admin.actor().clone()).await {
        Ok(reloaded) => {
            tracing::info!(
                actor = admin.id(),
                changed = reloaded.changed,
                "configuration file read again"
            );
            Json(reloaded).into_response()
        }
        Err(NotReloaded::NoFile) => ApiError::BadRequest(
            "the gateway was started without a configuration file: give --config FILE at the start"
                .to_owned(),
        )
        .into_response(),
        Err(NotReloaded::NotStored { loaded_at }) => respond(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "the database did not take the row of the audit log, so that the file was not taken: the running configuration is of {loaded_at}; \
                 the gateway's log and `trunkline db status` say what is wrong; then try again"
            ),
        ),
        Err(NotReloaded::Invalid { loaded_at, mistakes }) => {
            let count = mistakes.len();
            let error = format!(
                "the configuration file was not taken, it has {count} mistake(s); the running configuration is of {loaded_at}"
            );
            let detail = ConfigRefusedDetail {
                error,
                loaded_at,
                mistakes,
            };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(ConfigRefused { detail })).into_response()
        }
    }
}
