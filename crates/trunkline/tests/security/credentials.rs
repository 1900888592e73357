//! Credentials and whom they are for: S14, S15, S16.

use std::collections::HashMap;

use http::Request;
use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, McpClient, ScriptedUpstream, TestGateway};

use crate::support::{config, listed};

/// The gateway's key in the headers that could carry it on, and what else is a client's own business.
fn everything_a_client_has(key: &str) -> Vec<(String, String)> {
    let basic = {
        use std::io::Write as _;
        let mut child = std::process::Command::new("base64")
            .arg("-w0")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        write!(child.stdin.take().unwrap(), "user:{key}").unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let mut headers = vec![
        ("cookie".into(), format!("session=abc; token={key}")),
        ("cookie2".into(), "a=b".into()),
        ("proxy-authorization".into(), format!("Bearer {key}")),
        ("forwarded".into(), "for=203.0.113.7".into()),
        ("x-forwarded-for".into(), "203.0.113.7".into()),
        ("x-forwarded-host".into(), "gateway.example.com".into()),
        ("x-forwarded-authorization".into(), format!("Bearer {key}")),
        ("x-real-ip".into(), "203.0.113.7".into()),
        ("x-litellm-tags".into(), "mine".into()),
        ("x-custom".into(), key.to_owned()),
        ("x-custom-bearer".into(), format!("Bearer {key}")),
        ("x-custom-lower".into(), format!("bearer   {key}")),
        ("x-custom-token".into(), format!("token {key}")),
        ("x-custom-basic".into(), format!("Basic {basic}")),
        ("x-custom-list".into(), format!("a={key}, b=2")),
        ("x-custom-quoted".into(), format!("key=\"{key}\"")),
        ("x-custom-good".into(), "a client's own value".into()),
        ("x-mcp-auth".into(), key.to_owned()),
    ];
    for header in [
        "authorization",
        "x-api-key",
        "x-litellm-api-key",
        "cookie",
        "x-forwarded-for",
        "mcp-session-id",
        "host",
    ] {
        headers.push((format!("x-mcp-files-{header}"), format!("Bearer {key}")));
    }
    headers
}

#[tokio::test]
async fn s15_the_gateways_key_reaches_no_upstream_by_any_way() {
    let upstream = ScriptedUpstream::start().await;
    // `*` asks for all there is; it can be said in the file only.
    let text =
        config(&[("files", &upstream)]) + "    extra_headers: ['*', authorization, cookie, x-custom]\n";
    let key = Canary::key("gateway");
    let gateway = TestGateway::builder()
        .config(&text)
        .master_key(Some(key.value()))
        .start()
        .await;
    listed(&gateway, "files").await;
    let session = ["x-litellm-api-key", "authorization"];
    for admission in session {
        let value = if admission == "authorization" {
            format!("Bearer {}", key.value())
        } else {
            key.value().to_owned()
        };
        let mut client = gateway.anonymous().with_header(admission, &value);
        for (name, value) in everything_a_client_has(key.value()) {
            client = client.with_header(&name, &value);
        }
        for path in ["/mcp", "/files/mcp", "/mcp/files"] {
            let mut mcp = McpClient::over(client.clone(), path);
            mcp.initialize().await;
            mcp.request("ping", &Value::Null).await.result();
            mcp.list_tools().await;
            mcp.call("files-echo", &json!({"message": "m"}), Some("token"))
                .await
                .result();
            drop(mcp.get_stream().await);
            mcp.delete().await.expect_status(200);
        }
        rest_and_tests(&client).await;
    }
    let seen = upstream.everything();
    assert!(
        seen.contains("a client's own value"),
        "forwarding works at all: {seen}"
    );
    key.assert_absent(&[("what the upstream got", &seen)]);
    for request in upstream.requests() {
        for (name, value) in &request.headers {
            let name = name.as_str();
            let ours =
                name.starts_with("x-forwarded") || name.starts_with("x-mcp-") || name == "x-litellm-api-key";
            assert!(
                !ours
                    && ![
                        "cookie",
                        "cookie2",
                        "forwarded",
                        "x-real-ip",
                        "proxy-authorization"
                    ]
                    .contains(&name),
                "{name}: {value:?}"
            );
        }
        assert_eq!(
            request.header("host"),
            Some(&*format!("127.0.0.1:{}", upstream.port()))
        );
    }
}

async fn rest_and_tests(client: &HttpClient) {
    client.get("/mcp-rest/tools/list").await.expect_status(200);
    client.get("/v1/mcp/tools").await.expect_status(200);
    let call = json!({"name": "echo", "arguments": {"message": "m"}, "server_id": "files"});
    client
        .post("/mcp-rest/tools/call", &call)
        .await
        .expect_status(200);
    client.get("/v1/mcp/server/health").await.expect_status(200);
    let rows = client.get("/v1/mcp/server").await.json();
    let stored = json!({"server_id": rows[0]["server_id"]});
    for route in ["/mcp-rest/test/connection", "/mcp-rest/test/tools/list"] {
        let reply = client.post(route, &stored).await;
        assert_eq!(reply.expect_status(200).json()["outcome"]["status"], "ok");
    }
}

#[tokio::test]
async fn s15_a_key_in_a_server_of_the_file_or_a_tool_is_the_only_way_and_a_refused_one() {
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    for body in [
        json!({"url": "http://127.0.0.1:9/mcp", "extra_headers": ["*"]}),
        json!({"url": "http://127.0.0.1:9/mcp", "static_headers": {"mcp-session-id": "x"}}),
        json!({"url": "http://127.0.0.1:9/mcp", "static_headers": {"transfer-encoding": "chunked"}}),
        json!({"url": "http://127.0.0.1:9/mcp", "static_headers": {"x-a": "b\r\nx-injected: 1"}}),
        json!({"url": "http://127.0.0.1:9/mcp", "static_headers": {"x a": "b"}}),
    ] {
        let reply = gateway.client().post("/v1/mcp/server", &body).await;
        assert!(
            [400, 422].contains(&reply.status.as_u16()),
            "{body}: {}",
            reply.text()
        );
    }
}

/// Aliases that are easy to take for each other.
const ALIASES: [&str; 6] = ["a", "a-b", "a_b", "b", "a-b-c", "A.B"];

/// A small generator, so that every run does the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// One operation that concerns a server, or all of them.
async fn operate(
    operation: usize,
    index: usize,
    client: HttpClient,
    call: &Value,
    sessions: &mut HashMap<usize, McpClient>,
) {
    match operation {
        0 => {
            client.get("/v1/mcp/tools").await.expect_status(200);
        }
        1 => {
            McpClient::over(client, "/mcp").list_tools().await;
        }
        2 => {
            let path = format!("/mcp/{}", ALIASES[index]);
            let reply = McpClient::over(client, &path).call("echo", call, None).await;
            assert!(
                reply.result()["content"][0]["text"]
                    .as_str()
                    .unwrap()
                    .contains("round")
            );
        }
        3 => {
            let body = json!({"server_id": format!("id-{index}"), "name": "echo", "arguments": call});
            client
                .post("/mcp-rest/tools/call", &body)
                .await
                .expect_status(200);
        }
        4 => {
            let path = format!("/{}/mcp", ALIASES[index]);
            let session = sessions
                .entry(index)
                .or_insert_with(|| McpClient::over(client, &path));
            if session.session().is_none() {
                session.initialize().await;
            }
            session.call("echo", call, None).await.result();
        }
        5 => {
            client
                .post(
                    "/mcp-rest/test/connection",
                    &json!({"server_id": format!("id-{index}")}),
                )
                .await
                .expect_status(200);
        }
        _ => {
            // Another name for the same place, and the same credential again.
            let body = json!({"server_id": format!("id-{index}"), "description": call["message"]});
            client.put("/v1/mcp/server", &body).await.expect_status(202);
        }
    }
}

#[tokio::test]
async fn s16_each_server_sees_its_own_credential_and_nobody_elses() {
    let mut upstreams = Vec::new();
    let mut own = Vec::new();
    let mut forwarded = Vec::new();
    for alias in ALIASES {
        upstreams.push(ScriptedUpstream::start().await);
        own.push(Canary::new(&format!("own-{}", alias.len())));
        forwarded.push(Canary::new(&format!("client-{}", alias.len())));
    }
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let admin = gateway.client();
    let declare = |index: usize, upstream: &ScriptedUpstream| {
        json!({
            "server_id": format!("id-{index}"), "server_name": format!("server {index}"), "alias": ALIASES[index],
            "url": upstream.url(), "transport": "http", "auth_type": "bearer_token",
            "credentials": {"auth_value": own[index].value()}, "extra_headers": ["x-*"],
        })
    };
    for (index, upstream) in upstreams.iter().enumerate() {
        admin
            .post("/v1/mcp/server", &declare(index, upstream))
            .await
            .expect_status(201);
    }
    for alias in ALIASES {
        listed(&gateway, alias).await;
    }
    let mut sessions: HashMap<usize, McpClient> = HashMap::new();
    let mut dice = Dice(16);
    for round in 0..150 {
        let index = dice.roll(ALIASES.len());
        // What the client means for one server alone, by that server's name.
        let addressed = format!("x-mcp-{}-x-user-token", ALIASES[index].to_lowercase());
        let token = forwarded[index].value();
        let with_token = dice.roll(2) == 0;
        let mut client = gateway.client();
        if with_token {
            client = client.with_header(&addressed, token);
        }
        let call = json!({"message": format!("round {round}")});
        operate(dice.roll(7), index, client, &call, &mut sessions).await;
    }
    for (index, upstream) in upstreams.iter().enumerate() {
        let seen = upstream.everything();
        assert!(own[index].find(&seen).is_some(), "{} was used", ALIASES[index]);
        for other in (0..ALIASES.len()).filter(|other| *other != index) {
            let place = format!("what {} got (of {})", ALIASES[index], ALIASES[other]);
            own[other].assert_absent(&[(&*place, &seen)]);
            forwarded[other].assert_absent(&[(&*place, &seen)]);
        }
    }
    let reached = upstreams
        .iter()
        .zip(&forwarded)
        .filter(|(upstream, token)| token.find(upstream.everything()).is_some())
        .count();
    assert!(
        reached >= 4,
        "clients' own tokens arrive where they are meant: {reached}"
    );
}

#[tokio::test]
async fn s16_two_servers_that_share_a_place_do_not_share_sessions() {
    let upstream = ScriptedUpstream::builder().stateful_tools().start().await;
    let (one, other) = (Canary::new("one"), Canary::new("other"));
    let own = |name: &str, secret: &Canary| {
        let (url, key) = (upstream.url(), secret.value());
        format!(
            "  {name}:\n    url: {url}\n    transport: http\n    auth_type: bearer_token\n    authentication_token: {key}\n"
        )
    };
    let text = [
        "mcp_servers:\n".to_owned(),
        own("one", &one),
        own("other", &other),
    ]
    .concat();
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, "one").await;
    listed(&gateway, "other").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    client
        .call("one-set_value", &json!({"value": 1}), None)
        .await
        .result();
    client.call("other-get_value", &json!({}), None).await.result();
    let mut of_session: HashMap<String, String> = HashMap::new();
    for request in upstream.requests() {
        if let Some(session) = &request.session {
            let credential = request.header("authorization").unwrap().to_owned();
            let known = of_session
                .entry(session.clone())
                .or_insert_with(|| credential.clone());
            assert_eq!(*known, credential, "one session, one credential");
        }
    }
    assert!(of_session.len() >= 2);
}

#[tokio::test]
async fn s14_keys_are_not_in_the_log_the_command_line_or_addresses() {
    let upstream = ScriptedUpstream::start().await;
    let (wrong, query) = (Canary::key("wrong"), Canary::new("query"));
    let text = config(&[("files", &upstream)]).replace("/mcp", &format!("/mcp?api_key={}", query.value()));
    let key = Canary::key("master");
    let salt = Canary::key("salt");
    let gateway = TestGateway::builder()
        .config(&text)
        .master_key(Some(key.value()))
        .env("LITELLM_SALT_KEY", salt.value())
        .env("TRUNKLINE_LOG", "trace")
        .start()
        .await;
    listed(&gateway, "files").await;
    for (name, value) in [
        ("authorization", format!("Bearer {}", wrong.value())),
        ("authorization", wrong.value().to_owned()),
        ("x-litellm-api-key", wrong.value().to_owned()),
        ("x-api-key", wrong.value().to_owned()),
        ("cookie", wrong.value().to_owned()),
    ] {
        for path in ["/mcp", "/v1/mcp/server", "/metrics"] {
            let request = Request::get(path).header(name, &value).body(http_body()).unwrap();
            let reply = gateway
                .anonymous()
                .try_send(request)
                .await
                .unwrap()
                .expect_status(401);
            wrong.assert_absent(&[("the answer", reply.everything())]);
        }
    }
    gateway
        .mcp()
        .call("files-echo", &json!({"message": "m"}), None)
        .await
        .result();
    upstream.stop().await;
    let _ = gateway
        .mcp()
        .call("files-echo", &json!({"message": "m"}), None)
        .await;
    let tried = gateway.client().get("/v1/mcp/server/health").await.text();
    let command = std::fs::read(format!("/proc/{}/cmdline", gateway.pid())).unwrap();
    let log = gateway.log();
    assert!(log.contains("TRACE"), "the log says all that it can");
    for secret in [&key, &salt, &wrong, &query] {
        secret.assert_absent(&[
            ("the log", log.as_bytes()),
            ("the command line", &command[..]),
            ("health", tried.as_bytes()),
        ]);
    }
}

fn http_body<T: Default>() -> T {
    T::default()
}

#[tokio::test]
async fn s14_a_password_in_an_address_is_refused_and_not_repeated() {
    let secret = Canary::new("password");
    for url in [
        format!("http://user:{}@127.0.0.1:9/mcp", secret.value()),
        format!("http://{}@127.0.0.1:9/mcp", secret.value()),
    ] {
        let text = format!("mcp_servers:\n  files:\n    url: {url}\n");
        let failure = TestGateway::builder()
            .config(&text)
            .try_start()
            .await
            .unwrap_err();
        secret.assert_absent(&[("the refusal to start", failure.to_string())]);
        let gateway = TestGateway::start("mcp_servers: {}\n").await;
        for route in ["/v1/mcp/server", "/mcp-rest/test/connection"] {
            let reply = gateway
                .client()
                .post(route, &json!({"url": url}))
                .await
                .expect_status(400);
            secret.assert_absent(&[("the answer", reply.everything()), ("the log", gateway.log())]);
        }
    }
}
