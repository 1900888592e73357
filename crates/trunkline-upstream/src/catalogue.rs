//! The tools of a server, cached (design §4): answered from memory, refreshed in the background with single flight, the
//! last good copy kept in the database so that a cold start answers before upstreams do.
//!
//! Who waits, and how long:
//! - a good copy is answered at once; when it is old, a refresh starts behind it;
//! - nothing known yet: the caller waits for the attempt, up to its deadline;
//! - a failed attempt is answered at once until its back-off is over; then the caller waits again, unless the failure
//!   was a time-out, in which case only the background does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_mcp::hidden::Removed;
use trunkline_mcp::list::{Item, RejectedItem};
use trunkline_mcp::{Era, ListKind};
use trunkline_model::{Outcome, OutcomeStatus, Rejected, Step};
use trunkline_store::CatalogueRow;

use crate::credential::Outgoing;
use crate::entry::Entry;
use crate::fault::{Fault, printable, redacted};
use crate::listing::list_items;
use crate::pins::{self, Pinning};
use crate::session::Introduction;
use crate::upstreams::Shared;

/// One of the lists of one server under one credential, at one time.
#[derive(Debug)]
pub struct Catalogue {
    /// Which list.
    pub kind: ListKind,
    /// In the upstream's order, each name once.
    pub items: Vec<Item>,
    /// Which of them has which name.
    pub names: Names,
    /// Definitions that could not be taken in.
    pub rejected: Vec<RejectedItem>,
    /// What the server said about itself.
    pub introduction: Introduction,
    /// `ttlMs`: how long it may be kept, milliseconds, if the server said so.
    pub ttl_ms: Option<u64>,
    /// `cacheScope: public`: the same for whoever asks, says the server.
    pub public: bool,
    /// An item's `outputSchema` is shown wrapped to clients that know none of its kind.
    pub wraps: bool,
    /// Hidden text that was taken out of the definitions.
    pub removed: Removed,
    /// Hidden text that was found in them, whether it was taken out or not.
    pub hidden: Removed,
    /// What the server's pins make of it.
    pub pinning: Pinning,
    /// The negotiated revision.
    pub revision: Option<String>,
    /// When it was listed.
    pub fetched_at: Timestamp,
}

/// Positions of items in the order of one of their names: of thousands of lists maps would be a good part of the memory.
#[derive(Debug, Default)]
pub struct Names(Box<[u32]>);

impl Names {
    /// Those of a list in which each name is once. `name` is the same as in [`Names::find`].
    pub fn of<T>(items: &[T], name: fn(&T) -> &str) -> Self {
        // A list has a bound that is far below.
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let mut places: Vec<u32> = (0..count).collect();
        places.sort_unstable_by_key(|place| name(&items[*place as usize]));
        Self(places.into_boxed_slice())
    }

    /// The item of a name in the list that these are of.
    pub fn find<'i, T>(&self, items: &'i [T], wanted: &str, name: fn(&T) -> &str) -> Option<&'i T> {
        let item = |place: &u32| items.get(*place as usize);
        let at = self
            .0
            .binary_search_by(|place| item(place).map_or("", name).cmp(wanted));
        item(self.0.get(at.ok()?)?)
    }

    /// The items in this order.
    pub fn in_order<'i, T>(&'i self, items: &'i [T]) -> impl Iterator<Item = &'i T> {
        self.0.iter().filter_map(|place| items.get(*place as usize))
    }
}

impl Catalogue {
    /// The item of a name: the upstream's own, its URI or its URI template.
    pub fn find(&self, name: &str) -> Option<&Item> {
        self.names.find(&self.items, name, |item| &item.name)
    }

    /// Whether the same is in it, definition by definition.
    fn same_items(&self, other: &Self) -> bool {
        self.items.len() == other.items.len()
            && self
                .items
                .iter()
                .zip(&other.items)
                .all(|(a, b)| a.raw.get() == b.raw.get())
    }

    /// What was left out, for people: bounded, printable, without what was sent as a credential.
    pub(crate) fn left_out<'s>(&self, secrets: impl Iterator<Item = &'s str>) -> Rejected {
        let mut rejected = Rejected::default();
        if self.rejected.is_empty() {
            return rejected;
        }
        let secrets: Vec<&str> = secrets.collect();
        let words = |text: &str| redacted(&printable(text), &secrets);
        for item in &self.rejected {
            rejected.push(|| trunkline_model::RejectedItem {
                name: item.name.as_deref().map(words),
                reason: words(&item.reason),
            });
        }
        rejected
    }

    /// The definitions as one JSON array.
    fn to_json(&self) -> String {
        let size: usize = self.items.iter().map(|item| item.raw.get().len() + 1).sum();
        let mut text = String::with_capacity(size + 2);
        text.push('[');
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(item.raw.get());
        }
        text.push(']');
        text
    }
}

/// What is known about a server's tools.
#[derive(Debug, Clone)]
pub struct Known {
    /// The last good copy.
    pub catalogue: Option<Arc<Catalogue>>,
    /// What came of the last attempt.
    pub outcome: Outcome,
    /// The copy is not of the last attempt: it failed, or there was none since the start.
    pub stale: bool,
    /// Counts the times that the server said that the list has changed.
    pub generation: u64,
    attempted: Option<Instant>,
    failures: u32,
}

impl Known {
    /// The tools that may be shown. A copy is no use when the upstream no longer accepts the credential: its tools could
    /// be listed, but not called.
    pub fn usable(&self) -> Option<&Arc<Catalogue>> {
        match self.outcome.status {
            OutcomeStatus::AuthRequired | OutcomeStatus::Forbidden | OutcomeStatus::Misconfigured => None,
            _ => self.catalogue.as_ref(),
        }
    }
}

/// The place of one catalogue.
pub struct CatalogueSlot {
    kind: ListKind,
    era: Era,
    known: ArcSwap<Known>,
    running: AtomicBool,
    /// A refresh waits for its time.
    announced: AtomicBool,
    /// Counts announcements of changes that an attempt was begun for.
    generation: AtomicU64,
    /// Counts finished attempts.
    finished: watch::Sender<u64>,
    created: Instant,
}

const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// An upstream's `Retry-After` is heeded up to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);
/// A server's `ttlMs` is heeded within these bounds; most say 0, and a list is not fetched for every answer.
const SHORTEST_TTL: Duration = Duration::from_secs(5);
const LONGEST_TTL: Duration = Duration::from_hours(24);
/// At least this long between refreshes that unknown names ask for.
const DEMAND_INTERVAL: Duration = Duration::from_secs(2);
/// The same for notifications of the server.
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(250);

impl CatalogueSlot {
    pub(crate) fn new(kind: ListKind, era: Era, shared: &Shared) -> Self {
        let outcome = Outcome {
            status: OutcomeStatus::Pending,
            message: "not listed yet".to_owned(),
            ..Outcome::ok(shared.clock.now(), 0)
        };
        Self {
            kind,
            era,
            known: ArcSwap::from_pointee(Known {
                catalogue: None,
                outcome,
                stale: true,
                generation: 0,
                attempted: None,
                failures: 0,
            }),
            generation: AtomicU64::new(0),
            running: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            finished: watch::channel(0).0,
            created: Instant::now(),
        }
    }

    pub(crate) fn created(&self) -> Instant {
        self.created
    }

    /// Whether what is known is good, and the same for whoever asks.
    pub(crate) fn is_public(&self) -> bool {
        let known = self.known.load();
        known.outcome.is_ok() && known.usable().is_some_and(|catalogue| catalogue.public)
    }

    /// What is known, without any attempt.
    pub fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// Puts the copy of the database in, if nothing is known yet.
    pub(crate) fn seed(&self, catalogue: &Arc<Catalogue>) {
        let known = self.known.load_full();
        if known.catalogue.is_none() {
            let outcome = Outcome {
                message: format!(
                    "the list is the one of {}; the server has not been asked since this gateway started",
                    catalogue.fetched_at
                ),
                ..known.outcome.clone()
            };
            self.known.store(Arc::new(Known {
                catalogue: Some(catalogue.clone()),
                outcome,
                ..(*known).clone()
            }));
        }
    }

    /// What is known, after an attempt if one is due; see the module for who waits.
    pub(crate) async fn current(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        out: &Arc<Outgoing>,
        wait: Duration,
    ) -> Arc<Known> {
        let known = self.known.load_full();
        if let Some(catalogue) = known.usable() {
            let age = entry.shared.clock.now().duration_since(catalogue.fetched_at);
            let ttl = catalogue
                .ttl_ms
                .map_or(entry.shared.settings().catalogue_ttl, |ttl| {
                    Duration::from_millis(ttl).clamp(SHORTEST_TTL, LONGEST_TTL)
                });
            let old = age.unsigned_abs() >= ttl;
            if (known.stale || old) && is_due(&known) {
                self.start(entry, out);
            }
            return known;
        }
        if !is_due(&known) {
            return known;
        }
        if known.outcome.status == OutcomeStatus::Timeout {
            self.start(entry, out);
            return known;
        }
        self.attempt(entry, out, wait).await
    }

    /// Makes an attempt, or joins the one under way, and waits for it; with a `wait` of zero nobody waits, and nothing is
    /// said about being late.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        out: &Arc<Outgoing>,
        wait: Duration,
    ) -> Arc<Known> {
        let began = Instant::now();
        let mut finished = self.finished.subscribe();
        self.start(entry, out);
        if wait.is_zero() {
            return self.known.load_full();
        }
        if tokio::time::timeout(wait, finished.changed()).await.is_err() {
            self.late(entry, began.elapsed());
        }
        self.known.load_full()
    }

    /// A refresh that an unknown name asks for: not more often than [`DEMAND_INTERVAL`]. Whether one started or runs.
    pub(crate) fn demand(self: &Arc<Self>, entry: &Arc<Entry>, out: &Arc<Outgoing>) -> bool {
        let known = self.known.load();
        if known.attempted.is_some_and(|at| at.elapsed() < DEMAND_INTERVAL) {
            return false;
        }
        self.start(entry, out);
        true
    }

    /// The upstream says that its tools have changed: a refresh that begins after this, as soon as [`ANNOUNCE_INTERVAL`]
    /// allows. What it says until then is answered by the same one.
    pub(crate) fn announce(self: &Arc<Self>, entry: &Arc<Entry>, out: &Arc<Outgoing>) {
        let known = self.known.load();
        if known.catalogue.is_none() && known.attempted.is_none() {
            // Nobody has asked for this list.
            return;
        }
        if self.announced.swap(true, Ordering::AcqRel) {
            return;
        }
        let (slot, entry, out) = (self.clone(), entry.clone(), out.clone());
        let tasks = entry.tasks.clone();
        tasks.spawn(async move {
            let since = slot.known.load().attempted.map(|at| at.elapsed());
            let pause = since.map_or(Duration::ZERO, |since| ANNOUNCE_INTERVAL.saturating_sub(since));
            tokio::time::sleep(pause).await;
            let mut finished = slot.finished.subscribe();
            if slot.running.load(Ordering::Acquire) {
                // It may have asked before the change. Ends in an error never: the sender is in the slot.
                let _ = finished.changed().await;
            }
            slot.announced.store(false, Ordering::Release);
            slot.generation.fetch_add(1, Ordering::Relaxed);
            slot.start(&entry, &out);
        });
    }

    /// Waits for the end of an attempt that is under way, up to `wait`.
    pub(crate) async fn settled(&self, wait: Duration) {
        let mut finished = self.finished.subscribe();
        if self.running.load(Ordering::Acquire) {
            let _ = tokio::time::timeout(wait, finished.changed()).await;
        }
    }

    /// Another attempt, if one is wanted.
    pub(crate) fn retry(self: &Arc<Self>, entry: &Arc<Entry>, out: &Arc<Outgoing>) {
        if self.wants_retry() {
            self.start(entry, out);
        }
    }

    /// Whether there was a failure that can pass by itself, and its back-off is over. Not after a refusal: asking with the
    /// same credential again and again can lock an account.
    pub(crate) fn wants_retry(&self) -> bool {
        let known = self.known.load();
        let may_pass = matches!(
            known.outcome.status,
            OutcomeStatus::Timeout
                | OutcomeStatus::Unreachable
                | OutcomeStatus::UpstreamError
                | OutcomeStatus::ProtocolError
                | OutcomeStatus::RateLimited
        );
        // A server that turns out to be of the new era has a list that nobody has asked for yet.
        let untried = known.attempted.is_none() && self.era == Era::Modern;
        (may_pass || untried) && is_due(&known) && !self.running.load(Ordering::Acquire)
    }

    /// The attempt takes longer than the caller waits: say so to whoever comes next, instead of making them wait too.
    fn late(&self, entry: &Entry, waited: Duration) {
        // Never over what an attempt that ends in this moment has found.
        self.known.rcu(|known| {
            if known.attempted.is_some() || known.outcome.status != OutcomeStatus::Pending {
                return known.clone();
            }
            let fault = Fault::timeout(Step::List, waited)
                .hint("the server is slow or hangs; the listing goes on in the background");
            Arc::new(Known {
                outcome: fault.outcome(entry.shared.clock.now(), waited),
                attempted: Some(Instant::now()),
                ..(**known).clone()
            })
        });
    }

    /// What served the list is gone: everybody sees that, until an attempt, which comes by itself, says otherwise.
    pub(crate) fn lost(&self, entry: &Arc<Entry>, out: &Outgoing, fault: &Fault) {
        if self.known.load().attempted.is_some() && !self.running.load(Ordering::Acquire) {
            self.finish(entry, out, Err(fault.clone()), Duration::ZERO);
        }
    }

    fn start(self: &Arc<Self>, entry: &Arc<Entry>, out: &Arc<Outgoing>) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (slot, entry, out) = (self.clone(), entry.clone(), out.clone());
        let tasks = entry.tasks.clone();
        tasks.spawn(async move {
            // Cleared on drop, so that a panic or an abort does not leave the slot waiting for ever.
            let _running = Running(&slot);
            let began = Instant::now();
            let allowed = entry.list_timeout();
            let listed = list_items((slot.kind, slot.era), &entry, &out, allowed).await;
            slot.finish(&entry, &out, listed, began.elapsed());
        });
    }

    fn finish(&self, entry: &Arc<Entry>, out: &Outgoing, listed: Result<Catalogue, Fault>, took: Duration) {
        let now = entry.shared.clock.now();
        let before = self.known.load_full();
        let attempted = Some(Instant::now());
        let generation = self.generation.load(Ordering::Relaxed);
        let after = match listed {
            Ok(catalogue) => {
                let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let rejected = catalogue.left_out(out.secrets());
                Known {
                    catalogue: Some(Arc::new(catalogue)),
                    outcome: Outcome {
                        rejected,
                        ..Outcome::ok(now, duration_ms)
                    },
                    stale: false,
                    generation,
                    attempted,
                    failures: 0,
                }
            }
            Err(fault) => Known {
                catalogue: before.catalogue.clone(),
                outcome: Outcome {
                    // Of the copy, which is shown on.
                    rejected: before.outcome.rejected.clone(),
                    ..fault.outcome(now, took)
                },
                stale: true,
                generation,
                attempted,
                failures: before.failures.saturating_add(1),
            },
        };
        let own = self.kind == ListKind::Tools && self.era == entry.own_era();
        if own {
            log_change(entry, &before, &after);
        }
        if own || self.kind != ListKind::Tools {
            self.log_content(entry, &before, &after);
        }
        if self.kind == ListKind::Tools && entry.own_fingerprint().is_none_or(|own| own == out.fingerprint) {
            // What was there before this process was not told by it.
            let known = before.attempted.and(before.catalogue.as_ref());
            pins::compare(entry, known, after.catalogue.as_ref());
        }
        let changed = match (before.usable(), after.usable()) {
            (Some(old), Some(new)) => before.generation != generation || !old.same_items(new),
            (None, None) => false,
            _ => true,
        };
        if let (true, false, Some(catalogue)) = (
            own && entry.own_fingerprint() == Some(out.fingerprint),
            after.stale,
            &after.catalogue,
        ) {
            persist(entry, out, catalogue);
        }
        self.known.store(Arc::new(after));
        if changed {
            entry.shared.changed.send_modify(|count| *count += 1);
        }
    }
}

impl CatalogueSlot {
    /// What of a list is not shown as the server sent it: said when it changes.
    fn log_content(&self, entry: &Entry, before: &Known, after: &Known) {
        let server = &entry.prefix;
        let noun = self.kind.noun();
        let (old, new) = (&before.outcome.rejected, &after.outcome.rejected);
        if old != new {
            for item in &new.items {
                tracing::warn!(%server, name = item.name.as_deref(), "{noun} left out: {}", item.reason);
            }
            if new.count > new.items.len() {
                tracing::warn!(%server, more = new.count - new.items.len(), "more were left out: {noun}");
            }
        }
        let hidden = |known: &Known| {
            let catalogue = known.catalogue.as_ref()?;
            Some((catalogue.hidden, catalogue.removed))
        };
        let Some((found, removed)) = hidden(after) else {
            return;
        };
        if found.total() == 0 || hidden(before) == Some((found, removed)) {
            return;
        }
        if removed.total() > 0 {
            tracing::warn!(%server, removed = %removed.to_json(), "hidden text was taken out of definitions: {noun}");
        } else {
            tracing::warn!(
                %server, found = %found.to_json(),
                "hidden text in definitions, which clients get as it is unless general_settings.mcp_strip_hidden_text is on: {noun}"
            );
        }
    }
}

struct Running<'a>(&'a CatalogueSlot);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
        self.0.finished.send_modify(|count| *count += 1);
    }
}

/// Whether the back-off since the last attempt is over. Growing, with jitter, so that many servers that went down
/// together are not asked together (B01).
fn is_due(known: &Known) -> bool {
    let Some(at) = known.attempted else { return true };
    let doublings = known.failures.saturating_sub(1).min(16);
    let back_off = FIRST_BACK_OFF
        .saturating_mul(1 << doublings)
        .min(LONGEST_BACK_OFF);
    // The attempt's own fraction of a second is chance enough.
    let jitter = back_off / 4 * (known.outcome.at.subsec_nanosecond().unsigned_abs() % 100) / 100;
    let asked = Duration::from_secs(known.outcome.retry_after_s.unwrap_or(0)).min(LONGEST_RETRY_AFTER);
    at.elapsed() >= (back_off + jitter).max(asked)
}

/// One line when a server's state changes, none while it stays.
fn log_change(entry: &Entry, before: &Known, after: &Known) {
    if before.outcome.status == after.outcome.status && before.outcome.step == after.outcome.step {
        return;
    }
    let server = &entry.prefix;
    if after.outcome.is_ok() {
        let tools = after
            .catalogue
            .as_ref()
            .map_or(0, |catalogue| catalogue.items.len());
        tracing::info!(%server, tools, duration_ms = after.outcome.duration_ms, "server is usable");
    } else {
        let outcome = &after.outcome;
        tracing::warn!(
            %server,
            outcome = outcome.status.as_str(),
            step = outcome.step.as_str(),
            http_status = outcome.http_status,
            hint = outcome.hint.as_deref(),
            "server is not usable: {}",
            outcome.message
        );
    }
}

fn persist(entry: &Arc<Entry>, out: &Outgoing, catalogue: &Arc<Catalogue>) {
    let Some(store) = entry.shared.store.clone() else {
        return;
    };
    let row = CatalogueRow {
        server_id: entry.server.load().id.clone(),
        fetched_at: catalogue.fetched_at,
        definition_digest: digest_text(&out.fingerprint),
        protocol_version: catalogue.revision.clone(),
        server_info: catalogue.introduction.server_info.clone(),
        instructions: catalogue.introduction.instructions.clone(),
        tools: catalogue.to_json(),
        capabilities: Some(catalogue.introduction.capabilities.as_json().to_owned()),
    };
    let prefix = entry.prefix.clone();
    entry.tasks.spawn(async move {
        if let Err(error) = store.catalogue_put(&row).await {
            tracing::warn!(server = %prefix, %error, "the tool list could not be stored; it is kept in memory");
        }
    });
}

/// A fingerprint as it stands in the database.
pub(crate) fn digest_text(fingerprint: &[u8; 16]) -> String {
    trunkline_model::ids::hex(fingerprint)
}
