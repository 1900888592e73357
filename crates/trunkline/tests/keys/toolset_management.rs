//! `/v1/mcp/toolset`: LiteLLM's names, shapes and statuses, on both databases; writing is for the administrator alone.

use serde_json::{Value, json};
use trunkline_testkit::{GatewayBuilder, HttpClient, ScratchDatabase, ScriptedUpstream, TestGateway};

use crate::support::{Way, config, generate, key, listed, members, set, toolset, with};

async fn of(builder: GatewayBuilder) -> (TestGateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start().await;
    let gateway = builder.config(&config(&[("files", &upstream, "")])).start().await;
    listed(&gateway, &["files"]).await;
    (gateway, upstream)
}

#[tokio::test]
async fn a_toolset_lives_as_it_does_in_litellm_on_sqlite() {
    let (gateway, _upstream) = of(TestGateway::builder()).await;
    lives(gateway).await;
}

#[tokio::test]
async fn a_toolset_lives_as_it_does_in_litellm_on_postgres() {
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let (gateway, _upstream) = of(TestGateway::builder().database_url(&database.url())).await;
    lives(gateway).await;
}

async fn lives(mut gateway: TestGateway) {
    let tools = members(&[
        ("files", "echo"),
        ("files", "files-echo"),
        ("files", "nope"),
        ("gone", "x"),
    ]);
    let body = json!({"toolset_name": "ci", "description": "for CI", "tools": tools});
    let made = gateway.client().post("/v1/mcp/toolset", &body).await;
    let made = made.expect_status(201).json();
    let id = made["toolset_id"].as_str().unwrap().to_owned();
    for (name, value) in [
        ("toolset_name", json!("ci")),
        ("description", json!("for CI")),
        ("tools", tools.clone()),
        ("created_by", json!("master_key")),
        ("updated_by", json!("master_key")),
        ("updated_at", made["created_at"].clone()),
        ("defect", json!(null)),
    ] {
        assert_eq!(made[name], value, "{name}: {made}");
    }
    assert!(made["created_at"].is_string());
    assert_eq!(
        made["warnings"],
        json!([
            "tools: the server \"files\" lists no tool \"nope\"",
            "tools: no server has the id, name or alias \"gone\""
        ])
    );
    let mine = generate(
        &gateway,
        json!({"object_permission": {"mcp_toolsets": ["ci", "later"]}}),
    )
    .await;
    assert_eq!(mine["object_permission"]["mcp_toolsets"], json!(["ci", "later"]));
    assert_eq!(
        mine["warnings"],
        json!(["object_permission.mcp_toolsets: no toolset has the id or name \"later\""])
    );
    let mine = mine["key"].as_str().unwrap().to_owned();
    // What is stored is there after a restart.
    gateway.restart().await;
    listed(&gateway, &["files"]).await;
    let http = gateway.client();
    let path = format!("/v1/mcp/toolset/{id}");
    assert_eq!(http.get(&path).await.expect_status(200).json(), made);
    assert_eq!(
        http.get("/v1/mcp/toolset").await.expect_status(200).json(),
        json!([made])
    );
    let tools_of = async |key: &str, at| Way::Bare.tools(&with(&gateway, key), at).await;
    assert_eq!(tools_of(&mine, None).await, Ok(set(&["files-echo"])));
    // A key sees what is written, and not what an administrator should know.
    let own = with(&gateway, &mine).get(&path).await.expect_status(200).json();
    assert_eq!(own["tools"], tools);
    assert!(
        own.get("warnings").is_none() && own.get("defect").is_none(),
        "{own}"
    );
    assert_eq!(
        with(&gateway, &mine).get("/v1/mcp/toolset").await.json(),
        json!([own])
    );

    changes(gateway, (&mine, &made)).await;
}

/// A part changes, the rest stays; null clears a text, and changes nothing of what is always there. Then the end.
async fn changes(gateway: TestGateway, (mine, made): (&str, &Value)) {
    let (http, tools) = (gateway.client(), made["tools"].clone());
    let id = made["toolset_id"].as_str().unwrap();
    let path = format!("/v1/mcp/toolset/{id}");
    let tools_of = async |key: &str, at| Way::Bare.tools(&with(&gateway, key), at).await;
    let put = async |body: Value| http.put("/v1/mcp/toolset", &body).await.expect_status(200).json();
    let changed = put(json!({"toolset_id": id, "toolset_name": "CI-2"})).await;
    assert_eq!(
        (&changed["toolset_name"], &changed["tools"]),
        (&json!("CI-2"), &tools)
    );
    assert_eq!(
        (&changed["description"], &changed["created_at"]),
        (&json!("for CI"), &made["created_at"])
    );
    assert_eq!(
        tools_of(mine, None).await,
        Ok(set(&[])),
        "a grant by name is of the name"
    );
    assert_eq!(tools_of(mine, Some("toolset/ci")).await, Err(404));
    assert_eq!(with(&gateway, mine).get(&path).await.status, 403);
    assert_eq!(
        with(&gateway, mine).get("/v1/mcp/toolset").await.json(),
        json!([])
    );
    let nulls = json!({"toolset_id": id, "toolset_name": null, "description": null, "tools": null});
    let changed = put(nulls).await;
    assert_eq!(
        (&changed["toolset_name"], &changed["tools"]),
        (&json!("CI-2"), &tools)
    );
    assert_eq!(changed["description"], json!(null));
    put(json!({"toolset_id": id, "toolset_name": "ci", "tools": []})).await;
    assert_eq!(tools_of(mine, None).await, Ok(set(&[])));
    assert_eq!(tools_of(mine, Some("toolset/ci")).await, Ok(set(&[])));
    put(json!({"toolset_id": id, "tools": members(&[("files", "echo")])})).await;
    assert_eq!(tools_of(mine, Some("toolset/CI")).await, Ok(set(&["files-echo"])));

    let gone = http.delete(&path).await.expect_status(202);
    assert_eq!(gone.text(), "");
    assert_eq!(tools_of(mine, None).await, Ok(set(&[])));
    assert_eq!(tools_of(mine, Some("toolset/ci")).await, Err(404));
    for answer in [
        http.get(&path).await,
        http.delete(&path).await,
        http.put("/v1/mcp/toolset", &json!({"toolset_id": id})).await,
    ] {
        let text = format!("Toolset '{id}' not found.");
        assert_eq!(
            answer.expect_status(404).json(),
            json!({"detail": {"error": text}})
        );
    }
    // The key keeps what was written.
    let info = http.get(&format!("/key/info?key={mine}")).await.json();
    assert_eq!(
        info["info"]["object_permission"]["mcp_toolsets"],
        json!(["ci", "later"])
    );
    toolset(&gateway, "Later", &[("files", "echo")]).await;
    assert_eq!(tools_of(mine, None).await, Ok(set(&["files-echo"])));
}

/// A body, where it is wrong, and how.
fn refused_bodies() -> Vec<(Value, Value, &'static str)> {
    let tool = |more: Value| {
        let mut tool = json!({"server_id": "files", "tool_name": "echo"});
        tool.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"tools": [tool]})
    };
    let too_long = "x".repeat(129);
    vec![
        (
            json!({"toolset_label": "x"}),
            json!(["body", "toolset_label"]),
            "extra_forbidden",
        ),
        (
            json!({"created_by": "x"}),
            json!(["body", "created_by"]),
            "extra_forbidden",
        ),
        (
            json!({"toolset_name": ""}),
            json!(["body", "toolset_name"]),
            "string_too_short",
        ),
        (
            json!({"toolset_name": 1}),
            json!(["body", "toolset_name"]),
            "string_type",
        ),
        (
            json!({"toolset_name": "a/b"}),
            json!(["body", "toolset_name"]),
            "value_error",
        ),
        (
            json!({"toolset_name": " a"}),
            json!(["body", "toolset_name"]),
            "value_error",
        ),
        (
            json!({"toolset_name": "a\nb"}),
            json!(["body", "toolset_name"]),
            "value_error",
        ),
        (
            json!({"toolset_name": too_long}),
            json!(["body", "toolset_name"]),
            "string_too_long",
        ),
        (
            json!({"description": []}),
            json!(["body", "description"]),
            "string_type",
        ),
        (json!({"tools": {}}), json!(["body", "tools"]), "list_type"),
        (
            json!({"tools": ["echo"]}),
            json!(["body", "tools", 0]),
            "dict_type",
        ),
        (
            tool(json!({"arguments": {}})),
            json!(["body", "tools", 0, "arguments"]),
            "extra_forbidden",
        ),
        (
            tool(json!({"tool_name": null})),
            json!(["body", "tools", 0, "tool_name"]),
            "string_type",
        ),
        (
            tool(json!({"tool_name": "*"})),
            json!(["body", "tools", 0, "tool_name"]),
            "value_error",
        ),
        (
            json!({"tools": [{"tool_name": "x"}]}),
            json!(["body", "tools", 0, "server_id"]),
            "missing",
        ),
    ]
}

#[tokio::test]
async fn what_is_wrong_with_a_toolset_is_said_by_name() {
    let (gateway, _upstream) = of(TestGateway::builder()).await;
    let made = toolset(&gateway, "Taken", &[("files", "echo")]).await;
    let (id, http) = (made["toolset_id"].as_str().unwrap(), gateway.client());
    for (body, at, kind) in refused_bodies() {
        for is_new in [true, false] {
            let mut body = body.clone();
            let reply = if is_new {
                body.as_object_mut()
                    .unwrap()
                    .entry("toolset_name")
                    .or_insert_with(|| "x".into());
                http.post("/v1/mcp/toolset", &body).await
            } else {
                body["toolset_id"] = id.into();
                http.put("/v1/mcp/toolset", &body).await
            };
            let reply = reply.expect_status(422).json();
            let problem = &reply["detail"][0];
            assert_eq!(
                (&problem["loc"], &problem["type"]),
                (&at, &json!(kind)),
                "{body}: {reply}"
            );
        }
    }
    let missing = [
        (
            http.post("/v1/mcp/toolset", &json!({"tools": []})).await,
            "toolset_name",
        ),
        (
            http.post("/v1/mcp/toolset", &json!({"toolset_name": null})).await,
            "toolset_name",
        ),
        (
            http.put("/v1/mcp/toolset", &json!({"toolset_name": "x"})).await,
            "toolset_id",
        ),
        (
            http.post(
                "/v1/mcp/toolset",
                &json!({"toolset_name": "x", "toolset_id": "y"}),
            )
            .await,
            "toolset_id",
        ),
        (http.get("/v1/mcp/toolset?team_id=t").await, "team_id"),
    ];
    for (reply, field) in missing {
        let reply = reply.expect_status(422).json();
        assert_eq!(reply["detail"][0]["loc"][1], field, "{reply}");
    }
    // Nothing of it happened.
    assert_eq!(http.get("/v1/mcp/toolset").await.json(), json!([made]));
}

#[tokio::test]
async fn a_toolset_has_a_name_of_its_own() {
    let (gateway, _upstream) = of(TestGateway::builder()).await;
    let http = gateway.client();
    let made = toolset(&gateway, "Taken", &[("files", "echo")]).await;
    let other = toolset(&gateway, "other", &[]).await;
    let id = made["toolset_id"].as_str().unwrap();
    let taken = [
        http.post("/v1/mcp/toolset", &json!({"toolset_name": "tAKEN"}))
            .await,
        http.post("/v1/mcp/toolset", &json!({"toolset_name": id})).await,
        http.put(
            "/v1/mcp/toolset",
            &json!({"toolset_id": other["toolset_id"], "toolset_name": "taken"}),
        )
        .await,
    ];
    for reply in taken {
        let reply = reply.expect_status(409).json();
        let text = reply["detail"]["error"].as_str().unwrap();
        assert!(text.starts_with("A toolset named '"), "{reply}");
    }
    // A server's name may be had, and is said to be.
    let like_server = toolset(&gateway, "files", &[]).await;
    assert!(
        like_server["warnings"][0]
            .as_str()
            .unwrap()
            .contains("/toolset/files/mcp"),
        "{like_server}"
    );
    // Nothing of the rest happened.
    let all = http.get("/v1/mcp/toolset").await.json();
    let names: Vec<&Value> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["toolset_name"])
        .collect();
    assert_eq!(names, ["Taken", "files", "other"]);
    assert_eq!(http.get(&format!("/v1/mcp/toolset/{id}")).await.json(), made);
}

/// S19: every route, of every kind of caller that may not.
#[tokio::test]
async fn s05_s19_only_the_administrator_writes_and_a_key_sees_what_it_was_granted() {
    let (gateway, upstream) = of(TestGateway::builder()).await;
    let granted = toolset(&gateway, "granted", &[("files", "echo")]).await;
    let other = toolset(&gateway, "other", &[("files", "echo")]).await;
    let of = |row: &Value| format!("/v1/mcp/toolset/{}", row["toolset_id"].as_str().unwrap());
    let (granted_path, other_path) = (of(&granted), of(&other));
    let mine = key(&gateway, json!({"mcp_toolsets": ["granted"]})).await;
    // It may use all there is, and is no administrator.
    let wide = key(&gateway, json!({"mcp_servers": ["files"]})).await;
    let before = gateway.client().get("/v1/mcp/toolset").await.text();
    let requests = upstream.requests().len();
    let writes = async |http: &HttpClient| {
        let body = json!({"toolset_id": granted["toolset_id"], "toolset_name": "mine", "tools": []});
        [
            http.post("/v1/mcp/toolset", &json!({"toolset_name": "mine"}))
                .await,
            http.post("/v1/mcp/toolset", &json!("nonsense")).await,
            http.put("/v1/mcp/toolset", &body).await,
            http.put("/v1/mcp/toolset", &json!({"nonsense": 1})).await,
            http.delete(&granted_path).await,
            http.delete("/v1/mcp/toolset/nobody").await,
        ]
    };
    for http in [with(&gateway, &mine), with(&gateway, &wide)] {
        for reply in writes(&http).await {
            let reply = reply.expect_status(403).json();
            assert_eq!(reply["detail"]["error"], "this route needs a proxy admin");
        }
    }
    for http in [gateway.anonymous(), with(&gateway, "sk-wrong-0123456789")] {
        for reply in writes(&http).await {
            reply.expect_status(401);
        }
        for path in ["/v1/mcp/toolset", &granted_path, "/v1/mcp/toolset/nobody"] {
            assert_eq!(http.get(path).await.status, 401, "{path}");
        }
    }
    assert_eq!(gateway.client().get("/v1/mcp/toolset").await.text(), before);
    // Its own, and nobody else's: the same answer for one that is there and one that is not.
    let http = with(&gateway, &mine);
    let list = http.get("/v1/mcp/toolset").await.expect_status(200).json();
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["toolset_name"]),
        (1, &json!("granted"))
    );
    http.get(&granted_path).await.expect_status(200);
    let there = http.get(&other_path).await.expect_status(403).text();
    let absent = http.get("/v1/mcp/toolset/nobody").await.expect_status(403).text();
    assert_eq!(there, absent);
    assert_eq!(
        with(&gateway, &wide).get("/v1/mcp/toolset").await.json(),
        json!([])
    );
    assert_eq!(
        with(&gateway, &wide)
            .get(&granted_path)
            .await
            .expect_status(403)
            .text(),
        absent
    );
    // `allowed_routes` hold here, too.
    let body = json!({"key_type": "llm_api", "object_permission": {"mcp_toolsets": ["granted"]}});
    let api = generate(&gateway, body).await;
    let api = with(&gateway, api["key"].as_str().unwrap());
    assert_eq!(api.get("/v1/mcp/toolset").await.status, 403);
    assert_eq!(
        Way::Bare.tools(&api, Some("toolset/granted")).await,
        Ok(set(&["files-echo"]))
    );
    let body = json!({"key_type": "read_only", "object_permission": {"mcp_toolsets": ["granted"]}});
    let info = generate(&gateway, body).await;
    let info = with(&gateway, info["key"].as_str().unwrap());
    assert_eq!(info.get(&granted_path).await.status, 200);
    assert_eq!(Way::Bare.tools(&info, Some("toolset/granted")).await, Err(403));
    assert_eq!(
        upstream.requests().len(),
        requests,
        "lists were known, and nothing was called"
    );
}
