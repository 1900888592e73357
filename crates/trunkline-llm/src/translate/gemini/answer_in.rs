//! What Gemini generated, whole, read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::parts_out::SIGNATURE;
use crate::Usage;
use crate::translate::answer::{Answer, Part, Stop};
use crate::translate::conversation::Kind;

/// An answer, and a piece of one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    #[serde(default)]
    pub(super) response_id: Option<String>,
    #[serde(default)]
    pub(super) candidates: Vec<Candidate>,
    #[serde(default)]
    pub(super) prompt_feedback: Option<Feedback>,
    #[serde(default)]
    pub(super) usage_metadata: Option<Counts>,
    #[serde(default)]
    pub(super) error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Feedback {
    #[serde(default)]
    pub(super) block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(default)]
    pub(super) content: Option<Content>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Content {
    #[serde(default)]
    pub(super) parts: Vec<Piece>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Piece {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(default)]
    thought_signature: Option<String>,
    #[serde(default)]
    function_call: Option<Call>,
    #[serde(default)]
    inline_data: Option<Box<RawValue>>,
    #[serde(default)]
    executable_code: Option<Box<RawValue>>,
    #[serde(default)]
    code_execution_result: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(default)]
    args: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct Counts {
    #[serde(default, rename = "promptTokenCount")]
    prompt: Option<u64>,
    #[serde(default, rename = "candidatesTokenCount")]
    candidates: Option<u64>,
    #[serde(default, rename = "thoughtsTokenCount")]
    thoughts: Option<u64>,
    #[serde(default, rename = "cachedContentTokenCount")]
    cached: Option<u64>,
    #[serde(default, rename = "toolUsePromptTokenCount")]
    tools: Option<u64>,
}

impl Counts {
    pub(super) fn usage(self) -> Usage {
        let sum = |one: Option<u64>, more: Option<u64>| match (one, more) {
            (None, None) => None,
            (one, more) => Some(one.unwrap_or(0).saturating_add(more.unwrap_or(0))),
        };
        Usage {
            input: sum(self.prompt, self.tools),
            // What was thought is beside it here.
            output: sum(self.candidates, self.thoughts),
            cache_read: self.cached,
            reasoning: self.thoughts,
            ..Usage::default()
        }
    }
}

/// What the JSON text of a member `usageMetadata` says.
pub(crate) fn usage(json: &str) -> Option<Usage> {
    let counts: Option<Counts> = serde_json::from_str(json).ok()?;
    counts.map(Counts::usage)
}

/// Why it ends; `calls`: it called tools, which has no word here.
pub(super) fn stop(word: &str, calls: bool) -> Stop {
    match word {
        "MAX_TOKENS" => Stop::Length,
        "STOP" | "FINISH_REASON_UNSPECIFIED" if calls => Stop::Tools,
        "STOP" | "FINISH_REASON_UNSPECIFIED" | "OTHER" | "MALFORMED_FUNCTION_CALL" => Stop::End,
        // All others are filters.
        _ => Stop::Refusal,
    }
}

impl Piece {
    /// What it is; `fallback` is the id of a call without one. None if it is empty.
    pub(super) fn kind(self, fallback: impl FnOnce() -> String) -> Option<Kind> {
        if let Some(call) = self.function_call {
            let mut id = call.id.unwrap_or_else(fallback);
            if let Some(signature) = self.thought_signature {
                id = format!("{id}{SIGNATURE}{signature}");
            }
            return Some(Kind::ToolUse {
                id,
                name: call.name,
                input: call
                    .args
                    .map_or_else(|| "{}".to_owned(), |own| own.get().to_owned()),
            });
        }
        for (kind, json) in [
            ("inlineData", self.inline_data),
            ("executableCode", self.executable_code),
            ("codeExecutionResult", self.code_execution_result),
        ] {
            if let Some(json) = json {
                return Some(Kind::Other {
                    kind: kind.to_owned(),
                    json: format!("{{\"{kind}\":{}}}", json.get()),
                });
            }
        }
        let text = self.text.filter(|text| !text.is_empty())?;
        Some(if self.thought == Some(true) {
            Kind::Thinking {
                text,
                signature: None,
            }
        } else {
            Kind::Text(text)
        })
    }
}

/// Reads an answer.
pub(in crate::translate) fn read(json: &str) -> Result<Answer, String> {
    let wire: Wire =
        serde_json::from_str(json).map_err(|error| format!("it is no generated content: {error}"))?;
    let id = wire.response_id.unwrap_or_default();
    let usage = wire.usage_metadata.map(Counts::usage);
    let candidate = wire
        .candidates
        .into_iter()
        .find(|own| own.index.unwrap_or(0) == 0);
    let Some(candidate) = candidate else {
        // The question itself was filtered.
        if wire.prompt_feedback.and_then(|own| own.block_reason).is_none() {
            return Err("it has no candidate".to_owned());
        }
        return Ok(Answer {
            id,
            parts: Vec::new(),
            stop: Some(Stop::Refusal),
            usage,
        });
    };
    let pieces = candidate.content.map(|own| own.parts).unwrap_or_default();
    let mut parts: Vec<Part> = Vec::new();
    for (index, piece) in pieces.into_iter().enumerate() {
        let kind = piece.kind(|| format!("call_{id}_{index}"));
        match (parts.last_mut().map(|last| &mut last.kind), kind) {
            (_, None) => {}
            // One text, in several parts.
            (Some(Kind::Text(last)), Some(Kind::Text(more))) => last.push_str(&more),
            (Some(Kind::Thinking { text: last, .. }), Some(Kind::Thinking { text: more, .. })) => {
                last.push_str(&more);
            }
            (_, Some(kind)) => parts.push(Part::new(kind)),
        }
    }
    let calls = parts.iter().any(|own| matches!(own.kind, Kind::ToolUse { .. }));
    Ok(Answer {
        id,
        parts,
        stop: candidate.finish_reason.map(|word| stop(&word, calls)),
        usage,
    })
}
