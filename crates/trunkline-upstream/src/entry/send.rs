//! One message to the server, over whatever it is reached by, and the end of sessions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use trunkline_mcp::ClientCapabilities;
use trunkline_model::{SessionKey, Step};

use super::{Entry, SESSION_ID};
use crate::credential::{Outgoing, Reach};
use crate::exchange::Line;
use crate::fault::Fault;
use crate::http::Target;
use crate::openapi;
use crate::pool::ResponseBody;
use crate::program;
use crate::session::{Owner, Session};

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

impl Entry {
    /// Ends a session that no message need be sent for.
    pub(super) fn end_local(&self, session: &Session) {
        let Some(id) = session.id.as_ref().and_then(|id| id.to_str().ok()) else {
            return;
        };
        self.legacy.end(id);
        self.programs.end(id);
    }

    /// Posts one message. The answer's status is the caller's to judge.
    ///
    /// This and [`Entry::send`] are no `async fn`s: each would hold the future of the next, and be moved with it.
    pub(crate) fn post<'a>(
        &'a self,
        out: &'a Outgoing,
        session: Option<&'a Session>,
        message: String,
        step: Step,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Fault>> + Send + 'a {
        self.send(&Method::POST, out, session, message.into(), step)
    }

    /// Asks for the stream of an unanswered request again, from after the event `last`.
    pub(crate) async fn resume(
        &self,
        out: &Outgoing,
        session: &Session,
        last: HeaderValue,
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        let also = [(LAST_EVENT_ID.clone(), last)];
        self.send_with(&Method::GET, out, Some(session), (Bytes::new(), &also), step)
            .await
    }

    pub(crate) fn send<'a>(
        &'a self,
        method: &'a Method,
        out: &'a Outgoing,
        session: Option<&'a Session>,
        body: Bytes,
        step: Step,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Fault>> + Send + 'a {
        self.send_with(method, out, session, (body, &[]), step)
    }

    /// `also`: headers besides the credential's and the session's.
    pub(crate) async fn send_with(
        &self,
        method: &Method,
        out: &Outgoing,
        session: Option<&Session>,
        (body, also): (Bytes, &[(HeaderName, HeaderValue)]),
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        let headers = || {
            let mut headers = out.headers.clone();
            if let Some(session) = session {
                let revision = HeaderValue::from_static(session.revision.as_str());
                headers.insert(PROTOCOL_VERSION.clone(), revision);
                if let Some(id) = &session.id {
                    headers.insert(SESSION_ID.clone(), id.clone());
                }
            }
            for (name, value) in also {
                // In the place of what a client may have sent by that name: two values are read by nobody alike (S23).
                headers.insert(name, value.clone());
            }
            headers
        };
        if let Some(session) = session {
            self.sessions.touch(session);
        }
        let target = match &out.reach {
            Reach::Http(target) => target,
            // Boxed, and only here: calls of MCP servers would carry room for it.
            Reach::OpenApi(site) => {
                return openapi::answer(self, (out, site), (method, session), body, step).await;
            }
            Reach::Program(recipe) => {
                let recipe = recipe.clone();
                let entry = self.myself()?;
                // Boxed, and only here: every call over HTTP would carry room for it.
                return Box::pin(program::send(&entry, &recipe, (method, body), session, step)).await;
            }
        };
        if let Some(answer) = self.send_legacy(method, session, &body, step).await {
            return answer;
        }
        let moved = self.moved.load_full();
        let target = moved.as_deref().unwrap_or(target);
        if session.is_none() && step == Step::Initialize {
            // Boxed, and only here: every call would carry room for a hand-shake.
            return Box::pin(self.initialize_somehow(out, target, headers, body)).await;
        }
        self.send_http(method, target, headers, body, step).await
    }

    pub(super) async fn send_http(
        &self,
        method: &Method,
        target: &Target,
        headers: impl Fn() -> HeaderMap + Send,
        body: Bytes,
        step: Step,
    ) -> Result<Response<ResponseBody>, Fault> {
        let http = self.shared.http();
        let (response, redirected) = http.send(method, target, headers, body, step).await?;
        if let Some(target) = redirected {
            self.moved.store(Some(Arc::new(target)));
        }
        Ok(response)
    }

    /// `initialize`, over whichever of the two transports of HTTP the server speaks.
    pub(super) async fn initialize_somehow(
        &self,
        out: &Outgoing,
        target: &Target,
        headers: impl Fn() -> HeaderMap + Send,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, Fault> {
        let entry = self.myself()?;
        if let Some(answer) = entry.initialize_legacy(out, target, &body).await {
            return answer;
        }
        let posted = self
            .send_http(&Method::POST, target, headers, body.clone(), Step::Initialize)
            .await?;
        entry.or_legacy(out, target, (posted, &body)).await
    }

    /// Sends a notification of a client on its own sessions, without making anybody wait; their ids. Only under the server's
    /// own credential: a client's is not at hand outside of its requests.
    pub(crate) fn notify(self: &Arc<Self>, client: SessionKey, message: &str) -> Vec<HeaderValue> {
        let Ok(own) = &self.own else { return Vec::new() };
        let sessions = self.sessions.of_client(client, own.fingerprint);
        let told = sessions.iter().filter_map(|session| session.id.clone()).collect();
        for session in sessions {
            self.notify_on(own.fingerprint, session, message.to_owned());
        }
        told
    }

    /// The same on one session, if it is under the server's own credential.
    pub(crate) fn notify_on(self: &Arc<Self>, credential: [u8; 16], session: Arc<Session>, message: String) {
        if let Ok(own) = &self.own
            && own.fingerprint == credential
        {
            let line = Line {
                entry: self.clone(),
                out: own.clone(),
                session,
                asks: ClientCapabilities::NONE,
            };
            line.post_aside(message, None);
        }
    }

    /// Ends a session upstream, without making anybody wait.
    pub(crate) fn end_aside(self: &Arc<Self>, out: Arc<Outgoing>, session: Arc<Session>) {
        let entry = self.clone();
        self.tasks.spawn(async move {
            session.asides_sent().await;
            // Thousands may end at once.
            let _turn = entry.shared.ends.acquire().await;
            entry.end(&out, &session).await;
        });
    }

    /// `DELETE`: a courtesy, bounded.
    pub(crate) async fn end(&self, out: &Outgoing, session: &Session) {
        if session.id.is_none() {
            return;
        }
        let sent = self.send(&Method::DELETE, out, Some(session), Bytes::new(), Step::Call);
        if tokio::time::timeout(Duration::from_secs(2), sent).await.is_err() {
            tracing::debug!(server = %self.prefix, "the end of a session was not acknowledged in time");
        }
    }

    /// Ends sessions that were taken out of the pool. Those of clients' credentials cannot be authenticated any more and
    /// are left to the upstream's own expiry.
    pub(crate) fn end_all(self: &Arc<Self>, taken: Vec<(Owner, Arc<Session>)>) {
        for (_, session) in taken.iter().filter(|(_, session)| session.is_local()) {
            // Whatever credential it was opened with: nothing has to be proved to anybody.
            self.end_local(session);
        }
        let Ok(own) = &self.own else { return };
        for (owner, session) in taken {
            if owner.fingerprint == own.fingerprint && !session.is_local() {
                self.end_aside(own.clone(), session);
            }
        }
    }
}
