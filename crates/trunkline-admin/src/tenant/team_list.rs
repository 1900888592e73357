//! `/team/info`, `/team/list`, `/v2/team/list`: all to administrators, and to users the teams that they are in.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use trunkline_auth::Directory;
use trunkline_model::{Team, VirtualKey};

use super::query::Query;
use super::schema::{Answer, Failures, TeamRow};
use super::{row, team};
use crate::App;
use crate::actor::{Caller, Viewer};
use crate::key::error::KeyError;

/// Show a team
///
/// To administrators, and to its members; to these only the keys that they may see.
#[utoipa::path(
    get, path = "/team/info", tag = "Teams",
    params(("team_id" = String, Query, description = "Which team.")),
    responses((status = 200, description = "`team_id`, `team_info`, `keys` and `team_memberships`.", body = Answer), Failures),
)]
pub(crate) async fn info(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let query = Query::read(query.as_deref(), &["team_id"], &[])?;
    let team_id = query.required("team_id")?;
    let directory = app.directory();
    let found = directory.teams.get(team_id).filter(|team| caller.sees_team(team));
    let team = found.ok_or_else(|| team::nobody(team_id))?;
    let is_shown =
        |key: &VirtualKey| key.team_id.as_deref() == Some(team_id) && caller.sees_key(key, &directory);
    let mut info = row::team(team, &directory);
    info.insert("team_memberships".to_owned(), row::team_memberships(team));
    Ok(Json(json!({
        "team_id": team_id,
        "team_info": info,
        "keys": row::keys(&directory, is_shown),
        "team_memberships": row::team_memberships(team),
    })))
}

/// List the teams
///
/// All of them, or those of a user or an organisation. A user sees those that it is in.
#[utoipa::path(
    get, path = "/team/list", tag = "Teams",
    params(
        ("user_id" = Option<String>, Query, description = "Only those that this user is in."),
        ("organization_id" = Option<String>, Query, description = "Only this organisation's."),
    ),
    responses((status = 200, description = "Teams with their memberships and keys.", body = [TeamRow]), Failures),
)]
pub(crate) async fn list(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let query = Query::read(query.as_deref(), &["user_id", "organization_id"], &[])?;
    let directory = app.directory();
    let show = |team: &&Arc<Team>| {
        let mut row = row::team(team, &directory);
        row.insert("team_memberships".to_owned(), row::team_memberships(team));
        let is_shown = |key: &VirtualKey| {
            key.team_id.as_ref() == Some(&team.team_id) && caller.sees_key(key, &directory)
        };
        row.insert("keys".to_owned(), row::keys(&directory, is_shown));
        Value::from(row)
    };
    Ok(Json(
        meant(&query, &caller, &directory)?.iter().map(show).collect(),
    ))
}

/// List the teams by pages
#[utoipa::path(
    get, path = "/v2/team/list", tag = "Teams",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Teams on a page, 100 at most; 10 unless said."),
        ("user_id" = Option<String>, Query, description = "Only those that this user is in."),
        ("organization_id" = Option<String>, Query, description = "Only this organisation's."),
        ("team_id" = Option<String>, Query, description = "Only this one."),
        ("team_alias" = Option<String>, Query, description = "Only those with this name."),
        ("sort_by" = Option<String>, Query, description = "`team_id` (unless said), `team_alias` or `created_at`."),
        ("sort_order" = Option<String>, Query, description = "`asc` (unless said) or `desc`."),
    ),
    responses((status = 200, description = "`teams`, `total`, `page`, `page_size`, `total_pages`.", body = Answer), Failures),
)]
pub(crate) async fn list_v2(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    const SERVED: [&str; 8] = [
        "page",
        "page_size",
        "user_id",
        "organization_id",
        "team_id",
        "team_alias",
        "sort_by",
        "sort_order",
    ];
    let query = Query::read(query.as_deref(), &SERVED, &["status", "search"])?;
    let page = query.page(10)?;
    let directory = app.directory();
    let mut teams = meant(&query, &caller, &directory)?;
    let by: fn(&Team, &Team) -> Ordering =
        match query.one_of("sort_by", &["team_id", "team_alias", "created_at"])? {
            Some("team_alias") => |a, b| a.team_alias.cmp(&b.team_alias),
            Some("created_at") => |a, b| a.stamps.created_at.cmp(&b.stamps.created_at),
            _ => |a, b| a.team_id.cmp(&b.team_id),
        };
    let is_down = query.one_of("sort_order", &["asc", "desc"])? == Some("desc");
    // By their ids already: those that are the same otherwise stay so, and pages fit together.
    teams.sort_by(|a, b| if is_down { by(b, a) } else { by(a, b) });
    Ok(Json(page.of("teams", &teams, |team| {
        let mut row = row::team(team, &directory);
        row.insert("members_count".to_owned(), team.members.len().into());
        row.into()
    })))
}

/// List the teams that the caller may join by itself
///
/// There are none: administrators put users into teams.
#[utoipa::path(
    get, path = "/team/available", tag = "Teams",
    responses((status = 200, description = "An empty list.", body = [TeamRow])),
)]
pub(crate) async fn available(Viewer(_): Viewer) -> Json<Value> {
    Json(Value::Array(Vec::new()))
}

/// The teams that the query means and the caller may see, by their ids. A user who asks for another's is told so.
fn meant<'d>(
    query: &Query,
    caller: &Caller,
    directory: &'d Directory,
) -> Result<Vec<&'d Arc<Team>>, KeyError> {
    let user_id = query.get("user_id");
    let is_own = user_id.is_none_or(|id| caller.user().is_some_and(|user| user.user_id == id));
    if !caller.sees_all() && !is_own {
        return Err(KeyError::TooMuch(
            "user_id",
            "Only proxy admins may list the teams of others; a user may list its own".to_owned(),
        ));
    }
    let mut teams: Vec<_> = directory
        .teams
        .values()
        .filter(|team| {
            caller.sees_team(team)
                && user_id.is_none_or(|id| team.role_of(id).is_some())
                && query.means("organization_id", team.organization_id.as_deref())
                && query.means("team_id", Some(&team.team_id))
                && query.means("team_alias", team.team_alias.as_deref())
        })
        .collect();
    teams.sort_by(|a, b| a.team_id.cmp(&b.team_id));
    Ok(teams)
}
