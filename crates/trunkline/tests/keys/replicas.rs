//! Two gateways on one PostgreSQL database: what one changes counts on the other within a second, and a warm request asks
//! nobody.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use trunkline_testkit::{McpClient, Replicas, ScriptedUpstream, TestGateway, eventually};

use crate::support::{PATIENCE, WAYS, Way, config, key, listed, post, set, toolset, with};

async fn two(upstreams: [&ScriptedUpstream; 2]) -> Option<Replicas> {
    let text = config(&[("files", upstreams[0], ""), ("notes", upstreams[1], "")]);
    let replicas = Replicas::start(TestGateway::builder().config(&text), 2).await?;
    for gateway in &replicas.gateways {
        listed(gateway, &["files", "notes"]).await;
    }
    Some(replicas)
}

/// How long it takes until a list is as expected.
async fn becomes(gateway: &TestGateway, key: &str, expected: Result<&[&str], u16>) -> Duration {
    let began = Instant::now();
    let expected = expected.map(set);
    eventually("the other replica knows it", PATIENCE, async || {
        Way::Bare.tools(&with(gateway, key), None).await == expected
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn b28_a_change_of_a_key_counts_on_every_replica_within_a_second() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let Some(replicas) = two([&files, &notes]).await else {
        return;
    };
    let [here, there] = &replicas.gateways[..] else {
        panic!("two gateways");
    };
    let mut slowest = Duration::ZERO;
    let mut within = |took: Duration| slowest = slowest.max(took);
    let mine = key(here, json!({"mcp_servers": ["files"]})).await;
    within(becomes(there, &mine, Ok(&["files-echo"])).await);
    let mut client = McpClient::over(with(there, &mine), "/mcp");
    client.initialize().await;
    let mut stream = client.get_stream().await;

    let update = |servers: Value| json!({"key": mine, "object_permission": {"mcp_servers": servers}});
    post(here, "/key/update", update(json!(["files", "notes"]))).await;
    within(becomes(there, &mine, Ok(&["files-echo", "notes-echo"])).await);
    let told = stream.expect_next(Duration::from_secs(1)).await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    post(here, "/key/update", update(json!(["notes"]))).await;
    within(becomes(there, &mine, Ok(&["notes-echo"])).await);
    post(there, "/key/block", json!({"key": mine})).await;
    within(becomes(here, &mine, Err(401)).await);
    let (_, broken) = tokio::time::timeout(Duration::from_secs(1), stream.rest())
        .await
        .unwrap();
    assert!(broken.is_none(), "{broken:?}");
    post(here, "/key/unblock", json!({"key": mine})).await;
    within(becomes(there, &mine, Ok(&["notes-echo"])).await);
    let new = post(here, "/key/regenerate", json!({"key": mine})).await;
    let new = new["key"].as_str().unwrap();
    within(becomes(there, &mine, Err(401)).await);
    within(becomes(there, new, Ok(&["notes-echo"])).await);
    // One is gone and another one came, so that there are as many as before.
    post(here, "/key/delete", json!({"keys": [new]})).await;
    let other = key(here, json!({"mcp_servers": ["files"]})).await;
    within(becomes(there, &other, Ok(&["files-echo"])).await);
    within(becomes(there, new, Err(401)).await);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// Who changes it sees it in the very next list, on every way; every other replica within a second, and then on every way, too, and in
/// every session that is open.
#[tokio::test]
async fn b28_a_grant_and_its_end_count_on_three_replicas_on_every_way_within_a_second() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let text = config(&[
        ("files", &files, ""),
        ("notes", &notes, "    access_groups: [dev]\n"),
    ]);
    let Some(replicas) = Replicas::start(TestGateway::builder().config(&text), 3).await else {
        return;
    };
    for gateway in &replicas.gateways {
        listed(gateway, &["files", "notes"]).await;
    }
    let here = &replicas.gateways[0];
    toolset(here, "suite", &[("notes", "echo")]).await;
    let mine = key(here, json!({"mcp_servers": ["files"]})).await;
    // It was used everywhere, on every way, and has a session open on each.
    let mut sessions = Vec::new();
    for gateway in &replicas.gateways {
        becomes(gateway, &mine, Ok(&["files-echo"])).await;
        for way in WAYS {
            let shown = way.tools(&with(gateway, &mine), None).await;
            assert_eq!(shown, Ok(set(&["files-echo"])), "{way:?}");
        }
        let mut client = McpClient::over(with(gateway, &mine), "/mcp");
        client.initialize().await;
        assert_eq!(client.tool_names().await, ["files-echo"]);
        sessions.push(client);
    }
    let both: &[&str] = &["files-echo", "notes-echo"];
    for (permission, expected) in [
        (json!({"mcp_servers": ["files", "notes"]}), both),
        (json!({"mcp_servers": ["files"]}), &["files-echo"]),
        (
            json!({"mcp_servers": ["files"], "mcp_access_groups": ["dev"]}),
            both,
        ),
        (
            json!({"mcp_servers": ["files"], "mcp_tool_permissions": {"files": []}}),
            &[],
        ),
        (json!({"mcp_servers": ["files"], "mcp_toolsets": ["suite"]}), both),
        (json!({"mcp_servers": ["no-mcp-servers"]}), &[]),
        (json!({"mcp_servers": ["notes"]}), &["notes-echo"]),
        (json!({}), &[]),
    ] {
        // What a change does not name stays: here nothing does.
        let mut whole = json!({"mcp_servers": [], "mcp_access_groups": [], "mcp_toolsets": [], "mcp_tool_permissions": {}});
        let named = permission.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(named);
        let change = json!({"key": mine, "object_permission": whole});
        post(here, "/key/update", change).await;
        let began = Instant::now();
        assert_eq!(
            Way::Bare.tools(&with(here, &mine), None).await,
            Ok(set(expected)),
            "the very next list: {permission}"
        );
        join_all(
            replicas
                .gateways
                .iter()
                .map(|gateway| becomes(gateway, &mine, Ok(expected))),
        )
        .await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "{permission}: {took:?}");
        for (number, (gateway, session)) in replicas.gateways.iter().zip(&mut sessions).enumerate() {
            let http = with(gateway, &mine);
            for way in WAYS {
                let what = format!("{permission} at {number} {way:?}");
                assert_eq!(way.tools(&http, None).await, Ok(set(expected)), "{what}");
                for (tool, upstream) in [("files-echo", &files), ("notes-echo", &notes)] {
                    let before = upstream.count("tools/call");
                    let call = json!({"name": tool, "arguments": {"message": "hi"}});
                    way.ask(&http, None, "tools/call", &call).await;
                    let reached = upstream.count("tools/call") - before;
                    assert_eq!(reached, usize::from(expected.contains(&tool)), "{what} {tool}");
                }
            }
            assert_eq!(session.tool_names().await, expected, "{permission} at {number}");
        }
    }
}

/// The table is away: requests of known keys are served as before, nobody new is let in, changes fail, and a gateway does not
/// start.
#[tokio::test]
async fn s05_without_its_table_a_gateway_admits_nobody_new() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let Some(mut replicas) = two([&files, &notes]).await else {
        return;
    };
    let mine = key(&replicas.gateways[0], json!({"mcp_servers": ["files"]})).await;
    becomes(&replicas.gateways[1], &mine, Ok(&["files-echo"])).await;
    replicas
        .database
        .sql("ALTER TABLE verification_token RENAME TO away");
    for gateway in &replicas.gateways {
        for way in [Way::Session, Way::Bare, Way::Modern, Way::Rest] {
            let call = json!({"name": "files-echo", "arguments": {"message": "hi"}});
            let (status, said) = way.ask(&with(gateway, &mine), None, "tools/call", &call).await;
            assert_eq!(status, 200, "no request waits for the table: {way:?} {said}");
        }
        let stranger = with(gateway, "sk-nobodys-key-0123456789");
        assert_eq!(Way::Bare.tools(&stranger, None).await, Err(401));
        let refused = gateway
            .client()
            .post("/key/generate", &json!({}))
            .await
            .expect_status(503);
        assert_eq!(refused.json()["error"]["type"], "no_db_connection");
        assert!(
            !refused.text().contains("verification_token"),
            "{}",
            refused.text()
        );
        for path in ["/key/block", "/key/update", "/key/regenerate"] {
            gateway
                .client()
                .post(path, &json!({"key": mine}))
                .await
                .expect_status(503);
        }
        gateway
            .client()
            .post("/key/delete", &json!({"keys": [mine]}))
            .await
            .expect_status(503);
    }
    let failure = replicas.gateways[1].try_restart().await;
    assert!(failure.is_err(), "what cannot be read admits nobody");
    replicas
        .database
        .sql("ALTER TABLE away RENAME TO verification_token");
    replicas.gateways[1].restart().await;
    listed(&replicas.gateways[1], &["files"]).await;
    becomes(&replicas.gateways[1], &mine, Ok(&["files-echo"])).await;
    post(&replicas.gateways[0], "/key/delete", json!({"keys": [mine]})).await;
    becomes(&replicas.gateways[1], &mine, Err(401)).await;
}

/// A row that this version cannot read as a whole is refused, shown, and can be deleted.
#[tokio::test]
async fn s05_a_key_with_something_unknown_in_it_is_refused() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let Some(replicas) = two([&files, &notes]).await else {
        return;
    };
    let gateway = &replicas.gateways[0];
    for (column, value) in [
        (
            "object_permission",
            r#"'{"mcp_servers":["files"],"blocked_tools":["echo"]}'"#,
        ),
        ("object_permission", "'no json'"),
        ("allowed_routes", "'{}'"),
        ("expires", "9223372036854775807"),
    ] {
        let mine = key(gateway, json!({"mcp_servers": ["files"]})).await;
        let info = gateway
            .client()
            .get(&format!("/key/info?key={mine}"))
            .await
            .json();
        let hash = info["key"].as_str().unwrap();
        replicas.database.sql(&format!(
            "UPDATE verification_token SET {column} = {value}, revision = (SELECT revision + 1 FROM registry_revision WHERE id = 2) WHERE token = '{hash}'"
        ));
        replicas
            .database
            .sql("UPDATE registry_revision SET revision = revision + 1 WHERE id = 2");
        becomes(gateway, &mine, Err(401)).await;
        let row = gateway
            .client()
            .get(&format!("/key/info?key={hash}"))
            .await
            .json();
        assert_eq!(row["info"]["status"], "unreadable", "{column}: {row}");
        assert!(row["info"]["defect"].as_str().unwrap().contains(column), "{row}");
        // Written back, what cannot be read would be lost.
        gateway
            .client()
            .post("/key/update", &json!({"key": hash, "user_id": "u"}))
            .await
            .expect_status(400);
        post(gateway, "/key/delete", json!({"keys": [hash]})).await;
    }
}
