//! `POST /model/update`, `PATCH /model/{model_id}/update`, `POST /model/block` and `/model/unblock`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value};
use trunkline_model::StoredModel;

use super::error::ModelError;
use super::schema::{ModelChange, ModelNamed, ModelRow};
use super::{Said, enter, of_database, row};
use crate::App;
use crate::actor::Admin;
use crate::body::{At, JsonObject, Problems};
use crate::key::fields::{short_text, unknown};

/// Change a model
///
/// `model_info.id` says which. Members of `litellm_params` and `model_info` that are not named stay, and null takes one away: a new
/// key is `{"litellm_params": {"api_key": …}}`.
#[utoipa::path(
    post,
    path = "/model/update",
    tag = "Models",
    request_body = ModelChange,
    responses(
        (status = 200, description = "The model as it is now.", body = ModelRow),
        (status = 400, description = "No such model, one of the configuration file, or it would be none.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 500, description = "`store_model_in_db` is not set.", body = crate::actor::AuthErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn update(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ModelError> {
    enter(&app)?;
    let said = Said::read(&body, &[])?;
    let Some(id) = said.id()? else {
        return Err(ModelError::Bad(
            "model_info",
            "id is missing: it says which model".to_owned(),
        ));
    };
    apply(&admin, &app, id, |model| said.apply(model)).await
}

/// Change the model in the path
///
/// As `POST /model/update`.
#[utoipa::path(
    patch,
    path = "/model/{model_id}/update",
    tag = "Models",
    params(("model_id" = String, Path, description = "The model's id.")),
    request_body = ModelChange,
    responses(
        (status = 200, description = "The model as it is now.", body = ModelRow),
        (status = 400, description = "No such model, one of the configuration file, or it would be none.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 500, description = "`store_model_in_db` is not set.", body = crate::actor::AuthErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn patch(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ModelError> {
    enter(&app)?;
    let said = Said::read(&body, &[])?;
    if said.id()?.is_some_and(|own| own != id) {
        return Err(ModelError::Bad(
            "model_info",
            "id is another than the path's".to_owned(),
        ));
    }
    apply(&admin, &app, id, |model| said.apply(model)).await
}

/// Block a model
///
/// A request for it is answered by its other deployments, or 503.
#[utoipa::path(
    post,
    path = "/model/block",
    tag = "Models",
    request_body = ModelNamed,
    responses(
        (status = 200, description = "The model as it is now.", body = ModelRow),
        (status = 400, description = "No such model, or one of the configuration file.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, no id.", body = crate::error::ValidationErrorBody),
        (status = 500, description = "`store_model_in_db` is not set.", body = crate::actor::AuthErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn block(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ModelError> {
    enter(&app)?;
    let id = named(&body)?;
    apply(&admin, &app, id, |model| model.blocked = true).await
}

/// Unblock a model
#[utoipa::path(
    post,
    path = "/model/unblock",
    tag = "Models",
    request_body = ModelNamed,
    responses(
        (status = 200, description = "The model as it is now.", body = ModelRow),
        (status = 400, description = "No such model, or one of the configuration file.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, no id.", body = crate::error::ValidationErrorBody),
        (status = 500, description = "`store_model_in_db` is not set.", body = crate::actor::AuthErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn unblock(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ModelError> {
    enter(&app)?;
    let id = named(&body)?;
    apply(&admin, &app, id, |model| model.blocked = false).await
}

/// A body that is an id.
pub(super) fn named(body: &Map<String, Value>) -> Result<String, ModelError> {
    let mut problems = Problems::default();
    let mut id = None;
    for (field, value) in body {
        let mut at = At::field(field, &mut problems);
        match field.as_str() {
            "id" => id = short_text(value, &mut at),
            field => unknown(field, ["id"].into_iter(), &mut at),
        }
    }
    if !body.contains_key("id") {
        At::field("id", &mut problems).problem::<()>("missing", "Field required");
    }
    problems.into_result()?;
    Ok(id.unwrap_or_default())
}

async fn apply(
    admin: &Admin,
    app: &Arc<App>,
    id: String,
    edit: impl FnOnce(&mut StoredModel) + Send,
) -> Result<Json<Value>, ModelError> {
    of_database(app, &id)?;
    let now = app.now();
    let by = admin.id().to_owned();
    let models = app.models.clone();
    let edit = Box::new(move |model: &mut StoredModel| {
        edit(model);
        model.stamps.updated_at = Some(now);
        model.stamps.updated_by = Some(by);
        models.check(model)
    });
    let stored = app.registry.model_update(admin.actor(), &id, edit).await;
    let stored = stored.map_err(|error| ModelError::Write(id.clone(), error))?;
    app.models.refresh();
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        model_id = id,
        "model changed"
    );
    Ok(Json(row(&stored)))
}
