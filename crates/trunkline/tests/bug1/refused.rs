//! A wrong key, and none: every surface says which server, at which step, with which status, and what to set.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{Canary, TestGateway, eventually};

use crate::surfaces::{doctor, rest_call, test_route};
use crate::{SSE_STATEFUL, TOOLS, as_reported, assert_calm, backend, names, register};

/// Two seconds, and as much again for a debug build on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(4);

/// # Panics
/// When the outcome does not say what is wrong and what to do.
#[track_caller]
fn assert_reason(surface: &str, outcome: &Value, to_set: &str) {
    let status = outcome["status"].as_str().unwrap_or_default();
    assert!(
        ["auth_required", "misconfigured"].contains(&status),
        "{surface}: {outcome}"
    );
    assert_eq!(outcome["step"], "initialize", "{surface}: {outcome}");
    assert_eq!(outcome["http_status"], 401, "{surface}: {outcome}");
    let hint = outcome["hint"].as_str().unwrap_or_default();
    assert!(
        hint.contains(to_set),
        "{surface}: the hint does not say {to_set:?}: {outcome}"
    );
}

/// The same as a line for people.
#[track_caller]
fn assert_line(surface: &str, line: &str, to_set: &str) {
    let named = line.contains("auth_required") || line.contains("misconfigured");
    assert!(
        named && line.contains("initialize") && line.contains("401") && line.contains(to_set),
        "{surface}: {line}"
    );
}

/// Runs one surface, which must not keep anybody waiting.
async fn at_once<T>(surface: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{surface} took {took:?}");
    done
}

/// `to_set`: what the hint must name.
async fn every_surface_says_why(server: Value, to_set: &str, url: &str) {
    let mut server = server;
    server["url"] = url.into();
    let mut gateway = TestGateway::builder().start().await;
    let row = register(&gateway, &server).await;
    let id = row["server_id"].as_str().unwrap().to_owned();

    listed(&gateway, to_set, &id).await;
    called(&gateway, to_set, &id).await;
    asked(&gateway, to_set, &id).await;

    let (code, report, printed) = at_once("doctor", doctor(&gateway)).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_reason("doctor", &report["outcome"], to_set);

    let log = gateway.log();
    let line = log
        .lines()
        .find(|line| line.contains("WARN") && line.contains("mirror"));
    assert_line(
        "the log",
        line.unwrap_or_else(|| panic!("no warning: {log}")),
        to_set,
    );
    assert_eq!(gateway.stop(trunkline_testkit::Signal::Term).await.code, Some(0));
    assert_calm(&gateway.log());
}

async fn listed(gateway: &TestGateway, to_set: &str, id: &str) {
    let client = gateway.client();
    for path in ["/v1/mcp/tools", "/mcp-rest/tools/list"] {
        let reply = at_once(path, client.get(path)).await.expect_status(200).json();
        assert_eq!(reply["tools"], json!([]), "{path}");
        assert_eq!(reply["error"], "partial_failure", "{path}");
        assert_line(path, reply["message"].as_str().unwrap(), to_set);
        assert_reason(path, &reply["server_outcomes"]["mirror"], to_set);
    }
    let one = format!("/mcp-rest/tools/list?server_id={id}");
    let reply = at_once(&one, client.get(&one)).await.expect_status(401).json();
    assert_reason(&one, &reply["detail"]["outcome"], to_set);

    for path in ["/mcp", "/mirror/mcp"] {
        let mut mcp = gateway.mcp_at(path);
        let error = at_once(path, async {
            mcp.initialize().await;
            mcp.request("tools/list", &Value::Null).await.error()
        })
        .await;
        assert_line(path, &error.message, to_set);
        assert_reason(path, &error.data["litellm.ai/server_outcomes"]["mirror"], to_set);
    }
}

async fn called(gateway: &TestGateway, to_set: &str, id: &str) {
    let mut mcp = gateway.mcp();
    mcp.initialize().await;
    for tool in ["mirror-echo", "mirror-no_such_tool"] {
        let error = at_once("call", mcp.call(tool, &json!({"message": "m"}), None))
            .await
            .error();
        assert_line("call", &error.message, to_set);
        assert_reason("call", &error.data["outcome"], to_set);
    }
    let reply = at_once("REST call", rest_call(gateway, id))
        .await
        .expect_status(401)
        .json();
    assert_line(
        "REST call",
        reply["detail"]["message"].as_str().unwrap_or_default(),
        to_set,
    );
}

async fn asked(gateway: &TestGateway, to_set: &str, id: &str) {
    for what in ["tools/list", "connection"] {
        let reply = at_once(what, test_route(gateway, what, id))
            .await
            .expect_status(200)
            .json();
        assert_reason(what, &reply["outcome"], to_set);
        assert_line(what, reply["message"].as_str().unwrap_or_default(), to_set);
        let broken = reply["trace"].as_array().unwrap().last().unwrap();
        assert_eq!(broken["step"], "initialize", "{what}: {reply}");
        assert_eq!(
            (&broken["ok"], &broken["http_status"]),
            (&json!(false), &json!(401)),
            "{what}: {reply}"
        );
    }
    let client = gateway.client();
    let path = "/v1/mcp/server/health";
    let health = at_once(path, client.get(path)).await.expect_status(200).json();
    assert_eq!(health[0]["status"], "unhealthy", "{health}");
    assert_reason(path, &health[0]["outcome"], to_set);

    let row = client
        .get(&format!("/v1/mcp/server/{id}"))
        .await
        .expect_status(200)
        .json();
    assert_eq!(row["status"], "unhealthy", "{row}");
    assert_reason("GET server", &row["outcome"], to_set);
    assert_line(
        "GET server",
        row["health_check_error"].as_str().unwrap_or_default(),
        to_set,
    );
}

#[tokio::test]
async fn bug1_a_wrong_key_is_said_everywhere_within_moments() {
    let key = Canary::new("backend-key");
    let Some(backend) = backend(SSE_STATEFUL, &key).await else {
        return;
    };
    let server = as_reported("", "wrong");
    every_surface_says_why(server, "static_headers", &backend.url()).await;
    assert!(
        backend
            .requests()
            .iter()
            .all(|request| request.rpc.as_deref() == Some("initialize")
                || request.rpc.as_deref() == Some("server/discover")),
        "after a 401 nothing else is tried: {:#?}",
        backend.requests()
    );
}

#[tokio::test]
async fn bug1_no_key_is_said_everywhere_within_moments() {
    let key = Canary::new("backend-key");
    let Some(backend) = backend(SSE_STATEFUL, &key).await else {
        return;
    };
    let none = json!({"server_name": "mirror", "transport": "http"});
    every_surface_says_why(none, "auth_type", &backend.url()).await;
    // Half of it: the type is there, the value is not.
    let half = json!({"server_name": "mirror", "transport": "http", "auth_type": "bearer_token"});
    every_surface_says_why(half, "credentials.auth_value", &backend.url()).await;
}

/// The way out of it: the right key, by one change, without a restart.
#[tokio::test]
async fn bug1_the_right_key_by_put_is_enough() {
    let key = Canary::new("backend-key");
    let Some(backend) = backend(SSE_STATEFUL, &key).await else {
        return;
    };
    let gateway = TestGateway::builder().start().await;
    let row = register(&gateway, &as_reported(&backend.url(), "wrong")).await;
    let client = gateway.client();
    let reply = client.get("/v1/mcp/tools").await.expect_status(200).json();
    assert_eq!(reply["tools"], json!([]));

    let change = json!({
        "server_id": row["server_id"],
        "static_headers": null,
        "credentials": {"auth_value": key.value()},
    });
    client.put("/v1/mcp/server", &change).await.expect_status(202);
    eventually("all tools are there", Duration::from_secs(5), async || {
        let reply = client.get("/v1/mcp/tools").await.expect_status(200).json();
        names(&reply["tools"]) == TOOLS
    })
    .await;
    let mut mcp = gateway.mcp();
    mcp.initialize().await;
    let called = mcp.call("mirror-echo", &json!({"message": "m"}), None).await;
    assert_eq!(called.result()["content"][0]["text"], "m");
}
