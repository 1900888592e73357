//! A plain HTTP/1.1 client: a new connection for each request unless it is told to keep them, nothing followed, nothing retried, so
//! that a test sees what one request does.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::kept::{Kept, Sent};

/// A base address with the headers that every request carries.
#[derive(Clone, Debug)]
pub struct HttpClient {
    authority: String,
    headers: HeaderMap,
    limit: Duration,
    kept: Option<Kept>,
}

/// The head of an answer, and with what its connection is given back.
type Answered = (
    Response<Incoming>,
    Option<(Kept, http1::SendRequest<Full<Bytes>>)>,
);

/// No whole answer came.
#[derive(Debug)]
pub struct TransportError(pub String);

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TransportError {}

fn transport(step: &'static str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> TransportError {
    move |error| TransportError(format!("{step}: {error}"))
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: StatusCode,
    /// Headers as they came.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From before the connection to the last byte.
    pub elapsed: Duration,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON; shows it.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("answer {} is not JSON ({error}): {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; `None` when absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The reply itself when it has that status.
    ///
    /// # Panics
    /// Otherwise; shows the body.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "it is called for the check too")]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "body: {}", self.text());
        self
    }

    /// Headers and body as one text, to look for secrets in.
    pub fn everything(&self) -> String {
        format!("{} {:?}\n{}", self.status, self.headers, self.text())
    }
}

/// An answer whose body is read as it comes.
#[derive(Debug)]
pub struct Chunks {
    /// Status code.
    pub status: StatusCode,
    /// Headers as they came.
    pub headers: HeaderMap,
    body: Incoming,
    began: Instant,
    /// Where the connection goes when the body was read.
    back: Option<(Kept, http1::SendRequest<Full<Bytes>>)>,
}

impl Chunks {
    /// The next piece of the body and its time since the request began; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<(Duration, Bytes), TransportError>> {
        loop {
            let Some(frame) = self.body.frame().await else {
                self.give_back();
                return None;
            };
            match frame {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok((self.began.elapsed(), data)));
                    }
                }
                Err(error) => return Some(Err(transport("body")(error.into()))),
            }
        }
    }

    fn give_back(&mut self) {
        if let Some((kept, sender)) = self.back.take() {
            kept.give(sender);
        }
    }

    /// When the request began.
    pub fn began(&self) -> Instant {
        self.began
    }
}

impl HttpClient {
    /// For `http://host:port`; a path in it is ignored.
    pub fn new(base: &str) -> Self {
        let rest = base
            .strip_prefix("http://")
            .unwrap_or_else(|| panic!("not an http:// address: {base}"));
        let authority = rest.split('/').next().unwrap_or(rest).to_owned();
        Self {
            authority,
            headers: HeaderMap::new(),
            limit: Duration::from_secs(30),
            kept: None,
        }
    }

    /// The same client of another `http://host:port`.
    #[must_use]
    pub fn at(mut self, base: &str) -> Self {
        self.authority = Self::new(base).authority;
        // Connections to another address are of no use.
        self.kept = self.kept.map(|_| Kept::default());
        self
    }

    /// Keeps connections open for its next requests, and for those of its clones: for tests that ask so many that connecting takes most
    /// of their time. A request that could not be sent, because a connection was closed meanwhile, is sent over another one.
    #[must_use]
    pub fn keeping_connections(mut self) -> Self {
        self.kept = Some(Kept::default());
        self
    }

    /// Adds a header to every request, in place of one of the same name.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers
            .insert(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    /// Takes a header away from every request.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// How long a whole request may take; 30 s unless set.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How long a whole request may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// `GET path`
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    /// `DELETE path`
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    /// `PUT path` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// # Panics
    /// When no whole answer comes.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map_or_else(Bytes::new, |value| value.to_string().into());
        let request = request.body(bytes).expect("a request");
        self.try_send(request)
            .await
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends any request (its uri is a path) and reads the whole answer.
    pub async fn try_send(&self, request: Request<Bytes>) -> Result<Reply, TransportError> {
        let whole = async {
            let mut chunks = self.open(request).await?;
            let body = (&mut chunks.body)
                .collect()
                .await
                .map_err(|error| transport("body")(error.into()))?
                .to_bytes();
            chunks.give_back();
            Ok(Reply {
                status: chunks.status,
                headers: chunks.headers,
                body,
                elapsed: chunks.began.elapsed(),
            })
        };
        let limit = self.limit;
        tokio::time::timeout(limit, whole)
            .await
            .unwrap_or_else(|_| Err(TransportError(format!("no whole answer within {limit:?}"))))
    }

    /// Sends any request and returns when the head of the answer is there. No limit on the body.
    /// Dropping the result closes the connection.
    pub async fn open(&self, request: Request<Bytes>) -> Result<Chunks, TransportError> {
        let began = Instant::now();
        let sent = tokio::time::timeout(self.limit, self.send_head(self.complete(request)))
            .await
            .unwrap_or_else(|_| Err(TransportError(format!("no answer within {:?}", self.limit))))?;
        let (answer, back) = sent;
        let (head, body) = answer.into_parts();
        Ok(Chunks {
            status: head.status,
            headers: head.headers,
            body,
            began,
            back,
        })
    }

    /// Sends a request over a connection that is kept, or over a new one, which the answer may be followed by others on.
    async fn send_head(&self, request: Request<Full<Bytes>>) -> Result<Answered, TransportError> {
        let failed = |error: hyper::Error| transport("send")(error.into());
        let Some(kept) = &self.kept else {
            let mut sender = self.connect().await?;
            return Ok((sender.send_request(request).await.map_err(failed)?, None));
        };
        let (answer, sender) = match kept.send(request).await {
            Sent::Answered(answer, sender) => (answer, sender),
            Sent::Failed(error) => return Err(failed(error)),
            Sent::Unsent(request) => {
                let mut sender = self.connect().await?;
                (sender.send_request(*request).await.map_err(failed)?, sender)
            }
        };
        Ok((answer, Some((kept.clone(), sender))))
    }

    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>, TransportError> {
        let socket = TcpStream::connect(&self.authority)
            .await
            .map_err(|error| transport("connect")(error.into()))?;
        let _ = socket.set_nodelay(true);
        let (sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(socket))
            .await
            .map_err(|error| transport("handshake")(error.into()))?;
        // Ends by itself when the body was read or dropped, and nobody keeps the connection.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Adds the client's headers where the request has none of that name.
    fn complete(&self, request: Request<Bytes>) -> Request<Full<Bytes>> {
        let (mut head, body) = request.into_parts();
        for (name, value) in &self.headers {
            head.headers.entry(name).or_insert_with(|| value.clone());
        }
        if let Ok(host) = HeaderValue::from_str(&self.authority) {
            head.headers.entry(http::header::HOST).or_insert(host);
        }
        Request::from_parts(head, Full::new(body))
    }
}
