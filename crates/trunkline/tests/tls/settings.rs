//! What is refused and what holds for all servers; files of certificates that change while the gateway runs.

use serde_json::json;
use trunkline_model::{Clock as _, SystemClock};
use trunkline_testkit::{ScriptedUpstream, TestGateway};

use crate::front::{Authority, Identity, Setup};
use crate::support::{Tls, all_refused, all_worked, becomes, entry, everywhere, file, row, servers};

fn old(params: &mut rcgen::CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}

#[tokio::test]
async fn a_file_of_authorities_that_changes_is_read_again() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let folder = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start().await;
    let (first, second) = (before.issue(&["127.0.0.1"]), after.issue(&["127.0.0.1"]));
    let front = Setup::of(&first, upstream.port()).start().await;
    let path = file(&folder, "ca.pem", &before.pem);
    let gateway = TestGateway::start(&servers(&[entry("files", &front.url(), &Tls::ca(&path), "")])).await;
    becomes(&gateway, "files", "ok").await;
    assert_eq!(row(&gateway.client(), "files").await["tls_ca"], path);

    // Another authority in the file: the server that has not changed is not believed, whatever connections there are.
    file(&folder, "ca.pem", &after.pem);
    let outcome = becomes(&gateway, "files", "unreachable").await;
    assert_eq!(outcome["step"], "tls", "{outcome}");
    let said = everywhere(&gateway, "files", "echo").await;
    all_refused(&said, &["an authority that is not trusted here"]);

    // What cannot be read leaves what there was.
    file(&folder, "ca.pem", "nothing\n");
    let client = gateway.client();
    let reload = client.post("/config/reload", &json!({})).await;
    assert!(!reload.status.is_success(), "{}", reload.text());
    assert!(reload.text().contains("tls_ca"), "{}", reload.text());

    front.become_as(&Setup::of(&second, upstream.port()));
    file(&folder, "ca.pem", &after.pem);
    let health = async || {
        let path = "/v1/mcp/server/health";
        client.get(path).await.expect_status(200).json()[0]["outcome"]["status"].clone()
    };
    trunkline_testkit::eventually("the new one is believed", crate::support::PATIENCE, async || {
        health().await == "ok"
    })
    .await;
    all_worked(&everywhere(&gateway, "files", "echo").await);
}

#[tokio::test]
async fn a_certificate_that_has_expired_takes_out_its_server_and_no_other() {
    let authority = Authority::new("internal");
    let folder = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start().await;
    let server = authority.issue(&["127.0.0.1"]);
    let front = Setup::of(&server, upstream.port()).start().await;
    let own = authority.issue_with(&["gateway"], old);
    let (cert, key) = (
        file(&folder, "own.pem", &own.cert),
        file(&folder, "own.key", &own.key),
    );
    let expired = Tls::ca(&authority.pem)
        .with("tls_client_cert", &cert)
        .with("tls_client_key", &key);
    let gateway = TestGateway::start(&servers(&[
        entry("expired", &front.url(), &expired, ""),
        entry("files", &front.url(), &Tls::ca(&authority.pem), ""),
    ]))
    .await;
    becomes(&gateway, "files", "ok").await;
    all_worked(&everywhere(&gateway, "files", "echo").await);
    let outcome = becomes(&gateway, "expired", "misconfigured").await;
    let message = outcome["message"].as_str().unwrap();
    assert!(message.contains("tls_client_cert"), "{message}");
    assert!(message.contains("expired on 2021-01-01"), "{message}");
    let connections = front.seen().len();
    all_refused(
        &everywhere(&gateway, "expired", "echo").await,
        &["expired on 2021-01-01"],
    );
    assert_eq!(front.seen().len(), connections, "never contacted");
    let log = gateway.log();
    assert!(
        log.contains("tls_client_cert") && log.contains("expired on"),
        "{log}"
    );

    // A server's own certificate that has expired.
    let stale = authority.issue_with(&["127.0.0.1"], old);
    front.become_as(&Setup::of(&stale, upstream.port()));
    let body = Tls::ca(&authority.pem).body(json!({"transport": "http", "url": front.url()}));
    let tried = gateway.client().post("/mcp-rest/test/connection", &body).await;
    let text = tried.expect_status(200).text();
    assert!(
        text.contains("the server's certificate expired on 2021-01-01"),
        "{text}"
    );
}

/// A file that is put there after the configuration that names it was refused is read when it comes.
#[tokio::test]
async fn a_file_that_comes_after_the_one_that_names_it_is_read() {
    let authority = Authority::new("internal");
    let folder = tempfile::tempdir().unwrap();
    let upstream = ScriptedUpstream::start().await;
    let server = authority.issue(&["127.0.0.1"]);
    let front = Setup::of(&server, upstream.port()).start().await;
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let path = folder.path().join("late.pem").to_string_lossy().into_owned();
    let config = servers(&[entry("files", &front.url(), &Tls::ca(&path), "")]);
    std::fs::write(gateway.config_path(), config).unwrap();
    trunkline_testkit::eventually("it is refused", crate::support::PATIENCE, async || {
        gateway.log().contains("the configuration file was not taken")
    })
    .await;
    // Several looks at it say it once.
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    let log = gateway.log();
    assert_eq!(
        log.matches("the configuration file was not taken").count(),
        1,
        "{log}"
    );
    file(&folder, "late.pem", &authority.pem);
    let client = gateway.client();
    trunkline_testkit::eventually("it is read", crate::support::PATIENCE, async || {
        let rows = client.get("/v1/mcp/server").await.expect_status(200).json();
        !rows.as_array().unwrap().is_empty()
    })
    .await;
    becomes(&gateway, "files", "ok").await;
    all_worked(&everywhere(&gateway, "files", "echo").await);
}

/// Time passing keeps nobody from changing what else a server has.
#[tokio::test]
async fn a_certificate_that_has_expired_since_is_said_and_blocks_no_change() {
    let authority = Authority::new("internal");
    let own = authority.issue_with(&["gateway"], |params| {
        let now = std::time::SystemTime::from(SystemClock.now());
        let soon = now + std::time::Duration::from_secs(4);
        params.not_after = soon.into();
    });
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let client = gateway.client();
    let tls = Tls::default().identity(&own);
    let body =
        tls.body(json!({"server_name": "files", "transport": "http", "url": "https://127.0.0.1:9/mcp"}));
    let made = client.post("/v1/mcp/server", &body).await;
    let made = made.expect_status(201).json();
    let change = |description: &str| json!({"server_id": made["server_id"], "description": description});
    trunkline_testkit::eventually("it has expired", crate::support::PATIENCE, async || {
        let changed = client.put("/v1/mcp/server", &change("another")).await;
        changed.expect_status(202).text().contains("expired on")
    })
    .await;
    assert_eq!(row(&client, "files").await["description"], "another");
    // The same certificate is refused where it is new.
    let other =
        tls.body(json!({"server_name": "other", "transport": "http", "url": "https://127.0.0.1:9/mcp"}));
    let refused = client.post("/v1/mcp/server", &other).await;
    assert!(refused.expect_status(400).text().contains("expired on"));
}

/// What the API refuses names its field and what to do.
#[tokio::test]
async fn b57_what_cannot_be_used_is_refused_by_the_api() {
    let authority = Authority::new("internal");
    let (own, other) = (authority.issue(&["gateway"]), authority.issue(&["other"]));
    let gone = authority.issue_with(&["gateway"], old);
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "ca.pem", &authority.pem);
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let cut = &own.cert[..own.cert.len() / 2];
    let secret = own.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let pair = |cert: &str, key: &str| {
        Tls::default()
            .with("tls_client_cert", cert)
            .with("tls_client_key", key)
    };
    for (tls, field, words) in [
        (Tls::ca(&path), "tls_ca", "configuration file only"),
        (Tls::ca(cut), "tls_ca", "PEM"),
        (Tls::ca(&own.key), "tls_ca", "private key"),
        (pair(&own.cert, &other.key), "tls_client_key", "is not the key of"),
        (pair(&own.cert, &secret), "tls_client_key", "passphrase"),
        (
            pair(&gone.cert, &gone.key),
            "tls_client_cert",
            "expired on 2021-01-01",
        ),
        (
            Tls::default().with("tls_client_cert", &own.cert),
            "tls_client_key",
            "is missing",
        ),
        (
            Tls::default().with("tls_client_key", &own.key),
            "tls_client_cert",
            "is missing",
        ),
        (
            Tls::default().with("tls_server_name", "a b"),
            "tls_server_name",
            "name of a host",
        ),
        (
            Tls::default().with("ssl_verify", "false"),
            "ssl_verify",
            "did you mean tls_ca?",
        ),
        (
            Tls::default().with("tls_min_version", "1.1"),
            "tls_min_version",
            "1.2",
        ),
    ] {
        let body =
            tls.body(json!({"server_name": "files", "transport": "http", "url": "https://a.test/mcp"}));
        for path in [
            "/v1/mcp/server",
            "/mcp-rest/test/connection",
            "/mcp-rest/test/tools/list",
        ] {
            let refused = gateway.client().post(path, &body).await;
            let text = refused.text();
            let status = refused.status.as_u16();
            assert!([400, 422].contains(&status), "{path} {field}: {status} {text}");
            assert!(
                text.contains(field) && text.contains(words),
                "{path} {field}: {text}"
            );
        }
    }
}

/// `ssl_verify` of LiteLLM: a path is for all servers, and `false` turns nothing off and says what to do.
#[tokio::test]
async fn certificates_are_verified_whatever_ssl_verify_says() {
    let authority = Authority::new("internal");
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "ca.pem", &authority.pem);
    let upstream = ScriptedUpstream::start().await;
    let front = Setup::of(&authority.issue(&["127.0.0.1"]), upstream.port())
        .start()
        .await;
    let config = servers(&[entry("files", &front.url(), &Tls::default(), "")]);
    let own = Identity::self_signed(&["127.0.0.1"]);
    let alone = Setup::of(&own, upstream.port()).start().await;
    let alone_config = servers(&[entry("files", &alone.url(), &Tls::default(), "")]);
    let own_path = file(&folder, "own.pem", &own.cert);
    for (config, path) in [(&config, &path), (&alone_config, &own_path)] {
        for (line, variable) in [(path.as_str(), None), ("false", Some(path.as_str()))] {
            let text = format!("litellm_settings:\n  ssl_verify: {line}\n{config}");
            let mut builder = TestGateway::builder().config(&text);
            if let Some(path) = variable {
                builder = builder.env("SSL_VERIFY", path);
            }
            let gateway = builder.start().await;
            becomes(&gateway, "files", "ok").await;
        }
    }
    for (text, variable) in [
        (format!("litellm_settings:\n  ssl_verify: false\n{config}"), None),
        (config, Some("False")),
    ] {
        let mut builder = TestGateway::builder().config(&text);
        if let Some(value) = variable {
            builder = builder.env("SSL_VERIFY", value);
        }
        let gateway = builder.start().await;
        let outcome = becomes(&gateway, "files", "unreachable").await;
        assert_eq!(outcome["step"], "tls", "{outcome}");
        let log = gateway.log();
        let warned = log
            .lines()
            .find(|line| line.to_ascii_lowercase().contains("ssl_verify"))
            .unwrap_or_else(|| panic!("no word of it: {log}"));
        assert!(warned.contains("WARN") && warned.contains("tls_ca"), "{warned}");
        let config = gateway.config_path();
        let checked = gateway.run(&["config", "check", config.to_str().unwrap()]).await;
        let printed = format!("{checked:?}");
        assert!(printed.contains("tls_ca"), "{printed}");
    }
    assert!(upstream.connections() > 0);
}
