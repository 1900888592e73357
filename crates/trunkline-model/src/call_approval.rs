//! Approvals of calls: somebody else has to say yes before a tool is called.

use jiff::Timestamp;

use crate::ServerId;

/// When somebody has to say yes to calls of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApprovalMode {
    /// Never.
    Never,
    /// Once for a caller, as long as the tool's definition stays what it is.
    FirstUse,
    /// Each time.
    Always,
}

impl ApprovalMode {
    /// All.
    pub const ALL: [Self; 3] = [Self::Never, Self::FirstUse, Self::Always];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::FirstUse => "first_use",
            Self::Always => "always",
        }
    }

    /// The inverse of [`ApprovalMode::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.as_str() == word)
    }
}

/// How far an approval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallApprovalState {
    /// Nobody has said anything.
    Pending,
    /// The call may be made: once, or from now on.
    Approved,
    /// It may not.
    Denied,
    /// It was made.
    Used,
}

impl CallApprovalState {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Used => "used",
        }
    }

    /// The inverse of [`CallApprovalState::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Denied, Self::Used]
            .into_iter()
            .find(|own| own.as_str() == word)
    }
}

/// A call that is to be approved, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallApproval {
    /// Its name.
    pub id: String,
    /// Of which server.
    pub server_id: ServerId,
    /// The tool's own name.
    pub tool: String,
    /// Who calls ([`crate::Principal::id`]).
    pub principal: String,
    /// Whether it is for one call.
    pub mode: ApprovalMode,
    /// Digest of what it is about: caller, server, tool with its definition, and of one call the arguments.
    pub binding: String,
    /// The arguments of the call that asked, for whoever decides: JSON text.
    pub arguments: String,
    /// How far it is.
    pub state: CallApprovalState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ends; one for good does not.
    pub expires_at: Option<Timestamp>,
    /// When somebody decided.
    pub decided_at: Option<Timestamp>,
    /// Who.
    pub decided_by: Option<String>,
    /// When the call was made.
    pub used_at: Option<Timestamp>,
}
