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

/// Puts an answer together that comes in pieces.
#[derive(Debug, Default)]
pub struct Assembly {
    answer: Answer,
    open: Option<Part>,
}

impl Assembly {
    /// Takes a step.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Begin { id } => self.answer.id.clone_from(id),
            Event::Open(kind) => {
                self.close();
                self.open = Some(Part::new(kind.clone()));
            }
            Event::Close => self.close(),
            Event::Stop(stop) => self.answer.stop = Some(stop.clone()),
            Event::Text(more) | Event::Thinking(more) | Event::Arguments(more) | Event::Signature(more) => {
                self.add(event, more);
            }
            Event::Citation(json) => {
                if let Some(open) = &mut self.open {
                    let own = open.citations.take();
                    let own = own.and_then(|own| own.strip_suffix(']').map(|own| format!("{own},{json}]")));
                    open.citations = Some(own.unwrap_or_else(|| format!("[{json}]")));
                }
            }
            Event::Ping | Event::Failed { .. } | Event::Done => {}
        }
    }

    fn add(&mut self, event: &Event, more: &str) {
        match (event, self.open.as_mut().map(|open| &mut open.kind)) {
            (Event::Text(_), Some(Kind::Text(text)))
            | (Event::Thinking(_), Some(Kind::Thinking { text, .. }))
            | (Event::Arguments(_), Some(Kind::ToolUse { input: text, .. })) => text.push_str(more),
            (Event::Signature(_), Some(Kind::Thinking { signature, .. })) => {
                signature.get_or_insert_default().push_str(more);
            }
            _ => {}
        }
    }

    fn close(&mut self) {
        self.answer.parts.extend(self.open.take());
    }

    /// What it is by now.
    pub fn done(mut self) -> Answer {
        self.close();
        self.answer
    }
}

impl Part {
    /// The same as steps.
    pub fn events(self) -> Vec<Event> {
        let mut events = Vec::new();
        match self.kind {
            Kind::Text(text) => {
                events.push(Event::Open(Kind::Text(String::new())));
                events.push(Event::Text(text));
            }
            Kind::Thinking { text, signature } => {
                let (empty, none) = (String::new(), None);
                events.push(Event::Open(Kind::Thinking {
                    text: empty,
                    signature: none,
                }));
                events.push(Event::Thinking(text));
                events.extend(signature.map(Event::Signature));
            }
            Kind::ToolUse { id, name, input } => {
                let empty = String::new();
                events.push(Event::Open(Kind::ToolUse {
                    id,
                    name,
                    input: empty,
                }));
                events.push(Event::Arguments(input));
            }
            kind => events.push(Event::Open(kind)),
        }
        events.push(Event::Close);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_pieces_is_the_same_whole() {
        let parts = vec![
            Part::new(Kind::Thinking {
                text: "hm".to_owned(),
                signature: Some("s".to_owned()),
            }),
            Part::new(Kind::Redacted("r".to_owned())),
            Part::new(Kind::Text("Hi".to_owned())),
            Part::new(Kind::ToolUse {
                id: "c".to_owned(),
                name: "f".to_owned(),
                input: "{\"a\":1}".to_owned(),
            }),
        ];
        let mut assembly = Assembly::default();
        assembly.hear(&Event::Begin { id: "x".to_owned() });
        for event in parts.iter().cloned().flat_map(Part::events) {
            assembly.hear(&event);
        }
        assembly.hear(&Event::Stop(Stop::Tools));
        let answer = assembly.done();
        assert_eq!((answer.id.as_str(), answer.stop), ("x", Some(Stop::Tools)));
        assert_eq!(answer.parts, parts);
    }
}
