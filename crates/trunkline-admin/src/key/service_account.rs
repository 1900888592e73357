//! `POST /key/service-account/generate`: a key that is a team's and nobody's.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};

use super::error::KeyError;
use super::generate;
use super::schema::{KeyMade, NewServiceAccount};
use crate::App;
use crate::actor::Manager;
use crate::body::JsonObject;
use crate::tenant::fields;

/// Make a virtual key for a service
///
/// It belongs to a team and to no user, so that it stays when people go. `metadata.service_account_id` is its name: what the body
/// says, else `key_alias`, else one that is made up.
#[utoipa::path(
    post,
    path = "/key/service-account/generate",
    tag = "Keys",
    request_body = NewServiceAccount,
    responses(
        (status = 200, description = "The key.", body = KeyMade),
        (status = 400, description = "No team, a user, an alias or key that is taken.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "More than the caller may hand out.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such team.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown or not supported fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn service_account(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(mut body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    if fields::text(&body, "team_id")?.is_none() {
        let text =
            "team_id is required for service account keys. Please specify `team_id` in the request body.";
        return Err(KeyError::Bad("team_id", text.to_owned()));
    }
    if fields::text(&body, "user_id")?.is_some() {
        let text = "a service account's key is no user's: leave user_id out, or use /key/generate";
        return Err(KeyError::Bad("user_id", text.to_owned()));
    }
    name(&mut body, &app);
    generate::make(&manager, &app, &body, true).await
}

/// Puts the service's name into `metadata`. What is no object there is refused as in any other key.
fn name(body: &mut Map<String, Value>, app: &App) {
    let alias = body.get("key_alias").filter(|alias| alias.is_string()).cloned();
    let metadata = body.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = Map::new().into();
    }
    if let Some(metadata) = metadata.as_object_mut() {
        let own = metadata.entry("service_account_id").or_insert(Value::Null);
        if own.is_null() {
            *own = alias.unwrap_or_else(|| (app.new_id)().into());
        }
    }
}
