//! A client of the HTTP+SSE transport of 2024-11-05 that is told what to send and shows what came.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::http::{Chunks, HttpClient, Reply};
use crate::sse::SseReader;

/// An open stream, and where to post to. Dropping it closes the stream, as a client that leaves does.
#[derive(Debug)]
pub struct SseClient {
    http: HttpClient,
    chunks: Chunks,
    reader: SseReader,
    ready: VecDeque<Value>,
    endpoint: String,
    next_id: u64,
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl SseClient {
    /// Opens the stream at `path`, and reads where to post to.
    ///
    /// # Panics
    /// When the answer is no stream, or the first event is not what it must be.
    pub async fn open(http: &HttpClient, path: &str) -> Self {
        match Self::try_open(http, path).await {
            Ok(client) => client,
            Err(chunks) => panic!("GET {path}: {}", chunks.status),
        }
    }

    /// The same, with an answer of another status as a value.
    ///
    /// # Panics
    /// When there is no answer, or the first event is not what it must be.
    pub async fn try_open(http: &HttpClient, path: &str) -> Result<Self, Chunks> {
        let request = Request::builder().method(Method::GET).uri(path);
        let request = request.header(http::header::ACCEPT, "text/event-stream");
        let request = request.body(Bytes::new()).expect("a request");
        let mut chunks = http
            .open(request)
            .await
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        if chunks.status != StatusCode::OK {
            return Err(chunks);
        }
        let first = tokio::time::timeout(PATIENCE, chunks.next()).await;
        let Ok(Some(Ok((_, first)))) = first else {
            panic!("no first event: {first:?}");
        };
        let text = String::from_utf8_lossy(&first).into_owned();
        let endpoint = text
            .strip_prefix("event: endpoint\ndata: ")
            .and_then(|rest| rest.strip_suffix("\n\n"))
            .unwrap_or_else(|| panic!("not the endpoint alone: {text:?}"));
        assert!(endpoint.starts_with('/'), "of the same origin: {endpoint}");
        Ok(Self {
            http: http.clone(),
            chunks,
            reader: SseReader::default(),
            ready: VecDeque::new(),
            endpoint: endpoint.to_owned(),
            next_id: 0,
        })
    }

    /// Where to post to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Posts a message, whatever comes of it.
    pub async fn post(&self, message: &Value) -> Reply {
        self.http.post(&self.endpoint, message).await
    }

    /// Posts a message that is taken.
    ///
    /// # Panics
    /// When it is not.
    pub async fn say(&self, message: &Value) {
        let reply = self.post(message).await;
        assert_eq!(
            reply.status,
            StatusCode::ACCEPTED,
            "{message}: {}",
            reply.everything()
        );
    }

    /// Sends a request and gives its id.
    ///
    /// # Panics
    /// When it is not taken.
    pub async fn send(&mut self, method: &str, params: &Value) -> u64 {
        self.next_id += 1;
        let mut message = json!({"jsonrpc": "2.0", "id": self.next_id, "method": method});
        if !params.is_null() {
            message["params"] = params.clone();
        }
        self.say(&message).await;
        self.next_id
    }

    /// The next message of the stream; `None` when it has ended.
    ///
    /// # Panics
    /// When none comes in time, or the stream breaks.
    pub async fn next(&mut self) -> Option<Value> {
        while self.ready.is_empty() {
            let chunk = tokio::time::timeout(PATIENCE, self.chunks.next()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("no message within {PATIENCE:?}"));
            let (_, bytes) = match chunk? {
                Ok(piece) => piece,
                Err(error) => panic!("the stream broke: {error}"),
            };
            let messages = self.reader.push(&bytes).into_iter();
            self.ready
                .extend(messages.map(|data| serde_json::from_str(&data).unwrap_or(Value::String(data))));
        }
        self.ready.pop_front()
    }

    /// The next message.
    ///
    /// # Panics
    /// When the stream has ended.
    pub async fn expect_next(&mut self) -> Value {
        self.next().await.unwrap_or_else(|| panic!("the stream ended"))
    }

    /// The answer to a request; what comes before it is passed over.
    pub async fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.expect_next().await;
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub async fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params).await;
        self.answer(id).await
    }

    /// `initialize` and `notifications/initialized`; the result.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn initialize(&mut self, revision: &str, capabilities: &Value) -> Value {
        let params = json!({
            "protocolVersion": revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "testkit", "version": "1"},
        });
        let answer = self.request("initialize", &params).await;
        assert!(answer["result"].is_object(), "{answer}");
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        answer["result"].clone()
    }
}
