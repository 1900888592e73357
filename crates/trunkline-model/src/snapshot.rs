//! The registry at one moment. A request reads one snapshot from start to end (tenet 3).

use std::sync::Arc;

use crate::{KeyMap, Origin, Server, ServerId, Toolsets};

/// All servers and toolsets, immutable. Order: by prefix, then by id, so that lists are the same after every restart.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub revision: u64,
    servers: Vec<Arc<Server>>,
    /// Their prefixes, in the same order.
    prefixes: Vec<Box<str>>,
    /// Positions of those whose tools may have names that do not begin with their prefix.
    named_otherwise: Vec<usize>,
    by_id: KeyMap<ServerId, usize>,
    by_name: KeyMap<String, usize>,
    toolsets: Arc<Toolsets>,
}

impl Snapshot {
    /// Builds the indexes. When two servers claim one name, the one from the file wins, else the lower id (B35);
    /// registration refuses such names, so this is a net, not a rule.
    pub fn new(revision: u64, servers: Vec<Arc<Server>>) -> Self {
        let mut servers: Vec<_> = servers.into_iter().map(|own| (own.prefix(), own)).collect();
        servers.sort_by(|(a, own), (b, other)| a.cmp(b).then_with(|| own.id.cmp(&other.id)));
        let (prefixes, servers): (Vec<String>, Vec<Arc<Server>>) = servers.into_iter().unzip();
        let named_otherwise = (0..servers.len())
            .filter(|at| names_otherwise(&prefixes[*at], &servers[*at]))
            .collect();
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
            prefixes: prefixes.into_iter().map(String::into_boxed_str).collect(),
            named_otherwise,
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

    /// The servers whose prefix begins with a text, in order, each with its prefix.
    pub fn beginning_with<'s, 't>(
        &'s self,
        text: &'t str,
    ) -> impl Iterator<Item = (&'s str, &'s Arc<Server>)> + use<'s, 't> {
        let first = self.prefixes.partition_point(|own| &**own < text);
        let all = self.prefixes[first..].iter().zip(&self.servers[first..]);
        all.map(|(own, server)| (&**own, server))
            .take_while(move |(own, _)| own.starts_with(text))
    }

    /// The servers, in order, that a name could be the exposed one of a tool or prompt of: with any number of servers only a few are to be
    /// looked at. Whether one of them has it is another question.
    pub fn may_expose(&self, name: &str) -> impl Iterator<Item = &Arc<Server>> {
        let mut places = self.named_otherwise.clone();
        let ends = name.bytes().enumerate().filter(|(_, byte)| *byte == b'-');
        for (end, _) in ends.take_while(|(end, _)| *end <= LONGEST_PREFIX) {
            let prefix = &name[..end];
            let first = self.prefixes.partition_point(|own| &**own < prefix);
            let same = self.prefixes[first..].iter().take_while(|own| &***own == prefix);
            places.extend(first..first + same.count());
        }
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|at| self.servers.get(at))
    }

    /// The servers of an access group, in order.
    pub fn access_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Arc<Server>> {
        self.servers
            .iter()
            .filter(move |server| server.definition.mcp_access_groups.iter().any(|g| g == group))
    }
}

/// Bytes of the longest prefix with which every exposed name of a server begins: names that are too long are cut behind it.
const LONGEST_PREFIX: usize = 48;

/// Whether exposed names of the server may begin with something else than its prefix: chosen ones do, and characters that clients do not take
/// are replaced.
fn names_otherwise(prefix: &str, server: &Server) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !server.definition.tool_name_to_display_name.is_empty()
        || prefix.len() > LONGEST_PREFIX
        || !prefix.bytes().all(is_plain)
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

    #[test]
    fn few_of_many_servers_are_looked_at_for_a_name() {
        let mut servers: Vec<_> = (0..5_000)
            .map(|number| {
                server(
                    &format!("id-{number}"),
                    Origin::Database,
                    &format!("s{number}"),
                    None,
                )
            })
            .collect();
        servers.push(server("inner", Origin::File, "s17-x", None));
        servers.push(server("odd", Origin::File, "ö", None));
        let snapshot = Snapshot::new(1, servers);
        let of = |name: &str| -> Vec<&str> { snapshot.may_expose(name).map(|own| own.id.as_str()).collect() };
        assert_eq!(of("s17-echo"), ["id-17", "odd"]);
        assert_eq!(of("s17-x-echo"), ["id-17", "inner", "odd"]);
        assert_eq!(of("s17"), ["odd"]);
        assert_eq!(of(""), ["odd"]);
    }
}
