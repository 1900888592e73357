//! What belongs to one client: its session, its state upstream, its calls under way.

use serde_json::{Value, json};
use trunkline_testkit::{McpClient, ScriptedUpstream, Sessions, Signal, TestGateway, eventually};

use crate::support::{Config, PATIENCE, array, gateway_of, message, names, register, said};

#[tokio::test]
async fn b22_what_a_client_sets_is_there_in_its_next_call_and_in_nobody_elses() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let gateway = gateway_of(&[("notes", &upstream)]).await;
    let (mut first, mut second) = (gateway.mcp(), gateway.mcp());
    first.initialize().await;
    second.initialize().await;
    first
        .call("notes-set_value", &json!({"value": 1}), None)
        .await
        .result();
    assert_eq!(said(&first.call("notes-get_value", &json!({}), None).await), "1");
    assert_eq!(
        upstream.count("initialize"),
        1,
        "listing and the one client share a session"
    );

    // The other client has a session of its own, and so has who calls without one.
    let other = second.call("notes-get_value", &json!({}), None).await.result();
    assert_eq!(other["isError"], true, "{other}");
    second
        .call("notes-set_value", &json!({"value": 2}), None)
        .await
        .result();
    let rest = gateway
        .client()
        .post(
            "/mcp-rest/tools/call",
            &json!({"name": "notes-get_value", "arguments": {}}),
        )
        .await
        .expect_status(200);
    assert_eq!(rest.json()["isError"], true, "{}", rest.text());
    assert_eq!(said(&first.call("notes-get_value", &json!({}), None).await), "1");
    assert_eq!(said(&second.call("notes-get_value", &json!({}), None).await), "2");
    assert_eq!(upstream.count("initialize"), 3);
    let sessions: std::collections::HashSet<_> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.is("tools/call"))
        .map(|request| request.session)
        .collect();
    assert_eq!(sessions.len(), 3);
}

#[tokio::test]
async fn b22_a_warm_call_is_one_request_and_an_expired_session_is_opened_once_again() {
    for kind in [Sessions::NotFound, Sessions::FastMcp, Sessions::Off] {
        let upstream = ScriptedUpstream::builder().sessions(kind).start().await;
        let gateway = gateway_of(&[("files", &upstream)]).await;
        let mut client = gateway.mcp();
        client.initialize().await;
        assert_eq!(
            said(&client.call("files-echo", &message("cold"), None).await),
            "cold"
        );
        upstream.clear();
        for _ in 0..5 {
            assert_eq!(
                said(&client.call("files-echo", &message("warm"), None).await),
                "warm"
            );
        }
        assert_eq!(upstream.requests().len(), 5, "{kind:?}");

        upstream.expire_sessions();
        upstream.clear();
        assert_eq!(
            said(&client.call("files-echo", &message("again"), None).await),
            "again",
            "{kind:?}"
        );
        let reopened = usize::from(kind != Sessions::Off);
        assert_eq!(upstream.count("initialize"), reopened, "{kind:?}");
        assert_eq!(upstream.count("tools/call"), 1 + reopened, "{kind:?}");
    }
}

#[tokio::test]
async fn b22_per_client_shares_a_session_with_no_list() {
    for (mode, shared) in [("auto", true), ("per_client", false)] {
        let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
        let config = Config::default().server("notes", &upstream, &format!("session: {mode}"));
        let gateway = config.start().await;
        crate::support::listed(&gateway, "notes").await;
        let mut client = gateway.mcp();
        client.initialize().await;
        client
            .call("notes-set_value", &json!({"value": 1}), None)
            .await
            .result();
        let session_of = |method: &str| {
            let requests = upstream.requests().into_iter();
            let mut of = requests.filter(|request| request.is(method));
            of.next_back().unwrap().session
        };
        let is_shared = || session_of("tools/list") == session_of("tools/call");
        assert_eq!(is_shared(), shared, "{mode}: taken over");
        // And the other way round: a list that is asked for now.
        let lists = upstream.count("tools/list");
        let health = gateway.client().get("/v1/mcp/server/health").await;
        health.expect_status(200);
        eventually("it was listed", PATIENCE, async || {
            upstream.count("tools/list") > lists
        })
        .await;
        assert_eq!(is_shared(), shared, "{mode}: borrowed");
        assert_eq!(upstream.count("initialize"), 2 - usize::from(shared), "{mode}");
    }
}

/// `ping` with this session id; the status.
async fn ping(client: &McpClient, session: &str) -> u16 {
    let mut client = client.clone();
    client.set_session(Some(session));
    client.request("ping", &Value::Null).await.status.as_u16()
}

#[tokio::test]
async fn b23_a_session_goes_on_after_a_restart_and_an_unknown_one_is_404() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let mut gateway = gateway_of(&[("notes", &upstream)]).await;
    let mut client = gateway.mcp();
    client.initialize().await;
    client
        .call("notes-set_value", &json!({"value": "x"}), None)
        .await
        .result();
    for end in [Signal::Term, Signal::Kill] {
        gateway.stop(end).await;
        gateway.restart().await;
        // The same id, no new `initialize` of the client.
        let reply = client.request("tools/list", &Value::Null).await;
        assert_eq!(reply.status, 200, "{end:?}");
        assert_eq!(names(&reply.result()).len(), 2, "{end:?}");
        assert_eq!(
            said(&client.call("notes-set_value", &json!({"value": "y"}), None).await),
            "kept"
        );
        assert_eq!(
            said(&client.call("notes-get_value", &json!({}), None).await),
            "\"y\""
        );
    }

    let elsewhere = gateway_of(&[("notes", &upstream)]).await;
    let mut stranger = elsewhere.mcp();
    stranger.initialize().await;
    let own = client.session().unwrap().to_owned();
    for unknown in [
        stranger.session().unwrap(),
        "",
        "x",
        "00000000-0000-0000-0000-000000000000",
        &own[1..],
        "ä",
    ] {
        assert_eq!(ping(&client, unknown).await, 404, "{unknown:?}");
    }
    assert_eq!(ping(&client, &own).await, 200);
}

#[tokio::test]
async fn s21_a_session_is_good_for_its_principal_on_its_route_while_it_lasts() {
    let (one, two) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let mut gateway = Config::of(&[("one", &one)]).start().await;
    let body = json!({"server_name": "two", "url": two.url(), "transport": "http"});
    let id = register(&gateway.client(), &body).await;
    let routes = ["/mcp", "/one/mcp", "/two/mcp", "/mcp/one,two"];
    let mut sessions = Vec::new();
    for route in routes {
        let mut client = gateway.mcp_at(route);
        client.initialize().await;
        sessions.push(client.session().unwrap().to_owned());
    }
    let matrix = async |gateway: &TestGateway, allowed: &dyn Fn(usize, usize) -> bool| {
        for (owned, session) in sessions.iter().enumerate() {
            for (used, route) in routes.iter().enumerate() {
                let status = ping(&gateway.mcp_at(route), session).await;
                let expected = if allowed(owned, used) { 200 } else { 404 };
                assert_eq!(status, expected, "the session of {} on {route}", routes[owned]);
                for stranger in [
                    gateway.anonymous(),
                    gateway
                        .anonymous()
                        .with_header("authorization", "Bearer sk-somebody-else"),
                ] {
                    assert_eq!(
                        ping(&McpClient::over(stranger, route), session).await,
                        401,
                        "{route}"
                    );
                }
            }
        }
    };
    matrix(&gateway, &|owned, used| owned == used).await;

    // Changed by one character anywhere, it is nobody's.
    for at in (0..sessions[0].len()).step_by(5) {
        let mut bytes = sessions[0].clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(ping(&gateway.mcp(), &changed).await, 404, "changed at {at}");
    }
    // 128 bits are 22 characters of base64; two ids of one client share nothing but chance.
    let same = sessions[0]
        .bytes()
        .zip(sessions[3].bytes())
        .filter(|(a, b)| a == b)
        .count();
    assert!(
        sessions[0].len() >= 44 && same < sessions[0].len() / 3,
        "{sessions:#?}"
    );

    // The policy changes: the server of one route is gone.
    gateway
        .client()
        .delete(&format!("/v1/mcp/server/{id}"))
        .await
        .expect_status(202);
    assert_eq!(ping(&gateway.mcp_at("/two/mcp"), &sessions[2]).await, 404);
    assert_ne!(ping(&gateway.mcp_at("/mcp/one,two"), &sessions[3]).await, 200);
    // Revoked: ended by its client.
    let mut ended = gateway.mcp_at("/one/mcp");
    ended.set_session(Some(&sessions[1]));
    ended.delete().await.expect_status(200);
    assert_eq!(ping(&ended, &sessions[1]).await, 404);
    assert_eq!(ping(&gateway.mcp(), &sessions[0]).await, 200);
    // Another key: nothing that was sealed under the old one opens.
    gateway.set_env(
        "LITELLM_MASTER_KEY",
        "sk-another-key-that-is-long-enough-0123456789",
    );
    gateway.restart().await;
    let renewed = gateway.anonymous().with_header(
        "authorization",
        "Bearer sk-another-key-that-is-long-enough-0123456789",
    );
    assert_eq!(ping(&McpClient::over(renewed, "/mcp"), &sessions[0]).await, 404);
    assert_eq!(ping(&gateway.mcp(), &sessions[0]).await, 401);
}

#[tokio::test]
async fn b23_an_ended_session_is_over_here_and_upstream_and_after_a_restart() {
    let upstream = ScriptedUpstream::start().await;
    let mut gateway = gateway_of(&[("files", &upstream)]).await;
    let (mut ending, mut staying) = (gateway.mcp(), gateway.mcp());
    for client in [&mut ending, &mut staying] {
        client.initialize().await;
        client.call("files-echo", &message("hi"), None).await.result();
    }
    let of_ending = upstream
        .requests()
        .iter()
        .find(|request| request.is("tools/call"))
        .unwrap()
        .session
        .clone();
    ending.delete().await.expect_status(200);
    eventually("the session is ended upstream", PATIENCE, async || {
        upstream.count("DELETE") == 1
    })
    .await;
    let deleted = upstream
        .requests()
        .into_iter()
        .find(|request| request.is("DELETE"))
        .unwrap();
    assert_eq!(deleted.session, of_ending);
    for _ in 0..2 {
        for method in ["ping", "tools/list"] {
            assert_eq!(ending.request(method, &Value::Null).await.status, 404, "{method}");
        }
        assert_eq!(ending.call("files-echo", &message("no"), None).await.status, 404);
        assert_eq!(ending.delete().await.status, 404);
        assert_eq!(staying.request("ping", &Value::Null).await.status, 200);
        gateway.restart().await;
    }
    assert_eq!(
        gateway.mcp().delete().await.status,
        405,
        "there is nothing to end without an id"
    );
}

#[tokio::test]
async fn revisions_are_negotiated_and_their_header_is_checked() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    for (asked, agreed) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        let mut client = gateway.mcp().with_protocol(asked);
        client.initialize().await;
        assert_eq!(client.negotiated(), Some(agreed));
        assert_eq!(client.tool_names().await, ["files-echo"]);
    }
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let with = |revision: &str| gateway.client().with_header("mcp-protocol-version", revision);
    for known in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        with(known).post("/mcp", &list).await.expect_status(200);
    }
    // A revision without hand-shake: then the body has to say so too.
    let refused = with("2099-01-01").post("/mcp", &list).await.expect_status(400);
    assert!(refused.text().contains("_meta"), "{}", refused.text());
    for unknown in ["", "2025-06-18, 2025-11-25", "nonsense"] {
        let refused = with(unknown).post("/mcp", &list).await.expect_status(400);
        assert!(
            refused.text().contains("2025-11-25"),
            "{unknown:?}: {}",
            refused.text()
        );
    }
    // Clients of 2025-03-26 send none.
    gateway.client().post("/mcp", &list).await.expect_status(200);
}

#[tokio::test]
async fn requests_without_a_session_are_served() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = gateway.mcp();
    assert_eq!(client.request("ping", &Value::Null).await.result(), json!({}));
    assert_eq!(client.tool_names().await, ["files-echo"]);
    assert_eq!(said(&client.call("files-echo", &message("hi"), None).await), "hi");
    assert_eq!(client.session(), None);
}

#[tokio::test]
async fn batches_are_for_sessions_of_the_one_revision_that_has_them() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": "a", "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "files-echo", "arguments": {"message": "two"}}},
        {"jsonrpc": "2.0", "id": 3, "method": "no/such"},
        {"jsonrpc": "2.0", "id": 4, "method": "tools/list"},
    ]);
    for (revision, served) in [("2025-03-26", true), ("2025-06-18", false), ("2025-11-25", false)] {
        let mut client = gateway.mcp().with_protocol(revision);
        client.initialize().await;
        upstream.clear();
        let reply = client.send_message(batch.to_string()).await.unwrap();
        if !served {
            assert_eq!(reply.status, 400, "{revision}");
            assert_eq!(upstream.requests().len(), 0, "{revision}");
            continue;
        }
        assert_eq!(reply.status, 200, "{}", reply.everything());
        let answers: Value = serde_json::from_slice(&reply.raw).unwrap();
        let by_id = |id: Value| {
            let mut found = array(&answers).iter().filter(|answer| answer["id"] == id);
            let one = found
                .next()
                .unwrap_or_else(|| panic!("no answer to {id} in {answers}"));
            assert!(found.next().is_none(), "two answers to {id}");
            one
        };
        assert_eq!(array(&answers).len(), 4, "{answers}");
        assert_eq!(by_id(json!("a"))["result"], json!({}));
        assert_eq!(by_id(json!(2))["result"]["content"][0]["text"], "two");
        assert_eq!(by_id(json!(3))["error"]["code"], -32601);
        assert_eq!(names(&by_id(json!(4))["result"]), ["files-echo"]);
        let only_notifications = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
        let reply = client.send_message(only_notifications.to_string()).await.unwrap();
        assert_eq!(reply.status, 202);
        for wrong in [
            "[]",
            "[1]",
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}]",
        ] {
            let reply = client.send_message(wrong).await.unwrap();
            assert!(
                !String::from_utf8_lossy(&reply.raw).contains("result"),
                "{wrong}: {}",
                reply.everything()
            );
        }
    }
    assert_eq!(
        gateway
            .mcp()
            .send_message(batch.to_string())
            .await
            .unwrap()
            .status,
        400
    );
}
