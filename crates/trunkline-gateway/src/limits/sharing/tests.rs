//! Three replicas, each with its loop and its calls, and a database that is slow, busy and does what it was told to after it was given up:
//! whatever comes first, no more is let through than the limits say. Time is the test's own, so that each run is what its seed says.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use proptest::prelude::*;
use tokio::task::JoinSet;
use trunkline_model::{CallLimits, Principal};
use trunkline_store::{MinuteShare, PlaceShare};

use super::super::tests::{key, server};
use super::*;

const REPLICAS: usize = 3;
const WINDOW_MICROS: i64 = 60_000_000;
/// After so long without a word a replica has no places.
const PLACES_LAST: Duration = Duration::from_secs(15);

/// Of one who is counted: when the minute began, what was taken of it, and of the one after it.
type Taken = (i64, u64, u64);

/// The database, and what was let through.
struct World {
    began: Instant,
    chance: u64,
    minutes: HashMap<String, Taken>,
    /// Places by whom and replica, and the number of the request that wrote them.
    places: HashMap<(String, usize), (u32, i64)>,
    seen_at: [Option<Instant>; REPLICAS],
    running: u32,
    most_running: u32,
    /// Calls by minutes.
    calls: HashMap<i64, u32>,
    /// How often it was asked.
    asks: u32,
}

impl World {
    fn micros(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_micros()).unwrap()
    }

    /// The minute that is under way by what is stored.
    fn minute(&self, counted: &str) -> Taken {
        let now = self.micros();
        match self.minutes.get(counted) {
            Some(own) if now < own.0 + WINDOW_MICROS => *own,
            Some((began, _, following)) if *following > 0 && now < began + 2 * WINDOW_MICROS => {
                (began + WINDOW_MICROS, *following, 0)
            }
            _ => (now, 0, 0),
        }
    }

    /// What the store's statement about minutes does.
    fn minute_of(&mut self, ask: &MinuteAsk, replicas: u64) -> MinuteShare {
        let (began, used, ahead) = self.minute(&ask.counted);
        let back = if ask.back_of == began { ask.back } else { 0 };
        let taken = (used + ask.spent).saturating_sub(back);
        let left = ask.max.saturating_sub(taken);
        let got = ask.need.max(ask.want.min(left / (2 * replicas))).min(left);
        let promised = ask.following.min(ask.max / (2 * replicas));
        let got_ahead = promised.min(ask.max.saturating_sub(ahead));
        self.minutes
            .insert(ask.counted.clone(), (began, taken + got, ahead + got_ahead));
        let ends_in = began + WINDOW_MICROS - self.micros();
        MinuteShare {
            counted: ask.counted.clone(),
            began_at: began,
            ends_in: Duration::from_micros(u64::try_from(ends_in).unwrap()),
            got,
            got_ahead,
            remaining: left - got,
        }
    }

    /// What the one about places does.
    fn places_of(&mut self, replica: usize, ask: &PlaceAsk, number: i64) -> PlaceShare {
        let is_heard_of =
            |own: usize| self.seen_at[own].is_some_and(|at: Instant| at.elapsed() < PLACES_LAST);
        let others: u32 = (0..REPLICAS)
            .filter(|own| *own != replica && is_heard_of(*own))
            .filter_map(|own| self.places.get(&(ask.counted.clone(), own)))
            .map(|(places, _)| places)
            .sum();
        let places = ask.hold.min(ask.max.saturating_sub(others));
        let own = self
            .places
            .entry((ask.counted.clone(), replica))
            .or_insert((0, 0));
        if own.1 < number {
            *own = (places, number);
        }
        PlaceShare {
            counted: ask.counted.clone(),
            places,
        }
    }

    /// Below a number; the same numbers for the same seed.
    fn below(&mut self, end: u64) -> u64 {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % end
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most + 1))
    }
}

#[derive(Clone)]
struct Replica {
    world: Arc<Mutex<World>>,
    number: usize,
    /// Milliseconds that a statement takes at most, there and back.
    slow: u64,
    /// How often, of a hundred times, it is in somebody's way.
    busy: u64,
    heard_at: Arc<Mutex<Option<Instant>>>,
}

impl Replica {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Says that it is alive.
    async fn beat(self) {
        loop {
            let sent_at = Instant::now();
            let time = self.world().millis(self.slow);
            tokio::time::sleep(time).await;
            self.world().seen_at[self.number] = Some(Instant::now());
            *self.heard_at.lock().unwrap() = Some(sent_at);
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
}

impl Shares for Replica {
    async fn ask(&self, ask: &LimitAsk) -> Result<LimitShares, Unanswered> {
        let (there, back, is_busy) = {
            let mut world = self.world();
            world.asks += 1;
            let is_busy = world.below(100) < self.busy;
            (world.millis(self.slow), world.millis(self.slow), is_busy)
        };
        let (own, ask) = (self.clone(), ask.clone());
        // It is done, whoever still waits for it.
        let done = tokio::spawn(async move {
            tokio::time::sleep(there).await;
            let mut world = own.world();
            let replicas = ask.replicas.max(1);
            let minutes = ask
                .minutes
                .iter()
                .map(|ask| world.minute_of(ask, replicas.into()));
            let minutes = minutes.collect();
            let places = ask
                .places
                .iter()
                .map(|one| world.places_of(own.number, one, ask.number));
            LimitShares {
                places: places.collect(),
                minutes,
            }
        });
        if is_busy {
            tokio::time::sleep(there).await;
            return Err(Unanswered::Busy);
        }
        let shares = done.await.unwrap();
        tokio::time::sleep(back).await;
        Ok(shares)
    }

    fn standing(&self) -> Standing {
        Standing {
            replicas: u32::try_from(REPLICAS).unwrap(),
            rank: u32::try_from(self.number).unwrap(),
            heard_at: *self.heard_at.lock().unwrap(),
        }
    }
}

/// How a run goes.
#[derive(Clone, Debug)]
struct Run {
    seed: u64,
    rpm: u32,
    parallel: u32,
    slow: u64,
    busy: u64,
    /// Calls of each replica, and milliseconds between two of them and that each takes, at most.
    calls: u32,
    pause: u64,
    length: u64,
}

fn run() -> impl Strategy<Value = Run> {
    (
        any::<u64>(),
        1..40_u32,
        1..8_u32,
        prop_oneof![0..5_u64, 5..300_u64, 300..990_u64],
        prop_oneof![Just(0), 1..30_u64],
        (10..80_u32, 1..3_000_u64, 1..5_000_u64),
    )
        .prop_map(|(seed, rpm, parallel, slow, busy, (calls, pause, length))| Run {
            seed,
            rpm,
            parallel,
            slow,
            busy,
            calls,
            pause,
            length,
        })
}

/// One after the other, whether or not the one before is over.
async fn call_on(limits: Arc<Limits>, replica: Replica, principal: Principal, run: Run) {
    let mut running = JoinSet::new();
    for _ in 0..run.calls {
        let pause = replica.world().millis(run.pause);
        // Some come at once.
        if !pause.as_millis().is_multiple_of(3) {
            tokio::time::sleep(pause).await;
        }
        let (limits, replica, principal) = (limits.clone(), replica.clone(), principal.clone());
        running.spawn(async move {
            let Ok(place) = limits.place(&principal).await else {
                return;
            };
            if limits.count(&principal, &server("a", None)).await.is_err() {
                return;
            }
            let time = {
                let mut world = replica.world();
                world.running += 1;
                world.most_running = world.most_running.max(world.running);
                let name = world.minutes.keys().next().cloned().unwrap();
                let (began, ..) = world.minute(&name);
                *world.calls.entry(began).or_default() += 1;
                world.millis(run.length)
            };
            tokio::time::sleep(time).await;
            replica.world().running -= 1;
            drop(place);
        });
    }
    while running.join_next().await.is_some() {}
}

/// What was let through, at the same time at most and in each minute, and how often the database was asked.
async fn simulate(run: Run) -> (u32, HashMap<i64, u32>, u32) {
    let world = Arc::new(Mutex::new(World {
        began: Instant::now(),
        chance: run.seed,
        minutes: HashMap::new(),
        places: HashMap::new(),
        seen_at: [None; REPLICAS],
        running: 0,
        most_running: 0,
        calls: HashMap::new(),
        asks: 0,
    }));
    let principal = key(
        1,
        CallLimits {
            rpm_limit: Some(run.rpm),
            max_parallel_requests: Some(run.parallel),
            ..CallLimits::default()
        },
    );
    let (mut beside, mut callers) = (JoinSet::new(), JoinSet::new());
    for number in 0..REPLICAS {
        let replica = Replica {
            world: world.clone(),
            number,
            slow: run.slow,
            busy: run.busy,
            // It said so before it served anybody.
            heard_at: Arc::new(Mutex::new(Some(Instant::now()))),
        };
        world.lock().unwrap().seen_at[number] = Some(Instant::now());
        beside.spawn(replica.clone().beat());
        let limits = Arc::new(Limits {
            is_shared: true,
            ..Limits::default()
        });
        limits.share();
        let (own, database) = (limits.clone(), replica.clone());
        beside.spawn(async move {
            let (mut keeping, mut ticks) = (Keeping::default(), ticks());
            loop {
                keeping.next(&own, &database, &mut ticks).await;
            }
        });
        callers.spawn(call_on(limits, replica, principal.clone(), run.clone()));
    }
    while callers.join_next().await.is_some() {}
    beside.shutdown().await;
    let world = world.lock().unwrap();
    (world.most_running, world.calls.clone(), world.asks)
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// As many as `PROPTEST_CASES` says, or as take a few seconds.
fn cases() -> ProptestConfig {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        ProptestConfig::default()
    } else {
        ProptestConfig::with_cases(60)
    }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn no_more_is_let_through_however_slow_and_busy_the_database_is(run in run()) {
        let (running, calls, _) = paused().block_on(simulate(run.clone()));
        prop_assert!(running <= run.parallel, "{running} at the same time");
        prop_assert!(calls.values().all(|calls| *calls <= run.rpm), "{calls:?}");
        // That somebody gets something the next one shows: of a few calls, a database that is slow may answer none in time.
    }
}

/// Where the trip to the database takes a while, nobody knows exactly when a minute ends: what was taken of the next one is not let through
/// in this one. It was once, and 32 of 31 calls with it.
#[test]
fn what_was_taken_of_the_next_minute_is_not_let_through_in_this_one() {
    let mut has_turned = false;
    // The first is the run that did; what a seed comes to changes with every wait of the code.
    for more in 0..20 {
        let run = Run {
            seed: 14_226_559_621_439_311_658 + more,
            rpm: 31,
            parallel: 4,
            slow: 238,
            busy: 0,
            calls: 59,
            pause: 2_800,
            length: 1_369,
        };
        let (_, calls, _) = paused().block_on(simulate(run));
        assert!(calls.values().all(|calls| *calls <= 31), "{more}: {calls:?}");
        has_turned |= calls.len() > 1;
    }
    assert!(has_turned, "no run reached another minute");
}

/// The whole limit is had, by whoever calls, where the database is as fast as one is.
#[test]
fn the_limits_are_reached_and_not_passed() {
    for seed in 0..20 {
        let run = Run {
            seed,
            rpm: 30,
            parallel: 4,
            slow: 3,
            busy: 0,
            calls: 80,
            pause: 500,
            length: 2_000,
        };
        let (running, calls, _) = paused().block_on(simulate(run));
        assert_eq!(running, 4, "{seed}");
        assert_eq!(calls.values().max(), Some(&30), "{seed}: {calls:?}");
    }
}

/// Who comes while the database is asked for others is asked for next. It was forgotten once, again and again until its time was over: the
/// database was asked a thousand times a second, for nothing.
#[test]
fn a_call_that_waits_does_not_ask_without_end() {
    for seed in 0..10 {
        let run = Run {
            seed: 5_702_191_115_109_368_706 + seed,
            rpm: 23,
            parallel: 2,
            slow: 1,
            busy: 0,
            calls: 71,
            pause: 2_580,
            length: 627,
        };
        let (_, calls, asks) = paused().block_on(simulate(run));
        // Of each call of each replica a few times, and once a second beside.
        assert!(asks < 3 * 71 * 5 + 3 * 200, "{seed}: {asks}: {calls:?}");
    }
}

#[test]
fn the_parts_of_all_replicas_are_the_whole() {
    for replicas in 1..6 {
        for max in 0..20 {
            let all = (0..replicas).map(|rank| Part { replicas, rank }.of(max));
            assert_eq!(all.sum::<u64>(), max, "{replicas} of {max}");
        }
    }
}
