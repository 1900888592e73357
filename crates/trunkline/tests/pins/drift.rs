//! S29: what a server changes after its tools were accepted.

use serde_json::{Value, json};
use trunkline_testkit::McpClient;

use crate::support::{
    ID, PATIENCE, drift, gateway_with, pin, report, row, runs, send, told, tool, tools, upstream,
};

/// What a server does to a definition.
type Edit = fn(&mut Value);
/// What clients hear of a change.
const CHANGED: &str = "notifications/tools/list_changed";

#[tokio::test]
async fn s29_a_changed_definition_is_held_back_on_every_way_in_until_it_is_accepted() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    pin(&http, json!({})).await;
    assert_eq!(tools(&http).await, ["mail-send", "mail-read"]);
    assert!(runs(&http, &upstream, "send").await);

    let changes: [(&str, Edit, &str, &str); 5] = [
        // One byte.
        (
            "description",
            |own| own["description"] = "Sends a mail. ".into(),
            "compatible",
            "/description",
        ),
        (
            "title",
            |own| own["title"] = "Send".into(),
            "compatible",
            "/title",
        ),
        (
            "schema",
            |own| own["inputSchema"]["properties"]["bcc"] = json!({"type": "string"}),
            "permission_widening",
            "/inputSchema/properties/bcc",
        ),
        (
            "required",
            |own| own["inputSchema"]["required"] = json!(["to", "text"]),
            "breaking",
            "/inputSchema/required",
        ),
        (
            "annotations",
            |own| own["annotations"] = json!({"destructiveHint": true}),
            "permission_widening",
            "/annotations/destructiveHint",
        ),
    ];
    for (what, edit, class, path) in changes {
        let mut other = send();
        edit(&mut other);
        drift(&http, &upstream, &[other, tool("read")]).await;
        assert_eq!(tools(&http).await, ["mail-read"], "{what}");
        assert!(!runs(&http, &upstream, "send").await, "{what}");
        assert!(runs(&http, &upstream, "read").await, "{what}");
        let own = told(&http, "send").await;
        assert_eq!(
            (&own["state"], &own["classes"]),
            (&json!("changed"), &json!([class])),
            "{what}: {own}"
        );
        assert_eq!(own["changes"][0]["path"], path, "{own}");
        assert_eq!(told(&http, "read").await["state"], "pinned");
        let rejected = row(&http).await["outcome"]["rejected"].clone();
        assert_eq!(rejected[0]["name"], "send", "{rejected}");
        assert!(
            rejected[0]["reason"].as_str().unwrap().starts_with("held back"),
            "{rejected}"
        );
    }
    // What was accepted is there again.
    drift(&http, &upstream, &[send(), tool("read")]).await;
    assert_eq!(tools(&http).await, ["mail-send", "mail-read"]);
    assert!(runs(&http, &upstream, "send").await);
    assert_eq!(row(&http).await["outcome"]["rejected"], Value::Null);
}

#[tokio::test]
async fn s29_what_is_not_covered_and_how_it_is_written_do_not_matter() {
    let upstream = upstream(&[send()]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    pin(&http, json!({})).await;
    let mut same = send();
    same["_meta"] = json!({"build": 7});
    same["icons"] = json!([{"src": "https://icons.example/a?token=1"}]);
    let turned: serde_json::Map<String, Value> =
        same.as_object().unwrap().clone().into_iter().rev().collect();
    drift(&http, &upstream, &[turned.into()]).await;
    assert_eq!(tools(&http).await, ["mail-send"]);
    assert!(runs(&http, &upstream, "send").await);
    // But for what is shown with a result.
    same["_meta"] = json!({"ui": {"resourceUri": "ui://other"}});
    drift(&http, &upstream, &[same]).await;
    assert_eq!(tools(&http).await, [""; 0]);
}

#[tokio::test]
async fn s29_new_renamed_and_gone_tools() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    pin(&http, json!({})).await;
    let mut renamed = send();
    renamed["name"] = "send_mail".into();
    drift(&http, &upstream, &[renamed, tool("read"), tool("extra")]).await;
    assert_eq!(tools(&http).await, ["mail-read"]);
    for name in ["send_mail", "extra", "send"] {
        assert!(!runs(&http, &upstream, name).await, "{name}");
    }
    let own = told(&http, "send_mail").await;
    assert_eq!(
        (&own["state"], &own["renamed_from"]),
        (&json!("renamed"), &json!("send")),
        "{own}"
    );
    assert_eq!(told(&http, "extra").await["state"], "new");
    assert_eq!(told(&http, "send").await["state"], "gone");
    let metrics = http.get("/metrics").await.text();
    for line in [
        r#"trunkline_mcp_tools_held_back{mcp_server_name="mail",reason="new"} 2"#,
        r#"trunkline_mcp_tools_held_back{mcp_server_name="mail",reason="changed"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let log = gateway.log();
    assert!(log.contains("does not list what is pinned"), "{log}");
}

#[tokio::test]
async fn s29_a_tool_that_comes_between_list_and_call_does_not_run() {
    let upstream = upstream(&[send()]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    pin(&http, json!({})).await;
    assert_eq!(tools(&http).await, ["mail-send"]);
    // Nobody has listed it when it is called; the call looks for it.
    upstream.set_tools([send(), tool("late")]);
    assert!(!runs(&http, &upstream, "late").await);
    assert_eq!(tools(&http).await, ["mail-send"]);
}

#[tokio::test]
async fn s29_who_loses_a_tool_hears_of_it_and_nobody_of_what_is_held_back() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    pin(&http, json!({})).await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let mut stream = client.get_stream().await;
    assert_eq!(client.tool_names().await.len(), 2);

    // A new tool, announced: no news. Then a pinned one goes: the first news there is.
    upstream.set_tools([send(), tool("read"), tool("extra")]);
    // An announcement that nobody listens to is lost: the stream to the server is opened beside what the client asks.
    trunkline_testkit::eventually("the gateway listens to the server", PATIENCE, async || {
        upstream.listeners() > 0
    })
    .await;
    // Before it is announced: it may be followed at once.
    let listings = upstream.count("tools/list");
    upstream.push(&json!({"jsonrpc": "2.0", "method": CHANGED}));
    trunkline_testkit::eventually("the announcement was followed", PATIENCE, async || {
        upstream.count("tools/list") > listings
    })
    .await;
    drift(&http, &upstream, &[send(), tool("read"), tool("extra")]).await;
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(1500), stream.next()).await;
    assert!(
        quiet.is_err(),
        "somebody was told of a tool that is held back: {quiet:?}"
    );

    let mut changed = send();
    changed["description"] = "Sends a mail, also to others.".into();
    drift(&http, &upstream, &[changed, tool("read")]).await;
    assert_eq!(stream.expect_next(PATIENCE).await["method"], CHANGED);
    assert_eq!(client.tool_names().await, ["mail-read"]);

    // Accepted: who gets it hears of it, at once.
    let began = std::time::Instant::now();
    pin(&http, json!({"tools": ["send"]})).await;
    assert_eq!(stream.expect_next(PATIENCE).await["method"], CHANGED);
    assert!(began.elapsed().as_secs_f64() < 1.0, "{:?}", began.elapsed());
    assert_eq!(client.tool_names().await, ["mail-send", "mail-read"]);
}

#[tokio::test]
async fn s29_toolsets_keys_and_other_names_lead_to_nothing_that_is_held_back() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    let body = json!({"toolset_name": "set", "tools": [
        {"server_id": ID, "tool_name": "send"}, {"server_id": ID, "tool_name": "extra"}, {"server_id": ID, "tool_name": "read"},
    ]});
    http.post("/v1/mcp/toolset", &body).await.expect_status(201);
    let body = json!({"server_id": ID, "tool_name_to_display_name": {"send": "post", "extra": "more"}, "tool_name_to_description": {"send": "Posts."}});
    http.put("/v1/mcp/server", &body).await.expect_status(202);
    pin(&http, json!({})).await;
    let body = json!({"object_permission": {"mcp_servers": [ID]}});
    let key = http.post("/key/generate", &body).await.expect_status(200).json();
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    let keyed = gateway.anonymous().with_header("authorization", &bearer);
    let mut changed = send();
    changed["description"] = "x".into();
    let list = async |http: &trunkline_testkit::HttpClient, path: &str| {
        let mut client = McpClient::over(http.clone(), path);
        client.initialize().await;
        client.tool_names().await
    };
    assert_eq!(list(&http, "/set/mcp").await, ["post", "mail-read"]);
    assert_eq!(list(&keyed, "/mcp").await, ["post", "mail-read"]);
    drift(&http, &upstream, &[changed, tool("extra"), tool("read")]).await;
    let calls = upstream.count("tools/call");
    for (http, path) in [
        (&http, "/set/mcp"),
        (&keyed, "/mcp"),
        (&keyed, "/mail/mcp"),
        (&http, "/mcp"),
    ] {
        assert_eq!(list(http, path).await.len(), 1, "{path}");
        let mut client = McpClient::over(http.clone(), path);
        client.initialize().await;
        for name in [
            "post",
            "send",
            "mail-send",
            "mail-post",
            "more",
            "extra",
            "mail-extra",
        ] {
            let reply = client.call(name, &json!({"to": "x"}), None).await;
            assert!(reply.outcome().is_err(), "{path} {name}: {}", reply.everything());
        }
    }
    assert_eq!(upstream.count("tools/call"), calls);
}

#[tokio::test]
async fn s30_hidden_text_is_found_where_it_is_not_taken_out() {
    let mut poisoned = tool("read");
    poisoned["description"] = "Reads.\u{200b}\u{e0041}\u{e0042}\u{202e}\u{1b}[8m".into();
    poisoned["inputSchema"]["properties"] = json!({"a\u{2060}": {"type": "string"}});
    let upstream = upstream(&[send(), poisoned]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    let own = told(&http, "read").await;
    let found = own["hidden_text"].as_array().unwrap();
    assert_eq!(found.len(), 2, "{own}");
    assert_eq!(
        found[0],
        json!({"path": "/description", "tags": 2, "bidi": 1, "zero_width": 1, "control": 1,
            "text": r"Reads.\u{200b}\u{e0041}\u{e0042}\u{202e}\u{1b}[8m"})
    );
    assert_eq!(found[1]["path"], r"/inputSchema/properties/a\u{2060}");
    assert_eq!(told(&http, "send").await["hidden_text"], json!([]));
    let everything = report(&http).await.to_string();
    assert!(
        !everything.contains(['\u{200b}', '\u{202e}', '\u{2060}', '\u{e0041}']),
        "shown as escapes"
    );
    let row = row(&http).await;
    assert_eq!(
        row["hidden_text"],
        json!({"tags": 2, "bidi": 1, "zero_width": 2, "control": 1})
    );
    let metrics = http.get("/metrics").await.text();
    let line = r#"trunkline_mcp_hidden_text{mcp_server_name="mail",kind="zero_width"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(gateway.log().matches("hidden text in definitions").count(), 1);
    // Hidden text is a change like any other.
    drift(&http, &upstream, &[send(), tool("read")]).await;
    pin(&http, json!({})).await;
    let mut again = tool("read");
    again["description"] = "The tool read.\u{200b}".into();
    drift(&http, &upstream, &[send(), again]).await;
    assert_eq!(crate::support::tools(&http).await, ["mail-send"]);
    let own = told(&http, "read").await;
    assert_eq!(own["changes"][0]["after"], r#""The tool read.\u{200b}""#, "{own}");
}

/// Whoever looks into the audit log sees when a server has changed what was accepted, and what.
#[tokio::test]
async fn s29_a_drift_is_a_row_of_the_audit_log() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    pin(&http, json!({})).await;
    assert_eq!(tools(&http).await, ["mail-send", "mail-read"]);
    let mut other = send();
    other["description"] = "Sends a mail, and a copy to somebody else.".into();
    drift(&http, &upstream, &[other.clone(), tool("extra")]).await;
    let rows = async || {
        let page = http.get("/audit?action=drifted").await.expect_status(200).json();
        page["audit_logs"].as_array().unwrap().clone()
    };
    trunkline_testkit::eventually("the row is written", PATIENCE, async || !rows().await.is_empty()).await;
    let found = rows().await;
    let row = &found[0];
    assert_eq!(
        (
            &row["changed_by"],
            &row["table_name"],
            &row["object_id"],
            &row["reason"]
        ),
        (
            &json!("pins"),
            &json!("LiteLLM_MCPServerTable"),
            &json!(ID),
            &json!("pin_drift")
        )
    );
    assert_eq!(
        (&row["changed"], &row["new"], &row["gone"], &row["changed_count"]),
        (&json!(["send"]), &json!(["extra"]), &json!(["read"]), &json!(1))
    );
    // The same list again is no news, and a server that goes on changing its mind leaves no row for each time.
    drift(&http, &upstream, &[other.clone(), tool("extra")]).await;
    for turn in 0..5 {
        other["description"] = format!("Turn {turn}").into();
        drift(&http, &upstream, &[other.clone(), tool("extra")]).await;
    }
    assert_eq!(rows().await.len(), 1);
}
