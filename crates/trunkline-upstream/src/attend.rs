//! A client's standing stream is here: its upstream sessions are listened to from here, whatever process opened them.
//!
//! The upstream sessions are those that are written down for the client. There is one stream for each, with the process that
//! has the client's: a message belongs to one stream. Streams that a server ends are asked for again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use trunkline_mcp::{ClientCapabilities, rpc};
use trunkline_model::{ServerId, SessionKey, Step};
use trunkline_store::StateChange;

use crate::credential::Outgoing;
use crate::entry::{Entry, Opening};
use crate::exchange::{Deadline, Exchange, Frame, Line};
use crate::http::{beginning, means_unknown_session, words_of};
use crate::listen::{self, Heard};
use crate::session::{Owner, Session};
use crate::upstreams::Shared;

/// Between looking after streams, and between attempts at one that is not to be had yet.
const PAUSE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(1);
/// Others believe for so long that the client's stream is here, and hear of it again this often.
const LEASE: Duration = Duration::from_mins(3);
const RENEW: Duration = Duration::from_mins(1);
/// Time to ask a server whether it knows a session, and for each subscription that is made again.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A server, and what is sent to it for the client.
pub(crate) type Ways = Vec<(Arc<Entry>, Arc<Outgoing>)>;

/// Listens for a client as long as this lives.
pub struct Attending {
    shared: Arc<Shared>,
    client: SessionKey,
    /// When the session ends at the latest; `None` if it ends with this process.
    lasts: Option<Timestamp>,
    declared: [ClientCapabilities; 2],
    ways: Arc<Mutex<Ways>>,
    wake: Arc<Notify>,
    _end: DropGuard,
}

impl Attending {
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        (client, capabilities): (SessionKey, ClientCapabilities),
        lasts: Option<Timestamp>,
        ways: Ways,
    ) -> Self {
        // In a batch nothing can be asked.
        let declared = [capabilities, ClientCapabilities::NONE];
        let wake = Arc::new(Notify::new());
        shared.keeper.attending().insert(client, wake.clone());
        let ways = Arc::new(Mutex::new(ways));
        let end = CancellationToken::new();
        let attendant = Attendant {
            shared: shared.clone(),
            client,
            lasts,
            declared,
            ways: ways.clone(),
            wake: wake.clone(),
        };
        let stop = end.clone();
        shared.tasks.spawn(async move {
            stop.run_until_cancelled(attendant.run()).await;
        });
        Self {
            shared: shared.clone(),
            client,
            lasts,
            declared,
            ways,
            wake,
            _end: end.drop_guard(),
        }
    }

    /// The servers are others from now on.
    pub(crate) fn turn_to(&self, ways: Ways) {
        *self.ways.lock().unwrap_or_else(PoisonError::into_inner) = ways;
        self.wake.notify_one();
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        {
            let mut attending = self.shared.keeper.attending();
            let own = attending
                .get(&self.client)
                .is_some_and(|wake| Arc::ptr_eq(wake, &self.wake));
            if !own {
                // A later stream of the client took over all of it.
                return;
            }
            attending.remove(&self.client);
        }
        for (entry, out) in self.ways.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for session in sessions(entry, out, self.client, self.declared) {
                if !session.listening.is_waited_for() {
                    session.listening.close();
                }
            }
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (shared, client, lasts) = (self.shared.clone(), self.client, self.lasts);
        self.shared.tasks.spawn(async move {
            let listener = shared.keeper.instance.clone();
            let left = StateChange::Leave { listener };
            shared.keeper.change(client, left, lasts).await;
        });
    }
}

/// What does it.
struct Attendant {
    shared: Arc<Shared>,
    client: SessionKey,
    /// When the session ends at the latest; `None` if it ends with this process.
    lasts: Option<Timestamp>,
    declared: [ClientCapabilities; 2],
    ways: Arc<Mutex<Ways>>,
    wake: Arc<Notify>,
}

/// The client's sessions with a server.
fn sessions(
    entry: &Entry,
    out: &Outgoing,
    client: SessionKey,
    declared: [ClientCapabilities; 2],
) -> impl Iterator<Item = Arc<Session>> {
    let [own, none] = declared;
    let declared = std::iter::once(own).chain(Some(none).filter(|none| *none != own));
    declared.filter_map(move |declared| {
        entry.sessions.of(&Owner {
            fingerprint: out.fingerprint,
            client: Some(client),
            declared,
        })
    })
}

impl Attendant {
    async fn run(&self) {
        self.say_so(true).await;
        let mut said = Instant::now();
        let mut looked = false;
        let mut wanted = HashMap::new();
        loop {
            if !looked {
                looked = self.look(&mut wanted).await;
            }
            let all = self.listen().await;
            if said.elapsed() >= RENEW {
                self.say_so(false).await;
                said = Instant::now();
            }
            let pause = if all && looked { PAUSE } else { SOON };
            if timeout(pause, self.wake.notified()).await.is_ok() {
                looked = false;
            }
        }
    }

    fn ways(&self) -> Ways {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the other processes that the client's stream is here: `begins` where it was elsewhere, or nowhere.
    async fn say_so(&self, begins: bool) {
        let keeper = &self.shared.keeper;
        if self.lasts.is_none() {
            return;
        }
        let lease = SignedDuration::try_from(LEASE).unwrap_or_default();
        let listener = keeper.instance.clone();
        let until = keeper.now().checked_add(lease).unwrap_or(Timestamp::MAX);
        let change = if begins {
            StateChange::Listen { listener, until }
        } else {
            StateChange::Renew { listener, until }
        };
        keeper.change(self.client, change, self.lasts).await;
    }

    /// Finds what is written down; whether the database could be asked. `wanted`: what was subscribed to at the last look.
    async fn look(&self, wanted: &mut HashMap<ServerId, Vec<String>>) -> bool {
        if self.lasts.is_none() {
            return true;
        }
        let Some(rows) = self.shared.keeper.look_up(self.client).await else {
            return self.shared.keeper.store().is_none();
        };
        for (entry, out) in self.ways() {
            let server = entry.server.load().id.clone();
            let own = |key: &trunkline_store::UpstreamSessionKey| {
                key.server == server && key.credential == out.fingerprint
            };
            for row in rows.iter().filter(|row| own(&row.key)) {
                if let Some(session) = entry.recalled(row) {
                    let owner = Owner {
                        fingerprint: out.fingerprint,
                        client: Some(self.client),
                        declared: ClientCapabilities::from_bits(row.key.declared),
                    };
                    let (session, evicted) = entry.sessions.adopt(owner, session);
                    entry.sessions.touch(&session);
                    entry.let_go(evicted.into_iter().collect());
                }
            }
            let uris = self.shared.keeper.subscriptions(self.client, &server);
            let before = wanted.insert(server, uris.clone()).unwrap_or_default();
            entry.hubs.want(&entry, &out, self.client, (before, uris)).await;
        }
        true
    }

    /// Sees to it that all of the client's sessions are listened to; whether nothing is left to be tried again soon.
    async fn listen(&self) -> bool {
        let mut all = true;
        if self.shared.keeper.is_listened_elsewhere(self.client) {
            // The client's stream here is about to end.
            return true;
        }
        for (entry, out) in self.ways() {
            for session in sessions(&entry, &out, self.client, self.declared) {
                // Somebody listens: it is in use.
                entry.sessions.touch(&session);
                let line = entry.line(&out, session);
                match listen::ensure(&line).await {
                    Heard::Open | Heard::None => {}
                    Heard::Later => all = false,
                    Heard::Gone => all &= !entry.renewed(&line, self.lasts.is_some()).await,
                }
            }
        }
        all
    }
}

impl Entry {
    /// A client listens on a session that the server does not know any more. If there is something to listen to, it gets
    /// another one; whether it did. `kept`: whether the client's session outlives its connection, and is written down.
    async fn renewed(self: &Arc<Self>, line: &Line, kept: bool) -> bool {
        let Some(client) = line.session.client() else {
            return false;
        };
        let id = self.server.load().id.clone();
        if self.shared.keeper.subscriptions(client, &id).is_empty() || !self.has_forgotten(line).await {
            return false;
        }
        let owner = Owner {
            fingerprint: line.out.fingerprint,
            client: Some(client),
            declared: line.session.declared(),
        };
        let (slot, _) = self.sessions.slot(owner);
        slot.forget(&line.session);
        let how = Opening {
            kept,
            gone: line.session.id.as_ref(),
        };
        let opened = slot.get_or_open(Box::pin(self.open(&line.out, owner, how)));
        match opened.await {
            Ok(session) => {
                session.belongs_to(client);
                self.sessions.touch(&session);
                true
            }
            Err(fault) => {
                tracing::debug!(server = %self.prefix, %fault, "a session that is listened to was not opened again");
                false
            }
        }
    }

    /// Asks: some servers answer 404 to whoever wants a stream.
    async fn has_forgotten(self: &Arc<Self>, line: &Line) -> bool {
        let message = rpc::request(&self.next_id().to_string(), "ping", None);
        let asked = async {
            let response = self
                .post(&line.out, Some(&line.session), message, Step::Call)
                .await
                .ok()?;
            let status = response.status();
            let words = words_of(&beginning(response).await);
            (!status.is_success()).then(|| means_unknown_session(status, &words))
        };
        timeout(ASK_TIMEOUT, asked).await.ok().flatten().unwrap_or(false)
    }

    /// A client's new session knows nothing of what the client subscribed to: subscribes again, without making anybody wait.
    pub(crate) fn subscribe_again(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        session: &Arc<Session>,
        client: SessionKey,
    ) {
        let id = self.server.load().id.clone();
        let uris = self.shared.keeper.subscriptions(client, &id);
        if uris.is_empty() {
            return;
        }
        let line = self.line(out, session.clone());
        self.tasks.spawn(async move {
            for uri in uris {
                let params = format!(r#"{{"uri":{}}}"#, trunkline_mcp::edit::string(&uri));
                let asked = ask_aside(&line, "resources/subscribe", &params);
                if timeout(ASK_TIMEOUT, asked).await.is_err() {
                    tracing::debug!(server = %line.entry.prefix, "a subscription was not made again in time");
                }
            }
        });
    }
}

/// A request whose answer nobody needs.
async fn ask_aside(line: &Line, method: &str, params: &str) {
    let id = line.entry.next_id();
    let message = rpc::request(&id.to_string(), method, Some(params));
    let asked = async {
        let response = line
            .entry
            .post(&line.out, Some(&line.session), message, Step::Call)
            .await?;
        let deadline = Deadline::after(ASK_TIMEOUT);
        let mut exchange = Exchange::begin(
            line.clone(),
            id,
            Step::Call,
            deadline,
            response,
            (None, None, None),
        )
        .await?;
        while !matches!(exchange.next().await?, Frame::Result(_) | Frame::Error(_)) {}
        Ok::<(), crate::fault::Fault>(())
    };
    if let Err(fault) = asked.await {
        tracing::debug!(server = %line.entry.prefix, method, %fault, "a request aside failed");
    }
}
