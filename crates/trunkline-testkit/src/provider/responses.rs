//! The provider's responses, which it keeps: what it rejects, and how it says things.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::play::{Heard, Move, Pieces, Voice, halves, names, next_number, result, texts};
use super::{chat, error, known_only};
use crate::bare::{Bare, Said};

/// Members of a request that are known.
const RESPONSE: [&str; 23] = [
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
    "client_metadata",
];

/// Where the id of an answer is, beside its request.
const OWN_ID: &str = "\u{0}id";

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

pub(super) const VOICE: Voice = Voice {
    kind: "text/event-stream",
    whole,
    pieces,
    failure: chat::VOICE.failure,
};

pub(super) fn heard(body: &Value) -> Heard {
    let mut heard = Heard {
        tools: functions(&body["tools"]),
        ..Heard::default()
    };
    let mut asked = texts(&body["input"]);
    for item in body["input"].as_array().into_iter().flatten() {
        if item["type"] == "function_call_output" {
            heard.results.push(result(&item["output"]));
        } else if item["role"] == "user" {
            asked.extend(texts(&item["content"]));
        }
    }
    heard.answered = !heard.results.is_empty();
    heard.asked = asked.join("\n");
    heard
}

/// The names of functions; of one within a namespace with it before: `space::name`.
fn functions(tools: &Value) -> Vec<String> {
    let tools = tools.as_array().map(Vec::as_slice).unwrap_or_default();
    let all = tools.iter().flat_map(|tool| {
        let own = tool["name"].as_str().unwrap_or_default();
        match tool["type"].as_str() {
            Some("namespace") => names(&tool["tools"], "/name")
                .into_iter()
                .map(|name| format!("{own}::{name}"))
                .collect(),
            Some("function") => vec![own.to_owned()],
            _ => Vec::new(),
        }
    });
    all.collect()
}

/// Keeps what is said, unless it is not to be kept; the answer that was kept has another id than those before.
pub(super) fn keep(kept: &mut Kept, does: &Move, body: &mut Value) {
    if let Some(body) = body.as_object_mut() {
        let id = format!("resp_{:04}", NEXT.fetch_add(1, Ordering::Relaxed));
        body.insert(OWN_ID.to_owned(), id.into());
    }
    if body["store"] != false && matches!(does, Move::Say(_) | Move::Call(_)) {
        let whole = whole(does, body);
        let id = whole["id"].as_str().unwrap_or_default().to_owned();
        kept.0.push((id, body["input"].clone(), whole));
    }
}

fn whole(does: &Move, body: &Value) -> Value {
    let output: Vec<Value> = match does {
        Move::Call(calls) => (next_number(&body["input"])..)
            .zip(calls)
            .map(|(number, (name, arguments))| {
                // The name of a function within a namespace is of two parts.
                let (space, name) = name.split_once("::").unwrap_or(("", name.as_str()));
                let mut item = json!({
                    "id": format!("fc_{number}"), "type": "function_call", "status": "completed",
                    "call_id": format!("call_{number}"), "name": name, "arguments": arguments.to_string(),
                });
                if !space.is_empty() {
                    item["namespace"] = space.into();
                }
                item
            })
            .collect(),
        Move::Say(text) => {
            let part = json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
            vec![
                json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}),
            ]
        }
        _ => Vec::new(),
    };
    json!({
        "id": body[OWN_ID], "object": "response", "created_at": 1, "status": "completed", "model": body["model"],
        "background": body["background"] == true, "error": null, "incomplete_details": null, "output": output,
        "parallel_tool_calls": true, "previous_response_id": body["previous_response_id"], "tool_choice": "auto", "tools": [],
        "usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8},
    })
}

fn pieces(does: &Move, body: &Value) -> Pieces {
    let whole = whole(does, body);
    let mut young = whole.clone();
    young["status"] = "in_progress".into();
    young["output"] = json!([]);
    young["usage"] = Value::Null;
    let mut begin = vec![json!({"type": "response.created", "response": young})];
    let mut middle = Vec::new();
    if let Move::Say(text) = does {
        begin.extend([
            json!({"type": "response.output_item.added", "output_index": 0, "item": {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}}),
            json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}}),
        ]);
        let (first, second) = halves(text);
        let say = |text: &str| json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text, "logprobs": []});
        middle.extend([
            say(first),
            say(second),
            json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": text, "logprobs": []}),
            json!({"type": "response.content_part.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": whole["output"][0]["content"][0]}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": whole["output"][0]}),
        ]);
    } else {
        let items = whole["output"].as_array().into_iter().flatten().enumerate();
        middle.extend(items.flat_map(|(index, item)| call_pieces(index, item)));
    }
    let end = vec![json!({"type": "response.completed", "response": whole})];
    let mut number = 0;
    let mut events = |events: Vec<Value>| -> Vec<Bytes> {
        let events = events.into_iter().map(|mut event| {
            event["sequence_number"] = number.into();
            number += 1;
            Bytes::from(format!(
                "event: {}\ndata: {event}\n\n",
                event["type"].as_str().unwrap_or_default()
            ))
        });
        events.collect()
    };
    Pieces {
        begin: events(begin),
        middle: events(middle),
        end: events(end),
    }
}

fn call_pieces(index: usize, item: &Value) -> [Value; 5] {
    let mut begun = item.clone();
    begun["status"] = "in_progress".into();
    begun["arguments"] = "".into();
    let arguments = item["arguments"].as_str().unwrap_or_default();
    let (first, second) = halves(arguments);
    let delta = |text: &str| json!({"type": "response.function_call_arguments.delta", "item_id": item["id"], "output_index": index, "delta": text});
    [
        json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
        delta(first),
        delta(second),
        json!({"type": "response.function_call_arguments.done", "item_id": item["id"], "output_index": index, "name": item["name"], "arguments": arguments}),
        json!({"type": "response.output_item.done", "output_index": index, "item": item}),
    ]
}
