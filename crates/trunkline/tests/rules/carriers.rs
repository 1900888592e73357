//! The same rules to programs, HTTP APIs and servers of 2026-07-28, whose headers say what the arguments say.

use std::path::Path;

use serde_json::{Value, json};
use trunkline_testkit::{Act, Bare, BareServer, Said, ScriptedUpstream, Sessions, TestGateway};

use crate::support::{MODERN, WAYS, Way, listed};
use crate::world::{refusal, schema, sent, served};

#[tokio::test]
async fn s23_headers_say_what_is_pinned() {
    let discovered = json!({
        "resultType": "complete", "supportedVersions": [MODERN], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private",
    });
    let schema_of = json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "q": {"type": "string", "x-mcp-header": "Query"},
    }, "required": ["region"]});
    let upstream = ScriptedUpstream::builder()
        .sessions(Sessions::Off)
        .revisions(&[MODERN])
        .on("server/discover", Act::Result(discovered.to_string()))
        .tool(json!({"name": "ask", "inputSchema": schema_of}))
        .start()
        .await;
    let config = format!(
        "mcp_servers:\n  s:\n    url: {}\n    protocol_version: \"{MODERN}\"\n    tool_arguments: {{ask: {{region: {{value: \"eu é\"}}, count: {{default: 3}}}}}}\n",
        upstream.url()
    );
    let gateway = TestGateway::start(&config).await;
    listed(&gateway, &["s"]).await;
    upstream.clear();
    let http = gateway.client().with_header("mcp-param-query", "x");
    for way in [Way::Session, Way::Modern, Way::Rest] {
        let (_, said) = way.ask(&http, None, "tools/list", &json!({})).await;
        assert_eq!(
            schema(&said, "ask").unwrap()["properties"].get("region"),
            None,
            "{said}"
        );
        let params = json!({"name": "s-ask", "arguments": {"q": "x"}});
        let answer = way.ask(&http, None, "tools/call", &params).await;
        assert!(
            served(way, &answer) || answer.1["result"]["content"].is_array(),
            "{way:?}: {answer:?}"
        );
        assert_eq!(sent(&upstream), [r#"{"q":"x","count":3,"region":"eu é"}"#]);
        let requests = upstream.requests();
        let call = requests.iter().find(|request| request.is("tools/call")).unwrap();
        for (name, value) in [("count", "3"), ("query", "x"), ("region", "=?base64?ZXUgw6k=?=")] {
            let header = call.header(&format!("mcp-param-{name}"));
            assert_eq!(header, Some(value), "{way:?} {name}");
        }
        upstream.clear();
    }
    // What the client says in a header alone is no argument of its.
    let lying = gateway
        .client()
        .with_header("mcp-param-query", "x")
        .with_header("mcp-param-region", "us");
    let params = json!({"name": "s-ask", "arguments": {"q": "x"}});
    let (status, said) = Way::Modern.ask(&lying, None, "tools/call", &params).await;
    assert_eq!((status, &said["error"]["code"]), (400, &json!(-32020)), "{said}");
    assert_eq!(sent(&upstream).len(), 0);
}

#[tokio::test]
async fn s35_programs_get_what_is_pinned() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stdio/server.py");
    let folder = tempfile::tempdir().unwrap();
    for era in ["legacy", "strict", "modern"] {
        let journal = folder.path().join(era);
        let arguments = json!([
            script,
            "mark",
            format!("era={era}"),
            format!("journal={}", journal.display())
        ]);
        let config = format!(
            "mcp_servers:\n  s:\n    transport: stdio\n    command: python3\n    args: {arguments}\n    sandbox: off\n    \
             tool_arguments: {{echo: {{text: {{value: pinned}}}}}}\n    tool_conditions: [{{tools: [echo], when: 'args.text == \"pinned\" && !has(args.no)'}}]\n"
        );
        let gateway = TestGateway::start(&config).await;
        listed(&gateway, &["s"]).await;
        for way in WAYS {
            let ask = async |arguments: Value| {
                let params = json!({"name": "s-echo", "arguments": arguments});
                way.ask(&gateway.client(), None, "tools/call", &params).await
            };
            let refused = refusal(way, &ask(json!({"text": "mine"})).await).unwrap();
            assert!(refused.starts_with("argument_pinned: "), "{refused}");
            let refused = refusal(way, &ask(json!({"no": 1})).await).unwrap();
            assert!(refused.starts_with("condition_failed: "), "{refused}");
            let (_, said) = ask(json!({})).await;
            assert!(
                said.to_string().contains(r#""text":"pinned""#),
                "{era} {way:?}: {said}"
            );
        }
        let read = std::fs::read_to_string(&journal).unwrap();
        assert!(
            read.contains("pinned") && !read.contains("mine") && !read.contains("\"no\""),
            "{read}"
        );
    }
}

#[tokio::test]
async fn s35_http_apis_get_what_is_pinned() {
    let api = BareServer::start(|bare: Bare| async move {
        let target = bare.head.uri.to_string();
        Said::json(200, json!({"asked": target}).to_string())
    })
    .await;
    let document = json!({
        "openapi": "3.0.3", "info": {"title": "Pets", "version": "1"},
        "servers": [{"url": api.url().trim_end_matches("/mcp")}],
        "paths": {"/shops/{shop}/pets": {"get": {"operationId": "pets", "parameters": [
            {"name": "shop", "in": "path", "required": true, "schema": {"type": "string"}},
            {"name": "limit", "in": "query", "schema": {"type": "integer"}},
            {"name": "kind", "in": "query", "schema": {"type": "string"}},
        ]}}, "/old": {"get": {"operationId": "old", "parameters": [
            {"name": "shop/id", "in": "query", "required": true, "schema": {"type": "string"}},
        ]}}},
    });
    let config = format!(
        "mcp_servers:\n  s:\n    spec: {document}\n    tool_arguments: {{pets: {{shop: {{value: \"7/8\"}}, limit: {{default: 5}}}}, old: {{shop_id: {{value: \"1\"}}}}}}\n    \
         allowed_params: {{pets: [kind, limit]}}\n"
    );
    let gateway = TestGateway::start(&config).await;
    listed(&gateway, &["s"]).await;
    for way in WAYS {
        let (_, said) = way.ask(&gateway.client(), None, "tools/list", &json!({})).await;
        assert_eq!(
            schema(&said, "pets").unwrap()["properties"].get("shop"),
            None,
            "{said}"
        );
        let ask = async |arguments: Value| {
            let params = json!({"name": "s-pets", "arguments": arguments});
            way.ask(&gateway.client(), None, "tools/call", &params).await
        };
        let refused = refusal(way, &ask(json!({"shop": "9"})).await).unwrap();
        assert!(refused.starts_with("argument_pinned: "), "{refused}");
        // Another name of the argument, which the document has for it.
        let other = json!({"name": "s-old", "arguments": {"shop/id": "9"}});
        let (_, said) = way.ask(&gateway.client(), None, "tools/call", &other).await;
        assert!(
            said.to_string().contains("this tool has no argument"),
            "{way:?}: {said}"
        );
        let (_, said) = ask(json!({"kind": "cat"})).await;
        let asked = "/shops/7%2F8/pets?";
        assert!(said.to_string().contains(asked), "{way:?}: {said}");
        assert!(
            said.to_string().contains("limit=5") && said.to_string().contains("kind=cat"),
            "{said}"
        );
    }
}
