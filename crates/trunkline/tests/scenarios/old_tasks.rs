//! Tasks of 2025-11-25, and for clients that know none.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, McpClient, ScriptedUpstream, TestGateway, ToolAnswer, UpstreamBuilder, eventually,
};

use crate::support::{Config, PATIENCE, array, listed, text};
use crate::tasks::{Client, EXTENSION, OWN, last, with};

const RELATED: &str = "io.modelcontextprotocol/related-task";

fn old_state(status: &str) -> Value {
    json!({
        "taskId": OWN, "status": status, "createdAt": "2025-11-25T00:00:00Z", "lastUpdatedAt": "2025-11-25T00:00:00Z",
        "ttl": null, "x": 1,
    })
}

fn about(id: &str) -> Value {
    json!({RELATED: {"taskId": id}})
}

/// A server whose tool runs as a task only.
fn old_server(name: &str) -> UpstreamBuilder {
    let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    let tool = json!({
        "name": "work", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"},
    });
    ScriptedUpstream::builder()
        .initialize_member("capabilities", json!({"tools": {}, "tasks": tasks}))
        .tool_fn(&tool, |_| {
            ToolAnswer::Result(json!({"task": old_state("working")}))
        })
        .on("tasks/get", Act::Result(old_state("completed").to_string()))
        .on("tasks/cancel", Act::Result(old_state("cancelled").to_string()))
        .on(
            "tasks/result",
            Act::Result(
                json!({"content": [{"type": "text", "text": name}], "isError": false, "_meta": about(OWN)})
                    .to_string(),
            ),
        )
        .on(
            "tasks/list",
            Act::Result(json!({"tasks": [old_state("working")]}).to_string()),
        )
}

async fn old_servers() -> (TestGateway, ScriptedUpstream, ScriptedUpstream) {
    let (one, two) = (old_server("one").start().await, old_server("two").start().await);
    let gateway = Config::of(&[("one", &one), ("two", &two)]).start().await;
    listed(&gateway, "one").await;
    listed(&gateway, "two").await;
    (gateway, one, two)
}

async fn old_client(gateway: &TestGateway) -> McpClient {
    let mut client = gateway
        .mcp()
        .with_protocol("2025-11-25")
        .with_capabilities(json!({"elicitation": {}}));
    client.initialize().await;
    client
}

async fn old_task(client: &mut McpClient, tool: &str) -> String {
    let call =
        json!({"name": tool, "arguments": {}, "task": {"ttl": 60000}, "_meta": {"progressToken": "mine"}});
    let made = client.request("tools/call", &call).await.result();
    text(&made["task"]["taskId"]).to_owned()
}

#[tokio::test]
async fn b62_tasks_of_the_old_era_lead_back_to_their_servers() {
    let (gateway, one, two) = old_servers().await;
    let mut client = gateway.mcp().with_protocol("2025-11-25");
    let capabilities = client.initialize().await.result()["capabilities"].clone();
    assert_eq!(
        capabilities["tasks"],
        json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}})
    );
    let mut older = gateway.mcp().with_protocol("2025-06-18");
    let capabilities = older.initialize().await.result()["capabilities"].clone();
    assert!(capabilities.get("tasks").is_none(), "{capabilities}");

    let call = json!({"name": "two-work", "arguments": {}, "task": {"ttl": 60000}});
    let made = client.request("tools/call", &call).await.result();
    let id = text(&made["task"]["taskId"]).to_owned();
    assert_ne!(id, OWN);
    assert_eq!(
        made,
        json!({"task": with(old_state("working"), json!({"taskId": id}))})
    );
    let (params, _) = last(&two, "tools/call");
    assert_eq!(params["task"], json!({"ttl": 60000}));

    let of = json!({"taskId": id});
    let got = client.request("tasks/get", &of).await.result();
    assert_eq!(got, with(old_state("completed"), json!({"taskId": id})));
    let done = client.request("tasks/result", &of).await.result();
    assert_eq!(done["content"][0]["text"], "two");
    assert_eq!(done["_meta"], about(&id));
    let cancelled = client.request("tasks/cancel", &of).await.result();
    assert_eq!(cancelled["taskId"], id);
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!((one.count(method), two.count(method)), (0, 1), "{method}");
        assert_eq!(last(&two, method).0["taskId"], OWN);
    }
    // All on one upstream session, where the server keeps the task.
    let sessions: Vec<Option<String>> = two
        .requests()
        .into_iter()
        .filter(|request| request.is("tools/call") || request.is("tasks/result"))
        .map(|request| request.session)
        .collect();
    assert_eq!(sessions[0], sessions[1]);
    // `update` is of the other era.
    let unknown = client.request("tasks/update", &of).await.error();
    assert_eq!(unknown.code, -32601);
    let foreign = client
        .request("tasks/result", &json!({"taskId": OWN}))
        .await
        .error();
    assert_eq!(
        (foreign.code, &*foreign.message),
        (-32602, "Failed to retrieve task: Task not found")
    );
}

#[tokio::test]
async fn b62_the_list_of_tasks_is_that_of_all_servers_page_by_page() {
    let (gateway, one, two) = old_servers().await;
    let mut client = old_client(&gateway).await;
    let id = old_task(&mut client, "two-work").await;
    one.once(
        "tasks/list",
        Act::Result(json!({"tasks": [old_state("working")], "nextCursor": "second"}).to_string()),
    );
    let page = client.request("tasks/list", &Value::Null).await.result();
    let ids: Vec<&str> = array(&page["tasks"])
        .iter()
        .map(|task| text(&task["taskId"]))
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[1], id, "the same task has the same id everywhere");
    assert_eq!(page["tasks"][0]["x"], 1);
    let cursor = &page["nextCursor"];
    let rest = client
        .request("tasks/list", &json!({"cursor": cursor}))
        .await
        .result();
    assert_eq!(array(&rest["tasks"]).len(), 1);
    assert!(rest.get("nextCursor").is_none());
    assert_eq!((one.count("tasks/list"), two.count("tasks/list")), (2, 1));
    assert_eq!(last(&one, "tasks/list").0["cursor"], "second");
    let invalid = client
        .request("tasks/list", &json!({"cursor": "second"}))
        .await
        .error();
    assert_eq!(invalid.code, -32602);
    // A server that cannot say is named; the others' tasks are there.
    one.on("tasks/list", Act::status(500, "no"));
    let page = client.request("tasks/list", &Value::Null).await.result();
    assert_eq!(array(&page["tasks"]).len(), 1);
    assert_eq!(
        page["_meta"]["litellm.ai/server_outcomes"]["one"]["status"],
        "upstream_error"
    );
    two.on("tasks/list", Act::status(500, "no"));
    assert_eq!(
        client.request("tasks/list", &Value::Null).await.error().code,
        -32603
    );
    // Where no server has such a list there is none.
    let plain = ScriptedUpstream::start().await;
    let gateway = Config::of(&[("plain", &plain)]).start().await;
    listed(&gateway, "plain").await;
    let mut client = old_client(&gateway).await;
    assert_eq!(
        client.request("tasks/list", &Value::Null).await.error().code,
        -32601
    );
}

#[tokio::test]
async fn b62_a_server_that_fails_in_the_middle_of_its_list_is_named_and_asked_again() {
    const OUTCOMES: &str = "litellm.ai/server_outcomes";
    let (gateway, one, two) = old_servers().await;
    let mut client = old_client(&gateway).await;
    let first = || Act::Result(json!({"tasks": [old_state("working")], "nextCursor": "second"}).to_string());
    let go_on = |page: &Value| json!({"cursor": page["nextCursor"]});
    // It answers again: nothing is missing.
    one.once("tasks/list", first());
    two.once("tasks/list", first());
    let page = client.request("tasks/list", &Value::Null).await.result();
    one.once("tasks/list", Act::status(500, "no"));
    let page = client.request("tasks/list", &go_on(&page)).await.result();
    assert_eq!(array(&page["tasks"]).len(), 1, "the other's");
    assert_eq!(page["_meta"][OUTCOMES]["one"]["status"], "upstream_error");
    let page = client.request("tasks/list", &go_on(&page)).await.result();
    assert_eq!(array(&page["tasks"]).len(), 1, "the rest");
    assert!(
        page.get("_meta").is_none() && page.get("nextCursor").is_none(),
        "{page}"
    );
    assert_eq!(last(&one, "tasks/list").0["cursor"], "second");
    assert_eq!((one.count("tasks/list"), two.count("tasks/list")), (3, 2));

    // It does not: the walk comes to its end, and the last page says what is missing.
    one.once("tasks/list", first());
    let mut page = client.request("tasks/list", &Value::Null).await.result();
    one.on("tasks/list", Act::status(500, "no"));
    let mut words = Vec::new();
    while page.get("nextCursor").is_some() {
        page = client.request("tasks/list", &go_on(&page)).await.result();
        assert!(array(&page["tasks"]).is_empty());
        words.push(text(&page["_meta"][OUTCOMES]["one"]["message"]).to_owned());
    }
    let left_out = |words: &String| words.ends_with("; the rest of its list is left out");
    assert_eq!(
        words.iter().map(left_out).collect::<Vec<_>>(),
        [false, false, true],
        "{words:?}"
    );
}

#[tokio::test]
async fn b60_what_is_about_a_task_names_it_as_the_client_knows_it() {
    let (gateway, _one, two) = old_servers().await;
    let mut client = old_client(&gateway).await;
    let mut standing = client.get_stream().await;
    let id = old_task(&mut client, "two-work").await;
    // Progress comes after the answer, and on the session's stream.
    let token = last(&two, "tools/call").0["_meta"]["progressToken"].clone();
    assert_ne!(token, "mine");
    let progress = json!({
        "jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": token, "progress": 1, "_meta": about(OWN)},
    });
    eventually("the stream to the server is open", PATIENCE, async || {
        two.count("GET") > 0
    })
    .await;
    two.push(&progress);
    let told = standing.expect_next(PATIENCE).await;
    assert_eq!(
        told["params"],
        json!({"progressToken": "mine", "progress": 1, "_meta": about(&id)})
    );
    two.push(
        &json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": old_state("completed")}),
    );
    let told = standing.expect_next(PATIENCE).await;
    assert_eq!(told["method"], "notifications/tasks/status");
    assert_eq!(
        told["params"],
        with(old_state("completed"), json!({"taskId": id}))
    );

    // A server asks on the stream of `tasks/result`, and hears what it is about.
    two.once(
        "tasks/result",
        Act::Events {
            before: vec![
                progress,
                json!({"jsonrpc": "2.0", "id": 77, "method": "elicitation/create", "params": {"message": "?", "_meta": about(OWN)}}),
            ],
            result: Some(json!({"content": [], "_meta": about(OWN)})),
        },
    );
    let reply = client.request("tasks/result", &json!({"taskId": id})).await;
    let before: Vec<&Value> = reply.notifications().iter().map(|event| &event.message).collect();
    assert_eq!(before[0]["params"]["progressToken"], "mine");
    assert_eq!(before[1]["params"]["_meta"], about(&id));
    assert_eq!(reply.result()["_meta"], about(&id));
    for (own, expected) in [(&*id, Some(OWN)), ("nothing", None)] {
        let answer = json!({
            "jsonrpc": "2.0", "id": before[1]["id"], "result": {"action": "accept", "_meta": about(own)},
        });
        let sent = client.send_message(answer.to_string()).await.unwrap();
        assert_eq!(sent.status.as_u16(), 202);
        let requests = two.requests();
        let arrived = requests
            .iter()
            .rfind(|request| request.json()["id"] == 77)
            .unwrap();
        let result = &arrived.json()["result"];
        assert_eq!(result["_meta"][RELATED]["taskId"].as_str(), expected, "{result}");
    }
}

#[tokio::test]
async fn s22_a_task_of_the_old_era_is_found_on_its_own_path_only() {
    let (gateway, _one, two) = old_servers().await;
    let mut client = old_client(&gateway).await;
    let id = old_task(&mut client, "two-work").await;
    let mut other = gateway.mcp_at("/one/mcp").with_protocol("2025-11-25");
    other.initialize().await;
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let error = other.request(method, &json!({"taskId": id})).await.error();
        assert_eq!(
            (error.code, &*error.message),
            (-32602, "Failed to retrieve task: Task not found")
        );
        assert_eq!(two.count(method), 0);
    }
    let smuggled = json!({"name": "one-work", "arguments": {}, "_meta": about(&id)});
    let error = other.request("tools/call", &smuggled).await.error();
    assert_eq!(error.code, -32602, "a task of another server");
}

// === Clients without tasks, a server with tasks only ===

#[tokio::test]
async fn b20_a_tool_that_is_a_task_only_is_called_by_clients_without_tasks() {
    let (gateway, _one, two) = old_servers().await;
    let client = Client::of(&gateway).declaring(json!({"elicitation": {}}));
    let tools = client.result("tools/list", json!({})).await;
    assert!(
        array(&tools["tools"])
            .iter()
            .all(|tool| tool.get("execution").is_none()),
        "{tools}"
    );
    let found = client.result("server/discover", json!({})).await;
    assert!(found["capabilities"].get("tasks").is_none());
    assert!(
        found["capabilities"]["extensions"].get(EXTENSION).is_none(),
        "{found}"
    );

    let call = json!({"name": "two-work", "arguments": {"a": 1}});
    let done = client.result("tools/call", call.clone()).await;
    assert_eq!(done["content"][0]["text"], "two");
    assert!(done["_meta"].get(RELATED).is_none(), "{done}");
    assert_eq!(last(&two, "tools/call").0["task"], json!({}));
    assert_eq!(last(&two, "tasks/result").0["taskId"], OWN);
    assert_eq!(two.count("tasks/cancel"), 0, "it has ended by itself");

    // A client of an earlier revision, and one over REST.
    let mut older = gateway.mcp().with_protocol("2025-06-18");
    older.initialize().await;
    let done = older.call("two-work", &json!({}), None).await.result();
    assert_eq!(done["content"][0]["text"], "two");
    let body = json!({"name": "two-work", "arguments": {}});
    let done = gateway.client().post("/mcp-rest/tools/call", &body).await;
    assert_eq!(done.expect_status(200).json()["content"][0]["text"], "two");
    // One that knows tasks decides for itself.
    let mut knowing = old_client(&gateway).await;
    let made = knowing.call("two-work", &json!({}), None).await.result();
    assert!(made.get("task").is_some(), "as the server answers it: {made}");
}

#[tokio::test]
async fn b60_progress_and_questions_of_a_task_reach_a_client_without_tasks() {
    let (gateway, _one, two) = old_servers().await;
    let client = Client::of(&gateway).declaring(json!({"elicitation": {}}));
    let question = json!({
        "jsonrpc": "2.0", "id": 77, "method": "elicitation/create",
        "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}, "_meta": about(OWN)},
    });
    two.once(
        "tasks/result",
        Act::Events {
            before: vec![question],
            result: Some(json!({"content": [{"type": "text", "text": "done"}]})),
        },
    );
    let call = json!({"name": "two-work", "arguments": {}});
    let asked = client.result("tools/call", call.clone()).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let (key, request) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert!(request["params"].get("_meta").is_none(), "{request}");
    let answers = json!({key: {"action": "accept", "content": {}}});
    let retry = with(
        call.clone(),
        json!({"requestState": asked["requestState"], "inputResponses": answers}),
    );
    let done = client.result("tools/call", retry).await;
    assert_eq!(done["content"][0]["text"], "done");
    let requests = two.requests();
    let answer = requests
        .iter()
        .rfind(|request| request.json()["id"] == 77)
        .unwrap();
    assert_eq!(
        answer.json()["result"],
        json!({"action": "accept", "content": {}, "_meta": about(OWN)})
    );
    assert_eq!((two.count("tools/call"), two.count("tasks/cancel")), (1, 0));

    // Progress for the call, on the stream of `tasks/result`.
    two.once("tasks/result", Act::KeepAlivesOnly(Duration::from_millis(50)));
    let with_token = with(call, json!({"_meta": {"progressToken": "p"}}));
    let mut stream = client.open("tools/call", with_token).await;
    eventually("the result is asked for", PATIENCE, async || {
        two.count("tasks/result") == 2 && two.count("GET") > 0
    })
    .await;
    let token = last(&two, "tools/call").0["_meta"]["progressToken"].clone();
    two.push(&json!({
        "jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": token, "progress": 1, "_meta": about(OWN)},
    }));
    let told = stream.expect_next(PATIENCE).await;
    assert_eq!(told["params"], json!({"progressToken": "p", "progress": 1}));
    // It leaves, and nobody waits for the task any more.
    drop(stream);
    eventually("the task is cancelled", PATIENCE, async || {
        two.count("tasks/cancel") == 1
    })
    .await;
    assert_eq!(last(&two, "tasks/cancel").0["taskId"], OWN);
}
