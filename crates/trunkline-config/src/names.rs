//! Names of servers against each other: aliases of `litellm_settings`, and collisions (B35).

use std::collections::HashMap;

use trunkline_model::naming::check_server_name;

use crate::error::{Report, join};
use crate::section::suggestion;
use crate::servers::Declared;
use crate::tree::{At, Node, Value};

/// One entry of `litellm_settings.mcp_aliases`.
pub(crate) struct Alias {
    pub(crate) at: At,
    pub(crate) name: String,
    pub(crate) server_name: String,
}

const PATH: &str = "litellm_settings.mcp_aliases";

/// Reads `mcp_aliases: {alias: server_name}`; references are resolved already.
pub(crate) fn aliases(node: &Node, report: &mut Report) -> Vec<Alias> {
    let Value::Map(entries) = &node.value else {
        if !node.is_absent() {
            report.error(
                node.at,
                format!(
                    "{PATH} must be a mapping from alias to server name, not {}",
                    node.kind()
                ),
            );
        }
        return Vec::new();
    };
    let mut aliases = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Err(error) = check_server_name(&entry.key) {
            report.error(entry.at, format!("{PATH}: {error}"));
        }
        match &entry.node.value {
            Value::Text(name) => {
                aliases.push(Alias {
                    at: entry.at,
                    name: entry.key.trim().to_owned(),
                    server_name: name.trim().to_owned(),
                });
            }
            _ => report.error(
                entry.node.at,
                format!("{} must be the name of a server", join(PATH, &entry.key)),
            ),
        }
    }
    aliases
}

/// Gives each server without an alias the first one that names it, as LiteLLM does; says which have no effect.
pub(crate) fn apply(aliases: Vec<Alias>, servers: &mut [Declared], report: &mut Report) {
    let mut given: Vec<bool> = vec![false; servers.len()];
    for Alias {
        at,
        name: alias,
        server_name,
    } in aliases
    {
        let field = join(PATH, &alias);
        let is_named = |declared: &Declared| {
            declared.server.definition.server_name.as_deref() == Some(server_name.as_str())
        };
        let Some(index) = servers.iter().position(is_named) else {
            let names = servers
                .iter()
                .filter_map(|declared| declared.server.definition.server_name.as_deref());
            let hint = suggestion(&server_name, names);
            report.warn(
                at,
                field,
                format!("has no effect: mcp_servers has no entry of that name{hint}"),
            );
            continue;
        };
        let definition = &mut servers[index].server.definition;
        if definition.alias.is_none() {
            definition.alias = Some(alias);
            servers[index].alias_at = at;
            given[index] = true;
        } else if given[index] {
            report.warn(
                at,
                field,
                "has no effect: the server has got an alias from an entry above.",
            );
        } else {
            report.warn(at, field, "has no effect: the server has an `alias` of its own.");
        }
    }
}

/// Two servers must not answer to one name, whatever its case: grants, routes and prefixes would hit either.
pub(crate) fn check_collisions(servers: &[Declared], report: &mut Report) {
    let mut taken: HashMap<String, (usize, &'static str, At)> = HashMap::new();
    for (index, declared) in servers.iter().enumerate() {
        let definition = &declared.server.definition;
        let name = definition.server_name.as_deref().unwrap_or_default();
        let labels = [
            ("name", name, declared.name_at),
            (
                "alias",
                definition.alias.as_deref().unwrap_or_default(),
                declared.alias_at,
            ),
            ("server_id", declared.server.id.as_str(), declared.id_at),
        ];
        for (what, label, at) in labels {
            // Blanks become `_` in prefixes, so they count as the same.
            let key = label.replace(char::is_whitespace, "_").to_lowercase();
            if key.is_empty() {
                continue;
            }
            match taken.get(&key) {
                Some((other, other_what, other_at)) if *other != index => {
                    // The same key twice was said when the file was read.
                    let other = servers[*other]
                        .server
                        .definition
                        .server_name
                        .as_deref()
                        .unwrap_or_default();
                    if other == name {
                        continue;
                    }
                    report.error(
                        at,
                        format!("mcp_servers.{name}: its {what} is the same as the {other_what} of mcp_servers.{other} in line {} (upper and lower case do not count); choose another", other_at.line),
                    );
                }
                Some(_) => {}
                None => {
                    taken.insert(key, (index, what, at));
                }
            }
        }
    }
}
