//! What an answer that is handed on as it is took: read beside it, while it passes. What cannot be read says nothing, and never 0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frames::Frames;
use crate::stream::Renamer;
use crate::translate::{Counts, bedrocks_usage, googles_usage};
use crate::{Service, Usage};

/// How an answer says what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `usage` with `prompt_tokens`.
    OpenAi,
    /// `usage` with `input_tokens`, in a stream in two parts.
    Anthropic,
    /// `usageMetadata`
    Gemini,
    /// `usage` with `inputTokens`, in a stream in the frame `metadata`.
    Converse,
    /// As the model has it, in a stream within frames `chunk`, and with what Bedrock measured.
    Invoke,
    /// `usage.tokens`, `meta.tokens`
    Cohere,
}

/// How an answer comes.
#[derive(Debug)]
enum Kind {
    /// One JSON text, of which as much is kept as may be long.
    Whole(Vec<u8>),
    /// Lines of an event stream; the one that has no end yet.
    Lines(Vec<u8>),
    Frames(Frames),
    /// What is no text of any of these.
    Other,
    /// What cannot go on: the rest of it does not come.
    Cut,
}

/// Reads an answer while it passes.
#[derive(Debug)]
pub struct Meter {
    shape: Option<Shape>,
    kind: Kind,
    limit: usize,
    usage: Option<Usage>,
    counts: Counts,
    /// Events that said something.
    events: u64,
    error: Option<String>,
    is_whole: bool,
    /// Leaves out of a stream what its client did not ask for.
    without_usage: Option<Renamer>,
}

/// Members of an answer, or of a piece of one, that count.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, rename = "usageMetadata")]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow, rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<&'a RawValue>,
    #[serde(borrow)]
    bytes: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    #[serde(rename = "inputTokenCount")]
    input: Option<u64>,
    #[serde(rename = "outputTokenCount")]
    output: Option<u64>,
    #[serde(rename = "cacheReadInputTokenCount")]
    cache_read: Option<u64>,
    #[serde(rename = "cacheWriteInputTokenCount")]
    cache_write: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Coheres {
    tokens: Option<CoheresTokens>,
    billed_units: Option<CoheresTokens>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct CoheresTokens {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
}

impl Meter {
    /// For an answer of this kind; at most `limit` bytes are kept of it.
    pub fn new(shape: Option<Shape>, content_type: &str, limit: usize) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let is = |own: &str| kind.eq_ignore_ascii_case(own);
        let kind = if is("text/event-stream") {
            Kind::Lines(Vec::new())
        } else if is("application/vnd.amazon.eventstream") {
            Kind::Frames(Frames::new(limit))
        } else if is("application/json") && shape.is_some() {
            Kind::Whole(Vec::new())
        } else {
            Kind::Other
        };
        Self {
            shape,
            kind,
            limit,
            usage: None,
            counts: Counts::default(),
            events: 0,
            error: None,
            is_whole: true,
            without_usage: None,
        }
    }

    /// For a client that did not ask what a stream took: it is read, and does not go on.
    #[must_use]
    pub fn hiding_usage(mut self, hides_usage: bool) -> Self {
        if hides_usage && matches!(self.kind, Kind::Lines(_)) {
            self.without_usage = Some(Renamer::without_usage(self.limit));
        }
        self
    }

    /// Takes a piece. Returns what goes on: of an event stream whole lines, so that what a line says is known before it is handed on.
    pub fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        match &mut self.kind {
            Kind::Other => piece.to_vec(),
            Kind::Cut => Vec::new(),
            Kind::Whole(kept) => {
                if kept.len() + piece.len() <= self.limit {
                    kept.extend_from_slice(piece);
                } else {
                    // Half of it would be read wrongly.
                    kept.clear();
                    self.limit = 0;
                }
                piece.to_vec()
            }
            Kind::Frames(frames) => {
                let mut read: Vec<(bool, Vec<u8>)> = Vec::new();
                let fed = frames.feed(piece, |frame| {
                    read.push((frame.kind == "event", frame.payload));
                    Ok::<(), String>(())
                });
                for (is_event, payload) in read {
                    let text = String::from_utf8_lossy(&payload).into_owned();
                    if is_event {
                        self.events += 1;
                        self.object(&text);
                    } else {
                        self.error = Some(text);
                    }
                }
                if fed.is_err() {
                    // It passes on, and is read no further.
                    self.kind = Kind::Other;
                }
                piece.to_vec()
            }
            Kind::Lines(kept) => {
                kept.extend_from_slice(piece);
                let end = memchr::memrchr2(b'\n', b'\r', kept).map(|at| at + 1);
                let end = end
                    .or((kept.len() > self.limit).then_some(kept.len()))
                    .unwrap_or(0);
                let lines: Vec<u8> = kept.drain(..end).collect();
                self.lines(&lines);
                self.shown(lines)
            }
        }
    }

    /// What of a stream goes on. A line of which the half is gone cannot be looked at as a whole.
    fn shown(&mut self, lines: Vec<u8>) -> Vec<u8> {
        let Some(renamer) = &mut self.without_usage else {
            return lines;
        };
        let mut out = Vec::with_capacity(lines.len());
        if renamer.feed(&lines, &mut out).is_err() {
            self.is_whole = false;
            self.kind = Kind::Cut;
        }
        out
    }

    /// It is over: what is left of it goes on, too.
    pub fn finish(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.kind, Kind::Other) {
            Kind::Lines(rest) => {
                self.lines(&rest);
                let mut out = self.shown(rest);
                if let Some(renamer) = &mut self.without_usage {
                    renamer.finish(&mut out);
                }
                out
            }
            Kind::Whole(text) => {
                self.whole(&String::from_utf8_lossy(&text));
                // An object may have had an error that it is about: the answer itself is none.
                self.error = None;
                Vec::new()
            }
            Kind::Frames(frames) => {
                self.is_whole = frames.is_whole();
                Vec::new()
            }
            Kind::Other | Kind::Cut => Vec::new(),
        }
    }

    /// The text of a whole answer so far, if it is one.
    pub fn text(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Whole(text) if self.limit > 0 => Some(text),
            _ => None,
        }
    }

    /// What headers of the answer say that it took.
    pub fn said(&mut self, input: Option<u64>, output: Option<u64>) {
        if input.is_some() || output.is_some() {
            self.usage = Some(Usage {
                input,
                output,
                ..Usage::default()
            });
        }
    }

    /// What it says that it took, so far.
    pub fn usage(&self) -> Option<Usage> {
        self.counts.usage().or(self.usage)
    }

    /// Events that said something.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The error that it told of in its middle: JSON text.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether it did not end in the middle of something, as far as that can be known.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn lines(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            if let Ok(data) = std::str::from_utf8(data)
                && data.trim().starts_with('{')
            {
                self.events += 1;
                self.object(data.trim());
            }
        }
    }

    /// An object, or a list of pieces, as Google has it.
    fn whole(&mut self, text: &str) {
        let text = text.trim();
        if text.starts_with('[') {
            let pieces: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            for piece in pieces {
                self.object(piece.get());
            }
        } else {
            self.object(text);
        }
    }

    fn object(&mut self, json: &str) {
        let Ok(wire) = serde_json::from_str::<Wire<'_>>(json) else {
            return;
        };
        let says_error = wire.kind.is_some_and(|own| own.get() == "\"error\"");
        if wire.error.is_some_and(|own| own.get() != "null") || says_error {
            self.error.get_or_insert_with(|| json.to_owned());
        }
        let text = |own: Option<&RawValue>| own.map_or("null", RawValue::get).to_owned();
        match self.shape {
            None => {}
            Some(Shape::OpenAi) => {
                if let Some(usage) = Usage::read(&text(wire.usage)) {
                    let tier: Option<String> = serde_json::from_str(&text(wire.service_tier)).ok().flatten();
                    let service = Service::of_tier(tier.as_deref());
                    self.usage = Some(Usage { service, ..usage });
                }
            }
            Some(Shape::Anthropic) => self.anthropics(&wire),
            Some(Shape::Gemini) => {
                self.usage = googles_usage(&text(wire.usage_metadata)).or(self.usage);
            }
            Some(Shape::Converse) => {
                self.usage = bedrocks_usage(&text(wire.usage)).or(self.usage);
            }
            Some(Shape::Invoke) => self.invoked(&wire),
            Some(Shape::Cohere) => self.coheres(&wire),
        }
    }

    fn anthropics(&mut self, wire: &Wire<'_>) {
        let within = |own: Option<&RawValue>| -> Option<String> {
            let own: Wire<'_> = serde_json::from_str(own?.get()).ok()?;
            own.usage.map(|usage| usage.get().to_owned())
        };
        let usages = [within(wire.message), wire.usage.map(|own| own.get().to_owned())];
        for usage in usages.iter().flatten() {
            self.counts.add(usage);
        }
    }

    fn invoked(&mut self, wire: &Wire<'_>) {
        // A piece is within a frame.
        let bytes: Option<String> = wire.bytes.and_then(|own| serde_json::from_str(own.get()).ok());
        if let Some(inner) = bytes.and_then(|own| STANDARD.decode(own).ok()) {
            self.object(&String::from_utf8_lossy(&inner));
            return;
        }
        self.anthropics(wire);
        let metrics: Option<Metrics> = wire.metrics.and_then(|own| serde_json::from_str(own.get()).ok());
        let Some(own) = metrics else {
            return;
        };
        let cached = own
            .cache_read
            .unwrap_or(0)
            .saturating_add(own.cache_write.unwrap_or(0));
        self.usage = Some(Usage {
            input: own.input.map(|input| input.saturating_add(cached)),
            output: own.output,
            cache_read: own.cache_read,
            cache_write: own.cache_write,
            ..Usage::default()
        });
    }

    fn coheres(&mut self, wire: &Wire<'_>) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and within the bounds"
        )]
        let whole = |number: f64| (0.0..=1e12).contains(&number).then_some(number.ceil() as u64);
        let within = |own: Option<&RawValue>| -> Option<String> {
            let own: Wire<'_> = serde_json::from_str(own?.get()).ok()?;
            own.usage.or(own.meta).map(|usage| usage.get().to_owned())
        };
        let own = wire.usage.or(wire.meta).map(|own| own.get().to_owned());
        let Some(own) = own
            .or_else(|| within(wire.delta))
            .or_else(|| within(wire.response))
        else {
            return;
        };
        let own: Coheres = serde_json::from_str(&own).unwrap_or_default();
        if let Some(tokens) = own.tokens.or(own.billed_units) {
            self.usage = Some(Usage {
                input: tokens.input_tokens.and_then(whole),
                output: tokens.output_tokens.and_then(whole),
                ..Usage::default()
            });
        }
    }
}

#[cfg(test)]
mod tests;
