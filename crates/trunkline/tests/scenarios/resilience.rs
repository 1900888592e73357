//! One server, or one client, that is in trouble is nobody else's: turns, circuits, and words for how a server is.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Act, ScriptedUpstream, Sessions, Socket, TestGateway, eventually};

use crate::support::{Config, PATIENCE, becomes, gateway_of, health, listed, message, row, said, text};

async fn metric(gateway: &TestGateway, name: &str, server: &str) -> Vec<String> {
    let page = gateway.client().get("/metrics").await.expect_status(200).text();
    let begin = format!("{name}{{mcp_server_name=\"{server}\"");
    page.lines()
        .filter(|line| line.starts_with(&begin))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_sixty_four_calls_of_one_client_do_not_starve_another() {
    let busy = ScriptedUpstream::builder().sessions(Sessions::Off).start().await;
    let gateway = Config::default()
        .server("busy", &busy, "max_concurrent_requests: 4")
        .start()
        .await;
    listed(&gateway, "busy").await;
    busy.on("tools/call", Act::Delay(Duration::from_millis(250)));
    let (mut loud, mut quiet) = (gateway.mcp(), gateway.mcp());
    loud.initialize().await;
    quiet.initialize().await;
    let session = loud.session().unwrap().to_owned();
    let many: Vec<_> = (0..64)
        .map(|_| {
            let mut client = gateway.mcp();
            client.set_session(Some(&session));
            tokio::spawn(async move { said(&client.call("busy-echo", &message("many"), None).await) })
        })
        .collect();
    eventually("the places are taken", PATIENCE, async || {
        busy.count("tools/call") >= 4
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..2 {
        assert_eq!(said(&quiet.call("busy-echo", &message("few"), None).await), "few");
    }
    let waiting = many.iter().filter(|call| !call.is_finished()).count();
    assert!(
        waiting >= 32,
        "the other client had its turn late: {waiting} of 64 were left"
    );
    for call in many {
        assert_eq!(call.await.unwrap(), "many");
    }
    assert_eq!(busy.max_in_flight(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_calls_that_are_called_off_leave_the_queue() {
    let busy = ScriptedUpstream::builder().sessions(Sessions::Off).start().await;
    let gateway = Config::default()
        .server("busy", &busy, "max_concurrent_requests: 1")
        .start()
        .await;
    listed(&gateway, "busy").await;
    busy.once("tools/call", Act::Delay(Duration::from_secs(2)));
    let call = |text: &'static str| {
        let mut client = gateway.mcp();
        tokio::spawn(async move { client.call("busy-echo", &message(text), None).await.outcome() })
    };
    let first = call("first");
    eventually("the place is taken", PATIENCE, async || {
        busy.count("tools/call") == 1
    })
    .await;
    let waiting: Vec<_> = (0..16).map(|_| call("off")).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for call in waiting {
        call.abort();
    }
    // The queue was full; it is not any more.
    eventually("there is room", PATIENCE, async || {
        call("last").await.unwrap().is_ok()
    })
    .await;
    assert!(first.await.unwrap().is_ok());
    assert!(
        busy.count("tools/call") <= 10,
        "calls that nobody waits for do not run"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_not_asked_by_every_call() {
    let (files, other) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = gateway_of(&[("files", &files), ("other", &other)]).await;
    files.reopen(Socket::Refuse).await;
    let mut client = gateway.mcp();
    for _ in 0..5 {
        let error = client.call("files-echo", &message("x"), None).await.error();
        assert_eq!(error.data["outcome"]["status"], "unreachable", "{error:?}");
        assert!(!error.message.contains("not tried"), "{error:?}");
    }
    let error = client.call("files-echo", &message("x"), None).await.error();
    let outcome = &error.data["outcome"];
    assert_eq!(outcome["status"], "unreachable", "the last reason: {error:?}");
    assert_eq!(outcome["step"], "tcp", "{error:?}");
    assert!(text(&outcome["message"]).starts_with("not tried: "), "{error:?}");
    assert!(
        outcome["retry_after_s"].as_u64().is_some_and(|wait| wait > 0),
        "{error:?}"
    );
    // Half open, if a second went by in the meantime.
    assert_ne!(row(&gateway.client(), "files").await["circuit"], "closed");
    let circuit = metric(&gateway, "trunkline_mcp_server_circuit", "files").await;
    assert!(
        matches!(&circuit[..], [line] if line.contains("open") && line.ends_with(" 1")),
        "{circuit:?}"
    );
    // Health asks all the same, and says what it finds.
    let id = text(&row(&gateway.client(), "files").await["server_id"]).to_owned();
    let found = health(&gateway.client(), &id).await;
    assert_eq!(found["health"], "down", "{found}");
    assert!(
        !text(&found["outcome"]["message"]).contains("not tried"),
        "{found}"
    );
    assert_eq!(
        said(&client.call("other-echo", &message("fine"), None).await),
        "fine"
    );
    assert_eq!(row(&gateway.client(), "other").await["circuit"], "closed");

    files.reopen(Socket::Serve).await;
    eventually("it is back", PATIENCE, async || {
        client
            .call("files-echo", &message("back"), None)
            .await
            .outcome()
            .is_ok()
    })
    .await;
    assert_eq!(row(&gateway.client(), "files").await["circuit"], "closed");
    let log = gateway.log();
    for line in ["circuit opened", "circuit closed"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_tools_close_nothing() {
    let files = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &files)]).await;
    let mut client = gateway.mcp();
    for act in [Act::status(500, "boom"), Act::status(403, "no"), Act::Drop] {
        files.on("tools/call", act);
        for _ in 0..8 {
            let error = client.call("files-echo", &message("x"), None).await.error();
            assert!(!error.message.contains("not tried"), "{error:?}");
        }
    }
    files.behave();
    assert_eq!(said(&client.call("files-echo", &message("on"), None).await), "on");
    assert!(!gateway.log().contains("circuit"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn b70_how_a_server_is_has_a_word_each() {
    let down = ScriptedUpstream::refusing().await;
    let locked = ScriptedUpstream::builder().bearer("secret").start().await;
    let (empty, shaky) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    empty.set_tools([]);
    let gateway = Config::of(&[("down", &down), ("empty", &empty), ("locked", &locked)])
        .server("theirs", &locked, "extra_headers: [authorization]")
        .server("shaky", &shaky, "")
        .start()
        .await;
    listed(&gateway, "shaky").await;
    shaky.on("tools/list", Act::status(500, "boom"));
    let submission = json!({"server_name": "submitted", "url": empty.url(), "transport": "http"});
    gateway
        .client()
        .post("/v1/mcp/server/register", &submission)
        .await
        .expect_status(201);
    for (server, word, status) in [
        ("down", "down", "unhealthy"),
        ("locked", "needs_auth", "unhealthy"),
        ("theirs", "unknown_per_user", "unhealthy"),
        ("empty", "healthy", "healthy"),
        ("shaky", "degraded", "unhealthy"),
        ("submitted", "inactive", "unknown"),
    ] {
        let id = text(&row(&gateway.client(), server).await["server_id"]).to_owned();
        let checked = health(&gateway.client(), &id).await;
        assert_eq!(
            (&checked["health"], &checked["status"]),
            (&json!(word), &json!(status)),
            "{server}"
        );
        assert_eq!(row(&gateway.client(), server).await["health"], word, "{server}");
        if word != "inactive" {
            assert_eq!(
                metric(&gateway, "trunkline_mcp_server_health", server).await,
                [format!(
                    r#"trunkline_mcp_server_health{{mcp_server_name="{server}",health="{word}"}} 1"#
                )]
            );
        }
    }
    // Who brings what it wants is served.
    let mut client = gateway
        .mcp_at("/theirs/mcp")
        .without_header("authorization")
        .with_header("x-litellm-api-key", &format!("Bearer {}", gateway.master_key()))
        .with_header("authorization", "Bearer secret");
    assert_eq!(
        said(&client.call("theirs-echo", &message("mine"), None).await),
        "mine"
    );
    // The doctor has the same words.
    let config = gateway.config_path();
    let data = gateway.data_dir();
    let args = [
        "doctor",
        "theirs",
        "--json",
        "--config",
        config.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let printed = gateway.run(&args).await;
    let report: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(report[0]["health"], "unknown_per_user", "{report}");
}

/// Forty servers that hang do not keep one that works from being listed.
#[tokio::test(flavor = "multi_thread")]
async fn b01_servers_that_hang_leave_room_for_others_within_bounds() {
    let hanging = ScriptedUpstream::hanging().await;
    let good = ScriptedUpstream::start().await;
    let mut config = Config::default();
    for number in 0..40 {
        config = config.server(&format!("hang{number:02}"), &hanging, "");
    }
    let gateway = config.server("zgood", &good, "").start().await;
    becomes(&gateway, "zgood", "ok").await;
    let reply = gateway.mcp().request("tools/list", &Value::Null).await;
    assert!(reply.elapsed < Duration::from_secs(4), "{:?}", reply.elapsed);
    assert_eq!(crate::support::names(&reply.result()), ["zgood-echo"]);
}

/// Whatever goes wrong, there is a next thing to try.
#[tokio::test]
async fn b13_every_failure_of_a_call_says_what_to_do() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::of(&[("files", &upstream)])
        .general("mcp_call_timeout_ms: 500")
        .start()
        .await;
    listed(&gateway, "files").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    for act in [
        Act::Hang,
        Act::Drop,
        Act::Truncate(8),
        Act::not_json(),
        Act::WrongId,
        Act::status(204, ""),
        Act::status(418, "short and stout"),
    ] {
        upstream.once("tools/call", act.clone());
        let error = client.call("files-echo", &message("hi"), None).await.error();
        let hint = error.data["outcome"]["hint"].as_str().unwrap_or_default();
        assert!(!hint.is_empty(), "{act:?}: {error:?}");
    }
}
