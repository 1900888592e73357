//! Tasks: of 2026-07-28, of 2025-11-25, and for clients that know none.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, EventStream, HttpClient, McpClient, Reply, ScratchDatabase, ScriptedUpstream, Sessions, Signal,
    TestGateway, ToolAnswer, UpstreamBuilder, eventually,
};

use crate::support::{Config, PATIENCE, array, listed, names, text};

const MODERN: &str = "2026-07-28";
const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";
/// The id that every server here gives its task.
const OWN: &str = "task-1";

// === 2026-07-28 ===

fn state(status: &str) -> Value {
    json!({
        "taskId": OWN, "status": status, "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
        "ttlMs": 60000, "pollIntervalMs": 100, "x": 1,
    })
}

fn with(mut object: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

fn definition(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}})
}

fn result(value: Value) -> Act {
    Act::Result(with(value, json!({"resultType": "complete"})).to_string())
}

/// A server that makes a task of each call of a client that knows tasks.
fn new_server(name: &str) -> UpstreamBuilder {
    let discovered = json!({
        "supportedVersions": [MODERN], "capabilities": {"tools": {}, "extensions": {EXTENSION: {}}},
        "ttlMs": 0, "cacheScope": "public",
    });
    let said = json!({"content": [{"type": "text", "text": name}], "isError": false});
    let direct = said.clone();
    ScriptedUpstream::builder()
        .revisions(&[MODERN])
        .sessions(Sessions::Off)
        .on("server/discover", result(discovered))
        .on(
            "tasks/get",
            result(with(state("completed"), json!({"result": said}))),
        )
        .on("tasks/update", result(json!({})))
        .on("tasks/cancel", result(json!({})))
        .tool_fn(&definition("work"), move |call| {
            let declared = &call.meta["io.modelcontextprotocol/clientCapabilities"]["extensions"][EXTENSION];
            if declared.is_object() {
                ToolAnswer::Result(with(state("working"), json!({"resultType": "task"})))
            } else {
                ToolAnswer::Result(with(direct.clone(), json!({"resultType": "complete"})))
            }
        })
}

const PINNED: &str = "protocol_version: '2026-07-28'";

async fn new_servers() -> (TestGateway, ScriptedUpstream, ScriptedUpstream) {
    let (one, two) = (new_server("one").start().await, new_server("two").start().await);
    let config = Config::default()
        .server("one", &one, PINNED)
        .server("two", &two, PINNED);
    let gateway = config.start().await;
    ready(&gateway, &["one-work", "two-work"]).await;
    (gateway, one, two)
}

/// Waits until the tools are listed.
async fn ready(gateway: &TestGateway, tools: &[&str]) {
    let client = Client::of(gateway);
    eventually("the servers are listed", PATIENCE, async || {
        let answer = client.ask("tools/list", json!({})).await.json();
        answer["result"].is_object() && names(&answer["result"]) == tools
    })
    .await;
}

/// A client of 2026-07-28.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient,
    path: &'static str,
    capabilities: Value,
}

fn knows_tasks() -> Value {
    json!({"extensions": {EXTENSION: {}}})
}

impl Client {
    pub(crate) fn of(gateway: &TestGateway) -> Self {
        Self {
            http: gateway.client(),
            path: "/mcp",
            capabilities: knows_tasks(),
        }
    }

    fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    fn declaring(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    fn params(&self, params: Value) -> Value {
        let mut params = params;
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
        });
        params["_meta"] = with(meta, params.get("_meta").cloned().unwrap_or_else(|| json!({})));
        params
    }

    fn http(&self, method: &str, params: &Value) -> HttpClient {
        let http = self
            .http
            .clone()
            .with_header("accept", "application/json, text/event-stream")
            .with_header("mcp-protocol-version", MODERN)
            .with_header("mcp-method", method);
        match params["name"].as_str().or(params["taskId"].as_str()) {
            Some(name) => http.with_header("mcp-name", name),
            None => http,
        }
    }

    async fn ask(&self, method: &str, params: Value) -> Reply {
        let params = self.params(params);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.http(method, &params).post(self.path, &body).await
    }

    pub(crate) async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await.expect_status(200).json();
        assert!(answer["result"].is_object(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The client's id of the task that a call of the tool became.
    async fn task(&self, tool: &str) -> String {
        let made = self
            .result("tools/call", json!({"name": tool, "arguments": {}}))
            .await;
        assert_eq!(made["resultType"], "task", "{made}");
        text(&made["taskId"]).to_owned()
    }

    async fn open(&self, method: &str, params: Value) -> EventStream {
        let params = self.params(params);
        let http = self.http(method, &params);
        McpClient::over(http, self.path).open(method, &params).await
    }
}

/// What arrived at a server under a method, the last of it.
fn last(server: &ScriptedUpstream, method: &str) -> (Value, Option<String>) {
    let requests = server.requests();
    let found = requests.iter().rfind(|request| request.is(method));
    let found = found.unwrap_or_else(|| panic!("no {method}"));
    (
        found.json()["params"].clone(),
        found.header("mcp-name").map(str::to_owned),
    )
}

#[tokio::test]
async fn b62_a_task_of_either_server_leads_back_to_it_whatever_its_id() {
    let (gateway, one, two) = new_servers().await;
    let client = Client::of(&gateway);
    let found = client.result("server/discover", json!({})).await;
    assert_eq!(found["capabilities"]["extensions"][EXTENSION], json!({}));
    assert!(found["capabilities"].get("tasks").is_none());

    let made = client
        .result("tools/call", json!({"name": "two-work", "arguments": {}}))
        .await;
    let id = text(&made["taskId"]).to_owned();
    assert_ne!(id, OWN);
    let expected = with(state("working"), json!({"resultType": "task", "taskId": id}));
    assert_eq!(made, expected, "nothing but the id is another");
    let (params, _) = last(&two, "tools/call");
    assert_eq!(
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        knows_tasks(),
        "what the client declares reaches the server"
    );
    let other = client.task("one-work").await;
    assert_ne!(id, other, "both servers call theirs {OWN}");

    for (id, server, name) in [(&id, &two, "two"), (&other, &one, "one")] {
        let got = client.result("tasks/get", json!({"taskId": id})).await;
        assert_eq!((text(&got["taskId"]), text(&got["status"])), (&**id, "completed"));
        assert_eq!(got["result"]["content"][0]["text"], name);
        let (params, header) = last(server, "tasks/get");
        assert_eq!(
            (params["taskId"].as_str(), header.as_deref()),
            (Some(OWN), Some(OWN))
        );
    }
    let answers = json!({"name": {"action": "accept", "content": {"input": "Luca"}}});
    let updated = client
        .result("tasks/update", json!({"taskId": id, "inputResponses": answers}))
        .await;
    assert_eq!(updated, json!({"resultType": "complete"}));
    let (params, header) = last(&two, "tasks/update");
    assert_eq!(
        (params["taskId"].as_str(), header.as_deref()),
        (Some(OWN), Some(OWN))
    );
    assert_eq!(params["inputResponses"], answers);
    client.result("tasks/cancel", json!({"taskId": other})).await;
    assert_eq!((one.count("tasks/cancel"), two.count("tasks/cancel")), (1, 0));

    // A server that asks in the middle of its task.
    let requests = json!({"name": {"method": "elicitation/create", "params": {"message": "?"}}});
    two.on(
        "tasks/get",
        result(with(state("input_required"), json!({"inputRequests": requests}))),
    );
    let got = client.result("tasks/get", json!({"taskId": id})).await;
    assert_eq!(got["inputRequests"], requests);
}

#[tokio::test]
async fn s22_an_id_that_is_not_the_callers_is_an_unknown_task() {
    let (gateway, one, two) = new_servers().await;
    let client = Client::of(&gateway);
    let id = client.task("two-work").await;
    // The path does not reach the server: the task might as well not be there.
    let elsewhere = client.clone().at("/one/mcp");
    let mut tampered = id.clone();
    tampered.replace_range(20..21, if id.as_bytes()[20] == b'A' { "B" } else { "A" });
    let mut refused = Vec::new();
    for (who, id) in [
        (&elsewhere, &*id),
        (&client, &*tampered),
        (&client, OWN),
        (&client, ""),
    ] {
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let answer = who.ask(method, json!({"taskId": id, "inputResponses": {}})).await;
            refused.push((answer.status.as_u16(), answer.json()["error"].clone()));
        }
    }
    let expected = json!({"code": -32602, "message": "Failed to retrieve task: Task not found"});
    assert!(
        refused.iter().all(|answer| *answer == (200, expected.clone())),
        "{refused:?}"
    );
    // An id of the other era is none of this one.
    let mut old = gateway.mcp().with_protocol("2025-11-25");
    old.initialize().await;
    let error = old.request("tasks/get", &json!({"taskId": id})).await.error();
    assert_eq!(
        (error.code, &*error.message),
        (-32602, "Failed to retrieve task: Task not found")
    );
    for server in [&one, &two] {
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            assert_eq!(server.count(method), 0, "{method}");
        }
    }
    // The header says what the client's body says, not what the server's would.
    let params = client.params(json!({"taskId": id}));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": params});
    let http = client.http("tasks/get", &params).with_header("mcp-name", OWN);
    let answer = http.post("/mcp", &body).await.expect_status(400).json();
    assert_eq!(answer["error"]["code"], -32020);
}

#[tokio::test]
async fn s22_a_tool_that_was_taken_away_takes_its_tasks_along() {
    let one = new_server("one").start().await;
    let config = Config::default().server("one", &one, PINNED);
    let mut gateway = config.start().await;
    ready(&gateway, &["one-work"]).await;
    let id = Client::of(&gateway).task("one-work").await;
    let less = Config::default().server("one", &one, &format!("{PINNED}\ndisallowed_tools: [work]"));
    gateway.set_config(&less.text());
    gateway.restart().await;
    let answer = Client::of(&gateway)
        .ask("tasks/get", json!({"taskId": id}))
        .await
        .json();
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert_eq!(one.count("tasks/get"), 0);
}

#[tokio::test]
async fn s23_tasks_are_for_clients_that_declare_them() {
    let (gateway, _one, two) = new_servers().await;
    let plain = Client::of(&gateway).declaring(json!({}));
    let done = plain
        .result("tools/call", json!({"name": "two-work", "arguments": {}}))
        .await;
    assert_eq!(done["content"][0]["text"], "two");
    let id = Client::of(&gateway).task("two-work").await;
    let required = json!({"requiredCapabilities": {"extensions": {EXTENSION: {}}}});
    let listen = json!({"notifications": {"taskIds": [id]}});
    for (method, params) in [
        ("tasks/get", json!({"taskId": id})),
        ("tasks/cancel", json!({"taskId": "nothing"})),
        ("subscriptions/listen", listen),
    ] {
        let refused = plain.ask(method, params).await.expect_status(400).json();
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["data"]),
            (&json!(-32021), &required),
            "{method}"
        );
    }
    assert_eq!(two.count("tasks/get"), 0);
    // What only the other era has is unknown here.
    for method in ["tasks/result", "tasks/list"] {
        let unknown = Client::of(&gateway)
            .ask(method, json!({"taskId": id}))
            .await
            .expect_status(404)
            .json();
        assert_eq!(unknown["error"]["code"], -32601, "{method}");
    }
}

#[tokio::test]
async fn b61_a_subscription_tells_of_the_tasks_that_it_names() {
    let (gateway, one, two) = new_servers().await;
    let client = Client::of(&gateway);
    let (id, other) = (client.task("two-work").await, client.task("one-work").await);
    let acknowledged = json!({
        "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"notifications": {"taskIds": [OWN]}},
    });
    let told = |server: &ScriptedUpstream, state: Value| {
        server.push(&json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": state}));
    };
    for server in [&one, &two] {
        server.on(
            "subscriptions/listen",
            Act::Events {
                before: vec![acknowledged.clone()],
                result: None,
            },
        );
    }
    let mut stream = client
        .open(
            "subscriptions/listen",
            json!({"notifications": {"taskIds": [id, other, "nothing"]}}),
        )
        .await;
    let first = stream.expect_next(PATIENCE).await;
    assert_eq!(first["params"]["notifications"], json!({"taskIds": [id, other]}));
    let subscription = &first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    let (params, _) = last(&two, "subscriptions/listen");
    assert_eq!(params["notifications"], json!({"taskIds": [OWN]}));
    assert_eq!(
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        knows_tasks()
    );
    let done = json!({"content": []});
    for (server, id) in [(&two, &id), (&one, &other)] {
        // Of a task that nobody asked about, and of one that somebody did.
        told(server, with(state("working"), json!({"taskId": "task-2"})));
        told(server, with(state("completed"), json!({"result": done})));
        let message = stream.expect_next(PATIENCE).await;
        assert_eq!(message["method"], "notifications/tasks");
        let mut params = message["params"].clone();
        assert_eq!(
            params["_meta"]["io.modelcontextprotocol/subscriptionId"],
            *subscription
        );
        params.as_object_mut().unwrap().remove("_meta");
        assert_eq!(
            params,
            with(state("completed"), json!({"taskId": id, "result": done}))
        );
    }
}

#[tokio::test]
async fn b20_an_id_is_good_after_a_restart() {
    let (mut gateway, _one, two) = new_servers().await;
    let id = Client::of(&gateway).task("two-work").await;
    gateway.stop(Signal::Term).await;
    gateway.restart().await;
    let client = Client::of(&gateway);
    let got = client.result("tasks/get", json!({"taskId": id})).await;
    assert_eq!(text(&got["taskId"]), id);
    assert_eq!(two.count("tasks/get"), 1);
    assert_eq!(client.task("two-work").await, id, "the same task has the same id");
}

#[tokio::test]
async fn b20_an_id_is_good_on_every_replica() {
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let server = new_server("one").start().await;
    let config = Config::default().server("one", &server, PINNED);
    let builder = TestGateway::builder()
        .database_url(&database.url())
        .config(&config.text())
        .master_key(Some("sk-replicas-3f9d1c7a5e2b8046"));
    let (a, b) = tokio::join!(builder.clone().start(), builder.start());
    ready(&a, &["one-work"]).await;
    ready(&b, &["one-work"]).await;
    let id = Client::of(&a).task("one-work").await;
    let got = Client::of(&b).result("tasks/get", json!({"taskId": id})).await;
    assert_eq!((text(&got["taskId"]), text(&got["status"])), (&*id, "completed"));
    Client::of(&b).result("tasks/cancel", json!({"taskId": id})).await;
    assert_eq!(server.count("tasks/cancel"), 1);
}

#[tokio::test]
async fn b20_a_client_of_the_old_era_gets_the_result_of_a_server_with_the_extension() {
    let (gateway, _one, two) = new_servers().await;
    let mut client = gateway.mcp().with_protocol("2025-11-25");
    let capabilities = client.initialize().await.result()["capabilities"].clone();
    assert!(
        capabilities.get("tasks").is_none() && capabilities["extensions"].get(EXTENSION).is_none(),
        "{capabilities}"
    );
    let call = json!({"name": "two-work", "arguments": {}, "task": {"ttl": 1}});
    let done = client.request("tools/call", &call).await.result();
    assert_eq!(done["content"][0]["text"], "two");
    let (params, _) = last(&two, "tools/call");
    assert!(params.get("task").is_none(), "{params}");
    let capabilities = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert!(capabilities.get("extensions").is_none(), "{capabilities}");
}

// === 2025-11-25 ===

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
