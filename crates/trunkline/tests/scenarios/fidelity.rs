//! What is relayed: byte for byte, as it comes, and recorded as what it was.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, Framing, McpClient, ScriptedUpstream, Sessions, TestGateway, ToolAnswer, eventually,
};

use crate::support::{PATIENCE, gateway_of, message, row, said, stored, text, tool};

/// Numbers that no type holds, keys in an order that no map has, blanks, escapes, members nobody knows.
const DEFINITION: &str = r##"{"name":"rich","title":"R\u00e9sum\u00e9 \ud83d\ude80","description":"line\nbreak \"quoted\" é","_meta":{"vendor.example/x":{"z":1.0,"a":123456789012345678901234567890,"e":1E+2,"n":-0.0}},"icons":[{"src":"data:image/png;base64,AAAA","mimeType":"image/png","sizes":["48x48"]}],"annotations":{"title":"T","readOnlyHint":true,"zeta":0,"alpha":0},"inputSchema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"z":{"$ref":"#/$defs/z"},"a":{"type":"number","maximum":0.1000000000000000055511151231257827}},"$defs":{"z":{"enum":["b","a",null]}}},"outputSchema":{"type":"object","properties":{"big":{"type":"integer"}}},"execution":{"taskSupport":"optional"},"future":[ 1 ,  2 ,{} ]}"##;

const RESULT: &str = r#"{"content":[{"type":"text","text":"x\u2028y","annotations":{"audience":["user"],"priority":1.0}},{"type":"image","data":"iVBORw0KGgo=","mimeType":"image/png"},{"type":"audio","data":"UklGRg==","mimeType":"audio/wav"},{"type":"resource_link","uri":"file:///a%20b","name":"a","size":9007199254740993},{"type":"resource","resource":{"uri":"file:///c","mimeType":"text/plain","text":"c"}}],"structuredContent":{"zeta":1,"alpha":12345678901234567890123,"float":1.10,"list":[ ]},"_meta":{"vendor.example/k":null},"isError":false,"future":{"x": 1}}"#;

const ARGUMENTS: &str =
    r#"{"zeta":1.0,"alpha":12345678901234567890123,"text":"\u00e9 é","nested":{"b":[1e2,-0.0],"a":null}}"#;

async fn rich(framing: Framing) -> ScriptedUpstream {
    ScriptedUpstream::builder()
        .framing(framing)
        .tool_raw(DEFINITION, |_| ToolAnswer::Raw(RESULT.to_owned()))
        .start()
        .await
}

/// The answer's bytes, without the framing of events.
fn body(raw: &[u8]) -> String {
    let text = String::from_utf8(raw.to_vec()).unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    data.unwrap_or(&text).to_owned()
}

#[tokio::test]
async fn b62_definitions_are_byte_for_byte_but_for_the_name() {
    for framing in [Framing::Sse, Framing::Json] {
        let upstream = rich(framing).await;
        let mut gateway = gateway_of(&[("files", &upstream)]).await;
        let exposed = DEFINITION.replacen(r#""name":"rich""#, r#""name":"files-rich""#, 1);
        // The copy in the database is no worse.
        eventually("it is stored", PATIENCE, async || stored(&gateway).await == 1).await;
        for run in ["live", "stored"] {
            let reply = gateway.mcp().request("tools/list", &Value::Null).await;
            let body = body(&reply.raw);
            assert!(body.contains(&exposed), "{run}, {framing:?}: {body}");
            let all = gateway.client().get("/v1/mcp/tools").await.text();
            assert!(all.contains(exposed.strip_suffix('}').unwrap()), "{run}: {all}");
            let rest = gateway.client().get("/mcp-rest/tools/list").await.text();
            assert!(
                rest.contains(DEFINITION.strip_suffix('}').unwrap()),
                "{run}: {rest}"
            );
            if run == "live" {
                gateway.kill9().await;
                upstream.on("*", Act::Hang);
                gateway.restart().await;
            }
        }
    }
}

#[tokio::test]
async fn b62_an_endpoint_of_one_server_can_be_invisible() {
    let upstream = rich(Framing::Sse).await;
    let gateway = crate::support::Config::default()
        .server("files", &upstream, "prefix: never")
        .start()
        .await;
    crate::support::listed(&gateway, "files").await;
    let through = gateway
        .mcp_at("/files/mcp")
        .request("tools/list", &Value::Null)
        .await;
    assert!(
        body(&through.raw).contains(DEFINITION),
        "{}",
        through.everything()
    );
    let call = gateway.mcp_at("/files/mcp").call("rich", &json!({}), None).await;
    assert!(body(&call.raw).contains(RESULT), "{}", call.everything());
}

#[tokio::test]
async fn b62_arguments_and_results_are_byte_for_byte() {
    for framing in [Framing::Sse, Framing::Json] {
        let upstream = rich(framing).await;
        let gateway = gateway_of(&[("files", &upstream)]).await;
        let mut direct = McpClient::new(&upstream.url());
        direct.initialize().await;
        let mut client = gateway.mcp();
        client.initialize().await;
        let ask = |name: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":"q\u0031","method":"tools/call","params":{{"name":"{name}","arguments":{ARGUMENTS},"_meta":{{"vendor.example/t":1.0}}}}}}"#
            )
        };
        let expected = body(&direct.send_message(ask("rich")).await.unwrap().raw);
        assert!(expected.contains(RESULT), "{expected}");
        upstream.clear();
        let reply = client.send_message(ask("files-rich")).await.unwrap();
        let through = body(&reply.raw);
        assert!(
            through.contains(&format!(r#""result":{RESULT}"#)),
            "{framing:?}: {through}"
        );
        let (through, expected): (Value, Value) = (
            serde_json::from_str(&through).unwrap(),
            serde_json::from_str(&expected).unwrap(),
        );
        assert_eq!(through, expected, "the whole answer, the id too");
        let sent = upstream
            .requests()
            .into_iter()
            .find(|request| request.is("tools/call"))
            .unwrap();
        let sent = String::from_utf8(sent.body.to_vec()).unwrap();
        assert!(sent.contains(&format!(r#""arguments":{ARGUMENTS}"#)), "{sent}");
        assert!(sent.contains(r#""_meta":{"vendor.example/t":1.0}"#), "{sent}");
        assert!(sent.contains(r#""name":"rich""#), "{sent}");

        // The REST answer has one member more.
        let request = gateway
            .mcp_at("/mcp-rest/tools/call")
            .post(format!(r#"{{"name":"files-rich","arguments":{ARGUMENTS}}}"#));
        let rest = gateway
            .client()
            .try_send(request)
            .await
            .unwrap()
            .expect_status(200)
            .text();
        assert!(rest.starts_with(RESULT.strip_suffix('}').unwrap()), "{rest}");
        assert!(rest.ends_with(r#","resultType":"complete"}"#), "{rest}");
    }
}

#[tokio::test]
async fn b62_errors_keep_code_message_and_data() {
    let data = json!({"why": ["a", 1.5], "retry": {"z": 1, "a": 2}});
    let answer = data.clone();
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("refuse"), move |_| ToolAnswer::Error {
            code: -32042,
            message: "not today".to_owned(),
            data: answer.clone(),
        })
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let error = gateway.mcp().call("files-refuse", &json!({}), None).await.error();
    assert_eq!(
        (error.code, &*error.message, &error.data),
        (-32042, "not today", &data)
    );
    let body = json!({"name": "files-refuse", "arguments": {}});
    let rest = gateway
        .client()
        .post("/mcp-rest/tools/call", &body)
        .await
        .expect_status(502)
        .json();
    assert_eq!(rest["detail"]["jsonrpc_error"]["data"], data, "{rest}");
}

/// A call with a token of any JSON type, and what came before its answer.
async fn with_token(client: &McpClient, token: &Value) -> Vec<(Duration, Value)> {
    let params = json!({
        "name": "files-slow",
        "arguments": {},
        "_meta": {"progressToken": token, "vendor.example/own": "kept"},
    });
    let message = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": params});
    let reply = client.send_message(message.to_string()).await.unwrap();
    assert_eq!(said(&reply), "done");
    assert!(reply.streamed);
    reply
        .notifications()
        .into_iter()
        .map(|event| (event.at, event.message.clone()))
        .collect()
}

#[tokio::test]
async fn b62_progress_and_logs_come_as_they_happen_with_the_clients_own_token() {
    let pause = Duration::from_millis(250);
    for (sessions, framing) in [(Sessions::NotFound, Framing::Sse), (Sessions::Off, Framing::Json)] {
        let upstream = ScriptedUpstream::builder()
            .sessions(sessions)
            .framing(framing)
            .tool_fn(&tool("slow"), move |call| ToolAnswer::progress(call, 4, pause))
            .start()
            .await;
        let gateway = gateway_of(&[("files", &upstream)]).await;
        let (mut first, mut second) = (gateway.mcp(), gateway.mcp());
        first.initialize().await;
        second.initialize().await;
        // At the same time, two of them under the same token.
        let (same, number) = (json!("token"), json!(9));
        let (a, b, c) = tokio::join!(
            with_token(&first, &same),
            with_token(&second, &same),
            with_token(&second, &number)
        );
        for (events, token) in [(a, &same), (b, &same), (c, &number)] {
            let said: Vec<Value> = events
                .iter()
                .map(|(_, message)| match text(&message["method"]) {
                    "notifications/progress" => {
                        json!([message["params"]["progressToken"], message["params"]["progress"]])
                    }
                    _ => message["params"]["data"].clone(),
                })
                .collect();
            let expected: Vec<Value> = (1..=4)
                .flat_map(|step| [json!([token, step]), json!(format!("log {step}"))])
                .collect();
            assert_eq!(said, expected, "{sessions:?}");
            // Held back and sent together, they would come at the same moment.
            let spread = events.last().unwrap().0.saturating_sub(events[0].0);
            assert!(spread > pause * 2, "{spread:?}");
        }
        // Upstream no two calls share a token, and the rest of `_meta` is as it was.
        let calls: Vec<Value> = upstream
            .requests()
            .iter()
            .filter(|request| request.is("tools/call"))
            .map(|request| request.json()["params"]["_meta"].clone())
            .collect();
        let tokens: std::collections::HashSet<_> = calls
            .iter()
            .map(|meta| meta["progressToken"].to_string())
            .collect();
        assert_eq!((calls.len(), tokens.len()), (3, 3), "{calls:?}");
        assert!(
            calls.iter().all(|meta| meta["vendor.example/own"] == "kept"),
            "{calls:?}"
        );
    }
}

/// Servers of the Python SDK up to 1.16 send a call's progress on the standing stream.
#[tokio::test]
async fn b62_progress_on_the_standing_stream_finds_its_call() {
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("slow"), |call| {
            let result = json!({"content": [{"type": "text", "text": call.arguments["message"]}]});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "last"}});
            ToolAnswer::Stream { before: vec![(Duration::from_millis(1500), log)], result }
        })
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let calling = {
        let mut client = client.clone();
        tokio::spawn(async move { client.call("files-slow", &message("mine"), Some("own")).await })
    };
    eventually("the call is there", PATIENCE, async || {
        upstream.count("tools/call") == 1
    })
    .await;
    assert_eq!(upstream.count("GET"), 1);
    let call = upstream
        .requests()
        .into_iter()
        .find(|request| request.is("tools/call"))
        .unwrap();
    let token = call.json()["params"]["_meta"]["progressToken"].clone();
    assert_ne!(token, "own");
    let progress = |token: &Value, step: u32| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": step}});
    upstream.push(&progress(&token, 1));
    upstream.push(&progress(&json!("nobody's"), 2));
    upstream.push(&progress(&token, 3));
    let reply = calling.await.unwrap();
    assert_eq!(said(&reply), "mine");
    let came: Vec<Value> = reply
        .notifications()
        .iter()
        .map(|event| {
            json!([
                event.message["params"]["progressToken"],
                event.message["params"]["progress"]
            ])
        })
        .collect();
    assert_eq!(came, [json!(["own", 1]), json!(["own", 3]), json!([null, null])]);
    let first = reply.notifications()[0].at;
    assert!(
        reply.elapsed.saturating_sub(first) > Duration::from_millis(500),
        "it was held back: {first:?}"
    );
}

/// The record of the last call, as the log has it.
async fn record(gateway: &TestGateway, outcome: &str, words: &str) -> String {
    let marker = format!("outcome=\"{outcome}\"");
    let found = || {
        let is_it = |line: &&str| line.contains(&marker) && line.contains("done") && line.contains(words);
        gateway.log().lines().rfind(is_it).map(str::to_owned)
    };
    // The log is on its way through a pipe.
    eventually("the record is in the log", PATIENCE, async || found().is_some()).await;
    found().unwrap_or_default()
}

#[tokio::test]
async fn b65_failures_are_recorded_as_what_they_are() {
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&tool("fail"), |_| ToolAnswer::tool_error("the disk is full"))
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let id = text(&row(&gateway.client(), "files").await["server_id"]).to_owned();
    let metrics = async || gateway.client().get("/metrics").await.text();
    let counted = |outcome: &str| {
        format!("litellm_mcp_tool_calls_total{{mcp_server_id=\"{id}\",outcome=\"{outcome}\"}} 1")
    };

    // The tool says so itself: relayed as it is, recorded as no success.
    let result = gateway.mcp().call("files-fail", &json!({}), None).await.result();
    assert_eq!(result["isError"], true);
    let line = record(&gateway, "tool_error", "the disk is full").await;
    for part in [&*id, "tool=\"fail\""] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert!(
        metrics().await.contains(&counted("tool_error")),
        "{}",
        metrics().await
    );
    assert!(!metrics().await.contains(&counted("ok")));

    // The server fails before the tool is asked: an error with its words, and the record says where it was going.
    upstream.once("tools/call", Act::status(500, "out of memory at shard 7"));
    let error = gateway.mcp().call("files-fail", &json!({}), None).await.error();
    assert!(error.message.contains("out of memory at shard 7"), "{error:?}");
    assert_eq!(error.data["outcome"]["status"], "upstream_error", "{error:?}");
    assert_eq!(error.data["outcome"]["http_status"], 500, "{error:?}");
    let line = record(&gateway, "upstream_error", "out of memory at shard 7").await;
    for part in [&*id, "tool=\"fail\""] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert!(
        metrics().await.contains(&counted("upstream_error")),
        "{}",
        metrics().await
    );

    upstream.once("tools/call", Act::status(500, "and again"));
    let body = json!({"name": "files-fail", "arguments": {}});
    let rest = gateway
        .client()
        .post("/mcp-rest/tools/call", &body)
        .await
        .expect_status(502);
    assert!(rest.text().contains("and again"), "{}", rest.text());
    record(&gateway, "upstream_error", "and again").await;
}
