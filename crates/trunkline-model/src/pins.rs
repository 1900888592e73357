//! Tool definitions that a person has accepted (`pinned_tools`): a server that has any serves exactly these.
//!
//! An entry has LiteLLM's members (`description`, `input_schema`), more of the definition, or `digests` of whole definitions, which then
//! decide. What cannot be read accepts nothing.

use serde_json::{Map, Value};

use crate::ServerDefinition;

/// Members of an entry that are compared with a definition.
const COMPARED: [&str; 6] = [
    "title",
    "description",
    "input_schema",
    "output_schema",
    "annotations",
    "ui",
];
/// Digests of whole definitions: those of one tool in the eras that its server speaks.
const DIGESTS: &str = "digests";

/// The pins of a server.
#[derive(Clone, Copy, Debug)]
pub enum Pins<'a> {
    /// None: whatever is listed is served.
    Off,
    /// Something that this version cannot read: no tool is served.
    Unreadable,
    /// By the tools' own names.
    Tools(&'a Map<String, Value>),
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin<'a> {
    /// SHA-256 of accepted definitions, in hexadecimal; if there is any, nothing else counts.
    pub digests: Vec<&'a str>,
    /// Members that have to be equal.
    pub members: Vec<(&'a str, &'a Value)>,
}

impl ServerDefinition {
    /// The pins.
    pub fn pins(&self) -> Pins<'_> {
        match &self.pinned_tools {
            None | Some(Value::Null) => Pins::Off,
            Some(Value::Object(tools)) if tools.is_empty() => Pins::Off,
            Some(Value::Object(tools)) => Pins::Tools(tools),
            Some(_) => Pins::Unreadable,
        }
    }
}

impl<'a> Pins<'a> {
    /// Whether the tool of a server's own name may be served at all.
    pub fn covers(self, tool: &str) -> bool {
        match self {
            Self::Off => true,
            Self::Unreadable => false,
            Self::Tools(tools) => tools.contains_key(tool),
        }
    }

    /// Whether anything is pinned.
    pub fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }

    /// The entry of a tool; an error says what is wrong with it.
    pub fn get(self, tool: &str) -> Option<Result<Pin<'a>, String>> {
        match self {
            Self::Off => None,
            Self::Unreadable => Some(Err("the pins cannot be read".to_owned())),
            Self::Tools(tools) => tools.get(tool).map(Pin::parse),
        }
    }
}

impl<'a> Pin<'a> {
    /// Reads an entry. The error names members, never values.
    pub fn parse(entry: &'a Value) -> Result<Self, String> {
        let Value::Object(object) = entry else {
            return Err("an entry is an object with what was accepted of the tool".to_owned());
        };
        let mut pin = Self {
            digests: Vec::new(),
            members: Vec::new(),
        };
        for (key, value) in object {
            if key == DIGESTS {
                pin.digests = digests(value)?;
            } else if COMPARED.contains(&key.as_str()) {
                pin.members.push((key, value));
            } else {
                return Err(format!(
                    "{key:?} is not one of {}, {DIGESTS}",
                    COMPARED.join(", ")
                ));
            }
        }
        if pin.digests.is_empty() && pin.members.is_empty() {
            return Err("an entry has to say what was accepted of the tool".to_owned());
        }
        Ok(pin)
    }
}

fn digests(value: &Value) -> Result<Vec<&str>, String> {
    let wrong = || format!("{DIGESTS:?} is a list of SHA-256 digests, each of 64 digits 0-9a-f");
    let list = value
        .as_array()
        .filter(|list| !list.is_empty())
        .ok_or_else(wrong)?;
    list.iter()
        .map(|digest| {
            let digest = digest.as_str().ok_or_else(wrong)?;
            let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            let fits = digest.len() == 64 && digest.bytes().all(is_hex);
            fits.then_some(digest).ok_or_else(wrong)
        })
        .collect()
}

/// What is wrong with pins as somebody writes them, with the tool; `None`: nothing.
pub fn mistake(pins: &Map<String, Value>) -> Option<String> {
    pins.iter().find_map(|(tool, entry)| {
        let wrong = Pin::parse(entry).err()?;
        Some(format!("{tool:?}: {wrong}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pinned(value: Value) -> ServerDefinition {
        ServerDefinition {
            pinned_tools: Some(value),
            ..ServerDefinition::default()
        }
    }

    #[test]
    fn s29_what_cannot_be_read_accepts_nothing() {
        for value in [json!(true), json!([]), json!("{}"), json!(0)] {
            let definition = pinned(value);
            assert!(!definition.pins().covers("a"));
            assert!(definition.pins().get("a").unwrap().is_err());
        }
        for entry in [
            json!(null),
            json!({}),
            json!({"name": "a"}),
            json!({"description": "d", "later": 1}),
            json!({"digests": []}),
            json!({"digests": "0"}),
            json!({"digests": ["A".repeat(64)]}),
            json!({"digests": ["0".repeat(63)], "description": "d"}),
        ] {
            let definition = pinned(json!({"a": entry}));
            assert!(definition.pins().get("a").unwrap().is_err(), "{entry}");
        }
    }

    #[test]
    fn no_entry_is_no_pin() {
        for value in [json!(null), json!({})] {
            assert!(pinned(value).pins().is_off());
        }
        assert!(ServerDefinition::default().pins().covers("a"));
        let definition = pinned(json!({"a": {"description": "d", "input_schema": {}}}));
        assert!(
            definition.pins().covers("a") && !definition.pins().covers("b") && !definition.pins().covers("A")
        );
        let pin = definition.pins().get("a").unwrap().unwrap();
        assert_eq!((pin.digests.len(), pin.members.len()), (0, 2));
    }
}
