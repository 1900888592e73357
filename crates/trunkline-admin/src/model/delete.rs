//! `POST /model/delete`: removes a model.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::change::named;
use super::error::ModelError;
use super::schema::{ModelDeleted, ModelNamed};
use super::{enter, of_database};
use crate::App;
use crate::actor::Admin;
use crate::body::JsonObject;

/// Delete a model
///
/// Nobody is answered by it from then on, on every replica within a second; answers under way end as they began.
#[utoipa::path(
    post,
    path = "/model/delete",
    tag = "Models",
    request_body = ModelNamed,
    responses(
        (status = 200, description = "Deleted.", body = ModelDeleted),
        (status = 400, description = "No such model, or one of the configuration file.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, no id.", body = crate::error::ValidationErrorBody),
        (status = 500, description = "`store_model_in_db` is not set.", body = crate::actor::AuthErrorBody),
        (status = 503, description = "The database did not delete it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn delete(
    admin: Admin,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ModelError> {
    enter(&app)?;
    let id = named(&body)?;
    of_database(&app, &id)?;
    let deleted = app.registry.model_delete(admin.actor(), &id).await;
    deleted.map_err(|error| ModelError::Write(id.clone(), error))?;
    app.models.refresh();
    tracing::info!(
        actor = admin.id(),
        path = admin.path(),
        model_id = id,
        "model deleted"
    );
    Ok(Json(
        json!({"message": format!("Model: {id} deleted successfully")}),
    ))
}
