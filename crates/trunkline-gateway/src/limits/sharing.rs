//! Taking shares of limits from the database, beside requests (ADR 0033).
//!
//! One loop asks for everybody, one request at a time: whoever runs low is asked for before anybody waits, and those who wait are asked for
//! together. A database that is slow lets nobody through: who waited in vain is refused. One that does not answer at all is asked once a
//! second, and nobody waits for it: this replica then has its part of each limit, which is the limit divided by the replicas that it
//! last knew of.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use trunkline_store::{LimitAsk, LimitShares, MinuteAsk, PlaceAsk, Store, StoreError};

use super::Limits;
use super::exceeded::Exceeded;
use super::held::Counted;
use crate::Gateway;
use crate::peers::{Peers, Standing};

/// Between two looks at who has something to give back.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the database has for an answer. One that is slow must not be taken for one that is away: the parts of all replicas come on top
/// of what some of them hold.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a call waits, for the answer before its own and for its own: longer than it takes to know that there is none.
pub(super) const WAIT: Duration = Duration::from_millis(2_500);
/// How long deleting what counts no more has, and giving back what is left.
const ASIDE_WITHIN: Duration = Duration::from_millis(400);
/// Those who are asked for at once.
const BATCH: usize = 256;
/// Places are this replica's for so long after it was last heard of: less than the time after which the others take it for gone.
const HEARD_OF: Duration = Duration::from_secs(13);
/// After it was not: how long the others have to say again what they hold. They are heard of every three seconds.
const SETTLING: Duration = Duration::from_secs(5);
/// Between two rounds of deleting what counts no more.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// This replica's part of what all have: it is the `rank`th of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) replicas: u32,
    pub(super) rank: u32,
}

impl Part {
    /// The parts of all replicas together are the whole.
    pub(super) fn of(self, max: u64) -> u64 {
        let replicas = u64::from(self.replicas.max(1));
        max / replicas + u64::from(u64::from(self.rank) < max % replicas)
    }
}

/// How calls are counted at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Counting {
    /// There are no other processes.
    #[default]
    Alone,
    /// Together with the others, by the database.
    Shared(Part),
    /// By the database and within this replica's part, too: the others may not have said yet what they hold.
    Settling(Part),
    /// The database answers, and the others may take this replica for gone: nothing is let through until they have heard of it.
    Unheard,
    /// Each by itself: the database does not answer.
    Apart(Part),
}

impl Counting {
    /// After the process slept: the others may have what it held.
    pub(super) fn lapsed(self) -> Self {
        match self {
            Self::Shared(_) | Self::Settling(_) => Self::Unheard,
            other => other,
        }
    }
}

/// What came of a try.
pub(super) enum Attempt<T> {
    /// Let through. Whether there is something to ask the database.
    Done(T, bool),
    /// One too many.
    Full(Exceeded),
    /// The database may have more. Whether it is to be asked: it may be under way.
    Wait(bool),
}

/// What wakes whom.
#[derive(Default)]
pub(super) struct Waking {
    ask: Notify,
    answered: Notify,
}

impl Waking {
    /// Tries until it is known; whoever waited in vain is refused. Who counts alone always knows.
    pub(super) async fn until_known<T>(
        &self,
        mut attempt: impl FnMut(Instant, bool) -> Attempt<T>,
    ) -> Result<T, Exceeded> {
        let deadline = Instant::now() + WAIT;
        if let Some(known) = self.known(attempt(Instant::now(), false)) {
            return known;
        }
        loop {
            // Before it is tried: an answer that comes in between is heard.
            let answered = self.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            let now = Instant::now();
            if let Some(known) = self.known(attempt(now, now >= deadline)) {
                return known;
            }
            let _ = tokio::time::timeout_at(deadline, answered).await;
        }
    }

    /// There is something to ask for.
    pub(super) fn asks(&self) {
        self.ask.notify_one();
    }

    /// Those who wait may try again.
    pub(super) fn answers(&self) {
        self.answered.notify_waiters();
    }

    fn known<T>(&self, attempt: Attempt<T>) -> Option<Result<T, Exceeded>> {
        match attempt {
            Attempt::Done(done, asks) => {
                if asks {
                    self.ask.notify_one();
                }
                Some(Ok(done))
            }
            Attempt::Full(exceeded) => Some(Err(exceeded)),
            Attempt::Wait(asks) => {
                if asks {
                    self.ask.notify_one();
                }
                None
            }
        }
    }
}

/// Where shares come from.
pub(super) trait Shares {
    /// Takes them.
    fn ask(&self, ask: &LimitAsk) -> impl Future<Output = Result<LimitShares, Unanswered>>;

    /// What this replica is among all.
    fn standing(&self) -> Standing;
}

/// The database, asked by one of the replicas.
struct Database<'g> {
    store: &'g Store,
    peers: &'g Peers,
}

impl Shares for Database<'_> {
    async fn ask(&self, ask: &LimitAsk) -> Result<LimitShares, Unanswered> {
        let shares = self.store.limit_ask(self.peers.own_id(), ask).await;
        shares.map_err(|error| {
            if error.is_contention() {
                Unanswered::Busy
            } else {
                Unanswered::Failed(error)
            }
        })
    }

    fn standing(&self) -> Standing {
        self.peers.standing()
    }
}

/// Takes shares for as long as it is polled.
pub async fn keep(gateway: Arc<Gateway>) {
    let limits = &gateway.limits;
    if !limits.is_shared {
        return;
    }
    let store = gateway.registry.store();
    let database = Database {
        store,
        peers: &gateway.peers,
    };
    let mut keeping = Keeping::default();
    let mut ticks = ticks();
    loop {
        if keeping.next(limits, &database, &mut ticks).await {
            keeping.prune(store).await;
        }
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Everything that is asked for at once, with whom it is for.
struct Asked {
    minutes: Vec<(Counted, MinuteAsk)>,
    places: Vec<(Counted, PlaceAsk)>,
}

/// How it went so far.
#[derive(Default)]
struct Keeping {
    /// The number of the last request.
    number: i64,
    /// The database did not answer the last time, at this moment.
    failed_at: Option<Instant>,
    /// This replica was not heard of for so long that others may have its places.
    lapsed: Option<Lapse>,
    /// The others may not have said yet what they hold.
    settling_until: Option<Instant>,
    pruned_at: Option<Instant>,
}

/// Why a replica was not heard of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lapse {
    /// Nobody was: the database was away.
    Outage,
    /// It alone was not.
    Own,
}

impl Keeping {
    /// Waits until there is something to ask for, and asks; whether it was time to look.
    async fn next(&mut self, limits: &Limits, shares: &impl Shares, ticks: &mut Interval) -> bool {
        let tick = tokio::select! {
            _ = ticks.tick() => true,
            () = limits.waking.ask.notified() => false,
        };
        self.turn(limits, shares, tick).await;
        limits.waking.answers();
        tick
    }

    async fn turn(&mut self, limits: &Limits, shares: &impl Shares, tick: bool) {
        let standing = shares.standing();
        self.count(limits, standing);
        let now = Instant::now();
        if tick {
            limits.minutes().look(now);
            limits.places().look(standing.replicas, now);
        }
        // Once a second, while it does not answer.
        if self.failed_at.is_some() && !tick {
            return;
        }
        let asked = self.collect(limits, standing);
        let is_empty = asked.minutes.is_empty() && asked.places.is_empty();
        if is_empty && self.failed_at.is_none() {
            return;
        }
        let done = self.ask(limits, shares, &asked, standing).await;
        self.note(done.err());
        self.count(limits, standing);
        if !is_empty {
            // There may be more than was asked for at once.
            limits.waking.ask.notify_one();
        }
    }

    /// Says how calls are counted from now on.
    fn count(&mut self, limits: &Limits, standing: Standing) {
        let now = Instant::now();
        let part = part(standing);
        let answers = self.failed_at.is_none();
        let heard_of = standing
            .heard_at
            .is_some_and(|at| now.duration_since(at) < HEARD_OF);
        if !heard_of && self.lapsed.is_none() {
            self.lapsed = Some(if answers { Lapse::Own } else { Lapse::Outage });
            limits.places().lapse();
        } else if heard_of && self.lapsed.take().is_some() {
            self.settling_until = Some(now + SETTLING);
        }
        limits.minutes().counting = if answers {
            Counting::Shared(part)
        } else {
            Counting::Apart(part)
        };
        let mut places = limits.places();
        places.counting = match self.lapsed {
            _ if !answers => Counting::Apart(part),
            // The others have their parts, too, until they have said what they hold.
            Some(Lapse::Outage) => Counting::Apart(part),
            Some(Lapse::Own) => Counting::Unheard,
            None if self.settles(now) => Counting::Settling(part),
            None => Counting::Shared(part),
        };
        places.held_until = standing.heard_at.map(|at| at + HEARD_OF).filter(|_| heard_of);
    }

    fn settles(&self, now: Instant) -> bool {
        self.settling_until.is_some_and(|until| now < until)
    }

    fn collect(&self, limits: &Limits, standing: Standing) -> Asked {
        let now = Instant::now();
        // While the others may not know of it, what is let through anyway is asked for.
        let floor = self.lapsed.is_some() || self.settles(now);
        Asked {
            minutes: limits.minutes().collect(BATCH, now),
            places: limits.places().collect(BATCH, (part(standing), floor), now),
        }
    }

    async fn ask(
        &mut self,
        limits: &Limits,
        shares: &impl Shares,
        asked: &Asked,
        standing: Standing,
    ) -> Result<(), Unanswered> {
        self.number += 1;
        let ask = LimitAsk {
            minutes: asked.minutes.iter().map(|(_, ask)| ask.clone()).collect(),
            places: asked.places.iter().map(|(_, ask)| ask.clone()).collect(),
            replicas: standing.replicas,
            number: self.number,
        };
        let sent_at = Instant::now();
        let answer = timeout(ANSWER_WITHIN, shares.ask(&ask)).await;
        let shares = match answer {
            Ok(answered) => answered,
            Err(_) => Err(Unanswered::Late),
        };
        match shares {
            Ok(shares) => {
                give(limits, asked, &shares, (sent_at, Instant::now()));
                Ok(())
            }
            Err(error) => {
                let mut minutes = limits.minutes();
                asked.minutes.iter().for_each(|own| minutes.failed(own));
                let mut places = limits.places();
                asked.places.iter().for_each(|own| places.failed(own));
                Err(error)
            }
        }
    }

    /// An outage of an hour is two lines.
    fn note(&mut self, error: Option<Unanswered>) {
        match error {
            None => {
                if self.failed_at.take().is_some() {
                    tracing::info!("limits are shared with the other replicas again");
                }
            }
            // It is there, and whoever still waits is asked for again.
            Some(error @ Unanswered::Busy) => tracing::debug!(%error, "shares of limits are asked for again"),
            Some(error) => {
                if self.failed_at.replace(Instant::now()).is_none() {
                    tracing::warn!(
                        %error,
                        "limits cannot be shared with the other replicas; each lets through its part of them"
                    );
                }
            }
        }
    }

    async fn prune(&mut self, store: &Store) {
        let is_due = self.pruned_at.is_none_or(|at| at.elapsed() >= PRUNE_EVERY);
        if !is_due || self.failed_at.is_some() {
            return;
        }
        self.pruned_at = Some(Instant::now());
        // What is asked for does not wait for it.
        if let Ok(Err(error)) = timeout(ASIDE_WITHIN, store.limit_prune()).await {
            tracing::debug!(%error, "shares of limits that are over could not be deleted");
        }
    }
}

/// Why there are no shares.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("the database did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    #[error("others were in the way at the database")]
    Busy,
    #[error("{0}")]
    Failed(StoreError),
}

fn part(standing: Standing) -> Part {
    Part {
        replicas: standing.replicas,
        rank: standing.rank,
    }
}

fn give(limits: &Limits, asked: &Asked, shares: &LimitShares, (sent_at, now): (Instant, Instant)) {
    let mut minutes = limits.minutes();
    for own in &asked.minutes {
        if let Some(share) = shares.minutes.iter().find(|share| share.counted == own.1.counted) {
            minutes.answered(own, share, sent_at, now);
        }
    }
    drop(minutes);
    let mut places = limits.places();
    for own in &asked.places {
        if let Some(share) = shares.places.iter().find(|share| share.counted == own.1.counted) {
            places.answered(own, share.places, now);
        }
    }
}

impl Limits {
    /// Gives back what this replica has: it stops.
    pub async fn leave(&self, peers: &Peers, store: &Store) {
        if !self.is_shared {
            return;
        }
        let back = LimitAsk {
            minutes: self.minutes().leave(Instant::now()),
            replicas: peers.standing().replicas,
            ..LimitAsk::default()
        };
        let give = async {
            if !back.minutes.is_empty() {
                store.limit_ask(peers.own_id(), &back).await?;
            }
            store.limit_leave(peers.own_id()).await
        };
        if let Ok(Err(error)) = timeout(Duration::from_secs(1), give).await {
            tracing::debug!(%error, "shares of limits could not be given back");
        }
    }
}

#[cfg(test)]
mod tests;
