//! Sessions of clients that move: to another replica, and over a restart. Several gateways on one PostgreSQL.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, GatewayBuilder, McpClient, Recorded, ScratchDatabase, ScriptedUpstream, Signal, TestGateway,
    eventually,
};

use crate::support::{Config, PATIENCE, assert_calm, gateway_of, listed, message, said};

const KEY: &str = "sk-replicas-3f9d1c7a5e2b8046d1c7a5e2b804";

/// What one replica does is known on the others by then.
const SOON: Duration = Duration::from_secs(1);

fn builder(config: &Config, database: &ScratchDatabase) -> GatewayBuilder {
    TestGateway::builder()
        .config(&config.text())
        .database_url(&database.url())
        .master_key(Some(KEY))
}

/// Two replicas, each of which has listed the server, so that it has no reason to contact it by itself.
async fn two(
    config: &Config,
    upstream: &ScriptedUpstream,
) -> Option<(ScratchDatabase, TestGateway, TestGateway)> {
    let database = ScratchDatabase::create()?;
    let a = builder(config, &database).start().await;
    listed(&a, "notes").await;
    let b = builder(config, &database).start().await;
    eventually("both have listed", PATIENCE, async || {
        upstream.count("tools/list") >= 2
    })
    .await;
    for gateway in [&a, &b] {
        listed(gateway, "notes").await;
    }
    upstream.clear();
    Some((database, a, b))
}

/// The same client at another gateway.
fn moved(client: &McpClient, to: &TestGateway) -> McpClient {
    let mut there = to.mcp();
    there.set_session(client.session());
    there
}

async fn set(client: &mut McpClient, value: u64) {
    let set = client
        .call("notes-set_value", &json!({"value": value}), None)
        .await;
    assert_eq!(said(&set), "kept");
}

async fn get(client: &mut McpClient) -> String {
    said(&client.call("notes-get_value", &json!({}), None).await)
}

/// The upstream sessions that calls went over.
fn sessions_of(upstream: &ScriptedUpstream, method: &str) -> HashSet<Option<String>> {
    let requests = upstream.requests().into_iter();
    requests
        .filter(|request| request.is(method))
        .map(|request| request.session)
        .collect()
}

fn rows(database: &ScratchDatabase, table: &str) -> usize {
    database
        .sql(&format!("SELECT count(*) FROM {table}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn b22_what_is_set_on_one_replica_is_there_on_the_other() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let Some((database, mut a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    let mut at_a = a.mcp();
    at_a.initialize().await;
    let mut at_b = moved(&at_a, &b);
    set(&mut at_a, 1).await;
    assert_eq!(get(&mut at_b).await, "1");
    for value in 2..8 {
        set(&mut at_b, value).await;
        assert_eq!(get(&mut at_a).await, value.to_string());
    }
    assert_eq!(sessions_of(&upstream, "tools/call").len(), 1);
    assert_eq!(
        upstream.count("initialize"),
        0,
        "the session that listed was taken over"
    );

    // Killed, the one that opened it; and both at once, in the end.
    a.kill9().await;
    assert_eq!(get(&mut at_b).await, "7");
    a.restart().await;
    assert_eq!(get(&mut at_a).await, "7");
    set(&mut at_a, 8).await;
    let (mut a, mut b) = (a, b);
    a.kill9().await;
    b.stop(Signal::Term).await;
    b.restart().await;
    assert_eq!(get(&mut at_b).await, "8");
    assert_eq!(sessions_of(&upstream, "tools/call").len(), 1);
    let ended = sessions_of(&upstream, "DELETE");
    assert!(
        ended.is_disjoint(&sessions_of(&upstream, "tools/call")),
        "only what listed was ended"
    );
    assert_eq!(rows(&database, "session_upstream"), 1);
    assert_calm(&b);
}

/// However fast the client is: the answer to its first call comes when the other replica can know of it.
#[tokio::test]
async fn b22_no_state_is_lost_between_the_first_two_calls() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let Some((database, a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    for number in 0..40 {
        let (born, other) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let mut client = born.mcp();
        client.initialize().await;
        let mut there = moved(&client, other);
        // The first call goes where the session was not begun, and where it was, in turn.
        if number % 4 < 2 {
            set(&mut client, number).await;
            assert_eq!(get(&mut there).await, number.to_string());
        } else {
            set(&mut there, number).await;
            assert_eq!(get(&mut client).await, number.to_string());
        }
    }
    assert_eq!(sessions_of(&upstream, "tools/call").len(), 40);
    assert_eq!(rows(&database, "session_upstream"), 40);
}

#[tokio::test]
async fn b22_two_first_calls_at_once_leave_one_row() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let Some((database, a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    upstream.on("initialize", Act::Delay(Duration::from_millis(100)));
    for number in 0..10 {
        let mut at_a = a.mcp();
        at_a.initialize().await;
        let mut at_b = moved(&at_a, &b);
        tokio::join!(set(&mut at_a, number), set(&mut at_b, number));
        assert_eq!(get(&mut at_a).await, number.to_string());
        assert_eq!(get(&mut at_b).await, number.to_string());
    }
    assert_eq!(rows(&database, "session_upstream"), 10);
}

#[tokio::test]
async fn b22_state_is_there_after_a_restart_with_sqlite() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let mut gateway = gateway_of(&[("notes", &upstream)]).await;
    let (mut one, mut two) = (gateway.mcp(), gateway.mcp());
    for (number, client) in [&mut one, &mut two].into_iter().enumerate() {
        client.initialize().await;
        set(client, number as u64).await;
    }
    for end in [Signal::Term, Signal::Kill] {
        gateway.stop(end).await;
        gateway.restart().await;
        listed(&gateway, "notes").await;
        assert_eq!(get(&mut one).await, "0", "{end:?}");
        assert_eq!(get(&mut two).await, "1", "{end:?}");
    }
    assert_eq!(sessions_of(&upstream, "tools/call").len(), 2);
    assert_calm(&gateway);
}

#[tokio::test]
async fn b22_an_edit_that_changes_where_to_gets_no_old_session() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let gateway = TestGateway::start("").await;
    let server =
        json!({"server_id": "notes", "server_name": "notes", "url": upstream.url(), "transport": "http"});
    let admin = gateway.client();
    admin.post("/v1/mcp/server", &server).await.expect_status(201);
    listed(&gateway, "notes").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    set(&mut client, 1).await;
    // A description is no reason to lose anything.
    let edit = json!({"server_id": "notes", "description": "changed"});
    admin.put("/v1/mcp/server", &edit).await.expect_status(202);
    assert_eq!(get(&mut client).await, "1");
    let before = sessions_of(&upstream, "tools/call");
    let edit = json!({"server_id": "notes", "static_headers": {"X-Tenant": "other"}});
    admin.put("/v1/mcp/server", &edit).await.expect_status(202);
    let fresh = client.call("notes-get_value", &json!({}), None).await.result();
    assert_eq!(fresh["isError"], true, "{fresh}");
    let old = before.into_iter().next().flatten();
    eventually("the old session is ended, once", PATIENCE, async || {
        let ended = upstream.requests().into_iter();
        ended
            .filter(|request| request.is("DELETE") && request.session == old)
            .count()
            == 1
    })
    .await;
}

#[tokio::test]
async fn s21_a_session_never_gets_what_is_written_down_for_another() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let Some((database, a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    let (mut owner, mut other) = (a.mcp(), a.mcp());
    for client in [&mut owner, &mut other] {
        client.initialize().await;
    }
    set(&mut owner, 1).await;
    let mut other_at_b = moved(&other, &b);
    let nothing = other_at_b
        .call("notes-get_value", &json!({}), None)
        .await
        .result();
    assert_eq!(nothing["isError"], true, "{nothing}");
    // Not with the session's id and another key, not on another path.
    let stranger = b
        .anonymous()
        .with_header("authorization", "Bearer sk-somebody-else");
    let mut stranger = McpClient::over(stranger, "/mcp");
    stranger.set_session(owner.session());
    assert_eq!(
        stranger.call("notes-get_value", &json!({}), None).await.status,
        401
    );
    let mut elsewhere = b.mcp_at("/notes/mcp");
    elsewhere.set_session(owner.session());
    assert_eq!(
        elsewhere.call("notes-get_value", &json!({}), None).await.status,
        404
    );

    // Somebody who writes to the database moves one session's row to another: it does not open there.
    let mut third = a.mcp();
    third.initialize().await;
    third.request("tools/list", &Value::Null).await.result();
    eventually("the third session is on record", PATIENCE, async || {
        database.sql("SELECT count(DISTINCT session) FROM call_record") == "3"
    })
    .await;
    database.sql(
        "UPDATE session_upstream SET session_key = (SELECT session FROM call_record WHERE session IS NOT NULL ORDER BY id DESC LIMIT 1) \
         WHERE session_key = (SELECT session_key FROM session_upstream ORDER BY opened_at LIMIT 1)",
    );
    let mut third_at_b = moved(&third, &b);
    let nothing = third_at_b
        .call("notes-get_value", &json!({}), None)
        .await
        .result();
    assert_eq!(nothing["isError"], true, "{nothing}");
    assert_eq!(sessions_of(&upstream, "tools/call").len(), 3);
}

// === Ends ===

#[tokio::test]
async fn b23_an_end_is_known_everywhere_within_a_second() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let Some((database, a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    let mut at_a = a.mcp();
    at_a.initialize().await;
    let mut at_b = moved(&at_a, &b);
    set(&mut at_a, 1).await;
    get(&mut at_b).await;
    let stream = at_b.get_stream().await;
    assert_eq!(stream.status(), 200);
    at_a.delete().await.expect_status(200);
    let ended = Instant::now();
    eventually("B knows", SOON, async || {
        at_b.request("ping", &Value::Null).await.status == 404
    })
    .await;
    let rest = tokio::time::timeout(SOON.saturating_sub(ended.elapsed()), stream.rest()).await;
    assert!(rest.expect("B's stream ends").1.is_none());
    assert_eq!(at_b.call("notes-get_value", &json!({}), None).await.status, 404);
    eventually("it is ended upstream", PATIENCE, async || {
        upstream.count("DELETE") > 0
    })
    .await;
    assert_eq!(
        (
            rows(&database, "session_upstream"),
            rows(&database, "session_state")
        ),
        (0, 0)
    );
    // Once, though both had it; what the other one would send has been sent when it has answered this.
    at_b.initialize().await;
    set(&mut at_b, 2).await;
    at_b.delete().await.expect_status(200);
    eventually("so is the next", PATIENCE, async || upstream.count("DELETE") >= 2).await;
    let ended: Vec<_> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.is("DELETE"))
        .collect();
    assert_eq!(ended.len(), 2, "{ended:?}");
}

/// Calls of many clients, so many at once.
async fn all_call(clients: &mut [McpClient], tool: &str) {
    let calls = clients.chunks_mut(16).map(|some| async move {
        for client in some {
            let call = client.call(tool, &message("x"), None).await;
            assert_eq!(call.status, 200, "{}", call.everything());
        }
    });
    futures_util::future::join_all(calls).await;
}

/// Opens sessions, abandons most of them, and waits until nothing is left of these, while the others go on.
async fn abandoned(
    gateways: &[&TestGateway],
    upstream: &ScriptedUpstream,
    count: usize,
    count_rows: impl Fn() -> usize,
) {
    let mut clients: Vec<McpClient> = (0..count).map(|n| gateways[n % gateways.len()].mcp()).collect();
    let opening = clients.chunks_mut(64).map(|some| async move {
        for client in some {
            client.initialize().await;
            client.call("notes-echo", &message("x"), None).await.result();
        }
    });
    futures_util::future::join_all(opening).await;
    assert!(sessions_of(upstream, "tools/call").len() >= count);
    // 8 % go on, each with another gateway every time.
    let mut staying = clients.split_off(count - count * 8 / 100);
    let left = staying.len();
    let began = Instant::now();
    let mut turn = 0;
    loop {
        turn += 1;
        let mut there: Vec<McpClient> = staying
            .iter()
            .enumerate()
            .map(|(n, client)| moved(client, gateways[(n + turn) % gateways.len()]))
            .collect();
        all_call(&mut there, "notes-echo").await;
        // A listing may have one of its own with each gateway.
        if upstream.sessions() <= left + gateways.len() && count_rows() == left {
            break;
        }
        assert!(
            began.elapsed() < PATIENCE * 4,
            "{} sessions, {} rows",
            upstream.sessions(),
            count_rows()
        );
    }
    // Those that stayed were never opened again, and those that went were ended once.
    let opened = upstream.count("initialize");
    all_call(&mut staying, "notes-echo").await;
    assert_eq!(upstream.count("initialize"), opened);
    drop(staying);
    eventually("all is given back", PATIENCE * 4, async || {
        upstream.sessions() == 0 && count_rows() == 0
    })
    .await;
    let ended: Vec<Option<String>> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.is("DELETE"))
        .map(|request| request.session)
        .collect();
    let distinct: HashSet<_> = ended.iter().collect();
    assert_eq!(
        (ended.len(), distinct.len()),
        (ended.len(), ended.len()),
        "each once"
    );
    assert!(ended.len() >= count);
    for gateway in gateways {
        eventually("memory has none", PATIENCE, async || {
            let metrics = gateway.client().get("/metrics").await.text();
            metrics.contains("trunkline_mcp_upstream_sessions 0")
        })
        .await;
        assert_calm(gateway);
    }
    // A client that comes back gets another one.
    clients[0].call("notes-echo", &message("x"), None).await.result();
}

#[tokio::test(flavor = "multi_thread")]
async fn b24_abandoned_sessions_are_given_back_by_two_replicas() {
    let upstream = ScriptedUpstream::start().await;
    let config = Config::of(&[("notes", &upstream)]).general("mcp_session_idle_ms: 8000");
    let Some((database, a, b)) = two(&config, &upstream).await else {
        return;
    };
    abandoned(&[&a, &b], &upstream, 1500, || rows(&database, "session_upstream")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b24_abandoned_sessions_are_given_back_with_sqlite_and_after_a_restart() {
    let upstream = ScriptedUpstream::start().await;
    let config = Config::of(&[("notes", &upstream)]).general("mcp_session_idle_ms: 3000");
    let mut gateway = config.start().await;
    listed(&gateway, "notes").await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = gateway.mcp();
        client.initialize().await;
        client.call("notes-echo", &message("x"), None).await.result();
        clients.push(client);
    }
    gateway.kill9().await;
    assert!(upstream.sessions() >= 50);
    gateway.restart().await;
    eventually("what the last process opened is ended", PATIENCE, async || {
        upstream.sessions() <= 1
    })
    .await;
    assert!(upstream.count("DELETE") >= 50);
    assert_calm(&gateway);
}

// === What a client sets ===

fn with_resources() -> trunkline_testkit::UpstreamBuilder {
    let capabilities = json!({"tools": {}, "logging": {}, "resources": {"subscribe": true}});
    let resources = r#"{"resources":[{"uri":"file:///a","name":"a"},{"uri":"file:///b","name":"b"}]}"#;
    ScriptedUpstream::builder()
        .stateful_tools()
        .initialize_member("capabilities", capabilities)
        .on("resources/list", Act::Result(resources.to_owned()))
        .on("resources/subscribe", Act::Result("{}".to_owned()))
        .on("resources/unsubscribe", Act::Result("{}".to_owned()))
}

fn levels(upstream: &ScriptedUpstream) -> Vec<String> {
    let requests = upstream.requests().into_iter();
    requests
        .filter(|request| request.is("logging/setLevel"))
        .map(|request| {
            request.json()["params"]["level"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

async fn set_level(client: &mut McpClient, level: &str) {
    client
        .request("logging/setLevel", &json!({"level": level}))
        .await
        .result();
}

#[tokio::test]
async fn a_log_level_is_honoured_by_every_replica_and_after_a_restart() {
    let upstream = with_resources().start().await;
    let Some((_database, a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    let mut at_a = a.mcp();
    at_a.initialize().await;
    let mut at_b = moved(&at_a, &b);
    set_level(&mut at_a, "debug").await;
    set(&mut at_b, 1).await;
    assert_eq!(levels(&upstream), ["debug"], "before the call");
    // Known to be warm there: from memory, once that has heard.
    set_level(&mut at_a, "error").await;
    eventually("B has heard", PATIENCE, async || {
        set(&mut at_b, 2).await;
        levels(&upstream).last().is_some_and(|level| level == "error")
    })
    .await;
    let (mut a, mut b) = (a, b);
    a.kill9().await;
    b.kill9().await;
    a.restart().await;
    upstream.clear();
    set(&mut at_a, 3).await;
    assert_eq!(levels(&upstream), ["error"]);
    let refused = at_a.request("logging/setLevel", &json!({"level": "loud"})).await;
    assert_eq!(refused.error().code, -32602);
}

fn subscribed(upstream: &ScriptedUpstream) -> Vec<(Option<String>, String)> {
    let requests = upstream.requests().into_iter();
    requests
        .filter(|request| request.is("resources/subscribe"))
        .map(|request| {
            let uri = request.json()["params"]["uri"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            (request.session, uri)
        })
        .collect()
}

#[tokio::test]
async fn what_an_upstream_forgets_is_set_again_whatever_replica_finds_out() {
    let upstream = with_resources().start().await;
    let Some((database, a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    let mut at_a = a.mcp();
    at_a.initialize().await;
    let mut at_b = moved(&at_a, &b);
    for uri in ["file:///a", "file:///b"] {
        at_a.request("resources/subscribe", &json!({"uri": uri}))
            .await
            .result();
    }
    at_a.request("resources/unsubscribe", &json!({"uri": "file:///a"}))
        .await
        .result();
    set_level(&mut at_a, "info").await;
    set(&mut at_b, 1).await;
    let old = sessions_of(&upstream, "tools/call");
    upstream.expire_sessions();
    upstream.clear();

    // B finds out. A, which had opened it, goes on with B's.
    set(&mut at_b, 2).await;
    assert_eq!(get(&mut at_a).await, "2");
    assert_eq!(upstream.count("initialize"), 1);
    assert_eq!(rows(&database, "session_upstream"), 1);
    let new = sessions_of(&upstream, "tools/call");
    let new: Vec<_> = new.difference(&old).cloned().collect();
    assert_eq!(new.len(), 1);
    eventually("it is subscribed again", PATIENCE, async || {
        subscribed(&upstream) == [(new[0].clone(), "file:///b".to_owned())]
    })
    .await;
    assert!(levels(&upstream).contains(&"info".to_owned()));
}

#[tokio::test]
async fn b22_changed_roots_reach_the_session_that_another_replica_opened() {
    const CHANGED: &str = "notifications/roots/list_changed";
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let Some((_database, a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    let mut at_a = a.mcp();
    at_a.initialize().await;
    set(&mut at_a, 1).await;
    let opened = upstream.count("initialize");
    let message = json!({"jsonrpc": "2.0", "method": CHANGED}).to_string();
    // B has never had a request of the client; A has the session itself. Each tells the server once.
    for (at, told) in [(moved(&at_a, &b), 1), (at_a, 2)] {
        assert_eq!(at.send_message(message.clone()).await.unwrap().status, 202);
        eventually("the server is told", PATIENCE, async || {
            upstream.count(CHANGED) >= told
        })
        .await;
        tokio::time::sleep(SOON).await;
        assert_eq!(upstream.count(CHANGED), told);
    }
    assert_eq!(
        sessions_of(&upstream, CHANGED),
        sessions_of(&upstream, "tools/call")
    );
    assert_eq!(
        upstream.count("initialize"),
        opened,
        "no session was opened for it"
    );
}

// === Streams ===

fn is_stream_of(request: &Recorded, session: Option<&str>) -> bool {
    request.is("GET") && request.session.as_deref() == session
}

#[tokio::test]
async fn a_stream_on_one_replica_has_what_comes_of_posts_to_another() {
    let upstream = with_resources().start().await;
    let Some((_database, a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    let mut at_a = a.mcp().with_capabilities(json!({"sampling": {}}));
    at_a.initialize().await;
    let at_b = moved(&at_a, &b);
    let mut stream = at_b.get_stream().await;
    assert_eq!(stream.status(), 200);
    at_a.request("resources/subscribe", &json!({"uri": "file:///a"}))
        .await
        .result();
    let session = sessions_of(&upstream, "resources/subscribe")
        .into_iter()
        .next()
        .unwrap();
    let streams = || {
        let requests = upstream.requests().into_iter();
        requests
            .filter(|request| is_stream_of(request, session.as_deref()))
            .count()
    };
    eventually("B listens to what A opened", PATIENCE, async || streams() == 1).await;
    // A call that wants progress does not make A listen as well.
    at_a.call("notes-set_value", &json!({"value": 1}), Some("t"))
        .await
        .result();
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "file:///a"}});
    upstream.push(&updated);
    assert_eq!(stream.expect_next(PATIENCE).await, updated);
    assert_eq!(streams(), 1);

    // What is asked there is answered at A.
    upstream.push(&json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}));
    let question = stream.expect_next(PATIENCE).await;
    assert_eq!(question["method"], "sampling/createMessage", "{question}");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "assistant"}});
    assert_eq!(at_a.send_message(answer.to_string()).await.unwrap().status, 202);
    eventually("the server has the answer", PATIENCE, async || {
        let requests = upstream.requests().into_iter();
        requests
            .filter(|request| request.json()["id"] == "q" && request.session == session)
            .count()
            == 1
    })
    .await;

    // The client's stream moves to A: B's ends, and what is said comes once.
    let mut later = at_a.get_stream().await;
    let (events, broken) = tokio::time::timeout(PATIENCE, stream.rest())
        .await
        .expect("B's stream ends");
    assert!(events.is_empty() && broken.is_none(), "{events:?} {broken:?}");
    eventually("A listens", PATIENCE, async || streams() == 2).await;
    upstream.push(&updated);
    assert_eq!(later.expect_next(PATIENCE).await, updated);
    set_level(&mut at_a, "info").await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), later.next()).await;
    assert!(quiet.is_err(), "once: {quiet:?}");
    for gateway in [&a, &b] {
        assert_calm(gateway);
    }
}

#[tokio::test]
async fn a_stream_finds_what_was_opened_before_it_and_after_a_restart() {
    let upstream = with_resources().start().await;
    let Some((_database, mut a, b)) = two(&Config::of(&[("notes", &upstream)]), &upstream).await else {
        return;
    };
    let mut at_a = a.mcp();
    at_a.initialize().await;
    set(&mut at_a, 1).await;
    let session = sessions_of(&upstream, "tools/call").into_iter().next().unwrap();
    a.kill9().await;
    upstream.clear();
    let mut stream = moved(&at_a, &b).get_stream().await;
    let listens = || {
        upstream
            .requests()
            .iter()
            .any(|request| is_stream_of(request, session.as_deref()))
    };
    eventually("B listens to what A opened", PATIENCE, async || listens()).await;
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
    upstream.push(&log);
    assert_eq!(stream.expect_next(PATIENCE).await, log);
    // The server ends its streams: they are asked for again.
    upstream.clear();
    upstream.reopen(trunkline_testkit::Socket::Serve).await;
    eventually("B listens again", PATIENCE, async || listens()).await;
    upstream.push(&log);
    assert_eq!(stream.expect_next(PATIENCE).await, log);
}

/// The server is of the new era, which has no sessions: the replica that has the client's stream listens.
#[tokio::test]
async fn b61_a_subscription_with_a_server_of_the_new_era_is_heard_where_the_stream_is() {
    const MODERN: &str = "2026-07-28";
    let found = json!({
        "resultType": "complete",
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}, "resources": {"subscribe": true}},
        "ttlMs": 0,
        "cacheScope": "private",
    });
    let upstream = ScriptedUpstream::builder()
        .sessions(trunkline_testkit::Sessions::Off)
        .revisions(&[MODERN])
        .on("server/discover", Act::Result(found.to_string()))
        .on("subscriptions/listen", Act::Listen)
        .start()
        .await;
    let config = Config::default().server("notes", &upstream, &format!("protocol_version: \"{MODERN}\""));
    let Some((_database, mut a, b)) = two(&config, &upstream).await else {
        return;
    };
    let mut at_a = a.mcp_at("/notes/mcp");
    at_a.initialize().await;
    let mut at_b = b.mcp_at("/notes/mcp");
    at_b.set_session(at_a.session());
    let mut stream = at_b.get_stream().await;
    for uri in ["a://1", "a://2"] {
        at_a.request("resources/subscribe", &json!({"uri": uri}))
            .await
            .result();
    }
    at_a.request("resources/unsubscribe", &json!({"uri": "a://2"}))
        .await
        .result();
    a.kill9().await;
    eventually("B listens, to the one alone", PATIENCE, async || {
        let mut asked = upstream.requests().into_iter();
        let last = asked.rfind(|request| request.is("subscriptions/listen"));
        let wanted = json!(["a://1"]);
        let is_last = last
            .is_some_and(|last| last.json()["params"]["notifications"]["resourceSubscriptions"] == wanted);
        is_last && upstream.listeners() == 1
    })
    .await;
    let updated =
        json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "a://1"}});
    upstream.push(&updated);
    assert_eq!(stream.expect_next(PATIENCE).await, updated);
    at_b.request("resources/unsubscribe", &json!({"uri": "a://1"}))
        .await
        .result();
    eventually("nothing is listened to", PATIENCE, async || {
        upstream.listeners() == 0
    })
    .await;
    assert_calm(&b);
}
