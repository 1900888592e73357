//! `GET /audit/{id}`: one row of the audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use super::{AuditError, RowSchema, row};
use crate::App;
use crate::actor::Admin;

/// Show a row of the audit log
#[utoipa::path(
    get,
    path = "/audit/{id}",
    tag = "Audit log",
    params(("id" = String, Path, description = "Which row.")),
    responses(
        (status = 200, description = "The row.", body = RowSchema),
        (status = 403, description = "The caller may not see it.", body = crate::error::ErrorBody),
        (status = 404, description = "No such row."),
        (status = 503, description = "The database is away.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn get(
    _admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, AuditError> {
    let Ok(seq) = id.parse() else {
        return Err(AuditError::Unknown(id));
    };
    let found = app.registry.store().audit_get(seq).await?;
    let found = found.ok_or(AuditError::Unknown(id))?;
    Ok(Json(row(found).into()))
}
