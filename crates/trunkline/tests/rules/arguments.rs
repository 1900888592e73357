//! Arguments that may be given, and those that the gateway fills in.

use serde_json::{Value, json};

use crate::support::{WAYS, Way, generate, post, with};
use crate::world::{refusal, schema, sent, served, world};

const TOOLS: &str = "{\"mcp_servers\": [\"s\"]}";

fn may_use() -> Value {
    serde_json::from_str(TOOLS).unwrap()
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({"name": tool, "arguments": arguments})
}

#[tokio::test]
async fn s35_what_may_not_be_given_is_in_no_list_and_reaches_no_server() {
    let (gateway, upstream) = world(&["allowed_params: {search: [q, repo], s-delete: [path]}"]).await;
    let http = gateway.client();
    for way in WAYS {
        let (_, said) = way.ask(&http, None, "tools/list", &json!({})).await;
        let names = |tool: &str| -> Vec<String> {
            let schema = schema(&said, tool).unwrap_or_else(|| panic!("{way:?}: {said}"));
            schema["properties"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect()
        };
        assert_eq!(names("search"), ["q", "repo"], "{way:?}");
        assert_eq!(names("delete"), ["path"], "{way:?}");
        assert_eq!(names("echo"), ["message"], "{way:?}");
        for (tool, arguments, wrong) in [
            ("s-search", json!({"q": "x", "repo": "r", "limit": 1}), "limit"),
            ("s-search", json!({"Q": "x", "repo": "r"}), "Q"),
            ("s-search", json!({"": 1}), ""),
            (
                "s-delete",
                json!({"path": "/", "force": true, "more": 1}),
                "force, more",
            ),
        ] {
            let answer = way.ask(&http, None, "tools/call", &call(tool, &arguments)).await;
            let text = refusal(way, &answer).unwrap();
            let allowed = if tool == "s-search" { "q, repo" } else { "path" };
            assert_eq!(
                text,
                format!(
                    "argument_not_allowed: Parameters {wrong} are not allowed for this tool. Allowed parameters: {allowed}. Ask the administrator of the gateway to allow them"
                )
            );
        }
        assert_eq!(sent(&upstream).len(), 0, "{way:?}");
        for arguments in [json!({"q": "x", "repo": "r"}), json!({}), Value::Null] {
            let answer = way
                .ask(&http, None, "tools/call", &call("s-search", &arguments))
                .await;
            assert!(served(way, &answer), "{way:?}: {answer:?}");
        }
        assert_eq!(
            sent(&upstream),
            [r#"{"q":"x","repo":"r"}"#, "{}", "null"],
            "{way:?}"
        );
        upstream.clear();
    }
    trunkline_testkit::eventually("it is in the audit log", crate::support::PATIENCE, async || {
        let said = gateway.client().get("/audit/export?after=0").await.text();
        said.contains("argument_not_allowed") && said.contains("allowed_params")
    })
    .await;
    let log = gateway.log();
    assert!(
        log.contains("argument_not_allowed") && log.contains("allowed_params"),
        "{log}"
    );
}

#[tokio::test]
async fn s35_a_pinned_argument_is_nobodys_to_give() {
    let pins = "tool_arguments: {search: {repo: {value: a/b}, deep: {value: {x: [1, 2.5]}}}}";
    let (gateway, upstream) = world(&[pins]).await;
    let http = gateway.client();
    for way in WAYS {
        let (_, said) = way.ask(&http, None, "tools/list", &json!({})).await;
        let schema = schema(&said, "search").unwrap();
        assert_eq!(
            schema,
            json!({"type": "object", "properties": {"q": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["q"]}),
            "{way:?}"
        );
        // The same value, another, another case, and a letter that some readers take for the same.
        for name in ["repo", "Repo", "REPO", "deep", "DEEP"] {
            for value in [json!("a/b"), json!("c/d"), Value::Null] {
                let mut arguments = json!({"q": "x"});
                arguments[name] = value;
                let answer = way
                    .ask(&http, None, "tools/call", &call("s-search", &arguments))
                    .await;
                assert_eq!(
                    refusal(way, &answer).unwrap(),
                    format!("argument_pinned: the gateway itself sets {name} for this tool; call it without")
                );
            }
        }
        assert_eq!(sent(&upstream).len(), 0, "{way:?}");
        for arguments in [json!({"q": "x"}), json!({}), Value::Null] {
            let answer = way
                .ask(&http, None, "tools/call", &call("search", &arguments))
                .await;
            assert!(served(way, &answer), "{way:?}: {answer:?}");
        }
        assert_eq!(
            sent(&upstream),
            [
                r#"{"q":"x","deep":{"x":[1,2.5]},"repo":"a/b"}"#,
                r#"{"deep":{"x":[1,2.5]},"repo":"a/b"}"#,
                r#"{"deep":{"x":[1,2.5]},"repo":"a/b"}"#,
            ],
            "{way:?}"
        );
        upstream.clear();
        // Another tool's argument of the name is its own.
        let answer = way
            .ask(&http, None, "tools/call", &call("s-echo", &json!({"repo": 1})))
            .await;
        assert!(served(way, &answer), "{way:?}: {answer:?}");
        upstream.clear();
    }
}

#[tokio::test]
async fn s35_what_callers_do_not_give_is_filled_in_and_what_is_known_of_them_is_theirs() {
    let rules = "tool_arguments: {search: {limit: {default: 10}, repo: {value_from: team_id}, deep: {default_from: metadata.deep}}, \
                 delete: {path: {default_from: user_id}, force: {value_from: metadata.force}}, \
                 echo: {message: {value_from: end_user_id}, alias: {value_from: key_alias}}}";
    let (gateway, upstream) = world(&[rules]).await;
    post(
        &gateway,
        "/team/new",
        json!({"team_id": "red", "object_permission": may_use()}),
    )
    .await;
    let made = generate(
        &gateway,
        json!({"team_id": "red", "user_id": "ann", "key_alias": "k1", "object_permission": may_use(), "metadata": {"deep": {"a": 1}, "force": true, "empty": ""}}),
    )
    .await;
    let full =
        with(&gateway, made["key"].as_str().unwrap()).with_header("x-litellm-end-user-id", "customer-7");
    let made = generate(
        &gateway,
        json!({"object_permission": may_use(), "metadata": {"force": null}}),
    )
    .await;
    let bare = with(&gateway, made["key"].as_str().unwrap());
    for way in [Way::Session, Way::Modern, Way::Rest] {
        let ask = async |tool: &str, arguments: Value| {
            let answer = way.ask(&full, None, "tools/call", &call(tool, &arguments)).await;
            assert!(served(way, &answer), "{way:?}: {answer:?}");
        };
        ask("s-search", json!({"q": "x"})).await;
        ask("s-search", json!({"q": "x", "limit": null, "deep": 7})).await;
        ask("s-delete", json!({})).await;
        ask("s-echo", json!({})).await;
        assert_eq!(
            sent(&upstream),
            [
                r#"{"q":"x","deep":{"a":1},"limit":10,"repo":"red"}"#,
                r#"{"q":"x","limit":null,"deep":7,"repo":"red"}"#,
                r#"{"force":true,"path":"ann"}"#,
                r#"{"alias":"k1","message":"customer-7"}"#,
            ],
            "{way:?}"
        );
        upstream.clear();
        for (tool, name) in [("s-search", "repo"), ("s-delete", "force"), ("s-echo", "alias")] {
            for http in [&bare, &gateway.client()] {
                let answer = way.ask(http, None, "tools/call", &call(tool, &json!({}))).await;
                let text = refusal(way, &answer).unwrap();
                assert!(
                    text.starts_with(&format!("argument_unfilled: the gateway sets {name} ")),
                    "{text}"
                );
            }
        }
        assert_eq!(sent(&upstream).len(), 0);
    }
}

#[tokio::test]
async fn s35_a_tool_that_nobody_could_call_is_left_out_with_the_reason() {
    let (gateway, _upstream) = world(&["allowed_params: {search: [q]}"]).await;
    for way in WAYS {
        let (_, said) = way.ask(&gateway.client(), None, "tools/list", &json!({})).await;
        assert_eq!(schema(&said, "search"), None, "{way:?}");
        assert!(schema(&said, "delete").is_some(), "{way:?}");
        let reason =
            "its arguments repo are required, and neither in allowed_params nor set by tool_arguments";
        assert!(said.to_string().contains(reason), "{way:?}: {said}");
    }
    // What is filled in is not missing.
    let both = [
        "allowed_params: {search: [q]}",
        "tool_arguments: {search: {repo: {default: a}}}",
    ];
    let (gateway, upstream) = world(&both).await;
    let (_, said) = Way::Session
        .ask(&gateway.client(), None, "tools/list", &json!({}))
        .await;
    assert_eq!(
        schema(&said, "search").unwrap(),
        json!({"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]})
    );
    let ask = call("s-search", &json!({"q": "x"}));
    let answer = Way::Session
        .ask(&gateway.client(), None, "tools/call", &ask)
        .await;
    assert!(served(Way::Session, &answer), "{answer:?}");
    assert_eq!(sent(&upstream), [r#"{"q":"x","repo":"a"}"#]);
}

#[tokio::test]
async fn s35_no_spelling_of_the_method_goes_by_the_rules() {
    let (gateway, upstream) = world(&["tool_arguments: {search: {repo: {value: a}}}"]).await;
    let http = gateway.client();
    let params = call("search", &json!({"repo": "mine"}));
    for method in [
        "Tools/Call",
        "TOOLS/CALL",
        " tools/call",
        "tools/call ",
        "tools/List",
    ] {
        for way in [Way::Session, Way::Bare, Way::Modern, Way::Sse] {
            let (_, said) = way.ask(&http, None, method, &params).await;
            // Headers have no blanks at their ends: the body says another method then.
            let trimmed = way == Way::Modern && method.trim() != method;
            let code = if trimmed { -32020 } else { -32601 };
            assert_eq!(said["error"]["code"], code, "{method} {way:?}: {said}");
        }
    }
    assert!(
        !upstream.everything().contains("mine"),
        "{}",
        upstream.everything()
    );
}
