//! Which tools there are: the same on every path, with a reason for each that is not there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Act, Canary, Cursors, Recorded, ScriptedUpstream, Socket, TestGateway, eventually};

use crate::support::{
    Config, PATIENCE, array, assert_calm, becomes, gateway_of, health, listed, message, names, outcome,
    register, row, said, stored, text, tool,
};

#[tokio::test]
async fn b07_servers_of_the_file_alone_are_listed_and_a_wrong_key_is_no_empty_list() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    assert_eq!(gateway.mcp().tool_names().await, ["files-echo"]);
    let stranger = gateway
        .anonymous()
        .with_header("authorization", "Bearer sk-somebody-else");
    for client in [gateway.anonymous(), stranger] {
        for path in ["/mcp-rest/tools/list", "/v1/mcp/tools"] {
            let reply = client.get(path).await.expect_status(401);
            assert!(!reply.text().contains("tools\":[]"), "{}", reply.text());
        }
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        for path in ["/mcp", "/files/mcp", "/mcp/files"] {
            let reply = client.post(path, &list).await.expect_status(401);
            assert!(!reply.text().contains("result"), "{path}: {}", reply.text());
        }
    }
}

/// Tools by their own names, without what a surface adds to them.
fn by_own_name(tools: &Value) -> BTreeMap<String, Value> {
    let strip = |tool: &Value| {
        let mut tool = tool.clone();
        let name = text(&tool["name"]);
        let own = ["one-", "two-"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(name);
        let own = own.to_owned();
        tool["name"] = own.clone().into();
        tool.as_object_mut().unwrap().remove("mcp_info");
        (own, tool)
    };
    array(tools).iter().map(strip).collect()
}

#[tokio::test]
async fn b08_every_path_has_the_same_tools_with_the_same_schemas() {
    let schema = json!({
        "type": "object",
        "properties": {"kind": {"$ref": "#/$defs/kind"}, "limit": {"type": "integer", "maximum": 50}},
        "required": ["kind"],
        "$defs": {"kind": {"enum": ["a", "b"]}},
    });
    let definition = |name: &str| json!({"name": name, "title": "T", "inputSchema": schema, "annotations": {"readOnlyHint": true}});
    let one = ScriptedUpstream::builder()
        .tool(definition("first"))
        .tool(definition("second"))
        .start()
        .await;
    let two = ScriptedUpstream::builder()
        .tool(definition("third"))
        .start()
        .await;
    let gateway = gateway_of(&[("one", &one), ("two", &two)]).await;
    let of_one: BTreeMap<_, _> = ["first", "second"]
        .map(|name| (name.to_owned(), definition(name)))
        .into();
    let mut of_both = of_one.clone();
    of_both.insert("third".to_owned(), definition("third"));

    for (path, header, expected) in [
        ("/mcp", None, &of_both),
        ("/mcp/", None, &of_both),
        ("/mcp/mcp", None, &of_both),
        ("/mcp/one,two", None, &of_both),
        ("/mcp", Some("two,one"), &of_both),
        ("/one/mcp", None, &of_one),
        ("/one/mcp/", None, &of_one),
        ("/mcp/one", None, &of_one),
        ("/mcp/one/", None, &of_one),
        ("/mcp/one/mcp", None, &of_one),
        ("/mcp", Some("one"), &of_one),
    ] {
        let mut client = gateway.mcp_at(path);
        if let Some(servers) = header {
            client = client.with_header("x-mcp-servers", servers);
        }
        client.initialize().await;
        let tools = client.list_tools().await;
        assert_eq!(tools.len(), expected.len(), "{path} {header:?}");
        assert_eq!(&by_own_name(&tools.into()), expected, "{path} {header:?}");
    }
    for (path, header, expected) in [
        ("/v1/mcp/tools", None, &of_both),
        ("/mcp-rest/tools/list", None, &of_both),
        ("/mcp-rest/tools/list", Some("one"), &of_one),
        ("/mcp-rest/tools/list?server_id=one", None, &of_one),
        ("/mcp-rest/tools/list?mcp_server_name=one", None, &of_one),
    ] {
        let client = match header {
            Some(servers) => gateway.client().with_header("x-mcp-servers", servers),
            None => gateway.client(),
        };
        let answer = client.get(path).await.expect_status(200).json();
        assert_eq!(&by_own_name(&answer["tools"]), expected, "{path} {header:?}");
    }
    // What a person sees who tries the server before it is registered.
    let preview = json!({"url": one.url(), "transport": "http"});
    let preview = gateway
        .client()
        .post("/mcp-rest/test/tools/list", &preview)
        .await
        .json();
    assert_eq!(by_own_name(&preview["tools"]), of_one);
}

/// Header and value that every request of a server with this credential must carry.
fn credentials(secret: &Canary) -> Vec<(&'static str, String, &'static str, String)> {
    let secret = secret.value();
    vec![
        (
            "bearer_token",
            secret.to_owned(),
            "authorization",
            format!("Bearer {secret}"),
        ),
        ("api_key", secret.to_owned(), "x-api-key", secret.to_owned()),
        (
            "token",
            secret.to_owned(),
            "authorization",
            format!("token {secret}"),
        ),
        (
            "authorization",
            format!("Custom {secret}"),
            "authorization",
            format!("Custom {secret}"),
        ),
        // "user:" and the pair in base64
        (
            "basic",
            "user:pass".to_owned(),
            "authorization",
            "Basic dXNlcjpwYXNz".to_owned(),
        ),
    ]
}

#[tokio::test]
async fn b09_list_call_health_and_test_carry_the_same_credential() {
    let secret = Canary::new("stored");
    let gateway = TestGateway::start("{}").await;
    for (auth_type, value, header, sent) in credentials(&secret) {
        let upstream = ScriptedUpstream::builder()
            .require_header(header, &sent)
            .start()
            .await;
        let server = json!({
            "server_name": format!("s_{auth_type}"),
            "url": upstream.url(),
            "transport": "http",
            "auth_type": auth_type,
            "credentials": {"auth_value": value},
        });
        let id = register(&gateway.client(), &server).await;
        listed(&gateway, &format!("s_{auth_type}")).await;

        let mut client = gateway.mcp_at(&format!("/s_{auth_type}/mcp"));
        client.initialize().await;
        assert_eq!(client.list_tools().await.len(), 1);
        let name = format!("s_{auth_type}-echo");
        assert_eq!(said(&client.call(&name, &message("hi"), None).await), "hi");
        let call = json!({"server_id": id, "name": "echo", "arguments": message("rest")});
        let rest = gateway
            .client()
            .post("/mcp-rest/tools/call", &call)
            .await
            .expect_status(200);
        assert_eq!(rest.json()["content"][0]["text"], "rest");
        assert_eq!(health(&gateway.client(), &id).await["status"], "healthy");
        for route in ["connection", "tools/list"] {
            let path = format!("/mcp-rest/test/{route}");
            let tested = gateway
                .client()
                .post(&path, &json!({"server_id": id}))
                .await
                .json();
            assert_eq!(tested["outcome"]["status"], "ok", "{route}: {tested}");
        }
        client.delete().await;
        eventually("the session is ended upstream", PATIENCE, async || {
            upstream.count("DELETE") >= 2
        })
        .await;

        let requests = upstream.requests();
        for kind in [
            "initialize",
            "notifications/initialized",
            "tools/list",
            "tools/call",
            "DELETE",
        ] {
            assert!(requests.iter().any(|request| request.is(kind)), "no {kind}");
        }
        let without = |request: &&Recorded| request.header(header) != Some(&*sent);
        let without: Vec<_> = requests
            .iter()
            .filter(without)
            .map(Recorded::everything)
            .collect();
        assert!(
            without.is_empty(),
            "{auth_type}: requests without it: {without:#?}"
        );
    }
    secret.assert_absent(&[("the log", gateway.log())]);
}

#[tokio::test]
async fn b10_a_server_that_fails_is_named_with_the_cause() {
    let (fine, bad) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let words = "the database of the tools is on fire";
    let error = Act::Error {
        code: -32000,
        message: words.to_owned(),
    };
    bad.on("tools/list", error);
    let gateway = Config::of(&[("bad", &bad), ("fine", &fine)]).start().await;
    becomes(&gateway, "bad", "upstream_error").await;
    listed(&gateway, "fine").await;

    let list = gateway.mcp().request("tools/list", &Value::Null).await.result();
    assert_eq!(names(&list), ["fine-echo"]);
    let rest = gateway
        .client()
        .get("/v1/mcp/tools")
        .await
        .expect_status(200)
        .json();
    assert_eq!(names(&rest), ["fine-echo"]);
    let own = row(&gateway.client(), "bad").await;
    let checked = health(&gateway.client(), text(&own["server_id"])).await;
    for (place, outcome) in [
        ("_meta", outcome(&list, "bad")),
        ("REST", &rest["server_outcomes"]["bad"]),
        ("row", &own["outcome"]),
        ("health", &checked["outcome"]),
    ] {
        assert_eq!(outcome["status"], "upstream_error", "{place}: {outcome}");
        assert_eq!(outcome["step"], "list", "{place}: {outcome}");
        assert!(text(&outcome["message"]).contains(words), "{place}: {outcome}");
    }
    assert!(text(&rest["message"]).contains("bad"), "{rest}");
    let log = gateway.log();
    let line = log
        .lines()
        .find(|line| line.contains(words))
        .unwrap_or_else(|| panic!("{log}"));
    for part in ["WARN", "server=bad", "upstream_error", "list"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    let metrics = gateway.client().get("/metrics").await.text();
    let up = |server: &str, outcome: &str, value: u8| {
        format!("trunkline_mcp_server_up{{mcp_server_name=\"{server}\",outcome=\"{outcome}\"}} {value}")
    };
    assert!(metrics.contains(&up("bad", "upstream_error", 0)), "{metrics}");
    assert!(metrics.contains(&up("fine", "ok", 1)), "{metrics}");
    // The two lists above had to do without it.
    let missed = "trunkline_mcp_list_failures_total{mcp_server_name=\"bad\",outcome=\"upstream_error\"} 2";
    assert!(metrics.contains(missed), "{metrics}");
}

#[tokio::test]
async fn b10_all_fail_is_an_error_and_not_an_empty_list() {
    let bad = ScriptedUpstream::builder()
        .on("initialize", Act::status(500, "boom"))
        .start()
        .await;
    let gateway = Config::of(&[("bad", &bad)]).start().await;
    becomes(&gateway, "bad", "upstream_error").await;
    let error = gateway.mcp().request("tools/list", &Value::Null).await.error();
    assert!(
        error.message.contains("bad") && error.message.contains("500"),
        "{error:?}"
    );
    assert_eq!(
        error.data["litellm.ai/server_outcomes"]["bad"]["http_status"], 500,
        "{error:?}"
    );
    let rest = gateway.client().get("/mcp-rest/tools/list").await.json();
    assert_eq!(rest["error"], "partial_failure", "{rest}");
    gateway
        .client()
        .get("/mcp-rest/tools/list?server_id=bad")
        .await
        .expect_status(502);
}

#[tokio::test]
async fn b11_a_slow_listing_is_left_behind_within_the_deadline_and_called_off() {
    let (fast, slow) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    slow.on("tools/list", Act::Delay(Duration::from_secs(30)));
    let config = Config::of(&[("fast", &fast), ("slow", &slow)])
        .general("mcp_fanout_deadline_ms: 1000")
        .general("mcp_list_timeout_ms: 2500");
    let mut gateway = config.start().await;
    let reply = gateway.mcp().request("tools/list", &Value::Null).await;
    assert!(reply.elapsed < Duration::from_secs(2), "{:?}", reply.elapsed);
    let list = reply.result();
    assert_eq!(names(&list), ["fast-echo"]);
    assert_eq!(outcome(&list, "slow")["status"], "timeout", "{list}");

    // The server is told that nobody waits any more, by the id that it was asked under.
    eventually("the listing is called off", PATIENCE, async || {
        slow.count("notifications/cancelled") > 0
    })
    .await;
    let requests = slow.requests();
    let of = |name: &str| requests.iter().find(|request| request.is(name)).unwrap().json();
    assert_eq!(
        of("notifications/cancelled")["params"]["requestId"],
        of("tools/list")["id"]
    );

    // Once it was listed, its slowness costs the client nothing, not even after a restart.
    slow.behave();
    listed(&gateway, "slow").await;
    eventually("its tools are stored", PATIENCE, async || {
        stored(&gateway).await == 2
    })
    .await;
    for method in ["initialize", "tools/list"] {
        slow.on(method, Act::Delay(Duration::from_secs(30)));
    }
    gateway.restart().await;
    let reply = gateway.mcp().request("tools/list", &Value::Null).await;
    assert!(reply.elapsed < Duration::from_secs(1), "{:?}", reply.elapsed);
    let list = reply.result();
    assert_eq!(names(&list), ["fast-echo", "slow-echo"]);
    assert_eq!(outcome(&list, "slow")["stale"], true, "{list}");
    assert_calm(&gateway);
}

#[tokio::test]
async fn b12_a_preview_of_an_unreachable_server_fails_within_ten_seconds() {
    let (refusing, hanging) = (
        ScriptedUpstream::refusing().await,
        ScriptedUpstream::hanging().await,
    );
    let closing = ScriptedUpstream::builder().socket(Socket::Close).start().await;
    let gateway = TestGateway::start("{}").await;
    let client = gateway.client();
    let preview = async |upstream: &ScriptedUpstream| {
        let body = json!({"server_name": "preview", "url": upstream.url(), "transport": "http"});
        let reply = client
            .post("/mcp-rest/test/tools/list", &body)
            .await
            .expect_status(200);
        assert!(reply.elapsed < Duration::from_secs(12), "{:?}", reply.elapsed);
        reply.json()
    };
    let (refused, hung, closed) = tokio::join!(preview(&refusing), preview(&hanging), preview(&closing));
    for (answer, status, step) in [
        (&refused, "unreachable", "tcp"),
        (&hung, "timeout", "initialize"),
        (&closed, "unreachable", "initialize"),
    ] {
        assert_eq!(answer["error"], status, "{answer}");
        assert_eq!(answer["outcome"]["step"], step, "{answer}");
        assert_eq!(answer["tools"], json!([]), "{answer}");
        assert!(text(&answer["message"]).contains(step), "{answer}");
        // Which server it was about stands in the way there.
        assert!(answer["trace"].to_string().contains("127.0.0.1"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b13_thirty_servers_are_listed_side_by_side_within_a_fraction_of_their_sum() {
    let latency = Duration::from_millis(300);
    let mut upstreams = Vec::new();
    for _ in 0..30 {
        upstreams.push(
            ScriptedUpstream::builder()
                .on("*", Act::Delay(latency))
                .start()
                .await,
        );
    }
    let config = upstreams
        .iter()
        .enumerate()
        .fold(Config::default(), |config, (number, upstream)| {
            config.server(&format!("s{number}"), upstream, "")
        })
        .general("mcp_fanout_deadline_ms: 20000");
    let gateway = config.start().await;
    let reply = gateway.mcp().request("tools/list", &Value::Null).await;
    assert_eq!(names(&reply.result()).len(), 30);
    // Three requests to each, one after the other: 27 s for all of them in a row, 0.9 s side by side.
    let cold = gateway.started_in() + reply.elapsed;
    assert!(cold < latency * 3 * 30 / 5, "{cold:?}");
}

async fn pages(cursors: Cursors) {
    let upstream = ScriptedUpstream::builder()
        .tools("t", 437)
        .page_size(100)
        .cursors(cursors)
        .start()
        .await;
    let gateway = gateway_of(&[("big", &upstream)]).await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let reply = client.request("tools/list", &Value::Null).await;
    let list = reply.result();
    // Many clients never ask for a second page.
    assert_eq!(list.get("nextCursor"), None, "{cursors:?}");
    let expected: Vec<String> = (0..437).map(|number| format!("big-t_{number:03}")).collect();
    assert_eq!(names(&list), expected, "{cursors:?}");
    assert_eq!(outcome(&list, "big")["tool_count"], 437, "{cursors:?}");
    let called = client.call("big-t_436", &message("the last"), None).await;
    assert_eq!(said(&called), "the last");
    assert!(
        upstream.count("tools/list") <= 7,
        "{cursors:?}: {}",
        upstream.count("tools/list")
    );
    assert_calm(&gateway);
}

#[tokio::test]
async fn b14_437_tools_in_pages_with_a_repeated_cursor() {
    pages(Cursors::Proper).await;
    // Once on the way, where there is more behind it.
    pages(Cursors::RepeatedOnce(2)).await;
    // Always, on the last page.
    pages(Cursors::Loop(4)).await;
}

#[tokio::test]
async fn b14_pages_without_end_are_an_error_with_a_reason() {
    let upstream = ScriptedUpstream::builder()
        .cursors(Cursors::Endless)
        .start()
        .await;
    let gateway = Config::of(&[("endless", &upstream)])
        .general("mcp_list_max_pages: 20")
        .start()
        .await;
    becomes(&gateway, "endless", "protocol_error").await;
    assert_eq!(upstream.count("tools/list"), 20);
    let error = gateway.mcp().request("tools/list", &Value::Null).await.error();
    assert!(error.message.contains("does not end"), "{error:?}");
}

#[tokio::test]
async fn b19_a_post_is_answered_where_it_was_sent() {
    let upstream = ScriptedUpstream::builder().tool(tool("once")).start().await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    for path in [
        "/mcp",
        "/mcp/",
        "/files/mcp",
        "/files/mcp/",
        "/mcp/files",
        "/mcp/files/",
    ] {
        upstream.clear();
        let mut client = gateway.mcp_at(path);
        // A redirect would be an answer without JSON-RPC, and nothing follows one here.
        assert_eq!(client.initialize().await.status, 200, "{path}");
        assert_eq!(
            client.request("tools/list", &Value::Null).await.status,
            200,
            "{path}"
        );
        let reply = client.call("files-once", &message("the body"), None).await;
        assert_eq!(
            (reply.status.as_u16(), said(&reply)),
            (200, "the body".to_owned()),
            "{path}"
        );
        assert_eq!(upstream.count("tools/call"), 1, "{path}");
    }
}
