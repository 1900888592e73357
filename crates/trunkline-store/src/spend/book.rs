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

/// What is stored of something, and what is not yet.
#[derive(Default)]
struct Sum {
    stored: Stored,
    /// Charged and not stored, by the beginnings of the periods in which it was: seldom more than one.
    open: Vec<(i64, i64)>,
}

#[derive(Default)]
struct Account {
    sum: Sum,
    /// What of it was spent on models for which there is a limit.
    on: HashMap<Box<str>, Sum>,
    /// A key that has got another hash, and since when.
    moved: Option<(Box<str>, i64)>,
}

impl Sum {
    fn open(&mut self, (since, cost): (i64, i64)) {
        match self.open.iter_mut().find(|(own, _)| *own == since) {
            Some((_, sum)) => *sum = sum.saturating_add(cost),
            None => self.open.push((since, cost)),
        }
    }

    /// What was charged is stored.
    fn settle(&mut self, (since, cost): (i64, i64)) {
        self.open((since, -cost));
        self.open.retain(|(_, open)| *open > 0);
    }

    /// Since the beginning of a period (0: ever).
    fn spent(&self, since: i64) -> Spent {
        let stored = if self.stored.since >= since {
            self.stored.spend
        } else {
            0
        };
        let sum = |sum: i64, own: i64| sum.saturating_add(own);
        let open = self.open.iter().filter(|(own, _)| *own >= since);
        Spent {
            now: open.map(|(_, open)| *open).fold(stored, sum),
            ever: self
                .open
                .iter()
                .map(|(_, open)| *open)
                .fold(self.stored.total, sum),
        }
    }

    /// With what there was under another name.
    fn take_over(&mut self, before: Self) {
        if self.stored.total < before.stored.total {
            self.stored = before.stored;
        }
        before.open.into_iter().for_each(|open| self.open(open));
    }
}

/// All of them. People choose the names of teams and users, so the maps have the careful hash.
#[derive(Default)]
pub struct SpendBook(Mutex<Accounts>);

#[derive(Default)]
struct Accounts([HashMap<Box<str>, Account>; 5]);

impl Accounts {
    fn of(&self, level: Level) -> &HashMap<Box<str>, Account> {
        &self.0[index(level)]
    }

    fn of_mut(&mut self, level: Level) -> &mut HashMap<Box<str>, Account> {
        &mut self.0[index(level)]
    }

    /// The name that somebody has by now.
    fn name<'n>(&'n self, level: Level, id: &'n str) -> &'n str {
        let mut id = id;
        // Nobody moves in circles: who comes back is there, and has not moved.
        while let Some((to, _)) = self.of(level).get(id).and_then(|own| own.moved.as_ref()) {
            id = to;
        }
        id
    }

    /// Whoever it is by now.
    fn entry(&mut self, level: Level, id: &str) -> &mut Account {
        let id: Box<str> = self.name(level, id).into();
        self.of_mut(level).entry(id).or_default()
    }
}

fn index(level: Level) -> usize {
    LEVELS.iter().position(|own| *own == level).unwrap_or(0)
}

impl SpendBook {
    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges all that pay for a request. It counts from now on, whenever it is written.
    pub fn charge(&self, payers: &Payers, cost: i64) {
        if cost <= 0 {
            return;
        }
        let mut accounts = self.lock();
        for (level, payer) in payers.iter().filter(|(_, payer)| payer.has_account) {
            let own = accounts.entry(level, &payer.id);
            own.sum.open((payer.since, cost));
            if let Some(on) = &payer.on_model {
                own.on.entry(on.model.clone()).or_default().open((on.since, cost));
            }
        }
    }

    /// What somebody has spent since the beginning of its period (0: ever).
    pub fn spent(&self, level: Level, id: &str, since: i64) -> Spent {
        let accounts = self.lock();
        let own = accounts.of(level).get(accounts.name(level, id));
        own.map(|own| own.sum.spent(since)).unwrap_or_default()
    }

    /// The same on a model.
    pub fn spent_on(&self, level: Level, id: &str, model: &str, since: i64) -> i64 {
        let accounts = self.lock();
        let own = accounts.of(level).get(accounts.name(level, id));
        let on = own.and_then(|own| own.on.get(model));
        on.map_or(0, |on| on.spent(since).now)
    }

    /// What was charged is stored.
    pub(crate) fn settled(&self, level: Level, id: &str, (since, cost): (i64, i64)) {
        self.lock().entry(level, id).sum.settle((since, cost));
    }

    /// The same on a model.
    pub(crate) fn settled_on(&self, level: Level, id: &str, model: &str, charge: (i64, i64)) {
        let mut accounts = self.lock();
        let own = accounts.entry(level, id);
        own.on.entry(model.into()).or_default().settle(charge);
    }

    /// What is stored, by whomever. Whoever has a row of its own has not moved.
    pub(crate) fn stored(&self, level: Level, id: &str, stored: Stored) {
        let mut accounts = self.lock();
        let own = accounts.of_mut(level).entry(id.into()).or_default();
        (own.sum.stored, own.moved) = (stored, None);
    }

    /// The same on a model.
    pub(crate) fn stored_on(&self, level: Level, id: &str, model: &str, stored: Stored) {
        let mut accounts = self.lock();
        let own = accounts.entry(level, id);
        own.on.entry(model.into()).or_default().stored = stored;
    }

    /// Whoever has the id next has spent nothing.
    pub(crate) fn forget(&self, level: Level, id: &str) {
        self.lock().of_mut(level).remove(id);
    }

    /// So much is spent from a time on, as it is stored. What is charged and not stored yet still counts until it is.
    pub(crate) fn reset(&self, level: Level, id: &str, spend: i64, now: i64) {
        let mut accounts = self.lock();
        let own = accounts.entry(level, id);
        (own.sum.stored.spend, own.sum.stored.since) = (spend, now);
    }

    /// A key has another hash, since a time. What is charged to the one that it had is the other's.
    pub(crate) fn rename(&self, from: &str, to: &str, now: i64) {
        let mut accounts = self.lock();
        let keys = accounts.of_mut(Level::Key);
        let before = keys.remove(from).unwrap_or_default();
        if before.moved.as_ref().is_none_or(|(own, _)| **own != *to) {
            let own = keys.entry(to.into()).or_default();
            own.moved = None;
            own.sum.take_over(before.sum);
            for (model, sum) in before.on {
                own.on.entry(model).or_default().take_over(sum);
            }
        }
        let left = Account {
            moved: Some((to.into(), now)),
            ..Account::default()
        };
        keys.insert(from.into(), left);
    }

    /// Forgets which keys got another hash before a time.
    pub(crate) fn forget_moves(&self, before: i64) {
        let mut accounts = self.lock();
        let is_recent = |own: &Account| own.moved.as_ref().is_none_or(|(_, at)| *at >= before);
        accounts.of_mut(Level::Key).retain(|_, own| is_recent(own));
    }
}

impl std::fmt::Debug for SpendBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpendBook").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::{OnModel, Payer};

    use super::*;

    fn payers(id: &str, since: i64) -> Payers {
        Payers {
            key: Some(Payer {
                id: id.into(),
                since,
                has_account: true,
                on_model: (since == 0).then(|| OnModel {
                    model: "m".into(),
                    since: 0,
                }),
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
        book.settled(Level::Key, "k", (0, 12));
        book.stored(Level::Key, "k", stored);
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
        let stored = |own: (i64, i64), (spend, total, since)| {
            book.settled(Level::Key, "k", own);
            book.stored(Level::Key, "k", Stored { spend, total, since });
        };
        stored((10, 5), (5, 5, 10));
        assert_eq!(spent(20), Spent { now: 3, ever: 8 });
        // One that ended before the period did, and is charged after another of the next one: it is no part of that.
        book.charge(&payers("k", 10), 4);
        assert_eq!(spent(20), Spent { now: 3, ever: 12 });
        stored((20, 3), (3, 8, 20));
        assert_eq!(spent(20), Spent { now: 3, ever: 12 });
        stored((10, 4), (3, 12, 20));
        assert_eq!(spent(20), Spent { now: 3, ever: 12 });
        // A period that is said to have begun before counts what is of a later one, too.
        book.charge(&payers("k", 15), 1);
        assert_eq!((spent(15).now, spent(20).now, spent(30).now), (4, 3, 0));
    }

    #[test]
    fn what_is_reset_is_as_if_a_period_began() {
        let book = SpendBook::default();
        let spent = || book.spent(Level::Key, "k", 0);
        let stored = |spend, total, since| book.stored(Level::Key, "k", Stored { spend, total, since });
        book.charge(&payers("k", 0), 9);
        book.settled(Level::Key, "k", (0, 9));
        stored(9, 9, 0);
        book.charge(&payers("k", 0), 5);
        book.reset(Level::Key, "k", 2, 100);
        assert_eq!(spent(), Spent { now: 7, ever: 14 }, "one is not stored yet");
        // It ended before: in the database it is no part of what is spent since.
        book.settled(Level::Key, "k", (0, 5));
        stored(2, 14, 100);
        assert_eq!(spent(), Spent { now: 2, ever: 14 });
        book.charge(&payers("k", 0), 1);
        assert_eq!(spent(), Spent { now: 3, ever: 15 });
    }

    #[test]
    fn what_is_charged_to_a_secret_of_before_is_the_keys() {
        let book = SpendBook::default();
        let now = |id: &str| book.spent(Level::Key, id, 0).now;
        book.charge(&payers("k", 0), 5);
        book.rename("k", "l", 1);
        // One under way, and one that was charged before and is written now.
        book.charge(&payers("k", 0), 2);
        assert_eq!((now("l"), now("k")), (7, 7), "it is the same key");
        book.settled(Level::Key, "k", (0, 5));
        let stored = Stored {
            spend: 5,
            total: 5,
            since: 0,
        };
        book.stored(Level::Key, "l", stored);
        assert_eq!(now("l"), 7);
        book.rename("l", "m", 2);
        book.charge(&payers("k", 0), 1);
        assert_eq!(now("m"), 8);
        // All of it was for one model.
        assert_eq!(book.spent_on(Level::Key, "k", "m", 0), 8);
        book.settled_on(Level::Key, "k", "m", (0, 8));
        assert_eq!(
            book.spent_on(Level::Key, "m", "m", 0),
            0,
            "what is stored is not said yet"
        );
        book.stored_on(
            Level::Key,
            "m",
            "m",
            Stored {
                spend: 8,
                total: 8,
                since: 0,
            },
        );
        assert_eq!(book.spent_on(Level::Key, "l", "m", 0), 8);
        assert_eq!(book.spent_on(Level::Key, "l", "n", 0), 0);
        // Said once more, as by the database.
        book.rename("k", "l", 3);
        book.rename("l", "m", 3);
        assert_eq!(now("m"), 8);
        // Back again.
        book.rename("m", "k", 4);
        book.charge(&payers("l", 0), 1);
        assert_eq!((now("k"), now("m")), (9, 9));
        book.forget(Level::Key, "k");
        assert_eq!(now("k"), 0);
        book.forget_moves(5);
        assert_eq!(book.lock().of(Level::Key).len(), 0);
    }
}
