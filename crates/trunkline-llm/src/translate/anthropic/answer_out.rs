//! A whole message, written for a client.

use super::usage;
use crate::translate::answer::{Answer, Stop};
use crate::translate::conversation::Kind;
use crate::translate::{Writer, as_object, list, typed};

/// The word for why an answer ends, and the text that ended it.
pub(super) fn stop(stop: Option<&Stop>) -> (&'static str, Option<&str>) {
    match stop {
        Some(Stop::Sequence(text)) => ("stop_sequence", text.as_deref()),
        Some(Stop::Length) => ("max_tokens", None),
        Some(Stop::Tools) => ("tool_use", None),
        Some(Stop::Refusal) => ("refusal", None),
        Some(Stop::Pause) => ("pause_turn", None),
        None | Some(Stop::End) => ("end_turn", None),
    }
}

/// JSON text of a block; `is_begin`: as a stream begins it, without what comes after.
pub(super) fn block(kind: &Kind, is_begin: bool) -> Option<String> {
    let mut out;
    match kind {
        Kind::Text(text) => {
            out = typed("text");
            out.text("text", text);
        }
        Kind::Thinking { text, signature } => {
            out = typed("thinking");
            out.text("thinking", text)
                .text("signature", signature.as_deref().unwrap_or_default());
        }
        Kind::Redacted(data) => {
            out = typed("redacted_thinking");
            out.text("data", data);
        }
        Kind::ToolUse { id, name, input } => {
            let input = if is_begin {
                "{}".to_owned()
            } else {
                as_object(input)
            };
            out = typed("tool_use");
            out.text("id", id).text("name", name).json("input", input);
        }
        _ => return None,
    }
    Some(out.done())
}

/// JSON text of a message so far.
pub(super) fn message(
    id: &str,
    model: &str,
    content: &[String],
    end: (Option<&str>, Option<&str>),
    usage: String,
) -> String {
    let mut out = Writer::default();
    out.text("id", id)
        .text("type", "message")
        .text("role", "assistant")
        .text("model", model);
    out.json("content", list(content));
    ending(&mut out, end);
    out.json("usage", usage);
    out.done()
}

/// Why it ends.
pub(super) fn ending(out: &mut Writer, (reason, sequence): (Option<&str>, Option<&str>)) {
    for (name, text) in [("stop_reason", reason), ("stop_sequence", sequence)] {
        match text {
            Some(text) => out.text(name, text),
            None => out.json(name, "null"),
        };
    }
}

/// JSON text of the answer.
pub(in crate::translate) fn write(answer: &Answer, model: &str) -> String {
    let content: Vec<String> = answer
        .parts
        .iter()
        .filter_map(|part| block(&part.kind, false))
        .collect();
    let (reason, sequence) = stop(answer.stop.as_ref());
    let usage = usage::write(answer.usage.as_ref());
    message(&answer.id, model, &content, (Some(reason), sequence), usage)
}
