//! `GET /key/info`: shows a key. Everything is in memory.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};

use super::error::KeyError;
use super::lookup;
use super::row;
use super::schema::KeyInfo;
use crate::App;
use crate::actor::Caller;
use crate::budget;

/// Show a virtual key
///
/// Without `key`, the caller's own. A key sees its own, those of its user, and those of teams that its user is an admin of.
#[utoipa::path(
    get,
    path = "/key/info",
    tag = "Keys",
    params(("key" = Option<String>, Query, description = "The key's hash. A key itself does not belong in a URL.")),
    responses(
        (status = 200, description = "The key, under its hash.", body = KeyInfo),
        (status = 403, description = "Another one's key.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such key.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn info(
    caller: Caller,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let query = query.unwrap_or_default();
    let given = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "key" && !value.is_empty())
        .map(|(_, value)| lookup::hash_of(&value));
    let directory = app.directory();
    let key = match (caller.principal.key(), given) {
        (Some(own), None) => own.clone(),
        (_, Some(Some(hash))) => match directory.keys.get(&hash) {
            Some(key) if caller.sees_key(key, &directory) => key.clone(),
            None if caller.sees_all() => return Err(KeyError::NotFound),
            // What is not its own is not told from what nobody has.
            _ => return Err(KeyError::NotOwn),
        },
        (_, Some(None)) if !caller.sees_all() => return Err(KeyError::NotOwn),
        // The master key is no row.
        (_, None | Some(None)) => return Err(KeyError::NotFound),
    };
    let mut info = row::info(&key, &directory);
    let budget = budget::shown(key.budget_id.as_ref(), &directory);
    info.insert("litellm_budget_table".to_owned(), budget);
    Ok(Json(json!({"key": &*key.id, "info": info})))
}
