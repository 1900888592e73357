//! `object_permission` in a body: which members are served, and what they say.

use std::collections::BTreeMap;

use serde_json::Value;
use trunkline_model::ObjectPermission;

use super::fields::{MAX_ITEMS, Said, later, optional, set, texts, unknown};
use crate::body::{At, Loc};

const PERMISSION: [&str; 3] = ["mcp_servers", "mcp_access_groups", "mcp_tool_permissions"];
const PERMISSION_LATER: [&str; 9] = [
    "mcp_toolsets",
    "mcp_tool_search_enabled",
    "vector_stores",
    "agents",
    "agent_access_groups",
    "models",
    "blocked_tools",
    "search_tools",
    "skills",
];
/// In LiteLLM's lists of servers, and of teams: they grant nothing here, so nobody is to count on them.
const TEAM_WORDS: [&str; 2] = ["all-proxy-mcpservers", "all-team-mcpservers"];

/// Members that are not named stay as they are. Null is nothing granted.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
pub(super) struct PermissionChange {
    mcp_servers: Option<Vec<String>>,
    mcp_access_groups: Option<Vec<String>>,
    mcp_tool_permissions: Option<BTreeMap<String, Vec<String>>>,
}

impl PermissionChange {
    /// Reads the field.
    pub(super) fn read(value: &Value, at: &mut At<'_>) -> Option<Self> {
        if value.is_null() {
            return Some(Self {
                mcp_servers: Some(Vec::new()),
                mcp_access_groups: Some(Vec::new()),
                mcp_tool_permissions: Some(BTreeMap::new()),
            });
        }
        let mut change = Self::default();
        for (name, value) in at.object(value)? {
            at.within(Loc::Name(name.clone()), |at| match name.as_str() {
                "mcp_servers" => {
                    change.mcp_servers = optional(value, at, servers).map(Said::unwrap_or_default);
                }
                "mcp_access_groups" => {
                    change.mcp_access_groups = optional(value, at, texts).map(Said::unwrap_or_default);
                }
                "mcp_tool_permissions" => {
                    change.mcp_tool_permissions = optional(value, at, tools).map(Said::unwrap_or_default);
                }
                _ if PERMISSION_LATER.contains(&name.as_str()) => later(value, at),
                _ => unknown(name, PERMISSION.into_iter(), at),
            });
        }
        Some(change)
    }

    /// Makes the grants as the body says. `new_id` is for those that have none yet.
    pub(super) fn apply(self, permission: &mut ObjectPermission, new_id: String) {
        let Self {
            mcp_servers,
            mcp_access_groups,
            mcp_tool_permissions,
        } = self;
        permission.id.get_or_insert(new_id);
        set(&mut permission.mcp_servers, mcp_servers);
        set(&mut permission.mcp_access_groups, mcp_access_groups);
        set(&mut permission.mcp_tool_permissions, mcp_tool_permissions);
    }
}

fn servers(value: &Value, at: &mut At<'_>) -> Option<Vec<String>> {
    let servers = texts(value, at)?;
    let word = servers
        .iter()
        .position(|name| TEAM_WORDS.contains(&name.as_str()));
    match word {
        Some(index) => at.within(Loc::Index(index), |at| {
            at.problem(
                "value_error",
                "Value error, this word is about teams, which are not supported yet",
            )
        }),
        None => Some(servers),
    }
}

fn tools(value: &Value, at: &mut At<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let object = at.object(value)?;
    if object.len() > MAX_ITEMS {
        return at.problem(
            "too_long",
            format!("Dictionary should have at most {MAX_ITEMS} items"),
        );
    }
    let read: BTreeMap<String, Vec<String>> = object
        .iter()
        .filter_map(|(server, list)| {
            at.within(Loc::Name(server.clone()), |at| {
                Some((server.clone(), texts(list, at)?))
            })
        })
        .collect();
    (read.len() == object.len()).then_some(read)
}
