//! The dialects that clients and providers speak.

/// How requests, answers and streams are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's: chat completions, completions, embeddings.
    OpenAi,
    /// Anthropic's: messages.
    Anthropic,
}
