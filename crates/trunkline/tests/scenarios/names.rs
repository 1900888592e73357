//! What tools and servers are called.

use serde_json::{Value, json};
use trunkline_testkit::{ScriptedUpstream, SseClient, TestGateway};

use crate::support::{Config, gateway_of, listed, message, names, register, said, tool};

#[tokio::test]
async fn b15_a_long_name_is_short_the_same_after_a_restart_and_reaches_its_tool() {
    let long = format!("read_{}", "x".repeat(60));
    let longer = format!("{long}y");
    let upstream = ScriptedUpstream::builder()
        .tool(tool(&long))
        .tool(tool(&longer))
        .tool(tool("with.dots/and spaces"))
        .start()
        .await;
    let mut gateway = gateway_of(&[("library", &upstream)]).await;
    let exposed = gateway.mcp().tool_names().await;
    assert_eq!(exposed.len(), 3, "{exposed:?}");
    for name in &exposed {
        assert!(name.len() <= 64, "{name}");
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        assert!(name.chars().all(legal), "{name}");
        assert!(name.starts_with("library-"), "{name}");
    }
    assert_ne!(exposed[0], exposed[1]);
    for run in ["first", "after a restart"] {
        assert_eq!(gateway.mcp().tool_names().await, exposed, "{run}");
        upstream.clear();
        for name in &exposed {
            assert_eq!(said(&gateway.mcp().call(name, &message(run), None).await), run);
        }
        let called: Vec<_> = upstream
            .requests()
            .iter()
            .filter(|request| request.is("tools/call"))
            .map(|request| request.json()["params"]["name"].clone())
            .collect();
        assert_eq!(
            called,
            [json!(long), json!(longer), json!("with.dots/and spaces")],
            "{run}"
        );
        gateway.restart().await;
        listed(&gateway, "library").await;
    }
}

#[tokio::test]
async fn b16_a_name_that_could_be_split_in_two_ways_reaches_its_own_server() {
    let answer = |text: &'static str| move |_: &_| trunkline_testkit::ToolAnswer::text(text);
    let short = ScriptedUpstream::builder()
        .tool_fn(&tool("a-b-c"), answer("short"))
        .tool_fn(&tool("plain"), answer("short"))
        .start()
        .await;
    let long = ScriptedUpstream::builder()
        .tool_fn(&tool("b-c"), answer("long"))
        .start()
        .await;
    let mut gateway = gateway_of(&[("x-y", &short), ("x-y-a", &long)]).await;
    for _ in 0..2 {
        let exposed = gateway.mcp().tool_names().await;
        let distinct: std::collections::HashSet<_> = exposed.iter().collect();
        assert_eq!(distinct.len(), 3, "{exposed:?}");
        assert!(exposed.contains(&"x-y-a-b-c".to_owned()), "{exposed:?}");
        assert!(exposed.contains(&"x-y-plain".to_owned()), "{exposed:?}");
        for name in &exposed {
            let expected = if name == "x-y-a-b-c" { "long" } else { "short" };
            assert_eq!(
                said(&gateway.mcp().call(name, &json!({}), None).await),
                expected,
                "{name}"
            );
        }
        // The same on each server's own path, and before anything was listed.
        for (path, name, expected) in [
            ("/x-y-a/mcp", "x-y-a-b-c", "long"),
            ("/x-y/mcp", "a-b-c", "short"),
        ] {
            let reply = gateway.mcp_at(path).call(name, &json!({}), None).await;
            assert_eq!(said(&reply), expected, "{path}");
        }
        gateway.restart().await;
    }
}

#[tokio::test]
async fn b17_alias_before_group_and_nothing_is_never_everything() {
    let (first, second, third) = (
        ScriptedUpstream::builder().tool(tool("one")).start().await,
        ScriptedUpstream::builder().tool(tool("two")).start().await,
        ScriptedUpstream::builder().tool(tool("three")).start().await,
    );
    let gateway = Config::default()
        .server("first", &first, "alias: team1")
        .server("second", &second, "access_groups: [team1, both]")
        .server("third", &third, "access_groups: [both]")
        .start()
        .await;
    for server in ["first", "second", "third"] {
        listed(&gateway, server).await;
    }
    for path in ["/team1/mcp", "/mcp/team1", "/TEAM1/mcp", "/first/mcp"] {
        assert_eq!(gateway.mcp_at(path).tool_names().await, ["team1-one"], "{path}");
    }
    for path in ["/both/mcp", "/mcp/both", "/mcp/second,third"] {
        assert_eq!(
            gateway.mcp_at(path).tool_names().await,
            ["second-two", "third-three"],
            "{path}"
        );
    }
    let selecting = |servers: &str| gateway.mcp().with_header("x-mcp-servers", servers);
    assert_eq!(selecting("team1").tool_names().await, ["team1-one"]);
    assert_eq!(
        selecting("both").tool_names().await,
        ["second-two", "third-three"]
    );
    // The path wins over the header, and no header widens it.
    let mut both = gateway
        .mcp_at("/team1/mcp")
        .with_header("x-mcp-servers", "second");
    assert_eq!(both.tool_names().await, ["team1-one"]);

    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    gateway
        .client()
        .post("/nobody/mcp", &list)
        .await
        .expect_status(404);
    gateway
        .client()
        .post("/mcp/nobody", &list)
        .await
        .expect_status(403);
    let unknown = gateway.client().with_header("x-mcp-servers", "second,nobody");
    let refused = unknown.post("/mcp", &list).await.expect_status(403);
    assert!(refused.text().contains("nobody"), "{}", refused.text());
    let none = selecting(" , ")
        .request("tools/list", &Value::Null)
        .await
        .result();
    assert_eq!(names(&none), [""; 0], "an empty selection is nothing");
    assert!(
        none["_meta"]["trunkline/reason"]
            .as_str()
            .unwrap()
            .starts_with("no_grant"),
        "{none}"
    );
}

#[tokio::test]
async fn b17_a_name_that_is_taken_is_refused() {
    let upstream = ScriptedUpstream::start().await;
    let taken = Config::default()
        .server("first", &upstream, "alias: team1")
        .server("team1", &upstream, "");
    let failure = TestGateway::builder()
        .config(&taken.text())
        .try_start()
        .await
        .unwrap_err();
    assert_ne!(failure.exit.code, Some(0));
    assert!(failure.stderr.contains("team1"), "{failure}");

    let gateway = Config::default()
        .server("first", &upstream, "alias: team1")
        .start()
        .await;
    for body in [
        json!({"server_name": "team1", "url": upstream.url(), "transport": "http"}),
        json!({"server_name": "other", "alias": "First", "url": upstream.url(), "transport": "http"}),
    ] {
        let refused = gateway
            .client()
            .post("/v1/mcp/server", &body)
            .await
            .expect_status(400);
        assert!(refused.text().contains("already belongs"), "{}", refused.text());
    }
    let free = json!({"server_name": "other", "url": upstream.url(), "transport": "http"});
    register(&gateway.client(), &free).await;
}

#[tokio::test]
async fn b18_the_same_tools_below_a_root_path() {
    let upstream = ScriptedUpstream::start().await;
    let config = Config::of(&[("github", &upstream)]).text();
    for root in ["/llm", "/llm/"] {
        // The kit's own questions are asked at the root, where the gateway answers too.
        let builder = TestGateway::builder().config(&config);
        let gateway = builder.env("SERVER_ROOT_PATH", root).start().await;
        listed(&gateway, "github").await;
        has_all_below_llm(&gateway).await;
    }
}

async fn has_all_below_llm(gateway: &TestGateway) {
    let expected = gateway.mcp().list_tools().await;
    assert_eq!(expected.len(), 1);
    for path in [
        "/llm/mcp",
        "/llm/mcp/",
        "/llm/github/mcp",
        "/llm/github/mcp/",
        "/llm/mcp/github",
    ] {
        let mut client = gateway.mcp_at(path);
        client.initialize().await;
        assert_eq!(client.list_tools().await, expected, "{path}");
        assert_eq!(
            said(&client.call("github-echo", &message(path), None).await),
            path
        );
    }
    let rest = gateway
        .client()
        .get("/llm/v1/mcp/tools")
        .await
        .expect_status(200)
        .json();
    assert_eq!(names(&rest), ["github-echo"]);
    // The root is no server's name.
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    gateway
        .client()
        .post("/llm/llm/mcp", &list)
        .await
        .expect_status(404);
    gateway.client().post("/llmx/mcp", &list).await.expect_status(404);
    let named = gateway.client().with_header("x-mcp-servers", "llm");
    named.post("/llm/mcp", &list).await.expect_status(403);
    gateway
        .client()
        .get("/llm/mcp-rest/tools/list?server_id=llm")
        .await
        .expect_status(404);
    let old = SseClient::open(&gateway.client(), "/llm/github/sse").await;
    assert!(
        old.endpoint().starts_with("/llm/github/sse/messages"),
        "{}",
        old.endpoint()
    );
}

#[tokio::test]
async fn b16_a_chosen_name_is_shown_called_and_changed() {
    let upstream = ScriptedUpstream::builder()
        .tool(tool("create_issue_v2"))
        .tool(tool("plain"))
        .start()
        .await;
    let more = "    tool_name_to_display_name: {create_issue_v2: create_issue}\n    tool_name_to_description: {create_issue_v2: Opens a ticket.}\n    allowed_tools: [create_issue_v2]\n";
    let gateway = Config::of(&[]).server("tracker", &upstream, more).start().await;
    listed(&gateway, "tracker").await;
    for path in ["/mcp", "/tracker/mcp"] {
        let mut client = gateway.mcp_at(path);
        client.initialize().await;
        let answer = client.request("tools/list", &json!({})).await.result();
        assert_eq!(
            names(&answer),
            ["create_issue"],
            "{path}: the rules are about the tool's own name"
        );
        assert_eq!(answer["tools"][0]["description"], "Opens a ticket.");
        assert_eq!(
            answer["tools"][0]["inputSchema"],
            tool("create_issue_v2")["inputSchema"]
        );
        upstream.clear();
        assert_eq!(
            said(&client.call("create_issue", &message("here"), None).await),
            "here"
        );
        let called = upstream
            .requests()
            .iter()
            .find(|own| own.is("tools/call"))
            .unwrap()
            .json();
        assert_eq!(called["params"]["name"], "create_issue_v2");
        let gone = client
            .call("tracker-create_issue_v2", &message("here"), None)
            .await;
        assert!(gone.error().message.contains("Unknown tool"), "{path}");
    }
    // LiteLLM's façade has the tools' own names.
    let http = gateway.client();
    let rest = http.get("/mcp-rest/tools/list").await.expect_status(200).json();
    assert_eq!(names(&rest), ["create_issue_v2"]);
    assert_eq!(rest["tools"][0]["description"], "Opens a ticket.");
    for name in ["create_issue_v2", "create_issue"] {
        let body = json!({"server_id": "tracker", "name": name, "arguments": message("rest")});
        let called = http
            .post("/mcp-rest/tools/call", &body)
            .await
            .expect_status(200)
            .json();
        assert_eq!(called["content"][0]["text"], "rest", "{name}");
    }
}

#[tokio::test]
async fn b16_a_name_that_two_servers_chose_leads_to_each_of_them() {
    let answer = |text: &'static str| move |_: &_| trunkline_testkit::ToolAnswer::text(text);
    let one = ScriptedUpstream::builder()
        .tool_fn(&tool("find"), answer("one"))
        .start()
        .await;
    let two = ScriptedUpstream::builder()
        .tool_fn(&tool("find"), answer("two"))
        .start()
        .await;
    let gateway = gateway_of(&[("first", &one)]).await;
    let http = gateway.client();
    let body = json!({"alias": "second", "url": two.url(), "transport": "http", "tool_name_to_display_name": {"find": "first-find"}});
    let id = register(&http, &body).await;
    listed(&gateway, "second").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let mut stream = client.get_stream().await;
    let shown = client.tool_names().await;
    assert_eq!(shown[0], "first-find", "{shown:?}");
    assert!(
        shown[1].starts_with("first-find_"),
        "it could be read as a tool of the first: {shown:?}"
    );
    assert_eq!(said(&client.call(&shown[0], &json!({}), None).await), "one");
    assert_eq!(said(&client.call(&shown[1], &json!({}), None).await), "two");

    let update = json!({"server_id": id, "tool_name_to_display_name": {"find": "search"}});
    http.put("/v1/mcp/server", &update).await.expect_status(202);
    let told = stream.expect_next(crate::support::PATIENCE).await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(client.tool_names().await, ["first-find", "search"]);
    assert_eq!(said(&client.call("search", &json!({}), None).await), "two");

    for wrong in [json!({"find": "two words"}), json!({"find": "a", "other": "a"})] {
        let update = json!({"server_id": id, "tool_name_to_display_name": wrong});
        http.put("/v1/mcp/server", &update).await.expect_status(400);
    }
}
