//! Accepting tools, taking it back, approval, and the configuration file.

use serde_json::{Value, json};
use trunkline_testkit::{Act, TestGateway};

use crate::support::{
    ID, drift, gateway_with, listed, pin, refresh, register, report, row, runs, send, told, tool, tools,
    upstream,
};

#[tokio::test]
async fn s29_only_what_was_seen_is_accepted() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    let path = format!("/v1/mcp/server/{ID}/pin");
    let pins = pin(&http, json!({})).await;
    assert_eq!(pins["send"]["description"], "Sends a mail.", "LiteLLM's shape");
    assert_eq!(pins["send"]["input_schema"], send()["inputSchema"]);
    let mut changed = send();
    changed["description"] = "second".into();
    drift(&http, &upstream, &[changed, tool("read")]).await;
    let seen = told(&http, "send").await["digests"].clone();
    // It changes again while somebody looks at it.
    let mut again = send();
    again["description"] = "third".into();
    upstream.set_tools([again, tool("read")]);
    let stale = http
        .post(&path, &json!({"digests": {"send": seen}}))
        .await
        .expect_status(409);
    assert!(stale.text().contains("not what was seen"), "{}", stale.text());
    assert!(!runs(&http, &upstream, "send").await);
    let seen = told(&http, "send").await["digests"].clone();
    assert_eq!(told(&http, "send").await["changes"][0]["after"], r#""third""#);
    pin(&http, json!({"digests": {"send": seen[0]}})).await;
    assert!(runs(&http, &upstream, "send").await);
    assert_eq!(tools(&http).await, ["mail-send", "mail-read"]);

    for (body, status) in [
        (json!({"tools": ["nothing"]}), 409),
        (json!({"digests": {"nothing": "0"}}), 409),
        (json!({"tool": "send"}), 422),
        (json!({"tools": "send"}), 422),
        (json!({"digests": {"send": 1}}), 422),
        (json!({"tools": ["send"], "digests": {"send": seen}}), 422),
    ] {
        http.post(&path, &body).await.expect_status(status);
    }
    let unknown = http.post("/v1/mcp/server/nobody/pin", &json!({})).await;
    unknown.expect_status(404);
    assert_eq!(report(&http).await["pinned"], true);
    assert_eq!(row(&http).await["pinned_tools"]["read"], pins["read"]);
}

#[tokio::test]
async fn s29_pins_are_taken_back_one_by_one_but_for_the_last() {
    let upstream = upstream(&[send(), tool("read")]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    let path = format!("/v1/mcp/server/{ID}/pin");
    pin(&http, json!({})).await;
    http.delete(&format!("{path}?tool=")).await.expect_status(422);
    http.delete(&format!("{path}?tools=read"))
        .await
        .expect_status(422);
    http.delete(&format!("{path}?tool=nothing"))
        .await
        .expect_status(404);
    http.delete(&format!("{path}?tool=read")).await.expect_status(200);
    assert_eq!(tools(&http).await, ["mail-send"]);
    http.delete(&format!("{path}?tool=send")).await.expect_status(409);
    assert_eq!(tools(&http).await, ["mail-send"]);
    let answer = http.delete(&path).await.expect_status(200).json();
    assert_eq!(answer, json!({"server_id": ID, "status": "unpinned"}));
    assert_eq!(tools(&http).await, ["mail-send", "mail-read"]);
    assert_eq!(report(&http).await["pinned"], false);
}

#[tokio::test]
async fn s29_an_approval_accepts_what_is_listed_at_that_time() {
    let upstream = upstream(&[send()]).await;
    let gateway = TestGateway::start("general_settings: {}\n").await;
    let http = gateway.client();
    let submit = async |id: &str, url: &str| {
        let body = json!({"server_id": id, "alias": id, "url": url, "transport": "http"});
        http.post("/v1/mcp/server/register", &body)
            .await
            .expect_status(201);
    };
    submit(ID, &upstream.url()).await;
    http.put(&format!("/v1/mcp/server/{ID}/approve?pins=1"), &json!({}))
        .await
        .expect_status(422);
    let approved = http
        .put(&format!("/v1/mcp/server/{ID}/approve"), &json!({}))
        .await;
    let approved = approved.expect_status(200).json();
    assert!(
        approved["pinned_tools"]["send"]["digests"][0].is_string(),
        "{approved}"
    );
    listed(&http).await;
    assert!(runs(&http, &upstream, "send").await);
    drift(&http, &upstream, &[send(), tool("extra")]).await;
    assert_eq!(tools(&http).await, ["mail-send"]);

    submit("free", &upstream.url()).await;
    let approved = http
        .put("/v1/mcp/server/free/approve?pin=false", &json!({}))
        .await;
    assert_eq!(approved.expect_status(200).json()["pinned_tools"], Value::Null);

    let broken = trunkline_testkit::ScriptedUpstream::builder()
        .on("tools/list", Act::status(500, "no"))
        .start()
        .await;
    submit("broken", &broken.url()).await;
    let approved = http.put("/v1/mcp/server/broken/approve", &json!({})).await;
    let said = approved.expect_status(409).text();
    assert!(
        said.contains("cannot be pinned") && said.contains("?pin=false"),
        "{said}"
    );
    let row = http.get("/v1/mcp/server/broken").await.expect_status(200).json();
    assert_eq!(
        (&row["approval_status"], &row["reviewed_by"]),
        (&json!("pending_review"), &Value::Null)
    );
    // Who says so approves it without.
    let approved = http
        .put("/v1/mcp/server/broken/approve?pin=false", &json!({}))
        .await;
    let approved = approved.expect_status(200).json();
    assert_eq!(
        (&approved["approval_status"], &approved["reviewed_by"]),
        (&json!("active"), &json!("master_key"))
    );
}

#[tokio::test]
async fn s29_a_server_that_cannot_be_listed_keeps_its_pins() {
    let upstream = upstream(&[send()]).await;
    let gateway = gateway_with(&upstream).await;
    let http = gateway.client();
    pin(&http, json!({})).await;
    upstream.on("tools/list", Act::status(500, "no"));
    let path = format!("/v1/mcp/server/{ID}/pin");
    http.post(&path, &json!({})).await.expect_status(502);
    upstream.behave();
    // Nothing that could be pinned is not the same as no pins.
    drift(&http, &upstream, &[]).await;
    http.post(&path, &json!({})).await.expect_status(400);
    drift(&http, &upstream, &[send(), tool("extra")]).await;
    assert_eq!(tools(&http).await, ["mail-send"]);
}

#[tokio::test]
async fn s29_a_configuration_file_in_the_shape_of_litellm() {
    let upstream = upstream(&[send(), tool("read"), tool("extra")]).await;
    let entry = |pins: &Value| {
        json!({"mcp_servers": {"mail": {"server_id": ID, "url": upstream.url(), "pinned_tools": pins}}})
            .to_string()
    };
    let pins = json!({
        "send": {"description": "Sends a mail.", "input_schema": send()["inputSchema"]},
        "read": {"description": "The tool read.", "input_schema": {"type": "object", "properties": {}}},
    });
    let mut gateway = TestGateway::start(&entry(&pins)).await;
    let http = gateway.client();
    listed(&http).await;
    assert_eq!(tools(&http).await, ["mail-send"]);
    assert!(!runs(&http, &upstream, "read").await);
    assert!(!runs(&http, &upstream, "extra").await);
    // What the shape does not name is not compared.
    let mut annotated = send();
    annotated["annotations"] = json!({"readOnlyHint": true});
    drift(&http, &upstream, &[annotated, tool("read"), tool("extra")]).await;
    assert!(runs(&http, &upstream, "send").await);

    let path = format!("/v1/mcp/server/{ID}/pin");
    let refused = http.post(&path, &json!({})).await.expect_status(409);
    assert!(
        refused.text().contains("configuration file"),
        "{}",
        refused.text()
    );
    http.delete(&path).await.expect_status(409);
    // What the answer says to write there is taken, and accepts what is listed.
    let file = report(&http).await["file"].clone();
    let pins = &file["mcp_servers"]["mail"]["pinned_tools"];
    gateway.set_config(&entry(pins));
    gateway.restart().await;
    let http = gateway.client();
    listed(&http).await;
    refresh(&http).await;
    assert_eq!(tools(&http).await, ["mail-send", "mail-read", "mail-extra"]);
    assert_eq!(told(&http, "extra").await["state"], "pinned");

    let wrong = json!({"send": {"digest": "0"}});
    let failed = TestGateway::builder().config(&entry(&wrong)).try_start().await;
    let said = failed
        .err()
        .map(|failure| failure.to_string())
        .unwrap_or_default();
    assert!(said.contains("pinned_tools") && said.contains("digest"), "{said}");
}

#[tokio::test]
async fn s29_an_administrator_accepts_and_nobody_else() {
    let upstream = upstream(&[send()]).await;
    let gateway = TestGateway::start("general_settings: {}\n").await;
    let http = gateway.client();
    register(&http, &upstream).await;
    listed(&http).await;
    let body = json!({"object_permission": {"mcp_servers": [ID]}});
    let key = http.post("/key/generate", &body).await.expect_status(200).json();
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    let keyed = gateway.anonymous().with_header("authorization", &bearer);
    let path = format!("/v1/mcp/server/{ID}/pin");
    keyed.get(&path).await.expect_status(403);
    keyed.post(&path, &json!({})).await.expect_status(403);
    keyed.delete(&path).await.expect_status(403);
    assert_eq!(row(&http).await["pinned_tools"], Value::Null);
}
