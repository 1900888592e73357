//! `POST /v1/mcp/policy/explain`: why a principal may use something or not.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use trunkline_auth::AuthError;
use trunkline_model::{Level, ObjectPermission, Principal, Route, Scope, Server};
use trunkline_policy::arguments::fill;
use trunkline_policy::explain::{Explanation, Step, explain as trail_of};
use trunkline_policy::{Action, CallFacts, Decision, ToolUse, decide};
use trunkline_store::AuditRow;

use super::schema::{Answer, Question};
use super::subject::{self, Subject};
use super::target::{self, Target, What, nothing};
use super::words::About;
use crate::App;
use crate::actor::Caller;
use crate::audit;
use crate::body::{At, JsonObject, Problems};
use crate::key::error::KeyError;
use crate::key::fields::refuse_others;
use crate::request::nearest;
use crate::tenant::fields;

/// Rows that are looked at of one request: a batch may have been denied several calls.
const ROWS: u32 = 100;

/// Explain a decision
///
/// For administrators and viewers about everybody; any key may ask about itself, and hears of servers that it may use alone. Nothing is
/// called, and nothing changed. It is the function that decides calls that answers, with the rules of now.
#[utoipa::path(
    post,
    path = "/v1/mcp/policy/explain",
    tag = "Policy",
    request_body = Question,
    responses(
        (status = 200, description = "The decision, and how it comes about.", body = Answer),
        (status = 400, description = "Fields that contradict each other.", body = crate::actor::AuthErrorBody),
        (status = 403, description = "About somebody else.", body = crate::actor::AuthErrorBody),
        (status = 404, description = "No such key, team, user, server, or denied call.", body = crate::actor::AuthErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database is away (only with `request_id`).", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn explain(
    caller: Caller,
    State(app): State<Arc<App>>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, KeyError> {
    let own = ["path", "x-mcp-servers", "arguments", "request_id"];
    let known: Vec<&str> = subject::FIELDS
        .into_iter()
        .chain(target::FIELDS)
        .chain(own)
        .collect();
    refuse_others(&body, &known)?;
    if let Some(request_id) = fields::text(&body, "request_id")? {
        return of_request(&request_id, &body, &caller, &app).await;
    }
    let subject = Subject::read(&body, &caller, &app)?;
    if !caller.sees_all() && !subject.is(&caller.principal) {
        return Err(KeyError::NotOwn);
    }
    let target = Target::read(&body, &app.registry.snapshot())?;
    let asked = Asked {
        subject,
        arguments: arguments(&body, &target)?,
        target,
        selection: (
            fields::text(&body, "path")?,
            fields::text(&body, "x-mcp-servers")?,
        ),
    };
    asked.answer(&caller, &app).map(|answer| Json(answer.into()))
}

/// The question.
struct Asked {
    subject: Subject,
    target: Target,
    /// Path, and `x-mcp-servers`.
    selection: (Option<String>, Option<String>),
    /// Those of a call.
    arguments: Option<Map<String, Value>>,
}

/// The arguments of a tool; an object.
fn arguments(body: &Map<String, Value>, target: &Target) -> Result<Option<Map<String, Value>>, KeyError> {
    let Some(value) = body.get("arguments").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let mut problems = Problems::default();
    let mut at = At::field("arguments", &mut problems);
    let arguments = at.object(value).cloned();
    if target.what.named().is_none_or(|(kind, _)| kind != "tool") {
        at.problem::<()>("value_error", "Value error, only a tool has arguments here");
    }
    problems.into_result()?;
    Ok(arguments)
}

impl Asked {
    fn answer(&self, caller: &Caller, app: &App) -> Result<Map<String, Value>, KeyError> {
        let Target {
            written,
            server,
            what,
        } = &self.target;
        let directory = app.directory();
        let sees_all = caller.sees_all();
        let unknown = || nothing(written);
        let principal = match self.subject.principal(&directory, server, app) {
            Ok(principal) => principal,
            Err(error) if sees_all => return Ok(self.kept_out(error)),
            Err(_) => return Err(unknown()),
        };
        let (path, header) = &self.selection;
        let route = Route {
            is_mcp: true,
            is_llm: false,
            path: path.as_deref().unwrap_or("/mcp"),
        };
        if let Some(key) = principal.key().filter(|key| !key.may_call(route)) {
            return Ok(self.kept_out(AuthError::RouteNotAllowed(key.hash)));
        }
        let snapshot = app.registry.snapshot();
        let selected = (app.selecting)(&snapshot, &principal, path.as_deref(), header.as_deref());
        let scope = selected.unwrap_or_else(Scope::nothing);
        // A name that is not there for a key is answered as one that nobody has, here too.
        let whole = decide(&principal, &Scope::All, Action::UseServer, server);
        if !sees_all && !whole.is_allow() {
            return Err(unknown());
        }
        let trail = match (&self.arguments, what) {
            (Some(arguments), What::Tool(tool)) => call(&principal, &scope, (server, tool), arguments, app),
            _ => trail_of(&principal, &scope, what.action(), server),
        };
        let about = About {
            principal: &principal,
            server,
            what,
        };
        let mut answer = self.said(&about, &trail);
        if let What::Tool(tool) = what {
            // Whoever may not use it does not hear whether it is there.
            let hears = sees_all || trail.decision.is_allow();
            let is_there = app.probe.has_tool(server, tool).filter(|_| hears);
            if is_there == Some(false) {
                let near = nearest_tool(tool, &principal, &scope, server, sees_all, app);
                let is_allowed = trail.decision.is_allow();
                let sentence = about.not_there(answer["sentence"].as_str(), is_allowed, near.as_deref());
                answer.insert("sentence".to_owned(), sentence.into());
            }
            answer.insert("exists".to_owned(), is_there.into());
        }
        let levels = levels(&about, &scope, &trail, sees_all);
        answer.insert("trail".to_owned(), levels.into());
        Ok(answer)
    }

    fn said(&self, about: &About<'_>, trail: &Explanation) -> Map<String, Value> {
        let denial = match trail.decision {
            Decision::Allow => None,
            Decision::Deny(denial) => Some(denial),
        };
        let changes: Vec<Value> = trail
            .steps
            .iter()
            .filter_map(|step| Some(about.change(step.change?, step.denial.level)))
            .collect();
        let mut answer = self.begin();
        let own = [
            ("allowed", denial.is_none().into()),
            ("reason", denial.map(|own| own.reason.as_str()).into()),
            ("level", denial.map(|own| own.level.as_str()).into()),
            ("rule", denial.map(|own| own.rule.as_str()).into()),
            (
                "sentence",
                denial
                    .map_or_else(|| about.allowed(), |own| about.why(own))
                    .into(),
            ),
            ("changes", changes.into()),
            ("changes_suffice", trail.suffices.into()),
        ];
        answer.extend(own.map(|(name, value): (&str, Value)| (name.to_owned(), value)));
        answer
    }

    /// A key that is refused before anything is decided.
    fn kept_out(&self, error: AuthError) -> Map<String, Value> {
        let mut answer = self.begin();
        let (reason, level, rule) = match error {
            AuthError::RouteNotAllowed(_) => ("route_not_allowed", Some("key"), "allowed_routes"),
            _ => ("not_admitted", None, error.error_type()),
        };
        let own = [
            ("allowed", false.into()),
            ("reason", reason.into()),
            ("level", level.into()),
            ("rule", rule.into()),
            ("sentence", error.to_string().into()),
            ("trail", Value::Array(Vec::new())),
            ("changes", Value::Array(Vec::new())),
            ("changes_suffice", false.into()),
        ];
        answer.extend(own.map(|(name, value): (&str, Value)| (name.to_owned(), value)));
        answer
    }

    fn begin(&self) -> Map<String, Value> {
        let Target { server, what, .. } = &self.target;
        let mut answer = Map::new();
        answer.insert("principal".to_owned(), self.subject.shown());
        answer.insert(
            "server".to_owned(),
            json!({"server_id": server.id.as_str(), "name": server.prefix()}),
        );
        if let Some((kind, name)) = what.named() {
            answer.insert(kind.to_owned(), name.into());
        }
        answer
    }
}

/// The tool that was probably meant, of those that this caller may hear of.
fn nearest_tool(
    tool: &str,
    principal: &Principal,
    scope: &Scope,
    server: &Arc<Server>,
    sees_all: bool,
    app: &App,
) -> Option<String> {
    let lists = app.probe.tool_lists(server);
    let names = lists
        .iter()
        .flat_map(|list| &list.tools)
        .map(|(name, _)| name.as_str());
    let heard =
        names.filter(|name| sees_all || decide(principal, scope, Action::UseTool(name), server).is_allow());
    nearest(tool, heard).map(str::to_owned)
}

/// A call, as calls are decided: by its name, by its arguments, by what is true of it with those that are filled in.
fn call(
    principal: &Principal,
    scope: &Scope,
    (server, tool): (&Arc<Server>, &str),
    arguments: &Map<String, Value>,
    app: &App,
) -> Explanation {
    let by_name = trail_of(principal, scope, Action::UseTool(tool), server);
    if !by_name.decision.is_allow() {
        return by_name;
    }
    let given: Vec<&str> = arguments.keys().map(String::as_str).collect();
    let set = match fill(principal, server, tool, &given) {
        Ok(set) => set,
        Err(refused) => {
            let denial = refused.denial;
            return Explanation {
                decision: Decision::Deny(denial),
                steps: vec![Step { denial, change: None }],
                suffices: false,
            };
        }
    };
    let mut all = arguments.clone();
    all.extend(
        set.into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_owned())),
    );
    let (all, annotations) = (Value::from(all).to_string(), app.probe.annotations(server, tool));
    let call = ToolUse {
        annotations: annotations.as_deref(),
        call: Some(CallFacts {
            arguments: &all,
            now: app.now(),
        }),
        ..ToolUse::of(tool)
    };
    trail_of(principal, scope, Action::UseToolAs(call), server)
}

/// What each level says, in the order in which they are asked. Who may not see all sees what its own key says.
fn levels(about: &About<'_>, scope: &Scope, trail: &Explanation, sees_all: bool) -> Vec<Value> {
    let mut levels = vec![
        (Level::Scope, selected(scope)),
        (Level::Server, rules_of(about.server)),
    ];
    levels.extend(granted(about.principal));
    let said = |(level, says): (Level, Value)| {
        let denials: Vec<Value> = trail
            .steps
            .iter()
            .map(|step| step.denial)
            .filter(|denial| denial.level == level)
            .map(|denial| {
                json!({
                    "reason": denial.reason.as_str(), "rule": denial.rule.as_str(), "part": denial.part,
                    "sentence": about.why(denial),
                })
            })
            .collect();
        let verdict = if denials.is_empty() {
            "passes"
        } else {
            "takes_away"
        };
        let is_shown = sees_all || matches!(level, Level::Scope | Level::Key);
        json!({
            "level": level.as_str(), "id": about.id_of(level).filter(|_| sees_all), "verdict": verdict, "denials": denials,
            "says": if is_shown { says } else { Value::Null },
        })
    };
    levels.into_iter().map(said).collect()
}

fn selected(scope: &Scope) -> Value {
    match scope {
        Scope::All => json!("everything"),
        Scope::Servers { ids, .. } => {
            let ids: Vec<&str> = ids.iter().map(trunkline_model::ServerId::as_str).collect();
            json!({"servers": ids})
        }
        Scope::Toolset { toolset, .. } => json!({"toolset": toolset.name}),
    }
}

fn rules_of(server: &Server) -> Value {
    let definition = &server.definition;
    json!({
        "approval_status": server.approval.status.as_str(),
        "available_on_public_internet": definition.available_on_public_internet,
        "allow_all_keys": definition.allow_all_keys,
        "allowed_tools": definition.allowed_tools,
        "disallowed_tools": definition.disallowed_tools,
        "allowed_params": definition.allowed_params,
    })
}

/// The levels that there are, and their lists.
fn granted(principal: &Principal) -> Vec<(Level, Value)> {
    let holder = principal.holder();
    let team = holder.and_then(|own| own.team.as_ref());
    let user = holder.and_then(|own| own.user.as_ref());
    let organization = holder.and_then(|own| own.organization.as_ref());
    let own = [
        (Level::Key, holder.map(|own| &own.key.object_permission)),
        (Level::Team, team.map(|own| &own.object_permission)),
        (Level::User, user.map(|own| &own.object_permission)),
        (
            Level::Organization,
            organization.map(|own| &own.object_permission),
        ),
        (
            Level::EndUser,
            principal.known_end_user().map(|own| &own.object_permission),
        ),
    ];
    own.into_iter()
        .filter_map(|(level, permission)| Some((level, lists(permission?))))
        .collect()
}

fn lists(permission: &ObjectPermission) -> Value {
    json!({
        "mcp_servers": permission.mcp_servers,
        "mcp_access_groups": permission.mcp_access_groups,
        "mcp_tool_permissions": permission.mcp_tool_permissions,
        "mcp_toolsets": permission.mcp_toolsets,
    })
}

/// What is to be said of a call that was denied: with the rules of now, and what was said then.
async fn of_request(
    request_id: &str,
    body: &Map<String, Value>,
    caller: &Caller,
    app: &App,
) -> Result<Json<Value>, KeyError> {
    if body.len() > 1 {
        let text = "the call is known by its request: leave out the other fields".to_owned();
        return Err(KeyError::Bad("request_id", text));
    }
    let rows = app.registry.store().audit_of_request(request_id, ROWS).await?;
    let unknown = || KeyError::Nobody("Denied call", "request_id", request_id.to_owned());
    let is_own = |row: &AuditRow| caller.sees_all() || row.changed_by_api_key == caller.principal.id();
    let is_call = |row: &&AuditRow| row.details.contains_key("tool") && is_own(row);
    let row = rows.iter().find(is_call).ok_or_else(unknown)?;
    let text = |name: &str| row.details.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(principal), Some(server), Some(name)) = (text("principal"), text("server"), text("tool"))
    else {
        return Err(unknown());
    };
    let snapshot = app.registry.snapshot();
    let written = server;
    let server = snapshot
        .find(&written)
        .cloned()
        .ok_or_else(|| nothing(&written))?;
    let what = match text("kind").as_deref() {
        Some("get_mcp_prompt") => What::Prompt(name),
        Some("read_mcp_resource" | "subscribe_mcp_resource") => What::Resource(name),
        _ => What::Tool(name),
    };
    let asked = Asked {
        subject: Subject::of(&principal, text("end_user"), caller, app)?,
        target: Target {
            written,
            server,
            what,
        },
        selection: (None, None),
        arguments: None,
    };
    let mut answer = asked.answer(caller, app)?;
    answer.insert("denied".to_owned(), audit::row(row.clone()).into());
    Ok(Json(answer.into()))
}
