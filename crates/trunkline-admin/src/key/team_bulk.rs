//! `POST /team/key/bulk_update`: says the same of many keys of a team, of which each has its own answer.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use trunkline_model::KeyHash;

use super::bulk_update::{MAX_KEYS, Outcomes};
use super::delegate::{Hand, Operation};
use super::error::KeyError;
use super::fields::{Change, TEAM_FIELDS, TEAM_FIELDS_LATER, later, names, refuse_others, unknown};
use super::schema::{KeyChangesDone, TeamKeysChange};
use super::{lookup, update};
use crate::App;
use crate::actor::Manager;
use crate::body::{At, JsonObject, Loc, Problems};
use crate::tenant::fields;

/// Change many virtual keys of a team in one way
///
/// Each of `key_ids`, or with `all_keys_in_team` all that are neither blocked nor expired, has `update_fields` from now on. They are changed
/// one after the other: what cannot be is in `failed_updates` with its reason, and hinders no other. For proxy admins, for admins of the team, and for
/// members whom the team lets use `/key/update`: these change their own.
#[utoipa::path(
    post,
    path = "/team/key/bulk_update",
    tag = "Keys",
    request_body = TeamKeysChange,
    responses(
        (status = 200, description = "What became of each.", body = KeyChangesDone),
        (status = 400, description = "More than 500 keys.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "Not the caller's team.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "The team has no such keys.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown or not supported fields, none, or not one of `key_ids` and `all_keys_in_team`.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn team_bulk_update(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(
        &body,
        &["team_id", "key_ids", "all_keys_in_team", "update_fields"],
    )?;
    let team_id = fields::required(&body, "team_id")?;
    let fields = update_fields(&body, &app)?;
    let chosen = chosen(&body)?;
    Hand::of(&manager, &app.registry.keys().ring().directory())?.check_in_team(&team_id)?;
    let chosen = match chosen {
        Some(given) => named(given)?,
        None => all(&team_id, &manager, &app)?,
    };
    if chosen.is_empty() {
        return Err(KeyError::Nobody("Keys", "team_id", team_id));
    }
    let mut outcomes = Outcomes::default();
    for given in &chosen {
        let mut item = fields.clone();
        item.insert("key".to_owned(), given.as_str().into());
        let result = update::one(&manager, &app, &item, Operation::Update, Some(&team_id)).await;
        outcomes.add(given, result, &manager, &app);
    }
    Ok(Json(outcomes.shown()))
}

/// What is to be said of each. It is read here, too, so that what is wrong with it is said once and not of each key.
fn update_fields(body: &Map<String, Value>, app: &App) -> Result<Map<String, Value>, KeyError> {
    let Some(given) = body.get("update_fields") else {
        return Err(fields::missing("update_fields"));
    };
    let mut problems = Problems::default();
    let mut at = At::field("update_fields", &mut problems);
    let mut own = at.object(given).cloned().unwrap_or_default();
    own.retain(|name, value| {
        at.within(Loc::Name(name.clone()), |at| {
            if TEAM_FIELDS_LATER.contains(&name.as_str()) {
                later(value, at);
                return false;
            }
            if !TEAM_FIELDS.contains(&name.as_str()) {
                unknown(name, TEAM_FIELDS.into_iter(), at);
            }
            true
        })
    });
    if given.as_object().is_some_and(Map::is_empty) {
        at.problem::<()>(
            "value_error",
            "Value error, update_fields must specify at least one field to update.",
        );
    }
    problems.into_result()?;
    Change::read(&own, &[], app.now())?;
    Ok(own)
}

/// The keys that are named; `None`: all of the team.
fn chosen(body: &Map<String, Value>) -> Result<Option<Vec<String>>, KeyError> {
    let given = names(body, "key_ids")?;
    let is_all = fields::flag(body, "all_keys_in_team")?.unwrap_or(false);
    let mut problems = Problems::default();
    match (&given, is_all) {
        (Some(_), true) => {
            At::field("key_ids", &mut problems).problem::<()>(
                "value_error",
                "Value error, Provide either `key_ids` or `all_keys_in_team=True`, not both.",
            );
        }
        (None, false) => {
            At::field("key_ids", &mut problems).problem::<()>(
                "value_error",
                "Value error, Must provide either `key_ids` (non-empty) or `all_keys_in_team=True`.",
            );
        }
        _ => {}
    }
    problems.into_result()?;
    Ok(given)
}

/// Each once, however it is named.
fn named(mut given: Vec<String>) -> Result<Vec<String>, KeyError> {
    check_count(given.len())?;
    let mut seen = HashSet::new();
    given.retain(|own| {
        let hash = lookup::hash_of(own).map_or_else(|| own.clone(), KeyHash::to_hex);
        seen.insert(hash)
    });
    Ok(given)
}

/// Those of the team that the caller may change. What is blocked or expired stays as it is, as with LiteLLM: it is to be used no more.
fn all(team_id: &str, manager: &Manager, app: &App) -> Result<Vec<String>, KeyError> {
    let directory = app.registry.keys().ring().directory();
    let hand = Hand::of(manager, &directory)?;
    let now = app.now();
    let keys = directory.keys.values().filter(|key| {
        let is_used = !key.blocked && key.expires.is_none_or(|until| now < until);
        key.team_id.as_deref() == Some(team_id) && is_used && hand.reach(key.hash, Operation::Update).is_ok()
    });
    let mut hashes: Vec<String> = keys.map(|key| key.hash.to_hex()).collect();
    hashes.sort();
    if hashes.len() > MAX_KEYS {
        let text = format!(
            "Team {team_id} has more than {MAX_KEYS} keys. Use `key_ids` to update in batches of {MAX_KEYS}."
        );
        return Err(KeyError::Bad("all_keys_in_team", text));
    }
    Ok(hashes)
}

fn check_count(count: usize) -> Result<(), KeyError> {
    if count <= MAX_KEYS {
        return Ok(());
    }
    let text = format!("Maximum {MAX_KEYS} keys can be updated at once. Found {count} key_ids.");
    Err(KeyError::Bad("key_ids", text))
}
