//! The audit log: who asks, for its rows; what is refused, into it; `/audit` shows it.
//!
//! - [`actor`] is what every change of the registry is made with.
//! - [`denied`] is around all routes: a refusal of an authenticated caller is noted wherever it is made, by a handler or an
//!   extractor. A new route needs nothing for it.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde_json::{Map, Value, json};
use trunkline_auth::AuthError;
use trunkline_model::{Principal, RequestId};
use trunkline_store::{Actor, AuditRow, Denial, StoreError};

use crate::App;
use crate::error::respond;
use crate::key::error::KeyError;

pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod list;

/// LiteLLM's header for whom an administrator does something.
const CHANGED_BY: &str = "litellm-changed-by";

/// Who was let in, of one request.
#[derive(Clone, Default)]
struct LetIn(Arc<OnceLock<Actor>>);

/// Who asks. Of the path what the route is called: there may be a key in it.
pub(crate) fn actor(parts: &Parts, principal: &Principal) -> Actor {
    actor_of(parts, principal.id(), principal.user_id())
}

fn actor_of(parts: &Parts, id: &str, user_id: Option<&str>) -> Actor {
    let path = parts.extensions.get::<MatchedPath>();
    let claim = parts.headers.get(CHANGED_BY);
    Actor {
        changed_by: user_id.unwrap_or(id).to_owned(),
        changed_by_api_key: id.to_owned(),
        request_id: parts
            .extensions
            .get::<RequestId>()
            .map(|id| id.as_str().to_owned()),
        claimed_by: claim.map(|claim| String::from_utf8_lossy(claim.as_bytes()).into_owned()),
        operation: path.map(|path| format!("{} {}", parts.method, path.as_str())),
    }
}

/// Notes that somebody was let in, should the request be refused later.
pub(crate) fn note(parts: &Parts, principal: &Principal) {
    if let Some(LetIn(slot)) = parts.extensions.get::<LetIn>() {
        slot.get_or_init(|| actor(parts, principal));
    }
}

/// The same of a good key that its `allowed_routes` keep out.
pub(crate) fn note_route(parts: &Parts, error: AuthError) {
    let (AuthError::RouteNotAllowed(hash), Some(LetIn(slot))) = (error, parts.extensions.get::<LetIn>())
    else {
        return;
    };
    slot.get_or_init(|| actor_of(parts, &hash.to_hex(), None));
}

/// Writes down what an authenticated caller was refused.
pub(crate) async fn denied(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let let_in = LetIn::default();
    request.extensions_mut().insert(let_in.clone());
    let response = next.run(request).await;
    let status = response.status();
    // LiteLLM says 401 to a good key that may not do this.
    if matches!(status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)
        && let Some(by) = let_in.0.get()
    {
        refused(&app, by, status);
    }
    response
}

/// Writes down that somebody was refused something. What is refused as a whole is noted by [`denied`]; this is for parts.
pub(crate) fn refused(app: &App, by: &Actor, status: StatusCode) {
    app.denials.send(Denial {
        at: app.now(),
        object_id: by.operation.clone().unwrap_or_default(),
        by: by.clone(),
        table: "",
        details: vec![
            ("reason", "management_refused".into()),
            ("status", status.as_u16().into()),
        ],
    });
}

/// Why the log is not shown.
pub(crate) enum AuditError {
    /// The query is not what the route takes.
    Query(KeyError),
    /// There is no such row.
    Unknown(String),
    /// From the store.
    Store(StoreError),
}

impl From<KeyError> for AuditError {
    fn from(error: KeyError) -> Self {
        Self::Query(error)
    }
}

impl From<StoreError> for AuditError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for AuditError {
    fn into_response(self) -> Response {
        match self {
            Self::Query(error) => error.into_response(),
            // As LiteLLM answers there.
            Self::Unknown(id) => {
                let message = format!("Audit log with ID {id} not found");
                let body = json!({"detail": {"message": message, "error": message}});
                (StatusCode::NOT_FOUND, Json(body)).into_response()
            }
            Self::Store(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the audit log could not be read"
                );
                respond(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the database did not give the audit log: the gateway's log and `trunkline db status` say what is wrong; then try again"
                        .to_owned(),
                )
            }
        }
    }
}

/// A row as the wire has it: LiteLLM's columns, and ours beside them.
pub(crate) fn row(row: AuditRow) -> Map<String, Value> {
    let AuditRow {
        seq,
        updated_at,
        changed_by,
        changed_by_api_key,
        action,
        table_name,
        object_id,
        before_value,
        updated_values,
        request_id,
        details,
    } = row;
    let mut shown = details;
    let own = [
        ("id", Value::from(seq.to_string())),
        ("updated_at", updated_at.to_string().into()),
        ("changed_by", changed_by.into()),
        ("changed_by_api_key", changed_by_api_key.into()),
        ("action", action.into()),
        ("table_name", table_name.into()),
        ("object_id", object_id.into()),
        ("before_value", before_value.into()),
        ("updated_values", updated_values.into()),
        ("request_id", request_id.into()),
    ];
    shown.extend(own.map(|(name, value)| (name.to_owned(), value)));
    shown
}

/// For documentation: a row of the audit log.
#[derive(utoipa::ToSchema)]
#[schema(as = AuditLogRow)]
#[expect(dead_code, reason = "rows are made of maps; this describes them")]
pub(crate) struct RowSchema {
    /// Counts up without gaps, in the order in which changes were made. A number as text.
    id: String,
    /// When, RFC 3339.
    updated_at: String,
    /// Who: the user of the key, or the key's hash, `master_key`, or what the process is.
    changed_by: String,
    /// The hash of the key, or `master_key`; empty if it was a process.
    changed_by_api_key: String,
    /// `created`, `updated`, `deleted`, `blocked`, `unblocked`, `rotated`, `denied`, or `drifted`.
    action: String,
    /// LiteLLM's name of the table; empty for a refused management request.
    table_name: String,
    /// Which object; for a refused management request the method and the route.
    object_id: String,
    /// The columns that were other ones before, as they were; null if there was no object. A secret is a word.
    before_value: Option<Value>,
    /// The same columns as they are; null if there is no object any more.
    updated_values: Option<Value>,
    /// The request (`x-litellm-call-id`).
    request_id: Option<String>,
    /// The method and the route.
    operation: Option<String>,
    /// What `litellm-changed-by` said: a claim of the caller.
    claimed_by: Option<String>,
    /// Of what was denied: who wanted it (a key's hash).
    principal: Option<String>,
    /// Of a denied call: the server's id.
    server: Option<String>,
    /// Of a denied call: the server's own name of the tool or prompt, or the URI of the resource.
    tool: Option<String>,
    /// Of a denied call: what was asked (`call_mcp_tool`, …).
    kind: Option<String>,
    /// Why it was denied.
    reason: Option<String>,
    /// Which level said no.
    level: Option<String>,
    /// By which of its rules.
    rule: Option<String>,
    /// The HTTP status of the answer.
    status: Option<u16>,
    /// Of a server that does not list what is pinned: pinned tools with another definition, the first of them.
    changed: Option<Vec<String>>,
    /// How many there are.
    changed_count: Option<usize>,
    /// Tools that are not pinned.
    new: Option<Vec<String>>,
    /// How many there are.
    new_count: Option<usize>,
    /// Tools that are not listed.
    gone: Option<Vec<String>>,
    /// How many there are.
    gone_count: Option<usize>,
}
