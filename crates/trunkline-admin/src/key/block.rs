//! `POST /key/block` and `/key/unblock`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use trunkline_auth::Directory;
use trunkline_model::VirtualKey;
use trunkline_store::DirectoryWrite;

use super::delegate::{Hand, Operation};
use super::error::KeyError;
use super::fields::refuse_others;
use super::schema::{KeyNamed, KeyRow};
use super::{lookup, row};
use crate::App;
use crate::actor::Manager;
use crate::body::JsonObject;
use crate::tenant::touch;

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
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    set(&body, true, &manager, &app).await
}

/// Unblock a virtual key
///
/// What an administrator has made or blocked, only an administrator unblocks.
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
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    set(&body, false, &manager, &app).await
}

async fn set(
    body: &Map<String, Value>,
    blocked: bool,
    manager: &Manager,
    app: &App,
) -> Result<Json<Value>, KeyError> {
    refuse_others(body, &["key"])?;
    let hash = lookup::required(body)?;
    let now = app.now();
    let operation = if blocked {
        Operation::Block
    } else {
        Operation::Unblock
    };
    let plan = |directory: &Directory| {
        let hand = Hand::of(manager, directory)?;
        let before = hand.reach(hash, operation)?;
        let mut key = VirtualKey::clone(&before);
        key.blocked = blocked;
        touch(&mut key.stamps, now, manager.id());
        hand.bound_change(&before, &mut key)?;
        Ok((vec![DirectoryWrite::BlockKey(Box::new(key.clone()))], key))
    };
    let key = app.as_stored(app.change(manager.actor(), plan).await?);
    tracing::info!(
        actor = manager.id(),
        path = manager.path(),
        key = &*key.id,
        blocked,
        "key blocked or unblocked"
    );
    Ok(Json(row::row(&key, &app.directory()).into()))
}
