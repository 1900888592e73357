//! Upstream sessions: opened once, shared by rule, ended when they are of no more use (design §4).
//!
//! - The upstream gave no session id: everything is shared.
//! - It gave one and the client has a gateway session: that client gets its own upstream session, lazily, so that state
//!   set in one call is there in the next (B22).
//! - The client has none: the shared one for its credential.
//!
//! A shared session that has only ever been used for listing has no state to leak, so the first client that needs one
//! takes it over instead of paying for another hand-shake (not with `session: per_client`).
//!
//! A client's own is written down ([`crate::keep`]), so that another process goes on with it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use trunkline_mcp::{ClientCapabilities, Revision, ServerCapabilities};
use trunkline_model::{KeyMap, SessionKey, SessionMode};

use crate::fault::Fault;
use crate::keep::Keeping;
use crate::listen::{Aside, Listening};

/// What a server says about itself when it is first asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// `serverInfo`, raw JSON.
    pub server_info: Option<String>,
    /// `instructions`.
    pub instructions: Option<String>,
    /// `capabilities`.
    pub capabilities: ServerCapabilities,
}

/// An initialized upstream session.
#[derive(Debug)]
pub struct Session {
    /// `Mcp-Session-Id`, if the upstream uses sessions.
    pub id: Option<HeaderValue>,
    /// What was negotiated.
    pub revision: Revision,
    /// What the server said about itself.
    pub introduction: Introduction,
    /// The one client that it belongs to.
    client: OnceLock<SessionKey>,
    /// What the server was told that it can ask.
    declared: OnceLock<ClientCapabilities>,
    /// Requests under way on it that can be asked something, while it is nobody's own: what the server asks on its standing
    /// stream is about the one of them, if there is but one.
    pub(crate) askable: Mutex<Vec<(u64, mpsc::Sender<Aside>)>>,
    /// One of these requests was given up: what the server asks from then on may be about that one.
    pub(crate) muddled: AtomicBool,
    /// The log level that was last set on it.
    pub(crate) log_level: tokio::sync::Mutex<Option<&'static str>>,
    /// Its standing stream.
    pub listening: Listening,
    /// Whether it is written down, so that other processes can go on with it.
    pub(crate) keeping: Keeping,
    /// Whether a `tools/call` went over it: its upstream may keep state for it.
    called: AtomicBool,
    /// Milliseconds since the pool's start.
    last_used_ms: AtomicU64,
    /// Requests that are being sent, or whose answers are awaited.
    in_use: AtomicUsize,
    /// Messages on their way that nobody waits for: what ends the session comes after them.
    pub(crate) asides: TaskTracker,
}

/// How long the end of a session waits for the messages before it.
const ASIDE_GRACE: Duration = Duration::from_secs(1);

/// A request under way on a session: while there is one it is not idle, however long the answer takes.
#[derive(Debug)]
pub(crate) struct Using(Arc<Session>);

impl Using {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        session.in_use.fetch_add(1, Ordering::Relaxed);
        Self(session.clone())
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    /// A session that was just initialized.
    pub fn new(id: Option<HeaderValue>, revision: Revision, introduction: Introduction) -> Self {
        Self {
            id,
            revision,
            introduction,
            client: OnceLock::new(),
            declared: OnceLock::new(),
            askable: Mutex::default(),
            muddled: AtomicBool::new(false),
            log_level: tokio::sync::Mutex::default(),
            listening: Listening::default(),
            keeping: Keeping::default(),
            called: AtomicBool::new(false),
            last_used_ms: AtomicU64::new(0),
            in_use: AtomicUsize::new(0),
            asides: TaskTracker::new(),
        }
    }

    /// Waits, for a moment, until the messages that were sent aside have arrived: after its `DELETE` a server refuses the
    /// cancellation of a call, and goes on with it (B22).
    pub(crate) async fn asides_sent(&self) {
        self.asides.close();
        // A server that takes no messages is told of the end all the same.
        let _ = tokio::time::timeout(ASIDE_GRACE, self.asides.wait()).await;
    }

    /// Whether a request is under way on it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed) > 0
    }

    /// The client that it belongs to, if it is not shared.
    pub fn client(&self) -> Option<SessionKey> {
        self.client.get().copied()
    }

    /// Whether it ends with this process: there is nothing to write down.
    pub(crate) fn is_local(&self) -> bool {
        self.id.as_ref().is_some_and(crate::duplex::is_local)
    }

    /// What the server was told that it can ask.
    pub(crate) fn declared(&self) -> ClientCapabilities {
        self.declared.get().copied().unwrap_or(ClientCapabilities::NONE)
    }

    pub(crate) fn declare(&self, capabilities: ClientCapabilities) {
        self.declared.get_or_init(|| capabilities);
    }

    /// Notes whose it is, once it is somebody's.
    pub(crate) fn belongs_to(&self, client: SessionKey) {
        self.client.get_or_init(|| client);
    }

    /// A call is about to go over it.
    pub fn mark_called(&self) {
        if !self.called.load(Ordering::Relaxed) {
            self.called.store(true, Ordering::Relaxed);
        }
    }

    /// Milliseconds since the pool's start when it was last used.
    pub(crate) fn last_used_ms(&self) -> u64 {
        self.last_used_ms.load(Ordering::Relaxed)
    }
}

/// Who uses a session: a credential, and a client if it has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The credential.
    pub fingerprint: [u8; 16],
    /// The client's gateway session; `None` for the shared one.
    pub client: Option<SessionKey>,
    /// What was declared to the upstream: those who declare different things share no session.
    pub declared: ClientCapabilities,
}

impl Owner {
    /// The session of a credential that everybody may use who can be asked nothing.
    pub fn shared(fingerprint: [u8; 16]) -> Self {
        Self {
            fingerprint,
            client: None,
            declared: ClientCapabilities::NONE,
        }
    }
}

/// The place of one session: empty, being opened, or open.
#[derive(Default)]
pub struct Slot {
    open: ArcSwapOption<Session>,
    /// Held while opening, so that it happens once however many wait (B02).
    opening: tokio::sync::Mutex<Option<(Instant, Fault)>>,
}

impl Slot {
    /// The session, if it is open.
    pub fn get(&self) -> Option<Arc<Session>> {
        self.open.load_full()
    }

    /// The session, opened with `open` if need be. Those who wait for a failing attempt share its failure.
    pub async fn get_or_open<F>(&self, open: F) -> Result<Arc<Session>, Fault>
    where
        F: Future<Output = Result<Arc<Session>, Fault>>,
    {
        if let Some(session) = self.open.load_full() {
            return Ok(session);
        }
        let came = Instant::now();
        let mut last_failure = self.opening.lock().await;
        if let Some(session) = self.open.load_full() {
            return Ok(session);
        }
        if let Some((at, fault)) = &*last_failure
            && *at >= came
        {
            return Err(fault.clone());
        }
        match open.await {
            Ok(session) => {
                *last_failure = None;
                self.open.store(Some(session.clone()));
                Ok(session)
            }
            Err(fault) => {
                *last_failure = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }

    /// Puts `by` in the place of `own`, unless somebody replaced it already.
    pub(crate) fn replace(&self, own: &Arc<Session>, by: Arc<Session>) {
        let open = self.open.load();
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, own)) {
            self.open.store(Some(by));
            own.listening.stop.cancel();
        }
    }

    /// Forgets `gone`, unless somebody replaced it already.
    pub fn forget(&self, gone: &Arc<Session>) {
        if self
            .open
            .load()
            .as_ref()
            .is_some_and(|open| Arc::ptr_eq(open, gone))
        {
            self.open.store(None);
            gone.listening.stop.cancel();
        }
    }
}

/// The sessions with one server.
pub struct Sessions {
    mode: SessionMode,
    slots: Mutex<KeyMap<Owner, Arc<Slot>>>,
    start: Instant,
}

/// Sessions with one server at the same time; beyond it the least recently used is ended.
const MAX_SESSIONS: usize = 10_000;

impl Sessions {
    /// No sessions yet.
    pub fn new(mode: SessionMode) -> Self {
        Self {
            mode,
            slots: Mutex::default(),
            start: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, KeyMap<Owner, Arc<Slot>>> {
        // A panic while holding the lock leaves a valid map: every change is one insert or remove.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot that `wanted` uses, and what had to be ended to make room.
    pub fn slot(&self, wanted: Owner) -> (Arc<Slot>, Option<(Owner, Arc<Session>)>) {
        let mut slots = self.lock();
        if wanted.client.is_none() || self.mode == SessionMode::Shared {
            let pooled = Owner {
                client: None,
                ..wanted
            };
            let evicted = make_room(&mut slots, &pooled);
            return (slots.entry(pooled).or_default().clone(), evicted);
        }
        if let Some(slot) = slots.get(&wanted) {
            return (slot.clone(), None);
        }
        if let Some(slot) = slots.get(&Owner::shared(wanted.fingerprint))
            && let Some(session) = slot.open.load_full()
            && session.id.is_none()
        {
            return (slot.clone(), None);
        }
        let evicted = make_room(&mut slots, &wanted);
        (slots.entry(wanted).or_default().clone(), evicted)
    }

    /// The shared session, for the client `wanted`, if nobody ever called over it: from now on it is not shared.
    pub fn take_over(&self, wanted: Owner) -> Option<Arc<Session>> {
        if self.mode != SessionMode::Auto || !wanted.declared.is_empty() {
            return None;
        }
        let shared = Owner::shared(wanted.fingerprint);
        let mut slots = self.lock();
        let slot = slots.get(&shared)?;
        let session = slot.get()?;
        if session.id.is_none() || session.called.load(Ordering::Relaxed) {
            return None;
        }
        slot.open.store(None);
        slots.remove(&shared);
        Some(session)
    }

    /// Puts in what another process opened for `owner`; what is there already stays, unless it is another one that had been
    /// written down as well, and was replaced since.
    pub fn adopt(
        &self,
        owner: Owner,
        session: Arc<Session>,
    ) -> (Arc<Session>, Option<(Owner, Arc<Session>)>) {
        let mut slots = self.lock();
        let evicted = make_room(&mut slots, &owner);
        let slot = slots.entry(owner).or_default();
        match slot.get() {
            Some(open) if open.id == session.id || !open.keeping.is_stored() => (open, evicted),
            Some(open) => {
                slot.open.store(Some(session.clone()));
                open.listening.stop.cancel();
                (session, evicted)
            }
            None => {
                slot.open.store(Some(session.clone()));
                (session, evicted)
            }
        }
    }

    /// Whether a client has sessions of its own at all.
    pub fn per_client(&self) -> bool {
        self.mode != SessionMode::Shared
    }

    /// All that are open, with whose they are.
    pub fn open(&self) -> Vec<(Owner, Arc<Session>)> {
        self.lock()
            .iter()
            .filter_map(|(owner, slot)| Some((*owner, slot.get()?)))
            .collect()
    }

    /// Milliseconds since the pool's start.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the slot is the shared one of its credential now.
    pub fn is_shared(&self, owner: Owner, slot: &Arc<Slot>) -> bool {
        let pooled = Owner {
            client: None,
            ..owner
        };
        self.lock().get(&pooled).is_some_and(|own| Arc::ptr_eq(own, slot))
    }

    /// A client's own slot turned out to belong to an upstream without sessions: let it be the shared one.
    pub fn share(&self, owner: Owner, slot: &Arc<Slot>) {
        let mut slots = self.lock();
        slots.remove(&owner);
        slots.insert(Owner::shared(owner.fingerprint), slot.clone());
    }

    /// Notes the use of a session, for idle reaping.
    pub fn touch(&self, session: &Session) {
        session.last_used_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// The slot for a listing: the shared session, else any open one with the credential. Listing leaves no state, so it
    /// need not pay for a hand-shake of its own beside a client's session. With `session: per_client` it does all the same.
    pub fn listing_slot(&self, fingerprint: [u8; 16]) -> Arc<Slot> {
        let shared = Owner::shared(fingerprint);
        let mut slots = self.lock();
        let is_open = |slot: &Arc<Slot>| slot.open.load().is_some();
        if self.mode != SessionMode::PerClient && slots.get(&shared).is_none_or(|slot| !is_open(slot)) {
            let open = slots
                .iter()
                .find(|(owner, slot)| owner.fingerprint == fingerprint && is_open(slot));
            if let Some((_, slot)) = open {
                return slot.clone();
            }
        }
        slots.entry(shared).or_default().clone()
    }

    /// The open sessions of a client under a credential.
    pub fn of_client(&self, client: SessionKey, fingerprint: [u8; 16]) -> Vec<Arc<Session>> {
        self.lock()
            .iter()
            .filter(|(owner, _)| owner.client == Some(client) && owner.fingerprint == fingerprint)
            .filter_map(|(_, slot)| slot.get())
            .collect()
    }

    /// The open session of an owner.
    pub fn of(&self, owner: &Owner) -> Option<Arc<Session>> {
        self.lock().get(owner)?.get()
    }

    /// The open sessions of a client.
    pub fn open_of(&self, client: SessionKey) -> Vec<Arc<Session>> {
        self.lock()
            .iter()
            .filter(|(owner, _)| owner.client == Some(client))
            .filter_map(|(_, slot)| slot.get())
            .collect()
    }

    /// Takes out the sessions of a client that ended its gateway session, with the credential each was opened under.
    pub fn end_client(&self, client: SessionKey) -> Vec<(Owner, Arc<Session>)> {
        self.take(|owner, _| owner.client == Some(client))
    }

    /// Takes out the sessions that were not used for `idle`.
    pub fn reap(&self, idle: Duration) -> Vec<(Owner, Arc<Session>)> {
        let Some(since) = self.start.elapsed().checked_sub(idle) else {
            return Vec::new();
        };
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.take(|_, session| !session.is_in_use() && session.last_used_ms.load(Ordering::Relaxed) < since)
    }

    /// Takes out all.
    pub fn drain(&self) -> Vec<(Owner, Arc<Session>)> {
        self.take(|_, _| true)
    }

    fn take(&self, which: impl Fn(&Owner, &Session) -> bool) -> Vec<(Owner, Arc<Session>)> {
        let mut taken = Vec::new();
        self.lock().retain(|owner, slot| match slot.open.load_full() {
            Some(session) if which(owner, &session) => {
                slot.open.store(None);
                session.listening.stop.cancel();
                taken.push((*owner, session));
                false
            }
            // Nobody but the map holds it and nothing is open: a failed attempt, of no more use.
            None => Arc::strong_count(slot) > 1,
            Some(_) => true,
        });
        taken
    }

    /// Takes a pooled session out: what was begun on it goes on, and nobody else's request comes after.
    pub(crate) fn set_apart(&self, session: &Arc<Session>) -> Option<(Owner, Arc<Session>)> {
        let mut slots = self.lock();
        let (owner, slot) = slots.iter().find(|(owner, slot)| {
            let open = slot.open.load();
            owner.client.is_none() && open.as_ref().is_some_and(|open| Arc::ptr_eq(open, session))
        })?;
        let (owner, slot) = (*owner, slot.clone());
        slot.open.store(None);
        slots.remove(&owner);
        Some((owner, session.clone()))
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

/// Ends the least recently used session when there is no room for one more; one on which a request runs is not among them, and
/// of those there are as many as there may be calls. Slots of credentials that clients brought
/// count like those of clients: both come and go as clients please.
fn make_room(slots: &mut KeyMap<Owner, Arc<Slot>>, wanted: &Owner) -> Option<(Owner, Arc<Session>)> {
    if slots.len() < MAX_SESSIONS || slots.contains_key(wanted) {
        return None;
    }
    let (owner, session) = slots
        .iter()
        .filter_map(|(owner, slot)| Some((*owner, slot.open.load_full()?)))
        .filter(|(_, session)| !session.is_in_use())
        .min_by_key(|(_, session)| session.last_used_ms.load(Ordering::Relaxed))?;
    slots.remove(&owner);
    session.listening.stop.cancel();
    Some((owner, session))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: Option<&'static str>) -> Arc<Session> {
        Arc::new(Session::new(
            id.map(HeaderValue::from_static),
            Revision::LATEST,
            Introduction::default(),
        ))
    }

    /// Opens the slot of a client as an entry does.
    async fn opened(sessions: &Sessions, owner: Owner, id: &'static str) -> Arc<Session> {
        let (slot, _) = sessions.slot(owner);
        let open = async { Ok(sessions.take_over(owner).unwrap_or_else(|| session(Some(id)))) };
        slot.get_or_open(open).await.unwrap()
    }

    fn owner(client: Option<u8>) -> Owner {
        Owner {
            fingerprint: [0; 16],
            client: client.map(|byte| SessionKey([byte; 16])),
            declared: ClientCapabilities::NONE,
        }
    }

    #[tokio::test]
    async fn b22_who_shares_what() {
        let sessions = Sessions::new(SessionMode::Auto);
        let (shared, _) = sessions.slot(owner(None));
        let listed = shared
            .get_or_open(async { Ok(session(Some("s1"))) })
            .await
            .unwrap();
        // The first client takes over what was only used for listing; the second opens its own.
        let first = opened(&sessions, owner(Some(1)), "s2").await;
        assert!(Arc::ptr_eq(&first, &listed));
        listed.mark_called();
        let second = opened(&sessions, owner(Some(2)), "s2").await;
        assert!(!Arc::ptr_eq(&second, &first));
        assert!(Arc::ptr_eq(
            &opened(&sessions, owner(Some(1)), "s3").await,
            &first
        ));
        // A shared session that somebody called over is not taken over.
        let (shared, _) = sessions.slot(owner(None));
        let called = shared
            .get_or_open(async { Ok(session(Some("s3"))) })
            .await
            .unwrap();
        called.mark_called();
        assert!(!Arc::ptr_eq(
            &opened(&sessions, owner(Some(3)), "s4").await,
            &called
        ));
        assert_eq!(sessions.end_client(SessionKey([1; 16])).len(), 1);
    }

    #[tokio::test]
    async fn b22_per_client_shares_with_nobody_and_no_list() {
        let sessions = Sessions::new(SessionMode::PerClient);
        let listed = sessions
            .listing_slot([0; 16])
            .get_or_open(async { Ok(session(Some("s1"))) })
            .await
            .unwrap();
        let own = opened(&sessions, owner(Some(1)), "s2").await;
        assert!(!Arc::ptr_eq(&own, &listed));
        assert_eq!(sessions.drain().len(), 2);
        opened(&sessions, owner(Some(1)), "s3").await;
        assert!(sessions.listing_slot([0; 16]).get().is_none());
    }

    #[tokio::test]
    async fn what_another_process_opened_is_adopted() {
        let sessions = Sessions::new(SessionMode::Auto);
        let stored = |id| {
            let session = session(Some(id));
            session.keeping.mark_read();
            session
        };
        let (first, _) = sessions.adopt(owner(Some(1)), stored("s1"));
        assert!(Arc::ptr_eq(
            &sessions.adopt(owner(Some(1)), stored("s1")).0,
            &first
        ));
        let (second, _) = sessions.adopt(owner(Some(1)), stored("s2"));
        assert_eq!(second.id, session(Some("s2")).id, "it was replaced");
        assert!(first.listening.stop.is_cancelled());
        // What this process opened by itself, and used, stays.
        let own = opened(&sessions, owner(Some(2)), "s3").await;
        assert!(Arc::ptr_eq(&sessions.adopt(owner(Some(2)), stored("s4")).0, &own));
    }

    #[tokio::test]
    async fn a_listing_uses_what_is_open() {
        let sessions = Sessions::new(SessionMode::Auto);
        let (own, _) = sessions.slot(owner(Some(1)));
        own.get_or_open(async { Ok(session(Some("s1"))) })
            .await
            .unwrap()
            .mark_called();
        assert!(Arc::ptr_eq(&sessions.listing_slot([0; 16]), &own));
        assert!(
            !Arc::ptr_eq(&sessions.listing_slot([1; 16]), &own),
            "another credential is another session"
        );
        let (shared, _) = sessions.slot(owner(None));
        shared
            .get_or_open(async { Ok(session(Some("s2"))) })
            .await
            .unwrap();
        assert!(Arc::ptr_eq(&sessions.listing_slot([0; 16]), &shared));
    }

    #[tokio::test]
    async fn s38_sessions_are_bounded_and_the_oldest_goes() {
        let sessions = Sessions::new(SessionMode::Auto);
        let numbered = |number: u128, client: bool| Owner {
            fingerprint: if client { [1; 16] } else { number.to_be_bytes() },
            client: client.then(|| SessionKey(number.to_be_bytes())),
            declared: ClientCapabilities::NONE,
        };
        let mut ended = Vec::new();
        for number in 0..(MAX_SESSIONS + 50) as u128 {
            // Every other one is a client with its own credential and no session of the gateway.
            let (slot, evicted) = sessions.slot(numbered(number, number % 2 == 0));
            ended.extend(evicted.map(|(owner, _)| owner));
            let opened = slot.get_or_open(async { Ok(session(Some("s"))) }).await.unwrap();
            opened
                .last_used_ms
                .store(u64::try_from(number).unwrap(), Ordering::Relaxed);
        }
        assert_eq!(sessions.len(), MAX_SESSIONS);
        let oldest: Vec<Owner> = (0..50).map(|number| numbered(number, number % 2 == 0)).collect();
        assert_eq!(ended, oldest);
    }

    #[tokio::test]
    async fn s38_no_session_is_ended_under_a_request_to_make_room() {
        let sessions = Sessions::new(SessionMode::Auto);
        let numbered = |number: usize| Owner {
            fingerprint: [1; 16],
            client: Some(SessionKey((number as u128).to_be_bytes())),
            declared: ClientCapabilities::NONE,
        };
        let mut open = Vec::new();
        for number in 0..MAX_SESSIONS {
            let (slot, _) = sessions.slot(numbered(number));
            let own = slot.get_or_open(async { Ok(session(Some("s"))) }).await.unwrap();
            own.last_used_ms.store(number as u64, Ordering::Relaxed);
            open.push(own);
        }
        // The two that were used least recently have a request under way.
        let using = [Using::new(&open[0]), Using::new(&open[1])];
        let evicted = |number| sessions.slot(numbered(number)).1.map(|(owner, _)| owner);
        assert_eq!(evicted(MAX_SESSIONS), Some(numbered(2)));
        drop(using);
        assert_eq!(evicted(MAX_SESSIONS + 1), Some(numbered(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_not_idle_while_a_request_runs_on_it() {
        let sessions = Sessions::new(SessionMode::Auto);
        let slow = opened(&sessions, owner(Some(1)), "slow").await;
        let using = Using::new(&slow);
        opened(&sessions, owner(Some(2)), "idle").await;
        tokio::time::advance(Duration::from_hours(1)).await;
        let taken = sessions.reap(Duration::from_mins(30));
        assert_eq!(
            taken.iter().map(|(owner, _)| *owner).collect::<Vec<_>>(),
            [owner(Some(2))]
        );
        drop(using);
        assert_eq!(sessions.reap(Duration::from_mins(30)).len(), 1);
    }

    #[tokio::test]
    async fn s16_a_session_that_was_taken_over_is_not_the_shared_one() {
        let sessions = Sessions::new(SessionMode::Auto);
        let (shared, _) = sessions.slot(owner(None));
        shared
            .get_or_open(async { Ok(session(Some("s"))) })
            .await
            .unwrap();
        assert!(sessions.is_shared(owner(None), &shared));
        opened(&sessions, owner(Some(1)), "own").await;
        assert!(!sessions.is_shared(owner(None), &shared));
    }

    #[tokio::test]
    async fn no_session_id_means_all_share() {
        let sessions = Sessions::new(SessionMode::Auto);
        let (shared, _) = sessions.slot(owner(None));
        shared
            .get_or_open(async { Ok(session(None)) })
            .await
            .unwrap()
            .mark_called();
        assert!(Arc::ptr_eq(&sessions.slot(owner(Some(1))).0, &shared));
    }

    #[tokio::test]
    async fn b02_opened_once_and_failures_are_shared() {
        let slot = Arc::new(Slot::default());
        let opened = Arc::new(AtomicU64::new(0));
        let attempt = |fail: bool| {
            let (slot, opened) = (slot.clone(), opened.clone());
            tokio::spawn(async move {
                slot.get_or_open(async {
                    opened.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if fail {
                        Err(Fault::misconfigured("no"))
                    } else {
                        Ok(session(None))
                    }
                })
                .await
                .is_ok()
            })
        };
        let waiting: Vec<_> = (0..200).map(|_| attempt(true)).collect();
        for one in waiting {
            assert!(!one.await.unwrap());
        }
        assert_eq!(opened.swap(0, Ordering::SeqCst), 1);
        let waiting: Vec<_> = (0..200).map(|_| attempt(false)).collect();
        for one in waiting {
            assert!(one.await.unwrap());
        }
        assert_eq!(opened.load(Ordering::SeqCst), 1);
    }
}
