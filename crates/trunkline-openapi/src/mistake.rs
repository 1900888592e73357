//! What is wrong with a document, and where.

/// A mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", place(.at))]
pub struct Mistake {
    /// JSON pointer.
    pub at: String,
    /// What, for people.
    pub what: String,
}

impl Mistake {
    pub(crate) fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
        }
    }
}

fn place(at: &str) -> String {
    if at.is_empty() {
        String::new()
    } else {
        format!(" (at #{at})")
    }
}

/// The pointer to a member.
pub(crate) fn join(at: &str, key: &str) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    format!("{at}/{key}")
}
