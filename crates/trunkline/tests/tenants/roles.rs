//! What roles are worth: an administrator's keys, what users see of their own, and what the admin of a team sees of it.

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, TestGateway};

use crate::support::{generate, post, with};
use crate::world::{World, of_the_team, secret};

async fn status(http: &HttpClient, path: &str, body: Value) -> u16 {
    http.post(path, &body).await.status.as_u16()
}

async fn user(gateway: &TestGateway, id: &str, role: &str) -> HttpClient {
    let body = json!({"user_id": id, "user_role": role});
    with(gateway, &secret(&post(gateway, "/user/new", body).await))
}

async fn team(gateway: &TestGateway, id: &str, members: Value) {
    let body = json!({
        "team_id": id, "members_with_roles": members, "object_permission": {"mcp_servers": ["files"]},
    });
    post(gateway, "/team/new", body).await;
}

#[tokio::test]
async fn s05_an_administrators_keys_are_one_unless_they_are_a_teams() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let http = user(gateway, "boss", "proxy_admin").await;
    // As the master key: everything, without a grant.
    world
        .check("an administrator", &http, &["files", "notes", "open"])
        .await;
    let made = http
        .post("/key/generate", &json!({"user_id": "boss"}))
        .await
        .expect_status(200)
        .json();
    assert_eq!(
        made["created_by"].as_str().map(str::len),
        Some(64),
        "the key that made it: {made}"
    );
    let narrow = json!({"user_id": "boss", "object_permission": {"mcp_servers": ["files"]}});
    let narrow = with(gateway, &secret(&generate(gateway, narrow).await));
    world
        .check("what it was given in particular", &narrow, &["files", "open"])
        .await;
    assert_eq!(narrow.get("/team/list").await.status, 200);
    let routes = json!({"user_id": "boss", "key_type": "llm_api"});
    let routes = with(gateway, &secret(&generate(gateway, routes).await));
    assert_eq!(
        routes.get("/team/list").await.status,
        403,
        "allowed_routes narrow it"
    );

    team(gateway, "t", json!([{"user_id": "boss"}])).await;
    let of_team = json!({"user_id": "boss", "team_id": "t"});
    let silent = with(gateway, &secret(&generate(gateway, of_team).await));
    world.check("a team's without a grant", &silent, &["open"]).await;
    let of_team = json!({"user_id": "boss", "team_id": "t", "object_permission": of_the_team()});
    let of_team = with(gateway, &secret(&generate(gateway, of_team).await));
    world.check("a team's", &of_team, &["files", "open"]).await;
    assert_eq!(of_team.get("/v1/mcp/server").await.status, 403);
    assert_eq!(status(&of_team, "/team/new", json!({})).await, 401);
    // Taken from the user, it is gone for the very next request.
    post(
        gateway,
        "/user/update",
        json!({"user_id": "boss", "user_role": null}),
    )
    .await;
    assert_eq!(http.get("/v1/mcp/server").await.status, 403);
    world.check("nobody in particular", &http, &["open"]).await;
}

#[tokio::test]
async fn s18_a_user_sees_its_own_and_nothing_of_others() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let (one, two) = (
        user(gateway, "one", "internal_user").await,
        user(gateway, "two", "internal_user_viewer").await,
    );
    team(gateway, "t1", json!([{"user_id": "one"}])).await;
    team(gateway, "t2", json!([{"user_id": "two"}])).await;
    let others = generate(gateway, json!({"user_id": "two", "team_id": "t1"})).await;
    for (http, own, other, team, elsewhere) in
        [(&one, "one", "two", "t1", "t2"), (&two, "two", "one", "t2", "t1")]
    {
        let get = async |path: &str| http.get(path).await.expect_status(200).json();
        let keys = get("/key/list").await;
        assert_eq!(keys["total_count"], 1 + i32::from(own == "two"), "{own}: {keys}");
        assert_eq!(get("/user/info").await["user_id"], own);
        assert_eq!(get("/v2/user/info").await["user_id"], own);
        let teams = get("/team/list").await;
        assert_eq!(
            (teams.as_array().unwrap().len(), &teams[0]["team_id"]),
            (1, &json!(team))
        );
        assert_eq!(get("/v2/team/list").await["total"], 1);
        for (path, status) in [
            (format!("/user/info?user_id={other}"), 403),
            ("/user/info?user_id=nobody".to_owned(), 403),
            (format!("/key/list?user_id={other}"), 403),
            (format!("/team/list?user_id={other}"), 403),
            (format!("/team/info?team_id={elsewhere}"), 404),
            ("/team/info?team_id=nobody".to_owned(), 404),
            ("/user/list".to_owned(), 401),
        ] {
            assert_eq!(http.get(&path).await.status.as_u16(), status, "{own} {path}");
        }
        assert_eq!(
            get(&format!("/key/list?team_id={elsewhere}")).await["total_count"],
            i32::from(own == "two")
        );
    }
    // Of its team, a member sees its own keys alone.
    assert_eq!(one.get("/team/info?team_id=t1").await.json()["keys"], json!([]));
    let hash = others["token"].as_str().unwrap();
    assert_eq!(one.get(&format!("/key/info?key={hash}")).await.status, 403);
    assert_eq!(two.get(&format!("/key/info?key={hash}")).await.status, 200);
    // And a team's key sees nothing of its user's others.
    let of_team = with(gateway, &secret(&others));
    assert_eq!(of_team.get("/key/list").await.json()["total_count"], 1);
}

#[tokio::test]
async fn s18_s19_an_admin_of_a_team_sees_its_keys_and_changes_nothing_else() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let lead = user(gateway, "lead", "internal_user").await;
    team(
        gateway,
        "t1",
        json!([{"user_id": "lead", "role": "admin"}, {"user_id": "mate"}]),
    )
    .await;
    team(gateway, "t2", json!([{"user_id": "lead"}])).await;
    let of_team =
        |team: &str| json!({"team_id": team, "user_id": "mate", "object_permission": of_the_team()});
    let made = generate(gateway, of_team("t1")).await;
    let elsewhere = generate(gateway, of_team("t2")).await;
    let key = with(gateway, &secret(&made));
    let hash = made["token"].as_str().unwrap();

    assert_eq!(lead.get("/key/list?team_id=t1").await.json()["total_count"], 1);
    assert_eq!(lead.get("/key/list?team_id=t2").await.json()["total_count"], 0);
    assert_eq!(
        lead.get("/key/list?include_team_keys=true").await.json()["total_count"],
        2
    );
    assert_eq!(
        lead.get("/team/info?team_id=t1").await.json()["keys"][0]["token"],
        hash
    );
    assert_eq!(lead.get(&format!("/key/info?key={hash}")).await.status, 200);
    let other = elsewhere["token"].as_str().unwrap();
    assert_eq!(lead.get(&format!("/key/info?key={other}")).await.status, 403);

    // What is not its team's, or only administrators do; what it may change is with the delegates.
    for (path, body, expected) in [
        ("/key/update", json!({"key": other, "rpm_limit": 1}), 403),
        ("/key/regenerate", json!({"key": other}), 403),
        ("/key/regenerate", json!({"key": hash}), 403),
        (&*format!("/key/{hash}/regenerate"), json!({}), 403),
        ("/key/block", json!({"key": other}), 403),
        ("/key/unblock", json!({"key": other}), 403),
        ("/key/delete", json!({"keys": [other]}), 403),
        (
            "/team/member_add",
            json!({"team_id": "t1", "member": {"user_id": "new"}}),
            403,
        ),
        (
            "/team/member_update",
            json!({"team_id": "t2", "user_id": "lead", "role": "admin"}),
            403,
        ),
        (
            "/team/member_delete",
            json!({"team_id": "t2", "user_id": "lead"}),
            403,
        ),
        ("/team/update", json!({"team_id": "t1"}), 401),
        ("/team/delete", json!({"team_ids": ["t1"]}), 401),
        ("/team/block", json!({"team_id": "t1"}), 401),
        (
            "/user/update",
            json!({"user_id": "lead", "user_role": "proxy_admin"}),
            401,
        ),
        ("/team/new", json!({}), 401),
    ] {
        assert_eq!(status(&lead, path, body).await, expected, "{path}");
    }
    world.check("as it was", &key, &["files", "open"]).await;
}
