//! S18: what the gateway gives a caller to come back with is nothing in anybody else's hands. Every handle that there is of every tenant
//! is shown at every place that takes one, by everybody: the answer is that for a handle that nobody was ever given, and what it is of
//! hears nothing of it.

use axum::body::Bytes;
use axum::http::Request;
use serde_json::{Value, json};
use trunkline_testkit::{
    Act, HttpClient, McpClient, ScriptedUpstream, Sessions, SseClient, TestGateway, ToolAnswer, ToolCall,
    UpstreamBuilder, eventually,
};

use crate::support::{MODERN, PATIENCE, config, generate, post, with};
use crate::world::{of_the_team, secret};

const OLD: &str = "2025-11-25";
const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// A handle that nobody was given.
const NOBODYS: &str = "nobodys-handle-0123456789-0123456789";
const LISTS: [&str; 4] = [
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
];

/// What a handle is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A session of the old era.
    Session,
    /// The address for messages of the transport of 2024-11-05.
    Messages,
    /// An event of an answer that broke off.
    Event,
    /// The next page of a list.
    Cursor(&'static str),
    ModernCursor(&'static str),
    OldTask,
    NewTask,
}

/// A place that takes a handle.
#[derive(Clone, Copy, Debug)]
enum Place {
    Session(&'static str),
    Messages,
    Event,
    Cursor(&'static str),
    ModernCursor(&'static str),
    OldTask(&'static str),
    NewTask(&'static str),
}

fn places() -> Vec<Place> {
    let mut places = vec![Place::Messages, Place::Event];
    places.extend(["POST", "GET", "DELETE"].map(Place::Session));
    places.extend(LISTS.map(Place::Cursor));
    places.extend(LISTS.map(Place::ModernCursor));
    places.extend(["tasks/get", "tasks/result", "tasks/cancel"].map(Place::OldTask));
    places.extend(["tasks/get", "tasks/update", "tasks/cancel"].map(Place::NewTask));
    places
}

impl Place {
    /// Whether handles of a kind belong there.
    fn takes(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Session(_), Kind::Session)
            | (Self::Messages, Kind::Messages)
            | (Self::Event, Kind::Event)
            | (Self::OldTask(_), Kind::OldTask)
            | (Self::NewTask(_), Kind::NewTask) => true,
            (Self::Cursor(own), Kind::Cursor(of)) | (Self::ModernCursor(own), Kind::ModernCursor(of)) => {
                own == of
            }
            _ => false,
        }
    }
}

struct Tenant {
    name: &'static str,
    http: HttpClient,
    /// Its own session, for what is asked within one.
    session: String,
    handles: Vec<(Kind, String)>,
    /// Kept open: they end with the client.
    _sse: SseClient,
}

fn task(status: &str) -> Value {
    json!({
        "taskId": "task-1", "status": status, "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
        "ttl": 60000, "ttlMs": 60000, "pollInterval": 100, "pollIntervalMs": 100,
    })
}

fn done(mut value: Value) -> Act {
    value["resultType"] = "complete".into();
    Act::Result(value.to_string())
}

/// A server of the old era with more than one of everything, a tool that is a task and one that takes its time.
fn old_server() -> UpstreamBuilder {
    let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    let capabilities = json!({"tools": {}, "prompts": {}, "resources": {}, "tasks": tasks});
    let work =
        json!({"name": "work", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}});
    let slow = json!({"name": "slow", "inputSchema": {"type": "object"}});
    let two = |member: &str, key: &str, of: &str| {
        let item = |n: u8| json!({key: format!("{of}{n}"), "name": format!("n{n}")});
        Act::Result(json!({member: [item(1), item(2)]}).to_string())
    };
    ScriptedUpstream::builder()
        .initialize_member("capabilities", capabilities)
        .tool_fn(&work, |_| ToolAnswer::Result(json!({"task": task("working")})))
        .tool_fn(&slow, |call: &ToolCall| {
            ToolAnswer::progress(call, 600, std::time::Duration::from_millis(100))
        })
        .on("prompts/list", two("prompts", "name", "p"))
        .on("resources/list", two("resources", "uri", "memo://r"))
        .on(
            "resources/templates/list",
            two("resourceTemplates", "uriTemplate", "memo://t/{x}/"),
        )
        .on("tasks/get", Act::Result(task("completed").to_string()))
        .on("tasks/cancel", Act::Result(task("cancelled").to_string()))
        .on("tasks/result", Act::Result(r#"{"content":[]}"#.to_owned()))
}

/// A server of the new era that makes a task of each call.
fn new_server() -> UpstreamBuilder {
    let capabilities = json!({"tools": {}, "extensions": {EXTENSION: {}}});
    let discovered = json!({
        "supportedVersions": [MODERN], "capabilities": capabilities, "ttlMs": 0, "cacheScope": "public",
    });
    let mut made = task("working");
    made["resultType"] = "task".into();
    let work = json!({"name": "work", "inputSchema": {"type": "object"}});
    ScriptedUpstream::builder()
        .revisions(&[MODERN])
        .sessions(Sessions::Off)
        .on("server/discover", done(discovered))
        .on("tasks/get", done(task("working")))
        .on("tasks/update", done(json!({})))
        .on("tasks/cancel", done(json!({})))
        .tool_fn(&work, move |_| ToolAnswer::Result(made.clone()))
}

/// A message as one of the old era has it, with the headers of a session.
fn old(http: &HttpClient, session: Option<&str>) -> HttpClient {
    let http = http
        .clone()
        .with_header("accept", "application/json, text/event-stream")
        .with_header("mcp-protocol-version", OLD);
    match session {
        Some(session) => http.with_header("mcp-session-id", session),
        None => http,
    }
}

fn message(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// Asks as a client of the new era.
async fn modern(http: &HttpClient, method: &str, mut params: Value) -> (u16, String) {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
    });
    let mut http = http
        .clone()
        .with_header("accept", "application/json, text/event-stream")
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", method);
    if let Some(name) = params["name"].as_str().or(params["taskId"].as_str()) {
        http = http.with_header("mcp-name", name);
    }
    let reply = http.post("/mcp", &message(method, &params)).await;
    (reply.status.as_u16(), reply.text())
}

fn result(text: &str) -> Value {
    let answer: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    answer["result"].clone()
}

impl Tenant {
    /// A key, and one of every kind of handle for it.
    async fn new(gateway: &TestGateway, name: &'static str, team: &str) -> Self {
        let body = json!({"team_id": team, "object_permission": of_the_team()});
        let http = with(gateway, &secret(&generate(gateway, body).await));
        let mut client = McpClient::over(http.clone(), "/mcp").with_protocol(OLD);
        client.initialize().await;
        let session = client.session().unwrap().to_owned();
        let mut handles = Vec::new();
        for method in LISTS {
            let first = client.request(method, &json!({})).await.result();
            handles.push((Kind::Cursor(method), text(&first["nextCursor"])));
            let (_, said) = modern(&http, method, json!({})).await;
            handles.push((Kind::ModernCursor(method), text(&result(&said)["nextCursor"])));
        }
        let call = json!({"name": "old-work", "arguments": {}, "task": {"ttl": 60000}});
        let made = client.request("tools/call", &call).await.result();
        handles.push((Kind::OldTask, text(&made["task"]["taskId"])));
        let (_, said) = modern(&http, "tools/call", json!({"name": "new-work", "arguments": {}})).await;
        handles.push((Kind::NewTask, text(&result(&said)["taskId"])));
        let mut broken = client.call_stream("old-slow", &json!({}), Some("t")).await;
        broken.expect_next(PATIENCE).await;
        handles.push((Kind::Event, broken.last_event_id().unwrap().to_owned()));
        drop(broken);
        let sse = SseClient::open(&http, "/sse").await;
        let (_, id) = sse.endpoint().split_once("session_id=").unwrap();
        handles.push((Kind::Messages, id.to_owned()));
        // A session for others to try, which is not the one that is used here.
        let mut second = McpClient::over(http.clone(), "/mcp").with_protocol(OLD);
        second.initialize().await;
        handles.push((Kind::Session, second.session().unwrap().to_owned()));
        Self {
            name,
            http,
            session,
            handles,
            _sse: sse,
        }
    }

    /// Shows a handle; what comes back.
    async fn shows(&self, place: Place, handle: &str) -> (u16, String) {
        let own = old(&self.http, Some(&self.session));
        let reply = match place {
            Place::Session("POST") => {
                let http = old(&self.http, Some(handle));
                http.post("/mcp", &message("tools/list", &json!({}))).await
            }
            Place::Session(method) => return open(&old(&self.http, Some(handle)), method, None).await,
            Place::Messages => {
                let path = format!("/sse/messages?session_id={handle}");
                self.http.post(&path, &message("ping", &json!({}))).await
            }
            Place::Event => return open(&own, "GET", Some(handle)).await,
            Place::Cursor(method) => {
                let params = json!({"cursor": handle});
                own.post("/mcp", &message(method, &params)).await
            }
            Place::OldTask(method) => {
                let params = json!({"taskId": handle});
                own.post("/mcp", &message(method, &params)).await
            }
            Place::ModernCursor(method) => {
                return modern(&self.http, method, json!({"cursor": handle})).await;
            }
            Place::NewTask(method) => {
                let params = json!({"taskId": handle, "inputResponses": {}});
                return modern(&self.http, method, params).await;
            }
        };
        (reply.status.as_u16(), reply.text())
    }
}

/// The status of a request whose answer may be a stream that never ends; its text if it is none.
async fn open(http: &HttpClient, method: &str, last_event: Option<&str>) -> (u16, String) {
    let mut request = Request::builder().method(method).uri("/mcp");
    if let Some(id) = last_event {
        request = request.header("last-event-id", id);
    }
    let mut chunks = http.open(request.body(Bytes::new()).unwrap()).await.unwrap();
    let status = chunks.status.as_u16();
    let mut body = Vec::new();
    while status != 200
        && let Some(Ok((_, piece))) = chunks.next().await
    {
        body.extend_from_slice(&piece);
    }
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("no handle: {value}")).to_owned()
}

/// What a place says of a handle, whatever it is called.
fn without(said: &(u16, String), handle: &str) -> (u16, String) {
    (said.0, said.1.replace(handle, "…"))
}

#[tokio::test]
async fn s18_s22_every_handle_is_its_holders_and_nothing_in_anybody_elses_hands() {
    let (first, second) = (old_server().start().await, new_server().start().await);
    let servers = config(&[
        ("old", &first, ""),
        ("new", &second, "    protocol_version: '2026-07-28'\n"),
    ]);
    let text = format!("general_settings:\n  mcp_list_page_size: 1\n{servers}");
    let gateway = TestGateway::start(&text).await;
    crate::support::listed(&gateway, &["old", "new"]).await;
    let all = json!({"mcp_servers": ["old", "new"]});
    for team in ["red", "blue"] {
        let body = json!({"team_id": team, "object_permission": all});
        post(&gateway, "/team/new", body).await;
    }
    // Two of one team, and one of another; all may use the same servers.
    let tenants = [
        Tenant::new(&gateway, "red", "red").await,
        Tenant::new(&gateway, "red's other key", "red").await,
        Tenant::new(&gateway, "blue", "blue").await,
    ];
    let heard = || {
        let of = |own: &ScriptedUpstream| {
            let requests = own.requests();
            let tasks = requests
                .iter()
                .filter(|own| own.is("tasks/get") || own.is("tasks/result"));
            tasks.count() + own.count("tasks/cancel") + own.count("tasks/update")
        };
        of(&first) + of(&second)
    };
    let before = heard();
    for who in &tenants {
        for place in places() {
            let expected = without(&who.shows(place, NOBODYS).await, NOBODYS);
            assert!(
                expected.0 >= 400 || expected.1.contains("-32602"),
                "{place:?}: {expected:?}"
            );
            for owner in &tenants {
                for (kind, handle) in &owner.handles {
                    let is_own = std::ptr::eq(owner, who);
                    if is_own && place.takes(*kind) {
                        continue;
                    }
                    let said = without(&who.shows(place, handle).await, handle);
                    let (who, owner) = (who.name, owner.name);
                    assert_eq!(said, expected, "{who} with {kind:?} of {owner} at {place:?}");
                }
            }
        }
    }
    assert_eq!(heard(), before, "a server heard of somebody else's task");
    // And each is good still, for whom it was made: nothing above ended it, and nothing above was for nothing.
    for who in &tenants {
        for place in places() {
            // These end what they are about, or are of no use twice.
            if matches!(place, Place::Session("DELETE")) {
                continue;
            }
            let found = who.handles.iter().find(|(kind, _)| place.takes(*kind));
            let (kind, handle) = found.unwrap();
            let (status, said) = who.shows(place, handle).await;
            let is_good = matches!(status, 200 | 202) && !said.contains("\"error\"");
            assert!(is_good, "{}: {kind:?} at {place:?}: {status} {said}", who.name);
        }
        let (_, session) = who
            .handles
            .iter()
            .find(|(kind, _)| *kind == Kind::Session)
            .unwrap();
        let (status, said) = who.shows(Place::Session("DELETE"), session).await;
        assert!(matches!(status, 200 | 204), "{said}");
        let over = async || who.shows(Place::Session("POST"), session).await.0 == 404;
        eventually("the session is over", PATIENCE, over).await;
    }
    assert!(heard() > before);
}
