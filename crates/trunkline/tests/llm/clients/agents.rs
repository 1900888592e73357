//! Agents as people run them: Claude Code and Codex, without a terminal, whose models and tools are the gateway's. Each has a task that it can
//! finish only with a tool, once with a model of the provider whose dialect it speaks and once with one of another.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::tools;

use super::world::{TASK, World};

/// As long as a busy machine takes to start a program of hundreds of megabytes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs an agent in an empty folder, with nothing of this process's environment but this. What it prints, and on stderr.
async fn run(
    world: &World,
    mut agent: Command,
    folder: &Path,
    environment: &[(&str, String)],
) -> (String, String) {
    agent
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut agent = tokio::process::Command::from(agent);
    let running = agent.kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, running).await;
    let output = output.unwrap_or_else(|_| panic!("it goes on and on\n{}", world.gateway.log()));
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{printed}\n{errors}\n{}",
        world.gateway.log()
    );
    (printed, errors)
}

/// What the records say of an agent that asked its model so many times, and of the call of a tool before the last.
fn expected(kind: &str, model: &str, rounds: usize) -> Vec<[String; 3]> {
    let row = |kind: &str, model: &str| [kind.to_owned(), model.to_owned(), "success".to_owned()];
    let mut rows = vec![row(kind, model); rounds];
    rows.push(row("call_mcp_tool", ""));
    rows.sort();
    rows
}

async fn claude_code(model: &str) {
    let Some(agents) = tools::agents() else {
        return;
    };
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let servers = json!({"mcpServers": {"gateway": {
        "type": "http", "url": format!("{}/mcp", world.gateway.url()),
        "headers": {"Authorization": format!("Bearer {}", world.key)},
    }}});
    let mut agent = Command::new(agents.claude);
    agent
        .args(["-p", TASK, "--output-format", "json"])
        .args(["--mcp-config", &servers.to_string(), "--strict-mcp-config"])
        .args(["--allowedTools", "mcp__gateway__vault-secret"]);
    let environment = [
        ("ANTHROPIC_BASE_URL", world.gateway.url()),
        ("ANTHROPIC_AUTH_TOKEN", world.key.clone()),
        ("ANTHROPIC_MODEL", model.to_owned()),
        // Nothing but the task.
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        ("DISABLE_AUTOUPDATER", "1".to_owned()),
        ("DISABLE_TELEMETRY", "1".to_owned()),
    ];
    let (printed, errors) = run(&world, agent, folder.path(), &environment).await;
    let report: Value = serde_json::from_str(&printed).unwrap();
    let said = report["result"].as_str().unwrap_or_default();
    let log = world.gateway.log();
    assert!(said.contains(world.secret.value()), "{report}\n{errors}\n{log}");
    assert_eq!(
        (&report["is_error"], &report["permission_denials"]),
        (&json!(false), &json!([])),
        "{report}"
    );
    // It finds the tool, calls it, and says what it heard.
    assert_eq!(world.records(4).await, expected("anthropic_messages", model, 3));
}

/// With OpenAI's own search, which it offers its model unless it is told not to, or without.
async fn codex(model: &str, searches: bool) {
    let Some(agents) = tools::agents() else {
        return;
    };
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = world.gateway.url();
    let search = if searches {
        ""
    } else {
        "web_search = \"disabled\"\n"
    };
    let config = format!(
        "model = \"{model}\"\nmodel_provider = \"gateway\"\n{search}\n[model_providers.gateway]\nname = \"Gateway\"\nbase_url = \"{url}/v1\"\nenv_key = \"GATEWAY_KEY\"\nwire_api = \"responses\"\n\n[mcp_servers.gateway]\nurl = \"{url}/mcp\"\nbearer_token_env_var = \"GATEWAY_KEY\"\n"
    );
    std::fs::write(folder.path().join("config.toml"), config).unwrap();
    let mut agent = Command::new(agents.codex);
    agent
        .args(["exec", "--json", "--skip-git-repo-check"])
        // Its own sandbox needs what a container often has not; the model of the test calls the one tool alone.
        .args(["--dangerously-bypass-approvals-and-sandbox", TASK]);
    let home = folder.path().display().to_string();
    let environment = [("CODEX_HOME", home), ("GATEWAY_KEY", world.key.clone())];
    let (printed, errors) = run(&world, agent, folder.path(), &environment).await;
    let events: Vec<Value> = printed
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let done = |kind: &str| {
        let mut items = events.iter().filter(|own| own["type"] == "item.completed");
        items
            .find(|own| own["item"]["type"] == kind)
            .map(|own| own["item"].clone())
    };
    let log = world.gateway.log();
    let said = done("agent_message").unwrap_or_default();
    let said = said["text"].as_str().unwrap_or_default();
    assert!(said.contains(world.secret.value()), "{printed}\n{errors}\n{log}");
    assert_eq!(done("mcp_tool_call").unwrap()["status"], "completed", "{printed}");
    assert_eq!(world.records(3).await, expected("aresponses", model, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_finishes_a_task_with_a_model_of_anthropics() {
    claude_code("anthropic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_finishes_a_task_with_models_of_other_providers() {
    for model in ["openai", "gemini", "bedrock"] {
        claude_code(model).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_finishes_a_task_with_a_model_of_openais() {
    codex("openai", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_finishes_a_task_with_models_of_other_providers() {
    for model in ["anthropic", "gemini", "bedrock"] {
        codex(model, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_searches_the_web_unless_it_is_told_not_to_which_may_be_left_out() {
    codex("dropping", true).await;
}
