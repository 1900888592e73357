//! `spend_daily`, `spend_tag`: sums of days.
//!
//! Sums are of what is known: keys, servers, models. Tags are not, nor are end users that nobody has made: any client can make them up, so
//! that there are [`MAX_NAMES`] of each in a day for each key, about, and the rest is summed up under one name. Sums of tags go when the
//! records go that they are of; what an end user is in is also the sum of a team or a user, and stays.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use trunkline_model::{CallKind, CallRecord, ServerId};

use super::{DAY, day_of};
use crate::call_record::signed;
use crate::catalogue::storable;
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::store::Store;

/// The longest part of what sums are of.
const MAX_LABEL_BYTES: usize = 256;
/// More tokens than this no call takes, whatever an upstream says: sums of days stay numbers.
const MAX_TOKENS: u64 = 1 << 40;
/// Different tags of one key in one day, and as many end users. Replicas that write the first of one at the same moment may come to a few
/// more.
const MAX_NAMES: i64 = 1000;
/// The name of all others.
const OTHERS: &str = "(other)";
/// What stands before the key where a name is an end user's and no tag.
const END_USERS: &str = "end_user:";
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
    /// New names, as long as there is room for them.
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

/// A tag of a key in a day, or with [`END_USERS`] before the key an end user.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
struct DayTag {
    day: i64,
    api_key: String,
    tag: String,
}

impl DayTag {
    fn of(record: &CallRecord, tag: &str) -> Self {
        let key = record.payers.key.as_ref();
        Self {
            day: day_of(record.started_at),
            api_key: key.map_or_else(String::new, |own| label(&own.id)),
            tag: label(tag),
        }
    }
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

/// What tells one record's sums from another's, without tags, as the records themselves have it: most of a batch are alike, and nothing of
/// those is copied.
#[derive(PartialEq, Eq, Hash)]
struct Alike<'r> {
    day: i64,
    kind: CallKind,
    server_id: Option<&'r str>,
    name: Option<&'r str>,
    payers: [Option<&'r str>; 5],
    model: Option<(&'r str, &'r str)>,
}

impl<'r> Alike<'r> {
    fn of(record: &'r CallRecord) -> Self {
        let payers = &record.payers;
        let payers = [
            &payers.key,
            &payers.user,
            &payers.team,
            &payers.organization,
            &payers.end_user,
        ];
        let model = record.model.as_deref();
        let is_called = record.kind == CallKind::CallTool && matches!(record.outcome, "ok" | "tool_error");
        // Of what was asked for only names that there are: sums are kept, and anybody can ask for anything.
        let is_known = model.is_some() || is_called;
        Self {
            day: day_of(record.started_at),
            kind: record.kind,
            server_id: record.server_id.as_ref().map(ServerId::as_str),
            name: record.tool.as_deref().filter(|_| is_known),
            payers: payers.map(|own| own.as_ref().map(|own| &*own.id)),
            model: model.map(|own| (&*own.provider, &*own.model)),
        }
    }

    /// What they are summed up by.
    fn key(&self) -> DayKey {
        let is_tool = self.kind == CallKind::CallTool;
        let name = label(self.name.unwrap_or_default());
        // As LiteLLM has it: a tool is named with its server.
        let (tool, model_group) = match self.server_id {
            Some(server) if is_tool => (format!("{}/{name}", label(server)), String::new()),
            None if is_tool => (name, String::new()),
            _ => (String::new(), name),
        };
        let [api_key, user_id, team_id, organization_id, end_user] =
            self.payers.map(|id| label(id.unwrap_or_default()));
        let (provider, model) = self.model.unwrap_or_default();
        DayKey {
            day: self.day,
            tag: String::new(),
            api_key,
            user_id,
            team_id,
            organization_id,
            end_user,
            provider: storable(provider),
            model: label(model),
            model_group,
            tool,
            kind: self.kind.as_str(),
        }
    }
}

/// Whether it was refused here: then all that it takes to make a name up is to ask.
fn is_refused(record: &CallRecord) -> bool {
    record.server_id.is_none()
}

/// The tags by which a record is summed up: none of what was refused here.
fn tags_of(record: &CallRecord) -> impl Iterator<Item = DayTag> + '_ {
    let has_tags = !is_refused(record) && record.kind.is_paid();
    let tags = record.tags.iter().filter(move |_| has_tags);
    tags.map(move |tag| DayTag::of(record, tag))
}

/// The end user of a record, if nobody has made it.
fn label_of(record: &CallRecord) -> Option<DayTag> {
    let own = record.payers.end_user.as_ref()?;
    let own = Some(own).filter(|own| !own.has_account && record.kind.is_paid())?;
    let mut name = DayTag::of(record, &own.id);
    name.api_key.insert_str(0, END_USERS);
    Some(name)
}

/// The sums of a batch. `known`: the names that have sums of their own.
fn sums_of(records: &[CallRecord], known: &HashSet<DayTag>) -> BTreeMap<DayKey, Sums> {
    let mut alike: HashMap<Alike<'_>, Sums> = HashMap::new();
    let mut days: BTreeMap<DayKey, Sums> = BTreeMap::new();
    for record in records.iter().filter(|record| record.kind.is_paid()) {
        let (own, sums) = (Alike::of(record), Sums::of(record));
        let labelled = label_of(record);
        if record.tags.is_empty() && labelled.is_none() {
            alike.entry(own).or_default().add(&sums);
            continue;
        }
        let mut key = own.key();
        if labelled.is_some_and(|own| !known.contains(&own)) {
            OTHERS.clone_into(&mut key.end_user);
        }
        let names = tags_of(record).map(|own| {
            if known.contains(&own) {
                own.tag
            } else {
                OTHERS.to_owned()
            }
        });
        // A record is in a sum once.
        for tag in names.collect::<BTreeSet<_>>() {
            let tagged = DayKey { tag, ..key.clone() };
            days.entry(tagged).or_default().add(&sums);
        }
        days.entry(key).or_default().add(&sums);
    }
    for (own, sums) in alike {
        days.entry(own.key()).or_default().add(&sums);
    }
    days
}

/// Adds records to the sums of their days.
pub(super) async fn add(tx: &mut Tx, records: &[CallRecord]) -> Result<(), StoreError> {
    let known = known_names(tx, records).await?;
    let days = sums_of(records, &known);
    let rows: Vec<DayRow<'_>> = days.iter().map(|(key, sums)| DayRow { key, sums }).collect();
    for piece in rows.chunks(PIECE) {
        tx.execute(&DAILY_ADD, vec![json(piece)]).await?;
    }
    Ok(())
}

/// The tags and end users of these records that have sums of their own from now on. Who was refused is given none, and keeps those that it
/// has.
async fn known_names(tx: &mut Tx, records: &[CallRecord]) -> Result<HashSet<DayTag>, StoreError> {
    let names = |of: &dyn Fn(&CallRecord) -> bool| -> BTreeSet<DayTag> {
        let records = records.iter().filter(|record| of(record));
        let names = records.flat_map(|record| tags_of(record).chain(label_of(record)));
        names.filter(|own| own.tag != OTHERS).collect()
    };
    let (new, asked) = (names(&|record| !is_refused(record)), names(&|_| true));
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    if !new.is_empty() {
        tx.execute(&TAGS_PUT, vec![json(&new), MAX_NAMES.into()]).await?;
    }
    let rows = tx.fetch_all(&TAGS_KNOWN, vec![json(&asked)]).await?;
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
    /// Deletes the sums by tag of the days before a time, a day at once, and which names had sums. The others are kept.
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
