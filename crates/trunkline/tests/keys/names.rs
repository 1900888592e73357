//! Names lead where they should for a key, too, on every way in: what it is shown is the same everywhere, and no name of a tool or a
//! server is more for it than what it was granted.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_testkit::{Act, HttpClient, ScriptedUpstream, TestGateway, ToolAnswer, UpstreamBuilder};

use crate::support::{WAYS, Way, config, key, listed, set, toolset, with};

/// The ways that have tools as `server-tool`, and more than tools.
const MCP: [Way; 4] = [Way::Session, Way::Bare, Way::Modern, Way::Sse];

fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}})
}

/// A server that says who it is, of which everything has these names.
fn speaker(who: &'static str, names: &[&str]) -> UpstreamBuilder {
    let prompts: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    let got = json!({"messages": [{"role": "user", "content": {"type": "text", "text": who}}]});
    let mut builder = ScriptedUpstream::builder()
        .initialize_member("capabilities", json!({"tools": {}, "prompts": {}}))
        .on(
            "prompts/list",
            Act::Result(json!({"prompts": prompts}).to_string()),
        )
        .on("prompts/get", Act::Result(got.to_string()));
    for name in names {
        builder = builder.tool_fn(&tool(name), move |_| ToolAnswer::text(who));
    }
    builder
}

/// The tools of a list, as they came.
async fn tools(way: Way, http: &HttpClient, server: Option<&str>) -> Vec<Value> {
    let (status, said) = way.ask(http, server, "tools/list", &json!({})).await;
    let tools = said["result"]["tools"].as_array().or(said["tools"].as_array());
    tools
        .unwrap_or_else(|| panic!("{way:?}: {status} {said}"))
        .clone()
}

fn names(items: &Value) -> Vec<String> {
    let items = items.as_array().into_iter().flatten();
    items
        .map(|own| own["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Calls what a list shows, as this list shows it.
async fn call(way: Way, http: &HttpClient, tool: &Value) -> String {
    let mut params = json!({"name": tool["name"], "arguments": {}});
    if way == Way::Rest {
        params["server_id"] = tool["mcp_info"]["server_name"].clone();
    }
    let (status, said) = way.ask(http, None, "tools/call", &params).await;
    let result = said.get("result").unwrap_or(&said);
    let text = result["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("{way:?} {params}: {status} {said}"))
        .to_owned()
}

#[tokio::test]
async fn b07_a_key_without_a_role_has_what_it_was_granted_of_the_files_servers() {
    let (files, notes) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let text = config(&[("files", &files, ""), ("notes", &notes, "")]);
    let mut gateway = TestGateway::start(&text).await;
    let granted = key(&gateway, json!({"mcp_servers": ["files"]})).await;
    let none = key(&gateway, json!({})).await;
    for run in ["first", "after a restart"] {
        listed(&gateway, &["files", "notes"]).await;
        for way in WAYS {
            let shown = way.tools(&with(&gateway, &granted), None).await;
            assert_eq!(shown, Ok(set(&["files-echo"])), "{way:?} {run}");
            // Nothing, and why.
            let (_, said) = way
                .ask(&with(&gateway, &none), None, "tools/list", &json!({}))
                .await;
            assert!(said.to_string().contains("no_grant"), "{way:?} {run}: {said}");
        }
        gateway.restart().await;
    }
}

#[tokio::test]
async fn b08_a_key_is_shown_the_same_definitions_on_every_way() {
    let schema = json!({
        "type": "object", "required": ["kind"], "$defs": {"kind": {"enum": ["a", "b"]}},
        "properties": {"kind": {"$ref": "#/$defs/kind"}, "limit": {"type": "integer", "maximum": 50}},
    });
    let definition = |name: &str| {
        json!({
            "name": name, "title": "T", "description": "What it does.", "inputSchema": schema,
            "outputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true},
        })
    };
    let upstream = |names: &[&str]| {
        let builder = ScriptedUpstream::builder();
        let builder = names
            .iter()
            .fold(builder, |builder, name| builder.tool(definition(name)));
        builder.start()
    };
    let (one, two, other) = (
        upstream(&["first", "second"]).await,
        upstream(&["third", "fourth"]).await,
        upstream(&["fifth"]).await,
    );
    let text = config(&[("one", &one, ""), ("two", &two, ""), ("other", &other, "")]);
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, &["one", "two", "other"]).await;
    toolset(&gateway, "suite", &[("two", "third")]).await;
    let permission = json!({
        "mcp_servers": ["one"], "mcp_toolsets": ["suite"], "mcp_tool_permissions": {"one": ["second"]},
    });
    let http = with(&gateway, &key(&gateway, permission).await);
    // Without what each way adds to it: the server in the name, or beside it.
    let plain = |mut tool: Value| {
        let shown = tool["name"].as_str().unwrap();
        let own = shown.split_once('-').map_or(shown, |(_, own)| own).to_owned();
        tool["name"] = own.clone().into();
        tool.as_object_mut().unwrap().remove("mcp_info");
        (own, tool)
    };
    let expected = |names: &[&str]| -> BTreeMap<String, Value> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), definition(name)))
            .collect()
    };
    for way in WAYS {
        for (server, own) in [
            (None, &["second", "third"][..]),
            (Some("one"), &["second"]),
            (Some("two"), &["third"]),
            (Some("toolset/suite"), &["third"]),
        ] {
            if way == Way::AllTools && server.is_some() {
                continue;
            }
            let shown: BTreeMap<_, _> = tools(way, &http, server).await.into_iter().map(plain).collect();
            assert_eq!(shown, expected(own), "{way:?} {server:?}");
        }
    }
}

/// `a-b-c` of `x-y`, and `b-c` of `x-y-a`: a name that splits in two ways.
#[tokio::test]
async fn b16_a_name_that_could_be_split_in_two_ways_is_its_own_servers_for_every_key_on_every_way() {
    let short = speaker("short", &["a-b-c"]).start().await;
    let long = speaker("long", &["b-c"]).start().await;
    let text = config(&[("x-y", &short, ""), ("x-y-a", &long, "")]);
    let mut gateway = TestGateway::start(&text).await;
    let grants = [
        (json!({"mcp_servers": ["x-y", "x-y-a"]}), &["long", "short"][..]),
        (json!({"mcp_servers": ["x-y"]}), &["short"]),
        (json!({"mcp_servers": ["x-y-a"]}), &["long"]),
        (
            json!({"mcp_servers": ["x-y", "x-y-a"], "mcp_tool_permissions": {"x-y": ["a-b-c"], "x-y-a": []}}),
            &["short"],
        ),
        (
            json!({"mcp_servers": ["x-y", "x-y-a"], "mcp_tool_permissions": {"x-y": ["b-c"]}}),
            &["long"],
        ),
    ];
    let mut keys = Vec::new();
    for (permission, expected) in grants {
        keys.push((key(&gateway, permission.clone()).await, permission, expected));
    }
    for run in ["first", "after a restart"] {
        listed(&gateway, &["x-y", "x-y-a"]).await;
        for (key, permission, expected) in &keys {
            let http = with(&gateway, key);
            for way in WAYS {
                let what = format!("{run} {way:?} {permission}");
                let counts = || (short.count("tools/call"), long.count("tools/call"));
                let before = counts();
                let mut said = Vec::new();
                for tool in tools(way, &http, None).await {
                    said.push(call(way, &http, &tool).await);
                }
                said.sort();
                assert_eq!(said, *expected, "{what}");
                // Each call reached its server, and no other one.
                let of = |who: &str| usize::from(expected.contains(&who));
                assert_eq!(
                    counts(),
                    (before.0 + of("short"), before.1 + of("long")),
                    "{what}"
                );
                // The name that splits in two ways is nobody's way to what was not granted.
                let before = counts();
                let both = json!({"name": "x-y-a-b-c", "arguments": {}});
                way.ask(&http, None, "tools/call", &both).await;
                let after = counts();
                assert!(
                    after.0 - before.0 <= of("short") && after.1 - before.1 <= of("long"),
                    "{what}: {before:?} {after:?}"
                );
            }
            for way in MCP {
                prompts_lead_to(way, &http, permission, expected).await;
            }
        }
        gateway.restart().await;
    }
}

/// Prompts have names of the same form, and no rules of their own: a server of which tools alone are granted has none to show.
async fn prompts_lead_to(way: Way, http: &HttpClient, permission: &Value, expected: &[&str]) {
    let (_, said) = way.ask(http, None, "prompts/list", &json!({})).await;
    let mut heard = Vec::new();
    for name in names(&said["result"]["prompts"]) {
        let (_, got) = way.ask(http, None, "prompts/get", &json!({"name": name})).await;
        let text = got["result"]["messages"][0]["content"]["text"].as_str();
        heard.push(text.unwrap_or_else(|| panic!("{way:?} {name}: {got}")).to_owned());
    }
    heard.sort();
    if permission.get("mcp_tool_permissions").is_none() {
        assert_eq!(heard, expected, "{way:?} {permission}: {said}");
    }
    for who in &heard {
        let server = if who == "short" { "x-y" } else { "x-y-a" };
        let is_granted = permission["mcp_servers"]
            .as_array()
            .is_some_and(|own| own.contains(&json!(server)));
        assert!(is_granted, "{way:?} {permission}: {who}");
    }
}

#[tokio::test]
async fn b36_a_bare_name_of_two_servers_is_an_error_on_every_way_and_leads_to_the_one_that_is_granted() {
    let (a, b) = (
        speaker("a", &["search"]).start().await,
        speaker("b", &["search"]).start().await,
    );
    let gateway = TestGateway::start(&config(&[("a", &a, ""), ("b", &b, "")])).await;
    listed(&gateway, &["a", "b"]).await;
    let both = with(&gateway, &key(&gateway, json!({"mcp_servers": ["a", "b"]})).await);
    let one = with(&gateway, &key(&gateway, json!({"mcp_servers": ["a"]})).await);
    let params = json!({"name": "search", "arguments": {}});
    for way in MCP {
        // The lists are fetched by whoever asks first.
        for method in ["tools/list", "prompts/list"] {
            way.ask(&both, None, method, &json!({})).await;
        }
    }
    // But for ends of sessions, which come when they come.
    let of = |own: &ScriptedUpstream| own.requests().len() - own.count("DELETE");
    let requests = || (of(&a), of(&b));
    let sent = || {
        (
            a.count("tools/call") + a.count("prompts/get"),
            b.count("tools/call") + b.count("prompts/get"),
        )
    };
    for way in WAYS {
        let before = requests();
        let methods = if MCP.contains(&way) {
            &["tools/call", "prompts/get"][..]
        } else {
            &["tools/call"]
        };
        for method in methods {
            let (status, said) = way.ask(&both, None, method, &params).await;
            let text = said.to_string();
            assert!(
                text.contains("a-search") && text.contains("b-search"),
                "{way:?} {method}: {status} {said}"
            );
            let is_refused = status == 409 || said["error"]["code"] == -32602;
            assert!(is_refused, "{way:?} {method}: {status} {said}");
        }
        // A session of this way is of the gateway's, and opens none upstream.
        assert_eq!(requests(), before, "{way:?}: something was sent");
        // Who may use one of them means that one, and hears nothing of the other.
        for (number, method) in methods.iter().enumerate() {
            let before = sent();
            let (status, said) = way.ask(&one, None, method, &params).await;
            assert_eq!(status, 200, "{way:?} {method}: {said}");
            assert!(!said.to_string().contains("b-search"), "{said}");
            assert_eq!(
                sent(),
                (before.0 + 1, before.1),
                "{way:?} {method} {number}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn b17_a_grant_by_a_name_that_is_an_alias_and_a_group_is_never_everything() {
    let (first, second, third) = (
        speaker("first", &["one"]).start().await,
        speaker("second", &["two"]).start().await,
        speaker("third", &["three"]).start().await,
    );
    let text = config(&[
        ("first", &first, "    alias: team1\n"),
        ("second", &second, "    access_groups: [team1, both]\n"),
        ("third", &third, "    access_groups: [both]\n"),
    ]);
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, &["first", "second", "third"]).await;
    let all = json!({"mcp_servers": ["first", "second", "third"]});
    let all = with(&gateway, &key(&gateway, all).await);
    let own = |tools: Vec<Value>| -> Vec<String> {
        let name = |tool: &Value| {
            let name = tool["name"].as_str().unwrap();
            name.rsplit('-').next().unwrap().to_owned()
        };
        let mut names: Vec<String> = tools.iter().map(name).collect();
        names.sort();
        names
    };
    // As a grant: a name is a server's, and a group is a group.
    for (permission, expected) in [
        (json!({"mcp_servers": ["team1"]}), &["one"][..]),
        (json!({"mcp_access_groups": ["team1"]}), &["two"]),
        (json!({"mcp_servers": ["both"]}), &[]),
        (json!({"mcp_access_groups": ["first", "nobody"]}), &[]),
        (json!({"mcp_servers": ["nobody"]}), &[]),
    ] {
        let http = with(&gateway, &key(&gateway, permission.clone()).await);
        for way in WAYS {
            assert_eq!(
                own(tools(way, &http, None).await),
                expected,
                "{way:?} {permission}"
            );
        }
    }
    // As a selection: the server before the group, on every way that selects, and nothing is never everything.
    for way in WAYS.into_iter().filter(|way| *way != Way::AllTools) {
        assert_eq!(own(tools(way, &all, Some("team1")).await), ["one"], "{way:?}");
        for (header, expected) in [("team1", &["one"][..]), ("both", &["three", "two"]), (" , ", &[])] {
            let http = all.clone().with_header("x-mcp-servers", header);
            assert_eq!(own(tools(way, &http, None).await), expected, "{way:?} {header:?}");
        }
        let (status, said) = way.ask(&all, Some("nobody"), "tools/list", &json!({})).await;
        assert_eq!(status, 404, "{way:?}: {said}");
    }
    // A GET says the same of a path, before it says that there is no stream without a session.
    for (path, is_there) in [("/team1/mcp", true), ("/both/mcp", true), ("/nobody/mcp", false)] {
        let request = axum::http::Request::get(path)
            .header("accept", "text/event-stream")
            .body(axum::body::Bytes::new())
            .unwrap();
        let status = all.open(request).await.unwrap().status.as_u16();
        assert_eq!(status != 404, is_there, "{path}: {status}");
    }
}
