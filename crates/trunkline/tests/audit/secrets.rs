//! S14: rows have no secret, neither clear nor sealed.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, TestGateway};

use crate::support::{Way, post, with};
use crate::world::{World, denied, rows, send};

#[tokio::test]
async fn s14_no_key_and_no_secret_is_in_the_log_on_sqlite() {
    absent(World::new().await).await;
}

#[tokio::test]
async fn s14_no_key_and_no_secret_is_in_the_log_on_postgres() {
    if let Some((world, database)) = World::on_postgres().await {
        let canaries = absent(world).await;
        let dump = database.sql("SELECT * FROM audit_log");
        assert!(!dump.is_empty());
        for canary in canaries {
            canary.assert_absent(&[("the table", dump.as_bytes())]);
        }
        // What is sealed in the other table is not in this one.
        let sealed = database.sql("SELECT credentials, static_headers, env_vars FROM mcp_server");
        for text in sealed.split(['|', '\n']).filter(|text| !text.is_empty()) {
            assert!(!dump.contains(text), "{text}");
        }
    }
}

async fn absent(world: World) -> Vec<Canary> {
    let gateway = &world.gateway;
    let names = ["token", "other", "header", "variable", "metadata", "client"];
    let secrets = names.map(Canary::new);
    let [token, other, header, variable, metadata, client] = &secrets;
    let keys = [Canary::key("first"), Canary::key("second")];
    let server = |value: &str| {
        json!({
            "server_id": "s", "alias": "s", "url": "https://x.example/mcp", "transport": "http", "auth_type": "bearer_token",
            "credentials": {"auth_value": value}, "static_headers": {"X-Other": header.value()},
            "env_vars": [{"name": "V", "value": variable.value(), "scope": "global"}],
        })
    };
    send(
        &gateway.client(),
        "POST",
        "/v1/mcp/server",
        &server(token.value()),
    )
    .await
    .expect_status(201);
    send(&gateway.client(), "PUT", "/v1/mcp/server", &server(other.value()))
        .await
        .expect_status(202);
    let logging = json!({"logging": [{"callback_vars": {"langfuse_secret_key": metadata.value()}}]});
    post(
        gateway,
        "/key/generate",
        json!({"key": keys[0].value(), "metadata": logging, "key_alias": "k"}),
    )
    .await;
    refused(gateway, &keys[0], client).await;
    let path = format!("/key/{}/regenerate", keys[0].value());
    post(gateway, &path, json!({"new_key": keys[1].value()})).await;
    // By the path that has it, by who may not.
    let plain = with(gateway, keys[1].value());
    send(&plain, "POST", &path, &json!({})).await.expect_status(401);
    post(gateway, "/key/delete", json!({"keys": [keys[1].value()]})).await;
    gateway
        .client()
        .delete("/v1/mcp/server/s")
        .await
        .expect_status(202);
    let denials = denied(gateway, 5).await;
    assert_eq!(denials.len(), 5, "{denials:?}");
    let all = rows(gateway, 0).await;
    let text = Value::from(all.clone()).to_string();
    let pages = gateway.client().get("/audit?page_size=100").await.everything();
    let canaries: Vec<Canary> = secrets.into_iter().chain(keys).collect();
    for canary in &canaries {
        canary.assert_absent(&[("the export", text.as_bytes()), ("a page", pages.as_bytes())]);
    }
    let master = gateway.master_key();
    assert!(!text.contains(master) && !pages.contains(master));
    // It is said that one is another.
    let changed = all.iter().find(|row| row["action"] == "updated").unwrap();
    assert_eq!(changed["before_value"], json!({"credentials": "(secret)"}));
    assert_eq!(
        changed["updated_values"],
        json!({"credentials": "(another secret)"})
    );
    let made = all
        .iter()
        .find(|row| row["action"] == "created" && row["object_id"] != "s")
        .unwrap();
    let vars = &made["updated_values"]["metadata"]["logging"][0]["callback_vars"];
    assert_eq!(vars["langfuse_secret_key"], "(secret)");
    canaries
}

/// A call, a selection, and a management request of a key, with secrets for servers beside it.
async fn refused(gateway: &TestGateway, key: &Canary, client: &Canary) {
    let http = with(gateway, key.value()).with_header("x-mcp-files-authorization", client.value());
    let call = json!({"name": "files-echo", "arguments": {"message": client.value()}});
    Way::Bare.ask(&http, None, "tools/call", &call).await;
    Way::Bare
        .ask(&http, Some("files"), "tools/list", &json!({}))
        .await;
    let body = json!({"key": key.value(), "key_alias": client.value()});
    send(&http, "POST", "/key/update", &body).await.expect_status(401);
    let path = format!("/key/info?key={}", client.value());
    send(&http, "GET", &path, &json!({})).await;
}
