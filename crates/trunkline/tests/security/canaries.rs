//! Every secret is a marker, every error path is driven, and everything that comes out is searched: S13.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Act, Canary, McpClient, ScratchDatabase, ScriptedUpstream, Socket, TestGateway};

use crate::support::{config, register};

/// The secrets of one server, a marker each.
struct Markers {
    all: Vec<Canary>,
    body: Value,
}

/// A server with a secret in every field that holds one.
fn declare(upstream: &ScriptedUpstream, auth_type: &str) -> Markers {
    let mut all = Vec::new();
    let mut marker = |name: &str| {
        let canary = Canary::new(name);
        let value = canary.value().to_owned();
        all.push(canary);
        value
    };
    let auth_value = if auth_type == "basic" {
        format!("user:{}", marker("password"))
    } else {
        marker("auth-value")
    };
    let mut credentials = json!({"auth_value": auth_value});
    for member in [
        "client_id",
        "client_secret",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "id_jag_resource_client_secret",
        "client_private_key",
    ] {
        credentials[member] = marker(&member.replace('_', "-")).into();
    }
    let body = json!({
        "server_id": "files", "alias": "files", "url": upstream.url(), "transport": "http", "auth_type": auth_type,
        "credentials": credentials,
        "static_headers": {"x-static": marker("static"), "x-made": "made of ${VARIABLE}"},
        "extra_headers": [format!("X-Written: Bearer {}", marker("written"))],
        "env_vars": [{"name": "VARIABLE", "value": marker("variable"), "scope": "global"}],
        "env": {"SOME_KEY": marker("env")},
    });
    Markers { all, body }
}

/// What an upstream that repeats what it was sent says, in every place that ends up in somebody's sight.
fn echoes(secret: &str) -> Vec<Act> {
    let json_type = "application/json";
    let mut acts = Vec::new();
    for status in [400, 401, 403, 404, 429, 500] {
        acts.push(
            Act::status(status, &format!("no: Authorization: Bearer {secret}"))
                .with_header("www-authenticate", &format!("Bearer error=\"bad {secret}\""))
                .with_header("x-echo", secret)
                .with_header("retry-after", secret),
        );
    }
    let body =
        json!({"error": {"message": format!("wrong key {secret}")}, "headers": {"authorization": secret}});
    acts.push(Act::status(403, &body.to_string()).with_header("content-type", json_type));
    let body = json!({"detail": {"error": format!("user={secret}&password={secret}")}});
    acts.push(Act::status(500, &body.to_string()).with_header("content-type", json_type));
    // Just where the text is cut.
    for fill in [240, 260, 280] {
        acts.push(Act::status(500, &format!("{} {secret}", "x".repeat(fill))));
    }
    acts.push(Act::Error {
        code: -32000,
        message: format!("the key {secret} is not accepted"),
    });
    acts.push(Act::redirect(&format!("http://127.0.0.1:9/login?token={secret}")));
    acts.push(Act::redirect(&format!("http://{secret}.example.com/")));
    acts.push(Act::status(200, &format!("<html>{secret}</html>")).with_header("content-type", "text/html"));
    acts.push(Act::status(200, "{}").with_header("content-type", &format!("text/{secret}")));
    acts.push(Act::status(200, &format!("{{\"jsonrpc\": \"{secret}")).with_header("content-type", json_type));
    acts.push(Act::status(200, &format!("{{\"{secret}\": 1}}")).with_header("content-type", json_type));
    let revision = json!({"protocolVersion": secret, "capabilities": {}, "serverInfo": {"name": secret, "version": secret}});
    acts.push(Act::Result(revision.to_string()));
    acts.push(Act::Result(format!("{{\"tools\": \"{secret}\"}}")));
    acts.push(Act::Result(format!("\"{secret}\"")));
    acts
}

/// Failures without any words.
fn failures() -> Vec<Act> {
    vec![
        Act::Drop,
        Act::Truncate(40),
        Act::html(),
        Act::not_json(),
        Act::rate_limited(3),
    ]
}

/// Asks everything that can be asked about the server; all answers as one text.
async fn ask_everything(gateway: &TestGateway) -> String {
    let client = gateway.client();
    let mut seen = String::new();
    let mut note = |place: &str, text: String| seen.push_str(&["\n=== ", place, "\n", &text].concat());
    note("health", client.get("/v1/mcp/server/health").await.everything());
    let stored = json!({"server_id": "files"});
    for route in ["/mcp-rest/test/connection", "/mcp-rest/test/tools/list"] {
        note(route, client.post(route, &stored).await.everything());
    }
    note(
        "REST list",
        client
            .get("/mcp-rest/tools/list?server_id=files")
            .await
            .everything(),
    );
    note("all tools", client.get("/v1/mcp/tools").await.everything());
    let call = json!({"server_id": "files", "name": "echo", "arguments": {"message": "m"}});
    note(
        "REST call",
        client.post("/mcp-rest/tools/call", &call).await.everything(),
    );
    let mut mcp = McpClient::over(client.clone(), "/files/mcp");
    note("initialize", mcp.initialize_only().await.everything());
    note(
        "MCP list",
        mcp.request("tools/list", &Value::Null).await.everything(),
    );
    note(
        "MCP call",
        mcp.call("echo", &json!({"message": "m"}), Some("t"))
            .await
            .everything(),
    );
    note("rows", client.get("/v1/mcp/server").await.everything());
    note("row", client.get("/v1/mcp/server/files").await.everything());
    seen
}

async fn doctor(gateway: &TestGateway) -> String {
    let (data, config) = (gateway.data_dir(), gateway.config_path());
    let mut seen = String::new();
    for form in [&[][..], &["--json"]] {
        let (data, config) = (data.display().to_string(), config.display().to_string());
        let mut args = vec!["doctor", "files", "--data-dir", &data, "--config", &config];
        args.extend(form);
        let output = gateway.run(&args).await;
        seen += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    assert!(seen.contains("initialize"), "doctor walked: {seen}");
    seen
}

/// Every file of the data directory.
fn files(gateway: &TestGateway) -> Vec<u8> {
    std::fs::read_dir(gateway.data_dir())
        .unwrap()
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap_or_default())
        .collect()
}

fn assert_clean(markers: &[Canary], place: &str, text: impl AsRef<[u8]>) {
    for marker in markers {
        marker.assert_absent(&[(place, text.as_ref())]);
    }
}

#[tokio::test]
async fn s13_an_upstream_that_repeats_its_credential_is_not_repeated() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::builder()
        .config(
            "general_settings:\n  mcp_list_timeout_ms: 2000\n  mcp_call_timeout_ms: 2000\nmcp_servers: {}\n",
        )
        .env("TRUNKLINE_LOG", "debug")
        .start()
        .await;
    let markers = declare(&upstream, "bearer_token");
    let created = gateway
        .client()
        .post("/v1/mcp/server", &markers.body)
        .await
        .expect_status(201);
    assert_clean(&markers.all, "the answer to POST", created.everything());
    let sent: Vec<Canary> = ["auth-value", "static", "written", "variable"]
        .iter()
        .map(|name| {
            markers
                .all
                .iter()
                .find(|marker| marker.value().contains(&format!("-{name}-")))
                .unwrap()
                .clone()
        })
        .collect();
    for (index, marker) in sent.iter().enumerate() {
        // Everything is driven with the first; that the others are known as secrets shows with one echo.
        let acts = if index == 0 {
            echoes(marker.value())
        } else {
            echoes(marker.value())[1..2].to_vec()
        };
        for act in acts {
            for method in [
                "initialize",
                "notifications/initialized",
                "tools/list",
                "tools/call",
            ] {
                // A tool's own result is content, which is relayed as it is.
                if method == "tools/call" && matches!(act, Act::Result(_)) {
                    continue;
                }
                upstream.behave();
                upstream.expire_sessions();
                upstream.on(method, act.clone());
                upstream.clear();
                let seen = ask_everything(&gateway).await;
                assert!(upstream.count(method) > 0, "{method} was reached: {seen}");
                marker.assert_absent(&[(&*format!("an answer after {act:?} to {method}"), seen)]);
            }
        }
    }
    let seen = doctor(&gateway).await;
    assert_clean(&markers.all, "doctor", seen);
    assert_clean(&markers.all, "the log", gateway.log());
    assert_clean(
        &markers.all,
        "metrics",
        gateway.client().get("/metrics").await.everything(),
    );
    assert_clean(&markers.all, "the data directory", files(&gateway));
}

#[tokio::test]
async fn s13_doctor_walks_past_every_echo() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let markers = declare(&upstream, "api_key");
    gateway
        .client()
        .post("/v1/mcp/server", &markers.body)
        .await
        .expect_status(201);
    let secret = markers.all[0].value().to_owned();
    let named = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": secret, "version": "1"}});
    for (method, act) in [
        ("initialize", Act::Result(named.to_string())),
        (
            "initialize",
            Act::status(401, &secret).with_header("www-authenticate", &secret),
        ),
        (
            "initialize",
            Act::status(200, "").with_header("content-type", &secret),
        ),
        ("notifications/initialized", Act::status(500, &secret)),
        (
            "tools/list",
            Act::Error {
                code: 1,
                message: secret.clone(),
            },
        ),
        ("*", Act::redirect(&format!("http://{secret}.example.com/"))),
    ] {
        upstream.behave();
        upstream.on(method, act);
        assert_clean(&markers.all, "doctor", doctor(&gateway).await);
    }
}

#[tokio::test]
async fn s13_basic_passwords_are_not_repeated_in_any_form() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let markers = declare(&upstream, "basic");
    gateway
        .client()
        .post("/v1/mcp/server", &markers.body)
        .await
        .expect_status(201);
    let password = markers.all[0].value();
    // As it was sent, which only the upstream's record knows.
    gateway.client().get("/v1/mcp/server/health").await;
    let sent = upstream.requests()[0].header("authorization").unwrap().to_owned();
    for words in [sent.as_str(), &sent[6..], password, &format!("user:{password}")] {
        upstream.on("*", Act::status(401, &format!("wrong: {words}")));
        let seen = ask_everything(&gateway).await;
        assert!(seen.contains("auth_required"), "{seen}");
        assert_clean(&markers.all, "an answer", seen);
        assert_clean(&markers.all, "doctor", doctor(&gateway).await);
    }
    assert_clean(&markers.all, "the log", gateway.log());
    assert_clean(&markers.all, "the data directory", files(&gateway));
}

/// Mistakes of every kind around the secrets.
fn mistakes(body: &Value) -> Vec<(&'static str, Value)> {
    vec![
        ("url", json!(7)),
        ("url", json!("nowhere")),
        ("transport", json!("stdio")),
        ("auth_type", json!("bearer")),
        (
            "credentials",
            json!({"auth_value": ["x"], "client_secrets": body["credentials"]["client_secret"]}),
        ),
        (
            "credentials",
            json!({"auth_value": format!("a\n{}", body["credentials"]["auth_value"].as_str().unwrap())}),
        ),
        (
            "static_headers",
            json!({"bad name": body["static_headers"]["x-static"]}),
        ),
        (
            "static_headers",
            json!({"x": format!("{}\r\n", body["static_headers"]["x-static"].as_str().unwrap())}),
        ),
        ("static_headers", json!([body["static_headers"]["x-static"]])),
        (
            "extra_headers",
            json!([format!(
                "bad name: {}",
                body["extra_headers"][0].as_str().unwrap()
            )]),
        ),
        (
            "env_vars",
            json!([{"name": "1", "value": body["env_vars"][0]["value"]}]),
        ),
        ("env_vars", json!({"VARIABLE": body["env_vars"][0]["value"]})),
        ("secret", body["credentials"]["auth_value"].clone()),
        ("authentication_token", body["credentials"]["auth_value"].clone()),
        ("server_name", json!("no/name")),
        ("tool_timeouts", json!({"t": 1})),
    ]
}

#[tokio::test]
async fn s13_changes_mistakes_and_every_other_failure_keep_quiet() {
    let upstream = ScriptedUpstream::start().await;
    let Some(database) = ScratchDatabase::create() else {
        return;
    };
    let database_password = Canary::new("database");
    let url = database
        .url()
        .replacen('@', &format!(":{}@", database_password.value()), 1);
    let (key, salt) = (Canary::key("master"), Canary::key("salt"));
    let mut gateway = TestGateway::builder()
        .config(
            "general_settings:\n  mcp_list_timeout_ms: 300\n  mcp_call_timeout_ms: 300\nmcp_servers: {}\n",
        )
        .master_key(Some(key.value()))
        .env("LITELLM_SALT_KEY", salt.value())
        .env("TRUNKLINE_LOG", "debug")
        .database_url(&url)
        .start()
        .await;
    let Markers { mut all, body } = declare(&upstream, "token");
    all.extend([database_password, key, salt]);
    let client = gateway.client();
    register(&client, &body).await;

    for (field, value) in mistakes(&body) {
        let mut wrong = body.clone();
        wrong[field] = value;
        for reply in [
            client.put("/v1/mcp/server", &wrong).await,
            client.post("/v1/mcp/server", &wrong).await,
            client.post("/v1/mcp/server/register", &wrong).await,
            client.post("/mcp-rest/test/connection", &wrong).await,
        ] {
            assert!(
                reply.status.is_client_error() || reply.status.is_success(),
                "{}",
                reply.text()
            );
            assert_clean(
                &all,
                &format!("the answer to a wrong {field}"),
                reply.everything(),
            );
        }
    }
    let twice = client.post("/v1/mcp/server", &body).await;
    assert_clean(
        &all,
        "the answer to a second POST",
        twice.expect_status(400).everything(),
    );
    for act in failures() {
        upstream.behave();
        upstream.expire_sessions();
        upstream.on("*", act);
        assert_clean(&all, "an answer", ask_everything(&gateway).await);
    }
    upstream.behave();
    for socket in [
        Socket::Refuse,
        Socket::Close,
        Socket::Raw("HTTP/1.1 999 ?\r\n\r\n".into()),
    ] {
        upstream.reopen(socket).await;
        assert_clean(&all, "an answer", ask_everything(&gateway).await);
    }
    upstream.reopen(Socket::Serve).await;

    // What is stored is sealed, and stays closed under another key.
    let dump = database.sql("SELECT * FROM mcp_server") + &database.sql("SELECT * FROM call_record");
    assert!(dump.contains("files"));
    assert_clean(&all, "the database", dump);
    gateway.set_env("LITELLM_SALT_KEY", "sk-another-salt-0123456789abcdef");
    gateway.restart().await;
    let seen = ask_everything(&gateway).await;
    assert!(seen.contains("misconfigured"), "{seen}");
    assert_clean(&all, "an answer under another key", seen);
    assert_clean(&all, "the log", gateway.log());
    // With a database that is not there.
    gateway.set_env("DATABASE_URL", &format!("{url}_gone"));
    let failure = gateway.try_restart().await.unwrap_err();
    assert_clean(&all, "the refusal to start", failure.to_string());
}

#[tokio::test]
async fn s13_the_file_is_checked_without_its_secrets() {
    let upstream = ScriptedUpstream::start().await;
    let secret = Canary::new("file");
    let value = secret.value();
    let good = config(&[("files", &upstream)])
        + &format!(
            "    auth_type: bearer_token\n    authentication_token: {value}\n    static_headers:\n      x-static: {value}\n"
        );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    for text in [
        good.clone(),
        good.replace("authentication_token", "authentication_tokn"),
        good.replace("bearer_token", "bearer_tokn"),
        good.replace("x-static", "x static"),
        good.replace(&format!("x-static: {value}"), &format!("x-static: [{value}]")),
        good.replace(
            &format!("authentication_token: {value}"),
            &format!("authentication_token: {{a: {value}}}"),
        ),
        good.replace("static_headers", "extra_headers"),
        good.clone() + &format!("    {value}\n"),
        good.clone() + &format!("  {value}: {{url: 7}}\n"),
        good.clone() + &format!("general_settings:\n  master_key: [{value}]\n"),
        good.clone() + &format!("general_settings:\n  master_key: {value}\n  master_key: {value}\n"),
        format!("environment_variables:\n  KEY: {value}\n  KEY: {value}\n{good}"),
        good.clone() + &format!("&{value} *{value} \"{value}"),
    ] {
        std::fs::write(&file, &text).unwrap();
        let output = TestGateway::builder()
            .run(&["config", "check", &file.display().to_string()])
            .await;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // A name is shown: who puts a secret where a name belongs is told so by it.
        if !text.contains(&format!("{value}: {{url"))
            && !text.contains(&format!("&{value}"))
            && !text.ends_with(&format!("    {value}\n"))
        {
            secret.assert_absent(&[("config check", &said)]);
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn s13_an_upstream_that_hangs_in_the_middle_of_its_words() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(
        "general_settings:\n  mcp_list_timeout_ms: 500\n  mcp_call_timeout_ms: 500\nmcp_servers: {}\n",
    )
    .await;
    let markers = declare(&upstream, "authorization");
    register(&gateway.client(), &markers.body).await;
    for act in [
        Act::Hang,
        Act::SlowLoris(Duration::from_millis(20)),
        Act::KeepAlivesOnly(Duration::from_millis(20)),
        Act::EndlessNotifications(Duration::ZERO),
    ] {
        for method in ["initialize", "tools/list", "tools/call"] {
            upstream.behave();
            upstream.expire_sessions();
            // The hand-shake has ten seconds of its own: once is enough.
            if method == "initialize" && !matches!(act, Act::Hang) {
                continue;
            }
            upstream.on(method, act.clone());
            let client = gateway.client();
            let call = json!({"server_id": "files", "name": "echo", "arguments": {}});
            let reply = client.post("/mcp-rest/tools/call", &call).await;
            assert!(
                !reply.status.is_success() || method != "tools/call",
                "{}",
                reply.text()
            );
            assert_clean(&markers.all, "an answer", reply.everything());
        }
    }
    assert_clean(&markers.all, "the log", gateway.log());
}
