//! `mcp_servers`: each entry to a [`Server`].

use std::fmt::Write as _;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use trunkline_model::naming::check_server_name;
use trunkline_model::{
    Approval, EnvVar, EnvVarScope, Notice, OpenApiFilter, Origin, PrefixMode, RuleProblem, Sandbox, Secret,
    Server, ServerDefinition, ServerId, SessionMode, Stamps, Transport, tool_rule,
};

use crate::env::{Env, REFERENCE, Unresolved, lookup, resolve};
use crate::error::Report;
use crate::fields;
use crate::section::{Section, suggestion};
use crate::tls::{self, Around};
use crate::tree::{At, Entry, Node, Value};
use crate::{auth, checks};

/// A server with the places that a name collision points at.
pub(crate) struct Declared {
    pub(crate) server: Server,
    pub(crate) name_at: At,
    pub(crate) alias_at: At,
    pub(crate) id_at: At,
}

/// Reads the section. References are resolved in place.
pub(crate) fn read(
    node: &mut Node,
    env: &dyn Env,
    around: &Around<'_>,
    report: &mut Report,
) -> Vec<Declared> {
    match &mut node.value {
        Value::Null => Vec::new(),
        Value::Map(entries) => entries
            .iter_mut()
            .filter_map(|entry| server(entry, env, around, report))
            .collect(),
        Value::List(_) => {
            let advice = "mcp_servers must be a mapping from name to server, not a list: write `github:` in place of `- name: github` and indent the rest below it";
            report.error(node.at, advice);
            Vec::new()
        }
        _ => {
            report.error(
                node.at,
                format!(
                    "mcp_servers must be a mapping from name to server, not {}",
                    node.kind()
                ),
            );
            Vec::new()
        }
    }
}

/// The id of a server of the file: of the name alone, so that no other edit orphans a grant.
pub(crate) fn derived_id(name: &str) -> ServerId {
    let digest = Sha256::digest(format!("mcp_server|{name}"));
    let mut id = String::with_capacity(32);
    for byte in digest.iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    ServerId::new(id)
}

fn server(entry: &mut Entry, env: &dyn Env, around: &Around<'_>, report: &mut Report) -> Option<Declared> {
    let name = entry.key.trim().to_owned();
    if let Err(error) = check_server_name(&name) {
        report.error(entry.at, format!("mcp_servers: {error}"));
        return None;
    }
    let path = format!("mcp_servers.{name}");
    if entry.node.is_absent() {
        report.error(entry.at, format!("{path} is empty: it needs at least a `url`"));
        return None;
    }
    let unresolved = resolve_entry(&mut entry.node, env, &path, report);
    let mut section = Section::open(path, entry.at, &entry.node, report)?;
    section.check_names(fields::SERVER, hint);

    let mut definition = ServerDefinition {
        server_name: Some(name.clone()),
        ..ServerDefinition::default()
    };
    identity(&mut section, &mut definition);
    connection(&mut section, &mut definition);
    let expired = tls::read(&mut section, &mut definition, around, unresolved.is_empty());
    auth::read(&mut section, &mut definition);
    headers(&mut section, &mut definition);
    tools(&mut section, &mut definition);
    call_rules(&mut section, &mut definition);
    access_and_limits(&mut section, &mut definition);
    if unresolved.is_empty() {
        consistency(&mut section, &definition);
        auth::consistency(&mut section, &definition);
    }
    notices(&mut section, &mut definition);

    let id = section
        .text("server_id")
        .map_or_else(|| derived_id(&name), ServerId::new);
    let (alias_at, id_at) = (section.place("alias"), section.place("server_id"));
    let server = Server {
        id,
        origin: Origin::File,
        definition,
        approval: Approval::default(),
        stamps: Stamps::default(),
        defect: defect(&unresolved).or(expired),
    };
    Some(Declared {
        server,
        name_at: entry.at,
        alias_at,
        id_at,
    })
}

/// What people write for a field that has another name.
fn hint(name: &str) -> Option<&'static str> {
    Some(match name {
        "server_name" | "name" => {
            "the name of a server is the key above it; `alias` gives its tools another prefix"
        }
        "mcp_access_groups" => "in the file it is called \"access_groups\"",
        "credentials" => {
            "in the file, write its members directly into the entry (`authentication_token`, `client_id`, …)"
        }
        "headers" => "did you mean \"static_headers\"?",
        "ssl_verify" | "verify" | "verify_ssl" | "tls_verify" | "tls_insecure" => {
            "certificates are always verified; `tls_ca` names the authority of the server's"
        }
        "ssl_certificate" | "client_cert" => "did you mean \"tls_client_cert\"?",
        "ssl_key" | "client_key" => "did you mean \"tls_client_key\"?",
        "token" | "api_key" | "bearer_token" | "auth_token" => "did you mean \"authentication_token\"?",
        "auth" => "did you mean \"auth_type\"?",
        "type" => "did you mean \"transport\"?",
        "allowed_cidrs" => {
            "LiteLLM's documentation has it, but neither LiteLLM nor Trunkline restricts anything by it"
        }
        "require_approval" => "it belongs into the client's request, not into the file",
        _ => return None,
    })
}

/// Fields for people and models, in which `os.environ/` may be a word like any other.
const PROSE: [&str; 8] = [
    "description",
    "instructions",
    "mcp_info",
    "byok_description",
    "tool_name_to_description",
    "pinned_tools",
    "spec",
    "tool_conditions",
];

fn resolve_entry(node: &mut Node, env: &dyn Env, path: &str, report: &mut Report) -> Vec<Unresolved> {
    let mut unresolved = Vec::new();
    let Value::Map(entries) = &mut node.value else {
        return unresolved;
    };
    for entry in entries {
        if entry.key == "extra_headers" {
            resolve_header_values(&mut entry.node, env, &mut unresolved);
        }
        if !PROSE.contains(&entry.key.as_str()) {
            refuse_embedded(&entry.node, &crate::error::join(path, &entry.key), report);
        }
        if entry.key == "tool_arguments" {
            refuse_references(&entry.node, &crate::error::join(path, &entry.key), report);
        }
        resolve(
            &mut entry.node,
            &crate::error::join("", &entry.key),
            env,
            &mut unresolved,
        );
    }
    for missing in &unresolved {
        let message = format!(
            "{}: the server is listed as misconfigured and never contacted.",
            missing.message
        );
        report.warn(missing.at, format!("{path}.{}", missing.path), message);
    }
    unresolved
}

/// What is sent as an argument is no secret to anybody who may see the server, so that no secret may be put there.
fn refuse_references(node: &Node, path: &str, report: &mut Report) {
    match &node.value {
        Value::Text(text) if text.starts_with(REFERENCE) => {
            let message = format!(
                "{path}: a value of the environment cannot stand here: arguments are shown to administrators as they are"
            );
            report.error(node.at, message);
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                refuse_references(item, &format!("{path}[{index}]"), report);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                refuse_references(&entry.node, &crate::error::join(path, &entry.key), report);
            }
        }
        _ => {}
    }
}

/// `extra_headers: ["Authorization: os.environ/NAME"]`: the value will be taken for a fixed header, so the reference in it
/// has to be resolved like any other.
fn resolve_header_values(node: &mut Node, env: &dyn Env, unresolved: &mut Vec<Unresolved>) {
    let Value::List(items) = &mut node.value else {
        return;
    };
    for (index, item) in items.iter_mut().enumerate() {
        let Value::Text(text) = &item.value else { continue };
        let Some((name, value)) = text.split_once(':') else {
            continue;
        };
        let Some(variable) = value.trim().strip_prefix(REFERENCE) else {
            continue;
        };
        match lookup(variable, env) {
            Ok(value) => item.value = Value::Text(format!("{name}: {value}")),
            Err(message) => {
                unresolved.push(Unresolved {
                    at: item.at,
                    path: format!("extra_headers[{index}]"),
                    message,
                });
                item.value = Value::Unset;
            }
        }
    }
}

/// A reference inside of a longer text is not one, and its literal would be sent (B30).
fn refuse_embedded(node: &Node, path: &str, report: &mut Report) {
    match &node.value {
        Value::Text(text) if text.contains(REFERENCE) && !text.starts_with(REFERENCE) => {
            report.error(
                node.at,
                format!("{path}: `{REFERENCE}NAME` is a reference only where it is the whole value; for a part of a header use `${{NAME}}` and `env_vars: [{{name: NAME, value: {REFERENCE}NAME}}]`"),
            );
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                refuse_embedded(item, &format!("{path}[{index}]"), report);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                refuse_embedded(&entry.node, &crate::error::join(path, &entry.key), report);
            }
        }
        _ => {}
    }
}

fn defect(unresolved: &[Unresolved]) -> Option<String> {
    if unresolved.is_empty() {
        return None;
    }
    let parts: Vec<String> = unresolved
        .iter()
        .map(|missing| format!("{} {}", missing.path, missing.message))
        .collect();
    Some(format!("{}; set it and restart", parts.join("; ")))
}

fn identity(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    definition.alias = section.text("alias").map(|alias| alias.trim().to_owned());
    if let Some(Err(error)) = definition.alias.as_deref().map(check_server_name) {
        section.error("alias", error.to_string());
    }
    if section
        .text("server_id")
        .is_some_and(|id| id.len() > 128 || id.chars().any(|c| c.is_control() || c.is_whitespace()))
    {
        section.error("server_id", "must have at most 128 characters and no blanks");
    }
    definition.description = section.text("description");
    definition.instructions = section.text("instructions");
    definition.source_url = section.text("source_url");
    definition.mcp_info = section.object("mcp_info");
    let enforced = definition
        .mcp_info
        .as_ref()
        .and_then(|info| info.get("tool_allowlist_enforced"));
    if enforced.is_some_and(|value| !value.is_boolean() && !value.is_null()) {
        section.error("mcp_info", "tool_allowlist_enforced must be true or false");
    }
}

fn connection(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    if let Some(transport) = section.word("transport", fields::TRANSPORTS, Transport::parse) {
        definition.transport = transport;
    }
    definition.url = section.text("url");
    definition.spec_path = section.text("spec_path");
    if let Some(Err(reason)) = definition.url.as_deref().map(checks::url) {
        section.error("url", reason);
    }
    if let Some(Err(reason)) = definition.spec_path.as_deref().map(checks::document) {
        section.error("spec_path", reason);
    }
    described(section, definition);
    definition.command = section.text("command");
    definition.args = section.texts("args").unwrap_or_default();
    definition.env = section.secret_map("env");
    definition.cwd = section.text("cwd");
    sandbox(section, definition);
    let revision = section.word("protocol_version", fields::REVISIONS, |text| {
        fields::REVISIONS.contains(&text).then(|| text.to_owned())
    });
    definition.protocol_version = revision.filter(|revision| revision != "auto");
    if definition.protocol_version.as_deref() == Some("2026-07-28") && definition.transport == Transport::Sse
    {
        section.error(
            "protocol_version",
            "2026-07-28 does not exist on the sse transport; use `transport: http`",
        );
    }
    definition.prefix = section
        .word("prefix", &["always", "never"], PrefixMode::parse)
        .unwrap_or(definition.prefix);
    definition.schema_compat = section.boolean("schema_compat").unwrap_or(false);
    let session = section.word("session", &["auto", "shared", "per_client"], SessionMode::parse);
    definition.session = session.unwrap_or(definition.session);
}

fn sandbox(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    let Some(node) = section.node("sandbox") else {
        return;
    };
    match Sandbox::parse(&node.to_json()) {
        Ok(sandbox) => definition.sandbox = sandbox,
        Err(problems) => {
            for problem in problems {
                let member = problem.member.split('[').next().unwrap_or_default();
                let at = node.get(member).map_or(node.at, |node| node.at);
                let path = match problem.member.as_str() {
                    "" => section.path_of("sandbox"),
                    member => format!("{}.{member}", section.path_of("sandbox")),
                };
                section.report.error(at, format!("{path}: {}", problem.message));
            }
        }
    }
}

/// A server that is an HTTP API.
fn described(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    definition.spec = section.object("spec");
    if definition.spec.is_some() && definition.spec_path.is_some() {
        section.error("spec", "`spec_path` says another document: remove one of them");
    }
    let Some(filter) = section.object("openapi") else {
        return;
    };
    match OpenApiFilter::parse(&filter) {
        Ok(filter) => definition.openapi = filter,
        Err(mistake) => {
            let place = if mistake.at.is_empty() {
                String::new()
            } else {
                format!("{}: ", mistake.at)
            };
            let message = match &mistake.unknown {
                Some((name, known)) => {
                    let near = suggestion(name, known.iter().copied());
                    format!("{place}{} {}{near}", crate::error::shown(name), mistake.message)
                }
                None => format!("{place}{}", mistake.message),
            };
            section.error("openapi", message);
        }
    }
    if definition.spec_path.is_none() && definition.spec.is_none() {
        section.warn("openapi", "has no effect without `spec_path` or `spec`.");
    }
}

fn headers(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    definition.static_headers = section.secret_map("static_headers");
    definition.extra_headers = section.texts("extra_headers").unwrap_or_default();
    for notice in definition.absorb_header_values() {
        let (at, path) = (section.place("extra_headers"), section.path.clone());
        let field = format!("{path}.{}", notice.field);
        section.report.notice(at, Notice { field, ..notice });
    }
    let names = definition
        .static_headers
        .keys()
        .map(|name| ("static_headers", name.as_str(), false));
    let names: Vec<_> = names
        .chain(
            definition
                .extra_headers
                .iter()
                .map(|name| ("extra_headers", name.as_str(), true)),
        )
        .collect();
    for (field, name, wildcard) in names {
        if let Err(reason) = checks::header_name(name, wildcard) {
            section.error(field, format!("{} {reason}", crate::error::shown(name)));
        }
    }
    for (name, value) in &definition.static_headers {
        if let Err(reason) = checks::header_value(value.expose()) {
            section.error(
                "static_headers",
                format!("the value of {} {reason}", crate::error::shown(name)),
            );
        }
    }
    if definition
        .extra_headers
        .iter()
        .any(|name| name.eq_ignore_ascii_case("authorization"))
    {
        section.warn(
            "extra_headers",
            "forwards the client's Authorization only where the client's gateway key is in x-litellm-api-key: the gateway's own key is never sent to a server.",
        );
    }
    definition.env_vars = env_vars(section);
}

fn env_vars(section: &mut Section<'_>) -> Vec<EnvVar> {
    let items = section.items("env_vars");
    let path = section.path_of("env_vars");
    let mut variables = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Some(mut item) = Section::open(format!("{path}[{index}]"), item.at, item, section.report) else {
            continue;
        };
        item.check_names(fields::ENV_VAR, |_| None);
        let Some(name) = item.text("name") else {
            let (at, path) = (item.at, item.path.clone());
            item.report.error(at, format!("{path} needs a `name`"));
            continue;
        };
        let scope = item
            .word("scope", &["global", "user"], EnvVarScope::parse)
            .unwrap_or(EnvVarScope::Global);
        let value = item.secret("value").unwrap_or_else(|| Secret::new(""));
        variables.push(EnvVar {
            name,
            value,
            scope,
            description: item.text("description"),
        });
    }
    variables
}

fn tools(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    definition.allowed_tools = section.texts("allowed_tools");
    definition.disallowed_tools = section.texts("disallowed_tools").unwrap_or_default();
    let allowed = definition.allowed_tools.as_deref().unwrap_or_default();
    if definition
        .disallowed_tools
        .iter()
        .any(|tool| allowed.contains(tool))
    {
        section.warn(
            "disallowed_tools",
            "names a tool that allowed_tools names too; it stays disallowed.",
        );
    }
    definition.allowed_params = section.texts_map("allowed_params");
    definition.pinned_tools = section.object("pinned_tools").map(Json::Object);
    if let Some(Json::Object(pins)) = &definition.pinned_tools
        && let Some(mistake) = trunkline_model::pins::mistake(pins)
    {
        section.error("pinned_tools", mistake);
    }
    definition.tool_name_to_display_name = section.text_map("tool_name_to_display_name");
    definition.tool_name_to_description = section.text_map("tool_name_to_description");
    if let Err(reason) = definition.check_display_names() {
        section.error("tool_name_to_display_name", reason);
    }
}

/// Rules about calls, which the model reads; each mistake at its place.
fn call_rules(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    if let Some(node) = section.node("tool_arguments") {
        match tool_rule::parse_arguments(&node.to_json()) {
            Ok(arguments) => definition.tool_arguments = arguments,
            Err(problems) => rule_problems(section, "tool_arguments", node, problems),
        }
    }
    if let Some(node) = section.node("tool_conditions") {
        match tool_rule::parse_conditions(&node.to_json(), false) {
            Ok(conditions) => definition.tool_conditions = conditions,
            Err(problems) => rule_problems(section, "tool_conditions", node, problems),
        }
    }
    if let Some(node) = section.node("tool_approval") {
        match tool_rule::parse_approval(&node.to_json()) {
            Ok(approval) => definition.tool_approval = approval,
            Err(problems) => rule_problems(section, "tool_approval", node, problems),
        }
    }
    definition.approval_by_user = section.boolean("approval_by_user").unwrap_or(false);
}

fn rule_problems(section: &mut Section<'_>, field: &str, node: &Node, problems: Vec<RuleProblem>) {
    for RuleProblem { path, message } in problems {
        let (mut node, mut place) = (Some(node), section.path_of(field));
        let mut at = section.place(field);
        for step in &path {
            node = node.and_then(|node| match (&node.value, step.parse::<usize>()) {
                (Value::List(items), Ok(index)) => items.get(index),
                _ => node.get(step),
            });
            at = node.map_or(at, |node| node.at);
            place = match step.parse::<usize>() {
                Ok(index) => format!("{place}[{index}]"),
                Err(_) => crate::error::join(&place, step),
            };
        }
        section.report.error(at, format!("{place}: {message}"));
    }
}

fn access_and_limits(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    definition.mcp_access_groups = section.texts("access_groups").unwrap_or_default();
    definition.allow_all_keys = section.boolean("allow_all_keys").unwrap_or(false);
    definition.available_on_public_internet = section.boolean("available_on_public_internet").unwrap_or(true);
    definition.timeout = section.positive("timeout");
    definition.tool_timeouts = section.seconds_map("tool_timeouts");
    definition.connect_timeout = section.positive("connect_timeout");
    definition.list_timeout = section.positive("list_timeout");
    let most = u64::from(u32::MAX);
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    definition.max_concurrent_requests = section.integer("max_concurrent_requests", 1, most).map(small);
    definition.rpm = section.integer("rpm", 0, most).map(small);
}

/// What a server needs to be contacted at all. Not asked where a reference is unset: that was said already.
fn consistency(section: &mut Section<'_>, definition: &ServerDefinition) {
    let (at, path) = (section.at, section.path.clone());
    match definition.transport {
        Transport::Stdio if definition.command.is_none() => {
            section
                .report
                .error(at, format!("{path} needs a `command` with `transport: stdio`"));
        }
        Transport::Http | Transport::Sse
            if definition.url.is_none() && definition.spec_path.is_none() && definition.spec.is_none() =>
        {
            let advice = if definition.command.is_some() {
                "; a server with a `command` needs `transport: stdio`"
            } else {
                ""
            };
            section.report.error(at, format!("{path} needs a `url`{advice}"));
        }
        _ => {}
    }
}

/// What is not served, of this entry.
fn notices(section: &mut Section<'_>, definition: &mut ServerDefinition) {
    for notice in definition
        .not_served()
        .into_iter()
        .chain(definition.program_notices())
    {
        // A notice is about a pair of fields: name the one that stands in the file.
        let name = match notice.field.as_str() {
            "oauth_passthrough" if definition.delegate_auth_to_upstream => "delegate_auth_to_upstream",
            name => name,
        };
        let (at, field) = (section.place(name), section.path_of(name));
        section.report.notice(at, Notice { field, ..notice });
    }
    for (name, what) in [
        ("allow_sampling", "sampling"),
        ("allow_elicitation", "elicitation"),
    ] {
        if section.boolean(name).is_some() {
            section.warn(
                name,
                format!(
                    "has no effect: {what} is served, and the server may ask whoever calls it where that client says that it answers, whatever is set. LiteLLM lets no server do that without `{name}: true`."
                ),
            );
        }
    }
    if section.node("spec_version").is_some() {
        section.warn(
            "spec_version",
            "has no effect, as in LiteLLM; `protocol_version` sets the revision.",
        );
    }
    if section
        .node("token_validation")
        .is_some_and(|node| !node.is_off())
    {
        section.error(
            "token_validation",
            "checking stored tokens is not served yet; leaving it out would accept others.",
        );
    }
    let binding = section
        .node("oauth_identity_binding")
        .filter(|node| !node.is_off());
    let mode = binding.and_then(|node| node.get("mode"));
    let disabled = mode.is_some_and(|mode| matches!(&mode.value, Value::Text(text) if text == "disabled"));
    if binding.is_some() && !disabled {
        section.error(
            "oauth_identity_binding",
            "binding tokens to the caller is not served yet; leaving it out would accept others.",
        );
    }
}
