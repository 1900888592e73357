//! Identifiers. Newtypes, so that a session key never stands where a server id should.

use std::fmt;
use std::sync::Arc;

/// The stable id of a registered MCP server.
///
/// Chosen by the caller, random for servers made through the API, derived from the *name alone* for servers of the
/// configuration file, so that editing a URL never orphans a grant. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(Arc<str>);

impl ServerId {
    /// Takes the text as it is.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, for whoever keeps it as well.
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerId({})", self.0)
    }
}

/// The random heart of a sealed session id: 128 bits that name what is kept for a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub [u8; 16]);

impl SessionKey {
    /// Lower-case hexadecimal, as stored in the database.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// The inverse of [`SessionKey::to_hex`]; `None` if the text is not 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

/// A running gateway among those that share a database. New at every start, so that what a former process held is not
/// looked for in the one that took its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub [u8; 16]);

impl ReplicaId {
    /// Lower-case hexadecimal, as stored in the database.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// The inverse of [`ReplicaId::to_hex`]; `None` if the text is not 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaId({})", self.to_hex())
    }
}

/// The inverse of [`hex`] for 16 bytes.
fn unhex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Every record has a session in it, so this is not done by way of the formatter.
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first half is enough to correlate log lines; the whole would help to forge nothing, but is nobody's business.
        write!(f, "SessionKey({}…)", &self.to_hex()[..8])
    }
}

/// The id of one client request, in every log line and record of it (`x-litellm-call-id` on the wire).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Takes the text as it is.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, for whoever keeps it as well.
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_key_hex_round_trip() {
        let key = SessionKey([0, 1, 2, 3, 250, 251, 252, 253, 254, 255, 16, 32, 64, 128, 9, 10]);
        assert_eq!(SessionKey::from_hex(&key.to_hex()), Some(key));
        assert_eq!(SessionKey::from_hex("zz"), None);
        assert_eq!(SessionKey::from_hex(&"é".repeat(16)), None);
    }
}
