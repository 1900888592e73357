//! An answer in pieces: event streams line by line, without waiting for more than the end of a line.
//!
//! A line `data: {…}` is an object of the stream, whose `model` becomes the name that the client asked for. All other bytes
//! (comments, other fields, blank lines, the way in which lines end, `[DONE]`, what is no JSON) pass as they are.
//!
//! The gateway asks for the usage of every stream. A client that did not ask for it gets the stream without: the event that has
//! nothing else is left out, and `"usage":null` of the others.

use trunkline_mcp::edit::RawObject;

use crate::{Service, Usage};

/// A line is longer than what is kept of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {limit} bytes")]
pub struct LineTooLong {
    /// The bound.
    pub limit: usize,
}

/// Gives the model of a stream another name.
#[derive(Debug)]
pub struct Renamer {
    /// None: it keeps the provider's.
    model: Option<String>,
    limit: usize,
    /// The line that has no end yet.
    line: Vec<u8>,
    usage: Option<Usage>,
    service: Service,
    /// The client did not ask for the usage.
    hides_usage: bool,
    /// What is left of an event that was left out: its ends of lines.
    rest: Rest,
    /// Events that said something.
    events: u64,
    done: bool,
    error: Option<String>,
}

/// The ends of lines that belong to an event that was left out: its own, and that of the blank line after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// So many more, after this byte.
    Ends {
        left: u8,
        after: u8,
    },
}

impl Rest {
    /// Whether the end of a blank line belongs to it.
    fn takes(&mut self, end: u8) -> bool {
        let Self::Ends { left, after } = *self else {
            return false;
        };
        // `\r\n` is one end.
        let is_second_half = after == b'\r' && end == b'\n';
        let left = if is_second_half {
            Some(left)
        } else {
            left.checked_sub(1)
        };
        *self = left.map_or(Self::Nothing, |left| Self::Ends { left, after: end });
        left.is_some()
    }
}

/// What becomes of a line.
enum Line {
    AsItIs,
    /// This stands after `data:`.
    Other(String),
    LeftOut,
}

impl Renamer {
    /// For a client that asked for `model`; lines have at most `limit` bytes.
    pub fn new(model: &str, limit: usize) -> Self {
        Self::with(Some(model.to_owned()), limit)
    }

    /// For a client that asked for no usage, of a stream in which nothing else changes.
    pub fn without_usage(limit: usize) -> Self {
        Self::with(None, limit).hiding_usage(true)
    }

    fn with(model: Option<String>, limit: usize) -> Self {
        Self {
            model,
            limit,
            line: Vec::new(),
            usage: None,
            service: Service::Standard,
            hides_usage: false,
            rest: Rest::Nothing,
            events: 0,
            done: false,
            error: None,
        }
    }

    /// For a client that did not ask for the usage.
    #[must_use]
    pub fn hiding_usage(self, hides_usage: bool) -> Self {
        Self { hides_usage, ..self }
    }

    /// Takes a piece; what can be passed on is appended to `out`.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), LineTooLong> {
        let mut rest = piece;
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, after) = rest.split_at(at);
            self.check(line.len())?;
            let (end, is_blank) = (after[0], line.is_empty() && self.line.is_empty());
            rest = &after[1..];
            if is_blank && self.rest.takes(end) {
                continue;
            }
            let passed = if self.line.is_empty() {
                self.pass(line, out)
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.pass(&whole, out)
            };
            if passed {
                out.push(end);
                self.rest = Rest::Nothing;
            } else {
                self.rest = Rest::Ends { left: 1, after: end };
            }
        }
        self.check(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// The stream is over: what is left of it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            let _ = self.pass(&line, out);
        }
    }

    /// What the stream says that it took; its last word counts.
    pub fn usage(&self) -> Option<Usage> {
        let service = self.service;
        self.usage.map(|usage| Usage { service, ..usage })
    }

    /// Events so far that said something.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the stream said that it is complete.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The error that the stream told of in its middle: JSON text.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn check(&self, more: usize) -> Result<(), LineTooLong> {
        if self.line.len() + more > self.limit {
            return Err(LineTooLong { limit: self.limit });
        }
        Ok(())
    }

    /// Whether the line goes on.
    fn pass(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        match self.edited(line) {
            Line::Other(text) => {
                out.extend_from_slice(b"data:");
                out.extend_from_slice(text.as_bytes());
            }
            Line::AsItIs => out.extend_from_slice(line),
            Line::LeftOut => return false,
        }
        true
    }

    /// Reads the line, if it is an object, and edits it.
    fn edited(&mut self, line: &[u8]) -> Line {
        let Some(text) = line
            .strip_prefix(b"data:")
            .and_then(|data| std::str::from_utf8(data).ok())
        else {
            return Line::AsItIs;
        };
        let trimmed = text.trim();
        if trimmed == "[DONE]" {
            self.done = true;
            return Line::AsItIs;
        }
        let Ok(mut object) = RawObject::parse(trimmed) else {
            return Line::AsItIs;
        };
        let usage = object.get("usage").and_then(Usage::read);
        let is_usage_alone = usage.is_some() && object.get("choices").is_some_and(is_empty_list);
        self.usage = usage.or(self.usage);
        self.events += u64::from(!is_usage_alone);
        if let Some(tier) = object.get_string("service_tier") {
            self.service = Service::of_tier(Some(&tier));
        }
        if let Some(error) = object.get("error").filter(|error| *error != "null") {
            self.error = Some(error.to_owned());
        }
        if self.hides_usage && is_usage_alone {
            return Line::LeftOut;
        }
        let hidden = self.hides_usage && object.get("usage") == Some("null") && object.remove("usage");
        let model = self.model.as_ref().filter(|_| object.get("model").is_some());
        let named = model.is_some();
        if let Some(model) = model {
            object.set_string("model", model);
        }
        if !named && !hidden {
            return Line::AsItIs;
        }
        let start = text.len() - text.trim_start().len();
        let end = text.trim_end().len();
        match (text.get(..start), text.get(end..)) {
            (Some(before), Some(after)) => Line::Other(format!("{before}{}{after}", object.to_json())),
            _ => Line::AsItIs,
        }
    }
}

fn is_empty_list(json: &str) -> bool {
    let inner = json.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\n\nevent: x\r\ndata: {\"id\":\"a\", \"model\" : \"gpt-x\",\"choices\":[{\"delta\":{\"content\":\"h\u{e9}\\u00e9\"}}]}\r\n\r\ndata:{\"model\":\"gpt-x\"}\r\rdata: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\ndata: not json\ndata: [DONE]\n\ndata: {\"model\":\"cut\"";
    const WANTED: &str = ": hello\n\nevent: x\r\ndata: {\"id\":\"a\", \"model\" : \"mine\",\"choices\":[{\"delta\":{\"content\":\"h\u{e9}\\u00e9\"}}]}\r\n\r\ndata:{\"model\":\"mine\"}\r\rdata: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\ndata: not json\ndata: [DONE]\n\ndata: {\"model\":\"cut\"";

    fn run(pieces: &[&[u8]]) -> (String, Renamer) {
        let mut renamer = Renamer::new("mine", 1024);
        let mut out = Vec::new();
        for piece in pieces {
            renamer.feed(piece, &mut out).unwrap();
        }
        renamer.finish(&mut out);
        (String::from_utf8(out).unwrap(), renamer)
    }

    #[test]
    fn split_at_every_byte_it_is_the_same() {
        let bytes = STREAM.as_bytes();
        for at in 0..=bytes.len() {
            let (out, renamer) = run(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(out, WANTED, "split at {at}");
            assert!(renamer.is_done());
            assert_eq!(renamer.usage().unwrap().input, Some(7));
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&single).0, WANTED);
    }

    #[test]
    fn nothing_waits_for_more_than_its_own_line() {
        let mut renamer = Renamer::new("mine", 1024);
        let mut out = Vec::new();
        renamer.feed(b"data: {\"model\":\"a\"}\n", &mut out).unwrap();
        assert_eq!(out, b"data: {\"model\":\"mine\"}\n");
    }

    #[test]
    fn a_line_is_bounded_and_an_error_is_seen() {
        let mut renamer = Renamer::new("mine", 16);
        assert!(renamer.feed(&[b'x'; 17], &mut Vec::new()).is_err());
        let (_, renamer) = run(&[b"data: {\"error\":{\"message\":\"m\"}}\n\n"]);
        assert_eq!(renamer.error(), Some("{\"message\":\"m\"}"));
        let (_, renamer) = run(&[b"data: {\"error\":null}\n\n"]);
        assert_eq!(renamer.error(), None);
    }

    /// What a provider says to who asked for the usage, and to who did not.
    const ASKED: &str = "data: {\"id\":\"a\",\"model\":\"g\",\"choices\":[{\"i\":0}],\"usage\":null}\n\ndata: {\"model\":\"g\",\"choices\":[], \"prompt_filter_results\":[]}\n\ndata: {\"id\":\"a\",\"model\":\"g\",\"choices\":[ ],\"service_tier\":\"priority\",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
    const NOT_ASKED: &str = "data: {\"id\":\"a\",\"model\":\"mine\",\"choices\":[{\"i\":0}]}\n\ndata: {\"model\":\"mine\",\"choices\":[], \"prompt_filter_results\":[]}\n\ndata: [DONE]\n\n";

    #[test]
    fn who_did_not_ask_for_the_usage_does_not_see_that_the_gateway_did() {
        for (from, to) in [("\n", "\n"), ("\n", "\r\n"), ("\n", "\r")] {
            let (asked, wanted) = (ASKED.replace(from, to), NOT_ASKED.replace(from, to));
            let bytes = asked.as_bytes();
            for at in 0..=bytes.len() {
                let mut renamer = Renamer::new("mine", 1024).hiding_usage(true);
                let mut out = Vec::new();
                renamer.feed(&bytes[..at], &mut out).unwrap();
                renamer.feed(&bytes[at..], &mut out).unwrap();
                renamer.finish(&mut out);
                assert_eq!(String::from_utf8(out).unwrap(), wanted, "split at {at}");
                let usage = renamer.usage().unwrap();
                assert_eq!((usage.input, usage.service), (Some(7), Service::Priority));
                assert_eq!((renamer.events(), renamer.is_done()), (2, true));
            }
        }
        // Usage beside something else was not sent because of the gateway: it stays. So does a blank line that is nobody's.
        let other = "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":7}}\n\n\n";
        let mut out = Vec::new();
        let mut renamer = Renamer::new("mine", 1024).hiding_usage(true);
        renamer.feed(other.as_bytes(), &mut out).unwrap();
        assert_eq!(out, other.as_bytes());
    }

    proptest! {
        #[test]
        fn what_names_no_model_passes_byte_for_byte(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let at = at.min(bytes.len());
            let mut renamer = Renamer::new("mine", 1024).hiding_usage(at % 2 == 0);
            let mut out = Vec::new();
            renamer.feed(&bytes[..at], &mut out).unwrap();
            renamer.feed(&bytes[at..], &mut out).unwrap();
            renamer.finish(&mut out);
            prop_assert_eq!(out, bytes);
        }
    }
}
