//! From a client that only speaks stdio to a running gateway: a line in is a POST, every message that comes back is a line
//! out, and the standing stream is listened to. Nothing of a message is changed, so that what works here is what works at
//! the gateway.
//!
//! - `session`: what the gateway calls this client, and how it is called again after the gateway has forgotten it.
//! - `modern`: requests of 2026-07-28, which have no session and mirror their body in headers.
//! - `standing`: what servers say outside of requests.
//!
//! Order: `initialize`, notifications and answers are sent one after another, as they come; requests run side by side. A
//! gateway that does not answer the connection is waited for; what was sent and lost is not sent again, because it may have
//! run.

mod modern;
mod session;
mod standing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;
use serde_json::value::RawValue;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::{Message, envelope, rpc};

use self::modern::Mirrors;
use self::session::State;
use crate::exchange::{self, MAX_MESSAGE, Posted, is_response};
use crate::{ClientError, Gateway};

/// How long a gateway is waited for that was there before: a restart with a migration takes its time.
const PATIENCE: Duration = Duration::from_mins(1);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Time for requests under way when the client closes its side: the last answers of `… | trunkline stdio`.
const GRACE: Duration = Duration::from_millis(1500);
/// Time for the last words to the gateway, and to the client.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Requests under way at the same time.
const MAX_CALLS: usize = 1024;
/// Messages that wait to be read or written.
const QUEUE: usize = 64;

/// Finds the gateway again after it went away: it may be elsewhere.
pub type Relocate = Box<dyn Fn() -> Option<Gateway> + Send + Sync>;

/// A bridge that is not running yet.
pub struct Bridge {
    gateway: Gateway,
    path: String,
    relocate: Relocate,
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge")
            .field("gateway", &self.gateway)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A line to write, or the end.
enum Out {
    Line(Bytes),
    End,
}

/// What all tasks of a bridge share.
struct Shared {
    gateway: Mutex<Gateway>,
    path: String,
    relocate: Relocate,
    out: mpsc::Sender<Out>,
    state: Mutex<State>,
    /// One at a time begins a session anew.
    renewing: tokio::sync::Mutex<()>,
    /// Requests under way, by their ids as the client spells them.
    calls: Mutex<HashMap<String, Call>>,
    mirrors: Mutex<Mirrors>,
    tasks: TaskTracker,
    done: CancellationToken,
}

struct Call {
    task: AbortHandle,
    modern: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bridge {
    /// To an endpoint of a gateway, such as `/mcp`.
    pub fn new(gateway: Gateway, path: &str, relocate: Relocate) -> Self {
        Self {
            gateway,
            path: path.to_owned(),
            relocate,
        }
    }

    /// Runs until the client closes its side, `stop`, or nobody reads what is written.
    pub async fn run(
        self,
        input: impl AsyncRead + Unpin + Send + 'static,
        output: impl AsyncWrite + Unpin + Send + 'static,
        stop: CancellationToken,
    ) {
        let done = CancellationToken::new();
        let (out, lines_out) = mpsc::channel(QUEUE);
        let (lines, mut lines_in) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            gateway: Mutex::new(self.gateway),
            path: self.path,
            relocate: self.relocate,
            out,
            state: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
            calls: Mutex::default(),
            mirrors: Mutex::default(),
            tasks: TaskTracker::new(),
            done: done.clone(),
        });
        let writer = tokio::spawn(write(output, lines_out, done.clone()));
        let reader = tokio::spawn(read(input, lines));
        let closed = loop {
            let line = tokio::select! {
                () = stop.cancelled() => break false,
                () = done.cancelled() => break false,
                line = lines_in.recv() => line,
            };
            let Some(line) = line else { break true };
            tokio::select! {
                () = stop.cancelled() => break false,
                () = done.cancelled() => break false,
                () = shared.take(line) => {}
            }
        };
        shared.tasks.close();
        if closed {
            let _ = timeout(GRACE, shared.tasks.wait()).await;
        }
        done.cancel();
        for (_, call) in lock(&shared.calls).drain() {
            call.task.abort();
        }
        let _ = timeout(LAST_WORDS, shared.leave()).await;
        let _ = shared.out.try_send(Out::End);
        let _ = timeout(LAST_WORDS, writer).await;
        reader.abort();
    }
}

/// Reads lines to the end. The queue is bounded: who sends faster than the gateway takes waits.
async fn read(input: impl AsyncRead + Unpin, lines: mpsc::Sender<Bytes>) {
    let mut input = BufReader::new(input);
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_MESSAGE).unwrap_or(u64::MAX);
        match (&mut input).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(length) if length == MAX_MESSAGE && line.last() != Some(&b'\n') => {
                tracing::error!(bytes = MAX_MESSAGE, "a message of the client is too large");
                return;
            }
            Ok(_) => {}
        }
        if !line.trim_ascii().is_empty() && lines.send(line.into()).await.is_err() {
            return;
        }
    }
}

/// Writes lines until the end, or until nobody reads them.
async fn write(mut output: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<Out>, done: CancellationToken) {
    while let Some(Out::Line(line)) = lines.recv().await {
        let written = async {
            output.write_all(&line).await?;
            output.flush().await
        };
        if written.await.is_err() {
            break;
        }
    }
    done.cancel();
}

impl Shared {
    /// A message for the client, on a line of its own.
    async fn say(&self, message: &[u8]) {
        // A line break in JSON stands between values: what is inside of texts is escaped.
        let mut line: Vec<u8> = message
            .iter()
            .map(|byte| {
                if matches!(byte, b'\n' | b'\r') {
                    b' '
                } else {
                    *byte
                }
            })
            .collect();
        line.push(b'\n');
        // Nobody reads any more: the bridge ends.
        let _ = self.out.send(Out::Line(line.into())).await;
    }

    async fn refuse(&self, id: &str, code: i64, text: &str) {
        let error = rpc::error_object(code, text, None);
        self.say(rpc::error_response(id, &error).as_bytes()).await;
    }

    /// One line of the client.
    async fn take(self: &Arc<Self>, line: Bytes) {
        if envelope::is_batch(&line) {
            // Of the one revision that has them; the answer is one array.
            self.begin("null".to_owned(), false, line);
            return;
        }
        match Message::parse_deep(&line) {
            Ok(Message::Request { id, method, params }) => {
                let id = id.get().to_owned();
                if trunkline_mcp::modern::claimed_version(params).is_some() {
                    self.begin(id, true, line);
                } else if method == "initialize" {
                    lock(&self.state).hello(&line);
                    self.answer(&id, false, line).await;
                } else {
                    self.begin(id, false, line);
                }
            }
            Ok(Message::Notification { method, params }) => match method.as_ref() {
                "notifications/cancelled" => self.cancel(params, line.clone()).await,
                "notifications/initialized" => {
                    self.tell(line.clone()).await;
                    self.listen();
                }
                _ => self.tell(line.clone()).await,
            },
            Ok(Message::Response { .. }) => self.tell(line).await,
            Err(error) => {
                let id = envelope::id_of_request(&line).unwrap_or_else(|| "null".to_owned());
                self.refuse(&id, error.code(), &error.to_string()).await;
            }
        }
    }

    /// A request runs beside the others.
    fn begin(self: &Arc<Self>, id: String, modern: bool, line: Bytes) {
        let shared = self.clone();
        let own = id.clone();
        let mut calls = lock(&self.calls);
        if calls.len() >= MAX_CALLS {
            drop(calls);
            self.tasks.spawn(async move {
                let text = format!("more than {MAX_CALLS} requests are under way");
                shared.refuse(&own, rpc::INTERNAL_ERROR, &text).await;
            });
            return;
        }
        // The map is held until the task is in it, so that the task finds itself there.
        let task = self.tasks.spawn(async move {
            shared.answer(&own, modern, line).await;
            lock(&shared.calls).remove(&own);
        });
        let task = task.abort_handle();
        calls.insert(id, Call { task, modern });
    }

    /// Asks the gateway, and gives the client all that comes.
    async fn answer(&self, id: &str, modern: bool, line: Bytes) {
        if let Err(text) = self.relay(id, modern, line).await {
            tracing::warn!("{text}");
            self.refuse(id, rpc::INTERNAL_ERROR, &text).await;
        }
    }

    async fn relay(&self, id: &str, modern: bool, line: Bytes) -> Result<(), String> {
        let mut renewed = false;
        loop {
            let (headers, epoch) = if modern {
                (modern::headers(&line, &lock(&self.mirrors)), 0)
            } else {
                lock(&self.state).headers(&line)
            };
            let in_session = headers.contains_key(&exchange::SESSION_ID);
            let (head, posted) = self
                .post(&headers, line.clone())
                .await
                .map_err(|error| words(&error))?;
            match posted {
                Posted::Whole(StatusCode::NOT_FOUND, _) if in_session && !renewed => {
                    self.renew(epoch).await?;
                    renewed = true;
                }
                Posted::Accepted if envelope::is_batch(&line) => return Ok(()),
                Posted::Accepted => {
                    return Err("the gateway took the request and did not answer it".to_owned());
                }
                Posted::Whole(status, body) => {
                    if !is_response(&body) {
                        return Err(words(&self.gateway().refused(status, &body)));
                    }
                    self.learn(modern, &line, &head, &body);
                    self.say(&under_id(&body, id)).await;
                    return Ok(());
                }
                Posted::Stream(mut events) => {
                    while let Some(message) = events.next().await.map_err(|error| words(&error))? {
                        self.learn(modern, &line, &head, &message);
                        self.say(&message).await;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Sends what wants no answer.
    async fn tell(&self, line: Bytes) {
        let (headers, epoch) = lock(&self.state).headers(&line);
        let told = self.post(&headers, line.clone()).await;
        match told {
            Ok((_, Posted::Whole(StatusCode::NOT_FOUND, _)))
                if headers.contains_key(&exchange::SESSION_ID) =>
            {
                // The rest of the session is no other's; the message is of use only if it is said in it.
                if self.renew(epoch).await.is_ok() {
                    let (headers, _) = lock(&self.state).headers(&line);
                    let _ = self.post(&headers, line).await;
                }
            }
            Ok((_, Posted::Whole(status, body))) if !status.is_success() => {
                tracing::warn!("{}", words(&self.gateway().refused(status, &body)));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("{}", words(&error)),
        }
    }

    /// The client wants no answer any more. In the new era the end of the request's stream says so.
    async fn cancel(&self, params: Option<&RawValue>, line: Bytes) {
        let id = params
            .and_then(|params| RawObject::parse(params.get()).ok())
            .and_then(|params| params.get("requestId").map(str::to_owned));
        let call = id.and_then(|id| lock(&self.calls).remove(&id));
        let modern = call
            .as_ref()
            .map_or_else(|| !lock(&self.state).is_open(), |call| call.modern);
        if !modern {
            self.tell(line).await;
        }
        if let Some(call) = call {
            call.task.abort();
        }
    }

    fn gateway(&self) -> Gateway {
        lock(&self.gateway).clone()
    }

    /// Sends one message. A gateway that takes no connection has seen nothing of it, and is waited for.
    async fn post(&self, headers: &HeaderMap, body: Bytes) -> Result<(HeaderMap, Posted), ClientError> {
        let deadline = Instant::now() + PATIENCE;
        let mut wait = FIRST_WAIT;
        loop {
            let gateway = self.gateway();
            match exchange::post(&gateway, &self.path, headers, body.clone()).await {
                Err(error @ ClientError::Unreachable { .. }) if Instant::now() + wait < deadline => {
                    tracing::info!("{error}; trying again");
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    self.look_again();
                }
                other => return other,
            }
        }
    }

    /// The gateway may be elsewhere by now.
    fn look_again(&self) {
        if let Some(gateway) = (self.relocate)() {
            let mut known = lock(&self.gateway);
            if known.url() != gateway.url() {
                tracing::info!(url = gateway.url(), "the gateway has moved");
                *known = gateway;
            }
        }
    }
}

/// What the client reads instead of an answer.
fn words(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { .. } => format!("{error}. Start it with `trunkline serve`"),
        ClientError::Refused { status, .. } if status.as_u16() == 401 => {
            format!("{error}: set TRUNKLINE_KEY")
        }
        _ => error.to_string(),
    }
}

/// An error that the gateway found before it read the id has none.
fn under_id(message: &[u8], id: &str) -> Vec<u8> {
    let text = std::str::from_utf8(message).unwrap_or_default();
    match RawObject::parse(text) {
        Ok(mut object) if object.get("id") == Some("null") => {
            object.set("id", id.to_owned());
            object.to_json().into_bytes()
        }
        _ => message.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_an_id_gets_that_of_its_request() {
        let error = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"m"}}"#;
        let text = String::from_utf8(under_id(error, "\"a\"")).unwrap_or_default();
        assert!(text.contains(r#""id":"a""#), "{text}");
        let result = br#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
        assert_eq!(under_id(result, "8"), result);
    }
}
