//! Who is taken for whom: nobody for somebody else, however much alike their credentials are, and nobody by a way that is not served.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, McpClient, ScriptedUpstream, TestGateway, ToolAnswer};

use crate::support::{PATIENCE, WAYS, Way, config, generate, key, listed, post, set, toolset, with};

async fn two_servers() -> (TestGateway, [ScriptedUpstream; 2]) {
    let upstreams = [ScriptedUpstream::start().await, ScriptedUpstream::start().await];
    let text = config(&[("files", &upstreams[0], ""), ("notes", &upstreams[1], "")]);
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, &["files", "notes"]).await;
    (gateway, upstreams)
}

fn heard(upstreams: &[ScriptedUpstream]) -> usize {
    upstreams.iter().map(|own| own.requests().len()).sum()
}

async fn is_nobody(http: &HttpClient, what: &str) {
    let call = json!({"name": "files-echo", "arguments": {"message": "x"}});
    for way in WAYS {
        for (method, params) in [("tools/list", json!({})), ("tools/call", call.clone())] {
            let (status, said) = way.ask(http, None, method, &params).await;
            assert_eq!(status, 401, "{what}: {way:?} {method}: {said}");
        }
    }
}

/// Keys that differ in their last character alone, asked by turns, so that anything that is kept by a part of them shows.
#[tokio::test]
async fn s07_credentials_with_a_long_common_beginning_are_never_one_identity() {
    let (gateway, upstreams) = two_servers().await;
    let common = format!("sk-{}", "a".repeat(252));
    let made = async |end: &str, server: &str| {
        let body = json!({"key": format!("{common}{end}"), "object_permission": {"mcp_servers": [server]}});
        generate(&gateway, body).await["key"].as_str().unwrap().to_owned()
    };
    let (one, two) = (made("1", "files").await, made("2", "notes").await);
    let long = format!("{common}{}", "b".repeat(4096));
    for _ in 0..5 {
        for way in WAYS {
            assert_eq!(
                way.tools(&with(&gateway, &one), None).await,
                Ok(set(&["files-echo"])),
                "{way:?}"
            );
            assert_eq!(
                way.tools(&with(&gateway, &two), None).await,
                Ok(set(&["notes-echo"])),
                "{way:?}"
            );
        }
        let before = heard(&upstreams);
        for wrong in [
            format!("{common}3"),
            common.clone(),
            format!("{one}1"),
            one[..one.len() - 1].to_owned(),
            long.clone(),
            format!("{long}1"),
            one.to_uppercase(),
        ] {
            is_nobody(&with(&gateway, &wrong), &wrong).await;
        }
        assert_eq!(heard(&upstreams), before);
    }
}

/// What the gateway shows of a key, and what it stores, opens nothing.
#[tokio::test]
async fn s09_no_hash_of_a_key_is_one_and_configuration_is_administrators() {
    let (gateway, upstreams) = two_servers().await;
    let made = generate(&gateway, json!({"object_permission": {"mcp_servers": ["files"]}})).await;
    let (secret, hash) = (made["key"].as_str().unwrap(), made["token"].as_str().unwrap());
    let before = heard(&upstreams);
    for wrong in [
        hash.to_owned(),
        format!("sk-{hash}"),
        hash.to_uppercase(),
        made["key_name"].as_str().unwrap().to_owned(),
        format!("sha256:{hash}"),
    ] {
        is_nobody(&with(&gateway, &wrong), &wrong).await;
        assert_eq!(
            with(&gateway, &wrong).get("/key/info").await.status,
            401,
            "{wrong}"
        );
        let aliased = gateway.anonymous().with_header("x-api-key", &wrong);
        assert_eq!(aliased.get("/key/info").await.status, 401, "{wrong}");
    }
    assert_eq!(heard(&upstreams), before);
    // Nothing that can be looked at has a key, a secret of a server or a model, and the master key has no hash anywhere.
    let master = gateway.master_key();
    let admin = gateway.client();
    let server = json!({
        "server_id": "s", "alias": "s", "url": "http://127.0.0.1:9/mcp", "transport": "http", "auth_type": "bearer_token",
        "credentials": {"auth_value": "a-secret-of-a-server", "client_secret": "another-secret-of-it"},
        "static_headers": {"x-key": "a-secret-header"},
    });
    admin.post("/v1/mcp/server", &server).await.expect_status(201);
    let suite = toolset(&gateway, "suite", &[("files", "echo")]).await;
    for (path, body) in [
        ("/budget/new", json!({"budget_id": "b", "max_budget": 1})),
        (
            "/organization/new",
            json!({"organization_id": "o", "organization_alias": "o"}),
        ),
        ("/team/new", json!({"team_id": "t", "organization_id": "o"})),
        ("/user/new", json!({"user_id": "u"})),
        ("/customer/new", json!({"user_id": "e"})),
    ] {
        post(&gateway, path, body).await;
    }
    let hash_of_master = trunkline_testkit_sha256(master);
    let mut paths = documented_gets(suite["toolset_id"].as_str().unwrap(), hash);
    paths.push("/key/list?return_full_object=true".to_owned());
    assert!(paths.len() > 50, "{paths:?}");
    for path in &paths {
        let reply = admin.get(path).await;
        // What is refused shows nothing, whatever there is to show.
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let text = reply.everything();
        for forbidden in [
            secret,
            master,
            hash_of_master.as_str(),
            "a-secret-of-a-server",
            "another-secret-of-it",
            "a-secret-header",
        ] {
            assert!(!text.contains(forbidden), "{path}");
        }
    }
    // LiteLLM's routes that change settings are not there, and what there is is not for keys.
    let mine = with(&gateway, secret);
    for http in [gateway.client(), mine.clone()] {
        for path in ["/config/update", "/config/field/update", "/config/yaml"] {
            let status = http
                .post(path, &json!({"general_settings": {"master_key": "sk-mine"}}))
                .await
                .status;
            assert_eq!(status, 404, "{path}");
        }
    }
    assert_eq!(mine.post("/config/reload", &json!({})).await.status, 403);
}

/// Every GET of the document, of what there is here. What is relayed to providers is theirs to answer.
fn documented_gets(toolset_id: &str, hash: &str) -> Vec<String> {
    let known = [
        ("key", hash),
        ("budget_id", "b"),
        ("organization_id", "o"),
        ("team_id", "t"),
        ("team_ids", "t"),
        ("end_user_id", "e"),
        ("user_id", "u"),
        ("server_id", "s"),
        ("toolset_id", toolset_id),
        ("id", "1"),
        ("start_date", "2026-01-01"),
        ("end_date", "2026-01-02"),
    ];
    let value = |name: &str| {
        known
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| *value)
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let theirs = ["{path}", "{response_id}", "{model}"];
    let gets = paths.filter(|(path, item)| {
        item.get("get").is_some() && !theirs.iter().any(|parameter| path.contains(parameter))
    });
    let of = |(path, item): (&String, &Value)| {
        let (mut path, mut query) = (path.clone(), Vec::new());
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            // Whoever is asked for may be named on the way, or has to be.
            let is_named = parameter["required"] == true
                || matches!(
                    (&*path, name),
                    ("/user/info" | "/v2/user/info", "user_id") | ("/key/info", "key")
                );
            if parameter["in"] == "path" {
                path = path.replace(&format!("{{{name}}}"), value(name).unwrap());
            } else if is_named {
                let value = value(name).unwrap_or_else(|| panic!("{path}: {name} is not known here"));
                query.push(format!("{name}={value}"));
            }
        }
        format!("{path}?{}", query.join("&"))
    };
    gets.map(of).collect()
}

/// SHA-256 as hexadecimal, by the system's own tool.
fn trunkline_testkit_sha256(text: &str) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// What looks like a template is text: in arguments of clients, in those that the gateway fills in, and in names and notes.
#[tokio::test]
async fn s10_nothing_that_looks_like_a_template_is_one() {
    const PAYLOADS: [&str; 8] = [
        "{{7*7}}",
        "${7*7}",
        "#{7*7}",
        "<%= 7*7 %>",
        "{{''.__class__.__mro__[1].__subclasses__()}}",
        "${HOME} $HOME os.environ/HOME",
        "{% for x in range(9999999) %}x{% endfor %}",
        "@(7*7) [[${7*7}]] *{7*7}",
    ];
    let upstream = ScriptedUpstream::builder()
        .tool_fn(
            &json!({"name": "say", "inputSchema": {"type": "object"}}),
            |call| ToolAnswer::text(&call.arguments.to_string()),
        )
        .start()
        .await;
    let gateway = TestGateway::start(&config(&[])).await;
    for (number, payload) in PAYLOADS.iter().enumerate() {
        let name = format!("s{number}");
        let body = json!({
            "server_id": name, "alias": name, "url": upstream.url(), "transport": "http", "description": payload,
            "tool_arguments": {"say": {"pinned": {"value": payload}}},
        });
        let reply = gateway.client().post("/v1/mcp/server", &body).await;
        if payload.contains("os.environ/") {
            // A reference of LiteLLM's to the environment: refused as that.
            assert!(matches!(reply.status.as_u16(), 400 | 422), "{}", reply.text());
            continue;
        }
        assert_eq!(reply.expect_status(201).json()["description"], *payload);
        listed(&gateway, &[]).await;
        let call = json!({"server_id": name, "name": "say", "arguments": {"own": payload}});
        let mut said = String::new();
        trunkline_testkit::eventually("the tool is called", PATIENCE, async || {
            let reply = gateway.client().post("/mcp-rest/tools/call", &call).await;
            said = reply.text();
            reply.status == 200
        })
        .await;
        let answer: Value = serde_json::from_str(&said).unwrap();
        let sent: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(sent, json!({"own": payload, "pinned": payload}));
        let made = post(
            &gateway,
            "/key/generate",
            json!({"key_alias": payload, "metadata": {"a": payload}}),
        )
        .await;
        assert_eq!(
            (&made["key_alias"], &made["metadata"]["a"]),
            (&json!(payload), &json!(payload))
        );
    }
    for path in ["/prompts/test", "/utils/transform_request"] {
        assert_eq!(
            gateway.client().post(path, &json!({})).await.status,
            404,
            "{path}"
        );
    }
}

/// Of two callers, one has a credential for the server: the other never has it, in whatever order and session they ask.
#[tokio::test]
async fn s17_a_callers_own_credential_is_no_others() {
    let upstream = ScriptedUpstream::start().await;
    let text = config(&[("files", &upstream, "    extra_headers: [x-user-token]\n")]);
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, &["files"]).await;
    let grant = json!({"mcp_servers": ["files"]});
    let (ann, bob) = (key(&gateway, grant.clone()).await, key(&gateway, grant).await);
    let ann = with(&gateway, &ann).with_header("x-mcp-files-x-user-token", "token-of-ann");
    let bob = with(&gateway, &bob);
    let before = upstream.requests().len();
    let of = |who: &str| json!({"name": "files-echo", "arguments": {"message": who}});
    let mut session = McpClient::over(ann.clone(), "/mcp");
    session.initialize().await;
    for _ in 0..10 {
        for way in WAYS {
            let (a, b) = (of("ann"), of("bob"));
            let (ann, bob) = tokio::join!(
                way.ask(&ann, None, "tools/call", &a),
                way.ask(&bob, None, "tools/call", &b)
            );
            assert_eq!((ann.0, bob.0), (200, 200), "{way:?} {ann:?} {bob:?}");
        }
    }
    let requests = upstream.requests();
    let mut seen = (0, 0);
    for request in requests.iter().skip(before) {
        let text = String::from_utf8_lossy(&request.body);
        let token = request.header("x-user-token");
        if text.contains("\"bob\"") {
            seen.1 += 1;
            assert_eq!(token, None, "bob's call has somebody's token");
        } else if text.contains("\"ann\"") {
            seen.0 += 1;
            assert_eq!(token, Some("token-of-ann"));
        }
    }
    assert_eq!(seen, (60, 60));
    // And nobody takes over a session with it.
    let stolen = bob.with_header("mcp-session-id", session.session().unwrap());
    let (status, said) = {
        let reply = McpClient::over(stolen, "/mcp")
            .request("tools/call", &of("bob"))
            .await;
        (
            reply.status.as_u16(),
            String::from_utf8_lossy(&reply.raw).into_owned(),
        )
    };
    assert!(matches!(status, 400 | 401 | 403 | 404), "{status} {said}");
}

/// Tokens of ways to sign in that are not served are wrong keys, and whoever asks for these ways in the file is told at the start.
#[tokio::test]
async fn b45_a_token_of_a_way_that_is_not_served_is_nobody() {
    let (gateway, upstreams) = two_servers().await;
    generate(
        &gateway,
        json!({"user_id": "ann", "object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    // {"alg":"none"} and {"alg":"HS256"}, {"sub":"ann"}.
    let tokens = [
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
        "ann",
    ];
    let before = heard(&upstreams);
    for token in tokens {
        is_nobody(&with(&gateway, token), token).await;
        for header in [
            "x-litellm-api-key",
            "x-auth-request-user",
            "x-user",
            "x-goog-iap-jwt-assertion",
        ] {
            is_nobody(&gateway.anonymous().with_header(header, token), header).await;
        }
        is_nobody(
            &gateway
                .anonymous()
                .with_header("cookie", &format!("token={token}")),
            "a cookie",
        )
        .await;
    }
    assert_eq!(heard(&upstreams), before);
    for path in [
        "/sso/key/generate",
        "/sso/callback",
        "/login",
        "/v2/login",
        "/token",
        "/authorize",
    ] {
        assert_eq!(gateway.anonymous().get(path).await.status, 404, "{path}");
    }
    for settings in [
        "enable_jwt_auth: true",
        "litellm_jwtauth: {user_id_jwt_field: sub}",
    ] {
        let text = format!("general_settings:\n  {settings}\n");
        let failure = TestGateway::builder().config(&text).try_start().await;
        assert!(failure.is_err(), "{settings} would be relied on");
    }
}

/// There is no page to enter a credential into: nothing is kept in a browser, and no cookie is set or taken.
#[tokio::test]
async fn b58_no_credential_is_kept_in_a_browser() {
    let (gateway, _upstreams) = two_servers().await;
    for path in [
        "/",
        "/ui",
        "/ui/",
        "/ui/login",
        "/fallback/login",
        "/sso/key/generate",
        "/index.html",
    ] {
        for http in [gateway.anonymous(), gateway.client()] {
            let reply = http.with_header("accept", "text/html").get(path).await;
            assert_eq!(reply.status, 404, "{path}");
            assert!(!reply.text().contains("<script"), "{path}");
        }
    }
    for path in [
        "/key/list",
        "/v1/mcp/server",
        "/v1/models",
        "/audit",
        "/metrics",
        "/health/readiness",
        "/mcp",
    ] {
        let reply = gateway.client().get(path).await;
        assert_eq!(reply.header("set-cookie"), None, "{path}");
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
    }
    let master = gateway.master_key();
    for name in ["token", "session", "litellm_token"] {
        let http = gateway
            .anonymous()
            .with_header("cookie", &format!("{name}={master}"));
        is_nobody(&http, name).await;
    }
    // What is written is not read again.
    let body = json!({"server_id": "s", "alias": "s", "url": "http://127.0.0.1:9/mcp", "transport": "http", "auth_type": "bearer_token", "credentials": {"auth_value": "a-written-secret"}});
    gateway
        .client()
        .post("/v1/mcp/server", &body)
        .await
        .expect_status(201);
    assert!(
        !gateway
            .client()
            .get("/v1/mcp/server/s")
            .await
            .everything()
            .contains("a-written-secret")
    );
}

/// Whoever is no user any more, or another one than before, is that at once: for the next request, and for what is open.
#[tokio::test]
async fn s34_a_user_that_is_deleted_or_another_one_is_that_at_once() {
    let (gateway, _upstreams) = two_servers().await;
    let made = post(
        &gateway,
        "/user/new",
        json!({"user_id": "boss", "user_role": "proxy_admin"}),
    )
    .await;
    let boss = with(&gateway, made["key"].as_str().unwrap());
    let mut client = McpClient::over(boss.clone(), "/mcp");
    client.initialize().await;
    let stream = client.get_stream().await;
    assert_eq!(boss.get("/key/list").await.status, 200);
    assert_eq!(
        Way::Bare.tools(&boss, None).await,
        Ok(set(&["files-echo", "notes-echo"]))
    );
    // Another role: the very next request.
    post(
        &gateway,
        "/user/update",
        json!({"user_id": "boss", "user_role": "internal_user"}),
    )
    .await;
    assert_eq!(boss.get("/user/list").await.status, 401);
    assert_eq!(Way::Bare.tools(&boss, None).await, Ok(set(&[])));
    let reply = client.request("tools/list", &json!({})).await;
    let said = String::from_utf8_lossy(&reply.raw);
    assert!(!said.contains("files-echo"), "an open session: {said}");
    // No user any more: the next request, and within a second what is open.
    post(&gateway, "/user/delete", json!({"user_ids": ["boss"]})).await;
    assert_eq!(boss.get("/key/info").await.status, 401);
    assert_eq!(client.request("tools/list", &json!({})).await.status, 401);
    let rest = tokio::time::timeout(Duration::from_secs(1), stream.rest()).await;
    assert!(rest.is_ok(), "the stream goes on");
}
