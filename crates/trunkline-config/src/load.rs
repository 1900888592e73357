//! YAML text to a [`Node`] tree. The only module that names the YAML crate.
//!
//! A configuration file comes from an operator, but a mistake in it, or a generated one, must not take the machine:
//! size, depth, nodes and alias replay are bounded. YAML's duplicate keys, which `PyYAML` resolves silently in favour of
//! the last, are errors here: the other value was written for a reason.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, Options, Spanned};

use crate::error::{Report, join, shown};
use crate::tree::{At, Entry, Node, Value};

/// The largest file that is read.
pub(crate) const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Parses `text` and checks that no mapping has a key twice. Problems go to `report`; `None` if there is no tree.
pub(crate) fn tree(text: &str, report: &mut Report) -> Option<Node> {
    if text.len() > MAX_FILE_BYTES {
        report.error(
            At { line: 1, column: 1 },
            format!("the file is larger than {} MiB", MAX_FILE_BYTES / 1024 / 1024),
        );
        return None;
    }
    match serde_saphyr::from_str_with_options::<Node>(text, options()) {
        Ok(node) => {
            check_duplicates(&node, "", report);
            Some(node)
        }
        Err(error) => {
            let at = error.location().map_or(At { line: 1, column: 1 }, place);
            report.error(at, explain(&error));
            None
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 48,
            max_nodes: 200_000,
            // A second document is an error of its own, with better words.
            max_documents: 4,
            max_aliases: 10_000,
            max_total_scalar_bytes: MAX_FILE_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // A token such as `0123` or `1_000` keeps its spelling, so that the reader can ask for quotes.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        // `!Secret…` is a tag, and its text would be lost.
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // A snippet of the file may show a secret.
        with_snippet: false,
    }
}

fn place(location: Location) -> At {
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    At {
        line: number(location.line()),
        column: number(location.column()),
    }
}

/// The parser's words, unless they may quote the file.
fn explain(error: &Error) -> String {
    match error {
        Error::UnsupportedTag { .. } => {
            "a value that begins with `!` is a YAML tag, and none is understood here; if it is text, put it in quotes".into()
        }
        Error::MultipleDocuments { .. } => "a second YAML document begins here; there must be one".into(),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the file is too large, too deeply nested, or repeats too much with `*` aliases".into()
        }
        Error::UnknownAnchor { .. } => {
            "a value that begins with `*` is a YAML alias, and no such anchor is defined; if it is text, put it in quotes".into()
        }
        other => {
            let text = other.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            if quotes_the_file(text) { "this is not valid YAML".into() } else { format!("not valid YAML: {text}") }
        }
    }
}

/// Whether a parser message has something longer than punctuation in quotes: that would be a piece of the file.
fn quotes_the_file(message: &str) -> bool {
    let mut parts = message.split(['`', '\'', '"']);
    parts.next();
    parts.any(|part| part.chars().filter(|c| c.is_alphanumeric()).count() > 2) && message.contains(['`', '"'])
        || message.chars().count() > 160
}

fn check_duplicates(node: &Node, path: &str, report: &mut Report) {
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                check_duplicates(item, &format!("{path}[{index}]"), report);
            }
        }
        Value::Map(entries) => {
            let mut first: HashMap<&str, At> = HashMap::with_capacity(entries.len());
            for entry in entries {
                if let Some(earlier) = first.get(entry.key.as_str()) {
                    let place = if path.is_empty() { "the file" } else { path };
                    report.error(
                        entry.at,
                        format!(
                            "{} stands twice in {place}; the first is in line {}",
                            shown(&entry.key),
                            earlier.line
                        ),
                    );
                } else {
                    first.insert(&entry.key, entry.at);
                }
                check_duplicates(&entry.node, &join(path, &entry.key), report);
            }
        }
        _ => {}
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: place(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // Beyond i64 no setting has a meaning; as text it is refused where a number is wanted.
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E: serde::de::Error>(self, _value: &[u8]) -> Result<Value, E> {
        Err(E::custom("binary values are not understood here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Spanned<String>, Node>()? {
            if key.value.len() > 1024 {
                return Err(A::Error::custom("a key is longer than 1024 bytes"));
            }
            map.push(Entry {
                at: place(key.referenced),
                key: key.value,
                node,
            });
        }
        Ok(Value::Map(map))
    }
}
