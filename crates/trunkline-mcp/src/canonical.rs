//! One spelling for all spellings of the same JSON: what a client holds is bound to what it asked for, and it may write
//! the same thing differently the next time.

use std::fmt::Write as _;

use crate::depth;
use crate::edit::{decoded, push_string};

/// The text without blanks, with members in the order of their keys and strings escaped alike. Numbers are as they were
/// written: no type holds them all, and two that differ must not become one. `None` for what is no JSON, or too deep.
pub fn canonical(json: &str) -> Option<String> {
    if !depth::within(json.as_bytes(), depth::MAX_DEPTH) {
        return None;
    }
    // From here on the text is known to be well-formed.
    serde_json::from_str::<&serde_json::value::RawValue>(json).ok()?;
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    value(&mut rest, &mut text)?;
    Some(text)
}

/// The same JSON with what no type holds made something that one does: numbers beyond all bounds, halves of surrogate pairs.
/// For looking at the rest of it. `json` must be JSON text.
pub fn readable(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let before = rest;
        if first == '"' {
            let Some(bytes) = string(&mut rest) else {
                return json.to_owned();
            };
            push_string(&mut text, &String::from_utf8_lossy(&bytes));
        } else if first == '-' || first.is_ascii_digit() {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
                .unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            let fits = number.parse::<f64>().is_ok_and(f64::is_finite);
            text.push_str(if fits { number } else { "0" });
            rest = after;
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
        if rest.len() == before.len() {
            return json.to_owned();
        }
    }
    text
}

fn skip_blanks(rest: &mut &str) {
    *rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
}

/// Takes one character off if it is the next.
fn take(rest: &mut &str, wanted: char) -> bool {
    skip_blanks(rest);
    match rest.strip_prefix(wanted) {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

fn value(rest: &mut &str, text: &mut String) -> Option<()> {
    if take(rest, '{') {
        return object(rest, text);
    }
    if take(rest, '[') {
        text.push('[');
        while !take(rest, ']') {
            value(rest, text)?;
            take(rest, ',');
            text.push(',');
        }
        text.push(']');
        return Some(());
    }
    if rest.starts_with('"') {
        push_key(text, &string(rest)?);
        return Some(());
    }
    let end = rest
        .find([',', ']', '}', ' ', '\t', '\n', '\r'])
        .unwrap_or(rest.len());
    let (scalar, after) = rest.split_at(end);
    text.push_str(scalar);
    *rest = after;
    // Nothing taken would be no progress.
    (!scalar.is_empty()).then_some(())
}

fn object(rest: &mut &str, text: &mut String) -> Option<()> {
    let mut members = Vec::new();
    while !take(rest, '}') {
        let key = string(rest)?;
        take(rest, ':');
        let mut own = String::new();
        value(rest, &mut own)?;
        members.push((key, own));
        take(rest, ',');
    }
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    text.push('{');
    for (key, value) in &members {
        push_key(text, key);
        text.push(':');
        text.push_str(value);
        text.push(',');
    }
    text.push('}');
    Some(())
}

/// A string's bytes, taken off the front.
fn string(rest: &mut &str) -> Option<Vec<u8>> {
    skip_blanks(rest);
    let mut at = 1;
    loop {
        let found = memchr::memchr2(b'"', b'\\', rest.as_bytes().get(at..)?)?;
        at += found;
        if rest.as_bytes().get(at) == Some(&b'"') {
            break;
        }
        // The escaped character belongs to the escape, whatever it is.
        at += 2;
    }
    let (raw, after) = rest.split_at_checked(at + 1)?;
    *rest = after;
    decoded(raw).map(std::borrow::Cow::into_owned)
}

fn push_key(text: &mut String, key: &[u8]) {
    match std::str::from_utf8(key) {
        Ok(key) => push_string(text, key),
        // Half a surrogate pair is no text; its bytes tell it from every other. Writing to a String cannot fail.
        Err(_) => drop(write!(text, "{key:?}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_in_every_spelling() {
        let same = |one: &str, other: &str| canonical(one).unwrap() == canonical(other).unwrap();
        assert!(same(
            r#"{"a":1,"b":[true,null]}"#,
            " {\"b\" : [ true,null ] ,\n\"\\u0061\":1}"
        ));
        assert!(same(r#"["\u00e9\/"]"#, r#"["é/"]"#));
        assert!(!same("[1]", "[1.0]"));
        assert!(!same(
            "[123456789012345678901234567890]",
            "[123456789012345678901234567891]"
        ));
        assert!(!same("[1e400]", "[1e401]"));
        assert!(!same(r#"["\ud800"]"#, r#"["\ud801"]"#));
        assert!(!same(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#));
        assert!(!same(r#"["a,b"]"#, r#"["a","b"]"#));
        assert!(!same("[[1],2]", "[[1,2]]"));
        for wrong in ["", "{", "[1,]", "{\"a\"}", "[1] 2", &"[".repeat(101)] {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_no_type_holds_is_made_something_that_one_does() {
        let odd = r#"{"a":[1e400,-2.5,"\ud800"],"b\udfff":"x 1e400","c":12345678901234567890123}"#;
        assert!(serde_json::from_str::<serde_json::Value>(odd).is_err());
        let read: serde_json::Value = serde_json::from_str(&readable(odd)).unwrap();
        assert_eq!(read["a"][0], 0);
        assert_eq!(read["a"][1], -2.5);
        assert_eq!(read["c"].as_f64(), Some(12_345_678_901_234_567_890_123.0));
        assert!(read.to_string().contains("x 1e400"), "{read}");
    }

    proptest! {
        #[test]
        fn s23_two_values_never_share_a_spelling(one in values(), other in values()) {
            let (a, b) = (canonical(&one.to_string()), canonical(&other.to_string()));
            prop_assert!(a.is_some() && b.is_some());
            prop_assert_eq!(a == b, one == other);
            let pretty = serde_json::to_string_pretty(&one).unwrap();
            prop_assert_eq!(canonical(&pretty), canonical(&one.to_string()));
        }

        #[test]
        fn garbage_never_panics(text in "[\\[\\]{}\":,\\\\u 0-9a-e\n]{0,60}") {
            let _ = canonical(&text);
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-3i64..3).prop_map(Into::into),
            "[a\"\\\\,\u{e9}]{0,2}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                proptest::collection::hash_map("[ab\"]{0,1}", inner, 0..3)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
