//! Conversations over the transport of 2024-11-05: one event stream that everything goes to the client on, and POSTs that
//! say something to it. A stream lives in one process; what the client holds of it is sealed, and names the process too.
//!
//! Everything has a bound (S38): bytes that wait to be read, requests at the same time, and how long a client may not read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use trunkline_auth::{SessionClaims, TokenSealer};
use trunkline_model::{KeyMap, ReplicaId, SessionKey};

/// Bytes that may wait to be read; one message may be larger, and then waits alone.
const MAX_WAITING: u32 = 4 * 1024 * 1024;
/// Requests of one conversation at the same time.
const MAX_UNDER_WAY: u32 = 100;
/// Answers and notifications that are being handed on at the same time.
const MAX_ASIDES: usize = 32;
/// How long a client may read nothing while something waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The conversations of this process.
pub struct Conversations {
    /// This process among the replicas.
    own: ReplicaId,
    sealer: TokenSealer,
    open: Mutex<KeyMap<SessionKey, Arc<Conversation>>>,
}

/// One of them.
pub struct Conversation {
    /// What it is known by.
    pub key: SessionKey,
    /// What was agreed on so far.
    claims: Mutex<SessionClaims>,
    events: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
    /// For answers and notifications: the requests that wait for them must not shut them out.
    asides: Arc<Semaphore>,
    /// The client said something: it is there, and can be told of changes.
    pub spoken: CancellationToken,
    /// Ends the stream.
    pub over: CancellationToken,
    /// Ends what is under way.
    pub stop: CancellationToken,
}

/// An event on its way to the client, and the room that it takes.
pub struct Waiting {
    /// The event.
    pub event: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Which conversation a POST is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<C> {
    /// One of this process.
    Here(C),
    /// One that another replica began.
    Elsewhere(ReplicaId),
    /// None: it has ended, is another caller's or another route's, or never was.
    Unknown,
}

const VERSION: u8 = 1;

impl Conversations {
    /// None yet. `own` is this process among the replicas.
    pub fn new(own: ReplicaId, sealer: TokenSealer) -> Self {
        Self {
            own,
            sealer,
            open: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, KeyMap<SessionKey, Arc<Conversation>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one, and what its events are to be read from.
    pub fn begin(&self, claims: SessionClaims) -> (Arc<Conversation>, mpsc::UnboundedReceiver<Waiting>) {
        let (events, receiver) = mpsc::unbounded_channel();
        let conversation = Arc::new(Conversation {
            key: claims.key,
            claims: Mutex::new(claims),
            events,
            room: Arc::new(Semaphore::new(MAX_WAITING as usize)),
            under_way: Arc::new(Semaphore::new(MAX_UNDER_WAY as usize)),
            asides: Arc::new(Semaphore::new(MAX_ASIDES)),
            spoken: CancellationToken::new(),
            over: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        self.lock().insert(claims.key, conversation.clone());
        (conversation, receiver)
    }

    /// What the client names it by: good for this caller on this route.
    pub fn handle(&self, conversation: &Conversation, caller: &str, route: &str) -> String {
        let mut body = [VERSION; 33];
        body[1..17].copy_from_slice(&conversation.key.0);
        body[17..].copy_from_slice(&self.own.0);
        self.sealer.seal(&[caller, route], &body)
    }

    /// The conversation of a handle.
    pub fn find(&self, handle: &str, caller: &str, route: &str) -> Found<Arc<Conversation>> {
        let Some(body) = self.sealer.open(&[caller, route], handle) else {
            return Found::Unknown;
        };
        let Some((&[VERSION, ref key @ ..], own)) = body.split_first_chunk::<17>() else {
            return Found::Unknown;
        };
        let Ok(own) = <[u8; 16]>::try_from(own).map(ReplicaId) else {
            return Found::Unknown;
        };
        if own != self.own {
            return Found::Elsewhere(own);
        }
        self.lock()
            .get(&SessionKey(*key))
            .cloned()
            .map_or(Found::Unknown, Found::Here)
    }

    /// It has ended: nothing more can be said to it.
    pub fn forget(&self, conversation: &Conversation) {
        self.lock().remove(&conversation.key);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl Conversation {
    /// What was agreed on so far.
    pub fn claims(&self) -> SessionClaims {
        *self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hand-shake was made.
    pub fn agree(&self, claims: SessionClaims) {
        *self.claims.lock().unwrap_or_else(PoisonError::into_inner) = claims;
    }

    /// A place for a request; `None` if too many are under way, or the client does not read what it was answered before.
    pub fn place(&self, is_request: bool) -> Option<OwnedSemaphorePermit> {
        if !is_request {
            return self.asides.clone().try_acquire_owned().ok();
        }
        if self.room.available_permits() == 0 {
            return None;
        }
        self.under_way.clone().try_acquire_owned().ok()
    }

    /// Waits until nothing is under way.
    pub async fn idle(&self) {
        // It is never closed.
        let _ = self.under_way.acquire_many(MAX_UNDER_WAY).await;
    }

    /// Sends an event, when there is room for it; whether anybody will read it. A client that reads nothing for so long
    /// that nothing more can wait for it is given up.
    pub async fn send(&self, event: impl Into<Bytes>) -> bool {
        let event = event.into();
        let size = u32::try_from(event.len())
            .unwrap_or(MAX_WAITING)
            .clamp(1, MAX_WAITING);
        let room = self.room.clone().acquire_many_owned(size);
        let waited = tokio::select! {
            () = self.over.cancelled() => return false,
            waited = tokio::time::timeout(PATIENCE, room) => waited,
        };
        let Ok(Ok(room)) = waited else {
            tracing::info!("a client of the HTTP+SSE transport does not read; its session ends");
            self.over.cancel();
            return false;
        };
        self.events.send(Waiting { event, _room: room }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use trunkline_model::Secret;

    use super::*;

    fn claims(byte: u8) -> SessionClaims {
        SessionClaims {
            key: SessionKey([byte; 16]),
            revision: 0,
            capabilities: 0,
            expires_at: Timestamp::MAX,
        }
    }

    fn conversations(own: u8) -> Conversations {
        Conversations::new(
            ReplicaId([own; 16]),
            TokenSealer::derive(&Secret::new("root"), "test"),
        )
    }

    #[test]
    fn s21_a_handle_is_good_for_its_caller_and_route_while_the_stream_lives() {
        let (here, there) = (conversations(1), conversations(2));
        let (conversation, _events) = here.begin(claims(1));
        let handle = here.handle(&conversation, "caller", "route");
        let found =
            |conversations: &Conversations, caller, route| match conversations.find(&handle, caller, route) {
                Found::Here(conversation) => Found::Here(conversation.key),
                Found::Elsewhere(own) => Found::Elsewhere(own),
                Found::Unknown => Found::Unknown,
            };
        assert_eq!(found(&here, "caller", "route"), Found::Here(conversation.key));
        assert_eq!(found(&here, "other", "route"), Found::Unknown);
        assert_eq!(found(&here, "caller", "other"), Found::Unknown);
        assert_eq!(
            found(&there, "caller", "route"),
            Found::Elsewhere(ReplicaId([1; 16]))
        );
        here.forget(&conversation);
        assert_eq!(found(&here, "caller", "route"), Found::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn s38_what_nobody_reads_is_bounded_and_given_up() {
        let (conversation, mut events) = conversations(1).begin(claims(1));
        let message = vec![b'x'; 1024 * 1024];
        for _ in 0..4 {
            assert!(conversation.send(message.clone()).await);
        }
        // A reader makes room again.
        drop(events.recv().await);
        assert!(conversation.send(message.clone()).await);
        assert!(!conversation.send(message).await);
        assert!(conversation.over.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn s38_a_message_larger_than_the_room_waits_alone() {
        let (conversation, mut events) = conversations(1).begin(claims(1));
        assert!(conversation.send(vec![b'x'; 9 * 1024 * 1024]).await);
        let more = conversation.send("x");
        tokio::pin!(more);
        assert!(futures_util::poll!(&mut more).is_pending());
        assert_eq!(events.recv().await.unwrap().event.len(), 9 * 1024 * 1024);
        assert!(more.await);
    }
}
