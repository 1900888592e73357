//! Whom a key belongs to: teams, users, organisations, and the end users (customers) that a request is made for. Each has an
//! [`ObjectPermission`] of its own, which only ever narrows what the key may do; how they come together is in `trunkline-policy`.

use serde_json::{Map, Value};

use crate::{CallLimits, ObjectPermission, Spending, Stamps};

/// Who decides about a request, from the nearest to the farthest. In this order what is refused is put down to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The request's own selection of servers.
    Scope,
    /// The server itself, whose rules hold for everybody.
    Server,
    /// The virtual key.
    Key,
    /// The key's team.
    Team,
    /// The key's user.
    User,
    /// The team's organisation.
    Organization,
    /// Whom the request says that it is made for.
    EndUser,
}

impl Level {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Server => "server",
            Self::Key => "key",
            Self::Team => "team",
            Self::User => "user",
            Self::Organization => "organization",
            Self::EndUser => "end_user",
        }
    }
}

/// A team: LiteLLM's `LiteLLM_TeamTable`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Team {
    /// Which team.
    pub team_id: String,
    /// Its name.
    pub team_alias: Option<String>,
    /// Which organisation it belongs to.
    pub organization_id: Option<String>,
    /// Who is in it.
    pub members: Vec<Member>,
    /// Its keys are refused until it is unblocked.
    pub blocked: bool,
    /// What members that are no admins may do with their own keys of the team: some of [`MEMBER_PERMISSIONS`].
    pub member_permissions: Vec<String>,
    /// The administrator's own.
    pub metadata: Map<String, Value>,
    /// What its keys may use at most, and what those of them may use that say `all-team-mcpservers`.
    pub object_permission: ObjectPermission,
    /// How much all its keys together may call.
    pub limits: CallLimits,
    /// What all of them together may spend.
    pub spending: Spending,
    /// Who and when.
    pub stamps: Stamps,
    /// What of its row cannot be read. Its keys are refused: what is missing may have been a restriction.
    pub defect: Option<String>,
}

/// LiteLLM's words of `team_member_permissions` that mean something here: the routes. `/key/info` is every member's, of its own
/// keys, whether it is there or not.
pub const MEMBER_PERMISSIONS: [&str; 9] = [
    "/key/generate",
    "/key/update",
    "/key/bulk_update",
    "/key/delete",
    "/key/regenerate",
    "/key/{key_id}/regenerate",
    "/key/block",
    "/key/unblock",
    "/key/info",
];

impl Team {
    /// What a user is in it.
    pub fn role_of(&self, user_id: &str) -> Option<MemberRole> {
        let member = self.members.iter().find(|member| member.user_id == user_id);
        member.map(|member| member.role)
    }
}

/// A member of a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which user.
    pub user_id: String,
    /// What it is there.
    pub role: MemberRole,
}

/// What a user is in a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// Manages the team's members and keys.
    Admin,
    /// Uses it.
    User,
}

impl MemberRole {
    /// LiteLLM's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }

    /// The inverse of [`MemberRole::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Admin, Self::User]
            .into_iter()
            .find(|role| role.as_str() == word)
    }
}

/// A user: LiteLLM's `LiteLLM_UserTable`. In which teams it is, the teams know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// Which user.
    pub user_id: String,
    /// Its address.
    pub user_email: Option<String>,
    /// Its name.
    pub user_alias: Option<String>,
    /// What it may do with the gateway itself; the least without.
    pub user_role: Option<UserRole>,
    /// The administrator's own.
    pub metadata: Map<String, Value>,
    /// What its keys may use at most.
    pub object_permission: ObjectPermission,
    /// How much all its keys together may call. Single servers are not named.
    pub limits: CallLimits,
    /// What all of them together may spend.
    pub spending: Spending,
    /// Who and when.
    pub stamps: Stamps,
    /// What of its row cannot be read. Its keys are refused.
    pub defect: Option<String>,
}

/// What a user may do with the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRole {
    /// Everything.
    ProxyAdmin,
    /// See everything.
    ProxyAdminViewer,
    /// See its own, and manage the teams that it is an admin of.
    InternalUser,
    /// See its own.
    InternalUserViewer,
}

impl UserRole {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ProxyAdmin,
        Self::ProxyAdminViewer,
        Self::InternalUser,
        Self::InternalUserViewer,
    ];

    /// LiteLLM's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProxyAdmin => "proxy_admin",
            Self::ProxyAdminViewer => "proxy_admin_viewer",
            Self::InternalUser => "internal_user",
            Self::InternalUserViewer => "internal_user_viewer",
        }
    }

    /// The inverse of [`UserRole::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// An organisation: LiteLLM's `LiteLLM_OrganizationTable`, and its memberships.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Organization {
    /// Which organisation.
    pub organization_id: String,
    /// Its name.
    pub organization_alias: Option<String>,
    /// Who is in it. Grants and limits nothing.
    pub members: Vec<OrganizationMember>,
    /// The administrator's own.
    pub metadata: Map<String, Value>,
    /// What the keys of its teams may use at most.
    pub object_permission: ObjectPermission,
    /// What all of them together may spend and call. They are refused if there is no such budget.
    pub budget_id: Option<String>,
    /// Who and when.
    pub stamps: Stamps,
    /// What of its row cannot be read. The keys of its teams are refused.
    pub defect: Option<String>,
}

/// A member of an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationMember {
    /// Which user.
    pub user_id: String,
    /// What it is there.
    pub user_role: UserRole,
}

/// Whom a request is made for: LiteLLM's `LiteLLM_EndUserTable` (its customer).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndUser {
    /// Which end user: what requests say.
    pub user_id: String,
    /// Its name.
    pub alias: Option<String>,
    /// Requests for it are refused until it is unblocked.
    pub blocked: bool,
    /// What requests for it may use at most.
    pub object_permission: ObjectPermission,
    /// What all of them together may spend and call. They are refused if there is no such budget.
    pub budget_id: Option<String>,
    /// Who and when.
    pub stamps: Stamps,
    /// What of its row cannot be read. Requests for it are refused.
    pub defect: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_litellms_words() {
        for role in UserRole::ALL {
            assert_eq!(UserRole::parse(role.as_str()), Some(role));
        }
        for role in [MemberRole::Admin, MemberRole::User] {
            assert_eq!(MemberRole::parse(role.as_str()), Some(role));
        }
        assert_eq!(
            (UserRole::parse("PROXY_ADMIN"), MemberRole::parse("")),
            (None, None)
        );
    }
}
