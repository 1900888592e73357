//! Between a row of `mcp_server` and a [`Server`].
//!
//! Reading never fails for a whole row: what cannot be read is left at its default and named in [`Server::defect`],
//! so that one damaged credential takes out one server, not the registry (B31).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trunkline_auth::Vault;
use trunkline_model::{
    Approval, ApprovalStatus, AuthType, Credentials, EnvVar, EnvVarScope, OpenApiFilter, Origin, Pem,
    PrefixMode, Sandbox, Secret, Server, ServerDefinition, ServerId, SessionMode, Stamps, TlsSettings,
    TlsVersion, Transport, tool_rule,
};

use crate::db::{Row, StoreError, Value};

/// The columns whose texts are sealed.
pub(crate) const SEALED: [&str; 5] = [
    "credentials",
    "static_headers",
    "env_vars",
    "env",
    "tls_client_key",
];

/// A column and what belongs into it.
pub(crate) type Cell = (&'static str, Value);

// === writing ===

/// The cells of a server, in the order of `server_columns!`. The destructuring makes a new field of the model a compile
/// error here.
pub(crate) fn encode(vault: &Vault, server: &Server) -> Result<Vec<Cell>, StoreError> {
    let Server {
        id,
        origin: _,
        definition,
        approval,
        stamps,
        defect: _,
    } = server;
    let mut cells = vec![("server_id", Value::from(id.as_str()))];
    let seal = |column: &str, plain: Option<Secret>| {
        Value::Text(plain.map(|plain| vault.seal(&context(id, column), plain.expose())))
    };
    encode_definition(definition, &mut cells, seal);
    encode_approval(approval, stamps, &mut cells);
    for (column, value) in &cells {
        if matches!(value, Value::Text(Some(text)) if text.contains('\0')) {
            return Err(StoreError::Nul { column });
        }
    }
    Ok(cells)
}

/// The same for the audit log: of what is sealed a digest, to be compared and not to be written.
pub(crate) fn audited(server: &Server) -> Vec<Cell> {
    let mut cells = vec![("server_id", Value::from(server.id.as_str()))];
    let digest = |_: &str, plain: Option<Secret>| {
        Value::Text(plain.map(|plain| trunkline_auth::key_hash(plain.expose()).to_hex()))
    };
    encode_definition(&server.definition, &mut cells, digest);
    encode_approval(&server.approval, &server.stamps, &mut cells);
    cells
}

#[expect(
    clippy::too_many_lines,
    reason = "one line a column; cut in two it would be harder to compare"
)]
fn encode_definition(
    definition: &ServerDefinition,
    cells: &mut Vec<Cell>,
    seal: impl Fn(&str, Option<Secret>) -> Value,
) {
    let ServerDefinition {
        server_name,
        alias,
        description,
        instructions,
        url,
        spec_path,
        spec,
        openapi,
        transport,
        auth_type,
        credentials,
        mcp_info,
        mcp_access_groups,
        allowed_tools,
        disallowed_tools,
        allowed_params,
        tool_arguments,
        tool_conditions,
        tool_approval,
        approval_by_user,
        tool_name_to_display_name,
        tool_name_to_description,
        pinned_tools,
        extra_headers,
        static_headers,
        env_vars,
        command,
        args,
        env,
        cwd,
        sandbox,
        issuer,
        authorization_url,
        token_url,
        registration_url,
        oauth2_flow,
        token_exchange_endpoint,
        audience,
        subject_token_type,
        token_exchange_profile,
        allow_all_keys,
        available_on_public_internet,
        delegate_auth_to_upstream,
        oauth_passthrough,
        dcr_bridge,
        per_server_oauth_discovery,
        is_byok,
        byok_description,
        byok_api_key_help_url,
        source_url,
        timeout,
        // Of the configuration file alone, whose servers have no rows.
        tool_timeouts: _,
        connect_timeout,
        list_timeout,
        tls,
        max_concurrent_requests,
        rpm,
        prefix,
        session,
        protocol_version,
        schema_compat,
    } = definition;
    cells.extend([
        ("server_name", text(server_name.as_ref())),
        ("alias", text(alias.as_ref())),
        ("description", text(description.as_ref())),
        ("instructions", text(instructions.as_ref())),
        ("url", text(url.as_ref())),
        ("spec_path", text(spec_path.as_ref())),
        ("transport", guarded(*transport, definition).into()),
        (
            "auth_type",
            Value::Text(auth_type.map(|word| word.as_str().to_owned())),
        ),
        ("credentials", seal("credentials", plain_credentials(credentials))),
        ("mcp_info", Value::Text(mcp_info.as_ref().map(json))),
        ("mcp_access_groups", json(mcp_access_groups).into()),
        ("allowed_tools", Value::Text(allowed_tools.as_ref().map(json))),
        (
            "tool_name_to_display_name",
            json(tool_name_to_display_name).into(),
        ),
        ("tool_name_to_description", json(tool_name_to_description).into()),
        ("pinned_tools", Value::Text(pinned_tools.as_ref().map(pins_text))),
        ("extra_headers", json(extra_headers).into()),
        (
            "static_headers",
            seal("static_headers", plain_map(static_headers)),
        ),
        ("env_vars", seal("env_vars", plain_env_vars(env_vars))),
        ("command", text(command.as_ref())),
        ("args", json(args).into()),
        ("env", seal("env", plain_map(env))),
        ("issuer", text(issuer.as_ref())),
        ("authorization_url", text(authorization_url.as_ref())),
        ("token_url", text(token_url.as_ref())),
        ("registration_url", text(registration_url.as_ref())),
        ("oauth2_flow", text(oauth2_flow.as_ref())),
        ("token_exchange_endpoint", text(token_exchange_endpoint.as_ref())),
        ("audience", text(audience.as_ref())),
        ("subject_token_type", text(subject_token_type.as_ref())),
        ("token_exchange_profile", text(token_exchange_profile.as_ref())),
        ("allow_all_keys", Value::Bool(Some(*allow_all_keys))),
        (
            "available_on_public_internet",
            Value::Bool(Some(*available_on_public_internet)),
        ),
        (
            "delegate_auth_to_upstream",
            Value::Bool(Some(*delegate_auth_to_upstream)),
        ),
        ("oauth_passthrough", Value::Bool(Some(*oauth_passthrough))),
        ("dcr_bridge", Value::Bool(*dcr_bridge)),
        (
            "per_server_oauth_discovery",
            Value::Bool(Some(*per_server_oauth_discovery)),
        ),
        ("is_byok", Value::Bool(Some(*is_byok))),
        ("byok_description", json(byok_description).into()),
        ("byok_api_key_help_url", text(byok_api_key_help_url.as_ref())),
        ("source_url", text(source_url.as_ref())),
        ("timeout", Value::Double(*timeout)),
        (
            "max_concurrent_requests",
            Value::Int(max_concurrent_requests.map(i64::from)),
        ),
        ("rpm", Value::Int(rpm.map(i64::from))),
        ("disallowed_tools", json(disallowed_tools).into()),
        ("allowed_params", json(allowed_params).into()),
        ("prefix", prefix.as_str().into()),
        ("session", session.as_str().into()),
        ("protocol_version", text(protocol_version.as_ref())),
        ("schema_compat", Value::Bool(Some(*schema_compat))),
        ("cwd", text(cwd.as_ref())),
        // NULL is the default, so that a row of an older version has it.
        (
            "sandbox",
            Value::Text((*sandbox != Sandbox::default()).then(|| sandbox.to_json().to_string())),
        ),
        ("spec", Value::Text(spec.as_ref().map(json))),
        ("openapi", Value::Text(openapi.to_json().as_ref().map(json))),
    ]);
    encode_tls(tls, cells, seal);
    cells.extend([
        ("connect_timeout", Value::Double(*connect_timeout)),
        ("list_timeout", Value::Double(*list_timeout)),
    ]);
    let stored = |rules: serde_json::Value, none: bool| Value::Text((!none).then(|| rules.to_string()));
    cells.extend([
        (
            "tool_arguments",
            stored(
                tool_rule::arguments_to_json(tool_arguments),
                tool_arguments.is_empty(),
            ),
        ),
        (
            "tool_conditions",
            stored(
                tool_rule::conditions_to_json(tool_conditions),
                tool_conditions.is_empty(),
            ),
        ),
        (
            "tool_approval",
            stored(
                tool_rule::approval_to_json(tool_approval),
                tool_approval.is_empty(),
            ),
        ),
        ("approval_by_user", Value::Bool(Some(*approval_by_user))),
    ]);
}

/// What stands behind the transport of a server that has rules about calls.
const WITH_RULES: &str = "+rules";

/// Whether it says something that versions before 0014 do not keep.
fn is_guarded(definition: &ServerDefinition) -> bool {
    definition.has_call_rules() || !definition.available_on_public_internet
}

/// The transport. Where there are such rules, with a word that versions before 0014 cannot read, so that they say so and do not call the
/// server. A trigger keeps them from writing it back without.
fn guarded(transport: Transport, definition: &ServerDefinition) -> String {
    let guard = if is_guarded(definition) { WITH_RULES } else { "" };
    format!("{}{guard}", transport.as_str())
}

/// Paths are of the configuration file alone, whose servers have no rows.
fn encode_tls(tls: &TlsSettings, cells: &mut Vec<Cell>, seal: impl Fn(&str, Option<Secret>) -> Value) {
    let TlsSettings {
        ca,
        client_cert,
        client_key,
        server_name,
        min_version,
    } = tls;
    let pem = |pem: &Option<Pem>| Value::Text(pem.as_ref().map(|pem| pem.text.clone()));
    let key = client_key.as_ref().map(|key| Secret::new(json(&key.expose())));
    cells.extend([
        ("tls_ca", pem(ca)),
        ("tls_client_cert", pem(client_cert)),
        ("tls_client_key", seal("tls_client_key", key)),
        ("tls_server_name", text(server_name.as_ref())),
        (
            "tls_min_version",
            Value::Text(min_version.map(|version| version.as_str().to_owned())),
        ),
    ]);
}

fn encode_approval(approval: &Approval, stamps: &Stamps, cells: &mut Vec<Cell>) {
    let Approval {
        status,
        submitted_by,
        submitted_at,
        reviewed_by,
        reviewed_at,
        review_notes,
    } = approval;
    let Stamps {
        created_at,
        created_by,
        updated_at,
        updated_by,
    } = stamps;
    cells.extend([
        ("approval_status", status.as_str().into()),
        ("submitted_by", text(submitted_by.as_ref())),
        ("submitted_at", time(*submitted_at)),
        ("reviewed_by", text(reviewed_by.as_ref())),
        ("reviewed_at", time(*reviewed_at)),
        ("review_notes", text(review_notes.as_ref())),
        ("created_at", time(*created_at)),
        ("created_by", text(created_by.as_ref())),
        ("updated_at", time(*updated_at)),
        ("updated_by", text(updated_by.as_ref())),
    ]);
}

/// What a sealed text of `mcp_server` is bound to.
pub(crate) fn context(id: &ServerId, column: &str) -> String {
    format!("mcp_server|{id}|{column}")
}

pub(crate) fn text(value: Option<&String>) -> Value {
    Value::Text(value.cloned())
}

pub(crate) fn time(value: Option<Timestamp>) -> Value {
    Value::Int(value.map(Timestamp::as_microsecond))
}

/// JSON text of what always has one: strings, lists and maps with text keys.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// The sealed form of [`Credentials`].
#[derive(Default, Deserialize)]
struct CredentialsText {
    auth_value: Option<String>,
    other: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct CredentialsTextRef<'a> {
    auth_value: Option<&'a str>,
    other: BTreeMap<&'a str, &'a str>,
}

/// The sealed form of an [`EnvVar`].
#[derive(Deserialize)]
struct EnvVarText {
    name: String,
    value: String,
    scope: String,
    description: Option<String>,
}

#[derive(Serialize)]
struct EnvVarTextRef<'a> {
    name: &'a str,
    value: &'a str,
    scope: &'a str,
    description: Option<&'a str>,
}

/// `None` (stored as NULL) if there is nothing to seal.
fn plain_credentials(credentials: &Credentials) -> Option<Secret> {
    let Credentials { auth_value, other } = credentials;
    if auth_value.is_none() && other.is_empty() {
        return None;
    }
    Some(Secret::new(json(&CredentialsTextRef {
        auth_value: auth_value.as_ref().map(Secret::expose),
        other: exposed(other),
    })))
}

fn plain_map(map: &BTreeMap<String, Secret>) -> Option<Secret> {
    (!map.is_empty()).then(|| Secret::new(json(&exposed(map))))
}

fn exposed(map: &BTreeMap<String, Secret>) -> BTreeMap<&str, &str> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect()
}

fn plain_env_vars(vars: &[EnvVar]) -> Option<Secret> {
    let texts: Vec<_> = vars
        .iter()
        .map(|var| {
            let EnvVar {
                name,
                value,
                scope,
                description,
            } = var;
            EnvVarTextRef {
                name,
                value: value.expose(),
                scope: scope.as_str(),
                description: description.as_deref(),
            }
        })
        .collect();
    (!texts.is_empty()).then(|| Secret::new(json(&texts)))
}

// === reading ===

/// Reads a row. `None` if not even its id can be read.
pub(crate) fn decode(vault: &Vault, row: &Row) -> Option<Server> {
    let id = ServerId::new(row.text("server_id").ok().flatten()?);
    let mut reader = Reader {
        sealed: Some((vault, id.clone())),
        ..Reader::new(row)
    };
    let definition = decode_definition(&mut reader);
    let approval = Approval {
        // What cannot be read must not serve.
        status: reader
            .word("approval_status", ApprovalStatus::parse)
            .unwrap_or(ApprovalStatus::PendingReview),
        submitted_by: reader.text("submitted_by"),
        submitted_at: reader.time("submitted_at"),
        reviewed_by: reader.text("reviewed_by"),
        reviewed_at: reader.time("reviewed_at"),
        review_notes: reader.text("review_notes"),
    };
    let stamps = Stamps {
        created_at: reader.time("created_at"),
        created_by: reader.text("created_by"),
        updated_at: reader.time("updated_at"),
        updated_by: reader.text("updated_by"),
    };
    let has_word = reader
        .text("transport")
        .is_some_and(|word| word.ends_with(WITH_RULES));
    if has_word && !is_guarded(&definition) && reader.defects.is_empty() {
        let text = "its rules about calls are lost: set them again, or save the server without any";
        reader.defects.push(text.to_owned());
    }
    let defect = (!reader.defects.is_empty()).then(|| reader.defects.join("; "));
    Some(Server {
        id,
        origin: Origin::Database,
        definition,
        approval,
        stamps,
        defect,
    })
}

fn decode_definition(reader: &mut Reader<'_>) -> ServerDefinition {
    ServerDefinition {
        server_name: reader.text("server_name"),
        alias: reader.text("alias"),
        description: reader.text("description"),
        instructions: reader.text("instructions"),
        url: reader.text("url"),
        spec_path: reader.text("spec_path"),
        spec: reader.json("spec"),
        openapi: decode_openapi(reader),
        transport: reader
            .word("transport", |word| {
                Transport::parse(word.strip_suffix(WITH_RULES).unwrap_or(word))
            })
            .unwrap_or(Transport::Sse),
        auth_type: reader.word_or_null("auth_type", AuthType::parse),
        credentials: reader
            .sealed("credentials")
            .map(|text: CredentialsText| Credentials {
                auth_value: text.auth_value.map(Secret::new),
                other: secrets(text.other),
            })
            .unwrap_or_default(),
        mcp_info: reader.json("mcp_info"),
        mcp_access_groups: reader.json("mcp_access_groups").unwrap_or_default(),
        allowed_tools: reader.json("allowed_tools"),
        disallowed_tools: reader.json("disallowed_tools").unwrap_or_default(),
        allowed_params: reader.json("allowed_params").unwrap_or_default(),
        tool_arguments: decode_rules(reader, "tool_arguments", tool_rule::parse_arguments),
        tool_approval: decode_rules(reader, "tool_approval", tool_rule::parse_approval),
        approval_by_user: reader.bool("approval_by_user").unwrap_or(false),
        tool_conditions: decode_rules(reader, "tool_conditions", |rules| {
            tool_rule::parse_conditions(rules, true)
        }),
        tool_name_to_display_name: reader.json("tool_name_to_display_name").unwrap_or_default(),
        tool_name_to_description: reader.json("tool_name_to_description").unwrap_or_default(),
        pinned_tools: decode_pins(reader),
        extra_headers: reader.json("extra_headers").unwrap_or_default(),
        static_headers: reader.sealed("static_headers").map(secrets).unwrap_or_default(),
        env_vars: decode_env_vars(reader),
        command: reader.text("command"),
        args: reader.json("args").unwrap_or_default(),
        env: reader.sealed("env").map(secrets).unwrap_or_default(),
        cwd: reader.text("cwd"),
        sandbox: reader.sandbox(),
        issuer: reader.text("issuer"),
        authorization_url: reader.text("authorization_url"),
        token_url: reader.text("token_url"),
        registration_url: reader.text("registration_url"),
        oauth2_flow: reader.text("oauth2_flow"),
        token_exchange_endpoint: reader.text("token_exchange_endpoint"),
        audience: reader.text("audience"),
        subject_token_type: reader.text("subject_token_type"),
        token_exchange_profile: reader.text("token_exchange_profile"),
        allow_all_keys: reader.bool("allow_all_keys").unwrap_or(false),
        available_on_public_internet: reader.bool("available_on_public_internet").unwrap_or(false),
        delegate_auth_to_upstream: reader.bool("delegate_auth_to_upstream").unwrap_or(false),
        oauth_passthrough: reader.bool("oauth_passthrough").unwrap_or(false),
        dcr_bridge: reader.bool("dcr_bridge"),
        per_server_oauth_discovery: reader.bool("per_server_oauth_discovery").unwrap_or(false),
        is_byok: reader.bool("is_byok").unwrap_or(false),
        byok_description: reader.json("byok_description").unwrap_or_default(),
        byok_api_key_help_url: reader.text("byok_api_key_help_url"),
        source_url: reader.text("source_url"),
        timeout: reader.cell("timeout", Row::double),
        tool_timeouts: BTreeMap::new(),
        connect_timeout: reader.cell("connect_timeout", Row::double),
        list_timeout: reader.cell("list_timeout", Row::double),
        tls: decode_tls(reader),
        max_concurrent_requests: reader.count("max_concurrent_requests"),
        rpm: reader.count("rpm"),
        prefix: reader
            .word("prefix", PrefixMode::parse)
            .unwrap_or(PrefixMode::Always),
        session: reader
            .word("session", SessionMode::parse)
            .unwrap_or(SessionMode::Auto),
        protocol_version: reader.text("protocol_version"),
        schema_compat: reader.bool("schema_compat").unwrap_or(false),
    }
}

fn decode_tls(reader: &mut Reader<'_>) -> TlsSettings {
    TlsSettings {
        ca: reader.text("tls_ca").map(Pem::inline),
        client_cert: reader.text("tls_client_cert").map(Pem::inline),
        client_key: reader.sealed::<String>("tls_client_key").map(Secret::new),
        server_name: reader.text("tls_server_name"),
        min_version: reader.word_or_null("tls_min_version", TlsVersion::parse),
    }
}

/// Rules that cannot be read must not let more through.
fn decode_rules<T: Default, E>(
    reader: &mut Reader<'_>,
    column: &str,
    parse: impl Fn(&serde_json::Value) -> Result<T, E>,
) -> T {
    let Some(rules) = reader.json::<serde_json::Value>(column) else {
        return T::default();
    };
    let rules = parse(&rules).ok();
    reader.checked(column, rules).unwrap_or_default()
}

/// What stands before pins. Versions that do not serve them read the column as JSON, which this is not: to them the server has a defect,
/// and none of its tools is served by them (S29).
const PINS: &str = "pins:";

fn pins_text(pins: &serde_json::Value) -> String {
    format!("{PINS}{}", json(pins))
}

/// The JSON of a column of pins; other texts as they are.
pub(crate) fn pins_json(text: &str) -> &str {
    text.strip_prefix(PINS).unwrap_or(text)
}

/// Pins that cannot be read accept nothing, and are not the same as none.
fn decode_pins(reader: &mut Reader<'_>) -> Option<serde_json::Value> {
    let pins = match reader.row.text("pinned_tools") {
        Ok(None) => return None,
        Ok(Some(text)) => serde_json::from_str(pins_json(&text)).ok(),
        Err(_) => None,
    };
    let pins = reader.checked("pinned_tools", pins);
    Some(pins.unwrap_or(serde_json::Value::Bool(false)))
}

/// A filter that cannot be read must not let more through.
fn decode_openapi(reader: &mut Reader<'_>) -> OpenApiFilter {
    let Some(object) = reader.json::<serde_json::Map<String, serde_json::Value>>("openapi") else {
        return OpenApiFilter::default();
    };
    OpenApiFilter::parse(&object).unwrap_or_else(|_| {
        reader.defects.push("openapi cannot be read".to_owned());
        OpenApiFilter::default()
    })
}

fn secrets(map: BTreeMap<String, String>) -> BTreeMap<String, Secret> {
    map.into_iter()
        .map(|(name, value)| (name, Secret::new(value)))
        .collect()
}

fn decode_env_vars(reader: &mut Reader<'_>) -> Vec<EnvVar> {
    let texts: Vec<EnvVarText> = reader.sealed("env_vars").unwrap_or_default();
    let mut vars = Vec::with_capacity(texts.len());
    for text in texts {
        match EnvVarScope::parse(&text.scope) {
            Some(scope) => vars.push(EnvVar {
                name: text.name,
                value: Secret::new(text.value),
                scope,
                description: text.description,
            }),
            None => reader
                .defects
                .push("env_vars has a scope that this version does not know".to_owned()),
        }
    }
    vars
}

/// Reads cells and remembers what could not be read. The texts name columns, never values.
pub(crate) struct Reader<'a> {
    row: &'a Row,
    /// For a table that has sealed columns: what opens those of this row.
    sealed: Option<(&'a Vault, ServerId)>,
    pub(crate) defects: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Of a row without sealed columns.
    pub(crate) fn new(row: &'a Row) -> Self {
        Self {
            row,
            sealed: None,
            defects: Vec::new(),
        }
    }

    fn cell<T>(
        &mut self,
        column: &str,
        get: impl Fn(&Row, &str) -> Result<Option<T>, sqlx::Error>,
    ) -> Option<T> {
        get(self.row, column).unwrap_or_else(|_| {
            self.defects
                .push(format!("the stored {column} has the wrong type"));
            None
        })
    }

    pub(crate) fn text(&mut self, column: &str) -> Option<String> {
        self.cell(column, Row::text)
    }

    pub(crate) fn bool(&mut self, column: &str) -> Option<bool> {
        self.cell(column, Row::bool)
    }

    pub(crate) fn time(&mut self, column: &str) -> Option<Timestamp> {
        let micros = self.cell(column, Row::int)?;
        self.checked(column, Timestamp::from_microsecond(micros).ok())
    }

    pub(crate) fn int(&mut self, column: &str) -> Option<i64> {
        self.cell(column, Row::int)
    }

    pub(crate) fn count(&mut self, column: &str) -> Option<u32> {
        let number = self.cell(column, Row::int)?;
        self.checked(column, u32::try_from(number).ok())
    }

    pub(crate) fn word_or_null<T>(&mut self, column: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let word = self.text(column)?;
        self.checked(column, parse(&word))
    }

    /// A word that cannot be NULL.
    fn word<T>(&mut self, column: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let word = self.text(column).unwrap_or_default();
        self.checked(column, parse(&word))
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self, column: &str) -> Option<T> {
        let text = self.text(column)?;
        self.checked(column, serde_json::from_str(&text).ok())
    }

    fn sealed<T: DeserializeOwned>(&mut self, column: &str) -> Option<T> {
        let text = self.text(column)?;
        let (vault, id) = self.sealed.as_ref()?;
        match vault.open(&context(id, column), &text) {
            Ok(plain) => self.checked(column, serde_json::from_str(plain.expose()).ok()),
            Err(error) => {
                self.defects
                    .push(format!("the stored {column} cannot be decrypted: {error}"));
                None
            }
        }
    }

    /// What cannot be read is a defect, and not a reason to start a program with less confinement.
    fn sandbox(&mut self) -> Sandbox {
        let Some(text) = self.text("sandbox") else {
            return Sandbox::default();
        };
        let value = serde_json::from_str(&text).ok();
        let sandbox = value.and_then(|value| Sandbox::parse(&value).ok());
        self.checked("sandbox", sandbox).unwrap_or_default()
    }

    pub(crate) fn checked<T>(&mut self, column: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.defects.push(format!(
                "the stored {column} holds something that this version cannot read"
            ));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s35_versions_that_would_not_keep_the_rules_cannot_read_the_row() {
        let mut definition = ServerDefinition::default();
        assert_eq!(guarded(Transport::Http, &definition), "http");
        let rule = serde_json::json!({"a": {"b": {"value": 1}}});
        definition.tool_arguments = tool_rule::parse_arguments(&rule).unwrap();
        for transport in [Transport::Http, Transport::Sse, Transport::Stdio] {
            let stored = guarded(transport, &definition);
            assert_eq!(Transport::parse(&stored), None, "as an older version reads it");
            assert_eq!(stored.strip_suffix(WITH_RULES), Some(transport.as_str()));
        }
        let unreadable =
            |stored: &str| Transport::parse(stored.strip_suffix(WITH_RULES).unwrap_or(stored)).is_none();
        let inner = ServerDefinition {
            available_on_public_internet: false,
            ..ServerDefinition::default()
        };
        assert_eq!(guarded(Transport::Http, &inner), "http+rules");
        assert!(unreadable("http+rules+rules") && unreadable("+rules") && unreadable("http+later"));
    }

    #[test]
    fn s29_versions_that_do_not_serve_pins_cannot_read_them() {
        let pins = serde_json::json!({"a": {"description": "d"}});
        let stored = pins_text(&pins);
        assert!(
            serde_json::from_str::<serde_json::Value>(&stored).is_err(),
            "as an older version reads it"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(pins_json(&stored)).unwrap(),
            pins
        );
    }
}
