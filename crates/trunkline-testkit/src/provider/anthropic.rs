//! The provider in Anthropic's dialect: what it rejects, and how it says things.

use bytes::Bytes;
use serde_json::{Value, json};

use super::known_only;
use super::play::{Heard, Move, Pieces, Voice, halves, names, next_number, result, texts};
use crate::bare::{Bare, Said};

/// Members of a request that are known.
const MESSAGE: [&str; 20] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "service_tier",
    "context_management",
    "mcp_servers",
    "container",
    "cache_control",
    "inference_geo",
];

/// Members of a block, by its type.
const BLOCKS: [(&str, &[&str]); 8] = [
    ("text", &["type", "text", "cache_control", "citations"]),
    ("image", &["type", "source", "cache_control"]),
    (
        "document",
        &["type", "source", "title", "context", "citations", "cache_control"],
    ),
    ("tool_reference", &["type", "tool_name"]),
    ("tool_use", &["type", "id", "name", "input", "cache_control"]),
    (
        "tool_result",
        &["type", "tool_use_id", "content", "is_error", "cache_control"],
    ),
    ("thinking", &["type", "thinking", "signature"]),
    ("redacted_thinking", &["type", "data"]),
];

fn error(status: u16, kind: &str, message: &str) -> Said {
    let body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
    Said::json(status, body.to_string()).with_header("request-id", "req_1")
}

fn invalid(message: &str) -> Said {
    error(400, "invalid_request_error", message)
}

/// What it does not take, of any request.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, and this is a test"
)]
pub(super) fn rejected(bare: &Bare, key: &str, models: &[String]) -> Result<Value, Said> {
    if bare.header("x-api-key") != Some(key) {
        return Err(error(401, "authentication_error", "invalid x-api-key"));
    }
    if bare.header("anthropic-version").is_none() {
        return Err(invalid("anthropic-version: header is required"));
    }
    let counts = match bare.head.uri.path() {
        "/v1/messages" => false,
        "/v1/messages/count_tokens" => true,
        _ => return Err(error(404, "not_found_error", "Not Found")),
    };
    let body: Value =
        serde_json::from_slice(&bare.body).map_err(|_| invalid("The request body is not valid JSON"))?;
    let betas = bare.header("anthropic-beta").unwrap_or_default();
    let is_new = [
        ("defer_loading", "advanced-tool-use-"),
        ("tool_reference", "advanced-tool-use-"),
        ("\"role\":\"system\"", "mid-conversation-"),
    ];
    let text = body.to_string();
    if let Some((name, beta)) = is_new
        .iter()
        .find(|(name, beta)| text.contains(name) && !betas.contains(beta))
    {
        return Err(invalid(&format!("{name}: needs the beta {beta}")));
    }
    match wrong(&body, counts) {
        Some(text) => Err(invalid(&text)),
        None if !models.iter().any(|own| body["model"] == own.as_str()) => Err(error(
            404,
            "not_found_error",
            &format!("model: {}", body["model"]),
        )),
        None => Ok(body),
    }
}

pub(super) fn wrong(body: &Value, counts: bool) -> Option<String> {
    if let Some(name) = known_only(body, &MESSAGE) {
        return Some(format!("{name}: Extra inputs are not permitted"));
    }
    let most = body["max_tokens"].as_u64().unwrap_or(0);
    if !counts && most == 0 {
        return Some("max_tokens: Field required".to_owned());
    }
    if counts && !body["max_tokens"].is_null() {
        return Some("max_tokens: Extra inputs are not permitted".to_owned());
    }
    if let Some(text) = body["system"].as_array().and_then(|own| blocks(own, &["text"])) {
        return Some(format!("system{text}"));
    }
    messages(body)
        .or_else(|| thinking(body, most))
        .or_else(|| tools(body))
}

fn blocks(blocks: &[Value], kinds: &[&str]) -> Option<String> {
    for (index, block) in blocks.iter().enumerate() {
        let kind = block["type"].as_str().unwrap_or_default();
        let known = BLOCKS.iter().find(|(own, _)| *own == kind && kinds.contains(own));
        let Some((_, known)) = known else {
            return Some(format!(
                ".{index}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
            ));
        };
        if let Some(name) = known_only(block, known) {
            return Some(format!(".{index}.{kind}.{name}: Extra inputs are not permitted"));
        }
        let is_missing = |name: &str| block[name].as_str().is_none_or(str::is_empty);
        let missing = match kind {
            "text" => is_missing("text").then_some("text"),
            "thinking" => is_missing("signature").then_some("signature"),
            "tool_use" if !block["input"].is_object() => Some("input"),
            "tool_use" => bad_id(&block["id"]).then_some("id"),
            "tool_result" => bad_id(&block["tool_use_id"]).then_some("tool_use_id"),
            "image" | "document" => (!block["source"].is_object()).then_some("source"),
            _ => None,
        };
        if let Some(name) = missing {
            return Some(format!(".{index}.{kind}.{name}: Field required, and not empty"));
        }
        if let Some(text) = block["content"]
            .as_array()
            .and_then(|own| self::blocks(own, &["text", "image", "document", "tool_reference"]))
        {
            return Some(format!(".{index}.{kind}.content{text}"));
        }
    }
    None
}

fn bad_id(id: &Value) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    id.as_str()
        .is_none_or(|id| id.is_empty() || !id.chars().all(is_good))
}

fn messages(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array().filter(|own| !own.is_empty());
    let Some(messages) = messages else {
        return Some("messages: at least one message is required".to_owned());
    };
    let mut calls: Vec<String> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if let Some(name) = known_only(message, &["role", "content"]) {
            return Some(format!("messages.{index}.{name}: Extra inputs are not permitted"));
        }
        if !matches!(role, "user" | "assistant" | "system") || (index == 0 && role != "user") {
            return Some(
                "messages: first message must use the \"user\" role, and all of them user or assistant"
                    .to_owned(),
            );
        }
        let own = match &message["content"] {
            Value::String(text) if !text.is_empty() => Vec::new(),
            Value::Array(own) if !own.is_empty() => own.clone(),
            _ => {
                return Some(format!(
                    "messages.{index}: all messages must have non-empty content"
                ));
            }
        };
        let kinds: &[&str] = if role == "system" {
            &["text"]
        } else if role == "user" {
            &["text", "image", "document", "tool_result"]
        } else {
            &["text", "tool_use", "thinking", "redacted_thinking"]
        };
        if let Some(text) = blocks(&own, kinds) {
            return Some(format!("messages.{index}.content{text}"));
        }
        let ids = |kind: &str, name: &str| -> Vec<String> {
            let own = own.iter().filter(|own| own["type"] == kind);
            own.map(|own| own[name].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        let results = ids("tool_result", "tool_use_id");
        if let Some(id) = results.iter().find(|id| !calls.contains(id)) {
            return Some(format!(
                "messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {id}"
            ));
        }
        if let Some(id) = calls.iter().find(|id| !results.contains(id)) {
            return Some(format!(
                "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {id}"
            ));
        }
        calls = ids("tool_use", "id");
    }
    let last = messages.last().filter(|own| own["role"] == "assistant")?;
    let text = last["content"].as_array()?.last()?["text"].as_str()?;
    text.ends_with(char::is_whitespace)
        .then(|| "messages: final assistant content cannot end with trailing whitespace".to_owned())
}

fn thinking(body: &Value, most: u64) -> Option<String> {
    let is_forced = matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool"));
    match body["thinking"]["type"].as_str() {
        None if body["thinking"].is_null() => return None,
        Some("disabled") => return None,
        Some("adaptive") => {}
        Some("enabled") => {
            let budget = body["thinking"]["budget_tokens"].as_u64().unwrap_or(0);
            if budget < 1024 {
                return Some(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
                        .to_owned(),
                );
            }
            if budget >= most && most > 0 {
                return Some("`max_tokens` must be greater than `thinking.budget_tokens`".to_owned());
            }
        }
        _ => return Some("thinking: Input tag does not match any of the expected tags".to_owned()),
    }
    if is_forced {
        return Some("Thinking may not be enabled when tool_choice forces tool use.".to_owned());
    }
    let last = body["messages"]
        .as_array()?
        .iter()
        .rfind(|own| own["role"] == "assistant")?;
    let blocks = last["content"].as_array()?;
    let calls = blocks.iter().any(|own| own["type"] == "tool_use");
    let thinks = blocks[0]["type"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("thinking"));
    (calls && !thinks).then(|| "Expected `thinking` or `redacted_thinking`, but found `tool_use`".to_owned())
}

fn tools(body: &Value) -> Option<String> {
    let tools = body["tools"].as_array().cloned().unwrap_or_default();
    for (index, tool) in tools.iter().enumerate().filter(|(_, own)| own["type"].is_null()) {
        let known = [
            "name",
            "description",
            "input_schema",
            "strict",
            "cache_control",
            "defer_loading",
        ];
        if let Some(name) = known_only(tool, &known) {
            return Some(format!(
                "tools.{index}.custom.{name}: Extra inputs are not permitted"
            ));
        }
        if tool["input_schema"]["type"] != "object" {
            return Some(format!("tools.{index}.custom.input_schema.type: Field required"));
        }
    }
    let choice = &body["tool_choice"];
    (tools.is_empty() && !choice.is_null() && choice["type"] != "none")
        .then(|| "tool_choice: may only be specified while providing tools".to_owned())
}

pub(super) const VOICE: Voice = Voice {
    kind: "text/event-stream",
    whole,
    pieces,
    failure: |status| {
        let kind = match status {
            401 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        error(status, kind, &format!("The model failed with {status}."))
    },
};

pub(super) fn heard(body: &Value) -> Heard {
    let mut heard = Heard {
        tools: names(&body["tools"], "/name"),
        ..Heard::default()
    };
    let mut asked = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        if message["role"] == "user" {
            asked.extend(texts(&message["content"]));
        }
        let blocks = message["content"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let results = blocks.iter().filter(|own| own["type"] == "tool_result");
        let results: Vec<String> = results.map(|own| result(&own["content"])).collect();
        heard.answered = !results.is_empty();
        heard.results.extend(results);
    }
    heard.asked = asked.join("\n");
    heard
}

/// How many tokens a request has.
pub(super) fn counted() -> Said {
    Said::json(200, json!({"input_tokens": 14}).to_string())
}

fn usage(output: u64) -> Value {
    json!({"input_tokens": 5, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 10, "output_tokens": output})
}

/// The answer, with what the model thought if it was told to.
fn whole(does: &Move, body: &Value) -> Value {
    let number = next_number(&body["messages"]);
    let mut content = Vec::new();
    if matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive")) {
        content.push(json!({"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}));
    }
    let stop = match does {
        Move::Call(calls) => {
            let calls = (number..).zip(calls).map(|(number, (name, arguments))| {
                json!({"type": "tool_use", "id": format!("toolu_{number}"), "name": name, "input": arguments})
            });
            content.extend(calls);
            "tool_use"
        }
        Move::Say(text) => {
            content.push(json!({"type": "text", "text": text}));
            "end_turn"
        }
        _ => "end_turn",
    };
    json!({
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "model": body["model"], "content": content,
        "stop_reason": stop, "stop_sequence": null, "usage": usage(3),
    })
}

fn pieces(does: &Move, body: &Value) -> Pieces {
    let event = |event: &Value| {
        let name = event["type"].as_str().unwrap_or_default();
        Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
    };
    let mut message = whole(does, body);
    let content = message["content"].take();
    let stop = message["stop_reason"].take();
    message["content"] = json!([]);
    message["usage"] = usage(1);
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut events: Vec<Bytes> = blocks
        .iter()
        .enumerate()
        .flat_map(|(index, block)| block_pieces(index, block))
        .map(|own| event(&own))
        .collect();
    let mut begin = vec![
        event(&json!({"type": "message_start", "message": message})),
        event(&json!({"type": "ping"})),
    ];
    // A text's own beginning is no piece of it.
    if matches!(does, Move::Say(_)) && blocks.len() == 1 {
        begin.push(events.remove(0));
    }
    Pieces {
        begin,
        middle: events,
        end: vec![
            event(
                &json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 3}}),
            ),
            event(&json!({"type": "message_stop"})),
        ],
    }
}

fn block_pieces(index: usize, block: &Value) -> Vec<Value> {
    let (begin, deltas) = match block["type"].as_str() {
        Some("thinking") => (
            json!({"type": "thinking", "thinking": "", "signature": ""}),
            vec![
                json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                json!({"type": "signature_delta", "signature": block["signature"]}),
            ],
        ),
        Some("tool_use") => {
            let begin = json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}});
            let text = block["input"].to_string();
            let (first, second) = halves(&text);
            let part = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
            (begin, vec![part(""), part(first), part(second)])
        }
        _ => {
            let (first, second) = halves(block["text"].as_str().unwrap_or_default());
            let part = |text: &str| json!({"type": "text_delta", "text": text});
            (
                json!({"type": "text", "text": ""}),
                vec![part(first), part(second)],
            )
        }
    };
    let mut events = vec![json!({"type": "content_block_start", "index": index, "content_block": begin})];
    let deltas = deltas.into_iter();
    events.extend(deltas.map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})));
    events.push(json!({"type": "content_block_stop", "index": index}));
    events
}
