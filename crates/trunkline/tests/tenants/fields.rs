//! S08: every field that the document says a change of a key may have, written by each who is no proxy admin and may change the key: what an
//! administrator has said is not widened by any of them. A field that is new has no row here, and the test fails.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, TestGateway};

use crate::support::{generate, post, with};
use crate::world::{World, get, secret};

/// What names the key, and no field of it.
const NAMES: [&str; 1] = ["key"];

/// For each field what would be more than the key here has.
fn wider() -> BTreeMap<&'static str, Vec<Value>> {
    BTreeMap::from([
        ("key_alias", vec![json!("other"), Value::Null]),
        ("duration", vec![json!("-1"), json!("30d")]),
        ("user_id", vec![json!("other"), Value::Null]),
        ("team_id", vec![json!("other"), Value::Null]),
        ("metadata", vec![json!({"level": 2}), json!({}), Value::Null]),
        ("blocked", vec![json!(false)]),
        (
            "allowed_routes",
            vec![json!([]), json!(["/mcp", "/sse"]), json!(["management_routes"])],
        ),
        ("key_type", vec![json!("management"), json!("llm_api")]),
        (
            "object_permission",
            vec![
                json!({"mcp_servers": ["files", "notes"]}),
                json!({"mcp_access_groups": ["dev"]}),
                json!({"mcp_toolsets": ["suite"]}),
                json!({"mcp_tool_permissions": {"files": ["*"]}}),
                json!({"mcp_tool_permissions": {}}),
                json!({"mcp_servers": ["all-team-mcpservers"]}),
            ],
        ),
        (
            "models",
            vec![
                json!([]),
                json!(["a", "b"]),
                json!(["a*"]),
                json!(["all-proxy-models"]),
            ],
        ),
        ("rpm_limit", vec![json!(6), Value::Null]),
        ("max_parallel_requests", vec![json!(3), Value::Null]),
        (
            "mcp_rpm_limit",
            vec![json!({"files": 4}), json!({}), json!({"notes": 1}), Value::Null],
        ),
        ("tpm_limit", vec![json!(600), Value::Null]),
        (
            "model_rpm_limit",
            vec![json!({"a": 4}), json!({}), json!({"b": 1}), Value::Null],
        ),
        (
            "model_tpm_limit",
            vec![json!({"a": 400}), json!({}), json!({"b": 1}), Value::Null],
        ),
        (
            "model_max_budget",
            vec![
                json!({"a": {"max_budget": 9, "budget_duration": "30d"}}),
                json!({}),
                json!({"b": {"max_budget": 1}}),
                Value::Null,
            ],
        ),
        ("budget_id", vec![json!("large"), Value::Null]),
        ("max_budget", vec![json!(2), Value::Null]),
        ("budget_duration", vec![json!("1s"), Value::Null]),
        // It limits nothing: what is written is an administrator's all the same.
        ("soft_budget", vec![json!(2), Value::Null]),
    ])
}

/// The fields of a schema of the document, by where it is.
fn documented(schema: &str) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let schema = document.pointer(schema).unwrap();
    let fields = schema["properties"].as_object().unwrap().keys();
    fields
        .filter(|name| !NAMES.contains(&name.as_str()))
        .cloned()
        .collect()
}

/// A key with something of everything that restricts it, blocked, and another secret of its owner's that is not.
async fn bound(gateway: &TestGateway, more: Value) -> Value {
    let mut body = json!({
        "user_id": "mate", "key_alias": format!("bound-{}", more["team_id"]), "duration": "1d", "metadata": {"level": 1}, "blocked": true,
        "allowed_routes": ["/mcp"], "models": ["a"], "rpm_limit": 5, "max_parallel_requests": 2, "mcp_rpm_limit": {"files": 3},
        "tpm_limit": 500, "model_rpm_limit": {"a": 3}, "model_tpm_limit": {"a": 300},
        "model_max_budget": {"a": {"max_budget": 1, "budget_duration": "30d"}},
        "budget_id": "small", "max_budget": 1, "soft_budget": 1, "budget_duration": "30d",
        "object_permission": {"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["read"]}},
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    generate(gateway, body).await
}

async fn row(gateway: &TestGateway, hash: &str) -> Value {
    get(gateway, &format!("/key/info?key={hash}")).await["info"].clone()
}

/// Tries to write each field, alone, in a bulk, and with another secret.
async fn tries(gateway: &TestGateway, what: &str, http: &HttpClient, hash: &str) {
    let before = row(gateway, hash).await;
    for (field, values) in wider() {
        // What it has is no more than it has.
        for value in values.into_iter().filter(|value| before[field] != *value) {
            let body = json!({"key": hash, field: value});
            for (path, body) in [
                ("/key/update", body.clone()),
                ("/key/bulk_update", json!({"keys": [body]})),
                ("/key/regenerate", body.clone()),
                (
                    "/team/key/bulk_update",
                    json!({"team_id": "t", "key_ids": [hash], "update_fields": {field: value}}),
                ),
            ] {
                let reply = http.post(path, &body).await;
                let is_refused =
                    reply.status.is_client_error() || reply.text().contains("\"successful_updates\":[]");
                assert!(is_refused, "{what}: {path} {body}: {}", reply.text());
            }
        }
    }
    for (path, body) in [
        ("/key/unblock", json!({"key": hash})),
        ("/key/delete", json!({"keys": [hash]})),
        (&*format!("/key/{hash}/reset_spend"), json!({"reset_to": 0})),
        (&*format!("/key/{hash}/regenerate"), json!({})),
    ] {
        let reply = http.post(path, &body).await;
        assert!(reply.status.is_client_error(), "{what}: {path}: {}", reply.text());
    }
    assert_eq!(row(gateway, hash).await, before, "{what}");
}

#[tokio::test]
async fn s08_no_field_that_an_administrator_has_written_is_widened_by_whom_it_binds() {
    let known: BTreeSet<String> = wider().into_keys().map(str::to_owned).collect();
    for schema in [
        "/components/schemas/UpdateKeyRequest",
        "/components/schemas/BulkUpdateTeamKeysRequest/properties/update_fields",
    ] {
        let fields = documented(schema);
        let missing: Vec<_> = fields.difference(&known).collect();
        assert!(
            missing.is_empty(),
            "{schema}: fields that nobody tries to widen here: {missing:?}"
        );
        assert!(fields.len() > 5, "{fields:?}");
    }
    let world = World::new().await;
    let gateway = &world.gateway;
    for (budget, most) in [("small", 1), ("large", 9)] {
        let body = json!({"budget_id": budget, "max_budget": most});
        post(gateway, "/budget/new", body).await;
    }
    let mut people = BTreeMap::new();
    for id in ["lead", "mate", "looker", "other"] {
        let role = if id == "looker" {
            "internal_user_viewer"
        } else {
            "internal_user"
        };
        let made = post(gateway, "/user/new", json!({"user_id": id, "user_role": role})).await;
        people.insert(id, with(gateway, &secret(&made)));
    }
    let members = json!([{"user_id": "lead", "role": "admin"}, {"user_id": "mate"}, {"user_id": "looker", "role": "admin"}]);
    let words = json!([
        "/key/generate",
        "/key/update",
        "/key/bulk_update",
        "/key/delete",
        "/key/regenerate",
        "/key/{key_id}/regenerate",
        "/key/block",
        "/key/unblock",
    ]);
    for team in ["t", "other"] {
        let body = json!({
            "team_id": team, "members_with_roles": members, "team_member_permissions": words,
            "models": ["a", "b"], "object_permission": {"mcp_servers": ["files", "notes"]},
        });
        post(gateway, "/team/new", body).await;
    }
    let of_team = bound(gateway, json!({"team_id": "t"})).await;
    let own = bound(gateway, json!({"team_id": null})).await;
    for (key, what) in [(&of_team, "a key of a team"), (&own, "a key of one's own")] {
        let hash = key["token"].as_str().unwrap();
        for (id, http) in &people {
            tries(gateway, &format!("{id}, {what}"), http, hash).await;
        }
        // And the key by itself: it is blocked, and its routes are none of these.
        tries(
            gateway,
            &format!("itself, {what}"),
            &with(gateway, &secret(key)),
            hash,
        )
        .await;
    }
}
