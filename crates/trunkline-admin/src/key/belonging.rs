//! To whom a key may belong, and what it may be given there: checked when somebody makes or changes one.

use trunkline_auth::Directory;
use trunkline_model::key::{
    ALL_PROXY_MCP_SERVERS, ALL_TEAM_MODELS, NO_DEFAULT_MODELS, NO_MCP_SERVERS, Part, SERVER_WORDS,
};
use trunkline_model::{ObjectPermission, Server, Snapshot, Team, Toolset, VirtualKey};

use super::error::KeyError;
use crate::budget;
use crate::tenant::{readable, team};

/// Refuses what would be more than the key's team has. `before`: the key as it is, if it is changed and not made.
pub(crate) fn check(
    after: &VirtualKey,
    before: Option<&VirtualKey>,
    directory: &Directory,
    snapshot: &Snapshot,
) -> Result<(), KeyError> {
    if after.budget_id != before.and_then(|own| own.budget_id.clone()) {
        budget::check(after.budget_id.as_deref(), directory)?;
    }
    let is_another = before.is_none_or(|own| own.team_id != after.team_id);
    let Some(team_id) = &after.team_id else {
        return Ok(());
    };
    let Some(team) = directory.teams.get(team_id) else {
        // A key whose team is gone can still be changed: it is refused in any case.
        return (!is_another).then_some(()).ok_or_else(|| team::nobody(team_id));
    };
    if is_another {
        readable("team_id", team.defect.as_ref())?;
    }
    let granted = Granted {
        team,
        before: before.filter(|_| !is_another).map(|own| &own.object_permission),
    };
    granted.check(&after.object_permission, snapshot)
}

/// What a key of a team may be given: what the team has, and what is for every key. What a key has already it keeps.
struct Granted<'a> {
    team: &'a Team,
    before: Option<&'a ObjectPermission>,
}

impl Granted<'_> {
    fn has(&self, server: &Server) -> bool {
        let permission = &self.team.object_permission;
        let lists = permission.says(ALL_PROXY_MCP_SERVERS) || permission.lists(server, Part::Whole);
        server.definition.allow_all_keys || (lists && !permission.says(NO_MCP_SERVERS))
    }

    /// The toolset itself, or every server of which it has a tool.
    fn has_toolset(&self, toolset: &Toolset, snapshot: &Snapshot) -> bool {
        let mut servers = toolset.tools().iter().map(|tool| snapshot.find(&tool.server_id));
        self.team.object_permission.has_toolset(toolset)
            || servers.all(|server| server.is_none_or(|server| self.has(server)))
    }

    fn check(&self, after: &ObjectPermission, snapshot: &Snapshot) -> Result<(), KeyError> {
        for name in &after.mcp_servers {
            let is_kept = self.before.is_some_and(|own| own.mcp_servers.contains(name));
            let is_word = SERVER_WORDS.contains(&name.as_str());
            // What nobody has grants nothing now; later it is the team's list that counts.
            let is_had = snapshot.find(name).is_none_or(|server| self.has(server));
            if !(is_kept || is_word || is_had) {
                return Err(self.refused(name));
            }
        }
        for group in &after.mcp_access_groups {
            let is_kept = self
                .before
                .is_some_and(|own| own.mcp_access_groups.contains(group));
            let is_had = snapshot.access_group(group).all(|server| self.has(server));
            if !(is_kept || is_had) {
                return Err(self.refused(group));
            }
        }
        self.check_models(&after.models)?;
        for name in &after.mcp_toolsets {
            let is_kept = self.before.is_some_and(|own| own.mcp_toolsets.contains(name));
            let found = snapshot.toolsets().find(name);
            let is_had = found.is_none_or(|toolset| self.has_toolset(toolset, snapshot));
            if !(is_kept || is_had) {
                return Err(self.refused(name));
            }
        }
        Ok(())
    }

    /// The same of models: a team without a list has none to give.
    fn check_models(&self, models: &[String]) -> Result<(), KeyError> {
        let is_had = |name: &String| {
            [ALL_TEAM_MODELS, NO_DEFAULT_MODELS].contains(&name.as_str())
                || self.before.is_some_and(|kept| kept.models.contains(name))
                || trunkline_policy::models::covers(&self.team.object_permission, name)
        };
        match models.iter().find(|name| !is_had(name)) {
            None => Ok(()),
            Some(name) => Err(KeyError::TooMuch(
                "models",
                format!(
                    "{name:?} is not allowed for team {}: a key may be given the models that its team has in `models`",
                    self.team.team_id
                ),
            )),
        }
    }

    fn refused(&self, name: &str) -> KeyError {
        KeyError::TooMuch(
            "object_permission",
            format!(
                "{name:?} is not allowed for team {}: a key may be given the MCP servers that its team has, and those that are for every key",
                self.team.team_id
            ),
        )
    }
}

/// The teams that a user is an admin of.
pub(crate) fn administered(user_id: &str, directory: &Directory) -> Vec<String> {
    directory
        .teams_of(user_id)
        .filter(|team| team.role_of(user_id) == Some(trunkline_model::MemberRole::Admin))
        .map(|team| team.team_id.clone())
        .collect()
}
