//! `GET /team/spend/by_user`: what each user spent in a team.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use trunkline_auth::Directory;
use trunkline_store::TeamUserSpend;
use utoipa::openapi::schema::ArrayBuilder;

use super::activity::{days_of, listed, too_many};
use super::shown::dollars;
use crate::App;
use crate::actor::{Caller, Viewer};
use crate::audit::AuditError;
use crate::key::error::KeyError;
use crate::key::schema::{object, shapes, text};
use crate::tenant::query::Query;
use crate::tenant::schema::Failures;

shapes! {
    /// What users spent in teams.
    TeamUserSpendAnswer as "TeamUserSpendResponse" = object()
        .property("start_date", text("As it was asked for."))
        .property("end_date", text("As it was asked for."))
        .property("results", ArrayBuilder::new().items(object()).description(Some(
            "`team_id`, `team_alias`, `user_id` (empty: of nobody), `user_email`, `user_alias`, `spend`, tokens and requests; in each team the most first.",
        )));
}

/// Sum up what each user spent in a team
///
/// All users of the team for who may see all and for who manages it; its own for another member.
#[utoipa::path(
    get, path = "/team/spend/by_user", tag = "Spend",
    params(
        ("team_ids" = String, Query, description = "Which teams, separated by commas."),
        ("start_date" = String, Query, description = "From this day on, `2026-01-31`, UTC."),
        ("end_date" = String, Query, description = "To the end of this day."),
    ),
    responses((status = 200, description = "A row for each user of each team.", body = TeamUserSpendAnswer), Failures),
)]
pub(crate) async fn by_user(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    let query = Query::read(query.as_deref(), &["team_ids", "start_date", "end_date"], &[])?;
    let days = days_of(&query)?;
    query.required("team_ids")?;
    let teams = listed(&query, "team_ids").filter(|teams| !teams.is_empty());
    let teams = teams.ok_or_else(|| KeyError::Bad("team_ids", "Name one team at least".to_owned()))?;
    too_many(teams.len())?;
    let directory = app.directory();
    let asked = visible(&caller, &teams, &directory)?;
    let mut results = Vec::new();
    for (team_id, user_id) in asked {
        let rows = app.registry.store().spend_of_team(days, team_id, user_id).await?;
        results.extend(rows.iter().map(|row| shown(team_id, row, &directory)));
    }
    Ok(Json(json!({
        "start_date": query.get("start_date"), "end_date": query.get("end_date"), "results": results,
    })))
}

/// Teams, each with the only user that the caller may see there, if it may not see all.
fn visible<'a>(
    caller: &'a Caller,
    teams: &'a [String],
    directory: &Directory,
) -> Result<Vec<(&'a str, Option<&'a str>)>, KeyError> {
    let of = |id: &'a String| {
        let team = directory.teams.get(id);
        if caller.sees_all() || team.is_some_and(|team| caller.sees_keys_of(team)) {
            return Ok((id.as_str(), None));
        }
        match (team.filter(|team| caller.sees_team(team)), caller.user()) {
            (Some(_), Some(user)) => Ok((id.as_str(), Some(user.user_id.as_str()))),
            _ => Err(KeyError::TooMuch(
                "team_ids",
                "Only proxy admins, and the members of a team, may see what was spent in it".to_owned(),
            )),
        }
    };
    teams.iter().map(of).collect()
}

fn shown(team_id: &str, row: &TeamUserSpend, directory: &Directory) -> Value {
    let user = directory.users.get(&row.user_id);
    let (team, sums) = (directory.teams.get(team_id), &row.sums);
    json!({
        "team_id": team_id,
        "team_alias": team.and_then(|team| team.team_alias.clone()),
        "user_id": row.user_id,
        "user_email": user.and_then(|user| user.user_email.clone()),
        "user_alias": user.and_then(|user| user.user_alias.clone()),
        "spend": dollars(sums.spend),
        "prompt_tokens": sums.input_tokens,
        "completion_tokens": sums.output_tokens,
        "total_tokens": sums.input_tokens.saturating_add(sums.output_tokens),
        "api_requests": sums.requests,
        "successful_requests": sums.succeeded,
        "failed_requests": sums.failed,
    })
}
