//! One POST of MCP over Streamable HTTP, and what answers it: nothing, one message, or an event stream of them. A stream
//! that breaks before its answer is read on with `Last-Event-ID` as long as the gateway keeps it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep};
use trunkline_mcp::sse::{self, Decoder};
use trunkline_mcp::{Message, envelope};

use crate::{ClientError, Gateway};

/// The session of a request.
pub static SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The revision of a request.
pub static VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Largest message, bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// How long a stream that broke is looked for: the gateway gives an answer that nobody reads up after a minute.
const READ_ON_FOR: Duration = Duration::from_mins(1);
/// When to come back, unless the stream said.
const COME_BACK: Duration = Duration::from_secs(1);

/// What came of a POST.
#[derive(Debug)]
pub enum Posted {
    /// 202: there is nothing to say.
    Accepted,
    /// One whole answer; not necessarily a success.
    Whole(StatusCode, Bytes),
    /// Messages as they come, the answer last.
    Stream(Box<Events>),
}

/// Sends one message. The headers of the answer are returned with what came of it.
pub async fn post(
    gateway: &Gateway,
    path: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<(HeaderMap, Posted), ClientError> {
    let mut all = headers.clone();
    all.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response = gateway.send(Method::POST, path, &all, body).await?;
    let (head, body) = response.into_parts();
    if head.status == StatusCode::ACCEPTED {
        return Ok((head.headers, Posted::Accepted));
    }
    if head.status.is_success() && is_stream(&head.headers) {
        let events = Events::new(gateway, path, headers, body);
        return Ok((head.headers, Posted::Stream(Box::new(events))));
    }
    let body = gateway.whole(body).await?;
    Ok((head.headers, Posted::Whole(head.status, body)))
}

/// Opens the standing stream of a session. An answer that is no stream is its status.
pub async fn listen(
    gateway: &Gateway,
    path: &str,
    headers: &HeaderMap,
    last: Option<&str>,
) -> Result<Result<Events, StatusCode>, ClientError> {
    let response = get(gateway, path, headers, last).await?;
    if !response.status().is_success() || !is_stream(response.headers()) {
        return Ok(Err(response.status()));
    }
    let mut events = Events::new(gateway, path, headers, response.into_body());
    events.answered = true;
    Ok(Ok(events))
}

async fn get(
    gateway: &Gateway,
    path: &str,
    headers: &HeaderMap,
    last: Option<&str>,
) -> Result<http::Response<Incoming>, ClientError> {
    let mut headers = headers.clone();
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
        headers.insert(LAST_EVENT_ID.clone(), last);
    }
    gateway.send(Method::GET, path, &headers, Bytes::new()).await
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// The messages of an event stream.
#[derive(Debug)]
pub struct Events {
    gateway: Gateway,
    path: String,
    headers: HeaderMap,
    body: Incoming,
    decoder: Decoder,
    queue: VecDeque<sse::Event>,
    last: Option<String>,
    retry: Duration,
    /// The answer has come, or none is to be expected: an end is an end.
    answered: bool,
}

impl Events {
    fn new(gateway: &Gateway, path: &str, headers: &HeaderMap, body: Incoming) -> Self {
        Self {
            gateway: gateway.clone(),
            path: path.to_owned(),
            headers: headers.clone(),
            body,
            decoder: Decoder::new(MAX_MESSAGE),
            queue: VecDeque::new(),
            last: None,
            retry: COME_BACK,
            answered: false,
        }
    }

    /// The id of the last event, to go on from.
    pub fn last_id(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// When the stream said to come back.
    pub fn retry(&self) -> Duration {
        self.retry
    }

    /// The next message; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(message) = self.queued() {
                return Ok(Some(message));
            }
            let broke = match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.feed(&data)?;
                    }
                    continue;
                }
                None | Some(Err(_)) if self.answered => return Ok(None),
                None => "it ended before the answer".to_owned(),
                Some(Err(error)) => error.to_string(),
            };
            self.read_on(broke).await?;
        }
    }

    fn feed(&mut self, data: &[u8]) -> Result<(), ClientError> {
        let mut events = Vec::new();
        self.decoder
            .feed(data, &mut events)
            .map_err(|error| ClientError::Strange {
                url: self.gateway.url().to_owned(),
                why: error.to_string(),
            })?;
        self.queue.extend(events);
        Ok(())
    }

    fn queued(&mut self) -> Option<Bytes> {
        while let Some(event) = self.queue.pop_front() {
            if event.id.is_some() {
                self.last = event.id;
            }
            if let Some(ms) = event.retry_ms {
                self.retry = Duration::from_millis(ms.min(30_000));
            }
            let message = matches!(event.event.as_str(), "" | "message");
            if let Some(data) = event.data.filter(|data| message && !data.is_empty()) {
                self.answered |= is_response(&data);
                return Some(data.into());
            }
        }
        None
    }

    /// Opens the rest of a stream that broke.
    async fn read_on(&mut self, why: String) -> Result<(), ClientError> {
        let broken = |why: String| ClientError::Broken {
            url: self.gateway.url().to_owned(),
            why: format!("{why}; what became of the request is not known"),
        };
        let Some(last) = self.last.clone() else {
            return Err(broken(why));
        };
        let deadline = Instant::now() + READ_ON_FOR;
        while Instant::now() + self.retry < deadline {
            sleep(self.retry).await;
            match get(&self.gateway, &self.path, &self.headers, Some(&last)).await {
                Ok(response) if response.status().is_success() && is_stream(response.headers()) => {
                    self.body = response.into_body();
                    self.decoder = Decoder::new(MAX_MESSAGE);
                    return Ok(());
                }
                Ok(_) => break,
                Err(ClientError::Unreachable { .. } | ClientError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(broken(why))
    }
}

/// Whether a message answers a request; a batch does.
pub(crate) fn is_response(message: &[u8]) -> bool {
    envelope::is_batch(message) || matches!(Message::parse_deep(message), Ok(Message::Response { .. }))
}
