//! Tokens, as answers count them, in one form for every dialect. Read beside the answer, which is not touched for it.

use serde_json::{Map, Value};

/// What an answer says that it took. What it does not say is not known, and never 0.
///
/// A dialect that counts otherwise says it in these terms: `input` has everything that was read, also from a cache or into one;
/// `output` has everything that was written, also what was thought. The other members are parts of these two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, all of them.
    pub input: Option<u64>,
    /// Tokens of the answer, all of them.
    pub output: Option<u64>,
    /// Of `input`: those that the provider had in a cache.
    pub cache_read: Option<u64>,
    /// Of `input`: those that it put into a cache, for however long.
    pub cache_write: Option<u64>,
    /// Of `cache_write`: those that it keeps for an hour, where it says so.
    pub cache_write_hour: Option<u64>,
    /// Of `input`: sound.
    pub input_audio: Option<u64>,
    /// Of `output`: what was thought and is not shown.
    pub reasoning: Option<u64>,
    /// Of `output`: sound.
    pub output_audio: Option<u64>,
    /// What kind of service it was: prices depend on it.
    pub service: Service,
}

/// Kinds of service that have prices of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// The usual one.
    #[default]
    Standard,
    /// Faster than others.
    Priority,
    /// When there is room.
    Flex,
    /// Within a day.
    Batch,
    /// One that nobody here knows, and no price is known for.
    Other,
}

impl Service {
    /// Those that prices are named by.
    pub(crate) const PRICED: [Self; 3] = [Self::Priority, Self::Flex, Self::Batch];

    /// An answer's `service_tier`.
    pub fn of_tier(tier: Option<&str>) -> Self {
        match tier {
            None | Some("" | "auto" | "default" | "standard" | "standard_only" | "on_demand") => {
                Self::Standard
            }
            Some("priority") => Self::Priority,
            Some("flex") => Self::Flex,
            Some("batch") => Self::Batch,
            Some(_) => Self::Other,
        }
    }

    /// The end of LiteLLM's names of its prices.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Priority => "_priority",
            Self::Flex => "_flex",
            Self::Batch => "_batches",
            Self::Standard | Self::Other => "",
        }
    }

    /// Its letter in the table of prices.
    pub(crate) fn of_letter(letter: &str) -> Option<Self> {
        match letter {
            "p" => Some(Self::Priority),
            "f" => Some(Self::Flex),
            "b" => Some(Self::Batch),
            _ => None,
        }
    }
}

impl Usage {
    /// Reads the JSON text of a member `usage` in OpenAI's dialect. `None` if it is null, or no object of numbers.
    pub fn read(json: &str) -> Option<Self> {
        let wire: Map<String, Value> = serde_json::from_str::<Option<_>>(json).ok()??;
        let part = |details: &str, name: &str| wire.get(details)?.as_object()?.get(name)?.as_u64();
        let own = |name: &str| wire.get(name)?.as_u64();
        let (input, completion) = (count(&wire, "prompt_tokens")?, count(&wire, "completion_tokens")?);
        // Who writes nothing (Voyage's vectors) may say no more than how many there are at all.
        let input = input.or_else(|| own("total_tokens").filter(|_| completion.is_none()));
        let reasoning = part("completion_tokens_details", "reasoning_tokens");
        Some(Self {
            input,
            output: with_reasoning(input, completion, reasoning, own("total_tokens")),
            // What others than OpenAI call it: DeepSeek, and those that speak for Anthropic.
            cache_read: part("prompt_tokens_details", "cached_tokens")
                .or_else(|| own("prompt_cache_hit_tokens"))
                .or_else(|| own("cache_read_input_tokens")),
            cache_write: part("prompt_tokens_details", "cache_write_tokens")
                .or_else(|| part("prompt_tokens_details", "cache_creation_tokens"))
                .or_else(|| own("cache_creation_input_tokens")),
            cache_write_hour: None,
            input_audio: part("prompt_tokens_details", "audio_tokens"),
            reasoning,
            output_audio: part("completion_tokens_details", "audio_tokens"),
            service: Service::Standard,
        })
    }

    /// What two answers took together. What one of them does not say of the whole is not known; a part that it does not have it did not
    /// take.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let whole = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        let part = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        Self {
            input: whole(self.input, other.input),
            output: whole(self.output, other.output),
            cache_read: part(self.cache_read, other.cache_read),
            cache_write: part(self.cache_write, other.cache_write),
            cache_write_hour: part(self.cache_write_hour, other.cache_write_hour),
            input_audio: part(self.input_audio, other.input_audio),
            reasoning: part(self.reasoning, other.reasoning),
            output_audio: part(self.output_audio, other.output_audio),
            service: if self.service == other.service {
                self.service
            } else {
                Service::Other
            },
        }
    }

    /// Everything, as far as it is known.
    pub fn total(&self) -> Option<u64> {
        match (self.input, self.output) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
        }
    }
}

/// `Some(None)` if it is not said; `None` if it is no number of tokens, for then nothing else can be believed.
#[expect(clippy::option_option, reason = "not said is another thing than not readable")]
fn count(wire: &Map<String, Value>, name: &str) -> Option<Option<u64>> {
    match wire.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_u64().map(Some),
    }
}

/// What was written. There are services (xAI) that leave what was thought out of `completion_tokens`: then it is only in the total.
fn with_reasoning(
    input: Option<u64>,
    completion: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
) -> Option<u64> {
    let (Some(completion), Some(reasoning)) = (completion, reasoning) else {
        return completion;
    };
    let apart = completion.checked_add(reasoning);
    let all = apart.and_then(|apart| apart.checked_add(input?));
    if reasoning > 0 && all.is_some() && all == total {
        apart
    } else {
        Some(completion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_known() {
        let read = Usage::read(r#"{"prompt_tokens":3,"total_tokens":3,"x":{"y":1}}"#).unwrap();
        assert_eq!((read.input, read.output, read.total()), (Some(3), None, Some(3)));
        assert_eq!(Usage::read("{}").unwrap().total(), None);
        let vectors = Usage::read(r#"{"total_tokens":4}"#).unwrap();
        assert_eq!((vectors.input, vectors.output), (Some(4), None));
        for none in [
            "null",
            "3",
            "[]x",
            r#"{"prompt_tokens":"3"}"#,
            r#"{"prompt_tokens":-1}"#,
            r#"{"completion_tokens":1.5}"#,
        ] {
            assert_eq!(Usage::read(none), None, "{none}");
        }
    }

    #[test]
    fn parts_are_read_under_the_names_that_services_give_them() {
        let openai = r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,
            "prompt_tokens_details":{"cached_tokens":60,"audio_tokens":5},
            "completion_tokens_details":{"reasoning_tokens":12,"audio_tokens":1,"accepted_prediction_tokens":0}}"#;
        let read = Usage::read(openai).unwrap();
        let expected = Usage {
            input: Some(100),
            output: Some(20),
            cache_read: Some(60),
            input_audio: Some(5),
            reasoning: Some(12),
            output_audio: Some(1),
            ..Usage::default()
        };
        assert_eq!(read, expected);
        let deepseek = r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":5}"#;
        assert_eq!(Usage::read(deepseek).unwrap().cache_read, Some(4));
        let gateway = r#"{"prompt_tokens":9,"cache_creation_input_tokens":4,"cache_read_input_tokens":1}"#;
        let read = Usage::read(gateway).unwrap();
        assert_eq!((read.cache_read, read.cache_write), (Some(1), Some(4)));
        // What is no detail is passed over, and the rest counts.
        let odd = r#"{"prompt_tokens":9,"prompt_tokens_details":null,"completion_tokens_details":[1]}"#;
        assert_eq!(Usage::read(odd).unwrap().input, Some(9));
    }

    #[test]
    fn what_was_thought_beside_the_answer_is_of_the_answer() {
        let beside = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,"completion_tokens_details":{"reasoning_tokens":100}}"#;
        assert_eq!(Usage::read(beside).unwrap().output, Some(105));
        let within = r#"{"prompt_tokens":10,"completion_tokens":105,"total_tokens":115,"completion_tokens_details":{"reasoning_tokens":100}}"#;
        assert_eq!(Usage::read(within).unwrap().output, Some(105));
        let huge = r#"{"prompt_tokens":1,"completion_tokens":18446744073709551615,"completion_tokens_details":{"reasoning_tokens":2}}"#;
        assert_eq!(Usage::read(huge).unwrap().output, Some(u64::MAX));
    }
}
