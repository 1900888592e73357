//! Calls at the same time, as one process knows them: those that run here, and the places that it holds for them.
//!
//! Places are in the database as a number of each replica, which counts as long as the replica is heard of. A process keeps those that
//! it used a moment ago, and a part of the limit for a minute, so that a call seldom waits for one.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_store::PlaceAsk;

use super::exceeded::Exceeded;
use super::held::{Counted, Due, Rounds};
use super::sharing::{Attempt, Counting, Part, WAIT};

/// When to try again if too much goes on at the same time: nobody knows when something of it ends.
const RETRY: Duration = Duration::from_secs(1);
/// Places that were not needed for so long are given back, but for a part of the limit …
const IDLE: Duration = Duration::from_secs(1);
/// … which is given back after this.
const LONG_IDLE: Duration = Duration::from_mins(1);
/// After "there is none" nobody asks again for so long.
const FULL_FOR: Duration = Duration::from_millis(200);

/// Everybody's calls that run.
#[derive(Default)]
pub(super) struct Places {
    by: HashMap<Counted, Held>,
    pub(super) counting: Counting,
    /// When the others may take this replica for gone, if there are others.
    pub(super) held_until: Option<Instant>,
    /// Who has something to ask for.
    queue: Vec<Counted>,
}

struct Held {
    running: u32,
    /// What this replica holds in the database.
    leased: u32,
    max: u32,
    /// Calls that wait.
    need: u32,
    rounds: Rounds,
    queued: bool,
    /// An answer was lost, or the replica was not heard of: the database is to be told again.
    unsure: bool,
    full_until: Option<Instant>,
    used_at: Instant,
}

impl Held {
    fn new(max: u32, now: Instant) -> Self {
        Self {
            running: 0,
            leased: 0,
            max,
            need: 0,
            rounds: Rounds::default(),
            queued: false,
            unsure: false,
            full_until: None,
            used_at: now,
        }
    }

    fn allowed(&self, counting: Counting) -> u32 {
        match counting {
            Counting::Alone => self.max,
            Counting::Shared(_) => self.leased.min(self.max),
            Counting::Settling(part) => self.leased.min(part_of(part, self.max)),
            Counting::Unheard => 0,
            Counting::Apart(part) => self.leased.min(self.max).max(part_of(part, self.max)),
        }
    }

    fn has_room(&self, counting: Counting) -> bool {
        self.running < self.allowed(counting)
    }

    /// `waited`: as long as a call may.
    fn is_full(&self, counting: Counting, now: Instant, waited: bool) -> bool {
        let none_is_left = waited || self.full_until.is_some_and(|until| now < until);
        match counting {
            Counting::Alone | Counting::Unheard | Counting::Apart(_) => true,
            Counting::Shared(_) => none_is_left || self.running >= self.max,
            Counting::Settling(part) => none_is_left || self.running >= part_of(part, self.max),
        }
    }

    /// Places that are held for calls to come: a part of the limit, of which the other replicas have theirs.
    fn kept(&self, replicas: u32) -> u32 {
        self.max / replicas.max(1).saturating_mul(4)
    }

    fn is_idle(&self, replicas: u32, now: Instant) -> bool {
        let idle = now.duration_since(self.used_at);
        (idle >= IDLE && self.leased > self.running.saturating_add(self.kept(replicas)))
            || (idle >= LONG_IDLE && self.leased > self.running)
    }

    /// What it is to hold from now on.
    fn hold(&mut self, part: Part, floor: bool, now: Instant) -> u32 {
        let need = self.running.saturating_add(std::mem::take(&mut self.need));
        self.rounds.ask();
        let idle = now.duration_since(self.used_at);
        let kept = need.saturating_add(self.kept(part.replicas));
        let hold = if idle >= LONG_IDLE {
            need
        } else if idle >= IDLE {
            kept
        } else {
            kept.max(self.leased)
        };
        let hold = if floor {
            hold.max(part_of(part, self.max))
        } else {
            hold
        };
        // What is given back is nobody's here from now on, whatever the answer.
        self.leased = self.leased.min(hold);
        hold
    }
}

impl Places {
    /// A place among all of these, or in none. `waited`: as long as a call may.
    pub(super) fn attempt(&mut self, due: &mut [Due], now: Instant, waited: bool) -> Attempt<Vec<Counted>> {
        // The whole process may have slept.
        let is_lapsed = self.held_until.is_some_and(|until| now >= until);
        if is_lapsed {
            self.held_until = None;
            self.lapse();
            self.counting = self.counting.lapsed();
        }
        let counting = self.counting;
        let mut waits = false;
        for Due {
            counted, limit, max, ..
        } in &*due
        {
            let max = places(*max);
            let fresh = Held::new(max, now);
            let held = match self.by.get_mut(counted) {
                Some(held) => {
                    held.max = max;
                    held.used_at = now;
                    &*held
                }
                None => &fresh,
            };
            if held.has_room(counting) {
                continue;
            }
            if held.is_full(counting, now, waited) {
                let exceeded = Exceeded {
                    limit: *limit,
                    max: u64::from(max).into(),
                    about: None,
                    retry_after: RETRY,
                };
                self.wait_no_more(due);
                return Attempt::Full(exceeded);
            }
            waits = true;
        }
        if waits {
            return Attempt::Wait(self.need(due, now));
        }
        self.wait_no_more(due);
        Attempt::Done(
            due.iter().map(|own| own.counted.clone()).collect(),
            self.take(due, now),
        )
    }

    /// A call that was counted among those who wait does so no more.
    fn wait_no_more(&mut self, due: &mut [Due]) {
        for own in due {
            if let Some(held) = self.by.get_mut(&own.counted)
                && held.rounds.leaves(&mut own.waits_since)
            {
                held.need = held.need.saturating_sub(1);
            }
        }
    }

    /// Whether somebody has to be asked for more.
    fn take(&mut self, due: &[Due], now: Instant) -> bool {
        let mut asks = false;
        for own in due {
            let held = of(&mut self.by, own, now);
            held.running = held.running.saturating_add(1);
            if let Counting::Shared(part) = self.counting {
                let runs_out = held.running >= held.leased && held.kept(part.replicas) > 0;
                asks |= runs_out && queue(&mut self.queue, held, &own.counted);
            }
        }
        asks
    }

    /// Whether somebody has to be asked.
    fn need(&mut self, due: &mut [Due], now: Instant) -> bool {
        let mut asks = false;
        for own in due {
            let held = of(&mut self.by, own, now);
            if !held.has_room(self.counting) && held.rounds.counts(&mut own.waits_since) {
                held.need = held.need.saturating_add(1);
                asks |= queue(&mut self.queue, held, &own.counted);
            }
        }
        asks
    }

    /// A call is over.
    pub(super) fn release(&mut self, of: &[Counted]) {
        for counted in of {
            if let Some(held) = self.by.get_mut(counted) {
                held.running = held.running.saturating_sub(1);
                if held.running == 0 && self.counting == Counting::Alone {
                    self.by.remove(counted);
                }
            }
        }
    }

    /// Who has something to give back, or to say again; called every second.
    pub(super) fn look(&mut self, replicas: u32, now: Instant) {
        self.by.retain(|_, held| {
            let is_held = held.running > 0 || held.leased > 0;
            let is_asked_for = held.queued || held.unsure || held.need > 0;
            // Whoever waits knows how often it was asked for.
            is_held || is_asked_for || now.duration_since(held.used_at) < 2 * WAIT
        });
        for (counted, held) in &mut self.by {
            if held.unsure || held.is_idle(replicas, now) {
                queue(&mut self.queue, held, counted);
            }
        }
    }

    /// The replica was not heard of for too long: what it held may be others', and is to be asked for again.
    pub(super) fn lapse(&mut self) {
        for held in self.by.values_mut() {
            (held.leased, held.unsure) = (0, true);
        }
    }

    /// What the next request asks for, at most so much. `floor`: at least this replica's part of each limit, which it lets through anyway.
    pub(super) fn collect(
        &mut self,
        most: usize,
        (part, floor): (Part, bool),
        now: Instant,
    ) -> Vec<(Counted, PlaceAsk)> {
        let take = self.queue.len().min(most);
        let mut asks = Vec::with_capacity(take);
        for counted in self.queue.drain(..take) {
            let Some(held) = self.by.get_mut(&counted) else {
                continue;
            };
            held.queued = false;
            let ask = PlaceAsk {
                counted: counted.name(),
                max: held.max,
                hold: held.hold(part, floor, now),
            };
            asks.push((counted, ask));
        }
        asks
    }

    /// What came of it.
    pub(super) fn answered(&mut self, (counted, ask): &(Counted, PlaceAsk), places: u32, now: Instant) {
        if let Some(held) = self.by.get_mut(counted) {
            held.leased = places;
            held.unsure = false;
            held.rounds.end();
            held.full_until = (places < ask.hold && places <= held.running).then(|| now + FULL_FOR);
        }
    }

    /// Nothing came of it, or that is not known.
    pub(super) fn failed(&mut self, (counted, _): &(Counted, PlaceAsk)) {
        if let Some(held) = self.by.get_mut(counted) {
            held.unsure = true;
            held.rounds.end();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by.len()
    }
}

fn of<'m>(by: &'m mut HashMap<Counted, Held>, due: &Due, now: Instant) -> &'m mut Held {
    by.entry(due.counted.clone())
        .or_insert_with(|| Held::new(places(due.max), now))
}

/// No limit of places is greater.
fn places(most: u64) -> u32 {
    u32::try_from(most).unwrap_or(u32::MAX)
}

fn part_of(part: Part, max: u32) -> u32 {
    places(part.of(max.into()))
}

/// Whether it was not there.
fn queue(queue: &mut Vec<Counted>, held: &mut Held, counted: &Counted) -> bool {
    if held.queued {
        return false;
    }
    held.queued = true;
    queue.push(counted.clone());
    true
}

#[cfg(test)]
mod tests;
