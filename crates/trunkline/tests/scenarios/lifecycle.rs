//! Starts, failing servers, many clients at once.

use std::time::{Duration, Instant};

use serde_json::Value;
use trunkline_testkit::{Act, ScriptedUpstream, Sessions, Socket, ToolAnswer, eventually};

use crate::support::{
    Config, PATIENCE, assert_calm, becomes, gateway_of, listed, message, names, outcome, said, tool,
};

#[tokio::test(flavor = "multi_thread")]
async fn b01_servers_that_fail_delay_neither_start_nor_list_within_bounds() {
    let mut config = Config::default();
    let (mut good, mut refusing, mut hanging) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..12 {
        let (kind, group, upstream) = match number {
            0..7 => ("good", &mut good, ScriptedUpstream::start().await),
            7..10 => ("refusing", &mut refusing, ScriptedUpstream::refusing().await),
            _ => ("hanging", &mut hanging, ScriptedUpstream::hanging().await),
        };
        let name = format!("{kind}{number}");
        config = config.server(&name, &upstream, "");
        group.push((name, upstream));
    }
    let gateway = config.start().await;
    // The scenario says a second; twice that for a debug build.
    assert!(
        gateway.started_in() < Duration::from_secs(2),
        "{:?}",
        gateway.started_in()
    );

    let mut client = gateway.mcp();
    client.initialize().await;
    let reply = client.request("tools/list", &Value::Null).await;
    assert!(reply.elapsed < Duration::from_secs(4), "{:?}", reply.elapsed);
    let list = reply.result();
    assert_eq!(names(&list).len(), 7, "{list}");
    for (name, _) in &good {
        assert_eq!(outcome(&list, name)["status"], "ok");
    }
    for (name, _) in &refusing {
        let outcome = outcome(&list, name);
        assert_eq!(outcome["status"], "unreachable", "{outcome}");
        assert!(outcome["hint"].is_string(), "{outcome}");
    }
    for (name, _) in &hanging {
        let outcome = outcome(&list, name);
        assert_eq!(outcome["status"], "timeout", "{outcome}");
        assert!(outcome["hint"].is_string(), "{outcome}");
    }
    // What is down costs the next list nothing.
    let again = client.request("tools/list", &Value::Null).await;
    assert!(again.elapsed < Duration::from_secs(1), "{:?}", again.elapsed);
    assert_eq!(names(&again.result()).len(), 7);
}

/// Nobody lists: a client that was told "six tools" would never ask again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn b01_a_server_that_was_down_is_tried_again_by_itself() {
    let late = ScriptedUpstream::refusing().await;
    let gateway = Config::of(&[("late", &late)]).start().await;
    becomes(&gateway, "late", "unreachable").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let mut standing = client.get_stream().await;
    late.reopen(Socket::Serve).await;
    let told = standing.expect_next(PATIENCE).await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(client.tool_names().await, ["late-echo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn b02_two_hundred_clients_begin_at_once_on_a_cold_process() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::of(&[("files", &upstream)]).start().await;
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let mut client = gateway.mcp();
            tokio::spawn(async move {
                client.initialize().await;
                let session = client.session().unwrap().to_owned();
                (session, client.tool_names().await)
            })
        })
        .collect();
    let mut sessions = std::collections::HashSet::new();
    for client in clients {
        let (session, tools) = client.await.unwrap();
        assert_eq!(tools, ["files-echo"]);
        assert!(sessions.insert(session), "two clients with one session");
    }
    assert_eq!(upstream.count("initialize"), 1);
    assert_eq!(upstream.count("tools/list"), 1);
    assert_calm(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_a_server_that_drops_connections_while_they_open_harms_nobody_else() {
    let (fine, broken) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    broken.on("initialize", Act::Drop);
    let gateway = Config::of(&[("fine", &fine), ("broken", &broken)]).start().await;
    let lists: Vec<_> = (0..100)
        .map(|_| {
            let mut client = gateway.mcp();
            tokio::spawn(async move { client.request("tools/list", &Value::Null).await.result() })
        })
        .collect();
    for list in lists {
        let list = list.await.unwrap();
        assert_eq!(names(&list), ["fine-echo"], "{list}");
        assert_eq!(outcome(&list, "broken")["status"], "unreachable", "{list}");
        assert_eq!(outcome(&list, "broken")["step"], "initialize", "{list}");
    }
    assert_calm(&gateway);
    broken.behave();
    listed(&gateway, "broken").await;
    assert_eq!(gateway.mcp().tool_names().await, ["broken-echo", "fine-echo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn b04_a_thousand_calls_of_a_tool_that_is_not_there() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let before = client.list_tools().await;
    upstream.clear();
    for number in 0..1000 {
        // The first has the server's prefix, the second has none.
        let name = ["files-ghost", "ghost"][number % 2];
        let error = client.call(name, &message("boo"), None).await.error();
        assert_eq!(error.code, -32602, "{error:?}");
        assert!(error.message.contains("Unknown tool"), "{error:?}");
        if number % 100 == 0 {
            assert_eq!(
                said(&client.call("files-echo", &message("hello"), None).await),
                "hello"
            );
        }
    }
    assert_eq!(client.list_tools().await, before);
    assert_eq!(
        upstream.count("tools/call"),
        10,
        "a name that nobody has reaches nobody"
    );
    // Looking for it again is allowed, not a thousand times.
    assert!(
        upstream.count("tools/list") < 20,
        "{}",
        upstream.count("tools/list")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_a_slow_call_does_not_hold_up_a_fast_one() {
    let slow = Duration::from_millis(1500);
    let upstream = ScriptedUpstream::builder()
        .tool(tool("fast"))
        .tool_fn(&tool("slow"), move |call| ToolAnswer::progress(call, 1, slow))
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let (mut first, mut second) = (gateway.mcp(), gateway.mcp());
    first.initialize().await;
    second.initialize().await;
    let slow_call = tokio::spawn(async move { first.call("files-slow", &message(""), None).await });
    eventually("the slow call is there", PATIENCE, async || {
        upstream.count("tools/call") == 1
    })
    .await;
    assert_eq!(
        said(&second.call("files-fast", &message("quick"), None).await),
        "quick"
    );
    assert!(!slow_call.is_finished(), "the fast call waited for the slow one");
    assert_eq!(said(&slow_call.await.unwrap()), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_a_limit_is_kept_and_its_queue_is_bounded() {
    let busy = ScriptedUpstream::builder().sessions(Sessions::Off).start().await;
    let other = ScriptedUpstream::start().await;
    let gateway = Config::default()
        .server("busy", &busy, "max_concurrent_requests: 8")
        .server("other", &other, "")
        .start()
        .await;
    listed(&gateway, "busy").await;
    listed(&gateway, "other").await;
    // The first eight take long enough for all to arrive; the rest are answered at once when their turn comes.
    busy.on("tools/call", Act::Delay(Duration::from_secs(4)));
    let calls: Vec<_> = (0..160)
        .map(|_| {
            let mut client = gateway.mcp();
            tokio::spawn(async move { client.call("busy-echo", &message("x"), None).await.outcome() })
        })
        .collect();
    // 8 run, 16 for each of them may wait.
    let refused = 160 - 8 - 8 * 16;
    eventually("what is too much is refused", PATIENCE, async || {
        calls.iter().filter(|call| call.is_finished()).count() == refused
    })
    .await;
    busy.behave();

    let began = Instant::now();
    assert_eq!(
        said(&gateway.mcp().call("other-echo", &message("free"), None).await),
        "free"
    );
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "the other server is held up: {:?}",
        began.elapsed()
    );

    let mut errors = Vec::new();
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            errors.push(error);
        }
    }
    assert_eq!(errors.len(), refused);
    for error in &errors {
        let outcome = &error.data["outcome"];
        assert_eq!(outcome["status"], "rate_limited", "{error:?}");
        assert!(
            error.message.contains("max_concurrent_requests"),
            "{}",
            error.message
        );
    }
    assert_eq!(busy.max_in_flight(), 8);
    assert_eq!(busy.count("tools/call"), 160 - refused);
}
