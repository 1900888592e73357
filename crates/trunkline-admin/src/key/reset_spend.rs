//! `POST /key/{key}/reset_spend`: says anew what a key has spent of its budget.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::{Amount, Level, VirtualKey};
use trunkline_store::{DirectoryWrite, SpendReset};

use super::delegate::Hand;
use super::error::KeyError;
use super::fields::refuse_others;
use super::lookup;
use super::schema::{KeySpendReset, KeySpendSaid};
use crate::App;
use crate::actor::Manager;
use crate::body::{At, JsonObject, Problems};
use crate::budget::fields::dollars as amount;
use crate::spend::shown::{Shown, dollars};
use crate::tenant::fields::missing;

/// Say anew what a virtual key has spent
///
/// `spend` is `reset_to` from now on, which is not more than it was; `total_spend` and the records stay as they are. For proxy admins, and for
/// admins of the key's team unless an administrator has limited the key. What other replicas have not written yet, and calls under way, count when they are.
#[utoipa::path(
    post,
    path = "/key/{key}/reset_spend",
    tag = "Keys",
    params(("key" = String, Path, description = "The key's hash. A key itself does not belong in a URL.")),
    request_body = KeySpendReset,
    responses(
        (status = 200, description = "What it had spent, and has from now on.", body = KeySpendSaid),
        (status = 400, description = "Less than nothing, more than was spent, or more than may be.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "Not the caller's to say.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such key.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, no number.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn reset_spend(
    manager: Manager,
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["reset_to"])?;
    let hash = lookup::hash_of(&key).ok_or(KeyError::NotFound)?;
    let reset_to = reset_to(&body)?;
    let at = app.now();
    let plan = |directory: &Directory| {
        let hand = Hand::of(&manager, directory)?;
        let key = hand.resettable(hash)?;
        let shown = app.directory().of(directory);
        let before = shown.key_spent(&key);
        check(reset_to, before, &key, &shown)?;
        let reset = SpendReset {
            hash,
            before,
            spend: reset_to.billionths(),
            at,
        };
        Ok((vec![DirectoryWrite::ResetSpend(reset)], (key, before)))
    };
    let (key, before) = app.change(manager.actor(), plan).await?;
    // Not the path: it may have a key in it.
    tracing::info!(
        actor = manager.id(),
        key = &*key.id,
        "what a key has spent was said anew"
    );
    let columns = app.directory().columns(Level::Key, &key.id, &key.spending, None);
    Ok(Json(json!({
        "key_hash": &*key.id,
        "spend": dollars(reset_to.billionths()),
        "previous_spend": dollars(before),
        "max_budget": columns.get("max_budget"),
        "budget_reset_at": columns.get("budget_reset_at"),
    })))
}

fn reset_to(body: &Map<String, Value>) -> Result<Amount, KeyError> {
    let value = body.get("reset_to").ok_or_else(|| missing("reset_to"))?;
    if value.as_f64().is_some_and(|number| number < 0.0) {
        return Err(KeyError::Bad("reset_to", "reset_to must be >= 0".to_owned()));
    }
    let mut problems = Problems::default();
    let amount = amount(value, &mut At::field("reset_to", &mut problems));
    problems.into_result()?;
    amount.ok_or_else(|| missing("reset_to"))
}

/// More than was spent would be a charge that nothing was done for; more than may be spent, a key that nobody has blocked.
fn check(reset_to: Amount, before: i64, key: &VirtualKey, shown: &Shown) -> Result<(), KeyError> {
    if reset_to.billionths() > before {
        let text = format!(
            "reset_to ({reset_to}) must be <= current spend ({})",
            dollars(before)
        );
        return Err(KeyError::Bad("reset_to", text));
    }
    let budget = shown.budget(key.budget_id.as_ref());
    let limits = [key.spending.max_budget, budget.and_then(|own| own.max_budget)];
    match limits.into_iter().flatten().min() {
        Some(most) if reset_to > most => {
            let text = format!("reset_to ({reset_to}) must be <= budget ({most})");
            Err(KeyError::Bad("reset_to", text))
        }
        _ => Ok(()),
    }
}
