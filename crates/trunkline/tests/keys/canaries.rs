//! S13, S14: a key is in the answer that makes it, and nowhere else. S02: what is sent as a key is data.

use serde_json::json;
use trunkline_testkit::{Act, Canary, HttpClient, ScriptedUpstream, TestGateway};

use crate::support::{WAYS, Way, config, generate, key, listed, with};

#[tokio::test]
async fn s13_s14_a_key_is_in_the_answer_that_makes_it_and_nowhere_else() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::builder()
        .config(&config(&[("files", &upstream, "")]))
        .env("RUST_LOG", "trace")
        .start()
        .await;
    listed(&gateway, &["files"]).await;
    let (first, second, wrong) = (Canary::key("first"), Canary::key("second"), Canary::key("wrong"));
    let grant = json!({"mcp_servers": ["files"]});
    let body = json!({"key": first.value(), "object_permission": grant, "key_alias": "canary"});
    let made = generate(&gateway, body.clone()).await;
    assert_eq!(made["key"], first.value());
    let hash = made["token"].as_str().unwrap();
    let mut answers = String::new();
    let admin = gateway.client();
    // Every way to name it, also those that fail.
    for (path, body) in [
        ("/key/generate", body),
        ("/key/update", json!({"key": first.value(), "user_id": "u"})),
        (
            "/key/update",
            json!({"key": first.value(), "nonsense": first.value()}),
        ),
        ("/key/block", json!({"key": first.value()})),
        ("/key/unblock", json!({"key": first.value()})),
        ("/key/unblock", json!({"key": wrong.value()})),
        ("/key/delete", json!({"keys": [wrong.value()]})),
        (
            "/key/regenerate",
            json!({"key": first.value(), "new_key": "sk-short"}),
        ),
        ("/key/generate", json!({"key": [wrong.value()]})),
    ] {
        answers += &admin.post(path, &body).await.everything();
    }
    for path in [
        format!("/key/info?key={}", first.value()),
        format!("/key/info?key={}", wrong.value()),
        format!("/key/list?return_full_object=true&key_hash={}", first.value()),
        "/key/list?return_full_object=true".to_owned(),
        "/metrics".to_owned(),
    ] {
        answers += &admin.get(&path).await.everything();
        answers += &with(&gateway, first.value()).get(&path).await.everything();
        answers += &with(&gateway, wrong.value()).get(&path).await.everything();
    }
    let call = json!({"name": "files-echo", "arguments": {"message": "hi"}});
    for way in WAYS {
        for key in [&first, &wrong] {
            for (method, params) in [("tools/list", json!({})), ("tools/call", call.clone())] {
                let (_, said) = way.ask(&with(&gateway, key.value()), None, method, &params).await;
                answers += &said.to_string();
            }
        }
    }
    let path = format!("/key/{}/regenerate", first.value());
    let renewed = admin
        .post(&path, &json!({"new_key": second.value()}))
        .await
        .expect_status(200)
        .json();
    assert_eq!(renewed["key"], second.value());
    let deleted = admin
        .post("/key/delete", &json!({"keys": [second.value()]}))
        .await;
    answers += &deleted.expect_status(200).everything();
    answers += &admin.post(&path, &json!({})).await.everything();
    gateway.says(hash).await;
    let stored = stored(&gateway);
    for canary in [&first, &second, &wrong] {
        canary.assert_absent(&[
            ("an answer", answers.as_bytes()),
            ("the log", gateway.log().as_bytes()),
            ("stdout", gateway.stdout().as_bytes()),
            ("upstream", upstream.everything().as_bytes()),
            ("the database", &stored),
        ]);
    }
}

/// Whatever a key can ask of a server `its-id`, and of others; all answers.
async fn everything_of(http: &HttpClient) -> String {
    let mut seen = String::new();
    for way in WAYS {
        let own = ["its-id", "files", "nobody"];
        for server in [None].into_iter().chain(own.map(Some)) {
            for (method, params) in [
                ("tools/list", json!({})),
                ("tools/call", json!({"name": "echo2", "arguments": {}})),
                ("tools/call", json!({"name": "its-id-echo", "arguments": {}})),
                ("tools/call", json!({"name": 7})),
                ("prompts/list", json!({})),
                ("prompts/get", json!({"name": "its-id-greet"})),
                ("resources/list", json!({})),
                ("resources/read", json!({"uri": "memo://one"})),
                ("completion/complete", json!({})),
                ("no/method", json!({})),
            ] {
                if matches!(way, Way::Rest | Way::AllTools) && !method.starts_with("tools/") {
                    continue;
                }
                seen += &way.ask(http, server, method, &params).await.1.to_string();
            }
        }
    }
    for path in [
        "/v1/mcp/server",
        "/v1/mcp/server/its-id",
        "/v1/mcp/server/health",
        "/v1/mcp/server/health?server_ids=its-id",
        "/v1/mcp/tools",
        "/mcp-rest/tools/list?server_id=its-id",
        "/mcp/its-id",
        "/its-id/mcp",
        "/v1/mcp/toolset",
        "/v1/mcp/access_groups",
        "/key/info",
        "/metrics",
    ] {
        seen += &http.get(path).await.everything();
    }
    for (path, body) in [
        (
            "/mcp-rest/tools/call",
            json!({"server_id": "its-id", "name": "echo", "arguments": {}}),
        ),
        ("/mcp-rest/test/connection", json!({"server_id": "its-id"})),
        ("/mcp-rest/test/tools/list", json!({"server_id": "its-id"})),
        (
            "/v1/mcp/policy/explain",
            json!({"server": "its-id", "tool": "echo"}),
        ),
    ] {
        seen += &http.post(path, &body).await.everything();
    }
    seen
}

/// A key has a server, and there is another one with every kind of secret, which fails in every way and says what it was sent.
#[tokio::test]
async fn b48_failures_of_a_forbidden_server_tell_a_key_nothing_of_it() {
    let kinds = ["token", "header", "client-secret", "aws"];
    let [token, header, client_secret, aws] = kinds.map(Canary::new);
    let name = Canary::new("name");
    let (files, forbidden) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = TestGateway::builder()
        .config(&config(&[("files", &files, "")]))
        .env("RUST_LOG", "debug")
        .start()
        .await;
    listed(&gateway, &["files"]).await;
    let body = json!({
        "server_id": "its-id", "server_name": name.value(), "url": forbidden.url(), "transport": "http",
        "auth_type": "bearer_token", "static_headers": {"X-Key": header.value()},
        "credentials": {
            "auth_value": token.value(), "client_secret": client_secret.value(), "aws_secret_access_key": aws.value(),
        },
    });
    let admin = gateway.client();
    admin.post("/v1/mcp/server", &body).await.expect_status(201);
    listed(&gateway, &["files", name.value()]).await;
    let http = with(&gateway, &key(&gateway, json!({"mcp_servers": ["files"]})).await);
    let echo = format!("{} {}", token.value(), header.value());
    let mut seen = String::new();
    for status in [401, 403, 404, 500] {
        let challenge = format!("Bearer x=\"{}\"", token.value());
        forbidden.on(
            "*",
            Act::status(status, &echo).with_header("www-authenticate", &challenge),
        );
        // The gateway itself meets the failure, with its secrets.
        let heard = forbidden.requests().len();
        let checked = admin.get("/v1/mcp/server/health?server_ids=its-id").await;
        let sent = forbidden.requests();
        let is_asked = sent[heard..].iter().any(|own| own.header("x-key").is_some());
        assert!(is_asked, "{status}: {}", checked.text());
        let before = forbidden.requests().len();
        seen += &everything_of(&http).await;
        assert_eq!(forbidden.requests().len(), before, "a key reached it: {status}");
    }
    assert!(seen.contains("files-echo"), "{seen}");
    let log = gateway.log();
    for canary in [&token, &header, &client_secret, &aws] {
        canary.assert_absent(&[("an answer", &seen), ("the log", &log)]);
    }
    name.assert_absent(&[("an answer", &seen)]);
}

/// All that is in the data directory.
fn stored(gateway: &TestGateway) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(gateway.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    assert!(!all.is_empty());
    all
}

#[tokio::test]
async fn s02_what_is_sent_as_a_key_is_data() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream, "")])).await;
    listed(&gateway, &["files"]).await;
    let made = generate(
        &gateway,
        json!({"key_alias": "'; DROP TABLE verification_token; --"}),
    )
    .await;
    let before = gateway
        .client()
        .get("/key/list?return_full_object=true")
        .await
        .text();
    for hostile in [
        "' OR '1'='1",
        "sk-' OR 1=1 --",
        "\" OR \"\"=\"",
        "sk-%27%20OR%201=1",
        "sk-x'; DELETE FROM verification_token; --",
        "$1",
        "{}",
    ] {
        for way in WAYS {
            assert_eq!(
                way.tools(&with(&gateway, hostile), None).await,
                Err(401),
                "{hostile} {way:?}"
            );
        }
        for path in ["/key/update", "/key/block", "/key/delete", "/key/regenerate"] {
            let body = if path == "/key/delete" {
                json!({"keys": [hostile]})
            } else {
                json!({"key": hostile})
            };
            gateway.client().post(path, &body).await.expect_status(404);
        }
        gateway
            .client()
            .post("/key/delete", &json!({"key_aliases": [hostile]}))
            .await
            .expect_status(404);
    }
    assert_eq!(
        gateway
            .client()
            .get("/key/list?return_full_object=true")
            .await
            .text(),
        before
    );
    let alias = made["key_alias"].clone();
    gateway
        .client()
        .post("/key/delete", &json!({"key_aliases": [alias]}))
        .await
        .expect_status(200);
}
