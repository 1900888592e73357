//! The one answer that the client gets, over all rounds: whole at the end, or in pieces as they come.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::{mpsc, oneshot};
use trunkline_llm::translate::answer::{Answer, Event, Part, Stop};
use trunkline_llm::translate::conversation::{Kind, Served};
use trunkline_llm::translate::{self, Outgoing, Way};
use trunkline_llm::{Dialect, Failure, Usage};

use crate::answer;

/// Where an answer goes that comes in pieces.
pub(super) struct Pieces {
    head: Head,
    pieces: mpsc::Sender<Bytes>,
}

/// How it begins: told once.
#[derive(Clone)]
pub(super) struct Head(Arc<Mutex<Option<oneshot::Sender<Response>>>>);

impl Head {
    /// What the client gets, unless it has something already.
    pub(super) fn tell(&self, response: Response) {
        let head = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(head) = head {
            // Whoever left hears nothing.
            let _ = head.send(response);
        }
    }
}

impl Pieces {
    pub(super) fn new(head: oneshot::Sender<Response>, pieces: mpsc::Sender<Bytes>) -> Self {
        Self {
            head: Head(Arc::new(Mutex::new(Some(head)))),
            pieces,
        }
    }

    pub(super) fn head(&self) -> Option<Head> {
        (!self.pieces.is_closed()).then(|| self.head.clone())
    }
}

/// The answer so far.
pub(super) struct Sink {
    way: Way,
    /// The name of the model that the client is told, and the time.
    model: String,
    created: i64,
    /// What earlier rounds took.
    took: Option<Usage>,
    id: String,
    parts: Vec<Part>,
    /// What was done before the first round's answer began.
    early: Vec<Served>,
    has_begun: bool,
    /// The client has the headers of an answer in pieces.
    is_open: bool,
    /// A text was told, so that another one begins on a line of its own where texts are one.
    has_text: bool,
    breaks: bool,
    /// What is said before a call would break the form that was asked for.
    drops_preludes: bool,
    hides_served: bool,
    out: Option<(Pieces, Outgoing)>,
    /// Bytes that the client was told.
    sent: usize,
}

/// Why the client does not hear something.
pub(super) enum Untold {
    /// It is not there any more.
    Gone,
    /// Its dialect has no word for it.
    NoWord(String),
}

/// Tells a client that waits that somebody is there.
pub(super) struct Pinger(Option<mpsc::Sender<Bytes>>);

impl Pinger {
    pub(super) async fn ping(&self) -> Result<(), Untold> {
        match &self.0 {
            Some(pieces) => pieces
                .send(Bytes::from_static(b": ping\n\n"))
                .await
                .map_err(|_| Untold::Gone),
            None => Ok(()),
        }
    }
}

impl Sink {
    pub(super) fn new(
        (way, drops_preludes): (Way, bool),
        (model, created): (&str, i64),
        out: Option<Pieces>,
    ) -> Self {
        let outgoing = Outgoing::new(&way, (model, created));
        Self {
            way,
            model: model.to_owned(),
            created,
            took: None,
            id: String::new(),
            parts: Vec::new(),
            early: Vec::new(),
            has_begun: false,
            is_open: false,
            has_text: false,
            breaks: false,
            drops_preludes,
            hides_served: false,
            out: out.map(|out| (out, outgoing)),
            sent: 0,
        }
    }

    /// Whether the answer is told in pieces.
    pub(super) fn streams(&self) -> bool {
        self.out.is_some()
    }

    /// Whether the client has the beginning of an answer: what goes wrong is told within it.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Bytes that the client has.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// What all rounds took, with one of which this is known.
    pub(super) fn took(&self, more: Option<&Usage>) -> Option<Usage> {
        match (&self.took, more) {
            (Some(took), Some(more)) => Some(took.and(more)),
            (took, more) => took.as_ref().or(more).copied(),
        }
    }

    /// The answer begins: its headers.
    pub(super) fn open(&mut self, headers: HeaderMap) {
        if let Some((out, _)) = &self.out {
            let mut response = answer::event_stream(Body::empty());
            response.headers_mut().extend(headers);
            out.head.tell(response);
            self.is_open = true;
        }
    }

    /// A step of a round's answer that the client is to hear.
    pub(super) async fn hear(&mut self, event: Event, took: Option<&Usage>) -> Result<(), Untold> {
        match &event {
            Event::Begin { id } => {
                if std::mem::replace(&mut self.has_begun, true) {
                    return Ok(());
                }
                self.id.clone_from(id);
                self.tell(event, took).await?;
                for served in std::mem::take(&mut self.early) {
                    self.serve(served).await?;
                }
                return Ok(());
            }
            Event::Open(Kind::Text(_)) => self.breaks = self.has_text,
            Event::Text(text) if !text.is_empty() => {
                self.has_text = true;
                // Texts of several rounds are one text to clients of chats.
                if std::mem::take(&mut self.breaks) && self.way.client == Dialect::OpenAi {
                    self.tell(Event::Text("\n\n".to_owned()), took).await?;
                }
            }
            _ => {}
        }
        self.tell(event, took).await
    }

    /// What the gateway did.
    pub(super) async fn serve(&mut self, served: Served) -> Result<(), Untold> {
        if self.hides_served {
            return Ok(());
        }
        if !self.has_begun {
            self.early.push(served);
            return Ok(());
        }
        let kind = Kind::Served(Box::new(served));
        if self.streams() {
            return self.tell(Event::Open(kind), None).await;
        }
        self.parts.push(Part::new(kind));
        Ok(())
    }

    /// A round's parts that the client is to see, of a whole answer; `is_last`: nothing follows.
    pub(super) fn keep(&mut self, answer: &Answer, parts: impl IntoIterator<Item = Part>, is_last: bool) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.id.clone_from(&answer.id);
            let early = std::mem::take(&mut self.early).into_iter();
            self.parts
                .extend(early.map(|own| Part::new(Kind::Served(Box::new(own)))));
        }
        for mut part in parts {
            if let Kind::Text(text) = &mut part.kind {
                if self.drops_preludes && !is_last {
                    continue;
                }
                if self.has_text && self.way.client == Dialect::OpenAi {
                    text.insert_str(0, "\n\n");
                }
                self.has_text = true;
            }
            self.parts.push(part);
        }
    }

    /// A round is over, and took this.
    pub(super) fn add(&mut self, took: Option<&Usage>) {
        self.took = self.took(took);
    }

    /// By what whoever waits hears that somebody is there.
    pub(super) fn pinger(&self) -> Pinger {
        let out = self.out.as_ref().filter(|_| self.is_open);
        Pinger(out.map(|(out, _)| out.pieces.clone()))
    }

    /// What the gateway does is not told.
    pub(super) fn hide_served(&mut self) {
        self.hides_served = true;
    }

    async fn tell(&mut self, event: Event, took: Option<&Usage>) -> Result<(), Untold> {
        let took = self.took(took);
        let Some((out, outgoing)) = &mut self.out else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        let written = outgoing.write(event, took.as_ref(), &mut bytes);
        written.map_err(|why| Untold::NoWord(why.to_string()))?;
        self.sent += bytes.len();
        if bytes.is_empty() {
            return Ok(());
        }
        out.pieces.send(bytes.into()).await.map_err(|_| Untold::Gone)
    }

    /// It is over, and complete.
    pub(super) async fn end(&mut self, stop: Stop) -> Result<(), Untold> {
        self.tell(Event::Stop(stop), None).await?;
        self.tell(Event::Done, None).await
    }

    /// It goes wrong in the middle: the client is told, and nothing says that it was complete.
    pub(super) async fn fail(&mut self, failure: &Failure) {
        let Some((out, outgoing)) = &mut self.out else {
            return;
        };
        let text = match outgoing.next_number() {
            Some(number) => failure.numbered_event(number),
            None => failure.event(self.way.client),
        };
        self.sent += text.len();
        let _ = out.pieces.send(text.into()).await;
    }

    /// The whole answer.
    pub(super) fn whole(self, stop: Stop) -> Result<String, String> {
        let answer = Answer {
            id: self.id,
            parts: self.parts,
            stop: Some(stop),
            usage: self.took,
        };
        translate::write_answer(&answer, &self.way, (&self.model, self.created))
    }
}
