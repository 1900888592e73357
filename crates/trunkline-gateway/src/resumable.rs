//! Answers that a client can come back to (2025-11-25, "Resumability"): the stream of a call goes on when its connection
//! breaks, and is read on with `GET` and `Last-Event-ID`. The events are in the process that has the call; their ids are
//! sealed for the session, and name it to the other replicas.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use trunkline_mcp::sse;
use trunkline_model::{ReplicaId, SessionKey};

use crate::answer;
use crate::calling::Subject;
use crate::peers::Peers;
use crate::relay::KEEP_ALIVE_EVERY;

/// How long a call goes on, and its answer is kept, while nobody reads it.
pub const ABANDONED_AFTER: Duration = Duration::from_mins(1);
/// How long an answer is kept that was read to its end: the last of it may have been lost on the way.
const KEPT_WHEN_READ: Duration = Duration::from_secs(10);
/// Streams at the same time; answers beyond it end with their connection.
const MAX_STREAMS: usize = 10_000;
/// What clients are told to wait before they come back, milliseconds.
const RETRY_MS: u64 = 1000;
/// Events of one stream that are kept for a client that comes back, and bytes of them.
const MAX_EVENTS: usize = 1024;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of all streams together that are kept for clients that have gone. Beyond it what they left is given up (S38).
const MAX_LEFT_BYTES: usize = 256 * 1024 * 1024;

type Id = [u8; 16];

/// The streams of this process.
#[derive(Default)]
pub struct Streams {
    streams: Mutex<HashMap<Id, Arc<Resumable>>>,
    /// Bytes that all of them keep.
    kept: Arc<AtomicUsize>,
}

/// One stream: what was written and may be read again.
pub struct Resumable {
    id: Id,
    /// The sealed part of the ids of its events.
    handle: String,
    /// Whose answer it is: who comes back must be one that may make the call still.
    pub subject: Subject,
    state: Mutex<State>,
    /// Somebody wrote, read or left.
    changed: Notify,
    /// Bytes that all streams keep.
    kept: Arc<AtomicUsize>,
}

struct State {
    /// Numbered from 1.
    events: VecDeque<(u64, Bytes)>,
    bytes: usize,
    written: u64,
    /// The last event that a reader was given.
    read: u64,
    ended: bool,
    /// Counts readers: a new one takes the place of the last.
    reader: u64,
    /// Since when nobody reads.
    left: Option<Instant>,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Arc<Resumable>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new stream of a session, if there is room for one.
    pub fn begin(&self, peers: &Peers, session: SessionKey, subject: Subject) -> Option<Arc<Resumable>> {
        if self.lock().len() >= MAX_STREAMS {
            return None;
        }
        let id = *uuid::Uuid::new_v4().as_bytes();
        let stream = Arc::new(Resumable {
            id,
            handle: peers.seal(&["event", &session.to_hex()], id),
            subject,
            state: Mutex::new(State {
                events: VecDeque::new(),
                bytes: 0,
                written: 0,
                read: 0,
                ended: false,
                reader: 0,
                left: None,
            }),
            changed: Notify::new(),
            kept: self.kept.clone(),
        });
        self.lock().insert(stream.id, stream.clone());
        Some(stream)
    }

    /// The stream of an event of this session.
    pub fn find(&self, peers: &Peers, session: SessionKey, last_event_id: &str) -> Found {
        let read = || {
            let (handle, number) = last_event_id.rsplit_once('.')?;
            let held = peers.open(&["event", &session.to_hex()], handle)?;
            Some((held, number.parse::<u64>().ok()?))
        };
        match read() {
            Some((held, _)) if held.owner != peers.own_id() => Found::Elsewhere(held.owner),
            Some((held, number)) => match self.lock().get(&held.id) {
                Some(stream) => Found::Here(stream.clone(), number),
                None => Found::Nowhere,
            },
            None => Found::Nowhere,
        }
    }

    /// Nobody comes back to it any more.
    pub fn forget(&self, stream: &Resumable) {
        self.lock().remove(&stream.id);
    }
}

/// Where the stream of an event is.
pub enum Found {
    /// In this process, and the event's number.
    Here(Arc<Resumable>, u64),
    /// On another replica.
    Elsewhere(ReplicaId),
    /// Given up, or not of this session.
    Nowhere,
}

impl Resumable {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event_id(&self, number: u64) -> String {
        format!("{}.{number}", self.handle)
    }

    /// Writes a message. Waits while too much is unread; `false` if nobody has read for so long that it is of no use.
    pub async fn write(&self, message: &str) -> bool {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                let before = state.bytes;
                state.make_room();
                self.kept.fetch_sub(before - state.bytes, Ordering::Relaxed);
                if state.left.is_some() && self.kept.load(Ordering::Relaxed) + message.len() > MAX_LEFT_BYTES
                {
                    return false;
                }
                if state.events.len() < MAX_EVENTS && state.bytes < MAX_BYTES {
                    let number = state.written + 1;
                    let event: Bytes = sse::encode_event(&self.event_id(number), message).into();
                    state.bytes += event.len();
                    self.kept.fetch_add(event.len(), Ordering::Relaxed);
                    state.written = number;
                    state.events.push_back((number, event));
                    self.changed.notify_waiters();
                    return true;
                }
            }
            if timeout(Duration::from_secs(1), changed).await.is_err() && self.is_abandoned() {
                return false;
            }
        }
    }

    /// Whether nobody has read for [`ABANDONED_AFTER`].
    pub fn is_abandoned(&self) -> bool {
        self.lock()
            .left
            .is_some_and(|left| left.elapsed() >= ABANDONED_AFTER)
    }

    /// Nothing more will be written. Returns when nobody needs it any more.
    pub async fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_waiters();
        let began = Instant::now();
        while began.elapsed() < ABANDONED_AFTER {
            tokio::time::sleep(KEPT_WHEN_READ).await;
            let state = self.lock();
            if state.read >= state.written {
                return;
            }
        }
    }

    /// The answer with the events after `last`; from the beginning, after a priming event, without one.
    pub fn answer(self: &Arc<Self>, last: Option<u64>) -> Response {
        let reader = {
            let mut state = self.lock();
            state.reader += 1;
            state.left = None;
            state.reader
        };
        let reading = Reading {
            stream: self.clone(),
            reader,
        };
        self.changed.notify_waiters();
        let first = last
            .is_none()
            .then(|| Bytes::from(sse::priming_event(&self.event_id(0), RETRY_MS)));
        let body = stream::unfold(
            (reading, last.unwrap_or(0), first),
            |(reading, last, first)| async move {
                if let Some(first) = first {
                    return Some((first, (reading, last, None)));
                }
                match reading.next(last).await {
                    Next::Event(number, event) => Some((event, (reading, number, None))),
                    Next::Silence => {
                        let comment = Bytes::from_static(sse::KEEP_ALIVE.as_bytes());
                        Some((comment, (reading, last, None)))
                    }
                    Next::End => None,
                }
            },
        );
        answer::event_stream(Body::from_stream(body.map(Ok::<_, std::convert::Infallible>)))
    }
}

impl Drop for Resumable {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.lock().bytes, Ordering::Relaxed);
    }
}

impl State {
    /// Drops the oldest events that were read, when there are too many.
    fn make_room(&mut self) {
        while (self.events.len() >= MAX_EVENTS || self.bytes >= MAX_BYTES)
            && self
                .events
                .front()
                .is_some_and(|(number, _)| *number <= self.read)
        {
            if let Some((_, event)) = self.events.pop_front() {
                self.bytes -= event.len();
            }
        }
    }
}

struct Reading {
    stream: Arc<Resumable>,
    reader: u64,
}

enum Next {
    Event(u64, Bytes),
    Silence,
    End,
}

impl Reading {
    async fn next(&self, last: u64) -> Next {
        loop {
            let changed = self.stream.changed.notified();
            {
                let mut state = self.stream.lock();
                if state.reader != self.reader {
                    return Next::End;
                }
                let event = state.events.iter().find(|(number, _)| *number > last).cloned();
                if let Some((number, event)) = event {
                    state.read = state.read.max(number);
                    self.stream.changed.notify_waiters();
                    return Next::Event(number, event);
                }
                if state.ended {
                    return Next::End;
                }
            }
            if timeout(KEEP_ALIVE_EVERY, changed).await.is_err() {
                return Next::Silence;
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        if state.reader == self.reader {
            state.left = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(number: u8) -> Peers {
        let root = trunkline_model::Secret::new("root");
        let place = crate::peers::Place::Alone;
        Peers::new(&root, ReplicaId([number; 16]), place, jiff::Timestamp::UNIX_EPOCH)
    }

    fn subject() -> Subject {
        Subject {
            server: trunkline_model::ServerId::new("s"),
            name: "t".to_owned(),
            annotations: None,
            operation: crate::calling::Operation::CallTool,
            params: "{}".into(),
        }
    }

    async fn all(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_stream_is_read_on_from_the_last_event() {
        let (streams, peers, elsewhere) = (Streams::default(), peers(1), peers(2));
        let session = SessionKey([1; 16]);
        let stream = streams.begin(&peers, session, subject()).unwrap();
        for number in 1..=3 {
            assert!(stream.write(&format!("{{\"n\":{number}}}")).await);
        }
        stream.lock().ended = true;
        let text = all(stream.answer(None)).await;
        assert!(text.starts_with("id: ") && text.contains("retry: 1000"), "{text}");
        assert!(text.contains("{\"n\":1}") && text.contains("{\"n\":3}"), "{text}");
        let id = stream.event_id(2);
        let nowhere = |found: Found| matches!(found, Found::Nowhere);
        assert!(
            nowhere(streams.find(&peers, SessionKey([2; 16]), &id)),
            "another session's"
        );
        assert!(
            matches!(Streams::default().find(&elsewhere, session, &id), Found::Elsewhere(owner) if owner == peers.own_id())
        );
        let Found::Here(found, last) = streams.find(&peers, session, &id) else {
            panic!("it is here");
        };
        let text = all(found.answer(Some(last))).await;
        assert!(
            !text.contains("{\"n\":2}") && text.contains("{\"n\":3}"),
            "{text}"
        );
        streams.forget(&stream);
        assert!(nowhere(streams.find(&peers, session, &id)));
    }

    #[tokio::test(start_paused = true)]
    async fn s38_what_nobody_reads_is_bounded_and_given_up() {
        let stream = Streams::default().begin(&peers(1), SessionKey([1; 16]), subject());
        let stream = stream.unwrap();
        drop(stream.answer(None));
        let mut written = 0;
        while stream.write("{}").await {
            written += 1;
        }
        assert_eq!(written, MAX_EVENTS);
        assert!(stream.is_abandoned());
    }
}
