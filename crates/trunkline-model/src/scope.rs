//! Which servers a request is about. A scope only narrows what the principal may use; it never grants.

use crate::ServerId;

/// The servers a request selected by path or by `x-mcp-servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// No selection: everything the principal may use.
    All,
    /// Exactly these, in the order of the registry; may be empty (a present but empty `x-mcp-servers`).
    Servers {
        /// The selection.
        ids: Vec<ServerId>,
        /// Whether the path named exactly one server, so that `prefix: never` applies.
        single: bool,
    },
}

impl Scope {
    /// Whether the server is selected.
    pub fn contains(&self, id: &ServerId) -> bool {
        match self {
            Self::All => true,
            Self::Servers { ids, .. } => ids.contains(id),
        }
    }

    /// The one server that the path named, if it named exactly one.
    pub fn single(&self) -> Option<&ServerId> {
        match self {
            Self::Servers { ids, single: true } => ids.first(),
            _ => None,
        }
    }
}
