//! What comes for one reader: the answer to a request and what belongs to it, or a standing stream.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;
use trunkline_mcp::sse;

use super::Duplex;
use crate::fault::Fault;

/// Messages that may wait for a slow reader.
const MAX_WAITING: usize = 256;
/// Their bytes.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

#[derive(Default)]
struct Load {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// The end that messages are put into.
#[derive(Clone)]
pub(super) struct Outbox {
    messages: mpsc::UnboundedSender<(Bytes, bool)>,
    load: Arc<Load>,
}

/// The end that is read. Ends when nothing more can come; `why` then says whether something is missing.
pub(crate) struct Inbox {
    messages: mpsc::UnboundedReceiver<(Bytes, bool)>,
    load: Arc<Load>,
    why: Arc<OnceLock<Fault>>,
    /// Leaves its place when it is dropped.
    _place: Option<Place>,
}

/// The place of a request among those that are under way.
pub(super) struct Place {
    pub(super) duplex: Weak<Duplex>,
    pub(super) id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(duplex) = self.duplex.upgrade() {
            duplex.leave(self.id);
        }
    }
}

pub(super) fn channel(why: Arc<OnceLock<Fault>>, place: Option<Place>) -> (Outbox, Inbox) {
    let (sender, messages) = mpsc::unbounded_channel();
    let load = Arc::new(Load::default());
    let outbox = Outbox {
        messages: sender,
        load: load.clone(),
    };
    let inbox = Inbox {
        messages,
        load,
        why,
        _place: place,
    };
    (outbox, inbox)
}

impl Outbox {
    /// A message that may be left out where the reader is slow; whether it was taken.
    pub(super) fn offer(&self, message: &Bytes) -> bool {
        let full = self.load.messages.load(Ordering::Relaxed) >= MAX_WAITING
            || self.load.bytes.load(Ordering::Relaxed) >= MAX_WAITING_BYTES;
        !full && self.put(message.clone(), false)
    }

    /// The last message.
    pub(super) fn finish(&self, message: Bytes) {
        self.put(message, true);
    }

    fn put(&self, message: Bytes, last: bool) -> bool {
        self.load.messages.fetch_add(1, Ordering::Relaxed);
        self.load.bytes.fetch_add(message.len(), Ordering::Relaxed);
        self.messages.send((message, last)).is_ok()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }
}

impl Inbox {
    fn note(&self, message: &Bytes) {
        self.load.messages.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(message.len(), Ordering::Relaxed);
    }

    /// The next message, and whether it is the last. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(Bytes, bool)> {
        let (message, last) = self.messages.recv().await?;
        self.note(&message);
        Some((message, last))
    }

    /// The next message as an event.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.messages.poll_recv(cx).map(|message| {
            let (message, _) = message?;
            self.note(&message);
            Some(event(&message))
        })
    }

    /// Why the other side is gone.
    pub(crate) fn why(&self) -> Option<&Fault> {
        self.why.get()
    }
}

/// A message as an event of a stream.
pub(super) fn event(message: &[u8]) -> Bytes {
    sse::encode_message(&String::from_utf8_lossy(message)).into()
}
