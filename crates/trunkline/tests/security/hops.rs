//! Requests that one replica hands to another: S20. Nothing is trusted because of the way it came, and nobody but a replica
//! is sent a client's request.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use trunkline_testkit::{
    HttpClient, Replicas, Reply, ScratchDatabase, ScriptedUpstream, TestGateway, ToolAnswer, eventually,
};

use crate::support::{PATIENCE, config, listed, raw, status_of};

/// A server whose tool asks the client once.
async fn asking() -> ScriptedUpstream {
    let question = json!({
        "method": "elicitation/create",
        "params": {"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": {}}},
    });
    let tool = json!({"name": "ask", "inputSchema": {"type": "object"}});
    ScriptedUpstream::builder()
        .tool_fn(&tool, move |_| ToolAnswer::Ask(vec![question.clone()]))
        .start()
        .await
}

/// A call of the tool by a client of 2026-07-28; `state` of the call that it goes on with.
async fn call(http: &HttpClient, state: Option<&Value>) -> Reply {
    let mut params = json!({"name": "files-ask", "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }});
    if let Some(state) = state {
        params["requestState"] = state.clone();
        params["inputResponses"] = json!({"q0-1": {"action": "accept", "content": {}}});
    }
    let http = http
        .clone()
        .with_header("accept", "application/json, text/event-stream")
        .with_header("mcp-protocol-version", "2026-07-28")
        .with_header("mcp-method", "tools/call")
        .with_header("mcp-name", "files-ask");
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    http.post("/mcp", &body).await
}

/// The state of a call that waits.
async fn parked(gateway: &TestGateway) -> Value {
    let asked = call(&gateway.client(), None).await.expect_status(200).json();
    let result = &asked["result"];
    assert!(result["inputRequests"]["q0-1"].is_object(), "{asked}");
    result["requestState"].clone()
}

/// Listens, answers everything with 200, and keeps what it was sent.
async fn impostor(port: u16) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(String::new()));
    let keep = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let keep = keep.clone();
            tokio::spawn(async move {
                let mut piece = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    keep.lock()
                        .unwrap()
                        .push_str(&String::from_utf8_lossy(&piece[..length]));
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    (port, heard)
}

#[tokio::test]
async fn s20_a_client_that_sends_the_hop_header_gains_nothing() {
    let upstream = ScriptedUpstream::start().await;
    let text = config(&[("files", &upstream)]) + "    extra_headers: [\"x-*\"]\n";
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, "files").await;
    for made_up in ["true", "", "AAAA", "internal"] {
        let mut client = gateway.mcp().with_header("x-trunkline-hop", made_up);
        client.initialize().await;
        let called = client.call("files-echo", &json!({"message": "m"}), None).await;
        assert_eq!(called.result()["content"][0]["text"], "m", "{made_up:?}");
        // Not let in for it.
        let anonymous = gateway.anonymous().with_header("x-trunkline-hop", made_up);
        anonymous.get("/mcp").await.expect_status(401);
        anonymous.get("/health/replica").await.expect_status(404);
        let evil = format!(
            "GET /health/liveliness HTTP/1.1\r\nHost: evil.example.com\r\nX-Trunkline-Hop: {made_up}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            status_of(&raw(gateway.port(), evil.as_bytes()).await),
            421,
            "{made_up:?}"
        );
    }
    assert!(!upstream.everything().to_lowercase().contains("x-trunkline-hop"));
}

#[tokio::test]
async fn s20_nobody_but_a_replica_is_sent_a_clients_request() {
    let upstream = asking().await;
    let config = config(&[("files", &upstream)]);
    let Some(mut replicas) = Replicas::start(TestGateway::builder().config(&config), 2).await else {
        return;
    };
    listed(&replicas.gateways[0], "files").await;
    let (first, second) = (
        parked(&replicas.gateways[0]).await,
        parked(&replicas.gateways[0]).await,
    );
    let port = replicas.gateways[0].port();
    replicas.gateways[0].kill9().await;

    // Somebody else has the address by now.
    let (_, heard) = impostor(port).await;
    let other = replicas.gateways[1].client();
    let refused = call(&other, Some(&first)).await.expect_status(502);
    assert_eq!(refused.json()["error"]["code"], -32603);
    let heard = heard.lock().unwrap().clone();
    assert!(heard.starts_with("GET /health/replica HTTP/1.1\r\n"), "{heard}");
    for secret in [
        replicas.gateways[1].master_key(),
        first.as_str().unwrap(),
        "tools/call",
    ] {
        assert!(!heard.contains(secret), "{heard}");
    }
    // The hop that it got hold of is good for nothing at another replica.
    let hop = heard
        .lines()
        .find_map(|line| line.strip_prefix("x-trunkline-hop: "))
        .unwrap();
    let replayed = format!(
        "GET /health/replica HTTP/1.1\r\nHost: evil.example.com\r\nx-trunkline-hop: {hop}\r\nConnection: close\r\n\r\n"
    );
    let answer = raw(replicas.gateways[1].port(), replayed.as_bytes()).await;
    assert_eq!(status_of(&answer), 421, "{answer}");
    assert!(!answer.to_lowercase().contains("x-trunkline-hop"), "{answer}");

    // Whoever can write to the database cannot have requests sent where they like.
    let (elsewhere, heard) = impostor(0).await;
    let moved = format!("UPDATE replica SET address = '127.0.0.1:{elsewhere}', seen_at = seen_at + 60000000");
    replicas.database.sql(&moved);
    eventually("it is not believed", PATIENCE, async || {
        replicas.gateways[1].log().contains("others=0")
    })
    .await;
    call(&other, Some(&second)).await.expect_status(502);
    assert_eq!(*heard.lock().unwrap(), "");
    assert_eq!(upstream.count("tools/call"), 2);
}

/// The one that hands it on has looked at the client's Host; the other one listens on loopback and would not let it in.
#[tokio::test]
async fn s25_a_request_that_is_handed_on_was_let_in_once() {
    let upstream = asking().await;
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let builder = TestGateway::builder()
        .config(&config(&[("files", &upstream)]))
        .database_url(&database.url());
    let inner = builder.clone().start().await;
    let outer = builder.host("0.0.0.0").start().await;
    listed(&inner, "files").await;
    let state = parked(&inner).await;
    let named = |gateway: &TestGateway| gateway.client().with_header("host", "gateway.example.com");
    call(&named(&inner), Some(&state)).await.expect_status(421);
    let done = call(&named(&outer), Some(&state)).await.expect_status(200);
    assert_eq!(done.json()["result"]["resultType"], "complete", "{}", done.text());
    assert_eq!(upstream.count("tools/call"), 1);
    // And the other way: the address of the outer one was found out.
    let state = parked(&outer).await;
    call(&inner.client(), Some(&state)).await.expect_status(200);
    assert_eq!(upstream.count("tools/call"), 2);
}

/// Every replica says that it is at the first one's address: nothing goes in circles.
#[tokio::test]
async fn s20_an_address_that_is_another_replicas_ends_in_an_error() {
    let upstream = asking().await;
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let builder = TestGateway::builder()
        .config(&config(&[("files", &upstream)]))
        .database_url(&database.url());
    let first = builder.clone().start().await;
    let wrong = builder.env("TRUNKLINE_ADVERTISE_URL", &first.url()).start().await;
    listed(&wrong, "files").await;
    let state = parked(&wrong).await;
    let refused = call(&first.client(), Some(&state))
        .await
        .expect_status(502)
        .json();
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cannot be reached"),
        "{refused}"
    );
    assert!(
        first.log().contains("did not show that it is the replica"),
        "{}",
        first.log()
    );
    // It is still there for who asks the right one.
    call(&wrong.client(), Some(&state)).await.expect_status(200);
    assert_eq!(upstream.count("tools/call"), 1);
}

#[tokio::test]
async fn s38_calls_that_wait_for_an_answer_are_bounded() {
    let upstream = asking().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream)])).await;
    listed(&gateway, "files").await;
    let mut states = Vec::new();
    for _ in 0..100 {
        states.push(parked(&gateway).await);
    }
    let refused = call(&gateway.client(), None).await.expect_status(503);
    assert_eq!(refused.header("retry-after"), Some("30"));
    let error = refused.json()["error"].clone();
    assert_eq!(error["code"], -32603, "{error}");
    // The server is not left waiting, and an answer makes room.
    eventually("the server is told", PATIENCE, async || {
        upstream.count("notifications/cancelled") == 1
    })
    .await;
    call(&gateway.client(), states.first()).await.expect_status(200);
    parked(&gateway).await;
}
