//! Who is asking. A principal exists only after a proof: there is no `Default`, and nothing returns `Option<Principal>`
//! (S05). Only `trunkline-auth` calls the constructors; `cargo xtask tidy` checks that.

use std::fmt;
use std::sync::Arc;

use crate::VirtualKey;

/// An authenticated caller. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct Principal {
    kind: PrincipalKind,
}

/// How the caller proved who it is.
#[derive(Clone, Debug, PartialEq)]
pub enum PrincipalKind {
    /// The master key: LiteLLM's `proxy_admin`.
    MasterKey,
    /// A virtual key, as it was when the caller was identified: what it may do is in it.
    Key(Arc<VirtualKey>),
}

impl Principal {
    /// The holder of the master key, after a constant-time comparison succeeded.
    pub fn from_master_key() -> Self {
        Self {
            kind: PrincipalKind::MasterKey,
        }
    }

    /// The holder of a virtual key that was found by its digest and is good now.
    pub fn from_key(key: Arc<VirtualKey>) -> Self {
        Self {
            kind: PrincipalKind::Key(key),
        }
    }

    /// How it was proved, and what follows from it.
    pub fn kind(&self) -> &PrincipalKind {
        &self.kind
    }

    /// A stable name for logs, records and session binding. Never a credential: of a key its hash, which no other
    /// principal's name can be.
    pub fn id(&self) -> &str {
        match &self.kind {
            PrincipalKind::MasterKey => "master_key",
            PrincipalKind::Key(key) => &key.id,
        }
    }

    /// The virtual key, if it is one.
    pub fn key(&self) -> Option<&Arc<VirtualKey>> {
        match &self.kind {
            PrincipalKind::MasterKey => None,
            PrincipalKind::Key(key) => Some(key),
        }
    }

    /// Whose it is, if that is known.
    pub fn user_id(&self) -> Option<&str> {
        self.key().and_then(|key| key.user_id.as_deref())
    }

    /// Of which team, if of any.
    pub fn team_id(&self) -> Option<&str> {
        self.key().and_then(|key| key.team_id.as_deref())
    }

    /// Whether it may use the management API.
    pub fn is_proxy_admin(&self) -> bool {
        matches!(self.kind, PrincipalKind::MasterKey)
    }
}

impl fmt::Debug for Principal {
    /// Its name, and not all that is stored about its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({})", self.id())
    }
}
