//! Whether to look for an answer before sleeping: a program that answers in microseconds has done so before a thread is asleep, and to wake
//! it again costs more than the program took.
//!
//! It is what network stacks call busy polling, and it is as bounded: only where the last answer came in no time, only for the one
//! call that is under way, and not for longer than a wake-up costs. Whatever else the thread has to do is done meanwhile.

use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::yield_now;

/// An answer that came so soon came in no time. Two wake-ups are in it where nobody looked.
const SOON: Duration = Duration::from_micros(250);
/// Nobody looks longer: it is what a hypervisor polls for before it lets a processor sleep.
const LOOK: Duration = Duration::from_micros(200);

/// Where another thread can work while one looks.
static IS_ALLOWED: LazyLock<bool> =
    LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1));

/// How soon a program answers.
pub(super) struct Haste {
    /// What the last answer took, microseconds.
    last_us: AtomicU32,
}

impl Default for Haste {
    fn default() -> Self {
        Self {
            last_us: AtomicU32::new(u32::MAX),
        }
    }
}

impl Haste {
    /// What comes first, looked for or waited for. `is_alone`: no other call is under way.
    pub(super) async fn first<T>(&self, is_alone: bool, next: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let mut next = pin!(next);
        let mut first = None;
        if is_alone
            && *IS_ALLOWED
            && let Some(limit) = self.limit()
        {
            let looked = async {
                while since.elapsed() < limit {
                    yield_now().await;
                }
            };
            first = tokio::select! {
                biased;
                first = &mut next => Some(first),
                () = looked => None,
            };
        }
        let first = match first {
            Some(first) => first,
            None => next.await,
        };
        self.note(since.elapsed());
        first
    }

    /// How long it pays to look: twice what the last answer took, if that was not long.
    fn limit(&self) -> Option<Duration> {
        let last = Duration::from_micros(self.last_us.load(Ordering::Relaxed).into());
        (last < SOON).then(|| (last * 2).clamp(LOOK / 4, LOOK))
    }

    fn note(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.last_us.store(took, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::task::Poll;

    use tokio::time::timeout;

    use super::*;

    /// Whether it is found by who looks for it: nobody is woken for it.
    async fn is_found(haste: &Haste, is_alone: bool) -> bool {
        let mut looks = 0;
        let third = poll_fn(|_| {
            looks += 1;
            if looks > 2 { Poll::Ready(()) } else { Poll::Pending }
        });
        timeout(Duration::from_millis(50), haste.first(is_alone, third))
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn looks_where_the_last_answer_came_at_once_and_nobody_else_waits() {
        let haste = Haste::default();
        assert!(!is_found(&haste, true).await, "nothing is known of it yet");
        haste.first(true, async {}).await;
        assert!(!is_found(&haste, false).await);
        assert_eq!(is_found(&haste, true).await, *IS_ALLOWED);
        haste.note(SOON);
        assert!(!is_found(&haste, true).await, "what takes its time is waited for");
    }

    /// Whatever the clock of the runtime says.
    #[tokio::test(start_paused = true)]
    async fn looks_no_longer_than_it_pays() {
        let haste = Haste::default();
        haste.note(Duration::from_micros(1));
        let asked = haste.first(true, pending::<()>());
        assert!(timeout(Duration::from_secs(5), asked).await.is_err());
    }
}
