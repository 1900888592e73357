//! `GET /v1/mcp/server/health`: asks servers now whether they work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use trunkline_model::{Circuit, Health, Outcome, OutcomeStatus, Server, ServerId, Snapshot, Step};
use utoipa::ToSchema;

use crate::App;
use crate::actor::Admin;
use crate::outcome::{self, OutcomeBody};
use crate::{row, scrub};

/// The whole answer is there by then, whatever servers do.
const DEADLINE: Duration = Duration::from_secs(10);

/// Servers that are asked at the same time.
const AT_ONCE: usize = 64;

/// The health of one server: `outcome` tells down, needs a credential, works with no tools, and not known apart.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    /// The server.
    server_id: String,
    /// `healthy`, `unhealthy` or `unknown`.
    status: &'static str,
    /// The same, finer: `healthy` (perhaps with no tools), `degraded` (what was listed before is shown, and the last attempt
    /// failed), `down`, `needs_auth` (the configured credential is refused, or none is configured), `unknown_per_user` (each
    /// client brings its own credential), `pending` (not tried yet), `inactive` (not approved).
    health: &'static str,
    /// `closed`: calls are let through. `open`: they fail at once, because the server could not be reached several times in
    /// a row. `half_open`: the next one finds out whether it is back.
    circuit: &'static str,
    /// How many tools the last good list had; null if there was none.
    tool_count: Option<usize>,
    /// Why.
    outcome: OutcomeBody,
}

/// Check the health of MCP servers
///
/// Lists the tools of each, all at once, and answers within ten seconds.
#[utoipa::path(
    get,
    path = "/v1/mcp/server/health",
    tag = "MCP servers",
    params(
        ("server_ids" = Option<Vec<String>>, Query, description = "Which servers, repeated; all if there is none."),
        ("include_reachability" = Option<bool>, Query, description = "Has no effect: `outcome` says more."),
    ),
    responses((status = 200, description = "One entry a server, in the order of ids.", body = Vec<HealthBody>)),
)]
pub(crate) async fn health(
    _admin: Admin,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Json<Vec<HealthBody>> {
    let snapshot = app.registry.snapshot();
    let deadline = Instant::now() + DEADLINE;
    let mut answers: Vec<HealthBody> = stream::iter(chosen(query.as_deref().unwrap_or_default(), &snapshot))
        .map(|id| check(id, &snapshot, deadline, &app))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    answers.sort_by(|a, b| a.server_id.cmp(&b.server_id));
    Json(answers)
}

/// The ids of the query, once each; all servers without one.
fn chosen(query: &str, snapshot: &Snapshot) -> BTreeSet<ServerId> {
    let ids: BTreeSet<ServerId> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "server_ids")
        .map(|(_, id)| ServerId::new(id.into_owned()))
        .collect();
    if ids.is_empty() {
        snapshot
            .servers()
            .iter()
            .map(|server| server.id.clone())
            .collect()
    } else {
        ids
    }
}

async fn check(id: ServerId, snapshot: &Snapshot, deadline: Instant, app: &App) -> HealthBody {
    let outcome = match snapshot.get(&id) {
        Some(server) => ask(server, deadline, app).await,
        None => without_answer(
            OutcomeStatus::Misconfigured,
            "there is no server with this id".to_owned(),
            app,
        ),
    };
    let (status, (truth, circuit)) = match snapshot.get(&id) {
        Some(server) => (outcome.status.health(), row::truth(server, &outcome, app)),
        None => ("unknown", (Health::Down, Circuit::Closed)),
    };
    HealthBody {
        status,
        health: truth.as_str(),
        circuit: circuit.as_str(),
        tool_count: app.probe.tool_count(&id),
        outcome: outcome.into(),
        server_id: id.as_str().to_owned(),
    }
}

async fn ask(server: &Arc<Server>, deadline: Instant, app: &App) -> Outcome {
    if let Some(outcome) = outcome::not_contacted(server, app.now()) {
        return outcome;
    }
    match timeout_at(deadline, app.probe.refresh(server)).await {
        Ok(outcome) => scrub::outcome(outcome, server),
        Err(_) => without_answer(
            OutcomeStatus::Timeout,
            format!(
                "the server did not list its tools within {} s",
                DEADLINE.as_secs()
            ),
            app,
        ),
    }
}

/// An outcome that the gateway itself found.
fn without_answer(status: OutcomeStatus, message: String, app: &App) -> Outcome {
    Outcome {
        status,
        step: if status == OutcomeStatus::Timeout {
            Step::List
        } else {
            Step::Configuration
        },
        message,
        ..Outcome::ok(app.now(), 0)
    }
}
