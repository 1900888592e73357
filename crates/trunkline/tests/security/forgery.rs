//! Texts of strangers in the log and on the terminal: S37. One event is one line, whatever is in it, and no terminal is
//! made to do anything.

use serde_json::{Value, json};
use trunkline_testkit::{Act, ScriptedUpstream, TestGateway, eventually};

use crate::support::{PATIENCE, config, encoded, listed, raw};

/// What begins a line, moves the cursor, changes colours, reverses the text or hides it.
const EVIL: &str = "a\r\nb\n2026-11-24T00:00:00.000000Z ERROR forged line\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{2028}c\u{2029}d\u{85}e\u{202e}f\u{200b}g\u{e0041}h\u{0}i\u{8}j<script>alert(1)</script>\t{\"level\":\"ERROR\"}";

/// Control and format characters that must not reach a terminal; the line break ends a line.
fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn assert_printable(place: &str, text: &str) {
    let found = text.char_indices().find(|(_, c)| is_unsafe(*c));
    assert!(
        found.is_none(),
        "{place}: {found:?} in {:?}",
        text.lines().find(|line| line.chars().any(is_unsafe))
    );
}

/// Each line is an event of its own: a time, a level, and nothing that was forged.
fn assert_lines(log: &str) {
    assert_printable("the log", log);
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let (time, level) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        assert!(
            time.starts_with("20") && time.ends_with('Z') && time.contains('T'),
            "no event begins so: {line:?}"
        );
        assert!(
            ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level),
            "{line:?}"
        );
        assert!(
            !line.starts_with("2026-11-24T00:00:00.000000Z ERROR forged"),
            "{line:?}"
        );
    }
}

/// Makes every place that logs a stranger's text log it.
async fn provoke(gateway: &TestGateway, upstream: &ScriptedUpstream) {
    by_upstreams(gateway, upstream).await;
    by_clients(gateway).await;
    by_raw_bytes(gateway).await;
}

async fn by_upstreams(gateway: &TestGateway, upstream: &ScriptedUpstream) {
    let client = gateway.client();
    let named = json!({
        "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": EVIL, "version": EVIL},
        "instructions": EVIL,
    });
    let tools = json!({"tools": [
        {"name": EVIL, "description": EVIL, "inputSchema": {"type": "object"}},
        {"name": "echo", "description": EVIL, "inputSchema": {"type": "object"}},
        {"name": EVIL, EVIL: 1, "inputSchema": {"type": "object"}},
        {"description": EVIL},
    ]});
    let twice = format!(
        r#"{{"tools": [{{"name": {0}, {0}: 1, {0}: 2, "inputSchema": {{}}}}]}}"#,
        json!(EVIL)
    );
    let error = json!({"content": [{"type": "text", "text": EVIL}], "isError": true});
    for (method, act) in [
        ("initialize", Act::Result(named.to_string())),
        (
            "initialize",
            Act::Result(json!({"protocolVersion": EVIL}).to_string()),
        ),
        (
            "initialize",
            Act::Error {
                code: 1,
                message: EVIL.to_owned(),
            },
        ),
        (
            "initialize",
            Act::status(401, EVIL).with_header("www-authenticate", "Bearer error=\"\u{e9}\t\""),
        ),
        (
            "initialize",
            Act::status(500, &json!({"error": {"message": EVIL}}).to_string()),
        ),
        (
            "initialize",
            Act::status(200, EVIL).with_header("content-type", "text/\u{e9}vil"),
        ),
        ("tools/list", Act::Result(twice)),
        ("tools/list", Act::Result(json!({"tools": EVIL}).to_string())),
        (
            "tools/list",
            Act::Error {
                code: 1,
                message: EVIL.to_owned(),
            },
        ),
        ("tools/list", Act::Result(tools.to_string())),
        (
            "tools/call",
            Act::Error {
                code: 1,
                message: EVIL.to_owned(),
            },
        ),
        ("tools/call", Act::status(500, EVIL)),
        ("tools/call", Act::Result(error.to_string())),
    ] {
        upstream.behave();
        upstream.expire_sessions();
        upstream.on(method, act);
        client.get("/v1/mcp/server/health").await;
        client
            .post("/mcp-rest/test/tools/list", &json!({"server_id": "files"}))
            .await;
        let call = json!({"server_id": "files", "name": "echo", "arguments": {"message": "m"}});
        client.post("/mcp-rest/tools/call", &call).await;
    }
    upstream.behave();
    client.get("/v1/mcp/server/health").await;
}

async fn by_clients(gateway: &TestGateway) {
    let client = gateway.client();
    let mut mcp = gateway.mcp();
    mcp.initialize().await;
    mcp.call(EVIL, &json!({EVIL: EVIL}), None).await;
    mcp.request(EVIL, &Value::Null).await;
    mcp.notify(EVIL, &Value::Null).await;
    client
        .post("/mcp-rest/tools/call", &json!({"name": EVIL, "server_id": EVIL}))
        .await;
    for field in [
        "server_id",
        "server_name",
        "alias",
        "url",
        "description",
        "transport",
        "source_url",
        EVIL,
    ] {
        client
            .post(
                "/v1/mcp/server",
                &json!({"url": "http://127.0.0.1:9/mcp", field: EVIL}),
            )
            .await;
        client
            .put("/v1/mcp/server", &json!({"server_id": "files2", field: EVIL}))
            .await;
    }
    let encoded = encoded(EVIL);
    for path in [
        format!("/{encoded}/mcp"),
        format!("/mcp/{encoded}"),
        format!("/v1/mcp/server/{encoded}"),
        format!("/mcp-rest/tools/list?server_id={encoded}"),
        format!("/nothing/{encoded}"),
    ] {
        client.get(&path).await;
        client.delete(&path).await;
    }
}

/// Bytes that no client library sends.
async fn by_raw_bytes(gateway: &TestGateway) {
    let key = gateway.master_key();
    for header in [
        "Host: 127.0.0.1\u{1b}[31m",
        "Host: evil\u{9}example",
        "Host: 127.0.0.1\r\nOrigin: http://\u{1b}[31mevil",
        "Host: 127.0.0.1\r\nOrigin: http://evil\u{e9}",
        "Host: 127.0.0.1\r\nX-Litellm-Call-Id: a\u{9}b",
        "Host: 127.0.0.1\r\nX-Litellm-Call-Id: \u{1b}[31mred",
        "Host: 127.0.0.1\r\nX-Litellm-Call-Id: \u{202e}reversed",
        "Host: 127.0.0.1\r\nMcp-Session-Id: \u{1b}[31mred",
        "Host: 127.0.0.1\r\nMcp-Session-Id: \u{e9}",
    ] {
        let request = format!(
            "GET /mcp HTTP/1.1\r\n{header}\r\nX-Litellm-Api-Key: {key}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
        );
        raw(gateway.port(), request.as_bytes()).await;
    }
    raw(gateway.port(), b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw(gateway.port(), b"\x1b[31m / HTTP/1.1\r\nHost: a\r\n\r\n").await;
}

async fn start(format: &str, level: &str) -> (TestGateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::builder()
        .config("mcp_servers: {}\n")
        .env("TRUNKLINE_LOG", level)
        .arg("--log-format")
        .arg(format)
        .start()
        .await;
    let body = json!({"server_id": "files", "alias": "files", "url": upstream.url(), "transport": "http"});
    gateway
        .client()
        .post("/v1/mcp/server", &body)
        .await
        .expect_status(201);
    listed(&gateway, "files").await;
    provoke(&gateway, &upstream).await;
    let last = gateway.client().with_header("x-litellm-call-id", "the-last-one");
    last.post("/mcp-rest/tools/call", &json!({"name": "no-such-tool"}))
        .await;
    eventually("all is logged", PATIENCE, async || {
        gateway.log().contains("the-last-one")
    })
    .await;
    (gateway, upstream)
}

#[tokio::test]
async fn s37_in_the_text_log_one_event_is_one_line() {
    for level in ["info", "debug"] {
        let (gateway, _upstream) = start("text", level).await;
        let log = gateway.log();
        assert!(
            log.contains("forged line"),
            "strangers' texts are in the log at all"
        );
        assert_lines(&log);
    }
}

#[tokio::test]
async fn s37_in_the_json_log_one_event_is_one_object() {
    let (gateway, _upstream) = start("json", "debug").await;
    let log = gateway.log();
    assert_printable("the log", &log);
    let mut forged = 0;
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(
            event["timestamp"].is_string() && event["level"].is_string(),
            "{line}"
        );
        assert!(event["level"] != "ERROR", "nothing here is an error: {line}");
        forged += usize::from(line.contains("forged line"));
    }
    assert!(forged > 0, "strangers' texts are in the log at all");
}

#[tokio::test]
async fn s37_no_terminal_is_written_to_by_a_server() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream)])).await;
    listed(&gateway, "files").await;
    let named = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": EVIL, "version": EVIL}});
    for (method, act) in [
        ("initialize", Act::Result(named.to_string())),
        (
            "initialize",
            Act::Error {
                code: 1,
                message: EVIL.to_owned(),
            },
        ),
        ("initialize", Act::status(500, EVIL)),
        ("tools/list", Act::status(500, EVIL)),
        (
            "tools/list",
            Act::Result(json!({"tools": [{"name": EVIL, "inputSchema": {}}]}).to_string()),
        ),
    ] {
        upstream.behave();
        upstream.on(method, act);
        let (data, file) = (
            gateway.data_dir().display().to_string(),
            gateway.config_path().display().to_string(),
        );
        for more in [&[][..], &["--json"]] {
            let mut args = vec!["doctor", "--data-dir", &data, "--config", &file];
            args.extend(more);
            let output = gateway.run(&args).await;
            assert_printable("doctor", &String::from_utf8(output.stdout).unwrap());
            assert_printable("doctor", &String::from_utf8(output.stderr).unwrap());
        }
    }
}

#[tokio::test]
async fn s37_a_file_with_such_names_is_refused_in_printable_words() {
    for text in [
        format!(
            "mcp_servers:\n  {}:\n    url: http://127.0.0.1:9/mcp\n",
            json!(EVIL)
        ),
        format!("mcp_servers:\n  a:\n    url: {}\n", json!(EVIL)),
        format!(
            "mcp_servers:\n  a:\n    url: http://127.0.0.1:9/mcp\n    alias: {}\n",
            json!(EVIL)
        ),
        format!(
            "mcp_servers:\n  a:\n    url: http://127.0.0.1:9/mcp\n    {}: 1\n",
            json!(EVIL)
        ),
        format!("{}: 1\n", json!(EVIL)),
        format!(
            "mcp_servers:\n  a:\n    url: http://127.0.0.1:9/mcp\n    static_headers: {{{}: x}}\n",
            json!(EVIL)
        ),
        format!("general_settings:\n  allowed_hosts: [{}]\n", json!(EVIL)),
    ] {
        let failure = TestGateway::builder().config(&text).try_start().await;
        let Err(failure) = failure else {
            panic!("started with {text}")
        };
        assert_printable("the refusal to start", &failure.stderr);
        assert_printable("the refusal to start", &failure.stdout);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, &text).unwrap();
        let output = TestGateway::builder()
            .run(&["config", "check", &file.display().to_string()])
            .await;
        assert_printable("config check", &String::from_utf8(output.stdout).unwrap());
        assert_printable("config check", &String::from_utf8(output.stderr).unwrap());
    }
}
