//! `POST /model/new`: makes a model.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};
use trunkline_model::{Secret, Stamps, StoredModel};
use trunkline_store::ModelWriteError;

use super::error::ModelError;
use super::schema::{ModelRow, NewModel};
use super::{Said, enter, of_database, row};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;

/// Make a model
///
/// It is served beside those of the configuration file, on every replica within a second. Its credentials are encrypted, and
/// never shown.
#[utoipa::path(
    post,
    path = "/model/new",
    tag = "Models",
    request_body = NewModel,
    responses(
        (status = 200, description = "The model.", body = ModelRow),
        (status = 400, description = "It would be none: which field, and why.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 500, description = "`store_model_in_db` is not set.", body = crate::actor::AuthErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn new(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ModelError> {
    enter(&app)?;
    let said = Said::read(&body, &[])?;
    for (name, is_there) in [
        ("model_name", said.name.is_some()),
        ("litellm_params", said.params.is_some()),
    ] {
        if !is_there {
            return Err(ModelError::Bad(name, "Field required".to_owned()));
        }
    }
    let id = said.id()?.unwrap_or_else(|| (app.new_id)());
    of_database(&app, &id)?;
    let now = app.now();
    let mut model = StoredModel {
        id: id.clone(),
        model_name: String::new(),
        params: Secret::new("{}"),
        model_info: Map::new(),
        blocked: false,
        stamps: Stamps {
            created_at: Some(now),
            created_by: Some(admin.id().to_owned()),
            updated_at: Some(now),
            updated_by: Some(admin.id().to_owned()),
        },
        defect: None,
    };
    said.apply(&mut model);
    let checked = app.models.check(&model);
    checked.map_err(|reason| ModelError::Write(id.clone(), ModelWriteError::Refused { reason }))?;
    let shown = row(&model);
    let stored = app.registry.model_insert(admin.actor(), model).await;
    stored.map_err(|error| ModelError::Write(id.clone(), error))?;
    app.models.refresh();
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        model_id = id,
        "model made"
    );
    Ok(Json(shown))
}
