//! `/user/info`, `/v2/user/info`, `/user/list`, `/user/available_roles`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use trunkline_auth::Directory;
use trunkline_model::{Team, User, UserRole, VirtualKey};

use super::query::Query;
use super::schema::{Answer, Failures, UserRow};
use super::{row, user};
use crate::App;
use crate::actor::{Admin, Caller, Viewer};
use crate::key::error::KeyError;
use crate::spend::shown::Shown;

/// Show a user
///
/// Without `user_id`, the caller's own; to the master key all keys and teams. A user sees itself and no other.
#[utoipa::path(
    get, path = "/user/info", tag = "Users",
    params(("user_id" = Option<String>, Query, description = "Which user.")),
    responses((status = 200, description = "`user_id`, `user_info`, `keys` and `teams`.", body = Answer), Failures),
)]
pub(crate) async fn info(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let directory = app.directory();
    let named = Query::read(query.as_deref(), &["user_id"], &[])?;
    if caller.principal.key().is_none() && named.get("user_id").is_none() {
        return Ok(Json(everything(&caller, &directory)));
    }
    let user = meant(query.as_deref(), &caller, &directory)?;
    let user_id = &user.user_id;
    let is_shown =
        |key: &VirtualKey| key.user_id.as_ref() == Some(user_id) && caller.sees_key(key, &directory);
    let teams = directory.teams_of(user_id).filter(|team| caller.sees_team(team));
    Ok(Json(json!({
        "user_id": user_id,
        "user_info": row::user(user, &directory),
        "keys": row::keys(&directory, is_shown),
        "teams": teams_of(teams, &directory),
    })))
}

/// What the master key, which is nobody's, sees as its own: all keys and teams, as with LiteLLM.
fn everything(caller: &Caller, directory: &Shown) -> Value {
    json!({
        "user_id": null,
        "user_info": null,
        "keys": row::keys(directory, |key| caller.sees_key(key, directory)),
        "teams": teams_of(directory.teams.values(), directory),
    })
}

fn teams_of<'d>(teams: impl Iterator<Item = &'d Arc<Team>>, directory: &Shown) -> Vec<Value> {
    let mut teams: Vec<_> = teams.collect();
    teams.sort_by(|a, b| a.team_id.cmp(&b.team_id));
    let rows = teams.into_iter().map(|team| row::team(team, directory).into());
    rows.collect()
}

/// Show a user alone
#[utoipa::path(
    get, path = "/v2/user/info", tag = "Users",
    params(("user_id" = Option<String>, Query, description = "Which user.")),
    responses((status = 200, description = "The user.", body = UserRow), Failures),
)]
pub(crate) async fn info_v2(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    let directory = app.directory();
    let user = meant(query.as_deref(), &caller, &directory)?;
    Ok(Json(row::user(user, &directory).into()))
}

/// The user that the query means, if the caller may see it. One that it may not see is not told from one that is not there.
fn meant<'d>(
    query: Option<&str>,
    caller: &Caller,
    directory: &'d Directory,
) -> Result<&'d Arc<User>, KeyError> {
    let query = Query::read(query, &["user_id"], &[])?;
    let own = caller.user().map(|user| user.user_id.as_str());
    let user_id = match (query.get("user_id"), own) {
        (Some(user_id), _) => user_id,
        (None, Some(own)) => own,
        (None, None) => query.required("user_id")?,
    };
    if !caller.sees_all() && own != Some(user_id) {
        let text = "Only proxy admins may see other users; a user may see itself";
        return Err(KeyError::TooMuch("user_id", text.to_owned()));
    }
    directory.users.get(user_id).ok_or_else(|| user::nobody(user_id))
}

/// List the users by pages
#[utoipa::path(
    get, path = "/user/list", tag = "Users",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Users on a page, 100 at most; 25 unless said."),
        ("role" = Option<String>, Query, description = "Only those with this role."),
        ("user_ids" = Option<String>, Query, description = "Only these, separated by commas."),
        ("user_email" = Option<String>, Query, description = "Only those whose address has this in it."),
        ("team" = Option<String>, Query, description = "Only this team's."),
    ),
    responses((status = 200, description = "`users`, `total`, `page`, `page_size`, `total_pages`.", body = Answer), Failures),
)]
pub(crate) async fn list(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, KeyError> {
    const SERVED: [&str; 6] = ["page", "page_size", "role", "user_ids", "user_email", "team"];
    const LATER: [&str; 6] = [
        "sso_user_ids",
        "sort_by",
        "sort_order",
        "organization_ids",
        "user_alias",
        "search",
    ];
    let query = Query::read(query.as_deref(), &SERVED, &LATER)?;
    let page = query.page(25)?;
    let directory = app.directory();
    let email = query.get("user_email").map(str::to_lowercase);
    let has_email = |user: &User| {
        let own = user.user_email.as_ref().map(|own| own.to_lowercase());
        email
            .as_ref()
            .is_none_or(|part| own.is_some_and(|own| own.contains(part)))
    };
    let is_in = |user: &User| {
        let team = |id| directory.teams.get(id);
        query
            .get("team")
            .is_none_or(|id| team(id).is_some_and(|team| team.role_of(&user.user_id).is_some()))
    };
    let is_one = |user: &User| {
        query
            .get("user_ids")
            .is_none_or(|ids| ids.split(',').any(|id| id.trim() == user.user_id))
    };
    let mut users: Vec<&Arc<User>> = directory
        .users
        .values()
        .filter(|user| query.means("role", user.user_role.map(UserRole::as_str)))
        .filter(|user| has_email(user) && is_in(user) && is_one(user))
        .collect();
    users.sort_by(|a, b| a.user_id.cmp(&b.user_id));
    Ok(Json(page.of("users", &users, |user| {
        let mut row = row::user(user, &directory);
        let keys = directory.keys.values();
        let count = keys
            .filter(|key| key.user_id.as_ref() == Some(&user.user_id))
            .count();
        row.insert("key_count".to_owned(), count.into());
        row.into()
    })))
}

/// List the roles that a user may have
#[utoipa::path(
    get, path = "/user/available_roles", tag = "Users",
    responses((status = 200, description = "Each with `description` and `ui_label`.", body = Answer), Failures),
)]
pub(crate) async fn available_roles(_admin: Admin) -> Json<Value> {
    let roles = UserRole::ALL.into_iter().map(|role| {
        let (label, description) = match role {
            UserRole::ProxyAdmin => ("Admin (All Permissions)", "administers everything"),
            UserRole::ProxyAdminViewer => ("Admin (View Only)", "sees everything, and changes nothing"),
            UserRole::InternalUser => (
                "Internal User",
                "sees its own keys and teams, and all keys of the teams that it is an admin of",
            ),
            UserRole::InternalUserViewer => ("Internal Viewer", "sees its own keys and teams"),
        };
        let shown = json!({"description": description, "ui_label": label});
        (role.as_str().to_owned(), shown)
    });
    Json(Value::Object(roles.collect()))
}
