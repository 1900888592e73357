//! Pins across restarts, replicas and eras.

use std::time::Instant;

use serde_json::{Value, json};
use trunkline_testkit::{
    Act, Replicas, ScriptedUpstream, Sessions, TestGateway, ToolAnswer, ToolCall, eventually,
};

use crate::support::{
    ID, MODERN, PATIENCE, drift, gateway_with, listed, modern, pin, refresh, register, row, runs, send, told,
    tool, tools, upstream,
};

#[tokio::test]
async fn s29_a_stored_catalogue_is_held_back_after_a_restart() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let mut gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    pin(&http, json!({})).await;
    let mut changed = send();
    changed["description"] = "second".into();
    drift(&http, &upstream, &[changed, tool("read"), tool("extra")]).await;
    assert_eq!(tools(&http).await, ["mail-read"]);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    // The server does not answer: what is known comes from the database.
    upstream.on("tools/list", Act::Hang);
    gateway.restart().await;
    let http = gateway.client();
    let mut client = gateway.mcp();
    client.initialize().await;
    assert_eq!(client.tool_names().await, ["mail-read"]);
    for name in ["mail-send", "send", "mail-extra"] {
        let reply = client.call(name, &json!({"to": "x"}), None).await;
        assert!(reply.outcome().is_err(), "{name}");
    }
    assert_eq!(told(&http, "send").await["state"], "changed");
    assert_eq!(told(&http, "extra").await["state"], "new");
}

#[tokio::test]
async fn s29_what_one_replica_accepts_counts_on_the_other_within_a_second() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let builder = TestGateway::builder().config("general_settings: {}\n");
    let Some(replicas) = Replicas::start(builder, 2).await else {
        return;
    };
    let (here, there) = (replicas.gateways[0].client(), replicas.gateways[1].client());
    register(&here, &upstream).await;
    listed(&here).await;
    eventually("the other replica has it", PATIENCE, async || {
        there.get(&format!("/v1/mcp/server/{ID}")).await.status == 200
            && row(&there).await["outcome"]["status"] == "ok"
    })
    .await;
    let mut client = replicas.gateways[1].mcp();
    client.initialize().await;
    let mut stream = client.get_stream().await;
    assert_eq!(client.tool_names().await.len(), 2);
    pin(&here, json!({"tools": ["send"]})).await;
    let began = Instant::now();
    let told = stream.expect_next(PATIENCE).await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert!(began.elapsed().as_secs_f64() < 1.0, "{:?}", began.elapsed());
    assert_eq!(tools(&there).await, ["mail-send"]);
    assert!(!runs(&there, &upstream, "read").await);

    let mut changed = send();
    changed["description"] = "second".into();
    upstream.set_tools([changed, tool("read")]);
    refresh(&here).await;
    refresh(&there).await;
    assert_eq!(tools(&there).await, [""; 0]);
    pin(&here, json!({"tools": ["send"]})).await;
    let began = Instant::now();
    eventually("the other replica serves it", PATIENCE, async || {
        tools(&there).await == ["mail-send"]
    })
    .await;
    assert!(began.elapsed().as_secs_f64() < 1.0, "{:?}", began.elapsed());
    assert!(runs(&there, &upstream, "send").await);
    // A row that this version cannot read accepts nothing.
    replicas.database.sql(&format!(
        "UPDATE mcp_server SET pinned_tools = 'pins:[' WHERE server_id = '{ID}'"
    ));
    let body = json!({"alias": "other", "url": upstream.url(), "transport": "http"});
    here.post("/v1/mcp/server", &body).await.expect_status(201);
    eventually("the pins are not read", PATIENCE, async || {
        let mut client = replicas.gateways[1].mcp();
        client.initialize().await;
        let names = client.tool_names().await;
        names.iter().any(|name| name.starts_with("other-"))
            && !names.iter().any(|name| name.starts_with("mail-"))
    })
    .await;
    let calls = upstream.count("tools/call");
    for name in ["mail-send", "mail-read"] {
        let mut client = replicas.gateways[1].mcp();
        client.initialize().await;
        let reply = client.call(name, &json!({"to": "x"}), None).await;
        assert!(reply.outcome().is_err(), "{name}: {}", reply.everything());
    }
    assert_eq!(upstream.count("tools/call"), calls);
}

/// The list of a server of both eras, that shows one definition to each.
fn lists(old: &Value, new: &Value) -> Act {
    let list = |tool: &Value| {
        json!({"tools": [tool], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}).to_string()
    };
    Act::ByHeader {
        name: "mcp-protocol-version".to_owned(),
        results: vec![
            ("2025-11-25".to_owned(), list(old)),
            (MODERN.to_owned(), list(new)),
        ],
    }
}

#[tokio::test]
async fn s29_both_eras_of_a_server_are_accepted_and_held_back() {
    let discovered = json!({
        "resultType": "complete",
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
    });
    let mut other = send();
    other["description"] = "Sends a mail, for newer clients.".into();
    let upstream = ScriptedUpstream::builder()
        .sessions(Sessions::Off)
        .revisions(&["2025-11-25", MODERN])
        .tool_fn(&send(), |_: &ToolCall| ToolAnswer::text("ran"))
        .on("server/discover", Act::Result(discovered.to_string()))
        .on("tools/list", lists(&send(), &other))
        .start()
        .await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    let shown = modern(&http, "tools/list", &json!({})).await;
    assert_eq!(
        shown["result"]["tools"][0]["description"], other["description"],
        "{shown}"
    );
    let pins = pin(&http, json!({})).await;
    assert_eq!(pins["send"]["digests"].as_array().unwrap().len(), 2, "{pins}");
    assert_eq!(tools(&http).await, ["mail-send"]);
    assert!(runs(&http, &upstream, "send").await);
    // Only one of them changes: it is held back there, and served where it is what was accepted.
    let path = format!("/v1/mcp/server/{ID}/pin");
    upstream.on("tools/list", lists(&send(), &tool("send")));
    let refused = json!({"digests": {"send": "0"}});
    http.post(&path, &refused).await.expect_status(409);
    let shown = modern(&http, "tools/list", &json!({})).await;
    assert_eq!(shown["result"]["tools"], json!([]), "{shown}");
    let mut client = gateway.mcp();
    client.initialize().await;
    assert_eq!(client.tool_names().await, ["mail-send"]);
    assert_eq!(told(&http, "send").await["state"], "changed");
    upstream.on("tools/list", lists(&tool("send"), &tool("send")));
    http.post(&path, &refused).await.expect_status(409);
    assert_eq!(tools(&http).await, [""; 0]);
    assert!(!runs(&http, &upstream, "send").await);
}
