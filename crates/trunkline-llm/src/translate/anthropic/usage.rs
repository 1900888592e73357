//! Tokens as Anthropic counts them: apart what was read anew, from a cache and into one.

use std::borrow::Cow;

use serde::Deserialize;

use crate::translate::Writer;
use crate::usage::{Service, Usage};

/// What an answer says so far. A stream says it twice: what was read at its beginning, what was written at its end.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Counts {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation: Option<Creation>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    output_tokens_details: Option<Details>,
    #[serde(default)]
    service_tier: Option<Kind>,
    #[serde(default)]
    speed: Option<Kind>,
    #[serde(default)]
    inference_geo: Option<Kind>,
}

/// What kind of service it was, as far as prices depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Usual,
    Priority,
    Batch,
    Other,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Option::<Cow<'de, str>>::deserialize(deserializer)?;
        Ok(match word.as_deref() {
            // A speed is `standard` or `fast`; where it was computed `global`, `not_available` or a country.
            None | Some("" | "standard" | "global" | "not_available") => Self::Usual,
            Some("priority") => Self::Priority,
            Some("batch") => Self::Batch,
            Some(_) => Self::Other,
        })
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Details {
    #[serde(default)]
    thinking_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Creation {
    #[serde(default)]
    ephemeral_1h_input_tokens: Option<u64>,
}

impl Counts {
    /// Takes the JSON text of a member `usage`: what it says counts more than what was said before. What is no object of numbers
    /// says nothing.
    pub fn add(&mut self, json: &str) {
        let Ok(Some(later)) = serde_json::from_str::<Option<Self>>(json) else {
            return;
        };
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later
            .cache_creation_input_tokens
            .or(self.cache_creation_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
        self.service_tier = later.service_tier.or(self.service_tier);
        self.speed = later.speed.or(self.speed);
        self.inference_geo = later.inference_geo.or(self.inference_geo);
    }

    /// Of what is fast, or computed in a country that was chosen, the table has no prices: no kind that it knows.
    fn service(&self) -> Service {
        match [self.service_tier, self.speed, self.inference_geo].map(|own| own.unwrap_or(Kind::Usual)) {
            [Kind::Usual, Kind::Usual, Kind::Usual] => Service::Standard,
            [Kind::Priority, Kind::Usual, Kind::Usual] => Service::Priority,
            [Kind::Batch, Kind::Usual, Kind::Usual] => Service::Batch,
            _ => Service::Other,
        }
    }

    /// In the terms of every dialect; none if nothing is known.
    pub fn usage(&self) -> Option<Usage> {
        let parts = [self.cache_read_input_tokens, self.cache_creation_input_tokens];
        let usage = Usage {
            input: self.input_tokens.map(|own| {
                let parts = parts.into_iter().flatten();
                parts.fold(own, u64::saturating_add)
            }),
            output: self.output_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write: self.cache_creation_input_tokens,
            cache_write_hour: self.cache_creation.and_then(|own| own.ephemeral_1h_input_tokens),
            reasoning: self.output_tokens_details.and_then(|own| own.thinking_tokens),
            service: self.service(),
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
    }
}

/// JSON text of `usage`. The dialect has no way to say that a number is not known: it is 0 then.
pub(super) fn write(usage: Option<&Usage>) -> String {
    let usage = usage.copied().unwrap_or_default();
    let cached = usage
        .cache_read
        .unwrap_or(0)
        .saturating_add(usage.cache_write.unwrap_or(0));
    let anew = usage.input.unwrap_or(0).saturating_sub(cached);
    let mut own = Writer::default();
    own.json("input_tokens", anew.to_string());
    own.json(
        "cache_creation_input_tokens",
        usage.cache_write.unwrap_or(0).to_string(),
    );
    own.json(
        "cache_read_input_tokens",
        usage.cache_read.unwrap_or(0).to_string(),
    );
    own.json("output_tokens", usage.output.unwrap_or(0).to_string());
    own.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_the_end_completes_what_was_said_at_the_beginning() {
        let mut counts = Counts::default();
        assert_eq!(counts.usage(), None);
        counts.add(r#"{"input_tokens":7,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":15},"output_tokens":1,"service_tier":"standard"}"#);
        counts.add(r#"{"output_tokens":42,"output_tokens_details":{"thinking_tokens":30}}"#);
        counts.add("null");
        counts.add("{\"output_tokens\":\"many\"}");
        let usage = counts.usage().unwrap();
        let wanted = Usage {
            input: Some(127),
            output: Some(42),
            cache_read: Some(100),
            cache_write: Some(20),
            cache_write_hour: Some(15),
            reasoning: Some(30),
            ..Usage::default()
        };
        assert_eq!(usage, wanted);
        assert_eq!(
            write(Some(&usage)),
            r#"{"input_tokens":7,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,"output_tokens":42}"#
        );
    }
}
