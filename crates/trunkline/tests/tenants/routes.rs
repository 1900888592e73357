//! Every route about keys and whom they belong to, from the document: nobody without a key, no key without a role, and what a role
//! does not say is refused before anything of the request is looked at (S05, S19).

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, TestGateway};

use crate::support::{generate, key, post, with};
use crate::world::{World, get, secret, send};

/// How the paths begin that are checked here.
const PREFIXES: [&str; 9] = [
    "/budget/",
    "/key/",
    "/team/",
    "/v2/team/",
    "/user/",
    "/v2/user/",
    "/organization/",
    "/customer/",
    "/end_user/",
];

/// Method and path of every operation.
fn operations() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let ours = paths
        .iter()
        .filter(|(path, _)| PREFIXES.iter().any(|begin| path.starts_with(begin)));
    let operations = ours.flat_map(|(path, item)| {
        let path = path.replace("{key}", &"0".repeat(64)).replace("{team_id}", "t");
        let methods = item.as_object().unwrap().keys();
        methods
            .map(|method| (method.to_uppercase(), path.clone()))
            .collect::<Vec<_>>()
    });
    operations.collect()
}

/// A body that would do harm on every route, if it was carried out.
fn harm() -> Value {
    json!({
        "team_id": "t", "team_ids": ["t"], "user_id": "u", "user_ids": ["u", "e"], "organization_id": "o",
        "organization_ids": ["o"], "organizations": ["o"], "key_aliases": ["mine"], "key_alias": "mine",
        "member": {"user_id": "x", "role": "admin"}, "id": "b", "budget_id": "b", "budgets": ["b"],
    })
}

/// Everything that there is, as the administrator sees it.
async fn everything(gateway: &TestGateway) -> String {
    let mut all = String::new();
    for path in [
        "/key/list?return_full_object=true&size=100",
        "/team/list",
        "/user/list",
        "/organization/list",
        "/customer/list",
        "/budget/list",
    ] {
        all.push_str(&get(gateway, path).await.to_string());
    }
    all
}

async fn filled() -> World {
    let world = World::new().await;
    let gateway = &world.gateway;
    post(
        gateway,
        "/organization/new",
        json!({"organization_id": "o", "organization_alias": "o"}),
    )
    .await;
    let team = json!({"team_id": "t", "members_with_roles": [{"user_id": "m"}]});
    post(gateway, "/team/new", team).await;
    post(gateway, "/user/new", json!({"user_id": "u"})).await;
    post(gateway, "/customer/new", json!({"user_id": "e"})).await;
    generate(gateway, json!({"key_alias": "mine"})).await;
    post(gateway, "/budget/new", json!({"budget_id": "b", "rpm_limit": 1})).await;
    world
}

#[tokio::test]
async fn s05_s19_no_route_is_for_who_has_no_key_or_no_role() {
    let world = filled().await;
    let gateway = &world.gateway;
    let plain = key(gateway, json!({"mcp_servers": ["files"]})).await;
    let of_team = world.team_key("t").await;
    let labelled = secret(&generate(gateway, json!({"user_id": "only a label"})).await);
    let before = everything(gateway).await;
    let operations = operations();
    assert_eq!(operations.len(), 77, "{operations:?}");
    for (what, http, kind) in [
        ("nobody", gateway.anonymous(), "auth_error"),
        (
            "a wrong key",
            with(gateway, "sk-wrong-0123456789"),
            "token_not_found_in_db",
        ),
        ("a key", with(gateway, &plain), "auth_error"),
        ("a team's key", with(gateway, &of_team), "auth_error"),
        ("a labelled key", with(gateway, &labelled), "auth_error"),
    ] {
        for (method, path) in &operations {
            // What a key is told about itself.
            let is_own = matches!(path.as_str(), "/key/info" | "/key/health");
            if is_own && what.contains("key") && !what.contains("wrong") {
                continue;
            }
            for body in [harm(), json!("nonsense"), json!({})] {
                let reply = send(&http, method, path, &body).await;
                assert_eq!(reply.status, 401, "{what}: {method} {path}: {}", reply.text());
                assert_eq!(reply.json()["error"]["type"], kind, "{what}: {method} {path}");
            }
        }
    }
    assert_eq!(everything(gateway).await, before);
}

/// A client with a key of a new user with a role, and who is an admin of the team `t` if `leads`.
async fn user(gateway: &TestGateway, role: &str, leads: bool) -> HttpClient {
    let id = format!("{role}-{leads}");
    let made = post(gateway, "/user/new", json!({"user_id": id, "user_role": role})).await;
    if leads {
        let member = json!({"user_id": id, "role": "admin"});
        post(
            gateway,
            "/team/member_add",
            json!({"team_id": "t", "member": member}),
        )
        .await;
    }
    with(gateway, &secret(&made))
}

/// What a user may see, of its own and of its teams.
const SEEN: [&str; 14] = [
    "/key/aliases",
    "/team/available",
    "/key/info",
    "/key/list",
    "/team/daily/activity",
    "/team/info",
    "/team/list",
    "/team/permissions_list",
    "/team/spend/by_user",
    "/v2/team/list",
    "/user/daily/activity",
    "/user/daily/activity/aggregated",
    "/user/info",
    "/v2/user/info",
];

/// What a user may ask for, and is judged by what it says: its own keys, and the keys and members of its teams.
fn is_judged(path: &str) -> bool {
    const TEAMS: [&str; 6] = [
        "/team/bulk_member_add",
        "/team/key/bulk_update",
        "/team/member_add",
        "/team/member_delete",
        "/team/member_update",
        "/team/permissions_update",
    ];
    (path.starts_with("/key/") && !SEEN.contains(&path)) || TEAMS.contains(&path)
}

#[tokio::test]
async fn s05_s19_a_role_opens_what_it_says_and_nothing_else() {
    let world = filled().await;
    let gateway = &world.gateway;
    let (internal, viewer) = (
        user(gateway, "internal_user", false).await,
        user(gateway, "internal_user_viewer", true).await,
    );
    let (lead, looks) = (
        user(gateway, "internal_user", true).await,
        user(gateway, "proxy_admin_viewer", true).await,
    );
    let admin = user(gateway, "proxy_admin", false).await;
    let before = everything(gateway).await;
    for (what, http) in [
        ("internal_user", &internal),
        ("internal_user_viewer", &viewer),
        ("an admin of a team", &lead),
        ("proxy_admin_viewer", &looks),
        ("proxy_admin", &admin),
    ] {
        for (method, path) in operations() {
            let is_get = method == "GET";
            let is_open = match what {
                // It says to every key that it is good.
                _ if path == "/key/health" => true,
                "proxy_admin" => true,
                "proxy_admin_viewer" => is_get,
                "internal_user_viewer" => SEEN.contains(&path.as_str()),
                _ => SEEN.contains(&path.as_str()) || is_judged(&path),
            };
            // What is let in is refused for what it says.
            let reply = send(http, &method, &path, &json!({"nonsense": 1})).await;
            assert_eq!(
                reply.status != 401,
                is_open,
                "{what}: {method} {path}: {}",
                reply.text()
            );
            if !is_get && path != "/key/health" {
                assert!(
                    reply.status.is_client_error(),
                    "{what}: {method} {path}: {}",
                    reply.text()
                );
            }
        }
    }
    assert_eq!(everything(gateway).await, before);
    // The rest of what an administrator does, too.
    let servers = async |http: &HttpClient| http.get("/v1/mcp/server").await.status.as_u16();
    assert_eq!((servers(&admin).await, servers(&looks).await), (200, 200));
    assert_eq!((servers(&lead).await, servers(&internal).await), (403, 403));
    let server = json!({"server_name": "late", "url": "http://127.0.0.1:9/mcp", "transport": "http"});
    for (http, status) in [(&looks, 403), (&lead, 403), (&admin, 201)] {
        assert_eq!(http.post("/v1/mcp/server", &server).await.status.as_u16(), status);
    }
}
