//! What goes on beside requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use trunkline_gateway::Gateway;
use trunkline_gateway::record::retention_limit;
use trunkline_store::SessionNews;

/// How often streams are looked at whose keys may have expired.
const LOOK_AT_KEYS: Duration = Duration::from_millis(500);
/// How often old rows of the audit log are looked for.
const AUDIT_RETENTION: Duration = Duration::from_hours(1);
/// For how long one replica has done it: the others' ticks may come a little earlier than a whole period.
const AUDIT_RETENTION_CLAIM: Duration = Duration::from_mins(55);
/// How often it is read what other replicas have charged, and from how much before the last time on: their clocks may differ.
const READ_SPENDING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(2));

/// Begins all; they end with the set.
pub(crate) fn begin(gateway: &Arc<Gateway>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    gateway.upstreams.warm_up(&gateway.registry.snapshot());
    tasks.spawn(watch(gateway.clone()));
    tasks.spawn(reconcile(gateway.clone()));
    tasks.spawn(follow_keys(gateway.clone()));
    tasks.spawn(every_second(gateway.clone()));
    tasks.spawn(every_minute(gateway.clone()));
    tasks.spawn(tend_sessions(gateway.clone()));
    tasks.spawn(hear_of_sessions(gateway.clone()));
    tasks.spawn(prune_records(gateway.clone()));
    tasks.spawn(read_spending(gateway.clone()));
    tasks.spawn(prune_audit_log(gateway.clone()));
    tasks.spawn(trunkline_gateway::peers::keep(gateway.clone()));
    tasks.spawn(trunkline_gateway::limits::keep(gateway.clone()));
    tasks.spawn(trunkline_gateway::llm::rests::tell(gateway.clone()));
    tasks.spawn(trunkline_gateway::llm::rests::hear(gateway.clone()));
    tasks
}

/// Notices what other processes write to the registry.
async fn watch(gateway: Arc<Gateway>) {
    let draining = gateway.draining.clone();
    gateway.registry.clone().watch(draining.cancelled_owned()).await;
}

/// New and changed servers are listed at once, those of deleted ones end.
async fn reconcile(gateway: Arc<Gateway>) {
    let mut changes = gateway.registry.subscribe();
    while changes.changed().await.is_ok() {
        let snapshot = gateway.registry.snapshot();
        gateway.upstreams.reconcile(&snapshot);
        gateway.upstreams.warm_up(&snapshot);
    }
}

/// Streams of keys that are not let in any more end.
async fn follow_keys(gateway: Arc<Gateway>) {
    let mut changes = gateway.registry.keys().subscribe();
    let mut ticks = tokio::time::interval(LOOK_AT_KEYS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            told = changes.changed() => if told.is_err() {
                return;
            },
            _ = ticks.tick() => {}
        }
        gateway.callers.sweep(&gateway.authenticator);
    }
}

/// Servers that are down come back by themselves, and calls whose clients do not answer are called off.
async fn every_second(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        gateway.upstreams.retry(&gateway.registry.snapshot());
        gateway.parked.reap();
        give_back_memory();
    }
}

/// Frees something large. The allocator gives what was freed back to the system on such an occasion, and not by itself: what the start or
/// a burst needed would stay the process's for as long as it is idle. Nothing is written to it, so it costs no memory.
fn give_back_memory() {
    let mut large = Vec::<u8>::new();
    // Where there is no room for it, there is nothing to give back either.
    if large.try_reserve_exact(32 * 1024 * 1024).is_ok() {
        drop(std::hint::black_box(large));
    }
}

async fn every_minute(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(Duration::from_mins(1));
    loop {
        ticks.tick().await;
        gateway.caps.reap();
        gateway.limits.reap();
        gateway.ended.prune(gateway.clock.now());
    }
}

/// Upstream sessions that nobody uses end.
async fn tend_sessions(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(gateway.upstreams.tend_every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        gateway.upstreams.tend().await;
    }
}

/// What other replicas do with sessions of clients.
async fn hear_of_sessions(gateway: Arc<Gateway>) {
    let mut news = gateway.registry.session_news();
    loop {
        match news.recv().await {
            Ok(news) => {
                if let SessionNews::Ended(session, expires_at) = news {
                    gateway.ended.insert(session, expires_at);
                }
                gateway.upstreams.hear(news).await;
            }
            // More came at once than there was time for.
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "news of sessions were missed; all are looked at");
                match gateway.registry.store().session_ended_list().await {
                    Ok(ended) => {
                        for (session, expires_at) in ended {
                            gateway.ended.insert(session, expires_at);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "ended sessions could not be read"),
                }
                gateway.upstreams.look_again();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// What other replicas have charged counts here, too.
async fn read_spending(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(READ_SPENDING.0);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = gateway.clock.now();
    let mut failing = false;
    loop {
        ticks.tick().await;
        let now = gateway.clock.now();
        match gateway
            .registry
            .store()
            .spend_refresh(last.checked_sub(READ_SPENDING.1).ok())
            .await
        {
            Ok(()) => (last, failing) = (now, false),
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "what other replicas have charged cannot be read; it counts when it can");
                }
            }
        }
    }
}

async fn prune_records(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(Duration::from_hours(1));
    loop {
        ticks.tick().await;
        let (now, hours) = (
            gateway.clock.now(),
            gateway.record_retention_hours.load(Ordering::Relaxed),
        );
        let store = gateway.registry.store();
        // Batches are tried again for minutes, and never for a day.
        if let Some(before) = retention_limit(now, 24)
            && let Err(error) = store.spend_batch_prune(before).await
        {
            tracing::warn!(%error, "old names of batches could not be deleted");
        }
        // No call goes on for a week.
        if let Some(before) = retention_limit(now, 7 * 24)
            && let Err(error) = store.spend_moved_prune(before).await
        {
            tracing::warn!(%error, "what says which secrets were replaced could not be deleted");
        }
        let Some(before) = retention_limit(now, hours) else {
            continue;
        };
        match store.call_record_prune(before).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old call records deleted"),
            Err(error) => tracing::warn!(%error, "old call records could not be deleted"),
        }
        if let Err(error) = store.spend_tags_prune(before).await {
            tracing::warn!(%error, "old sums by tag could not be deleted");
        }
    }
}

/// What is older than the setting says leaves the audit log. One replica does it, whichever looks first.
async fn prune_audit_log(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(AUDIT_RETENTION);
    loop {
        ticks.tick().await;
        let days = gateway.audit_retention_days.load(Ordering::Relaxed);
        let hours = days.saturating_mul(24);
        let Some(before) = retention_limit(gateway.clock.now(), hours).filter(|_| days > 0) else {
            continue;
        };
        let store = gateway.registry.store();
        match store.audit_prune(before, AUDIT_RETENTION_CLAIM).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, days, "old rows of the audit log deleted"),
            Err(error) => tracing::warn!(%error, "old rows of the audit log could not be deleted"),
        }
    }
}
