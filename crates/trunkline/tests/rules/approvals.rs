//! Calls that somebody has to say yes to: by an administrator on any replica, or by the user at the client, and a tool runs once for
//! each yes.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Act, HttpClient, McpClient, Replicas, ScriptedUpstream, Sessions, TestGateway};

use crate::support::{MODERN, WAYS, Way, generate, listed, with};
use crate::world::{config, delete, echo, refusal, search, sent, served, world};

const ALWAYS: &str = "tool_approval: {delete: always, search: first_use, s-echo: never, '*': always}";

fn call(tool: &str, arguments: &Value) -> Value {
    json!({"name": tool, "arguments": arguments})
}

/// The approval that a refused call names.
fn approval_of(way: Way, answer: &(u16, Value)) -> String {
    let text = refusal(way, answer).unwrap();
    assert!(text.starts_with("approval_required: "), "{text}");
    let (_, rest) = text.split_once("Its approval is ").unwrap();
    let id = rest.split(':').next().unwrap().to_owned();
    assert!(
        text.contains(&format!("/v1/mcp/approvals/{id}/approve")),
        "{text}"
    );
    id
}

async fn decide(http: &HttpClient, id: &str, word: &str) -> (u16, Value) {
    let reply = http
        .post(&format!("/v1/mcp/approvals/{id}/{word}"), &json!({}))
        .await;
    (
        reply.status.as_u16(),
        serde_json::from_str(&reply.text()).unwrap_or_default(),
    )
}

#[tokio::test]
async fn s35_a_call_is_made_once_for_each_yes_and_never_without() {
    let (gateway, upstream) = world(&[ALWAYS]).await;
    let admin = gateway.client();
    let made = generate(&gateway, json!({"object_permission": {"mcp_servers": ["s"]}})).await;
    let key = with(&gateway, made["key"].as_str().unwrap());
    for (number, way) in WAYS.into_iter().enumerate() {
        let ask = async |path: &str| {
            let params = call("s-delete", &json!({"path": path, "n": number}));
            way.ask(&key, None, "tools/call", &params).await
        };
        // The same call, however it is made, is one request.
        let id = approval_of(way, &ask("/a").await);
        assert_eq!(approval_of(way, &ask("/a").await), id);
        assert_eq!(sent(&upstream).len(), 0, "{way:?}");
        let rows = admin.get("/v1/mcp/approvals").await.expect_status(200).json();
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["approval_id"] == *id)
            .unwrap()
            .clone();
        assert_eq!(row["arguments"], json!({"path": "/a", "n": number}));
        assert_eq!(
            (&row["state"], &row["mode"], &row["tool"], &row["server"]),
            (&json!("pending"), &json!("always"), &json!("delete"), &json!("s"))
        );
        assert_eq!(
            key.post(&format!("/v1/mcp/approvals/{id}/approve"), &json!({}))
                .await
                .status,
            403
        );
        let (status, row) = decide(&admin, &id, "approve").await;
        assert_eq!(
            (status, &row["state"], &row["decided_by"]),
            (200, &json!("approved"), &json!("master_key"))
        );
        // It is decided once, and for this call of this caller.
        for word in ["approve", "deny"] {
            assert_eq!(decide(&admin, &id, word).await.0, 409);
        }
        let other = approval_of(way, &ask("/b").await);
        assert_ne!(other, id);
        let of_admin = way
            .ask(
                &admin,
                None,
                "tools/call",
                &call("s-delete", &json!({"path": "/a", "n": number})),
            )
            .await;
        assert_ne!(approval_of(way, &of_admin), id);
        assert_eq!(sent(&upstream).len(), 0, "{way:?}");
        assert!(served(way, &ask("/a").await), "{way:?}");
        assert_eq!(sent(&upstream).len(), 1);
        let again = approval_of(way, &ask("/a").await);
        assert_ne!(again, id, "it was used");
        assert_eq!(decide(&admin, &other, "deny").await.0, 200);
        let text = refusal(way, &ask("/b").await).unwrap();
        assert!(
            text.starts_with("approval_denied: ") && text.contains(&other),
            "{text}"
        );
        assert_eq!(sent(&upstream).len(), 1);
        upstream.clear();
        let params = call("s-echo", &json!({"message": "x"}));
        assert!(
            served(way, &way.ask(&key, None, "tools/call", &params).await),
            "{way:?}"
        );
        upstream.clear();
        for id in [again, approval_of(way, &of_admin)] {
            decide(&admin, &id, "deny").await;
        }
    }
    assert_eq!(decide(&admin, "made-up", "approve").await.0, 404);
}

#[tokio::test]
async fn s35_of_two_calls_at_the_same_time_one_has_the_yes() {
    let (gateway, upstream) = world(&[ALWAYS]).await;
    let admin = gateway.client();
    for round in 0..5 {
        let params = call("s-delete", &json!({"round": round}));
        let id = approval_of(
            Way::Rest,
            &Way::Rest.ask(&admin, None, "tools/call", &params).await,
        );
        assert_eq!(decide(&admin, &id, "approve").await.0, 200);
        let both = || Way::Rest.ask(&admin, None, "tools/call", &params);
        let answers: [(u16, Value); 4] = tokio::join!(both(), both(), both(), both()).into();
        let made = answers.iter().filter(|answer| served(Way::Rest, answer)).count();
        assert_eq!((made, sent(&upstream).len()), (1, 1), "{answers:?}");
        upstream.clear();
    }
}

#[tokio::test]
async fn s29_a_first_use_is_remembered_until_the_tool_is_another() {
    let (mut gateway, upstream) = world(&[ALWAYS]).await;
    let admin = gateway.client();
    let ask = async |http: &HttpClient, q: &str| {
        Way::Bare
            .ask(http, None, "tools/call", &call("s-search", &json!({"q": q})))
            .await
    };
    let id = approval_of(Way::Bare, &ask(&admin, "a").await);
    assert_eq!(
        approval_of(Way::Bare, &ask(&admin, "b").await),
        id,
        "whatever the arguments"
    );
    let (_, row) = decide(&admin, &id, "approve").await;
    assert_eq!(row["expires_at"], Value::Null);
    for q in ["a", "b", "c"] {
        assert!(served(Way::Bare, &ask(&admin, q).await));
    }
    let made = generate(&gateway, json!({"object_permission": {"mcp_servers": ["s"]}})).await;
    let key = with(&gateway, made["key"].as_str().unwrap());
    assert_ne!(
        approval_of(Way::Bare, &ask(&key, "a").await),
        id,
        "of another caller"
    );
    gateway.kill9().await;
    gateway.restart().await;
    listed(&gateway, &["s"]).await;
    let admin = gateway.client();
    assert!(served(Way::Bare, &ask(&admin, "d").await));
    upstream.clear();
    let mut changed = search();
    changed["description"] = json!("Searches, and more.");
    upstream.set_tools([changed, delete(), echo()]);
    let row = &admin.get("/v1/mcp/server").await.json()[0];
    let path = format!(
        "/v1/mcp/server/health?server_ids={}",
        row["server_id"].as_str().unwrap()
    );
    admin.get(&path).await;
    trunkline_testkit::eventually("the new definition counts", Duration::from_secs(20), async || {
        let said = Way::Bare.ask(&admin, None, "tools/list", &json!({})).await;
        said.1.to_string().contains("and more")
    })
    .await;
    assert_ne!(
        approval_of(Way::Bare, &ask(&admin, "e").await),
        id,
        "of another definition"
    );
    assert_eq!(sent(&upstream).len(), 0);
}

#[tokio::test]
async fn s35_another_replica_says_yes_and_a_third_makes_the_call_after_kill_9() {
    let upstream = ScriptedUpstream::builder()
        .tool(search())
        .tool(delete())
        .tool(echo())
        .start()
        .await;
    let builder = TestGateway::builder().config(&config(&upstream, &[ALWAYS]));
    let Some(mut replicas) = Replicas::start(builder, 3).await else {
        return;
    };
    for gateway in &replicas.gateways {
        listed(gateway, &["s"]).await;
    }
    upstream.clear();
    let params = call("s-delete", &json!({"path": "/a"}));
    let at = |replicas: &Replicas, number: usize| replicas.gateways[number].client();
    let asked = Way::Session
        .ask(&at(&replicas, 0), None, "tools/call", &params)
        .await;
    let id = approval_of(Way::Session, &asked);
    replicas.gateways[0].kill9().await;
    assert_eq!(decide(&at(&replicas, 1), &id, "approve").await.0, 200);
    let (two, three) = (at(&replicas, 1), at(&replicas, 2));
    let (a, b) = tokio::join!(
        Way::Session.ask(&two, None, "tools/call", &params),
        Way::Session.ask(&three, None, "tools/call", &params)
    );
    let made = [&a, &b]
        .into_iter()
        .filter(|answer| served(Way::Session, answer))
        .count();
    assert_eq!((made, sent(&upstream).len()), (1, 1), "{a:?} {b:?}");
    // A replay on any replica asks again.
    for http in [two, three] {
        assert_ne!(
            approval_of(
                Way::Session,
                &Way::Session.ask(&http, None, "tools/call", &params).await
            ),
            id
        );
    }
    assert_eq!(sent(&upstream).len(), 1);
    // What is too old is nothing: ten minutes later, by hand.
    let second = approval_of(
        Way::Session,
        &Way::Session
            .ask(&at(&replicas, 1), None, "tools/call", &params)
            .await,
    );
    replicas
        .database
        .sql("UPDATE call_approval SET expires_at = 1 WHERE state = 'pending'");
    assert_eq!(decide(&at(&replicas, 2), &second, "approve").await.0, 409);
    let third = approval_of(
        Way::Session,
        &Way::Session
            .ask(&at(&replicas, 1), None, "tools/call", &params)
            .await,
    );
    assert_ne!(third, second);
    assert_eq!(decide(&at(&replicas, 2), &third, "approve").await.0, 200);
    replicas
        .database
        .sql("UPDATE call_approval SET expires_at = 1 WHERE state = 'approved'");
    assert_ne!(
        approval_of(
            Way::Session,
            &Way::Session
                .ask(&at(&replicas, 1), None, "tools/call", &params)
                .await
        ),
        third
    );
    assert_eq!(sent(&upstream).len(), 1);
    // Arguments are not readable in the database.
    let stored = replicas.database.sql("SELECT arguments FROM call_approval");
    assert!(!stored.contains("/a"), "{stored}");
    // Without its table nothing is looked up, and nothing called.
    replicas.database.sql("ALTER TABLE call_approval RENAME TO gone");
    upstream.clear();
    let (status, said) = Way::Rest
        .ask(&at(&replicas, 1), None, "tools/call", &params)
        .await;
    assert_eq!(
        (status, &said["detail"]["error"]),
        (503, &json!("database_unavailable")),
        "{said}"
    );
    let (status, _) = Way::Session
        .ask(&at(&replicas, 2), None, "tools/call", &params)
        .await;
    assert_eq!(status, 503);
    assert_eq!(sent(&upstream).len(), 0);
}

#[tokio::test]
async fn s38_the_calls_of_one_caller_that_wait_are_bounded() {
    let (gateway, upstream) = world(&[ALWAYS]).await;
    let made = generate(&gateway, json!({"object_permission": {"mcp_servers": ["s"]}})).await;
    let key = with(&gateway, made["key"].as_str().unwrap());
    let mut last = String::new();
    for number in 0..22 {
        let params = call("s-delete", &json!({"n": number}));
        last = refusal(Way::Rest, &Way::Rest.ask(&key, None, "tools/call", &params).await).unwrap();
    }
    assert!(last.starts_with("approval_limit: "), "{last}");
    // Of others nothing is taken.
    let params = call("s-delete", &json!({"n": 1}));
    approval_of(
        Way::Rest,
        &Way::Rest
            .ask(&gateway.client(), None, "tools/call", &params)
            .await,
    );
    let large = json!({"n": "x".repeat(100_000)});
    let text = refusal(
        Way::Rest,
        &Way::Rest
            .ask(&gateway.client(), None, "tools/call", &call("s-delete", &large))
            .await,
    );
    assert!(text.unwrap().starts_with("approval_impossible: "));
    assert_eq!(sent(&upstream).len(), 0);
}

/// A server of either era with [`delete`], which may be approved by the user.
async fn by_user(modern: bool) -> (TestGateway, ScriptedUpstream) {
    let mut builder = ScriptedUpstream::builder().tool(delete());
    let mut lines = vec!["tool_approval: {delete: always}", "approval_by_user: true"];
    if modern {
        let discovered = json!({
            "resultType": "complete", "supportedVersions": [MODERN], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private",
        });
        builder = builder
            .sessions(Sessions::Off)
            .revisions(&[MODERN])
            .on("server/discover", Act::Result(discovered.to_string()));
        lines.push("protocol_version: \"2026-07-28\"");
    }
    let upstream = builder.start().await;
    let gateway = TestGateway::start(&config(&upstream, &lines)).await;
    listed(&gateway, &["s"]).await;
    upstream.clear();
    (gateway, upstream)
}

fn answer(action: &str, approve: bool) -> Value {
    json!({"action": action, "content": {"approve": approve}})
}

#[tokio::test]
async fn s35_the_user_of_a_client_of_the_old_era_is_asked_on_the_calls_stream() {
    for modern in [false, true] {
        let (gateway, upstream) = by_user(modern).await;
        let mut client = gateway.mcp().with_capabilities(json!({"elicitation": {}}));
        client.initialize().await;
        for (said, word) in [
            (answer("accept", true), None),
            (answer("accept", false), Some("approval_denied: ")),
            (answer("decline", true), Some("approval_denied: ")),
            (json!({"action": "cancel"}), Some("approval_required: ")),
        ] {
            let mark = format!(
                "{}-{}",
                said["action"].as_str().unwrap(),
                said["content"]["approve"]
            );
            let params = call("s-delete", &json!({"path": mark}));
            let mut stream = client.open("tools/call", &params).await;
            let asked = stream.expect_next(Duration::from_secs(20)).await;
            assert_eq!(asked["method"], "elicitation/create", "{asked}");
            let text = asked["params"]["message"].as_str().unwrap();
            assert!(text.contains("delete") && text.contains(&mark), "{text}");
            assert_eq!(sent(&upstream).len(), 0, "nothing before the yes");
            let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": said});
            client.send_message(reply.to_string()).await.unwrap();
            let last = stream.expect_next(Duration::from_secs(20)).await;
            match word {
                None => {
                    assert_ne!(last["result"]["isError"], true, "{last}");
                    assert_eq!(sent(&upstream).len(), 1);
                }
                Some(word) => {
                    let text = last["result"]["content"][0]["text"].as_str().unwrap();
                    assert!(text.starts_with(word), "{text}");
                    assert_eq!(sent(&upstream).len(), 0);
                }
            }
            upstream.clear();
        }
        // The same call once more is another.
        let params = call("s-delete", &json!({"path": "accept-true"}));
        let mut stream = client.open("tools/call", &params).await;
        let asked = stream.expect_next(Duration::from_secs(20)).await;
        assert_eq!(asked["method"], "elicitation/create", "{asked}");
        // Who cannot be asked is told.
        let told = Way::Session
            .ask(&gateway.client(), None, "tools/call", &params)
            .await;
        approval_of(Way::Session, &told);
        assert_eq!(sent(&upstream).len(), 0);
    }
}

async fn modern(gateway: &TestGateway, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    });
    let http = gateway
        .client()
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", "tools/call")
        .with_header("mcp-name", params["name"].as_str().unwrap());
    McpClient::over(http, "/mcp")
        .request("tools/call", &params)
        .await
        .result()
}

#[tokio::test]
async fn s35_the_user_of_a_client_of_the_new_era_is_asked_by_a_result() {
    for era in [false, true] {
        let (mut gateway, upstream) = by_user(era).await;
        let params = call("s-delete", &json!({"path": "/a"}));
        let asked = modern(&gateway, params.clone()).await;
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        assert_eq!(asked["inputRequests"]["approve"]["method"], "elicitation/create");
        let state = asked["requestState"].clone();
        let retry = |arguments: Value, said: Value| {
            let mut params = call("s-delete", &arguments);
            params["requestState"] = state.clone();
            params["inputResponses"] = json!({"approve": said});
            params
        };
        // Not for other arguments, and not without an answer.
        let http = gateway.client();
        let stolen = retry(json!({"path": "/b"}), answer("accept", true));
        let (_, said) = Way::Modern.ask(&http, None, "tools/call", &stolen).await;
        assert_eq!(said["error"]["code"], -32602, "{said}");
        let again = modern(
            &gateway,
            retry(json!({"path": "/a"}), json!({"action": "cancel"})),
        )
        .await;
        assert_eq!(again["resultType"], "input_required", "{again}");
        assert_eq!(sent(&upstream).len(), 0);
        // Whoever answers, a process that was started anew knows.
        gateway.kill9().await;
        gateway.restart().await;
        listed(&gateway, &["s"]).await;
        upstream.clear();
        let done = modern(&gateway, retry(json!({"path": "/a"}), answer("accept", true))).await;
        assert!(done["content"].is_array() && done["isError"] != true, "{done}");
        assert_eq!(sent(&upstream), [r#"{"path":"/a"}"#]);
        assert!(
            !upstream.everything().contains("requestState"),
            "what is ours stays here"
        );
        // A replay of the answer is no second yes.
        let replayed = modern(&gateway, retry(json!({"path": "/a"}), answer("accept", true))).await;
        assert_eq!(replayed["resultType"], "input_required", "{replayed}");
        assert_eq!(sent(&upstream).len(), 1);
    }
}

#[tokio::test]
async fn s35_a_server_that_asks_in_the_middle_is_approved_once() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stdio/server.py");
    let config = format!(
        "mcp_servers:\n  s:\n    transport: stdio\n    command: python3\n    args: {}\n    sandbox: off\n    tool_approval: {{elicit: always}}\n",
        json!([script, "mark", "era=modern"])
    );
    let gateway = TestGateway::start(&config).await;
    listed(&gateway, &["s"]).await;
    let params = call("s-elicit", &json!({}));
    let told = modern(&gateway, params.clone()).await;
    let text = told["content"][0]["text"].as_str().unwrap();
    let (_, rest) = text.split_once("Its approval is ").unwrap();
    let id = rest.split(':').next().unwrap();
    assert_eq!(decide(&gateway.client(), id, "approve").await.0, 200);
    let asked = modern(&gateway, params.clone()).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let mut retry = params.clone();
    retry["inputResponses"] = json!({"q": {"action": "accept", "content": {"name": "Ann"}}});
    let done = modern(&gateway, retry.clone()).await;
    assert!(
        done["content"][0]["text"].as_str().unwrap().contains("Ann"),
        "{done}"
    );
    let again = modern(&gateway, retry).await;
    assert!(
        again["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("approval_required: "),
        "{again}"
    );
}

/// Whoever says yes reads one of two arguments of a name, and the server takes the other.
#[tokio::test]
async fn s35_what_can_be_read_in_two_ways_is_not_asked_about() {
    let (gateway, upstream) = world(&["tool_approval: {echo: always}"]).await;
    let http = gateway.client();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s-echo","arguments":{"message":"one","message":"two"}}}"#;
    let request = http::Request::post("/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(bytes::Bytes::from(body))
        .unwrap();
    let said = http.try_send(request).await.unwrap().text();
    assert!(said.contains("error") || said.contains("isError"), "{said}");
    let waiting = http.get("/v1/mcp/approvals").await.expect_status(200).text();
    assert!(!waiting.contains("two"), "{waiting}");
    assert_eq!(upstream.count("tools/call"), 0);
}
