//! What is written down about each request, once (B65): the source of usage, audit and spend.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::{Payers, RequestId, ServerId, SessionKey};

/// One operation of one caller.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// The request.
    pub request_id: RequestId,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, microseconds.
    pub duration_us: u64,
    /// What was asked.
    pub kind: CallKind,
    /// Who asked ([`crate::Principal::id`]).
    pub principal: String,
    /// The session, if the client has one.
    pub session: Option<SessionKey>,
    /// Server, if one was resolved; of a request to a model its deployment.
    pub server_id: Option<ServerId>,
    /// The own name of the tool or prompt that was asked for, the URI of the resource, or the name of the model.
    pub tool: Option<String>,
    /// `ok`, `tool_error` (`isError: true`), `denied`, `client_gone`, or an [`crate::OutcomeStatus`] name.
    pub outcome: &'static str,
    /// The message of an error, bounded, without secrets.
    pub error: Option<String>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes sent to the client.
    pub response_bytes: u64,
    /// Who pays.
    pub payers: Payers,
    /// What it cost, billionths of a dollar. `None`: nobody knows.
    pub cost: Option<i64>,
    /// What budgets are charged where nobody knows what it cost: what is known of it, billionths of a dollar.
    pub at_least: i64,
    /// What a model took.
    pub model: Option<Box<ModelUse>>,
    /// By what else it is to be found and summed up.
    pub tags: Vec<String>,
    /// From where it came, if that is known.
    pub client: Option<IpAddr>,
}

impl CallRecord {
    /// What those who pay are charged, billionths of a dollar.
    pub fn charge(&self) -> i64 {
        self.cost.unwrap_or(self.at_least)
    }
}

/// What a request to a model took. What nobody said is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelUse {
    /// LiteLLM's prefix of the provider.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// Where it was asked.
    pub api_base: String,
    /// Tokens of the request, all of them.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, all of them.
    pub output_tokens: Option<u64>,
    /// Of the request: read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Of the request: put into a cache.
    pub cache_write_tokens: Option<u64>,
    /// Of the answer: what was thought.
    pub reasoning_tokens: Option<u64>,
    /// The provider did not say what it took: the numbers are the gateway's guess.
    pub is_estimated: bool,
}

impl ModelUse {
    /// What two answers took together: of the later one it is said who gave it.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        Self {
            input_tokens: sum(self.input_tokens, later.input_tokens),
            output_tokens: sum(self.output_tokens, later.output_tokens),
            cache_read_tokens: sum(self.cache_read_tokens, later.cache_read_tokens),
            cache_write_tokens: sum(self.cache_write_tokens, later.cache_write_tokens),
            reasoning_tokens: sum(self.reasoning_tokens, later.reasoning_tokens),
            is_estimated: self.is_estimated || later.is_estimated,
            ..later
        }
    }
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// `tools/list`; LiteLLM's `call_type` `list_mcp_tools`.
    ListTools,
    /// `tools/call`; LiteLLM's `call_type` `call_mcp_tool`.
    CallTool,
    /// `prompts/list`.
    ListPrompts,
    /// `prompts/get`.
    GetPrompt,
    /// `resources/list`.
    ListResources,
    /// `resources/templates/list`.
    ListResourceTemplates,
    /// `resources/read`.
    ReadResource,
    /// `resources/subscribe` and `resources/unsubscribe`.
    SubscribeResource,
    /// `completion/complete`.
    Complete,
    /// A method of a capability or extension that one server declares.
    Other,
    /// A chat with a model.
    ChatCompletion,
    /// A text that a model goes on with.
    TextCompletion,
    /// Vectors for texts.
    Embedding,
    /// A message of a model, in Anthropic's dialect.
    Message,
    /// How many tokens a message would take.
    CountTokens,
    /// A response of a model, in OpenAI's newer dialect.
    Response,
    /// A response that a provider keeps.
    GetResponse,
    /// It is to be kept no longer.
    DeleteResponse,
    /// It is to be written no further.
    CancelResponse,
    /// What was asked for it.
    ListResponseItems,
    /// The order of documents by how well they answer.
    Rerank,
    /// Whether a text is harmful.
    Moderation,
    /// Pictures of a model.
    ImageGeneration,
    /// A text that is said aloud.
    Speech,
    /// What is said in a sound.
    Transcription,
    /// Anything of a provider's API, as it is.
    PassThrough,
}

impl CallKind {
    /// Whether it can cost something.
    pub fn is_paid(self) -> bool {
        matches!(
            self,
            Self::CallTool
                | Self::ChatCompletion
                | Self::TextCompletion
                | Self::Embedding
                | Self::Message
                | Self::Response
                | Self::Rerank
                | Self::Moderation
                | Self::ImageGeneration
                | Self::Speech
                | Self::Transcription
                | Self::PassThrough
        )
    }

    /// LiteLLM's `call_type`, and more words of the same form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ListTools => "list_mcp_tools",
            Self::CallTool => "call_mcp_tool",
            Self::ListPrompts => "list_mcp_prompts",
            Self::GetPrompt => "get_mcp_prompt",
            Self::ListResources => "list_mcp_resources",
            Self::ListResourceTemplates => "list_mcp_resource_templates",
            Self::ReadResource => "read_mcp_resource",
            Self::SubscribeResource => "subscribe_mcp_resource",
            Self::Complete => "complete_mcp_argument",
            Self::Other => "call_mcp_method",
            Self::ChatCompletion => "acompletion",
            Self::TextCompletion => "atext_completion",
            Self::Embedding => "aembedding",
            Self::Message => "anthropic_messages",
            Self::CountTokens => "acount_tokens",
            Self::Response => "aresponses",
            Self::GetResponse => "aget_responses",
            Self::DeleteResponse => "adelete_responses",
            Self::CancelResponse => "acancel_responses",
            Self::ListResponseItems => "alist_input_items",
            Self::Rerank => "arerank",
            Self::Moderation => "amoderation",
            Self::ImageGeneration => "aimage_generation",
            Self::Speech => "aspeech",
            Self::Transcription => "atranscription",
            Self::PassThrough => "pass_through_endpoint",
        }
    }
}
