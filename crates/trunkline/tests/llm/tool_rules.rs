//! Tools by way of a model: the same ones as everywhere, under the same rules, and as much written down of them (B08, B71, S35).

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, McpClient, eventually};

use crate::tools::{CHAT, Kit, MESSAGES, RESPONSES, asked, kit, said};

/// Every dialect, whole and in pieces.
const WAYS: [(&str, bool); 6] = [
    (CHAT, false),
    (CHAT, true),
    (MESSAGES, false),
    (MESSAGES, true),
    (RESPONSES, false),
    (RESPONSES, true),
];

/// A key of a user in a team.
async fn of_a_team(kit: &Kit, permission: Value) -> HttpClient {
    let admin = kit.gateway.client();
    for (path, body) in [
        ("/user/new", json!({"user_id": "u", "auto_create_key": false})),
        (
            "/team/new",
            json!({"team_id": "t", "members_with_roles": [{"user_id": "u"}], "models": ["mine", "claude"], "object_permission": {"mcp_servers": ["geo"]}}),
        ),
    ] {
        admin.post(path, &body).await.expect_status(200);
    }
    kit.key(json!({
        "models": ["all-team-models"], "team_id": "t", "user_id": "u", "object_permission": permission,
    }))
    .await
}

/// Name and schema of each.
fn sorted(tools: impl Iterator<Item = (Value, Value)>) -> Vec<(String, Value)> {
    let mut tools: Vec<_> = tools
        .map(|(name, schema)| (name.as_str().unwrap().to_owned(), schema))
        .collect();
    tools.sort_by(|one, other| one.0.cmp(&other.0));
    tools
}

#[tokio::test]
async fn b08_a_model_is_offered_what_a_list_has_with_the_same_schemas() {
    let kit = kit("").await;
    let permission = json!({"mcp_servers": ["geo"], "mcp_tool_permissions": {"geo": ["weather", "picture"]}});
    let own = of_a_team(&kit, permission).await;
    let mut client = McpClient::over(own.clone(), "/mcp");
    client.initialize().await;
    let listed = client.list_tools().await;
    let listed = sorted(
        listed
            .iter()
            .map(|tool| (tool["name"].clone(), tool["inputSchema"].clone())),
    );
    let names: Vec<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["geo-picture", "geo-weather"]);
    for (path, streams) in WAYS {
        for (model, provider) in [("mine", &kit.openai), ("claude", &kit.anthropic)] {
            let before = provider.requests().len();
            let mut body = asked(path, model, &json!({}));
            body["stream"] = streams.into();
            own.post(path, &body).await.expect_status(200);
            let sent = provider.requests()[before].json();
            let tools = sent["tools"].as_array().unwrap().iter();
            let offered = sorted(tools.map(|tool| match model {
                "mine" => (
                    tool["function"]["name"].clone(),
                    tool["function"]["parameters"].clone(),
                ),
                _ => (tool["name"].clone(), tool["input_schema"].clone()),
            }));
            assert_eq!(offered, listed, "{path} {model} {streams}");
        }
    }
}

#[tokio::test]
async fn b71_each_call_by_way_of_a_model_is_one_record_of_whose_it_is() {
    let kit = kit("").await;
    let own = of_a_team(&kit, json!({"mcp_servers": ["all-team-mcpservers"]})).await;
    let admin = kit.gateway.client();
    for (path, streams) in WAYS {
        let id = format!("{}-{streams}", &path[1..].replace('/', "-"));
        let mut body = asked(path, "mine", &json!({}));
        body["stream"] = streams.into();
        let asking = own.clone().with_header("x-litellm-call-id", &id);
        asking.post(path, &body).await.expect_status(200);
        let mut rows = Vec::new();
        eventually(
            &format!("{id} is written down"),
            Duration::from_secs(10),
            async || {
                let found = admin.get(&format!("/spend/logs?request_id={id}")).await;
                rows = found.expect_status(200).json().as_array().unwrap().clone();
                let of = |is_tool: bool| {
                    let mut kinds = rows.iter().map(|row| row["call_type"].as_str().unwrap());
                    kinds.any(|kind| (kind == "call_mcp_tool") == is_tool && kind != "list_mcp_tools")
                };
                of(true) && of(false)
            },
        )
        .await;
        let of = |kind: &str| {
            let rows = rows.iter().filter(|row| row["call_type"] == kind);
            rows.collect::<Vec<_>>()
        };
        let (calls, lists) = (of("call_mcp_tool"), of("list_mcp_tools"));
        assert_eq!(calls.len(), 1, "{id}: {rows:?}");
        assert_eq!(
            rows.len() - calls.len() - lists.len(),
            1,
            "one of the model: {id}: {rows:?}"
        );
        for row in &rows {
            for (name, wanted) in [("user", "u"), ("team_id", "t"), ("status", "success")] {
                assert_eq!(row[name], wanted, "{id}: {name}: {row}");
            }
            assert_eq!(row["api_key"], rows[0]["api_key"], "{id}");
        }
        assert!(
            calls[0]["mcp_namespaced_tool_name"]
                .as_str()
                .is_some_and(|name| name.ends_with("weather")),
            "{id}: {}",
            calls[0]
        );
    }
}

#[tokio::test]
async fn b71_s35_what_a_rule_refuses_is_refused_by_way_of_a_model_and_is_one_row() {
    let kit = kit(
        "    tool_conditions:\n      - tools: [weather]\n        when: args.city != 'Oslo'\n        reason: nobody asks about Oslo\n",
    )
    .await;
    let own = of_a_team(&kit, json!({"mcp_servers": ["geo"]})).await;
    let admin = kit.gateway.client();
    for (path, streams) in WAYS {
        let id = format!("{}-{streams}", &path[1..].replace('/', "-"));
        let mut body = asked(path, "mine", &json!({}));
        body["stream"] = streams.into();
        let before = kit.openai.requests().len();
        let asking = own.clone().with_header("x-litellm-call-id", &id);
        let reply = asking.post(path, &body).await.expect_status(200);
        assert_eq!(said(path, &reply), "Hello", "{id}: {}", reply.text());
        // The model hears why, and nothing reached the server.
        let heard = kit.openai.requests()[before + 1].json();
        let last = heard["messages"].as_array().unwrap().last().unwrap().to_string();
        assert!(last.contains("nobody asks about Oslo"), "{id}: {last}");
        assert_eq!(kit.server.count("tools/call"), 0, "{id}");
        let mut rows = Vec::new();
        eventually(
            &format!("{id} is in the audit log"),
            Duration::from_secs(10),
            async || {
                let log = admin.get("/audit?page_size=100").await.expect_status(200).json();
                let all = log["audit_logs"].as_array().unwrap().clone();
                rows = all.into_iter().filter(|row| row["request_id"] == *id).collect();
                !rows.is_empty()
            },
        )
        .await;
        let [row] = &rows[..] else {
            panic!("{id}: {rows:?}");
        };
        assert_eq!(
            (&row["action"], &row["tool"], &row["kind"]),
            (&json!("denied"), &json!("weather"), &json!("call_mcp_tool")),
            "{row}"
        );
        assert_eq!(
            row["rule"]
                .as_str()
                .map(|rule| rule.starts_with("tool_conditions")),
            Some(true),
            "{row}"
        );
    }
}
