//! What was spent: written with the records, once, and the same on every replica.

use std::sync::Arc;

use trunkline_auth::Directory;
use trunkline_model::{CallKind, CallRecord, KeyHash, Level, ModelUse, OnModel, Payer, Payers, VirtualKey};
use trunkline_store::{
    DaysFilter, DaysOf, DirectoryWrite, KeyWriteError, LogFilter, LogSort, Registry, SpendReset, Spent,
    Store, day_of,
};

use crate::fixture::{at, both, by};
use crate::records::record;

fn payer(id: &str, since: i64) -> Payer {
    Payer {
        id: id.into(),
        since,
        has_account: true,
        on_model: None,
    }
}

/// A chat of a key of a team, for somebody.
fn chat(id: &str, seconds: i64, cost: Option<i64>) -> CallRecord {
    CallRecord {
        kind: CallKind::ChatCompletion,
        tool: Some("mine".to_owned()),
        payers: Payers {
            key: Some(payer("k", 0)),
            team: Some(payer("t", 0)),
            user: Some(payer("u'\0", 0)),
            organization: None,
            end_user: Some(payer("e", 0)),
        },
        cost,
        model: Some(Box::new(ModelUse {
            provider: "openai".to_owned(),
            model: "gpt-x".to_owned(),
            api_base: "http://x".to_owned(),
            input_tokens: Some(7),
            output_tokens: None,
            cache_read_tokens: Some(1),
            cache_write_tokens: Some(2),
            reasoning_tokens: Some(3),
            is_estimated: true,
        })),
        tags: vec!["a".to_owned(), "b".to_owned()],
        client: Some("2001:db8::1".parse().unwrap()),
        ..record(id, seconds)
    }
}

async fn load(store: &Store) -> Arc<Registry> {
    Registry::load(store.clone(), vec![]).await.unwrap()
}

fn hash(number: u8) -> KeyHash {
    KeyHash([number; 32])
}

fn id(number: u8) -> String {
    hash(number).to_hex()
}

fn spent(now: i64, ever: i64) -> Spent {
    Spent { now, ever }
}

both! {
    async fn a_batch_is_counted_once_however_often_it_is_written(db) {
        let store = db.store().await;
        let batch = [chat("one", 5, Some(10)), chat("two", 6, None), record("tool", 7)];
        for _ in 0..3 {
            store.ledger_write("batch", &batch).await.unwrap();
        }
        store.ledger_write("other", &[chat("three", 8, Some(5))]).await.unwrap();
        assert_eq!(store.call_record_list(100).await.unwrap().len(), 4);
        let of = |level, id: &str| store.spend().spent(level, id, 0);
        assert_eq!(of(Level::Key, "k"), spent(15, 15));
        assert_eq!(of(Level::Team, "t"), spent(15, 15));
        assert_eq!(of(Level::EndUser, "e"), spent(15, 15));
        assert_eq!(of(Level::Organization, "t"), spent(0, 0));
        // Another replica sees the same, from the database.
        let other = db.connect().await;
        other.spend_refresh(None).await.unwrap();
        assert_eq!(other.spend().spent(Level::Key, "k", 0), spent(15, 15));
        // It adds to the same sums.
        other.ledger_write("theirs", &[chat("four", 9, Some(100))]).await.unwrap();
        store.spend_refresh(None).await.unwrap();
        assert_eq!(of(Level::Key, "k"), spent(115, 115));
        let days = DaysFilter { from: 0, to: 0, ..DaysFilter::default() };
        let rows = store.days(DaysOf::Level(Level::Team), &days).await.unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        let sums = rows[0].sums;
        assert_eq!((sums.spend, sums.requests, sums.unpriced, sums.input_tokens), (115, 4, 1, 28));
        assert_eq!((rows[0].entity.as_str(), rows[0].model.as_str(), rows[0].model_group.as_str()), ("t", "gpt-x", "mine"));
        let tags = store.spend_of_tags((i64::MIN, i64::MAX), 10).await.unwrap();
        assert_eq!(tags.iter().map(|own| (own.tag.as_str(), own.spend, own.requests)).collect::<Vec<_>>(), [("a", 115, 4), ("b", 115, 4)]);
        // The tool is of nobody who has a team, and has the server before its name.
        let rows = store.days(DaysOf::Level(Level::User), &days).await.unwrap();
        assert!(rows.iter().any(|row| row.tool == "s/add" && row.sums.requests == 1), "{rows:?}");
        store.spend_batch_prune(at(i64::from(u32::MAX))).await.unwrap();
        assert_eq!(db.ask("SELECT batch_id FROM spend_batch").await, Vec::<String>::new());
    }

    async fn a_period_that_has_begun_replaces_the_one_before(db) {
        let store = db.store().await;
        let of = |since: i64, cost| {
            let mut own = chat("r", 5, Some(cost));
            own.payers = Payers { key: Some(payer("k", since)), ..Payers::default() };
            own
        };
        store.ledger_write("1", &[of(100, 7)]).await.unwrap();
        store.ledger_write("2", &[of(100, 1), of(200, 3), of(100, 1)]).await.unwrap();
        assert_eq!(store.spend().spent(Level::Key, "k", 200), spent(3, 12));
        assert_eq!(store.spend().spent(Level::Key, "k", 300), spent(0, 12));
        // Who is only a label has no account, and is in the sums.
        let mut label = of(0, 9);
        let nobody = Payer { id: "label".into(), since: 0, has_account: false, on_model: None };
        label.payers = Payers { end_user: Some(nobody), ..Payers::default() };
        store.ledger_write("3", &[label]).await.unwrap();
        assert_eq!(store.spend().spent(Level::EndUser, "label", 0), spent(0, 0));
        let days = DaysFilter { from: 0, to: 0, entity: Some("label".to_owned()), ..DaysFilter::default() };
        assert_eq!(store.days(DaysOf::Level(Level::EndUser), &days).await.unwrap()[0].sums.spend, 9);
        // What was asked for and is not there is no name in sums that are kept.
        let mut unknown = of(0, 0);
        unknown.model = None;
        unknown.tool = Some("no-such-model".to_owned());
        unknown.outcome = "denied";
        store.ledger_write("4", &[unknown]).await.unwrap();
        assert_eq!(db.ask("SELECT CAST(count(*) AS TEXT) FROM spend_daily WHERE model_group LIKE '%such%'").await, ["0"]);
    }

    async fn what_is_spent_on_a_model_goes_with_whoever_spends_it(db) {
        let store = db.store().await;
        let of = |key: &str, model: &str, since: i64, cost| {
            let on_model = Some(OnModel { model: model.into(), since });
            let mut own = chat("r", 5, Some(cost));
            own.payers = Payers { key: Some(Payer { on_model, ..payer(key, 0) }), ..Payers::default() };
            own
        };
        let on = |store: &Store, key: &str, model: &str, since| store.spend().spent_on(Level::Key, key, model, since);
        store.ledger_write("1", &[of("k", "a", 100, 7), of("k", "b", 0, 2), of("l", "a", 0, 50)]).await.unwrap();
        store.ledger_write("2", &[of("k", "a", 100, 1), of("k", "a", 200, 3)]).await.unwrap();
        store.ledger_write("2", &[of("k", "a", 100, 1), of("k", "a", 200, 3)]).await.unwrap();
        let other = db.connect().await;
        other.spend_refresh(None).await.unwrap();
        for store in [&store, &other] {
            assert_eq!((on(store, "k", "a", 200), on(store, "k", "a", 300), on(store, "k", "b", 0)), (3, 0, 2));
            assert_eq!((on(store, "l", "a", 0), on(store, "l", "b", 0)), (50, 0));
            assert_eq!(store.spend().spent(Level::Key, "k", 0), spent(13, 13));
        }
        // What others spend is seen, and adds up.
        other.ledger_write("3", &[of("k", "a", 200, 10)]).await.unwrap();
        store.spend_refresh(None).await.unwrap();
        assert_eq!(on(&store, "k", "a", 200), 13);
    }

    async fn what_a_key_spent_on_a_model_goes_with_another_secret(db) {
        let store = db.store().await;
        let registry = load(&store).await;
        let keys = registry.keys();
        keys.insert(&by(), VirtualKey::new(hash(1))).await.unwrap();
        let of = |number: u8, cost| {
            let on_model = Some(OnModel { model: "a".into(), since: 0 });
            let mut own = chat("r", 5, Some(cost));
            own.payers = Payers { key: Some(Payer { on_model, ..payer(&id(number), 0) }), ..Payers::default() };
            own
        };
        store.ledger_write("1", &[of(1, 7)]).await.unwrap();
        let other = db.connect().await;
        other.spend_refresh(None).await.unwrap();
        let edit = |key: &mut VirtualKey| (key.hash, key.id) = (hash(2), id(2).into());
        keys.update(&by(), hash(1), Box::new(edit)).await.unwrap();
        // One that was under way on another replica, which does not know of it.
        other.ledger_write("2", &[of(1, 5)]).await.unwrap();
        store.spend_refresh(None).await.unwrap();
        other.spend_refresh(None).await.unwrap();
        for store in [&store, &other] {
            assert_eq!(store.spend().spent_on(Level::Key, &id(2), "a", 0), 12);
        }
        keys.delete(&by(), &[hash(2)]).await.unwrap();
        other.spend_refresh(None).await.unwrap();
        assert_eq!((store.spend().spent_on(Level::Key, &id(2), "a", 0), other.spend().spent_on(Level::Key, &id(2), "a", 0)), (0, 0));
    }

    async fn long_names_and_absurd_counts_stop_nobodys_sums(db) {
        let store = db.store().await;
        // Nothing of it can be made smaller by compression.
        let mut number = 1_u64;
        let long: String = std::iter::repeat_with(|| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + u8::try_from((number >> 33) % 26).unwrap())
        })
        .take(60_000)
        .collect();
        let of = |id: &str| {
            let mut own = chat(&format!("of {}", id.len()), 5, Some(1));
            own.payers = Payers { end_user: Some(Payer { id: id.into(), since: 0, has_account: false, on_model: None }), ..Payers::default() };
            own.model.as_mut().unwrap().input_tokens = Some(u64::MAX);
            own
        };
        store.ledger_write("1", &[of(&long), of(&long[1..])]).await.unwrap();
        store.ledger_write("2", &[of(&long)]).await.unwrap();
        let days = DaysFilter { from: 0, to: 0, ..DaysFilter::default() };
        let mut sums: Vec<i64> =
            store.days(DaysOf::Level(Level::EndUser), &days).await.unwrap().iter().map(|row| row.sums.requests).collect();
        sums.sort_unstable();
        assert_eq!(sums, [1, 2]);
    }

    async fn records_are_found_by_what_they_are_of(db) {
        let store = db.store().await;
        store.ledger_write("1", &[chat("one", 5, Some(10)), chat("two", 6, None), record("tool", 7)]).await.unwrap();
        let page = async |filter: LogFilter, sort| {
            let (total, rows) = store.log_page(&filter, sort, (0, 10)).await.unwrap();
            assert_eq!(total, rows.len() as u64);
            rows.into_iter().map(|row| row.request_id).collect::<Vec<_>>()
        };
        let newest = LogSort::Time { down: true };
        assert_eq!(page(LogFilter::default(), newest).await, ["tool", "two", "one"]);
        assert_eq!(page(LogFilter::default(), LogSort::Time { down: false }).await, ["one", "two", "tool"]);
        assert_eq!(page(LogFilter::default(), LogSort::Cost { down: true }).await[0], "one");
        let text = |text: &str| Some(text.to_owned());
        for (filter, wanted) in [
            (LogFilter { api_key: text("k"), ..LogFilter::default() }, vec!["two", "one"]),
            (LogFilter { api_key: text("master_key"), request_id: text("tool"), ..LogFilter::default() }, vec!["tool"]),
            (LogFilter { user_id: text("u'\u{fffd}"), ..LogFilter::default() }, vec!["two", "one"]),
            (LogFilter { team_id: text("t"), model: text("gpt-x"), ..LogFilter::default() }, vec!["two", "one"]),
            (LogFilter { end_user: text("e"), model: text("mine"), ..LogFilter::default() }, vec!["two", "one"]),
            (LogFilter { succeeded: Some(false), ..LogFilter::default() }, vec![]),
            (LogFilter { succeeded: Some(true), min_cost: Some(1), max_cost: Some(10), ..LogFilter::default() }, vec!["one"]),
            (LogFilter { since: Some(at(6)), until: Some(at(6)), ..LogFilter::default() }, vec!["two"]),
            (LogFilter { model_id: text("s"), ..LogFilter::default() }, vec!["tool", "two", "one"]),
        ] {
            assert_eq!(page(filter.clone(), newest).await, wanted, "{filter:?}");
        }
        let (_, rows) = store.log_page(&LogFilter { request_id: text("one"), ..LogFilter::default() }, newest, (0, 1)).await.unwrap();
        let (row, wanted) = (&rows[0], chat("one", 5, Some(10)));
        assert_eq!((row.cost, row.model.as_ref(), &row.tags), (Some(10), wanted.model.as_deref(), &wanted.tags));
        assert_eq!((row.client.as_deref(), row.organization_id.as_deref()), (Some("2001:db8::1"), None));
        assert_eq!(day_of(at(-1)), -1);
    }

    async fn what_ended_before_a_period_began_is_no_part_of_it_whoever_is_first(db) {
        let (store, other) = (db.store().await, db.connect().await);
        let second = 1_000_000;
        // A call that ended at the 15th second, the last one of its period, and one of the next.
        let of = |id: &str, seconds: i64, since: i64, cost| {
            let mut own = chat(id, seconds, Some(cost));
            own.duration_us = 0;
            own.payers = Payers { key: Some(payer("k", since * second)), ..Payers::default() };
            own
        };
        let (before, after) = (of("before", 15, 10, 5), of("after", 21, 20, 3));
        for (store, own) in [(&store, &before), (&other, &after)] {
            store.spend().charge(&own.payers, own.cost.unwrap());
        }
        let now = |store: &Store| store.spend().spent(Level::Key, "k", 20 * second);
        other.ledger_write("2", &[after]).await.unwrap();
        store.ledger_write("1", &[before]).await.unwrap();
        for store in [&store, &other] {
            store.spend_refresh(None).await.unwrap();
            assert_eq!(now(store), spent(3, 8));
        }
        // It began in the one and ended in the other: charged in that, on the replica that made it once, too.
        let spans = of("spans", 22, 20, 7);
        store.spend().charge(&of("more", 22, 20, 1).payers, 1);
        store.spend().charge(&spans.payers, 7);
        assert_eq!(now(&store), spent(11, 16));
        store.ledger_write("3", &[spans]).await.unwrap();
        assert_eq!(now(&store), spent(11, 16));
        // Another budget's period began before: what is charged is charged.
        store.ledger_write("4", &[of("moved", 30, 0, 2)]).await.unwrap();
        other.spend_refresh(None).await.unwrap();
        assert_eq!(other.spend().spent(Level::Key, "k", 0), spent(12, 17));
    }

    async fn tags_that_somebody_makes_up_have_an_end(db) {
        let store = db.store().await;
        let mut calls = Vec::new();
        for call in 0..70 {
            let mut own = chat(&format!("r{call}"), 5, Some(1));
            own.tags = (0..20).map(|tag| format!("t{call}-{tag}")).collect();
            calls.push(own);
        }
        store.ledger_write("1", &calls[..35]).await.unwrap();
        store.ledger_write("2", &calls[35..]).await.unwrap();
        // What has sums of its own goes on having them, and somebody else has as many.
        let mut other = chat("other", 5, Some(1));
        other.payers.key = Some(payer("l", 0));
        other.tags = vec!["mine".to_owned(), "(other)".to_owned()];
        store.ledger_write("3", &[calls[0].clone(), other]).await.unwrap();
        // What was refused before anything was asked makes no row of a tag.
        let mut refused = chat("refused", 5, None);
        (refused.model, refused.server_id, refused.outcome, refused.cost) = (None, None, "denied", Some(0));
        refused.tags = vec!["refused".to_owned()];
        store.ledger_write("4", &[refused]).await.unwrap();
        assert_eq!(db.ask("SELECT CAST(count(DISTINCT tag) AS TEXT) FROM spend_daily WHERE tag <> '' AND api_key = 'k'").await, ["1001"]);
        assert_eq!(db.ask("SELECT CAST(sum(requests) AS TEXT) FROM spend_daily WHERE tag = 't0-7'").await, ["2"]);
        assert_eq!(db.ask("SELECT CAST(sum(requests) AS TEXT) FROM spend_daily WHERE tag = 'mine'").await, ["1"]);
        // Twenty of a call are one call: fifty calls have sums of their own, more or less.
        assert_eq!(db.ask("SELECT CAST(requests AS TEXT) FROM spend_daily WHERE tag = '(other)' ORDER BY requests").await, ["1", "20"]);
        assert_eq!(db.ask("SELECT tag FROM spend_daily WHERE tag = 'refused'").await, Vec::<String>::new());
        assert_eq!(db.ask("SELECT CAST(sum(requests) AS TEXT) FROM spend_daily WHERE tag = ''").await, ["73"]);
        store.spend_tags_prune(at(86_399)).await.unwrap();
        assert_eq!(db.ask("SELECT CAST(count(*) AS TEXT) FROM spend_tag").await, ["1001"]);
        store.spend_tags_prune(at(86_400)).await.unwrap();
        for table in ["spend_tag", "spend_daily WHERE tag <> ''"] {
            assert_eq!(db.ask(&format!("SELECT CAST(count(*) AS TEXT) FROM {table}")).await, ["0"], "{table}");
        }
        assert_eq!(db.ask("SELECT CAST(sum(requests) AS TEXT) FROM spend_daily").await, ["73"]);
    }

    async fn end_users_that_somebody_makes_up_have_an_end(db) {
        let store = db.store().await;
        let of = |id: &str, end_user: &str, key: &str| {
            let mut own = chat(id, 5, Some(1));
            own.tags = Vec::new();
            own.payers.key = Some(payer(key, 0));
            own.payers.end_user = Some(Payer { has_account: false, ..payer(end_user, 0) });
            own
        };
        let calls: Vec<_> = (0..1_400).map(|n| of(&format!("r{n}"), &format!("e{n:04}"), "k")).collect();
        store.ledger_write("1", &calls[..700]).await.unwrap();
        store.ledger_write("2", &calls[700..]).await.unwrap();
        // What has sums of its own goes on having them, a tag of the same name is none of them, another key has as many, and who was made is
        // none that somebody made up.
        let mut made = of("made", "made", "k");
        made.payers.end_user = Some(payer("made", 0));
        let mut tagged = of("tagged", "e0000", "k");
        tagged.tags = vec!["e1399".to_owned()];
        store.ledger_write("3", &[made, tagged, of("late", "e1399", "k"), of("theirs", "theirs", "l")]).await.unwrap();
        // What was refused makes no name, and is its own where there is one.
        let refused = |id: &str, end_user: &str, key: &str| {
            let mut own = of(id, end_user, key);
            (own.model, own.server_id, own.outcome, own.cost) = (None, None, "denied", Some(0));
            own
        };
        store.ledger_write("4", &[refused("no", "refused", "l"), refused("known", "theirs", "l")]).await.unwrap();
        let requests = async |of: &str| {
            let sum = format!("SELECT CAST(coalesce(sum(requests), 0) AS TEXT) FROM spend_daily WHERE tag = '' AND {of}");
            db.ask(&sum).await[0].clone()
        };
        assert_eq!(
            db.ask("SELECT CAST(count(DISTINCT end_user) AS TEXT) FROM spend_daily WHERE api_key = 'k' AND tag = ''").await,
            // Those, all others, and the one that was made.
            ["1002"]
        );
        for (of, wanted) in [
            ("end_user = '(other)' AND api_key = 'k'", "401"),
            ("end_user = 'e0000'", "2"),
            ("end_user = 'e1399'", "0"),
            ("end_user = 'made'", "1"),
            ("end_user = 'theirs'", "2"),
            ("end_user = 'refused'", "0"),
            ("end_user = '(other)' AND api_key = 'l'", "1"),
            // Nothing is lost to anybody else.
            ("user_id <> ''", "1406"),
        ] {
            assert_eq!(requests(of).await, wanted, "{of}");
        }
        assert_eq!(db.ask("SELECT CAST(requests AS TEXT) FROM spend_daily WHERE tag = 'e1399'").await, ["1"]);
        // The names go with the day, and the sums stay.
        store.spend_tags_prune(at(86_400)).await.unwrap();
        assert_eq!(db.ask("SELECT CAST(count(*) AS TEXT) FROM spend_tag").await, ["0"]);
        assert_eq!(requests("end_user = 'e0000'").await, "2");
    }

    async fn what_is_said_anew_of_a_key_counts_from_then_on_everywhere(db) {
        let store = db.store().await;
        let (here, there) = (load(&store).await, load(&db.connect().await).await);
        let (key, id) = (hash(1), id(1));
        here.keys().insert(&by(), VirtualKey::new(key)).await.unwrap();
        there.refresh().await.unwrap();
        let call = |name: &str, ended: i64, cost| {
            let mut own = chat(name, ended, Some(cost));
            own.duration_us = 0;
            own.payers = Payers { key: Some(payer(&id, 0)), ..Payers::default() };
            own
        };
        let charged = async |registry: &Registry, own: trunkline_model::CallRecord| {
            registry.store().spend().charge(&own.payers, own.cost.unwrap());
            registry.store().ledger_write(own.request_id.clone().as_str(), &[own]).await.unwrap();
        };
        let now = |registry: &Registry| registry.store().spend().spent(Level::Key, &id, 0);
        charged(&here, call("a", 5, 9)).await;
        charged(&there, call("b", 6, 4)).await;
        here.store().spend_refresh(None).await.unwrap();
        assert_eq!(now(&here), spent(13, 13));
        let reset = async |spend: i64, seconds: i64| {
            let reset = SpendReset { hash: key, before: now(&here).now, spend, at: at(seconds) };
            let plan = |_: &Directory| Ok::<_, KeyWriteError>((vec![DirectoryWrite::ResetSpend(reset)], ()));
            here.keys().change(&by(), plan).await.unwrap();
        };
        reset(2, 10).await;
        assert_eq!(now(&here), spent(2, 13));
        there.store().spend_refresh(None).await.unwrap();
        assert_eq!(now(&there), spent(2, 13));
        // What ended before is no part of it, wherever it is written; what ends later is.
        charged(&there, call("early", 9, 100)).await;
        charged(&there, call("later", 11, 5)).await;
        here.store().spend_refresh(None).await.unwrap();
        assert_eq!((now(&here), now(&there)), (spent(7, 118), spent(7, 118)));
        // A key that has spent nothing yet that is stored.
        db.ask("DELETE FROM spend").await;
        reset(0, 12).await;
        charged(&there, call("first", 11, 3)).await;
        assert_eq!(db.ask("SELECT CAST(spend AS TEXT) || ' ' || CAST(total_spend AS TEXT) FROM spend").await, ["0 3"]);
        // Another secret is the same key.
        let edit = move |own: &mut VirtualKey| (own.hash, own.id) = (hash(2), self::id(2).into());
        reset(0, 13).await;
        here.keys().update(&by(), key, Box::new(edit)).await.unwrap();
        charged(&there, call("old secret", 14, 6)).await;
        assert_eq!(db.ask("SELECT CAST(spend AS TEXT) FROM spend WHERE moved_to IS NULL").await, ["6"]);
    }

    async fn what_was_under_way_when_a_key_got_another_secret_is_charged_to_it(db) {
        let store = db.store().await;
        let (here, there) = (load(&store).await, load(&db.connect().await).await);
        let renew = async |from: u8, to: u8| {
            let edit = move |key: &mut VirtualKey| (key.hash, key.id) = (hash(to), id(to).into());
            here.keys().update(&by(), hash(from), Box::new(edit)).await.unwrap();
        };
        here.keys().insert(&by(), VirtualKey::new(hash(1))).await.unwrap();
        let call = |name: &str, key: u8, cost| {
            let mut own = chat(name, 5, Some(cost));
            own.payers = Payers { key: Some(payer(&id(key), 0)), ..Payers::default() };
            own
        };
        let (first, late) = (call("first", 1, 5), call("late", 1, 7));
        here.store().ledger_write("1", std::slice::from_ref(&first)).await.unwrap();
        there.store().spend_refresh(None).await.unwrap();
        // Charged in memory by then, and still to be written.
        here.store().spend().charge(&late.payers, 7);
        renew(1, 2).await;
        renew(2, 3).await;
        let of = |registry: &Registry, key: u8| registry.store().spend().spent(Level::Key, &id(key), 0);
        assert_eq!(of(&here, 3), spent(12, 12));
        here.store().ledger_write("2", &[late]).await.unwrap();
        assert_eq!(of(&here, 3), spent(12, 12));
        // Another replica has not heard of it.
        let theirs = call("theirs", 1, 100);
        there.store().spend().charge(&theirs.payers, 100);
        there.store().ledger_write("3", &[theirs]).await.unwrap();
        for registry in [&here, &there] {
            registry.store().spend_refresh(None).await.unwrap();
            assert_eq!(of(registry, 3), spent(112, 112));
        }
        assert_eq!(db.ask("SELECT CAST(sum(total_spend) AS TEXT) FROM spend").await, ["112"]);
        // The first secret again, and a key of its own that has a secret of before.
        renew(3, 1).await;
        assert_eq!(of(&here, 1), spent(112, 112));
        here.keys().insert(&by(), VirtualKey::new(hash(2))).await.unwrap();
        here.store().ledger_write("4", &[call("new", 2, 1), call("old", 3, 1)]).await.unwrap();
        there.store().spend_refresh(None).await.unwrap();
        for registry in [&here, &there] {
            assert_eq!((of(registry, 1), of(registry, 2)), (spent(113, 113), spent(1, 1)));
        }
        // What says so goes when no call can need it.
        here.store().spend_moved_prune(at(i64::from(u32::MAX))).await.unwrap();
        assert_eq!(db.ask("SELECT CAST(count(*) AS TEXT) FROM spend").await, ["2"]);
        assert_eq!(of(&here, 1), spent(113, 113));
    }
}
