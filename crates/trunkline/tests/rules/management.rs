//! Rules that are declared through the API and in the file, shown, changed, read again, and wrong.

use serde_json::{Value, json};
use trunkline_testkit::{ScriptedUpstream, TestGateway};

use crate::support::{Way, listed};
use crate::world::{config, delete, echo, refusal, search, sent, served};

async fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::builder()
        .tool(search())
        .tool(delete())
        .tool(echo())
        .start()
        .await
}

fn rules() -> [(&'static str, Value); 3] {
    [
        ("allowed_params", json!({"search": ["q"], "none": []})),
        (
            "tool_arguments",
            json!({"search": {"repo": {"value": "a/b"}, "limit": {"default": 1.5}, "deep": {"default_from": "metadata.a.b"}}}),
        ),
        (
            "tool_conditions",
            json!([
                {"tools": ["search"], "when": "args.q != 'no'", "reason": "not that"},
                {"tools": ["*"], "when": "true", "reason": null},
            ]),
        ),
    ]
}

async fn check(gateway: &TestGateway, upstream: &ScriptedUpstream) {
    let http = gateway.client();
    let ask = async |arguments: Value| {
        let params = json!({"name": "s-search", "arguments": arguments});
        Way::Rest.ask(&http, None, "tools/call", &params).await
    };
    upstream.clear();
    for (arguments, reason) in [
        (json!({"q": "no"}), "condition_failed: not that"),
        (json!({"q": "x", "repo": "c"}), "argument_pinned: "),
        (json!({"q": "x", "limit": 9}), "argument_not_allowed: "),
    ] {
        let text = refusal(Way::Rest, &ask(arguments).await).unwrap();
        assert!(text.starts_with(reason), "{text}");
    }
    assert_eq!(sent(upstream).len(), 0);
    let answer = ask(json!({"q": "x"})).await;
    assert!(served(Way::Rest, &answer), "{answer:?}");
    assert_eq!(sent(upstream), [r#"{"q":"x","limit":1.5,"repo":"a/b"}"#]);
}

#[tokio::test]
async fn s14_rules_are_shown_changed_and_there_again_after_a_restart() {
    let upstream = upstream().await;
    let mut gateway = TestGateway::start("").await;
    let mut body = json!({"server_name": "s", "url": upstream.url(), "transport": "http"});
    for (field, value) in rules() {
        body[field] = value;
    }
    let row = gateway
        .client()
        .post("/v1/mcp/server", &body)
        .await
        .expect_status(201)
        .json();
    let id = row["server_id"].as_str().unwrap().to_owned();
    listed(&gateway, &["s"]).await;
    let path = format!("/v1/mcp/server/{id}");
    for restarted in [false, true] {
        if restarted {
            gateway.restart().await;
            listed(&gateway, &["s"]).await;
        }
        let row = gateway.client().get(&path).await.json();
        for (field, value) in rules() {
            assert_eq!(row[field], value, "{field}");
        }
        assert_eq!(row["transport"], "http");
        check(&gateway, &upstream).await;
    }
    // Another field alone keeps them; null removes one; what is not named stays.
    let http = gateway.client();
    let change = async |body: Value| {
        let mut body = body;
        body["server_id"] = json!(id);
        http.put("/v1/mcp/server", &body).await.expect_status(202).json()
    };
    let row = change(json!({"description": "d"})).await;
    assert_eq!(row["tool_arguments"], rules()[1].1);
    check(&gateway, &upstream).await;
    let row = change(json!({"tool_conditions": null, "allowed_params": {}})).await;
    assert_eq!(
        (&row["tool_conditions"], &row["allowed_params"]),
        (&json!([]), &json!({}))
    );
    let params = json!({"name": "s-search", "arguments": {"q": "no", "limit": 9}});
    upstream.clear();
    let answer = Way::Rest.ask(&http, None, "tools/call", &params).await;
    assert!(served(Way::Rest, &answer), "{answer:?}");
    assert_eq!(sent(&upstream), [r#"{"q":"no","limit":9,"repo":"a/b"}"#]);
}

#[tokio::test]
async fn s14_the_file_says_the_same() {
    let upstream = upstream().await;
    let lines: Vec<String> = rules()
        .iter()
        .map(|(field, value)| format!("{field}: {value}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let gateway = TestGateway::start(&config(&upstream, &lines)).await;
    listed(&gateway, &["s"]).await;
    let rows = gateway.client().get("/v1/mcp/server").await.json();
    for (field, value) in rules() {
        assert_eq!(rows[0][field], value, "{field}");
    }
    let warnings = rows[0]["warnings"].to_string();
    assert!(
        warnings.contains("allowed_params: the server lists no tool \\\"none\\\""),
        "{warnings}"
    );
    assert!(!warnings.contains("search"), "{warnings}");
    check(&gateway, &upstream).await;
}

#[tokio::test]
async fn b29_what_is_wrong_with_a_rule_is_said_with_its_place() {
    let gateway = TestGateway::start("").await;
    let http = gateway.client();
    for (field, value, place, message) in [
        (
            "tool_conditions",
            json!([{"tools": ["*"], "when": "true"}, {"tools": ["*"], "when": "true &&\n arg.x"}]),
            json!(["body", "tool_conditions", 1, "when"]),
            "\"arg\" is not known; there are principal, server, tool, args, client, now, at line 2, column 2",
        ),
        (
            "tool_conditions",
            json!([{"tools": [], "when": "true"}]),
            json!(["body", "tool_conditions", 0, "tools"]),
            "must be a list of names of tools",
        ),
        (
            "tool_conditions",
            json!([{"tools": ["a"], "when": "true", "because": "x"}]),
            json!(["body", "tool_conditions", 0, "because"]),
            "must be one of tools, when, reason",
        ),
        (
            "tool_arguments",
            json!({"a": {"b": {"value": 1, "default": 1}}}),
            json!(["body", "tool_arguments", "a", "b"]),
            "must be a mapping with one of value, value_from, default, default_from",
        ),
        (
            "tool_arguments",
            json!({"a": {"b": {"value_from": "canary"}}}),
            json!(["body", "tool_arguments", "a", "b", "value_from"]),
            "must be user_id, team_id, key_alias, end_user_id or metadata.NAME",
        ),
        (
            "allowed_params",
            json!({"a": "q"}),
            json!(["body", "allowed_params", "a"]),
            "Input should be a valid list",
        ),
    ] {
        let mut body = json!({"server_name": "s", "url": "https://s.example/mcp"});
        body[field] = value;
        let said = http.post("/v1/mcp/server", &body).await.expect_status(422).json();
        let problem = &said["detail"][0];
        assert_eq!(problem["loc"], place, "{said}");
        assert!(problem["msg"].as_str().unwrap().contains(message), "{said}");
        assert!(!said.to_string().contains("canary"), "{said}");
    }
    for (field, value) in [
        (
            "tool_arguments",
            json!({"a": {"b": {"value": "os.environ/HOME"}}}),
        ),
        ("allowed_params", json!({"*": ["q"]})),
    ] {
        let mut body = json!({"server_name": "s", "url": "https://s.example/mcp"});
        body[field] = value;
        let said = http.post("/v1/mcp/server", &body).await.expect_status(400).text();
        assert!(said.contains(field), "{said}");
    }
    for (lines, message) in [
        (
            "tool_conditions:\n      - tools: [a]\n        when: arg.x\n",
            ":6:15: mcp_servers.s.tool_conditions[0].when: cannot be read: \"arg\" is not known",
        ),
        (
            "tool_arguments:\n      a:\n        b: {values: 1}\n",
            ":6:21: mcp_servers.s.tool_arguments.a.b.values: must be one of value, value_from, default, default_from",
        ),
        (
            "tool_arguments: {a: {b: {value: os.environ/HOME}}}\n",
            "mcp_servers.s.tool_arguments.a.b.value: a value of the environment cannot stand here",
        ),
    ] {
        let text = format!("mcp_servers:\n  s:\n    url: https://s.example/mcp\n    {lines}");
        let failure = TestGateway::builder()
            .config(&text)
            .try_start()
            .await
            .err()
            .unwrap();
        let said = format!("{failure:?}");
        assert!(said.replace("\\\"", "\"").contains(message), "{said}");
    }
}
