//! `/team/member_add`, `member_update`, `member_delete`: for proxy admins, and for the team's own.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::{Member, MemberRole, Team, User};
use trunkline_store::DirectoryWrite;

use super::fields::{self, Named};
use super::schema::{Answer, Failures, TeamMemberChange, TeamMemberNamed, TeamMembersNew, TeamRow};
use super::{new_stamps, row, team, touch};
use crate::App;
use crate::actor::Manager;
use crate::body::JsonObject;
use crate::key::delegate::Hand;
use crate::key::error::KeyError;
use crate::key::fields::refuse_others;

/// What a member may be.
pub(super) const ROLES: [&str; 2] = ["admin", "user"];

/// Members of one team: every replica has every team in memory.
const MAX_MEMBERS: usize = 10_000;

/// Add members to a team
///
/// Each by `user_id` or by `user_email`. A user that is not there is made, if a proxy admin adds it.
#[utoipa::path(
    post, path = "/team/member_add", tag = "Teams", request_body = TeamMembersNew,
    responses((status = 200, description = "The team as it is now, with `updated_users` and `updated_team_memberships`.", body = TeamRow), Failures),
)]
pub(crate) async fn member_add(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["team_id", "member"])?;
    let team_id = fields::required(&body, "team_id")?;
    let members = fields::members(&body, "member", &ROLES)?.ok_or_else(|| fields::missing("member"))?;
    let (now, by) = (app.now(), manager.id());
    let plan = |directory: &Directory| {
        let hand = Hand::of(&manager, directory)?;
        hand.check_leads(&team_id)?;
        let mut team = team::stored(&team_id, directory)?;
        let making = hand.makes_users().then_some((&*app, now, by));
        let (mut writes, added) = add(&mut team, members, directory, making)?;
        touch(&mut team.stamps, now, by);
        writes.push(DirectoryWrite::PutTeam(team.clone()));
        Ok((writes, (team, added)))
    };
    let (team, added) = app.change(manager.actor(), plan).await?;
    tracing::info!(actor = by, path = manager.path(), team_id, members = ?added, "members added to a team");
    let directory = app.directory();
    let mut answer = row::team(&team, &directory);
    let users: Vec<Value> = added
        .iter()
        .filter_map(|id| directory.users.get(id))
        .map(|user| row::user(user, &directory).into())
        .collect();
    answer.insert("updated_users".to_owned(), users.into());
    let memberships = row::team_memberships(&Team {
        members: team
            .members
            .iter()
            .filter(|own| added.contains(&own.user_id))
            .cloned()
            .collect(),
        ..team
    });
    answer.insert("updated_team_memberships".to_owned(), memberships);
    Ok(Json(answer.into()))
}

/// Adds members to a team that is written with what this gives; their ids. Users that are not there are made, if the caller may.
pub(super) fn add(
    team: &mut Team,
    members: Vec<Named>,
    directory: &Directory,
    making: Option<(&App, Timestamp, &str)>,
) -> Result<(Vec<DirectoryWrite>, Vec<String>), KeyError> {
    let mut new: Vec<User> = Vec::new();
    let mut added = Vec::new();
    for named in members {
        let role = named.role.as_deref().and_then(MemberRole::parse);
        let known = user_of(&named, directory.users.values().map(|user| &**user).chain(&new))?;
        let user_id = match (known, making) {
            (Some(user_id), _) => user_id,
            (None, Some((app, now, by))) => {
                let user = User {
                    user_id: named.user_id.unwrap_or_else(|| (app.new_id)()),
                    user_email: named.user_email,
                    stamps: new_stamps(now, by),
                    ..User::default()
                };
                let user_id = user.user_id.clone();
                new.push(user);
                user_id
            }
            // It could be the label on somebody's key, which would be a user's then.
            (None, None) => {
                let text = "member: there is no such user, and only proxy admins make users".to_owned();
                return Err(KeyError::TooMuch("member", text));
            }
        };
        if team.role_of(&user_id).is_some() {
            let text = format!("User already in team. Member: user_id={user_id}");
            return Err(KeyError::Bad("member", text));
        }
        if team.members.len() >= MAX_MEMBERS {
            let text = format!("a team has at most {MAX_MEMBERS} members");
            return Err(KeyError::Bad("member", text));
        }
        team.members.push(Member {
            user_id: user_id.clone(),
            role: role.unwrap_or(MemberRole::User),
        });
        added.push(user_id);
    }
    Ok((new.into_iter().map(DirectoryWrite::PutUser).collect(), added))
}

/// The id of the user that is meant; `None` if there is none yet. Refused if the id and the address are of two.
pub(super) fn user_of<'u>(
    named: &Named,
    mut users: impl Iterator<Item = &'u User>,
) -> Result<Option<String>, KeyError> {
    let email = named.user_email.as_deref();
    let known = users.find(|user| match &named.user_id {
        Some(id) => user.user_id == *id,
        None => is_same_email(user.user_email.as_deref(), email),
    });
    match (known, &named.user_id, email) {
        (Some(user), Some(_), Some(_))
            if user.user_email.is_some() && !is_same_email(user.user_email.as_deref(), email) =>
        {
            let text = "user_id and user_email are of two users".to_owned();
            Err(KeyError::Bad("user_email", text))
        }
        (known, ..) => Ok(known.map(|user| user.user_id.clone())),
    }
}

/// Addresses are one whatever their case.
pub(super) fn is_same_email(a: Option<&str>, b: Option<&str>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}

/// Change what a member of a team is
#[utoipa::path(
    post, path = "/team/member_update", tag = "Teams", request_body = TeamMemberChange,
    responses((status = 200, description = "The member as it is now.", body = Answer), Failures),
)]
pub(crate) async fn member_update(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    const LATER: [&str; 4] = ["max_budget_in_team", "tpm_limit", "rpm_limit", "budget_duration"];
    let mut own = body.clone();
    crate::key::fields::refuse_later(&mut own, &LATER)?;
    refuse_others(&own, &["team_id", "user_id", "user_email", "role"])?;
    let member: Map<String, Value> = own
        .iter()
        .filter(|(name, _)| *name != "team_id")
        .map(pair)
        .collect();
    let (team_id, named) = named(&own, member)?;
    let role = named.role.as_deref().and_then(MemberRole::parse);
    let edit = |team: &mut Team, at: usize| {
        if let (Some(role), Some(member)) = (role, team.members.get_mut(at)) {
            member.role = role;
        }
    };
    let (_, member) = edited(&team_id, &named, edit, &manager, &app).await?;
    let email = app
        .directory()
        .users
        .get(&member.user_id)
        .and_then(|user| user.user_email.clone());
    let role = role.unwrap_or(member.role).as_str();
    Ok(Json(json!({
        "team_id": team_id, "user_id": member.user_id, "user_email": email, "role": role,
        "max_budget_in_team": null, "tpm_limit": null, "rpm_limit": null,
    })))
}

/// Remove a member from a team
///
/// The keys that it has in the team are deleted with it, and those that it has made there.
#[utoipa::path(
    post, path = "/team/member_delete", tag = "Teams", request_body = TeamMemberNamed,
    responses((status = 200, description = "The team as it is now.", body = TeamRow), Failures),
)]
pub(crate) async fn member_delete(
    manager: Manager,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["team_id", "user_id", "user_email"])?;
    let member: Map<String, Value> = body
        .iter()
        .filter(|(name, _)| *name != "team_id")
        .map(pair)
        .collect();
    let (team_id, named) = named(&body, member)?;
    let edit = |team: &mut Team, at: usize| {
        team.members.remove(at);
    };
    let (team, _) = edited(&team_id, &named, edit, &manager, &app).await?;
    Ok(Json(row::team(&team, &app.directory()).into()))
}

fn pair((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn named(body: &Map<String, Value>, member: Map<String, Value>) -> Result<(String, Named), KeyError> {
    let team_id = fields::required(body, "team_id")?;
    let member: Map<String, Value> = [("member".to_owned(), Value::Object(member))]
        .into_iter()
        .collect();
    let members = fields::members(&member, "member", &ROLES)?.unwrap_or_default();
    let named = members
        .into_iter()
        .next()
        .ok_or_else(|| fields::missing("user_id"))?;
    Ok((team_id, named))
}

/// Changes one member of a team; the team as it is then, and the member as it was. The keys in the team of who is no member any more
/// are deleted.
async fn edited(
    team_id: &str,
    named: &Named,
    edit: impl FnOnce(&mut Team, usize),
    manager: &Manager,
    app: &App,
) -> Result<(Team, Member), KeyError> {
    let (now, by) = (app.now(), manager.id());
    let plan = |directory: &Directory| {
        Hand::of(manager, directory)?.check_leads(team_id)?;
        let mut team = team::stored(team_id, directory)?;
        let known = user_of(named, directory.users.values().map(|user| &**user))?;
        // Of a member whose row is gone the id is left.
        let user_id = known.or_else(|| named.user_id.clone());
        let at = team
            .members
            .iter()
            .position(|own| Some(&own.user_id) == user_id.as_ref());
        let at = at.ok_or_else(|| {
            let text = format!("User is not a member of the team, passed team_id={team_id}");
            KeyError::Bad("user_id", text)
        })?;
        let member = team.members.get(at).cloned().ok_or(KeyError::NotFound)?;
        edit(&mut team, at);
        touch(&mut team.stamps, now, by);
        let mut writes = vec![DirectoryWrite::PutTeam(team.clone())];
        if team.role_of(&member.user_id).is_none() {
            let keys = directory.keys.values().filter(|key| {
                // Those too whose secret it has seen: it could use them still.
                let is_its = [&key.user_id, &key.delegation.by].contains(&&Some(member.user_id.clone()));
                key.team_id.as_deref() == Some(team_id) && is_its
            });
            writes.extend(keys.map(|key| DirectoryWrite::DeleteKey(key.hash)));
        }
        Ok((writes, (team, member)))
    };
    let (team, member) = app.change(manager.actor(), plan).await?;
    tracing::info!(
        actor = by,
        path = manager.path(),
        team_id,
        user_id = member.user_id,
        "member of a team changed"
    );
    Ok((team, member))
}
