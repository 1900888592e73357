//! The operations that are relayed, and the paths that clients know them by.

use crate::Dialect;

/// One operation of OpenAI's or Anthropic's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Messages,
        Self::CountTokens,
    ];
    /// Those of OpenAI's.
    pub const OPENAI: [Self; 3] = [Self::ChatCompletions, Self::Completions, Self::Embeddings];
    /// Those of Anthropic's.
    pub const ANTHROPIC: [Self; 2] = [Self::Messages, Self::CountTokens];

    /// What comes after a provider's base address, and after `/v1` here.
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::CountTokens => "messages/count_tokens",
        }
    }

    /// Whether its answer can come in pieces.
    pub fn streams(self) -> bool {
        !matches!(self, Self::Embeddings | Self::CountTokens)
    }

    /// How its requests and answers are written.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Embeddings => Dialect::OpenAi,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
        }
    }

    /// The operation of another dialect that does the same.
    pub fn other(self) -> Option<Self> {
        match self {
            Self::ChatCompletions => Some(Self::Messages),
            Self::Messages => Some(Self::ChatCompletions),
            Self::Completions | Self::Embeddings | Self::CountTokens => None,
        }
    }
}
