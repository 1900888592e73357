//! What keys, teams, users … have spent, in memory: what is stored, and what this process has charged since and not written yet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use trunkline_model::{Level, Payers};

/// Who spends.
pub(crate) const LEVELS: [Level; 5] = [
    Level::Key,
    Level::Team,
    Level::User,
    Level::Organization,
    Level::EndUser,
];

/// What somebody has spent, billionths of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// In the period that was asked about.
    pub now: i64,
    /// Ever.
    pub ever: i64,
}

/// A row of `spend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) spend: i64,
    pub(crate) total: i64,
    pub(crate) since: i64,
}

#[derive(Default)]
struct Account {
    stored: Stored,
    /// Charged and not stored: in the period since, and in all.
    open: i64,
    open_since: i64,
    open_total: i64,
}

/// All of them. People choose the names of teams and users, so the maps have the careful hash.
#[derive(Default)]
pub struct SpendBook(Mutex<[HashMap<Box<str>, Account>; 5]>);

fn index(level: Level) -> usize {
    LEVELS.iter().position(|own| *own == level).unwrap_or(0)
}

impl SpendBook {
    fn lock(&self) -> MutexGuard<'_, [HashMap<Box<str>, Account>; 5]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges all that pay for a request. It counts from now on, whenever it is written.
    pub fn charge(&self, payers: &Payers, cost: i64) {
        if cost <= 0 {
            return;
        }
        let mut accounts = self.lock();
        for (level, payer) in payers.iter().filter(|(_, payer)| payer.has_account) {
            let own = accounts[index(level)].entry(payer.id.clone()).or_default();
            if own.open_since < payer.since {
                (own.open, own.open_since) = (0, payer.since);
            }
            own.open = own.open.saturating_add(cost);
            own.open_total = own.open_total.saturating_add(cost);
        }
    }

    /// What somebody has spent since the beginning of its period (0: ever).
    pub fn spent(&self, level: Level, id: &str, since: i64) -> Spent {
        let accounts = self.lock();
        let Some(own) = accounts[index(level)].get(id) else {
            return Spent::default();
        };
        let of = |sum: i64, began: i64| if began >= since { sum } else { 0 };
        Spent {
            now: of(own.stored.spend, own.stored.since).saturating_add(of(own.open, own.open_since)),
            ever: own.stored.total.saturating_add(own.open_total),
        }
    }

    /// What was charged is stored, and what is stored by then.
    pub(crate) fn settled(&self, level: Level, id: &str, (since, cost): (i64, i64), stored: Option<Stored>) {
        let mut accounts = self.lock();
        let own = accounts[index(level)].entry(id.into()).or_default();
        own.open_total = own.open_total.saturating_sub(cost).max(0);
        if own.open_since == since {
            own.open = own.open.saturating_sub(cost).max(0);
        }
        if let Some(stored) = stored {
            own.stored = stored;
        }
    }

    /// What is stored, by whomever.
    pub(crate) fn stored(&self, level: Level, id: &str, stored: Stored) {
        let mut accounts = self.lock();
        accounts[index(level)].entry(id.into()).or_default().stored = stored;
    }

    /// Whoever has the id next has spent nothing.
    pub(crate) fn forget(&self, level: Level, id: &str) {
        self.lock()[index(level)].remove(id);
    }

    /// A key has another hash.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut accounts = self.lock();
        let keys = &mut accounts[index(Level::Key)];
        if let Some(own) = keys.remove(from) {
            keys.insert(to.into(), own);
        }
    }
}

impl std::fmt::Debug for SpendBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpendBook").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::Payer;

    use super::*;

    fn payers(id: &str, since: i64) -> Payers {
        Payers {
            key: Some(Payer {
                id: id.into(),
                since,
                has_account: true,
            }),
            ..Payers::default()
        }
    }

    #[test]
    fn what_is_charged_counts_at_once_and_once() {
        let book = SpendBook::default();
        let spent = |since| book.spent(Level::Key, "k", since);
        book.charge(&payers("k", 0), 5);
        book.charge(&payers("k", 0), 7);
        book.charge(&payers("other", 0), 100);
        assert_eq!(spent(0), Spent { now: 12, ever: 12 });
        // Another replica had 3 there; one more call is charged while the batch is written.
        book.charge(&payers("k", 0), 1);
        let stored = Stored {
            spend: 15,
            total: 15,
            since: 0,
        };
        book.settled(Level::Key, "k", (0, 12), Some(stored));
        assert_eq!(spent(0), Spent { now: 16, ever: 16 });
    }

    #[test]
    fn a_new_period_begins_with_nothing() {
        let book = SpendBook::default();
        let spent = |since| book.spent(Level::Key, "k", since);
        book.charge(&payers("k", 10), 5);
        assert_eq!(spent(20), Spent { now: 0, ever: 5 });
        book.charge(&payers("k", 20), 3);
        assert_eq!(spent(20), Spent { now: 3, ever: 8 });
        book.settled(
            Level::Key,
            "k",
            (10, 5),
            Some(Stored {
                spend: 5,
                total: 5,
                since: 10,
            }),
        );
        assert_eq!(spent(20), Spent { now: 3, ever: 8 });
        book.settled(
            Level::Key,
            "k",
            (20, 3),
            Some(Stored {
                spend: 3,
                total: 8,
                since: 20,
            }),
        );
        assert_eq!((spent(20).now, spent(10).now, spent(30).now), (3, 3, 0));
        book.rename("k", "l");
        assert_eq!(
            (spent(20), book.spent(Level::Key, "l", 20).now),
            (Spent::default(), 3)
        );
        book.forget(Level::Key, "l");
        assert_eq!(book.spent(Level::Key, "l", 0), Spent::default());
    }
}
