//! Servers of the HTTP+SSE transport of 2024-11-05, found out by themselves, whatever `transport` says.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_testkit::{EventStream, McpClient, TestGateway, eventually};

/// What a busy machine may need for anything that is not measured here.
const PATIENCE: Duration = Duration::from_secs(30);

/// `server.py`; it ends with this.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sse/server.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().parse().expect("a port");
        Self { child, port }
    }

    fn entry(&self, name: &str, more: &str) -> String {
        format!(
            "  {name}:\n    url: http://127.0.0.1:{}/sse\n    prefix: never\n{more}",
            self.port
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn gateway(entries: &[String]) -> TestGateway {
    TestGateway::start(&format!("mcp_servers:\n{}", entries.concat())).await
}

async fn row(gateway: &TestGateway, name: &str) -> Value {
    let rows = gateway
        .client()
        .get("/v1/mcp/server")
        .await
        .expect_status(200)
        .json();
    let found = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["alias"] == *name || row["server_name"] == *name);
    found.unwrap_or_else(|| panic!("no {name}: {rows}")).clone()
}

async fn is(gateway: &TestGateway, name: &str, status: &str) -> Value {
    eventually(&format!("{name} is {status}"), PATIENCE, async || {
        row(gateway, name).await["outcome"]["status"] == status
    })
    .await;
    row(gateway, name).await
}

async fn client(gateway: &TestGateway, name: &str, capabilities: Value) -> McpClient {
    let mut client = gateway
        .mcp_at(&format!("/{name}/mcp"))
        .with_protocol("2025-11-25")
        .with_capabilities(capabilities);
    client.initialize().await;
    client
}

/// The next message; a priming event is none.
async fn next(stream: &mut EventStream) -> Value {
    loop {
        let message = stream.expect_next(PATIENCE).await;
        if message.is_object() {
            return message;
        }
    }
}

async fn said(client: &mut McpClient, tool: &str, arguments: &Value) -> String {
    let result = client.call(tool, arguments, None).await.result();
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legacy_server_is_found_out_whatever_its_transport_says() {
    for post in ["post=405", "post=404", "post=400"] {
        let server = Server::start(&[post]);
        let gateway = gateway(&[
            server.entry("by_http", "    transport: http\n"),
            server.entry("by_sse", "    transport: sse\n"),
        ])
        .await;
        for name in ["by_http", "by_sse"] {
            is(&gateway, name, "ok").await;
            let mut client = client(&gateway, name, json!({})).await;
            assert_eq!(
                said(&mut client, "echo", &json!({"text": "h\u{e9}\n"})).await,
                "h\u{e9}\n"
            );
            // Once: what it speaks is remembered.
            let journal = said(&mut client, "journal", &json!({})).await;
            let posted = journal.matches("POST /sse").count();
            assert!(posted <= 2, "{name} {post}: {journal}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b05_calls_of_a_session_are_at_the_same_time_and_sessions_are_clients_own() {
    let server = Server::start(&[]);
    let gateway = gateway(&[server.entry("old", "")]).await;
    is(&gateway, "old", "ok").await;
    let mut one = client(&gateway, "old", json!({})).await;
    let mut two = client(&gateway, "old", json!({})).await;
    let began = Instant::now();
    let slow = tokio::spawn(async move {
        let slept = said(&mut one, "slow", &json!({"seconds": 2})).await;
        (one, slept)
    });
    assert_eq!(said(&mut two, "echo", &json!({"text": "now"})).await, "now");
    assert!(began.elapsed() < Duration::from_millis(1900));
    let (one, slept) = slow.await.unwrap();
    assert_eq!(slept, "slept");
    assert_eq!(said(&mut two, "sessions", &json!({})).await, "2");
    one.delete().await;
    for _ in 0..100 {
        if said(&mut two, "sessions", &json!({})).await == "1" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("its session does not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b59_questions_progress_and_changes_come_on_the_stream() {
    let server = Server::start(&[]);
    let gateway = gateway(&[server.entry("old", "")]).await;
    is(&gateway, "old", "ok").await;
    let mut client = client(&gateway, "old", json!({"elicitation": {}})).await;
    let mut stream = client
        .open("tools/call", &json!({"name": "elicit", "arguments": {}}))
        .await;
    let question = next(&mut stream).await;
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Ann"}}});
    client.send_message(answer.to_string()).await.unwrap();
    let last = next(&mut stream).await;
    assert!(
        last["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("Ann"),
        "{last}"
    );

    let reply = client.call("progress", &json!({}), Some("mine")).await;
    assert_eq!(reply.notifications().len(), 3, "{}", reply.everything());
    said(&mut client, "changed", &json!({})).await;
    eventually("the changed list is seen", PATIENCE, async || {
        client.tool_names().await.contains(&"another".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_stream_is_an_error_of_its_calls_and_another_one_is_opened() {
    let server = Server::start(&[]);
    let gateway = gateway(&[server.entry("old", "    timeout: 20\n")]).await;
    is(&gateway, "old", "ok").await;
    let mut client = client(&gateway, "old", json!({})).await;
    let began = Instant::now();
    let reply = client.call("drop", &json!({}), None).await.everything();
    assert!(reply.contains("the event stream of the server ended"), "{reply}");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(
        said(&mut client, "echo", &json!({"text": "again"})).await,
        "again"
    );
    // A server that forgot the session refuses what is posted to it: it did not run, and is sent again.
    said(&mut client, "forget", &json!({})).await;
    assert_eq!(said(&mut client, "echo", &json!({"text": "anew"})).await, "anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_brought_up_to_date_is_spoken_to_in_the_new_way() {
    let server = Server::start(&[]);
    let gateway = gateway(&[server.entry("old", "")]).await;
    is(&gateway, "old", "ok").await;
    let mut client = client(&gateway, "old", json!({})).await;
    said(&mut client, "turn", &json!({})).await;
    client.call("drop", &json!({}), None).await;
    assert_eq!(said(&mut client, "echo", &json!({"text": "new"})).await, "new");
    let journal = said(&mut client, "journal", &json!({})).await;
    assert!(journal.contains("POST /sse tools/call"), "{journal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_the_credential_goes_nowhere_but_to_the_server() {
    let key = trunkline_testkit::Canary::new("sse-key");
    let thief = Server::start(&[]);
    let wanted = format!("key={}", key.value());
    let endpoint = format!("endpoint=http://localhost:{}/messages/?session_id=", thief.port);
    let leaky = Server::start(&[&wanted, &endpoint]);
    let good = Server::start(&[&wanted]);
    let auth = format!(
        "    auth_type: bearer_token\n    authentication_token: {}\n",
        key.value()
    );
    let gateway = gateway(&[
        leaky.entry("leaky", &auth),
        good.entry("good", &auth),
        good.entry("locked", ""),
    ])
    .await;
    is(&gateway, "good", "ok").await;
    is(&gateway, "locked", "auth_required").await;
    eventually("the other one was tried", PATIENCE, async || {
        row(&gateway, "leaky").await["outcome"]["status"] != "pending"
    })
    .await;
    let row = row(&gateway, "leaky").await;
    assert_ne!(row["outcome"]["status"], "ok", "{row}");
    let mut client = client(&gateway, "good", json!({})).await;
    assert_eq!(said(&mut client, "echo", &json!({"text": "in"})).await, "in");
    key.assert_absent(&[("the log", gateway.log()), ("the row", row.to_string())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_which_transport_it_is() {
    let server = Server::start(&[]);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.yaml");
    std::fs::write(&file, format!("mcp_servers:\n{}", server.entry("old", ""))).unwrap();
    let file = file.to_string_lossy().into_owned();
    let data = home.path().join("data").to_string_lossy().into_owned();
    let output = TestGateway::builder()
        .run(&["doctor", "--config", &file, "--data-dir", &data])
        .await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("over the legacy HTTP+SSE transport"), "{text}");
}
