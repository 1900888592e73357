//! The life of a team, its members and its keys, and of its organisation, as LiteLLM has them; on both databases.

use serde_json::{Value, json};
use trunkline_testkit::TestGateway;

use crate::support::{generate, post, with};
use crate::world::{World, ask, get, of_the_team, secret, tools};

#[tokio::test]
async fn b40_a_team_lives_as_it_does_in_litellm_on_sqlite() {
    lives(World::new().await).await;
}

#[tokio::test]
async fn many_members_and_models_of_a_team_each_for_itself() {
    let world = World::new().await;
    let gateway = &world.gateway;
    post(gateway, "/team/new", json!({"team_id": "m"})).await;
    let members = json!([
        {"user_id": "a"}, {"user_email": "B@example.com", "role": "admin"}, {"user_id": "a"}, {"user_email": "b@example.com"},
    ]);
    let bulk = |members: &Value| json!({"team_id": "m", "members": members});
    let done = post(gateway, "/team/bulk_member_add", bulk(&members)).await;
    let sums = ["total_requested", "successful_additions", "failed_additions"]
        .map(|sum| done[sum].as_u64().unwrap());
    assert_eq!(sums, [4, 2, 2], "{done}");
    assert_eq!(
        (&done["results"][0]["success"], &done["results"][2]["error"]),
        (&json!(true), &json!("it is named twice"))
    );
    assert_eq!(
        done["updated_team"]["members_with_roles"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let again = post(gateway, "/team/bulk_member_add", bulk(&members)).await;
    assert_eq!(again["successful_additions"], 0, "{again}");
    for (body, status) in [
        (bulk(&json!([])), 400),
        (bulk(&json!([{"user_id": "x", "role": "owner"}])), 422),
        (json!({"team_id": "m", "all_users": true}), 422),
        (json!({"team_id": "none", "members": [{"user_id": "x"}]}), 404),
    ] {
        ask(gateway, "POST", "/team/bulk_member_add", body, status).await;
    }
    let models = |models: Value| json!({"team_id": "m", "models": models});
    let team = post(gateway, "/team/model/add", models(json!(["a", "b", "a"]))).await;
    assert_eq!(team["models"], json!(["a", "b"]));
    let team = post(gateway, "/team/model/delete", models(json!(["b", "c"]))).await;
    assert_eq!(team["models"], json!(["a"]));
    // Without a list all could be used.
    ask(gateway, "POST", "/team/model/delete", models(json!(["a"])), 400).await;
    let shown = get(gateway, "/team/info?team_id=m").await;
    assert_eq!(shown["team_info"]["models"], json!(["a"]), "{shown}");
}

#[tokio::test]
async fn b40_a_team_lives_as_it_does_in_litellm_on_postgres() {
    if let Some((world, _database)) = World::on_postgres().await {
        lives(world).await;
    }
}

async fn lives(mut world: World) {
    let made = post(
        &world.gateway,
        "/team/new",
        json!({
            "team_id": "t1", "team_alias": "Team 1", "metadata": {"a": [1]},
            "members_with_roles": [{"user_id": "lead", "role": "admin"}, {"user_email": "Mate@example.com"}],
            "object_permission": {"mcp_servers": ["files", "soon"], "mcp_access_groups": ["dev"]},
            // What LiteLLM's clients send without saying anything by it.
            "models": [], "max_budget": null, "tags": [], "spend": 0, "blocked": false,
        }),
    )
    .await;
    assert_eq!(
        (&made["team_id"], &made["created_by"]),
        (&json!("t1"), &json!("master_key"))
    );
    assert_eq!(made["object_permission"]["mcp_servers"], json!(["files", "soon"]));
    assert!(made["warnings"].to_string().contains("soon"), "{made}");
    let members = made["members_with_roles"].as_array().unwrap();
    assert_eq!(
        members[0],
        json!({"user_id": "lead", "user_email": null, "role": "admin"})
    );
    assert_eq!(
        (&members[1]["user_email"], &members[1]["role"]),
        (&json!("Mate@example.com"), &json!("user"))
    );
    let companion = members[1]["user_id"].as_str().unwrap().to_owned();
    ask(&world.gateway, "POST", "/team/new", json!({"team_id": "t1"}), 400).await;

    let key = grants(&world).await;
    membership(&world.gateway, &companion).await;

    // What it has is narrowed for the very next request.
    let changed = post(
        &world.gateway,
        "/team/update",
        json!({"team_id": "t1", "object_permission": {"mcp_tool_permissions": {"files": ["read"]}}}),
    )
    .await;
    assert_eq!(
        (&changed["team_id"], &changed["data"]["team_alias"]),
        (&json!("t1"), &json!("Team 1"))
    );
    assert_eq!(
        changed["data"]["object_permission"]["mcp_access_groups"],
        json!(["dev"]),
        "what is not named stays"
    );
    assert_eq!(
        world.sees(&key).await,
        Ok(tools(&["files-read", "notes", "open"]))
    );
    let patched = ask(
        &world.gateway,
        "PATCH",
        "/team/t1",
        json!({"team_alias": null}),
        200,
    )
    .await;
    assert_eq!(patched["data"]["team_alias"], json!(null));

    post(&world.gateway, "/team/block", json!({"team_id": "t1"})).await;
    let reply = with(&world.gateway, &key)
        .get("/mcp-rest/tools/list")
        .await
        .expect_status(401)
        .json();
    assert!(
        reply["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Team is blocked"),
        "{reply}"
    );
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let reply = with(&world.gateway, &key)
        .post("/mcp", &list)
        .await
        .expect_status(401)
        .json();
    assert_eq!(reply["detail"]["error"], "blocked_team");
    world.gateway.restart().await;
    assert_eq!(world.sees(&key).await, Err(401), "after a restart, too");
    post(&world.gateway, "/team/unblock", json!({"team_id": "t1"})).await;
    crate::support::listed(&world.gateway, &crate::world::SERVERS).await;
    assert_eq!(
        world.sees(&key).await,
        Ok(tools(&["files-read", "notes", "open"]))
    );

    ends(&world, &key).await;
}

/// Keys of the team: what it has, what they say, and no more.
async fn grants(world: &World) -> String {
    let gateway = &world.gateway;
    let made = generate(gateway, json!({"team_id": "t1", "user_id": "lead"})).await;
    let key = secret(&made);
    assert_eq!(
        world.sees(&key).await,
        Ok(tools(&["open"])),
        "it does not inherit"
    );
    for (servers, expected) in [
        (json!(["notes"]), vec!["notes", "open"]),
        (json!(["all-team-mcpservers"]), vec!["files", "notes", "open"]),
        (json!(["no-mcp-servers"]), vec![]),
        (json!(["open"]), vec!["open"]),
        (json!(["gone"]), vec!["open"]),
    ] {
        let body = json!({"team_id": "t1", "object_permission": {"mcp_servers": servers}});
        let narrow = secret(&generate(gateway, body).await);
        assert_eq!(world.sees(&narrow).await, Ok(tools(&expected)), "{servers}");
    }
    // More than the team has; a team that nobody has.
    post(
        gateway,
        "/team/new",
        json!({"team_id": "t2", "object_permission": {"mcp_servers": ["notes"]}}),
    )
    .await;
    let more = json!({"team_id": "t2", "object_permission": {"mcp_servers": ["FILES"]}});
    let refused = ask(gateway, "POST", "/key/generate", more, 403).await;
    assert_eq!(refused["error"]["param"], "object_permission");
    let unknown = ask(gateway, "POST", "/key/generate", json!({"team_id": "t9"}), 404).await;
    assert_eq!(unknown["error"]["param"], "team_id");
    let hash = &made["token"];
    let other = json!({"key": hash, "team_id": "t9"});
    ask(gateway, "POST", "/key/update", other, 404).await;
    // What it has it keeps, and may not take into a team that has less.
    post(
        gateway,
        "/key/update",
        json!({"key": hash, "object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    ask(
        gateway,
        "POST",
        "/key/update",
        json!({"key": hash, "team_id": "t2"}),
        403,
    )
    .await;
    post(
        gateway,
        "/team/update",
        json!({"team_id": "t1", "object_permission": {"mcp_servers": []}}),
    )
    .await;
    post(
        gateway,
        "/key/update",
        json!({"key": hash, "object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    assert_eq!(
        world.sees(&key).await,
        Ok(tools(&["open"])),
        "the team has `dev` alone"
    );
    post(
        gateway,
        "/team/update",
        json!({"team_id": "t1", "object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    post(
        gateway,
        "/key/update",
        json!({"key": hash, "object_permission": of_the_team()}),
    )
    .await;
    key
}

async fn membership(gateway: &TestGateway, companion: &str) {
    let add = |member: Value| json!({"team_id": "t1", "member": member});
    let added = post(
        gateway,
        "/team/member_add",
        add(json!([{"user_id": "new"}, {"user_email": "n@example.com", "role": "admin"}])),
    )
    .await;
    assert_eq!(added["members_with_roles"].as_array().unwrap().len(), 4);
    assert_eq!(added["updated_users"].as_array().unwrap().len(), 2);
    assert_eq!(added["updated_team_memberships"][0]["user_id"], "new");
    for (member, status) in [
        (json!({"user_id": "new"}), 400),
        (json!({"user_email": "N@EXAMPLE.com"}), 400),
        (json!({"user_id": "x", "role": "owner"}), 422),
        (json!({"role": "user"}), 422),
    ] {
        ask(gateway, "POST", "/team/member_add", add(member), status).await;
    }
    let change = json!({"team_id": "t1", "user_id": companion, "role": "admin"});
    let changed = post(gateway, "/team/member_update", change).await;
    assert_eq!(
        (&changed["role"], &changed["user_email"]),
        (&json!("admin"), &json!("Mate@example.com"))
    );
    // Its keys in the team go with a member.
    let theirs = generate(gateway, json!({"team_id": "t1", "user_id": "new"})).await;
    post(
        gateway,
        "/team/member_delete",
        json!({"team_id": "t1", "user_id": "new"}),
    )
    .await;
    ask(
        gateway,
        "GET",
        &format!("/key/info?key={}", theirs["token"].as_str().unwrap()),
        json!(null),
        404,
    )
    .await;
    ask(
        gateway,
        "POST",
        "/team/member_delete",
        json!({"team_id": "t1", "user_id": "new"}),
        400,
    )
    .await;
    post(
        gateway,
        "/team/member_delete",
        json!({"team_id": "t1", "user_email": "n@example.com"}),
    )
    .await;

    let info = get(gateway, "/team/info?team_id=t1").await;
    assert_eq!(
        info["team_info"]["members_with_roles"].as_array().unwrap().len(),
        2
    );
    assert_eq!(info["team_memberships"].as_array().unwrap().len(), 2);
    assert_eq!(info["keys"].as_array().unwrap().len(), 6);
    assert!(!info.to_string().contains("\"sk-") || info["keys"][0]["key_name"].is_string());
    let of = async |query: &str| {
        get(gateway, &format!("/team/list{query}"))
            .await
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        (
            of("").await,
            of("?user_id=lead").await,
            of("?user_id=nobody").await
        ),
        (2, 1, 0)
    );
    let page = get(gateway, "/v2/team/list?page=2&page_size=1").await;
    assert_eq!(
        (&page["teams"][0]["team_id"], &page["total"], &page["total_pages"]),
        (&json!("t2"), &json!(2), &json!(2))
    );
    let all = get(gateway, "/key/list?user_id=lead&include_team_keys=true").await;
    assert_eq!(
        (
            &all["total_count"],
            &get(gateway, "/key/list?user_id=lead").await["total_count"]
        ),
        (&json!(6), &json!(1))
    );
}

/// The keys of a team that is deleted are, too; the teams of an organisation that is.
async fn ends(world: &World, key: &str) {
    let gateway = &world.gateway;
    let unknown = json!({"team_ids": ["t1", "t9"]});
    ask(gateway, "POST", "/team/delete", unknown, 404).await;
    assert!(world.sees(key).await.is_ok(), "all or nothing");
    let deleted = post(gateway, "/team/delete", json!({"team_ids": ["t1"]})).await;
    assert_eq!(
        (
            &deleted["deleted_teams"],
            deleted["deleted_keys"].as_array().unwrap().len()
        ),
        (&json!(["t1"]), 6)
    );
    assert_eq!(world.sees(key).await, Err(401));
    assert_eq!(get(gateway, "/key/list?team_id=t1").await["total_count"], 0);

    let body = json!({"organization_id": "o1", "organization_alias": "Org", "object_permission": {"mcp_servers": ["files"]}});
    let made = post(gateway, "/organization/new", body).await;
    assert_eq!(made["organization_id"], "o1");
    ask(
        gateway,
        "POST",
        "/team/new",
        json!({"organization_id": "o9"}),
        404,
    )
    .await;
    post(
        gateway,
        "/team/update",
        json!({"team_id": "t2", "organization_id": "o1"}),
    )
    .await;
    let key = world.team_key("t2").await;
    assert_eq!(
        world.sees(&key).await,
        Ok(tools(&["open"])),
        "the team has notes, the organisation files"
    );
    let change = json!({"organization_id": "o1", "object_permission": {"mcp_servers": ["files", "notes"]}});
    ask(gateway, "PATCH", "/organization/update", change, 200).await;
    assert_eq!(world.sees(&key).await, Ok(tools(&["notes", "open"])));
    let add = json!({"organization_id": "o1", "member": {"user_id": "lead"}});
    let added = post(gateway, "/organization/member_add", add).await;
    assert_eq!(
        added["updated_organization_memberships"][0]["user_role"],
        "internal_user"
    );
    let nobody = json!({"organization_id": "o1", "member": {"user_id": "nobody"}});
    ask(gateway, "POST", "/organization/member_add", nobody, 404).await;
    let change = json!({"organization_id": "o1", "user_id": "lead", "role": "internal_user_viewer"});
    let changed = ask(gateway, "PATCH", "/organization/member_update", change, 200).await;
    assert_eq!(changed["user_role"], "internal_user_viewer");
    let info = get(gateway, "/organization/info?organization_id=o1").await;
    assert_eq!(
        (
            info["members"].as_array().unwrap().len(),
            &info["teams"][0]["team_id"]
        ),
        (1, &json!("t2"))
    );
    let member = json!({"organization_id": "o1", "user_id": "lead"});
    ask(gateway, "DELETE", "/organization/member_delete", member, 200).await;
    let several = post(
        gateway,
        "/organization/info",
        json!({"organizations": ["o1", "o9"]}),
    )
    .await;
    assert_eq!(several.as_array().unwrap().len(), 1);
    assert_eq!(
        get(gateway, "/organization/list?org_alias=OR")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let gone = ask(
        gateway,
        "DELETE",
        "/organization/delete",
        json!({"organization_ids": ["o1"]}),
        200,
    )
    .await;
    assert_eq!(gone[0]["organization_id"], "o1");
    assert_eq!(world.sees(&key).await, Err(401));
    assert_eq!(get(gateway, "/team/list").await, json!([]));
}
