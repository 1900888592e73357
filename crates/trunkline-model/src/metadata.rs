//! Metadata: a JSON object that somebody gave a key, kept as its text. Every replica has every key in memory, where the text is a sixth of
//! what the object would be; few requests look into it.

use serde_json::{Map, Value};

/// A JSON object, in little room.
#[derive(Clone, Default)]
pub struct Metadata(Option<Box<str>>);

impl Metadata {
    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// All of it. Reads the text.
    pub fn to_map(&self) -> Map<String, Value> {
        let text = self.0.as_deref();
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// One member. Reads the text if it may have it.
    pub fn get(&self, name: &str) -> Option<Value> {
        let text = self.0.as_deref()?;
        // In the text as it is, unless there is something in it that JSON escapes.
        let is_plain = !name.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'));
        if is_plain && !text.contains(name) {
            return None;
        }
        self.to_map().remove(name)
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(map: Map<String, Value>) -> Self {
        Self((!map.is_empty()).then(|| Value::Object(map).to_string().into_boxed_str()))
    }
}

impl PartialEq for Metadata {
    /// The same members, in whatever order.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.to_map() == other.to_map()
    }
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("{}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: &Value) -> Metadata {
        value.as_object().cloned().unwrap_or_default().into()
    }

    #[test]
    fn what_is_given_is_had_back() {
        let value = json!({"owner": "a", "line\nbreak": 1, "nested": {"tags": ["x"]}, "null": null});
        let metadata = of(&value);
        assert_eq!(Value::Object(metadata.to_map()), value);
        for (name, own) in value.as_object().unwrap() {
            assert_eq!(metadata.get(name).as_ref(), Some(own), "{name}");
        }
        assert_eq!(metadata.get("tags"), None, "it is no member of the whole");
        assert_eq!(metadata.get("owne"), None);
        assert_eq!(of(&json!({})).get("owner"), None);
    }

    #[test]
    fn the_order_makes_no_other_one() {
        assert_eq!(of(&json!({"a": 1, "b": 2})), of(&json!({"b": 2, "a": 1})));
        assert_ne!(of(&json!({"a": 1})), of(&json!({"a": 2})));
        assert!(of(&json!({})).is_empty() && !of(&json!({"a": 1})).is_empty());
        assert_eq!(of(&json!({})), Metadata::default());
    }
}
