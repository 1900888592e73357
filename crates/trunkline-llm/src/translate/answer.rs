//! What a model answered, whichever dialect it came in: whole, or as it comes.

use super::conversation::Kind;
use crate::Usage;

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The provider's id of it.
    pub id: String,
    /// Text, thoughts, calls of tools.
    pub parts: Vec<Part>,
    /// Why it ends.
    pub stop: Option<Stop>,
    /// What it took.
    pub usage: Option<Usage>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is: never a result, a picture or a document.
    pub kind: Kind,
    /// JSON text of Anthropic's `citations`.
    pub citations: Option<String>,
}

impl Part {
    /// One without citations.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            citations: None,
        }
    }
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All is said.
    End,
    /// One of the texts that end it, which one if that is said.
    Sequence(Option<String>),
    /// It may not be longer.
    Length,
    /// Tools are to be called.
    Tools,
    /// The model, or a filter of the provider's, does not want to say it.
    Refusal,
    /// The provider makes a pause; the client may ask it to go on.
    Pause,
}

/// One step of an answer that comes in pieces. At most one part is open at a time: whoever reads a dialect sees to that.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It begins.
    Begin {
        /// The provider's id of it.
        id: String,
    },
    /// A part begins. Of a text, a thought or a call, what is in it comes after.
    Open(Kind),
    /// More text.
    Text(String),
    /// More thought.
    Thinking(String),
    /// The proof of what was thought.
    Signature(String),
    /// More of the JSON text of a call's arguments.
    Arguments(String),
    /// JSON text of a citation of the text that is open.
    Citation(String),
    /// The part ends.
    Close,
    /// Why the answer ends.
    Stop(Stop),
    /// The provider is still there.
    Ping,
    /// It fails in the middle.
    Failed {
        /// The provider's type of it.
        kind: Option<String>,
        /// Its words.
        message: String,
        /// JSON text of all that it says.
        json: String,
    },
    /// It is complete.
    Done,
}
