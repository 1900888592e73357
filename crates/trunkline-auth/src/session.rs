//! Sealed session ids (design §6): `Mcp-Session-Id` is a token that any replica opens. It is bound to the principal and
//! to the route it was given on, so that a stolen or replayed id is an unknown one (S21), which is answered 404.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use trunkline_model::{Principal, Secret, SessionKey};

use crate::keys::SealingKey;

/// What a session id carries. 32 bytes, so the id is about 80 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    /// The random heart: what is kept for the session hangs on it.
    pub key: SessionKey,
    /// Index of the negotiated revision in the gateway's list; opaque here.
    pub revision: u8,
    /// Client capabilities, one bit each; opaque here.
    pub capabilities: u16,
    /// When it ends, whatever happens.
    pub expires_at: Timestamp,
}

/// Why a session id is not accepted. The client sees 404 in every case and starts a new session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Not ours, another principal's, another route's, or damaged: these cannot be told apart.
    #[error("unknown session")]
    Unknown,
    /// Its time is over.
    #[error("the session has expired")]
    Expired,
}

/// Seals and opens session ids.
pub struct SessionSealer {
    key: SealingKey,
}

const VERSION: u8 = 1;

impl SessionSealer {
    /// A sealer under a key derived from `root`; every replica with the same root opens the same ids.
    pub fn derive(root: &Secret) -> Self {
        Self {
            key: SealingKey::derive(root, "mcp session id"),
        }
    }

    /// The session id for `claims`, bound to `principal` and `route` (the path's server selection).
    pub fn seal(&self, claims: &SessionClaims, principal: &Principal, route: &str) -> String {
        let mut body = [0; 28];
        body[0] = VERSION;
        body[1] = claims.revision;
        body[2..4].copy_from_slice(&claims.capabilities.to_be_bytes());
        body[4..12].copy_from_slice(&claims.expires_at.as_second().to_be_bytes());
        body[12..28].copy_from_slice(&claims.key.0);
        URL_SAFE_NO_PAD.encode(self.key.seal(&aad(principal, route), &body))
    }

    /// Opens a session id given by `principal` on `route`.
    pub fn open(
        &self,
        id: &str,
        principal: &Principal,
        route: &str,
        now: Timestamp,
    ) -> Result<SessionClaims, SessionError> {
        let sealed = URL_SAFE_NO_PAD.decode(id).map_err(|_| SessionError::Unknown)?;
        let body = self
            .key
            .open(&aad(principal, route), &sealed)
            .map_err(|_| SessionError::Unknown)?;
        let body: [u8; 28] = body.try_into().map_err(|_| SessionError::Unknown)?;
        let [
            version,
            revision,
            c0,
            c1,
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
            key @ ..,
        ] = body;
        if version != VERSION {
            return Err(SessionError::Unknown);
        }
        let expires_at = Timestamp::from_second(i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]))
            .map_err(|_| SessionError::Unknown)?;
        if expires_at <= now {
            return Err(SessionError::Expired);
        }
        Ok(SessionClaims {
            key: SessionKey(key),
            revision,
            capabilities: u16::from_be_bytes([c0, c1]),
            expires_at,
        })
    }
}

/// Principal and route, each with its length in front so that no two pairs give the same bytes.
fn aad(principal: &Principal, route: &str) -> Vec<u8> {
    let mut aad = Vec::with_capacity(8 + principal.id().len() + route.len());
    aad.extend_from_slice(&(principal.id().len() as u64).to_be_bytes());
    aad.extend_from_slice(principal.id().as_bytes());
    aad.extend_from_slice(route.as_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claims(expires: i64) -> SessionClaims {
        SessionClaims {
            key: SessionKey([7; 16]),
            revision: 2,
            capabilities: 0b101,
            expires_at: Timestamp::from_second(expires).unwrap(),
        }
    }

    #[test]
    fn s21_only_its_principal_and_route_and_time() {
        let sealer = SessionSealer::derive(&Secret::new("root"));
        let principal = Principal::from_master_key();
        let now = Timestamp::from_second(100).unwrap();
        let id = sealer.seal(&claims(200), &principal, "/mcp");
        assert!(
            id.bytes().all(|b| (0x21..=0x7e).contains(&b)),
            "visible ASCII, as the specification asks"
        );
        assert_eq!(sealer.open(&id, &principal, "/mcp", now), Ok(claims(200)));
        assert_eq!(
            sealer.open(&id, &principal, "/github/mcp", now),
            Err(SessionError::Unknown)
        );
        let later = Timestamp::from_second(200).unwrap();
        assert_eq!(
            sealer.open(&id, &principal, "/mcp", later),
            Err(SessionError::Expired)
        );
        let other = SessionSealer::derive(&Secret::new("other"));
        assert_eq!(
            other.open(&id, &principal, "/mcp", now),
            Err(SessionError::Unknown)
        );
        for cut in 0..id.len() {
            assert_eq!(
                sealer.open(&id[..cut], &principal, "/mcp", now),
                Err(SessionError::Unknown)
            );
        }
    }

    proptest! {
        #[test]
        fn s21_no_other_text_is_a_session(garbage in "[ -~]{0,120}", at in 0usize..200, bit in 0u8..7) {
            let sealer = SessionSealer::derive(&Secret::new("root"));
            let principal = Principal::from_master_key();
            let now = Timestamp::from_second(100).unwrap();
            prop_assert_eq!(sealer.open(&garbage, &principal, "/mcp", now), Err(SessionError::Unknown));
            // One bit of a good one.
            let id = sealer.seal(&claims(200), &principal, "/mcp");
            let mut bytes = id.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert_eq!(sealer.open(&changed, &principal, "/mcp", now), Err(SessionError::Unknown));
            }
            prop_assert_eq!(sealer.open(&id, &principal, "/mcp", now), Ok(claims(200)));
        }
    }
}
