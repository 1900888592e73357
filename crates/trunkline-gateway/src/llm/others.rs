//! What is no text that a model goes on with: the order of documents, harmful texts, pictures, speech, and what was said.
//!
//! Requests to these go the way of all others ([`super::handle`], [`super::ask`]). Nothing is translated. Answers of JSON are read whole, and
//! what they took is read beside them; sound, plain texts and event streams go on piece by piece as they come. A piece that does not come
//! breaks the answer off: there is no word for it in the middle of a sound.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::post;
use futures_util::stream;
use http_body_util::BodyExt as _;
use scopeguard::ScopeGuard;
use tokio::time::{timeout, timeout_at};
use trunkline_llm::stream::Renamer;
use trunkline_llm::{Endpoint, Measure, answer as wire};
use trunkline_model::{OutcomeStatus, Step};
use trunkline_upstream::ResponseBody;
use trunkline_upstream::fault::{Fault, printable};
use trunkline_upstream::http::{declared_length, read_whole};

use super::ask::Head;
use super::bill::{Bill, Sending};
use super::models::Ready;
use super::told::{self, Refused};
use super::{Asked, handle, spent};
use crate::limits::Place;
use crate::record::Pending;
use crate::{Gateway, answer};

/// Bytes of the end of an event stream in which it says what it took.
const MAX_END: usize = 256 * 1024;
/// What answers may say that they are; anything else is bytes.
const KINDS: [&str; 6] = [
    "text/event-stream",
    "text/plain",
    "text/vtt",
    "text/srt",
    "application/x-subrip",
    "application/json",
];

/// The routes. Azure's clients name the model in the path.
pub(super) fn routes(mut router: Router<Arc<Gateway>>) -> Router<Arc<Gateway>> {
    for endpoint in Endpoint::OTHERS {
        let path = endpoint.path();
        let plain = move |State(gateway), request| handle(gateway, endpoint, None, request);
        router = router
            .route(&format!("/v1/{path}"), post(plain))
            .route(&format!("/{path}"), post(plain));
        if endpoint == Endpoint::Rerank {
            router = router.route("/v2/rerank", post(plain));
        } else if endpoint != Endpoint::Moderations {
            let named = move |State(gateway), Path(model): Path<String>, request| {
                handle(gateway, endpoint, Some(model), request)
            };
            router = router.route(&format!("/openai/deployments/{{model}}/{path}"), post(named));
        }
    }
    router
}

/// What a provider is told about a body that is no JSON, and about an answer that is none.
pub(super) fn fit(headers: &mut HeaderMap, endpoint: Endpoint, content_type: Option<&str>) {
    if let Some(value) = content_type.and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    if matches!(endpoint, Endpoint::Speech | Endpoint::Transcriptions) {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
}

/// The answer to the client.
pub(super) async fn hand_on(
    (asked, sending): (Box<Asked<'_>>, Sending),
    ready: &Arc<Ready>,
    head: Head,
    mut headers: HeaderMap,
) -> Response {
    let kind = kind(head.response.headers());
    if is_raw(asked.endpoint, kind.as_ref()) {
        let (bill, mut pending) = ScopeGuard::into_inner(sending);
        // What is said aloud is paid by what was to be said: that is known now, and does not change when the client leaves.
        let is_settled = asked.endpoint == Endpoint::Speech;
        if is_settled {
            let cost = bill.settle_measured(&mut pending, &bill.asked);
            spent::after(&mut headers, asked.gateway, &asked.principal, (&pending, cost));
        } else {
            spent::before(&mut headers, asked.gateway, &asked.principal, &pending);
        }
        let is_stream = kind
            .as_ref()
            .is_some_and(|own| own.as_bytes().starts_with(b"text/event-stream"));
        let limit = asked.gateway.upstreams.settings().max_message_bytes;
        let running = Running {
            lines: is_stream.then(|| Renamer::new(&asked.request.model, limit)),
            bill,
            pending: Some(pending),
            place: asked.place,
            time: head.time,
            body: head.response.into_body(),
            is_settled,
            end: Vec::new(),
        };
        return running.answer(kind, headers);
    }
    let limit = asked.gateway.upstreams.settings().max_message_bytes;
    let read = whole(&asked, ready, head, limit).await;
    let (bill, mut pending) = ScopeGuard::into_inner(sending);
    let mut response = match read {
        Ok((text, measure)) => {
            let cost = bill.settle_measured(&mut pending, &measure);
            spent::after(&mut headers, asked.gateway, &asked.principal, (&pending, cost));
            pending.sent(text.len());
            pending.finish("ok", None);
            answer::json(axum::http::StatusCode::OK, text)
        }
        Err(refused) => {
            // It may have been done, and cost something.
            bill.settle_sent(&mut pending);
            let response = refused.answer_in(asked.endpoint.dialect(), asked.request_id);
            pending.finish(refused.word, Some(refused.failure.message));
            response
        }
    };
    response.headers_mut().extend(headers);
    response
}

/// What an answer is, if it is something that clients of these know.
fn kind(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(CONTENT_TYPE)?;
    let text = value.to_str().ok()?.to_ascii_lowercase();
    let name = text.split(';').next().unwrap_or_default().trim();
    (name.starts_with("audio/") || KINDS.contains(&name)).then(|| value.clone())
}

fn is_raw(endpoint: Endpoint, kind: Option<&HeaderValue>) -> bool {
    let is_json = kind.is_some_and(|own| own.as_bytes().starts_with(b"application/json"));
    match endpoint {
        Endpoint::Speech => true,
        Endpoint::Transcriptions => !is_json,
        _ => false,
    }
}

/// An answer of JSON as the client gets it, and what it took.
async fn whole(
    asked: &Asked<'_>,
    ready: &Ready,
    head: Head,
    limit: usize,
) -> Result<(String, Measure), Refused> {
    let declared = declared_length(&head.response);
    let mut body = head.response.into_body();
    let read = timeout_at(head.until, read_whole(&mut body, declared, limit, Step::Call)).await;
    let read = read.unwrap_or_else(|_| Err(Fault::timeout(Step::Call, head.time)));
    match read.as_deref().map(std::str::from_utf8) {
        Ok(Ok(text)) => wire::renamed_other(text, &asked.request.model, asked.endpoint)
            .map_err(|why| told::unreadable(ready, &why)),
        Ok(Err(_)) => Err(told::unreadable(ready, "it is not UTF-8")),
        Err(fault) => Err(told::fault(ready, fault.clone())),
    }
}

/// An answer on its way as it is.
struct Running {
    bill: Bill,
    /// Until it has ended.
    pending: Option<Pending>,
    place: Option<Place>,
    /// Between two pieces.
    time: Duration,
    body: ResponseBody,
    /// Of an event stream: it is read line by line, so that what a line says is known before it is handed on.
    lines: Option<Renamer>,
    /// What it came to is noted already.
    is_settled: bool,
    /// The end of an event stream, so far.
    end: Vec<u8>,
}

impl Drop for Running {
    /// The client left.
    fn drop(&mut self) {
        self.settle();
    }
}

impl Running {
    fn answer(self, kind: Option<HeaderValue>, headers: HeaderMap) -> Response {
        let is_stream = self.lines.is_some();
        // Boxed: it would be moved with every piece.
        let pieces = stream::unfold(Some(Box::new(self)), |running| async move {
            let (piece, rest) = running?.next().await?;
            Some((piece, rest))
        });
        let body = Body::from_stream(pieces);
        let mut response = if is_stream {
            answer::event_stream(body)
        } else {
            let mut response = Response::new(body);
            let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            let own = response.headers_mut();
            own.insert(CONTENT_TYPE, kind);
            own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
            response
        };
        response.headers_mut().extend(headers);
        response
    }

    /// The next piece, and what comes after it.
    async fn next(mut self: Box<Self>) -> Option<(io::Result<Bytes>, Option<Box<Self>>)> {
        loop {
            let fault = match timeout(self.time, self.body.frame()).await {
                Err(_) => Fault::timeout(Step::Call, self.time),
                Ok(None) => return self.ends(),
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    match self.read(data) {
                        Ok(data) if data.is_empty() => continue,
                        Ok(data) => {
                            let data = self.passes(data);
                            return Some((Ok(data), Some(self)));
                        }
                        Err(fault) => fault,
                    }
                }
                Ok(Some(Err(_))) => {
                    let text = "the connection broke within the answer";
                    Fault::new(OutcomeStatus::Unreachable, Step::Call, text)
                }
            };
            let refused = told::fault(&self.bill.ready, fault);
            self.over(refused.word, Some(refused.failure.message.clone()));
            return Some((Err(io::Error::other(refused.failure.message)), None));
        }
    }

    /// What of a piece can be handed on.
    fn read(&mut self, data: Bytes) -> Result<Bytes, Fault> {
        let Some(lines) = &mut self.lines else {
            return Ok(data);
        };
        let mut out = Vec::with_capacity(data.len() + 64);
        match lines.feed(&data, &mut out) {
            Ok(()) => Ok(out.into()),
            Err(error) => Err(Fault::new(
                OutcomeStatus::ProtocolError,
                Step::Call,
                error.to_string(),
            )),
        }
    }

    /// The provider has said all.
    fn ends(mut self: Box<Self>) -> Option<(io::Result<Bytes>, Option<Box<Self>>)> {
        let mut out = Vec::new();
        if let Some(lines) = &mut self.lines {
            lines.finish(&mut out);
        }
        let out = self.passes(out.into());
        let error = self.lines.as_ref().and_then(Renamer::error);
        let words = error.map(|error| self.bill.ready.redacted(&printable(error)));
        match words {
            None => self.over("ok", None),
            Some(words) => self.over(OutcomeStatus::UpstreamError.as_str(), Some(words)),
        }
        (!out.is_empty()).then_some((Ok(out), None))
    }

    /// What a provider says of an error may have the credential in it that it was asked with.
    fn passes(&mut self, data: Bytes) -> Bytes {
        let told = self.lines.as_ref().and_then(Renamer::error);
        let data = match std::str::from_utf8(&data) {
            Ok(text) if told.is_some() => self.bill.ready.redacted(text).into(),
            _ => data,
        };
        if let Some(pending) = &mut self.pending {
            pending.sent(data.len());
        }
        if self.lines.is_some() && !self.is_settled {
            self.end.extend_from_slice(&data);
            let surplus = self.end.len().saturating_sub(MAX_END);
            // Not with every piece: what is kept would be moved each time.
            if surplus > MAX_END {
                self.end.drain(..surplus);
            }
        }
        data
    }

    fn over(&mut self, outcome: &'static str, error: Option<String>) {
        self.settle();
        if let Some(pending) = self.pending.take() {
            pending.finish(outcome, error);
        }
        self.place = None;
    }

    fn settle(&mut self) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let measure = Measure::read_stream(self.bill.endpoint, &self.end);
        if let Some(pending) = &mut self.pending {
            let _ = self.bill.settle_measured(pending, &measure);
        }
    }
}
