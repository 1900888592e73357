//! Threads that serve connections: one a core, each with a runtime of its own.
//!
//! A connection stays on the thread it was given to, and with it everything that is done for its requests, the
//! connections to upstreams included. Nothing of a request moves between cores then, which costs a fifth of a call
//! where two workers take tasks from each other (ADR 0013). What is not about one connection (listings in the
//! background, records) runs on the process's general runtime.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Shorter than the time that calls are given, and long enough to be nothing.
const TICK: Duration = Duration::from_secs(1);

/// The threads. They end when this is dropped.
pub(crate) struct Shards {
    serving: Vec<Shard>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

struct Shard {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// There is a connection.
    busy: Arc<Notify>,
}

/// A connection's place on a thread; counts until it is dropped.
pub(crate) struct Place {
    /// Where its task is spawned.
    pub(crate) runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shards {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut shards = Self {
            serving: Vec::new(),
            threads: Vec::new(),
            stop: stop.clone(),
        };
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let shard = Shard {
                runtime: runtime.handle().clone(),
                connections: Arc::default(),
                busy: Arc::default(),
            };
            let ticking = tick(shard.connections.clone(), shard.busy.clone());
            shards.serving.push(shard);
            let stop = stop.clone();
            let thread = std::thread::Builder::new()
                .name(format!("serve-{number}"))
                .spawn(move || {
                    runtime.block_on(stop.run_until_cancelled(ticking));
                })?;
            shards.threads.push(thread);
        }
        Ok(shards)
    }

    /// Waits until no thread has a connection.
    pub(crate) async fn emptied(&self) {
        let busy = |shard: &Shard| shard.connections.load(Ordering::Relaxed) > 0;
        while self.serving.iter().any(busy) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A place on the thread with the fewest connections.
    pub(crate) fn place(&self) -> Option<Place> {
        let shard = self
            .serving
            .iter()
            .min_by_key(|shard| shard.connections.load(Ordering::Relaxed))?;
        if shard.connections.fetch_add(1, Ordering::Relaxed) == 0 {
            shard.busy.notify_one();
        }
        Some(Place {
            runtime: shard.runtime.clone(),
            connections: shard.connections.clone(),
        })
    }
}

/// Keeps a timer that is due soon, while there are connections. A timer that is due before all others wakes its runtime by two
/// system calls even on the thread that runs it; each call has one, for its deadline, and now it is none of the first.
async fn tick(connections: Arc<AtomicUsize>, busy: Arc<Notify>) {
    loop {
        if connections.load(Ordering::Relaxed) == 0 {
            busy.notified().await;
        }
        tokio::time::sleep(TICK).await;
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A panic of a task was logged where it happened; the thread itself only waits.
            let _ = thread.join();
        }
    }
}
