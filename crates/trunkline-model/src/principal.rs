//! Who is asking. A principal exists only after a proof: there is no `Default`, and nothing returns `Option<Principal>`
//! (S05). Only `trunkline-auth` calls the constructors; `cargo xtask tidy` checks that.

use std::sync::Arc;

/// An authenticated caller. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    kind: PrincipalKind,
    /// A stable name for logs, records and session binding. Never a credential.
    id: Arc<str>,
}

/// How the caller proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// The master key: LiteLLM's `proxy_admin`.
    MasterKey,
}

impl Principal {
    /// The holder of the master key, after a constant-time comparison succeeded.
    pub fn from_master_key() -> Self {
        Self {
            kind: PrincipalKind::MasterKey,
            id: Arc::from("master_key"),
        }
    }

    /// How it was proved.
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// The stable name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it may use the management API.
    pub fn is_proxy_admin(&self) -> bool {
        matches!(self.kind, PrincipalKind::MasterKey)
    }
}
