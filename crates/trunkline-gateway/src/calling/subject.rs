//! What a call is about, for whoever asks later whether its caller may have it still: a parked call that goes on, an answer that is
//! read on. The one function decides again, with who asks, from where, and what there is by then.

use std::sync::Arc;

use trunkline_mcp::ListKind;
use trunkline_mcp::edit::RawObject;
use trunkline_model::{Server, ServerId};
use trunkline_policy::CallFacts;

use super::{Call, Operation};
use crate::Gateway;
use crate::context::Context;

/// What a call is about.
#[derive(Clone, Debug)]
pub struct Subject {
    pub(crate) server: ServerId,
    /// The upstream's name of the tool or prompt, or its URI of the resource.
    pub(crate) name: String,
    /// The tool's annotations, where a condition reads them.
    pub(crate) annotations: Option<Box<str>>,
    pub(crate) operation: Operation,
    /// The parameters, with the server's own names: raw JSON.
    pub(crate) params: Arc<str>,
}

impl Subject {
    /// Whether a caller may make such a call now, on its route.
    pub fn is_allowed(&self, gateway: &Gateway, context: &Context) -> bool {
        let Some(server) = context.servers().find(|server| server.id == self.server) else {
            return false;
        };
        let kind = match self.operation {
            Operation::CallTool => return self.is_tool_allowed(gateway, context, server),
            Operation::GetPrompt => ListKind::Prompts,
            Operation::ReadResource | Operation::Subscribe | Operation::Unsubscribe => ListKind::Resources,
            Operation::Complete | Operation::Other(_) => return context.may_use_whole(server),
            _ => return true,
        };
        context.may_use(server, kind, &self.name).is_allow()
    }

    /// Its arguments are what they were when it began; whose call it is, and when, may be something else now.
    fn is_tool_allowed(&self, gateway: &Gateway, context: &Context, server: &Server) -> bool {
        let Ok(params) = RawObject::parse(&self.params) else {
            return false;
        };
        let call = CallFacts {
            arguments: params.get("arguments").unwrap_or("{}"),
            now: gateway.clock.now(),
        };
        let annotations = self.annotations.as_deref();
        context.may_call(server, &self.name, annotations, call).is_allow()
    }
}

impl Call {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        Subject {
            server: self.server.id.clone(),
            name: self.name.clone(),
            annotations: self.annotations.clone(),
            operation: self.operation.clone(),
            params: self.params.clone(),
        }
    }

    /// Whether the caller may make it still, on this route.
    pub fn is_allowed(&self, gateway: &Gateway, context: &Context) -> bool {
        self.subject().is_allowed(gateway, context)
    }
}
