//! Where in a definition text is that people do not see: for those who decide whether a tool is accepted (S30).

use std::fmt::Write as _;

use serde_json::Value;

use crate::canonical::readable;
use crate::hidden::{self, Removed};

/// Hidden text in one string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, as a JSON pointer; the name of a member for its own spelling.
    pub path: String,
    /// What of it.
    pub found: Removed,
    /// The text, with what does not show as escapes; shortened.
    pub shown: String,
}

/// Findings that are told one by one.
const MAX_FINDINGS: usize = 20;
/// Characters of a text that is shown.
const MAX_SHOWN: usize = 200;

/// How much hidden text there is in JSON text, without touching it.
pub fn count(json: &str) -> Removed {
    hidden::strip(json).map_or_else(Removed::default, |(_, removed)| removed)
}

/// The strings of a definition, JSON text, that have hidden text in them: the first of them.
pub fn find(json: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if count(json).total() > 0
        && let Ok(value) = serde_json::from_str::<Value>(&readable(json))
    {
        look(&value, &mut String::new(), &mut findings);
    }
    findings
}

fn look(value: &Value, path: &mut String, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => note(text, path, findings),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                within(&index.to_string(), path, |path| look(item, path, findings));
            }
        }
        Value::Object(members) => {
            for (key, own) in members {
                within(key, path, |path| {
                    note(key, path, findings);
                    look(own, path, findings);
                });
            }
        }
        _ => {}
    }
}

fn note(text: &str, path: &str, findings: &mut Vec<Finding>) {
    if findings.len() < MAX_FINDINGS
        && let Some((_, found)) = hidden::strip_text(text)
    {
        findings.push(Finding {
            path: shown(path, MAX_SHOWN),
            found,
            shown: shown(text, MAX_SHOWN),
        });
    }
}

/// One step further along a JSON pointer.
pub(crate) fn within(key: &str, path: &mut String, go: impl FnOnce(&mut String)) {
    let before = path.len();
    path.push('/');
    path.push_str(&key.replace('~', "~0").replace('/', "~1"));
    go(path);
    path.truncate(before);
}

/// Text of strangers for people: what does not show, or shows elsewhere than where it stands, is an escape, and what is longer
/// than `most` characters is cut.
pub fn shown(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == most {
            out.push('…');
            break;
        }
        let mut own = [0; 4];
        let hides = c.is_control() || hidden::strip_text(c.encode_utf8(&mut own)).is_some();
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => out.write_str("\\n"),
            '\t' => out.write_str("\\t"),
            '\r' => out.write_str("\\r"),
            '\\' => out.write_str("\\\\"),
            '\u{2028}' | '\u{2029}' => write!(out, "\\u{{{:x}}}", u32::from(c)),
            _ if hides => write!(out, "\\u{{{:x}}}", u32::from(c)),
            _ => out.write_char(c),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s30_what_is_hidden_is_found_where_it_is_and_shown_as_escapes() {
        let json = r#"{"name":"a","description":"safe\u200b \udb40\udc41\u001b[31m","inputSchema":{"properties":{"x\u202e/y":{"enum":["z\u2060"]}}}}"#;
        let findings = find(json);
        let told: Vec<(&str, u32, &str)> = findings
            .iter()
            .map(|own| (own.path.as_str(), own.found.total(), own.shown.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("/description", 3, r"safe\u{200b} \u{e0041}\u{1b}[31m"),
                (r"/inputSchema/properties/x\u{202e}~1y", 1, r"x\u{202e}/y"),
                (r"/inputSchema/properties/x\u{202e}~1y/enum/0", 1, r"z\u{2060}"),
            ]
        );
        assert_eq!(count(json).total(), 5);
        assert_eq!(find(r#"{"name":"a","description":"é 👩🏽\u200d💻"}"#), []);
        let long = format!(r#"{{"description":"{}\u200b"}}"#, "x".repeat(900));
        assert!(find(&long)[0].shown.len() < 250);
        assert_eq!(shown("a\nb\\", 9), r"a\nb\\");
    }
}
