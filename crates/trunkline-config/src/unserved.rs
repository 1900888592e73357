//! What stands in the file and is not served: one warning that names all of it, a mistake for each setting whose absence
//! would let somebody in, and a mistake for each name that nobody knows.

use std::collections::BTreeMap;

use crate::error::{Report, join, shown};
use crate::known::{self, Effect, Fate};
use crate::section::suggestion;
use crate::tree::{At, Entry, Node, Value};

/// Goes over the top level, `general_settings` and `litellm_settings`.
pub(crate) fn check(root: &[Entry], report: &mut Report) {
    let mut ignored = Ignored::default();
    for entry in root {
        let fate = known::TOP_LEVEL
            .iter()
            .find(|(name, _)| *name == entry.key)
            .map(|(_, fate)| *fate);
        let names = || known::TOP_LEVEL.iter().map(|(name, _)| *name);
        ignored.take(entry, "", fate, names, report);
        match entry.key.as_str() {
            "general_settings" => {
                ignored.section(entry, known::general, known::general_names, report);
            }
            "litellm_settings" => {
                ignored.section(entry, known::litellm, known::litellm_names, report);
                check_callbacks(&entry.node, report);
            }
            "router_settings" => {
                ignored.section(entry, known::router, known::router_names, report);
            }
            _ => {}
        }
    }
    ignored.warn(report);
}

/// Settings without effect, by reason.
#[derive(Default)]
struct Ignored {
    names: BTreeMap<Effect, Vec<String>>,
    first: Option<At>,
}

impl Ignored {
    fn section<N: Iterator<Item = &'static str>>(
        &mut self,
        entry: &Entry,
        fate: impl Fn(&str) -> Option<Fate>,
        names: impl Fn() -> N,
        report: &mut Report,
    ) {
        match &entry.node.value {
            Value::Map(entries) => {
                for inner in entries {
                    self.take(inner, &entry.key, fate(&inner.key), &names, report);
                }
            }
            Value::Null => {}
            _ => report.error(
                entry.node.at,
                format!("{} must be a mapping, not {}", entry.key, entry.node.kind()),
            ),
        }
    }

    fn take<N: Iterator<Item = &'static str>>(
        &mut self,
        entry: &Entry,
        section: &str,
        fate: Option<Fate>,
        names: impl Fn() -> N,
        report: &mut Report,
    ) {
        let path = join(section, &entry.key);
        match fate {
            Some(Fate::Served) => {}
            // What is switched off, or says what holds anyway, is not missed.
            Some(_) if entry.node.is_off() || holds_anyway(&path, &entry.node) => {}
            Some(Fate::Refused(reason)) => report.error(
                entry.at,
                format!("{path} is not served, and it protects something: {reason}"),
            ),
            Some(Fate::Ignored(effect)) => {
                self.names.entry(effect).or_default().push(path);
                self.first.get_or_insert(entry.at);
            }
            None => {
                let place = if section.is_empty() { "the file" } else { section };
                let hint = suggestion(&entry.key, names());
                report.error(
                    entry.at,
                    format!("unknown field {} in {place}{hint}", shown(&entry.key)),
                );
            }
        }
    }

    fn warn(self, report: &mut Report) {
        let Some(at) = self.first else { return };
        let parts: Vec<String> = self
            .names
            .iter()
            .map(|(effect, names)| format!("{} ({})", names.join(", "), effect.as_str()))
            .collect();
        report.warn(
            at,
            "not served",
            format!(
                "LiteLLM knows these settings; here they have no effect: {}.",
                parts.join("; ")
            ),
        );
    }
}

/// Whether Trunkline always does what this setting asks for.
fn holds_anyway(path: &str, node: &Node) -> bool {
    let is_true = matches!(node.value, Value::Bool(true));
    is_true && matches!(path, "litellm_settings.require_auth_for_metrics_endpoint")
}

/// A callback that looks on is only missed; one that refuses or changes calls protects something.
fn check_callbacks(settings: &Node, report: &mut Report) {
    let Some(callbacks) = settings.get("callbacks") else {
        return;
    };
    let items = match &callbacks.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(callbacks),
    };
    for item in items {
        let Value::Text(name) = &item.value else { continue };
        if let Some(name) = known::GUARDING_CALLBACKS.iter().find(|own| *own == name) {
            report.error(
                item.at,
                format!("litellm_settings.callbacks: {name} is not served, and it protects something: calls would pass without the check. Remove it only if that is meant."),
            );
        }
    }
}
