//! Who is asking. A principal exists only after a proof: there is no `Default`, and nothing returns `Option<Principal>`
//! (S05). Only `trunkline-auth` calls the constructors; `cargo xtask tidy` checks that.

use std::fmt;
use std::sync::Arc;

use crate::key::{ALL_TEAM_MCP_SERVERS, NO_MCP_SERVERS};
use crate::tenant::{EndUser, Organization, Team, User, UserRole};
use crate::{Budget, ClientAddress, KeyHash, ObjectPermission, Toolset, VirtualKey};

/// An authenticated caller. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct Principal {
    kind: PrincipalKind,
    end_user: Option<OnBehalfOf>,
    client: ClientAddress,
}

/// How the caller proved who it is.
#[derive(Clone, Debug, PartialEq)]
pub enum PrincipalKind {
    /// The master key: LiteLLM's `proxy_admin`.
    MasterKey,
    /// A virtual key and whom it belongs to, as they were when the caller was identified: what it may do is in them.
    Key(Holder),
}

/// A virtual key and whom it belongs to, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The key.
    pub key: Arc<VirtualKey>,
    /// Its team, if it is a team's.
    pub team: Option<Arc<Team>>,
    /// The team's organisation, if it is in one.
    pub organization: Option<Arc<Organization>>,
    /// Its user, if that is more than a label.
    pub user: Option<Arc<User>>,
    /// The key's budget, if it has one.
    pub budget: Option<Arc<Budget>>,
    /// The organisation's, if it has one.
    pub organization_budget: Option<Arc<Budget>>,
    /// The secret that was shown, if it is one that the key had before: its sessions are this one's.
    pub previous: Option<PreviousId>,
}

/// The digest of a secret that a key had before, and the name that its holder had then.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviousId {
    /// The digest.
    pub hash: KeyHash,
    /// The same as text.
    pub id: Arc<str>,
}

impl Holder {
    /// A key that belongs to nobody.
    pub fn of_key(key: Arc<VirtualKey>) -> Self {
        Self {
            key,
            team: None,
            organization: None,
            user: None,
            budget: None,
            organization_budget: None,
            previous: None,
        }
    }

    /// What its user may do with the gateway itself. A key of a team acts in the team alone: whoever manages the team could
    /// hold it.
    pub fn role(&self) -> Option<UserRole> {
        match self.key.team_id {
            None => self.user.as_ref().and_then(|user| user.user_role),
            Some(_) => None,
        }
    }

    /// Whether a toolset was granted: to the key, or to its team if the key has what its team has; or everything was. What of it may
    /// be used is decided for each tool.
    pub fn has_toolset(&self, toolset: &Toolset) -> bool {
        let own = &self.key.object_permission;
        let team = self.team.as_ref().map(|own| &own.object_permission);
        let organization = self.organization.as_ref().map(|own| &own.object_permission);
        let user = self.user.as_ref().map(|own| &own.object_permission);
        let levels = [Some(own), team, organization, user];
        if levels.into_iter().flatten().any(|own| own.says(NO_MCP_SERVERS)) {
            return false;
        }
        let takes_the_teams = own.says(ALL_TEAM_MCP_SERVERS);
        self.is_unrestricted()
            || own.has_toolset(toolset)
            || takes_the_teams && team.is_some_and(|own| own.has_toolset(toolset))
    }

    /// Whether it may use every server: a key of an administrator, who has been given nothing in particular.
    pub fn is_unrestricted(&self) -> bool {
        let user = self.user.as_ref().map(|user| &user.object_permission);
        self.is_unrestricted_with(Some(&self.key.object_permission), user)
    }

    /// The same, if the key and its user had these grants.
    pub fn is_unrestricted_with(
        &self,
        key: Option<&ObjectPermission>,
        user: Option<&ObjectPermission>,
    ) -> bool {
        let is_silent = |permission: &ObjectPermission| !permission.has_servers();
        self.role() == Some(UserRole::ProxyAdmin) && key.is_none_or(is_silent) && user.is_none_or(is_silent)
    }
}

/// Whom a request says that it is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct OnBehalfOf {
    /// As the request says it.
    pub id: Arc<str>,
    /// What is known of it; nothing if it is a label.
    pub end_user: Option<Arc<EndUser>>,
    /// Its budget, if it has one.
    pub budget: Option<Arc<Budget>>,
}

impl Principal {
    /// The holder of the master key, after a constant-time comparison succeeded.
    pub fn from_master_key() -> Self {
        Self {
            kind: PrincipalKind::MasterKey,
            end_user: None,
            client: ClientAddress::default(),
        }
    }

    /// The holder of a virtual key that was found by its digest, and is good now, as is everybody whom it belongs to.
    pub fn from_key(holder: Holder) -> Self {
        Self {
            kind: PrincipalKind::Key(holder),
            end_user: None,
            client: ClientAddress::default(),
        }
    }

    /// The same caller, for somebody.
    #[must_use]
    pub fn on_behalf_of(self, end_user: Option<OnBehalfOf>) -> Self {
        Self { end_user, ..self }
    }

    /// The same caller, whose request came from there. Until it is said, it is outside.
    #[must_use]
    pub fn at(self, client: ClientAddress) -> Self {
        Self { client, ..self }
    }

    /// Where its request came from.
    pub fn client(&self) -> ClientAddress {
        self.client
    }

    /// How it was proved, and what follows from it.
    pub fn kind(&self) -> &PrincipalKind {
        &self.kind
    }

    /// A stable name for logs, records and session binding. Never a credential: of a key its hash, which no other
    /// principal's name can be.
    pub fn id(&self) -> &str {
        match &self.kind {
            PrincipalKind::MasterKey => "master_key",
            PrincipalKind::Key(holder) => match &holder.previous {
                Some(previous) => &previous.id,
                None => &holder.key.id,
            },
        }
    }

    /// The virtual key and whom it belongs to, if it is one.
    pub fn holder(&self) -> Option<&Holder> {
        match &self.kind {
            PrincipalKind::MasterKey => None,
            PrincipalKind::Key(holder) => Some(holder),
        }
    }

    /// The virtual key, if it is one.
    pub fn key(&self) -> Option<&Arc<VirtualKey>> {
        self.holder().map(|holder| &holder.key)
    }

    /// Whose it is, if that is known.
    pub fn user_id(&self) -> Option<&str> {
        self.key().and_then(|key| key.user_id.as_deref())
    }

    /// Of which team, if of any.
    pub fn team_id(&self) -> Option<&str> {
        self.key().and_then(|key| key.team_id.as_deref())
    }

    /// For whom, if the request says so.
    pub fn end_user(&self) -> Option<&OnBehalfOf> {
        self.end_user.as_ref()
    }

    /// What is known of whom it is for.
    pub fn known_end_user(&self) -> Option<&EndUser> {
        self.end_user.as_ref()?.end_user.as_deref()
    }

    /// Whether it may use the management API.
    pub fn is_proxy_admin(&self) -> bool {
        self.role() == Some(UserRole::ProxyAdmin)
    }

    /// What it may do with the gateway itself.
    pub fn role(&self) -> Option<UserRole> {
        match &self.kind {
            PrincipalKind::MasterKey => Some(UserRole::ProxyAdmin),
            PrincipalKind::Key(holder) => holder.role(),
        }
    }

    /// Whether rows of the database say what it may do, so that it may be another tomorrow.
    pub fn can_change(&self) -> bool {
        self.holder().is_some() || self.end_user.is_some()
    }

    /// Whether it is the same caller with the same rows: by their addresses, because what did not change stays the same
    /// object.
    pub fn is_unchanged(&self, other: &Self) -> bool {
        fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
            a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
        }
        let rows = |principal: &Self| principal.end_user.as_ref().and_then(|own| own.end_user.clone());
        let budget = |principal: &Self| principal.end_user.as_ref().and_then(|own| own.budget.clone());
        let holders = match (self.holder(), other.holder()) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                Arc::ptr_eq(&a.key, &b.key)
                    && same(a.team.as_ref(), b.team.as_ref())
                    && same(a.organization.as_ref(), b.organization.as_ref())
                    && same(a.user.as_ref(), b.user.as_ref())
                    && same(a.budget.as_ref(), b.budget.as_ref())
                    && same(a.organization_budget.as_ref(), b.organization_budget.as_ref())
            }
            _ => false,
        };
        holders
            && self.client == other.client
            && same(rows(self).as_ref(), rows(other).as_ref())
            && same(budget(self).as_ref(), budget(other).as_ref())
    }
}

impl fmt::Debug for Principal {
    /// Its name, and not all that is stored about its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({})", self.id())
    }
}
