//! `spend_daily`, `spend_tag`: sums of days.
//!
//! Sums are of what is known: keys, servers, models. Tags are not, any client can make them up, so that there are [`MAX_TAGS`] of each
//! key in a day, about, and the rest is summed up under one name. They go when the records go that they are of.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use trunkline_model::{CallKind, CallRecord};

use super::{DAY, day_of};
use crate::call_record::signed;
use crate::catalogue::storable;
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::store::Store;

/// The longest part of what sums are of.
const MAX_LABEL_BYTES: usize = 256;
/// More tokens than this no call takes, whatever an upstream says: sums of days stay numbers.
const MAX_TOKENS: u64 = 1 << 40;
/// Different tags of one key in one day. Replicas that write the first of one at the same moment may come to a few more.
const MAX_TAGS: i64 = 1000;
/// The name of all others.
const OTHER_TAGS: &str = "(other)";
/// Sums that one statement writes.
const PIECE: usize = 1000;

/// The columns of what is summed up, without the amounts.
macro_rules! day_columns {
    () => {
        "day, tag, api_key, user_id, team_id, organization_id, end_user, provider, model, model_group, tool, kind"
    };
}

macro_rules! daily_add {
    ($rows:expr) => {
        concat!(
            "INSERT INTO spend_daily (", day_columns!(), ", spend, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, \
            requests, succeeded, failed, unpriced, duration_ms) ", $rows, " ON CONFLICT (", day_columns!(), ") \
            DO UPDATE SET spend = spend_daily.spend + excluded.spend, \
            input_tokens = spend_daily.input_tokens + excluded.input_tokens, \
            output_tokens = spend_daily.output_tokens + excluded.output_tokens, \
            cache_read_tokens = spend_daily.cache_read_tokens + excluded.cache_read_tokens, \
            cache_write_tokens = spend_daily.cache_write_tokens + excluded.cache_write_tokens, \
            requests = spend_daily.requests + excluded.requests, succeeded = spend_daily.succeeded + excluded.succeeded, \
            failed = spend_daily.failed + excluded.failed, unpriced = spend_daily.unpriced + excluded.unpriced, \
            duration_ms = spend_daily.duration_ms + excluded.duration_ms"
        )
    };
}

macro_rules! asked_tags {
    () => {
        "SELECT DISTINCT day, api_key, tag FROM json_to_recordset(CAST($1 AS json)) AS own (day bigint, api_key text, tag text)"
    };
    (sqlite) => {
        "SELECT DISTINCT json_extract(value, '$.day') AS day, json_extract(value, '$.api_key') AS api_key, \
        json_extract(value, '$.tag') AS tag FROM json_each($1)"
    };
}

macro_rules! tags_put {
    ($asked:expr) => {
        concat!("WITH asked AS (", $asked, "), \
        fresh AS (SELECT a.day, a.api_key, a.tag, row_number() OVER (PARTITION BY a.day, a.api_key ORDER BY a.tag) AS place FROM asked a \
            WHERE NOT EXISTS (SELECT 1 FROM spend_tag t WHERE t.day = a.day AND t.api_key = a.api_key AND t.tag = a.tag)), \
        used AS (SELECT f.day, f.api_key, (SELECT count(*) FROM spend_tag t WHERE t.day = f.day AND t.api_key = f.api_key) AS tags \
            FROM (SELECT DISTINCT day, api_key FROM fresh) f) \
        INSERT INTO spend_tag (day, api_key, tag) SELECT f.day, f.api_key, f.tag FROM fresh f \
            JOIN used u ON u.day = f.day AND u.api_key = f.api_key WHERE u.tags + f.place <= $2 \
            ORDER BY f.day, f.api_key, f.tag ON CONFLICT (day, api_key, tag) DO NOTHING")
    };
}

macro_rules! tags_known {
    ($asked:expr) => {
        concat!(
            "SELECT t.day, t.api_key, t.tag FROM (",
            $asked,
            ") a \
        JOIN spend_tag t ON t.day = a.day AND t.api_key = a.api_key AND t.tag = a.tag"
        )
    };
}

stmts! {
    DAILY_ADD = daily_add!("SELECT json_extract(value, '$.day'), json_extract(value, '$.tag'), json_extract(value, '$.api_key'), \
            json_extract(value, '$.user_id'), json_extract(value, '$.team_id'), json_extract(value, '$.organization_id'), \
            json_extract(value, '$.end_user'), json_extract(value, '$.provider'), json_extract(value, '$.model'), \
            json_extract(value, '$.model_group'), json_extract(value, '$.tool'), json_extract(value, '$.kind'), \
            json_extract(value, '$.spend'), json_extract(value, '$.input_tokens'), json_extract(value, '$.output_tokens'), \
            json_extract(value, '$.cache_read_tokens'), json_extract(value, '$.cache_write_tokens'), json_extract(value, '$.requests'), \
            json_extract(value, '$.succeeded'), json_extract(value, '$.failed'), json_extract(value, '$.unpriced'), \
            json_extract(value, '$.duration_ms') FROM json_each($1) WHERE true"),
        postgres: daily_add!("SELECT day, tag, api_key, user_id, team_id, organization_id, end_user, provider, model, model_group, tool, \
            kind, spend, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, requests, succeeded, failed, unpriced, \
            duration_ms FROM json_to_recordset(CAST($1 AS json)) AS own (day bigint, tag text, api_key text, user_id text, team_id text, \
            organization_id text, end_user text, provider text, model text, model_group text, tool text, kind text, spend bigint, \
            input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint, requests bigint, \
            succeeded bigint, failed bigint, unpriced bigint, duration_ms bigint)");
    /// New ones, as long as there is room for them.
    TAGS_PUT = tags_put!(asked_tags!(sqlite)), postgres: tags_put!(asked_tags!());
    TAGS_KNOWN = tags_known!(asked_tags!(sqlite)), postgres: tags_known!(asked_tags!());
    TAGS_OLDEST = "SELECT min(day) AS day FROM spend_tag WHERE day < $1";
    TAGS_DELETE = "DELETE FROM spend_tag WHERE day = $1";
    DAILY_TAGS_DELETE = "DELETE FROM spend_daily WHERE day = $1 AND tag <> ''";
}

/// What is summed up of a day, but for amounts: in the order in which rows are written, which is the same for all, so that no two
/// wait for each other.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Serialize)]
struct DayKey {
    day: i64,
    tag: String,
    api_key: String,
    user_id: String,
    team_id: String,
    organization_id: String,
    end_user: String,
    provider: String,
    model: String,
    model_group: String,
    tool: String,
    kind: &'static str,
}

/// Sums.
#[derive(Default, Clone, Copy, Serialize)]
struct Sums {
    spend: i64,
    input_tokens: i64,
    output_tokens: i64,
    cache_read_tokens: i64,
    cache_write_tokens: i64,
    requests: i64,
    succeeded: i64,
    failed: i64,
    unpriced: i64,
    duration_ms: i64,
}

/// As the statement reads it.
#[derive(Serialize)]
struct DayRow<'r> {
    #[serde(flatten)]
    key: &'r DayKey,
    #[serde(flatten)]
    sums: &'r Sums,
}

/// A tag of a key in a day.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
struct DayTag {
    day: i64,
    api_key: String,
    tag: String,
}

impl Sums {
    fn of(record: &CallRecord) -> Self {
        let tokens = |count: Option<u64>| count.map_or(0, |count| signed(count.min(MAX_TOKENS)));
        let own = record.model.as_deref();
        let is_ok = record.outcome == "ok";
        Self {
            spend: record.cost.unwrap_or(0),
            input_tokens: tokens(own.and_then(|own| own.input_tokens)),
            output_tokens: tokens(own.and_then(|own| own.output_tokens)),
            cache_read_tokens: tokens(own.and_then(|own| own.cache_read_tokens)),
            cache_write_tokens: tokens(own.and_then(|own| own.cache_write_tokens)),
            requests: 1,
            succeeded: i64::from(is_ok),
            failed: i64::from(!is_ok),
            unpriced: i64::from(is_ok && record.cost.is_none()),
            duration_ms: signed(record.duration_us / 1000),
        }
    }

    fn add(&mut self, other: &Self) {
        for (own, more) in self.all().into_iter().zip(Self::all(&mut { *other })) {
            *own = own.saturating_add(*more);
        }
    }

    fn all(&mut self) -> [&mut i64; 10] {
        [
            &mut self.spend,
            &mut self.input_tokens,
            &mut self.output_tokens,
            &mut self.cache_read_tokens,
            &mut self.cache_write_tokens,
            &mut self.requests,
            &mut self.succeeded,
            &mut self.failed,
            &mut self.unpriced,
            &mut self.duration_ms,
        ]
    }
}

/// A part of what sums are of, as it is stored. They are an index, and no index takes a text of any length: of a long one there is
/// the beginning and the digest.
fn label(text: &str) -> String {
    if text.len() <= MAX_LABEL_BYTES {
        return storable(text);
    }
    let end = text.floor_char_boundary(MAX_LABEL_BYTES / 2);
    let digest = trunkline_model::KeyHash(Sha256::digest(text).into()).to_hex();
    format!("{}… sha256:{digest}", storable(&text[..end]))
}

/// What a record is summed up by, without a tag.
fn key_of(record: &CallRecord) -> DayKey {
    let payers = &record.payers;
    let id =
        |own: &Option<trunkline_model::Payer>| own.as_ref().map_or_else(String::new, |own| label(&own.id));
    let model = record.model.as_deref();
    let is_tool = record.kind == CallKind::CallTool;
    // Of what was asked for only names that there are: sums are kept, and anybody can ask for anything.
    let is_known = model.is_some() || is_tool && matches!(record.outcome, "ok" | "tool_error");
    let name = record.tool.as_deref().filter(|_| is_known);
    let name = label(name.unwrap_or_default());
    // As LiteLLM has it: a tool is named with its server.
    let (tool, model_group) = match &record.server_id {
        Some(server) if is_tool => (format!("{}/{name}", label(server)), String::new()),
        None if is_tool => (name, String::new()),
        _ => (String::new(), name),
    };
    DayKey {
        day: day_of(record.started_at),
        tag: String::new(),
        api_key: id(&payers.key),
        user_id: id(&payers.user),
        team_id: id(&payers.team),
        organization_id: id(&payers.organization),
        end_user: id(&payers.end_user),
        provider: model.map_or_else(String::new, |own| storable(&own.provider)),
        model: model.map_or_else(String::new, |own| label(&own.model)),
        model_group,
        tool,
        kind: record.kind.as_str(),
    }
}

/// The tags by which a record is summed up: none of what was refused here, for then all that it takes to make one up is to ask.
fn tags_of(record: &CallRecord) -> impl Iterator<Item = DayTag> + '_ {
    let is_refused = record.server_id.is_none();
    let tags = record
        .tags
        .iter()
        .filter(move |_| !is_refused && record.kind.is_paid());
    tags.map(|tag| DayTag {
        day: day_of(record.started_at),
        api_key: record
            .payers
            .key
            .as_ref()
            .map_or_else(String::new, |own| label(&own.id)),
        tag: label(tag),
    })
}

/// The sums of a batch. `known`: the tags that have sums of their own.
fn sums_of(records: &[CallRecord], known: &HashSet<DayTag>) -> BTreeMap<DayKey, Sums> {
    let mut days: BTreeMap<DayKey, Sums> = BTreeMap::new();
    for record in records.iter().filter(|record| record.kind.is_paid()) {
        let (key, sums) = (key_of(record), Sums::of(record));
        let names = tags_of(record).map(|own| {
            if known.contains(&own) {
                own.tag
            } else {
                OTHER_TAGS.to_owned()
            }
        });
        // A record is in a sum once.
        for tag in names.collect::<BTreeSet<_>>() {
            let tagged = DayKey { tag, ..key.clone() };
            days.entry(tagged).or_default().add(&sums);
        }
        days.entry(key).or_default().add(&sums);
    }
    days
}

/// Adds records to the sums of their days.
pub(super) async fn add(tx: &mut Tx, records: &[CallRecord]) -> Result<(), StoreError> {
    let known = known_tags(tx, records).await?;
    let days = sums_of(records, &known);
    let rows: Vec<DayRow<'_>> = days.iter().map(|(key, sums)| DayRow { key, sums }).collect();
    for piece in rows.chunks(PIECE) {
        tx.execute(&DAILY_ADD, vec![json(piece)]).await?;
    }
    Ok(())
}

/// The tags of these records that have sums of their own from now on.
async fn known_tags(tx: &mut Tx, records: &[CallRecord]) -> Result<HashSet<DayTag>, StoreError> {
    let asked: BTreeSet<DayTag> = records
        .iter()
        .flat_map(tags_of)
        .filter(|own| own.tag != OTHER_TAGS)
        .collect();
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let asked = json(&asked);
    tx.execute(&TAGS_PUT, vec![asked.clone(), MAX_TAGS.into()])
        .await?;
    let rows = tx.fetch_all(&TAGS_KNOWN, vec![asked]).await?;
    let read = |row: &Row| {
        Ok(DayTag {
            day: row.required_int("day")?,
            api_key: row.required_text("api_key")?,
            tag: row.required_text("tag")?,
        })
    };
    let known = rows.iter().map(read).collect::<Result<_, sqlx::Error>>();
    known.map_err(StoreError::database(TAGS_KNOWN.name))
}

/// Numbers and texts alone are always JSON.
fn json<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_string(value).unwrap_or_default().into()
}

impl Store {
    /// Deletes the sums by tag of the days before a time, a day at once. The others are kept.
    pub async fn spend_tags_prune(&self, before: Timestamp) -> Result<(), StoreError> {
        let before = before.as_second().div_euclid(DAY);
        loop {
            let row = self.db().fetch_first(&TAGS_OLDEST, vec![before.into()]).await?;
            let day = row.map_or(Ok(None), |row| row.int("day"));
            let Some(day) = day.map_err(StoreError::database(TAGS_OLDEST.name))? else {
                return Ok(());
            };
            let mut tx = self.db().begin().await?;
            tx.execute(&DAILY_TAGS_DELETE, vec![day.into()]).await?;
            tx.execute(&TAGS_DELETE, vec![day.into()]).await?;
            tx.commit().await?;
        }
    }
}
