//! One entry of a client's file. Fields that are our own already are passed on as they are.

use serde_json::{Map, Value, json};

use super::{Dialect, Reading, Translated, placeholder};
use crate::fields::FIELDS;
use crate::programs::MayRun;

/// Names of the address.
const ADDRESSES: [&str; 4] = ["url", "serverUrl", "httpUrl", "uri"];
/// Names of fixed headers.
const HEADERS: [&str; 3] = ["headers", "http_headers", "httpHeaders"];
/// Names of a bearer token.
const TOKENS: [&str; 2] = ["authorization_token", "authorizationToken"];
/// LiteLLM's names of a credential in its file.
const AUTH_VALUES: [&str; 2] = ["authentication_token", "auth_value"];
/// Names of the transport.
const TRANSPORTS: [&str; 3] = ["transport", "type", "transportType"];
/// Names of the list of tools that alone may be used.
const ALLOWED: [&str; 3] = ["enabled_tools", "allowedTools", "includeTools"];
/// Names of the list of tools that may not be used.
const DISALLOWED: [&str; 3] = ["disabled_tools", "disabledTools", "excludeTools"];
/// What names a variable of the client's environment, or a file beside it.
const OF_THE_CLIENT: [&str; 3] = ["bearer_token_env_var", "env_http_headers", "envFile"];
/// Ours, but of another meaning or unit with clients.
const AMBIGUOUS: [&str; 1] = ["timeout"];

type Unclear = String;

/// What an entry says.
pub(super) fn reading(name: &str, value: &Value, dialect: Dialect, may_run: MayRun) -> Reading {
    let Value::Object(entry) = value else {
        return Reading::Unclear("must be an object".to_owned());
    };
    if entry.get("disabled") == Some(&Value::Bool(true)) || entry.get("enabled") == Some(&Value::Bool(false))
    {
        return Reading::Off("it is switched off in the file");
    }
    if is_program(entry)
        && let Err(refusal) = may_run.check_program()
    {
        return Reading::Forbidden(refusal);
    }
    match translated(name, entry, dialect) {
        Ok(translated) => Reading::Server(translated),
        Err(why) => Reading::Unclear(why),
    }
}

/// Whether it says what is started, in whatever words and however wrong.
fn is_program(entry: &Map<String, Value>) -> bool {
    let command = entry.get("command").is_some_and(|command| !command.is_null());
    command
        || TRANSPORTS.iter().any(|field| {
            entry
                .get(*field)
                .is_some_and(|value| transport(field, value) == Ok("stdio"))
        })
}

fn translated(name: &str, entry: &Map<String, Value>, dialect: Dialect) -> Result<Translated, Unclear> {
    let variables: Vec<&str> = entry
        .get("env_vars")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|variable| variable.get("name")?.as_str())
        .collect();
    if let Some(found) = placeholder::first(entry, &variables) {
        return Err(found);
    }
    let mut out = Translated::default();
    let own_name = legal_name(name);
    if own_name != name {
        out.warnings.push(format!(
            "it is called {own_name}: {name:?} has characters that names cannot have"
        ));
    }
    out.body.insert("server_name".to_owned(), own_name.clone().into());
    out.body.insert("alias".to_owned(), own_name.into());
    for (field, value) in entry {
        field_of(field, value, dialect, &mut out)?;
    }
    let program = out.body.contains_key("command");
    match (
        program,
        out.body.contains_key("url") || out.body.contains_key("spec_path"),
    ) {
        (true, true) => return Err("has both a url and a command".to_owned()),
        (false, false) => return Err("has neither a url nor a command".to_owned()),
        _ => {}
    }
    let transport = out.body.entry("transport").or_insert_with(|| {
        // Also where clients leave it out: what is spoken is found out then.
        (if program { "stdio" } else { "http" }).into()
    });
    if program && transport != "stdio" {
        return Err("has a command, and a type that is not stdio".to_owned());
    }
    let said = entry.contains_key("auth_type") || out.body.contains_key("credentials");
    for names in HEADERS {
        if let Some(headers) = entry.get(names) {
            fixed_headers(names, headers, said, &mut out.body)?;
        }
    }
    Ok(out)
}

/// One field. Headers come last, when it is known whether there is another credential.
fn field_of(field: &str, value: &Value, dialect: Dialect, out: &mut Translated) -> Result<(), Unclear> {
    let body = &mut out.body;
    if value.is_null() || matches!(field, "name" | "disabled" | "enabled") || HEADERS.contains(&field) {
        return Ok(());
    }
    if OF_THE_CLIENT.contains(&field) {
        return Err(format!(
            "{field} names what only the client can read: write the value itself, or run `trunkline import clients`, which asks for it"
        ));
    }
    if ADDRESSES.contains(&field) {
        if body.insert("url".to_owned(), value.clone()).is_some() {
            return Err("has two addresses".to_owned());
        }
    } else if TRANSPORTS.contains(&field) {
        body.insert("transport".to_owned(), transport(field, value)?.into());
    } else if field == "command" {
        command(value, body)?;
    } else if TOKENS.contains(&field) {
        body.insert("auth_type".to_owned(), "bearer_token".into());
        body.insert("credentials".to_owned(), json!({"auth_value": value}));
    } else if AUTH_VALUES.contains(&field) && dialect == Dialect::LiteLlm {
        body.insert("credentials".to_owned(), json!({"auth_value": value}));
    } else if ALLOWED.contains(&field) {
        body.insert("allowed_tools".to_owned(), value.clone());
    } else if DISALLOWED.contains(&field) {
        body.insert("disallowed_tools".to_owned(), value.clone());
    } else if dialect == Dialect::LiteLlm || is_ours(field) {
        body.insert(field.to_owned(), value.clone());
    } else {
        out.warnings
            .push(format!("{field} was left out: it has no meaning here"));
    }
    Ok(())
}

fn is_ours(field: &str) -> bool {
    !AMBIGUOUS.contains(&field)
        && FIELDS
            .iter()
            .any(|known| known.name == field && known.is_settable())
}

fn transport(field: &str, value: &Value) -> Result<&'static str, Unclear> {
    match value.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("http" | "streamable-http" | "streamable_http" | "streamablehttp" | "url" | "remote" | "") => {
            Ok("http")
        }
        Some("sse") => Ok("sse"),
        Some("stdio" | "local") => Ok("stdio"),
        _ => Err(format!("{field}: is none of http, sse and stdio")),
    }
}

/// A program, or (Zed) an object with it.
fn command(value: &Value, body: &mut Map<String, Value>) -> Result<(), Unclear> {
    match value {
        Value::String(_) => {
            body.insert("command".to_owned(), value.clone());
        }
        Value::Object(parts) => {
            let path = parts.get("path").ok_or("command: has no path")?;
            body.insert("command".to_owned(), path.clone());
            for part in ["args", "env"] {
                if let Some(value) = parts.get(part).filter(|value| !value.is_null()) {
                    body.insert(part.to_owned(), value.clone());
                }
            }
        }
        _ => return Err("command: must be a string".to_owned()),
    }
    Ok(())
}

/// Headers: the one that is a credential becomes one, unless there is another; the rest are fixed headers.
fn fixed_headers(
    field: &str,
    headers: &Value,
    mut has_credential: bool,
    body: &mut Map<String, Value>,
) -> Result<(), Unclear> {
    let Value::Object(headers) = headers else {
        return Err(format!("{field}: must be an object"));
    };
    let mut fixed = match body.remove("static_headers") {
        Some(Value::Object(fixed)) => fixed,
        _ => Map::new(),
    };
    for (name, value) in headers {
        let Value::String(value) = value else {
            return Err(format!("{field}.{name}: must be a string"));
        };
        match credential(name, value).filter(|_| !has_credential) {
            Some((kind, value)) => {
                body.insert("auth_type".to_owned(), kind.into());
                body.insert("credentials".to_owned(), json!({"auth_value": value}));
                has_credential = true;
            }
            None => {
                fixed.insert(name.clone(), value.clone().into());
            }
        }
    }
    if !fixed.is_empty() {
        body.insert("static_headers".to_owned(), fixed.into());
    }
    Ok(())
}

/// `auth_type` and value of a header that proves something.
fn credential<'v>(name: &str, value: &'v str) -> Option<(&'static str, &'v str)> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    if name.eq_ignore_ascii_case("x-api-key") {
        return Some(("api_key", value));
    }
    if !name.eq_ignore_ascii_case("authorization") {
        return None;
    }
    let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
    let rest = rest.trim();
    Some(match scheme.to_ascii_lowercase().as_str() {
        "bearer" => ("bearer_token", rest),
        "basic" => ("basic", rest),
        "token" => ("token", rest),
        _ => ("authorization", value),
    })
}

/// The name, with `_` for what a name cannot have, and not one that routes begin with.
fn legal_name(name: &str) -> String {
    let mut legal: String = name
        .trim()
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ') {
                c
            } else {
                '_'
            }
        })
        .take(128)
        .collect();
    let trimmed = legal.trim_matches('_');
    if !trimmed.is_empty() && trimmed.len() != legal.len() && legal != name {
        legal = trimmed.to_owned();
    }
    if matches!(
        trunkline_model::naming::check_server_name(&legal),
        Err(trunkline_model::naming::NameError::Reserved)
    ) {
        legal.push_str("_server");
    }
    legal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_a_header_is_known_by_its_scheme() {
        for (name, value, found) in [
            ("Authorization", "Bearer  abc ", Some(("bearer_token", "abc"))),
            ("authorization", "basic dTpw", Some(("basic", "dTpw"))),
            ("Authorization", "token t", Some(("token", "t"))),
            ("Authorization", "raw", Some(("authorization", "raw"))),
            (
                "Authorization",
                "Digest x=y",
                Some(("authorization", "Digest x=y")),
            ),
            ("X-API-Key", "k", Some(("api_key", "k"))),
            ("X-Other", "k", None),
            ("Authorization", " ", None),
        ] {
            assert_eq!(credential(name, value), found, "{name}: {value}");
        }
    }

    #[test]
    fn names_become_legal() {
        for (name, legal) in [
            ("git", "git"),
            ("_git_", "_git_"),
            ("io.github/fetch", "io.github_fetch"),
            ("@scope/server", "scope_server"),
            ("mcp", "mcp_server"),
        ] {
            assert_eq!(legal_name(name), legal);
        }
    }
}
