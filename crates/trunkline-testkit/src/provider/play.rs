//! A model that follows a script: it hears a conversation, whatever the dialect, and does something, which each dialect says in its words.
//!
//! To add a dialect: a [`Voice`] in its file, and what it reads of a conversation ([`Heard`]).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::bare::Said;

/// What of a conversation a script goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// All that users said, one text a line.
    pub asked: String,
    /// What tools answered, all of the conversation's.
    pub results: Vec<String>,
    /// Whether the last that was said are answers of tools.
    pub answered: bool,
    /// The names of the functions that the model may call.
    pub tools: Vec<String>,
}

/// What a model does.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Says a text, in two pieces where it streams.
    Say(String),
    /// Calls functions, all in one answer: their names and arguments.
    Call(Vec<(String, Value)>),
    /// Fails with a status, in its provider's words. With 429 it says `retry-after: 7`.
    Fail(u16),
    /// Begins to say something, and the connection breaks.
    Break,
    /// Says something for as long as anybody listens. Where it does not stream it says it once.
    Babble,
}

impl Move {
    /// What a model does that nobody told anything: it calls the first function that it has, once, and otherwise says a word.
    pub(super) fn usual(heard: &Heard) -> Self {
        match heard.tools.first().filter(|_| !heard.answered) {
            Some(name) => Self::Call(vec![(name.clone(), json!({"city": "Oslo"}))]),
            None => Self::Say("Hello".to_owned()),
        }
    }
}

/// A script.
#[derive(Clone)]
pub(super) struct Play(pub(super) Arc<dyn Fn(&Heard) -> Move + Send + Sync>);

impl fmt::Debug for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Play")
    }
}

/// A stream: what it begins with, its pieces, what it ends with.
pub(super) struct Pieces {
    pub(super) begin: Vec<Bytes>,
    pub(super) middle: Vec<Bytes>,
    pub(super) end: Vec<Bytes>,
}

/// How a dialect says a move that is a text or calls.
pub(super) struct Voice {
    /// The kind of its streams.
    pub(super) kind: &'static str,
    /// A whole answer.
    pub(super) whole: fn(&Move, &Value) -> Value,
    /// The same in pieces.
    pub(super) pieces: fn(&Move, &Value) -> Pieces,
    /// What it says with a status.
    pub(super) failure: fn(u16) -> Said,
}

/// The two halves of a text, of which each has something if it can.
pub(super) fn halves(text: &str) -> (&str, &str) {
    text.split_at(text.floor_char_boundary(text.len() / 2))
}

impl Voice {
    /// Does it. `left` counts who went away while it babbled.
    pub(super) fn said(&self, does: &Move, body: &Value, streams: bool, left: &Arc<AtomicUsize>) -> Said {
        let word = Move::Say("Hello".to_owned());
        match does {
            Move::Fail(429) => (self.failure)(429).with_header("retry-after", "7"),
            Move::Fail(status) => (self.failure)(*status),
            Move::Break if streams => {
                let Pieces { begin, middle, .. } = (self.pieces)(&word, body);
                let pieces: Vec<Bytes> = begin.into_iter().chain(middle.into_iter().take(1)).collect();
                Said::broken(&pieces).with_header("content-type", self.kind)
            }
            Move::Break => {
                let text = (self.whole)(&word, body).to_string();
                Said::broken(&[halves(&text).0]).with_header("content-type", "application/json")
            }
            Move::Babble if streams => {
                let Pieces { begin, middle, .. } = (self.pieces)(&word, body);
                let (sender, pieces) = mpsc::channel(1);
                tokio::spawn(babble(sender, begin, middle, Arc::clone(left)));
                Said::events(pieces).with_header("content-type", self.kind)
            }
            Move::Babble => Said::json(200, (self.whole)(&word, body).to_string()),
            Move::Say(_) | Move::Call(_) if streams => {
                let Pieces { begin, middle, end } = (self.pieces)(does, body);
                let all: Vec<Bytes> = begin.into_iter().chain(middle).chain(end).collect();
                super::stream(all).with_header("content-type", self.kind)
            }
            Move::Say(_) | Move::Call(_) => Said::json(200, (self.whole)(does, body).to_string()),
        }
    }
}

async fn babble(sender: mpsc::Sender<Bytes>, begin: Vec<Bytes>, middle: Vec<Bytes>, left: Arc<AtomicUsize>) {
    for piece in begin {
        let _ = sender.send(piece).await;
    }
    while let Some(piece) = middle.first()
        && sender.send(piece.clone()).await.is_ok()
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    left.fetch_add(1, Ordering::Relaxed);
}

/// The texts of a content: a text, or parts of which some have `text`.
pub(super) fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// The number of the first call of the next answer: other than that of any call before.
pub(super) fn next_number(said: &Value) -> usize {
    said.as_array().map_or(1, Vec::len).max(1)
}

/// The text of what tools answered.
pub(super) fn result(content: &Value) -> String {
    texts(content).join("\n")
}

/// The strings at `pointer` of each.
pub(super) fn names(items: &Value, pointer: &str) -> Vec<String> {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    let names = items
        .iter()
        .filter_map(|item| item.pointer(pointer).and_then(Value::as_str));
    names.map(str::to_owned).collect()
}
