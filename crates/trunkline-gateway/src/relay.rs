//! Relay: a call's frames to the client. JSON when nothing came before the response, an event stream when something did;
//! unbuffered, byte for byte but for the id and the progress token.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use futures_util::stream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use trunkline_mcp::{Era, edit, rpc, sse};
use trunkline_model::SessionKey;
use trunkline_upstream::Frame;

use crate::Gateway;
use crate::answer;
use crate::calling::{self, Call, CallError, Unapproved};
use crate::context::Context;
use crate::parked;
use crate::record::Pending;
use crate::resumable::Resumable;

/// After this long without a frame the answer becomes a stream, so that proxies and clients see life.
const UPGRADE_AFTER: Duration = Duration::from_secs(5);
/// Between comments that keep a stream alive.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// How often a call that says nothing looks whether somebody still waits for it.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);

/// A call on its way to the client. It is boxed from the start: the futures that it goes through would each carry room for it, and
/// many calls under way at once would not fit into a processor's cache.
pub struct Relay {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The request.
    pub context: Arc<Context>,
    /// The call.
    pub call: Call,
    /// The client's request id: raw JSON.
    pub id: String,
    /// The record.
    pub pending: Pending,
    /// Cancelled by the client's `notifications/cancelled`.
    pub cancelled: Option<Cancellable>,
    /// What the client asked, raw, and how often it was asked back: for a call that may have to wait for answers.
    pub asking: Option<(String, u32)>,
}

/// A place in [`crate::sessions::InFlight`] that is left when the relay ends.
pub struct Cancellable {
    gateway: Arc<Gateway>,
    session: SessionKey,
    number: u64,
    cancelled: oneshot::Receiver<()>,
}

impl Cancellable {
    /// Enters a request.
    pub fn enter(gateway: &Arc<Gateway>, session: SessionKey, id: &str) -> Self {
        let (number, cancelled) = gateway.in_flight.enter(session, id);
        Self {
            gateway: gateway.clone(),
            session,
            number,
            cancelled,
        }
    }

    /// Waits until the client cancels; for ever if it never does. Cancel-safe.
    pub async fn cancelled(&mut self) {
        if (&mut self.cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.gateway.in_flight.leave(self.session, self.number);
    }
}

/// The next frame, or `None` when the client cancelled.
async fn next(
    call: &mut Call,
    (gateway, context): (&Gateway, &Context),
    cancelled: Option<&mut Cancellable>,
) -> Option<Result<Frame, CallError>> {
    match cancelled {
        None => Some(call.next(gateway, context).await),
        Some(cancellable) => tokio::select! {
            biased;
            frame = call.next(gateway, context) => Some(frame),
            () = cancellable.cancelled() => None,
        },
    }
}

/// The last message for the client, with the record's word and error.
fn last(
    gateway: &Gateway,
    (call, era): (&Call, Era),
    id: &str,
    frame: Option<Result<Frame, CallError>>,
) -> (String, &'static str, Option<String>) {
    match frame {
        Some(Ok(Frame::Result(result))) => {
            let word = calling::result_word(&result);
            let error = if word == "tool_error" {
                calling::tool_error_text(&result).map(|text| call.without_secrets(&text))
            } else {
                None
            };
            (rpc::response(id, &result), word, error)
        }
        Some(Ok(Frame::Error(error))) => {
            let text = trunkline_upstream::fault::printable(&error);
            (rpc::error_response(id, &error), "upstream_error", Some(text))
        }
        Some(Ok(Frame::Notification { message, .. } | Frame::Request { message, .. })) => {
            (message, "ok", None)
        }
        Some(Err(error)) => (
            error_message(gateway, id, &error, era),
            error.outcome_word(),
            Some(error.to_string()),
        ),
        None => {
            let error = rpc::error_object(rpc::INTERNAL_ERROR, "cancelled by the client", None);
            (rpc::error_response(id, &error), "cancelled", None)
        }
    }
}

/// A call error as a JSON-RPC response. What a model can do otherwise is the tool's error, which it reads; of others, clients
/// tell it nothing.
pub fn error_message(gateway: &Gateway, id: &str, error: &CallError, era: Era) -> String {
    let told = match error {
        CallError::RuledOut(why) => Some(why.to_string()),
        CallError::Unapproved(why) => match &**why {
            Unapproved::Asks { result } => return rpc::response(id, result),
            why => Some(why.to_string()),
        },
        _ => None,
    };
    if let Some(text) = told {
        let text = edit::string(&text);
        let kind = if era == Era::Modern {
            r#","resultType":"complete""#
        } else {
            ""
        };
        let result = format!(r#"{{"content":[{{"type":"text","text":{text}}}],"isError":true{kind}}}"#);
        return rpc::response(id, &result);
    }
    let data = error.data(gateway.clock.now());
    rpc::error_response(
        id,
        &rpc::error_object(error.code_in(era), &error.to_string(), data.as_deref()),
    )
}

/// The HTTP status of a call error. Where there is a hand-shake, errors travel at 200; 404 would end the session.
pub fn error_status(error: &CallError, era: Era) -> StatusCode {
    match (era, error) {
        // Before there is a stream it is said in HTTP, too: clients and what is between know what it means.
        (_, CallError::Limited(_)) => StatusCode::TOO_MANY_REQUESTS,
        (Era::Modern, CallError::Method(_)) => StatusCode::NOT_FOUND,
        (Era::Modern, CallError::HeaderMismatch(_) | CallError::NeedsTasks) => StatusCode::BAD_REQUEST,
        (_, CallError::NoApprovals) | (Era::Modern, CallError::Full) => StatusCode::SERVICE_UNAVAILABLE,
        (Era::Modern, CallError::Elsewhere(_)) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::OK,
    }
}

/// A call error's message with its HTTP status, and when to come back where there is no room.
pub fn refusal(error: &CallError, era: Era, message: String) -> Response {
    let mut response = answer::json(error_status(error, era), message);
    if matches!(
        response.status(),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    ) && let Some(after) = error.retry_after_s()
    {
        response.headers_mut().insert(RETRY_AFTER, after.into());
    }
    response
}

impl Relay {
    /// The HTTP answer of the call.
    pub async fn answer(mut self: Box<Self>) -> Response {
        let first = timeout(
            UPGRADE_AFTER,
            next(
                &mut self.call,
                (&self.gateway, &self.context),
                self.cancelled.as_mut(),
            ),
        )
        .await;
        match first {
            Ok(Some(Ok(frame @ Frame::Request { .. }))) if self.asking.is_some() => {
                let era = self.context.era;
                // Boxed, and only here: every call would carry room for it.
                match Box::pin(self.park(frame)).await {
                    (message, None) => answer::json(StatusCode::OK, message),
                    (message, Some(error)) => refusal(&error, era, message),
                }
            }
            Ok(Some(Ok(Frame::Notification { message, .. } | Frame::Request { message, .. }))) => {
                self.stream(Some(message))
            }
            Err(_) => self.stream(None),
            Ok(frame) => {
                let era = self.context.era;
                let status = match &frame {
                    Some(Ok(Frame::Error(error))) => self.call.error_status(era, error),
                    Some(Err(error)) => error_status(error, era),
                    _ => StatusCode::OK,
                };
                let (message, word, error) = last(&self.gateway, (&self.call, era), &self.id, frame);
                self.pending.sent(message.len());
                self.pending.finish(word, error);
                answer::json(status, message)
            }
        }
    }

    /// The rest of the answer as a stream.
    fn stream(self: Box<Self>, first: Option<String>) -> Response {
        let session = self.context.session.filter(|_| self.context.resumes);
        let streams = &self.gateway.streams;
        let begun =
            session.and_then(|session| streams.begin(&self.gateway.peers, session, self.call.subject()));
        match begun {
            Some(stream) => {
                tokio::spawn(self.write(stream.clone(), first));
                stream.answer(None)
            }
            None => self.bound_stream(first),
        }
    }

    /// Goes on until the response was written, whether somebody reads or not, for as long as somebody may come back.
    async fn write(self: Box<Self>, stream: Arc<Resumable>, first: Option<String>) {
        let streams = self.gateway.streams.clone();
        // The call and all that it holds end with it, the gateway too, should it stop; only what was written is kept.
        self.written(&stream, first).await;
        stream.end().await;
        streams.forget(&stream);
    }

    async fn written(mut self: Box<Self>, stream: &Resumable, first: Option<String>) {
        if let Some(first) = first {
            self.pending.sent(first.len());
            stream.write(&first).await;
        }
        loop {
            let at = (&*self.gateway, &*self.context);
            let frame = next(&mut self.call, at, self.cancelled.as_mut());
            match timeout(LOOK_UP_EVERY, frame).await {
                Err(_) if stream.is_abandoned() || self.is_disowned() => return,
                Err(_) => {}
                Ok(Some(Ok(Frame::Notification { message, .. } | Frame::Request { message, .. }))) => {
                    self.pending.sent(message.len());
                    if !stream.write(&message).await || self.is_disowned() {
                        return;
                    }
                }
                Ok(frame) => {
                    let call = (&self.call, self.context.era);
                    let (message, word, error) = last(&self.gateway, call, &self.id, frame);
                    self.pending.sent(message.len());
                    stream.write(&message).await;
                    self.pending.finish(word, error);
                    return;
                }
            }
        }
    }

    /// Whether its caller is let in no more: then nobody comes back for the answer.
    fn is_disowned(&self) -> bool {
        let principal = &self.context.principal;
        self.gateway.authenticator.renew(principal).is_err()
    }

    /// Ends the request with what the server asks; the call waits for the client's next one.
    async fn park(self: Box<Self>, question: Frame) -> (String, Option<CallError>) {
        let Self {
            gateway,
            context,
            call,
            id,
            mut pending,
            asking,
            ..
        } = *self;
        let (params, rounds) = asking.unwrap_or_default();
        let method = call.operation().method().to_owned();
        let parked = parked::park(&gateway, &context, call, (&method, &params), (question, rounds)).await;
        let (message, word, error) = match parked {
            Ok(result) => (rpc::response(&id, &result), "input_required", None),
            Err(error) => (
                error_message(&gateway, &id, &error, context.era),
                error.outcome_word(),
                Some(error),
            ),
        };
        pending.sent(message.len());
        pending.finish(word, error.as_ref().map(ToString::to_string));
        (message, error)
    }

    fn bound_stream(mut self: Box<Self>, first: Option<String>) -> Response {
        let first = first.map_or_else(
            || sse::KEEP_ALIVE.to_owned(),
            |message| sse::encode_message(&message),
        );
        self.pending.sent(first.len());
        let body = stream::unfold((Some(self), Some(first)), |(relay, first)| async move {
            let mut relay = relay?;
            if let Some(first) = first {
                return Some((
                    Ok::<_, std::convert::Infallible>(Bytes::from(first)),
                    (Some(relay), None),
                ));
            }
            let at = (&*relay.gateway, &*relay.context);
            let frame = next(&mut relay.call, at, relay.cancelled.as_mut());
            match timeout(KEEP_ALIVE_EVERY, frame).await {
                Err(_) => Some((
                    Ok(Bytes::from_static(sse::KEEP_ALIVE.as_bytes())),
                    (Some(relay), None),
                )),
                Ok(Some(Ok(frame @ Frame::Request { .. }))) if relay.asking.is_some() => {
                    let event = sse::encode_message(&Box::pin(relay.park(frame)).await.0);
                    Some((Ok(event.into()), (None, None)))
                }
                Ok(Some(Ok(Frame::Notification { message, .. } | Frame::Request { message, .. }))) => {
                    let event = sse::encode_message(&message);
                    relay.pending.sent(event.len());
                    Some((Ok(event.into()), (Some(relay), None)))
                }
                Ok(frame) => {
                    let (message, word, error) =
                        last(&relay.gateway, (&relay.call, relay.context.era), &relay.id, frame);
                    let event = sse::encode_message(&message);
                    relay.pending.sent(event.len());
                    relay.pending.finish(word, error);
                    Some((Ok(event.into()), (None, None)))
                }
            }
        });
        answer::event_stream(Body::from_stream(body))
    }

    /// Waits for the result, for callers that have no stream (REST). Notifications are dropped.
    pub async fn result(mut self: Box<Self>) -> Result<Frame, CallError> {
        let began = Instant::now();
        loop {
            match self.call.next(&self.gateway, &self.context).await {
                Ok(Frame::Notification { .. } | Frame::Request { .. }) => {}
                Ok(frame) => {
                    let (text, word, error) = last(
                        &self.gateway,
                        (&self.call, Era::Legacy),
                        &self.id,
                        Some(Ok(frame.clone())),
                    );
                    self.pending.sent(text.len());
                    self.pending.finish(word, error);
                    tracing::trace!(took_us = began.elapsed().as_micros(), "call over REST");
                    return Ok(frame);
                }
                Err(error) => {
                    self.pending.finish(error.outcome_word(), Some(error.to_string()));
                    return Err(error);
                }
            }
        }
    }
}
