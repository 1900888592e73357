//! The accept loop: bounded connections, a limit on slow headers, and an orderly end: stop accepting, let requests under
//! way finish, then cut.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use trunkline_gateway::accept::strip_root;
use trunkline_gateway::peers::hop::Unstripped;

use crate::serve::shards::{Place, Shards};

/// What answers requests. Generic, so that its future lives in the connection's own memory instead of a new one for every
/// request.
pub(crate) trait Answering:
    Fn(Request, IpAddr) -> Self::Answer + Clone + Send + Sync + 'static
{
    /// The future of an answer.
    type Answer: Future<Output = Response> + Send;
}

impl<A, F> Answering for A
where
    A: Fn(Request, IpAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send,
{
    type Answer = F;
}

/// Connections at the same time.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// Time for a request's headers, against clients that send them byte by byte (S38).
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's line and headers, and of what is read ahead: what a client without a key can make us hold (S38).
const MAX_HEAD: usize = 64 * 1024;

/// Serves until SIGINT or SIGTERM; a second one ends it at once.
pub(crate) async fn serve(
    listener: TcpListener,
    answering: impl Answering,
    root: Option<String>,
    draining: CancellationToken,
    drain_timeout: Duration,
    shards: Arc<Shards>,
) -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = draining.clone();
    let serving = serve_until(listener, answering, root, draining, drain_timeout, shards);
    tokio::pin!(serving);
    let mut stopping = false;
    loop {
        let name = tokio::select! {
            () = &mut serving => return Ok(()),
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        if std::mem::replace(&mut stopping, true) {
            tracing::warn!(signal = name, "stopping at once");
            return Ok(());
        }
        tracing::info!(signal = name, "stopping: requests under way finish first");
        stop.cancel();
    }
}

/// Serves until `stop`, then drains.
pub(crate) async fn serve_until(
    listener: TcpListener,
    answering: impl Answering,
    root: Option<String>,
    stop: CancellationToken,
    drain_timeout: Duration,
    shards: Arc<Shards>,
) {
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let root: Option<Arc<str>> = root.filter(|root| !root.is_empty()).map(Arc::from);
    loop {
        // The permit first: when all are taken, new connections wait in the kernel's queue.
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        if let Some((stream, permit)) = accepted
            && let Some(place) = shards.place()
        {
            connection(
                stream,
                permit,
                answering.clone(),
                root.clone(),
                (graceful.watcher(), cut.clone()),
                place,
            );
        }
    }
    drop(listener);
    if tokio::time::timeout(drain_timeout, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            seconds = drain_timeout.as_secs(),
            "requests under way were cut off"
        );
        // They let go of what they hold before everything ends: records are written, upstreams are told.
        cut.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), shards.emptied()).await;
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Out of file descriptors, mostly: back off instead of spinning.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

fn connection(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    answering: impl Answering,
    root: Option<Arc<str>>,
    (watcher, cut): (Watcher, CancellationToken),
    place: Place,
) {
    // It was accepted by another runtime than the one that serves it.
    let Ok(stream) = stream.into_std() else { return };
    let runtime = place.runtime.clone();
    runtime.spawn(async move {
        // A client that goes away in the middle is its own business.
        if let Err(error) = serve_connection(stream, answering, root, (watcher, cut)).await {
            tracing::debug!(%error, "connection ended");
        }
        drop((permit, place));
    });
}

async fn serve_connection(
    stream: std::net::TcpStream,
    answering: impl Answering,
    root: Option<Arc<str>>,
    (watcher, cut): (Watcher, CancellationToken),
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::from_std(stream)?;
    // Small answers must not wait for the client's acknowledgement; failing to say so costs time only.
    let _ = stream.set_nodelay(true);
    // A connection that is gone already says nothing more.
    let peer = stream.peer_addr()?.ip();
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(uri) = root.as_deref().and_then(|root| strip_root(request.uri(), root)) {
            let unstripped = std::mem::replace(request.uri_mut(), uri);
            request.extensions_mut().insert(Unstripped(unstripped));
        }
        // Boxed: hyper moves a service's future about, and this one is some kilobytes.
        Box::pin(answering(request, peer)).map(Ok::<_, std::convert::Infallible>)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    match cut.run_until_cancelled(watcher.watch(served)).await {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}
