//! Facts, and JSON as facts: read so that no other reader can see something else in it.

use std::collections::HashMap;
use std::fmt;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use trunkline_mcp::edit::folded;

/// A value that expressions can read.
pub struct Fact {
    pub(crate) value: Box<dyn Val>,
    /// Its elements, and its text in pieces of [`PIECE`] bytes: what going through it costs.
    pub(crate) size: u64,
}

/// Bytes of text that cost as much as an element.
pub(crate) const PIECE: u64 = 64;
/// Levels of what is read. What comes from clients was bounded before.
const MAX_DEPTH: usize = 128;

/// The JSON text has no one meaning: it is broken, or a key is there twice, in whatever case or spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the arguments cannot be read, or have a key twice")]
pub struct Unclear;

impl Fact {
    fn of(value: impl Val + 'static) -> Self {
        Self {
            value: Box::new(value),
            size: 1,
        }
    }

    /// Nothing.
    pub fn null() -> Self {
        Self::of(CelNull)
    }

    /// A text.
    pub fn text(text: &str) -> Self {
        Self {
            size: 1 + text.len() as u64 / PIECE,
            ..Self::of(CelString::from(text.to_owned()))
        }
    }

    /// A text, or nothing.
    pub fn optional(text: Option<&str>) -> Self {
        text.map_or_else(Self::null, Self::text)
    }

    /// A whole number.
    pub fn int(number: i64) -> Self {
        Self::of(CelInt::from(number))
    }

    /// A list.
    pub fn list(items: Vec<Self>) -> Self {
        let size = items
            .iter()
            .fold(1, |sum: u64, item| sum.saturating_add(item.size));
        let items: Vec<Box<dyn Val>> = items.into_iter().map(|item| item.value).collect();
        Self {
            value: Box::new(CelList::from(items)),
            size,
        }
    }

    /// Members by their names.
    pub fn members<'k>(members: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        let mut size: u64 = 1;
        let mut map: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::new();
        for (name, fact) in members {
            size = size.saturating_add(fact.size);
            map.insert(CelMapKey::from(name.to_owned()), fact.value);
        }
        Self {
            value: Box::new(CelMap::from(map)),
            size,
        }
    }

    /// What was read already, and by one reader for all.
    pub fn json(value: &Value) -> Self {
        match value {
            Value::Null => Self::null(),
            Value::Bool(flag) => Self::of(CelBool::from(*flag)),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::int(number),
                (_, Some(number)) => Self::of(CelUInt::from(number)),
                _ => Self::of(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
            },
            Value::String(text) => Self::text(text),
            Value::Array(items) => Self::list(items.iter().map(Self::json).collect()),
            Value::Object(object) => Self::object(object),
        }
    }

    /// The same of an object.
    pub fn object(object: &Map<String, Value>) -> Self {
        Self::members(
            object
                .iter()
                .map(|(name, value)| (name.as_str(), Self::json(value))),
        )
    }

    /// Reads JSON text that somebody else reads as well, with another parser: what two parsers could understand differently is
    /// refused. Keys that differ in case alone are the same to some.
    pub fn parse(json: &str) -> Result<Self, Unclear> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let fact = Strict { depth: 0 }
            .deserialize(&mut deserializer)
            .map_err(|_| Unclear)?;
        deserializer.end().map_err(|_| Unclear)?;
        Ok(fact)
    }
}

/// The keys of an object; none of what is no object.
pub(crate) fn keys(json: &str) -> Vec<String> {
    let keys: Result<HashMap<String, &serde_json::value::RawValue>, _> = serde_json::from_str(json);
    keys.map_or_else(|_| Vec::new(), |keys| keys.into_keys().collect())
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("nested too deep"));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Fact;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fact, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Fact;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Fact, E> {
        Ok(Fact::null())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Fact, E> {
        Ok(Fact::of(CelBool::from(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Fact, E> {
        Ok(Fact::int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Fact, E> {
        Ok(i64::try_from(number).map_or_else(|_| Fact::of(CelUInt::from(number)), Fact::int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Fact, E> {
        Ok(Fact::of(CelDouble::from(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Fact, E> {
        Ok(Fact::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Fact, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Fact::list(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fact, A::Error> {
        let deeper = self.deeper()?;
        let mut seen = std::collections::HashSet::new();
        let mut members: Vec<(String, Fact)> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            if !seen.insert(folded(&key).collect::<String>()) {
                return Err(de::Error::custom("a key is there twice"));
            }
            members.push((key, map.next_value_seed(deeper)?));
        }
        let size = members
            .iter()
            .map(|(key, _)| key.len() as u64 / PIECE)
            .sum::<u64>();
        let mut fact = Fact::members(members.iter_mut().map(|(key, fact)| {
            let fact = std::mem::replace(fact, Fact::null());
            (key.as_str(), fact)
        }));
        fact.size = fact.size.saturating_add(size);
        Ok(fact)
    }
}

struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
