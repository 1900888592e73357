//! `call_approval`: calls that somebody has to say yes to. Every change is one conditional statement, so that of two who approve, or
//! who call, at the same time, on whatever replica, one is the first.

use std::time::Duration;

use jiff::Timestamp;
use trunkline_model::{ApprovalMode, CallApproval, CallApprovalState, Secret, ServerId};

use crate::audit::entry::{self, Entry};
use crate::audit::{self, Actor};
use crate::catalogue::storable;
use crate::db::{Row, StoreError, Value, stmts};
use crate::server_row::Reader;
use crate::store::Store;

/// How long a request for an approval waits, and how long one that was given for a call can be used.
pub const APPROVAL_LASTS: Duration = Duration::from_mins(10);
/// How long what was decided can be looked at after its end. What nobody decided about goes with the next request.
const KEPT: Duration = Duration::from_hours(24);
/// Requests of one caller that may wait.
pub const MAX_PENDING: usize = 20;
/// Rows of an answer.
const MAX_ROWS: i64 = 200;

macro_rules! columns {
    () => {
        "approval_id, server_id, tool, principal, mode, binding, arguments, state, created_at, expires_at, decided_at, decided_by, \
         used_at"
    };
}

stmts! {
    APPROVAL_OF_BINDING = concat!("SELECT ", columns!(), " FROM call_approval WHERE binding = $1 \
        AND (expires_at IS NULL OR expires_at > $2) ORDER BY created_at");
    APPROVAL_GET = concat!("SELECT ", columns!(), " FROM call_approval WHERE approval_id = $1");
    APPROVAL_LIST = concat!("SELECT ", columns!(), " FROM call_approval WHERE expires_at IS NULL OR expires_at > $1 \
        ORDER BY created_at DESC, approval_id LIMIT $2");
    APPROVAL_PENDING = "SELECT approval_id FROM call_approval WHERE principal = $1 AND state = 'pending' AND expires_at > $2";
    APPROVAL_INSERT = concat!("INSERT INTO call_approval (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)");
    APPROVAL_USE = "UPDATE call_approval SET state = 'used', used_at = $2 WHERE approval_id = $1 AND state = 'approved' \
        AND expires_at > $2";
    APPROVAL_GIVE_BACK = "UPDATE call_approval SET state = 'approved', used_at = NULL, expires_at = $2 WHERE approval_id = $1 \
        AND state = 'used'";
    APPROVAL_DECIDE = "UPDATE call_approval SET state = $2, decided_at = $3, decided_by = $4, expires_at = $5 WHERE approval_id = $1 \
        AND state = 'pending' AND expires_at > $3";
    APPROVAL_PRUNE = "DELETE FROM call_approval WHERE expires_at <= $1 OR (state = 'pending' AND expires_at <= $2)";
}

/// What there is for a call that needs an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approved {
    /// It may be made. The name of the approval that was used up for it, if it was for one call.
    Yes(Option<String>),
    /// Nobody has decided: the name of the request.
    Pending(String),
    /// Somebody said no.
    No(String),
    /// The caller has too many requests that wait.
    TooMany,
}

/// What came of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It was made.
    Done(CallApproval),
    /// There is no such request, or it is long over.
    NotFound,
    /// It was decided before, or is too old.
    NotPending(CallApproval),
}

impl Store {
    /// Takes an approval for a call, or asks for one. `wanted` is the request that is written where there is none.
    pub async fn approval_take(&self, wanted: &CallApproval) -> Result<Approved, StoreError> {
        let now = self.now().as_microsecond();
        let values = vec![wanted.binding.clone().into(), now.into()];
        let rows = self.db().fetch_all(&APPROVAL_OF_BINDING, values).await?;
        let known: Vec<CallApproval> = rows.iter().filter_map(|row| self.decode_approval(row)).collect();
        let of = |state| known.iter().filter(move |own| own.state == state);
        for own in of(CallApprovalState::Approved) {
            if own.mode == ApprovalMode::FirstUse {
                return Ok(Approved::Yes(None));
            }
            let values = vec![own.id.clone().into(), now.into()];
            if self.db().execute(&APPROVAL_USE, values).await? == 1 {
                return Ok(Approved::Yes(Some(own.id.clone())));
            }
        }
        if let Some(own) = of(CallApprovalState::Denied).next() {
            return Ok(Approved::No(own.id.clone()));
        }
        if let Some(own) = of(CallApprovalState::Pending).next() {
            return Ok(Approved::Pending(own.id.clone()));
        }
        let values = vec![wanted.principal.clone().into(), now.into()];
        if self.db().fetch_all(&APPROVAL_PENDING, values).await?.len() >= MAX_PENDING {
            return Ok(Approved::TooMany);
        }
        let over = self.now() - KEPT;
        self.db()
            .execute(&APPROVAL_PRUNE, vec![over.as_microsecond().into(), now.into()])
            .await?;
        self.db()
            .execute(&APPROVAL_INSERT, self.encode_approval(wanted))
            .await?;
        Ok(Approved::Pending(wanted.id.clone()))
    }

    /// The call that an approval was used for did not run: it asked something first.
    pub async fn approval_give_back(&self, id: &str) -> Result<(), StoreError> {
        let until = (self.now() + APPROVAL_LASTS).as_microsecond();
        self.db()
            .execute(&APPROVAL_GIVE_BACK, vec![id.into(), until.into()])
            .await?;
        Ok(())
    }

    /// Says yes or no. The row of the audit log is in the same transaction.
    pub async fn approval_decide(&self, by: &Actor, id: &str, yes: bool) -> Result<Decided, StoreError> {
        let Some(before) = self.approval_get(id).await? else {
            return Ok(Decided::NotFound);
        };
        let now = self.now();
        let state = if yes {
            CallApprovalState::Approved
        } else {
            CallApprovalState::Denied
        };
        // One for good ends with what it is about.
        let for_good = yes && before.mode == ApprovalMode::FirstUse;
        let until = (!for_good).then(|| (now + APPROVAL_LASTS).as_microsecond());
        let values = vec![
            id.into(),
            state.as_str().into(),
            now.as_microsecond().into(),
            by.changed_by.clone().into(),
            Value::Int(until),
        ];
        let mut tx = self.db().begin().await?;
        if tx.execute(&APPROVAL_DECIDE, values).await? == 1 {
            audit::append(&mut tx, self, by, vec![entry_of(&before, state)]).await?;
            tx.commit().await?;
            return Ok(match self.approval_get(id).await? {
                Some(after) => Decided::Done(after),
                None => Decided::NotFound,
            });
        }
        drop(tx);
        Ok(match self.approval_get(id).await? {
            Some(after) => Decided::NotPending(after),
            None => Decided::NotFound,
        })
    }

    /// One of them.
    pub async fn approval_get(&self, id: &str) -> Result<Option<CallApproval>, StoreError> {
        let rows = self.db().fetch_all(&APPROVAL_GET, vec![id.into()]).await?;
        Ok(rows.first().and_then(|row| self.decode_approval(row)))
    }

    /// Those that are not over, the newest first.
    pub async fn approval_list(&self) -> Result<Vec<CallApproval>, StoreError> {
        let values = vec![self.now().as_microsecond().into(), MAX_ROWS.into()];
        let rows = self.db().fetch_all(&APPROVAL_LIST, values).await?;
        Ok(rows.iter().filter_map(|row| self.decode_approval(row)).collect())
    }

    fn encode_approval(&self, own: &CallApproval) -> Vec<Value> {
        let time = |at: Option<Timestamp>| Value::Int(at.map(Timestamp::as_microsecond));
        // What callers send may be anything, and is nobody's but whose who decides.
        let sealed = self.vault().seal(&context(&own.id), &own.arguments);
        vec![
            own.id.clone().into(),
            own.server_id.as_str().into(),
            storable(&own.tool).into(),
            own.principal.clone().into(),
            own.mode.as_str().into(),
            own.binding.clone().into(),
            sealed.into(),
            own.state.as_str().into(),
            time(Some(own.created_at)),
            time(own.expires_at),
            time(own.decided_at),
            Value::Text(own.decided_by.clone()),
            time(own.used_at),
        ]
    }

    /// What cannot be read is no approval.
    fn decode_approval(&self, row: &Row) -> Option<CallApproval> {
        let mut reader = Reader::new(row);
        let id = reader.text("approval_id")?;
        let arguments = reader.text("arguments").unwrap_or_default();
        let arguments = self.vault().open(&context(&id), &arguments);
        let own = CallApproval {
            server_id: ServerId::new(reader.text("server_id")?),
            tool: reader.text("tool")?,
            principal: reader.text("principal")?,
            mode: reader.word_or_null("mode", ApprovalMode::parse)?,
            binding: reader.text("binding")?,
            arguments: arguments.as_ref().map_or("", Secret::expose).to_owned(),
            state: reader.word_or_null("state", CallApprovalState::parse)?,
            created_at: reader.time("created_at")?,
            expires_at: reader.time("expires_at"),
            decided_at: reader.time("decided_at"),
            decided_by: reader.text("decided_by"),
            used_at: reader.time("used_at"),
            id,
        };
        reader.defects.is_empty().then_some(own)
    }
}

/// The row of the audit log about a decision. Arguments are not in it.
fn entry_of(own: &CallApproval, state: CallApprovalState) -> Entry {
    let words = [
        ("server_id", own.server_id.as_str()),
        ("tool", &own.tool),
        ("principal", &own.principal),
        ("mode", own.mode.as_str()),
        ("state", state.as_str()),
    ];
    let words = words.map(|(name, word)| (name.to_owned(), serde_json::Value::from(word)));
    let before = [("state".to_owned(), own.state.as_str().into())];
    Entry {
        before: Some(before.into_iter().collect()),
        ..Entry::of_values(entry::CALL_APPROVALS, &own.id, words.into_iter().collect())
    }
}

fn context(id: &str) -> String {
    format!("call_approval|{id}|arguments")
}
