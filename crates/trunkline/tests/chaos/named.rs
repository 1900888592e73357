//! Whether a failure that a client sees says what it must: which kind, which server, and what to do.

use serde_json::Value;
use trunkline_testkit::Reply;

use crate::RELAYED;

/// The kinds of docs/troubleshooting.md that a server in trouble may have. `internal` is not among them.
const KINDS: [&str; 8] = [
    "auth_required",
    "forbidden",
    "rate_limited",
    "timeout",
    "unreachable",
    "upstream_error",
    "protocol_error",
    "misconfigured",
];

/// An answer over MCP: a result, or a failure that is named; else what is wrong with it.
pub(crate) fn over_mcp(reply: &Reply, server: &str) -> Result<bool, String> {
    let text = reply.text();
    let last = text.lines().rev().find_map(|line| line.strip_prefix("data: "));
    let message: Value =
        serde_json::from_str(last.unwrap_or(&text)).map_err(|_| "no message at all".to_owned())?;
    if reply.status.is_server_error() {
        return Err("a bare HTTP error".to_owned());
    }
    if let Some(result) = message.get("result") {
        return answered(result, &result["_meta"]["litellm.ai/server_outcomes"][server]);
    }
    let error = &message["error"];
    let words = error["message"].as_str().unwrap_or_default();
    // The server's own error is the server's to word.
    if words.contains(RELAYED) || is_of_script(words) {
        return Ok(false);
    }
    let data = &error["data"];
    let outcomes = &data["litellm.ai/server_outcomes"];
    let outcome = if outcomes.is_object() {
        &outcomes[server]
    } else if data["server"] == server {
        &data["outcome"]
    } else {
        return Err("its data names no server".to_owned());
    };
    if !words.contains(server) {
        return Err("its message does not name the server".to_owned());
    }
    complete(outcome).map(|()| false)
}

/// A result that says what it must: no list is shorter without a word.
fn answered(result: &Value, outcome: &Value) -> Result<bool, String> {
    if !result.is_object() {
        return Err("its result is none".to_owned());
    }
    let is_whole = outcome.is_null() || outcome["status"] == "ok";
    match result
        .get("tools")
        .map(|tools| tools.as_array().map_or(0, Vec::len))
    {
        Some(0) if is_whole => Err("there are no tools, and nothing says why".to_owned()),
        _ if is_whole => Ok(true),
        _ => complete(outcome).map(|()| false),
    }
}

/// An answer over REST.
pub(crate) fn over_rest(reply: &Reply, server: &str) -> Result<bool, String> {
    let body: Value = serde_json::from_str(&reply.text()).map_err(|_| "no JSON".to_owned())?;
    if reply.status.is_success() {
        return answered(&body, &body["server_outcomes"][server]);
    }
    if reply.status.as_u16() == 500 {
        return Err("a bare 500".to_owned());
    }
    let detail = &body["detail"];
    let words = detail["message"].as_str().unwrap_or_default();
    if detail["jsonrpc_error"].is_object() && (words.contains(RELAYED) || is_of_script(words)) {
        return Ok(false);
    }
    let kind = detail["error"].as_str().unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Err(format!("{kind:?} is no kind of failure"));
    }
    if !words.contains(server) {
        return Err("its message does not name the server".to_owned());
    }
    if !words.contains("Hint: ") {
        return Err("it does not say what to do".to_owned());
    }
    Ok(false)
}

/// What the scripted server says by itself, in errors that are relayed.
fn is_of_script(words: &str) -> bool {
    [
        "Unknown tool: echo",
        "Parse error",
        "Unsupported protocol version",
    ]
    .iter()
    .any(|own| words.contains(own))
}

fn complete(outcome: &Value) -> Result<(), String> {
    let text = |name: &str| outcome[name].as_str().unwrap_or_default().trim().to_owned();
    if !KINDS.contains(&text("status").as_str()) {
        return Err(format!("{:?} is no kind of failure", text("status")));
    }
    if text("message").is_empty() {
        return Err("it does not say what happened".to_owned());
    }
    if text("hint").is_empty() {
        return Err("it does not say what to do".to_owned());
    }
    Ok(())
}
