//! The part of a server's entry that proves who we are to it.

use trunkline_model::{AuthType, Secret, ServerDefinition};

use crate::checks;
use crate::fields::{self, Kind};
use crate::section::Section;
use crate::tree::Value;

/// Reads `auth_type`, the credential, and everything that belongs to OAuth and its relatives.
pub(crate) fn read(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    definition.auth_type = section.word("auth_type", fields::AUTH_TYPES, AuthType::parse);
    let token = section.secret("authentication_token");
    let value = section.secret("auth_value");
    if token.is_some() && value.is_some() {
        section.warn("auth_value", "has no effect: authentication_token wins.");
    }
    definition.credentials.auth_value = token.or(value);
    if let Some(Err(reason)) = definition
        .credentials
        .auth_value
        .as_ref()
        .map(|value| checks::header_value(value.expose()))
    {
        let field = if section.node("authentication_token").is_some() {
            "authentication_token"
        } else {
            "auth_value"
        };
        section.error(field, reason);
    }
    for name in fields::OTHER_CREDENTIALS {
        if let Some(json) = other(section, name) {
            definition.credentials.other.insert((*name).to_owned(), json);
        }
    }
    oauth(section, definition);
    definition.delegate_auth_to_upstream = section.boolean("delegate_auth_to_upstream").unwrap_or(false);
    definition.oauth_passthrough = section.boolean("oauth_passthrough").unwrap_or(false);
    definition.is_byok = section.boolean("is_byok").unwrap_or(false);
    definition.byok_description = section.texts("byok_description").unwrap_or_default();
    definition.byok_api_key_help_url = section.text("byok_api_key_help_url");
}

/// A member of `Credentials::other`, as JSON text; its kind is in the field table.
fn other(section: &mut Section<'_>, name: &str) -> Option<Secret> {
    let json = match fields::find(fields::SERVER, name)?.kind {
        Kind::Word(words) => section.word(name, words, |text| {
            words.contains(&text).then(|| serde_json::Value::from(text))
        })?,
        Kind::TextOrTexts if matches!(section.node(name)?.value, Value::List(_)) => {
            section.texts(name)?.into()
        }
        _ => section.text(name)?.into(),
    };
    Some(Secret::new(json.to_string()))
}

fn oauth(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    definition.issuer = address(section, "issuer");
    definition.authorization_url = address(section, "authorization_url");
    definition.token_url = address(section, "token_url");
    definition.registration_url = address(section, "registration_url");
    definition.token_exchange_endpoint = address(section, "token_exchange_endpoint");
    definition.oauth2_flow = word(section, "oauth2_flow");
    definition.token_exchange_profile = word(section, "token_exchange_profile");
    definition.audience = section.text("audience");
    definition.subject_token_type = section.text("subject_token_type");
    definition.dcr_bridge = section.boolean("dcr_bridge");
    definition.per_server_oauth_discovery = section.boolean("per_server_oauth_discovery").unwrap_or(false);
}

fn address(section: &mut Section<'_>, name: &str) -> Option<String> {
    let text = section.text(name)?;
    if let Err(reason) = checks::url(&text) {
        section.error(name, reason);
    }
    Some(text)
}

fn word(section: &mut Section<'_>, name: &str) -> Option<String> {
    let Kind::Word(words) = fields::find(fields::SERVER, name)?.kind else {
        return None;
    };
    section.word(name, words, |text| words.contains(&text).then(|| text.to_owned()))
}

/// Whether kind and credential fit. Not asked where a reference is unset: that was said already.
pub(crate) fn consistency(section: &mut Section<'_>, definition: &ServerDefinition) {
    let has_value = definition.credentials.auth_value.is_some();
    // Fixed and forwarded headers may carry the credential instead: the operator knows.
    let has_headers = !definition.static_headers.is_empty() || !definition.extra_headers.is_empty();
    match definition.auth_type {
        Some(kind) if kind.is_served() && kind != AuthType::None && !has_value && !has_headers => {
            section.warn(
                "auth_type",
                format!(
                    "{} needs a credential and the entry has none: set `authentication_token: os.environ/NAME`. Until then only clients that bring one in x-mcp-… headers are let in by the server.",
                    kind.as_str()
                ),
            );
        }
        None | Some(AuthType::None) if has_value => {
            let field = if section.names("authentication_token") {
                "authentication_token"
            } else {
                "auth_value"
            };
            section.warn(
                field,
                "is not sent: auth_type is none. Set `auth_type`, for example to bearer_token.",
            );
        }
        Some(AuthType::Oauth2) if definition.oauth2_flow.is_none() => {
            section.error(
                "auth_type",
                "oauth2 needs `oauth2_flow`: client_credentials or authorization_code",
            );
        }
        _ => {}
    }
    if section.node("upstream_token_header").is_some() {
        section.warn(
            "upstream_token_header",
            "is not served yet: the credential is sent in the header of its auth_type.",
        );
    }
}
