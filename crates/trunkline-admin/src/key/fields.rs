//! What a body may say about a key: the fields that are served, and LiteLLM's others, which are refused unless what they
//! say is nothing. A field that is passed over would be a limit that somebody relies on.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use trunkline_auth::ring::KEY_PREFIX;
use trunkline_model::key::ROUTE_WORDS;
pub(crate) use trunkline_model::spending::span;
use trunkline_model::{Level, Secret, VirtualKey};

use super::error::KeyError;
use super::limits::{self, LimitsChange};
use super::permission::PermissionChange;
use crate::body::{At, Loc, Problems};
use crate::budget::own::{self, SpendingChange};
use crate::fields::one_of;
use crate::request::nearest;

/// The fields of a key that are served.
pub(crate) const SERVED: [(&str, &str); 21] = [
    ("key_alias", "A name of one's own, unique."),
    (
        "duration",
        "How long it is good from now on: `30s`, `30m`, `30h`, `30d`, `2w`, `1mo`; `-1`: for ever.",
    ),
    ("user_id", "Whose it is. One that is no user is a label."),
    ("team_id", "Of which team, which has to be there."),
    ("metadata", "One's own."),
    ("blocked", "Whether it is refused."),
    (
        "allowed_routes",
        "What it may call of what keys may call: paths, paths that end in `*`, or words for many (`llm_api_routes`, `mcp_routes`, `info_routes`).",
    ),
    (
        "key_type",
        "`default`, `llm_api`, `management` or `read_only`: a choice of `allowed_routes`.",
    ),
    ("object_permission", "What it may use; nothing without."),
    (
        "models",
        "Which models it may use: names, the beginning of names with `*`, `all-proxy-models`, `all-team-models`. Empty: its team's list, and nothing without one.",
    ),
    ("rpm_limit", "Calls in a minute; on all replicas together."),
    (
        "max_parallel_requests",
        "Calls at the same time; on all replicas together.",
    ),
    (
        "mcp_rpm_limit",
        "Calls in a minute of single servers, each by id, name or alias; on all replicas together.",
    ),
    (
        "tpm_limit",
        "Tokens of models in a minute; on all replicas together.",
    ),
    (
        "model_rpm_limit",
        "Requests to single models in a minute, by the name that clients ask for; on all replicas together.",
    ),
    (
        "model_tpm_limit",
        "Tokens of single models in a minute, by the name that clients ask for; on all replicas together.",
    ),
    ("budget_id", "Its budget, which has to be there."),
    own::FIELDS[0],
    own::FIELDS[1],
    own::FIELDS[2],
    own::FIELDS[3],
];

/// LiteLLM's other fields.
const LATER: [&str; 36] = [
    "aliases",
    "config",
    "spend",
    "budget_limits",
    "tpd_limit",
    "budget_fallbacks",
    "tag_rpm_limit",
    "rpm_limit_type",
    "tpm_limit_type",
    "agent_id",
    "organization_id",
    "project_id",
    "permissions",
    "allowed_cache_controls",
    "allowed_passthrough_routes",
    "denied_passthrough_routes",
    "guardrails",
    "policies",
    "prompts",
    "tags",
    "enforced_params",
    "access_group_ids",
    "auto_rotate",
    "rotation_interval",
    "router_settings",
    "send_invite_email",
    "end_user_budget_id",
    "throttle_on_budget_exceeded",
    "enable_prompt_caching",
    "disable_global_guardrails",
    "temp_budget_increase",
    "temp_budget_expiry",
    "new_master_key",
    "allowed_vector_store_indexes",
    "model_config",
    "search_tools",
];

/// What may be said of many keys of a team at once: what they may spend and call, until when, and what is one's own. Whose they are and what
/// they may use is said of each, as with LiteLLM.
pub(crate) const TEAM_FIELDS: [&str; 12] = [
    "max_budget",
    "budget_id",
    "budget_duration",
    "model_max_budget",
    "rpm_limit",
    "tpm_limit",
    "max_parallel_requests",
    "mcp_rpm_limit",
    "model_rpm_limit",
    "model_tpm_limit",
    "duration",
    "metadata",
];
/// LiteLLM's others of these.
pub(crate) const TEAM_FIELDS_LATER: [&str; 7] = [
    "budget_limits",
    "tpd_limit",
    "rpm_limit_type",
    "tpm_limit_type",
    "temp_budget_increase",
    "temp_budget_expiry",
    "tags",
];

pub(crate) const KEY_TYPES: [&str; 4] = ["default", "llm_api", "management", "read_only"];

/// Items of one list, and characters of one text.
pub(crate) const MAX_ITEMS: usize = 1000;
const MAX_TEXT: usize = 1024;
/// Bytes of `metadata`: every replica has every key in memory.
const MAX_METADATA: usize = 16 * 1024;

/// What a body says; what it does not name stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Change {
    key_alias: Option<Said<String>>,
    user_id: Option<Said<String>>,
    team_id: Option<Said<String>>,
    metadata: Option<Map<String, Value>>,
    lifetime: Option<Lifetime>,
    blocked: Option<bool>,
    allowed_routes: Option<Vec<String>>,
    key_type: Option<String>,
    permission: Option<PermissionChange>,
    models: Option<Vec<String>>,
    limits: LimitsChange,
    budget_id: Option<Said<String>>,
    spending: SpendingChange,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lifetime {
    Forever,
    Until(Timestamp),
}

impl Change {
    /// Reads a body. `own` are the fields that the operation itself takes.
    pub(crate) fn read(body: &Map<String, Value>, own: &[&str], now: Timestamp) -> Result<Self, KeyError> {
        let mut problems = Problems::default();
        let mut change = Self::default();
        for (name, value) in body {
            if own.contains(&name.as_str()) {
                continue;
            }
            let mut at = At::field(name, &mut problems);
            change.read_field(name, value, own, now, &mut at);
        }
        if change
            .allowed_routes
            .as_ref()
            .is_some_and(|routes| !routes.is_empty())
            && change.key_type.as_ref().is_some_and(|kind| kind != "default")
        {
            At::field("key_type", &mut problems).problem::<()>(
                "value_error",
                "Value error, allowed_routes and key_type say the same thing: give one",
            );
        }
        problems.into_result()?;
        Ok(change)
    }

    fn read_field(&mut self, name: &str, value: &Value, own: &[&str], now: Timestamp, at: &mut At<'_>) {
        match name {
            "key_alias" => self.key_alias = optional(value, at, short_text),
            "user_id" => self.user_id = optional(value, at, short_text),
            "team_id" => self.team_id = optional(value, at, short_text),
            "metadata" => self.metadata = optional(value, at, metadata).map(Said::unwrap_or_default),
            "duration" => {
                self.lifetime = optional(value, at, |v, at| lifetime(v, now, at)).and_then(Said::value);
            }
            "blocked" => self.blocked = optional(value, at, |v, at| at.flag(v)).and_then(Said::value),
            "allowed_routes" => {
                self.allowed_routes = optional(value, at, routes).map(Said::unwrap_or_default);
            }
            "key_type" => self.key_type = optional(value, at, key_type).and_then(Said::value),
            "object_permission" => self.permission = PermissionChange::read(value, Level::Key, at),
            "models" => self.models = optional(value, at, texts).map(Said::unwrap_or_default),
            _ if limits::NAMES.contains(&name) => self.limits.read(name, value, at),
            "budget_id" => self.budget_id = optional(value, at, short_text),
            _ if own::NAMES.contains(&name) => self.spending.read(name, value, now, at),
            "spend" if value.as_f64() == Some(0.0) => {}
            _ if LATER.contains(&name) => later(value, at),
            _ => unknown(
                name,
                SERVED.iter().map(|(name, _)| *name).chain(own.iter().copied()),
                at,
            ),
        }
    }

    /// Makes the key as the body says. `new_id` is for what has none yet.
    pub(crate) fn apply(self, key: &mut VirtualKey, new_id: String) {
        let Self {
            key_alias,
            user_id,
            team_id,
            metadata,
            lifetime,
            blocked,
            allowed_routes,
            key_type,
            permission,
            models,
            limits,
            budget_id,
            spending,
        } = self;
        // An administrator's word, unless whoever changes the key is none.
        key.delegation.alias &= key_alias.is_none();
        key.delegation.metadata &= metadata.is_none();
        set(&mut key.key_alias, key_alias.map(Said::value));
        set(&mut key.user_id, user_id.map(Said::value));
        set(&mut key.team_id, team_id.map(Said::value));
        set(&mut key.metadata, metadata.map(Into::into));
        match lifetime {
            None => {}
            Some(Lifetime::Forever) => key.expires = None,
            Some(Lifetime::Until(at)) => key.expires = Some(at),
        }
        set(&mut key.blocked, blocked);
        if let Some(kind) = key_type {
            if let Some(routes) = routes_of(&kind) {
                key.allowed_routes = routes;
            }
            key.key_type = Some(kind);
        }
        set(&mut key.allowed_routes, allowed_routes);
        limits.apply(&mut key.limits);
        spending.apply(&mut key.spending);
        set(&mut key.budget_id, budget_id.map(Said::value));
        set(&mut key.object_permission.models, models);
        if let Some(change) = permission {
            change.apply(&mut key.object_permission, new_id);
        }
    }
}

pub(crate) fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// A value that may be null.
#[derive(Debug)]
pub(crate) enum Said<T> {
    Null,
    Value(T),
}

impl<T> Said<T> {
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T: Default> Said<T> {
    pub(crate) fn unwrap_or_default(self) -> T {
        self.value().unwrap_or_default()
    }
}

/// `None` if the value is wrong, and that was noted.
pub(crate) fn optional<T>(
    value: &Value,
    at: &mut At<'_>,
    read: impl FnOnce(&Value, &mut At<'_>) -> Option<T>,
) -> Option<Said<T>> {
    if value.is_null() {
        return Some(Said::Null);
    }
    read(value, at).map(Said::Value)
}

pub(crate) fn short_text(value: &Value, at: &mut At<'_>) -> Option<String> {
    let text = at.text(value)?;
    if text.is_empty() {
        return at.problem("string_too_short", "String should have at least 1 character");
    }
    if text.chars().count() > MAX_TEXT {
        let message = format!("String should have at most {MAX_TEXT} characters");
        return at.problem("string_too_long", message);
    }
    Some(text.to_owned())
}

pub(crate) fn metadata(value: &Value, at: &mut At<'_>) -> Option<Map<String, Value>> {
    let object = at.object(value)?;
    if Value::from(object.clone()).to_string().len() > MAX_METADATA {
        let message = format!("Value error, it is larger than {MAX_METADATA} bytes");
        return at.problem("value_error", message);
    }
    Some(object.clone())
}

pub(crate) fn texts(value: &Value, at: &mut At<'_>) -> Option<Vec<String>> {
    let items = at.list(value)?;
    if items.len() > MAX_ITEMS {
        return at.problem("too_long", format!("List should have at most {MAX_ITEMS} items"));
    }
    let read: Vec<String> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| at.within(Loc::Index(index), |at| short_text(item, at)))
        .collect();
    (read.len() == items.len()).then_some(read)
}

fn routes(value: &Value, at: &mut At<'_>) -> Option<Vec<String>> {
    let routes = texts(value, at)?;
    for (index, route) in routes.iter().enumerate() {
        if !route.starts_with('/') && !ROUTE_WORDS.contains(&route.as_str()) {
            let message = format!(
                "Value error, it should be a path that begins with '/', or {}",
                one_of(&ROUTE_WORDS)
            );
            return at.within(Loc::Index(index), |at| at.problem("value_error", message));
        }
    }
    Some(routes)
}

fn key_type(value: &Value, at: &mut At<'_>) -> Option<String> {
    let kind = at.text(value)?;
    if !KEY_TYPES.contains(&kind) {
        return at.problem("enum", format!("Input should be {}", one_of(&KEY_TYPES)));
    }
    Some(kind.to_owned())
}

fn routes_of(kind: &str) -> Option<Vec<String>> {
    let word = match kind {
        "llm_api" => "llm_api_routes",
        "management" => "management_routes",
        "read_only" => "info_routes",
        _ => return None,
    };
    Some(vec![word.to_owned()])
}

fn lifetime(value: &Value, now: Timestamp, at: &mut At<'_>) -> Option<Lifetime> {
    let text = at.text(value)?;
    if text == "-1" {
        return Some(Lifetime::Forever);
    }
    let until = span(text).and_then(|span| now.to_zoned(TimeZone::UTC).checked_add(span).ok());
    match until {
        Some(until) => Some(Lifetime::Until(until.timestamp())),
        None => at.problem(
            "value_error",
            "Value error, it should be a number above 0 with a unit: 30s, 30m, 30h, 30d, 2w, 1mo; or -1",
        ),
    }
}

/// A field of LiteLLM's that is not served: what says nothing may stay, because its clients send it.
pub(crate) fn later(value: &Value, at: &mut At<'_>) {
    let says_nothing = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if !says_nothing {
        at.problem::<()>(
            "not_supported",
            "Value error, this field is not supported yet: leave it out, null or empty",
        );
    }
}

pub(crate) fn unknown<'n>(name: &str, names: impl Iterator<Item = &'n str>, at: &mut At<'_>) {
    let hint = nearest(name, names).map_or_else(
        || "no such field".to_owned(),
        |near| format!("did you mean {near}?"),
    );
    at.problem::<()>(
        "extra_forbidden",
        format!("Extra inputs are not permitted; {hint}"),
    );
}

/// Refuses a body that has anything but `own`.
pub(crate) fn refuse_others(body: &Map<String, Value>, own: &[&str]) -> Result<(), KeyError> {
    let mut problems = Problems::default();
    for name in body.keys().filter(|name| !own.contains(&name.as_str())) {
        unknown(name, own.iter().copied(), &mut At::field(name, &mut problems));
    }
    Ok(problems.into_result()?)
}

/// Takes LiteLLM's fields that are not served out of a body, in which they may say nothing.
pub(crate) fn refuse_later(body: &mut Map<String, Value>, names: &[&str]) -> Result<(), KeyError> {
    let mut problems = Problems::default();
    for name in names {
        if let Some(value) = body.remove(*name) {
            later(&value, &mut At::field(name, &mut problems));
        }
    }
    Ok(problems.into_result()?)
}

/// The texts in the member `name` of a body, if there is any.
pub(crate) fn names(body: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, KeyError> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let mut problems = Problems::default();
    let texts = texts(value, &mut At::field(name, &mut problems));
    problems.into_result()?;
    Ok(texts.filter(|texts| !texts.is_empty()))
}

/// The word, if it is one of these.
pub(crate) fn one_of_words<'w>(words: &[&'w str], word: &str) -> Result<&'w str, String> {
    let found = words.iter().find(|own| **own == word);
    found
        .copied()
        .ok_or_else(|| format!("Input should be {}", one_of(words)))
}

/// A key of the administrator's choice, in the member `name` of a body.
pub(crate) fn chosen_key(body: &Map<String, Value>, name: &str) -> Result<Option<Secret>, KeyError> {
    const LEAST: usize = 16;
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let mut problems = Problems::default();
    let mut at = At::field(name, &mut problems);
    let secret = at.text(value).and_then(|text| {
        let is_sound = text.starts_with(KEY_PREFIX)
            && (LEAST..=256).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_sound {
            return Some(Secret::new(text));
        }
        at.problem(
            "value_error",
            format!("Value error, a key begins with '{KEY_PREFIX}' and has {LEAST} to 256 visible ASCII characters"),
        )
    });
    problems.into_result()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let after = |text: &str| {
            let span = span(text)?;
            let until = now.to_zoned(TimeZone::UTC).checked_add(span).ok()?;
            Some(until.timestamp().as_second() - now.as_second())
        };
        for (text, seconds) in [
            ("30s", 30),
            ("30m", 1800),
            ("2h", 7200),
            ("1d", 86_400),
            ("1w", 604_800),
            // From the 14th of November to the 14th of December.
            ("1mo", 30 * 86_400),
        ] {
            assert_eq!(after(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "30",
            "s",
            "0s",
            "-1s",
            "1y",
            "1.5h",
            "99999999999999999999s",
            "9000000mo",
            "é",
        ] {
            assert_eq!(after(text), None, "{text}");
        }
    }
}
