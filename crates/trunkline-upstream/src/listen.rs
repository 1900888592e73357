//! The standing `GET` stream of an upstream session.
//!
//! Some servers (Python SDK up to 1.16 among them) send a call's progress there rather than on the call's own stream. It
//! is opened when a call first asks for progress, once per session, and its messages find their call by the progress
//! token, which is unique across the gateway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::sse::Decoder;
use trunkline_mcp::{Era, ListKind, Message, envelope, rpc, task};
use trunkline_model::{Server, SessionKey, Step};

use crate::clean;
use crate::exchange::{Line, media_type};
use crate::http::{beginning, means_unknown_session, words_of};
use crate::pool::ResponseBody;
use crate::session::Session;

/// How long a call waits for the stream to open before it goes without.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// A call's progress token, and where messages about it go.
#[derive(Clone)]
pub struct Progress {
    /// Raw JSON of the token as it is sent upstream.
    pub token: String,
    /// Takes whole messages; bounded, and what does not fit is dropped: progress is a courtesy.
    pub messages: mpsc::Sender<String>,
}

/// What a server says to one client outside of that client's requests.
pub struct Aside {
    pub(crate) line: Line,
    /// Which server.
    pub server: Arc<Server>,
    /// The upstream session that it was said on.
    pub session: Arc<Session>,
    /// The server's id, if it is a request: raw JSON.
    pub request: Option<String>,
    /// Its method.
    pub method: String,
    /// The message.
    pub message: String,
}

impl Aside {
    /// Tells the server that what it asks reaches nobody; nothing if it asks nothing.
    pub fn refuse(&self, why: &str) {
        if let Some(id) = &self.request {
            self.line.reject(id, rpc::INVALID_PARAMS, why);
        }
    }
}

/// Clients that hold a stream open for what servers say outside of requests.
#[derive(Debug, Default)]
pub struct Listeners {
    count: AtomicUsize,
    clients: Mutex<HashMap<SessionKey, mpsc::Sender<Aside>>>,
}

/// Messages that may wait for a slow client.
const WAITING: usize = 256;

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, mpsc::Sender<Aside>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client listens, in place of an earlier stream of its: a message goes to one stream (revision 2025-03-26).
    pub fn enter(&self, client: SessionKey) -> mpsc::Receiver<Aside> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut clients = self.lock();
        clients.insert(client, sender);
        // Those whose streams are gone.
        clients.retain(|_, sender| !sender.is_closed());
        self.count.store(clients.len(), Ordering::Relaxed);
        receiver
    }

    /// The client listens elsewhere: its stream ends.
    pub(crate) fn leave(&self, client: SessionKey) {
        let mut clients = self.lock();
        clients.remove(&client);
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// Whether the client listens.
    pub(crate) fn has(&self, client: SessionKey) -> bool {
        self.count.load(Ordering::Relaxed) > 0
            && self.lock().get(&client).is_some_and(|sender| !sender.is_closed())
    }

    /// Whether it was handed over.
    pub(crate) fn tell(&self, client: SessionKey, aside: Aside) -> bool {
        let sender = self.lock().get(&client).cloned();
        sender.is_some_and(|sender| sender.try_send(aside).is_ok())
    }
}

/// What a session knows about its standing stream.
#[derive(Debug, Default)]
pub struct Listening {
    /// Ends the stream with the session.
    pub stop: CancellationToken,
    state: tokio::sync::Mutex<State>,
    /// Ends the stream that is open now.
    hang_up: Mutex<CancellationToken>,
    waiting: Mutex<HashMap<String, mpsc::Sender<String>>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open,
    /// The server has none (405): not asked again on this session.
    None,
}

/// What came of seeing to it that a stream is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is.
    Open,
    /// There is none to be had.
    None,
    /// It may be had later.
    Later,
    /// The server does not know the session any more.
    Gone,
}

/// A registered token; leaves when dropped.
pub(crate) struct Registered {
    line: Line,
    token: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.line.session.listening.lock().remove(&self.token);
    }
}

impl Listening {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<String>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hung_up(&self) -> MutexGuard<'_, CancellationToken> {
        self.hang_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the stream, if it is open: somebody else listens from now on, or nobody.
    pub(crate) fn close(&self) {
        self.hung_up().cancel();
    }

    /// Whether a call waits for what comes on it.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.lock().is_empty()
    }
}

/// Registers a call's token and sees to it that the stream is open, as far as the server has one.
pub(crate) async fn register(line: &Line, progress: Progress) -> Registered {
    let listening = &line.session.listening;
    listening.lock().insert(progress.token.clone(), progress.messages);
    let registered = Registered {
        line: line.clone(),
        token: progress.token,
    };
    // Where another replica has the client's stream, that one listens, or messages would come here and reach nobody.
    let elsewhere = line
        .session
        .client()
        .is_some_and(|client| line.entry.shared.keeper.is_listened_elsewhere(client));
    if !elsewhere {
        // Without the stream the call still works, and progress on its own stream is still seen.
        ensure(line).await;
    }
    registered
}

/// Sees to it that the stream is open, as far as the server has one.
pub(crate) async fn ensure(line: &Line) -> Heard {
    if line.session.id.is_none() {
        return Heard::None;
    }
    tokio::time::timeout(OPEN_TIMEOUT, open(line))
        .await
        .unwrap_or(Heard::Later)
}

async fn open(line: &Line) -> Heard {
    let mut state = line.session.listening.state.lock().await;
    match *state {
        State::Open => return Heard::Open,
        State::None => return Heard::None,
        State::Closed => {}
    }
    let asked = line.entry.send(
        &Method::GET,
        &line.out,
        Some(&line.session),
        Bytes::new(),
        Step::Call,
    );
    let response = match asked.await {
        Ok(response) => response,
        Err(fault) => {
            tracing::debug!(server = %line.entry.prefix, %fault, "no standing stream");
            return Heard::Later;
        }
    };
    let status = response.status();
    match status.as_u16() {
        200 if media_type(&response) == "text/event-stream" => {
            *state = State::Open;
            let hang_up = CancellationToken::new();
            *line.session.listening.hung_up() = hang_up.clone();
            line.entry
                .tasks
                .spawn(read(line.clone(), response.into_body(), hang_up));
            Heard::Open
        }
        // Another stream of the session is open still (409), or the server has no time.
        409 | 429 | 500.. => Heard::Later,
        _ => {
            // Of a session that is gone it would say the same again: the next request of the session opens another one.
            *state = State::None;
            let words = words_of(&beginning(response).await);
            if means_unknown_session(status, &words) {
                Heard::Gone
            } else {
                Heard::None
            }
        }
    }
}

/// How fast a standing stream is read. Nobody asked for what is on it and it never ends, so a server that floods it would have
/// as much of this process as it likes. What comes faster waits with the server; nothing is dropped.
struct Pace {
    /// The next bytes are read then.
    due: Instant,
}

impl Pace {
    const MESSAGE: Duration = Duration::from_millis(1);
    const MEBIBYTE: Duration = Duration::from_millis(100);
    /// What comes together may come so much earlier: a few hundred messages are not held up.
    const BURST: Duration = Duration::from_millis(250);

    fn new() -> Self {
        Self { due: Instant::now() }
    }

    fn took(&mut self, messages: usize, bytes: usize) {
        let messages = Self::MESSAGE.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX));
        let bytes = Self::MEBIBYTE.saturating_mul(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024;
        let now = Instant::now();
        let earliest = now.checked_sub(Self::BURST).unwrap_or(now);
        self.due = self.due.max(earliest) + messages.max(bytes);
    }
}

async fn read(line: Line, mut body: ResponseBody, hang_up: CancellationToken) {
    let mut pace = Pace::new();
    let mut decoder = Decoder::new(line.entry.shared.settings().max_message_bytes);
    let stop = line.session.listening.stop.clone();
    loop {
        let next = async {
            sleep_until(pace.due).await;
            body.frame().await
        };
        let frame = tokio::select! {
            () = stop.cancelled() => return,
            () = hang_up.cancelled() => break,
            frame = next => frame,
        };
        let Some(Ok(frame)) = frame else { break };
        let mut events = Vec::new();
        let data = frame.into_data().unwrap_or_default();
        let fed = decoder.feed(&data, &mut events);
        pace.took(events.len(), data.len());
        for data in events.into_iter().filter_map(|event| event.data) {
            deliver(&line, &data);
        }
        if fed.is_err() {
            break;
        }
    }
    // Its connection first: a server has one stream of a session.
    drop(body);
    *line.session.listening.state.lock().await = State::Closed;
}

fn deliver(line: &Line, data: &[u8]) {
    let cleaned = clean::message(&line.entry, data);
    let data = cleaned.as_deref().unwrap_or(data);
    match Message::parse(data) {
        Ok(Message::Notification { method, params }) if method == "notifications/progress" => {
            let token = params
                .and_then(|params| RawObject::parse(params.get()).ok())
                .and_then(|params| params.get("progressToken").map(ToOwned::to_owned));
            let Some(token) = token else { return };
            if let Some(call) = line.session.listening.lock().get(&token) {
                // A full queue means that the client reads slower than progress comes.
                let _ = call.try_send(String::from_utf8_lossy(data).into_owned());
                return;
            }
            if token.trim_start_matches('"').starts_with(task::TOKEN_PREFIX) {
                // Of a task, whose request was answered long ago.
                tell(line, None, &method, data);
            }
        }
        Ok(Message::Notification { method, .. }) => {
            let changed = ListKind::ALL.into_iter().filter(|kind| kind.changed() == method);
            let mut announced = false;
            for kind in changed {
                announced = true;
                for era in [Era::Legacy, Era::Modern] {
                    let (slot, out) = line.entry.list_of((kind, era), line.out.clone());
                    slot.announce(&line.entry, &out);
                }
            }
            // Of changed lists clients hear from the gateway, after they were fetched.
            if !announced && method != "notifications/cancelled" {
                tell(line, None, &method, data);
            }
        }
        Ok(Message::Request { id, method, .. }) => {
            let id = id.get();
            if !line.session.declared().answers(&method) || !tell(line, Some(id), &method, data) {
                line.refuse(id, &method);
            }
        }
        Ok(Message::Response { .. }) => {}
        Err(error) => {
            if let Some(id) = envelope::id_of_request(data) {
                line.reject(&id, error.code(), &error.to_string());
            }
        }
    }
}

/// Hands a message to the one client of the session, if it listens, or to the one request on it.
fn tell(line: &Line, request: Option<&str>, method: &str, data: &[u8]) -> bool {
    let aside = Aside {
        line: line.clone(),
        server: line.entry.server.load_full(),
        session: line.session.clone(),
        request: request.map(ToOwned::to_owned),
        method: method.to_owned(),
        message: String::from_utf8_lossy(data).into_owned(),
    };
    match (line.session.client(), request) {
        (Some(client), _) => line.entry.shared.listeners.tell(client, aside),
        (None, Some(_)) if line.session.muddled.load(Ordering::Relaxed) => false,
        (None, Some(_)) => {
            let askable = line
                .session
                .askable
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            matches!(&askable[..], [(_, only)] if only.try_send(aside).is_ok())
        }
        (None, None) => false,
    }
}

/// A request on a shared session that can be asked something; leaves when dropped.
pub(crate) struct Askable {
    session: Arc<Session>,
    id: u64,
    asides: mpsc::Receiver<Aside>,
}

impl Askable {
    pub(crate) fn enter(session: &Arc<Session>, id: u64) -> Self {
        let (sender, asides) = mpsc::channel(WAITING);
        let mut askable = session.askable.lock().unwrap_or_else(PoisonError::into_inner);
        askable.push((id, sender));
        drop(askable);
        Self {
            session: session.clone(),
            id,
            asides,
        }
    }

    /// What the server asks of this request, outside of its stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Aside {
        match self.asides.recv().await {
            Some(aside) => aside,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Askable {
    fn drop(&mut self) {
        let mut askable = self
            .session
            .askable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        askable.retain(|(id, _)| *id != self.id);
    }
}
