//! Tasks as an extension of 2026-07-28.

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, EventStream, HttpClient, McpClient, Reply, ScratchDatabase, ScriptedUpstream, Sessions, Signal,
    TestGateway, ToolAnswer, UpstreamBuilder, eventually,
};

use crate::support::{Config, PATIENCE, listed, names, text};

const MODERN: &str = "2026-07-28";
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// The id that every server here gives its task.
pub(crate) const OWN: &str = "task-1";

fn state(status: &str) -> Value {
    json!({
        "taskId": OWN, "status": status, "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
        "ttlMs": 60000, "pollIntervalMs": 100, "x": 1,
    })
}

pub(crate) fn with(mut object: Value, members: Value) -> Value {
    let Value::Object(members) = members else {
        panic!("no object: {members}")
    };
    object.as_object_mut().unwrap().extend(members);
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

    pub(crate) fn declaring(mut self, capabilities: Value) -> Self {
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

    pub(crate) async fn ask(&self, method: &str, params: Value) -> Reply {
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

    pub(crate) async fn open(&self, method: &str, params: Value) -> EventStream {
        let params = self.params(params);
        let http = self.http(method, &params);
        McpClient::over(http, self.path).open(method, &params).await
    }
}

/// What arrived at a server under a method, the last of it.
pub(crate) fn last(server: &ScriptedUpstream, method: &str) -> (Value, Option<String>) {
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
async fn b61_a_server_that_was_not_asked_yet_may_have_the_extension() {
    let both = ["2025-11-25", MODERN];
    let server = new_server("one").revisions(&both).start().await;
    let gateway = Config::of(&[("one", &server)]).start().await;
    listed(&gateway, "one").await;
    assert_eq!(
        server.count("server/discover"),
        0,
        "it answers the old hand-shake"
    );
    let client = Client::of(&gateway);
    for _ in 0..2 {
        let found = client.result("server/discover", json!({})).await;
        assert_eq!(found["capabilities"]["extensions"][EXTENSION], json!({}));
        let id = client.task("one-work").await;
        client.result("tasks/get", json!({"taskId": id})).await;
    }
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
