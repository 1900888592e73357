//! The scripted server, looked at with a raw client: proper where it should be, and wrong in the way it was told.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use trunkline_testkit::{
    Act, Cursors, Framing, HttpClient, McpClient, ScriptedUpstream, Sessions, Socket, ToolAnswer,
    UpstreamBuilder, eventually,
};

const SOON: Duration = Duration::from_secs(5);

async fn client(upstream: &ScriptedUpstream) -> McpClient {
    let mut client = McpClient::new(&upstream.url());
    client.initialize().await;
    client
}

fn all_framings() -> [UpstreamBuilder; 2] {
    [Framing::Sse, Framing::Json].map(|framing| ScriptedUpstream::builder().framing(framing))
}

#[tokio::test]
async fn a_session_from_initialize_to_delete() {
    for builder in all_framings() {
        let upstream = builder.start().await;
        let mut client = client(&upstream).await;
        assert_eq!(client.negotiated(), Some("2025-06-18"));
        assert!(client.session().is_some());
        assert_eq!(client.tool_names().await, ["echo"]);
        let answer = client
            .call("echo", &json!({"message": "hé \"llo\n"}), None)
            .await
            .result();
        assert_eq!(
            answer,
            json!({"content": [{"type": "text", "text": "hé \"llo\n"}], "isError": false})
        );
        assert_eq!(client.request("ping", &Value::Null).await.result(), json!({}));
        assert_eq!(
            client.request("resources/list", &Value::Null).await.error().code,
            -32601
        );
        assert_eq!(client.call("nope", &json!({}), None).await.error().code, -32602);
        assert_eq!(upstream.sessions(), 1);
        assert_eq!(client.delete().await.status, 200);
        assert_eq!(upstream.sessions(), 0);
        assert_eq!(client.request("tools/list", &Value::Null).await.status, 404);
    }
}

#[tokio::test]
async fn every_request_is_recorded() {
    let upstream = ScriptedUpstream::start().await;
    let mut client = client(&upstream).await.with_header("x-probe", "42");
    client.tool_names().await;
    let methods: Vec<_> = upstream
        .requests()
        .into_iter()
        .filter_map(|request| request.method)
        .collect();
    assert_eq!(methods, ["initialize", "notifications/initialized", "tools/list"]);
    let last = upstream.requests().pop().unwrap();
    assert_eq!(
        (last.header("x-probe"), last.session.as_deref()),
        (Some("42"), client.session())
    );
    assert_eq!((last.path.as_str(), last.status.unwrap().as_u16()), ("/mcp", 200));
    assert_eq!(last.json()["method"], "tools/list");
    assert!(upstream.everything().contains("x-probe"));
    upstream.clear();
    assert_eq!((upstream.count("initialize"), upstream.requests().len()), (0, 0));
    client.delete().await;
    assert_eq!(upstream.count("DELETE"), 1);
}

#[tokio::test]
async fn what_a_client_does_wrong_is_refused() {
    let upstream = ScriptedUpstream::start().await;
    let client = client(&upstream).await;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let status = async |edit: fn(&mut http::Request<Bytes>), body: &'static str| {
        let mut request = client.post(body);
        edit(&mut request);
        client.http().try_send(request).await.unwrap().status.as_u16()
    };
    assert_eq!(status(|_| (), list).await, 200);
    assert_eq!(
        status(|request| drop(request.headers_mut().remove("accept")), list).await,
        406
    );
    assert_eq!(
        status(|request| drop(request.headers_mut().remove("content-type")), list).await,
        415
    );
    assert_eq!(
        status(
            |request| drop(request.headers_mut().remove("mcp-session-id")),
            list
        )
        .await,
        400
    );
    assert_eq!(status(|_| (), "{oops").await, 400);
    assert_eq!(
        status(|_| (), r#"{"jsonrpc":"2.0","id":9,"result":{}}"#).await,
        202
    );
    let bad_revision = |request: &mut http::Request<Bytes>| {
        request
            .headers_mut()
            .insert("mcp-protocol-version", "1999-01-01".parse().unwrap());
    };
    assert_eq!(status(bad_revision, list).await, 400);
    assert_eq!(HttpClient::new(&upstream.url()).get("/other").await.status, 404);
}

#[tokio::test]
async fn sessions_are_forgotten_in_either_manner() {
    for (sessions, status, words) in [
        (Sessions::NotFound, 404, "Session not found"),
        (
            Sessions::FastMcp,
            400,
            "Bad Request: No valid session ID provided",
        ),
    ] {
        let upstream = ScriptedUpstream::builder()
            .sessions(sessions)
            .stateful_tools()
            .start()
            .await;
        let mut client = client(&upstream).await;
        client
            .call("set_value", &json!({"value": [1]}), None)
            .await
            .result();
        let kept = client.call("get_value", &json!({}), None).await.result();
        assert_eq!(kept["content"][0]["text"], "[1]");
        let mut other = McpClient::new(&upstream.url());
        other.initialize().await;
        assert_eq!(
            other.call("get_value", &json!({}), None).await.result()["isError"],
            true
        );
        upstream.expire_sessions();
        let refused = client.request("tools/list", &Value::Null).await;
        assert_eq!(
            (
                refused.status.as_u16(),
                String::from_utf8_lossy(&refused.raw).as_ref()
            ),
            (status, words)
        );
    }
    let upstream = ScriptedUpstream::builder().sessions(Sessions::Off).start().await;
    let mut client = client(&upstream).await;
    assert_eq!(client.session(), None);
    assert_eq!(client.tool_names().await, ["echo"]);
}

#[tokio::test]
async fn a_key_is_asked_for_and_may_change() {
    let upstream = ScriptedUpstream::builder()
        .bearer("k1")
        .require_header("x-tenant", "acme")
        .challenge("Bearer realm=\"x\"")
        .start()
        .await;
    let bare = McpClient::new(&upstream.url()).initialize_only().await;
    assert_eq!(
        (bare.status.as_u16(), bare.header("www-authenticate")),
        (401, Some("Bearer realm=\"x\""))
    );
    let mut client = McpClient::new(&upstream.url()).with_header("authorization", "Bearer k1");
    assert_eq!(client.initialize_only().await.status, 401);
    client = client.with_header("x-tenant", "acme");
    client.initialize().await;
    upstream.set_bearer(Some("k2"));
    assert_eq!(client.request("ping", &Value::Null).await.status, 401);
    upstream.set_bearer(None);
    assert_eq!(client.request("ping", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn pages_and_their_odd_cursors() {
    let paged = || ScriptedUpstream::builder().tools("t", 437).page_size(100);
    let upstream = paged().start().await;
    let names = client(&upstream).await.tool_names().await;
    assert_eq!(
        (names.len(), names[436].as_str(), upstream.count("tools/list")),
        (437, "t_436", 5)
    );

    let upstream = paged().cursors(Cursors::RepeatedOnce(2)).start().await;
    let names = client(&upstream).await.tool_names().await;
    assert_eq!(
        (names.len(), upstream.count("tools/list")),
        (537, 6),
        "page 2 comes twice"
    );

    for (cursors, at, next) in [
        (Cursors::Loop(4), "page-4", "page-4"),
        (Cursors::Endless, "page-99", "page-100"),
    ] {
        let upstream = paged().cursors(cursors).start().await;
        let page = client(&upstream)
            .await
            .request("tools/list", &json!({"cursor": at}))
            .await
            .result();
        assert_eq!(page["nextCursor"], next, "{cursors:?}");
    }
    let upstream = paged().start().await;
    let refused = client(&upstream)
        .await
        .request("tools/list", &json!({"cursor": "x"}))
        .await;
    assert_eq!(refused.error().code, -32602);
}

#[tokio::test]
async fn definitions_and_results_go_out_byte_for_byte() {
    let definition = r#"{ "name":"raw", "inputSchema" : {"type":"object","maximum":1e400, "default":12345678901234567890123} }"#;
    let result = "{\"content\":[{\"type\":\"image\",\"data\":\"AA==\",\"mimeType\":\"image/png\"}],\n \"_meta\":{\"a\":1.0},\"structuredContent\":{\"n\":0.10}}";
    for builder in all_framings() {
        let upstream = builder
            .tool_raw(definition, |_| ToolAnswer::Raw(result.to_owned()))
            .start()
            .await;
        let mut client = client(&upstream).await;
        let list = client.request("tools/list", &Value::Null).await;
        assert!(
            String::from_utf8_lossy(&list.raw).contains(definition),
            "{}",
            list.everything()
        );
        let call = client.call("raw", &json!({}), None).await;
        let raw = String::from_utf8_lossy(&call.raw).replace("\ndata: ", "\n");
        assert!(raw.contains(result), "{}", call.everything());
    }
}

#[tokio::test]
async fn notifications_come_spaced_and_before_the_result() {
    let every = Duration::from_millis(60);
    let definition = json!({"name": "slow", "inputSchema": {"type": "object"}});
    let upstream = ScriptedUpstream::builder()
        .framing(Framing::Json)
        .tool_fn(&definition, move |call| ToolAnswer::progress(call, 3, every))
        .start()
        .await;
    let mut client = client(&upstream).await;
    let reply = client.call("slow", &json!({}), Some("tok")).await;
    let notes: Vec<_> = reply.notifications();
    assert!(reply.streamed);
    assert_eq!(notes.len(), 6);
    assert_eq!(notes[4].message["params"]["progress"], 3);
    assert_eq!(notes[4].message["params"]["progressToken"], "tok");
    assert!(
        notes[4].at >= notes[0].at + every + every,
        "{:?} {:?}",
        notes[0].at,
        notes[4].at
    );
    assert_eq!(reply.result()["content"][0]["text"], "done");

    let mut stream = client.call_stream("slow", &json!({}), Some("tok")).await;
    assert_eq!(stream.expect_next(SOON).await["method"], "notifications/progress");
    let (rest, broken) = stream.rest().await;
    assert_eq!((rest.len(), broken.is_none()), (6, true));
}

#[tokio::test]
async fn the_get_stream_carries_what_is_pushed() {
    let upstream = ScriptedUpstream::start().await;
    let client = client(&upstream).await;
    let mut stream = client.get_stream().await;
    assert_eq!(stream.status(), 200);
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    upstream.push(&changed);
    assert_eq!(stream.expect_next(SOON).await, changed);
    let without = ScriptedUpstream::builder().no_get_stream().start().await;
    assert_eq!(McpClient::new(&without.url()).get_stream().await.status(), 405);
}

#[tokio::test]
async fn acts_take_the_place_of_one_answer_or_all() {
    let upstream = ScriptedUpstream::start().await;
    let mut client = client(&upstream).await.with_limit(Duration::from_millis(300));
    upstream.once("tools/list", Act::status(500, "out of memory"));
    let failed = client.request("tools/list", &Value::Null).await;
    assert_eq!(
        (failed.status.as_u16(), failed.raw.as_ref()),
        (500, b"out of memory".as_slice())
    );
    assert_eq!(
        client.request("tools/list", &Value::Null).await.status,
        200,
        "once is once"
    );

    upstream.on("tools/list", Act::rate_limited(7));
    upstream.on("*", Act::Hang);
    let limited = client.request("tools/list", &Value::Null).await;
    assert_eq!(
        (limited.status.as_u16(), limited.header("retry-after")),
        (429, Some("7"))
    );
    client
        .try_request("ping", &Value::Null)
        .await
        .expect_err("it hangs");
    upstream.behave();
    assert_eq!(client.request("ping", &Value::Null).await.status, 200);

    for act in [Act::Drop, Act::Truncate(20)] {
        upstream.once("ping", act.clone());
        let error = client
            .try_request("ping", &Value::Null)
            .await
            .expect_err("the connection is closed");
        assert!(!error.0.contains("within"), "{act:?}: {error}");
    }
    upstream.once("ping", Act::Delay(Duration::from_millis(100)));
    assert!(client.request("ping", &Value::Null).await.elapsed >= Duration::from_millis(100));
    upstream.once("ping", Act::Result("{\"x\":1}".into()));
    assert_eq!(
        client.request("ping", &Value::Null).await.result(),
        json!({"x": 1})
    );
    let by_header = Act::ByHeader {
        name: "x-who".into(),
        results: vec![(String::new(), "{\"who\":null}".into())],
    };
    upstream.once("ping", by_header.clone());
    assert_eq!(
        client.request("ping", &Value::Null).await.result(),
        json!({"who": null})
    );
    upstream.once("ping", by_header);
    let stranger = client
        .clone()
        .with_header("x-who", "b")
        .request("ping", &Value::Null)
        .await;
    assert_eq!(stranger.status, 401);
    upstream.once(
        "ping",
        Act::Error {
            code: -32000,
            message: "no".into(),
        },
    );
    assert_eq!(client.request("ping", &Value::Null).await.error().message, "no");
    for act in [
        Act::html(),
        Act::not_json(),
        Act::redirect("http://elsewhere.test/"),
    ] {
        upstream.once("ping", act.clone());
        assert!(
            client.request("ping", &Value::Null).await.events.is_empty(),
            "{act:?}"
        );
    }
}

#[tokio::test]
async fn hostile_streams_are_giant_or_never_end() {
    for builder in all_framings() {
        let upstream = builder.start().await;
        let mut client = client(&upstream).await;
        upstream.once("ping", Act::GiantFrame(3_000_000));
        let giant = client.request("ping", &Value::Null).await;
        assert!(giant.raw.len() > 3_000_000);
        assert_eq!(giant.result(), json!({}));
        upstream.once("tools/call", Act::EndlessNotifications(Duration::ZERO));
        let mut endless = client.call_stream("echo", &json!({}), Some("t")).await;
        for _ in 0..1000 {
            assert_eq!(endless.expect_next(SOON).await["params"]["progressToken"], "t");
        }
        for act in [
            Act::SlowLoris(Duration::from_millis(5)),
            Act::KeepAlivesOnly(Duration::from_millis(5)),
        ] {
            upstream.once("ping", act.clone());
            let mut stream = client.open("ping", &Value::Null).await;
            let next = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
            assert!(next.is_err(), "{act:?}: {next:?}");
        }
    }
}

#[tokio::test]
async fn answers_stop_in_the_middle_or_are_for_somebody_else() {
    for builder in all_framings() {
        let upstream = builder.start().await;
        let mut client = client(&upstream).await;
        for (act, at_least) in [
            (Act::Stall(0), 0),
            (Act::Stall(8), 8),
            (Act::EndlessBody, 100_000),
        ] {
            upstream.once("ping", act.clone());
            let request = client.post(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#);
            let mut answer = client.http().open(request).await.unwrap();
            assert_eq!(answer.status, 200, "{act:?}");
            let mut read = 0;
            while let Ok(next) = tokio::time::timeout(Duration::from_millis(100), answer.next()).await {
                read += next.unwrap().unwrap().1.len();
                if read > 200_000 {
                    break;
                }
            }
            assert!(read >= at_least, "{act:?}: {read}");
        }
        upstream.once("ping", Act::WrongId);
        let reply = client.request("ping", &Value::Null).await;
        assert_eq!(reply.events[0].message["id"], "of-another-request");
    }
}

#[tokio::test]
async fn sockets_refuse_hang_close_and_talk_nonsense() {
    let client =
        |upstream: &ScriptedUpstream| McpClient::new(&upstream.url()).with_limit(Duration::from_millis(300));
    let failure = async |upstream: &ScriptedUpstream| {
        client(upstream)
            .try_request("ping", &Value::Null)
            .await
            .expect_err("no answer")
            .0
    };
    let refusing = ScriptedUpstream::refusing().await;
    assert!(failure(&refusing).await.contains("refused"));
    let hanging = ScriptedUpstream::hanging().await;
    assert!(failure(&hanging).await.contains("no answer within"));
    let raw = Socket::Raw(Bytes::from_static(b"SSH-2.0-OpenSSH_9.9\r\n"));
    for socket in [Socket::Close, raw] {
        let upstream = ScriptedUpstream::builder().socket(socket.clone()).start().await;
        let words = failure(&upstream).await;
        assert!(!words.contains("within"), "{socket:?}: {words}");
    }
    // One that refuses may be mended, and the other way round.
    refusing.reopen(Socket::Serve).await;
    client(&refusing).initialize().await;
    refusing.stop().await;
    assert!(failure(&refusing).await.contains("refused"));
}

#[tokio::test]
async fn stopping_closes_open_streams() {
    let upstream = ScriptedUpstream::start().await;
    let stream = client(&upstream).await.get_stream().await;
    upstream.stop().await;
    let ended = tokio::time::timeout(SOON, stream.rest())
        .await
        .expect("the stream ends");
    assert!(ended.1.is_some(), "it was broken off");
}

#[tokio::test]
async fn a_mounted_application_redirects_to_the_slash() {
    let upstream = ScriptedUpstream::builder().redirect_slash().start().await;
    let redirected = McpClient::new(&upstream.url()).initialize_only().await;
    assert_eq!(
        (redirected.status.as_u16(), redirected.header("location")),
        (307, Some("/mcp/"))
    );
    McpClient::new(&format!("{}/", upstream.url())).initialize().await;
}

#[tokio::test]
async fn requests_in_flight_are_counted_until_their_answer_is_read() {
    let definition = json!({"name": "slow", "inputSchema": {"type": "object"}});
    let pause = Duration::from_millis(150);
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&definition, move |call| ToolAnswer::progress(call, 1, pause))
        .start()
        .await;
    let client = client(&upstream).await;
    let began = Instant::now();
    let calls = (0..5).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move { client.call("slow", &json!({}), None).await.result() })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(upstream.max_in_flight(), 5);
    assert!(began.elapsed() < 4 * pause, "they ran at the same time");
    assert_eq!(upstream.connections(), 7);
}

#[tokio::test]
async fn eventually_waits_for_what_comes() {
    let began = Instant::now();
    eventually("a moment has passed", SOON, async || {
        began.elapsed() > Duration::from_millis(30)
    })
    .await;
}

#[tokio::test]
async fn any_request_can_be_answered_with_messages() {
    let note = |number: u32| json!({"jsonrpc": "2.0", "method": "notifications/x", "params": {"n": number}});
    let upstream = ScriptedUpstream::start().await;
    let mut client = client(&upstream).await;
    let told = |result| Act::Events {
        before: vec![note(1)],
        result,
    };
    upstream.once("ping", told(Some(json!({"x": 1}))));
    let reply = client.request("ping", &Value::Null).await;
    assert_eq!(
        (reply.notifications().len(), reply.result()),
        (1, json!({"x": 1}))
    );
    upstream.once("ping", told(None));
    let mut stream = client.open("ping", &Value::Null).await;
    assert_eq!(stream.expect_next(SOON).await, note(1));
    upstream.push(&note(2));
    assert_eq!(stream.expect_next(SOON).await, note(2));
}
