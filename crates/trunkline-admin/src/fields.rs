//! What a server has: the one table that parsing, rows, the OpenAPI schemas and the round-trip tests are made from.
//!
//! Names, types and defaults are LiteLLM's (`NewMCPServerRequest`, `UpdateMCPServerRequest`, `LiteLLM_MCPServerTable`).
//! To add a field: one line in [`FIELDS`]. A new *kind* of value is a variant of [`Kind`], and the compiler names the
//! places that must know it.
//!
//! Rules for all fields: an omitted field keeps what it has (or takes the default of a new server), null sets the
//! default of a new server, anything of another type is a problem that names the field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use trunkline_model::{
    AuthType, Pem, PrefixMode, Sandbox, Secret, ServerDefinition, SessionMode, TlsVersion, Transport,
    tool_rule,
};

use crate::body::{At, Loc, Problems};
use crate::{credentials, operations, tool_rules, variables};

/// What stands in answers in place of a secret, and means "keep what is stored" in a change.
pub(crate) const MASK: &str = "***";

/// A field of a server's declaration.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// For the OpenAPI document.
    pub(crate) doc: &'static str,
    pub(crate) kind: Kind,
}

/// Where a value of type `T` lies in a declaration.
pub(crate) struct Lens<T: 'static> {
    pub(crate) get: fn(&ServerDefinition) -> &T,
    pub(crate) get_mut: fn(&mut ServerDefinition) -> &mut T,
}

/// A value that is one of a few words.
pub(crate) struct Choice {
    /// The words, the default first if there is one.
    pub(crate) words: fn() -> Vec<&'static str>,
    /// Whether null is a value of its own.
    pub(crate) nullable: bool,
    pub(crate) get: fn(&ServerDefinition) -> Option<&str>,
    /// Sets the word, or the default. False if it is none of the words.
    pub(crate) set: fn(&mut ServerDefinition, Option<&str>) -> bool,
}

/// The kinds of values.
pub(crate) enum Kind {
    /// `str | null`
    Text(Lens<Option<String>>),
    /// `str | null`: PEM text; what is of the configuration file may show its path
    Pem(Lens<Option<Pem>>),
    /// `str | null`, secret
    Secret(Lens<Option<Secret>>),
    Choice(Choice),
    /// `bool`, with its default
    Flag(Lens<bool>, bool),
    /// `bool | null`
    OptionalFlag(Lens<Option<bool>>),
    /// `float | null`, above zero
    Seconds(Lens<Option<f64>>),
    /// `int | null`, at least the number given
    Count(Lens<Option<u32>>, u32),
    /// `str[]`
    Texts(Lens<Vec<String>>),
    /// `str[] | null`: none is not the same as null
    OptionalTexts(Lens<Option<Vec<String>>>),
    /// `{str: str}`
    TextMap(Lens<BTreeMap<String, String>>),
    /// `{str: str}`, values secret
    SecretMap(Lens<BTreeMap<String, Secret>>),
    /// `object | null`
    Object(Lens<Option<Map<String, Value>>>),
    /// Its own rules: [`credentials`]
    Credentials,
    /// Its own rules: [`variables`]
    Variables,
    /// `off` or an object: its own rules, [`Sandbox::parse`]
    Sandbox(Lens<Sandbox>),
    /// Its own rules: [`operations`]
    Operations,
    /// `{str: str[]}`
    TextsMap(Lens<BTreeMap<String, Vec<String>>>),
    /// Its own rules: [`tool_rules`]
    ToolArguments,
    /// Its own rules: [`tool_rules`]
    ToolConditions,
    /// Its own rules: [`tool_rules`]
    ToolApproval,
    /// In rows only: settable in the configuration file.
    FileOnly(fn(&ServerDefinition) -> Value),
}

macro_rules! lens {
    ($($member:ident).+) => {
        Lens {
            get: |definition| &definition.$($member).+,
            get_mut: |definition| &mut definition.$($member).+,
        }
    };
}

macro_rules! field {
    ($kind:ident $name:ident, $doc:literal) => {
        Field {
            name: stringify!($name),
            doc: $doc,
            kind: Kind::$kind(lens!($name)),
        }
    };
    ($kind:ident $name:ident = $parameter:literal, $doc:literal) => {
        Field {
            name: stringify!($name),
            doc: $doc,
            kind: Kind::$kind(lens!($name), $parameter),
        }
    };
}

/// A word kept as text, null when it is not set.
macro_rules! word {
    ($name:ident, $words:expr, $doc:literal) => {
        Field {
            name: stringify!($name),
            doc: $doc,
            kind: Kind::Choice(Choice {
                words: || $words.to_vec(),
                nullable: true,
                get: |definition| definition.$name.as_deref(),
                set: |definition, word| {
                    definition.$name = word.map(str::to_owned);
                    word.is_none_or(|word| $words.contains(&word))
                },
            }),
        }
    };
}

/// A word that is an enum of the model, with its default.
macro_rules! mode {
    ($name:ident, $type:ident :: $default:ident, $all:expr, $doc:literal) => {
        Field {
            name: stringify!($name),
            doc: $doc,
            kind: Kind::Choice(Choice {
                words: || $all.map($type::as_str).to_vec(),
                nullable: false,
                get: |definition| Some(definition.$name.as_str()),
                set: |definition, word| {
                    let value = word.map_or(Some($type::$default), $type::parse);
                    definition.$name = value.unwrap_or($type::$default);
                    value.is_some()
                },
            }),
        }
    };
}

const OAUTH_FLOWS: [&str; 2] = ["client_credentials", "authorization_code"];
const EXCHANGE_PROFILES: [&str; 2] = ["rfc8693", "entra_obo"];
const REVISIONS: [&str; 6] = [
    "auto",
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    "2026-07-28",
];

/// All fields, in the order of rows.
pub(crate) const FIELDS: &[Field] = &[
    field!(Text server_name, "Display name; prefix of tool names when there is no alias."),
    field!(Text alias, "Prefix of tool names."),
    field!(Text description, "For people."),
    field!(Text instructions, "For models: part of the gateway's `initialize` result."),
    field!(Text url, "The MCP endpoint, http or https."),
    field!(Text spec_path, "URL of the OpenAPI document of an HTTP API, whose operations become tools. `url` is the API's address then; without one, the document says it. Paths are read for servers of the configuration file only."),
    field!(Object spec, "That document itself, in place of `spec_path`."),
    Field {
        name: "openapi",
        doc: "Which operations of the document become tools: `include` and `exclude`, each with lists `tags`, `paths`, `methods`, `operations`.",
        kind: Kind::Operations,
    },
    mode!(
        transport,
        Transport::Sse,
        [Transport::Sse, Transport::Http, Transport::Stdio],
        "How to talk to it. `stdio` starts a program, and is refused here unless `general_settings.mcp_stdio` is `admin`."
    ),
    Field {
        name: "auth_type",
        doc: "How to prove who the gateway is.",
        kind: Kind::Choice(Choice {
            words: || AuthType::ALL.map(AuthType::as_str).to_vec(),
            nullable: true,
            get: |definition| definition.auth_type.map(AuthType::as_str),
            set: |definition, word| {
                definition.auth_type = word.and_then(AuthType::parse);
                word.is_none() || definition.auth_type.is_some()
            },
        }),
    },
    Field {
        name: "credentials",
        doc: "The proof, write-only: answers hold `scopes`, `upstream_resource` and `upstream_token_header` alone. In a change, members that are omitted (or `***`) are kept, null members are removed, null removes all.",
        kind: Kind::Credentials,
    },
    field!(Object mcp_info, "`server_name`, `description`, `logo_url`, `mcp_server_cost_info`, `tool_allowlist_enforced`, and free keys."),
    field!(Texts mcp_access_groups, "Groups that grants and `x-mcp-servers` may name."),
    field!(OptionalTexts allowed_tools, "Tools that may be listed and called; null: all. Empty: all too, unless `mcp_info.tool_allowlist_enforced`."),
    field!(Texts disallowed_tools, "Tools that may not be listed or called; wins over `allowed_tools`."),
    field!(TextsMap allowed_params, "Arguments that may be given, per tool: calls with others are refused, and the tool's schema does not have them."),
    Field {
        name: "tool_arguments",
        doc: "Arguments that the gateway fills in, per tool: `{tool: {argument: rule}}`, where a rule has one of `value` and `value_from` (pinned: callers may not give it) or `default` and `default_from`.",
        kind: Kind::ToolArguments,
    },
    Field {
        name: "tool_conditions",
        doc: "What must be true of a call: `tools` (names, or `*`), `when` (an expression of CEL), `reason` (for the caller).",
        kind: Kind::ToolConditions,
    },
    Field {
        name: "tool_approval",
        doc: "When somebody has to say yes to a call, per tool (`*`: the others): `never`, `first_use` or `always`.",
        kind: Kind::ToolApproval,
    },
    field!(Flag approval_by_user = false, "Whether that may be the user at the client that calls, where the client can ask."),
    field!(TextMap tool_name_to_display_name, "Exposed name instead of the tool's, per tool."),
    field!(TextMap tool_name_to_description, "Description instead of the tool's, per tool."),
    Field {
        name: "pinned_tools",
        doc: "Accepted tool definitions: if there is any, exactly these tools are served. Set by `POST /v1/mcp/server/{server_id}/pin`, or in the configuration file.",
        kind: Kind::FileOnly(|definition| definition.pinned_tools.clone().unwrap_or(Value::Null)),
    },
    field!(Texts extra_headers, "Names of client request headers to forward; a trailing `*` matches any rest. An entry `Name: value` is understood as a fixed header and kept in `static_headers`."),
    field!(SecretMap static_headers, "Headers that are always sent. Values are shown as `***`; `***` in a change keeps the stored value."),
    Field {
        name: "env_vars",
        doc: "Variables for `${NAME}` in `static_headers` and `env`. Values are shown as `***`; `***` in a change keeps the stored value.",
        kind: Kind::Variables,
    },
    field!(Text command, "stdio: the program. Refused here unless `general_settings.mcp_stdio` is `admin`."),
    field!(Texts args, "stdio: its arguments."),
    field!(SecretMap env, "stdio: its environment. Values are shown as `***`; `***` in a change keeps the stored value."),
    field!(Text cwd, "stdio: the folder that it starts in; null: a private one."),
    field!(Sandbox sandbox, "stdio: what the program may do: an object with `network`, `ports`, `read`, `write`, `max_processes`, `max_memory_mb`, `max_file_mb`, `max_open_files`, or `off`. Null: the default."),
    field!(Text issuer, "OAuth issuer."),
    field!(Text authorization_url, "OAuth authorization endpoint."),
    field!(Text token_url, "OAuth token endpoint."),
    field!(Text registration_url, "OAuth dynamic client registration endpoint."),
    word!(oauth2_flow, OAUTH_FLOWS, "OAuth flow."),
    field!(Text token_exchange_endpoint, "RFC 8693 endpoint."),
    field!(Text audience, "RFC 8693 audience."),
    field!(Text subject_token_type, "RFC 8693 subject token type."),
    word!(
        token_exchange_profile,
        EXCHANGE_PROFILES,
        "Dialect of the token exchange."
    ),
    field!(Flag allow_all_keys = false, "Every key may use it."),
    field!(Flag available_on_public_internet = true, "Clients outside the internal networks may see it."),
    field!(Flag delegate_auth_to_upstream = false, "LiteLLM's legacy delegation."),
    field!(Flag oauth_passthrough = false, "LiteLLM's legacy pass-through."),
    field!(OptionalFlag dcr_bridge, "OAuth: bridge dynamic client registration."),
    field!(Flag per_server_oauth_discovery = false, "OAuth: metadata per server."),
    field!(Flag is_byok = false, "Every user brings a key."),
    field!(Texts byok_description, "How to get that key, in steps."),
    field!(Text byok_api_key_help_url, "Where to get that key."),
    field!(Text source_url, "Where the server's source is, for reviewers."),
    field!(Seconds timeout, "Deadline of a tool call, seconds."),
    Field {
        name: "tool_timeouts",
        doc: "Deadlines of single tools, seconds. Settable in the configuration file.",
        kind: Kind::FileOnly(|definition| {
            let timeouts = definition.tool_timeouts.iter();
            timeouts
                .map(|(tool, seconds)| (tool.clone(), Value::from(*seconds)))
                .collect()
        }),
    },
    field!(Seconds connect_timeout, "How long a connection to it may take, seconds."),
    field!(Seconds list_timeout, "Deadline of listing it, seconds."),
    Field {
        name: "tls_ca",
        doc: "The authorities that its certificate may come from, in place of all others: PEM text. Paths are read for servers of the configuration file only.",
        kind: Kind::Pem(lens!(tls.ca)),
    },
    Field {
        name: "tls_client_cert",
        doc: "The certificate by which the gateway proves itself to it: PEM text.",
        kind: Kind::Pem(lens!(tls.client_cert)),
    },
    Field {
        name: "tls_client_key",
        doc: "The key of that certificate: PEM text, or `os.environ/NAME`. Shown as `***`; `***` in a change keeps the stored value.",
        kind: Kind::Secret(lens!(tls.client_key)),
    },
    Field {
        name: "tls_server_name",
        doc: "The name that is asked for (SNI) and that its certificate must have; null: the host in `url`.",
        kind: Kind::Text(lens!(tls.server_name)),
    },
    Field {
        name: "tls_min_version",
        doc: "The oldest TLS that is spoken with it; null: 1.2.",
        kind: Kind::Choice(Choice {
            words: || vec!["1.2", "1.3"],
            nullable: true,
            get: |definition| definition.tls.min_version.map(TlsVersion::as_str),
            set: |definition, word| {
                definition.tls.min_version = word.and_then(TlsVersion::parse);
                word.is_none() || definition.tls.min_version.is_some()
            },
        }),
    },
    field!(Count max_concurrent_requests = 1, "Calls in flight at the same time."),
    field!(Count rpm = 0, "Calls per minute over all callers and replicas."),
    mode!(
        prefix,
        PrefixMode::Always,
        [PrefixMode::Always, PrefixMode::Never],
        "Whether the one-server endpoint `/{server}/mcp` prefixes names."
    ),
    mode!(
        session,
        SessionMode::Auto,
        [SessionMode::Auto, SessionMode::Shared, SessionMode::PerClient],
        "Who shares an upstream session."
    ),
    Field {
        name: "protocol_version",
        doc: "Revision to speak with the server; null or `auto`: negotiated.",
        kind: Kind::Choice(Choice {
            words: || REVISIONS.to_vec(),
            nullable: true,
            get: |definition| definition.protocol_version.as_deref(),
            set: |definition, word| {
                definition.protocol_version = word.filter(|word| *word != "auto").map(str::to_owned);
                word.is_none_or(|word| REVISIONS.contains(&word))
            },
        }),
    },
    field!(Flag schema_compat = false, "Whether `oneOf`, `anyOf` and `allOf` at the root of a tool's `inputSchema` are made one object, for clients that refuse them."),
];

/// What a new server has when nothing is said: LiteLLM's API takes `sse` where its configuration file takes `http`.
pub(crate) fn new_definition() -> ServerDefinition {
    ServerDefinition {
        transport: Transport::Sse,
        ..ServerDefinition::default()
    }
}

const NO_PEM: &str = "Value error, is not PEM text (-----BEGIN …): paths on the gateway's disk are read for servers of the configuration file only";

impl Field {
    /// Whether a request may set it.
    pub(crate) fn is_settable(&self) -> bool {
        !matches!(self.kind, Kind::FileOnly(_))
    }

    /// Sets it from a request. `definition` holds what was there before, so that masked secrets are kept.
    pub(crate) fn set(&self, definition: &mut ServerDefinition, value: &Value, problems: &mut Problems) {
        let at = &mut At::field(self.name, problems);
        match &self.kind {
            Kind::Text(lens) => {
                if let Ok(text) = nullable(value, |value| at.text(value)) {
                    *(lens.get_mut)(definition) = text.map(str::to_owned);
                }
            }
            Kind::Pem(lens) => {
                if let Ok(text) = nullable(value, |value| at.text(value)) {
                    let text = text.filter(|text| !text.is_empty());
                    if text.is_some_and(|text| !Pem::is_text(text)) {
                        at.problem::<()>("value_error", NO_PEM);
                    } else {
                        *(lens.get_mut)(definition) = text.map(Pem::inline);
                    }
                }
            }
            Kind::Secret(lens) => {
                if let Ok(text) = nullable(value, |value| at.text(value)) {
                    match text.filter(|text| !text.is_empty()) {
                        Some(MASK) if (lens.get)(definition).is_none() => not_stored(at),
                        Some(MASK) => {}
                        text => *(lens.get_mut)(definition) = text.map(Secret::new),
                    }
                }
            }
            Kind::Choice(choice) => {
                if let Ok(word) = nullable(value, |value| at.text(value))
                    && !(choice.set)(definition, word)
                {
                    at.problem::<()>(
                        "literal_error",
                        format!("Input should be {}", one_of(&(choice.words)())),
                    );
                }
            }
            Kind::Flag(lens, default) => {
                if let Ok(flag) = nullable(value, |value| at.flag(value)) {
                    *(lens.get_mut)(definition) = flag.unwrap_or(*default);
                }
            }
            Kind::OptionalFlag(lens) => {
                if let Ok(flag) = nullable(value, |value| at.flag(value)) {
                    *(lens.get_mut)(definition) = flag;
                }
            }
            Kind::Seconds(lens) => {
                if let Ok(seconds) = nullable(value, |value| seconds(value, at)) {
                    *(lens.get_mut)(definition) = seconds;
                }
            }
            Kind::Count(lens, least) => {
                if let Ok(number) = nullable(value, |value| count(value, *least, at)) {
                    *(lens.get_mut)(definition) = number;
                }
            }
            Kind::Texts(lens) => {
                if let Ok(texts) = nullable(value, |value| at.texts(value)) {
                    *(lens.get_mut)(definition) = texts.unwrap_or_default();
                }
            }
            Kind::OptionalTexts(lens) => {
                if let Ok(texts) = nullable(value, |value| at.texts(value)) {
                    *(lens.get_mut)(definition) = texts;
                }
            }
            Kind::TextMap(lens) => {
                if let Ok(map) = nullable(value, |value| text_map(value, at)) {
                    *(lens.get_mut)(definition) = map.unwrap_or_default();
                }
            }
            Kind::SecretMap(lens) => {
                let stored = (lens.get)(definition);
                if let Ok(map) = nullable(value, |value| secret_map(value, stored, at)) {
                    *(lens.get_mut)(definition) = map.unwrap_or_default();
                }
            }
            Kind::Object(lens) => {
                if let Ok(object) = nullable(value, |value| at.object(value)) {
                    *(lens.get_mut)(definition) = object.cloned();
                }
            }
            Kind::Credentials => credentials::set(&mut definition.credentials, value, at),
            Kind::Sandbox(lens) => set_sandbox((lens.get_mut)(definition), value, at),
            Kind::TextsMap(lens) => {
                if let Ok(map) = nullable(value, |value| texts_map(value, at)) {
                    *(lens.get_mut)(definition) = map.unwrap_or_default();
                }
            }
            Kind::ToolArguments => tool_rules::set_arguments(&mut definition.tool_arguments, value, at),
            Kind::ToolConditions => tool_rules::set_conditions(&mut definition.tool_conditions, value, at),
            Kind::ToolApproval => tool_rules::set_approval(&mut definition.tool_approval, value, at),
            Kind::Variables => variables::set(&mut definition.env_vars, value, at),
            Kind::Operations => operations::set(&mut definition.openapi, value, at),
            Kind::FileOnly(_) => {
                at.problem::<()>("extra_forbidden", "Settable in the configuration file only");
            }
        }
    }

    /// What an answer shows. Never a secret.
    pub(crate) fn show(&self, definition: &ServerDefinition) -> Value {
        match &self.kind {
            Kind::Text(lens) => (lens.get)(definition).clone().into(),
            Kind::Pem(lens) => (lens.get)(definition).as_ref().map(Pem::shown).into(),
            Kind::Secret(lens) => (lens.get)(definition).as_ref().map(mask).into(),
            Kind::Choice(choice) => (choice.get)(definition).into(),
            Kind::Flag(lens, _) => (*(lens.get)(definition)).into(),
            Kind::OptionalFlag(lens) => (*(lens.get)(definition)).into(),
            Kind::Seconds(lens) => (*(lens.get)(definition)).into(),
            Kind::Count(lens, _) => (*(lens.get)(definition)).into(),
            Kind::Texts(lens) => (lens.get)(definition).clone().into(),
            Kind::OptionalTexts(lens) => (lens.get)(definition).clone().into(),
            Kind::TextMap(lens) => strings((lens.get)(definition), |text| text.as_str()),
            Kind::SecretMap(lens) => strings((lens.get)(definition), |secret| mask(secret)),
            Kind::Object(lens) => (lens.get)(definition).clone().into(),
            Kind::Credentials => credentials::show(&definition.credentials),
            // Of a program always: what holds should be seen. Of others only what somebody has set.
            Kind::Sandbox(lens) => {
                let sandbox = (lens.get)(definition);
                let idle = definition.transport != Transport::Stdio && *sandbox == Sandbox::default();
                if idle { Value::Null } else { sandbox.to_json() }
            }
            Kind::Variables => variables::show(&definition.env_vars),
            Kind::TextsMap(lens) => (lens.get)(definition)
                .iter()
                .map(|(name, texts)| (name.clone(), Value::from(texts.clone())))
                .collect(),
            Kind::ToolArguments => tool_rule::arguments_to_json(&definition.tool_arguments),
            Kind::ToolConditions => tool_rule::conditions_to_json(&definition.tool_conditions),
            Kind::ToolApproval => tool_rule::approval_to_json(&definition.tool_approval),
            Kind::Operations => definition.openapi.to_json().unwrap_or_default(),
            Kind::FileOnly(show) => show(definition),
        }
    }
}

fn set_sandbox(sandbox: &mut Sandbox, value: &Value, at: &mut At<'_>) {
    match Sandbox::parse(value) {
        Ok(parsed) => *sandbox = parsed,
        Err(problems) => {
            for problem in problems {
                let message = format!("Value error, {} {}", problem.member, problem.message);
                at.problem::<()>("value_error", message.replace(",  ", ", "));
            }
        }
    }
}

/// What an answer shows of a secret: that there is one.
pub(crate) fn mask(secret: &Secret) -> &'static str {
    if secret.is_empty() { "" } else { MASK }
}

/// Sets the fields that `body` has. Keys of `body` that are no fields are the caller's business.
pub(crate) fn apply(body: &Map<String, Value>, definition: &mut ServerDefinition, problems: &mut Problems) {
    for field in FIELDS.iter().filter(|field| field.is_settable()) {
        if let Some(value) = body.get(field.name) {
            field.set(definition, value, problems);
        }
    }
}

/// The value is of another type, and that was noted.
struct Noted;

/// `None` for null, else what `parse` finds.
fn nullable<'v, T>(value: &'v Value, parse: impl FnOnce(&'v Value) -> Option<T>) -> Result<Option<T>, Noted> {
    if value.is_null() {
        Ok(None)
    } else {
        parse(value).map(Some).ok_or(Noted)
    }
}

/// A day: a longer deadline is a mistake, and a very long one cannot be added to a point in time.
const MAX_SECONDS: f64 = 86_400.0;

fn seconds(value: &Value, at: &mut At<'_>) -> Option<f64> {
    match value.as_f64() {
        Some(seconds) if seconds > 0.0 && seconds <= MAX_SECONDS => Some(seconds),
        Some(_) => at.problem("greater_than", "Input should be greater than 0 and at most 86400"),
        None => at.problem("float_type", "Input should be a valid number"),
    }
}

fn count(value: &Value, least: u32, at: &mut At<'_>) -> Option<u32> {
    if !value.is_i64() && !value.is_u64() {
        return at.problem("int_type", "Input should be a valid integer");
    }
    // Databases count in signed numbers.
    match value
        .as_u64()
        .and_then(|number| i32::try_from(number).ok())
        .map(i32::unsigned_abs)
    {
        Some(number) if number >= least => Some(number),
        _ => at.problem(
            "greater_than_equal",
            format!("Input should be at least {least} and at most {}", i32::MAX),
        ),
    }
}

fn text_map(value: &Value, at: &mut At<'_>) -> Option<BTreeMap<String, String>> {
    let object = at.object(value)?;
    let mut map = BTreeMap::new();
    for (key, value) in object {
        if let Some(text) = at.within(Loc::Name(key.clone()), |at| at.text(value)) {
            map.insert(key.clone(), text.to_owned());
        }
    }
    (map.len() == object.len()).then_some(map)
}

fn texts_map(value: &Value, at: &mut At<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let object = at.object(value)?;
    let mut map = BTreeMap::new();
    for (key, value) in object {
        if let Some(texts) = at.within(Loc::Name(key.clone()), |at| at.texts(value)) {
            map.insert(key.clone(), texts);
        }
    }
    (map.len() == object.len()).then_some(map)
}

fn secret_map(
    value: &Value,
    stored: &BTreeMap<String, Secret>,
    at: &mut At<'_>,
) -> Option<BTreeMap<String, Secret>> {
    let texts = text_map(value, at)?;
    let length = texts.len();
    let mut map = BTreeMap::new();
    for (key, text) in texts {
        let secret = if text == MASK {
            // Header names do not care about case.
            let kept = stored.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key));
            let Some((_, secret)) = kept else {
                at.within(Loc::Name(key), |at| not_stored(at));
                continue;
            };
            secret.clone()
        } else {
            Secret::new(text)
        };
        map.insert(key, secret);
    }
    (map.len() == length).then_some(map)
}

/// The mask where nothing is stored that could be kept.
pub(crate) fn not_stored(at: &mut At<'_>) {
    at.problem::<()>(
        "value_error",
        format!("Value error, {MASK:?} keeps the stored value, and there is none"),
    );
}

fn strings<T>(map: &BTreeMap<String, T>, show: impl Fn(&T) -> &str) -> Value {
    map.iter()
        .map(|(key, value)| (key.clone(), Value::from(show(value))))
        .collect()
}

/// `'a', 'b' or 'c'`, as `FastAPI` writes it.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
