//! A server of the HTTP+SSE transport of 2024-11-05 that changes its mood while it runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline_testkit::{Bare, BareServer, Said};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers.
    Calm,
    /// Every request has this status.
    Status(u16),
    /// A web page to everything.
    Page,
    /// The stream opens and never says where to post to.
    NoEndpoint,
    /// The stream names an address elsewhere.
    ElsewhereEndpoint,
    /// The stream begins with what is no address.
    OddEndpoint,
    /// A message is taken and never answered.
    Silent,
    /// A message is answered with somebody else's answer.
    WrongId,
    /// A message is answered with what is no message.
    Garbage,
    /// Notifications without end.
    Flood,
    /// One event that does not end.
    LongEvent,
    /// The stream ends in place of an answer.
    End,
    /// Every session is forgotten.
    Forgets,
    /// Nothing is answered at all.
    Hang,
}

impl Mood {
    pub(crate) const WILD: [Self; 19] = [
        Self::Status(401),
        Self::Status(403),
        Self::Status(404),
        Self::Status(429),
        Self::Status(500),
        Self::Status(503),
        Self::Status(204),
        Self::Page,
        Self::NoEndpoint,
        Self::ElsewhereEndpoint,
        Self::OddEndpoint,
        Self::Silent,
        Self::WrongId,
        Self::Garbage,
        Self::Flood,
        Self::LongEvent,
        Self::End,
        Self::Forgets,
        Self::Hang,
    ];
}

/// A running server. Dropping it closes its port and its connections.
pub(crate) struct Legacy {
    server: BareServer,
    state: Arc<State>,
}

struct State {
    mood: Mutex<Mood>,
    sessions: Mutex<(u64, HashMap<String, mpsc::Sender<String>>)>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Legacy {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(State {
            mood: Mutex::new(Mood::Calm),
            sessions: Mutex::default(),
        });
        let own = Arc::clone(&state);
        let server = BareServer::start(move |request| answer(Arc::clone(&own), request)).await;
        Self { server, state }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn set(&self, mood: Mood) {
        *lock(&self.state.mood) = mood;
        if mood == Mood::Forgets {
            lock(&self.state.sessions).1.clear();
        }
    }
}

impl State {
    fn mood(&self) -> Mood {
        *lock(&self.mood)
    }
}

async fn answer(state: Arc<State>, request: Bare) -> Said {
    match state.mood() {
        Mood::Hang => std::future::pending().await,
        Mood::Status(status) => return Said::status(status).with_header("retry-after", "1"),
        Mood::Page => return Said::json(200, "<!doctype html>").with_header("content-type", "text/html"),
        _ => {}
    }
    if request.head.method == "GET" {
        return stream(&state).await;
    }
    let key = request.head.uri.query().unwrap_or_default().to_owned();
    if request.head.uri.path() != "/messages" {
        return Said::status(405);
    }
    let sender = lock(&state.sessions).1.get(&key).cloned();
    let Some(sender) = sender else {
        return Said::status(404);
    };
    let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if message.get("id").is_some() && message.get("method").is_some() {
        tokio::spawn(async move { respond(&state, &key, &message, sender).await });
    }
    Said::status(202)
}

/// The stream of a new session.
async fn stream(state: &State) -> Said {
    let (sender, texts) = mpsc::channel(64);
    let key = {
        let mut sessions = lock(&state.sessions);
        sessions.0 += 1;
        format!("session={}", sessions.0)
    };
    let first = match state.mood() {
        Mood::NoEndpoint => ": wait for it\n\n".to_owned(),
        Mood::ElsewhereEndpoint => endpoint("http://elsewhere.test/messages"),
        Mood::OddEndpoint => endpoint("\u{fffd} nowhere \\ at all"),
        _ => endpoint(&format!("/messages?{key}")),
    };
    let _ = sender.send(first).await;
    let mut sessions = lock(&state.sessions);
    sessions.1.retain(|_, sender| !sender.is_closed());
    sessions.1.insert(key, sender);
    Said::events(texts)
}

fn endpoint(address: &str) -> String {
    format!("event: endpoint\ndata: {address}\n\n")
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

async fn respond(state: &State, key: &str, message: &Value, sender: mpsc::Sender<String>) {
    let proper = proper(message);
    let mood = state.mood();
    match mood {
        Mood::Silent => {}
        Mood::WrongId => {
            let mut other = proper;
            other["id"] = "of-another-request".into();
            let _ = sender.send(event(&other)).await;
        }
        Mood::Garbage => {
            for text in [
                "data: {\"jsonrpc\": oops\n\n",
                "event: odd\ndata: []\n\n",
                "\u{0}\n\n",
            ] {
                let _ = sender.send(text.to_owned()).await;
            }
        }
        Mood::Flood | Mood::LongEvent => {
            let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
            let piece = if mood == Mood::Flood {
                event(&note).repeat(64)
            } else {
                "x".repeat(16 * 1024)
            };
            if mood == Mood::LongEvent {
                let _ = sender.send("data: ".to_owned()).await;
            }
            while state.mood() == mood && sender.send(piece.clone()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Mood::End => {
            lock(&state.sessions).1.remove(key);
        }
        _ => {
            let _ = sender.send(event(&proper)).await;
        }
    }
}

fn proper(message: &Value) -> Value {
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2024-11-05",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "legacy", "version": "1"},
        }),
        "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        "tools/call" => {
            json!({"content": [{"type": "text", "text": message["params"]["arguments"]["message"]}]})
        }
        "ping" => json!({}),
        _ => {
            let error = json!({"code": -32601, "message": "Method not found"});
            return json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
        }
    };
    json!({"jsonrpc": "2.0", "id": message["id"], "result": result})
}
