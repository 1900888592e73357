//! `POST /v1/mcp/policy/dry-run`: which recorded calls would be decided otherwise if something was changed. Nothing is.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use trunkline_auth::{AuthError, Directory};
use trunkline_model::{ClientAddress, ClientNetwork, KeyHash, Principal, Scope, Server, ServerId, Snapshot};
use trunkline_policy::{Decision, decide};
use trunkline_store::CallUse;

use super::proposal::Proposal;
use super::schema::{DryRun, DryRunAnswer};
use super::target::What;
use crate::App;
use crate::actor::Overseer;
use crate::body::{At, JsonObject, Problems};
use crate::key::error::KeyError;
use crate::key::fields::refuse_others;
use crate::tenant::fields;

/// Different calls that are decided again.
const MOST_USES: u32 = 10_000;
/// Hours, unless said, and at most: records are kept for thirty days.
const HOURS: (u64, u64) = (24, 720);
/// Differences that are listed, unless said, and at most.
const LISTED: (u64, u64) = (100, 1000);

/// Try a change on recorded calls
///
/// For administrators and viewers. Each different call (who, which server, which tool) of the last hours is decided by the rules of now
/// and by the proposed ones, by the function that decides calls. Nothing is saved, and nothing called.
#[utoipa::path(
    post,
    path = "/v1/mcp/policy/dry-run",
    tag = "Policy",
    request_body = DryRun,
    responses(
        (status = 200, description = "What would be decided otherwise.", body = DryRunAnswer),
        (status = 400, description = "A change of nobody.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "The caller may not see everybody's calls.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such key, team, user, organisation, end user or server.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database is away.", body = crate::actor::AuthErrorBody),
    ),
)]
pub(crate) async fn dry_run(
    _overseer: Overseer,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    refuse_others(&body, &["changes", "hours", "limit"])?;
    let (hours, limit) = (number(&body, "hours", HOURS)?, number(&body, "limit", LISTED)?);
    let snapshot = app.registry.snapshot();
    let now = World::of_now(&app, &snapshot);
    let changes = body.get("changes").ok_or_else(|| fields::missing("changes"))?;
    let then = Proposal::read(changes, &app, &snapshot)?.made(&now);
    let hours_back = SignedDuration::from_hours(i64::try_from(hours).unwrap_or(i64::MAX));
    let since = app.now().checked_sub(hours_back).unwrap_or_default();
    let uses = app.registry.store().call_uses(since, MOST_USES + 1).await?;
    Ok(Json(compared(&uses, (&now, &then), &app, (hours, limit))))
}

/// A number of the body, within bounds.
fn number(body: &Map<String, Value>, name: &str, (usual, most): (u64, u64)) -> Result<u64, KeyError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(usual),
        Some(value) => {
            let mut problems = Problems::default();
            let number = value.as_u64().filter(|number| (1..=most).contains(number));
            if number.is_none() {
                At::field(name, &mut problems).problem::<()>(
                    "less_than_equal",
                    format!("Input should be a number from 1 to {most}"),
                );
            }
            problems.into_result()?;
            Ok(number.unwrap_or(usual))
        }
    }
}

/// What is decided with.
#[derive(Clone)]
pub(super) struct World {
    pub(super) directory: Directory,
    pub(super) servers: HashMap<ServerId, Arc<Server>>,
}

impl World {
    fn of_now(app: &App, snapshot: &Snapshot) -> Self {
        let servers = snapshot.servers().iter();
        Self {
            directory: Directory::clone(&app.directory()),
            servers: servers.map(|own| (own.id.clone(), own.clone())).collect(),
        }
    }

    fn principal(&self, id: &str, app: &App) -> Option<Result<Principal, AuthError>> {
        let key = match id {
            "master_key" => None,
            id => Some(self.directory.keys.get(&KeyHash::from_hex(id)?)?),
        };
        let supposed = app.authenticator.supposed(&self.directory, key, None);
        Some(supposed.map(|principal| {
            principal.at(ClientAddress {
                address: None,
                network: ClientNetwork::Internal,
            })
        }))
    }

    /// The decision; `None` if there is nothing to decide about any more.
    fn decide(&self, used: &CallUse, what: &What, app: &App) -> Option<Verdict> {
        let server = self.servers.get(&ServerId::new(&*used.server_id))?;
        Some(match self.principal(&used.principal, app)? {
            Err(error) => Verdict::Out(error),
            Ok(principal) => Verdict::Decided(decide(&principal, &Scope::All, what.action(), server)),
        })
    }
}

enum Verdict {
    Out(AuthError),
    Decided(Decision),
}

impl Verdict {
    fn is_allow(&self) -> bool {
        matches!(self, Self::Decided(Decision::Allow))
    }

    fn shown(&self) -> Value {
        match self {
            Self::Decided(Decision::Allow) => json!({"allowed": true}),
            Self::Decided(Decision::Deny(denial)) => json!({
                "allowed": false, "reason": denial.reason.as_str(), "level": denial.level.as_str(), "rule": denial.rule.as_str(),
            }),
            Self::Out(error) => {
                json!({"allowed": false, "reason": "not_admitted", "rule": error.error_type()})
            }
        }
    }
}

fn compared(uses: &[CallUse], (now, then): (&World, &World), app: &App, (hours, limit): (u64, u64)) -> Value {
    let most = usize::try_from(MOST_USES).unwrap_or(usize::MAX);
    let (mut calls, mut newly_denied, mut newly_allowed, mut undecided) = (0, 0, 0, 0);
    let mut differences = Vec::new();
    let mut different = 0_u64;
    for used in uses.iter().take(most) {
        let Some(what) = what_of(used) else { continue };
        calls += used.calls;
        let decided = (now.decide(used, &what, app), then.decide(used, &what, app));
        let (Some(before), Some(after)) = decided else {
            undecided += used.calls;
            continue;
        };
        match (before.is_allow(), after.is_allow()) {
            (true, false) => newly_denied += used.calls,
            (false, true) => newly_allowed += used.calls,
            _ => continue,
        }
        different += 1;
        if (differences.len() as u64) < limit {
            differences.push(shown(used, &what, (&before, &after), now));
        }
    }
    json!({
        "hours": hours, "calls": calls, "newly_denied": newly_denied, "newly_allowed": newly_allowed, "undecided": undecided,
        "different": different, "differences": differences,
        "complete": uses.len() <= most && different <= limit,
    })
}

fn shown(used: &CallUse, what: &What, (before, after): (&Verdict, &Verdict), world: &World) -> Value {
    let key = KeyHash::from_hex(&used.principal).and_then(|hash| world.directory.keys.get(&hash));
    let server = world.servers.get(&ServerId::new(&*used.server_id));
    let mut row = json!({
        "principal": used.principal, "key_alias": key.and_then(|key| key.key_alias.clone()), "server_id": used.server_id,
        "server": server.map(|own| own.prefix()), "calls": used.calls, "last_at": used.last_at.to_string(),
        "now": before.shown(), "then": after.shown(),
    });
    if let (Some((kind, name)), Some(row)) = (what.named(), row.as_object_mut()) {
        row.insert(kind.to_owned(), name.into());
    }
    row
}

/// What a record is about, if that is decided about.
fn what_of(used: &CallUse) -> Option<What> {
    let name = used.tool.clone();
    match used.kind.as_str() {
        "call_mcp_tool" => Some(What::Tool(name)),
        "get_mcp_prompt" => Some(What::Prompt(name)),
        "read_mcp_resource" | "subscribe_mcp_resource" => Some(What::Resource(name)),
        _ => None,
    }
}
