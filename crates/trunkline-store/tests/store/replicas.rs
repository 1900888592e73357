//! The gateways that share a database.

use std::time::Duration;

use trunkline_model::ReplicaId;
use trunkline_store::ReplicaRow;

use crate::fixture::{at, both};

fn replica(number: u8, address: Option<&str>) -> ReplicaRow {
    ReplicaRow {
        id: ReplicaId([number; 16]),
        address: address.map(str::to_owned),
        proof: address.map(|_| "proof".to_owned()),
        started_at: at(i64::from(number)),
        age: Duration::ZERO,
    }
}

both! {
    async fn replicas_are_listed_while_they_are_heard_of(db) {
        let store = db.store().await;
        let (one, two) = (replica(1, Some("10.0.0.1:4000")), replica(2, None));
        // A clock that is wrong by decades changes nothing: ages are by the database's.
        db.clock.set(4_000_000_000);
        store.replica_beat(&one).await.unwrap();
        store.replica_beat(&two).await.unwrap();
        db.by_hand("INSERT INTO replica (id) VALUES ('not one of ours')").await;
        let listed = store.replica_list().await.unwrap();
        assert!(listed.iter().all(|row| row.age < Duration::from_mins(1)), "{listed:?}");
        // SQLite's clock has milliseconds: both may have been heard of in the same one, so the order is looked at below.
        let mut known: Vec<_> = listed.into_iter().map(|row| ReplicaRow { age: Duration::ZERO, ..row }).collect();
        known.sort_by_key(|row| row.id.0);
        assert_eq!(known, [one.clone(), two.clone()]);

        db.by_hand("UPDATE replica SET seen_at = seen_at - 20000000").await;
        let moved = ReplicaRow { address: Some("10.0.0.9:4000".to_owned()), ..two.clone() };
        store.replica_beat(&moved).await.unwrap();
        let listed = store.replica_list().await.unwrap();
        assert_eq!((listed[0].id, &listed[0].address), (two.id, &moved.address));
        assert!(listed[1].id == one.id && listed[1].age >= Duration::from_secs(20), "{listed:?}");
        assert_eq!(store.replica_prune(Duration::from_secs(15)).await.unwrap(), 2);
        store.replica_remove(one.id).await.unwrap();
        assert_eq!(store.replica_list().await.unwrap().len(), 1);
        store.replica_remove(two.id).await.unwrap();
        assert!(store.replica_list().await.unwrap().is_empty());
    }
}
