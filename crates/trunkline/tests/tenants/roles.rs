//! What roles are worth: an administrator's keys, what users see of their own, and what the admin of a team can do with its members and
//! keys, and cannot do with anybody else's.

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, TestGateway};

use crate::support::{generate, post, with};
use crate::world::{World, of_the_team, secret, send};

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
async fn s18_s19_an_admin_of_a_team_manages_its_members_and_keys_and_no_others() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let lead = user(gateway, "lead", "internal_user").await;
    user(gateway, "boss", "proxy_admin").await;
    team(
        gateway,
        "t1",
        json!([{"user_id": "lead", "role": "admin"}, {"user_id": "boss"}]),
    )
    .await;
    team(
        gateway,
        "t2",
        json!([{"user_id": "lead"}, {"user_id": "x", "role": "admin"}]),
    )
    .await;
    let elsewhere = generate(gateway, json!({"team_id": "t2"})).await;
    let free = generate(gateway, json!({})).await;

    let member = |team: &str| json!({"team_id": team, "member": {"user_id": "new"}});
    assert_eq!(status(&lead, "/team/member_add", member("t1")).await, 200);
    assert_eq!(
        status(&lead, "/team/member_add", member("t2")).await,
        404,
        "a member only"
    );
    assert_eq!(status(&lead, "/team/member_add", member("t9")).await, 404);
    let role = json!({"team_id": "t1", "user_id": "new", "role": "admin"});
    assert_eq!(status(&lead, "/team/member_update", role).await, 200);

    let body = json!({"team_id": "t1", "user_id": "new", "object_permission": of_the_team()});
    let made = lead.post("/key/generate", &body).await;
    let made = made.expect_status(200).json();
    let key = with(gateway, &secret(&made));
    world
        .check("made by an admin of the team", &key, &["files", "open"])
        .await;
    let hash = made["token"].as_str().unwrap();
    handed_out(&lead, hash, [&elsewhere["token"], &free["token"]]).await;
    // Keys of others: neither their secrets, nor their ends.
    for other in [&elsewhere["token"], &free["token"]] {
        for path in ["/key/regenerate", "/key/block", "/key/unblock"] {
            assert_eq!(status(&lead, path, json!({"key": other})).await, 404, "{path}");
        }
        assert_eq!(
            status(&lead, "/key/delete", json!({"keys": [hash, other]})).await,
            404
        );
    }
    world.check("not deleted half", &key, &["files", "open"]).await;
    // A key that an administrator has in the team is worth no more than the team.
    let body = json!({"team_id": "t1", "user_id": "boss", "object_permission": of_the_team()});
    let boss = generate(gateway, body).await;
    let taken = lead.post("/key/regenerate", &json!({"key": boss["token"]})).await;
    let taken = with(gateway, &secret(&taken.expect_status(200).json()));
    world
        .check("taken from an administrator", &taken, &["files", "open"])
        .await;
    for (method, path) in [
        ("GET", "/v1/mcp/server"),
        ("GET", "/metrics"),
        ("GET", "/user/list"),
        ("POST", "/team/new"),
    ] {
        let reply = send(&taken, method, path, &json!({})).await;
        assert!(
            matches!(reply.status.as_u16(), 401 | 403),
            "{path}: {}",
            reply.text()
        );
    }
    assert_eq!(lead.get("/key/list?team_id=t1").await.json()["total_count"], 3);
    assert_eq!(
        lead.get("/key/list?include_team_keys=true").await.json()["total_count"],
        4
    );
    assert_eq!(
        lead.get("/team/info?team_id=t1").await.json()["keys"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    // What it may not decide, whatever it leads.
    for path in [
        "/team/update",
        "/team/delete",
        "/team/block",
        "/user/update",
        "/team/new",
    ] {
        assert_eq!(status(&lead, path, json!({"team_id": "t1"})).await, 401, "{path}");
    }
    assert_eq!(status(&lead, "/key/block", json!({"key": hash})).await, 200);
    assert_eq!(status(&lead, "/key/delete", json!({"keys": [hash]})).await, 200);
    let delete = json!({"team_id": "t1", "user_id": "new"});
    assert_eq!(status(&lead, "/team/member_delete", delete).await, 200);
    // No admin any more, it manages nothing.
    let role = json!({"team_id": "t1", "user_id": "lead", "role": "user"});
    post(gateway, "/team/member_update", role).await;
    assert_eq!(status(&lead, "/team/member_add", member("t1")).await, 401);
}

/// What an admin of the team `t1` may hand out, and to whom; `hash` is of one of its keys, the others are not.
async fn handed_out(lead: &HttpClient, hash: &str, [elsewhere, free]: [&Value; 2]) {
    for (body, expected) in [
        (json!({}), 403),
        (json!({"team_id": "t2"}), 404),
        (json!({"team_id": "t9"}), 404),
        (json!({"team_id": "t1", "user_id": "x"}), 403),
        (
            json!({"team_id": "t1", "object_permission": {"mcp_servers": ["notes"]}}),
            403,
        ),
        (
            json!({"team_id": "t1", "object_permission": {"mcp_access_groups": ["dev"]}}),
            403,
        ),
        (
            json!({"team_id": "t1", "object_permission": {"mcp_servers": ["open"]}}),
            200,
        ),
    ] {
        assert_eq!(
            status(lead, "/key/generate", body.clone()).await,
            expected,
            "{body}"
        );
    }
    for (body, expected) in [
        (json!({"key": hash, "metadata": {"a": 1}}), 200),
        (json!({"key": hash, "team_id": null}), 403),
        (json!({"key": hash, "team_id": "t2"}), 404),
        (json!({"key": hash, "user_id": "x"}), 403),
        (
            json!({"key": hash, "object_permission": {"mcp_servers": ["notes"]}}),
            403,
        ),
        (json!({"key": elsewhere, "team_id": "t1"}), 404),
        (json!({"key": free, "team_id": "t1"}), 404),
    ] {
        assert_eq!(
            status(lead, "/key/update", body.clone()).await,
            expected,
            "{body}"
        );
    }
}
