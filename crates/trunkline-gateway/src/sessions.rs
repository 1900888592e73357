//! Sessions of clients: sealed ids need no table; what ended before its time, and what is under way, does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use trunkline_model::{KeyMap, SessionKey};

/// Sessions that clients ended: their ids are unknown from then on. Kept in the database as well, so that they stay
/// ended after a restart.
#[derive(Default)]
pub struct EndedSessions {
    keys: Mutex<Ended>,
    /// Cancelled at the end of their session: its standing streams, and how many there are.
    streams: Mutex<KeyMap<SessionKey, (CancellationToken, usize)>>,
}

/// Ended sessions that are remembered in memory; beyond it those that expire first are forgotten.
const MAX_ENDED: usize = 1_000_000;

/// Ended sessions, and the same in the order in which their ids expire.
#[derive(Default)]
struct Ended {
    keys: KeyMap<SessionKey, Timestamp>,
    order: BTreeSet<(Timestamp, [u8; 16])>,
}

impl Ended {
    fn insert(&mut self, key: SessionKey, expires_at: Timestamp) {
        if let Some(before) = self.keys.insert(key, expires_at) {
            self.order.remove(&(before, key.0));
        }
        self.order.insert((expires_at, key.0));
        if self.keys.len() > MAX_ENDED
            && let Some((_, first)) = self.order.pop_first()
        {
            self.keys.remove(&SessionKey(first));
        }
    }

    fn prune(&mut self, now: Timestamp) {
        while self
            .order
            .first()
            .is_some_and(|(expires_at, _)| *expires_at <= now)
            && let Some((_, key)) = self.order.pop_first()
        {
            self.keys.remove(&SessionKey(key));
        }
    }
}

impl EndedSessions {
    /// From the database.
    pub fn new(keys: impl IntoIterator<Item = (SessionKey, Timestamp)>) -> Self {
        let mut ended = Ended::default();
        for (key, expires_at) in keys {
            ended.insert(key, expires_at);
        }
        Self {
            keys: Mutex::new(ended),
            streams: Mutex::default(),
        }
    }

    fn streams(&self) -> MutexGuard<'_, KeyMap<SessionKey, (CancellationToken, usize)>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream of the session begins; the token is cancelled when the session ends. Followed by one
    /// [`EndedSessions::leave`].
    pub fn watch(&self, key: SessionKey) -> CancellationToken {
        let mut streams = self.streams();
        let (token, count) = streams.entry(key).or_default();
        *count += 1;
        token.clone()
    }

    /// A stream of the session is over.
    pub fn leave(&self, key: SessionKey) {
        let mut streams = self.streams();
        if let Some((_, count)) = streams.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ended> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was ended.
    pub fn contains(&self, key: &SessionKey) -> bool {
        self.lock().keys.contains_key(key)
    }

    /// Ends one.
    pub fn insert(&self, key: SessionKey, expires_at: Timestamp) {
        self.lock().insert(key, expires_at);
        if let Some((token, _)) = self.streams().get(&key) {
            token.cancel();
        }
    }

    /// Forgets those whose ids have expired by themselves.
    pub fn prune(&self, now: Timestamp) {
        self.lock().prune(now);
    }
}

/// Requests under way, by session and the client's request id, so that `notifications/cancelled` finds them, and only
/// in the session they belong to.
#[derive(Default)]
pub struct InFlight {
    sessions: Mutex<KeyMap<SessionKey, Vec<Running>>>,
    entered: AtomicU64,
}

struct Running {
    /// Raw JSON.
    id: Box<str>,
    /// Tells two requests apart to which a client gave the same id.
    number: u64,
    cancel: oneshot::Sender<()>,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, KeyMap<SessionKey, Vec<Running>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request. The receiver hears when the client cancels; the number is for [`InFlight::leave`].
    pub fn enter(&self, session: SessionKey, id: &str) -> (u64, oneshot::Receiver<()>) {
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let (cancel, cancelled) = oneshot::channel();
        let running = Running {
            id: id.into(),
            number,
            cancel,
        };
        self.lock().entry(session).or_default().push(running);
        (number, cancelled)
    }

    /// The request is over.
    pub fn leave(&self, session: SessionKey, number: u64) {
        let mut sessions = self.lock();
        if let Some(running) = sessions.get_mut(&session) {
            running.retain(|own| own.number != number);
            if running.is_empty() {
                sessions.remove(&session);
            }
        }
    }

    /// The client cancels; whether there was such a request here. Unknown ids are ignored, as the specification asks.
    pub fn cancel(&self, session: SessionKey, id: &str) -> bool {
        let found = self.lock().get_mut(&session).and_then(|running| {
            let at = running.iter().rposition(|own| *own.id == *id)?;
            Some(running.swap_remove(at))
        });
        let is_here = found.is_some();
        if let Some(running) = found {
            // It may be over in this moment.
            let _ = running.cancel.send(());
        }
        is_here
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}
