//! `POST /key/update`: changes what a key may do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};

use super::belonging;
use super::error::KeyError;
use super::fields::Change;
use super::schema::{KeyChange, KeyRow};
use super::{lookup, row};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;

/// Change a virtual key
///
/// What the body does not name stays as it is, also of the members of `object_permission`. It counts from the next request
/// on, and for open streams within a second, on every replica. Without `key`, `key_alias` says which.
#[utoipa::path(
    post,
    path = "/key/update",
    tag = "Keys",
    request_body = KeyChange,
    responses(
        (status = 200, description = "The key as it is now, under its hash.", body = KeyRow),
        (status = 400, description = "An alias that is taken.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "More than the caller may hand out.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such key.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown or not supported fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    Ok(Json(one(&admin, &app, &body).await?))
}

/// Changes the key that a body names; the key as it is now.
pub(crate) async fn one(admin: &Admin, app: &App, body: &Map<String, Value>) -> Result<Value, KeyError> {
    let now = app.now();
    let change = Change::read(body, &["key"], now)?;
    let alias = body.get("key_alias").and_then(Value::as_str);
    let hash = match (body.get("key"), alias) {
        (None | Some(Value::Null), Some(alias)) => {
            lookup::by_alias(app, alias).ok_or(KeyError::NotFound)?.hash
        }
        _ => lookup::required(body)?,
    };
    let own = app.registry.keys().ring().get(&hash);
    belonging::check(&change, own.as_deref(), app)?;
    let (by, new_id) = (admin.id().to_owned(), (app.new_id)());
    let edit = move |key: &mut trunkline_model::VirtualKey| {
        change.apply(key, new_id);
        key.stamps.updated_at = Some(now);
        key.stamps.updated_by = Some(by);
    };
    let key = app
        .registry
        .keys()
        .update(admin.actor(), hash, Box::new(edit))
        .await?;
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        key = &*key.id,
        "key changed"
    );
    let mut row = row::row(&key, now);
    row.insert("key".to_owned(), (&*key.id).into());
    row.insert(
        "warnings".to_owned(),
        row::warnings(&key, &app.registry.snapshot()).into(),
    );
    Ok(row.into())
}
