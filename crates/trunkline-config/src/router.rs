//! `router_settings`, and what of `litellm_settings` stands in for it: how deployments are chosen, and what is done when they fail.

use std::sync::Arc;

use trunkline_llm::wildcard;
use trunkline_model::{
    ByKind, Deployment, FailureKind, Fallbacks, ModelAlias, RouterRules, Strategy, Targets,
};

use crate::env::{Env, resolve};
use crate::error::{Report, join, shown};
use crate::fields;
use crate::section::{Section, suggestion};
use crate::tree::{Entry, Node, Value};

/// Seconds that nothing may be set above: it is a mistake of unit.
pub(crate) const MAX_SECONDS: f64 = 86_400.0;
/// Tries of one request.
pub(crate) const MAX_RETRIES: u64 = 100;
/// Names that are asked for one request.
const MAX_FALLBACKS: u64 = 100;
/// Any count.
const MAX_COUNT: u64 = 1_000_000;
/// Of any model.
const ANY: &str = "*";
/// The members of an alias.
const ALIAS: [&str; 2] = ["model", "hidden"];

/// What of `litellm_settings` is read here.
pub(crate) const GENERAL: [&str; 9] = [
    "num_retries",
    "request_timeout",
    "drop_params",
    "allowed_fails",
    "fallbacks",
    "default_fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "max_fallbacks",
];

/// Reads the rules; the router's own count more than the general ones. References are resolved in place.
pub(crate) fn read(entries: &mut [Entry], env: &dyn Env, report: &mut Report) -> RouterRules {
    let mut rules = RouterRules::default();
    let own: Vec<&str> = fields::ROUTER.iter().map(|field| field.name).collect();
    for (name, served, timeout) in [
        ("litellm_settings", &GENERAL[..], "request_timeout"),
        ("router_settings", &own[..], "timeout"),
    ] {
        let Some(entry) = crate::section(entries, name) else {
            continue;
        };
        if entry.node.is_absent() {
            continue;
        }
        resolve_served(&mut entry.node, name, served, env, report);
        // That it is no mapping was said already.
        if entry.node.entries().is_none() {
            continue;
        }
        let Some(mut section) = Section::open(name.to_owned(), entry.at, &entry.node, report) else {
            continue;
        };
        if let Some(seconds) = seconds(&mut section, timeout) {
            rules.timeout = seconds;
        }
        if let Some(drops) = section
            .boolean("drop_params")
            .filter(|_| name == "litellm_settings")
        {
            rules.drop_params = drops;
        }
        retries(&mut section, &mut rules);
        fallbacks(&mut section, &mut rules.fallbacks);
        if name == "router_settings" {
            choice(&mut section, &mut rules);
            rests(&mut section, &mut rules);
            rules.aliases.extend(aliases(&mut section));
        }
    }
    rules
}

/// Seconds up to a day.
pub(crate) fn seconds(section: &mut Section<'_>, name: &str) -> Option<f64> {
    let value = section.positive(name)?;
    if value > MAX_SECONDS {
        section.error(name, format!("must be at most {MAX_SECONDS} seconds"));
    }
    Some(value.min(MAX_SECONDS))
}

/// The same, or 0.
pub(crate) fn seconds_or_none(section: &mut Section<'_>, name: &str) -> Option<f64> {
    if section.node(name).is_some_and(Node::is_off) {
        return Some(0.0);
    }
    seconds(section, name)
}

/// A whole number that fits.
pub(crate) fn count(section: &mut Section<'_>, name: &str, (min, max): (u64, u64)) -> Option<u32> {
    section
        .integer(name, min, max)
        .and_then(|own| u32::try_from(own).ok())
}

fn retries(section: &mut Section<'_>, rules: &mut RouterRules) {
    if let Some(retries) = count(section, "num_retries", (0, MAX_RETRIES)) {
        rules.num_retries = retries;
        rules.asks_again = retries > 0;
    }
    if let Some(fails) = count(section, "allowed_fails", (0, MAX_COUNT)) {
        rules.allowed_fails = Some(fails);
    }
}

fn choice(section: &mut Section<'_>, rules: &mut RouterRules) {
    if let Some(text) = section.text("routing_strategy") {
        if let Some(strategy) = Strategy::parse(&text) {
            rules.strategy = strategy;
        } else {
            let hint = suggestion(&text, Strategy::NAMES.into_iter());
            let words = Strategy::NAMES.join(", ");
            section.error("routing_strategy", format!("must be one of {words}{hint}"));
        }
    }
    rules.stream_timeout = seconds(section, "stream_timeout");
    rules.filters_tags = section.boolean("enable_tag_filtering").unwrap_or(false);
    rules.matches_any_tag = section.boolean("tag_filtering_match_any").unwrap_or(true);
    rules.max_parallel_requests = count(section, "default_max_parallel_requests", (1, MAX_COUNT));
}

fn rests(section: &mut Section<'_>, rules: &mut RouterRules) {
    rules.disable_cooldowns = section.boolean("disable_cooldowns") == Some(true);
    if rules.disable_cooldowns {
        rules.cooldown_time = 0.0;
    } else if let Some(seconds) = seconds_or_none(section, "cooldown_time") {
        rules.cooldown_time = seconds;
    }
    if let Some(seconds) = seconds_or_none(section, "retry_after") {
        rules.retry_after = seconds;
    }
    if let Some(node) = section.node("retry_policy") {
        let path = section.path_of("retry_policy");
        rules.retry_policy = by_kind(node, (&path, "Retries"), section.report);
    }
    if let Some(node) = section.node("allowed_fails_policy") {
        let path = section.path_of("allowed_fails_policy");
        rules.allowed_fails_policy = by_kind(node, (&path, "AllowedFails"), section.report);
    }
    for (path, entry) in section.map("model_group_retry_policy") {
        let policy = by_kind(&entry.node, (&path, "Retries"), section.report);
        rules.group_retry_policy.insert(entry.key.clone(), policy);
    }
}

/// `{TimeoutErrorRetries: 2}`
fn by_kind(node: &Node, (path, suffix): (&str, &str), report: &mut Report) -> ByKind {
    let mut numbers = ByKind::default();
    let known: Vec<String> = FailureKind::NAMES
        .iter()
        .map(|(_, name)| format!("{name}{suffix}"))
        .collect();
    let Some(mut section) = Section::open(path.to_owned(), node.at, node, report) else {
        return numbers;
    };
    let names: Vec<String> = section.keys().collect();
    for name in names {
        let found = known.iter().position(|own| *own == name);
        let Some((kind, _)) = found.and_then(|index| FailureKind::NAMES.get(index)) else {
            let hint = suggestion(&name, known.iter().map(String::as_str));
            let text = format!("unknown field {} in {path}{hint}", shown(&name));
            let at = section.place(&name);
            section.report.error(at, text);
            continue;
        };
        if let Some(number) = count(&mut section, &name, (0, MAX_COUNT)) {
            numbers.set(*kind, number);
        }
    }
    numbers
}

fn fallbacks(section: &mut Section<'_>, own: &mut Fallbacks) {
    if section.node("fallbacks").is_some() {
        own.general = targets(section, "fallbacks");
    }
    if section.node("context_window_fallbacks").is_some() {
        own.context_window = targets(section, "context_window_fallbacks");
    }
    if section.node("content_policy_fallbacks").is_some() {
        own.content_policy = targets(section, "content_policy_fallbacks");
    }
    if let Some(names) = section.texts("default_fallbacks").filter(|own| !own.is_empty()) {
        own.general.insert(ANY.to_owned(), names);
    }
    if let Some(most) = count(section, "max_fallbacks", (0, MAX_FALLBACKS)) {
        own.most = most;
    }
}

/// `[{group: [targets]}]`
fn targets(section: &mut Section<'_>, name: &str) -> Targets {
    let mut targets = Targets::new();
    let path = section.path_of(name);
    for (index, item) in section.items(name).iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(mut inner) = Section::open(path, item.at, item, section.report) else {
            continue;
        };
        let groups: Vec<String> = inner.keys().collect();
        for group in groups {
            // What is no name (LiteLLM takes parameters there, too) is a mistake.
            if let Some(names) = inner.texts(&group) {
                targets.insert(group, names);
            }
        }
    }
    targets
}

/// `{alias: name}` or `{alias: {model, hidden}}`
fn aliases(section: &mut Section<'_>) -> Vec<(String, ModelAlias)> {
    let mut aliases = Vec::new();
    for (path, entry) in section.map("model_group_alias") {
        if let Value::Text(model) = &entry.node.value {
            let alias = ModelAlias {
                model: model.clone(),
                hidden: false,
            };
            aliases.push((entry.key.clone(), alias));
            continue;
        }
        let Some(mut own) = Section::open(path.clone(), entry.at, &entry.node, section.report) else {
            continue;
        };
        let unknown: Vec<String> = own.keys().filter(|key| !ALIAS.contains(&key.as_str())).collect();
        for key in unknown {
            let hint = suggestion(&key, ALIAS.into_iter());
            let at = own.place(&key);
            own.report
                .error(at, format!("unknown field {} in {path}{hint}", shown(&key)));
        }
        let hidden = own.boolean("hidden").unwrap_or(false);
        match own.text("model") {
            Some(model) => aliases.push((entry.key.clone(), ModelAlias { model, hidden })),
            None => own.error("model", "is missing: it is the name that the alias stands for"),
        }
    }
    aliases
}

/// What names a model that nobody has would never be asked, which is said; unless the database may have it.
pub(crate) fn check(
    entries: &[Entry],
    (rules, deployments): (&RouterRules, &[Arc<Deployment>]),
    report: &mut Report,
) {
    let section = |name: &str| {
        entries
            .iter()
            .find(|entry| entry.key == name)
            .map(|entry| &entry.node)
    };
    let in_db = section("general_settings").and_then(|node| node.get("store_model_in_db"));
    if in_db.is_some_and(|node| !node.is_off()) {
        return;
    }
    let is_known = |name: &str| {
        let name = rules.aliases.get(name).map_or(name, |alias| &alias.model);
        let has = |own: &Arc<Deployment>| own.model_name == name || wildcard::matches(&own.model_name, name);
        deployments.iter().any(has)
    };
    let own = &rules.fallbacks;
    let lacks = |targets: &Targets| {
        let mut all = targets.iter();
        all.any(|(group, names)| {
            (group != ANY && !is_known(group)) || !names.iter().all(|name| is_known(name))
        })
    };
    let default = own
        .general
        .get(ANY)
        .is_some_and(|names| !names.iter().all(|name| is_known(name)));
    for (name, lacks) in [
        ("fallbacks", lacks(&own.general)),
        ("default_fallbacks", default),
        ("context_window_fallbacks", lacks(&own.context_window)),
        ("content_policy_fallbacks", lacks(&own.content_policy)),
        (
            "model_group_alias",
            rules.aliases.values().any(|alias| !is_known(&alias.model)),
        ),
    ] {
        for settings in ["litellm_settings", "router_settings"] {
            let Some(node) = section(settings)
                .and_then(|node| node.get(name))
                .filter(|_| lacks)
            else {
                continue;
            };
            let text = "names a model that model_list does not have: that one is never asked.";
            report.warn(node.at, join(settings, name), text);
        }
    }
}

/// References in the fields that are read here; the others have no effect.
fn resolve_served(node: &mut Node, path: &str, names: &[&str], env: &dyn Env, report: &mut Report) {
    let Value::Map(entries) = &mut node.value else {
        return;
    };
    let mut unresolved = Vec::new();
    for entry in entries
        .iter_mut()
        .filter(|entry| names.contains(&entry.key.as_str()))
    {
        resolve(&mut entry.node, &join(path, &entry.key), env, &mut unresolved);
    }
    for missing in unresolved {
        report.error(missing.at, format!("{} {}", missing.path, missing.message));
    }
}
