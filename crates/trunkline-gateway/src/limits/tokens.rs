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
    /// What was taken before it was counted.
    since: u64,
}

impl Held {
    /// Of what was taken in all, what is its.
    fn own(&self, took: u64) -> u64 {
        took.saturating_sub(self.since)
    }

    /// Gives back what was not taken. Whether somebody has to be told.
    fn give_back(&self, took: u64, limits: &Limits, now: Instant) -> bool {
        let back = self.amount.saturating_sub(self.own(took));
        let amounts = (self.amount, back);
        limits
            .minutes()
            .refund(&self.counted, self.spent_in, amounts, now)
    }
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
                    since: 0,
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
            let beyond = held.own(self.took).max(held.amount) - held.own(before).max(held.amount);
            beyond > 0 && limits.minutes().charge((&held.counted, held.max), beyond, now)
        });
    }

    /// Nobody can say what it took: that is what was held for it.
    pub fn took_all(&mut self) {
        let all = self.of.iter().map(|held| held.since.saturating_add(held.amount));
        self.took = all.max().unwrap_or(0).max(self.took);
    }

    /// The request goes on to another model, with what was counted for that one. What was held for the one before comes back.
    pub(crate) fn goes_on(&mut self, next: Option<Self>) {
        let (of_model, rest) = std::mem::take(&mut self.of)
            .into_iter()
            .partition(|held| held.counted.is_of_a_model());
        self.of = of_model;
        self.give_back();
        self.of = rest;
        if let Some(mut next) = next {
            let since = self.took;
            let of = std::mem::take(&mut next.of);
            self.of.extend(of.into_iter().map(|held| Held { since, ..held }));
        }
    }

    fn give_back(&self) {
        self.settle(|limits, held, now| held.give_back(self.took, limits, now));
        // Who waits for a share may have one here.
        self.limits.waking.answers();
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
        self.give_back();
    }
}
