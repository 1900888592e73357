//! Every kind of key × every way in × list and call × aggregate and one server's own path: the same everywhere, and what is
//! not listed is not reached.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Act, McpClient, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall};

use crate::support::{WAYS, Way, config, generate, key, listed, post, set, toolset, with};

const SERVERS: [&str; 3] = ["files", "notes", "open"];

pub(crate) struct World {
    pub(crate) gateway: TestGateway,
    upstreams: [ScriptedUpstream; 3],
}

async fn upstream() -> ScriptedUpstream {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let echo = |_: &ToolCall| ToolAnswer::text("done");
    ScriptedUpstream::builder()
        .tool_fn(&tool("read"), echo)
        .tool_fn(&tool("write"), echo)
        .start()
        .await
}

impl World {
    pub(crate) async fn new() -> Self {
        let upstreams = [upstream().await, upstream().await, upstream().await];
        let [files, notes, open] = &upstreams;
        let text = config(&[
            ("files", files, ""),
            ("notes", notes, "    access_groups: [dev]\n"),
            ("open", open, "    allow_all_keys: true\n"),
        ]);
        let gateway = TestGateway::start(&text).await;
        listed(&gateway, &SERVERS).await;
        Self { gateway, upstreams }
    }

    pub(crate) fn calls(&self) -> usize {
        self.upstreams.iter().map(|own| own.count("tools/call")).sum()
    }

    fn requests(&self) -> usize {
        self.upstreams.iter().map(|own| own.requests().len()).sum()
    }
}

/// All tools that there are.
pub(crate) fn all() -> BTreeSet<String> {
    let names = SERVERS.map(|server| [format!("{server}-read"), format!("{server}-write")]);
    names.into_iter().flatten().collect()
}

/// Checks that the key sees and reaches exactly these, on every way in.
pub(crate) async fn check(world: &World, what: &str, key: &str, expected: &BTreeSet<String>) {
    let http = with(&world.gateway, key);
    for way in WAYS {
        assert_eq!(
            way.tools(&http, None).await.as_ref(),
            Ok(expected),
            "{what} {way:?}"
        );
        for tool in all() {
            let before = world.calls();
            let (status, said) = way.ask(&http, None, "tools/call", &call(&tool)).await;
            let reached = world.calls() - before;
            assert_eq!(
                (reached, is_done(&said)),
                if expected.contains(&tool) {
                    (1, true)
                } else {
                    (0, false)
                },
                "{what} {way:?} {tool}: {status} {said}"
            );
        }
        if way != Way::AllTools {
            check_own_paths(world, what, way, key, expected).await;
        }
    }
}

/// The same at each server's own path, where a server of which nothing may be used is one that is not there.
async fn check_own_paths(world: &World, what: &str, way: Way, key: &str, expected: &BTreeSet<String>) {
    let http = with(&world.gateway, key);
    let nobody = way.ask(&http, Some("nobody"), "tools/list", &json!({})).await;
    for server in SERVERS {
        let own: BTreeSet<String> = expected
            .iter()
            .filter(|tool| tool.starts_with(server))
            .cloned()
            .collect();
        let listed = way.ask(&http, Some(server), "tools/list", &json!({})).await;
        // `nobody` and the server's name are the only difference.
        let (own_text, nobody_text) = (listed.1.to_string(), nobody.1.to_string());
        let unknown = own_text.replace(server, "nobody") == nobody_text;
        match way.tools(&http, Some(server)).await {
            Ok(tools) => assert_eq!(tools, own, "{what} {way:?} /{server}"),
            Err(status) => {
                assert_eq!((status, nobody.0), (404, 404), "{what} {way:?} /{server}");
                assert!(
                    own.is_empty() && unknown,
                    "{what} {way:?} /{server}: {listed:?} {nobody:?}"
                );
            }
        }
        for tool in ["read", "write"] {
            let name = format!("{server}-{tool}");
            let before = world.calls();
            let (_, said) = way.ask(&http, Some(server), "tools/call", &call(&name)).await;
            let expected = usize::from(own.contains(&name));
            assert_eq!(
                world.calls() - before,
                expected,
                "{what} {way:?} /{server} {name}: {said}"
            );
        }
    }
}

pub(crate) fn call(tool: &str) -> Value {
    json!({"name": tool, "arguments": {}})
}

pub(crate) fn is_done(said: &Value) -> bool {
    let result = said.get("result").unwrap_or(said);
    result["content"][0]["text"] == "done" && result["isError"] != true
}

#[tokio::test]
async fn b40_b41_b44_a_key_lists_and_reaches_what_it_was_granted_and_nothing_else() {
    let world = World::new().await;
    let open = ["open-read", "open-write"];
    let with_open = |own: &[&str]| set(&[own, &open].concat());
    for (what, permission, expected) in [
        // B44: what is for every key, and nothing else.
        ("nothing", json!(null), set(&open)),
        (
            "empty lists",
            json!({"mcp_servers": [], "mcp_access_groups": []}),
            set(&open),
        ),
        (
            "a name",
            json!({"mcp_servers": ["FILES"]}),
            with_open(&["files-read", "files-write"]),
        ),
        (
            "a group",
            json!({"mcp_access_groups": ["dev"]}),
            with_open(&["notes-read", "notes-write"]),
        ),
        (
            "tools",
            json!({"mcp_servers": ["files", "notes"], "mcp_tool_permissions": {"files": ["read"], "notes": ["notes-write"]}}),
            with_open(&["files-read", "notes-write"]),
        ),
        (
            "tools of what is for every key",
            json!({"mcp_tool_permissions": {"open": ["read"]}}),
            set(&["open-read"]),
        ),
        (
            "all tools",
            json!({"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["*"], "open": []}}),
            set(&["files-read", "files-write"]),
        ),
        // B41
        (
            "a row of tools alone",
            json!({"mcp_tool_permissions": {"files": ["read"]}}),
            set(&open),
        ),
        (
            "opted out",
            json!({"mcp_servers": ["no-mcp-servers", "files"], "mcp_access_groups": ["dev"]}),
            set(&[]),
        ),
        (
            "somebody else's",
            json!({"mcp_servers": ["file", "s"], "mcp_access_groups": ["Dev"]}),
            set(&open),
        ),
    ] {
        let key = key(&world.gateway, permission).await;
        check(&world, what, &key, &expected).await;
    }
    check(&world, "the master key", world.gateway.master_key(), &all()).await;
    // By id, which a file's server has too.
    let rows = world.gateway.client().get("/v1/mcp/server").await.json();
    let files = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["server_name"] == "files");
    let id = files.unwrap()["server_id"].clone();
    let key = key(&world.gateway, json!({"mcp_servers": [id]})).await;
    check(&world, "an id", &key, &with_open(&["files-read", "files-write"])).await;
}

/// A row of tools is there before and after the grant of its server, and gives nothing by itself; whatever the grant was.
#[tokio::test]
async fn b41_a_row_of_tools_that_outlives_its_grant_gives_nothing() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let open = ["open-read", "open-write"];
    let with_open = |own: &[&str]| set(&[own, &open].concat());
    toolset(gateway, "suite", &[("notes", "read"), ("notes", "write")]).await;
    let rows = json!({"files": ["read"], "notes": ["write"]});
    for (what, grant, tool) in [
        ("a server", json!({"mcp_servers": ["files"]}), "files-read"),
        ("a group", json!({"mcp_access_groups": ["dev"]}), "notes-write"),
        ("a toolset", json!({"mcp_toolsets": ["suite"]}), "notes-write"),
    ] {
        let mut permission = grant.clone();
        permission["mcp_tool_permissions"] = rows.clone();
        let own = key(gateway, permission.clone()).await;
        check(&world, &format!("{what} is granted"), &own, &with_open(&[tool])).await;
        let mut session = McpClient::over(with(gateway, &own), "/mcp");
        session.initialize().await;
        assert!(session.tool_names().await.contains(&tool.to_owned()));
        // The grant goes, and the row stays: what a change does not name is as it was.
        let list = grant.as_object().unwrap().keys().next().unwrap();
        let change = json!({"key": own, "object_permission": {list: []}});
        post(gateway, "/key/update", change).await;
        let info = gateway.client().get(&format!("/key/info?key={own}")).await.json();
        assert_eq!(
            info["info"]["object_permission"]["mcp_tool_permissions"], rows,
            "{info}"
        );
        let before = world.requests();
        let said = session.call(tool, &json!({}), None).await.everything();
        assert!(
            said.contains("Unknown tool"),
            "{what}, in an open session: {said}"
        );
        assert_eq!(world.requests(), before, "{what}");
        check(&world, &format!("{what} is taken away"), &own, &set(&open)).await;
        // And it is the same row when the grant is there again.
        let again = json!({"key": own, "object_permission": permission});
        post(gateway, "/key/update", again).await;
        check(
            &world,
            &format!("{what} is granted again"),
            &own,
            &with_open(&[tool]),
        )
        .await;
    }
}

/// Whatever the method: a server that is not granted hears nothing, and one that is hears the same from a key as from the
/// administrator.
#[tokio::test]
async fn s35_no_method_reaches_a_server_that_is_not_granted() {
    let methods = every_method();
    let upstream = with_everything().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream, "")])).await;
    listed(&gateway, &["files"]).await;
    let ways = [Way::Session, Way::Bare, Way::Modern, Way::Sse];
    let ungranted = key(&gateway, json!({"mcp_servers": ["other"]})).await;
    let granted = key(&gateway, json!({"mcp_servers": ["files"]})).await;
    // What lists are fetched for the first time is fetched here, by somebody who may.
    for (method, params) in &methods[..5] {
        Way::Bare.ask(&gateway.client(), None, method, params).await;
    }
    let (before, connections) = (upstream.requests().len(), upstream.connections());
    for way in ways {
        for (method, params) in &methods {
            let (status, said) = way.ask(&with(&gateway, &ungranted), None, method, params).await;
            assert_ne!(status, 401, "{way:?} {method}: {said}");
            for member in ["prompts", "resources", "resourceTemplates"] {
                let items = said["result"][member].as_array();
                assert!(items.is_none_or(Vec::is_empty), "{way:?} {method}: {said}");
            }
        }
    }
    assert_eq!(
        (upstream.requests().len(), upstream.connections()),
        (before, connections)
    );
    for way in ways {
        for (method, params) in [&methods[1], &methods[5], &methods[0]] {
            let mine = way.ask(&with(&gateway, &granted), None, method, params).await;
            assert!(mine.1.get("result").is_some(), "{way:?} {method}: {}", mine.1);
        }
    }
    assert!(upstream.requests().len() > before);
}

/// Requests of all kinds for what a server `files` has, lists first.
pub(crate) fn every_method() -> [(&'static str, Value); 12] {
    [
        ("prompts/list", json!({})),
        ("prompts/get", json!({"name": "files-greet"})),
        ("prompts/get", json!({"name": "greet"})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("resources/read", json!({"uri": "memo://one"})),
        ("resources/subscribe", json!({"uri": "memo://one"})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "files-greet"}, "argument": {"name": "a", "value": "b"}}),
        ),
        ("experimental/thing", json!({})),
        ("tasks/list", json!({})),
        ("tools/call", json!({"name": "files-read", "arguments": {}})),
        ("tools/call", json!({"name": "read", "arguments": {}})),
    ]
}

/// A server that has everything that there can be.
pub(crate) async fn with_everything() -> ScriptedUpstream {
    let list = |member: &str, item: Value| Act::Result(json!({member: [item]}).to_string());
    let capabilities =
        json!({"tools": {}, "prompts": {}, "resources": {"subscribe": true}, "completions": {}});
    ScriptedUpstream::builder()
        .initialize_member("capabilities", capabilities)
        .on("prompts/list", list("prompts", json!({"name": "greet"})))
        .on("prompts/get", Act::Result(r#"{"messages":[]}"#.to_owned()))
        .on(
            "resources/list",
            list("resources", json!({"uri": "memo://one", "name": "one"})),
        )
        .on(
            "resources/templates/list",
            Act::Result(r#"{"resourceTemplates":[]}"#.to_owned()),
        )
        .on("resources/read", Act::Result(r#"{"contents":[]}"#.to_owned()))
        .on(
            "completion/complete",
            Act::Result(r#"{"completion":{"values":[]}}"#.to_owned()),
        )
        .start()
        .await
}

#[tokio::test]
async fn b44_a_key_without_a_grant_is_told_so() {
    let upstream = upstream().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream, "")])).await;
    listed(&gateway, &["files"]).await;
    let key = key(&gateway, json!(null)).await;
    let http = with(&gateway, &key);
    for way in [Way::Session, Way::Bare, Way::Modern, Way::Sse] {
        let (_, said) = way.ask(&http, None, "tools/list", &json!({})).await;
        let result = &said["result"];
        assert_eq!(result["tools"], json!([]), "{way:?}");
        let reason = result["_meta"]["trunkline/reason"].as_str().unwrap();
        assert!(reason.starts_with("no_grant"), "{way:?}: {reason}");
        assert!(!said.to_string().contains("files"), "{way:?}: {said}");
    }
    for way in [Way::Rest, Way::AllTools] {
        let (_, said) = way.ask(&http, None, "tools/list", &json!({})).await;
        assert_eq!(said["tools"], json!([]));
        assert!(said["message"].as_str().unwrap().contains("no_grant"), "{said}");
        assert!(!said.to_string().contains("files"), "{way:?}: {said}");
    }
    // Selected by name, it is a server that nobody has.
    for (header, path) in [
        (Some("files"), "/mcp"),
        (None, "/mcp/files"),
        (None, "/files/mcp"),
    ] {
        let mut http = http
            .clone()
            .with_header("accept", "application/json, text/event-stream");
        if let Some(name) = header {
            http = http.with_header("x-mcp-servers", name);
        }
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let own = http.post(path, &list).await;
        if header.is_some() {
            http = http.with_header("x-mcp-servers", "nobody");
        }
        let nobody = http.post(&path.replace("files", "nobody"), &list).await;
        assert!(matches!(own.status.as_u16(), 403 | 404), "{path}");
        assert_eq!(own.status, nobody.status, "{path}");
        assert_eq!(own.text().replace("files", "nobody"), nobody.text(), "{path}");
    }
}

#[tokio::test]
async fn s05_a_key_that_is_not_good_is_nobody_on_every_way() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let grant = json!({"mcp_servers": ["files"]});
    let expired = generate(gateway, json!({"object_permission": grant, "duration": "1s"})).await;
    let (blocked, deleted, old) = (
        key(gateway, grant.clone()).await,
        key(gateway, grant.clone()).await,
        key(gateway, grant.clone()).await,
    );
    post(gateway, "/key/block", json!({"key": blocked})).await;
    post(gateway, "/key/delete", json!({"keys": [deleted]})).await;
    let new = post(gateway, "/key/regenerate", json!({"key": old})).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let before = world.requests();
    let expired_key = expired["key"].as_str().unwrap();
    // Its hash is no key, nor is anything around a good one.
    let good = new["key"].as_str().unwrap();
    let hash = new["token"].as_str().unwrap();
    let (longer, shorter) = (format!("{good}x"), &good[..good.len() - 1]);
    for (bad, kind, code) in [
        (expired_key, "expired_key", "expired_key"),
        (&blocked, "auth_error", "blocked_key"),
        (&deleted, "token_not_found_in_db", "invalid_api_key"),
        (&old, "token_not_found_in_db", "invalid_api_key"),
        (hash, "token_not_found_in_db", "invalid_api_key"),
        (&longer, "token_not_found_in_db", "invalid_api_key"),
        (shorter, "token_not_found_in_db", "invalid_api_key"),
    ] {
        // Whatever else the request carries.
        for upstream in [None, Some("Bearer upstream-token")] {
            let http = match upstream {
                None => with(gateway, bad),
                Some(token) => gateway
                    .anonymous()
                    .with_header("x-litellm-api-key", bad)
                    .with_header("authorization", token),
            };
            for way in WAYS {
                for server in [None, Some("files"), Some("nobody")] {
                    for (method, params) in [("tools/list", json!({})), ("tools/call", call("files-read"))] {
                        let (status, said) = way.ask(&http, server, method, &params).await;
                        assert_eq!(status, 401, "{kind} {way:?} {server:?} {method}: {said}");
                        let shown = match way {
                            Way::Sse => continue,
                            Way::Rest | Way::AllTools => said["error"]["type"] == kind,
                            _ => said["detail"]["error"] == code,
                        };
                        assert!(shown, "{way:?}: {said}");
                    }
                }
            }
        }
    }
    assert_eq!(world.requests(), before, "nothing is sent for nobody");
    let http = with(gateway, good);
    assert_eq!(
        Way::Bare.tools(&http, None).await,
        Ok(set(&["files-read", "files-write", "open-read", "open-write"]))
    );
    post(gateway, "/key/unblock", json!({"key": blocked})).await;
    assert!(Way::Bare.tools(&with(gateway, &blocked), None).await.is_ok());
}

#[tokio::test]
async fn allowed_routes_narrow_what_a_key_may_call() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let make = async |more: Value| {
        let mut body = json!({"object_permission": {"mcp_servers": ["files"]}});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        generate(gateway, body).await["key"].as_str().unwrap().to_owned()
    };
    let read_only = make(json!({"key_type": "read_only"})).await;
    let one_path = make(json!({"allowed_routes": ["/files/mcp"]})).await;
    let inference = make(json!({"key_type": "llm_api"})).await;
    for way in WAYS {
        let status =
            async |key: &str, server| way.tools(&with(gateway, key), server).await.err().unwrap_or(200);
        assert_eq!(status(&read_only, None).await, 403, "{way:?}");
        assert_eq!(status(&one_path, None).await, 403, "{way:?}");
        assert_eq!(status(&inference, None).await, 200, "{way:?}");
        if matches!(way, Way::Session | Way::Bare | Way::Modern) {
            assert_eq!(status(&one_path, Some("files")).await, 200, "{way:?}");
            assert_eq!(status(&one_path, Some("open")).await, 403, "{way:?}");
        }
    }
    let info = async |key: &str| with(gateway, key).get("/key/info").await.status.as_u16();
    assert_eq!(info(&read_only).await, 200);
    assert_eq!(info(&inference).await, 403);
}
