//! Certificates of the gateway's own: shown where they are asked for, to nobody else, and their key to nobody at all.

use std::path::Path;

use serde_json::json;
use trunkline_testkit::{ScriptedUpstream, TestGateway};

use crate::front::{Authority, OLD, Setup};
use crate::support::{Tls, all_refused, all_worked, becomes, entry, everywhere, row, servers};

#[tokio::test]
async fn a_server_that_requires_a_certificate_says_what_it_missed() {
    let (authority, clients, strangers) = (
        Authority::new("internal"),
        Authority::new("clients"),
        Authority::new("strangers"),
    );
    let (upstream, fine) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let server = authority.issue(&["127.0.0.1"]);
    let front = Setup::of(&server, upstream.port())
        .clients(&clients)
        .start()
        .await;
    let open = Setup::of(&server, fine.port()).clients(&clients).start().await;
    let old = Setup {
        versions: &OLD,
        ..Setup::of(&server, upstream.port()).clients(&clients)
    };
    let old = old.start().await;
    let ca = Tls::ca(&authority.pem);
    let stranger = ca.clone().identity(&strangers.issue(&["gateway"]));
    let own = ca.clone().identity(&clients.issue(&["gateway"]));
    let gateway = TestGateway::start(&servers(&[
        entry("missing", &front.url(), &ca, ""),
        entry("stranger", &front.url(), &stranger, ""),
        entry("old", &old.url(), &ca, ""),
        entry("right", &open.url(), &own, ""),
    ]))
    .await;
    becomes(&gateway, "right", "ok").await;
    all_worked(&everywhere(&gateway, "right", "echo").await);
    for (server, words, hint) in [
        (
            "missing",
            "the server requires a client certificate, and none is configured",
            "set tls_client_cert and tls_client_key of the server",
        ),
        (
            "stranger",
            "the server refuses the gateway's client certificate (tls_client_cert)",
            "authority that the server believes",
        ),
        (
            "old",
            "the server requires a client certificate, and none is configured",
            "set tls_client_cert and tls_client_key of the server",
        ),
    ] {
        let outcome = becomes(&gateway, server, "unreachable").await;
        assert_eq!(outcome["step"], "tls", "{outcome}");
        assert!(outcome["hint"].as_str().unwrap().contains(hint), "{outcome}");
        all_refused(&everywhere(&gateway, server, "echo").await, &[words]);
    }
    assert_eq!(upstream.requests().len(), 0, "nothing went through");
}

/// One address, two certificates of the gateway's: what is behind tells them apart.
#[tokio::test]
async fn servers_with_different_certificates_share_no_connection() {
    let (authority, clients) = (Authority::new("internal"), Authority::new("clients"));
    let (first, second) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let (one, two) = (clients.issue(&["one"]), clients.issue(&["two"]));
    let server = authority.issue(&["127.0.0.1"]);
    let setup = Setup {
        behind: vec![(Some(one.der()), first.port()), (Some(two.der()), second.port())],
        ..Setup::of(&server, first.port()).clients(&clients)
    };
    let front = setup.start().await;
    let ca = Tls::ca(&authority.pem);
    let gateway = TestGateway::start(&servers(&[
        entry("one", &front.url(), &ca.clone().identity(&one), ""),
        entry("two", &front.url(), &ca.clone().identity(&two), ""),
    ]))
    .await;
    for server in ["one", "two"] {
        becomes(&gateway, server, "ok").await;
    }
    first.clear();
    second.clear();
    let mut client = gateway.mcp();
    client.initialize().await;
    for round in 0..10 {
        for server in ["one", "two"] {
            let arguments = json!({"message": format!("{server}-{round}")});
            let reply = client.call(&format!("{server}-echo"), &arguments, None).await;
            assert_eq!(reply.result()["content"][0]["text"], arguments["message"]);
        }
    }
    for (own, upstream, other) in [("one", &first, "\"two-"), ("two", &second, "\"one-")] {
        assert_eq!(upstream.count("tools/call"), 10, "{own}");
        assert!(!upstream.everything().contains(other), "{own}");
    }
    // Kept and used again all the same.
    assert!(front.seen().len() < 10, "{}", front.seen().len());
}

/// Everything in the files of a folder.
fn bytes_in(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_in(&path));
        } else {
            all.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    all
}

#[tokio::test]
async fn the_key_of_a_certificate_is_shown_nowhere() {
    let (authority, clients) = (Authority::new("internal"), Authority::new("clients"));
    let upstream = ScriptedUpstream::start().await;
    let server = authority.issue(&["127.0.0.1"]);
    let front = Setup::of(&server, upstream.port())
        .clients(&clients)
        .start()
        .await;
    let own = clients.issue(&["gateway"]);
    let tls = Tls::ca(&authority.pem).identity(&own);
    let mut gateway = TestGateway::builder()
        .config(&servers(&[entry("filed", &front.url(), &tls, "")]))
        .env("RUST_LOG", "trace")
        .start()
        .await;
    let client = gateway.client();
    let mut seen = Vec::new();
    let body = tls.body(json!({"server_name": "stored", "transport": "http", "url": front.url()}));
    let stored = client.post("/v1/mcp/server", &body).await.expect_status(201);
    let id = stored.json()["server_id"].as_str().unwrap().to_owned();
    seen.push(("registration", stored.text()));
    assert_eq!(stored.json()["tls_client_key"], "***");
    assert_eq!(stored.json()["tls_client_cert"], own.cert.as_str());

    // The mask in a change keeps the key; so it does over a restart.
    let change = json!({"server_id": id, "description": "another", "tls_client_key": "***"});
    let changed = client.put("/v1/mcp/server", &change).await.expect_status(202);
    seen.push(("change", changed.text()));
    for _ in 0..2 {
        for server in ["filed", "stored"] {
            becomes(&gateway, server, "ok").await;
            let said = everywhere(&gateway, server, "echo").await;
            all_worked(&said);
            seen.extend(said.into_iter().map(|answer| (answer.place, answer.text)));
            let own_row = row(&gateway.client(), server).await;
            assert_eq!(own_row["tls_client_key"], "***", "{server}");
            seen.push(("row", own_row.to_string()));
        }
        seen.push(("log", gateway.log()));
        gateway.restart().await;
    }
    // A key that cannot be used is refused without its words.
    let broken = own.key.replace(own.secret(), &own.secret()[1..]);
    for key in [broken.as_str(), server.key.as_str(), own.secret()] {
        let mut body = body.clone();
        (body["server_name"], body["tls_client_key"]) = ("broken".into(), key.into());
        for path in ["/v1/mcp/server", "/mcp-rest/test/connection"] {
            let refused = client.post(path, &body).await.expect_status(400);
            assert!(refused.text().contains("tls_client_key"), "{}", refused.text());
            seen.push(("refusal", refused.text()));
        }
    }
    seen.push(("log", gateway.log()));
    let database = bytes_in(&gateway.data_dir());
    seen.push(("database", String::from_utf8_lossy(&database).into_owned()));
    for (place, text) in &seen {
        // A piece of a line: lines are broken otherwise in some formats.
        let piece = &own.secret()[8..40];
        assert!(!text.contains(piece), "{place}");
    }
}

/// `os.environ/NAME` is a secret of the gateway's environment, which the database does not hold.
#[tokio::test]
async fn a_key_may_be_in_the_environment() {
    let (authority, clients) = (Authority::new("internal"), Authority::new("clients"));
    let upstream = ScriptedUpstream::start().await;
    let server = authority.issue(&["127.0.0.1"]);
    let front = Setup::of(&server, upstream.port())
        .clients(&clients)
        .start()
        .await;
    let own = clients.issue(&["gateway"]);
    let tls = Tls::ca(&authority.pem)
        .with("tls_client_cert", &own.cert)
        .with("tls_client_key", "os.environ/GATEWAY_KEY");
    let gateway = TestGateway::builder()
        .config(&servers(&[entry("filed", &front.url(), &tls, "")]))
        .env("GATEWAY_KEY", &own.key)
        .start()
        .await;
    let body = tls.body(json!({"server_name": "stored", "transport": "http", "url": front.url()}));
    gateway
        .client()
        .post("/v1/mcp/server", &body)
        .await
        .expect_status(201);
    for server in ["filed", "stored"] {
        becomes(&gateway, server, "ok").await;
        all_worked(&everywhere(&gateway, server, "echo").await);
    }
}
