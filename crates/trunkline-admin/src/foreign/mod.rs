//! Servers as MCP clients and other gateways write them down, turned into bodies of `POST /v1/mcp/server`.
//!
//! Understood are `mcpServers` (Claude, Cursor, Windsurf, Gemini, …), `servers` (VS Code), `context_servers` (Zed), and
//! `mcp_servers`, which is a mapping with LiteLLM, a table with Codex and a list with Anthropic's API. To understand one more
//! spelling of a field: [`translate`].
//!
//! Nothing is guessed: what only the client could fill in is an error that says so, what has no meaning here a warning.

mod placeholder;
mod translate;

use serde_json::{Map, Value};

use crate::body::{Loc, Problems};
use crate::error::ApiError;
use crate::programs::MayRun;

/// One server of a file.
pub(crate) struct Entry {
    /// As the file has it.
    pub(crate) name: String,
    /// What becomes of it.
    pub(crate) reading: Reading,
}

/// What an entry says.
pub(crate) enum Reading {
    /// A body of `POST /v1/mcp/server`.
    Server(Translated),
    /// Its client does not use it either.
    Off(&'static str),
    /// A program, of somebody who may not say what is started: nothing more of it was looked at.
    Forbidden(ApiError),
    /// It cannot be understood, or not without its client.
    Unclear(String),
}

/// A body, and what it does not say.
#[derive(Default)]
pub(crate) struct Translated {
    /// The body of a registration.
    pub(crate) body: Map<String, Value>,
    /// What was left out.
    pub(crate) warnings: Vec<String>,
}

/// More in one request would hold everybody else's changes up.
const MAX_ENTRIES: usize = 1000;

/// Where clients keep their servers.
const PLACES: [(&str, Dialect); 4] = [
    ("mcpServers", Dialect::Client),
    ("servers", Dialect::Client),
    ("context_servers", Dialect::Client),
    ("mcp_servers", Dialect::LiteLlm),
];

/// What an unknown field is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// A matter of the client, which is left out and said.
    Client,
    /// A mistake: these names are our own.
    LiteLlm,
}

/// The servers of a body, in its order. Other members of a client's file are none of our business.
pub(crate) fn entries(body: &Map<String, Value>, may_run: MayRun) -> Result<Vec<Entry>, ApiError> {
    let mut problems = Problems::default();
    let mut entries = Vec::new();
    let mut found = false;
    for (place, dialect) in PLACES {
        let Some(value) = body.get(place) else { continue };
        found = true;
        match value {
            Value::Object(servers) => {
                let servers = servers.iter();
                entries.extend(servers.map(|(name, value)| entry(name, value, dialect, may_run)));
            }
            Value::Array(servers) => {
                let servers = servers.iter().enumerate();
                entries.extend(servers.map(|(index, value)| listed(index, value, dialect, may_run)));
            }
            _ => problems.add(
                "dict_type",
                &[Loc::from("body"), Loc::from(place)],
                "Input should be a valid dictionary",
            ),
        }
    }
    if !found {
        problems.add(
            "missing",
            &[Loc::from("body"), Loc::from("mcpServers")],
            "Field required: mcpServers (Claude, Cursor, Windsurf), servers (VS Code), context_servers (Zed) or mcp_servers (LiteLLM, Codex)",
        );
    }
    problems.into_result()?;
    if entries.len() > MAX_ENTRIES {
        return Err(ApiError::BadRequest(format!(
            "{} servers at once are too many: {MAX_ENTRIES} at most",
            entries.len()
        )));
    }
    Ok(entries)
}

fn entry(name: &str, value: &Value, dialect: Dialect, may_run: MayRun) -> Entry {
    Entry {
        name: name.to_owned(),
        reading: translate::reading(name, value, dialect, may_run),
    }
}

/// An entry of a list has its name inside.
fn listed(index: usize, value: &Value, dialect: Dialect, may_run: MayRun) -> Entry {
    match value.get("name").and_then(Value::as_str) {
        Some(name) if !name.is_empty() => entry(name, value, dialect, may_run),
        _ => Entry {
            name: format!("#{}", index + 1),
            reading: Reading::Unclear("an entry of a list needs a name".to_owned()),
        },
    }
}
