//! An answer in pieces: event streams line by line, without waiting for more than the end of a line.
//!
//! A line `data: {…}` is an object of the stream, whose `model` becomes the name that the client asked for. All other bytes
//! (comments, other fields, blank lines, the way in which lines end, `[DONE]`, what is no JSON) pass as they are.

use trunkline_mcp::edit::RawObject;

use crate::Usage;

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
    model: String,
    limit: usize,
    /// The line that has no end yet.
    line: Vec<u8>,
    usage: Option<Usage>,
    done: bool,
    error: Option<String>,
}

impl Renamer {
    /// For a client that asked for `model`; lines have at most `limit` bytes.
    pub fn new(model: &str, limit: usize) -> Self {
        Self {
            model: model.to_owned(),
            limit,
            line: Vec::new(),
            usage: None,
            done: false,
            error: None,
        }
    }

    /// Takes a piece; what can be passed on is appended to `out`.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), LineTooLong> {
        let mut rest = piece;
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, after) = rest.split_at(at);
            self.check(line.len())?;
            if self.line.is_empty() {
                self.pass(line, out);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.pass(&whole, out);
            }
            out.push(after[0]);
            rest = &after[1..];
        }
        self.check(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// The stream is over: what is left of it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.pass(&line, out);
        }
    }

    /// What the stream says that it took; its last word counts.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
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

    fn pass(&mut self, line: &[u8], out: &mut Vec<u8>) {
        match self.renamed(line) {
            Some(text) => {
                out.extend_from_slice(b"data:");
                out.extend_from_slice(text.as_bytes());
            }
            None => out.extend_from_slice(line),
        }
    }

    /// What stands after `data:` instead, if it is an object that names a model.
    fn renamed(&mut self, line: &[u8]) -> Option<String> {
        let data = line.strip_prefix(b"data:")?;
        let text = std::str::from_utf8(data).ok()?;
        let trimmed = text.trim();
        if trimmed == "[DONE]" {
            self.done = true;
            return None;
        }
        let mut object = RawObject::parse(trimmed).ok()?;
        if let Some(usage) = object.get("usage").and_then(Usage::read) {
            self.usage = Some(usage);
        }
        if let Some(error) = object.get("error").filter(|error| *error != "null") {
            self.error = Some(error.to_owned());
        }
        object.get("model")?;
        object.set_string("model", &self.model);
        let start = text.len() - text.trim_start().len();
        let end = text.trim_end().len();
        let (before, after) = (text.get(..start)?, text.get(end..)?);
        Some(format!("{before}{}{after}", object.to_json()))
    }
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

    proptest! {
        #[test]
        fn what_names_no_model_passes_byte_for_byte(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let at = at.min(bytes.len());
            let mut renamer = Renamer::new("mine", 1024);
            let mut out = Vec::new();
            renamer.feed(&bytes[..at], &mut out).unwrap();
            renamer.feed(&bytes[at..], &mut out).unwrap();
            renamer.finish(&mut out);
            prop_assert_eq!(out, bytes);
        }
    }
}
