//! `/team/permissions_list`, `/team/permissions_update`: what members of a team that are no admins may do with their own keys of the
//! team.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::MEMBER_PERMISSIONS;
use trunkline_store::DirectoryWrite;

use super::fields::{self, Change, TEAM};
use super::query::Query;
use super::schema::{Failures, TeamPermissions, TeamPermissionsChange, TeamRow};
use super::{row, team, touch};
use crate::App;
use crate::actor::{Manager, Viewer};
use crate::body::JsonObject;
use crate::key::delegate::Hand;
use crate::key::error::KeyError;
use crate::key::fields::refuse_others;

const FIELD: &str = "team_member_permissions";

/// Show what the members of a team may do
///
/// To administrators, and to its members.
#[utoipa::path(
    get, path = "/team/permissions_list", tag = "Teams",
    params(("team_id" = String, Query, description = "Which team.")),
    responses((status = 200, description = "What they may do, and what they could be let do.", body = TeamPermissions), Failures),
)]
pub(crate) async fn permissions_list(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let query = Query::read(query.as_deref(), &["team_id"], &[])?;
    let team_id = query.required("team_id")?;
    let directory = app.directory();
    let found = directory.teams.get(team_id).filter(|team| caller.sees_team(team));
    let team = found.ok_or_else(|| team::nobody(team_id))?;
    Ok(Json(json!({
        "team_id": team_id,
        "team_member_permissions": team.member_permissions,
        "all_available_permissions": MEMBER_PERMISSIONS,
    })))
}

/// Change what the members of a team may do
///
/// With their own keys of the team, and never more than an admin of the team may. The list is all of it.
#[utoipa::path(
    post, path = "/team/permissions_update", tag = "Teams", request_body = TeamPermissionsChange,
    responses((status = 200, description = "The team as it is now.", body = TeamRow), Failures),
)]
pub(crate) async fn permissions_update(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["team_id", FIELD])?;
    let team_id = fields::required(&body, "team_id")?;
    let said = body.get(FIELD).filter(|said| !said.is_null());
    let said = said.ok_or_else(|| fields::missing(FIELD))?;
    let change: Map<String, Value> = [(FIELD.to_owned(), said.clone())].into_iter().collect();
    let (now, by) = (app.now(), manager.id());
    let change = Change::read(&TEAM, &change, &[], now)?;
    let plan = |directory: &Directory| {
        Hand::of(&manager, directory)?.check_leads(&team_id)?;
        let mut team = team::stored(&team_id, directory)?;
        change.set_member_permissions(&mut team.member_permissions);
        touch(&mut team.stamps, now, by);
        Ok((vec![DirectoryWrite::PutTeam(team.clone())], team))
    };
    let team = app.change(manager.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = manager.path(),
        team_id,
        permissions = ?team.member_permissions,
        "what members of a team may do was changed"
    );
    Ok(Json(row::team(&team, &app.directory()).into()))
}
