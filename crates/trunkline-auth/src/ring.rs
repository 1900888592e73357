//! The virtual keys in memory, and whom they belong to: one immutable directory that is swapped whole. A request looks into it
//! once, and asks nobody.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use trunkline_model::{
    Budget, EndUser, Holder, KeyHash, KeyMap, Level, OnBehalfOf, Organization, PreviousId, Secret, Team,
    User, VirtualKey,
};

use crate::admission;
use crate::authenticate::AuthError;

/// Keys by their digest. A digest of what a stranger sends is not the stranger's choice, so the cheap hash will do.
pub type Keys = KeyMap<KeyHash, Arc<VirtualKey>>;

/// Teams, users … by their ids, which people choose.
pub type ById<T> = HashMap<String, Arc<T>>;

/// All keys and whom they belong to, at one moment. A change of one kind leaves the other maps as they are.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// The keys.
    pub keys: Arc<Keys>,
    /// The teams.
    pub teams: Arc<ById<Team>>,
    /// The users.
    pub users: Arc<ById<User>>,
    /// The organisations.
    pub organizations: Arc<ById<Organization>>,
    /// The end users.
    pub end_users: Arc<ById<EndUser>>,
    /// The budgets.
    pub budgets: Arc<ById<Budget>>,
    /// Which key a secret opens that it had before. [`Directory::index`] makes it of the keys.
    pub previous: Arc<KeyMap<KeyHash, KeyHash>>,
}

impl Directory {
    /// Looks up again which secrets keys had before. Whoever changes the keys does it before anybody looks.
    pub fn index(&mut self) {
        let of = |key: &Arc<VirtualKey>| {
            let current = key.hash;
            key.previous
                .iter()
                .map(move |own| (own.hash, current))
                .collect::<Vec<_>>()
        };
        let previous: KeyMap<_, _> = self.keys.values().flat_map(of).collect();
        if previous != *self.previous {
            self.previous = Arc::new(previous);
        }
    }

    /// Whether a secret is one that a key had before, good or not.
    pub fn is_previous(&self, hash: &KeyHash) -> bool {
        self.previous.contains_key(hash)
    }

    /// The key with a secret, and its name with that if it has another by now. What was a key's is nobody's when its time is
    /// over.
    pub(crate) fn by_secret(
        &self,
        hash: &KeyHash,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<(&Arc<VirtualKey>, Option<PreviousId>)> {
        if let Some(key) = self.keys.get(hash) {
            return Some((key, None));
        }
        let key = self.keys.get(self.previous.get(hash)?)?;
        let id = key.is_previous(hash, now()).then(|| hash.to_hex().into())?;
        Some((key, Some(PreviousId { hash: *hash, id })))
    }

    /// A budget that somebody has: whoever it would limit is refused if it is not there or cannot be read.
    fn budget(&self, id: Option<&String>) -> Result<Option<Arc<Budget>>, AuthError> {
        let Some(id) = id else { return Ok(None) };
        let budget = self.budgets.get(id).ok_or(AuthError::BudgetMissing)?;
        match budget.defect {
            None => Ok(Some(budget.clone())),
            Some(_) => Err(AuthError::BudgetUnreadable),
        }
    }

    /// A key and whom it belongs to. Refused if any of them would restrict it, and is not there, cannot be read, or is blocked;
    /// but for its user, which may be a label.
    pub fn holder(&self, key: Arc<VirtualKey>) -> Result<Holder, AuthError> {
        let readable = |level, defect: &Option<String>| match defect {
            None => Ok(()),
            Some(_) => Err(AuthError::LevelUnreadable(level)),
        };
        let mut holder = Holder::of_key(key);
        holder.budget = self.budget(holder.key.budget_id.as_ref())?;
        if let Some(team_id) = &holder.key.team_id {
            let team = self
                .teams
                .get(team_id)
                .ok_or(AuthError::LevelMissing(Level::Team))?;
            readable(Level::Team, &team.defect)?;
            if team.blocked {
                return Err(AuthError::TeamBlocked);
            }
            if let Some(id) = &team.organization_id {
                let organization = self
                    .organizations
                    .get(id)
                    .ok_or(AuthError::LevelMissing(Level::Organization))?;
                readable(Level::Organization, &organization.defect)?;
                holder.organization_budget = self.budget(organization.budget_id.as_ref())?;
                holder.organization = Some(organization.clone());
            }
            holder.team = Some(team.clone());
        }
        let user = holder.key.user_id.as_ref().and_then(|id| self.users.get(id));
        if let Some(user) = user {
            readable(Level::User, &user.defect)?;
            holder.user = Some(user.clone());
        }
        Ok(holder)
    }

    /// Whom a request is made for. One that nobody has registered is a label, and restricts nothing.
    pub fn on_behalf_of(&self, id: Arc<str>) -> Result<OnBehalfOf, AuthError> {
        let end_user = self.end_users.get(&*id).cloned();
        match end_user.as_deref() {
            Some(EndUser { defect: Some(_), .. }) => Err(AuthError::LevelUnreadable(Level::EndUser)),
            Some(EndUser { blocked: true, .. }) => Err(AuthError::EndUserBlocked),
            known => {
                let budget = self.budget(known.and_then(|own| own.budget_id.as_ref()))?;
                Ok(OnBehalfOf { id, end_user, budget })
            }
        }
    }

    /// The teams that a user is in.
    pub fn teams_of<'a>(&'a self, user_id: &'a str) -> impl Iterator<Item = &'a Arc<Team>> {
        self.teams
            .values()
            .filter(move |team| team.role_of(user_id).is_some())
    }
}

/// The directory as it is now. Empty until somebody puts something in: what was not read admits nobody.
#[derive(Default)]
pub struct KeyRing(ArcSwap<Directory>);

impl KeyRing {
    /// All that there is, at one moment.
    pub fn directory(&self) -> Arc<Directory> {
        self.0.load_full()
    }

    /// The same for a look, which is cheaper.
    pub(crate) fn look(&self) -> arc_swap::Guard<Arc<Directory>> {
        self.0.load()
    }

    /// All keys, at one moment.
    pub fn all(&self) -> Arc<Keys> {
        self.0.load().keys.clone()
    }

    /// One of them.
    pub fn get(&self, hash: &KeyHash) -> Option<Arc<VirtualKey>> {
        self.0.load().keys.get(hash).cloned()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.load().keys.is_empty()
    }

    /// Puts another directory in its place.
    pub fn replace(&self, directory: Directory) {
        self.0.store(Arc::new(directory));
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &self.0.load().keys.len())
            .finish_non_exhaustive()
    }
}

/// What every virtual key begins with.
pub const KEY_PREFIX: &str = "sk-";

/// A new key, from 128 bits of chance: `sk-` and 22 characters, as LiteLLM makes them.
pub fn new_key() -> Secret {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect("the system's random source works");
    Secret::new(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The digest that a key is stored and found under.
pub fn key_hash(key: &str) -> KeyHash {
    KeyHash(admission::digest(key.as_bytes()))
}

/// What people tell a key by: `sk-...abcd`.
pub fn key_name(key: &Secret) -> String {
    let key = key.expose();
    let shown = key.char_indices().rev().nth(3).map_or("", |(at, _)| &key[at..]);
    format!("{KEY_PREFIX}...{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_litellms() {
        let (one, two) = (new_key(), new_key());
        assert_ne!(one, two);
        assert!(one.expose().starts_with("sk-") && one.expose().len() == 25);
        let key = Secret::new("sk-0123456789abcdef");
        assert_eq!(key_name(&key), "sk-...cdef");
        // printf %s sk-0123456789abcdef | sha256sum
        assert_eq!(
            key_hash(key.expose()).to_hex(),
            "221df437bc4f8c4d9718bd7a9ec4c1021c72fd69dfb2a5f568ecf4607c824bee"
        );
    }
}
