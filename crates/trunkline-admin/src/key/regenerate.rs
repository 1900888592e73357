//! `POST /key/regenerate`: gives a key another secret, and keeps what it may do.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use trunkline_auth::{Directory, key_hash, key_name};
use trunkline_model::{KeyHash, PreviousSecret, VirtualKey};
use trunkline_store::DirectoryWrite;

use super::belonging;
use super::delegate::{Hand, Operation};
use super::error::KeyError;
use super::fields::{Change, chosen_key, span};
use super::schema::{KeyMade, KeyRegenerated};
use super::{generate, lookup, row};
use crate::App;
use crate::actor::Manager;
use crate::body::{At, JsonObject, Problems};
use crate::tenant;

/// How long a secret may be good beside the one that replaced it.
const MAX_GRACE_DAYS: i64 = 90;
/// Secrets that a key may have beside its own.
const MAX_PREVIOUS: usize = 8;

/// Give a virtual key another secret
///
/// The one before is refused from then on, its streams and sessions end; or all that goes on until `grace_period` is over. The answer is the only one that has the new one.
#[utoipa::path(
    post,
    path = "/key/regenerate",
    tag = "Keys",
    request_body = KeyRegenerated,
    responses(
        (status = 200, description = "The new key.", body = KeyMade),
        (status = 400, description = "An alias or key that is taken.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "More than the caller may hand out.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such key.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown or not supported fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn regenerate(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let hash = lookup::required(&body)?;
    renew(hash, &body, (&manager, Operation::Regenerate), &app).await
}

/// Give a virtual key another secret (the key's hash is in the path)
#[utoipa::path(
    post,
    path = "/key/{key}/regenerate",
    tag = "Keys",
    params(("key" = String, Path, description = "The key's hash. A key itself does not belong in a URL.")),
    request_body = KeyRegenerated,
    responses(
        (status = 200, description = "The new key.", body = KeyMade),
        (status = 400, description = "An alias or key that is taken.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "More than the caller may hand out.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such key.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown or not supported fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn regenerate_named(
    manager: Manager,
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    // LiteLLM's client sends the key as it is, too.
    let hash = lookup::hash_of(&key).ok_or(KeyError::NotFound)?;
    renew(hash, &body, (&manager, Operation::RegenerateNamed), &app).await
}

/// Until when the secret before is good, if the body says that it is for a while.
fn grace(body: &Map<String, Value>, now: Timestamp) -> Result<Option<Timestamp>, KeyError> {
    let Some(text) = tenant::fields::text(body, "grace_period")? else {
        return Ok(None);
    };
    let zoned = now.to_zoned(TimeZone::UTC);
    let until = span(&text).and_then(|span| zoned.checked_add(span).ok());
    let until = until.map(|until| until.timestamp());
    let most = now + SignedDuration::from_hours(24 * MAX_GRACE_DAYS);
    until.filter(|until| *until <= most).map(Some).ok_or_else(|| {
        let mut problems = Problems::default();
        let text = format!(
            "Value error, it should be a number above 0 with a unit, {MAX_GRACE_DAYS} days at most: 30s, 30m, 30h, 30d, 2w"
        );
        At::field("grace_period", &mut problems).problem::<()>("value_error", text);
        problems.into_result().err().map_or(KeyError::NotFound, KeyError::from)
    })
}

/// What becomes of the secrets that a key had: without a time all of them are nobody's from now on. The oldest make room for the
/// last, so that there is an end to them.
fn keep(key: &mut VirtualKey, until: Option<Timestamp>, now: Timestamp) {
    let Some(until) = until else {
        key.previous.clear();
        return;
    };
    key.previous.retain(|own| now < own.until);
    key.previous.push(PreviousSecret {
        hash: key.hash,
        until,
    });
    let over = key.previous.len().saturating_sub(MAX_PREVIOUS);
    key.previous.drain(..over);
}

async fn renew(
    hash: KeyHash,
    body: &Map<String, Value>,
    (manager, operation): (&Manager, Operation),
    app: &App,
) -> Result<Json<Value>, KeyError> {
    let now = app.now();
    let change = Change::read(body, &["key", "new_key", "grace_period"], now)?;
    let until = grace(body, now)?;
    let chosen = chosen_key(body, "new_key")?;
    let is_chosen = chosen.is_some();
    let secret = generate::secret(chosen, "new_key", app)?;
    let new_id = (app.new_id)();
    let snapshot = app.registry.snapshot();
    let plan = |directory: &Directory| {
        let hand = Hand::of(manager, directory)?;
        let before = hand.reach(hash, operation)?;
        hand.check_chosen(is_chosen, "new_key")?;
        let mut key = VirtualKey::clone(&before);
        change.apply(&mut key, new_id);
        keep(&mut key, until, now);
        key.hash = key_hash(secret.expose());
        key.id = key.hash.to_hex().into();
        key.key_name = Some(key_name(&secret));
        tenant::touch(&mut key.stamps, now, manager.id());
        key.rotation_count = key.rotation_count.saturating_add(1);
        key.last_rotation_at = Some(now);
        hand.bound_renewal(&before, &mut key)?;
        belonging::check(&key, Some(&before), directory, &snapshot)?;
        Ok((vec![DirectoryWrite::PutKey(hash, Box::new(key.clone()))], key))
    };
    let key = app.as_stored(app.change(manager.actor(), plan).await?);
    // Not the path: it may have a key in it.
    tracing::info!(
        actor = manager.id(),
        before = hash.to_hex(),
        key = &*key.id,
        "key regenerated"
    );
    Ok(Json(row::made(&key, &secret, app).into()))
}
