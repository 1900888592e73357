//! `GET /spend/logs`, `GET /spend/logs/v2`: one row for each call, or sums of days.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use trunkline_model::{Amount, CallKind, Level};
use trunkline_store::{DayRow, DaysFilter, DaysOf, LogFilter, LogSort, StoredCallRecord, day_of};

use super::scope::{Visible, time};
use super::shown::{Shown, dollars};
use crate::App;
use crate::actor::Viewer;
use crate::audit::AuditError;
use crate::body::{Loc, Problems};
use crate::key::error::KeyError;
use crate::key::schema::{object, shapes, text};
use crate::tenant::query::Query;
use crate::tenant::schema::Failures;

/// Rows of an answer that has no pages.
const MOST: u32 = 10_000;

shapes! {
    /// One call: LiteLLM's `LiteLLM_SpendLogs`.
    SpendLog as "LiteLLM_SpendLogs" = object()
        .property("request_id", text("The request."))
        .property("call_type", text("What was asked: `acompletion`, `atext_completion`, `aembedding`, `call_mcp_tool` …"))
        .property("spend", crate::key::schema::dollars("Dollars; null: nobody knows."))
        .property("api_key", text("The hash of the key, or `master_key`."));
    /// A page of calls.
    SpendLogPage as "SpendLogsPage" = object()
        .property("data", object())
        .property("total", object())
        .property("page", object())
        .property("page_size", object())
        .property("total_pages", object());
}

/// List calls, or sum them up by day
///
/// With `start_date` and `end_date`, sums of days, unless `summarize` is `false`; else the newest calls, 10,000 at most. A user sees its
/// own, and who manages a team all of the team.
#[utoipa::path(
    get, path = "/spend/logs", tag = "Spend",
    params(
        ("api_key" = Option<String>, Query, description = "Only this key's, by its hash."),
        ("user_id" = Option<String>, Query, description = "Only this user's."),
        ("request_id" = Option<String>, Query, description = "Only this request."),
        ("start_date" = Option<String>, Query, description = "From this day on, `2026-01-31`."),
        ("end_date" = Option<String>, Query, description = "To the end of this day."),
        ("summarize" = Option<bool>, Query, description = "`false`: calls, where there would be sums."),
    ),
    responses((status = 200, description = "Calls; or days, each with `startTime`, `spend`, `users` and `models`.", body = [SpendLog]), Failures),
)]
pub(crate) async fn logs(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    const SERVED: [&str; 6] = [
        "api_key",
        "user_id",
        "request_id",
        "start_date",
        "end_date",
        "summarize",
    ];
    let query = Query::read(query.as_deref(), &SERVED, &[])?;
    let directory = app.directory();
    let visible = Visible::of(&caller, &query, &directory)?;
    let (since, until) = (
        time(&query, "start_date", false)?,
        time(&query, "end_date", true)?,
    );
    let summarize = query.one_of("summarize", &["true", "false", "True", "False"])?;
    let is_summary = !matches!(summarize, Some("false" | "False")) && query.get("request_id").is_none();
    if let (Some(since), Some(until), true) = (since, until, is_summary) {
        let filter = DaysFilter {
            from: day_of(since),
            to: day_of(until),
            entity: visible.user_id,
            api_key: visible.api_key,
            model: None,
        };
        let rows = app
            .registry
            .store()
            .days(DaysOf::Level(Level::User), &filter)
            .await?;
        return Ok(Json(days(rows)));
    }
    let filter = LogFilter {
        api_key: visible.api_key,
        user_id: visible.user_id,
        team_id: visible.team_id,
        request_id: query.get("request_id").map(str::to_owned),
        since,
        until,
        ..LogFilter::default()
    };
    let newest = LogSort::Time { down: true };
    let (_, rows) = app.registry.store().log_page(&filter, newest, (0, MOST)).await?;
    Ok(Json(rows.iter().map(|own| row(own, &directory)).collect()))
}

/// A page of calls
///
/// The newest first. A user sees its own, and who manages a team all of the team.
#[utoipa::path(
    get, path = "/spend/logs/v2", tag = "Spend",
    params(
        ("start_date" = Option<String>, Query, description = "Not before: `2026-01-31`, or `2026-01-31 12:00:00` (UTC)."),
        ("end_date" = Option<String>, Query, description = "Not after; a day counts to its end."),
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Rows on a page, 1000 at most; 50 unless said."),
        ("api_key" = Option<String>, Query, description = "Only this key's, by its hash."),
        ("user_id" = Option<String>, Query, description = "Only this user's."),
        ("team_id" = Option<String>, Query, description = "Only this team's."),
        ("end_user" = Option<String>, Query, description = "Only for this end user."),
        ("request_id" = Option<String>, Query, description = "Only this request."),
        ("model" = Option<String>, Query, description = "Only of this model, by the provider's name or the one that clients know, or of this tool."),
        ("model_id" = Option<String>, Query, description = "Only of this deployment, or server."),
        ("status_filter" = Option<String>, Query, description = "`success` or `failure`."),
        ("min_spend" = Option<f64>, Query, description = "Dollars, at least."),
        ("max_spend" = Option<f64>, Query, description = "Dollars, at most."),
        ("sort_by" = Option<String>, Query, description = "`startTime` (unless said) or `spend`."),
        ("sort_order" = Option<String>, Query, description = "`desc` (unless said) or `asc`."),
    ),
    responses((status = 200, description = "A page.", body = SpendLogPage), Failures),
)]
pub(crate) async fn logs_v2(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    const SERVED: [&str; 16] = [
        "start_date",
        "end_date",
        "page",
        "page_size",
        "api_key",
        "user_id",
        "team_id",
        "end_user",
        "request_id",
        "model",
        "model_id",
        "status_filter",
        "min_spend",
        "max_spend",
        "sort_by",
        "sort_order",
    ];
    const LATER: [&str; 9] = [
        "session_id",
        "cache_hit_filter",
        "span_type",
        "model_group",
        "key_alias",
        "error_code",
        "error_message",
        "group_by_session",
        "search",
    ];
    let query = Query::read(query.as_deref(), &SERVED, &LATER)?;
    let directory = app.directory();
    let visible = Visible::of(&caller, &query, &directory)?;
    let (number, size) = query.page_up_to(50, 1000)?.numbers();
    let text = |name: &str| query.get(name).map(str::to_owned);
    let status = query.one_of("status_filter", &["success", "failure"])?;
    let filter = LogFilter {
        api_key: visible.api_key,
        user_id: visible.user_id,
        team_id: visible.team_id,
        end_user: text("end_user"),
        request_id: text("request_id"),
        model: text("model"),
        model_id: text("model_id"),
        succeeded: status.map(|status| status == "success"),
        min_cost: amount(&query, "min_spend")?,
        max_cost: amount(&query, "max_spend")?,
        since: time(&query, "start_date", false)?,
        until: time(&query, "end_date", true)?,
    };
    let down = query.one_of("sort_order", &["desc", "asc"])? != Some("asc");
    let sort = match query.one_of("sort_by", &["startTime", "spend"])? {
        Some("spend") => LogSort::Cost { down },
        _ => LogSort::Time { down },
    };
    let offset = (number - 1).saturating_mul(u64::from(size));
    let (total, rows) = app
        .registry
        .store()
        .log_page(&filter, sort, (offset, size))
        .await?;
    let data: Vec<Value> = rows.iter().map(|own| row(own, &directory)).collect();
    Ok(Json(json!({
        "data": data, "total": total, "page": number, "page_size": size, "total_pages": total.div_ceil(u64::from(size)),
    })))
}

/// Dollars in a parameter, as billionths.
fn amount(query: &Query, name: &str) -> Result<Option<i64>, KeyError> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let amount = Amount::parse(text).map(Amount::billionths);
    if amount.is_none() {
        let mut problems = Problems::default();
        let text = "Input should be a number of dollars, not negative";
        problems.add("value_error", &[Loc::from("query"), Loc::from(name)], text);
        problems.into_result()?;
    }
    Ok(amount)
}

/// A call by LiteLLM's names. Nobody's words are in it: neither what was asked nor what was answered is kept.
fn row(record: &StoredCallRecord, directory: &Shown) -> Value {
    let is_ok = record.outcome == "ok";
    let took_ms = record.duration_us / 1000;
    let lasted = jiff::SignedDuration::from_micros(i64::try_from(record.duration_us).unwrap_or(i64::MAX));
    let ended = record.started_at.checked_add(lasted).unwrap_or(record.started_at);
    let is_tool = record.kind == CallKind::CallTool.as_str();
    let named = |server: &str| format!("{server}/{}", record.tool.as_deref().unwrap_or_default());
    let tool = record.server_id.as_deref().filter(|_| is_tool).map(named);
    let own = record.model.as_ref();
    // Nobody was asked under it where the request was refused: it is what was asked for all the same.
    let is_of_servers = record.kind.contains("_mcp_");
    let asked = record
        .tool
        .as_deref()
        .filter(|_| !is_of_servers)
        .unwrap_or_default();
    let api_key = record.api_key.as_deref().unwrap_or(&record.principal);
    let key = trunkline_model::KeyHash::from_hex(api_key).and_then(|hash| directory.keys.get(&hash));
    let total = own.and_then(|own| Some(own.input_tokens?.saturating_add(own.output_tokens?)));
    let error = record
        .error
        .as_ref()
        .map(|error| json!({"error_class": record.outcome, "error_message": error}));
    let mut row = Map::new();
    let columns = [
        ("request_id", json!(record.request_id)),
        ("litellm_call_id", json!(record.request_id)),
        ("call_type", json!(record.kind)),
        ("api_key", json!(api_key)),
        ("spend", json!(record.cost.map(dollars))),
        ("total_tokens", json!(total)),
        ("prompt_tokens", json!(own.and_then(|own| own.input_tokens))),
        ("completion_tokens", json!(own.and_then(|own| own.output_tokens))),
        ("startTime", json!(record.started_at.to_string())),
        ("endTime", json!(ended.to_string())),
        ("completionStartTime", Value::Null),
        ("request_duration_ms", json!(took_ms)),
        ("model", json!(own.map_or(asked, |own| own.model.as_str()))),
        (
            "model_id",
            json!(
                record
                    .server_id
                    .as_deref()
                    .filter(|_| own.is_some())
                    .unwrap_or_default()
            ),
        ),
        ("model_group", json!(asked)),
        (
            "custom_llm_provider",
            json!(own.map_or("", |own| own.provider.as_str())),
        ),
        ("api_base", json!(own.map_or("", |own| own.api_base.as_str()))),
        ("mcp_namespaced_tool_name", json!(tool)),
        ("user", json!(record.user_id.as_deref().unwrap_or_default())),
        ("team_id", json!(record.team_id)),
        ("organization_id", json!(record.organization_id)),
        ("end_user", json!(record.end_user)),
        ("requester_ip_address", json!(record.client)),
        ("request_tags", json!(record.tags)),
        ("session_id", json!(record.session)),
        ("status", json!(if is_ok { "success" } else { "failure" })),
        ("cache_hit", json!("False")),
        ("cache_key", json!("")),
        ("messages", json!({})),
        ("response", json!({})),
        ("proxy_server_request", json!({})),
        (
            "metadata",
            json!({
                "user_api_key": api_key,
                "user_api_key_alias": key.and_then(|key| key.key_alias.clone()),
                "user_api_key_user_id": record.user_id,
                "user_api_key_team_id": record.team_id,
                "user_api_key_org_id": record.organization_id,
                "status": if is_ok { "success" } else { "failure" },
                "outcome": record.outcome,
                "error_information": error,
                "usage_is_estimated": own.is_some_and(|own| own.is_estimated),
                "usage_object": own.map(|own| json!({
                    "prompt_tokens": own.input_tokens,
                    "completion_tokens": own.output_tokens,
                    "cache_read_input_tokens": own.cache_read_tokens,
                    "cache_creation_input_tokens": own.cache_write_tokens,
                    "reasoning_tokens": own.reasoning_tokens,
                })),
            }),
        ),
    ];
    row.extend(columns.map(|(name, value)| (name.to_owned(), value)));
    row.into()
}

/// LiteLLM's sums of days, the earliest first: what each user, model and key spent.
fn days(rows: Vec<DayRow>) -> Value {
    #[derive(Default)]
    struct Day {
        spend: i64,
        users: BTreeMap<String, i64>,
        models: BTreeMap<String, i64>,
        keys: BTreeMap<String, i64>,
    }
    let mut days: BTreeMap<String, Day> = BTreeMap::new();
    for row in rows {
        let date = row.day.to_string().chars().take(10).collect();
        let day = days.entry(date).or_default();
        let spend = row.sums.spend;
        let model = if row.model.is_empty() { row.tool } else { row.model };
        let key = if row.api_key.is_empty() {
            "master_key".to_owned()
        } else {
            row.api_key
        };
        day.spend = day.spend.saturating_add(spend);
        for (sums, name) in [
            (&mut day.users, row.entity),
            (&mut day.models, model),
            (&mut day.keys, key),
        ] {
            let sum = sums.entry(name).or_default();
            *sum = sum.saturating_add(spend);
        }
    }
    let shown = |sums: BTreeMap<String, i64>| -> Map<String, Value> {
        sums.into_iter()
            .map(|(name, spend)| (name, dollars(spend).into()))
            .collect()
    };
    days.into_iter()
        .map(|(date, day)| {
            let mut item = shown(day.keys);
            item.insert("startTime".to_owned(), date.into());
            item.insert("spend".to_owned(), dollars(day.spend).into());
            item.insert("users".to_owned(), shown(day.users).into());
            item.insert("models".to_owned(), shown(day.models).into());
            Value::from(item)
        })
        .collect()
}
