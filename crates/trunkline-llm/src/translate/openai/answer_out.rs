//! A whole chat completion, written for a client.

use serde_json::json;

use crate::Usage;
use crate::translate::answer::{Answer, Stop};
use crate::translate::conversation::{Kind, Served, ServedCall};
use crate::translate::{Writer, as_object, list, typed};

/// The word for why an answer ends.
pub(super) fn finish(stop: Option<&Stop>) -> &'static str {
    match stop {
        Some(Stop::Length) => "length",
        Some(Stop::Tools) => "tool_calls",
        Some(Stop::Refusal) => "content_filter",
        None | Some(Stop::End | Stop::Sequence(_) | Stop::Pause) => "stop",
    }
}

/// JSON text of `usage`, with LiteLLM's members for what caches took. What is not known is null.
pub(super) fn usage(usage: &Usage) -> String {
    let mut out = json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
    });
    if usage.cache_read.is_some() || usage.cache_write.is_some() {
        out["prompt_tokens_details"] = json!({
            "cached_tokens": usage.cache_read.unwrap_or(0),
            "cache_creation_tokens": usage.cache_write.unwrap_or(0),
        });
        out["cache_read_input_tokens"] = json!(usage.cache_read);
        out["cache_creation_input_tokens"] = json!(usage.cache_write);
    }
    if let Some(tokens) = usage.reasoning {
        out["completion_tokens_details"] = json!({ "reasoning_tokens": tokens });
    }
    out.to_string()
}

/// JSON text of one of LiteLLM's `thinking_blocks`; none for what is no thought.
pub(super) fn thought(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Thinking { text, signature } => {
            let mut out = typed("thinking");
            out.text("thinking", text)
                .text("signature", signature.as_deref().unwrap_or_default());
            Some(out.done())
        }
        Kind::Redacted(data) => {
            let mut out = typed("redacted_thinking");
            out.text("data", data);
            Some(out.done())
        }
        _ => None,
    }
}

/// JSON text of the answer.
pub(in crate::translate) fn write(answer: &Answer, (model, created): (&str, i64)) -> String {
    let mut choice = Writer::default();
    choice.json("index", "0");
    choice.json("message", message(answer));
    choice.text("finish_reason", finish(answer.stop.as_ref()));
    choice.json("logprobs", "null");
    let mut out = Writer::default();
    out.text("id", &answer.id);
    out.text("object", "chat.completion");
    out.json("created", created.to_string());
    out.text("model", model);
    out.list("choices", &[choice.done()]);
    out.maybe("usage", answer.usage.as_ref().map(usage).as_deref());
    out.done()
}

fn message(answer: &Answer) -> String {
    let (mut text, mut thoughts) = (String::new(), String::new());
    let (mut calls, mut blocks) = (Vec::new(), Vec::new());
    let (mut citations, mut others, mut served) = (Vec::new(), Vec::new(), Vec::new());
    for part in &answer.parts {
        match &part.kind {
            Kind::Text(own) => text.push_str(own),
            Kind::ToolUse { id, name, input } => {
                let mut function = Writer::default();
                function.text("name", name).text("arguments", &as_object(input));
                let mut call = Writer::default();
                call.text("id", id)
                    .text("type", "function")
                    .json("function", function.done());
                calls.push(call.done());
            }
            Kind::Other { json, .. } => others.push(json.clone()),
            Kind::Served(own) => served.push(own),
            kind => {
                if let Kind::Thinking { text, .. } = kind {
                    thoughts.push_str(text);
                }
                blocks.extend(thought(kind));
            }
        }
        citations.extend(part.citations.clone());
    }
    let mut out = Writer::default();
    out.text("role", "assistant");
    if text.is_empty() {
        out.json("content", "null");
    } else {
        out.text("content", &text);
    }
    if !thoughts.is_empty() {
        out.text("reasoning_content", &thoughts);
    }
    for (name, items) in [("thinking_blocks", &blocks), ("tool_calls", &calls)] {
        if !items.is_empty() {
            out.list(name, items);
        }
    }
    let mut own = specific(served.into_iter().map(|own| &**own));
    for (name, items) in [("citations", &citations), ("content_blocks", &others)] {
        if !items.is_empty() {
            own.json(name, list(items));
        }
    }
    if own.done() != "{}" {
        out.json("provider_specific_fields", own.done());
    }
    out.done()
}

/// What the gateway did, as LiteLLM says it: the tools that it listed, the calls that it made, and what came of each.
pub(super) fn specific<'a>(served: impl Iterator<Item = &'a Served>) -> Writer {
    let (mut listed, mut calls, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for own in served {
        match own {
            Served::Listed { tools, .. } => listed.extend(tools.iter().cloned()),
            Served::Called {
                call,
                output,
                error,
                result,
            } => {
                calls.push(call_of(call));
                let mut item = Writer::default();
                item.text("tool_call_id", &call.id).text("name", &call.name);
                item.text("result", error.as_deref().unwrap_or(output));
                item.json("is_error", if error.is_some() { "true" } else { "false" });
                // All that the tool said: pictures, structure.
                item.maybe("mcp_result", result.as_deref());
                results.push(item.done());
            }
            Served::Asked(call) => calls.push(call_of(call)),
        }
    }
    let mut out = Writer::default();
    for (name, items) in [
        ("mcp_list_tools", &listed),
        ("mcp_tool_calls", &calls),
        ("mcp_call_results", &results),
    ] {
        if !items.is_empty() {
            out.list(name, items);
        }
    }
    out
}

fn call_of(call: &ServedCall) -> String {
    let mut function = Writer::default();
    function
        .text("name", &call.name)
        .text("arguments", &call.arguments);
    let mut out = Writer::default();
    out.text("id", &call.id)
        .text("type", "function")
        .json("function", function.done());
    out.done()
}
