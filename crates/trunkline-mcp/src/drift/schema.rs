//! Whether a schema takes more than another, keyword by keyword.

use serde_json::{Map, Value};

use super::{Class, Found, keys};

/// Keywords that say something to people and models, and to no validator.
const WORDS: [&str; 8] = [
    "title",
    "description",
    "$comment",
    "examples",
    "example",
    "deprecated",
    "$schema",
    "x-mcp-header",
];
/// Bounds of which a greater one takes more.
const UPPER: [&str; 6] = [
    "maximum",
    "exclusiveMaximum",
    "maxLength",
    "maxItems",
    "maxProperties",
    "maxContains",
];
/// Bounds of which a smaller one takes more.
const LOWER: [&str; 6] = [
    "minimum",
    "exclusiveMinimum",
    "minLength",
    "minItems",
    "minProperties",
    "minContains",
];

/// Compares two schemas of arguments.
pub(super) fn input(old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    // No schema takes everything.
    let everything = Value::Bool(true);
    compare(old.unwrap_or(&everything), new.unwrap_or(&everything), found);
}

fn compare(old: &Value, new: &Value, found: &mut Found) {
    if old == new {
        return;
    }
    let members = |of: &Value| match of {
        Value::Object(members) => Some(members.clone()),
        // `true` is the schema without keywords.
        Value::Bool(true) => Some(Map::new()),
        _ => None,
    };
    match (members(old), members(new)) {
        (Some(before), Some(after)) => {
            for key in keys(&before, &after) {
                let (old, new) = (before.get(&key), after.get(&key));
                if old != new {
                    found.at(&key, |found| keyword(&key, old, new, found));
                }
            }
        }
        (Some(_), None) => found.note(Class::Breaking, Some(old), Some(new)),
        _ => found.note(Class::PermissionWidening, Some(old), Some(new)),
    }
}

fn keyword(key: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    match key {
        "properties" | "patternProperties" => properties(old, new, found),
        "$defs" | "definitions" => definitions(old, new, found),
        "additionalProperties"
        | "unevaluatedProperties"
        | "items"
        | "additionalItems"
        | "contains"
        | "propertyNames"
        | "unevaluatedItems" => input(old, new, found),
        "type" => sets(&types(old), &types(new), old, new, found),
        "enum" => sets(&list(old), &list(new), old, new, found),
        // More of it takes less.
        "required" => sets(&list_or_none(new), &list_or_none(old), old, new, found),
        "anyOf" | "oneOf" => alternatives(old, new, found),
        _ if WORDS.contains(&key) => found.note(Class::Compatible, old, new),
        _ if UPPER.contains(&key) => bound(old, new, false, found),
        _ if LOWER.contains(&key) => bound(old, new, true, found),
        // Another value is put in for whoever says none.
        "default" => found.note(Class::Breaking, old, new),
        _ => constraint(old, new, found),
    }
}

/// A keyword that restricts in a way that is not looked into.
fn constraint(old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    let class = if old.is_none() {
        Class::Breaking
    } else {
        Class::PermissionWidening
    };
    found.note(class, old, new);
}

fn properties(old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    each(old, new, found, |found, old, new| match (old, new) {
        (Some(old), Some(new)) => compare(old, new, found),
        (None, new) => found.note(Class::PermissionWidening, None, new),
        (old, None) => found.note(Class::Breaking, old, None),
    });
}

/// Schemas that others refer to: one that comes or goes alone changes nothing by itself.
fn definitions(old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    each(old, new, found, |found, old, new| match (old, new) {
        (Some(old), Some(new)) => compare(old, new, found),
        (old, new) => found.note(Class::Compatible, old, new),
    });
}

fn each(
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Found,
    go: impl Fn(&mut Found, Option<&Value>, Option<&Value>),
) {
    let none = Map::new();
    let members = |of: Option<&Value>| match of {
        None => Some(none.clone()),
        Some(Value::Object(members)) => Some(members.clone()),
        Some(_) => None,
    };
    let (Some(before), Some(after)) = (members(old), members(new)) else {
        return constraint(old, new, found);
    };
    for key in keys(&before, &after) {
        let (old, new) = (before.get(&key), after.get(&key));
        if old != new {
            found.at(&key, |found| go(found, old, new));
        }
    }
}

/// The values that are let in; `None`: all.
type Accepted = Option<Vec<Value>>;

/// Types; what is a number is an integer, too.
fn types(value: Option<&Value>) -> Accepted {
    let mut types = match value? {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    if types.iter().any(|own| own == "number") {
        types.push("integer".into());
    }
    Some(types)
}

fn list(value: Option<&Value>) -> Accepted {
    match value? {
        Value::Array(items) => Some(items.clone()),
        one => Some(vec![one.clone()]),
    }
}

fn list_or_none(value: Option<&Value>) -> Accepted {
    list(value).or_else(|| Some(Vec::new()))
}

fn sets(before: &Accepted, after: &Accepted, old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    let beyond = |more: &Accepted, less: &Accepted| match (more, less) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(more), Some(less)) => more.iter().any(|value| !less.contains(value)),
    };
    let (widened, narrowed) = (beyond(after, before), beyond(before, after));
    if widened {
        found.note(Class::PermissionWidening, old, new);
    }
    if narrowed {
        found.note(Class::Breaking, old, new);
    }
    if !widened && !narrowed {
        // The same in another order.
        found.note(Class::Compatible, old, new);
    }
}

fn alternatives(old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    let (Some(Value::Array(before)), Some(Value::Array(after))) = (old, new) else {
        return constraint(old, new, found);
    };
    if before.len() == after.len() {
        for (index, (old, new)) in before.iter().zip(after).enumerate() {
            found.at(&index.to_string(), |found| compare(old, new, found));
        }
    } else {
        sets(&Some(before.clone()), &Some(after.clone()), old, new, found);
    }
}

/// `lower`: a smaller bound takes more.
fn bound(old: Option<&Value>, new: Option<&Value>, lower: bool, found: &mut Found) {
    let class = match (old, new) {
        (None, _) => Class::Breaking,
        (_, None) => Class::PermissionWidening,
        (Some(before), Some(after)) => match (before.as_f64(), after.as_f64()) {
            (Some(before), Some(after)) if (after > before) == lower => Class::Breaking,
            _ => Class::PermissionWidening,
        },
    };
    found.note(class, old, new);
}
