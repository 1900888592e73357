//! From a request body to a declaration. What every route that takes one does first, in this order: refuse programs,
//! name unknown fields, parse, refuse references to the environment.

use serde_json::{Map, Value};
use trunkline_model::{Server, ServerDefinition, ServerId, TlsSettings};

use crate::body::{At, Loc, Problems};
use crate::error::ApiError;
use crate::fields::{self, FIELDS, Kind};
use crate::programs::MayRun;
use crate::{checks, row};

/// What a body declares.
#[derive(Debug)]
pub(crate) struct Declared {
    /// The id, if the caller chose one.
    pub(crate) id: Option<ServerId>,
    pub(crate) definition: ServerDefinition,
    /// What the caller should know; it is part of the answer.
    pub(crate) warnings: Vec<String>,
}

/// The name of the id, which is no field of the declaration.
pub(crate) const SERVER_ID: &str = "server_id";

/// A new server.
pub(crate) fn new_server(body: &Map<String, Value>, may_run: MayRun) -> Result<Declared, ApiError> {
    let id = chosen_id(body, may_run)?;
    if let Some(id) = &id {
        checks::check_id(id)?;
    }
    declare(id, fields::new_definition(), body, None)
}

/// A change of `server`: what the body does not name is kept.
pub(crate) fn change(
    server: &Server,
    body: &Map<String, Value>,
    may_run: MayRun,
) -> Result<Declared, ApiError> {
    may_run.check_stored(&server.definition)?;
    let own = &server.definition;
    declare(Some(server.id.clone()), own.clone(), body, Some(&own.tls))
}

/// The id in a body, after what needs no parsing is refused.
pub(crate) fn chosen_id(body: &Map<String, Value>, may_run: MayRun) -> Result<Option<ServerId>, ApiError> {
    may_run.check_body(body)?;
    match body.get(SERVER_ID) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let mut problems = Problems::default();
            let id = At::field(SERVER_ID, &mut problems).text(value).map(ServerId::new);
            problems.into_result()?;
            Ok(id)
        }
    }
}

/// The id in a body that must have one.
pub(crate) fn required_id(body: &Map<String, Value>, may_run: MayRun) -> Result<ServerId, ApiError> {
    chosen_id(body, may_run)?.ok_or_else(|| {
        let mut problems = Problems::default();
        At::field(SERVER_ID, &mut problems).problem::<()>("missing", "Field required");
        match problems.into_result() {
            Err(error) => error,
            Ok(()) => ApiError::BadRequest("server_id is required".to_owned()),
        }
    })
}

fn declare(
    id: Option<ServerId>,
    mut definition: ServerDefinition,
    body: &Map<String, Value>,
    before: Option<&TlsSettings>,
) -> Result<Declared, ApiError> {
    let mut problems = Problems::default();
    name_unknown_fields(body, &mut problems);
    fields::apply(body, &mut definition, &mut problems);
    problems.into_result()?;
    refuse_references(body)?;
    let warnings = checks::check(&mut definition, before)?;
    Ok(Declared {
        id,
        definition,
        warnings,
    })
}

/// What people write, and what it is called.
const SYNONYMS: [(&str, &str); 10] = [
    ("name", "server_name"),
    ("id", SERVER_ID),
    ("access_groups", "mcp_access_groups"),
    ("authentication_token", "credentials.auth_value"),
    ("auth_value", "credentials.auth_value"),
    ("client_secret", "credentials.client_secret"),
    ("headers", "static_headers"),
    ("ssl_verify", "tls_ca"),
    ("ssl_certificate", "tls_client_cert"),
    ("ssl_key", "tls_client_key"),
];

/// LiteLLM's fields of the configuration file that are no columns.
const FILE_ONLY: [&str; 4] = [
    "allow_sampling",
    "allow_elicitation",
    "token_validation",
    "oauth_identity_binding",
];

fn name_unknown_fields(body: &Map<String, Value>, problems: &mut Problems) {
    for key in body.keys() {
        if key == SERVER_ID {
            continue;
        }
        let field = FIELDS.iter().find(|field| field.name == key);
        let message = match field.map(|field| &field.kind) {
            Some(Kind::FileOnly(_)) => "settable in the configuration file only".to_owned(),
            Some(_) => continue,
            None if FILE_ONLY.contains(&key.as_str()) => "settable in the configuration file only".to_owned(),
            None if row::MANAGED.iter().any(|(name, _)| name == key) => "managed by the server".to_owned(),
            None => match suggestion(key) {
                Some(near) => format!("did you mean {near}?"),
                None => "no such field".to_owned(),
            },
        };
        let at = [Loc::from("body"), Loc::from(key.as_str())];
        problems.add(
            "extra_forbidden",
            &at,
            format!("Extra inputs are not permitted; {message}"),
        );
    }
}

fn suggestion(key: &str) -> Option<&'static str> {
    SYNONYMS
        .iter()
        .find(|(written, _)| *written == key)
        .map(|(_, meant)| *meant)
        .or_else(|| {
            let names = FIELDS
                .iter()
                .filter(|field| field.is_settable())
                .map(|field| field.name);
            nearest(key, names.chain([SERVER_ID]))
        })
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer keys are no typing errors, and comparing them costs.
    if written.len() > 64 {
        return None;
    }
    names
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Fields for people and models: any text is text there.
const FREE_TEXT: [&str; 6] = [
    "description",
    "instructions",
    "mcp_info",
    "byok_description",
    "tool_name_to_description",
    "spec",
];

/// Fields whose values are secrets: a value there may be a reference, and is resolved when it is used.
const SECRETS: [&str; 5] = [
    "credentials",
    "static_headers",
    "env_vars",
    "extra_headers",
    "tls_client_key",
];

/// `os.environ/NAME` stands for a secret, as a whole value, and nowhere else: a literal must never be sent, and not be
/// connected to (B30).
fn refuse_references(body: &Map<String, Value>) -> Result<(), ApiError> {
    let found = body.iter().find(|(key, value)| {
        let secret = SECRETS.contains(&key.as_str());
        !FREE_TEXT.contains(&key.as_str()) && has_reference(value, secret)
    });
    match found {
        None => Ok(()),
        Some((key, _)) => Err(ApiError::BadRequest(format!(
            "{key}: a reference (os.environ/NAME) can only be the whole value of a credential, a static header or a variable; to use one inside a value, put it in env_vars and write ${{NAME}}"
        ))),
    }
}

/// Refuses every reference to the environment, wherever it stands: whoever submits a server does not say which of the gateway's
/// own variables go there.
pub(crate) fn refuse_all_references(body: &Map<String, Value>) -> Result<(), ApiError> {
    fn has(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains("os.environ/"),
            Value::Array(items) => items.iter().any(has),
            Value::Object(object) => object
                .iter()
                .any(|(name, item)| name.contains("os.environ/") || has(item)),
            _ => false,
        }
    }
    match body.iter().find(|(_, value)| has(value)) {
        None => Ok(()),
        Some((key, _)) => Err(ApiError::Forbidden(format!(
            "{key}: a submission has no references to the gateway's environment (os.environ/NAME): give a value, or let an administrator fill it in"
        ))),
    }
}

/// Whether a reference stands where none is resolved. `secret`: whole values may be references.
fn has_reference(value: &Value, secret: bool) -> bool {
    match value {
        Value::String(text) => {
            let whole = text
                .split_once(": ")
                .map_or(text.as_str(), |(_, value)| value)
                .trim();
            text.contains("os.environ/") && !(secret && is_reference(whole))
        }
        Value::Array(items) => items.iter().any(|item| has_reference(item, secret)),
        Value::Object(object) => object.values().any(|item| has_reference(item, secret)),
        _ => false,
    }
}

/// `os.environ/NAME` and nothing else.
fn is_reference(text: &str) -> bool {
    text.strip_prefix("os.environ/")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}
