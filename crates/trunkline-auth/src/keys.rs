//! Derived keys: one root secret (`LITELLM_SALT_KEY`, else the master key), one AES-256-GCM key per purpose.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::{hmac, rand};
use trunkline_model::Secret;

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// An AEAD key for one purpose.
pub(crate) struct SealingKey(LessSafeKey);

/// Sealed data that does not open: another key, another context, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOurs;

/// Bytes of `purpose`-specific key material (HKDF-SHA256, RFC 5869).
fn derive<const N: usize>(root: &Secret, purpose: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let prk = Salt::new(HKDF_SHA256, b"trunkline root secret").extract(root.expose().as_bytes());
    let info = [purpose];
    prk.expand(&info, Length(N))
        .and_then(|okm| okm.fill(&mut bytes))
        .expect("HKDF gives up to 255 blocks, we ask for two at most");
    bytes
}

impl SealingKey {
    pub(crate) fn derive(root: &Secret, purpose: &str) -> Self {
        let bytes: [u8; 32] = derive(root, purpose.as_bytes());
        let key = UnboundKey::new(&AES_256_GCM, &bytes).expect("the key has the algorithm's length");
        Self(LessSafeKey::new(key))
    }

    /// Nonce, ciphertext and tag.
    pub(crate) fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("the system's random source works");
        self.seal_with(nonce, aad, plaintext)
    }

    /// The same with a nonce made from `mac`, which must be one of the text and the context: then no nonce is used for two.
    pub(crate) fn seal_same(&self, mac: [u8; 16], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&mac[..NONCE_LEN]);
        self.seal_with(nonce, aad, plaintext)
    }

    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(NONCE_LEN + plaintext.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        let mut text = plaintext.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut text)
            .expect("the plaintext is far below the AEAD's limit");
        sealed.append(&mut text);
        sealed
    }

    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotOurs> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(NotOurs)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOurs)?;
        let mut text = text.to_vec();
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(aad), &mut text)
            .map_err(|_| NotOurs)?;
        let length = plain.len();
        text.truncate(length);
        Ok(text)
    }
}

/// A short public name of the key that `root` gives, so that sealed values say which key they need.
pub(crate) fn key_id(root: &Secret) -> String {
    let bytes: [u8; 4] = derive(root, b"key id");
    trunkline_model::ids::hex(&bytes)
}

/// A key for message authentication codes.
pub(crate) struct MacKey(hmac::Key);

impl MacKey {
    pub(crate) fn derive(root: &Secret, purpose: &str) -> Self {
        let bytes: [u8; 32] = derive(root, purpose.as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    /// The first half of HMAC-SHA256 over the parts, each with its length in front.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 16];
        out.copy_from_slice(&context.sign().as_ref()[..16]);
        out
    }
}
