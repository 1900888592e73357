//! Where a child stands. It is started when it is wanted, and again when it has ended: after a pause that doubles from half a
//! second to half a minute while it keeps ending, with some chance in it, and begins anew after a healthy minute.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use trunkline_mcp::Era;
use trunkline_model::{OutcomeStatus, Step};

use super::Recipe;
use super::child::Child;
use crate::entry::Entry;
use crate::fault::Fault;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Who lived so long is healthy.
const HEALTHY: Duration = Duration::from_mins(1);
/// Whoever comes within this time before the next start waits for it.
const WAITED_FOR: Duration = Duration::from_secs(2);

/// Which child.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) environment: [u8; 16],
    pub(super) era: Era,
    /// What it is told in the hand-shake; empty in the new era.
    told: String,
    /// It has one session only.
    pub(super) alone: Option<u64>,
}

impl Key {
    pub(super) fn new(recipe: &Recipe, era: Era, told: &str) -> Self {
        Self {
            environment: recipe.fingerprint,
            era,
            told: told.to_owned(),
            alone: None,
        }
    }
}

pub(super) struct Place {
    pub(super) key: Key,
    recipe: Arc<Recipe>,
    made: Instant,
    child: ArcSwapOption<Child>,
    /// Held while starting.
    starting: tokio::sync::Mutex<()>,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    starts: u64,
    failures: u32,
    not_before: Option<(Instant, Timestamp)>,
    last: Option<Fault>,
    stopped: bool,
}

/// What becomes of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It ended, and is not started again before a time.
    Backoff,
    /// It ended, and is started when it is wanted.
    Ended,
}

impl Life {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Ended => "ended",
        }
    }
}

/// A program of a server, for people. No secrets are in it.
#[derive(Clone, Debug)]
pub struct ProgramState {
    /// What becomes of it.
    pub life: Life,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// When it was started last.
    pub started_at: Option<Timestamp>,
    /// How often it was started again.
    pub restarts: u64,
    /// When it is started again at the earliest.
    pub not_before: Option<Timestamp>,
    /// How it ended the last time.
    pub last_exit: Option<String>,
    /// Requests under way.
    pub in_flight: usize,
    /// Sessions with it.
    pub sessions: usize,
    /// Lines on its standard output that were no messages.
    pub junk_lines: u64,
    /// The last of these.
    pub last_junk: String,
    /// The last lines of its standard error.
    pub stderr: Vec<String>,
    /// What probably keeps it from working: arguments that name what the sandbox hides.
    pub hints: Vec<String>,
}

impl Place {
    pub(super) fn new(key: Key, recipe: Arc<Recipe>) -> Self {
        Self {
            key,
            recipe,
            made: Instant::now(),
            child: ArcSwapOption::empty(),
            starting: tokio::sync::Mutex::default(),
            history: Mutex::default(),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The child, if it runs.
    pub(super) fn running(&self) -> Option<Arc<Child>> {
        self.child.load_full().filter(|child| !child.duplex.is_over())
    }

    pub(super) fn in_flight(&self) -> usize {
        self.running().map_or(0, |child| child.duplex.in_flight())
    }

    /// Whether nothing is under way with it.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.starting.try_lock().is_ok()
    }

    /// Whether nobody has a session with it either.
    pub(super) fn is_unused(&self) -> bool {
        self.is_idle() && self.running().is_none_or(|child| child.duplex.visitors() == 0)
    }

    pub(super) fn last_used(&self) -> Instant {
        let child = self.child.load();
        child.as_ref().map_or(self.made, |child| child.last_used())
    }

    /// The child, started if need be.
    pub(super) async fn child(self: &Arc<Self>, entry: &Arc<Entry>, step: Step) -> Result<Arc<Child>, Fault> {
        if let Some(child) = self.running() {
            child.touch();
            return Ok(child);
        }
        let _starting = self.starting.lock().await;
        if let Some(child) = self.running() {
            return Ok(child);
        }
        self.turn(step).await?;
        // Boxed, and only here: every call would carry room for it.
        let started = Box::pin(Child::start(entry, self, &self.recipe)).await;
        match started {
            Ok(child) => {
                {
                    let mut history = self.history();
                    history.starts += 1;
                    if history.stopped {
                        child.stop.cancel();
                    }
                }
                self.child.store(Some(child.clone()));
                Ok(child)
            }
            Err(fault) => {
                // What cannot be started costs nothing to try.
                if fault.status != OutcomeStatus::Misconfigured {
                    self.failed(entry, &fault, Duration::ZERO);
                }
                Err(fault)
            }
        }
    }

    /// Waits until it may be started, if that is soon.
    async fn turn(&self, step: Step) -> Result<(), Fault> {
        let wait = {
            let history = self.history();
            if history.stopped {
                return Err(Fault::new(
                    OutcomeStatus::Unreachable,
                    step,
                    "the program was stopped",
                ));
            }
            let Some((at, _)) = history.not_before else {
                return Ok(());
            };
            let wait = at.saturating_duration_since(Instant::now());
            if wait > WAITED_FOR {
                let why = history.last.clone();
                let mut fault =
                    why.unwrap_or_else(|| Fault::new(OutcomeStatus::Unreachable, step, "the program ended"));
                fault.message = format!(
                    "{}; it is started again in {:.1} s",
                    fault.message,
                    wait.as_secs_f64()
                );
                fault.retry_after = Some(wait);
                return Err(fault);
            }
            wait
        };
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// It ended, or could not be started: the next start has to wait.
    pub(super) fn failed(&self, entry: &Entry, fault: &Fault, lived: Duration) {
        let mut history = self.history();
        if lived >= HEALTHY {
            history.failures = 0;
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << history.failures.min(10));
        let [chance, ..] = *uuid::Uuid::new_v4().as_bytes();
        let pause = doubled
            .min(LONGEST_PAUSE)
            .mul_f64(0.8 + 0.4 * f64::from(chance) / 255.0);
        history.failures = history.failures.saturating_add(1);
        let now = entry.shared.clock.now();
        let until = SignedDuration::try_from(pause)
            .ok()
            .and_then(|pause| now.checked_add(pause).ok())
            .unwrap_or(now);
        history.not_before = Some((Instant::now() + pause, until));
        history.last = Some(fault.clone());
    }

    /// Ends it for good.
    pub(super) fn stop(&self) {
        self.history().stopped = true;
        if let Some(child) = self.child.load_full() {
            child.stop.cancel();
        }
    }

    /// Waits until its process is gone.
    pub(super) async fn gone(&self) {
        if let Some(child) = self.child.load_full() {
            child.gone.cancelled().await;
        }
    }

    pub(super) fn state(&self) -> ProgramState {
        let running = self.running();
        let child = self.child.load_full();
        let history = self.history();
        let pausing = history
            .not_before
            .filter(|(at, _)| running.is_none() && *at > Instant::now());
        let (junk_lines, last_junk) = child
            .as_ref()
            .map(|child| child.duplex.junk.seen())
            .unwrap_or_default();
        ProgramState {
            life: match (&running, pausing) {
                (Some(_), _) => Life::Running,
                (None, Some(_)) => Life::Backoff,
                (None, None) => Life::Ended,
            },
            pid: running.as_ref().map(|child| child.pid),
            started_at: child.as_ref().map(|child| child.started_at),
            restarts: history.starts.saturating_sub(1),
            not_before: pausing.map(|(_, until)| until),
            last_exit: history.last.as_ref().map(|fault| fault.message.clone()),
            in_flight: running.as_ref().map_or(0, |child| child.duplex.in_flight()),
            sessions: running.as_ref().map_or(0, |child| child.duplex.visitors()),
            junk_lines,
            last_junk,
            hints: child
                .as_ref()
                .map(|child| child.hints.clone())
                .unwrap_or_default(),
            stderr: child.map(|child| child.tail.lines()).unwrap_or_default(),
        }
    }
}
