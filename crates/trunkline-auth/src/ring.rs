//! The virtual keys in memory: one immutable map by digest, swapped whole. A request looks into it once, and asks nobody.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use trunkline_model::{KeyHash, KeyMap, Secret, VirtualKey};

use crate::admission;

/// Keys by their digest. A digest of what a stranger sends is not the stranger's choice, so the cheap hash will do.
pub type Keys = KeyMap<KeyHash, Arc<VirtualKey>>;

/// The keys as they are now. Empty until somebody puts them in: what was not read admits nobody.
#[derive(Default)]
pub struct KeyRing(ArcSwap<Keys>);

impl KeyRing {
    /// All of them, at one moment.
    pub fn all(&self) -> Arc<Keys> {
        self.0.load_full()
    }

    /// One of them.
    pub fn get(&self, hash: &KeyHash) -> Option<Arc<VirtualKey>> {
        self.0.load().get(hash).cloned()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Puts others in their place.
    pub fn replace(&self, keys: Keys) {
        self.0.store(Arc::new(keys));
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &self.0.load().len())
            .finish()
    }
}

/// What every virtual key begins with.
pub const KEY_PREFIX: &str = "sk-";

/// A new key, from 128 bits of chance: `sk-` and 22 characters, as LiteLLM makes them.
pub fn new_key() -> Secret {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect("the system's random source works");
    Secret::new(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The digest that a key is stored and found under.
pub fn key_hash(key: &str) -> KeyHash {
    KeyHash(admission::digest(key.as_bytes()))
}

/// What people tell a key by: `sk-...abcd`.
pub fn key_name(key: &Secret) -> String {
    let key = key.expose();
    let shown = key.char_indices().rev().nth(3).map_or("", |(at, _)| &key[at..]);
    format!("{KEY_PREFIX}...{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_litellms() {
        let (one, two) = (new_key(), new_key());
        assert_ne!(one, two);
        assert!(one.expose().starts_with("sk-") && one.expose().len() == 25);
        let key = Secret::new("sk-0123456789abcdef");
        assert_eq!(key_name(&key), "sk-...cdef");
        // printf %s sk-0123456789abcdef | sha256sum
        assert_eq!(
            key_hash(key.expose()).to_hex(),
            "221df437bc4f8c4d9718bd7a9ec4c1021c72fd69dfb2a5f568ecf4607c824bee"
        );
    }
}
