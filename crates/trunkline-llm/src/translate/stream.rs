//! A stream, translated as it comes.

use super::answer::Event;
use super::sse::{Events, Item};
use super::{Unreadable, Way, anthropic, bedrock, gemini, no_word, openai, responses};
use crate::frames::{Frame, Frames};
use crate::{Dialect, Spoken, Usage};

#[derive(Debug)]
enum Reading {
    OpenAi(openai::stream_in::Reader),
    Anthropic(anthropic::stream_in::Reader),
    Gemini(gemini::stream_in::Reader),
    Bedrock(bedrock::stream_in::Reader),
}

/// How a stream is cut into events.
#[derive(Debug)]
enum Cut {
    Lines(Events),
    Frames(Frames),
}

/// A frame as the data of an event: an object whose one member is its name.
fn data(frame: &Frame) -> Result<Item, Unreadable> {
    let said =
        std::str::from_utf8(&frame.payload).map_err(|_| Unreadable("the stream is not UTF-8".to_owned()))?;
    let said = if said.trim().is_empty() { "{}" } else { said };
    let name = trunkline_mcp::edit::string(&frame.name);
    Ok(Item::Data(if frame.kind == "event" {
        format!("{{{name}:{said}}}")
    } else {
        format!("{{\"failed\":{{\"kind\":{name},\"said\":{said}}}}}")
    }))
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
    incoming: Incoming,
    outgoing: Outgoing,
}

impl Stream {
    /// For a client that asked for `model` at the time `created` (seconds); at most `limit` bytes are kept of an event.
    pub fn new(way: Way, head: (&str, i64), limit: usize) -> Self {
        Self {
            outgoing: Outgoing::new(&way, head),
            incoming: Incoming::new(way, limit),
        }
    }

    /// Takes a piece; what can be told is appended to `out`, also what came before a mistake.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let outgoing = &mut self.outgoing;
        self.incoming
            .feed(piece, |event, usage| outgoing.write(event, usage, out))
    }

    /// The stream is over: what is left of it. Errors if it was not complete.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let outgoing = &mut self.outgoing;
        self.incoming
            .finish(|event, usage| outgoing.write(event, usage, out))
    }

    /// What the stream says that it took, so far.
    pub fn usage(&self) -> Option<Usage> {
        self.incoming.usage()
    }

    /// The number that the client's next event has, where they have numbers.
    pub fn next_number(&self) -> Option<u64> {
        self.outgoing.next_number()
    }

    /// Events so far that said something.
    pub fn events(&self) -> u64 {
        self.outgoing.events
    }

    /// Whether the stream said that it is complete.
    pub fn is_done(&self) -> bool {
        self.outgoing.is_done
    }

    /// The error that the stream told of in its middle: JSON text.
    pub fn error(&self) -> Option<&str> {
        self.outgoing.error()
    }
}

/// A provider's stream, read.
#[derive(Debug)]
pub struct Incoming {
    events: Cut,
    inner: Inner,
}

#[derive(Debug)]
struct Inner {
    way: Way,
    reading: Reading,
    /// Nothing follows what ended it.
    is_over: bool,
}

impl Incoming {
    /// At most `limit` bytes are kept of an event.
    pub fn new(way: Way, limit: usize) -> Self {
        let reading = match way.provider {
            // No request is translated into responses, so that no answer is translated from them.
            Spoken::By(Dialect::OpenAi | Dialect::Responses) => {
                Reading::OpenAi(openai::stream_in::Reader::new(limit))
            }
            Spoken::By(Dialect::Anthropic) => Reading::Anthropic(anthropic::stream_in::Reader::new(limit)),
            Spoken::Gemini => Reading::Gemini(gemini::stream_in::Reader::default()),
            Spoken::Bedrock => Reading::Bedrock(bedrock::stream_in::Reader::default()),
        };
        let events = match way.provider {
            Spoken::Bedrock => Cut::Frames(Frames::new(limit)),
            Spoken::By(_) | Spoken::Gemini => Cut::Lines(Events::new(limit)),
        };
        Self {
            events,
            inner: Inner {
                way,
                reading,
                is_over: false,
            },
        }
    }

    /// Takes a piece. `tell` hears what it says, with what the stream says that it took by then, also before a mistake.
    pub fn feed(
        &mut self,
        piece: &[u8],
        mut tell: impl FnMut(Event, Option<&Usage>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let Self { events, inner } = self;
        match events {
            Cut::Lines(own) => own.feed(piece, |item| inner.item(item, &mut tell)),
            Cut::Frames(own) => own.feed(piece, |frame| inner.item(data(&frame)?, &mut tell)),
        }
    }

    /// The stream is over: what is left of it. Errors if it was not complete.
    pub fn finish(
        &mut self,
        mut tell: impl FnMut(Event, Option<&Usage>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        match &mut self.events {
            Cut::Lines(own) => {
                if let Some(item) = own.finish()? {
                    self.inner.item(item, &mut tell)?;
                }
            }
            Cut::Frames(own) if !own.is_whole() => {
                return Err(Unreadable("the stream ended before it was complete".to_owned()));
            }
            Cut::Frames(_) => {}
        }
        self.inner.finish(&mut tell)
    }

    /// What the stream says that it took, so far.
    pub fn usage(&self) -> Option<Usage> {
        self.inner.usage()
    }
}

type Tell<'a> = &'a mut dyn FnMut(Event, Option<&Usage>) -> Result<(), Unreadable>;

impl Inner {
    fn item(&mut self, item: Item, tell: Tell<'_>) -> Result<(), Unreadable> {
        let mut told = Vec::new();
        let read = match (item, &mut self.reading) {
            (Item::Comment, _) if self.is_over => Ok(()),
            (Item::Comment, _) => {
                told.push(Event::Ping);
                Ok(())
            }
            (Item::Data(data), Reading::OpenAi(own)) => own.data(&data, &self.way, &mut told),
            (Item::Data(data), Reading::Anthropic(own)) => own.data(&data, &self.way, &mut told),
            (Item::Data(data), Reading::Gemini(own)) => own.data(&data, &mut told),
            (Item::Data(data), Reading::Bedrock(own)) => own.data(&data, &self.way, &mut told),
        };
        self.tell(told, tell)?;
        read
    }

    fn finish(&mut self, tell: Tell<'_>) -> Result<(), Unreadable> {
        let mut told = Vec::new();
        let is_over = match &mut self.reading {
            Reading::OpenAi(own) => own.finish(&self.way, &mut told)?,
            Reading::Anthropic(own) => own.is_over(),
            Reading::Gemini(own) => own.finish(&mut told),
            Reading::Bedrock(own) => own.finish(&mut told),
        };
        self.tell(told, tell)?;
        if is_over {
            Ok(())
        } else {
            Err(Unreadable("the stream ended before it was complete".to_owned()))
        }
    }

    fn tell(&mut self, told: Vec<Event>, tell: Tell<'_>) -> Result<(), Unreadable> {
        let usage = self.usage();
        for event in told {
            self.is_over |= matches!(event, Event::Failed { .. } | Event::Done);
            tell(event, usage.as_ref())?;
        }
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        match &self.reading {
            Reading::OpenAi(own) => own.usage,
            Reading::Anthropic(own) => own.counts.usage(),
            Reading::Gemini(own) => own.usage,
            Reading::Bedrock(own) => own.usage,
        }
    }
}

/// A client's stream, written.
#[derive(Debug)]
pub struct Outgoing {
    writing: Writing,
    /// Pieces of parts that were told.
    events: u64,
    is_done: bool,
    error: Option<String>,
}

impl Outgoing {
    /// For a client that asked for `model` at the time `created` (seconds).
    pub fn new(way: &Way, (model, created): (&str, i64)) -> Self {
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
            writing,
            events: 0,
            is_done: false,
            error: None,
        }
    }

    /// Appends what the client is told. Errors if its dialect has no word for it.
    pub fn write(
        &mut self,
        event: Event,
        usage: Option<&Usage>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        match &event {
            Event::Failed { json, .. } => self.error = Some(json.clone()),
            Event::Done => self.is_done = true,
            Event::Text(_) | Event::Thinking(_) | Event::Arguments(_) => self.events += 1,
            _ => {}
        }
        match &mut self.writing {
            Writing::OpenAi(own) => own.event(event, usage, out),
            Writing::Responses(own) => own.event(event, usage, out),
            Writing::Anthropic(own) => {
                if let Event::Open(kind) = &event {
                    no_word(std::iter::once(kind)).map_err(Unreadable)?;
                }
                own.event(event, usage, out);
            }
        }
        Ok(())
    }

    /// The number that the client's next event has, where they have numbers.
    pub fn next_number(&self) -> Option<u64> {
        match &self.writing {
            Writing::Responses(own) => Some(own.next_number()),
            Writing::OpenAi(_) | Writing::Anthropic(_) => None,
        }
    }

    /// The error that was told of in its middle: JSON text.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}
