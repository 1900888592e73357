//! A response in pieces, written for a client: every event has a number, and every item an end that repeats it whole.

use serde_json::json;

use super::answer_out::{
    Head, REDACTED, SIGNATURE, Status, call, item_id, item_of, message, reasoning, response, summary_part,
    text_part,
};
use super::namespaces::Namespaces;
use crate::Usage;
use crate::translate::Writer;
use crate::translate::answer::{Event, Stop};
use crate::translate::conversation::{Kind, Served};

/// The item that is open.
#[derive(Debug)]
enum Open {
    Text {
        text: String,
        citations: Vec<String>,
    },
    Thought {
        text: String,
        sealed: Option<String>,
        /// The part that has its words was begun.
        has_part: bool,
    },
    Call {
        call_id: String,
        name: String,
        arguments: String,
    },
    /// What has no item in this dialect.
    Nothing,
}

/// Writes one stream.
#[derive(Debug)]
pub(in crate::translate) struct Writing {
    model: String,
    created: i64,
    repeated: Vec<(String, String)>,
    namespaces: Namespaces,
    id: String,
    /// The next event's.
    number: u64,
    open: Open,
    /// The id of the item that is open.
    item: String,
    /// Items that are whole: JSON texts.
    items: Vec<String>,
    others: Vec<String>,
    stop: Option<Stop>,
}

impl Writing {
    pub(in crate::translate) fn new(model: &str, created: i64, repeated: Vec<(String, String)>) -> Self {
        Self {
            model: model.to_owned(),
            created,
            namespaces: Namespaces::of(&repeated),
            repeated,
            id: String::new(),
            number: 0,
            open: Open::Nothing,
            item: String::new(),
            items: Vec::new(),
            others: Vec::new(),
            stop: None,
        }
    }

    /// The number that the next event has.
    pub(in crate::translate) fn next_number(&self) -> u64 {
        self.number
    }

    /// Appends what the client is told.
    pub(in crate::translate) fn event(&mut self, event: Event, took: Option<&Usage>, out: &mut Vec<u8>) {
        match event {
            Event::Begin { id } => {
                self.id = id;
                for name in ["response.created", "response.in_progress"] {
                    let response = self.response(Status::InProgress, None, None);
                    self.send(name, Writer::default().json("response", response), out);
                }
            }
            Event::Open(kind) => self.open(kind, out),
            Event::Text(more) => {
                // What belongs to nothing that has an item is not told.
                let Open::Text { text, .. } = &mut self.open else {
                    return;
                };
                text.push_str(&more);
                let mut delta = self.of_content();
                delta.text("delta", &more).json("logprobs", "[]");
                self.send("response.output_text.delta", &mut delta, out);
            }
            Event::Thinking(more) => self.thinks(&more, out),
            Event::Signature(more) => {
                if let Open::Thought { sealed, .. } = &mut self.open {
                    sealed.get_or_insert_with(|| SIGNATURE.to_owned()).push_str(&more);
                }
            }
            Event::Arguments(more) => {
                let Open::Call { arguments, .. } = &mut self.open else {
                    return;
                };
                arguments.push_str(&more);
                let mut delta = self.of_item();
                delta.text("delta", &more);
                self.send("response.function_call_arguments.delta", &mut delta, out);
            }
            Event::Citation(json) => {
                if let Open::Text { citations, .. } = &mut self.open {
                    citations.push(json);
                }
            }
            Event::Close => self.close(out),
            Event::Stop(stop) => self.stop = Some(stop),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Failed { kind, message, .. } => {
                let code = kind.unwrap_or_else(|| "server_error".to_owned());
                let error = json!({ "code": code, "message": message }).to_string();
                let response = self.response(Status::Failed, took, Some(&error));
                self.send(
                    "response.failed",
                    Writer::default().json("response", response),
                    out,
                );
            }
            Event::Done => {
                let status = Status::of(self.stop.as_ref());
                let response = self.response(status, took, None);
                let name = format!("response.{}", status.word());
                self.send(&name, Writer::default().json("response", response), out);
            }
        }
    }

    fn response(&self, status: Status, took: Option<&Usage>, error: Option<&str>) -> String {
        let head = Head {
            id: &self.id,
            model: &self.model,
            created: self.created,
            repeated: &self.repeated,
            others: &self.others,
        };
        response(&head, status, (&self.items, took, error))
    }

    fn send(&mut self, name: &str, event: &mut Writer, out: &mut Vec<u8>) {
        event
            .text("type", name)
            .json("sequence_number", self.number.to_string());
        self.number += 1;
        out.extend_from_slice(format!("event: {name}\ndata: {}\n\n", event.done()).as_bytes());
    }

    fn of_item(&self) -> Writer {
        let mut event = Writer::default();
        event
            .text("item_id", &self.item)
            .json("output_index", self.items.len().to_string());
        event
    }

    fn of_content(&self) -> Writer {
        let mut event = self.of_item();
        event.json("content_index", "0");
        event
    }

    fn of_summary(&self) -> Writer {
        let mut event = self.of_item();
        event.json("summary_index", "0");
        event
    }

    fn item_event(&mut self, name: &str, item: &str, out: &mut Vec<u8>) {
        let mut event = Writer::default();
        event
            .json("output_index", self.items.len().to_string())
            .json("item", item);
        self.send(name, &mut event, out);
    }

    fn open(&mut self, kind: Kind, out: &mut Vec<u8>) {
        let own = |kind: &str| item_id(kind, &self.id, self.items.len());
        let (id, item, open) = match kind {
            Kind::Text(_) => {
                let id = own("msg");
                let (text, citations) = (String::new(), Vec::new());
                (
                    id.clone(),
                    message(&id, "in_progress", &[]),
                    Open::Text { text, citations },
                )
            }
            Kind::ToolUse {
                id: call_id, name, ..
            } => {
                let id = own("fc");
                let item = call((&id, &call_id), "in_progress", (self.namespaces.split(&name), ""));
                let arguments = String::new();
                (
                    id,
                    item,
                    Open::Call {
                        call_id,
                        name,
                        arguments,
                    },
                )
            }
            Kind::Thinking { .. } | Kind::Redacted(_) => {
                let id = own("rs");
                let sealed = match kind {
                    Kind::Redacted(data) => Some(format!("{REDACTED}{data}")),
                    _ => None,
                };
                let item = reasoning(&id, "", None);
                let open = Open::Thought {
                    text: String::new(),
                    sealed,
                    has_part: false,
                };
                (id, item, open)
            }
            Kind::Served(served) => return self.served(&served, out),
            Kind::Other { json, .. } => {
                self.others.push(json);
                return;
            }
            // No answer has these.
            Kind::Image(_) | Kind::Document { .. } | Kind::ToolResult { .. } => return,
        };
        self.item = id;
        self.item_event("response.output_item.added", &item, out);
        if matches!(open, Open::Text { .. }) {
            let mut event = self.of_content();
            event.json("part", text_part("", &[]));
            self.send("response.content_part.added", &mut event, out);
        }
        self.open = open;
    }

    /// What the gateway did comes whole: its item begins and ends.
    fn served(&mut self, served: &Served, out: &mut Vec<u8>) {
        let (id, at) = (self.id.clone(), self.items.len());
        let own = |kind: &str| item_id(kind, &id, at);
        let whole = item_of(&own, served);
        // As it was before: of a list nothing, of a call no result.
        let begun = match served {
            Served::Listed { label, .. } => {
                let (label, tools) = (label.clone(), Vec::new());
                let error = None;
                item_of(&own, &Served::Listed { label, tools, error })
            }
            Served::Called { .. } => {
                let mut begun = trunkline_mcp::edit::RawObject::parse(&whole).unwrap_or_default();
                begun.set_string("status", "in_progress");
                begun.set_string("arguments", "");
                begun.set("output", "null".to_owned());
                begun.set("error", "null".to_owned());
                self.item = own("mcp");
                begun.to_json()
            }
            Served::Asked(_) => whole.clone(),
        };
        self.item_event("response.output_item.added", &begun, out);
        match served {
            Served::Listed { error, tools, .. } => {
                self.item = own("mcpl");
                self.send("response.mcp_list_tools.in_progress", &mut self.of_item(), out);
                let is_empty = error.is_some() && tools.is_empty();
                let end = if is_empty { "failed" } else { "completed" };
                self.send(
                    &format!("response.mcp_list_tools.{end}"),
                    &mut self.of_item(),
                    out,
                );
            }
            Served::Called { call, error, .. } => {
                self.send("response.mcp_call.in_progress", &mut self.of_item(), out);
                let mut event = self.of_item();
                event.text("delta", &call.arguments);
                self.send("response.mcp_call_arguments.delta", &mut event, out);
                let mut event = self.of_item();
                event.text("arguments", &call.arguments);
                self.send("response.mcp_call_arguments.done", &mut event, out);
                let end = if error.is_some() { "failed" } else { "completed" };
                self.send(&format!("response.mcp_call.{end}"), &mut self.of_item(), out);
            }
            Served::Asked(_) => {}
        }
        self.item_event("response.output_item.done", &whole, out);
        self.items.push(whole);
    }

    fn thinks(&mut self, more: &str, out: &mut Vec<u8>) {
        let Open::Thought { text, has_part, .. } = &mut self.open else {
            return;
        };
        text.push_str(more);
        if !std::mem::replace(has_part, true) {
            let mut event = self.of_summary();
            event.json("part", summary_part(""));
            self.send("response.reasoning_summary_part.added", &mut event, out);
        }
        let mut delta = self.of_summary();
        delta.text("delta", more);
        self.send("response.reasoning_summary_text.delta", &mut delta, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let item = match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => return,
            Open::Text { text, citations } => {
                let mut event = self.of_content();
                event.text("text", &text).json("logprobs", "[]");
                self.send("response.output_text.done", &mut event, out);
                let part = text_part(&text, &citations);
                let mut event = self.of_content();
                event.json("part", part.clone());
                self.send("response.content_part.done", &mut event, out);
                message(&self.item, "completed", &[part])
            }
            Open::Thought {
                text,
                sealed,
                has_part,
            } => {
                if has_part {
                    let mut event = self.of_summary();
                    event.text("text", &text);
                    self.send("response.reasoning_summary_text.done", &mut event, out);
                    let mut event = self.of_summary();
                    event.json("part", summary_part(&text));
                    self.send("response.reasoning_summary_part.done", &mut event, out);
                }
                reasoning(&self.item, &text, sealed.as_deref())
            }
            Open::Call {
                call_id,
                name,
                arguments,
            } => {
                let arguments = if arguments.trim().is_empty() {
                    "{}".to_owned()
                } else {
                    arguments
                };
                let mut event = self.of_item();
                event
                    .text("name", self.namespaces.split(&name).1)
                    .text("arguments", &arguments);
                self.send("response.function_call_arguments.done", &mut event, out);
                let name = self.namespaces.split(&name);
                call((&self.item, &call_id), "completed", (name, &arguments))
            }
        };
        self.item_event("response.output_item.done", &item, out);
        self.items.push(item);
    }
}
