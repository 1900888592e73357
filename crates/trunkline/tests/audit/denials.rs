//! B46, B71: what a caller is refused is in the log, once, whichever way it was asked.

use serde_json::{Value, json};
use trunkline_testkit::{Act, ScriptedUpstream, TestGateway, eventually};

use crate::support::{PATIENCE, Way, generate, key, post, with};
use crate::world::{World, denied, last, send};

/// Everything that there is, as the administrator sees it.
async fn everything(gateway: &TestGateway) -> String {
    let mut all = String::new();
    for path in ["/v1/mcp/server", "/v1/mcp/toolset", "/team/list", "/user/list"] {
        all += &gateway.client().get(path).await.expect_status(200).text();
    }
    all
}

#[tokio::test]
async fn b46_an_attempt_on_what_is_everybodys_is_refused_and_in_the_log() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let made = generate(gateway, json!({"user_id": "u"})).await;
    let before = everything(gateway).await;
    let own = with(gateway, made["key"].as_str().unwrap()).with_header("x-litellm-call-id", "attempt");
    let server = json!({"alias": "mine", "url": "https://x.example/mcp"});
    let attempts = [
        (
            "POST",
            "/v1/mcp/server",
            server.clone(),
            403,
            "POST /v1/mcp/server",
        ),
        ("PUT", "/v1/mcp/server", server, 403, "PUT /v1/mcp/server"),
        (
            "DELETE",
            "/v1/mcp/server/x",
            json!({}),
            403,
            "DELETE /v1/mcp/server/{server_id}",
        ),
        ("POST", "/config/reload", json!({}), 403, "POST /config/reload"),
        (
            "POST",
            "/v1/mcp/toolset",
            json!({"toolset_name": "x"}),
            403,
            "POST /v1/mcp/toolset",
        ),
        (
            "POST",
            "/team/new",
            json!({"team_id": "x"}),
            401,
            "POST /team/new",
        ),
        ("GET", "/audit", json!({}), 403, "GET /audit"),
    ];
    for (method, path, body, status, _) in &attempts {
        send(&own, method, path, body).await.expect_status(*status);
    }
    // Nobody's attempts are nobody's.
    gateway.anonymous().get("/audit").await.expect_status(401);
    with(gateway, "sk-wrong-wrong-wrong-wrong")
        .get("/audit")
        .await
        .expect_status(401);
    let rows = denied(gateway, attempts.len()).await;
    assert_eq!(rows.len(), attempts.len(), "{rows:?}");
    for ((_, _, _, status, operation), row) in attempts.iter().zip(&rows) {
        assert_eq!(
            (&row["object_id"], &row["status"], &row["reason"]),
            (&json!(operation), &json!(status), &json!("management_refused"))
        );
        assert_eq!(
            (&row["changed_by"], &row["changed_by_api_key"], &row["request_id"]),
            (&json!("u"), &made["token"], &json!("attempt"))
        );
    }
    // LiteLLM's routes that change what is everybody's, none of which is served: no key changes anything there.
    for (method, path) in [
        ("PATCH", "/update/mcp_semantic_filter_settings"),
        ("PATCH", "/update/internal_user_settings"),
        ("PATCH", "/config/reload"),
        ("PATCH", "/v1/mcp/server"),
        ("POST", "/config/update"),
        ("POST", "/v1/mcp/make_public"),
        ("PUT", "/config/reload"),
        ("DELETE", "/config/reload"),
    ] {
        let body = json!({"enabled": true, "top_k": 1, "server_ids": ["x"]});
        let reply = send(&own, method, path, &body).await;
        let is_refused = matches!(reply.status.as_u16(), 401 | 403 | 404 | 405);
        assert!(is_refused, "{method} {path}: {}", reply.everything());
    }
    assert_eq!(everything(gateway).await, before);
}

#[tokio::test]
async fn b46_a_viewer_and_a_key_that_its_routes_keep_out_are_refused_and_in_the_log() {
    let world = World::new().await;
    let gateway = &world.gateway;
    post(
        gateway,
        "/user/new",
        json!({"user_id": "v", "user_role": "proxy_admin_viewer", "auto_create_key": false}),
    )
    .await;
    let viewer = generate(gateway, json!({"user_id": "v"})).await;
    let narrow = generate(gateway, json!({"allowed_routes": ["/files/mcp"]})).await;
    let of = |made: &Value| with(gateway, made["key"].as_str().unwrap());
    send(&of(&viewer), "POST", "/config/reload", &json!({}))
        .await
        .expect_status(403);
    of(&narrow).get("/key/info").await.expect_status(403);
    let (status, _) = Way::Bare.ask(&of(&narrow), None, "tools/list", &json!({})).await;
    assert_eq!(status, 403);
    let rows = denied(gateway, 3).await;
    let said: Vec<_> = rows
        .iter()
        .map(|row| (&row["changed_by_api_key"], row["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        said,
        [
            (&viewer["token"], 403),
            (&narrow["token"], 403),
            (&narrow["token"], 403)
        ],
        "{rows:?}"
    );
    assert_eq!(rows[2]["reason"], "route_not_allowed");
}

#[tokio::test]
async fn b71_every_way_in_leaves_one_record_and_a_denied_call_one_row() {
    let Some((world, database)) = World::on_postgres().await else {
        return;
    };
    let gateway = &world.gateway;
    let own = key(
        gateway,
        json!({"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["nothing"]}}),
    )
    .await;
    let ways = [Way::Session, Way::Bare, Way::Modern, Way::Sse, Way::Rest];
    let count = async |expected: i64, outcome: &str, kind: &str| {
        let query =
            format!("SELECT count(*) FROM call_record WHERE outcome = '{outcome}' AND kind = '{kind}'");
        eventually("the records are written", PATIENCE, async || {
            database.sql(&query) == expected.to_string()
        })
        .await;
    };
    let call = json!({"name": "files-echo", "arguments": {"message": "hi"}});
    let (admin, denied_one) = (gateway.client(), with(gateway, &own));
    for way in ways {
        let (status, said) = way.ask(&admin, None, "tools/call", &call).await;
        assert_eq!(status, 200, "{way:?}: {said}");
        way.tools(&admin, None).await.unwrap();
        way.ask(&denied_one, None, "tools/call", &call).await;
    }
    let mcp = i64::try_from(ways.len()).unwrap();
    // A prompt that nobody has is a record, too, and no row: it was not denied.
    let prompt = json!({"name": "files-nothing"});
    Way::Bare.ask(&admin, None, "prompts/get", &prompt).await;
    count(1, "unknown_prompt", "get_mcp_prompt").await;
    count(mcp, "ok", "call_mcp_tool").await;
    count(mcp, "ok", "list_mcp_tools").await;
    count(mcp, "denied", "call_mcp_tool").await;
    let rows = denied(gateway, ways.len()).await;
    assert_eq!(rows.len(), ways.len(), "{rows:?}");
    for row in &rows {
        for (name, expected) in [
            ("tool", "echo"),
            ("reason", "tool_not_granted"),
            ("level", "key"),
            ("rule", "mcp_tool_permissions"),
            ("kind", "call_mcp_tool"),
            ("table_name", "LiteLLM_MCPServerTable"),
        ] {
            assert_eq!(row[name], expected, "{name}: {row}");
        }
        assert_eq!(row["server"], row["object_id"]);
        assert!(row["request_id"].is_string() && row["principal"] == row["changed_by_api_key"]);
    }
    // What the client sees: an error of JSON-RPC, or 403 of REST.
    let statuses: Vec<_> = rows.iter().map(|row| row["status"].as_u64().unwrap()).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 403).count(),
        1,
        "{statuses:?}"
    );
    // No record more, of anything.
    let all =
        database.sql("SELECT count(*) FROM call_record WHERE kind IN ('call_mcp_tool', 'list_mcp_tools')");
    assert_eq!(all, (3 * mcp).to_string());
}

/// A request that leaves a record: method, parameters, and of the record its kind, tool and outcome.
type Recorded = (
    &'static str,
    Value,
    &'static str,
    Option<&'static str>,
    &'static str,
);

fn recorded() -> [Recorded; 4] {
    let tool = |name: &str| json!({"name": name, "arguments": {}});
    [
        ("tools/list", json!({}), "list_mcp_tools", None, "ok"),
        (
            "tools/call",
            tool("files-echo"),
            "call_mcp_tool",
            Some("echo"),
            "ok",
        ),
        (
            "tools/call",
            tool("files-hidden"),
            "call_mcp_tool",
            Some("hidden"),
            "denied",
        ),
        (
            "prompts/get",
            json!({"name": "files-greet"}),
            "get_mcp_prompt",
            None,
            "ok",
        ),
    ]
}

/// A server with a prompt, and a key of a user in a team of an organisation, which may call one of the server's two tools.
async fn owned() -> (TestGateway, ScriptedUpstream, Value) {
    let prompts = Act::Result(json!({"prompts": [{"name": "greet"}]}).to_string());
    let upstream = ScriptedUpstream::builder()
        .initialize_member("capabilities", json!({"tools": {}, "prompts": {}}))
        .tool(json!({"name": "echo", "inputSchema": {"type": "object"}}))
        .tool(json!({"name": "hidden", "inputSchema": {"type": "object"}}))
        .on("prompts/list", prompts)
        .on("prompts/get", Act::Result(r#"{"messages":[]}"#.to_owned()))
        .start()
        .await;
    let gateway = TestGateway::start(&crate::support::config(&[("files", &upstream, "")])).await;
    crate::support::listed(&gateway, &["files"]).await;
    let files = json!({"mcp_servers": ["files"]});
    for (path, body) in [
        ("/user/new", json!({"user_id": "u", "auto_create_key": false})),
        (
            "/organization/new",
            json!({"organization_id": "o", "organization_alias": "o"}),
        ),
        (
            "/team/new",
            json!({"team_id": "t", "organization_id": "o", "object_permission": files}),
        ),
    ] {
        post(&gateway, path, body).await;
    }
    let permission = json!({"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["echo"]}});
    let body = json!({"team_id": "t", "user_id": "u", "key_alias": "mine", "object_permission": permission});
    let made = generate(&gateway, body).await;
    (gateway, upstream, made)
}

/// Whose a record is, and of what: on every way, of a call that was made and of one that was denied, of a list and of a prompt.
#[tokio::test]
async fn b71_every_record_says_whose_it_is_and_of_what_on_every_way() {
    let (gateway, _upstream, made) = owned().await;
    let admin = gateway.client();
    let own = with(&gateway, made["key"].as_str().unwrap());
    let mut asked = Vec::new();
    for way in crate::support::WAYS {
        for request in recorded() {
            let (method, params, _, _, outcome) = &request;
            if matches!(way, Way::Rest | Way::AllTools) && method.starts_with("prompts") {
                continue;
            }
            let id = format!("{way:?}-{method}-{outcome}").replace('/', "-");
            let http = own.clone().with_header("x-litellm-call-id", &id);
            let (status, said) = way.ask(&http, None, method, params).await;
            assert!(*outcome != "ok" || status == 200, "{id}: {said}");
            asked.push((id, request));
        }
    }
    // All are there before any is looked at, so that one too many of the first is there, too.
    let rows_of = async |id: &str| {
        let found = admin.get(&format!("/spend/logs?request_id={id}")).await;
        found.expect_status(200).json().as_array().unwrap().clone()
    };
    for (id, _) in &asked {
        let is_there = async || !rows_of(id).await.is_empty();
        eventually(&format!("{id} is written down"), PATIENCE, is_there).await;
    }
    for (id, (_, _, kind, tool, outcome)) in asked {
        let rows = rows_of(&id).await;
        let [row] = &rows[..] else {
            panic!("{id}: {rows:?}");
        };
        let status = if outcome == "ok" { "success" } else { "failure" };
        for (name, expected) in [
            ("request_id", json!(id)),
            ("call_type", json!(kind)),
            ("api_key", made["token"].clone()),
            ("user", json!("u")),
            ("team_id", json!("t")),
            ("organization_id", json!("o")),
            ("status", json!(status)),
        ] {
            assert_eq!(row[name], expected, "{id}: {name}: {row}");
        }
        assert_eq!(row["metadata"]["outcome"], outcome, "{id}: {row}");
        assert_eq!(row["metadata"]["user_api_key_alias"], "mine", "{id}: {row}");
        let shown = row["mcp_namespaced_tool_name"].as_str();
        let shown = shown.map(|name| name.rsplit('/').next().unwrap());
        assert_eq!(shown, tool, "{id}: {row}");
    }
}

#[tokio::test]
async fn a_call_of_a_server_that_was_not_granted_is_a_row_and_an_unknown_name_is_none() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let own = with(gateway, &key(gateway, json!({})).await).with_header("x-litellm-call-id", "hidden");
    for name in ["nobody-echo", "filesecho", "files-echo"] {
        let (_, said) = Way::Bare
            .ask(&own, None, "tools/call", &json!({"name": name}))
            .await;
        assert!(
            said["error"]["message"]
                .as_str()
                .unwrap()
                .starts_with("Unknown tool"),
            "{said}"
        );
    }
    let rows = denied(gateway, 1).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    for (name, expected) in [
        ("tool", "echo"),
        ("reason", "no_grant"),
        ("level", "key"),
        ("rule", "nothing_listed"),
        ("request_id", "hidden"),
    ] {
        assert_eq!(rows[0][name], expected, "{name}: {}", rows[0]);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_for_its_caller_is_a_row() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let own = with(gateway, &key(gateway, json!({})).await);
    let before = last(gateway).await;
    let (status, _) = Way::Bare.ask(&own, Some("files"), "tools/list", &json!({})).await;
    assert!(matches!(status, 403 | 404), "{status}");
    let named = own.clone().with_header("x-mcp-servers", "files");
    let (second, _) = Way::Bare.ask(&named, None, "tools/list", &json!({})).await;
    let rows = denied(gateway, 2).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (row, status) in rows.iter().zip([status, second]) {
        assert!(row["id"].as_str().unwrap().parse::<u64>().unwrap() > before);
        assert_eq!(
            (&row["object_id"], &row["reason"], &row["rule"], &row["status"]),
            (
                &json!("files"),
                &json!("not_in_scope"),
                &json!("selection"),
                &json!(status)
            )
        );
    }
}

/// What the caller may call, and not like this.
#[tokio::test]
async fn b71_a_call_that_a_rule_refuses_is_one_row_with_the_rules_item() {
    let upstream = trunkline_testkit::ScriptedUpstream::start().await;
    let rules = "    allow_all_keys: true\n    tool_arguments: {echo: {tenant: {value: ours}}}\n    tool_conditions:\n      - {tools: ['*'], when: 'true'}\n      - {tools: [echo], when: \"args.text != 'no'\"}\n";
    let text = crate::support::config(&[("ruled", &upstream, rules)]);
    let gateway = TestGateway::start(&text).await;
    crate::support::listed(&gateway, &["ruled"]).await;
    let own = with(&gateway, &key(&gateway, json!({})).await);
    for way in crate::support::WAYS {
        for arguments in [json!({"text": "no"}), json!({"text": "yes", "tenant": "mine"})] {
            let before = denied(&gateway, 0).await.len();
            let params = json!({"name": "ruled-echo", "arguments": arguments});
            way.ask(&own, None, "tools/call", &params).await;
            let rows = denied(&gateway, before + 1).await;
            assert_eq!(rows.len(), before + 1, "{way:?}");
            let row = &rows[before];
            let expected = if arguments["text"] == "no" {
                json!(["condition_failed", "tool_conditions", 1, "server", "echo"])
            } else {
                json!(["argument_pinned", "tool_arguments", null, "server", "echo"])
            };
            let said = json!([row["reason"], row["rule"], row["part"], row["level"], row["tool"]]);
            assert_eq!(said, expected, "{way:?}: {row}");
        }
    }
    assert_eq!(upstream.count("tools/call"), 0);
}
