//! One spelling for all spellings of the same JSON: what a client holds is bound to what it asked for, and it may write
//! the same thing differently the next time; what was accepted once is compared with what is there now.

use std::fmt::Write as _;

use aws_lc_rs::digest;

use crate::depth;
use crate::edit::{decoded, push_string};

/// Why a text has no one spelling that others would read the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOne {
    /// No JSON.
    #[error("it is no JSON")]
    NoJson,
    /// Nested deeper than anything that is looked into.
    #[error("it is nested too deep")]
    TooDeep,
    /// A key is there twice: which of the two counts depends on who reads it.
    #[error("it has a key twice")]
    KeyTwice,
}

/// The text without blanks, with members in the order of their keys and strings escaped alike. Numbers are as they were
/// written: no type holds them all, and two that differ must not become one. `None` for what is no JSON, or too deep.
pub fn canonical(json: &str) -> Option<String> {
    spelled(json, false).ok()
}

/// The same, for what has to mean one thing to everybody: a key that is there twice, at any depth, is an error.
pub fn strict(json: &str) -> Result<String, NotOne> {
    spelled(json, true)
}

/// SHA-256 of a canonical text, in hexadecimal.
pub fn digest(canonical: &str) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn spelled(json: &str, unique: bool) -> Result<String, NotOne> {
    if !depth::within(json.as_bytes(), depth::MAX_DEPTH) {
        return Err(NotOne::TooDeep);
    }
    // From here on the text is known to be well-formed.
    serde_json::from_str::<&serde_json::value::RawValue>(json).map_err(|_| NotOne::NoJson)?;
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    value(&mut rest, &mut text, unique)?;
    Ok(text)
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

fn value(rest: &mut &str, text: &mut String, unique: bool) -> Result<(), NotOne> {
    if take(rest, '{') {
        return object(rest, text, unique);
    }
    if take(rest, '[') {
        text.push('[');
        let mut first = true;
        while !take(rest, ']') {
            if !first {
                text.push(',');
            }
            first = false;
            value(rest, text, unique)?;
            take(rest, ',');
        }
        text.push(']');
        return Ok(());
    }
    if rest.starts_with('"') {
        push_text(text, &string(rest).ok_or(NotOne::NoJson)?);
        return Ok(());
    }
    let end = rest
        .find([',', ']', '}', ' ', '\t', '\n', '\r'])
        .unwrap_or(rest.len());
    let (scalar, after) = rest.split_at(end);
    if scalar.is_empty() {
        // Nothing taken would be no progress.
        return Err(NotOne::NoJson);
    }
    text.push_str(scalar);
    *rest = after;
    Ok(())
}

fn object(rest: &mut &str, text: &mut String, unique: bool) -> Result<(), NotOne> {
    let mut members = Vec::new();
    while !take(rest, '}') {
        let key = string(rest).ok_or(NotOne::NoJson)?;
        take(rest, ':');
        let mut own = String::new();
        value(rest, &mut own, unique)?;
        members.push((key, own));
        take(rest, ',');
    }
    // Stable, so that members of the same key stay in their order.
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    let twice = members.windows(2).any(|pair| pair[0].0 == pair[1].0);
    if unique && twice {
        return Err(NotOne::KeyTwice);
    }
    text.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push_text(text, key);
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    Ok(())
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

fn push_text(text: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(whole) => push_string(text, whole),
        Err(_) => push_halves(text, bytes),
    }
}

/// A string with halves of surrogate pairs in it: no text holds them, JSON's escapes do.
fn push_halves(text: &mut String, bytes: &[u8]) {
    text.push('"');
    let mut rest = bytes;
    while !rest.is_empty() {
        let readable = match std::str::from_utf8(rest) {
            Ok(whole) => whole.len(),
            Err(error) => error.valid_up_to(),
        };
        let (own, after) = rest.split_at(readable);
        let mut quoted = String::new();
        push_string(&mut quoted, std::str::from_utf8(own).unwrap_or_default());
        text.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        rest = match after {
            // As if it were a character of three bytes. Writing to a String cannot fail.
            [0xed, high, low, after @ ..] => {
                let unit = 0xd000 | (u32::from(high & 0x3f) << 6) | u32::from(low & 0x3f);
                let _ = write!(text, "\\u{unit:04x}");
                after
            }
            [byte, after @ ..] => {
                // Nothing that JSON's strings decode to; told apart all the same.
                let _ = write!(text, "\\u{byte:04x}");
                after
            }
            [] => break,
        };
    }
    text.push('"');
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

    #[test]
    fn s29_a_key_that_is_there_twice_has_no_strict_form() {
        assert_eq!(strict(r#"{"a":1,"a":2}"#), Err(NotOne::KeyTwice));
        assert_eq!(strict(r#"{"x":[{"a":1,"\u0061":1}]}"#), Err(NotOne::KeyTwice));
        assert_eq!(strict("{"), Err(NotOne::NoJson));
        assert_eq!(
            strict(&format!("{}{}", "[".repeat(101), "]".repeat(101))),
            Err(NotOne::TooDeep)
        );
        assert_eq!(
            strict(" {\"b\" : [ 1.50e2 , true ] ,\n\"a\\u00e9\":\"\\ud800x\\\"\" }").as_deref(),
            Ok(r#"{"aé":"\ud800x\"","b":[1.50e2,true]}"#)
        );
        // printf %s '{}' | sha256sum
        assert_eq!(
            digest("{}"),
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }

    proptest! {
        #[test]
        fn s29_order_blanks_and_escapes_do_not_matter_and_all_else_does(one in values(), other in values()) {
            let strict = |text: &str| strict(text).map(|text| digest(&text)).unwrap();
            let plain = strict(&one.to_string());
            prop_assert_eq!(&plain, &strict(&serde_json::to_string_pretty(&one).unwrap()));
            prop_assert_eq!(&plain, &strict(&turned(&one).to_string()));
            prop_assert_eq!(&plain, &strict(&escaped(&one.to_string())));
            prop_assert_eq!(plain == strict(&other.to_string()), one == other);
            let canonical = canonical(&one.to_string()).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&canonical).unwrap(), one);
        }

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

    /// With the members of every object the other way round.
    fn turned(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(members) => {
                let members = members.iter().rev().map(|(key, own)| (key.clone(), turned(own)));
                serde_json::Value::Object(members.collect())
            }
            serde_json::Value::Array(items) => items.iter().map(turned).collect(),
            other => other.clone(),
        }
    }

    /// With every letter of a string that can be written as an escape written so.
    fn escaped(json: &str) -> String {
        let mut inside = false;
        let mut text = String::new();
        let mut chars = json.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    inside = !inside;
                    text.push(c);
                }
                '\\' => {
                    text.push(c);
                    text.extend(chars.next());
                }
                'a' | ',' | '\u{e9}' if inside => {
                    write!(text, "\\u{:04x}", u32::from(c)).unwrap();
                }
                other => text.push(other),
            }
        }
        text
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
