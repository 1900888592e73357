//! Whom a client's `x-mcp-{name}-{header}` is for. What is in such a header is often a credential, so it goes to the
//! servers that the name means and to no other (S16): where two readings are possible, the closer one counts, and
//! where two servers are equally close, neither gets it.

use trunkline_model::{Server, ServerId, Snapshot};

/// How close a spelling is to what the server is called. The order is the precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// The alias or name itself, in lower case.
    Exact,
    /// With `_` for what some clients cannot write in a header's name.
    Plain,
    /// With `_` for `-` as well, as LiteLLM's own clients write it.
    Underscored,
    /// Not the server's name but its access group's: meant for several.
    Group,
}

/// The servers that `x-mcp-{rest}` addresses, and which header they are to get. The longest known name wins, so that an
/// alias with `-` is reachable.
pub(crate) fn addressees<'h>(snapshot: &Snapshot, rest: &'h str) -> Option<(Vec<ServerId>, &'h str)> {
    let mut best: Option<(usize, Closeness)> = None;
    let mut found: Vec<&ServerId> = Vec::new();
    for server in snapshot.servers() {
        for (name, closeness) in names_of(server) {
            let Some(header) = rest
                .strip_prefix(name.as_str())
                .and_then(|rest| rest.strip_prefix('-'))
            else {
                continue;
            };
            if header.is_empty() {
                continue;
            }
            let better = best.is_none_or(|(length, than)| {
                name.len() > length || (name.len() == length && closeness < than)
            });
            if better {
                best = Some((name.len(), closeness));
                found.clear();
            }
            if best == Some((name.len(), closeness)) && !found.contains(&&server.id) {
                found.push(&server.id);
            }
        }
    }
    let (length, closeness) = best?;
    if closeness != Closeness::Group && found.len() > 1 {
        tracing::debug!(
            name = &rest[..length],
            "a client's header could be for several servers; none gets it"
        );
        return None;
    }
    Some((found.into_iter().cloned().collect(), &rest[length + 1..]))
}

/// The spellings of a server's names, as they can stand in a header's name.
fn names_of(server: &Server) -> Vec<(String, Closeness)> {
    let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
    let definition = &server.definition;
    let prefix = server.prefix();
    let own = [
        definition.alias.as_deref(),
        definition.server_name.as_deref(),
        Some(&*prefix),
    ];
    let mut names = Vec::with_capacity(8);
    for name in own.into_iter().flatten().filter(|name| !name.is_empty()) {
        let name = name.to_lowercase();
        let as_plain = plain(&name);
        names.push((as_plain.replace('-', "_"), Closeness::Underscored));
        names.push((as_plain, Closeness::Plain));
        names.push((name, Closeness::Exact));
    }
    for group in &definition.mcp_access_groups {
        let group = plain(&group.to_lowercase());
        names.push((group.replace('-', "_"), Closeness::Group));
        names.push((group, Closeness::Group));
    }
    names
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_model::{Approval, Origin, ServerDefinition, Stamps};

    use super::*;

    fn server(alias: &str, groups: &[&str]) -> Arc<Server> {
        Arc::new(Server {
            id: ServerId::new(alias),
            origin: Origin::File,
            definition: ServerDefinition {
                alias: Some(alias.into()),
                mcp_access_groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                ..ServerDefinition::default()
            },
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        })
    }

    fn who(snapshot: &Snapshot, rest: &str) -> Option<(Vec<String>, String)> {
        let (ids, header) = addressees(snapshot, rest)?;
        let mut ids: Vec<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
        ids.sort();
        Some((ids, header.to_owned()))
    }

    fn one(id: &str, header: &str) -> (Vec<String>, String) {
        (vec![id.to_owned()], header.to_owned())
    }

    #[test]
    fn s16_the_closest_name_and_no_other() {
        let servers = ["a", "a-b", "a_b", "A.B", "My Server"].map(|alias| server(alias, &[]));
        let snapshot = Snapshot::new(1, servers.to_vec());
        assert_eq!(who(&snapshot, "a-authorization"), Some(one("a", "authorization")));
        assert_eq!(
            who(&snapshot, "a-b-authorization"),
            Some(one("a-b", "authorization"))
        );
        assert_eq!(
            who(&snapshot, "a_b-authorization"),
            Some(one("a_b", "authorization"))
        );
        assert_eq!(
            who(&snapshot, "a.b-authorization"),
            Some(one("A.B", "authorization"))
        );
        assert_eq!(who(&snapshot, "my_server-x-key"), Some(one("My Server", "x-key")));
        assert_eq!(who(&snapshot, "a-"), None);
        assert_eq!(who(&snapshot, "c-authorization"), None);
    }

    #[test]
    fn s16_what_could_be_for_two_is_for_none() {
        let snapshot = Snapshot::new(1, vec![server("a.b", &[]), server("a~b", &[])]);
        assert_eq!(who(&snapshot, "a_b-authorization"), None);
        let snapshot = Snapshot::new(
            1,
            vec![
                server("x", &["team-1"]),
                server("y", &["team-1"]),
                server("z", &[]),
            ],
        );
        let both = Some((vec!["x".to_owned(), "y".to_owned()], "authorization".to_owned()));
        assert_eq!(who(&snapshot, "team-1-authorization"), both);
        assert_eq!(who(&snapshot, "team_1-authorization"), both);
    }
}
