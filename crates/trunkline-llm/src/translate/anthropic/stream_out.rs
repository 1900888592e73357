//! A message in pieces, written for a client.

use super::answer_out::{block, ending, message, stop};
use super::usage;
use crate::translate::answer::{Event, Stop};
use crate::translate::conversation::Kind;
use crate::translate::{Writer, typed};
use crate::{Dialect, Failure, Usage};

/// Writes one stream.
#[derive(Debug)]
pub(in crate::translate) struct Writing {
    model: String,
    /// Of the block that is open, or the next.
    index: usize,
    /// The client was told that a block is open.
    is_open: bool,
    stop: Option<Stop>,
}

impl Writing {
    pub(in crate::translate) fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            index: 0,
            is_open: false,
            stop: None,
        }
    }

    /// Appends what the client is told.
    pub(in crate::translate) fn event(&mut self, event: Event, took: Option<&Usage>, out: &mut Vec<u8>) {
        match event {
            Event::Begin { id } => {
                let mut own = typed("message_start");
                own.json(
                    "message",
                    message(&id, &self.model, &[], (None, None), usage::write(took)),
                );
                send("message_start", &own, out);
                send("ping", &typed("ping"), out);
            }
            Event::Open(kind) => self.open(&kind, out),
            Event::Text(text) => self.delta("text_delta", |own| own.text("text", &text), out),
            Event::Thinking(text) => self.delta("thinking_delta", |own| own.text("thinking", &text), out),
            Event::Signature(text) => self.delta("signature_delta", |own| own.text("signature", &text), out),
            Event::Arguments(text) => {
                self.delta("input_json_delta", |own| own.text("partial_json", &text), out);
            }
            Event::Citation(json) => self.delta("citations_delta", |own| own.json("citation", json), out),
            Event::Close => {
                if std::mem::take(&mut self.is_open) {
                    send("content_block_stop", &self.indexed("content_block_stop"), out);
                    self.index += 1;
                }
            }
            Event::Stop(stop) => self.stop = Some(stop),
            Event::Ping => send("ping", &typed("ping"), out),
            Event::Failed { kind, message, .. } => {
                out.extend_from_slice(Failure::told(kind, message).event(Dialect::Anthropic).as_bytes());
            }
            Event::Done => self.done(took, out),
        }
    }

    fn indexed(&self, kind: &str) -> Writer {
        let mut own = typed(kind);
        own.json("index", self.index.to_string());
        own
    }

    fn open(&mut self, kind: &Kind, out: &mut Vec<u8>) {
        let Some(begin) = block(kind, true) else {
            return;
        };
        self.is_open = true;
        let mut own = self.indexed("content_block_start");
        own.json("content_block", begin);
        send("content_block_start", &own, out);
    }

    fn delta(&self, kind: &str, fill: impl FnOnce(&mut Writer) -> &mut Writer, out: &mut Vec<u8>) {
        if !self.is_open {
            return;
        }
        let mut delta = typed(kind);
        fill(&mut delta);
        let mut own = self.indexed("content_block_delta");
        own.json("delta", delta.done());
        send("content_block_delta", &own, out);
    }

    fn done(&mut self, took: Option<&Usage>, out: &mut Vec<u8>) {
        let (reason, sequence) = stop(self.stop.as_ref());
        let mut delta = Writer::default();
        ending(&mut delta, (Some(reason), sequence));
        let mut own = typed("message_delta");
        own.json("delta", delta.done()).json("usage", usage::write(took));
        send("message_delta", &own, out);
        send("message_stop", &typed("message_stop"), out);
    }
}

fn send(name: &str, event: &Writer, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("event: {name}\ndata: {}\n\n", event.done()).as_bytes());
}
