//! One pooled HTTP client for everything that goes to MCP servers.
//!
//! HTTP/1.1 on purpose: one HTTP/2 connection per origin would make long event streams queue at the server's stream
//! limit. Redirects are followed within the origin only (`/mcp` → `/mcp/`) and remembered, so that a warm call is one
//! request; a redirect elsewhere is an error, because it would carry the credential away (S11).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::HOST;
use http::header::{CONTENT_LENGTH, HeaderMap, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use trunkline_model::{OutcomeStatus, Server, Step};
use url::{Position, Url};

use crate::egress::{CheckedResolver, Egress, EgressDenied};
use crate::fault::Fault;
use crate::pool::{Pool, RequestError, ResponseBody};

/// The client.
#[derive(Clone)]
pub struct HttpClient {
    pool: Pool,
    egress: Egress,
    tls: Arc<rustls::ClientConfig>,
}

/// Where requests go: a URL, and the same as the client takes it.
#[derive(Clone, Debug)]
pub struct Target {
    /// For people and rules.
    pub url: Url,
    /// Scheme and authority.
    origin: Arc<str>,
    /// Path and query.
    path: http::Uri,
    host: HeaderValue,
}

impl Target {
    /// Errors if the URL cannot stand in a request.
    pub fn new(url: Url) -> Result<Self, Fault> {
        let unusable = || Fault::misconfigured("the url cannot be used in an HTTP request");
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let origin = format!("{}://{authority}", url.scheme()).into();
        let path = url[Position::BeforePath..Position::AfterQuery]
            .parse()
            .map_err(|_| unusable())?;
        let host = HeaderValue::from_str(authority).map_err(|_| unusable())?;
        Ok(Self {
            url,
            origin,
            path,
            host,
        })
    }
}

/// Time for name resolution, TCP and TLS together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 3;
/// Longest error text that is read of an answer, bytes.
const MAX_ERROR_BODY: usize = 8 * 1024;

impl HttpClient {
    /// A client under `egress` that trusts the usual public roots.
    pub fn new(egress: Egress) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(CheckedResolver::new(egress.clone()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        let mut roots = rustls::RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self {
            pool: Pool::new(connector),
            egress,
            tls: Arc::new(tls),
        }
    }

    /// Closes connections that nobody used for a while; called every minute.
    pub fn reap(&self) {
        self.pool.reap();
    }

    /// The egress rule.
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// The TLS settings, for the probe's separate handshake.
    pub(crate) fn tls(&self) -> &Arc<rustls::ClientConfig> {
        &self.tls
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
        let mut moved: Option<Target> = None;
        for _ in 0..=MAX_REDIRECTS {
            let target = moved.as_ref().unwrap_or(target);
            let response = self
                .send_once(method, target, headers(), body.clone(), step)
                .await?;
            if !follows(response.status().as_u16()) {
                return Ok((response, moved));
            }
            moved = Some(Target::new(redirect_target(&target.url, &response, step)?)?);
        }
        Err(Fault::protocol(
            step,
            format!("the server redirects more than {MAX_REDIRECTS} times"),
        ))
    }

    async fn send_once(
        &self,
        method: &Method,
        target: &Target,
        mut headers: HeaderMap,
        body: Bytes,
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        self.check_literal(&target.url)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.path.clone();
        if !headers.contains_key(HOST) {
            headers.insert(HOST, target.host.clone());
        }
        *request.headers_mut() = headers;
        self.pool
            .send(&target.origin, request)
            .await
            .map_err(|error| connect_fault(&error, step))
    }

    /// Addresses given as numbers do not pass the resolver.
    fn check_literal(&self, url: &Url) -> Result<(), Fault> {
        let address = match url.host() {
            Some(url::Host::Ipv4(address)) => address.into(),
            Some(url::Host::Ipv6(address)) => address.into(),
            _ => return Ok(()),
        };
        self.egress.check(address).map_err(|denied| denied_fault(&denied))
    }
}

fn denied_fault(denied: &EgressDenied) -> Fault {
    Fault::misconfigured(denied.to_string())
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

/// Names the hop that failed, from the error's chain.
fn connect_fault(error: &RequestError, step: Step) -> Fault {
    let mut chain: Vec<&(dyn std::error::Error + 'static)> = vec![error];
    while let Some(next) = chain.last().and_then(|last| last.source()) {
        chain.push(next);
    }
    for cause in &chain {
        if let Some(denied) = cause.downcast_ref::<EgressDenied>() {
            return denied_fault(denied);
        }
        if let Some(denied) = cause.downcast_ref::<io::Error>().and_then(|io| io.get_ref())
            && let Some(denied) = denied.downcast_ref::<EgressDenied>()
        {
            return denied_fault(denied);
        }
    }
    let text = chain
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    let root = chain.last().map(ToString::to_string).unwrap_or_default();
    if !matches!(error, RequestError::Connect(_)) {
        return Fault::new(
            OutcomeStatus::Unreachable,
            step,
            format!("the connection ended before an answer: {root}"),
        )
        .hint("the server closed the connection: look at its own log");
    }
    let io_kind = chain
        .iter()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    let (at, hint) = if text.contains("dns error") || text.contains("lookup address") {
        (
            Step::Dns,
            "the host name does not resolve: check the url and the gateway's DNS",
        )
    } else if text.contains("certificate") || text.contains("tls") || text.contains("TLS") {
        (
            Step::Tls,
            "the TLS handshake failed: check the certificate, or whether the url should begin with http://",
        )
    } else if io_kind == Some(io::ErrorKind::TimedOut) || text.contains("deadline has elapsed") {
        return Fault::new(
            OutcomeStatus::Timeout,
            Step::Tcp,
            "the connection was not accepted in time",
        )
        .hint("check host, port and firewalls");
    } else {
        (
            Step::Tcp,
            "nothing accepts connections there: check that the server runs, and its host and port",
        )
    };
    Fault::new(OutcomeStatus::Unreachable, at, format!("no connection: {root}")).hint(hint)
}

/// A whole body, bounded.
pub async fn read_body(response: Response<ResponseBody>, limit: usize, step: Step) -> Result<Bytes, Fault> {
    let declared = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || Fault::protocol(step, format!("the answer is larger than {limit} bytes"));
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    match http_body_util::Limited::new(response.into_body(), limit)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Fault::new(
            OutcomeStatus::Unreachable,
            step,
            "the connection broke within the answer",
        )),
    }
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
