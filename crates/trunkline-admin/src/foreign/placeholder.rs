//! Placeholders: what a client fills in when it reads its file, and nobody else can.

use serde_json::{Map, Value};

/// Longest name of a placeholder that is repeated in a message.
const MAX_NAME: usize = 64;

/// The first placeholder in the fields that reach a server: where it is and what it is. `known` are variables that the
/// entry itself defines.
pub(super) fn first(entry: &Map<String, Value>, known: &[&str]) -> Option<String> {
    entry
        .iter()
        .filter(|(field, _)| {
            !matches!(
                field.as_str(),
                "env_vars" | "description" | "instructions" | "mcp_info"
            )
        })
        .find_map(|(field, value)| within(field, value, known))
}

fn within(place: &str, value: &Value, known: &[&str]) -> Option<String> {
    match value {
        Value::String(text) => in_text(text, known).map(|placeholder| {
            format!(
                "{place} holds {placeholder}, which only the client can fill in: write the value itself, or run `trunkline import clients`, which asks for it"
            )
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| within(&format!("{place}[{index}]"), item, known)),
        Value::Object(object) => object
            .iter()
            .find_map(|(key, item)| within(&format!("{place}.{key}"), item, known)),
        _ => None,
    }
}

/// `${input:key}`, `${env:NAME}`, `${NAME}`, `${NAME:-default}`, `${workspaceFolder}`.
fn in_text(text: &str, known: &[&str]) -> Option<String> {
    text.match_indices("${").find_map(|(at, _)| {
        let inner = &text[at + 2..];
        let inner = &inner[..inner.find('}')?];
        if known.contains(&inner) {
            return None;
        }
        // What looks like no name may be part of a secret, and is not repeated.
        let name = inner.split(":-").next().unwrap_or(inner);
        let plain = name.len() <= MAX_NAME
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '-'));
        Some(if plain {
            format!("${{{name}}}")
        } else {
            "a placeholder".to_owned()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_named_and_defaults_are_not_repeated() {
        for (text, found) in [
            ("Bearer ${input:key}", Some("${input:key}")),
            ("${env:TOKEN}", Some("${env:TOKEN}")),
            ("${HOST:-s3cret}/mcp", Some("${HOST}")),
            ("${KNOWN} and ${OTHER}", Some("${OTHER}")),
            ("${a secret with blanks}", Some("a placeholder")),
            ("${KNOWN}", None),
            ("costs $5 {or} more", None),
            ("${never closed", None),
        ] {
            assert_eq!(in_text(text, &["KNOWN"]).as_deref(), found, "{text}");
        }
    }
}
