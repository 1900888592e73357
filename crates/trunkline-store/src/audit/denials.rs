//! What was refused, on its way to the log: a bounded queue to a batch writer, so that no request waits. What has no place, or cannot
//! be written, is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
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

/// The sending end.
#[derive(Clone, Debug)]
pub struct Denials {
    queue: mpsc::Sender<Box<Denial>>,
    lost: Arc<AtomicU64>,
}

impl Denials {
    /// A queue and the writer that belongs to it. The writer ends, after the last denial, when the queue's clones are gone.
    pub fn new(store: Store) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = write(receiver, store, lost.clone());
        (Self { queue, lost }, writer)
    }

    /// Hands one over.
    pub fn send(&self, denial: Denial) {
        if self.queue.try_send(Box::new(denial)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
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
