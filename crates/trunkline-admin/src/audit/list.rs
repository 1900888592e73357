//! `GET /audit`: a page of the audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use trunkline_store::{AuditFilter, AuditSort};

use super::{AuditError, RowSchema, row};
use crate::App;
use crate::actor::Admin;
use crate::body::{Loc, Problems};
use crate::key::error::KeyError;
use crate::tenant::query::Query;

/// The parameters.
const SERVED: [&str; 11] = [
    "page",
    "page_size",
    "changed_by",
    "changed_by_api_key",
    "action",
    "table_name",
    "object_id",
    "start_date",
    "end_date",
    "sort_by",
    "sort_order",
];

/// For documentation: a page of the audit log.
#[derive(utoipa::ToSchema)]
#[schema(as = AuditLogPage)]
#[expect(dead_code, reason = "pages are made of maps; this describes them")]
pub(crate) struct PageSchema {
    /// The rows.
    audit_logs: Vec<RowSchema>,
    /// How many there are on all pages.
    total: u64,
    /// Which page this is.
    page: u64,
    /// Rows on a page.
    page_size: u32,
    /// How many pages there are.
    total_pages: u64,
}

/// List the audit log
///
/// Who changed what, and who was refused what; newest first. Nothing changes a row.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "Audit log",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Rows on a page, 100 at most; 10 unless said."),
        ("changed_by" = Option<String>, Query, description = "Only what this user, or caller, did."),
        ("changed_by_api_key" = Option<String>, Query, description = "Only what was done with the key of this hash."),
        ("action" = Option<String>, Query, description = "`created`, `updated`, `deleted`, `blocked`, `unblocked`, `rotated` or `denied`."),
        ("table_name" = Option<String>, Query, description = "Only what is about this table."),
        ("object_id" = Option<String>, Query, description = "Only what is about this object."),
        ("start_date" = Option<String>, Query, description = "Not before: a time (RFC 3339), or a date in UTC."),
        ("end_date" = Option<String>, Query, description = "Not after: a time, or a date in UTC, which counts to its end."),
        ("sort_by" = Option<String>, Query, description = "`updated_at` (unless said), `id`, `changed_by`, `changed_by_api_key`, `action`, `table_name` or `object_id`."),
        ("sort_order" = Option<String>, Query, description = "`desc` (unless said) or `asc`."),
    ),
    responses(
        (status = 200, description = "A page.", body = PageSchema),
        (status = 403, description = "The caller may not see it.", body = crate::error::ErrorBody),
        (status = 422, description = "A parameter that is unknown, or not what it should be.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database is away.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn list(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    let query = Query::read(query.as_deref(), &SERVED, &[])?;
    let (number, size) = query.page(10)?.numbers();
    let (filter, order) = wanted(&query)?;
    let offset = (number - 1).saturating_mul(u64::from(size));
    let store = app.registry.store();
    let (total, rows) = store.audit_page(&filter, order, (offset, size)).await?;
    let rows: Vec<Value> = rows.into_iter().map(|own| row(own).into()).collect();
    Ok(Json(json!({
        "audit_logs": rows, "total": total, "page": number, "page_size": size,
        "total_pages": total.div_ceil(u64::from(size)),
    })))
}

fn wanted(query: &Query) -> Result<(AuditFilter, (AuditSort, bool)), KeyError> {
    let mut problems = Problems::default();
    let mut problem = |name: &str, text: String| {
        problems.add("value_error", &[Loc::from("query"), Loc::from(name)], &text);
    };
    let mut time = |name: &str, is_end: bool| {
        let text = query.get(name)?;
        let at = moment(text, is_end);
        if at.is_none() {
            let text = "Input should be a time such as 2026-01-31T12:00:00Z, or a date such as 2026-01-31";
            problem(name, text.to_owned());
        }
        at
    };
    let (since, until) = (time("start_date", false), time("end_date", true));
    let sort = match query.get("sort_by").map(AuditSort::of) {
        None => AuditSort::Written,
        Some(Some(sort)) => sort,
        Some(None) => {
            problem(
                "sort_by",
                format!("Input should be one of {}", AuditSort::NAMES.join(", ")),
            );
            AuditSort::Written
        }
    };
    let descending = match query.get("sort_order") {
        None | Some("desc") => true,
        Some("asc") => false,
        Some(_) => {
            problem("sort_order", "Input should be asc or desc".to_owned());
            true
        }
    };
    problems.into_result()?;
    let text = |name: &str| query.get(name).map(str::to_owned);
    let filter = AuditFilter {
        changed_by: text("changed_by"),
        changed_by_api_key: text("changed_by_api_key"),
        action: text("action"),
        table_name: text("table_name"),
        object_id: text("object_id"),
        since,
        until,
    };
    Ok((filter, (sort, descending)))
}

/// A time, a time without zone (UTC), or a date.
pub(crate) fn moment(text: &str, is_end: bool) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let utc = |at: DateTime| at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    if text.contains([':', 'T']) {
        return utc(text.parse().ok()?);
    }
    let day: Date = text.parse().ok()?;
    if is_end {
        let next = utc(day.tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight()))?;
        return next.checked_sub(1.microsecond()).ok();
    }
    utc(day.to_datetime(jiff::civil::Time::midnight()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_whole_day_in_utc() {
        let of = |text, is_end| moment(text, is_end).map(|at| at.to_string());
        assert_eq!(of("2026-01-31", false).unwrap(), "2026-01-31T00:00:00Z");
        assert_eq!(of("2026-01-31", true).unwrap(), "2026-01-31T23:59:59.999999Z");
        assert_eq!(of("2026-01-31T10:00:00", true).unwrap(), "2026-01-31T10:00:00Z");
        assert_eq!(
            of("2026-01-31T10:00:00+02:00", false).unwrap(),
            "2026-01-31T08:00:00Z"
        );
        for wrong in ["yesterday", "2026-13-01", "", "1"] {
            assert_eq!(of(wrong, false), None, "{wrong}");
        }
    }
}
