//! What becomes of a provider's answer on its way to the client: it passes with another name for the model, or is translated.

use trunkline_llm::responses::{self, Ids};
use trunkline_llm::stream::Renamer;
use trunkline_llm::translate::{self, Stream, Way};
use trunkline_llm::{Dialect, Task, Usage, messages, texts};

/// For whom an answer is.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    /// How it is translated; none if the provider speaks as the client does.
    pub(super) way: Option<Way>,
    /// What else becomes of it.
    pub(super) task: Task,
    /// What the client speaks.
    pub(super) dialect: Dialect,
    /// The name that the client asked for.
    pub(super) model: String,
    /// When, in seconds.
    pub(super) created: i64,
    /// The client did not ask what it took.
    pub(super) hides_usage: bool,
    /// What becomes of ids of responses.
    pub(super) ids: Ids,
}

impl Passing {
    /// A whole answer. `more`: those of requests that belong to it; `counted`: tokens that its headers say it took, and how many they are about.
    pub(super) fn whole(
        &self,
        text: &str,
        more: &[String],
        counted: (Option<u64>, u64),
    ) -> Result<(String, Option<Usage>), String> {
        match &self.task {
            Task::Plain => self.said(text),
            Task::Text => {
                let (chat, usage) = self.said(text)?;
                Ok((texts::answer(&chat)?, usage))
            }
            Task::Vectors(reading) => {
                let all: Vec<&str> = std::iter::once(text)
                    .chain(more.iter().map(String::as_str))
                    .collect();
                reading.answer(&all, &self.model, counted)
            }
            Task::Count(counted) => Ok((counted.answer(text)?, None)),
        }
    }

    fn said(&self, text: &str) -> Result<(String, Option<Usage>), String> {
        match (&self.way, self.dialect) {
            (Some(way), _) => translate::answer(text, way, (&self.model, self.created)),
            (None, Dialect::OpenAi) => trunkline_llm::answer::renamed(text, &self.model),
            (None, Dialect::Responses) => responses::renamed(text, &self.model, &self.ids),
            (None, Dialect::Anthropic) => messages::renamed(text, &self.model),
        }
    }

    /// One that comes in pieces; at most `limit` bytes are kept of one.
    pub(super) fn pieces(&self, limit: usize) -> Pieces {
        let pieces = self.pieces_of_all(limit);
        if self.task == Task::Text {
            return Pieces::Texts(Box::new(pieces), texts::Lines::default());
        }
        pieces
    }

    fn pieces_of_all(&self, limit: usize) -> Pieces {
        match (&self.way, self.dialect) {
            (Some(way), _) => {
                let stream = Stream::new(way.clone(), (&self.model, self.created), limit);
                Pieces::Translated(Box::new(stream))
            }
            (None, Dialect::OpenAi) => {
                Pieces::Same(Renamer::new(&self.model, limit).hiding_usage(self.hides_usage))
            }
            (None, Dialect::Responses) => {
                let own = responses::Renamer::new(&self.model, self.ids.clone(), limit);
                Pieces::Responses(own)
            }
            (None, Dialect::Anthropic) => Pieces::Messages(messages::Renamer::new(&self.model, limit)),
        }
    }
}

/// An answer in pieces.
pub(super) enum Pieces {
    Same(Renamer),
    Messages(messages::Renamer),
    Responses(responses::Renamer),
    Translated(Box<Stream>),
    /// A chat that becomes a completion.
    Texts(Box<Pieces>, texts::Lines),
}

impl Pieces {
    /// Takes a piece; what can be passed on is appended to `out`. Errors if it cannot be read on.
    pub(super) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Same(own) => own.feed(piece, out).map_err(|error| error.to_string()),
            Self::Messages(own) => own.feed(piece, out).map_err(|error| error.to_string()),
            Self::Responses(own) => own.feed(piece, out).map_err(|error| error.to_string()),
            Self::Translated(own) => own.feed(piece, out).map_err(|error| error.to_string()),
            Self::Texts(own, lines) => {
                let mut chat = Vec::with_capacity(piece.len() + 64);
                let fed = own.feed(piece, &mut chat);
                lines.feed(&chat, out);
                fed
            }
        }
    }

    /// What is left of it. Errors if it ended too early, where that can be known.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Same(own) => own.finish(out),
            Self::Messages(own) => own.finish(out),
            Self::Responses(own) => own.finish(out),
            Self::Translated(own) => own.finish(out).map_err(|error| error.to_string())?,
            Self::Texts(own, lines) => {
                let mut chat = Vec::new();
                let finished = own.finish(&mut chat);
                lines.feed(&chat, out);
                lines.finish(out);
                finished?;
            }
        }
        Ok(())
    }

    /// What it says that it took, so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            Self::Same(own) => own.usage(),
            Self::Messages(own) => own.usage(),
            Self::Responses(own) => own.usage(),
            Self::Translated(own) => own.usage(),
            Self::Texts(own, _) => own.usage(),
        }
    }

    /// The number of the next event, where events have numbers.
    pub(super) fn next_number(&self) -> Option<u64> {
        match self {
            Self::Same(_) | Self::Messages(_) | Self::Texts(..) => None,
            Self::Responses(own) => Some(own.next_number()),
            Self::Translated(own) => own.next_number(),
        }
    }

    /// The error that the provider told of in its middle: JSON text.
    pub(super) fn error(&self) -> Option<&str> {
        match self {
            Self::Same(own) => own.error(),
            Self::Messages(own) => own.error(),
            Self::Responses(own) => own.error(),
            Self::Translated(own) => own.error(),
            Self::Texts(own, _) => own.error(),
        }
    }
}
