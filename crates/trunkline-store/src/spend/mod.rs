//! `spend`, `spend_daily`, `spend_batch`: what was spent, beside the records that it is made of.
//!
//! A batch of records is written together with its sums, in one transaction that has a name: one that is written again, because
//! nobody knows whether its commit came through, is not counted twice. Every replica adds to the same sums.
//!
//! - [`book`]: what keys, teams, users … have spent, in memory.
//! - [`read`]: pages of records, and sums of days.

pub(crate) mod book;
pub(crate) mod read;

use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use trunkline_model::{Budget, CallKind, CallRecord, Level, Spending};

use crate::call_record::{insert_all, signed};
use crate::catalogue::{storable, timestamp};
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::store::Store;
use book::Stored;

/// How many old names of batches one transaction deletes.
const PRUNE_BATCH: i64 = 1000;
/// Seconds of a day.
const DAY: i64 = 86_400;
/// The longest part of what sums are of.
const MAX_LABEL_BYTES: usize = 256;
/// More tokens than this no call takes, whatever an upstream says: sums of days stay numbers.
const MAX_TOKENS: u64 = 1 << 40;

stmts! {
    BATCH_BEGIN = "INSERT INTO spend_batch (batch_id, written_at) VALUES ($1, $2) ON CONFLICT (batch_id) DO NOTHING";
    BATCH_PRUNE = "DELETE FROM spend_batch WHERE batch_id IN \
        (SELECT batch_id FROM spend_batch WHERE written_at < $1 ORDER BY written_at LIMIT $2)";
    /// A period that has begun since replaces the one before.
    SPEND_ADD = "INSERT INTO spend (kind, id, spend, total_spend, period_at, updated_at) VALUES ($1, $2, $3, $3, $4, $5) \
        ON CONFLICT (kind, id) DO UPDATE SET \
        spend = CASE WHEN spend.period_at < excluded.period_at THEN excluded.spend ELSE spend.spend + excluded.spend END, \
        total_spend = spend.total_spend + excluded.total_spend, \
        period_at = CASE WHEN spend.period_at < excluded.period_at THEN excluded.period_at ELSE spend.period_at END, \
        updated_at = excluded.updated_at RETURNING kind, id, spend, total_spend, period_at";
    SPEND_SINCE = "SELECT kind, id, spend, total_spend, period_at FROM spend WHERE updated_at >= $1";
    /// Whoever has the id next has spent nothing.
    SPEND_FORGET = "UPDATE spend SET spend = 0, total_spend = 0, period_at = 0, updated_at = $3 WHERE kind = $1 AND id = $2";
    SPEND_MOVE = "UPDATE spend SET id = $3, updated_at = $4 WHERE kind = $1 AND id = $2";
    DAILY_ADD = "INSERT INTO spend_daily (day, tag, api_key, user_id, team_id, organization_id, end_user, provider, model, model_group, \
        tool, kind, spend, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, requests, succeeded, failed, unpriced, \
        duration_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) \
        ON CONFLICT (day, tag, api_key, user_id, team_id, organization_id, end_user, provider, model, model_group, tool, kind) \
        DO UPDATE SET spend = spend_daily.spend + excluded.spend, \
        input_tokens = spend_daily.input_tokens + excluded.input_tokens, \
        output_tokens = spend_daily.output_tokens + excluded.output_tokens, \
        cache_read_tokens = spend_daily.cache_read_tokens + excluded.cache_read_tokens, \
        cache_write_tokens = spend_daily.cache_write_tokens + excluded.cache_write_tokens, \
        requests = spend_daily.requests + excluded.requests, succeeded = spend_daily.succeeded + excluded.succeeded, \
        failed = spend_daily.failed + excluded.failed, unpriced = spend_daily.unpriced + excluded.unpriced, \
        duration_ms = spend_daily.duration_ms + excluded.duration_ms";
}

/// The days since 1970 of a time, in UTC.
pub fn day_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(DAY)
}

/// What is summed up of a day, but for amounts: in the order in which rows are written, which is the same for all, so that no two
/// wait for each other.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct DayKey {
    day: i64,
    tag: String,
    payers: [String; 5],
    provider: String,
    model: String,
    model_group: String,
    tool: String,
    kind: &'static str,
}

/// Sums.
#[derive(Default, Clone, Copy)]
struct Sums {
    spend: i64,
    input: i64,
    output: i64,
    cache_read: i64,
    cache_write: i64,
    requests: i64,
    succeeded: i64,
    failed: i64,
    unpriced: i64,
    duration_ms: i64,
}

impl Sums {
    fn of(record: &CallRecord) -> Self {
        let tokens = |count: Option<u64>| count.map_or(0, |count| signed(count.min(MAX_TOKENS)));
        let own = record.model.as_deref();
        let is_ok = record.outcome == "ok";
        Self {
            spend: record.cost.unwrap_or(0),
            input: tokens(own.and_then(|own| own.input_tokens)),
            output: tokens(own.and_then(|own| own.output_tokens)),
            cache_read: tokens(own.and_then(|own| own.cache_read_tokens)),
            cache_write: tokens(own.and_then(|own| own.cache_write_tokens)),
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

    /// In the order of the statement.
    fn all(&mut self) -> [&mut i64; 10] {
        [
            &mut self.spend,
            &mut self.input,
            &mut self.output,
            &mut self.cache_read,
            &mut self.cache_write,
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

/// The sums of a batch.
fn daily(records: &[CallRecord]) -> BTreeMap<DayKey, Sums> {
    let mut days: BTreeMap<DayKey, Sums> = BTreeMap::new();
    for record in records.iter().filter(|record| record.kind.is_paid()) {
        let payers = &record.payers;
        let id = |own: &Option<trunkline_model::Payer>| {
            own.as_ref().map_or_else(String::new, |own| label(&own.id))
        };
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
        let key = DayKey {
            day: day_of(record.started_at),
            tag: String::new(),
            payers: [
                id(&payers.key),
                id(&payers.user),
                id(&payers.team),
                id(&payers.organization),
                id(&payers.end_user),
            ],
            provider: model.map_or_else(String::new, |own| storable(&own.provider)),
            model: model.map_or_else(String::new, |own| label(&own.model)),
            model_group,
            tool,
            kind: record.kind.as_str(),
        };
        let sums = Sums::of(record);
        for tag in &record.tags {
            let tagged = DayKey {
                tag: label(tag),
                ..key.clone()
            };
            days.entry(tagged).or_default().add(&sums);
        }
        days.entry(key).or_default().add(&sums);
    }
    days
}

/// What each has to be charged: of a later period after an earlier one.
fn charges(records: &[CallRecord]) -> BTreeMap<(&'static str, String, i64), i64> {
    let mut charges = BTreeMap::new();
    for record in records {
        let cost = record.charge();
        if cost <= 0 {
            continue;
        }
        for (level, payer) in record.payers.iter().filter(|(_, payer)| payer.has_account) {
            let sum: &mut i64 = charges
                .entry((level.as_str(), storable(&payer.id), payer.since))
                .or_default();
            *sum = sum.saturating_add(cost);
        }
    }
    charges
}

impl Store {
    /// Writes records and their sums, all or none, and once, however often the batch of this name is written. What everybody has
    /// spent by then goes into [`Store::spend`].
    pub async fn ledger_write(&self, batch: &str, records: &[CallRecord]) -> Result<(), StoreError> {
        let now = self.now().as_microsecond();
        let mut tx = self.db().begin().await?;
        let begun = tx.execute(&BATCH_BEGIN, vec![batch.into(), now.into()]).await?;
        let charges = charges(records);
        if begun == 0 {
            // It was written before. What was spent is read with what others spend.
            drop(tx);
            for ((kind, id, since), cost) in &charges {
                if let Some(level) = level_of(kind) {
                    self.spend().settled(level, id, (*since, *cost), None);
                }
            }
            return Ok(());
        }
        insert_all(&mut tx, records).await?;
        for (key, mut sums) in daily(records) {
            tx.execute(&DAILY_ADD, daily_values(key, &mut sums)).await?;
        }
        let mut stored = Vec::new();
        for ((kind, id, since), cost) in &charges {
            let values = vec![
                (*kind).into(),
                id.as_str().into(),
                (*cost).into(),
                (*since).into(),
                now.into(),
            ];
            let rows = tx.fetch_all(&SPEND_ADD, values).await?;
            let read = rows.first().map(decode).transpose();
            stored.push(read.map_err(StoreError::database(SPEND_ADD.name))?);
        }
        tx.commit().await?;
        for (((kind, id, since), cost), stored) in charges.iter().zip(stored) {
            if let Some(level) = level_of(kind) {
                let stored = stored.map(|(.., stored)| stored);
                self.spend().settled(level, id, (*since, *cost), stored);
            }
        }
        Ok(())
    }

    /// What somebody has spent by now, in the period of its own duration or else of its budget's.
    pub fn spent(
        &self,
        level: Level,
        id: &str,
        own: Option<&Spending>,
        budget: Option<&Budget>,
    ) -> book::Spent {
        let period = trunkline_model::spending::period(own, budget, self.now());
        let since = period.map_or(0, |period| period.since.as_microsecond());
        self.spend().spent(level, id, since)
    }

    /// Reads what everybody has spent that has changed since a time; everything without one.
    pub async fn spend_refresh(&self, since: Option<Timestamp>) -> Result<(), StoreError> {
        let since = since.map_or(i64::MIN, Timestamp::as_microsecond);
        let rows = self.db().fetch_all(&SPEND_SINCE, vec![since.into()]).await?;
        for row in &rows {
            let (kind, id, stored) = decode(row).map_err(StoreError::database(SPEND_SINCE.name))?;
            if let Some(level) = level_of(&kind) {
                self.spend().stored(level, &id, stored);
            }
        }
        Ok(())
    }

    /// Deletes the names of batches that were written before a time: nobody writes them again.
    pub async fn spend_batch_prune(&self, before: Timestamp) -> Result<(), StoreError> {
        loop {
            let values = vec![before.as_microsecond().into(), PRUNE_BATCH.into()];
            if self.db().execute(&BATCH_PRUNE, values).await? < PRUNE_BATCH.unsigned_abs() {
                return Ok(());
            }
        }
    }
}

/// In the transaction that deletes whoever has the id.
pub(crate) async fn forget(tx: &mut Tx, level: Level, id: &str, now: Timestamp) -> Result<(), StoreError> {
    let values = vec![level.as_str().into(), id.into(), now.as_microsecond().into()];
    tx.execute(&SPEND_FORGET, values).await.map(drop)
}

/// In the transaction that gives a key another secret.
pub(crate) async fn rename(tx: &mut Tx, (from, to): (&str, &str), now: Timestamp) -> Result<(), StoreError> {
    let key = Level::Key.as_str();
    let values = vec![key.into(), from.into(), to.into(), now.as_microsecond().into()];
    tx.execute(&SPEND_MOVE, values).await.map(drop)
}

fn level_of(kind: &str) -> Option<Level> {
    book::LEVELS.into_iter().find(|level| level.as_str() == kind)
}

fn decode(row: &Row) -> Result<(String, String, Stored), sqlx::Error> {
    let stored = Stored {
        spend: row.required_int("spend")?,
        total: row.required_int("total_spend")?,
        since: row.required_int("period_at")?,
    };
    Ok((row.required_text("kind")?, row.required_text("id")?, stored))
}

fn daily_values(key: DayKey, sums: &mut Sums) -> Vec<Value> {
    let DayKey {
        day,
        tag,
        payers,
        provider,
        model,
        model_group,
        tool,
        kind,
    } = key;
    let mut values = vec![day.into(), tag.into()];
    values.extend(payers.map(Value::from));
    values.extend([provider, model, model_group, tool].map(Value::from));
    values.push(kind.into());
    values.extend(sums.all().map(|own| Value::from(*own)));
    values
}

/// The first moment of a day.
pub(crate) fn begin_of(day: i64) -> Timestamp {
    timestamp(day.saturating_mul(DAY).saturating_mul(1_000_000))
}
