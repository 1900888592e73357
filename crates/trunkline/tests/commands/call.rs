//! `add`, `tools`, `call`: what they print, and exit codes that scripts can tell apart.

use serde_json::json;
use trunkline_testkit::{ScriptedUpstream, Socket, TestGateway, eventually};

use crate::support::{PATIENCE, Server, assert_code, both, json as parsed, run, stdout};

#[tokio::test]
async fn a_server_is_added_listed_and_called() {
    let Some(server) = Server::start().await else {
        return;
    };
    let gateway = TestGateway::builder().start().await;

    let added = run(&gateway, &["add", "t", &server.url()]).await;
    assert_code(&added, 0);
    assert!(stdout(&added).contains("ok, 6 tools"), "{}", both(&added));

    let tools = run(&gateway, &["tools"]).await;
    assert_code(&tools, 0);
    let echo = stdout(&tools);
    let echo = echo
        .lines()
        .find(|line| line.starts_with("echo"))
        .unwrap()
        .to_owned();
    assert!(echo.contains(" t ") && echo.contains("Says it again."), "{echo}");
    let tools = run(&gateway, &["tools", "t", "--json"]).await;
    assert_eq!(parsed(&tools)["tools"].as_array().unwrap().len(), 6);

    // By SERVER.TOOL, and by the name that /mcp lists.
    for name in ["t.echo", "t-echo", "T.echo"] {
        let called = run(&gateway, &["call", name, "--arg", "message=a b"]).await;
        assert_code(&called, 0);
        assert_eq!(stdout(&called), "a b\n");
    }
    // Typed by the schema.
    let args = [
        "call",
        "t.repeat",
        "-a",
        "words=x",
        "-a",
        "words=y=z",
        "-a",
        "times=2",
        "-a",
        "loud=true",
    ];
    let called = run(&gateway, &args).await;
    assert_eq!(stdout(&called), "X Y=Z X Y=Z\n", "{}", both(&called));
    let raw = [
        "call",
        "t.repeat",
        "--json-args",
        r#"{"words": ["a"], "times": 1}"#,
        "-a",
        "times:=3",
        "--json",
    ];
    let called = run(&gateway, &raw).await;
    assert_eq!(
        parsed(&called)["content"],
        json!([{"type": "text", "text": "a a a"}])
    );
    // Progress is for terminals: nothing of it in a pipe.
    let called = run(&gateway, &["call", "t.steps", "-a", "count=2"]).await;
    assert_eq!(both(&called), "done\n");

    // What the server asks is declined where nobody can be asked, and said.
    let asked = run(&gateway, &["call", "t.who"]).await;
    assert_code(&asked, 0);
    assert_eq!(stdout(&asked), "decline\n");
    assert!(
        both(&asked).contains("who is there?") && both(&asked).contains("no terminal"),
        "{}",
        both(&asked)
    );
}

#[tokio::test]
async fn exit_codes_tell_failures_apart() {
    let Some(server) = Server::start().await else {
        return;
    };
    let down = ScriptedUpstream::refusing().await;
    let config = format!(
        "{}  down:\n    url: {}\n    transport: http\n",
        server.config(),
        down.url()
    );
    let mut gateway = TestGateway::start(&config).await;
    for (args, code, words) in [
        (&["call", "t.fail"][..], 1, "it did not work"),
        (&["call", "t.repeat", "-a", "times=many"], 2, "integer"),
        (&["call", "t.echo", "-a", "nothing"], 2, "name=value"),
        (&["call", "t.echo", "--json-args", "["], 2, "--json-args"),
        (&["call", "t.echoo"], 5, "did you mean t.echo"),
        (&["call", "nobody.echo"], 5, "no server"),
        (&["call", "t-ecko"], 5, "did you mean t-echo"),
        (&["tools", "nobody"], 5, "not found"),
        (&["tools", "down"], 6, "unreachable"),
        (&["call", "down.echo"], 6, "unreachable"),
        (&["add", "t", "http://127.0.0.1:9/mcp"], 2, "already belongs"),
        (&["add", "bad", "file:///etc/passwd"], 2, "http"),
        (&["add", "nobody", &down.url()], 6, "unreachable"),
        (&["add", "program", "--", "uvx", "server"], 4, "--config FILE"),
        (&["add", "x"], 2, "URL"),
        (&["call"], 2, "TOOL"),
        (&["tools", "--key", "sk-wrong"], 4, "TRUNKLINE_KEY"),
        (&["tools", "--key", "sk-wrong"], 4, "Invalid API key"),
        (&["explain", "master_key", "t.echo"], 0, "allowed"),
        (&["explain", "master_key", "t.echoo"], 5, "did you mean \"echo\"?"),
        (&["explain", "master_key", "t.echoo"], 5, "no such tool"),
        (&["tools", "--url", "http://127.0.0.1:9"], 3, "trunkline serve"),
        (&["tools", "--url", "127.0.0.1"], 2, "URL"),
    ] {
        let output = run(&gateway, args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", both(&output));
        assert!(
            both(&output).contains(words),
            "{args:?}: {words}: {}",
            both(&output)
        );
    }
    // A hint stands once.
    let said = both(&run(&gateway, &["tools", "down"]).await);
    let hint = said.split("to do: ").nth(1).unwrap_or_default().trim();
    assert!(!hint.is_empty() && said.matches(hint).count() == 1, "{said}");
    // A key that was taken back, and one whose time is over, are not unknown.
    let client = gateway.client();
    for (body, words) in [
        (json!({}), "Key is blocked"),
        (json!({"duration": "1s"}), "Expired Key"),
    ] {
        let made = client
            .post("/key/generate", &body)
            .await
            .expect_status(200)
            .json();
        let secret = made["key"].as_str().unwrap();
        if body["duration"].is_null() {
            let block = json!({"key": secret});
            client.post("/key/block", &block).await.expect_status(200);
        }
        eventually("the gateway's words are shown", PATIENCE, async || {
            let output = run(&gateway, &["tools", "--key", secret]).await;
            output.status.code() == Some(4) && both(&output).contains(words)
        })
        .await;
    }
    // Who has nothing is told why.
    let made = gateway.client().post("/key/generate", &json!({})).await;
    let made = made.expect_status(200).json();
    let output = run(&gateway, &["tools", "--key", made["key"].as_str().unwrap()]).await;
    assert_code(&output, 6);
    let said = both(&output);
    assert!(
        said.contains("no_grant") && !said.contains("is registered"),
        "{said}"
    );
    // All of what works is listed, and what does not has its reason.
    let tools = run(&gateway, &["tools"]).await;
    assert_code(&tools, 0);
    let text = stdout(&tools);
    assert!(
        text.contains("echo") && text.contains("down: unreachable at tcp"),
        "{text}"
    );

    gateway.stop(trunkline_testkit::Signal::Term).await;
    assert!(
        !gateway.data_dir().join("address").exists(),
        "a gateway that ended leaves no address"
    );
    let output = run(&gateway, &["tools"]).await;
    assert_code(&output, 3);
}

#[tokio::test]
async fn tools_from_before_a_restart_are_said_to_be() {
    let upstream = ScriptedUpstream::start().await;
    let config = format!(
        "mcp_servers:\n  up:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    let mut gateway = TestGateway::start(&config).await;
    eventually("the list is stored", PATIENCE, async || {
        let data = gateway.data_dir();
        let args = ["db", "status", "--data-dir", data.to_str().unwrap()];
        stdout(&gateway.run(&args).await).contains("mcp_catalogue: 1 rows")
    })
    .await;
    upstream.reopen(Socket::Hang).await;
    gateway.restart().await;
    let tools = run(&gateway, &["tools"]).await;
    assert_code(&tools, 0);
    let said = stdout(&tools);
    assert!(
        said.contains("echo") && said.contains("up: the list is the one of 20") && !said.contains("pending"),
        "{said}"
    );
    let reply = gateway.client().get("/mcp-rest/tools/list").await;
    let listed = reply.expect_status(200).json();
    assert_eq!(listed["server_outcomes"]["up"]["stale"], true, "{listed}");
    let message = listed["message"].as_str().unwrap();
    assert!(
        message.contains("As they were listed before: up") && !message.contains("not of every server"),
        "{listed}"
    );
}

#[tokio::test]
async fn credentials_of_an_added_server_reach_it_and_no_output() {
    let upstream = ScriptedUpstream::builder().bearer("canary-token").start().await;
    let gateway = TestGateway::builder()
        .env("UP_TOKEN", "canary-token")
        .start()
        .await;
    let refused = run(&gateway, &["add", "keyless", &upstream.url()]).await;
    assert_code(&refused, 6);
    assert!(both(&refused).contains("auth_required"), "{}", both(&refused));
    for args in [
        &["add", "a", &upstream.url(), "--bearer-from", "UP_TOKEN"][..],
        &[
            "add",
            "b",
            &upstream.url(),
            "--header",
            "Authorization: Bearer canary-token",
            "--json",
        ],
    ] {
        let added = run(&gateway, args).await;
        assert_code(&added, 0);
        assert!(!both(&added).contains("canary"), "{}", both(&added));
    }
}

/// Programs come from the configuration file, which keeps all that stood there.
#[tokio::test]
async fn a_program_is_added_to_the_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let before =
        "# mine\nmcp_servers:\n  a: # first\n    url: http://127.0.0.1:9/mcp\n\ngeneral_settings: {}\n";
    std::fs::write(&file, before).unwrap();
    let builder = TestGateway::builder().env("TOKEN", "canary");
    let path = file.to_str().unwrap();
    let add = [
        "add",
        "git",
        "--config",
        path,
        "--env",
        "TOKEN",
        "--",
        "uvx",
        "mcp-server-git",
        "--flag=x: y",
    ];
    let added = builder.run(&add).await;
    assert_code(&added, 0);
    assert!(!both(&added).contains("canary"));
    let after = std::fs::read_to_string(&file).unwrap();
    for line in before.lines() {
        assert!(after.contains(line), "{line} in {after}");
    }
    let checked = builder.run(&["config", "check", path]).await;
    assert_code(&checked, 0);
    assert!(
        stdout(&checked).contains("2 MCP servers") && stdout(&checked).contains("uvx"),
        "{}",
        both(&checked)
    );
    // The same again is refused, and the file stays as it is.
    let again = builder.run(&add).await;
    assert_ne!(again.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), after);
    let flow = "mcp_servers: {a: {url: http://127.0.0.1:9/mcp}}\n";
    std::fs::write(&file, flow).unwrap();
    let refused = builder.run(&add).await;
    assert_code(&refused, 1);
    assert!(both(&refused).contains("by hand"), "{}", both(&refused));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), flow);
}
