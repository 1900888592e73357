//! Budgets: they live as in LiteLLM, their limits hold for whoever has them, on every way in, and no amount is rounded.

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, ScriptedUpstream, TestGateway, ToolAnswer, ToolCall};

use crate::support::{WAYS, Way, config, generate, listed, post, with};
use crate::world::{World, ask, secret};

async fn lives(world: &World) {
    let gateway = &world.gateway;
    let made = post(
        gateway,
        "/budget/new",
        json!({
            "budget_id": "small", "max_budget": 0.000_000_1, "soft_budget": "123456.123456789", "rpm_limit": 7, "tpm_limit": 1000,
            "tpd_limit": 2000, "max_parallel_requests": 3, "budget_duration": "30d",
            "model_max_budget": {"gpt-5": {"max_budget": 0.1, "budget_duration": "1d"}},
        }),
    )
    .await;
    assert_eq!(
        (&made["max_budget"], &made["soft_budget"], &made["rpm_limit"]),
        (&json!(0.000_000_1), &json!(123_456.123_456_789), &json!(7))
    );
    assert!(
        made["budget_reset_at"].as_str() > made["created_at"].as_str(),
        "{made}"
    );
    let unnamed = post(gateway, "/budget/new", json!({"max_budget": 1})).await;
    let unnamed = unnamed["budget_id"].as_str().unwrap();
    ask(gateway, "POST", "/budget/new", json!({"budget_id": "small"}), 400).await;
    // As it was stored, and not as it was answered.
    let info = post(
        gateway,
        "/budget/info",
        json!({"budgets": ["small", "nobody", "small"]}),
    )
    .await;
    assert_eq!(info, json!([made]));
    let changed =
        json!({"budget_id": "small", "max_budget": 0.3, "budget_duration": null, "tpm_limit": null});
    let changed = post(gateway, "/budget/update", changed).await;
    assert_eq!(
        (
            &changed["max_budget"],
            &changed["budget_reset_at"],
            &changed["tpm_limit"],
            &changed["rpm_limit"]
        ),
        (&json!(0.3), &json!(null), &json!(null), &json!(7)),
        "what is not named stays, null clears"
    );
    let listed = gateway
        .client()
        .get("/budget/list")
        .await
        .expect_status(200)
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let settings = gateway
        .client()
        .get("/budget/settings?budget_id=small")
        .await
        .expect_status(200)
        .json();
    let rpm = settings
        .as_array()
        .unwrap()
        .iter()
        .find(|own| own["field_name"] == "rpm_limit")
        .unwrap();
    assert_eq!(
        (&rpm["field_value"], &rpm["field_type"]),
        (&json!(7), &json!("Integer"))
    );
    what_is_wrong_is_refused(gateway).await;
    whoever_has_it_keeps_it(gateway).await;
    let gone = post(gateway, "/budget/delete", json!({"id": "small"})).await;
    assert_eq!(gone["budget_id"], "small");
    post(gateway, "/budget/delete", json!({"id": unnamed})).await;
    assert_eq!(gateway.client().get("/budget/list").await.json(), json!([]));
}

async fn what_is_wrong_is_refused(gateway: &TestGateway) {
    for (path, body, status) in [
        (
            "/budget/update",
            json!({"budget_id": "nobody", "rpm_limit": 1}),
            404,
        ),
        ("/budget/update", json!({"rpm_limit": 1}), 422),
        ("/budget/new", json!({"max_budget": -1}), 422),
        ("/budget/new", json!({"max_budget": 0.000_000_000_1}), 422),
        ("/budget/new", json!({"max_budget": 1_000_000.123_456_789}), 422),
        ("/budget/new", json!({"max_budget": 1e300}), 422),
        ("/budget/new", json!({"max_budget": true}), 422),
        ("/budget/new", json!({"rpm_limit": -1}), 422),
        ("/budget/new", json!({"tpm_limit": 1.5}), 422),
        ("/budget/new", json!({"budget_duration": "soon"}), 422),
        ("/budget/new", json!({"budget_reset_at": "tomorrow"}), 422),
        ("/budget/new", json!({"rpm_limits": 1}), 422),
        ("/budget/info", json!({"budgets": []}), 400),
        ("/budget/delete", json!({"id": "nobody"}), 404),
    ] {
        ask(gateway, "POST", path, body, status).await;
    }
}

/// Nobody loses a budget because it is deleted, and nobody is given one that is not there.
async fn whoever_has_it_keeps_it(gateway: &TestGateway) {
    for (path, body) in [
        ("/key/generate", json!({"key_alias": "k", "budget_id": "small"})),
        (
            "/organization/new",
            json!({"organization_alias": "o", "organization_id": "o", "budget_id": "small"}),
        ),
        ("/customer/new", json!({"user_id": "c", "budget_id": "small"})),
    ] {
        let made = post(gateway, path, body.clone()).await;
        assert_eq!(made["budget_id"], "small", "{path}");
        let refused = ask(gateway, "POST", "/budget/delete", json!({"id": "small"}), 400).await;
        assert!(refused.to_string().contains("is still that of"), "{refused}");
        let mut other = body;
        let names = other.as_object_mut().unwrap();
        names.insert("budget_id".to_owned(), "nobody".into());
        for name in ["key_alias", "organization_id", "user_id"] {
            names.entry(name).and_modify(|id| *id = "other".into());
        }
        ask(gateway, "POST", path, other, 404).await;
        match path {
            "/key/generate" => post(gateway, "/key/delete", json!({"key_aliases": ["k"]})).await,
            "/customer/new" => {
                post(
                    gateway,
                    "/customer/update",
                    json!({"user_id": "c", "budget_id": null}),
                )
                .await
            }
            _ => {
                let none = json!({"organization_id": "o", "budget_id": null});
                ask(gateway, "PATCH", "/organization/update", none, 200).await
            }
        };
    }
}

#[tokio::test]
async fn a_budget_lives_as_it_does_in_litellm_on_sqlite() {
    lives(&World::new().await).await;
}

#[tokio::test]
async fn a_budget_lives_as_it_does_in_litellm_on_postgres() {
    if let Some((world, _database)) = World::on_postgres().await {
        lives(&world).await;
    }
}

#[tokio::test]
async fn s08_budgets_are_administrators() {
    let world = World::new().await;
    let gateway = &world.gateway;
    post(gateway, "/budget/new", json!({"budget_id": "b", "rpm_limit": 1})).await;
    let user = post(
        gateway,
        "/user/new",
        json!({"user_id": "u", "user_role": "internal_user"}),
    )
    .await;
    let viewer = post(
        gateway,
        "/user/new",
        json!({"user_id": "v", "user_role": "proxy_admin_viewer"}),
    )
    .await;
    let managing = generate(gateway, json!({"key_type": "management"})).await;
    for made in [&user, &managing, &viewer] {
        let http = with(gateway, &secret(made));
        for (path, body) in [
            ("/budget/new", json!({})),
            ("/budget/update", json!({"budget_id": "b", "rpm_limit": 9})),
            ("/budget/delete", json!({"id": "b"})),
        ] {
            assert_eq!(http.post(path, &body).await.status.as_u16(), 401, "{path}");
        }
        let may_look = made["user_id"] == "v";
        let status = http.get("/budget/list").await.status.as_u16();
        assert_eq!(status == 200, may_look, "{status}");
    }
    let stored = post(gateway, "/budget/info", json!({"budgets": ["b"]})).await;
    assert_eq!(stored[0]["rpm_limit"], 1);
}

async fn upstream() -> ScriptedUpstream {
    let tool = json!({"name": "read", "inputSchema": {"type": "object"}});
    let done = |_: &ToolCall| ToolAnswer::text("done");
    ScriptedUpstream::builder().tool_fn(&tool, done).start().await
}

/// Calls a tool; what is said if it is refused.
async fn called(http: &HttpClient, way: Way, tool: &str) -> Result<(), Value> {
    let params = json!({"name": tool, "arguments": {}});
    let (_, said) = way.ask(http, None, "tools/call", &params).await;
    if said.to_string().contains("\"done\"") {
        Ok(())
    } else {
        Err(said)
    }
}

#[tokio::test]
async fn s35_a_budgets_limits_hold_for_whoever_has_it_on_every_way_in() {
    let files = upstream().await;
    let mut gateway = TestGateway::start(&config(&[("files", &files, "")])).await;
    listed(&gateway, &["files"]).await;
    post(&gateway, "/budget/new", json!({"budget_id": "b", "rpm_limit": 1})).await;
    let organization = json!({"organization_id": "o", "organization_alias": "o", "budget_id": "b"});
    post(&gateway, "/organization/new", organization).await;
    let grants = json!({"mcp_servers": ["files"]});
    post(
        &gateway,
        "/team/new",
        json!({"team_id": "t", "organization_id": "o", "object_permission": grants}),
    )
    .await;
    // What was stored is what limits.
    gateway.restart().await;
    listed(&gateway, &["files"]).await;
    for way in WAYS {
        let of_budget = generate(&gateway, json!({"budget_id": "b", "object_permission": grants})).await;
        let http = with(&gateway, &secret(&of_budget));
        assert_eq!(called(&http, way, "files-read").await, Ok(()), "{way:?}");
        let refused = called(&http, way, "files-read").await.unwrap_err().to_string();
        assert!(
            refused.contains("rpm_limit of the budget of this key is 1 a minute"),
            "{way:?}: {refused}"
        );
        // Each that has it has all of it.
        let customer = format!("c-{way:?}");
        post(
            &gateway,
            "/customer/new",
            json!({"user_id": customer, "budget_id": "b"}),
        )
        .await;
        let http = with(&gateway, gateway.master_key()).with_header("x-litellm-end-user-id", &customer);
        assert_eq!(called(&http, way, "files-read").await, Ok(()), "{way:?}");
        let refused = called(&http, way, "files-read").await.unwrap_err().to_string();
        assert!(
            refused.contains("rpm_limit of the budget of this end user"),
            "{way:?}: {refused}"
        );
    }
    let keys = [json!({}), json!({})]
        .map(|_| json!({"team_id": "t", "object_permission": {"mcp_servers": ["files"]}}));
    let mut done = 0;
    for body in keys {
        let http = with(&gateway, &secret(&generate(&gateway, body).await));
        done += usize::from(called(&http, Way::Bare, "files-read").await.is_ok());
    }
    assert_eq!(done, 1, "an organisation's is that of all keys of its teams");
    // A change counts at once, and there is nobody who has one that is gone.
    let mine = generate(&gateway, json!({"budget_id": "b", "object_permission": grants})).await;
    let http = with(&gateway, &secret(&mine));
    assert_eq!(called(&http, Way::Bare, "files-read").await, Ok(()));
    post(
        &gateway,
        "/budget/update",
        json!({"budget_id": "b", "rpm_limit": 3}),
    )
    .await;
    assert_eq!(called(&http, Way::Bare, "files-read").await, Ok(()));
    post(
        &gateway,
        "/budget/update",
        json!({"budget_id": "b", "rpm_limit": null, "max_parallel_requests": 0}),
    )
    .await;
    let refused = called(&http, Way::Bare, "files-read")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("max_parallel_requests of the budget of this key is 0"),
        "{refused}"
    );
}

/// What calls with a price cost is counted, and when the budget is spent they are refused.
#[tokio::test]
async fn what_has_a_price_is_counted_and_refused_when_the_budget_is_spent() {
    let (free, paid, odd) = (upstream().await, upstream().await, upstream().await);
    let price = "    mcp_info:\n      mcp_server_cost_info:\n        default_cost_per_query: 0.01\n        tool_name_to_cost_per_query:\n          other: 5\n";
    let unreadable = "    mcp_info:\n      mcp_server_cost_info:\n        default_cost_per_query: much\n";
    let servers = [
        ("free", &free, ""),
        ("paid", &paid, price),
        ("odd", &odd, unreadable),
    ];
    let gateway = TestGateway::start(&config(&servers)).await;
    listed(&gateway, &["free", "paid", "odd"]).await;
    post(
        &gateway,
        "/budget/new",
        json!({"budget_id": "b", "max_budget": 0.015}),
    )
    .await;
    let grants = json!({"mcp_servers": ["free", "paid", "odd"]});
    let unlimited = generate(&gateway, json!({"object_permission": grants})).await;
    for way in WAYS {
        let limited = generate(&gateway, json!({"budget_id": "b", "object_permission": grants})).await;
        let http = with(&gateway, &secret(&limited));
        assert_eq!(called(&http, way, "paid-read").await, Ok(()), "{way:?}");
        assert_eq!(
            called(&http, way, "paid-read").await,
            Ok(()),
            "{way:?}: 0.01 of 0.015"
        );
        let refused = called(&http, way, "paid-read").await.unwrap_err().to_string();
        assert!(
            refused.contains("Budget has been exceeded! Current cost: 0.02, Max budget: 0.015"),
            "{refused}"
        );
        let info = http.get("/key/info").await.expect_status(200).json();
        assert_eq!(info["info"]["spend"], 0.02, "{way:?}: {info}");
        // Nobody knows what it would come to.
        let other = generate(&gateway, json!({"budget_id": "b", "object_permission": grants})).await;
        let refused = called(&with(&gateway, &secret(&other)), way, "odd-read").await;
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("nobody can say what calls of MCP server"),
            "{refused}"
        );
        assert_eq!(
            called(&with(&gateway, &secret(&unlimited)), way, "paid-read").await,
            Ok(())
        );
    }
    assert_eq!(
        (paid.count("tools/call"), odd.count("tools/call")),
        (3 * WAYS.len(), 0),
        "nothing is sent of what is refused"
    );
    let limited = generate(&gateway, json!({"budget_id": "b", "object_permission": grants})).await;
    post(
        &gateway,
        "/budget/update",
        json!({"budget_id": "b", "max_budget": 0}),
    )
    .await;
    let refused = called(&with(&gateway, &secret(&limited)), Way::Bare, "free-read").await;
    assert!(
        refused.is_err(),
        "of nothing there is nothing left, as with LiteLLM"
    );
}
