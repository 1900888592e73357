//! What a server says in a call, as the client is to see it.

use trunkline_mcp::edit::{RawObject, Word};
use trunkline_mcp::modern::UrlElicitation;
use trunkline_mcp::{Era, ListKind, modern, task, uri, wrap};
use trunkline_model::{Server, Step};
use trunkline_upstream::{Fault, Frame};

use super::{Call, CallError, Operation, PROGRESS_METHOD, Phase};
use crate::Gateway;
use crate::context::Context;
use crate::tasks::{self, Seen};
use crate::uris::{self, Exposer, Holder};

impl Call {
    /// A notification as the client is to see it, if at all.
    pub(super) fn notification(
        &self,
        gateway: &Gateway,
        context: &Context,
        method: &str,
        message: String,
    ) -> Option<String> {
        let changed: Vec<ListKind> = ListKind::ALL
            .into_iter()
            .filter(|kind| kind.changed() == method)
            .collect();
        if !changed.is_empty() {
            // Clients hear of it from the gateway, after the list was fetched.
            for kind in changed {
                gateway.upstreams.list_changed(kind, &self.server, &self.out);
            }
            return None;
        }
        match method {
            PROGRESS_METHOD => match self.with_clients_token(&message) {
                Some(message) => Some(self.seen(gateway, context).about(message)),
                None => outside(gateway, context, &self.server, method, message),
            },
            task::STATUS if self.awaited().is_some() => None,
            "notifications/cancelled" => self.withdrawn(&message),
            "notifications/message" if context.era == Era::Modern => {
                is_wanted(context.log_level, &message).then_some(message)
            }
            // In the new era the one is for subscriptions alone, and the other is no more.
            "notifications/resources/updated" | "notifications/elicitation/complete"
                if context.era == Era::Modern =>
            {
                None
            }
            _ => outside(gateway, context, &self.server, method, message),
        }
    }

    /// The server takes back what it asked.
    pub(super) fn withdrawn(&self, message: &str) -> Option<String> {
        let mut object = RawObject::parse(message).ok()?;
        let params = object.get("params")?.to_owned();
        let mut params = RawObject::parse(&params).ok()?;
        let id = params.get("requestId")?;
        let (_, own) = self.asked.iter().find(|(asked, _)| asked == id)?;
        params.set("requestId", own.clone());
        object.set("params", params.to_json());
        Some(object.to_json())
    }

    /// The server's error in the client's era. One that asks for a page to be visited is a result there.
    pub(super) fn error(&self, context: &Context, error: &str) -> Frame {
        let error = self.without_secrets(error);
        if (context.era, self.leg()) != (Era::Modern, Era::Legacy) {
            return Frame::Error(error);
        }
        match modern::url_elicitation(self.operation.method(), &error, context.asks()) {
            Some(UrlElicitation::Asks(result)) => Frame::Result(result),
            Some(UrlElicitation::Unable(error)) => Frame::Error(error),
            None => Frame::Error(modern::error_to_modern(&error)),
        }
    }

    /// The result in the client's era, with its URIs as this client can use them.
    pub(super) fn result(
        &self,
        gateway: &Gateway,
        context: &Context,
        result: String,
    ) -> Result<String, CallError> {
        let result = self.with_uris(gateway, context, result);
        let seen = self.seen(gateway, context);
        let renamed = match &self.tasked {
            Some(tasked) => tasked.result(&seen, &self.operation, &result),
            None if self.leg() == Era::Modern => tasks::made(&seen, &result),
            None => None,
        };
        let result = renamed.unwrap_or(result);
        let translated = match (context.era, self.leg(), &self.phase) {
            (Era::Modern, Era::Legacy, Phase::Open(exchange)) => {
                let info = exchange.session().introduction.server_info.as_deref();
                modern::result_to_modern(self.operation.method(), &result, info)
            }
            (Era::Legacy, Era::Modern, _) => {
                modern::result_to_legacy(&result).map(|result| self.as_object(result))
            }
            (Era::Legacy, Era::Legacy, _) if self.wraps => return Ok(self.as_object(result)),
            (Era::Modern, Era::Modern, _) => return Ok(self.for_whom(context, result)),
            _ => return Ok(result),
        };
        translated.map_err(|error| {
            let error = trunkline_upstream::fault::printable(&error.to_string());
            self.failed(Fault::protocol(
                Step::Call,
                format!("the result cannot be translated: {error}"),
            ))
        })
    }

    /// A tool's result whose structured content is an object, for clients that know no other.
    fn as_object(&self, result: String) -> String {
        let wrapped = matches!(self.operation, Operation::CallTool | Operation::TaskResult)
            .then(|| wrap::value(&result, self.wraps))
            .flatten();
        wrapped.unwrap_or(result)
    }

    /// What was read with a client's own credential, or of servers that it chose, is nobody else's, whatever the server says.
    fn for_whom(&self, context: &Context, result: String) -> String {
        if self.operation != Operation::ReadResource || context.is_public(&self.server) {
            return result;
        }
        modern::as_private(&result).unwrap_or(result)
    }

    fn with_uris(&self, gateway: &Gateway, context: &Context, result: String) -> String {
        let holder = match self.operation {
            Operation::CallTool | Operation::TaskResult => Holder::Content,
            Operation::GetPrompt => Holder::Messages,
            Operation::ReadResource => Holder::Contents,
            _ => return result,
        };
        let rewritten = if holder == Holder::Contents {
            let prefix = self.server.prefix();
            self.qualified
                .then(|| uris::rewrite(holder, &result, &|own| Some(uri::qualified(&prefix, own))))
                .flatten()
        } else if uris::may_hold(&result) && context.several() {
            let exposer = Exposer::new(gateway, context, &self.server);
            uris::rewrite(holder, &result, &|own| exposer.exposed(own))
        } else {
            None
        };
        rewritten.unwrap_or(result)
    }

    /// Progress for a token that nobody gave is dropped: it would be attributed to the wrong call.
    fn with_clients_token(&self, message: &str) -> Option<String> {
        let token = &self.progress.as_ref()?.token;
        let mut object = RawObject::parse(message).ok()?;
        let params = object.get("params")?.to_owned();
        let mut params = RawObject::parse(&params).ok()?;
        (params.get("progressToken") == Some(token.upstream.as_str())).then_some(())?;
        params.set("progressToken", token.client.clone());
        object.set("params", params.to_json());
        Some(object.to_json())
    }
}

/// Whether a log message is at least as severe as what a request of the new era asks for; without asking, none is sent.
fn is_wanted(level: Option<&str>, message: &str) -> bool {
    let severity = || {
        let message = RawObject::parse(message).ok()?;
        let level = RawObject::parse(message.get("params")?)
            .ok()?
            .get_string("level")?;
        modern::severity(&level)
    };
    match (level.and_then(modern::severity), severity()) {
        (Some(wanted), Some(own)) => own >= wanted,
        _ => false,
    }
}

/// A notification that is not about one request, as a client of `context` is to see it; `None` if it is not for it.
pub fn outside(
    gateway: &Gateway,
    context: &Context,
    server: &Server,
    method: &str,
    message: String,
) -> Option<String> {
    if method != "notifications/resources/updated" {
        let seen = Seen {
            gateway,
            context,
            server,
            tool: None,
        };
        return seen.message(method, message);
    }
    if !context.may_use_whole(server) {
        // It was taken away from this client since.
        return None;
    }
    let rewritten = || {
        let mut object = RawObject::parse(&message).ok()?;
        let exposer = Exposer::new(gateway, context, server);
        let params = uris::uri_of(object.get("params")?, &|own| exposer.exposed(own))?;
        object.set("params", params);
        Some(object.to_json())
    };
    Some(rewritten().unwrap_or(message))
}

static IS_ERROR: Word = Word::new("isError");

/// The record's word for a result: `isError: true` is a tool error, not a success (B65), and a question is no answer.
pub fn result_word(result: &str) -> &'static str {
    if !IS_ERROR.may_be_in(result) && !modern::RESULT_TYPE.may_be_in(result) {
        return "ok";
    }
    let Ok(result) = RawObject::parse(result) else {
        return "ok";
    };
    match (result.get("isError"), result.get("resultType")) {
        (Some("true"), _) => "tool_error",
        (_, Some("\"input_required\"")) => "input_required",
        _ => "ok",
    }
}

/// The first text of a tool error, bounded, for the record and the log.
pub fn tool_error_text(result: &str) -> Option<String> {
    // Taken apart, a result is many times its size; nobody reads a long one in a log.
    if result.len() > 256 * 1024 {
        return Some(format!("an error of {} bytes", result.len()));
    }
    let value: serde_json::Value = serde_json::from_str(result).ok()?;
    let text = value.pointer("/content/0/text")?.as_str()?;
    Some(trunkline_upstream::fault::printable(text))
}
