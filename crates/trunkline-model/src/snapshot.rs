//! The registry at one moment. A request reads one snapshot from start to end (tenet 3).

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Server, ServerId};

/// All servers, immutable. Order: by prefix, then by id, so that lists are the same after every restart.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub revision: u64,
    servers: Vec<Arc<Server>>,
    by_id: HashMap<ServerId, usize>,
    by_name: HashMap<String, usize>,
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
        let mut by_name = HashMap::new();
        // Precedence (B17): alias, then name, then prefix, then id; within one, the order of the list.
        let kinds: [fn(&Server) -> Option<String>; 4] = [
            |s| s.definition.alias.clone(),
            |s| s.definition.server_name.clone(),
            |s| Some(s.prefix()),
            |s| Some(s.id.as_str().to_owned()),
        ];
        for kind in kinds {
            for (index, server) in servers.iter().enumerate() {
                if let Some(name) = kind(server) {
                    by_name.entry(name.to_lowercase()).or_insert(index);
                }
            }
        }
        Self {
            revision,
            servers,
            by_id,
            by_name,
        }
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
