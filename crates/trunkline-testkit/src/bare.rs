//! A server without habits: every request goes to one function, bytes as they came, and what the function gives goes back.
//! For tests in which [`crate::ScriptedUpstream`] would read, or say, more than it is asked to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::upstream::stream::{self as bodies, Body};

/// A request with its body read.
#[derive(Debug)]
pub struct Bare {
    /// Method, path, headers.
    pub head: Parts,
    /// The whole body.
    pub body: Bytes,
}

impl Bare {
    /// A header's value; `None` when absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Said(Response<Body>);

impl Said {
    /// A status without a body.
    ///
    /// # Panics
    /// When there is no such status.
    pub fn status(status: u16) -> Self {
        let mut response = Response::new(bodies::full(Bytes::new()));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Self(response)
    }

    /// JSON text.
    pub fn json(status: u16, text: impl Into<Bytes>) -> Self {
        let Self(said) = Self::status(status);
        Self(said.map(|_| bodies::full(text))).with_header("content-type", "application/json")
    }

    /// An event stream that gives each text as it is, and ends with its sender.
    pub fn events<T: Into<Bytes> + Send + 'static>(texts: mpsc::Receiver<T>) -> Self {
        let pieces = stream::unfold(texts, |mut texts| async move {
            let text = texts.recv().await?;
            Some((Ok(text.into()), texts))
        });
        let Self(said) = Self::status(200);
        Self(said.map(|_| bodies::pieces(pieces))).with_header("content-type", "text/event-stream")
    }

    /// An event stream whose connection breaks after these texts.
    pub fn broken<T: AsRef<[u8]>>(texts: &[T]) -> Self {
        let pieces: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
        let whole = pieces.concat();
        let Self(said) = Self::status(200);
        Self(said.map(|_| bodies::broken_off(whole.into()))).with_header("content-type", "text/event-stream")
    }

    /// Adds a header.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.0.headers_mut().insert(name, value);
        self
    }
}

/// A JSON-RPC message as an event, with an id if there is one.
pub fn event(id: Option<&str>, message: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}data: {}\n\n", message.replace('\n', "\ndata: "))
}

/// A running server. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct BareServer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for BareServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl BareServer {
    /// Starts it on a free port of the loopback interface.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Bare) -> A + Send + Sync + 'static,
        A: Future<Output = Said> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let answer = Arc::new(answer);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let _ = stream.set_nodelay(true);
                        let answer = Arc::clone(&answer);
                        let service = service_fn(move |request: Request<Incoming>| {
                            let answer = Arc::clone(&answer);
                            async move {
                                let (head, body) = request.into_parts();
                                let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                                let Said(response) = answer(Bare { head, body }).await;
                                Ok::<_, Infallible>(response)
                            }
                        });
                        connections.spawn(async move {
                            // Ends in an error whenever the client closes the connection.
                            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                        });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { address, accepting }
    }

    /// `http://127.0.0.1:PORT/mcp`
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}
