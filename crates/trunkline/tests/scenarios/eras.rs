//! Prompts and resources of several servers, and clients of 2026-07-28. What official clients and servers make of it is in
//! `scripts/conformance.py`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trunkline_testkit::{Act, HttpClient, McpClient, Reply, ScriptedUpstream, TestGateway, UpstreamBuilder};

use crate::support::{Config, PATIENCE, array, listed, modern_upstream, names, register, text};

const MODERN: &str = "2026-07-28";

/// A server with a prompt and resources, one of which others have too.
fn library(name: &str) -> UpstreamBuilder {
    let read = json!({"contents": [{"uri": "memo://shared", "text": format!("of {name}")}]});
    ScriptedUpstream::builder()
        .initialize_member(
            "capabilities",
            json!({"tools": {}, "prompts": {}, "resources": {}}),
        )
        .on(
            "prompts/list",
            Act::Result(json!({"prompts": [{"name": "greet"}]}).to_string()),
        )
        .on(
            "prompts/get",
            Act::Result(
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": name}}]})
                    .to_string(),
            ),
        )
        .on(
            "resources/list",
            Act::Result(
                json!({"resources": [
                    {"uri": "memo://shared", "name": "shared"},
                    {"uri": format!("memo://{name}"), "name": name},
                ]})
                .to_string(),
            ),
        )
        .on(
            "resources/templates/list",
            Act::Result(
                json!({"resourceTemplates": [{"uriTemplate": format!("{name}://{{id}}"), "name": name}]})
                    .to_string(),
            ),
        )
        .on("resources/read", Act::Result(read.to_string()))
}

async fn libraries() -> (TestGateway, ScriptedUpstream, ScriptedUpstream) {
    let (one, two) = (library("one").start().await, library("two").start().await);
    let gateway = Config::of(&[("one", &one), ("two", &two)]).start().await;
    listed(&gateway, "one").await;
    listed(&gateway, "two").await;
    (gateway, one, two)
}

fn column(result: &Value, list: &str, key: &str) -> Vec<String> {
    array(&result[list])
        .iter()
        .map(|item| text(&item[key]).to_owned())
        .collect()
}

#[tokio::test]
async fn b16_prompts_and_resources_lead_to_their_own_server() {
    let (gateway, one, two) = libraries().await;
    let mut client = gateway.mcp();
    let capabilities = client.initialize().await.result()["capabilities"].clone();
    assert!(
        capabilities["prompts"].is_object() && capabilities["resources"].is_object(),
        "{capabilities}"
    );

    let prompts = client.request("prompts/list", &Value::Null).await.result();
    assert_eq!(column(&prompts, "prompts", "name"), ["one-greet", "two-greet"]);
    let got = client
        .request("prompts/get", &json!({"name": "two-greet"}))
        .await
        .result();
    assert_eq!(got["messages"][0]["content"]["text"], "two");
    assert_eq!((one.count("prompts/get"), two.count("prompts/get")), (0, 1));
    let ambiguous = client
        .request("prompts/get", &json!({"name": "greet"}))
        .await
        .error();
    assert!(
        ambiguous.message.contains("one-greet") && ambiguous.message.contains("two-greet"),
        "{ambiguous:?}"
    );

    let resources = client.request("resources/list", &Value::Null).await.result();
    assert_eq!(
        column(&resources, "resources", "uri"),
        [
            "one+memo://shared",
            "memo://one",
            "two+memo://shared",
            "memo://two"
        ]
    );
    let templates = client
        .request("resources/templates/list", &Value::Null)
        .await
        .result();
    assert_eq!(
        column(&templates, "resourceTemplates", "uriTemplate"),
        ["one://{id}", "two://{id}"]
    );

    let read = client
        .request("resources/read", &json!({"uri": "two+memo://shared"}))
        .await
        .result();
    assert_eq!(
        read["contents"][0],
        json!({"uri": "two+memo://shared", "text": "of two"})
    );
    let asked: Vec<Value> = two
        .requests()
        .iter()
        .map(trunkline_testkit::Recorded::json)
        .collect();
    let asked = asked
        .iter()
        .rfind(|message| message["method"] == "resources/read")
        .unwrap();
    assert_eq!(
        asked["params"]["uri"], "memo://shared",
        "the server sees its own URI"
    );
    // Listed by one of them, and matched by one template.
    for (uri, server) in [("memo://one", &one), ("two://7", &two)] {
        let before = server.count("resources/read");
        client
            .request("resources/read", &json!({"uri": uri}))
            .await
            .result();
        assert_eq!(server.count("resources/read"), before + 1, "{uri}");
    }
    let ambiguous = client
        .request("resources/read", &json!({"uri": "memo://shared"}))
        .await
        .error();
    assert!(ambiguous.message.contains("one+memo://shared"), "{ambiguous:?}");
    let unknown = client
        .request("resources/read", &json!({"uri": "nowhere://x"}))
        .await
        .error();
    assert_eq!(
        (unknown.code, unknown.data["uri"].clone()),
        (-32002, json!("nowhere://x"))
    );
}

#[tokio::test]
async fn b62_links_in_results_lead_back_to_their_server() {
    let (gateway, one, _two) = libraries().await;
    let link = |uri: &str| json!({"type": "resource_link", "uri": uri, "name": "n"});
    let result =
        json!({"content": [link("memo://one"), link("memo://shared"), link("other://x")], "isError": false});
    one.on("tools/call", Act::Result(result.to_string()));
    let mut client = gateway.mcp();
    client.initialize().await;
    client.request("resources/list", &Value::Null).await;
    let result = client.call("one-echo", &json!({}), None).await.result();
    assert_eq!(
        column(&result, "content", "uri"),
        ["memo://one", "one+memo://shared", "one+other://x"]
    );
    // Where there is one server, nothing needs to be told apart.
    let mut client = gateway.mcp_at("/one/mcp");
    client.initialize().await;
    let result = client.call("one-echo", &json!({}), None).await.result();
    assert_eq!(
        column(&result, "content", "uri"),
        ["memo://one", "memo://shared", "other://x"]
    );
}

/// A request of the new era. `headers` replaces what they should be.
pub(crate) async fn modern(
    http: &HttpClient,
    method: &str,
    params: Value,
    headers: &[(&str, &str)],
) -> Reply {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let name = params["name"]
        .as_str()
        .or(params["uri"].as_str())
        .unwrap_or_default()
        .to_owned();
    let mut http = http
        .clone()
        .with_header("accept", "application/json, text/event-stream")
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", method);
    if !name.is_empty() {
        http = http.with_header("mcp-name", &name);
    }
    for (name, value) in headers {
        http = http.with_header(name, value);
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    http.post("/mcp", &body).await
}

#[tokio::test]
async fn b20_requests_without_a_hand_shake_are_served_from_servers_with_one() {
    let (gateway, one, _two) = libraries().await;
    let http = gateway.client();
    let found = modern(&http, "server/discover", json!({}), &[])
        .await
        .expect_status(200)
        .json();
    assert_eq!(found["result"]["supportedVersions"], json!([MODERN]));
    assert_eq!(found["result"]["resultType"], "complete");
    let tools = modern(&http, "tools/list", json!({}), &[])
        .await
        .expect_status(200)
        .json();
    let result = &tools["result"];
    assert_eq!(column(result, "tools", "name"), ["one-echo", "two-echo"]);
    assert_eq!(
        (&result["resultType"], &result["cacheScope"]),
        (&json!("complete"), &json!("private"))
    );
    assert!(result["ttlMs"].is_u64(), "{result}");
    let called = modern(
        &http,
        "tools/call",
        json!({"name": "one-echo", "arguments": {"message": "hi"}}),
        &[],
    )
    .await
    .expect_status(200)
    .json();
    assert_eq!(called["result"]["resultType"], "complete", "{called}");
    // What only the new era has does not reach a server of the old one.
    let call = one
        .requests()
        .into_iter()
        .rfind(|request| request.method.as_deref() == Some("tools/call"))
        .unwrap();
    let sent: Value = serde_json::from_slice(&call.body).unwrap();
    assert!(sent["params"].get("_meta").is_none());
    assert_eq!(one.count("initialize"), 1);
    // No resource, no code of its own for it.
    let missing = modern(&http, "resources/read", json!({"uri": "nowhere://x"}), &[])
        .await
        .expect_status(200)
        .json();
    assert_eq!(missing["error"]["code"], -32602);
}

#[tokio::test]
async fn s23_headers_that_say_something_else_than_the_body_are_refused() {
    let (gateway, one, _two) = libraries().await;
    let http = gateway.client();
    let call = || json!({"name": "one-echo", "arguments": {"message": "hi"}});
    for wrong in [
        ("mcp-name", "two-echo"),
        ("mcp-method", "tools/list"),
        ("mcp-protocol-version", "2025-11-25"),
    ] {
        let refused = modern(&http, "tools/call", call(), &[wrong])
            .await
            .expect_status(400)
            .json();
        assert_eq!(refused["error"]["code"], -32020, "{wrong:?}: {refused}");
    }
    for removed in ["ping", "initialize", "logging/setLevel", "resources/subscribe"] {
        let refused = modern(&http, removed, json!({}), &[])
            .await
            .expect_status(404)
            .json();
        assert_eq!(refused["error"]["code"], -32601, "{removed}");
    }
    let unknown = modern(&http, "nothing/known", json!({}), &[])
        .await
        .expect_status(404)
        .json();
    assert_eq!(unknown["error"]["code"], -32601);
    let state =
        json!({"name": "one-echo", "arguments": {}, "requestState": "tl1.AAAA", "inputResponses": {}});
    let tampered = modern(&http, "tools/call", state, &[]).await.json();
    assert_eq!(tampered["error"]["code"], -32602, "{tampered}");
    assert_eq!(one.count("tools/call"), 0, "nothing of it was sent");
}

#[tokio::test]
async fn b61_a_subscription_begins_with_what_it_honours_and_tells_of_changes() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = Config::of(&[("files", &upstream)]).start().await;
    listed(&gateway, "files").await;
    let mut client = McpClient::over(gateway.client(), "/mcp")
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", "subscriptions/listen");
    let params = json!({
        "notifications": {"toolsListChanged": true},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let mut stream = client.open("subscriptions/listen", &params).await;
    let first = stream.expect_next(PATIENCE).await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        first["params"]["notifications"],
        json!({"toolsListChanged": true})
    );
    let subscription = first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone();
    assert!(!subscription.is_null());
    upstream.set_tools([crate::support::tool("other")]);
    let other = ScriptedUpstream::start().await;
    // A server that comes later is another request's; a change of one of this request's is told.
    register(
        &gateway.client(),
        &json!({"server_name": "later", "url": other.url()}),
    )
    .await;
    upstream.push(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    let refreshed = gateway.client().get("/v1/mcp/server/health").await;
    refreshed.expect_status(200);
    let told = stream.expect_next(PATIENCE + Duration::from_secs(5)).await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(
        told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        subscription
    );
}

/// A client of the new era that subscribes to a resource of a server of the old one: the session behind it is in use as long as
/// somebody listens, and its stream is asked for again when the server ends it.
#[tokio::test]
async fn b61_a_subscription_with_a_server_of_the_old_era_goes_on() {
    let capabilities = json!({"tools": {}, "resources": {"subscribe": true}});
    let upstream = ScriptedUpstream::builder()
        .initialize_member("capabilities", capabilities)
        .on(
            "resources/list",
            Act::Result(r#"{"resources":[{"uri":"file:///a","name":"a"}]}"#.to_owned()),
        )
        .on("resources/subscribe", Act::Result("{}".to_owned()))
        .start()
        .await;
    let gateway = Config::of(&[("files", &upstream)])
        .general("mcp_session_idle_ms: 1500")
        .start()
        .await;
    listed(&gateway, "files").await;
    let mut client = McpClient::over(gateway.client(), "/mcp")
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", "subscriptions/listen");
    let params = json!({
        "notifications": {"resourceSubscriptions": ["file:///a"]},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let mut stream = client.open("subscriptions/listen", &params).await;
    let first = stream.expect_next(PATIENCE).await;
    assert_eq!(
        first["params"]["notifications"]["resourceSubscriptions"],
        json!(["file:///a"])
    );
    let subscribed = upstream.requests().into_iter();
    let session = subscribed
        .filter(|request| request.is("resources/subscribe"))
        .map(|request| request.session)
        .next_back()
        .unwrap();
    // Somebody who comes later and is abandoned later is ended, and the subscription's session is not.
    let mut other = gateway.mcp();
    other.initialize().await;
    other
        .call("files-echo", &json!({"message": "x"}), None)
        .await
        .result();
    let abandoned = upstream
        .requests()
        .into_iter()
        .find(|request| request.is("tools/call"))
        .unwrap()
        .session;
    let ended = |session: &Option<String>| {
        let requests = upstream.requests().into_iter();
        requests
            .filter(|request| request.is("DELETE") && request.session == *session)
            .count()
    };
    trunkline_testkit::eventually("the abandoned one is ended", PATIENCE, async || {
        ended(&abandoned) == 1
    })
    .await;
    assert_eq!(ended(&session), 0);

    upstream.clear();
    upstream.reopen(trunkline_testkit::Socket::Serve).await;
    trunkline_testkit::eventually("the stream is asked for again", PATIENCE, async || {
        let requests = upstream.requests().into_iter();
        requests
            .filter(|request| request.is("GET") && request.session == session)
            .count()
            == 1
    })
    .await;
    upstream.push(
        &json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "file:///a"}}),
    );
    let told = stream.expect_next(PATIENCE).await;
    assert_eq!(told["method"], "notifications/resources/updated", "{told}");
    drop(stream);
    trunkline_testkit::eventually("it ends with the stream", PATIENCE, async || ended(&session) == 1).await;
}

#[tokio::test]
async fn b60_a_streamed_answer_is_read_on_after_a_broken_connection() {
    let upstream = ScriptedUpstream::start().await;
    upstream.on("tools/call", Act::KeepAlivesOnly(Duration::from_millis(200)));
    let gateway = Config::of(&[("files", &upstream)])
        .general("mcp_call_timeout_ms: 9000")
        .start()
        .await;
    listed(&gateway, "files").await;
    let mut client = gateway.mcp().with_protocol("2025-11-25");
    client.initialize().await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "files-echo", "arguments": {}}});
    let call = call.to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Litellm-Api-Key: {}\r\nMcp-Session-Id: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{call}",
        gateway.master_key(),
        client.session().unwrap(),
        call.len()
    );
    let mut socket = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let id = loop {
        let count = socket.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8_lossy(&read).into_owned();
        assert!(count > 0, "no priming event: {text}");
        if let Some(id) = text.lines().find_map(|line| line.strip_prefix("id: "))
            && text.contains("retry: ")
        {
            break id.to_owned();
        }
    };
    drop(socket);
    // The call goes on, and ends at its own deadline; its answer is there for who comes back.
    let again = client.with_header("last-event-id", &id);
    let mut stream = again.get_stream().await;
    let answer = stream.expect_next(PATIENCE).await;
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("timeout"),
        "{answer}"
    );
    // Not with another session's id.
    let mut stranger = gateway.mcp().with_protocol("2025-11-25");
    stranger.initialize().await;
    let refused = stranger.with_header("last-event-id", &id).get_stream().await;
    assert_eq!(refused.status().as_u16(), 400);
}

/// A server that knows no hand-shake is tried as it is used: whoever registers it reads that it works, and what its tools are.
#[tokio::test]
async fn b06_a_server_of_the_new_era_alone_is_tried_by_its_discovery() {
    let upstream = modern_upstream().start().await;
    for (name, version) in [("found", "auto"), ("said", "2026-07-28")] {
        let gateway = Config::of(&[])
            .server(name, &upstream, &format!("    protocol_version: \"{version}\"\n"))
            .start()
            .await;
        let body = json!({"url": upstream.url(), "transport": "http", "protocol_version": version});
        let tested = gateway.client().post("/mcp-rest/test/connection", &body).await;
        let tested = tested.expect_status(200).json();
        assert_eq!(tested["status"], "ok", "{version}: {tested}");
        let listed = gateway.client().post("/mcp-rest/test/tools/list", &body).await;
        let listed = listed.expect_status(200).json();
        assert_eq!(names(&listed), ["echo"], "{version}: {listed}");
        let doctor = gateway
            .run(&[
                "doctor",
                "--json",
                "--config",
                gateway.config_path().to_str().unwrap(),
            ])
            .await;
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(
            doctor.status.success() && said.contains("2026-07-28"),
            "{version}: {said}"
        );
    }
}
