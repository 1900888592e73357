//! Security schemes: which credential an API wants, and where it is put.

use serde_json::Value;

use crate::document::{Document, Version};
use crate::parameter::{Place, is_token};

/// Where an API key is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// A header, in lower case.
    Header(String),
    /// A parameter of the query.
    Query(String),
    /// A cookie.
    Cookie(String),
}

/// The schemes of a document by name.
fn scheme<'d>(document: &'d Document, name: &str) -> Option<&'d Value> {
    let holder = match document.version {
        Version::Swagger2 => document.root.get("securityDefinitions")?,
        Version::V30 | Version::V31 => document.root.get("components")?.get("securitySchemes")?,
    };
    let (scheme, _) = document.resolve(holder.get(name)?, "").ok()?;
    Some(scheme)
}

/// Names of the schemes that an operation asks for, or the document.
fn wanted<'d>(document: &'d Document, operation: Option<&'d Value>) -> Vec<&'d str> {
    let security = operation
        .and_then(|operation| operation.get("security"))
        .or_else(|| document.root.get("security"))
        .and_then(Value::as_array);
    let mut names: Vec<&str> = Vec::new();
    for name in security
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .flat_map(|one| one.keys())
    {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

/// The names of all schemes, where no operation says which.
fn all(document: &Document) -> Vec<&str> {
    let holder = match document.version {
        Version::Swagger2 => document.root.get("securityDefinitions"),
        Version::V30 | Version::V31 => document.root.pointer("/components/securitySchemes"),
    };
    let names = holder.and_then(Value::as_object).into_iter().flatten();
    names.map(|(name, _)| name.as_str()).collect()
}

fn key_place(scheme: &Value) -> Option<KeyPlace> {
    let text = |key: &str| scheme.get(key).and_then(Value::as_str);
    if text("type") != Some("apiKey") {
        return None;
    }
    let name = text("name").filter(|name| !name.is_empty() && name.len() <= 256)?;
    match Place::parse(text("in")?)? {
        Place::Header if name.bytes().all(is_token) => Some(KeyPlace::Header(name.to_ascii_lowercase())),
        Place::Query => Some(KeyPlace::Query(name.to_owned())),
        Place::Cookie if name.bytes().all(is_token) => Some(KeyPlace::Cookie(name.to_owned())),
        _ => None,
    }
}

/// Where an operation wants its API key, if it wants one: the first scheme of that kind that it asks for, else of the
/// document.
pub(crate) fn key_of(document: &Document, operation: &Value) -> Option<KeyPlace> {
    let mut names = wanted(document, Some(operation));
    if names.is_empty() {
        names = all(document);
    }
    names
        .into_iter()
        .find_map(|name| key_place(scheme(document, name)?))
}

/// Which credentials the document asks for, for people; `None` if it asks for none.
pub(crate) fn describe(document: &Document) -> Option<String> {
    let mut names = wanted(document, None);
    if names.is_empty() {
        names = all(document);
    }
    let words: Vec<String> = names
        .into_iter()
        .take(4)
        .filter_map(|name| words_of(scheme(document, name)?))
        .collect();
    (!words.is_empty()).then(|| words.join(", or "))
}

fn words_of(scheme: &Value) -> Option<String> {
    let text = |key: &str| scheme.get(key).and_then(Value::as_str);
    let short = |text: &str| text.chars().take(60).collect::<String>();
    Some(match text("type")? {
        "apiKey" => format!(
            "an API key in the {} {:?} (auth_type api_key)",
            text("in").map(short).unwrap_or_default(),
            text("name").map(short).unwrap_or_default()
        ),
        "basic" => "a user name and password (auth_type basic)".to_owned(),
        "http" => match text("scheme").unwrap_or_default().to_ascii_lowercase().as_str() {
            "bearer" => "a bearer token (auth_type bearer_token)".to_owned(),
            "basic" => "a user name and password (auth_type basic)".to_owned(),
            other => format!("HTTP authentication {:?} (auth_type authorization)", short(other)),
        },
        "oauth2" | "openIdConnect" => "an OAuth access token (auth_type bearer_token)".to_owned(),
        "mutualTLS" => "a client certificate, which is not served".to_owned(),
        _ => return None,
    })
}
