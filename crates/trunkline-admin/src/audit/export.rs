//! `GET /audit/export`: the whole audit log, or what follows a row, as lines of JSON.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use trunkline_store::{AuditRow, Store, StoreError};

use super::{AuditError, row};
use crate::App;
use crate::actor::Admin;
use crate::body::{Loc, Problems};
use crate::tenant::query::Query;

/// Rows in memory at the same time.
const PART: u32 = 100;

/// Export the audit log
///
/// One row a line, as JSON, in the order in which they were written, up to the last one that is there when it is reached. Reading
/// goes on later with the `id` of the last line as `after`: nothing is left out, and nothing comes twice.
#[utoipa::path(
    get,
    path = "/audit/export",
    tag = "Audit log",
    params(("after" = Option<u64>, Query, description = "The `id` of a row: only what was written after it.")),
    responses(
        (status = 200, description = "Lines of JSON, each as `GET /audit/{id}` answers.", content_type = "application/x-ndjson", body = String),
        (status = 403, description = "The caller may not see it.", body = crate::error::ErrorBody),
        (status = 422, description = "A parameter that is unknown, or no number.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database is away.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn export(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, AuditError> {
    let query = Query::read(query.as_deref(), &["after"], &[])?;
    let after = match query.get("after").map(str::parse::<i64>) {
        None => 0,
        Some(Ok(after)) if after >= 0 => after,
        Some(_) => return Err(no_number().into()),
    };
    let store = app.registry.store().clone();
    // Before the status: a database that is away is not the end of a log.
    let first = store.audit_after(after, PART).await?;
    let lines = stream::try_unfold(Part::Ready(first), move |part| next(store.clone(), part));
    let headers = [(CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn no_number() -> crate::key::error::KeyError {
    let mut problems = Problems::default();
    let at = [Loc::from("query"), Loc::from("after")];
    problems.add("int_parsing", &at, "Input should be the id of a row");
    problems
        .into_result()
        .map_or_else(Into::into, |()| crate::key::error::KeyError::NotFound)
}

/// What is written next.
enum Part {
    Ready(Vec<AuditRow>),
    After(i64),
    End,
}

/// The lines of one part. An error breaks the answer off, so that it is not taken for the whole.
async fn next(store: Store, part: Part) -> Result<Option<(String, Part)>, StoreError> {
    let rows = match part {
        Part::Ready(rows) => rows,
        Part::After(seq) => store.audit_after(seq, PART).await?,
        Part::End => return Ok(None),
    };
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count >= PART);
    let after = match rows.last() {
        Some(last) if is_full => Part::After(last.seq),
        Some(_) => Part::End,
        None => return Ok(None),
    };
    let mut text = String::new();
    for own in rows {
        text.push_str(&Value::from(row(own)).to_string());
        text.push('\n');
    }
    Ok(Some((text, after)))
}
