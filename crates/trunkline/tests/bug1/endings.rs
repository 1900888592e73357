//! The server restarts under a client, the gateway is told to stop, the endpoint redirects.

use std::time::Duration;

use serde_json::json;
use trunkline_testkit::{Canary, FastMcpBackend, FastMcpOptions, McpClient, Signal, TestGateway, eventually};

use crate::{Mode, SSE_STATEFUL, SSE_STATELESS, as_reported, assert_calm, backend, register};

async fn rig(mode: Mode) -> Option<(FastMcpBackend, TestGateway, McpClient)> {
    let key = Canary::new("backend-key");
    let backend = backend(mode, &key).await?;
    let gateway = TestGateway::builder().start().await;
    register(&gateway, &as_reported(&backend.url(), key.value())).await;
    let mut mcp = gateway.mcp();
    mcp.initialize().await;
    assert_eq!(mcp.list_tools().await.len(), 12);
    Some((backend, gateway, mcp))
}

async fn echo(mcp: &mut McpClient, message: &str) {
    let called = mcp.call("mirror-echo", &json!({"message": message}), None).await;
    assert_eq!(called.result()["content"][0]["text"], message);
}

/// The new process knows none of the old one's sessions, and says so with 400 rather than 404.
async fn restarted(mode: Mode) {
    let Some((mut backend, gateway, mut mcp)) = rig(mode).await else {
        return;
    };
    echo(&mut mcp, "before").await;
    let session = mcp.session().map(str::to_owned);
    backend.restart().await;
    backend.clear();
    echo(&mut mcp, "after").await;
    echo(&mut mcp, "again").await;
    assert_eq!(
        mcp.session().map(str::to_owned),
        session,
        "the client noticed nothing"
    );
    assert_eq!(
        backend.count("initialize"),
        usize::from(!mode.stateless),
        "{mode:?}: {:#?}",
        backend.requests()
    );
    let tools = gateway.client().get("/v1/mcp/tools").await.expect_status(200);
    assert_eq!(tools.json()["tools"].as_array().unwrap().len(), 12);
}

#[tokio::test]
async fn bug1_the_next_call_after_a_restart_of_the_server_works() {
    restarted(SSE_STATEFUL).await;
}

#[tokio::test]
async fn bug1_the_next_call_after_a_restart_of_a_server_without_sessions_works() {
    restarted(SSE_STATELESS).await;
}

#[tokio::test]
async fn bug1_a_signal_right_after_a_call_is_a_clean_end() {
    for signal in [Signal::Int, Signal::Term] {
        let Some((_backend, mut gateway, mut mcp)) = rig(SSE_STATEFUL).await else {
            return;
        };
        echo(&mut mcp, "m").await;
        let exit = gateway.stop(signal).await;
        assert_eq!(exit.code, Some(0), "{signal:?}: {}", gateway.log());
        assert!(exit.took < Duration::from_secs(10), "{signal:?}: {exit:?}");
        assert_calm(&gateway.log());
        assert!(!gateway.log().contains("cut off"), "{}", gateway.log());
    }
}

#[tokio::test]
async fn bug1_a_signal_in_the_middle_of_a_call_lets_it_finish() {
    for signal in [Signal::Int, Signal::Term] {
        let Some((backend, mut gateway, mut mcp)) = rig(SSE_STATEFUL).await else {
            return;
        };
        let arguments = json!({"ms": 1500, "steps": 3});
        let mut stream = mcp.call_stream("mirror-slow", &arguments, Some("p")).await;
        // It is under way upstream when its first progress is here.
        let first = stream.expect_next(Duration::from_secs(10)).await;
        assert_eq!(first["method"], "notifications/progress", "{first}");
        gateway.signal(signal);
        let (events, broke) = stream.rest().await;
        assert!(broke.is_none(), "{signal:?}: {broke:?}\n{}", gateway.log());
        let answer = &events.last().unwrap().message;
        assert_eq!(answer["result"]["content"][0]["text"], "done", "{events:?}");

        let exit = gateway.wait().await;
        assert_eq!(exit.code, Some(0), "{signal:?}: {}", gateway.log());
        assert_calm(&gateway.log());
        assert!(!gateway.log().contains("cut off"), "{}", gateway.log());
        // The client goes on with its session when the gateway is back, so it is not ended upstream.
        gateway.restart().await;
        echo(&mut mcp, "again").await;
        let requests = backend.requests();
        assert!(
            !requests.iter().any(|request| request.method == "DELETE"),
            "{requests:#?}"
        );
    }
}

/// `POST /mcp` is answered with 307 to `/mcp/`, as every `Mount` of Starlette does.
#[tokio::test]
async fn bug1_a_mounted_server_redirects_once_and_not_at_every_call() {
    let key = Canary::new("backend-key");
    let options = FastMcpOptions {
        key: key.value().to_owned(),
        mounted: true,
        ..FastMcpOptions::default()
    };
    let Some(backend) = FastMcpBackend::start(options).await else {
        return;
    };
    let gateway = TestGateway::builder().start().await;
    register(&gateway, &as_reported(&backend.url(), key.value())).await;
    let mut mcp = gateway.mcp();
    mcp.initialize().await;
    assert_eq!(mcp.list_tools().await.len(), 12);
    assert!(
        backend
            .requests()
            .iter()
            .any(|request| request.status == Some(307)),
        "the server redirects: {:#?}",
        backend.requests()
    );
    for message in ["a", "b", "c"] {
        echo(&mut mcp, message).await;
    }
    let calls = || -> Vec<_> {
        let mut seen = backend.requests();
        seen.retain(|request| request.rpc.as_deref() == Some("tools/call"));
        seen
    };
    // The server logs a request when its answer is complete, which may be after it has come.
    eventually("three calls are logged", Duration::from_secs(10), async || {
        calls().iter().filter(|call| call.status == Some(200)).count() == 3
    })
    .await;
    // A redirect would have been logged before the call that followed it.
    assert_eq!(calls().len(), 3, "{:#?}", backend.requests());
}
