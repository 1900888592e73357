//! How a tool's definition differs from the one that was accepted, and what that means for whoever has to decide (S29).
//!
//! The classes err to the serious side: where it cannot be told whether a schema accepts more or less, it accepts more.

mod schema;

use serde_json::{Map, Value};

use crate::hidden_in::{shown, within};
use crate::pinned::MEMBERS;

/// What a change means. Ordered: the most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The tool takes more than before, or no longer says that it is harmless.
    PermissionWidening,
    /// A call that was right may not be any more.
    Breaking,
    /// Texts, and what comes back.
    Compatible,
}

impl Class {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PermissionWidening => "permission_widening",
            Self::Breaking => "breaking",
            Self::Compatible => "compatible",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it means.
    pub class: Class,
    /// Where in the definition, as a JSON pointer.
    pub path: String,
    /// JSON text of what was accepted there, shortened, with what does not show as escapes; none if nothing was there.
    pub before: Option<String>,
    /// The same of what is there now.
    pub after: Option<String>,
}

/// The differences between two definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// The most serious first; the first of them.
    pub changes: Vec<Change>,
    /// How many there are.
    pub count: usize,
}

/// Differences that are told one by one.
const MAX_CHANGES: usize = 50;
/// Characters of a value that is shown.
const MAX_VALUE: usize = 300;
/// Differences that are looked for at all.
const MAX_FOUND: usize = 2000;

/// Compares the covered members of two definitions, by their names in pins.
pub fn between(before: &Map<String, Value>, after: &Map<String, Value>) -> Drift {
    let mut found = Found::default();
    for (member, wire) in MEMBERS {
        let own = |of: &Map<String, Value>| of.get(member).filter(|value| !value.is_null()).cloned();
        let (old, new) = (own(before), own(after));
        if old == new {
            continue;
        }
        within(wire, &mut found.path.clone(), |path| {
            found.path.clone_from(path);
            match member {
                "input_schema" => schema::input(old.as_ref(), new.as_ref(), &mut found),
                "annotations" => annotations(old.as_ref(), new.as_ref(), &mut found),
                // Another page of the server's is shown: nobody can tell what it does.
                "ui" => found.note(Class::PermissionWidening, old.as_ref(), new.as_ref()),
                "output_schema" => found.leaves(Class::Compatible, old.as_ref(), new.as_ref()),
                _ => found.note(Class::Compatible, old.as_ref(), new.as_ref()),
            }
            found.path.clear();
        });
    }
    found.finish()
}

/// Hints that promise something as long as they have a value.
const PROMISES: [(&str, bool); 3] = [
    ("readOnlyHint", true),
    ("destructiveHint", false),
    ("openWorldHint", false),
];

fn annotations(old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    let none = Map::new();
    let members = |of: Option<&Value>| {
        of.and_then(Value::as_object)
            .cloned()
            .unwrap_or_else(|| none.clone())
    };
    let (old, new) = (members(old), members(new));
    for key in keys(&old, &new) {
        let (before, after) = (old.get(&key), new.get(&key));
        if before == after {
            continue;
        }
        let promised = PROMISES.iter().find(|(hint, _)| *hint == key);
        let is = |value: Option<&Value>, promise: bool| value.and_then(Value::as_bool) == Some(promise);
        let class = match promised {
            Some((_, promise)) if is(before, *promise) => Class::PermissionWidening,
            // Who repeats calls must not do so any more.
            None if key == "idempotentHint" && is(before, true) => Class::Breaking,
            _ => Class::Compatible,
        };
        found.at(&key, |found| found.note(class, before, after));
    }
}

/// The keys of both, those of the first before the others.
fn keys(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let others = new.keys().filter(|key| !old.contains_key(*key));
    old.keys().chain(others).cloned().collect()
}

/// What was found, and where the search is.
#[derive(Default)]
struct Found {
    path: String,
    changes: Vec<Change>,
    count: usize,
}

impl Found {
    fn at(&mut self, key: &str, go: impl FnOnce(&mut Self)) {
        let before = self.path.len();
        let mut path = std::mem::take(&mut self.path);
        within(key, &mut path, |path| {
            self.path = std::mem::take(path);
            go(self);
            *path = std::mem::take(&mut self.path);
        });
        self.path = path;
        self.path.truncate(before);
    }

    fn note(&mut self, class: Class, before: Option<&Value>, after: Option<&Value>) {
        self.count += 1;
        if self.changes.len() == MAX_FOUND {
            return;
        }
        let text = |value: &Value| shown(&value.to_string(), MAX_VALUE);
        self.changes.push(Change {
            class,
            path: shown(&self.path, MAX_VALUE),
            before: before.map(text),
            after: after.map(text),
        });
    }

    /// Every difference below, all of one class.
    fn leaves(&mut self, class: Class, before: Option<&Value>, after: Option<&Value>) {
        if let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) {
            for key in keys(old, new) {
                let (before, after) = (old.get(&key), new.get(&key));
                if before != after {
                    self.at(&key, |found| found.leaves(class, before, after));
                }
            }
        } else {
            self.note(class, before, after);
        }
    }

    fn finish(mut self) -> Drift {
        // Stable: within a class they stay in the order of the definition.
        self.changes.sort_by_key(|change| change.class);
        self.changes.truncate(MAX_CHANGES);
        Drift {
            changes: self.changes,
            count: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn classes(before: Value, after: Value) -> Vec<(&'static str, String)> {
        let object = |value: Value| value.as_object().unwrap().clone();
        between(&object(before), &object(after))
            .changes
            .into_iter()
            .map(|change| (change.class.as_str(), change.path))
            .collect()
    }

    fn of_schema(before: &Value, after: &Value) -> Vec<(&'static str, String)> {
        classes(json!({"input_schema": before}), json!({"input_schema": after}))
    }

    #[test]
    fn s29_a_promise_that_is_taken_back_widens() {
        let annotated = |hints: Value| json!({"annotations": hints});
        for (before, after, class) in [
            (
                json!({"readOnlyHint": true}),
                json!({"readOnlyHint": false}),
                "permission_widening",
            ),
            (json!({"readOnlyHint": true}), json!({}), "permission_widening"),
            (
                json!({"destructiveHint": false}),
                json!({"destructiveHint": true}),
                "permission_widening",
            ),
            (
                json!({"openWorldHint": false}),
                json!(null),
                "permission_widening",
            ),
            (json!({"idempotentHint": true}), json!({}), "breaking"),
            (json!({}), json!({"readOnlyHint": true}), "compatible"),
            (json!({"title": "a"}), json!({"title": "b"}), "compatible"),
        ] {
            let found = classes(annotated(before), annotated(after));
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].0, class, "{found:?}");
        }
    }

    #[test]
    fn s29_the_most_serious_comes_first_and_all_are_told() {
        let before = json!({"description": "d", "input_schema": {"type": "object", "required": [], "properties": {"a": {"type": "string"}}}});
        let after = json!({"description": "e\u{200b}", "title": "T", "output_schema": {"type": "object"}, "ui": {"ui": {}},
            "input_schema": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "description": "x"}, "b": {}}}});
        let found = classes(before.clone(), after.clone());
        let expected = [
            ("permission_widening", "/inputSchema/properties/b"),
            ("permission_widening", "/_meta"),
            ("breaking", "/inputSchema/required"),
            ("compatible", "/title"),
            ("compatible", "/description"),
            ("compatible", "/inputSchema/properties/a/description"),
            ("compatible", "/outputSchema"),
        ];
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(class, path)| (*class, path.as_str()))
            .collect();
        assert_eq!(found, expected);
        let drift = between(before.as_object().unwrap(), after.as_object().unwrap());
        assert_eq!(drift.changes[4].after.as_deref(), Some(r#""e\u{200b}""#));
    }

    #[test]
    fn s29_schemas_that_take_more_and_schemas_that_take_less() {
        let widens = [
            (json!({"properties": {}}), json!({"properties": {"bcc": {}}})),
            (json!({"type": "integer"}), json!({"type": "number"})),
            (json!({"type": "string"}), json!({"type": ["string", "null"]})),
            (json!({"enum": [1]}), json!({"enum": [1, 2]})),
            (json!({"const": 1}), json!({})),
            (json!({"additionalProperties": false}), json!({})),
            (
                json!({"additionalProperties": false}),
                json!({"additionalProperties": {"type": "string"}}),
            ),
            (json!({"maxLength": 5}), json!({"maxLength": 6})),
            (json!({"minimum": 5}), json!({"minimum": 4})),
            (json!({"pattern": "^a$"}), json!({})),
            (json!({"pattern": "^a$"}), json!({"pattern": "^b$"})),
            (json!({"required": ["a"]}), json!({"required": []})),
            (json!({"items": {"type": "integer"}}), json!({"items": {}})),
            (
                json!({"anyOf": [{"type": "string"}]}),
                json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            ),
            (
                json!({"$defs": {"x": {"enum": [1]}}}),
                json!({"$defs": {"x": {"enum": [1, 2]}}}),
            ),
            (json!({"$ref": "#/a"}), json!({"$ref": "#/b"})),
            (json!(false), json!(true)),
            (
                json!({"not": {"type": "string"}}),
                json!({"not": {"type": "null"}}),
            ),
        ];
        for (before, after) in widens {
            let found = of_schema(&before, &after);
            assert_eq!(
                found.first().map(|own| own.0),
                Some("permission_widening"),
                "{before} {after}"
            );
        }
        let breaks = [
            (json!({"properties": {"a": {}}}), json!({"properties": {}})),
            (json!({"type": "number"}), json!({"type": "integer"})),
            (json!({"type": ["string", "null"]}), json!({"type": "string"})),
            (json!({}), json!({"type": "string"})),
            (json!({"enum": [1, 2]}), json!({"enum": [1]})),
            (
                json!({"additionalProperties": true}),
                json!({"additionalProperties": false}),
            ),
            (json!({"maxLength": 6}), json!({"maxLength": 5})),
            (json!({}), json!({"minItems": 1})),
            (json!({}), json!({"required": ["a"]})),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
                json!({"anyOf": [{"type": "string"}]}),
            ),
            (json!({}), json!({"pattern": "^a$"})),
        ];
        for (before, after) in breaks {
            let found = of_schema(&before, &after);
            assert_eq!(
                found.first().map(|own| own.0),
                Some("breaking"),
                "{before} {after}"
            );
        }
        for (before, after) in [
            (json!({"description": "a"}), json!({})),
            (
                json!({"properties": {"a": {"title": "x"}}}),
                json!({"properties": {"a": {"examples": [1]}}}),
            ),
        ] {
            let found = of_schema(&before, &after);
            assert!(
                found.iter().all(|own| own.0 == "compatible") && !found.is_empty(),
                "{before} {after}"
            );
        }
        assert_eq!(
            of_schema(&json!({"required": ["a", "b"]}), &json!({"required": ["b", "a"]})).len(),
            1
        );
        let both = of_schema(&json!({"enum": [1, 2]}), &json!({"enum": [2, 3]}));
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn what_is_told_is_bounded() {
        let many = |tag: &str| {
            let members = (0..200).map(|i| (format!("p{i}"), json!({"description": tag.repeat(5000)})));
            json!({"properties": members.collect::<Map<_, _>>()})
        };
        let object = |value: Value| value.as_object().unwrap().clone();
        let drift = between(
            &object(json!({"input_schema": many("a")})),
            &object(json!({"input_schema": many("b")})),
        );
        assert_eq!((drift.changes.len(), drift.count), (50, 200));
        assert!(drift.changes[0].after.as_ref().unwrap().len() < 400);
    }
}
