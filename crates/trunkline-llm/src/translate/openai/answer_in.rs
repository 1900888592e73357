//! A whole chat completion of a provider's, read.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Usage;
use crate::translate::Way;
use crate::translate::answer::{Answer, Part, Stop};
use crate::translate::conversation::Kind;

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Option<String>,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// What a message of an answer may have. Read where a stream is read, too.
#[derive(Default, Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    pub(super) content: Option<Value>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    /// What the model thought, as `DeepSeek`, LiteLLM and many more call it.
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
    /// The same, as `OpenRouter` and newer servers call it; there are others that have an object there.
    #[serde(default)]
    pub(super) reasoning: Option<Value>,
    #[serde(default)]
    pub(super) thinking_blocks: Option<Vec<Thought>>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<Call>>,
    #[serde(default)]
    pub(super) function_call: Option<Function>,
}

#[derive(Default, Deserialize)]
pub(super) struct Thought {
    #[serde(default)]
    pub(super) thinking: Option<String>,
    #[serde(default)]
    pub(super) signature: Option<String>,
    #[serde(default)]
    pub(super) data: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Call {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<Function>,
}

#[derive(Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<Value>,
}

impl Function {
    /// Text, although there are servers that give the object itself.
    pub(super) fn arguments(&self) -> String {
        match &self.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

impl Message {
    /// What was thought, in plain words.
    pub(super) fn thought(&self) -> Option<&str> {
        let other = self.reasoning.as_ref().and_then(Value::as_str);
        self.reasoning_content
            .as_deref()
            .or(other)
            .filter(|text| !text.is_empty())
    }

    /// Thoughts and texts. Mistral has both in a list.
    pub(super) fn said(&self) -> Vec<Kind> {
        match &self.content {
            Some(Value::String(text)) if !text.is_empty() => vec![Kind::Text(text.clone())],
            Some(Value::Array(parts)) => parts.iter().filter_map(said).collect(),
            _ => Vec::new(),
        }
    }
}

fn said(part: &Value) -> Option<Kind> {
    let text = |value: &Value| value["text"].as_str().map(str::to_owned);
    match part["type"].as_str() {
        Some("text") => text(part).map(Kind::Text),
        Some("thinking") => {
            let parts = part["thinking"].as_array()?;
            Some(Kind::Thinking {
                text: parts.iter().filter_map(text).collect(),
                signature: None,
            })
        }
        _ => None,
    }
}

/// The word of `finish_reason`.
pub(super) fn stop(word: &str) -> Stop {
    match word {
        "length" => Stop::Length,
        "tool_calls" | "function_call" => Stop::Tools,
        "content_filter" => Stop::Refusal,
        _ => Stop::End,
    }
}

/// Reads an answer.
pub(in crate::translate) fn read(json: &str, way: &Way) -> Result<Answer, String> {
    let wire: Wire =
        serde_json::from_str(json).map_err(|error| format!("it is no chat completion: {error}"))?;
    let choice = wire.choices.into_iter().next();
    let choice = choice.ok_or("it is a chat completion without a choice")?;
    let id = wire.id.unwrap_or_default();
    let message = choice.message;
    let mut parts = thoughts(&message);
    parts.extend(message.said());
    let mut stop = choice.finish_reason.as_deref().map_or(Stop::End, stop);
    if let Some(refusal) = message.refusal.filter(|text| !text.is_empty()) {
        parts.push(Kind::Text(refusal));
        stop = Stop::Refusal;
    }
    let older = message.function_call.map(|function| Call {
        index: None,
        id: None,
        function: Some(function),
    });
    let calls = message.tool_calls.unwrap_or_default().into_iter().chain(older);
    for (index, call) in calls.enumerate() {
        let Some(function) = call.function else {
            continue;
        };
        parts.push(Kind::ToolUse {
            input: function.arguments(),
            id: call.id.unwrap_or_else(|| format!("{id}_{index}")),
            name: way.whole_name(function.name.unwrap_or_default()),
        });
        // There are servers that say `stop` all the same.
        if stop == Stop::End {
            stop = Stop::Tools;
        }
    }
    Ok(Answer {
        id,
        parts: parts.into_iter().map(Part::new).collect(),
        stop: Some(stop),
        usage: wire.usage.and_then(|own| Usage::read(own.get())),
    })
}

fn thoughts(message: &Message) -> Vec<Kind> {
    let blocks = message.thinking_blocks.as_deref().unwrap_or_default();
    if blocks.is_empty() {
        let text = message.thought().map(str::to_owned);
        let thought = text.map(|text| Kind::Thinking {
            text,
            signature: None,
        });
        return thought.into_iter().collect();
    }
    let kind = |own: &Thought| match &own.data {
        Some(data) => Kind::Redacted(data.clone()),
        None => Kind::Thinking {
            text: own.thinking.clone().unwrap_or_default(),
            signature: own.signature.clone().filter(|text| !text.is_empty()),
        },
    };
    blocks.iter().map(kind).collect()
}
