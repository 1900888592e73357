//! A toolset that changes: the next request sees it, on every replica within a second, and exactly the sessions whose lists
//! change are told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{
    EventStream, McpClient, Replicas, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall, eventually,
};

use crate::support::{PATIENCE, Way, config, key, listed, members, post, set, toolset, with};

/// From the answer to the change to its effect.
const SOON: Duration = Duration::from_secs(1);

async fn upstream() -> ScriptedUpstream {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let done = |_: &ToolCall| ToolAnswer::text("done");
    ScriptedUpstream::builder()
        .tool_fn(&tool("read"), done)
        .tool_fn(&tool("write"), done)
        .start()
        .await
}

async fn put(gateway: &TestGateway, body: Value) -> Value {
    let answer = gateway.client().put("/v1/mcp/toolset", &body).await;
    answer.expect_status(200).json()
}

async fn delete(gateway: &TestGateway, id: &Value) {
    let path = format!("/v1/mcp/toolset/{}", id.as_str().unwrap());
    let answer = gateway.client().delete(&path).await.expect_status(202);
    assert_eq!(answer.text(), "");
}

/// A session at a path, with its standing stream.
async fn standing(gateway: &TestGateway, key: &str, path: &str) -> (McpClient, EventStream) {
    let mut client = McpClient::over(with(gateway, key), path);
    client.initialize().await;
    let stream = client.get_stream().await;
    assert_eq!(stream.status(), 200);
    (client, stream)
}

async fn is_told(stream: &mut EventStream, what: &str) {
    let told = stream.expect_next(SOON).await;
    assert_eq!(
        told["method"], "notifications/tools/list_changed",
        "{what}: {told}"
    );
}

async fn is_quiet(stream: &mut EventStream, what: &str) {
    let quiet = tokio::time::timeout(Duration::from_millis(600), stream.next()).await;
    assert!(quiet.is_err(), "{what}: {quiet:?}");
}

#[tokio::test]
async fn b28_a_changed_toolset_is_told_within_a_second_to_the_sessions_that_see_it_and_to_no_others() {
    let (files, notes) = (upstream().await, upstream().await);
    let gateway = TestGateway::start(&config(&[("files", &files, ""), ("notes", &notes, "")])).await;
    listed(&gateway, &["files", "notes"]).await;
    let made = toolset(&gateway, "ci", &[("files", "read")]).await;
    let id = &made["toolset_id"];
    let mine = key(&gateway, json!({"mcp_toolsets": ["ci"]})).await;
    let wide = key(
        &gateway,
        json!({"mcp_toolsets": ["ci"], "mcp_servers": ["files", "notes"]}),
    )
    .await;
    let other = key(&gateway, json!({"mcp_servers": ["files"]})).await;
    let (mut client, mut everywhere) = standing(&gateway, &mine, "/mcp").await;
    let (mut at, mut at_url) = standing(&gateway, &mine, "/toolset/ci/mcp").await;
    let (_, mut masters_at_url) = standing(&gateway, gateway.master_key(), "/toolset/ci/mcp").await;
    let (_, mut wide_at_url) = standing(&gateway, &wide, "/toolset/ci/mcp").await;
    let (_, mut wides) = standing(&gateway, &wide, "/mcp").await;
    let (_, mut others) = standing(&gateway, &other, "/mcp").await;
    let (_, mut masters) = standing(&gateway, gateway.master_key(), "/mcp").await;
    for (tools, names) in [
        (
            members(&[("files", "read"), ("notes", "write")]),
            vec!["files-read", "notes-write"],
        ),
        (members(&[("notes", "write")]), vec!["notes-write"]),
        (members(&[]), vec![]),
        (members(&[("files", "write")]), vec!["files-write"]),
    ] {
        put(&gateway, json!({"toolset_id": id, "tools": tools})).await;
        // The very next request of the same sessions.
        assert_eq!(client.tool_names().await, names);
        assert_eq!(at.tool_names().await, names);
        for (what, stream) in [
            ("a key's", &mut everywhere),
            ("at the URL", &mut at_url),
            ("the master key's at the URL", &mut masters_at_url),
            ("a wider key's at the URL", &mut wide_at_url),
        ] {
            is_told(stream, what).await;
        }
    }
    // What changes no list.
    put(&gateway, json!({"toolset_id": id, "description": "new", "tools": members(&[("files", "write"), ("gone", "x")])})).await;
    for (what, stream) in [
        ("nothing changed", &mut everywhere),
        ("nor at the URL", &mut at_url),
        ("nor the master key's", &mut masters_at_url),
        ("who has more anyway", &mut wides),
        ("who was not granted it", &mut others),
        ("the master key", &mut masters),
    ] {
        is_quiet(stream, what).await;
    }
    // Its end takes the grants away, and its URL.
    delete(&gateway, id).await;
    assert_eq!(client.tool_names().await, Vec::<String>::new());
    assert_eq!(at.request("tools/list", &Value::Null).await.status, 404);
    is_told(&mut everywhere, "deleted").await;
    is_told(&mut at_url, "deleted").await;
    is_told(&mut masters_at_url, "deleted").await;
    let said = client.call("files-write", &json!({}), None).await;
    assert!(
        said.everything().contains("Unknown tool"),
        "{}",
        said.everything()
    );
    assert_eq!(files.count("tools/call") + notes.count("tools/call"), 0);
    // One that comes later and has the name is granted.
    toolset(&gateway, "CI", &[("notes", "read")]).await;
    assert_eq!(client.tool_names().await, ["notes-read"]);
    assert_eq!(at.tool_names().await, ["notes-read"]);
    is_told(&mut everywhere, "made again").await;
}

/// A grant of a toolset that is taken from a key is gone at once, as every other.
#[tokio::test]
async fn b28_a_toolset_taken_from_a_key_is_gone_within_a_second_at_its_url_too() {
    let files = upstream().await;
    let gateway = TestGateway::start(&config(&[("files", &files, "")])).await;
    listed(&gateway, &["files"]).await;
    toolset(&gateway, "ci", &[("files", "read")]).await;
    let mine = key(
        &gateway,
        json!({"mcp_toolsets": ["ci"], "mcp_servers": ["files"]}),
    )
    .await;
    let (mut at, mut stream) = standing(&gateway, &mine, "/toolset/ci/mcp").await;
    assert_eq!(at.tool_names().await, ["files-read"]);
    let session = at.session().unwrap().to_owned();
    // Bound to where it began.
    for path in ["/mcp", "/ci/mcp", "/toolset/ci2/mcp"] {
        let mut elsewhere = McpClient::over(with(&gateway, &mine), path);
        elsewhere.set_session(Some(&session));
        assert_eq!(
            elsewhere.request("tools/list", &Value::Null).await.status,
            404,
            "{path}"
        );
    }
    post(
        &gateway,
        "/key/update",
        json!({"key": mine, "object_permission": {"mcp_toolsets": []}}),
    )
    .await;
    assert_eq!(at.request("tools/list", &Value::Null).await.status, 404);
    let called = at.call("files-read", &json!({}), None).await;
    assert_eq!(called.status, 404, "{}", called.everything());
    is_told(&mut stream, "taken away").await;
    assert_eq!(files.count("tools/call"), 0);
    let elsewhere = Way::Bare.tools(&with(&gateway, &mine), None).await;
    assert_eq!(elsewhere, Ok(set(&["files-read", "files-write"])));
}

#[tokio::test]
async fn b28_a_change_of_a_toolset_counts_on_every_replica_within_a_second() {
    let files = upstream().await;
    let text = config(&[("files", &files, "")]);
    let Some(mut replicas) = Replicas::start(TestGateway::builder().config(&text), 2).await else {
        return;
    };
    for gateway in &replicas.gateways {
        listed(gateway, &["files"]).await;
    }
    let becomes =
        async |gateway: &TestGateway, key: &str, at: Option<&str>, expected: Result<&[&str], u16>| {
            let began = Instant::now();
            let expected = expected.map(set);
            eventually("the other replica knows it", PATIENCE, async || {
                Way::Bare.tools(&with(gateway, key), at).await == expected
            })
            .await;
            let took = began.elapsed();
            assert!(took < SOON, "{expected:?} {took:?}");
        };
    let [here, there] = &replicas.gateways[..] else {
        panic!("two gateways");
    };
    let mine = key(here, json!({"mcp_toolsets": ["ci"]})).await;
    becomes(there, &mine, None, Ok(&[])).await;
    let made = toolset(here, "ci", &[("files", "read")]).await;
    let id = made["toolset_id"].clone();
    becomes(there, &mine, None, Ok(&["files-read"])).await;
    let (mut client, mut stream) = standing(there, &mine, "/toolset/ci/mcp").await;
    put(
        here,
        json!({"toolset_id": id, "tools": members(&[("files", "write")])}),
    )
    .await;
    is_told(&mut stream, "on the other replica").await;
    assert_eq!(client.tool_names().await, ["files-write"]);
    becomes(there, &mine, Some("toolset/ci"), Ok(&["files-write"])).await;
    // The table is away: what is known is served, nothing changes, and no gateway starts without it.
    replicas.database.sql("ALTER TABLE mcp_toolset RENAME TO away");
    for gateway in &replicas.gateways {
        becomes(gateway, &mine, Some("toolset/ci"), Ok(&["files-write"])).await;
        let refused = gateway
            .client()
            .put("/v1/mcp/toolset", &json!({"toolset_id": id}))
            .await;
        let refused = refused.expect_status(503);
        assert!(!refused.text().contains("mcp_toolset"), "{}", refused.text());
    }
    assert!(replicas.gateways[1].try_restart().await.is_err());
    replicas.database.sql("ALTER TABLE away RENAME TO mcp_toolset");
    replicas.gateways[1].restart().await;
    let [here, there] = &replicas.gateways[..] else {
        panic!("two gateways");
    };
    listed(there, &["files"]).await;
    becomes(there, &mine, Some("toolset/ci"), Ok(&["files-write"])).await;
    // B42: one that cannot be read grants nothing, and is no URL.
    replicas.database.sql(&format!(
        "UPDATE mcp_toolset SET tools = '{{}}' WHERE toolset_id = '{}'",
        id.as_str().unwrap()
    ));
    replicas
        .database
        .sql("UPDATE registry_revision SET revision = revision + 1 WHERE id = 3");
    for gateway in [here, there] {
        eventually("it is not granted", PATIENCE, async || {
            Way::Bare.tools(&with(gateway, &mine), None).await == Ok(set(&[]))
        })
        .await;
        let at = Way::Bare.tools(&with(gateway, &mine), Some("toolset/ci")).await;
        assert_eq!(at, Err(404));
    }
    delete(here, &id).await;
    toolset(here, "ci", &[("files", "read")]).await;
    becomes(there, &mine, Some("toolset/ci"), Ok(&["files-read"])).await;
}
