//! `stdio`: official clients that start it as their server, in both eras, over a restart of the gateway.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use trunkline_testkit::{ScriptedUpstream, Signal, TestGateway, eventually, tools};

use crate::support::{BINARY, PATIENCE, Server, script};

/// A process that is talked to in lines.
struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    async fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next line as JSON: nothing else is ever on standard output.
    async fn hear(&mut self) -> Value {
        let line = timeout(PATIENCE, self.output.next_line()).await;
        match line.expect("a line in time").unwrap() {
            Some(line) => serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")),
            None => panic!("it ended: {}", self.errors().await),
        }
    }

    /// The answer to a request; what comes before it is left aside.
    async fn answer_to(&mut self, id: u64) -> Value {
        loop {
            let message = self.hear().await;
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    async fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(errors) = &mut self.child.stderr {
            let _ = timeout(Duration::from_secs(1), errors.read_to_string(&mut text)).await;
        }
        text
    }

    /// Closes its input and waits for its end.
    async fn close(&mut self) -> Option<i32> {
        self.input = None;
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .unwrap()
            .code()
    }
}

fn bridge(gateway: &TestGateway) -> Command {
    let mut command = Command::new(BINARY);
    command
        .arg("stdio")
        .arg("--data-dir")
        .arg(gateway.data_dir())
        .env("TRUNKLINE_KEY", gateway.master_key());
    command
}

fn client(python: &Path, script_name: &str, mode: Option<&str>, args: &[&str]) -> Command {
    let mut command = Command::new(python);
    command
        .arg(script(script_name))
        .args(mode)
        .arg(BINARY)
        .arg("stdio")
        .args(args);
    command.env("PREFIX", "t-");
    command
}

#[track_caller]
fn assert_round(round: &Value, who: &str) {
    let expected = json!({
        "tools": ["t-echo", "t-fail", "t-repeat", "t-slow", "t-steps", "t-who"],
        "echo": "hé\n\u{2028}", "steps": "done", "progress": [1.0, 2.0, 3.0], "who": "Ann False", "fail": true,
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&round[member], value, "{who}: {member}: {round}");
    }
}

/// The three ways that the official SDKs have of it, each over a restart of the gateway.
#[tokio::test]
async fn b59_official_clients_over_stdio_survive_a_restart_of_the_gateway() {
    let (Some(server), Some(sdk1), Some(sdk2)) = (
        Server::start().await,
        tools::python("sdk1"),
        tools::python("sdk2"),
    ) else {
        return;
    };
    let mut gateway = TestGateway::start(&server.config()).await;
    let (dir, key) = (gateway.data_dir(), gateway.master_key().to_owned());
    let args = ["--data-dir", dir.to_str().unwrap()];
    let mut clients = [
        (
            "1.x",
            client(&sdk1, "stdio_client1.py", None, &args),
            "2025-11-25",
        ),
        (
            "2.x legacy",
            client(&sdk2, "stdio_client2.py", Some("legacy"), &args),
            "2025-11-25",
        ),
        (
            "2.x",
            client(&sdk2, "stdio_client2.py", Some("2026-07-28"), &args),
            "2026-07-28",
        ),
    ]
    .map(|(who, mut command, version)| (who, Talk::start(command.env("TRUNKLINE_KEY", &key)), version));
    for (who, talk, version) in &mut clients {
        let round = talk.hear().await;
        assert_round(&round, who);
        assert_eq!(round["version"], *version, "{who}");
    }
    gateway.restart().await;
    for (who, talk, _) in &mut clients {
        talk.say("again").await;
        assert_round(&talk.hear().await, who);
    }
    // While there is no gateway a request waits for it.
    gateway.stop(Signal::Term).await;
    for (_, talk, _) in &mut clients {
        talk.say("again").await;
    }
    gateway.restart().await;
    for (who, talk, _) in &mut clients {
        assert_round(&talk.hear().await, who);
        assert_eq!(talk.close().await, Some(0), "{who}");
    }
}

#[tokio::test]
async fn without_a_gateway_one_is_started_in_the_process() {
    let (Some(server), Some(sdk1)) = (Server::start().await, tools::python("sdk1")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, server.config()).unwrap();
    let (config, data) = (config.to_str().unwrap(), folder.path().join("data"));
    let args = ["--config", config, "--data-dir", data.to_str().unwrap()];
    let mut command = client(&sdk1, "stdio_client1.py", None, &args);
    let mut talk = Talk::start(
        command
            .env_remove("LITELLM_MASTER_KEY")
            .env("HOME", folder.path()),
    );
    assert_round(&talk.hear().await, "in one process");
    let began = Instant::now();
    assert_eq!(talk.close().await, Some(0), "{}", talk.errors().await);
    // The client's library waits two seconds, and as long again after it asked for the end, before it kills what does not end.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // A broken file is said, with the place.
    std::fs::write(config, "mcp_servers:\n  t:\n    urll: x\n").unwrap();
    let output = Command::new(BINARY)
        .args(["stdio"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.yaml:3:5"));
}

const HELLO: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
const READY: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn call(id: u64, tool: &str, arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}).to_string()
}

#[tokio::test]
async fn what_is_piped_in_is_answered_before_the_end() {
    let upstream = ScriptedUpstream::start().await;
    let config = format!(
        "mcp_servers:\n  up:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    let gateway = TestGateway::start(&config).await;
    let mut talk = Talk::start(&mut bridge(&gateway));
    talk.say(HELLO).await;
    talk.say(READY).await;
    talk.say("{broken").await;
    talk.say(&call(2, "up-echo", &json!({"message": "m"}))).await;
    talk.input = None;
    assert_eq!(talk.answer_to(1).await["result"]["protocolVersion"], "2025-11-25");
    let broken = talk.hear().await;
    assert_eq!(broken["error"]["code"], -32700, "{broken}");
    assert_eq!(talk.answer_to(2).await["result"]["content"][0]["text"], "m");
    assert_eq!(talk.close().await, Some(0));
}

#[tokio::test]
async fn calls_run_side_by_side_and_can_be_cancelled() {
    let Some(server) = Server::start().await else {
        return;
    };
    let gateway = TestGateway::start(&server.config()).await;
    let mut talk = Talk::start(&mut bridge(&gateway));
    talk.say(HELLO).await;
    talk.answer_to(1).await;
    talk.say(READY).await;
    talk.say(&call(2, "t-slow", &json!({"seconds": 60}))).await;
    talk.say(&call(3, "t-echo", &json!({"message": "fast"}))).await;
    assert_eq!(talk.answer_to(3).await["result"]["content"][0]["text"], "fast");
    talk.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#)
        .await;
    talk.say(&call(4, "t-echo", &json!({"message": "after"}))).await;
    assert_eq!(talk.answer_to(4).await["result"]["content"][0]["text"], "after");
    // The end does not wait for what was cancelled.
    let began = Instant::now();
    assert_eq!(talk.close().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_list_that_changes_is_heard_of_and_the_session_is_ended() {
    let upstream = ScriptedUpstream::start().await;
    let config = format!(
        "mcp_servers:\n  up:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    let mut gateway = TestGateway::start(&config).await;
    let mut talk = Talk::start(&mut bridge(&gateway));
    talk.say(HELLO).await;
    talk.answer_to(1).await;
    talk.say(READY).await;
    let added = json!({"alias": "more", "url": upstream.url(), "transport": "http"});
    // The standing stream is open a moment later.
    talk.say(&call(2, "up-echo", &json!({"message": "m"}))).await;
    talk.answer_to(2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway
        .client()
        .post("/v1/mcp/server", &added)
        .await
        .expect_status(201);
    let heard = talk.hear().await;
    assert_eq!(heard["method"], "notifications/tools/list_changed", "{heard}");

    // A gateway with another database knows nobody; the client notices nothing.
    gateway.stop(Signal::Term).await;
    std::fs::remove_file(gateway.data_dir().join("trunkline.db")).unwrap();
    gateway.set_env("LITELLM_SALT_KEY", "sk-another-0123456789abcdef");
    gateway.restart().await;
    talk.say(&call(3, "up-echo", &json!({"message": "again"}))).await;
    let answer = talk.answer_to(3).await;
    assert_eq!(answer["result"]["content"][0]["text"], "again", "{answer}");
    assert_eq!(talk.close().await, Some(0));
}

#[tokio::test]
async fn a_signal_or_a_reader_that_leaves_ends_it() {
    let upstream = ScriptedUpstream::start().await;
    let config = format!(
        "mcp_servers:\n  up:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    let gateway = TestGateway::start(&config).await;
    let mut talk = Talk::start(&mut bridge(&gateway));
    talk.say(HELLO).await;
    talk.answer_to(1).await;
    let pid = talk.child.id().unwrap();
    let kill = format!("kill {pid}");
    Command::new("sh").args(["-c", &kill]).status().await.unwrap();
    let ended = timeout(PATIENCE, talk.child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));

    let mut talk = Talk::start(&mut bridge(&gateway));
    talk.say(HELLO).await;
    talk.answer_to(1).await;
    let Talk {
        mut child,
        input,
        output,
    } = talk;
    drop(output);
    let mut input = input.unwrap();
    eventually("it ends when nobody reads", PATIENCE, async || {
        let _ = input.write_all(format!("{HELLO}\n").as_bytes()).await;
        matches!(child.try_wait(), Ok(Some(_)))
    })
    .await;
}

#[tokio::test]
async fn without_a_gateway_or_a_key_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |args: &[&str]| {
        let output = Command::new(BINARY)
            .arg("stdio")
            .args(args)
            .env_clear()
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        assert!(output.stdout.is_empty());
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = run(&["--url", "http://127.0.0.1:9"]).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("trunkline serve"), "{said}");
    let gateway = TestGateway::builder().start().await;
    let (code, said) = run(&["--url", &gateway.url()]).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("TRUNKLINE_KEY"), "{said}");
}
