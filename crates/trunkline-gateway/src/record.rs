//! Record: one line per operation, written exactly once, also when the client leaves. A bounded queue to a batch writer;
//! never on the path: when the queue is full, the record is counted as lost and the request goes on.
//!
//! While the database is away the writer keeps its batch and tries again, and the queue fills up. What a call cost is charged when it
//! ends, whether its record is written or lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;
use trunkline_model::{CallKind, CallRecord, ModelUse, Payers, Principal, RequestId, ServerId};
use trunkline_store::Store;

use crate::Gateway;
use crate::context::Context;
use crate::limits::Reserved;

/// Records that may wait to be written.
const QUEUE: usize = 16 * 1024;
/// Records in one transaction.
const BATCH: usize = 1000;
/// How long a record may wait for company.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two tries of one batch: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long it is tried when the gateway stops.
const LAST_TRIES: Duration = Duration::from_secs(4);

/// The sending end.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<CallRecord>,
    lost: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder and the writer that belongs to it. The writer ends, after the last record, when the recorder and its
    /// clones are gone or `stop` is done.
    pub fn new(
        store: Store,
        new_id: Arc<dyn Fn() -> String + Send + Sync>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        (
            Self {
                queue,
                lost: lost.clone(),
            },
            Writer {
                store,
                new_id,
                lost,
                failing: false,
                said: 0,
            }
            .run(receiver),
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

struct Writer {
    store: Store,
    new_id: Arc<dyn Fn() -> String + Send + Sync>,
    lost: Arc<AtomicU64>,
    failing: bool,
    /// How many of the lost were told of.
    said: u64,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<CallRecord>) {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            self.write(&receiver, &batch).await;
            batch.clear();
            if !receiver.is_closed() && receiver.len() < BATCH {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Writes a batch, however long it takes, as long as the gateway serves. Its name is the same each time: a commit of which nobody
    /// heard is not done twice.
    async fn write(&mut self, receiver: &mpsc::Receiver<CallRecord>, batch: &[CallRecord]) {
        let name = (self.new_id)();
        let mut pause = RETRY.0;
        let mut closed: Option<Instant> = None;
        loop {
            let error = match self.store.ledger_write(&name, batch).await {
                Ok(()) => return self.written(),
                Err(error) => error,
            };
            let waits = error.is_passing();
            if !std::mem::replace(&mut self.failing, true) && waits {
                tracing::error!(
                    error = chain(&error),
                    "call records cannot be written; {QUEUE} wait in memory until the database is back, what is more is lost"
                );
            }
            if receiver.is_closed() && closed.is_none() {
                closed = Some(Instant::now());
            }
            if !waits || closed.is_some_and(|at| at.elapsed() > LAST_TRIES) {
                let records = batch.len();
                self.lost.fetch_add(records as u64, Ordering::Relaxed);
                tracing::error!(
                    error = chain(&error),
                    records,
                    "call records could not be written and are lost"
                );
                return;
            }
            tokio::time::sleep(if closed.is_some() { RETRY.0 } else { pause }).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    fn written(&mut self) {
        if !std::mem::take(&mut self.failing) {
            return;
        }
        let lost = self.lost.load(Ordering::Relaxed);
        let records = lost - std::mem::replace(&mut self.said, lost);
        tracing::info!(lost = records, "call records are written again");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(own) = source {
        text.push_str(": ");
        text.push_str(&own.to_string());
        source = own.source();
    }
    text
}

/// A record in the making. Dropping it unfinished says that the client left.
pub struct Pending {
    gateway: Arc<Gateway>,
    record: Option<CallRecord>,
    /// Who asked, for what it costs when it ends.
    principal: Principal,
    /// The tokens that it may take, where those are limited.
    reserved: Option<Reserved>,
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
            record.session = context.session;
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
        let now = gateway.clock.now();
        let record = CallRecord {
            request_id: request_id.clone(),
            started_at: now,
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
            payers: Payers::of(principal, now, None),
            // Until something of it may cost anything.
            cost: Some(0),
            at_least: 0,
            model: None,
            tags: Vec::new(),
            client: principal.client().address,
        };
        Self {
            gateway: gateway.clone(),
            record: Some(record),
            principal: principal.clone(),
            reserved: None,
            began: Instant::now(),
        }
    }

    /// Notes where the call went.
    pub fn target(&mut self, server_id: ServerId, tool: &str) {
        if let Some(record) = &mut self.record {
            record.server_id = Some(server_id);
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

    /// Notes what a model took and what it cost; `None`: nobody knows, and `at_least` is what is known of it. A request that
    /// asks several times has taken all of it.
    pub fn took(&mut self, model: ModelUse, cost: Option<i64>, at_least: i64) {
        let Some(record) = &mut self.record else {
            return;
        };
        if let Some(reserved) = &mut self.reserved {
            let tokens = [model.input_tokens, model.output_tokens];
            reserved.took(tokens.into_iter().flatten().fold(0, u64::saturating_add));
        }
        record.at_least = match record.cost {
            Some(before) => before.saturating_add(at_least),
            None => record.at_least.saturating_add(at_least),
        };
        record.cost = record
            .cost
            .zip(cost)
            .map(|(before, cost)| before.saturating_add(cost));
        let model = match record.model.take() {
            Some(before) => before.and(model),
            None => model,
        };
        record.model = Some(Box::new(model));
    }

    /// Notes that nobody can say which tokens it took: those that were counted for it stay counted.
    pub(crate) fn took_what_it_may(&mut self) {
        if let Some(reserved) = &mut self.reserved {
            reserved.took_all();
        }
    }

    /// Notes the tokens that were counted for it before it is known what it takes.
    pub fn reserve(&mut self, reserved: Option<Reserved>) {
        self.reserved = reserved;
    }

    /// It goes on to another model, for which these were counted.
    pub(crate) fn goes_on(&mut self, next: Option<Reserved>) {
        match &mut self.reserved {
            Some(reserved) => reserved.goes_on(next),
            None => self.reserved = next,
        }
    }

    /// Notes by what else it is to be found.
    pub fn tagged(&mut self, tags: Vec<String>) {
        if let Some(record) = &mut self.record {
            record.tags = tags;
        }
    }

    /// The key that pays, and since when its period is, microseconds.
    pub fn paying_key(&self) -> Option<(&str, i64)> {
        let key = self.record.as_ref()?.payers.key.as_ref()?;
        Some((&*key.id, key.since))
    }

    /// Bytes that the client has by now.
    pub fn sent_bytes(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.response_bytes)
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
        // What it did not take is others' again.
        self.reserved = None;
        let Some(mut record) = self.record.take() else {
            return;
        };
        let took = self.began.elapsed();
        record.duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        record.outcome = outcome;
        record.error = error;
        if record.kind == CallKind::CallTool && matches!(outcome, "ok" | "tool_error" | "client_gone") {
            record.cost = tool_price(&self.gateway, &record);
        }
        let charge = record.charge();
        if charge > 0 {
            // It counts in the period in which it ended, which need not be the one in which it began.
            let took = SignedDuration::try_from(took).unwrap_or(SignedDuration::MAX);
            let ended = record.started_at.checked_add(took).unwrap_or(record.started_at);
            let model = record.tool.as_deref().filter(|_| record.model.is_some());
            record.payers = Payers::of(&self.principal, ended, model);
            let spend = self.gateway.registry.store().spend();
            spend.charge(&record.payers, charge);
        }
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

/// What the server that was called says that a call costs; nothing if it says nothing.
fn tool_price(gateway: &Gateway, record: &CallRecord) -> Option<i64> {
    let snapshot = gateway.registry.snapshot();
    let server = record.server_id.as_ref().and_then(|id| snapshot.get(id));
    server.map_or(Some(0), |server| {
        server.price_of(record.tool.as_deref().unwrap_or_default())
    })
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
        record.server_id.as_ref().map(ServerId::as_str),
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
pub fn retention_limit(now: Timestamp, hours: u32) -> Option<Timestamp> {
    now.checked_sub(jiff::SignedDuration::from_hours(i64::from(hours)))
        .ok()
}
