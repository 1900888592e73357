//! `GET /user/daily/activity` and the same of teams, organisations, end users and tags: sums of days, each also by model, provider, key …
//! `GET /user/daily/activity/aggregated` is the same of users in one piece.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use trunkline_auth::Directory;
use trunkline_model::{CallKind, KeyHash, Level};
use trunkline_store::{DayRow, DaySums, DaysFilter, DaysOf, MAX_DAYS_ROWS, day_of};

use super::scope::{Visible, key_of, time};
use super::shown::dollars;
use crate::App;
use crate::actor::{Admin, Caller, Viewer};
use crate::audit::AuditError;
use crate::key::error::KeyError;
use crate::key::schema::{object, shapes};
use crate::tenant::query::{Page, Query};
use crate::tenant::schema::Failures;

/// Days of one answer.
const MOST_DAYS: i64 = 400;

shapes! {
    /// Sums of days.
    DailyActivity as "SpendAnalyticsPaginatedResponse" = object()
        .property("results", object().description(Some("Days: `date`, `metrics` and their `breakdown` by `models`, `model_groups`, `providers`, `mcp_servers`, `endpoints`, `api_keys` and `entities`.")))
        .property("metadata", object().description(Some("Sums of this page, and which page it is.")));
}

/// What is asked for.
struct Asked {
    filter: DaysFilter,
    /// `None`: everything at once.
    page: Option<Page>,
}

/// Parameters of answers that have pages.
const PAGED: [&str; 2] = ["page", "page_size"];

impl Asked {
    /// Reads a query; `entity` names the parameter with whom it is about.
    fn read(query: Option<&str>, entity: &'static str) -> Result<(Self, Query), KeyError> {
        let (mut asked, query) = Self::of(query, entity, &PAGED)?;
        asked.page = Some(query.page_up_to(50, 1000)?);
        Ok((asked, query))
    }

    /// The same of what has no pages.
    fn read_whole(query: Option<&str>, entity: &'static str) -> Result<(Self, Query), KeyError> {
        Self::of(query, entity, &[])
    }

    fn of(
        query: Option<&str>,
        entity: &'static str,
        more: &[&'static str],
    ) -> Result<(Self, Query), KeyError> {
        let served = [&["start_date", "end_date", "model", "api_key", entity], more].concat();
        let query = Query::read(
            query,
            &served,
            &["timezone", "include_current_utc_day", "exclude_team_ids"],
        )?;
        let (from, to) = days_of(&query)?;
        let asked = Self {
            filter: DaysFilter {
                from,
                to,
                entity: None,
                api_key: query.get("api_key").map(key_of),
                model: query.get("model").map(str::to_owned),
            },
            page: None,
        };
        Ok((asked, query))
    }
}

/// The first and the last day that are asked for.
pub(super) fn days_of(query: &Query) -> Result<(i64, i64), KeyError> {
    query.required("start_date")?;
    query.required("end_date")?;
    let since = time(query, "start_date", false)?;
    let until = time(query, "end_date", true)?;
    let (from, to) = (since.map_or(0, day_of), until.map_or(0, day_of));
    if to - from > MOST_DAYS {
        let text = format!("Date range must be at most {MOST_DAYS} days");
        return Err(KeyError::Bad("start_date", text));
    }
    Ok((from, to))
}

/// Sum up days of users
///
/// All users for who may see all; a user its own.
#[utoipa::path(
    get, path = "/user/daily/activity", tag = "Spend",
    params(
        ("start_date" = String, Query, description = "From this day on, `2026-01-31`, UTC."),
        ("end_date" = String, Query, description = "To the end of this day."),
        ("user_id" = Option<String>, Query, description = "Only this user's."),
        ("model" = Option<String>, Query, description = "Only of this model."),
        ("api_key" = Option<String>, Query, description = "Only this key's, by its hash."),
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Sums on a page, 1000 at most; 50 unless said."),
    ),
    responses((status = 200, description = "A page.", body = DailyActivity), Failures),
)]
pub(crate) async fn users(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    of_users(&caller, &app, Asked::read(query.as_deref(), "user_id")?).await
}

/// Sum up days of users in one piece
///
/// As `/user/daily/activity`, without pages: the sums in `metadata` are of all that was asked for. All users for who may see all; a user
/// its own.
#[utoipa::path(
    get, path = "/user/daily/activity/aggregated", tag = "Spend",
    params(
        ("start_date" = String, Query, description = "From this day on, `2026-01-31`, UTC."),
        ("end_date" = String, Query, description = "To the end of this day."),
        ("user_id" = Option<String>, Query, description = "Only this user's."),
        ("model" = Option<String>, Query, description = "Only of this model."),
        ("api_key" = Option<String>, Query, description = "Only this key's, by its hash."),
    ),
    responses((status = 200, description = "All days.", body = DailyActivity), Failures),
)]
pub(crate) async fn users_aggregated(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    of_users(&caller, &app, Asked::read_whole(query.as_deref(), "user_id")?).await
}

async fn of_users(
    caller: &Caller,
    app: &App,
    (mut asked, query): (Asked, Query),
) -> Result<Json<Value>, AuditError> {
    let directory = app.directory();
    let visible = Visible::of(caller, &query, &directory)?;
    asked.filter.entity = visible.user_id;
    asked.filter.api_key = visible.api_key;
    let rows = read(app, Level::User.into(), &[asked.filter]).await?;
    Ok(Json(answer(&rows, asked.page.as_ref(), &directory)))
}

/// Sum up days of teams
///
/// All teams for who may see all; else those that the caller manages.
#[utoipa::path(
    get, path = "/team/daily/activity", tag = "Spend",
    params(
        ("start_date" = String, Query, description = "From this day on, `2026-01-31`, UTC."),
        ("end_date" = String, Query, description = "To the end of this day."),
        ("team_ids" = Option<String>, Query, description = "Only these teams, separated by commas."),
        ("model" = Option<String>, Query, description = "Only of this model."),
        ("api_key" = Option<String>, Query, description = "Only this key's, by its hash."),
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Sums on a page, 1000 at most; 50 unless said."),
    ),
    responses((status = 200, description = "A page.", body = DailyActivity), Failures),
)]
pub(crate) async fn teams(
    Viewer(caller): Viewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    let (asked, query) = Asked::read(query.as_deref(), "team_ids")?;
    let directory = app.directory();
    let filters = of_each(asked.filter, visible_teams(&caller, &query, &directory)?);
    let rows = read(&app, Level::Team.into(), &filters).await?;
    Ok(Json(answer(&rows, asked.page.as_ref(), &directory)))
}

/// The teams that are asked for; `None`: all.
fn visible_teams(
    caller: &Caller,
    query: &Query,
    directory: &Directory,
) -> Result<Option<Vec<String>>, KeyError> {
    let named = listed(query, "team_ids");
    if caller.sees_all() {
        return Ok(named);
    }
    let sees = |id: &str| {
        directory
            .teams
            .get(id)
            .is_some_and(|team| caller.sees_keys_of(team))
    };
    match named {
        Some(named) if named.iter().all(|id| sees(id)) => Ok(Some(named)),
        Some(_) => Err(KeyError::TooMuch(
            "team_ids",
            "Only proxy admins, and who manages a team, may see what all of the team spent".to_owned(),
        )),
        None => Ok(Some(
            directory.teams.keys().filter(|id| sees(id)).cloned().collect(),
        )),
    }
}

/// Sum up days of organisations
#[utoipa::path(
    get, path = "/organization/daily/activity", tag = "Spend",
    params(
        ("start_date" = String, Query, description = "From this day on, `2026-01-31`, UTC."),
        ("end_date" = String, Query, description = "To the end of this day."),
        ("organization_ids" = Option<String>, Query, description = "Only these, separated by commas."),
        ("model" = Option<String>, Query, description = "Only of this model."),
        ("api_key" = Option<String>, Query, description = "Only this key's, by its hash."),
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Sums on a page, 1000 at most; 50 unless said."),
    ),
    responses((status = 200, description = "A page.", body = DailyActivity), Failures),
)]
pub(crate) async fn organizations(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    of_all(
        &app,
        query.as_deref(),
        Level::Organization.into(),
        "organization_ids",
    )
    .await
}

/// Sum up days of end users
#[utoipa::path(
    get, path = "/daily/activity", tag = "Spend",
    params(
        ("start_date" = String, Query, description = "From this day on, `2026-01-31`, UTC."),
        ("end_date" = String, Query, description = "To the end of this day."),
        ("end_user_ids" = Option<String>, Query, description = "Only these, separated by commas."),
        ("model" = Option<String>, Query, description = "Only of this model."),
        ("api_key" = Option<String>, Query, description = "Only this key's, by its hash."),
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Sums on a page, 1000 at most; 50 unless said."),
    ),
    responses((status = 200, description = "A page.", body = DailyActivity), Failures),
)]
pub(crate) async fn customers(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    of_all(&app, query.as_deref(), Level::EndUser.into(), "end_user_ids").await
}

/// Sum up days of tags
///
/// A request with several tags counts for each of them.
#[utoipa::path(
    get, path = "/tag/daily/activity", tag = "Spend",
    params(
        ("start_date" = String, Query, description = "From this day on, `2026-01-31`, UTC."),
        ("end_date" = String, Query, description = "To the end of this day."),
        ("tags" = Option<String>, Query, description = "Only these, separated by commas."),
        ("model" = Option<String>, Query, description = "Only of this model."),
        ("api_key" = Option<String>, Query, description = "Only this key's, by its hash."),
        ("page" = Option<u32>, Query, description = "From 1 on."),
        ("page_size" = Option<u32>, Query, description = "Sums on a page, 1000 at most; 50 unless said."),
    ),
    responses((status = 200, description = "A page.", body = DailyActivity), Failures),
)]
pub(crate) async fn tags(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AuditError> {
    of_all(&app, query.as_deref(), Of(DaysOf::Tags), "tags").await
}

/// By whom days are summed up.
struct Of(DaysOf);

impl From<Level> for Of {
    fn from(level: Level) -> Self {
        Self(DaysOf::Level(level))
    }
}

async fn of_all(
    app: &App,
    query: Option<&str>,
    of: Of,
    entity: &'static str,
) -> Result<Json<Value>, AuditError> {
    let (asked, query) = Asked::read(query, entity)?;
    let filters = of_each(asked.filter, listed(&query, entity));
    let rows = read(app, of, &filters).await?;
    Ok(Json(answer(&rows, asked.page.as_ref(), &app.directory())))
}

/// Names, each once.
pub(super) fn listed(query: &Query, name: &str) -> Option<Vec<String>> {
    let text = query.get(name)?;
    let mut names: Vec<String> = text.split(',').map(|own| own.trim().to_owned()).collect();
    names.retain(|own| !own.is_empty());
    names.sort();
    names.dedup();
    Some(names)
}

fn of_each(filter: DaysFilter, entities: Option<Vec<String>>) -> Vec<DaysFilter> {
    let Some(entities) = entities else {
        return vec![filter];
    };
    let of = |entity| DaysFilter {
        entity: Some(entity),
        ..filter.clone()
    };
    entities.into_iter().map(of).collect()
}

/// Refuses more teams, users … in one request than a database should be asked about.
pub(super) fn too_many(entities: usize) -> Result<(), KeyError> {
    const MOST_ENTITIES: usize = 100;
    if entities <= MOST_ENTITIES {
        return Ok(());
    }
    let text = format!("more than {MOST_ENTITIES} at once: ask for them one after the other");
    Err(KeyError::Bad("page", text))
}

async fn read(app: &App, of: Of, filters: &[DaysFilter]) -> Result<Vec<DayRow>, AuditError> {
    too_many(filters.len())?;
    let mut rows = Vec::new();
    for filter in filters {
        rows.extend(app.registry.store().days(of.0, filter).await?);
        if rows.len() >= MAX_DAYS_ROWS as usize {
            let text = format!("more than {MAX_DAYS_ROWS} sums: ask for fewer days");
            return Err(KeyError::Bad("start_date", text).into());
        }
    }
    // The latest first, whosever they are.
    rows.sort_by_key(|row| std::cmp::Reverse(row.day));
    Ok(rows)
}

/// Where LiteLLM says that a call went.
fn endpoint(kind: &str) -> &'static str {
    const OF: [(CallKind, &str); 11] = [
        (CallKind::Message, "/v1/messages"),
        (CallKind::ChatCompletion, "/chat/completions"),
        (CallKind::TextCompletion, "/completions"),
        (CallKind::Embedding, "/embeddings"),
        (CallKind::Response, "/responses"),
        (CallKind::Rerank, "/rerank"),
        (CallKind::Moderation, "/moderations"),
        (CallKind::ImageGeneration, "/image/generations"),
        (CallKind::Speech, "/audio/speech"),
        (CallKind::Transcription, "/audio/transcriptions"),
        (CallKind::CallTool, "/mcp/call_tool"),
    ];
    OF.iter()
        .find(|(own, _)| own.as_str() == kind)
        .map_or("", |(_, path)| path)
}

/// Sums, and sums of the keys in them.
#[derive(Default)]
struct Part {
    sums: DaySums,
    keys: BTreeMap<String, DaySums>,
}

#[derive(Default)]
struct Day {
    sums: DaySums,
    parts: [(&'static str, BTreeMap<String, Part>); 6],
    keys: BTreeMap<String, DaySums>,
}

fn add(sums: &mut DaySums, more: &DaySums) {
    let DaySums {
        spend,
        input_tokens,
        output_tokens,
        cache_read_tokens,
        cache_write_tokens,
        requests,
        succeeded,
        failed,
        unpriced,
        duration_ms,
    } = sums;
    for (own, more) in [
        (spend, more.spend),
        (input_tokens, more.input_tokens),
        (output_tokens, more.output_tokens),
        (cache_read_tokens, more.cache_read_tokens),
        (cache_write_tokens, more.cache_write_tokens),
        (requests, more.requests),
        (succeeded, more.succeeded),
        (failed, more.failed),
        (unpriced, more.unpriced),
        (duration_ms, more.duration_ms),
    ] {
        *own = own.saturating_add(more);
    }
}

fn metrics(sums: &DaySums) -> Value {
    json!({
        "spend": dollars(sums.spend),
        "prompt_tokens": sums.input_tokens,
        "completion_tokens": sums.output_tokens,
        "cache_read_input_tokens": sums.cache_read_tokens,
        "cache_creation_input_tokens": sums.cache_write_tokens,
        "total_tokens": sums.input_tokens.saturating_add(sums.output_tokens),
        "successful_requests": sums.succeeded,
        "failed_requests": sums.failed,
        "api_requests": sums.requests,
        "unpriced_requests": sums.unpriced,
        "total_response_time_ms": sums.duration_ms,
        "timed_requests": sums.requests,
    })
}

fn key_metadata(api_key: &str, directory: &Directory) -> Value {
    let key = KeyHash::from_hex(api_key).and_then(|hash| directory.keys.get(&hash));
    json!({
        "key_alias": key.and_then(|key| key.key_alias.clone()),
        "team_id": key.and_then(|key| key.team_id.clone()),
        "user_id": key.and_then(|key| key.user_id.clone()),
        "key_exists": key.is_some(),
    })
}

fn keys(sums: &BTreeMap<String, DaySums>, directory: &Directory) -> Value {
    let row = |(id, sums): (&String, &DaySums)| {
        let value = json!({"metrics": metrics(sums), "metadata": key_metadata(id, directory)});
        (id.clone(), value)
    };
    sums.iter().map(row).collect::<Map<_, _>>().into()
}

/// LiteLLM's `SpendAnalyticsPaginatedResponse`. As there, the sums in `metadata` are of the page; without pages, of everything, which is
/// one page, however little it is.
fn answer(rows: &[DayRow], page: Option<&Page>, directory: &Directory) -> Value {
    let count = rows.len() as u64;
    let whole = (1, count.max(1));
    let (number, size) = page.map_or(whole, |page| {
        let (number, size) = page.numbers();
        (number, u64::from(size))
    });
    let pages = page.map_or(1, |_| count.div_ceil(size));
    let begin = usize::try_from((number - 1).saturating_mul(size).min(count)).unwrap_or(usize::MAX);
    let shown = rows
        .iter()
        .skip(begin)
        .take(usize::try_from(size).unwrap_or(usize::MAX));
    let mut days: BTreeMap<_, Day> = BTreeMap::new();
    let mut total = DaySums::default();
    for row in shown {
        add(&mut total, &row.sums);
        let day = days.entry(std::cmp::Reverse(row.day)).or_default();
        let api_key = if row.api_key.is_empty() {
            "master_key"
        } else {
            &row.api_key
        };
        add(&mut day.sums, &row.sums);
        add(day.keys.entry(api_key.to_owned()).or_default(), &row.sums);
        let names = [
            ("models", row.model.as_str()),
            ("model_groups", &row.model_group),
            ("providers", &row.provider),
            ("mcp_servers", &row.tool),
            ("endpoints", endpoint(&row.kind)),
            (
                "entities",
                if row.entity.is_empty() {
                    "Unassigned"
                } else {
                    &row.entity
                },
            ),
        ];
        for ((name, parts), (own, value)) in day.parts.iter_mut().zip(names) {
            *name = own;
            if !value.is_empty() {
                let part = parts.entry(value.to_owned()).or_default();
                add(&mut part.sums, &row.sums);
                add(part.keys.entry(api_key.to_owned()).or_default(), &row.sums);
            }
        }
    }
    let results = days.iter().map(|(day, own)| {
        let mut breakdown = Map::new();
        for (name, parts) in &own.parts {
            let part = |(id, part): (&String, &Part)| {
                let value = json!({
                    "metrics": metrics(&part.sums), "metadata": {}, "api_key_breakdown": keys(&part.keys, directory),
                });
                (id.clone(), value)
            };
            breakdown.insert((*name).to_owned(), parts.iter().map(part).collect::<Map<_, _>>().into());
        }
        breakdown.insert("api_keys".to_owned(), keys(&own.keys, directory));
        let date: String = day.0.to_string().chars().take(10).collect();
        json!({"date": date, "metrics": metrics(&own.sums), "breakdown": breakdown})
    });
    json!({
        "results": results.collect::<Vec<_>>(),
        "metadata": {
            "total_spend": dollars(total.spend),
            "total_prompt_tokens": total.input_tokens,
            "total_completion_tokens": total.output_tokens,
            "total_tokens": total.input_tokens.saturating_add(total.output_tokens),
            "total_api_requests": total.requests,
            "total_successful_requests": total.succeeded,
            "total_failed_requests": total.failed,
            "total_unpriced_requests": total.unpriced,
            "total_cache_read_input_tokens": total.cache_read_tokens,
            "total_cache_creation_input_tokens": total.cache_write_tokens,
            "page": number,
            "total_pages": pages,
            "has_more": number.saturating_mul(size) < count,
        },
    })
}
