//! Levels × ways in × list and call: the same everywhere, and what is not listed is not reached.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, ScriptedUpstream, TestGateway, eventually};

use crate::support::{WAYS, Way, config, generate, listed, post, set, with};
use crate::world::{World, of_the_team, secret};

/// What it is about, the `object_permission` of each level that has any, and what is left.
type Case = (&'static str, Value, &'static [&'static str]);

/// A key that belongs to everybody whom the case has something of.
async fn client(world: &World, number: usize, levels: &Value) -> HttpClient {
    let gateway = &world.gateway;
    let id = |of: &str| format!("{of}-{number}");
    let has = |level: &str| levels[level].is_object();
    let mut organization_id = None;
    if has("organization") {
        organization_id = Some(id("o"));
        let permission = &levels["organization"];
        let body =
            json!({"organization_id": id("o"), "organization_alias": "o", "object_permission": permission});
        post(gateway, "/organization/new", body).await;
    }
    let mut body = json!({"object_permission": levels["key"]});
    if has("team") || has("organization") {
        // Made wide, and narrowed when the key is there: a key may not be given more than the team has.
        let wide = json!({"mcp_servers": ["all-proxy-mcpservers"]});
        let team = json!({"team_id": id("t"), "organization_id": organization_id, "object_permission": wide});
        post(gateway, "/team/new", team).await;
        body["team_id"] = id("t").into();
    }
    if has("user") {
        let user = json!({"user_id": id("u"), "auto_create_key": false, "object_permission": levels["user"]});
        post(gateway, "/user/new", user).await;
        body["user_id"] = id("u").into();
    }
    let key = secret(&generate(gateway, body.clone()).await);
    if body["team_id"].is_string() {
        for permission in [json!({"mcp_servers": []}), levels["team"].clone()] {
            let change = json!({"team_id": id("t"), "object_permission": permission});
            if permission.is_object() {
                post(gateway, "/team/update", change).await;
            }
        }
    }
    let http = with(gateway, &key);
    if !has("end_user") {
        return http;
    }
    let end_user = json!({"user_id": id("e"), "object_permission": levels["end_user"]});
    post(gateway, "/customer/new", end_user).await;
    http.with_header("x-litellm-end-user-id", &id("e"))
}

async fn check(cases: Vec<Case>) {
    let world = World::new().await;
    for (number, (what, levels, expected)) in cases.iter().enumerate() {
        let http = client(&world, number, levels).await;
        world.check(what, &http, expected).await;
    }
}

#[tokio::test]
async fn b40_b44_s18_the_lists_of_every_level_narrow_on_every_way() {
    let (files, notes) = (
        json!({"mcp_servers": ["files"]}),
        json!({"mcp_servers": ["notes"]}),
    );
    let all = json!({"mcp_servers": ["files", "notes"]});
    check(vec![
        ("nothing anywhere", json!({}), &["open"]),
        ("a team grants nothing by itself", json!({"team": all}), &["open"]),
        (
            "from the team",
            json!({"key": of_the_team(), "team": all}),
            &["files", "notes", "open"],
        ),
        (
            "the team has one",
            json!({"key": all, "team": notes}),
            &["notes", "open"],
        ),
        (
            "a team without a list",
            json!({"key": files, "team": {}}),
            &["files", "open"],
        ),
        (
            "a team's group",
            json!({"key": of_the_team(), "team": {"mcp_access_groups": ["dev"]}}),
            &["notes", "open"],
        ),
        (
            "a user takes away",
            json!({"key": all, "user": notes}),
            &["notes", "open"],
        ),
        ("a user grants nothing", json!({"user": all}), &["open"]),
        (
            "an organisation takes away",
            json!({"key": all, "team": all, "organization": files}),
            &["files", "open"],
        ),
        (
            "an organisation grants nothing",
            json!({"key": of_the_team(), "organization": files}),
            &["open"],
        ),
        (
            "an end user takes away",
            json!({"key": all, "end_user": files}),
            &["files", "open"],
        ),
        (
            "all of them",
            json!({"key": all, "team": all, "user": all, "organization": all, "end_user": files}),
            &["files", "open"],
        ),
        (
            "nothing in common",
            json!({"key": all, "team": files, "user": notes}),
            &["open"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn b41_b43_s18_the_words_and_the_tools_of_every_level_narrow_on_every_way() {
    let of = |name: &str| json!({"mcp_servers": [name]});
    let all = json!({"mcp_servers": ["files", "notes"]});
    let read = json!({"mcp_tool_permissions": {"files": ["read"]}});
    let out = of("no-mcp-servers");
    check(vec![
        (
            "every server",
            json!({"key": of_the_team(), "team": of("all-proxy-mcpservers")}),
            &["files", "notes", "open"],
        ),
        (
            "what the team has",
            json!({"key": of_the_team(), "team": of("files")}),
            &["files", "open"],
        ),
        ("an opted out key", json!({"key": out, "team": all}), &[]),
        ("an opted out team", json!({"key": all, "team": out}), &[]),
        ("an opted out end user", json!({"key": all, "end_user": out}), &[]),
        // B41: no row of tools grants a server.
        (
            "rows alone",
            json!({"key": read, "team": read, "user": read, "organization": read, "end_user": read}),
            &["open"],
        ),
        (
            "rows of several",
            json!({
                "key": {"mcp_servers": ["files", "notes"], "mcp_tool_permissions": {"files": ["*"]}},
                "team": {"mcp_tool_permissions": {"files": ["read", "write"], "notes": ["notes-write"]}},
                "user": {"mcp_tool_permissions": {"FILES": ["write"], "open": ["read"]}},
            }),
            &["files-write", "notes-write", "open-read"],
        ),
        (
            "rows of an end user",
            json!({"key": all, "end_user": {"mcp_tool_permissions": {"files": [], "open": []}}}),
            &["notes"],
        ),
    ])
    .await;
}

/// Neither its team nor that one's organisation is a grant: the key has to ask for what its team has.
#[tokio::test]
async fn b44_a_new_key_in_a_team_gets_nothing_unless_it_says_so() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream, "")])).await;
    listed(&gateway, &["files"]).await;
    let files = json!({"mcp_servers": ["files"]});
    let organization = json!({"organization_id": "o", "organization_alias": "o", "object_permission": files});
    post(&gateway, "/organization/new", organization).await;
    let team = json!({"team_id": "t", "organization_id": "o", "object_permission": files});
    post(&gateway, "/team/new", team).await;
    let made = generate(&gateway, json!({"team_id": "t"})).await;
    let http = with(&gateway, &secret(&made));
    let call = json!({"name": "files-echo", "arguments": {}});
    for way in WAYS {
        let (status, said) = way.ask(&http, None, "tools/list", &json!({})).await;
        let (tools, reason) = match way {
            Way::Rest | Way::AllTools => (&said["tools"], &said["message"]),
            _ => {
                let result = &said["result"];
                (&result["tools"], &result["_meta"]["trunkline/reason"])
            }
        };
        assert_eq!((status, tools), (200, &json!([])), "{way:?}: {said}");
        assert!(reason.as_str().unwrap().contains("no_grant"), "{way:?}: {said}");
        assert!(!said.to_string().contains("files"), "{way:?}: {said}");
        way.ask(&http, None, "tools/call", &call).await;
        assert_eq!(upstream.count("tools/call"), 0, "{way:?}");
    }
    let change = json!({"key": made["token"], "object_permission": of_the_team()});
    post(&gateway, "/key/update", change).await;
    for (number, way) in WAYS.into_iter().enumerate() {
        assert_eq!(way.tools(&http, None).await, Ok(set(&["files-echo"])), "{way:?}");
        let (status, said) = way.ask(&http, None, "tools/call", &call).await;
        assert_eq!(
            upstream.count("tools/call"),
            number + 1,
            "{way:?}: {status} {said}"
        );
    }
}

#[tokio::test]
async fn b43_a_denied_call_is_logged_with_its_level_and_its_rule() {
    let world = World::new().await;
    let files = json!({"mcp_servers": ["files"]});
    let read = json!({"mcp_tool_permissions": {"files": ["read"]}});
    let http = client(&world, 0, &json!({"key": files, "user": read})).await;
    let params = json!({"name": "files-write", "arguments": {}});
    let (_, said) = Way::Bare.ask(&http, None, "tools/call", &params).await;
    assert!(said.to_string().contains("Unknown tool"), "{said}");
    let is_logged = async || world.gateway.log().contains("call denied");
    eventually("the call is logged", Duration::from_secs(20), is_logged).await;
    let log = world.gateway.log();
    let line = log.lines().find(|line| line.contains("call denied"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for word in ["files-write", "tool_not_granted", "user", "mcp_tool_permissions"] {
        assert!(line.contains(word), "{line}");
    }
}
