//! One pipeline: whatever is asked for, and whichever way it comes, it passes every stage (S35). The stages are seen by
//! their effects: 401 and nothing sent without a key; a server that is out of scope and a tool that is not allowed are
//! refused in the words for what does not exist, and nothing is sent; exactly one record.

use serde_json::{Value, json};
use trunkline_testkit::{Act, HttpClient, McpClient, ScriptedUpstream, SseClient, TestGateway, eventually};

use crate::support::{PATIENCE, config, listed};

const MODERN: &str = "2026-07-28";

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A session of the old era, at this path.
    Session(&'static str),
    /// The old era without a session.
    Bare(&'static str),
    /// The new era.
    Modern(&'static str),
    /// The transport of 2024-11-05.
    Sse(&'static str),
    /// `/mcp-rest`
    Rest,
}

const WAYS: [Way; 10] = [
    Way::Session("/mcp"),
    Way::Session("/files/mcp"),
    Way::Session("/mcp/files"),
    Way::Bare("/mcp"),
    Way::Bare("/files/mcp"),
    Way::Modern("/mcp"),
    Way::Modern("/files/mcp"),
    Way::Sse("/sse"),
    Way::Sse("/files/sse"),
    Way::Rest,
];

/// What is asked for: method, parameters, and the record's kind.
fn methods() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("tools/list", json!({}), "list_mcp_tools"),
        (
            "tools/call",
            json!({"name": "files-echo", "arguments": {"message": "hi"}}),
            "call_mcp_tool",
        ),
        ("prompts/list", json!({}), ""),
        ("prompts/get", json!({"name": "files-greet"}), ""),
        ("resources/list", json!({}), ""),
        ("resources/templates/list", json!({}), ""),
        ("resources/read", json!({"uri": "memo://one"}), ""),
        ("resources/subscribe", json!({"uri": "memo://one"}), ""),
        ("resources/unsubscribe", json!({"uri": "memo://one"}), ""),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "files-greet"}, "argument": {"name": "a", "value": "b"}}),
            "",
        ),
        ("experimental/thing", json!({}), ""),
    ]
}

impl Way {
    /// Whether the way has the method.
    fn has(self, method: &str) -> bool {
        match self {
            Self::Rest => matches!(method, "tools/list" | "tools/call"),
            // Removed from that revision: refused before anything is asked of anybody.
            Self::Modern(_) => !matches!(method, "resources/subscribe" | "resources/unsubscribe"),
            _ => true,
        }
    }

    /// Asks, with a client's headers, and gives the HTTP status and what was said.
    async fn ask(self, http: &HttpClient, method: &str, params: &Value) -> (u16, String) {
        match self {
            Self::Session(path) => {
                let mut client = McpClient::over(http.clone(), path);
                let begun = client.initialize_only().await;
                if begun.status != 200 {
                    return (begun.status.as_u16(), begun.everything());
                }
                said(&client.request(method, params).await)
            }
            Self::Bare(path) => said(&McpClient::over(http.clone(), path).request(method, params).await),
            Self::Modern(path) => {
                let mut params = params.clone();
                params["_meta"] = json!({
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                let mut http = http
                    .clone()
                    .with_header("mcp-protocol-version", MODERN)
                    .with_header("mcp-method", method);
                if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
                    http = http.with_header("mcp-name", name);
                }
                said(&McpClient::over(http, path).request(method, &params).await)
            }
            Self::Sse(path) => match SseClient::try_open(http, path).await {
                Err(chunks) => (chunks.status.as_u16(), String::new()),
                Ok(mut client) => (200, client.request(method, params).await.to_string()),
            },
            Self::Rest => {
                let reply = if method == "tools/list" {
                    http.get("/mcp-rest/tools/list").await
                } else {
                    http.post("/mcp-rest/tools/call", params).await
                };
                (reply.status.as_u16(), reply.text())
            }
        }
    }
}

fn said(reply: &trunkline_testkit::RpcReply) -> (u16, String) {
    let message = reply.events.last().map(|event| event.message.to_string());
    (reply.status.as_u16(), message.unwrap_or_default())
}

/// All records so far, by what the metrics count.
async fn records(gateway: &TestGateway) -> u64 {
    let page = gateway.client().get("/metrics").await.expect_status(200).text();
    let counts = page
        .lines()
        .filter(|line| line.starts_with("trunkline_mcp_requests_total{"));
    counts
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

async fn gateway() -> (TestGateway, ScriptedUpstream) {
    let capabilities = json!({
        "tools": {}, "prompts": {}, "resources": {"subscribe": true}, "completions": {}, "experimental": {},
    });
    let listed_prompts = json!({"prompts": [{"name": "greet"}]});
    let listed_resources = json!({"resources": [{"uri": "memo://one", "name": "one"}]});
    let upstream = ScriptedUpstream::builder()
        .tool(json!({"name": "echo", "inputSchema": {"type": "object"}}))
        .tool(json!({"name": "hidden", "inputSchema": {"type": "object"}}))
        .initialize_member("capabilities", capabilities)
        .on("prompts/list", Act::Result(listed_prompts.to_string()))
        .on("prompts/get", Act::Result(r#"{"messages":[]}"#.to_owned()))
        .on("resources/list", Act::Result(listed_resources.to_string()))
        .on(
            "resources/templates/list",
            Act::Result(r#"{"resourceTemplates":[]}"#.to_owned()),
        )
        .on("resources/read", Act::Result(r#"{"contents":[]}"#.to_owned()))
        .on("resources/subscribe", Act::Result("{}".to_owned()))
        .on("resources/unsubscribe", Act::Result("{}".to_owned()))
        .on(
            "completion/complete",
            Act::Result(r#"{"completion":{"values":[]}}"#.to_owned()),
        )
        .on("experimental/thing", Act::Result("{}".to_owned()))
        .start()
        .await;
    let text = config(&[("files", &upstream)]) + "    disallowed_tools: [hidden]\n";
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, "files").await;
    // What lists are fetched for the first time is fetched here.
    let mut client = gateway.mcp();
    for list in ["prompts/list", "resources/list", "resources/templates/list"] {
        client.request(list, &Value::Null).await.result();
    }
    (gateway, upstream)
}

#[tokio::test]
async fn s35_without_a_key_nothing_passes_on_any_way() {
    let (gateway, upstream) = gateway().await;
    upstream.clear();
    let (connections, before) = (upstream.connections(), records(&gateway).await);
    for way in WAYS {
        for (method, params, _) in methods().into_iter().filter(|(method, ..)| way.has(method)) {
            let (status, said) = way.ask(&gateway.anonymous(), method, &params).await;
            assert_eq!(status, 401, "{way:?} {method}: {said}");
        }
    }
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(upstream.connections(), connections);
    assert_eq!(
        records(&gateway).await,
        before,
        "nobody's requests are no records"
    );
}

#[tokio::test]
async fn s35_every_method_on_every_way_leaves_exactly_one_record() {
    let (gateway, upstream) = gateway().await;
    for way in WAYS {
        for (method, params, kind) in methods().into_iter().filter(|(method, ..)| way.has(method)) {
            let before = records(&gateway).await;
            let (status, said) = way.ask(&gateway.client(), method, &params).await;
            assert_eq!(status, 200, "{way:?} {method}: {said}");
            assert!(!said.contains("\"error\":{"), "{way:?} {method}: {said}");
            // The record of a streamed answer is made when it was read.
            eventually(&format!("{way:?} {method} is on record"), PATIENCE, async || {
                records(&gateway).await > before
            })
            .await;
            assert_eq!(records(&gateway).await, before + 1, "{way:?} {method}");
            if !kind.is_empty() {
                let page = gateway.client().get("/metrics").await.text();
                assert!(page.contains(&format!("kind=\"{kind}\"")), "{way:?} {method}");
            }
        }
    }
    assert!(upstream.count("tools/call") == WAYS.len());
}

#[tokio::test]
async fn s35_a_tool_that_is_not_allowed_is_an_unknown_one_on_every_way() {
    let (gateway, upstream) = gateway().await;
    for way in WAYS {
        let (_, list) = way.ask(&gateway.client(), "tools/list", &json!({})).await;
        assert!(
            list.contains("echo") && !list.contains("hidden"),
            "{way:?}: {list}"
        );
        let call = |name: &str| json!({"name": name, "arguments": {}});
        let unknown = way
            .ask(&gateway.client(), "tools/call", &call("files-absent"))
            .await;
        for name in ["files-hidden", "hidden"] {
            upstream.clear();
            let before = records(&gateway).await;
            let denied = way.ask(&gateway.client(), "tools/call", &call(name)).await;
            assert_eq!(
                (denied.0, denied.1.replace(name, "files-absent")),
                unknown,
                "{way:?} {name}"
            );
            assert_eq!(upstream.count("tools/call"), 0, "{way:?} {name}: nothing is sent");
            assert_eq!(records(&gateway).await, before + 1, "{way:?} {name}");
        }
        // Out of scope is out of reach, whatever it is.
        let elsewhere = gateway.client().with_header("x-mcp-servers", "");
        if matches!(
            way,
            Way::Session("/mcp") | Way::Bare("/mcp") | Way::Modern("/mcp") | Way::Sse("/sse")
        ) {
            upstream.clear();
            for (method, params, _) in methods().into_iter().filter(|(method, ..)| way.has(method)) {
                way.ask(&elsewhere, method, &params).await;
            }
            assert_eq!(upstream.requests().len(), 0, "{way:?}");
        }
    }
}
