//! What an answer takes that is not counted in tokens alone: searches, pictures, characters, seconds. Read beside the answer, which is not
//! touched for it. What it does not say is not known, and never 0.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Endpoint, Usage};

/// What one answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Tokens, all of them.
    pub tokens: Option<Usage>,
    /// Of the tokens of the request: those of pictures.
    pub input_pictures: Option<u64>,
    /// Searches, as Cohere counts them.
    pub searches: Option<u64>,
    /// Pictures that were made.
    pub pictures: Option<u64>,
    /// Characters that were said aloud.
    pub letters: Option<u64>,
    /// Thousandths of a second of sound that were heard.
    pub milliseconds: Option<u64>,
}

/// The members of all these answers that count anything.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire<'a> {
    usage: Option<Counts>,
    meta: Option<Meta>,
    duration: Option<f64>,
    #[serde(borrow)]
    data: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    /// OpenAI's name of the same for sound.
    input_token_details: Option<Details>,
    seconds: Option<f64>,
    /// Mistral's.
    prompt_audio_seconds: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(rename = "image_tokens")]
    image: Option<u64>,
    #[serde(rename = "audio_tokens")]
    audio: Option<u64>,
    #[serde(rename = "cached_tokens")]
    cached: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    billed_units: Option<Billed>,
    tokens: Option<Counts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Billed {
    search_units: Option<f64>,
    input_tokens: Option<f64>,
}

/// Rounded up; `None` for what is no count.
fn whole(number: f64) -> Option<u64> {
    // What is above it is no count of anything here.
    const MOST: f64 = 1e12;
    let up = number.ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within the bounds"
    )]
    (0.0..=MOST).contains(&up).then_some(up as u64)
}

impl Counts {
    fn tokens(&self) -> Option<Usage> {
        let input = self.input_tokens.or(self.prompt_tokens);
        let output = self.output_tokens.or(self.completion_tokens);
        // Who only says how many there are at all has read them: nothing is written by what orders or counts.
        let input = input.or(self.total_tokens.filter(|_| output.is_none()));
        let details = self
            .input_tokens_details
            .as_ref()
            .or(self.input_token_details.as_ref());
        input.map(|input| Usage {
            input: Some(input),
            output: Some(output.unwrap_or(0)),
            cache_read: details.and_then(|own| own.cached),
            input_audio: details.and_then(|own| own.audio),
            ..Usage::default()
        })
    }
}

impl Measure {
    /// Reads a whole answer of one of [`Endpoint::OTHERS`]. What is no such object says nothing.
    pub fn read(endpoint: Endpoint, json: &str) -> Self {
        let wire: Wire<'_> = serde_json::from_str(json).unwrap_or_default();
        let usage = wire.usage.as_ref();
        let billed = wire.meta.as_ref().and_then(|meta| meta.billed_units.as_ref());
        let tokens = usage.and_then(Counts::tokens).or_else(|| {
            let meta = wire.meta.as_ref()?;
            let billed = billed.and_then(|own| whole(own.input_tokens?));
            let own = meta.tokens.as_ref().and_then(Counts::tokens);
            own.or(billed.map(|input| Usage {
                input: Some(input),
                output: Some(0),
                ..Usage::default()
            }))
        });
        let details = usage.and_then(|own| own.input_tokens_details.as_ref());
        let seconds = usage.and_then(|own| own.seconds.or(own.prompt_audio_seconds));
        let is = |own| endpoint == own;
        Self {
            tokens,
            input_pictures: details.and_then(|own| own.image),
            searches: billed
                .and_then(|own| whole(own.search_units?))
                .filter(|_| is(Endpoint::Rerank)),
            pictures: wire
                .data
                .map(|data| data.len() as u64)
                .filter(|_| is(Endpoint::ImageGenerations)),
            letters: None,
            milliseconds: seconds
                .or(wire.duration)
                .and_then(|seconds| whole(seconds * 1000.0))
                .filter(|_| is(Endpoint::Transcriptions)),
        }
    }

    /// Reads the end of an event stream: its last object that counts anything.
    pub fn read_stream(endpoint: Endpoint, end: &[u8]) -> Self {
        let text = String::from_utf8_lossy(end);
        let mut objects = text
            .lines()
            .rev()
            .filter_map(|line| line.strip_prefix("data:").map(str::trim));
        let last = objects.find(|json| json.contains("\"usage\""));
        last.map_or_else(Self::default, |json| Self::read(endpoint, json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_counts_in_its_own_way() {
        let cohere = r#"{"id":"x","results":[],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1.0}}}"#;
        let read = Measure::read(Endpoint::Rerank, cohere);
        assert_eq!((read.searches, read.tokens), (Some(1), None));
        let jina = r#"{"model":"m","usage":{"total_tokens":38},"results":[]}"#;
        let tokens = Measure::read(Endpoint::Rerank, jina).tokens.unwrap();
        assert_eq!((tokens.input, tokens.output), (Some(38), Some(0)));
        let picture = r#"{"created":1,"data":[{"b64_json":"a"},{"b64_json":"b"}],"usage":{"input_tokens":50,"output_tokens":4000,"total_tokens":4050,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}"#;
        let read = Measure::read(Endpoint::ImageGenerations, picture);
        assert_eq!((read.pictures, read.input_pictures), (Some(2), Some(40)));
        assert_eq!(read.tokens.unwrap().output, Some(4000));
        for (json, wanted) in [
            (
                r#"{"text":"a","usage":{"type":"duration","seconds":27}}"#,
                Some(27_000),
            ),
            (
                r#"{"text":"a","duration":8.470000267028809,"segments":[]}"#,
                Some(8471),
            ),
            (r#"{"text":"a"}"#, None),
            (r#"{"text":"a","duration":-1}"#, None),
            (r#"{"text":"a","duration":1e300}"#, None),
            ("[]", None),
        ] {
            assert_eq!(
                Measure::read(Endpoint::Transcriptions, json).milliseconds,
                wanted,
                "{json}"
            );
        }
        let heard = r#"{"text":"a","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}}"#;
        let tokens = Measure::read(Endpoint::Transcriptions, heard).tokens.unwrap();
        assert_eq!((tokens.input_audio, tokens.output), (Some(14), Some(45)));
        let stream = format!("data: {{\"type\":\"transcript.text.delta\"}}\n\ndata: {heard}\n\n");
        assert_eq!(
            Measure::read_stream(Endpoint::Transcriptions, stream.as_bytes()).tokens,
            Some(tokens)
        );
    }
}
