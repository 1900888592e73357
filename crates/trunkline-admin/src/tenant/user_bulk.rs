//! `POST /user/bulk_update`: changes many users, of whom each has its own answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::fields;
use super::schema::{Failures, UserChanges, UserChangesDone};
use super::user;
use crate::App;
use crate::actor::Admin;
use crate::body::{At, JsonObject, Loc, Problems};
use crate::key::error::KeyError;
use crate::key::fields::{refuse_others, unknown};

/// Users of one request, as with LiteLLM.
const MAX_USERS: usize = 500;
/// What names a user: not what all of them could have.
const NAMES: [&str; 2] = ["user_id", "user_email"];

/// Change many users
///
/// Each of `users` is the body of a `/user/update`; with `all_users`, all of them have `user_updates` from now on. They are changed one after
/// the other: who cannot be is in `results` with the reason, and hinders no other.
#[utoipa::path(
    post, path = "/user/bulk_update", tag = "Users", request_body = UserChanges,
    responses((status = 200, description = "What became of each.", body = UserChangesDone), Failures),
)]
pub(crate) async fn bulk_update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["users", "all_users", "user_updates"])?;
    let items = items(&body, &app)?;
    let mut results = Vec::with_capacity(items.len());
    for item in &items {
        let done = user::one(&admin, &app, item).await;
        let named = done.as_ref().ok().map(|row| row["user_id"].clone());
        let (updated, error) = match done {
            Ok(row) => (Some(row), None),
            Err(error) => (None, Some(error.reason())),
        };
        results.push(json!({
            "user_id": named.or_else(|| item.get("user_id").cloned()),
            "user_email": item.get("user_email"),
            "success": error.is_none(),
            "error": error,
            "updated_user": updated,
        }));
    }
    let done = results.iter().filter(|own| own["success"] == true).count();
    Ok(Json(json!({
        "total_requested": results.len(),
        "successful_updates": done,
        "failed_updates": results.len() - done,
        "results": results,
    })))
}

/// The changes, one a user. All of them are looked at before any is carried out.
fn items(body: &Map<String, Value>, app: &App) -> Result<Vec<Map<String, Value>>, KeyError> {
    let is_all = fields::flag(body, "all_users")?.unwrap_or(false);
    let users = body.get("users").filter(|users| !users.is_null());
    let updates = body.get("user_updates").filter(|own| !own.is_null());
    let mut problems = Problems::default();
    let items = match (users, updates, is_all) {
        (Some(users), None, false) => objects(users, &mut problems),
        (None, Some(updates), true) => of_all(updates, app, &mut problems),
        _ => {
            At::field("users", &mut problems).problem::<()>(
                "value_error",
                "Value error, Must specify either 'users' for individual updates or 'all_users=True' with 'user_updates' for bulk updates",
            );
            Vec::new()
        }
    };
    problems.into_result()?;
    match items.len() {
        0 => Err(KeyError::Bad("users", "No users found to update".to_owned())),
        count if count > MAX_USERS => Err(KeyError::Bad(
            "users",
            format!("Maximum {MAX_USERS} users can be updated at once. Found {count} users."),
        )),
        _ => Ok(items),
    }
}

fn objects(users: &Value, problems: &mut Problems) -> Vec<Map<String, Value>> {
    let mut at = At::field("users", problems);
    let given = at.list(users).unwrap_or_default();
    let mut items = Vec::with_capacity(given.len().min(MAX_USERS + 1));
    // One more than may be, so that there are too many.
    for (index, item) in given.iter().take(MAX_USERS + 1).enumerate() {
        items.extend(at.within(Loc::Index(index), |at| at.object(item).cloned()));
    }
    items
}

fn of_all(updates: &Value, app: &App, problems: &mut Problems) -> Vec<Map<String, Value>> {
    let mut at = At::field("user_updates", problems);
    let Some(updates) = at.object(updates) else {
        return Vec::new();
    };
    let served = || super::fields::USER.served.iter().map(|(name, _)| *name);
    for name in updates.keys().filter(|name| NAMES.contains(&name.as_str())) {
        let others = served().filter(|own| !NAMES.contains(own));
        at.within(Loc::Name(name.clone()), |at| unknown(name, others, at));
    }
    if updates.is_empty() {
        at.problem::<()>("value_error", "Value error, it should name one field at least");
    }
    let directory = app.registry.keys().ring().directory();
    let mut ids: Vec<&String> = directory.users.keys().collect();
    ids.sort();
    let of = |id: &String| {
        let mut item = updates.clone();
        item.insert("user_id".to_owned(), id.as_str().into());
        item
    };
    ids.into_iter().map(of).collect()
}
