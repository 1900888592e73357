//! `POST /v2/key/info`: shows several keys; `POST /key/health`: says that a key is one. Everything is in memory.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::error::KeyError;
use super::fields::{names, refuse_others};
use super::lookup;
use super::row;
use super::schema::{KeyHealth, KeyInfos, KeysNamed};
use crate::App;
use crate::actor::Caller;
use crate::body::JsonObject;
use crate::budget;

/// Show several virtual keys
///
/// Those of `keys` and `key_aliases` that are there and that the caller sees; of the others nothing is said.
#[utoipa::path(
    post,
    path = "/v2/key/info",
    tag = "Keys",
    request_body = KeysNamed,
    responses(
        (status = 200, description = "The keys, under their hashes, and their rows.", body = KeyInfos),
        (status = 422, description = "Unknown fields, no lists of texts.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn infos(
    caller: Caller,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["keys", "key_aliases"])?;
    let directory = app.directory();
    let given = names(&body, "keys")?.unwrap_or_default();
    let aliases = names(&body, "key_aliases")?.unwrap_or_default();
    let by_hash = given.iter().filter_map(|given| lookup::hash_of(given));
    let by_hash = by_hash.filter_map(|hash| directory.keys.get(&hash).cloned());
    let by_alias = aliases.iter().filter_map(|alias| lookup::by_alias(&app, alias));
    let mut keys: Vec<_> = by_hash.chain(by_alias).collect();
    keys.retain(|key| caller.sees_key(key, &directory));
    let (hashes, rows): (Vec<Value>, Vec<Value>) = keys
        .iter()
        .map(|key| {
            let mut info: Map<String, Value> = row::info(key, &directory);
            let budget = budget::shown(key.budget_id.as_ref(), &directory);
            info.insert("litellm_budget_table".to_owned(), budget);
            (Value::from(&*key.id), Value::from(info))
        })
        .unzip();
    Ok(Json(json!({"key": hashes, "info": rows})))
}

/// Say that a key is good
///
/// The one of the request. Logging of single keys (`metadata.logging`) is not served, so that there is nothing of it to try.
#[utoipa::path(
    post,
    path = "/key/health",
    tag = "Keys",
    responses((status = 200, description = "It is.", body = KeyHealth)),
)]
pub(crate) async fn health(_caller: Caller) -> Json<Value> {
    Json(json!({"key": "healthy", "logging_callbacks": null}))
}
