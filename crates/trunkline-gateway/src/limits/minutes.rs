//! Calls in a minute, as one process knows them: what it may let through, what it has, and what it asks for.
//!
//! Tokens are counted in the same way, many at once: what a request may take is spent before it is sent, and when it is known what it took
//! the rest is given back, or what it took beyond that is counted, too. A minute counts one of both, and what is said of calls here holds
//! for tokens.
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

use super::exceeded::{About, Exceeded};
use super::held::{Counted, Due, Rounds};
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
/// Most that is taken in advance, of what a call takes.
const MAX_PACE: u64 = 1 << 16;

/// The minutes that are under way.
#[derive(Default)]
pub(super) struct Minutes {
    by: HashMap<Counted, Minute>,
    pub(super) counting: Counting,
    /// Who has something to ask for.
    queue: Vec<Counted>,
}

struct Minute {
    /// When it began here: which minute it is.
    began: Instant,
    /// When it is over: not later than for the database.
    ends: Instant,
    /// When it is surely over for the database, too.
    opens: Instant,
    /// Calls that were let through.
    calls: u64,
    /// What was taken of the limit.
    granted: u64,
    /// What was taken of the minute after it.
    ahead: u64,
    /// The database's name of it; none for one that began here.
    name: Option<i64>,
    /// The limit as it was last seen.
    max: u64,
    /// Calls that wait.
    need: u64,
    rounds: Rounds,
    /// For how many like the last one to take in advance.
    pace: u64,
    /// What the last one took: one, or its tokens.
    unit: u64,
    /// Of what was spent, what may be given back.
    held: u64,
    /// Somebody was refused who needs more than is left here: others may put it together.
    gives_back: bool,
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
    back: u64,
}

impl Minute {
    fn new(max: u64, now: Instant) -> Self {
        Self {
            began: now,
            ends: now + WINDOW,
            opens: now + WINDOW,
            calls: 0,
            granted: 0,
            ahead: 0,
            name: None,
            max,
            need: 0,
            rounds: Rounds::default(),
            pace: 1,
            unit: 1,
            held: 0,
            gives_back: false,
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
        (self.need, self.rounds) = (before.need, before.rounds);
        (self.pace, self.unit, self.queued) = (before.pace, before.unit, before.queued);
        (self.asked_at, self.used_at) = (before.asked_at, before.used_at);
        if next.is_some() {
            (self.name, self.granted) = (next, before.ahead.min(self.max));
            (self.ends, self.opens) = (before.ends + WINDOW, before.opens + WINDOW);
        }
    }

    fn spare(&self) -> u64 {
        self.granted.saturating_sub(self.calls)
    }

    /// What was let through without a share.
    fn unpaid(&self) -> u64 {
        self.calls.saturating_sub(self.granted)
    }

    /// Another limit than before: what was taken of that is not this one's.
    fn limit(&mut self, max: u64) {
        if self.max == max {
            return;
        }
        let spare = self.spare();
        (self.max, self.ahead, self.full_until, self.exhausted) = (max, 0, None, false);
        self.granted -= spare;
        self.back = self.back.saturating_add(spare);
    }

    fn allowed(&self, counting: Counting) -> u64 {
        match counting {
            Counting::Alone => self.max,
            Counting::Shared(_) | Counting::Settling(_) | Counting::Unheard => self.granted,
            // Somebody else used it up.
            Counting::Apart(_) if self.exhausted => self.granted,
            Counting::Apart(part) => self.granted.max(part.of(self.max)),
        }
    }

    fn has_room(&self, amount: u64, counting: Counting, now: Instant) -> bool {
        let is_this_one = !self.is_over(now) || self.ahead >= amount;
        is_this_one && self.calls.saturating_add(amount) <= self.allowed(counting)
    }

    /// There will be room when those are done that are under way, if they take nothing of what is held for them.
    fn has_room_soon(&self, amount: u64, counting: Counting, now: Instant) -> bool {
        let least = self.calls.saturating_sub(self.held);
        !self.is_over(now) && self.held > 0 && least.saturating_add(amount) <= self.allowed(counting)
    }

    /// Counts a call for which there is room: in both minutes, if it may be in either.
    fn spend(&mut self, amount: u64, now: Instant) {
        self.calls = self.calls.saturating_add(amount);
        self.unit = amount.max(1);
        if self.is_over(now) {
            self.ahead = self.ahead.saturating_sub(amount);
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
        !self.tight && self.full_until.is_none() && self.spare() <= self.advance() / 2
    }

    /// What is taken in advance.
    fn advance(&self) -> u64 {
        self.pace.saturating_mul(self.unit)
    }

    /// What is kept for who may come again: one call, and no tokens, of which a request takes nobody knows how many.
    fn kept(&self) -> u64 {
        u64::from(self.unit == 1)
    }

    fn is_idle(&self, now: Instant) -> bool {
        let is_unused = self.gives_back || now.duration_since(self.used_at) >= IDLE;
        self.spare() > self.kept() && is_unused
    }

    /// What was given back here and is more than will soon be used: others may need it.
    fn excess(&self) -> u64 {
        if self.unit == 1 {
            return 0;
        }
        self.spare().saturating_sub(self.advance().saturating_mul(2))
    }

    fn wants_ahead(&self, now: Instant) -> bool {
        self.name.is_some()
            && !self.asked_ahead
            && self.ends.saturating_duration_since(now) <= AHEAD
            && now.duration_since(self.used_at) < AHEAD_FOR
    }

    fn hand_back(&mut self, back: u64) {
        self.granted -= back;
        self.back = self.back.saturating_add(back);
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
        let mut more = if self.is_low() { self.advance() } else { 0 };
        if self.is_idle(now) && need == 0 {
            self.hand_back(self.spare() - self.kept());
            self.gives_back = false;
            (self.pace, more) = (1, 0);
        } else if need == 0 {
            self.hand_back(self.excess());
        }
        let following = if self.wants_ahead(now) {
            self.asked_ahead = true;
            self.advance()
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
            self.rounds.ask();
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
            if self.name.is_some() {
                // Another one than what is under way was spent in: nothing of it comes back.
                (self.began, self.held) = (now, 0);
            }
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
            counted,
            limit,
            max,
            amount,
            ..
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
            if minute.has_room(*amount, counting, now) {
                continue;
            }
            let is_full = minute.is_full(counting, now);
            if is_full || waited {
                // Of what is not known, and of what is held, there may be some in a moment.
                let is_full = is_full && !minute.has_room_soon(*amount, counting, now);
                let opens = minute.opens.saturating_duration_since(now);
                if let Some(own) = self.by.get_mut(counted) {
                    own.gives_back = limit.is_of_tokens();
                }
                let exceeded = Exceeded {
                    limit: *limit,
                    max: (*max).into(),
                    about: server
                        .filter(|_| limit.is_of_a_server())
                        .map(|server| About::Server(server.prefix())),
                    retry_after: whole_seconds(if is_full { opens } else { Duration::ZERO }),
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
        let mut asks = false;
        for own in due.iter_mut().filter(|_| spend) {
            let minute = of(&mut self.by, own, now);
            minute.spend(own.amount, now);
            if own.limit.is_of_tokens() {
                minute.held = minute.held.saturating_add(own.amount);
                own.spent_in = Some(minute.began);
            }
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

    /// A call that was counted among those who wait does so no more.
    fn wait_no_more(&mut self, due: &mut [Due]) {
        for own in due {
            if let Some(minute) = self.by.get_mut(&own.counted)
                && minute.rounds.leaves(&mut own.waits_since)
            {
                minute.need = minute.need.saturating_sub(own.amount);
            }
        }
    }

    /// A call waits for all of these that have nothing left. Whether somebody has to be asked.
    fn need(&mut self, due: &mut [Due], now: Instant) -> bool {
        let mut asks = false;
        for own in due {
            let minute = of(&mut self.by, own, now);
            if !minute.has_room(own.amount, self.counting, now) && minute.rounds.counts(&mut own.waits_since)
            {
                minute.need = minute.need.saturating_add(own.amount);
                asks |= queue(&mut self.queue, minute, &own.counted);
            }
        }
        asks
    }

    /// Counts what was taken beyond what was spent before. It is let through whatever the limit: it has been taken. Whether somebody has
    /// to be told.
    pub(super) fn charge(&mut self, (counted, max): (&Counted, u64), amount: u64, now: Instant) -> bool {
        let counting = self.counting;
        let minute = self
            .by
            .entry(counted.clone())
            .or_insert_with(|| Minute::new(max, now));
        minute.renew(now);
        let unit = minute.unit;
        minute.spend(amount, now);
        minute.unit = unit;
        let is_shared = counting != Counting::Alone;
        is_shared && minute.unpaid() > 0 && queue(&mut self.queue, minute, counted)
    }

    /// Gives back what was spent in the minute that began then and was not taken, of what was held for it. Whether somebody has to be
    /// told.
    pub(super) fn refund(
        &mut self,
        counted: &Counted,
        spent_in: Instant,
        (held, back): (u64, u64),
        now: Instant,
    ) -> bool {
        let counting = self.counting;
        let minute = self.by.get_mut(counted);
        let Some(minute) = minute.filter(|own| own.began == spent_in && !own.is_over(now)) else {
            // That minute is over, and what is not used of it is nobody's.
            return false;
        };
        minute.held = minute.held.saturating_sub(held);
        minute.calls = minute.calls.saturating_sub(back);
        let is_shared = counting != Counting::Alone;
        is_shared && minute.excess() > 0 && queue(&mut self.queue, minute, counted)
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
            minute.rounds.end();
        }
    }

    /// Nothing came of it. What was to be given back is lost for this minute.
    pub(super) fn failed(&mut self, (counted, _): &(Counted, MinuteAsk)) {
        if let Some(minute) = self.by.get_mut(counted) {
            minute.asked_ahead = false;
            minute.rounds.end();
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
