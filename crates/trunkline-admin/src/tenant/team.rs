//! `/team/new`, `update`, `delete`, `block`, `unblock`, and `PATCH /team/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::Team;
use trunkline_store::DirectoryWrite;

use super::fields::{self, Change, TEAM};
use super::schema::{Answer, Failures, NewTeam, TeamChange, TeamNamed, TeamPatch, TeamRow, TeamsNamed};
use super::{new_stamps, readable, row, team_members, touch};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::key::error::KeyError;
use crate::key::fields::{names, refuse_others};

/// Make a team
///
/// Its keys may use what its `object_permission` has at most. Users that are named as members and are not there are made. Fields of
/// LiteLLM's that are not served yet are refused unless they are null or empty.
#[utoipa::path(
    post, path = "/team/new", tag = "Teams", request_body = NewTeam,
    responses((status = 200, description = "The team.", body = TeamRow), Failures),
)]
pub(crate) async fn new(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let change = Change::read(&TEAM, &body, &["team_id", "members_with_roles"], app.now())?;
    let team_id = fields::text(&body, "team_id")?.unwrap_or_else(|| (app.new_id)());
    let members = fields::members(&body, "members_with_roles", &team_members::ROLES)?.unwrap_or_default();
    let (now, by, new_id) = (app.now(), admin.id(), (app.new_id)());
    let plan = |directory: &Directory| {
        if directory.teams.contains_key(&team_id) {
            let text = format!("Team id = {team_id} already exists. Please use a different team id.");
            return Err(KeyError::Bad("team_id", text));
        }
        check_organization(&change, directory)?;
        let mut team = Team {
            team_id,
            stamps: new_stamps(now, by),
            ..Team::default()
        };
        let (mut writes, _) = team_members::add(&mut team, members, directory, Some((&app, now, by)))?;
        apply(change, &mut team, new_id);
        writes.push(DirectoryWrite::PutTeam(team.clone()));
        Ok((writes, team))
    };
    let team = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        team_id = team.team_id,
        "team made"
    );
    Ok(Json(shown(&team, &app)))
}

/// Change a team
///
/// What the body does not name stays as it is, also of the members of `object_permission`. It counts from the next request on,
/// and for open streams within a second, on every replica.
#[utoipa::path(
    post, path = "/team/update", tag = "Teams", request_body = TeamChange,
    responses((status = 200, description = "The team as it is now, in `data`.", body = Answer), Failures),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let team_id = fields::required(&body, "team_id")?;
    change(team_id, &body, &admin, &app).await
}

/// Change a team (its id is in the path)
#[utoipa::path(
    patch, path = "/team/{team_id}", tag = "Teams", request_body = TeamPatch,
    params(("team_id" = String, Path, description = "Which team.")),
    responses((status = 200, description = "The team as it is now, in `data`.", body = Answer), Failures),
)]
pub(crate) async fn patch(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(team_id): Path<String>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    if let Some(other) = fields::text(&body, "team_id")?
        && other != team_id
    {
        return Err(KeyError::Bad("team_id", "the path names another team".to_owned()));
    }
    change(team_id, &body, &admin, &app).await
}

async fn change(
    team_id: String,
    body: &Map<String, Value>,
    admin: &Admin,
    app: &App,
) -> Result<Json<Value>, KeyError> {
    let change = Change::read(&TEAM, body, &["team_id"], app.now())?;
    let new_id = (app.new_id)();
    let edit = |team: &mut Team, directory: &Directory| {
        check_organization(&change, directory)?;
        apply(change, team, new_id);
        Ok(())
    };
    let team = edited(&team_id, edit, admin, app).await?;
    Ok(Json(json!({"team_id": team_id, "data": shown(&team, app)})))
}

/// Delete teams
///
/// Their keys are deleted with them. 404, and nothing is deleted, if there is one that is not there.
#[utoipa::path(
    post, path = "/team/delete", tag = "Teams", request_body = TeamsNamed,
    responses((status = 200, description = "They are gone: `deleted_teams`, and the hashes of `deleted_keys`.", body = Answer), Failures),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["team_ids"])?;
    let team_ids = names(&body, "team_ids")?.ok_or_else(|| fields::missing("team_ids"))?;
    let plan = |directory: &Directory| {
        if let Some(unknown) = team_ids.iter().find(|id| !directory.teams.contains_key(*id)) {
            return Err(nobody(unknown));
        }
        Ok(deletion(&team_ids, directory))
    };
    let deleted_keys = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        ?team_ids,
        keys = ?deleted_keys,
        "teams and their keys deleted"
    );
    Ok(Json(
        json!({"deleted_teams": team_ids, "deleted_keys": deleted_keys}),
    ))
}

/// What deletes teams and their keys, and the hashes of these.
pub(super) fn deletion(team_ids: &[String], directory: &Directory) -> (Vec<DirectoryWrite>, Vec<String>) {
    let is_theirs =
        |key: &trunkline_model::VirtualKey| key.team_id.as_ref().is_some_and(|own| team_ids.contains(own));
    let mut keys: Vec<_> = directory.keys.values().filter(|key| is_theirs(key)).collect();
    keys.sort_by_key(|key| key.hash);
    let writes = keys.iter().map(|key| DirectoryWrite::DeleteKey(key.hash));
    let teams = team_ids.iter().cloned().map(DirectoryWrite::DeleteTeam);
    let hashes = keys.iter().map(|key| key.id.to_string()).collect();
    (writes.chain(teams).collect(), hashes)
}

/// Block a team
///
/// Its keys are refused from then on, and their open streams end, on every replica, within a second.
#[utoipa::path(
    post, path = "/team/block", tag = "Teams", request_body = TeamNamed,
    responses((status = 200, description = "The team as it is now.", body = TeamRow), Failures),
)]
pub(crate) async fn block(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    set_blocked(&body, true, &admin, &app).await
}

/// Unblock a team
#[utoipa::path(
    post, path = "/team/unblock", tag = "Teams", request_body = TeamNamed,
    responses((status = 200, description = "The team as it is now.", body = TeamRow), Failures),
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
    refuse_others(body, &["team_id"])?;
    let team_id = fields::required(body, "team_id")?;
    let edit = |team: &mut Team, _: &Directory| {
        team.blocked = blocked;
        Ok(())
    };
    let team = edited(&team_id, edit, admin, app).await?;
    Ok(Json(shown(&team, app)))
}

/// Changes a team that is there and can be read.
pub(super) async fn edited(
    team_id: &str,
    edit: impl FnOnce(&mut Team, &Directory) -> Result<(), KeyError>,
    admin: &Admin,
    app: &App,
) -> Result<Team, KeyError> {
    let (now, by) = (app.now(), admin.id());
    let plan = |directory: &Directory| {
        let mut team = stored(team_id, directory)?;
        edit(&mut team, directory)?;
        touch(&mut team.stamps, now, by);
        Ok((vec![DirectoryWrite::PutTeam(team.clone())], team))
    };
    let team = app.change(admin.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = admin.path(),
        team_id,
        blocked = team.blocked,
        "team changed"
    );
    Ok(team)
}

/// A team that can be written back.
pub(super) fn stored(team_id: &str, directory: &Directory) -> Result<Team, KeyError> {
    let team = directory.teams.get(team_id).ok_or_else(|| nobody(team_id))?;
    readable("team_id", team.defect.as_ref())?;
    Ok(Team::clone(team))
}

pub(crate) fn nobody(team_id: &str) -> KeyError {
    KeyError::Nobody("Team", "team_id", team_id.to_owned())
}

/// A team is in an organisation that is there: without it, its keys would be refused.
fn check_organization(change: &Change, directory: &Directory) -> Result<(), KeyError> {
    match change.text("organization_id") {
        Some(id) if !directory.organizations.contains_key(id) => {
            Err(KeyError::Nobody("Organization", "organization_id", id.to_owned()))
        }
        _ => Ok(()),
    }
}

fn apply(change: Change, team: &mut Team, new_id: String) {
    change.set_text("team_alias", &mut team.team_alias);
    change.set_text("organization_id", &mut team.organization_id);
    change.set_blocked(&mut team.blocked);
    change.set_member_permissions(&mut team.member_permissions);
    change.set_metadata(&mut team.metadata);
    change.set_permission_and_limits(
        &mut team.object_permission,
        (&mut team.limits, &mut team.spending),
        new_id,
    );
}

pub(super) fn shown(team: &Team, app: &App) -> Value {
    let row = row::team(team, &app.directory());
    row::with_warnings(row, &team.object_permission, &app.registry.snapshot()).into()
}
