//! Responses of OpenAI's for clients of the same dialect: the name of the model is the one that was asked for, ids of responses are
//! what the gateway makes of them, everything else is as it came.

use std::sync::Arc;

use serde_json::{Map, Value};
use trunkline_mcp::depth;
use trunkline_mcp::edit::RawObject;

use crate::stream::LineTooLong;
use crate::{Service, Usage};

/// What the gateway makes of a provider's id of a response. The same id becomes the same again.
#[derive(Clone)]
pub struct Ids(Arc<dyn Fn(&str) -> String + Send + Sync>);

impl Ids {
    /// By a function.
    pub fn new(own: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(own))
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
}

/// The tokens in the JSON text of a member `usage`. `None` if it is null, or no object of numbers.
pub fn usage(json: &str) -> Option<Usage> {
    let wire: Map<String, Value> = serde_json::from_str::<Option<_>>(json).ok()??;
    let part = |details: &str, name: &str| wire.get(details)?.as_object()?.get(name)?.as_u64();
    let own = |name: &str| wire.get(name).and_then(Value::as_u64);
    let is_count = |name: &str| wire.get(name).is_none_or(|own| own.is_null() || own.is_u64());
    if !(is_count("input_tokens") && is_count("output_tokens")) {
        return None;
    }
    Some(Usage {
        input: own("input_tokens"),
        output: own("output_tokens"),
        cache_read: part("input_tokens_details", "cached_tokens"),
        cache_write: part("input_tokens_details", "cache_write_tokens"),
        input_audio: part("input_tokens_details", "audio_tokens"),
        reasoning: part("output_tokens_details", "reasoning_tokens"),
        output_audio: part("output_tokens_details", "audio_tokens"),
        ..Usage::default()
    })
}

/// Members of a response that are ids of responses.
const IDS: [&str; 2] = ["id", "previous_response_id"];

fn rename(response: &mut RawObject<'_>, model: &str, ids: &Ids) -> Option<Usage> {
    if response.get("model").is_some() {
        response.set_string("model", model);
    }
    for name in IDS {
        if let Some(id) = response.get_string(name) {
            response.set_string(name, &(ids.0)(&id));
        }
    }
    response.get("usage").and_then(usage).map(|usage| Usage {
        service: Service::of_tier(response.get_string("service_tier").as_deref()),
        ..usage
    })
}

/// A whole answer for the client, and what it took: a response, what was deleted, or a list of items, which has no id. Errors if it is no
/// JSON object that can be read in one way only.
pub fn renamed(json: &str, model: &str, ids: &Ids) -> Result<(String, Option<Usage>), String> {
    if !depth::within(json.as_bytes(), depth::MAX_DEPTH) {
        return Err("its JSON is nested too deep".to_owned());
    }
    let mut object = RawObject::parse(json).map_err(|error| format!("it is no JSON object: {error}"))?;
    let usage = rename(&mut object, model, ids);
    Ok((object.to_json(), usage))
}

/// Gives the responses in a stream other names: those of `response.created`, `response.completed` and their like, the only events that have
/// one. All other bytes pass as they are.
#[derive(Debug)]
pub struct Renamer {
    model: String,
    ids: Ids,
    limit: usize,
    /// The line that has no end yet.
    line: Vec<u8>,
    usage: Option<Usage>,
    next: u64,
    is_done: bool,
    error: Option<String>,
}

impl Renamer {
    /// For a client that asked for `model`; lines have at most `limit` bytes.
    pub fn new(model: &str, ids: Ids, limit: usize) -> Self {
        Self {
            model: model.to_owned(),
            ids,
            limit,
            line: Vec::new(),
            usage: None,
            next: 0,
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

    /// What the stream says that it took.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Whether the stream said that it is complete.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The number that the next event has.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// The error that the stream told of: JSON text.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The line instead, if it has a response.
    fn edited(&mut self, line: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(line.strip_prefix(b"data:")?).ok()?;
        let trimmed = text.trim();
        let mut event = RawObject::parse(trimmed).ok()?;
        let number = event.get("sequence_number").and_then(|text| text.parse().ok());
        self.next = number.unwrap_or(self.next).saturating_add(1);
        let kind = event.get_string("type").unwrap_or_default();
        // The dialect's event, and the one that services send whose streams are those of chats.
        if kind == "error" || event.get("error").is_some_and(|error| error != "null") {
            self.error = Some(trimmed.to_owned());
        }
        self.is_done |= matches!(
            kind.as_str(),
            "response.completed" | "response.incomplete" | "response.failed"
        );
        let response = event.get("response").map(str::to_owned)?;
        let mut response = RawObject::parse(&response).ok()?;
        if let Some(error) = response.get("error").filter(|error| *error != "null") {
            self.error = Some(error.to_owned());
        }
        self.usage = rename(&mut response, &self.model, &self.ids).or(self.usage);
        event.set("response", response.to_json());
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

    const STREAM: &str = "event: response.created\r\ndata: {\"type\":\"response.created\", \"response\" : { \"id\":\"resp_1\",\"model\" : \"gpt-x\",\"previous_response_id\":\"resp_0\",\"usage\":null,\"error\":null},\"sequence_number\":0}\r\n\r\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"\u{e9}\\u00e9\",\"id\":\"resp_1\",\"sequence_number\":1}\n\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_1\",\"usage\":{\"input_tokens\":7,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":9,\"output_tokens_details\":{\"reasoning_tokens\":5},\"total_tokens\":16}}}\n\n";

    fn ids() -> Ids {
        Ids::new(|id| format!("sealed-{id}"))
    }

    fn run(pieces: &[&[u8]]) -> (String, Renamer) {
        let mut renamer = Renamer::new("mine", ids(), 1024);
        let mut out = Vec::new();
        for piece in pieces {
            renamer.feed(piece, &mut out).unwrap();
        }
        renamer.finish(&mut out);
        (String::from_utf8(out).unwrap(), renamer)
    }

    #[test]
    fn split_at_every_byte_only_the_names_differ() {
        let wanted = STREAM
            .replace("\"gpt-x\"", "\"mine\"")
            .replace("{ \"id\":\"resp_1\"", "{ \"id\":\"sealed-resp_1\"")
            .replace("{\"id\":\"resp_1\"", "{\"id\":\"sealed-resp_1\"")
            .replace("\"resp_0\"", "\"sealed-resp_0\"");
        let bytes = STREAM.as_bytes();
        for at in 0..=bytes.len() {
            let (out, renamer) = run(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(out, wanted, "split at {at}");
            let usage = renamer.usage().unwrap();
            assert_eq!(
                (usage.input, usage.cache_read, usage.output, usage.reasoning),
                (Some(7), Some(4), Some(9), Some(5))
            );
            assert!(renamer.is_done() && renamer.error().is_none());
            assert_eq!(renamer.next_number(), 3);
        }
        assert_eq!(run(&bytes.chunks(1).collect::<Vec<_>>()).0, wanted);
        let failed =
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\"}}}\n\n";
        assert_eq!(
            run(&[failed.as_bytes()]).1.error(),
            Some("{\"code\":\"server_error\"}")
        );
        let mut short = Renamer::new("mine", ids(), 16);
        assert!(short.feed(&[b'x'; 17], &mut Vec::new()).is_err());
    }

    #[test]
    fn whole_responses_keep_every_byte_but_the_names() {
        let json = "{ \"id\":\"resp_1\", \"model\" : \"gpt-x\",\"output\":[{\"id\":\"msg_1\"}] ,\"previous_response_id\":null,\"service_tier\":\"flex\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}";
        let (out, usage) = renamed(json, "mine", &ids()).unwrap();
        let wanted = json
            .replace("gpt-x", "mine")
            .replace("\"resp_1\"", "\"sealed-resp_1\"");
        assert_eq!(out, wanted);
        let usage = usage.unwrap();
        assert_eq!((usage.output, usage.service), (Some(2), Service::Flex));
        let list = "{\"object\":\"list\",\"data\":[{\"id\":\"msg_1\"}],\"first_id\":\"msg_1\"}";
        assert_eq!(renamed(list, "mine", &ids()).unwrap(), (list.to_owned(), None));
        assert!(renamed("[]", "mine", &ids()).is_err());
        assert_eq!(super::usage("{\"input_tokens\":\"7\"}"), None);
    }

    proptest! {
        #[test]
        fn what_has_no_response_passes_byte_for_byte(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let at = at.min(bytes.len());
            let mut renamer = Renamer::new("mine", ids(), 1024);
            let mut out = Vec::new();
            renamer.feed(&bytes[..at], &mut out).unwrap();
            renamer.feed(&bytes[at..], &mut out).unwrap();
            renamer.finish(&mut out);
            prop_assert_eq!(out, bytes);
        }
    }
}
