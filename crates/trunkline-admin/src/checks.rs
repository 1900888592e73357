//! What a declaration must keep, whatever route it came by: names, addresses, headers, and nothing that would be
//! unsafe because it is not served yet.

use std::collections::{BTreeMap, HashSet};

use http::{HeaderName, HeaderValue, header};
use trunkline_model::{
    AuthType, Clock as _, Secret, ServerDefinition, ServerId, Severity, SystemClock, TlsSettings, Transport,
    naming,
};
use url::Url;

use crate::body::{Loc, Problems};
use crate::error::ApiError;

/// Ids that are path segments of this API: a server of that id could not be read.
const ROUTES: [&str; 5] = ["health", "register", "submissions", "import", "oauth"];

/// Checks an id that a caller chose. It becomes a path segment, so the rules of names hold.
pub(crate) fn check_id(id: &ServerId) -> Result<(), ApiError> {
    naming::check_server_name(id.as_str()).map_err(|error| refused("server_id", &error))?;
    if ROUTES.iter().any(|route| route.eq_ignore_ascii_case(id.as_str())) {
        return Err(refused("server_id", &"this id is a path of the management API"));
    }
    Ok(())
}

/// Checks a declaration and says what the caller should know. Understands `Name: value` in `extra_headers`. `before` are the TLS settings
/// that are stored.
pub(crate) fn check(
    definition: &mut ServerDefinition,
    before: Option<&TlsSettings>,
) -> Result<Vec<String>, ApiError> {
    forms_send_empty_texts(definition);
    let mut notices = definition.absorb_header_values();
    check_names(definition)?;
    check_addresses(definition)?;
    check_fixed_headers(&definition.static_headers)?;
    let mut warnings = check_forwarded_headers(&definition.extra_headers)?;
    check_tools(definition)?;
    check_variables(definition)?;
    warnings.extend(check_tls(definition, before)?);
    notices.extend(definition.not_served());
    notices.extend(definition.program_notices());
    for notice in notices {
        match notice.severity {
            Severity::Refused => return Err(refused(&notice.field, &notice.message)),
            Severity::Warning => warnings.push(format!("{}: {}", notice.field, notice.message)),
        }
    }
    warnings.extend(unused_credential(definition));
    Ok(warnings)
}

/// The warnings of a declaration that is stored already.
pub(crate) fn standing_warnings(definition: &ServerDefinition) -> Vec<String> {
    definition
        .not_served()
        .into_iter()
        .chain(definition.program_notices())
        .map(|notice| format!("{}: {}", notice.field, notice.message))
        .chain(unused_credential(definition))
        .collect()
}

fn refused(field: &str, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::BadRequest(format!("{field}: {why}"))
}

/// Forms send an empty text for what was not filled in.
fn forms_send_empty_texts(definition: &mut ServerDefinition) {
    for text in [
        &mut definition.server_name,
        &mut definition.alias,
        &mut definition.url,
        &mut definition.spec_path,
        &mut definition.issuer,
        &mut definition.authorization_url,
        &mut definition.token_url,
        &mut definition.registration_url,
        &mut definition.token_exchange_endpoint,
        &mut definition.byok_api_key_help_url,
        &mut definition.source_url,
        &mut definition.command,
        &mut definition.cwd,
        &mut definition.tls.server_name,
    ] {
        if text.as_deref() == Some("") {
            *text = None;
        }
    }
}

/// Certificates and a key that cannot be used are refused here, where whoever sent them can mend them. One that was taken and has expired
/// since is said, and keeps nobody from changing what else the server has.
fn check_tls(definition: &ServerDefinition, before: Option<&TlsSettings>) -> Result<Vec<String>, ApiError> {
    let is_stored = before == Some(&definition.tls);
    let mut warnings = Vec::new();
    for mistake in trunkline_tls::check(&definition.tls, SystemClock.now()) {
        if !(is_stored && mistake.expired) {
            return Err(refused(mistake.field, &mistake.message));
        }
        warnings.push(mistake.to_string());
    }
    Ok(warnings)
}

fn check_names(definition: &ServerDefinition) -> Result<(), ApiError> {
    for (field, name) in [
        ("server_name", &definition.server_name),
        ("alias", &definition.alias),
    ] {
        if let Some(name) = name {
            naming::check_server_name(name).map_err(|error| refused(field, &error))?;
        }
    }
    Ok(())
}

/// Code that is loaded into a program is refused whoever asks: an administrator who may choose the program has no need
/// of it, and it is how a harmless looking entry becomes another one. The configuration file may.
fn check_variables(definition: &ServerDefinition) -> Result<(), ApiError> {
    match definition.injecting_variables().next() {
        Some(notice) => Err(refused(
            &notice.field,
            &format!(
                "{} It is refused here, and possible in the configuration file.",
                notice.message
            ),
        )),
        None => Ok(()),
    }
}

fn check_addresses(definition: &ServerDefinition) -> Result<(), ApiError> {
    let missing = match definition.transport {
        Transport::Stdio if definition.command.is_none() => {
            Some("Value error, command is required for stdio transport")
        }
        Transport::Http | Transport::Sse
            if definition.url.is_none() && definition.spec_path.is_none() && definition.spec.is_none() =>
        {
            Some("Value error, url or spec_path is required for HTTP/SSE transport")
        }
        _ => None,
    };
    if let Some(missing) = missing {
        let mut problems = Problems::default();
        problems.add("value_error", &[Loc::from("body")], missing);
        problems.into_result()?;
    }
    if definition.spec_path.is_some() && definition.spec.is_some() {
        return Err(refused(
            "spec",
            &"spec_path says another document: send one of them, and null for the other",
        ));
    }
    for (field, address) in [
        ("url", &definition.url),
        ("spec_path", &definition.spec_path),
        ("issuer", &definition.issuer),
        ("authorization_url", &definition.authorization_url),
        ("token_url", &definition.token_url),
        ("registration_url", &definition.registration_url),
        ("token_exchange_endpoint", &definition.token_exchange_endpoint),
        ("byok_api_key_help_url", &definition.byok_api_key_help_url),
        ("source_url", &definition.source_url),
    ] {
        if let Some(address) = address {
            check_address(address).map_err(|why| refused(field, &why))?;
        }
    }
    Ok(())
}

/// Web addresses only (S11): `file:` reads the gateway's disk, `javascript:` runs in an administrator's browser. Which
/// hosts may be contacted is decided where connections are made.
fn check_address(address: &str) -> Result<(), &'static str> {
    // The parser drops line breaks and outer blanks silently; what is checked must be what is used.
    if address.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("must not hold blanks or line breaks");
    }
    let url = Url::parse(address).map_err(|_| "must be a URL such as https://host/mcp")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must be an http or https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold user names or passwords: use auth_type basic and credentials.auth_value");
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…)");
    }
    Ok(())
}

/// Headers that frame a request or belong to the protocol: a fixed value for them breaks it, or smuggles another.
const FRAMING: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
];

/// As [`FRAMING`], without constants of their own.
const PROTOCOL: [&str; 4] = [
    "keep-alive",
    "proxy-connection",
    "mcp-session-id",
    "mcp-protocol-version",
];

fn check_fixed_headers(headers: &BTreeMap<String, Secret>) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    for (name, value) in headers {
        let field = "static_headers";
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| refused(field, &format!("{name:?} is no header name")))?;
        if FRAMING.contains(&header) || PROTOCOL.contains(&header.as_str()) {
            return Err(refused(field, &format!("{name} is set by the gateway itself")));
        }
        if HeaderValue::from_str(value.expose()).is_err() {
            let why = format!(
                "the value of {name} holds a character that cannot stand in a header, a line break perhaps"
            );
            return Err(refused(field, &why));
        }
        if !seen.insert(header) {
            return Err(refused(
                field,
                &format!("{name} is there twice; header names ignore case"),
            ));
        }
    }
    Ok(())
}

/// Names of client headers; says which of them are never forwarded.
fn check_forwarded_headers(names: &[String]) -> Result<Vec<String>, ApiError> {
    let mut warnings = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let field = format!("extra_headers[{index}]");
        let stem = name.strip_suffix('*').unwrap_or(name);
        if stem.is_empty() && !name.is_empty() {
            return Err(refused(
                &field,
                &"a lone * would forward every header of every client",
            ));
        }
        let Ok(header) = HeaderName::from_bytes(stem.as_bytes()) else {
            return Err(refused(&field, &"is no header name"));
        };
        if stem == name && trunkline_auth::admission::is_reserved(&header) {
            warnings.push(format!(
                "{field}: {header} is never forwarded: it belongs to the client's connection or to the gateway."
            ));
        }
    }
    Ok(warnings)
}

fn check_tools(definition: &ServerDefinition) -> Result<(), ApiError> {
    definition
        .check_display_names()
        .map_err(|reason| refused("tool_name_to_display_name", &reason))?;
    let enforced = definition
        .mcp_info
        .as_ref()
        .and_then(|info| info.get("tool_allowlist_enforced"));
    // A restriction: what is not understood must not count as "off".
    if enforced.is_some_and(|value| !value.is_boolean() && !value.is_null()) {
        return Err(refused(
            "mcp_info.tool_allowlist_enforced",
            &"must be true or false",
        ));
    }
    Ok(())
}

fn unused_credential(definition: &ServerDefinition) -> Option<String> {
    let idle = matches!(definition.auth_type, None | Some(AuthType::None));
    (idle && definition.credentials.auth_value.is_some()).then(|| {
        "credentials.auth_value: is not sent, because auth_type is not set; it belongs with bearer_token, api_key, basic, token or authorization.".to_owned()
    })
}
