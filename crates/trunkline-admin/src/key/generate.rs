//! `POST /key/generate`: makes a key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use trunkline_auth::{key_hash, key_name, new_key};
use trunkline_model::{Secret, Stamps, VirtualKey};

use super::error::KeyError;
use super::fields::{Change, chosen_key};
use super::row;
use super::schema::{KeyMade, NewKey};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;

/// Make a virtual key
///
/// The answer is the only one that has the key. Without `object_permission` it may use the servers that are for every key,
/// and no others. Fields of LiteLLM's that are not served yet are refused unless they are null or empty.
#[utoipa::path(
    post,
    path = "/key/generate",
    tag = "Keys",
    request_body = NewKey,
    responses(
        (status = 200, description = "The key.", body = KeyMade),
        (status = 400, description = "An alias or key that is taken.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown or not supported fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn generate(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let now = app.now();
    let change = Change::read(&body, &["key"], now)?;
    let secret = secret(chosen_key(&body, "key")?, "key", &app)?;
    let mut key = VirtualKey {
        key_name: Some(key_name(&secret)),
        stamps: Stamps {
            created_at: Some(now),
            created_by: Some(admin.id().to_owned()),
            updated_at: Some(now),
            updated_by: Some(admin.id().to_owned()),
        },
        ..VirtualKey::new(key_hash(secret.expose()))
    };
    change.apply(&mut key, (app.new_id)());
    let key = app.registry.keys().insert(key).await?;
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        key = &*key.id,
        "key made"
    );
    Ok(Json(row::made(&key, &secret, &app).into()))
}

/// The chosen key, or one that is made here.
pub(super) fn secret(chosen: Option<Secret>, field: &'static str, app: &App) -> Result<Secret, KeyError> {
    let secret = chosen.unwrap_or_else(new_key);
    if row::is_master_key(&app.authenticator, &secret) {
        return Err(KeyError::Bad(
            field,
            "the master key is no virtual key".to_owned(),
        ));
    }
    Ok(secret)
}
