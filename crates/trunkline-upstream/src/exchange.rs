//! One JSON-RPC request to an upstream: what comes before the response, and the response.
//!
//! An answer may be JSON or an event stream; whoever drives the exchange does not see the difference. Dropping an
//! unfinished exchange tells the upstream that nobody waits any more (`notifications/cancelled`).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use trunkline_mcp::sse::{Decoder, Event};
use trunkline_mcp::{ClientCapabilities, Era, Message, envelope, rpc};
use trunkline_model::{OutcomeStatus, Step};

use crate::clean;
use crate::credential::Outgoing;
use crate::entry::Entry;
use crate::fair::Place;
use crate::fault::{Fault, printable};
use crate::http::{declared_length, read_whole};
use crate::listen::{Askable, Registered};
use crate::pool::ResponseBody;
use crate::session::{Session, Using};

/// Messages before the response; more is an endless stream of notifications (S38).
const MAX_FRAMES: usize = 100_000;
/// Messages between looks at the clock.
const DEADLINE_EVERY: usize = 16;
/// No request takes longer, whatever is configured.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// How long a finished stream may take to end before its connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// A message of the upstream about this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A notification, the whole message as it came.
    Notification {
        /// Its method.
        method: String,
        /// The message.
        message: String,
    },
    /// A request of the server to the client, in the middle of this one. Its answer is posted on the session.
    Request {
        /// The server's id: raw JSON.
        id: String,
        /// Its method.
        method: String,
        /// The message.
        message: String,
    },
    /// The result: raw JSON. The last frame.
    Result(String),
    /// The error object: raw JSON. The last frame.
    Error(String),
}

/// A request under way.
pub struct Exchange {
    line: Line,
    /// The request's id on the upstream session.
    id: u64,
    step: Step,
    deadline: Instant,
    allowed: Duration,
    pending: VecDeque<Bytes>,
    stream: Option<(ResponseBody, Decoder)>,
    frames: usize,
    finished: bool,
    /// The client was asked something, and the deadline waits for it.
    asked: bool,
    resuming: Resuming,
    status: StatusCode,
    askable: Option<Askable>,
    place: Option<Place>,
    _progress: Option<Registered>,
    _using: Using,
}

/// What is needed to go on reading after the stream has ended before the answer (2025-11-25, "Resumability").
#[derive(Default)]
struct Resuming {
    /// `id:` of the last event that had one.
    last_event_id: Option<String>,
    /// The server's `retry:`.
    retry: Option<Duration>,
    /// When the stream is asked for again.
    at: Option<Instant>,
    /// The request for it, while it is under way: whoever waits for it may look after something else in between.
    asked: Option<Asked>,
    /// Streams that ended without a new event.
    in_vain: u32,
}

type Asked = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Fault>> + Send>>;

/// Streams that may end without a new event before the answer is given up.
const MAX_IN_VAIN: u32 = 5;
/// Between the end of a stream and the next attempt, if the server does not say.
const RETRY: Duration = Duration::from_secs(1);
/// No server makes a client wait longer.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What an exchange holds until it ends: a place, its progress token, and its readiness to be asked.
pub(crate) type Held = (Option<Place>, Option<Registered>, Option<Askable>);

/// Whom the exchange is with.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) entry: Arc<Entry>,
    pub(crate) out: Arc<Outgoing>,
    pub(crate) session: Arc<Session>,
    /// What the client behind it can be asked.
    pub(crate) asks: ClientCapabilities,
}

/// The time that an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    /// From now.
    pub fn after(allowed: Duration) -> Self {
        // A server's `timeout` may be any number of seconds; a clock ends somewhere.
        let allowed = allowed.min(LONGEST);
        Self {
            at: Instant::now() + allowed,
            allowed,
        }
    }

    /// The moment.
    pub fn at(self) -> Instant {
        self.at
    }

    /// The fault of missing it.
    pub fn missed(self, step: Step) -> Fault {
        Fault::timeout(step, self.allowed)
            .hint("the server is slow or hangs; a server's deadline is its `timeout`, in seconds, and a tool's is in `tool_timeouts`")
    }
}

impl Exchange {
    /// Begins reading the answer to request `id`. The status was checked.
    ///
    /// No `async fn`, which would hold its arguments twice, and no exchange while a body is read: every call carries room for
    /// what is held here.
    pub(crate) fn begin(
        line: Line,
        id: u64,
        step: Step,
        deadline: Deadline,
        response: Response<ResponseBody>,
        held: Held,
    ) -> impl Future<Output = Result<Self, Fault>> + Send {
        let max = line.entry.shared.settings().max_message_bytes;
        let kind = media_type(&response);
        let (status, length) = (response.status(), declared_length(&response));
        let using = Using::new(&line.session);
        let mut body = response.into_body();
        async move {
            if kind == "text/event-stream" {
                let mut exchange = Self::of(line, id, (step, deadline), held);
                exchange.stream = Some((body, Decoder::new(max)));
                return Ok(exchange);
            }
            if kind != "application/json" {
                return Err(not_mcp(step, status, &kind));
            }
            let unread = Unread {
                line: &line,
                id,
                is_askable: held.2.is_some(),
                armed: true,
            };
            let read = timeout_at(deadline.at, read_whole(&mut body, length, max, step)).await;
            let message = read.map_err(|_| deadline.missed(step))??;
            unread.disarm();
            let mut exchange = Self::of(line, id, (step, deadline), held);
            drop(using);
            exchange.push(message)?;
            Ok(exchange)
        }
    }

    /// An exchange of which nothing is there yet.
    fn of(line: Line, id: u64, (step, deadline): (Step, Deadline), (place, progress, askable): Held) -> Self {
        Self {
            _using: Using::new(&line.session),
            line,
            id,
            step,
            deadline: deadline.at,
            allowed: deadline.allowed,
            pending: VecDeque::new(),
            stream: None,
            frames: 0,
            finished: false,
            asked: false,
            resuming: Resuming::default(),
            status: StatusCode::OK,
            askable,
            place,
            _progress: progress,
        }
    }

    /// An exchange whose whole answer is there: `body`, one message.
    pub(crate) fn answered(
        line: Line,
        id: u64,
        of: (Step, Deadline),
        status: StatusCode,
        body: Bytes,
    ) -> Self {
        let mut exchange = Self::of(line, id, of, (None, None, None));
        exchange.pending.push_back(body);
        exchange.status = status;
        exchange
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Queues a body or an event's data: one message, or a batch.
    fn push(&mut self, body: Bytes) -> Result<(), Fault> {
        if !envelope::is_batch(&body) {
            self.pending.push_back(body);
            return Ok(());
        }
        let messages =
            envelope::split_batch(&body, 1000).map_err(|error| self.not_json(&error.to_string()))?;
        self.pending.extend(
            messages
                .iter()
                .map(|message| Bytes::copy_from_slice(message.get().as_bytes())),
        );
        Ok(())
    }

    fn not_json(&self, why: &str) -> Fault {
        Fault::protocol(
            self.step,
            format!("the answer is no JSON-RPC message: {}", printable(why)),
        )
    }

    /// The next frame. After [`Frame::Result`] or [`Frame::Error`], or an error, there is none. Cancel-safe: what was
    /// read is in the exchange before anything is waited for again.
    pub async fn next(&mut self) -> Result<Frame, Fault> {
        loop {
            while !self.pending.is_empty() {
                // A stream that is all notifications must not keep a thread from everybody else's requests (S38). Before
                // anything is taken out: whoever waits here may be dropped.
                tokio::task::coop::consume_budget().await;
                let Some(message) = self.pending.pop_front() else {
                    break;
                };
                self.frames += 1;
                if self.frames > MAX_FRAMES {
                    return Err(Fault::protocol(
                        self.step,
                        format!("more than {MAX_FRAMES} messages before the answer"),
                    ));
                }
                // Where there is always something to read, nobody waits, and so nobody would notice that it is late.
                if self.frames.is_multiple_of(DEADLINE_EVERY) && Instant::now() >= self.deadline {
                    let missed = Deadline {
                        at: self.deadline,
                        allowed: self.allowed,
                    };
                    return Err(missed.missed(self.step));
                }
                if let Some(frame) = self.read(&message)? {
                    return Ok(frame);
                }
            }
            let Some((body, decoder)) = &mut self.stream else {
                return Err(Fault::protocol(
                    self.step,
                    "the answer does not answer the request",
                ));
            };
            let missed = Deadline {
                at: self.deadline,
                allowed: self.allowed,
            };
            let read = async {
                match &mut self.askable {
                    None => Ok(body.frame().await),
                    Some(askable) => tokio::select! {
                        biased;
                        aside = askable.next() => Err(aside),
                        frame = body.frame() => Ok(frame),
                    },
                }
            };
            let read = match timeout_at(self.deadline, read).await {
                Ok(Err(aside)) => {
                    self.asked = true;
                    self.deadline = self.deadline.max(Instant::now() + self.patience());
                    return Ok(Frame::Request {
                        id: aside.request.unwrap_or_default(),
                        method: aside.method,
                        message: aside.message,
                    });
                }
                Ok(Ok(frame)) => Ok(frame),
                Err(late) => Err(late),
            };
            let chunk = match read {
                Err(_) => return Err(missed.missed(self.step)),
                Ok(None) => {
                    self.resume("the event stream ended before the answer").await?;
                    continue;
                }
                Ok(Some(Err(_))) => {
                    self.resume("the connection broke before the answer").await?;
                    continue;
                }
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            let mut events: Vec<Event> = Vec::new();
            if let Err(error) = decoder.feed(&chunk, &mut events) {
                return Err(Fault::protocol(self.step, error.to_string()));
            }
            for event in events {
                if let Some(id) = event.id {
                    self.resuming.last_event_id = Some(id).filter(|id| !id.is_empty());
                    self.resuming.in_vain = 0;
                }
                if let Some(retry) = event.retry_ms {
                    self.resuming.retry = Some(Duration::from_millis(retry).min(LONGEST_RETRY));
                }
                if let Some(data) = event.data.filter(|data| !data.is_empty())
                    && (event.event.is_empty() || event.event == "message")
                {
                    self.push(data.into())?;
                }
            }
        }
    }

    /// Goes on reading from the last event, if the server gave events ids: it may close a stream in the middle of a call
    /// and be polled. Cancel-safe: what was known before is known after, and the next call tries again.
    async fn resume(&mut self, why: &str) -> Result<(), Fault> {
        if let Some(fault) = self.stream.as_ref().and_then(|(body, _)| body.why()) {
            return Err(Fault {
                step: self.step,
                ..fault.clone()
            });
        }
        // The new era has no such thing, whatever a server of it sends.
        let resumable = self.line.session.revision.era() == Era::Legacy;
        let Some(last) = self.resuming.last_event_id.clone().filter(|_| resumable) else {
            return Err(broken(self.step, why));
        };
        let Ok(last) = HeaderValue::from_str(&last) else {
            return Err(broken(self.step, why));
        };
        if self.resuming.in_vain >= MAX_IN_VAIN {
            return Err(broken(self.step, why));
        }
        let missed = Deadline {
            at: self.deadline,
            allowed: self.allowed,
        };
        // The moment, and not the pause: whoever waits for it may look after something else in between.
        let pause = self.resuming.retry.unwrap_or(RETRY);
        let at = *self.resuming.at.get_or_insert_with(|| Instant::now() + pause);
        if at >= self.deadline {
            return Err(missed.missed(self.step));
        }
        tokio::time::sleep_until(at).await;
        let asked = self.resuming.asked.get_or_insert_with(|| {
            let (line, step) = (self.line.clone(), self.step);
            Box::pin(async move { line.entry.resume(&line.out, &line.session, last, step).await })
        });
        let response = timeout_at(self.deadline, asked)
            .await
            .map_err(|_| missed.missed(self.step))?;
        self.resuming.asked = None;
        let response = response?;
        if response.status() != StatusCode::OK || media_type(&response) != "text/event-stream" {
            return Err(broken(self.step, why));
        }
        self.resuming.in_vain += 1;
        self.resuming.at = None;
        let max = self.line.entry.shared.settings().max_message_bytes;
        self.stream = Some((response.into_body(), Decoder::new(max)));
        Ok(())
    }

    /// One message: a frame, or something that is dealt with here.
    fn read(&mut self, body: &[u8]) -> Result<Option<Frame>, Fault> {
        // The definitions of a list are looked at one by one, when it is taken apart.
        let list = self.step == Step::List;
        let cleaned = if list {
            None
        } else {
            clean::message(&self.line.entry, body)
        };
        let body = cleaned.as_deref().unwrap_or(body);
        let read = if list {
            Message::parse_deep(body)
        } else {
            Message::parse(body)
        };
        let message = match read {
            Ok(message) => message,
            Err(error) => {
                // What the server asks wrongly is its own question's end, and not that of the call.
                if let Some(id) = envelope::id_of_request(body) {
                    self.line.reject(&id, error.code(), &error.to_string());
                    return Ok(None);
                }
                return Err(self.not_json(&error.to_string()));
            }
        };
        if std::mem::take(&mut self.asked) {
            self.deadline = Instant::now() + self.allowed;
        }
        match message {
            Message::Response { id, outcome } if id.get().parse() == Ok(self.id) => {
                self.finish();
                let answer = outcome.unwrap_or_else(|error| error);
                if !answer.get().starts_with('{') {
                    // `null` and the like must not pass for an empty success, nor for an error that says nothing.
                    let kind = if outcome.is_ok() { "result" } else { "error" };
                    return Err(self.not_json(&format!("its {kind} is no object")));
                }
                Ok(Some(match outcome {
                    Ok(result) => Frame::Result(result.get().to_owned()),
                    Err(error) => Frame::Error(error.get().to_owned()),
                }))
            }
            // `id: null` is the answer to a request that could not be read: ours, on this response.
            Message::Response {
                id,
                outcome: Err(error),
            } if id.get() == "null" && error.get().starts_with('{') => {
                self.finish();
                Ok(Some(Frame::Error(error.get().to_owned())))
            }
            Message::Response { .. } => Ok(None),
            Message::Notification { method, .. } => {
                let message = String::from_utf8_lossy(body).into_owned();
                Ok(Some(Frame::Notification {
                    method: method.into_owned(),
                    message,
                }))
            }
            Message::Request { id, method, .. } if self.line.asks.answers(&method) => {
                self.asked = true;
                self.deadline = self.deadline.max(Instant::now() + self.patience());
                Ok(Some(Frame::Request {
                    id: id.get().to_owned(),
                    method: method.into_owned(),
                    message: String::from_utf8_lossy(body).into_owned(),
                }))
            }
            Message::Request { id, method, .. } => {
                self.line.refuse(id.get(), &method);
                Ok(None)
            }
        }
    }

    /// The response is there: nothing to cancel. The stream gets a moment to end, so that its connection can be reused.
    fn finish(&mut self) {
        self.finished = true;
        self.pending.clear();
        if let Some((mut body, _)) = self.stream.take() {
            if hyper::body::Body::is_end_stream(&body) {
                return;
            }
            self.line.entry.tasks.spawn(async move {
                let rest = async { while let Some(Ok(_)) = body.frame().await {} };
                // Longer than that: the connection is closed with the body.
                let _ = tokio::time::timeout(LINGER, rest).await;
            });
        }
    }

    /// Tells the server that its question `id` (raw JSON) reaches nobody.
    pub fn refuse(&self, id: &str, why: &str) {
        self.line.reject(id, rpc::INVALID_PARAMS, why);
    }

    fn patience(&self) -> Duration {
        self.line.entry.shared.settings().answer_timeout
    }

    /// Gives its place among the server's `max_concurrent_requests` to others: it waits for a person now.
    pub fn release(&mut self) {
        self.place = None;
    }

    /// The session it runs on.
    pub fn session(&self) -> &Arc<Session> {
        &self.line.session
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.line.entry.sessions.touch(&self.line.session);
        if !self.finished {
            self.line.abandon(self.id, self.askable.is_some());
        }
    }
}

/// A request whose answer is not whole yet. Dropped, it was given up.
pub(crate) struct Unread<'a> {
    pub(crate) line: &'a Line,
    pub(crate) id: u64,
    pub(crate) is_askable: bool,
    pub(crate) armed: bool,
}

impl Unread<'_> {
    pub(crate) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.line.abandon(self.id, self.is_askable);
        }
    }
}

impl Line {
    /// Nobody waits for a request any more: the server is told.
    fn abandon(&self, id: u64, is_askable: bool) {
        if is_askable {
            // Whatever the server asks now could be about this request, and must not reach another's client.
            self.session.muddled.store(true, Ordering::Relaxed);
        }
        self.cancel(id);
    }

    /// Answers a request of the upstream that nobody else can: but for `ping`, what it asks was not declared (B59).
    pub(crate) fn refuse(&self, id: &str, method: &str) {
        if self.session.revision.era() == Era::Modern {
            // A server of this era must not ask, and takes no answers.
            tracing::debug!(server = %self.entry.prefix, method, "a request of the server where it may not make one");
            return;
        }
        if method != "ping" {
            let text = format!("{} is not supported by this client", printable(method));
            return self.reject(id, rpc::METHOD_NOT_FOUND, &text);
        }
        self.answer_aside(rpc::response(id, "{}"));
    }

    /// Answers a request of the upstream with an error.
    pub(crate) fn reject(&self, id: &str, code: i64, text: &str) {
        if self.session.revision.era() == Era::Legacy {
            self.answer_aside(rpc::error_response(id, &rpc::error_object(code, text, None)));
        }
    }

    fn answer_aside(&self, answer: String) {
        // A server that asks without end does not get a connection for each of its questions (S38).
        match self.entry.asides.clone().try_acquire_owned() {
            Ok(permit) => self.post_aside(answer, Some(permit)),
            Err(_) => {
                tracing::debug!(server = %self.entry.prefix, "too many requests of the server: one is not answered");
            }
        }
    }

    pub(crate) fn cancel(&self, id: u64) {
        if self.session.revision.era() == Era::Modern {
            // The end of the stream is the cancellation (2026-07-28, "Cancellation").
            return;
        }
        let params = format!(r#"{{"requestId":{id},"reason":"the client does not wait for it any more"}}"#);
        self.post_aside(rpc::notification("notifications/cancelled", Some(&params)), None);
    }

    /// Sends a message that has no answer, without making anybody wait.
    pub(crate) fn post_aside(&self, message: String, permit: Option<OwnedSemaphorePermit>) {
        let line = self.clone();
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let on_its_way = self.session.asides.token();
        self.entry.tasks.spawn(async move {
            let _held = (permit, on_its_way);
            let sent = line
                .entry
                .post(&line.out, Some(&line.session), message, Step::Call);
            match tokio::time::timeout(Duration::from_secs(5), sent).await {
                Ok(Ok(response)) if response.status().is_success() => {}
                // Best effort by nature: the upstream may be what broke.
                _ => tracing::debug!(server = %line.entry.prefix, "a message aside did not arrive"),
            }
        });
    }
}

fn broken(step: Step, message: &str) -> Fault {
    Fault::new(OutcomeStatus::Unreachable, step, message).hint("look at the server's own log")
}

fn not_mcp(step: Step, status: StatusCode, kind: &str) -> Fault {
    let kind = if kind.is_empty() {
        "no content type".to_owned()
    } else {
        printable(kind)
    };
    let mut fault = Fault::protocol(
        step,
        format!(
            "the server answered HTTP {} with {kind} where MCP has JSON or an event stream",
            status.as_u16()
        ),
    );
    fault.http_status = Some(status.as_u16());
    fault
}

/// The content type without parameters, in lower case.
pub(crate) fn media_type(response: &Response<ResponseBody>) -> String {
    let text = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}
