//! Text that people do not see and models read (S30): relayed as it is, unless the operator wants it taken out, and then out
//! of everything that a server says.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Act, ScriptedUpstream, SseClient, TestGateway, ToolAnswer, ToolCall, eventually};

use crate::eras::modern;
use crate::support::{Config, MODERN, PATIENCE, listed, modern_upstream, names, tool};

/// Tags, a bidirectional override, a blank without width, a terminal's colour and title.
const HIDDEN: &str = "see\u{e0068}\u{e0069}n \u{202e}te\u{200b}xt\u{1b}[31m.\u{1b}]0;t\u{7}";
/// What is left of it.
const SEEN: &str = "seen text.";
/// What such characters are for.
const KEPT: &str = "👩\u{200d}👩\u{200d}👧 ❤\u{fe0f} שלום می\u{200c}خواهم";

/// A text for every place: with what must go and what must stay.
fn words(place: &str) -> String {
    format!("{place} {HIDDEN} {KEPT}")
}

/// An object with such a text as a value, as a name and inside of lists, besides what it is.
fn laden(place: &str, mut value: Value) -> Value {
    let object = value.as_object_mut().unwrap();
    object.insert(format!("key {HIDDEN}"), words(place).into());
    object.insert(
        "vendor".into(),
        json!({"deep": [[words(place)], {HIDDEN: words(place)}]}),
    );
    object.insert(
        "_meta".into(),
        json!({HIDDEN: words(place), "vendor/x": [words(place)]}),
    );
    value
}

fn result(place: &str, value: Value) -> Act {
    Act::Result(laden(place, value).to_string())
}

async fn upstream() -> ScriptedUpstream {
    let definition = |place: &str| {
        laden(
            place,
            json!({
                "name": "talk", "title": words("title"), "description": words("description"),
                "inputSchema": {"type": "object", "description": words("schema"), "properties": {"a": {"enum": [words("enum")]}}},
                "annotations": {"title": words("annotation")},
            }),
        )
    };
    let contents =
        json!({"contents": [laden("contents", json!({"uri": "memo://a", "text": words("text")}))]});
    ScriptedUpstream::builder()
        .initialize_member(
            "capabilities",
            json!({"tools": {}, "prompts": {}, "resources": {}, "completions": {}}),
        )
        .initialize_member("instructions", words("instructions").into())
        .initialize_member("serverInfo", json!({"name": "n", "version": "1", "title": words("server")}))
        .tool_fn(&definition("tool"), |call: &ToolCall| {
            let message = |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params});
            ToolAnswer::Stream {
                before: vec![
                    (
                        Duration::ZERO,
                        message(
                            "notifications/message",
                            laden("log", json!({"level": "info", "logger": words("logger"), "data": words("data")})),
                        ),
                    ),
                    (
                        Duration::ZERO,
                        message(
                            "notifications/progress",
                            laden("progress", json!({"progressToken": call.meta["progressToken"], "progress": 1, "message": words("step")})),
                        ),
                    ),
                    (
                        Duration::ZERO,
                        json!({"jsonrpc": "2.0", "id": 8, "method": "sampling/createMessage", "params":
                            laden("sampling", json!({
                                "messages": [{"role": "user", "content": laden("content", json!({"type": "text", "text": words("text")}))}],
                                "systemPrompt": words("system"), "maxTokens": 1, "stopSequences": [words("stop")],
                            }))}),
                    ),
                    (
                        Duration::ZERO,
                        json!({"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params":
                            laden("question", json!({"message": words("message"), "requestedSchema": {"type": "object", "properties": {}}}))}),
                    ),
                ],
                result: laden(
                    "result",
                    json!({
                        "content": [
                            laden("block", json!({"type": "text", "text": words("text")})),
                            {"type": "resource", "resource": {"uri": "memo://b", "text": words("embedded")}},
                        ],
                        "structuredContent": laden("structured", json!({"list": [words("item")]})),
                    }),
                ),
            }
        })
        .tool_fn(&laden("tool", json!({"name": "plain", "description": words("d"), "inputSchema": {"type": "object"}})), |_| {
            ToolAnswer::Result(laden(
                "plain",
                json!({"isError": true, "content": [laden("block", json!({"type": "text", "text": words("text")}))]}),
            ))
        })
        .on("prompts/list", result("prompts", json!({"prompts": [laden("prompt", json!({"name": "p", "description": words("d")}))]})))
        .on(
            "resources/list",
            result("resources", json!({"resources": [laden("resource", json!({"uri": "memo://a", "name": words("n")}))]})),
        )
        .on(
            "resources/templates/list",
            result("templates", json!({"resourceTemplates": [laden("template", json!({"uriTemplate": "a://{b}", "name": words("n")}))]})),
        )
        .on(
            "prompts/get",
            result("prompt", json!({"messages": [{"role": "user", "content": {"type": "text", "text": words("text")}}]})),
        )
        .on("resources/read", result("read", contents))
        .on("completion/complete", result("complete", json!({"completion": {"values": [words("value")]}})))
        .on("vendor/method", result("vendor", json!({"words": words("other")})))
        .start()
        .await
}

async fn gateway(strict: bool, upstream: &ScriptedUpstream) -> TestGateway {
    let gateway = Config::of(&[("files", upstream)])
        .general(&format!("mcp_strip_hidden_text: {strict}"))
        .start()
        .await;
    listed(&gateway, "files").await;
    gateway
}

/// Everything that a client hears of the server, by what it asked for, decoded.
async fn everything(gateway: &TestGateway, upstream: &ScriptedUpstream) -> Vec<(String, Value)> {
    let mut heard = Vec::new();
    let mut client = gateway
        .mcp()
        .with_capabilities(json!({"elicitation": {}, "sampling": {}}));
    let mut hear = |what: &str, messages: Vec<Value>| {
        heard.extend(messages.into_iter().map(|message| (what.to_owned(), message)));
    };
    let greeting = client.initialize().await;
    hear(
        "initialize",
        greeting
            .events
            .iter()
            .map(|event| event.message.clone())
            .collect(),
    );
    for (method, params) in [
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        (
            "tools/call",
            json!({"name": "files-talk", "arguments": {}, "_meta": {"progressToken": "t"}}),
        ),
        ("tools/call", json!({"name": "files-plain", "arguments": {}})),
        ("prompts/get", json!({"name": "files-p"})),
        ("resources/read", json!({"uri": "memo://a"})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "files-p"}, "argument": {"name": "a", "value": ""}}),
        ),
        ("vendor/method", json!({})),
    ] {
        let reply = client.request(method, &params).await;
        hear(
            method,
            reply.events.iter().map(|event| event.message.clone()).collect(),
        );
    }
    let error = Act::Http {
        status: 200,
        headers: vec![("content-type".into(), "application/json".into())],
        body: json!({"jsonrpc": "2.0", "id": "ID", "error": laden("error", json!({"code": -32000, "message": words("message"), "data": laden("data", json!({}))}))})
            .to_string()
            .replace("\"ID\"", "null")
            .into(),
    };
    upstream.once("prompts/get", error);
    let reply = client.request("prompts/get", &json!({"name": "files-p"})).await;
    hear(
        "error",
        reply.events.iter().map(|event| event.message.clone()).collect(),
    );
    for path in [
        "/mcp-rest/tools/list",
        "/mcp-rest/tools/list?server_id=files",
        "/v1/mcp/tools",
    ] {
        hear(path, vec![gateway.client().get(path).await.json()]);
    }
    let call = json!({"server_id": "files", "name": "plain", "arguments": {}});
    let called = gateway.client().post("/mcp-rest/tools/call", &call).await;
    hear("a call over REST", vec![called.json()]);
    hear_other_ways(gateway, &mut hear).await;
    let preview = gateway
        .client()
        .post(
            "/mcp-rest/test/tools/list",
            &json!({"url": upstream.url(), "transport": "http"}),
        )
        .await
        .json();
    if !preview.is_null() {
        hear("preview", vec![preview]);
    }
    let mut stream = client.get_stream().await;
    // What a server says outside of requests is listened for from the next request on.
    client.request("prompts/get", &json!({"name": "files-p"})).await;
    let told =
        json!({"jsonrpc": "2.0", "method": "notifications/vendor", "params": laden("standing", json!({}))});
    eventually("the session has an upstream stream", PATIENCE, async || {
        upstream.requests().iter().any(|request| request.is("GET"))
    })
    .await;
    upstream.push(&told);
    hear("standing stream", vec![stream.expect_next(PATIENCE).await]);
    heard
}

/// The same over the transport of 2024-11-05 and in the new era.
async fn hear_other_ways(gateway: &TestGateway, hear: &mut impl FnMut(&str, Vec<Value>)) {
    let mut sse = SseClient::open(&gateway.client(), "/sse").await;
    hear(
        "initialize",
        vec![json!({"result": sse.initialize("2025-03-26", &json!({})).await})],
    );
    for (method, params) in [
        ("tools/list", json!({})),
        ("tools/call", json!({"name": "files-plain", "arguments": {}})),
        ("prompts/list", json!({})),
        ("resources/read", json!({"uri": "memo://a"})),
    ] {
        hear("the old transport", vec![sse.request(method, &params).await]);
        let newer = modern(&gateway.client(), method, params, &[]).await.json();
        hear("the new era", vec![newer]);
    }
}

const PAYLOAD: [char; 6] = [
    '\u{e0068}',
    '\u{e0069}',
    '\u{202e}',
    '\u{200b}',
    '\u{1b}',
    '\u{7}',
];

#[tokio::test]
async fn s30_hidden_text_is_nowhere_in_strict_mode_and_everything_else_is() {
    let upstream = upstream().await;
    let gateway = gateway(true, &upstream).await;
    for (what, message) in everything(&gateway, &upstream).await {
        let text = message.to_string();
        let decoded = decoded(&message);
        assert!(!decoded.contains(PAYLOAD), "{what}: {text}");
        assert!(!text.to_lowercase().contains("\\u001b"), "{what}: {text}");
        assert!(decoded.contains(SEEN) && decoded.contains(KEPT), "{what}: {text}");
        assert!(
            !decoded.contains("[31m") && !decoded.contains("]0;t"),
            "{what}: {text}"
        );
        // Every result says how much it was.
        if let Some(result) = message.get("result")
            && what != "initialize"
        {
            let removed = &result["_meta"]["trunkline/hidden_text_removed"];
            assert!(removed["tags"].as_u64().unwrap_or(0) > 0, "{what}: {text}");
            assert!(removed["bidi"].as_u64().unwrap_or(0) > 0, "{what}: {text}");
            assert!(removed["zero_width"].as_u64().unwrap_or(0) > 0, "{what}: {text}");
            assert!(removed["control"].as_u64().unwrap_or(0) > 0, "{what}: {text}");
        }
    }
    let log = gateway.log();
    assert!(log.contains("hidden text was taken out of a message"), "{log}");
    assert!(log.contains("hidden text was taken out of definitions"), "{log}");
}

/// All strings of a message, one after the other.
fn decoded(value: &Value) -> String {
    let parts: Vec<String> = match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().map(decoded).collect(),
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| [name.clone(), decoded(value)])
            .collect(),
        _ => Vec::new(),
    };
    parts.join("\n")
}

#[tokio::test]
async fn s30_without_it_not_a_byte_is_touched() {
    let upstream = upstream().await;
    let gateway = gateway(false, &upstream).await;
    for (what, message) in everything(&gateway, &upstream).await {
        let decoded = decoded(&message);
        // The gateway's own words repeat a server's in one printable line.
        assert!(decoded.contains(HIDDEN), "{what}: {message}");
        assert!(!decoded.contains("hidden_text_removed"), "{what}: {message}");
    }
}

#[tokio::test]
async fn s30_a_name_that_hides_something_is_no_name() {
    let listed_tools = json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": [
        tool("plain"),
        tool("pl\u{200b}ain"),
    ]});
    let result = json!({"resultType": "complete", "content": [{"type": "text", "text": HIDDEN}]});
    let upstream = modern_upstream()
        .on("tools/list", Act::Result(listed_tools.to_string()))
        .on("tools/call", Act::Result(result.to_string()))
        .start()
        .await;
    let gateway = Config::default()
        .server("x", &upstream, MODERN)
        .general("mcp_strip_hidden_text: true")
        .start()
        .await;
    listed(&gateway, "x").await;
    let list = modern(&gateway.client(), "tools/list", json!({}), &[])
        .await
        .json();
    assert_eq!(names(&list["result"]), ["x-plain"]);
    let rejected = &list["result"]["_meta"]["litellm.ai/server_outcomes"]["x"]["rejected"][0];
    assert!(
        rejected["reason"].as_str().unwrap().contains("do not show"),
        "{list}"
    );
    let call = json!({"name": "x-plain", "arguments": {}});
    let called = modern(&gateway.client(), "tools/call", call, &[]).await.json();
    assert_eq!(called["result"]["content"][0]["text"], SEEN);
    assert_eq!(
        called["result"]["_meta"]["trunkline/hidden_text_removed"]["tags"],
        2
    );
}
