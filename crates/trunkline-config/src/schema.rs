//! The field table for editors and readers: a JSON schema, and the tables of `docs/configuration.md`.
//!
//! Both are committed. After a change of [`crate::fields`] or [`crate::known`], run the tests of this crate with
//! `UPDATE_DOCS=1` to write them again; without it the tests fail where they differ.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use trunkline_model::SANDBOX_FIELDS;

use crate::fields::{DEPLOYMENT, ENV_VAR, ENVIRONMENT, Field, GENERAL, Kind, LITELLM_PARAMS, ROUTER, SERVER};
use crate::known::{self, Fate};

/// A JSON schema (2020-12) of the file, for editors. It allows what LiteLLM knows and Trunkline does not serve, and marks
/// it as deprecated; `trunkline config check` says more than a schema can.
pub fn json_schema() -> Value {
    let mut top = Map::new();
    for (name, fate) in known::TOP_LEVEL {
        let schema = match *name {
            "mcp_servers" => json!({
                "type": ["object", "null"],
                "description": "MCP servers by name.",
                "additionalProperties": { "$ref": "#/$defs/server" },
            }),
            "model_list" => model_list(),
            "router_settings" => section(ROUTER, known::router_names(), known::router),
            "general_settings" => section(GENERAL, known::general_names(), known::general),
            "litellm_settings" => {
                let mut schema = section(&[], known::litellm_names(), known::litellm);
                schema["properties"]["mcp_aliases"] = json!({
                    "type": ["object", "null"],
                    "description": "Alias to server name; the first that names a server without an alias.",
                    "additionalProperties": { "type": "string" },
                });
                schema["properties"]["num_retries"] = json!({
                    "type": ["integer", "null"], "minimum": 0,
                    "description": "For `router_settings.num_retries` where that is not set.",
                });
                schema["properties"]["request_timeout"] = json!({
                    "type": ["number", "null"], "exclusiveMinimum": 0,
                    "description": "For `router_settings.timeout` where that is not set.",
                });
                for field in ROUTER
                    .iter()
                    .filter(|own| crate::router::GENERAL.contains(&own.name))
                {
                    if schema["properties"][field.name] == json!({}) {
                        schema["properties"][field.name] = property(&Field {
                            doc: "For the same of `router_settings` where that is not set.",
                            default: "",
                            ..*field
                        });
                    }
                }
                schema["properties"]["ssl_verify"] = json!({
                    "type": ["string", "boolean", "null"],
                    "description": "The authorities that servers without `tls_ca` are believed by: the path of a file, relative to this one. `true`: the machine's. `false` has no effect: certificates are always verified.",
                });
                schema
            }
            "environment_variables" => json!({
                "type": ["object", "null"],
                "description": "Variables for `os.environ/NAME`, before those of the process.",
                "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
            }),
            _ => not_served(*fate),
        };
        top.insert((*name).to_owned(), schema);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trunkline configuration",
        "description": "LiteLLM's config.yaml as Trunkline reads it. Any text may be a reference `os.environ/NAME`.",
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": top,
        "$defs": { "server": object(SERVER) },
    })
}

fn model_list() -> Value {
    let mut entry = object(DEPLOYMENT);
    let mut params = section(
        LITELLM_PARAMS,
        known::litellm_params_names(),
        known::litellm_params,
    );
    // Providers that are not served have parameters of their own.
    params["additionalProperties"] = true.into();
    entry["properties"]["litellm_params"] = params;
    json!({ "type": ["array", "null"], "description": "Models by name.", "items": entry })
}

fn section(
    served: &[Field],
    names: impl Iterator<Item = &'static str>,
    fate: impl Fn(&str) -> Option<Fate>,
) -> Value {
    let mut schema = object(served);
    for name in names {
        if schema["properties"].get(name).is_none() {
            schema["properties"][name] = fate(name).map_or_else(|| json!({}), not_served);
        }
    }
    schema
}

fn not_served(fate: Fate) -> Value {
    match fate {
        Fate::Served => json!({}),
        Fate::Ignored(effect) => {
            json!({ "deprecated": true, "description": format!("No effect: {}.", effect.as_str()) })
        }
        Fate::Refused(reason) => {
            json!({ "deprecated": true, "description": format!("Stops the start: {reason}") })
        }
    }
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), property(field)))
        .collect();
    json!({ "type": ["object", "null"], "additionalProperties": false, "properties": properties })
}

fn property(field: &Field) -> Value {
    let reference = json!({ "type": "string", "pattern": "^os\\.environ/" });
    let mut schema = match field.kind {
        Kind::Text | Kind::Secret => json!({ "type": ["string", "null"] }),
        Kind::Bool => json!({ "anyOf": [{ "type": ["boolean", "null"] }, reference] }),
        Kind::Integer => json!({ "anyOf": [{ "type": ["integer", "null"], "minimum": 0 }, reference] }),
        Kind::Seconds => {
            json!({ "anyOf": [{ "type": ["number", "null"], "exclusiveMinimum": 0 }, reference] })
        }
        Kind::Dollars => {
            json!({ "anyOf": [{ "type": ["number", "string", "null"], "minimum": 0 }, reference] })
        }
        Kind::Texts => json!({ "type": ["array", "null"], "items": { "type": "string" } }),
        Kind::TextOrTexts => json!({ "type": ["string", "array", "null"], "items": { "type": "string" } }),
        Kind::TextMap | Kind::SecretMap => {
            json!({ "type": ["object", "null"], "additionalProperties": { "type": ["string", "null"] } })
        }
        Kind::TextsMap => {
            json!({ "type": ["object", "null"], "additionalProperties": { "type": "array", "items": { "type": "string" } } })
        }
        Kind::SecondsMap => {
            json!({ "type": ["object", "null"], "additionalProperties": { "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, reference] } })
        }
        Kind::Object => json!({ "type": ["object", "null"] }),
        Kind::EnvVars => json!({ "type": ["array", "null"], "items": object(ENV_VAR) }),
        Kind::ToolArguments => tool_arguments(),
        Kind::ToolApproval => {
            json!({ "type": ["object", "null"], "additionalProperties": { "enum": ["never", "first_use", "always"] } })
        }
        Kind::ToolConditions => json!({ "type": ["array", "null"], "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["tools", "when"],
            "properties": {
                "tools": { "type": "array", "minItems": 1, "items": { "type": "string" } },
                "when": { "type": "string", "maxLength": 2048 },
                "reason": { "type": ["string", "null"], "maxLength": 300 },
            },
        } }),
        Kind::Fallbacks => fallbacks(),
        Kind::Aliases => json!({ "type": ["object", "null"], "additionalProperties": { "anyOf": [
            { "type": "string" },
            { "type": "object", "additionalProperties": false, "required": ["model"],
              "properties": { "model": { "type": "string" }, "hidden": { "type": ["boolean", "null"] } } },
        ] } }),
        Kind::Counts => counts(),
        Kind::CountsMap => json!({ "type": ["object", "null"], "additionalProperties": counts() }),
        Kind::Sandbox => sandbox(),
        Kind::Word(words) => json!({ "anyOf": [{ "enum": words }, { "type": "null" }, reference] }),
    };
    let default = if field.default.is_empty() {
        String::new()
    } else {
        format!(" Default: {}.", field.default)
    };
    schema["description"] = format!("{}{default}", field.doc).into();
    schema
}

fn fallbacks() -> Value {
    json!({ "type": ["array", "null"], "items": {
        "type": "object", "additionalProperties": { "type": "array", "items": { "type": "string" } },
    } })
}

fn counts() -> Value {
    json!({ "type": ["object", "null"], "additionalProperties": { "type": ["integer", "null"], "minimum": 0 } })
}

fn tool_arguments() -> Value {
    let claim =
        json!({ "type": "string", "pattern": "^(user_id|team_id|key_alias|end_user_id|metadata\\..+)$" });
    let filled = json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": { "value": {}, "default": {}, "value_from": claim, "default_from": claim },
    });
    json!({ "type": ["object", "null"], "additionalProperties": {
        "type": ["object", "null"], "additionalProperties": filled,
    } })
}

fn sandbox() -> Value {
    let count = json!({ "type": ["integer", "null"], "minimum": 0 });
    let texts = json!({ "type": ["array", "null"], "items": { "type": "string" } });
    let members: Map<String, Value> = SANDBOX_FIELDS
        .iter()
        .map(|(name, doc)| {
            let mut schema = match *name {
                "network" => json!({ "enum": ["allow", "deny", null] }),
                "ports" => json!({ "anyOf": [
                    { "type": ["array", "null"], "items": { "type": ["integer", "string"] } },
                    { "const": "any" },
                ] }),
                "read" | "write" => texts.clone(),
                _ => count.clone(),
            };
            schema["description"] = (*doc).into();
            ((*name).to_owned(), schema)
        })
        .collect();
    json!({ "anyOf": [
        { "enum": ["on", "off", true, false, null] },
        { "type": "object", "additionalProperties": false, "properties": members },
    ] })
}

/// The tables of `docs/configuration.md`, by the name of their place in it: Markdown.
pub fn reference_tables() -> Vec<(&'static str, String)> {
    vec![
        ("servers", table(SERVER)),
        ("env_vars", table(ENV_VAR)),
        ("sandbox", sandbox_table()),
        ("models", table(DEPLOYMENT)),
        ("litellm_params", table(LITELLM_PARAMS)),
        ("router", table(ROUTER)),
        ("general", table(GENERAL)),
        ("environment", environment()),
        ("refused", refused()),
        ("ignored", ignored()),
    ]
}

fn sandbox_table() -> String {
    let mut text = String::from("| Member | Meaning |\n|---|---|\n");
    for (name, meaning) in SANDBOX_FIELDS {
        let _ = writeln!(text, "| `{name}` | {meaning} |");
    }
    text
}

fn table(fields: &[Field]) -> String {
    let mut text = String::from("| Field | Type | Default | Meaning |\n|---|---|---|---|\n");
    for Field {
        name,
        kind,
        default,
        doc,
    } in fields
    {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{name}` | {} | {default} | {doc} |", words_of(*kind));
    }
    text
}

fn words_of(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Secret => "secret text".into(),
        Kind::Bool => "bool".into(),
        Kind::Integer => "integer".into(),
        Kind::Seconds | Kind::Dollars => "number".into(),
        Kind::Texts => "list of text".into(),
        Kind::TextOrTexts => "text or list".into(),
        Kind::TextMap => "name to text".into(),
        Kind::SecretMap => "name to secret text".into(),
        Kind::TextsMap => "name to list".into(),
        Kind::SecondsMap => "name to seconds".into(),
        Kind::Object => "mapping".into(),
        Kind::EnvVars => "list of variables".into(),
        Kind::ToolArguments => "tool to arguments".into(),
        Kind::ToolConditions => "list of conditions".into(),
        Kind::ToolApproval => "tool to word".into(),
        Kind::Fallbacks => "list of name to list".into(),
        Kind::Aliases => "name to text or mapping".into(),
        Kind::Counts => "name to integer".into(),
        Kind::CountsMap => "name to mapping".into(),
        Kind::Sandbox => "`off` or mapping".into(),
        Kind::Word(words) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn environment() -> String {
    let mut text = String::from("| Variable | Meaning |\n|---|---|\n");
    for (name, meaning) in ENVIRONMENT {
        let _ = writeln!(text, "| `{name}` | {meaning} |");
    }
    text
}

fn refused() -> String {
    let mut text = String::from("| Setting | Why |\n|---|---|\n");
    for (name, fate) in known::TOP_LEVEL {
        if let Fate::Refused(reason) = fate {
            let _ = writeln!(text, "| `{name}` | {reason} |");
        }
    }
    for (section, names) in [
        ("general_settings", known::GENERAL_REFUSED),
        ("litellm_settings", known::LITELLM_REFUSED),
        ("router_settings", known::ROUTER_REFUSED),
        ("litellm_params", known::PARAMS_REFUSED),
    ] {
        for (name, reason) in names {
            let _ = writeln!(text, "| `{section}.{name}` | {reason} |");
        }
    }
    let callbacks: Vec<String> = known::GUARDING_CALLBACKS
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let _ = writeln!(
        text,
        "| {} in `litellm_settings.callbacks` | calls would pass without the check. |",
        callbacks.join(", ")
    );
    text
}

fn ignored() -> String {
    let mut text = String::new();
    let top = known::TOP_LEVEL.iter().filter_map(|(name, fate)| match fate {
        Fate::Ignored(effect) => Some((*effect, *name)),
        Fate::Served | Fate::Refused(_) => None,
    });
    let mut by_effect: std::collections::BTreeMap<known::Effect, Vec<String>> =
        std::collections::BTreeMap::new();
    for (effect, name) in top {
        by_effect.entry(effect).or_default().push(format!("`{name}`"));
    }
    for (section, groups) in [
        ("general_settings", known::GENERAL_IGNORED),
        ("litellm_settings", known::LITELLM_IGNORED),
        ("router_settings", known::ROUTER_IGNORED),
        ("litellm_params", known::PARAMS_IGNORED),
    ] {
        for (effect, names) in groups {
            let names: Vec<String> = names.split_whitespace().map(|name| format!("`{name}`")).collect();
            by_effect
                .entry(*effect)
                .or_default()
                .push(format!("in `{section}`: {}", names.join(", ")));
        }
    }
    for (effect, names) in by_effect {
        let _ = writeln!(text, "- **{}**: {}", effect.as_str(), names.join("; "));
    }
    text
}
