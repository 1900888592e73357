//! One channel of messages in both directions, spoken to as if Streamable HTTP were at its other end: what a program's pipes
//! and the legacy HTTP+SSE transport have in common.
//!
//! - [`wire`]: how one message gets to the server
//! - `pipe_end`: a pipe that several threads write whole lines to
//! - [`stream`]: what comes for one reader
//! - `haste`: whether to look for an answer before sleeping
//! - `route`: for whom a message of the server is
//! - `state`: who is there
//!
//! A request is answered with a JSON body if its response is the first thing that comes for it, else with an event stream.
//! Sessions of such a channel are ours: the server has one hand-shake, and whoever opens a session of it gets what the server
//! answered to that, and an id ([`LOCAL`]) that is good as long as the channel.
//!
//! The ids of requests are the entry's, unique with it, so they are sent as they are.

mod haste;
mod pipe_end;
mod route;
mod state;
mod stream;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_mcp::{Era, ListKind, Message, rpc};
use trunkline_model::{OutcomeStatus, SessionKey, Step};

use self::haste::Haste;
pub(crate) use self::pipe_end::{PipeEnd, Writer};
use self::state::{Route, State};
pub(crate) use self::stream::Inbox;
use self::stream::{Place, channel, event};
pub(crate) use self::wire::{Pipe, Posts, Wire};
use crate::fault::Fault;
use crate::pool::ResponseBody;

/// The beginning of a session id that a server did not give.
const LOCAL: &str = "local-";
/// Why a program reads no more is known so soon, mostly: it has ended.
const END: Duration = Duration::from_secs(1);
/// A server may take so long for the hand-shake: it may have to be fetched first (`npx`, `uvx`).
pub(crate) const GREETING_LIMIT: Duration = Duration::from_mins(2);
/// And so long once it has answered something else: it runs, and its answer to the hand-shake is lost.
const STRAY_LIMIT: Duration = Duration::from_secs(10);

/// Whether a session is one of ours, and of no use to another process.
pub(crate) fn is_local(id: &HeaderValue) -> bool {
    id.as_bytes().starts_with(LOCAL.as_bytes())
}

/// What the channel tells who holds it: that one of the server's lists changed.
pub(crate) type Changed = Box<dyn Fn(ListKind) + Send + Sync>;

/// The channel.
pub(crate) struct Duplex {
    /// The server's prefix, for logs.
    server: String,
    era: Era,
    wire: Wire,
    changed: Changed,
    tasks: TaskTracker,
    state: Mutex<State>,
    /// The hand-shake: what the server answered.
    greeting: watch::Sender<Option<Greeting>>,
    greeted: AtomicBool,
    /// It has answered what was not asked, or with what cannot be read.
    strayed: CancellationToken,
    /// Why it ended, once it has.
    why: Arc<OnceLock<Fault>>,
    ended: CancellationToken,
    /// Lines that were no messages.
    pub(crate) junk: Junk,
    own_id: AtomicU64,
    haste: Haste,
}

/// What a server says that is no message.
#[derive(Default)]
pub(crate) struct Junk {
    count: AtomicU64,
    last: Mutex<String>,
}

/// The result of `initialize`, or the error: raw JSON.
type Greeting = Result<Arc<str>, Arc<str>>;

/// On whose behalf something is sent.
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    /// The session, of those that were opened here; none in the new era.
    pub(crate) session: Option<&'a str>,
    /// The client that the session belongs to.
    pub(crate) client: Option<SessionKey>,
}

impl Junk {
    fn note(&self, line: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = crate::fault::printable(&String::from_utf8_lossy(&line[..line.len().min(1024)]));
    }

    /// How many, and the last of them.
    pub(crate) fn seen(&self) -> (u64, String) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.count.load(Ordering::Relaxed), last.clone())
    }
}

impl Duplex {
    pub(crate) fn new(
        server: &str,
        era: Era,
        wire: Wire,
        tasks: &TaskTracker,
        changed: Changed,
    ) -> Arc<Self> {
        Arc::new(Self {
            server: server.to_owned(),
            era,
            wire,
            changed,
            tasks: tasks.clone(),
            state: Mutex::default(),
            greeting: watch::channel(None).0,
            greeted: AtomicBool::new(false),
            strayed: CancellationToken::new(),
            why: Arc::default(),
            ended: CancellationToken::new(),
            junk: Junk::default(),
            own_id: AtomicU64::new(1),
            haste: Haste::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock leaves valid maps: every change is one insert or remove.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.why.get().is_some()
    }

    /// Cancelled when it is over.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// It is over: whoever waits for something is told why. The first reason counts.
    pub(crate) fn end(&self, why: Fault) {
        let _ = self.why.set(why);
        self.ended.cancel();
        // Dropped after the lock: what is under way leaves its place.
        let state = std::mem::take(&mut *self.state());
        drop(state);
    }

    /// Why it is over.
    pub(crate) fn reason(&self) -> Option<Fault> {
        self.why.get().cloned()
    }

    /// Whether a session is open with it.
    pub(crate) fn knows(&self, session: &str) -> bool {
        self.state().visitors.contains_key(session)
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.state().routes.len()
    }

    /// Sessions that are open.
    pub(crate) fn visitors(&self) -> usize {
        self.state().visitors.len()
    }

    fn over(&self, step: Step) -> Fault {
        let why = self.why.get().cloned();
        let why = why.unwrap_or_else(|| Fault::new(OutcomeStatus::Unreachable, step, "the server is gone"));
        Fault { step, ..why }
    }

    // === As Streamable HTTP ===

    /// `initialize`: the answer to it, and the id of a new session. The server is asked once.
    pub(crate) async fn greet(self: &Arc<Self>, body: &[u8]) -> Result<Response<ResponseBody>, Fault> {
        let step = Step::Initialize;
        let Ok(Message::Request { id, .. }) = Message::parse(body) else {
            return Ok(bare(StatusCode::BAD_REQUEST));
        };
        if !self.greeted.swap(true, Ordering::AcqRel) {
            let (duplex, body) = (self.clone(), Bytes::copy_from_slice(body));
            // In a task: whoever asked may not wait for as long as a server takes to be fetched and started.
            self.tasks.spawn(async move { duplex.introduce(body).await });
        }
        let mut greeting = self.greeting.subscribe();
        let greeting = tokio::select! {
            biased;
            greeting = greeting.wait_for(Option::is_some) => greeting.ok().and_then(|greeting| greeting.clone()),
            () = self.ended.cancelled() => None,
        };
        match greeting {
            Some(Ok(result)) => {
                let session = format!("{LOCAL}{}", uuid::Uuid::new_v4().simple());
                let mut response = json(rpc::response(id.get(), &result));
                if let Ok(value) = HeaderValue::from_str(&session) {
                    response.headers_mut().insert("mcp-session-id", value);
                }
                let mut state = self.state();
                if self.is_over() {
                    drop(state);
                    return Err(self.over(step));
                }
                state.enter(session);
                Ok(response)
            }
            Some(Err(error)) => Ok(json(rpc::error_response(id.get(), &error))),
            None => Err(self.over(step)),
        }
    }

    /// The hand-shake itself.
    async fn introduce(self: &Arc<Self>, body: Bytes) {
        let visit = Visit {
            session: None,
            client: None,
        };
        let asked = self.ask(body, visit, Step::Initialize);
        let strayed = async {
            self.strayed.cancelled().await;
            tokio::time::sleep(STRAY_LIMIT).await;
        };
        let answer = tokio::select! {
            answer = timeout(GREETING_LIMIT, asked) => answer,
            () = strayed => {
                return self.end(Fault::protocol(
                    Step::Initialize,
                    "the server answered, but not initialize under the id that it was asked with",
                ));
            }
        };
        let answer = match answer {
            Ok(Ok((answer, _))) => answer,
            Ok(Err(fault)) => return self.end(fault),
            Err(_) => {
                return self.end(Fault::timeout(Step::Initialize, GREETING_LIMIT).hint(
                    "the server does not answer initialize: look at what it says on its standard error",
                ));
            }
        };
        let greeting = match Message::parse(&answer) {
            Ok(Message::Response { outcome, .. }) => outcome
                .map(|result| Arc::from(result.get()))
                .map_err(|error| error.get().into()),
            _ => return self.end(Fault::protocol(Step::Initialize, "initialize was not answered")),
        };
        if let Ok(result) = &greeting
            && let Err(fault) = crate::entry::read_initialize(result, None)
        {
            // Whoever comes later would be told the same, for as long as it runs.
            return self.end(fault);
        }
        let refused: Option<Arc<str>> = greeting.as_ref().err().cloned();
        if refused.is_none() {
            let ready = rpc::notification("notifications/initialized", None);
            if let Err(fault) = self.send(ready.into(), Step::Initialized).await {
                return self.end(fault);
            }
        }
        self.greeting.send_replace(Some(greeting));
        if let Some(error) = refused {
            self.end(crate::entry::rpc_fault(Step::Initialize, &error));
        }
    }

    /// One message to the server.
    pub(crate) async fn post(
        self: &Arc<Self>,
        body: Bytes,
        visit: Visit<'_>,
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        if self.is_over() {
            return Err(self.over(step));
        }
        let kept = body.clone();
        match Message::parse_deep(&kept) {
            Ok(Message::Request { id, method, params }) => {
                let params = params.map(serde_json::value::RawValue::get);
                let (body, known) = self
                    .state()
                    .prepare(visit.session, &method, params, id.get(), body);
                if known {
                    return Ok(json(String::from_utf8_lossy(&body).into_owned()));
                }
                let (first, rest) = self.ask(body, visit, step).await?;
                Ok(match rest {
                    None => whole(first),
                    Some(rest) => events(Some(event(&first)), rest),
                })
            }
            // The server has had it once.
            Ok(Message::Notification { method, .. }) if method == "notifications/initialized" => {
                Ok(bare(StatusCode::ACCEPTED))
            }
            Ok(Message::Notification { .. } | Message::Response { .. }) => {
                self.send(body, step).await?;
                Ok(bare(StatusCode::ACCEPTED))
            }
            Err(_) => Ok(bare(StatusCode::BAD_REQUEST)),
        }
    }

    /// Hands a message over. An error says why the server is gone, if it is.
    async fn send(&self, message: Bytes, step: Step) -> Result<(), Fault> {
        let sent = self.wire.send(message, step).await;
        if sent.is_err() && self.wire.is_closed() {
            let _ = timeout(END, self.ended.cancelled()).await;
            if self.is_over() {
                return Err(self.over(step));
            }
        }
        sent
    }

    /// Sends a request: the first message that comes for it, and where the others come if that is not the last.
    async fn ask(
        self: &Arc<Self>,
        body: Bytes,
        visit: Visit<'_>,
        step: Step,
    ) -> Result<(Bytes, Option<Inbox>), Fault> {
        let kept = body.clone();
        let parsed = Message::parse_deep(&kept);
        let Ok(Message::Request { id, method, params }) = parsed else {
            return Err(Fault::new(OutcomeStatus::Internal, step, "not a request"));
        };
        let Ok(id) = id.get().parse::<u64>() else {
            return Err(Fault::new(
                OutcomeStatus::Internal,
                step,
                "not an id of the gateway",
            ));
        };
        let place = Place {
            duplex: Arc::downgrade(self),
            id,
        };
        let (outbox, mut inbox) = channel(self.why.clone(), Some(place));
        let route = Route::new(outbox, visit, &method, params);
        let is_alone = {
            let mut state = self.state();
            if self.is_over() {
                drop(state);
                return Err(self.over(step));
            }
            state.route(id, route);
            state.routes.len() == 1
        };
        if let Err(fault) = self.send(body, step).await {
            // It did not get there: nothing of it can come back.
            self.state().unroute(id);
            return Err(fault);
        }
        let looks = is_alone && matches!(self.wire, Wire::Pipe(_));
        match self.haste.first(looks, inbox.next()).await {
            Some((first, true)) => Ok((first, None)),
            Some((first, false)) => Ok((first, Some(inbox))),
            None => Err(self.over(step)),
        }
    }

    /// The standing stream of a session.
    pub(crate) fn listen(&self, session: &str) -> Response<ResponseBody> {
        let (outbox, inbox) = channel(self.why.clone(), None);
        match self.state().stand(session, outbox) {
            Some(true) => events(None, inbox),
            Some(false) => bare(StatusCode::CONFLICT),
            None => bare(StatusCode::NOT_FOUND),
        }
    }

    /// The end of a session.
    pub(crate) fn delete(&self, session: &str) -> Response<ResponseBody> {
        let Some(unheard) = self.state().delete(session) else {
            return bare(StatusCode::NOT_FOUND);
        };
        for uri in unheard {
            let id = format!("\"trunkline-{}\"", self.own_id.fetch_add(1, Ordering::Relaxed));
            let params = format!(r#"{{"uri":{}}}"#, trunkline_mcp::edit::string(&uri));
            let message = rpc::request(&id, "resources/unsubscribe", Some(&params));
            self.wire.send_aside(message.into(), &self.tasks);
        }
        bare(StatusCode::OK)
    }

    /// Nobody waits for a request any more.
    fn leave(&self, id: u64) {
        let given_up = {
            let mut state = self.state();
            let route = state.unroute(id);
            if let Some(route) = &route {
                state.abandon(id, route);
            }
            route.is_some()
        };
        if given_up && self.era == Era::Modern && !self.is_over() {
            let params =
                format!(r#"{{"requestId":{id},"reason":"the client does not wait for it any more"}}"#);
            let message = rpc::notification("notifications/cancelled", Some(&params));
            self.wire.send_aside(message.into(), &self.tasks);
        }
    }
}

fn bare(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// An answer that is nothing but its status.
pub(crate) fn answer(status: StatusCode) -> Response<ResponseBody> {
    bare(status)
}

fn json(message: String) -> Response<ResponseBody> {
    whole(message.into())
}

fn whole(message: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(message));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn events(first: Option<Bytes>, rest: Inbox) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::inbox(first, rest));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}
