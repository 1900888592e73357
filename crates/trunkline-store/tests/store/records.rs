//! Catalogues, call records and ended sessions.

use trunkline_model::{CallKind, CallRecord, Payers, RequestId, ServerId, SessionKey};
use trunkline_store::CatalogueRow;

use crate::fixture::{at, both};

pub(crate) fn catalogue(id: &str, tools: &str) -> CatalogueRow {
    CatalogueRow {
        server_id: ServerId::new(id),
        fetched_at: at(5),
        definition_digest: "digest".to_owned(),
        protocol_version: Some("2025-06-18".to_owned()),
        server_info: Some(r#"{"name":"x",  "version":"1"}"#.to_owned()),
        instructions: None,
        tools: tools.to_owned(),
        capabilities: Some(r#"{"tools":{}}"#.to_owned()),
    }
}

pub(crate) fn record(id: &str, seconds: i64) -> CallRecord {
    CallRecord {
        request_id: RequestId::new(id),
        started_at: at(seconds),
        duration_us: 1_234,
        kind: CallKind::CallTool,
        principal: "master_key".to_owned(),
        session: Some(SessionKey([0xff; 16])),
        server_id: Some(ServerId::new("s")),
        tool: Some("add".to_owned()),
        outcome: "ok",
        error: None,
        request_bytes: 10,
        response_bytes: u64::MAX,
        payers: Payers::default(),
        cost: Some(0),
        at_least: 0,
        model: None,
        tags: Vec::new(),
        client: None,
    }
}

both! {
    async fn a_catalogue_is_kept_byte_for_byte(db) {
        let store = db.store().await;
        // Order, blanks, escapes and numbers that a parser would change.
        let tools = "[ {\"z\":1e2, \"a\":0.10000000000000000555, \"u\":\"\\u00e9é\\u0000\", \"z\":12345678901234567890}\n]";
        let mut row = catalogue("a", tools);
        store.catalogue_put(&row).await.unwrap();
        assert_eq!(store.catalogue_list().await.unwrap(), [row.clone()]);
        "[]".clone_into(&mut row.tools);
        row.instructions = Some("a\0b".to_owned());
        row.server_info = None;
        row.protocol_version = None;
        "other".clone_into(&mut row.definition_digest);
        row.fetched_at = at(6);
        store.catalogue_put(&row).await.unwrap();
        row.instructions = Some("a\u{fffd}b".to_owned());
        store.catalogue_put(&catalogue("b", "[]")).await.unwrap();
        assert_eq!(store.catalogue_list().await.unwrap(), [row.clone(), catalogue("b", "[]")]);
        store.catalogue_delete(&row.server_id).await.unwrap();
        assert_eq!(store.catalogue_list().await.unwrap().len(), 1);
    }

    async fn a_large_batch_is_stored_the_same_way(db) {
        let store = db.store().await;
        let mut rows: Vec<CallRecord> = (0..60).map(|second| record(&format!("r{second}"), second)).collect();
        rows[3].tool = Some("a\0b".to_owned());
        rows[3].session = None;
        rows[58].tool = Some("a\0b".to_owned());
        rows[58].session = None;
        store.call_record_insert(&rows).await.unwrap();
        let list = store.call_record_list(100).await.unwrap();
        let ids: Vec<_> = list.iter().rev().map(|row| row.request_id.clone()).collect();
        assert_eq!(ids, rows.iter().map(|row| row.request_id.as_str()).collect::<Vec<_>>());
        // One was stored in a full batch, the other in what was left over.
        for row in [&list[60 - 1 - 3], &list[60 - 1 - 58]] {
            assert_eq!((row.tool.as_deref(), &row.session), (Some("a\u{fffd}b"), &None));
            assert_eq!((row.duration_us, row.request_bytes, row.kind.as_str()), (1_234, 10, "call_mcp_tool"));
            assert_eq!((row.principal.as_str(), row.outcome.as_str(), &row.error), ("master_key", "ok", &None));
        }
    }

    async fn records_come_back_newest_first(db) {
        let store = db.store().await;
        store.call_record_insert(&[]).await.unwrap();
        let mut odd = record("'); DROP TABLE call_record; --", 2);
        odd.kind = CallKind::ListTools;
        odd.session = None;
        odd.server_id = None;
        odd.tool = Some("a\0b".to_owned());
        odd.outcome = "denied";
        odd.error = Some("\"é\\ \u{1f600}".to_owned());
        store.call_record_insert(&[record("first", 1), odd.clone(), record("third", 3)]).await.unwrap();
        store.call_record_insert(&[record("fourth", 1)]).await.unwrap();
        let list = store.call_record_list(10).await.unwrap();
        let ids: Vec<_> = list.iter().map(|row| row.request_id.as_str()).collect();
        assert_eq!(ids, ["third", odd.request_id.as_str(), "fourth", "first"]);
        let row = &list[1];
        assert_eq!(row.started_at, odd.started_at);
        assert_eq!((row.kind.as_str(), row.outcome.as_str(), row.principal.as_str()), ("list_mcp_tools", "denied", "master_key"));
        assert_eq!((&row.session, &row.server_id), (&None, &None));
        assert_eq!(row.tool.as_deref(), Some("a\u{fffd}b"));
        assert_eq!(row.error, odd.error);
        let row = &list[3];
        assert_eq!((row.duration_us, row.request_bytes), (1_234, 10));
        assert_eq!(row.response_bytes, u64::try_from(i64::MAX).unwrap(), "neither database counts further");
        assert_eq!(row.session.as_deref(), Some("ff".repeat(16).as_str()));
        assert_eq!(store.call_record_list(1).await.unwrap().len(), 1);
    }

    async fn old_records_are_pruned_in_batches(db) {
        let store = db.store().await;
        let rows: Vec<_> = (0..2_500).map(|n| record("old", n)).collect();
        store.call_record_insert(&rows).await.unwrap();
        store.call_record_insert(&[record("new", 2_500)]).await.unwrap();
        assert_eq!(store.call_record_prune(at(2_500)).await.unwrap(), 2_500);
        let left = store.call_record_list(10).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].request_id, "new");
        assert_eq!(store.call_record_prune(at(0)).await.unwrap(), 0);
    }

    async fn ended_sessions_are_kept_until_they_expire(db) {
        let store = db.store().await;
        db.clock.set(100);
        let (one, two) = (SessionKey([1; 16]), SessionKey([2; 16]));
        store.session_end(one, at(200)).await.unwrap();
        store.session_end(two, at(300)).await.unwrap();
        store.session_end(two, at(301)).await.unwrap();
        assert_eq!(store.session_ended_list().await.unwrap(), [(one, at(200)), (two, at(301))]);
        db.clock.set(200);
        assert_eq!(store.session_ended_list().await.unwrap(), [(two, at(301))]);
        assert_eq!(db.ask("SELECT session_key FROM session_ended").await, [two.to_hex()]);
    }
}
