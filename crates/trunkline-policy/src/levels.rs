//! The grants of a key and of whom it belongs to, and how they come together: LiteLLM's order, and where it is unclear the
//! narrower reading. A key has what it was given itself; whom it belongs to takes away.

use trunkline_model::key::{ALL_PROXY_MCP_SERVERS, ALL_TEAM_MCP_SERVERS, NO_MCP_SERVERS, Part};
use trunkline_model::{Holder, Level, ObjectPermission, Principal, PrincipalKind, Server};

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

/// The same, owned, to be changed: for the question what would have to be another.
pub(crate) struct Supposed<'a> {
    /// Whose they are; nobody's are the master key's.
    holder: Option<&'a Holder>,
    levels: Vec<(Level, ObjectPermission)>,
}

impl<'a> Supposed<'a> {
    pub(crate) fn of(principal: &'a Principal) -> Self {
        let grants = Grants::of(principal);
        let levels = grants.levels();
        Self {
            holder: principal.holder(),
            levels: levels.map(|(level, own)| (level, own.clone())).collect(),
        }
    }

    pub(crate) fn of_level(&mut self, level: Level) -> Option<&mut ObjectPermission> {
        let mut levels = self.levels.iter_mut();
        levels
            .find(|(own, _)| *own == level)
            .map(|(_, permission)| permission)
    }

    pub(crate) fn grants(&self) -> Grants<'_> {
        let of = |level| {
            let mut levels = self.levels.iter();
            levels
                .find(|(own, _)| *own == level)
                .map(|(_, permission)| permission)
        };
        Grants {
            unrestricted: self
                .holder
                .is_none_or(|holder| holder.is_unrestricted_with(of(Level::Key), of(Level::User))),
            key: of(Level::Key),
            team: of(Level::Team),
            user: of(Level::User),
            organization: of(Level::Organization),
            end_user: of(Level::EndUser),
        }
    }
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

    /// Whether the server, or so much of it, may be used; if not, who says so by which rule.
    pub(crate) fn server(&self, server: &Server, part: Part<'_>) -> Result<(), (Level, Rule)> {
        if let Some((level, _)) = self.levels().find(|(_, own)| own.says(NO_MCP_SERVERS)) {
            return Err((level, Rule::NoMcpServers));
        }
        if server.definition.allow_all_keys {
            return Ok(());
        }
        if !self.unrestricted {
            self.key_and_team(server, part)?;
        }
        for (level, permission) in [
            (Level::User, self.user),
            (Level::Organization, self.organization),
            (Level::EndUser, self.end_user),
        ] {
            if permission.is_some_and(|own| own.has_servers() && !own.lists(server, part)) {
                return Err((level, Rule::McpServers));
            }
        }
        Ok(())
    }

    /// Whether the key was given the server, and its team's list has it. Only a list of the key's own gives it anything: the
    /// team's list comes in by the key's word for it (`all-team-mcpservers`), and only narrows otherwise. No word takes the
    /// organisation's.
    fn key_and_team(&self, server: &Server, part: Part<'_>) -> Result<(), (Level, Rule)> {
        let with_servers = |own: Option<&'a ObjectPermission>| own.filter(|own| own.has_servers());
        let team_has = |own: &ObjectPermission| own.says(ALL_PROXY_MCP_SERVERS) || own.lists(server, part);
        let Some(key) = with_servers(self.key) else {
            return Err((Level::Key, Rule::NothingListed));
        };
        let team = with_servers(self.team);
        let takes_the_teams = team.is_some() && key.says(ALL_TEAM_MCP_SERVERS);
        if !takes_the_teams && !key.lists(server, part) {
            return Err((Level::Key, Rule::McpServers));
        }
        if team.is_some_and(|own| !team_has(own)) {
            return Err((Level::Team, Rule::McpServers));
        }
        Ok(())
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
