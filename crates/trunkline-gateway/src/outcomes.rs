//! Outcomes as clients read them: the same object in `_meta`, REST and errors.

use serde_json::{Map, Value, json};
use trunkline_model::{Outcome, OutcomeStatus};

/// The member of a list result's `_meta` that LiteLLM's clients know.
pub const META_KEY: &str = "litellm.ai/server_outcomes";

/// One server's outcome. `status` and `tool_count` are LiteLLM's; the rest says where, why and what to do, and what was left
/// out of a list that is otherwise there.
pub fn to_json(outcome: &Outcome, tool_count: Option<usize>, stale: bool) -> Value {
    let mut object = Map::new();
    object.insert("status".into(), outcome.status.as_str().into());
    if let Some(count) = tool_count {
        object.insert("tool_count".into(), count.into());
    }
    if stale {
        object.insert("stale".into(), true.into());
    }
    if !outcome.is_ok() {
        object.insert("step".into(), outcome.step.as_str().into());
        if let Some(status) = outcome.http_status {
            object.insert("http_status".into(), status.into());
        }
        object.insert("message".into(), outcome.message.as_str().into());
        if let Some(hint) = &outcome.hint {
            object.insert("hint".into(), hint.as_str().into());
        }
        if let Some(after) = outcome.retry_after_s {
            object.insert("retry_after_s".into(), after.into());
        }
    }
    let rejected = &outcome.rejected;
    if rejected.count > 0 {
        let items: Vec<Value> = rejected
            .items
            .iter()
            .map(|item| json!({"name": item.name, "reason": item.reason}))
            .collect();
        object.insert("rejected".into(), items.into());
        object.insert("rejected_count".into(), rejected.count.into());
    }
    object.insert("at".into(), outcome.at.to_string().into());
    object.insert("duration_ms".into(), outcome.duration_ms.into());
    Value::Object(object)
}

/// A name in the request that selects no server.
pub fn unresolved() -> Value {
    json!({
        "status": OutcomeStatus::Misconfigured.as_str(),
        "step": "configuration",
        "message": "no server, alias or access group has this name",
        "hint": "check the name in the path or in x-mcp-servers",
    })
}
