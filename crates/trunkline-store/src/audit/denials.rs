//! What was refused, on its way to the log: a bounded queue to a batch writer, so that no request waits. What has no place, or cannot
//! be written, is counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;

use super::entry::{Entry, bounded_text};
use super::{Actor, append_rows};
use crate::catalogue::storable;
use crate::db::StoreError;
use crate::store::Store;
use crate::verify::chain;

/// Denials that may wait to be written.
const QUEUE: usize = 4 * 1024;
/// Denials in one transaction.
const BATCH: usize = 250;
/// How long one may wait for company.
const PAUSE: Duration = Duration::from_millis(250);

/// Something that an authenticated caller was refused.
#[derive(Clone, Debug)]
pub struct Denial {
    /// When.
    pub at: Timestamp,
    /// Who wanted it.
    pub by: Actor,
    /// What it is about: the wire's name of a table, or empty.
    pub table: &'static str,
    /// What of it: a server's id, or a path.
    pub object_id: String,
    /// `server`, `tool`, `reason`, `level`, `rule`, `status` and the like, those that there are.
    pub details: Vec<(&'static str, Json)>,
}

/// Rows that one caller leaves in a minute: whoever asks for what it may not all the time must not fill the log, nor the queue in
/// which others' denials wait.
const PER_MINUTE: u32 = 120;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// Callers that are counted at the same time, before those are forgotten whose minute is over.
const CALLERS: usize = 10_000;

/// What one caller was refused in a minute.
#[derive(Debug)]
struct Pace {
    began: Timestamp,
    rows: u32,
    left_out: u64,
}

/// The sending end.
#[derive(Clone, Debug)]
pub struct Denials {
    queue: mpsc::Sender<Box<Denial>>,
    lost: Arc<AtomicU64>,
    paces: Arc<Mutex<HashMap<String, Pace>>>,
}

impl Denials {
    /// A queue and the writer that belongs to it. The writer ends, after the last denial, when the queue's clones are gone.
    pub fn new(store: Store) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = write(receiver, store, lost.clone());
        let paces = Arc::default();
        (Self { queue, lost, paces }, writer)
    }

    /// Hands one over, unless its caller left enough of them in this minute. The next one that is handed over says how many were left out.
    pub fn send(&self, mut denial: Denial) {
        if !self.paced(&mut denial) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.queue.try_send(Box::new(denial)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn paced(&self, denial: &mut Denial) -> bool {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |pace: &Pace| denial.at.duration_since(pace.began) >= MINUTE;
        if paces.len() >= CALLERS {
            paces.retain(|_, pace| !is_over(pace));
        }
        let fresh = || Pace {
            began: denial.at,
            rows: 0,
            left_out: 0,
        };
        let pace = paces
            .entry(denial.by.changed_by_api_key.clone())
            .or_insert_with(fresh);
        if is_over(pace) {
            (pace.began, pace.rows) = (denial.at, 0);
        }
        if pace.rows >= PER_MINUTE {
            pace.left_out += 1;
            return false;
        }
        pace.rows += 1;
        let left_out = std::mem::take(&mut pace.left_out);
        if left_out > 0 {
            denial.details.push(("left_out", left_out.into()));
        }
        true
    }

    /// Denials that are not in the log.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

async fn write(mut receiver: mpsc::Receiver<Box<Denial>>, store: Store, lost: Arc<AtomicU64>) {
    let mut batch = Vec::new();
    let mut failing = false;
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        match store.audit_denied(&batch).await {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("denials are written to the audit log again");
                }
            }
            Err(error) => {
                lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(
                        error = chain(&error),
                        "denials cannot be written to the audit log; they are lost until the database is back"
                    );
                }
            }
        }
        batch.clear();
        if !receiver.is_closed() && receiver.len() < BATCH {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Store {
    /// Writes denials, all or none.
    async fn audit_denied(&self, denials: &[Box<Denial>]) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        let rows = denials.iter().map(|denial| {
            let details: Map<String, Json> = denial
                .details
                .iter()
                .map(|(name, value)| ((*name).to_owned(), plain(value)))
                .collect();
            let entry = Entry::about("denied", denial.table, &denial.object_id, details);
            (denial.at.as_microsecond(), &denial.by, entry)
        });
        append_rows(&mut tx, rows).await?;
        tx.commit().await
    }
}

/// Names come from clients.
fn plain(value: &Json) -> Json {
    match value {
        Json::String(text) => bounded_text(&storable(text)).into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s14_nobody_fills_the_log_or_hides_others_in_it() {
        let (queue, mut receiver) = mpsc::channel(QUEUE);
        let denials = Denials {
            queue,
            lost: Arc::default(),
            paces: Arc::default(),
        };
        let denied = |key: &str, second: i64| {
            denials.send(Denial {
                at: Timestamp::from_second(second).unwrap(),
                by: Actor {
                    changed_by_api_key: key.to_owned(),
                    ..Actor::default()
                },
                table: "",
                object_id: String::new(),
                details: Vec::new(),
            });
        };
        for _ in 0..10_000 {
            denied("loud", 100);
        }
        denied("quiet", 100);
        let mut waiting = Vec::new();
        while let Ok(denial) = receiver.try_recv() {
            waiting.push(denial);
        }
        assert_eq!(waiting.len(), PER_MINUTE as usize + 1);
        assert_eq!(waiting.last().unwrap().by.changed_by_api_key, "quiet");
        assert_eq!(denials.lost(), 10_000 - u64::from(PER_MINUTE));
        denied("loud", 160);
        let next = receiver.try_recv().unwrap();
        assert_eq!(next.details, [("left_out", Json::from(10_000 - PER_MINUTE))]);
    }
}
