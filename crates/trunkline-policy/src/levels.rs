//! The grants of a key and of whom it belongs to, and how they come together: LiteLLM's order, and where it is unclear the
//! narrower reading.

use trunkline_model::key::{ALL_PROXY_MCP_SERVERS, ALL_TEAM_MCP_SERVERS, NO_MCP_SERVERS};
use trunkline_model::{Level, ObjectPermission, Principal, PrincipalKind, Server};

use crate::{Rule, is_named};

/// What each level says. Borrowed: nothing is made for a decision.
pub(crate) struct Grants<'a> {
    /// It needs no grant: an administrator's.
    unrestricted: bool,
    key: Option<&'a ObjectPermission>,
    team: Option<&'a ObjectPermission>,
    user: Option<&'a ObjectPermission>,
    organization: Option<&'a ObjectPermission>,
    end_user: Option<&'a ObjectPermission>,
}

impl<'a> Grants<'a> {
    pub(crate) fn of(principal: &'a Principal) -> Self {
        let end_user = principal.known_end_user().map(|own| &own.object_permission);
        match principal.kind() {
            PrincipalKind::MasterKey => Self {
                unrestricted: true,
                key: None,
                team: None,
                user: None,
                organization: None,
                end_user,
            },
            PrincipalKind::Key(holder) => Self {
                unrestricted: holder.is_unrestricted(),
                key: Some(&holder.key.object_permission),
                team: holder.team.as_ref().map(|team| &team.object_permission),
                user: holder.user.as_ref().map(|user| &user.object_permission),
                organization: holder.organization.as_ref().map(|own| &own.object_permission),
                end_user,
            },
        }
    }

    fn levels(&self) -> impl Iterator<Item = (Level, &'a ObjectPermission)> {
        [
            (Level::Key, self.key),
            (Level::Team, self.team),
            (Level::User, self.user),
            (Level::Organization, self.organization),
            (Level::EndUser, self.end_user),
        ]
        .into_iter()
        .filter_map(|(level, permission)| Some((level, permission?)))
    }

    /// Whether the server may be used; if not, who says so by which rule.
    pub(crate) fn server(&self, server: &Server) -> Result<(), (Level, Rule)> {
        if let Some((level, _)) = self.levels().find(|(_, own)| own.says(NO_MCP_SERVERS)) {
            return Err((level, Rule::NoMcpServers));
        }
        if server.definition.allow_all_keys {
            return Ok(());
        }
        if !self.unrestricted {
            self.key_and_team(server)?;
        }
        for (level, permission) in [
            (Level::User, self.user),
            (Level::Organization, self.organization),
            (Level::EndUser, self.end_user),
        ] {
            if permission.is_some_and(|own| own.has_servers() && !own.lists(server)) {
                return Err((level, Rule::McpServers));
            }
        }
        Ok(())
    }

    /// Whether the lists of the key and of its team have the server. One of both that has none takes the other's; if neither
    /// has any, the organisation's counts, unless the user is limited to what there would have to be.
    fn key_and_team(&self, server: &Server) -> Result<(), (Level, Rule)> {
        let with_servers = |own: Option<&'a ObjectPermission>| own.filter(|own| own.has_servers());
        let team_has = |own: &ObjectPermission| own.says(ALL_PROXY_MCP_SERVERS) || own.lists(server);
        match (with_servers(self.key), with_servers(self.team)) {
            (None, None) => {
                let is_granted =
                    with_servers(self.organization).is_some() && with_servers(self.user).is_none();
                if is_granted {
                    // Whether it has this one is asked next.
                    return Ok(());
                }
                Err((Level::Key, Rule::NothingListed))
            }
            (Some(key), None) if !key.lists(server) => Err((Level::Key, Rule::McpServers)),
            (Some(key), Some(_)) if !key.says(ALL_TEAM_MCP_SERVERS) && !key.lists(server) => {
                Err((Level::Key, Rule::McpServers))
            }
            (_, Some(team)) if !team_has(team) => Err((Level::Team, Rule::McpServers)),
            _ => Ok(()),
        }
    }

    /// Whether the tool may be used of a server that may be; if not, who says so. Everybody who names the server has to name
    /// the tool, also of what is for every key.
    pub(crate) fn tool(&self, server: &Server, tool: &str) -> Result<(), Level> {
        let is_silent = |(_, own): &(Level, &ObjectPermission)| own.mcp_tool_permissions.is_empty();
        if self.levels().all(|level| is_silent(&level)) {
            // Most have none, and the prefix is a text to be made.
            return Ok(());
        }
        let prefix = server.prefix();
        let covers = |own: &ObjectPermission| own.covers_tool(server, |entry| is_named(entry, &prefix, tool));
        match self.levels().find(|(_, own)| !covers(own)) {
            Some((level, _)) => Err(level),
            None => Ok(()),
        }
    }
}
