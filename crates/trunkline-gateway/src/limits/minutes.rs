//! Calls in a minute, as one process knows them: what it may let through, what it has, and what it asks for.
//!
//! Alone it may let through the whole limit. With others it lets through what it has taken from the database ([`MinuteAsk`]), which is
//! about what it used in its last half second, so that little is lost where nobody comes any more; a call waits for an answer only
//! where nothing is left. Without the database it has its own part of the limit.
//!
//! When a minute ends is known but for the time that the database's answer took. In between, a call may be in this minute or in the one
//! after it, and is counted in both.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_model::Server;
use trunkline_store::{MinuteAsk, MinuteShare};

use super::exceeded::Exceeded;
use super::held::{Counted, Due};
use super::sharing::{Attempt, Counting};

/// What "a minute" is.
pub(super) const WINDOW: Duration = Duration::from_mins(1);
/// The same in the names of the database's minutes.
const WINDOW_MICROS: i64 = 60_000_000;
/// Who used up a share sooner than this gets twice as much the next time.
const SOON: Duration = Duration::from_millis(500);
/// Who did not use up a share for so long gives back what is more than one call, and gets half as much the next time.
const IDLE: Duration = Duration::from_secs(2);
/// A share of the minute after this one is taken so long before it begins …
const AHEAD: Duration = Duration::from_secs(5);
/// … for whoever called within this time.
const AHEAD_FOR: Duration = Duration::from_secs(10);
/// After "nothing is left" nobody asks again for so long: another replica may give something back.
const FULL_FOR: Duration = Duration::from_secs(1);
/// Most calls that are taken in advance.
const MAX_PACE: u32 = 1 << 16;

/// The minutes that are under way.
#[derive(Default)]
pub(super) struct Minutes {
    by: HashMap<Counted, Minute>,
    pub(super) counting: Counting,
    /// Who has something to ask for.
    queue: Vec<Counted>,
}

struct Minute {
    /// When it is over: not later than for the database.
    ends: Instant,
    /// When it is surely over for the database, too.
    opens: Instant,
    /// Calls that were let through.
    calls: u32,
    /// What was taken of the limit.
    granted: u32,
    /// What was taken of the minute after it.
    ahead: u32,
    /// The database's name of it; none for one that began here.
    name: Option<i64>,
    /// The limit as it was last seen.
    max: u32,
    /// Calls that wait.
    need: u32,
    /// What was asked for it came to an end so often: who still waits then is to be counted again.
    asks: u32,
    /// What to take in advance.
    pace: u32,
    asked_at: Option<Instant>,
    queued: bool,
    /// So little is left that nothing is given in advance.
    tight: bool,
    full_until: Option<Instant>,
    /// Nothing was left for anybody when the database was last asked.
    exhausted: bool,
    used_at: Instant,
    asked_ahead: bool,
    /// Of the limit before this one: for nobody here.
    back: u32,
}

impl Minute {
    fn new(max: u32, now: Instant) -> Self {
        Self {
            ends: now + WINDOW,
            opens: now + WINDOW,
            calls: 0,
            granted: 0,
            ahead: 0,
            name: None,
            max,
            need: 0,
            asks: 0,
            pace: 1,
            asked_at: None,
            queued: false,
            tight: false,
            full_until: None,
            exhausted: false,
            used_at: now,
            asked_ahead: false,
            back: 0,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
    }

    /// Nothing of it is of use any more.
    fn is_gone(&self, now: Instant) -> bool {
        self.is_over(now) && (self.ahead == 0 || now >= self.ends + WINDOW) && self.need == 0
    }

    /// The database's name of the minute after this one, if this replica has a share of it.
    fn next(&self, now: Instant) -> Option<i64> {
        let name = self.name.filter(|_| self.ahead > 0 && now < self.ends + WINDOW);
        name.map(|name| name + WINDOW_MICROS)
    }

    /// The next one, if this one is over. While that is not sure, what was taken of the next one is not enough for a call: it would be
    /// one too many in this one.
    fn renew(&mut self, now: Instant) {
        if !self.is_over(now) {
            return;
        }
        let next = self.next(now);
        if next.is_none() || now >= self.opens {
            self.begin(next, now);
        }
    }

    /// Another one: the `next`, or one that nothing was taken of.
    fn begin(&mut self, next: Option<i64>, now: Instant) {
        let before = std::mem::replace(self, Self::new(self.max, now));
        (self.need, self.asks) = (before.need, before.asks);
        (self.pace, self.queued) = (before.pace, before.queued);
        (self.asked_at, self.used_at) = (before.asked_at, before.used_at);
        if next.is_some() {
            (self.name, self.granted) = (next, before.ahead.min(self.max));
            (self.ends, self.opens) = (before.ends + WINDOW, before.opens + WINDOW);
        }
    }

    fn spare(&self) -> u32 {
        self.granted.saturating_sub(self.calls)
    }

    /// What was let through without a share.
    fn unpaid(&self) -> u32 {
        self.calls.saturating_sub(self.granted)
    }

    /// Another limit than before: what was taken of that is not this one's.
    fn limit(&mut self, max: u32) {
        if self.max == max {
            return;
        }
        let spare = self.spare();
        (self.max, self.ahead, self.full_until, self.exhausted) = (max, 0, None, false);
        self.granted -= spare;
        self.back = self.back.saturating_add(spare);
    }

    fn allowed(&self, counting: Counting) -> u32 {
        match counting {
            Counting::Alone => self.max,
            Counting::Shared(_) | Counting::Settling(_) | Counting::Unheard => self.granted,
            // Somebody else used it up.
            Counting::Apart(_) if self.exhausted => self.granted,
            Counting::Apart(part) => self.granted.max(part.of(self.max)),
        }
    }

    fn has_room(&self, counting: Counting, now: Instant) -> bool {
        let is_this_one = !self.is_over(now) || self.ahead > 0;
        is_this_one && self.calls < self.allowed(counting)
    }

    /// Counts a call for which there is room: in both minutes, if it may be in either.
    fn spend(&mut self, now: Instant) {
        self.calls = self.calls.saturating_add(1);
        if self.is_over(now) {
            self.ahead = self.ahead.saturating_sub(1);
        }
    }

    /// Nobody has to be asked to know it.
    fn is_full(&self, counting: Counting, now: Instant) -> bool {
        match counting {
            Counting::Alone | Counting::Apart(_) => true,
            Counting::Shared(_) | Counting::Settling(_) | Counting::Unheard => {
                self.max == 0 || self.full_until.is_some_and(|until| now < until)
            }
        }
    }

    fn is_low(&self) -> bool {
        !self.tight && self.full_until.is_none() && self.spare() <= self.pace / 2
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.spare() > 1 && now.duration_since(self.used_at) >= IDLE
    }

    fn wants_ahead(&self, now: Instant) -> bool {
        self.name.is_some()
            && !self.asked_ahead
            && self.ends.saturating_duration_since(now) <= AHEAD
            && now.duration_since(self.used_at) < AHEAD_FOR
    }

    /// What it asks for; `None` if that is nothing.
    fn ask(&mut self, now: Instant) -> Option<MinuteAsk> {
        let since = self.asked_at.map(|at| now.duration_since(at));
        if since.is_some_and(|since| since < SOON) {
            self.pace = (self.pace * 2).min(MAX_PACE);
        } else if since.is_some_and(|since| since >= IDLE) {
            self.pace = (self.pace / 2).max(1);
        }
        let need = std::mem::take(&mut self.need);
        let mut more = if self.is_low() { self.pace } else { 0 };
        if self.is_idle(now) && need == 0 {
            let back = self.spare() - 1;
            self.granted -= back;
            self.back = self.back.saturating_add(back);
            (self.pace, more) = (1, 0);
        }
        let following = if self.wants_ahead(now) {
            self.asked_ahead = true;
            self.pace
        } else {
            0
        };
        let ask = MinuteAsk {
            counted: String::new(),
            max: self.max,
            need,
            want: need.saturating_add(more),
            spent: self.unpaid(),
            back: std::mem::take(&mut self.back),
            back_of: self.name.unwrap_or_default(),
            following,
        };
        let is_nothing = (ask.want, ask.spent, ask.back, ask.following) == (0, 0, 0, 0);
        (!is_nothing).then(|| {
            self.asked_at = Some(now);
            ask
        })
    }

    fn answered(&mut self, ask: &MinuteAsk, share: &MinuteShare, sent_at: Instant, now: Instant) {
        match self.next(now).filter(|next| *next == share.began_at) {
            Some(next) => self.begin(Some(next), now),
            None => self.renew(now),
        }
        if self.name == Some(share.began_at + WINDOW_MICROS) {
            // The minute that it is about ended while it was on its way.
            self.granted = self.granted.saturating_add(share.got_ahead).min(self.max);
            return;
        }
        let paid = ask.spent.saturating_add(share.got);
        if self.name == Some(share.began_at) {
            self.granted = self.granted.saturating_add(paid);
            self.ahead = self.ahead.saturating_add(share.got_ahead);
        } else {
            // What was let through of the minute before is paid in this one, as nobody else knows of it.
            self.calls = self.unpaid();
            self.granted = paid;
            self.name = Some(share.began_at);
            self.ahead = share.got_ahead;
            self.asked_ahead = false;
        }
        self.ends = sent_at + share.ends_in;
        self.opens = now + share.ends_in;
        self.tight = ask.want > ask.need && share.got <= ask.need;
        self.exhausted = share.remaining == 0;
        self.full_until = self.exhausted.then(|| now + FULL_FOR);
    }
}

impl Minutes {
    /// Whether one more is within all of these; and counts it, if it is to be spent. `waited`: as long as a call may.
    pub(super) fn attempt(
        &mut self,
        due: &mut [Due],
        server: Option<&Server>,
        now: Instant,
        (spend, waited): (bool, bool),
    ) -> Attempt<()> {
        let counting = self.counting;
        let mut waits = false;
        for Due {
            counted, limit, max, ..
        } in &*due
        {
            let fresh = Minute::new(*max, now);
            let minute = match self.by.get_mut(counted) {
                Some(minute) => {
                    minute.renew(now);
                    minute.limit(*max);
                    minute.used_at = now;
                    &*minute
                }
                // Who is only looked at leaves nothing behind.
                None => &fresh,
            };
            if minute.has_room(counting, now) {
                continue;
            }
            let is_full = minute.is_full(counting, now);
            if is_full || waited {
                // Of what is not known there may be some in a moment.
                let opens = minute.opens.saturating_duration_since(now);
                return Attempt::Full(Exceeded {
                    limit: *limit,
                    max: (*max).into(),
                    server: server.filter(|_| limit.is_of_a_server()).map(Server::prefix),
                    retry_after: whole_seconds(if is_full { opens } else { Duration::ZERO }),
                });
            }
            waits = true;
        }
        if waits {
            return Attempt::Wait(self.need(due, now));
        }
        let mut asks = false;
        for own in due.iter().filter(|_| spend) {
            let minute = of(&mut self.by, own, now);
            minute.spend(now);
            let runs_out = match self.counting {
                Counting::Alone => false,
                Counting::Shared(_) | Counting::Settling(_) | Counting::Unheard => {
                    minute.is_low() || minute.unpaid() > 0
                }
                Counting::Apart(_) => minute.unpaid() > 0,
            };
            asks |= runs_out && queue(&mut self.queue, minute, &own.counted);
        }
        Attempt::Done((), asks)
    }

    /// A call waits for all of these that have nothing left. Whether somebody has to be asked.
    fn need(&mut self, due: &mut [Due], now: Instant) -> bool {
        let mut asks = false;
        for own in due {
            let minute = of(&mut self.by, own, now);
            if !minute.has_room(self.counting, now) && own.waits_since != Some(minute.asks) {
                own.waits_since = Some(minute.asks);
                minute.need = minute.need.saturating_add(1);
                asks |= queue(&mut self.queue, minute, &own.counted);
            }
        }
        asks
    }

    /// Who has something to give back, or to ask for before it is needed; called every second.
    pub(super) fn look(&mut self, now: Instant) {
        for (counted, minute) in &mut self.by {
            if !minute.is_over(now) && (minute.is_idle(now) || minute.wants_ahead(now)) {
                queue(&mut self.queue, minute, counted);
            }
        }
    }

    /// What the next request asks for, at most so much.
    pub(super) fn collect(&mut self, most: usize, now: Instant) -> Vec<(Counted, MinuteAsk)> {
        let take = self.queue.len().min(most);
        let mut asks = Vec::with_capacity(take);
        for counted in self.queue.drain(..take) {
            let Some(minute) = self.by.get_mut(&counted) else {
                continue;
            };
            minute.queued = false;
            minute.renew(now);
            if let Some(ask) = minute.ask(now) {
                let named = MinuteAsk {
                    counted: counted.name(),
                    ..ask
                };
                asks.push((counted, named));
            }
        }
        asks
    }

    /// What came of it.
    pub(super) fn answered(
        &mut self,
        (counted, ask): &(Counted, MinuteAsk),
        share: &MinuteShare,
        sent_at: Instant,
        now: Instant,
    ) {
        if let Some(minute) = self.by.get_mut(counted) {
            minute.answered(ask, share, sent_at, now);
            (minute.need, minute.asks) = (0, minute.asks.wrapping_add(1));
        }
    }

    /// Nothing came of it. What was to be given back is lost for this minute.
    pub(super) fn failed(&mut self, (counted, _): &(Counted, MinuteAsk)) {
        if let Some(minute) = self.by.get_mut(counted) {
            minute.asked_ahead = false;
            (minute.need, minute.asks) = (0, minute.asks.wrapping_add(1));
            // It is to be paid when there is somebody to be paid.
            if minute.unpaid() > 0 {
                queue(&mut self.queue, minute, counted);
            }
        }
    }

    /// Gives back all that is not used.
    pub(super) fn leave(&mut self, now: Instant) -> Vec<MinuteAsk> {
        let kept = |(counted, minute): (&Counted, &Minute)| MinuteAsk {
            counted: counted.name(),
            max: minute.max,
            spent: minute.unpaid(),
            back: minute.back.saturating_add(minute.spare()),
            back_of: minute.name.unwrap_or_default(),
            ..MinuteAsk::default()
        };
        let live = self.by.iter().filter(|(_, minute)| !minute.is_over(now));
        let all = live.map(kept).filter(|ask| ask.back > 0 || ask.spent > 0);
        all.collect()
    }

    /// Forgets the minutes that are over.
    pub(super) fn reap(&mut self, now: Instant) {
        self.by.retain(|_, minute| !minute.is_gone(now));
        let left = self.by.len();
        self.by.shrink_to(left * 2);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by.len()
    }
}

/// The minute of one who is counted, begun where there is none.
fn of<'m>(by: &'m mut HashMap<Counted, Minute>, due: &Due, now: Instant) -> &'m mut Minute {
    by.entry(due.counted.clone())
        .or_insert_with(|| Minute::new(due.max, now))
}

/// Whether it was not there.
fn queue(queue: &mut Vec<Counted>, minute: &mut Minute, counted: &Counted) -> bool {
    if minute.queued {
        return false;
    }
    minute.queued = true;
    queue.push(counted.clone());
    true
}

/// Rounded up, and at least one.
fn whole_seconds(time: Duration) -> Duration {
    let whole = u64::from(time.subsec_nanos() > 0) + time.as_secs();
    Duration::from_secs(whole.max(1))
}

#[cfg(test)]
mod tests;
