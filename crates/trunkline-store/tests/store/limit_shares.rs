//! Shares of limits: all replicas together never get more than there is, whoever asks at the same time, and what a replica held that
//! is gone comes back.

use std::time::Duration;

use futures_util::future::join_all;
use trunkline_model::ReplicaId;
use trunkline_store::{LimitAsk, MinuteAsk, MinuteShare, PlaceAsk, ReplicaRow, Store};

use crate::fixture::{Db, at, both, on_postgres};

const ONE: ReplicaId = ReplicaId([1; 16]);
const TWO: ReplicaId = ReplicaId([2; 16]);
/// Anybody may be called anything.
const WHO: &str = r#"["team","a \"b\" ü \u0000"]"#;

fn of(max: u64) -> MinuteAsk {
    MinuteAsk {
        counted: WHO.to_owned(),
        max,
        ..MinuteAsk::default()
    }
}

async fn minute(store: &Store, ask: MinuteAsk) -> MinuteShare {
    let ask = LimitAsk {
        minutes: vec![ask],
        replicas: 2,
        ..LimitAsk::default()
    };
    store.limit_ask(ONE, &ask).await.unwrap().minutes.remove(0)
}

async fn places(store: &Store, replica: ReplicaId, number: i64, hold: u32) -> u32 {
    let own = PlaceAsk {
        counted: WHO.to_owned(),
        max: 5,
        hold,
    };
    let ask = LimitAsk {
        places: vec![own],
        replicas: 2,
        number,
        ..LimitAsk::default()
    };
    store.limit_ask(replica, &ask).await.unwrap().places[0].places
}

async fn beat(store: &Store, id: ReplicaId) {
    let row = ReplicaRow {
        id,
        address: None,
        proof: None,
        started_at: at(0),
        age: Duration::ZERO,
    };
    store.replica_beat(&row).await.unwrap();
}

both! {
    async fn with_one_process_nothing_is_shared(db) {
        let store = db.store().await;
        assert_eq!(store.is_shared(), !db.is_sqlite());
        let ask = LimitAsk { minutes: vec![MinuteAsk { need: 1, ..of(1) }], ..LimitAsk::default() };
        assert_eq!(store.limit_ask(ONE, &ask).await.unwrap().minutes.is_empty(), db.is_sqlite());
        store.limit_prune().await.unwrap();
        store.limit_leave(ONE).await.unwrap();
        assert_eq!(store.limit_ask(ONE, &LimitAsk::default()).await.unwrap(), trunkline_store::LimitShares::default());
    }
}

#[test]
fn all_replicas_together_get_what_there_is_in_a_minute() {
    on_postgres(|db| Box::pin(async move { together(&db).await }));
}

async fn together(db: &Db) {
    let stores = [db.store().await, db.connect().await, db.connect().await];
    let all = (0..60).map(|number| minute(&stores[number % 3], MinuteAsk { need: 1, ..of(50) }));
    let shares = join_all(all).await;
    assert_eq!(shares.iter().map(|share| share.got).sum::<u64>(), 50);
    assert!(
        shares
            .iter()
            .all(|share| share.began_at == shares[0].began_at && share.ends_in <= Duration::from_mins(1)),
        "one minute: {shares:?}"
    );
    let store = &stores[0];
    assert_eq!(
        minute(store, MinuteAsk { need: 9, ..of(0) }).await.got,
        0,
        "the limit was lowered"
    );
    // What is given back is another's; of another minute, nobody's.
    let back_of = shares[0].began_at;
    for (back_of, got) in [(back_of - 1, 0), (back_of, 3)] {
        let back = MinuteAsk {
            back: 3,
            back_of,
            ..of(50)
        };
        minute(store, back).await;
        assert_eq!(minute(store, MinuteAsk { need: 4, ..of(50) }).await.got, got);
    }
    // What was let through without a share is counted.
    let spent = minute(
        store,
        MinuteAsk {
            spent: 7,
            need: 9,
            ..of(60)
        },
    )
    .await;
    assert_eq!((spent.got, spent.remaining), (3, 0));
}

#[test]
fn what_is_taken_in_advance_is_a_part_of_what_is_left() {
    on_postgres(|db| Box::pin(async move { in_advance(&db).await }));
}

async fn in_advance(db: &Db) {
    let store = db.store().await;
    let more = |need, want| MinuteAsk { need, want, ..of(40) };
    let first = minute(&store, more(1, 100)).await;
    assert_eq!((first.got, first.remaining), (10, 30));
    assert_eq!(minute(&store, more(0, 100)).await.got, 7);
    assert_eq!(
        minute(&store, more(20, 100)).await.got,
        20,
        "whoever waits gets it"
    );
    assert_eq!(minute(&store, more(0, 100)).await.got, 0, "three are left");
    // A share of the minute after it, which begins where this one ends.
    let ahead = minute(
        &store,
        MinuteAsk {
            following: 15,
            ..of(40)
        },
    )
    .await;
    assert_eq!((ahead.got, ahead.got_ahead), (0, 10));
    db.by_hand("UPDATE limit_minute SET began_at = began_at - 60000000")
        .await;
    let next = minute(&store, more(40, 0)).await;
    // The row went back by a minute, and the clock by nothing.
    assert_eq!((next.got, next.began_at), (30, first.began_at));
    db.by_hand("UPDATE limit_minute SET began_at = began_at - 60000000")
        .await;
    let new = minute(&store, more(40, 0)).await;
    assert!(new.got == 40 && new.began_at > first.began_at, "{new:?}");
    // A clock that was set back by an hour stops nobody for an hour.
    db.by_hand("UPDATE limit_minute SET began_at = began_at + 3600000000")
        .await;
    assert_eq!(minute(&store, more(1, 0)).await.got, 1);
    db.by_hand("UPDATE limit_minute SET began_at = began_at - 360000000")
        .await;
    store.limit_prune().await.unwrap();
    assert!(db.ask("SELECT counted FROM limit_minute").await.is_empty());
}

#[test]
fn places_are_those_of_replicas_that_are_heard_of() {
    on_postgres(|db| Box::pin(async move { heard_of(&db).await }));
}

async fn heard_of(db: &Db) {
    let store = db.store().await;
    beat(&store, ONE).await;
    beat(&store, TWO).await;
    assert_eq!(places(&store, ONE, 1, 3).await, 3);
    assert_eq!(places(&store, TWO, 1, 3).await, 2);
    assert_eq!(
        places(&store, ONE, 2, 4).await,
        3,
        "it has three, and there is none left"
    );
    assert_eq!(places(&store, ONE, 4, 1).await, 1);
    assert_eq!(places(&store, TWO, 2, 9).await, 4);
    // It was sent before, and arrives now.
    places(&store, TWO, 1, 0).await;
    assert_eq!(
        places(&store, ONE, 5, 5).await,
        1,
        "the other one has its four still"
    );
    db.by_hand("UPDATE replica SET seen_at = seen_at - 16000000")
        .await;
    beat(&store, ONE).await;
    assert_eq!(
        places(&store, ONE, 6, 5).await,
        5,
        "the other one is not heard of"
    );
    beat(&store, TWO).await;
    assert_eq!(places(&store, TWO, 3, 4).await, 0, "and comes too late");
    store.limit_leave(ONE).await.unwrap();
    assert_eq!(places(&store, TWO, 4, 4).await, 4);
    let left = "SELECT replica FROM limit_place ORDER BY replica";
    store.limit_prune().await.unwrap();
    assert_eq!(db.ask(left).await, [TWO.to_hex()]);
    store.replica_remove(TWO).await.unwrap();
    store.limit_prune().await.unwrap();
    assert!(db.ask(left).await.is_empty());
}

#[test]
fn two_who_ask_for_several_do_not_wait_for_each_other() {
    on_postgres(|db| Box::pin(async move { several(&db).await }));
}

async fn several(db: &Db) {
    let stores = [db.store().await, db.connect().await];
    let ask = |reverse: bool| {
        let mut minutes: Vec<MinuteAsk> = (0..20)
            .map(|number| MinuteAsk {
                counted: format!("[{number}]"),
                need: 1,
                ..of(1000)
            })
            .collect();
        if reverse {
            minutes.reverse();
        }
        LimitAsk {
            minutes,
            replicas: 2,
            ..LimitAsk::default()
        }
    };
    let asks = [ask(false), ask(true)];
    let all = (0..40).map(|number| stores[number % 2].limit_ask(ONE, &asks[number % 2]));
    for shares in join_all(all).await {
        let shares = shares.unwrap();
        assert!(
            shares.minutes.len() == 20 && shares.minutes.iter().all(|share| share.got == 1),
            "{shares:?}"
        );
    }
    let granted = "SELECT DISTINCT CAST(granted AS TEXT) FROM limit_minute";
    assert_eq!(db.ask(granted).await, ["40"]);
}
