//! Structured results that are no objects, for clients of revisions in which they must be (mcp reference §2.2): the schema
//! becomes that of an object with one member, `result`, and so does the value.
//!
//! References inside the schema still lead where they led: those that begin at its root begin one level deeper now.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::edit::{self, RawObject};

/// Where the schema is after it was wrapped.
const INSIDE: &str = "#/properties/result";

/// The `outputSchema` of an object whose member `result` is what `schema` says.
pub fn schema(schema: &str) -> String {
    let mut dialect = None;
    let mut inner = Cow::Borrowed(schema);
    if let Ok(mut root) = RawObject::parse(schema) {
        // Which dialect it is in can be said at the root only.
        dialect = root.get("$schema").map(ToOwned::to_owned);
        root.remove("$schema");
        if dialect.is_some() {
            inner = Cow::Owned(root.to_json());
        }
        // With an id of its own it is a document of its own, wherever it stands.
        let document = root.get_string("$id").is_some_and(|id| !id.starts_with('#'));
        if !document && let Some(moved) = moved(&inner, Place::Schema) {
            inner = Cow::Owned(moved);
        }
    }
    let dialect = dialect.map_or_else(String::new, |dialect| format!(r#""$schema":{dialect},"#));
    format!(r#"{{{dialect}"type":"object","properties":{{"result":{inner}}},"required":["result"]}}"#)
}

/// What an object or a list in a schema is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A schema, or a list of schemas.
    Schema,
    /// Schemas by names that are nobody's keywords.
    Map,
}

/// `json` with the references that begin at the root led one level deeper; `None` if there are none.
fn moved(json: &str, place: Place) -> Option<String> {
    if !json.contains("\"$") && !json.contains("\\u") {
        return None;
    }
    if json.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
        let changed: Vec<Option<String>> = items.iter().map(|item| moved(item.get(), place)).collect();
        changed.iter().any(Option::is_some).then_some(())?;
        let texts: Vec<&str> = items
            .iter()
            .zip(&changed)
            .map(|(item, changed)| changed.as_deref().unwrap_or(item.get()))
            .collect();
        return Some(format!("[{}]", texts.join(",")));
    }
    let original = RawObject::parse(json).ok()?;
    if place == Place::Schema
        && original
            .get_string("$id")
            .is_some_and(|id| !id.starts_with('#') && !id.is_empty())
    {
        return None;
    }
    let mut object = original.clone();
    let mut any = false;
    for (key, value) in original.members() {
        let new = match (place, key) {
            (Place::Map, _) => moved(value, Place::Schema),
            (_, "$ref" | "$dynamicRef") => reference(value),
            // Its value can be `#` only, which is another place now.
            (_, "$recursiveRef") if value == "\"#\"" => {
                object.remove(key);
                object.set("$ref", edit::string(INSIDE));
                any = true;
                None
            }
            (_, "const" | "default" | "enum" | "examples") => None,
            (_, "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas") => {
                moved(value, Place::Map)
            }
            _ if value.starts_with(['{', '[']) => moved(value, Place::Schema),
            _ => None,
        };
        if let Some(new) = new {
            object.set(key, new);
            any = true;
        }
    }
    any.then(|| object.to_json())
}

/// A reference to the root or to a place counted from it. Anchors go with their schema.
fn reference(value: &str) -> Option<String> {
    let reference: String = serde_json::from_str(value).ok()?;
    let pointer = reference.strip_prefix('#')?;
    (pointer.is_empty() || pointer.starts_with('/')).then(|| edit::string(&format!("{INSIDE}{pointer}")))
}

/// A result whose `structuredContent` is an object, for a client that knows no other; `None` if nothing changes.
/// `advertised`: the client was shown a wrapped schema, so what looks like an object already is wrapped too.
pub fn value(result: &str, advertised: bool) -> Option<String> {
    memchr::memmem::find(result.as_bytes(), b"structuredContent")?;
    let mut object = RawObject::parse(result).ok()?;
    let value = object.get("structuredContent")?;
    if !advertised && value.starts_with('{') {
        return None;
    }
    let wrapped = format!(r#"{{"result":{value}}}"#);
    let copy = format!(r#"{{"type":"text","text":{}}}"#, edit::string(value));
    let content: Vec<&RawValue> = serde_json::from_str(object.get("content").unwrap_or("[]")).ok()?;
    let is_text = |block: &&RawValue| {
        RawObject::parse(block.get()).is_ok_and(|block| block.get_string("type").as_deref() == Some("text"))
    };
    if !content.iter().any(is_text) {
        let mut blocks: Vec<&str> = content.iter().map(|block| block.get()).collect();
        blocks.push(&copy);
        let blocks = format!("[{}]", blocks.join(","));
        object.set("content", blocks);
    }
    object.set("structuredContent", wrapped);
    Some(object.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas() {
        for (own, wrapped) in [
            (
                r#"{"type":"array","items":{"type":"string"}}"#,
                r#"{"type":"object","properties":{"result":{"type":"array","items":{"type":"string"}}},"required":["result"]}"#,
            ),
            // References from the root move; anchors, other documents and what only looks like one do not.
            (
                r##"{"type":"array","items":{"$ref":"#/$defs/n"},"$defs":{"n":{"anyOf":[{"$ref":"#"},{"$ref":"#here"},{"$ref":"other.json#/a"}]},"$ref":{"const":{"$ref":"#/x"}}},"x":1e2}"##,
                r##"{"type":"object","properties":{"result":{"type":"array","items":{"$ref":"#/properties/result/$defs/n"},"$defs":{"n":{"anyOf":[{"$ref":"#/properties/result"},{"$ref":"#here"},{"$ref":"other.json#/a"}]},"$ref":{"const":{"$ref":"#/x"}}},"x":1e2}},"required":["result"]}"##,
            ),
            (
                r##"{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"array","items":{"$recursiveRef":"#"}}"##,
                r##"{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"object","properties":{"result":{"type":"array","items":{"$ref":"#/properties/result"}}},"required":["result"]}"##,
            ),
            (
                r##"{"$id":"https://a/b","type":"array","items":{"$ref":"#/$defs/n"}}"##,
                r##"{"type":"object","properties":{"result":{"$id":"https://a/b","type":"array","items":{"$ref":"#/$defs/n"}}},"required":["result"]}"##,
            ),
            (
                r##"{"anyOf":[{"$id":"https://a/c","$ref":"#/$defs/n"},{"$dynamicRef":"#meta"},{"$dynamicRef":"#/a"}]}"##,
                r##"{"type":"object","properties":{"result":{"anyOf":[{"$id":"https://a/c","$ref":"#/$defs/n"},{"$dynamicRef":"#meta"},{"$dynamicRef":"#/properties/result/a"}]}},"required":["result"]}"##,
            ),
            (
                r##"{"properties":{"properties":{"$ref":"#/$defs/a"}}}"##,
                r##"{"type":"object","properties":{"result":{"properties":{"properties":{"$ref":"#/properties/result/$defs/a"}}}},"required":["result"]}"##,
            ),
        ] {
            assert_eq!(schema(own), wrapped, "{own}");
        }
    }

    #[test]
    fn values() {
        for (own, advertised, wrapped) in [
            (r#"{"content":[],"structuredContent":{"a":1}}"#, false, None),
            (
                r#"{"content":[{"type":"text","text":"structuredContent"}]}"#,
                true,
                None,
            ),
            (
                r#"{"content":[],"structuredContent":[1.0,"a"],"x":1e2}"#,
                false,
                Some(
                    r#"{"content":[{"type":"text","text":"[1.0,\"a\"]"}],"structuredContent":{"result":[1.0,"a"]},"x":1e2}"#,
                ),
            ),
            (
                r#"{"content":[{"type":"text","text":"a"}],"structuredContent":null}"#,
                false,
                Some(r#"{"content":[{"type":"text","text":"a"}],"structuredContent":{"result":null}}"#),
            ),
            (
                r#"{"structuredContent":{"a":1}}"#,
                true,
                Some(
                    r#"{"structuredContent":{"result":{"a":1}},"content":[{"type":"text","text":"{\"a\":1}"}]}"#,
                ),
            ),
            (r#"{"structuredContent":7,"content":7}"#, true, None),
        ] {
            assert_eq!(value(own, advertised).as_deref(), wrapped, "{own}");
        }
    }
}
