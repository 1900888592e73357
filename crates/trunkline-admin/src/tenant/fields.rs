//! What a body may say about a team, a user, an organisation or an end user: the fields that are served, and LiteLLM's others,
//! which are refused unless what they say is nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use trunkline_model::{CallLimits, Level, MEMBER_PERMISSIONS, ObjectPermission, Spending, UserRole};

use crate::body::{At, Loc, Problems};
use crate::budget::own::{self, SpendingChange};
use crate::fields::one_of;
use crate::key::error::KeyError;
use crate::key::fields::{MAX_ITEMS, Said, later, metadata, optional, set, short_text, texts, unknown};
use crate::key::limits::{self, LimitsChange};
use crate::key::permission::PermissionChange;

/// One kind of row, as bodies know it.
pub(crate) struct Kind {
    pub(crate) level: Level,
    /// The fields that are served, with what they are.
    pub(crate) served: &'static [(&'static str, &'static str)],
    /// LiteLLM's other fields.
    later: &'static [&'static str],
}

const MODELS: (&str, &str) = (
    "models",
    "Which models may be used at most: names, the beginning of names with `*`, `all-proxy-models`. Empty: this takes nothing away.",
);
const METADATA: (&str, &str) = ("metadata", "One's own.");

pub(crate) static TEAM: Kind = Kind {
    level: Level::Team,
    served: &[
        ("team_alias", "Its name."),
        (
            "organization_id",
            "Which organisation it is in, which has to be there.",
        ),
        ("blocked", "Whether its keys are refused."),
        METADATA,
        (
            "object_permission",
            "What its keys may use at most, and what those of them may use that say `all-team-mcpservers`. `all-proxy-mcpservers`: every server.",
        ),
        (
            "rpm_limit",
            "Calls of all its keys in a minute; on all replicas together.",
        ),
        (
            "max_parallel_requests",
            "Calls of all its keys at the same time; on all replicas together.",
        ),
        (
            "team_member_permissions",
            "What members that are no admins may do with their own keys of the team: routes, as `/team/permissions_list` has them.",
        ),
        (
            "mcp_rpm_limit",
            "Calls of all its keys in a minute of single servers, each by id, name or alias; on all replicas together.",
        ),
        (
            "tpm_limit",
            "Tokens of models of all its keys in a minute; on all replicas together.",
        ),
        (
            "model_rpm_limit",
            "Requests of all its keys to single models in a minute, by the name that clients ask for; on all replicas together.",
        ),
        (
            "model_tpm_limit",
            "Tokens of all its keys of single models in a minute, by the name that clients ask for; on all replicas together.",
        ),
        (
            "models",
            "Which models its keys may use at most, and what those of them have that have no list or say `all-team-models`. Empty: this takes nothing away.",
        ),
        own::FIELDS[0],
        own::FIELDS[1],
        own::FIELDS[2],
        own::FIELDS[3],
    ],
    later: &[
        "admins",
        "members",
        "model_aliases",
        "spend",
        "budget_limits",
        "budget_id",
        "tpd_limit",
        "tpm_limit_type",
        "rpm_limit_type",
        "team_member_budget",
        "team_member_budget_duration",
        "team_member_rpm_limit",
        "team_member_tpm_limit",
        "team_member_key_duration",
        "default_team_member_models",
        "guardrails",
        "disable_global_guardrails",
        "policies",
        "prompts",
        "tags",
        "router_settings",
        "access_group_ids",
        "allowed_passthrough_routes",
        "allowed_vector_store_indexes",
        "allow_team_guardrail_config",
        "enforced_file_expires_after",
        "enforced_batch_output_expires_after",
        "secret_manager_settings",
        "soft_budget_alerting_emails",
    ],
};

pub(crate) static USER: Kind = Kind {
    level: Level::User,
    served: &[
        ("user_email", "Its address, unique."),
        ("user_alias", "Its name."),
        (
            "user_role",
            "What its keys may do with the gateway itself, unless they are a team's: `proxy_admin`, `proxy_admin_viewer`, `internal_user`, `internal_user_viewer`.",
        ),
        METADATA,
        ("object_permission", "What its keys may use at most."),
        (
            "rpm_limit",
            "Calls of all its keys in a minute; on all replicas together.",
        ),
        (
            "max_parallel_requests",
            "Calls of all its keys at the same time; on all replicas together.",
        ),
        (
            "tpm_limit",
            "Tokens of models of all its keys in a minute; on all replicas together.",
        ),
        (
            "models",
            "Which models its own keys may use at most, not those of teams. `no-default-models`: none. Empty: this takes nothing away.",
        ),
        own::FIELDS[0],
        own::FIELDS[1],
        own::FIELDS[2],
        own::FIELDS[3],
    ],
    later: &[
        "organizations",
        "aliases",
        "config",
        "spend",
        "budget_limits",
        "budget_id",
        "model_rpm_limit",
        "model_tpm_limit",
        "mcp_rpm_limit",
        "permissions",
        "allowed_cache_controls",
        "guardrails",
        "policies",
        "prompts",
        "tags",
        "router_settings",
        "access_group_ids",
        "send_invite_email",
        "sso_user_id",
        "password",
        "team_id",
        "agent_id",
        "project_id",
        "organization_id",
        "allowed_routes",
        "auto_rotate",
        "rotation_interval",
    ],
};

pub(crate) static ORGANIZATION: Kind = Kind {
    level: Level::Organization,
    served: &[
        ("organization_alias", "Its name."),
        METADATA,
        ("object_permission", "What the keys of its teams may use at most."),
        ("budget_id", "Its budget, which has to be there."),
        MODELS,
    ],
    later: &[
        "max_budget",
        "soft_budget",
        "spend",
        "budget_duration",
        "tpm_limit",
        "rpm_limit",
        "tpd_limit",
        "max_parallel_requests",
        "model_max_budget",
        "model_rpm_limit",
        "model_tpm_limit",
        "guardrails",
        "policies",
        "tags",
        "access_group_ids",
        "allowed_models",
        "budget_limits",
    ],
};

pub(crate) static CUSTOMER: Kind = Kind {
    level: Level::EndUser,
    served: &[
        ("alias", "Its name."),
        ("blocked", "Whether requests for it are refused."),
        ("object_permission", "What requests for it may use at most."),
        ("budget_id", "Its budget, which has to be there."),
        MODELS,
    ],
    later: &[
        "max_budget",
        "soft_budget",
        "budget_duration",
        "budget_limits",
        "spend",
        "tpm_limit",
        "rpm_limit",
        "tpd_limit",
        "max_parallel_requests",
        "model_max_budget",
        "allowed_model_region",
        "default_model",
    ],
};

/// What a body says; what it does not name stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Change {
    texts: BTreeMap<&'static str, Option<String>>,
    metadata: Option<Map<String, Value>>,
    blocked: Option<bool>,
    role: Option<Said<UserRole>>,
    permission: Option<PermissionChange>,
    limits: LimitsChange,
    spending: SpendingChange,
    models: Option<Vec<String>>,
    member_permissions: Option<Vec<String>>,
}

impl Change {
    /// Reads a body. `own` are the fields that the operation itself takes.
    pub(crate) fn read(
        kind: &Kind,
        body: &Map<String, Value>,
        own: &[&str],
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let mut problems = Problems::default();
        let mut change = Self::default();
        for (name, value) in body.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
            change.read_field(kind, (name, value), own, now, &mut At::field(name, &mut problems));
        }
        problems.into_result()?;
        Ok(change)
    }

    fn read_field(
        &mut self,
        kind: &Kind,
        (name, value): (&str, &Value),
        own: &[&str],
        now: Timestamp,
        at: &mut At<'_>,
    ) {
        let served = kind.served.iter().find(|(served, _)| *served == name);
        match (served, name) {
            (Some(_), "metadata") => {
                self.metadata = optional(value, at, metadata).map(Said::unwrap_or_default);
            }
            (Some(_), "blocked") => {
                self.blocked = optional(value, at, |v, at| at.flag(v)).and_then(Said::value);
            }
            (Some(_), "team_member_permissions") => {
                self.member_permissions =
                    optional(value, at, member_permissions).map(Said::unwrap_or_default);
            }
            (Some(_), "user_role") => self.role = optional(value, at, role),
            (Some(_), "object_permission") => {
                self.permission = PermissionChange::read(value, kind.level, at);
            }
            (Some(_), _) if limits::NAMES.contains(&name) => {
                self.limits.read(name, value, at);
            }
            (Some(_), _) if own::NAMES.contains(&name) => {
                self.spending.read(name, value, now, at);
            }
            (Some(_), "models") => self.models = optional(value, at, texts).map(Said::unwrap_or_default),
            (Some((served, _)), _) => {
                if let Some(text) = optional(value, at, short_text) {
                    self.texts.insert(served, text.value());
                }
            }
            (None, "spend") if value.as_f64() == Some(0.0) => {}
            (None, _) if kind.later.contains(&name) => later(value, at),
            (None, _) => unknown(
                name,
                kind.served
                    .iter()
                    .map(|(name, _)| *name)
                    .chain(own.iter().copied()),
                at,
            ),
        }
    }

    /// The text that the body sets a field to.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).and_then(Option::as_deref)
    }

    pub(crate) fn set_text(&self, name: &str, field: &mut Option<String>) {
        set(field, self.texts.get(name).cloned());
    }

    pub(crate) fn set_metadata(&self, field: &mut Map<String, Value>) {
        set(field, self.metadata.clone());
    }

    pub(crate) fn set_blocked(&self, field: &mut bool) {
        set(field, self.blocked);
    }

    pub(crate) fn set_member_permissions(&self, field: &mut Vec<String>) {
        set(field, self.member_permissions.clone());
    }

    pub(crate) fn set_role(&self, field: &mut Option<UserRole>) {
        match self.role {
            None => {}
            Some(Said::Null) => *field = None,
            Some(Said::Value(role)) => *field = Some(role),
        }
    }

    /// `new_id` is for grants that have none yet.
    pub(crate) fn set_permission_and_limits(
        self,
        permission: &mut ObjectPermission,
        (limits, spending): (&mut CallLimits, &mut Spending),
        new_id: String,
    ) {
        set(&mut permission.models, self.models);
        if let Some(change) = self.permission {
            change.apply(permission, new_id);
        }
        self.limits.apply(limits);
        self.spending.apply(spending);
    }

    /// The same of who has no limits.
    pub(crate) fn set_permission(self, field: &mut ObjectPermission, new_id: String) {
        set(&mut field.models, self.models);
        if let Some(change) = self.permission {
            change.apply(field, new_id);
        }
    }
}

/// Words that mean something; others would be a permission that somebody relies on.
fn member_permissions(value: &Value, at: &mut At<'_>) -> Option<Vec<String>> {
    let words = texts(value, at)?;
    for (index, word) in words.iter().enumerate() {
        if !MEMBER_PERMISSIONS.contains(&word.as_str()) {
            let message = format!("Input should be {}", one_of(&MEMBER_PERMISSIONS));
            return at.within(Loc::Index(index), |at| at.problem("enum", message));
        }
    }
    Some(words)
}

fn role(value: &Value, at: &mut At<'_>) -> Option<UserRole> {
    let word = at.text(value)?;
    match UserRole::parse(word) {
        Some(role) => Some(role),
        None => at.problem(
            "enum",
            format!("Input should be {}", one_of(&UserRole::ALL.map(UserRole::as_str))),
        ),
    }
}

/// The text in the member `name` of a body, if there is any.
pub(crate) fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, KeyError> {
    let mut problems = Problems::default();
    let mut at = At::field(name, &mut problems);
    let value = body.get(name).filter(|value| !value.is_null());
    let text = value.and_then(|value| short_text(value, &mut at));
    problems.into_result()?;
    Ok(text)
}

/// The text that a body must have.
pub(crate) fn required(body: &Map<String, Value>, name: &str) -> Result<String, KeyError> {
    match text(body, name)? {
        Some(text) => Ok(text),
        None => Err(missing(name)),
    }
}

/// A field that has to be there is not.
pub(crate) fn missing(name: &str) -> KeyError {
    let mut problems = Problems::default();
    At::field(name, &mut problems).problem::<()>("missing", "Field required");
    match problems.into_result() {
        Err(error) => error.into(),
        Ok(()) => KeyError::NotFound,
    }
}

/// The flag in the member `name` of a body, if there is any.
pub(crate) fn flag(body: &Map<String, Value>, name: &str) -> Result<Option<bool>, KeyError> {
    let mut problems = Problems::default();
    let mut at = At::field(name, &mut problems);
    let value = body.get(name).filter(|value| !value.is_null());
    let flag = value.and_then(|value| at.flag(value));
    problems.into_result()?;
    Ok(flag)
}

/// A member as a body names it.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) user_id: Option<String>,
    pub(crate) user_email: Option<String>,
    pub(crate) role: Option<String>,
}

/// The members in the field `name` of a body, one object or a list of them; each names a user by id or by address, and `roles`
/// has what it may be.
pub(crate) fn members(
    body: &Map<String, Value>,
    name: &str,
    roles: &[&str],
) -> Result<Option<Vec<Named>>, KeyError> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let mut problems = Problems::default();
    let mut at = At::field(name, &mut problems);
    let items: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    };
    if items.len() > MAX_ITEMS {
        at.problem::<()>("too_long", format!("List should have at most {MAX_ITEMS} items"));
    }
    let mut members = Vec::new();
    for (index, item) in items.into_iter().take(MAX_ITEMS).enumerate() {
        members.extend(at.within(Loc::Index(index), |at| member(item, roles, at)));
    }
    problems.into_result()?;
    Ok(Some(members))
}

fn member(value: &Value, roles: &[&str], at: &mut At<'_>) -> Option<Named> {
    let mut named = Named {
        user_id: None,
        user_email: None,
        role: None,
    };
    for (name, value) in at.object(value)? {
        at.within(Loc::Name(name.clone()), |at| match name.as_str() {
            "user_id" => named.user_id = optional(value, at, short_text).and_then(Said::value),
            "user_email" => named.user_email = optional(value, at, short_text).and_then(Said::value),
            "role" => {
                let word = optional(value, at, short_text).and_then(Said::value);
                named.role = word.filter(|word| {
                    let is_one = roles.contains(&word.as_str());
                    if !is_one {
                        at.problem::<()>("enum", format!("Input should be {}", one_of(roles)));
                    }
                    is_one
                });
            }
            _ => unknown(name, ["user_id", "user_email", "role"].into_iter(), at),
        });
    }
    if named.user_id.is_none() && named.user_email.is_none() {
        return at.problem(
            "value_error",
            "Value error, either user_id or user_email has to be there",
        );
    }
    Some(named)
}
