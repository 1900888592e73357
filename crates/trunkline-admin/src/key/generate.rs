//! `POST /key/generate`: makes a key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use trunkline_auth::{Directory, key_hash, key_name, new_key};
use trunkline_model::{Secret, Stamps, VirtualKey};
use trunkline_store::{DirectoryWrite, KeyWriteError};

use super::delegate::Hand;
use super::error::KeyError;
use super::fields::{Change, chosen_key};
use super::schema::{KeyMade, NewKey};
use super::{belonging, row};
use crate::App;
use crate::actor::Manager;
use crate::body::JsonObject;
use crate::tenant::new_stamps;

/// Make a virtual key
///
/// The answer is the only one that has the key. Without `object_permission` it may use the servers that are for every key,
/// and no others. A user makes keys of its own and of its teams, which have no more than it may hand out. `all-team-mcpservers` in its `mcp_servers` is what its team has. Fields of LiteLLM's that are not served yet are refused unless they are null or empty.
#[utoipa::path(
    post,
    path = "/key/generate",
    tag = "Keys",
    request_body = NewKey,
    responses(
        (status = 200, description = "The key.", body = KeyMade),
        (status = 400, description = "An alias or key that is taken.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "More than the caller may hand out.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such team.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown or not supported fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn generate(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    make(&manager, &app, &body, false).await
}

/// Makes the key that a body describes. `is_service`: it is nobody's.
pub(crate) async fn make(
    manager: &Manager,
    app: &App,
    body: &Map<String, Value>,
    is_service: bool,
) -> Result<Json<Value>, KeyError> {
    let now = app.now();
    let change = Change::read(body, &["key"], now)?;
    let chosen = chosen_key(body, "key")?;
    let is_chosen = chosen.is_some();
    let secret = secret(chosen, "key", app)?;
    let mut key = key_of(&secret, change, (app.new_id)(), new_stamps(now, manager.id()));
    let snapshot = app.registry.snapshot();
    let plan = |directory: &Directory| {
        let hand = Hand::of(manager, directory)?;
        hand.check_chosen(is_chosen, "key")?;
        hand.bound_new(&mut key, is_service)?;
        belonging::check(&key, None, directory, &snapshot)?;
        Ok((vec![DirectoryWrite::NewKey(Box::new(key.clone()))], key))
    };
    let key = app.as_stored(app.change(manager.actor(), plan).await?);
    tracing::info!(
        actor = manager.id(),
        path = manager.path(),
        key = &*key.id,
        "key made"
    );
    Ok(Json(row::made(&key, &secret, app).into()))
}

/// What is stored of a new key.
pub(crate) fn key_of(secret: &Secret, change: Change, new_id: String, stamps: Stamps) -> VirtualKey {
    let mut key = VirtualKey {
        key_name: Some(key_name(secret)),
        stamps,
        ..VirtualKey::new(key_hash(secret.expose()))
    };
    change.apply(&mut key, new_id);
    key
}

/// The chosen key, or one that is made here.
pub(crate) fn secret(chosen: Option<Secret>, field: &'static str, app: &App) -> Result<Secret, KeyError> {
    let secret = chosen.unwrap_or_else(new_key);
    if app.directory().is_previous(&key_hash(secret.expose())) {
        return Err(KeyWriteError::Duplicate.into());
    }
    if row::is_master_key(&app.authenticator, &secret) {
        return Err(KeyError::Bad(
            field,
            "the master key is no virtual key".to_owned(),
        ));
    }
    Ok(secret)
}
