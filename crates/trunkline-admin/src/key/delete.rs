//! `POST /key/delete`: revokes keys for good.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use trunkline_auth::Directory;
use trunkline_model::KeyHash;
use trunkline_store::DirectoryWrite;
use utoipa::ToSchema;

use super::delegate::{Hand, Operation};
use super::error::KeyError;
use super::fields::{names, refuse_others};
use super::lookup;
use super::schema::KeysNamed;
use crate::App;
use crate::actor::Manager;
use crate::body::{At, JsonObject, Problems};

/// What was deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedKeys {
    /// What the request named: aliases as they were given, keys as their hashes.
    deleted_keys: Vec<String>,
}

/// Delete virtual keys
///
/// They are refused from then on, and their open streams end, on every replica, within a second. 404 if there is none of
/// them. Of a caller that is no administrator each has to be one that it may delete: 403, and nothing is deleted.
#[utoipa::path(
    post,
    path = "/key/delete",
    tag = "Keys",
    request_body = KeysNamed,
    responses(
        (status = 200, description = "They are gone.", body = DeletedKeys),
        (status = 404, description = "No such key.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, no keys.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not delete them.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn delete(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<DeletedKeys>, KeyError> {
    refuse_others(&body, &["keys", "key_aliases"])?;
    let named = named(&body, &app)?;
    let plan = |directory: &Directory| {
        let hand = Hand::of(&manager, directory)?;
        // Who is no administrator is not told what there is: one that it may not delete is all.
        let reached = named.iter().map(|(_, hash)| match hash {
            Some(hash) => hand.reach(*hash, Operation::Delete),
            None if manager.is_full() => Err(KeyError::NotFound),
            None => Err(KeyError::NotOwn),
        });
        let mut hashes = Vec::new();
        for key in reached {
            match key {
                Ok(key) => {
                    hand.check_deletion(&key)?;
                    hashes.push(key.hash);
                }
                Err(KeyError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        // Named twice, it is there once.
        hashes.sort();
        hashes.dedup();
        if hashes.is_empty() {
            return Err(KeyError::NotFound);
        }
        let writes = hashes.iter().copied().map(DirectoryWrite::DeleteKey).collect();
        Ok((writes, hashes))
    };
    let hashes = app.change(manager.actor(), plan).await?;
    for hash in hashes {
        tracing::info!(
            actor = manager.id(),
            path = manager.path(),
            key = hash.to_hex(),
            "key deleted"
        );
    }
    let deleted_keys = named.into_iter().map(|(name, _)| name).collect();
    Ok(Json(DeletedKeys { deleted_keys }))
}

/// What the body names, as it may be repeated, and the key that is meant by it.
fn named(body: &Map<String, Value>, app: &App) -> Result<Vec<(String, Option<KeyHash>)>, KeyError> {
    let keys = names(body, "keys")?;
    let aliases = names(body, "key_aliases")?;
    match (keys, aliases) {
        (Some(keys), None) => Ok(keys
            .into_iter()
            .map(|given| match lookup::hash_of(&given) {
                Some(hash) => (hash.to_hex(), Some(hash)),
                None => (given, None),
            })
            .collect()),
        (None, Some(aliases)) => Ok(aliases
            .into_iter()
            .map(|alias| {
                let hash = lookup::by_alias(app, &alias).map(|key| key.hash);
                (alias, hash)
            })
            .collect()),
        _ => {
            let mut problems = Problems::default();
            At::field("keys", &mut problems).problem::<()>(
                "missing",
                "Value error, either keys or key_aliases has to name some",
            );
            problems.into_result()?;
            Err(KeyError::NotFound)
        }
    }
}
