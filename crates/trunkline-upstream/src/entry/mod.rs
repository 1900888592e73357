//! What the gateway keeps about one server at run time: where it really is, its sessions, its catalogues, its limits.
//!
//! - [`open`]: the session that a request runs on
//! - [`request`]: one request, from its place in the queue to the beginning of its answer
//! - [`send`]: one message

mod open;
mod request;
mod send;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderName;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_mcp::header::HeaderParam;
use trunkline_mcp::{ClientCapabilities, Era, ListKind};
use trunkline_model::{KeyMap, OutcomeStatus, Server, ServerDefinition, SessionKey, Step};

use crate::breaker::Breaker;
use crate::catalogue::CatalogueSlot;
use crate::credential::{self, ClientHeaders, Outgoing};
use crate::era::Verdict;
use crate::exchange::Line;
use crate::fair::{Caller, Places};
use crate::fault::Fault;
use crate::http::Target;
use crate::hub::Hubs;
use crate::legacy::Legacy;
use crate::listen::Progress;
use crate::openapi;
use crate::pins;
use crate::program::Programs;
use crate::route::Route;
use crate::session::{Session, Sessions};
use crate::upstreams::{Settings, Shared};
use crate::watch::Watched;

pub(crate) use open::{Opening, initialize_timeout, read_initialize, rpc_fault};

/// Requests of a server that are being answered at the same time.
const MAX_ASIDES: usize = 16;
/// Lists of clients' credentials that are remembered per server.
const MAX_CATALOGUES: usize = 1024;

static SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// One server at run time. Made anew when its definition changes.
pub struct Entry {
    /// The registration; replaced when only its pointer or its stamps changed.
    pub server: ArcSwap<Server>,
    /// Its prefix, for logs.
    pub prefix: String,
    pub(crate) shared: Arc<Shared>,
    /// Digest of what a session with it depends on: one that was opened under another is of no use.
    pub(crate) definition: String,
    /// How connections to it are made, or why none can be.
    route: Result<Arc<Route>, Fault>,
    /// What is sent without a client's headers, or why nothing can be.
    own: Result<Arc<Outgoing>, Fault>,
    /// Where the server redirected to, within its origin.
    moved: Arc<ArcSwapOption<Target>>,
    /// The sessions with it.
    pub sessions: Arc<Sessions>,
    next_id: AtomicU64,
    /// Which eras it speaks.
    pub(crate) verdict: Arc<Verdict>,
    /// `max_concurrent_requests`.
    places: Option<Arc<Places>>,
    /// Whether calls are let through.
    pub(crate) breaker: Arc<Breaker>,
    /// Another definition took its place, or none: nothing is begun for it any more.
    pub(crate) retired: AtomicBool,
    /// Another server is in its place, or none: what was subscribed to with it is lost.
    pub(crate) superseded: CancellationToken,
    /// Who is to be told of changes.
    watched: Mutex<Watched>,
    /// Subscriptions of clients of the old era, where the server is of the new one.
    pub(crate) hubs: Hubs,
    /// Answers to the server's own requests that are under way.
    pub(crate) asides: Arc<Semaphore>,
    catalogues: Mutex<Catalogues>,
    /// What the audit log has of lists that are not what is pinned.
    pub(crate) drift_told: Mutex<pins::Told>,
    /// Of a server that is an HTTP API: its document, and how its use goes.
    pub(crate) described: Arc<openapi::Described>,
    pub(crate) tasks: TaskTracker,
    /// Sessions of the legacy transport.
    pub(crate) legacy: Arc<Legacy>,
    /// What runs of it, if it is a program.
    pub(crate) programs: Arc<Programs>,
    /// This one, or the one that goes on in its place.
    pub(crate) current: Arc<Current>,
    me: Weak<Self>,
}

/// The entry that is there now, for what outlives a change of its server's description.
#[derive(Default)]
pub(crate) struct Current(Mutex<Weak<Entry>>);

impl Current {
    fn set(&self, entry: &Arc<Entry>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(entry);
    }

    /// It, unless the server is gone.
    pub(crate) fn get(&self) -> Option<Arc<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}

/// By credential, list and era.
type Catalogues = KeyMap<([u8; 16], ListKind, Era), Arc<CatalogueSlot>>;

/// A request to send.
pub(crate) struct Ask<'a> {
    /// On whose behalf.
    pub(crate) peer: Peer,
    /// The client's era.
    pub(crate) era: Era,
    /// JSON-RPC method.
    pub(crate) method: &'a str,
    /// Raw JSON, as it is in the client's era.
    pub(crate) params: Option<&'a str>,
    /// Parameters that are mirrored in headers.
    pub(crate) header_params: &'a [HeaderParam],
    /// Where progress goes that does not come on the request's own stream.
    pub(crate) progress: Option<&'a Progress>,
}

/// The client behind a request, as far as the upstream session depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Who it is, where callers take turns.
    pub caller: Caller,
    /// Its gateway session.
    pub client: Option<SessionKey>,
    /// What servers may ask it in the middle of a request: declared to them, and handed on.
    pub capabilities: ClientCapabilities,
    /// Nothing can be asked in this request, whatever the session says.
    pub mute: bool,
    /// The log level that it set.
    pub log_level: Option<&'static str>,
    /// Its session outlives this process: what belongs to it is written down.
    pub kept: bool,
}

impl Peer {
    /// What it can be asked in the middle of this request.
    pub(crate) fn asks(&self) -> ClientCapabilities {
        if self.mute {
            ClientCapabilities::NONE
        } else {
            self.capabilities
        }
    }
}

impl<'a> Ask<'a> {
    /// A list, asked for on nobody's behalf.
    pub(crate) fn list(kind: ListKind, era: Era, params: Option<&'a str>) -> Self {
        Self {
            peer: Peer::default(),
            era,
            method: kind.method(),
            params,
            header_params: &[],
            progress: None,
        }
    }

    pub(crate) fn step(&self) -> Step {
        if ListKind::of_method(self.method).is_some() {
            Step::List
        } else {
            Step::Call
        }
    }
}

impl Entry {
    pub(crate) fn new(server: Arc<Server>, shared: Arc<Shared>) -> Arc<Self> {
        Self::following(server, shared, None)
    }

    /// An entry in the place of `before`, if there was one: it goes on with what the change did not concern, so that nobody who
    /// uses the server hears of a new description.
    pub(crate) fn following(server: Arc<Server>, shared: Arc<Shared>, before: Option<&Self>) -> Arc<Self> {
        let route = Route::of(&server, &shared.vault, &*shared.variables).map(Arc::new);
        let own = outgoing(&server, &ClientHeaders::none(), &shared, &route);
        let definition = definition(&server, own.as_ref().ok().map(|own| &**own), &shared);
        let before = before.filter(|before| before.definition == definition);
        let then = before.map(|before| before.server.load_full());
        let same = |field: fn(&ServerDefinition) -> Option<u32>| {
            then.as_ref()
                .is_some_and(|then| field(&then.definition) == field(&server.definition))
        };
        let kept_way = before.filter(|_| {
            let time = |server: &Server| server.definition.connect_timeout;
            then.as_ref().is_some_and(|then| time(then) == time(&server))
        });
        let kept_places = before.filter(|_| same(|definition| definition.max_concurrent_requests));
        // Without a credential of its own there is nothing that says whether it is the same document.
        let kept_document = before.filter(|_| own.is_ok());
        let kept_lists = before.filter(|_| same(|definition| Some(definition.schema_compat.into())));
        let places = server.definition.max_concurrent_requests;
        let places = places.map(|count| Places::new(usize::try_from(count.max(1)).unwrap_or(1)));
        let entry = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            drift_told: Mutex::default(),
            legacy: before.map(|before| before.legacy.clone()).unwrap_or_default(),
            programs: before.map(|before| before.programs.clone()).unwrap_or_default(),
            current: before.map(|before| before.current.clone()).unwrap_or_default(),
            prefix: server.prefix(),
            definition,
            sessions: before.map_or_else(
                || Arc::new(Sessions::new(server.definition.session)),
                |before| before.sessions.clone(),
            ),
            route,
            own,
            moved: kept_way.map(|before| before.moved.clone()).unwrap_or_default(),
            next_id: AtomicU64::new(first_id()),
            verdict: before.map(|before| before.verdict.clone()).unwrap_or_default(),
            watched: Mutex::default(),
            hubs: Hubs::default(),
            retired: AtomicBool::new(false),
            superseded: CancellationToken::new(),
            asides: Arc::new(Semaphore::new(MAX_ASIDES)),
            places: kept_places.map_or(places, |before| before.places.clone()),
            breaker: before.map(|before| before.breaker.clone()).unwrap_or_default(),
            catalogues: Mutex::new(kept_lists.map(Self::lists).unwrap_or_default()),
            described: kept_document
                .map(|before| before.described.clone())
                .unwrap_or_default(),
            tasks: shared.tasks.clone(),
            server: ArcSwap::from(server),
            shared,
        });
        if before.is_none() {
            entry.takes_its_place();
        }
        entry
    }

    /// From now on it is the entry of its server. One that is made for a request under an older definition never is.
    pub(crate) fn takes_its_place(self: &Arc<Self>) {
        self.current.set(self);
    }

    fn lists(&self) -> Catalogues {
        let catalogues = self.catalogues.lock().unwrap_or_else(PoisonError::into_inner);
        catalogues.clone()
    }

    /// Whether this is the entry of that registration; a new pointer to the same one is taken over.
    pub(crate) fn is_for(&self, server: &Arc<Server>) -> bool {
        let own = self.server.load();
        if Arc::ptr_eq(&own, server) {
            return true;
        }
        let same = own.definition == server.definition && own.defect == server.defect;
        if same {
            self.server.store(server.clone());
        }
        same
    }

    /// What is sent for a client with these headers. The credential phase: the only one.
    pub fn outgoing(&self, client: &ClientHeaders<'_>) -> Result<Arc<Outgoing>, Fault> {
        let server = self.server.load();
        if client.concerns(&server) {
            outgoing(&server, client, &self.shared, &self.route)
        } else {
            self.own.clone()
        }
    }

    /// What is sent without a client's headers, if that can be.
    pub(crate) fn own(&self) -> Option<&Arc<Outgoing>> {
        self.own.as_ref().ok()
    }

    /// How long listing it may take: its own time, else the general one.
    pub(crate) fn list_timeout(&self) -> Duration {
        list_timeout(&self.server.load(), &self.shared.settings())
    }

    /// The fingerprint of the server's own credential, if it can be used at all.
    pub fn own_fingerprint(&self) -> Option<[u8; 16]> {
        self.own.as_ref().ok().map(|out| out.fingerprint)
    }

    /// The catalogue under a credential.
    pub(crate) fn catalogue(&self, kind: ListKind, era: Era, fingerprint: [u8; 16]) -> Arc<CatalogueSlot> {
        let key = (fingerprint, kind, era);
        let mut catalogues = self.catalogues.lock().unwrap_or_else(PoisonError::into_inner);
        if catalogues.len() >= MAX_CATALOGUES && !catalogues.contains_key(&key) {
            // Clients' credentials come and go; the server's own stays.
            let own = self.own_fingerprint();
            let oldest = catalogues
                .iter()
                .filter(|((fingerprint, ..), _)| Some(*fingerprint) != own)
                .min_by_key(|(_, slot)| slot.created());
            if let Some(key) = oldest.map(|(key, _)| *key) {
                catalogues.remove(&key);
            }
        }
        catalogues
            .entry(key)
            .or_insert_with(|| Arc::new(CatalogueSlot::new(kind, era, &self.shared)))
            .clone()
    }

    /// The list of tools that the server is judged by: with its own credential, in the era that clients with a hand-shake get it
    /// in.
    pub(crate) fn own_list(&self, out: &Outgoing) -> Arc<CatalogueSlot> {
        self.catalogue(ListKind::Tools, self.own_era(), out.fingerprint)
    }

    /// The era of that list.
    pub(crate) fn own_era(&self) -> Era {
        self.known_leg(Era::Legacy).map_or(Era::Legacy, |leg| leg.era())
    }

    /// The catalogue for a request with these headers, and what it is listed with. What a server calls public is fetched once,
    /// with its own credential, for everybody; everything else is nobody's but who asked with that credential (S36).
    pub(crate) fn list_of(
        &self,
        (kind, era): (ListKind, Era),
        out: Arc<Outgoing>,
    ) -> (Arc<CatalogueSlot>, Arc<Outgoing>) {
        if let Ok(own) = &self.own
            && own.fingerprint != out.fingerprint
        {
            let slot = self.catalogue(kind, era, own.fingerprint);
            if slot.is_public() {
                return (slot, own.clone());
            }
        }
        (self.catalogue(kind, era, out.fingerprint), out)
    }

    pub(crate) fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id for a request, unique with this server.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A line on which nobody can be asked anything.
    pub(crate) fn line(self: &Arc<Self>, out: &Arc<Outgoing>, session: Arc<Session>) -> Line {
        Line {
            entry: self.clone(),
            out: out.clone(),
            session,
            asks: ClientCapabilities::NONE,
        }
    }

    pub(crate) fn myself(&self) -> Result<Arc<Self>, Fault> {
        let gone = || Fault::new(OutcomeStatus::Internal, Step::Call, "the server is gone");
        self.me.upgrade().ok_or_else(gone)
    }

    /// A program of the server ended by itself. If it is the one that the server is judged by, everybody sees that until it
    /// is listed again, which starts it again.
    pub(crate) fn program_ended(self: &Arc<Self>, environment: [u8; 16], era: Era, fault: &Fault) {
        if let Some(own) = self.own().filter(|own| own.fingerprint == environment)
            && era == self.own_era()
            && !self.retired.load(Ordering::Relaxed)
        {
            self.own_list(own).lost(self, own, fault);
        }
    }
}

/// How long listing a server may take: its own time, else the general one.
pub(crate) fn list_timeout(server: &Server, settings: &Settings) -> Duration {
    let own = server.definition.list_timeout;
    let own = own.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    own.unwrap_or(settings.list_timeout)
}

fn outgoing(
    server: &Server,
    client: &ClientHeaders<'_>,
    shared: &Shared,
    route: &Result<Arc<Route>, Fault>,
) -> Result<Arc<Outgoing>, Fault> {
    let route = route.as_ref().map_err(Clone::clone)?;
    credential::outgoing(server, client, &shared.vault, &*shared.variables, route).map(Arc::new)
}

/// What a session with a server depends on, beside the credential of those who have their own.
fn definition(server: &Server, own: Option<&Outgoing>, shared: &Shared) -> String {
    let definition = &server.definition;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (url, version) = (text(&definition.url), text(&definition.protocol_version));
    let own = own.map(|own| own.fingerprint).unwrap_or_default();
    let parts: [&[u8]; 5] = [
        b"definition",
        url.as_bytes(),
        version.as_bytes(),
        definition.session.as_str().as_bytes(),
        &own[..],
    ];
    trunkline_model::ids::hex(&shared.vault.fingerprint(&parts))
}

/// The first id of a process's requests. Others may use the same upstream session, before or beside this one, and no id may
/// stand for two requests of a session.
fn first_id() -> u64 {
    let [a, b, c, d, ..] = *uuid::Uuid::new_v4().as_bytes();
    // Room for a million requests between two processes, and below the numbers that JavaScript cannot tell apart.
    (u64::from(u32::from_be_bytes([a, b, c, d])) << 20) + 1
}
