//! Reads one mapping of the file against its field table, collecting mistakes instead of stopping at the first.
//!
//! `null` is the same as absent for every field, as in LiteLLM. Text is text: a token such as `12345678` must be quoted,
//! because YAML has already turned it into a number and its spelling is lost.

use std::collections::BTreeMap;

use trunkline_model::Secret;

use crate::error::{Report, join, shown};
use crate::fields::{self, Field};
use crate::tree::{At, Entry, Node, Value};

/// One mapping, while it is read.
pub(crate) struct Section<'a> {
    /// `mcp_servers.github`.
    pub(crate) path: String,
    /// Where the mapping's own key stands.
    pub(crate) at: At,
    entries: &'a [Entry],
    pub(crate) report: &'a mut Report,
}

impl<'a> Section<'a> {
    /// The mapping `node`, or `None` and a mistake if it is something else.
    pub(crate) fn open(path: String, at: At, node: &'a Node, report: &'a mut Report) -> Option<Self> {
        if let Value::Map(entries) = &node.value {
            return Some(Self {
                path,
                at,
                entries,
                report,
            });
        }
        report.error(node.at, format!("{path} must be a mapping, not {}", node.kind()));
        None
    }

    /// Reports fields that are not in `table`, with what was probably meant. `hint` knows the frequent ones.
    pub(crate) fn check_names(
        &mut self,
        table: &'static [Field],
        hint: impl Fn(&str) -> Option<&'static str>,
    ) {
        for entry in self.entries {
            if fields::find(table, &entry.key).is_none() {
                let hint = hint(&entry.key).map_or_else(
                    || suggestion(&entry.key, table.iter().map(|field| field.name)),
                    |hint| format!("; {hint}"),
                );
                self.report.error(
                    entry.at,
                    format!("unknown field {} in {}{hint}", shown(&entry.key), self.path),
                );
            }
        }
    }

    /// The value of a field that is there and not null.
    pub(crate) fn node(&self, name: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == name)
            .map(|entry| &entry.node)
            .filter(|node| !node.is_absent())
    }

    /// Whether the field stands in the file, even without a value.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name)
    }

    /// Where the field's key stands, or the mapping itself if it has no such field.
    pub(crate) fn place(&self, name: &str) -> At {
        self.entries
            .iter()
            .find(|entry| entry.key == name)
            .map_or(self.at, |entry| entry.at)
    }

    /// The path of a field.
    pub(crate) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Adds a mistake about a field.
    pub(crate) fn error(&mut self, name: &str, message: impl AsRef<str>) {
        let (at, path) = (
            self.node(name).map_or(self.place(name), |node| node.at),
            self.path_of(name),
        );
        self.report.error(at, format!("{path}: {}", message.as_ref()));
    }

    /// Adds a warning about a field.
    pub(crate) fn warn(&mut self, name: &str, message: impl Into<String>) {
        let (at, path) = (self.place(name), self.path_of(name));
        self.report.warn(at, path, message);
    }

    fn mismatch(&mut self, node: &Node, path: &str, wanted: &str) {
        let quotes = match node.value {
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) if wanted == "text" => ": put it in quotes",
            _ => "",
        };
        self.report.error(
            node.at,
            format!("{path} must be {wanted}, not {}{quotes}", node.kind()),
        );
    }

    fn text_of(&mut self, node: &'a Node, path: &str) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) => Some(text),
            Value::Unset => None,
            _ => {
                self.mismatch(node, path, "text");
                None
            }
        }
    }

    /// Text; an empty one is the same as absent.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let node = self.node(name)?;
        let path = self.path_of(name);
        self.text_of(node, &path)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    /// Text that is never shown; an empty one is the same as absent.
    pub(crate) fn secret(&mut self, name: &str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// One of the words of `parse`.
    pub(crate) fn word<T>(
        &mut self,
        name: &str,
        words: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.error(name, format!("must be one of {}", words.join(", ")));
        }
        value
    }

    /// `true` or `false`; a reference gives them as text.
    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        let node = self.node(name)?;
        let value = match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            let path = self.path_of(name);
            self.mismatch(node, &path, "true or false");
        }
        value
    }

    /// The names of all that is in it.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        self.entries.iter().map(|entry| entry.key.clone())
    }

    /// A finite number greater than zero; a reference gives it as text.
    pub(crate) fn positive(&mut self, name: &str) -> Option<f64> {
        let value = positive_of(self.node(name)?);
        if value.is_none() {
            self.error(name, "must be a number greater than 0");
        }
        value
    }

    /// A whole number from `min` to `max`; a reference gives it as text.
    pub(crate) fn integer(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        let node = self.node(name)?;
        let value = match &node.value {
            Value::Integer(value) => u64::try_from(*value).ok(),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let value = value.filter(|value| (min..=max).contains(value));
        if value.is_none() {
            self.error(name, format!("must be a whole number from {min} to {max}"));
        }
        value
    }

    /// A list of text; `None` if there is none.
    pub(crate) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let node = self.node(name)?;
        let path = self.path_of(name);
        self.texts_of(node, &path)
    }

    fn texts_of(&mut self, node: &'a Node, path: &str) -> Option<Vec<String>> {
        let Value::List(items) = &node.value else {
            self.mismatch(node, path, "a list");
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Some(text) = self.text_of(item, &format!("{path}[{index}]")) {
                texts.push(text.to_owned());
            }
        }
        Some(texts)
    }

    /// The entries of a mapping field, each with its path.
    pub(crate) fn map(&mut self, name: &str) -> Vec<(String, &'a Entry)> {
        let Some(node) = self.node(name) else {
            return Vec::new();
        };
        let path = self.path_of(name);
        let Value::Map(entries) = &node.value else {
            self.mismatch(node, &path, "a mapping");
            return Vec::new();
        };
        entries
            .iter()
            .map(|entry| (join(&path, &entry.key), entry))
            .collect()
    }

    /// Name to text; entries without a value are left out.
    pub(crate) fn text_map(&mut self, name: &str) -> BTreeMap<String, String> {
        let entries = self.map(name);
        let present = entries.into_iter().filter(|(_, entry)| !entry.node.is_absent());
        present
            .filter_map(|(path, entry)| {
                Some((entry.key.clone(), self.text_of(&entry.node, &path)?.to_owned()))
            })
            .collect()
    }

    /// Name to text that is never shown.
    pub(crate) fn secret_map(&mut self, name: &str) -> BTreeMap<String, Secret> {
        self.text_map(name)
            .into_iter()
            .map(|(key, value)| (key, Secret::new(value)))
            .collect()
    }

    /// Name to a number greater than zero.
    pub(crate) fn seconds_map(&mut self, name: &str) -> BTreeMap<String, f64> {
        let mut map = BTreeMap::new();
        for (path, entry) in self.map(name) {
            match positive_of(&entry.node) {
                Some(seconds) => {
                    map.insert(entry.key.clone(), seconds);
                }
                None => self
                    .report
                    .error(entry.node.at, format!("{path} must be a number greater than 0")),
            }
        }
        map
    }

    /// Name to a list of text.
    pub(crate) fn texts_map(&mut self, name: &str) -> BTreeMap<String, Vec<String>> {
        let entries = self.map(name);
        entries
            .into_iter()
            .filter_map(|(path, entry)| Some((entry.key.clone(), self.texts_of(&entry.node, &path)?)))
            .collect()
    }

    /// The items of a list field that should be mappings.
    pub(crate) fn items(&mut self, name: &str) -> &'a [Node] {
        let Some(node) = self.node(name) else { return &[] };
        if let Value::List(items) = &node.value {
            return items;
        }
        let path = self.path_of(name);
        self.mismatch(node, &path, "a list");
        &[]
    }

    /// A mapping with free content.
    pub(crate) fn object(&mut self, name: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
        let node = self.node(name)?;
        if let serde_json::Value::Object(object) = node.to_json() {
            return Some(object);
        }
        let path = self.path_of(name);
        self.mismatch(node, &path, "a mapping");
        None
    }
}

/// A finite number greater than zero; a reference gives it as text.
fn positive_of(node: &Node) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "settings are far below 2^53")]
    let value = match &node.value {
        Value::Integer(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    value.filter(|value: &f64| value.is_finite() && *value > 0.0)
}

/// `; did you mean "…"?`, or nothing where no known name is near.
pub(crate) fn suggestion<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let lower = name.to_ascii_lowercase();
    known
        .map(|own| (strsim::normalized_damerau_levenshtein(&lower, own), own))
        .filter(|(nearness, _)| *nearness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, own)| format!("; did you mean \"{own}\"?"))
}
