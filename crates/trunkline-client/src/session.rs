//! An MCP client for one command: opens a session, asks, answers what it is asked, ends it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::exchange::{self, Events, Posted, SESSION_ID, VERSION};
use crate::{ClientError, Gateway};

/// The revision that is offered: one with sessions, in which servers can ask on the stream of a request.
const REVISION: &str = "2025-11-25";
/// Time to open a session, or to end one.
const SHORT: Duration = Duration::from_secs(10);

/// An open session.
#[derive(Debug)]
pub struct Session {
    gateway: Gateway,
    path: String,
    headers: HeaderMap,
    next_id: u64,
}

/// An error object of JSON-RPC.
#[derive(Clone, Debug)]
pub struct RpcError {
    /// Its code.
    pub code: i64,
    /// What it says.
    pub message: String,
    /// More, or null.
    pub data: Value,
}

/// What comes while a request is under way.
#[derive(Debug)]
pub enum Event {
    /// A notification: progress, a log message.
    Notification {
        /// Its method.
        method: String,
        /// Its parameters.
        params: Value,
    },
    /// The server asks; [`Session::answer`] is due.
    Request {
        /// To answer by.
        id: Value,
        /// What is asked.
        method: String,
        /// The question.
        params: Value,
    },
    /// The end.
    Answer(Result<Value, RpcError>),
}

/// A request under way.
#[derive(Debug)]
pub struct Asked {
    whole: Option<Bytes>,
    stream: Option<Box<Events>>,
    url: String,
}

impl Session {
    /// Opens one on a path such as `/mcp` or `/git/mcp`. `capabilities` is what the client can be asked.
    pub async fn open(gateway: &Gateway, path: &str, capabilities: &Value) -> Result<Self, ClientError> {
        let mut session = Self {
            gateway: gateway.clone(),
            path: path.to_owned(),
            headers: HeaderMap::new(),
            next_id: 1,
        };
        let hello = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": REVISION,
                "capabilities": capabilities,
                "clientInfo": {"name": "trunkline", "version": env!("CARGO_PKG_VERSION")},
            },
        });
        let opened = async {
            let (head, posted) = session.post(&hello).await?;
            let strange = |why: &str| ClientError::Strange {
                url: gateway.url().to_owned(),
                why: why.to_owned(),
            };
            let answer = match posted {
                Posted::Whole(status, body) if !status.is_success() => {
                    return Err(session.gateway.refused(status, &body));
                }
                Posted::Accepted => None,
                Posted::Whole(_, body) => Some(body),
                Posted::Stream(mut events) => events.next().await?,
            };
            let answer = answer.ok_or_else(|| strange("it does not answer `initialize`"))?;
            let answer: Value = serde_json::from_slice(&answer)
                .map_err(|_| strange("its answer to `initialize` is no JSON"))?;
            if let Some(message) = answer["error"]["message"].as_str() {
                return Err(ClientError::Refused {
                    status: StatusCode::OK,
                    message: message.to_owned(),
                    body: answer,
                });
            }
            let version = answer["result"]["protocolVersion"]
                .as_str()
                .and_then(|version| HeaderValue::from_str(version).ok())
                .ok_or_else(|| strange("its answer to `initialize` names no revision"))?;
            session.headers.insert(VERSION.clone(), version);
            if let Some(id) = head.get(&SESSION_ID) {
                session.headers.insert(SESSION_ID.clone(), id.clone());
            }
            session
                .tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
                .await
        };
        match timeout(SHORT, opened).await {
            Ok(opened) => opened.map(|()| session),
            Err(_) => Err(ClientError::Slow {
                url: gateway.url().to_owned(),
                after: SHORT,
            }),
        }
    }

    /// Sends a request.
    pub async fn ask(&mut self, method: &str, params: &Value) -> Result<Asked, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let (_, posted) = self.post(&request).await?;
        let url = self.gateway.url().to_owned();
        let (whole, stream) = match posted {
            Posted::Accepted => (None, None),
            Posted::Stream(events) => (None, Some(events)),
            // An error of JSON-RPC may have any status.
            Posted::Whole(status, body) if status.is_success() || exchange::is_response(&body) => {
                (Some(body), None)
            }
            Posted::Whole(status, body) => return Err(self.gateway.refused(status, &body)),
        };
        Ok(Asked { whole, stream, url })
    }

    /// Answers what a server asked: a result, or an error object.
    pub async fn answer(&self, id: &Value, outcome: Result<Value, Value>) -> Result<(), ClientError> {
        let message = match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
        };
        self.tell(&message).await
    }

    /// Sends what wants no answer.
    async fn tell(&self, message: &Value) -> Result<(), ClientError> {
        match self.post(message).await? {
            (_, Posted::Whole(status, body)) if !status.is_success() => {
                Err(self.gateway.refused(status, &body))
            }
            _ => Ok(()),
        }
    }

    /// Ends it. That it could not be ended is no failure: it ends by itself.
    pub async fn close(self) {
        if !self.headers.contains_key(&SESSION_ID) {
            return;
        }
        let ended = self
            .gateway
            .send(Method::DELETE, &self.path, &self.headers, Bytes::new());
        let _ = timeout(SHORT, ended).await;
    }

    async fn post(&self, message: &Value) -> Result<(HeaderMap, Posted), ClientError> {
        exchange::post(
            &self.gateway,
            &self.path,
            &self.headers,
            message.to_string().into(),
        )
        .await
    }
}

impl Asked {
    /// What comes next; the last is [`Event::Answer`].
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        let message = match (self.whole.take(), &mut self.stream) {
            (Some(whole), _) => Some(whole),
            (None, Some(stream)) => stream.next().await?,
            (None, None) => None,
        };
        let strange = |why: &str| ClientError::Strange {
            url: self.url.clone(),
            why: why.to_owned(),
        };
        let Some(message) = message else {
            return Err(strange("a request was not answered"));
        };
        let Ok(mut message) = serde_json::from_slice::<Value>(&message) else {
            return Err(strange("a message is no JSON"));
        };
        let params = message["params"].take();
        let method = message["method"].as_str().map(str::to_owned);
        Ok(match (method, message.get("id").cloned()) {
            (Some(method), Some(id)) => Event::Request { id, method, params },
            (Some(method), None) => Event::Notification { method, params },
            (None, _) => match message.get_mut("error").map(Value::take) {
                Some(mut error) => Event::Answer(Err(RpcError {
                    code: error["code"].as_i64().unwrap_or_default(),
                    message: error["message"].as_str().unwrap_or_default().to_owned(),
                    data: error["data"].take(),
                })),
                None => Event::Answer(Ok(message["result"].take())),
            },
        })
    }
}

impl ClientError {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}
