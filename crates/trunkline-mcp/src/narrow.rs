//! A tool's `inputSchema` without the arguments that callers may not give.

use crate::edit::{self, RawObject};

/// A definition whose arguments were narrowed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// The definition; `None` if it stays what it was.
    pub json: Option<String>,
    /// Arguments that the schema requires, and that nobody can give or will fill in.
    pub missing: Vec<String>,
}

/// What makes more of a schema than its `properties`: taking one out of these would leave it in the others.
const BEYOND: [&str; 15] = [
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
];
/// How another place of a schema is pointed at.
const POINTED: &str = "#/properties/";

/// Takes out of a tool's definition what `hides` names, and requires none of what is filled in (`fills`). A schema that is no
/// plain object stays as it is, but for what is missing.
pub fn tool(definition: &str, hides: &dyn Fn(&str) -> bool, fills: &dyn Fn(&str) -> bool) -> Narrowed {
    let mut narrowed = Narrowed::default();
    let Ok(mut definition) = RawObject::parse(definition) else {
        return narrowed;
    };
    let own = definition.get("inputSchema").unwrap_or_default().to_owned();
    let Ok(mut schema) = RawObject::parse(&own) else {
        return narrowed;
    };
    let required: Vec<String> = schema
        .get("required")
        .and_then(|required| serde_json::from_str(required).ok())
        .unwrap_or_default();
    let given = |name: &String| !hides(name) && !fills(name);
    narrowed.missing = required
        .iter()
        .filter(|name| hides(name) && !fills(name))
        .cloned()
        .collect();
    if BEYOND.iter().any(|key| schema.get(key).is_some()) || own.contains(POINTED) {
        return narrowed;
    }
    let mut changed = false;
    let properties = schema.get("properties").unwrap_or_default().to_owned();
    if let Ok(mut properties) = RawObject::parse(&properties) {
        let hidden: Vec<String> = properties
            .keys()
            .filter(|name| hides(name))
            .map(str::to_owned)
            .collect();
        for name in &hidden {
            properties.remove(name);
        }
        if !hidden.is_empty() {
            schema.set("properties", properties.to_json());
            changed = true;
        }
    }
    let left: Vec<String> = required
        .iter()
        .filter(|name| given(name))
        .map(|name| edit::string(name))
        .collect();
    if left.len() < required.len() {
        // Some old readers do not take a list of nothing.
        if left.is_empty() {
            schema.remove("required");
        } else {
            schema.set("required", format!("[{}]", left.join(",")));
        }
        changed = true;
    }
    if changed {
        definition.set("inputSchema", schema.to_json());
        narrowed.json = Some(definition.to_json());
    }
    narrowed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(schema: &str) -> Narrowed {
        let text = format!(r#"{{"name":"a","inputSchema":{schema},"x":1.0}}"#);
        tool(&text, &|name| name.starts_with('h'), &|name| name.ends_with('f'))
    }

    fn schema(schema: &str) -> Option<String> {
        let json = narrowed(schema).json?;
        let rest = json.strip_prefix(r#"{"name":"a","inputSchema":"#)?;
        Some(rest.strip_suffix(r#","x":1.0}"#)?.to_owned())
    }

    #[test]
    fn hidden_arguments_are_in_no_schema_and_filled_ones_not_required() {
        assert_eq!(
            schema(r#"{"type":"object","properties":{ "a" : {"type":"number","x":1e2},"hf":{},"f":{}},"required":["hf","a","f"]}"#)
                .unwrap(),
            r#"{"type":"object","properties":{ "a" : {"type":"number","x":1e2},"f":{}},"required":["a"]}"#
        );
        assert_eq!(
            schema(r#"{"type":"object","properties":{"\u0068f":{}},"required":["hf"]}"#).unwrap(),
            r#"{"type":"object","properties":{}}"#
        );
        assert_eq!(
            schema(r#"{"type":"object","properties":{"a":{}},"required":["a"]}"#),
            None
        );
        assert_eq!(schema(r#"{"type":"object"}"#), None);
    }

    #[test]
    fn what_is_no_plain_object_stays() {
        for text in [
            r#"{"type":"object","properties":{"h":{}},"allOf":[{"required":["h"]}]}"#,
            r##"{"type":"object","properties":{"h":{},"a":{"$ref":"#/properties/h"}}}"##,
        ] {
            assert_eq!(schema(text), None, "{text}");
        }
    }

    #[test]
    fn what_nobody_can_give_is_said() {
        let own = narrowed(r#"{"type":"object","properties":{"h":{},"hf":{}},"required":["h","hf"]}"#);
        assert_eq!(own.missing, ["h"]);
        let own = narrowed(r#"{"type":"object","anyOf":[{}],"required":["h"]}"#);
        assert_eq!((own.json, own.missing), (None, vec!["h".to_owned()]));
    }
}
