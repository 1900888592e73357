//! `litellm.proxy.client`: the life cycles of keys, teams, users and servers.

use serde_json::{Value, json};
use trunkline_testkit::{ScriptedUpstream, TestGateway, ToolAnswer, ToolCall, tools};

use crate::support::{run, script};

async fn upstream() -> ScriptedUpstream {
    let tool = json!({"name": "read", "inputSchema": {"type": "object"}});
    ScriptedUpstream::builder()
        .tool_fn(&tool, |_: &ToolCall| ToolAnswer::text("done"))
        .start()
        .await
}

#[tokio::test]
async fn b40_litellms_client_manages_keys_teams_users_and_servers() {
    let Some(python) = tools::python("litellm") else {
        return;
    };
    let upstream = upstream().await;
    let gateway = TestGateway::start("").await;
    let key = gateway.master_key().to_owned();
    let (url, upstream_url) = (gateway.url(), upstream.url());
    let script = script("client.py");
    let args = [&script, &url, &key, &upstream_url].map(String::as_str);
    let done = run(&python, &args, &gateway, &key).await;
    assert!(done.worked, "{}\n{}", done.stdout, done.stderr);
    let reports: Vec<Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = [
        json!({"part": "health", "status": "healthy"}),
        json!({
            "part": "keys", "key_has_prefix": true, "token_is_token_id": true, "alias": "by-client", "info_has_key": false,
            "listed": [true], "hashes": true, "renamed": "renamed", "seen_by_itself": true, "may_make": 401,
            "rotated": true, "old": 401, "deleted": ["renamed"], "gone": 404, "wrong": 401,
        }),
        json!({
            "part": "teams", "made": "docs", "listed": ["docs-team"], "of_ann": ["docs-team"], "of_nobody": [],
            "paged": ["docs-team"], "of_team": ["of-docs"], "key_is_teams": "docs-team",
            "service": [null, {"service_account_id": "robot"}], "bulk": [2, 1, "Key not found in database"],
            "aliases": ["of-docs", "robot"], "available": [], "deleted": 2, "left": [],
        }),
        json!({
            "part": "users", "made": ["internal_user", true], "listed": ["bob@example.com"], "info": "Bob",
            "info_v2": "bob@example.com", "own": true, "masters": [null, 1], "strangers": 403, "unknown": 404,
            "deleted": 1, "keyless": 401,
        }),
        json!({
            "part": "admin of a team", "added": ["lead", "mate"], "permissions": [], "permitted": ["/key/generate"],
            "made": ["lead", "led"], "renamed": "renamed-by-lead", "rotated": true, "blocked": [true, false], "listed": 1,
            "not_for_others": 403, "not_the_secret_of_others": 403, "not_elsewhere": 403, "not_teams": 401, "deleted": 1,
            "removed": ["lead"], "gone": 404,
        }),
        json!({
            "part": "servers", "made": "files", "changed": "ours", "listed": [true], "tools": ["read"], "deleted": 202,
            "left": [],
        }),
    ];
    assert_eq!(reports, expected);
}
