//! `GET /spend/tags`: what was spent under each tag.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use trunkline_store::day_of;

use super::scope::time;
use super::shown::dollars;
use crate::App;
use crate::actor::Admin;
use crate::audit::AuditError;
use crate::tenant::query::Query;
use crate::tenant::schema::{Answer, Failures};

/// Tags of one answer.
const MOST: u32 = 10_000;

/// Sum up what was spent under each tag
///
/// The most first. A request with several tags counts for each of them.
#[utoipa::path(
    get, path = "/spend/tags", tag = "Spend",
    params(
        ("start_date" = Option<String>, Query, description = "From this day on, `2026-01-31`."),
        ("end_date" = Option<String>, Query, description = "To the end of this day."),
    ),
    responses((status = 200, description = "`individual_request_tag`, `log_count`, `total_spend` of each.", body = [Answer]), Failures),
)]
pub(crate) async fn tags(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    let query = Query::read(query.as_deref(), &["start_date", "end_date"], &[])?;
    let from = time(&query, "start_date", false)?.map_or(i64::MIN, day_of);
    let to = time(&query, "end_date", true)?.map_or(i64::MAX, day_of);
    let tags = app.registry.store().spend_of_tags((from, to), MOST).await?;
    let row = |own: trunkline_store::TagSpend| json!({"individual_request_tag": own.tag, "log_count": own.requests, "total_spend": dollars(own.spend)});
    Ok(Json(tags.into_iter().map(row).collect()))
}
