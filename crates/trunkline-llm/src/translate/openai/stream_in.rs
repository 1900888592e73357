//! A provider's chat completion in pieces, read.
//!
//! Pieces of several calls may come mixed. A part of an answer ends before the next begins here, so that a call waits as long as the
//! arguments of the one before it are no whole object.

use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_mcp::edit::RawObject;

use super::answer_in::{Call, Message, stop};
use crate::translate::answer::{Event, Stop};
use crate::translate::conversation::Kind;
use crate::translate::{Unreadable, Way};
use crate::{ProviderError, Usage};

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    delta: Option<Message>,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// Which part is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Text,
    Thought,
    /// Its place among the calls.
    Call(usize),
}

#[derive(Debug)]
struct Known {
    index: Option<u64>,
    id: Option<String>,
    name: String,
    arguments: String,
    /// Bytes of the arguments that were handed on.
    told: usize,
    has_ended: bool,
}

/// Reads one stream.
#[derive(Debug)]
pub(in crate::translate) struct Reader {
    limit: usize,
    id: Option<String>,
    open: Option<Part>,
    calls: Vec<Known>,
    stop: Option<Stop>,
    /// The model said no.
    is_refusal: bool,
    pub(in crate::translate) usage: Option<Usage>,
    is_over: bool,
}

impl Reader {
    pub(in crate::translate) fn new(limit: usize) -> Self {
        Self {
            limit,
            id: None,
            open: None,
            calls: Vec::new(),
            stop: None,
            is_refusal: false,
            usage: None,
            is_over: false,
        }
    }

    /// Takes the data of an event.
    pub(in crate::translate) fn data(
        &mut self,
        data: &str,
        way: &Way,
        out: &mut Vec<Event>,
    ) -> Result<(), Unreadable> {
        if self.is_over {
            return Ok(());
        }
        if data.trim() == "[DONE]" {
            return self.end(way, out);
        }
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|error| Unreadable(format!("a piece of the stream is no chat completion: {error}")))?;
        if let Some(error) = chunk.error.filter(|error| error.get() != "null") {
            self.is_over = true;
            let said = ProviderError::read(error.get().as_bytes());
            out.push(Event::Failed {
                kind: said.kind,
                message: said.message,
                json: error.get().to_owned(),
            });
            return Ok(());
        }
        let choices = chunk.choices.unwrap_or_default();
        // There are services whose first piece says nothing, and not even its id.
        if self.id.is_none() && !choices.is_empty() {
            let id = chunk.id.unwrap_or_default();
            out.push(Event::Begin { id: id.clone() });
            self.id = Some(id);
        }
        if let Some(usage) = chunk.usage.and_then(|own| Usage::read(own.get())) {
            self.usage = Some(usage);
        }
        for choice in choices.into_iter().filter(|own| own.index.unwrap_or(0) == 0) {
            if let Some(delta) = choice.delta {
                self.delta(delta, way, out)?;
            }
            if let Some(word) = choice.finish_reason {
                self.stop = self.stop.take().or_else(|| Some(stop(&word)));
            }
        }
        Ok(())
    }

    /// The stream is over; whether it was complete. There are services that do not say so.
    pub(in crate::translate) fn finish(
        &mut self,
        way: &Way,
        out: &mut Vec<Event>,
    ) -> Result<bool, Unreadable> {
        if !self.is_over && self.stop.is_some() {
            self.end(way, out)?;
        }
        Ok(self.is_over)
    }

    fn delta(&mut self, delta: Message, way: &Way, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let blocks = delta.thinking_blocks.as_deref().unwrap_or_default();
        for block in blocks {
            if let Some(data) = &block.data {
                self.close(out);
                out.extend([Event::Open(Kind::Redacted(data.clone())), Event::Close]);
                continue;
            }
            self.thought(block.thinking.as_deref().unwrap_or_default(), out);
            if let Some(signature) = block.signature.as_ref().filter(|text| !text.is_empty()) {
                self.thought_opens(out);
                out.push(Event::Signature(signature.clone()));
            }
        }
        if let (Some(text), true) = (delta.thought(), blocks.is_empty()) {
            self.thought(text, out);
        }
        for said in delta.said() {
            match said {
                Kind::Thinking { text, .. } => self.thought(&text, out),
                Kind::Text(text) => self.text(text, out),
                _ => {}
            }
        }
        if let Some(refusal) = delta.refusal.filter(|text| !text.is_empty()) {
            self.is_refusal = true;
            self.text(refusal, out);
        }
        let older = delta.function_call.map(|function| Call {
            index: Some(0),
            id: None,
            function: Some(function),
        });
        for call in delta.tool_calls.unwrap_or_default().into_iter().chain(older) {
            self.call(call, way, out)?;
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some(open) = self.open.take() {
            if let Part::Call(at) = open {
                self.calls[at].has_ended = true;
            }
            out.push(Event::Close);
        }
    }

    fn thought_opens(&mut self, out: &mut Vec<Event>) {
        if self.open != Some(Part::Thought) {
            self.close(out);
            self.open = Some(Part::Thought);
            let kind = Kind::Thinking {
                text: String::new(),
                signature: None,
            };
            out.push(Event::Open(kind));
        }
    }

    fn thought(&mut self, text: &str, out: &mut Vec<Event>) {
        if !text.is_empty() {
            self.thought_opens(out);
            out.push(Event::Thinking(text.to_owned()));
        }
    }

    fn text(&mut self, text: String, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        if self.open != Some(Part::Text) {
            self.close(out);
            self.open = Some(Part::Text);
            out.push(Event::Open(Kind::Text(String::new())));
        }
        out.push(Event::Text(text));
    }

    /// The call that a piece belongs to. Without an index it is another one if it has an id, and else the last.
    fn known(&mut self, call: &Call) -> usize {
        let found = match (call.index, &call.id) {
            (Some(index), _) => self.calls.iter().position(|own| own.index == Some(index)),
            (None, Some(id)) => self.calls.iter().position(|own| own.id.as_ref() == Some(id)),
            (None, None) => self.calls.len().checked_sub(1),
        };
        found.unwrap_or_else(|| {
            self.calls.push(Known {
                index: call.index,
                id: None,
                name: String::new(),
                arguments: String::new(),
                told: 0,
                has_ended: false,
            });
            self.calls.len() - 1
        })
    }

    fn call(&mut self, call: Call, way: &Way, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let at = self.known(&call);
        let (mut bytes, own) = (0, &mut self.calls[at]);
        if let Some(id) = call.id.filter(|id| !id.is_empty()) {
            own.id.get_or_insert(id);
        }
        if let Some(function) = call.function {
            let arguments = function.arguments();
            if own.has_ended && !arguments.is_empty() {
                return Err(Unreadable("a call of a tool goes on after its end".to_owned()));
            }
            bytes = arguments.len();
            own.arguments.push_str(&arguments);
            if own.name.is_empty() {
                own.name = function.name.unwrap_or_default();
            }
        }
        if bytes > 0 && self.calls.iter().map(|own| own.arguments.len()).sum::<usize>() > self.limit {
            return Err(Unreadable(format!(
                "calls of tools have more than {} bytes",
                self.limit
            )));
        }
        let waits = match self.open {
            Some(Part::Call(other)) => other != at && RawObject::parse(&self.calls[other].arguments).is_err(),
            _ => false,
        };
        // One that waits for another is told with it, or at the end.
        if !waits && !self.calls[at].name.is_empty() {
            self.tell(at, way, out);
        }
        Ok(())
    }

    /// Hands on what is known of a call, and of those before it that waited.
    fn tell(&mut self, at: usize, way: &Way, out: &mut Vec<Event>) {
        let waiting =
            (0..at).find(|before| !self.calls[*before].has_ended && self.open != Some(Part::Call(*before)));
        if let Some(before) = waiting
            && !self.calls[before].name.is_empty()
        {
            self.tell(before, way, out);
        }
        if self.open != Some(Part::Call(at)) {
            self.close(out);
            self.open = Some(Part::Call(at));
            let own = &self.calls[at];
            let made = || format!("{}_{at}", self.id.as_deref().unwrap_or("call"));
            out.push(Event::Open(Kind::ToolUse {
                id: own.id.clone().unwrap_or_else(made),
                name: way.whole_name(own.name.clone()),
                input: String::new(),
            }));
        }
        let own = &mut self.calls[at];
        if let Some(more) = own.arguments.get(own.told..).filter(|more| !more.is_empty()) {
            out.push(Event::Arguments(more.to_owned()));
            own.told = own.arguments.len();
        }
    }

    fn end(&mut self, way: &Way, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if self.id.is_none() {
            return Err(Unreadable("the stream ends before it begins".to_owned()));
        }
        for at in 0..self.calls.len() {
            let own = &self.calls[at];
            if own.name.is_empty() {
                return Err(Unreadable("a call of a tool has no name".to_owned()));
            }
            if !own.has_ended {
                self.tell(at, way, out);
            }
        }
        self.close(out);
        let stop = match self.stop.take() {
            _ if self.is_refusal => Stop::Refusal,
            None | Some(Stop::End) if !self.calls.is_empty() => Stop::Tools,
            stop => stop.unwrap_or(Stop::End),
        };
        out.extend([Event::Stop(stop), Event::Done]);
        self.is_over = true;
        Ok(())
    }
}
