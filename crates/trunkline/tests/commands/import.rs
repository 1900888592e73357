//! `import clients` and `import undo`: from the files of the clients of a home to the running gateway, and back.

use serde_json::json;
use trunkline_testkit::{ScriptedUpstream, TestGateway};

use crate::support::{assert_code, both, home, json as parsed, run, stdout, write};

/// A home with six clients' files.
fn clients(gateway: &TestGateway, upstream: &ScriptedUpstream) {
    let (home, url) = (home(gateway), upstream.url());
    let put = |name: &str, text: &str| write(&home.join(name), text);
    put(
        ".claude.json",
        &json!({"numStartups": 5, "mcpServers": {
            "up": {"type": "http", "url": url, "headers": {"Authorization": "Bearer canary-up"}},
            "program": {"command": "npx", "args": ["-y", "thing"], "env": {"TOKEN": "canary-env"}},
            "trunkline": {"type": "http", "url": format!("{}/mcp", gateway.url())},
        }, "projects": {home.to_str().unwrap(): {"mcpServers": {"local": {"type": "http", "url": url}}}}})
        .to_string(),
    );
    put(
        ".cursor/mcp.json",
        &format!(
            "{{\n  // a comment\n  \"mcpServers\": {{\"up\": {{\"url\": \"{url}\", \"headers\": {{\"X-Other\": \"1\"}}}},}}\n}}"
        ),
    );
    put(
        ".config/Code/User/mcp.json",
        &json!({"inputs": [{"id": "key", "type": "promptString"}], "servers": {
            "asks": {"type": "http", "url": url, "headers": {"Authorization": "Bearer ${input:key}"}},
        }})
        .to_string(),
    );
    put(
        ".codex/config.toml",
        &format!("[mcp_servers.codex]\nurl = \"{url}\"\nbearer_token_env_var = \"CODEX_TOKEN\"\n"),
    );
    put(".codeium/windsurf/mcp_config.json", "{ broken");
}

#[tokio::test]
async fn clients_are_imported_after_a_preview_and_taken_back() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::builder()
        .env("CODEX_TOKEN", "canary-codex")
        .start()
        .await;
    clients(&gateway, &upstream);

    // Nobody agrees: a preview, and nothing else.
    let preview = run(&gateway, &["import", "clients"]).await;
    assert_code(&preview, 7);
    let text = stdout(&preview);
    for (server, words) in [
        ("up ", "registered"),
        ("up-cursor", "registered"),
        ("local", "registered"),
        ("codex", "registered"),
        ("program", "--config FILE"),
        ("asks", "${input:key}"),
    ] {
        let line = text.lines().find(|line| line.starts_with(server));
        let line = line.unwrap_or_else(|| panic!("{server}: {text}"));
        assert!(line.contains(words), "{server}: {line}");
    }
    assert!(
        !text.lines().any(|line| line.starts_with("trunkline")),
        "the gateway is not imported into itself: {text}"
    );
    assert!(
        both(&preview).contains("mcp_config.json cannot be read"),
        "{}",
        both(&preview)
    );
    // What is for the configuration file is shown whole, with its environment.
    assert!(text.contains("mcp_servers:\n  program:"), "{text}");
    assert!(
        !text.contains("canary-up") && !text.contains("canary-codex"),
        "{text}"
    );
    let listed = gateway.client().get("/v1/mcp/server").await.json();
    assert_eq!(listed, json!([]));

    let file = home(&gateway).join("gateway.yaml");
    let before = "# mine\ngeneral_settings: {}\n";
    write(&file, before);
    let done = run(
        &gateway,
        &["import", "clients", "--yes", "--config", file.to_str().unwrap()],
    )
    .await;
    // One of them needs a value that only its client has.
    assert_code(&done, 1);
    assert!(stdout(&done).contains("ok, 1 tool"), "{}", both(&done));
    assert!(std::fs::read_to_string(&file).unwrap().contains("program:"));
    let listed = gateway.client().get("/v1/mcp/server").await.json();
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["alias"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["codex", "local", "up", "up-cursor"]);
    assert!(
        upstream.everything().contains("canary-codex"),
        "variables of Codex are filled in"
    );

    // Again: all is there.
    let again = run(&gateway, &["import", "clients", "--yes", "--json"]).await;
    assert_code(&again, 1);
    let plan = parsed(&again);
    let action = |name: &str| {
        plan.as_array()
            .unwrap()
            .iter()
            .find(|own| own["name"] == name)
            .unwrap()["action"]
            .clone()
    };
    assert_eq!(action("up"), "skipped", "{plan}");

    // One of them is changed since: it is kept, the others go.
    let id = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["alias"] == "local")
        .unwrap()["server_id"]
        .clone();
    let change = json!({"server_id": id, "description": "mine now"});
    gateway
        .client()
        .put("/v1/mcp/server", &change)
        .await
        .expect_status(202);
    assert_code(&run(&gateway, &["import", "undo"]).await, 7);
    let undone = run(&gateway, &["import", "undo", "--yes"]).await;
    assert_code(&undone, 1);
    assert!(
        both(&undone).contains("local was changed since"),
        "{}",
        both(&undone)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let listed = gateway.client().get("/v1/mcp/server").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_code(&run(&gateway, &["import", "undo", "--yes", "--force"]).await, 0);
    assert_eq!(gateway.client().get("/v1/mcp/server").await.json(), json!([]));
    assert_code(&run(&gateway, &["import", "undo", "--yes"]).await, 5);
}

#[tokio::test]
async fn one_client_alone_can_be_looked_at() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::builder().start().await;
    clients(&gateway, &upstream);
    let done = run(&gateway, &["import", "clients", "cursor", "--yes"]).await;
    assert_code(&done, 0);
    let listed = gateway.client().get("/v1/mcp/server").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let nothing = run(&gateway, &["import", "clients", "claude-desktop"]).await;
    assert_code(&nothing, 0);
    assert!(
        stdout(&nothing).contains("no servers were found"),
        "{}",
        both(&nothing)
    );
}
