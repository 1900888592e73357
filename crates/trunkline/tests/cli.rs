//! The command line: what it refuses, what it prints, and its exit codes.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use trunkline_testkit::{Canary, HttpClient, ScriptedUpstream, Signal, StartFailure, TestGateway};

/// A key that nobody guesses.
const STRONG: &str = "sk-5b1e9f04c7d2a8366f7e";

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// # Panics
/// When the gateway ended well, or without these words.
#[track_caller]
fn assert_refused(failure: &StartFailure, words: &[&str]) {
    assert!(failure.exit.code.is_some_and(|code| code != 0), "{failure}");
    for word in words {
        assert!(failure.stderr.contains(word), "`{word}` is not said: {failure}");
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

// === Who may listen where (S26) ===

#[tokio::test]
async fn s26_without_a_key_only_loopback_is_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let builder = TestGateway::builder().master_key(None).data_dir(folder.path());
    for host in ["0.0.0.0", "::"] {
        let failure = builder
            .clone()
            .host(host)
            .try_start()
            .await
            .expect_err("it must not listen");
        assert_refused(&failure, &["LITELLM_MASTER_KEY", "loopback"]);
        assert!(!failure.stdout.contains("listening"), "{failure}");
        assert!(
            !failure.stdout.contains("sk-"),
            "no key is shown that is not used: {failure}"
        );
    }
    // An empty file changes nothing about it.
    let failure = builder
        .clone()
        .config("{}\n")
        .host("0.0.0.0")
        .try_start()
        .await
        .expect_err("it must not listen");
    assert_refused(&failure, &["LITELLM_MASTER_KEY"]);

    // The key of the first start that works is the one that is shown: the refused ones kept none.
    let gateway = builder.clone().start().await;
    assert!(
        gateway.stdout().contains("master key (shown once"),
        "{}",
        gateway.stdout()
    );
    drop(gateway);
    // A generated key is strong, but nobody chose to be reachable with it.
    let failure = builder
        .host("0.0.0.0")
        .try_start()
        .await
        .expect_err("it must not listen");
    assert_refused(&failure, &["LITELLM_MASTER_KEY"]);
}

#[tokio::test]
async fn s26_a_weak_key_is_refused_elsewhere_and_warned_of_on_loopback() {
    for key in [
        "sk-1234",
        "password",
        "sk-litellm-master-key",
        "sk-aaaaaaaaaaaaaaaaaaaa",
    ] {
        let builder = TestGateway::builder().master_key(Some(key));
        let failure = builder
            .clone()
            .host("0.0.0.0")
            .try_start()
            .await
            .expect_err("it must not listen");
        assert_refused(&failure, &["weak", "LITELLM_MASTER_KEY"]);
        assert!(
            !failure.stderr.contains(key),
            "the key is not repeated: {failure}"
        );
    }
    let gateway = TestGateway::builder().master_key(Some("sk-1234")).start().await;
    gateway.client().get("/v1/mcp/server").await.expect_status(200);
    assert!(
        gateway
            .log()
            .lines()
            .any(|line| line.contains("WARN") && line.contains("weak")),
        "{}",
        gateway.log()
    );
}

#[tokio::test]
async fn s26_a_strong_key_may_listen_anywhere() {
    let gateway = TestGateway::builder()
        .master_key(Some(STRONG))
        .host("0.0.0.0")
        .start()
        .await;
    gateway.client().get("/v1/mcp/server").await.expect_status(200);
    gateway.anonymous().get("/v1/mcp/server").await.expect_status(401);
    gateway
        .anonymous()
        .get("/health/liveliness")
        .await
        .expect_status(200);
    assert!(!gateway.log().contains("WARN"), "{}", gateway.log());
}

// === The generated key ===

/// The key that was printed, if one was.
fn shown(gateway: &TestGateway) -> Option<String> {
    let printed = gateway.stdout();
    let line = printed.lines().find(|line| line.contains("shown once"))?;
    Some(line.rsplit(' ').next().unwrap().to_owned())
}

#[tokio::test]
async fn a_generated_key_is_shown_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let builder = TestGateway::builder().master_key(None).data_dir(&data);

    // Looking is not starting: no key is made that nobody is shown.
    let args = ["doctor", "--data-dir", data.to_str().unwrap()];
    let looked = builder.run(&args).await;
    assert_eq!(looked.status.code(), Some(0), "{}", text(&looked));
    for command in ["status", "migrate", "repair"] {
        let args = ["db", command, "--data-dir", data.to_str().unwrap()];
        assert!(!text(&builder.run(&args).await).contains("sk-"));
    }

    let mut gateway = builder.start().await;
    let key = shown(&gateway).expect("the key is shown at the first start");
    assert!(key.starts_with("sk-") && key.len() > 40, "{key}");
    let with_key = |gateway: &TestGateway| {
        gateway
            .anonymous()
            .with_header("authorization", &format!("Bearer {key}"))
    };
    with_key(&gateway).get("/v1/mcp/server").await.expect_status(200);
    gateway.anonymous().get("/v1/mcp/server").await.expect_status(401);
    assert!(!gateway.log().contains(&key), "the log is no place for it");
    let file = data.join("master_key");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
    assert_private(&file);
    assert_private(&data);

    gateway.restart().await;
    assert_eq!(shown(&gateway), None);
    assert!(!gateway.stdout().contains(&key) && !gateway.log().contains(&key));
    with_key(&gateway).get("/v1/mcp/server").await.expect_status(200);
    let left: Vec<_> = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("master_key"))
        .collect();
    assert_eq!(left, ["master_key"]);
}

/// Nobody but the owner reads it.
fn assert_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
}

// === The configuration ===

#[tokio::test]
async fn a_mistake_in_the_file_is_said_with_its_place_and_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    for (config, place, words) in [
        (
            "mcp_servers:\n  git:\n    urll: http://127.0.0.1:9/mcp\n",
            "config.yaml:3:5",
            &["urll", "url"][..],
        ),
        (
            "general_setting:\n  master_key: sk-x\n",
            "config.yaml:1:1",
            &["general_setting", "general_settings"],
        ),
        (
            "mcp_servers:\n  git:\n    url: http://127.0.0.1:9/mcp\n    auth_type: barer_token\n",
            "config.yaml:4:16",
            // The value is not repeated: anything may have been pasted there.
            &["auth_type", "bearer_token"],
        ),
        (
            "mcp_servers:\n  git:\n    url: \"http://127.0.0.1:9/mcp\n",
            "config.yaml:",
            &[],
        ),
    ] {
        let failure = TestGateway::builder()
            .config(config)
            .try_start()
            .await
            .expect_err("it must not start");
        assert_refused(&failure, &[place]);
        assert_refused(&failure, words);

        std::fs::write(&path, config).unwrap();
        let checked = TestGateway::builder()
            .run(&["config", "check", path.to_str().unwrap()])
            .await;
        assert_eq!(checked.status.code(), Some(1), "{}", text(&checked));
        for word in words.iter().chain([&place]) {
            assert!(text(&checked).contains(word), "{word}: {}", text(&checked));
        }
    }
}

/// Several mistakes are one start that failed, not several.
#[tokio::test]
async fn all_mistakes_of_a_file_are_said_at_once() {
    let config =
        "mcp_servers:\n  a:\n    urll: x\n  b:\n    transports: http\n    url: http://127.0.0.1:9/mcp\n";
    let failure = TestGateway::builder()
        .config(config)
        .try_start()
        .await
        .expect_err("it must not start");
    assert_refused(&failure, &["urll", "transports", ":3:5", ":5:5"]);
}

#[tokio::test]
async fn what_is_not_served_is_one_warning_and_a_good_file_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let check = async |config: &str| {
        std::fs::write(&path, config).unwrap();
        let output = TestGateway::builder()
            .run(&["config", "check", path.to_str().unwrap()])
            .await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    let servers = "mcp_servers:\n  git:\n    url: http://127.0.0.1:9/mcp\n    transport: http\n";
    let said = check(servers).await;
    assert!(!said.contains("warning"), "{said}");
    assert!(
        said.contains("1 MCP server, 0 models") && said.contains("git"),
        "{said}"
    );

    let settings =
        "litellm_settings:\n  cache: true\n  modify_params: true\ngeneral_settings:\n  alerting: [slack]\n";
    let said = check(&format!("{servers}{settings}")).await;
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("warning:")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    for name in ["cache", "modify_params", "alerting"] {
        assert!(warnings[0].contains(name), "{name}: {said}");
    }
}

#[tokio::test]
async fn checking_a_file_counts_models_names_variables_that_are_not_set_and_budgets_that_are_not_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let model = |name: &str, key: &str| {
        format!("  - model_name: {name}\n    litellm_params: {{model: openai/gpt-4o, api_key: {key}}}\n")
    };
    let models = [
        model("chat", "sk-1"),
        model("chat", "os.environ/NOT_SET_HERE"),
        model("other", "sk-2"),
    ];
    let config = format!(
        "model_list:\n{}litellm_settings:\n  max_budget: 10\n  budget_duration: 30d\n",
        models.concat()
    );
    std::fs::write(&path, config).unwrap();
    let output = TestGateway::builder()
        .run(&["config", "check", path.to_str().unwrap()])
        .await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("0 MCP servers, 2 models (3 deployments)"), "{said}");
    let broken: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("MISCONFIGURED"))
        .collect();
    assert_eq!(broken.len(), 1, "{said}");
    assert!(
        broken[0].contains("chat")
            && broken[0].contains("openai/gpt-4o")
            && broken[0].contains("NOT_SET_HERE"),
        "{said}"
    );
    assert!(
        said.contains("max_budget") && said.contains("what all keys together spend has no bound"),
        "{said}"
    );
}

#[tokio::test]
async fn a_file_or_a_port_that_is_not_to_be_had_is_said() {
    let failure = TestGateway::builder()
        .arg("--config")
        .arg("/nowhere/config.yaml")
        .try_start()
        .await
        .expect_err("it must not start");
    assert_refused(&failure, &["/nowhere/config.yaml"]);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = TestGateway::builder()
        .run(&[
            "serve",
            "--port",
            &address.port().to_string(),
            "--data-dir",
            folder.path().to_str().unwrap(),
        ])
        .await;
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output).contains(&address.to_string()), "{}", text(&output));
}

// === One gateway a data directory ===

#[tokio::test]
async fn a_second_gateway_on_one_sqlite_database_is_refused_and_a_killed_one_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let builder = TestGateway::builder().data_dir(&data);
    let mut first = builder.clone().start().await;
    let failure = builder
        .clone()
        .try_start()
        .await
        .expect_err("two would write into one database");
    assert_eq!(failure.exit.code, Some(2), "{failure}");
    let (pid, url) = (format!("process {}", first.pid()), first.url());
    assert_refused(
        &failure,
        &["trunkline.db", &pid, &url, "--data-dir", "DATABASE_URL"],
    );
    assert!(!failure.stdout.contains("listening"), "{failure}");
    // The one that runs goes on, and the commands beside it as well.
    first.client().get("/v1/mcp/server").await.expect_status(200);
    for command in ["status", "migrate", "repair"] {
        let output = first
            .run(&["db", command, "--data-dir", data.to_str().unwrap()])
            .await;
        assert_eq!(output.status.code(), Some(0), "{command}: {}", text(&output));
    }
    first.kill9().await;
    let mut second = builder.clone().start().await;
    assert_eq!(second.stop(Signal::Term).await.code, Some(0));
    let third = builder.start().await;
    third.client().get("/v1/mcp/server").await.expect_status(200);
}

#[tokio::test]
async fn who_is_told_of_the_same_sqlite_file_by_name_is_warned() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shared.db");
    let builder = TestGateway::builder().database_url(&format!("sqlite://{}", file.display()));
    let first = builder.clone().start().await;
    assert!(
        !first.log().contains("has this SQLite database open"),
        "{}",
        first.log()
    );
    let second = builder.start().await;
    second.says("another gateway has this SQLite database open").await;
    second.says(&format!("process {}", first.pid())).await;
}

// === Doctor ===

#[tokio::test]
async fn doctor_looks_at_the_file_that_the_running_gateway_was_started_with() {
    let upstream = ScriptedUpstream::start().await;
    let config = format!(
        "mcp_servers:\n  good:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    let mut gateway = TestGateway::start(&config).await;
    let data = gateway.data_dir();
    let args = ["doctor", "--data-dir", data.to_str().unwrap()];
    let output = gateway.run(&args).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("good  http") && said.contains("ok, 1 tool in "),
        "{said}"
    );
    let note = format!(
        "looking at {}, which the gateway at {}",
        gateway.config_path().display(),
        gateway.url()
    );
    assert!(said.contains(&note), "{said}");
    let unknown = gateway.run(&[&args[..], &["nobody"]].concat()).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown).contains("registered: good"), "{}", text(&unknown));
    // Of one that does not run nobody knows which file it had: what was looked at is said.
    gateway.kill9().await;
    let output = gateway.run(&args).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("no server is registered in the database") && said.contains("--config FILE"),
        "{said}"
    );
}

#[tokio::test]
async fn doctors_exit_code_says_what_it_found() {
    let upstream = ScriptedUpstream::start().await;
    let down = ScriptedUpstream::refusing().await;
    let good = format!(
        "mcp_servers:\n  good:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    let both = format!("{good}  down:\n    url: {}\n    transport: http\n", down.url());
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("config.yaml"), folder.path().join("data"));
    let doctor = async |text: &str, more: &[&str]| {
        std::fs::write(&config, text).unwrap();
        let mut args = vec!["doctor", "--config", config.to_str().unwrap()];
        args.extend(["--data-dir", data.to_str().unwrap()]);
        args.extend(more);
        TestGateway::builder().run(&args).await
    };

    let output = doctor(&good, &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("ok, 1 tool in "), "{}", text(&output));

    let output = doctor(&both, &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("unreachable at tcp"), "{}", text(&output));

    // Asked about the good one alone.
    let output = doctor(&both, &["good"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(!text(&output).contains("down"), "{}", text(&output));

    let output = doctor(&both, &["--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let entry = |name: &str| {
        let entries = report.as_array().unwrap();
        entries.iter().find(|entry| entry["server"] == name).unwrap()
    };
    assert_eq!(entry("good")["outcome"]["status"], "ok", "{report}");
    assert_eq!(entry("down")["outcome"]["status"], "unreachable", "{report}");
    let steps = entry("good")["steps"].as_array().unwrap();
    let steps: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(
        steps,
        ["configuration", "dns", "tcp", "initialize", "initialized", "list"]
    );

    // The question cannot be asked: a server that is not there, a file that cannot be read.
    let output = doctor(&both, &["nobody"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("good"),
        "it says which there are: {}",
        text(&output)
    );
    let output = doctor("mcp_servers: [", &[]).await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

// === Listening ===

#[tokio::test]
async fn the_port_file_holds_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port");
    let gateway = TestGateway::builder()
        .arg("--port-file")
        .arg(path.to_str().unwrap())
        .start()
        .await;
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        gateway.port().to_string()
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn metrics_need_a_key_or_a_listener_of_their_own() {
    let port = free_port();
    let upstream = ScriptedUpstream::start().await;
    let config = format!(
        "mcp_servers:\n  up:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    let mut gateway = TestGateway::builder()
        .config(&config)
        .arg("--metrics-addr")
        .arg(&format!("127.0.0.1:{port}"))
        .start()
        .await;
    let called = gateway
        .client()
        .post(
            "/mcp-rest/tools/call",
            &json!({"name": "up-echo", "arguments": {"message": "m"}}),
        )
        .await;
    called.expect_status(200);

    gateway.anonymous().get("/metrics").await.expect_status(401);
    let with_key = gateway.client().get("/metrics").await.expect_status(200);
    let own = HttpClient::new(&format!("http://127.0.0.1:{port}"));
    let without_key = own.get("/metrics").await.expect_status(200);
    for page in [with_key, without_key] {
        assert!(page.header("content-type").unwrap().contains("openmetrics"));
        assert!(page.text().trim_end().ends_with("# EOF"), "{}", page.text());
        assert!(page.text().contains("trunkline_"), "{}", page.text());
        assert!(!page.text().contains(gateway.master_key()));
    }
    // Nothing else is there, with or without a key.
    for path in ["/v1/mcp/server", "/mcp", "/health/liveliness", "/"] {
        own.get(path).await.expect_status(404);
    }
    assert_eq!(gateway.stop(Signal::Term).await.code, Some(0));
}

#[tokio::test]
async fn b18_everything_works_below_a_root_path() {
    let upstream = ScriptedUpstream::start().await;
    let config = format!(
        "mcp_servers:\n  github:\n    url: {}\n    transport: http\n",
        upstream.url()
    );
    for root in ["/llm", "/llm/"] {
        let gateway = TestGateway::builder()
            .config(&config)
            .env("SERVER_ROOT_PATH", root)
            .start()
            .await;
        for path in [
            "/llm/mcp",
            "/llm/mcp/",
            "/llm/github/mcp",
            "/llm/github/mcp/",
            "/llm/mcp/github",
            "/mcp",
        ] {
            let mut mcp = gateway.mcp_at(path);
            mcp.initialize().await;
            assert_eq!(mcp.tool_names().await, ["github-echo"], "{root} {path}");
            let called = mcp.call("github-echo", &json!({"message": "m"}), None).await;
            assert_eq!(called.result()["content"][0]["text"], "m", "{root} {path}");
        }
        let client = gateway.client();
        for path in [
            "/llm/v1/mcp/server",
            "/llm/v1/mcp/tools",
            "/llm/health/liveliness",
            "/llm/mcp-rest/tools/list",
        ] {
            client.get(path).await.expect_status(200);
        }
        // The root is no server's name, and what is below it is as closed as ever.
        gateway
            .anonymous()
            .get("/llm/v1/mcp/server")
            .await
            .expect_status(401);
        let mut nobody = gateway.mcp_at("/llmx/mcp");
        let refused = nobody.initialize_only().await;
        assert!(!refused.status.is_success(), "{}", refused.everything());
    }
}

/// What a user sees first.
#[tokio::test]
async fn help_and_version_are_there() {
    let builder = TestGateway::builder();
    for (args, words) in [
        (&["--version"][..], &["trunkline "][..]),
        (&["--help"], &["serve", "config", "doctor", "db"]),
        (
            &["serve", "--help"],
            &["--config", "--host", "--port", "loopback"],
        ),
        (&["doctor", "--help"], &["Exit code"]),
    ] {
        let output = builder.run(args).await;
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        for word in words {
            assert!(
                text(&output).contains(word),
                "{args:?}: {word}: {}",
                text(&output)
            );
        }
    }
    let output = builder.run(&["sevre"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("serve"), "{}", text(&output));
}

/// A reference to the environment that leads nowhere stops the start and names the variable, not some value.
#[tokio::test]
async fn a_missing_variable_is_named() {
    let secret = Canary::key("other");
    let config = "general_settings:\n  master_key: os.environ/NOT_SET_ANYWHERE\n";
    let failure = TestGateway::builder()
        .master_key(None)
        .env("SOMETHING_ELSE", secret.value())
        .config(config)
        .try_start()
        .await
        .expect_err("it must not start");
    assert_refused(&failure, &["NOT_SET_ANYWHERE", "config.yaml:2:"]);
    secret.assert_absent(&[("the log", &failure.stderr), ("the output", &failure.stdout)]);
}
