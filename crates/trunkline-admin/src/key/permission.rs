//! `object_permission` in a body: which members are served, and what they say.

use std::collections::BTreeMap;

use serde_json::Value;
use trunkline_model::key::{ALL_PROXY_MCP_SERVERS, ALL_TEAM_MCP_SERVERS};
use trunkline_model::{Level, ObjectPermission};

use super::fields::{MAX_ITEMS, Said, later, optional, set, texts, unknown};
use crate::body::{At, Loc};

const PERMISSION: [&str; 4] = [
    "mcp_servers",
    "mcp_access_groups",
    "mcp_tool_permissions",
    "mcp_toolsets",
];
const PERMISSION_LATER: [&str; 8] = [
    "mcp_tool_search_enabled",
    "vector_stores",
    "agents",
    "agent_access_groups",
    "models",
    "blocked_tools",
    "search_tools",
    "skills",
];
/// The words that a list of servers may have at one level only: on others they grant nothing, so nobody is to count on them.
const LEVEL_WORDS: [(&str, Level); 2] = [
    (ALL_PROXY_MCP_SERVERS, Level::Team),
    (ALL_TEAM_MCP_SERVERS, Level::Key),
];

/// Members that are not named stay as they are. Null is nothing granted.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
pub(crate) struct PermissionChange {
    mcp_servers: Option<Vec<String>>,
    mcp_access_groups: Option<Vec<String>>,
    mcp_tool_permissions: Option<BTreeMap<String, Vec<String>>>,
    mcp_toolsets: Option<Vec<String>>,
}

impl PermissionChange {
    /// Reads the field, of a row of a level.
    pub(crate) fn read(value: &Value, level: Level, at: &mut At<'_>) -> Option<Self> {
        if value.is_null() {
            return Some(Self {
                mcp_servers: Some(Vec::new()),
                mcp_access_groups: Some(Vec::new()),
                mcp_tool_permissions: Some(BTreeMap::new()),
                mcp_toolsets: Some(Vec::new()),
            });
        }
        let mut change = Self::default();
        for (name, value) in at.object(value)? {
            at.within(Loc::Name(name.clone()), |at| match name.as_str() {
                "mcp_servers" => {
                    let servers = optional(value, at, |value, at| servers(value, level, at));
                    change.mcp_servers = servers.map(Said::unwrap_or_default);
                }
                "mcp_access_groups" => {
                    change.mcp_access_groups = optional(value, at, texts).map(Said::unwrap_or_default);
                }
                "mcp_tool_permissions" => {
                    change.mcp_tool_permissions = optional(value, at, tools).map(Said::unwrap_or_default);
                }
                "mcp_toolsets" => {
                    change.mcp_toolsets = optional(value, at, texts).map(Said::unwrap_or_default);
                }
                _ if PERMISSION_LATER.contains(&name.as_str()) => later(value, at),
                _ => unknown(name, PERMISSION.into_iter(), at),
            });
        }
        Some(change)
    }

    /// Makes the grants as the body says. `new_id` is for those that have none yet.
    pub(crate) fn apply(self, permission: &mut ObjectPermission, new_id: String) {
        let Self {
            mcp_servers,
            mcp_access_groups,
            mcp_tool_permissions,
            mcp_toolsets,
        } = self;
        permission.id.get_or_insert(new_id);
        set(&mut permission.mcp_servers, mcp_servers);
        set(&mut permission.mcp_access_groups, mcp_access_groups);
        set(&mut permission.mcp_tool_permissions, mcp_tool_permissions);
        set(&mut permission.mcp_toolsets, mcp_toolsets);
    }
}

fn servers(value: &Value, level: Level, at: &mut At<'_>) -> Option<Vec<String>> {
    let servers = texts(value, at)?;
    let is_elsewhere = |name: &String| {
        LEVEL_WORDS
            .iter()
            .any(|(word, own)| name == word && *own != level)
    };
    match servers.iter().position(is_elsewhere) {
        Some(index) => at.within(Loc::Index(index), |at| {
            at.problem(
                "value_error",
                format!(
                    "Value error, {ALL_PROXY_MCP_SERVERS} is a word for teams, {ALL_TEAM_MCP_SERVERS} for keys"
                ),
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
