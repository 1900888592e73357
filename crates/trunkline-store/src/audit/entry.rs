//! What a row of the log says of an object: the columns that are other ones than before. No secret is in it, neither clear nor
//! sealed, and no value is larger than [`MAX_VALUE`].

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::db::Value;
use crate::server_row::{Cell, SEALED, pins_json};

/// JSON of one column, bytes. A server's OpenAPI document may be megabytes.
const MAX_VALUE: usize = 8 * 1024;
/// JSON of all columns of one side, bytes.
const MAX_VALUES: usize = 64 * 1024;
/// Names and ids, bytes.
const MAX_TEXT: usize = 1024;

/// The wire's names of what rows are about: LiteLLM's tables.
pub(crate) const KEYS: &str = "LiteLLM_VerificationToken";
pub(crate) const TEAMS: &str = "LiteLLM_TeamTable";
pub(crate) const USERS: &str = "LiteLLM_UserTable";
pub(crate) const ORGANIZATIONS: &str = "LiteLLM_OrganizationTable";
pub(crate) const END_USERS: &str = "LiteLLM_EndUserTable";
pub(crate) const BUDGETS: &str = "LiteLLM_BudgetTable";
pub(crate) const SERVERS: &str = "LiteLLM_MCPServerTable";
pub(crate) const MODELS: &str = "LiteLLM_ProxyModelTable";
pub(crate) const TOOLSETS: &str = "LiteLLM_MCPToolsetTable";
/// Calls that somebody has to say yes to.
pub(crate) const CALL_APPROVALS: &str = "trunkline_call_approval";
pub(crate) const CONFIG: &str = "LiteLLM_Config";
pub(crate) const AUDIT_LOG: &str = "LiteLLM_AuditLog";
/// The schema of the database.
pub(crate) const SCHEMA: &str = "trunkline_schema";

/// In place of a secret.
const SECRET: &str = "(secret)";
/// In place of one that is another than before.
const OTHER_SECRET: &str = "(another secret)";

/// Columns that change with every write, and say nothing that the row does not.
const STAMPS: [&str; 4] = ["updated_at", "updated_by", "delegated_revision", "revision"];

/// Columns that hold JSON.
const JSON: [&str; 37] = [
    "litellm_params",
    "model_info",
    "delegation",
    "team_member_permissions",
    "model_max_budget",
    "previous_tokens",
    "metadata",
    "allowed_routes",
    "object_permission",
    "mcp_rpm_limit",
    "model_rpm_limit",
    "model_tpm_limit",
    "members_with_roles",
    "members",
    "tools",
    "mcp_info",
    "mcp_access_groups",
    "allowed_tools",
    "disallowed_tools",
    "allowed_params",
    "tool_arguments",
    "tool_conditions",
    "tool_approval",
    "tool_name_to_display_name",
    "tool_name_to_description",
    "pinned_tools",
    "extra_headers",
    "args",
    "sandbox",
    "spec",
    "openapi",
    "byok_description",
    "static_headers",
    "env_vars",
    "env",
    "credentials",
    "tls_client_key",
];

/// Words in the name of a member that say that its value is a secret. `metadata` and `mcp_info` are whatever people put in.
const SECRET_WORDS: [&str; 13] = [
    "secret",
    "password",
    "passwd",
    "api_key",
    "apikey",
    "token",
    "authorization",
    "credential",
    "private_key",
    "passphrase",
    "access_key",
    "bearer",
    "cookie",
];

/// A row of the log, but for its number, its time and who it was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) action: &'static str,
    pub(crate) table: &'static str,
    pub(crate) object_id: String,
    pub(crate) before: Option<Map<String, Json>>,
    pub(crate) after: Option<Map<String, Json>>,
    /// What is no column of an object.
    pub(crate) details: Map<String, Json>,
}

impl Entry {
    /// What became of an object, whose cells were `before`, and are `after`.
    pub(crate) fn of(table: &'static str, id: &str, before: Option<&[Cell]>, after: Option<&[Cell]>) -> Self {
        let action = action(before, after);
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => {
                let (before, after) = difference(before, after);
                (Some(before), Some(after))
            }
            (before, after) => (before.map(whole), after.map(whole)),
        };
        Self {
            action,
            table,
            object_id: id.to_owned(),
            before: before.map(bounded),
            after: after.map(bounded),
            details: Map::new(),
        }
    }

    /// What became of something that is no row.
    pub(crate) fn of_values(table: &'static str, id: &str, after: Map<String, Json>) -> Self {
        Self {
            after: Some(bounded(after)),
            ..Self::about("updated", table, id, Map::new())
        }
    }

    /// What has no columns.
    pub(crate) fn about(
        action: &'static str,
        table: &'static str,
        id: &str,
        details: Map<String, Json>,
    ) -> Self {
        Self {
            action,
            table,
            object_id: id.to_owned(),
            before: None,
            after: None,
            details: bounded(details),
        }
    }
}

/// LiteLLM's words.
fn action(before: Option<&[Cell]>, after: Option<&[Cell]>) -> &'static str {
    let (before, after) = match (before, after) {
        (None, _) => return "created",
        (_, None) => return "deleted",
        (Some(before), Some(after)) => (before, after),
    };
    let of = |cells: &[Cell], name: &str| {
        let cell = cells.iter().find(|(column, _)| *column == name);
        cell.map(|(_, value)| value.clone())
    };
    let is_blocked = |cells: &[Cell]| of(cells, "blocked") == Some(Value::Bool(Some(true)));
    if of(before, "token") != of(after, "token") {
        return "rotated";
    }
    match (is_blocked(before), is_blocked(after)) {
        (false, true) => "blocked",
        (true, false) => "unblocked",
        _ => "updated",
    }
}

fn whole(cells: &[Cell]) -> Map<String, Json> {
    let said = cells.iter().filter(|(column, _)| *column != "revision");
    said.map(|(column, value)| ((*column).to_owned(), shown(column, value)))
        .collect()
}

/// The columns that differ, as they were and as they are.
fn difference(before: &[Cell], after: &[Cell]) -> (Map<String, Json>, Map<String, Json>) {
    let (mut was, mut is) = (Map::new(), Map::new());
    for ((column, old), (_, new)) in before.iter().zip(after) {
        if old == new || STAMPS.contains(column) {
            continue;
        }
        let (old, mut new) = (shown(column, old), shown(column, new));
        if SEALED.contains(column) && old == new {
            new = OTHER_SECRET.into();
        }
        was.insert((*column).to_owned(), old);
        is.insert((*column).to_owned(), new);
    }
    (was, is)
}

/// A cell as the log has it.
fn shown(column: &str, value: &Value) -> Json {
    if SEALED.contains(&column) {
        return match value {
            Value::Text(None) | Value::Shared(None) => Json::Null,
            _ => SECRET.into(),
        };
    }
    match value {
        Value::Text(None)
        | Value::Shared(None)
        | Value::Int(None)
        | Value::Bool(None)
        | Value::Double(None) => Json::Null,
        Value::Bool(Some(value)) => (*value).into(),
        Value::Double(Some(value)) => (*value).into(),
        Value::Int(Some(value)) if column.ends_with("_at") || column == "expires" => {
            Timestamp::from_microsecond(*value).map_or_else(|_| (*value).into(), |at| at.to_string().into())
        }
        Value::Int(Some(value)) => (*value).into(),
        Value::Text(Some(text)) if JSON.contains(&column) => match serde_json::from_str(pins_json(text)) {
            Ok(mut value) => {
                hide_secrets(&mut value);
                value
            }
            Err(_) => text.as_str().into(),
        },
        Value::Text(Some(text)) => text.as_str().into(),
        Value::Shared(Some(text)) => (**text).into(),
    }
}

/// Puts a word in place of what is a secret by its name.
fn hide_secrets(value: &mut Json) {
    match value {
        Json::Object(members) => {
            for (name, value) in members {
                let name = name.to_lowercase().replace('-', "_");
                // All of it, whatever its shape. Nothing and a switch are no secrets.
                let is_value = !matches!(value, Json::Null | Json::Bool(_));
                if is_value && SECRET_WORDS.iter().any(|word| name.contains(word)) {
                    *value = SECRET.into();
                } else {
                    hide_secrets(value);
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

/// Leaves out what is too large, and says how large it was.
fn bounded(values: Map<String, Json>) -> Map<String, Json> {
    let mut left = MAX_VALUES;
    let bound = |(name, value): (String, Json)| {
        let bytes = value.to_string().len();
        if bytes <= MAX_VALUE.min(left) {
            left -= bytes;
            return (name, value);
        }
        (
            name,
            json!({"left_out": "too large for the audit log", "bytes": bytes}),
        )
    };
    values.into_iter().map(bound).collect()
}

/// A name or an id. What is too long is cut, and ends in `…`.
pub(crate) fn bounded_text(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = (0..=MAX_TEXT)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(secret: &str, blocked: bool, metadata: &str) -> Vec<Cell> {
        vec![
            ("token", "t".into()),
            ("credentials", secret.into()),
            ("blocked", Value::Bool(Some(blocked))),
            ("metadata", metadata.into()),
            ("updated_at", 1.into()),
        ]
    }

    #[test]
    fn s14_a_secret_is_said_and_not_told() {
        let (old, new) = (
            cells("canary-a", false, "{}"),
            cells(
                "canary-b",
                false,
                r#"{"x":{"API-Key":"canary-c"},"api_keys":["canary-d"],"password":{"value":"canary-e"}}"#,
            ),
        );
        let made = Entry::of("t", "id", None, Some(&old));
        assert_eq!(made.action, "created");
        assert_eq!(made.after.as_ref().unwrap()["credentials"], SECRET);
        let changed = Entry::of("t", "id", Some(&old), Some(&new));
        assert_eq!(changed.action, "updated");
        assert_eq!(
            Json::from(changed.before.clone().unwrap()),
            json!({"credentials": SECRET, "metadata": {}})
        );
        assert_eq!(
            Json::from(changed.after.clone().unwrap()),
            json!({"credentials": OTHER_SECRET, "metadata": {"x": {"API-Key": SECRET}, "api_keys": SECRET, "password": SECRET}})
        );
        assert!(!format!("{made:?}{changed:?}").contains("canary"));
    }

    #[test]
    fn blocking_is_told_from_changing() {
        let (free, blocked) = (cells("s", false, "{}"), cells("s", true, "{}"));
        assert_eq!(
            Entry::of("t", "id", Some(&free), Some(&blocked)).action,
            "blocked"
        );
        assert_eq!(
            Entry::of("t", "id", Some(&blocked), Some(&free)).action,
            "unblocked"
        );
        assert_eq!(Entry::of("t", "id", Some(&free), Some(&free)).action, "updated");
        assert_eq!(Entry::of("t", "id", Some(&free), None).action, "deleted");
    }

    #[test]
    fn what_is_too_large_is_left_out_and_said() {
        let large = format!("\"{}\"", "x".repeat(MAX_VALUE));
        let entry = Entry::of("t", "id", None, Some(&cells("s", false, &large)));
        assert_eq!(entry.after.unwrap()["metadata"]["bytes"], MAX_VALUE + 2);
        assert!(bounded_text(&"é".repeat(MAX_TEXT)).len() <= MAX_TEXT + 3);
        let many = (0..20)
            .map(|n| (n.to_string(), Json::from("x".repeat(8000))))
            .collect();
        assert!(Json::from(bounded(many)).to_string().len() < MAX_VALUES + 20 * 80);
    }
}
