//! Why there is no call, for clients of either era, for REST, for the record.

use trunkline_mcp::{Era, ListKind, rpc, task};
use trunkline_model::{Level, OutcomeStatus, Server, ServerId, Step};
use trunkline_upstream::Fault;

use super::approval::Unapproved;
use super::rules::RuledOut;
use crate::limits::{About, Exceeded, Max};
use crate::outcomes;
use crate::parked;
use crate::peers::PeerError;
use crate::route::{self, RouteError};

/// Why there is no call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The parameters cannot be read.
    #[error("Invalid params: {0}")]
    Params(String),
    /// The name leads nowhere.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The policy says no. The caller reads the same as for an unknown tool; the reason is in the log and the record.
    #[error("Unknown {}: {}", route::noun(.0.kind), .0.name)]
    Denied(Box<Denied>),
    /// The policy says no to this call of a tool that the caller may use otherwise.
    #[error(transparent)]
    RuledOut(Box<RuledOut>),
    /// Nobody has said yes to it.
    #[error(transparent)]
    Unapproved(Box<Unapproved>),
    /// Whether somebody has said yes cannot be looked up.
    #[error(
        "the call needs an approval, and approvals cannot be looked up now: the database is out of reach"
    )]
    NoApprovals,
    /// A header does not say what the body says (2026-07-28).
    #[error("Header mismatch: {0}")]
    HeaderMismatch(String),
    /// Nobody here knows the method.
    #[error("Method not found: {0}")]
    Method(String),
    /// There is no such task for this caller.
    #[error("Failed to retrieve task: Task not found")]
    UnknownTask,
    /// The client does not say that it knows tasks (2026-07-28).
    #[error("Missing required client capability: {}", task::EXTENSION)]
    NeedsTasks,
    /// There is no room to wait for the client in.
    #[error("too many calls of this caller wait for answers to what servers ask")]
    Full,
    /// One call too many.
    #[error(transparent)]
    Limited(#[from] Box<Exceeded>),
    /// The call that this goes on with is on another replica.
    #[error("the call that this answers cannot be taken up: {0}; the tool is not run again")]
    Elsewhere(#[from] PeerError),
    /// The upstream failed.
    #[error("MCP server {server:?}: {}", fault_summary(.fault))]
    Upstream {
        /// The server's prefix.
        server: String,
        /// What went wrong.
        fault: Box<Fault>,
    },
}

/// What the policy does not let through.
#[derive(Debug)]
pub struct Denied {
    /// What the name is of.
    pub kind: ListKind,
    /// The name as the caller wrote it.
    pub name: String,
    /// The server.
    pub server: ServerId,
    /// The server's own name of it, or its URI.
    pub own: String,
    /// Why, and who says so.
    pub denial: trunkline_policy::Denial,
}

impl From<Exceeded> for CallError {
    fn from(exceeded: Exceeded) -> Self {
        Self::Limited(Box::new(exceeded))
    }
}

fn fault_summary(fault: &Fault) -> String {
    fault
        .outcome(jiff::Timestamp::UNIX_EPOCH, std::time::Duration::ZERO)
        .summary()
}

impl CallError {
    /// JSON-RPC code.
    pub fn code(&self) -> i64 {
        match self {
            Self::HeaderMismatch(_) => rpc::HEADER_MISMATCH,
            Self::Method(_) => rpc::METHOD_NOT_FOUND,
            Self::NeedsTasks => rpc::MISSING_CLIENT_CAPABILITY,
            // Revisions before 2026-07-28 have a code of its own for it.
            Self::Route(RouteError::Unknown {
                kind: ListKind::Resources,
                ..
            }) => rpc::RESOURCE_NOT_FOUND,
            Self::Params(_)
            | Self::UnknownTask
            | Self::Denied(_)
            | Self::RuledOut(_)
            | Self::Unapproved(_)
            | Self::Route(
                RouteError::Unknown { .. } | RouteError::Ambiguous { .. } | RouteError::HeldBack { .. },
            ) => rpc::INVALID_PARAMS,
            Self::Route(RouteError::Unavailable { .. })
            | Self::Upstream { .. }
            | Self::Full
            | Self::NoApprovals
            | Self::Limited(_)
            | Self::Elsewhere(_) => rpc::INTERNAL_ERROR,
        }
    }

    /// The code as requests of the new era have it: it has none for resources that are not there.
    pub fn code_in(&self, era: Era) -> i64 {
        match (self.code(), era) {
            (rpc::RESOURCE_NOT_FOUND, Era::Modern) => rpc::INVALID_PARAMS,
            (code, _) => code,
        }
    }

    /// The record's word.
    pub fn outcome_word(&self) -> &'static str {
        match self {
            Self::Params(_) => "invalid_params",
            Self::Denied(_) | Self::RuledOut(_) => "denied",
            Self::Unapproved(why) => why.word(),
            Self::NoApprovals => "database_unavailable",
            Self::HeaderMismatch(_) => "header_mismatch",
            Self::Method(_) => "unknown_method",
            Self::UnknownTask => "unknown_task",
            Self::NeedsTasks => "missing_capability",
            Self::Full | Self::Limited(_) => "rate_limited",
            Self::Elsewhere(_) => "replica_gone",
            Self::Route(RouteError::Unknown { kind, .. }) => match kind {
                ListKind::Tools => "unknown_tool",
                ListKind::Prompts => "unknown_prompt",
                ListKind::Resources | ListKind::ResourceTemplates => "unknown_resource",
            },
            Self::Route(RouteError::Ambiguous { kind, .. }) => match kind {
                ListKind::Tools => "ambiguous_tool",
                ListKind::Prompts => "ambiguous_prompt",
                ListKind::Resources | ListKind::ResourceTemplates => "ambiguous_resource",
            },
            Self::Route(RouteError::HeldBack { .. }) => OutcomeStatus::Quarantined.as_str(),
            Self::Route(RouteError::Unavailable { outcome, .. }) => outcome.status.as_str(),
            Self::Upstream { fault, .. } => fault.status.as_str(),
        }
    }

    /// The upstream's kind of failure, if it is one.
    pub fn status(&self) -> Option<OutcomeStatus> {
        match self {
            Self::Route(RouteError::Unavailable { outcome, .. }) => Some(outcome.status),
            Self::Upstream { fault, .. } => Some(fault.status),
            _ => None,
        }
    }

    /// When the upstream wants to be asked again, seconds.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Route(RouteError::Unavailable { outcome, .. }) => outcome.retry_after_s,
            Self::Upstream { fault, .. } => fault.retry_after.map(|after| after.as_secs()),
            Self::Full | Self::NoApprovals => Some(parked::RETRY_AFTER.as_secs()),
            Self::Limited(exceeded) => Some(exceeded.retry_after.as_secs()),
            _ => None,
        }
    }

    /// The server, if one was resolved.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Route(RouteError::Unavailable { server, .. }) | Self::Upstream { server, .. } => {
                Some(server)
            }
            _ => None,
        }
    }

    /// `error.data`: which server, and its outcome.
    pub fn data(&self, now: jiff::Timestamp) -> Option<String> {
        let outcome = match self {
            Self::Route(RouteError::Unknown {
                kind: ListKind::Resources,
                name,
                ..
            }) => return Some(serde_json::json!({"uri": name}).to_string()),
            Self::NeedsTasks => return Some(task::MISSING_EXTENSION.to_owned()),
            Self::Limited(exceeded) => {
                let Exceeded {
                    limit,
                    max,
                    about,
                    retry_after,
                } = &**exceeded;
                let server = match about {
                    Some(About::Server(server)) => Some(server),
                    // Calls of tools are about no model.
                    Some(About::Model(_)) | None => None,
                };
                let retry_after_s = retry_after.as_secs();
                let max = match max {
                    Max::Calls(calls) => serde_json::Value::from(*calls),
                    // As text: a number might be rounded.
                    Max::Dollars(max) | Max::Spent { max, .. } => max.to_string().into(),
                    Max::NotCounted | Max::OfSomeModel => serde_json::Value::Null,
                };
                let mut data = serde_json::json!({
                    "limit": limit.as_str(), "max": max, "server": server, "retry_after_s": retry_after_s,
                });
                // Of the key's own, and of servers', it is clear.
                if let (
                    level @ (Level::Team | Level::User | Level::Organization | Level::EndUser),
                    Some(data),
                ) = (limit.level(), data.as_object_mut())
                {
                    data.insert("of".to_owned(), level.as_str().into());
                }
                return Some(data.to_string());
            }
            Self::Route(RouteError::Unavailable { outcome, .. }) => (**outcome).clone(),
            Self::Upstream { fault, .. } => fault.outcome(now, std::time::Duration::ZERO),
            _ => return None,
        };
        let server = self.server()?;
        Some(
            serde_json::json!({"server": server, "outcome": outcomes::to_json(&outcome, None, false)})
                .to_string(),
        )
    }
}

/// A fault of the gateway itself, as a call error.
pub fn internal(server: &Server, message: &str) -> CallError {
    CallError::Upstream {
        server: server.prefix(),
        fault: Box::new(Fault::new(OutcomeStatus::Internal, Step::Call, message)),
    }
}
