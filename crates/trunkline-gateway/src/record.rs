//! Record: one line per operation, written exactly once, also when the client leaves. A bounded queue to a batch writer;
//! never on the path: when the queue is full, the record is counted as lost and the request goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use trunkline_model::{CallKind, CallRecord, Principal, RequestId};
use trunkline_store::Store;

use crate::Gateway;
use crate::context::Context;

/// Records that may wait to be written.
const QUEUE: usize = 16 * 1024;
/// Records in one transaction.
const BATCH: usize = 1000;
/// How long a record may wait for company.
const PAUSE: Duration = Duration::from_millis(250);

/// The sending end.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<CallRecord>,
    lost: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder and the writer that belongs to it. The writer ends, after the last record, when the recorder and its
    /// clones are gone or `stop` is done.
    pub fn new(store: Store) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        (
            Self {
                queue,
                lost: lost.clone(),
            },
            write(receiver, store, lost),
        )
    }

    /// Hands a record over.
    pub fn send(&self, record: CallRecord) {
        if self.queue.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that could not be kept.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

async fn write(mut receiver: mpsc::Receiver<CallRecord>, store: Store, lost: Arc<AtomicU64>) {
    let mut batch = Vec::new();
    let mut failing = false;
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        match store.call_record_insert(&batch).await {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("call records are written again");
                }
            }
            Err(error) => {
                lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "call records cannot be written; they are lost until the database is back");
                }
            }
        }
        batch.clear();
        if !receiver.is_closed() && receiver.len() < BATCH {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A record in the making. Dropping it unfinished says that the client left.
pub struct Pending {
    gateway: Arc<Gateway>,
    record: Option<CallRecord>,
    began: Instant,
}

impl Pending {
    /// Begins a record.
    pub fn begin(gateway: &Arc<Gateway>, context: &Context, kind: CallKind, request_bytes: usize) -> Self {
        let mut pending = Self::of(
            gateway,
            (&context.request_id, &context.principal),
            kind,
            request_bytes,
        );
        if let Some(record) = &mut pending.record {
            record.session = context.session.map(trunkline_model::SessionKey::to_hex);
        }
        pending
    }

    /// Begins the record of a request that is about no servers.
    pub fn of(
        gateway: &Arc<Gateway>,
        (request_id, principal): (&RequestId, &Principal),
        kind: CallKind,
        request_bytes: usize,
    ) -> Self {
        let record = CallRecord {
            request_id: request_id.as_str().to_owned(),
            started_at: gateway.clock.now(),
            duration_us: 0,
            kind,
            principal: principal.id().to_owned(),
            session: None,
            server_id: None,
            tool: None,
            outcome: "client_gone",
            error: None,
            request_bytes: request_bytes as u64,
            response_bytes: 0,
        };
        Self {
            gateway: gateway.clone(),
            record: Some(record),
            began: Instant::now(),
        }
    }

    /// Notes where the call went.
    pub fn target(&mut self, server_id: &str, tool: &str) {
        if let Some(record) = &mut self.record {
            record.server_id = Some(server_id.to_owned());
            record.tool = Some(tool.to_owned());
        }
    }

    /// What was asked.
    pub fn kind(&self) -> Option<CallKind> {
        self.record.as_ref().map(|record| record.kind)
    }

    /// Notes which model was asked for.
    pub fn model(&mut self, name: &str) {
        if let Some(record) = &mut self.record {
            record.tool = Some(name.to_owned());
        }
    }

    /// Counts bytes for the client.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.response_bytes += bytes as u64;
        }
    }

    /// Ends the record.
    pub fn finish(mut self, outcome: &'static str, error: Option<String>) {
        self.end(outcome, error);
    }

    /// Another replica answers the request, and records it.
    pub fn handed_on(mut self) {
        self.record = None;
    }

    fn end(&mut self, outcome: &'static str, error: Option<String>) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        let took = self.began.elapsed();
        record.duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        record.outcome = outcome;
        record.error = error;
        self.gateway.metrics.count(&record, took);
        log(&record);
        self.gateway.recorder.send(record);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.end("client_gone", None);
    }
}

/// Successes at debug level: a busy gateway's log is for what went wrong.
fn log(record: &CallRecord) {
    let CallRecord {
        request_id,
        outcome,
        duration_us,
        ..
    } = record;
    let (kind, server, tool) = (
        record.kind.as_str(),
        record.server_id.as_deref(),
        record.tool.as_deref(),
    );
    let tool = || tool.map(trunkline_upstream::fault::printable);
    if *outcome == "ok" {
        tracing::debug!(%request_id, kind, server, tool = tool(), outcome, duration_us, "done");
    } else {
        let error = record.error.as_deref();
        tracing::info!(%request_id, kind, server, tool = tool(), outcome, duration_us, error, "done");
    }
}

/// Before when records may be deleted.
pub fn retention_limit(now: Timestamp, days: u32) -> Option<Timestamp> {
    now.checked_sub(jiff::SignedDuration::from_hours(i64::from(days) * 24))
        .ok()
}
