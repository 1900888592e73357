//! The servers, and what is asked of each.

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use trunkline_testkit::{Canary, FastMcpBackend, FastMcpOptions, ForeignServer, tools};

/// What a busy machine may need for anything that is not measured here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A running server.
pub(crate) struct Server {
    /// Its name in the gateway, and the prefix of its tools.
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    running: Running,
}

enum Running {
    Foreign(ForeignServer),
    Backend(FastMcpBackend),
}

/// One thing that a client does: see `python/plan.py`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    #[serde(flatten)]
    pub(crate) what: Value,
    /// The text of the answer is another one each time.
    #[serde(skip)]
    pub(crate) varies: bool,
    /// The Inspector does it, too: each of its steps is a process.
    #[serde(skip)]
    pub(crate) inspected: bool,
}

impl Step {
    fn new(what: Value) -> Self {
        Self {
            what,
            varies: false,
            inspected: false,
        }
    }

    fn call(name: &str, arguments: &Value) -> Self {
        Self::new(json!({"do": "call", "name": name, "arguments": arguments}))
    }

    fn prompt(name: &str, arguments: &Value) -> Self {
        Self::new(json!({"do": "prompt", "name": name, "arguments": arguments}))
    }

    fn read(uri: &str) -> Self {
        Self::new(json!({"do": "read", "uri": uri}))
    }

    fn complete(reference: &Value, name: &str, value: &str) -> Self {
        Self::new(json!({"do": "complete", "ref": reference, "argument": {"name": name, "value": value}}))
    }

    /// What every session begins with.
    pub(crate) fn lists() -> [Self; 4] {
        ["tools", "prompts", "resources", "templates"].map(|list| Self::new(json!({"do": list})))
    }

    fn inspected(mut self) -> Self {
        self.inspected = true;
        self
    }

    fn varies(mut self) -> Self {
        self.varies = true;
        self
    }
}

impl Server {
    pub(crate) fn url(&self) -> String {
        match &self.running {
            Running::Foreign(server) => server.url(),
            Running::Backend(backend) => backend.url(),
        }
    }

    /// What a client sends to be let in.
    pub(crate) fn headers(&self) -> Value {
        match &self.running {
            Running::Foreign(_) => json!({}),
            Running::Backend(backend) => json!({"authorization": format!("Bearer {}", backend.key())}),
        }
    }

    /// Its lines under `mcp_servers`.
    pub(crate) fn entry(&self) -> String {
        let credential = match &self.running {
            Running::Foreign(_) => String::new(),
            Running::Backend(backend) => {
                format!(
                    "    auth_type: bearer_token\n    authentication_token: {}\n",
                    backend.key()
                )
            }
        };
        format!("  {}:\n    url: {}\n{credential}", self.name, self.url())
    }
}

/// All of them, in the order of their names.
pub(crate) const ALL: [&str; 5] = ["fast", "mirror", "npm", "one", "two"];

/// Starts those of [`ALL`]; `None` if what one needs is not there.
pub(crate) async fn start(names: &[&'static str], key: &Canary) -> Option<Vec<Server>> {
    let servers = join_all(names.iter().map(|&name| one_of(name, key))).await;
    servers.into_iter().collect()
}

async fn one_of(name: &'static str, key: &Canary) -> Option<Server> {
    let (steps, running) = match name {
        "fast" => {
            let python = tools::python("sdk2")?;
            let server = ForeignServer::start("FastMCP", |port| fast(&python, port)).await;
            (fast_steps(), Running::Foreign(server))
        }
        "mirror" => {
            let options = FastMcpOptions {
                key: key.value().to_owned(),
                ..FastMcpOptions::default()
            };
            let backend = FastMcpBackend::start(options).await?;
            (mirror_steps(), Running::Backend(backend))
        }
        "npm" => {
            let modules = tools::node_modules()?;
            let server = ForeignServer::start("server-everything", |port| npm(&modules, port)).await;
            (npm_steps(), Running::Foreign(server))
        }
        "one" => {
            let server = ForeignServer::start("mcp 1", tools::everything("everything1")?).await;
            (everything_steps(), Running::Foreign(server))
        }
        "two" => {
            let server = ForeignServer::start("mcp 2", tools::everything("everything2")?).await;
            (two_steps(), Running::Foreign(server))
        }
        _ => panic!("no server {name}"),
    };
    Some(Server { name, steps, running })
}

/// `python/server.py`
fn fast(python: &std::path::Path, port: u16) -> Command {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/server.py");
    let mut command = Command::new(python);
    command.arg(script).arg(port.to_string());
    command
}

/// server-everything of npm: on the loopback interface, and always at the same time of day.
fn npm(modules: &std::path::Path, port: u16) -> Command {
    let preload = [
        modules.with_file_name("loopback.cjs"),
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/still.cjs"),
    ];
    let mut command = Command::new("node");
    for file in preload {
        command.arg("--require").arg(file);
    }
    command
        .arg(modules.join("@modelcontextprotocol/server-everything/dist/index.js"))
        .arg("streamableHttp")
        .env("PORT", port.to_string());
    command
}

fn fast_steps() -> Vec<Step> {
    vec![
        Step::call("add", &json!({"a": 1.5})).inspected(),
        Step::call("pixel", &json!({})),
        Step::call("fail", &json!({"why": "rain"})),
        Step::call("add", &json!({"a": "no number"})),
        Step::call("steps", &json!({"count": 3})),
        Step::read("notes://today"),
        Step::read("notes://pixel").inspected(),
        Step::read("notes://day/7"),
        Step::prompt("summarise", &json!({"topic": "rivers"})).inspected(),
    ]
}

fn mirror_steps() -> Vec<Step> {
    let m = json!({"name": "m"});
    vec![
        Step::call(
            "create_mirror",
            &json!({"name": "m", "source_url": "https://example.com/m.git"}),
        ),
        Step::call("list_mirrors", &json!({})),
        Step::call("get_mirror", &m),
        Step::call("list_branches", &m),
        Step::call("get_mirror", &json!({"name": "nobody's"})),
        Step::call("echo", &json!({"message": "héllo \u{2028} \"'"})),
    ]
}

fn npm_steps() -> Vec<Step> {
    let prompt = json!({"type": "ref/prompt", "name": "completable-prompt"});
    let template = json!({"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"});
    vec![
        Step::call("echo", &json!({"message": "héllo"})),
        Step::call("get-sum", &json!({"a": 1.5, "b": 2})),
        Step::call("get-sum", &json!({"a": "no number"})),
        Step::call("get-tiny-image", &json!({})),
        Step::call("get-structured-content", &json!({"location": "New York"})),
        Step::call(
            "get-annotated-message",
            &json!({"messageType": "error", "includeImage": true}),
        ),
        Step::call("get-resource-links", &json!({"count": 2})),
        Step::call(
            "get-resource-reference",
            &json!({"resourceType": "Text", "resourceId": 1}),
        ),
        Step::call(
            "trigger-long-running-operation",
            &json!({"duration": 0.3, "steps": 3}),
        ),
        Step::prompt("simple-prompt", &json!({})),
        Step::prompt("args-prompt", &json!({"city": "Paris"})),
        Step::prompt(
            "resource-prompt",
            &json!({"resourceType": "Text", "resourceId": "1"}),
        ),
        Step::read("demo://resource/static/document/architecture.md"),
        Step::read("demo://resource/dynamic/text/1"),
        Step::read("demo://resource/dynamic/blob/2"),
        Step::complete(&prompt, "department", "S"),
        Step::complete(&template, "resourceId", "1"),
    ]
}

/// What both official everything-servers have.
fn everything_steps() -> Vec<Step> {
    let prompt = json!({"type": "ref/prompt", "name": "test_prompt_with_arguments"});
    vec![
        Step::call("test_simple_text", &json!({})),
        Step::call("test_image_content", &json!({})),
        Step::call("test_audio_content", &json!({})),
        Step::call("test_embedded_resource", &json!({})),
        Step::call("test_multiple_content_types", &json!({})),
        Step::call("test_error_handling", &json!({})).inspected(),
        Step::call("test_tool_with_logging", &json!({})),
        // It answers with the token, which is the gateway's own.
        Step::call("test_tool_with_progress", &json!({})).varies(),
        Step::prompt("test_prompt_with_arguments", &json!({"arg1": "a", "arg2": "b"})),
        Step::prompt(
            "test_prompt_with_embedded_resource",
            &json!({"resourceUri": "test://static-text"}),
        ),
        Step::prompt("test_prompt_with_image", &json!({})),
        Step::read("test://static-text"),
        Step::read("test://static-binary"),
        Step::read("test://template/7/data"),
        Step::complete(&prompt, "arg1", "a"),
    ]
}

fn two_steps() -> Vec<Step> {
    let mut steps = everything_steps();
    steps.push(Step::call("test_x_mcp_header", &json!({"region": " eu–west "})).inspected());
    steps.push(Step::call("json_schema_2020_12_tool", &json!({})));
    steps
}
