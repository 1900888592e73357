//! A tool that asks, and a reverse proxy in front of several servers.

use std::time::Duration;

use serde_json::json;
use trunkline_testkit::{Balancer, McpClient, ScriptedUpstream, Sessions, ToolAnswer};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_tool_asks_until_it_has_all_answers() {
    let questions =
        ["roots/list", "sampling/createMessage"].map(|method| json!({"method": method, "params": {}}));
    let upstream = ScriptedUpstream::builder()
        .tool_fn(&json!({"name": "ask"}), move |_| {
            ToolAnswer::Ask(questions.to_vec())
        })
        .start()
        .await;
    let mut client = McpClient::new(&upstream.url());
    client.initialize().await;
    let mut stream = client.call_stream("ask", &json!({}), None).await;
    for method in ["roots/list", "sampling/createMessage"] {
        let asked = stream.expect_next(SOON).await;
        assert_eq!(asked["method"], method, "{asked}");
        let early = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
        assert!(early.is_err(), "{early:?}");
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"to": method}});
        assert_eq!(client.send_message(answer.to_string()).await.unwrap().status, 202);
    }
    let done = stream.expect_next(SOON).await;
    assert_eq!(
        done["result"]["content"][0]["text"], r#"{"to":"sampling/createMessage"}"#,
        "{done}"
    );
    assert_eq!(upstream.count("tools/call"), 1);
}

#[tokio::test]
async fn each_request_goes_to_the_next_server_that_is_there() {
    let started = || ScriptedUpstream::builder().sessions(Sessions::Off).start();
    let (one, two, dead) = (
        started().await,
        started().await,
        ScriptedUpstream::refusing().await,
    );
    let balancer = Balancer::start([one.port(), dead.port(), two.port()]).await;
    let mut client = McpClient::new(&format!("{}/mcp", balancer.url()));
    client.initialize().await;
    for _ in 0..6 {
        client.call("echo", &json!({"message": "m"}), None).await.result();
    }
    // The one after the dead one has its turns too.
    assert_eq!((one.requests().len(), two.requests().len()), (3, 5));
    drop((one, two));
    assert_eq!(balancer.client().get("/mcp").await.status, 502);
}
