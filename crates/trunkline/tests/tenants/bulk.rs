//! Many users, and many keys of a team, changed by one request: each has its own answer, and nobody's rights are more than with one.

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, TestGateway};

use crate::support::{generate, post, with};
use crate::world::{World, ask, get, secret};

fn sums(answer: &Value) -> [u64; 3] {
    let number = |own: &Value| {
        own.as_u64()
            .or_else(|| own.as_array().map(|own| own.len() as u64))
    };
    ["total_requested", "successful_updates", "failed_updates"].map(|sum| number(&answer[sum]).unwrap())
}

#[tokio::test]
async fn b40_many_users_are_changed_each_for_itself() {
    let world = World::new().await;
    let gateway = &world.gateway;
    for id in ["a", "b", "c"] {
        let body = json!({"user_id": id, "user_email": format!("{id}@x.example"), "auto_create_key": false});
        post(gateway, "/user/new", body).await;
    }
    let users = json!([
        {"user_id": "a", "max_budget": 5, "user_role": "internal_user_viewer"},
        {"user_email": "B@x.example", "user_alias": "Bee"},
        {"user_id": "nobody", "max_budget": 5},
        {"user_id": "c", "user_email": "a@x.example"},
        {"user_id": "c", "nonsense": 1},
        {"max_budget": 5},
    ]);
    let done = post(gateway, "/user/bulk_update", json!({"users": users})).await;
    assert_eq!(sums(&done), [6, 2, 4], "{done}");
    let results = done["results"].as_array().unwrap();
    let success: Vec<_> = results.iter().map(|own| own["success"] == true).collect();
    assert_eq!(success, [true, true, false, false, false, false]);
    assert_eq!(
        (
            &results[1]["user_id"],
            &results[1]["updated_user"]["data"]["user_alias"]
        ),
        (&json!("b"), &json!("Bee"))
    );
    for (at, words) in [
        (2, "nobody"),
        (3, "already exists"),
        (4, "Extra inputs"),
        (5, "required"),
    ] {
        let error = results[at]["error"].as_str().unwrap();
        assert!(error.contains(words), "{error}");
        assert_eq!(results[at]["updated_user"], Value::Null);
    }
    let user = async |id: &str| get(gateway, &format!("/user/info?user_id={id}")).await["user_info"].clone();
    let a = user("a").await;
    assert_eq!(
        (&a["max_budget"], &a["user_role"]),
        (&json!(5.0), &json!("internal_user_viewer"))
    );
    assert_eq!(user("c").await["user_email"], "c@x.example");
    // All of them, but for what names one.
    let all = json!({"all_users": true, "user_updates": {"rpm_limit": 7}});
    let done = post(gateway, "/user/bulk_update", all).await;
    assert_eq!(sums(&done), [3, 3, 0], "{done}");
    for id in ["a", "b", "c"] {
        assert_eq!(user(id).await["rpm_limit"], 7);
    }
    let many = vec![json!({"user_id": "a", "rpm_limit": 1}); 501];
    for (body, status) in [
        (json!({}), 422),
        (json!({"users": []}), 400),
        (json!({"users": many}), 400),
        (json!({"users": {"user_id": "a"}}), 422),
        (json!({"users": ["a"]}), 422),
        (
            json!({"users": [{"user_id": "a"}], "all_users": true, "user_updates": {"rpm_limit": 1}}),
            422,
        ),
        (json!({"all_users": true}), 422),
        (json!({"all_users": true, "user_updates": {}}), 422),
        (
            json!({"all_users": true, "user_updates": {"user_id": "a", "rpm_limit": 1}}),
            422,
        ),
        (
            json!({"all_users": true, "user_updates": {"user_email": "z@x.example"}}),
            422,
        ),
        (json!({"all_users": false, "user_updates": {"rpm_limit": 1}}), 422),
        (
            json!({"users": [{"user_id": "a", "rpm_limit": 1}], "page": 1}),
            422,
        ),
    ] {
        ask(gateway, "POST", "/user/bulk_update", body, status).await;
    }
    assert_eq!(user("a").await["rpm_limit"], 7);
}

/// A user with a key, in the team `t`.
async fn member(gateway: &TestGateway, id: &str, role: &str) -> HttpClient {
    let made = post(gateway, "/user/new", json!({"user_id": id})).await;
    let member = json!({"team_id": "t", "member": {"user_id": id, "role": role}});
    post(gateway, "/team/member_add", member).await;
    with(gateway, &secret(&made))
}

#[tokio::test]
async fn b40_s18_many_keys_of_a_team_are_changed_by_who_may_change_each() {
    let world = World::new().await;
    let gateway = &world.gateway;
    for team in ["t", "other"] {
        post(gateway, "/team/new", json!({"team_id": team})).await;
    }
    let (lead, mate) = (
        member(gateway, "lead", "admin").await,
        member(gateway, "mate", "user").await,
    );
    let outsider = with(
        gateway,
        &secret(&post(gateway, "/user/new", json!({"user_id": "outsider"})).await),
    );
    let key = async |body: Value| {
        generate(gateway, body).await["token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let free = key(json!({"team_id": "t"})).await;
    let limited = key(json!({"team_id": "t", "rpm_limit": 9})).await;
    let blocked = key(json!({"team_id": "t", "blocked": true})).await;
    let of_mate = key(json!({"team_id": "t", "user_id": "mate"})).await;
    let elsewhere = key(json!({"team_id": "other"})).await;
    let limit =
        async |hash: &str| get(gateway, &format!("/key/info?key={hash}")).await["info"]["rpm_limit"].clone();
    let path = "/team/key/bulk_update";
    let all =
        |rpm: u32| json!({"team_id": "t", "all_keys_in_team": true, "update_fields": {"rpm_limit": rpm}});
    let named =
        |ids: &[&str], rpm: u32| json!({"team_id": "t", "key_ids": ids, "update_fields": {"rpm_limit": rpm}});

    // An administrator: all that are used, each once, and none of another team.
    let done = post(gateway, path, all(20)).await;
    assert_eq!(sums(&done), [3, 3, 0], "{done}");
    assert_eq!(
        limit(&blocked).await,
        Value::Null,
        "what is blocked stays as it is"
    );
    let done = post(gateway, path, named(&[&free, &free, &elsewhere, "nonsense"], 30)).await;
    assert_eq!(sums(&done), [3, 1, 2], "{done}");
    assert_eq!(
        (limit(&free).await, limit(&elsewhere).await),
        (json!(30), Value::Null)
    );
    let body = json!({"team_id": "t", "key_ids": [free], "update_fields": {
        "max_budget": 3, "duration": "1d", "metadata": {"a": 1}, "tpm_limit": null, "tags": [], "mcp_rpm_limit": {"files": 2},
    }});
    let row = post(gateway, path, body).await["successful_updates"][0]["key_info"].clone();
    assert_eq!(
        (
            &row["max_budget"],
            &row["metadata"]["a"],
            &row["mcp_rpm_limit"]["files"]
        ),
        (&json!(3.0), &json!(1), &json!(2)),
        "{row}"
    );

    // An admin of the team: less is always good, and more is not its to give.
    let many = async |http: &HttpClient, body: &Value| {
        let reply = http.post(path, body).await;
        (
            reply.status.as_u16(),
            serde_json::from_str::<Value>(&reply.text()).unwrap_or_default(),
        )
    };
    let (status, done) = many(&lead, &all(15)).await;
    assert_eq!((status, sums(&done)), (200, [3, 3, 0]), "{done}");
    let (status, done) = many(&lead, &all(16)).await;
    assert_eq!((status, sums(&done)), (200, [3, 0, 3]), "{done}");
    assert!(
        done["failed_updates"][0]["failed_reason"]
            .as_str()
            .unwrap()
            .contains("rpm_limit")
    );
    let (_, done) = many(&lead, &named(&[&limited, &elsewhere], 14)).await;
    assert_eq!(sums(&done), [2, 1, 1], "{done}");
    assert_eq!(
        (limit(&limited).await, limit(&elsewhere).await),
        (json!(14), Value::Null)
    );

    // A member, before and after the team lets it; its own alone.
    assert_eq!(many(&mate, &all(1)).await.0, 403);
    let words = json!({"team_id": "t", "team_member_permissions": ["/key/update"]});
    post(gateway, "/team/permissions_update", words).await;
    let (status, done) = many(&mate, &all(13)).await;
    assert_eq!((status, sums(&done)), (200, [1, 1, 0]), "{done}");
    assert_eq!(done["successful_updates"][0]["key"], of_mate);
    let (_, done) = many(&mate, &named(&[&free, &of_mate], 12)).await;
    assert_eq!(sums(&done), [2, 1, 1], "{done}");
    assert_eq!(done["failed_updates"][0]["key_info"], Value::Null, "{done}");
    assert_eq!(
        (limit(&free).await, limit(&of_mate).await),
        (json!(15), json!(12))
    );
    for http in [&outsider, &mate] {
        let mut body = all(1);
        body["team_id"] = "other".into();
        assert_eq!(many(http, &body).await.0, 403);
    }
    assert_eq!(many(&outsider, &all(1)).await.0, 403);

    let too_many = vec![free.as_str(); 501];
    for (body, status) in [
        (named(&too_many, 1), 400),
        (named(&[], 1), 422),
        (
            json!({"team_id": "t", "all_keys_in_team": true, "key_ids": [free], "update_fields": {"rpm_limit": 1}}),
            422,
        ),
        (
            json!({"team_id": "t", "all_keys_in_team": true, "update_fields": {}}),
            422,
        ),
        (json!({"team_id": "t", "all_keys_in_team": true}), 422),
        (
            json!({"all_keys_in_team": true, "update_fields": {"rpm_limit": 1}}),
            422,
        ),
        (
            json!({"team_id": "none", "all_keys_in_team": true, "update_fields": {"rpm_limit": 1}}),
            404,
        ),
        // Whose it is and what it may use is said of each.
        (
            json!({"team_id": "t", "key_ids": [free], "update_fields": {"team_id": "other"}}),
            422,
        ),
        (
            json!({"team_id": "t", "key_ids": [free], "update_fields": {"object_permission": {"mcp_servers": ["notes"]}}}),
            422,
        ),
        (
            json!({"team_id": "t", "key_ids": [free], "update_fields": {"blocked": true}}),
            422,
        ),
        (
            json!({"team_id": "t", "key_ids": [free], "update_fields": {"tpm_limit": 5}}),
            422,
        ),
        (
            json!({"team_id": "t", "key_ids": [free], "update_fields": {"rpm_limit": "x"}}),
            422,
        ),
    ] {
        ask(gateway, "POST", path, body, status).await;
    }
    assert_eq!(limit(&free).await, 15);
}

#[tokio::test]
async fn s18_what_a_key_has_spent_is_not_said_anew_by_whom_it_limits() {
    let world = World::new().await;
    let gateway = &world.gateway;
    for team in ["t", "other"] {
        post(gateway, "/team/new", json!({"team_id": team})).await;
    }
    let (lead, mate) = (
        member(gateway, "lead", "admin").await,
        member(gateway, "mate", "user").await,
    );
    let key = async |body: Value| {
        generate(gateway, body).await["token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let free = key(json!({"team_id": "t"})).await;
    let of_mate = key(json!({"team_id": "t", "user_id": "mate"})).await;
    let limited = key(json!({"team_id": "t", "max_budget": 1})).await;
    let elsewhere = key(json!({"team_id": "other"})).await;
    let of_lead = key(json!({"user_id": "lead"})).await;
    for (what, http, hash, status) in [
        ("an administrator", &gateway.client(), &limited, 200),
        ("an admin of the team", &lead, &free, 200),
        ("an admin of the team, of a member", &lead, &of_mate, 200),
        ("what an administrator limits", &lead, &limited, 403),
        ("another team's", &lead, &elsewhere, 403),
        ("one's own, which is no team's", &lead, &of_lead, 403),
        ("nobody's", &lead, &"0".repeat(64), 403),
        ("a member, of its own", &mate, &of_mate, 403),
        ("a member", &mate, &free, 403),
    ] {
        let reply = http
            .post(&format!("/key/{hash}/reset_spend"), &json!({"reset_to": 0}))
            .await;
        assert_eq!(reply.status.as_u16(), status, "{what}: {}", reply.text());
    }
}
