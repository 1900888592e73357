//! Every route there is: those of the OpenAPI document and the MCP endpoints. Each is tried by nobody and by everybody who has no
//! right to it. A route that is new is closed to all but administrators here, unless a table below says otherwise.

use axum::body::Bytes;
use axum::http::Request;
use futures_util::future::join_all;
use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, Reply, ScriptedUpstream, TestGateway};

use crate::database::Database;
use crate::support::{config, generate, key, listed, post, toolset, with};

/// What anybody may see.
const PUBLIC: [&str; 2] = ["GET /health/liveliness", "GET /health/readiness"];

/// What every good key may do, within its grants.
const EVERY_KEY: [&str; 29] = [
    "GET /key/info",
    "POST /key/health",
    "POST /v2/key/info",
    "GET /mcp-rest/tools/list",
    "GET /model_group/info",
    "GET /v1/mcp/tools",
    "GET /v1/model/info",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "GET /v1/mcp/server/submissions",
    "GET /v1/mcp/toolset",
    "GET /v1/mcp/toolset/{toolset_id}",
    "POST /mcp-rest/tools/call",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/mcp/policy/explain",
    "POST /v1/messages",
    "POST /v1/messages/count_tokens",
    "POST /v1/responses",
    "POST /v1/rerank",
    "POST /v1/moderations",
    "POST /v1/images/generations",
    "POST /v1/audio/speech",
    "POST /v1/audio/transcriptions",
    "GET /v1/responses/{response_id}",
    "DELETE /v1/responses/{response_id}",
    "POST /v1/responses/{response_id}/cancel",
    "GET /v1/responses/{response_id}/input_items",
];

/// What a user may see, of its own and of its teams.
const EVERY_USER: [&str; 15] = [
    "GET /key/aliases",
    "GET /key/list",
    "GET /spend/logs",
    "GET /spend/logs/v2",
    "GET /team/available",
    "GET /team/daily/activity",
    "GET /team/info",
    "GET /team/list",
    "GET /team/permissions_list",
    "GET /team/spend/by_user",
    "GET /user/daily/activity",
    "GET /user/daily/activity/aggregated",
    "GET /user/info",
    "GET /v2/team/list",
    "GET /v2/user/info",
];

/// What a user may ask for, and is judged by what it says: its own keys and teams. Nothing that it says of others is carried out.
const JUDGED: [&str; 16] = [
    "POST /team/bulk_member_add",
    "POST /key/block",
    "POST /key/bulk_update",
    "POST /key/delete",
    "POST /key/generate",
    "POST /key/regenerate",
    "POST /key/service-account/generate",
    "POST /key/unblock",
    "POST /key/update",
    "POST /key/{key}/regenerate",
    "POST /key/{key}/reset_spend",
    "POST /team/key/bulk_update",
    "POST /team/member_add",
    "POST /team/member_delete",
    "POST /team/member_update",
    "POST /team/permissions_update",
];

/// What every key of a team may do, and no other key.
const EVERY_TEAM_KEY: [&str; 1] = ["POST /v1/mcp/server/register"];

/// What a viewer may ask, although it is no GET.
const FOR_VIEWERS: [&str; 1] = ["POST /v1/mcp/policy/dry-run"];

/// What a viewer may not see, although it is a GET: it is no part of the management API. (What providers keep is for keys with models.)
const NOT_FOR_VIEWERS: [&str; 10] = [
    "GET /metrics",
    "GET /openai/{path}",
    "GET /anthropic/{path}",
    "GET /gemini/{path}",
    "GET /vertex_ai/{path}",
    "GET /bedrock/{path}",
    "GET /azure/{path}",
    "GET /cohere/{path}",
    "GET /mistral/{path}",
    "GET /vllm/{path}",
];

/// Methods and paths of the MCP endpoints, which no document has.
const ENDPOINTS: [&str; 21] = [
    "POST /mcp",
    "GET /mcp",
    "DELETE /mcp",
    "POST /mcp/mcp",
    "POST /files/mcp",
    "GET /files/mcp",
    "DELETE /files/mcp",
    "POST /mcp/files",
    "GET /mcp/files",
    "DELETE /mcp/files",
    "POST /toolset/suite/mcp",
    "GET /toolset/suite/mcp",
    "DELETE /toolset/suite/mcp",
    "GET /sse",
    "POST /sse/messages",
    "GET /files/sse",
    "POST /files/sse/messages",
    "GET /mcp/files/sse",
    "POST /mcp/files/sse/messages",
    "GET /toolset/suite/sse",
    "POST /toolset/suite/sse/messages",
];

/// `METHOD /path` of every operation of the document.
fn operations() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys();
        methods
            .map(|method| format!("{} {path}", method.to_uppercase()))
            .collect::<Vec<_>>()
    };
    paths.flat_map(of).collect()
}

struct World {
    gateway: TestGateway,
    database: Database,
    upstream: ScriptedUpstream,
    /// A server, a toolset and a key, by what paths and bodies call them.
    ids: [(&'static str, String); 10],
}

impl World {
    async fn new() -> Option<Self> {
        let database = Database::create()?;
        let upstream = ScriptedUpstream::start().await;
        let builder = database.gateway().config(&config(&[("files", &upstream, "")]));
        let gateway = builder.env("STORE_MODEL_IN_DB", "true").start().await;
        listed(&gateway, &["files"]).await;
        let server = json!({"server_name": "stored", "url": "http://127.0.0.1:9/mcp", "transport": "http"});
        let server = gateway
            .client()
            .post("/v1/mcp/server", &server)
            .await
            .expect_status(201)
            .json();
        let suite = toolset(&gateway, "suite", &[("files", "echo")]).await;
        let own = json!({"organization_id": "o", "organization_alias": "o"});
        post(&gateway, "/organization/new", own).await;
        let team = json!({"team_id": "t", "organization_id": "o", "members_with_roles": [{"user_id": "m"}]});
        post(&gateway, "/team/new", team).await;
        post(&gateway, "/user/new", json!({"user_id": "u"})).await;
        post(&gateway, "/customer/new", json!({"user_id": "e"})).await;
        let victim = generate(&gateway, json!({"key_alias": "mine", "team_id": "t"})).await;
        let params = json!({"model": "openai/x", "api_base": "http://127.0.0.1:9/v1"});
        let model = json!({"model_name": "kept", "litellm_params": params, "model_info": {"id": "kept"}});
        post(&gateway, "/model/new", model).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let ids = [
            ("server_id", text(&server["server_id"])),
            ("toolset_id", text(&suite["toolset_id"])),
            ("key", text(&victim["token"])),
            ("response_id", "resp_x".to_owned()),
            ("team_id", "t".to_owned()),
            // Of the audit log.
            ("id", "1".to_owned()),
            ("approval_id", "1".to_owned()),
            ("model", "gpt-x".to_owned()),
            ("model_id", "kept".to_owned()),
            // Of a provider's own API: about no model that anybody could tell.
            ("path", "publishers/x".to_owned()),
        ];
        Some(Self {
            gateway,
            database,
            upstream,
            ids,
        })
    }

    /// Bodies of which one at least would be carried out on every route, if it was let in.
    fn harm(&self) -> Vec<Value> {
        let of = |name: &str| self.ids.iter().find(|(own, _)| *own == name).unwrap().1.clone();
        let tools = json!([{"server_id": "files", "tool_name": "gone"}]);
        vec![
            json!({"key": of("key"), "rpm_limit": 1}),
            json!({"keys": [of("key")]}),
            json!({"team_id": "t", "team_alias": "harmed"}),
            json!({"team_ids": ["t"]}),
            json!({"team_id": "t", "member": {"user_id": "x", "role": "admin"}}),
            json!({"team_id": "t", "user_id": "m", "role": "admin"}),
            json!({"user_id": "u", "user_alias": "harmed", "user_role": "proxy_admin"}),
            json!({"user_ids": ["u", "e"]}),
            json!({"organization_id": "o", "organization_alias": "harmed"}),
            json!({"organization_ids": ["o"]}),
            json!({"budget_id": "harmed", "rpm_limit": 1}),
            json!({"keys": [{"key": of("key"), "rpm_limit": 1}]}),
            json!({"reset_to": 0}),
            json!({"team_id": "t", "all_keys_in_team": true, "update_fields": {"rpm_limit": 1}}),
            json!({"users": [{"user_id": "u", "user_alias": "harmed"}]}),
            json!({"server_id": of("server_id"), "url": "http://127.0.0.1:9/harmed"}),
            json!({"server_name": "harmed", "url": "http://127.0.0.1:9/mcp", "transport": "http"}),
            json!({"toolset_id": of("toolset_id"), "tools": tools}),
            json!({"toolset_name": "harmed", "tools": tools}),
            json!({"id": "kept"}),
            json!({"model_name": "harmed", "model_info": {"id": "kept"}}),
            json!({"model_name": "harmed", "litellm_params": {"model": "openai/x", "api_base": "http://127.0.0.1:9/v1"}}),
            json!({"name": "files-echo", "arguments": {"message": "harmed"}}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "files-echo", "arguments": {}}}),
            json!({}),
            json!("nonsense"),
        ]
    }

    async fn send(&self, http: &HttpClient, operation: &str, body: &Value) -> Reply {
        let (method, path) = operation.split_once(' ').unwrap();
        let mut path = path.to_owned();
        for (name, id) in &self.ids {
            path = path.replace(&format!("{{{name}}}"), id);
        }
        assert!(
            !path.contains('{'),
            "{operation}: a parameter that is not known here"
        );
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Bytes::from(body.to_string()))
            .unwrap();
        http.try_send(request).await.unwrap()
    }

    /// Checks that it is refused, whatever it says.
    async fn refused(&self, what: &str, http: &HttpClient, operation: &str, statuses: &[u16]) {
        let bodies = if operation.starts_with("GET") {
            vec![json!({})]
        } else {
            self.harm()
        };
        for body in bodies {
            let reply = self.send(http, operation, &body).await;
            let status = reply.status.as_u16();
            assert!(
                statuses.contains(&status),
                "{what}: {operation} {body}: {}",
                reply.everything()
            );
            let challenge = reply.header("www-authenticate").is_some();
            assert!(
                status != 401 || challenge,
                "{what}: {operation}: {}",
                reply.everything()
            );
        }
    }
}

/// Nobody, in all the ways in which one can have no key.
fn nobodies(gateway: &TestGateway) -> Vec<(&'static str, HttpClient)> {
    let master = gateway.master_key();
    let anonymous = || gateway.anonymous().keeping_connections();
    vec![
        ("nobody", anonymous()),
        ("a wrong key", with(gateway, "sk-wrong-0123456789")),
        ("a shorter key", with(gateway, &master[..master.len() - 1])),
        (
            "another scheme",
            anonymous().with_header("authorization", &format!("Digest {master}")),
        ),
        (
            "a cookie",
            anonymous().with_header("cookie", &format!("token={master}")),
        ),
        (
            "a wrong key beside a good one",
            with(gateway, master).with_header("x-litellm-api-key", "sk-wrong"),
        ),
    ]
}

#[tokio::test]
async fn s05_s19_every_route_refuses_who_is_nobody() {
    let Some(world) = World::new().await else { return };
    let before = (world.database.rows(), world.upstream.requests().len());
    let operations = operations();
    assert!(operations.len() > 70, "{operations:?}");
    let nobodies = nobodies(&world.gateway);
    for operation in operations.iter().map(String::as_str).chain(ENDPOINTS) {
        join_all(nobodies.iter().map(async |(what, http)| {
            if PUBLIC.contains(&operation) {
                let reply = world.send(http, operation, &json!({})).await;
                assert_eq!(reply.status, 200, "{what}: {operation}");
                return;
            }
            world.refused(what, http, operation, &[401]).await;
        }))
        .await;
    }
    world.database.is_still(&before.0);
    assert_eq!(world.upstream.requests().len(), before.1);
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
    with(gateway, made["key"].as_str().unwrap())
}

/// Who has no right to most, with what is open to each.
async fn limited(gateway: &TestGateway) -> Vec<(&'static str, HttpClient, fn(&str) -> bool)> {
    let of_key: fn(&str) -> bool = |operation| EVERY_KEY.contains(&operation);
    let of_user: fn(&str) -> bool = |operation| {
        let lists = [&EVERY_KEY[..], &EVERY_USER, &JUDGED];
        lists.iter().any(|list| list.contains(&operation))
    };
    let of_team_key: fn(&str) -> bool =
        |operation| EVERY_KEY.contains(&operation) || EVERY_TEAM_KEY.contains(&operation);
    let of_member_key: fn(&str) -> bool = |operation| {
        let lists = [&EVERY_KEY[..], &EVERY_USER, &JUDGED, &EVERY_TEAM_KEY];
        lists.iter().any(|list| list.contains(&operation))
    };
    let of_looker: fn(&str) -> bool =
        |operation| EVERY_KEY.contains(&operation) || EVERY_USER.contains(&operation);
    let of_viewer: fn(&str) -> bool = |operation| {
        let is_seen = operation.starts_with("GET ") && !NOT_FOR_VIEWERS.contains(&operation);
        is_seen || EVERY_KEY.contains(&operation) || FOR_VIEWERS.contains(&operation)
    };
    let secret = |made: Value| made["key"].as_str().unwrap().to_owned();
    let granted = key(gateway, json!({"mcp_servers": ["files"]})).await;
    let of_team = secret(generate(gateway, json!({"team_id": "t"})).await);
    let of_member = secret(generate(gateway, json!({"team_id": "t", "user_id": "m"})).await);
    let labelled = secret(generate(gateway, json!({"user_id": "only a label"})).await);
    let routes = json!({"allowed_routes": ["/nothing"], "object_permission": {"mcp_servers": ["files"]}});
    let nowhere = secret(generate(gateway, routes).await);
    vec![
        (
            "a key without a grant",
            with(gateway, &key(gateway, json!({})).await),
            of_key,
        ),
        ("a key", with(gateway, &granted), of_key),
        ("a team's key", with(gateway, &of_team), of_team_key),
        ("a member's key", with(gateway, &of_member), of_member_key),
        ("a labelled key", with(gateway, &labelled), of_key),
        ("a key without routes", with(gateway, &nowhere), |_| false),
        ("a user", user(gateway, "internal_user", false).await, of_user),
        (
            "a user who views",
            user(gateway, "internal_user_viewer", false).await,
            of_looker,
        ),
        (
            "an admin of a team",
            user(gateway, "internal_user", true).await,
            of_user,
        ),
        (
            "a viewer",
            user(gateway, "proxy_admin_viewer", true).await,
            of_viewer,
        ),
    ]
}

#[tokio::test]
async fn s05_s19_every_route_refuses_who_has_no_right_to_it() {
    let Some(world) = World::new().await else { return };
    let limited = limited(&world.gateway).await;
    let before = (world.database.rows(), world.upstream.requests().len());
    let operations = operations();
    let closed = operations
        .iter()
        .filter(|operation| !PUBLIC.contains(&operation.as_str()));
    for operation in closed.clone() {
        let refused = limited.iter().filter(|(.., is_open)| !is_open(operation));
        join_all(refused.map(|(what, http, _)| world.refused(what, http, operation, &[401, 403]))).await;
    }
    // Of the MCP endpoints, every good key has the ways in; what is behind them is for each to be granted.
    let nowhere = limited.iter().find(|(.., is_open)| !is_open("GET /key/info"));
    let (what, http, _) = nowhere.unwrap();
    for operation in ENDPOINTS {
        world.refused(what, http, operation, &[403]).await;
    }
    // Who is judged by what it says harms nobody with it: the key is a team's that only one of them is an admin of.
    for operation in JUDGED {
        for (what, http, _) in limited
            .iter()
            .filter(|(what, _, is_open)| is_open(operation) && *what != "an admin of a team")
        {
            for body in world.harm().iter().filter(|body| **body != json!({})) {
                let reply = world.send(http, operation, body).await;
                // Of many changes, each for itself is refused.
                let is_refused =
                    !reply.status.is_success() || reply.text().contains("\"successful_updates\":[]");
                assert!(is_refused, "{what}: {operation} {body}: {}", reply.everything());
            }
        }
    }
    world.database.is_still(&before.0);
    assert_eq!(world.upstream.requests().len(), before.1);
    // And that the tables say what is so: what is open is let in, and refused for what it says, if at all.
    for operation in closed {
        for (what, http, _) in limited.iter().filter(|(.., is_open)| is_open(operation)) {
            let reply = world.send(http, operation, &json!({"nonsense": 1})).await;
            let is_ungranted = reply.status == 403 && operation.ends_with("/{toolset_id}");
            let is_refused = matches!(reply.status.as_u16(), 401 | 403) && !is_ungranted;
            assert!(!is_refused, "{what}: {operation}: {}", reply.text());
        }
    }
}
