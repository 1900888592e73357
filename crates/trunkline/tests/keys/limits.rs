//! Limits of calls: the same on every way in, exact whoever comes at the same time, and nothing is sent of what is refused.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use trunkline_testkit::{ScratchDatabase, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall};

use crate::matrix::{call, is_done, with_everything};
use crate::support::{WAYS, Way, config, generate, listed, post, with};

async fn upstream() -> ScriptedUpstream {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let slow = |call: &ToolCall| ToolAnswer::progress(call, 5, Duration::from_millis(100));
    ScriptedUpstream::builder()
        .tool_fn(&tool("read"), |_: &ToolCall| ToolAnswer::text("done"))
        .tool_fn(&tool("slow"), slow)
        .start()
        .await
}

async fn world(more: &str) -> (TestGateway, [ScriptedUpstream; 2]) {
    let upstreams = [upstream().await, upstream().await];
    let [files, notes] = &upstreams;
    let gateway = TestGateway::start(&config(&[("files", files, ""), ("notes", notes, more)])).await;
    listed(&gateway, &["files", "notes"]).await;
    (gateway, upstreams)
}

/// A key that may use everything, within these limits.
async fn limited(gateway: &TestGateway, limits: Value) -> String {
    let mut body = json!({"object_permission": {"mcp_servers": ["files", "notes"]}});
    body.as_object_mut()
        .unwrap()
        .extend(limits.as_object().unwrap().clone());
    generate(gateway, body).await["key"].as_str().unwrap().to_owned()
}

/// Calls a tool; whether it was run, or the name of the limit that it is refused by.
async fn called(gateway: &TestGateway, way: Way, key: &str, tool: &str) -> Result<(), String> {
    let (status, said) = way
        .ask(&with(gateway, key), None, "tools/call", &call(tool))
        .await;
    if is_done(&said) {
        return Ok(());
    }
    if matches!(way, Way::Rest | Way::AllTools) {
        assert_eq!(
            (status, &said["detail"]["error"]),
            (429, &json!("rate_limit_exceeded")),
            "{said}"
        );
        let text = said["detail"]["message"].as_str().unwrap();
        let name = text.strip_prefix("Rate limit exceeded: ").unwrap();
        return Err(name.split(' ').next().unwrap().to_owned());
    }
    // Over HTTP+SSE answers have no status.
    let expected = if way == Way::Sse { 200 } else { 429 };
    assert_eq!(status, expected, "{way:?}: {said}");
    let data = &said["error"]["data"];
    let left = data["retry_after_s"].as_u64().unwrap();
    assert!((1..=60).contains(&left) && data["max"].is_u64(), "{said}");
    Err(data["limit"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_key_has_its_calls_in_a_minute_on_every_way_in() {
    let (gateway, [files, notes]) = world("").await;
    for way in WAYS {
        let mine = limited(&gateway, json!({"rpm_limit": 2, "mcp_rpm_limit": {"Notes": 1}})).await;
        let before = files.count("tools/call") + notes.count("tools/call");
        // Lists, and hand-shakes, are no calls.
        for _ in 0..3 {
            assert!(way.tools(&with(&gateway, &mine), None).await.is_ok(), "{way:?}");
        }
        assert_eq!(
            called(&gateway, way, &mine, "notes-read").await,
            Ok(()),
            "{way:?}"
        );
        for _ in 0..2 {
            assert_eq!(
                called(&gateway, way, &mine, "notes-read").await,
                Err("mcp_rpm_limit".into())
            );
        }
        assert_eq!(
            called(&gateway, way, &mine, "files-read").await,
            Ok(()),
            "counted for none"
        );
        for other in WAYS {
            for tool in ["files-read", "notes-read", "nobody"] {
                let refused = called(&gateway, other, &mine, tool).await;
                assert_eq!(refused, Err("rpm_limit".into()), "{way:?} {other:?}");
            }
        }
        let sent = files.count("tools/call") + notes.count("tools/call") - before;
        assert_eq!(sent, 2, "{way:?}: nothing is sent of what is refused");
    }
    // Others, and who has no limit, are not concerned.
    let other = limited(&gateway, json!({})).await;
    for key in [&other, gateway.master_key()] {
        for _ in 0..5 {
            assert_eq!(called(&gateway, Way::Bare, key, "notes-read").await, Ok(()));
        }
    }
}

#[tokio::test]
async fn a_refused_call_says_when_to_come_back() {
    let (gateway, _upstreams) = world("").await;
    let mine = limited(&gateway, json!({"rpm_limit": 0})).await;
    let http = with(&gateway, &mine).with_header("accept", "application/json, text/event-stream");
    let message = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": call("files-read")});
    let reply = http.post("/mcp", &message).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("retry-after")),
        (429, Some("60"))
    );
    let text = "Rate limit exceeded: rpm_limit of this key is 0 a minute; try again in 60 s";
    assert_eq!(
        reply.json(),
        json!({"jsonrpc": "2.0", "id": "a", "error": {
            "code": -32603, "message": text,
            "data": {"limit": "rpm_limit", "max": 0, "server": null, "retry_after_s": 60},
        }})
    );
    let reply = http.post("/mcp-rest/tools/call", &call("files-read")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("retry-after")),
        (429, Some("60"))
    );
    assert_eq!(
        reply.json(),
        json!({"detail": {"error": "rate_limit_exceeded", "message": text}})
    );
}

/// S35: whatever is asked of a server is one of its calls; and a server's own limit is everybody's.
#[tokio::test]
async fn s35_a_servers_calls_in_a_minute_are_everybodys_and_of_every_method() {
    let upstream = with_everything().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream, "    rpm: 4\n")])).await;
    listed(&gateway, &["files"]).await;
    let keys = [
        generate(&gateway, json!({"object_permission": {"mcp_servers": ["files"]}})).await["key"].clone(),
        gateway.master_key().into(),
    ];
    let key = |number: usize| with(&gateway, keys[number % 2].as_str().unwrap());
    let (prompt, resource) = (json!({"name": "files-greet"}), json!({"uri": "memo://one"}));
    let complete =
        json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": "b"}});
    let methods = [
        ("prompts/get", prompt),
        ("resources/read", resource),
        ("completion/complete", complete),
        ("tools/call", call("files-echo")),
    ];
    // Lists are known after this.
    for method in ["prompts/list", "resources/list"] {
        Way::Bare.ask(&key(0), None, method, &json!({})).await;
    }
    for (number, (method, params)) in methods.iter().enumerate() {
        let (_, said) = Way::Bare.ask(&key(number), None, method, params).await;
        assert!(said.get("result").is_some(), "{method}: {said}");
    }
    let before = upstream.requests().len();
    for (number, (method, params)) in methods.iter().enumerate() {
        for way in [Way::Session, Way::Bare, Way::Modern, Way::Sse] {
            let (_, said) = way.ask(&key(number), None, method, params).await;
            let data = &said["error"]["data"];
            assert_eq!(
                (&data["limit"], &data["server"]),
                (&json!("rpm"), &json!("files")),
                "{way:?} {method}: {said}"
            );
        }
    }
    assert_eq!(upstream.requests().len(), before);
}

#[tokio::test]
async fn limits_are_exact_whoever_comes_at_the_same_time() {
    let (gateway, [files, notes]) = world("    rpm: 7\n").await;
    let mine = limited(&gateway, json!({"rpm_limit": 11})).await;
    let all = (0..40).map(|_| called(&gateway, Way::Bare, &mine, "files-read"));
    let done = join_all(all).await.iter().filter(|called| called.is_ok()).count();
    assert_eq!((done, files.count("tools/call")), (11, 11));
    let keys = join_all((0..3).map(|_| limited(&gateway, json!({})))).await;
    let all = (0..30).map(|number| called(&gateway, Way::Bare, &keys[number % 3], "notes-read"));
    let done = join_all(all).await.iter().filter(|called| called.is_ok()).count();
    assert_eq!((done, notes.count("tools/call")), (7, 7));
}

#[tokio::test]
async fn a_key_has_its_calls_at_the_same_time() {
    let (gateway, [files, _]) = world("").await;
    let mine = limited(&gateway, json!({"max_parallel_requests": 2})).await;
    let slow = async || {
        let http = with(&gateway, &mine);
        Way::Bare
            .ask(&http, None, "tools/call", &call("files-slow"))
            .await
            .1
    };
    let third = async {
        let began = async || files.count("tools/call") == 2;
        trunkline_testkit::eventually("both are under way", Duration::from_secs(10), began).await;
        for way in WAYS {
            let refused = called(&gateway, way, &mine, "files-read").await;
            assert_eq!(refused, Err("max_parallel_requests".into()), "{way:?}");
        }
        assert_eq!(files.count("tools/call"), 2);
    };
    let (one, two, ()) = tokio::join!(slow(), slow(), third);
    assert!(
        one.get("result").is_some() && two.get("result").is_some(),
        "{one} {two}"
    );
    // Their places are free again, however often.
    for way in WAYS {
        assert_eq!(
            called(&gateway, way, &mine, "files-read").await,
            Ok(()),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn limits_are_stored_shown_and_changed_at_once() {
    for is_postgres in [false, true] {
        let (files, notes) = (upstream().await, upstream().await);
        let mut builder =
            TestGateway::builder().config(&config(&[("files", &files, ""), ("notes", &notes, "")]));
        let database = is_postgres.then(ScratchDatabase::create).flatten();
        if let Some(database) = &database {
            builder = builder.database_url(&database.url());
        }
        let mut gateway = builder.start().await;
        listed(&gateway, &["files"]).await;
        let limits = json!({
            "rpm_limit": 1, "max_parallel_requests": 3, "mcp_rpm_limit": {"files": 9, "gone": 0}, "tpm_limit": 5_000_000_000_u64,
            "model_rpm_limit": {"gpt": 0}, "model_tpm_limit": {"gpt": 7, "any other": 1},
        });
        let mut body = json!({"object_permission": {"mcp_servers": ["files"]}});
        body.as_object_mut()
            .unwrap()
            .extend(limits.as_object().unwrap().clone());
        let made = generate(&gateway, body).await;
        assert_eq!(
            made["warnings"],
            json!(["mcp_rpm_limit: no server has the id, name or alias \"gone\""])
        );
        let mine = made["key"].as_str().unwrap();
        gateway.restart().await;
        listed(&gateway, &["files"]).await;
        let info = gateway
            .client()
            .get(&format!("/key/info?key={mine}"))
            .await
            .json();
        for (name, value) in limits.as_object().unwrap() {
            assert_eq!(&info["info"][name], value, "{name}");
            assert_eq!(&made[name], value, "{name}");
        }
        assert_eq!(called(&gateway, Way::Bare, mine, "files-read").await, Ok(()));
        assert!(called(&gateway, Way::Bare, mine, "files-read").await.is_err());
        // What was used up in this minute is used up.
        post(&gateway, "/key/update", json!({"key": mine, "rpm_limit": 2})).await;
        assert_eq!(called(&gateway, Way::Bare, mine, "files-read").await, Ok(()));
        assert!(called(&gateway, Way::Bare, mine, "files-read").await.is_err());
        let none = json!({
            "key": mine, "rpm_limit": null, "max_parallel_requests": null, "mcp_rpm_limit": null, "tpm_limit": null,
            "model_rpm_limit": {}, "model_tpm_limit": null,
        });
        let row = post(&gateway, "/key/update", none).await;
        assert_eq!(
            (&row["rpm_limit"], &row["mcp_rpm_limit"]),
            (&json!(null), &json!({}))
        );
        assert_eq!(
            (
                &row["tpm_limit"],
                &row["model_rpm_limit"],
                &row["model_tpm_limit"]
            ),
            (&json!(null), &json!({}), &json!({}))
        );
        for _ in 0..3 {
            assert_eq!(called(&gateway, Way::Bare, mine, "files-read").await, Ok(()));
        }
    }
}

/// What a team or a user may call is that of all its keys together, on every way in; and whose limit it is is said.
#[tokio::test]
async fn a_team_and_a_user_have_their_calls_whichever_key_is_used() {
    let (gateway, [files, notes]) = world("").await;
    let teams = json!({"team_id": "t", "object_permission": {"mcp_servers": ["files", "notes"]}});
    post(&gateway, "/team/new", teams).await;
    post(
        &gateway,
        "/user/new",
        json!({"user_id": "u", "auto_create_key": false}),
    )
    .await;
    for (level, own, owner) in [
        ("team", json!({"team_id": "t"}), "/team/update"),
        ("user", json!({"user_id": "u"}), "/user/update"),
    ] {
        let keys = [
            limited(&gateway, own.clone()).await,
            limited(&gateway, own.clone()).await,
        ];
        let limit = async |limits: Value| {
            let mut body = own.clone();
            body.as_object_mut()
                .unwrap()
                .extend(limits.as_object().unwrap().clone());
            let row = post(&gateway, owner, body).await;
            for (name, value) in limits.as_object().unwrap() {
                assert_eq!(&row["data"][name], value, "{level}: {row}");
            }
        };
        let before = files.count("tools/call") + notes.count("tools/call");
        limit(json!({"rpm_limit": 7})).await;
        let all = (0..20).map(|number| {
            called(
                &gateway,
                WAYS[number % WAYS.len()],
                &keys[number % 2],
                "files-read",
            )
        });
        let done = join_all(all).await;
        let (done, refused): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 7, "{level}: exactly, whoever comes on whichever way");
        assert!(
            refused.iter().all(|own| *own == Err("rpm_limit".to_owned())),
            "{level}: {refused:?}"
        );
        assert_eq!(files.count("tools/call") + notes.count("tools/call") - before, 7);
        let (_, said) = Way::Bare
            .ask(&with(&gateway, &keys[0]), None, "tools/call", &call("files-read"))
            .await;
        assert_eq!(said["error"]["data"]["of"], level, "{said}");
        let text = said["error"]["message"].as_str().unwrap();
        assert!(
            text.starts_with(&format!("Rate limit exceeded: rpm_limit of this {level} is 7")),
            "{text}"
        );
        limit(json!({"rpm_limit": null, "max_parallel_requests": 0})).await;
        let refused = called(&gateway, Way::Modern, &keys[1], "files-read").await;
        assert_eq!(refused, Err("max_parallel_requests".into()), "{level}");
        limit(json!({"max_parallel_requests": null})).await;
        assert_eq!(
            called(&gateway, Way::Modern, &keys[1], "files-read").await,
            Ok(()),
            "{level}"
        );
    }
    let single = json!({"team_id": "t", "mcp_rpm_limit": {"Files": 1}});
    post(&gateway, "/team/update", single).await;
    let keys = [
        limited(&gateway, json!({"team_id": "t"})).await,
        limited(&gateway, json!({"team_id": "t"})).await,
    ];
    assert_eq!(called(&gateway, Way::Bare, &keys[0], "files-read").await, Ok(()));
    assert_eq!(
        called(&gateway, Way::Bare, &keys[1], "files-read").await,
        Err("mcp_rpm_limit".into())
    );
    assert_eq!(called(&gateway, Way::Bare, &keys[1], "notes-read").await, Ok(()));
    let wrong = json!({"user_id": "u", "mcp_rpm_limit": {"files": 1}});
    gateway
        .client()
        .post("/user/update", &wrong)
        .await
        .expect_status(422);
}
