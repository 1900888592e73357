//! What is asked of one server.

use std::borrow::Cow;

use trunkline_mcp::task;
use trunkline_model::CallKind;

/// What is asked of one server. One more method: one variant, its words below, and where its target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `tools/call`.
    CallTool,
    /// `prompts/get`.
    GetPrompt,
    /// `resources/read`.
    ReadResource,
    /// `resources/subscribe`.
    Subscribe,
    /// `resources/unsubscribe`.
    Unsubscribe,
    /// `completion/complete`.
    Complete,
    /// `tasks/get`.
    GetTask,
    /// `tasks/update`, of 2026-07-28.
    UpdateTask,
    /// `tasks/cancel`.
    CancelTask,
    /// `tasks/result`, of 2025-11-25.
    TaskResult,
    /// `tasks/list`, of 2025-11-25.
    ListTasks,
    /// A method that is not known here, for the one server that it can be for.
    Other(String),
}

impl Operation {
    /// The JSON-RPC method.
    pub fn method(&self) -> &str {
        match self {
            Self::Other(method) => method,
            known => known.known_method(),
        }
    }

    /// The same, for whoever outlives the operation.
    pub fn method_name(&self) -> Cow<'static, str> {
        match self {
            Self::Other(method) => Cow::Owned(method.clone()),
            known => Cow::Borrowed(known.known_method()),
        }
    }

    /// Of those that are known; of others, nothing.
    fn known_method(&self) -> &'static str {
        match self {
            Self::CallTool => "tools/call",
            Self::GetPrompt => "prompts/get",
            Self::ReadResource => "resources/read",
            Self::Subscribe => "resources/subscribe",
            Self::Unsubscribe => "resources/unsubscribe",
            Self::Complete => "completion/complete",
            Self::GetTask => "tasks/get",
            Self::UpdateTask => "tasks/update",
            Self::CancelTask => task::CANCEL,
            Self::TaskResult => task::RESULT,
            Self::ListTasks => "tasks/list",
            Self::Other(_) => "",
        }
    }

    /// The inverse of [`Operation::method`] for those that are known.
    pub fn of_method(method: &str) -> Option<Self> {
        [
            Self::CallTool,
            Self::GetPrompt,
            Self::ReadResource,
            Self::Subscribe,
            Self::Unsubscribe,
            Self::Complete,
            Self::GetTask,
            Self::UpdateTask,
            Self::CancelTask,
            Self::TaskResult,
            Self::ListTasks,
        ]
        .into_iter()
        .find(|own| own.method() == method)
    }

    /// Whether limits hold for it: what gives something back is not refused.
    pub fn is_limited(&self) -> bool {
        !matches!(self, Self::Unsubscribe | Self::CancelTask)
    }

    /// What the record calls it.
    pub fn kind(&self) -> CallKind {
        match self {
            Self::CallTool => CallKind::CallTool,
            Self::GetPrompt => CallKind::GetPrompt,
            Self::ReadResource => CallKind::ReadResource,
            Self::Subscribe | Self::Unsubscribe => CallKind::SubscribeResource,
            Self::Complete => CallKind::Complete,
            Self::GetTask
            | Self::UpdateTask
            | Self::CancelTask
            | Self::TaskResult
            | Self::ListTasks
            | Self::Other(_) => CallKind::Other,
        }
    }
}
