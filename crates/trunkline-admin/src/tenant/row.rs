//! Teams, users, organisations and end users as answers show them: LiteLLM's columns, those that mean nothing here with the values
//! that say so.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use trunkline_model::key::SERVER_WORDS;
use trunkline_model::{EndUser, Level, ObjectPermission, Organization, Snapshot, Stamps, Team, User};

use crate::budget;
use crate::key::row::{info, permission_row};
use crate::spend::shown::{Shown, dollars};

/// LiteLLM's columns of what is not served: nothing is limited, and nothing was spent.
fn neutral(columns: Value, permission: &ObjectPermission, stamps: &Stamps) -> Map<String, Value> {
    let time = |at: Option<Timestamp>| Value::from(at.map(|at| at.to_string()));
    let mut row = match columns {
        Value::Object(row) => row,
        _ => Map::new(),
    };
    let shared = [
        ("object_permission_id", permission.id.clone().into()),
        ("object_permission", permission_row(permission)),
        ("models", permission.models.clone().into()),
        ("created_at", time(stamps.created_at)),
        ("created_by", stamps.created_by.clone().into()),
        ("updated_at", time(stamps.updated_at)),
        ("updated_by", stamps.updated_by.clone().into()),
    ];
    row.extend(shared.map(|(name, value)| (name.to_owned(), value)));
    row
}

pub(crate) fn team(team: &Team, directory: &Shown) -> Map<String, Value> {
    let email = |user_id: &str| {
        directory
            .users
            .get(user_id)
            .and_then(|user| user.user_email.clone())
    };
    let members: Vec<Value> = team
        .members
        .iter()
        .map(|own| json!({"user_id": own.user_id, "user_email": email(&own.user_id), "role": own.role.as_str()}))
        .collect();
    let columns = json!({
        "team_id": team.team_id, "team_alias": team.team_alias, "organization_id": team.organization_id,
        "admins": [], "members": [], "members_with_roles": members, "metadata": team.metadata, "blocked": team.blocked,
        "max_parallel_requests": team.limits.max_parallel_requests, "rpm_limit": team.limits.rpm_limit,
        "mcp_rpm_limit": team.limits.mcp_rpm_limit, "model_rpm_limit": team.limits.model_rpm_limit,
        "model_tpm_limit": team.limits.model_tpm_limit, "tpm_limit": team.limits.tpm_limit, "tpd_limit": null,
        "budget_limits": null, "router_settings": {},
        "team_member_permissions": team.member_permissions, "access_group_ids": [], "policies": [], "default_team_member_models": [],
        "model_id": null, "litellm_model_table": null, "defect": team.defect,
    });
    let mut row = neutral(columns, &team.object_permission, &team.stamps);
    row.extend(directory.columns(Level::Team, &team.team_id, &team.spending, None));
    row
}

/// The memberships of a team, as LiteLLM's table has them.
pub(crate) fn team_memberships(team: &Team) -> Value {
    team.members
        .iter()
        .map(|own| {
            json!({
                "user_id": own.user_id, "team_id": team.team_id, "spend": 0.0, "budget_id": null, "litellm_budget_table": null,
            })
        })
        .collect()
}

/// The keys that `is_meant` finds, with their hashes, by their hashes.
pub(crate) fn keys(directory: &Shown, is_meant: impl Fn(&trunkline_model::VirtualKey) -> bool) -> Value {
    let mut keys: Vec<_> = directory.keys.values().filter(|key| is_meant(key)).collect();
    keys.sort_by_key(|key| key.hash);
    let row = |key: &&std::sync::Arc<trunkline_model::VirtualKey>| {
        let mut row = info(key, directory);
        row.insert("token".to_owned(), (&*key.id).into());
        Value::from(row)
    };
    keys.iter().map(row).collect()
}

pub(crate) fn user(user: &User, directory: &Shown) -> Map<String, Value> {
    let mut teams: Vec<&str> = directory
        .teams_of(&user.user_id)
        .map(|team| team.team_id.as_str())
        .collect();
    teams.sort_unstable();
    let columns = json!({
        "user_id": user.user_id, "user_email": user.user_email, "user_alias": user.user_alias,
        "user_role": user.user_role.map(trunkline_model::UserRole::as_str), "teams": teams, "team_id": null,
        "sso_user_id": null, "organization_id": null, "organization_memberships": [], "metadata": user.metadata,
        "tpm_limit": user.limits.tpm_limit,
        "max_parallel_requests": user.limits.max_parallel_requests, "rpm_limit": user.limits.rpm_limit, "allowed_cache_controls": [], "policies": [],
        "defect": user.defect,
    });
    let mut row = neutral(columns, &user.object_permission, &user.stamps);
    row.extend(directory.columns(Level::User, &user.user_id, &user.spending, None));
    row
}

pub(crate) fn organization(organization: &Organization, directory: &Shown) -> Map<String, Value> {
    let id = &organization.organization_id;
    let members: Vec<Value> = organization
        .members
        .iter()
        .map(|own| organization_membership(id, &own.user_id, own.user_role.as_str()))
        .collect();
    let mut teams: Vec<_> = directory
        .teams
        .values()
        .filter(|team| team.organization_id.as_ref() == Some(id))
        .collect();
    teams.sort_by(|a, b| a.team_id.cmp(&b.team_id));
    let teams: Vec<Value> = teams.into_iter().map(|own| team(own, directory).into()).collect();
    let own_budget = directory.budget(organization.budget_id.as_ref());
    let spent = directory.spent(Level::Organization, id, None, own_budget.map(|own| &**own));
    let columns = json!({
        "organization_id": id, "organization_alias": organization.organization_alias,
        "budget_id": organization.budget_id,
        "litellm_budget_table": budget::shown(organization.budget_id.as_ref(), directory), "metadata": organization.metadata, "spend": dollars(spent.now), "total_spend": dollars(spent.ever), "model_spend": {},
        "members": members, "teams": teams, "defect": organization.defect,
    });
    neutral(columns, &organization.object_permission, &organization.stamps)
}

pub(crate) fn organization_membership(organization_id: &str, user_id: &str, role: &str) -> Value {
    json!({
        "user_id": user_id, "organization_id": organization_id, "user_role": role, "spend": 0.0, "budget_id": null,
        "litellm_budget_table": null,
    })
}

pub(crate) fn end_user(end_user: &EndUser, directory: &Shown) -> Map<String, Value> {
    let own_budget = directory.budget(end_user.budget_id.as_ref());
    let spent = directory.spent(
        Level::EndUser,
        &end_user.user_id,
        None,
        own_budget.map(|own| &**own),
    );
    let columns = json!({
        "user_id": end_user.user_id, "alias": end_user.alias, "blocked": end_user.blocked,
        "spend": dollars(spent.now), "total_spend": dollars(spent.ever),
        "allowed_model_region": null, "default_model": null, "budget_id": end_user.budget_id,
        "litellm_budget_table": budget::shown(end_user.budget_id.as_ref(), directory), "defect": end_user.defect,
    });
    neutral(columns, &end_user.object_permission, &end_user.stamps)
}

/// The row, and what the administrator should know about its lists: they are kept as they are, because a server may come later.
pub(crate) fn with_warnings(
    mut row: Map<String, Value>,
    permission: &ObjectPermission,
    snapshot: &Snapshot,
) -> Map<String, Value> {
    let names = permission
        .mcp_servers
        .iter()
        .filter(|name| !SERVER_WORDS.contains(&name.as_str()))
        .map(|name| ("mcp_servers", name))
        .chain(
            permission
                .mcp_tool_permissions
                .keys()
                .map(|name| ("mcp_tool_permissions", name)),
        );
    let mut warnings: Vec<String> = names
        .filter(|(_, name)| snapshot.find(name).is_none())
        .map(|(field, name)| {
            format!("object_permission.{field}: no server has the id, name or alias {name:?}")
        })
        .collect();
    for group in &permission.mcp_access_groups {
        if snapshot.access_group(group).next().is_none() {
            warnings.push(format!(
                "object_permission.mcp_access_groups: no server is in the group {group:?}"
            ));
        }
    }
    row.insert("warnings".to_owned(), warnings.into());
    row
}
