//! What arrived.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

/// One request as the server got it.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub(crate) number: usize,
    /// When its head was read, since the server started.
    pub at: Duration,
    /// HTTP method.
    pub http_method: Method,
    /// Path, with the query.
    pub path: String,
    /// Headers as they came.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// JSON-RPC method; `None` for what has none (GET, DELETE, a client's response).
    pub method: Option<String>,
    /// The `mcp-session-id` header.
    pub session: Option<String>,
    /// Which connection it came on: 1 is the first.
    pub connection: usize,
    /// The status it was answered with; `None` when it was not (yet).
    pub status: Option<StatusCode>,
}

impl Recorded {
    /// A header's value; `None` when absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; null when it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether it goes by this name: its JSON-RPC method, or its HTTP method when it has none.
    pub fn is(&self, method: &str) -> bool {
        self.method
            .as_deref()
            .unwrap_or_else(|| self.http_method.as_str())
            == method
    }

    /// All of it as text.
    pub fn everything(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {} {:?}\n{body}", self.http_method, self.path, self.headers)
    }
}
