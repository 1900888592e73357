//! `limit_minute` and `limit_place`: what replicas have taken of the limits that they share (ADR 0033).
//!
//! Who is counted is a text that the gateway makes. All is decided here, by the database's clock and under a lock of whoever is
//! counted, so that replicas together never get more than there is. A minute begins with whoever asks first and lasts 60 seconds;
//! a share of the one after it can be had before it begins. Places are said as a whole, not as a difference: asking again is
//! always right, and an answer that was lost changes nothing.
//!
//! For `PostgreSQL` alone: SQLite's one process counts in memory, and nothing is ever taken there.

use std::time::Duration;

use serde::Serialize;
use trunkline_model::ReplicaId;

use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::store::Store;

/// A replica that was not heard of for so long has no places.
const PLACES_LAST: Duration = Duration::from_secs(15);
/// A row of a minute that began so long ago is of no use.
const MINUTE_KEPT: Duration = Duration::from_mins(5);
/// A limit of a minute that is greater than this is this: nobody reaches it, and no sum of some overflows.
pub const MOST_IN_A_MINUTE: u64 = 1 << 52;
/// A row without places is deleted when nothing that was sent for it can still arrive.
const EMPTY_KEPT: Duration = Duration::from_mins(10);

macro_rules! now {
    () => {
        "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
    };
}

stmts! {
    /// In the order of their numbers, so that two who ask for several never wait for each other. A replica that falls silent in the
    /// middle of it, or a wait, ends soon: others need the lock.
    LIMIT_LOCK = "SELECT 0 AS locked WHERE $1 IS NULL",
        postgres: "WITH bounds AS MATERIALIZED (SELECT set_config('lock_timeout', '1000', true) AS waits, \
        set_config('idle_in_transaction_session_timeout', '2000', true) AS is_silent), \
        keys AS MATERIALIZED (SELECT DISTINCT hashtextextended(value, 7236837461720017) AS key \
        FROM json_array_elements_text(CAST($1 AS json)) ORDER BY 1) \
        SELECT count(pg_advisory_xact_lock(key)) AS locked FROM bounds, keys";
    /// `need` is given as long as there is any; what is `want`ed beyond that is a part of what is left, so that the others get theirs.
    LIMIT_MINUTES = "SELECT '' AS counted, 0 AS began_at, 0 AS ends_in, 0 AS got, 0 AS got_ahead, 0 AS remaining \
        WHERE $1 IS NULL AND $2 IS NULL",
        postgres: concat!("WITH asked AS (SELECT * FROM json_to_recordset(CAST($1 AS json)) AS a (counted text, max bigint, \
        need bigint, want bigint, spent bigint, back bigint, back_of bigint, following bigint)), \
        clock AS MATERIALIZED (SELECT ", now!(), " AS now), \
        known AS (SELECT a.*, c.now, m.began_at, m.granted, m.following AS promised, CASE \
            WHEN c.now >= m.began_at - 60000000 AND c.now < m.began_at + 60000000 THEN 'this' \
            WHEN c.now >= m.began_at + 60000000 AND c.now < m.began_at + 120000000 AND m.following > 0 THEN 'following' \
            ELSE 'new' END AS which \
            FROM asked a CROSS JOIN clock c LEFT JOIN limit_minute m ON m.counted = a.counted), \
        running AS (SELECT k.*, \
            CASE which WHEN 'this' THEN began_at WHEN 'following' THEN began_at + 60000000 ELSE now END AS began, \
            CASE which WHEN 'this' THEN granted WHEN 'following' THEN promised ELSE 0 END AS used, \
            CASE which WHEN 'this' THEN promised ELSE 0 END AS ahead FROM known k), \
        charged AS (SELECT r.*, GREATEST(0, used + spent - CASE WHEN back_of = began THEN back ELSE 0 END) AS taken FROM running r), \
        shared AS (SELECT c.*, \
            LEAST(GREATEST(max - taken, 0), GREATEST(need, LEAST(want, (max - taken) / (2 * CAST($2 AS BIGINT))))) AS got, \
            LEAST(GREATEST(max - ahead, 0), LEAST(following, max / (2 * CAST($2 AS BIGINT)))) AS got_ahead FROM charged c), \
        written AS (INSERT INTO limit_minute (counted, began_at, granted, following) \
            SELECT counted, began, taken + got, ahead + got_ahead FROM shared \
            ON CONFLICT (counted) DO UPDATE SET began_at = excluded.began_at, granted = excluded.granted, following = excluded.following) \
        SELECT counted, began AS began_at, began + 60000000 - now AS ends_in, got, got_ahead, \
            GREATEST(0, max - taken - got) AS remaining FROM shared");
    /// What was sent before and arrives after it is not written: it may have asked for fewer.
    LIMIT_PLACES = "SELECT '' AS counted, 0 AS places WHERE $1 IS NULL AND $2 IS NULL AND $3 IS NULL AND $4 IS NULL",
        postgres: concat!("WITH asked AS (SELECT * FROM json_to_recordset(CAST($1 AS json)) AS a (counted text, max bigint, hold bigint)), \
        others AS (SELECT p.counted, CAST(sum(p.places) AS BIGINT) AS places FROM asked a \
            JOIN limit_place p ON p.counted = a.counted AND p.replica <> $2 \
            JOIN replica r ON r.id = p.replica AND r.seen_at > ", now!(), " - CAST($4 AS BIGINT) GROUP BY p.counted), \
        shared AS (SELECT a.counted, GREATEST(0, LEAST(a.hold, a.max - COALESCE(o.places, 0))) AS places \
            FROM asked a LEFT JOIN others o ON o.counted = a.counted), \
        written AS (INSERT INTO limit_place AS p (counted, replica, places, asked, asked_at) \
            SELECT counted, $2, places, CAST($3 AS BIGINT), ", now!(), " FROM shared \
            ON CONFLICT (counted, replica) DO UPDATE SET places = excluded.places, asked = excluded.asked, asked_at = excluded.asked_at \
            WHERE p.asked < excluded.asked) \
        SELECT counted, places FROM shared");
    LIMIT_MINUTES_PRUNE = "DELETE FROM limit_minute WHERE began_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - $1",
        postgres: concat!("DELETE FROM limit_minute WHERE began_at < ", now!(), " - $1");
    LIMIT_PLACES_PRUNE = "DELETE FROM limit_place WHERE NOT EXISTS (SELECT 1 FROM replica r WHERE r.id = limit_place.replica) \
        OR (places = 0 AND asked_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - $1)",
        postgres: concat!("DELETE FROM limit_place WHERE NOT EXISTS (SELECT 1 FROM replica r WHERE r.id = limit_place.replica) \
        OR (places = 0 AND asked_at < ", now!(), " - $1)");
    LIMIT_PLACES_LEAVE = "DELETE FROM limit_place WHERE replica = $1";
}

/// What one replica asks for at once. Nobody is in one of the lists twice.
#[derive(Clone, Debug, Default)]
pub struct LimitAsk {
    /// Of calls in a minute.
    pub minutes: Vec<MinuteAsk>,
    /// Of calls at the same time.
    pub places: Vec<PlaceAsk>,
    /// How many replicas there are, this one among them: what is taken in advance is less the more there are.
    pub replicas: u32,
    /// Which of this replica's requests it is: each has a greater number than the one before.
    pub number: i64,
}

/// A share of a minute: of calls, or of tokens where those are counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MinuteAsk {
    /// Whose calls.
    pub counted: String,
    /// The limit; no more than [`MOST_IN_A_MINUTE`].
    pub max: u64,
    /// Calls that wait for it.
    pub need: u64,
    /// Calls that will come.
    pub want: u64,
    /// Calls that were let through without a share.
    pub spent: u64,
    /// Calls that were taken and are not needed, of the minute `back_of`.
    pub back: u64,
    /// See there.
    pub back_of: i64,
    /// Calls of the minute after this one.
    pub following: u64,
}

/// What there was of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinuteShare {
    /// Whose calls.
    pub counted: String,
    /// The name of the minute: when it began, by the database's clock.
    pub began_at: i64,
    /// How long it goes on.
    pub ends_in: Duration,
    /// Calls that may be made in it, besides those of before.
    pub got: u64,
    /// Calls that may be made in the minute after it.
    pub got_ahead: u64,
    /// Calls that nobody has taken yet.
    pub remaining: u64,
}

/// Places for calls at the same time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlaceAsk {
    /// Whose calls.
    pub counted: String,
    /// The limit.
    pub max: u32,
    /// How many this replica is to have, all together.
    pub hold: u32,
}

/// What there was of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceShare {
    /// Whose calls.
    pub counted: String,
    /// How many this replica has now.
    pub places: u32,
}

/// The answer, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitShares {
    /// Of calls in a minute.
    pub minutes: Vec<MinuteShare>,
    /// Of calls at the same time.
    pub places: Vec<PlaceShare>,
}

impl Store {
    /// Whether several processes share this database, and with it the limits.
    pub fn is_shared(&self) -> bool {
        self.backend() == "postgres"
    }

    /// Takes shares for a replica, all or none. One that asks for nothing finds out whether the database is there.
    pub async fn limit_ask(&self, replica: ReplicaId, ask: &LimitAsk) -> Result<LimitShares, StoreError> {
        let mut shares = LimitShares::default();
        let mut tx = self.db().begin().await?;
        let minutes = ask.minutes.iter().map(|own| own.counted.as_str());
        let counted: Vec<&str> = minutes
            .chain(ask.places.iter().map(|own| own.counted.as_str()))
            .collect();
        if !counted.is_empty() {
            tx.fetch_all(&LIMIT_LOCK, vec![json(&counted)]).await?;
        }
        if !ask.minutes.is_empty() {
            shares.minutes = minutes_of(&mut tx, ask).await?;
        }
        if !ask.places.is_empty() {
            shares.places = places_of(&mut tx, replica, ask).await?;
        }
        tx.commit().await?;
        Ok(shares)
    }

    /// Deletes what counts no more.
    pub async fn limit_prune(&self) -> Result<(), StoreError> {
        let values = vec![micros(MINUTE_KEPT)];
        self.db().execute(&LIMIT_MINUTES_PRUNE, values).await?;
        let values = vec![micros(EMPTY_KEPT)];
        self.db().execute(&LIMIT_PLACES_PRUNE, values).await.map(drop)
    }

    /// Gives back all places of a replica: it stops.
    pub async fn limit_leave(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let values = vec![replica.to_hex().into()];
        self.db().execute(&LIMIT_PLACES_LEAVE, values).await.map(drop)
    }
}

async fn minutes_of(tx: &mut Tx, ask: &LimitAsk) -> Result<Vec<MinuteShare>, StoreError> {
    let values = vec![json(&ask.minutes), i64::from(ask.replicas.max(1)).into()];
    let rows = tx.fetch_all(&LIMIT_MINUTES, values).await?;
    let read = |row: &Row| {
        Ok(MinuteShare {
            counted: row.required_text("counted")?,
            began_at: row.required_int("began_at")?,
            ends_in: Duration::from_micros(u64::try_from(row.required_int("ends_in")?).unwrap_or(0)),
            got: whole(row.required_int("got")?),
            got_ahead: whole(row.required_int("got_ahead")?),
            remaining: whole(row.required_int("remaining")?),
        })
    };
    let shares = rows.iter().map(read).collect::<Result<_, _>>();
    shares.map_err(StoreError::database(LIMIT_MINUTES.name))
}

async fn places_of(tx: &mut Tx, replica: ReplicaId, ask: &LimitAsk) -> Result<Vec<PlaceShare>, StoreError> {
    let values = vec![
        json(&ask.places),
        replica.to_hex().into(),
        ask.number.into(),
        micros(PLACES_LAST),
    ];
    let rows = tx.fetch_all(&LIMIT_PLACES, values).await?;
    let read = |row: &Row| {
        Ok(PlaceShare {
            counted: row.required_text("counted")?,
            places: count(row.required_int("places")?),
        })
    };
    let shares = rows.iter().map(read).collect::<Result<_, _>>();
    shares.map_err(StoreError::database(LIMIT_PLACES.name))
}

/// Numbers and texts alone are always JSON.
fn json<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_string(value).unwrap_or_default().into()
}

fn micros(time: Duration) -> Value {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX).into()
}

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// No limit of places is greater than a `u32`, and no share than its limit.
fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}
