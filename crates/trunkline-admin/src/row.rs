//! A server as answers show it: LiteLLM's `LiteLLM_MCPServerTable`, every column, nulls included, no secrets; plus
//! `outcome` and `warnings`.

use serde_json::{Map, Value, json};
use trunkline_model::{Circuit, Health, Origin, Outcome, Server, Transport};

use crate::fields::FIELDS;
use crate::outcome::{self, OutcomeBody, was_tried};
use crate::request::SERVER_ID;
use crate::{App, checks, tool_rules};

/// Columns that the gateway fills in, with what they are; a request that sets one is refused.
pub(crate) const MANAGED: [(&str, &str); 25] = [
    (
        "is_config",
        "Whether the server comes from the configuration file, which is where it is changed then.",
    ),
    ("teams", "Always empty."),
    ("created_at", "When it was registered, RFC 3339."),
    ("created_by", "By whom."),
    ("updated_at", "When it was changed last, RFC 3339."),
    ("updated_by", "By whom."),
    (
        "approval_status",
        "`active`, `pending_review`, `rejected` or `draft`; only an active server serves.",
    ),
    ("submitted_by", "Who submitted it."),
    ("submitted_at", "When, RFC 3339."),
    ("reviewed_by", "Who approved or rejected it."),
    ("reviewed_at", "When it was approved or rejected, RFC 3339."),
    ("review_notes", "Why."),
    ("status", "`healthy`, `unhealthy` or `unknown`."),
    (
        "health",
        "The same, finer: `healthy`, `degraded`, `down`, `needs_auth`, `unknown_per_user`, `pending` or `inactive`.",
    ),
    (
        "circuit",
        "`closed`: calls are let through. `open`: they fail at once, because the server could not be reached several times in a row. `half_open`: the next one finds out whether it is back.",
    ),
    ("last_health_check", "When that was found, RFC 3339."),
    ("health_check_error", "What is wrong, a line."),
    ("has_user_credential", "Always null."),
    ("connected_app_reachable", "Always null."),
    ("tool_count", "How many tools the last good list had."),
    (
        "hidden_text",
        "Characters and terminal sequences in the definitions of its tools that people do not see (`tags`, `bidi`, `zero_width`, `control`), whether they are taken out or not. Null if there are none, or no list is known.",
    ),
    (
        "isolation",
        "Of a stdio server: what is enforced of its sandbox on this machine, and what is not (`degree`: `full`, `partial`, `none`). Null for others.",
    ),
    (
        "programs",
        "What runs of a stdio server in this replica: `state` (`running`, `backoff`, `ended`), `pid`, `started_at`, `restarts`, `not_before`, `last_exit`, `in_flight`, `sessions`, `junk_lines`, `stderr` (its last lines), `hints` (arguments that name what the sandbox hides).",
    ),
    ("outcome", "What came of the last attempt to use it."),
    ("warnings", "What to know about the declaration."),
];

/// What whoever submitted a server sees of it: what it said itself that is no secret of anybody, and what became of it.
pub(crate) fn submission(server: &Server, warnings: &[String]) -> Value {
    let time = |at: Option<jiff::Timestamp>| Value::from(at.map(|at| at.to_string()));
    let (approval, definition) = (&server.approval, &server.definition);
    json!({
        "server_id": server.id.as_str(),
        "server_name": definition.server_name,
        "alias": definition.alias,
        "description": definition.description,
        "source_url": definition.source_url,
        "transport": definition.transport.as_str(),
        "approval_status": approval.status.as_str(),
        "submitted_by": approval.submitted_by,
        "submitted_at": time(approval.submitted_at),
        "reviewed_by": approval.reviewed_by,
        "reviewed_at": time(approval.reviewed_at),
        "review_notes": approval.review_notes,
        "warnings": warnings,
    })
}

/// A row with the warnings that hold as long as the declaration stands.
pub(crate) fn row(server: &Server, app: &App) -> Value {
    let mut warnings = checks::standing_warnings(&server.definition);
    warnings.extend(tool_rules::warnings(server, app));
    row_with(server, warnings, app)
}

/// A row with the warnings of the request that wrote it.
pub(crate) fn row_with(server: &Server, warnings: Vec<String>, app: &App) -> Value {
    let mut row = Map::new();
    row.insert(SERVER_ID.to_owned(), server.id.as_str().into());
    for field in FIELDS {
        row.insert(field.name.to_owned(), field.show(&server.definition));
    }
    let outcome = outcome::of(server, app);
    let health = outcome.status.health();
    let (truth, circuit) = truth(server, &outcome, app);
    let tried = was_tried(outcome.status);
    let time = |at: Option<jiff::Timestamp>| Value::from(at.map(|at| at.to_string()));
    let (approval, stamps) = (&server.approval, &server.stamps);
    let managed: [(&str, Value); 23] = [
        ("is_config", (server.origin == Origin::File).into()),
        ("teams", Value::Array(Vec::new())),
        ("created_at", time(stamps.created_at)),
        ("created_by", stamps.created_by.clone().into()),
        ("updated_at", time(stamps.updated_at)),
        ("updated_by", stamps.updated_by.clone().into()),
        ("approval_status", approval.status.as_str().into()),
        ("submitted_by", approval.submitted_by.clone().into()),
        ("submitted_at", time(approval.submitted_at)),
        ("reviewed_by", approval.reviewed_by.clone().into()),
        ("reviewed_at", time(approval.reviewed_at)),
        ("review_notes", approval.review_notes.clone().into()),
        ("status", health.into()),
        ("health", truth.as_str().into()),
        ("circuit", circuit.as_str().into()),
        ("last_health_check", time(tried.then_some(outcome.at))),
        (
            "health_check_error",
            (health == "unhealthy").then(|| outcome.summary()).into(),
        ),
        ("has_user_credential", Value::Null),
        ("connected_app_reachable", Value::Null),
        ("tool_count", app.probe.tool_count(&server.id).into()),
        ("hidden_text", hidden_text(server, app)),
        ("isolation", isolation(server, app)),
        ("programs", app.probe.programs(&server.id)),
    ];
    for (name, value) in managed {
        row.insert(name.to_owned(), value);
    }
    let outcome = serde_json::to_value(OutcomeBody::from(outcome)).unwrap_or(Value::Null);
    row.insert("outcome".to_owned(), outcome);
    row.insert("warnings".to_owned(), warnings.into());
    row.into()
}

fn hidden_text(server: &Server, app: &App) -> Value {
    let found = app.probe.hidden_text(&server.id);
    let found = found.filter(|found| found.total() > 0);
    found.map_or(Value::Null, |found| {
        let kinds = found.kinds();
        kinds
            .into_iter()
            .map(|(kind, count)| (kind.to_owned(), Value::from(count)))
            .collect()
    })
}

fn isolation(server: &Server, app: &App) -> Value {
    match server.definition.transport {
        Transport::Stdio => (app.programs.isolation)(&server.definition.sandbox).to_json(),
        Transport::Http | Transport::Sse => Value::Null,
    }
}

/// How a server is, and whether calls to it are let through.
pub(crate) fn truth(server: &Server, outcome: &Outcome, app: &App) -> (Health, Circuit) {
    let circuit = app.probe.circuit(server);
    let listed = app.probe.tool_count(&server.id).is_some();
    (Health::of(server, outcome, listed, circuit), circuit)
}
