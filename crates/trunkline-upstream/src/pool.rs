//! Connections to upstreams, kept open between requests (design §4).
//!
//! A connection has no task of its own: whoever sends a request, or reads the body of its answer, drives it. A call then
//! runs on one task from the client's request to its answer, instead of handing every message to another one and being
//! woken by it, which is a fifth of what a call costs (ADR 0012). Connections that nobody uses are looked at when they
//! are taken out again: one that the server has closed in the meantime is dropped then.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use tokio::time::Instant;
use trunkline_model::KeyMap;

use crate::connect::{Connector, Io};
use crate::duplex::Inbox;
use crate::fault::Fault;
use crate::http::Target;

const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const IDLE_PER_HOST: usize = 256;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// No connection.
    #[error("no connection")]
    Connect(Box<Fault>),
    /// The connection ended before the answer.
    #[error("no answer")]
    Exchange(#[source] hyper::Error),
}

/// The connections.
#[derive(Clone)]
pub(crate) struct Pool {
    connector: Connector,
    idle: Arc<Idle>,
}

/// Unused connections, those of each thread apart: a connection is driven by the runtime that it was opened on.
struct Idle {
    threads: Vec<Mutex<Origins>>,
}

/// By origin and TLS identity ([`Target::key`]), the last used at the end.
type Origins = KeyMap<Arc<str>, Vec<Box<Link>>>;

/// Threads whose connections are kept apart; beyond it some share.
const THREADS: usize = 256;

thread_local! {
    static THREAD: usize = {
        static THREADS_SEEN: AtomicUsize = AtomicUsize::new(0);
        THREADS_SEEN.fetch_add(1, Ordering::Relaxed) % THREADS
    };
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            threads: (0..THREADS).map(|_| Mutex::default()).collect(),
        }
    }
}

/// One connection, and what drives it.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Option<http1::Connection<Io, Full<Bytes>>>,
    idle_since: Instant,
}

impl Link {
    /// Lets the connection do what it can do now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            // Over, well or not: whoever waits for something on it is told by the other end.
            self.connection = None;
        }
    }

    /// Whether another request can be sent.
    fn is_usable(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }
}

impl Idle {
    fn own(&self) -> MutexGuard<'_, Origins> {
        let own = &self.threads[THREAD.with(|number| *number)];
        own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, origin: &Arc<str>, mut link: Box<Link>) {
        link.idle_since = Instant::now();
        let mut origins = self.own();
        match origins.get_mut(origin) {
            Some(links) if links.len() >= IDLE_PER_HOST => {}
            Some(links) => links.push(link),
            None => {
                origins.insert(origin.clone(), vec![link]);
            }
        }
    }

    fn take(&self, origin: &str) -> Option<Box<Link>> {
        self.own().get_mut(origin)?.pop()
    }

    fn reap(&self) {
        for origins in &self.threads {
            let mut origins = origins.lock().unwrap_or_else(PoisonError::into_inner);
            origins.retain(|_, links| {
                links.retain(|link| link.idle_since.elapsed() < IDLE_TIMEOUT);
                !links.is_empty()
            });
        }
    }
}

impl Pool {
    pub(crate) fn new(connector: Connector) -> Self {
        Self {
            connector,
            idle: Arc::default(),
        }
    }

    /// Closes connections that nobody used for a while; called every minute.
    pub(crate) fn reap(&self) {
        self.idle.reap();
    }

    /// What makes the connections.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends a request as it is, with its `Host`, to where `target` is. A request that a kept connection did not take,
    /// because the server had closed it, goes over another one.
    #[expect(
        clippy::manual_async_fn,
        reason = "that would hold the request twice: as it came, and as it is sent"
    )]
    pub(crate) fn send<'a>(
        &'a self,
        target: &'a Target,
        mut request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, RequestError>> + Send + 'a {
        async move {
            loop {
                let kept = poll_fn(|cx| Poll::Ready(self.checkout(target.key(), cx))).await;
                let reused = kept.is_some();
                let mut link = match kept {
                    Some(link) => link,
                    // Boxed, and only here: every request would carry room for a hand-shake.
                    None => Box::pin(self.connect(target)).await?,
                };
                let mut sent = std::pin::pin!(link.sender.try_send_request(request));
                let answer = poll_fn(|cx| {
                    link.drive(cx);
                    sent.as_mut().poll(cx)
                });
                match answer.await {
                    Ok(response) => {
                        let origin = target.key().clone();
                        let idle = Arc::downgrade(&self.idle);
                        return Ok(response.map(|incoming| {
                            ResponseBody(Source::Wire(Wire {
                                incoming,
                                link: Some(link),
                                origin,
                                idle,
                            }))
                        }));
                    }
                    Err(mut error) => match error.take_message().filter(|_| reused) {
                        Some(unsent) => request = unsent,
                        None => return Err(RequestError::Exchange(error.into_error())),
                    },
                }
            }
        }
    }

    /// A kept connection that still is one.
    fn checkout(&self, origin: &str, cx: &mut Context<'_>) -> Option<Box<Link>> {
        loop {
            let mut link = self.idle.take(origin)?;
            if link.idle_since.elapsed() < IDLE_TIMEOUT {
                link.drive(cx);
                if link.is_usable() {
                    return Some(link);
                }
            }
        }
    }

    async fn connect(&self, target: &Target) -> Result<Box<Link>, RequestError> {
        let opened = self.connector.connect(target).await;
        let io = opened.map_err(|fault| RequestError::Connect(Box::new(fault)))?;
        let (sender, connection) = http1::Builder::new()
            .handshake(io)
            .await
            .map_err(RequestError::Exchange)?;
        Ok(Box::new(Link {
            sender,
            connection: Some(connection),
            idle_since: Instant::now(),
        }))
    }
}

/// The body of an answer.
pub struct ResponseBody(Source);

enum Source {
    Wire(Wire),
    Whole(Option<Bytes>),
    /// What was read of it already, and the rest.
    Inbox(Option<Bytes>, Inbox),
}

/// From a connection: reading it drives the connection, and its end gives the connection back.
struct Wire {
    incoming: Incoming,
    link: Option<Box<Link>>,
    origin: Arc<str>,
    idle: Weak<Idle>,
}

impl ResponseBody {
    /// One that is here, of an answer that no connection gave.
    pub(crate) fn whole(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self(Source::Whole(Some(body).filter(|body| !body.is_empty())))
    }

    /// The events of a stream that a channel of messages makes; `first` comes before the others.
    pub(crate) fn inbox(first: Option<Bytes>, rest: Inbox) -> Self {
        Self(Source::Inbox(first, rest))
    }

    /// Why it ended before it was over, of one that no connection gave.
    pub(crate) fn why(&self) -> Option<&Fault> {
        match &self.0 {
            Source::Inbox(_, rest) => rest.why(),
            _ => None,
        }
    }
}

impl Wire {
    /// The body is read: its connection can be used again, if it stays open.
    fn release(&mut self, cx: &mut Context<'_>) {
        let Some(mut link) = self.link.take() else { return };
        if !link.is_usable() {
            link.drive(cx);
        }
        self.give_back(link);
    }

    /// Whether it can be used again is found out when it is wanted.
    fn give_back(&self, link: Box<Link>) {
        if link.connection.is_some()
            && let Some(idle) = self.idle.upgrade()
        {
            idle.put(&self.origin, link);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if polled.is_pending()
            && let Some(link) = &mut self.link
        {
            link.drive(cx);
            polled = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        match &polled {
            Poll::Ready(Some(Err(_))) => self.link = None,
            Poll::Ready(_) if self.incoming.is_end_stream() => self.release(cx),
            Poll::Ready(None) => self.release(cx),
            _ => {}
        }
        polled
    }
}

impl Drop for Wire {
    /// An empty body need not be read.
    fn drop(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(link) = self.link.take()
        {
            self.give_back(link);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Source::Wire(wire) => wire.poll_frame(cx),
            Source::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Source::Inbox(first, rest) => match first.take() {
                Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
                None => rest
                    .poll_event(cx)
                    .map(|event| event.map(|data| Ok(Frame::data(data)))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            // Not before the connection was given back: whoever does not poll a body that is at its end would close it.
            Source::Wire(wire) => wire.incoming.is_end_stream() && wire.link.is_none(),
            Source::Whole(body) => body.is_none(),
            Source::Inbox(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Wire(wire) => wire.incoming.size_hint(),
            Source::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Source::Inbox(..) => SizeHint::default(),
        }
    }
}
