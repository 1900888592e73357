//! Which servers a request is about. A scope only narrows what the principal may use; it never grants.

use std::sync::Arc;

use crate::{ServerId, Toolset};

/// The servers, or the tools of a toolset, that a request selected by path or by `x-mcp-servers`.
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
    /// The tools of a toolset, and nothing else of their servers.
    Toolset {
        /// The servers that tools are in it of, in the order of the registry; may be empty.
        ids: Vec<ServerId>,
        /// The toolset as it was when the request came.
        toolset: Arc<Toolset>,
    },
}

impl Scope {
    /// Selects nothing.
    pub fn nothing() -> Self {
        Self::Servers {
            ids: Vec::new(),
            single: false,
        }
    }

    /// Whether the server is selected.
    pub fn contains(&self, id: &ServerId) -> bool {
        match self {
            Self::All => true,
            Self::Servers { ids, .. } | Self::Toolset { ids, .. } => ids.contains(id),
        }
    }

    /// The toolset that nothing else is selected but.
    pub fn toolset(&self) -> Option<&Arc<Toolset>> {
        match self {
            Self::Toolset { toolset, .. } => Some(toolset),
            Self::All | Self::Servers { .. } => None,
        }
    }

    /// The selection as text: equal for equal selections.
    pub fn key(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Servers { ids, single } => {
                let ids: Vec<&str> = ids.iter().map(ServerId::as_str).collect();
                // An id has no line end in it.
                format!("{single}\n{}", ids.join("\n"))
            }
            Self::Toolset { ids, toolset } => {
                let ids: Vec<&str> = ids.iter().map(ServerId::as_str).collect();
                format!("toolset {:?}\n{}", toolset.id, ids.join("\n"))
            }
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
