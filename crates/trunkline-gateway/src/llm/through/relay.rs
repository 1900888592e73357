//! What comes back: each piece goes on as soon as it is there, and what it took is read beside it. An answer that is one JSON text is
//! waited for, as far as it is of a size for that: what it cost stands in its headers. Dropping the answer drops the connection
//! to the provider, and records that the client left. Half an answer ends in a broken connection: there is no word for it that every
//! provider's client would read.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use trunkline_llm::Measure;
use trunkline_llm::price::Cost;
use trunkline_llm::through::{Meter, Passage, Shape};
use trunkline_model::{OutcomeStatus, Step};
use trunkline_upstream::ResponseBody;
use trunkline_upstream::fault::{Fault, printable};

use crate::limits::Place;
use crate::llm::bill::{Bill, tokens_of};
use crate::llm::told::{self, Refused};
use crate::record::Pending;

/// An answer that is one.
pub(super) struct Relay {
    pub(super) meter: Meter,
    /// It is not counted in tokens alone.
    pub(super) is_measured: bool,
    pub(super) bill: Bill,
    /// Until it has ended.
    pub(super) pending: Option<Pending>,
    /// Free again when the answer is over.
    pub(super) place: Option<Place>,
    /// Between two pieces.
    pub(super) time: Duration,
    /// What it came to is noted already.
    pub(super) is_settled: bool,
    pub(super) body: ResponseBody,
    /// How it ended, where that is known before it was handed on.
    pub(super) ended: Option<Result<Bytes, Box<Refused>>>,
}

/// Bytes of an answer that are waited for before its headers are sent.
const MAX_HELD: usize = 4 * 1024 * 1024;

/// What reads an answer with these headers.
pub(super) fn meter(passage: &Passage, headers: &HeaderMap, limit: usize) -> Meter {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    // What is packed cannot be read.
    let is_packed = headers.contains_key(http::header::CONTENT_ENCODING);
    let kind = kind.filter(|_| !is_packed).unwrap_or_default();
    let mut meter = Meter::new(passage.shape(), kind, limit);
    if passage.shape() == Some(Shape::Invoke) {
        let count = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        meter.said(
            count("x-amzn-bedrock-input-token-count"),
            count("x-amzn-bedrock-output-token-count"),
        );
    }
    meter
}

impl Drop for Relay {
    /// The client left.
    fn drop(&mut self) {
        self.settle(false);
    }
}

type Piece = io::Result<Bytes>;

impl Relay {
    /// Whether the answer is one text whose end says what it took.
    pub(super) fn is_read_whole(&self) -> bool {
        !self.is_settled && self.meter.text().is_some()
    }

    /// Waits for the whole of it, up to a bound. Returns what has come; whether that is all says [`Relay::ended`].
    pub(super) async fn hold(&mut self) -> (Vec<Bytes>, Option<Cost>) {
        let (mut held, mut size, mut cost) = (Vec::new(), 0, None);
        while size <= MAX_HELD {
            match self.piece().await {
                Ok(Some(piece)) => {
                    size += piece.len();
                    held.push(piece);
                }
                Ok(None) => {
                    let (ended, own) = self.end();
                    cost = own;
                    self.ended = Some(ended);
                    break;
                }
                Err(refused) => {
                    self.ended = Some(Err(refused));
                    break;
                }
            }
        }
        (held, cost)
    }

    /// The answer to the client, with what was held of it first.
    pub(super) fn answer(self, status: StatusCode, headers: HeaderMap, held: Vec<Bytes>) -> Response {
        let held = stream::iter(held.into_iter().map(Ok));
        // Boxed: it would be moved with every piece.
        let pieces = stream::unfold(Some(Box::new(self)), |relay| async move {
            let (piece, rest) = relay?.next().await?;
            Some((piece, rest))
        });
        let mut response = Response::new(Body::from_stream(held.chain(pieces)));
        *response.status_mut() = status;
        let own = response.headers_mut();
        own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        own.insert(
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        );
        own.extend(headers);
        response
    }

    /// The next piece, and what comes after it.
    async fn next(mut self: Box<Self>) -> Option<(Piece, Option<Box<Self>>)> {
        let ended = match self.ended.take() {
            Some(ended) => ended,
            None => match self.piece().await {
                Ok(Some(piece)) => return Some((Ok(piece), Some(self))),
                Ok(None) => self.end().0,
                Err(refused) => Err(refused),
            },
        };
        match ended {
            Ok(out) => self.over(out),
            Err(refused) => Some(self.broken(*refused)),
        }
    }

    /// What the provider says next; nothing when it has said all.
    async fn piece(&mut self) -> Result<Option<Bytes>, Box<Refused>> {
        loop {
            let fault = match timeout(self.time, self.body.frame()).await {
                Err(_) => Fault::timeout(Step::Call, self.time),
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    let out = self.meter.feed(&data);
                    if out.is_empty() {
                        continue;
                    }
                    return Ok(Some(self.passes(out)));
                }
                Ok(Some(Err(_))) => {
                    let text = "the connection broke within the answer";
                    Fault::new(OutcomeStatus::Unreachable, Step::Call, text)
                }
            };
            return Err(Box::new(told::fault(&self.bill.ready, fault)));
        }
    }

    /// What a provider says of an error may have the credential in it that it was asked with.
    fn passes(&mut self, out: Vec<u8>) -> Bytes {
        if let Some(pending) = &mut self.pending {
            pending.sent(out.len());
        }
        let is_error = self.meter.error().is_some();
        match std::str::from_utf8(&out) {
            Ok(text) if is_error => self.bill.ready.redacted(text).into(),
            _ => out.into(),
        }
    }

    /// The provider has said all: what is left of it, and what it cost, if that is known.
    fn end(&mut self) -> (Result<Bytes, Box<Refused>>, Option<Cost>) {
        // What it took is read of the whole text, which is let go of at the end.
        let measure = self.measure();
        let out = self.meter.finish();
        if !self.meter.is_whole() {
            let why = "it ends in the middle of a frame";
            return (Err(Box::new(told::unreadable(&self.bill.ready, why))), None);
        }
        let out = self.passes(out);
        let is_whole = self.meter.error().is_none();
        (Ok(out), self.settle_with(is_whole, measure))
    }

    /// It has ended, with this.
    fn over(mut self: Box<Self>, out: Bytes) -> Option<(Piece, Option<Box<Self>>)> {
        let words = self
            .meter
            .error()
            .map(|error| self.bill.ready.redacted(&printable(error)));
        match words {
            None => self.finish("ok", None),
            Some(words) => self.finish(OutcomeStatus::UpstreamError.as_str(), Some(words)),
        }
        (!out.is_empty()).then_some((Ok(out), None))
    }

    fn broken(mut self: Box<Self>, refused: Refused) -> (Piece, Option<Box<Self>>) {
        self.settle(false);
        let message = refused.failure.message;
        self.finish(refused.word, Some(message.clone()));
        (Err(io::Error::other(message)), None)
    }

    fn finish(&mut self, outcome: &'static str, error: Option<String>) {
        if let Some(pending) = self.pending.take() {
            pending.finish(outcome, error);
        }
        self.place = None;
    }

    fn measure(&self) -> Option<Measure> {
        let text = std::str::from_utf8(self.meter.text()?).ok()?;
        self.is_measured.then(|| Measure::read(self.bill.endpoint, text))
    }

    fn settle(&mut self, is_whole: bool) {
        let measure = self.measure();
        let _ = self.settle_with(is_whole, measure);
    }

    /// Notes what it took, once; what it cost, if that is known.
    fn settle_with(&mut self, is_whole: bool, measure: Option<Measure>) -> Option<Cost> {
        if std::mem::replace(&mut self.is_settled, true) {
            return None;
        }
        let pending = self.pending.as_mut()?;
        let usage = self.meter.usage();
        let written = match self.meter.events() {
            0 => tokens_of(usize::try_from(pending.sent_bytes()).unwrap_or(usize::MAX)),
            events => events,
        };
        if self.is_measured {
            return self.bill.settle_measured(pending, &measure.unwrap_or_default());
        }
        if is_whole {
            return self.bill.settle(pending, usage, written);
        }
        self.bill.settle_cut(pending, usage, written);
        None
    }
}
