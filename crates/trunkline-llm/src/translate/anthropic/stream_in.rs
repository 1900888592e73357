//! A provider's message in pieces, read.

use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_mcp::edit::RawObject;

use super::answer_in::{Block, stop};
use super::usage::Counts;
use crate::ProviderError;
use crate::translate::answer::{Event, Stop};
use crate::translate::conversation::Kind;
use crate::translate::{FORM_TOOL, Unreadable, Way};

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    content_block: Option<Box<RawValue>>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    partial_json: Option<String>,
    #[serde(default)]
    citation: Option<Box<RawValue>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
}

/// The block that is open.
#[derive(Debug)]
struct Open {
    index: u64,
    kind: Kind,
    /// It is the form of the answer.
    is_form: bool,
    /// What came of its arguments, of blocks that are told as a whole.
    input: String,
    /// Something of its arguments was told.
    has_input: bool,
}

/// Reads one stream.
#[derive(Debug)]
pub(in crate::translate) struct Reader {
    limit: usize,
    has_begun: bool,
    open: Option<Open>,
    pub(in crate::translate) counts: Counts,
    /// Tools were called that are the client's.
    calls: bool,
    is_formed: bool,
    is_over: bool,
}

impl Reader {
    pub(in crate::translate) fn new(limit: usize) -> Self {
        Self {
            limit,
            has_begun: false,
            open: None,
            counts: Counts::default(),
            calls: false,
            is_formed: false,
            is_over: false,
        }
    }

    /// Whether the stream was complete.
    pub(in crate::translate) fn is_over(&self) -> bool {
        self.is_over
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
        let wire: Wire = serde_json::from_str(data)
            .map_err(|error| Unreadable(format!("an event of the stream cannot be read: {error}")))?;
        match wire.kind.as_str() {
            "message_start" => self.begin(wire.message, out),
            "content_block_start" if self.has_begun => self.opens(wire, way, out)?,
            "content_block_delta" if self.has_begun => self.more(wire, out)?,
            "content_block_stop" if self.has_begun => self.close(out),
            "message_delta" if self.has_begun => self.ends(wire, out),
            "message_stop" if self.has_begun => {
                self.close(out);
                self.is_over = true;
                out.push(Event::Done);
            }
            "ping" => out.push(Event::Ping),
            "error" => {
                self.is_over = true;
                let json = wire
                    .error
                    .map_or_else(|| "{}".to_owned(), |own| own.get().to_owned());
                let said = ProviderError::read(json.as_bytes());
                out.push(Event::Failed {
                    kind: said.kind,
                    message: said.message,
                    json,
                });
            }
            "content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop" => {
                return Err(Unreadable(format!(
                    "the stream has {} before message_start",
                    wire.kind
                )));
            }
            // Others may come, and are to be passed over, says the provider.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, message: Option<Message>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let (id, usage) = message.map_or((None, None), |own| (own.id, own.usage));
        if let Some(usage) = usage {
            self.counts.add(usage.get());
        }
        out.push(Event::Begin {
            id: id.unwrap_or_default(),
        });
    }

    fn opens(&mut self, wire: Wire, way: &Way, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.close(out);
        let json = wire
            .content_block
            .ok_or_else(|| Unreadable("a block of the stream is missing".to_owned()))?;
        let kind = Block::read(json.get()).map_err(Unreadable)?;
        let is_form = match &kind {
            Kind::ToolUse { name, .. } => way.form_is_tool && name == FORM_TOOL,
            _ => false,
        };
        match &kind {
            _ if is_form => {
                self.is_formed = true;
                out.push(Event::Open(Kind::Text(String::new())));
            }
            Kind::Text(text) => {
                out.push(Event::Open(Kind::Text(String::new())));
                out.extend((!text.is_empty()).then(|| Event::Text(text.clone())));
            }
            Kind::Thinking { text, signature } => {
                out.push(Event::Open(Kind::Thinking {
                    text: String::new(),
                    signature: None,
                }));
                out.extend((!text.is_empty()).then(|| Event::Thinking(text.clone())));
                out.extend(signature.clone().map(Event::Signature));
            }
            Kind::ToolUse { id, name, .. } => {
                self.calls = true;
                out.push(Event::Open(Kind::ToolUse {
                    id: id.clone(),
                    name: name.clone(),
                    input: String::new(),
                }));
            }
            Kind::Redacted(_) => out.push(Event::Open(kind.clone())),
            // Told as a whole at its end.
            _ => {}
        }
        self.open = Some(Open {
            index: wire.index.unwrap_or_default(),
            kind,
            is_form,
            input: String::new(),
            has_input: false,
        });
        Ok(())
    }

    fn more(&mut self, wire: Wire, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        let (Some(delta), Some(open)) = (wire.delta, &mut self.open) else {
            return Err(Unreadable(
                "the stream goes on with a block that is not open".to_owned(),
            ));
        };
        if wire.index.is_some_and(|index| index != open.index) {
            return Err(Unreadable(
                "the stream goes on with a block that is not open".to_owned(),
            ));
        }
        let is_other = matches!(open.kind, Kind::Other { .. });
        match delta.kind.as_deref() {
            Some("text_delta") => out.extend(delta.text.map(Event::Text)),
            Some("thinking_delta") => out.extend(delta.thinking.map(Event::Thinking)),
            Some("signature_delta") => out.extend(delta.signature.map(Event::Signature)),
            Some("citations_delta") => {
                out.extend(delta.citation.map(|own| Event::Citation(own.get().to_owned())));
            }
            Some("input_json_delta") => {
                // Streams of calls begin with nothing.
                let text = delta.partial_json.unwrap_or_default();
                open.has_input |= !text.is_empty();
                match text {
                    text if text.is_empty() => {}
                    text if is_other => {
                        open.input.push_str(&text);
                        if open.input.len() > self.limit {
                            return Err(Unreadable(format!("a block has more than {} bytes", self.limit)));
                        }
                    }
                    text if open.is_form => out.push(Event::Text(text)),
                    text => out.push(Event::Arguments(text)),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        let Some(open) = self.open.take() else {
            return;
        };
        match open.kind {
            Kind::Other { kind, json } => {
                let json = match (RawObject::parse(&json), open.input.is_empty()) {
                    (Ok(mut object), false) => {
                        object.set("input", crate::translate::as_object(&open.input));
                        object.to_json()
                    }
                    _ => json,
                };
                out.push(Event::Open(Kind::Other { kind, json }));
            }
            // There are services that give the arguments at once.
            Kind::ToolUse { input, .. } if !open.has_input && open.is_form => out.push(Event::Text(input)),
            Kind::ToolUse { input, .. } if !open.has_input && input != "{}" => {
                out.push(Event::Arguments(input));
            }
            _ => {}
        }
        out.push(Event::Close);
    }

    fn ends(&mut self, wire: Wire, out: &mut Vec<Event>) {
        self.close(out);
        if let Some(usage) = wire.usage {
            self.counts.add(usage.get());
        }
        let Some(delta) = wire.delta else {
            return;
        };
        if let Some(word) = delta.stop_reason {
            let stop = match stop(&word, delta.stop_sequence) {
                Stop::Tools if self.is_formed && !self.calls => Stop::End,
                stop => stop,
            };
            out.push(Event::Stop(stop));
        }
    }
}
