//! `mcp_catalogue`: the last good tool list of each server, so that a cold start answers before upstreams do.

use jiff::Timestamp;
use trunkline_model::ServerId;

use crate::db::{Row, StoreError, Value, stmts};
use crate::store::Store;

stmts! {
    CATALOGUE_LIST = "SELECT server_id, fetched_at, definition_digest, protocol_version, server_info, instructions, tools, capabilities \
        FROM mcp_catalogue ORDER BY server_id";
    CATALOGUE_PUT = "INSERT INTO mcp_catalogue \
            (server_id, fetched_at, definition_digest, protocol_version, server_info, instructions, tools, \
             capabilities) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
        ON CONFLICT (server_id) DO UPDATE SET fetched_at = excluded.fetched_at, \
            definition_digest = excluded.definition_digest, protocol_version = excluded.protocol_version, \
            server_info = excluded.server_info, instructions = excluded.instructions, tools = excluded.tools, \
            capabilities = excluded.capabilities";
    CATALOGUE_DELETE = "DELETE FROM mcp_catalogue WHERE server_id = $1";
}

/// What a server listed when it last could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueRow {
    /// Whose. It may be a server of the file, or one that is gone.
    pub server_id: ServerId,
    /// When it was fetched; microseconds are kept.
    pub fetched_at: Timestamp,
    /// Digest of what the list depends on (URL, transport, headers): a row of another definition is to be ignored.
    pub definition_digest: String,
    /// The revision that was negotiated.
    pub protocol_version: Option<String>,
    /// `serverInfo` as it came, JSON.
    pub server_info: Option<String>,
    /// `instructions`.
    pub instructions: Option<String>,
    /// The tools as they came: the text of a JSON array, kept byte for byte.
    pub tools: String,
    /// `capabilities` as they came, JSON.
    pub capabilities: Option<String>,
}

impl Store {
    /// Every list, by server id.
    pub async fn catalogue_list(&self) -> Result<Vec<CatalogueRow>, StoreError> {
        let mut catalogue = Vec::new();
        self.catalogue_each(|row| catalogue.push(row)).await?;
        Ok(catalogue)
    }

    /// The same, one by one: together they are large.
    pub async fn catalogue_each(&self, mut each: impl FnMut(CatalogueRow)) -> Result<(), StoreError> {
        let read = |row: &Row| match decode(row) {
            Ok(row) => each(row),
            // It is a cache: the next fetch writes it anew.
            Err(error) => tracing::warn!(%error, "a row of mcp_catalogue cannot be read"),
        };
        self.db()
            .fetch_each(&CATALOGUE_LIST, vec![], read)
            .await
            .map(drop)
    }

    /// Stores a list in place of the server's last one.
    pub async fn catalogue_put(&self, row: &CatalogueRow) -> Result<(), StoreError> {
        let values = vec![
            row.server_id.as_str().into(),
            row.fetched_at.as_microsecond().into(),
            row.definition_digest.as_str().into(),
            Value::Text(row.protocol_version.as_deref().map(storable)),
            Value::Text(row.server_info.as_deref().map(storable)),
            Value::Text(row.instructions.as_deref().map(storable)),
            // JSON has no raw U+0000, so this changes nothing in a valid list.
            storable(&row.tools).into(),
            Value::Text(row.capabilities.as_deref().map(storable)),
        ];
        self.db().execute(&CATALOGUE_PUT, values).await.map(drop)
    }

    /// Deletes the list of a server, if there is one. [`Store::server_delete`] does it by itself.
    pub async fn catalogue_delete(&self, id: &ServerId) -> Result<(), StoreError> {
        self.db()
            .execute(&CATALOGUE_DELETE, vec![id.as_str().into()])
            .await
            .map(drop)
    }
}

/// Words of an upstream, without the one character that `PostgreSQL` cannot store.
pub(crate) fn storable(text: &str) -> String {
    if text.as_bytes().contains(&0) {
        text.replace('\0', "\u{fffd}")
    } else {
        text.to_owned()
    }
}

fn decode(row: &Row) -> Result<CatalogueRow, sqlx::Error> {
    Ok(CatalogueRow {
        server_id: ServerId::new(row.required_text("server_id")?),
        fetched_at: timestamp(row.required_int("fetched_at")?),
        definition_digest: row.required_text("definition_digest")?,
        protocol_version: row.text("protocol_version")?,
        server_info: row.text("server_info")?,
        instructions: row.text("instructions")?,
        tools: row.required_text("tools")?,
        capabilities: row.text("capabilities")?,
    })
}

/// A time of the database; one outside of the years that exist is the epoch.
pub(crate) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}
