//! The hand-shake step by step, for people: which hop is broken, and what to change.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};
use trunkline_mcp::{ClientCapabilities, Era, ListKind, rpc};
use trunkline_model::{Outcome, Rejected, Server, Step, count};

use crate::connect::late;
use crate::credential::{ClientHeaders, Outgoing, Reach};
use crate::entry::{Entry, initialize_timeout};
use crate::era::Leg;
use crate::exchange::Deadline;
use crate::fault::{Fault, redacted};
use crate::http::{Target, status_fault};
use crate::listing::list_items;
use crate::openapi::{self, Site};
use crate::program;
use crate::route::Route;
use crate::session::{Owner, Session};
use crate::upstreams::Shared;

/// How long a program may take for its hand-shake here.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(30);
/// How long its end is waited for.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What a walk through the hand-shake found.
#[derive(Debug)]
pub struct Probe {
    /// The verdict.
    pub outcome: Outcome,
    /// Every step that was made, in order.
    pub steps: Vec<ProbeStep>,
    /// The tools, as the server sent them.
    pub tools: Vec<Box<RawValue>>,
    /// What of the list cannot be shown; in the outcome too.
    rejected: Rejected,
    /// What to do although nothing failed.
    hint: Option<String>,
    /// The negotiated revision.
    pub protocol_version: Option<String>,
    /// `serverInfo`, raw JSON.
    pub server_info: Option<String>,
    /// What a program said beside its answers, while it ran.
    pub said: Said,
}

/// What a program says beside its answers.
#[derive(Debug, Default)]
pub struct Said {
    /// The last lines of its standard error.
    pub stderr: Vec<String>,
    /// Lines on its standard output that were no messages.
    pub junk_lines: u64,
    /// The last of these.
    pub last_junk: String,
}

/// One step.
#[derive(Debug, Clone)]
pub struct ProbeStep {
    /// Which.
    pub step: Step,
    /// Whether it went well.
    pub ok: bool,
    /// HTTP status, for steps that are requests.
    pub http_status: Option<u16>,
    /// Whether the server gave a session id.
    pub session_id: bool,
    /// How long it took.
    pub duration_ms: f64,
    /// What was found, a sentence.
    pub detail: String,
}

struct Walk {
    steps: Vec<ProbeStep>,
    began: Instant,
}

impl Walk {
    /// Notes a step that ends now.
    fn note(&mut self, step: Step, result: Result<(Option<u16>, bool, String), &Fault>) {
        let duration_ms = self.began.elapsed().as_secs_f64() * 1000.0;
        self.began = Instant::now();
        self.steps.push(match result {
            Ok((http_status, session_id, detail)) => ProbeStep {
                step,
                ok: true,
                http_status,
                session_id,
                duration_ms,
                detail,
            },
            Err(fault) => ProbeStep {
                step,
                ok: false,
                http_status: fault.http_status,
                session_id: false,
                duration_ms,
                detail: fault.message.clone(),
            },
        });
    }

    /// Passes a result on after noting it.
    fn step<T>(
        &mut self,
        step: Step,
        result: Result<T, Fault>,
        say: impl FnOnce(&T) -> (Option<u16>, bool, String),
    ) -> Result<T, Fault> {
        match result {
            Ok(value) => {
                self.note(step, Ok(say(&value)));
                Ok(value)
            }
            Err(fault) => {
                self.note(step, Err(&fault));
                Err(fault)
            }
        }
    }
}

pub(crate) async fn run(shared: &Arc<Shared>, server: &Server, client: &ClientHeaders<'_>) -> Probe {
    let began = Instant::now();
    let mut walk = Walk {
        steps: Vec::new(),
        began,
    };
    let mut probe = Probe {
        outcome: Outcome::ok(shared.clock.now(), 0),
        steps: Vec::new(),
        tools: Vec::new(),
        rejected: Rejected::default(),
        hint: None,
        protocol_version: None,
        server_info: None,
        said: Said::default(),
    };
    // An entry of its own: the probe shares the code with real traffic, not its sessions.
    let entry = Entry::new(Arc::new(server.clone()), shared.clone());
    let walked = handshake(shared, &entry, client, &mut walk, &mut probe).await;
    let now = shared.clock.now();
    probe.outcome = match walked {
        Ok(()) => Outcome {
            rejected: std::mem::take(&mut probe.rejected),
            hint: probe.hint.take(),
            ..Outcome::ok(
                now,
                u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            )
        },
        Err(fault) => fault.outcome(now, began.elapsed()),
    };
    probe.steps = walk.steps;
    if let Some(state) = entry.programs.states().into_iter().next_back() {
        probe.said = Said {
            stderr: state.stderr,
            junk_lines: state.junk_lines,
            last_junk: state.last_junk,
        };
    }
    // It may not outlive the walk.
    let _ = timeout(STOP_TIMEOUT, entry.programs.stopped()).await;
    // The names that servers give themselves are shown too, and a server may call itself by what it was sent.
    if let Ok(out) = entry.outgoing(client) {
        let secrets: Vec<&str> = out.secrets().collect();
        for step in &mut probe.steps {
            step.detail = redacted(&step.detail, &secrets);
        }
    }
    probe
}

async fn handshake(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    client: &ClientHeaders<'_>,
    walk: &mut Walk,
    probe: &mut Probe,
) -> Result<(), Fault> {
    let out = walk.step(Step::Configuration, entry.outgoing(client), |out| {
        (None, false, describe(shared, out))
    })?;
    if let Reach::OpenApi(site) = &out.reach {
        return Box::pin(described(shared, entry, (&out, site), walk, probe)).await;
    }
    if let Some(target) = out.reach.target() {
        connect(shared, target, walk).await?;
    }
    if let Some(recipe) = out.reach.program() {
        walk.step(Step::Start, program::start(entry, recipe).await, |how| {
            (None, false, how.clone())
        })?;
    }
    let deadline = Deadline::after(initialize_timeout(&out, &shared.settings()).min(PROGRAM_TIMEOUT));
    let met = meet(entry, &out, deadline)
        .await
        .map_err(|fault| fault.without(out.secrets()));
    let met = walk.step(Step::Initialize, met, |met| match met {
        Met::Modern(session) => (Some(200), false, greeting(session, Era::Modern)),
        Met::Legacy(session) => {
            let mut detail = greeting(session, Era::Legacy);
            if entry.legacy.since().is_some() {
                detail.push_str(", over the legacy HTTP+SSE transport");
            }
            (Some(200), session.id.is_some(), detail)
        }
    })?;
    let (Met::Legacy(session) | Met::Modern(session)) = &met;
    probe.protocol_version = Some(session.revision.as_str().to_owned());
    probe.server_info.clone_from(&session.introduction.server_info);
    let Met::Legacy(session) = met else {
        return list(Era::Modern, entry, &out, walk, probe).await;
    };
    let ready = initialized(entry, &out, &session, deadline)
        .await
        .map_err(|fault| fault.without(out.secrets()));
    walk.step(Step::Initialized, ready, |status| {
        (Some(*status), session.id.is_some(), "acknowledged".to_owned())
    })?;
    // The listing below goes through the entry's pool; hand it the session that was just opened.
    let (slot, _) = entry.sessions.slot(Owner::shared(out.fingerprint));
    slot.get_or_open(async { Ok(session) }).await?;
    let listed = list(Era::Legacy, entry, &out, walk, probe).await;
    for (_, session) in entry.sessions.drain() {
        entry.end(&out, &session).await;
    }
    listed
}

/// How a server is met.
enum Met {
    /// By the hand-shake of the old era.
    Legacy(Arc<Session>),
    /// By its discovery: it knows no hand-shake.
    Modern(Arc<Session>),
}

/// The way of real traffic: a server of both eras is met by the hand-shake, one of the new era alone by what it says about itself.
async fn meet(entry: &Arc<Entry>, out: &Arc<Outgoing>, deadline: Deadline) -> Result<Met, Fault> {
    if entry.pinned() != Some(Era::Modern) {
        let opened = entry
            .send_initialize(out, ClientCapabilities::NONE, deadline)
            .await;
        match opened {
            Ok(session) => return Ok(Met::Legacy(Arc::new(session))),
            Err(fault) if entry.turns_out_modern(out, &fault).await => {}
            Err(fault) => return Err(fault),
        }
    }
    match entry.leg(Era::Modern, out).await? {
        Leg::Modern(session) => Ok(Met::Modern(session)),
        Leg::Legacy => Err(Fault::protocol(
            Step::Initialize,
            "the server was found to speak 2026-07-28, and takes it back",
        )),
    }
}

async fn list(
    era: Era,
    entry: &Arc<Entry>,
    out: &Arc<Outgoing>,
    walk: &mut Walk,
    probe: &mut Probe,
) -> Result<(), Fault> {
    let allowed = entry.list_timeout().min(Duration::from_secs(10));
    let listed = list_items((ListKind::Tools, era), entry, out, allowed).await;
    let listed = walk.step(Step::List, listed, |catalogue| {
        let left_out = match catalogue.rejected.len() {
            0 => String::new(),
            count => format!(", {count} left out"),
        };
        (
            Some(200),
            false,
            format!("{}{left_out}", count(catalogue.items.len(), "tool")),
        )
    })?;
    probe.rejected = listed.left_out(out.secrets());
    probe.tools = listed.items.into_iter().map(|tool| tool.raw).collect();
    Ok(())
}

/// The way of an HTTP API: its document, and what it makes. The API itself is not asked: nothing says which of its operations
/// do no harm.
async fn described(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    (out, site): (&Arc<Outgoing>, &Site),
    walk: &mut Walk,
    probe: &mut Probe,
) -> Result<(), Fault> {
    let web = site.document_url();
    if let Some(target) = site.document_target() {
        connect(shared, target, walk).await?;
    }
    let text = openapi::fetched(entry, site).await;
    let text = walk.step(Step::Document, text, |text| {
        let status = web.map(|_| 200);
        let detail = match text.len() {
            0 => "in the declaration itself".to_owned(),
            bytes => format!("{}, {bytes} bytes", site.describe()),
        };
        (status, false, detail)
    })?;
    let loaded = openapi::taken(entry, site, text).await;
    let loaded = walk.step(Step::Parse, loaded, |loaded| (None, false, loaded.describe()))?;
    probe.server_info = Some(loaded.api.title.clone())
        .filter(|title| !title.is_empty())
        .map(|title| serde_json::json!({"name": title, "version": loaded.api.release}).to_string());
    let has_credential = out.headers.keys().any(|name| !is_usual(name));
    probe.hint = loaded.api.wants.as_ref().filter(|_| !has_credential).map(|wants| {
        format!("the document asks for {wants}, and no credential is configured: set auth_type and credentials.auth_value (in the file: authentication_token)")
    });
    list(Era::Legacy, entry, out, walk, probe).await
}

/// Whether every request has this header.
fn is_usual(name: &http::HeaderName) -> bool {
    matches!(name.as_str(), "accept" | "content-type" | "user-agent")
}

/// What will be sent, by name only.
fn describe(shared: &Shared, out: &Outgoing) -> String {
    if let Some(recipe) = out.reach.program() {
        return recipe.describe();
    }
    let mut names: Vec<&str> = out
        .headers
        .keys()
        .filter(|name| !is_usual(name))
        .map(http::HeaderName::as_str)
        .collect();
    names.sort_unstable();
    let mut to = out.reach.url().map_or_else(String::new, |url| {
        format!("{}{}", url.origin().ascii_serialization(), url.path())
    });
    if let Some(via) = out.reach.url().and_then(|url| shared.http().connector().via(url)) {
        to = format!("{to}, by way of the proxy {}", via.describe());
    }
    if let Some(tls) = out.reach.route().and_then(Route::describe) {
        to = format!("{to}, {tls}");
    }
    if names.is_empty() {
        format!("{to}, no credential is sent")
    } else {
        format!("{to}, sending {}", names.join(", "))
    }
}

fn greeting(session: &Session, era: Era) -> String {
    let name = session
        .introduction
        .server_info
        .as_deref()
        .and_then(|info| serde_json::from_str::<serde_json::Value>(info).ok())
        .and_then(|info| info.get("name")?.as_str().map(crate::fault::printable));
    let sessions = match era {
        Era::Modern => "without a hand-shake",
        Era::Legacy if session.id.is_some() => "with sessions",
        Era::Legacy => "without sessions",
    };
    format!(
        "{}, protocol {}, {sessions}",
        name.as_deref().unwrap_or("(no name)"),
        session.revision.as_str()
    )
}

async fn initialized(
    entry: &Arc<Entry>,
    out: &Outgoing,
    session: &Session,
    deadline: Deadline,
) -> Result<u16, Fault> {
    let message = rpc::notification("notifications/initialized", None);
    let sent = entry.post(out, Some(session), message, Step::Initialized);
    let response = tokio::time::timeout_at(deadline.at(), sent)
        .await
        .map_err(|_| deadline.missed(Step::Initialized))??;
    let status = response.status();
    if status.is_success() {
        Ok(status.as_u16())
    } else {
        Err(status_fault(&entry.server.load(), Step::Initialized, response).await)
    }
}

/// DNS, TCP, the proxy and TLS on a connection of their own, so that each has its time and its error.
async fn connect(shared: &Arc<Shared>, target: &Target, walk: &mut Walk) -> Result<(), Fault> {
    let http = shared.http();
    let (connector, port) = (http.connector(), target.port());
    let limit = connector.limit(target);
    let found = within(limit, Step::Dns, connector.find(target)).await;
    let place = walk.step(Step::Dns, found, |place| {
        let list: Vec<String> = place
            .addresses
            .iter()
            .take(4)
            .map(|address| address.ip().to_string())
            .collect();
        let list = list.join(", ");
        let detail = match &place.via {
            Some(via) => format!("by way of the proxy {} ({list})", via.describe()),
            None => list,
        };
        (None, false, detail)
    })?;
    let opened = within(limit, Step::Tcp, connector.open(&place, target)).await;
    let mut stream = walk.step(Step::Tcp, opened, |_| {
        let detail = match &place.via {
            Some(via) => format!("connected to the proxy's port {}", via.port),
            None => format!("connected to port {port}"),
        };
        (None, false, detail)
    })?;
    if target.url.scheme() != "https" {
        return Ok(());
    }
    if place.via.is_some() {
        let through = connector.through(&place, target, stream);
        let through = within(limit, Step::Proxy, through).await;
        stream = walk.step(Step::Proxy, through, |_| {
            (None, false, format!("a tunnel to {}:{port}", target.host()))
        })?;
    }
    let secured = within(limit, Step::Tls, connector.secure(target, stream)).await;
    walk.step(Step::Tls, secured, |secured| {
        let version = secured.get_ref().1.protocol_version();
        let version = version.map_or_else(|| "TLS".to_owned(), |version| format!("{version:?}"));
        (None, false, version)
    })?;
    Ok(())
}

/// What `step` comes to, at the latest after `limit`.
async fn within<T>(
    limit: Duration,
    step: Step,
    made: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, made)
        .await
        .unwrap_or_else(|_| Err(late(step, limit)))
}
