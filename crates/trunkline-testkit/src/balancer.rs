//! A reverse proxy in front of several gateways, as people run one: each request to the next, whoever sent it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::http::HttpClient;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Round-robin over addresses: request by request, bodies as they come in both directions. An address that refuses the
/// connection is passed over; a request that was sent is not sent again. Dropping it closes its port.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

struct Backends {
    ports: Vec<u16>,
    next: AtomicUsize,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Balancer {
    /// In front of these ports of 127.0.0.1.
    pub async fn start(ports: impl IntoIterator<Item = u16>) -> Self {
        let backends = Arc::new(Backends {
            ports: ports.into_iter().collect(),
            next: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let backends = backends.clone();
                let service = service_fn(move |request| hand_on(backends.clone(), request));
                tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, accepting }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client with no credential.
    pub fn client(&self) -> HttpClient {
        HttpClient::new(&self.url())
    }
}

async fn hand_on(backends: Arc<Backends>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let first = backends.next.fetch_add(1, Ordering::Relaxed);
    for attempt in 0..backends.ports.len() {
        let port = backends.ports[(first + attempt) % backends.ports.len()];
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let Ok((mut sender, connection)) = client::handshake(TokioIo::new(stream)).await else {
            continue;
        };
        // Ends when the answer was read, or the one who reads it is gone.
        tokio::spawn(connection);
        return Ok(match sender.send_request(request).await {
            Ok(answer) => answer.map(BodyExt::boxed_unsync),
            Err(_) => bad_gateway(),
        });
    }
    Ok(bad_gateway())
}

fn bad_gateway() -> Response<Body> {
    let body = Empty::new().map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
