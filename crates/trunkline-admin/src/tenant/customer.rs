//! `/customer/*`, which is also `/end_user/*`: whom requests are made for. For administrators. The paths are without their
//! beginning, under which the router mounts them twice.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::EndUser;
use trunkline_store::DirectoryWrite;

use super::fields::{self, CUSTOMER, Change};
use super::query::Query;
use super::schema::{Answer, CustomerChange, CustomerRow, CustomersNamed, Failures, NewCustomer};
use super::{new_stamps, readable, row, touch};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::budget;
use crate::key::error::KeyError;
use crate::key::fields::{names, refuse_others};

/// Make an end user
///
/// A request whose `x-litellm-end-user-id` names it may use what its `object_permission` has at most.
#[utoipa::path(
    post, path = "/new", tag = "Customers", request_body = NewCustomer,
    responses((status = 200, description = "The end user.", body = CustomerRow), Failures),
)]
pub(crate) async fn new(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let change = Change::read(&CUSTOMER, &body, &["user_id"], app.now())?;
    let user_id = fields::required(&body, "user_id")?;
    let (now, by, new_id) = (app.now(), admin.id(), (app.new_id)());
    let plan = |directory: &Directory| {
        if directory.end_users.contains_key(&user_id) {
            let text =
                format!("Customer already exists, passed user_id={user_id}. Please pass a new user_id.");
            return Err(KeyError::Bad("user_id", text));
        }
        let mut end_user = EndUser {
            user_id,
            stamps: new_stamps(now, by),
            ..EndUser::default()
        };
        budget::check(change.text("budget_id"), directory)?;
        apply(change, &mut end_user, new_id);
        Ok((vec![DirectoryWrite::PutEndUser(end_user.clone())], end_user))
    };
    let end_user = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        end_user = end_user.user_id,
        "end user made"
    );
    Ok(Json(shown(&end_user, &app)))
}

/// Change an end user
///
/// What the body does not name stays as it is, also of the members of `object_permission`.
#[utoipa::path(
    post, path = "/update", tag = "Customers", request_body = CustomerChange,
    responses((status = 200, description = "The end user as it is now.", body = CustomerRow), Failures),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let change = Change::read(&CUSTOMER, &body, &["user_id"], app.now())?;
    let user_id = fields::required(&body, "user_id")?;
    let (now, by, new_id) = (app.now(), admin.id(), (app.new_id)());
    let plan = |directory: &Directory| {
        let stored = directory
            .end_users
            .get(&user_id)
            .ok_or_else(|| nobody(&user_id))?;
        readable("user_id", stored.defect.as_ref())?;
        let mut end_user = EndUser::clone(stored);
        budget::check(change.text("budget_id"), directory)?;
        apply(change, &mut end_user, new_id);
        touch(&mut end_user.stamps, now, by);
        Ok((vec![DirectoryWrite::PutEndUser(end_user.clone())], end_user))
    };
    let end_user = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        end_user = end_user.user_id,
        "end user changed"
    );
    Ok(Json(shown(&end_user, &app)))
}

/// Delete end users
///
/// From then on each is a label that restricts nothing; block it to keep requests for it out. 404, and nothing is deleted, if there
/// is one that is not there.
#[utoipa::path(
    post, path = "/delete", tag = "Customers", request_body = CustomersNamed,
    responses((status = 200, description = "They are gone: `deleted_customers` says how many.", body = Answer), Failures),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let user_ids = user_ids(&body)?;
    let plan = |directory: &Directory| {
        if let Some(unknown) = user_ids.iter().find(|id| !directory.end_users.contains_key(*id)) {
            return Err(nobody(unknown));
        }
        let writes = user_ids.iter().cloned().map(DirectoryWrite::DeleteEndUser);
        Ok((writes.collect(), ()))
    };
    app.change(admin.actor(), plan).await?;
    tracing::info!(actor = admin.id(), path = admin.path(), end_users = ?user_ids, "end users deleted");
    let count = user_ids.len();
    Ok(Json(json!({
        "deleted_customers": count, "message": format!("Successfully deleted customers with ids: {}", user_ids.join(", ")),
    })))
}

/// Show an end user
#[utoipa::path(
    get, path = "/info", tag = "Customers",
    params(("end_user_id" = String, Query, description = "Which end user.")),
    responses((status = 200, description = "The end user.", body = CustomerRow), Failures),
)]
pub(crate) async fn info(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let query = Query::read(query.as_deref(), &["end_user_id"], &[])?;
    let id = query.required("end_user_id")?;
    let directory = app.directory();
    let found = directory.end_users.get(id).ok_or_else(|| nobody(id))?;
    Ok(Json(row::end_user(found, &directory).into()))
}

/// List the end users
#[utoipa::path(
    get, path = "/list", tag = "Customers",
    responses((status = 200, description = "All of them.", body = [CustomerRow]), Failures),
)]
pub(crate) async fn list(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    Query::read(query.as_deref(), &[], &[])?;
    let directory = app.directory();
    let mut found: Vec<_> = directory.end_users.values().collect();
    found.sort_by(|a, b| a.user_id.cmp(&b.user_id));
    Ok(Json(
        found
            .into_iter()
            .map(|own| Value::from(row::end_user(own, &directory)))
            .collect(),
    ))
}

/// Block end users
///
/// Requests for them are refused from then on, and their open streams end, on every replica, within a second. Those that are not
/// there are made.
#[utoipa::path(
    post, path = "/block", tag = "Customers", request_body = CustomersNamed,
    responses((status = 200, description = "`blocked_users`, as they are now.", body = Answer), Failures),
)]
pub(crate) async fn block(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    set_blocked(&body, true, &admin, &app).await
}

/// Unblock end users
#[utoipa::path(
    post, path = "/unblock", tag = "Customers", request_body = CustomersNamed,
    responses((status = 200, description = "`blocked_users`, as they are now.", body = Answer), Failures),
)]
pub(crate) async fn unblock(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    set_blocked(&body, false, &admin, &app).await
}

async fn set_blocked(
    body: &Map<String, Value>,
    blocked: bool,
    admin: &Admin,
    app: &App,
) -> Result<Json<Value>, KeyError> {
    let user_ids = user_ids(body)?;
    let (now, by) = (app.now(), admin.id());
    let plan = |directory: &Directory| {
        let mut changed = Vec::new();
        for user_id in &user_ids {
            let mut end_user = match directory.end_users.get(user_id) {
                Some(stored) => {
                    readable("user_ids", stored.defect.as_ref())?;
                    EndUser::clone(stored)
                }
                None if blocked => EndUser {
                    user_id: user_id.clone(),
                    stamps: new_stamps(now, by),
                    ..EndUser::default()
                },
                None => return Err(nobody(user_id)),
            };
            end_user.blocked = blocked;
            touch(&mut end_user.stamps, now, by);
            changed.push(end_user);
        }
        let writes = changed.iter().cloned().map(DirectoryWrite::PutEndUser);
        Ok((writes.collect(), changed))
    };
    let changed = app.change(admin.actor(), plan).await?;
    tracing::info!(actor = by, path = admin.path(), end_users = ?user_ids, blocked, "end users blocked or unblocked");
    let directory = app.directory();
    let rows: Vec<Value> = changed
        .iter()
        .map(|own| row::end_user(own, &directory).into())
        .collect();
    Ok(Json(json!({"blocked_users": rows})))
}

fn user_ids(body: &Map<String, Value>) -> Result<Vec<String>, KeyError> {
    refuse_others(body, &["user_ids"])?;
    names(body, "user_ids")?.ok_or_else(|| fields::missing("user_ids"))
}

fn nobody(user_id: &str) -> KeyError {
    KeyError::Nobody("Customer", "user_id", user_id.to_owned())
}

fn apply(change: Change, end_user: &mut EndUser, new_id: String) {
    change.set_text("alias", &mut end_user.alias);
    change.set_text("budget_id", &mut end_user.budget_id);
    change.set_blocked(&mut end_user.blocked);
    change.set_permission(&mut end_user.object_permission, new_id);
}

fn shown(end_user: &EndUser, app: &App) -> Value {
    let row = row::end_user(end_user, &app.directory());
    row::with_warnings(row, &end_user.object_permission, &app.registry.snapshot()).into()
}
