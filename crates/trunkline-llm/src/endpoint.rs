//! The operations that are relayed, and the paths that clients know them by.
//!
//! Those of [`Endpoint::OTHERS`] are not about texts that a model goes on with: each has one dialect, nothing of it is translated, and what
//! it takes is not counted in tokens alone ([`crate::measure`]).

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
    /// `POST /v1/responses`, and what is asked of one that was kept.
    Responses,
    /// `POST /v1/rerank`, in Cohere's dialect.
    Rerank,
    /// `POST /v1/moderations`
    Moderations,
    /// `POST /v1/images/generations`
    ImageGenerations,
    /// `POST /v1/audio/speech`: its answer is sound.
    Speech,
    /// `POST /v1/audio/transcriptions`: its request is a form with a file.
    Transcriptions,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Messages,
        Self::CountTokens,
        Self::Responses,
        Self::Rerank,
        Self::Moderations,
        Self::ImageGenerations,
        Self::Speech,
        Self::Transcriptions,
    ];
    /// Those that are not about texts that a model goes on with, or vectors.
    pub const OTHERS: [Self; 5] = [
        Self::Rerank,
        Self::Moderations,
        Self::ImageGenerations,
        Self::Speech,
        Self::Transcriptions,
    ];
    /// Those of OpenAI's.
    pub const OPENAI: [Self; 3] = [Self::ChatCompletions, Self::Completions, Self::Embeddings];
    /// Those of OpenAI itself, and of the services that have all that it has.
    pub const OPENAI_AND_RESPONSES: [Self; 4] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
    ];
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
            Self::Responses => "responses",
            Self::Rerank => "rerank",
            Self::Moderations => "moderations",
            Self::ImageGenerations => "images/generations",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
        }
    }

    /// Whether it is one of [`Self::OTHERS`].
    pub fn is_other(self) -> bool {
        Self::OTHERS.contains(&self)
    }

    /// Whether its answer can come in pieces.
    pub fn streams(self) -> bool {
        matches!(
            self,
            Self::ChatCompletions
                | Self::Completions
                | Self::Messages
                | Self::Responses
                | Self::Transcriptions
        )
    }

    /// How its requests and answers are written.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Embeddings
            | Self::Rerank
            | Self::Moderations
            | Self::ImageGenerations
            | Self::Speech
            | Self::Transcriptions => Dialect::OpenAi,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Responses => Dialect::Responses,
        }
    }

    /// The operations of other dialects that do the same, the nearest first.
    pub fn others(self) -> &'static [Self] {
        match self {
            Self::ChatCompletions => &[Self::Messages],
            Self::Messages => &[Self::ChatCompletions],
            Self::Responses | Self::Completions => &[Self::ChatCompletions, Self::Messages],
            Self::Embeddings
            | Self::CountTokens
            | Self::Rerank
            | Self::Moderations
            | Self::ImageGenerations
            | Self::Speech
            | Self::Transcriptions => &[],
        }
    }
}
