//! The session that the gateway gave this client. A gateway that was restarted knows it still; one that has forgotten it
//! (a new database, a session that ended) is told the same `initialize` again, and the client notices nothing.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use trunkline_mcp::edit::RawObject;

use super::{Shared, lock, words};
use crate::exchange::{self, Posted, SESSION_ID, VERSION};

/// What is known of the session.
#[derive(Default)]
pub(super) struct State {
    /// The client's `initialize`, to say it again.
    hello: Option<Bytes>,
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
    /// Counts sessions, so that one that was begun anew meanwhile is not begun anew again.
    epoch: u64,
    pub(super) listening: bool,
}

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

impl State {
    /// The client introduces itself.
    pub(super) fn hello(&mut self, line: &Bytes) {
        self.hello = Some(line.clone());
        self.id = None;
        self.version = None;
    }

    /// Whether there is a session.
    pub(super) fn is_open(&self) -> bool {
        self.version.is_some()
    }

    /// The headers of a message, and the session that they are of.
    pub(super) fn headers(&self, line: &Bytes) -> (HeaderMap, u64) {
        let mut headers = HeaderMap::new();
        if self.hello.as_ref() != Some(line) {
            headers.extend(self.id.clone().map(|id| (SESSION_ID.clone(), id)));
            headers.extend(self.version.clone().map(|version| (VERSION.clone(), version)));
        }
        (headers, self.epoch)
    }

    /// The answer to `initialize`.
    fn opened(&mut self, head: &HeaderMap, answer: &[u8]) -> bool {
        let version = std::str::from_utf8(answer)
            .ok()
            .and_then(|text| RawObject::parse(text).ok())
            .and_then(|answer| {
                RawObject::parse(answer.get("result")?)
                    .ok()?
                    .get_string("protocolVersion")
            })
            .and_then(|version| HeaderValue::from_str(&version).ok());
        if version.is_none() {
            return false;
        }
        self.version = version;
        self.id = head.get(&SESSION_ID).cloned();
        self.epoch += 1;
        true
    }
}

impl Shared {
    /// Looks at what comes back for what later requests need.
    pub(super) fn learn(&self, modern: bool, line: &Bytes, head: &HeaderMap, message: &[u8]) {
        if modern {
            lock(&self.mirrors).learn(line, message);
            return;
        }
        let mut state = lock(&self.state);
        if state.hello.as_ref() == Some(line) && exchange::is_response(message) {
            state.opened(head, message);
        }
    }

    /// Begins the session `epoch` anew, unless somebody has.
    pub(super) async fn renew(&self, epoch: u64) -> Result<(), String> {
        let _alone = self.renewing.lock().await;
        let hello = {
            let state = lock(&self.state);
            if state.epoch != epoch {
                return Ok(());
            }
            state.hello.clone()
        };
        let hello = hello.ok_or("the gateway does not know the session, and the client has not begun one")?;
        tracing::info!("the gateway does not know the session any more; beginning another one");
        let (head, posted) = self
            .post(&HeaderMap::new(), hello)
            .await
            .map_err(|error| words(&error))?;
        let answer = match posted {
            Posted::Whole(status, body) if !status.is_success() => {
                return Err(words(&self.gateway().refused(status, &body)));
            }
            Posted::Whole(_, body) => body,
            Posted::Stream(mut events) => {
                let answer = events.next().await.map_err(|error| words(&error))?;
                answer.unwrap_or_default()
            }
            Posted::Accepted => Bytes::new(),
        };
        let headers = {
            let mut state = lock(&self.state);
            if !state.opened(&head, &answer) {
                return Err("the gateway does not begin a session".to_owned());
            }
            state.headers(&Bytes::new()).0
        };
        let told = self
            .post(&headers, Bytes::from_static(INITIALIZED.as_bytes()))
            .await;
        told.map(|_| ()).map_err(|error| words(&error))
    }

    /// Ends the session.
    pub(super) async fn leave(&self) {
        let (headers, _) = lock(&self.state).headers(&Bytes::new());
        if !headers.contains_key(&SESSION_ID) {
            return;
        }
        let gateway = self.gateway();
        let left = gateway
            .send(Method::DELETE, &self.path, &headers, Bytes::new())
            .await;
        match left {
            Ok(response) if response.status().is_success() || response.status() == StatusCode::NOT_FOUND => {}
            Ok(response) => tracing::debug!(status = %response.status(), "the session could not be ended"),
            Err(error) => tracing::debug!(%error, "the session could not be ended"),
        }
    }
}
