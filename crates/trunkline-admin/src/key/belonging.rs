//! To whom a key may belong, and what it may be given there: checked when somebody makes or changes one.

use trunkline_auth::Directory;
use trunkline_model::key::{ALL_PROXY_MCP_SERVERS, NO_MCP_SERVERS, Part, SERVER_WORDS};
use trunkline_model::{KeyHash, Server, Snapshot, Team, Toolset, VirtualKey};

use super::error::KeyError;
use super::fields::Change;
use crate::App;
use crate::actor::Manager;
use crate::tenant::{readable, team};

/// The key, if the caller manages it. One that it does not manage is not there for it.
pub(crate) fn managed(hash: KeyHash, manager: &Manager, app: &App) -> Result<KeyHash, KeyError> {
    let directory = app.directory();
    let key = directory.keys.get(&hash);
    if manager.is_admin() || key.is_some_and(|key| manager.manages_key(key, &directory)) {
        return Ok(hash);
    }
    Err(KeyError::NotFound)
}

/// Refuses what would be more than the caller may hand out, and more than the key's team has. `own`: the key that is changed.
pub(crate) fn check(
    change: &Change,
    own: Option<&VirtualKey>,
    manager: &Manager,
    app: &App,
) -> Result<(), KeyError> {
    let directory = app.directory();
    let before = own.and_then(|own| own.team_id.as_deref());
    let team_id = change.team_id(before);
    let is_another = own.is_none() || team_id != before;
    let Some(team_id) = team_id else {
        return manager
            .is_admin()
            .then_some(())
            .ok_or_else(|| too_much("team_id", "Only proxy admins may make keys that are no team's"));
    };
    let found = directory.teams.get(team_id);
    let Some(team) = found.filter(|team| manager.manages(team)) else {
        // A key whose team is gone can still be changed: it is refused in any case.
        let is_left = manager.is_admin() && !is_another;
        return is_left.then_some(()).ok_or_else(|| team::nobody(team_id));
    };
    if is_another && !manager.is_admin() && own.is_some() {
        return Err(too_much(
            "team_id",
            "Only proxy admins may give keys to another team",
        ));
    }
    if is_another {
        readable("team_id", team.defect.as_ref())?;
    }
    check_user(change, manager, team)?;
    let granted = Granted {
        team,
        before: own.filter(|_| !is_another),
    };
    granted.check(change, own, &app.registry.snapshot())
}

/// Whoever manages a team hands its keys to its members, or to nobody.
fn check_user(change: &Change, manager: &Manager, team: &Team) -> Result<(), KeyError> {
    match change.user_id() {
        Some(user_id) if !manager.is_admin() && team.role_of(user_id).is_none() => Err(too_much(
            "user_id",
            "Only proxy admins may give a team's key to who is not a member of the team",
        )),
        _ => Ok(()),
    }
}

fn too_much(field: &'static str, text: &str) -> KeyError {
    KeyError::TooMuch(field, text.to_owned())
}

/// What a key of a team may be given: what the team has, and what is for every key. What a key has already it keeps.
struct Granted<'a> {
    team: &'a Team,
    before: Option<&'a VirtualKey>,
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

    fn check(&self, change: &Change, own: Option<&VirtualKey>, snapshot: &Snapshot) -> Result<(), KeyError> {
        let stored = own.map(|own| &own.object_permission);
        let servers = change.mcp_servers().or(stored.map(|own| &*own.mcp_servers));
        let groups = change
            .mcp_access_groups()
            .or(stored.map(|own| &*own.mcp_access_groups));
        let kept = self.before.map(|own| &own.object_permission);
        for name in servers.unwrap_or_default() {
            let is_kept = kept.is_some_and(|own| own.mcp_servers.contains(name));
            let is_word = SERVER_WORDS.contains(&name.as_str());
            // What nobody has grants nothing now; later it is the team's list that counts.
            let is_had = snapshot.find(name).is_none_or(|server| self.has(server));
            if !(is_kept || is_word || is_had) {
                return Err(self.refused(name));
            }
        }
        for group in groups.unwrap_or_default() {
            let is_kept = kept.is_some_and(|own| own.mcp_access_groups.contains(group));
            let is_had = snapshot.access_group(group).all(|server| self.has(server));
            if !(is_kept || is_had) {
                return Err(self.refused(group));
            }
        }
        let toolsets = change.mcp_toolsets().or(stored.map(|own| &*own.mcp_toolsets));
        for name in toolsets.unwrap_or_default() {
            let is_kept = kept.is_some_and(|own| own.mcp_toolsets.contains(name));
            let found = snapshot.toolsets().find(name);
            let is_had = found.is_none_or(|toolset| self.has_toolset(toolset, snapshot));
            if !(is_kept || is_had) {
                return Err(self.refused(name));
            }
        }
        Ok(())
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
