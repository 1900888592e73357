//! A whole response, written for a client.

use serde_json::json;

use super::namespaces::Namespaces;
use crate::Usage;
use crate::translate::answer::{Answer, Stop};
use crate::translate::conversation::{Kind, Served, ServedCall};
use crate::translate::{Way, Writer, as_object, list, typed};

/// What `encrypted_content` begins with that is a provider's proof of a thought, which the item has in its summary.
pub(super) const SIGNATURE: &str = "signature:";
/// And one that is a thought which nobody is to read.
pub(super) const REDACTED: &str = "redacted_thinking:";

/// How a response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It is being written.
    InProgress,
    /// All is said.
    Completed,
    /// It may not be longer, or not said.
    Incomplete(&'static str),
    /// It failed.
    Failed,
}

impl Status {
    /// Why an answer ends.
    pub(super) fn of(stop: Option<&Stop>) -> Self {
        match stop {
            Some(Stop::Length) => Self::Incomplete("max_output_tokens"),
            Some(Stop::Refusal) => Self::Incomplete("content_filter"),
            None | Some(Stop::End | Stop::Sequence(_) | Stop::Tools | Stop::Pause) => Self::Completed,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// What a response says besides its items.
pub(super) struct Head<'a> {
    /// The provider's id of the answer.
    pub(super) id: &'a str,
    pub(super) model: &'a str,
    /// Seconds.
    pub(super) created: i64,
    /// What of the request is repeated: names and JSON texts.
    pub(super) repeated: &'a [(String, String)],
    /// What has no item in this dialect: JSON texts.
    pub(super) others: &'a [String],
}

/// The id of a response that nobody keeps.
pub(super) fn id(own: &str) -> String {
    format!("resp_{own}")
}

/// The id of an item, by what begins it and its place.
pub(super) fn item_id(kind: &str, id: &str, index: usize) -> String {
    format!("{kind}_{id}_{index}")
}

/// What is repeated where the request did not say it.
const USUAL: [(&str, &str); 9] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("reasoning", "null"),
    ("temperature", "null"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
];

/// JSON text of a response.
pub(super) fn response(
    head: &Head<'_>,
    status: Status,
    (items, usage, error): (&[String], Option<&Usage>, Option<&str>),
) -> String {
    let mut out = Writer::default();
    out.text("id", &id(head.id)).text("object", "response");
    out.json("created_at", head.created.to_string());
    out.text("status", status.word());
    out.json("background", "false");
    out.json("error", error.unwrap_or("null"));
    let incomplete = match status {
        Status::Incomplete(reason) => json!({ "reason": reason }).to_string(),
        _ => "null".to_owned(),
    };
    out.json("incomplete_details", incomplete);
    out.text("model", head.model);
    out.list("output", items);
    out.json("previous_response_id", "null");
    // Nothing is kept, whatever the request says.
    out.json("store", "false");
    for (name, json) in USUAL {
        out.json(name, json);
    }
    for (name, json) in head.repeated {
        out.json(name, json.clone());
    }
    out.text("truncation", "disabled");
    out.json("usage", usage.map_or_else(|| "null".to_owned(), self::usage));
    if !head.others.is_empty() {
        let others = format!("{{\"content_blocks\":{}}}", list(head.others));
        out.json("provider_specific_fields", others);
    }
    out.done()
}

/// JSON text of `usage`. There are clients that count on each of these members, so that parts of which nothing is known are none.
pub(super) fn usage(usage: &Usage) -> String {
    let own = json!({
        "input_tokens": usage.input,
        "input_tokens_details": { "cached_tokens": usage.cache_read.unwrap_or(0) },
        "output_tokens": usage.output,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning.unwrap_or(0) },
        "total_tokens": usage.total(),
    });
    own.to_string()
}

/// JSON text of the part that has a message's text.
pub(super) fn text_part(text: &str, citations: &[String]) -> String {
    let mut part = typed("output_text");
    part.text("text", text)
        .json("annotations", "[]")
        .json("logprobs", "[]");
    if !citations.is_empty() {
        let own = format!("{{\"citations\":{}}}", list(citations));
        part.json("provider_specific_fields", own);
    }
    part.done()
}

/// JSON text of a message with these parts.
pub(super) fn message(id: &str, status: &str, parts: &[String]) -> String {
    let mut item = Writer::default();
    item.text("id", id)
        .text("type", "message")
        .text("status", status)
        .text("role", "assistant");
    item.list("content", parts);
    item.done()
}

/// JSON text of a call: its own id, and the one that its result has to name.
pub(super) fn call(
    (id, call_id): (&str, &str),
    status: &str,
    ((namespace, name), arguments): ((Option<&str>, &str), &str),
) -> String {
    let mut item = Writer::default();
    item.text("id", id)
        .text("type", "function_call")
        .text("status", status)
        .text("call_id", call_id)
        .text("name", name)
        .maybe_text("namespace", namespace)
        .text("arguments", arguments);
    item.done()
}

/// JSON text of a part of a thought.
pub(super) fn summary_part(text: &str) -> String {
    let mut part = typed("summary_text");
    part.text("text", text);
    part.done()
}

/// JSON text of a thought.
pub(super) fn reasoning(id: &str, text: &str, sealed: Option<&str>) -> String {
    let mut item = Writer::default();
    item.text("id", id).text("type", "reasoning");
    let parts: Vec<String> = if text.is_empty() {
        Vec::new()
    } else {
        vec![summary_part(text)]
    };
    item.list("summary", &parts);
    item.maybe_text("encrypted_content", sealed);
    item.done()
}

/// JSON text of what the gateway did. `id` makes an id of its kind.
pub(super) fn item_of(id: &dyn Fn(&str) -> String, served: &Served) -> String {
    let mut item = Writer::default();
    match served {
        Served::Listed { label, tools, error } => {
            item.text("id", &id("mcpl")).text("type", "mcp_list_tools");
            item.text("server_label", label).list("tools", tools);
            or_null(&mut item, "error", error.as_deref());
        }
        Served::Called {
            call, output, error, ..
        } => {
            item.text("id", &id("mcp")).text("type", "mcp_call");
            item.text("status", if error.is_some() { "failed" } else { "completed" });
            item.json("approval_request_id", "null");
            of_call(&mut item, call);
            or_null(&mut item, "output", error.is_none().then_some(output));
            or_null(&mut item, "error", error.as_deref());
        }
        Served::Asked(call) => {
            // The client names it when it decides.
            item.text("id", &approval_id(&call.id))
                .text("type", "mcp_approval_request");
            of_call(&mut item, call);
        }
    }
    item.done()
}

/// What an id of a request for approval begins with.
pub(super) const APPROVAL: &str = "mcpr_";

fn approval_id(call: &str) -> String {
    format!("{APPROVAL}{call}")
}

fn of_call(item: &mut Writer, call: &ServedCall) {
    item.text("server_label", &call.label)
        .text("name", &call.name)
        .text("arguments", &call.arguments);
}

fn or_null(item: &mut Writer, name: &str, text: Option<&str>) {
    match text {
        Some(text) => item.text(name, text),
        None => item.json(name, "null"),
    };
}

/// JSON text of the answer.
pub(in crate::translate) fn write(answer: &Answer, way: &Way, (model, created): (&str, i64)) -> String {
    let status = Status::of(answer.stop.as_ref());
    let namespaces = Namespaces::of(&way.repeated);
    let (mut items, mut others) = (Vec::new(), Vec::new());
    for part in &answer.parts {
        let own = |kind: &str| item_id(kind, &answer.id, items.len());
        let item = match &part.kind {
            Kind::Text(text) => {
                let citations: Vec<String> = part.citations.iter().cloned().collect();
                message(&own("msg"), status.word(), &[text_part(text, &citations)])
            }
            Kind::ToolUse { id, name, input } => {
                let name = namespaces.split(name);
                call((&own("fc"), id), "completed", (name, &as_object(input)))
            }
            Kind::Thinking { text, signature } => {
                let sealed = signature.as_ref().map(|own| format!("{SIGNATURE}{own}"));
                reasoning(&own("rs"), text, sealed.as_deref())
            }
            Kind::Redacted(data) => reasoning(&own("rs"), "", Some(&format!("{REDACTED}{data}"))),
            Kind::Served(served) => item_of(&own, served),
            Kind::Other { json, .. } => {
                others.push(json.clone());
                continue;
            }
            // No answer has these.
            Kind::Image(_) | Kind::Document { .. } | Kind::ToolResult { .. } => continue,
        };
        items.push(item);
    }
    let head = Head {
        id: &answer.id,
        model,
        created,
        repeated: &way.repeated,
        others: &others,
    };
    response(&head, status, (&items, answer.usage.as_ref(), None))
}
