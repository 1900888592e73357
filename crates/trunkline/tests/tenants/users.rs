//! The life of a user, as LiteLLM has it; on both databases.

use serde_json::json;
use trunkline_testkit::TestGateway;

use crate::support::{generate, post};
use crate::world::{World, ask, get, of_the_team, secret, tools};

#[tokio::test]
async fn a_user_lives_as_it_does_in_litellm_on_sqlite() {
    lives(World::new().await).await;
}

#[tokio::test]
async fn a_user_lives_as_it_does_in_litellm_on_postgres() {
    if let Some((world, _database)) = World::on_postgres().await {
        lives(world).await;
    }
}

async fn lives(mut world: World) {
    post(
        &world.gateway,
        "/team/new",
        json!({"team_id": "t1", "object_permission": {"mcp_servers": ["files", "notes"]}}),
    )
    .await;
    let body = json!({
        "user_id": "u1", "user_email": "u@example.com", "user_role": "internal_user", "teams": ["t1"], "key_alias": "u1s",
        "duration": "30d", "object_permission": {"mcp_servers": ["files"]}, "models": [], "send_invite_email": false,
    });
    let made = post(&world.gateway, "/user/new", body.clone()).await;
    assert_eq!((&made["user_id"], &made["teams"]), (&json!("u1"), &json!(["t1"])));
    assert_eq!(
        (&made["user_role"], &made["key_alias"]),
        (&json!("internal_user"), &json!("u1s"))
    );
    assert!(made["expires"].is_string() && made["token"].is_string(), "{made}");
    let own = secret(&made);
    // Nothing was given to the key itself, and its user's list grants nothing.
    assert_eq!(world.sees(&own).await, Ok(tools(&["open"])));
    let body = json!({"team_id": "t1", "user_id": "u1", "object_permission": of_the_team()});
    let of_team = secret(&generate(&world.gateway, body).await);
    assert_eq!(
        world.sees(&of_team).await,
        Ok(tools(&["files", "open"])),
        "the team's and the user's"
    );

    let gateway = &world.gateway;
    refused(gateway).await;
    let plain = post(
        gateway,
        "/user/new",
        json!({"user_alias": "P", "auto_create_key": false}),
    )
    .await;
    assert_eq!((&plain["key"], &plain["teams"]), (&json!(null), &json!([])));

    let change = json!({"user_email": "u@example.com", "object_permission": {"mcp_servers": ["notes"]}});
    let changed = post(gateway, "/user/update", change).await;
    assert_eq!(
        (&changed["user_id"], &changed["data"]["user_role"]),
        (&json!("u1"), &json!("internal_user"))
    );
    assert_eq!(world.sees(&of_team).await, Ok(tools(&["notes", "open"])));
    ask(gateway, "POST", "/user/update", json!({"user_id": "nobody"}), 404).await;
    ask(gateway, "POST", "/user/update", json!({}), 422).await;

    let info = get(gateway, "/user/info?user_id=u1").await;
    assert_eq!(
        (
            &info["user_info"]["user_email"],
            info["keys"].as_array().unwrap().len()
        ),
        (&json!("u@example.com"), 2)
    );
    assert_eq!(info["teams"][0]["team_id"], "t1");
    assert_eq!(get(gateway, "/v2/user/info?user_id=u1").await["user_id"], "u1");
    ask(gateway, "GET", "/user/info?user_id=nobody", json!(null), 404).await;
    let count = async |query: &str| get(gateway, &format!("/user/list{query}")).await["total"].clone();
    for (query, expected) in [
        ("?role=internal_user", 1),
        ("?team=t1", 1),
        ("?team=t9", 0),
        ("?user_email=EXAMPLE", 1),
        ("?user_ids=u1,other", 1),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    ask(gateway, "GET", "/user/list?sort_by=spend", json!(null), 422).await;
    assert!(get(gateway, "/user/available_roles").await["proxy_admin"]["ui_label"].is_string());

    world.gateway.restart().await;
    crate::support::listed(&world.gateway, &crate::world::SERVERS).await;
    assert_eq!(world.sees(&of_team).await, Ok(tools(&["notes", "open"])));
    ask(
        &world.gateway,
        "POST",
        "/user/delete",
        json!({"user_ids": ["u1", "nobody"]}),
        404,
    )
    .await;
    assert_eq!(
        post(&world.gateway, "/user/delete", json!({"user_ids": ["u1"]})).await,
        1
    );
    for key in [&own, &of_team] {
        assert_eq!(world.sees(key).await, Err(401), "its keys go with a user");
    }
    let team = get(&world.gateway, "/team/info?team_id=t1").await;
    assert_eq!(team["team_info"]["members_with_roles"], json!([]));
}

/// What is taken, is not there, or is not served; nothing of it happens.
async fn refused(gateway: &TestGateway) {
    for (more, status) in [
        (json!({"user_id": "u1"}), 400),
        (json!({"user_email": "U@EXAMPLE.COM"}), 400),
        (json!({"key_alias": "u1s"}), 400),
        (json!({"teams": ["t9"]}), 404),
        (json!({"password": "secret"}), 422),
        (json!({"user_role": "root"}), 422),
        (json!({"user_label": "x"}), 422),
        (
            json!({"object_permission": {"mcp_servers": ["all-team-mcpservers"]}}),
            422,
        ),
        (json!({"max_budget": -1}), 422),
        (json!({"budget_duration": "soon"}), 422),
    ] {
        ask(gateway, "POST", "/user/new", more, status).await;
    }
    assert_eq!(
        get(gateway, "/user/list").await["total"],
        1,
        "nothing of it happened"
    );
}

/// LiteLLM's clients set whatever user ids they like.
#[tokio::test]
async fn a_user_id_that_is_no_users_is_a_label() {
    let world = World::new().await;
    let body = json!({"user_id": "whoever", "object_permission": {"mcp_servers": ["files"]}});
    let key = secret(&generate(&world.gateway, body).await);
    assert_eq!(world.sees(&key).await, Ok(tools(&["files", "open"])));
    let list = get(&world.gateway, "/key/list?user_id=whoever").await;
    assert_eq!(list["total_count"], 1);
    // Once there is such a user, it counts.
    let user = json!({"user_id": "whoever", "auto_create_key": false, "object_permission": {"mcp_servers": ["notes"]}});
    post(&world.gateway, "/user/new", user).await;
    assert_eq!(world.sees(&key).await, Ok(tools(&["open"])));
}
