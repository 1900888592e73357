//! Chats, completions and vectors of OpenAI's dialect: what it rejects, and how it says things.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::play::{Heard, Move, Pieces, Voice, halves, names, next_number, result, texts};
use super::{error, known_only};
use crate::bare::Said;

/// Members of a request that are known.
const CHAT: [&str; 23] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "n",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "seed",
    "user",
    "logprobs",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "metadata",
    "reasoning_effort",
    // Of servers of one's own.
    "top_k",
];
const TEXT: [&str; 10] = [
    "model",
    "prompt",
    "stream",
    "stream_options",
    "temperature",
    "max_tokens",
    "n",
    "stop",
    "user",
    "echo",
];
const EMBEDDINGS: [&str; 5] = ["model", "input", "encoding_format", "dimensions", "user"];

/// What is wrong with the conversation, or with the choice of tools.
fn conversation(body: &Value) -> Option<String> {
    const MEMBERS: [&str; 6] = ["role", "content", "name", "refusal", "tool_calls", "tool_call_id"];
    let mut calls: Vec<&str> = Vec::new();
    for (index, message) in body["messages"].as_array()?.iter().enumerate() {
        if let Some(name) = known_only(message, &MEMBERS) {
            return Some(format!(
                "Additional properties are not allowed: messages[{index}].{name}"
            ));
        }
        let role = message["role"].as_str().unwrap_or_default();
        if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool") {
            return Some(format!("Invalid value: messages[{index}].role"));
        }
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let Some(at) = calls.iter().position(|own| *own == id) else {
                return Some(
                    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
                        .to_owned(),
                );
            };
            calls.remove(at);
        } else if !calls.is_empty() {
            return Some(format!("tool_call_ids did not have response messages: {calls:?}"));
        }
        for part in message["content"].as_array().into_iter().flatten() {
            let kind = part["type"].as_str().unwrap_or_default();
            if !part[kind].is_string() && !part[kind].is_object() || (role != "user" && kind != "text") {
                return Some(format!("Invalid content: messages[{index}] has {part}"));
            }
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str().unwrap_or("no text");
            if serde_json::from_str::<Value>(arguments).is_err() {
                return Some(format!("Invalid arguments: messages[{index}]"));
            }
            calls.extend(call["id"].as_str());
        }
    }
    let has_choice = !body["tool_choice"].is_null() || !body["parallel_tool_calls"].is_null();
    let has_tools = body["tools"].as_array().is_some_and(|own| !own.is_empty());
    (has_choice && !has_tools).then(|| "'tool_choice' is only allowed when 'tools' are specified.".to_owned())
}

/// What it does not take.
pub(super) fn rejected(path: &str, body: &Value, models: &[String]) -> Option<Said> {
    let known: &[&str] = match path {
        "/v1/chat/completions" => &CHAT,
        "/v1/completions" => &TEXT,
        "/v1/embeddings" => &EMBEDDINGS,
        _ => {
            return Some(error(
                404,
                "Unknown request URL",
                "invalid_request_error",
                "unknown_url",
            ));
        }
    };
    let invalid = |text: String| Some(error(400, &text, "invalid_request_error", ""));
    if !body.is_object() {
        return invalid("the body is no object".to_owned());
    }
    if let Some(name) = known_only(body, known) {
        return invalid(format!("Unrecognized request argument supplied: {name}"));
    }
    let model = body["model"].as_str().unwrap_or_default();
    if !models.iter().any(|own| own == model) {
        let text = format!("The model `{model}` does not exist or you do not have access to it.");
        return Some(error(404, &text, "invalid_request_error", "model_not_found"));
    }
    let is_list = |name: &str| body[name].as_array().is_some_and(|items| !items.is_empty());
    let wanted = [
        ("messages", is_list("messages")),
        ("prompt", !body["prompt"].is_null()),
        ("input", !body["input"].is_null()),
    ];
    let missing = wanted
        .iter()
        .find(|(name, is_there)| known.contains(name) && !is_there);
    if let Some((name, _)) = missing {
        return invalid(format!("Missing required parameter: '{name}'."));
    }
    conversation(body).and_then(invalid)
}

pub(super) const VOICE: Voice = Voice {
    kind: "text/event-stream",
    whole,
    pieces,
    failure: |status| {
        let kind = match status {
            401 => "authentication_error",
            429 => "requests",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        error(status, &format!("The model failed with {status}."), kind, "")
    },
};

/// The same of services whose streams say unasked what they took, with their last piece.
pub(super) const UNASKED: Voice = Voice {
    pieces: |does, body| {
        let mut pieces = pieces(does, body);
        pieces.end[0] = last(does, body, Some(usage()));
        pieces
    },
    ..VOICE
};

pub(super) fn heard(body: &Value) -> Heard {
    let mut heard = Heard {
        tools: names(&body["tools"], "/function/name"),
        ..Heard::default()
    };
    let mut asked = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        heard.answered = message["role"] == "tool";
        match message["role"].as_str() {
            Some("user") => asked.extend(texts(&message["content"])),
            Some("tool") => heard.results.push(result(&message["content"])),
            _ => {}
        }
    }
    heard.asked = asked.join("\n");
    heard
}

fn id(body: &Value) -> String {
    format!("chatcmpl-{}", next_number(&body["messages"]))
}

fn usage() -> Value {
    json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8})
}

/// The id, the name and the arguments of each call.
fn calls<'a>(does: &'a Move, body: &Value) -> Vec<(String, &'a str, String)> {
    let Move::Call(calls) = does else {
        return Vec::new();
    };
    let numbered = (next_number(&body["messages"])..).zip(calls);
    let calls = numbered
        .map(|(number, (name, arguments))| (format!("call_{number}"), name.as_str(), arguments.to_string()));
    calls.collect()
}

fn whole(does: &Move, body: &Value) -> Value {
    let calls: Vec<Value> = calls(does, body)
        .into_iter()
        .map(|(id, name, arguments)| {
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        })
        .collect();
    let (message, finish) = match does {
        Move::Say(text) => (json!({"role": "assistant", "content": text}), "stop"),
        _ => (
            json!({"role": "assistant", "content": null, "tool_calls": calls}),
            "tool_calls",
        ),
    };
    json!({
        "id": id(body), "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage(),
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    })
}

fn event(event: &Value) -> Bytes {
    Bytes::from(format!("data: {event}\n\n"))
}

/// The last piece with a choice.
fn last(does: &Move, body: &Value, usage: Option<Value>) -> Bytes {
    let finish = match does {
        Move::Say(_) => "stop",
        _ => "tool_calls",
    };
    let mut last = json!({
        "id": id(body), "object": "chat.completion.chunk", "created": 1, "model": body["model"],
        "choices": [{"index": 0, "delta": {}, "finish_reason": finish}],
    });
    if let Some(usage) = usage {
        last["usage"] = usage;
    }
    event(&last)
}

fn pieces(does: &Move, body: &Value) -> Pieces {
    let chunk = |delta: Value| {
        event(&json!({
            "id": id(body), "object": "chat.completion.chunk", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": null}],
        }))
    };
    let call = |call: Value| chunk(json!({"tool_calls": [call]}));
    let middle = if let Move::Say(text) = does {
        let (first, second) = halves(text);
        let say = |text: &str| chunk(json!({ "content": text }));
        vec![say(first), say(second)]
    } else {
        let calls = calls(does, body).into_iter().enumerate();
        let middle = calls.flat_map(|(index, (id, name, arguments))| {
                let (first, second) = halves(&arguments);
                [
                    call(json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}})),
                    call(json!({"index": index, "function": {"arguments": first}})),
                    call(json!({"index": index, "function": {"arguments": second}})),
                ]
            });
        middle.collect()
    };
    let mut end = vec![last(does, body, None)];
    if body["stream_options"]["include_usage"] == true {
        end.push(event(&json!({
            "id": id(body), "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [],
            "usage": usage(),
        })));
    }
    end.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Pieces {
        begin: vec![chunk(json!({"role": "assistant", "content": ""}))],
        middle,
        end,
    }
}

/// A vector; as numbers of four bytes where that is asked for, as OpenAI's SDKs do.
pub(super) fn embedding(body: &Value) -> Said {
    let vector = [0.25_f32, -0.5];
    let vector = if body["encoding_format"] == "base64" {
        Value::from(STANDARD.encode(vector.map(f32::to_le_bytes).concat()))
    } else {
        json!(vector)
    };
    let answer = json!({
        "object": "list", "model": body["model"], "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    });
    Said::json(200, answer.to_string())
}

pub(super) fn completion(body: &Value) -> Said {
    let answer = json!({
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"],
        "usage": usage(),
        "choices": [{"index": 0, "text": "and so on", "finish_reason": "stop", "logprobs": null}],
    });
    Said::json(200, answer.to_string())
}
