//! Secrets at rest: AES-256-GCM, bound to the place they are stored in, so that a value copied to another row or column
//! does not open there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use trunkline_model::Secret;

use crate::keys::{MacKey, SealingKey, key_id};

/// Seals and opens secrets of the database. The key is not in the database.
pub struct Vault {
    key: SealingKey,
    mac: MacKey,
    key_id: String,
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Sealed under another key.
    #[error(
        "the value was sealed under key {sealed_with}, the gateway has key {have}: start it with the LITELLM_SALT_KEY (or, without one, the master key) that was set when the value was stored, or store the value again"
    )]
    OtherKey {
        /// Public id of the key it was sealed under.
        sealed_with: String,
        /// Public id of the key at hand.
        have: String,
    },
    /// Not written by this gateway, or damaged.
    #[error("the stored value is damaged: store it again")]
    Damaged,
}

const PREFIX: &str = "tl1";

impl Vault {
    /// A vault under a key derived from `root`: `LITELLM_SALT_KEY`, or the master key without one (as LiteLLM does).
    pub fn derive(root: &Secret) -> Self {
        Self {
            key: SealingKey::derive(root, "vault"),
            mac: MacKey::derive(root, "fingerprint"),
            key_id: key_id(root),
        }
    }

    /// Seals `plaintext` for `context` (`table|id|column`). The result is text: `tl1:<key id>:<base64url>`.
    pub fn seal(&self, context: &str, plaintext: &str) -> String {
        let sealed = self.key.seal(context.as_bytes(), plaintext.as_bytes());
        format!("{PREFIX}:{}:{}", self.key_id, URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens what [`Vault::seal`] made for the same `context`.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Secret, VaultError> {
        let mut parts = sealed.splitn(3, ':');
        let (Some(PREFIX), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VaultError::Damaged);
        };
        if id != self.key_id {
            return Err(VaultError::OtherKey {
                sealed_with: printable(id),
                have: self.key_id.clone(),
            });
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| VaultError::Damaged)?;
        let plain = self
            .key
            .open(context.as_bytes(), &bytes)
            .map_err(|_| VaultError::Damaged)?;
        String::from_utf8(plain)
            .map(Secret::new)
            .map_err(|_| VaultError::Damaged)
    }

    /// A name for `parts` that tells nothing about them to whoever lacks the key: equal parts, equal fingerprint. Used
    /// where credentials must be compared or used as a key, in memory and in the database.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> [u8; 16] {
        self.mac.mac(parts)
    }

    /// The public name of the key.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
}

/// A key id from the database, made safe for a log line.
fn printable(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_bound_to_its_place() {
        let vault = Vault::derive(&Secret::new("root"));
        let sealed = vault.seal("mcp_server|a|credentials", "canary");
        assert!(!sealed.contains("canary"));
        assert_eq!(
            vault.open("mcp_server|a|credentials", &sealed).unwrap().expose(),
            "canary"
        );
        assert_eq!(
            vault.open("mcp_server|b|credentials", &sealed),
            Err(VaultError::Damaged)
        );
        assert_ne!(
            sealed,
            vault.seal("mcp_server|a|credentials", "canary"),
            "nonces are random"
        );
    }

    #[test]
    fn another_key_is_named() {
        let sealed = Vault::derive(&Secret::new("one")).seal("c", "v");
        let error = Vault::derive(&Secret::new("two")).open("c", &sealed).unwrap_err();
        assert!(matches!(error, VaultError::OtherKey { .. }));
        assert!(error.to_string().contains("LITELLM_SALT_KEY"));
        assert_eq!(
            Vault::derive(&Secret::new("one")).open("c", "garbage"),
            Err(VaultError::Damaged)
        );
    }
}
