//! Getting in without the gateway's key: S02, S05, S20.

use http::{Method, Request};
use serde_json::Value;
use trunkline_testkit::{Canary, HttpClient, Reply, ScriptedUpstream, TestGateway, repository_root};

use crate::support::{config, encoded, list_message, listed, raw, status_of};

/// Routes that answer anybody, and what they say.
const PUBLIC: [&str; 6] = [
    "/health/liveliness",
    "/health/liveness",
    "/health/live",
    "/health/readiness",
    "/mcp/enabled",
    "/nothing/here",
];

/// Every route that wants a key: those of the committed OpenAPI document, and the MCP endpoints, which it leaves out.
fn routes() -> Vec<(Method, String)> {
    let text = std::fs::read_to_string(repository_root().join("docs/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let open = operation["security"] == serde_json::json!([{}]);
            assert_eq!(open, PUBLIC.contains(&path.as_str()), "{method} {path}");
            if !open {
                let method = method.to_uppercase().parse().unwrap();
                routes.push((method, path.replace("{server_id}", "some-id")));
            }
        }
    }
    assert!(routes.len() >= 17, "the document lists the routes: {routes:?}");
    for path in [
        "/mcp",
        "/mcp/",
        "/files/mcp",
        "/files/mcp/",
        "/mcp/files",
        "/mcp/files/",
        "/mcp/files/mcp",
        "/nosuch/mcp",
    ] {
        for method in [
            Method::GET,
            Method::POST,
            Method::DELETE,
            Method::PUT,
            Method::OPTIONS,
            Method::HEAD,
        ] {
            routes.push((method, path.to_owned()));
        }
    }
    for path in ["/sse", "/mcp/sse", "/files/sse", "/mcp/files/sse", "/nosuch/sse"] {
        routes.push((Method::GET, path.to_owned()));
        routes.push((Method::POST, format!("{path}/messages?session_id=AAAA")));
    }
    routes.push((Method::HEAD, "/metrics".to_owned()));
    routes
}

/// A JWT as an identity provider makes them, with `exp` long ago.
const EXPIRED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZG1pbiIsInJvbGUiOiJwcm94eV9hZG1pbiIsImV4cCI6MX0.c2lnbmF0dXJl";

/// Headers that prove nothing.
fn proofs_of_nothing(key: &str) -> Vec<Vec<(&'static str, String)>> {
    let shorter = &key[..key.len() - 1];
    let authorization = |value: String| vec![("authorization", value)];
    vec![
        vec![],
        authorization("Bearer garbage".into()),
        authorization(format!("Bearer {EXPIRED}")),
        authorization(format!("Bearer {shorter}")),
        authorization(format!("Bearer {key}x")),
        authorization(format!("Bearer {}", key.to_uppercase())),
        authorization("Bearer ".into()),
        authorization("Bearer null".into()),
        authorization("Bearer sk-1234".into()),
        // Without the scheme, and under others.
        authorization(key.to_owned()),
        authorization(format!("Basic {key}")),
        authorization(format!("token {key}")),
        authorization(format!("Digest {key}")),
        vec![("x-litellm-api-key", "sk-wrong".into())],
        vec![("x-litellm-api-key", String::new())],
        // The first header decides: a good key behind a bad one does not help.
        vec![
            ("x-litellm-api-key", "sk-wrong".into()),
            ("authorization", format!("Bearer {key}")),
        ],
        vec![("cookie", format!("token={key}"))],
        vec![("x-mcp-auth", key.to_owned())],
        vec![("x-mcp-files-authorization", format!("Bearer {key}"))],
    ]
}

async fn ask(client: &HttpClient, method: &Method, path: &str, proof: &[(&'static str, String)]) -> Reply {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in proof {
        request = request.header(*name, value);
    }
    let request = request.body(list_message().into()).unwrap();
    client
        .try_send(request)
        .await
        .unwrap_or_else(|error| panic!("{method} {path} {proof:?}: {error}"))
}

#[tokio::test]
async fn s05_without_a_key_every_route_is_401_and_no_upstream_hears_of_it() {
    let upstream = ScriptedUpstream::builder().bearer("upstream-key").start().await;
    let text = config(&[("files", &upstream)])
        + "    auth_type: bearer_token\n    authentication_token: upstream-key\n";
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, "files").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let session = client.session().unwrap().to_owned();
    upstream.clear();
    let connections = upstream.connections();

    let anonymous = gateway.anonymous().keeping_connections();
    let upstream_bearers = [
        vec![],
        vec![
            ("x-mcp-files-authorization", "Bearer upstream-key".to_owned()),
            ("x-mcp-auth", "upstream-key".to_owned()),
            ("mcp-session-id", session),
        ],
    ];
    for (method, path) in routes() {
        for proof in proofs_of_nothing(gateway.master_key()) {
            for extra in &upstream_bearers {
                let mut headers = proof.clone();
                headers.extend(extra.iter().cloned());
                let reply = ask(&anonymous, &method, &path, &headers).await;
                // What is no method of an endpoint is refused before anybody is asked for a key.
                let refused = [Method::PUT, Method::OPTIONS, Method::HEAD].contains(&method)
                    && reply.status.as_u16() == 405;
                assert!(
                    reply.status.as_u16() == 401 || refused,
                    "{method} {path} {headers:?}: {}",
                    reply.everything()
                );
                if !refused {
                    assert!(
                        reply.header("www-authenticate").is_some(),
                        "{method} {path}: {}",
                        reply.everything()
                    );
                }
            }
        }
    }
    // As an upstream's own credential, where the gateway's is asked for.
    let as_bearer = [("authorization", "Bearer upstream-key".to_owned())];
    for (method, path) in routes() {
        let reply = ask(&anonymous, &method, &path, &as_bearer).await;
        assert!(
            [401, 405].contains(&reply.status.as_u16()),
            "{method} {path}: {}",
            reply.everything()
        );
    }
    assert_eq!(upstream.everything(), "", "no upstream was asked anything");
    assert_eq!(upstream.connections(), connections, "nor connected to");

    // The same requests with the key are let in: it was the key that was missing.
    let reply = gateway.client().get("/mcp-rest/tools/list").await;
    reply.expect_status(200);
}

#[tokio::test]
async fn s05_two_credentials_of_a_kind_are_refused() {
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let key = gateway.master_key();
    for path in ["/mcp", "/v1/mcp/server", "/mcp-rest/tools/list", "/metrics"] {
        for (first, second) in [(key, "sk-wrong"), ("sk-wrong", key), (key, key)] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {first}\r\nAuthorization: Bearer {second}\r\n\r\n"
            );
            let status = status_of(&raw(gateway.port(), request.as_bytes()).await);
            assert!([400, 401].contains(&status), "{path}: {status}");
        }
    }
}

/// What breaks out of a quoted text, a comment or a statement in one database or another.
const METACHARACTERS: [&str; 12] = [
    "' OR '1'='1",
    "'; DROP TABLE mcp_server; --",
    "\\'; SELECT pg_sleep(5); --",
    "') UNION SELECT NULL,NULL--",
    "\"; PRAGMA writable_schema=1; --",
    "$$;SELECT 1;$$",
    "%27%20OR%201%3D1",
    "1/**/OR/**/1=1",
    "`id`",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "x' AND 1=CAST((SELECT version()) AS int)--",
    "sk-' || (SELECT key FROM keys) || '",
];

#[tokio::test]
async fn s02_sql_in_any_credential_is_a_wrong_credential() {
    let marker = Canary::new("payload");
    let gateway = TestGateway::builder()
        .config("mcp_servers: {}\n")
        // All statements are in the log then.
        .env("TRUNKLINE_LOG", "debug")
        .start()
        .await;
    let anonymous = gateway.anonymous().keeping_connections();
    for text in METACHARACTERS {
        let text = format!("{text}{}", marker.value());
        let encoded = encoded(&text);
        for (name, value) in [
            ("authorization", format!("Bearer {text}")),
            ("authorization", text.clone()),
            ("x-litellm-api-key", text.clone()),
            ("x-api-key", text.clone()),
            ("api-key", text.clone()),
            ("x-goog-api-key", text.clone()),
            ("ocp-apim-subscription-key", text.clone()),
            ("mcp-session-id", text.clone()),
        ] {
            for path in [
                "/mcp".to_owned(),
                "/v1/mcp/server".to_owned(),
                format!("/v1/mcp/server/{encoded}"),
                format!("/v1/mcp/server/health?server_ids={encoded}"),
                format!("/mcp-rest/tools/list?server_id={encoded}"),
                format!("/mcp/{encoded}"),
                format!("/{encoded}/mcp"),
            ] {
                let reply = ask(&anonymous, &Method::GET, &path, &[(name, value.clone())]).await;
                reply.expect_status(401);
            }
        }
    }
    // Past the door the same texts are names that nobody has.
    let admin = gateway.client();
    for text in METACHARACTERS {
        let encoded = encoded(text);
        let reply = admin.get(&format!("/v1/mcp/server/{encoded}")).await;
        reply.expect_status(404);
        let reply = admin.delete(&format!("/v1/mcp/server/{encoded}")).await;
        reply.expect_status(404);
        let reply = admin
            .get(&format!("/mcp-rest/tools/list?server_id={encoded}"))
            .await;
        reply.expect_status(404);
    }
    let log = gateway.log();
    assert!(log.contains("db.statement="), "statements are in the log: {log}");
    for line in log.lines() {
        assert!(
            !line.contains(" WARN ") && !line.contains(" ERROR "),
            "a credential made trouble: {line}"
        );
    }
    marker.assert_absent(&[("the log", &log)]);
}

#[tokio::test]
async fn s02_credentials_of_a_megabyte() {
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let head = "Host: 127.0.0.1\r\nConnection: close\r\n";
    let requests = |value: &str| {
        [
            format!("GET /v1/mcp/server HTTP/1.1\r\n{head}Authorization: Bearer {value}\r\n\r\n"),
            format!("GET /v1/mcp/server HTTP/1.1\r\n{head}X-Api-Key: {value}\r\n\r\n"),
            format!("GET /mcp HTTP/1.1\r\n{head}X-LiteLLM-Api-Key: {value}\r\n\r\n"),
            format!("GET /v1/mcp/server/health?server_ids={value} HTTP/1.1\r\n{head}\r\n"),
            format!("GET /v1/mcp/server/{value} HTTP/1.1\r\n{head}\r\n"),
            format!("GET /{value}/mcp HTTP/1.1\r\n{head}\r\n"),
        ]
    };
    for request in requests(&"a'".repeat(15 * 1024)) {
        let answer = raw(gateway.port(), request.as_bytes()).await;
        assert_eq!(status_of(&answer), 401, "{}…: {answer:?}", &request[..40]);
    }
    for request in requests(&"a'".repeat(512 * 1024)) {
        let answer = raw(gateway.port(), request.as_bytes()).await;
        // Too large to be looked at. The connection is closed before all was heard, so that the answer may get lost.
        assert!(
            [0, 414, 431].contains(&status_of(&answer)),
            "{}…: {answer:?}",
            &request[..40]
        );
    }
    // Nothing but the size was wrong with the gateway's manners.
    gateway.client().get("/v1/mcp/server").await.expect_status(200);
    assert!(gateway.rss_bytes() < 300 << 20, "{} bytes", gateway.rss_bytes());
    // A body of a megabyte is not even read for somebody without a key.
    let request = format!(
        "POST /v1/mcp/server HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{{"
    );
    assert_eq!(status_of(&raw(gateway.port(), request.as_bytes()).await), 401);
}

#[tokio::test]
async fn s20_headers_of_other_peoples_internals_change_nothing() {
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let key = gateway.master_key().to_owned();
    let internal = [
        ("x-internal-auth", "true"),
        ("x-internal-request", "1"),
        ("x-trunkline-principal", "master"),
        ("x-trunkline-internal", "1"),
        ("x-litellm-user-role", "proxy_admin"),
        ("x-litellm-key-alias", "master"),
        ("x-user-role", "proxy_admin"),
        ("x-user-id", "admin"),
        ("x-auth-request-user", "admin"),
        ("x-forwarded-user", "admin"),
        ("x-remote-user", "admin"),
        ("remote-user", "admin"),
        ("x-authenticated-userid", "admin"),
        ("x-envoy-internal", "true"),
        ("x-envoy-original-path", "/health/liveliness"),
        ("x-original-url", "/health/liveliness"),
        ("x-rewrite-url", "/health/liveliness"),
        ("x-forwarded-uri", "/health/liveliness"),
        ("x-forwarded-path", "/health/liveliness"),
        ("x-forwarded-prefix", "/health"),
        ("x-http-method-override", "GET"),
        ("x-mcp-authenticated", "true"),
        ("x-amzn-oidc-identity", "admin"),
        ("cf-access-authenticated-user-email", "admin@example.com"),
        ("x-goog-authenticated-user-email", "admin@example.com"),
        ("x-ms-client-principal-name", "admin"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;host=127.0.0.1"),
    ];
    let all: Vec<_> = internal
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let each = all.iter().map(|header| vec![header.clone()]);
    for headers in each.chain([all.clone()]) {
        for path in ["/v1/mcp/server", "/mcp", "/metrics"] {
            let reply = ask(&gateway.anonymous(), &Method::GET, path, &headers).await;
            reply.expect_status(401);
        }
    }
    // With the key they are as good as absent.
    let client = gateway.anonymous().with_header("x-litellm-api-key", &key);
    let plain = ask(&client, &Method::GET, "/v1/mcp/server", &[]).await;
    let dressed = ask(&client, &Method::GET, "/v1/mcp/server", &all).await;
    assert_eq!((plain.status, plain.body), (dressed.status, dressed.body));
    let dressed = ask(&client, &Method::DELETE, "/v1/mcp/server/none", &all).await;
    dressed.expect_status(404);
}

#[tokio::test]
async fn s20_no_secret_is_the_same_in_two_installations() {
    let without_key = || TestGateway::builder().master_key(None);
    let (first, second) = (without_key().start().await, without_key().start().await);
    let key_of = |gateway: &TestGateway| {
        let printed = gateway.stdout();
        let line = printed.lines().find(|line| line.contains("master key")).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let (one, other) = (key_of(&first), key_of(&second));
    assert_ne!(one, other);
    assert!(one.len() >= 40, "{} characters", one.len());
    let ask_with = async |gateway: &TestGateway, key: &str| {
        let client = gateway.anonymous().with_header("x-litellm-api-key", key);
        client.get("/v1/mcp/server").await.status.as_u16()
    };
    assert_eq!(ask_with(&first, &one).await, 200);
    assert_eq!(ask_with(&second, &one).await, 401);
    for known in [
        "sk-1234",
        "sk-",
        "sk-master",
        "master",
        "admin",
        "litellm",
        "trunkline",
        "changeme",
        "secret",
        "test",
        "anything",
        "dummy",
        "null",
        "undefined",
        "sk-1234567890",
        "default",
    ] {
        assert_eq!(ask_with(&first, known).await, 401, "{known}");
    }
    // A session of one installation is unknown in the other.
    let mut client =
        trunkline_testkit::McpClient::over(first.anonymous().with_header("x-litellm-api-key", &one), "/mcp");
    client.initialize().await;
    let mut elsewhere = trunkline_testkit::McpClient::over(
        second.anonymous().with_header("x-litellm-api-key", &other),
        "/mcp",
    );
    elsewhere.set_session(client.session());
    let reply = elsewhere.request("tools/list", &Value::Null).await;
    assert_eq!(reply.status.as_u16(), 404);
    // The key was said once, on the terminal, and never in the log.
    assert!(!first.log().contains(&one));
}
