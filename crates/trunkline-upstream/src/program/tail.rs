//! The last lines of a program's standard error: kept for people, logged with moderation, always read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;
use trunkline_model::Secret;

use super::Recipe;
use crate::fault::{printable, redacted};

/// Lines that are kept.
const KEPT: usize = 40;
/// Of these the last are repeated in a fault.
const REPEATED: usize = 3;
/// Bytes of a line that are looked at.
const LONGEST_LINE: usize = 4096;
/// Lines that are logged in a second.
const LOGGED: u32 = 20;

pub(crate) struct Tail {
    server: String,
    recipe: Arc<Recipe>,
    /// As they came: most are never looked at.
    lines: Mutex<VecDeque<Vec<u8>>>,
}

impl Tail {
    pub(super) fn new(server: &str, recipe: &Arc<Recipe>) -> Self {
        Self {
            server: server.to_owned(),
            recipe: recipe.clone(),
            lines: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that are kept, the oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines: Vec<Vec<u8>> = self.lock().iter().cloned().collect();
        lines.iter().map(|line| self.shown(line)).collect()
    }

    /// The last few, on one line.
    pub(crate) fn words(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(REPEATED)..].join(" / ")
    }

    /// A line fit to be shown: printable, bounded, without the values of the environment.
    fn shown(&self, line: &[u8]) -> String {
        let secrets: Vec<&str> = self.recipe.secrets.iter().map(Secret::expose).collect();
        let text = redacted(&String::from_utf8_lossy(line), &secrets);
        redacted(&printable(&text), &secrets)
    }

    fn push(&self, line: &[u8]) {
        let mut lines = self.lock();
        let mut place = if lines.len() >= KEPT {
            lines.pop_front().unwrap_or_default()
        } else {
            Vec::new()
        };
        place.clear();
        place.extend_from_slice(line);
        lines.push_back(place);
    }

    /// Reads to the end.
    pub(super) async fn read(&self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 16 * 1024];
        let mut line: Vec<u8> = Vec::new();
        let mut moderation = Moderation::new();
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
                let room = LONGEST_LINE - line.len().min(LONGEST_LINE);
                line.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.ends_with(b"\n") {
                    self.end_line(&mut line, &mut moderation);
                }
            }
        }
        self.end_line(&mut line, &mut moderation);
    }

    fn end_line(&self, line: &mut Vec<u8>, moderation: &mut Moderation) {
        if !line.trim_ascii().is_empty() {
            self.push(line);
            if let Some(missed) = moderation.turn() {
                let server = &self.server;
                if missed > 0 {
                    tracing::debug!(%server, missed, "more was said on standard error than is logged");
                }
                tracing::debug!(%server, "standard error: {}", self.shown(line));
            }
        }
        line.clear();
    }
}

/// So many in a second.
struct Moderation {
    since: Instant,
    count: u32,
    missed: u64,
}

impl Moderation {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
            missed: 0,
        }
    }

    /// Whether one more may be logged now, and how many were not before it.
    fn turn(&mut self) -> Option<u64> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.count = 0;
        }
        self.count += 1;
        if self.count > LOGGED {
            self.missed += 1;
            return None;
        }
        Some(std::mem::take(&mut self.missed))
    }
}
