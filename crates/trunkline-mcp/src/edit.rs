//! Rewriting one level of a JSON object and nothing below it, nor beside it: keys keep their spelling, blanks their place.
//!
//! Duplicate keys are refused: a parser that takes the first and one that takes the last would see different messages,
//! and a policy decision would be about another call than the one made (S23).

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use memchr::memmem::Finder;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How a key reads to whoever ignores case: also for letters that are capitals of a plain one in some alphabets.
pub fn folded(key: &str) -> impl Iterator<Item = char> {
    key.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

/// Whether two keys are the same to a reader that ignores case. There are servers of that kind, and one that reads another member than the
/// one that was decided about has gone by the decision (S23).
pub fn is_same_key(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    folded(a).eq(folded(b))
}

/// A member's value: as it was, or new JSON text.
#[derive(Debug, Clone)]
enum Value<'a> {
    Raw(&'a str),
    New(String),
}

#[derive(Debug, Clone)]
struct Member<'a> {
    /// Decoded. Bytes, for JSON has texts that are no UTF-8: half a surrogate pair is a legal escape.
    key: Cow<'a, [u8]>,
    /// What stands between the comma and the value (blanks, the key, a colon) and between the value and the next comma: as
    /// it was. Empty for new ones.
    head: &'a str,
    value: Value<'a>,
    after: &'a str,
}

impl Member<'_> {
    fn json(&self) -> &str {
        match &self.value {
            Value::Raw(raw) => raw,
            Value::New(text) => text,
        }
    }
}

/// Members of an object that is taken apart. Deeper objects may have any number: they stay text.
const MAX_MEMBERS: usize = 10_000;

/// An object taken apart: members in their order, values untouched.
#[derive(Debug, Clone, Default)]
pub struct RawObject<'a> {
    members: Vec<Member<'a>>,
    /// What stands between the last value and the closing brace.
    tail: &'a str,
}

impl<'a> RawObject<'a> {
    /// Takes an object apart. Errors if the text is no object, or if a key occurs twice.
    pub fn parse(json: &'a str) -> Result<Self, serde_json::Error> {
        let json = json.trim_matches(BLANKS);
        let Spans(spans) = serde_json::from_str(json)?;
        let mut members: Vec<Member<'a>> = Vec::with_capacity(spans.len());
        // Just after the opening brace, then after each value.
        let mut at = 1;
        for (key, raw_key, value) in spans {
            let start = offset(json, value.get());
            let gap = json.get(at..offset(json, raw_key.get())).unwrap_or_default();
            let mut head = at;
            if let Some(last) = members.last_mut() {
                last.after = gap.split_once(',').map_or("", |(after, _)| after);
                head += last.after.len() + 1;
            }
            members.push(Member {
                key,
                head: json.get(head..start).unwrap_or_default(),
                value: Value::Raw(value.get()),
                after: "",
            });
            at = start + value.get().len();
        }
        Ok(Self {
            members,
            tail: json.get(at..json.len().saturating_sub(1)).unwrap_or_default(),
        })
    }

    fn find(&self, key: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| *member.key == *key.as_bytes())
    }

    /// A member's JSON text.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.find(key).map(Member::json)
    }

    /// A member that is a string, decoded.
    pub fn get_string(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?).ok()
    }

    /// Replaces a member in its place, or adds it at the end. `json` must be JSON text.
    pub fn set(&mut self, key: &str, json: String) {
        let found = self
            .members
            .iter_mut()
            .find(|member| *member.key == *key.as_bytes());
        match found {
            Some(member) => member.value = Value::New(json),
            None => self.members.push(Member {
                key: Cow::Owned(key.as_bytes().to_owned()),
                head: "",
                value: Value::New(json),
                after: "",
            }),
        }
    }

    /// Replaces a member with a string.
    pub fn set_string(&mut self, key: &str, value: &str) {
        self.set(key, string(value));
    }

    /// Takes a member out; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|member| *member.key != *key.as_bytes());
        before != self.members.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The keys, in order; those that are no text (half a surrogate pair) are left out.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.members
            .iter()
            .filter_map(|member| std::str::from_utf8(&member.key).ok())
    }

    /// All keys, in order. What is no text in one has a character in its place that stands for it.
    pub fn all_keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.members
            .iter()
            .map(|member| String::from_utf8_lossy(&member.key))
    }

    /// Keys and JSON texts, in order; the same keys.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .filter_map(|member| Some((std::str::from_utf8(&member.key).ok()?, member.json())))
    }

    /// The object as JSON text. What was not changed is as it was, blanks too.
    pub fn to_json(&self) -> String {
        let size: usize = self
            .members
            .iter()
            .map(|member| member.key.len() + member.head.len() + member.json().len() + member.after.len() + 4)
            .sum();
        let mut text = String::with_capacity(size + self.tail.len() + 2);
        text.push('{');
        for (index, member) in self.members.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            if member.head.is_empty() {
                // A new member's key came as text.
                push_string(&mut text, std::str::from_utf8(&member.key).unwrap_or_default());
                text.push(':');
            } else {
                text.push_str(member.head);
            }
            text.push_str(member.json());
            text.push_str(member.after);
        }
        text.push_str(self.tail);
        text.push('}');
        text
    }
}

/// A word, plain ASCII, that is looked for in JSON texts before they are taken apart: a search is a fraction of what that
/// costs.
#[derive(Debug)]
pub struct Word {
    text: &'static str,
    /// Made once: it costs more than a search.
    finder: OnceLock<Finder<'static>>,
}

impl Word {
    /// The word.
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            finder: OnceLock::new(),
        }
    }

    /// Whether a key or a string of `json` may be the word: false only if none is, at any depth.
    pub fn may_be_in(&self, json: &str) -> bool {
        let bytes = json.as_bytes();
        let finder = self.finder.get_or_init(|| Finder::new(self.text));
        if finder.find(bytes).is_some() {
            return true;
        }
        // It can be spelled with escapes; these two can stand for characters of a plain word.
        memchr::memchr_iter(b'\\', bytes).any(|at| matches!(bytes.get(at + 1), Some(b'u' | b'/')))
    }
}

/// What JSON allows between its parts.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Where `part`, a piece of `whole`, begins in it.
fn offset(whole: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
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

/// A JSON string's bytes: UTF-8, but for halves of surrogate pairs, which are written as if they were characters.
pub fn decoded(raw: &str) -> Option<Cow<'_, [u8]>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<Text>(raw)
            .ok()
            .map(|text| Cow::Owned(text.0))
    } else {
        Some(Cow::Borrowed(inner.as_bytes()))
    }
}

struct Text(Vec<u8>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(bytes.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Keys, decoded and raw, and raw values.
struct Spans<'a>(Vec<(Cow<'a, [u8]>, &'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Spans<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Spans<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, [u8]>, &'de RawValue, &'de RawValue)> = Vec::with_capacity(4);
                let mut seen = std::collections::HashSet::new();
                while let Some((raw, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
                    let key = decoded(raw.get()).ok_or_else(|| de::Error::custom("a key is no string"))?;
                    // Small objects are the rule; a set keeps a hostile one with a million keys linear.
                    let twice = if members.len() < 16 {
                        members.iter().any(|(own, ..)| *own == key)
                    } else {
                        if seen.is_empty() {
                            seen.extend(members.iter().map(|(own, ..)| own.clone()));
                        }
                        !seen.insert(key.clone())
                    };
                    if members.len() == MAX_MEMBERS {
                        return Err(de::Error::custom(format_args!("more than {MAX_MEMBERS} members")));
                    }
                    if twice {
                        let key = String::from_utf8_lossy(&key);
                        return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    members.push((key, raw, value));
                }
                Ok(Spans(members))
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
    fn b62_keys_keep_their_spelling_and_blanks_their_place() {
        let json = "{ \"\\u0061\" : 1 ,\n\"\\ud800\":\t2 , \"c\": [ ] }";
        let mut object = RawObject::parse(json).unwrap();
        assert_eq!(object.to_json(), json);
        assert_eq!(object.get("a"), Some("1"));
        object.set("a", "7".into());
        object.set("d", "8".into());
        assert_eq!(
            object.to_json(),
            "{ \"\\u0061\" : 7 ,\n\"\\ud800\":\t2 , \"c\": [ ],\"d\":8 }"
        );
        assert!(object.remove("c") && object.remove("a") && object.remove("d"));
        assert_eq!(object.to_json(), "{\n\"\\ud800\":\t2  }");
        assert_eq!(object.keys().count(), 0, "half a surrogate pair is no text");
        assert_eq!(object.all_keys().count(), 1, "but a key");
        for whole in ["{}", "{ }", " {\"a\":{}}\n"] {
            assert_eq!(RawObject::parse(whole).unwrap().to_json(), whole.trim());
        }
    }

    #[test]
    fn a_key_is_seen_however_it_is_spelled() {
        static WORD: Word = Word::new("a/b");
        for json in [
            r#"{"a/b":1}"#,
            r#"{"\u0061/b":1}"#,
            r#"{"a\/b":1}"#,
            r#"{"x":{"a/\u0062":1}}"#,
        ] {
            assert!(WORD.may_be_in(json), "{json}");
        }
        for json in [r#"{"a":1,"b":"line\n\"quoted\""}"#, "{}", ""] {
            assert!(!WORD.may_be_in(json), "{json}");
        }
    }

    #[test]
    fn s23_duplicate_keys_are_refused() {
        assert!(RawObject::parse(r#"{"name":"a","name":"b"}"#).is_err());
        assert!(RawObject::parse(r#"{"name":"a","\u006eame":"b"}"#).is_err());
        let many: Vec<String> = (0..40).map(|i| format!("\"k{i}\":0")).collect();
        assert!(RawObject::parse(&format!("{{{}}}", many.join(","))).is_ok());
        assert!(RawObject::parse(&format!("{{{},\"k3\":1}}", many.join(","))).is_err());
        assert!(RawObject::parse("[]").is_err());
        assert!(RawObject::parse(r#"{"\ud800":1,"\uD800":2}"#).is_err());
        assert!(RawObject::parse(r#"{"a":1,"A":2,"a ":3}"#).is_ok());
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
