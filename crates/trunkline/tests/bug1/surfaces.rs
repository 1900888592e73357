//! Every way to list and to call, against the server's own log.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, FastMcpBackend, Reply, TestGateway};

use crate::{
    JSON_STATEFUL, JSON_STATELESS, Mode, SSE_STATEFUL, SSE_STATELESS, TOOLS, as_reported, assert_calm,
    backend, names, register,
};

// === The surfaces ===

/// `POST /mcp-rest/test/{what}` for a registered server.
pub(crate) async fn test_route(gateway: &TestGateway, what: &str, server_id: &str) -> Reply {
    let body = json!({"server_id": server_id});
    gateway
        .client()
        .post(&format!("/mcp-rest/test/{what}"), &body)
        .await
}

/// `POST /mcp-rest/tools/call` of `echo`.
pub(crate) async fn rest_call(gateway: &TestGateway, server_id: &str) -> Reply {
    let body = json!({"server_id": server_id, "name": "echo", "arguments": {"message": "héllo"}});
    gateway.client().post("/mcp-rest/tools/call", &body).await
}

/// `trunkline doctor --json`: exit code, the entry of the only server, and all that it printed.
pub(crate) async fn doctor(gateway: &TestGateway) -> (Option<i32>, Value, String) {
    let data_dir = gateway.data_dir();
    let args = ["doctor", "--json", "--data-dir", data_dir.to_str().unwrap()];
    let output = gateway.run(&args).await;
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let list: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {printed}"));
    (output.status.code(), list[0].clone(), printed)
}

// === What the server saw ===

/// Watches the requests of one surface.
struct Watch<'a> {
    backend: &'a FastMcpBackend,
    mode: Mode,
    initialized: usize,
}

impl Watch<'_> {
    /// After each surface: it has begun one session or none, and nothing went out without the key or the session.
    #[track_caller]
    fn check(&mut self, surface: &str) {
        let now = self.backend.count("initialize");
        let begun = now - self.initialized;
        assert!(
            begun <= 1,
            "{surface}: {begun} initialize: {:#?}",
            self.backend.requests()
        );
        self.initialized = now;
        for request in self.backend.requests() {
            assert_eq!(request.auth, "ok", "{surface}: {request:?}");
            assert_ne!(request.status, Some(401), "{surface}: {request:?}");
            let first = request.rpc.as_deref() == Some("initialize");
            assert_eq!(
                request.session,
                !first && !self.mode.stateless,
                "{surface}: {request:?}"
            );
        }
    }
}

async fn every_surface(mode: Mode, server: impl FnOnce(&str, &str) -> Value, warned: bool) {
    let key = Canary::new("backend-key");
    let Some(backend) = backend(mode, &key).await else {
        return;
    };
    let mut gateway = TestGateway::builder().start().await;
    let client = gateway.client();
    let mut seen = Vec::new();
    let mut watch = Watch {
        backend: &backend,
        mode,
        initialized: 0,
    };

    let declared = server(&backend.url(), key.value());
    let row = register(&gateway, &declared).await;
    assert_warned(&row["warnings"], warned);
    let id = row["server_id"].as_str().unwrap().to_owned();
    seen.push(("the answer to POST", row.to_string()));

    // The first is a cold one: it is right to wait for the server.
    for path in ["/v1/mcp/tools", "/mcp-rest/tools/list"] {
        let reply = client.get(path).await.expect_status(200);
        assert_eq!(names(&reply.json()["tools"]), TOOLS, "{path}");
        assert_eq!(reply.json()["error"], Value::Null, "{path}");
        watch.check(path);
        seen.push((path, reply.everything()));
    }

    let mut mcp = gateway.mcp();
    mcp.initialize().await;
    let tools = mcp.list_tools().await;
    assert_eq!(names(&Value::Array(tools)), TOOLS, "/mcp");
    let called = mcp
        .call("mirror-echo", &json!({"message": "héllo"}), None)
        .await
        .result();
    assert_eq!(called["content"][0]["text"], "héllo");
    let failed = mcp.call("mirror-fail", &json!({}), None).await.result();
    assert_eq!(failed["isError"], true, "{failed}");
    watch.check("/mcp");

    let reply = rest_call(&gateway, &id).await.expect_status(200);
    assert_eq!(reply.json()["content"][0]["text"], "héllo");
    watch.check("REST call");

    // Registered, and as the report's own words, which need not be registered.
    for (what, body) in [
        ("tools/list", json!({"server_id": id})),
        ("tools/list", declared.clone()),
        ("connection", json!({"server_id": id})),
    ] {
        let path = format!("/mcp-rest/test/{what}");
        let reply = client.post(&path, &body).await.expect_status(200);
        assert!(
            matches!(reply.json()["error"], Value::Null),
            "{path}: {}",
            reply.text()
        );
        if what == "tools/list" {
            assert_eq!(names(&reply.json()["tools"]), TOOLS, "{path}");
        }
        watch.check(&path);
        seen.push(("a test route", reply.everything()));
    }

    let health = client
        .get("/v1/mcp/server/health")
        .await
        .expect_status(200)
        .json();
    assert_eq!(health[0]["status"], "healthy", "{health}");
    assert_eq!(health[0]["tool_count"], 12);
    watch.check("health");

    let reply = client
        .get(&format!("/v1/mcp/server/{id}"))
        .await
        .expect_status(200);
    assert_eq!(reply.json()["outcome"]["status"], "ok");
    assert_eq!(reply.json()["tool_count"], 12);
    assert_warned(&reply.json()["warnings"], false);
    seen.push(("the row", reply.everything()));
    seen.push((
        "the rows",
        client.get("/v1/mcp/server").await.expect_status(200).everything(),
    ));

    let (code, report, printed) = doctor(&gateway).await;
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(report["outcome"]["tool_count"], 12, "{printed}");
    watch.check("doctor");
    seen.push(("what doctor printed", printed));

    let exit = gateway.stop(trunkline_testkit::Signal::Term).await;
    assert_eq!(exit.code, Some(0));
    assert_calm(&gateway.log());
    seen.push(("the log", gateway.log()));
    seen.push(("the output", gateway.stdout()));
    key.assert_absent(&seen);
    assert_not_in_files(&gateway, &key);
}

/// The warning says where the key belongs. It is of the declaration, and the row holds what was understood of it.
#[track_caller]
fn assert_warned(warnings: &Value, warned: bool) {
    let text = warnings.to_string();
    if warned {
        assert_eq!(warnings.as_array().map(Vec::len), Some(1), "{text}");
        for part in [
            "extra_headers",
            "Authorization",
            "credentials.auth_value",
            "static_headers",
        ] {
            assert!(text.contains(part), "`{part}` is not in the warning: {text}");
        }
    } else {
        assert_eq!(text, "[]");
    }
}

/// Database, journal and whatever else is there.
fn assert_not_in_files(gateway: &TestGateway, key: &Canary) {
    let files: Vec<_> = std::fs::read_dir(gateway.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!files.is_empty());
    for path in files {
        key.assert_absent(&[(path.to_str().unwrap(), std::fs::read(&path).unwrap())]);
    }
}

#[tokio::test]
async fn bug1_as_reported_sse_with_sessions() {
    every_surface(SSE_STATEFUL, as_reported, true).await;
}

#[tokio::test]
async fn bug1_as_reported_sse_without_sessions() {
    every_surface(SSE_STATELESS, as_reported, true).await;
}

#[tokio::test]
async fn bug1_as_reported_json_with_sessions() {
    every_surface(JSON_STATEFUL, as_reported, true).await;
}

#[tokio::test]
async fn bug1_as_reported_json_without_sessions() {
    every_surface(JSON_STATELESS, as_reported, true).await;
}

#[tokio::test]
async fn bug1_with_the_key_in_its_proper_field() {
    let proper = |url: &str, key: &str| {
        json!({
            "server_name": "mirror",
            "url": url,
            "transport": "http",
            "auth_type": "bearer_token",
            "credentials": {"auth_value": key},
        })
    };
    every_surface(SSE_STATEFUL, proper, false).await;
}

#[tokio::test]
async fn bug1_from_the_configuration_file() {
    let key = Canary::new("backend-key");
    let Some(backend) = backend(SSE_STATEFUL, &key).await else {
        return;
    };
    let config = format!(
        "mcp_servers:\n  mirror:\n    url: {url}\n    transport: http\n    auth_type: bearer_token\n    \
         extra_headers: [\"Authorization: Bearer {key}\"]\n  proper:\n    url: {url}\n    transport: http\n    \
         auth_type: bearer_token\n    authentication_token: {key}\n",
        url = backend.url(),
        key = key.value()
    );
    let mut gateway = TestGateway::start(&config).await;
    let mut mcp = gateway.mcp();
    mcp.initialize().await;
    let names = mcp.tool_names().await;
    for server in ["mirror", "proper"] {
        for tool in TOOLS {
            assert!(names.contains(&format!("{server}-{tool}")), "{names:?}");
        }
        let called = mcp
            .call(&format!("{server}-echo"), &json!({"message": "m"}), None)
            .await;
        assert_eq!(called.result()["content"][0]["text"], "m");
    }
    let rows = gateway.client().get("/v1/mcp/server").await.expect_status(200);

    let path = gateway.config_path();
    let checked = gateway.run(&["config", "check", path.to_str().unwrap()]).await;
    assert_eq!(checked.status.code(), Some(0));
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    let about_it: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains("extra_headers"))
        .collect();
    assert_eq!(about_it.len(), 1, "{printed}");
    // Line 6 of the file, and where it belongs.
    for part in ["warning:", ":6:", "authentication_token", "static_headers"] {
        assert!(about_it[0].contains(part), "`{part}`: {}", about_it[0]);
    }
    assert!(
        gateway
            .log()
            .contains(about_it[0].split_once(":6:").unwrap().1.trim()),
        "serve warns too: {}",
        gateway.log()
    );

    assert_eq!(gateway.stop(trunkline_testkit::Signal::Term).await.code, Some(0));
    assert_calm(&gateway.log());
    assert!(backend.requests().iter().all(|request| request.auth == "ok"));
    key.assert_absent(&[
        ("config check", printed),
        ("the rows", rows.everything()),
        ("the log", gateway.log()),
        ("the output", gateway.stdout()),
    ]);
    assert_not_in_files(&gateway, &key);
}
