//! Scope: path and `x-mcp-servers` to a selection of servers, or of the tools of a toolset. It only narrows. Precedence
//! (LiteLLM): path over header over everything; a name is an alias, else a server name, else an id, else an access group (B17).
//! `/{name}/mcp` may name a toolset, too, before a group.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use trunkline_model::{Principal, PrincipalKind, Scope, Server, ServerId, Snapshot, Toolset};
use trunkline_policy::{Action, decide};

use crate::answer;

/// The part of the path that selects servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSelection {
    /// `/mcp`.
    None,
    /// `/mcp/{servers}`.
    Servers(String),
    /// `/{name}/mcp`.
    Named(String),
    /// `/toolset/{name}/mcp`.
    Toolset(String),
}

/// The name in a path. One that is not UTF-8 is nobody's, and whoever asks for it needs a key to hear so.
fn decoded(segment: &str) -> String {
    let bytes = percent_encoding::percent_decode_str(segment);
    bytes.decode_utf8().map_or_else(
        |_| char::REPLACEMENT_CHARACTER.to_string(),
        std::borrow::Cow::into_owned,
    )
}

/// What was selected.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The servers.
    pub scope: Scope,
    /// Names that select nothing; the rest is served and these are reported.
    pub unresolved: Vec<String>,
}

/// Names in one comma-separated selection (LiteLLM's `DEFAULT_MCP_NAMESPACE_CSV_MAX_TOKENS`).
const MAX_NAMES: usize = 16;

impl PathSelection {
    /// The selection of an MCP endpoint's path; `None` for every other path. A final slash changes nothing.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
        let segments = (segments.next(), segments.next(), segments.next(), segments.next());
        match segments {
            (Some("mcp"), Some("enabled"), None, _) => None,
            // Clients that append `/mcp` to whatever they are given mean the endpoint itself.
            (Some("mcp"), None, ..) | (Some("mcp"), Some("mcp"), None, _) => Some(Self::None),
            (Some("mcp"), Some(names), None | Some("mcp"), None) if !names.is_empty() => {
                Some(Self::Servers(decoded(names)))
            }
            (Some("toolset"), Some(name), Some("mcp"), None) if !name.is_empty() => {
                Some(Self::Toolset(decoded(name)))
            }
            (Some(names), Some("mcp"), None, _) if !names.is_empty() => Some(Self::Named(decoded(names))),
            _ => None,
        }
    }

    /// What is selected, as the request writes it.
    pub fn named(&self, headers: &HeaderMap) -> String {
        match self {
            Self::Servers(names) | Self::Named(names) | Self::Toolset(names) => names.clone(),
            Self::None => {
                let value = headers.get("x-mcp-servers");
                let text = value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                text.unwrap_or_default()
            }
        }
    }

    /// What a session is bound to: the same for every spelling of the same selection.
    pub fn route_key(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Servers(names) | Self::Named(names) => names.to_lowercase(),
            // No other selection has a capital letter in it.
            Self::Toolset(name) => format!("T/{}", name.to_lowercase()),
        }
    }
}

/// What a path and `x-mcp-servers` would select; nothing if a request with them would be refused.
pub fn of_request(
    snapshot: &Snapshot,
    principal: &Principal,
    path: Option<&str>,
    named: Option<&str>,
) -> Option<Scope> {
    let path = PathSelection::of_path(path.unwrap_or("/mcp"))?;
    let mut headers = HeaderMap::new();
    if let Some(named) = named {
        headers.insert("x-mcp-servers", named.parse().ok()?);
    }
    let resolved = resolve(snapshot, principal, &path, &headers);
    resolved.ok().map(|selection| selection.scope)
}

/// Resolves a request's selection, or answers 403 or 404 as LiteLLM does. What the principal may not use is not there: a
/// name of it is answered as one that nobody has (B40).
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
pub fn resolve(
    snapshot: &Snapshot,
    principal: &Principal,
    path: &PathSelection,
    headers: &HeaderMap,
) -> Result<Selection, Response> {
    let select = |names: &str, from_path| select((snapshot, principal), names, from_path);
    match path {
        PathSelection::Toolset(name) => {
            toolset(snapshot, principal, name).ok_or_else(|| nothing_of_the_name(name))
        }
        PathSelection::Named(names) => {
            let of_toolset = || {
                let is_server = usable_server(snapshot, principal, names).is_some();
                (!is_server).then(|| toolset(snapshot, principal, names))?
            };
            if let Some(selection) = of_toolset() {
                return Ok(selection);
            }
            let (selection, _) = select(names, true);
            if is_empty(&selection) {
                return Err(nothing_of_the_name(names));
            }
            Ok(selection)
        }
        PathSelection::Servers(names) => all_or_forbidden(select(names, true)),
        PathSelection::None => {
            let Some(value) = headers.get("x-mcp-servers") else {
                return Ok(Selection {
                    scope: Scope::All,
                    unresolved: Vec::new(),
                });
            };
            let names = value
                .to_str()
                .map_err(|_| forbidden(&["(not text)".to_owned()]))?;
            all_or_forbidden(select(names, false))
        }
    }
}

/// The tools of a toolset that the principal was granted, by its id or name. Which of them may be used is decided for each.
pub fn toolset(snapshot: &Snapshot, principal: &Principal, name: &str) -> Option<Selection> {
    let toolset = snapshot.toolsets().find(name)?;
    let is_granted = match principal.kind() {
        PrincipalKind::MasterKey => true,
        PrincipalKind::Key(holder) => holder.has_toolset(toolset),
    };
    is_granted.then(|| of_toolset(snapshot, toolset))
}

fn of_toolset(snapshot: &Snapshot, toolset: &Arc<Toolset>) -> Selection {
    let servers = snapshot.servers().iter();
    let ids = servers
        .filter(|server| toolset.covers(server))
        .map(|server| server.id.clone());
    let mut unresolved: Vec<String> = Vec::new();
    for tool in toolset.tools() {
        if snapshot.find(&tool.server_id).is_none() && !unresolved.contains(&tool.server_id) {
            unresolved.push(tool.server_id.clone());
        }
    }
    Selection {
        scope: Scope::Toolset {
            ids: ids.collect(),
            toolset: toolset.clone(),
        },
        unresolved,
    }
}

fn nothing_of_the_name(name: &str) -> Response {
    let text = format!("MCP server, toolset, or access group '{}' not found", shown(name));
    answer::not_found(&text)
}

fn is_empty(selection: &Selection) -> bool {
    matches!(&selection.scope, Scope::Servers { ids, .. } if ids.is_empty())
}

#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn all_or_forbidden((selection, _): (Selection, usize)) -> Result<Selection, Response> {
    if selection.unresolved.is_empty() {
        Ok(selection)
    } else {
        Err(forbidden(&selection.unresolved))
    }
}

fn forbidden(names: &[String]) -> Response {
    let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
    let text = format!(
        "The key is not allowed to access the requested MCP servers: {}",
        names.join(", ")
    );
    answer::detail(StatusCode::FORBIDDEN, &text)
}

/// A client's name as it may stand in an answer.
fn shown(name: &str) -> String {
    trunkline_upstream::fault::printable(name)
}

/// The servers that a comma-separated list names, in the registry's order; and how many names there were.
fn select(
    (snapshot, principal): (&Snapshot, &Principal),
    names: &str,
    from_path: bool,
) -> (Selection, usize) {
    let mut wanted: Vec<ServerId> = Vec::new();
    let mut unresolved = Vec::new();
    let mut by_server_name = false;
    let names: Vec<&str> = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    for (index, name) in names.iter().enumerate() {
        let found = if index < MAX_NAMES {
            servers_of((snapshot, principal), name)
        } else {
            (Vec::new(), false)
        };
        if found.0.is_empty() {
            unresolved.push((*name).to_owned());
        }
        by_server_name = found.1;
        wanted.extend(found.0);
    }
    let ids: Vec<ServerId> = snapshot
        .servers()
        .iter()
        .filter(|server| wanted.contains(&server.id))
        .map(|server| server.id.clone())
        .collect();
    let single = from_path && names.len() == 1 && by_server_name && ids.len() == 1;
    (
        Selection {
            scope: Scope::Servers { ids, single },
            unresolved,
        },
        names.len(),
    )
}

/// The servers of one name that may be used, and whether it is a server's own name rather than a group's.
fn servers_of((snapshot, principal): (&Snapshot, &Principal), name: &str) -> (Vec<ServerId>, bool) {
    if let Some(server) = usable_server(snapshot, principal, name) {
        return (vec![server.id.clone()], true);
    }
    let members = snapshot
        .access_group(name)
        .filter(|server| is_usable(principal, server));
    (members.map(|server| server.id.clone()).collect(), false)
}

fn usable_server<'s>(snapshot: &'s Snapshot, principal: &Principal, name: &str) -> Option<&'s Arc<Server>> {
    snapshot.find(name).filter(|server| is_usable(principal, server))
}

fn is_usable(principal: &Principal, server: &Server) -> bool {
    decide(principal, &Scope::All, Action::UseServer, server).is_allow()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_model::{Approval, Origin, Server, ServerDefinition, Stamps};

    use super::*;

    fn server(id: &str, alias: &str, groups: &[&str]) -> Arc<Server> {
        Arc::new(Server {
            id: ServerId::new(id),
            origin: Origin::File,
            definition: ServerDefinition {
                alias: Some(alias.into()),
                mcp_access_groups: groups.iter().map(|g| (*g).to_owned()).collect(),
                ..ServerDefinition::default()
            },
            approval: Approval::default(),
            stamps: Stamps::default(),
            defect: None,
        })
    }

    fn ids(snapshot: &Snapshot, path: &PathSelection, header: Option<&str>) -> Result<Vec<String>, u16> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-mcp-servers", value.parse().unwrap());
        }
        let selection = resolve(snapshot, &Principal::from_master_key(), path, &headers)
            .map_err(|answer| answer.status().as_u16())?;
        Ok(match selection.scope {
            Scope::All => vec!["*".into()],
            Scope::Servers { ids, .. } | Scope::Toolset { ids, .. } => {
                ids.iter().map(|id| id.as_str().to_owned()).collect()
            }
        })
    }

    #[test]
    fn paths_of_mcp_endpoints() {
        let named = |name: &str| Some(PathSelection::Named(name.to_owned()));
        let servers = |names: &str| Some(PathSelection::Servers(names.to_owned()));
        for path in ["/mcp", "/mcp/", "/mcp/mcp", "/mcp/mcp/"] {
            assert_eq!(PathSelection::of_path(path), Some(PathSelection::None), "{path}");
        }
        assert_eq!(PathSelection::of_path("/github/mcp"), named("github"));
        assert_eq!(PathSelection::of_path("/a,b/mcp/"), named("a,b"));
        assert_eq!(PathSelection::of_path("/my%20server/mcp"), named("my server"));
        assert_eq!(PathSelection::of_path("/a%2Fb/mcp"), named("a/b"));
        assert_eq!(PathSelection::of_path("/%ff/mcp"), named("\u{fffd}"));
        assert_eq!(PathSelection::of_path("/mcp/a,b"), servers("a,b"));
        assert_eq!(PathSelection::of_path("/mcp/a/mcp"), servers("a"));
        let toolset = |name: &str| Some(PathSelection::Toolset(name.to_owned()));
        assert_eq!(PathSelection::of_path("/toolset/a,b/mcp/"), toolset("a,b"));
        assert_eq!(PathSelection::of_path("/toolset/my%20set/mcp"), toolset("my set"));
        assert_eq!(PathSelection::of_path("/toolset/mcp/mcp"), toolset("mcp"));
        assert_eq!(PathSelection::of_path("/toolset/mcp"), named("toolset"));
        for path in [
            "",
            "/",
            "mcp",
            "//mcp",
            "/mcp//",
            "/mcp/enabled",
            "/a/b/mcp",
            "/toolset",
            "/toolset/a",
            "/toolset//mcp",
            "/toolset/a/mcp/b",
            "/toolset/a/b/mcp",
            "/mcp/a/b",
            "/mcp/a/mcp/b",
            "/MCP",
        ] {
            assert_eq!(PathSelection::of_path(path), None, "{path}");
        }
    }

    #[test]
    fn b17_names_groups_and_nothing_is_never_everything() {
        // `team1` is a server's alias and a group of the two others: the alias wins.
        let snapshot = Snapshot::new(
            1,
            vec![
                server("1", "team1", &[]),
                server("2", "b", &["team1", "g"]),
                server("3", "c", &["team1", "g"]),
            ],
        );
        let named = |name: &str| PathSelection::Named(name.into());
        assert_eq!(ids(&snapshot, &named("team1"), None), Ok(vec!["1".into()]));
        assert_eq!(ids(&snapshot, &named("TEAM1"), None), Ok(vec!["1".into()]));
        assert_eq!(
            ids(&snapshot, &named("g"), None),
            Ok(vec!["2".into(), "3".into()])
        );
        assert_eq!(
            ids(&snapshot, &named("c,b,nope"), None),
            Ok(vec!["2".into(), "3".into()])
        );
        assert_eq!(ids(&snapshot, &named("nope"), None), Err(404));
        assert_eq!(
            ids(&snapshot, &PathSelection::Servers("nope".into()), None),
            Err(403)
        );
        assert_eq!(
            ids(&snapshot, &PathSelection::None, Some("b, 3")),
            Ok(vec!["2".into(), "3".into()])
        );
        assert_eq!(ids(&snapshot, &PathSelection::None, Some("b,nope")), Err(403));
        assert_eq!(ids(&snapshot, &PathSelection::None, Some("")), Ok(vec![]));
        assert_eq!(ids(&snapshot, &PathSelection::None, None), Ok(vec!["*".into()]));
        // The path beats the header.
        assert_eq!(ids(&snapshot, &named("b"), Some("c")), Ok(vec!["2".into()]));
    }
}
