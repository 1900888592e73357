//! The file as a tree in which every key and value knows its line and column.
//!
//! Everything after [`crate::load`] works on this tree, so that all mistakes of a file are found in one go and each can
//! be pointed at. There is deliberately no `Debug`: any text in it may be a secret.

use serde_json::{Map, Number};

/// A place in the file, both from 1; `0:0` is the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl At {
    /// What was read from the environment, not from the file.
    pub(crate) const ENVIRONMENT: Self = Self { line: 0, column: 0 };
}

/// A value and where it stands.
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// What YAML can say.
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A reference to an environment variable that is not set: reported already, read as if it were absent (B30).
    Unset,
}

/// One key of a mapping and its value.
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: At,
    pub(crate) node: Node,
}

impl Node {
    /// What it is, for "expected …, found …".
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Unset => "an unset reference",
        }
    }

    /// Whether it says nothing: `key:`, `key: null`, or a reference that was reported as unset.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.value, Value::Null | Value::Unset)
    }

    /// Whether it switches nothing on: absent, `false`, zero, or empty.
    pub(crate) fn is_off(&self) -> bool {
        match &self.value {
            Value::Null | Value::Unset | Value::Bool(false) | Value::Integer(0) => true,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Bool(true) | Value::Integer(_) | Value::Float(_) => false,
        }
    }

    /// The entries of a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key` if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// A tree of what is no file: all of it at one place.
    pub(crate) fn of_json(value: &serde_json::Value) -> Self {
        let value = match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(own) => Value::Bool(*own),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(own), _) => Value::Integer(own),
                (None, own) => Value::Float(own.unwrap_or(f64::INFINITY)),
            },
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(items) => Value::List(items.iter().map(Self::of_json).collect()),
            serde_json::Value::Object(members) => {
                let entry = |(key, value): (&String, &serde_json::Value)| Entry {
                    key: key.clone(),
                    at: At::default(),
                    node: Self::of_json(value),
                };
                Value::Map(members.iter().map(entry).collect())
            }
        };
        Self {
            at: At::default(),
            value,
        }
    }

    /// The same as JSON. Numbers that JSON does not know become text.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null | Value::Unset => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Float(value) => {
                Number::from_f64(*value).map_or_else(|| value.to_string().into(), serde_json::Value::Number)
            }
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.to_json()))
                .collect::<Map<String, serde_json::Value>>()
                .into(),
        }
    }
}
