//! `POST /key/update`: changes what a key may do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use trunkline_auth::Directory;
use trunkline_model::VirtualKey;
use trunkline_store::DirectoryWrite;

use super::belonging;
use super::delegate::{Hand, Operation};
use super::error::KeyError;
use super::fields::Change;
use super::schema::{KeyChange, KeyRow};
use super::{lookup, row};
use crate::App;
use crate::actor::Manager;
use crate::body::JsonObject;
use crate::tenant::touch;

/// Change a virtual key
///
/// What the body does not name stays as it is, also of the members of `object_permission`. It counts from the next request
/// on, and for open streams within a second, on every replica. Without `key`, `key_alias` says which. Users and admins of teams narrow
/// what an administrator has said of a key, and change what they have made within what they may hand out.
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
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    Ok(Json(one(&manager, &app, &body, Operation::Update, None).await?))
}

/// Changes the key that a body names, which has to be of `team` if there is one; the key as it is now.
pub(crate) async fn one(
    manager: &Manager,
    app: &App,
    body: &Map<String, Value>,
    operation: Operation,
    team: Option<&str>,
) -> Result<Value, KeyError> {
    let now = app.now();
    let change = Change::read(body, &["key"], now)?;
    let alias = body.get("key_alias").and_then(Value::as_str);
    let named = match (body.get("key"), alias) {
        (None | Some(Value::Null), Some(alias)) => Err(alias),
        _ => Ok(lookup::required(body)?),
    };
    let new_id = (app.new_id)();
    let snapshot = app.registry.snapshot();
    let plan = |directory: &Directory| {
        let hand = Hand::of(manager, directory)?;
        let hash = match named {
            Ok(hash) => hash,
            Err(alias) => hand.named(alias)?,
        };
        let before = hand.reach(hash, operation)?;
        if team.is_some() && before.team_id.as_deref() != team {
            return Err(KeyError::NotFound);
        }
        let mut key = VirtualKey::clone(&before);
        change.apply(&mut key, new_id);
        touch(&mut key.stamps, now, manager.id());
        hand.bound_change(&before, &mut key)?;
        belonging::check(&key, Some(&before), directory, &snapshot)?;
        Ok((vec![DirectoryWrite::PutKey(hash, Box::new(key.clone()))], key))
    };
    let key = app.as_stored(app.change(manager.actor(), plan).await?);
    tracing::info!(
        actor = manager.id(),
        path = manager.path(),
        key = &*key.id,
        "key changed"
    );
    let mut row = row::row(&key, &app.directory());
    row.insert("key".to_owned(), (&*key.id).into());
    row.insert(
        "warnings".to_owned(),
        row::warnings(&key, &app.registry.snapshot()).into(),
    );
    Ok(row.into())
}
