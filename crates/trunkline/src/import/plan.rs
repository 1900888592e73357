//! What an import would do to each server, as the gateway says it: nothing is stored.

use std::path::Path;

use serde_json::{Map, Value, json};
use trunkline_client::Gateway;

use super::api;
use super::find::Server;
use crate::clients::Places;
use crate::config_file;
use crate::failure::Failure;
use crate::output;
use crate::terminal;

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It is registered at the gateway.
    Registered,
    /// A program: it is written into the configuration file.
    Written,
    /// A program, and no file to write it into was given.
    Shown,
    /// It is there already, or switched off.
    Skipped,
    /// It is not understood.
    Refused,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Written => "written",
            Self::Shown => "shown",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }
}

/// A server and what happens to it.
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) entry: Map<String, Value>,
    pub(super) what: What,
    from: String,
    transport: String,
    /// Why, or what to know.
    words: Vec<String>,
}

/// All servers.
pub(super) struct Plan {
    pub(super) servers: Vec<Planned>,
}

/// Asks the gateway.
pub(super) async fn make(
    gateway: &Gateway,
    servers: Vec<Server>,
    config: Option<&Path>,
    places: &Places,
) -> Result<Plan, Failure> {
    let all: Map<String, Value> = servers
        .iter()
        .map(|server| (server.name.clone(), Value::Object(server.entry.clone())))
        .collect();
    let report = api::import(gateway, &all, true).await?;
    let of = |list: &[Value], name: &str| list.iter().find(|entry| entry["name"] == name).cloned();
    let servers = servers
        .into_iter()
        .map(|server| {
            let program = server.entry.contains_key("command");
            let (what, transport, words) = if let Some(entry) = of(&report.imported, &server.name) {
                let transport = api::text(&entry["transport"]);
                let warnings = entry["warnings"].as_array().cloned().unwrap_or_default();
                (
                    What::Registered,
                    transport,
                    warnings.iter().map(api::text).collect(),
                )
            } else if let Some(entry) = of(&report.skipped, &server.name) {
                (
                    What::Skipped,
                    transport_of(program),
                    vec![api::text(&entry["reason"])],
                )
            } else if let Some(entry) = of(&report.errors, &server.name) {
                // What the gateway does not start for a key, its configuration file may have it start.
                match (program && entry["status"] == 403, config) {
                    (true, Some(file)) => (
                        What::Written,
                        transport_of(true),
                        vec![format!("into {}", places.short(file))],
                    ),
                    (true, None) => (
                        What::Shown,
                        transport_of(true),
                        vec!["a program: --config FILE writes it into the gateway's file".to_owned()],
                    ),
                    _ => (
                        What::Refused,
                        transport_of(program),
                        vec![api::text(&entry["error"])],
                    ),
                }
            } else {
                let words = vec!["the gateway did not say what becomes of it".to_owned()];
                (What::Refused, transport_of(program), words)
            };
            let files: Vec<String> = server.files.iter().map(|file| places.short(file)).collect();
            Planned {
                name: server.name,
                entry: server.entry,
                what,
                from: files.join(", "),
                transport,
                words,
            }
        })
        .collect();
    Ok(Plan { servers })
}

fn transport_of(program: bool) -> String {
    if program { "stdio" } else { "http" }.to_owned()
}

impl Plan {
    /// Those to which this happens.
    pub(super) fn of(&self, what: What) -> impl Iterator<Item = &Planned> {
        self.servers.iter().filter(move |server| server.what == what)
    }

    pub(super) fn changes_anything(&self) -> bool {
        self.of(What::Registered)
            .chain(self.of(What::Written))
            .next()
            .is_some()
    }

    /// For people.
    pub(super) fn print(&self) {
        let rows = self
            .servers
            .iter()
            .map(|server| {
                let words = terminal::one_line(&server.words.join("; "), 600);
                let separator = if words.is_empty() { "" } else { ": " };
                vec![
                    terminal::one_line(&server.name, 128),
                    server.from.clone(),
                    server.transport.clone(),
                    format!("{}{separator}{words}", server.what.word()),
                ]
            })
            .collect();
        terminal::table(&["SERVER", "FROM", "TRANSPORT", "WHAT HAPPENS"], rows);
        let mut snippet = String::new();
        for server in self.of(What::Shown) {
            snippet.push_str(&config_file::yaml(
                &server.name,
                &config_file::entry(&server.entry),
                2,
            ));
        }
        if !snippet.is_empty() {
            output::line(
                "\nPrograms, for the gateway's configuration file (values of env may be secrets):\n",
            );
            output::line(&format!("mcp_servers:\n{snippet}"));
        }
    }

    /// For programs. Without the entries: they may hold secrets.
    pub(super) fn to_json(&self) -> Value {
        self.servers
            .iter()
            .map(|server| {
                json!({
                    "name": server.name,
                    "from": server.from,
                    "transport": server.transport,
                    "action": server.what.word(),
                    "notes": server.words,
                })
            })
            .collect()
    }
}
