//! Header values that mirror the body (2026-07-28, "Standard request headers"): `Mcp-Method`, `Mcp-Name`, and
//! `Mcp-Param-*` for tool parameters that carry `x-mcp-header`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::edit::RawObject;

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

/// The value as it can stand in a header: printable ASCII as it is, everything else in base64, and also what could be
/// taken for the encoded form.
pub fn encode(value: &str) -> Cow<'_, str> {
    let plain = value.bytes().all(|b| (0x20..=0x7e).contains(&b))
        && value.trim_matches(' ') == value
        && !(value.starts_with(OPEN) && value.ends_with(CLOSE));
    if plain {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("{OPEN}{}{CLOSE}", STANDARD.encode(value)))
    }
}

/// The inverse of [`encode`]; `None` for characters that cannot stand there and for broken base64.
pub fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !text.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
        return None;
    }
    match text.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)) {
        None => Some(Cow::Borrowed(text)),
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok().map(Cow::Owned)
        }
    }
}

/// A parameter of a tool that is mirrored in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParam {
    /// What stands after `Mcp-Param-`, in lower case.
    pub name: String,
    /// Where the value is in `arguments`: a chain of `properties`.
    pub path: Vec<String>,
}

/// The prefix of these headers, in lower case.
pub const PARAM_PREFIX: &str = "mcp-param-";
const ANNOTATION: &str = "x-mcp-header";
/// Levels of a schema that are looked through.
const MAX_DEPTH: usize = 64;

/// The mirrored parameters of a tool's `inputSchema`. An error is the rule that the schema breaks: a client on HTTP must
/// not use such a tool.
pub fn params_of(schema: &str) -> Result<Vec<HeaderParam>, &'static str> {
    // Most schemas have none, and need not be taken apart.
    if !schema.contains(ANNOTATION) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if annotation_of(schema)?.is_some() {
        return Err("x-mcp-header stands at the root of the inputSchema");
    }
    collect(schema, &mut Vec::new(), true, &mut found)?;
    for (index, param) in found.iter().enumerate() {
        if found[..index]
            .iter()
            .any(|other: &HeaderParam| other.name == param.name)
        {
            return Err("two parameters have the same x-mcp-header");
        }
    }
    Ok(found)
}

/// The members of a schema, raw: it may hold numbers that no type holds. None for what is no object.
fn members(schema: &str) -> Result<Option<RawObject<'_>>, &'static str> {
    if !schema.starts_with('{') {
        return Ok(None);
    }
    // Of two members of one name another parser might take the other.
    let read = RawObject::parse(schema).map_err(|_| "the inputSchema cannot be read, or has a key twice")?;
    Ok(Some(read))
}

fn annotation_of(schema: &str) -> Result<Option<String>, &'static str> {
    Ok(members(schema)?.and_then(|object| object.get(ANNOTATION).map(ToOwned::to_owned)))
}

/// `reachable`: `schema` is reached by `properties` alone.
fn collect(
    schema: &str,
    path: &mut Vec<String>,
    reachable: bool,
    found: &mut Vec<HeaderParam>,
) -> Result<(), &'static str> {
    if path.len() > MAX_DEPTH {
        return Err("the inputSchema is nested too deep");
    }
    let misplaced = "x-mcp-header stands where no chain of `properties` leads";
    if schema.starts_with('[') {
        let items: Vec<&RawValue> =
            serde_json::from_str(schema).map_err(|_| "the inputSchema cannot be read")?;
        path.push(String::new());
        for item in items {
            if annotation_of(item.get())?.is_some() {
                return Err(misplaced);
            }
            collect(item.get(), path, false, found)?;
        }
        path.pop();
        return Ok(());
    }
    let Some(own) = members(schema)? else {
        return Ok(());
    };
    for key in own.keys() {
        let value = own.get(key).unwrap_or_default();
        if matches!(key, ANNOTATION | "default" | "const" | "enum" | "examples") {
            // Values, not schemas.
        } else if key == "properties"
            && let Some(properties) = members(value)?
        {
            for name in properties.keys() {
                let property = properties.get(name).unwrap_or_default();
                path.push(name.to_owned());
                if let Some(annotation) = annotation_of(property)? {
                    found.push(param(&annotation, property, path, reachable)?);
                }
                collect(property, path, reachable, found)?;
                path.pop();
            }
        } else {
            path.push(String::new());
            if annotation_of(value)?.is_some() {
                return Err(misplaced);
            }
            collect(value, path, false, found)?;
            path.pop();
        }
    }
    Ok(())
}

fn param(
    annotation: &str,
    property: &str,
    path: &[String],
    reachable: bool,
) -> Result<HeaderParam, &'static str> {
    if !reachable {
        return Err("x-mcp-header stands where no chain of `properties` leads");
    }
    let name: String = serde_json::from_str(annotation).map_err(|_| "x-mcp-header is no string")?;
    if name.is_empty() || !name.bytes().all(is_tchar) {
        return Err("x-mcp-header is no legal part of a header's name");
    }
    let kind = members(property)?.and_then(|object| object.get_string("type"));
    if !matches!(kind.as_deref(), Some("integer" | "string" | "boolean")) {
        return Err("x-mcp-header stands on a parameter that is no integer, string or boolean");
    }
    Ok(HeaderParam {
        name: name.to_ascii_lowercase(),
        path: path.to_vec(),
    })
}

/// RFC 9110, 5.6.2.
fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// The arguments cannot be read as a sender would who mirrors them: no objects, a key twice, text that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the arguments cannot be read, or have a key twice")]
pub struct Unclear;

impl HeaderParam {
    /// The argument as JSON text; `None` if it is absent or null.
    fn raw_in(&self, arguments: &str) -> Result<Option<String>, Unclear> {
        let mut value = Cow::Borrowed(arguments);
        for key in &self.path {
            if !value.starts_with('{') {
                return Ok(None);
            }
            let object = RawObject::parse(&value).map_err(|_| Unclear)?;
            let Some(inner) = object.get(key).map(ToOwned::to_owned) else {
                return Ok(None);
            };
            value = Cow::Owned(inner);
        }
        Ok(Some(value.into_owned()).filter(|value| value != "null"))
    }

    /// The argument's value as it is mirrored, a number as it is spelled; `None` if it is absent or null. `arguments` is
    /// JSON text.
    pub fn value_in(&self, arguments: &str) -> Result<Option<String>, Unclear> {
        let Some(raw) = self.raw_in(arguments)? else {
            return Ok(None);
        };
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str(&raw).map(Some).map_err(|_| Unclear),
            Some(b'{' | b'[') | None => Ok(None),
            Some(_) => Ok(Some(raw)),
        }
    }

    /// Whether a header's raw value says what the argument says. Integers are compared as numbers, exactly; everything else
    /// is the same text or it is not.
    pub fn agrees(&self, header: Option<&[u8]>, arguments: &str) -> bool {
        let Ok(value) = self.value_in(arguments) else {
            return false;
        };
        match (header.map(decode), value) {
            (None, None) => true,
            (Some(Some(header)), Some(value)) => {
                header == value || (self.is_number(arguments) && same_integer(&header, &value))
            }
            _ => false,
        }
    }

    fn is_number(&self, arguments: &str) -> bool {
        let raw = self.raw_in(arguments).ok().flatten();
        raw.is_some_and(|raw| raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()))
    }
}

/// Whether two spellings are the same integer, however long; one with a fraction of zeros or an exponent counts.
fn same_integer(a: &str, b: &str) -> bool {
    integer(a).is_some_and(|a| integer(b) == Some(a))
}

/// Sign, digits without zeros at either end, and how many zeros follow.
fn integer(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let digits = all.trim_end_matches('0');
    let trailing = i64::try_from(all.len() - digits.len()).ok()?;
    let zeros = trailing + i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    let digits = digits.trim_start_matches('0');
    match digits {
        "" => Some((false, String::new(), 0)),
        _ => (zeros >= 0).then(|| (negative, digits.to_owned(), zeros)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn plain_stays_plain() {
        assert_eq!(encode("get_weather"), "get_weather");
        assert_eq!(encode(" a"), "=?base64?IGE=?=");
        assert_eq!(encode("=?base64?YQ==?="), "=?base64?PT9iYXNlNjQ/WVE9PT89?=");
        assert_eq!(decode(b" a "), Some("a".into()));
        assert_eq!(decode(b"=?base64?!?="), None);
        assert_eq!(decode(b"=?base64?YQ?="), None, "padding is part of it");
        assert_eq!(decode("ä".as_bytes()), None);
    }

    #[test]
    fn s23_annotations_that_break_a_rule() {
        let of = |schema: Value| params_of(&schema.to_string());
        let good = of(json!({"type":"object","properties":{
            "a":{"type":"string","x-mcp-header":"Region"},
            "b":{"type":"object","properties":{"c":{"type":"integer","x-mcp-header":"Deep"}}}}}))
        .unwrap();
        assert_eq!(good.len(), 2);
        assert_eq!(
            good[1],
            HeaderParam {
                name: "deep".into(),
                path: vec!["b".into(), "c".into()]
            }
        );
        for bad in [
            json!({"properties":{"a":{"type":"number","x-mcp-header":"A"}}}),
            json!({"properties":{"a":{"type":"object","x-mcp-header":"A"}}}),
            json!({"properties":{"a":{"type":"string","x-mcp-header":""}}}),
            json!({"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}),
            json!({"properties":{"a":{"type":"string","x-mcp-header":7}}}),
            json!({"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}),
            json!({"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}),
            json!({"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}),
            json!({"x-mcp-header":"A"}),
        ] {
            assert!(of(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(
            of(json!({"properties":{"x-mcp-header":{"type":"string"}}})),
            Ok(Vec::new())
        );
        let odd = r#"{"properties":{"a":{"type":"string","x-mcp-header":"A","maximum":1e400,"description":"\ud800"}}}"#;
        assert_eq!(
            params_of(odd).unwrap().len(),
            1,
            "what no type holds is passed over"
        );
        let twice = r#"{"properties":{"a":{"type":"string","x-mcp-header":"A","x-mcp-header":"B"}}}"#;
        assert!(params_of(twice).is_err());
    }

    #[test]
    fn s23_header_and_argument_agree() {
        let param = HeaderParam {
            name: "n".into(),
            path: vec!["n".into()],
        };
        let agrees = |header: Option<&[u8]>, arguments: Value| param.agrees(header, &arguments.to_string());
        assert!(agrees(None, json!({})));
        assert!(agrees(None, json!({"n": null})));
        assert!(!agrees(None, json!({"n": 1})));
        assert!(!agrees(Some(b"1"), json!({})));
        assert!(agrees(Some(b"1.0"), json!({"n": 1})));
        assert!(!agrees(Some(b"2"), json!({"n": 1})));
        assert!(!agrees(Some(b"7"), json!({"n": "007"})), "a text is no number");
        assert!(!agrees(
            Some(b"1234567890123456788"),
            json!({"n": 1_234_567_890_123_456_789_u64})
        ));
        assert!(agrees(Some(b"=?base64?w6Q=?="), json!({"n": "ä"})));
        assert!(!agrees(Some(b"=?base64?w6Q?="), json!({"n": "ä"})));
        assert!(agrees(Some(b"true"), json!({"n": true})));
        // Numbers that no type holds, and spellings that a parser would change.
        let long = "123456789012345678901234567890123456789012345678901234567890";
        for (header, argument, same) in [
            (long, long, true),
            (long, &format!("{long}.0"), true),
            (long, &format!("{}1", &long[..59]), false),
            ("100", "1e2", true),
            ("1e2", "1E+2", true),
            ("0", "-0.0", true),
            ("1", "1.5", false),
            ("-1", "1", false),
            ("1e400", "1e401", false),
        ] {
            let arguments = format!(r#"{{"n":{argument},"x":1e400,"y":"\ud800"}}"#);
            assert_eq!(
                param.agrees(Some(header.as_bytes()), &arguments),
                same,
                "{header} {argument}"
            );
        }
        // Which of two is meant cannot be told.
        assert!(!param.agrees(Some(b"1"), r#"{"n":1,"n":1}"#));
        assert!(!param.agrees(None, r#"{"n":null,"\u006e":1}"#));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(value in ".{0,40}") {
            let encoded = encode(&value);
            prop_assert!(encoded.bytes().all(|b| (0x20..=0x7e).contains(&b)));
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap(), value.as_str());
        }

        #[test]
        fn s38_garbage_is_no_panic(header in proptest::collection::vec(any::<u8>(), 0..60), schema in ".{0,80}") {
            let _ = decode(&header);
            let _ = params_of(&format!("{{\"x-mcp-header\":{schema}}}"));
        }
    }
}
