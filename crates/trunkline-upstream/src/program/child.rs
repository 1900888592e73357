//! One running program: its pipes, its end, and who is told of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_launch::{Ended, LaunchError, Launcher, Program, Running};
use trunkline_mcp::Era;
use trunkline_model::{OutcomeStatus, Secret, Step};

use super::Recipe;
use super::place::Place;
use super::tail::Tail;
use crate::duplex::{Duplex, Parcel, Pipe, Wire};
use crate::entry::{Current, Entry};
use crate::fault::Fault;

/// After its standard input was closed a program may take so long to end by itself.
const FAREWELL: Duration = Duration::from_millis(1500);
/// Between asking it to end and ending it.
const GRACE: Duration = Duration::from_secs(1);
/// What it said last is read for so long after its end: what it started may hold its pipes open.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// A program whose standard output is closed serves nobody.
const MUTE: Duration = Duration::from_secs(2);
const CHUNK: usize = 64 * 1024;

pub(crate) struct Child {
    pub(crate) duplex: Arc<Duplex>,
    pub(crate) pid: u32,
    pub(crate) started_at: Timestamp,
    /// What of the confinement that was asked for is in force, for people.
    pub(crate) isolation: String,
    pub(crate) tail: Arc<Tail>,
    /// Asks it to end.
    pub(crate) stop: CancellationToken,
    /// It has ended, and its descendants.
    pub(crate) gone: CancellationToken,
    began: Instant,
    used_ms: AtomicU64,
}

/// How it came to its end.
enum End {
    Asked,
    /// By itself.
    Ended(Ended),
    /// Its standard output was closed.
    Mute,
    /// It was of no use any more: the channel says why.
    Useless,
}

impl Child {
    /// Starts it. The processes and what reads them belong to the runtime that the gateway was built on, whatever thread a
    /// request is served by.
    pub(super) async fn start(
        entry: &Arc<Entry>,
        place: &Arc<Place>,
        recipe: &Arc<Recipe>,
    ) -> Result<Arc<Self>, Fault> {
        let (Some(launcher), Some(runtime)) = (&entry.shared.launcher, &entry.shared.runtime) else {
            return Err(Fault::misconfigured("no programs are started here"));
        };
        let program = ordered(entry, launcher, recipe)?;
        let launcher = launcher.clone();
        let starting = runtime.spawn(async move { launcher.spawn(&program).await });
        let running = match starting.await {
            Ok(Ok(running)) => running,
            Ok(Err(error)) => return Err(unstarted(&error, recipe)),
            Err(_) => {
                return Err(Fault::new(
                    OutcomeStatus::Internal,
                    Step::Start,
                    "the start was cut off",
                ));
            }
        };
        let (pipe, parcels) = Pipe::new();
        let changed = changed(entry.current.clone(), recipe.clone());
        let era = place.key.era;
        let tasks = &entry.shared.tasks;
        let child = Arc::new(Self {
            duplex: Duplex::new(&entry.prefix, era, Wire::Pipe(pipe), tasks, changed),
            pid: running.pid,
            started_at: entry.shared.clock.now(),
            isolation: running.isolation.summary(),
            tail: Arc::new(Tail::new(&entry.prefix, recipe)),
            stop: CancellationToken::new(),
            gone: CancellationToken::new(),
            began: Instant::now(),
            used_ms: AtomicU64::new(0),
        });
        let supervisor = Supervisor {
            current: entry.current.clone(),
            server: entry.prefix.clone(),
            place: Arc::downgrade(place),
            recipe: recipe.clone(),
            child: child.clone(),
        };
        let max = entry.shared.settings().max_message_bytes;
        tasks.spawn_on(
            async move { supervisor.run(running, parcels, max).await },
            runtime,
        );
        Ok(child)
    }

    pub(super) fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.store(now, Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> Instant {
        self.began + Duration::from_millis(self.used_ms.load(Ordering::Relaxed))
    }
}

/// What is started, if it may be: whoever asks for it. With the environment that the recipe has.
fn ordered(entry: &Entry, launcher: &Launcher, recipe: &Recipe) -> Result<Program, Fault> {
    let server = entry.server.load();
    if !server.is_active() {
        return Err(Fault::new(
            OutcomeStatus::PendingReview,
            Step::Start,
            "nothing is started before it is approved",
        ));
    }
    let program = launcher
        .program(&server)
        .map_err(|error| unstarted(&error, recipe))?;
    Ok(Program {
        env: recipe.program.env.clone(),
        ..program
    })
}

/// A list of the server changed: it is fetched again by whoever has it.
fn changed(current: Arc<Current>, recipe: Arc<Recipe>) -> crate::duplex::Changed {
    Box::new(move |kind| {
        let Some(entry) = current.get() else { return };
        let out = Arc::new(recipe.outgoing());
        for era in [Era::Legacy, Era::Modern] {
            let (slot, out) = entry.list_of((kind, era), out.clone());
            slot.announce(&entry, &out);
        }
    })
}

fn unstarted(error: &LaunchError, recipe: &Recipe) -> Fault {
    let secrets = || recipe.secrets.iter().map(Secret::expose);
    let hint = match error {
        LaunchError::NotFound { .. } => "install it where the gateway runs, or set command to its full path",
        LaunchError::NotExecutable { .. } => "set command to a program that the gateway's user may execute",
        LaunchError::NotAllowed => {
            "declare it in the configuration file, or set general_settings.mcp_stdio to admin"
        }
        LaunchError::NoCommand => "set command to the program that is the server",
        LaunchError::Cwd { .. } => "set cwd to a folder that the gateway's user may enter",
        LaunchError::Sandbox(_) => {
            "see what trunkline doctor says about isolation, or set sandbox for this server"
        }
        LaunchError::Io { .. } => {
            "look at the limits of the gateway's process: memory, processes, open files"
        }
    };
    // Of these the last passes by itself.
    let status = match error {
        LaunchError::Io { .. } => OutcomeStatus::Unreachable,
        _ => OutcomeStatus::Misconfigured,
    };
    Fault::new(status, Step::Start, error.to_string())
        .hint(hint)
        .without(secrets())
}

/// Looks after one child until it is gone.
struct Supervisor {
    current: Arc<Current>,
    server: String,
    place: Weak<Place>,
    recipe: Arc<Recipe>,
    child: Arc<Child>,
}

impl Supervisor {
    async fn run(self, running: Running, parcels: mpsc::Receiver<Parcel>, max: usize) {
        let Running {
            stdin,
            stdout,
            stderr,
            mut control,
            ..
        } = running;
        let hung_up = CancellationToken::new();
        let writer = hung_up.clone();
        let mut writing =
            tokio::spawn(async move { writer.run_until_cancelled(write(stdin, parcels)).await });
        let duplex = self.child.duplex.clone();
        let mut reading = tokio::spawn(async move { read(stdout, &duplex, max).await });
        let tail = self.child.tail.clone();
        let mut listening = tokio::spawn(async move { tail.read(stderr).await });
        let end = tokio::select! {
            ended = control.wait() => End::Ended(ended),
            () = self.child.stop.cancelled() => End::Asked,
            () = self.child.duplex.ended().cancelled() => End::Useless,
            _ = &mut reading => match timeout(MUTE, control.wait()).await {
                Ok(ended) => End::Ended(ended),
                Err(_) => End::Mute,
            },
        };
        if !matches!(end, End::Ended(_)) {
            // The order of the specification: its input ends, then it is asked, then it is made to.
            hung_up.cancel();
            let _ = (&mut writing).await;
            let _ = timeout(FAREWELL, control.wait()).await;
        }
        // Its descendants too.
        control.stop(GRACE).await;
        if !reading.is_finished() {
            let _ = timeout(LAST_WORDS, &mut reading).await;
        }
        let _ = timeout(LAST_WORDS, &mut listening).await;
        for task in [&reading, &listening] {
            task.abort();
        }
        writing.abort();
        self.over(&end);
        self.child.gone.cancel();
    }

    /// Says how it ended to whoever waits for it, and to those who look at the server.
    fn over(&self, end: &End) {
        let lived = self.child.began.elapsed();
        let fault = match end {
            End::Asked => {
                tracing::info!(server = %self.server, pid = self.child.pid, "program stopped");
                self.child.duplex.end(Fault::new(
                    OutcomeStatus::Unreachable,
                    Step::Call,
                    "the program was stopped",
                ));
                return;
            }
            End::Ended(ended) => self.ended(&ended.to_string()),
            End::Mute => self.ended("closed its standard output, and was stopped"),
            End::Useless => Fault::new(
                OutcomeStatus::Unreachable,
                Step::Call,
                "the program was of no use",
            ),
        };
        self.child.duplex.end(fault.clone());
        // The first reason counts.
        let fault = self.child.duplex.reason().unwrap_or(fault);
        tracing::warn!(server = %self.server, pid = self.child.pid, lived_s = lived.as_secs(), "{}", fault.message);
        let (Some(entry), Some(place)) = (self.current.get(), self.place.upgrade()) else {
            return;
        };
        place.failed(&entry, &fault, lived);
        entry.program_ended(self.recipe.fingerprint, place.key.era, &fault);
    }

    fn ended(&self, how: &str) -> Fault {
        let words = self.child.tail.words();
        let message = if words.is_empty() {
            format!("the program {how} and said nothing on its standard error")
        } else {
            format!("the program {how}; its last words: {words}")
        };
        let secrets = self.recipe.secrets.iter().map(Secret::expose);
        Fault::new(OutcomeStatus::Unreachable, Step::Call, message)
            .hint("run the command by hand in the same environment; trunkline doctor shows what it says")
            .without(secrets)
    }
}

/// Writes messages, each on a line, until nobody can send any more or the program does not take any.
async fn write(mut to: impl AsyncWrite + Unpin, mut parcels: mpsc::Receiver<Parcel>) {
    let mut buffer: Vec<u8> = Vec::new();
    while let Some(parcel) = parcels.recv().await {
        put_line(&mut buffer, &parcel.message);
        // What waits already goes with it.
        let mut held = vec![parcel];
        while buffer.len() < CHUNK
            && let Ok(parcel) = parcels.try_recv()
        {
            put_line(&mut buffer, &parcel.message);
            held.push(parcel);
        }
        if to.write_all(&buffer).await.is_err() || to.flush().await.is_err() {
            return;
        }
        buffer.clear();
        buffer.shrink_to(CHUNK);
    }
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

/// Reads messages, each on a line, to the end.
async fn read(mut from: impl AsyncRead + Unpin, duplex: &Duplex, max: usize) {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    // Before this there is no end of a line.
    let mut looked = 0;
    // The beginning of a line that is too long.
    let mut skipped: Option<Bytes> = None;
    loop {
        buffer.reserve(CHUNK);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        while let Some(at) = memchr::memchr(b'\n', &buffer[looked..]) {
            let line = buffer.split_to(looked + at + 1).freeze();
            looked = 0;
            match skipped.take() {
                Some(beginning) => {
                    duplex.unread(
                        &beginning,
                        &line,
                        &format!("the answer is larger than {max} bytes"),
                    );
                }
                None => hear(duplex, &line),
            }
        }
        looked = buffer.len();
        if looked > max {
            let beginning = skipped.take();
            skipped = Some(beginning.unwrap_or_else(|| Bytes::copy_from_slice(&buffer[..1024.min(looked)])));
            // Its end is where the id may be.
            let rest = buffer.split_off(looked.saturating_sub(1024));
            buffer = rest;
            looked = buffer.len();
        }
    }
    // What its end cut off is no answer: how it ended says more.
    let rest = buffer.freeze();
    if serde_json::from_slice::<IgnoredAny>(rest.trim_ascii()).is_ok() {
        hear(duplex, &rest);
    }
}

fn hear(duplex: &Duplex, line: &Bytes) {
    let trimmed = line.trim_ascii();
    let trimmed = trimmed.strip_prefix(b"\xef\xbb\xbf").unwrap_or(trimmed);
    if !trimmed.is_empty() {
        duplex.hear(&line.slice_ref(trimmed));
    }
}
