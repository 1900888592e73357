//! A stream, translated as it comes.

use super::answer::Event;
use super::sse::{Events, Item};
use super::{Unreadable, Way, anthropic, gemini, no_word, openai, responses};
use crate::{Dialect, Spoken, Usage};

#[derive(Debug)]
enum Reading {
    OpenAi(openai::stream_in::Reader),
    Anthropic(anthropic::stream_in::Reader),
    Gemini(gemini::stream_in::Reader),
}

#[derive(Debug)]
enum Writing {
    OpenAi(openai::stream_out::Writing),
    Responses(responses::stream_out::Writing),
    Anthropic(anthropic::stream_out::Writing),
}

/// Translates one stream. Nothing waits for more than the end of its event, but for calls of tools that come mixed.
#[derive(Debug)]
pub struct Stream {
    events: Events,
    inner: Inner,
}

/// What becomes of the events.
#[derive(Debug)]
struct Inner {
    way: Way,
    reading: Reading,
    writing: Writing,
    /// Pieces of parts that were told.
    events: u64,
    is_done: bool,
    error: Option<String>,
}

impl Stream {
    /// For a client that asked for `model` at the time `created` (seconds); at most `limit` bytes are kept of an event.
    pub fn new(way: Way, (model, created): (&str, i64), limit: usize) -> Self {
        let reading = match way.provider {
            // No request is translated into responses, so that no answer is translated from them.
            Spoken::By(Dialect::OpenAi | Dialect::Responses) => {
                Reading::OpenAi(openai::stream_in::Reader::new(limit))
            }
            Spoken::By(Dialect::Anthropic) => Reading::Anthropic(anthropic::stream_in::Reader::new(limit)),
            Spoken::Gemini => Reading::Gemini(gemini::stream_in::Reader::default()),
        };
        let writing = match way.client {
            Dialect::OpenAi => Writing::OpenAi(openai::stream_out::Writing::new(
                model,
                created,
                way.include_usage,
            )),
            Dialect::Responses => Writing::Responses(responses::stream_out::Writing::new(
                model,
                created,
                way.repeated.clone(),
            )),
            Dialect::Anthropic => Writing::Anthropic(anthropic::stream_out::Writing::new(model)),
        };
        Self {
            events: Events::new(limit),
            inner: Inner {
                way,
                reading,
                writing,
                events: 0,
                is_done: false,
                error: None,
            },
        }
    }

    /// Takes a piece; what can be told is appended to `out`, also what came before a mistake.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let Self { events, inner } = self;
        events.feed(piece, |item| inner.item(item, out))
    }

    /// The stream is over: what is left of it. Errors if it was not complete.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        if let Some(item) = self.events.finish()? {
            self.inner.item(item, out)?;
        }
        self.inner.finish(out)
    }

    /// What the stream says that it took, so far.
    pub fn usage(&self) -> Option<Usage> {
        self.inner.usage()
    }

    /// The number that the client's next event has, where they have numbers.
    pub fn next_number(&self) -> Option<u64> {
        match &self.inner.writing {
            Writing::Responses(own) => Some(own.next_number()),
            Writing::OpenAi(_) | Writing::Anthropic(_) => None,
        }
    }

    /// Events so far that said something.
    pub fn events(&self) -> u64 {
        self.inner.events
    }

    /// Whether the stream said that it is complete.
    pub fn is_done(&self) -> bool {
        self.inner.is_done
    }

    /// The error that the stream told of in its middle: JSON text.
    pub fn error(&self) -> Option<&str> {
        self.inner.error.as_deref()
    }
}

impl Inner {
    fn item(&mut self, item: Item, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let mut told = Vec::new();
        let read = match (item, &mut self.reading) {
            // Nothing follows the end.
            (Item::Comment, _) if self.is_done || self.error.is_some() => Ok(()),
            (Item::Comment, _) => {
                told.push(Event::Ping);
                Ok(())
            }
            (Item::Data(data), Reading::OpenAi(own)) => own.data(&data, &self.way, &mut told),
            (Item::Data(data), Reading::Anthropic(own)) => own.data(&data, &self.way, &mut told),
            (Item::Data(data), Reading::Gemini(own)) => own.data(&data, &mut told),
        };
        self.write(told, out)?;
        read
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let mut told = Vec::new();
        let is_over = match &mut self.reading {
            Reading::OpenAi(own) => own.finish(&self.way, &mut told)?,
            Reading::Anthropic(own) => own.is_over(),
            Reading::Gemini(own) => own.finish(&mut told),
        };
        self.write(told, out)?;
        if is_over {
            Ok(())
        } else {
            Err(Unreadable("the stream ended before it was complete".to_owned()))
        }
    }

    fn write(&mut self, told: Vec<Event>, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let usage = self.usage();
        for event in told {
            match &event {
                Event::Failed { json, .. } => self.error = Some(json.clone()),
                Event::Done => self.is_done = true,
                Event::Text(_) | Event::Thinking(_) | Event::Arguments(_) => self.events += 1,
                _ => {}
            }
            match &mut self.writing {
                Writing::OpenAi(own) => own.event(event, usage.as_ref(), out),
                Writing::Responses(own) => own.event(event, usage.as_ref(), out),
                Writing::Anthropic(own) => {
                    if let Event::Open(kind) = &event {
                        no_word(std::iter::once(kind)).map_err(Unreadable)?;
                    }
                    own.event(event, usage.as_ref(), out);
                }
            }
        }
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        match &self.reading {
            Reading::OpenAi(own) => own.usage,
            Reading::Anthropic(own) => own.counts.usage(),
            Reading::Gemini(own) => own.usage,
        }
    }
}
