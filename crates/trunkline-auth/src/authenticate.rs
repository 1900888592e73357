//! Who is asking: the gateway's credential in a request, checked.
//!
//! Order of the headers is LiteLLM's (`x-litellm-api-key` before `Authorization`; more aliases on management routes).
//! The first header *present* decides: a wrong key in it is an error, never a reason to look further.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use trunkline_model::{Principal, Secret};

use crate::admission::{self, Admission};

/// Which set of headers may carry the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// MCP endpoints: vendor aliases are not read, they may be meant for an upstream.
    Mcp,
    /// Everything else.
    Management,
}

/// The proof succeeded.
#[derive(Debug)]
pub struct Authenticated {
    /// Who it is.
    pub principal: Principal,
    /// What of the request's headers was the proof, so that it never goes upstream (S15).
    pub admission: Admission,
}

/// Why a credential is not accepted. Nothing of the credential is in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No header that could carry one.
    #[error("Authentication Error, No api key passed in.")]
    Missing,
    /// `Authorization` without `Bearer `.
    #[error("Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.")]
    Malformed,
    /// Two `Authorization` headers: which one would be checked, which one would count?
    #[error("Multiple Authorization headers are not allowed")]
    Multiple,
    /// No such key.
    #[error("Authentication Error, Invalid API key provided.")]
    Unknown,
}

impl AuthError {
    /// HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Multiple => 400,
            Self::Missing | Self::Malformed | Self::Unknown => 401,
        }
    }

    /// LiteLLM's `error.type`.
    pub fn error_type(self) -> &'static str {
        match self {
            Self::Unknown => "token_not_found_in_db",
            Self::Missing | Self::Malformed | Self::Multiple => "auth_error",
        }
    }
}

/// Checks credentials.
pub struct Authenticator {
    /// SHA-256 of the master key: the key itself is not needed to compare.
    master_key: [u8; 32],
}

static X_LITELLM_API_KEY: HeaderName = HeaderName::from_static("x-litellm-api-key");

/// Aliases of the management surface, in LiteLLM's order, after `x-litellm-api-key` and `Authorization`.
static ALIASES: [HeaderName; 4] = [
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("ocp-apim-subscription-key"),
];

impl Authenticator {
    /// An authenticator that knows the master key.
    pub fn new(master_key: &Secret) -> Self {
        Self {
            master_key: admission::digest(master_key.expose().as_bytes()),
        }
    }

    /// The principal of a request, or why there is none.
    pub fn authenticate(&self, headers: &HeaderMap, surface: Surface) -> Result<Authenticated, AuthError> {
        let (header, credential) = find(headers, surface)?;
        let digest = admission::digest(credential);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&digest[..], &self.master_key[..])) {
            return Err(AuthError::Unknown);
        }
        Ok(Authenticated {
            principal: Principal::from_master_key(),
            admission: Admission::new(header, digest),
        })
    }
}

/// The header that carries the credential, and the credential's bytes.
fn find(headers: &HeaderMap, surface: Surface) -> Result<(HeaderName, &[u8]), AuthError> {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let first = authorization.next();
    if authorization.next().is_some() {
        return Err(AuthError::Multiple);
    }
    if let Some(value) = headers.get(&X_LITELLM_API_KEY) {
        let bytes = value.as_bytes();
        return Ok((
            X_LITELLM_API_KEY.clone(),
            admission::strip_bearer(bytes).unwrap_or(bytes),
        ));
    }
    if let Some(value) = first {
        let credential = admission::strip_bearer(value.as_bytes()).ok_or(AuthError::Malformed)?;
        return Ok((AUTHORIZATION, credential));
    }
    if surface == Surface::Management {
        for name in &ALIASES {
            if let Some(value) = headers.get(name) {
                return Ok((name.clone(), value.as_bytes()));
            }
        }
    }
    Err(AuthError::Missing)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const KEY: &str = "sk-0123456789abcdef0123456789abcdef";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn check(pairs: &[(&'static str, &str)], surface: Surface) -> Result<(), AuthError> {
        Authenticator::new(&Secret::new(KEY))
            .authenticate(&headers(pairs), surface)
            .map(|_| ())
    }

    #[test]
    fn litellm_order_and_forms() {
        let bearer = format!("Bearer {KEY}");
        let lower = format!("bearer {KEY}");
        for surface in [Surface::Mcp, Surface::Management] {
            assert_eq!(check(&[("authorization", &bearer)], surface), Ok(()));
            assert_eq!(check(&[("authorization", &lower)], surface), Ok(()));
            assert_eq!(check(&[("x-litellm-api-key", KEY)], surface), Ok(()));
            assert_eq!(check(&[("x-litellm-api-key", &bearer)], surface), Ok(()));
            assert_eq!(
                check(&[("authorization", KEY)], surface),
                Err(AuthError::Malformed)
            );
            assert_eq!(check(&[], surface), Err(AuthError::Missing));
            // The first header decides: a good key behind a bad one does not help.
            assert_eq!(
                check(
                    &[("x-litellm-api-key", "sk-wrong"), ("authorization", &bearer)],
                    surface
                ),
                Err(AuthError::Unknown)
            );
            assert_eq!(
                check(&[("authorization", &bearer), ("authorization", &bearer)], surface),
                Err(AuthError::Multiple)
            );
        }
        assert_eq!(check(&[("x-api-key", KEY)], Surface::Management), Ok(()));
        assert_eq!(
            check(&[("x-api-key", KEY)], Surface::Mcp),
            Err(AuthError::Missing)
        );
    }

    #[test]
    fn s05_s02_nothing_else_is_a_principal() {
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer sk-",
            "Bearer ' OR 1=1 --",
            "Basic c2s6",
            "Bearer null",
        ] {
            assert!(
                check(&[("authorization", wrong)], Surface::Management).is_err(),
                "{wrong:?}"
            );
        }
        let prefix = format!("Bearer {}", &KEY[..KEY.len() - 1]);
        let longer = format!("Bearer {KEY}x");
        assert_eq!(
            check(&[("authorization", &prefix)], Surface::Mcp),
            Err(AuthError::Unknown)
        );
        assert_eq!(
            check(&[("authorization", &longer)], Surface::Mcp),
            Err(AuthError::Unknown)
        );
    }
}
