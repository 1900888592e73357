//! What Converse answers, whole, read.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::Usage;
use crate::translate::answer::{Answer, Part, Stop};
use crate::translate::conversation::Kind;
use crate::translate::{FORM_TOOL, Way};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    output: Output,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    tool_use: Option<ToolUse>,
    #[serde(default)]
    reasoning_content: Option<Reasoning>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "these are the names of the wire")]
struct ToolUse {
    tool_use_id: String,
    name: String,
    #[serde(default)]
    input: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning {
    #[serde(default)]
    reasoning_text: Option<Thought>,
    #[serde(default)]
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct Thought {
    #[serde(default)]
    text: String,
    #[serde(default)]
    signature: Option<String>,
}

/// Tokens as it counts them: what is in caches is beside the others.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "these are the names of the wire")]
pub(super) struct Counts {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_write_input_tokens: Option<u64>,
}

impl Counts {
    pub(super) fn usage(self) -> Usage {
        let (read, written) = (self.cache_read_input_tokens, self.cache_write_input_tokens);
        let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
        Usage {
            input: self.input_tokens.map(|own| own.saturating_add(cached)),
            output: self.output_tokens,
            cache_read: read,
            cache_write: written,
            ..Usage::default()
        }
    }
}

/// What the JSON text of a member `usage` says.
pub(crate) fn usage(json: &str) -> Option<Usage> {
    let counts: Option<Counts> = serde_json::from_str(json).ok()?;
    counts.map(Counts::usage)
}

/// Why it ends; `is_formed`: the form of the answer came as a call, and no other.
pub(super) fn stop(word: &str, is_formed: bool) -> Stop {
    match word {
        "tool_use" if is_formed => Stop::End,
        "tool_use" => Stop::Tools,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "stop_sequence" => Stop::Sequence(None),
        "guardrail_intervened" | "content_filtered" | "refusal" => Stop::Refusal,
        _ => Stop::End,
    }
}

/// The provider gives answers no id of their own: theirs is of what they say.
pub(super) fn id(text: &str) -> String {
    let digest = Sha256::digest(text);
    let hex: Vec<String> = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_bdrk_{}", hex.concat())
}

/// Reads an answer.
pub(in crate::translate) fn read(json: &str, way: &Way) -> Result<Answer, String> {
    let wire: Wire =
        serde_json::from_str(json).map_err(|error| format!("it is no answer of Converse: {error}"))?;
    let (mut parts, mut is_formed, mut calls) = (Vec::new(), false, false);
    for block in wire.output.message.content {
        match kind(block.get(), way)? {
            None => {}
            Some(Kind::ToolUse { name, input, .. }) if way.form_is_tool && name == FORM_TOOL => {
                is_formed = true;
                parts.push(Part::new(Kind::Text(input)));
            }
            Some(kind) => {
                calls |= matches!(kind, Kind::ToolUse { .. });
                parts.push(Part::new(kind));
            }
        }
    }
    Ok(Answer {
        id: id(json),
        parts,
        stop: wire.stop_reason.map(|word| stop(&word, is_formed && !calls)),
        usage: wire.usage.map(Counts::usage),
    })
}

/// A block; none if it says nothing.
fn kind(json: &str, way: &Way) -> Result<Option<Kind>, String> {
    let own: Block = serde_json::from_str(json)
        .map_err(|error| format!("a block of its content cannot be read: {error}"))?;
    if let Some(call) = own.tool_use {
        return Ok(Some(Kind::ToolUse {
            id: call.tool_use_id,
            name: way.whole_name(call.name),
            input: call
                .input
                .map_or_else(|| "{}".to_owned(), |own| own.get().to_owned()),
        }));
    }
    if let Some(reasoning) = own.reasoning_content {
        let thought = reasoning.reasoning_text.map(|own| Kind::Thinking {
            text: own.text,
            signature: own.signature,
        });
        return Ok(thought.or(reasoning.redacted_content.map(Kind::Redacted)));
    }
    match own.text {
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => Ok(Some(Kind::Text(text))),
        None => {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(json).map_err(|error| error.to_string())?;
            let kind = object.keys().next().cloned().unwrap_or_default();
            Ok(Some(Kind::Other {
                kind,
                json: json.to_owned(),
            }))
        }
    }
}
