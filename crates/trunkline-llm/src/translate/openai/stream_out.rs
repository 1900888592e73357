//! A chat completion in pieces, written for a client.

use super::answer_out::{finish, specific, thought, usage};
use crate::translate::answer::{Event, Stop};
use crate::translate::conversation::Kind;
use crate::translate::{Writer, list};
use crate::{Dialect, Failure, Usage};

/// Writes one stream.
#[derive(Debug)]
pub(in crate::translate) struct Writing {
    model: String,
    created: i64,
    include_usage: bool,
    id: String,
    /// Calls so far.
    calls: usize,
    /// The call that is open has no arguments yet.
    is_bare_call: bool,
    stop: Option<Stop>,
}

impl Writing {
    pub(in crate::translate) fn new(model: &str, created: i64, include_usage: bool) -> Self {
        Self {
            model: model.to_owned(),
            created,
            include_usage,
            id: String::new(),
            calls: 0,
            is_bare_call: false,
            stop: None,
        }
    }

    /// Appends what the client is told.
    pub(in crate::translate) fn event(&mut self, event: Event, took: Option<&Usage>, out: &mut Vec<u8>) {
        let mut delta = Writer::default();
        match event {
            Event::Begin { id } => {
                self.id = id;
                delta.text("role", "assistant").text("content", "");
            }
            Event::Open(Kind::ToolUse { id, name, .. }) => {
                self.calls += 1;
                self.is_bare_call = true;
                let mut function = Writer::default();
                function.text("name", &name).text("arguments", "");
                let mut call = self.call();
                call.text("id", &id)
                    .text("type", "function")
                    .json("function", function.done());
                delta.list("tool_calls", &[call.done()]);
            }
            Event::Open(kind @ Kind::Redacted(_)) => {
                delta.list("thinking_blocks", &thought(&kind).into_iter().collect::<Vec<_>>());
            }
            Event::Open(Kind::Served(own)) => {
                delta.json(
                    "provider_specific_fields",
                    specific(std::iter::once(&*own)).done(),
                );
            }
            Event::Open(Kind::Other { json, .. }) => {
                delta.json(
                    "provider_specific_fields",
                    format!("{{\"content_blocks\":[{json}]}}"),
                );
            }
            Event::Text(text) => {
                delta.text("content", &text);
            }
            Event::Thinking(text) => {
                delta.text("reasoning_content", &text);
                let block = Kind::Thinking {
                    text,
                    signature: None,
                };
                delta.list(
                    "thinking_blocks",
                    &thought(&block).into_iter().collect::<Vec<_>>(),
                );
            }
            Event::Signature(text) => {
                let block = Kind::Thinking {
                    text: String::new(),
                    signature: Some(text),
                };
                delta.list(
                    "thinking_blocks",
                    &thought(&block).into_iter().collect::<Vec<_>>(),
                );
            }
            Event::Arguments(text) => {
                self.is_bare_call = false;
                self.arguments(&mut delta, &text);
            }
            Event::Close if std::mem::take(&mut self.is_bare_call) => self.arguments(&mut delta, "{}"),
            Event::Citation(json) => {
                delta.json("provider_specific_fields", format!("{{\"citation\":{json}}}"));
            }
            Event::Stop(stop) => {
                self.stop = Some(stop);
                return;
            }
            Event::Ping => {
                out.extend_from_slice(b": ping\n\n");
                return;
            }
            Event::Failed { kind, message, .. } => {
                out.extend_from_slice(Failure::told(kind, message).event(Dialect::OpenAi).as_bytes());
                return;
            }
            Event::Done => return self.done(took, out),
            Event::Open(_) | Event::Close => return,
        }
        self.chunk(&delta.done(), None, out);
    }

    fn call(&self) -> Writer {
        let mut call = Writer::default();
        call.json("index", self.calls.saturating_sub(1).to_string());
        call
    }

    fn arguments(&self, delta: &mut Writer, text: &str) {
        let mut function = Writer::default();
        function.text("arguments", text);
        let mut call = self.call();
        call.json("function", function.done());
        delta.list("tool_calls", &[call.done()]);
    }

    fn chunk(&self, delta: &str, finish: Option<&str>, out: &mut Vec<u8>) {
        let mut choice = Writer::default();
        choice.json("index", "0").json("delta", delta);
        match finish {
            Some(word) => choice.text("finish_reason", word),
            None => choice.json("finish_reason", "null"),
        };
        let usage = self.include_usage.then_some("null");
        self.send(&[choice.done()], usage, out);
    }

    fn send(&self, choices: &[String], usage: Option<&str>, out: &mut Vec<u8>) {
        let mut chunk = Writer::default();
        chunk.text("id", &self.id).text("object", "chat.completion.chunk");
        chunk
            .json("created", self.created.to_string())
            .text("model", &self.model);
        chunk.json("choices", list(choices)).maybe("usage", usage);
        send(&chunk.done(), out);
    }

    fn done(&mut self, took: Option<&Usage>, out: &mut Vec<u8>) {
        let word = finish(self.stop.as_ref());
        self.chunk("{}", Some(word), out);
        if let (true, Some(took)) = (self.include_usage, took) {
            self.send(&[], Some(&usage(took)), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

fn send(json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(b"\n\n");
}
