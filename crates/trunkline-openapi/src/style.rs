//! Values of parameters as text: OpenAPI's `style` and `explode`, each component encoded after RFC 3986.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;
use trunkline_mcp::edit::RawObject;

/// How a value that is no scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `a,b`
    Simple,
    /// `.a.b`
    Label,
    /// `;name=a;name=b`
    Matrix,
    /// `name=a&name=b`
    Form,
    /// `name=a%20b`
    Space,
    /// `name=a|b`
    Pipe,
    /// `name=a%09b`: Swagger 2.
    Tab,
    /// `name[key]=a`
    Deep,
}

/// Everything but RFC 3986's unreserved characters.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// `allowReserved`: reserved characters stay, but for those that would end the value or the query.
const RESERVED: &AsciiSet = &COMPONENT
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';');
/// What stands in the path of the document: escapes stay.
const LITERAL: &AsciiSet = &COMPONENT
    .remove(b'%')
    .remove(b':')
    .remove(b'/')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// One component of a URL.
pub(crate) fn component(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, COMPONENT).into()
}

/// A piece of a path as the document has it.
pub(crate) fn literal(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, LITERAL).into()
}

/// How components are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// All but unreserved characters.
    All,
    /// `allowReserved`.
    Reserved,
    /// Not at all: headers.
    None,
}

impl Escape {
    fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::All => component(text),
            Self::Reserved => utf8_percent_encode(text, RESERVED).into(),
            Self::None => Cow::Borrowed(text),
        }
    }
}

/// An argument, one level deep.
#[derive(Debug)]
pub(crate) enum Given<'a> {
    Nothing,
    Scalar(String),
    List(Vec<&'a str>),
    Object(Vec<(String, &'a str)>),
}

impl<'a> Given<'a> {
    /// Of JSON text.
    pub(crate) fn read(raw: &'a str) -> Option<Self> {
        match raw.as_bytes().first()? {
            b'n' => Some(Self::Nothing),
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
                Some(Self::List(items.into_iter().map(RawValue::get).collect()))
            }
            b'{' => Some(Self::Object(entries(raw)?)),
            _ => plain(raw).map(Self::Scalar),
        }
    }
}

fn entries(raw: &str) -> Option<Vec<(String, &str)>> {
    // Refuses a key that is there twice.
    RawObject::parse(raw).ok()?;
    let map: std::collections::HashMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
    let object = RawObject::parse(raw).ok()?;
    Some(
        object
            .keys()
            .filter_map(|key| Some((key.to_owned(), map.get(key)?.get())))
            .collect(),
    )
}

/// A scalar as text, a number as it is spelled; what is nested as JSON. `None` for null and for what is no text.
pub(crate) fn plain(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'n' => None,
        b'"' => serde_json::from_str(raw).ok(),
        _ => Some(raw.to_owned()),
    }
}

/// A value in a path or a header.
pub(crate) fn inline(
    name: &str,
    given: &Given<'_>,
    (style, explode): (Style, bool),
    escape: Escape,
) -> String {
    let (first, between) = match (style, explode) {
        (Style::Label, true) => (".", "."),
        (Style::Label, false) => (".", ","),
        (Style::Matrix, true) => (";", ";"),
        (Style::Matrix, false) => (";", ","),
        _ => ("", ","),
    };
    let named = style == Style::Matrix;
    let name = escape.apply(name);
    let text = |raw: &str| plain(raw).map(|text| escape.apply(&text).into_owned());
    let parts: Vec<String> = match given {
        Given::Nothing => return String::new(),
        Given::Scalar(value) => {
            let value = escape.apply(value);
            return if named {
                format!(";{name}={value}")
            } else {
                format!("{first}{value}")
            };
        }
        Given::List(items) => items
            .iter()
            .filter_map(|item| text(item))
            .map(|item| {
                if named && explode {
                    format!("{name}={item}")
                } else {
                    item
                }
            })
            .collect(),
        Given::Object(members) => members
            .iter()
            .filter_map(|(key, value)| Some((escape.apply(key), text(value)?)))
            .map(|(key, value)| {
                let sign = if explode { '=' } else { ',' };
                format!("{key}{sign}{value}")
            })
            .collect(),
    };
    let head = if named && !explode {
        format!(";{name}=")
    } else {
        first.to_owned()
    };
    format!("{head}{}", parts.join(between))
}

/// Encoded names and values of a query, a form or a cookie.
pub(crate) fn pairs(
    name: &str,
    given: &Given<'_>,
    (style, explode): (Style, bool),
    escape: Escape,
    out: &mut Vec<(String, String)>,
) {
    let key = component(name).into_owned();
    let text = |raw: &str| plain(raw).map(|text| escape.apply(&text).into_owned());
    let between = match style {
        Style::Space => "%20",
        Style::Pipe => "%7C",
        Style::Tab => "%09",
        _ => ",",
    };
    match given {
        Given::Nothing => {}
        Given::Scalar(value) => out.push((key, escape.apply(value).into_owned())),
        Given::List(_) | Given::Object(_) if style == Style::Deep => deep(&key, given, escape, 0, out),
        Given::List(items) if explode => {
            out.extend(items.iter().filter_map(|item| Some((key.clone(), text(item)?))));
        }
        Given::List(items) => {
            let items: Vec<String> = items.iter().filter_map(|item| text(item)).collect();
            out.push((key, items.join(between)));
        }
        Given::Object(members) if explode => out.extend(
            members
                .iter()
                .filter_map(|(key, value)| Some((component(key).into_owned(), text(value)?))),
        ),
        Given::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .filter_map(|(key, value)| Some(format!("{}{between}{}", component(key), text(value)?)))
                .collect();
            out.push((key, members.join(between)));
        }
    }
}

/// Levels of brackets.
const MAX_BRACKETS: usize = 16;

/// `name[key][0]=value`: the specification defines one level; the others are what servers that use it understand.
fn deep(key: &str, given: &Given<'_>, escape: Escape, level: usize, out: &mut Vec<(String, String)>) {
    let mut inner = |name: &str, raw: &str| {
        let key = format!("{key}%5B{name}%5D");
        match Given::read(raw) {
            Some(given @ (Given::List(_) | Given::Object(_))) if level < MAX_BRACKETS => {
                deep(&key, &given, escape, level + 1, out);
            }
            _ => {
                if let Some(text) = plain(raw) {
                    out.push((key, escape.apply(&text).into_owned()));
                }
            }
        }
    };
    match given {
        Given::List(items) => {
            for (index, item) in items.iter().enumerate() {
                inner(&index.to_string(), item);
            }
        }
        Given::Object(members) => {
            for (name, value) in members {
                inner(&component(name), value);
            }
        }
        Given::Nothing | Given::Scalar(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of OpenAPI 3.1, "Style Examples".
    #[test]
    fn the_examples_of_the_specification() {
        let (empty, string) = (r#""""#, r#""blue""#);
        let list = r#"["blue","black","brown"]"#;
        let object = r#"{"R":100,"G":200,"B":150}"#;
        for (style, explode, raw, expected) in [
            (Style::Matrix, false, empty, ";color="),
            (Style::Matrix, false, string, ";color=blue"),
            (Style::Matrix, false, list, ";color=blue,black,brown"),
            (Style::Matrix, false, object, ";color=R,100,G,200,B,150"),
            (Style::Matrix, true, list, ";color=blue;color=black;color=brown"),
            (Style::Matrix, true, object, ";R=100;G=200;B=150"),
            (Style::Label, false, string, ".blue"),
            (Style::Label, false, list, ".blue,black,brown"),
            (Style::Label, true, list, ".blue.black.brown"),
            (Style::Label, true, object, ".R=100.G=200.B=150"),
            (Style::Simple, false, list, "blue,black,brown"),
            (Style::Simple, false, object, "R,100,G,200,B,150"),
            (Style::Simple, true, object, "R=100,G=200,B=150"),
        ] {
            let given = Given::read(raw).unwrap();
            assert_eq!(inline("color", &given, (style, explode), Escape::All), expected);
        }
        for (style, explode, raw, expected) in [
            (Style::Form, false, empty, "color="),
            (Style::Form, false, string, "color=blue"),
            (Style::Form, false, list, "color=blue,black,brown"),
            (Style::Form, false, object, "color=R,100,G,200,B,150"),
            (Style::Form, true, list, "color=blue&color=black&color=brown"),
            (Style::Form, true, object, "R=100&G=200&B=150"),
            (Style::Space, false, list, "color=blue%20black%20brown"),
            (Style::Space, false, object, "color=R%20100%20G%20200%20B%20150"),
            (Style::Pipe, false, list, "color=blue%7Cblack%7Cbrown"),
            (
                Style::Deep,
                true,
                object,
                "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150",
            ),
            (
                Style::Deep,
                true,
                r#"{"a":{"b":[1,"x&y"]}}"#,
                "color%5Ba%5D%5Bb%5D%5B0%5D=1&color%5Ba%5D%5Bb%5D%5B1%5D=x%26y",
            ),
        ] {
            let mut out = Vec::new();
            pairs(
                "color",
                &Given::read(raw).unwrap(),
                (style, explode),
                Escape::All,
                &mut out,
            );
            let joined: Vec<String> = out.iter().map(|(key, value)| format!("{key}={value}")).collect();
            assert_eq!(joined.join("&"), expected);
        }
    }

    #[test]
    fn falsy_values_are_values_and_numbers_keep_their_spelling() {
        let pair = |raw: &str| {
            let mut out = Vec::new();
            pairs(
                "a",
                &Given::read(raw).unwrap(),
                (Style::Form, true),
                Escape::All,
                &mut out,
            );
            out.into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
                .join("|")
        };
        for (raw, text) in [
            ("0", "0"),
            ("false", "false"),
            (r#""""#, ""),
            ("1.50", "1.50"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("[0,false,\"\"]", "0|false|"),
        ] {
            assert_eq!(pair(raw), text, "{raw}");
        }
        let mut out = Vec::new();
        pairs(
            "a",
            &Given::read("null").unwrap(),
            (Style::Form, true),
            Escape::All,
            &mut out,
        );
        assert!(out.is_empty());
    }

    #[test]
    fn reserved_characters_stay_where_they_may_and_never_end_a_value() {
        let mut out = Vec::new();
        pairs(
            "a",
            &Given::Scalar("/x?y=1&z#+ä b%".to_owned()),
            (Style::Form, true),
            Escape::Reserved,
            &mut out,
        );
        assert_eq!(out[0].1, "/x?y%3D1%26z%23%2B%C3%A4%20b%25");
    }
}
