//! An MCP server over Streamable HTTP on a real socket, proper unless told otherwise.
//!
//! ```
//! # use trunkline_testkit::{Act, ScriptedUpstream};
//! # async fn example() {
//! let upstream = ScriptedUpstream::builder().bearer("key").page_size(100).start().await;
//! upstream.once("tools/call", Act::status(500, "out of memory"));
//! // … point a gateway at upstream.url() …
//! assert_eq!(upstream.count("initialize"), 1);
//! # }
//! ```

mod answer;
mod ask;
mod listen;
mod protocol;
mod record;
mod script;
pub(crate) mod stream;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use tokio::sync::broadcast;

pub use record::Recorded;
pub use script::{Act, Cursors, Framing, Sessions, Socket, ToolAnswer, ToolCall, UpstreamBuilder};

use listen::Listener;
use script::Script;

/// A running scripted server. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct ScriptedUpstream {
    state: Arc<State>,
    listener: Mutex<Option<Listener>>,
    address: SocketAddr,
}

/// What the connections share.
#[derive(Debug)]
pub(crate) struct State {
    /// Made once, from the builder.
    script: Script,
    /// What a test changes while the server runs.
    live: Mutex<Live>,
    /// An answer of a client came.
    answered: tokio::sync::Notify,
    /// To every open GET stream.
    pushes: broadcast::Sender<String>,
    began: Instant,
    counter: AtomicU64,
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
}

#[derive(Debug, Default)]
pub(crate) struct Live {
    socket: Socket,
    always: HashMap<String, Act>,
    once: HashMap<String, VecDeque<Act>>,
    tools: Vec<script::Tool>,
    bearer: Option<String>,
    sessions: HashSet<String>,
    /// The values of `set_value`, by session id; the empty one when there are no sessions.
    values: HashMap<String, Value>,
    /// Pages whose repeated cursor was given already, by session id.
    cursors_repeated: HashSet<(String, usize)>,
    /// What clients answered, by the ids of the questions.
    answers: HashMap<String, Value>,
    requests: Vec<Recorded>,
}

impl State {
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What to do with the next request that goes by one of these names; earlier names win.
    fn next_act(&self, names: &[&str]) -> Act {
        let mut live = self.live();
        for &name in names {
            if let Some(act) = live.once.get_mut(name).and_then(VecDeque::pop_front) {
                return act;
            }
        }
        names
            .iter()
            .find_map(|&name| live.always.get(name).cloned())
            .unwrap_or(Act::Serve)
    }

    fn set_status(&self, request: usize, status: StatusCode) {
        // A `clear()` in between has taken the record away.
        if let Some(recorded) = self
            .live()
            .requests
            .iter_mut()
            .find(|recorded| recorded.number == request)
        {
            recorded.status = Some(status);
        }
    }
}

impl ScriptedUpstream {
    /// What it is like is said before it starts.
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder::new()
    }

    /// A proper server with sessions, SSE answers and the tool `echo`.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A port that refuses connections for as long as this lives.
    pub async fn refusing() -> Self {
        Self::builder().socket(Socket::Refuse).start().await
    }

    /// A port that accepts connections and never answers.
    pub async fn hanging() -> Self {
        Self::builder().socket(Socket::Hang).start().await
    }

    pub(crate) async fn serve(script: Script, live: Live) -> Self {
        let socket = live.socket.clone();
        let state = Arc::new(State {
            script,
            live: Mutex::new(live),
            answered: tokio::sync::Notify::new(),
            pushes: broadcast::channel(64).0,
            began: Instant::now(),
            counter: AtomicU64::new(1),
            connections: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            max_in_flight: AtomicUsize::new(0),
        });
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::open(any_port, &socket, Arc::clone(&state)).await;
        let address = listener.address();
        Self {
            state,
            listener: Mutex::new(Some(listener)),
            address,
        }
    }

    /// `http://127.0.0.1:PORT/mcp`
    pub fn url(&self) -> String {
        format!("{}{}", self.origin(), self.state.script.path)
    }

    /// `http://127.0.0.1:PORT`
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Since it was started, by the clock of [`ToolAnswer::Stamped`].
    pub fn now(&self) -> Duration {
        self.state.began.elapsed()
    }

    // === What arrived ===

    /// Every request so far, in the order they came.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.live().requests.clone()
    }

    /// How many requests had this JSON-RPC method, or this HTTP method when they had none (`GET`, `DELETE`).
    pub fn count(&self, method: &str) -> usize {
        self.state
            .live()
            .requests
            .iter()
            .filter(|request| request.is(method))
            .count()
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        self.state.live().requests.clear();
    }

    /// Everything that arrived, as text, to look for secrets in.
    pub fn everything(&self) -> String {
        self.requests()
            .iter()
            .map(Recorded::everything)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// The most POST requests that were being answered at one time.
    pub fn max_in_flight(&self) -> usize {
        self.state.max_in_flight.load(Ordering::Relaxed)
    }

    /// The sessions that are open now.
    pub fn sessions(&self) -> usize {
        self.state.live().sessions.len()
    }

    // === What changes while it runs ===

    /// From now on does `act` with every request of this name: a JSON-RPC method, `GET`, `DELETE`, or `*` for all
    /// that have no act of their own.
    pub fn on(&self, method: &str, act: Act) {
        self.state.live().always.insert(method.to_owned(), act);
    }

    /// Does `act` with the next request of this name; several wait in line.
    pub fn once(&self, method: &str, act: Act) {
        self.state
            .live()
            .once
            .entry(method.to_owned())
            .or_default()
            .push_back(act);
    }

    /// Takes every [`ScriptedUpstream::on`] and [`ScriptedUpstream::once`] back.
    pub fn behave(&self) {
        let mut live = self.state.live();
        live.always.clear();
        live.once.clear();
    }

    /// Forgets all sessions, as a restarted server does.
    pub fn expire_sessions(&self) {
        let mut live = self.state.live();
        live.sessions.clear();
        live.values.clear();
    }

    /// Asks for another bearer key from now on; `None`: for none.
    pub fn set_bearer(&self, key: Option<&str>) {
        self.state.live().bearer = key.map(str::to_owned);
    }

    /// Has other tools from now on, each answering with [`ToolAnswer::echo`]. Tells nobody.
    pub fn set_tools(&self, definitions: impl IntoIterator<Item = Value>) {
        self.state.live().tools = definitions.into_iter().map(script::Tool::echo).collect();
    }

    /// Sends a message on every open GET stream.
    pub fn push(&self, message: &Value) {
        // Nobody listening is no fault.
        let _ = self.state.pushes.send(message.to_string());
    }

    /// How many streams are open that [`ScriptedUpstream::push`] reaches.
    pub fn listeners(&self) -> usize {
        self.state.pushes.receiver_count()
    }

    /// Closes the port and every connection; the port then refuses.
    pub async fn stop(&self) {
        let open = self.lock_listener().take();
        if let Some(open) = open {
            let refusing = open.refuse(Arc::clone(&self.state)).await;
            *self.lock_listener() = Some(refusing);
        }
    }

    /// Opens the port again, or opens it in another manner. Sessions are kept: see
    /// [`ScriptedUpstream::expire_sessions`].
    pub async fn reopen(&self, socket: Socket) {
        let open = self.lock_listener().take();
        if let Some(open) = open {
            open.close().await;
        }
        self.state.live().socket = socket.clone();
        let listener = Listener::open(self.address, &socket, Arc::clone(&self.state)).await;
        *self.lock_listener() = Some(listener);
    }

    fn lock_listener(&self) -> MutexGuard<'_, Option<Listener>> {
        self.listener
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
