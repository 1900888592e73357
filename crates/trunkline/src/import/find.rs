//! The servers in the files of MCP clients.

use std::path::{Path, PathBuf};

use jsonc_parser::ParseOptions;
use serde_json::{Map, Value};

use crate::clients::{Client, Format, Places, Scope};
use crate::connect::toml;
use crate::files;

/// Largest file that is read, bytes: Claude Code keeps more than servers in its.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// A server as a client knows it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// What it is to be called.
    pub(super) name: String,
    /// The client's entry.
    pub(super) entry: Map<String, Value>,
    /// The files that have it.
    pub(super) files: Vec<PathBuf>,
    pub(super) client: Client,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) servers: Vec<Server>,
    /// VS Code's `inputs`: what to ask for.
    pub(super) inputs: Vec<Value>,
    /// Files that cannot be read.
    pub(super) problems: Vec<String>,
    pub(super) looked_at: Vec<PathBuf>,
}

/// The servers of these clients, of all without any; without the gateway itself, each once.
pub(super) fn all(clients: &[Client], places: &Places, gateway: &str) -> Found {
    let mut found = Found::default();
    let clients = if clients.is_empty() {
        &Client::ALL[..]
    } else {
        clients
    };
    for client in clients {
        for scope in [Scope::User, Scope::Project] {
            let Some(file) = client.file(scope, places) else {
                continue;
            };
            // The home may be the folder of a project.
            if found.looked_at.contains(&file) {
                continue;
            }
            found.looked_at.push(file.clone());
            match read(*client, &file, places) {
                Ok(None) => {}
                Ok(Some((entries, inputs))) => {
                    found.inputs.extend(inputs);
                    for (name, entry) in entries {
                        if !is_gateway(&entry, gateway) {
                            add(&mut found.servers, *client, &name, entry, &file);
                        }
                    }
                }
                Err(why) => found.problems.push(format!(
                    "{} cannot be read and was left out: {why}",
                    places.short(&file)
                )),
            }
        }
    }
    found
}

type Entries = Vec<(String, Map<String, Value>)>;

fn read(client: Client, file: &Path, places: &Places) -> Result<Option<(Entries, Vec<Value>)>, String> {
    if std::fs::metadata(file).is_ok_and(|data| data.len() > MAX_FILE) {
        return Err("it is too large".to_owned());
    }
    let Some(text) = files::read(file).map_err(|failure| failure.to_string())? else {
        return Ok(None);
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (servers, inputs) = match client.format() {
        Format::Toml(section) => (vec![toml::read(text, section)?], Vec::new()),
        Format::Json(_) if text.trim().is_empty() => return Ok(None),
        Format::Json(section) => {
            let mut file: Value = jsonc_parser::parse_to_serde_value(text, &ParseOptions::default())
                .map_err(|error| error.to_string())?;
            let mut servers = vec![file[section].take()];
            if client == Client::ClaudeCode {
                // Servers of this project that only this user has.
                let project = places.project.display().to_string();
                servers.push(file["projects"][project.as_str()][section].take());
            }
            let inputs = file["inputs"].as_array().cloned().unwrap_or_default();
            (servers, inputs)
        }
    };
    let entries = servers
        .into_iter()
        .filter_map(|servers| match servers {
            Value::Object(servers) => Some(servers),
            _ => None,
        })
        .flatten()
        .filter_map(|(name, entry)| match entry {
            Value::Object(entry) => Some((name, entry)),
            _ => None,
        })
        .collect();
    Ok(Some((entries, inputs)))
}

/// Whether an entry is the gateway: importing it would have it call itself.
fn is_gateway(entry: &Map<String, Value>, gateway: &str) -> bool {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let leads_there = ["url", "serverUrl", "httpUrl"]
        .iter()
        .filter_map(|key| text(key))
        .any(|url| {
            url.strip_prefix(gateway)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    let program = text("command").is_some_and(|command| {
        Path::new(command)
            .file_stem()
            .is_some_and(|stem| stem == "trunkline")
    });
    let bridge = entry
        .get("args")
        .and_then(Value::as_array)
        .is_some_and(|args| args.iter().any(|arg| arg == "stdio"));
    leads_there || (program && bridge)
}

/// Adds a server, unless it is there. One of the same name that is another server is named after its client, too.
fn add(servers: &mut Vec<Server>, client: Client, name: &str, entry: Map<String, Value>, file: &Path) {
    if let Some(same) = servers.iter_mut().find(|known| known.entry == entry) {
        if !same.files.iter().any(|known| known == file) {
            same.files.push(file.to_owned());
        }
        return;
    }
    let taken = |name: &str| servers.iter().any(|known| known.name.eq_ignore_ascii_case(name));
    let mut own = name.to_owned();
    let mut count = 1;
    while taken(&own) {
        own = match count {
            1 => format!("{name}-{}", client.word()),
            _ => format!("{name}-{}-{count}", client.word()),
        };
        count += 1;
    }
    servers.push(Server {
        name: own,
        entry,
        files: vec![file.to_owned()],
        client,
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_gateway_is_not_imported_into_itself() {
        for (entry, own) in [
            (json!({"url": "http://127.0.0.1:4000/mcp"}), true),
            (json!({"serverUrl": "http://127.0.0.1:4000"}), true),
            (json!({"url": "http://127.0.0.1:40001/mcp"}), false),
            (json!({"command": "/usr/bin/trunkline", "args": ["stdio"]}), true),
            (json!({"command": "trunkline", "args": ["serve"]}), false),
            (json!({"command": "npx", "args": ["stdio"]}), false),
        ] {
            let object = entry.as_object().unwrap();
            assert_eq!(is_gateway(object, "http://127.0.0.1:4000"), own, "{entry}");
        }
    }

    #[test]
    fn the_same_server_is_there_once_and_another_of_its_name_is_told_apart() {
        let mut servers = Vec::new();
        let entry = |url: &str| json!({"url": url}).as_object().unwrap().clone();
        for (client, url, file) in [
            (Client::ClaudeCode, "a", "/1"),
            (Client::Cursor, "a", "/2"),
            (Client::Cursor, "b", "/2"),
            (Client::Cursor, "c", "/3"),
        ] {
            add(&mut servers, client, "git", entry(url), Path::new(file));
        }
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, ["git", "git-cursor", "git-cursor-2"]);
        assert_eq!(servers[0].files.len(), 2);
    }
}
