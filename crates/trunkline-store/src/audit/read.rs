//! Reading the log: a page, one row, what follows a row, what was said of a request.

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use crate::catalogue::timestamp;
use crate::db::{Row, Stmt, StoreError, Value, stmts};
use crate::store::Store;

/// The columns, written out in every statement: another version may have more.
macro_rules! columns {
    () => {
        "seq, updated_at, changed_by, changed_by_api_key, action, table_name, object_id, before_value, updated_values, \
         request_id, details"
    };
}

macro_rules! filter {
    () => {
        " FROM audit_log WHERE (CAST($1 AS TEXT) IS NULL OR changed_by = $1) \
         AND (CAST($2 AS TEXT) IS NULL OR changed_by_api_key = $2) AND (CAST($3 AS TEXT) IS NULL OR action = $3) \
         AND (CAST($4 AS TEXT) IS NULL OR table_name = $4) AND (CAST($5 AS TEXT) IS NULL OR object_id = $5) \
         AND (CAST($6 AS BIGINT) IS NULL OR updated_at >= $6) AND (CAST($7 AS BIGINT) IS NULL OR updated_at <= $7)"
    };
}

/// The column that the parameter names; `seq` decides between the same.
macro_rules! sorted {
    ($order:literal) => {
        concat!(
            "SELECT ", columns!(), filter!(), " ORDER BY CASE CAST($8 AS TEXT) WHEN 'changed_by' THEN changed_by \
             WHEN 'changed_by_api_key' THEN changed_by_api_key WHEN 'action' THEN action WHEN 'table_name' THEN table_name \
             WHEN 'object_id' THEN object_id END ", $order, ", seq ", $order, " LIMIT $9 OFFSET $10"
        )
    };
}

macro_rules! in_order {
    ($order:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            filter!(),
            " ORDER BY seq ",
            $order,
            " LIMIT $8 OFFSET $9"
        )
    };
}

stmts! {
    AUDIT_COUNT = concat!("SELECT count(*) AS total", filter!());
    AUDIT_NEWEST = in_order!("DESC");
    AUDIT_OLDEST = in_order!("ASC");
    AUDIT_SORTED_DOWN = sorted!("DESC");
    AUDIT_SORTED_UP = sorted!("ASC");
    AUDIT_GET = concat!("SELECT ", columns!(), " FROM audit_log WHERE seq = $1");
    AUDIT_AFTER = concat!("SELECT ", columns!(), " FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2");
    AUDIT_OF_REQUEST = concat!("SELECT ", columns!(), " FROM audit_log WHERE request_id = $1 ORDER BY seq LIMIT $2");
}

/// What rows have to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// [`AuditRow::changed_by`].
    pub changed_by: Option<String>,
    /// [`AuditRow::changed_by_api_key`].
    pub changed_by_api_key: Option<String>,
    /// [`AuditRow::action`].
    pub action: Option<String>,
    /// [`AuditRow::table_name`].
    pub table_name: Option<String>,
    /// [`AuditRow::object_id`].
    pub object_id: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

/// How a page is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSort {
    /// In the order in which they were written.
    Written,
    /// By a column's text: see [`AuditSort::of`].
    Column(&'static str),
}

impl AuditSort {
    /// The names that pages are sorted by.
    pub const NAMES: [&'static str; 7] = [
        "updated_at",
        "id",
        "changed_by",
        "changed_by_api_key",
        "action",
        "table_name",
        "object_id",
    ];

    /// By a column's name on the wire.
    pub fn of(name: &str) -> Option<Self> {
        let name = Self::NAMES.into_iter().find(|own| *own == name)?;
        Some(match name {
            "updated_at" | "id" => Self::Written,
            column => Self::Column(column),
        })
    }
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Counts up without gaps.
    pub seq: i64,
    /// When.
    pub updated_at: Timestamp,
    /// Who: the user, or the caller's stable name.
    pub changed_by: String,
    /// The hash of the key.
    pub changed_by_api_key: String,
    /// `created`, `updated`, `deleted`, `blocked`, `unblocked`, `rotated`, `denied`.
    pub action: String,
    /// LiteLLM's name of the table.
    pub table_name: String,
    /// Which object.
    pub object_id: String,
    /// The columns as they were.
    pub before_value: Option<Json>,
    /// The columns as they are.
    pub updated_values: Option<Json>,
    /// The request.
    pub request_id: Option<String>,
    /// What else there is to say.
    pub details: Map<String, Json>,
}

impl Store {
    /// How many rows there are, and some of them.
    pub async fn audit_page(
        &self,
        filter: &AuditFilter,
        (sort, descending): (AuditSort, bool),
        (offset, limit): (u64, u32),
    ) -> Result<(u64, Vec<AuditRow>), StoreError> {
        let values = filter.values();
        let total = self.db().fetch_first(&AUDIT_COUNT, values.clone()).await?;
        let total = total.map_or(Ok(0), |row| row.required_int("total"));
        let total = total.map_err(StoreError::database(AUDIT_COUNT.name))?;
        let mut values = values;
        let statement: &'static Stmt = match (sort, descending) {
            (AuditSort::Written, true) => &AUDIT_NEWEST,
            (AuditSort::Written, false) => &AUDIT_OLDEST,
            (AuditSort::Column(column), is_down) => {
                values.push(column.into());
                if is_down {
                    &AUDIT_SORTED_DOWN
                } else {
                    &AUDIT_SORTED_UP
                }
            }
        };
        values.push(i64::from(limit).into());
        values.push(i64::try_from(offset).unwrap_or(i64::MAX).into());
        let rows = self.audit_rows(statement, values).await?;
        Ok((u64::try_from(total).unwrap_or(0), rows))
    }

    /// One row.
    pub async fn audit_get(&self, seq: i64) -> Result<Option<AuditRow>, StoreError> {
        Ok(self.audit_rows(&AUDIT_GET, vec![seq.into()]).await?.pop())
    }

    /// The rows that follow one, in their order.
    pub async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let values = vec![seq.into(), i64::from(limit).into()];
        self.audit_rows(&AUDIT_AFTER, values).await
    }

    /// The rows that a request left, in their order.
    pub async fn audit_of_request(&self, request_id: &str, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let values = vec![request_id.into(), i64::from(limit).into()];
        self.audit_rows(&AUDIT_OF_REQUEST, values).await
    }

    async fn audit_rows(
        &self,
        statement: &'static Stmt,
        values: Vec<Value>,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = self.db().fetch_all(statement, values).await?;
        rows.iter()
            .map(decode)
            .collect::<Result<_, _>>()
            .map_err(StoreError::database(statement.name))
    }
}

impl AuditFilter {
    fn values(&self) -> Vec<Value> {
        let time = |at: Option<Timestamp>| Value::Int(at.map(Timestamp::as_microsecond));
        vec![
            Value::Text(self.changed_by.clone()),
            Value::Text(self.changed_by_api_key.clone()),
            Value::Text(self.action.clone()),
            Value::Text(self.table_name.clone()),
            Value::Text(self.object_id.clone()),
            time(self.since),
            time(self.until),
        ]
    }
}

fn decode(row: &Row) -> Result<AuditRow, sqlx::Error> {
    // What a newer version wrote in another form is shown as text rather than left out.
    let json = |column: &str| {
        let text = row.text(column)?;
        Ok::<_, sqlx::Error>(text.map(|text| serde_json::from_str(&text).unwrap_or(Json::String(text))))
    };
    let details = match json("details")? {
        Some(Json::Object(details)) => details,
        Some(other) => Map::from_iter([("details".to_owned(), other)]),
        None => Map::new(),
    };
    Ok(AuditRow {
        seq: row.required_int("seq")?,
        updated_at: timestamp(row.int("updated_at")?.unwrap_or_default()),
        changed_by: row.required_text("changed_by")?,
        changed_by_api_key: row.required_text("changed_by_api_key")?,
        action: row.required_text("action")?,
        table_name: row.required_text("table_name")?,
        object_id: row.required_text("object_id")?,
        before_value: json("before_value")?,
        updated_values: json("updated_values")?,
        request_id: row.text("request_id")?,
        details,
    })
}
