//! Pages of records, and sums of days.

use jiff::Timestamp;
use trunkline_model::Level;

use super::{begin_of, stmts};
use crate::call_record::{StoredCallRecord, decode as decode_record, record_columns};
use crate::db::{Row, Stmt, StoreError, Value};
use crate::store::Store;

/// Rows of sums that one answer is made of, at most.
pub const MAX_DAYS_ROWS: u32 = 100_000;

macro_rules! log_filter {
    () => {
        " FROM call_record WHERE (CAST($1 AS TEXT) IS NULL OR api_key = $1 OR principal = $1) \
         AND (CAST($2 AS TEXT) IS NULL OR user_id = $2) AND (CAST($3 AS TEXT) IS NULL OR team_id = $3) \
         AND (CAST($4 AS TEXT) IS NULL OR end_user = $4) AND (CAST($5 AS TEXT) IS NULL OR request_id = $5) \
         AND (CAST($6 AS TEXT) IS NULL OR model = $6 OR tool = $6) AND (CAST($7 AS TEXT) IS NULL OR server_id = $7) \
         AND (CAST($8 AS BIGINT) IS NULL OR (outcome = 'ok') = ($8 = 1)) \
         AND (CAST($9 AS BIGINT) IS NULL OR cost >= $9) AND (CAST($10 AS BIGINT) IS NULL OR cost <= $10) \
         AND started_at >= $11 AND started_at <= $12"
    };
}

/// Sums of days by whom or what the rows are about; `$4` is one of them. What has none is not there, unless it is of a key or a user.
macro_rules! days {
    ($entity:literal, $has_tag:literal, $and:literal) => {
        concat!(
            "SELECT day, ", $entity, " AS entity, api_key, provider, model, model_group, tool, kind, \
             CAST(sum(spend) AS BIGINT) AS spend, CAST(sum(input_tokens) AS BIGINT) AS input_tokens, \
             CAST(sum(output_tokens) AS BIGINT) AS output_tokens, CAST(sum(cache_read_tokens) AS BIGINT) AS cache_read_tokens, \
             CAST(sum(cache_write_tokens) AS BIGINT) AS cache_write_tokens, CAST(sum(requests) AS BIGINT) AS requests, \
             CAST(sum(succeeded) AS BIGINT) AS succeeded, CAST(sum(failed) AS BIGINT) AS failed, \
             CAST(sum(unpriced) AS BIGINT) AS unpriced, CAST(sum(duration_ms) AS BIGINT) AS duration_ms \
             FROM spend_daily WHERE day >= $1 AND day <= $2 AND ", $has_tag, $and,
            " AND (CAST($3 AS TEXT) IS NULL OR ", $entity, " = $3) AND (CAST($4 AS TEXT) IS NULL OR api_key = $4) \
             AND (CAST($5 AS TEXT) IS NULL OR model = $5 OR model_group = $5) \
             GROUP BY day, ", $entity, ", api_key, provider, model, model_group, tool, kind \
             ORDER BY day DESC, ", $entity, ", api_key, provider, model, model_group, tool, kind LIMIT $6"
        )
    };
}

stmts! {
    LOG_COUNT = concat!("SELECT count(*) AS total", log_filter!());
    LOG_NEWEST = concat!("SELECT id, ", record_columns!(), log_filter!(), " ORDER BY started_at DESC, id DESC LIMIT $13 OFFSET $14");
    LOG_OLDEST = concat!("SELECT id, ", record_columns!(), log_filter!(), " ORDER BY started_at, id LIMIT $13 OFFSET $14");
    LOG_DEAREST = concat!("SELECT id, ", record_columns!(), log_filter!(), " ORDER BY coalesce(cost, 0) DESC, id DESC LIMIT $13 OFFSET $14");
    LOG_CHEAPEST = concat!("SELECT id, ", record_columns!(), log_filter!(), " ORDER BY coalesce(cost, 0), id LIMIT $13 OFFSET $14");
    DAYS_OF_USERS = days!("user_id", "tag = ''", "");
    DAYS_OF_KEYS = days!("api_key", "tag = ''", "");
    DAYS_OF_TEAMS = days!("team_id", "tag = ''", " AND team_id <> ''");
    DAYS_OF_ORGANIZATIONS = days!("organization_id", "tag = ''", " AND organization_id <> ''");
    DAYS_OF_END_USERS = days!("end_user", "tag = ''", " AND end_user <> ''");
    DAYS_OF_TAGS = days!("tag", "tag <> ''", "");
    SPEND_OF_TEAM = "SELECT user_id, CAST(sum(spend) AS BIGINT) AS spend, CAST(sum(input_tokens) AS BIGINT) AS input_tokens, \
        CAST(sum(output_tokens) AS BIGINT) AS output_tokens, CAST(sum(cache_read_tokens) AS BIGINT) AS cache_read_tokens, \
        CAST(sum(cache_write_tokens) AS BIGINT) AS cache_write_tokens, CAST(sum(requests) AS BIGINT) AS requests, \
        CAST(sum(succeeded) AS BIGINT) AS succeeded, CAST(sum(failed) AS BIGINT) AS failed, \
        CAST(sum(unpriced) AS BIGINT) AS unpriced, CAST(sum(duration_ms) AS BIGINT) AS duration_ms \
        FROM spend_daily WHERE tag = '' AND day >= $1 AND day <= $2 AND team_id = $3 \
        AND (CAST($4 AS TEXT) IS NULL OR user_id = $4) GROUP BY user_id ORDER BY 2 DESC, user_id LIMIT $5";
    SPEND_OF_TAGS = "SELECT tag, CAST(sum(requests) AS BIGINT) AS requests, CAST(sum(spend) AS BIGINT) AS spend FROM spend_daily \
        WHERE tag <> '' AND day >= $1 AND day <= $2 GROUP BY tag ORDER BY 3 DESC, tag LIMIT $3";
}

/// What records have to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// The hash of the key, or `master_key`.
    pub api_key: Option<String>,
    /// Whose.
    pub user_id: Option<String>,
    /// Which team's.
    pub team_id: Option<String>,
    /// For whom.
    pub end_user: Option<String>,
    /// Of one request.
    pub request_id: Option<String>,
    /// The name of the model, the provider's or the one that clients know, or of the tool.
    pub model: Option<String>,
    /// The deployment, or server.
    pub model_id: Option<String>,
    /// Whether it succeeded.
    pub succeeded: Option<bool>,
    /// Billionths of a dollar, at least.
    pub min_cost: Option<i64>,
    /// At most.
    pub max_cost: Option<i64>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

/// How a page of records is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSort {
    /// By when they began, and whether the newest is first.
    Time {
        /// The newest first.
        down: bool,
    },
    /// By what they cost.
    Cost {
        /// The dearest first.
        down: bool,
    },
}

/// By whom or what days are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaysOf {
    /// Keys, teams, users, organisations, end users.
    Level(Level),
    /// Tags.
    Tags,
}

/// What days have to be of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaysFilter {
    /// Days since 1970, the first.
    pub from: i64,
    /// The last.
    pub to: i64,
    /// Only this user, team …
    pub entity: Option<String>,
    /// Only this key.
    pub api_key: Option<String>,
    /// Only this model.
    pub model: Option<String>,
}

/// Sums of one day, of what is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRow {
    /// Its first moment.
    pub day: Timestamp,
    /// Of whom; empty if of nobody.
    pub entity: String,
    /// The hash of the key; empty for the master key.
    pub api_key: String,
    /// LiteLLM's prefix of the provider; empty of a tool.
    pub provider: String,
    /// The provider's name of the model; empty of a tool.
    pub model: String,
    /// The name that clients know; empty of a tool.
    pub model_group: String,
    /// `server/tool`; empty of a model.
    pub tool: String,
    /// [`trunkline_model::CallKind::as_str`].
    pub kind: String,
    /// The sums.
    pub sums: DaySums,
}

/// What is summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DaySums {
    /// Billionths of a dollar.
    pub spend: i64,
    /// Tokens of requests.
    pub input_tokens: i64,
    /// Tokens of answers.
    pub output_tokens: i64,
    /// Of the former, from caches.
    pub cache_read_tokens: i64,
    /// Of the same, into caches.
    pub cache_write_tokens: i64,
    /// How many.
    pub requests: i64,
    /// Of these.
    pub succeeded: i64,
    /// Of these.
    pub failed: i64,
    /// Of those that succeeded: nobody knows what they cost.
    pub unpriced: i64,
    /// All together.
    pub duration_ms: i64,
}

/// What a user spent in a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamUserSpend {
    /// Whose; empty if nobody's.
    pub user_id: String,
    /// The sums.
    pub sums: DaySums,
}

/// What was spent under a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagSpend {
    /// The tag.
    pub tag: String,
    /// How many requests.
    pub requests: i64,
    /// Billionths of a dollar.
    pub spend: i64,
}

impl Store {
    /// How many records there are, and some of them.
    pub async fn log_page(
        &self,
        filter: &LogFilter,
        sort: LogSort,
        (offset, limit): (u64, u32),
    ) -> Result<(u64, Vec<StoredCallRecord>), StoreError> {
        let mut values = filter.values();
        let total = self.db().fetch_first(&LOG_COUNT, values.clone()).await?;
        let total = total.map_or(Ok(0), |row| row.required_int("total"));
        let total = total.map_err(StoreError::database(LOG_COUNT.name))?;
        values.push(i64::from(limit).into());
        values.push(i64::try_from(offset).unwrap_or(i64::MAX).into());
        let statement: &'static Stmt = match sort {
            LogSort::Time { down: true } => &LOG_NEWEST,
            LogSort::Time { down: false } => &LOG_OLDEST,
            LogSort::Cost { down: true } => &LOG_DEAREST,
            LogSort::Cost { down: false } => &LOG_CHEAPEST,
        };
        let rows = self.db().fetch_all(statement, values).await?;
        let rows: Result<Vec<_>, _> = rows.iter().map(decode_record).collect();
        let rows = rows.map_err(StoreError::database(statement.name))?;
        Ok((u64::try_from(total).unwrap_or(0), rows))
    }

    /// Sums of days, the latest first; [`MAX_DAYS_ROWS`] at most.
    pub async fn days(&self, of: DaysOf, filter: &DaysFilter) -> Result<Vec<DayRow>, StoreError> {
        let statement: &'static Stmt = match of {
            DaysOf::Level(Level::Team) => &DAYS_OF_TEAMS,
            DaysOf::Level(Level::Organization) => &DAYS_OF_ORGANIZATIONS,
            DaysOf::Level(Level::EndUser) => &DAYS_OF_END_USERS,
            DaysOf::Level(Level::Key) => &DAYS_OF_KEYS,
            DaysOf::Level(Level::User | Level::Scope | Level::Server) => &DAYS_OF_USERS,
            DaysOf::Tags => &DAYS_OF_TAGS,
        };
        let values = vec![
            filter.from.into(),
            filter.to.into(),
            Value::Text(filter.entity.clone()),
            Value::Text(filter.api_key.clone()),
            Value::Text(filter.model.clone()),
            i64::from(MAX_DAYS_ROWS).into(),
        ];
        let rows = self.db().fetch_all(statement, values).await?;
        rows.iter()
            .map(decode_day)
            .collect::<Result<_, _>>()
            .map_err(StoreError::database(statement.name))
    }

    /// What each user, or one of them, spent in a team from a day to another, the most first; [`MAX_DAYS_ROWS`] at most.
    pub async fn spend_of_team(
        &self,
        (from, to): (i64, i64),
        team_id: &str,
        user_id: Option<&str>,
    ) -> Result<Vec<TeamUserSpend>, StoreError> {
        let values = vec![
            from.into(),
            to.into(),
            team_id.into(),
            Value::Text(user_id.map(str::to_owned)),
            i64::from(MAX_DAYS_ROWS).into(),
        ];
        let rows = self.db().fetch_all(&SPEND_OF_TEAM, values).await?;
        let read = |row: &Row| {
            Ok::<_, sqlx::Error>(TeamUserSpend {
                user_id: row.required_text("user_id")?,
                sums: sums(row)?,
            })
        };
        rows.iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(StoreError::database(SPEND_OF_TEAM.name))
    }

    /// What was spent under each tag, the most first.
    pub async fn spend_of_tags(
        &self,
        (from, to): (i64, i64),
        limit: u32,
    ) -> Result<Vec<TagSpend>, StoreError> {
        let values = vec![from.into(), to.into(), i64::from(limit).into()];
        let rows = self.db().fetch_all(&SPEND_OF_TAGS, values).await?;
        let read = |row: &Row| {
            Ok::<_, sqlx::Error>(TagSpend {
                tag: row.required_text("tag")?,
                requests: row.required_int("requests")?,
                spend: row.required_int("spend")?,
            })
        };
        rows.iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(StoreError::database(SPEND_OF_TAGS.name))
    }
}

impl LogFilter {
    fn values(&self) -> Vec<Value> {
        let text = |own: &Option<String>| Value::Text(own.clone());
        vec![
            text(&self.api_key),
            text(&self.user_id),
            text(&self.team_id),
            text(&self.end_user),
            text(&self.request_id),
            text(&self.model),
            text(&self.model_id),
            Value::Int(self.succeeded.map(i64::from)),
            Value::Int(self.min_cost),
            Value::Int(self.max_cost),
            self.since.map_or(i64::MIN, Timestamp::as_microsecond).into(),
            self.until.map_or(i64::MAX, Timestamp::as_microsecond).into(),
        ]
    }
}

fn decode_day(row: &Row) -> Result<DayRow, sqlx::Error> {
    Ok(DayRow {
        day: begin_of(row.required_int("day")?),
        entity: row.required_text("entity")?,
        api_key: row.required_text("api_key")?,
        provider: row.required_text("provider")?,
        model: row.required_text("model")?,
        model_group: row.required_text("model_group")?,
        tool: row.required_text("tool")?,
        kind: row.required_text("kind")?,
        sums: sums(row)?,
    })
}

fn sums(row: &Row) -> Result<DaySums, sqlx::Error> {
    Ok(DaySums {
        spend: row.required_int("spend")?,
        input_tokens: row.required_int("input_tokens")?,
        output_tokens: row.required_int("output_tokens")?,
        cache_read_tokens: row.required_int("cache_read_tokens")?,
        cache_write_tokens: row.required_int("cache_write_tokens")?,
        requests: row.required_int("requests")?,
        succeeded: row.required_int("succeeded")?,
        failed: row.required_int("failed")?,
        unpriced: row.required_int("unpriced")?,
        duration_ms: row.required_int("duration_ms")?,
    })
}
