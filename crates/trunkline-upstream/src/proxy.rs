//! Proxies that the environment names (ADR 0024): whether a request goes by way of one, and how to get through it.
//!
//! `HTTPS_PROXY` and `HTTP_PROXY` by the scheme of the server's URL, `ALL_PROXY` for what has none, and `NO_PROXY`; the
//! same in lower case, which wins. Only proxies that are spoken to in HTTP are served. The addresses of proxies are the
//! operator's, so the rules of egress are not asked about them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use trunkline_model::{OutcomeStatus, Secret, Step};
use url::{Host, Url};

use crate::fault::Fault;

/// Bytes of the head of a proxy's answer.
const MAX_HEAD: usize = 16 * 1024;

/// What the environment says about proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// `http_proxy`, `HTTP_PROXY`. It may hold a password.
    pub http: Option<Secret>,
    /// `https_proxy`, `HTTPS_PROXY`.
    pub https: Option<Secret>,
    /// `all_proxy`, `ALL_PROXY`.
    pub all: Option<Secret>,
    /// `no_proxy`, `NO_PROXY`: what is reached without one.
    pub none: Option<String>,
    /// Whether servers of this machine are reached by the proxy too.
    pub loopback: bool,
}

/// A variable that names no proxy that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {reason}")]
pub struct BadProxy {
    /// The variable.
    pub variable: &'static str,
    /// Why, without its value.
    pub reason: &'static str,
}

/// The proxies.
#[derive(Clone, Default)]
pub struct Proxies {
    /// `None`: there are none, which is found out for every request.
    rules: Option<Arc<Rules>>,
    variables: ProxyVariables,
}

struct Rules {
    matcher: Matcher,
    loopback: bool,
}

/// A proxy for a request.
#[derive(Clone)]
pub(crate) struct Via {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `Proxy-Authorization`, if the proxy's URL has a user.
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("any", &self.rules.is_some())
            .finish()
    }
}

impl PartialEq for Proxies {
    fn eq(&self, other: &Self) -> bool {
        self.variables == other.variables
    }
}

impl Proxies {
    /// From the environment. A proxy that would be used and cannot be is an error: going around it would be worse.
    pub fn new(variables: ProxyVariables) -> Result<Self, BadProxy> {
        let set = |value: &Option<Secret>| {
            value
                .as_ref()
                .map(|value| value.expose().trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        let (http, https, all) = (set(&variables.http), set(&variables.https), set(&variables.all));
        if http.is_none() && https.is_none() && all.is_none() {
            return Ok(Self {
                rules: None,
                variables,
            });
        }
        // `ALL_PROXY` matters only where one of the others is not set.
        let unused = http.is_some() && https.is_some();
        for (variable, value) in [
            ("HTTP_PROXY", &http),
            ("HTTPS_PROXY", &https),
            ("ALL_PROXY", if unused { &None } else { &all }),
        ] {
            if let Some(value) = value {
                check(value).map_err(|reason| BadProxy { variable, reason })?;
            }
        }
        let matcher = Matcher::builder()
            .http(http.unwrap_or_default())
            .https(https.unwrap_or_default())
            .all(if unused {
                String::new()
            } else {
                all.unwrap_or_default()
            })
            .no(variables.none.clone().unwrap_or_default())
            .build();
        let loopback = variables.loopback;
        Ok(Self {
            rules: Some(Arc::new(Rules { matcher, loopback })),
            variables,
        })
    }

    /// The proxy for requests to `url`, if there is one.
    pub(crate) fn via(&self, url: &Url) -> Option<Via> {
        let rules = self.rules.as_ref()?;
        if !rules.loopback && is_loopback(url) {
            return None;
        }
        let target: Uri = url.as_str().parse().ok()?;
        let found = rules.matcher.intercept(&target)?;
        Some(Via {
            host: found.uri().host()?.to_owned(),
            port: found.uri().port_u16().unwrap_or(80),
            authorization: found.basic_auth().cloned().map(|mut value| {
                value.set_sensitive(true);
                value
            }),
        })
    }
}

/// What can be used: `http://[USER:PASSWORD@]HOST[:PORT]`, or the same without its scheme.
fn check(value: &str) -> Result<(), &'static str> {
    let unreadable = "is no URL such as http://proxy.example:3128";
    let whole = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    let url = Url::parse(&whole).map_err(|_| unreadable)?;
    match url.scheme() {
        "http" if url.host_str().is_some_and(|host| !host.is_empty()) => {}
        "http" => return Err(unreadable),
        "https" => return Err("is a proxy that is spoken to in TLS, which is not served: use http://"),
        _ => return Err("is a proxy of another kind (SOCKS?), which is not served: use one of http://"),
    }
    // The matcher reads URLs in a way of its own, and leaves out what it cannot read.
    whole.parse::<Uri>().map(drop).map_err(|_| unreadable)
}

/// Whether a URL leads to this machine by its own words.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback()
                || address
                    .to_ipv4_mapped()
                    .is_some_and(|address| IpAddr::V4(address).is_loopback())
        }
        None => false,
    }
}

impl Via {
    /// For people: without user and password.
    pub(crate) fn describe(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// The same as an origin whose name is looked up.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Asks the proxy for a tunnel to `authority` (`HOST:PORT`) on a new connection.
    pub(crate) async fn tunnel(&self, stream: TcpStream, authority: &str) -> Result<TcpStream, Fault> {
        let fail = |text: String| {
            Fault::new(
                OutcomeStatus::Unreachable,
                Step::Proxy,
                format!("the proxy {} {text}", self.describe()),
            )
        };
        let broken = |error: hyper::Error| {
            fail(format!("gave no answer: {error}")).hint("check that HTTPS_PROXY names an HTTP proxy")
        };
        let request = self
            .connect_request(authority)
            .map_err(|error| fail(error.to_string()))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let mut connection = std::pin::pin!(connection.without_shutdown());
        let mut sent = std::pin::pin!(sender.send_request(request));
        let mut parts = None;
        let response = loop {
            tokio::select! {
                biased;
                response = &mut sent => break response.map_err(broken)?,
                ended = &mut connection, if parts.is_none() => parts = Some(ended.map_err(broken)?),
            }
        };
        if !response.status().is_success() {
            return Err(self.refused(response.status()));
        }
        let parts = match parts {
            Some(parts) => parts,
            None => connection.await.map_err(broken)?,
        };
        if !parts.read_buf.is_empty() {
            return Err(fail("sent something before it was asked to".to_owned()));
        }
        Ok(parts.io.into_inner())
    }

    fn connect_request(&self, authority: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(Uri::builder().authority(authority).build()?)
            .header(HOST, authority)
            .body(Empty::new())?;
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value.clone());
        }
        Ok(request)
    }

    /// The proxy does not let a request through.
    pub(crate) fn refused(&self, status: StatusCode) -> Fault {
        let place = self.describe();
        let number = status.as_u16();
        let hint = match (number, &self.authorization) {
            (407, None) => "put the user and the password into the proxy's URL (HTTPS_PROXY, HTTP_PROXY)",
            (407, Some(_)) => "check the user and the password in the proxy's URL (HTTPS_PROXY, HTTP_PROXY)",
            (403, _) => "have the proxy let connections to this server through, or name its host in NO_PROXY",
            _ => "check that the proxy reaches the server, or name the server's host in NO_PROXY",
        };
        Fault::new(
            OutcomeStatus::Unreachable,
            Step::Proxy,
            format!("the proxy {place} answered HTTP {number}"),
        )
        .hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(edit: impl FnOnce(&mut ProxyVariables)) -> Result<Proxies, BadProxy> {
        let mut variables = ProxyVariables::default();
        edit(&mut variables);
        Proxies::new(variables)
    }

    fn way(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.via(&Url::parse(url).unwrap()).map(|via| via.describe())
    }

    #[test]
    fn the_scheme_chooses_and_no_proxy_excepts() {
        let proxies = proxies(|variables| {
            variables.https = Some("http://user:p%40ss@secure.test:3128".into());
            variables.all = Some("other.test:8080".into());
            variables.none = Some("internal.test, 10.0.0.0/8,192.168.7.7".into());
        })
        .unwrap();
        let secure = Some("http://secure.test:3128".to_owned());
        for (url, expected) in [
            ("https://a.test/mcp", secure.clone()),
            ("http://a.test/mcp", Some("http://other.test:8080".to_owned())),
            ("https://internal.test/mcp", None),
            ("https://deep.internal.test/mcp", None),
            ("https://notinternal.test/mcp", secure.clone()),
            ("https://10.1.2.3/mcp", None),
            ("https://192.168.7.7:8443/mcp", None),
            ("https://192.168.7.8/mcp", secure),
            ("https://localhost:8443/mcp", None),
            ("https://a.localhost/mcp", None),
            ("http://127.0.0.9/mcp", None),
            ("http://[::1]/mcp", None),
            ("http://[::ffff:127.0.0.1]/mcp", None),
        ] {
            assert_eq!(way(&proxies, url), expected, "{url}");
        }
        let via = proxies.via(&Url::parse("https://a.test").unwrap()).unwrap();
        assert_eq!(via.authorization.unwrap(), "Basic dXNlcjpwQHNz");
    }

    #[test]
    fn this_machine_is_reached_by_the_proxy_where_that_is_asked_for() {
        let proxies = proxies(|variables| {
            variables.all = Some("http://p.test".into());
            variables.loopback = true;
        })
        .unwrap();
        assert_eq!(
            way(&proxies, "http://127.0.0.1:1/mcp").as_deref(),
            Some("http://p.test:80")
        );
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_not_gone_around() {
        for (value, words) in [
            ("socks5://p.test:1080", "another kind"),
            ("https://p.test", "TLS"),
            ("http://", "no URL"),
            ("http://user:pass word@p.test", "no URL"),
        ] {
            let bad = proxies(|variables| variables.https = Some(value.into())).unwrap_err();
            assert_eq!(bad.variable, "HTTPS_PROXY");
            assert!(bad.reason.contains(words), "{value}: {bad}");
            assert!(!bad.to_string().contains("pass"), "{bad}");
        }
        let unused = proxies(|variables| {
            variables.http = Some("p.test:1".into());
            variables.https = Some("p.test:2".into());
            variables.all = Some("socks5://p.test".into());
        });
        assert!(unused.is_ok());
        assert!(
            proxies(|variables| variables.all = Some(" ".into()))
                .unwrap()
                .rules
                .is_none()
        );
    }
}
