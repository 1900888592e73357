//! Rewriting one level of a JSON object and nothing below it.
//!
//! Duplicate keys are refused: a parser that takes the first and one that takes the last would see different messages,
//! and a policy decision would be about another call than the one made (S23).

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member's value: as it was, or new JSON text.
#[derive(Debug, Clone)]
enum Member<'a> {
    Raw(&'a RawValue),
    New(String),
}

impl Member<'_> {
    fn json(&self) -> &str {
        match self {
            Self::Raw(raw) => raw.get(),
            Self::New(text) => text,
        }
    }
}

/// Members of an object that is taken apart. Deeper objects may have any number: they stay text.
const MAX_MEMBERS: usize = 10_000;

/// An object taken apart: members in their order, values untouched.
#[derive(Debug, Clone, Default)]
pub struct RawObject<'a> {
    members: Vec<(String, Member<'a>)>,
}

impl<'a> RawObject<'a> {
    /// Takes an object apart. Errors if the text is no object, or if a key occurs twice.
    pub fn parse(json: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// A member's JSON text.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members
            .iter()
            .find(|(own, _)| own == key)
            .map(|(_, member)| member.json())
    }

    /// A member that is a string, decoded.
    pub fn get_string(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?).ok()
    }

    /// Replaces a member in its place, or adds it at the end. `json` must be JSON text.
    pub fn set(&mut self, key: &str, json: String) {
        match self.members.iter_mut().find(|(own, _)| own == key) {
            Some((_, member)) => *member = Member::New(json),
            None => self.members.push((key.to_owned(), Member::New(json))),
        }
    }

    /// Replaces a member with a string.
    pub fn set_string(&mut self, key: &str, value: &str) {
        self.set(key, string(value));
    }

    /// Takes a member out; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|(own, _)| own != key);
        before != self.members.len()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(key, _)| key.as_str())
    }

    /// The object as JSON text, compact at this level.
    pub fn to_json(&self) -> String {
        let size: usize = self
            .members
            .iter()
            .map(|(key, member)| key.len() + member.json().len() + 4)
            .sum();
        let mut text = String::with_capacity(size + 2);
        text.push('{');
        for (index, (key, member)) in self.members.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            push_string(&mut text, key);
            text.push(':');
            text.push_str(member.json());
        }
        text.push('}');
        text
    }
}

/// `value` as a JSON string.
pub fn string(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    push_string(&mut text, value);
    text
}

/// Appends `value` as a JSON string.
pub fn push_string(text: &mut String, value: &str) {
    let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
    if value.bytes().all(plain) {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        // A str always serializes.
        text.push_str(&serde_json::to_string(value).unwrap_or_default());
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, Member<'de>)> = Vec::with_capacity(4);
                let mut seen = std::collections::HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    // Small objects are the rule; a set keeps a hostile one with a million keys linear.
                    let twice = if members.len() < 16 {
                        members.iter().any(|(own, _)| *own == key)
                    } else {
                        if seen.is_empty() {
                            seen.extend(members.iter().map(|(own, _)| own.clone()));
                        }
                        !seen.insert(key.clone())
                    };
                    if members.len() == MAX_MEMBERS {
                        return Err(de::Error::custom(format_args!("more than {MAX_MEMBERS} members")));
                    }
                    if twice {
                        return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    members.push((key, Member::Raw(value)));
                }
                Ok(RawObject { members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_set_changes() {
        let json = r#"{"z":1.50e2,"name":"a\u0062","big":123456789012345678901234567890,"n":null}"#;
        let mut object = RawObject::parse(json).unwrap();
        assert_eq!(object.get_string("name").as_deref(), Some("ab"));
        object.set_string("name", "x\"y");
        assert_eq!(
            object.to_json(),
            r#"{"z":1.50e2,"name":"x\"y","big":123456789012345678901234567890,"n":null}"#
        );
        assert!(object.remove("z"));
        object.set("new", "[1]".into());
        assert_eq!(
            object.to_json(),
            r#"{"name":"x\"y","big":123456789012345678901234567890,"n":null,"new":[1]}"#
        );
    }

    #[test]
    fn s23_duplicate_keys_are_refused() {
        assert!(RawObject::parse(r#"{"name":"a","name":"b"}"#).is_err());
        assert!(RawObject::parse(r#"{"name":"a","\u006eame":"b"}"#).is_err());
        let many: Vec<String> = (0..40).map(|i| format!("\"k{i}\":0")).collect();
        assert!(RawObject::parse(&format!("{{{}}}", many.join(","))).is_ok());
        assert!(RawObject::parse(&format!("{{{},\"k3\":1}}", many.join(","))).is_err());
        assert!(RawObject::parse("[]").is_err());
    }

    proptest! {
        #[test]
        fn what_is_put_together_can_be_taken_apart(
            members in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..20),
            key in ".{0,8}",
            value in ".{0,20}",
        ) {
            let text = serde_json::to_string(&members).unwrap();
            let mut object = RawObject::parse(&text).unwrap();
            object.set_string(&key, &value);
            let again = object.to_json();
            let again = RawObject::parse(&again).unwrap();
            prop_assert_eq!(again.get_string(&key), Some(value));
            for (own, text) in members.iter().filter(|(own, _)| **own != key) {
                prop_assert_eq!(again.get_string(own), Some(text.clone()));
            }
        }

        #[test]
        fn garbage_never_panics(text in ".{0,100}") {
            if let Ok(object) = RawObject::parse(&text) {
                prop_assert!(RawObject::parse(&object.to_json()).is_ok());
            }
        }
    }
}
