//! What is written down of clients' sessions, so that they go on after a restart and on another replica: their upstream
//! sessions, their log levels and their subscriptions.
//!
//! - **Reading.** Where memory has no upstream session for a client, the database is asked once, for at most
//!   [`LOOK_UP_TIMEOUT`]. Warm requests ask nobody.
//! - **Writing.** A new upstream session is written down beside the call that it was opened for, and the answer waits for it,
//!   for at most [`WRITE_TIMEOUT`]. The first writer has it: who comes second uses the other one if its own is still unused.
//! - **An outage** of the database is said once. While it lasts nobody waits for it, and what was opened is written down later.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_mcp::{ClientCapabilities, Era, ListKind, Revision, modern};
use trunkline_model::{Clock, KeyMap, Secret, ServerId, SessionKey};
use trunkline_store::{
    Put, SessionState, StateChange, Store, StoreError, UpstreamSession, UpstreamSessionKey,
};

use crate::entry::Entry;
use crate::session::{Owner, Session};

/// How long the first use of a session on a replica waits for the database.
const LOOK_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an answer waits for what it depends on to be written down.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);
/// After a failure nobody waits for the database for so long.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// Sessions that wait to be written down.
const WAITING: usize = 8192;
/// So many of them in one transaction.
const BATCH: usize = 128;
/// Sessions of clients that are remembered; beyond it those of which nothing is known are forgotten first.
const MAX_KNOWN: usize = 200_000;

/// A log level, if the word is one.
pub fn log_level(word: &str) -> Option<&'static str> {
    modern::LOG_LEVELS.into_iter().find(|own| *own == word)
}

const NEW: u8 = 0;
const WRITING: u8 = 1;
const STORED: u8 = 2;
/// Another one is written down for its client.
const SECOND: u8 = 3;
const FAILED: u8 = 4;

/// What a session knows about being written down.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    state: AtomicU8,
    settled: CancellationToken,
    other: OnceLock<Box<UpstreamSession>>,
    /// When its last use was written down, milliseconds since the pool's start.
    noted_ms: AtomicU64,
}

impl Keeping {
    /// Whether other processes can go on with it.
    pub(crate) fn is_stored(&self) -> bool {
        self.state.load(Ordering::Acquire) == STORED
    }

    /// Whether it is being written down.
    pub(crate) fn is_writing(&self) -> bool {
        self.state.load(Ordering::Acquire) == WRITING
    }

    /// Whether it has to be written down, and is not being.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), NEW | FAILED)
    }

    /// Whether the database did not take it.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.load(Ordering::Acquire) == FAILED
    }

    /// It was read from the database.
    pub(crate) fn mark_read(&self) {
        self.settle(STORED);
    }

    /// Whether its use since was not written down for `every`.
    pub(crate) fn notes_use(&self, used_ms: u64, now_ms: u64, every: Duration) -> bool {
        let noted = self.noted_ms.load(Ordering::Relaxed);
        let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.is_stored() && used_ms > noted && now_ms.saturating_sub(noted) >= every
    }

    pub(crate) fn noted(&self, now_ms: u64) {
        self.noted_ms.store(now_ms, Ordering::Relaxed);
    }

    /// The one that another process had written down before, once that is known.
    pub(crate) fn other(&self) -> Option<&UpstreamSession> {
        self.other.get().map(|other| &**other)
    }

    /// Whether it is this caller who has to see to it.
    fn begin(&self) -> bool {
        let set = |from| {
            let changed = self
                .state
                .compare_exchange(from, WRITING, Ordering::AcqRel, Ordering::Acquire);
            changed.is_ok()
        };
        set(NEW) || set(FAILED)
    }

    fn settle(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.settled.cancel();
    }

    fn settle_put(&self, put: Put) {
        match put {
            Put::Written => self.settle(STORED),
            Put::Other(other) => {
                let _ = self.other.set(other);
                self.settle(SECOND);
            }
            Put::Refused => self.settle(SECOND),
        }
    }
}

/// One upstream session to write down.
struct Write {
    row: UpstreamSession,
    replaces: Option<Secret>,
    session: Arc<Session>,
}

/// What this process knows of sessions of clients, and its way to the database.
pub(crate) struct Keeper {
    store: Option<Store>,
    clock: Arc<dyn Clock>,
    /// The name of this process among those that share the database.
    pub(crate) instance: String,
    writes: Option<mpsc::Sender<Write>>,
    outage: Arc<Outage>,
    /// Sessions that were used here, and what was set for them.
    known: Mutex<KeyMap<SessionKey, SessionState>>,
    /// Whether any of them has a log level: mostly none has, and then nobody looks.
    any_levels: AtomicBool,
    /// Sessions that this process began and that nobody used yet.
    begun: Mutex<HashSet<SessionKey>>,
    /// Clients whose streams are here: woken when there may be something new to listen to.
    attending: Mutex<KeyMap<SessionKey, Arc<Notify>>>,
}

impl Keeper {
    pub(crate) fn new(store: Option<Store>, clock: Arc<dyn Clock>) -> Self {
        let outage = Arc::new(Outage::default());
        let writes = match (&store, tokio::runtime::Handle::try_current()) {
            (Some(store), Ok(runtime)) => {
                let (sender, writes) = mpsc::channel(WAITING);
                runtime.spawn(write_all(store.clone(), outage.clone(), writes));
                Some(sender)
            }
            _ => None,
        };
        Self {
            store,
            clock,
            instance: uuid::Uuid::new_v4().simple().to_string(),
            writes,
            outage,
            known: Mutex::default(),
            any_levels: AtomicBool::new(false),
            begun: Mutex::default(),
            attending: Mutex::default(),
        }
    }

    pub(crate) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn known(&self) -> MutexGuard<'_, KeyMap<SessionKey, SessionState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begun(&self) -> MutexGuard<'_, HashSet<SessionKey>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attending(&self) -> MutexGuard<'_, KeyMap<SessionKey, Arc<Notify>>> {
        self.attending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process gave out the id of a new session. With SQLite, which one process has to itself, there is nothing to be
    /// read about it before it is used. Of `PostgreSQL` that cannot be said: its first request may have gone elsewhere.
    pub(crate) fn begin(&self, session: SessionKey) {
        if self
            .store
            .as_ref()
            .is_some_and(|store| store.backend() == "sqlite")
        {
            let mut begun = self.begun();
            if begun.len() >= MAX_KNOWN {
                begun.clear();
            }
            begun.insert(session);
        }
    }

    /// What is written down about a session, if the database says so in time.
    pub(crate) async fn look_up(&self, session: SessionKey) -> Option<Vec<UpstreamSession>> {
        let store = self.store.as_ref()?;
        if self.begun().contains(&session) {
            return Some(Vec::new());
        }
        if self.outage.is_on() {
            return None;
        }
        let asked =
            async { tokio::try_join!(store.session_upstream_of(session), store.session_state(session)) };
        match timeout(LOOK_UP_TIMEOUT, asked).await {
            Ok(Ok((rows, state))) => {
                self.outage.is_over();
                self.remember(session, state);
                Some(rows)
            }
            Ok(Err(error)) => self.outage.begins(Some(&error)),
            Err(_) => self.outage.begins(None),
        }
    }

    /// Replaces what is known of a session, unless the database knows nothing of it.
    fn remember(&self, session: SessionKey, state: Option<SessionState>) {
        let mut known = self.known();
        make_room(&mut known);
        match state {
            Some(state) => {
                if state.log_level.is_some() {
                    self.any_levels.store(true, Ordering::Relaxed);
                }
                known.insert(session, state);
            }
            None => {
                known.entry(session).or_default();
            }
        }
    }

    /// The log level that a client set.
    pub(crate) fn log_level(&self, session: SessionKey) -> Option<&'static str> {
        if !self.any_levels.load(Ordering::Relaxed) {
            return None;
        }
        log_level(self.known().get(&session)?.log_level.as_deref()?)
    }

    /// What a client subscribed to with one server.
    pub(crate) fn subscriptions(&self, session: SessionKey, server: &ServerId) -> Vec<String> {
        let known = self.known();
        let state = known.get(&session);
        let all = state.into_iter().flat_map(|state| &state.subscriptions);
        all.filter(|(own, _)| own == server)
            .map(|(_, uri)| uri.clone())
            .collect()
    }

    /// Whether another process has the client's stream: then it listens to servers, and this one must not.
    pub(crate) fn is_listened_elsewhere(&self, session: SessionKey) -> bool {
        let known = self.known();
        known.get(&session).is_some_and(|state| {
            state
                .listener
                .as_ref()
                .is_some_and(|listener| *listener != self.instance)
                && state.listened_until > self.now()
        })
    }

    /// Changes what is kept for a session: here, and in the database if the session lasts, for which it waits a moment.
    pub(crate) async fn change(&self, session: SessionKey, change: StateChange, lasts: Option<Timestamp>) {
        {
            let mut known = self.known();
            make_room(&mut known);
            known.entry(session).or_default().apply(&change);
            if matches!(change, StateChange::LogLevel(_)) {
                self.any_levels.store(true, Ordering::Relaxed);
            }
        }
        let (Some(store), Some(expires_at)) = (self.store.clone(), lasts) else {
            return;
        };
        self.begun().remove(&session);
        // In a task: it goes on when nobody waits for it any more.
        let writing =
            tokio::spawn(async move { store.session_state_change(session, &change, expires_at).await });
        let patience = if self.outage.is_on() {
            Duration::ZERO
        } else {
            WRITE_TIMEOUT
        };
        match timeout(patience, writing).await {
            Ok(Ok(Ok(()))) => self.outage.is_over(),
            Ok(Ok(Err(error))) => {
                self.outage.begins::<()>(Some(&error));
            }
            Ok(Err(_)) => {}
            Err(_) => {
                self.outage.begins::<()>(None);
            }
        }
    }

    /// Another process changed what is kept for a session: reads it again if it is used here. Whether it is, and the client's
    /// stream is elsewhere now.
    pub(crate) async fn changed(&self, session: SessionKey) -> bool {
        if !self.known().contains_key(&session) {
            return false;
        }
        let Some(store) = &self.store else { return false };
        match store.session_state(session).await {
            Ok(state) => {
                self.remember(session, state);
                self.is_listened_elsewhere(session)
            }
            Err(error) => {
                self.outage.begins::<()>(Some(&error));
                false
            }
        }
    }

    /// There is an upstream session of a client that there was not.
    pub(crate) fn opened(&self, session: SessionKey) {
        self.begun().remove(&session);
        self.wake(session);
    }

    /// Whoever attends to the session looks again at what is written down.
    pub(crate) fn wake(&self, session: SessionKey) {
        if let Some(wake) = self.attending().get(&session) {
            wake.notify_one();
        }
    }

    /// The session has ended.
    pub(crate) fn forget(&self, session: SessionKey) {
        self.begun().remove(&session);
        self.known().remove(&session);
    }

    /// Forgets the sessions that are not among those in use.
    pub(crate) fn retain(&self, in_use: &HashSet<SessionKey>) {
        let attending: HashSet<SessionKey> = self.attending().keys().copied().collect();
        let mut known = self.known();
        // Where nothing is written down, memory is all there is.
        let lasting = self.store.is_some();
        known.retain(|session, state| {
            in_use.contains(session)
                || attending.contains(session)
                || (!lasting && *state != SessionState::default())
        });
        known.shrink_to_fit();
        let any = known.values().any(|state| state.log_level.is_some());
        self.any_levels.store(any, Ordering::Relaxed);
        drop(known);
        // Of these nobody said anything since the last time: at worst the database is asked for nothing.
        let mut begun = self.begun();
        begun.clear();
        begun.shrink_to_fit();
    }

    /// Waits until a session is written down, or for as long as that is worth.
    pub(crate) async fn settled(&self, session: &Session) {
        if !self.outage.is_on()
            && timeout(WRITE_TIMEOUT, session.keeping.settled.cancelled())
                .await
                .is_err()
        {
            self.outage.begins::<()>(None);
        }
    }

    fn write(&self, write: Write) {
        let session = write.session.clone();
        self.begun().remove(&write.row.key.session);
        {
            let mut known = self.known();
            make_room(&mut known);
            known.entry(write.row.key.session).or_default();
        }
        if self
            .writes
            .as_ref()
            .is_none_or(|writes| writes.try_send(write).is_err())
        {
            session.keeping.settle(FAILED);
        }
    }
}

fn make_room(known: &mut KeyMap<SessionKey, SessionState>) {
    if known.len() >= MAX_KNOWN {
        known.retain(|_, state| *state != SessionState::default());
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
    }
}

/// Writes down what comes, as many at once as have come, so that a burst is not a transaction each.
async fn write_all(store: Store, outage: Arc<Outage>, mut writes: mpsc::Receiver<Write>) {
    let mut batch = Vec::new();
    while writes.recv_many(&mut batch, BATCH).await > 0 {
        let mut sessions = Vec::with_capacity(batch.len());
        let mut rows = Vec::with_capacity(batch.len());
        for write in batch.drain(..) {
            sessions.push(write.session);
            rows.push((write.row, write.replaces));
        }
        match store.session_upstream_put(&rows).await {
            Ok(puts) => {
                outage.is_over();
                for (session, put) in sessions.iter().zip(puts) {
                    session.keeping.settle_put(put);
                }
            }
            Err(error) => {
                outage.begins::<()>(Some(&error));
                for session in sessions {
                    session.keeping.settle(FAILED);
                }
            }
        }
    }
}

/// Whether the database answers, said once when that changes.
#[derive(Default)]
struct Outage {
    last: Mutex<Option<Instant>>,
}

impl Outage {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is of no use to ask just now.
    fn is_on(&self) -> bool {
        self.lock().is_some_and(|last| last.elapsed() < LEFT_ALONE)
    }

    fn begins<T>(&self, error: Option<&StoreError>) -> Option<T> {
        let before = self.lock().replace(Instant::now());
        if before.is_none() {
            let error = error.map_or_else(|| "no answer in time".to_owned(), ToString::to_string);
            tracing::warn!(
                error,
                "sessions of clients cannot be looked up or written down; they are served from memory, with new upstream \
                 sessions where it has none"
            );
        }
        None
    }

    fn is_over(&self) {
        if self.lock().take().is_some() {
            tracing::info!("sessions of clients are written down again");
        }
    }
}

impl Entry {
    /// The name of a client's session with this server in the database.
    pub(crate) fn row_key(&self, owner: &Owner) -> Option<UpstreamSessionKey> {
        Some(UpstreamSessionKey {
            session: owner.client?,
            server: self.server.load().id.clone(),
            credential: owner.fingerprint,
            declared: owner.declared.bits(),
        })
    }

    /// The upstream session that is written down for a client, but not the one that the server has forgotten.
    pub(crate) async fn recall(&self, owner: Owner, gone: Option<&HeaderValue>) -> Option<Arc<Session>> {
        let key = self.row_key(&owner)?;
        let rows = self.shared.keeper.look_up(key.session).await?;
        let row = rows.into_iter().find(|row| row.key == key)?;
        let is_gone = gone.is_some_and(|gone| gone.as_bytes() == row.id.expose().as_bytes());
        self.recalled(&row).filter(|_| !is_gone)
    }

    /// A session as it is written down; `None` if it is of another definition of the server.
    pub(crate) fn recalled(&self, row: &UpstreamSession) -> Option<Arc<Session>> {
        if row.definition != self.definition {
            return None;
        }
        let mut id = HeaderValue::from_str(row.id.expose()).ok()?;
        id.set_sensitive(true);
        // What the server said about itself then is not written down; it has said it to somebody since.
        let known = self
            .catalogue(ListKind::Tools, Era::Legacy, row.key.credential)
            .known();
        let introduction = known
            .catalogue
            .as_ref()
            .map(|catalogue| catalogue.introduction.clone())
            .unwrap_or_default();
        let session = Session::new(Some(id), Revision::parse(&row.revision)?, introduction);
        session.declare(ClientCapabilities::from_bits(row.key.declared));
        session.belongs_to(row.key.session);
        session.mark_called();
        session.keeping.mark_read();
        Some(Arc::new(session))
    }

    /// Begins to write down a client's own session; `gone` is the one that it takes the place of.
    pub(crate) fn keep(&self, owner: Owner, session: &Arc<Session>, gone: Option<&HeaderValue>) {
        let (Some(key), Some(id)) = (self.row_key(&owner), &session.id) else {
            return;
        };
        let Ok(id) = id.to_str() else { return };
        if self.shared.keeper.store().is_none() || !session.keeping.begin() {
            return;
        }
        let now = self.shared.keeper.now();
        self.shared.keeper.write(Write {
            row: UpstreamSession {
                key,
                definition: self.definition.clone(),
                id: Secret::new(id),
                revision: session.revision.as_str().to_owned(),
                opened_at: now,
                last_used_at: now,
            },
            replaces: gone.and_then(|gone| gone.to_str().ok()).map(Secret::new),
            session: session.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::SystemClock;

    use super::*;

    #[tokio::test]
    async fn a_level_is_kept_and_forgotten() {
        let keeper = Keeper::new(None, Arc::new(SystemClock));
        let session = SessionKey([1; 16]);
        assert_eq!(keeper.log_level(session), None);
        let change = StateChange::LogLevel("debug".to_owned());
        keeper.change(session, change, Some(Timestamp::MAX)).await;
        assert_eq!(keeper.log_level(session), Some("debug"));
        assert_eq!(keeper.log_level(SessionKey([2; 16])), None);
        keeper.retain(&HashSet::new());
        assert_eq!(
            keeper.log_level(session),
            Some("debug"),
            "nowhere else is it kept"
        );
        keeper.forget(session);
        assert_eq!(keeper.log_level(session), None);
    }

    #[test]
    fn a_session_is_written_down_once_and_again_after_a_failure() {
        let keeping = Keeping::default();
        assert!(keeping.begin() && !keeping.begin() && keeping.is_writing());
        keeping.settle(FAILED);
        assert!(keeping.is_due() && keeping.begin());
        keeping.settle_put(Put::Written);
        assert!(keeping.is_stored() && !keeping.begin());
        let minute = Duration::from_mins(1);
        assert!(keeping.notes_use(60_001, 60_001, minute));
        keeping.noted(60_001);
        assert!(!keeping.notes_use(60_001, 200_000, minute), "not used since");
        assert!(!keeping.notes_use(70_000, 70_000, minute), "not long ago");
        assert!(keeping.notes_use(70_000, 120_001, minute));
    }
}
