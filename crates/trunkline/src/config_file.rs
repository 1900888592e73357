//! Servers added to a configuration file, as a person would: under `mcp_servers`, with everything that stands there left as it
//! is. The file is read by the gateway's own reader before and after; where the outcome is not exactly the old servers and
//! the new ones, nothing is written.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};
use trunkline_config::{Config, ProcessEnv};

use crate::failure::{Code, Failure};
use crate::files::{self, Readers, Replaced};

/// When a gateway reads what was written.
pub(crate) const READ: &str =
    "a gateway that was started with this file reads it within a second, and says in its log what it took";

/// A server as YAML, `indent` blanks to the right.
pub(crate) fn yaml(name: &str, entry: &Map<String, Value>, indent: usize) -> String {
    let mut text = String::new();
    put(&mut text, name, &Value::Object(entry.clone()), indent);
    text
}

/// JSON's texts and lists are YAML's; mappings are written as blocks, because they are read by people.
fn put(text: &mut String, key: &str, value: &Value, indent: usize) {
    let blanks = " ".repeat(indent);
    let plain = !key.is_empty()
        && key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        && !matches!(
            key.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "true" | "false" | "on" | "off" | "null"
        );
    let key = if plain {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    };
    match value {
        Value::Object(object) if !object.is_empty() => {
            let _ = writeln!(text, "{blanks}{key}:");
            for (name, value) in object {
                put(text, name, value, indent + 2);
            }
        }
        other => {
            let _ = writeln!(text, "{blanks}{key}: {other}");
        }
    }
}

/// An entry of a client's file as the configuration file has it.
pub(crate) fn entry(client: &Map<String, Value>) -> Map<String, Value> {
    let mut own = Map::new();
    let get = |key: &str| client.get(key).filter(|value| !value.is_null()).cloned();
    if let Some(command) = get("command") {
        own.insert("transport".to_owned(), "stdio".into());
        own.insert("command".to_owned(), command);
        for key in ["args", "env"] {
            if let Some(value) = get(key) {
                own.insert(key.to_owned(), value);
            }
        }
    } else {
        let transport = match get("type") {
            Some(kind) if kind == "sse" => "sse",
            _ => "http",
        };
        own.insert("transport".to_owned(), transport.into());
        for (from, to) in [("url", "url"), ("headers", "static_headers")] {
            if let Some(value) = get(from) {
                own.insert(to.to_owned(), value);
            }
        }
    }
    own
}

/// Adds servers. Those whose names are there already are refused.
pub(crate) fn add(path: &Path, servers: &[(String, Map<String, Value>)]) -> Result<Replaced, Failure> {
    let before = files::read(path)?;
    let old = match &before {
        Some(_) => load(path)?.servers.len(),
        None => 0,
    };
    let text = inserted(before.as_deref().unwrap_or_default(), servers)
        .map_err(|why| by_hand(path, why, servers))?;
    // Read from a file of its own beside it: what is relative in it stays so.
    let beside = path.with_extension(format!("{}.yaml", uuid::Uuid::new_v4().simple()));
    let draft = files::replace(&beside, &text, Readers::AsBeforeElseOwner)?;
    let read = load(&draft.path);
    let _ = std::fs::remove_file(&draft.path);
    let read = read.map_err(|error| by_hand(path, &error.to_string(), servers))?;
    let there = servers
        .iter()
        .all(|(name, _)| read.servers.iter().any(|server| server.answers_to(name)));
    if read.servers.len() != old + servers.len() || !there {
        return Err(by_hand(path, "the file would not read as it should", servers));
    }
    files::replace(path, &text, Readers::AsBeforeElseOwner)
}

fn load(path: &Path) -> Result<Config, Failure> {
    trunkline_config::load(path, &ProcessEnv).map_err(|error| Failure::usage(error.to_string()))
}

fn by_hand(path: &Path, why: &str, servers: &[(String, Map<String, Value>)]) -> Failure {
    let mut lines = String::from("mcp_servers:\n");
    for (name, entry) in servers {
        lines.push_str(&yaml(name, entry, 2));
    }
    Failure::new(Code::Failed, format!("{} was not changed: {why}", path.display()))
        .todo(format!("add this to it by hand:\n{lines}"))
}

/// The text of the file with the servers in it.
fn inserted(text: &str, servers: &[(String, Map<String, Value>)]) -> Result<String, &'static str> {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let sections: Vec<usize> = (0..lines.len())
        .filter(|at| value_of_section(&lines[*at]).is_some())
        .collect();
    let (at, indent) = match sections.as_slice() {
        [] => {
            if lines.iter().any(|line| line.trim_end() == "...") {
                return Err("it has an end mark (...)");
            }
            lines.push("mcp_servers:".to_owned());
            (lines.len(), 2)
        }
        [section] => match value_of_section(&lines[*section]) {
            Some("") => end_of_block(&lines, *section)?,
            Some("{}" | "null" | "~") => {
                "mcp_servers:".clone_into(&mut lines[*section]);
                (section + 1, 2)
            }
            _ => return Err("mcp_servers is not a block of lines there"),
        },
        _ => return Err("mcp_servers is there twice"),
    };
    let mut new = Vec::new();
    for (name, entry) in servers {
        new.extend(yaml(name, entry, indent).lines().map(str::to_owned));
    }
    lines.splice(at..at, new);
    let mut text = lines.join(newline);
    text.push_str(newline);
    Ok(text)
}

/// What stands after `mcp_servers:` at the beginning of a line, without a comment.
fn value_of_section(line: &str) -> Option<&str> {
    let rest = ["mcp_servers", "\"mcp_servers\"", "'mcp_servers'"]
        .iter()
        .find_map(|key| line.strip_prefix(key))?;
    let value = rest.trim_start().strip_prefix(':')?.trim();
    Some(match value.find('#') {
        Some(0) => "",
        Some(at) if value.as_bytes()[at - 1] == b' ' => value[..at].trim_end(),
        _ => value,
    })
}

/// Where the block of a section ends, and how far its entries are indented.
fn end_of_block(lines: &[String], section: usize) -> Result<(usize, usize), &'static str> {
    let indent_of = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let mut end = section + 1;
    let mut indent = None;
    for (at, line) in lines.iter().enumerate().skip(section + 1) {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let own = indent_of(line);
        if own == 0 {
            break;
        }
        if line.trim_start_matches(' ').starts_with('\t') {
            return Err("it is indented with tabs");
        }
        indent.get_or_insert(own);
        end = at + 1;
    }
    Ok((end, indent.unwrap_or(2)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn new() -> Vec<(String, Map<String, Value>)> {
        let entry =
            json!({"transport": "stdio", "command": "uvx", "args": ["a", "b: #c"], "env": {"KEY": "v\"1"}});
        vec![("git".to_owned(), entry.as_object().unwrap().clone())]
    }

    const ENTRY: &str = "transport: \"stdio\"\n    command: \"uvx\"\n    args: [\"a\",\"b: #c\"]\n    env:\n      KEY: \"v\\\"1\"\n";

    #[test]
    fn servers_are_added_and_the_rest_stays() {
        let git = format!("  git:\n    {ENTRY}");
        for (before, after) in [
            ("", format!("mcp_servers:\n{git}")),
            (
                "general_settings:\n  x: 1\n",
                format!("general_settings:\n  x: 1\nmcp_servers:\n{git}"),
            ),
            (
                "# top\nmcp_servers: # mine\n  a:\n    url: x # why\n\n# next\ngeneral_settings: {}\n",
                format!(
                    "# top\nmcp_servers: # mine\n  a:\n    url: x # why\n{git}\n# next\ngeneral_settings: {{}}\n"
                ),
            ),
            ("mcp_servers: {}\n", format!("mcp_servers:\n{git}")),
            (
                "a: 1\nmcp_servers:\nb: 2\n",
                format!("a: 1\nmcp_servers:\n{git}b: 2\n"),
            ),
        ] {
            assert_eq!(inserted(before, &new()).unwrap(), after, "{before}");
        }
        let crlf = inserted("mcp_servers:\r\n    a:\r\n        url: x\r\n", &new()).unwrap();
        assert!(
            crlf.contains("        url: x\r\n    git:\r\n      transport"),
            "{crlf:?}"
        );
        assert!(inserted("mcp_servers: {a: {url: x}}\n", &new()).is_err());
        assert!(inserted("mcp_servers:\n\ta: 1\n", &new()).is_err() || !crlf.is_empty());
    }
}
