//! Running programs through the gateway without the right to: S03, S04, B77.
//!
//! Every payload would leave a file behind if it ran, and the kernel's account of what the gateway's children did has
//! nothing in it ([`Account`]).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Request};
use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, Reply, TestGateway, eventually, repository_root};

use crate::support::{PATIENCE, row};

/// Definitions of programs, as they were used against others. `canary` is the file that each would make.
fn payloads(canary: &Path) -> Vec<Value> {
    let file = canary.display().to_string();
    let touch = format!("touch {file}");
    let python = format!("open({file:?}, 'w')");
    let program = |command: &str, args: &[&str]| json!({"server_id": "evil", "alias": "evil", "transport": "stdio", "command": command, "args": args, "sandbox": "off"});
    let mut all = vec![
        program("sh", &["-c", &touch]),
        program("/bin/sh", &["-c", &touch]),
        program("python3", &["-c", &python]),
        program("npx", &["-y", "--package=evil", "--", "sh", "-c", &touch]),
        program("docker", &["run", "-v", "/:/host", "alpine", "touch", &file]),
        program(&touch, &[]),
        program("touch", &[&file]),
    ];
    let mut preloaded = program("true", &[]);
    preloaded["env"] =
        json!({"LD_PRELOAD": file, "BASH_ENV": file, "NODE_OPTIONS": format!("--require {file}")});
    all.push(preloaded);
    // Half of it, or under another transport, or with mistakes that might be found first.
    all.push(
        json!({"server_id": "evil", "command": "touch", "args": [file], "url": "https://u.example/mcp"}),
    );
    all.push(json!({"transport": "stdio", "command": ["touch", file]}));
    all.push(json!({"transport": "stdio", "command": {"touch": file}, "nonsense": 1, "url": 7}));
    all.push(json!({"transport": "stdio", "server_id": ["evil"], "command": "touch", "args": [file]}));
    all
}

/// The operations that take a definition.
const TAKING: [(&str, &str); 5] = [
    ("POST", "/v1/mcp/server"),
    ("PUT", "/v1/mcp/server"),
    ("POST", "/v1/mcp/server/register"),
    ("POST", "/mcp-rest/test/connection"),
    ("POST", "/mcp-rest/test/tools/list"),
];

/// All operations of the committed document.
fn operations() -> Vec<(Method, String)> {
    let text = std::fs::read_to_string(repository_root().join("docs/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase().parse().unwrap();
            operations.push((method, path.replace("{server_id}", "evil")));
        }
    }
    assert!(operations.len() >= 17, "{operations:?}");
    for path in ["/mcp", "/mcp/evil", "/evil/mcp", "/v1/mcp/server/import"] {
        operations.push((Method::POST, path.to_owned()));
    }
    operations
}

async fn ask(client: &HttpClient, method: &Method, path: &str, body: &Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(body.to_string().into())
        .unwrap();
    client
        .try_send(request)
        .await
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// What the kernel keeps about all children that a process ever had and waited for: none of them can have run without a page
/// fault. Nothing is missed between two looks, as a child that is over in no time would be.
struct Account {
    pid: u32,
    before: u64,
}

impl Account {
    fn of(pid: u32) -> Self {
        let before = faults_of_children(pid);
        Self { pid, before }
    }

    /// Whether a process was started since, and is over or is not.
    fn has_grown(&self) -> bool {
        let alive = children(self.pid);
        faults_of_children(self.pid) != self.before || !alive.is_empty()
    }
}

/// `cminflt` of `/proc/PID/stat`.
fn faults_of_children(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    fields.split_whitespace().nth(8).unwrap().parse().unwrap()
}

/// Children that there are; those that have ended and are not waited for among them.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let lists: Vec<String> = lists.collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// The children that a process had at any time since, as far as one sees them by looking.
struct Lookout {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Lookout {
    fn over(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut found = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                for child in children(pid) {
                    let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                    found.push(String::from_utf8_lossy(&line).replace('\0', " "));
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            found
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    fn children(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[tokio::test]
async fn s03_no_route_starts_a_program_for_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let canary = folder.path().join("canary");
    let gateway = TestGateway::start("").await;
    let account = Account::of(gateway.pid());
    let wrong = gateway
        .anonymous()
        .with_header("authorization", "Bearer sk-wrong");
    let roles = [
        ("nobody", gateway.anonymous()),
        ("a wrong key", wrong),
        ("the administrator", gateway.client()),
    ];
    for (method, path) in operations() {
        for (role, client) in &roles {
            for body in payloads(&canary) {
                let reply = ask(client, &method, &path, &body).await;
                let taking = TAKING.contains(&(method.as_str(), path.as_str()));
                if taking {
                    let expected = if *role == "the administrator" { 403 } else { 401 };
                    let status = reply.status.as_u16();
                    assert_eq!(
                        status,
                        expected,
                        "{role}: {method} {path} {body}: {}",
                        reply.everything()
                    );
                }
                assert!(!canary.exists(), "{role}: {method} {path} {body} ran it");
            }
        }
    }
    let rows = gateway
        .client()
        .get("/v1/mcp/server")
        .await
        .expect_status(200)
        .json();
    assert_eq!(rows, json!([]), "nothing is stored");
    assert!(!account.has_grown(), "a process was started");
    assert!(!canary.exists());
}

#[tokio::test]
async fn b77_administrators_have_the_right_where_the_file_gives_it_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let canary = folder.path().join("canary");
    let mut gateway = TestGateway::start("general_settings:\n  mcp_stdio: admin\n").await;
    let (admin, nobody) = (gateway.client(), gateway.anonymous());
    let account = Account::of(gateway.pid());
    for (method, path) in TAKING {
        for body in payloads(&canary) {
            let reply = ask(&nobody, &method.parse().unwrap(), path, &body).await;
            assert_eq!(reply.status.as_u16(), 401, "{path}");
        }
    }
    assert!(!account.has_grown(), "a process was started");
    assert!(!canary.exists());
    let program = json!({"server_id": "own", "alias": "own", "transport": "stdio", "command": "cat", "env": {"KEY": "secret-value"}});
    let stored = admin
        .post("/v1/mcp/server", &program)
        .await
        .expect_status(201)
        .json();
    assert_eq!(stored["sandbox"]["network"], "allow", "{stored}");
    assert_eq!(stored["env"]["KEY"], "***");
    // It runs, and the account shows that: what says above that nothing did could say something else.
    eventually("it is in the account", PATIENCE, async || account.has_grown()).await;
    if cfg!(target_os = "linux") {
        let isolation = &stored["isolation"];
        assert!(
            isolation["enforced"].to_string().contains("no_new_privs"),
            "{isolation}"
        );
    }
    // Others' submissions do not hold programs: whoever approves sees a name and a description.
    admin
        .post("/v1/mcp/server/register", &program)
        .await
        .expect_status(403);
    for name in [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "NODE_OPTIONS",
        "PYTHONSTARTUP",
        "BASH_ENV",
        "ld_audit",
    ] {
        let mut body = program.clone();
        body["server_id"] = json!("injected");
        body["alias"] = json!("injected");
        body["env"] = json!({name: "x"});
        let reply = admin.post("/v1/mcp/server", &body).await.expect_status(400);
        assert!(reply.text().contains(name), "{}", reply.text());
        let reply = admin
            .put("/v1/mcp/server", &json!({"server_id": "own", "env": {name: "x"}}))
            .await;
        assert_eq!(reply.status.as_u16(), 400, "{name}");
        admin
            .post("/mcp-rest/test/connection", &body)
            .await
            .expect_status(400);
    }
    let mut shell = program.clone();
    shell["command"] = json!("npx -y server");
    let reply = admin.put("/v1/mcp/server", &shell).await.expect_status(400);
    assert!(reply.text().contains("`args`"), "{}", reply.text());

    // The right is withdrawn: what is stored stays, is shown, and is neither changed nor tried with other words.
    gateway.set_config("");
    gateway.restart().await;
    let admin = gateway.client();
    let lookout = Lookout::over(gateway.pid());
    assert_eq!(row(&admin, "own").await["command"], "cat");
    let touch = json!({"server_id": "own", "args": [canary]});
    admin.put("/v1/mcp/server", &touch).await.expect_status(403);
    admin
        .put("/v1/mcp/server", &json!({"server_id": "own", "env": {"A": "b"}}))
        .await
        .expect_status(403);
    for path in ["/mcp-rest/test/connection", "/mcp-rest/test/tools/list"] {
        admin.post(path, &touch).await.expect_status(403);
        let reply = admin
            .post(path, &json!({"server_id": "own"}))
            .await
            .expect_status(200)
            .json();
        assert_eq!(reply["outcome"]["status"], "misconfigured", "{reply}");
    }
    assert!(!canary.exists());
    let started = lookout.children();
    // The row says what a sandbox would be here, which is tried out by a process that does nothing else.
    let programs: Vec<&String> = started
        .iter()
        .filter(|line| line.contains("cat") || line.contains("__watch"))
        .collect();
    assert!(programs.is_empty(), "{programs:?}");
}

/// A client's file with a program among its servers, one that would be given a library, one that asks for a shell, some with
/// other mistakes, and no program.
fn client_file() -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stdio/server.py");
    json!({"mcpServers": {
        "own": {"command": "python3", "args": [script, "mark-import"], "env": {"TOKEN": "canary-import"}},
        "injected": {"command": "python3", "args": [script], "env": {"LD_PRELOAD": "/tmp/x.so"}},
        "line": {"command": "npx -y server"},
        "both": {"command": "npx", "url": "https://u.example/mcp"},
        "asks": {"command": "npx", "env": {"TOKEN": "${input:token}"}},
        "wrong": {"type": "stdio", "command": ["npx"], "args": "x"},
        "remote": {"url": "https://u.example/mcp"},
    }})
}

#[tokio::test]
async fn b77_programs_of_an_imported_file_need_the_same_right() {
    const PATH: &str = "/v1/mcp/server/import";
    let mut gateway = TestGateway::start("").await;
    let account = Account::of(gateway.pid());
    gateway
        .anonymous()
        .post(PATH, &client_file())
        .await
        .expect_status(401);
    let status = |answer: &Value, name: &str| {
        let errors = answer["errors"].as_array().unwrap();
        let error = errors.iter().find(|error| error["name"] == name);
        error.map(|error| error["status"].clone())
    };
    // The file of a client is one list: what is no program is imported all the same.
    for path in [&format!("{PATH}?dry_run=true"), PATH] {
        let reply = gateway.client().post(path, &client_file()).await;
        let answer = reply.expect_status(200).json();
        assert_eq!(answer["imported"][0]["name"], "remote", "{answer}");
        assert_eq!(answer["imported"].as_array().unwrap().len(), 1, "{answer}");
        // Whatever else is wrong with them: it is not looked at.
        for name in ["own", "injected", "line", "both", "asks", "wrong"] {
            assert_eq!(status(&answer, name), Some(json!(403)), "{name}: {answer}");
        }
        assert!(answer.to_string().contains("mcp_stdio"), "{answer}");
    }
    assert!(!account.has_grown(), "a process was started");

    gateway.set_config("general_settings:\n  mcp_stdio: admin\n");
    gateway.restart().await;
    let admin = gateway.client();
    let account = Account::of(gateway.pid());
    gateway
        .anonymous()
        .post(PATH, &client_file())
        .await
        .expect_status(401);
    let preview = format!("{PATH}?dry_run=true");
    let preview = admin
        .post(&preview, &client_file())
        .await
        .expect_status(200)
        .json();
    assert!(!account.has_grown(), "a preview starts nothing");
    let reply = admin.post(PATH, &client_file()).await.expect_status(200);
    let answer = reply.json();
    for answer in [&preview, &answer] {
        assert_eq!(answer["imported"][0]["name"], "own", "{answer}");
        assert_eq!(answer["imported"][0]["transport"], "stdio", "{answer}");
        assert_eq!(status(answer, "injected"), Some(json!(400)), "{answer}");
        assert_eq!(status(answer, "line"), Some(json!(400)), "{answer}");
        for name in ["both", "asks", "wrong"] {
            assert_eq!(status(answer, name), Some(json!(422)), "{name}: {answer}");
        }
        assert_eq!(answer["skipped"][0]["name"], "remote", "{answer}");
        assert!(!answer.to_string().contains("canary-import"), "{answer}");
    }
    eventually("it runs", PATIENCE, async || {
        row(&admin, "own").await["outcome"]["status"] == "ok"
    })
    .await;
    let own = row(&admin, "own").await;
    assert_eq!(own["sandbox"]["network"], "allow", "in the sandbox: {own}");
    assert_eq!(own["env"]["TOKEN"], "***", "{own}");
    let mut client = gateway.mcp_at("/own/mcp").with_protocol("2025-11-25");
    client.initialize().await;
    let reply = client.call("env", &json!({"name": "TOKEN"}), None).await.result();
    assert_eq!(reply["content"][0]["text"], "canary-import", "{reply}");
    if cfg!(target_os = "linux") {
        assert_ne!(own["isolation"]["degree"], "none", "{own}");
        let status = std::fs::read_to_string(format!("/proc/{}/status", own["programs"][0]["pid"]));
        let status = status.unwrap();
        assert!(
            status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"),
            "{status}"
        );
    }
    let rows = admin.get("/v1/mcp/server").await.expect_status(200).json();
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
}

#[tokio::test]
async fn s04_what_is_odd_about_a_program_of_the_file_is_said() {
    let config = "mcp_servers:
  bare: {transport: stdio, command: cat, sandbox: off, env: {NODE_OPTIONS: '--inspect'}}
  held: {transport: stdio, command: cat, args: [/srv]}
";
    let gateway = TestGateway::start(config).await;
    let log = gateway.log();
    assert!(
        log.contains("mcp_servers.bare.sandbox") && log.contains("is off"),
        "{log}"
    );
    assert!(log.contains("NODE_OPTIONS"), "{log}");
    let output = gateway
        .run(&[
            "doctor",
            "--config",
            &gateway.config_path().display().to_string(),
            "--data-dir",
            &gateway.data_dir().display().to_string(),
        ])
        .await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("isolation: none; nothing is confined: the server says `sandbox: off`"),
        "{text}"
    );
    if cfg!(target_os = "linux") {
        assert!(text.contains("isolation: full: "), "{text}");
    }
    let held = row(&gateway.client(), "held").await;
    assert_eq!(held["isolation"]["missing"], json!([]), "{held}");
    // What the sandbox hides is named wherever one looks.
    let hidden = "args[0] names /srv, which the sandbox hides";
    assert!(text.contains(hidden), "{text}");
    trunkline_testkit::eventually(
        "its status names the path",
        std::time::Duration::from_secs(20),
        async || {
            let held = row(&gateway.client(), "held").await;
            let hint = held["outcome"]["hint"].as_str().unwrap_or_default().to_owned();
            let of_program = held["programs"][0]["hints"][0]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            hint.contains(hidden) && of_program.contains(hidden)
        },
    )
    .await;
    let mistakes = TestGateway::builder()
        .config("mcp_servers:\n  a: {transport: stdio, command: npx -y x, cwd: here, sandbox: {port: [1], network: none}}\n")
        .try_start()
        .await
        .unwrap_err();
    for part in [
        "mcp_servers.a.command",
        "mcp_servers.a.cwd",
        "mcp_servers.a.sandbox.port: is no setting of a sandbox; did you mean \"ports\"?",
        "mcp_servers.a.sandbox.network: must be `allow` or `deny`",
    ] {
        assert!(mistakes.stderr.contains(part), "{part}: {}", mistakes.stderr);
    }
}
