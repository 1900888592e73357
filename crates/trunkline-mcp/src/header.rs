//! Header values that mirror the body (2026-07-28, "Standard request headers"): `Mcp-Method`, `Mcp-Name`, and
//! `Mcp-Param-*` for tool parameters that carry `x-mcp-header`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

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
    let schema: Value = serde_json::from_str(schema).map_err(|_| "the inputSchema cannot be read")?;
    let mut found = Vec::new();
    if schema.get(ANNOTATION).is_some() {
        return Err("x-mcp-header stands at the root of the inputSchema");
    }
    collect(&schema, &mut Vec::new(), true, &mut found)?;
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

/// `reachable`: `schema` is reached by `properties` alone.
fn collect(
    schema: &Value,
    path: &mut Vec<String>,
    reachable: bool,
    found: &mut Vec<HeaderParam>,
) -> Result<(), &'static str> {
    if path.len() > MAX_DEPTH {
        return Err("the inputSchema is nested too deep");
    }
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                if key == "properties"
                    && let Some(properties) = value.as_object()
                {
                    for (name, property) in properties {
                        path.push(name.clone());
                        if let Some(annotation) = property.get(ANNOTATION) {
                            found.push(param(annotation, property, path, reachable)?);
                        }
                        collect(property, path, reachable, found)?;
                        path.pop();
                    }
                } else if matches!(
                    key.as_str(),
                    ANNOTATION | "default" | "const" | "enum" | "examples"
                ) {
                    // Values, not schemas.
                } else if value.is_object() || value.is_array() {
                    path.push(String::new());
                    if value.get(ANNOTATION).is_some() {
                        return Err("x-mcp-header stands where no chain of `properties` leads");
                    }
                    collect(value, path, false, found)?;
                    path.pop();
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if item.get(ANNOTATION).is_some() {
                    return Err("x-mcp-header stands where no chain of `properties` leads");
                }
                collect(item, path, false, found)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn param(
    annotation: &Value,
    property: &Value,
    path: &[String],
    reachable: bool,
) -> Result<HeaderParam, &'static str> {
    if !reachable {
        return Err("x-mcp-header stands where no chain of `properties` leads");
    }
    let name = annotation.as_str().ok_or("x-mcp-header is no string")?;
    if name.is_empty() || !name.bytes().all(is_tchar) {
        return Err("x-mcp-header is no legal part of a header's name");
    }
    if !matches!(
        property.get("type").and_then(Value::as_str),
        Some("integer" | "string" | "boolean")
    ) {
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

impl HeaderParam {
    /// The argument's value as it is mirrored; `None` if it is absent or null.
    pub fn value_in(&self, arguments: &Value) -> Option<String> {
        let mut value = arguments;
        for key in &self.path {
            value = value.get(key)?;
        }
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Whether a header's raw value says what the argument says. Integers are compared as numbers, exactly; everything else
    /// is the same text or it is not.
    pub fn agrees(&self, header: Option<&[u8]>, arguments: &Value) -> bool {
        match (header.map(decode), self.value_in(arguments)) {
            (None, None) => true,
            (Some(Some(header)), Some(value)) => {
                header == value || (self.is_number(arguments) && same_integer(&header, &value))
            }
            _ => false,
        }
    }

    fn is_number(&self, arguments: &Value) -> bool {
        let mut value = Some(arguments);
        for key in &self.path {
            value = value.and_then(|value| value.get(key));
        }
        value.is_some_and(Value::is_number)
    }
}

/// Whether two spellings are the same integer; one that is spelled with a fraction of zeros counts.
fn same_integer(a: &str, b: &str) -> bool {
    let integer = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let zeros = !fraction.is_empty() && fraction.bytes().all(|b| b == b'0');
        whole.parse::<i128>().ok().filter(|_| zeros)
    };
    integer(a).is_some_and(|a| integer(b) == Some(a))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

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
    }

    #[test]
    fn s23_header_and_argument_agree() {
        let param = HeaderParam {
            name: "n".into(),
            path: vec!["n".into()],
        };
        assert!(param.agrees(None, &json!({})));
        assert!(param.agrees(None, &json!({"n": null})));
        assert!(!param.agrees(None, &json!({"n": 1})));
        assert!(!param.agrees(Some(b"1"), &json!({})));
        assert!(param.agrees(Some(b"1.0"), &json!({"n": 1})));
        assert!(!param.agrees(Some(b"2"), &json!({"n": 1})));
        assert!(
            !param.agrees(Some(b"7"), &json!({"n": "007"})),
            "a text is no number"
        );
        assert!(!param.agrees(
            Some(b"1234567890123456788"),
            &json!({"n": 1_234_567_890_123_456_789_u64})
        ));
        assert!(param.agrees(Some(b"=?base64?w6Q=?="), &json!({"n": "ä"})));
        assert!(!param.agrees(Some(b"=?base64?w6Q?="), &json!({"n": "ä"})));
        assert!(param.agrees(Some(b"true"), &json!({"n": true})));
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
