//! Definitions: what cannot be shown and why, what is rewritten for clients that take less, and that nothing else is.

use serde_json::{Value, json};
use trunkline_testkit::{Act, ScriptedUpstream, ToolAnswer, UpstreamBuilder, eventually};

use crate::eras::modern;
use crate::support::{
    Config, MODERN, PATIENCE, array, gateway_of, health, listed, modern_upstream, names, outcome, register,
    row, text, tool,
};

/// Definitions that cannot be shown, and a part of the reason.
fn bad_definitions() -> Vec<(String, &'static str)> {
    let good = r#""inputSchema":{"type":"object"}"#;
    vec![
        (r#"{"name":"empty","inputSchema":{}}"#.to_owned(), "type: \"object\""),
        (
            r#"{"name":"listed","inputSchema":{"type":"object","properties":[]}}"#.to_owned(),
            "`properties` must be an object of schemas",
        ),
        (
            r#"{"name":"required","inputSchema":{"type":"object","required":"x"}}"#.to_owned(),
            "`required` must be a list of strings",
        ),
        (
            r##"{"name":"dangling","inputSchema":{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}}}}"##.to_owned(),
            "leads nowhere",
        ),
        (
            format!(r#"{{"name":"deep","inputSchema":{{"type":"object","not":{}{{}}{}}}}}"#, r#"{"not":"#.repeat(150), "}".repeat(150)),
            "nested too deep",
        ),
        (
            format!(
                r#"{{"name":"bomb","inputSchema":{{"type":"object","description":"{}"}}}}"#,
                "x".repeat(300 * 1024)
            ),
            "larger than",
        ),
        (
            r#"{"name":"header","inputSchema":{"type":"object","properties":{"a":{"type":"number","x-mcp-header":"A"}}}}"#
                .to_owned(),
            "x-mcp-header",
        ),
        (format!(r#"{{"name":"words",{good},"title":7}}"#), "its `title` is not a string"),
    ]
}

#[tokio::test]
async fn b10_b63_a_definition_that_is_none_is_left_out_with_a_reason_everywhere() {
    let bad = bad_definitions();
    let mut definitions: Vec<&str> = bad.iter().map(|(text, _)| text.as_str()).collect();
    let shown = tool("fine").to_string();
    definitions.insert(3, &shown);
    let upstream = ScriptedUpstream::builder()
        .on(
            "tools/list",
            Act::Result(format!(r#"{{"tools":[{}]}}"#, definitions.join(","))),
        )
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let list = gateway.mcp().request("tools/list", &Value::Null).await.result();
    assert_eq!(names(&list), ["files-fine"]);
    let client = gateway.client();
    let rest = client.get("/mcp-rest/tools/list").await.json();
    let own = row(&client, "files").await;
    let by_id = client
        .get(&format!("/v1/mcp/server/{}", text(&own["server_id"])))
        .await
        .json();
    let checked = health(&client, text(&own["server_id"])).await;
    let preview = client
        .post(
            "/mcp-rest/test/tools/list",
            &json!({"server_id": own["server_id"]}),
        )
        .await
        .json();
    let (data, file) = (gateway.data_dir(), gateway.config_path());
    let doctor = |more: &[&str]| {
        let mut args = vec![
            "doctor",
            "files",
            "--data-dir",
            data.to_str().unwrap(),
            "--config",
            file.to_str().unwrap(),
        ];
        args.extend(more);
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = async |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        String::from_utf8(gateway.run(&args).await.stdout).unwrap()
    };
    let printed = run(doctor(&[])).await;
    let as_json: Value = serde_json::from_str(&run(doctor(&["--json"])).await).unwrap();
    for (place, outcome) in [
        ("_meta", outcome(&list, "files")),
        ("REST", &rest["server_outcomes"]["files"]),
        ("row", &own["outcome"]),
        ("by id", &by_id["outcome"]),
        ("health", &checked["outcome"]),
        ("preview", &preview["outcome"]),
        ("doctor --json", &as_json[0]["outcome"]),
    ] {
        assert_eq!(
            outcome["status"], "ok",
            "the server itself is fine, {place}: {outcome}"
        );
        assert_eq!(outcome["rejected_count"], bad.len(), "{place}: {outcome}");
        let rejected = array(&outcome["rejected"]);
        for (definition, reason) in &bad {
            let name = definition.split('"').nth(3).unwrap();
            // What is nested too deep is not looked into, so its name is not known.
            let own = |item: &&Value| item["name"] == name || (name == "deep" && item["name"].is_null());
            let item = rejected
                .iter()
                .find(own)
                .unwrap_or_else(|| panic!("no {name} in {outcome}"));
            assert!(text(&item["reason"]).contains(reason), "{place}, {name}: {item}");
        }
    }
    let log = gateway.log();
    for (_, reason) in &bad {
        assert!(printed.contains(reason), "{reason} in {printed}");
        let reason = reason.replace('"', "");
        let said = log
            .lines()
            .any(|line| line.contains("tool left out") && line.replace(['"', '\\'], "").contains(&reason));
        assert!(said, "{reason} in {log}");
    }
    // Listed again and nothing new: not said again.
    let before = gateway.log().matches("tool left out").count();
    health(&client, text(&own["server_id"])).await;
    assert_eq!(gateway.log().matches("tool left out").count(), before);
    // What is left out cannot be called.
    let error = gateway.mcp().call("files-empty", &json!({}), None).await.error();
    assert_eq!(error.code, -32602, "{error:?}");
}

#[tokio::test]
async fn b10_the_reasons_are_bounded() {
    let many: Vec<Value> = (0..500)
        .map(|index| json!({"name": format!("t{index}"), "inputSchema": {}}))
        .chain([tool("fine")])
        .collect();
    let upstream = ScriptedUpstream::builder()
        .on("tools/list", Act::Result(json!({"tools": many}).to_string()))
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let list = gateway.mcp().request("tools/list", &Value::Null).await.result();
    let outcome = outcome(&list, "files");
    assert_eq!(outcome["rejected_count"], 500);
    assert_eq!(array(&outcome["rejected"]).len(), 20);
    assert_eq!(gateway.log().matches("tool left out").count(), 20);
}

#[tokio::test]
async fn b63_schemas_are_what_they_were() {
    let schema = r##"{ "$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"z":{"$ref":"#/$defs/node"},"list":{"type":"array","prefixItems":[{"const":1.0}],"items":{"enum":["b","a",null,1E2]},"unevaluatedItems":false},"either":{"anyOf":[{"type":"string","format":"uri"},{"type":"null"}]},"ext":{"$ref":"https://example.com/s.json#/a"}},"$defs":{"node":{"$anchor":"n","type":"object","properties":{"next":{"$ref":"#n"}},"dependentRequired":{"next":["id"]},"patternProperties":{"^x-":true}}},"if":{"required":["z"]},"then":{"minProperties":2},"oneOf":[{"required":["z"]},{"required":["list"]}]}"##;
    let definition = format!(r#"{{"name":"rich","inputSchema":{schema},"outputSchema":{schema}}}"#);
    let upstream = ScriptedUpstream::builder()
        .tool_raw(&definition, ToolAnswer::echo)
        .start()
        .await;
    let gateway = gateway_of(&[("files", &upstream)]).await;
    let reply = gateway.mcp().request("tools/list", &Value::Null).await;
    let body = String::from_utf8(reply.raw.to_vec()).unwrap();
    assert!(
        body.contains(&definition.replace(r#""name":"rich""#, r#""name":"files-rich""#)),
        "{body}"
    );
}

const UNION: &str = r#"{"type":"object","description":"D.","oneOf":[{"properties":{"kind":{"const":"file"},"path":{"maxLength":1E2}},"required":["kind","path"]},{"properties":{"kind":{"const":"url"},"url":{"type":"string"}},"required":["kind","url"]}]}"#;
const FLAT: &str = r#"{"type":"object","description":"D. Exactly one of these must fit: (1) with kind = \"file\", path, required: kind, path; (2) with kind = \"url\", url, required: kind, url.","properties":{"kind":{"anyOf":[{"const":"file"},{"const":"url"}]},"path":{"maxLength":1E2},"url":{"type":"string"}},"required":["kind"]}"#;

#[tokio::test]
async fn b63_alternatives_at_the_root_become_one_object_where_that_is_asked_for() {
    let definition = format!(r#"{{"name":"open","x":1.0,"inputSchema":{UNION}}}"#);
    let upstream = ScriptedUpstream::builder()
        .tool_raw(&definition, ToolAnswer::echo)
        .start()
        .await;
    let gateway = Config::default()
        .server("plain", &upstream, "")
        .server("compat", &upstream, "schema_compat: true")
        .start()
        .await;
    listed(&gateway, "plain").await;
    listed(&gateway, "compat").await;
    let list = async |path: &str| {
        let reply = gateway.mcp_at(path).request("tools/list", &Value::Null).await;
        String::from_utf8(reply.raw.to_vec()).unwrap()
    };
    let plain = list("/plain/mcp").await;
    assert!(plain.contains(UNION) && plain.contains(r#""x":1.0"#), "{plain}");
    let compat = list("/compat/mcp").await;
    assert!(
        compat.contains(&format!(
            r#"{{"name":"compat-open","x":1.0,"inputSchema":{FLAT}}}"#
        )),
        "{compat}"
    );
    // The server gets what the client sent, and checks it as before.
    let arguments = json!({"kind": "file", "path": "/a"});
    let reply = gateway.mcp().call("compat-open", &arguments, None).await;
    assert_eq!(reply.result()["content"][0]["text"], arguments.to_string());

    // Through the API, on and off.
    let body =
        json!({"server_name": "api", "url": upstream.url(), "transport": "http", "schema_compat": true});
    let id = register(&gateway.client(), &body).await;
    listed(&gateway, "api").await;
    assert!(list("/api/mcp").await.contains(FLAT));
    assert_eq!(row(&gateway.client(), "api").await["schema_compat"], true);
    gateway
        .client()
        .put(
            "/v1/mcp/server",
            &json!({"server_id": id, "schema_compat": false}),
        )
        .await;
    eventually("it is off", PATIENCE, async || {
        list("/api/mcp").await.contains(UNION)
    })
    .await;
}

/// A server with a tool that is shown with a page.
fn app(page: &str) -> UpstreamBuilder {
    let definition = format!(
        r#"{{"name":"show","_meta":{{"ui":{{"resourceUri":"{page}","visibility":["model"]}},"ui/resourceUri":"{page}","z":1.0}},"inputSchema":{{"type":"object"}}}}"#
    );
    let resource =
        json!({"resources": [{"uri": page, "name": "page", "mimeType": "text/html;profile=mcp-app"}]});
    let read = json!({"contents": [{"uri": page, "mimeType": "text/html;profile=mcp-app", "text": "<p>"}]});
    ScriptedUpstream::builder()
        .initialize_member("capabilities", json!({"tools": {}, "resources": {}}))
        .on("resources/list", Act::Result(resource.to_string()))
        .on("resources/read", Act::Result(read.to_string()))
        .tool_raw(&definition, ToolAnswer::echo)
}

#[tokio::test]
async fn b62_an_app_and_the_tool_that_points_at_it_go_together() {
    let (one, two) = (app("ui://page").start().await, app("ui://page").start().await);
    let other = app("ui://elsewhere").start().await;
    let gateway = gateway_of(&[("one", &one), ("two", &two), ("other", &other)]).await;
    // Nobody has asked for resources yet, and the tools know all the same.
    let mut client = gateway.mcp();
    client.initialize().await;
    let tools = client.list_tools().await;
    let pointers: Vec<&str> = tools
        .iter()
        .map(|tool| text(&tool["_meta"]["ui"]["resourceUri"]))
        .collect();
    // In the order of the servers' names: one, other, two.
    assert_eq!(pointers, ["ui://one+page", "ui://elsewhere", "ui://two+page"]);
    for tool in &tools {
        assert_eq!(
            tool["_meta"]["ui/resourceUri"],
            tool["_meta"]["ui"]["resourceUri"]
        );
        assert_eq!(tool["_meta"]["ui"]["visibility"], json!(["model"]));
    }
    let resources = client.request("resources/list", &Value::Null).await.result();
    let listed: Vec<&str> = array(&resources["resources"])
        .iter()
        .map(|resource| text(&resource["uri"]))
        .collect();
    assert_eq!(listed, pointers, "tools point at what is listed");
    for (pointer, server) in pointers.iter().zip([&one, &other, &two]) {
        let before = server.count("resources/read");
        let read = client
            .request("resources/read", &json!({"uri": pointer}))
            .await
            .result();
        assert_eq!(
            read["contents"][0]["uri"], *pointer,
            "what is read is what was asked for"
        );
        assert_eq!(server.count("resources/read"), before + 1, "{pointer}");
    }
    let asked = two
        .requests()
        .into_iter()
        .rfind(|request| request.is("resources/read"))
        .unwrap();
    assert_eq!(
        asked.json()["params"]["uri"],
        "ui://page",
        "the server sees its own URI"
    );

    // One server alone: not a byte changes.
    let reply = gateway
        .mcp_at("/one/mcp")
        .request("tools/list", &Value::Null)
        .await;
    let body = String::from_utf8(reply.raw.to_vec()).unwrap();
    let own = r#"{"name":"one-show","_meta":{"ui":{"resourceUri":"ui://page","visibility":["model"]},"ui/resourceUri":"ui://page","z":1.0},"inputSchema":{"type":"object"}}"#;
    assert!(body.contains(own), "{body}");
}

#[tokio::test]
async fn b62_results_that_are_no_objects_are_wrapped_for_clients_that_know_no_others() {
    let schema = |kind: &str| json!({"type": kind});
    let tools = json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": [
        {"name": "list", "inputSchema": schema("object"), "outputSchema": {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "number"}}}},
        {"name": "object", "inputSchema": schema("object"), "outputSchema": schema("object")},
        {"name": "unsaid", "inputSchema": schema("object")},
    ]});
    let result = |content: &Value, value: &Value| {
        ToolAnswer::Result(json!({"resultType": "complete", "content": content, "structuredContent": value}))
    };
    let upstream = modern_upstream()
        .tool_fn(&tool("list"), move |_| result(&json!([]), &json!([1, 2])))
        .tool_fn(&tool("object"), move |_| result(&json!([]), &json!({"a": 1})))
        .tool_fn(&tool("unsaid"), move |_| {
            result(&json!([{"type": "text", "text": "t"}]), &json!("word"))
        })
        .on("tools/list", Act::Result(tools.to_string()))
        .start()
        .await;
    let gateway = Config::default().server("x", &upstream, MODERN).start().await;
    listed(&gateway, "x").await;

    let mut legacy = gateway.mcp();
    legacy.initialize().await;
    let shown = legacy.list_tools().await;
    assert_eq!(
        shown[0]["outputSchema"],
        json!({"type": "object", "required": ["result"], "properties": {"result":
            {"type": "array", "items": {"$ref": "#/properties/result/$defs/n"}, "$defs": {"n": {"type": "number"}}},
        }})
    );
    assert_eq!(shown[1]["outputSchema"], schema("object"));
    let called = legacy.call("x-list", &json!({}), None).await.result();
    assert_eq!(called["structuredContent"], json!({"result": [1, 2]}));
    assert_eq!(called["content"], json!([{"type": "text", "text": "[1,2]"}]));
    let called = legacy.call("x-object", &json!({}), None).await.result();
    assert_eq!(called["structuredContent"], json!({"a": 1}));
    let called = legacy.call("x-unsaid", &json!({}), None).await.result();
    assert_eq!(called["structuredContent"], json!({"result": "word"}));
    assert_eq!(called["content"], json!([{"type": "text", "text": "t"}]));

    // Clients of the new era see what the server says.
    let list = modern(&gateway.client(), "tools/list", json!({}), &[])
        .await
        .json();
    assert_eq!(
        list["result"]["tools"][0]["outputSchema"],
        tools["tools"][0]["outputSchema"]
    );
    let call = json!({"name": "x-list", "arguments": {}});
    let called = modern(&gateway.client(), "tools/call", call, &[]).await.json();
    assert_eq!(called["result"]["structuredContent"], json!([1, 2]));
    assert_eq!(called["result"]["content"], json!([]));
}
