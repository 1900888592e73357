//! `/mcp-rest/test/…`: tries a server before it is registered, or one that is.
//!
//! Failures of the server are answers (200 with `error`), as LiteLLM has it; mistakes in the request are errors.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value};
use trunkline_model::{Approval, Origin, Outcome, OutcomeStatus, Server, ServerId, Stamps, Step};
use url::Url;
use utoipa::ToSchema;

use crate::actor::Admin;
use crate::error::ApiError;
use crate::fields::{FIELDS, new_definition};
use crate::outcome::OutcomeBody;
use crate::probe::{Probe, ProbeStep};
use crate::programs::MayRun;
use crate::{App, request, scrub};

pub(crate) mod connection;
pub(crate) mod tools_list;

/// The net under the deadlines of a probe: these routes never hang.
const DEADLINE: Duration = Duration::from_mins(1);

/// One step of the handshake.
#[derive(Serialize, ToSchema)]
pub(crate) struct TraceStep {
    /// `configuration`, `dns`, `tcp`, `tls`, `initialize`, `initialized` or `list`; of an HTTP API `document` and `parse` in
    /// place of the hand-shake.
    step: &'static str,
    /// Whether it worked.
    ok: bool,
    /// HTTP status of the answer, for steps that are requests.
    http_status: Option<u16>,
    /// Whether the server gave or accepted a session id.
    session_id: bool,
    /// How long it took, milliseconds.
    duration_ms: f64,
    /// What was seen.
    detail: String,
}

impl TraceStep {
    fn new(step: &ProbeStep, server: &Server) -> Self {
        Self {
            step: step.step.as_str(),
            ok: step.ok,
            http_status: step.http_status,
            session_id: step.session_id,
            duration_ms: step.duration_ms,
            detail: scrub::text(&step.detail, server),
        }
    }
}

/// What came of a test, whatever the route.
struct Tested {
    probe: Probe,
    /// Why it failed, a line; `None` if it did not.
    failure: Option<String>,
    trace: Vec<TraceStep>,
    warnings: Vec<String>,
}

impl Tested {
    fn outcome(&self) -> OutcomeBody {
        self.probe.outcome.clone().into()
    }
}

/// Tries what a body describes. Nothing of it is stored.
async fn test(
    body: &Map<String, Value>,
    admin: &Admin,
    headers: &HeaderMap,
    app: &App,
) -> Result<Tested, ApiError> {
    let (server, warnings) = candidate(body, MayRun::of(admin, app), app)?;
    tracing::info!(actor = admin.id(), path = admin.path(), server_id = %server.id, "server tested");
    let mut probe = match &server.defect {
        Some(defect) => misfit(OutcomeStatus::Misconfigured, defect.clone(), app),
        None => try_it(&server, &admin.admission.forwardable(headers), app).await,
    };
    probe.outcome = scrub::outcome(probe.outcome, &server);
    Ok(Tested {
        failure: (!probe.outcome.is_ok()).then(|| probe.outcome.summary()),
        trace: probe
            .steps
            .iter()
            .map(|step| TraceStep::new(step, &server))
            .collect(),
        probe,
        warnings,
    })
}

async fn try_it(server: &Server, headers: &HeaderMap, app: &App) -> Probe {
    match tokio::time::timeout(DEADLINE, app.probe.probe(server, headers)).await {
        Ok(probe) => probe,
        Err(_) => misfit(
            OutcomeStatus::Timeout,
            format!("the test did not end within {} s", DEADLINE.as_secs()),
            app,
        ),
    }
}

fn misfit(status: OutcomeStatus, message: String, app: &App) -> Probe {
    Probe {
        outcome: Outcome {
            status,
            step: Step::Configuration,
            message,
            ..Outcome::ok(app.now(), 0)
        },
        steps: Vec::new(),
        tools: Vec::new(),
        protocol_version: None,
    }
}

/// The server to try: the stored one that `server_id` names with the rest of the body on top, else a new one.
fn candidate(
    body: &Map<String, Value>,
    may_run: MayRun,
    app: &App,
) -> Result<(Server, Vec<String>), ApiError> {
    let snapshot = app.registry.snapshot();
    let id = request::chosen_id(body, may_run)?;
    let Some(stored) = id.as_ref().and_then(|id| snapshot.get(id)) else {
        let has_address = ["url", "spec_path", "spec", "command"]
            .iter()
            .any(|field| body.contains_key(*field));
        if let Some(id) = id.filter(|_| !has_address) {
            return Err(ApiError::NotFound(id));
        }
        let declared = request::new_server(body, may_run)?;
        let server = Server {
            id: declared.id.unwrap_or_else(|| ServerId::new((app.new_id)())),
            origin: Origin::Database,
            definition: declared.definition,
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        };
        return Ok((server, declared.warnings));
    };
    let mut base = Server::clone(stored);
    if !same_place(stored, body) {
        forget_secrets(&mut base);
    }
    if body.keys().all(|key| key == request::SERVER_ID) {
        // As it stands, also when it was declared in the file with what this API refuses.
        let warnings = crate::checks::standing_warnings(&base.definition);
        return Ok((base, warnings));
    }
    let declared = request::change(&base, body, may_run)?;
    if ["credentials", "static_headers", "env"]
        .iter()
        .any(|field| body.contains_key(*field))
    {
        base.defect = None;
    }
    base.definition = declared.definition;
    Ok((base, declared.warnings))
}

/// Whether the body leaves the stored server where it is. Stored secrets are for that place alone: with another URL
/// this route would hand them to whoever listens there.
fn same_place(stored: &Arc<Server>, body: &Map<String, Value>) -> bool {
    // A program is its command and its arguments: another one must not have the stored environment.
    let same_program = ["command", "args", "cwd", "sandbox"].iter().all(|name| {
        let field = FIELDS.iter().find(|field| field.name == *name);
        let now = field.map(|field| field.show(&stored.definition));
        body.get(*name).is_none_or(|asked| Some(asked) == now.as_ref())
    });
    // A document says where its API is.
    let same_document = body.get("spec").is_none_or(Value::is_null);
    if !same_program || !same_document {
        return false;
    }
    let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin());
    ["url", "spec_path"].iter().all(|field| {
        let now = match *field {
            "url" => &stored.definition.url,
            _ => &stored.definition.spec_path,
        };
        match body.get(*field) {
            None | Some(Value::Null) => true,
            Some(Value::String(asked)) => match (now, origin(asked)) {
                (Some(now), Some(asked)) => asked.is_tuple() && origin(now) == Some(asked),
                _ => false,
            },
            Some(_) => false,
        }
    })
}

fn forget_secrets(server: &mut Server) {
    let fresh = new_definition();
    server.definition.credentials = fresh.credentials;
    server.definition.static_headers = fresh.static_headers;
    server.definition.env_vars = fresh.env_vars;
    server.definition.env = fresh.env;
    server.defect = None;
}
