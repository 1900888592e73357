//! Several processes and a database that is a few lines here: whatever is asked, lost and late, no more run at the same time than the
//! limit says.

use proptest::prelude::*;
use trunkline_model::{Level, ServerId};

use super::super::exceeded::{Limit, Source};
use super::*;

/// The database: what the store's statement does, of replicas that are all heard of.
#[derive(Default)]
struct Database {
    /// Places, and the number of the request that wrote them.
    rows: [(u32, i64); 3],
}

impl Database {
    fn ask(&mut self, replica: usize, ask: &PlaceAsk, number: i64) -> u32 {
        let rows = self.rows.iter().enumerate();
        let others: u32 = rows
            .filter(|(own, _)| *own != replica)
            .map(|(_, row)| row.0)
            .sum();
        let places = ask.hold.min(ask.max.saturating_sub(others));
        if self.rows[replica].1 < number {
            self.rows[replica] = (places, number);
        }
        places
    }
}

fn counted() -> Counted {
    Counted::Server(ServerId::new("s"))
}

fn due(max: u32) -> Vec<Due> {
    vec![Due {
        counted: counted(),
        limit: Limit::Parallel(Level::Key, Source::Own),
        max: max.into(),
        amount: 1,
        spent_in: None,
        waits_since: None,
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
    replicas: Vec<Places>,
    running: [u32; 3],
    /// Requests that have not arrived yet: of whom, what, which.
    under_way: Vec<(usize, PlaceAsk, i64)>,
    number: i64,
    now: Instant,
    max: u32,
}

impl World {
    fn new(max: u32) -> Self {
        let replica = |rank| Places {
            counting: Counting::Shared(part(rank)),
            ..Places::default()
        };
        Self {
            database: Database::default(),
            replicas: (0..3).map(replica).collect(),
            running: [0; 3],
            under_way: Vec::new(),
            number: 0,
            now: Instant::now(),
            max,
        }
    }

    /// Whether it has a place; `None` if it has to wait.
    fn take(&mut self, replica: usize) -> Option<bool> {
        match self.replicas[replica].attempt(&mut due(self.max), self.now, false) {
            Attempt::Done(..) => {
                self.running[replica] += 1;
                Some(true)
            }
            Attempt::Full(_) => Some(false),
            Attempt::Wait(_) => None,
        }
    }

    fn release(&mut self, replica: usize) {
        if self.running[replica] > 0 {
            self.running[replica] -= 1;
            self.replicas[replica].release(&[counted()]);
        }
    }

    /// One request. `fate`: it is lost (1), its answer is (2), it arrives later (3).
    fn exchange(&mut self, replica: usize, fate: u8) {
        self.number += 1;
        let number = self.number;
        let now = self.now;
        for own in self.replicas[replica].collect(8, (part(replica), false), now) {
            if fate == 3 {
                self.under_way.push((replica, own.1.clone(), number));
            }
            let places = (fate != 1 && fate != 3).then(|| self.database.ask(replica, &own.1, number));
            match places.filter(|_| fate != 2) {
                Some(places) => self.replicas[replica].answered(&own, places, now),
                None => self.replicas[replica].failed(&own),
            }
        }
    }

    fn arrive(&mut self) {
        if let Some((replica, ask, number)) = self.under_way.pop() {
            self.database.ask(replica, &ask, number);
        }
    }

    fn look(&mut self, replica: usize) {
        let now = self.now;
        self.replicas[replica].look(3, now);
    }

    fn done(&mut self, replica: usize) -> bool {
        for _ in 0..5 {
            match self.take(replica) {
                Some(done) => return done,
                None => self.exchange(replica, 0),
            }
        }
        false
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    Done(usize),
    Release(usize),
    Look(usize),
    Exchange(usize, u8),
    Arrive,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let any = || 0..3_usize;
    prop_oneof![
        3 => any().prop_map(Step::Take),
        3 => any().prop_map(Step::Done),
        4 => any().prop_map(Step::Release),
        2 => any().prop_map(Step::Look),
        4 => (any(), 0..6_u8).prop_map(|(replica, fate)| Step::Exchange(replica, fate)),
        1 => Just(Step::Arrive),
        2 => prop_oneof![0..500_u64, 900..3_000_u64, 60_000..70_000_u64].prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn no_more_run_than_the_limit(
        max in prop_oneof![0..6_u32, 6..60_u32],
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(max);
        for step in steps {
            match step {
                Step::Take(replica) => {
                    world.take(replica);
                }
                Step::Done(replica) => {
                    world.done(replica);
                }
                Step::Release(replica) => world.release(replica),
                Step::Look(replica) => world.look(replica),
                Step::Exchange(replica, fate) => world.exchange(replica, fate),
                Step::Arrive => world.arrive(),
                Step::Pass(millis) => world.now += Duration::from_millis(millis),
            }
            prop_assert!(world.running.iter().sum::<u32>() <= max, "{:?}", world.running);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_replica_can_have_all_places_a_second_after_the_others_needed_them() {
    let mut world = World::new(3);
    for replica in 0..3 {
        assert!(world.done(replica));
    }
    assert!(!world.done(0));
    (1..3).for_each(|replica| world.release(replica));
    world.now += Duration::from_millis(1_500);
    for replica in 1..3 {
        world.look(replica);
        world.exchange(replica, 0);
    }
    assert!(world.done(0) && world.done(0) && !world.done(0));
    for _ in 0..3 {
        world.release(0);
    }
    world.now += Duration::from_mins(2);
    for _ in 0..2 {
        world.look(0);
        world.exchange(0, 0);
    }
    world.look(0);
    assert_eq!((world.database.rows[0].0, world.replicas[0].len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn of_a_large_limit_a_part_is_kept_and_nobody_is_asked() {
    let mut world = World::new(120);
    assert!(world.done(0));
    for _ in 0..5 {
        world.release(0);
        world.now += Duration::from_secs(5);
        world.look(0);
        world.exchange(0, 0);
        assert_eq!(world.take(0), Some(true));
    }
    assert_eq!(world.database.rows[0].0, 10);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_slept_has_no_places() {
    let mut world = World::new(6);
    assert!(world.done(0) && world.done(0));
    let until = world.now + Duration::from_secs(13);
    world.replicas[0].held_until = Some(until);
    world.now = until;
    // Its part is two, and two run; others may have all six.
    assert_eq!(world.take(0), Some(false));
    world.release(0);
    assert_eq!(world.take(0), Some(false));
    // Without the database it has its part, as all have.
    world.replicas[0].counting = Counting::Apart(part(0));
    assert_eq!(world.take(0), Some(true));
    // Heard of again, it says what runs, and has no more than its part before the others have.
    world.replicas[0].counting = Counting::Settling(part(0));
    world.look(0);
    world.exchange(0, 0);
    assert_eq!(
        (world.database.rows[0].0, world.replicas[0].by[&counted()].leased),
        (2, 2)
    );
    assert!(!world.done(0));
    world.replicas[0].counting = Counting::Shared(part(0));
    assert!(world.done(0));
}
