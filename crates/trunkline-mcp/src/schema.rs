//! Whether a schema is one: the shape of its keywords, its size, and that its references lead somewhere. No validation of
//! values: that is between clients and servers.
//!
//! Some clients drop a whole list for one schema that they cannot read, and some models' interfaces refuse every request
//! that carries one. So a tool with such a schema is left out, with its place and the reason, and the others are listed.
//! What differs between drafts is taken in every draft's form.

use serde_json::{Map, Value};

use crate::canonical::readable;
use crate::depth;

/// Nesting of a schema.
pub const MAX_DEPTH: usize = 64;
/// Bytes of a schema.
pub const MAX_BYTES: usize = 256 * 1024;

/// What an `inputSchema` must be: a schema of an object, and said to be one.
pub fn check_input(schema: &str) -> Result<(), String> {
    let root = read(schema)?;
    if root.get("type").and_then(Value::as_str) != Some("object") {
        return Err("its root must have `type: \"object\"`".to_owned());
    }
    Walk::check(&root)
}

/// What an `outputSchema` must be: a schema. Whether it is one of an object, and said to be.
pub fn check_output(schema: &str) -> Result<bool, String> {
    let root = read(schema)?;
    Walk::check(&root)?;
    Ok(root.get("type").and_then(Value::as_str) == Some("object"))
}

fn read(schema: &str) -> Result<Value, String> {
    if schema.len() > MAX_BYTES {
        return Err(format!("it is larger than {} KiB", MAX_BYTES / 1024));
    }
    if !depth::within(schema.as_bytes(), MAX_DEPTH) {
        return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
    }
    // A number that no type holds is a number all the same.
    match serde_json::from_str(schema).or_else(|_| serde_json::from_str(&readable(schema))) {
        Ok(root @ Value::Object(_)) => Ok(root),
        _ => Err("it is no object".to_owned()),
    }
}

/// What a keyword holds, in any draft.
#[derive(Clone, Copy)]
enum Form {
    Schema,
    Schemas,
    SchemaOrSchemas,
    SchemaMap,
    Types,
    Names,
    NamesMap,
    List,
    Count,
    Number,
    NumberOrFlag,
    Flag,
    Text,
    /// Text, or nothing: for people only.
    Note,
}

impl Form {
    fn of(keyword: &str) -> Option<Self> {
        Some(match keyword {
            "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames"
            | "additionalProperties"
            | "additionalItems"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "contentSchema" => Self::Schema,
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => Self::Schemas,
            "items" => Self::SchemaOrSchemas,
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                Self::SchemaMap
            }
            "type" => Self::Types,
            "required" => Self::Names,
            "dependentRequired" => Self::NamesMap,
            "enum" => Self::List,
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
            | "minContains" | "maxContains" => Self::Count,
            "minimum" | "maximum" | "multipleOf" => Self::Number,
            "exclusiveMinimum" | "exclusiveMaximum" => Self::NumberOrFlag,
            "uniqueItems" => Self::Flag,
            "pattern" | "$ref" | "$id" | "$schema" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" => {
                Self::Text
            }
            "title" | "description" | "$comment" | "format" => Self::Note,
            _ => return None,
        })
    }

    fn words(self) -> &'static str {
        match self {
            Self::Schema => "a schema",
            Self::Schemas => "a list of schemas with at least one in it",
            Self::SchemaOrSchemas => "a schema or a list of schemas",
            Self::SchemaMap => "an object of schemas",
            Self::Types => "the name of a type or a list of such",
            Self::Names => "a list of strings",
            Self::NamesMap => "an object of lists of strings",
            Self::List => "a list",
            Self::Count => "a number that is not negative",
            Self::Number | Self::NumberOrFlag => "a number",
            Self::Flag => "true or false",
            Self::Text | Self::Note => "a string",
        }
    }

    /// Whether the value is of this form, not looking into schemas.
    fn fits(self, value: &Value) -> bool {
        let schema = |value: &Value| value.is_object() || value.is_boolean();
        let names = |value: &Value| {
            value
                .as_array()
                .is_some_and(|names| names.iter().all(Value::is_string))
        };
        match self {
            Self::Schema => schema(value),
            Self::Schemas => value
                .as_array()
                .is_some_and(|list| !list.is_empty() && list.iter().all(schema)),
            Self::SchemaOrSchemas => {
                schema(value) || value.as_array().is_some_and(|list| list.iter().all(schema))
            }
            Self::SchemaMap => value.as_object().is_some_and(|map| map.values().all(schema)),
            Self::Types => match value {
                Value::Array(types) => !types.is_empty() && types.iter().all(is_type),
                one => is_type(one),
            },
            Self::Names => names(value),
            Self::NamesMap => value.as_object().is_some_and(|map| map.values().all(names)),
            Self::List => value.is_array(),
            Self::Count => value.as_f64().is_some_and(|number| number >= 0.0),
            Self::Number => value.is_number(),
            Self::NumberOrFlag => value.is_number() || value.is_boolean(),
            Self::Flag => value.is_boolean(),
            Self::Text => value.is_string(),
            Self::Note => value.is_string() || value.is_null(),
        }
    }
}

fn is_type(value: &Value) -> bool {
    matches!(
        value.as_str(),
        Some("object" | "array" | "string" | "number" | "integer" | "boolean" | "null")
    )
}

struct Walk<'a> {
    path: Vec<&'a str>,
    /// References into the same document, with where they stand.
    refs: Vec<(&'a str, String)>,
    anchors: Vec<&'a str>,
    /// A schema below the root has an `$id`: what `#` means depends on the place.
    rebased: bool,
}

impl<'a> Walk<'a> {
    fn check(root: &'a Value) -> Result<(), String> {
        let mut walk = Walk {
            path: Vec::new(),
            refs: Vec::new(),
            anchors: Vec::new(),
            rebased: false,
        };
        walk.schema(root)?;
        if walk.rebased {
            return Ok(());
        }
        for (reference, place) in &walk.refs {
            if !walk.leads_somewhere(root, reference) {
                return Err(format!("{place}: the $ref {reference:?} leads nowhere"));
            }
        }
        Ok(())
    }

    fn place(&self) -> String {
        match &self.path[..] {
            [] => "at its root".to_owned(),
            path => format!("at /{}", path.join("/")),
        }
    }

    fn schema(&mut self, value: &'a Value) -> Result<(), String> {
        let Some(members) = value.as_object() else {
            return Ok(());
        };
        for (keyword, value) in members {
            let Some(form) = Form::of(keyword) else { continue };
            if !form.fits(value) {
                return Err(format!("{}: `{keyword}` must be {}", self.place(), form.words()));
            }
            self.path.push(keyword);
            match (form, value) {
                (Form::Schema | Form::SchemaOrSchemas, Value::Object(_)) => self.schema(value)?,
                (Form::Schemas | Form::SchemaOrSchemas, Value::Array(list)) => {
                    for schema in list {
                        self.schema(schema)?;
                    }
                }
                (Form::SchemaMap, Value::Object(map)) => self.map(map)?,
                (Form::Text, Value::String(text)) => self.text(keyword, text),
                _ => {}
            }
            self.path.pop();
        }
        Ok(())
    }

    fn map(&mut self, map: &'a Map<String, Value>) -> Result<(), String> {
        for (name, schema) in map {
            self.path.push(name);
            self.schema(schema)?;
            self.path.pop();
        }
        Ok(())
    }

    fn text(&mut self, keyword: &str, text: &'a str) {
        match keyword {
            "$ref" if text.starts_with('#') => {
                let place = self.place();
                self.refs.push((text, place));
            }
            "$anchor" | "$dynamicAnchor" => self.anchors.push(text),
            "$id" => match text.strip_prefix('#') {
                // An anchor, as drafts 6 and 7 write it.
                Some(anchor) => self.anchors.push(anchor),
                None => self.rebased |= self.path.len() > 1,
            },
            _ => {}
        }
    }

    fn leads_somewhere(&self, root: &Value, reference: &str) -> bool {
        let fragment = percent_decoded(&reference[1..]);
        if fragment.is_empty() || fragment.starts_with('/') {
            root.pointer(&fragment).is_some()
        } else {
            self.anchors.contains(&fragment.as_str())
        }
    }
}

/// A fragment of a URI as text. What is no escape stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escape {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn b63_every_keyword_of_2020_12_is_taken() {
        for schema in [
            r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/a%62"},"b":{"anyOf":[{"type":"string"},{"type":["null","integer"]}]},"c":true},"required":["a"],"$defs":{"ab":{"enum":[1,"x",null]}},"if":{"required":["a"]},"then":{"minProperties":1},"unevaluatedProperties":false,"dependentRequired":{"a":["b"]}}"##,
            r##"{"type":"object","properties":{"tree":{"$ref":"#"},"node":{"$ref":"#node"}},"$defs":{"n":{"$anchor":"node","type":"array","prefixItems":[{"const":{"$ref":7}}],"items":false,"contains":{},"minContains":0}}}"##,
            // Older drafts.
            r##"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"type":"array","items":[{"type":"string"}],"additionalItems":false},"b":{"minimum":1,"exclusiveMinimum":true}},"definitions":{"x":{"$id":"#x"}},"dependencies":{"a":["b"]}}"##,
            // Somebody else's document is not fetched, and not doubted.
            r#"{"type":"object","properties":{"a":{"$ref":"https://example.com/a.json"}}}"#,
            r##"{"type":"object","properties":{"a":{"$id":"https://example.com/a","$ref":"#/$defs/b","$defs":{"b":{}}}}}"##,
            r#"{"type":"object","x-anything":{"properties":[]},"default":{"required":"x"},"description":null}"#,
        ] {
            assert_eq!(check_input(schema), Ok(()), "{schema}");
        }
        assert_eq!(check_output(r#"{"type":"array","items":{}}"#), Ok(false));
        assert_eq!(check_output(r#"{"type":"object"}"#), Ok(true));
    }

    #[test]
    fn what_is_no_schema_has_a_place_and_a_reason() {
        for (schema, reason) in [
            ("[]", "it is no object"),
            ("{}", "its root must have `type: \"object\"`"),
            (r#"{"type":["object"]}"#, "its root must have `type: \"object\"`"),
            (r#"{"type":"array"}"#, "its root must have `type: \"object\"`"),
            (
                r#"{"type":"object","properties":[]}"#,
                "at its root: `properties` must be an object of schemas",
            ),
            (
                r#"{"type":"object","required":"x"}"#,
                "at its root: `required` must be a list of strings",
            ),
            (
                r#"{"type":"object","properties":{"a":{"items":{"type":"text"}}}}"#,
                "at /properties/a/items: `type` must be the name of a type or a list of such",
            ),
            (
                r#"{"type":"object","properties":{"a":7}}"#,
                "at its root: `properties` must be an object of schemas",
            ),
            (
                r#"{"type":"object","anyOf":[]}"#,
                "at its root: `anyOf` must be a list of schemas with at least one in it",
            ),
            (
                r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/none"}}}"##,
                "at /properties/a/$ref: the $ref \"#/$defs/none\" leads nowhere",
            ),
        ] {
            assert_eq!(check_input(schema), Err(reason.to_owned()), "{schema}");
        }
        let deep = format!(
            "{}{{}}{}",
            r#"{"type":"object","not":"#.repeat(70),
            "}".repeat(70)
        );
        assert!(check_input(&deep).unwrap_err().contains("nested deeper"));
        let long = format!(r#"{{"type":"object","description":"{}"}}"#, "x".repeat(MAX_BYTES));
        assert!(check_input(&long).unwrap_err().contains("larger than"));
    }

    proptest! {
        #[test]
        fn s38_garbage_never_panics(text in ".{0,120}", fragment in "[#/%a-f0-9~]{0,12}") {
            let _ = check_output(&text);
            let schema = serde_json::json!({"type": "object", "not": {"$ref": format!("#{fragment}")}, "title": text});
            let _ = check_input(&schema.to_string());
        }
    }
}
