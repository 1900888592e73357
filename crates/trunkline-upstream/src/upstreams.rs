//! All upstreams: entries by server, made and replaced as the registry changes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_auth::Vault;
use trunkline_launch::Launcher;
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::header::HeaderParam;
use trunkline_mcp::hidden::Removed;
use trunkline_mcp::{Era, ListKind, ServerCapabilities, modern, rpc, task};
use trunkline_model::{
    Circuit, Clock, Health, KeyMap, Outcome, Server, ServerId, SessionKey, Snapshot, Step,
};
use trunkline_store::{CatalogueRow, Store};
use trunkline_tls::Authorities;

use crate::catalogue::{Catalogue, Known, digest_text};
use crate::credential::{ClientHeaders, Outgoing, Variables};
use crate::egress::Egress;
use crate::entry::{Ask, Entry, Peer, list_timeout};
use crate::era::Leg;
use crate::exchange::{Deadline, Exchange};
use crate::fair::Caller;
use crate::fault::Fault;
use crate::http::{CONNECT_TIMEOUT, HttpClient, status_fault};
use crate::keep::Keeper;
use crate::listen::{Aside, Listeners, Progress};
use crate::listing;
use crate::openapi;
use crate::pins::Held;
use crate::probe::{self, Probe};
use crate::program::ProgramState;
use crate::proxy::Proxies;
use crate::session::{Introduction, Session};
use crate::subscribe::{self, Hearer, Subscribed, TasksWatched};
use crate::upkeep::ENDS;
use crate::watch::{self as watching, Watching};

/// Servers that are listed at the same time while nobody waits for it: many may come up, or back, together.
const ATTEMPTS: usize = 32;
/// One that does not answer keeps its turn for so long.
const TURN: Duration = Duration::from_secs(1);

/// Time for handing an answer of a client to the server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a server to take a client's subscriptions.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Times and rules for all upstreams.
#[derive(Debug, Clone)]
pub struct Settings {
    /// One listing of one server, over all pages.
    pub list_timeout: Duration,
    /// One call, unless the server has a `timeout`.
    pub call_timeout: Duration,
    /// The longest that a request may ask for, where neither its server nor its tool has a time of its own.
    pub max_call_timeout: Duration,
    /// How long a client, which is to say a person, may take to answer a server's request.
    pub answer_timeout: Duration,
    /// How long a health check waits for one server.
    pub health_timeout: Duration,
    /// How long a list waits for servers that were never listed.
    pub fanout_deadline: Duration,
    /// How old a catalogue may be before it is refreshed behind an answer.
    pub catalogue_ttl: Duration,
    /// How long an unused upstream session is kept.
    pub session_idle: Duration,
    /// Failures to reach a server, in a row, after which calls to it fail at once; 0: they never do.
    pub breaker_failures: u32,
    /// Pages of one server's list; more is an endless one (S38).
    pub list_max_pages: usize,
    /// Whether text that people do not see is taken out of what servers say (S30).
    pub strip_hidden_text: bool,
    /// Largest JSON answer and largest event, bytes.
    pub max_message_bytes: usize,
    /// Where connections may go.
    pub egress: Egress,
    /// By way of what.
    pub proxies: Proxies,
    /// How long a connection may take, unless the server has a `connect_timeout`.
    pub connect_timeout: Duration,
    /// PEM text of the authorities that servers without `tls_ca` are believed by; `None`: the machine's.
    pub authorities: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            list_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_mins(1),
            max_call_timeout: Duration::from_mins(10),
            answer_timeout: Duration::from_mins(10),
            health_timeout: Duration::from_secs(10),
            fanout_deadline: Duration::from_secs(2),
            catalogue_ttl: Duration::from_mins(5),
            session_idle: Duration::from_mins(30),
            breaker_failures: 5,
            list_max_pages: 1000,
            strip_hidden_text: false,
            max_message_bytes: 64 * 1024 * 1024,
            egress: Egress::default(),
            proxies: Proxies::default(),
            connect_timeout: CONNECT_TIMEOUT,
            authorities: None,
        }
    }
}

/// What came of the last attempt, with what the pins hold back of what it found.
fn judged(entry: &Entry, server: &Arc<Server>, known: &Known) -> Outcome {
    let mut outcome = entry.described.outcome(known.outcome.clone());
    if let Some(held) = known
        .catalogue
        .as_ref()
        .and_then(|catalogue| catalogue.held(server))
    {
        outcome.rejected.extend(&held.rejected());
    }
    outcome
}

/// The client under these settings.
fn client(settings: &Settings) -> HttpClient {
    // What is in the text was looked at when it was read.
    let own = settings
        .authorities
        .as_deref()
        .and_then(|text| Authorities::of(text).ok());
    HttpClient::new(
        settings.egress.clone(),
        settings.proxies.clone(),
        Arc::new(own.unwrap_or_else(Authorities::usual)),
        settings.connect_timeout,
    )
}

/// What all entries have in common.
pub(crate) struct Shared {
    http: ArcSwap<HttpClient>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) variables: Arc<Variables>,
    pub(crate) store: Option<Store>,
    pub(crate) clock: Arc<dyn Clock>,
    settings: ArcSwap<Settings>,
    pub(crate) tasks: TaskTracker,
    /// The process stops: what waits for something to end does not any more.
    pub(crate) stopping: CancellationToken,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) listeners: Listeners,
    pub(crate) keeper: Keeper,
    /// Turns of those who end sessions.
    pub(crate) ends: Semaphore,
    /// Turns of attempts that nobody waits for.
    pub(crate) attempts: Arc<Semaphore>,
    /// Starts programs.
    pub(crate) launcher: Option<Arc<Launcher>>,
    /// Where they and what reads them belong.
    pub(crate) runtime: Option<tokio::runtime::Handle>,
    /// Makes [`Caller`]s.
    callers: RandomState,
}

impl Shared {
    /// The settings as they are now; not to be held over an `await`.
    pub(crate) fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// The client of all connections to servers.
    pub(crate) fn http(&self) -> Arc<HttpClient> {
        self.http.load_full()
    }
}

/// The upstreams.
pub struct Upstreams {
    shared: Arc<Shared>,
    entries: RwLock<KeyMap<ServerId, Arc<Entry>>>,
}

/// One request of a client to a server.
pub struct CallRequest {
    /// The server.
    pub server: Arc<Server>,
    /// What is sent for this client.
    pub out: Arc<Outgoing>,
    /// The client.
    pub peer: Peer,
    /// The client's era.
    pub era: Era,
    /// Parameters that are mirrored in headers.
    pub header_params: Vec<HeaderParam>,
    /// JSON-RPC method.
    pub method: Cow<'static, str>,
    /// The parameters, with the server's own names: raw JSON.
    pub params: Arc<str>,
    /// How long the whole of it may take.
    pub timeout: Duration,
    /// Where progress goes that does not come on the request's own stream.
    pub progress: Option<Progress>,
}

impl Upstreams {
    /// No entries yet. `store` keeps the catalogues, `variables` answers `os.environ/NAME`, `launcher` starts programs.
    pub fn new(
        settings: Settings,
        vault: Arc<Vault>,
        variables: Arc<Variables>,
        store: Option<Store>,
        clock: Arc<dyn Clock>,
        launcher: Option<Arc<Launcher>>,
    ) -> Self {
        let shared = Shared {
            http: ArcSwap::from_pointee(client(&settings)),
            vault,
            variables,
            keeper: Keeper::new(store.clone(), clock.clone()),
            ends: Semaphore::new(ENDS),
            attempts: Arc::new(Semaphore::new(ATTEMPTS)),
            callers: RandomState::new(),
            store,
            clock,
            settings: ArcSwap::from_pointee(settings),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            changed: watch::channel(0).0,
            listeners: Listeners::default(),
            launcher,
            runtime: tokio::runtime::Handle::try_current().ok(),
        };
        Self {
            shared: Arc::new(shared),
            entries: RwLock::default(),
        }
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings.load_full()
    }

    /// Other settings from now on; what is under way goes on with those it began with. Under other rules of how
    /// connections are made none is used on that was opened under these.
    pub fn set_settings(&self, settings: Settings) {
        let own = self.settings();
        let way = |settings: &Settings| {
            (
                settings.egress.clone(),
                settings.proxies.clone(),
                settings.connect_timeout,
                settings.authorities.clone(),
            )
        };
        if way(&settings) != way(&own) {
            self.shared.http.store(Arc::new(client(&settings)));
        }
        self.shared.settings.store(Arc::new(settings));
    }

    /// How long listing a server may take: its own time, else the general one.
    pub fn list_timeout(&self, server: &Server) -> Duration {
        list_timeout(server, &self.shared.settings())
    }

    /// Counts changes of what tools there are.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// The entry of a server as it is registered now.
    pub fn entry(&self, server: &Arc<Server>) -> Arc<Entry> {
        let found = self
            .entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&server.id)
            .cloned();
        if let Some(entry) = found.filter(|entry| entry.is_for(server)) {
            return entry;
        }
        let (replaced, entry) = {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            // Of those who come right after a change the first makes the entry, and the others find it.
            if let Some(entry) = entries.get(&server.id).filter(|entry| entry.is_for(server)) {
                return entry.clone();
            }
            let own = entries.get(&server.id);
            let entry = Entry::following(server.clone(), self.shared.clone(), own.map(|own| &**own));
            if own.is_some_and(|own| own.server.load().stamps.updated_at > server.stamps.updated_at) {
                // A request that began before the change ends as it began, and does not take it back for others.
                if own.is_some_and(|own| !Arc::ptr_eq(&own.sessions, &entry.sessions)) {
                    entry.end_when_left();
                }
                return entry;
            }
            entry.takes_its_place();
            (entries.insert(server.id.clone(), entry.clone()), entry)
        };
        if let Some(old) = replaced {
            old.retire(Some(&entry));
        }
        entry
    }

    /// The entry of a server, if there is one.
    pub(crate) fn find(&self, id: &ServerId) -> Option<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(id).cloned()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Brings the entries in line with the registry: those of deleted servers end.
    pub fn reconcile(&self, snapshot: &Snapshot) {
        let gone: Vec<Arc<Entry>> = {
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            entries
                .extract_if(|id, _| snapshot.get(id).is_none())
                .map(|(_, entry)| entry)
                .collect()
        };
        for entry in gone {
            entry.retire(None);
        }
        for server in snapshot.servers().iter().filter(|server| server.is_active()) {
            self.entry(server);
        }
        self.shared.changed.send_modify(|count| *count += 1);
    }

    /// Puts the stored catalogues in, so that the first list needs no upstream. Rows of another definition are ignored.
    pub async fn seed(&self, snapshot: &Snapshot) -> Result<usize, trunkline_store::StoreError> {
        let Some(store) = &self.shared.store else {
            return Ok(0);
        };
        let (mut seeded, mut orphans) = (0, Vec::new());
        let each = |row: CatalogueRow| match snapshot.get(&row.server_id) {
            Some(server) if server.is_active() => seeded += usize::from(self.seed_one(server, row).is_some()),
            Some(_) => {}
            None => orphans.push(row.server_id),
        };
        store.catalogue_each(each).await?;
        for id in orphans {
            // Its server was deleted while the list was on its way into the database.
            store.catalogue_delete(&id).await?;
        }
        Ok(seeded)
    }

    /// `None`: it is of another definition, or cannot be read.
    fn seed_one(&self, server: &Arc<Server>, row: CatalogueRow) -> Option<()> {
        let entry = self.entry(server);
        let fingerprint = entry.own_fingerprint()?;
        if digest_text(&fingerprint) != row.definition_digest {
            return None;
        }
        let introduction = Introduction {
            server_info: row.server_info,
            instructions: row.instructions,
            capabilities: row
                .capabilities
                .as_deref()
                .map(ServerCapabilities::new)
                .unwrap_or_default(),
        };
        let rules = listing::rules(server, &self.shared.settings());
        let catalogue = Catalogue::stored(
            &row.tools,
            rules,
            introduction,
            row.protocol_version,
            row.fetched_at,
        )?;
        // For whatever turns out to be spoken with it.
        let era = if catalogue.revision.as_deref() == Some(modern::VERSION.as_str()) {
            Era::Modern
        } else {
            Era::Legacy
        };
        let catalogue = Arc::new(catalogue);
        for era in [Era::Legacy, era] {
            entry
                .catalogue(ListKind::Tools, era, fingerprint)
                .seed(&catalogue);
        }
        Some(())
    }

    /// Starts listing every active server in the background. Servers with a stored catalogue can wait a little, so that
    /// a restart is no burst.
    pub fn warm_up(&self, snapshot: &Snapshot) {
        for (index, server) in snapshot
            .servers()
            .iter()
            .filter(|server| server.is_active())
            .enumerate()
        {
            let entry = self.entry(server);
            let Ok(out) = entry.outgoing(&ClientHeaders::none()) else {
                continue;
            };
            let slot = entry.own_list(&out);
            let delay = if slot.known().catalogue.is_some() {
                Duration::from_millis(500 + (index as u64 % 50) * 20)
            } else {
                Duration::ZERO
            };
            let attempts = self.shared.attempts.clone();
            self.shared.tasks.spawn(async move {
                tokio::time::sleep(delay).await;
                // A client that wants the list does not wait for its turn.
                let _turn = attempts.acquire().await;
                // Meanwhile it may be another server, or none: where it was, with what it was sent, nobody is asked any more.
                if entry.retired.load(Ordering::Relaxed) {
                    return;
                }
                // Boxed: most are waiting, and there may be thousands.
                Box::pin(slot.current(&entry, &out, Duration::ZERO)).await;
                slot.settled(TURN).await;
            });
        }
    }

    /// Tries the servers again that failed and may be back, each when its back-off is over (B01). Called every second:
    /// clients list once and wait to be told of changes, so without this nobody would find out.
    pub fn retry(&self, snapshot: &Snapshot) {
        for server in snapshot.servers().iter().filter(|server| server.is_active()) {
            let entry = self.entry(server);
            let Ok(out) = entry.outgoing(&ClientHeaders::none()) else {
                continue;
            };
            openapi::refresh(&entry, &out);
            let slot = entry.own_list(&out);
            if !slot.wants_retry() {
                continue;
            }
            let Ok(turn) = self.shared.attempts.clone().try_acquire_owned() else {
                return;
            };
            slot.retry(&entry, &out);
            self.shared.tasks.spawn(async move {
                slot.settled(TURN).await;
                drop(turn);
            });
        }
    }

    /// How a server is.
    pub fn health(&self, server: &Arc<Server>) -> Health {
        let outcome = self.outcome(server);
        let listed = self.tool_count(server).is_some();
        Health::of(server, &outcome, listed, self.circuit(server))
    }

    /// Whether calls to a server are let through.
    pub fn circuit(&self, server: &Arc<Server>) -> Circuit {
        self.entry(server).breaker.circuit()
    }

    /// A principal, as far as turns depend on it.
    pub fn caller(&self, principal: &str) -> Caller {
        Caller(self.shared.callers.hash_one(principal))
    }

    /// What is known about one of a server's lists for a client; waits up to `wait` where nothing is known yet.
    pub async fn catalogue(
        &self,
        (kind, era): (ListKind, Era),
        server: &Arc<Server>,
        client: &ClientHeaders<'_>,
        wait: Duration,
    ) -> Result<Arc<Known>, Fault> {
        let entry = self.entry(server);
        let out = entry.outgoing(client)?;
        let era = match entry.known_leg(era) {
            Some(leg) => leg.era(),
            None if wait.is_zero() => Era::Legacy,
            // It says which list to look at; what is wrong with the server is found out again by the listing.
            None => tokio::time::timeout(wait, entry.leg(era, &out))
                .await
                .ok()
                .and_then(Result::ok)
                .map_or(Era::Legacy, |leg| leg.era()),
        };
        let (slot, out) = entry.list_of((kind, era), out);
        Ok(slot.current(&entry, &out, wait).await)
    }

    /// The same without waiting and without an attempt.
    pub fn known(
        &self,
        (kind, era): (ListKind, Era),
        server: &Arc<Server>,
        client: &ClientHeaders<'_>,
    ) -> Result<Arc<Known>, Fault> {
        let entry = self.entry(server);
        let out = entry.outgoing(client)?;
        let era = entry.known_leg(era).map_or(Era::Legacy, |leg| leg.era());
        Ok(entry.list_of((kind, era), out).0.known())
    }

    /// Something is asked for that the catalogue does not have: lists again, not too often, and waits for it.
    pub async fn catalogue_again(
        &self,
        (kind, era): (ListKind, Era),
        server: &Arc<Server>,
        client: &ClientHeaders<'_>,
        wait: Duration,
    ) -> Result<Arc<Known>, Fault> {
        let entry = self.entry(server);
        let out = entry.outgoing(client)?;
        let era = entry.known_leg(era).map_or(Era::Legacy, |leg| leg.era());
        let (slot, out) = entry.list_of((kind, era), out);
        if slot.demand(&entry, &out) {
            Ok(slot.attempt(&entry, &out, wait).await)
        } else {
            Ok(slot.known())
        }
    }

    /// The upstream said that one of its lists changed.
    pub fn list_changed(&self, kind: ListKind, server: &Arc<Server>, out: &Arc<Outgoing>) {
        let entry = self.entry(server);
        for era in [Era::Legacy, Era::Modern] {
            let (slot, out) = entry.list_of((kind, era), out.clone());
            slot.announce(&entry, &out);
        }
    }

    /// Lists a server now, through the normal path, and says what came of it, at the latest after the health check's
    /// deadline.
    pub async fn refresh(&self, server: &Arc<Server>) -> Outcome {
        let entry = self.entry(server);
        let settings = self.settings();
        let fault = match entry.outgoing(&ClientHeaders::none()) {
            Ok(out) => {
                let slot = entry.own_list(&out);
                let attempt = slot.attempt(&entry, &out, entry.list_timeout());
                match tokio::time::timeout(settings.health_timeout, attempt).await {
                    Ok(known) => return judged(&entry, server, &known),
                    Err(_) => Fault::timeout(Step::List, settings.health_timeout)
                        .hint("the server is slow or hangs; the listing goes on in the background"),
                }
            }
            Err(fault) => fault,
        };
        fault.outcome(self.shared.clock.now(), Duration::ZERO)
    }

    /// What came of the last attempt with the server's own credential.
    pub fn outcome(&self, server: &Arc<Server>) -> Outcome {
        match self.known((ListKind::Tools, Era::Legacy), server, &ClientHeaders::none()) {
            Ok(known) => judged(&self.entry(server), server, &known),
            Err(fault) => fault.outcome(self.shared.clock.now(), Duration::ZERO),
        }
    }

    /// What is known of the tools that the server lists with its own credential, in every era that it is spoken to in.
    pub fn tool_lists(&self, server: &Arc<Server>) -> Vec<Arc<Catalogue>> {
        let mut lists: Vec<Arc<Catalogue>> = Vec::new();
        for era in [Era::Legacy, Era::Modern] {
            let known = self.known((ListKind::Tools, era), server, &ClientHeaders::none());
            let list = known.ok().and_then(|known| known.usable().cloned());
            lists.extend(list.filter(|list| !lists.iter().any(|own| Arc::ptr_eq(own, list))));
        }
        lists
    }

    /// Lists the tools now, in every era that the server is spoken to in, with its own credential.
    pub async fn list_tools(&self, server: &Arc<Server>) -> Result<Vec<Arc<Catalogue>>, Outcome> {
        let outcome = self.refresh(server).await;
        if !outcome.is_ok() {
            return Err(outcome);
        }
        let settings = self.settings();
        let failed = |fault: Fault| fault.outcome(self.shared.clock.now(), Duration::ZERO);
        let entry = self.entry(server);
        let out = entry.outgoing(&ClientHeaders::none()).map_err(failed)?;
        let late = || Fault::timeout(Step::List, settings.health_timeout);
        let leg = tokio::time::timeout(settings.health_timeout, entry.leg(Era::Modern, &out));
        let other = leg.await.map_err(|_| failed(late()))?.map_err(failed)?.era();
        if other != entry.own_era() {
            let slot = entry.catalogue(ListKind::Tools, other, out.fingerprint);
            let attempt = slot.attempt(&entry, &out, entry.list_timeout());
            let known = tokio::time::timeout(settings.health_timeout, attempt)
                .await
                .map_err(|_| failed(late()))?;
            if !known.outcome.is_ok() {
                return Err(known.outcome.clone());
            }
        }
        Ok(self.tool_lists(server))
    }

    /// What the pins of a server hold back of its own list; `None` where nothing is pinned, or nothing known.
    pub fn held(&self, server: &Arc<Server>) -> Option<Arc<Held>> {
        let known = self.known((ListKind::Tools, Era::Legacy), server, &ClientHeaders::none());
        known.ok()?.catalogue.as_ref()?.held(server)
    }

    /// Hidden text in the definitions of the tools that the server lists with its own credential.
    pub fn hidden_text(&self, server: &Arc<Server>) -> Option<Removed> {
        let known = self.known((ListKind::Tools, Era::Legacy), server, &ClientHeaders::none());
        Some(known.ok()?.catalogue.as_ref()?.hidden)
    }

    /// How many tools the server's own catalogue has.
    pub fn tool_count(&self, server: &Arc<Server>) -> Option<usize> {
        let known = self
            .known((ListKind::Tools, Era::Legacy), server, &ClientHeaders::none())
            .ok()?;
        known.catalogue.as_ref().map(|catalogue| catalogue.items.len())
    }

    /// Whether the last good list that was fetched with the server's own credential has a tool, by its own name or with the
    /// server's prefix; `None` if there is no such list.
    pub fn has_tool(&self, server: &Arc<Server>, tool: &str) -> Option<bool> {
        let known = self
            .known((ListKind::Tools, Era::Legacy), server, &ClientHeaders::none())
            .ok()?;
        let catalogue = known.catalogue.as_ref()?;
        let prefix = server.prefix();
        let own = tool
            .strip_prefix(prefix.as_str())
            .and_then(|rest| rest.strip_prefix('-'));
        Some(catalogue.find(tool).is_some() || own.is_some_and(|own| catalogue.find(own).is_some()))
    }

    /// The annotations of a tool of that list, by its own name: JSON text, `{}` if it has none.
    pub fn annotations(&self, server: &Arc<Server>, tool: &str) -> Option<String> {
        let known = self
            .known((ListKind::Tools, Era::Legacy), server, &ClientHeaders::none())
            .ok()?;
        let catalogue = known.catalogue.as_ref()?;
        let item = catalogue.find(tool)?;
        let object = RawObject::parse(item.raw.get()).ok();
        let own = object.as_ref().and_then(|object| object.get("annotations"));
        Some(own.unwrap_or("{}").to_owned())
    }

    /// The credential phase for a client's request to a server.
    pub fn outgoing(&self, server: &Arc<Server>, client: &ClientHeaders<'_>) -> Result<Arc<Outgoing>, Fault> {
        self.entry(server).outgoing(client)
    }

    /// Begins a call. Nothing is sent before the future is polled.
    pub fn call(
        self: &Arc<Self>,
        request: CallRequest,
    ) -> impl Future<Output = Result<Exchange, Fault>> + Send + use<> {
        let upstreams = self.clone();
        // No `async fn`, which would hold the request twice: as it came, and as it is used.
        async move {
            let entry = upstreams.entry(&request.server);
            let deadline = Deadline::after(request.timeout);
            let ask = Ask {
                peer: request.peer,
                era: request.era,
                header_params: &request.header_params,
                method: &request.method,
                params: Some(&request.params),
                progress: request.progress.as_ref(),
            };
            entry.request(&request.out, &ask, deadline).await
        }
    }

    /// A client's answer to a request that a server made on `session`. Nothing waits for its effect: what comes of it comes
    /// on the stream that the server asked on.
    pub async fn answer(
        &self,
        server: &Arc<Server>,
        out: &Arc<Outgoing>,
        session: &Session,
        message: String,
    ) -> Result<(), Fault> {
        let entry = self.entry(server);
        let sent = entry.post(out, Some(session), message, Step::Call);
        let deadline = Deadline::after(ANSWER_TIMEOUT);
        let response = tokio::time::timeout_at(deadline.at(), sent)
            .await
            .map_err(|_| deadline.missed(Step::Call))??;
        if response.status().is_success() {
            return Ok(());
        }
        Err(status_fault(server, Step::Call, response)
            .await
            .without(out.secrets()))
    }

    /// One client's roots were told on the session, and servers keep them for as long as it lasts: no other client's requests
    /// come onto it.
    pub fn set_apart(&self, server: &Arc<Server>, session: &Arc<Session>) {
        if session.client().is_none() {
            self.entry(server).set_apart(session);
        }
    }

    /// Whether a client of an era is known to be spoken to in that era by the server.
    pub fn speaks(&self, server: &Arc<Server>, era: Era) -> bool {
        self.entry(server)
            .known_leg(era)
            .is_some_and(|leg| leg.era() == era)
    }

    /// Whether a server declares an extension of 2026-07-28 to clients of it, or was not asked yet.
    pub fn may_extend(&self, server: &Arc<Server>, extension: &str) -> bool {
        match self.entry(server).known_leg(Era::Modern) {
            None => true,
            Some(Leg::Legacy) => false,
            Some(Leg::Modern(session)) => session.introduction.capabilities.offers("extensions", extension),
        }
    }

    /// Keeps a stream to the server open on which it can say that its lists have changed, as long as the answer lives.
    pub fn watch(
        &self,
        server: &Arc<Server>,
        client: &ClientHeaders<'_>,
        era: Era,
    ) -> Result<Watching, Fault> {
        let entry = self.entry(server);
        let out = entry.outgoing(client)?;
        Ok(watching::watch(&entry, &out, era))
    }

    /// Subscribes to resources of a server, by its own URIs, for a listener of the new era; `hearer` gets what it says.
    /// The answer says which were taken; the subscriptions end with it.
    pub async fn subscribe(
        &self,
        server: &Arc<Server>,
        client: &ClientHeaders<'_>,
        uris: &[String],
        hearer: Hearer,
    ) -> Result<Subscribed, Fault> {
        let entry = self.entry(server);
        let out = entry.outgoing(client)?;
        let deadline = Deadline::after(SUBSCRIBE_TIMEOUT);
        let subscribed = async {
            match entry.leg(Era::Modern, &out).await? {
                Leg::Modern(_) => subscribe::modern(&entry, &out, uris, hearer).await,
                Leg::Legacy => subscribe::legacy(&entry, &out, uris, hearer).await,
            }
        };
        // A silent server must not keep the client from hearing of the others.
        tokio::time::timeout_at(deadline.at(), subscribed)
            .await
            .unwrap_or_else(|_| Err(deadline.missed(Step::Call)))
    }

    /// Watches tasks of a server of the new era, by its own ids; `hearer` gets what it says. The answer says which were
    /// taken; it ends with it. `meta` is that of the client's request: raw JSON.
    pub async fn watch_tasks(
        &self,
        server: &Arc<Server>,
        client: &ClientHeaders<'_>,
        (ids, meta): (&[String], &str),
        hearer: Hearer,
    ) -> Result<TasksWatched, Fault> {
        let entry = self.entry(server);
        let out = entry.outgoing(client)?;
        let deadline = Deadline::after(SUBSCRIBE_TIMEOUT);
        let watched = subscribe::tasks(&entry, &out, (ids, meta), hearer);
        tokio::time::timeout_at(deadline.at(), watched)
            .await
            .unwrap_or_else(|_| Err(deadline.missed(Step::Call)))
    }

    /// Tells a server that nobody waits for a task of its any more, without making anybody wait. `params` name it.
    pub fn cancel_task(
        &self,
        server: &Arc<Server>,
        out: &Arc<Outgoing>,
        session: &Arc<Session>,
        params: &str,
    ) {
        let entry = self.entry(server);
        let id = entry.next_id().to_string();
        let message = rpc::request(&id, task::CANCEL, Some(params));
        entry.line(out, session.clone()).post_aside(message, None);
    }

    /// The client listens for what servers say outside of its requests.
    pub fn listen(&self, client: SessionKey) -> mpsc::Receiver<Aside> {
        self.shared.listeners.enter(client)
    }

    /// Sends a notification of the client on all upstream sessions that are its own, without making anybody wait. `kept`:
    /// whether its sessions are written down; then those that only other processes have used are among them.
    pub fn notify(&self, client: SessionKey, message: &str, kept: bool) {
        let mut told = HashSet::new();
        for entry in self.all() {
            let server = entry.server.load().id.clone();
            let ids = entry.notify(client, message).into_iter();
            told.extend(ids.map(|id| (server.clone(), id)));
        }
        if !kept || self.shared.keeper.store().is_none() {
            return;
        }
        let (shared, message) = (self.shared.clone(), message.to_owned());
        let entries = self.all();
        self.shared.tasks.spawn(async move {
            let rows = shared.keeper.look_up(client).await.unwrap_or_default();
            for row in rows {
                let entry = entries
                    .iter()
                    .find(|entry| entry.server.load().id == row.key.server);
                let session = entry.and_then(|entry| Some((entry, entry.recalled(&row)?)));
                if let Some((entry, session)) = session
                    && let Some(id) = &session.id
                    && !told.contains(&(row.key.server.clone(), id.clone()))
                {
                    entry.notify_on(row.key.credential, session, message.clone());
                }
            }
        });
    }

    /// Walks the hand-shake with a fresh session and reports every step. Touches no pool and no catalogue.
    pub async fn probe(&self, server: &Server, client: &ClientHeaders<'_>) -> Probe {
        probe::run(&self.shared, server, client).await
    }

    /// What runs of a server that is a program, or ran.
    pub fn programs(&self, id: &ServerId) -> Vec<ProgramState> {
        self.find(id)
            .map(|entry| entry.programs.states())
            .unwrap_or_default()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}
