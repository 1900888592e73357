//! Load: how deployments do. What each has under way, what it got in this minute, how fast it answers, and whether it fails.
//!
//! One process knows its own, and what the others tell of failures ([`super::rests`]); limits of a deployment hold for each alone.
//! All of it is atomic: a request takes no lock for it, unless something failed.
//!
//! A deployment that failed is left alone for a while where there is another one. After that, and where there is no other one after
//! [`FAILURES_OF_AN_ONLY_ONE`] failures in a row, it is tried: one request at a time, until one succeeds. So nobody is locked out, and what
//! recovers is not overrun.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_model::{FailureKind, ReplicaId};

use super::rests::TrialPlace;

/// Milliseconds since the models began; never 0.
pub(super) type Moment = u64;

/// Failures in a row after which the only deployment of a name is tried by one request at a time.
const FAILURES_OF_AN_ONLY_ONE: u32 = 10;
/// A trial that takes longer than this lets another one begin beside it.
pub(super) const TRIAL: u64 = 5_000;
/// A measurement counts for so long.
const MEASURED: u64 = 300_000;
/// Of an average, what a new measurement is: one in so many.
const SHARE: u64 = 5;
/// What a failure counts as, where the fastest is wanted: microseconds.
const SLOW: u64 = 60_000_000;

/// Whoever said of a deployment that answers others that it fails is not believed for so long.
const DOUBT: u64 = 60_000;
/// Whoever found that it fails lets the others try it first for so long.
const YIELDS: u64 = 1_000;

/// A minute.
pub(super) const MINUTE: u64 = 60_000;

/// A count within a stretch of time, which begins anew with the next: 24 bits of which it is, 40 of how many.
#[derive(Debug, Default)]
pub(super) struct Window(AtomicU64);

const COUNT: u64 = (1 << 40) - 1;

impl Window {
    fn parts(packed: u64, stretch: u64) -> u64 {
        if packed >> 40 == stretch & 0xff_ffff {
            packed & COUNT
        } else {
            0
        }
    }

    /// How many in the stretch that a moment is in.
    pub(super) fn count(&self, now: Moment, length: u64) -> u64 {
        Self::parts(self.0.load(Ordering::Relaxed), now / length)
    }

    /// Counts more.
    pub(super) fn add(&self, now: Moment, length: u64, more: u64) {
        self.take(now, length, (more, u64::MAX));
    }

    /// Counts more, if that are no more than `most` together.
    pub(super) fn take(&self, now: Moment, length: u64, (more, most): (u64, u64)) -> bool {
        let stretch = now / length;
        let next = |packed: u64| {
            let count = Self::parts(packed, stretch).saturating_add(more).min(COUNT);
            (count <= most).then_some((stretch & 0xff_ffff) << 40 | count)
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }
}

/// When the stretch ends that a moment is in.
pub(super) fn left(now: Moment, length: u64) -> Duration {
    Duration::from_millis(length - now % length)
}

/// What a deployment has to do, whatever name it is asked by.
#[derive(Debug, Default)]
pub(super) struct Load {
    busy: AtomicU32,
    requests: Window,
    tokens: Window,
    /// Tokens that its answers have, on average of late; 0: nobody knows.
    written: AtomicU64,
}

impl Load {
    /// Requests under way.
    pub(super) fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Tokens of this minute.
    pub(super) fn tokens(&self, now: Moment) -> u64 {
        self.tokens.count(now, MINUTE)
    }

    /// Tokens that its answers have, on average of late, if there were any.
    pub(super) fn written(&self) -> Option<u64> {
        Some(self.written.load(Ordering::Relaxed)).filter(|own| *own > 0)
    }

    /// Whether it may get one more.
    pub(super) fn has_room(&self, now: Moment, limits: &Most) -> Result<(), Duration> {
        let is_over =
            self.requests.count(now, MINUTE) >= limits.requests || self.tokens(now) >= limits.tokens;
        if is_over {
            return Err(left(now, MINUTE));
        }
        if self.busy() >= limits.busy {
            return Err(Duration::from_secs(1));
        }
        Ok(())
    }

    /// Takes the room for one; false if somebody else took the last.
    fn take(&self, now: Moment, limits: &Most) -> bool {
        let more = |busy: u32| (busy < limits.busy).then_some(busy + 1);
        if self
            .busy
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_err()
        {
            return false;
        }
        if self.requests.take(now, MINUTE, (1, limits.requests)) {
            return true;
        }
        self.busy.fetch_sub(1, Ordering::Relaxed);
        false
    }
}

/// What a deployment may get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    /// At the same time.
    pub(super) busy: u32,
    /// In a minute.
    pub(super) requests: u64,
    /// In a minute.
    pub(super) tokens: u64,
}

/// Whether a deployment can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// As any other.
    Well,
    /// By one request, to see.
    OnTrial,
    /// Not for so long.
    Resting(Duration),
}

/// How a deployment does under a name.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failures in a row.
    fails: AtomicU32,
    /// Those of this minute, whatever came between.
    failed: Window,
    /// It was put to rest until then; 0: it was not.
    until: AtomicU64,
    /// Somebody tries it, and nobody else does until then.
    trial: AtomicU64,
    /// How long it takes to answer, in microseconds, and when that was known.
    latency: AtomicU64,
    measured: AtomicU64,
    /// What other replicas say.
    hearsay: Mutex<Hearsay>,
}

/// What other replicas say of a deployment.
#[derive(Debug, Default)]
struct Hearsay {
    /// Who said that it is to rest; nobody did, where it was found here.
    by: Option<ReplicaId>,
    /// Who is not believed, and until when.
    doubted: Vec<(ReplicaId, Moment)>,
}

impl Hearsay {
    /// It answers: whoever said that it does not may have meant its own network.
    fn refuted(&mut self, now: Moment) {
        if let Some(by) = self.by.take() {
            self.doubt(by, now);
        }
    }

    fn doubt(&mut self, who: ReplicaId, now: Moment) {
        self.doubted.retain(|(own, until)| *own != who && now < *until);
        self.doubted.push((who, now + DOUBT));
    }

    fn is_doubted(&self, who: ReplicaId, now: Moment) -> bool {
        self.doubted
            .iter()
            .any(|(own, until)| *own == who && now < *until)
    }
}

/// What is told of a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// It answered; before the failures.
    pub(super) is_well: bool,
    /// Failures of this minute.
    pub(super) failed: u32,
    /// Of these, those in a row that show that it is down.
    pub(super) in_a_row: u32,
    /// It is to rest for so long; 0: it is not.
    pub(super) rest: u64,
}

impl Told {
    /// It answered.
    pub(super) const WELL: Self = Self {
        is_well: true,
        failed: 0,
        in_a_row: 0,
        rest: 0,
    };

    /// With what happened after it.
    pub(super) fn and(self, after: Self) -> Self {
        if after.is_well {
            return after;
        }
        Self {
            is_well: self.is_well,
            failed: self.failed.saturating_add(after.failed),
            in_a_row: self.in_a_row.saturating_add(after.in_a_row),
            rest: self.rest.max(after.rest),
        }
    }
}

impl Health {
    /// Whether it can be asked; `alone`: there is no other one.
    pub(super) fn fit(&self, now: Moment, alone: bool) -> Fit {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 || alone && self.fails.load(Ordering::Relaxed) < FAILURES_OF_AN_ONLY_ONE {
            return Fit::Well;
        }
        if !alone && now < until {
            return Fit::Resting(Duration::from_millis(until - now));
        }
        match self.trial.load(Ordering::Relaxed) {
            trial if now < trial => Fit::Resting(Duration::from_millis(trial - now)),
            _ => Fit::OnTrial,
        }
    }

    /// Begins a trial; false if somebody else began one.
    fn begin_trial(&self, now: Moment) -> bool {
        let began = |trial: u64| (trial <= now).then_some(now + TRIAL);
        self.trial
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, began)
            .is_ok()
    }

    /// How long it takes to answer, if that is known: microseconds.
    pub(super) fn latency(&self, now: Moment) -> Option<u64> {
        let measured = self.measured.load(Ordering::Relaxed);
        (measured > 0 && now < measured + MEASURED).then(|| self.latency.load(Ordering::Relaxed))
    }

    fn measure(&self, now: Moment, micros: u64) {
        let average = match self.latency(now) {
            Some(own) => own - own / SHARE + micros / SHARE,
            None => micros,
        };
        // Nothing is what nobody knows.
        self.latency.store(average.max(1), Ordering::Relaxed);
        self.measured.store(now, Ordering::Relaxed);
    }

    fn hearsay(&self) -> MutexGuard<'_, Hearsay> {
        self.hearsay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether others are to try it before this replica does, which found that it fails a moment ago.
    pub(super) fn yields(&self, now: Moment) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        now < until.saturating_add(YIELDS) && self.hearsay().by.is_none()
    }

    /// It answered. Whether that is news.
    fn succeeded(&self, now: Moment) -> bool {
        // Read before: most of the time there is nothing to change, and others read the same line.
        if self.fails.load(Ordering::Relaxed) == 0 && self.until.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.hearsay().refuted(now);
        self.recover();
        true
    }

    fn recover(&self) {
        self.fails.store(0, Ordering::Relaxed);
        self.until.store(0, Ordering::Relaxed);
        self.trial.store(0, Ordering::Relaxed);
    }

    /// What another replica says of it.
    pub(super) fn hear(&self, now: Moment, by: ReplicaId, told: Told) {
        let mut hearsay = self.hearsay();
        if told.is_well {
            if hearsay.by.is_some_and(|who| who != by) {
                hearsay.refuted(now);
            }
            hearsay.by = None;
            self.recover();
        }
        if told.failed == 0 {
            return;
        }
        if hearsay.is_doubted(by, now) {
            // It fails for that one alone, and still does.
            hearsay.doubt(by, now);
            return;
        }
        self.fails.fetch_add(told.in_a_row, Ordering::Relaxed);
        self.failed.add(now, MINUTE, told.failed.into());
        if told.rest > 0 {
            hearsay.by = Some(by);
            self.until
                .fetch_max(now.saturating_add(told.rest), Ordering::Relaxed);
            self.trial.store(0, Ordering::Relaxed);
        }
    }

    /// It failed, and rests for so long if more than `allowed` failures in this minute were, on whichever replica.
    fn failed(&self, now: Moment, time: Duration, (allowed, kind): (u32, FailureKind)) -> Told {
        // Who asks for less answers, and is there.
        let is_well = kind == FailureKind::RateLimit;
        self.fails.fetch_add(u32::from(!is_well), Ordering::Relaxed);
        self.failed.add(now, MINUTE, 1);
        self.measure(now, SLOW);
        self.trial.store(0, Ordering::Relaxed);
        let mut told = Told {
            is_well: false,
            failed: 1,
            in_a_row: u32::from(!is_well),
            rest: 0,
        };
        if self.failed.count(now, MINUTE) > u64::from(allowed) && !time.is_zero() {
            told.rest = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
            self.until.store(now.saturating_add(told.rest), Ordering::Relaxed);
            self.hearsay().by = None;
        }
        told
    }
}

/// One request's turn with a deployment, from its choice to the end of the answer.
pub(super) struct Turn {
    load: Arc<Load>,
    health: Arc<Health>,
    began: Moment,
    is_trial: bool,
    /// Of the one trial that all replicas have together.
    place: Option<TrialPlace>,
}

impl Turn {
    /// Takes one; none if somebody else was faster.
    pub(super) fn take(
        (load, health): (&Arc<Load>, &Arc<Health>),
        now: Moment,
        limits: &Most,
        is_trial: bool,
    ) -> Option<Self> {
        if !load.take(now, limits) {
            return None;
        }
        let mut turn = Self {
            load: load.clone(),
            health: health.clone(),
            began: now,
            is_trial: false,
            place: None,
        };
        if is_trial {
            turn.is_trial = health.begin_trial(now);
        }
        (turn.is_trial == is_trial).then_some(turn)
    }

    /// Nobody else tries it until this one knows.
    pub(super) fn hold(&mut self, place: Option<TrialPlace>) {
        self.place = place;
    }

    /// It answers. What is to be told, if that is news.
    pub(super) fn succeeded(&mut self, now: Moment) -> Option<Told> {
        self.is_trial = false;
        self.health
            .measure(now, (now.saturating_sub(self.began)).saturating_mul(1000));
        let is_news = self.health.succeeded(now);
        self.place = None;
        is_news.then_some(Told::WELL)
    }

    /// It failed so that it is to be left alone. What is to be told.
    pub(super) fn failed(
        &mut self,
        now: Moment,
        time: Duration,
        (allowed, kind): (u32, FailureKind),
    ) -> Told {
        self.is_trial = false;
        let told = self.health.failed(now, time, (allowed, kind));
        self.place = None;
        told
    }

    /// So many more requests are sent for the one that the turn is for: they count, and none is refused for it is begun.
    pub(super) fn sends(&self, now: Moment, more: usize) {
        self.load
            .requests
            .add(now, MINUTE, u64::try_from(more).unwrap_or(u64::MAX));
    }

    /// How many tokens were written.
    pub(super) fn wrote(&self, tokens: u64) {
        let average = match self.load.written() {
            Some(own) => own - own / SHARE + tokens / SHARE,
            None => tokens,
        };
        // Nothing is what nobody knows.
        self.load.written.store(average.max(1), Ordering::Relaxed);
    }

    /// What the answer took.
    pub(super) fn took(&self, now: Moment, tokens: u64) {
        self.load.tokens.add(now, MINUTE, tokens);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.load.busy.fetch_sub(1, Ordering::Relaxed);
        if self.is_trial {
            // Nothing was found out: the client left.
            self.health.trial.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Most = Most::ANY;
    const SICK: FailureKind = FailureKind::InternalServer;

    fn one() -> (Arc<Load>, Arc<Health>) {
        (Arc::default(), Arc::default())
    }

    fn take(own: &(Arc<Load>, Arc<Health>), now: Moment, limits: &Most, is_trial: bool) -> Option<Turn> {
        Turn::take((&own.0, &own.1), now, limits, is_trial)
    }

    #[test]
    fn a_window_counts_anew_with_each_stretch() {
        let window = Window::default();
        assert!(window.take(1, 10, (2, 3)) && !window.take(9, 10, (2, 3)));
        assert_eq!(window.count(9, 10), 2);
        assert!(window.take(9, 10, (1, 3)) && !window.take(9, 10, (1, 3)));
        assert_eq!((window.count(10, 10), window.count(9, 10)), (0, 3));
        assert!(window.take(10, 10, (3, 3)));
        assert_eq!(left(59_000, MINUTE), Duration::from_secs(1));
    }

    #[test]
    fn room_is_taken_once_and_given_back() {
        let own = one();
        let two = Most { busy: 2, ..ANY };
        let first = take(&own, 1, &two, false).unwrap();
        let _second = take(&own, 1, &two, false).unwrap();
        assert!(take(&own, 1, &two, false).is_none());
        assert_eq!(own.0.has_room(1, &two), Err(Duration::from_secs(1)));
        drop(first);
        assert_eq!(own.0.has_room(1, &two), Ok(()));
        let few = Most { requests: 3, ..ANY };
        drop(take(&own, 1, &few, false).unwrap());
        assert!(take(&own, 1, &few, false).is_none());
        assert_eq!(own.0.busy(), 1);
        assert!(take(&own, MINUTE, &few, false).is_some(), "another minute");
        let tokens = Most { tokens: 10, ..ANY };
        take(&own, 1, &ANY, false).unwrap().took(1, 10);
        assert_eq!(own.0.has_room(1, &tokens), Err(Duration::from_millis(59_999)));
    }

    #[test]
    fn who_failed_rests_and_is_tried_by_one_at_a_time() {
        let own = one();
        let rest = Duration::from_secs(5);
        take(&own, 1, &ANY, false).unwrap().failed(1, rest, (0, SICK));
        assert_eq!(own.1.fit(1, false), Fit::Resting(rest));
        assert_eq!(own.1.fit(1, true), Fit::Well, "there is no other one");
        assert_eq!(own.1.fit(5001, false), Fit::OnTrial);
        let trial = take(&own, 5001, &ANY, true).unwrap();
        assert!(take(&own, 5001, &ANY, true).is_none());
        assert_eq!(own.1.fit(5002, false), Fit::Resting(Duration::from_millis(4999)));
        drop(trial);
        assert_eq!(own.1.fit(5002, false), Fit::OnTrial, "that one left");
        let mut trial = take(&own, 5002, &ANY, true).unwrap();
        assert_eq!(own.1.fit(10_002, false), Fit::OnTrial, "that one hangs");
        trial.succeeded(5003);
        assert_eq!(own.1.fit(5003, false), Fit::Well);
    }

    #[test]
    fn an_only_one_is_tried_after_many_failures_in_a_row() {
        let own = one();
        for _ in 0..FAILURES_OF_AN_ONLY_ONE {
            assert_eq!(own.1.fit(1, true), Fit::Well);
            take(&own, 1, &ANY, false)
                .unwrap()
                .failed(1, Duration::from_secs(5), (0, SICK));
        }
        assert_eq!(own.1.fit(1, true), Fit::OnTrial);
        let mut trial = take(&own, 1, &ANY, true).unwrap();
        assert!(matches!(own.1.fit(1, true), Fit::Resting(_)));
        trial.failed(2, Duration::from_secs(5), (0, SICK));
        assert_eq!(own.1.fit(2, true), Fit::OnTrial, "one after the other may");
    }

    #[test]
    fn failures_may_be_allowed_and_the_fast_are_known() {
        let own = one();
        let rest = Duration::from_secs(5);
        for _ in 0..2 {
            take(&own, 1, &ANY, false).unwrap().failed(1, rest, (2, SICK));
            assert_eq!(own.1.fit(1, false), Fit::Well);
        }
        take(&own, 1, &ANY, false).unwrap().failed(1, rest, (2, SICK));
        assert_eq!(own.1.fit(1, false), Fit::Resting(rest));
        let other = one();
        assert_eq!(other.1.latency(1), None);
        take(&other, 1, &ANY, false).unwrap().succeeded(11);
        assert_eq!(other.1.latency(11), Some(10_000));
        take(&other, 11, &ANY, false).unwrap().succeeded(11);
        assert_eq!(other.1.latency(11), Some(8_000));
        assert_eq!(other.1.latency(11 + MEASURED), None, "that is long ago");
    }

    const A: ReplicaId = ReplicaId([1; 16]);
    const B: ReplicaId = ReplicaId([2; 16]);

    fn down(rest: u64) -> Told {
        Told {
            is_well: false,
            failed: 1,
            in_a_row: 1,
            rest,
        }
    }

    #[test]
    fn demand_36_what_others_tell_counts_as_if_it_was_seen_here() {
        let own = one();
        own.1.hear(1, A, down(5_000));
        assert_eq!(own.1.fit(1, false), Fit::Resting(Duration::from_secs(5)));
        assert!(
            !own.1.yields(5_001),
            "somebody else found it, and this one may try it first"
        );
        own.1.hear(2, A, Told::WELL);
        assert_eq!(own.1.fit(2, false), Fit::Well);
        // An only one rests after failures of all together.
        for _ in 1..FAILURES_OF_AN_ONLY_ONE {
            own.1.hear(3, A, down(5_000));
            assert_eq!(own.1.fit(3, true), Fit::Well);
        }
        let said = take(&own, 3, &ANY, false)
            .unwrap()
            .failed(3, Duration::from_secs(5), (0, SICK));
        assert_eq!(said, down(5_000));
        assert_eq!(own.1.fit(3, true), Fit::OnTrial);
        assert!(
            own.1.yields(5_003) && !own.1.yields(6_003),
            "found here: others go first, for a second"
        );
    }

    #[test]
    fn demand_36_failures_that_are_allowed_are_those_of_all_replicas() {
        let own = one();
        let allowed = (2, SICK);
        let rest = Duration::from_secs(5);
        let fail =
            |own: &(Arc<Load>, Arc<Health>)| take(own, 1, &ANY, false).unwrap().failed(1, rest, allowed).rest;
        assert_eq!(fail(&own), 0);
        own.1.hear(1, A, down(0));
        assert_eq!(own.1.fit(1, false), Fit::Well);
        assert_eq!(fail(&own), 5_000, "the third of the minute");
    }

    #[test]
    fn demand_36_one_that_fails_for_one_replica_alone_is_asked_by_the_others() {
        let own = one();
        own.1.hear(1, A, down(5_000));
        // It is tried here and answers: what ails the other one is its own.
        let mut trial = take(&own, 5_001, &ANY, true).unwrap();
        assert_eq!(trial.succeeded(5_002), Some(Told::WELL));
        own.1.hear(5_003, A, down(5_000));
        assert_eq!(own.1.fit(5_003, false), Fit::Well);
        // Whoever else says it is believed.
        own.1.hear(5_004, B, down(5_000));
        assert!(matches!(own.1.fit(5_004, false), Fit::Resting(_)));
        own.1.hear(5_005, A, Told::WELL);
        // Who is doubted goes on failing, and goes on being doubted.
        own.1.hear(60_000, A, down(5_000));
        own.1.hear(110_000, A, down(5_000));
        assert_eq!(own.1.fit(110_000, false), Fit::Well);
        // A minute later it may be the first to see that it is down.
        own.1.hear(110_000 + DOUBT, A, down(5_000));
        assert!(matches!(own.1.fit(110_000 + DOUBT, false), Fit::Resting(_)));
        // A third one that hears of it does the same as one that tried it.
        let third = one();
        third.1.hear(1, A, down(5_000));
        third.1.hear(5_002, B, Told::WELL);
        third.1.hear(5_003, A, down(5_000));
        assert_eq!(third.1.fit(5_003, false), Fit::Well);
    }
}
