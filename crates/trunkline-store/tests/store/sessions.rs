//! What is kept for sessions of clients: one row for each upstream session, taken out once; state; and news of both.

use std::sync::Arc;
use std::time::Duration;

use trunkline_model::{Secret, ServerId, SessionKey};
use trunkline_store::{Put, Registry, SessionNews, StateChange, UpstreamSession, UpstreamSessionKey};

use crate::fixture::{at, both};

fn key(session: u8, server: &str) -> UpstreamSessionKey {
    UpstreamSessionKey {
        session: SessionKey([session; 16]),
        server: ServerId::new(server),
        credential: [9; 16],
        declared: 3,
    }
}

fn opened(session: u8, server: &str, id: &str, used: i64) -> UpstreamSession {
    UpstreamSession {
        key: key(session, server),
        definition: "one".to_owned(),
        id: Secret::new(id),
        revision: "2025-11-25".to_owned(),
        opened_at: at(10),
        last_used_at: at(used),
    }
}

fn ids(rows: &[UpstreamSession]) -> Vec<&str> {
    let mut ids: Vec<_> = rows.iter().map(|row| row.id.expose()).collect();
    ids.sort_unstable();
    ids
}

both! {
    async fn b22_the_first_writer_has_it_and_the_others_read_it(db) {
        let (a, b) = (db.store().await, db.connect().await);
        let first = opened(1, "notes", "canary-first", 10);
        assert_eq!(a.session_upstream_put(&[(first.clone(), None)]).await.unwrap(), [Put::Written]);
        assert_eq!(a.session_upstream_put(&[(first.clone(), None)]).await.unwrap(), [Put::Written], "written again");
        let second = opened(1, "notes", "second", 20);
        let elsewhere = opened(1, "files", "elsewhere", 20);
        let puts = b.session_upstream_put(&[(second.clone(), None), (elsewhere.clone(), None)]).await.unwrap();
        assert_eq!(puts, [Put::Other(Box::new(first.clone())), Put::Written]);
        let mut rows = b.session_upstream_of(first.key.session).await.unwrap();
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        assert_eq!(rows, [elsewhere, first.clone()]);
        assert!(b.session_upstream_of(SessionKey([2; 16])).await.unwrap().is_empty());
        // What the upstream has forgotten gives way, once; so does what is of another definition.
        let put = b.session_upstream_put(&[(second.clone(), Some(first.id.clone()))]).await.unwrap();
        assert_eq!(put, [Put::Written]);
        let third = opened(1, "notes", "third", 30);
        let put = a.session_upstream_put(&[(third.clone(), Some(first.id.clone()))]).await.unwrap();
        assert_eq!(put, [Put::Other(Box::new(second))]);
        let edited = UpstreamSession { definition: "two".to_owned(), ..third };
        assert_eq!(a.session_upstream_put(&[(edited, None)]).await.unwrap(), [Put::Written]);
    }

    async fn s21_an_id_is_sealed_for_its_row_and_under_its_key(db) {
        let store = db.store().await;
        store.session_upstream_put(&[(opened(1, "notes", "canary-id", 10), None)]).await.unwrap();
        store.session_upstream_put(&[(opened(2, "notes", "other", 10), None)]).await.unwrap();
        let stored = db.ask("SELECT upstream_session || upstream_digest FROM session_upstream").await;
        assert!(!stored.concat().contains("canary"), "{stored:?}");
        // Copied to another session's row it does not open there.
        let (from, to) = (SessionKey([1; 16]).to_hex(), SessionKey([2; 16]).to_hex());
        db.by_hand(&format!(
            "UPDATE session_upstream SET upstream_session = (SELECT o.upstream_session FROM session_upstream o WHERE o.session_key = '{from}') \
             WHERE session_key = '{to}'"
        )).await;
        assert!(store.session_upstream_of(SessionKey([2; 16])).await.unwrap().is_empty());
        let stranger = db.connect_with("another salt").await;
        assert!(stranger.session_upstream_of(SessionKey([1; 16])).await.unwrap().is_empty());
        let put = stranger.session_upstream_put(&[(opened(1, "notes", "mine", 10), None)]).await.unwrap();
        assert_eq!(put, [Put::Refused]);
        assert_eq!(ids(&store.session_upstream_of(SessionKey([1; 16])).await.unwrap()), ["canary-id"]);
    }

    async fn b24_what_is_idle_is_taken_out_by_one_alone(db) {
        let (a, b) = (db.store().await, db.connect().await);
        let rows: Vec<_> = (0..200).map(|n| (opened(n, "notes", &format!("s{n:03}"), i64::from(n)), None)).collect();
        a.session_upstream_put(&rows).await.unwrap();
        b.session_upstream_used(&[key(0, "notes"), key(1, "notes")], at(1_000)).await.unwrap();
        b.session_upstream_used(&[key(0, "notes")], at(5)).await.unwrap();
        // 0 and 1 were used, 2 to 99 were not, and 100 and on are too young.
        let drain = async |store: trunkline_store::Store| {
            let mut all = Vec::new();
            loop {
                let some = store.session_upstream_claim_idle(at(99), 10).await.unwrap();
                assert!(some.len() <= 10);
                if some.is_empty() {
                    return all;
                }
                all.extend(some);
            }
        };
        let (mut of_a, of_b) = tokio::join!(drain(a.clone()), drain(b.clone()));
        of_a.extend(of_b);
        let wanted: Vec<String> = (2..100).map(|n| format!("s{n:03}")).collect();
        assert_eq!(ids(&of_a), wanted);
        // One alone, and not if it was used in the meantime.
        assert_eq!(a.session_upstream_claim(&key(0, "notes"), at(999)).await.unwrap(), None);
        let claimed = a.session_upstream_claim(&key(0, "notes"), at(1_000)).await.unwrap();
        assert_eq!(claimed.unwrap().id.expose(), "s000");
        // Those of one definition of one server.
        let other = UpstreamSession { definition: "two".to_owned(), ..opened(1, "other", "x", 1) };
        a.session_upstream_put(&[(other, None)]).await.unwrap();
        assert_eq!(a.session_upstream_claim_definition(&ServerId::new("other"), "one").await.unwrap(), []);
        let claimed = a.session_upstream_claim_definition(&ServerId::new("other"), "two").await.unwrap();
        assert_eq!(ids(&claimed), ["x"]);
        let claimed = a.session_upstream_claim_definition(&ServerId::new("notes"), "one").await.unwrap();
        assert_eq!(claimed.len(), 101);
    }

    async fn b23_the_end_of_a_session_takes_out_all_of_it(db) {
        let store = db.store().await;
        db.clock.set(100);
        let session = SessionKey([1; 16]);
        store.session_upstream_put(&[(opened(1, "a", "a1", 1), None), (opened(1, "b", "b1", 1), None), (opened(2, "a", "a2", 1), None)]).await.unwrap();
        store.session_state_change(session, &StateChange::LogLevel("info".to_owned()), at(300)).await.unwrap();
        assert_eq!(ids(&store.session_end(session, at(200)).await.unwrap()), ["a1", "b1"]);
        assert!(store.session_end(session, at(200)).await.unwrap().is_empty(), "once");
        // Nothing comes after it.
        store.session_state_change(session, &StateChange::LogLevel("info".to_owned()), at(300)).await.unwrap();
        let leave = StateChange::Leave { listener: "a".to_owned() };
        store.session_state_change(SessionKey([3; 16]), &leave, at(300)).await.unwrap();
        assert_eq!(store.session_upstream_put(&[(opened(1, "a", "a3", 1), None)]).await.unwrap(), [Put::Refused]);
        for (session, state) in [(session, None), (SessionKey([3; 16]), None)] {
            assert_eq!(store.session_state(session).await.unwrap(), state);
        }
        assert_eq!(ids(&store.session_upstream_of(SessionKey([2; 16])).await.unwrap()), ["a2"]);
    }

    async fn state_is_changed_by_several_at_once(db) {
        let (a, b) = (db.store().await, db.connect().await);
        db.clock.set(100);
        let session = SessionKey([1; 16]);
        let change = async |store: &trunkline_store::Store, change: StateChange| {
            store.session_state_change(session, &change, at(200)).await.unwrap();
        };
        let subscribe = |n: usize| StateChange::Subscribe(ServerId::new("docs"), format!("file:///{n}"));
        tokio::join!(
            async { for n in 0..10 { change(&a, subscribe(n)).await } },
            async { for n in 10..20 { change(&b, subscribe(n)).await } },
            async { change(&b, StateChange::LogLevel("debug".to_owned())).await },
        );
        change(&a, StateChange::Unsubscribe(ServerId::new("docs"), "file:///3".to_owned())).await;
        change(&a, StateChange::Unsubscribe(ServerId::new("other"), "file:///4".to_owned())).await;
        change(&a, subscribe(5)).await;
        let state = b.session_state(session).await.unwrap().unwrap();
        assert_eq!((state.log_level.as_deref(), state.subscriptions.len()), (Some("debug"), 19));
        // The stream is with the one that had it last.
        for listener in ["a", "b"] {
            change(&a, StateChange::Listen { listener: listener.to_owned(), until: at(150) }).await;
        }
        change(&a, StateChange::Renew { listener: "a".to_owned(), until: at(160) }).await;
        change(&a, StateChange::Leave { listener: "a".to_owned() }).await;
        let state = a.session_state(session).await.unwrap().unwrap();
        assert_eq!((state.listener.as_deref(), state.listened_until), (Some("b"), at(150)));
        change(&a, StateChange::Renew { listener: "b".to_owned(), until: at(170) }).await;
        assert_eq!(a.session_state(session).await.unwrap().unwrap().listened_until, at(170));
        change(&a, StateChange::Leave { listener: "b".to_owned() }).await;
        assert_eq!(a.session_state(session).await.unwrap().unwrap().listener, None);
        assert_eq!(a.session_state_prune().await.unwrap(), 0);
        db.clock.set(200);
        assert_eq!(a.session_state_prune().await.unwrap(), 1);
    }

    async fn news_of_sessions_are_heard(db) {
        let store = db.store().await;
        db.clock.set(1_000);
        let here = Registry::load(db.connect().await, vec![]).await.unwrap();
        let mut news = here.session_news();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let watching = tokio::spawn(Arc::clone(&here).watch(async move {
            let _ = stopped.await;
        }));
        let (one, two, three) = (SessionKey([1; 16]), SessionKey([2; 16]), SessionKey([3; 16]));
        store.session_upstream_put(&[(UpstreamSession { opened_at: at(1_000), ..opened(1, "a", "a1", 1_000) }, None)]).await.unwrap();
        store.session_state_change(two, &StateChange::LogLevel("info".to_owned()), at(2_000)).await.unwrap();
        store.session_end(three, at(3_000)).await.unwrap();
        let mut wanted = vec![SessionNews::Opened(one), SessionNews::Changed(two), SessionNews::Ended(three, at(3_000))];
        while !wanted.is_empty() {
            let told = tokio::time::timeout(Duration::from_secs(15), news.recv()).await;
            let told = told.unwrap_or_else(|_| panic!("never heard of {wanted:?}")).unwrap();
            wanted.retain(|own| *own != told);
        }
        stop.send(()).unwrap();
        watching.await.unwrap();
    }
}
