//! `call_record`: one row for each request (B65). Written in batches, off the path of requests.

use std::sync::Arc;

use jiff::Timestamp;
use trunkline_model::{CallRecord, ModelUse, Payer, SessionKey};

use crate::catalogue::{storable, timestamp};
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::store::Store;

/// How many old rows one transaction deletes: SQLite has one writer, and it must not be busy for long.
const PRUNE_BATCH: i64 = 1000;

/// The columns of a record that is about no model, in the order of `plain_values`.
macro_rules! plain_columns {
    () => {
        "request_id, started_at, duration_us, kind, principal, session, server_id, tool, outcome, error, \
         request_bytes, response_bytes, api_key, user_id, team_id, organization_id, end_user, cost, tags, client_ip"
    };
}

/// The columns of a record: those of `plain_values`, then those of `model_values`.
macro_rules! record_columns {
    () => {
        concat!(
            crate::call_record::plain_columns!(),
            ", provider, model, api_base, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, \
             reasoning_tokens, is_estimated"
        )
    };
}

pub(crate) use {plain_columns, record_columns};

/// Rows of [`RECORD_INSERT_MANY`] and of [`RECORD_INSERT_SOME`].
const MANY: usize = 100;
const SOME: usize = 10;
const PLAIN_COLUMNS: usize = 20;
const MODEL_COLUMNS: usize = 9;
const COLUMNS: usize = PLAIN_COLUMNS + MODEL_COLUMNS;

/// `($1,$2,…),(…)`, or `(?,?,…),(…)`: text that is only known to be static if it is made when compiled.
///
/// SQLite looks for the name of every parameter that is bound, and among many named ones it looks for long: those
/// without a name are bound in a tenth of the time.
const fn insert<const N: usize>(
    (insert, columns): (&str, usize),
    rows: usize,
    numbered: bool,
    mut text: [u8; N],
) -> ([u8; N], usize) {
    let (mut at, mut parameter) = (0, 1);
    while at < insert.len() {
        text[at] = insert.as_bytes()[at];
        at += 1;
    }
    while parameter <= rows * columns {
        text[at] = if parameter % columns == 1 { b'(' } else { b',' };
        text[at + 1] = if numbered { b'$' } else { b'?' };
        at += 2;
        let mut digit = 1000;
        while numbered && digit > 0 {
            if parameter >= digit {
                // A digit is less than ten, so it is a byte.
                text[at] = b"0123456789"[parameter / digit % 10];
                at += 1;
            }
            digit /= 10;
        }
        if parameter % columns == 0 {
            text[at] = b')';
            at += 1;
            if parameter < rows * columns {
                text[at] = b',';
                at += 1;
            }
        }
        parameter += 1;
    }
    (text, at)
}

const ALL_OF_IT: (&str, usize) = (
    concat!("INSERT INTO call_record (", record_columns!(), ") VALUES "),
    COLUMNS,
);
const PLAIN: (&str, usize) = (
    concat!("INSERT INTO call_record (", plain_columns!(), ") VALUES "),
    PLAIN_COLUMNS,
);
const MANY_NUMBERED: ([u8; 20_480], usize) = insert(ALL_OF_IT, MANY, true, [0; 20_480]);
const MANY_POSITIONAL: ([u8; 8192], usize) = insert(ALL_OF_IT, MANY, false, [0; 8192]);
const MANY_PLAIN_NUMBERED: ([u8; 16_384], usize) = insert(PLAIN, MANY, true, [0; 16_384]);
const MANY_PLAIN_POSITIONAL: ([u8; 8192], usize) = insert(PLAIN, MANY, false, [0; 8192]);
const SOME_NUMBERED: ([u8; 3072], usize) = insert(ALL_OF_IT, SOME, true, [0; 3072]);
const SOME_POSITIONAL: ([u8; 2048], usize) = insert(ALL_OF_IT, SOME, false, [0; 2048]);
const ONE_NUMBERED: ([u8; 1024], usize) = insert(ALL_OF_IT, 1, true, [0; 1024]);

const fn text_of<const N: usize>(made: &'static ([u8; N], usize)) -> &'static str {
    match std::str::from_utf8(made.0.split_at(made.1).0) {
        Ok(text) => text,
        Err(_) => "",
    }
}

stmts! {
    /// A transaction's records in three sizes of statement: every one is a hop to the database's thread or over the net.
    RECORD_INSERT_MANY = text_of(&MANY_POSITIONAL), postgres: text_of(&MANY_NUMBERED);
    /// The same of records that are about no model: a third fewer parameters.
    RECORD_INSERT_MANY_PLAIN = text_of(&MANY_PLAIN_POSITIONAL), postgres: text_of(&MANY_PLAIN_NUMBERED);
    RECORD_INSERT_SOME = text_of(&SOME_POSITIONAL), postgres: text_of(&SOME_NUMBERED);
    RECORD_INSERT = text_of(&ONE_NUMBERED);
    RECORD_LIST = concat!("SELECT id, ", record_columns!(), " FROM call_record ORDER BY started_at DESC, id DESC LIMIT $1");
    /// The same call of the same caller is one row.
    RECORD_USES = "SELECT principal, kind, server_id, tool, count(*) AS calls, max(started_at) AS last_at FROM call_record \
        WHERE started_at >= $1 AND server_id IS NOT NULL AND tool IS NOT NULL GROUP BY principal, kind, server_id, tool \
        ORDER BY count(*) DESC, principal, kind, server_id, tool LIMIT $2";
    RECORD_PRUNE = "DELETE FROM call_record WHERE id IN \
        (SELECT id FROM call_record WHERE started_at < $1 ORDER BY started_at LIMIT $2)";
}

/// A [`CallRecord`] that was read back: its words are texts, for another version may have written other ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCallRecord {
    /// Counts up with every stored record.
    pub id: i64,
    /// The request.
    pub request_id: String,
    /// When it began; microseconds are kept.
    pub started_at: Timestamp,
    /// How long it took, microseconds.
    pub duration_us: u64,
    /// [`trunkline_model::CallKind::as_str`].
    pub kind: String,
    /// Who asked.
    pub principal: String,
    /// Session key as text.
    pub session: Option<String>,
    /// Server, if one was resolved.
    pub server_id: Option<String>,
    /// The tool's own name, if a tool was called.
    pub tool: Option<String>,
    /// `ok`, `tool_error`, `denied`, `client_gone`, or the name of an outcome.
    pub outcome: String,
    /// The message of an error.
    pub error: Option<String>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes sent to the client.
    pub response_bytes: u64,
    /// The hash of the key; `None` for the master key, and in rows that a version before 0019 wrote.
    pub api_key: Option<String>,
    /// Its user.
    pub user_id: Option<String>,
    /// Its team.
    pub team_id: Option<String>,
    /// The team's organisation.
    pub organization_id: Option<String>,
    /// Whom it was for.
    pub end_user: Option<String>,
    /// What a model took.
    pub model: Option<ModelUse>,
    /// Billionths of a dollar; `None`: nobody knows.
    pub cost: Option<i64>,
    /// By what else it is found.
    pub tags: Vec<String>,
    /// From where it came.
    pub client: Option<String>,
}

/// Calls of one caller that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallUse {
    /// Who asked.
    pub principal: String,
    /// [`trunkline_model::CallKind::as_str`].
    pub kind: String,
    /// The server.
    pub server_id: String,
    /// The server's own name of the tool or prompt, or the URI of the resource.
    pub tool: String,
    /// How many.
    pub calls: u64,
    /// When the last one began.
    pub last_at: Timestamp,
}

impl Store {
    /// The different calls that began after a time, the most frequent first.
    pub async fn call_uses(&self, since: Timestamp, limit: u32) -> Result<Vec<CallUse>, StoreError> {
        let values = vec![since.as_microsecond().into(), i64::from(limit).into()];
        let rows = self.db().fetch_all(&RECORD_USES, values).await?;
        let read = |row: &Row| {
            Ok(CallUse {
                principal: row.required_text("principal")?,
                kind: row.required_text("kind")?,
                server_id: row.required_text("server_id")?,
                tool: row.required_text("tool")?,
                calls: u64::try_from(row.required_int("calls")?).unwrap_or(0),
                last_at: timestamp(row.required_int("last_at")?),
            })
        };
        rows.iter()
            .map(read)
            .collect::<Result<_, sqlx::Error>>()
            .map_err(StoreError::database(RECORD_USES.name))
    }

    /// Stores records, all or none.
    pub async fn call_record_insert(&self, rows: &[CallRecord]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut tx = self.db().begin().await?;
        insert_all(&mut tx, rows).await?;
        tx.commit().await
    }

    /// The newest records, newest first.
    pub async fn call_record_list(&self, limit: u32) -> Result<Vec<StoredCallRecord>, StoreError> {
        let rows = self
            .db()
            .fetch_all(&RECORD_LIST, vec![i64::from(limit).into()])
            .await?;
        rows.iter()
            .map(decode)
            .collect::<Result<_, _>>()
            .map_err(StoreError::database(RECORD_LIST.name))
    }

    /// Deletes the records that began before a time, in batches. Returns how many.
    pub async fn call_record_prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let values = vec![before.as_microsecond().into(), PRUNE_BATCH.into()];
            let deleted = self.db().execute(&RECORD_PRUNE, values).await?;
            total += deleted;
            if deleted < PRUNE_BATCH.unsigned_abs() {
                return Ok(total);
            }
        }
    }
}

/// Within a transaction.
pub(crate) async fn insert_all(tx: &mut Tx, rows: &[CallRecord]) -> Result<(), StoreError> {
    let mut words = Words::default();
    let mut rest = rows;
    while !rest.is_empty() {
        let (statement, count) = match rest.len() {
            MANY.. if rest[..MANY].iter().all(|record| record.model.is_none()) => {
                (&RECORD_INSERT_MANY_PLAIN, MANY)
            }
            MANY.. => (&RECORD_INSERT_MANY, MANY),
            SOME.. => (&RECORD_INSERT_SOME, SOME),
            _ => (&RECORD_INSERT, 1),
        };
        let (now, later) = rest.split_at(count);
        let mut values = Vec::with_capacity(count * COLUMNS);
        for record in now {
            values.extend(plain_values(record, &mut words));
            if !std::ptr::eq(statement, &raw const RECORD_INSERT_MANY_PLAIN) {
                values.extend(model_values(record.model.as_deref()));
            }
        }
        tx.execute(statement, values).await?;
        rest = later;
    }
    Ok(())
}

/// The few words that most records have: each is made once.
#[derive(Default)]
struct Words(Vec<(&'static str, Arc<str>)>);

impl Words {
    fn value(&mut self, word: &'static str) -> Value {
        let known = self.0.iter().find(|(known, _)| std::ptr::eq(*known, word));
        if let Some((_, shared)) = known {
            return Value::Shared(Some(shared.clone()));
        }
        let shared: Arc<str> = word.into();
        self.0.push((word, shared.clone()));
        Value::Shared(Some(shared))
    }
}

/// A text as both databases take it, with one copy or none.
fn shared(text: &Arc<str>) -> Value {
    Value::Shared(Some(if text.as_bytes().contains(&0) {
        storable(text).into()
    } else {
        text.clone()
    }))
}

fn copied(text: &str) -> Value {
    Value::Shared(Some(if text.as_bytes().contains(&0) {
        storable(text).into()
    } else {
        text.into()
    }))
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Shared(None), copied)
}

/// In the order of `plain_columns!`.
fn plain_values(record: &CallRecord, words: &mut Words) -> [Value; PLAIN_COLUMNS] {
    let CallRecord {
        request_id,
        started_at,
        duration_us,
        kind,
        principal,
        session,
        server_id,
        tool,
        outcome,
        error,
        request_bytes,
        response_bytes,
        payers,
        cost,
        model: _,
        tags,
        client,
        // Who pays is charged it; the row has the cost.
        at_least: _,
    } = record;
    let payer = |own: &Option<Payer>| optional(own.as_ref().map(|own| &*own.id));
    [
        shared(request_id.shared()),
        started_at.as_microsecond().into(),
        signed(*duration_us).into(),
        words.value(kind.as_str()),
        copied(principal),
        Value::Text(session.map(SessionKey::to_hex)),
        server_id
            .as_ref()
            .map_or(Value::Shared(None), |id| shared(id.shared())),
        optional(tool.as_deref()),
        words.value(outcome),
        optional(error.as_deref()),
        signed(*request_bytes).into(),
        signed(*response_bytes).into(),
        payer(&payers.key),
        payer(&payers.user),
        payer(&payers.team),
        payer(&payers.organization),
        payer(&payers.end_user),
        Value::Int(*cost),
        Value::Text((!tags.is_empty()).then(|| storable(&crate::server_row::json(tags)))),
        Value::Text(client.map(|own| own.to_string())),
    ]
}

/// In the order of the rest of `record_columns!`.
fn model_values(model: Option<&ModelUse>) -> [Value; MODEL_COLUMNS] {
    let said = |text: fn(&ModelUse) -> &String| optional(model.map(|own| text(own).as_str()));
    let tokens = |count: fn(&ModelUse) -> Option<u64>| Value::Int(model.and_then(count).map(signed));
    [
        said(|own| &own.provider),
        said(|own| &own.model),
        said(|own| &own.api_base),
        tokens(|own| own.input_tokens),
        tokens(|own| own.output_tokens),
        tokens(|own| own.cache_read_tokens),
        tokens(|own| own.cache_write_tokens),
        tokens(|own| own.reasoning_tokens),
        Value::Bool(model.map(|own| own.is_estimated)),
    ]
}

/// Neither database has unsigned numbers.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn decode(row: &Row) -> Result<StoredCallRecord, sqlx::Error> {
    let count = |column: &str| Ok::<_, sqlx::Error>(u64::try_from(row.required_int(column)?).unwrap_or(0));
    Ok(StoredCallRecord {
        id: row.required_int("id")?,
        request_id: row.required_text("request_id")?,
        started_at: timestamp(row.required_int("started_at")?),
        duration_us: count("duration_us")?,
        kind: row.required_text("kind")?,
        principal: row.required_text("principal")?,
        session: row.text("session")?,
        server_id: row.text("server_id")?,
        tool: row.text("tool")?,
        outcome: row.required_text("outcome")?,
        error: row.text("error")?,
        request_bytes: count("request_bytes")?,
        response_bytes: count("response_bytes")?,
        api_key: row.text("api_key")?,
        user_id: row.text("user_id")?,
        team_id: row.text("team_id")?,
        organization_id: row.text("organization_id")?,
        end_user: row.text("end_user")?,
        model: decode_model(row)?,
        cost: row.int("cost")?,
        // What a newer version wrote in another form is none here.
        tags: row
            .text("tags")?
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
        client: row.text("client_ip")?,
    })
}

fn decode_model(row: &Row) -> Result<Option<ModelUse>, sqlx::Error> {
    let Some(provider) = row.text("provider")? else {
        return Ok(None);
    };
    let tokens =
        |column: &str| Ok::<_, sqlx::Error>(row.int(column)?.and_then(|own| u64::try_from(own).ok()));
    Ok(Some(ModelUse {
        provider,
        model: row.text("model")?.unwrap_or_default(),
        api_base: row.text("api_base")?.unwrap_or_default(),
        input_tokens: tokens("input_tokens")?,
        output_tokens: tokens("output_tokens")?,
        cache_read_tokens: tokens("cache_read_tokens")?,
        cache_write_tokens: tokens("cache_write_tokens")?,
        reasoning_tokens: tokens("reasoning_tokens")?,
        is_estimated: row.bool("is_estimated")?.unwrap_or(false),
    }))
}
