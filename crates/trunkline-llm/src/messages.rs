//! Messages of Anthropic's that a client of Anthropic's asked for: the name of the model is the one that was asked for, everything
//! else is as it came.

use trunkline_mcp::depth;
use trunkline_mcp::edit::RawObject;

use crate::Usage;
use crate::stream::LineTooLong;
use crate::translate::Counts;

/// A whole message for the client, and what it took. Errors if it is no JSON object that can be read in one way only.
pub fn renamed(json: &str, model: &str) -> Result<(String, Option<Usage>), String> {
    if !depth::within(json.as_bytes(), depth::MAX_DEPTH) {
        return Err("its JSON is nested too deep".to_owned());
    }
    let mut object = RawObject::parse(json).map_err(|error| format!("it is no JSON object: {error}"))?;
    let mut counts = Counts::default();
    if let Some(usage) = object.get("usage") {
        counts.add(usage);
    }
    if object.get("model").is_some() {
        object.set_string("model", model);
    }
    Ok((object.to_json(), counts.usage()))
}

/// Gives the model of a stream another name: that of `message_start`, the only event that has one. All other bytes pass as they are.
#[derive(Debug)]
pub struct Renamer {
    model: String,
    limit: usize,
    /// The line that has no end yet.
    line: Vec<u8>,
    counts: Counts,
    /// Pieces of blocks that came.
    events: u64,
    is_done: bool,
    error: Option<String>,
}

impl Renamer {
    /// For a client that asked for `model`; lines have at most `limit` bytes.
    pub fn new(model: &str, limit: usize) -> Self {
        Self {
            model: model.to_owned(),
            limit,
            line: Vec::new(),
            counts: Counts::default(),
            events: 0,
            is_done: false,
            error: None,
        }
    }

    /// Takes a piece; what can be passed on is appended to `out`.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), LineTooLong> {
        for part in piece.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let ends = matches!(part.last(), Some(b'\n' | b'\r'));
            if self.line.len() + part.len() - usize::from(ends) > self.limit {
                return Err(LineTooLong { limit: self.limit });
            }
            self.line.extend_from_slice(part);
            if ends {
                self.finish(out);
            }
        }
        Ok(())
    }

    /// The stream is over: what is left of it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        match self.edited(&line) {
            Some(other) => out.extend_from_slice(other.as_bytes()),
            None => out.extend_from_slice(&line),
        }
    }

    /// What the stream says that it took, so far.
    pub fn usage(&self) -> Option<Usage> {
        self.counts.usage()
    }

    /// Events so far that said something.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the stream said that it is complete.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The error that the stream told of in its middle: JSON text.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The line instead, if it is the one that names the model.
    fn edited(&mut self, line: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(line.strip_prefix(b"data:")?).ok()?;
        let trimmed = text.trim();
        let mut event = RawObject::parse(trimmed).ok()?;
        if let Some(usage) = event.get("usage") {
            self.counts.add(usage);
        }
        if let Some(error) = event.get("error").filter(|error| *error != "null") {
            self.error = Some(error.to_owned());
        }
        let kind = event.get_string("type");
        self.is_done |= kind.as_deref() == Some("message_stop");
        self.events += u64::from(kind.as_deref() == Some("content_block_delta"));
        let message = event.get("message").map(str::to_owned)?;
        let mut message = RawObject::parse(&message).ok()?;
        if let Some(usage) = message.get("usage") {
            self.counts.add(usage);
        }
        message.get("model")?;
        message.set_string("model", &self.model);
        event.set("message", message.to_json());
        let start = text.len() - text.trim_start().len();
        let end = text.trim_end().len();
        let (before, after) = (text.get(..start)?, text.get(end..)?);
        Some(format!("data:{before}{}{after}", event.to_json()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "event: message_start\r\ndata: {\"type\":\"message_start\", \"message\" : { \"model\" : \"claude-x\",\"content\":[],\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":4}}}\r\n\r\nevent: ping\ndata: {\"type\": \"ping\"}\n\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"model\":\"claude-x\",\"text\":\"\u{e9}\\u00e9\"}}\n\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\ndata: {\"type\":\"message_stop\"}\n\n";

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
    fn split_at_every_byte_only_the_name_differs() {
        let wanted = STREAM.replacen("\"claude-x\"", "\"mine\"", 1);
        let bytes = STREAM.as_bytes();
        for at in 0..=bytes.len() {
            let (out, renamer) = run(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(out, wanted, "split at {at}");
            let usage = renamer.usage().unwrap();
            assert_eq!(
                (usage.input, usage.cache_read, usage.output),
                (Some(7), Some(4), Some(9))
            );
            assert!(renamer.is_done() && renamer.error().is_none() && renamer.events() == 1);
        }
        assert_eq!(run(&bytes.chunks(1).collect::<Vec<_>>()).0, wanted);
        let (_, renamer) =
            run(&[b"data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"]);
        assert_eq!(renamer.error(), Some("{\"type\":\"overloaded_error\"}"));
        let mut short = Renamer::new("mine", 16);
        assert!(short.feed(&[b'x'; 17], &mut Vec::new()).is_err());
    }

    #[test]
    fn whole_messages_keep_every_byte_but_the_name() {
        let json = "{ \"id\":\"a\", \"model\" : \"claude-x\",\"content\":[{\"type\":\"thinking\",\"signature\":\"s==\"}] ,\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}";
        let (out, usage) = renamed(json, "mine").unwrap();
        assert_eq!(out, json.replace("\"claude-x\"", "\"mine\""));
        assert_eq!(usage.unwrap().output, Some(2));
        // As `count_tokens` answers.
        assert_eq!(
            renamed("{\"input_tokens\":5}", "mine").unwrap(),
            ("{\"input_tokens\":5}".to_owned(), None)
        );
        assert!(renamed("[]", "mine").is_err());
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
