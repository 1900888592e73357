//! Approvals of calls: each is decided once and used once, whoever comes at the same time, and ends in time.

use trunkline_model::{ApprovalMode, CallApproval, CallApprovalState, ServerId};
use trunkline_store::{APPROVAL_LASTS, Approved, Decided, MAX_PENDING, Store};

use crate::fixture::{at, both, by};

const NOW: i64 = 1_700_000_000;

fn wanted(id: &str, binding: &str, mode: ApprovalMode, now: i64) -> CallApproval {
    CallApproval {
        id: id.to_owned(),
        server_id: ServerId::new("s"),
        tool: "délete \"it\"".to_owned(),
        principal: "caller".to_owned(),
        mode,
        binding: binding.to_owned(),
        arguments: "{\"a\":1e400,\"\u{0}b\":\"\\ud800 canary\"}".to_owned(),
        state: CallApprovalState::Pending,
        created_at: at(now),
        expires_at: Some(at(now) + APPROVAL_LASTS),
        decided_at: None,
        decided_by: None,
        used_at: None,
    }
}

async fn take(store: &Store, id: &str, binding: &str, now: i64) -> Approved {
    let wanted = wanted(id, binding, ApprovalMode::Always, now);
    store.approval_take(&wanted).await.unwrap()
}

fn pending(id: &str) -> Approved {
    Approved::Pending(id.to_owned())
}

both! {
    async fn an_approval_comes_back_as_it_was_and_is_used_once(db) {
        let store = db.store().await;
        assert_eq!(take(&store, "1", "x", NOW).await, pending("1"));
        assert_eq!(take(&store, "2", "x", NOW).await, pending("1"), "the same call is the same request");
        assert_eq!(take(&store, "3", "y", NOW).await, pending("3"));
        assert_eq!(store.approval_get("1").await.unwrap().unwrap(), wanted("1", "x", ApprovalMode::Always, NOW));
        assert_eq!(store.approval_get("2").await.unwrap(), None);
        let other = db.connect().await;
        let Decided::Done(row) = other.approval_decide(&by(), "1", true).await.unwrap() else {
            panic!("it was pending");
        };
        assert_eq!((row.state, row.decided_by.as_deref()), (CallApprovalState::Approved, Some("test")));
        for yes in [true, false] {
            assert!(matches!(store.approval_decide(&by(), "1", yes).await.unwrap(), Decided::NotPending(_)));
        }
        assert_eq!(store.approval_decide(&by(), "made-up", true).await.unwrap(), Decided::NotFound);
        let (a, b) = tokio::join!(take(&store, "4", "x", NOW), take(&other, "5", "x", NOW));
        let yes = Approved::Yes(Some("1".to_owned()));
        assert_eq!([&a, &b].iter().filter(|own| ***own == yes).count(), 1, "{a:?} {b:?}");
        assert_ne!(take(&store, "6", "x", NOW).await, yes);
        // A run that did not begin.
        store.approval_give_back("1").await.unwrap();
        assert_eq!(take(&store, "7", "x", NOW).await, yes);
        // One that was not used is not given twice.
        store.approval_give_back("3").await.unwrap();
        assert_eq!(take(&store, "8", "y", NOW).await, pending("3"));
    }

    async fn approvals_end(db) {
        let store = db.store().await;
        let lasts = i64::try_from(APPROVAL_LASTS.as_secs()).unwrap();
        take(&store, "1", "x", NOW).await;
        db.clock.set(NOW + lasts);
        assert!(matches!(store.approval_decide(&by(), "1", true).await.unwrap(), Decided::NotPending(_)));
        let now = NOW + lasts;
        assert_eq!(take(&store, "2", "x", now).await, pending("2"));
        assert_eq!(store.approval_get("1").await.unwrap(), None, "what nobody decided about is gone");
        store.approval_decide(&by(), "2", true).await.unwrap();
        db.clock.set(now + lasts);
        let now = now + lasts;
        assert_eq!(take(&store, "3", "x", now).await, pending("3"), "a yes is not for later");
        store.approval_decide(&by(), "3", false).await.unwrap();
        assert_eq!(take(&store, "4", "x", now).await, Approved::No("3".to_owned()));
        db.clock.set(now + lasts);
        let now = now + lasts;
        assert_eq!(take(&store, "5", "x", now).await, pending("5"));
        // For good.
        let first = |id: &str| wanted(id, "first", ApprovalMode::FirstUse, now);
        store.approval_take(&first("6")).await.unwrap();
        store.approval_decide(&by(), "6", true).await.unwrap();
        db.clock.set(now + 1_000 * lasts);
        for id in ["7", "8"] {
            assert_eq!(store.approval_take(&first(id)).await.unwrap(), Approved::Yes(None));
        }
        let list = store.approval_list().await.unwrap();
        assert_eq!(list.iter().map(|own| own.id.as_str()).collect::<Vec<_>>(), ["6"]);
    }

    async fn a_caller_has_so_many_that_wait(db) {
        let store = db.store().await;
        for number in 0..MAX_PENDING {
            assert_eq!(take(&store, &number.to_string(), &number.to_string(), NOW).await, pending(&number.to_string()));
        }
        assert_eq!(take(&store, "more", "more", NOW).await, Approved::TooMany);
        assert_eq!(take(&store, "again", "0", NOW).await, pending("0"));
        store.approval_decide(&by(), "0", false).await.unwrap();
        assert_eq!(take(&store, "more", "more", NOW).await, pending("more"));
    }

    async fn s13_arguments_are_sealed_and_in_no_log(db) {
        let store = db.store().await;
        take(&store, "1", "x", NOW).await;
        store.approval_decide(&by(), "1", true).await.unwrap();
        let rows = store.audit_after(0, 100).await.unwrap();
        assert!(rows.iter().any(|row| row.object_id == "1"), "{rows:?}");
        assert!(!format!("{rows:?}").contains("canary"), "{rows:?}");
        // Under another key they cannot be read, and nothing else is lost.
        let other = db.connect_with("another salt").await;
        let row = other.approval_get("1").await.unwrap().unwrap();
        assert_eq!((row.arguments.as_str(), row.state), ("", CallApprovalState::Approved));
        db.by_hand("UPDATE call_approval SET state = 'whatever'").await;
        assert_eq!(store.approval_get("1").await.unwrap(), None, "what cannot be read is no approval");
    }
}
