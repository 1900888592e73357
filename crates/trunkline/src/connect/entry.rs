//! What a client's file says about the gateway.

use serde_json::{Map, Value, json};

use super::ConnectArguments;
use crate::clients::{Client, Format, Scope};
use crate::failure::{Code, Failure};
use crate::reach::{Found, KeySource, UrlSource};
use crate::stdio;

/// The header of the key: `Authorization` may be meant for a server behind the gateway.
const HEADER: &str = "x-litellm-api-key";
/// The variable of a client's environment.
const VARIABLE: &str = "TRUNKLINE_KEY";
/// The id of the question that VS Code asks.
pub(super) const INPUT: &str = "trunkline-key";

/// How the client comes by the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyWay {
    /// It is in the file.
    Written,
    /// From the client's environment.
    Environment,
    /// The client asks for it.
    Asked,
    /// `trunkline stdio` finds it.
    Found,
}

/// A server's entry.
pub(super) struct Entry {
    /// The entry.
    pub(super) value: Value,
    /// VS Code: the question for the key.
    pub(super) input: Option<Value>,
    pub(super) key: KeyWay,
    /// Where it leads.
    pub(super) url: String,
    /// The key in it, if it is.
    secret: Option<String>,
}

impl Entry {
    pub(super) fn of(arguments: &ConnectArguments, scope: Scope, found: &Found) -> Result<Self, Failure> {
        let client = arguments.client;
        let url = format!(
            "{}{}",
            found.gateway.url(),
            stdio::path(arguments.servers.as_deref())
        );
        if client == Client::ClaudeDesktop {
            return desktop(arguments, found, url);
        }
        let from_env = scope == Scope::Project || arguments.key_from_env;
        let written = match &found.key {
            _ if from_env || client == Client::VsCode => None,
            Some((key, _)) => Some(key.expose().to_owned()),
            None => {
                return Err(Failure::new(
                    Code::NotAllowed,
                    format!("there is no key for the gateway at {}", found.gateway.url()),
                )
                .todo(format!(
                    "set TRUNKLINE_KEY, or say --key-from-env to let {} take it from its environment",
                    client.title()
                )));
            }
        };
        let key = match (client, &written) {
            (Client::VsCode, _) => KeyWay::Asked,
            (_, Some(_)) => KeyWay::Written,
            _ => KeyWay::Environment,
        };
        let secret = written.clone();
        let bearer = match written {
            Some(key) => format!("Bearer {key}"),
            None if client == Client::VsCode => format!("Bearer ${{input:{INPUT}}}"),
            // Claude Code's way of writing it; the others' has a word in front.
            None if client == Client::ClaudeCode => format!("Bearer ${{{VARIABLE}}}"),
            None => format!("Bearer ${{env:{VARIABLE}}}"),
        };
        let value = match client {
            Client::ClaudeCode | Client::VsCode => {
                json!({"type": "http", "url": url, "headers": {HEADER: bearer}})
            }
            Client::Cursor => json!({"url": url, "headers": {HEADER: bearer}}),
            Client::Windsurf => json!({"serverUrl": url, "headers": {HEADER: bearer}}),
            Client::Codex if key == KeyWay::Environment => {
                json!({"url": url, "bearer_token_env_var": VARIABLE})
            }
            Client::Codex | Client::ClaudeDesktop => json!({"url": url, "http_headers": {HEADER: bearer}}),
        };
        let input = (client == Client::VsCode).then(
            || json!({"id": INPUT, "type": "promptString", "description": "Trunkline key", "password": true}),
        );
        Ok(Self {
            value,
            input,
            key,
            url,
            secret,
        })
    }

    /// For people to look at.
    pub(super) fn masked(&self, format: Format, name: &str) -> String {
        let text = match format {
            Format::Json(section) => {
                let mut file = Map::new();
                if let Some(input) = &self.input {
                    file.insert("inputs".to_owned(), json!([input]));
                }
                file.insert(section.to_owned(), json!({name: self.value}));
                serde_json::to_string_pretty(&file).unwrap_or_default()
            }
            Format::Toml(section) => super::toml::set("", section, name, &self.value).unwrap_or_default(),
        };
        match &self.secret {
            Some(secret) => text.replace(secret.as_str(), "***").trim_end().to_owned(),
            None => text.trim_end().to_owned(),
        }
    }
}

/// Claude Desktop starts this program.
fn desktop(arguments: &ConnectArguments, found: &Found, url: String) -> Result<Entry, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("where this program is cannot be found out: {error}"),
        )
    })?;
    let mut args = vec!["stdio".to_owned()];
    let given = &arguments.gateway;
    if found.url == UrlSource::Given {
        args.extend(["--url".to_owned(), found.gateway.url().to_owned()]);
    }
    if let Some(dir) = &given.data_dir {
        // Claude Desktop starts it elsewhere.
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
        args.extend(["--data-dir".to_owned(), dir.display().to_string()]);
    }
    if let Some(servers) = &arguments.servers {
        args.extend(["--servers".to_owned(), servers.clone()]);
    }
    let mut value = json!({"command": program, "args": args});
    let (key, secret) = match &found.key {
        Some((key, KeySource::Given | KeySource::Master)) if !arguments.key_from_env => {
            value["env"] = json!({VARIABLE: key.expose()});
            (KeyWay::Written, Some(key.expose().to_owned()))
        }
        Some((_, KeySource::DataDir)) => (KeyWay::Found, None),
        Some((_, KeySource::Given | KeySource::Master)) | None => (KeyWay::Environment, None),
    };
    Ok(Entry {
        value,
        input: None,
        key,
        url,
        secret,
    })
}
