//! Tokens of a request to a model. What it may take is counted before it is sent; when it is known what it took, the rest is given back,
//! or what it took beyond that is counted, too.

use std::sync::Arc;

use tokio::time::Instant;

use super::Limits;
use super::held::{Counted, Due};

/// The tokens that a request may take, counted for everybody who has a limit of them. What it did not take by the time that this is
/// dropped is given back.
pub struct Reserved {
    limits: Arc<Limits>,
    of: Vec<Held>,
    took: u64,
}

/// What is counted for one of them.
struct Held {
    counted: Counted,
    max: u64,
    amount: u64,
    spent_in: Instant,
}

impl Reserved {
    /// What was spent of these that count tokens; `None` if none does.
    pub(super) fn of(limits: &Arc<Limits>, due: Vec<Due>) -> Option<Self> {
        let of: Vec<Held> = due
            .into_iter()
            .filter_map(|own| {
                Some(Held {
                    spent_in: own.spent_in?,
                    counted: own.counted,
                    max: own.max,
                    amount: own.amount,
                })
            })
            .collect();
        (!of.is_empty()).then(|| Self {
            limits: limits.clone(),
            of,
            took: 0,
        })
    }

    /// It took so many more.
    pub fn took(&mut self, tokens: u64) {
        let before = self.took;
        self.took = before.saturating_add(tokens);
        self.settle(|limits, held, now| {
            let beyond = self.took.max(held.amount) - before.max(held.amount);
            beyond > 0 && limits.minutes().charge((&held.counted, held.max), beyond, now)
        });
    }

    fn settle(&self, of_one: impl Fn(&Limits, &Held, Instant) -> bool) {
        let now = Instant::now();
        let mut asks = false;
        for held in &self.of {
            asks |= of_one(&self.limits, held, now);
        }
        if asks {
            self.limits.waking.asks();
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.settle(|limits, held, now| {
            let back = held.amount.saturating_sub(self.took);
            let amounts = (held.amount, back);
            limits
                .minutes()
                .refund(&held.counted, held.spent_in, amounts, now)
        });
        // Who waits for a share may have one here.
        self.limits.waking.answers();
    }
}
