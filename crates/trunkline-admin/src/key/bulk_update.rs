//! `POST /key/bulk_update`: changes many keys, each for itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::delegate::Operation;
use super::error::KeyError;
use super::fields::refuse_others;
use super::lookup;
use super::row;
use super::schema::{KeyChanges, KeyChangesDone};
use super::update;
use crate::App;
use crate::actor::Manager;
use crate::audit;
use crate::body::{At, JsonObject, Loc, Problems};

/// Keys of one request, as with LiteLLM.
pub(super) const MAX_KEYS: usize = 500;

/// Change many virtual keys
///
/// Each of `keys` is the body of a `/key/update`. They are changed one after the other: what cannot be is in `failed_updates`
/// with its reason, and hinders no other.
#[utoipa::path(
    post,
    path = "/key/bulk_update",
    tag = "Keys",
    request_body = KeyChanges,
    responses(
        (status = 200, description = "What became of each.", body = KeyChangesDone),
        (status = 400, description = "No keys, or more than 500.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, no list of objects that each name a `key`.", body = crate::error::ValidationErrorBody),
    ),
)]
pub(crate) async fn bulk_update(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["keys"])?;
    let items = items(&body)?;
    let mut outcomes = Outcomes::default();
    for item in &items {
        let given = item.get("key").and_then(Value::as_str).unwrap_or_default();
        let result = update::one(&manager, &app, item, Operation::BulkUpdate, None).await;
        outcomes.add(given, result, &manager, &app);
    }
    Ok(Json(outcomes.shown()))
}

/// What became of each key.
#[derive(Default)]
pub(super) struct Outcomes {
    done: Vec<Value>,
    failed: Vec<Value>,
}

impl Outcomes {
    /// Notes what became of the key that was named so.
    pub(super) fn add(&mut self, given: &str, result: Result<Value, KeyError>, manager: &Manager, app: &App) {
        // A key is never repeated, as in every answer.
        let hash = lookup::hash_of(given);
        let shown = hash.map_or_else(|| given.to_owned(), trunkline_model::KeyHash::to_hex);
        match result {
            Ok(row) => self.done.push(json!({"key": shown, "key_info": row})),
            Err(error) => {
                if error.is_denial() {
                    audit::refused(app, manager.actor(), StatusCode::FORBIDDEN);
                }
                // What is not the caller's is not shown with its reason.
                let own = hash.filter(|_| manager.is_full());
                let own = own.and_then(|hash| app.registry.keys().ring().get(&hash));
                let info = own.map(|own| row::info(&own, &app.directory()));
                self.failed
                    .push(json!({"key": shown, "key_info": info, "failed_reason": error.reason()}));
            }
        }
    }

    /// LiteLLM's `BulkUpdateKeyResponse`.
    pub(super) fn shown(self) -> Value {
        json!({
            "total_requested": self.done.len() + self.failed.len(),
            "successful_updates": self.done,
            "failed_updates": self.failed,
        })
    }
}

/// The objects in `keys`. All of them are looked at before any is carried out.
fn items(body: &Map<String, Value>) -> Result<Vec<Map<String, Value>>, KeyError> {
    let mut problems = Problems::default();
    let mut at = At::field("keys", &mut problems);
    let given = match body.get("keys") {
        Some(value) => at.list(value).unwrap_or_default(),
        None => at.problem("missing", "Field required").unwrap_or_default(),
    };
    let mut items = Vec::with_capacity(given.len().min(MAX_KEYS));
    for (index, item) in given.iter().take(MAX_KEYS).enumerate() {
        at.within(Loc::Index(index), |at| {
            let item = at.object(item)?;
            at.within(Loc::from("key"), |at| match item.get("key") {
                Some(key) => at.text(key).map(|_| ()),
                None => at.problem("missing", "Field required"),
            })?;
            items.push(item.clone());
            Some(())
        });
    }
    problems.into_result()?;
    match given.len() {
        0 => Err(KeyError::Bad("keys", "No keys provided for update".to_owned())),
        count if count > MAX_KEYS => Err(KeyError::Bad(
            "keys",
            format!("Maximum {MAX_KEYS} keys can be updated at once. Found {count} keys."),
        )),
        _ => Ok(items),
    }
}
