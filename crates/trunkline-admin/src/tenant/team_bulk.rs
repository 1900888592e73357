//! `POST /team/bulk_member_add`: many members at once, of whom each has its own answer.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::Team;
use trunkline_store::DirectoryWrite;

use super::fields::{self, Named};
use super::schema::{Failures, TeamMembersAdded, TeamMembersMany};
use super::team_members::{ROLES, add};
use super::{row, team, touch};
use crate::App;
use crate::actor::Manager;
use crate::body::JsonObject;
use crate::key::delegate::Hand;
use crate::key::error::KeyError;
use crate::key::fields::{refuse_later, refuse_others};

/// Members of one request, as with LiteLLM.
const MAX_MEMBERS: usize = 500;

/// What became of one: its id, or why not.
type Added = (Named, Result<String, String>);

/// Add many members to a team
///
/// Each as with `/team/member_add`. Who cannot be added is in `results` with the reason, and hinders no other. `all_users` is not served.
#[utoipa::path(
    post, path = "/team/bulk_member_add", tag = "Teams", request_body = TeamMembersMany,
    responses((status = 200, description = "What became of each.", body = TeamMembersAdded), Failures),
)]
pub(crate) async fn bulk_member_add(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let mut own = body;
    refuse_later(&mut own, &["max_budget_in_team", "all_users"])?;
    refuse_others(&own, &["team_id", "members"])?;
    let team_id = fields::required(&own, "team_id")?;
    let members = fields::members(&own, "members", &ROLES)?.unwrap_or_default();
    check_count(members.len())?;
    let (now, by) = (app.now(), manager.id());
    let plan = |directory: &Directory| {
        let hand = Hand::of(&manager, directory)?;
        hand.check_leads(&team_id)?;
        let mut team = team::stored(&team_id, directory)?;
        let making = hand.makes_users().then_some((&*app, now, by));
        let (mut writes, mut results, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for named in members {
            // Nobody of them is there before all are: one that is named twice would be two.
            let words = [
                named.user_id.clone(),
                named.user_email.as_deref().map(str::to_ascii_lowercase),
            ];
            let is_new = words.into_iter().flatten().all(|word| seen.insert(word));
            let added = if is_new {
                add(&mut team, vec![named.clone()], directory, making).map_err(KeyError::reason)
            } else {
                Err("it is named twice".to_owned())
            };
            let id = added.map(|(users, ids)| {
                writes.extend(users);
                ids.into_iter().next().unwrap_or_default()
            });
            results.push((named, id));
        }
        if results.iter().any(|(_, id)| id.is_ok()) {
            touch(&mut team.stamps, now, by);
            writes.push(DirectoryWrite::PutTeam(team.clone()));
        }
        Ok((writes, (team, results)))
    };
    let (team, results) = app.change(manager.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = manager.path(),
        team_id,
        requested = results.len(),
        "members added to a team"
    );
    Ok(Json(shown(&team, &results, &app).into()))
}

fn check_count(count: usize) -> Result<(), KeyError> {
    match count {
        0 => Err(KeyError::Bad(
            "members",
            "At least one member is required".to_owned(),
        )),
        _ if count > MAX_MEMBERS => Err(KeyError::Bad(
            "members",
            format!("Maximum {MAX_MEMBERS} members can be added at once"),
        )),
        _ => Ok(()),
    }
}

fn shown(team: &Team, results: &[Added], app: &App) -> Map<String, Value> {
    let directory = app.directory();
    let one = |(named, id): &Added| {
        let user = id.as_ref().ok().and_then(|id| directory.users.get(id));
        let updated = user.map(|user| Value::from(row::user(user, &directory)));
        json!({
            "user_id": id.as_ref().ok().or(named.user_id.as_ref()),
            "user_email": named.user_email,
            "success": id.is_ok(),
            "error": id.as_ref().err(),
            "updated_user": updated,
            "updated_team_membership": null,
        })
    };
    let added = results.iter().filter(|(_, id)| id.is_ok()).count();
    let mut answer = Map::new();
    answer.insert("team_id".to_owned(), team.team_id.clone().into());
    answer.insert("results".to_owned(), results.iter().map(one).collect());
    answer.insert("total_requested".to_owned(), results.len().into());
    answer.insert("successful_additions".to_owned(), added.into());
    answer.insert("failed_additions".to_owned(), (results.len() - added).into());
    answer.insert("updated_team".to_owned(), row::team(team, &directory).into());
    answer
}
