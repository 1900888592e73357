//! Every operation of the management API that changes something leaves exactly one row: the operations are those of the document, so
//! that a new one has to be here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use trunkline_testkit::TestGateway;

use crate::support::config;
use crate::world::{World, last, rows, send};

/// Operations that are not GET and change nothing.
const ASKING: [&str; 58] = [
    "POST /budget/info",
    "POST /key/health",
    "POST /mcp-rest/test/connection",
    "POST /mcp-rest/test/tools/list",
    "POST /mcp-rest/tools/call",
    "POST /organization/info",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/mcp/policy/dry-run",
    "POST /v1/mcp/policy/explain",
    "POST /v1/messages",
    "POST /v1/messages/count_tokens",
    "DELETE /v1/responses/{response_id}",
    "POST /v1/responses",
    "POST /v1/responses/{response_id}/cancel",
    "POST /v1/rerank",
    "POST /v1/moderations",
    "POST /v1/images/generations",
    "POST /v1/audio/speech",
    "POST /v1/audio/transcriptions",
    "POST /v2/key/info",
    "POST /openai/{path}",
    "PUT /openai/{path}",
    "PATCH /openai/{path}",
    "DELETE /openai/{path}",
    "POST /anthropic/{path}",
    "PUT /anthropic/{path}",
    "PATCH /anthropic/{path}",
    "DELETE /anthropic/{path}",
    "POST /gemini/{path}",
    "PUT /gemini/{path}",
    "PATCH /gemini/{path}",
    "DELETE /gemini/{path}",
    "POST /vertex_ai/{path}",
    "PUT /vertex_ai/{path}",
    "PATCH /vertex_ai/{path}",
    "DELETE /vertex_ai/{path}",
    "POST /bedrock/{path}",
    "PUT /bedrock/{path}",
    "PATCH /bedrock/{path}",
    "DELETE /bedrock/{path}",
    "POST /azure/{path}",
    "PUT /azure/{path}",
    "PATCH /azure/{path}",
    "DELETE /azure/{path}",
    "POST /cohere/{path}",
    "PUT /cohere/{path}",
    "PATCH /cohere/{path}",
    "DELETE /cohere/{path}",
    "POST /mistral/{path}",
    "PUT /mistral/{path}",
    "PATCH /mistral/{path}",
    "DELETE /mistral/{path}",
    "POST /vllm/{path}",
    "PUT /vllm/{path}",
    "PATCH /vllm/{path}",
    "DELETE /vllm/{path}",
];

const KEY: &str = "LiteLLM_VerificationToken";
const TEAM: &str = "LiteLLM_TeamTable";
const USER: &str = "LiteLLM_UserTable";
const ORGANIZATION: &str = "LiteLLM_OrganizationTable";
const END_USER: &str = "LiteLLM_EndUserTable";
const BUDGET: &str = "LiteLLM_BudgetTable";
const SERVER: &str = "LiteLLM_MCPServerTable";
const TOOLSET: &str = "LiteLLM_MCPToolsetTable";
const MODEL: &str = "LiteLLM_ProxyModelTable";
const APPROVAL: &str = "trunkline_call_approval";

/// An operation, and the row that it leaves. `$x` is what an earlier one was answered.
struct Step {
    /// As in the document.
    operation: &'static str,
    /// Where the path has more than the document's.
    path: Option<&'static str>,
    body: Value,
    /// Action, table, object.
    row: (&'static str, &'static str, &'static str),
    /// A name, and where its value is in the answer.
    keeps: Option<(&'static str, &'static str)>,
}

fn step(operation: &'static str, body: Value, row: (&'static str, &'static str, &'static str)) -> Step {
    Step {
        operation,
        path: None,
        body,
        row,
        keeps: None,
    }
}

impl Step {
    fn at(self, path: &'static str) -> Self {
        Self {
            path: Some(path),
            ..self
        }
    }

    fn keeps(self, name: &'static str, pointer: &'static str) -> Self {
        Self {
            keeps: Some((name, pointer)),
            ..self
        }
    }
}

fn keys() -> Vec<Step> {
    let named = json!({"key": "$key"});
    vec![
        step(
            "POST /key/generate",
            json!({"key_alias": "k"}),
            ("created", KEY, "$key"),
        )
        .keeps("$key", "/token"),
        step(
            "POST /key/update",
            json!({"key": "$key", "user_id": "u"}),
            ("updated", KEY, "$key"),
        ),
        step("POST /key/block", named.clone(), ("blocked", KEY, "$key")),
        step("POST /key/unblock", named.clone(), ("unblocked", KEY, "$key")),
        step(
            "POST /key/{key}/reset_spend",
            json!({"reset_to": 0}),
            ("updated", KEY, "$key"),
        )
        .at("/key/$key/reset_spend"),
        step("POST /key/regenerate", named, ("rotated", KEY, "$key")).keeps("$next", "/token"),
        step("POST /key/{key}/regenerate", json!({}), ("rotated", KEY, "$next"))
            .at("/key/$next/regenerate")
            .keeps("$last", "/token"),
        step(
            "POST /key/delete",
            json!({"keys": ["$last"]}),
            ("deleted", KEY, "$last"),
        ),
    ]
}

/// Who is in the team `t`, and what they may do there.
fn memberships() -> [Step; 7] {
    let member = json!({"team_id": "t", "user_id": "u"});
    [
        step(
            "POST /team/member_add",
            json!({"team_id": "t", "member": {"user_id": "u", "role": "user"}}),
            ("updated", TEAM, "t"),
        ),
        step(
            "POST /team/member_update",
            json!({"team_id": "t", "user_id": "u", "role": "admin"}),
            ("updated", TEAM, "t"),
        ),
        step("POST /team/member_delete", member, ("updated", TEAM, "t")),
        step(
            "POST /team/bulk_member_add",
            json!({"team_id": "t", "members": [{"user_id": "u", "role": "user"}, {"user_id": "u"}]}),
            ("updated", TEAM, "t"),
        ),
        step(
            "POST /team/model/add",
            json!({"team_id": "t", "models": ["a", "b"]}),
            ("updated", TEAM, "t"),
        ),
        step(
            "POST /team/model/delete",
            json!({"team_id": "t", "models": ["b"]}),
            ("updated", TEAM, "t"),
        ),
        step(
            "POST /team/permissions_update",
            json!({"team_id": "t", "team_member_permissions": ["/key/generate"]}),
            ("updated", TEAM, "t"),
        ),
    ]
}

/// Of a team that there is.
fn keys_of_teams() -> Vec<Step> {
    vec![
        step(
            "POST /key/service-account/generate",
            json!({"team_id": "t", "key_alias": "robot"}),
            ("created", KEY, "$robot"),
        )
        .keeps("$robot", "/token"),
        step(
            "POST /key/bulk_update",
            json!({"keys": [{"key": "$robot", "rpm_limit": 1}]}),
            ("updated", KEY, "$robot"),
        ),
        step(
            "POST /team/key/bulk_update",
            json!({"team_id": "t", "all_keys_in_team": true, "update_fields": {"rpm_limit": 2}}),
            ("updated", KEY, "$robot"),
        ),
        step(
            "POST /key/delete",
            json!({"key_aliases": ["robot"]}),
            ("deleted", KEY, "$robot"),
        ),
    ]
}

fn tenants() -> Vec<Step> {
    let team = json!({"team_id": "t"});
    let organization = |more: Value| {
        let mut body = json!({"organization_id": "o"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let user = json!({"user_id": "u", "auto_create_key": false});
    let mut steps = vec![
        step("POST /user/new", user, ("created", USER, "u")),
        step(
            "POST /user/update",
            json!({"user_id": "u", "user_alias": "U"}),
            ("updated", USER, "u"),
        ),
        step(
            "POST /user/bulk_update",
            json!({"users": [{"user_id": "u", "user_alias": "V"}, {"user_id": "nobody"}]}),
            ("updated", USER, "u"),
        ),
        step("POST /team/new", team.clone(), ("created", TEAM, "t")),
        step(
            "POST /team/update",
            json!({"team_id": "t", "team_alias": "T"}),
            ("updated", TEAM, "t"),
        ),
        step(
            "PATCH /team/{team_id}",
            json!({"team_alias": "V"}),
            ("updated", TEAM, "t"),
        )
        .at("/team/t"),
        step("POST /team/block", team.clone(), ("blocked", TEAM, "t")),
        step("POST /team/unblock", team, ("unblocked", TEAM, "t")),
    ];
    steps.extend(keys_of_teams());
    steps.extend(memberships());
    steps.extend([
        step(
            "POST /team/delete",
            json!({"team_ids": ["t"]}),
            ("deleted", TEAM, "t"),
        ),
        step(
            "POST /organization/new",
            organization(json!({"organization_alias": "O"})),
            ("created", ORGANIZATION, "o"),
        ),
        step(
            "PATCH /organization/update",
            organization(json!({"organization_alias": "P"})),
            ("updated", ORGANIZATION, "o"),
        ),
        step(
            "POST /organization/member_add",
            organization(json!({"member": {"user_id": "u", "role": "internal_user"}})),
            ("updated", ORGANIZATION, "o"),
        ),
        step(
            "PATCH /organization/member_update",
            organization(json!({"user_id": "u", "role": "internal_user_viewer"})),
            ("updated", ORGANIZATION, "o"),
        ),
        step(
            "DELETE /organization/member_delete",
            organization(json!({"user_id": "u"})),
            ("updated", ORGANIZATION, "o"),
        ),
        step(
            "DELETE /organization/delete",
            json!({"organization_ids": ["o"]}),
            ("deleted", ORGANIZATION, "o"),
        ),
        step(
            "POST /user/delete",
            json!({"user_ids": ["u"]}),
            ("deleted", USER, "u"),
        ),
    ]);
    steps
}

fn budgets() -> Vec<Step> {
    let budget = |rpm_limit: u32| json!({"budget_id": "b", "rpm_limit": rpm_limit});
    vec![
        step("POST /budget/new", budget(1), ("created", BUDGET, "b")),
        step("POST /budget/update", budget(2), ("updated", BUDGET, "b")),
        step(
            "POST /budget/delete",
            json!({"id": "b"}),
            ("deleted", BUDGET, "b"),
        ),
    ]
}

fn customers() -> Vec<Step> {
    let (one, several) = (json!({"user_id": "c"}), json!({"user_ids": ["c"]}));
    let other = json!({"user_id": "c", "alias": "C"});
    vec![
        step("POST /customer/new", one.clone(), ("created", END_USER, "c")),
        step("POST /customer/update", other.clone(), ("updated", END_USER, "c")),
        step(
            "POST /customer/block",
            several.clone(),
            ("blocked", END_USER, "c"),
        ),
        step(
            "POST /customer/unblock",
            several.clone(),
            ("unblocked", END_USER, "c"),
        ),
        step(
            "POST /customer/delete",
            several.clone(),
            ("deleted", END_USER, "c"),
        ),
        step("POST /end_user/new", one, ("created", END_USER, "c")),
        step("POST /end_user/update", other, ("updated", END_USER, "c")),
        step(
            "POST /end_user/block",
            several.clone(),
            ("blocked", END_USER, "c"),
        ),
        step(
            "POST /end_user/unblock",
            several.clone(),
            ("unblocked", END_USER, "c"),
        ),
        step("POST /end_user/delete", several, ("deleted", END_USER, "c")),
    ]
}

fn servers() -> Vec<Step> {
    let server =
        |id: &str| json!({"server_id": id, "alias": id, "url": "https://x.example/mcp", "transport": "http"});
    let toolset = json!({"toolset_name": "x", "tools": []});
    vec![
        step("POST /v1/mcp/server", server("s"), ("created", SERVER, "s")),
        step(
            "PUT /v1/mcp/server",
            json!({"server_id": "s", "description": "d"}),
            ("updated", SERVER, "s"),
        ),
        step(
            "DELETE /v1/mcp/server/{server_id}",
            json!({}),
            ("deleted", SERVER, "s"),
        )
        .at("/v1/mcp/server/s"),
        step(
            "POST /v1/mcp/server/import",
            json!({"mcpServers": {"imp": {"url": "https://imp.example/mcp"}}}),
            ("created", SERVER, "$imported"),
        )
        .keeps("$imported", "/imported/0/server_id"),
        step(
            "POST /v1/mcp/server/register",
            server("good"),
            ("created", SERVER, "good"),
        ),
        step(
            "PUT /v1/mcp/server/{server_id}/approve",
            json!({}),
            ("updated", SERVER, "good"),
        )
        .at("/v1/mcp/server/good/approve?pin=false"),
        step(
            "POST /v1/mcp/server/register",
            server("bad"),
            ("created", SERVER, "bad"),
        ),
        step(
            "PUT /v1/mcp/server/{server_id}/reject",
            json!({}),
            ("updated", SERVER, "bad"),
        )
        .at("/v1/mcp/server/bad/reject"),
        step(
            "PUT /v1/mcp/server",
            json!({"server_id": "good", "url": "$upstream"}),
            ("updated", SERVER, "good"),
        ),
        step(
            "POST /v1/mcp/server/{server_id}/pin",
            json!({}),
            ("updated", SERVER, "good"),
        )
        .at("/v1/mcp/server/good/pin"),
        step(
            "DELETE /v1/mcp/server/{server_id}/pin",
            json!({}),
            ("updated", SERVER, "good"),
        )
        .at("/v1/mcp/server/good/pin"),
        step("POST /v1/mcp/toolset", toolset, ("created", TOOLSET, "$toolset"))
            .keeps("$toolset", "/toolset_id"),
        step(
            "PUT /v1/mcp/toolset",
            json!({"toolset_id": "$toolset", "description": "d"}),
            ("updated", TOOLSET, "$toolset"),
        ),
        step(
            "DELETE /v1/mcp/toolset/{toolset_id}",
            json!({}),
            ("deleted", TOOLSET, "$toolset"),
        )
        .at("/v1/mcp/toolset/$toolset"),
    ]
}

fn models() -> Vec<Step> {
    let params = json!({"model": "openai/x", "api_key": "k"});
    let model = json!({"model_name": "m", "litellm_params": params, "model_info": {"id": "model"}});
    let named = json!({"id": "model"});
    vec![
        step("POST /model/new", model, ("created", MODEL, "model")),
        step(
            "POST /model/update",
            json!({"litellm_params": {"rpm": 5}, "model_info": {"id": "model"}}),
            ("updated", MODEL, "model"),
        ),
        step(
            "PATCH /model/{model_id}/update",
            json!({"model_name": "n"}),
            ("updated", MODEL, "model"),
        )
        .at("/model/model/update"),
        step("POST /model/block", named.clone(), ("blocked", MODEL, "model")),
        step(
            "POST /model/unblock",
            named.clone(),
            ("unblocked", MODEL, "model"),
        ),
        step("POST /model/delete", named, ("deleted", MODEL, "model")),
    ]
}

/// Every operation of the document that is not a GET.
fn documented() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap().clone();
    let operations = paths.into_iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        methods
            .into_iter()
            .filter(|method| method != "get")
            .map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[tokio::test]
async fn every_changing_operation_leaves_exactly_one_row_on_sqlite() {
    all(World::new().await).await;
}

#[tokio::test]
async fn every_changing_operation_leaves_exactly_one_row_on_postgres() {
    if let Some((world, _database)) = World::on_postgres().await {
        all(world).await;
    }
}

async fn all(world: World) {
    let gateway = &world.gateway;
    let mut done: BTreeSet<String> = ASKING.iter().map(|own| (*own).to_owned()).collect();
    let mut kept = BTreeMap::from([("$upstream", world.upstream.url())]);
    let steps = [keys(), tenants(), budgets(), customers(), servers(), models()];
    for step in steps.into_iter().flatten() {
        done.insert(step.operation.to_owned());
        leaves_one_row(gateway, step, &mut kept).await;
    }
    for step in approvals(gateway, &mut kept).await {
        done.insert(step.operation.to_owned());
        leaves_one_row(gateway, step, &mut kept).await;
    }
    reload(&world).await;
    done.insert("POST /config/reload".to_owned());
    let missing: Vec<String> = documented().difference(&done).cloned().collect();
    assert_eq!(
        missing, [""; 0],
        "operations that may leave no row: add them here, with the row that they leave"
    );
}

async fn leaves_one_row(gateway: &TestGateway, step: Step, kept: &mut BTreeMap<&'static str, String>) {
    let replaced = |text: &str, kept: &BTreeMap<&'static str, String>| {
        kept.iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    let (method, documented) = step.operation.split_once(' ').unwrap();
    let path = replaced(step.path.unwrap_or(documented), kept);
    let body: Value = serde_json::from_str(&replaced(&step.body.to_string(), kept)).unwrap();
    let before = last(gateway).await;
    let admin = gateway.client().with_header("x-litellm-call-id", "the-request");
    let reply = send(&admin, method, &path, &body).await;
    assert!(
        reply.status.is_success(),
        "{method} {path} {body}: {} {}",
        reply.status,
        reply.text()
    );
    if let Some((name, pointer)) = step.keeps {
        let answer: Value = reply.json();
        kept.insert(
            name,
            answer.pointer(pointer).unwrap().as_str().unwrap().to_owned(),
        );
    }
    let rows = rows(gateway, before).await;
    let [row] = &rows[..] else {
        panic!("{method} {path} left {} rows: {rows:?}", rows.len());
    };
    let (action, table, object) = step.row;
    let object = replaced(object, kept);
    for (name, expected) in [
        ("action", action),
        ("table_name", table),
        ("object_id", &object),
        ("changed_by", "master_key"),
        ("changed_by_api_key", "master_key"),
        ("request_id", "the-request"),
        ("operation", step.operation),
    ] {
        assert_eq!(row[name], expected, "{name} of {method} {path}: {row}");
    }
    assert_eq!(row["before_value"].is_null(), action == "created", "{row}");
    assert_eq!(row["updated_values"].is_null(), action == "deleted", "{row}");
    let one = gateway
        .client()
        .get(&format!("/audit/{}", row["id"].as_str().unwrap()))
        .await;
    assert_eq!(&one.expect_status(200).json(), row);
}

/// Two calls that somebody has to say yes to, and the decisions.
async fn approvals(gateway: &TestGateway, kept: &mut BTreeMap<&'static str, String>) -> Vec<Step> {
    let admin = gateway.client();
    let rows = admin.get("/v1/mcp/server").await.expect_status(200).json();
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["server_name"] == "files")
        .unwrap();
    let body = json!({"server_name": "asked", "url": row["url"], "transport": "http", "tool_approval": {"*": "always"}});
    admin.post("/v1/mcp/server", &body).await.expect_status(201);
    crate::support::listed(gateway, &["asked"]).await;
    for (name, text) in [("$first", "1"), ("$second", "2")] {
        let call = json!({"name": "asked-echo", "arguments": {"message": text}});
        admin.post("/mcp-rest/tools/call", &call).await.expect_status(403);
        let rows = admin.get("/v1/mcp/approvals").await.expect_status(200).json();
        kept.insert(name, rows[0]["approval_id"].as_str().unwrap().to_owned());
    }
    vec![
        step(
            "POST /v1/mcp/approvals/{approval_id}/approve",
            json!({}),
            ("updated", APPROVAL, "$first"),
        )
        .at("/v1/mcp/approvals/$first/approve"),
        step(
            "POST /v1/mcp/approvals/{approval_id}/deny",
            json!({}),
            ("updated", APPROVAL, "$second"),
        )
        .at("/v1/mcp/approvals/$second/deny"),
    ]
}

/// The file is seen by itself, too, if that is faster: it is one change.
async fn reload(world: &World) {
    let gateway = &world.gateway;
    let before = last(gateway).await;
    let text = config(&[("files", &world.upstream, "    description: other\n")]);
    std::fs::write(gateway.config_path(), text).unwrap();
    for _ in 0..2 {
        gateway
            .client()
            .post("/config/reload", &json!({}))
            .await
            .expect_status(200);
    }
    let rows = rows(gateway, before).await;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(
        (&row["action"], &row["table_name"]),
        (&json!("updated"), &json!("LiteLLM_Config"))
    );
    assert_eq!(row["updated_values"]["servers"]["changed"], json!(["files"]));
}
