//! `/user/new`, `/user/update`, `/user/delete`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::{Member, MemberRole, Secret, Team, User, VirtualKey};
use trunkline_store::{DirectoryWrite, KeyWriteError};

use super::fields::{self, Change, USER};
use super::schema::{Answer, Failures, NewUser, UserChange, UserRow, UsersNamed};
use super::team_members::is_same_email;
use super::{new_stamps, readable, row, team, touch};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::key::error::KeyError;
use crate::key::fields::{Change as KeyChange, names, refuse_others};
use crate::key::{generate, row as key_row};

/// Make a user
///
/// A key is made for it, too, unless `auto_create_key` is `false`: the answer is the only one that has it.
#[utoipa::path(
    post, path = "/user/new", tag = "Users", request_body = NewUser,
    responses((status = 200, description = "The user, and its key in `key`.", body = UserRow), Failures),
)]
pub(crate) async fn new(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    const OWN: [&str; 5] = ["user_id", "teams", "auto_create_key", "key_alias", "duration"];
    let change = Change::read(&USER, &body, &OWN, app.now())?;
    let user_id = fields::text(&body, "user_id")?.unwrap_or_else(|| (app.new_id)());
    let teams = names(&body, "teams")?.unwrap_or_default();
    let (now, by, new_id) = (app.now(), admin.id(), (app.new_id)());
    let key = match fields::flag(&body, "auto_create_key")? {
        Some(false) => None,
        _ => Some(own_key(&user_id, &body, &admin, &app)?),
    };
    let plan = |directory: &Directory| {
        if directory.users.contains_key(&user_id) {
            let text = format!("User with id {user_id} already exists. Please use a different user_id.");
            return Err(KeyError::Bad("user_id", text));
        }
        check_email(&change, None, directory)?;
        let mut user = User {
            user_id,
            stamps: new_stamps(now, by),
            ..User::default()
        };
        apply(change, &mut user, new_id);
        let mut writes = vec![DirectoryWrite::PutUser(user.clone())];
        for team_id in &teams {
            let mut team = team::stored(team_id, directory)?;
            // A label may be a member already.
            if team.role_of(&user.user_id).is_none() {
                team.members.push(Member {
                    user_id: user.user_id.clone(),
                    role: MemberRole::User,
                });
                touch(&mut team.stamps, now, by);
                writes.push(DirectoryWrite::PutTeam(team));
            }
        }
        if let Some((_, key)) = &key {
            check_alias(key, directory)?;
            writes.push(DirectoryWrite::NewKey(Box::new(key.clone())));
        }
        Ok((writes, user))
    };
    let user = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        user_id = user.user_id,
        key = key.as_ref().map(|(_, key)| &*key.id),
        "user made"
    );
    let mut answer = match &key {
        Some((secret, key)) => key_row::made(key, secret, &app),
        None => [("key".to_owned(), Value::Null), ("token".to_owned(), Value::Null)]
            .into_iter()
            .collect(),
    };
    answer.extend(shown(&user, &app));
    Ok(Json(answer.into()))
}

/// The key that is made with a user. It has no grants of its own.
fn own_key(
    user_id: &str,
    body: &Map<String, Value>,
    admin: &Admin,
    app: &App,
) -> Result<(Secret, VirtualKey), KeyError> {
    let of_key = body
        .iter()
        .filter(|(name, _)| matches!(name.as_str(), "key_alias" | "duration"))
        .map(|(name, value)| (name.clone(), value.clone()));
    let user_id = ("user_id".to_owned(), Value::from(user_id));
    let of_key: Map<String, Value> = of_key.chain([user_id]).collect();
    let now = app.now();
    let change = KeyChange::read(&of_key, &[], now)?;
    let secret = generate::secret(None, "key", app)?;
    let key = generate::key_of(&secret, change, (app.new_id)(), new_stamps(now, admin.id()));
    Ok((secret, key))
}

fn check_alias(key: &VirtualKey, directory: &Directory) -> Result<(), KeyError> {
    let Some(alias) = &key.key_alias else {
        return Ok(());
    };
    let is_taken = |other: &Arc<VirtualKey>| other.key_alias.as_ref() == Some(alias);
    if directory.keys.values().any(is_taken) {
        return Err(KeyWriteError::AliasTaken { alias: alias.clone() }.into());
    }
    Ok(())
}

/// Change a user
///
/// What the body does not name stays as it is, also of the members of `object_permission`. It counts from the next request on,
/// and for open streams within a second, on every replica.
#[utoipa::path(
    post, path = "/user/update", tag = "Users", request_body = UserChange,
    responses((status = 200, description = "The user as it is now, in `data`.", body = Answer), Failures),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    Ok(Json(one(&admin, &app, &body).await?))
}

/// Changes the user that a body names; the user as it is now.
pub(super) async fn one(admin: &Admin, app: &App, body: &Map<String, Value>) -> Result<Value, KeyError> {
    let change = Change::read(&USER, body, &["user_id"], app.now())?;
    let user_id = fields::text(body, "user_id")?;
    let (now, by, new_id) = (app.now(), admin.id(), (app.new_id)());
    let plan = |directory: &Directory| {
        let email = change.text("user_email");
        let named = directory.users.values().find(|user| match &user_id {
            Some(id) => user.user_id == *id,
            None => is_same_email(user.user_email.as_deref(), email),
        });
        let named = named.ok_or_else(|| match (&user_id, email) {
            (Some(id), _) => nobody(id),
            (None, Some(email)) => KeyError::Nobody("User", "user_email", email.to_owned()),
            (None, None) => fields::missing("user_id"),
        })?;
        readable("user_id", named.defect.as_ref())?;
        check_email(&change, Some(&named.user_id), directory)?;
        let mut user = User::clone(named);
        apply(change, &mut user, new_id);
        touch(&mut user.stamps, now, by);
        Ok((vec![DirectoryWrite::PutUser(user.clone())], user))
    };
    let user = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        user_id = user.user_id,
        "user changed"
    );
    Ok(json!({"user_id": user.user_id, "data": shown(&user, app)}))
}

/// Delete users
///
/// Their keys, those that they have made for teams, and their memberships are deleted with them. 404, and nothing is deleted, if there is one that is not there. The
/// answer is how many there were.
#[utoipa::path(
    post, path = "/user/delete", tag = "Users", request_body = UsersNamed,
    responses((status = 200, description = "How many.", body = u64), Failures),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["user_ids"])?;
    let user_ids = names(&body, "user_ids")?.ok_or_else(|| fields::missing("user_ids"))?;
    let (now, by) = (app.now(), admin.id());
    let plan = |directory: &Directory| {
        if let Some(unknown) = user_ids.iter().find(|id| !directory.users.contains_key(*id)) {
            return Err(nobody(unknown));
        }
        let is_gone = |id: &String| user_ids.contains(id);
        let keys = directory.keys.values();
        // Those too whose secret such a user has seen: it could use them still.
        let is_theirs = |key: &&Arc<VirtualKey>| {
            let own = [&key.user_id, &key.delegation.by];
            own.into_iter().flatten().any(is_gone)
        };
        let keys = keys.filter(is_theirs);
        let mut writes: Vec<_> = keys.map(|key| DirectoryWrite::DeleteKey(key.hash)).collect();
        for team in directory.teams.values() {
            // What cannot be read names nobody.
            if team.members.iter().any(|own| is_gone(&own.user_id)) && team.defect.is_none() {
                let mut team = Team::clone(team);
                team.members.retain(|own| !is_gone(&own.user_id));
                touch(&mut team.stamps, now, by);
                writes.push(DirectoryWrite::PutTeam(team));
            }
        }
        for organization in directory.organizations.values() {
            if organization.members.iter().any(|own| is_gone(&own.user_id)) && organization.defect.is_none() {
                let mut organization = trunkline_model::Organization::clone(organization);
                organization.members.retain(|own| !is_gone(&own.user_id));
                touch(&mut organization.stamps, now, by);
                writes.push(DirectoryWrite::PutOrganization(organization));
            }
        }
        writes.extend(user_ids.iter().cloned().map(DirectoryWrite::DeleteUser));
        Ok((writes, ()))
    };
    app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        ?user_ids,
        "users and their keys deleted"
    );
    Ok(Json(user_ids.len().into()))
}

pub(super) fn nobody(user_id: &str) -> KeyError {
    KeyError::Nobody("User", "user_id", user_id.to_owned())
}

/// Addresses are unique, so that one names one user.
fn check_email(change: &Change, own: Option<&str>, directory: &Directory) -> Result<(), KeyError> {
    let email = change.text("user_email");
    let is_taken = |user: &Arc<User>| {
        Some(user.user_id.as_str()) != own && is_same_email(user.user_email.as_deref(), email)
    };
    if directory.users.values().any(is_taken) {
        let text = format!("User with email {} already exists", email.unwrap_or_default());
        return Err(KeyError::Bad("user_email", text));
    }
    Ok(())
}

fn apply(change: Change, user: &mut User, new_id: String) {
    change.set_text("user_email", &mut user.user_email);
    change.set_text("user_alias", &mut user.user_alias);
    change.set_role(&mut user.user_role);
    change.set_metadata(&mut user.metadata);
    change.set_permission_and_limits(
        &mut user.object_permission,
        (&mut user.limits, &mut user.spending),
        new_id,
    );
}

fn shown(user: &User, app: &App) -> Map<String, Value> {
    let row = row::user(user, &app.directory());
    row::with_warnings(row, &user.object_permission, &app.registry.snapshot())
}
