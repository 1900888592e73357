//! What of a request was the gateway's own credential: it never goes upstream (S15, B51).

use aws_lc_rs::digest::{SHA256, digest as hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The proof of a request, remembered as a digest.
#[derive(Debug, Clone)]
pub struct Admission {
    header: HeaderName,
    credential: [u8; 32],
}

impl Admission {
    pub(crate) fn new(header: HeaderName, credential: [u8; 32]) -> Self {
        Self { header, credential }
    }

    /// Whether a client header may be copied to an upstream. Never: the header that carried the gateway's credential,
    /// the same credential in any other header, connection-level headers, cookies, and the protocol's own headers.
    pub fn may_forward(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        if *name == self.header || is_reserved(name) {
            return false;
        }
        !self.is_in(value.as_bytes())
    }

    /// Whether a text has the gateway's credential in it, in whatever form: such a text never goes upstream.
    pub fn carries(&self, text: &[u8]) -> bool {
        self.is_in(text)
    }

    /// Whether the credential is the value, or a word of it under whatever scheme or quoting, or in a Basic pair.
    fn is_in(&self, value: &[u8]) -> bool {
        let is_ours = |bytes: &[u8]| digest(bytes) == self.credential;
        let words = |bytes: &[u8]| {
            bytes
                .split(|b| b.is_ascii_whitespace() || b",;:=\"'".contains(b))
                .any(is_ours)
        };
        let in_basic = || {
            let encoded = value.split(u8::is_ascii_whitespace).next_back().unwrap_or(value);
            STANDARD
                .decode(encoded)
                .is_ok_and(|pair| is_ours(&pair) || words(&pair))
        };
        is_ours(value) || strip_bearer(value).is_some_and(is_ours) || words(value) || in_basic()
    }

    /// The client's headers that may be copied to an upstream if a rule names them.
    pub fn forwardable(&self, headers: &HeaderMap) -> HeaderMap {
        headers
            .iter()
            .filter(|(name, value)| self.may_forward(name, value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// Headers that belong to a connection, to the transport, or to the gateway: never copied, whatever a rule says.
pub fn is_reserved(name: &HeaderName) -> bool {
    const OURS: [&str; 12] = [
        "keep-alive",
        "proxy-connection",
        "x-litellm-api-key",
        "x-real-ip",
        "forwarded",
        "cookie2",
        "http2-settings",
        "last-event-id",
        "mcp-session-id",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
    ];
    [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
        header::COOKIE,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
    ]
    .contains(name)
        || OURS.contains(&name.as_str())
        || name.as_str().starts_with("x-forwarded-")
        // They repeat arguments, and are made of them (2026-07-28, "Custom Headers from Tool Parameters").
        || name.as_str().starts_with("mcp-param-")
}

/// The rest after `Bearer ` (any case); `None` if the value does not begin so, or nothing follows.
pub(crate) fn strip_bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    let rest = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !rest.is_empty()).then_some(rest)
}

pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hash(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s15_the_gateways_key_never_goes_upstream() {
        let admission = Admission::new(header::AUTHORIZATION, digest(b"sk-master"));
        let ok = |name: &'static str, value: &'static str| {
            admission.may_forward(&HeaderName::from_static(name), &HeaderValue::from_static(value))
        };
        assert!(
            !ok("authorization", "Bearer other"),
            "the admission header itself"
        );
        assert!(!ok("x-other", "sk-master"));
        assert!(!ok("x-other", "Bearer sk-master"));
        for disguise in [
            "token sk-master",
            "bearer   sk-master",
            "key=sk-master",
            "key=\"sk-master\", a=b",
            "a=b;sk-master",
            // `user:sk-master`, `sk-master:` and `sk-master`
            "Basic dXNlcjpzay1tYXN0ZXI=",
            "Basic c2stbWFzdGVyOg==",
            "c2stbWFzdGVy",
        ] {
            assert!(!ok("x-other", disguise), "{disguise}");
        }
        assert!(ok("x-other", "Basic dXNlcjpwYXNzd29yZA=="));
        assert!(!ok("cookie", "a=b"));
        assert!(!ok("x-forwarded-for", "1.2.3.4"));
        assert!(!ok("connection", "close"));
        assert!(ok("x-tenant", "blue"));
    }
}
