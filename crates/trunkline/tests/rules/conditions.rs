//! Conditions: what they are about, what is listed under them, and what happens when they cannot be decided.

use serde_json::{Value, json};
use trunkline_testkit::HttpClient;

use crate::support::{MODERN, WAYS, Way, generate, post, with};
use crate::world::{refusal, schema, sent, served, world};

const RULES: [&str; 1] = [r#"tool_conditions: [
      {tools: [delete], when: "args.path.startsWith('/tmp/') && !args.path.contains('..')", reason: only temporary files},
      {tools: [search], when: "principal.team_id == 'red' || principal.kind == 'master_key'"},
      {tools: ["*"], when: "!has(tool.annotations.destructiveHint) || principal.metadata.may_delete == true"},
      {tools: [echo], when: "now.unix > 1000000000 && now.hour >= 0 && now.hour < 24 && now.weekday <= 7 && now.date > '2020-01-01'"},
    ]"#];

async fn ask(way: Way, http: &HttpClient, tool: &str, arguments: Value) -> (u16, Value) {
    way.ask(
        http,
        None,
        "tools/call",
        &json!({"name": tool, "arguments": arguments}),
    )
    .await
}

#[tokio::test]
async fn s35_a_call_is_made_if_every_condition_is_true() {
    let (gateway, upstream) = world(&RULES).await;
    let may_use = json!({"mcp_servers": ["s"]});
    post(
        &gateway,
        "/team/new",
        json!({"team_id": "red", "object_permission": may_use}),
    )
    .await;
    post(
        &gateway,
        "/team/new",
        json!({"team_id": "blue", "object_permission": may_use}),
    )
    .await;
    let red = generate(
        &gateway,
        json!({"team_id": "red", "object_permission": may_use, "metadata": {"may_delete": true}}),
    )
    .await;
    let red = with(&gateway, red["key"].as_str().unwrap());
    let blue = generate(
        &gateway,
        json!({"team_id": "blue", "object_permission": may_use, "metadata": {"may_delete": "yes"}}),
    )
    .await;
    let blue = with(&gateway, blue["key"].as_str().unwrap());
    for way in WAYS {
        // What is about the caller and the tool is decided when it is listed, too; what is about arguments is not.
        for (http, tools) in [(&red, vec!["delete", "echo", "search"]), (&blue, vec!["echo"])] {
            let (_, said) = way.ask(http, None, "tools/list", &json!({})).await;
            let mut listed: Vec<&str> = vec!["delete", "echo", "search"];
            listed.retain(|tool| schema(&said, tool).is_some());
            assert_eq!(listed, tools, "{way:?}");
        }
        for arguments in [
            json!({"path": "/tmp/a"}),
            json!({"path": "/tmp/a", "force": true}),
        ] {
            let answer = ask(way, &red, "s-delete", arguments).await;
            assert!(served(way, &answer), "{way:?}: {answer:?}");
        }
        assert_eq!(sent(&upstream).len(), 2);
        upstream.clear();
        for (arguments, text) in [
            (
                json!({"path": "/etc/a"}),
                "condition_failed: only temporary files",
            ),
            (
                json!({"path": "/tmp/../a"}),
                "condition_failed: only temporary files",
            ),
            (
                json!({"path": 7}),
                "condition_error: a condition of this tool cannot be decided for these arguments: only temporary files",
            ),
            (
                json!({"Path": "/tmp/a"}),
                "condition_error: a condition of this tool cannot be decided for these arguments: only temporary files",
            ),
            (
                json!({"path": "/tmp/a", "PATH": "/etc/a"}),
                "condition_error: a condition of this tool cannot be decided for these arguments: only temporary files",
            ),
            (
                Value::Null,
                "condition_error: a condition of this tool cannot be decided for these arguments: only temporary files",
            ),
        ] {
            let answer = ask(way, &red, "s-delete", arguments).await;
            assert_eq!(refusal(way, &answer).as_deref(), Ok(text), "{way:?}");
        }
        // What is hidden is not there.
        for tool in ["s-search", "s-delete"] {
            let answer = ask(way, &blue, tool, json!({"path": "/tmp/a"})).await;
            assert!(
                answer.1.to_string().contains("Unknown tool: "),
                "{way:?}: {answer:?}"
            );
        }
        assert_eq!(sent(&upstream).len(), 0, "{way:?}");
        let answer = ask(way, &blue, "s-echo", json!({"message": "hi"})).await;
        assert!(served(way, &answer), "{way:?}: {answer:?}");
        upstream.clear();
    }
}

#[tokio::test]
async fn s35_conditions_may_be_about_the_client() {
    let rules = r#"tool_conditions: [
      {tools: [search], when: "client.name == 'good' && client.version.startsWith('2.')"},
      {tools: [echo], when: "client.user_agent == null || !client.user_agent.contains('bad')"},
      {tools: [echo], when: "client.address == '127.0.0.1' && client.network in ['internal', 'external']"},
    ]"#;
    let (gateway, upstream) = world(&[rules]).await;
    let of = |name: &str, version: &str| {
        json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": name, "version": version},
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    };
    for (name, version, listed) in [
        ("good", "2.1", true),
        ("good", "3.0", false),
        ("other", "2.1", false),
    ] {
        let http = gateway
            .client()
            .with_header("accept", "application/json, text/event-stream")
            .with_header("mcp-protocol-version", MODERN);
        let params = json!({"_meta": of(name, version)});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params});
        let said = http
            .clone()
            .with_header("mcp-method", "tools/list")
            .post("/mcp", &body)
            .await
            .json();
        assert_eq!(
            schema(&said, "search").is_some(),
            listed,
            "{name} {version}: {said}"
        );
        let params = json!({"_meta": of(name, version), "name": "s-search", "arguments": {"q": "x"}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let http = http
            .with_header("mcp-method", "tools/call")
            .with_header("mcp-name", "s-search");
        let said = http.post("/mcp", &body).await.json();
        assert_eq!(said["result"]["content"].is_array(), listed, "{said}");
        assert_eq!(sent(&upstream).len(), usize::from(listed));
        upstream.clear();
    }
    // Where the client does not say what it is, nothing is known of it.
    for way in WAYS {
        let answer = ask(way, &gateway.client(), "s-search", json!({"q": "x"})).await;
        assert!(
            answer.1.to_string().contains("Unknown tool: "),
            "{way:?}: {answer:?}"
        );
        let bad = gateway.client().with_header("user-agent", "very-bad/1");
        let answer = ask(way, &bad, "s-echo", json!({"message": "x"})).await;
        assert!(
            answer.1.to_string().contains("Unknown tool: "),
            "{way:?}: {answer:?}"
        );
        let answer = ask(way, &gateway.client(), "s-echo", json!({"message": "x"})).await;
        assert!(served(way, &answer), "{way:?}: {answer:?}");
    }
}

#[tokio::test]
async fn s35_a_condition_sees_what_the_server_gets() {
    let rules = [
        r#"tool_conditions: [{tools: [search], when: "args.repo == 'a/b' && args.limit <= 10"}]"#,
        "tool_arguments: {search: {repo: {value: a/b}, limit: {default: 10}}}",
    ];
    let (gateway, upstream) = world(&rules).await;
    for way in WAYS {
        assert!(served(
            way,
            &ask(way, &gateway.client(), "s-search", json!({"q": "x"})).await
        ));
        assert_eq!(sent(&upstream), [r#"{"q":"x","limit":10,"repo":"a/b"}"#]);
        let answer = ask(way, &gateway.client(), "s-search", json!({"q": "x", "limit": 11})).await;
        assert_eq!(
            refusal(way, &answer).as_deref(),
            Ok("condition_failed: a condition of this tool is not met")
        );
        assert_eq!(sent(&upstream).len(), 1);
        upstream.clear();
    }
}

#[tokio::test]
async fn s38_arguments_that_would_take_too_long_are_refused_at_once() {
    let rules = r#"tool_conditions: [{tools: [search], when: "args.l.all(x, args.l.exists(y, y == x))"}]"#;
    let (gateway, upstream) = world(&[rules]).await;
    let many: Vec<u32> = (0..50_000).collect();
    let begun = std::time::Instant::now();
    let answer = ask(Way::Rest, &gateway.client(), "s-search", json!({"l": many})).await;
    assert!(
        refusal(Way::Rest, &answer)
            .unwrap()
            .starts_with("condition_error: ")
    );
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert_eq!(sent(&upstream).len(), 0);
    let answer = ask(Way::Rest, &gateway.client(), "s-search", json!({"l": [3, 1, 2]})).await;
    assert!(served(Way::Rest, &answer), "{answer:?}");
}
