//! End users: LiteLLM's customers, under both of their names, and what requests for them may use.

use serde_json::json;

use crate::support::{key, post, with};
use crate::world::{World, ask, get};

#[tokio::test]
async fn s18_an_end_user_lives_as_it_does_in_litellm_and_narrows_what_requests_for_it_may_use() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let key = key(gateway, json!({"mcp_servers": ["files", "notes"]})).await;
    let for_one = |header| with(gateway, &key).with_header(header, "c1");
    let (end_user, customer) = (for_one("x-litellm-end-user-id"), for_one("x-litellm-customer-id"));
    world
        .check("a label", &end_user, &["files", "notes", "open"])
        .await;

    let body =
        json!({"user_id": "c1", "alias": "C", "object_permission": {"mcp_servers": ["files"]}, "spend": 0});
    let made = post(gateway, "/customer/new", body.clone()).await;
    assert_eq!(
        (&made["user_id"], &made["blocked"]),
        (&json!("c1"), &json!(false))
    );
    ask(gateway, "POST", "/end_user/new", body, 400).await;
    ask(gateway, "POST", "/customer/new", json!({"alias": "x"}), 422).await;
    ask(
        gateway,
        "POST",
        "/customer/new",
        json!({"user_id": "x", "max_budget": 1}),
        422,
    )
    .await;
    ask(
        gateway,
        "POST",
        "/customer/new",
        json!({"user_id": "x", "metadata": {}}),
        422,
    )
    .await;
    for http in [&end_user, &customer] {
        world.check("its list", http, &["files", "open"]).await;
    }
    world
        .check("for nobody", &with(gateway, &key), &["files", "notes", "open"])
        .await;
    // The administrator's requests for it, too.
    let master = gateway
        .client()
        .clone()
        .with_header("x-litellm-end-user-id", "c1");
    world
        .check("of the administrator", &master, &["files", "open"])
        .await;

    let change = json!({"user_id": "c1", "object_permission": {"mcp_tool_permissions": {"files": ["read"], "open": []}}});
    post(gateway, "/end_user/update", change).await;
    world.check("its tools", &end_user, &["files-read"]).await;
    assert_eq!(get(gateway, "/customer/info?end_user_id=c1").await["alias"], "C");
    assert_eq!(
        get(gateway, "/end_user/list").await,
        get(gateway, "/customer/list").await
    );

    let blocked = post(gateway, "/customer/block", json!({"user_ids": ["c1", "c2"]})).await;
    assert_eq!(
        blocked["blocked_users"][1]["user_id"], "c2",
        "one that was a label"
    );
    for http in [&end_user, &customer, &master] {
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let refused = http.post("/mcp", &list).await.expect_status(401).json();
        assert_eq!(refused["detail"]["error"], "blocked_end_user");
    }
    // To administer something is for nobody.
    assert_eq!(master.get("/customer/list").await.status, 200);
    ask(
        gateway,
        "POST",
        "/customer/unblock",
        json!({"user_ids": ["c3"]}),
        404,
    )
    .await;
    post(gateway, "/end_user/unblock", json!({"user_ids": ["c1"]})).await;
    world.check("unblocked", &customer, &["files-read"]).await;
    for (header, value) in [
        ("x-litellm-customer-id", "c2"),
        ("x-litellm-end-user-id", "other"),
    ] {
        let twice = end_user.clone().with_header("x-litellm-end-user-id", "c1");
        let twice = match header {
            "x-litellm-customer-id" => twice.with_header(header, value),
            _ => customer.clone().with_header(header, value),
        };
        assert_eq!(twice.get("/mcp-rest/tools/list").await.status, 400, "{header}");
    }
    ask(
        gateway,
        "POST",
        "/customer/delete",
        json!({"user_ids": ["c1", "c9"]}),
        404,
    )
    .await;
    let deleted = post(gateway, "/customer/delete", json!({"user_ids": ["c1", "c2"]})).await;
    assert_eq!(deleted["deleted_customers"], 2);
    world
        .check("a label again", &end_user, &["files", "notes", "open"])
        .await;
    assert_eq!(get(gateway, "/customer/list").await, json!([]));
}

/// One session of an application, whose requests are for several: each is decided by itself.
#[tokio::test]
async fn s18_in_one_session_requests_for_one_see_nothing_that_is_for_another() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let key = key(gateway, json!({"mcp_servers": ["files", "notes"]})).await;
    for (id, server) in [("c1", "files"), ("c2", "notes")] {
        let body = json!({"user_id": id, "object_permission": {"mcp_servers": [server]}});
        post(gateway, "/customer/new", body).await;
    }
    let http = with(gateway, &key).with_header("accept", "application/json, text/event-stream");
    let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "app", "version": "1"},
    }});
    let answer = http.post("/mcp", &begin).await.expect_status(200);
    let session = http.with_header("mcp-session-id", answer.header("mcp-session-id").unwrap());
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let call = |tool: &str| {
        let params = json!({"name": tool, "arguments": {}});
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params})
    };
    for _ in 0..2 {
        for (id, own, other) in [("c1", "files", "notes"), ("c2", "notes", "files")] {
            let all = session.post("/mcp", &list).await.expect_status(200).text();
            assert!(all.contains("files-read") && all.contains("notes-read"), "{all}");
            let mine = session.clone().with_header("x-litellm-end-user-id", id);
            let listed = mine.post("/mcp", &list).await.expect_status(200).text();
            assert!(
                listed.contains(&format!("{own}-read")) && !listed.contains(other),
                "{id}: {listed}"
            );
            let done = mine.post("/mcp", &call(&format!("{own}-read"))).await.text();
            assert!(done.contains("\"done\""), "{id}: {done}");
            let refused = mine.post("/mcp", &call(&format!("{other}-read"))).await.text();
            assert!(refused.contains("Unknown tool"), "{id}: {refused}");
        }
    }
}
