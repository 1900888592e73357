//! A key as answers show it: LiteLLM's columns, those that mean nothing here with the values that say so.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use trunkline_auth::Authenticator;
use trunkline_model::key::{ALL_TEAM_MCP_SERVERS, Part, SERVER_WORDS};
use trunkline_model::{Delegation, Level, ObjectPermission, Secret, Snapshot, VirtualKey};

use crate::App;
use crate::spend::shown::Shown;

/// LiteLLM's columns of what is not served: nothing of it is limited, and nothing was spent.
fn neutral() -> Map<String, Value> {
    let neutral = json!({
        "soft_budget_cooldown": false,
        "litellm_budget_table": null, "aliases": {},
        "config": {}, "permissions": {}, "router_settings": {},
        "allowed_cache_controls": [],
        "policies": [], "access_group_ids": [], "agent_id": null, "organization_id": null, "project_id": null,
        "auto_rotate": false, "rotation_interval": null, "key_rotation_at": null,
    });
    match neutral {
        Value::Object(neutral) => neutral,
        _ => Map::new(),
    }
}

/// Everything but the hash.
pub(crate) fn info(key: &VirtualKey, shown: &Shown) -> Map<String, Value> {
    let now = shown.now();
    let time = |at: Option<Timestamp>| Value::from(at.map(|at| at.to_string()));
    let (stamps, permission) = (&key.stamps, &key.object_permission);
    let previous = key.previous.iter().filter(|own| now < own.until);
    let previous = previous.map(|own| json!({"token": own.hash.to_hex(), "until": own.until.to_string()}));
    let own: [(&str, Value); 29] = [
        ("key_name", Value::from(key.key_name.clone())),
        ("key_alias", key.key_alias.clone().into()),
        ("key_type", key.key_type.clone().into()),
        ("user_id", key.user_id.clone().into()),
        ("team_id", key.team_id.clone().into()),
        ("metadata", key.metadata.to_map().into()),
        ("expires", time(key.expires)),
        ("blocked", key.blocked.into()),
        ("status", status(key, now).into()),
        ("allowed_routes", key.allowed_routes.clone().into()),
        ("object_permission_id", permission.id.clone().into()),
        ("object_permission", permission_row(permission)),
        ("models", permission.models.clone().into()),
        ("created_at", time(stamps.created_at)),
        ("created_by", stamps.created_by.clone().into()),
        ("updated_at", time(stamps.updated_at)),
        ("updated_by", stamps.updated_by.clone().into()),
        ("rotation_count", key.rotation_count.into()),
        ("last_rotation_at", time(key.last_rotation_at)),
        ("rpm_limit", key.limits.rpm_limit.into()),
        ("max_parallel_requests", key.limits.max_parallel_requests.into()),
        ("mcp_rpm_limit", json!(key.limits.mcp_rpm_limit)),
        ("tpm_limit", key.limits.tpm_limit.into()),
        ("model_rpm_limit", json!(key.limits.model_rpm_limit)),
        ("model_tpm_limit", json!(key.limits.model_tpm_limit)),
        ("budget_id", key.budget_id.clone().into()),
        ("previous_secrets", previous.collect()),
        ("delegation", delegation(&key.delegation)),
        ("defect", key.defect.clone().into()),
    ];
    let mut row = neutral();
    row.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let budget = shown.budget(key.budget_id.as_ref()).map(|own| &**own);
    row.extend(shown.columns(Level::Key, &key.id, &key.spending, budget));
    row
}

/// The row, hash included.
pub(crate) fn row(key: &VirtualKey, shown: &Shown) -> Map<String, Value> {
    let mut row = info(key, shown);
    row.insert("token".to_owned(), (&*key.id).into());
    row
}

/// The answer that has the key itself: the only one.
pub(crate) fn made(key: &VirtualKey, secret: &Secret, app: &App) -> Map<String, Value> {
    let mut row = row(key, &app.directory());
    row.insert("token_id".to_owned(), (&*key.id).into());
    row.insert("key".to_owned(), secret.expose().into());
    row.insert(
        "warnings".to_owned(),
        warnings(key, &app.registry.snapshot()).into(),
    );
    row
}

/// What of it is no administrator's, if anything is.
fn delegation(own: &Delegation) -> Value {
    if *own == Delegation::default() {
        return Value::Null;
    }
    let words = [(own.alias, "key_alias"), (own.metadata, "metadata")];
    let words: Vec<&str> = words
        .into_iter()
        .filter_map(|(is_own, word)| is_own.then_some(word))
        .collect();
    json!({"by": own.by, "is_whole": own.is_whole, "words": words})
}

/// Why it is let in or not, in a word.
fn status(key: &VirtualKey, now: Timestamp) -> &'static str {
    if key.defect.is_some() {
        "unreadable"
    } else if key.blocked {
        "blocked"
    } else if key.is_expired(now) {
        "expired"
    } else {
        "active"
    }
}

pub(crate) fn permission_row(permission: &ObjectPermission) -> Value {
    json!({
        "object_permission_id": permission.id,
        "mcp_servers": permission.mcp_servers,
        "mcp_access_groups": permission.mcp_access_groups,
        "mcp_tool_permissions": permission.mcp_tool_permissions,
        "mcp_toolsets": permission.mcp_toolsets,
        "vector_stores": [],
        "agents": [],
        "agent_access_groups": [],
    })
}

/// What the administrator should know about the grants: they are kept as they are, because a server may come later.
pub(crate) fn warnings(key: &VirtualKey, snapshot: &Snapshot) -> Vec<String> {
    let permission = &key.object_permission;
    let mut warnings = Vec::new();
    for name in &permission.mcp_servers {
        if !SERVER_WORDS.contains(&name.as_str()) && snapshot.find(name).is_none() {
            warnings.push(format!(
                "object_permission.mcp_servers: no server has the id, name or alias {name:?}"
            ));
        }
    }
    for group in &permission.mcp_access_groups {
        if snapshot.access_group(group).next().is_none() {
            warnings.push(format!(
                "object_permission.mcp_access_groups: no server is in the group {group:?}"
            ));
        }
    }
    for name in key.limits.mcp_rpm_limit.keys() {
        if snapshot.find(name).is_none() {
            warnings.push(format!(
                "mcp_rpm_limit: no server has the id, name or alias {name:?}"
            ));
        }
    }
    for name in &permission.mcp_toolsets {
        if snapshot.toolsets().find(name).is_none() {
            warnings.push(format!(
                "object_permission.mcp_toolsets: no toolset has the id or name {name:?}"
            ));
        }
    }
    // What it has from its team is not looked for here.
    let takes_the_teams = key.team_id.is_some() && permission.says(ALL_TEAM_MCP_SERVERS);
    for name in permission
        .mcp_tool_permissions
        .keys()
        .filter(|_| !takes_the_teams)
    {
        let granted = snapshot
            .find(name)
            .is_some_and(|server| server.definition.allow_all_keys || permission.lists(server, Part::Any));
        if !granted {
            warnings.push(format!(
                "object_permission.mcp_tool_permissions: {name:?} is no server that this key may use; a list of tools narrows a grant and gives none"
            ));
        }
    }
    warnings
}

/// Whether a key would be the master key, which is no virtual key.
pub(crate) fn is_master_key(authenticator: &Authenticator, secret: &Secret) -> bool {
    authenticator.is_master_key(&trunkline_auth::key_hash(secret.expose()).0)
}
