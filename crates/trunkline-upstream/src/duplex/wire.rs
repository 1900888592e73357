//! How one message gets to the server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use trunkline_model::{OutcomeStatus, Server, Step};

use super::pipe_end::{PipeEnd, Straight, Turn};
use crate::fault::Fault;
use crate::http::{HttpClient, Target, status_fault};

/// Messages that may wait for a program to read them.
const MAX_WAITING: usize = 1024;
/// Their bytes, in units of 1 KiB.
const ROOM: u32 = 64 * 1024;
/// How long a message waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the server may take to say that it has a message.
const TAKEN: Duration = Duration::from_secs(30);

/// The way.
pub(crate) enum Wire {
    /// The standard input of a program.
    Pipe(Pipe),
    /// Requests to the address that the server named.
    Posts(Arc<Posts>),
}

/// The standard input of a program: written to at once where nothing waits before it, else by way of a bounded queue. A program
/// that does not read keeps nobody waiting but those who want something of it.
pub(crate) struct Pipe {
    end: Arc<PipeEnd>,
    queue: mpsc::Sender<Parcel>,
    room: Arc<Semaphore>,
}

/// A message on its way to the writer.
pub(crate) struct Parcel {
    pub(crate) message: Bytes,
    _room: OwnedSemaphorePermit,
    _turn: Turn,
}

impl Pipe {
    /// The way to `end`, and what its writer reads.
    pub(crate) fn new(end: &Arc<PipeEnd>) -> (Self, mpsc::Receiver<Parcel>) {
        let (queue, parcels) = mpsc::channel(MAX_WAITING);
        let room = Arc::new(Semaphore::new(ROOM as usize));
        let end = end.clone();
        (Self { end, queue, room }, parcels)
    }

    pub(super) async fn send(&self, message: Bytes) -> Option<()> {
        let turn = match self.end.write(&message) {
            Straight::Taken => return Some(()),
            Straight::Closed => return None,
            Straight::Behind(turn) => turn,
        };
        let room = self.room.clone().acquire_many_owned(units(&message)).await.ok()?;
        let parcel = Parcel {
            message,
            _room: room,
            _turn: turn,
        };
        self.queue.send(parcel).await.ok()
    }

    fn try_send(&self, message: Bytes) -> Option<()> {
        let turn = match self.end.write(&message) {
            Straight::Taken => return Some(()),
            Straight::Closed => return None,
            Straight::Behind(turn) => turn,
        };
        let room = self.room.clone().try_acquire_many_owned(units(&message)).ok()?;
        let parcel = Parcel {
            message,
            _room: room,
            _turn: turn,
        };
        self.queue.try_send(parcel).ok()
    }
}

fn units(message: &Bytes) -> u32 {
    u32::try_from(message.len() / 1024 + 1).unwrap_or(ROOM).min(ROOM)
}

/// Where messages are posted to.
pub(crate) struct Posts {
    pub(crate) http: Arc<HttpClient>,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) server: Arc<Server>,
}

impl Posts {
    async fn send(&self, message: Bytes, step: Step) -> Result<(), Fault> {
        let sent = self.http.send(
            &Method::POST,
            &self.target,
            || self.headers.clone(),
            message,
            step,
        );
        let (response, _) = timeout(TAKEN, sent)
            .await
            .map_err(|_| Fault::timeout(step, TAKEN))??;
        if response.status().is_success() {
            return Ok(());
        }
        Err(status_fault(&self.server, step, response).await)
    }
}

impl Wire {
    /// Hands a message over. An error means that the server has not had it, or has refused it.
    pub(super) async fn send(&self, message: Bytes, step: Step) -> Result<(), Fault> {
        match self {
            Self::Pipe(pipe) => match timeout(PATIENCE, pipe.send(message)).await {
                Ok(Some(())) => Ok(()),
                Ok(None) => Err(Fault::new(
                    OutcomeStatus::Unreachable,
                    step,
                    "the program is about to end",
                )),
                Err(_) => Err(Fault::new(
                    OutcomeStatus::Timeout,
                    step,
                    format!(
                        "the program does not read its standard input: {} messages wait",
                        MAX_WAITING - pipe.queue.capacity()
                    ),
                )
                .hint("the program hangs, or writes more than it reads: look at its own log, or restart it")),
            },
            Self::Posts(posts) => posts.send(message, step).await,
        }
    }

    /// Whether it is about to end.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Pipe(pipe) if pipe.end.is_closed())
    }

    /// The same without waiting, for what is a courtesy: whoever reads what the server says never waits for it to read.
    pub(super) fn send_aside(&self, message: Bytes, tasks: &TaskTracker) {
        match self {
            Self::Pipe(pipe) => {
                if pipe.try_send(message).is_none() {
                    tracing::debug!("a message aside found no room");
                }
            }
            Self::Posts(posts) => {
                let posts = posts.clone();
                tasks.spawn(async move {
                    if let Err(fault) = posts.send(message, Step::Call).await {
                        tracing::debug!(%fault, "a message aside did not arrive");
                    }
                });
            }
        }
    }
}
