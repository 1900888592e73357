//! `POST /v1/mcp/server`.

use serde_json::{Value, json};
use trunkline_model::Transport;

use crate::harness::{Harness, plain};

#[tokio::test]
async fn a_row_has_every_column() {
    let gateway = Harness::new().await;
    let row = gateway
        .registered(json!({"alias": "github", "url": "https://upstream.example/mcp"}))
        .await;
    insta::assert_json_snapshot!(row);
    assert_eq!(
        gateway.get("/v1/mcp/server/made-up-1").await.json(),
        row,
        "what is answered is what is stored"
    );
    assert_eq!(gateway.get("/v1/mcp/server").await.json(), json!([row]));
}

#[tokio::test]
async fn the_default_transport_is_litellms() {
    let gateway = Harness::new().await;
    gateway
        .registered(json!({"server_id": "a", "url": "http://upstream.example/mcp"}))
        .await;
    assert_eq!(gateway.stored("a").definition.transport, Transport::Sse);
}

#[tokio::test]
async fn unknown_fields_are_named_with_what_was_meant() {
    let gateway = Harness::new().await;
    let answer = gateway
        .post(json!({"url": "https://u.example", "name": "x", "aliass": "y", "authentication_token": "canary", "zzz": 1, "tool_timeouts": {}, "approval_status": "active"}))
        .await;
    assert_eq!(
        answer.problems(),
        [
            "name",
            "aliass",
            "authentication_token",
            "zzz",
            "tool_timeouts",
            "approval_status"
        ]
        .map(|field| ("extra_forbidden".to_owned(), field.to_owned()))
    );
    for hint in [
        "did you mean server_name?",
        "did you mean alias?",
        "did you mean credentials.auth_value?",
        "no such field",
        "settable in the configuration file only",
        "managed by the server",
    ] {
        assert!(answer.text.contains(hint), "{hint}: {}", answer.text);
    }
    assert!(!answer.text.contains("canary"));
    assert_eq!(gateway.get("/v1/mcp/server").await.json(), json!([]));
}

#[tokio::test]
async fn unknown_members_are_named_too() {
    let gateway = Harness::new().await;
    let answer = gateway
        .post(json!({
            "url": "https://u.example",
            "credentials": {"auth_valeu": "canary", "dcr_issuer": "x"},
            "env_vars": [{"name": "A", "valu": "canary"}, {"value": "b"}, {"name": "1 bad"}, {"name": "A"}, {"name": "A"}],
        }))
        .await;
    let expected = [
        ("extra_forbidden", "credentials.auth_valeu"),
        ("extra_forbidden", "credentials.dcr_issuer"),
        ("extra_forbidden", "env_vars.0.valu"),
        ("missing", "env_vars.1.name"),
        ("string_pattern_mismatch", "env_vars.2.name"),
        ("value_error", "env_vars.4"),
    ];
    assert_eq!(
        answer.problems(),
        expected.map(|(kind, place)| (kind.to_owned(), place.to_owned()))
    );
    assert!(answer.text.contains("auth_value?"));
    assert!(!answer.text.contains("canary"));
}

#[tokio::test]
async fn wrong_types_are_named_and_values_are_not_repeated() {
    let gateway = Harness::new().await;
    let answer = gateway
        .post(json!({
            "url": ["canary"],
            "transport": "canary",
            "auth_type": 5,
            "allow_all_keys": "canary",
            "timeout": "canary",
            "rpm": -1,
            "max_concurrent_requests": 0,
            "allowed_tools": "canary",
            "extra_headers": ["fine", 1],
            "static_headers": {"x": 1},
            "mcp_info": [],
            "credentials": "canary",
            "server_id": null,
        }))
        .await;
    let mut problems = answer.problems();
    problems.sort();
    let expected = [
        ("bool_type", "allow_all_keys"),
        ("dict_type", "credentials"),
        ("dict_type", "mcp_info"),
        ("float_type", "timeout"),
        ("greater_than_equal", "max_concurrent_requests"),
        ("greater_than_equal", "rpm"),
        ("list_type", "allowed_tools"),
        ("literal_error", "transport"),
        ("string_type", "auth_type"),
        ("string_type", "extra_headers.1"),
        ("string_type", "static_headers.x"),
        ("string_type", "url"),
    ];
    assert_eq!(
        problems,
        expected.map(|(kind, place)| (kind.to_owned(), place.to_owned()))
    );
    assert!(!answer.text.contains("canary"));
    for (field, value) in [
        ("timeout", json!(0)),
        ("timeout", json!(1e300)),
        ("rpm", json!(1u64 << 40)),
        ("rpm", json!(1.5)),
    ] {
        let answer = gateway
            .post(json!({"url": "https://u.example", field: value}))
            .await;
        assert_eq!(answer.problems()[0].1, field);
    }
}

#[tokio::test]
async fn bodies_that_are_no_objects() {
    let gateway = Harness::new().await;
    for (body, kind) in [
        ("{\"alias\": \"canary", "json_invalid"),
        ("canary", "json_invalid"),
        ("[1]", "model_attributes_type"),
        ("null", "model_attributes_type"),
        ("", "value_error"),
    ] {
        let answer = gateway.ask_text("POST", "/v1/mcp/server", body).await;
        assert_eq!(answer.problems()[0].0, kind, "{body:?}");
        assert!(!answer.text.contains("canary"));
    }
    let deep = format!(
        "{{\"mcp_info\":{{\"a\":{}1{}}}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(
        gateway.ask_text("POST", "/v1/mcp/server", deep).await.problems()[0].0,
        "json_invalid"
    );
    let nul = gateway
        .post(json!({"url": "https://u.example", "description": "a\0b", "mcp_info": {"a": ["\0"]}}))
        .await;
    assert_eq!(nul.problems().len(), 2);
    let large = format!("{{\"description\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = gateway.ask_text("POST", "/v1/mcp/server", large).await;
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("1048576"));
}

#[tokio::test]
async fn b35_ids_and_names_belong_to_one_server() {
    let gateway = Harness::new().await;
    gateway.registered(plain("github")).await;
    let twice = gateway
        .post(json!({"server_id": "id-github", "alias": "other", "url": "https://u.example"}))
        .await;
    assert_eq!(twice.status, 400);
    assert!(twice.error().contains("already exists"), "{}", twice.text);
    for name in ["github", "GitHub", "ID-GITHUB"] {
        for field in ["alias", "server_name"] {
            let answer = gateway
                .post(json!({"server_id": "new", field: name, "url": "https://u.example"}))
                .await;
            assert_eq!(answer.status, 400, "{field} {name}");
            assert!(answer.error().contains("id-github"), "{}", answer.text);
        }
    }
    gateway.registered(plain("gitlab")).await;
    assert_eq!(
        gateway
            .ask("DELETE", "/v1/mcp/server/id-gitlab", None)
            .await
            .status,
        202
    );
    assert_eq!(
        gateway.get("/v1/mcp/server/id-github").await.status,
        200,
        "deleting one leaves the other"
    );
}

#[tokio::test]
async fn names_that_cannot_be_reached_are_refused() {
    let gateway = Harness::new().await;
    for (field, name) in [
        ("alias", "mcp"),
        ("alias", "a/b"),
        ("server_name", "a\r\nb"),
        ("server_id", "all-team-mcpservers"),
        ("server_id", "health"),
        ("server_id", "register"),
        ("server_id", "a?b"),
        ("server_id", ""),
    ] {
        let answer = gateway
            .post(json!({"url": "https://u.example", field: name}))
            .await;
        assert_eq!(answer.status, 400, "{field} {name:?}");
        assert!(answer.error().starts_with(field), "{}", answer.text);
    }
}

#[tokio::test]
async fn s08_programs_are_refused_whatever_else_is_wrong() {
    let gateway = Harness::new().await;
    for body in [
        json!({"transport": "stdio", "command": "npx", "args": ["x"]}),
        json!({"transport": "stdio", "nonsense": 1}),
        json!({"command": "sh", "url": "https://u.example"}),
        json!({"command": ["sh"], "server_id": "nobody"}),
    ] {
        for (method, path) in [
            ("POST", "/v1/mcp/server"),
            ("PUT", "/v1/mcp/server"),
            ("POST", "/v1/mcp/server/register"),
            ("POST", "/mcp-rest/test/connection"),
            ("POST", "/mcp-rest/test/tools/list"),
        ] {
            let answer = gateway.ask(method, path, Some(body.clone())).await;
            assert_eq!(answer.status, 403, "{method} {path} {body}: {}", answer.text);
            assert!(answer.error().contains("configuration file"));
        }
    }
    assert_eq!(gateway.probe.contacts(), 0);
    // Forms send empty texts.
    gateway
        .registered(json!({"url": "https://u.example", "command": "", "alias": ""}))
        .await;
}

#[tokio::test]
async fn s11_only_web_addresses() {
    let gateway = Harness::new().await;
    for field in [
        "url",
        "spec_path",
        "token_url",
        "source_url",
        "byok_api_key_help_url",
    ] {
        for address in [
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_FLUSHALL",
            "/etc/passwd",
            "../openapi.json",
            "javascript:alert(1)",
            "https://user:canary@host/mcp",
            "https://canary@host/mcp",
            "https://host/mcp#canary",
            "https://host/a\nb",
            " https://host/",
            "https://",
            "ftp://host/",
            "data:text/plain,x",
        ] {
            let mut body = json!({"url": "https://u.example"});
            body[field] = json!(address);
            let answer = gateway.post(body.clone()).await;
            assert_eq!(answer.status, 400, "{field} {address:?}");
            assert!(answer.error().starts_with(field), "{}", answer.text);
            assert!(!answer.text.contains("canary"));
            let test = gateway.ask("POST", "/mcp-rest/test/connection", Some(body)).await;
            assert_eq!(test.status, 400);
        }
    }
    assert_eq!(
        gateway.post(json!({"alias": "a"})).await.problems()[0].0,
        "value_error"
    );
    assert_eq!(gateway.probe.contacts(), 0);
}

#[tokio::test]
async fn a_value_in_extra_headers_is_understood_and_said() {
    let gateway = Harness::new().await;
    let row = gateway
        .registered(json!({
            "server_id": "fastmcp",
            "url": "http://127.0.0.1:9000/mcp",
            "transport": "http",
            "auth_type": "bearer_token",
            "extra_headers": ["Authorization: Bearer canary-key", "x-tenant"],
        }))
        .await;
    assert_eq!(row["extra_headers"], json!(["x-tenant"]));
    assert_eq!(row["static_headers"], json!({"Authorization": "***"}));
    let warnings = row["warnings"].as_array().unwrap();
    assert!(
        warnings[0].as_str().unwrap().starts_with("extra_headers[0]: "),
        "{warnings:?}"
    );
    assert!(warnings[0].as_str().unwrap().contains("credentials.auth_value"));
    let stored = gateway.stored("fastmcp");
    assert_eq!(
        stored.definition.static_headers["Authorization"].expose(),
        "Bearer canary-key"
    );
    assert!(!gateway.answers.lock().unwrap().contains("canary"));
}

#[tokio::test]
async fn headers_that_cannot_be_sent_are_refused() {
    let gateway = Harness::new().await;
    for (field, value) in [
        ("static_headers", json!({"a b": "x"})),
        ("static_headers", json!({"x": "canary\r\ny: z"})),
        ("static_headers", json!({"Content-Length": "0"})),
        ("static_headers", json!({"transfer-encoding": "chunked"})),
        ("static_headers", json!({"Mcp-Session-Id": "x"})),
        ("static_headers", json!({"x": "1", "X": "2"})),
        ("extra_headers", json!(["*"])),
        ("extra_headers", json!(["a b"])),
        ("extra_headers", json!([""])),
        ("extra_headers", json!(["X: canary\u{7f}"])),
    ] {
        let answer = gateway
            .post(json!({"url": "https://u.example", field: value}))
            .await;
        assert_eq!(answer.status, 400, "{field} {value}: {}", answer.text);
        assert!(answer.error().contains("_headers"), "{}", answer.text);
        assert!(!answer.text.contains("canary"));
    }
    let line_break = gateway
        .post(json!({"url": "https://u.example", "credentials": {"auth_value": "canary\n"}}))
        .await;
    assert_eq!(
        line_break.problems(),
        [("value_error".to_owned(), "credentials.auth_value".to_owned())]
    );
    assert!(!line_break.text.contains("canary"));
    let row = gateway
        .registered(json!({"url": "https://u.example", "extra_headers": ["Cookie", "x-*"]}))
        .await;
    assert!(row["warnings"][0].as_str().unwrap().contains("never forwarded"));
}

#[tokio::test]
async fn b30_references_stand_for_whole_secrets() {
    let gateway = Harness::new().await;
    for (field, value) in [
        (
            "static_headers",
            json!({"authorization": "Bearer os.environ/KEY"}),
        ),
        ("credentials", json!({"auth_value": "os.environ/"})),
        ("url", json!("os.environ/URL")),
    ] {
        let mut body = json!({"server_id": "a", "url": "https://u.example"});
        body[field] = value;
        let answer = gateway.post(body).await;
        assert_eq!(answer.status, 400, "{field}: {}", answer.text);
        assert!(answer.error().starts_with(field), "{}", answer.text);
        assert!(answer.error().contains("whole value"));
    }
    for (field, value) in [
        ("credentials", json!({"auth_value": "os.environ/KEY"})),
        ("static_headers", json!({"x-key": "os.environ/KEY"})),
        ("extra_headers", json!(["Authorization: os.environ/KEY"])),
        ("env_vars", json!([{"name": "A", "value": "os.environ/KEY"}])),
    ] {
        let mut body = json!({"url": "https://u.example", "auth_type": "bearer_token"});
        body[field] = value;
        gateway.registered(body).await;
    }
    let prose = json!({"url": "https://u.example", "description": "set os.environ/KEY in the file"});
    gateway.registered(prose).await;
}

#[tokio::test]
async fn what_would_be_unsafe_is_refused_and_what_has_no_effect_is_said() {
    let gateway = Harness::new().await;
    for (field, value) in [
        ("oauth_passthrough", json!(true)),
        ("delegate_auth_to_upstream", json!(true)),
        ("auth_type", json!("true_passthrough")),
        ("mcp_info", json!({"tool_allowlist_enforced": "yes"})),
        ("tool_name_to_display_name", json!({"a": "b c"})),
    ] {
        let mut body = plain("refused");
        body[field] = value;
        let answer = gateway.post(body).await;
        assert_eq!(answer.status, 400, "{field}: {}", answer.text);
    }
    let mut body = plain("warned");
    body["rpm"] = json!(5);
    body["auth_type"] = json!("oauth2");
    let row = gateway.registered(body).await;
    let warnings: Vec<&str> = row["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w.as_str().unwrap())
        .collect();
    assert!(!warnings.iter().any(|w| w.starts_with("rpm: ")), "{warnings:?}");
    assert!(
        warnings.iter().any(|w| w.starts_with("auth_type: ")),
        "{warnings:?}"
    );
    let mut body = plain("idle");
    body["credentials"] = json!({"auth_value": "x"});
    let row: Value = gateway.registered(body).await;
    assert!(row["warnings"][0].as_str().unwrap().contains("is not sent"));
    assert_eq!(
        gateway.get("/v1/mcp/server/id-idle").await.json()["warnings"],
        row["warnings"]
    );
}
