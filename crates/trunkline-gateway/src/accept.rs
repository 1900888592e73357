//! Accept: what must be right about a request before anybody asks who sent it.
//!
//! Host and Origin are checked on every route and transport (S25, S06): a browser page that re-binds its name to this
//! address must not reach the gateway, with or without a key.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use axum::http::{StatusCode, Uri, uri::Authority};
use axum::response::Response;
use http_body_util::BodyExt as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;
use trunkline_model::{ClientAddress, RequestId};

use crate::client_address::ClientAddresses;
use crate::mcp::sse::Endpoint;
use crate::peers::hop::Arrival;
use crate::scope::PathSelection;
use crate::{answer, mcp};

/// Rules of the edge.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    /// Names that may stand in `Host`, without port. Empty: any, unless [`Edge::loopback`].
    pub allowed_hosts: Vec<String>,
    /// Origins besides the request's own that browsers may send.
    pub allowed_origins: Vec<String>,
    /// Bound to loopback only: `Host` must be a loopback name, whatever the list says.
    pub loopback: bool,
    /// Largest request body, bytes.
    pub max_body_bytes: usize,
    /// Before every path, as clients see it: `SERVER_ROOT_PATH`. Empty, or `/path`.
    pub root: String,
    /// How it is found out where clients are.
    pub clients: ClientAddresses,
}

/// What is known of a request before anybody asks who sent it.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Its id.
    pub request_id: RequestId,
    /// Where it came from.
    pub client: ClientAddress,
}

const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What orchestrators ask, from addresses of their own: anybody may see it.
const PROBES: [&str; 2] = ["/health/liveliness", "/health/readiness"];

/// Why a request does not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// No `Host`, more than one, or not a host and port.
    #[error("the Host header is missing or malformed")]
    BadHost,
    /// `Host` is not one of ours: DNS rebinding, or a proxy that keeps the client's name.
    #[error("this Host is not allowed; add it to general_settings.allowed_hosts")]
    HostNotAllowed,
    /// `Origin` is not one of ours.
    #[error("this Origin is not allowed; add it to general_settings.allowed_origins")]
    OriginNotAllowed,
    /// The client is none of `allowed_ips`, or nobody knows where it is.
    #[error(
        "Access forbidden: this client's IP address is not allowed; general_settings.allowed_ips says which are"
    )]
    AddressNotAllowed,
}

impl EdgeError {
    fn status(self) -> StatusCode {
        match self {
            Self::BadHost => StatusCode::BAD_REQUEST,
            Self::HostNotAllowed => StatusCode::MISDIRECTED_REQUEST,
            Self::OriginNotAllowed | Self::AddressNotAllowed => StatusCode::FORBIDDEN,
        }
    }
}

impl Edge {
    /// Checks `Host` (or the target's authority) and `Origin`.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), EdgeError> {
        let host = host(uri, headers)?;
        let name = host.host();
        let listed = self
            .allowed_hosts
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name));
        let local = LOOPBACK_HOSTS.iter().any(|own| own.eq_ignore_ascii_case(name));
        let allowed = listed
            || if self.loopback {
                local
            } else {
                self.allowed_hosts.is_empty() || local
            };
        if !allowed {
            return Err(EdgeError::HostNotAllowed);
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(()),
            (Some(origin), None) if self.origin_allowed(origin, &host) => Ok(()),
            _ => Err(EdgeError::OriginNotAllowed),
        }
    }

    /// The request's own origin, or a listed one. `null` is none of them.
    fn origin_allowed(&self, origin: &HeaderValue, host: &Authority) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        if self
            .allowed_origins
            .iter()
            .any(|own| own.trim_end_matches('/').eq_ignore_ascii_case(origin))
        {
            return true;
        }
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
    }
}

/// The one host that a request names. Anything odd in it is refused rather than interpreted.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Authority, EdgeError> {
    let mut values = headers.get_all(HOST).iter();
    let from_header = match (values.next(), values.next()) {
        (Some(value), None) => Some(value.to_str().map_err(|_| EdgeError::BadHost)?),
        (None, _) => None,
        _ => return Err(EdgeError::BadHost),
    };
    let from_target = uri.authority().map(Authority::as_str);
    let text = match (from_header, from_target) {
        (Some(header), Some(target)) if !header.eq_ignore_ascii_case(target) => {
            return Err(EdgeError::BadHost);
        }
        (Some(text), _) | (None, Some(text)) => text,
        (None, None) => return Err(EdgeError::BadHost),
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_');
    if text.is_empty() || !text.bytes().all(legal) {
        return Err(EdgeError::BadHost);
    }
    let host: Authority = text.parse().map_err(|_| EdgeError::BadHost)?;
    // The parser takes `[::1]a` for the host `[::1]`.
    let port = text.strip_prefix(host.host()).ok_or(EdgeError::BadHost)?;
    let legal = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    if legal { Ok(host) } else { Err(EdgeError::BadHost) }
}

/// The front door: every request to every route. The edge's rules in, the security headers and the request's id out.
///
/// MCP endpoints are answered here, `others` (REST, management, health) by the router: an MCP request is what the
/// gateway is for, and the router's layers cost more than finding one of four path shapes. `peer`: whose connection it came over.
#[expect(clippy::manual_async_fn, reason = "that would hold the request twice")]
pub fn serve<'a>(
    gateway: &'a Arc<crate::Gateway>,
    others: &'a Router,
    mut request: Request,
    peer: IpAddr,
) -> impl Future<Output = Response> + Send + 'a {
    async move {
        let id = request_id(request.headers(), gateway);
        let arrival = gateway.peers.arrival(&mut request, gateway.clock.now());
        let (checked, client) = match arrival {
            // The replica that handed it on has looked at them: the sealed hop shows it.
            Arrival::Peer(client) => (Ok(()), client),
            Arrival::Answered(_) => (Ok(()), ClientAddress::default()),
            Arrival::Client => {
                let edge = gateway.edge.load();
                let client = edge.clients.of(peer, request.headers());
                let is_admitted = edge.clients.admits(client) || PROBES.contains(&request.uri().path());
                let checked = edge.check(request.uri(), request.headers());
                let admitted = is_admitted.then_some(()).ok_or(EdgeError::AddressNotAllowed);
                (checked.and(admitted), client)
            }
        };
        let mut response = match checked {
            Ok(()) if let Arrival::Answered(response) = arrival => response,
            Ok(()) => {
                let arrived = Arrived {
                    request_id: RequestId::new(id.as_str()),
                    client,
                };
                let path = request.uri().path();
                if let Some(endpoint) = Endpoint::of_path(path) {
                    // Boxed: a transport of the past, and every request would carry room for it.
                    Box::pin(mcp::sse::handle(gateway.clone(), endpoint, arrived, request)).await
                } else if let Some(path) = PathSelection::of_path(path) {
                    mcp::handle(gateway.clone(), path, arrived, request).await
                } else {
                    // For the management API, which knows nothing of this crate.
                    request.extensions_mut().insert(arrived.request_id.clone());
                    request.extensions_mut().insert(arrived.client);
                    request.extensions_mut().insert(arrived);
                    let Ok(response) = others.clone().oneshot(request).await;
                    response
                }
            }
            Err(error) => {
                tracing::warn!(request_id = %id, %error, "request refused at the edge");
                answer::detail(error.status(), &error.to_string())
            }
        };
        let headers = response.headers_mut();
        headers.insert(
            axum::http::header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(
            axum::http::header::X_FRAME_OPTIONS,
            HeaderValue::from_static("DENY"),
        );
        headers.insert(
            axum::http::header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        );
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(id)) {
            headers.insert(HeaderName::from_static("x-litellm-call-id"), value);
        }
        response
    }
}

/// The client's `x-litellm-call-id`, if it is short and plain, else a new one.
fn request_id(headers: &HeaderMap, gateway: &crate::Gateway) -> String {
    headers
        .get("x-litellm-call-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= 256 && id.bytes().all(|b| b.is_ascii_graphic()))
        .map_or_else(|| (gateway.new_id)(), ToOwned::to_owned)
}

/// Time for a whole body to arrive: whoever holds a key must not hold connections for nothing (S38).
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More than `general_settings.max_body_bytes`.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    Timeout,
    /// The connection or its encoding broke.
    #[error("the body broke off")]
    Broken,
}

impl BodyError {
    /// HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    /// The word of REST errors.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "request_too_large",
            Self::Timeout => "request_timeout",
            Self::Broken => "invalid_request",
        }
    }
}

/// The whole body, of at most `limit` bytes.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let read = http_body_util::Limited::new(body, limit).collect();
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(BodyError::TooLarge { limit })
        }
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::Timeout),
    }
}

/// Takes `SERVER_ROOT_PATH` off a request's path (B18). Paths outside of it stay as they are.
pub fn strip_root(uri: &Uri, root: &str) -> Option<Uri> {
    let root = root.trim_end_matches('/');
    let rest = uri.path().strip_prefix(root).filter(|_| !root.is_empty())?;
    if !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let mut target = if rest.is_empty() {
        "/".to_owned()
    } else {
        rest.to_owned()
    };
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    target.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(edge: &Edge, target: &str, pairs: &[(HeaderName, &str)]) -> Result<(), EdgeError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        edge.check(&target.parse().unwrap(), &headers)
    }

    #[test]
    fn s25_host_and_origin() {
        let local = Edge {
            loopback: true,
            ..Edge::default()
        };
        for host in ["localhost:4000", "127.0.0.1", "[::1]:4000", "LOCALHOST"] {
            assert_eq!(check(&local, "/mcp", &[(HOST, host)]), Ok(()), "{host}");
        }
        assert_eq!(
            check(&local, "/mcp", &[(HOST, "evil.example.com")]),
            Err(EdgeError::HostNotAllowed)
        );
        let own = [(HOST, "127.0.0.1:4000"), (ORIGIN, "http://127.0.0.1:4000")];
        assert_eq!(check(&local, "/mcp", &own), Ok(()));
        for origin in [
            "http://evil.example.com",
            "null",
            "http://127.0.0.1:4001",
            "file://127.0.0.1:4000",
            "",
        ] {
            let pairs = [(HOST, "127.0.0.1:4000"), (ORIGIN, origin)];
            assert_eq!(
                check(&local, "/mcp", &pairs),
                Err(EdgeError::OriginNotAllowed),
                "{origin}"
            );
        }
        let two = [
            (HOST, "localhost"),
            (ORIGIN, "http://localhost"),
            (ORIGIN, "http://evil.example.com"),
        ];
        assert_eq!(check(&local, "/mcp", &two), Err(EdgeError::OriginNotAllowed));
        let open = Edge::default();
        assert_eq!(check(&open, "/mcp", &[(HOST, "gateway.example.com")]), Ok(()));
        let listed = Edge {
            allowed_hosts: vec!["gw.example.com".into()],
            ..Edge::default()
        };
        assert_eq!(check(&listed, "/mcp", &[(HOST, "GW.example.com:443")]), Ok(()));
        assert_eq!(
            check(&listed, "/mcp", &[(HOST, "other.example.com")]),
            Err(EdgeError::HostNotAllowed)
        );
    }

    #[test]
    fn s06_odd_hosts_are_refused() {
        let edge = Edge::default();
        for host in ["", "a/b", "a#b", "a?b", "a@b", "a b", "a\\b", "a,b", "exämple"] {
            assert_eq!(
                check(&edge, "/mcp", &[(HOST, host)]),
                Err(EdgeError::BadHost),
                "{host:?}"
            );
        }
        assert_eq!(check(&edge, "/mcp", &[]), Err(EdgeError::BadHost));
        assert_eq!(
            check(&edge, "/mcp", &[(HOST, "a"), (HOST, "a")]),
            Err(EdgeError::BadHost)
        );
        assert_eq!(
            check(&edge, "http://other/mcp", &[(HOST, "a")]),
            Err(EdgeError::BadHost)
        );
    }

    #[test]
    fn b18_root_path() {
        let strip = |path: &str| strip_root(&path.parse().unwrap(), "/llm").map(|uri| uri.to_string());
        assert_eq!(strip("/llm/mcp").as_deref(), Some("/mcp"));
        assert_eq!(strip("/llm/github/mcp/?a=1").as_deref(), Some("/github/mcp/?a=1"));
        assert_eq!(strip("/llm").as_deref(), Some("/"));
        assert_eq!(strip("/llmx/mcp"), None);
        assert_eq!(strip("/mcp"), None);
        assert_eq!(strip_root(&"/mcp".parse().unwrap(), ""), None);
    }

    proptest! {
        #[test]
        fn s06_a_host_is_let_in_only_if_it_is_one_of_ours(host in "[ -~]{0,24}|(127\\.0\\.0\\.1|localhost|\\[::1\\])[!-~]{0,8}") {
            let local = Edge { loopback: true, ..Edge::default() };
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(&host).unwrap());
            if local.check(&"/mcp".parse().unwrap(), &headers).is_ok() {
                let ours = |own: &str| {
                    let rest = host.get(..own.len()).filter(|start| start.eq_ignore_ascii_case(own));
                    let port = host.get(own.len()..).unwrap_or_default();
                    let port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
                    rest.is_some() && port
                };
                prop_assert!(LOOPBACK_HOSTS.iter().any(|own| ours(own)), "{host:?}");
            }
        }

        #[test]
        fn s25_an_origin_is_let_in_only_if_it_is_our_own(origin in "(https?://)?(127\\.0\\.0\\.1:4000)?[!-~]{0,12}") {
            let local = Edge { loopback: true, ..Edge::default() };
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:4000"));
            headers.insert(ORIGIN, HeaderValue::from_str(&origin).unwrap());
            let own = ["http://127.0.0.1:4000", "https://127.0.0.1:4000"].contains(&&*origin);
            prop_assert_eq!(local.check(&"/mcp".parse().unwrap(), &headers).is_ok(), own, "{:?}", origin);
        }
    }
}
