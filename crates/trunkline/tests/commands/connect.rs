//! `connect`: the gateway in a client's file, and everything else as it was.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use trunkline_testkit::TestGateway;

use crate::support::{BINARY, assert_code, both, stdout, write};

const KEY: &str = "sk-canary-5b1e9f04c7d2a8366f7e";
const URL: &str = "http://127.0.0.1:4711";

/// A home with the files of clients in it.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        write(&self.path(name), text);
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn backups(&self, name: &str) -> Vec<String> {
        let path = self.path(name);
        let start = format!("{}.trunkline-", path.file_name().unwrap().to_str().unwrap());
        let mut found: Vec<String> = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(&start))
            .collect();
        found.sort();
        found
    }

    async fn connect(&self, args: &[&str]) -> Output {
        self.connect_with(&[("TRUNKLINE_KEY", KEY)], args).await
    }

    async fn connect_with(&self, keys: &'static [(&'static str, &'static str)], args: &[&str]) -> Output {
        let folder = self.folder.path().to_owned();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let project = folder.join("project");
            std::fs::create_dir_all(&project).unwrap();
            std::process::Command::new(BINARY)
                .env_clear()
                .env("HOME", &folder)
                .envs(keys.iter().copied())
                .env("TRUNKLINE_URL", URL)
                .current_dir(project)
                .arg("connect")
                .args(args)
                .output()
                .unwrap()
        })
        .await
        .unwrap()
    }
}

/// JSON with comments, as serde reads it: the fixtures' comments are on lines of their own.
fn parsed(text: &str) -> Value {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    serde_json::from_str(&lines.join("\n")).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const JSON: &str = "// settings that somebody wrote\n{\n    \"other\":   [1,2,3],\n    \"SECTION\": {\n        // the first one\n        \"git\": { \"command\": \"uvx\" }\n    },\n    \"last\": true\n}\n";

#[tokio::test]
async fn every_client_is_connected_once_and_disconnected_without_a_trace() {
    let toml = "# mine\nmodel = \"m\"  # kept\n\n[mcp_servers.git]\ncommand = \"uvx\"\n";
    for (client, file, section) in [
        ("claude-code", ".claude.json", "mcpServers"),
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
            "mcpServers",
        ),
        ("cursor", ".cursor/mcp.json", "mcpServers"),
        ("vscode", ".config/Code/User/mcp.json", "servers"),
        ("windsurf", ".codeium/windsurf/mcp_config.json", "mcpServers"),
        ("codex", ".codex/config.toml", "mcp_servers"),
    ] {
        let before = if client == "codex" {
            toml.to_owned()
        } else {
            JSON.replace("SECTION", section)
        };
        let home = Home::new();
        home.put(file, &before);
        let connected = home.connect(&[client]).await;
        assert_code(&connected, 0);
        assert!(!both(&connected).contains("canary"), "the key is not printed");
        let after = home.text(file);
        for line in before.lines().filter(|line| !line.trim_end().ends_with('}')) {
            assert!(after.contains(line), "{client}: {line} in {after}");
        }
        assert!(after.contains("trunkline"), "{after}");
        let backups = home.backups(file);
        assert_eq!(backups.len(), 1, "{client}");

        // A second time nothing is written.
        let again = home.connect(&[client]).await;
        assert_code(&again, 0);
        assert!(stdout(&again).contains("already"), "{client}: {}", both(&again));
        assert_eq!(home.text(file), after, "{client}");
        assert_eq!(home.backups(file).len(), 1, "{client}");

        let removed = home.connect(&[client, "--remove"]).await;
        assert_code(&removed, 0);
        let left = home.text(file);
        if client == "vscode" {
            // The list of questions was not there before, and stays, empty.
            assert!(!left.contains("trunkline"), "{left}");
        } else {
            assert_eq!(left, before, "{client}: there and back");
        }
        assert_code(&home.connect(&[client, "--remove"]).await, 0);
        assert_eq!(home.text(file), left);
    }
}

#[tokio::test]
async fn each_client_gets_what_it_understands() {
    let home = Home::new();
    let server = |file: &str, section: &str| parsed(&home.text(file))[section]["trunkline"].clone();
    let bearer = format!("Bearer {KEY}");

    for (client, file, address) in [
        ("claude-code", ".claude.json", "url"),
        ("cursor", ".cursor/mcp.json", "url"),
        ("windsurf", ".codeium/windsurf/mcp_config.json", "serverUrl"),
    ] {
        let connected = home.connect(&[client, "--servers", "git,web search"]).await;
        assert_code(&connected, 0);
        assert!(stdout(&connected).contains("in the file"), "{}", both(&connected));
        let own = server(file, "mcpServers");
        assert_eq!(own[address], format!("{URL}/mcp/git,web%20search"), "{own}");
        assert_eq!(own["headers"]["x-litellm-api-key"], bearer, "{own}");
        assert_private(&home.path(file));
        // The same file, without a key in it.
        let connected = home.connect(&[client, "--key-from-env"]).await;
        assert_code(&connected, 0);
        assert!(!home.text(file).contains("canary"), "{}", home.text(file));
        assert!(home.text(file).contains("TRUNKLINE_KEY}"), "{}", home.text(file));
    }
    assert_code(&home.connect(&["vscode"]).await, 0);
    let text = home.text(".config/Code/User/mcp.json");
    assert!(
        text.contains("${input:trunkline-key}") && !text.contains("canary"),
        "{text}"
    );
    assert_eq!(parsed(&text)["inputs"][0]["password"], true);

    assert_code(&home.connect(&["codex"]).await, 0);
    assert!(home.text(".codex/config.toml").contains(&bearer));
    assert_code(&home.connect(&["codex", "--key-from-env"]).await, 0);
    let text = home.text(".codex/config.toml");
    assert!(
        text.contains("bearer_token_env_var = \"TRUNKLINE_KEY\"") && !text.contains("canary"),
        "{text}"
    );

    assert_code(&home.connect(&["claude-desktop"]).await, 0);
    let own = server(".config/Claude/claude_desktop_config.json", "mcpServers");
    assert_eq!(own["command"], BINARY, "{own}");
    assert_eq!(own["args"], serde_json::json!(["stdio", "--url", URL]), "{own}");
    assert_eq!(own["env"]["TRUNKLINE_KEY"], KEY);
}

#[tokio::test]
async fn a_project_never_gets_a_key() {
    let home = Home::new();
    for (client, file) in [
        ("claude-code", "project/.mcp.json"),
        ("cursor", "project/.cursor/mcp.json"),
        ("vscode", "project/.vscode/mcp.json"),
    ] {
        let connected = home.connect(&[client, "--project"]).await;
        assert_code(&connected, 0);
        let text = home.text(file);
        assert!(text.contains(URL) && !text.contains("canary"), "{client}: {text}");
        assert!(text.contains("${"), "{client}: {text}");
    }
    let refused = home.connect(&["codex", "--project"]).await;
    assert_code(&refused, 2);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_written_and_print_writes_nothing() {
    let home = Home::new();
    let broken = "{ \"mcpServers\": ";
    home.put(".cursor/mcp.json", broken);
    let refused = home.connect(&["cursor"]).await;
    assert_code(&refused, 1);
    assert_eq!(home.text(".cursor/mcp.json"), broken);
    let printed = home.connect(&["windsurf", "--print"]).await;
    assert_code(&printed, 0);
    assert!(
        stdout(&printed).contains("serverUrl") && stdout(&printed).contains("Bearer ***"),
        "{}",
        both(&printed)
    );
    assert!(!both(&printed).contains("canary"));
    assert!(!home.path(".codeium").exists());
    assert_code(&home.connect(&["emacs"]).await, 2);
}

/// Whose key it is, and who could read it.
#[tokio::test]
async fn whose_key_is_written_is_said_and_nobody_else_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let file = ".cursor/mcp.json";
    home.put(file, "{}\n");
    let mode = |mode: u32| {
        std::fs::set_permissions(home.path(file), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let connected = home.connect(&["cursor"]).await;
    assert_code(&connected, 0);
    let said = stdout(&connected);
    assert!(
        said.contains("0600") && said.contains("were 0644") && said.contains("the one that was given"),
        "{said}"
    );
    assert!(!said.contains("administrator"), "{said}");
    assert_private(&home.path(file));
    let backups = home.backups(file);
    assert_private(&home.path(".cursor").join(&backups[0]));
    // One that was written when others could read it is taken from them, and nothing else is done.
    mode(0o664);
    let again = home.connect(&["cursor"]).await;
    assert!(
        stdout(&again).contains("already") && stdout(&again).contains("were 0664"),
        "{}",
        both(&again)
    );
    assert_private(&home.path(file));
    assert_eq!(home.backups(file).len(), 1);
    // The administrator's, under whichever name it was given.
    let named: [&'static [(&'static str, &'static str)]; 2] = [
        &[("LITELLM_MASTER_KEY", KEY)],
        &[("LITELLM_MASTER_KEY", KEY), ("TRUNKLINE_KEY", KEY)],
    ];
    for keys in named {
        let home = Home::new();
        let connected = home
            .connect_with(keys, &["cursor", "--servers", "git,search"])
            .await;
        assert_code(&connected, 0);
        let said = stdout(&connected);
        assert!(
            said.contains("the administrator's is in the file") && said.contains("a key of its own"),
            "{said}"
        );
        assert!(
            said.contains("/key/generate")
                && said.contains(r#"["git","search"]"#)
                && !said.contains("canary"),
            "{said}"
        );
        assert_private(&home.path(file));
    }
    // Who takes it from the environment has nothing in the file to be kept.
    let home = Home::new();
    home.put(file, "{}\n");
    std::fs::set_permissions(home.path(file), std::fs::Permissions::from_mode(0o644)).unwrap();
    let connected = home.connect(&["cursor", "--key-from-env"]).await;
    assert!(!stdout(&connected).contains("0600"), "{}", both(&connected));
    let kept = std::fs::metadata(home.path(file)).unwrap().permissions().mode();
    assert_eq!(kept & 0o777, 0o644);
}

/// A key that the gateway generated is found by `trunkline stdio` itself.
#[tokio::test]
async fn a_generated_key_is_in_no_file_of_claude_desktop() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = TestGateway::builder()
        .master_key(None)
        .data_dir(folder.path())
        .start()
        .await;
    let file = folder.path().join("desktop.json");
    let connected = gateway
        .run(&[
            "connect",
            "claude-desktop",
            "--file",
            file.to_str().unwrap(),
            "--data-dir",
            folder.path().to_str().unwrap(),
        ])
        .await;
    assert_code(&connected, 0);
    assert!(
        stdout(&connected).contains("finds the administrator's")
            && stdout(&connected).contains("a key of its own"),
        "{}",
        both(&connected)
    );
    let key = std::fs::read_to_string(folder.path().join("master_key")).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&key) && text.contains("--data-dir"), "{text}");
}

/// Nobody but the owner reads it.
fn assert_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
}
