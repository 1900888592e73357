//! The dialects that clients and providers speak.

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// What clients speak, too.
    By(Dialect),
    /// Gemini's `generateContent`, which no client speaks here.
    Gemini,
    /// Bedrock's Converse, which no client speaks here.
    Bedrock,
}

/// How requests, answers and streams of clients are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's: chat completions, completions, embeddings.
    OpenAi,
    /// OpenAI's newer one: responses.
    Responses,
    /// Anthropic's: messages.
    Anthropic,
}
