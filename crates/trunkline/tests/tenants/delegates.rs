//! Who is no proxy admin and changes keys all the same: a user its own, an admin of a team the team's, a member what the team lets it.
//! Nobody hands out more than it has, and what an administrator has said stays.

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, TestGateway, eventually};

use crate::support::{PATIENCE, Way, generate, post, with};
use crate::world::{World, get, of_the_team, secret};

/// What is answered to whoever asks.
async fn said(http: &HttpClient, path: &str, body: &Value) -> (u16, Value) {
    let reply = http.post(path, body).await;
    let status = reply.status.as_u16();
    (status, serde_json::from_str(&reply.text()).unwrap_or_default())
}

async fn done(http: &HttpClient, path: &str, body: Value) -> Value {
    let (status, answer) = said(http, path, &body).await;
    assert_eq!(status, 200, "{path} {body}: {answer}");
    answer
}

/// Checks that it is refused because of a field.
async fn refused(http: &HttpClient, path: &str, body: Value, field: &str) {
    let (status, answer) = said(http, path, &body).await;
    assert_eq!(
        (status, answer["error"]["param"].as_str()),
        (403, Some(field)),
        "{path} {body}: {answer}"
    );
    assert!(!answer.to_string().contains("sk-"), "{answer}");
}

/// A user that has a key without anything in particular.
async fn user(gateway: &TestGateway, id: &str) -> HttpClient {
    let made = post(gateway, "/user/new", json!({"user_id": id})).await;
    with(gateway, &secret(&made))
}

/// The team `t` with its admin `lead` and its member `mate`, which may use `files`, and of it one tool.
async fn team(gateway: &TestGateway) -> (HttpClient, HttpClient) {
    let people = (user(gateway, "lead").await, user(gateway, "mate").await);
    post(
        gateway,
        "/team/new",
        json!({
            "team_id": "t", "members_with_roles": [{"user_id": "lead", "role": "admin"}, {"user_id": "mate"}],
            "object_permission": {"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["read"]}},
        }),
    )
    .await;
    people
}

fn hash(made: &Value) -> String {
    made["token"].as_str().unwrap().to_owned()
}

async fn info(gateway: &TestGateway, hash: &str) -> Value {
    get(gateway, &format!("/key/info?key={hash}")).await["info"].clone()
}

#[tokio::test]
async fn s18_an_admin_of_a_team_manages_its_keys_on_sqlite() {
    manages(World::new().await).await;
}

#[tokio::test]
async fn s18_an_admin_of_a_team_manages_its_keys_on_postgres() {
    if let Some((world, _database)) = World::on_postgres().await {
        manages(world).await;
    }
}

async fn manages(world: World) {
    let gateway = &world.gateway;
    let (lead, _) = team(gateway).await;
    let made = done(
        &lead,
        "/key/generate",
        json!({"team_id": "t", "key_alias": "a", "object_permission": of_the_team()}),
    )
    .await;
    assert_eq!(
        (&made["user_id"], &made["team_id"]),
        (&json!("lead"), &json!("t"))
    );
    assert_eq!(made["delegation"]["by"], "lead", "{made}");
    let key = with(gateway, &secret(&made));
    world
        .check("made by the admin of the team", &key, &["files-read", "open"])
        .await;

    // What it has made it changes, as far as the team goes.
    let named = json!({"key": hash(&made)});
    let change = |more: Value| {
        let mut body = named.clone();
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    done(
        &lead,
        "/key/update",
        change(json!({"rpm_limit": 5, "key_alias": "b", "metadata": {"x": 1}})),
    )
    .await;
    done(
        &lead,
        "/key/update",
        change(json!({"rpm_limit": 50, "object_permission": {"mcp_servers": []}})),
    )
    .await;
    world.check("nothing", &key, &["open"]).await;
    done(
        &lead,
        "/key/update",
        change(json!({"rpm_limit": null, "object_permission": {"mcp_servers": ["files"]}})),
    )
    .await;
    world.check("one by name", &key, &["files-read", "open"]).await;
    done(&lead, "/key/block", named.clone()).await;
    assert_eq!(key.get("/key/info").await.status, 401);
    done(&lead, "/key/unblock", named.clone()).await;
    let items = json!({"keys": [change(json!({"duration": "1d"})), {"key": "0".repeat(64), "rpm_limit": 1}]});
    let many = done(&lead, "/key/bulk_update", items).await;
    assert_eq!(
        (
            many["successful_updates"].as_array().map(Vec::len),
            many["failed_updates"].as_array().map(Vec::len)
        ),
        (Some(1), Some(1)),
        "{many}"
    );
    let renewed = done(&lead, "/key/regenerate", named.clone()).await;
    assert_eq!(key.get("/key/info").await.status, 401);
    let key = with(gateway, &secret(&renewed));
    world.check("another secret", &key, &["files-read", "open"]).await;
    let path = format!("/key/{}/regenerate", hash(&renewed));
    let renewed = done(&lead, &path, json!({})).await;

    // A service's key is nobody's.
    let robot = done(
        &lead,
        "/key/service-account/generate",
        json!({"team_id": "t", "key_alias": "robot", "object_permission": of_the_team()}),
    )
    .await;
    assert_eq!(robot["user_id"], Value::Null);
    assert_eq!(lead.get("/key/list?team_id=t").await.json()["total_count"], 2);
    done(
        &lead,
        "/key/delete",
        json!({"keys": [hash(&renewed)], "key_aliases": null}),
    )
    .await;
    done(&lead, "/key/delete", json!({"key_aliases": ["robot"]})).await;
    assert_eq!(lead.get("/key/list?team_id=t").await.json()["total_count"], 0);
    let rows = get(gateway, "/audit?page_size=100&changed_by=lead").await;
    let of_lead: Vec<&Value> = rows["audit_logs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["changed_by"] == "lead")
        .collect();
    for action in ["created", "updated", "blocked", "unblocked", "rotated", "deleted"] {
        assert!(
            of_lead.iter().any(|row| row["action"] == action),
            "{action}: {rows}"
        );
    }
}

/// Who is blocked, or nobody any more, changes nothing; nor does a key of another team.
async fn whoever_is_nobody_there_changes_nothing(gateway: &TestGateway, lead: &HttpClient) {
    let own = json!({"team_id": "t"});
    let elsewhere = generate(gateway, json!({"team_id": "other", "user_id": "lead"})).await;
    refused(
        &with(gateway, &secret(&elsewhere)),
        "/key/generate",
        own.clone(),
        "team_id",
    )
    .await;
    refused(
        &with(gateway, &secret(&elsewhere)),
        "/key/generate",
        json!({}),
        "team_id",
    )
    .await;
    post(gateway, "/team/block", json!({"team_id": "t"})).await;
    refused(lead, "/key/generate", own.clone(), "team_id").await;
    post(gateway, "/team/unblock", json!({"team_id": "t"})).await;
    post(
        gateway,
        "/user/update",
        json!({"user_id": "lead", "user_role": "internal_user_viewer"}),
    )
    .await;
    assert_eq!(said(lead, "/key/generate", &own).await.0, 401);
    post(
        gateway,
        "/user/update",
        json!({"user_id": "lead", "user_role": null}),
    )
    .await;
    post(
        gateway,
        "/team/member_update",
        json!({"team_id": "t", "user_id": "lead", "role": "user"}),
    )
    .await;
    refused(lead, "/key/generate", own.clone(), "team_member_permissions").await;
}

#[tokio::test]
async fn s18_s19_an_admin_of_a_team_hands_out_no_more_than_the_team_has() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let (lead, mate) = team(gateway).await;
    post(
        gateway,
        "/team/new",
        json!({"team_id": "other", "members_with_roles": [{"user_id": "lead"}]}),
    )
    .await;
    post(
        gateway,
        "/team/new",
        json!({"team_id": "strange", "members_with_roles": [{"user_id": "mate", "role": "admin"}]}),
    )
    .await;
    post(gateway, "/budget/new", json!({"budget_id": "b", "rpm_limit": 9})).await;
    let mates = generate(
        gateway,
        json!({"team_id": "t", "user_id": "mate", "object_permission": of_the_team()}),
    )
    .await;
    let strangers = generate(gateway, json!({"team_id": "strange"})).await;
    let own = |more: Value| {
        let mut body = json!({"team_id": "t"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let before = get(gateway, "/key/list?size=100&return_full_object=true").await;
    for (body, field) in [
        (
            own(json!({"object_permission": {"mcp_servers": ["notes"]}})),
            "object_permission",
        ),
        (
            own(json!({"object_permission": {"mcp_access_groups": ["dev"]}})),
            "object_permission",
        ),
        (own(json!({"models": ["gpt-x"]})), "models"),
        (own(json!({"user_id": "mate"})), "user_id"),
        (own(json!({"user_id": "nobody"})), "user_id"),
        (own(json!({"budget_id": "b"})), "budget_id"),
        (own(json!({"key": "sk-of-my-own-choice-1"})), "key"),
        (json!({"team_id": "other"}), "team_member_permissions"),
        (json!({"team_id": "strange"}), "team_id"),
        (json!({"team_id": "nowhere"}), "team_id"),
    ] {
        refused(&lead, "/key/generate", body, field).await;
    }
    // It manages the keys of its team, and sees no secret of another user.
    refused(&lead, "/key/regenerate", json!({"key": hash(&mates)}), "user_id").await;
    for (path, body) in [
        ("/key/update", json!({"key": hash(&strangers), "rpm_limit": 1})),
        ("/key/update", json!({"key": "0".repeat(64), "rpm_limit": 1})),
        ("/key/update", json!({"key_alias": "nobody's", "rpm_limit": 1})),
        ("/key/block", json!({"key": hash(&strangers)})),
        ("/key/regenerate", json!({"key": hash(&strangers)})),
        ("/key/delete", json!({"keys": [hash(&mates), hash(&strangers)]})),
        ("/key/delete", json!({"key_aliases": ["nobody's"]})),
    ] {
        refused(&lead, path, body, "key").await;
    }
    for (body, field) in [
        (json!({"key": hash(&mates), "user_id": "lead"}), "user_id"),
        (json!({"key": hash(&mates), "team_id": null}), "team_id"),
        (json!({"key": hash(&mates), "budget_id": "b"}), "budget_id"),
    ] {
        refused(&lead, "/key/update", body, field).await;
    }
    // A member has what the team lets it, which is nothing.
    refused(&mate, "/key/generate", own(json!({})), "team_member_permissions").await;
    refused(
        &mate,
        "/key/block",
        json!({"key": hash(&mates)}),
        "team_member_permissions",
    )
    .await;
    let after = get(gateway, "/key/list?size=100&return_full_object=true").await;
    assert_eq!(before, after);
    whoever_is_nobody_there_changes_nothing(gateway, &lead).await;
    // Each of them is in the audit log.
    eventually("the denials are written", PATIENCE, async || {
        let rows = get(gateway, "/audit?action=denied&page_size=100").await;
        rows["total"].as_u64().is_some_and(|total| total >= 27)
    })
    .await;
}

#[tokio::test]
async fn s18_what_an_administrator_has_said_of_a_key_stays() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let (lead, _) = team(gateway).await;
    let limited = generate(
        gateway,
        json!({
            "team_id": "t", "user_id": "lead", "key_alias": "limited", "metadata": {"tier": "low"}, "rpm_limit": 10,
            "mcp_rpm_limit": {"files": 5}, "tpm_limit": 100, "model_rpm_limit": {"gpt": 3}, "model_tpm_limit": {"gpt": 50}, "duration": "1d", "allowed_routes": ["/mcp", "/key/*"],
            "object_permission": {"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["read"]}},
        }),
    )
    .await;
    let key = hash(&limited);
    let before = info(gateway, &key).await;
    for (more, field) in [
        (json!({"rpm_limit": 11}), "rpm_limit"),
        (json!({"rpm_limit": null}), "rpm_limit"),
        (json!({"mcp_rpm_limit": {}}), "mcp_rpm_limit"),
        (json!({"mcp_rpm_limit": {"files": 6}}), "mcp_rpm_limit"),
        (json!({"tpm_limit": null}), "tpm_limit"),
        (json!({"tpm_limit": 101}), "tpm_limit"),
        (json!({"model_rpm_limit": {"gpt": 4}}), "model_rpm_limit"),
        (json!({"model_rpm_limit": {"other": 1}}), "model_rpm_limit"),
        (json!({"model_tpm_limit": {}}), "model_tpm_limit"),
        (
            json!({"model_max_budget": {"gpt": {"max_budget": 1}}}),
            "max_budget",
        ),
        (json!({"duration": "-1"}), "duration"),
        (json!({"duration": "30d"}), "duration"),
        (json!({"allowed_routes": []}), "allowed_routes"),
        (json!({"allowed_routes": ["/mcp", "/v1/*"]}), "allowed_routes"),
        (json!({"key_type": "llm_api"}), "allowed_routes"),
        (
            json!({"object_permission": {"mcp_servers": ["all-team-mcpservers"]}}),
            "object_permission",
        ),
        (
            json!({"object_permission": {"mcp_tool_permissions": {}}}),
            "object_permission",
        ),
        (
            json!({"object_permission": {"mcp_tool_permissions": {"files": ["*"]}}}),
            "object_permission",
        ),
        (json!({"key_alias": "free"}), "key_alias"),
        (json!({"key_alias": null}), "key_alias"),
        (json!({"metadata": {"tier": "high"}}), "metadata"),
        (json!({"metadata": null}), "metadata"),
    ] {
        let mut body = json!({"key": key});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        refused(&lead, "/key/update", body.clone(), field).await;
        let many = done(&lead, "/key/bulk_update", json!({"keys": [body]})).await;
        assert_eq!(many["successful_updates"], json!([]), "{more}");
    }
    // Neither by another secret, nor by another key in its place or beside it.
    refused(&lead, "/key/regenerate", json!({"key": key}), "rpm_limit").await;
    refused(&lead, "/key/delete", json!({"keys": [key]}), "rpm_limit").await;
    refused(&lead, "/key/generate", json!({"team_id": "t"}), "rpm_limit").await;
    refused(
        &lead,
        "/key/service-account/generate",
        json!({"team_id": "t"}),
        "rpm_limit",
    )
    .await;
    assert_eq!(info(gateway, &key).await, before);
    // Less is always good.
    for (more, expected) in [
        (
            json!({"rpm_limit": 9, "mcp_rpm_limit": {"files": 4, "notes": 1}, "tpm_limit": 99, "model_tpm_limit": {"gpt": 50, "x": 1}, "duration": "1h", "allowed_routes": ["/mcp"]}),
            200,
        ),
        (
            json!({"object_permission": {"mcp_tool_permissions": {"files": []}}}),
            200,
        ),
        (json!({"object_permission": {"mcp_servers": []}}), 200),
        // Without a list of tools, what is for every key would be more.
        (json!({"object_permission": null}), 403),
    ] {
        let mut body = json!({"key": key});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(said(&lead, "/key/update", &body).await.0, expected, "{more}");
    }
    refused(
        &lead,
        "/key/update",
        json!({"key": key, "rpm_limit": 10}),
        "rpm_limit",
    )
    .await;
    done(&lead, "/key/block", json!({"key": key})).await;
    refused(&lead, "/key/unblock", json!({"key": key}), "blocked").await;
    refused(
        &lead,
        "/key/update",
        json!({"key": key, "blocked": false}),
        "blocked",
    )
    .await;
    // What an administrator takes over is an administrator's.
    post(
        gateway,
        "/key/update",
        json!({
            "key": key, "rpm_limit": null, "mcp_rpm_limit": null, "tpm_limit": null, "model_rpm_limit": null, "model_tpm_limit": null,
        }),
    )
    .await;
    // What an administrator has said there of the user could be left behind by another key.
    refused(&lead, "/key/generate", json!({"team_id": "t"}), "metadata").await;
    post(gateway, "/key/update", json!({"key": key, "metadata": null})).await;
    let made = done(&lead, "/key/generate", json!({"team_id": "t", "rpm_limit": 1})).await;
    done(&lead, "/key/update", json!({"key": hash(&made), "rpm_limit": 2})).await;
    post(
        gateway,
        "/key/update",
        json!({"key": hash(&made), "rpm_limit": 3}),
    )
    .await;
    refused(
        &lead,
        "/key/update",
        json!({"key": hash(&made), "rpm_limit": 4}),
        "rpm_limit",
    )
    .await;
    refused(&lead, "/key/regenerate", json!({"key": hash(&made)}), "rpm_limit").await;
    assert_eq!(info(gateway, &hash(&made)).await["delegation"]["is_whole"], false);
    // So is what one has blocked.
    post(
        gateway,
        "/key/update",
        json!({"key": hash(&made), "rpm_limit": null}),
    )
    .await;
    let made = done(&lead, "/key/generate", json!({"team_id": "t"})).await;
    post(gateway, "/key/block", json!({"key": hash(&made)})).await;
    refused(&lead, "/key/unblock", json!({"key": hash(&made)}), "blocked").await;
}

#[tokio::test]
async fn s19_a_key_hands_out_no_more_than_it_has_itself() {
    let world = World::new().await;
    let gateway = &world.gateway;
    user(gateway, "ann").await;
    let narrow = json!({
        "user_id": "ann", "duration": "2d", "allowed_routes": ["mcp_routes", "/key/*"],
        "object_permission": {"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["read"]}},
    });
    let narrow = with(gateway, &secret(&generate(gateway, narrow).await));
    for (body, field) in [
        (
            json!({"object_permission": {"mcp_servers": ["notes"]}}),
            "object_permission",
        ),
        (
            json!({"object_permission": {"mcp_servers": ["all-team-mcpservers"]}}),
            "object_permission",
        ),
        (
            json!({"object_permission": {"mcp_access_groups": ["dev"]}}),
            "object_permission",
        ),
        (
            json!({"object_permission": {"mcp_toolsets": ["x"]}}),
            "object_permission",
        ),
        (
            json!({"object_permission": {"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["read", "write"]}}}),
            "object_permission",
        ),
        (json!({"models": ["gpt-x"]}), "models"),
        (json!({"duration": "3d"}), "duration"),
        (
            json!({"duration": "-1", "allowed_routes": ["/v1/*"]}),
            "allowed_routes",
        ),
        (json!({"key_type": "management"}), "allowed_routes"),
    ] {
        refused(&narrow, "/key/generate", body, field).await;
    }
    let made = done(
        &narrow,
        "/key/generate",
        json!({"object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    assert_eq!(made["allowed_routes"], json!(["mcp_routes", "/key/*"]));
    assert!(made["expires"].is_string(), "{made}");
    let child = with(gateway, &secret(&made));
    world
        .check(
            "as narrow as the key that made it",
            &child,
            &["files-read", "open"],
        )
        .await;
    // Its own, and nobody else's.
    let other = user(gateway, "bob").await;
    refused(
        &other,
        "/key/update",
        json!({"key": hash(&made), "rpm_limit": 1}),
        "key",
    )
    .await;
    refused(&other, "/key/delete", json!({"keys": [hash(&made)]}), "key").await;
    done(
        &child,
        "/key/update",
        json!({"key": hash(&made), "key_alias": "mine", "metadata": {"a": 1}}),
    )
    .await;
    refused(
        &other,
        "/key/update",
        json!({"key_alias": "mine", "metadata": {"a": 2}}),
        "key",
    )
    .await;
    done(&narrow, "/key/delete", json!({"keys": [hash(&made)]})).await;
    assert_eq!(child.get("/key/info").await.status, 401);
    // A key without a user, or of a label, changes nothing.
    let label = with(
        gateway,
        &secret(&generate(gateway, json!({"user_id": "label"})).await),
    );
    assert_eq!(said(&label, "/key/generate", &json!({})).await.0, 401);
}

#[tokio::test]
async fn s18_members_do_what_their_team_lets_them() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let (lead, mate) = team(gateway).await;
    let path = "/team/permissions_list?team_id=t";
    assert_eq!(mate.get(path).await.json()["team_member_permissions"], json!([]));
    let words = json!(["/key/generate", "/key/update", "/key/regenerate", "/key/info"]);
    let update = |words: &Value| json!({"team_id": "t", "team_member_permissions": words});
    refused(&mate, "/team/permissions_update", update(&words), "team_id").await;
    for body in [
        update(&json!(["/key/everything"])),
        json!({"team_id": "t"}),
        json!({"team_id": "t", "team_member_permissions": [], "x": 1}),
    ] {
        assert_eq!(
            said(&lead, "/team/permissions_update", &body).await.0,
            422,
            "{body}"
        );
    }
    let row = done(&lead, "/team/permissions_update", update(&words)).await;
    assert_eq!(row["team_member_permissions"], words);
    let listed = get(gateway, path).await;
    assert_eq!(listed["team_member_permissions"], words);
    assert!(
        listed["all_available_permissions"]
            .as_array()
            .unwrap()
            .contains(&json!("/key/delete"))
    );
    let stranger = user(gateway, "stranger").await;
    assert_eq!(stranger.get(path).await.status, 404);

    let own = done(
        &mate,
        "/key/generate",
        json!({"team_id": "t", "object_permission": of_the_team()}),
    )
    .await;
    world
        .check(
            "a member's",
            &with(gateway, &secret(&own)),
            &["files-read", "open"],
        )
        .await;
    done(&mate, "/key/update", json!({"key": hash(&own), "rpm_limit": 7})).await;
    let renewed = done(&mate, "/key/regenerate", json!({"key": hash(&own)})).await;
    let named = format!("/key/{}/regenerate", hash(&renewed));
    refused(&mate, &named, json!({}), "team_member_permissions").await;
    refused(
        &mate,
        "/key/delete",
        json!({"keys": [hash(&renewed)]}),
        "team_member_permissions",
    )
    .await;
    refused(
        &mate,
        "/key/service-account/generate",
        json!({"team_id": "t"}),
        "team_id",
    )
    .await;
    // Of others it has nothing, whatever is let.
    let leads = generate(gateway, json!({"team_id": "t", "user_id": "lead"})).await;
    refused(
        &mate,
        "/key/update",
        json!({"key": hash(&leads), "rpm_limit": 7}),
        "key",
    )
    .await;
    // The row of the team says it, too, and only an administrator writes that.
    post(
        gateway,
        "/team/update",
        json!({"team_id": "t", "team_member_permissions": []}),
    )
    .await;
    refused(
        &mate,
        "/key/generate",
        json!({"team_id": "t"}),
        "team_member_permissions",
    )
    .await;
    assert_eq!(
        said(&lead, "/team/update", &json!({"team_id": "t", "team_alias": "x"}))
            .await
            .0,
        401
    );
}

#[tokio::test]
async fn s18_an_admin_of_a_team_says_who_is_in_it() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let (lead, mate) = team(gateway).await;
    user(gateway, "new").await;
    post(
        gateway,
        "/user/update",
        json!({"user_id": "new", "user_email": "new@example.com"}),
    )
    .await;
    post(
        gateway,
        "/team/new",
        json!({"team_id": "other", "members_with_roles": [{"user_id": "new"}]}),
    )
    .await;
    let add = |team: &str, member: Value| json!({"team_id": team, "member": member});
    refused(
        &lead,
        "/team/member_add",
        add("other", json!({"user_id": "mate"})),
        "team_id",
    )
    .await;
    refused(
        &lead,
        "/team/member_add",
        add("nowhere", json!({"user_id": "mate"})),
        "team_id",
    )
    .await;
    refused(
        &mate,
        "/team/member_add",
        add("t", json!({"user_id": "new"})),
        "team_id",
    )
    .await;
    // It makes no users: one of them could be the label of somebody's key.
    generate(gateway, json!({"user_id": "label"})).await;
    for unknown in [
        json!({"user_id": "label"}),
        json!({"user_email": "x@example.com"}),
    ] {
        refused(&lead, "/team/member_add", add("t", unknown), "member").await;
    }
    done(
        &lead,
        "/team/member_add",
        add("t", json!({"user_email": "NEW@example.com"})),
    )
    .await;
    done(
        &lead,
        "/team/member_update",
        json!({"team_id": "t", "user_id": "new", "role": "admin"}),
    )
    .await;
    let robot = done(
        &lead,
        "/key/service-account/generate",
        json!({"team_id": "t", "object_permission": of_the_team()}),
    )
    .await;
    let robot = with(gateway, &secret(&robot));
    let own = done(&lead, "/key/generate", json!({"team_id": "t"})).await;
    let kept = generate(gateway, json!({"team_id": "t"})).await;
    assert_eq!(robot.get("/key/info").await.status, 200);
    // With a member go the keys that it has, and those whose secret it knows.
    let second = with(
        gateway,
        &secret(&post(gateway, "/key/generate", json!({"user_id": "new"})).await),
    );
    done(
        &second,
        "/team/member_delete",
        json!({"team_id": "t", "user_id": "lead"}),
    )
    .await;
    assert_eq!(robot.get("/key/info").await.status, 401);
    assert_eq!(with(gateway, &secret(&own)).get("/key/info").await.status, 401);
    assert_eq!(with(gateway, &secret(&kept)).get("/key/info").await.status, 200);
    refused(&lead, "/key/generate", json!({"team_id": "t"}), "team_id").await;
    // So with a user.
    let robot = done(&second, "/key/service-account/generate", json!({"team_id": "t"})).await;
    post(gateway, "/user/delete", json!({"user_ids": ["new"]})).await;
    assert_eq!(with(gateway, &secret(&robot)).get("/key/info").await.status, 401);
    // An administrator that gives it another secret takes it over.
    refused(
        &mate,
        "/team/member_delete",
        json!({"team_id": "t", "user_id": "mate"}),
        "team_id",
    )
    .await;
}

#[tokio::test]
async fn s36_rules_about_calls_do_not_take_a_users_word_for_an_administrators() {
    let world = World::with_rules().await;
    let gateway = &world.gateway;
    let ann = user(gateway, "ann").await;
    let granted = json!({"user_id": "ann", "object_permission": {"mcp_servers": ["files"]}});
    let granted = with(gateway, &secret(&generate(gateway, granted).await));
    let call = json!({"name": "files-read", "arguments": {}});
    let ask = async |http: &HttpClient| Way::Bare.ask(http, None, "tools/call", &call).await.1.to_string();
    assert!(!ask(&granted).await.contains("\"done\""));
    for body in [
        json!({"key_alias": "trusted", "metadata": {"tier": "high"}, "object_permission": {"mcp_servers": ["files"]}}),
        json!({"metadata": {"tier": "high"}, "object_permission": {"mcp_servers": ["files"]}}),
    ] {
        let made = done(&granted, "/key/generate", body).await;
        let child = with(gateway, &secret(&made));
        assert!(
            !ask(&child).await.contains("\"done\""),
            "what a key says of itself"
        );
        // The same words of an administrator's.
        post(
            gateway,
            "/key/update",
            json!({"key": hash(&made), "metadata": {"tier": "high"}}),
        )
        .await;
        assert!(ask(&child).await.contains("\"done\""));
        refused(
            &granted,
            "/key/update",
            json!({"key": hash(&made), "metadata": {}}),
            "metadata",
        )
        .await;
    }
    // What an administrator has said of a key is said of what its user makes with it, and does not go away.
    let high = json!({"user_id": "ann", "metadata": {"tier": "high"}, "object_permission": {"mcp_servers": ["files"]}});
    let high = with(gateway, &secret(&generate(gateway, high).await));
    refused(
        &high,
        "/key/generate",
        json!({"metadata": {"tier": "other"}}),
        "metadata",
    )
    .await;
    let made = done(
        &high,
        "/key/generate",
        json!({"object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    assert!(ask(&with(gateway, &secret(&made))).await.contains("\"done\""));
    refused(&high, "/key/delete", json!({"keys": [hash(&made)]}), "metadata").await;
    // A word that stands alone on an administrator's key is its holder's, too.
    let own = generate(
        gateway,
        json!({"user_id": "ann", "object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    done(
        &ann,
        "/key/update",
        json!({"key": hash(&own), "metadata": {"tier": "high"}}),
    )
    .await;
    assert!(!ask(&with(gateway, &secret(&own))).await.contains("\"done\""));
}
