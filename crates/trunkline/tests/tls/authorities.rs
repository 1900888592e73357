//! Whose certificates are believed, and what is said when one is not.

use rustls::ProtocolVersion;
use serde_json::{Value, json};
use trunkline_testkit::{Act, McpClient, RpcReply, ScriptedUpstream, Sessions, TestGateway};

use crate::front::{Authority, Front, Identity, OLD, Setup};
use crate::support::{Tls, all_refused, all_worked, api, becomes, entry, everywhere, row, servers};

/// A server that speaks 2026-07-28 alone, which is found out by `server/discover`.
async fn modern() -> ScriptedUpstream {
    let described = json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
        "ttlMs": 0, "cacheScope": "private",
    });
    ScriptedUpstream::builder()
        .sessions(Sessions::Off)
        .revisions(&["2026-07-28"])
        .on("server/discover", Act::Result(described.to_string()))
        .start()
        .await
}

/// A request as clients of 2026-07-28 make it.
async fn as_modern(gateway: &TestGateway, path: &str, method: &str, mut params: Value) -> RpcReply {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut http = gateway
        .client()
        .with_header("mcp-protocol-version", "2026-07-28")
        .with_header("mcp-method", method);
    if let Some(name) = params["name"].as_str() {
        http = http.with_header("mcp-name", name);
    }
    McpClient::over(http, path).request(method, &params).await
}

/// All handshakes were with this certificate of the gateway's, for this name, in TLS 1.3.
#[track_caller]
fn all_as(front: &Front, own: &Identity, name: &str) {
    let seen = front.seen();
    assert!(!seen.is_empty());
    for handshake in seen {
        assert_eq!(handshake.client, Some(own.der()));
        assert_eq!(handshake.name.as_deref(), Some(name));
        assert_eq!(handshake.version, Some(ProtocolVersion::TLSv1_3));
    }
    assert_eq!(front.failed(), [""; 0]);
}

#[tokio::test]
async fn b57_every_way_to_a_server_uses_its_tls_settings() {
    let (authority, clients) = (Authority::new("internal"), Authority::new("clients"));
    let (server, own) = (
        authority.issue(&["servers.internal"]),
        clients.issue(&["gateway"]),
    );
    let (old, new) = (ScriptedUpstream::start().await, modern().await);
    let (_api, api) = api().await;
    let mut fronts = Vec::new();
    for port in [old.port(), new.port(), api] {
        fronts.push(Setup::of(&server, port).clients(&clients).start().await);
    }
    let tls = Tls::ca(&authority.pem)
        .identity(&own)
        .with("tls_server_name", "servers.internal")
        .with("tls_min_version", "1.3");
    let document = format!("spec_path: {}/openapi.json", fronts[2].origin());
    let pin = "protocol_version: \"2026-07-28\"";
    let gateway = TestGateway::start(&servers(&[
        entry("old", &fronts[0].url(), &tls, ""),
        entry("new", &fronts[1].url(), &tls, pin),
        entry("pets", &fronts[2].origin(), &tls, &document),
    ]))
    .await;
    for (server, tool) in [("old", "echo"), ("pets", "listpets")] {
        becomes(&gateway, server, "ok").await;
        all_worked(&everywhere(&gateway, server, tool).await);
    }
    becomes(&gateway, "new", "ok").await;
    for (method, params) in [
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("tools/call", json!({"name": "echo", "arguments": {}})),
    ] {
        let reply = as_modern(&gateway, "/new/mcp", method, params).await;
        assert!(reply.outcome().is_ok(), "{method}: {}", reply.everything());
    }
    for method in ["server/discover", "tools/list", "tools/call"] {
        assert!(new.count(method) > 0, "{method}");
    }

    // The same without being registered, then by the API.
    let client = gateway.client();
    let body = tls.body(json!({"server_name": "stored", "transport": "http", "url": fronts[0].url()}));
    for what in ["connection", "tools/list"] {
        let path = format!("/mcp-rest/test/{what}");
        let reply = client.post(&path, &body).await.expect_status(200);
        assert!(reply.json()["error"].is_null(), "{}", reply.text());
    }
    client.post("/v1/mcp/server", &body).await.expect_status(201);
    becomes(&gateway, "stored", "ok").await;
    all_worked(&everywhere(&gateway, "stored", "echo").await);

    for front in &fronts {
        all_as(front, &own, "servers.internal");
    }
    // The settings are of the way, and never of what is sent.
    for upstream in [&old, &new] {
        let everything = upstream.everything();
        for word in ["tls_", "BEGIN CERTIFICATE", own.secret()] {
            assert!(!everything.contains(word), "{word}: {everything}");
        }
    }
}

#[tokio::test]
async fn b57_a_certificate_of_another_authority_is_refused_by_every_way() {
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let upstream = ScriptedUpstream::start().await;
    let (_api, api) = api().await;
    let identity = right.issue(&["127.0.0.1"]);
    let front = Setup::of(&identity, upstream.port()).start().await;
    let pets = Setup::of(&identity, api).start().await;
    let document = format!("spec_path: {}/openapi.json", pets.origin());
    let gateway = TestGateway::start(&servers(&[
        entry("wrong", &front.url(), &Tls::ca(&wrong.pem), ""),
        // The machine's authorities do not know it either.
        entry("none", &front.url(), &Tls::default(), ""),
        entry("pets", &pets.origin(), &Tls::ca(&wrong.pem), &document),
    ]))
    .await;
    for (server, tool) in [("wrong", "echo"), ("none", "echo"), ("pets", "listpets")] {
        let outcome = becomes(&gateway, server, "unreachable").await;
        assert_eq!(outcome["step"], "tls", "{outcome}");
        let words = ["the server's certificate comes from an authority that is not trusted here"];
        let said = everywhere(&gateway, server, tool).await;
        all_refused(&said, &words);
        for answer in said.iter().filter(|answer| answer.place != "MCP call") {
            assert!(
                answer.text.contains("set tls_ca of the server"),
                "{}: {}",
                answer.place,
                answer.text
            );
        }
    }
    assert_eq!((upstream.connections(), upstream.requests().len()), (0, 0));
}

#[tokio::test]
async fn the_name_that_is_asked_for_is_the_one_that_is_verified() {
    let authority = Authority::new("internal");
    let upstream = ScriptedUpstream::start().await;
    let identity = authority.issue(&["files.internal"]);
    let front = Setup::of(&identity, upstream.port()).start().await;
    let url = format!("https://localhost:{}/mcp", front.port());
    let ca = Tls::ca(&authority.pem);
    let named = ca.clone().with("tls_server_name", "files.internal");
    let gateway = TestGateway::start(&servers(&[
        entry("named", &url, &named, ""),
        entry("other", &url, &ca, ""),
    ]))
    .await;
    becomes(&gateway, "named", "ok").await;
    let outcome = becomes(&gateway, "other", "unreachable").await;
    assert_eq!(
        outcome["message"],
        "the server's certificate is not for the name localhost; it is for files.internal"
    );
    assert!(
        outcome["hint"].as_str().unwrap().contains("tls_server_name"),
        "{outcome}"
    );
    all_worked(&everywhere(&gateway, "named", "echo").await);
    for handshake in front.seen() {
        assert_eq!(handshake.name.as_deref(), Some("files.internal"));
    }
    // `Host` is that of the address all the same.
    assert!(
        upstream
            .everything()
            .contains(&format!("localhost:{}", front.port()))
    );
}

#[tokio::test]
async fn a_server_that_speaks_an_older_tls_than_it_may_is_refused() {
    let authority = Authority::new("internal");
    let upstream = ScriptedUpstream::start().await;
    let identity = authority.issue(&["127.0.0.1"]);
    let setup = Setup {
        versions: &OLD,
        ..Setup::of(&identity, upstream.port())
    };
    let front = setup.start().await;
    let ca = Tls::ca(&authority.pem);
    let gateway = TestGateway::start(&servers(&[
        entry("usual", &front.url(), &ca, ""),
        entry(
            "strict",
            &front.url(),
            &ca.clone().with("tls_min_version", "1.3"),
            "",
        ),
    ]))
    .await;
    becomes(&gateway, "usual", "ok").await;
    let outcome = becomes(&gateway, "strict", "unreachable").await;
    assert_eq!(outcome["step"], "tls", "{outcome}");
    let said = everywhere(&gateway, "strict", "echo").await;
    all_refused(&said, &["no TLS version"]);
    assert!(
        outcome["hint"].as_str().unwrap().contains("tls_min_version"),
        "{outcome}"
    );
    for handshake in front.seen() {
        assert_eq!(handshake.version, Some(ProtocolVersion::TLSv1_2));
    }
    assert_eq!(row(&gateway.client(), "strict").await["tls_min_version"], "1.3");
}

/// `openssl req -x509` makes such certificates unless it is told otherwise.
#[tokio::test]
async fn a_server_whose_certificate_is_signed_by_itself_is_believed_by_that_certificate() {
    let upstream = ScriptedUpstream::start().await;
    let (own, other) = (
        Identity::self_signed(&["127.0.0.1"]),
        Identity::self_signed(&["127.0.0.1"]),
    );
    let front = Setup::of(&own, upstream.port()).start().await;
    let elsewhere = Setup::of(&Identity::self_signed(&["files.internal"]), upstream.port())
        .start()
        .await;
    let gateway = TestGateway::start(&servers(&[
        entry("own", &front.url(), &Tls::ca(&own.cert), ""),
        entry("other", &front.url(), &Tls::ca(&other.cert), ""),
        entry("name", &elsewhere.url(), &Tls::ca(&own.cert), ""),
    ]))
    .await;
    becomes(&gateway, "own", "ok").await;
    all_worked(&everywhere(&gateway, "own", "echo").await);
    for server in ["other", "name"] {
        let outcome = becomes(&gateway, server, "unreachable").await;
        assert_eq!(outcome["step"], "tls", "{outcome}");
    }
}
