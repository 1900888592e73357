//! What Gemini generates in pieces, read. Each is as a whole answer, with what is new; calls come whole.

use super::answer_in::{Counts, Wire, stop};
use crate::translate::Unreadable;
use crate::translate::answer::{Event, Stop};
use crate::translate::conversation::Kind;
use crate::{ProviderError, Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Text,
    Thought,
}

/// Reads one stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct Reader {
    id: Option<String>,
    open: Option<Part>,
    calls: usize,
    stop: Option<Stop>,
    pub(in crate::translate) usage: Option<Usage>,
    is_over: bool,
}

impl Reader {
    /// Takes the data of an event.
    pub(in crate::translate) fn data(&mut self, data: &str, out: &mut Vec<Event>) -> Result<(), Unreadable> {
        if self.is_over {
            return Ok(());
        }
        let wire: Wire = serde_json::from_str(data)
            .map_err(|error| Unreadable(format!("a piece of the stream is no generated content: {error}")))?;
        if let Some(error) = wire.error {
            self.is_over = true;
            let said = ProviderError::read(error.get().as_bytes());
            out.push(Event::Failed {
                kind: said.kind,
                message: said.message,
                json: error.get().to_owned(),
            });
            return Ok(());
        }
        if self.id.is_none() {
            let id = wire.response_id.unwrap_or_default();
            out.push(Event::Begin { id: id.clone() });
            self.id = Some(id);
        }
        self.usage = wire.usage_metadata.map(Counts::usage).or(self.usage);
        if wire.prompt_feedback.and_then(|own| own.block_reason).is_some() {
            self.stop = Some(Stop::Refusal);
        }
        for candidate in wire
            .candidates
            .into_iter()
            .filter(|own| own.index.unwrap_or(0) == 0)
        {
            for piece in candidate.content.map(|own| own.parts).unwrap_or_default() {
                let (id, index) = (self.id.clone().unwrap_or_default(), self.calls);
                if let Some(kind) = piece.kind(|| format!("call_{id}_{index}")) {
                    self.piece(kind, out);
                }
            }
            if let Some(word) = candidate.finish_reason {
                self.stop = Some(stop(&word, self.calls > 0));
            }
        }
        Ok(())
    }

    /// The stream is over; whether it was complete. Nothing else says so but the reason.
    pub(in crate::translate) fn finish(&mut self, out: &mut Vec<Event>) -> bool {
        if let (false, Some(stop)) = (self.is_over, self.stop.take()) {
            self.close(out);
            out.extend([Event::Stop(stop), Event::Done]);
            self.is_over = true;
        }
        self.is_over
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        out.extend(self.open.take().map(|_| Event::Close));
    }

    fn opens(&mut self, part: Part, kind: Kind, out: &mut Vec<Event>) {
        if self.open != Some(part) {
            self.close(out);
            self.open = Some(part);
            out.push(Event::Open(kind));
        }
    }

    fn piece(&mut self, kind: Kind, out: &mut Vec<Event>) {
        match kind {
            Kind::Text(text) => {
                self.opens(Part::Text, Kind::Text(String::new()), out);
                out.push(Event::Text(text));
            }
            Kind::Thinking { text, .. } => {
                let empty = Kind::Thinking {
                    text: String::new(),
                    signature: None,
                };
                self.opens(Part::Thought, empty, out);
                out.push(Event::Thinking(text));
            }
            Kind::ToolUse { id, name, input } => {
                self.close(out);
                self.calls += 1;
                let call = Kind::ToolUse {
                    id,
                    name,
                    input: String::new(),
                };
                out.extend([Event::Open(call), Event::Arguments(input), Event::Close]);
            }
            other => {
                self.close(out);
                out.extend([Event::Open(other), Event::Close]);
            }
        }
    }
}
