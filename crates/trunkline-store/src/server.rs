//! `mcp_server`: the servers that were registered through the API, and `registry_revision`, which counts their changes.

use std::collections::BTreeSet;

use trunkline_model::{Server, ServerId};

use crate::audit::entry::{self, Entry};
use crate::audit::{Actor, Change};
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::server_row::{self, Cell, SEALED};
use crate::store::Store;

/// On this channel `PostgreSQL` tells every process that the registry has changed.
pub(crate) const CHANNEL: &str = "trunkline_registry";

/// Rows of `registry_revision`: what is counted.
pub(crate) const SERVERS: i64 = 1;
pub(crate) const KEYS: i64 = 2;
pub(crate) const TOOLSETS: i64 = 3;
// 4 numbers the rows of the audit log.
pub(crate) const MODELS: i64 = 5;

/// How often each was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revisions {
    pub(crate) servers: i64,
    pub(crate) keys: i64,
    pub(crate) toolsets: i64,
    pub(crate) models: i64,
}

/// The columns that this binary reads and writes, in the order of `server_row::encode`. Written out in every statement:
/// another version may have columns that this one does not know.
macro_rules! server_columns {
    () => {
        "server_id, server_name, alias, description, instructions, url, spec_path, transport, auth_type, credentials, \
         mcp_info, mcp_access_groups, allowed_tools, tool_name_to_display_name, tool_name_to_description, pinned_tools, \
         extra_headers, static_headers, env_vars, command, args, env, issuer, authorization_url, token_url, \
         registration_url, oauth2_flow, token_exchange_endpoint, audience, subject_token_type, token_exchange_profile, \
         allow_all_keys, available_on_public_internet, delegate_auth_to_upstream, oauth_passthrough, dcr_bridge, \
         per_server_oauth_discovery, is_byok, byok_description, byok_api_key_help_url, source_url, timeout, \
         max_concurrent_requests, rpm, disallowed_tools, allowed_params, prefix, session, protocol_version, schema_compat, \
         cwd, sandbox, spec, openapi, tls_ca, tls_client_cert, tls_client_key, tls_server_name, tls_min_version, \
         connect_timeout, list_timeout, tool_arguments, tool_conditions, tool_approval, approval_by_user, \
         approval_status, submitted_by, submitted_at, reviewed_by, reviewed_at, review_notes, created_at, created_by, updated_at, \
         updated_by"
    };
}

macro_rules! server_parameters {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, \
         $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, \
         $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, \
         $71, $72, $73, $74, $75"
    };
}

stmts! {
    SERVER_LIST = concat!("SELECT ", server_columns!(), " FROM mcp_server ORDER BY server_id");
    SERVER_GET = concat!("SELECT ", server_columns!(), " FROM mcp_server WHERE server_id = $1");
    SERVER_INSERT = concat!(
        "INSERT INTO mcp_server (", server_columns!(), ") VALUES (", server_parameters!(), ") ON CONFLICT (server_id) DO NOTHING"
    );
    SERVER_UPDATE = concat!(
        "UPDATE mcp_server SET (", server_columns!(), ") = (", server_parameters!(), ") WHERE server_id = $1"
    );
    SERVER_DELETE = "DELETE FROM mcp_server WHERE server_id = $1";
    SERVER_DELETE_CATALOGUE = "DELETE FROM mcp_catalogue WHERE server_id = $1";
    SERVER_NAMES = "SELECT server_id, server_name, alias FROM mcp_server ORDER BY server_id";
    REVISION_GET = "SELECT revision FROM registry_revision WHERE id = 1";
    REVISION_LIST = "SELECT id, revision FROM registry_revision WHERE id IN (1, 2, 3, 5)";
    /// First in every transaction that writes servers: `PostgreSQL` locks the row until the end of the transaction, so
    /// that writers of many processes are in single file and the check of names sees what the one before has written.
    REVISION_BUMP = "INSERT INTO registry_revision (id, revision) VALUES ($1, 1) \
        ON CONFLICT (id) DO UPDATE SET revision = registry_revision.revision + 1 RETURNING revision";
    /// Delivered when the transaction commits.
    REVISION_NOTIFY = "SELECT $1 AS channel, $2 AS payload",
        postgres: "SELECT $1 AS channel, $2 AS payload FROM pg_notify($1, $2)";
}

impl Store {
    /// How often the servers were written. Cheap: one row.
    pub async fn revision(&self) -> Result<i64, StoreError> {
        let row = self.db().fetch_first(&REVISION_GET, vec![]).await?;
        match row {
            Some(row) => row
                .required_int("revision")
                .map_err(StoreError::database(REVISION_GET.name)),
            // Somebody emptied the table; the next write puts the row back.
            None => Ok(0),
        }
    }

    /// The same, and how often the keys, the toolsets and the models were written.
    pub(crate) async fn revisions(&self) -> Result<Revisions, StoreError> {
        let rows = self.db().fetch_all(&REVISION_LIST, vec![]).await?;
        let mut revisions = Revisions::default();
        for row in &rows {
            let read = || Ok((row.required_int("id")?, row.required_int("revision")?));
            let (id, revision) = read().map_err(StoreError::database(REVISION_LIST.name))?;
            match id {
                KEYS => revisions.keys = revision,
                TOOLSETS => revisions.toolsets = revision,
                MODELS => revisions.models = revision,
                _ => revisions.servers = revision,
            }
        }
        Ok(revisions)
    }

    /// Every server, by id. A row that cannot be read as a whole is there with [`Server::defect`] (B31).
    pub async fn server_list(&self) -> Result<Vec<Server>, StoreError> {
        let rows = self
            .db()
            .fetch_each(&SERVER_LIST, vec![], |row| self.decode(row))
            .await?;
        let unreadable = rows.iter().filter(|server| server.is_none()).count();
        let servers: Vec<_> = rows.into_iter().flatten().collect();
        if unreadable > 0 {
            tracing::warn!(
                unreadable,
                "rows of mcp_server have a server_id that is not a text"
            );
        }
        Ok(servers)
    }

    /// One server.
    pub async fn server_get(&self, id: &ServerId) -> Result<Option<Server>, StoreError> {
        let row = self
            .db()
            .fetch_first(&SERVER_GET, vec![id.as_str().into()])
            .await?;
        Ok(row.as_ref().and_then(|row| self.decode(row)))
    }

    /// Stores a new server. [`StoreError::Duplicate`] and [`StoreError::NameTaken`] speak of stored servers only; the
    /// configuration file's are known to [`crate::Registry`].
    pub async fn server_insert(&self, by: &Actor, server: &Server) -> Result<(), StoreError> {
        let cells = server_row::encode(self.vault(), server)?;
        let mut change = self.begin_change(SERVERS, by).await?;
        let rows = change.tx.fetch_all(&SERVER_NAMES, vec![]).await?;
        check_names(&rows, server)?;
        if change.tx.execute(&SERVER_INSERT, values(cells)).await? == 0 {
            return Err(StoreError::Duplicate {
                id: server.id.clone(),
            });
        }
        let entry = entry_of(&server.id, None, Some(server));
        change.commit(vec![entry]).await
    }

    /// Stores a changed server; `false` if there is none with this id.
    ///
    /// A sealed column that could not be opened reads as empty. If it is still empty here, its stored text is kept: a
    /// gateway that was started with the wrong key must not wipe credentials by editing a description.
    pub async fn server_update(&self, by: &Actor, server: &Server) -> Result<bool, StoreError> {
        let cells = server_row::encode(self.vault(), server)?;
        let mut change = self.begin_change(SERVERS, by).await?;
        let tx = &mut change.tx;
        let Some(row) = tx
            .fetch_all(&SERVER_GET, vec![server.id.as_str().into()])
            .await?
            .pop()
        else {
            return Ok(false);
        };
        let cells = self.keep_unopened(&server.id, &row, cells);
        let rows = tx.fetch_all(&SERVER_NAMES, vec![]).await?;
        check_names(&rows, server)?;
        if tx.execute(&SERVER_UPDATE, values(cells)).await? == 0 {
            return Ok(false);
        }
        let before = self.decode(&row);
        let entry = entry_of(&server.id, before.as_ref(), Some(server));
        change.commit(vec![entry]).await?;
        Ok(true)
    }

    /// Deletes a server and what is stored about it; `false` if there is none with this id.
    pub async fn server_delete(&self, by: &Actor, id: &ServerId) -> Result<bool, StoreError> {
        let mut change = self.begin_change(SERVERS, by).await?;
        let tx = &mut change.tx;
        let rows = tx.fetch_all(&SERVER_GET, vec![id.as_str().into()]).await?;
        let deleted = tx.execute(&SERVER_DELETE, vec![id.as_str().into()]).await?;
        if deleted == 0 {
            return Ok(false);
        }
        tx.execute(&SERVER_DELETE_CATALOGUE, vec![id.as_str().into()])
            .await?;
        let before = rows.first().and_then(|row| self.decode(row));
        change.commit(vec![deletion(id, before.as_ref())]).await?;
        Ok(true)
    }

    /// Begins a transaction that counts as a change of `what`, made by somebody. Dropped without a commit, it does not.
    pub(crate) async fn begin_change<'a>(
        &'a self,
        what: i64,
        by: &'a Actor,
    ) -> Result<Change<'a>, StoreError> {
        let mut tx = self.db().begin().await?;
        let revision = tx
            .fetch_all(&REVISION_BUMP, vec![what.into()])
            .await?
            .first()
            .map(|row| row.required_int("revision"))
            .transpose()
            .map_err(StoreError::database(REVISION_BUMP.name))?
            .unwrap_or_default();
        if matches!(tx, Tx::Postgres(_)) {
            let payload = revision.to_string();
            tx.fetch_all(&REVISION_NOTIFY, vec![CHANNEL.into(), payload.into()])
                .await?;
        }
        Ok(Change {
            tx,
            revision,
            store: self,
            by,
        })
    }

    fn decode(&self, row: &Row) -> Option<Server> {
        server_row::decode(self.vault(), row)
    }

    /// Leaves out of a change the sealed texts that nobody could open and nobody replaced.
    fn keep_unopened(&self, id: &ServerId, row: &Row, mut cells: Vec<Cell>) -> Vec<Cell> {
        for (column, value) in &mut cells {
            if !SEALED.contains(column) || *value != Value::Text(None) {
                continue;
            }
            if let Ok(Some(stored)) = row.text(column)
                && self
                    .vault()
                    .open(&server_row::context(id, column), &stored)
                    .is_err()
            {
                *value = Value::Text(Some(stored));
            }
        }
        cells
    }
}

/// The row of the audit log about a server that was written.
fn entry_of(id: &ServerId, before: Option<&Server>, after: Option<&Server>) -> Entry {
    let (before, after) = (before.map(server_row::audited), after.map(server_row::audited));
    Entry::of(entry::SERVERS, id.as_str(), before.as_deref(), after.as_deref())
}

/// About one that is gone. What cannot be read is deleted, too.
fn deletion(id: &ServerId, before: Option<&Server>) -> Entry {
    match before {
        Some(_) => entry_of(id, before, None),
        None => Entry::about("deleted", entry::SERVERS, id.as_str(), serde_json::Map::new()),
    }
}

fn values(cells: Vec<Cell>) -> Vec<Value> {
    cells.into_iter().map(|(_, value)| value).collect()
}

/// The names that a server answers to, as they are compared: without regard to case (B35).
pub(crate) fn claims(id: &str, name: Option<&str>, alias: Option<&str>) -> BTreeSet<String> {
    [Some(id), name, alias]
        .into_iter()
        .flatten()
        .filter(|name| !name.is_empty())
        // Blanks become '_' in prefixes, so that "my server" and "my_server" are one name.
        .map(|name| name.replace(char::is_whitespace, "_").to_lowercase())
        .collect()
}

/// As [`claims`], of a whole server.
pub(crate) fn claims_of(server: &Server) -> BTreeSet<String> {
    let definition = &server.definition;
    claims(
        server.id.as_str(),
        definition.server_name.as_deref(),
        definition.alias.as_deref(),
    )
}

/// Refuses a name that another row has, unless this server had it before: rows that clash already (two old versions, a
/// hand) can still be edited.
fn check_names(rows: &[Row], server: &Server) -> Result<(), StoreError> {
    let mut wanted = claims_of(server);
    let mut others = Vec::new();
    for row in rows {
        let Some(id) = row.text("server_id").ok().flatten() else {
            continue;
        };
        let name = row.text("server_name").ok().flatten();
        let alias = row.text("alias").ok().flatten();
        let taken = claims(&id, name.as_deref(), alias.as_deref());
        if id == server.id.as_str() {
            wanted.retain(|name| !taken.contains(name));
        } else {
            others.push((id, taken));
        }
    }
    for (id, taken) in others {
        if let Some(name) = wanted.intersection(&taken).next() {
            return Err(StoreError::NameTaken {
                name: as_given(server, name),
                by: ServerId::new(id),
            });
        }
    }
    Ok(())
}

/// The server's own spelling of one of its claims.
pub(crate) fn as_given(server: &Server, claim: &str) -> String {
    [
        server.definition.alias.as_deref(),
        server.definition.server_name.as_deref(),
        Some(server.id.as_str()),
    ]
    .into_iter()
    .flatten()
    .find(|name| claims("", Some(name), None).contains(claim))
    .unwrap_or(claim)
    .to_owned()
}

#[cfg(test)]
mod tests {
    use trunkline_auth::Vault;
    use trunkline_model::{Approval, Origin, Secret, ServerDefinition, Stamps};

    use super::*;

    #[test]
    fn columns_parameters_and_cells_are_the_same_list() {
        let server = Server {
            id: ServerId::new("a"),
            origin: Origin::Database,
            definition: ServerDefinition::default(),
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        };
        let cells = server_row::encode(&Vault::derive(&Secret::new("k")), &server).unwrap();
        let written: Vec<_> = cells.iter().map(|(column, _)| *column).collect();
        let columns: Vec<_> = server_columns!().split(", ").collect();
        assert_eq!(columns, written);
        let parameters: Vec<_> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        assert_eq!(server_parameters!(), parameters.join(", "));
        // The three that LiteLLM has and nobody writes: health is not stored.
        let unused = BTreeSet::from(["status", "last_health_check", "health_check_error"]);
        let table: BTreeSet<_> = crate::schema::TABLES[0]
            .columns
            .iter()
            .map(|column| column.name)
            .collect();
        assert_eq!(
            table.difference(&unused).copied().collect::<BTreeSet<_>>(),
            columns.into_iter().collect()
        );
    }

    #[test]
    fn b35_names_are_compared_without_case_and_blanks() {
        assert_eq!(
            claims("ID", Some("My Server"), Some("")),
            BTreeSet::from(["id".to_owned(), "my_server".to_owned()])
        );
    }
}
