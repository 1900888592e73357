//! A whole message of a provider's, read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::Counts;
use crate::translate::answer::{Answer, Part, Stop};
use crate::translate::conversation::Kind;
use crate::translate::{FORM_TOOL, Way};

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Option<String>,
    content: Vec<Box<RawValue>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
}

/// What a block of an answer may have. Read where a stream begins one, too.
#[derive(Deserialize)]
pub(super) struct Block {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) citations: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) thinking: Option<String>,
    #[serde(default)]
    pub(super) signature: Option<String>,
    #[serde(default)]
    pub(super) data: Option<String>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) input: Option<Box<RawValue>>,
}

impl Block {
    /// Reads one. A member of an unknown block may be anything.
    pub(super) fn read(json: &str) -> Result<Kind, String> {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        let wrong = |error: serde_json::Error| format!("a block of its content cannot be read: {error}");
        let typed: Typed = serde_json::from_str(json).map_err(wrong)?;
        if !matches!(
            typed.kind.as_str(),
            "text" | "thinking" | "redacted_thinking" | "tool_use"
        ) {
            return Ok(Kind::Other {
                kind: typed.kind,
                json: json.to_owned(),
            });
        }
        let own: Self = serde_json::from_str(json).map_err(wrong)?;
        Ok(match own.kind.as_str() {
            "text" => Kind::Text(own.text.unwrap_or_default()),
            "thinking" => Kind::Thinking {
                text: own.thinking.unwrap_or_default(),
                signature: own.signature.filter(|text| !text.is_empty()),
            },
            "redacted_thinking" => Kind::Redacted(own.data.unwrap_or_default()),
            _ => Kind::ToolUse {
                id: own.id.unwrap_or_default(),
                name: own.name.unwrap_or_default(),
                input: own
                    .input
                    .map_or_else(|| "{}".to_owned(), |own| own.get().to_owned()),
            },
        })
    }
}

/// The word of `stop_reason`.
pub(super) fn stop(word: &str, sequence: Option<String>) -> Stop {
    match word {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "stop_sequence" => Stop::Sequence(sequence),
        "tool_use" => Stop::Tools,
        "refusal" => Stop::Refusal,
        "pause_turn" => Stop::Pause,
        _ => Stop::End,
    }
}

/// Reads an answer.
pub(in crate::translate) fn read(json: &str, way: &Way) -> Result<Answer, String> {
    let wire: Wire = serde_json::from_str(json).map_err(|error| format!("it is no message: {error}"))?;
    let mut stop = wire.stop_reason.map(|word| stop(&word, wire.stop_sequence));
    let (mut parts, mut is_formed) = (Vec::new(), false);
    for block in &wire.content {
        let kind = match Block::read(block.get())? {
            Kind::ToolUse { name, input, .. } if way.form_is_tool && name == FORM_TOOL => {
                is_formed = true;
                Kind::Text(input)
            }
            kind => kind,
        };
        let citations = match &kind {
            Kind::Text(_) => serde_json::from_str::<Block>(block.get())
                .ok()
                .and_then(|own| own.citations),
            _ => None,
        };
        parts.push(Part {
            kind,
            citations: citations
                .map(|own| own.get().to_owned())
                .filter(|json| json != "null"),
        });
    }
    let calls = parts.iter().any(|own| matches!(own.kind, Kind::ToolUse { .. }));
    if is_formed && !calls && stop == Some(Stop::Tools) {
        stop = Some(Stop::End);
    }
    let mut counts = Counts::default();
    if let Some(usage) = wire.usage {
        counts.add(usage.get());
    }
    Ok(Answer {
        id: wire.id.unwrap_or_default(),
        parts,
        stop,
        usage: counts.usage(),
    })
}
