//! Proxies that the environment names.

use serde_json::json;
use trunkline_testkit::{Canary, GatewayBuilder, ScriptedUpstream, TestGateway};

use crate::front::{Authority, Setup};
use crate::support::{Tls, all_refused, all_worked, api, becomes, entry, everywhere, servers};
use crate::tunnel::{Manner, Tunnel};

/// Servers of one network, reached by names that only the proxy knows, and one that is reached directly.
#[tokio::test]
async fn every_way_to_a_server_is_by_the_proxy_of_the_environment() {
    let password = Canary::new("proxy-password");
    let authority = Authority::new("internal");
    let (secure, plain, near) = (
        ScriptedUpstream::start().await,
        ScriptedUpstream::start().await,
        ScriptedUpstream::start().await,
    );
    let (_api, api) = api().await;
    let identity = authority.issue(&["files.internal", "pets.internal"]);
    let front = Setup::of(&identity, secure.port()).start().await;
    let pets = Setup::of(&identity, api).start().await;
    let credential = basic(&format!("gateway:{}", password.value()));
    let manner = Manner {
        wants: Some(credential.clone()),
        ..Manner::default()
    };
    let (tunnel, web) = (Tunnel::start(manner.clone()).await, Tunnel::start(manner).await);
    let user = format!("gateway:{}", password.value());
    let ca = Tls::ca(&authority.pem);
    let (https, http) = (
        format!("https://files.internal:{}", front.port()),
        format!("http://plain.internal:{}", plain.port()),
    );
    let api = format!("https://pets.internal:{}", pets.port());
    let document = format!("spec_path: {api}/openapi.json");
    let config = servers(&[
        entry("secure", &format!("{https}/mcp"), &ca, ""),
        entry("plain", &format!("{http}/mcp"), &Tls::default(), ""),
        entry("near", &near.url(), &Tls::default(), ""),
        entry("pets", &api, &ca, &document),
    ]);
    let gateway = TestGateway::builder()
        .config(&format!(
            "{config}general_settings:\n  mcp_proxy_loopback: true\n"
        ))
        .env("HTTPS_PROXY", &tunnel.url(&user))
        .env("HTTP_PROXY", &web.url(&user))
        .env("NO_PROXY", "127.0.0.1, other.internal")
        .env("RUST_LOG", "trace")
        .start()
        .await;
    let mut seen = Vec::new();
    for (server, tool) in [
        ("secure", "echo"),
        ("plain", "echo"),
        ("near", "echo"),
        ("pets", "listpets"),
    ] {
        becomes(&gateway, server, "ok").await;
        let said = everywhere(&gateway, server, tool).await;
        all_worked(&said);
        let doctor = said.iter().find(|answer| answer.place == "doctor").unwrap();
        assert_eq!(
            doctor.text.contains("by way of the proxy http://127.0.0.1:"),
            server != "near",
            "{}",
            doctor.text
        );
        seen.extend(said.into_iter().map(|answer| (answer.place, answer.text)));
    }
    for (proxy, beginnings) in [
        (
            &tunnel,
            vec![
                format!("CONNECT files.internal:{}", front.port()),
                format!("CONNECT pets.internal:{}", pets.port()),
            ],
        ),
        (
            &web,
            ["POST", "GET", "DELETE"]
                .map(|method| format!("{method} {http}/mcp"))
                .to_vec(),
        ),
    ] {
        let asked = proxy.asked();
        assert!(!asked.is_empty());
        for asked in asked {
            assert!(beginnings.contains(&asked.line), "{asked:?}");
            assert_eq!(
                asked.credential.as_deref(),
                Some(credential.as_str()),
                "{asked:?}"
            );
        }
    }
    // The credential is the proxy's: a server behind a tunnel, or without a proxy, never sees it.
    for upstream in [&secure, &near] {
        assert!(
            !upstream
                .everything()
                .to_ascii_lowercase()
                .contains("proxy-authorization")
        );
    }
    seen.push(("log", gateway.log()));
    seen.push(("secure", secure.everything()));
    password.assert_absent(&seen);
}

fn basic(user: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
}

fn behind(proxy: &str, config: &str) -> GatewayBuilder {
    TestGateway::builder()
        .config(config)
        .env("https_proxy", proxy)
        .env("http_proxy", proxy)
        // The lower case wins.
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("HTTP_PROXY", "http://127.0.0.1:9")
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_named() {
    let password = Canary::new("proxy-password");
    let upstream = ScriptedUpstream::start().await;
    let authority = Authority::new("internal");
    let front = Setup::of(&authority.issue(&["files.internal"]), upstream.port())
        .start()
        .await;
    let config = servers(&[
        entry(
            "secure",
            &format!("https://files.internal:{}/mcp", front.port()),
            &Tls::ca(&authority.pem),
            "",
        ),
        entry(
            "plain",
            &format!("http://plain.internal:{}/mcp", upstream.port()),
            &Tls::default(),
            "",
        ),
    ]);
    let manner = Manner {
        wants: Some(basic("someone:else")),
        ..Manner::default()
    };
    let tunnel = Tunnel::start(manner).await;
    let closed = ScriptedUpstream::refusing().await;
    let user = format!("gateway:{}", password.value());
    for (proxy, words, hint) in [
        (
            tunnel.url(""),
            "answered HTTP 407",
            "put the user and the password into",
        ),
        (
            tunnel.url(&user),
            "answered HTTP 407",
            "check the user and the password",
        ),
        (
            format!("http://{user}@127.0.0.1:{}", closed.port()),
            "no connection to the proxy http://127.0.0.1:",
            "check that the proxy runs",
        ),
    ] {
        let gateway = behind(&proxy, &config).start().await;
        for server in ["secure", "plain"] {
            let outcome = becomes(&gateway, server, "unreachable").await;
            assert_eq!(outcome["step"], "proxy", "{outcome}");
            assert!(outcome["hint"].as_str().unwrap().contains(hint), "{outcome}");
            let said = everywhere(&gateway, server, "echo").await;
            all_refused(&said, &[words]);
            for answer in &said {
                password.assert_absent(&[(answer.place, &answer.text)]);
            }
        }
        password.assert_absent(&[("log", gateway.log())]);
    }
    assert_eq!(
        (upstream.connections(), front.seen().len()),
        (0, 0),
        "nothing went around it"
    );
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_stops_the_start() {
    let password = Canary::new("proxy-password");
    for (scheme, words) in [("socks5", "another kind"), ("https", "TLS")] {
        let proxy = format!("{scheme}://gateway:{}@127.0.0.1:9", password.value());
        let started = TestGateway::builder()
            .config("mcp_servers: {}\n")
            .env("HTTPS_PROXY", &proxy)
            .try_start()
            .await;
        let failure = started.expect_err("it would have to go around its proxy");
        assert!(failure.stderr.contains("HTTPS_PROXY"), "{failure}");
        assert!(failure.stderr.contains(words), "{failure}");
        password.assert_absent(&[("stderr", &failure.stderr), ("stdout", &failure.stdout)]);
    }
}

/// A proxy is no way around the rules of where connections may go.
#[tokio::test]
async fn s11_addresses_that_are_not_allowed_are_not_asked_of_the_proxy() {
    let tunnel = Tunnel::start(Manner::default()).await;
    let upstream = ScriptedUpstream::start().await;
    let narrow =
        "mcp_servers: {}\ngeneral_settings:\n  mcp_proxy_loopback: true\n  mcp_egress_allow: [private]\n";
    let usual = "mcp_servers: {}\ngeneral_settings:\n  mcp_proxy_loopback: true\n";
    for (config, url, words) in [
        (
            usual,
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "are not allowed",
        ),
        (usual, "https://[fd00:ec2::254]/".to_owned(), "are not allowed"),
        (narrow, upstream.url(), "are not allowed"),
        (
            narrow,
            format!("http://localhost:{}/mcp", upstream.port()),
            "are not allowed",
        ),
        (
            narrow,
            format!("http://files.internal:{}/mcp", upstream.port()),
            "does not resolve here",
        ),
    ] {
        let gateway = behind(&tunnel.url(""), config).start().await;
        let body = json!({"transport": "http", "url": url});
        let tried = gateway.client().post("/mcp-rest/test/connection", &body).await;
        let text = tried.expect_status(200).text();
        assert!(
            text.contains(words) && text.contains("misconfigured"),
            "{url}: {text}"
        );
    }
    assert!(tunnel.asked().is_empty(), "{:?}", tunnel.asked());
}
