//! Who changes keys, and how far it may: a proxy admin does what it likes; a user changes its own keys, and the admin of a team the
//! team's, and neither hands out more than it has.
//!
//! - Asked with what is stored, while nobody else can write: [`Hand::of`] looks the caller up again.
//! - What an administrator has said of a key is only ever narrowed by others: [`trunkline_model::Delegation`] says what that is.
//! - What a key of a team may have is checked for everybody, in [`super::belonging`].

use std::sync::Arc;

use trunkline_auth::Directory;
use trunkline_model::key::NO_DEFAULT_MODELS;
use trunkline_model::{Delegation, KeyHash, MemberRole, ObjectPermission, Spending, Team, User, VirtualKey};

use super::error::KeyError;
use crate::actor::{Manager, may_change};

/// What is done to a key. Members of a team that are no admins may do what the team lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Generate,
    Update,
    BulkUpdate,
    Delete,
    Regenerate,
    RegenerateNamed,
    Block,
    Unblock,
}

impl Operation {
    /// LiteLLM's word in `team_member_permissions`.
    fn word(self) -> &'static str {
        match self {
            Self::Generate => "/key/generate",
            Self::Update => "/key/update",
            Self::BulkUpdate => "/key/bulk_update",
            Self::Delete => "/key/delete",
            Self::Regenerate => "/key/regenerate",
            Self::RegenerateNamed => "/key/{key_id}/regenerate",
            Self::Block => "/key/block",
            Self::Unblock => "/key/unblock",
        }
    }
}

/// Whose hand it is that changes something.
pub(crate) enum Hand<'d> {
    /// A proxy admin's.
    Full(&'d Directory),
    /// Somebody else's.
    Within(Delegate<'d>),
}

/// A user with a key, as they are stored.
pub(crate) struct Delegate<'d> {
    user: &'d User,
    /// The key that the request came with.
    key: &'d VirtualKey,
    directory: &'d Directory,
}

impl<'d> Hand<'d> {
    /// The caller, as it is now: between the request's arrival and its turn, its key or its rights may have gone.
    pub(crate) fn of(manager: &Manager, directory: &'d Directory) -> Result<Self, KeyError> {
        if manager.is_full() {
            return Ok(Self::Full(directory));
        }
        let key = manager.key().and_then(|key| directory.keys.get(&key.hash));
        let key = key.filter(|key| !key.blocked && key.defect.is_none());
        let key = key.ok_or(KeyError::NotOwn)?;
        let user = key.user_id.as_ref().and_then(|id| directory.users.get(id));
        let user = user.filter(|user| user.defect.is_none() && may_change(user, key));
        Ok(Self::Within(Delegate {
            user: user.ok_or(KeyError::NotOwn)?,
            key,
            directory,
        }))
    }

    /// A stored key that may be changed so. To whom it is not, a key of others is like one that nobody has.
    pub(crate) fn reach(&self, hash: KeyHash, operation: Operation) -> Result<Arc<VirtualKey>, KeyError> {
        match self {
            Self::Full(directory) => directory.keys.get(&hash).cloned().ok_or(KeyError::NotFound),
            Self::Within(delegate) => {
                let key = delegate.directory.keys.get(&hash).ok_or(KeyError::NotOwn)?;
                delegate.check_reach(key, operation)?;
                Ok(key.clone())
            }
        }
    }

    /// The key with an alias.
    pub(crate) fn named(&self, alias: &str) -> Result<KeyHash, KeyError> {
        let (directory, unknown) = match self {
            Self::Full(directory) => (*directory, KeyError::NotFound),
            Self::Within(delegate) => (delegate.directory, KeyError::NotOwn),
        };
        let mut keys = directory.keys.values();
        let found = keys.find(|key| key.key_alias.as_deref() == Some(alias));
        found.map(|key| key.hash).ok_or(unknown)
    }

    /// Bounds a key that is made, and puts in what follows from who makes it. `is_service`: it is to be nobody's.
    pub(crate) fn bound_new(&self, key: &mut VirtualKey, is_service: bool) -> Result<(), KeyError> {
        match self {
            Self::Full(_) => Ok(()),
            Self::Within(delegate) => delegate.bound_new(key, is_service),
        }
    }

    /// Bounds a change of a key.
    pub(crate) fn bound_change(&self, before: &VirtualKey, after: &mut VirtualKey) -> Result<(), KeyError> {
        match self {
            Self::Full(_) => {
                after.delegation.is_whole = false;
                Ok(())
            }
            Self::Within(delegate) => delegate.bound_change(before, after),
        }
    }

    /// The same of one that gets another secret.
    pub(crate) fn bound_renewal(&self, before: &VirtualKey, after: &mut VirtualKey) -> Result<(), KeyError> {
        self.bound_change(before, after)?;
        after.delegation.by = match self {
            Self::Full(_) => None,
            Self::Within(delegate) => {
                delegate.check_secret(before)?;
                check_unlimited(before)?;
                Some(delegate.user.user_id.clone())
            }
        };
        Ok(())
    }

    /// A stored key of which may be said anew what it has spent: by proxy admins, and by the admins of its team unless an administrator
    /// has limited it. To others a key is like one that nobody has.
    pub(crate) fn resettable(&self, hash: KeyHash) -> Result<Arc<VirtualKey>, KeyError> {
        match self {
            Self::Full(directory) => directory.keys.get(&hash).cloned().ok_or(KeyError::NotFound),
            Self::Within(delegate) => {
                let key = delegate.directory.keys.get(&hash).ok_or(KeyError::NotOwn)?;
                let team = key
                    .team_id
                    .as_ref()
                    .and_then(|id| delegate.directory.teams.get(id));
                match team.and_then(|team| delegate.role_in(team)) {
                    Some(MemberRole::Admin) => {}
                    Some(MemberRole::User) if delegate.is_own(key) => {
                        let why = "only proxy admins, and the admins of the key's team, may say anew what it has spent";
                        return Err(too_much("key", why));
                    }
                    _ => return Err(KeyError::NotOwn),
                }
                check_unlimited(key)?;
                Ok(key.clone())
            }
        }
    }

    /// Refuses to delete a key that holds somebody to an administrator's limit: another could be made in its place.
    pub(crate) fn check_deletion(&self, key: &VirtualKey) -> Result<(), KeyError> {
        match self {
            Self::Full(_) => Ok(()),
            Self::Within(delegate) => {
                check_unlimited(key)?;
                if delegate.is_own(key) && is_described(key) {
                    let why = "rules about calls may go by what an administrator has said of this key: a proxy admin deletes it";
                    return Err(too_much("metadata", why));
                }
                Ok(())
            }
        }
    }

    /// Refuses secrets of one's own choice to all but proxy admins: they may be poor, or another's.
    pub(crate) fn check_chosen(&self, is_chosen: bool, field: &'static str) -> Result<(), KeyError> {
        match self {
            Self::Within(_) if is_chosen => {
                Err(too_much(field, "only proxy admins choose keys: leave it out"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses who may not change the members of a team, nor what these may do. A team of others is like one that is not there.
    pub(crate) fn check_leads(&self, team_id: &str) -> Result<(), KeyError> {
        let Self::Within(delegate) = self else {
            return Ok(());
        };
        let team = delegate.directory.teams.get(team_id);
        match team.and_then(|team| delegate.role_in(team)) {
            Some(MemberRole::Admin) => Ok(()),
            _ => Err(too_much(
                "team_id",
                "only proxy admins, and the admins of a team, may change its members and what these may do",
            )),
        }
    }

    /// Refuses who may change no key of a team at all. A team of others is like one that is not there.
    pub(crate) fn check_in_team(&self, team_id: &str) -> Result<(), KeyError> {
        let Self::Within(delegate) = self else {
            return Ok(());
        };
        let team = delegate.directory.teams.get(team_id);
        let word = Operation::Update.word();
        let is_let = team.is_some_and(|team| match delegate.role_in(team) {
            Some(MemberRole::Admin) => true,
            Some(MemberRole::User) => team.member_permissions.iter().any(|own| own == word),
            None => false,
        });
        is_let.then_some(()).ok_or_else(|| {
            too_much(
                "team_id",
                "only proxy admins, the admins of a team, and members whom it lets use /key/update may change its keys",
            )
        })
    }

    /// Whether it may make users.
    pub(crate) fn makes_users(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl Delegate<'_> {
    /// What the user is in a team that its key may act in, and that can be used.
    fn role_in(&self, team: &Team) -> Option<MemberRole> {
        let is_for_it = self.key.team_id.as_ref().is_none_or(|own| *own == team.team_id);
        let is_good = !team.blocked && team.defect.is_none();
        (is_for_it && is_good).then(|| team.role_of(&self.user.user_id))?
    }

    fn is_own(&self, key: &VirtualKey) -> bool {
        key.user_id.as_ref() == Some(&self.user.user_id)
    }

    /// Whether it may do this to a key where that one is: among its own, or in a team.
    fn check_reach(&self, key: &VirtualKey, operation: Operation) -> Result<(), KeyError> {
        let Some(team_id) = &key.team_id else {
            let is_reached = self.key.team_id.is_none() && self.is_own(key);
            return is_reached.then_some(()).ok_or(KeyError::NotOwn);
        };
        let team = self.directory.teams.get(team_id).ok_or(KeyError::NotOwn)?;
        match self.role_in(team) {
            Some(MemberRole::Admin) => Ok(()),
            Some(MemberRole::User) if self.is_own(key) => {
                let word = operation.word();
                let is_let = team.member_permissions.iter().any(|own| own == word);
                is_let.then_some(()).ok_or_else(|| {
                    too_much(
                        "team_member_permissions",
                        &format!("the team does not let its members use {word}: an admin of the team may"),
                    )
                })
            }
            _ => Err(KeyError::NotOwn),
        }
    }

    fn bound_new(&self, key: &mut VirtualKey, is_service: bool) -> Result<(), KeyError> {
        let own = &self.user.user_id;
        if !is_service && key.user_id.get_or_insert_with(|| own.clone()) != own {
            return Err(too_much(
                "user_id",
                "keys of other users are made by proxy admins",
            ));
        }
        self.check_place(key)?;
        if key.budget_id.is_some() {
            return Err(too_much("budget_id", "budgets are given by proxy admins"));
        }
        if key.spending != Spending::default() {
            return Err(too_much("max_budget", "budgets are given by proxy admins"));
        }
        self.check_alone(key.team_id.as_ref())?;
        let is_described = self.inherit_metadata(key)?;
        if is_service && restricts(self.user) {
            return Err(too_much(
                "user_id",
                "an administrator has restricted this user, and a key of nobody would not be: a proxy admin makes it",
            ));
        }
        if let Some(own) = self.grants_for(key) {
            key.object_permission.inherit(own);
        }
        if key.allowed_routes.is_empty() {
            key.allowed_routes.clone_from(&self.key.allowed_routes);
        }
        key.expires = key.expires.or(self.key.expires);
        self.check_grants(key)?;
        self.check_routes(key)?;
        self.check_expires(key)?;
        key.delegation = Delegation {
            by: Some(own.clone()),
            is_whole: true,
            alias: key.key_alias.is_some(),
            metadata: !is_described && !key.metadata.is_empty(),
        };
        Ok(())
    }

    /// Whether a new key may be there: one's own beside one's own, a team's where the team lets one. Of nobody: an admin's.
    fn check_place(&self, key: &VirtualKey) -> Result<(), KeyError> {
        let elsewhere = || {
            too_much(
                "team_id",
                "a user makes keys of its own and of teams that it is in; a team's key makes keys of the team",
            )
        };
        self.check_reach(key, Operation::Generate)
            .map_err(|error| match error {
                KeyError::NotOwn => elsewhere(),
                other => other,
            })
    }

    /// Refuses another key beside one that an administrator has limited: two would let through twice as much.
    fn check_alone(&self, team_id: Option<&String>) -> Result<(), KeyError> {
        let is_beside = |key: &VirtualKey| {
            let is_nobodys = team_id.is_some() && key.user_id.is_none();
            key.team_id.as_ref() == team_id && (self.is_own(key) || is_nobodys)
        };
        let mut beside = self.directory.keys.values().filter(|key| is_beside(key));
        match beside.find_map(|key| key.administrators_limit()) {
            None => Ok(()),
            Some(field) => Err(too_much(
                field,
                "an administrator has limited a key there, and another key beside it would not be: a proxy admin makes it, or limits the team or the user instead",
            )),
        }
    }

    /// What an administrator has said of a user's key is true of what the user makes with it; whether there is anything. Elsewhere
    /// it could be left behind: so there is nothing to be made beside a key of the user's that has some.
    fn inherit_metadata(&self, key: &mut VirtualKey) -> Result<bool, KeyError> {
        let why = "an administrator has said something of this user's key there, which rules about calls may go by: a proxy admin makes another";
        if key.team_id == self.key.team_id {
            if !is_described(self.key) {
                return Ok(false);
            }
            if !key.metadata.is_empty() {
                return Err(too_much("metadata", why));
            }
            key.metadata.clone_from(&self.key.metadata);
            return Ok(true);
        }
        let mut there = self.directory.keys.values();
        let is_there = there.any(|own| own.team_id == key.team_id && self.is_own(own) && is_described(own));
        if is_there {
            return Err(too_much("metadata", why));
        }
        Ok(false)
    }

    /// What a key may have at most beside what its team has: where the caller's own key stands, no more than that one.
    fn grants_for(&self, key: &VirtualKey) -> Option<&ObjectPermission> {
        (key.team_id == self.key.team_id).then_some(&self.key.object_permission)
    }

    fn check_grants(&self, key: &VirtualKey) -> Result<(), KeyError> {
        match self.grants_for(key) {
            None => Ok(()),
            Some(own) => within(&key.object_permission, own, key.team_id.is_some()),
        }
    }

    fn check_routes(&self, key: &VirtualKey) -> Result<(), KeyError> {
        routes_within(&key.allowed_routes, &self.key.allowed_routes)
    }

    fn check_expires(&self, key: &VirtualKey) -> Result<(), KeyError> {
        match (self.key.expires, key.expires) {
            (None, _) => Ok(()),
            (Some(most), Some(own)) if own <= most => Ok(()),
            _ => Err(too_much("duration", "no longer than the key that asks is good")),
        }
    }

    /// Whose secret it may see: its own user's, and that of what is nobody's.
    fn check_secret(&self, key: &VirtualKey) -> Result<(), KeyError> {
        if key.user_id.is_none() || self.is_own(key) {
            return Ok(());
        }
        Err(too_much(
            "user_id",
            "it is another user's key, and its secret would be too: its user or a proxy admin gives it another",
        ))
    }

    /// What narrows is always good. What widens is bounded as if the key was made, and only where no administrator has decided.
    fn bound_change(&self, before: &VirtualKey, after: &mut VirtualKey) -> Result<(), KeyError> {
        for (field, is_same) in [
            ("user_id", before.user_id == after.user_id),
            ("team_id", before.team_id == after.team_id),
            ("budget_id", before.budget_id == after.budget_id),
            ("max_budget", before.spending == after.spending),
        ] {
            if !is_same {
                return Err(too_much(field, "it is changed by proxy admins"));
            }
        }
        let is_whole = before.delegation.is_whole;
        let or_bounded =
            |narrower: Result<(), KeyError>, bounded: &dyn Fn() -> Result<(), KeyError>| match narrower {
                Err(_) if is_whole => bounded(),
                other => other,
            };
        let grants = within(
            &after.object_permission,
            &before.object_permission,
            after.team_id.is_some(),
        );
        or_bounded(grants, &|| self.check_grants(after))?;
        let routes = routes_within(&after.allowed_routes, &before.allowed_routes);
        or_bounded(routes, &|| self.check_routes(after))?;
        let limits = after.limits.check_within(&before.limits);
        let limits =
            limits.map_err(|field| too_much(field, "an administrator has set it: it may be less, not more"));
        or_bounded(limits, &|| Ok(()))?;
        let is_sooner = before
            .expires
            .is_none_or(|most| after.expires.is_some_and(|own| own <= most));
        let expires = is_sooner.then_some(()).ok_or_else(|| {
            too_much(
                "duration",
                "an administrator has set it: it may be less, not more",
            )
        });
        or_bounded(expires, &|| self.check_expires(after))?;
        let blocked = (after.blocked || !before.blocked).then_some(()).ok_or_else(|| {
            too_much(
                "blocked",
                "the key is an administrator's: only proxy admins unblock it",
            )
        });
        or_bounded(blocked, &|| Ok(()))?;
        after.delegation = words(before, after)?;
        Ok(())
    }
}

/// What of a key is its holder's word from now on. An administrator's word stays: rules about calls may go by it.
fn words(before: &VirtualKey, after: &VirtualKey) -> Result<Delegation, KeyError> {
    let own = &before.delegation;
    let (alias, metadata) = (
        before.key_alias != after.key_alias,
        before.metadata != after.metadata,
    );
    let said = "an administrator has said it, and rules about calls may go by it";
    if alias && !own.alias && before.key_alias.is_some() {
        return Err(too_much("key_alias", said));
    }
    if metadata && !own.metadata && !before.metadata.is_empty() {
        return Err(too_much("metadata", said));
    }
    Ok(Delegation {
        alias: own.alias || alias,
        metadata: own.metadata || metadata,
        ..own.clone()
    })
}

/// Whether an administrator has written something into its metadata.
fn is_described(key: &VirtualKey) -> bool {
    key.vouched_metadata().is_some_and(|own| !own.is_empty())
}

/// Whether anything holds for a user's keys because they are the user's.
fn restricts(user: &User) -> bool {
    let permission = &user.object_permission;
    permission.has_servers()
        || !permission.mcp_tool_permissions.is_empty()
        || !permission.models.is_empty()
        || !user.limits.is_none()
        || !user.spending.is_none()
}

fn check_unlimited(key: &VirtualKey) -> Result<(), KeyError> {
    match key.administrators_limit() {
        None => Ok(()),
        Some(field) => Err(too_much(
            field,
            "an administrator has limited this key, and what is counted would begin anew: only a proxy admin deletes it, gives it another secret, or says anew what it has spent",
        )),
    }
}

/// Whether grants are no more than others of a key at the same place.
fn within(own: &ObjectPermission, most: &ObjectPermission, is_teams: bool) -> Result<(), KeyError> {
    own.check_within(most).map_err(|member| {
        too_much(
            "object_permission",
            &format!("{member}: more than may be handed out there"),
        )
    })?;
    if models_within(own, most, is_teams) {
        return Ok(());
    }
    Err(too_much("models", "more than may be handed out there"))
}

/// The same of models. A key without a list has its team's, which is checked for every key of a team; one of no team has none.
fn models_within(own: &ObjectPermission, most: &ObjectPermission, is_teams: bool) -> bool {
    let is_none = |name: &String| name == NO_DEFAULT_MODELS;
    if own.models.iter().any(is_none) {
        return true;
    }
    if most.models.is_empty() {
        return is_teams || own.models.is_empty();
    }
    let covered = |name: &String| most.models.contains(name) || trunkline_policy::models::covers(most, name);
    !most.models.iter().any(is_none) && !own.models.is_empty() && own.models.iter().all(covered)
}

/// Whether routes are no more than others, of which an empty list is all. By what is written.
fn routes_within(own: &[String], most: &[String]) -> Result<(), KeyError> {
    let is_within = most.is_empty() || (!own.is_empty() && own.iter().all(|route| most.contains(route)));
    is_within
        .then_some(())
        .ok_or_else(|| too_much("allowed_routes", "no more routes than there are"))
}

fn too_much(field: &'static str, why: &str) -> KeyError {
    KeyError::TooMuch(field, format!("{field}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new field of a key does not compile before somebody has decided what others than proxy admins may do with it: what widens or
    /// lifts something belongs into [`Delegate::bound_new`] and [`Delegate::bound_change`], and a limit into
    /// [`VirtualKey::administrators_limit`].
    #[test]
    fn s18_every_field_of_a_key_is_bounded() {
        let VirtualKey {
            // By `words`, `check_grants`, `check_routes`, `check_expires`, the limits, `blocked`, and what stays as it is.
            key_alias: _,
            metadata: _,
            object_permission: _,
            allowed_routes: _,
            expires: _,
            limits: _,
            blocked: _,
            user_id: _,
            team_id: _,
            budget_id: _,
            spending: _,
            // Made by the operations themselves, never by what a body says.
            hash: _,
            id: _,
            key_name: _,
            stamps: _,
            rotation_count: _,
            last_rotation_at: _,
            previous: _,
            delegation,
            defect: _,
            // A word for people: what it chose is in `allowed_routes`.
            key_type: _,
        } = VirtualKey::new(KeyHash([0; 32]));
        assert_eq!(
            delegation,
            Delegation::default(),
            "a key is an administrator's unless it is said"
        );
    }

    fn models(names: &[&str]) -> ObjectPermission {
        ObjectPermission {
            models: names.iter().map(|name| (*name).to_owned()).collect(),
            ..ObjectPermission::default()
        }
    }

    #[test]
    fn models_are_handed_on_and_not_made() {
        for (own, most, is_teams, expected) in [
            (&[][..], &[][..], false, true),
            (&["a"], &[], false, false),
            (&["a"], &[], true, true),
            (&["a"], &["a", "b"], false, true),
            (&["a"], &["a*"], false, true),
            (&["a*"], &["a*"], false, true),
            (&["a*"], &["a"], false, false),
            (&["b"], &["a*"], false, false),
            // Without a list: the team's.
            (&[], &["a"], true, false),
            (&["all-proxy-models"], &["a"], false, false),
            (&["a"], &["all-proxy-models"], false, true),
            (&["a"], &["no-default-models", "a"], false, false),
            (&["no-default-models"], &["a"], false, true),
        ] {
            assert_eq!(
                models_within(&models(own), &models(most), is_teams),
                expected,
                "{own:?} of {most:?}, {is_teams}"
            );
        }
    }

    #[test]
    fn routes_are_handed_on_and_not_made() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (own, most, expected) in [
            (&[][..], &[][..], true),
            (&["/mcp"], &[], true),
            (&[], &["/mcp"], false),
            (&["/mcp"], &["/mcp", "mcp_routes"], true),
            (&["/mcp*"], &["/mcp"], false),
            (&["management_routes"], &["mcp_routes"], false),
        ] {
            assert_eq!(
                routes_within(&list(own), &list(most)).is_ok(),
                expected,
                "{own:?} of {most:?}"
            );
        }
    }
}
