//! Toolsets that are granted to a team, a user or an organisation.

use serde_json::json;

use crate::support::{Way, generate, members, toolset, with};
use crate::world::{World, ask, secret, tools};

/// A team's toolset is what its keys have, at every way in and at the toolset's own URL; a change of it counts at once, and what is
/// deleted grants nothing, and no more than before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b42_a_teams_toolset_is_all_that_its_keys_have() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let made = toolset(gateway, "ci", &[("files", "read"), ("notes", "write")]).await;
    let body = json!({"team_id": "t", "object_permission": {"mcp_toolsets": ["ci"]}});
    ask(gateway, "POST", "/team/new", body, 200).await;
    let inherits = json!({"team_id": "t", "object_permission": {"mcp_servers": ["all-team-mcpservers"]}});
    let key = secret(&generate(gateway, inherits).await);
    let client = with(gateway, &key);
    world
        .check("the toolset", &client, &["files-read", "notes-write", "open"])
        .await;
    let at = |way: Way| {
        let client = client.clone();
        async move { way.tools(&client, Some("toolset/ci")).await }
    };
    assert_eq!(at(Way::Modern).await, Ok(tools(&["files-read", "notes-write"])));
    let rows = client.get("/v1/mcp/toolset").await.expect_status(200).json();
    assert_eq!(rows[0]["toolset_name"], "ci", "{rows}");

    // A key of the team with something of its own has what both have.
    let own = json!({"team_id": "t", "object_permission": {"mcp_toolsets": ["ci"], "mcp_tool_permissions": {"files": []}}});
    let narrow = secret(&generate(gateway, own).await);
    world
        .check("both", &with(gateway, &narrow), &["notes-write", "open"])
        .await;
    // Beyond the team it is given nothing.
    let beyond = json!({"team_id": "t", "object_permission": {"mcp_servers": ["files"]}});
    let refused = gateway.client().post("/key/generate", &beyond).await;
    refused.expect_status(403);

    let id = made["toolset_id"].as_str().unwrap();
    let fewer = json!({"toolset_id": id, "tools": members(&[("notes", "write")])});
    ask(gateway, "PUT", "/v1/mcp/toolset", fewer, 200).await;
    world
        .check("the toolset has one less", &client, &["notes-write", "open"])
        .await;
    ask(
        gateway,
        "DELETE",
        &format!("/v1/mcp/toolset/{id}"),
        json!({}),
        202,
    )
    .await;
    world.check("no toolset", &client, &["open"]).await;
    assert_eq!(at(Way::Modern).await, Err(404));
}
