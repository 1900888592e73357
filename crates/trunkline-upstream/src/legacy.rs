//! Servers of the HTTP+SSE transport of 2024-11-05: `GET` opens a stream whose first event names the address to post to, and
//! every answer comes on the stream.
//!
//! What a server speaks is found out by the rule of the specification: `initialize` is posted first, and where that is
//! answered with a client error, a `GET` at the same URL that begins with an `endpoint` event settles it. That is remembered
//! until a `GET` does not begin so any more, or a day has passed.
//!
//! A stream is a session of the server, so every session has its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tokio::time::{Instant, timeout};
use trunkline_mcp::sse::{Decoder, Event};
use trunkline_mcp::{Era, ListKind};
use trunkline_model::{OutcomeStatus, Step};
use url::Url;

use crate::credential::Outgoing;
use crate::duplex::{self, Duplex, Posts, Visit, Wire};
use crate::entry::Entry;
use crate::exchange::media_type;
use crate::fault::Fault;
use crate::http::{Target, means_unknown_session, status_fault};
use crate::pool::ResponseBody;
use crate::session::Session;

/// Time for the `endpoint` event.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long the server is asked again whether it speaks Streamable HTTP.
const HOLDS: Duration = Duration::from_hours(24);

/// What is known about a server of this transport, and its sessions.
#[derive(Default)]
pub(crate) struct Legacy {
    found: ArcSwapOption<Found>,
    sessions: Mutex<HashMap<String, Arc<Duplex>>>,
}

struct Found {
    at: Timestamp,
    since: Instant,
}

impl Legacy {
    /// Since when it is known that the server speaks it.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.found.load().as_ref().map(|found| found.at)
    }

    fn is_found(&self) -> bool {
        let found = self.found.load();
        found.as_ref().is_some_and(|found| found.since.elapsed() < HOLDS)
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str) {
        let duplex = self.sessions().remove(id);
        if let Some(duplex) = duplex {
            duplex.end(gone("the session was ended"));
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Duplex>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        for duplex in self.sessions().values() {
            duplex.end(gone("the server is not used any more"));
        }
    }
}

fn gone(why: &str) -> Fault {
    Fault::new(OutcomeStatus::Unreachable, Step::Call, why)
}

/// Whether a status may be that of a server that knows no `POST` at its URL.
fn may_be_legacy(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 407 | 408 | 421 | 425 | 429)
}

impl Entry {
    /// A message on a session of this transport; `None`: it is on none.
    pub(crate) async fn send_legacy(
        &self,
        method: &Method,
        session: Option<&Session>,
        body: &Bytes,
        step: Step,
    ) -> Option<Result<Response<ResponseBody>, Fault>> {
        let Some(id) = session.and_then(|session| session.id.as_ref()) else {
            // Such a server is of the old era.
            let modern = session.is_some_and(|session| session.revision.era() == Era::Modern);
            return (modern && self.legacy.is_found()).then(|| Ok(duplex::answer(StatusCode::NOT_FOUND)));
        };
        if !duplex::is_local(id) {
            return None;
        }
        let id = id.to_str().unwrap_or_default();
        let duplex = self.legacy.sessions().get(id).cloned();
        let Some(duplex) = duplex.filter(|duplex| !duplex.is_over()) else {
            self.legacy.sessions().remove(id);
            return Some(Ok(duplex::answer(StatusCode::NOT_FOUND)));
        };
        let visit = Visit {
            session: Some(id),
            client: session.and_then(Session::client),
        };
        Some(match *method {
            // Boxed, and only here: calls over the other transport would carry room for it.
            Method::POST => match Box::pin(duplex.post(body.clone(), visit, step)).await {
                Err(fault) if has_forgotten(&fault) => {
                    duplex.end(gone("the server does not know the session any more"));
                    Ok(duplex::answer(StatusCode::NOT_FOUND))
                }
                answer => answer,
            },
            Method::GET => Ok(duplex.listen(id)),
            _ => {
                let answer = duplex.delete(id);
                self.legacy.end(id);
                Ok(answer)
            }
        })
    }

    /// `initialize` where the server is known to speak this transport; `None`: it is not, or does not any more.
    pub(crate) async fn initialize_legacy(
        self: &Arc<Self>,
        out: &Outgoing,
        target: &Target,
        body: &Bytes,
    ) -> Option<Result<Response<ResponseBody>, Fault>> {
        if !self.legacy.is_found() {
            return None;
        }
        match self.open_legacy(out, target).await {
            Ok(Some(opening)) => Some(self.greet_legacy(opening, body).await),
            Ok(None) => {
                tracing::info!(server = %self.prefix, "server does not speak HTTP+SSE any more");
                self.legacy.found.store(None);
                None
            }
            Err(fault) => Some(Err(fault)),
        }
    }

    /// What came of posting `initialize`, or what comes of the legacy transport, if the server speaks that.
    pub(crate) async fn or_legacy(
        self: &Arc<Self>,
        out: &Outgoing,
        target: &Target,
        (posted, body): (Response<ResponseBody>, &Bytes),
    ) -> Result<Response<ResponseBody>, Fault> {
        if !may_be_legacy(posted.status()) {
            return Ok(posted);
        }
        let opening = match self.open_legacy(out, target).await {
            Ok(Some(opening)) => opening,
            // It is one, and must not be used.
            Err(fault) if fault.status == OutcomeStatus::Misconfigured && fault.http_status.is_none() => {
                return Err(fault);
            }
            Ok(None) | Err(_) => return Ok(posted),
        };
        tracing::info!(server = %self.prefix, "server speaks the legacy HTTP+SSE transport");
        self.legacy.found.store(Some(Arc::new(Found {
            at: self.shared.clock.now(),
            since: Instant::now(),
        })));
        self.greet_legacy(opening, body).await
    }

    async fn greet_legacy(&self, opening: Opening, body: &Bytes) -> Result<Response<ResponseBody>, Fault> {
        let response = opening.duplex.greet(body).await?;
        let id = response.headers().get("mcp-session-id");
        if let Some(id) = id.and_then(|id| id.to_str().ok()) {
            let duplex = opening.keep();
            let mut sessions = self.legacy.sessions();
            sessions.retain(|_, duplex| !duplex.is_over());
            sessions.insert(id.to_owned(), duplex);
        }
        Ok(response)
    }

    /// Opens a stream. `None`: what is there does not speak this transport.
    async fn open_legacy(
        self: &Arc<Self>,
        out: &Outgoing,
        target: &Target,
    ) -> Result<Option<Opening>, Fault> {
        let step = Step::Initialize;
        let headers = || {
            let mut headers = out.headers.clone();
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            headers
        };
        let http = self.shared.http();
        let sent = http.send(&Method::GET, target, headers, Bytes::new(), step);
        let (response, moved) = timeout(ENDPOINT_TIMEOUT, sent)
            .await
            .map_err(|_| Fault::timeout(step, ENDPOINT_TIMEOUT))??;
        if response.status() != StatusCode::OK {
            if may_be_legacy(response.status()) {
                return Ok(None);
            }
            return Err(status_fault(&self.server.load(), step, response).await);
        }
        if media_type(&response) != "text/event-stream" {
            return Ok(None);
        }
        let mut reading = Reading {
            body: response.into_body(),
            decoder: Decoder::new(self.shared.settings().max_message_bytes),
        };
        let Ok(Some((endpoint, rest))) = timeout(ENDPOINT_TIMEOUT, reading.endpoint()).await else {
            return Ok(None);
        };
        let from = moved.as_ref().unwrap_or(target);
        let posts = Posts {
            http: self.shared.http(),
            target: Target::new(post_address(&from.url, &endpoint)?, &from.route)?,
            headers: out.headers.clone(),
            server: self.server.load_full(),
        };
        let duplex = Duplex::new(
            &self.prefix,
            Era::Legacy,
            Wire::Posts(Arc::new(posts)),
            &self.tasks,
            self.changed(out),
        );
        for event in rest {
            hear(&duplex, event);
        }
        self.tasks.spawn(read(reading, duplex.clone()));
        let kept = AtomicBool::new(false);
        Ok(Some(Opening { duplex, kept }))
    }

    /// A list of the server changed: it is fetched again by whoever has it.
    fn changed(self: &Arc<Self>, out: &Outgoing) -> duplex::Changed {
        let (current, fingerprint) = (self.current.clone(), out.fingerprint);
        Box::new(move |kind: ListKind| {
            let Some(entry) = current.get() else { return };
            if let Some(own) = entry.own().filter(|own| own.fingerprint == fingerprint) {
                let own = own.clone();
                entry
                    .catalogue(kind, Era::Legacy, fingerprint)
                    .announce(&entry, &own);
            }
        })
    }
}

/// A stream that is not anybody's session yet: it ends with this.
struct Opening {
    duplex: Arc<Duplex>,
    kept: AtomicBool,
}

impl Opening {
    fn keep(&self) -> Arc<Duplex> {
        self.kept.store(true, Ordering::Relaxed);
        self.duplex.clone()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            self.duplex.end(gone("nobody waited for the hand-shake"));
        }
    }
}

/// A refusal that says that the session is gone: what was posted did not run.
fn has_forgotten(fault: &Fault) -> bool {
    let status = fault
        .http_status
        .and_then(|status| StatusCode::from_u16(status).ok());
    status.is_some_and(|status| status == StatusCode::GONE || means_unknown_session(status, &fault.message))
}

/// Where to post: an address of the same origin, because the credential goes there (S11).
fn post_address(from: &Url, endpoint: &str) -> Result<Url, Fault> {
    let step = Step::Initialize;
    let to = from
        .join(endpoint.trim())
        .map_err(|_| Fault::protocol(step, "the endpoint event names no address"))?;
    if to.origin() == from.origin() {
        return Ok(to);
    }
    Err(Fault::new(
        OutcomeStatus::Misconfigured,
        step,
        format!(
            "the server wants its messages at another origin, {}",
            crate::fault::printable(&to.origin().ascii_serialization())
        ),
    )
    .hint("credentials are not sent there; if it is the right server, set url to its address"))
}

struct Reading {
    body: ResponseBody,
    decoder: Decoder,
}

impl Reading {
    /// Some events; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let frame = self.body.frame().await?.ok()?;
        let mut events = Vec::new();
        let data = frame.into_data().unwrap_or_default();
        self.decoder.feed(&data, &mut events).ok()?;
        Some(events)
    }

    /// The first event, if it is the one that this transport begins with; with it, what came in the same piece.
    async fn endpoint(&mut self) -> Option<(String, Vec<Event>)> {
        loop {
            let mut events = self.next().await?.into_iter();
            let Some(first) = events.next() else { continue };
            if first.event != "endpoint" {
                return None;
            }
            let address = String::from_utf8(first.data?).ok()?;
            return Some((address, events.collect()));
        }
    }
}

fn hear(duplex: &Duplex, event: Event) {
    if let Some(data) = event.data.filter(|data| !data.is_empty())
        && (event.event.is_empty() || event.event == "message")
    {
        duplex.hear(&data.into());
    }
}

async fn read(mut reading: Reading, duplex: Arc<Duplex>) {
    loop {
        let events = tokio::select! {
            () = duplex.ended().cancelled() => return,
            events = reading.next() => events,
        };
        let Some(events) = events else { break };
        for event in events {
            hear(&duplex, event);
        }
    }
    duplex.end(
        gone("the event stream of the server ended before the answer").hint("look at the server's own log"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_messages_are_posted_to_the_same_origin_only() {
        let from = Url::parse("http://127.0.0.1:8080/sse").unwrap();
        for same in ["/messages/?session_id=1", "http://127.0.0.1:8080/m", "m?x=1"] {
            assert!(post_address(&from, same).is_ok(), "{same}");
        }
        for other in [
            "http://127.0.0.1:8081/m",
            "https://127.0.0.1:8080/m",
            "//evil.example/m",
            "http://127.0.0.1:8080@evil.example/m",
        ] {
            assert!(post_address(&from, other).is_err(), "{other}");
        }
    }
}
