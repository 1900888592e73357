//! Which era a server speaks, and which one a request to it uses (mcp reference §2.1): the client's where the server has
//! it, the other where it has not.
//!
//! The verdict is remembered with its time. One for the new era holds until the server says otherwise; one for the old
//! era is looked at again after a day, because a server that was brought up to date still answers the old hand-shake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout_at};
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::{ClientCapabilities, Era, Message, Revision, ServerCapabilities, header, modern, rpc};
use trunkline_model::{OutcomeStatus, Step};

use crate::credential::Outgoing;
use crate::entry::{Ask, Entry};
use crate::exchange::{Deadline, Exchange, Line, media_type};
use crate::fair::Place;
use crate::fault::Fault;
use crate::http::{read_body, status_fault, words_of};
use crate::pool::ResponseBody;
use crate::session::{Introduction, Session};

/// Time for `server/discover`.
const DISCOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a program, which is started for it. Old ones may say nothing before the hand-shake.
const DISCOVER_PROGRAM_TIMEOUT: Duration = Duration::from_secs(15);
/// After this long a server of the old era is asked again.
const LEGACY_HOLDS: Duration = Duration::from_hours(24);
/// A server that refuses the hand-shake of the old era, and was taken for one of it, is asked again after this long.
const DOUBTED_AFTER: Duration = Duration::from_secs(10);
/// A server that does not answer the question is not asked it again for so long: every request would wait for it.
const SILENCE_HOLDS: Duration = Duration::from_secs(10);
/// What the gateway calls itself.
const CLIENT_INFO: &str = concat!(
    r#"{"name":"trunkline","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The way to a server.
#[derive(Clone, Debug)]
pub(crate) enum Leg {
    /// A session, opened with `initialize`.
    Legacy,
    /// No session: every request stands for itself. What the server said about itself is kept in one all the same.
    Modern(Arc<Session>),
}

impl Leg {
    pub(crate) fn era(&self) -> Era {
        match self {
            Self::Legacy => Era::Legacy,
            Self::Modern(_) => Era::Modern,
        }
    }
}

/// What is known about a server's eras.
#[derive(Default)]
pub(crate) struct Verdict {
    decided: ArcSwapOption<Decided>,
    /// It does not answer `initialize`.
    only_modern: AtomicBool,
    /// Held while asking, so that it happens once however many wait; when the server was last asked in vain.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

/// The server is being asked. Whoever gives up waiting for an answer has learnt that there is none for now.
struct Asking<'a> {
    in_vain: MutexGuard<'a, Option<Instant>>,
    is_answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        *self.in_vain = (!self.is_answered).then(Instant::now);
    }
}

enum Decided {
    Modern(Arc<Session>),
    Legacy { since: Instant },
}

/// What came of `server/discover`.
enum Discovered {
    Modern(Box<Session>),
    /// An answer like that of a server that does not know it.
    Legacy,
    /// The version was refused, and named among those that the server speaks.
    Again,
    /// No answer.
    Silence,
}

impl Discovered {
    fn of_result(result: &str) -> Self {
        introduced(result).map_or(Self::Legacy, |session| Self::Modern(Box::new(session)))
    }

    fn of_error(error: &str) -> Self {
        #[derive(Deserialize)]
        struct Refusal {
            code: i64,
            data: Versions,
        }
        #[derive(Deserialize)]
        struct Versions {
            supported: Vec<String>,
        }
        match serde_json::from_str::<Refusal>(error) {
            Ok(refusal)
                if refusal.code == rpc::UNSUPPORTED_VERSION
                    && refusal
                        .data
                        .supported
                        .iter()
                        .any(|version| version == modern::VERSION.as_str()) =>
            {
                Self::Again
            }
            _ => Self::Legacy,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverResult<'a> {
    supported_versions: Vec<String>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
    #[serde(default)]
    instructions: Option<String>,
}

impl Entry {
    /// The era that the server's `protocol_version` asks for.
    pub(crate) fn pinned(&self) -> Option<Era> {
        let server = self.server.load();
        let version = server.definition.protocol_version.as_deref()?;
        if version == modern::VERSION.as_str() {
            Some(Era::Modern)
        } else {
            Revision::parse(version).map(Revision::era)
        }
    }

    /// The leg for a client of an era, if it is known without asking the server.
    pub(crate) fn known_leg(&self, client: Era) -> Option<Leg> {
        let decided = self.verdict.decided.load();
        let modern = match decided.as_deref() {
            Some(Decided::Modern(session)) => Some(session.clone()),
            _ => None,
        };
        let pinned = self.pinned();
        if pinned == Some(Era::Modern) {
            return modern.map(Leg::Modern);
        }
        if client == Era::Legacy && pinned.is_none() && self.verdict.only_modern.load(Ordering::Relaxed) {
            return modern.map(Leg::Modern);
        }
        if client == Era::Legacy || pinned == Some(Era::Legacy) {
            return Some(Leg::Legacy);
        }
        match decided.as_deref() {
            Some(Decided::Modern(session)) => Some(Leg::Modern(session.clone())),
            Some(Decided::Legacy { since }) if since.elapsed() < LEGACY_HOLDS => Some(Leg::Legacy),
            _ => None,
        }
    }

    /// The leg for a client of an era; asks the server if need be.
    pub(crate) async fn leg(self: &Arc<Self>, client: Era, out: &Arc<Outgoing>) -> Result<Leg, Fault> {
        if let Some(leg) = self.known_leg(client) {
            return Ok(leg);
        }
        // Boxed: it happens once a day.
        Box::pin(self.ask_era(client, out)).await
    }

    async fn ask_era(self: &Arc<Self>, client: Era, out: &Arc<Outgoing>) -> Result<Leg, Fault> {
        let in_vain = self.verdict.asking.lock().await;
        if let Some(leg) = self.known_leg(client) {
            return Ok(leg);
        }
        if in_vain.is_some_and(|last| last.elapsed() < SILENCE_HOLDS) && self.pinned().is_none() {
            return Ok(Leg::Legacy);
        }
        let program = out.reach.program();
        let mut asking = Asking {
            in_vain,
            is_answered: false,
        };
        let discovered = self.discover(out).await;
        asking.is_answered = program.is_some() || !matches!(discovered, Ok(Discovered::Silence));
        let found = match discovered? {
            Discovered::Modern(session) => Some(*session),
            // Nothing was learnt: this request goes the old way, and one that comes a while later asks again.
            Discovered::Silence if self.pinned().is_none() && program.is_none() => return Ok(Leg::Legacy),
            Discovered::Legacy | Discovered::Again | Discovered::Silence => None,
        };
        if let (None, Some(recipe)) = (&found, program) {
            // Its first message decides which era a program speaks: the one that was asked is of no use for the other.
            self.programs.dismiss_modern(recipe.fingerprint);
        }
        match found {
            Some(session) => {
                tracing::info!(server = %self.prefix, "server speaks 2026-07-28");
                let session = Arc::new(session);
                self.verdict
                    .decided
                    .store(Some(Arc::new(Decided::Modern(session.clone()))));
                Ok(Leg::Modern(session))
            }
            None if self.pinned() == Some(Era::Modern) => Err(Fault::protocol(
                Step::Initialize,
                "the server does not speak 2026-07-28, which its protocol_version asks for",
            )
            .hint("set protocol_version to auto")),
            None => {
                let since = Instant::now();
                self.verdict
                    .decided
                    .store(Some(Arc::new(Decided::Legacy { since })));
                Ok(Leg::Legacy)
            }
        }
    }

    /// `initialize` was refused in a way that a server of the new era alone would: whether it is one.
    pub(crate) async fn turns_out_modern(self: &Arc<Self>, out: &Arc<Outgoing>, fault: &Fault) -> bool {
        let may_be = fault.step == Step::Initialize
            && matches!(
                fault.status,
                OutcomeStatus::ProtocolError | OutcomeStatus::UpstreamError | OutcomeStatus::Misconfigured
            )
            && self.pinned().is_none();
        if !may_be {
            return false;
        }
        // What was decided before may have been a bad moment of the server.
        let doubtful = match self.verdict.decided.load().as_deref() {
            Some(Decided::Legacy { since }) => since.elapsed() > DOUBTED_AFTER,
            _ => false,
        };
        if doubtful {
            self.verdict.decided.store(None);
        }
        if !matches!(Box::pin(self.ask_era(Era::Modern, out)).await, Ok(Leg::Modern(_))) {
            return false;
        }
        self.verdict.only_modern.store(true, Ordering::Relaxed);
        true
    }

    /// Forgets that the server speaks the new era.
    fn forget_era(&self) {
        self.verdict.decided.store(None);
        self.verdict.only_modern.store(false, Ordering::Relaxed);
    }

    /// `server/discover`; once more when the server takes back that it does not speak this version.
    async fn discover(self: &Arc<Self>, out: &Arc<Outgoing>) -> Result<Discovered, Fault> {
        match self.discover_once(out).await? {
            Discovered::Again => self.discover_once(out).await,
            found => Ok(found),
        }
    }

    async fn discover_once(self: &Arc<Self>, out: &Arc<Outgoing>) -> Result<Discovered, Fault> {
        let patience = match out.reach.program() {
            Some(_) => DISCOVER_PROGRAM_TIMEOUT,
            None => DISCOVER_TIMEOUT,
        };
        let deadline = Deadline::after(patience);
        let bare = Session::new(None, modern::VERSION, Introduction::default());
        let params = modern::params_to_modern(None, CLIENT_INFO, ClientCapabilities::NONE, None);
        let id = self.next_id();
        let message = rpc::request(&id.to_string(), "server/discover", Some(&params));
        let also = [(METHOD.clone(), HeaderValue::from_static("server/discover"))];
        let sent = self.send_with(
            &http::Method::POST,
            out,
            Some(&bare),
            (message.into(), &also),
            Step::Initialize,
        );
        let Ok(response) = timeout_at(deadline.at(), sent).await else {
            // Silence says nothing about the era; the hand-shake, which comes next, will have its own deadline.
            return Ok(Discovered::Silence);
        };
        let response = response?;
        let status = response.status();
        if matches!(status.as_u16(), 401 | 403 | 429) || status.is_server_error() {
            return Err(status_fault(&self.server.load(), Step::Initialize, response).await);
        }
        let body = async {
            match media_type(&response).as_str() {
                "text/event-stream" if status == StatusCode::OK => {
                    let line = self.line(out, Arc::new(bare));
                    let mut exchange =
                        Exchange::begin(line, id, Step::Initialize, deadline, response, (None, None, None))
                            .await?;
                    loop {
                        match exchange.next().await? {
                            crate::Frame::Result(result) => return Ok(Discovered::of_result(&result)),
                            crate::Frame::Error(error) => return Ok(Discovered::of_error(&error)),
                            _ => {}
                        }
                    }
                }
                "application/json" if matches!(status, StatusCode::OK | StatusCode::BAD_REQUEST) => {
                    let body = read_body(response, 1 << 20, Step::Initialize).await?;
                    Ok(match Message::parse(&body) {
                        Ok(Message::Response {
                            outcome: Ok(result), ..
                        }) if status == StatusCode::OK => Discovered::of_result(result.get()),
                        Ok(Message::Response {
                            outcome: Err(error), ..
                        }) => Discovered::of_error(error.get()),
                        _ => Discovered::Legacy,
                    })
                }
                _ => Ok(Discovered::Legacy),
            }
        };
        match timeout_at(deadline.at(), body).await {
            Ok(found) => found,
            Err(_) => Ok(Discovered::Silence),
        }
    }

    /// Sends a request without a session and begins to read its answer.
    pub(crate) async fn request_modern(
        self: &Arc<Self>,
        out: &Arc<Outgoing>,
        ask: &Ask<'_>,
        session: Arc<Session>,
        deadline: Deadline,
        place: Option<Place>,
    ) -> Result<Exchange, Fault> {
        let step = ask.step();
        let own = ask.params.and_then(|params| RawObject::parse(params).ok());
        let id = self.next_id();
        let (message, headers) = match (ask.params, own) {
            (Some(params), Some(own)) if modern::claimed_in(&own).is_some() => {
                let message = rpc::request(&id.to_string(), ask.method, Some(params));
                (message, mirrored(ask, Some(&own))?)
            }
            (params, _) => {
                let of = (ask.peer.asks(), ask.peer.log_level);
                let params = modern::params_to_modern(params, CLIENT_INFO, of.0, of.1);
                let message = rpc::request(&id.to_string(), ask.method, Some(&params));
                (message, mirrored(ask, RawObject::parse(&params).ok().as_ref())?)
            }
        };
        let line = self.line(out, session.clone());
        let response = self
            .send_with(
                &http::Method::POST,
                out,
                Some(&session),
                (message.into(), &headers),
                step,
            )
            .await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Exchange::begin(line, id, step, deadline, response, (place, None, None)).await;
        }
        if matches!(status.as_u16(), 401 | 403 | 429)
            || status.is_server_error()
            || media_type(&response) != "application/json"
        {
            return Err(status_fault(&self.server.load(), step, response).await);
        }
        self.refused(line, id, (step, deadline), response).await
    }

    /// An answer in JSON whose status says that it is an error: the error, if it is one of JSON-RPC.
    async fn refused(
        self: &Arc<Self>,
        line: Line,
        id: u64,
        (step, deadline): (Step, Deadline),
        response: Response<ResponseBody>,
    ) -> Result<Exchange, Fault> {
        let status = response.status();
        let limit = self.shared.settings().max_message_bytes;
        let body = timeout_at(deadline.at(), read_body(response, limit, step))
            .await
            .map_err(|_| deadline.missed(step))??;
        let error = match Message::parse(&body) {
            Ok(Message::Response {
                outcome: Err(error), ..
            }) => error.get().to_owned(),
            _ => return Err(Fault::http(&self.server.load(), step, status, &words_of(&body))),
        };
        let code = RawObject::parse(&error)
            .ok()
            .and_then(|error| error.get("code")?.parse::<i64>().ok());
        // A server of the old era that stands there now knows none of this era's answers.
        let gone_back = status == StatusCode::BAD_REQUEST
            && !matches!(
                code,
                Some(rpc::HEADER_MISMATCH | rpc::MISSING_CLIENT_CAPABILITY | rpc::INVALID_PARAMS)
            );
        if gone_back || code == Some(rpc::UNSUPPORTED_VERSION) {
            self.forget_era();
        }
        Ok(Exchange::answered(line, id, (step, deadline), status, body))
    }
}

/// The headers that mirror the body, whose parameters these are.
fn mirrored(ask: &Ask<'_>, params: Option<&RawObject<'_>>) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let unsendable = || {
        Fault::protocol(
            ask.step(),
            "the request's method or name cannot stand in a header",
        )
    };
    let value = |text: &str| HeaderValue::from_str(&header::encode(text)).map_err(|_| unsendable());
    let mut headers = vec![(METHOD.clone(), value(ask.method)?)];
    if let Some(key) = modern::name_key(ask.method)
        && let Some(name) = params.and_then(|params| params.get_string(key))
    {
        headers.push((NAME.clone(), value(&name)?));
    }
    if !ask.header_params.is_empty() {
        let arguments = params.and_then(|params| params.get("arguments"));
        for param in ask.header_params {
            let mirrored = param.value_in(arguments.unwrap_or("{}"));
            let unclear = |unclear: header::Unclear| Fault::protocol(ask.step(), unclear.to_string());
            if let Some(text) = mirrored.map_err(unclear)? {
                let name = format!("{}{}", header::PARAM_PREFIX, param.name);
                let name = HeaderName::try_from(name).map_err(|_| unsendable())?;
                headers.push((name, value(&text)?));
            }
        }
    }
    Ok(headers)
}

fn introduced(result: &str) -> Option<Session> {
    let read: DiscoverResult<'_> = serde_json::from_str(result).ok()?;
    if !read
        .supported_versions
        .iter()
        .any(|version| version == modern::VERSION.as_str())
    {
        return None;
    }
    let server_info = RawObject::parse(result).ok().and_then(|object| {
        RawObject::parse(object.get("_meta")?)
            .ok()?
            .get(modern::SERVER_INFO)
            .map(ToOwned::to_owned)
    });
    let introduction = Introduction {
        server_info,
        instructions: read.instructions,
        capabilities: read
            .capabilities
            .map(|raw| ServerCapabilities::new(raw.get()))
            .unwrap_or_default(),
    };
    Some(Session::new(None, modern::VERSION, introduction))
}
