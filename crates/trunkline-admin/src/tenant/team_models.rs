//! `/team/model/add`, `/team/model/delete`: the models of a team, one by one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use trunkline_model::Team;

use super::fields::{self, Change, TEAM};
use super::schema::{Failures, TeamModels, TeamRow};
use super::team::{edited, shown};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;
use crate::key::error::KeyError;
use crate::key::fields::{names, refuse_others};

const FIELD: &str = "models";

/// Add models to those that a team may use
///
/// A team without a list is limited to these from then on.
#[utoipa::path(
    post, path = "/team/model/add", tag = "Teams", request_body = TeamModels,
    responses((status = 200, description = "The team as it is now.", body = TeamRow), Failures),
)]
pub(crate) async fn add(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let (team_id, models) = read(&body, &app)?;
    let edit = |team: &mut Team| {
        let own = &mut team.object_permission.models;
        for model in models {
            if !own.contains(&model) {
                own.push(model);
            }
        }
        Ok(())
    };
    let team = edited(&team_id, |team, _| edit(team), &admin, &app).await?;
    Ok(Json(shown(&team, &app)))
}

/// Take models from those that a team may use
///
/// The last one stays: a team without a list is limited by none.
#[utoipa::path(
    post, path = "/team/model/delete", tag = "Teams", request_body = TeamModels,
    responses((status = 200, description = "The team as it is now.", body = TeamRow), Failures),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let (team_id, models) = read(&body, &app)?;
    let edit = |team: &mut Team| {
        let own = &mut team.object_permission.models;
        let had_some = !own.is_empty();
        own.retain(|model| !models.contains(model));
        if had_some && own.is_empty() {
            let text =
                "a team without models may use all: leave one, or set `models` by /team/update".to_owned();
            return Err(KeyError::Bad(FIELD, text));
        }
        Ok(())
    };
    let team = edited(&team_id, |team, _| edit(team), &admin, &app).await?;
    Ok(Json(shown(&team, &app)))
}

/// The team and the models that a body names, as `/team/update` would take them.
fn read(body: &Map<String, Value>, app: &App) -> Result<(String, Vec<String>), KeyError> {
    refuse_others(body, &["team_id", FIELD])?;
    Change::read(&TEAM, body, &["team_id"], app.now())?;
    let models = names(body, FIELD)?.ok_or_else(|| fields::missing(FIELD))?;
    Ok((fields::required(body, "team_id")?, models))
}
