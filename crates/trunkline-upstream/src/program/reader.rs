//! Reads what a program says, on the thread of those who call it.
//!
//! A call that is answered on another thread than the one that waits for it costs a wake-up more, which is most of what a
//! small call costs at all. So the reader moves: to the runtime that calls come from, if they keep coming from there.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::duplex::Duplex;

const CHUNK: usize = 64 * 1024;
/// So many calls in a row from one other runtime, and the reader moves there.
const STREAK: u32 = 16;

/// Where a program is read, and where it is called from.
pub(crate) struct Home {
    seen: Mutex<Seen>,
    move_on: Notify,
}

struct Seen {
    /// Where the reader is.
    at: Id,
    /// Where the last calls came from that did not come from there, and how many.
    away: Option<(Id, u32)>,
    /// Where it is to go.
    to: Option<Handle>,
}

impl Home {
    pub(super) fn new(runtime: &Handle) -> Arc<Self> {
        let seen = Seen {
            at: runtime.id(),
            away: None,
            to: None,
        };
        Arc::new(Self {
            seen: Mutex::new(seen),
            move_on: Notify::new(),
        })
    }

    /// A call is made from here.
    pub(super) fn called(&self) {
        let Ok(here) = Handle::try_current() else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let id = here.id();
        if id == seen.at {
            seen.away = None;
            return;
        }
        let before = seen.away.filter(|(away, _)| *away == id);
        let calls = before.map_or(1, |(_, calls)| calls + 1);
        seen.away = Some((id, calls));
        if calls < STREAK {
            return;
        }
        seen.at = id;
        seen.away = None;
        seen.to = Some(here);
        drop(seen);
        self.move_on.notify_one();
    }

    /// Where the reader is to go, once it is to.
    async fn elsewhere(&self) -> Handle {
        loop {
            self.move_on.notified().await;
            let to = self.seen.lock().unwrap_or_else(PoisonError::into_inner).to.take();
            if let Some(to) = to {
                return to;
            }
        }
    }
}

/// The reading end of a program's standard output.
pub(super) struct Reader {
    from: OwnedFd,
    lines: Lines,
}

/// What was read of messages that are not whole yet.
struct Lines {
    buffer: BytesMut,
    /// Before this there is no end of a line.
    looked: usize,
    /// The beginning of a line that is too long.
    skipped: Option<Bytes>,
    /// The longest line, bytes.
    max: usize,
}

impl Reader {
    pub(super) fn new(from: OwnedFd, max: usize) -> Self {
        let lines = Lines {
            buffer: BytesMut::with_capacity(CHUNK),
            looked: 0,
            skipped: None,
            max,
        };
        Self { from, lines }
    }

    /// Reads messages, each on a line, to the end, wherever that takes it.
    pub(super) async fn read(mut self, home: &Arc<Home>, duplex: &Arc<Duplex>) {
        let mut at = Handle::current();
        loop {
            let (home, duplex) = (home.clone(), duplex.clone());
            let here = at.spawn(async move { self.read_here(&home, &duplex).await });
            match AbortOnDropHandle::new(here).await {
                Ok(Some((moved, to))) => (self, at) = (moved, to),
                // Its end, or that of the thread: the gateway's then.
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Reads until the end, or until it is to go elsewhere.
    async fn read_here(self, home: &Home, duplex: &Duplex) -> Option<(Self, Handle)> {
        let mut lines = self.lines;
        let mut pipe = Receiver::from_owned_fd(self.from).ok()?;
        loop {
            lines.buffer.reserve(CHUNK);
            let read = tokio::select! {
                biased;
                read = pipe.read_buf(&mut lines.buffer) => read,
                to = home.elsewhere() => {
                    let from = pipe.into_nonblocking_fd().ok()?;
                    return Some((Self { from, lines }, to));
                }
            };
            match read {
                Ok(0) | Err(_) => break,
                Ok(_) => lines.hand_on(duplex),
            }
        }
        // What its end cut off is no answer: how it ended says more.
        let rest = lines.buffer.freeze();
        if serde_json::from_slice::<IgnoredAny>(rest.trim_ascii()).is_ok() {
            hear(duplex, &rest);
        }
        None
    }
}

impl Lines {
    /// Hands on what is whole.
    fn hand_on(&mut self, duplex: &Duplex) {
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.looked..]) {
            let line = self.buffer.split_to(self.looked + at + 1).freeze();
            self.looked = 0;
            match self.skipped.take() {
                Some(beginning) => {
                    let why = format!("the answer is larger than {} bytes", self.max);
                    duplex.unread(&beginning, &line, &why);
                }
                None => hear(duplex, &line),
            }
        }
        self.looked = self.buffer.len();
        if self.looked > self.max {
            let beginning = || Bytes::copy_from_slice(&self.buffer[..1024.min(self.looked)]);
            self.skipped = Some(self.skipped.take().unwrap_or_else(beginning));
            // Its end is where the id may be.
            self.buffer = self.buffer.split_off(self.looked.saturating_sub(1024));
            self.looked = self.buffer.len();
        }
    }
}

fn hear(duplex: &Duplex, line: &Bytes) {
    let trimmed = line.trim_ascii();
    let trimmed = trimmed.strip_prefix(b"\xef\xbb\xbf").unwrap_or(trimmed);
    if !trimmed.is_empty() {
        duplex.hear(&line.slice_ref(trimmed));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc;
    use std::thread::ThreadId;
    use std::time::Duration;

    use tokio::net::unix::pipe;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;
    use trunkline_mcp::Era;

    use super::*;
    use crate::duplex::{Pipe, PipeEnd, Wire};

    const CHANGED: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n";

    /// A thread with a runtime of its own.
    fn thread(stop: &CancellationToken) -> (Handle, ThreadId) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (handle, stop) = (runtime.handle().clone(), stop.clone());
        let thread = std::thread::spawn(move || runtime.block_on(stop.cancelled()));
        (handle, thread.thread().id())
    }

    /// It is read where it is called from, nothing is lost on the way, and a call here and there does not move it.
    #[test]
    fn follows_the_calls() {
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let ((first, at_first), (second, at_second)) = (thread(&stop), thread(&stop));
        let (heard, told) = mpsc::channel();
        let changed = Box::new(move |_| heard.send(std::thread::current().id()).unwrap());
        let (from, mut says) = std::io::pipe().unwrap();
        let home = Home::new(&first);
        let wire = {
            let _entered = first.enter();
            let (input, _output) = pipe::pipe().unwrap();
            Wire::Pipe(Pipe::new(&PipeEnd::new(input)).0)
        };
        let duplex = Duplex::new("program", Era::Legacy, wire, &TaskTracker::new(), changed);
        let (at, reader) = (home.clone(), Reader::new(from.into(), 1024));
        let reading = first.spawn(async move { reader.read(&at, &duplex).await });
        let mut say = |text: &[u8]| says.write_all(text).unwrap();
        let heard_at = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        let call = |from: &Handle| from.block_on(async { home.called() });
        say(CHANGED);
        assert_eq!(heard_at(), at_first);
        for _ in 0..4 * STREAK {
            call(&second);
            call(&first);
        }
        say(CHANGED);
        assert_eq!(heard_at(), at_first);
        // A message of which only the beginning was read moves with the reader.
        say(&CHANGED[..20]);
        for _ in 0..STREAK {
            call(&second);
        }
        // On the way it may still be read at either place.
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(10));
            say(&CHANGED[20..]);
            if heard_at() == at_second {
                break;
            }
            say(&CHANGED[..20]);
        }
        say(CHANGED);
        assert_eq!(heard_at(), at_second);
        drop(says);
        first
            .block_on(async { tokio::time::timeout(Duration::from_secs(10), reading).await })
            .unwrap()
            .unwrap();
    }
}
