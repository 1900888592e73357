//! The gateway's side of an import: `POST /v1/mcp/server/import`, and the first check of what it made.

use http::Method;
use serde_json::{Map, Value, json};
use trunkline_client::Gateway;
use trunkline_model::count;

use crate::failure::Failure;
use crate::terminal;

/// What the gateway made of servers.
pub(crate) struct Report {
    /// `name`, `server_id`, `alias`, `transport`, `warnings`
    pub(crate) imported: Vec<Value>,
    /// `name`, `reason`
    pub(crate) skipped: Vec<Value>,
    /// `name`, `error`, `status`
    pub(crate) errors: Vec<Value>,
}

/// Registers servers that a client's file describes, or says what would happen.
pub(crate) async fn import(
    gateway: &Gateway,
    servers: &Map<String, Value>,
    dry_run: bool,
) -> Result<Report, Failure> {
    let path = format!("/v1/mcp/server/import?dry_run={dry_run}");
    let mut answer = gateway
        .json(Method::POST, &path, Some(&json!({"mcpServers": servers})))
        .await?;
    let mut list = |key: &str| match answer[key].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    Ok(Report {
        imported: list("imported"),
        skipped: list("skipped"),
        errors: list("errors"),
    })
}

/// Asks the gateway whether servers work, now.
pub(crate) async fn check(gateway: &Gateway, ids: &[String]) -> Result<Vec<Value>, Failure> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(ids.iter().map(|id| ("server_ids", id)));
    let path = format!("/v1/mcp/server/health?{}", query.finish());
    match gateway.json(Method::GET, &path, None).await? {
        Value::Array(list) => Ok(list),
        _ => Ok(Vec::new()),
    }
}

/// One check in words: whether it works, what was found, what to do.
pub(crate) fn outcome(health: &Value) -> (bool, String, Option<String>) {
    let outcome = &health["outcome"];
    if outcome["status"] == "ok" {
        let tools = match health["tool_count"].as_u64() {
            Some(number) => count(number, "tool"),
            None => "its tools are not known yet".to_owned(),
        };
        return (true, format!("ok, {tools}"), None);
    }
    let hint = outcome["hint"]
        .as_str()
        .map(|hint| terminal::one_line(hint, 1000));
    (false, crate::tools::reason(outcome), hint)
}

/// A text of an answer, safe to print.
pub(crate) fn text(value: &Value) -> String {
    terminal::one_line(value.as_str().unwrap_or_default(), 1000)
}
