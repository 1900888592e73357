//! The provider's responses, which it keeps: what it rejects, and what it says where nothing is scripted.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use serde_json::{Value, json};

use super::{error, known_only, stream};
use crate::bare::{Bare, Said};

/// Members of a request that are known.
const RESPONSE: [&str; 22] = [
    "model",
    "input",
    "instructions",
    "previous_response_id",
    "stream",
    "stream_options",
    "store",
    "include",
    "temperature",
    "top_p",
    "max_output_tokens",
    "metadata",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "truncation",
    "user",
    "background",
    "service_tier",
    "prompt_cache_key",
];

/// Ids are of one provider alone, as everywhere.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What was asked and answered, by its id.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<(String, Value, Value)>);

fn not_found(id: &str) -> Said {
    error(
        404,
        &format!("Response with id '{id}' not found."),
        "invalid_request_error",
        "",
    )
}

/// What is said about a response that is kept.
pub(super) fn about(kept: &mut Kept, (bare, path): (&Bare, &str)) -> Option<Said> {
    let rest = path.strip_prefix("/v1/responses/")?;
    let (id, what) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(at) = kept.0.iter().position(|(own, ..)| own == id) else {
        return Some(not_found(id));
    };
    let (_, input, answer) = &mut kept.0[at];
    let text = match (&bare.head.method, what) {
        (&Method::GET, "") => answer.to_string(),
        (&Method::GET, "input_items") => {
            let item = json!({"id": "msg_in", "type": "message", "role": "user", "content": [{"type": "input_text", "text": input}]});
            json!({"object": "list", "data": [item], "first_id": "msg_in", "last_id": "msg_in", "has_more": false})
                .to_string()
        }
        (&Method::POST, "cancel") if answer["background"] == true => {
            answer["status"] = "cancelled".into();
            answer.to_string()
        }
        (&Method::POST, "cancel") => {
            let text = "Cannot cancel a synchronous response.";
            return Some(error(400, text, "invalid_request_error", ""));
        }
        (&Method::DELETE, "") => {
            kept.0.remove(at);
            json!({"id": id, "object": "response", "deleted": true}).to_string()
        }
        _ => return Some(error(405, "Method not allowed", "invalid_request_error", "")),
    };
    Some(Said::json(200, text))
}

/// What is wrong with a request for a new one.
pub(super) fn rejected(kept: &Kept, body: &Value, models: &[String]) -> Option<Said> {
    let invalid = |text: String| Some(error(400, &text, "invalid_request_error", ""));
    if let Some(name) = known_only(body, &RESPONSE) {
        return invalid(format!("Unknown parameter: '{name}'."));
    }
    let model = body["model"].as_str().unwrap_or_default();
    if !models.iter().any(|own| own == model) {
        return invalid(format!("The requested model '{model}' does not exist."));
    }
    if let Some(id) = body["previous_response_id"].as_str()
        && !kept.0.iter().any(|(own, ..)| own == id)
    {
        return invalid(format!("Previous response with id '{id}' not found."));
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        if tool["type"] == "function" && !tool["name"].is_string() {
            return invalid("Missing required parameter: 'tools[0].name'.".to_owned());
        }
    }
    None
}

/// What it says where nothing is scripted: a word, or a tool call if tools were given and none was answered.
pub(super) fn usual(kept: &mut Kept, body: &Value) -> Said {
    let id = format!("resp_{:04}", NEXT.fetch_add(1, Ordering::Relaxed));
    let input = body["input"].to_string();
    let called = body["tools"][0]["name"]
        .as_str()
        .filter(|_| !input.contains("function_call_output"));
    let item = if let Some(name) = called {
        json!({"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": name, "arguments": "{\"city\":\"Oslo\"}"})
    } else {
        let part = json!({"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []});
        json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]})
    };
    let mut answer = json!({
        "id": id, "object": "response", "created_at": 1, "status": "completed", "model": body["model"],
        "background": body["background"] == true, "error": null, "incomplete_details": null, "output": [item],
        "parallel_tool_calls": true, "previous_response_id": body["previous_response_id"], "tool_choice": "auto", "tools": [],
        "usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8},
    });
    let whole = answer.clone();
    if body["store"] != false {
        kept.0.push((id, body["input"].clone(), whole.clone()));
    }
    if body["stream"] != true {
        return Said::json(200, whole.to_string());
    }
    answer["status"] = "in_progress".into();
    answer["output"] = json!([]);
    answer["usage"] = Value::Null;
    let mut events = vec![json!({"type": "response.created", "response": answer})];
    if called.is_none() {
        events.extend([
            json!({"type": "response.output_item.added", "output_index": 0, "item": {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}}),
            json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}}),
            json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "Hello", "logprobs": []}),
            json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": "Hello", "logprobs": []}),
        ]);
    }
    events.extend([
        json!({"type": "response.output_item.done", "output_index": 0, "item": whole["output"][0]}),
        json!({"type": "response.completed", "response": whole}),
    ]);
    let texts = events.into_iter().enumerate().map(|(number, mut event)| {
        event["sequence_number"] = number.into();
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or_default()
        )
    });
    stream(texts.collect())
}
