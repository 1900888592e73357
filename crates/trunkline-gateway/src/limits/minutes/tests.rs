//! Several processes and a database that is a few lines here: whatever is asked, lost and late, no minute has more calls than the limit.

use proptest::prelude::*;
use trunkline_model::{Level, ServerId};

use super::super::exceeded::{Limit, Source};
use super::super::sharing::Part;
use super::*;

/// The database: what the store's statement does.
#[derive(Default)]
struct Database {
    row: Option<(i64, u64, u64)>,
}

impl Database {
    /// The minute that is under way: when it began, what was taken of it, and of the one after it.
    fn minute(&self, now: i64) -> (i64, u64, u64) {
        match self.row {
            Some(row) if now < row.0 + WINDOW_MICROS => row,
            Some((began, _, following)) if following > 0 && now < began + 2 * WINDOW_MICROS => {
                (began + WINDOW_MICROS, following, 0)
            }
            _ => (now, 0, 0),
        }
    }

    fn ask(&mut self, now: i64, ask: &MinuteAsk, replicas: u64) -> MinuteShare {
        let (began, used, ahead) = self.minute(now);
        let back = if ask.back_of == began { ask.back } else { 0 };
        let taken = (used + ask.spent).saturating_sub(back);
        let left = ask.max.saturating_sub(taken);
        let got = ask.need.max(ask.want.min(left / (2 * replicas))).min(left);
        let got_ahead = ask
            .following
            .min(ask.max / (2 * replicas))
            .min(ask.max.saturating_sub(ahead));
        self.row = Some((began, taken + got, ahead + got_ahead));
        MinuteShare {
            counted: ask.counted.clone(),
            began_at: began,
            ends_in: Duration::from_micros(u64::try_from(began + WINDOW_MICROS - now).unwrap()),
            got,
            got_ahead,
            remaining: left - got,
        }
    }
}

fn counted() -> Counted {
    Counted::Server(ServerId::new("s"))
}

fn due(max: u64) -> Vec<Due> {
    vec![Due {
        counted: counted(),
        limit: Limit::Rpm(Level::Key, Source::Own),
        max,
        amount: 1,
        spent_in: None,
        waits_since: None,
    }]
}

/// The same of tokens.
fn due_tokens(max: u64, amount: u64) -> Vec<Due> {
    vec![Due {
        limit: Limit::Tpm(Level::Key, Source::Own),
        amount: amount.clamp(1, max.max(1)),
        ..due(max).remove(0)
    }]
}

fn part(rank: usize) -> Part {
    Part {
        replicas: 3,
        rank: u32::try_from(rank).unwrap(),
    }
}

struct World {
    database: Database,
    replicas: Vec<Minutes>,
    began: Instant,
    now: Instant,
    max: u64,
    /// Calls, or tokens that were taken, by the database's minutes.
    calls: HashMap<i64, u64>,
    /// Of whom it is not known yet what they took: whose, since when, and what is held and comes back.
    open: Vec<(usize, Instant, (u64, u64))>,
}

impl World {
    fn new(max: u64) -> Self {
        let replica = |rank| Minutes {
            counting: Counting::Shared(part(rank)),
            ..Minutes::default()
        };
        let now = Instant::now();
        Self {
            database: Database::default(),
            replicas: (0..3).map(replica).collect(),
            began: now,
            now,
            max,
            calls: HashMap::new(),
            open: Vec::new(),
        }
    }

    fn micros(&self) -> i64 {
        i64::try_from((self.now - self.began).as_micros()).unwrap()
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Whether it was let through; `None` if it has to wait.
    fn call(&mut self, replica: usize) -> Option<bool> {
        self.attempt(replica, due(self.max), 1)
    }

    /// One that takes so many tokens in the end.
    fn attempt(&mut self, replica: usize, mut due: Vec<Due>, took: u64) -> Option<bool> {
        let minutes = &mut self.replicas[replica];
        match minutes.attempt(&mut due, None, self.now, (true, false)) {
            Attempt::Done((), _) => {
                let minute = &minutes.by[&counted()];
                let name = minute.name.expect("what is let through has a minute");
                let is_in_both = minute.is_over(self.now);
                let (began, ..) = self.database.minute(self.micros());
                assert!(
                    began == name || is_in_both && began == name + WINDOW_MICROS,
                    "within its minute"
                );
                *self.calls.entry(began).or_default() += took;
                if let Some(spent_in) = due[0].spent_in {
                    let held = due[0].amount;
                    self.open.push((replica, spent_in, (held, held - took)));
                }
                Some(true)
            }
            Attempt::Full(_) => Some(false),
            Attempt::Wait(_) => None,
        }
    }

    /// It is known what all of them took.
    fn settle(&mut self) {
        for (replica, spent_in, amounts) in self.open.drain(..) {
            self.replicas[replica].refund(&counted(), spent_in, amounts, self.now);
        }
    }

    /// One request and its answer. `lost`: the request (1), the answer (2).
    fn exchange(&mut self, replica: usize, millis: u64, lost: u8) {
        let asks = self.replicas[replica].collect(8, self.now);
        let sent_at = self.now;
        self.pass(millis);
        for own in &asks {
            let now = self.micros();
            let share = (lost != 1).then(|| self.database.ask(now, &own.1, 3));
            self.pass(millis);
            match share.filter(|_| lost != 2) {
                Some(share) => self.replicas[replica].answered(own, &share, sent_at, self.now),
                None => self.replicas[replica].failed(own),
            }
        }
    }

    /// A call that waits for what it needs.
    fn done(&mut self, replica: usize) -> bool {
        let max = self.max;
        self.done_with(replica, || (due(max), 1))
    }

    fn done_with(&mut self, replica: usize, of: impl Fn() -> (Vec<Due>, u64)) -> bool {
        for _ in 0..5 {
            let (due, took) = of();
            match self.attempt(replica, due, took) {
                Some(done) => return done,
                None => self.exchange(replica, 1, 0),
            }
        }
        false
    }
}

#[derive(Clone, Debug)]
enum Step {
    Call(usize),
    Burst(usize, u8),
    Look(usize),
    Exchange(usize, u64, u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Call),
        2 => (0..3_usize, 1..40_u8).prop_map(|(replica, calls)| Step::Burst(replica, calls)),
        2 => (0..3_usize).prop_map(Step::Look),
        4 => (0..3_usize, prop_oneof![0..50_u64, 50..900_u64], 0..6_u8)
            .prop_map(|(replica, millis, lost)| Step::Exchange(replica, millis, lost)),
        3 => prop_oneof![0..300_u64, 0..20_000_u64, 50_000..130_000_u64].prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn no_minute_has_more_calls_than_the_limit(
        max in prop_oneof![0..5_u64, 5..60_u64, Just(1_000)],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(max);
        for step in steps {
            match step {
                Step::Call(replica) => {
                    world.call(replica);
                }
                Step::Burst(replica, calls) => {
                    for _ in 0..calls {
                        world.done(replica);
                    }
                }
                Step::Look(replica) => {
                    let now = world.now;
                    world.replicas[replica].look(now);
                }
                Step::Exchange(replica, millis, lost) => world.exchange(replica, millis, lost),
                Step::Pass(millis) => world.pass(millis),
            }
            prop_assert!(world.calls.values().all(|calls| *calls <= max), "{:?}", world.calls);
        }
    }

    /// What requests take of what was held for them is no more than the limit, whenever it is known, and however many others were let
    /// through for what came back.
    #[test]
    fn no_minute_has_more_tokens_than_the_limit(
        max in prop_oneof![0..5_u64, 5..300_u64, Just(10_000)],
        steps in proptest::collection::vec((step(), 1..150_u64, 0..=100_u64), 1..120),
    ) {
        let mut world = World::new(max);
        for (step, amount, percent) in steps {
            let of = || {
                let due = due_tokens(max, amount);
                let took = due[0].amount * percent / 100;
                (due, took)
            };
            match step {
                Step::Call(replica) => {
                    let (due, took) = of();
                    world.attempt(replica, due, took);
                }
                Step::Burst(replica, calls) => {
                    for _ in 0..calls {
                        world.done_with(replica, of);
                    }
                }
                Step::Look(replica) => {
                    let now = world.now;
                    world.replicas[replica].look(now);
                    world.settle();
                }
                Step::Exchange(replica, millis, lost) => world.exchange(replica, millis, lost),
                Step::Pass(millis) => world.pass(millis),
            }
            prop_assert!(world.calls.values().all(|taken| *taken <= max), "{:?}", world.calls);
        }
    }

    /// One process that has all calls has the whole limit, however they come.
    #[test]
    fn one_replica_with_all_calls_gets_the_limit(max in 1..200_u64, pause in 0..200_u64) {
        let mut world = World::new(max);
        let began = world.now;
        let mut done = 0;
        while world.now - began < Duration::from_secs(50) {
            done += u64::from(world.done(0));
            world.exchange(0, 0, 0);
            world.pass(pause.max(50_000 / (max * 2)));
            if done == max {
                break;
            }
        }
        let room = 50_000 / pause.max(50_000 / (max * 2)).max(1);
        prop_assert!(done >= max.min(room.saturating_sub(2)), "{done} of {max} in {room}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_calls_on_at_the_end_of_a_minute_has_a_share_of_the_next() {
    let mut world = World::new(100);
    assert!(world.done(0));
    world.pass(57_000);
    assert!(world.done(0));
    let now = world.now;
    world.replicas[0].look(now);
    world.exchange(0, 1, 0);
    world.pass(3_500);
    assert_eq!(world.call(0), Some(true), "nobody is asked");
    assert_eq!(world.calls.len(), 2);
}

/// 55.9 s and one call into its minute, as the database has it, a replica that has more, and a share of the next one, by an answer that
/// took 1.8 s: it knows the end of the minute but for that.
fn at_the_end_of_a_minute() -> World {
    let mut world = World::new(100);
    for _ in 0..6 {
        assert!(world.done(0));
        world.exchange(0, 0, 0);
    }
    world.pass(55_500);
    assert_eq!(world.call(0), Some(true));
    let now = world.now;
    world.replicas[0].look(now);
    world.exchange(0, 900, 0);
    let minute = &world.replicas[0].by[&counted()];
    assert!(minute.ahead > 1 && minute.spare() > minute.ahead);
    assert_eq!(minute.opens - minute.ends, Duration::from_millis(1_800));
    world
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_be_in_either_of_two_minutes_is_counted_in_both() {
    // Just before it ends, and just after.
    for passed in [59_900, 60_100] {
        let mut world = at_the_end_of_a_minute();
        world.pass(passed - u64::try_from(world.micros() / 1_000).unwrap());
        let (spare, ahead) = {
            let minute = &world.replicas[0].by[&counted()];
            (minute.spare(), minute.ahead)
        };
        assert_eq!(world.call(0), Some(true), "nobody is asked");
        let minute = &world.replicas[0].by[&counted()];
        assert_eq!((minute.spare(), minute.ahead), (spare - 1, ahead - 1));
        for _ in 1..ahead {
            assert_eq!(world.call(0), Some(true));
        }
        assert_eq!(world.call(0), None, "nothing is left of the next one");
        assert!(world.done(0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_the_minute_before_leaves_this_one_as_it_is() {
    let mut world = at_the_end_of_a_minute();
    let ahead = world.replicas[0].by[&counted()].ahead;
    world.pass(59_950 - u64::try_from(world.micros() / 1_000).unwrap());
    // Asked for in the one before, and answered in this one, of which a call was let through in between.
    let own = (
        counted(),
        MinuteAsk {
            max: 100,
            want: 1,
            following: 2,
            ..MinuteAsk::default()
        },
    );
    let (sent_at, now) = (world.now, world.micros());
    let share = world.database.ask(now, &own.1, 3);
    world.pass(1_500);
    assert_eq!(world.call(0), Some(true));
    world.replicas[0].answered(&own, &share, sent_at, world.now);
    let minute = &world.replicas[0].by[&counted()];
    assert_eq!((minute.calls, minute.granted), (1, ahead + 2));
    assert_eq!(minute.name, Some(share.began_at + WINDOW_MICROS));
    assert_eq!(world.call(0), Some(true));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_is_given_back_but_for_one() {
    let mut world = World::new(100);
    for _ in 0..12 {
        assert!(world.done(0));
        world.exchange(0, 1, 0);
    }
    let spare = |world: &World| world.replicas[0].by[&counted()].spare();
    assert!(spare(&world) > 1, "{}", spare(&world));
    world.pass(3_000);
    let now = world.now;
    world.replicas[0].look(now);
    world.exchange(0, 1, 0);
    assert_eq!(spare(&world), 1);
    assert_eq!(world.database.row.unwrap().1, 13);
    assert_eq!((0..100).filter(|_| world.done(1)).count(), 87);
    // A lower limit is for the others what is left of it.
    world.max = 5;
    assert!(!world.done(0) && !world.done(1) && !world.done(2));
}

#[tokio::test(start_paused = true)]
async fn without_the_database_there_are_parts_and_what_they_let_through_is_paid() {
    let mut world = World::new(10);
    assert!(world.done(1));
    let spare = world.replicas[1].by[&counted()].spare();
    let apart = |world: &mut World, replica: usize| {
        world.replicas[replica].counting = Counting::Apart(part(replica));
        let mut due = due(10);
        let mut done = 0;
        while let Attempt::Done(..) =
            world.replicas[replica].attempt(&mut due, None, world.now, (true, false))
        {
            done += 1;
        }
        done
    };
    // Four, three and three; the second has used one of them.
    assert_eq!([0, 1, 2].map(|replica| apart(&mut world, replica)), [4, 2, 3]);
    world.pass(1_000);
    for replica in 0..3 {
        // Lost, and asked for again.
        world.exchange(replica, 1, 1);
        world.replicas[replica].counting = Counting::Shared(part(replica));
        world.exchange(replica, 1, 0);
    }
    assert_eq!(world.database.row.unwrap().1, 10, "with {spare} in advance");
    assert!(!world.done(0) && !world.done(1) && !world.done(2));
    // What somebody else used up is nobody's part.
    assert_eq!(apart(&mut world, 0), 0);
    world.pass(60_000);
    assert_eq!(apart(&mut world, 0), 4, "the next minute");
}

#[tokio::test(start_paused = true)]
async fn what_a_request_did_not_take_is_others() {
    let mut world = World::new(1_000);
    let large = || (due_tokens(1_000, 900), 100);
    assert!(world.done_with(0, large));
    assert!(!world.done_with(0, large) && !world.done_with(1, large));
    world.settle();
    // Here at once, and on other replicas when it was given back.
    assert!(world.done_with(0, large));
    world.settle();
    world.pass(3_000);
    let now = world.now;
    world.replicas[0].look(now);
    world.exchange(0, 1, 0);
    assert_eq!(
        world.database.row.unwrap().1,
        200,
        "what was taken, and nothing else"
    );
    assert!(world.done_with(1, || (due_tokens(1_000, 800), 800)));
    assert!(!world.done_with(2, || (due_tokens(1_000, 1), 1)));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_beyond_what_was_held_counts_in_the_minute_in_which_it_is_known() {
    let mut world = World::new(1_000);
    assert!(world.done_with(0, || (due_tokens(1_000, 100), 100)));
    let now = world.now;
    world.replicas[0].charge((&counted(), 1_000), 2_000, now);
    world.exchange(0, 1, 0);
    assert_eq!(world.database.row.unwrap().1, 2_100);
    let one = || (due_tokens(1_000, 1), 1);
    assert!(!world.done_with(0, one) && !world.done_with(1, one));
    world.pass(60_000);
    assert!(world.done_with(1, one), "and in no other");
    // What comes back of a minute that is over is nobody's.
    world.settle();
    let minute = &world.replicas[0].by[&counted()];
    assert_eq!((minute.calls, minute.held), (2_100, 100));
}
