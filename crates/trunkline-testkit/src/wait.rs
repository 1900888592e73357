//! Waiting for something that another process does.

use std::time::{Duration, Instant};

/// Asks `condition` every 10 ms until it is true.
///
/// # Panics
/// After `limit`, naming `what`.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, limit: Duration, mut condition: F) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < limit, "after {limit:?} still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
