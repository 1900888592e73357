//! Lists page by page, and who may keep them for how long.

use serde_json::{Value, json};
use trunkline_testkit::{Act, HttpClient, McpClient, ScriptedUpstream, TestGateway, eventually};

use crate::eras::modern;
use crate::support::{Config, MODERN, PATIENCE, array, listed, modern_upstream, names, text, tool};

async fn page(client: &mut McpClient, method: &str, cursor: Option<&str>) -> Value {
    let params = cursor.map_or(Value::Null, |cursor| json!({"cursor": cursor}));
    client.request(method, &params).await.result()
}

/// Changes a server's tools, and waits until the gateway has them.
async fn change(gateway: &TestGateway, upstream: &ScriptedUpstream, tools: &[&str]) {
    upstream.set_tools(tools.iter().map(|name| tool(name)));
    gateway
        .client()
        .get("/v1/mcp/server/health")
        .await
        .expect_status(200);
}

#[tokio::test]
async fn b14_pages_lose_nothing_and_repeat_nothing_whatever_comes_and_goes() {
    let one = ScriptedUpstream::builder();
    let one = ["m", "c", "x", "e", "g"]
        .iter()
        .fold(one, |one, name| one.tool(tool(name)));
    let two = ScriptedUpstream::builder();
    let two = ["k", "b", "z"].iter().fold(two, |two, name| two.tool(tool(name)));
    let (one, two) = (one.start().await, two.start().await);
    let gateway = Config::of(&[("one", &one), ("two", &two)])
        .general("mcp_list_page_size: 2")
        .start()
        .await;
    listed(&gateway, "one").await;
    listed(&gateway, "two").await;
    let mut client = gateway.mcp();
    client.initialize().await;

    let first = page(&mut client, "tools/list", None).await;
    assert_eq!(names(&first), ["one-c", "one-e"]);
    assert_eq!(
        first["_meta"]["litellm.ai/server_outcomes"]["one"]["tool_count"], 5,
        "an outcome is about the server, not about the page: {first}"
    );
    // The last one listed goes, one comes before it and one behind it.
    change(&gateway, &one, &["x", "d", "m", "c", "n", "g"]).await;
    let second = page(&mut client, "tools/list", first["nextCursor"].as_str()).await;
    assert_eq!(names(&second), ["one-g", "one-m"]);
    // All that is left of the first server goes.
    change(&gateway, &one, &["c"]).await;
    let third = page(&mut client, "tools/list", second["nextCursor"].as_str()).await;
    assert_eq!(names(&third), ["two-b", "two-k"]);
    // The same cursor again is the same page again.
    let again = page(&mut client, "tools/list", second["nextCursor"].as_str()).await;
    assert_eq!(names(&again), ["two-b", "two-k"]);
    let last = page(&mut client, "tools/list", third["nextCursor"].as_str()).await;
    assert_eq!(names(&last), ["two-z"]);
    assert!(last.get("nextCursor").is_none(), "{last}");
    assert!(
        last["_meta"]["litellm.ai/server_outcomes"]["one"].is_object(),
        "{last}"
    );
}

#[tokio::test]
async fn b14_every_list_has_pages_in_both_eras_and_none_unless_asked_for() {
    let list = |kind: &str, key: &str| {
        let items: Vec<Value> = (0..5)
            .map(|index| json!({key: format!("{kind}://{index}"), "name": format!("n{index}")}))
            .collect();
        Act::Result(json!({kind: items}).to_string())
    };
    let library = || {
        ScriptedUpstream::builder()
            .tools("t", 5)
            .initialize_member(
                "capabilities",
                json!({"tools": {}, "prompts": {}, "resources": {}}),
            )
            .on("prompts/list", list("prompts", "title"))
            .on("resources/list", list("resources", "uri"))
            .on(
                "resources/templates/list",
                list("resourceTemplates", "uriTemplate"),
            )
    };
    let (one, two) = (library().start().await, library().start().await);
    let paged = Config::of(&[("one", &one), ("two", &two)])
        .general("mcp_list_page_size: 3")
        .start()
        .await;
    let whole = Config::of(&[("one", &one), ("two", &two)]).start().await;
    for gateway in [&paged, &whole] {
        listed(gateway, "one").await;
        listed(gateway, "two").await;
    }
    for (method, member, key) in [
        ("tools/list", "tools", "name"),
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ] {
        let keys = |result: &Value| -> Vec<String> {
            array(&result[member])
                .iter()
                .map(|item| text(&item[key]).to_owned())
                .collect()
        };
        let one_page = whole.mcp().request(method, &Value::Null).await.result();
        assert!(one_page.get("nextCursor").is_none(), "{one_page}");
        let mut all = keys(&one_page);
        assert_eq!(all.len(), 10);
        all.sort();
        for era in ["legacy", "modern"] {
            let (mut found, mut cursor, mut sizes) = (Vec::new(), None::<String>, Vec::new());
            loop {
                let params = cursor
                    .as_ref()
                    .map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
                let result = if era == "legacy" {
                    paged.mcp().request(method, &params).await.result()
                } else {
                    let answer = modern(&paged.client(), method, params, &[]).await.json();
                    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
                    answer["result"].clone()
                };
                let page = keys(&result);
                sizes.push(page.len());
                found.extend(page);
                match result["nextCursor"].as_str() {
                    Some(next) => cursor = Some(next.to_owned()),
                    None => break,
                }
            }
            assert_eq!(sizes, [3, 3, 3, 1], "{method} {era}");
            found.sort();
            assert_eq!(found, all, "{method} {era}");
        }
    }
}

#[tokio::test]
async fn s18_s36_a_cursor_is_good_for_its_own_list_on_every_replica() {
    let one = ScriptedUpstream::builder().tools("t", 4).start().await;
    let config = Config::of(&[("one", &one)]).general("mcp_list_page_size: 1");
    let replica = async |key: &str| {
        let gateway = TestGateway::builder()
            .config(&config.text())
            .master_key(Some(key))
            .start()
            .await;
        listed(&gateway, "one").await;
        gateway
    };
    let key = "sk-a-long-key-that-two-replicas-share-0123456789";
    let gateway = replica(key).await;
    let mut client = gateway.mcp();
    let first = page(&mut client, "tools/list", None).await;
    let cursor = text(&first["nextCursor"]).to_owned();
    // Whoever has the same secret goes on where another one stopped.
    let second = page(&mut replica(key).await.mcp(), "tools/list", Some(&cursor)).await;
    assert_eq!(names(&second), ["one-t_001"]);

    let of_modern = modern(&gateway.client(), "tools/list", json!({}), &[])
        .await
        .json();
    let of_modern = text(&of_modern["result"]["nextCursor"]).to_owned();
    let of_path = page(&mut gateway.mcp_at("/one/mcp"), "tools/list", None).await;
    let of_path = text(&of_path["nextCursor"]).to_owned();
    let stranger = replica("sk-another-key-of-another-gateway-0123456789").await;
    let foreign = page(&mut stranger.mcp(), "tools/list", None).await;
    let foreign = text(&foreign["nextCursor"]).to_owned();
    let mut tampered = cursor.clone();
    let flipped = if tampered.ends_with('A') { "B" } else { "A" };
    tampered.replace_range(tampered.len() - 1.., flipped);
    let mut early = cursor.clone();
    early.replace_range(..1, if cursor.starts_with('A') { "B" } else { "A" });
    for (what, cursor) in [
        ("nothing", json!("")),
        ("a number", json!(7)),
        ("garbage", json!("page-1")),
        ("a server's", json!("eyJwYWdlIjoxfQ")),
        ("cut", json!(&cursor[..cursor.len() - 4])),
        ("tampered at the end", json!(tampered)),
        ("tampered at the beginning", json!(early)),
        ("of the other era", json!(of_modern)),
        ("of another path", json!(of_path)),
        ("of another gateway", json!(foreign)),
    ] {
        let error = client
            .request("tools/list", &json!({"cursor": cursor}))
            .await
            .error();
        assert_eq!(
            (error.code, error.message.as_str()),
            (-32602, "Invalid cursor"),
            "{what}"
        );
    }
    // Of another list.
    let error = client
        .request("prompts/list", &json!({"cursor": cursor}))
        .await
        .error();
    assert_eq!((error.code, error.message.as_str()), (-32602, "Invalid cursor"));
    let scoped = gateway.mcp().with_header("x-mcp-servers", "one");
    let error = scoped
        .clone()
        .request("tools/list", &json!({"cursor": cursor}))
        .await
        .error();
    assert_eq!(error.code, -32602, "of another selection");
    let refused = modern(&gateway.client(), "tools/list", json!({"cursor": cursor}), &[])
        .await
        .json();
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
}

/// A list of one tool that may be kept.
fn kept(name: &str, ttl_ms: u64, scope: &str) -> String {
    json!({"resultType": "complete", "tools": [tool(name)], "ttlMs": ttl_ms, "cacheScope": scope}).to_string()
}

async fn list(http: &HttpClient) -> Value {
    let answer = modern(http, "tools/list", json!({}), &[])
        .await
        .expect_status(200)
        .json();
    answer["result"].clone()
}

#[tokio::test]
async fn s36_what_may_be_kept_is_said_as_the_servers_say_it_and_no_more() {
    let public = modern_upstream()
        .on("tools/list", Act::Result(kept("a", 600_000, "public")))
        .on(
            "resources/read",
            Act::Result(
                json!({
                    "resultType": "complete",
                    "contents": [{"uri": "memo://a", "text": "t"}],
                    "ttlMs": 1000,
                    "cacheScope": "public",
                })
                .to_string(),
            ),
        )
        .start()
        .await;
    let short = modern_upstream()
        .on("tools/list", Act::Result(kept("b", 60_000, "private")))
        .start()
        .await;
    let silent = ScriptedUpstream::start().await;
    let gateway = Config::default()
        .server("public", &public, MODERN)
        .server("short", &short, MODERN)
        .server("silent", &silent, "")
        .general("mcp_list_page_size: 1")
        .start()
        .await;
    for server in ["public", "short", "silent"] {
        listed(&gateway, server).await;
    }
    let at = async |path: &str, headers: &[(&str, &str)], cursor: Option<&str>| {
        let mut http = gateway
            .client()
            .with_header("accept", "application/json, text/event-stream")
            .with_header("mcp-protocol-version", "2026-07-28")
            .with_header("mcp-method", "tools/list");
        for (name, value) in headers {
            http = http.with_header(name, value);
        }
        let mut params = json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }});
        if let Some(cursor) = cursor {
            params["cursor"] = cursor.into();
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params});
        http.post(path, &body).await.expect_status(200).json()["result"].clone()
    };
    let of = |result: &Value| (result["cacheScope"].clone(), result["ttlMs"].as_u64().unwrap());

    let alone = at("/public/mcp", &[], None).await;
    let (scope, ttl) = of(&alone);
    assert_eq!(scope, "public", "{alone}");
    assert!(ttl > 500_000 && ttl < 600_000, "what is left of it: {ttl}");
    // With one that is private, and with one that says nothing.
    let two = at("/public,short/mcp", &[], None).await;
    let (scope, first) = of(&two);
    assert_eq!(scope, "private");
    assert!(first > 30_000 && first < 60_000, "the shortest: {first}");
    let next = at("/public,short/mcp", &[], two["nextCursor"].as_str()).await;
    let (scope, second) = of(&next);
    assert_eq!(scope, "private", "the same on every page: {next}");
    assert!(
        second <= first,
        "no page lasts longer than the first: {second} of {first}"
    );
    assert_eq!(of(&at("/mcp", &[], None).await), (json!("private"), 0));
    // What a header has to do with is nobody else's.
    for headers in [
        [("x-mcp-public-authorization", "Bearer mine")],
        [("x-mcp-servers", "public")],
        [("x-mcp-auth", "mine")],
    ] {
        let own = at("/public/mcp", &headers, None).await;
        assert_eq!(own["cacheScope"], "private", "{headers:?}: {own}");
    }
    // Reading a resource, the same.
    let read = async |headers: &[(&str, &str)]| {
        let http = gateway.client().with_header("mcp-name", "memo://a");
        let mut http = http
            .with_header("accept", "application/json, text/event-stream")
            .with_header("mcp-protocol-version", "2026-07-28")
            .with_header("mcp-method", "resources/read");
        for (name, value) in headers {
            http = http.with_header(name, value);
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "memo://a", "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }}});
        http.post("/public/mcp", &body).await.expect_status(200).json()["result"]["cacheScope"].clone()
    };
    assert_eq!(read(&[]).await, "public");
    assert_eq!(
        read(&[("x-mcp-public-authorization", "Bearer mine")]).await,
        "private"
    );
}

#[tokio::test]
async fn s36_public_lists_are_fetched_once_and_private_ones_for_each() {
    let results = |scope: &str| {
        let of = |name: &str| kept(name, 600_000, scope);
        Act::ByHeader {
            name: "authorization".to_owned(),
            results: vec![
                (String::new(), of("own")),
                ("Bearer a".to_owned(), of("of_a")),
                ("Bearer b".to_owned(), of("of_b")),
            ],
        }
    };
    for (scope, counts, seen) in [
        ("private", [1, 2, 3], ["own", "of_a", "of_b"]),
        ("public", [1, 1, 1], ["own", "own", "own"]),
    ] {
        let upstream = modern_upstream().on("tools/list", results(scope)).start().await;
        let gateway = Config::default().server("x", &upstream, MODERN).start().await;
        listed(&gateway, "x").await;
        let own = gateway.client();
        let clients = [
            own.clone(),
            own.clone().with_header("x-mcp-x-authorization", "Bearer a"),
            own.with_header("x-mcp-x-authorization", "Bearer b"),
        ];
        list(&clients[0]).await;
        // A server of the new era alone is asked for the health of its entry too.
        upstream.clear();
        let before = 1;
        for ((client, count), name) in clients.iter().zip(counts).zip(seen) {
            for _ in 0..2 {
                assert_eq!(names(&list(client).await), [format!("x-{name}")], "{scope}");
            }
            assert_eq!(before + upstream.count("tools/list"), count, "{scope}, {name}");
        }
    }
}

#[tokio::test]
async fn s36_what_one_warmed_is_not_what_another_sees() {
    let result = |method: &str, who: &str| match method {
        "tools/list" => json!({"tools": [tool(&format!("tool_{who}"))]}),
        "prompts/list" => json!({"prompts": [{"name": format!("prompt_{who}")}]}),
        "resources/list" => json!({"resources": [{"uri": format!("memo://{who}"), "name": who}]}),
        _ => json!({"resourceTemplates": [{"uriTemplate": format!("{who}://{{id}}"), "name": who}]}),
    };
    let methods = [
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ];
    let upstream = async || {
        let capabilities = json!({"tools": {}, "prompts": {}, "resources": {}});
        let builder = ScriptedUpstream::builder().initialize_member("capabilities", capabilities);
        let builder = methods.iter().fold(builder, |builder, method| {
            let results = ["a", "b"].map(|who| (format!("Bearer {who}"), result(method, who).to_string()));
            builder.on(
                method,
                Act::ByHeader {
                    name: "authorization".to_owned(),
                    results: results.to_vec(),
                },
            )
        });
        let called = Act::Result(json!({"content": []}).to_string());
        builder.on("tools/call", called).start().await
    };
    let client = |gateway: &TestGateway, who: &str| {
        gateway
            .mcp()
            .with_header("x-mcp-x-authorization", &format!("Bearer {who}"))
    };
    // What a server says of itself and when differs; what it lists must not.
    let ask = async |client: &mut McpClient| {
        let mut answers = Vec::new();
        for method in methods {
            let mut answer = client.request(method, &Value::Null).await.result();
            answer["_meta"].as_object_mut().unwrap().clear();
            answers.push(answer);
        }
        answers.push(
            client
                .call("tool_a", &json!({}), None)
                .await
                .outcome()
                .is_ok()
                .into(),
        );
        answers
    };
    let (warm, cold) = (upstream().await, upstream().await);
    let (warmed, fresh) = (
        Config::of(&[("x", &warm)]).start().await,
        Config::of(&[("x", &cold)]).start().await,
    );
    for _ in 0..2 {
        let of_a = ask(&mut client(&warmed, "a")).await;
        assert_eq!(of_a[0]["tools"][0]["name"], "x-tool_a");
        assert_eq!(of_a[4], true, "A calls its own tool");
    }
    let after_a = ask(&mut client(&warmed, "b")).await;
    assert_eq!(after_a, ask(&mut client(&fresh, "b")).await);
    assert_eq!(after_a[0]["tools"][0]["name"], "x-tool_b");
    assert_eq!(after_a[4], false, "A's tool is none of B's");
    // Whoever has no credential sees neither.
    let error = warmed.mcp().request("tools/list", &Value::Null).await.error();
    assert!(error.message.contains("auth_required"), "{error:?}");
}

#[tokio::test]
async fn b08_two_gateways_that_know_nothing_list_the_same_bytes() {
    let schema = r##"{"type":"object","properties":{"z":{"$ref":"#/$defs/z"},"a":{"maximum":1.50}},"$defs":{"z":{"enum":["b","a",null]}}}"##;
    let definition =
        |name: &str| format!(r#"{{"inputSchema":{schema},"name":"{name}","x":{{"zeta":1e2,"alpha":0}}}}"#);
    let upstream = async |names: &[&str]| {
        let builder = names.iter().fold(ScriptedUpstream::builder(), |builder, name| {
            builder.tool_raw(&definition(name), trunkline_testkit::ToolAnswer::echo)
        });
        builder.start().await
    };
    let (one, two, three) = (
        upstream(&["zz", "aa", "mm"]).await,
        upstream(&["b", "a"]).await,
        upstream(&["only"]).await,
    );
    let servers = [("two", &two), ("three", &three), ("one", &one)];
    let mut reversed = servers;
    reversed.reverse();
    let mut seen = Vec::new();
    for servers in [servers, reversed] {
        let gateway = Config::of(&servers).start().await;
        let listing = || async {
            let reply = gateway.mcp().request("tools/list", &Value::Null).await;
            let text = String::from_utf8(reply.raw.to_vec()).unwrap();
            let begin = text.find(r#""tools":["#);
            let end = text.find(r#","_meta":{"litellm.ai"#);
            begin
                .zip(end)
                .map_or_else(String::new, |(begin, end)| text[begin..end].to_owned())
        };
        eventually("all are there", PATIENCE, async || {
            listing().await.matches("inputSchema").count() == 6
        })
        .await;
        let text = listing().await;
        assert!(text.contains(schema), "{text}");
        seen.push(text);
    }
    assert_eq!(seen[0], seen[1]);
}
