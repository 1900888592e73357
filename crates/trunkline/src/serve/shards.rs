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
use tokio_util::sync::CancellationToken;

/// The threads. They end when this is dropped.
pub(crate) struct Shards {
    serving: Vec<Shard>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

struct Shard {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
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
            shards.serving.push(Shard {
                runtime: runtime.handle().clone(),
                connections: Arc::default(),
            });
            let stop = stop.clone();
            let thread = std::thread::Builder::new()
                .name(format!("serve-{number}"))
                .spawn(move || runtime.block_on(stop.cancelled()))?;
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
        shard.connections.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            runtime: shard.runtime.clone(),
            connections: shard.connections.clone(),
        })
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
