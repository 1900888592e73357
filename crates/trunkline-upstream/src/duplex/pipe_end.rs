//! The writing end of a pipe that several threads write lines to, each whole and in the order in which they were handed over.
//!
//! Whoever has a message writes it where it stands: to hand it to a task on another thread costs more than the write. What the
//! pipe does not take now is left to the [`Writer`], and whatever comes behind it has to wait its turn there.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::unix::pipe::Sender;
use tokio::sync::{Notify, mpsc};

use super::wire::Parcel;

/// The writer puts messages together up to so much.
const CHUNK: usize = 64 * 1024;

/// The end.
pub(crate) struct PipeEnd {
    /// `None` once it is closed.
    to: Mutex<Option<Open>>,
    /// Messages that the writer has still to write.
    waiting: Arc<AtomicUsize>,
    /// There is a rest for the writer.
    left: Notify,
}

struct Open {
    pipe: Arc<Sender>,
    /// What the pipe did not take of a message.
    rest: Option<(Vec<u8>, Turn)>,
}

/// How an attempt to write at once ended.
pub(super) enum Straight {
    /// It is written, or its rest will be before everything else.
    Taken,
    /// Others wait: it has this turn behind them, and goes to the queue.
    Behind(Turn),
    /// Nobody reads any more.
    Closed,
}

/// One message that waits; while there is one, nobody writes past it.
pub(super) struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn new(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // What was written for it is seen by whoever sees it gone.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl PipeEnd {
    pub(crate) fn new(pipe: Sender) -> Arc<Self> {
        let open = Open {
            pipe: Arc::new(pipe),
            rest: None,
        };
        Arc::new(Self {
            to: Mutex::new(Some(open)),
            waiting: Arc::default(),
            left: Notify::new(),
        })
    }

    fn to(&self) -> MutexGuard<'_, Option<Open>> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message, if it is its turn.
    pub(super) fn write(&self, message: &Bytes) -> Straight {
        // Under the lock, so that turns are taken in the order in which messages come. It is never held while somebody waits.
        let mut to = self.to();
        let Some(open) = to.as_mut() else {
            return Straight::Closed;
        };
        if self.waiting.load(Ordering::Acquire) > 0 {
            return Straight::Behind(Turn::new(&self.waiting));
        }
        let mut line = Vec::with_capacity(message.len() + 1);
        put_line(&mut line, message);
        let written = match open.pipe.try_write(&line) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                *to = None;
                return Straight::Closed;
            }
        };
        if written < line.len() {
            line.drain(..written);
            open.rest = Some((line, Turn::new(&self.waiting)));
            self.left.notify_one();
        }
        Straight::Taken
    }

    /// Whether nobody reads any more, or nobody is to be written to.
    pub(super) fn is_closed(&self) -> bool {
        self.to().is_none()
    }

    /// What writes the parcels.
    pub(crate) fn writer(self: Arc<Self>, parcels: mpsc::Receiver<Parcel>) -> Writer {
        Writer { end: self, parcels }
    }
}

/// Writes what could not be written at once. The pipe is closed when this is dropped: how a program is told that nobody wants
/// anything of it any more.
pub(crate) struct Writer {
    end: Arc<PipeEnd>,
    parcels: mpsc::Receiver<Parcel>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end.to().take();
    }
}

impl Writer {
    /// Writes until nobody can send any more or the program does not take any.
    pub(crate) async fn run(mut self) {
        let Some(pipe) = self.end.to().as_ref().map(|open| open.pipe.clone()) else {
            return;
        };
        let mut buffer: Vec<u8> = Vec::new();
        let mut held = Vec::new();
        loop {
            tokio::select! {
                () = self.end.left.notified() => {}
                parcel = self.parcels.recv() => match parcel {
                    Some(parcel) => held.push(parcel),
                    None => return,
                },
            }
            // The rest of a message comes before all that waits behind it.
            let rest = self.end.to().as_mut().and_then(|open| open.rest.take());
            if let Some((rest, _turn)) = &rest
                && write_all(&pipe, rest).await.is_err()
            {
                return;
            }
            for parcel in &held {
                put_line(&mut buffer, &parcel.message);
            }
            // What waits already goes with it.
            while buffer.len() < CHUNK
                && let Ok(parcel) = self.parcels.try_recv()
            {
                put_line(&mut buffer, &parcel.message);
                held.push(parcel);
            }
            if write_all(&pipe, &buffer).await.is_err() {
                return;
            }
            held.clear();
            // Its turn lasts until all is written that was taken with it: nobody writes between.
            drop(rest);
            buffer.clear();
            buffer.shrink_to(CHUNK);
        }
    }
}

async fn write_all(pipe: &Sender, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        pipe.writable().await?;
        match pipe.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// JSON has no line breaks but between its tokens.
fn put_line(buffer: &mut Vec<u8>, message: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(message);
    for byte in &mut buffer[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    buffer.push(b'\n');
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::unix::pipe;

    use super::super::wire::Pipe;
    use super::*;

    /// Several threads write messages of all sizes, and a reader that takes little at a time finds each of them whole, those of
    /// one writer in the order in which they were sent.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn lines_are_whole_and_in_order() {
        const WRITERS: usize = 4;
        const MESSAGES: usize = 300;
        let (sender, mut receiver) = pipe::pipe().unwrap();
        let end = PipeEnd::new(sender);
        let (way, parcels) = Pipe::new(&end);
        let way = Arc::new(way);
        tokio::spawn(end.writer(parcels).run());
        for writer in 0..WRITERS {
            let way = way.clone();
            tokio::spawn(async move {
                for number in 0..MESSAGES {
                    // Some fit into the pipe, some do not, and some have line breaks between their tokens.
                    let filler = "x".repeat((writer * 7919 + number * 104_729) % 90_000);
                    let message = format!("{{\"{writer}\":\n{number},\"{filler}\":0}}");
                    way.send(message.into()).await.unwrap();
                }
            });
        }
        drop(way);
        let (mut read, mut chunk) = (Vec::new(), vec![0; 8 * 1024]);
        loop {
            match receiver.read(&mut chunk).await.unwrap() {
                0 => break,
                taken => read.extend_from_slice(&chunk[..taken]),
            }
            tokio::task::yield_now().await;
        }
        let mut next = [0; WRITERS];
        let text = String::from_utf8(read).unwrap();
        for line in text.lines() {
            let (writer, rest) = line.strip_prefix("{\"").unwrap().split_once("\": ").unwrap();
            let (number, rest) = rest.split_once(",\"").unwrap();
            assert_eq!(rest.trim_start_matches('x'), "\":0}", "a line that is not whole");
            let next = &mut next[writer.parse::<usize>().unwrap()];
            assert_eq!(number.parse::<usize>().unwrap(), *next, "writer {writer}");
            *next += 1;
        }
        assert_eq!(next, [MESSAGES; WRITERS]);
    }

    /// What nobody reads waits, and closing does not wait for it.
    #[tokio::test]
    async fn closes_with_its_writer() {
        let (sender, mut receiver) = pipe::pipe().unwrap();
        sender.writable().await.unwrap();
        let end = PipeEnd::new(sender);
        let (way, parcels) = Pipe::new(&end);
        let writing = tokio::spawn(end.writer(parcels).run());
        for _ in 0..3 {
            way.send("y".repeat(200_000).into()).await.unwrap();
        }
        writing.abort();
        assert!(writing.await.unwrap_err().is_cancelled());
        assert!(way.send(Bytes::from_static(b"late")).await.is_none());
        let mut read = Vec::new();
        receiver.read_to_end(&mut read).await.unwrap();
        assert!(!read.is_empty() && read.iter().all(|byte| *byte == b'y'));
    }
}
