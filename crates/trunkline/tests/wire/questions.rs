//! B59: what a server asks in the middle of a request, in the four cells. The question reaches the client in the client's
//! era, the answer the server in the server's, and the tool runs once, however often the client is asked.

use std::time::Duration;

use serde_json::{Map, Value, json};
use trunkline_testkit::{EventStream, McpClient, TestGateway, eventually};

use crate::servers::{Asking, Plan, Question, form, page, roots, sampling};
use crate::support::{Era, Modern, PATIENCE, error, gateway_of, result};

/// All that a client can be asked.
fn everything() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}})
}

/// What the clients here answer.
fn answer(method: &str, params: &Value) -> Value {
    match (method, params["mode"].as_str()) {
        ("elicitation/create", Some("url")) => json!({"action": "accept"}),
        ("elicitation/create", _) => json!({"action": "accept", "content": {"name": "Ann"}}),
        ("sampling/createMessage", _) => {
            json!({"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"})
        }
        ("roots/list", _) => json!({"roots": [{"uri": "file:///home", "name": "home"}]}),
        _ => panic!("asked for {method}"),
    }
}

fn params_of(method: &str) -> Value {
    match method {
        "resources/read" => json!({"uri": "memo://ask"}),
        _ => json!({"name": "ask", "arguments": {"x": "1"}}),
    }
}

/// The text in a result of one of the three methods.
#[track_caller]
fn text(result: &Value) -> String {
    let block = ["/content/0/text", "/messages/0/content/text", "/contents/0/text"];
    let found = block.iter().find_map(|at| result.pointer(at));
    found
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text: {result}"))
        .to_owned()
}

async fn legacy_client(gateway: &TestGateway, capabilities: Value) -> McpClient {
    let mut client = gateway
        .mcp_at("/asks/mcp")
        .with_protocol("2025-11-25")
        .with_capabilities(capabilities);
    client.initialize().await;
    client
}

async fn post_answer(client: &McpClient, id: &Value, outcome: &Value) {
    let mut message = outcome.clone();
    message["jsonrpc"] = json!("2.0");
    message["id"] = id.clone();
    let reply = client.send_message(message.to_string()).await.unwrap();
    assert_eq!(reply.status, 202, "{}", reply.everything());
}

/// The next message; a priming event is none.
async fn next(stream: &mut EventStream) -> Value {
    loop {
        let message = stream.expect_next(PATIENCE).await;
        if message.is_object() {
            return message;
        }
    }
}

/// Reads on, answering, to the response: what was asked, and the response.
async fn read_on(client: &McpClient, stream: &mut EventStream) -> (Vec<(String, Value)>, Value) {
    let mut asked = Vec::new();
    loop {
        let message = next(stream).await;
        match (message["method"].as_str(), message.get("id")) {
            (Some(method), Some(id)) => {
                let mut params = message["params"].clone();
                let outcome = json!({"result": answer(method, &params)});
                post_answer(client, id, &outcome).await;
                if let Some(params) = params.as_object_mut() {
                    let has_id = params.remove("elicitationId").is_some();
                    assert_eq!(has_id, params.get("mode") == Some(&json!("url")), "{message}");
                }
                asked.push((method.to_owned(), params));
            }
            (Some(_), None) => {}
            (None, _) => return (asked, message),
        }
    }
}

/// Calls until there is a result that is one: what was asked, round by round, and the result.
async fn modern_call(client: &Modern, method: &str) -> (Vec<(String, Value)>, Value) {
    let mut params = params_of(method);
    let mut asked = Vec::new();
    loop {
        let result = result(&client.ask(method, &params).await);
        if result["resultType"] != "input_required" {
            assert_eq!(result["resultType"], "complete", "{result}");
            return (asked, result);
        }
        let mut responses = Map::new();
        for (key, request) in result["inputRequests"].as_object().unwrap() {
            let method = request["method"].as_str().unwrap();
            responses.insert(key.clone(), answer(method, &request["params"]));
            asked.push((method.to_owned(), request["params"].clone()));
        }
        params = params_of(method);
        params["inputResponses"] = Value::Object(responses);
        params["requestState"] = result["requestState"].clone();
    }
}

async fn rig(server: Era, plan: Plan) -> (Asking, TestGateway) {
    let asking = Asking::start(server, plan).await;
    let gateway = gateway_of(&[("asks", &asking.server, server)], "").await;
    (asking, gateway)
}

fn rounds(rounds: Vec<Vec<Question>>) -> Plan {
    Plan {
        rounds,
        ..Plan::default()
    }
}

#[tokio::test]
async fn b59_everything_is_asked_and_answered_in_every_cell_and_the_tool_runs_once() {
    let plan = rounds(vec![vec![form(), sampling()], vec![roots()], vec![page()]]);
    let questions: Vec<Question> = plan.rounds.concat();
    for server in Era::BOTH {
        let (asking, gateway) = rig(server, plan.clone()).await;
        let mut expected = Map::new();
        for own in &questions {
            expected.insert(own.key.to_owned(), answer(own.method, &own.params));
        }
        for (count, (client, method)) in [
            (Era::Legacy, "tools/call"),
            (Era::Modern, "tools/call"),
            (Era::Legacy, "prompts/get"),
            (Era::Modern, "prompts/get"),
            (Era::Legacy, "resources/read"),
            (Era::Modern, "resources/read"),
        ]
        .into_iter()
        .enumerate()
        {
            let at = format!("{client:?} client, {server:?} server, {method}");
            let (asked, result) = match client {
                Era::Legacy => {
                    let mut client = legacy_client(&gateway, everything()).await;
                    let mut stream = client.open(method, &params_of(method)).await;
                    let (asked, response) = read_on(&client, &mut stream).await;
                    assert!(response["result"].get("resultType").is_none(), "{at}: {response}");
                    (asked, response["result"].clone())
                }
                Era::Modern => {
                    let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&everything());
                    modern_call(&client, method).await
                }
            };
            let own: Vec<(String, Value)> = questions
                .iter()
                .map(|own| (own.method.to_owned(), own.params.clone()))
                .collect();
            // Those of one round come in any order.
            let sorted = |mut asked: Vec<(String, Value)>| {
                asked.sort_by_key(|(method, params)| format!("{method} {params}"));
                asked
            };
            assert_eq!(sorted(asked), sorted(own), "{at}");
            let answers: Value = serde_json::from_str(&text(&result)).unwrap();
            assert_eq!(answers, Value::Object(expected.clone()), "{at}");
            assert_eq!(asking.done(), count + 1, "{at}: the side effect");
            if server == Era::Legacy {
                assert_eq!(asking.begun(), count + 1, "{at}: one request to the server");
            }
        }
        assert_eq!(asking.cancelled(), 0);
    }
}

#[tokio::test]
async fn b59_declining_is_an_answer_and_an_error_ends_well() {
    for server in Era::BOTH {
        let (asking, gateway) = rig(server, rounds(vec![vec![form()], vec![sampling()]])).await;
        // The client of the old era declines the one, and fails at the other.
        let mut client = legacy_client(&gateway, everything()).await;
        let mut stream = client.open("tools/call", &params_of("tools/call")).await;
        let question = next(&mut stream).await;
        post_answer(
            &client,
            &question["id"],
            &json!({"result": {"action": "decline"}}),
        )
        .await;
        let question = next(&mut stream).await;
        assert_eq!(question["method"], "sampling/createMessage");
        post_answer(
            &client,
            &question["id"],
            &json!({"error": {"code": -1, "message": "no model"}}),
        )
        .await;
        let response = next(&mut stream).await;
        let said = text(&response["result"]);
        match server {
            // It is told the error and goes its way.
            Era::Legacy => {
                let answers: Value = serde_json::from_str(&said).unwrap();
                assert_eq!(answers["form"], json!({"action": "decline"}));
                assert_eq!(answers["sampling"]["message"], "no model");
                assert_eq!(asking.done(), 1);
            }
            // It cannot be told one, so the call ends with a sentence.
            Era::Modern => {
                assert_eq!(response["result"]["isError"], true, "{response}");
                assert!(said.contains("no model"), "{said}");
                assert_eq!(asking.done(), 0);
            }
        }
        // An elicitation that fails is one that was cancelled.
        let (asking, gateway) = rig(server, rounds(vec![vec![form()]])).await;
        let mut client = legacy_client(&gateway, everything()).await;
        let mut stream = client.open("tools/call", &params_of("tools/call")).await;
        let question = next(&mut stream).await;
        post_answer(
            &client,
            &question["id"],
            &json!({"error": {"code": -1, "message": "closed"}}),
        )
        .await;
        let response = next(&mut stream).await;
        let answers: Value = serde_json::from_str(&text(&response["result"])).unwrap();
        match server {
            Era::Legacy => assert_eq!(answers["form"]["message"], "closed"),
            Era::Modern => assert_eq!(answers["form"], json!({"action": "cancel"})),
        }
        assert_eq!(asking.done(), 1);
    }
}

#[tokio::test]
async fn b59_who_cannot_be_asked_is_not_and_the_server_hears_at_once() {
    // A server of the old era is refused, and finishes its way.
    let (asking, gateway) = rig(Era::Legacy, rounds(vec![vec![form()]])).await;
    for client in Era::BOTH {
        let result = match client {
            Era::Legacy => {
                let mut client = legacy_client(&gateway, json!({"sampling": {}})).await;
                let reply = client.request("tools/call", &params_of("tools/call")).await;
                reply.result()
            }
            Era::Modern => {
                let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&json!({"sampling": {}}));
                result(&client.ask("tools/call", &params_of("tools/call")).await)
            }
        };
        let answers: Value = serde_json::from_str(&text(&result)).unwrap();
        assert_eq!(answers["form"]["code"], -32601, "{client:?}: {answers}");
    }
    assert_eq!(asking.done(), 2);
    for hello in asking.heard_of("initialize") {
        assert!(
            hello["params"]["capabilities"].get("elicitation").is_none(),
            "{hello}"
        );
    }

    // A server of the new era asks all the same: half a round is of no use, so nothing is asked.
    let (asking, gateway) = rig(Era::Modern, rounds(vec![vec![sampling(), form()]])).await;
    let mut client = legacy_client(&gateway, json!({"sampling": {}})).await;
    for (method, is_result) in [
        ("tools/call", true),
        ("prompts/get", false),
        ("resources/read", false),
    ] {
        let reply = client.request(method, &params_of(method)).await;
        assert_eq!(reply.notifications().len(), 0, "{}", reply.everything());
        let words = if is_result {
            assert_eq!(reply.result()["isError"], true);
            text(&reply.result())
        } else {
            assert_eq!(reply.error().code, -32603);
            reply.error().message
        };
        assert!(words.contains("elicitation/create"), "{words}");
    }
    // Pages are a capability of their own.
    let (asking_for_page, gateway) = rig(Era::Modern, rounds(vec![vec![page()]])).await;
    let mut client = legacy_client(&gateway, json!({"elicitation": {}})).await;
    let reply = client.request("tools/call", &params_of("tools/call")).await;
    assert_eq!(reply.result()["isError"], true, "{}", reply.everything());
    assert_eq!(asking.done() + asking_for_page.done(), 0);
}

/// The first question of a call that waits, as the client of the new era has it.
async fn parked(client: &Modern) -> Value {
    let result = result(&client.ask("tools/call", &params_of("tools/call")).await);
    assert_eq!(result["resultType"], "input_required", "{result}");
    result
}

fn retry(question: &Value) -> Value {
    let mut params = params_of("tools/call");
    let mut responses = Map::new();
    for (key, request) in question["inputRequests"].as_object().unwrap() {
        responses.insert(
            key.clone(),
            answer(request["method"].as_str().unwrap(), &request["params"]),
        );
    }
    params["inputResponses"] = Value::Object(responses);
    params["requestState"] = question["requestState"].clone();
    params
}

#[tokio::test]
async fn s22_a_request_state_is_good_once_and_for_its_own_call() {
    let (asking, gateway) = rig(Era::Legacy, rounds(vec![vec![form()]])).await;
    let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&everything());

    // One after the other.
    let question = parked(&client).await;
    let again = retry(&question);
    result(&client.ask("tools/call", &again).await);
    let refused = error(&client.ask("tools/call", &again).await);
    assert_eq!(refused["code"], -32602, "{refused}");
    assert!(
        refused["message"].as_str().unwrap().contains("requestState"),
        "{refused}"
    );
    assert_eq!(asking.done(), 1);

    // At the same time.
    let question = parked(&client).await;
    let again = retry(&question);
    let (a, b, c) = tokio::join!(
        client.ask("tools/call", &again),
        client.ask("tools/call", &again),
        client.ask("tools/call", &again)
    );
    let good = [&a, &b, &c]
        .iter()
        .filter(|reply| crate::support::outcome(reply).is_ok())
        .count();
    assert_eq!((good, asking.done()), (1, 2));

    // With other arguments, for another method, after a change, and under other capabilities.
    let question = parked(&client).await;
    for change in ["arguments", "method", "state"] {
        let mut other = retry(&question);
        let mut method = "tools/call";
        match change {
            "arguments" => other["arguments"]["x"] = json!("2"),
            "method" => method = "prompts/get",
            _ => {
                let state = other["requestState"].as_str().unwrap().to_owned();
                other["requestState"] = json!(state[..state.len() - 2]);
            }
        }
        let refused = error(&client.ask(method, &other).await);
        assert_eq!(refused["code"], -32602, "{change}: {refused}");
    }
    // None of which used it up. Members in another order are the same call; an answer that is missing is asked for again.
    let mut without = retry(&question);
    without["inputResponses"] = json!({"nobody's": {"action": "accept"}});
    let asked_again = result(&client.ask("tools/call", &without).await);
    assert_eq!(asked_again["resultType"], "input_required", "{asked_again}");
    assert_eq!(asked_again["inputRequests"], question["inputRequests"]);
    let done = result(&client.ask("tools/call", &retry(&asked_again)).await);
    assert!(text(&done).contains("Ann"), "{done}");
    assert_eq!((asking.begun(), asking.done(), asking.cancelled()), (3, 3, 0));
}

#[tokio::test]
async fn s21_a_request_state_is_good_on_its_route_and_while_the_call_is_allowed() {
    let (asking, gateway) = rig(Era::Legacy, rounds(vec![vec![form()]])).await;
    let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&everything());
    let question = parked(&client).await;
    let elsewhere = Modern::at(&gateway, "/mcp").with_capabilities(&everything());
    let refused = error(&elsewhere.ask("tools/call", &retry(&question)).await);
    assert_eq!(refused["code"], -32602, "{refused}");
    // Which did not use it up.
    let done = result(&client.ask("tools/call", &retry(&question)).await);
    assert!(text(&done).contains("Ann"), "{done}");
    assert_eq!((asking.begun(), asking.done()), (1, 1));
}

#[tokio::test]
async fn b59_a_client_that_leaves_in_mid_question() {
    // 2025-11-25: leaving is not cancelling. The answer is posted, and what came of it is read on.
    for server in Era::BOTH {
        let (asking, gateway) = rig(server, rounds(vec![vec![form()]])).await;
        let mut client = legacy_client(&gateway, everything()).await;
        let message =
            json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params_of("tools/call")});
        let mut chunks = client
            .http()
            .open(client.post(message.to_string()))
            .await
            .unwrap();
        let mut read = String::new();
        while !read.contains("elicitation/create") {
            let (_, bytes) = chunks.next().await.unwrap().unwrap();
            read.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        let last_id = read
            .lines()
            .filter_map(|line| line.strip_prefix("id: "))
            .next_back();
        let last_id = last_id
            .unwrap_or_else(|| panic!("no event id: {read}"))
            .to_owned();
        let question = read
            .lines()
            .rfind(|line| line.contains("elicitation/create"))
            .unwrap();
        let question: Value = serde_json::from_str(question.strip_prefix("data: ").unwrap()).unwrap();
        drop(chunks);
        post_answer(
            &client,
            &question["id"],
            &json!({"result": answer("elicitation/create", &json!({}))}),
        )
        .await;
        client = client.with_header("last-event-id", &last_id);
        let mut stream = client.get_stream().await;
        let response = next(&mut stream).await;
        assert!(
            text(&response["result"]).contains("Ann"),
            "{server:?}: {response}"
        );
        assert_eq!((asking.done(), asking.cancelled()), (1, 0), "{server:?}");
    }

    // 2026-07-28: leaving is cancelling, before the question and after the answer.
    let plan = Plan {
        holds: true,
        ..rounds(vec![vec![form()]])
    };
    let (asking, gateway) = rig(Era::Legacy, plan).await;
    let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&everything());
    let question = parked(&client).await;
    let leaving = client
        .http
        .try_send(client.request("tools/call", &retry(&question)));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), leaving)
            .await
            .is_err()
    );
    eventually("the call is off", PATIENCE, async || asking.cancelled() == 1).await;
    assert_eq!(asking.done(), 0);
    // Who stays gets the answer, when there is one.
    let question = parked(&client).await;
    let staying = tokio::spawn({
        let client = client.clone();
        async move { client.ask("tools/call", &retry(&question)).await }
    });
    eventually("it has gone on", PATIENCE, async || {
        asking.go_on();
        asking.done() == 1
    })
    .await;
    result(&staying.await.unwrap());
}

#[tokio::test]
async fn b59_questions_without_end_are_ended() {
    let plan = Plan {
        endless: true,
        ..rounds(vec![vec![form()]])
    };
    // Asked by the gateway on the client's stream.
    let (asking, gateway) = rig(Era::Modern, plan.clone()).await;
    let mut client = legacy_client(&gateway, everything()).await;
    let mut stream = client.open("tools/call", &params_of("tools/call")).await;
    let (asked, response) = read_on(&client, &mut stream).await;
    assert_eq!(
        (asked.len(), &response["result"]["isError"]),
        (8, &json!(true)),
        "{response}"
    );
    assert_eq!(asking.done(), 0);

    // Asked by results.
    let (asking, gateway) = rig(Era::Legacy, plan).await;
    let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&everything());
    let mut question = parked(&client).await;
    let mut times = 1;
    let refused = loop {
        let reply = client.ask("tools/call", &retry(&question)).await;
        match crate::support::outcome(&reply) {
            Ok(_) => question = result(&reply),
            Err(_) => break error(&reply),
        }
        times += 1;
    };
    assert_eq!(times, 10);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("more than 10 times"),
        "{refused}"
    );
    eventually("the call is off", PATIENCE, async || asking.cancelled() == 1).await;
    assert_eq!((asking.begun(), asking.done()), (1, 0));
}

#[tokio::test]
async fn b59_who_does_not_answer_is_not_waited_for() {
    for (server, client) in [
        (Era::Legacy, Era::Modern),
        (Era::Modern, Era::Legacy),
        (Era::Legacy, Era::Legacy),
    ] {
        let at = format!("{client:?} client, {server:?} server");
        let asking = Asking::start(server, rounds(vec![vec![form()]])).await;
        let general = "  mcp_answer_timeout_ms: 1000\n  mcp_call_timeout_ms: 1000\n";
        let gateway = gateway_of(&[("asks", &asking.server, server)], general).await;
        match client {
            // The call is off before the client comes back.
            Era::Modern => {
                let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&everything());
                let question = parked(&client).await;
                eventually("the call is off", PATIENCE, async || asking.cancelled() == 1).await;
                let refused = error(&client.ask("tools/call", &retry(&question)).await);
                assert_eq!(refused["code"], -32602, "{at}: {refused}");
            }
            Era::Legacy => {
                let mut client = legacy_client(&gateway, everything()).await;
                let mut stream = client.open("tools/call", &params_of("tools/call")).await;
                let question = next(&mut stream).await;
                let response = next(&mut stream).await;
                assert_eq!(response["id"], 2, "{at}: {response}");
                let words = response.to_string();
                assert!(words.contains("time"), "{at}: {words}");
                // Too late.
                post_answer(&client, &question["id"], &json!({"result": {"action": "accept"}})).await;
            }
        }
        assert_eq!(asking.done(), 0, "{at}");
    }
}

#[tokio::test]
async fn b59_rounds_that_ask_nothing_are_gone_through() {
    let plan = Plan {
        empty_rounds: 2,
        ..rounds(vec![vec![form()]])
    };
    let (asking, gateway) = rig(Era::Modern, plan).await;
    let mut client = legacy_client(&gateway, everything()).await;
    let mut stream = client.open("tools/call", &params_of("tools/call")).await;
    let (asked, response) = read_on(&client, &mut stream).await;
    assert_eq!(asked.len(), 1);
    assert!(text(&response["result"]).contains("Ann"), "{response}");
    assert_eq!(asking.done(), 1);
}

#[tokio::test]
async fn b59_pages_that_have_to_be_visited_first() {
    let elicitations = json!([
        {"mode": "url", "elicitationId": "e-1", "url": "https://example.com/in", "message": "sign in"},
        {"mode": "url", "elicitationId": "e-2", "url": "https://example.com/too", "message": "and here"},
    ]);
    let error_object =
        json!({"code": -32042, "message": "sign in first", "data": {"elicitations": elicitations}});
    let plan = || Plan {
        first_error: Some(error_object.clone()),
        before: vec![
            json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e-1"}}),
        ],
        ..Plan::default()
    };
    // A client of the new era is asked by a result, without ids that mean nothing there; its next request is the call anew.
    let (asking, gateway) = rig(Era::Legacy, plan()).await;
    let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&everything());
    let question = result(&client.ask("tools/call", &params_of("tools/call")).await);
    assert_eq!(question["resultType"], "input_required", "{question}");
    let requests = question["inputRequests"].as_object().unwrap();
    assert_eq!(requests.len(), 2);
    assert!(!question.to_string().contains("elicitationId"), "{question}");
    let reply = client.ask("tools/call", &retry(&question)).await;
    assert_eq!(result(&reply)["resultType"], "complete");
    assert!(
        !reply.text().contains("notifications/elicitation/complete"),
        "the new era has no such notification: {}",
        reply.text()
    );
    let sent = asking.heard_of("tools/call");
    assert_eq!((asking.begun(), asking.done()), (2, 1));
    assert_eq!(
        sent[0]["params"], sent[1]["params"],
        "what only the new era has is not sent"
    );

    // One that cannot visit pages is told so.
    let (_asking, gateway) = rig(Era::Legacy, plan()).await;
    let client = Modern::at(&gateway, "/asks/mcp").with_capabilities(&json!({"elicitation": {}}));
    let reply = client
        .ask("tools/call", &params_of("tools/call"))
        .await
        .expect_status(400);
    let refused = error(&reply);
    assert_eq!(refused["code"], -32021, "{refused}");
    assert_eq!(
        refused["data"]["requiredCapabilities"],
        json!({"elicitation": {"url": {}}})
    );

    // A client of the old era gets both as they are.
    let (_asking, gateway) = rig(Era::Legacy, plan()).await;
    let mut client = legacy_client(&gateway, everything()).await;
    let refused = client
        .request("tools/call", &params_of("tools/call"))
        .await
        .error();
    assert_eq!(
        (refused.code, &refused.data["elicitations"]),
        (-32042, &elicitations)
    );
    let reply = client.request("tools/call", &params_of("tools/call")).await;
    let told = reply.notifications();
    assert_eq!(told.len(), 1, "{}", reply.everything());
    assert_eq!(told[0].message["params"]["elicitationId"], "e-1");
}
