//! The registry at one moment. A request reads one snapshot from start to end (tenet 3).

use std::sync::Arc;

use crate::{KeyMap, Origin, Server, ServerId, Toolsets};

/// All servers and toolsets, immutable. Order: by prefix, then by id, so that lists are the same after every restart.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub revision: u64,
    servers: Vec<Arc<Server>>,
    by_id: KeyMap<ServerId, usize>,
    by_name: KeyMap<String, usize>,
    toolsets: Arc<Toolsets>,
}

impl Snapshot {
    /// Builds the indexes. When two servers claim one name, the one from the file wins, else the lower id (B35);
    /// registration refuses such names, so this is a net, not a rule.
    pub fn new(revision: u64, mut servers: Vec<Arc<Server>>) -> Self {
        servers.sort_by(|a, b| a.prefix().cmp(&b.prefix()).then_with(|| a.id.cmp(&b.id)));
        let by_id = servers
            .iter()
            .enumerate()
            .map(|(index, server)| (server.id.clone(), index))
            .collect();
        let mut by_name = KeyMap::default();
        // Precedence (B17): alias, then name, then prefix, then id; within one, the order of the list.
        let kinds: [fn(&Server) -> Option<String>; 4] = [
            |s| s.definition.alias.clone(),
            |s| s.definition.server_name.clone(),
            |s| Some(s.prefix()),
            |s| Some(s.id.as_str().to_owned()),
        ];
        // The file's first, then the sound ones of the database: no row of the database takes a name from the file.
        let rank = |s: &Server| (s.origin != Origin::File, s.defect.is_some());
        let mut order: Vec<_> = servers.iter().enumerate().collect();
        order.sort_by_key(|(_, server)| rank(server));
        for group in order.chunk_by(|(_, a), (_, b)| rank(a) == rank(b)) {
            for kind in kinds {
                for (index, server) in group {
                    if let Some(name) = kind(server) {
                        by_name.entry(name.to_lowercase()).or_insert(*index);
                    }
                }
            }
        }
        Self {
            revision,
            servers,
            by_id,
            by_name,
            toolsets: Arc::default(),
        }
    }

    /// The same with these toolsets.
    #[must_use]
    pub fn with_toolsets(self, toolsets: Arc<Toolsets>) -> Self {
        Self { toolsets, ..self }
    }

    /// All toolsets.
    pub fn toolsets(&self) -> &Arc<Toolsets> {
        &self.toolsets
    }

    /// All servers, active or not, in order.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// By id.
    pub fn get(&self, id: &ServerId) -> Option<&Arc<Server>> {
        self.by_id.get(id).and_then(|index| self.servers.get(*index))
    }

    /// By alias, name, prefix or id, ignoring case.
    pub fn find(&self, name: &str) -> Option<&Arc<Server>> {
        self.by_name
            .get(&name.to_lowercase())
            .and_then(|index| self.servers.get(*index))
    }

    /// The servers of an access group, in order.
    pub fn access_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Arc<Server>> {
        self.servers
            .iter()
            .filter(move |server| server.definition.mcp_access_groups.iter().any(|g| g == group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Approval, ServerDefinition, Stamps};

    fn server(id: &str, origin: Origin, name: &str, alias: Option<&str>) -> Arc<Server> {
        Arc::new(Server {
            id: ServerId::new(id),
            origin,
            definition: ServerDefinition {
                server_name: Some(name.to_owned()),
                alias: alias.map(str::to_owned),
                ..ServerDefinition::default()
            },
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        })
    }

    #[test]
    fn b35_the_file_has_the_name() {
        let snapshot = Snapshot::new(
            1,
            vec![
                server("0", Origin::Database, "other", Some("GitHub")),
                server("9", Origin::File, "github", None),
            ],
        );
        assert_eq!(snapshot.find("GITHUB").unwrap().id.as_str(), "9");
        assert_eq!(snapshot.find("other").unwrap().id.as_str(), "0");
    }
}
