//! Two gateways on one PostgreSQL database: what one changes of whom keys belong to counts on the other within a second, and what
//! cannot be read refuses.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{
    HttpClient, McpClient, Replicas, ScriptedUpstream, SseClient, TestGateway, eventually,
};

use crate::support::{PATIENCE, Way, config, generate, listed, post, set, with};
use crate::world::{ask, of_the_team, secret};

async fn two(upstreams: [&ScriptedUpstream; 2]) -> Option<Replicas> {
    let text = config(&[("files", upstreams[0], ""), ("notes", upstreams[1], "")]);
    let replicas = Replicas::start(TestGateway::builder().config(&text), 2).await?;
    for gateway in &replicas.gateways {
        listed(gateway, &["files", "notes"]).await;
    }
    Some(replicas)
}

/// How long it takes until a list is as expected.
async fn becomes(http: &HttpClient, expected: Result<&[&str], u16>) -> Duration {
    let began = Instant::now();
    let expected = expected.map(set);
    eventually("the other replica knows it", PATIENCE, async || {
        Way::Bare.tools(http, None).await == expected
    })
    .await;
    began.elapsed()
}

const BOTH: &[&str] = &["files-echo", "notes-echo"];

fn has(servers: &Value) -> Value {
    json!({"mcp_servers": servers})
}

#[tokio::test]
async fn b28_a_change_of_whom_a_key_belongs_to_counts_on_every_replica_within_a_second() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let Some(replicas) = two([&files, &notes]).await else {
        return;
    };
    let [here, there] = &replicas.gateways[..] else {
        panic!("two gateways");
    };
    let mut slowest = Duration::ZERO;
    let mut within = |took: Duration| slowest = slowest.max(took);
    let organization = json!({"organization_id": "o", "organization_alias": "o"});
    post(here, "/organization/new", organization).await;
    post(
        here,
        "/team/new",
        json!({"team_id": "t", "organization_id": "o", "object_permission": has(&json!(["files", "notes"]))}),
    )
    .await;
    post(
        here,
        "/user/new",
        json!({"user_id": "u", "auto_create_key": false}),
    )
    .await;
    let body = json!({"team_id": "t", "user_id": "u", "object_permission": of_the_team()});
    let mine = secret(&generate(here, body).await);
    let http = with(there, &mine).with_header("x-litellm-end-user-id", "e");
    within(becomes(&http, Ok(BOTH)).await);
    let mut client = McpClient::over(http.clone(), "/mcp");
    client.initialize().await;
    let stream = client.get_stream().await;

    let one: &[&str] = &["notes-echo"];
    for (method, path, id) in [
        ("POST", "/team/update", "team_id"),
        ("POST", "/user/update", "user_id"),
        ("PATCH", "/organization/update", "organization_id"),
    ] {
        let change = |servers: Value| json!({id: &path[1..2], "object_permission": has(&servers)});
        ask(here, method, path, change(json!(["notes"])), 200).await;
        within(becomes(&http, Ok(one)).await);
        ask(here, method, path, change(json!(["files", "notes"])), 200).await;
        within(becomes(&http, Ok(BOTH)).await);
    }
    post(
        here,
        "/customer/new",
        json!({"user_id": "e", "object_permission": has(&json!(["notes"]))}),
    )
    .await;
    within(becomes(&http, Ok(one)).await);
    post(here, "/customer/block", json!({"user_ids": ["e"]})).await;
    within(becomes(&http, Err(401)).await);
    let (_, broken) = tokio::time::timeout(Duration::from_secs(1), stream.rest())
        .await
        .unwrap();
    assert!(broken.is_none(), "{broken:?}");
    post(here, "/customer/delete", json!({"user_ids": ["e"]})).await;
    within(becomes(&http, Ok(BOTH)).await);

    let mut client = McpClient::over(http.clone(), "/mcp");
    client.initialize().await;
    let stream = client.get_stream().await;
    post(here, "/team/block", json!({"team_id": "t"})).await;
    within(becomes(&http, Err(401)).await);
    let (_, broken) = tokio::time::timeout(Duration::from_secs(1), stream.rest())
        .await
        .unwrap();
    assert!(broken.is_none(), "{broken:?}");
    post(there, "/team/unblock", json!({"team_id": "t"})).await;
    within(becomes(&with(here, &mine), Ok(BOTH)).await);
    post(here, "/user/delete", json!({"user_ids": ["u"]})).await;
    within(becomes(&http, Err(401)).await);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// Another role counts for the next request on every replica, and a user that is gone takes everything along that is open anywhere.
#[tokio::test]
async fn s34_another_role_and_a_deleted_user_count_on_every_replica_within_a_second() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let Some(replicas) = two([&files, &notes]).await else {
        return;
    };
    let here = &replicas.gateways[0];
    let body = json!({"user_id": "boss", "user_role": "proxy_admin"});
    let boss = secret(&post(here, "/user/new", body).await);
    let clients: Vec<HttpClient> = replicas.gateways.iter().map(|own| with(own, &boss)).collect();
    let mut open = Vec::new();
    for http in &clients {
        becomes(http, Ok(BOTH)).await;
        let mut client = McpClient::over(http.clone(), "/mcp");
        client.initialize().await;
        let stream = client.get_stream().await;
        let sse = SseClient::open(http, "/sse").await;
        open.push((client, stream, sse));
    }
    let second = Duration::from_secs(1);
    let body = json!({"user_id": "boss", "user_role": "internal_user"});
    post(here, "/user/update", body).await;
    let began = Instant::now();
    assert_eq!(
        clients[0].get("/user/list").await.status,
        401,
        "the very next request"
    );
    for (http, (client, ..)) in clients.iter().zip(&mut open) {
        becomes(http, Ok(&[])).await;
        assert!(began.elapsed() < second, "another role: {:?}", began.elapsed());
        assert_eq!(http.get("/user/list").await.status, 401);
        let call = client.call("files-echo", &json!({"message": "hi"}), None).await;
        assert!(
            call.everything().contains("Unknown tool"),
            "{}",
            call.everything()
        );
    }
    assert_eq!(files.count("tools/call"), 0);
    post(here, "/user/delete", json!({"user_ids": ["boss"]})).await;
    let began = Instant::now();
    for (http, (mut client, stream, mut sse)) in clients.iter().zip(open) {
        let rest = tokio::time::timeout(second, stream.rest()).await;
        let (_, broken) = rest.expect("a stream of a session ends within a second");
        assert!(broken.is_none(), "in order: {broken:?}");
        let end = tokio::time::timeout(second, async { while sse.next().await.is_some() {} }).await;
        end.expect("a stream of the old transport ends within a second");
        becomes(http, Err(401)).await;
        assert_eq!(client.request("tools/list", &json!({})).await.status, 401);
        assert!(began.elapsed() < second, "deleted: {:?}", began.elapsed());
    }
}

/// Both change one team at once, each without having heard of the other: nothing is lost.
#[tokio::test]
async fn changes_of_one_team_by_two_replicas_are_both_kept() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let Some(replicas) = two([&files, &notes]).await else {
        return;
    };
    post(&replicas.gateways[0], "/team/new", json!({"team_id": "t"})).await;
    let add = async |gateway: &TestGateway, number: usize| {
        let member = json!({"user_id": format!("u{number}")});
        post(
            gateway,
            "/team/member_add",
            json!({"team_id": "t", "member": member}),
        )
        .await;
    };
    for round in 0..8 {
        let [here, there] = &replicas.gateways[..] else {
            panic!("two gateways");
        };
        tokio::join!(add(here, 2 * round), add(there, 2 * round + 1));
    }
    for gateway in &replicas.gateways {
        eventually("all members are there", PATIENCE, async || {
            let info = gateway.client().get("/team/info?team_id=t").await.json();
            info["team_info"]["members_with_roles"].as_array().unwrap().len() == 16
        })
        .await;
    }
}

/// A row that this version cannot read as a whole refuses everybody whom it would restrict, is shown, and can be deleted.
#[tokio::test]
async fn s05_whom_a_key_belongs_to_with_something_unknown_refuses_it() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let Some(replicas) = two([&files, &notes]).await else {
        return;
    };
    let gateway = &replicas.gateways[0];
    let organization = json!({"organization_id": "o", "organization_alias": "o"});
    post(gateway, "/organization/new", organization).await;
    let team = json!({"team_id": "t", "organization_id": "o", "object_permission": has(&json!(["files"]))});
    post(gateway, "/team/new", team).await;
    post(
        gateway,
        "/user/new",
        json!({"user_id": "u", "auto_create_key": false}),
    )
    .await;
    post(gateway, "/customer/new", json!({"user_id": "e"})).await;
    let body = json!({"team_id": "t", "user_id": "u", "object_permission": of_the_team()});
    let mine = secret(&generate(gateway, body).await);
    let http = with(gateway, &mine).with_header("x-litellm-end-user-id", "e");
    becomes(&http, Ok(&["files-echo"])).await;
    for (table, level) in [
        ("team_table", "team"),
        ("user_table", "user"),
        ("organization_table", "organization"),
        ("end_user_table", "end_user"),
    ] {
        for (value, expected) in [(r#"{"blocked_tools":["x"]}"#, Err(401)), ("{}", Ok(()))] {
            let value = match (expected, level) {
                (Ok(()), "team") => r#"{"mcp_servers":["files"]}"#,
                _ => value,
            };
            replicas.database.sql(&format!(
                "UPDATE {table} SET object_permission = '{value}', revision = (SELECT revision + 1 FROM registry_revision WHERE id = 2)"
            ));
            replicas
                .database
                .sql("UPDATE registry_revision SET revision = revision + 1 WHERE id = 2");
            becomes(&http, expected.map(|()| &["files-echo"][..])).await;
            if expected.is_err() {
                let refused = http.get("/mcp-rest/tools/list").await.json();
                let message = refused["error"]["message"].as_str().unwrap();
                assert!(
                    message.contains(&format!("the {level} of this request")),
                    "{message}"
                );
            }
        }
    }
    // Gone by hand: nobody knows what it would have restricted.
    replicas.database.sql("DELETE FROM organization_table");
    replicas
        .database
        .sql("UPDATE registry_revision SET revision = revision + 1 WHERE id = 2");
    becomes(&http, Err(401)).await;
    post(
        gateway,
        "/team/update",
        json!({"team_id": "t", "organization_id": null}),
    )
    .await;
    becomes(&http, Ok(&["files-echo"])).await;
}
