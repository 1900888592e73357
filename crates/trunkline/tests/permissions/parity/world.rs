//! A gateway with a server for every rule that a server has, each with everything that there can be, and keys that belong to
//! whoever a row has something of.

use serde_json::{Value, json};
use trunkline_testkit::{Act, HttpClient, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall};

use super::rows::Row;
use crate::support::{config, generate, listed, post, toolset, with};

/// Names of one length, so that answers about them have one length.
pub(crate) const SERVERS: [&str; 14] = [
    "files", "other", "inner", "draft", "waste", "picks", "drops", "fixed", "argue", "nails", "needy",
    "falls", "shaky", "never",
];
/// The name that no server has.
pub(crate) const NOBODY: &str = "blank";

/// The toolsets, and of which servers which tools are in them: everything, what is of `other`, and that with `read` of `files`.
pub(crate) fn toolset_tools(name: &str) -> Option<Vec<(&'static str, &'static str)>> {
    let both = |server: &'static str| [(server, "read"), (server, "write")];
    match name {
        "wide" => Some(SERVERS.into_iter().flat_map(both).collect()),
        "slim" => Some(both("other").to_vec()),
        "readers" => Some([("files", "read")].into_iter().chain(both("other")).collect()),
        _ => None,
    }
}

/// The rules of a server's own.
pub(crate) fn server_rules(name: &str) -> Value {
    match name {
        "inner" => json!({"available_on_public_internet": false}),
        "picks" => json!({"allowed_tools": ["read"]}),
        "drops" => json!({"disallowed_tools": ["write"]}),
        "fixed" => json!({"pinned_tools": {"read": {"input_schema": {"type": "object"}}}}),
        "argue" => json!({"allowed_params": {"write": ["text"]}}),
        "nails" => json!({"tool_arguments": {"write": {"stray": {"value": "pinned"}}}}),
        "needy" => json!({"tool_arguments": {"write": {"whose": {"value_from": "user_id"}}}}),
        "falls" => json!({"tool_conditions": [{"tools": ["write"], "when": "args.stray == 'other'"}]}),
        "shaky" => json!({"tool_conditions": [{"tools": ["write"], "when": "args.gone == 'other'"}]}),
        "never" => {
            json!({"tool_conditions": [{"tools": ["write"], "when": "principal.team_id == 'nobodys'"}]})
        }
        _ => json!({}),
    }
}

/// The clients that are not said to be outside come from the internal network.
const SETTINGS: &str = "general_settings:\n  mcp_internal_ip_ranges: [10.0.0.0/8]\n  use_x_forwarded_for: true\n  \
                        mcp_trusted_proxy_ranges: [127.0.0.0/8]\n";

pub(crate) struct World {
    pub(crate) gateway: TestGateway,
    pub(crate) upstreams: Vec<ScriptedUpstream>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let mut upstreams = Vec::new();
        for name in SERVERS {
            upstreams.push(upstream(name).await);
        }
        let in_file: Vec<_> = SERVERS
            .iter()
            .zip(&upstreams)
            .filter(|(name, _)| !is_submitted(name))
            .collect();
        let lines: Vec<String> = in_file
            .iter()
            .map(|(name, _)| lines(&server_rules(name)))
            .collect();
        let servers: Vec<_> = in_file
            .iter()
            .zip(&lines)
            .map(|((name, own), lines)| (**name, *own, lines.as_str()))
            .collect();
        let gateway = TestGateway::start(&format!("{SETTINGS}{}", config(&servers))).await;
        let names: Vec<&str> = servers.iter().map(|(name, ..)| *name).collect();
        listed(&gateway, &names).await;
        for (name, own) in SERVERS
            .iter()
            .zip(&upstreams)
            .filter(|(name, _)| is_submitted(name))
        {
            submit(&gateway, name, own).await;
        }
        for name in ["wide", "slim", "readers"] {
            toolset(&gateway, name, &toolset_tools(name).unwrap()).await;
        }
        Self { gateway, upstreams }
    }

    pub(crate) fn upstream(&self, name: &str) -> &ScriptedUpstream {
        let at = SERVERS.iter().position(|own| *own == name);
        &self.upstreams[at.unwrap()]
    }

    /// A client that is everybody whom the row has something of.
    pub(crate) async fn client(&self, number: usize, row: &Row) -> HttpClient {
        let http = self.holder(number, &row.levels).await;
        let address = if row.outside { "192.0.2.1" } else { "10.1.2.3" };
        let http = http.with_header("x-forwarded-for", address);
        if !row.levels["end_user"].is_object() {
            return http;
        }
        let id = format!("e-{number}");
        let end_user = json!({"user_id": id, "object_permission": row.levels["end_user"]});
        post(&self.gateway, "/customer/new", end_user).await;
        http.with_header("x-litellm-end-user-id", &id)
    }

    async fn holder(&self, number: usize, levels: &Value) -> HttpClient {
        let gateway = &self.gateway;
        if levels["key"].is_null() {
            return gateway.client().keeping_connections();
        }
        let has = |level: &str| levels[level].is_object();
        let (team, user, organization) = (
            format!("t-{number}"),
            format!("u-{number}"),
            format!("o-{number}"),
        );
        let mut body = json!({"object_permission": levels["key"]});
        if has("organization") {
            let permission = &levels["organization"];
            let own = json!({"organization_id": organization, "organization_alias": "o", "object_permission": permission});
            post(gateway, "/organization/new", own).await;
        }
        let is_of_team = has("team") || has("organization");
        if is_of_team {
            // Made wide, and narrowed when the key is there: a key may not be given more than the team has.
            let wide = json!({"mcp_servers": ["all-proxy-mcpservers"]});
            let mut own = json!({"team_id": team, "object_permission": wide});
            if has("organization") {
                own["organization_id"] = organization.into();
            }
            post(gateway, "/team/new", own).await;
            body["team_id"] = team.clone().into();
        }
        if has("user") {
            let own = json!({"user_id": user, "auto_create_key": false, "object_permission": levels["user"]});
            post(gateway, "/user/new", own).await;
            body["user_id"] = user.into();
        }
        let made = generate(gateway, body).await;
        if is_of_team {
            for permission in [&Value::Null, &levels["team"]] {
                let change = json!({"team_id": team, "object_permission": permission});
                post(gateway, "/team/update", change).await;
            }
        }
        with(gateway, made["key"].as_str().unwrap())
    }
}

fn is_submitted(name: &str) -> bool {
    matches!(name, "draft" | "waste")
}

/// Lines of the configuration: JSON is YAML.
fn lines(rules: &Value) -> String {
    let rules = rules.as_object().unwrap().iter();
    let lines: Vec<String> = rules
        .map(|(name, value)| format!("    {name}: {value}\n"))
        .collect();
    lines.concat()
}

/// A server that is not approved, and `waste`, which was rejected.
async fn submit(gateway: &TestGateway, name: &str, own: &ScriptedUpstream) {
    let body = json!({"server_name": name, "url": own.url(), "transport": "http"});
    let made = gateway.client().post("/v1/mcp/server/register", &body).await;
    let made = made.expect_status(201).json();
    if name == "waste" {
        let path = format!("/v1/mcp/server/{}/reject", made["server_id"].as_str().unwrap());
        gateway
            .client()
            .put(&path, &json!({"review_notes": "no"}))
            .await
            .expect_status(200);
    }
}

/// A server that has everything that there can be, under names that lead to it.
async fn upstream(name: &str) -> ScriptedUpstream {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let done = |_: &ToolCall| ToolAnswer::text("done");
    let result = |value: Value| Act::Result(value.to_string());
    let uri = format!("memo://{name}/one");
    let template = format!("memo://{name}/{{id}}");
    let capabilities =
        json!({"tools": {}, "prompts": {}, "resources": {"subscribe": true}, "completions": {}});
    ScriptedUpstream::builder()
        .initialize_member("capabilities", capabilities)
        .tool_fn(&tool("read"), done)
        .tool_fn(&tool("write"), done)
        .on("prompts/list", result(json!({"prompts": [{"name": "greet"}]})))
        .on("prompts/get", result(json!({"messages": []})))
        .on(
            "resources/list",
            result(json!({"resources": [{"uri": uri, "name": "one"}]})),
        )
        .on(
            "resources/templates/list",
            result(json!({"resourceTemplates": [{"uriTemplate": template, "name": "any"}]})),
        )
        .on("resources/read", result(json!({"contents": []})))
        .on("resources/subscribe", result(json!({})))
        .on(
            "completion/complete",
            result(json!({"completion": {"values": []}})),
        )
        .on("experimental/thing", result(json!({"thing": true})))
        .start()
        .await
}
