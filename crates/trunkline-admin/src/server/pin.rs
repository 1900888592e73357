//! `/v1/mcp/server/{server_id}/pin`: accepts the tools that a server lists, shows what differs from what was accepted, takes it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;
use serde_json::{Map, Value, json};
use trunkline_model::{Origin, Pins, Server, ServerId};
use utoipa::ToSchema;

use crate::actor::Admin;
use crate::body::{At, JsonObject, Loc, Problems};
use crate::error::ApiError;
use crate::outcome::{self, OutcomeBody};
use crate::pins::{self, Listed, PinState};
use crate::programs::MayRun;
use crate::{App, scrub};

/// Bytes of a server's pins: they are in memory on every replica, and in every row.
const MAX_PINS: usize = 8 * 1024 * 1024;

/// What a server lists beside what is pinned.
#[derive(Serialize, ToSchema)]
pub(crate) struct PinReport {
    /// The server.
    server_id: String,
    /// Whether anything is pinned: then exactly that is served.
    pinned: bool,
    /// When the tools were listed; null if no list is known.
    listed_at: Option<String>,
    /// What came of the last attempt to use the server.
    outcome: OutcomeBody,
    /// The tools that are listed or pinned.
    tools: Vec<PinState>,
    /// For a server of the configuration file: what to write there to accept what is listed. Null for others.
    file: Option<Value>,
}

/// Show what differs from the pins
///
/// The last list that is known, beside what was accepted. Contacts nobody.
#[utoipa::path(
    get,
    path = "/v1/mcp/server/{server_id}/pin",
    tag = "MCP servers",
    params(("server_id" = String, Path, description = "The server's id.")),
    responses(
        (status = 200, description = "Every tool that is listed or pinned.", body = PinReport),
        (status = 404, description = "No such server.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn show(
    _admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<PinReport>, ApiError> {
    let server = super::find(&ServerId::new(id), &app)?;
    let lists = app.probe.tool_lists(&server);
    let listed_at = lists.iter().map(|list| list.fetched_at).max();
    let tools = pins::listed(lists);
    Ok(Json(PinReport {
        server_id: server.id.to_string(),
        pinned: !server.definition.pins().is_off(),
        listed_at: listed_at.map(|at| at.to_string()),
        outcome: outcome::of(&server, &app).into(),
        tools: pins::states(&server, &tools),
        file: (server.origin == Origin::File).then(|| for_file(&server, &tools)),
    }))
}

/// The part of a configuration file that pins what is listed; JSON is YAML.
fn for_file(server: &Server, tools: &[Listed]) -> Value {
    let pins = tools
        .iter()
        .filter_map(|tool| Some((tool.name.clone(), tool.pin().ok()?)));
    let name = server
        .definition
        .server_name
        .as_deref()
        .unwrap_or(server.id.as_str());
    json!({"mcp_servers": {name: {"pinned_tools": pins.collect::<Map<_, _>>()}}})
}

/// What is accepted.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the shape of a body, for the document; `Wanted::read` reads it"
)]
pub(crate) struct PinRequest {
    /// Only these tools, as they are listed now; the other pins stay.
    tools: Option<Vec<String>>,
    /// Only these tools, and only if each is what was seen: digests by name, one or a list. The other pins stay.
    digests: Option<BTreeMap<String, Vec<String>>>,
}

enum Wanted {
    All,
    Tools(Vec<String>),
    Seen(BTreeMap<String, Vec<String>>),
}

impl Wanted {
    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut problems = Problems::default();
        let mut wanted = Self::All;
        for (key, value) in body {
            let mut at = At::field(key, &mut problems);
            let read = match key.as_str() {
                _ if value.is_null() => continue,
                "tools" => at.texts(value).map(Self::Tools),
                "digests" => seen(&mut at, value).map(Self::Seen),
                _ => at.problem(
                    "extra_forbidden",
                    "Extra inputs are not permitted; did you mean tools or digests?",
                ),
            };
            let Some(read) = read else { continue };
            if matches!(wanted, Self::All) {
                wanted = read;
            } else {
                let at = [Loc::from("body"), Loc::from(key.as_str())];
                problems.add("value_error", &at, "tools and digests exclude each other");
            }
        }
        problems.into_result().map(|()| wanted)
    }
}

fn seen(at: &mut At<'_>, value: &Value) -> Option<BTreeMap<String, Vec<String>>> {
    let mut seen = BTreeMap::new();
    for (tool, value) in at.object(value)? {
        let digests = at.within(Loc::from(tool.as_str()), |at| match value {
            Value::String(one) => Some(vec![one.clone()]),
            several => at.texts(several),
        })?;
        seen.insert(tool.clone(), digests);
    }
    Some(seen)
}

/// Accept the tools as they are listed
///
/// Lists the server now, with its own credential, and stores the definitions: from then on exactly these are served.
#[utoipa::path(
    post,
    path = "/v1/mcp/server/{server_id}/pin",
    tag = "MCP servers",
    params(("server_id" = String, Path, description = "The server's id.")),
    request_body = Option<PinRequest>,
    responses(
        (status = 200, description = "All pins of the server, by the tools' names.", body = Object),
        (status = 400, description = "Nothing to pin, or too much.", body = crate::error::ErrorBody),
        (status = 403, description = "A stdio server, and administrators may not run programs.", body = crate::error::ErrorBody),
        (status = 404, description = "No such server.", body = crate::error::ErrorBody),
        (status = 409, description = "A tool is not what was seen, or the server is managed by file.", body = crate::error::ErrorBody),
        (status = 422, description = "Unknown fields, wrong types, no JSON.", body = crate::error::ValidationErrorBody),
        (status = 502, description = "The server could not be listed.", body = crate::error::ErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn pin(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let wanted = Wanted::read(&body)?;
    let server = find_pinnable(&ServerId::new(id), &app)?;
    if !server.is_active() {
        // What serves already may be listed by anybody who may list it; this would start it.
        MayRun::of(&admin, &app).check_stored(&server.definition)?;
    }
    let tools = list(&server, &app).await?;
    let accepted = accepted(&server, &tools, &wanted)?;
    let names: Vec<&String> = accepted.keys().take(20).collect();
    tracing::info!(actor = admin.id(), path = admin.path(), server_id = %server.id, tools = accepted.len(), first = ?names, "tool definitions accepted");
    store(&server, Some(accepted), &admin, &app).await.map(Json)
}

/// The tools of a server, listed now.
async fn list(server: &Arc<Server>, app: &App) -> Result<Vec<Listed>, ApiError> {
    let lists = match outcome::not_contacted(server, app.now()).filter(|_| server.defect.is_some()) {
        Some(outcome) => Err(outcome),
        None => app.probe.list_tools(server).await,
    };
    lists.map(pins::listed).map_err(|outcome| {
        let outcome = scrub::outcome(outcome, server);
        ApiError::NotListed(format!(
            "MCP Server {} could not be listed, so nothing is changed: {}",
            server.id,
            outcome.summary()
        ))
    })
}

/// The pins of a server after the change.
fn accepted(server: &Server, tools: &[Listed], wanted: &Wanted) -> Result<Map<String, Value>, ApiError> {
    let mut pins = match (wanted, server.definition.pins()) {
        (Wanted::All, _) | (_, Pins::Off | Pins::Unreadable) => Map::new(),
        (_, Pins::Tools(own)) => own.clone(),
    };
    let find = |name: &str| {
        tools.iter().find(|tool| tool.name == name).ok_or_else(|| {
            ApiError::Conflict(format!(
                "the server does not list {name:?} now; nothing is changed"
            ))
        })
    };
    let entry = |tool: &Listed| {
        tool.pin().map_err(|why| {
            ApiError::Conflict(format!(
                "{:?} cannot be pinned: {why}; nothing is changed",
                tool.name
            ))
        })
    };
    match wanted {
        // One that cannot be pinned is not served then, and the others are.
        Wanted::All => pins.extend(
            tools
                .iter()
                .filter_map(|tool| Some((tool.name.clone(), tool.pin().ok()?))),
        ),
        Wanted::Tools(names) => {
            for name in names {
                pins.insert(name.clone(), entry(find(name)?)?);
            }
        }
        Wanted::Seen(seen) => {
            for (name, digests) in seen {
                let tool = find(name)?;
                let entry = entry(tool)?;
                let now = tool.digests().unwrap_or_default();
                if now.iter().any(|own| !digests.iter().any(|seen| seen == own)) {
                    return Err(ApiError::Conflict(format!(
                        "{name:?} is not what was seen: its digest is {} now; nothing is changed. GET /v1/mcp/server/{}/pin shows the difference",
                        now.join(", "),
                        server.id
                    )));
                }
                pins.insert(name.clone(), entry);
            }
        }
    }
    if pins.is_empty() {
        // No pins would mean that everything is served.
        return Err(ApiError::BadRequest(
            "there is nothing to pin: the server lists no tool that could be".to_owned(),
        ));
    }
    check_size(&pins)?;
    Ok(pins)
}

fn check_size(pins: &Map<String, Value>) -> Result<(), ApiError> {
    let size = serde_json::to_string(pins).map_or(usize::MAX, |text| text.len());
    if size <= MAX_PINS {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!(
        "the definitions are {size} bytes, and {MAX_PINS} can be pinned: accept fewer tools with `tools`"
    )))
}

/// Take pins back
///
/// Without `tool` all of them: whatever the server lists is served again.
#[utoipa::path(
    delete,
    path = "/v1/mcp/server/{server_id}/pin",
    tag = "MCP servers",
    params(
        ("server_id" = String, Path, description = "The server's id."),
        ("tool" = Option<String>, Query, description = "Only this tool's pin: it is not served any more."),
    ),
    responses(
        (status = 200, description = "`server_id` and `status`: `unpinned`.", body = Object),
        (status = 404, description = "No such server, or no such pin.", body = crate::error::ErrorBody),
        (status = 409, description = "The last pin, or managed by file.", body = crate::error::ErrorBody),
        (status = 422, description = "A parameter that is unknown.", body = crate::error::ValidationErrorBody),
        (status = 503, description = "The database did not store it.", body = crate::error::ErrorBody),
    ),
)]
pub(crate) async fn unpin(
    admin: Admin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let tool = tool_of(query.as_deref().unwrap_or_default())?;
    let server = find_pinnable(&ServerId::new(id), &app)?;
    let left = match &tool {
        None => None,
        Some(tool) => Some(without(&server, tool)?),
    };
    store(&server, left, &admin, &app).await?;
    tracing::warn!(actor = admin.id(), path = admin.path(), server_id = %server.id, tool = ?tool, "pins taken back");
    Ok(Json(
        json!({"server_id": server.id.as_str(), "status": "unpinned"}),
    ))
}

fn tool_of(query: &str) -> Result<Option<String>, ApiError> {
    let mut problems = Problems::default();
    let mut tool = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let at = [Loc::from("query"), Loc::from(name.as_ref())];
        if name != "tool" {
            problems.add(
                "extra_forbidden",
                &at,
                "Extra inputs are not permitted; no such parameter",
            );
        } else if value.is_empty() || tool.is_some() {
            // Read as none, it would take back all pins.
            problems.add("value_error", &at, "one name of a tool");
        } else {
            tool = Some(value.into_owned());
        }
    }
    problems.into_result().map(|()| tool)
}

fn without(server: &Server, tool: &str) -> Result<Map<String, Value>, ApiError> {
    let missing = || ApiError::NoPin(server.id.clone(), tool.to_owned());
    let Pins::Tools(own) = server.definition.pins() else {
        return Err(missing());
    };
    let mut left = own.clone();
    left.shift_remove(tool).ok_or_else(missing)?;
    if left.is_empty() {
        return Err(ApiError::Conflict(format!(
            "{tool:?} is the last pin of MCP Server {}: without it everything that the server lists would be served. To want that, leave `tool` out; to serve nothing, set disallowed_tools",
            server.id
        )));
    }
    Ok(left)
}

/// The server of an id, if its pins are not the file's.
fn find_pinnable(id: &ServerId, app: &App) -> Result<Arc<Server>, ApiError> {
    super::find_changeable(id, app).map_err(|error| match error {
        ApiError::ManagedByFile(id) => ApiError::Conflict(format!(
            "MCP Server {id} is managed by file: its pins are pinned_tools under mcp_servers in the configuration file; `file` in the answer of GET /v1/mcp/server/{id}/pin is what to write there"
        )),
        other => other,
    })
}

/// Stores pins, if the server is still the one that was looked at. All replicas have them before anything else is listed or called
/// there: they are part of the server's row.
async fn store(
    server: &Server,
    pins: Option<Map<String, Value>>,
    admin: &Admin,
    app: &App,
) -> Result<Value, ApiError> {
    let _writing = app.writing.lock().await;
    let now = super::find_changeable(&server.id, app)?;
    if now.definition != server.definition {
        return Err(ApiError::Conflict(format!(
            "MCP Server {} was changed in the meantime; nothing is pinned. Try again",
            server.id
        )));
    }
    let mut changed = Server::clone(&now);
    changed.definition.pinned_tools = pins.map(Value::Object);
    changed.stamps.updated_at = Some(app.now());
    changed.stamps.updated_by = Some(admin.id().to_owned());
    let stored = app.registry.update(admin.actor(), changed).await?;
    Ok(stored.definition.pinned_tools.clone().unwrap_or(Value::Null))
}

/// The pins of a submission at its approval. Whoever approves it relies on them: without them it is not approved.
pub(super) async fn at_approval(server: &Arc<Server>, app: &App) -> Result<Map<String, Value>, ApiError> {
    let pins = match list(server, app).await {
        Ok(tools) => accepted(server, &tools, &Wanted::All),
        Err(error) => Err(error),
    };
    pins.map_err(|error| {
        ApiError::Conflict(format!(
            "not approved, because its tools cannot be pinned: {}. Try again when it can be listed, or approve it without pins: ?pin=false",
            error.words().1
        ))
    })
}
