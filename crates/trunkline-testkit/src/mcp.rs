//! An MCP client that is told what to send and shows what came, with times.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::http::{Chunks, HttpClient, Reply, TransportError};
use crate::sse::SseReader;

/// One Streamable HTTP client: an endpoint, and the session and revision that `initialize` gave.
#[derive(Clone, Debug)]
pub struct McpClient {
    http: HttpClient,
    path: String,
    protocol: String,
    capabilities: Value,
    session: Option<String>,
    negotiated: Option<String>,
    next_id: u64,
}

/// One JSON-RPC message of an answer.
#[derive(Clone, Debug)]
pub struct Event {
    /// Since the request began.
    pub at: Duration,
    /// The message.
    pub message: Value,
}

/// A JSON-RPC error.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    /// The code.
    pub code: i64,
    /// The message.
    pub message: String,
    /// The data; null when there was none.
    pub data: Value,
}

/// A whole answer to one JSON-RPC request.
#[derive(Clone, Debug)]
pub struct RpcReply {
    /// HTTP status.
    pub status: StatusCode,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// Whether it was an event stream.
    pub streamed: bool,
    /// Every message in the order it came; the last is the answer.
    pub events: Vec<Event>,
    /// The HTTP body as it was.
    pub raw: Bytes,
    /// From before the connection to the end of the answer.
    pub elapsed: Duration,
}

impl RpcReply {
    /// The `result`, or the `error`.
    ///
    /// # Panics
    /// When the answer has neither; shows it.
    #[track_caller]
    pub fn outcome(&self) -> Result<Value, RpcError> {
        let answer = self
            .events
            .iter()
            .map(|event| &event.message)
            .rfind(|message| message.get("method").is_none());
        match answer {
            Some(Value::Object(answer)) if answer.contains_key("result") => Ok(answer["result"].clone()),
            Some(Value::Object(answer)) if answer.contains_key("error") => {
                let error = &answer["error"];
                Err(RpcError {
                    code: error["code"].as_i64().unwrap_or_default(),
                    message: error["message"].as_str().unwrap_or_default().to_owned(),
                    data: error["data"].clone(),
                })
            }
            _ => panic!("neither result nor error: {}", self.everything()),
        }
    }

    /// The `result`.
    ///
    /// # Panics
    /// When there is an error or nothing.
    #[track_caller]
    pub fn result(&self) -> Value {
        self.outcome()
            .unwrap_or_else(|error| panic!("an error, not a result: {error:?}\n{}", self.everything()))
    }

    /// The `error`.
    ///
    /// # Panics
    /// When there is a result or nothing.
    #[track_caller]
    pub fn error(&self) -> RpcError {
        match self.outcome() {
            Err(error) => error,
            Ok(result) => panic!("a result, not an error: {result}"),
        }
    }

    /// The notifications and requests before the answer.
    pub fn notifications(&self) -> Vec<&Event> {
        self.events
            .iter()
            .filter(|event| event.message.get("method").is_some())
            .collect()
    }

    /// A header's value; `None` when absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Status, headers and body as one text, to show or to look for secrets in.
    pub fn everything(&self) -> String {
        format!(
            "{} {:?}\n{}",
            self.status,
            self.headers,
            String::from_utf8_lossy(&self.raw)
        )
    }
}

/// Messages as they come. Dropping it closes the connection, as a client that leaves does.
#[derive(Debug)]
pub struct EventStream {
    chunks: Chunks,
    reader: SseReader,
    ready: Vec<Event>,
}

impl EventStream {
    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        self.chunks.status
    }

    /// HTTP headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.chunks.headers
    }

    /// The next message; `None` at a clean end, an error when the stream broke off.
    pub async fn next(&mut self) -> Option<Result<Event, TransportError>> {
        while self.ready.is_empty() {
            let (at, bytes) = match self.chunks.next().await? {
                Ok(piece) => piece,
                Err(error) => return Some(Err(error)),
            };
            let messages = self.reader.push(&bytes).into_iter();
            self.ready.extend(messages.map(|data| Event {
                at,
                message: serde_json::from_str(&data).unwrap_or(Value::String(data)),
            }));
        }
        Some(Ok(self.ready.remove(0)))
    }

    /// The next message when it comes within `limit`.
    ///
    /// # Panics
    /// When none comes, or the stream ends or breaks.
    pub async fn expect_next(&mut self, limit: Duration) -> Value {
        let next = tokio::time::timeout(limit, self.next()).await;
        let next = next.unwrap_or_else(|_| panic!("no message within {limit:?}"));
        match next {
            Some(Ok(event)) => event.message,
            Some(Err(error)) => panic!("the stream broke: {error}"),
            None => panic!("the stream ended"),
        }
    }

    /// The id of the last event that had one: where to read on from.
    pub fn last_event_id(&self) -> Option<&str> {
        self.reader.last_id.as_deref()
    }

    /// Everything that is still to come, to the end of the stream; the second is how it broke, if it did.
    pub async fn rest(mut self) -> (Vec<Event>, Option<TransportError>) {
        let mut events = Vec::new();
        while let Some(next) = self.next().await {
            match next {
                Ok(event) => events.push(event),
                Err(error) => return (events, Some(error)),
            }
        }
        (events, None)
    }
}

impl McpClient {
    /// For an endpoint such as `http://127.0.0.1:4000/mcp`.
    pub fn new(url: &str) -> Self {
        let rest = url
            .strip_prefix("http://")
            .unwrap_or_else(|| panic!("not an http:// address: {url}"));
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        Self::over(HttpClient::new(url), path)
    }

    /// Over a client that has its headers already.
    pub fn over(http: HttpClient, path: &str) -> Self {
        Self {
            http,
            path: path.to_owned(),
            protocol: "2025-06-18".to_owned(),
            capabilities: json!({}),
            session: None,
            negotiated: None,
            next_id: 0,
        }
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.http = self.http.with_header(name, value);
        self
    }

    /// Takes a header away from every request.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.http = self.http.without_header(name);
        self
    }

    /// How long a whole request may take; 30 s unless set.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.http = self.http.with_limit(limit);
        self
    }

    /// The revision to ask for; `2025-06-18` unless set.
    #[must_use]
    pub fn with_protocol(mut self, revision: &str) -> Self {
        revision.clone_into(&mut self.protocol);
        self
    }

    /// The capabilities to declare; none unless set.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Sends to another address of the same service, such as `http://127.0.0.1:4000`, from now on.
    #[must_use]
    pub fn to(mut self, base: &str) -> Self {
        self.http = self.http.at(base);
        self
    }

    /// Uses another session id, or none, from now on.
    pub fn set_session(&mut self, session: Option<&str>) {
        self.session = session.map(str::to_owned);
    }

    /// The session id that `initialize` gave.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The revision that `initialize` agreed on.
    pub fn negotiated(&self) -> Option<&str> {
        self.negotiated.as_deref()
    }

    /// `initialize`, keeping session and revision, then `notifications/initialized`.
    ///
    /// # Panics
    /// When either is refused.
    pub async fn initialize(&mut self) -> RpcReply {
        let reply = self.initialize_only().await;
        reply.result();
        let accepted = self.notify("notifications/initialized", &Value::Null).await;
        assert_eq!(
            accepted.status,
            StatusCode::ACCEPTED,
            "notifications/initialized: {}",
            accepted.everything()
        );
        reply
    }

    /// `initialize` alone; keeps session and revision when they come.
    pub async fn initialize_only(&mut self) -> RpcReply {
        (self.session, self.negotiated) = (None, None);
        let params = json!({
            "protocolVersion": self.protocol,
            "capabilities": self.capabilities,
            "clientInfo": {"name": "testkit", "version": "1"},
        });
        let reply = self.request("initialize", &params).await;
        self.session = reply.header("mcp-session-id").map(str::to_owned);
        if reply
            .events
            .last()
            .is_some_and(|event| event.message.get("result").is_some())
        {
            self.negotiated = reply.result()["protocolVersion"].as_str().map(str::to_owned);
        }
        reply
    }

    /// All tools, over all pages.
    ///
    /// # Panics
    /// When a page is an error, or there are more than a hundred.
    pub async fn list_tools(&mut self) -> Vec<Value> {
        let mut tools = Vec::new();
        let mut params = Value::Null;
        for _ in 0..100 {
            let page = self.request("tools/list", &params).await.result();
            tools.extend(page["tools"].as_array().cloned().unwrap_or_default());
            match page.get("nextCursor") {
                Some(cursor) if !cursor.is_null() => params = json!({"cursor": cursor}),
                _ => return tools,
            }
        }
        panic!("more than 100 pages of tools")
    }

    /// The names of all tools.
    pub async fn tool_names(&mut self) -> Vec<String> {
        let tools = self.list_tools().await;
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// `tools/call`, with a progress token when `progress` is set.
    pub async fn call(&mut self, tool: &str, arguments: &Value, progress: Option<&str>) -> RpcReply {
        self.request("tools/call", &call_params(tool, arguments, progress))
            .await
    }

    /// `tools/call`, returning when the head of the answer is there.
    pub async fn call_stream(
        &mut self,
        tool: &str,
        arguments: &Value,
        progress: Option<&str>,
    ) -> EventStream {
        self.open("tools/call", &call_params(tool, arguments, progress))
            .await
    }

    /// One JSON-RPC request with a new id, and its whole answer. `params` null: left out.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub async fn request(&mut self, method: &str, params: &Value) -> RpcReply {
        self.try_request(method, params)
            .await
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same, with the transport's failure as a value.
    pub async fn try_request(&mut self, method: &str, params: &Value) -> Result<RpcReply, TransportError> {
        let message = self.message(method, params);
        self.send_message(message).await
    }

    /// One JSON-RPC request, returning when the head of the answer is there.
    ///
    /// # Panics
    /// When no head comes.
    pub async fn open(&mut self, method: &str, params: &Value) -> EventStream {
        let message = self.message(method, params);
        let chunks = self
            .http
            .open(self.post(message))
            .await
            .unwrap_or_else(|error| panic!("{method}: {error}"));
        EventStream {
            chunks,
            reader: SseReader::default(),
            ready: Vec::new(),
        }
    }

    /// One JSON-RPC notification.
    pub async fn notify(&mut self, method: &str, params: &Value) -> RpcReply {
        let mut message = json!({"jsonrpc": "2.0", "method": method});
        if !params.is_null() {
            message["params"] = params.clone();
        }
        self.send_message(message.to_string())
            .await
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Any text as the body of a POST, and its whole answer.
    pub async fn send_message(&self, body: impl Into<Bytes>) -> Result<RpcReply, TransportError> {
        let request = self.post(body);
        let limit = self.http.limit();
        tokio::time::timeout(limit, async { read_reply(self.http.open(request).await?).await })
            .await
            .unwrap_or_else(|_| Err(TransportError(format!("no whole answer within {limit:?}"))))
    }

    /// The GET stream.
    ///
    /// # Panics
    /// When no head comes.
    pub async fn get_stream(&self) -> EventStream {
        let request = self.base(Method::GET).header(header::ACCEPT, "text/event-stream");
        let request = request.body(Bytes::new()).expect("a request");
        let chunks = self
            .http
            .open(request)
            .await
            .unwrap_or_else(|error| panic!("GET: {error}"));
        EventStream {
            chunks,
            reader: SseReader::default(),
            ready: Vec::new(),
        }
    }

    /// Ends the session.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub async fn delete(&self) -> Reply {
        let request = self.base(Method::DELETE).body(Bytes::new()).expect("a request");
        self.http
            .try_send(request)
            .await
            .unwrap_or_else(|error| panic!("DELETE: {error}"))
    }

    fn message(&mut self, method: &str, params: &Value) -> String {
        self.next_id += 1;
        let mut message = json!({"jsonrpc": "2.0", "id": self.next_id, "method": method});
        if !params.is_null() {
            message["params"] = params.clone();
        }
        message.to_string()
    }

    /// The POST that would carry `body`, to change before it is sent with [`HttpClient::try_send`].
    pub fn post(&self, body: impl Into<Bytes>) -> Request<Bytes> {
        self.base(Method::POST)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .body(body.into())
            .expect("a request")
    }

    /// The client below.
    pub fn http(&self) -> &HttpClient {
        &self.http
    }

    fn base(&self, method: Method) -> http::request::Builder {
        let mut request = Request::builder().method(method).uri(&self.path);
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if let Some(revision) = &self.negotiated {
            request = request.header("mcp-protocol-version", revision);
        }
        request
    }
}

fn call_params(tool: &str, arguments: &Value, progress: Option<&str>) -> Value {
    let mut params = json!({"name": tool, "arguments": arguments});
    if let Some(token) = progress {
        params["_meta"] = json!({"progressToken": token});
    }
    params
}

async fn read_reply(mut chunks: Chunks) -> Result<RpcReply, TransportError> {
    let kind = chunks
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let streamed = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
    let mut reader = SseReader::default();
    let (mut events, mut raw) = (Vec::new(), Vec::new());
    while let Some(piece) = chunks.next().await {
        let (at, bytes) = piece?;
        raw.extend_from_slice(&bytes);
        if streamed {
            let messages = reader
                .push(&bytes)
                .into_iter()
                .filter_map(|data| serde_json::from_str(&data).ok());
            events.extend(messages.map(|message| Event { at, message }));
        }
    }
    let elapsed = chunks.began().elapsed();
    if !streamed {
        events.extend(
            serde_json::from_slice(&raw)
                .ok()
                .map(|message| Event { at: elapsed, message }),
        );
    }
    let (status, headers) = (chunks.status, chunks.headers);
    Ok(RpcReply {
        status,
        headers,
        streamed,
        events,
        raw: raw.into(),
        elapsed,
    })
}
