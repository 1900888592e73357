//! Relay of an answer in pieces: each goes on as soon as it is there, and when the client leaves, the provider hears it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use trunkline_model::{OutcomeStatus, Step};
use trunkline_upstream::ResponseBody;
use trunkline_upstream::fault::{Fault, printable};

use super::bill::Bill;
use super::models::Ready;
use super::passing::{Passing, Pieces};
use super::told::{self, Refused};
use crate::answer;
use crate::limits::Place;
use crate::record::Pending;

/// An answer on its way.
pub(super) struct Relay {
    /// What it comes to.
    pub(super) bill: Bill,
    /// For whom it is.
    pub(super) passing: Passing,
    /// Between two pieces.
    pub(super) time: Duration,
    /// Bytes of a line.
    pub(super) limit: usize,
    pub(super) pending: Pending,
    /// Free again when the answer is over.
    pub(super) place: Option<Place>,
}

struct Running {
    bill: Bill,
    passing: Passing,
    time: Duration,
    /// Until it has ended.
    pending: Option<Pending>,
    place: Option<Place>,
    body: ResponseBody,
    pieces: Pieces,
    /// Events that the client has.
    events: u64,
    /// Whether the client has a line of which the end did not come.
    began: bool,
}

impl Relay {
    /// The answer. It is read as fast as the client takes it: nothing is kept but the line under way. Dropping it drops the
    /// connection to the provider, and records that the client left.
    pub(super) fn answer(self, body: ResponseBody) -> Response {
        let running = Running {
            pieces: self.passing.pieces(self.limit),
            bill: self.bill,
            passing: self.passing,
            time: self.time,
            pending: Some(self.pending),
            place: self.place,
            body,
            events: 0,
            began: false,
        };
        // Boxed: it would be moved with every piece.
        let pieces = stream::unfold(Some(Box::new(running)), |running| async move {
            let (piece, rest) = running?.next().await?;
            Some((Ok::<_, Infallible>(piece), rest))
        });
        answer::event_stream(Body::from_stream(pieces))
    }
}

impl Drop for Running {
    /// The client left.
    fn drop(&mut self) {
        if let Some(mut pending) = self.pending.take() {
            self.bill
                .settle_cut(&mut pending, self.pieces.usage(), self.events);
        }
    }
}

fn ends_an_event(out: &[u8]) -> bool {
    out.ends_with(b"\n\n") || out.ends_with(b"\r\n\r\n")
}

impl Running {
    /// The next piece, and what comes after it.
    async fn next(mut self: Box<Self>) -> Option<(Bytes, Option<Box<Self>>)> {
        loop {
            let Ok(frame) = timeout(self.time, self.body.frame()).await else {
                let fault = Fault::timeout(Step::Call, self.time);
                return Some(self.broken(Vec::new(), |ready| told::fault(ready, fault)));
            };
            let data = match frame {
                None => return self.over(),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => {
                    let text = "the connection broke within the answer";
                    let fault = Fault::new(OutcomeStatus::Unreachable, Step::Call, text);
                    return Some(self.broken(Vec::new(), |ready| told::fault(ready, fault)));
                }
            };
            let mut out = Vec::with_capacity(data.len() + 64);
            if let Err(error) = self.pieces.feed(&data, &mut out) {
                return Some(self.broken(out, |ready| told::unreadable(ready, &error)));
            }
            if !out.is_empty() {
                if self.pieces.error().is_some() {
                    self.redact(&mut out);
                }
                self.began = !ends_an_event(&out);
                self.sent(&out);
                return Some((out.into(), Some(self)));
            }
        }
    }

    /// What a provider says of an error may have the credential in it that it was asked with.
    fn redact(&self, out: &mut Vec<u8>) {
        if let Ok(text) = std::str::from_utf8(out) {
            *out = self.bill.ready.redacted(text).into_bytes();
        }
    }

    fn sent(&mut self, out: &[u8]) {
        // What a provider sends in one event is a token, more or less. `[DONE]` is none.
        let events = out.windows(6).filter(|own| *own == b"data: ").count() as u64;
        let done = u64::from(out.windows(12).any(|own| own == b"data: [DONE]"));
        self.events += events.saturating_sub(done);
        if let Some(pending) = &mut self.pending {
            pending.sent(out.len());
        }
    }

    /// It is over, in this way.
    fn end(&mut self, is_whole: bool, outcome: &'static str, error: Option<String>) {
        if let Some(mut pending) = self.pending.take() {
            let usage = self.pieces.usage();
            if is_whole {
                let _ = self.bill.settle(&mut pending, usage, self.events);
            } else {
                self.bill.settle_cut(&mut pending, usage, self.events);
            }
            pending.finish(outcome, error);
        }
        self.place = None;
    }

    /// The provider has said all.
    fn over(mut self: Box<Self>) -> Option<(Bytes, Option<Box<Self>>)> {
        let mut out = Vec::new();
        if let Err(error) = self.pieces.finish(&mut out) {
            return Some(self.broken(out, |ready| told::unreadable(ready, &error)));
        }
        self.sent(&out);
        match self.pieces.error() {
            None => self.end(true, "ok", None),
            Some(error) => {
                let words = self.bill.ready.redacted(&printable(error));
                self.end(false, OutcomeStatus::UpstreamError.as_str(), Some(words));
            }
        }
        (!out.is_empty()).then(|| (out.into(), None))
    }

    /// It ends in the middle, after `out`: the client is told in the stream, as LiteLLM tells it, and nothing follows that says that it
    /// was complete.
    fn broken(
        mut self: Box<Self>,
        mut out: Vec<u8>,
        why: impl FnOnce(&Ready) -> Refused,
    ) -> (Bytes, Option<Box<Self>>) {
        let refused = why(&self.bill.ready);
        self.sent(&out);
        if if out.is_empty() {
            self.began
        } else {
            !ends_an_event(&out)
        } {
            out.extend_from_slice(b"\n\n");
        }
        let told = match self.pieces.next_number() {
            Some(number) => refused.failure.numbered_event(number),
            None => refused.failure.event(self.passing.dialect),
        };
        if let Some(pending) = &mut self.pending {
            pending.sent(told.len());
        }
        out.extend_from_slice(told.as_bytes());
        self.end(false, refused.word, Some(refused.failure.message));
        (out.into(), None)
    }
}
