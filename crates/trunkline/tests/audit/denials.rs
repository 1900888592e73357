//! B46, B71: what a caller is refused is in the log, once, whichever way it was asked.

use serde_json::{Value, json};
use trunkline_testkit::{TestGateway, eventually};

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
