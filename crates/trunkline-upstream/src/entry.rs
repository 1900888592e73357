//! What the gateway keeps about one server at run time: where it really is, its sessions, its catalogues, its limits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_mcp::header::HeaderParam;
use trunkline_mcp::{ClientCapabilities, Era, ListKind, Revision, ServerCapabilities, modern, rpc};
use trunkline_model::{KeyMap, OutcomeStatus, Server, ServerDefinition, SessionKey, Step};

use crate::breaker::{Breaker, Pass};
use crate::catalogue::CatalogueSlot;
use crate::credential::{self, ClientHeaders, Outgoing, Reach};
use crate::era::{Leg, Verdict};
use crate::exchange::{Deadline, Exchange, Frame, Line};
use crate::fair::{Caller, Crowded, Place, Places};
use crate::fault::{Fault, printable};
use crate::http::{CONNECT_TIMEOUT, Target, beginning, means_unknown_session, status_fault, words_of};
use crate::hub::{self, Hubs};
use crate::legacy::Legacy;
use crate::listen::{self, Askable, Progress};
use crate::openapi;
use crate::pool::ResponseBody;
use crate::program::{self, Programs};
use crate::route::Route;
use crate::session::{Introduction, Owner, Session, Sessions, Slot, Using};
use crate::upstreams::{Settings, Shared};
use crate::watch::Watched;

/// Time for `initialize` and `notifications/initialized` together.
pub const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a program, which may have to be fetched before it starts. Who waits has deadlines of its own.
const START_TIMEOUT: Duration = Duration::from_mins(2);
/// Time for `logging/setLevel`, which a call waits for.
const LOG_LEVEL_TIMEOUT: Duration = Duration::from_secs(2);
/// What a server says about itself is kept with every session and in the database: so many bytes of each text.
const MAX_INTRODUCTION: usize = 32 * 1024;
/// Requests of a server that are being answered at the same time.
const MAX_ASIDES: usize = 16;
/// Lists of clients' credentials that are remembered per server.
const MAX_CATALOGUES: usize = 1024;

static SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

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
    pub(crate) progress: Option<Progress>,
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

/// How a session is opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Opening<'a> {
    /// It is written down, and read if another process wrote it down.
    pub(crate) kept: bool,
    /// The one that the server has forgotten.
    pub(crate) gone: Option<&'a HeaderValue>,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult<'a> {
    protocol_version: String,
    #[serde(borrow, default)]
    server_info: Option<&'a RawValue>,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
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

    /// A request of the new era that stays open, and is not one of the server's `max_concurrent_requests`.
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: Ask<'_>,
        deadline: Deadline,
    ) -> Result<Exchange, Fault> {
        match self.leg(Era::Modern, out).await? {
            Leg::Modern(session) => self.request_modern(out, &ask, session, deadline, None).await,
            Leg::Legacy => Err(Fault::protocol(Step::Call, "the server has no subscriptions")),
        }
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

    /// Ends a session that no message need be sent for.
    fn end_local(&self, session: &Session) {
        let Some(id) = session.id.as_ref().and_then(|id| id.to_str().ok()) else {
            return;
        };
        self.legacy.end(id);
        self.programs.end(id);
    }

    /// Posts one message. The answer's status is the caller's to judge.
    ///
    /// This and [`Entry::send`] are no `async fn`s: each would hold the future of the next, and be moved with it.
    pub(crate) fn post<'a>(
        &'a self,
        out: &'a Outgoing,
        session: Option<&'a Session>,
        message: String,
        step: Step,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Fault>> + Send + 'a {
        self.send(&Method::POST, out, session, message.into(), step)
    }

    /// Asks for the stream of an unanswered request again, from after the event `last`.
    pub(crate) async fn resume(
        &self,
        out: &Outgoing,
        session: &Session,
        last: HeaderValue,
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        let also = [(LAST_EVENT_ID.clone(), last)];
        self.send_with(&Method::GET, out, Some(session), (Bytes::new(), &also), step)
            .await
    }

    pub(crate) fn send<'a>(
        &'a self,
        method: &'a Method,
        out: &'a Outgoing,
        session: Option<&'a Session>,
        body: Bytes,
        step: Step,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Fault>> + Send + 'a {
        self.send_with(method, out, session, (body, &[]), step)
    }

    /// `also`: headers besides the credential's and the session's.
    pub(crate) async fn send_with(
        &self,
        method: &Method,
        out: &Outgoing,
        session: Option<&Session>,
        (body, also): (Bytes, &[(HeaderName, HeaderValue)]),
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        let headers = || {
            let mut headers = out.headers.clone();
            if let Some(session) = session {
                let revision = HeaderValue::from_static(session.revision.as_str());
                headers.insert(PROTOCOL_VERSION.clone(), revision);
                if let Some(id) = &session.id {
                    headers.insert(SESSION_ID.clone(), id.clone());
                }
            }
            for (name, value) in also {
                // In the place of what a client may have sent by that name: two values are read by nobody alike (S23).
                headers.insert(name, value.clone());
            }
            headers
        };
        if let Some(session) = session {
            self.sessions.touch(session);
        }
        let target = match &out.reach {
            Reach::Http(target) => target,
            // Boxed, and only here: calls of MCP servers would carry room for it.
            Reach::OpenApi(site) => {
                return openapi::answer(self, (out, site), (method, session), body, step).await;
            }
            Reach::Program(recipe) => {
                let recipe = recipe.clone();
                let entry = self.myself()?;
                // Boxed, and only here: every call over HTTP would carry room for it.
                return Box::pin(program::send(&entry, &recipe, (method, body), session, step)).await;
            }
        };
        if let Some(answer) = self.send_legacy(method, session, &body, step).await {
            return answer;
        }
        let moved = self.moved.load_full();
        let target = moved.as_deref().unwrap_or(target);
        if session.is_none() && step == Step::Initialize {
            // Boxed, and only here: every call would carry room for a hand-shake.
            return Box::pin(self.initialize_somehow(out, target, headers, body)).await;
        }
        self.send_http(method, target, headers, body, step).await
    }

    async fn send_http(
        &self,
        method: &Method,
        target: &Target,
        headers: impl Fn() -> HeaderMap + Send,
        body: Bytes,
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        let http = self.shared.http();
        let (response, redirected) = http.send(method, target, headers, body, step).await?;
        if let Some(target) = redirected {
            self.moved.store(Some(Arc::new(target)));
        }
        Ok(response)
    }

    /// `initialize`, over whichever of the two transports of HTTP the server speaks.
    async fn initialize_somehow(
        &self,
        out: &Outgoing,
        target: &Target,
        headers: impl Fn() -> HeaderMap + Send,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, Fault> {
        let entry = self.myself()?;
        if let Some(answer) = entry.initialize_legacy(out, target, &body).await {
            return answer;
        }
        let posted = self
            .send_http(&Method::POST, target, headers, body.clone(), Step::Initialize)
            .await?;
        entry.or_legacy(out, target, (posted, &body)).await
    }

    /// The hand-shake: a new session. If it is kept, it begins to be written down for its client while the hand-shake ends.
    async fn initialize(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        owner: Owner,
        how: Opening<'_>,
    ) -> Result<Arc<Session>, Fault> {
        let deadline = Deadline::after(initialize_timeout(out, &self.shared.settings()));
        let opened = self
            .initialize_within(out, owner, how, deadline)
            .await
            .map_err(|fault| fault.without(out.secrets()));
        match &opened {
            Ok(session) => tracing::debug!(
                server = %self.prefix,
                revision = session.revision.as_str(),
                session = session.id.is_some(),
                "upstream session opened"
            ),
            Err(fault) => tracing::debug!(server = %self.prefix, %fault, "upstream session not opened"),
        }
        opened
    }

    async fn initialize_within(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        owner: Owner,
        how: Opening<'_>,
        deadline: Deadline,
    ) -> Result<Arc<Session>, Fault> {
        let session = Arc::new(self.send_initialize(out, owner.declared, deadline).await?);
        session.declare(owner.declared);
        if how.kept && !session.is_local() {
            self.keep(owner, &session, how.gone);
        }
        let ended = self.send_initialized(out, &session, deadline).await;
        if ended.is_err() {
            self.take_back(owner, session.clone());
        }
        ended.map(|()| session)
    }

    async fn send_initialized(
        &self,
        out: &Outgoing,
        session: &Session,
        deadline: Deadline,
    ) -> Result<(), Fault> {
        let message = rpc::notification("notifications/initialized", None);
        let sent = self.post(out, Some(session), message, Step::Initialized);
        let response = timeout_at(deadline.at(), sent)
            .await
            .map_err(|_| deadline.missed(Step::Initialized))??;
        if !response.status().is_success() {
            return Err(status_fault(&self.server.load(), Step::Initialized, response).await);
        }
        Ok(())
    }

    /// The session for `owner`: the one that is written down, else one that only listed, else a new one.
    pub(crate) async fn open(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        owner: Owner,
        how: Opening<'_>,
    ) -> Result<Arc<Session>, Fault> {
        let Opening { kept, gone } = how;
        if kept && let Some(session) = self.recall(owner, gone).await {
            tracing::debug!(server = %self.prefix, "upstream session of another process taken up");
            return Ok(session);
        }
        if gone.is_none()
            && owner.client.is_some()
            && let Some(session) = self.sessions.take_over(owner)
        {
            if kept && !session.is_local() {
                self.keep(owner, &session, None);
            }
            return Ok(session);
        }
        let session = self.initialize(out, owner, how).await?;
        let Some(client) = owner.client else {
            return Ok(session);
        };
        if let Some(other) = session.keeping.other().and_then(|row| self.recalled(row)) {
            // Another process was faster, and this one was not used yet.
            self.end_aside(out.clone(), session);
            return Ok(other);
        }
        // Also of a client whose session ends with this process, and of which nothing is written down.
        self.subscribe_again(out, &session, client);
        Ok(session)
    }

    /// The revision that is asked for.
    fn offered(&self) -> Revision {
        let server = self.server.load();
        let pinned = server.definition.protocol_version.as_deref();
        pinned.and_then(Revision::parse).unwrap_or(Revision::LATEST)
    }

    /// The parameters of `initialize`.
    pub(crate) fn introduction_params(&self, declared: ClientCapabilities) -> String {
        format!(
            r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"trunkline","version":"{}"}}}}"#,
            self.offered().as_str(),
            declared.to_json(),
            env!("CARGO_PKG_VERSION")
        )
    }

    /// `initialize` alone, for the probe as well.
    pub(crate) async fn send_initialize(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        declared: ClientCapabilities,
        deadline: Deadline,
    ) -> Result<Session, Fault> {
        let server = self.server.load_full();
        let offered = self.offered();
        let params = self.introduction_params(declared);
        let id = self.next_id();
        let message = rpc::request(&id.to_string(), "initialize", Some(&params));
        let sent = self.post(out, None, message, Step::Initialize);
        let response = timeout_at(deadline.at(), sent)
            .await
            .map_err(|_| deadline.missed(Step::Initialize))??;
        if response.status() != StatusCode::OK {
            return Err(status_fault(&server, Step::Initialize, response).await);
        }
        let session_id = response.headers().get(&SESSION_ID).cloned();
        // The hand-shake itself runs on no session; errors on it cancel nothing.
        let line = Line {
            entry: self.clone(),
            out: out.clone(),
            session: Arc::new(Session::new(session_id.clone(), offered, Introduction::default())),
            asks: ClientCapabilities::NONE,
        };
        let mut exchange =
            Exchange::begin(line, id, Step::Initialize, deadline, response, (None, None, None)).await?;
        let result = loop {
            match exchange.next().await? {
                Frame::Notification { .. } | Frame::Request { .. } => {}
                Frame::Result(result) => break result,
                Frame::Error(error) => return Err(rpc_fault(Step::Initialize, &error)),
            }
        };
        read_initialize(&result, session_id)
    }

    /// The session that a request of `client` runs on, opened if need be.
    ///
    /// `gone`: the session of the first attempt, which the server has forgotten. Others that are open may have gone with it,
    /// when the upstream was restarted, so a listing does not borrow one of them again.
    async fn session(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: &Ask<'_>,
        gone: Option<&Arc<Session>>,
    ) -> Result<(Arc<Slot>, Arc<Session>), Fault> {
        let owner = Owner {
            fingerprint: out.fingerprint,
            client: ask.peer.client,
            declared: ask.peer.capabilities,
        };
        let kept = ask.peer.kept && owner.client.is_some() && self.sessions.per_client();
        loop {
            let slot = if ask.step() == Step::List && gone.is_none() {
                self.sessions.listing_slot(out.fingerprint)
            } else {
                let (slot, evicted) = self.sessions.slot(owner);
                self.let_go(evicted.into_iter().collect());
                slot
            };
            let session = if let Some(session) = slot.get() {
                session
            } else {
                let gone = gone.and_then(|gone| gone.id.as_ref());
                let opened = self.open(out, owner, Opening { kept, gone });
                // Boxed, and only here: every call would carry room for a hand-shake.
                slot.get_or_open(Box::pin(opened)).await?
            };
            if owner.client.is_some() && session.id.is_none() {
                self.sessions.share(owner, &slot);
            }
            self.sessions.touch(&session);
            if ask.step() == Step::Call {
                session.mark_called();
                // A client may have taken the shared session over before it was marked: then it is that client's.
                match owner.client {
                    None if !self.sessions.is_shared(owner, &slot) => continue,
                    Some(client)
                        if session.id.is_some()
                            && session.client().is_none()
                            && !self.sessions.is_shared(owner, &slot) =>
                    {
                        session.belongs_to(client);
                    }
                    _ => {}
                }
            }
            return Ok((slot, session));
        }
    }

    /// Sends a request and begins to read its answer. An expired session is opened anew once: the upstream refused the
    /// request because it does not know the session, so it did not run.
    pub(crate) async fn request(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: Ask<'_>,
        deadline: Deadline,
    ) -> Result<Exchange, Fault> {
        let step = ask.step();
        let secrets = out.clone();
        let place = if step == Step::Call {
            self.place(&ask.peer, deadline).await?
        } else {
            None
        };
        let pass = self.admit(out, step)?;
        let asked = self.request_within(out, ask, deadline, place, &pass);
        // The deadline covers the hand-shake and the sending; reading has it inside the exchange.
        let answer = timeout_at(deadline.at(), asked).await;
        let answer = answer
            .unwrap_or_else(|_| Err(deadline.missed(step)))
            .map_err(|fault| fault.without(secrets.secrets()));
        pass.judge(answer.as_ref().err());
        answer
    }

    async fn request_within(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: Ask<'_>,
        deadline: Deadline,
        place: Option<Place>,
        pass: &Pass<'_>,
    ) -> Result<Exchange, Fault> {
        let step = ask.step();
        if let Leg::Modern(session) = self.leg(ask.era, out).await? {
            pass.sent();
            return Box::pin(self.request_translated(out, &ask, session, deadline, place)).await;
        }
        let translated = (ask.era == Era::Modern).then(|| ask.params.map(modern::params_to_legacy));
        let params = translated.as_ref().map_or(ask.params, Option::as_deref);
        let mut gone: Option<Arc<Session>> = None;
        loop {
            let (slot, session) = match self.session(out, &ask, gone.as_ref()).await {
                Ok(opened) => opened,
                Err(fault) if self.turns_out_modern(out, &fault).await => {
                    let Leg::Modern(session) = self.leg(Era::Modern, out).await? else {
                        return Err(fault);
                    };
                    pass.sent();
                    return Box::pin(self.request_translated(out, &ask, session, deadline, place)).await;
                }
                Err(fault) => return Err(fault),
            };
            if ask.peer.kept
                && session.keeping.is_writing()
                && Box::pin(self.settle(out, &slot, &session)).await
            {
                continue;
            }
            if session.muddled.load(Ordering::Relaxed)
                && ask.peer.client.is_none()
                && !ask.peer.asks().is_empty()
            {
                // What the server asks on its standing stream would be nobody's: this request needs one where it is.
                self.set_apart(&session);
                continue;
            }
            pass.sent();
            let id = self.next_id();
            let message = rpc::request(&id.to_string(), ask.method, params);
            let line = Line {
                entry: self.clone(),
                out: out.clone(),
                session: session.clone(),
                asks: ask.peer.asks(),
            };
            if ask.era == Era::Modern && ask.params.is_some_and(modern::has_handle) {
                // The call that it goes on with is not here, and this server could not tell a retry from a first attempt.
                let why = "Invalid params: requestState was not given out here; the tool is not run again";
                let error = rpc::error_response(
                    &id.to_string(),
                    &rpc::error_object(rpc::INVALID_PARAMS, why, None),
                );
                let of = (step, deadline);
                return Ok(Exchange::answered(line, id, of, StatusCode::OK, error.into()));
            }
            if let Some(level) = self.log_level_of(&ask.peer) {
                Box::pin(self.set_log_level(&line, ask.peer.client, level, deadline)).await;
            }
            let heard = session
                .client()
                .is_some_and(|client| self.shared.listeners.has(client));
            if heard {
                listen::ensure(&line).await;
            }
            let registered = match &ask.progress {
                Some(progress) => Some(listen::register(&line, progress.clone()).await),
                None => None,
            };
            let askable = if ask.peer.client.is_none() && !ask.peer.asks().is_empty() {
                // Some servers ask on the standing stream whatever the question is about.
                listen::ensure(&line).await;
                Some(Askable::enter(&session, id))
            } else {
                None
            };
            let using = Using::new(&session);
            let guard = SendGuard {
                line: &line,
                id,
                armed: true,
            };
            let sent = self.post(out, Some(&session), message, step).await;
            guard.disarm();
            let response = sent?;
            if response.status() == StatusCode::OK {
                let held = (place, registered, askable);
                drop(using);
                return Exchange::begin(line, id, step, deadline, response, held).await;
            }
            if session.id.is_none() || gone.is_some() || !matches!(response.status().as_u16(), 400 | 404) {
                return Err(status_fault(&self.server.load(), step, response).await);
            }
            let status = response.status();
            let words = words_of(&beginning(response).await);
            if !means_unknown_session(status, &words) {
                return Err(Fault::http(&self.server.load(), step, status, &words));
            }
            tracing::info!(server = %self.prefix, "upstream session expired, opening a new one");
            slot.forget(&session);
            gone = Some(session);
        }
    }

    /// Waits until a client's new session is written down, for as long as that is worth: its next request may go to another
    /// process. Whether another process was faster, and its session is the one from now on: nothing was asked on this one (B22).
    async fn settle(self: &Arc<Self>, out: &Arc<Outgoing>, slot: &Slot, session: &Arc<Session>) -> bool {
        self.shared.keeper.settled(session).await;
        let Some(other) = session.keeping.other().and_then(|row| self.recalled(row)) else {
            return false;
        };
        slot.replace(session, other);
        self.end_aside(out.clone(), session.clone());
        true
    }

    fn log_level_of(&self, peer: &Peer) -> Option<&'static str> {
        peer.log_level.or_else(|| {
            // Its client may have set it with another process, which was just found out.
            let client = peer.client.filter(|_| peer.kept)?;
            self.shared.keeper.log_level(client)
        })
    }

    /// A request to a server of the new era. What that era does in another way is done that way.
    async fn request_translated(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: &Ask<'_>,
        session: Arc<Session>,
        deadline: Deadline,
        place: Option<Place>,
    ) -> Result<Exchange, Fault> {
        match hub::Change::of(ask) {
            Some(change) => hub::answer(self, out, ask, change, (session, deadline)).await,
            None => self.request_modern(out, ask, session, deadline, place).await,
        }
    }

    /// Sees to it that the client's own session has the log level that the client set. A server that does not take it
    /// goes on as it is: logs are a courtesy.
    async fn set_log_level(
        self: &Arc<Self>,
        line: &Line,
        client: Option<SessionKey>,
        level: &'static str,
        deadline: Deadline,
    ) {
        let session = &line.session;
        if session.client() != client || !session.introduction.capabilities.has("logging") {
            return;
        }
        let mut current = session.log_level.lock().await;
        let severity = |level: Option<&str>| level.and_then(modern::severity);
        // Others may use a session that is nobody's, and want to hear more.
        let enough = client.is_none() && current.is_some() && severity(*current) <= severity(Some(level));
        if *current == Some(level) || enough {
            return;
        }
        let id = self.next_id();
        let params = format!(r#"{{"level":"{level}"}}"#);
        let message = rpc::request(&id.to_string(), "logging/setLevel", Some(&params));
        let asked = async {
            let response = self.post(&line.out, Some(session), message, Step::Call).await?;
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
            Ok::<(), Fault>(())
        };
        match tokio::time::timeout(LOG_LEVEL_TIMEOUT, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::debug!(server = %self.prefix, %fault, "the log level was not taken"),
            Err(_) => tracing::debug!(server = %self.prefix, "the log level was not answered"),
        }
        *current = Some(level);
    }

    /// What the server says about itself, asked on the session that listings use.
    pub(crate) async fn introduction(
        self: &Arc<Self>,
        era: Era,
        out: &Arc<Outgoing>,
    ) -> Result<Arc<Session>, Fault> {
        if let Leg::Modern(session) = self.leg(era, out).await? {
            return Ok(session);
        }
        let ask = Ask::list(ListKind::Tools, era, None);
        self.session(out, &ask, None).await.map(|(_, session)| session)
    }

    /// Waits for a place, if the server has a limit.
    async fn place(&self, peer: &Peer, deadline: Deadline) -> Result<Option<Place>, Fault> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        match timeout_at(deadline.at(), places.enter((peer.caller, peer.client))).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(Crowded(waiting))) => Err(Fault::new(
                OutcomeStatus::RateLimited,
                Step::Call,
                format!("too many calls: {waiting} already wait for this server's max_concurrent_requests"),
            )
            .hint("call again later, or raise the server's max_concurrent_requests")),
            Err(_) => Err(deadline.missed(Step::Call)),
        }
    }

    /// Whether a request is let through. The server's own lists always are: they are what finds out whether it is back, and
    /// have a back-off of their own.
    fn admit(&self, out: &Outgoing, step: Step) -> Result<Pass<'_>, Fault> {
        let own = self.own_fingerprint() == Some(out.fingerprint);
        self.breaker.admit(
            &self.prefix,
            (out.fingerprint, own),
            self.shared.settings().breaker_failures,
            own && step == Step::List,
        )
    }

    /// Sends a notification of a client on its own sessions, without making anybody wait; their ids. Only under the server's
    /// own credential: a client's is not at hand outside of its requests.
    pub(crate) fn notify(self: &Arc<Self>, client: SessionKey, message: &str) -> Vec<HeaderValue> {
        let Ok(own) = &self.own else { return Vec::new() };
        let sessions = self.sessions.of_client(client, own.fingerprint);
        let told = sessions.iter().filter_map(|session| session.id.clone()).collect();
        for session in sessions {
            self.notify_on(own.fingerprint, session, message.to_owned());
        }
        told
    }

    /// The same on one session, if it is under the server's own credential.
    pub(crate) fn notify_on(self: &Arc<Self>, credential: [u8; 16], session: Arc<Session>, message: String) {
        if let Ok(own) = &self.own
            && own.fingerprint == credential
        {
            let line = Line {
                entry: self.clone(),
                out: own.clone(),
                session,
                asks: ClientCapabilities::NONE,
            };
            line.post_aside(message, None);
        }
    }

    /// Ends a session upstream, without making anybody wait.
    pub(crate) fn end_aside(self: &Arc<Self>, out: Arc<Outgoing>, session: Arc<Session>) {
        let entry = self.clone();
        self.tasks.spawn(async move {
            session.asides_sent().await;
            // Thousands may end at once.
            let _turn = entry.shared.ends.acquire().await;
            entry.end(&out, &session).await;
        });
    }

    /// `DELETE`: a courtesy, bounded.
    pub(crate) async fn end(&self, out: &Outgoing, session: &Session) {
        if session.id.is_none() {
            return;
        }
        let sent = self.send(&Method::DELETE, out, Some(session), Bytes::new(), Step::Call);
        if tokio::time::timeout(Duration::from_secs(2), sent).await.is_err() {
            tracing::debug!(server = %self.prefix, "the end of a session was not acknowledged in time");
        }
    }

    /// Ends sessions that were taken out of the pool. Those of clients' credentials cannot be authenticated any more and
    /// are left to the upstream's own expiry.
    pub(crate) fn end_all(self: &Arc<Self>, taken: Vec<(Owner, Arc<Session>)>) {
        for (_, session) in taken.iter().filter(|(_, session)| session.is_local()) {
            // Whatever credential it was opened with: nothing has to be proved to anybody.
            self.end_local(session);
        }
        let Ok(own) = &self.own else { return };
        for (owner, session) in taken {
            if owner.fingerprint == own.fingerprint && !session.is_local() {
                self.end_aside(own.clone(), session);
            }
        }
    }
}

/// How long listing a server may take: its own time, else the general one.
pub(crate) fn list_timeout(server: &Server, settings: &Settings) -> Duration {
    let own = server.definition.list_timeout;
    let own = own.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    own.unwrap_or(settings.list_timeout)
}

/// How long the hand-shake may take. A server that is given more time than usual for a connection has it here too.
pub(crate) fn initialize_timeout(out: &Outgoing, settings: &Settings) -> Duration {
    match &out.reach {
        Reach::Http(target) => {
            let connect = target.route.connect_timeout().unwrap_or(settings.connect_timeout);
            INITIALIZE_TIMEOUT + connect.saturating_sub(CONNECT_TIMEOUT)
        }
        Reach::OpenApi(_) => INITIALIZE_TIMEOUT,
        Reach::Program(_) => START_TIMEOUT,
    }
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

/// Tells the upstream that a request is off when its sending is given up half-way (a deadline, a client gone).
struct SendGuard<'a> {
    line: &'a Line,
    id: u64,
    armed: bool,
}

impl SendGuard<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for SendGuard<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.line.cancel(self.id);
        }
    }
}

fn read_initialize(result: &str, session_id: Option<HeaderValue>) -> Result<Session, Fault> {
    let read: InitializeResult<'_> = serde_json::from_str(result).map_err(|error| {
        Fault::protocol(
            Step::Initialize,
            format!(
                "the initialize result cannot be read: {}",
                printable(&error.to_string())
            ),
        )
    })?;
    let revision = Revision::parse(&read.protocol_version).ok_or_else(|| {
        Fault::protocol(
            Step::Initialize,
            format!(
                "the server wants protocol version {}, which is not spoken here",
                printable(&read.protocol_version)
            ),
        )
    })?;
    let valid_id =
        |id: &HeaderValue| !id.is_empty() && id.as_bytes().iter().all(|b| (0x21..=0x7e).contains(b));
    if session_id.as_ref().is_some_and(|id| !valid_id(id)) {
        return Err(Fault::protocol(
            Step::Initialize,
            "the server's session id is not visible ASCII",
        ));
    }
    let bounded = |raw: &RawValue| Some(raw.get().to_owned()).filter(|text| text.len() <= MAX_INTRODUCTION);
    let introduction = Introduction {
        server_info: read.server_info.and_then(bounded),
        instructions: read.instructions.map(|mut text| {
            text.truncate(text.floor_char_boundary(MAX_INTRODUCTION));
            text
        }),
        capabilities: read
            .capabilities
            .and_then(bounded)
            .map(|text| ServerCapabilities::new(&text))
            .unwrap_or_default(),
    };
    Ok(Session::new(session_id, revision, introduction))
}

/// A JSON-RPC error where only a result is of use.
pub(crate) fn rpc_fault(step: Step, error: &str) -> Fault {
    #[derive(Deserialize)]
    struct RpcError {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        message: String,
    }
    let read: RpcError = serde_json::from_str(error).unwrap_or(RpcError {
        code: 0,
        message: String::new(),
    });
    Fault::new(
        OutcomeStatus::UpstreamError,
        step,
        format!(
            "the server answered with JSON-RPC error {}: {}",
            read.code,
            printable(&read.message)
        ),
    )
}
