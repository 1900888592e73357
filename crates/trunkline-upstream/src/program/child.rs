//! One running program: its pipes, its end, and who is told of it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::unix::pipe;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_launch::{Control, Ended, LaunchError, Launcher, Program, Running};
use trunkline_mcp::Era;
use trunkline_model::{OutcomeStatus, Secret, Step};

use super::Recipe;
use super::place::Place;
use super::reader::{Home, Reader};
use super::tail::Tail;
use crate::duplex::{Duplex, Pipe, PipeEnd, Wire, Writer};
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

pub(crate) struct Child {
    pub(crate) duplex: Arc<Duplex>,
    pub(crate) pid: u32,
    pub(crate) started_at: Timestamp,
    /// What of the confinement that was asked for is in force, for people.
    pub(crate) isolation: String,
    /// What probably keeps it from working.
    pub(crate) hints: Vec<String>,
    pub(crate) tail: Arc<Tail>,
    /// Asks it to end.
    pub(crate) stop: CancellationToken,
    /// It has ended, and its descendants.
    pub(crate) gone: CancellationToken,
    home: Arc<Home>,
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
        let Running {
            stdin,
            stdout,
            stderr,
            pid,
            isolation,
            hints,
            control,
        } = running;
        let (input, output) = pipes(runtime, stdin, stdout).map_err(|error| {
            Fault::new(
                OutcomeStatus::Internal,
                Step::Start,
                format!("its pipes cannot be used: {error}"),
            )
        })?;
        let (pipe, parcels) = Pipe::new(&input);
        let changed = changed(entry.current.clone(), recipe.clone());
        let era = place.key.era;
        let tasks = &entry.shared.tasks;
        let child = Arc::new(Self {
            duplex: Duplex::new(&entry.prefix, era, Wire::Pipe(pipe), tasks, changed),
            pid,
            started_at: entry.shared.clock.now(),
            isolation: isolation.summary(),
            hints,
            tail: Arc::new(Tail::new(&entry.prefix, recipe)),
            stop: CancellationToken::new(),
            gone: CancellationToken::new(),
            home: Home::new(runtime),
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
        let output = Reader::new(output, entry.shared.settings().max_message_bytes);
        let ends = Ends {
            input: input.writer(parcels),
            output,
            stderr,
            control,
        };
        tasks.spawn_on(async move { supervisor.run(ends).await }, runtime);
        Ok(child)
    }

    /// Somebody calls it, from this thread.
    pub(super) fn called(&self) {
        self.touch();
        self.home.called();
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

/// Its ends of a child's pipes.
fn pipes(
    runtime: &Handle,
    stdin: ChildStdin,
    stdout: ChildStdout,
) -> std::io::Result<(Arc<PipeEnd>, OwnedFd)> {
    let _entered = runtime.enter();
    let input = pipe::Sender::from_owned_fd(stdin.into_owned_fd()?)?;
    Ok((PipeEnd::new(input), stdout.into_owned_fd()?))
}

/// What the gateway has of a running child.
struct Ends {
    input: Writer,
    output: Reader,
    stderr: ChildStderr,
    control: Control,
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
    async fn run(self, ends: Ends) {
        let Ends {
            input,
            output,
            stderr,
            mut control,
        } = ends;
        let hung_up = CancellationToken::new();
        let writer = hung_up.clone();
        let mut writing = tokio::spawn(async move { writer.run_until_cancelled(input.run()).await });
        let (duplex, home) = (self.child.duplex.clone(), self.child.home.clone());
        let mut reading = tokio::spawn(async move { output.read(&home, &duplex).await });
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
        let by_hand = "run the command by hand in the same environment; trunkline doctor shows what it says";
        let hint = match self.child.hints.as_slice() {
            [] => by_hand.to_owned(),
            // What is known counts more than how to find out.
            hints => hints.join("; "),
        };
        Fault::new(OutcomeStatus::Unreachable, Step::Call, message)
            .hint(hint)
            .without(secrets)
    }
}
