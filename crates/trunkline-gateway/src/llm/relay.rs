//! Relay of an answer in pieces: each goes on as soon as it is there, and when the client leaves, the provider hears it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use trunkline_model::{OutcomeStatus, Step};
use trunkline_upstream::ResponseBody;
use trunkline_upstream::fault::{Fault, printable, redacted};

use super::models::Ready;
use super::passing::{Passing, Pieces};
use super::told::{self, Refused};
use crate::limits::Place;
use crate::record::Pending;
use crate::{Gateway, answer};

/// An answer on its way.
pub(super) struct Relay {
    pub(super) gateway: Arc<Gateway>,
    pub(super) ready: Arc<Ready>,
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
    relay: Relay,
    body: ResponseBody,
    pieces: Pieces,
    /// Whether the client has a line of which the end did not come.
    began: bool,
}

impl Relay {
    /// The answer. It is read as fast as the client takes it: nothing is kept but the line under way. Dropping it drops the
    /// connection to the provider, and records that the client left.
    pub(super) fn answer(self, body: ResponseBody) -> Response {
        let running = Running {
            pieces: self.passing.pieces(self.limit),
            relay: self,
            body,
            began: false,
        };
        // Boxed: it would be moved with every piece.
        let pieces = stream::unfold(Some(Box::new(running)), |running| async move {
            let (piece, rest) = running?.next().await?;
            Some((Ok::<_, Infallible>(piece), rest))
        });
        answer::event_stream(Body::from_stream(pieces))
    }

    fn count(&self, pieces: &Pieces) {
        if let Some(usage) = pieces.usage() {
            self.gateway.metrics.count_tokens(&self.passing.model, &usage);
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
            let Ok(frame) = timeout(self.relay.time, self.body.frame()).await else {
                let fault = Fault::timeout(Step::Call, self.relay.time);
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
                self.began = !ends_an_event(&out);
                self.relay.pending.sent(out.len());
                return Some((out.into(), Some(self)));
            }
        }
    }

    /// The provider has said all.
    fn over(mut self: Box<Self>) -> Option<(Bytes, Option<Box<Self>>)> {
        let mut out = Vec::new();
        if let Err(error) = self.pieces.finish(&mut out) {
            return Some(self.broken(out, |ready| told::unreadable(ready, &error)));
        }
        let Self {
            mut relay, pieces, ..
        } = *self;
        relay.count(&pieces);
        relay.pending.sent(out.len());
        match pieces.error() {
            None => relay.pending.finish("ok", None),
            Some(error) => {
                let words = redacted(&printable(error), &relay.ready.secrets());
                relay
                    .pending
                    .finish(OutcomeStatus::UpstreamError.as_str(), Some(words));
            }
        }
        drop(relay.place);
        (!out.is_empty()).then(|| (out.into(), None))
    }

    /// It ends in the middle, after `out`: the client is told in the stream, as LiteLLM tells it, and nothing follows that says that it
    /// was complete.
    fn broken(
        self: Box<Self>,
        mut out: Vec<u8>,
        why: impl FnOnce(&Ready) -> Refused,
    ) -> (Bytes, Option<Box<Self>>) {
        let Self {
            mut relay,
            pieces,
            began,
            ..
        } = *self;
        relay.count(&pieces);
        let refused = why(&relay.ready);
        if if out.is_empty() {
            began
        } else {
            !ends_an_event(&out)
        } {
            out.extend_from_slice(b"\n\n");
        }
        out.extend_from_slice(refused.failure.event(relay.passing.dialect).as_bytes());
        relay.pending.sent(out.len());
        relay.pending.finish(refused.word, Some(refused.failure.message));
        drop(relay.place);
        (out.into(), None)
    }
}
