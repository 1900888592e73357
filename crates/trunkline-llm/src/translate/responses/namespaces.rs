//! Functions in namespaces, as Codex gives the tools of MCP servers: elsewhere they have one name, made of both.

use serde::Deserialize;

/// One name of a function in a namespace.
pub(super) fn flat(namespace: &str, name: &str) -> String {
    format!("{namespace}__{name}")
}

/// The functions of a request that are in namespaces.
#[derive(Debug, Default)]
pub(super) struct Namespaces(Vec<(String, String, String)>);

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    tools: Vec<Tool>,
}

impl Namespaces {
    /// Of what an answer repeats: names and JSON texts.
    pub(super) fn of(repeated: &[(String, String)]) -> Self {
        let tools = repeated.iter().find(|(name, _)| name == "tools");
        // What cannot be read was refused with the request.
        let tools: Vec<Tool> = tools
            .and_then(|(_, json)| serde_json::from_str(json).ok())
            .unwrap_or_default();
        let mut own = Vec::new();
        for tool in tools {
            let Some(namespace) = tool.name.filter(|_| tool.kind.as_deref() == Some("namespace")) else {
                continue;
            };
            let names = tool.tools.into_iter().filter_map(|tool| tool.name);
            own.extend(names.map(|name| (flat(&namespace, &name), namespace.clone(), name)));
        }
        Self(own)
    }

    /// The namespace and the name in it that one name stands for.
    pub(super) fn split<'a>(&'a self, name: &'a str) -> (Option<&'a str>, &'a str) {
        let found = self.0.iter().find(|(flat, ..)| flat == name);
        found.map_or((None, name), |(_, namespace, name)| (Some(namespace), name))
    }
}
