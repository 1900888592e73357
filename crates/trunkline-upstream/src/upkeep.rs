//! The ends of upstream sessions: idle ones, those of clients that are done, those of servers that were edited, and what
//! becomes of all of them when the process stops.
//!
//! What is written down belongs to all replicas. Whoever takes its row out ends it, once; a process that only lets go of it
//! in memory does not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout};
use trunkline_mcp::{ClientCapabilities, Revision};
use trunkline_model::{Server, ServerId, SessionKey};
use trunkline_store::{SessionNews, StateChange, StoreError, UpstreamSession};

use crate::attend::{Attending, Ways};
use crate::credential::{ClientHeaders, Outgoing};
use crate::entry::Entry;
use crate::session::{Introduction, Owner, Session};
use crate::upstreams::Upstreams;

/// Sessions that are ended at the same time, with all servers.
pub(crate) const ENDS: usize = 32;
/// Rows that are taken out at once.
const CLAIM: u32 = 200;
/// Keys whose use is written down in one transaction.
const NOTE: usize = 500;
/// At the end of the process, for the database.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between two looks at whether a request still runs on a session that is to be ended.
const LOOK_WHETHER_FREE: Duration = Duration::from_millis(250);
/// A request on a session of a definition that was replaced may take so long.
const LONGEST_FAREWELL: Duration = Duration::from_hours(1);
/// How long the end of a client's session waits for the database.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Between writing down that a session is used: a tenth of the time after which it counts as unused.
fn note_every(idle: Duration) -> Duration {
    idle / 10
}

fn before(now: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    now.checked_sub(duration).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Entry {
    /// Ends sessions for which there is no room any more. What is written down, and was used a moment ago, may be another
    /// process's as well: it stays.
    pub(crate) fn let_go(self: &Arc<Self>, evicted: Vec<(Owner, Arc<Session>)>) {
        for (owner, session) in evicted {
            if !session.keeping.is_stored() {
                self.end_all(vec![(owner, session)]);
                continue;
            }
            let entry = self.clone();
            self.tasks.spawn(async move {
                let keeper = &entry.shared.keeper;
                let (Some(store), Some(key)) = (keeper.store(), entry.row_key(&owner)) else {
                    return;
                };
                let moment = note_every(entry.shared.settings().session_idle) * 2;
                let claimed = store
                    .session_upstream_claim(&key, before(keeper.now(), moment))
                    .await;
                if matches!(claimed, Ok(Some(_))) {
                    entry.end_all(vec![(owner, session)]);
                }
            });
        }
    }

    /// A session was being written down when its hand-shake failed.
    pub(crate) fn take_back(self: &Arc<Self>, owner: Owner, session: Arc<Session>) {
        if session.keeping.is_due() {
            return;
        }
        let entry = self.clone();
        self.tasks.spawn(async move {
            let keeper = &entry.shared.keeper;
            keeper.settled(&session).await;
            if let (Some(store), Some(key)) = (keeper.store(), entry.row_key(&owner))
                && session.keeping.is_stored()
            {
                let _ = store.session_upstream_claim(&key, Timestamp::MAX).await;
            }
        });
    }

    /// Another definition takes its place, or none. One that can go on with its sessions has them already.
    pub(crate) fn retire(self: &Arc<Self>, by: Option<&Self>) {
        self.retired.store(true, std::sync::atomic::Ordering::Relaxed);
        self.hubs.stop();
        if by.is_some_and(|by| Arc::ptr_eq(&by.sessions, &self.sessions)) {
            return;
        }
        self.superseded.cancel();
        let (stored, own): (Vec<_>, Vec<_>) = self
            .sessions
            .drain()
            .into_iter()
            .partition(|(_, session)| session.keeping.is_stored());
        self.end_when_free(own);
        let entry = self.clone();
        self.tasks
            .spawn(async move { entry.programs.finish(&entry.shared.stopping).await });
        let Some(store) = self.shared.keeper.store().cloned() else {
            return;
        };
        let (entry, id) = (self.clone(), self.server.load().id.clone());
        self.tasks.spawn(async move {
            entry.until_free(&stored).await;
            match store
                .session_upstream_claim_definition(&id, &entry.definition)
                .await
            {
                Ok(rows) => {
                    for row in rows {
                        entry.end_row(&row, &[]);
                    }
                }
                Err(error) => {
                    tracing::debug!(server = %entry.prefix, %error, "stored sessions were not taken out");
                    entry.end_when_free(stored);
                }
            }
        });
    }

    /// Waits until no request runs on any of them, and not for ever.
    async fn until_free(&self, sessions: &[(Owner, Arc<Session>)]) {
        let until = Instant::now() + LONGEST_FAREWELL;
        let stopping = &self.shared.stopping;
        while sessions.iter().any(|(_, session)| session.is_in_use())
            && Instant::now() < until
            && !stopping.is_cancelled()
        {
            tokio::select! {
                () = tokio::time::sleep(LOOK_WHETHER_FREE) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Ends sessions that were taken out of the pool, each when the requests that still run on it are done.
    fn end_when_free(self: &Arc<Self>, taken: Vec<(Owner, Arc<Session>)>) {
        let (mut busy, free): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|(_, session)| session.is_in_use());
        self.end_all(free);
        if busy.is_empty() {
            return;
        }
        let entry = self.clone();
        let until = Instant::now() + LONGEST_FAREWELL;
        self.tasks.spawn(async move {
            while !busy.is_empty() && Instant::now() < until && !entry.shared.stopping.is_cancelled() {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_WHETHER_FREE) => {}
                    () = entry.shared.stopping.cancelled() => {}
                }
                entry.end_all(busy.extract_if(.., |(_, session)| !session.is_in_use()).collect());
            }
            entry.end_all(busy);
        });
    }

    /// Lets no other request onto a pooled session, and ends it when those that run on it are done.
    pub(crate) fn set_apart(self: &Arc<Self>, session: &Arc<Session>) {
        self.end_when_free(self.sessions.set_apart(session).into_iter().collect());
    }

    /// Ends what was opened for requests that began under an older definition, when they are done.
    pub(crate) fn end_when_left(self: &Arc<Self>) {
        let entry = self.clone();
        self.tasks.spawn(async move {
            // This task holds one.
            while Arc::strong_count(&entry) > 1 && !entry.shared.stopping.is_cancelled() {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_WHETHER_FREE) => {}
                    () = entry.shared.stopping.cancelled() => {}
                }
            }
            entry.end_all(entry.sessions.drain());
        });
    }

    /// Ends what a row tells of, as far as it can be authenticated: with the server's own credential, or one of `outs`.
    fn end_row(self: &Arc<Self>, row: &UpstreamSession, outs: &[Arc<Outgoing>]) {
        if row.definition != self.definition {
            return;
        }
        let own = self.own().into_iter();
        let Some(out) = own
            .chain(outs)
            .find(|out| out.fingerprint == row.key.credential)
            .cloned()
        else {
            return;
        };
        if let (Ok(id), Some(revision)) = (
            HeaderValue::from_str(row.id.expose()),
            Revision::parse(&row.revision),
        ) {
            let session = Session::new(Some(id), revision, Introduction::default());
            self.end_aside(out, Arc::new(session));
        }
    }
}

impl Upstreams {
    /// This process gave out the id of a new session of a client.
    pub fn began(&self, session: SessionKey) {
        self.shared().keeper.begin(session);
    }

    /// The log level of a client's session.
    pub fn log_level(&self, session: SessionKey) -> Option<&'static str> {
        self.shared().keeper.log_level(session)
    }

    /// A client sets its log level. Waits a moment for the database, so that other replicas know.
    pub async fn set_log_level(&self, session: SessionKey, level: &'static str, lasts: Option<Timestamp>) {
        let change = StateChange::LogLevel(level.to_owned());
        self.shared().keeper.change(session, change, lasts).await;
    }

    /// A server took a client's subscription, or took it back. Waits a moment for the database.
    pub async fn note_subscription(
        &self,
        session: SessionKey,
        (server, uri): (ServerId, String),
        is_on: bool,
        lasts: Option<Timestamp>,
    ) {
        let change = if is_on {
            StateChange::Subscribe(server, uri)
        } else {
            StateChange::Unsubscribe(server, uri)
        };
        self.shared().keeper.change(session, change, lasts).await;
    }

    /// A client's stream is here, and these are the servers that it may hear of.
    pub fn attend(
        &self,
        (session, capabilities): (SessionKey, ClientCapabilities),
        servers: &[Arc<Server>],
        client: &ClientHeaders<'_>,
        lasts: Option<Timestamp>,
    ) -> Attending {
        let ways = self.ways(servers, client);
        Attending::begin(self.shared(), (session, capabilities), lasts, ways)
    }

    /// The servers are others from now on.
    pub fn attend_to(&self, attending: &Attending, servers: &[Arc<Server>], client: &ClientHeaders<'_>) {
        attending.turn_to(self.ways(servers, client));
    }

    fn ways(&self, servers: &[Arc<Server>], client: &ClientHeaders<'_>) -> Ways {
        servers
            .iter()
            .filter_map(|server| {
                let entry = self.entry(server);
                let out = entry.outgoing(client).ok()?;
                Some((entry, out))
            })
            .collect()
    }

    /// A client ends its session: with all servers, once, whatever process opened what. In a task, which goes on when nobody
    /// waits for it any more; the error is that it could not be written down.
    pub async fn end_session(
        self: &Arc<Self>,
        session: SessionKey,
        expires_at: Timestamp,
        servers: &[Arc<Server>],
        client: &ClientHeaders<'_>,
    ) -> Result<(), Option<StoreError>> {
        let outs: Vec<Arc<Outgoing>> = self
            .ways(servers, client)
            .into_iter()
            .map(|(_, out)| out)
            .collect();
        self.shared().keeper.forget(session);
        let upstreams = self.clone();
        let ending = tokio::spawn(async move {
            let taken: Vec<_> = upstreams
                .all()
                .into_iter()
                .map(|entry| {
                    entry.hubs.release(&entry, session);
                    let taken = entry.sessions.end_client(session);
                    (entry, taken)
                })
                .collect();
            let ended = match upstreams.shared().keeper.store() {
                Some(store) => store.session_end(session, expires_at).await,
                None => Ok(Vec::new()),
            };
            for (entry, mut taken) in taken {
                if ended.is_ok() {
                    taken.retain(|(_, session)| !session.keeping.is_stored());
                }
                entry.end_all(taken);
            }
            ended.map(|rows| upstreams.end_rows(&rows, &outs))
        });
        match timeout(END_TIMEOUT, ending).await {
            Ok(Ok(ended)) => ended.map_err(Some),
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }

    /// The end of a client's session of which nothing is written down.
    pub fn end_client(&self, client: SessionKey) {
        self.shared().keeper.forget(client);
        for entry in self.all() {
            entry.hubs.release(&entry, client);
            entry.end_all(entry.sessions.end_client(client));
        }
    }

    fn end_rows(&self, rows: &[UpstreamSession], outs: &[Arc<Outgoing>]) {
        for row in rows {
            if let Some(entry) = self.find(&row.key.server) {
                entry.end_row(row, outs);
            }
        }
    }

    /// Something happened to a session, with another process or this one.
    pub async fn hear(&self, news: SessionNews) {
        let keeper = &self.shared().keeper;
        match news {
            SessionNews::Ended(session, _) => {
                keeper.forget(session);
                self.shared().listeners.leave(session);
                for entry in self.all() {
                    entry.hubs.release(&entry, session);
                    let mut taken = entry.sessions.end_client(session);
                    // What is written down is ended by the process that the client told.
                    taken.retain(|(_, session)| !session.keeping.is_stored());
                    entry.end_all(taken);
                }
            }
            SessionNews::Opened(session) => keeper.opened(session),
            SessionNews::Changed(session) => {
                if keeper.changed(session).await {
                    // A message goes to one stream, and the later one is elsewhere.
                    self.shared().listeners.leave(session);
                    for entry in self.all() {
                        for own in entry.sessions.open_of(session) {
                            own.listening.close();
                        }
                    }
                } else {
                    // What it subscribed to may be for this process to hear of.
                    keeper.wake(session);
                }
            }
        }
    }

    /// News were missed: whoever listens looks again.
    pub fn look_again(&self) {
        for wake in self.shared().keeper.attending().values() {
            wake.notify_one();
        }
    }

    /// Ends sessions that nobody used for a while, in memory alone; see [`Upstreams::tend`].
    pub fn reap(&self) {
        let idle = self.settings().session_idle;
        self.touch_what_is_used();
        for entry in self.all() {
            entry.hubs.reap(&entry);
            let mut taken = entry.sessions.reap(idle);
            // Another process may use it, and its row says so.
            taken.retain(|(_, session)| !session.keeping.is_stored());
            entry.end_all(taken);
            entry.programs.reap(entry.own_fingerprint(), idle);
        }
        self.shared().http().reap();
    }

    /// Who listens, or waits for an answer, says nothing, and is there all the same.
    fn touch_what_is_used(&self) {
        for entry in self.all() {
            for (owner, session) in entry.sessions.open() {
                let listens = |client| self.shared().listeners.has(client);
                if session.is_in_use() || owner.client.is_some_and(listens) {
                    entry.sessions.touch(&session);
                }
            }
        }
    }

    /// Looks after sessions: writes down which are in use, and ends those that no process used for a while. To be called
    /// again and again, after [`Upstreams::tend_every`].
    pub async fn tend(&self) {
        self.touch_what_is_used();
        let noted = self.note_uses(false).await;
        self.reap();
        self.keep_what_failed();
        if noted.is_ok() {
            self.end_idle().await;
        }
        let in_use: HashSet<SessionKey> = self
            .all()
            .iter()
            .flat_map(|entry| entry.sessions.open())
            .filter_map(|(owner, _)| owner.client)
            .collect();
        self.shared().keeper.retain(&in_use);
    }

    /// How long to wait between two rounds of [`Upstreams::tend`].
    pub fn tend_every(&self) -> Duration {
        (self.settings().session_idle / 4).clamp(Duration::from_millis(250), Duration::from_secs(15))
    }

    async fn note_uses(&self, all: bool) -> Result<(), StoreError> {
        let Some(store) = self.shared().keeper.store() else {
            return Ok(());
        };
        let every = if all {
            Duration::ZERO
        } else {
            note_every(self.settings().session_idle)
        };
        let mut used = Vec::new();
        for entry in self.all() {
            let now = entry.sessions.now_ms();
            for (owner, session) in entry.sessions.open() {
                if session.keeping.notes_use(session.last_used_ms(), now, every)
                    && let Some(key) = entry.row_key(&owner)
                {
                    used.push((key, session, now));
                }
            }
        }
        for some in used.chunks(NOTE) {
            let keys: Vec<_> = some.iter().map(|(key, ..)| key.clone()).collect();
            if let Err(error) = store
                .session_upstream_used(&keys, self.shared().keeper.now())
                .await
            {
                tracing::debug!(%error, "the use of sessions was not written down");
                return Err(error);
            }
            for (_, session, now) in some {
                session.keeping.noted(*now);
            }
        }
        Ok(())
    }

    /// The database was away when these were opened.
    fn keep_what_failed(&self) {
        for entry in self.all() {
            for (owner, session) in entry.sessions.open() {
                if session.keeping.has_failed() {
                    entry.keep(owner, &session, None);
                }
            }
        }
    }

    async fn end_idle(&self) {
        let Some(store) = self.shared().keeper.store() else {
            return;
        };
        let idle = self.settings().session_idle;
        // What another process used since its last note must not count as unused.
        let until = before(self.shared().keeper.now(), idle + note_every(idle) * 2);
        loop {
            match store.session_upstream_claim_idle(until, CLAIM).await {
                Ok(rows) => {
                    self.end_rows(&rows, &[]);
                    if rows.len() < CLAIM as usize {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "idle sessions were not taken out");
                    return;
                }
            }
        }
        if let Err(error) = store.session_state_prune().await {
            tracing::debug!(%error, "the state of expired sessions was not deleted");
        }
    }

    /// Ends the sessions that are this process's own, and waits for what is under way, bounded. What is written down goes on
    /// with the next process, or with another one.
    pub async fn shutdown(&self) {
        let open: Vec<_> = self
            .all()
            .iter()
            .flat_map(|entry| entry.sessions.open())
            .collect();
        let settled = async {
            for (_, session) in open.iter().filter(|(_, session)| session.keeping.is_writing()) {
                self.shared().keeper.settled(session).await;
            }
            // A session may be old at the next start: it must not look unused then.
            let _ = self.note_uses(true).await;
        };
        let _ = timeout(LAST_WORDS, settled).await;
        for entry in self.all() {
            entry.hubs.stop();
            let mut taken = entry.sessions.drain();
            taken.retain(|(_, session)| !session.keeping.is_stored());
            entry.end_all(taken);
            entry.programs.stop();
        }
        self.shared().stopping.cancel();
        self.shared().tasks.close();
        if timeout(Duration::from_secs(3), self.shared().tasks.wait())
            .await
            .is_err()
        {
            tracing::debug!(left = self.shared().tasks.len(), "background tasks were cut off");
        }
    }

    /// How many upstream sessions are open here.
    pub fn session_count(&self) -> usize {
        self.all().iter().map(|entry| entry.sessions.open().len()).sum()
    }
}
