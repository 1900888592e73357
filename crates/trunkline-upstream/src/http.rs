//! One pooled HTTP client for everything that goes to MCP servers.
//!
//! HTTP/1.1 on purpose: one HTTP/2 connection per origin would make long event streams queue at the server's stream
//! limit. Redirects are followed within the origin only (`/mcp` → `/mcp/`) and remembered, so that a warm call is one
//! request; a redirect elsewhere is an error, because it would carry the credential away (S11).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, LOCATION, PROXY_AUTHORIZATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use trunkline_model::{OutcomeStatus, Server, Step};
use trunkline_tls::Authorities;
use url::{Position, Url};

use crate::connect::{Connector, tls_fault};
use crate::egress::Egress;
use crate::fault::Fault;
use crate::pool::{Pool, RequestError, ResponseBody};
use crate::proxy::{Proxies, Via};
use crate::route::Route;

/// The client.
#[derive(Clone)]
pub struct HttpClient {
    pool: Pool,
}

/// Where requests go, and how: a URL, the same as the client takes it, and the way there.
#[derive(Clone, Debug)]
pub struct Target {
    /// For people and rules.
    pub url: Url,
    /// Scheme, authority and TLS identity.
    key: Arc<str>,
    /// How connections to it are made.
    pub(crate) route: Arc<Route>,
    /// Path and query.
    path: http::Uri,
    host: HeaderValue,
}

impl Target {
    /// A URL that is reached by `route`. Errors if it cannot stand in a request.
    pub fn new(url: Url, route: &Arc<Route>) -> Result<Self, Fault> {
        let unusable = || Fault::misconfigured("the url cannot be used in an HTTP request");
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let key = match route.key() {
            "" => format!("{}://{authority}", url.scheme()),
            identity => format!("{}://{authority}#{identity}", url.scheme()),
        };
        let path = url[Position::BeforePath..Position::AfterQuery]
            .parse()
            .map_err(|_| unusable())?;
        let host = HeaderValue::from_str(authority).map_err(|_| unusable())?;
        Ok(Self {
            key: key.into(),
            route: route.clone(),
            url,
            path,
            host,
        })
    }

    /// What requests must have in common to share a connection.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The host, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.url.host_str().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(80)
    }
}

/// Time for name resolution, proxy, TCP and TLS together, where nothing else is said.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 3;
/// Longest error text that is read of an answer, bytes.
const MAX_ERROR_BODY: usize = 8 * 1024;

impl HttpClient {
    /// A client under `egress` and by way of `proxies`, which believes `authorities` where a server has none of its own.
    pub fn new(
        egress: Egress,
        proxies: Proxies,
        authorities: Arc<Authorities>,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            pool: Pool::new(Connector::new(egress, proxies, authorities, connect_timeout)),
        }
    }

    /// Closes connections that nobody used for a while; called every minute.
    pub fn reap(&self) {
        self.pool.reap();
    }

    /// What makes its connections.
    pub(crate) fn connector(&self) -> &Connector {
        self.pool.connector()
    }

    /// Sends one request. On a redirect within the origin the new target is returned with the answer. `headers` makes
    /// those of one attempt.
    pub fn send<'a>(
        &'a self,
        method: &'a Method,
        target: &'a Target,
        headers: impl Fn() -> HeaderMap + Send + 'a,
        body: Bytes,
        step: Step,
    ) -> impl Future<Output = Result<(Response<ResponseBody>, Option<Target>), Fault>> + Send + 'a {
        // MCP's messages are posted anew wherever they lead; a request of another method that changes something is not.
        let follows = &|status| matches!(status, 301 | 302 | 307 | 308);
        self.send_following(method, target, headers, body, (step, follows))
    }

    /// The same with a say in which redirects are followed.
    pub(crate) async fn send_following(
        &self,
        method: &Method,
        target: &Target,
        headers: impl Fn() -> HeaderMap,
        body: Bytes,
        (step, follows): (Step, &(dyn Fn(u16) -> bool + Sync)),
    ) -> Result<(Response<ResponseBody>, Option<Target>), Fault> {
        // Boxed: it is not there most of the time.
        let mut moved: Option<Box<Target>> = None;
        for _ in 0..=MAX_REDIRECTS {
            let target = moved.as_deref().unwrap_or(target);
            let request = self.request(method, target, headers(), body.clone())?;
            let answered = self.pool.send(target, request).await;
            let response = self.answered(answered, target, step)?;
            if !follows(response.status().as_u16()) {
                return Ok((response, moved.map(|moved| *moved)));
            }
            let to = redirect_target(&target.url, &response, step)?;
            moved = Some(Box::new(Target::new(to, &target.route)?));
        }
        Err(Fault::protocol(
            step,
            format!("the server redirects more than {MAX_REDIRECTS} times"),
        ))
    }

    /// The request as it goes to the target, or to its proxy.
    fn request(
        &self,
        method: &Method,
        target: &Target,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        self.check_literal(&target.url)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.path.clone();
        if !headers.contains_key(HOST) {
            headers.insert(HOST, target.host.clone());
        }
        if let Some(via) = self.via_of_plain(target) {
            let whole = &target.url[..Position::AfterQuery];
            *request.uri_mut() = whole
                .parse()
                .map_err(|_| Fault::misconfigured("the url cannot be used in an HTTP request"))?;
            headers.remove(PROXY_AUTHORIZATION);
            if let Some(value) = &via.authorization {
                headers.insert(PROXY_AUTHORIZATION, value.clone());
            }
        }
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The answer, unless it is the proxy's.
    fn answered(
        &self,
        answered: Result<Response<ResponseBody>, RequestError>,
        target: &Target,
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        let response = answered.map_err(|error| request_fault(error, target, step))?;
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(via) = self.via_of_plain(target)
        {
            return Err(via.refused(response.status()));
        }
        Ok(response)
    }

    /// The proxy that sees a request itself. An https request goes through a tunnel, in which it sees nothing of it.
    fn via_of_plain(&self, target: &Target) -> Option<Via> {
        match target.url.scheme() {
            "http" => self.connector().via(&target.url),
            _ => None,
        }
    }

    /// Addresses given as numbers do not pass the resolver.
    fn check_literal(&self, url: &Url) -> Result<(), Fault> {
        let address = match url.host() {
            Some(url::Host::Ipv4(address)) => address.into(),
            Some(url::Host::Ipv6(address)) => address.into(),
            _ => return Ok(()),
        };
        let egress = self.connector().egress();
        egress
            .check(address)
            .map_err(|denied| Fault::misconfigured(denied.to_string()))
    }
}

/// Where a redirect leads, if it stays in the origin.
fn redirect_target(from: &Url, response: &Response<ResponseBody>, step: Step) -> Result<Url, Fault> {
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let target = from
        .join(location)
        .map_err(|_| Fault::protocol(step, "the server redirects without a usable Location"))?;
    if target.origin() == from.origin() {
        return Ok(target);
    }
    let mut fault = Fault::new(
        OutcomeStatus::Misconfigured,
        step,
        format!(
            "the server redirects to another origin, {}",
            target.origin().ascii_serialization()
        ),
    )
    .hint("credentials are not sent there; if it is the right server, set url to its address");
    fault.http_status = Some(response.status().as_u16());
    Err(fault)
}

/// Names the hop that failed.
fn request_fault(error: RequestError, target: &Target, step: Step) -> Fault {
    let error = match error {
        RequestError::Connect(fault) => return *fault,
        RequestError::Exchange(error) => error,
    };
    let presents = target.route.presents();
    if trunkline_tls::explain(&error, presents).is_some() {
        return tls_fault(&error, presents);
    }
    let mut root: &(dyn std::error::Error + 'static) = &error;
    while let Some(next) = root.source() {
        root = next;
    }
    Fault::new(
        OutcomeStatus::Unreachable,
        step,
        format!("the connection ended before an answer: {root}"),
    )
    .hint("the server closed the connection: look at its own log")
}

/// The length that an answer says its body has.
pub fn declared_length(response: &Response<ResponseBody>) -> Option<u64> {
    let value = response.headers().get(CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// A whole body, bounded.
pub async fn read_body(response: Response<ResponseBody>, limit: usize, step: Step) -> Result<Bytes, Fault> {
    let declared = declared_length(&response);
    read_whole(&mut response.into_body(), declared, limit, step).await
}

/// The same of an answer whose head is not needed any more.
pub async fn read_whole(
    body: &mut ResponseBody,
    declared: Option<u64>,
    limit: usize,
    step: Step,
) -> Result<Bytes, Fault> {
    let too_large = || Fault::protocol(step, format!("the answer is larger than {limit} bytes"));
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let broken = |_| {
        Fault::new(
            OutcomeStatus::Unreachable,
            step,
            "the connection broke within the answer",
        )
    };
    // Most bodies come in one piece, which is not copied.
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        if whole.len().max(pieces.len()) + data.len() > limit {
            return Err(too_large());
        }
        if whole.is_empty() && pieces.is_empty() {
            whole = data;
        } else {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&data);
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

/// The fault of an answer whose status is no success, with the beginning of its text.
pub async fn status_fault(server: &Server, step: Step, response: Response<ResponseBody>) -> Fault {
    let status = response.status();
    let headers = response.headers();
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(crate::fault::printable)
    };
    let retry_after = text("retry-after")
        .and_then(|value| value.parse().ok())
        .map(Duration::from_secs);
    let www_authenticate = text("www-authenticate");
    let body = tokio::time::timeout(Duration::from_secs(2), beginning(response))
        .await
        .unwrap_or_default();
    let words = words_of(&body);
    let mut fault = Fault::http(server, step, status, &words);
    fault.retry_after = retry_after;
    fault.www_authenticate = www_authenticate;
    fault
}

/// The first bytes of a body.
pub(crate) async fn beginning(response: Response<ResponseBody>) -> Bytes {
    first_bytes(response, MAX_ERROR_BODY).await
}

/// The first bytes of a body, so many at the most.
pub(crate) async fn first_bytes(response: Response<ResponseBody>, limit: usize) -> Bytes {
    let mut body = response.into_body();
    let mut out = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            out.extend_from_slice(data);
        }
        if out.len() >= limit {
            out.truncate(limit);
            break;
        }
    }
    out.into()
}

/// What an error body says: the usual JSON members, else its text; of an HTML page only that it is one.
pub(crate) fn words_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with('<') {
        return "(an HTML page)".to_owned();
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return text.into_owned();
    };
    let paths = [
        "/error/message",
        "/error_description",
        "/message",
        "/detail/error",
        "/detail",
        "/error",
    ];
    paths
        .iter()
        .find_map(|path| value.pointer(path).and_then(serde_json::Value::as_str))
        .map_or_else(|| text.into_owned(), ToOwned::to_owned)
}

/// Whether a status and the words of an answer to a request *with* a session id mean that the session is gone: 404 by
/// the specification; 400 with these words by the Python SDK before 1.20 and by TypeScript examples.
pub fn means_unknown_session(status: StatusCode, words: &str) -> bool {
    status == StatusCode::NOT_FOUND
        || (status == StatusCode::BAD_REQUEST && words.to_lowercase().contains("session"))
}
