//! `inputSchema` without alternatives at its root, for models' interfaces that refuse `oneOf`, `anyOf` and `allOf` there:
//! one schema of an object that lets everything through that the alternatives would, and says in words what they were. The
//! server still checks what it checks. Below the root everything stays.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::edit::{self, RawObject};
use crate::schema::percent_decoded;

const UNIONS: [&str; 3] = ["oneOf", "anyOf", "allOf"];
/// Alternatives of alternatives that are looked into, and references of references.
const MAX_DEPTH: usize = 8;
/// Schemas that are looked at for one rewritten schema.
const MAX_SCHEMAS: usize = 1000;
/// Bytes of the words about the alternatives.
const MAX_NOTE: usize = 2000;

/// What a schema says about an object.
#[derive(Clone, Default)]
struct Shape {
    /// Names with the schemas that they have in the alternatives, each once.
    properties: Vec<(String, Vec<String>)>,
    required: Vec<String>,
}

/// The schema without alternatives at its root; `None` if it has none and says that it is of an object, or if no object
/// could fit it.
pub fn flatten(schema: &str) -> Option<String> {
    let root = RawObject::parse(schema).ok()?;
    let typed = root.get("type") == Some("\"object\"");
    let union = UNIONS.iter().any(|key| root.get(key).is_some());
    let reference = root
        .get_string("$ref")
        .filter(|reference| reference.starts_with('#'));
    if typed && !union {
        return None;
    }
    let mut reader = Reader {
        root: schema,
        left: MAX_SCHEMAS,
    };
    let shape = reader.shape(schema, 0)?;
    let note = reader.note(&root);
    let mut flat = root.clone();
    for key in UNIONS {
        flat.remove(key);
    }
    if reference.is_some() {
        flat.remove("$ref");
    }
    if !typed {
        flat.set_string("type", "object");
    }
    if union || reference.is_some() {
        if !shape.properties.is_empty() {
            flat.set("properties", properties(&shape));
        }
        if shape.required.is_empty() {
            flat.remove("required");
        } else {
            let names: Vec<String> = shape.required.iter().map(|name| edit::string(name)).collect();
            flat.set("required", format!("[{}]", names.join(",")));
        }
    }
    if let Some(note) = note {
        let description = match root.get_string("description") {
            Some(own) if !own.is_empty() => format!("{own} {note}"),
            _ => note,
        };
        flat.set_string("description", &description);
    }
    Some(flat.to_json())
}

fn properties(shape: &Shape) -> String {
    let mut text = String::from("{");
    for (index, (name, variants)) in shape.properties.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        edit::push_string(&mut text, name);
        text.push(':');
        text.push_str(&any_of(variants));
    }
    text.push('}');
    text
}

fn any_of(variants: &[String]) -> String {
    match variants {
        [only] => only.clone(),
        several => format!(r#"{{"anyOf":[{}]}}"#, several.join(",")),
    }
}

struct Reader<'a> {
    root: &'a str,
    left: usize,
}

impl Reader<'_> {
    /// What a schema says; `None` if no object fits it, or if there is too much of it.
    fn shape(&mut self, schema: &str, depth: usize) -> Option<Shape> {
        self.left = self.left.checked_sub(1)?;
        if depth > MAX_DEPTH || schema == "false" {
            return None;
        }
        if schema == "true" {
            return Some(Shape::default());
        }
        let object = RawObject::parse(schema).ok()?;
        if object
            .get("type")
            .is_some_and(|types| !types.contains("\"object\""))
        {
            return None;
        }
        let mut shape = Shape {
            properties: own_properties(&object),
            required: object
                .get("required")
                .and_then(|names| serde_json::from_str(names).ok())
                .unwrap_or_default(),
        };
        if let Some(reference) = object.get_string("$ref")
            && let Some(target) = self.target(&reference)
        {
            shape.and(self.shape(&target, depth + 1)?);
        }
        for part in list(&object, "allOf") {
            shape.and(self.shape(&part, depth + 1)?);
        }
        for key in ["oneOf", "anyOf"] {
            let parts = list(&object, key);
            if parts.is_empty() {
                continue;
            }
            // Arguments are always an object, so alternatives that are none cannot be meant.
            let fitting: Vec<Shape> = parts
                .iter()
                .filter_map(|part| self.shape(part, depth + 1))
                .collect();
            shape.and(Shape::either(fitting)?);
        }
        Some(shape)
    }

    /// The schema that a reference into the same document leads to.
    fn target(&self, reference: &str) -> Option<String> {
        let pointer = percent_decoded(reference.strip_prefix('#')?);
        let mut at = self.root.to_owned();
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next = RawObject::parse(&at).ok()?.get(&token)?.to_owned();
            at = next;
        }
        // The root itself is being read.
        (pointer.starts_with('/')).then_some(at)
    }

    /// The alternatives at the root, in words.
    fn note(&mut self, root: &RawObject<'_>) -> Option<String> {
        let mut note = String::new();
        for (key, words) in [("oneOf", "Exactly one of"), ("anyOf", "At least one of")] {
            let parts = list(root, key);
            if parts.is_empty() {
                continue;
            }
            if !note.is_empty() {
                note.push(' ');
            }
            let _ = write!(note, "{words} these must fit:");
            for (index, part) in parts.iter().enumerate() {
                let _ = write!(note, " ({}) {}", index + 1, self.words(part));
                note.push(if index + 1 < parts.len() { ';' } else { '.' });
            }
        }
        if note.len() > MAX_NOTE {
            let cut = (0..=MAX_NOTE).rev().find(|at| note.is_char_boundary(*at))?;
            note.truncate(cut);
            note.push('…');
        }
        (!note.is_empty()).then_some(note)
    }

    /// One alternative in words: its title, or its properties.
    fn words(&mut self, part: &str) -> String {
        let title = RawObject::parse(part)
            .ok()
            .and_then(|part| part.get_string("title"));
        let Some(shape) = self.shape(part, 1) else {
            return title.unwrap_or_else(|| "something else than an object".to_owned());
        };
        let names: Vec<String> = shape
            .properties
            .iter()
            .map(|(name, variants)| match &variants[..] {
                // What tells the alternatives apart.
                [only] => match RawObject::parse(only)
                    .ok()
                    .and_then(|one| one.get("const").map(ToOwned::to_owned))
                {
                    Some(value) => format!("{name} = {value}"),
                    None => name.clone(),
                },
                _ => name.clone(),
            })
            .collect();
        let mut text = title.unwrap_or_default();
        if !names.is_empty() {
            let _ = write!(
                text,
                "{}with {}",
                if text.is_empty() { "" } else { " " },
                names.join(", ")
            );
        }
        if !shape.required.is_empty() {
            let _ = write!(
                text,
                "{}required: {}",
                if text.is_empty() { "" } else { ", " },
                shape.required.join(", ")
            );
        }
        if text.is_empty() {
            "any object".to_owned()
        } else {
            text
        }
    }
}

fn own_properties(object: &RawObject<'_>) -> Vec<(String, Vec<String>)> {
    let Some(properties) = object
        .get("properties")
        .and_then(|map| RawObject::parse(map).ok())
    else {
        return Vec::new();
    };
    properties
        .members()
        .map(|(name, schema)| (name.to_owned(), vec![schema.to_owned()]))
        .collect()
}

fn list(object: &RawObject<'_>, key: &str) -> Vec<String> {
    let parts: Option<Vec<&RawValue>> = object.get(key).and_then(|parts| serde_json::from_str(parts).ok());
    parts
        .unwrap_or_default()
        .into_iter()
        .map(|part| part.get().to_owned())
        .collect()
}

impl Shape {
    /// This and that must fit.
    fn and(&mut self, other: Self) {
        for (name, variants) in other.properties {
            match self.properties.iter_mut().find(|(own, _)| *own == name) {
                None => self.properties.push((name, variants)),
                Some((_, own)) if *own == variants => {}
                Some((_, own)) => {
                    *own = vec![format!(r#"{{"allOf":[{},{}]}}"#, any_of(own), any_of(&variants))];
                }
            }
        }
        for name in other.required {
            if !self.required.contains(&name) {
                self.required.push(name);
            }
        }
    }

    /// One of them must fit; `None` if there is none.
    fn either(shapes: Vec<Self>) -> Option<Self> {
        let mut shapes = shapes.into_iter();
        let mut all = shapes.next()?;
        for other in shapes {
            let required: BTreeSet<&String> = other.required.iter().collect();
            all.required.retain(|name| required.contains(name));
            for (name, variants) in other.properties {
                match all.properties.iter_mut().find(|(own, _)| *own == name) {
                    None => all.properties.push((name, variants)),
                    Some((_, own)) => {
                        for variant in variants {
                            if !own.contains(&variant) {
                                own.push(variant);
                            }
                        }
                    }
                }
            }
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn alternatives_become_one_object() {
        for (own, flat) in [
            // Nothing to do.
            (r#"{"type":"object","properties":{"a":{"oneOf":[{},{}]}}}"#, None),
            (r#"{"type":"string"}"#, None),
            (r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#, None),
            // Of an object, and not said so.
            (
                r#"{"properties":{"a":{}}}"#,
                Some(r#"{"properties":{"a":{}},"type":"object"}"#),
            ),
            (
                r#"{"type":"object","description":"D.","oneOf":[{"properties":{"kind":{"const":"file"},"path":{"type":"string"}},"required":["kind","path"]},{"properties":{"kind":{"const":"url"},"url":{"format":"uri"}},"required":["kind","url"]}],"x-other":1.50}"#,
                Some(
                    r#"{"type":"object","description":"D. Exactly one of these must fit: (1) with kind = \"file\", path, required: kind, path; (2) with kind = \"url\", url, required: kind, url.","x-other":1.50,"properties":{"kind":{"anyOf":[{"const":"file"},{"const":"url"}]},"path":{"type":"string"},"url":{"format":"uri"}},"required":["kind"]}"#,
                ),
            ),
            // What is not of an object cannot be meant; required of the root stays.
            (
                r#"{"type":"object","properties":{"z":{}},"required":["z"],"anyOf":[{"required":["a"]},{"type":"null"},{"title":"B","required":["a","b"]}]}"#,
                Some(
                    r#"{"type":"object","properties":{"z":{}},"required":["z","a"],"description":"At least one of these must fit: (1) required: a; (2) something else than an object; (3) B, required: a, b."}"#,
                ),
            ),
            // All of them: every rule holds, and references lead into the schema.
            (
                r##"{"allOf":[{"$ref":"#/$defs/base"},{"properties":{"a":{"minimum":1}},"required":["b"]}],"$defs":{"base":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}}}"##,
                Some(
                    r#"{"$defs":{"base":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}},"type":"object","properties":{"a":{"allOf":[{"type":"integer"},{"minimum":1}]}},"required":["a","b"]}"#,
                ),
            ),
            (
                r##"{"$ref":"#/$defs/A","$defs":{"A":{"type":"object","properties":{"a":{}}}}}"##,
                Some(
                    r#"{"$defs":{"A":{"type":"object","properties":{"a":{}}}},"type":"object","properties":{"a":{}}}"#,
                ),
            ),
        ] {
            assert_eq!(flatten(own).as_deref(), flat, "{own}");
            if let Some(flat) = flat {
                assert_eq!(flatten(flat), None, "once is enough: {flat}");
            }
        }
    }

    #[test]
    fn s38_references_in_circles_end() {
        let circle = r##"{"oneOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}],"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}}}"##;
        assert_eq!(flatten(circle), None);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_one_object(
            names in proptest::collection::vec("[a-c]{1,2}", 0..4),
            required in proptest::collection::vec("[a-c]", 0..3),
            union in proptest::sample::select(&UNIONS[..]),
        ) {
            let part = |name: &String| serde_json::json!({"properties": {name: {"const": name}}, "required": required});
            let parts: Vec<_> = names.iter().map(part).collect();
            let own = serde_json::json!({"type": "object", union: parts}).to_string();
            if let Some(flat) = flatten(&own) {
                prop_assert_eq!(flatten(&flat), None);
                let flat: serde_json::Value = serde_json::from_str(&flat).unwrap();
                prop_assert!(names.iter().all(|name| flat["properties"][name].is_object()));
            }
        }
    }
}
