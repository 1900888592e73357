//! Servers that are programs: one supervised child for each environment, spoken to over its pipes, however many call.
//!
//! - [`recipe`]: what is started, and in which environment
//! - [`child`]: one running program
//! - `reader`: where its standard output is read
//! - `tail`: the last lines of its standard error
//! - `place`: where a child stands, is started again after it ended, and waits its time until then
//!
//! Clients whose environments are equal share a child, unless their servers were told different things about them: what a
//! server may ask is said in its one hand-shake, and a child speaks one era (its first message decides). With
//! `session: per_client` every session has a child of its own (ADR 0020).

pub(crate) mod child;
mod place;
mod reader;
pub(crate) mod recipe;
mod tail;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_mcp::{ClientCapabilities, Era, Message};
use trunkline_model::{OutcomeStatus, SessionMode, Step};

use self::child::Child;
use self::place::{Key, Place};
pub use self::place::{Life, ProgramState};
pub(crate) use self::recipe::Recipe;
use crate::duplex::{self, Visit};
use crate::entry::Entry;
use crate::fault::Fault;
use crate::pool::ResponseBody;
use crate::session::Session;

/// Children of one server at the same time; beyond it the least recently used is stopped.
const MAX_CHILDREN: usize = 32;
/// A child without sessions is stopped after so long, unless it is the server's own.
const IDLE: Duration = Duration::from_mins(1);
/// How long the children of a server that was changed finish what they are at.
const LAST_CALLS: Duration = Duration::from_mins(1);

/// The children of one server.
#[derive(Default)]
pub(crate) struct Programs {
    places: Mutex<HashMap<Key, Arc<Place>>>,
    sessions: Mutex<HashMap<String, Arc<Place>>>,
    alone: AtomicU64,
}

impl Programs {
    fn places(&self) -> MutexGuard<'_, HashMap<Key, Arc<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Place>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a child; room is made for a new one.
    fn place(&self, key: Key, recipe: &Arc<Recipe>, step: Step) -> Result<Arc<Place>, Fault> {
        let mut places = self.places();
        if let Some(place) = places.get(&key) {
            return Ok(place.clone());
        }
        if places.len() >= MAX_CHILDREN {
            let idle = places.values().filter(|place| place.is_idle());
            let Some(oldest) = idle
                .min_by_key(|place| place.last_used())
                .map(|place| place.key.clone())
            else {
                return Err(Fault::new(
                    OutcomeStatus::RateLimited,
                    step,
                    format!("{MAX_CHILDREN} programs of this server are busy"),
                )
                .hint("each environment, and with session: per_client each client, has a program of its own: call again later"));
            };
            if let Some(place) = places.remove(&oldest) {
                tracing::info!("the least recently used program is stopped, for another one");
                place.stop();
            }
        }
        let place = Arc::new(Place::new(key.clone(), recipe.clone()));
        places.insert(key, place.clone());
        Ok(place)
    }

    /// The child that a session is with.
    fn holding(&self, session: &str) -> Option<Arc<Child>> {
        let mut sessions = self.sessions();
        let child = sessions.get(session)?.running();
        if child.as_ref().is_none_or(|child| !child.duplex.knows(session)) {
            sessions.remove(session);
            return None;
        }
        child
    }

    /// Ends a session.
    pub(crate) fn end(&self, session: &str) {
        if let Some(child) = self.holding(session) {
            child.duplex.delete(session);
        }
        self.forget(session);
    }

    fn forget(&self, session: &str) {
        let place = self.sessions().remove(session);
        // What is under way is finished first: it is stopped later then.
        if let Some(place) = place.filter(|place| place.key.alone.is_some() && place.in_flight() == 0) {
            // Nobody else's.
            self.places().remove(&place.key);
            place.stop();
        }
    }

    /// The server turned out not to speak the new era: the child that was asked is of no use.
    pub(crate) fn dismiss_modern(&self, environment: [u8; 16]) {
        let gone: Vec<Arc<Place>> = self
            .places()
            .extract_if(|key, _| key.environment == environment && key.era == Era::Modern)
            .map(|(_, place)| place)
            .collect();
        for place in gone {
            place.stop();
        }
    }

    /// Stops children that nobody used for a while. The last one of the server's own environment stays.
    pub(crate) fn reap(&self, own: Option<[u8; 16]>, session_idle: Duration) {
        let mut places = self.places();
        let mut own_left = places
            .values()
            .filter(|place| Some(place.key.environment) == own)
            .count();
        let gone: Vec<Arc<Place>> = places
            .extract_if(|key, place| {
                let idle = if key.era == Era::Modern {
                    session_idle
                } else {
                    IDLE
                };
                if !place.is_unused() || place.last_used().elapsed() < idle {
                    return false;
                }
                if Some(key.environment) == own {
                    if own_left <= 1 {
                        return false;
                    }
                    own_left -= 1;
                }
                true
            })
            .map(|(_, place)| place)
            .collect();
        drop(places);
        for place in gone {
            place.stop();
        }
        self.sessions().retain(|_, place| place.running().is_some());
    }

    /// What there is, for people.
    pub(crate) fn states(&self) -> Vec<ProgramState> {
        let mut states: Vec<ProgramState> = self.places().values().map(|place| place.state()).collect();
        states.sort_by_key(|state| state.started_at);
        states
    }

    fn drain(&self) -> Vec<Arc<Place>> {
        self.sessions().clear();
        self.places().drain().map(|(_, place)| place).collect()
    }

    /// Stops all, now; whether they are gone is waited for elsewhere.
    pub(crate) fn stop(&self) {
        for place in self.drain() {
            place.stop();
        }
    }

    /// Stops all and waits for it.
    pub(crate) async fn stopped(&self) {
        for place in self.drain() {
            place.stop();
            place.gone().await;
        }
    }

    /// Stops all when what is under way is finished, or takes too long.
    pub(crate) async fn finish(&self, stopping: &CancellationToken) {
        let until = Instant::now() + LAST_CALLS;
        let busy = || self.places().values().any(|place| place.in_flight() > 0);
        while busy() && Instant::now() < until && !stopping.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.stopped().await;
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One message to a program, as if it spoke Streamable HTTP.
pub(crate) async fn send(
    entry: &Arc<Entry>,
    recipe: &Arc<Recipe>,
    (method, body): (&Method, Bytes),
    session: Option<&Session>,
    step: Step,
) -> Result<Response<ResponseBody>, Fault> {
    let id = session
        .and_then(|session| session.id.as_ref())
        .and_then(|id| id.to_str().ok());
    let client = session.and_then(Session::client);
    let modern = session.is_some_and(|session| session.revision.era() == Era::Modern);
    match (id, method) {
        (None, &Method::POST) if modern => {
            let key = Key::new(recipe, Era::Modern, "");
            let place = entry.programs.place(key, recipe, step)?;
            let child = place.child(entry, step).await?;
            child.called();
            let visit = Visit {
                session: None,
                client,
            };
            let answer = child.duplex.post(body, visit, step).await;
            match answer {
                // Some of the old era end when they are asked which one they speak.
                Err(_) if step == Step::Initialize && child.duplex.is_over() => {
                    Ok(duplex::answer(StatusCode::NOT_FOUND))
                }
                answer => answer,
            }
        }
        (None, &Method::POST) => greet(entry, recipe, &body).await,
        (Some(session), _) => {
            let Some(child) = entry.programs.holding(session) else {
                return Ok(duplex::answer(StatusCode::NOT_FOUND));
            };
            child.called();
            let visit = Visit {
                session: Some(session),
                client,
            };
            Ok(match *method {
                Method::POST => child.duplex.post(body, visit, step).await?,
                Method::GET => child.duplex.listen(session),
                Method::DELETE => {
                    entry.programs.end(session);
                    duplex::answer(StatusCode::OK)
                }
                _ => duplex::answer(StatusCode::METHOD_NOT_ALLOWED),
            })
        }
        _ => Ok(duplex::answer(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

/// Starts the child that a hand-shake on nobody's behalf is made with; what was started, for people.
pub(crate) async fn start(entry: &Arc<Entry>, recipe: &Arc<Recipe>) -> Result<String, Fault> {
    let told = entry.introduction_params(ClientCapabilities::NONE);
    let mut key = Key::new(recipe, Era::Legacy, &told);
    if entry.server.load().definition.session == SessionMode::PerClient {
        // The hand-shake will have one of its own.
        key.alone = Some(entry.programs.alone.load(Ordering::Relaxed));
    }
    let child = entry
        .programs
        .place(key, recipe, Step::Start)?
        .child(entry, Step::Start)
        .await?;
    Ok(format!("process {}, {}", child.pid, child.isolation))
}

/// `initialize`: a session with the child that was told the same.
async fn greet(
    entry: &Arc<Entry>,
    recipe: &Arc<Recipe>,
    body: &Bytes,
) -> Result<Response<ResponseBody>, Fault> {
    let step = Step::Initialize;
    let params = match Message::parse(body) {
        Ok(Message::Request { method, params, .. }) if method == "initialize" => params,
        _ => return Ok(duplex::answer(StatusCode::BAD_REQUEST)),
    };
    let told = params.map_or("", serde_json::value::RawValue::get);
    let mut key = Key::new(recipe, Era::Legacy, told);
    if entry.server.load().definition.session == SessionMode::PerClient {
        key.alone = Some(entry.programs.alone.fetch_add(1, Ordering::Relaxed));
    }
    let place = entry.programs.place(key, recipe, step)?;
    let child = place.child(entry, step).await?;
    let response = child.duplex.greet(body).await?;
    let session = response.headers().get("mcp-session-id");
    if let Some(session) = session.and_then(|id| id.to_str().ok()) {
        entry.programs.sessions().insert(session.to_owned(), place);
    }
    Ok(response)
}
