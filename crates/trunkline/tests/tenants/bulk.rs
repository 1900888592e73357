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

const PATH: &str = "/team/key/bulk_update";

/// The team `t` with its admin `lead` and its member `mate`, and keys of it and of another team.
struct Keys {
    world: World,
    lead: HttpClient,
    mate: HttpClient,
    free: String,
    limited: String,
    blocked: String,
    of_mate: String,
    elsewhere: String,
}

impl Keys {
    async fn new() -> Self {
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
            let row = generate(gateway, body).await;
            row["token"].as_str().unwrap().to_owned()
        };
        Self {
            lead,
            mate,
            free: key(json!({"team_id": "t"})).await,
            limited: key(json!({"team_id": "t", "rpm_limit": 9})).await,
            blocked: key(json!({"team_id": "t", "blocked": true})).await,
            of_mate: key(json!({"team_id": "t", "user_id": "mate"})).await,
            elsewhere: key(json!({"team_id": "other"})).await,
            world,
        }
    }

    async fn limit(&self, hash: &str) -> Value {
        let info = get(&self.world.gateway, &format!("/key/info?key={hash}")).await;
        info["info"]["rpm_limit"].clone()
    }
}

fn all(rpm: u32) -> Value {
    json!({"team_id": "t", "all_keys_in_team": true, "update_fields": {"rpm_limit": rpm}})
}

fn named(ids: &[&str], rpm: u32) -> Value {
    json!({"team_id": "t", "key_ids": ids, "update_fields": {"rpm_limit": rpm}})
}

/// The status, and how many were to be changed, were and were not.
async fn many(http: &HttpClient, body: &Value) -> (u16, Value) {
    let reply = http.post(PATH, body).await;
    let said = serde_json::from_str(&reply.text()).unwrap_or_default();
    (reply.status.as_u16(), said)
}

#[tokio::test]
async fn b40_many_keys_of_a_team_are_changed_in_one_way() {
    let keys = Keys::new().await;
    let (gateway, free) = (&keys.world.gateway, keys.free.as_str());
    // All that are used, each once, and none of another team.
    let done = post(gateway, PATH, all(20)).await;
    assert_eq!(sums(&done), [3, 3, 0], "{done}");
    let limits = [free, &keys.limited, &keys.of_mate, &keys.blocked];
    for (hash, wanted) in limits
        .into_iter()
        .zip([json!(20), json!(20), json!(20), Value::Null])
    {
        assert_eq!(keys.limit(hash).await, wanted, "what is blocked stays as it is");
    }
    let done = post(
        gateway,
        PATH,
        named(&[free, free, &keys.elsewhere, "nonsense"], 30),
    )
    .await;
    assert_eq!(sums(&done), [3, 1, 2], "{done}");
    assert_eq!(keys.limit(free).await, 30);
    assert_eq!(keys.limit(&keys.elsewhere).await, Value::Null);
    let body = json!({"team_id": "t", "key_ids": [free], "update_fields": {
        "max_budget": 3, "duration": "1d", "metadata": {"a": 1}, "tpm_limit": null, "tags": [], "mcp_rpm_limit": {"files": 2},
    }});
    let row = post(gateway, PATH, body).await["successful_updates"][0]["key_info"].clone();
    for (at, wanted) in [
        ("/max_budget", json!(3.0)),
        ("/metadata/a", json!(1)),
        ("/mcp_rpm_limit/files", json!(2)),
    ] {
        assert_eq!(row.pointer(at), Some(&wanted), "{row}");
    }
    assert!(row["expires"].is_string(), "{row}");
    let fields = |own: Value| json!({"team_id": "t", "key_ids": [free], "update_fields": own});
    let both = json!({"team_id": "t", "all_keys_in_team": true, "key_ids": [free], "update_fields": {"rpm_limit": 1}});
    for (body, status) in [
        (named(&vec![free; 501], 1), 400),
        (named(&[], 1), 422),
        (both, 422),
        (json!({"team_id": "t", "all_keys_in_team": true}), 422),
        (
            json!({"all_keys_in_team": true, "update_fields": {"rpm_limit": 1}}),
            422,
        ),
        (
            json!({"team_id": "none", "all_keys_in_team": true, "update_fields": {"rpm_limit": 1}}),
            404,
        ),
        (fields(json!({})), 422),
        // Whose it is and what it may use is said of each.
        (fields(json!({"team_id": "other"})), 422),
        (
            fields(json!({"object_permission": {"mcp_servers": ["notes"]}})),
            422,
        ),
        (fields(json!({"blocked": true})), 422),
        (fields(json!({"tpd_limit": 5})), 422),
        (fields(json!({"rpm_limit": "x"})), 422),
    ] {
        ask(gateway, "POST", PATH, body, status).await;
    }
    assert_eq!(keys.limit(free).await, 30);
}

#[tokio::test]
async fn s18_many_keys_of_a_team_are_changed_by_who_may_change_each() {
    let keys = Keys::new().await;
    let gateway = &keys.world.gateway;
    let outsider = post(gateway, "/user/new", json!({"user_id": "outsider"})).await;
    let outsider = with(gateway, &secret(&outsider));
    post(gateway, PATH, all(20)).await;

    // An admin of the team: less is always good, and more is not its to give.
    let (status, done) = many(&keys.lead, &all(15)).await;
    assert_eq!((status, sums(&done)), (200, [3, 3, 0]), "{done}");
    let (status, done) = many(&keys.lead, &all(16)).await;
    assert_eq!((status, sums(&done)), (200, [3, 0, 3]), "{done}");
    let reason = done["failed_updates"][0]["failed_reason"].as_str().unwrap();
    assert!(reason.contains("rpm_limit"), "{reason}");
    let (_, done) = many(&keys.lead, &named(&[&keys.limited, &keys.elsewhere], 14)).await;
    assert_eq!(sums(&done), [2, 1, 1], "{done}");
    assert_eq!(keys.limit(&keys.limited).await, 14);
    assert_eq!(keys.limit(&keys.elsewhere).await, Value::Null);

    // A member, before and after the team lets it; its own alone.
    assert_eq!(many(&keys.mate, &all(1)).await.0, 403);
    let words = json!({"team_id": "t", "team_member_permissions": ["/key/update"]});
    post(gateway, "/team/permissions_update", words).await;
    let (status, done) = many(&keys.mate, &all(13)).await;
    assert_eq!((status, sums(&done)), (200, [1, 1, 0]), "{done}");
    assert_eq!(done["successful_updates"][0]["key"], keys.of_mate);
    let (_, done) = many(&keys.mate, &named(&[&keys.free, &keys.of_mate], 12)).await;
    assert_eq!(sums(&done), [2, 1, 1], "{done}");
    assert_eq!(done["failed_updates"][0]["key_info"], Value::Null, "{done}");
    assert_eq!(keys.limit(&keys.free).await, 15);
    assert_eq!(keys.limit(&keys.of_mate).await, 12);
    let mut of_others = all(1);
    of_others["team_id"] = "other".into();
    for (http, body) in [
        (&outsider, &of_others),
        (&keys.mate, &of_others),
        (&outsider, &all(1)),
    ] {
        assert_eq!(many(http, body).await.0, 403);
    }
}

#[tokio::test]
async fn s18_what_a_key_has_spent_is_not_said_anew_by_whom_it_limits() {
    let keys = Keys::new().await;
    let gateway = &keys.world.gateway;
    let of_lead = generate(gateway, json!({"user_id": "lead"})).await;
    let of_lead = of_lead["token"].as_str().unwrap().to_owned();
    for (what, http, hash, status) in [
        ("an administrator", &gateway.client(), &keys.limited, 200),
        ("an admin of the team", &keys.lead, &keys.free, 200),
        (
            "an admin of the team, of a member",
            &keys.lead,
            &keys.of_mate,
            200,
        ),
        ("what an administrator limits", &keys.lead, &keys.limited, 403),
        ("another team's", &keys.lead, &keys.elsewhere, 403),
        ("one's own, which is no team's", &keys.lead, &of_lead, 403),
        ("nobody's", &keys.lead, &"0".repeat(64), 403),
        ("a member, of its own", &keys.mate, &keys.of_mate, 403),
        ("a member", &keys.mate, &keys.free, 403),
    ] {
        let path = format!("/key/{hash}/reset_spend");
        let reply = http.post(&path, &json!({"reset_to": 0})).await;
        assert_eq!(reply.status.as_u16(), status, "{what}: {}", reply.text());
    }
}
