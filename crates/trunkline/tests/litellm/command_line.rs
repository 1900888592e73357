//! `lite` and `litellm-proxy`: the commands that manage keys, teams and users.

use std::path::PathBuf;

use serde_json::{Value, json};
use trunkline_testkit::{TestGateway, tools};

use crate::support::{Done, run};

/// LiteLLM's command line with a key.
struct CommandLine<'g> {
    program: PathBuf,
    gateway: &'g TestGateway,
    key: String,
}

impl CommandLine<'_> {
    async fn run(&self, args: &[&str]) -> Done {
        run(&self.program, args, self.gateway, &self.key).await
    }

    /// What a command prints that must work.
    async fn text(&self, args: &[&str]) -> String {
        let done = self.run(args).await;
        assert!(done.worked, "{args:?}: {}\n{}", done.stdout, done.stderr);
        done.stdout
    }

    async fn json(&self, args: &[&str]) -> Value {
        let text = self.text(args).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }
}

fn command_line<'g>(name: &str, gateway: &'g TestGateway) -> Option<CommandLine<'g>> {
    let program = tools::python("litellm")?.with_file_name(name);
    let key = gateway.master_key().to_owned();
    Some(CommandLine {
        program,
        gateway,
        key,
    })
}

#[tokio::test]
async fn b40_litellms_command_line_manages_keys() {
    let gateway = TestGateway::start("").await;
    // The name that is on its way out, and its successor.
    for name in ["litellm-proxy", "lite"] {
        let Some(cli) = command_line(name, &gateway) else {
            return;
        };
        let made = cli
            .json(&[
                "keys",
                "generate",
                "--key-alias",
                "one",
                "--duration",
                "24h",
                "--spend",
                "0",
            ])
            .await;
        assert_eq!((&made["key_alias"], &made["spend"]), (&json!("one"), &json!(0.0)));
        let table = cli.text(&["keys", "list"]).await;
        let token = made["token"].as_str().unwrap();
        assert!(
            table.contains("Showing 1 keys out of 1") && table.contains(token),
            "{table}"
        );
        let listed = cli
            .json(&["keys", "list", "--format", "json", "--key-alias", "one"])
            .await;
        assert_eq!(listed["keys"][0]["token"], token);
        let none = cli
            .json(&["keys", "list", "--format", "json", "--organization-id", "nobody"])
            .await;
        assert_eq!(none["keys"], json!([]), "no row is shown that was not asked for");
        let refused = cli.run(&["keys", "generate", "--key-alias", "one"]).await;
        assert!(
            !refused.worked && refused.stderr.contains("HTTP 400"),
            "{}",
            refused.stderr
        );
        let asked = cli
            .run(&["keys", "generate", "--aliases", "{\"a\": \"b\"}"])
            .await;
        assert!(
            !asked.worked && asked.stderr.contains("HTTP 422"),
            "{}",
            asked.stderr
        );
        let deleted = cli
            .json(&["keys", "delete", "--keys", made["key"].as_str().unwrap()])
            .await;
        assert_eq!(deleted["deleted_keys"], json!([token]));
    }
}

#[tokio::test]
async fn b40_litellms_command_line_imports_the_keys_of_another_gateway() {
    let (gateway, other) = (TestGateway::start("").await, TestGateway::start("").await);
    let Some(cli) = command_line("lite", &gateway) else {
        return;
    };
    for alias in ["a", "b"] {
        let body = json!({"key_alias": alias});
        other
            .client()
            .post("/key/generate", &body)
            .await
            .expect_status(200);
    }
    let url = other.url();
    let from = ["--source-base-url", &url, "--source-api-key", other.master_key()];
    let text = cli.text(&[&["keys", "import"], &from[..]].concat()).await;
    assert!(text.contains("Successfully imported: 2"), "{text}");
    let aliases = gateway
        .client()
        .get("/key/aliases")
        .await
        .expect_status(200)
        .json();
    assert_eq!(aliases["aliases"], json!(["a", "b"]));
}

#[tokio::test]
async fn b40_litellms_command_line_manages_users_and_shows_teams() {
    let gateway = TestGateway::start("").await;
    let Some(cli) = command_line("lite", &gateway) else {
        return;
    };
    let team = json!({"team_id": "t1", "team_alias": "docs"});
    gateway.client().post("/team/new", &team).await.expect_status(200);
    let made = cli
        .json(&[
            "users",
            "create",
            "--email",
            "ann@example.com",
            "--alias",
            "Ann",
            "--team",
            "t1",
        ])
        .await;
    let id = made["user_id"].as_str().unwrap();
    let table = cli.text(&["users", "list"]).await;
    assert!(
        table.contains("ann@example.com") && table.contains("t1"),
        "{table}"
    );
    assert_eq!(
        cli.json(&["users", "get", "--id", id]).await["user_info"]["user_alias"],
        "Ann"
    );
    assert_eq!(
        cli.json(&["users", "get"]).await["keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let table = cli.text(&["teams", "list"]).await;
    assert!(table.contains("docs") && table.contains("All models"), "{table}");
    assert!(
        cli.text(&["teams", "available"])
            .await
            .contains("No available teams")
    );
    let key = made["key"].as_str().unwrap();
    // A user's own key sees its own.
    let own = CommandLine {
        key: key.to_owned(),
        ..command_line("lite", &gateway).unwrap()
    };
    assert!(own.text(&["teams", "list"]).await.contains("docs"));
    assert_eq!(cli.json(&["users", "delete", id]).await, 1);
    assert!(
        !own.run(&["keys", "list"]).await.worked,
        "its keys are gone with it"
    );
    let version = cli.text(&["version"]).await;
    assert!(
        version.contains("LiteLLM Proxy CLI Version: 1.109.1"),
        "{version}"
    );
}
