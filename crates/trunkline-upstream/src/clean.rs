//! Where hidden text is taken out of what servers say, if the operator wants it so (S30): every message of a server passes
//! here before anything reads it, but for lists, whose definitions are taken one by one ([`crate::catalogue`]). Off by
//! default, and then no byte is looked at.

use trunkline_mcp::hidden;

use crate::entry::Entry;

/// The message without it; `None` if it stays as it is.
pub(crate) fn message(entry: &Entry, body: &[u8]) -> Option<Vec<u8>> {
    if !entry.shared.settings().strip_hidden_text {
        return None;
    }
    let (text, removed) = hidden::strip_message(std::str::from_utf8(body).ok()?)?;
    tracing::info!(server = %entry.prefix, removed = %removed.to_json(), "hidden text was taken out of a message");
    Some(text.into_bytes())
}
