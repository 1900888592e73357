//! Toolsets: named lists of tools of several servers. A key can be granted one, and a URL can be for one.

use std::collections::HashSet;
use std::sync::Arc;

use crate::key::is_granted_as;
use crate::{KeyMap, Server, Stamps};

/// A toolset as it is stored: LiteLLM's `LiteLLM_MCPToolsetTable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolset {
    /// LiteLLM's `toolset_id`: never changes.
    pub id: String,
    /// LiteLLM's `toolset_name`: unique, ignoring case.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    tools: Vec<ToolsetTool>,
    /// The same, by server as it is named in there.
    by_server: Vec<(String, HashSet<String>)>,
    /// Who and when.
    pub stamps: Stamps,
    /// What of its row cannot be read. Such a toolset is nobody's.
    pub defect: Option<String>,
}

/// One tool of a toolset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolsetTool {
    /// Its server, by id, name or alias.
    pub server_id: String,
    /// Its own name, or the one it is exposed under.
    pub tool_name: String,
}

impl Toolset {
    /// A toolset without a description.
    pub fn new(id: String, name: String, tools: Vec<ToolsetTool>) -> Self {
        Self {
            id,
            name,
            description: None,
            by_server: by_server(&tools),
            tools,
            stamps: Stamps::default(),
            defect: None,
        }
    }

    /// Its tools, as they were written.
    pub fn tools(&self) -> &[ToolsetTool] {
        &self.tools
    }

    /// Puts others in their place.
    pub fn set_tools(&mut self, tools: Vec<ToolsetTool>) {
        self.by_server = by_server(&tools);
        self.tools = tools;
    }

    /// Whether any tool of the server may be in it.
    pub fn covers(&self, server: &Server) -> bool {
        self.by_server.iter().any(|(name, _)| is_granted_as(server, name))
    }

    /// Whether a tool, by the server's own name for it, is in it.
    pub fn covers_tool(&self, server: &Server, tool: &str) -> bool {
        let own = || {
            let of = self.by_server.iter();
            of.filter(|(name, _)| is_granted_as(server, name))
        };
        // Most entries have the own name; the exposed one is a text to be made.
        own().any(|(_, tools)| tools.contains(tool))
            || own().next().is_some() && {
                let exposed = format!("{}-{tool}", server.prefix());
                own().any(|(_, tools)| tools.contains(&exposed))
            }
    }
}

fn by_server(tools: &[ToolsetTool]) -> Vec<(String, HashSet<String>)> {
    let mut all: Vec<(String, HashSet<String>)> = Vec::new();
    for tool in tools {
        match all.iter_mut().find(|(server, _)| *server == tool.server_id) {
            Some((_, own)) => {
                own.insert(tool.tool_name.clone());
            }
            None => all.push((tool.server_id.clone(), HashSet::from([tool.tool_name.clone()]))),
        }
    }
    all
}

/// All toolsets at one moment, immutable. Order: by name, then by id.
#[derive(Debug, Default, PartialEq)]
pub struct Toolsets {
    all: Vec<Arc<Toolset>>,
    by_id: KeyMap<String, usize>,
    by_name: KeyMap<String, usize>,
}

impl Toolsets {
    /// Builds the indexes. Where two have one name, the lower id has it; writing refuses such names, so this is a net, not a rule.
    pub fn new(mut all: Vec<Arc<Toolset>>) -> Self {
        all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        let by_id = all.iter().enumerate().map(|(index, own)| (own.id.clone(), index));
        let mut by_name: KeyMap<String, usize> = KeyMap::default();
        for (index, own) in all.iter().enumerate() {
            let has = by_name.entry(own.name.to_lowercase()).or_insert(index);
            if own.id < all[*has].id {
                *has = index;
            }
        }
        Self {
            by_id: by_id.collect(),
            by_name,
            all,
        }
    }

    /// All of them, also those that cannot be read as a whole.
    pub fn all(&self) -> &[Arc<Toolset>] {
        &self.all
    }

    /// By id, also one that cannot be read as a whole.
    pub fn get(&self, id: &str) -> Option<&Arc<Toolset>> {
        self.by_id.get(id).and_then(|index| self.all.get(*index))
    }

    /// The one that a grant or a URL means: by id, or else by name, ignoring case. One that cannot be read as a whole is
    /// meant by nobody.
    pub fn find(&self, name: &str) -> Option<&Arc<Toolset>> {
        let named = || {
            let index = self.by_name.get(&name.to_lowercase())?;
            self.all.get(*index)
        };
        self.get(name).or_else(named).filter(|own| own.defect.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolset(id: &str, name: &str) -> Arc<Toolset> {
        Arc::new(Toolset::new(id.to_owned(), name.to_owned(), Vec::new()))
    }

    #[test]
    fn one_is_meant_by_id_or_by_name() {
        let broken = Toolset {
            defect: Some("x".into()),
            ..Toolset::clone(&toolset("3", "broken"))
        };
        let all = Toolsets::new(vec![
            toolset("2", "CI"),
            toolset("1", "Ci"),
            // Its name is the id of another one.
            toolset("4", "2"),
            Arc::new(broken),
        ]);
        let found = |name: &str| all.find(name).map(|own| own.id.as_str());
        assert_eq!(found("1"), Some("1"));
        assert_eq!(found("2"), Some("2"));
        assert_eq!(found("ci"), Some("1"));
        assert_eq!((found("c"), found("")), (None, None));
        assert_eq!((found("3"), found("broken")), (None, None));
        assert!(all.get("3").is_some());
        assert_eq!(all.all().len(), 4);
    }
}
