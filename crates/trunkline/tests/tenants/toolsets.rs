//! Toolsets that are granted to a team, a user or an organisation.

use serde_json::{Value, json};

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

/// A toolset with nothing in it, one with what nobody has, and one that there is not, at every level that can have one: nothing, and not
/// everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b42_a_toolset_that_is_empty_or_not_there_leaves_nothing_at_every_level() {
    let world = World::new().await;
    let gateway = &world.gateway;
    toolset(gateway, "empty", &[]).await;
    toolset(gateway, "hollow", &[("gone", "read"), ("files", "gone")]).await;
    let all = json!({"mcp_servers": ["files", "notes"]});
    for (number, name) in ["empty", "hollow", "never-made"].into_iter().enumerate() {
        let only = json!({"mcp_toolsets": [name], "mcp_servers": []});
        for level in ["team", "user", "organization"] {
            let id = format!("{level}-{number}");
            let organization = format!("o-{id}");
            let mut body = json!({"object_permission": all});
            let of = |own: &str| if own == level { only.clone() } else { Value::Null };
            if level == "user" {
                let user = json!({"user_id": id, "auto_create_key": false, "object_permission": only});
                ask(gateway, "POST", "/user/new", user, 200).await;
                body["user_id"] = id.clone().into();
            } else {
                let own = json!({"organization_id": organization, "organization_alias": id});
                ask(gateway, "POST", "/organization/new", own, 200).await;
                let team = json!({"team_id": id, "organization_id": organization, "object_permission": all});
                ask(gateway, "POST", "/team/new", team, 200).await;
                body["team_id"] = id.clone().into();
            }
            let http = with(gateway, &secret(&generate(gateway, body).await));
            // Narrowed when the key is there: it may not be given more than the team has.
            if level != "user" {
                for (method, path, name, value) in [
                    ("POST", "/team/update", "team_id", &id),
                    ("PATCH", "/organization/update", "organization_id", &organization),
                ] {
                    let own = of(path[1..].split('/').next().unwrap());
                    if own.is_object() {
                        let change = json!({name: value, "object_permission": own});
                        ask(gateway, method, path, change, 200).await;
                    }
                }
            }
            world.check(&format!("{name} of {level}"), &http, &["open"]).await;
            let (status, said) = Way::Modern
                .ask(&http, Some(&format!("toolset/{name}")), "tools/list", &json!({}))
                .await;
            let shown = said["result"]["tools"]
                .as_array()
                .is_some_and(|tools| !tools.is_empty());
            assert!(!shown, "{name} of {level}: {status} {said}");
        }
    }
}
