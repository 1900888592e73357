//! The one way to a connection: name, proxy, TCP, TLS, within one time.
//!
//! Each step can be made by itself, for the probe, which gives each its own line.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service as _;
use trunkline_model::{OutcomeStatus, Step};
use trunkline_tls::Authorities;
use url::Url;

use crate::egress::{self, Egress, EgressDenied};
use crate::fault::Fault;
use crate::http::Target;
use crate::proxy::{Proxies, Via};

/// A connection that requests are sent on.
pub(crate) type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// How long a name that the proxy looks up is looked up here, to see whether it may be reached. Where there is a proxy,
/// often no name server answers.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    egress: Egress,
    proxies: Proxies,
    /// The authorities that servers without `tls_ca` are believed by.
    usual: Arc<Authorities>,
    plain: Arc<ClientConfig>,
    timeout: Duration,
}

/// Where a connection goes.
pub(crate) struct Place {
    /// By way of this proxy, whose the addresses are then.
    pub(crate) via: Option<Via>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Connector {
    /// Under these rules; `timeout` is that of servers without one of their own.
    pub(crate) fn new(egress: Egress, proxies: Proxies, usual: Arc<Authorities>, timeout: Duration) -> Self {
        let plain = usual.config();
        Self {
            egress,
            proxies,
            usual,
            plain: Arc::new(plain),
            timeout,
        }
    }

    /// The egress rule.
    pub(crate) fn egress(&self) -> &Egress {
        &self.egress
    }

    /// The proxy for requests to a URL.
    pub(crate) fn via(&self, url: &Url) -> Option<Via> {
        self.proxies.via(url)
    }

    /// How long a connection may take.
    pub(crate) fn limit(&self, target: &Target) -> Duration {
        target.route.connect_timeout().unwrap_or(self.timeout)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Io, Fault> {
        let limit = self.limit(target);
        let at = At::default();
        let opened = async {
            let place = self.find(target).await?;
            at.set(Step::Tcp);
            let stream = self.open(&place, target).await?;
            if target.url.scheme() != "https" {
                return Ok(Io::Http(TokioIo::new(stream)));
            }
            at.set(Step::Proxy);
            let stream = self.through(&place, target, stream).await?;
            at.set(Step::Tls);
            let secured = self.secure(target, stream).await?;
            Ok(Io::from(secured))
        };
        match timeout(limit, opened).await {
            Ok(opened) => opened,
            Err(_) => Err(late(at.get(), limit)),
        }
    }

    /// Looks up where a target is: its own addresses, checked, or those of the proxy.
    pub(crate) async fn find(&self, target: &Target) -> Result<Place, Fault> {
        let (host, port) = (target.host(), target.port());
        let Some(via) = self.via(&target.url) else {
            let addresses = egress::resolve(&self.egress, host, port)
                .await
                .map_err(|error| dns_fault(host, &error))?;
            return Ok(Place { via: None, addresses });
        };
        self.may_be_asked_for(host, port).await?;
        let found = tokio::net::lookup_host((via.bare_host(), via.port)).await;
        let addresses: Vec<SocketAddr> = found
            .map_err(|error| {
                let text = format!("the proxy {} does not resolve: {error}", via.describe());
                Fault::new(OutcomeStatus::Unreachable, Step::Proxy, text)
                    .hint("check HTTPS_PROXY and HTTP_PROXY, and the gateway's DNS")
            })?
            .collect();
        Ok(Place {
            via: Some(via),
            addresses,
        })
    }

    /// Whether a proxy may be asked for this host. The proxy looks the name up for itself and connects: an address that was
    /// checked here cannot be handed to it, so all of them have to be allowed, and what has none here has to be taken for
    /// public.
    async fn may_be_asked_for(&self, host: &str, port: u16) -> Result<(), Fault> {
        match timeout(LOOK_TIMEOUT, egress::addresses(host, port)).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => {
                for address in addresses {
                    self.egress
                        .check(address.ip())
                        .map_err(|denied| Fault::misconfigured(denied.to_string()))?;
                }
                Ok(())
            }
            _ if self.egress.allows_public() => Ok(()),
            _ => Err(Fault::misconfigured(format!(
                "{host} does not resolve here, so only the proxy would know where it is, and general_settings.mcp_egress_allow does not allow `public`"
            ))),
        }
    }

    /// The TCP connection.
    pub(crate) async fn open(&self, place: &Place, target: &Target) -> Result<TcpStream, Fault> {
        let mut tcp = HttpConnector::new_with_resolver(Found(place.addresses.clone()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Divided among the addresses, so that one that does not answer leaves time for the next.
        tcp.set_connect_timeout(Some(self.limit(target)));
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        let authority = match &place.via {
            Some(via) => format!("{}:{}", via.host, via.port),
            None => format!("{}:{}", target.url.host_str().unwrap_or_default(), target.port()),
        };
        let uri = Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query("/")
            .build()
            .map_err(|_| Fault::misconfigured("the url cannot be used in an HTTP request"))?;
        match tcp.call(uri).await {
            Ok(stream) => Ok(stream.into_inner()),
            Err(error) => Err(tcp_fault(&error, place.via.as_ref(), self.limit(target))),
        }
    }

    /// Through the proxy, if there is one.
    pub(crate) async fn through(
        &self,
        place: &Place,
        target: &Target,
        stream: TcpStream,
    ) -> Result<TcpStream, Fault> {
        match &place.via {
            None => Ok(stream),
            Some(via) => {
                let host = target.url.host_str().unwrap_or_default();
                via.tunnel(stream, &format!("{host}:{}", target.port())).await
            }
        }
    }

    /// The TLS handshake.
    pub(crate) async fn secure(
        &self,
        target: &Target,
        stream: TcpStream,
    ) -> Result<TlsStream<TokioIo<TokioIo<TcpStream>>>, Fault> {
        let route = &target.route;
        let config = route.config(&self.usual)?.unwrap_or_else(|| self.plain.clone());
        let name = match route.server_name() {
            Some(name) => name,
            None => ServerName::try_from(target.host().to_owned())
                .map_err(|_| Fault::misconfigured("the host in the url cannot be in a certificate"))?,
        };
        let stream = TokioIo::new(TokioIo::new(stream));
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| tls_fault(&error, route.presents()))
    }
}

/// The step that is waited for.
#[derive(Default)]
struct At(AtomicU8);

impl At {
    const STEPS: [Step; 4] = [Step::Dns, Step::Tcp, Step::Proxy, Step::Tls];

    fn set(&self, step: Step) {
        let index = Self::STEPS
            .iter()
            .position(|own| *own == step)
            .unwrap_or_default();
        self.0
            .store(u8::try_from(index).unwrap_or_default(), Ordering::Relaxed);
    }

    fn get(&self) -> Step {
        Self::STEPS[usize::from(self.0.load(Ordering::Relaxed)).min(3)]
    }
}

/// The time for a connection is over.
pub(crate) fn late(step: Step, limit: Duration) -> Fault {
    let (what, hint) = match step {
        Step::Dns => ("the name was not resolved", "check the gateway's DNS"),
        Step::Proxy => ("the proxy gave no answer", "check the proxy"),
        Step::Tls => (
            "the TLS handshake did not end",
            "check the port, and whether the url should begin with http://",
        ),
        _ => (
            "the connection was not accepted in time",
            "check host, port and firewalls",
        ),
    };
    Fault::new(
        OutcomeStatus::Timeout,
        step,
        format!("{what}: no connection within {:.1} s", limit.as_secs_f64()),
    )
    .hint(format!(
        "{hint}; connect_timeout of the server gives it more time"
    ))
}

fn dns_fault(host: &str, error: &io::Error) -> Fault {
    if let Some(denied) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<EgressDenied>())
    {
        return Fault::misconfigured(denied.to_string());
    }
    Fault::new(
        OutcomeStatus::Unreachable,
        Step::Dns,
        format!("{host} does not resolve: {error}"),
    )
    .hint("the host name does not resolve: check the url and the gateway's DNS")
}

fn tcp_fault(error: &(dyn StdError + 'static), via: Option<&Via>, limit: Duration) -> Fault {
    let mut root = error;
    let mut kind = None;
    loop {
        kind = kind.or_else(|| root.downcast_ref::<io::Error>().map(io::Error::kind));
        match root.source() {
            Some(next) => root = next,
            None => break,
        }
    }
    if kind == Some(io::ErrorKind::TimedOut) {
        return late(Step::Tcp, limit);
    }
    match via {
        None => Fault::new(
            OutcomeStatus::Unreachable,
            Step::Tcp,
            format!("no connection: {root}"),
        )
        .hint("nothing accepts connections there: check that the server runs, and its host and port"),
        Some(via) => Fault::new(
            OutcomeStatus::Unreachable,
            Step::Proxy,
            format!("no connection to the proxy {}: {root}", via.describe()),
        )
        .hint("check that the proxy runs, and HTTPS_PROXY and HTTP_PROXY"),
    }
}

/// A handshake that failed, or, with TLS 1.3, a client certificate that was refused after it.
pub(crate) fn tls_fault(error: &(dyn StdError + 'static), presents: bool) -> Fault {
    match trunkline_tls::explain(error, presents) {
        Some(explained) => {
            let message = crate::fault::printable(&explained.message);
            Fault::new(OutcomeStatus::Unreachable, Step::Tls, message).hint(explained.hint)
        }
        None => Fault::new(
            OutcomeStatus::Unreachable,
            Step::Tls,
            format!("the connection ended in the TLS handshake: {error}"),
        )
        .hint("the server closed the connection: check the port, and look at the server's own log"),
    }
}

/// Gives addresses that were found, and checked, before.
#[derive(Clone)]
struct Found(Vec<SocketAddr>);

impl tower_service::Service<Name> for Found {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        std::future::ready(Ok(self.0.clone().into_iter()))
    }
}
