//! `spend`, `spend_model`, `spend_daily`, `spend_batch`: what was spent, beside the records that it is made of.
//!
//! A batch of records is written together with its sums, in one transaction that has a name: one that is written again, because
//! nobody knows whether its commit came through, is not counted twice. Every replica adds to the same sums.
//!
//! A key that has got another secret leaves a row behind that says so: what its calls cost that were under way is charged to the new one,
//! whichever replica they ran on.
//!
//! - [`book`]: what keys, teams, users … have spent, in memory.
//! - [`daily`]: sums of days.
//! - [`read`]: pages of records, and sums of days.

pub(crate) mod book;
pub(crate) mod daily;
pub(crate) mod read;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use trunkline_model::{Budget, CallRecord, Level, ModelBudget, Spending};

use crate::call_record::insert_all;
use crate::catalogue::{storable, timestamp};
use crate::db::{Row, StoreError, Tx, stmts};
use crate::store::Store;
use book::Stored;

/// How many old names of batches one transaction deletes.
const PRUNE_BATCH: i64 = 1000;
/// Seconds of a day.
const DAY: i64 = 86_400;
/// More secrets than this no key gets while one call goes on.
const MAX_MOVES: usize = 16;

stmts! {
    BATCH_BEGIN = "INSERT INTO spend_batch (batch_id, written_at) VALUES ($1, $2) ON CONFLICT (batch_id) DO NOTHING";
    BATCH_PRUNE = "DELETE FROM spend_batch WHERE batch_id IN \
        (SELECT batch_id FROM spend_batch WHERE written_at < $1 ORDER BY written_at LIMIT $2)";
    /// A period that has begun since replaces the one before; what ended before the period that is there is no part of it. Who has another
    /// name by now is charged under that one.
    SPEND_ADD = "INSERT INTO spend (kind, id, spend, total_spend, period_at, updated_at) VALUES ($1, $2, $3, $3, $4, $5) \
        ON CONFLICT (kind, id) DO UPDATE SET \
        spend = CASE WHEN spend.moved_to IS NOT NULL OR spend.period_at > $6 THEN spend.spend \
            WHEN spend.period_at < excluded.period_at THEN excluded.spend ELSE spend.spend + excluded.spend END, \
        total_spend = CASE WHEN spend.moved_to IS NULL THEN spend.total_spend + excluded.total_spend ELSE spend.total_spend END, \
        period_at = CASE WHEN spend.moved_to IS NULL AND spend.period_at < excluded.period_at THEN excluded.period_at \
            ELSE spend.period_at END, \
        updated_at = excluded.updated_at RETURNING kind, id, spend, total_spend, period_at, moved_to, updated_at";
    SPEND_SINCE = "SELECT kind, id, spend, total_spend, period_at, moved_to, updated_at FROM spend WHERE updated_at >= $1";
    /// Whoever has the id next has spent nothing.
    SPEND_FORGET = "UPDATE spend SET spend = 0, total_spend = 0, period_at = 0, moved_to = NULL, updated_at = $3 \
        WHERE kind = $1 AND id = $2";
    /// Whoever is about to charge the old name waits for this, and then sees the new one.
    SPEND_LEAVE = "INSERT INTO spend (kind, id, moved_to, updated_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (kind, id) DO UPDATE SET moved_to = excluded.moved_to, updated_at = excluded.updated_at \
        RETURNING kind, id, spend, total_spend, period_at, moved_to, updated_at";
    /// Whose the new name was before, if anybody's, is not whose it is.
    SPEND_ARRIVE = "INSERT INTO spend (kind, id, spend, total_spend, period_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6) \
        ON CONFLICT (kind, id) DO UPDATE SET spend = excluded.spend, total_spend = excluded.total_spend, \
        period_at = excluded.period_at, moved_to = NULL, updated_at = excluded.updated_at";
    SPEND_EMPTY = "UPDATE spend SET spend = 0, total_spend = 0, period_at = 0 WHERE kind = $1 AND id = $2";
    /// As if a period began now, in which so much is spent already: what ended before it is no part of it, whenever it is written.
    SPEND_RESET = "INSERT INTO spend (kind, id, spend, total_spend, period_at, updated_at) VALUES ($1, $2, $3, 0, $4, $4) \
        ON CONFLICT (kind, id) DO UPDATE SET spend = excluded.spend, period_at = excluded.period_at, updated_at = excluded.updated_at";
    /// The same of single models, in the row of whoever it is by now.
    SPEND_MODEL_ADD = "INSERT INTO spend_model (kind, id, model, spend, total_spend, period_at, updated_at) \
        VALUES ($1, $2, $3, $4, $4, $5, $6) ON CONFLICT (kind, id, model) DO UPDATE SET \
        spend = CASE WHEN spend_model.period_at > $7 THEN spend_model.spend \
            WHEN spend_model.period_at < excluded.period_at THEN excluded.spend ELSE spend_model.spend + excluded.spend END, \
        total_spend = spend_model.total_spend + excluded.total_spend, \
        period_at = CASE WHEN spend_model.period_at < excluded.period_at THEN excluded.period_at ELSE spend_model.period_at END, \
        updated_at = excluded.updated_at RETURNING spend, total_spend, period_at";
    SPEND_MODEL_SINCE = "SELECT kind, id, model, spend, total_spend, period_at FROM spend_model WHERE updated_at >= $1";
    SPEND_MODEL_FORGET = "UPDATE spend_model SET spend = 0, total_spend = 0, period_at = 0, updated_at = $3 WHERE kind = $1 AND id = $2";
    SPEND_MODEL_CLEAR = "DELETE FROM spend_model WHERE kind = $1 AND id = $2";
    SPEND_MODEL_MOVE = "UPDATE spend_model SET id = $3, updated_at = $4 WHERE kind = $1 AND id = $2";
    SPEND_MOVED_PRUNE = "DELETE FROM spend WHERE moved_to IS NOT NULL AND updated_at < $1";
}

/// The days since 1970 of a time, in UTC.
pub fn day_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(DAY)
}

/// What each has to be charged, of a later period after an earlier one, and when the last call of it ended.
type Charges = BTreeMap<(&'static str, String, i64), (i64, i64)>;

fn charges(records: &[CallRecord]) -> Charges {
    let mut charges = Charges::new();
    for record in records {
        let cost = record.charge();
        if cost <= 0 {
            continue;
        }
        let ended = ended_at(record).as_microsecond();
        for (level, payer) in record.payers.iter().filter(|(_, payer)| payer.has_account) {
            let of = (level.as_str(), storable(&payer.id), payer.since);
            let (sum, last) = charges.entry(of).or_insert((0, ended));
            *sum = sum.saturating_add(cost);
            *last = ended.max(*last);
        }
    }
    charges
}

/// The same of single models.
type ModelCharges = BTreeMap<(&'static str, String, String, i64), (i64, i64)>;

/// One of them.
type ModelCharge<'c> = (&'c (&'static str, String, String, i64), &'c (i64, i64));

fn model_charges(records: &[CallRecord]) -> ModelCharges {
    let mut charges = ModelCharges::new();
    for record in records.iter().filter(|record| record.charge() > 0) {
        let ended = ended_at(record).as_microsecond();
        for (level, payer) in record.payers.iter().filter(|(_, payer)| payer.has_account) {
            let Some(on) = &payer.on_model else {
                continue;
            };
            let of = (level.as_str(), storable(&payer.id), storable(&on.model), on.since);
            let (sum, last) = charges.entry(of).or_insert((0, ended));
            *sum = sum.saturating_add(record.charge());
            *last = ended.max(*last);
        }
    }
    charges
}

fn ended_at(record: &CallRecord) -> Timestamp {
    let took = SignedDuration::from_micros(i64::try_from(record.duration_us).unwrap_or(i64::MAX));
    record.started_at.checked_add(took).unwrap_or(Timestamp::MAX)
}

impl Store {
    /// Writes records and their sums, all or none, and once, however often the batch of this name is written. What everybody has
    /// spent by then goes into [`Store::spend`].
    pub async fn ledger_write(&self, batch: &str, records: &[CallRecord]) -> Result<(), StoreError> {
        let now = self.now().as_microsecond();
        let mut tx = self.db().begin().await?;
        let begun = tx.execute(&BATCH_BEGIN, vec![batch.into(), now.into()]).await?;
        let (charges, on_models) = (charges(records), model_charges(records));
        if begun == 0 {
            // It was written before. What was spent is read with what others spend.
            drop(tx);
            self.settle(charges.iter().map(|charge| (charge, None)));
            self.settle_models(on_models.iter().map(|charge| (charge, None)));
            return Ok(());
        }
        insert_all(&mut tx, records).await?;
        daily::add(&mut tx, records).await?;
        let mut stored = Vec::new();
        for charge in &charges {
            stored.push(add(&mut tx, charge, now).await?);
        }
        let names: BTreeMap<(&str, &str), &str> = charges
            .keys()
            .zip(&stored)
            .map(|((kind, id, _), own)| ((*kind, id.as_str()), own.id.as_str()))
            .collect();
        let mut stored_models = Vec::new();
        for charge in &on_models {
            let (kind, id, ..) = charge.0;
            let id = names.get(&(*kind, id.as_str())).copied().unwrap_or(id);
            stored_models.push((id.to_owned(), add_model(&mut tx, id, charge, now).await?));
        }
        tx.commit().await?;
        self.settle(charges.iter().zip(stored.into_iter().map(Some)));
        self.settle_models(on_models.iter().zip(stored_models.into_iter().map(Some)));
        Ok(())
    }

    /// The same of single models.
    fn settle_models<'c>(&self, charges: impl Iterator<Item = (ModelCharge<'c>, Option<(String, Stored)>)>) {
        for (((kind, id, model, since), (cost, _)), stored) in charges {
            if let Some(level) = level_of(kind) {
                self.spend().settled_on(level, id, model, (*since, *cost));
                if let Some((id, sums)) = stored {
                    self.spend().stored_on(level, &id, model, sums);
                }
            }
        }
    }

    /// What was charged in memory is stored.
    fn settle<'c>(
        &self,
        charges: impl Iterator<Item = ((&'c (&'static str, String, i64), &'c (i64, i64)), Option<Account>)>,
    ) {
        for (((kind, id, since), (cost, _)), stored) in charges {
            if let Some(level) = level_of(kind) {
                self.spend().settled(level, id, (*since, *cost));
                if let Some(stored) = stored {
                    self.spend().stored(level, &stored.id, stored.sums);
                }
            }
        }
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

    /// What somebody has spent by now on a model, in the period of `limit`.
    pub fn spent_on(&self, level: Level, id: &str, model: &str, limit: &ModelBudget) -> i64 {
        self.spend().spent_on(level, id, model, limit.since(self.now()))
    }

    /// Reads what everybody has spent that has changed since a time; everything without one.
    pub async fn spend_refresh(&self, since: Option<Timestamp>) -> Result<(), StoreError> {
        let since = since.map_or(i64::MIN, Timestamp::as_microsecond);
        let rows = self.db().fetch_all(&SPEND_SINCE, vec![since.into()]).await?;
        for row in &rows {
            let own = decode(row).map_err(StoreError::database(SPEND_SINCE.name))?;
            match (level_of(&own.kind), own.moved_to) {
                (Some(level), None) => self.spend().stored(level, &own.id, own.sums),
                (Some(Level::Key), Some(to)) => self.spend().rename(&own.id, &to, own.updated_at),
                _ => {}
            }
        }
        // After it is known who has another name.
        let rows = self
            .db()
            .fetch_all(&SPEND_MODEL_SINCE, vec![since.into()])
            .await?;
        for row in &rows {
            let own = decode_on_model(row).map_err(StoreError::database(SPEND_MODEL_SINCE.name))?;
            if let (Some(level), id, model, sums) = own {
                self.spend().stored_on(level, &id, &model, sums);
            }
        }
        Ok(())
    }

    /// Deletes what says which secrets of keys were replaced before a time: no call of theirs goes on for so long.
    pub async fn spend_moved_prune(&self, before: Timestamp) -> Result<(), StoreError> {
        let values = vec![before.as_microsecond().into()];
        self.db().execute(&SPEND_MOVED_PRUNE, values).await?;
        self.spend().forget_moves(before.as_microsecond());
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
    tx.execute(&SPEND_FORGET, values.clone()).await?;
    tx.execute(&SPEND_MODEL_FORGET, values).await.map(drop)
}

/// In the transaction that says how much of its budget a key has spent by now.
pub(crate) async fn reset(tx: &mut Tx, id: &str, spend: i64, now: Timestamp) -> Result<(), StoreError> {
    let values = vec![
        Level::Key.as_str().into(),
        id.into(),
        spend.into(),
        now.as_microsecond().into(),
    ];
    tx.execute(&SPEND_RESET, values).await.map(drop)
}

/// In the transaction that gives a key another secret.
pub(crate) async fn rename(tx: &mut Tx, (from, to): (&str, &str), now: Timestamp) -> Result<(), StoreError> {
    let (key, now) = (Level::Key.as_str(), now.as_microsecond());
    let values = vec![key.into(), from.into(), to.into(), now.into()];
    let rows = tx.fetch_all(&SPEND_LEAVE, values).await?;
    let own = rows.first().map(decode).transpose();
    let own = own.map_err(StoreError::database(SPEND_LEAVE.name))?;
    let sums = own.map(|own| own.sums).unwrap_or_default();
    let values = vec![
        key.into(),
        to.into(),
        sums.spend.into(),
        sums.total.into(),
        sums.since.into(),
        now.into(),
    ];
    tx.execute(&SPEND_ARRIVE, values).await?;
    tx.execute(&SPEND_EMPTY, vec![key.into(), from.into()]).await?;
    tx.execute(&SPEND_MODEL_CLEAR, vec![key.into(), to.into()])
        .await?;
    let values = vec![key.into(), from.into(), to.into(), now.into()];
    tx.execute(&SPEND_MODEL_MOVE, values).await.map(drop)
}

/// Adds to what somebody has spent on a model, whose row of `spend` was written a moment ago.
async fn add_model(
    tx: &mut Tx,
    id: &str,
    ((kind, _, model, since), (cost, ended)): ModelCharge<'_>,
    now: i64,
) -> Result<Stored, StoreError> {
    let values = vec![
        (*kind).into(),
        id.into(),
        model.as_str().into(),
        (*cost).into(),
        (*since).into(),
        now.into(),
        (*ended).into(),
    ];
    let rows = tx.fetch_all(&SPEND_MODEL_ADD, values).await?;
    let read = rows.first().map(decode_sums).transpose();
    let read = read.map_err(StoreError::database(SPEND_MODEL_ADD.name))?;
    read.ok_or_else(|| StoreError::database(SPEND_MODEL_ADD.name)(sqlx::Error::RowNotFound))
}

/// A row of `spend_model`.
fn decode_on_model(row: &Row) -> Result<(Option<Level>, String, String, Stored), sqlx::Error> {
    let level = level_of(&row.required_text("kind")?);
    Ok((
        level,
        row.required_text("id")?,
        row.required_text("model")?,
        decode_sums(row)?,
    ))
}

fn decode_sums(row: &Row) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        spend: row.required_int("spend")?,
        total: row.required_int("total_spend")?,
        since: row.required_int("period_at")?,
    })
}

/// Adds to what somebody has spent, whatever its name is by now.
async fn add(
    tx: &mut Tx,
    ((kind, id, since), (cost, ended)): (&(&'static str, String, i64), &(i64, i64)),
    now: i64,
) -> Result<Account, StoreError> {
    let mut id = id.clone();
    for _ in 0..MAX_MOVES {
        let values = vec![
            (*kind).into(),
            id.as_str().into(),
            (*cost).into(),
            (*since).into(),
            now.into(),
            (*ended).into(),
        ];
        let rows = tx.fetch_all(&SPEND_ADD, values).await?;
        let read = rows.first().map(decode).transpose();
        let own = read.map_err(StoreError::database(SPEND_ADD.name))?;
        match own {
            Some(Account {
                moved_to: Some(to), ..
            }) => id = to,
            Some(own) => return Ok(own),
            None => break,
        }
    }
    Err(StoreError::database(SPEND_ADD.name)(sqlx::Error::RowNotFound))
}

fn level_of(kind: &str) -> Option<Level> {
    book::LEVELS.into_iter().find(|level| level.as_str() == kind)
}

/// A row of `spend`.
struct Account {
    kind: String,
    id: String,
    sums: Stored,
    moved_to: Option<String>,
    updated_at: i64,
}

fn decode(row: &Row) -> Result<Account, sqlx::Error> {
    Ok(Account {
        kind: row.required_text("kind")?,
        id: row.required_text("id")?,
        sums: decode_sums(row)?,
        moved_to: row.text("moved_to")?,
        updated_at: row.required_int("updated_at")?,
    })
}

/// The first moment of a day.
pub(crate) fn begin_of(day: i64) -> Timestamp {
    timestamp(day.saturating_mul(DAY).saturating_mul(1_000_000))
}
