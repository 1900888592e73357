//! Conversations with tools over several rounds: one life cycle, each message once, and every round visible, recorded and billed.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, ProviderRequest, Turn, eventually};

use crate::tools::{Kit, asked, events, kit, said};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
/// Of every round: five tokens read, three written, for one and two millionths of a dollar each.
const USAGE: &str = r#"{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}"#;

/// A round in which the model calls the tool.
fn calls(city: &str, streams: bool) -> Turn {
    let function = json!({"name": "geo-weather", "arguments": json!({"city": city}).to_string()});
    let call = json!({"index": 0, "id": format!("call_{city}"), "type": "function", "function": function});
    round(
        &json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        "tool_calls",
        streams,
    )
}

/// The last one.
fn ends(text: &str, streams: bool) -> Turn {
    round(&json!({"role": "assistant", "content": text}), "stop", streams)
}

fn round(message: &Value, reason: &str, streams: bool) -> Turn {
    let usage: Value = serde_json::from_str(USAGE).unwrap();
    if !streams {
        let choice = json!({"index": 0, "message": message, "finish_reason": reason});
        let body = json!({"id": "x", "object": "chat.completion", "model": "gpt-x", "choices": [choice], "usage": usage});
        return Turn::Answer(200, body.to_string());
    }
    let chunk = |choices: Value, usage: &Value| {
        let chunk = json!({"id": "x", "object": "chat.completion.chunk", "model": "gpt-x", "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    Turn::Stream(vec![
        chunk(json!([{"index": 0, "delta": message}]), &Value::Null),
        chunk(
            json!([{"index": 0, "delta": {}, "finish_reason": reason}]),
            &Value::Null,
        ),
        chunk(json!([]), &usage),
        "data: [DONE]\n\n".to_owned(),
    ])
}

/// The records of a request, once there are so many; a moment later there are no more.
async fn records(admin: &HttpClient, id: &str, count: usize) -> Vec<Value> {
    let path = format!("/spend/logs?request_id={id}");
    let read = async || {
        let rows = admin.get(&path).await.expect_status(200).json();
        rows.as_array().unwrap().clone()
    };
    eventually("all is written down", Duration::from_secs(10), async || {
        read().await.len() >= count
    })
    .await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    read().await
}

fn of<'r>(rows: &'r [Value], kind: &str) -> Vec<&'r Value> {
    rows.iter().filter(|row| row["call_type"] == kind).collect()
}

/// The tools that were called, as the provider of the last round was told: each with its id and its answer, in their order.
fn told(kit: &Kit, before: usize) -> Vec<(String, String)> {
    let requests = kit.openai.requests();
    let rounds: Vec<Value> = requests[before..].iter().map(ProviderRequest::json).collect();
    assert_eq!(rounds.len(), 3, "two rounds of tools, and the answer");
    let messages = rounds[2]["messages"].as_array().unwrap().clone();
    let roles: Vec<&str> = messages.iter().map(|own| own["role"].as_str().unwrap()).collect();
    assert_eq!(
        roles,
        ["user", "assistant", "tool", "assistant", "tool"],
        "{messages:?}"
    );
    // What was said in the first rounds is said in the last one, word for word.
    assert_eq!(rounds[1]["messages"].as_array().unwrap()[..], messages[..3]);
    let results = messages.iter().filter(|own| own["role"] == "tool");
    results
        .map(|own| {
            let id = own["tool_call_id"].as_str().unwrap().to_owned();
            (id, own["content"].to_string())
        })
        .collect()
}

/// What the client sees of the calls, and that the answer begins and ends once.
fn visible(path: &str, streams: bool, reply: &trunkline_testkit::Reply) {
    let text = reply.text();
    for city in ["Oslo", "Rome"] {
        // Messages have no words for what the gateway did.
        assert_eq!(
            text.contains(&format!("rain in {city}")),
            path != MESSAGES,
            "{path}: {text}"
        );
    }
    if !streams {
        return;
    }
    let events = events(reply);
    let count = |is: &dyn Fn(&Value) -> bool| events.iter().filter(|own| is(own)).count();
    match path {
        RESPONSES => {
            for kind in ["response.created", "response.completed"] {
                assert_eq!(count(&|own| own["type"] == kind), 1, "{kind}: {text}");
            }
            assert_eq!(
                count(&|own| own["type"] == "response.mcp_call.completed"),
                2,
                "{text}"
            );
        }
        MESSAGES => {
            for kind in ["message_start", "message_stop"] {
                assert_eq!(count(&|own| own["type"] == kind), 1, "{kind}: {text}");
            }
        }
        _ => {
            assert_eq!(text.matches("data: [DONE]").count(), 1, "{text}");
            let is_end = |own: &Value| own["choices"][0]["finish_reason"].is_string();
            assert_eq!(count(&is_end), 1, "{text}");
        }
    }
}

#[tokio::test]
async fn b66_two_rounds_of_tools_are_one_answer_with_each_message_once_and_one_bill() {
    let kit = kit("").await;
    let own = kit.granted().await;
    let admin = kit.gateway.client();
    for (path, kind) in [
        (CHAT, "acompletion"),
        (MESSAGES, "anthropic_messages"),
        (RESPONSES, "aresponses"),
    ] {
        for streams in [false, true] {
            let case = format!("{kind}-{streams}");
            kit.server.clear();
            let before = kit.openai.requests().len();
            for turn in [
                calls("Oslo", streams),
                calls("Rome", streams),
                ends("Both wet.", streams),
            ] {
                kit.openai.next(turn);
            }
            let mut body = asked(path, "mine", &json!({}));
            body["stream"] = streams.into();
            let client = own.clone().with_header("x-litellm-call-id", &case);
            let reply = client.post(path, &body).await.expect_status(200);
            assert_eq!(said(path, &reply), "Both wet.", "{case}: {}", reply.text());
            visible(path, streams, &reply);
            // Each call once, with its own answer.
            let cities: Vec<Value> = kit
                .server
                .requests()
                .iter()
                .filter(|own| own.is("tools/call"))
                .map(|own| own.json()["params"]["arguments"]["city"].clone())
                .collect();
            assert_eq!(cities, ["Oslo", "Rome"], "{case}");
            for ((id, result), city) in told(&kit, before).iter().zip(["Oslo", "Rome"]) {
                assert_eq!(*id, format!("call_{city}"), "{case}");
                assert!(result.contains(&format!("rain in {city}")), "{case}: {result}");
            }
            // One record of the answer with all three rounds, one of each call, and one of the list of tools.
            let rows = records(&admin, &case, 4).await;
            let (model, tools) = (of(&rows, kind), of(&rows, "call_mcp_tool"));
            let listed = of(&rows, "list_mcp_tools").len();
            assert_eq!(
                (rows.len(), model.len(), tools.len(), listed),
                (4, 1, 2, 1),
                "{case}: {rows:?}"
            );
            assert_eq!(
                (&model[0]["total_tokens"], &model[0]["spend"]),
                (&json!(24), &json!(0.000_033)),
                "{case}: {rows:?}"
            );
        }
    }
}

#[tokio::test]
async fn b71_a_tool_that_a_model_calls_is_one_record_with_whose_it_is_and_so_is_what_asked_the_model() {
    let kit = kit("").await;
    let admin = kit.gateway.client();
    for (path, body) in [
        ("/team/new", json!({"team_id": "t", "models": ["mine"]})),
        ("/user/new", json!({"user_id": "u", "auto_create_key": false})),
    ] {
        admin.post(path, &body).await.expect_status(200);
    }
    let made = json!({
        "team_id": "t", "user_id": "u", "models": ["mine"], "key_alias": "mine",
        "object_permission": {"mcp_servers": ["geo"], "mcp_tool_permissions": {"geo": ["weather"]}},
    });
    admin
        .post(
            "/team/update",
            &json!({"team_id": "t", "object_permission": {"mcp_servers": ["geo"]}}),
        )
        .await
        .expect_status(200);
    let own = kit.key(made).await;
    for (path, kind) in [
        (CHAT, "acompletion"),
        (MESSAGES, "anthropic_messages"),
        (RESPONSES, "aresponses"),
    ] {
        kit.openai.next(calls("Oslo", false));
        kit.openai.next(ends("Wet.", false));
        let client = own.clone().with_header("x-litellm-call-id", kind);
        let reply = client
            .post(path, &asked(path, "mine", &json!({})))
            .await
            .expect_status(200);
        assert_eq!(said(path, &reply), "Wet.", "{path}");
        let rows = records(&admin, kind, 3).await;
        let (model, tool) = (of(&rows, kind), of(&rows, "call_mcp_tool"));
        let listed = of(&rows, "list_mcp_tools").len();
        assert_eq!(
            (rows.len(), model.len(), tool.len(), listed),
            (3, 1, 1, 1),
            "{path}: {rows:?}"
        );
        for row in &rows {
            assert_eq!(
                (&row["team_id"], &row["user"], &row["status"]),
                (&json!("t"), &json!("u"), &json!("success")),
                "{path}: {row}"
            );
            assert_eq!(row["metadata"]["user_api_key_alias"], "mine", "{path}: {row}");
        }
        assert_eq!(model[0]["api_key"], tool[0]["api_key"], "{path}");
        let name = tool[0]["mcp_namespaced_tool_name"].as_str().unwrap();
        assert!(name.ends_with("/weather"), "{path}: {name}");
        assert_eq!(model[0]["model_group"], "mine", "{path}");
    }
    // What the key may not call the model is not offered, and whoever calls it otherwise is denied and recorded once.
    let offered = kit.openai.requests().last().unwrap().json()["tools"].to_string();
    assert!(
        offered.contains("geo-weather") && !offered.contains("geo-broken"),
        "{offered}"
    );
    let call = json!({"server_id": "geo", "name": "broken", "arguments": {}});
    let denied = own.clone().with_header("x-litellm-call-id", "denied");
    denied
        .post("/mcp-rest/tools/call", &call)
        .await
        .expect_status(403);
    let rows = records(&admin, "denied", 1).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (&rows[0]["call_type"], &rows[0]["status"]),
        (&json!("call_mcp_tool"), &json!("failure"))
    );
}
