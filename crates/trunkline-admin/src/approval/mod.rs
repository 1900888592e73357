//! `/v1/mcp/approvals…`: calls that somebody has to say yes to. Reading and deciding is for administrators; who may only look sees that
//! there are some, and not with which arguments.

pub(crate) mod decide;
pub(crate) mod list;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use trunkline_model::CallApproval;
use trunkline_store::{StoreError, WriteError};
use utoipa::ToSchema;

use crate::App;
use crate::error::{ApiError, respond};

/// An approval in an answer.
#[derive(Serialize, ToSchema)]
#[schema(as = MCPCallApproval)]
pub(crate) struct ApprovalRow {
    /// Its name.
    approval_id: String,
    /// Of which server.
    server_id: String,
    /// What its tools begin with; null if there is no such server any more.
    server: Option<String>,
    /// The tool's own name.
    tool: String,
    /// Who calls: the hash of a key, or `master_key`.
    principal: String,
    /// `always`: for one call. `first_use`: for the caller and the tool, until its definition changes.
    mode: &'static str,
    /// `pending`, `approved`, `denied` or `used`.
    state: &'static str,
    /// The arguments of the call that asked. Null for who may only look.
    #[schema(value_type = Option<Object>)]
    arguments: Option<serde_json::Value>,
    /// When it was asked for, RFC 3339.
    created_at: String,
    /// When it ends, RFC 3339; null: it does not.
    expires_at: Option<String>,
    /// When somebody decided, RFC 3339.
    decided_at: Option<String>,
    /// Who.
    decided_by: Option<String>,
    /// When the call was made, RFC 3339.
    used_at: Option<String>,
}

impl ApprovalRow {
    fn of(own: &CallApproval, app: &App, with_arguments: bool) -> Self {
        let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
        let snapshot = app.registry.snapshot();
        // What no type here holds is text.
        let arguments =
            || serde_json::from_str(&own.arguments).unwrap_or_else(|_| own.arguments.clone().into());
        Self {
            approval_id: own.id.clone(),
            server_id: own.server_id.as_str().to_owned(),
            server: snapshot.get(&own.server_id).map(|server| server.prefix()),
            tool: own.tool.clone(),
            principal: own.principal.clone(),
            mode: own.mode.as_str(),
            state: own.state.as_str(),
            arguments: with_arguments.then(arguments),
            created_at: own.created_at.to_string(),
            expires_at: time(own.expires_at),
            decided_at: time(own.decided_at),
            decided_by: own.decided_by.clone(),
            used_at: time(own.used_at),
        }
    }
}

/// Why a request about approvals is not carried out.
#[derive(Debug)]
pub(crate) enum ApprovalError {
    /// 404, with the name.
    NotFound(String),
    /// 409: its state, or that it is over.
    Decided(String, &'static str),
    /// From the store.
    Store(StoreError),
}

impl From<StoreError> for ApprovalError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for ApprovalError {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NotFound(id) => (
                StatusCode::NOT_FOUND,
                format!("There is no approval '{id}'; those that are over are forgotten after a day."),
            ),
            Self::Decided(id, state) => (
                StatusCode::CONFLICT,
                format!("The approval '{id}' cannot be decided any more: it is {state}."),
            ),
            Self::Store(error) => return ApiError::Write(WriteError::Store(error)).into_response(),
        };
        respond(status, text)
    }
}
