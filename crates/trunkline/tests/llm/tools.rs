//! Tools of the gateway's own MCP servers within requests to models: listed and called by who asks, in every dialect, whole and in
//! pieces, with one answer, one trace and one bill over all rounds.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, Canary, HttpClient, ProviderRequest, Reply, ScriptedProvider, ScriptedUpstream, TestGateway,
    ToolAnswer, Turn, eventually,
};

use crate::support::entry;

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const MESSAGES: &str = "/v1/messages";
pub(crate) const RESPONSES: &str = "/v1/responses";

/// A server with tools, two providers, and a gateway with a model of each.
pub(crate) struct Kit {
    pub(crate) server: ScriptedUpstream,
    pub(crate) openai: ScriptedProvider,
    pub(crate) anthropic: ScriptedProvider,
    pub(crate) gateway: TestGateway,
}

fn definition(name: &str, read_only: bool) -> Value {
    json!({
        "name": name, "description": format!("The tool {name}."), "annotations": {"readOnlyHint": read_only},
        "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
    })
}

pub(crate) async fn kit(more: &str) -> Kit {
    let server = ScriptedUpstream::builder()
        .tool_fn(&definition("weather", true), |call| {
            let city = call.arguments["city"].as_str().unwrap_or("?");
            ToolAnswer::text(&format!("rain in {city}"))
        })
        .tool_fn(&definition("picture", true), |_| {
            ToolAnswer::Result(json!({"content": [
                {"type": "text", "text": "a map"}, {"type": "image", "data": "aGk=", "mimeType": "image/png"},
            ]}))
        })
        .tool_fn(&definition("broken", false), |_| {
            ToolAnswer::tool_error("no such place")
        })
        .start()
        .await;
    let key = Canary::key("provider");
    let openai = ScriptedProvider::start(key.value(), &["gpt-x"]).await;
    let anthropic = ScriptedProvider::start_anthropic(key.value(), &["claude-sonnet-4-5"]).await;
    let price = "      input_cost_per_token: 0.000001\n      output_cost_per_token: 0.000002\n      cache_read_input_token_cost: 0\n      cache_creation_input_token_cost: 0\n";
    let models = [
        entry("mine", "openai/gpt-x", &openai.url(), key.value(), price),
        entry(
            "claude",
            "anthropic/claude-sonnet-4-5",
            &anthropic.url(),
            key.value(),
            price,
        ),
    ];
    let gateway = TestGateway::start(&format!(
        "model_list:\n{}mcp_servers:\n  geo:\n    url: {}\n{more}",
        models.concat(),
        server.url()
    ))
    .await;
    Kit {
        server,
        openai,
        anthropic,
        gateway,
    }
}

impl Kit {
    pub(crate) async fn key(&self, body: Value) -> HttpClient {
        let made = self.gateway.client().post("/key/generate", &body).await;
        let key = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
        self.gateway
            .anonymous()
            .with_header("authorization", &format!("Bearer {key}"))
    }

    /// A key with all models and the server.
    pub(crate) async fn granted(&self) -> HttpClient {
        self.key(json!({"models": ["all-proxy-models"], "object_permission": {"mcp_servers": ["geo"]}}))
            .await
    }
}

fn reference(more: &Value) -> Value {
    let mut own = json!({
        "type": "mcp", "server_label": "geo", "server_url": "litellm_proxy/mcp/geo", "require_approval": "never",
    });
    for (name, value) in more.as_object().unwrap() {
        own[name] = value.clone();
    }
    own
}

/// A question in a dialect, by its path.
pub(crate) fn asked(path: &str, model: &str, more: &Value) -> Value {
    let own = reference(more);
    match path {
        RESPONSES => json!({"model": model, "input": "Weather in Oslo?", "tools": [own]}),
        MESSAGES => {
            json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Weather in Oslo?"}], "tools": [own]})
        }
        _ => {
            json!({"model": model, "messages": [{"role": "user", "content": "Weather in Oslo?"}], "tools": [own]})
        }
    }
}

/// The text that a client reads, of a whole answer or of one in pieces.
pub(crate) fn said(path: &str, reply: &Reply) -> String {
    if reply
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"))
    {
        let events = events(reply);
        let pieces = events.iter().filter_map(|event| match path {
            RESPONSES => (event["type"] == "response.output_text.delta").then(|| event["delta"].as_str())?,
            MESSAGES => event["delta"]["text"].as_str(),
            _ => event["choices"][0]["delta"]["content"].as_str(),
        });
        return pieces.collect();
    }
    let json = reply.json();
    match path {
        RESPONSES => {
            let items = json["output"].as_array().unwrap();
            let message = items.iter().rfind(|item| item["type"] == "message");
            message.map_or(String::new(), |own| {
                own["content"][0]["text"].as_str().unwrap().to_owned()
            })
        }
        MESSAGES => json["content"][0]["text"].as_str().unwrap_or_default().to_owned(),
        _ => json["choices"][0]["message"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    }
}

pub(crate) fn events(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect(data))
        .collect()
}

#[tokio::test]
async fn tools_are_called_in_every_dialect_with_every_provider_whole_and_in_pieces() {
    let kit = kit("").await;
    let own = kit.granted().await;
    for path in [CHAT, MESSAGES, RESPONSES] {
        for (model, provider) in [("mine", &kit.openai), ("claude", &kit.anthropic)] {
            for streams in [false, true] {
                let case = format!("{path} {model} {streams}");
                kit.server.clear();
                let before = provider.requests().len();
                let mut body = asked(path, model, &json!({}));
                body["stream"] = streams.into();
                let reply = own.post(path, &body).await.expect_status(200);
                assert_eq!(said(path, &reply), "Hello", "{case}: {}", reply.text());
                assert_eq!(kit.server.count("tools/call"), 1, "{case}");
                let call = kit.server.requests();
                let call = call.iter().find(|own| own.is("tools/call")).unwrap().json();
                assert_eq!(call["params"]["name"], "weather", "{case}");
                assert_eq!(call["params"]["arguments"], json!({"city": "Oslo"}), "{case}");
                // Two rounds: the second has the call and what came of it.
                let requests = provider.requests();
                let rounds: Vec<Value> = requests[before..].iter().map(ProviderRequest::json).collect();
                assert_eq!(rounds.len(), 2, "{case}");
                assert!(!rounds[0].to_string().contains("litellm_proxy"), "{case}");
                let last = rounds[1]["messages"]
                    .as_array()
                    .unwrap()
                    .last()
                    .unwrap()
                    .to_string();
                assert!(last.contains("rain in Oslo"), "{case}: {last}");
                if streams {
                    let ends = match path {
                        CHAT => "data: [DONE]\n\n",
                        MESSAGES => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
                        _ => "",
                    };
                    let text = reply.text();
                    assert!(text.ends_with(ends), "{case}: {text}");
                    assert_eq!(
                        text.matches("message_start\"").count(),
                        usize::from(path == MESSAGES)
                    );
                    assert!(!text.contains("\"tool_calls\":[{\"index\""), "{case}: {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_chat_shows_what_was_done_and_is_one_record_with_one_bill() {
    let kit = kit("").await;
    let own = kit.granted().await.with_header("x-litellm-call-id", "one");
    let reply = own
        .post(CHAT, &asked(CHAT, "mine", &json!({})))
        .await
        .expect_status(200);
    let json = reply.json();
    let message = &json["choices"][0]["message"];
    assert_eq!(json["choices"][0]["finish_reason"], "stop", "{json}");
    assert_eq!(message["tool_calls"], Value::Null);
    let own_fields = &message["provider_specific_fields"];
    assert_eq!(own_fields["mcp_list_tools"].as_array().unwrap().len(), 3);
    assert_eq!(own_fields["mcp_tool_calls"][0]["function"]["name"], "geo-weather");
    assert_eq!(own_fields["mcp_call_results"][0]["result"], "rain in Oslo");
    // Both rounds: 2 · (5 · 1 + 3 · 2) millionths.
    assert_eq!(json["usage"]["total_tokens"], 16, "{json}");
    assert_eq!(reply.header("x-litellm-response-cost"), Some("0.000022"));
    let admin = kit.gateway.client();
    let rows = {
        let mut rows = Value::Null;
        eventually("all is written down", Duration::from_secs(10), async || {
            rows = admin
                .get("/spend/logs?request_id=one")
                .await
                .expect_status(200)
                .json();
            rows.as_array().is_some_and(|rows| rows.len() >= 2)
        })
        .await;
        rows
    };
    let of = |kind: &str| {
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row["call_type"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (model, tool) = (of("acompletion"), of("call_mcp_tool"));
    assert_eq!((model.len(), tool.len()), (1, 1), "{rows}");
    assert_eq!(
        (&model[0]["total_tokens"], &model[0]["spend"]),
        (&json!(16), &json!(0.000_022)),
        "{rows}"
    );
}

#[tokio::test]
async fn a_response_has_items_of_what_was_done_and_their_events() {
    let kit = kit("").await;
    let own = kit.granted().await;
    let mut body = asked(RESPONSES, "mine", &json!({"allowed_tools": ["weather"]}));
    let json = own.post(RESPONSES, &body).await.expect_status(200).json();
    let kinds: Vec<&str> = json["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["mcp_list_tools", "mcp_call", "message"], "{json}");
    let (listed, called) = (&json["output"][0], &json["output"][1]);
    assert_eq!(listed["server_label"], "geo");
    assert_eq!(listed["tools"].as_array().unwrap().len(), 1);
    assert_eq!(listed["tools"][0]["annotations"]["readOnlyHint"], true);
    assert_eq!(
        (
            &called["name"],
            &called["output"],
            &called["error"],
            &called["status"]
        ),
        (
            &json!("geo-weather"),
            &json!("rain in Oslo"),
            &Value::Null,
            &json!("completed")
        )
    );
    // What it is given back goes on from there.
    let mut input = vec![json!({"role": "user", "content": "Weather in Oslo?"})];
    input.extend(json["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"role": "user", "content": "And now?"}));
    let again = json!({"model": "mine", "input": input, "tools": body["tools"], "tool_choice": "none"});
    let before = kit.openai.requests().len();
    own.post(RESPONSES, &again).await.expect_status(200);
    let sent = kit.openai.requests()[before].json();
    let roles: Vec<&str> = sent["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|own| own["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        ["user", "assistant", "tool", "assistant", "user"],
        "{sent}"
    );
    body["stream"] = true.into();
    let events = events(&own.post(RESPONSES, &body).await.expect_status(200));
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], index, "{event}");
    }
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    let wanted = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds, wanted);
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"].as_array().unwrap().len(), 3, "{last}");
    assert_eq!(last["usage"]["total_tokens"], 16, "{last}");
}

#[tokio::test]
async fn a_client_that_wants_to_be_asked_is_asked_and_nothing_is_called_before() {
    let kit = kit("").await;
    let own = kit.granted().await;
    let mut body = asked(RESPONSES, "mine", &json!({"require_approval": "always"}));
    let json = own.post(RESPONSES, &body).await.expect_status(200).json();
    assert_eq!(kit.server.count("tools/call"), 0);
    let request = json["output"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(request["type"], "mcp_approval_request", "{json}");
    assert_eq!(request["arguments"], r#"{"city":"Oslo"}"#);
    for approves in [false, true] {
        body["input"] = json!([
            {"role": "user", "content": "Weather in Oslo?"}, request,
            {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approves, "reason": "late"},
        ]);
        let json = own.post(RESPONSES, &body).await.expect_status(200).json();
        assert_eq!(kit.server.count("tools/call"), usize::from(approves));
        let sent = kit.openai.requests().last().unwrap().json();
        let last = sent["messages"].as_array().unwrap().last().unwrap().to_string();
        let wanted = if approves {
            "rain in Oslo"
        } else {
            "did not approve"
        };
        assert!(last.contains(wanted), "{last}");
        let has_call = json["output"].to_string().contains("\"mcp_call\"");
        assert_eq!(has_call, approves, "{json}");
    }
    // Nothing said is `always`, and the other dialects have no word for it: the client has the call.
    for path in [CHAT, MESSAGES] {
        for streams in [false, true] {
            kit.server.clear();
            let mut body = asked(path, "mine", &json!({}));
            body["tools"][0]
                .as_object_mut()
                .unwrap()
                .remove("require_approval");
            body["stream"] = streams.into();
            let text = own.post(path, &body).await.expect_status(200).text();
            assert_eq!(kit.server.count("tools/call"), 0, "{text}");
            assert!(text.contains("geo-weather") && text.contains("Oslo"), "{text}");
            let end = if path == CHAT {
                "\"tool_calls\""
            } else {
                "\"tool_use\""
            };
            assert!(text.contains(&format!("_reason\":{end}")), "{text}");
        }
    }
}

#[tokio::test]
async fn s18_what_a_key_may_not_use_is_neither_offered_nor_called() {
    let kit = kit("").await;
    let body = asked(CHAT, "mine", &json!({}));
    let none = kit.key(json!({"models": ["all-proxy-models"]})).await;
    let refused = none.post(CHAT, &body).await;
    assert!(matches!(refused.status.as_u16(), 403 | 404), "{}", refused.text());
    // A key for models alone uses no tools this way either.
    let models_only = kit
        .key(json!({
            "models": ["all-proxy-models"], "object_permission": {"mcp_servers": ["geo"]}, "allowed_routes": ["/v1/chat/completions"],
        }))
        .await;
    models_only.post(CHAT, &body).await.expect_status(403);
    let nobody = kit
        .gateway
        .anonymous()
        .with_header("authorization", "Bearer sk-nobody");
    nobody.post(CHAT, &body).await.expect_status(401);
    assert_eq!(
        (kit.openai.requests().len(), kit.server.count("tools/call")),
        (0, 0)
    );
    // One tool is granted: no other is offered, and a model that calls it all the same calls a function of the client's.
    let one = kit
        .key(json!({
            "models": ["all-proxy-models"],
            "object_permission": {"mcp_servers": ["geo"], "mcp_tool_permissions": {"geo": ["picture"]}},
        }))
        .await;
    let call = json!({"id": "c", "type": "function", "function": {"name": "geo-weather", "arguments": "{}"}});
    let answer = json!({
        "id": "x", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": [call]}}],
    });
    kit.openai.next(Turn::Answer(200, answer.to_string()));
    let json = one.post(CHAT, &body).await.expect_status(200).json();
    assert_eq!(
        json["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "geo-weather"
    );
    let sent = kit.openai.requests().last().unwrap().json();
    let names: Vec<&str> = sent["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["geo-picture"]);
    assert_eq!(kit.server.count("tools/call"), 0);
}

#[tokio::test]
async fn results_are_faithful_and_failures_are_the_models_to_hear() {
    let kit = kit("").await;
    let own = kit.granted().await;
    let only = |name: &str| json!({"allowed_tools": [name]});
    let last = |provider: &ScriptedProvider| {
        let sent = provider.requests().last().unwrap().json();
        sent["messages"].as_array().unwrap().last().unwrap().clone()
    };
    own.post(MESSAGES, &asked(MESSAGES, "claude", &only("picture")))
        .await
        .expect_status(200);
    let result = last(&kit.anthropic)["content"][0].clone();
    assert_eq!(result["type"], "tool_result", "{result}");
    assert_eq!(result["content"][0]["text"], "a map", "{result}");
    assert_eq!(result["content"][1]["source"]["data"], "aGk=", "{result}");
    own.post(CHAT, &asked(CHAT, "claude", &only("broken")))
        .await
        .expect_status(200);
    let result = last(&kit.anthropic)["content"][0].clone();
    assert_eq!(result["is_error"], true, "{result}");
    assert!(
        result["content"].to_string().contains("no such place"),
        "{result}"
    );
    // A server that fails is a failed call, and no failed request.
    kit.server.once("tools/call", Act::status(500, "out of memory"));
    let body = asked(RESPONSES, "mine", &only("weather"));
    let json = own.post(RESPONSES, &body).await.expect_status(200).json();
    assert_eq!(json["output"][1]["status"], "failed", "{json}");
    assert!(
        json["output"][1]["error"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    assert_eq!(json["output"][2]["type"], "message", "{json}");
}

#[tokio::test]
async fn several_calls_of_one_answer_are_made_at_once_and_a_clients_own_are_the_clients() {
    let kit = kit("").await;
    let own = kit.granted().await;
    let call = |id: &str, name: &str, city: &str| {
        let arguments = json!({"city": city}).to_string();
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    };
    let answer = |calls: Value| {
        let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
        let choices = json!([{"index": 0, "finish_reason": "tool_calls", "message": message}]);
        Turn::Answer(
            200,
            json!({"id": "x", "choices": choices, "usage": null}).to_string(),
        )
    };
    kit.openai.next(answer(json!([
        call("a", "geo-weather", "Oslo"),
        call("b", "geo-weather", "Bergen"),
        call("c", "geo-broken", "Rome"),
    ])));
    own.post(CHAT, &asked(CHAT, "mine", &json!({})))
        .await
        .expect_status(200);
    let sent = kit.openai.requests().last().unwrap().json();
    let results: Vec<(&str, &str)> = sent["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|own| own["role"] == "tool")
        .map(|own| {
            (
                own["tool_call_id"].as_str().unwrap(),
                own["content"].as_str().unwrap_or("several"),
            )
        })
        .collect();
    assert_eq!(
        results,
        [("a", "rain in Oslo"), ("b", "rain in Bergen"), ("c", "several")],
        "{sent}"
    );
    // One of the client's among them: a chat has that one, and the model asks for the others again.
    kit.server.clear();
    let mut body = asked(CHAT, "mine", &json!({}));
    let function = json!({"type": "function", "function": {"name": "own", "parameters": {"type": "object"}}});
    body["tools"].as_array_mut().unwrap().push(function);
    kit.openai.next(answer(json!([
        call("a", "geo-weather", "Oslo"),
        call("b", "own", "x")
    ])));
    let json = own.post(CHAT, &body).await.expect_status(200).json();
    let calls = json["choices"][0]["message"]["tool_calls"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(calls.len(), 1, "{json}");
    assert_eq!(calls[0]["function"]["name"], "own");
    assert_eq!(kit.server.count("tools/call"), 0);
}

#[tokio::test]
async fn rounds_end_and_a_client_that_leaves_ends_them() {
    let kit = kit("").await;
    let own = kit.granted().await;
    let message = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "geo-weather", "arguments": "{\"city\":\"Oslo\"}"}}]});
    let answer =
        json!({"id": "x", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]});
    for _ in 0..20 {
        kit.openai.next(Turn::Answer(200, answer.to_string()));
    }
    let json = own
        .post(CHAT, &asked(CHAT, "mine", &json!({})))
        .await
        .expect_status(200)
        .json();
    assert_eq!(json["choices"][0]["finish_reason"], "stop", "{json}");
    assert_eq!(
        (kit.openai.requests().len(), kit.server.count("tools/call")),
        (11, 10)
    );
    let last = kit.openai.requests().last().unwrap().json();
    assert_eq!(last["tool_choice"], "none", "{last}");
    // The client leaves while a tool works: the call is given up, and nobody is asked again.
    let (before, leaving) = (
        kit.openai.requests().len(),
        own.with_limit(Duration::from_secs(1)),
    );
    kit.server.on("tools/call", Act::Hang);
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .header("x-litellm-call-id", "left")
        .body(bytes::Bytes::from(asked(CHAT, "mine", &json!({})).to_string()))
        .unwrap();
    assert!(leaving.try_send(request).await.is_err());
    let admin = kit.gateway.client();
    eventually("the record says so", Duration::from_secs(10), async || {
        let rows = admin
            .get("/spend/logs?request_id=left")
            .await
            .expect_status(200)
            .json();
        let of = |kind: &str| {
            let mut rows = rows.as_array().unwrap().iter();
            let row = rows.find(|row| row["call_type"] == kind);
            row.map(|row| row["metadata"]["outcome"].clone())
        };
        let (model, tool) = (of("acompletion"), of("call_mcp_tool"));
        model == Some(json!("client_gone")) && tool == Some(json!("client_gone"))
    })
    .await;
    assert_eq!(kit.openai.requests().len(), before + 1);
}

#[tokio::test]
async fn a_call_takes_no_place_beside_its_request_and_a_key_that_is_revoked_calls_no_more() {
    let kit = kit("").await;
    let own = kit
        .key(json!({
            "models": ["all-proxy-models"], "object_permission": {"mcp_servers": ["geo"]}, "max_parallel_requests": 1, "key_alias": "short",
        }))
        .await;
    let body = asked(CHAT, "mine", &json!({}));
    let reply = own.post(CHAT, &body).await.expect_status(200);
    assert_eq!(said(CHAT, &reply), "Hello");
    assert_eq!(kit.server.count("tools/call"), 1);
    // While the first round's answer is on its way, the key is taken away.
    let (says, script) = tokio::sync::mpsc::channel(4);
    kit.openai.next(Turn::LiveJson(script));
    let message = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "geo-weather", "arguments": "{}"}}]});
    let answer =
        json!({"id": "x", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]});
    let asking = tokio::spawn(async move { own.post(CHAT, &body).await });
    eventually("the model is asked", Duration::from_secs(10), async || {
        kit.openai.requests().len() == 3
    })
    .await;
    kit.gateway
        .client()
        .post("/key/delete", &json!({"key_aliases": ["short"]}))
        .await
        .expect_status(200);
    says.send(answer.to_string()).await.unwrap();
    drop(says);
    asking.await.unwrap().expect_status(401);
    assert_eq!(
        (kit.server.count("tools/call"), kit.openai.requests().len()),
        (1, 3)
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_reference_is_said_and_nobody_is_asked() {
    let kit = kit("").await;
    let own = kit.granted().await;
    for (more, status) in [
        (json!({"server_url": "litellm_proxy/mcp/nothing"}), 403),
        (json!({"server_url": "litellm_proxy/other"}), 400),
        (json!({"require_approval": "perhaps"}), 400),
        (json!({"allowed_tool": []}), 400),
        (json!({"headers": {"authorization": "Bearer x"}}), 400),
    ] {
        for path in [CHAT, MESSAGES, RESPONSES] {
            let reply = own.post(path, &asked(path, "mine", &more)).await;
            assert_eq!(reply.status, status, "{path} {more}: {}", reply.text());
            assert!(reply.json()["error"]["message"].is_string(), "{}", reply.text());
        }
    }
    let mut body = asked(RESPONSES, "mine", &json!({}));
    body["previous_response_id"] = "resp_1".into();
    own.post(RESPONSES, &body).await.expect_status(400);
    kit.server.on("tools/list", Act::status(500, "no"));
    assert_eq!(kit.openai.requests().len(), 0);
    // The host that the client asks is the gateway, too; any other is the provider's own affair.
    let at_host = json!({"server_url": format!("http://127.0.0.1:{}/mcp/geo", kit.gateway.port())});
    kit.server.behave();
    let reply = own
        .post(CHAT, &asked(CHAT, "mine", &at_host))
        .await
        .expect_status(200);
    assert_eq!(said(CHAT, &reply), "Hello");
    assert_eq!(kit.server.count("tools/call"), 1);
}

#[tokio::test]
async fn openais_python_sdk_uses_tools_of_the_gateways_servers() {
    let kit = kit("").await;
    let own = json!({"models": ["all-proxy-models"], "object_permission": {"mcp_servers": ["geo"]}});
    let made = kit.gateway.client().post("/key/generate", &own).await;
    let made = made.expect_status(200).json();
    let Some(python) = trunkline_testkit::tools::python("openai") else {
        return;
    };
    let mut command = Command::new(python);
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/python/client_mcp_tools.py"
        ))
        .env("OPENAI_BASE_URL", format!("{}/v1", kit.gateway.url()))
        .env("OPENAI_API_KEY", made["key"].as_str().unwrap());
    // Not on the runtime: the providers run on it.
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = ["response.mcp_call.in_progress", "response.mcp_call.completed"];
    let of = |tokens: u64| {
        json!({
            "response": [["mcp_list_tools", "mcp_call", "message"], "geo-weather", "rain in Oslo", "Hello", tokens],
            "stream": [events, "Hello", true],
            "approved": [
                "mcp_approval_request", {"city": "Oslo"}, ["mcp_list_tools", "mcp_call", "message"], "Hello",
            ],
            "chat": ["Hello", "stop", "Hello", 0],
        })
    };
    assert_eq!(report, json!({"mine": of(16), "claude": of(40)}));
}

#[tokio::test]
async fn what_goes_wrong_within_a_stream_is_told_and_what_was_heard_of_it_is_charged() {
    let kit = kit("").await;
    let own = kit.granted().await;
    let error = r#"data: {"error":{"message":"overloaded","type":"server_error"}}"#;
    for path in [CHAT, MESSAGES, RESPONSES] {
        for turn in [
            Turn::Stream(vec![format!("{error}\n\n")]),
            Turn::Broken(Vec::new()),
            Turn::Stream(vec!["data: {\"half\n\n".to_owned()]),
        ] {
            kit.openai.next(turn);
            let mut body = asked(path, "mine", &json!({}));
            body["stream"] = true.into();
            let text = own.post(path, &body).await.text();
            assert!(text.contains("\"error\""), "{path}: {text}");
            assert!(
                !text.contains("[DONE]") && !text.contains("response.completed"),
                "{text}"
            );
        }
    }
    // Who leaves within a round pays for what came of it.
    let (says, script) = tokio::sync::mpsc::channel(8);
    kit.openai.next(Turn::Live(script));
    let piece = |delta: Value| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": null}]);
        format!("data: {}\n\n", json!({"id": "x", "choices": choices}))
    };
    for text in ["It ", "will ", "rain"] {
        says.send(piece(json!({ "content": text }))).await.unwrap();
    }
    let mut body = asked(CHAT, "mine", &json!({}));
    body["stream"] = true.into();
    let request = http::Request::post(CHAT)
        .header("content-type", "application/json")
        .header("x-litellm-call-id", "left")
        .body(bytes::Bytes::from(body.to_string()))
        .unwrap();
    let mut chunks = own.open(request).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("rain") {
        let (_, bytes) = chunks.next().await.unwrap().unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
    drop(chunks);
    let admin = kit.gateway.client();
    let mut row = Value::Null;
    eventually("the record is there", Duration::from_secs(10), async || {
        let rows = admin
            .get("/spend/logs?request_id=left")
            .await
            .expect_status(200)
            .json();
        let mut rows = rows.as_array().unwrap().iter();
        row = rows
            .find(|row| row["call_type"] == "acompletion")
            .cloned()
            .unwrap_or_default();
        !row.is_null()
    })
    .await;
    assert_eq!(row["metadata"]["outcome"], "client_gone", "{row}");
    assert_eq!(row["completion_tokens"], 3, "{row}");
    assert!(row["spend"].as_f64().is_some_and(|spend| spend > 0.0), "{row}");
}

#[tokio::test]
async fn the_time_of_a_request_is_for_all_of_its_rounds() {
    let kit = kit("").await;
    let own = kit.granted().await.with_header("x-litellm-timeout", "1");
    kit.server
        .once("tools/call", Act::Delay(Duration::from_millis(1_500)));
    let reply = own
        .post(CHAT, &asked(CHAT, "mine", &json!({})))
        .await
        .expect_status(408);
    assert_eq!(kit.openai.requests().len(), 1, "{}", reply.text());
}

#[tokio::test]
async fn a_server_that_cannot_be_listed_beside_one_that_can_is_said() {
    let kit = kit("  dead:\n    url: http://127.0.0.1:9/mcp\n").await;
    let own = kit
        .key(json!({"models": ["all-proxy-models"], "object_permission": {"mcp_servers": ["geo", "dead"]}}))
        .await;
    let all = json!({"server_url": "litellm_proxy/mcp"});
    let reply = own.post(RESPONSES, &asked(RESPONSES, "mine", &all)).await;
    let json = reply.expect_status(200).json();
    let listed = &json["output"][0];
    assert_eq!(listed["tools"].as_array().unwrap().len(), 3, "{json}");
    assert!(
        listed["error"].as_str().is_some_and(|text| text.contains("dead")),
        "{json}"
    );
    // Nothing at all is an error.
    let dead = json!({"server_url": "litellm_proxy/mcp/dead"});
    let reply = own.post(RESPONSES, &asked(RESPONSES, "mine", &dead)).await;
    assert_eq!(reply.status, 424, "{}", reply.text());
}

#[tokio::test]
async fn nothing_goes_on_from_an_answer_that_nobody_keeps() {
    let kit = kit("").await;
    let own = kit.granted().await;
    let plain = json!({"model": "mine", "input": "Hi"});
    let stored = own.post(RESPONSES, &plain).await.expect_status(200).json();
    kit.openai.next(Turn::Answer(
        200,
        json!({"id": "x", "object": "chat.completion", "model": "gpt-x", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "rain"}, "finish_reason": "stop"}]})
        .to_string(),
    ));
    let body = asked(RESPONSES, "mine", &json!({}));
    let rounds = own.post(RESPONSES, &body).await.expect_status(200).json();
    let sent = kit.openai.requests().len();
    // Its provider has the one and not the tools; nobody has the other.
    let mut with_tools = body.clone();
    with_tools["previous_response_id"] = stored["id"].clone();
    let mut after = plain.clone();
    after["previous_response_id"] = rounds["id"].clone();
    for body in [&with_tools, &after] {
        let reply = own.post(RESPONSES, body).await.expect_status(400).json();
        assert_eq!(reply["error"]["param"], "previous_response_id", "{reply}");
    }
    assert_eq!(kit.openai.requests().len(), sent, "nobody is asked");
}
