//! Three gateways on one PostgreSQL database, with nothing that sends a client to the same one twice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, EventStream, HttpClient, McpClient, Replicas, Reply, ScriptedUpstream, Sessions, Signal, SseClient,
    TestGateway, ToolAnswer, eventually,
};

use crate::support::{Config, PATIENCE, listed, message, said, text, tool};

const MODERN: &str = "2026-07-28";

/// Three replicas in front of these, each of which knows every server; `None` without PostgreSQL.
async fn three(servers: &[(&str, &ScriptedUpstream)]) -> Option<Replicas> {
    let config = Config::of(servers).text();
    let replicas = Replicas::start(TestGateway::builder().config(&config), 3).await?;
    for gateway in &replicas.gateways {
        for (name, _) in servers {
            listed(gateway, name).await;
        }
    }
    Some(replicas)
}

// === What works on every replica by itself ===

#[tokio::test]
async fn b20_a_session_is_good_on_every_replica_and_outlives_one() {
    let upstream = ScriptedUpstream::start().await;
    let Some(mut replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    let mut client = replicas.mcp();
    assert_eq!(client.initialize().await.status, 200);
    for number in 0..3 {
        let mut at = replicas.at(number, &client);
        let reply = at.call("files-echo", &message("hi"), None).await;
        assert_eq!(
            (reply.status.as_u16(), said(&reply).as_str()),
            (200, "hi"),
            "{number}"
        );
    }
    for round in 0..12 {
        if round == 6 {
            replicas.gateways[1].kill9().await;
        }
        assert_eq!(client.tool_names().await, ["files-echo"], "{round}");
        let reply = client.call("files-echo", &message("hi"), None).await;
        assert_eq!(
            (reply.status.as_u16(), said(&reply).as_str()),
            (200, "hi"),
            "{round}"
        );
    }
}

/// Every replica but the one that is asked has a session open on it while servers come, change and go.
#[tokio::test]
async fn b27_servers_come_change_and_go_on_every_replica_within_a_second() {
    let (files, first, second) = (
        ScriptedUpstream::start().await,
        ScriptedUpstream::start().await,
        ScriptedUpstream::start().await,
    );
    let Some(replicas) = three(&[("files", &files)]).await else {
        return;
    };
    let admin = replicas.gateways[0].client();
    let mut sessions = Vec::new();
    for gateway in &replicas.gateways {
        let mut client = McpClient::over(gateway.client(), "/mcp");
        client.initialize().await;
        sessions.push(client);
    }
    let mut become_all = async |what: &str, tools: &[&str]| {
        let began = Instant::now();
        for (number, client) in sessions.iter_mut().enumerate() {
            eventually(&format!("{what} at {number}"), PATIENCE, async || {
                client.tool_names().await == tools
            })
            .await;
            // What the server itself takes to be listed is in it.
            let took = began.elapsed();
            assert!(took < Duration::from_secs(1), "{what} at {number}: {took:?}");
        }
    };
    let row = |upstream: &ScriptedUpstream, alias: &str| json!({"server_id": "new", "alias": alias, "url": upstream.url(), "transport": "http"});
    admin
        .post("/v1/mcp/server", &row(&first, "new"))
        .await
        .expect_status(201);
    become_all("made", &["files-echo", "new-echo"]).await;
    admin
        .put("/v1/mcp/server", &row(&second, "other"))
        .await
        .expect_status(202);
    become_all("changed", &["files-echo", "other-echo"]).await;
    for (number, client) in sessions.iter_mut().enumerate() {
        let reply = client.call("other-echo", &message("hi"), None).await;
        assert_eq!(said(&reply), "hi", "{number}");
    }
    assert_eq!((first.count("tools/call"), second.count("tools/call")), (0, 3));
    admin.delete("/v1/mcp/server/new").await.expect_status(202);
    let mut become_all = async |tools: &[&str]| {
        for client in &mut sessions {
            let began = Instant::now();
            eventually("gone", PATIENCE, async || client.tool_names().await == tools).await;
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            let reply = client.call("other-echo", &message("hi"), None).await;
            assert_eq!(reply.error().code, -32602, "{}", reply.everything());
        }
    };
    become_all(&["files-echo"]).await;
    assert_eq!(second.count("tools/call"), 3);
    // Its sessions upstream end, too.
    eventually("the server has no session left", PATIENCE, async || {
        second.sessions() == 0
    })
    .await;
}

/// Sessions of a server that is deleted end with it, on whatever replica they are: at its own path there is nothing any more, and that is
/// said as for a server that nobody ever had.
#[tokio::test]
async fn b27_sessions_of_a_deleted_server_end_on_every_replica_within_a_second() {
    let (files, gone) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let Some(replicas) = three(&[("files", &files)]).await else {
        return;
    };
    let admin = replicas.gateways[0].client();
    let row = json!({"server_id": "gone", "alias": "gone", "url": gone.url(), "transport": "http"});
    admin.post("/v1/mcp/server", &row).await.expect_status(201);
    let mut open = Vec::new();
    for gateway in &replicas.gateways {
        let mut clients = Vec::new();
        for path in ["/gone/mcp", "/mcp/gone"] {
            eventually("the server is there", PATIENCE, async || {
                let mut client = McpClient::over(gateway.client(), path);
                client.initialize_only().await.status == 200 && client.tool_names().await == ["gone-echo"]
            })
            .await;
            let mut client = McpClient::over(gateway.client(), path);
            client.initialize().await;
            let call = client.call("gone-echo", &message("hi"), None).await;
            assert_eq!(said(&call), "hi");
            clients.push((path, client));
        }
        open.push((gateway, clients));
    }
    let calls = gone.count("tools/call");
    admin.delete("/v1/mcp/server/gone").await.expect_status(202);
    let began = Instant::now();
    for (number, (gateway, clients)) in open.iter_mut().enumerate() {
        for (path, client) in clients {
            let what = format!("{path} at {number}");
            let mut answer = None;
            eventually(&what, PATIENCE, async || {
                let said = client.request("tools/list", &json!({})).await;
                let is_over = said.status.as_u16() != 200;
                answer = Some(said);
                is_over
            })
            .await;
            assert!(
                began.elapsed() < Duration::from_secs(1),
                "{what}: {:?}",
                began.elapsed()
            );
            let listed = answer.unwrap();
            let called = client.call("gone-echo", &message("hi"), None).await;
            // As of a server that there never was.
            let nobodys = path.replace("gone", "nobody");
            let mut other = McpClient::over(gateway.client(), &nobodys);
            let never = other.request("tools/list", &json!({})).await;
            for reply in [&listed, &called] {
                assert_eq!(reply.status, never.status, "{what}: {}", reply.everything());
                assert!(matches!(reply.status.as_u16(), 403 | 404), "{what}");
                let text = String::from_utf8_lossy(&reply.raw).replace("gone", "nobody");
                let body: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(
                    body,
                    serde_json::from_slice::<Value>(&never.raw).unwrap(),
                    "{what}"
                );
            }
        }
        let mut whole = McpClient::over(gateway.client(), "/mcp");
        whole.initialize().await;
        assert_eq!(whole.tool_names().await, ["files-echo"], "{number}");
    }
    assert_eq!(gone.count("tools/call"), calls);
    eventually("the server has no session left", PATIENCE, async || {
        gone.sessions() == 0
    })
    .await;
}

/// Only this client's credential opens the server, so that no replica could list it beforehand.
#[tokio::test]
async fn b21_what_was_listed_on_one_replica_is_called_on_another() {
    let upstream = ScriptedUpstream::builder().bearer("users-own").start().await;
    let config = Config::of(&[("files", &upstream)]).text();
    let Some(mut replicas) = Replicas::start(TestGateway::builder().config(&config), 3).await else {
        return;
    };
    let mut client = replicas
        .mcp()
        .with_header("x-mcp-files-authorization", "Bearer users-own");
    let mut first = replicas.at(0, &client);
    first.initialize().await;
    assert_eq!(first.tool_names().await, ["files-echo"]);
    client.set_session(first.session());
    // At once, on a replica that has never seen the server with this credential.
    let mut second = replicas.at(1, &client);
    assert_eq!(
        said(&second.call("files-echo", &message("second"), None).await),
        "second"
    );
    replicas.gateways[0].kill9().await;
    let mut third = replicas.at(2, &client);
    assert_eq!(
        said(&third.call("files-echo", &message("third"), None).await),
        "third"
    );
}

#[tokio::test]
async fn b23_a_session_goes_on_after_a_restart_of_all_replicas() {
    let upstream = ScriptedUpstream::start().await;
    let Some(mut replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    let mut client = replicas.mcp();
    client.initialize().await;
    for (number, gateway) in replicas.gateways.iter_mut().enumerate() {
        if number == 0 {
            gateway.kill9().await;
        }
        gateway.restart().await;
    }
    for number in 0..3 {
        let mut at = replicas.at(number, &client);
        let reply = at.call("files-echo", &message("hi"), None).await;
        assert_eq!(
            (reply.status.as_u16(), said(&reply).as_str()),
            (200, "hi"),
            "{number}"
        );
    }
    let mut unknown = client.clone();
    unknown.set_session(Some("00000000-0000-0000-0000-000000000000"));
    assert_eq!(unknown.request("ping", &Value::Null).await.status, 404);
}

/// Who a user is and what they sign in with comes with each request, so that no replica has to have seen them before.
#[tokio::test]
async fn b25_each_user_is_themselves_on_every_replica() {
    let upstream = ScriptedUpstream::start().await;
    let Some(mut replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    let mut users: Vec<McpClient> = Vec::new();
    for user in ["ann", "bob"] {
        let credential = format!("Bearer of-{user}");
        let mut client = replicas
            .mcp()
            .with_header("x-mcp-files-authorization", &credential);
        client.initialize().await;
        users.push(client);
    }
    upstream.clear();
    for round in 0..6 {
        if round == 3 {
            replicas.gateways[2].kill9().await;
        }
        for (client, user) in users.iter_mut().zip(["ann", "bob"]) {
            let reply = client.call("files-echo", &message(user), None).await;
            assert_eq!(
                (reply.status.as_u16(), said(&reply).as_str()),
                (200, user),
                "{round}"
            );
        }
    }
    let calls: Vec<_> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.is("tools/call"))
        .collect();
    assert_eq!(calls.len(), 12);
    for call in &calls {
        let said = call.json()["params"]["arguments"]["message"].clone();
        assert_eq!(
            call.headers["authorization"].to_str().unwrap(),
            format!("Bearer of-{}", text(&said))
        );
    }
    // Nor does one user's upstream session serve the other.
    let sessions_of = |user: &str| -> Vec<Option<String>> {
        let own = format!("Bearer of-{user}");
        let own = calls
            .iter()
            .filter(|call| call.headers["authorization"] == own.as_str());
        own.map(|call| call.session.clone()).collect()
    };
    let anns = sessions_of("ann");
    assert!(sessions_of("bob").iter().all(|session| !anns.contains(session)));
}

// === Calls that wait for their client ===

fn question(text: &str) -> Value {
    json!({
        "method": "elicitation/create",
        "params": {"mode": "form", "message": text, "requestedSchema": {"type": "object", "properties": {}}},
    })
}

/// A server of the old era whose tool asks so many times before it answers.
async fn asking(times: usize) -> ScriptedUpstream {
    ScriptedUpstream::builder()
        .tool_fn(&tool("ask"), move |_| {
            ToolAnswer::Ask((1..=times).map(|number| question(&number.to_string())).collect())
        })
        .start()
        .await
}

/// A client of the new era that calls the tool.
fn caller(http: &HttpClient) -> HttpClient {
    http.clone()
        .with_header("accept", "application/json, text/event-stream")
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", "tools/call")
        .with_header("mcp-name", "files-ask")
}

/// Its call, by a client that answers questions.
fn request(more: &Value) -> Value {
    let mut params = json!({"name": "files-ask", "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }});
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})
}

async fn call(http: &HttpClient, more: Value) -> Reply {
    caller(http).post("/mcp", &request(&more)).await
}

/// What the client answers to the one question of a result that asks.
fn answered(asked: &Reply, words: &str) -> Value {
    let result = &asked.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{}", asked.text());
    let requests = result["inputRequests"].as_object().unwrap();
    let answers = requests.keys().map(|key| {
        (
            key.clone(),
            json!({"action": "accept", "content": {"said": words}}),
        )
    });
    json!({"requestState": result["requestState"], "inputResponses": Value::Object(answers.collect())})
}

fn last_word(reply: &Reply) -> String {
    let result = &reply.json()["result"];
    assert_eq!(result["resultType"], "complete", "{}", reply.text());
    text(&result["content"][0]["text"]).to_owned()
}

fn error(reply: &Reply) -> (u16, i64, String) {
    let body = reply.json();
    let error = &body["error"];
    (
        reply.status.as_u16(),
        error["code"].as_i64().unwrap_or_default(),
        error["message"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn b20_a_call_that_asks_goes_on_wherever_its_answer_arrives() {
    let upstream = asking(2).await;
    let Some(replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    let [a, b, c] = [0, 1, 2].map(|number| replicas.gateways[number].client());
    let first = call(&a, json!({})).await.expect_status(200);
    let second = call(&b, answered(&first, "one")).await.expect_status(200);
    let done = call(&c, answered(&second, "two")).await.expect_status(200);
    assert!(last_word(&done).contains("two"), "{}", done.text());
    assert_eq!(done.json()["id"], 7);
    assert_eq!(upstream.count("tools/call"), 1);

    // The same with whatever replica comes next, for each request.
    for _ in 0..3 {
        let any = replicas.client();
        let first = call(&any, json!({})).await.expect_status(200);
        let second = call(&any, answered(&first, "one")).await.expect_status(200);
        let done = call(&any, answered(&second, "two")).await.expect_status(200);
        assert!(last_word(&done).contains("two"), "{}", done.text());
    }
    assert_eq!(upstream.count("tools/call"), 4);
    // Each call is on record once, and each of its requests.
    let count = || {
        replicas.database.sql(
            "SELECT outcome, count(*) FROM call_record WHERE tool = 'ask' GROUP BY outcome ORDER BY outcome",
        )
    };
    eventually("all is on record", PATIENCE, async || {
        count() == "input_required|8\nok|4"
    })
    .await;
}

#[tokio::test]
async fn b20_an_answer_that_is_given_twice_counts_once() {
    let upstream = asking(1).await;
    let Some(replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    for pair in [(0, 0), (0, 1), (1, 2), (2, 2)] {
        upstream.clear();
        let asked = call(&replicas.gateways[0].client(), json!({}))
            .await
            .expect_status(200);
        let (one, other) = (
            replicas.gateways[pair.0].client(),
            replicas.gateways[pair.1].client(),
        );
        let (one, other) = tokio::join!(
            call(&one, answered(&asked, "one")),
            call(&other, answered(&asked, "other"))
        );
        let (done, refused) = if one.json()["result"].is_object() {
            (one, other)
        } else {
            (other, one)
        };
        last_word(&done);
        let (status, code, words) = error(&refused);
        assert_eq!((status, code), (200, -32602), "{pair:?}: {words}");
        assert!(words.contains("used already"), "{words}");
        assert_eq!(upstream.count("tools/call"), 1, "{pair:?}");
        let answers = upstream.requests().into_iter();
        let answers = answers.filter(|request| request.json().get("result").is_some());
        assert_eq!(answers.count(), 1, "{pair:?}");
    }
}

#[tokio::test]
async fn b20_a_call_whose_replica_is_gone_ends_in_an_error_and_is_not_run_again() {
    let upstream = asking(1).await;
    let Some(mut replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    for (number, end) in [(0, Signal::Kill), (1, Signal::Term)] {
        upstream.clear();
        let asked = call(&replicas.gateways[number].client(), json!({}))
            .await
            .expect_status(200);
        replicas.gateways[number].stop(end).await;
        let last = replicas.gateways[2].client();
        for _ in 0..2 {
            let (status, code, words) = error(&call(&last, answered(&asked, "late")).await);
            assert_eq!((status, code), (502, -32603), "{end:?}: {words}");
            assert!(
                words.contains("gone") && words.contains("not run again"),
                "{words}"
            );
        }
        assert_eq!(upstream.count("tools/call"), 1, "{end:?}");
    }
    // The one that was killed could not take itself off the list.
    eventually("the others have taken it off", PATIENCE * 2, async || {
        replicas.database.sql("SELECT count(*) FROM replica") == "1"
    })
    .await;
}

#[tokio::test]
async fn b20_a_replica_that_dies_in_the_middle_of_a_call_is_told_of() {
    let upstream = asking(1).await;
    let Some(mut replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    // The server takes the answer and says nothing more, so that the rest of the call becomes a stream, which breaks off.
    let asked = call(&replicas.gateways[0].client(), json!({}))
        .await
        .expect_status(200);
    upstream.on("POST", Act::status(202, ""));
    let http = caller(&replicas.gateways[2].client());
    let answer = request(&answered(&asked, "one")).to_string();
    let answer = McpClient::over(http.clone(), "/mcp").post(answer);
    let mut stream = http.open(answer).await.unwrap();
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    replicas.gateways[0].kill9().await;
    let mut told = String::new();
    while let Some(piece) = stream.next().await {
        told.push_str(&String::from_utf8_lossy(&piece.expect("a clean end").1));
    }
    assert!(
        told.contains("went away before it answered") && told.contains(r#""id":7"#),
        "{told}"
    );
    assert_eq!(upstream.count("tools/call"), 1);

    // It does not even take the answer: there is no head yet.
    let asked = call(&replicas.gateways[1].client(), json!({}))
        .await
        .expect_status(200);
    upstream.on("POST", Act::Hang);
    upstream.clear();
    let (http, answer) = (replicas.gateways[2].client(), answered(&asked, "two"));
    let going_on = tokio::spawn(async move { call(&http, answer).await });
    eventually("the answer is there", PATIENCE, async || {
        upstream.requests().len() == 1
    })
    .await;
    replicas.gateways[1].kill9().await;
    let (status, code, words) = error(&going_on.await.unwrap());
    assert_eq!((status, code), (502, -32603), "{words}");
    assert!(words.contains("went away before it answered"), "{words}");
    assert_eq!(upstream.count("tools/call"), 0, "not once more");
}

// === What the old era's clients come back with ===

/// The next message. The first event of a stream that can be read on has an id and nothing to say.
async fn next(stream: &mut EventStream) -> Value {
    loop {
        let message = stream.expect_next(PATIENCE).await;
        if message != "" {
            return message;
        }
    }
}

/// A server of the new era that asks before it answers.
async fn modern_server() -> ScriptedUpstream {
    let known = json!({
        "resultType": "complete", "supportedVersions": [MODERN], "capabilities": {"tools": {}},
        "ttlMs": 0, "cacheScope": "private",
    });
    ScriptedUpstream::builder()
        .sessions(Sessions::Off)
        .revisions(&[MODERN])
        .on("server/discover", Act::Result(known.to_string()))
        .tool_fn(&tool("ask"), |call| match call.params.get("inputResponses") {
            None => ToolAnswer::Result(json!({
                "resultType": "input_required",
                "inputRequests": {"a": question("who?")},
                "requestState": "s",
            })),
            Some(answers) => ToolAnswer::text(&answers["a"].to_string()),
        })
        .start()
        .await
}

#[tokio::test]
async fn b20_an_answer_of_the_old_era_reaches_the_call_that_waits_for_it() {
    let upstream = modern_server().await;
    let config = Config::default()
        .server("files", &upstream, &format!("protocol_version: {MODERN}"))
        .text();
    let Some(mut replicas) = Replicas::start(TestGateway::builder().config(&config), 3).await else {
        return;
    };
    let mut client = replicas
        .mcp()
        .with_protocol("2025-11-25")
        .with_capabilities(json!({"elicitation": {"form": {}}}));
    client.initialize().await;
    let answer = |id: &Value, said: &str| {
        json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"said": said}}})
            .to_string()
    };
    let mut first = replicas.at(0, &client);
    assert_eq!(first.tool_names().await, ["files-ask"]);
    let mut stream = first.call_stream("files-ask", &json!({}), None).await;
    let asked = next(&mut stream).await;
    assert_eq!(asked["method"], "elicitation/create", "{asked}");

    // Not by another session, wherever it answers.
    let mut stranger = replicas.mcp().with_protocol("2025-11-25");
    stranger.initialize().await;
    for number in [0, 1] {
        let reply = replicas
            .at(number, &stranger)
            .send_message(answer(&asked["id"], "mallory"))
            .await;
        assert_eq!(reply.unwrap().status, 202);
    }
    let reply = replicas
        .at(1, &client)
        .send_message(answer(&asked["id"], "it is me"))
        .await;
    assert_eq!(reply.unwrap().status, 202);
    let done = next(&mut stream).await;
    assert!(
        done["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("it is me"),
        "{done}"
    );
    assert_eq!(
        upstream.count("tools/call"),
        2,
        "once to be asked, once with the answer"
    );

    let mut stream = first.call_stream("files-ask", &json!({}), None).await;
    let asked = next(&mut stream).await;
    replicas.gateways[0].kill9().await;
    let reply = replicas
        .at(1, &client)
        .send_message(answer(&asked["id"], "too late"))
        .await;
    let reply = reply.unwrap();
    assert_eq!((reply.status.as_u16(), reply.error().code), (502, -32603));
    assert_eq!(upstream.count("tools/call"), 3);
}

#[tokio::test]
async fn b60_a_streamed_answer_is_read_on_at_another_replica() {
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("slow"), |call| {
            ToolAnswer::progress(call, 4, Duration::from_millis(250))
        })
        .start()
        .await;
    let Some(mut replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    let mut client = replicas.mcp().with_protocol("2025-11-25");
    client.initialize().await;
    let mut first = replicas.at(0, &client);
    let mut stream = first.call_stream("files-slow", &json!({}), Some("t")).await;
    let progress = next(&mut stream).await;
    assert_eq!(progress["params"]["progress"], 1, "{progress}");
    let id = stream.last_event_id().unwrap().to_owned();
    drop(stream);

    let back = client.clone().with_header("last-event-id", &id);
    let stream = replicas.at(1, &back).get_stream().await;
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let (events, broken) = stream.rest().await;
    assert!(broken.is_none(), "{broken:?}");
    let done = events.last().unwrap();
    assert_eq!(done.message["result"]["content"][0]["text"], "done", "{events:?}");
    assert!(
        events
            .iter()
            .all(|event| event.message["params"]["progress"] != 1),
        "nothing twice: {events:?}"
    );
    assert_eq!(upstream.count("tools/call"), 1);

    // Not with another session's id, at no replica.
    let mut stranger = replicas.mcp().with_protocol("2025-11-25");
    stranger.initialize().await;
    let stranger = stranger.with_header("last-event-id", &id);
    for number in 0..3 {
        assert_eq!(replicas.at(number, &stranger).get_stream().await.status(), 400);
    }
    replicas.gateways[0].kill9().await;
    assert_eq!(replicas.at(1, &back).get_stream().await.status(), 502);
    assert_eq!(upstream.count("tools/call"), 1);
}

/// The transport of 2024-11-05: the stream is at one replica, what is said comes to any.
#[tokio::test]
async fn b20_a_stream_of_the_old_transport_is_spoken_to_through_every_replica() {
    let upstream = ScriptedUpstream::start().await;
    let Some(mut replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    let mut client = SseClient::open(&replicas.gateways[0].client(), "/files/sse").await;
    client.initialize("2024-11-05", &json!({})).await;
    let endpoint = client.endpoint().to_owned();
    for number in 0..3 {
        let call = json!({"jsonrpc": "2.0", "id": format!("c{number}"), "method": "tools/call",
            "params": {"name": "files-echo", "arguments": {"message": "hi"}}});
        let taken = replicas.gateways[number].client().post(&endpoint, &call).await;
        assert_eq!(taken.status, 202, "{}", taken.text());
        let answer = client.expect_next().await;
        assert_eq!(answer["id"], format!("c{number}"), "{answer}");
        assert_eq!(answer["result"]["content"][0]["text"], "hi", "{answer}");
    }
    assert_eq!(upstream.count("tools/call"), 3);
    // With whatever replica comes next for each message.
    let mut any = SseClient::open(&replicas.client(), "/sse").await;
    any.initialize("2025-06-18", &json!({})).await;
    for _ in 0..4 {
        let listed = any.request("tools/list", &Value::Null).await;
        assert_eq!(crate::support::names(&listed["result"]), ["files-echo"]);
    }
    replicas.gateways[0].kill9().await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let gone = replicas.gateways[1].client().post(&endpoint, &ping).await;
    let (status, code, words) = error(&gone);
    assert_eq!((status, code), (502, -32603), "{words}");
}

#[tokio::test]
async fn b20_a_call_is_cancelled_wherever_the_client_says_so() {
    let upstream = ScriptedUpstream::start().await;
    let Some(replicas) = three(&[("files", &upstream)]).await else {
        return;
    };
    upstream.on("tools/call", Act::Hang);
    let mut client = replicas.mcp();
    client.initialize().await;
    let mut first = replicas.at(0, &client);
    let calling = tokio::spawn(async move { first.call("files-echo", &message(""), None).await });
    eventually("the call is there", PATIENCE, async || {
        upstream.count("tools/call") == 1
    })
    .await;
    let mut second = replicas.at(1, &client);
    // Until this replica knows of the other one, which takes some seconds after a start.
    eventually("it is over", PATIENCE, async || {
        let params = json!({"requestId": 2});
        assert_eq!(
            second.notify("notifications/cancelled", &params).await.status,
            202
        );
        calling.is_finished()
    })
    .await;
    let error = calling.await.unwrap().error();
    assert!(error.message.contains("cancelled by the client"), "{error:?}");
    eventually("the server is told", PATIENCE, async || {
        upstream.count("notifications/cancelled") == 1
    })
    .await;
}
