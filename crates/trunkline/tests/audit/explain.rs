//! Why a key may use something or not: the answer is the decision's own, says what would have to change, and that is enough.

use serde_json::{Value, json};
use trunkline_testkit::{ScriptedUpstream, TestGateway, eventually};

use crate::support::{PATIENCE, Way, config, generate, key, listed, post, with};
use crate::world::{World, denied, last, rows, send};

const PATH: &str = "/v1/mcp/policy/explain";

async fn explained(gateway: &TestGateway, body: Value) -> Value {
    post(gateway, PATH, body).await
}

/// The denials of a trail: level and rule.
fn said(answer: &Value) -> Vec<(String, String)> {
    let levels = answer["trail"].as_array().unwrap();
    let of = |level: &Value| {
        let name = level["level"].as_str().unwrap().to_owned();
        let denials = level["denials"].as_array().unwrap().clone();
        assert_eq!(level["verdict"] == "passes", denials.is_empty(), "{level}");
        denials
            .into_iter()
            .map(move |denial| (name.clone(), denial["rule"].as_str().unwrap().to_owned()))
    };
    levels.iter().flat_map(of).collect()
}

fn is(answer: &Value, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(level, rule)| ((*level).to_owned(), (*rule).to_owned()))
        .collect();
    assert_eq!(said(answer), expected, "{answer}");
}

#[tokio::test]
async fn what_an_explanation_says_that_would_have_to_change_is_enough() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let lists = |servers: &[&str]| json!({"mcp_servers": servers});
    post(
        gateway,
        "/organization/new",
        json!({"organization_id": "o", "organization_alias": "o", "object_permission": lists(&["other"])}),
    )
    .await;
    let rows = json!({"mcp_servers": ["other"], "mcp_tool_permissions": {"files": ["nothing"]}});
    post(
        gateway,
        "/team/new",
        json!({"team_id": "t", "organization_id": "o", "object_permission": rows}),
    )
    .await;
    let made = generate(gateway, json!({"key_alias": "k", "team_id": "t"})).await;
    let secret = made["key"].as_str().unwrap();
    let answer = explained(
        gateway,
        json!({"principal": "k", "server": "files", "tool": "echo"}),
    )
    .await;
    assert_eq!(answer["allowed"], false);
    assert_eq!(
        (&answer["reason"], &answer["level"], &answer["rule"]),
        (&json!("no_grant"), &json!("key"), &json!("nothing_listed"))
    );
    is(
        &answer,
        &[
            ("key", "nothing_listed"),
            ("team", "mcp_servers"),
            ("team", "mcp_tool_permissions"),
            ("organization", "mcp_servers"),
        ],
    );
    assert_eq!(answer["changes_suffice"], true);
    let texts: Vec<&str> = answer["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|own| own["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        texts,
        [
            "add \"files\" to the key's object_permission.mcp_servers",
            "add \"files\" to the team's object_permission.mcp_servers",
            "add \"files\" to the organisation's object_permission.mcp_servers",
            "add \"echo\" to the team's object_permission.mcp_tool_permissions of \"files\"",
        ]
    );
    done_as_it_says(gateway, &made, secret).await;
    let answer = explained(gateway, json!({"principal": secret, "tool": "files-echo"})).await;
    assert_eq!(
        (&answer["allowed"], &answer["tool"], &answer["server"]["name"]),
        (&json!(true), &json!("echo"), &json!("files"))
    );
    is(&answer, &[]);
    assert!(!answer.to_string().contains(secret), "the key does not come back");
}

/// As long as one change is missing, it is denied; with all it is allowed. Made over the API.
async fn done_as_it_says(gateway: &TestGateway, made: &Value, secret: &str) {
    let lists = |servers: &[&str]| json!({"mcp_servers": servers});
    let call = json!({"name": "files-echo", "arguments": {"message": "hi"}});
    let may = async || {
        let (_, reply) = Way::Bare
            .ask(&with(gateway, secret), None, "tools/call", &call)
            .await;
        let answer = explained(
            gateway,
            json!({"principal": made["token"], "server": "files", "tool": "echo"}),
        )
        .await;
        assert_eq!(
            answer["allowed"] == true,
            reply["result"].is_object(),
            "{answer} {reply}"
        );
        answer["allowed"] == true
    };
    for (path, id, body) in [
        (
            "/organization/update",
            "organization_id",
            json!({"object_permission": lists(&["other", "files"])}),
        ),
        (
            "/team/update",
            "team_id",
            json!({"object_permission": lists(&["other", "files"])}),
        ),
        (
            "/key/update",
            "key",
            json!({"object_permission": lists(&["files"])}),
        ),
        (
            "/team/update",
            "team_id",
            json!({"object_permission": {"mcp_tool_permissions": {"files": ["nothing", "echo"]}}}),
        ),
    ] {
        assert!(!may().await);
        let mut body = body;
        body[id] = match id {
            "key" => made["token"].clone(),
            "team_id" => "t".into(),
            _ => "o".into(),
        };
        let method = if path.starts_with("/organization") {
            "PATCH"
        } else {
            "POST"
        };
        send(&gateway.client(), method, path, &body)
            .await
            .expect_status(200);
    }
    assert!(may().await);
}

#[tokio::test]
async fn the_request_the_server_and_the_end_user_are_levels_too() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let server = json!({
        "server_id": "sub", "alias": "sub", "url": "https://x.example/mcp", "transport": "http",
        "allowed_tools": ["a"], "disallowed_tools": ["b"], "available_on_public_internet": false,
    });
    send(&gateway.client(), "POST", "/v1/mcp/server/register", &server)
        .await
        .expect_status(201);
    post(
        gateway,
        "/customer/new",
        json!({"user_id": "e", "object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    let body = json!({
        "principal": "master_key", "server": "sub", "tool": "b", "end_user": "e", "x-mcp-servers": "files", "client_network": "external",
    });
    let answer = explained(gateway, body).await;
    is(
        &answer,
        &[
            ("scope", "selection"),
            ("server", "available_on_public_internet"),
            ("server", "approval_status"),
            ("server", "disallowed_tools"),
            ("server", "allowed_tools"),
            ("end_user", "mcp_servers"),
        ],
    );
    assert_eq!(
        (
            &answer["changes_suffice"],
            answer["changes"].as_array().unwrap().len()
        ),
        (&json!(true), 6)
    );
    // A path that leads nowhere selects nothing.
    let nowhere = json!({"principal": "master_key", "server": "files", "path": "/nothing/mcp"});
    is(&explained(gateway, nowhere).await, &[("scope", "selection")]);
    let there = json!({"principal": "master_key", "server": "files", "path": "/files/mcp"});
    is(&explained(gateway, there).await, &[]);
    // A key that is not let in is not decided about.
    let made = generate(gateway, json!({"key_alias": "out"})).await;
    post(gateway, "/key/block", json!({"key": made["token"]})).await;
    let answer = explained(gateway, json!({"principal": "out", "server": "files"})).await;
    assert_eq!(
        (&answer["allowed"], &answer["reason"]),
        (&json!(false), &json!("not_admitted"))
    );
    generate(
        gateway,
        json!({"key_alias": "elsewhere", "allowed_routes": ["/notes/mcp"]}),
    )
    .await;
    let answer = explained(gateway, json!({"principal": "elsewhere", "server": "files"})).await;
    assert_eq!(
        (&answer["reason"], &answer["rule"]),
        (&json!("route_not_allowed"), &json!("allowed_routes"))
    );
    // A team, and a user, of whom nobody has a key.
    post(
        gateway,
        "/team/new",
        json!({"team_id": "t", "object_permission": {"mcp_servers": ["other"]}}),
    )
    .await;
    is(
        &explained(gateway, json!({"team_id": "t", "server": "files"})).await,
        &[("team", "mcp_servers")],
    );
    post(
        gateway,
        "/user/new",
        json!({"user_id": "u", "auto_create_key": false}),
    )
    .await;
    is(
        &explained(gateway, json!({"user_id": "u", "server": "files"})).await,
        &[],
    );
}

#[tokio::test]
async fn a_denied_call_is_explained_by_its_request() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let own = with(gateway, &key(gateway, json!({})).await).with_header("x-litellm-call-id", "that-one");
    let call = json!({"name": "files-echo", "arguments": {"message": "hi"}});
    Way::Bare.ask(&own, None, "tools/call", &call).await;
    denied(gateway, 1).await;
    let answer = explained(gateway, json!({"request_id": "that-one"})).await;
    is(&answer, &[("key", "nothing_listed")]);
    assert_eq!(
        (&answer["tool"], &answer["denied"]["reason"]),
        (&json!("echo"), &json!("no_grant"))
    );
    for wrong in [json!({"request_id": "another"}), json!({"request_id": "'; --"})] {
        send(&gateway.client(), "POST", PATH, &wrong)
            .await
            .expect_status(404);
    }
    let both = json!({"request_id": "that-one", "server": "files"});
    send(&gateway.client(), "POST", PATH, &both)
        .await
        .expect_status(400);
}

#[tokio::test]
async fn b40_a_key_hears_of_itself_alone_and_of_nothing_that_is_not_there_for_it() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let permission = json!({"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["nothing"]}});
    let made = generate(
        gateway,
        json!({"object_permission": permission, "key_alias": "one"}),
    )
    .await;
    let plain = generate(gateway, json!({"key_alias": "two"})).await;
    let of = |made: &Value| with(gateway, made["key"].as_str().unwrap());
    let ask = async |made: &Value, body: Value, status: u16| {
        send(&of(made), "POST", PATH, &body)
            .await
            .expect_status(status)
            .text()
    };
    let echo = json!({"server": "files", "tool": "echo"});
    let answer: Value = serde_json::from_str(&ask(&made, echo.clone(), 200).await).unwrap();
    is(&answer, &[("key", "mcp_tool_permissions")]);
    let mut own = echo.clone();
    own["principal"] = made["token"].clone();
    ask(&made, own.clone(), 200).await;
    // Somebody else's.
    ask(&plain, own, 403).await;
    ask(&plain, json!({"principal": "master_key", "server": "files"}), 403).await;
    ask(&plain, json!({"team_id": "t", "server": "files"}), 404).await;
    // What is not there for it, and what is not there.
    let hidden = ask(&plain, echo, 404).await;
    let nobody = ask(&plain, json!({"server": "nobody", "tool": "echo"}), 404).await;
    assert_eq!(hidden.replace("files", "nobody"), nobody);
    ask(&made, json!({"server": "files", "nonsense": 1}), 422).await;
    ask(&made, json!({}), 422).await;
    ask(
        &made,
        json!({"server": "files", "client_network": "internal"}),
        400,
    )
    .await;
    gateway
        .anonymous()
        .post(PATH, &json!({}))
        .await
        .expect_status(401);
    // A viewer sees all, and nothing of it is a change.
    post(
        gateway,
        "/user/new",
        json!({"user_id": "v", "user_role": "proxy_admin_viewer", "auto_create_key": false}),
    )
    .await;
    let viewer = generate(gateway, json!({"user_id": "v"})).await;
    let before = last(gateway).await;
    ask(&viewer, json!({"principal": "two", "server": "files"}), 200).await;
    let changes = rows(gateway, before).await;
    assert!(changes.iter().all(|row| row["action"] == "denied"), "{changes:?}");
}

#[tokio::test]
async fn the_command_line_says_it_with_an_exit_code() {
    let world = World::new().await;
    let gateway = &world.gateway;
    generate(gateway, json!({"key_alias": "ci"})).await;
    let url = gateway.url();
    let run = async |arguments: &[&str]| {
        let key = gateway.master_key();
        let all: Vec<&str> = ["explain"]
            .iter()
            .chain(arguments)
            .copied()
            .chain(["--url", &url, "--key", key])
            .collect();
        let output = gateway.run(&all).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, said, _) = run(&["ci", "files.echo"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(
        said.starts_with("denied: the key was given no servers itself"),
        "{said}"
    );
    assert!(
        said.contains("to do: add \"files\" to the key's object_permission.mcp_servers"),
        "{said}"
    );
    let (code, said, _) = run(&["master_key", "files"]).await;
    assert_eq!((code, said.starts_with("allowed: ")), (0, true), "{said}");
    let (code, said, _) = run(&["ci", "files", "--json"]).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["rule"]), (1, &json!("nothing_listed")));
    let (code, _, said) = run(&["nobody", "files"]).await;
    assert_eq!(code, 5, "{said}");
    let (code, _, said) = run(&["ci", "nothing.echo"]).await;
    assert_eq!(code, 5, "{said}");
    let (code, ..) = run(&[]).await;
    assert_eq!(code, 2);
}

/// `echo` may be called with a message that is not "no", and with nothing else.
const RULES: &str = "    allowed_params: {echo: [message]}
    tool_conditions:
      - tools: [echo]
        when: args.message != 'no' && !has(tool.annotations.destructiveHint)
        reason: it must not be a no
";

#[tokio::test]
async fn rules_about_a_call_are_explained_with_its_arguments_and_leave_rows() {
    let upstream = ScriptedUpstream::start().await;
    let gateway = TestGateway::start(&config(&[("files", &upstream, RULES)])).await;
    listed(&gateway, &["files"]).await;
    let http = gateway.client();
    for (arguments, rule) in [
        (json!({"message": "yes"}), None),
        (
            json!({"message": "no"}),
            Some(("tool_conditions", "condition_failed")),
        ),
        (json!({"message": 1}), None),
        (json!({}), Some(("tool_conditions", "condition_error"))),
        (
            json!({"message": "yes", "other": 1}),
            Some(("allowed_params", "argument_not_allowed")),
        ),
    ] {
        let body =
            json!({"principal": "master_key", "server": "files", "tool": "echo", "arguments": arguments});
        let answer = explained(&gateway, body).await;
        let before = last(&gateway).await;
        let call = json!({"name": "files-echo", "arguments": arguments});
        let (_, reply) = Way::Bare.ask(&http, None, "tools/call", &call).await;
        let is_denied = reply["result"]["isError"] == true;
        assert_eq!(
            answer["allowed"] == true,
            !is_denied,
            "{arguments}: {answer} {reply}"
        );
        let Some((rule, reason)) = rule else {
            assert_eq!(answer["allowed"], true, "{arguments}: {answer}");
            continue;
        };
        assert_eq!(
            (&answer["rule"], &answer["reason"]),
            (&json!(rule), &json!(reason)),
            "{answer}"
        );
        is(&answer, &[("server", rule)]);
        assert_eq!(answer["changes_suffice"], false);
        let mut found = Vec::new();
        eventually("the denial is written", PATIENCE, async || {
            found = rows(&gateway, before).await;
            !found.is_empty()
        })
        .await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (&found[0]["rule"], &found[0]["reason"], &found[0]["tool"]),
            (&json!(rule), &json!(reason), &json!("echo"))
        );
        assert!(!found[0].to_string().contains("yes"), "no argument is in the log");
    }
    // As in a list: what is not known is not decided.
    let listed = explained(
        &gateway,
        json!({"principal": "master_key", "server": "files", "tool": "echo"}),
    )
    .await;
    assert_eq!(listed["allowed"], true);
    for wrong in [
        json!({"server": "files", "arguments": {}}),
        json!({"server": "files", "tool": "echo", "arguments": []}),
    ] {
        send(&http, "POST", PATH, &wrong).await.expect_status(422);
    }
}

const BALANCED: &str = "general_settings:
  mcp_internal_ip_ranges: [10.0.0.0/8]
  use_x_forwarded_for: true
  mcp_trusted_proxy_ranges: [127.0.0.0/8]
";

#[tokio::test]
async fn b40_a_key_that_asks_from_outside_hears_nothing_of_what_is_inside() {
    let upstream = ScriptedUpstream::start().await;
    let inner = "    allow_all_keys: true\n    available_on_public_internet: false\n";
    let text = format!("{BALANCED}{}", config(&[("inner", &upstream, inner)]));
    let gateway = TestGateway::start(&text).await;
    listed(&gateway, &["inner"]).await;
    let own = with(&gateway, &key(&gateway, json!({})).await);
    let from = async |address: &str, body: Value| {
        let http = own.clone().with_header("x-forwarded-for", address);
        let reply = send(&http, "POST", PATH, &body).await;
        (reply.status.as_u16(), reply.text())
    };
    let body = json!({"server": "inner", "tool": "echo"});
    let (status, said) = from("10.1.2.3", body.clone()).await;
    assert_eq!((status, said.contains("\"allowed\":true")), (200, true), "{said}");
    let (status, hidden) = from("192.0.2.7", body).await;
    let (_, nobody) = from("192.0.2.7", json!({"server": "nobody", "tool": "echo"})).await;
    assert_eq!((status, hidden.replace("inner", "nobody")), (404, nobody));
    let (status, _) = from(
        "192.0.2.7",
        json!({"server": "inner", "client_network": "internal"}),
    )
    .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_said_to_be_not_there_and_no_hidden_name_is_told() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let of = |body: Value| generate(gateway, body);
    let may_all = of(json!({"key_alias": "all", "object_permission": {"mcp_servers": ["files"]}})).await;
    let may_one = of(json!({
        "key_alias": "one",
        "object_permission": {"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["ecko"]}},
    }))
    .await;
    let question = |tool: &str| json!({"server": "files", "tool": tool});
    let mut asked = question("ecko");
    asked["principal"] = "all".into();
    let answer = explained(gateway, asked).await;
    assert_eq!(
        (&answer["allowed"], &answer["exists"]),
        (&json!(true), &json!(false)),
        "{answer}"
    );
    let sentence = answer["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("lists no tool \"ecko\"") && sentence.contains("did you mean \"echo\"?"),
        "{answer}"
    );
    let ask = async |secret: &str, tool: &str| {
        let reply = with(gateway, secret).post(PATH, &question(tool)).await;
        reply.expect_status(200).json()
    };
    let of_all = may_all["key"].as_str().unwrap();
    let answer = ask(of_all, "echo").await;
    assert_eq!(answer["exists"], true, "{answer}");
    let answer = ask(of_all, "ecko").await;
    assert!(
        answer["sentence"].as_str().unwrap().contains("\"echo\""),
        "{answer}"
    );
    // Who may use no tool of the name hears of none, and nothing about what it may not use.
    let of_one = may_one["key"].as_str().unwrap();
    let answer = ask(of_one, "ecko").await;
    assert_eq!(answer["exists"], false, "{answer}");
    assert!(!answer.to_string().contains("echo"), "{answer}");
    for hidden in ["echo", "ecco"] {
        let answer = ask(of_one, hidden).await;
        assert_eq!(
            (&answer["allowed"], &answer["exists"]),
            (&json!(false), &Value::Null),
            "{answer}"
        );
    }
}
