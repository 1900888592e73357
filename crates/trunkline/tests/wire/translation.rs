//! What else is translated between the eras: logs, progress, errors, results with a key twice, notifications.

use serde_json::{Value, json};
use trunkline_testkit::{McpClient, TestGateway};

use crate::servers::{Asking, Plan};
use crate::support::{Era, Modern, PATIENCE, error, gateway_of, messages, result};

async fn rig(server: Era, plan: Plan) -> (Asking, TestGateway) {
    let asking = Asking::start(server, plan).await;
    let gateway = gateway_of(&[("asks", &asking.server, server)], "").await;
    (asking, gateway)
}

async fn legacy_client(gateway: &TestGateway) -> McpClient {
    let mut client = gateway.mcp_at("/asks/mcp").with_protocol("2025-06-18");
    client.initialize().await;
    client
}

fn call() -> Value {
    json!({"name": "ask", "arguments": {}})
}

fn log(level: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": level}})
}

/// The levels of the log messages in an answer's stream.
fn levels(messages: &[String]) -> Vec<String> {
    messages
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap())
        .filter(|message| message["method"] == "notifications/message")
        .map(|message| message["params"]["level"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn b59_log_messages_are_for_those_who_ask_for_them() {
    let plan = Plan {
        before: vec![log("debug"), log("warning"), log("emergency")],
        ..Plan::default()
    };
    let (asking, gateway) = rig(Era::Legacy, plan).await;
    let client = Modern::at(&gateway, "/asks/mcp");
    for (level, expected) in [
        (None, vec![]),
        (Some("debug"), vec!["debug", "warning", "emergency"]),
        (Some("error"), vec!["emergency"]),
        (Some("loud"), vec![]),
        (None, vec![]),
    ] {
        let mut client = client.clone();
        if let Some(level) = level {
            client.more = format!(r#","io.modelcontextprotocol/logLevel":"{level}""#);
        }
        let reply = client.ask("tools/call", &call()).await;
        assert_eq!(levels(&messages(&reply)), expected, "{level:?}");
    }
    let set: Vec<Value> = asking.heard_of("logging/setLevel");
    assert_eq!(
        set.iter()
            .map(|own| own["params"]["level"].clone())
            .collect::<Vec<_>>(),
        ["debug"],
        "the lowest that anybody wanted"
    );

    // Of a client of the old era the level goes with each request to a server of the new one.
    let (asking, gateway) = rig(Era::Modern, Plan::default()).await;
    let mut client = legacy_client(&gateway).await;
    client.request("tools/call", &call()).await.result();
    client
        .request("logging/setLevel", &json!({"level": "notice"}))
        .await
        .result();
    client.request("tools/call", &call()).await.result();
    let stamped: Vec<Value> = asking
        .heard_of("tools/call")
        .iter()
        .map(|own| own["params"]["_meta"]["io.modelcontextprotocol/logLevel"].clone())
        .collect();
    assert_eq!(stamped, [Value::Null, json!("notice")]);
    assert_eq!(asking.heard_of("logging/setLevel").len(), 0);
}

#[tokio::test]
async fn b59_what_only_one_era_has_stays_there() {
    // Pings, roots that changed, subscriptions: nothing of it reaches a server of the new era.
    let (asking, gateway) = rig(Era::Modern, Plan::default()).await;
    let mut client = legacy_client(&gateway).await;
    client.request("ping", &Value::Null).await.result();
    let told = client
        .notify("notifications/roots/list_changed", &Value::Null)
        .await;
    assert_eq!(told.status, 202);
    let task = json!({"name": "ask", "arguments": {}, "task": {"ttl": 5}});
    let reply = client.request("tools/call", &task).await.result();
    for member in ["resultType", "ttlMs", "cacheScope"] {
        assert!(reply.get(member).is_none(), "{reply}");
    }
    let read = client
        .request("resources/read", &json!({"uri": "memo://ask"}))
        .await
        .result();
    for member in ["resultType", "ttlMs", "cacheScope"] {
        assert!(read.get(member).is_none(), "{read}");
    }
    let call = &asking.heard_of("tools/call")[0];
    assert!(call["params"].get("task").is_none(), "{call}");
    for method in ["ping", "notifications/roots/list_changed", "initialize"] {
        assert_eq!(asking.heard_of(method).len(), 0, "{method}");
    }

    // What a server of the old era says outside of subscriptions is not for clients of the new one.
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "memo://ask"}});
    let plan = Plan {
        before: vec![updated],
        ..Plan::default()
    };
    let (asking, gateway) = rig(Era::Legacy, plan).await;
    let reply = Modern::at(&gateway, "/asks/mcp")
        .ask(
            "tools/call",
            &json!({"name": "ask", "arguments": {}, "requestState": "nobody's", "inputResponses": {}}),
        )
        .await;
    assert_eq!(messages(&reply).len(), 1, "{}", reply.text());
    assert_eq!(
        result(&reply)["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "asking"
    );
    let params = &asking.heard_of("tools/call")[0]["params"];
    assert_eq!(
        *params,
        json!({"name": "ask", "arguments": {}}),
        "what only the new era has"
    );
    let hello = &asking.heard_of("initialize")[0];
    assert!(hello["params"]["capabilities"].get("roots").is_none(), "{hello}");
}

#[tokio::test]
async fn b59_errors_keep_what_they_say_in_the_other_era() {
    let missing = json!({"code": -32021, "message": "needs sampling", "data": {"requiredCapabilities": {"sampling": {}}}});
    let plan = || Plan {
        first_error: Some(missing.clone()),
        ..Plan::default()
    };
    // A capability that is missing: an error at 200 where errors travel so, else with its status.
    let (_asking, gateway) = rig(Era::Modern, plan()).await;
    let reply = legacy_client(&gateway).await.request("tools/call", &call()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        (reply.error().code, reply.error().data),
        (-32021, missing["data"].clone())
    );
    let (_asking, gateway) = rig(Era::Modern, plan()).await;
    let reply = Modern::at(&gateway, "/asks/mcp")
        .ask("tools/call", &call())
        .await
        .expect_status(400);
    assert_eq!(error(&reply), missing);

    // A resource that is not there has no code of its own any more.
    let gone = json!({"code": -32002, "message": "gone", "data": {"uri": "memo://ask"}});
    let plan = || Plan {
        first_error: Some(gone.clone()),
        ..Plan::default()
    };
    let (_asking, gateway) = rig(Era::Legacy, plan()).await;
    let reply = Modern::at(&gateway, "/asks/mcp")
        .ask("resources/read", &json!({"uri": "memo://ask"}))
        .await;
    let said = error(&reply);
    assert_eq!(
        (&said["code"], &said["data"]),
        (&json!(-32602), &gone["data"]),
        "{said}"
    );
    let (_asking, gateway) = rig(Era::Legacy, plan()).await;
    let reply = legacy_client(&gateway)
        .await
        .request("resources/read", &json!({"uri": "memo://ask"}))
        .await;
    assert_eq!(reply.error().code, -32002);
}

#[tokio::test]
async fn b60_progress_has_the_clients_token_in_every_cell() {
    // The scripted server of the old era alone sends progress here; the token goes through both translations.
    let upstream = trunkline_testkit::ScriptedUpstream::builder()
        .tool_fn(
            &json!({"name": "slow", "inputSchema": {"type": "object"}}),
            |call| trunkline_testkit::ToolAnswer::progress(call, 2, std::time::Duration::from_millis(20)),
        )
        .start()
        .await;
    let config = format!(
        "mcp_servers:\n  asks:\n    url: {}\n    prefix: never\n",
        upstream.url()
    );
    let gateway = TestGateway::start(&config).await;
    trunkline_testkit::eventually("it is listed", PATIENCE, async || {
        gateway.mcp_at("/asks/mcp").tool_names().await == ["slow"]
    })
    .await;
    let mut client = Modern::at(&gateway, "/asks/mcp");
    client.more = r#","progressToken":"tök\u0065n""#.to_owned();
    let reply = client
        .ask("tools/call", &json!({"name": "slow", "arguments": {}}))
        .await;
    let progress: Vec<String> = messages(&reply)
        .into_iter()
        .filter(|text| text.contains("notifications/progress"))
        .collect();
    assert_eq!(progress.len(), 2, "{}", reply.text());
    assert!(
        progress
            .iter()
            .all(|text| text.contains(r#""progressToken":"tök\u0065n""#)),
        "as it was spelled: {progress:?}"
    );
    assert!(
        !reply.text().contains("notifications/message"),
        "nobody asked for logs"
    );
}
