//! `POST /key/block` and `/key/unblock`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};

use super::error::KeyError;
use super::fields::refuse_others;
use super::schema::{KeyNamed, KeyRow};
use super::{lookup, row};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;

/// Block a virtual key
///
/// It is refused from then on, and its open streams end, on every replica, within a second.
#[utoipa::path(
    post,
    path = "/key/block",
    tag = "Keys",
    request_body = KeyNamed,
    responses(
        (status = 200, description = "The key as it is now.", body = KeyRow),
        (status = 404, description = "No such key.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, no key.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn block(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    set(&body, true, &admin, &app).await
}

/// Unblock a virtual key
#[utoipa::path(
    post,
    path = "/key/unblock",
    tag = "Keys",
    request_body = KeyNamed,
    responses(
        (status = 200, description = "The key as it is now.", body = KeyRow),
        (status = 404, description = "No such key.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, no key.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn unblock(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    set(&body, false, &admin, &app).await
}

async fn set(
    body: &Map<String, Value>,
    blocked: bool,
    admin: &Admin,
    app: &App,
) -> Result<Json<Value>, KeyError> {
    refuse_others(body, &["key"])?;
    let hash = lookup::required(body)?;
    let now = app.now();
    let stamp = (now, admin.id().to_owned());
    let key = app
        .registry
        .keys()
        .set_blocked(admin.actor(), hash, blocked, stamp)
        .await?;
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        key = &*key.id,
        blocked,
        "key blocked or unblocked"
    );
    Ok(Json(row::row(&key, now).into()))
}
