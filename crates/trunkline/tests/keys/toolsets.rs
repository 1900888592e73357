//! What a toolset grants, and what its URL selects: on every way in, lists and calls alike, and nothing beyond the tools.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_testkit::{McpClient, TestGateway};

use crate::matrix::{World, all, call, check, every_method, is_done, with_everything};
use crate::support::{MODERN, WAYS, Way, config, key, listed, set, toolset, with};

/// Checks that the key sees and reaches exactly these at the toolset's URL; `None`: that it is a URL of nobody.
async fn check_at(world: &World, what: &str, (key, name): (&str, &str), expected: Option<&BTreeSet<String>>) {
    let http = with(&world.gateway, key);
    let at = format!("toolset/{name}");
    for way in WAYS.into_iter().filter(|way| *way != Way::AllTools) {
        let found = way.tools(&http, Some(&at)).await;
        assert_eq!(found.as_ref().ok(), expected, "{what} {way:?}: {found:?}");
        if way == Way::Rest {
            // A call over REST has no toolset in it.
            continue;
        }
        for tool in all() {
            let before = world.calls();
            let (status, said) = way.ask(&http, Some(&at), "tools/call", &call(&tool)).await;
            let is_expected = expected.is_some_and(|expected| expected.contains(&tool));
            assert_eq!(
                (world.calls() - before, is_done(&said)),
                (usize::from(is_expected), is_expected),
                "{what} {way:?} {tool}: {status} {said}"
            );
        }
        if expected.is_none() {
            assert_is_nobodys(&http, way, name).await;
        }
    }
}

/// The same answer as for a name that nobody has, whatever is asked.
async fn assert_is_nobodys(http: &trunkline_testkit::HttpClient, way: Way, name: &str) {
    let own = way
        .ask(http, Some(&format!("toolset/{name}")), "tools/list", &json!({}))
        .await;
    for nobody in ["toolset/nobody", "nobody"] {
        let other = way.ask(http, Some(nobody), "tools/list", &json!({})).await;
        assert_eq!((own.0, other.0), (404, 404), "{way:?} {nobody}");
        let text = own.1.to_string().replace(name, "nobody");
        assert_eq!(text, other.1.to_string(), "{way:?} {nobody}");
    }
}

#[tokio::test]
async fn b40_b42_a_toolset_is_the_same_on_every_way_in() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let rows = gateway.client().get("/v1/mcp/server").await.json();
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["server_name"] == "notes");
    let notes = row.unwrap()["server_id"].as_str().unwrap();
    // By name, by id, under an exposed name; what there is not; and what is for every key.
    let tools = [
        ("FILES", "read"),
        (notes, "notes-write"),
        ("gone", "read"),
        ("open", "read"),
        ("files", "gone"),
    ];
    let made = toolset(gateway, "ci set", &tools).await;
    let id = made["toolset_id"].as_str().unwrap();
    toolset(gateway, "empty", &[]).await;
    toolset(gateway, "other", &[("files", "write"), ("notes", "write")]).await;
    let open = ["open-read", "open-write"];
    let with_open = |own: &[&str]| set(&[own, &open].concat());
    let selected = ["files-read", "notes-write", "open-read"];
    for (what, permission, everywhere, at) in [
        (
            "by name",
            json!({"mcp_toolsets": ["CI Set"]}),
            with_open(&["files-read", "notes-write"]),
            Some(set(&selected)),
        ),
        (
            "by id, beside one that is gone",
            json!({"mcp_toolsets": ["gone", id]}),
            with_open(&["files-read", "notes-write"]),
            Some(set(&selected)),
        ),
        (
            "two of them",
            json!({"mcp_toolsets": [id, "other"]}),
            with_open(&["files-read", "files-write", "notes-write"]),
            Some(set(&selected)),
        ),
        (
            "beside a server as a whole",
            json!({"mcp_toolsets": [id], "mcp_servers": ["files"]}),
            with_open(&["files-read", "files-write", "notes-write"]),
            Some(set(&selected)),
        ),
        (
            "narrowed by tool permissions",
            json!({"mcp_toolsets": [id], "mcp_tool_permissions": {"files": [], "open": ["write"]}}),
            set(&["notes-write", "open-write"]),
            Some(set(&["notes-write"])),
        ),
        // A URL grants nothing: its tools may be used, and it may not.
        (
            "servers and no toolset",
            json!({"mcp_servers": ["files"], "mcp_access_groups": ["dev"]}),
            with_open(&["files-read", "files-write", "notes-read", "notes-write"]),
            None,
        ),
        (
            "another one",
            json!({"mcp_toolsets": ["empty"]}),
            set(&open),
            None,
        ),
        (
            "one that is not",
            json!({"mcp_toolsets": ["gone", "ci"]}),
            set(&open),
            None,
        ),
        (
            "opted out",
            json!({"mcp_toolsets": [id], "mcp_servers": ["no-mcp-servers"]}),
            set(&[]),
            None,
        ),
    ] {
        let key = key(gateway, permission).await;
        check(&world, what, &key, &everywhere).await;
        for name in ["ci%20set", id] {
            if at.is_some() || name == id {
                check_at(&world, what, (&key, name), at.as_ref()).await;
            }
        }
    }
    check_at(
        &world,
        "the master key",
        (gateway.master_key(), id),
        Some(&set(&selected)),
    )
    .await;
    // B42: one that is empty gives nothing.
    let empty = key(gateway, json!({"mcp_toolsets": ["empty"]})).await;
    check_at(&world, "empty", (&empty, "empty"), Some(&set(&[]))).await;
}

#[tokio::test]
async fn b17_a_toolset_is_named_after_servers_and_before_groups() {
    let world = World::new().await;
    let gateway = &world.gateway;
    // `dev` is a group of `notes`.
    for name in ["files", "dev", "both"] {
        toolset(gateway, name, &[("files", "read"), ("notes", "read")]).await;
    }
    let tools = async |key: &str, at: &str| Way::Bare.tools(&with(gateway, key), Some(at)).await;
    let mine = key(
        gateway,
        json!({"mcp_toolsets": ["dev", "both"], "mcp_access_groups": ["dev"]}),
    )
    .await;
    let reads = Ok(set(&["files-read", "notes-read"]));
    assert_eq!(tools(&mine, "both").await, reads);
    assert_eq!(tools(&mine, "dev").await, reads, "the toolset before the group");
    assert_eq!(
        tools(&mine, "files").await,
        Ok(set(&["files-read"])),
        "the server before the toolset"
    );
    assert_eq!(
        tools(&mine, "toolset/files").await,
        Err(404),
        "and it was not granted"
    );
    // Who was not granted it means the group.
    let other = key(gateway, json!({"mcp_access_groups": ["dev"]})).await;
    assert_eq!(
        tools(&other, "dev").await,
        Ok(set(&["notes-read", "notes-write"]))
    );
    // Lists of names, and the header, are of servers and groups.
    assert_eq!(
        tools(&mine, "both,notes").await,
        Ok(set(&["notes-read", "notes-write"]))
    );
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let http = with(gateway, &mine).with_header("accept", "application/json, text/event-stream");
    assert_eq!(http.post("/mcp/both", &list).await.status, 403);
    let by_header = http.clone().with_header("x-mcp-servers", "both");
    assert_eq!(by_header.post("/mcp", &list).await.status, 403);
    // The path beats the header, but REST has no path.
    let narrowed = with(gateway, &mine).with_header("x-mcp-servers", "notes");
    assert_eq!(Way::Bare.tools(&narrowed, Some("toolset/both")).await, reads);
    assert_eq!(
        Way::Rest.tools(&narrowed, Some("toolset/both")).await,
        Ok(set(&["notes-read"]))
    );
    let both = http
        .get("/mcp-rest/tools/list?toolset_name=both&server_id=files")
        .await;
    let both = both.expect_status(200).json();
    assert_eq!(both["tools"].as_array().unwrap().len(), 1, "{both}");
    assert_eq!(both["tools"][0]["name"], "read");
    // Without a good key nobody hears what there is.
    for http in [gateway.anonymous(), with(gateway, "sk-nobody-0123456789")] {
        for name in ["toolset/both", "toolset/nobody"] {
            for way in WAYS.into_iter().filter(|way| *way != Way::AllTools) {
                assert_eq!(way.tools(&http, Some(name)).await, Err(401), "{way:?} {name}");
            }
        }
    }
}

/// Of a server of which a toolset alone was granted, or that is asked at a toolset's URL, nothing but the tools is there.
#[tokio::test]
async fn s35_a_toolset_reaches_tools_and_nothing_else() {
    let upstream = with_everything().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream, "")])).await;
    listed(&gateway, &["files"]).await;
    toolset(&gateway, "echoes", &[("files", "echo")]).await;
    let mine = key(&gateway, json!({"mcp_toolsets": ["echoes"]})).await;
    let whole = key(
        &gateway,
        json!({"mcp_toolsets": ["echoes"], "mcp_servers": ["files"]}),
    )
    .await;
    let methods = every_method();
    // What lists are fetched for the first time is fetched here, by somebody who may.
    for (method, params) in &methods[..5] {
        Way::Bare.ask(&gateway.client(), None, method, params).await;
    }
    Way::Modern.tools(&gateway.client(), None).await.unwrap();
    // A tool that is not known is looked for in the list of tools, and nowhere else.
    let others = || upstream.requests().len() - upstream.count("tools/list");
    let before = others();
    let ways = [Way::Session, Way::Bare, Way::Modern, Way::Sse];
    for (key, at) in [
        (mine.as_str(), None),
        (&mine, Some("toolset/echoes")),
        (&mine, Some("files")),
        (&whole, Some("toolset/echoes")),
        (gateway.master_key(), Some("toolset/echoes")),
    ] {
        for way in ways {
            let http = with(&gateway, key);
            assert_eq!(
                way.tools(&http, at).await,
                Ok(set(&["files-echo"])),
                "{way:?} {at:?}"
            );
            for (method, params) in &methods {
                let (_, said) = way.ask(&http, at, method, params).await;
                for member in ["prompts", "resources", "resourceTemplates"] {
                    let items = said["result"][member].as_array();
                    assert!(items.is_none_or(Vec::is_empty), "{way:?} {at:?} {method}: {said}");
                }
            }
        }
        assert_declares_tools_alone(&gateway, key, at).await;
    }
    assert_eq!(others(), before);
    // The same key elsewhere has the server as a whole.
    for way in ways {
        let http = with(&gateway, &whole);
        for (method, params) in [&methods[1], &methods[5], &methods[0]] {
            let (_, said) = way.ask(&http, None, method, params).await;
            assert!(said.get("result").is_some(), "{way:?} {method}: {said}");
        }
    }
    // A subscription of the new era honours nothing of it.
    let http = with(&gateway, &mine)
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", "subscriptions/listen");
    let params = json!({
        "notifications": {"resourceSubscriptions": ["memo://one", "files+memo://one"]},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let mut stream = McpClient::over(http, "/mcp")
        .open("subscriptions/listen", &params)
        .await;
    let first = stream.expect_next(crate::support::PATIENCE).await;
    assert_eq!(
        first["params"]["notifications"],
        json!({"resourceSubscriptions": []}),
        "{first}"
    );
    assert_eq!(upstream.count("resources/subscribe"), 0);
}

async fn assert_declares_tools_alone(gateway: &TestGateway, key: &str, at: Option<&str>) {
    let path = at.map_or_else(|| "/mcp".to_owned(), |at| format!("/{at}/mcp"));
    let mut client = McpClient::over(with(gateway, key), &path);
    let begun: Value = client.initialize().await.result();
    let declared: BTreeSet<&String> = begun["capabilities"].as_object().unwrap().keys().collect();
    for name in ["prompts", "resources", "completions"] {
        assert!(!declared.contains(&name.to_owned()), "{path}: {begun}");
    }
    assert!(declared.contains(&"tools".to_owned()), "{path}: {begun}");
}
