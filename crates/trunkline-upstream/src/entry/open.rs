//! The session that a request runs on: found, taken up, or opened with a hand-shake.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout_at;
use trunkline_mcp::{ClientCapabilities, Era, ListKind, Revision, ServerCapabilities, rpc};
use trunkline_model::{OutcomeStatus, Step};

use super::{Ask, Entry, SESSION_ID};
use crate::credential::{Outgoing, Reach};
use crate::era::Leg;
use crate::exchange::{Deadline, Exchange, Frame, Line};
use crate::fault::{Fault, printable};
use crate::http::{CONNECT_TIMEOUT, status_fault};
use crate::session::{Introduction, Owner, Session, Slot};
use crate::upstreams::Settings;

/// Time for `initialize` and `notifications/initialized` together.
const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a program, which may have to be fetched before it starts. Who waits has deadlines of its own.
const START_TIMEOUT: Duration = Duration::from_mins(2);
/// What a server says about itself is kept with every session and in the database: so many bytes of each text.
const MAX_INTRODUCTION: usize = 32 * 1024;

/// How a session is opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Opening<'a> {
    /// It is written down, and read if another process wrote it down.
    pub(crate) kept: bool,
    /// The one that the server has forgotten.
    pub(crate) gone: Option<&'a HeaderValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult<'a> {
    protocol_version: String,
    #[serde(borrow, default)]
    server_info: Option<&'a RawValue>,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
}

impl Entry {
    /// The hand-shake: a new session. If it is kept, it begins to be written down for its client while the hand-shake ends.
    pub(super) async fn initialize(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        owner: Owner,
        how: Opening<'_>,
    ) -> Result<Arc<Session>, Fault> {
        let deadline = Deadline::after(initialize_timeout(out, &self.shared.settings()));
        let opened = self
            .initialize_within(out, owner, how, deadline)
            .await
            .map_err(|fault| fault.without(out.secrets()));
        match &opened {
            Ok(session) => tracing::debug!(
                server = %self.prefix,
                revision = session.revision.as_str(),
                session = session.id.is_some(),
                "upstream session opened"
            ),
            Err(fault) => tracing::debug!(server = %self.prefix, %fault, "upstream session not opened"),
        }
        opened
    }

    pub(super) async fn initialize_within(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        owner: Owner,
        how: Opening<'_>,
        deadline: Deadline,
    ) -> Result<Arc<Session>, Fault> {
        let session = Arc::new(self.send_initialize(out, owner.declared, deadline).await?);
        session.declare(owner.declared);
        if how.kept && !session.is_local() {
            self.keep(owner, &session, how.gone);
        }
        let ended = self.send_initialized(out, &session, deadline).await;
        if ended.is_err() {
            self.take_back(owner, session.clone());
        }
        ended.map(|()| session)
    }

    pub(super) async fn send_initialized(
        &self,
        out: &Outgoing,
        session: &Session,
        deadline: Deadline,
    ) -> Result<(), Fault> {
        let message = rpc::notification("notifications/initialized", None);
        let sent = self.post(out, Some(session), message, Step::Initialized);
        let response = timeout_at(deadline.at(), sent)
            .await
            .map_err(|_| deadline.missed(Step::Initialized))??;
        if !response.status().is_success() {
            return Err(status_fault(&self.server.load(), Step::Initialized, response).await);
        }
        Ok(())
    }

    /// The session for `owner`: the one that is written down, else one that only listed, else a new one.
    pub(crate) async fn open(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        owner: Owner,
        how: Opening<'_>,
    ) -> Result<Arc<Session>, Fault> {
        let Opening { kept, gone } = how;
        if kept && let Some(session) = self.recall(owner, gone).await {
            tracing::debug!(server = %self.prefix, "upstream session of another process taken up");
            return Ok(session);
        }
        if gone.is_none()
            && owner.client.is_some()
            && let Some(session) = self.sessions.take_over(owner)
        {
            if kept && !session.is_local() {
                self.keep(owner, &session, None);
            }
            return Ok(session);
        }
        let session = self.initialize(out, owner, how).await?;
        let Some(client) = owner.client else {
            return Ok(session);
        };
        if let Some(other) = session.keeping.other().and_then(|row| self.recalled(row)) {
            // Another process was faster, and this one was not used yet.
            self.end_aside(out.clone(), session);
            return Ok(other);
        }
        // Also of a client whose session ends with this process, and of which nothing is written down.
        self.subscribe_again(out, &session, client);
        Ok(session)
    }

    /// The revision that is asked for.
    pub(super) fn offered(&self) -> Revision {
        let server = self.server.load();
        let pinned = server.definition.protocol_version.as_deref();
        pinned.and_then(Revision::parse).unwrap_or(Revision::LATEST)
    }

    /// The parameters of `initialize`.
    pub(crate) fn introduction_params(&self, declared: ClientCapabilities) -> String {
        format!(
            r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"trunkline","version":"{}"}}}}"#,
            self.offered().as_str(),
            declared.to_json(),
            env!("CARGO_PKG_VERSION")
        )
    }

    /// `initialize` alone, for the probe as well.
    pub(crate) async fn send_initialize(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        declared: ClientCapabilities,
        deadline: Deadline,
    ) -> Result<Session, Fault> {
        let server = self.server.load_full();
        let offered = self.offered();
        let params = self.introduction_params(declared);
        let id = self.next_id();
        let message = rpc::request(&id.to_string(), "initialize", Some(&params));
        let sent = self.post(out, None, message, Step::Initialize);
        let response = timeout_at(deadline.at(), sent)
            .await
            .map_err(|_| deadline.missed(Step::Initialize))??;
        if response.status() != StatusCode::OK {
            return Err(status_fault(&server, Step::Initialize, response).await);
        }
        let session_id = response.headers().get(&SESSION_ID).cloned();
        // The hand-shake itself runs on no session; errors on it cancel nothing.
        let line = Line {
            entry: self.clone(),
            out: out.clone(),
            session: Arc::new(Session::new(session_id.clone(), offered, Introduction::default())),
            asks: ClientCapabilities::NONE,
        };
        let mut exchange =
            Exchange::begin(line, id, Step::Initialize, deadline, response, (None, None, None)).await?;
        let result = loop {
            match exchange.next().await? {
                Frame::Notification { .. } | Frame::Request { .. } => {}
                Frame::Result(result) => break result,
                Frame::Error(error) => return Err(rpc_fault(Step::Initialize, &error)),
            }
        };
        read_initialize(&result, session_id)
    }

    /// The session that a request of `client` runs on, opened if need be.
    ///
    /// `gone`: the session of the first attempt, which the server has forgotten. Others that are open may have gone with it,
    /// when the upstream was restarted, so a listing does not borrow one of them again.
    pub(super) async fn session(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: &Ask<'_>,
        gone: Option<&Arc<Session>>,
    ) -> Result<(Arc<Slot>, Arc<Session>), Fault> {
        let owner = Owner {
            fingerprint: out.fingerprint,
            client: ask.peer.client,
            declared: ask.peer.capabilities,
        };
        let kept = ask.peer.kept && owner.client.is_some() && self.sessions.per_client();
        loop {
            let slot = if ask.step() == Step::List && gone.is_none() {
                self.sessions.listing_slot(out.fingerprint)
            } else {
                let (slot, evicted) = self.sessions.slot(owner);
                self.let_go(evicted.into_iter().collect());
                slot
            };
            let session = if let Some(session) = slot.get() {
                session
            } else {
                let gone = gone.and_then(|gone| gone.id.as_ref());
                let opened = self.open(out, owner, Opening { kept, gone });
                // Boxed, and only here: every call would carry room for a hand-shake.
                slot.get_or_open(Box::pin(opened)).await?
            };
            if owner.client.is_some() && session.id.is_none() {
                self.sessions.share(owner, &slot);
            }
            self.sessions.touch(&session);
            if ask.step() == Step::Call {
                session.mark_called();
                // A client may have taken the shared session over before it was marked: then it is that client's.
                match owner.client {
                    None if !self.sessions.is_shared(owner, &slot) => continue,
                    Some(client)
                        if session.id.is_some()
                            && session.client().is_none()
                            && !self.sessions.is_shared(owner, &slot) =>
                    {
                        session.belongs_to(client);
                    }
                    _ => {}
                }
            }
            return Ok((slot, session));
        }
    }

    /// What the server says about itself, asked on the session that listings use.
    pub(crate) async fn introduction(
        self: &Arc<Self>,
        era: Era,
        out: &Arc<Outgoing>,
    ) -> Result<Arc<Session>, Fault> {
        if let Leg::Modern(session) = self.leg(era, out).await? {
            return Ok(session);
        }
        let ask = Ask::list(ListKind::Tools, era, None);
        self.session(out, &ask, None).await.map(|(_, session)| session)
    }
}

/// How long the hand-shake may take. A server that is given more time than usual for a connection has it here too.
pub(crate) fn initialize_timeout(out: &Outgoing, settings: &Settings) -> Duration {
    match &out.reach {
        Reach::Http(target) => {
            let connect = target.route.connect_timeout().unwrap_or(settings.connect_timeout);
            INITIALIZE_TIMEOUT + connect.saturating_sub(CONNECT_TIMEOUT)
        }
        Reach::OpenApi(_) => INITIALIZE_TIMEOUT,
        Reach::Program(_) => START_TIMEOUT,
    }
}

/// What the answer to `initialize` says.
pub(crate) fn read_initialize(result: &str, session_id: Option<HeaderValue>) -> Result<Session, Fault> {
    let read: InitializeResult<'_> = serde_json::from_str(result).map_err(|error| {
        Fault::protocol(
            Step::Initialize,
            format!(
                "the initialize result cannot be read: {}",
                printable(&error.to_string())
            ),
        )
    })?;
    let revision = Revision::parse(&read.protocol_version).ok_or_else(|| {
        Fault::protocol(
            Step::Initialize,
            format!(
                "the server wants protocol version {}, which is not spoken here",
                printable(&read.protocol_version)
            ),
        )
    })?;
    let valid_id =
        |id: &HeaderValue| !id.is_empty() && id.as_bytes().iter().all(|b| (0x21..=0x7e).contains(b));
    if session_id.as_ref().is_some_and(|id| !valid_id(id)) {
        return Err(Fault::protocol(
            Step::Initialize,
            "the server's session id is not visible ASCII",
        ));
    }
    let bounded = |raw: &RawValue| Some(raw.get().to_owned()).filter(|text| text.len() <= MAX_INTRODUCTION);
    let introduction = Introduction {
        server_info: read.server_info.and_then(bounded),
        instructions: read.instructions.map(|mut text| {
            text.truncate(text.floor_char_boundary(MAX_INTRODUCTION));
            text
        }),
        capabilities: read
            .capabilities
            .and_then(bounded)
            .map(|text| ServerCapabilities::new(&text))
            .unwrap_or_default(),
    };
    Ok(Session::new(session_id, revision, introduction))
}

/// A JSON-RPC error where only a result is of use.
pub(crate) fn rpc_fault(step: Step, error: &str) -> Fault {
    #[derive(Deserialize)]
    struct RpcError {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        message: String,
    }
    let read: RpcError = serde_json::from_str(error).unwrap_or(RpcError {
        code: 0,
        message: String::new(),
    });
    Fault::new(
        OutcomeStatus::UpstreamError,
        step,
        format!(
            "the server answered with JSON-RPC error {}: {}",
            read.code,
            printable(&read.message)
        ),
    )
}
