//! `session_upstream`: the upstream sessions that belong to sessions of clients, so that a client goes on with its own after a
//! restart and on another replica.
//!
//! Whoever writes a row first has it; the others read it back and use that one. A row is taken out by `DELETE … RETURNING`, so
//! that exactly one process ends what it tells of.

use jiff::Timestamp;
use trunkline_model::{Secret, ServerId, SessionKey, ids};

use crate::catalogue::timestamp;
use crate::db::{Row, StoreError, Tx, Value, stmts};
use crate::session_news::SessionNews;
use crate::store::Store;

/// The columns of a row, in every statement that reads one.
macro_rules! columns {
    () => {
        "session_key, server_id, credential, declared, definition, upstream_session, upstream_digest, revision, \
         opened_at, last_used_at"
    };
}

/// Which row.
macro_rules! this_one {
    () => {
        "session_key = $1 AND server_id = $2 AND credential = $3 AND declared = $4"
    };
}

/// Rows that were not used for a while; `$skip` keeps replicas from waiting for each other.
macro_rules! claim_idle {
    ($skip:literal) => {
        concat!(
            "DELETE FROM session_upstream WHERE last_used_at <= $1 AND (session_key, server_id, credential, declared) IN ( \
                SELECT session_key, server_id, credential, declared FROM session_upstream WHERE last_used_at <= $1 \
                ORDER BY last_used_at LIMIT $2",
            $skip,
            ") RETURNING ",
            columns!()
        )
    };
}

stmts! {
    SESSION_UPSTREAM_OF = concat!("SELECT ", columns!(), " FROM session_upstream WHERE session_key = $1");
    SESSION_UPSTREAM_GET = concat!("SELECT ", columns!(), " FROM session_upstream WHERE ", this_one!());
    /// The first writer wins, but over what the upstream has forgotten and what is of another definition. Nothing is written
    /// for a session that has ended in the meantime.
    SESSION_UPSTREAM_PUT = concat!("INSERT INTO session_upstream (", columns!(), ") \
        SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), CAST($5 AS TEXT), \
            CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS TEXT), CAST($9 AS BIGINT), CAST($10 AS BIGINT) \
        WHERE NOT EXISTS (SELECT 1 FROM session_ended WHERE session_key = $1) \
        ON CONFLICT (session_key, server_id, credential, declared) DO UPDATE SET definition = excluded.definition, \
            upstream_session = excluded.upstream_session, upstream_digest = excluded.upstream_digest, \
            revision = excluded.revision, opened_at = excluded.opened_at, last_used_at = excluded.last_used_at \
        WHERE session_upstream.upstream_digest = $11 OR session_upstream.definition <> excluded.definition");
    SESSION_UPSTREAM_USED = concat!(
        "UPDATE session_upstream SET last_used_at = $5 WHERE ", this_one!(), " AND last_used_at < $5");
    SESSION_UPSTREAM_CLAIM = concat!(
        "DELETE FROM session_upstream WHERE ", this_one!(), " AND last_used_at <= $5 RETURNING ", columns!());
    SESSION_UPSTREAM_CLAIM_IDLE = claim_idle!(""), postgres: claim_idle!(" FOR UPDATE SKIP LOCKED");
    SESSION_UPSTREAM_CLAIM_DEFINITION = concat!(
        "DELETE FROM session_upstream WHERE server_id = $1 AND definition = $2 RETURNING ", columns!());
    SESSION_UPSTREAM_CLAIM_SESSION = concat!(
        "DELETE FROM session_upstream WHERE session_key = $1 RETURNING ", columns!());
}

/// Which upstream session: of which client, with which server, under which credential, with what declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamSessionKey {
    /// The client's session.
    pub session: SessionKey,
    /// The server.
    pub server: ServerId,
    /// Fingerprint of what is sent to the server.
    pub credential: [u8; 16],
    /// What the server was told that it can ask, one bit each; opaque here.
    pub declared: u16,
}

/// An upstream session that is written down.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamSession {
    /// Whose.
    pub key: UpstreamSessionKey,
    /// Digest of the definition of the server that it was opened under: of another one it is of no use.
    pub definition: String,
    /// The server's `Mcp-Session-Id`.
    pub id: Secret,
    /// The revision that was negotiated.
    pub revision: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last used, as far as that was written down: some minutes may be missing.
    pub last_used_at: Timestamp,
}

/// What came of writing one.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// It is the one that is written down.
    Written,
    /// Another one was there before.
    Other(Box<UpstreamSession>),
    /// Another one was there before, and cannot be read with this key; or the client's session has ended.
    Refused,
}

impl Store {
    /// Those of a client.
    pub async fn session_upstream_of(&self, session: SessionKey) -> Result<Vec<UpstreamSession>, StoreError> {
        let rows = self
            .db()
            .fetch_all(&SESSION_UPSTREAM_OF, vec![session.to_hex().into()])
            .await?;
        Ok(self.decode_upstream_sessions(&rows))
    }

    /// Writes several down in one transaction; with each the id that it takes the place of, if there is one. The answers
    /// are in the same order.
    pub async fn session_upstream_put(
        &self,
        rows: &[(UpstreamSession, Option<Secret>)],
    ) -> Result<Vec<Put>, StoreError> {
        // In the order of their keys: two processes that write the same ones must not wait for each other.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|a, b| rows[*a].0.key.cmp(&rows[*b].0.key));
        let mut puts = vec![Put::Refused; rows.len()];
        let mut tx = self.db().begin().await?;
        let mut told = Vec::new();
        for index in order {
            let (row, replaces) = &rows[index];
            puts[index] = self.put_upstream_session(&mut tx, row, replaces.as_ref()).await?;
            if puts[index] == Put::Written {
                told.push(SessionNews::Opened(row.key.session));
            }
        }
        for news in &told {
            news.tell(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(puts)
    }

    async fn put_upstream_session(
        &self,
        tx: &mut Tx,
        row: &UpstreamSession,
        replaces: Option<&Secret>,
    ) -> Result<Put, StoreError> {
        let digest = self.session_digest(&row.id);
        let mut values = key_values(&row.key);
        values.extend([
            row.definition.as_str().into(),
            self.vault().seal(&context(&row.key), row.id.expose()).into(),
            digest.as_str().into(),
            row.revision.as_str().into(),
            row.opened_at.as_microsecond().into(),
            row.last_used_at.as_microsecond().into(),
            replaces
                .map_or_else(String::new, |id| self.session_digest(id))
                .into(),
        ]);
        if tx.execute(&SESSION_UPSTREAM_PUT, values).await? > 0 {
            return Ok(Put::Written);
        }
        let found = tx.fetch_all(&SESSION_UPSTREAM_GET, key_values(&row.key)).await?;
        let same = |row: &Row| row.text("upstream_digest").ok().flatten().as_deref() == Some(&digest);
        if found.first().is_some_and(same) {
            // Written before, when nobody waited for it any more.
            return Ok(Put::Written);
        }
        let other = self.decode_upstream_sessions(&found).pop();
        Ok(other.map_or(Put::Refused, |other| Put::Other(Box::new(other))))
    }

    /// Writes down that these were used.
    pub async fn session_upstream_used(
        &self,
        keys: &[UpstreamSessionKey],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort();
        let mut tx = self.db().begin().await?;
        for key in keys {
            let mut values = key_values(key);
            values.push(at.as_microsecond().into());
            tx.execute(&SESSION_UPSTREAM_USED, values).await?;
        }
        tx.commit().await
    }

    /// Takes one out, unless somebody used it after `until`.
    pub async fn session_upstream_claim(
        &self,
        key: &UpstreamSessionKey,
        until: Timestamp,
    ) -> Result<Option<UpstreamSession>, StoreError> {
        let mut values = key_values(key);
        values.push(until.as_microsecond().into());
        Ok(self.claim(&SESSION_UPSTREAM_CLAIM, values).await?.pop())
    }

    /// Takes out those that nobody used after `until`, the oldest first, at most `limit` of them.
    pub async fn session_upstream_claim_idle(
        &self,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<UpstreamSession>, StoreError> {
        let values = vec![until.as_microsecond().into(), i64::from(limit).into()];
        self.claim(&SESSION_UPSTREAM_CLAIM_IDLE, values).await
    }

    /// Takes out those of one definition of a server.
    pub async fn session_upstream_claim_definition(
        &self,
        server: &ServerId,
        definition: &str,
    ) -> Result<Vec<UpstreamSession>, StoreError> {
        let values = vec![server.as_str().into(), definition.into()];
        self.claim(&SESSION_UPSTREAM_CLAIM_DEFINITION, values).await
    }

    async fn claim(
        &self,
        stmt: &'static crate::db::Stmt,
        values: Vec<Value>,
    ) -> Result<Vec<UpstreamSession>, StoreError> {
        let mut tx = self.db().begin().await?;
        let rows = tx.fetch_all(stmt, values).await?;
        tx.commit().await?;
        Ok(self.decode_upstream_sessions(&rows))
    }

    /// Takes out those of a session, within a transaction that ends it.
    pub(crate) async fn claim_of_session(
        &self,
        tx: &mut Tx,
        session: SessionKey,
    ) -> Result<Vec<UpstreamSession>, StoreError> {
        let rows = tx
            .fetch_all(&SESSION_UPSTREAM_CLAIM_SESSION, vec![session.to_hex().into()])
            .await?;
        Ok(self.decode_upstream_sessions(&rows))
    }

    /// Tells ids apart without showing them.
    fn session_digest(&self, id: &Secret) -> String {
        ids::hex(
            &self
                .vault()
                .fingerprint(&[b"session_upstream", id.expose().as_bytes()]),
        )
    }

    /// Rows that cannot be read are of no use to anybody: they are left out, and their server forgets them by itself.
    fn decode_upstream_sessions(&self, rows: &[Row]) -> Vec<UpstreamSession> {
        rows.iter()
            .filter_map(|row| match self.decode_upstream_session(row) {
                Ok(row) => row,
                Err(error) => {
                    tracing::warn!(%error, "a row of session_upstream cannot be read");
                    None
                }
            })
            .collect()
    }

    fn decode_upstream_session(&self, row: &Row) -> Result<Option<UpstreamSession>, sqlx::Error> {
        let session = SessionKey::from_hex(&row.required_text("session_key")?);
        // The same form: sixteen bytes.
        let credential = SessionKey::from_hex(&row.required_text("credential")?);
        let declared = u16::try_from(row.required_int("declared")?);
        let (Some(session), Some(SessionKey(credential)), Ok(declared)) = (session, credential, declared)
        else {
            return Ok(None);
        };
        let key = UpstreamSessionKey {
            session,
            server: ServerId::new(row.required_text("server_id")?),
            credential,
            declared,
        };
        let sealed = row.required_text("upstream_session")?;
        let id = match self.vault().open(&context(&key), &sealed) {
            Ok(id) => id,
            Err(error) => {
                tracing::debug!(server_id = %key.server, %error, "a stored upstream session does not open");
                return Ok(None);
            }
        };
        Ok(Some(UpstreamSession {
            key,
            definition: row.required_text("definition")?,
            id,
            revision: row.required_text("revision")?,
            opened_at: timestamp(row.required_int("opened_at")?),
            last_used_at: timestamp(row.required_int("last_used_at")?),
        }))
    }
}

/// What the id is sealed for: the same text in another row does not open.
fn context(key: &UpstreamSessionKey) -> String {
    format!(
        "session_upstream|{}/{}/{}/{}|upstream_session",
        key.session.to_hex(),
        ids::hex(&key.credential),
        key.declared,
        key.server,
    )
}

fn key_values(key: &UpstreamSessionKey) -> Vec<Value> {
    vec![
        key.session.to_hex().into(),
        key.server.as_str().into(),
        ids::hex(&key.credential).into(),
        i64::from(key.declared).into(),
    ]
}
