//! `/key/*`: LiteLLM's names, shapes and statuses, on both databases; for the administrator alone.

use serde_json::{Value, json};
use trunkline_testkit::{GatewayBuilder, ScratchDatabase, ScriptedUpstream, TestGateway};

use crate::support::{Way, config, generate, key, listed, post, set, with};

async fn of(builder: GatewayBuilder) -> (TestGateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start().await;
    let gateway = builder.config(&config(&[("files", &upstream, "")])).start().await;
    listed(&gateway, &["files"]).await;
    (gateway, upstream)
}

#[tokio::test]
async fn a_key_lives_as_it_does_in_litellm_on_sqlite() {
    let (gateway, _upstream) = of(TestGateway::builder()).await;
    lives(gateway).await;
}

#[tokio::test]
async fn a_key_lives_as_it_does_in_litellm_on_postgres() {
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let (gateway, _upstream) = of(TestGateway::builder().database_url(&database.url())).await;
    lives(gateway).await;
}

#[tokio::test]
async fn several_keys_are_shown_to_whom_they_are_shown_one_by_one() {
    let (gateway, _upstream) = of(TestGateway::builder()).await;
    let one = generate(&gateway, json!({"key_alias": "one"})).await;
    let two = generate(&gateway, json!({"key_alias": "two"})).await;
    let body = json!({"keys": [one["key"], "sk-nobodys", "x"], "key_aliases": ["two", "three"]});
    let shown = post(&gateway, "/v2/key/info", body.clone()).await;
    assert_eq!(shown["key"], json!([one["token"], two["token"]]));
    assert_eq!(shown["info"][1]["key_alias"], "two");
    assert!(!shown.to_string().contains(one["key"].as_str().unwrap()));
    let own = with(&gateway, one["key"].as_str().unwrap());
    let shown = own.post("/v2/key/info", &body).await.expect_status(200).json();
    assert_eq!(shown["key"], json!([one["token"]]), "its own");
    let health = own
        .post("/key/health", &json!({}))
        .await
        .expect_status(200)
        .json();
    assert_eq!(health["key"], "healthy");
    gateway
        .client()
        .post("/v2/key/info", &json!({"key": "x"}))
        .await
        .expect_status(422);
}

async fn lives(gateway: TestGateway) {
    let team = json!({"team_id": "t1", "object_permission": {"mcp_servers": ["files"]}});
    post(&gateway, "/team/new", team).await;
    let made = generate(
        &gateway,
        json!({
            "key_alias": "ci", "user_id": "u1", "team_id": "t1", "metadata": {"a": [1, null]}, "duration": "30d",
            "object_permission": {"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["echo"]}},
            // What LiteLLM's clients send without saying anything by it.
            "models": [], "aliases": {}, "config": {}, "spend": 0, "max_budget": null, "permissions": {}, "tags": null,
            "auto_rotate": false, "key_type": "default",
        }),
    )
    .await;
    let secret = made["key"].as_str().unwrap().to_owned();
    let hash = made["token"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("sk-") && secret.len() == 25, "128 bits");
    assert_eq!((hash.len(), &made["token_id"]), (64, &made["token"]));
    assert_eq!(made["key_name"], format!("sk-...{}", &secret[21..]));
    assert_eq!(
        (&made["blocked"], &made["created_by"]),
        (&json!(false), &json!("master_key"))
    );
    assert!(
        made["expires"].is_string() && made["warnings"] == json!([]),
        "{made}"
    );

    // By itself and by hash; to itself without being named; never with the key in it.
    let http = gateway.client();
    let by_hash = http
        .get(&format!("/key/info?key={hash}"))
        .await
        .expect_status(200)
        .json();
    let by_key = http
        .get(&format!("/key/info?key={secret}"))
        .await
        .expect_status(200)
        .json();
    let own = with(&gateway, &secret)
        .get("/key/info")
        .await
        .expect_status(200)
        .json();
    assert_eq!((&by_hash, &by_hash), (&by_key, &own));
    assert_eq!(by_hash["key"], hash.as_str());
    let info = &by_hash["info"];
    for (name, value) in [
        ("key_alias", json!("ci")),
        ("user_id", json!("u1")),
        ("team_id", json!("t1")),
        ("metadata", json!({"a": [1, null]})),
        ("status", json!("active")),
        ("models", json!([])),
        ("max_budget", json!(null)),
        ("expires", made["expires"].clone()),
        ("created_at", made["created_at"].clone()),
        ("object_permission", made["object_permission"].clone()),
    ] {
        assert_eq!(info[name], value, "{name}");
    }
    assert!(info.get("token").is_none());
    assert_eq!(
        info["object_permission"]["mcp_tool_permissions"],
        json!({"files": ["echo"]})
    );
    assert_eq!(
        Way::Bare.tools(&with(&gateway, &secret), None).await,
        Ok(set(&["files-echo"]))
    );

    changes(gateway, (&secret, &hash, &made)).await;
}

/// Grants, blocks, restarts, another secret, the end.
async fn changes(mut gateway: TestGateway, (secret, hash, made): (&str, &str, &Value)) {
    // A part of the grants changes, the rest stays.
    let change = json!({"key": secret, "key_alias": "ci2", "object_permission": {"mcp_tool_permissions": {"files": []}}});
    let changed = post(&gateway, "/key/update", change).await;
    assert_eq!(
        (&changed["key"], &changed["key_alias"]),
        (&json!(hash), &json!("ci2"))
    );
    assert_eq!(changed["object_permission"]["mcp_servers"], json!(["files"]));
    assert_eq!(changed["object_permission_id"], made["object_permission_id"]);
    assert_eq!(changed["expires"], made["expires"]);
    assert_eq!(Way::Bare.tools(&with(&gateway, secret), None).await, Ok(set(&[])));
    let change =
        json!({"key_alias": "ci2", "duration": "-1", "object_permission": {"mcp_tool_permissions": null}});
    assert_eq!(
        post(&gateway, "/key/update", change).await["expires"],
        json!(null)
    );

    let blocked = post(&gateway, "/key/block", json!({"key": hash})).await;
    assert_eq!(
        (&blocked["token"], &blocked["blocked"]),
        (&json!(hash), &json!(true))
    );
    assert_eq!(Way::Bare.tools(&with(&gateway, secret), None).await, Err(401));
    post(&gateway, "/key/unblock", json!({"key": hash})).await;

    // What is stored is there after a restart.
    gateway.restart().await;
    listed(&gateway, &["files"]).await;
    assert_eq!(
        Way::Bare.tools(&with(&gateway, secret), None).await,
        Ok(set(&["files-echo"]))
    );
    let regenerated = post(&gateway, &format!("/key/{hash}/regenerate"), json!({})).await;
    let second = regenerated["key"].as_str().unwrap().to_owned();
    assert_ne!(regenerated["token"], hash);
    assert_eq!(
        (&regenerated["key_alias"], &regenerated["rotation_count"]),
        (&json!("ci2"), &json!(1))
    );
    assert_eq!(regenerated["created_at"], made["created_at"]);
    assert!(regenerated["last_rotation_at"].is_string());
    assert_eq!(Way::Bare.tools(&with(&gateway, secret), None).await, Err(401));
    assert_eq!(
        Way::Bare.tools(&with(&gateway, &second), None).await,
        Ok(set(&["files-echo"]))
    );

    let deleted = post(&gateway, "/key/delete", json!({"key_aliases": ["ci2"]})).await;
    assert_eq!(deleted, json!({"deleted_keys": ["ci2"]}));
    assert_eq!(Way::Bare.tools(&with(&gateway, &second), None).await, Err(401));
    gateway.restart().await;
    assert_eq!(Way::Bare.tools(&with(&gateway, &second), None).await, Err(401));
    let gone = gateway
        .client()
        .get(&format!("/key/info?key={hash}"))
        .await
        .expect_status(404)
        .json();
    assert_eq!(
        (&gone["error"]["type"], &gone["error"]["code"]),
        (&json!("not_found_error"), &json!("404"))
    );
}

#[tokio::test]
async fn keys_are_listed_by_pages() {
    let (gateway, _upstream) = of(TestGateway::builder()).await;
    let mut hashes = Vec::new();
    for number in 0..5 {
        let body = json!({"key_alias": format!("k{number}"), "user_id": format!("u{}", number % 2)});
        hashes.push(generate(&gateway, body).await["token"].clone());
    }
    let list = async |query: &str| {
        let reply = gateway.client().get(&format!("/key/list{query}")).await;
        reply.expect_status(200).json()
    };
    let newest_first: Vec<&Value> = hashes.iter().rev().collect();
    let all = list("").await;
    assert_eq!(all["keys"], json!(newest_first));
    assert_eq!(
        (&all["total_count"], &all["current_page"], &all["total_pages"]),
        (&json!(5), &json!(1), &json!(1))
    );
    let mut seen = Vec::new();
    for page in 1..=3 {
        let answer = list(&format!("?page={page}&size=2")).await;
        assert_eq!(
            (&answer["total_pages"], &answer["current_page"]),
            (&json!(3), &json!(page))
        );
        seen.extend(answer["keys"].as_array().unwrap().clone());
    }
    assert_eq!(json!(seen), json!(newest_first));
    assert_eq!(list("?page=9").await["keys"], json!([]));
    let of_user = list("?user_id=u1&return_full_object=true&sort_by=key_alias&sort_order=asc").await;
    let aliases: Vec<&Value> = of_user["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["key_alias"])
        .collect();
    assert_eq!(aliases, ["k1", "k3"]);
    assert_eq!(of_user["keys"][0]["token"], hashes[1]);
    let one = format!("?key_hash={}", hashes[2].as_str().unwrap());
    assert_eq!(list(&one).await["keys"], json!([hashes[2]]));
    assert_eq!(list("?key_alias=k3").await["keys"], json!([hashes[3]]));
    assert_eq!(list("?key_hash=nonsense").await["total_count"], 0);
    for query in [
        "?size=0",
        "?size=101",
        "?page=x",
        "?status=deleted",
        "?sort_by=secret",
        "?usr_id=u1",
        "?expand=user",
    ] {
        let problem = gateway
            .client()
            .get(&format!("/key/list{query}"))
            .await
            .expect_status(422)
            .json();
        let name = query[1..].split('=').next().unwrap();
        assert_eq!(problem["detail"][0]["loc"], json!(["query", name]), "{query}");
    }
}

/// A body, where it is wrong, and how.
type RefusedBody = (Value, Value, &'static str);

fn refused_permissions() -> Vec<RefusedBody> {
    vec![
        (
            json!({"object_permission": {"mcp_toolsets": "t"}}),
            json!(["body", "object_permission", "mcp_toolsets"]),
            "list_type",
        ),
        (
            json!({"object_permission": {"blocked_tools": ["t"]}}),
            json!(["body", "object_permission", "blocked_tools"]),
            "not_supported",
        ),
        (
            json!({"object_permission": {"mcp_server": ["files"]}}),
            json!(["body", "object_permission", "mcp_server"]),
            "extra_forbidden",
        ),
        (
            json!({"object_permission": {"mcp_servers": ["all-proxy-mcpservers"]}}),
            json!(["body", "object_permission", "mcp_servers", 0]),
            "value_error",
        ),
        (
            json!({"object_permission": {"mcp_servers": "files"}}),
            json!(["body", "object_permission", "mcp_servers"]),
            "list_type",
        ),
        (
            json!({"object_permission": {"mcp_tool_permissions": {"files": [1]}}}),
            json!(["body", "object_permission", "mcp_tool_permissions", "files", 0]),
            "string_type",
        ),
    ]
}

fn refused_bodies() -> Vec<RefusedBody> {
    vec![
        (
            json!({"key_aliaz": "x"}),
            json!(["body", "key_aliaz"]),
            "extra_forbidden",
        ),
        (
            json!({"max_budget": -1}),
            json!(["body", "max_budget"]),
            "value_error",
        ),
        (
            json!({"aliases": {"a": "gpt"}}),
            json!(["body", "aliases"]),
            "not_supported",
        ),
        (
            json!({"tpd_limit": 5}),
            json!(["body", "tpd_limit"]),
            "not_supported",
        ),
        (json!({"tpm_limit": -5}), json!(["body", "tpm_limit"]), "int_type"),
        (
            json!({"model_tpm_limit": {"gpt": "5"}}),
            json!(["body", "model_tpm_limit", "gpt"]),
            "int_type",
        ),
        (
            json!({"model_rpm_limit": {"gpt": -1}}),
            json!(["body", "model_rpm_limit", "gpt"]),
            "greater_than_equal",
        ),
        (
            json!({"mcp_rpm_limit": {"files": -1}}),
            json!(["body", "mcp_rpm_limit", "files"]),
            "greater_than_equal",
        ),
        (
            json!({"rpm_limit": "5"}),
            json!(["body", "rpm_limit"]),
            "int_type",
        ),
        (
            json!({"max_parallel_requests": 5_000_000_000_u64}),
            json!(["body", "max_parallel_requests"]),
            "less_than_equal",
        ),
        (
            json!({"auto_rotate": true}),
            json!(["body", "auto_rotate"]),
            "not_supported",
        ),
        (
            json!({"guardrails": ["g"]}),
            json!(["body", "guardrails"]),
            "not_supported",
        ),
        (
            json!({"duration": "soon"}),
            json!(["body", "duration"]),
            "value_error",
        ),
        (json!({"blocked": "yes"}), json!(["body", "blocked"]), "bool_type"),
        (
            json!({"allowed_routes": ["everything"]}),
            json!(["body", "allowed_routes", 0]),
            "value_error",
        ),
        (json!({"key_type": "root"}), json!(["body", "key_type"]), "enum"),
        (
            json!({"key_alias": "a\u{0}b"}),
            json!(["body", "key_alias"]),
            "string_type",
        ),
    ]
}

#[tokio::test]
async fn what_is_not_known_or_not_served_is_refused_by_name() {
    let (gateway, _upstream) = of(TestGateway::builder()).await;
    let made = generate(&gateway, json!({"key_alias": "taken"})).await;
    let hash = made["token"].as_str().unwrap();
    for (body, at, kind) in refused_bodies().into_iter().chain(refused_permissions()) {
        for path in ["/key/generate", "/key/update", "/key/regenerate"] {
            let mut body = body.clone();
            if path != "/key/generate" {
                body["key"] = hash.into();
            }
            let reply = gateway.client().post(path, &body).await.expect_status(422).json();
            let problem = &reply["detail"][0];
            assert_eq!(
                (&problem["loc"], &problem["type"]),
                (&at, &json!(kind)),
                "{path} {body}: {reply}"
            );
        }
    }
    for (path, body, field) in [
        ("/key/generate", json!({"key": "sk-short"}), "key"),
        ("/key/generate", json!({"key": "no-prefix-0123456789"}), "key"),
        (
            "/key/regenerate",
            json!({"key": hash, "new_key": "sk-with a blank 0123"}),
            "new_key",
        ),
        (
            "/key/regenerate",
            json!({"key": hash, "grace_period": "24 hours"}),
            "grace_period",
        ),
        ("/key/block", json!({"key": hash, "keys": []}), "keys"),
        ("/key/block", json!({}), "key"),
        ("/key/delete", json!({}), "keys"),
        (
            "/key/delete",
            json!({"keys": [hash], "key_aliases": ["taken"]}),
            "keys",
        ),
    ] {
        let reply = gateway.client().post(path, &body).await.expect_status(422).json();
        assert_eq!(reply["detail"][0]["loc"][1], field, "{path} {body}: {reply}");
    }
    let error = async |path: &str, body: Value, status: u16| {
        gateway
            .client()
            .post(path, &body)
            .await
            .expect_status(status)
            .json()["error"]
            .clone()
    };
    let taken = error("/key/generate", json!({"key_alias": "taken"}), 400).await;
    assert_eq!(
        (&taken["type"], &taken["param"]),
        (&json!("bad_request_error"), &json!("key_alias"))
    );
    let own = json!({"key": "sk-one-of-my-own-0123"});
    generate(&gateway, own.clone()).await;
    assert_eq!(error("/key/generate", own, 400).await["param"], "key");
    let master = json!({"key": gateway.master_key()});
    assert_eq!(error("/key/generate", master, 400).await["param"], "key");
    for path in ["/key/update", "/key/block", "/key/unblock", "/key/regenerate"] {
        for nobody in [
            "sk-nobodys-key-0123456789",
            "nonsense",
            "' OR 1=1 --",
            &"0".repeat(64),
        ] {
            let error = error(path, json!({"key": nobody}), 404).await;
            assert_eq!(error["type"], "not_found_error", "{path}");
        }
    }
    error(
        "/key/delete",
        json!({"keys": ["sk-nobodys-key-0123456789", "x"]}),
        404,
    )
    .await;
    // Nothing of it happened.
    let info = gateway
        .client()
        .get(&format!("/key/info?key={hash}"))
        .await
        .json();
    assert_eq!(info["info"]["updated_at"], made["updated_at"]);
}

/// S19: every other caller is refused before anything of the request is looked at.
#[tokio::test]
async fn s05_s19_only_the_administrator_manages_keys() {
    let (gateway, _upstream) = of(TestGateway::builder()).await;
    let (mine, other) = (
        key(&gateway, json!(null)).await,
        generate(&gateway, json!({})).await,
    );
    let other_hash = other["token"].as_str().unwrap();
    let paths = [
        "/key/generate",
        "/key/update",
        "/key/delete",
        "/key/block",
        "/key/unblock",
        "/key/regenerate",
        &format!("/key/{other_hash}/regenerate"),
    ];
    let before = gateway
        .client()
        .get("/key/list?return_full_object=true")
        .await
        .text();
    for (http, kind) in [
        (with(&gateway, &mine), "auth_error"),
        (with(&gateway, "sk-wrong-0123456789"), "token_not_found_in_db"),
        (gateway.anonymous(), "auth_error"),
    ] {
        for path in paths {
            for body in [
                json!({"key": other_hash, "keys": [other_hash]}),
                json!("nonsense"),
                json!(null),
            ] {
                let reply = http.post(path, &body).await.expect_status(401);
                assert_eq!(reply.json()["error"]["type"], kind, "{path}");
            }
        }
        assert_eq!(http.get("/key/list").await.status, 401);
    }
    // What else an administrator may do, a key may not.
    for path in ["/v1/mcp/server", "/v1/mcp/access_groups", "/metrics"] {
        assert_eq!(with(&gateway, &mine).get(path).await.status, 403, "{path}");
    }
    assert_eq!(
        gateway
            .client()
            .get("/key/list?return_full_object=true")
            .await
            .text(),
        before
    );
    // Its own, and nobody else's: the same answer for a key that is there and one that is not.
    let http = with(&gateway, &mine);
    let own = http.get("/key/info").await.expect_status(200).json();
    assert_eq!(http.get(&format!("/key/info?key={mine}")).await.json(), own);
    let there = http
        .get(&format!("/key/info?key={other_hash}"))
        .await
        .expect_status(403)
        .text();
    let absent = http
        .get(&format!("/key/info?key={}", "0".repeat(64)))
        .await
        .expect_status(403)
        .text();
    assert_eq!(there, absent);
    assert_eq!(gateway.client().get("/key/info").await.status, 404);
    assert_eq!(gateway.anonymous().get("/key/info").await.status, 401);
}
