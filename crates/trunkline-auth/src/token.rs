//! Sealed tokens: state that clients hold for the gateway and give back (design §6, tenet 5). Any replica opens them;
//! nobody else can read, change or make them, and each is good for one purpose and one context.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use trunkline_model::Secret;

use crate::keys::{self, MacKey, SealingKey};

/// Seals and opens the tokens of one purpose.
pub struct TokenSealer {
    key: SealingKey,
    key_id: String,
}

impl TokenSealer {
    /// A sealer under a key derived from `root` for `purpose`.
    pub fn derive(root: &Secret, purpose: &str) -> Self {
        Self {
            key: SealingKey::derive(root, purpose),
            key_id: keys::key_id(root),
        }
    }

    /// The public name of the key: tokens of another one were sealed by somebody else.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The token for `body`, good where the same `context` is given again: whose it is, what for. URL-safe text.
    pub fn seal(&self, context: &[&str], body: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.key.seal(&aad(context), body))
    }

    /// What was sealed, if the token was made for this context.
    pub fn open(&self, context: &[&str], token: &str) -> Option<Vec<u8>> {
        let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
        self.key.open(&aad(context), &sealed).ok()
    }
}

/// Seals and opens names of things that clients compare: the same body in the same context gives the same text, every time
/// and on every replica. That two are the same is all that the text shows.
pub struct HandleSealer {
    key: SealingKey,
    nonces: MacKey,
}

impl HandleSealer {
    /// A sealer under keys derived from `root` for `purpose`.
    pub fn derive(root: &Secret, purpose: &str) -> Self {
        Self {
            key: SealingKey::derive(root, purpose),
            nonces: MacKey::derive(root, &format!("{purpose} nonce")),
        }
    }

    /// The handle of `body`, good where the same `context` is given again. URL-safe text.
    pub fn seal(&self, context: &[&str], body: &[u8]) -> String {
        let aad = aad(context);
        let mac = self.nonces.mac(&[&aad, body]);
        URL_SAFE_NO_PAD.encode(self.key.seal_same(mac, &aad, body))
    }

    /// What was sealed, if the handle was made for this context.
    pub fn open(&self, context: &[&str], handle: &str) -> Option<Vec<u8>> {
        let sealed = URL_SAFE_NO_PAD.decode(handle).ok()?;
        self.key.open(&aad(context), &sealed).ok()
    }
}

/// Every part with its length in front, so that no two contexts give the same bytes.
fn aad(context: &[&str]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(context.iter().map(|part| part.len() + 8).sum());
    for part in context {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn s22_a_token_is_good_in_its_own_context_only(
            body in proptest::collection::vec(any::<u8>(), 0..80),
            context in proptest::collection::vec(".{0,6}", 0..4),
            other in proptest::collection::vec(".{0,6}", 0..4),
            garbage in "[ -~]{0,80}",
        ) {
            let sealer = TokenSealer::derive(&Secret::new("root"), "one");
            let own: Vec<&str> = context.iter().map(String::as_str).collect();
            let others: Vec<&str> = other.iter().map(String::as_str).collect();
            let token = sealer.seal(&own, &body);
            prop_assert_eq!(sealer.open(&own, &token), Some(body));
            if own != others {
                prop_assert_eq!(sealer.open(&others, &token), None);
            }
            prop_assert_eq!(TokenSealer::derive(&Secret::new("root"), "two").open(&own, &token), None);
            prop_assert_eq!(sealer.open(&own, &garbage), None);
        }

        #[test]
        fn s22_a_handle_is_the_same_every_time_and_good_in_its_own_context_only(
            body in proptest::collection::vec(any::<u8>(), 0..80),
            other_body in proptest::collection::vec(any::<u8>(), 0..80),
            owner in ".{0,6}",
            other in ".{0,6}",
            garbage in "[ -~]{0,80}",
        ) {
            let root = Secret::new("root");
            let sealer = HandleSealer::derive(&root, "one");
            let handle = sealer.seal(&[&owner], &body);
            prop_assert_eq!(&HandleSealer::derive(&root, "one").seal(&[&owner], &body), &handle);
            prop_assert_eq!(sealer.open(&[&owner], &handle), Some(body.clone()));
            if other_body != body {
                prop_assert_ne!(&sealer.seal(&[&owner], &other_body)[..16], &handle[..16]);
            }
            if other != owner {
                prop_assert_ne!(&sealer.seal(&[&other], &body)[..16], &handle[..16]);
                prop_assert_eq!(sealer.open(&[&other], &handle), None);
            }
            prop_assert_eq!(HandleSealer::derive(&root, "two").open(&[&owner], &handle), None);
            prop_assert_eq!(sealer.open(&[&owner], &garbage), None);
        }
    }
}
