//! What Converse answers in pieces, read: each is an object whose one member is the name of its event.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer_in::{Counts, id, stop};
use crate::translate::answer::{Event, Stop};
use crate::translate::conversation::Kind;
use crate::translate::{FORM_TOOL, Unreadable, Way};
use crate::{ProviderError, Usage};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    message_start: Option<Box<RawValue>>,
    #[serde(default)]
    content_block_start: Option<Start>,
    #[serde(default)]
    content_block_delta: Option<More>,
    #[serde(default)]
    content_block_stop: Option<Box<RawValue>>,
    #[serde(default)]
    message_stop: Option<Ends>,
    #[serde(default)]
    metadata: Option<Metadata>,
    /// An exception: its name, and what it says.
    #[serde(default)]
    failed: Option<Failed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    #[serde(default)]
    content_block_index: u64,
    #[serde(default)]
    start: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    #[serde(default)]
    tool_use: Option<Call>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    tool_use_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct More {
    #[serde(default)]
    content_block_index: u64,
    delta: Delta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    tool_use: Option<Arguments>,
    #[serde(default)]
    reasoning_content: Option<Thought>,
}

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thought {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ends {
    stop_reason: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Failed {
    kind: String,
    said: Box<RawValue>,
}

/// The part that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Text,
    Thought,
    Call,
    /// A call that is the form of the answer.
    Form,
}

/// Reads one stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct Reader {
    has_begun: bool,
    /// How it began, until something follows.
    begin: Option<String>,
    open: Option<(u64, Part)>,
    /// Something of the arguments of the call that is open was told.
    has_input: bool,
    calls: bool,
    is_formed: bool,
    stop: Option<Stop>,
    pub(in crate::translate) usage: Option<Usage>,
    is_over: bool,
}

impl Reader {
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
        let wire: Wire = serde_json::from_str(data)
            .map_err(|error| Unreadable(format!("an event of the stream cannot be read: {error}")))?;
        if let Some(failed) = wire.failed {
            self.is_over = true;
            let said = ProviderError::read(failed.said.get().as_bytes());
            out.push(Event::Failed {
                kind: Some(failed.kind),
                message: said.message,
                json: failed.said.get().to_owned(),
            });
            return Ok(());
        }
        if let Some(own) = wire.message_start {
            if self.has_begun {
                return Err(Unreadable("the stream begins twice".to_owned()));
            }
            self.has_begun = true;
            // It has no id: what comes first makes one.
            self.begin = Some(own.get().to_owned());
            return Ok(());
        }
        if let Some(begin) = self.begin.take() {
            let id = id(&(begin + data));
            out.push(Event::Begin { id });
        }
        let says = wire.content_block_start.is_some()
            || wire.content_block_delta.is_some()
            || wire.content_block_stop.is_some()
            || wire.message_stop.is_some();
        if says && !self.has_begun {
            return Err(Unreadable(
                "the stream says something before it begins".to_owned(),
            ));
        }
        if says && self.stop.is_some() {
            return Err(Unreadable("the stream goes on after its end".to_owned()));
        }
        if let Some(start) = wire.content_block_start {
            self.begins(&start, way, out)?;
        }
        if let Some(more) = wire.content_block_delta {
            self.more(more, out)?;
        }
        if wire.content_block_stop.is_some() {
            self.close(out);
        }
        if let Some(ends) = wire.message_stop {
            self.close(out);
            self.stop = Some(stop(&ends.stop_reason, self.is_formed && !self.calls));
        }
        if let Some(metadata) = wire.metadata {
            self.usage = metadata.usage.map(Counts::usage).or(self.usage);
        }
        Ok(())
    }

    /// The stream is over; whether it was complete. What it took comes after the reason.
    pub(in crate::translate) fn finish(&mut self, out: &mut Vec<Event>) -> bool {
        if let (false, Some(stop)) = (self.is_over, self.stop.take()) {
            out.extend([Event::Stop(stop), Event::Done]);
            self.is_over = true;
        }
        self.is_over
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((_, part)) = self.open.take() {
            if matches!(part, Part::Call) && !self.has_input {
                out.push(Event::Arguments("{}".to_owned()));
            }
            out.push(Event::Close);
        }
    }

    fn opens(&mut self, (index, part): (u64, Part), kind: Kind, out: &mut Vec<Event>) {
        if self.open != Some((index, part)) {
            self.close(out);
            self.open = Some((index, part));
            self.has_input = false;
            out.push(Event::Open(kind));
        }
    }

    /// Only calls begin with an event of their own.
    fn begins(&mut self, start: &Start, way: &Way, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let Some(json) = &start.start else {
            return Ok(());
        };
        let begun: Begun = serde_json::from_str(json.get())
            .map_err(|error| Unreadable(format!("a part of the stream cannot be read: {error}")))?;
        let index = start.content_block_index;
        let Some(call) = begun.tool_use else {
            if json.get().trim() == "{}" {
                return Ok(());
            }
            // What nobody knows is told as it is.
            self.close(out);
            let kind = Kind::Other {
                kind: "contentBlockStart".to_owned(),
                json: json.get().to_owned(),
            };
            out.extend([Event::Open(kind), Event::Close]);
            return Ok(());
        };
        if way.form_is_tool && call.name == FORM_TOOL {
            self.is_formed = true;
            self.opens((index, Part::Form), Kind::Text(String::new()), out);
            return Ok(());
        }
        self.calls = true;
        let kind = Kind::ToolUse {
            id: call.tool_use_id,
            name: way.whole_name(call.name),
            input: String::new(),
        };
        self.close(out);
        self.opens((index, Part::Call), kind, out);
        Ok(())
    }

    fn more(&mut self, more: More, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let index = more.content_block_index;
        if let Some(text) = more.delta.text {
            self.opens((index, Part::Text), Kind::Text(String::new()), out);
            out.push(Event::Text(text));
        } else if let Some(arguments) = more.delta.tool_use {
            match self.open {
                Some((own, Part::Call)) if own == index => {
                    self.has_input |= !arguments.input.is_empty();
                    out.push(Event::Arguments(arguments.input));
                }
                Some((own, Part::Form)) if own == index => out.push(Event::Text(arguments.input)),
                _ => return Err(Unreadable("arguments of a call that did not begin".to_owned())),
            }
        } else if let Some(thought) = more.delta.reasoning_content {
            if let Some(data) = thought.redacted_content {
                self.close(out);
                out.extend([Event::Open(Kind::Redacted(data)), Event::Close]);
                return Ok(());
            }
            let empty = Kind::Thinking {
                text: String::new(),
                signature: None,
            };
            self.opens((index, Part::Thought), empty, out);
            out.extend(thought.text.map(Event::Thinking));
            out.extend(thought.signature.map(Event::Signature));
        }
        Ok(())
    }
}
