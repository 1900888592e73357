//! `credentials`: what proves the gateway to a server. Write-only, but for the members that are no secrets.

use http::HeaderValue;
use serde_json::{Map, Value};
use trunkline_model::{Credentials, Secret};

use crate::body::{At, Loc};
use crate::fields::{MASK, not_stored};

/// The member that every served `auth_type` sends.
const AUTH_VALUE: &str = "auth_value";

/// The one member that is a list.
const SCOPES: &str = "scopes";

/// LiteLLM's members but `auth_value`, all strings but `scopes`.
const OTHERS: [&str; 24] = [
    "client_id",
    "client_secret",
    SCOPES,
    "token_endpoint_auth_method",
    "upstream_resource",
    "upstream_token_header",
    "audience",
    "token_exchange_endpoint",
    "subject_token_type",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region_name",
    "aws_service_name",
    "aws_role_name",
    "aws_session_name",
    "id_jag_resource_token_endpoint",
    "id_jag_resource",
    "id_jag_subject_source",
    "id_jag_resource_client_id",
    "id_jag_resource_client_secret",
    "client_private_key",
    "client_private_key_id",
    "client_assertion_signing_alg",
];

/// Members that the gateway itself fills in.
const MANAGED: [&str; 2] = ["dcr_issuer", "dcr_server_url"];

/// Members that LiteLLM shows, because they are no secrets.
const SHOWN: [&str; 3] = [SCOPES, "upstream_resource", "upstream_token_header"];

/// Changes `credentials`: omitted and masked members are kept, null ones removed; null removes all.
pub(crate) fn set(credentials: &mut Credentials, value: &Value, at: &mut At<'_>) {
    if value.is_null() {
        *credentials = Credentials::default();
        return;
    }
    let Some(object) = at.object(value) else { return };
    for (name, value) in object {
        at.within(Loc::Name(name.clone()), |at| member(credentials, name, value, at));
    }
}

fn member(credentials: &mut Credentials, name: &str, value: &Value, at: &mut At<'_>) {
    if name == AUTH_VALUE {
        return auth_value(credentials, value, at);
    }
    if MANAGED.contains(&name) {
        at.problem::<()>(
            "extra_forbidden",
            "Extra inputs are not permitted: managed by the server",
        );
        return;
    }
    if !members().any(|known| known == name) {
        let hint = crate::request::nearest(name, members())
            .map_or_else(String::new, |near| format!("; did you mean {near}?"));
        at.problem::<()>("extra_forbidden", format!("Extra inputs are not permitted{hint}"));
        return;
    }
    if value.is_null() {
        credentials.other.remove(name);
    } else if value.as_str() == Some(MASK) {
        if !credentials.other.contains_key(name) {
            not_stored(at);
        }
    } else {
        let valid = if name == SCOPES {
            at.texts(value).is_some()
        } else {
            at.text(value).is_some()
        };
        if valid {
            credentials
                .other
                .insert(name.to_owned(), Secret::new(value.to_string()));
        }
    }
}

fn auth_value(credentials: &mut Credentials, value: &Value, at: &mut At<'_>) {
    if value.is_null() {
        credentials.auth_value = None;
        return;
    }
    match at.text(value) {
        Some(MASK) if credentials.auth_value.is_none() => not_stored(at),
        None | Some(MASK) => {}
        Some("") => {
            at.problem::<()>(
                "string_too_short",
                "String should have at least 1 character; null removes the value",
            );
        }
        // Checked here, because the only other place to find out is the first call.
        Some(text) if HeaderValue::from_str(text).is_err() => {
            at.problem::<()>(
                "value_error",
                "Value error, holds a character that cannot stand in a header, a line break perhaps",
            );
        }
        Some(text) => credentials.auth_value = Some(Secret::new(text)),
    }
}

/// The members that are no secrets; null if there are none, as LiteLLM does.
pub(crate) fn show(credentials: &Credentials) -> Value {
    let shown: Map<String, Value> = SHOWN
        .iter()
        .filter_map(|name| {
            let text = credentials.other.get(*name)?;
            // Kept as JSON text. What does not parse is not shown.
            let value = serde_json::from_str(text.expose()).ok()?;
            Some(((*name).to_owned(), value))
        })
        .collect();
    if shown.is_empty() {
        Value::Null
    } else {
        shown.into()
    }
}

/// All members that may be given.
pub(crate) fn members() -> impl Iterator<Item = &'static str> {
    std::iter::once(AUTH_VALUE).chain(OTHERS)
}
