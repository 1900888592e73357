//! Which server a call reaches.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, ScriptedUpstream, TestGateway};

use crate::support::{Config, gateway_of, listed, message, names, register, row, said, text, tool};

#[tokio::test]
async fn b35_two_servers_never_share_a_name() {
    let upstream = ScriptedUpstream::start().await;
    for (first, second) in [("github", "GitHub"), ("github", "github")] {
        let twice = Config::of(&[(first, &upstream), (second, &upstream)]).text();
        let failure = TestGateway::builder()
            .config(&twice)
            .try_start()
            .await
            .unwrap_err();
        assert_ne!(failure.exit.code, Some(0));
        assert!(failure.stderr.to_lowercase().contains("github"), "{failure}");
    }
    let gateway = gateway_of(&[("github", &upstream)]).await;
    for name in ["github", "GitHub"] {
        let body = json!({"server_name": name, "url": upstream.url(), "transport": "http"});
        let refused = gateway
            .client()
            .post("/v1/mcp/server", &body)
            .await
            .expect_status(400);
        assert!(refused.text().contains("already belongs"), "{}", refused.text());
    }
    assert_eq!(gateway.mcp().tool_names().await, ["github-echo"]);
}

/// The name came into the file after it was in the database.
#[tokio::test]
async fn b35_the_file_has_the_name_and_deleting_the_other_takes_nothing_from_it() {
    let of_file = ScriptedUpstream::builder().tool(tool("from_file")).start().await;
    let of_database = ScriptedUpstream::builder()
        .tool(tool("from_database"))
        .start()
        .await;
    let mut gateway = TestGateway::start("{}").await;
    let body = json!({"server_name": "GitHub", "url": of_database.url(), "transport": "http"});
    let id = register(&gateway.client(), &body).await;
    listed(&gateway, "GitHub").await;

    gateway.set_config(&Config::of(&[("github", &of_file)]).text());
    gateway.restart().await;
    listed(&gateway, "github").await;
    // Whatever becomes of the other: the name means the file's, today and after the next restart.
    for _ in 0..2 {
        for path in ["/github/mcp", "/GITHUB/mcp"] {
            assert_eq!(
                gateway.mcp_at(path).tool_names().await,
                ["github-from_file"],
                "{path}"
            );
        }
        let all = gateway.mcp().tool_names().await;
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
        assert!(all.contains(&"github-from_file".to_owned()), "{all:?}");
        gateway.restart().await;
    }
    gateway
        .client()
        .delete(&format!("/v1/mcp/server/{id}"))
        .await
        .expect_status(202);
    assert_eq!(gateway.mcp().tool_names().await, ["github-from_file"]);
    let mut client = gateway.mcp_at("/github/mcp");
    client.initialize().await;
    assert_eq!(
        said(
            &client
                .call("github-from_file", &message("still here"), None)
                .await
        ),
        "still here"
    );
    let file = row(&gateway.client(), "github").await;
    let managed = format!("/v1/mcp/server/{}", text(&file["server_id"]));
    gateway.client().delete(&managed).await.expect_status(409);
}

#[tokio::test]
async fn b36_a_bare_name_of_two_servers_is_an_error_and_nothing_is_sent() {
    let (a, b) = (
        ScriptedUpstream::builder()
            .tool(tool("search"))
            .tool(tool("only_a"))
            .start()
            .await,
        ScriptedUpstream::builder().tool(tool("search")).start().await,
    );
    let gateway = gateway_of(&[("a", &a), ("b", &b)]).await;
    let mut client = gateway.mcp();
    client.initialize().await;
    a.clear();
    b.clear();
    let error = client.call("search", &message("?"), None).await.error();
    assert_eq!(error.code, -32602, "{error:?}");
    for candidate in ["a-search", "b-search"] {
        assert!(error.message.contains(candidate), "{error:?}");
    }
    let rest = gateway
        .client()
        .post(
            "/mcp-rest/tools/call",
            &json!({"name": "search", "arguments": {}}),
        )
        .await
        .expect_status(409);
    assert!(
        rest.text().contains("a-search") && rest.text().contains("b-search"),
        "{}",
        rest.text()
    );
    assert_eq!((a.requests().len(), b.requests().len()), (0, 0));

    // Each of these says which one is meant.
    for name in ["a-search", "b-search", "only_a"] {
        assert_eq!(said(&client.call(name, &message(name), None).await), name);
    }
    for (server, upstream) in [("a", &a), ("b", &b)] {
        upstream.clear();
        let body = json!({"server_id": server, "name": "search", "arguments": message("rest")});
        gateway
            .client()
            .post("/mcp-rest/tools/call", &body)
            .await
            .expect_status(200);
        let reply = gateway
            .mcp_at(&format!("/{server}/mcp"))
            .call("search", &message("path"), None)
            .await;
        assert_eq!(said(&reply), "path");
        assert_eq!(upstream.count("tools/call"), 2, "{server}");
    }
}

#[tokio::test]
async fn b37_a_server_that_was_not_selected_is_not_reached() {
    let (a, b) = (
        ScriptedUpstream::builder().tool(tool("shared")).start().await,
        ScriptedUpstream::builder().tool(tool("secret")).start().await,
    );
    let gateway = gateway_of(&[("a", &a), ("b", &b)]).await;
    b.clear();
    let selections = [
        gateway.mcp_at("/a/mcp"),
        gateway.mcp_at("/mcp/a"),
        gateway.mcp().with_header("x-mcp-servers", "a"),
    ];
    let unknown = gateway
        .mcp_at("/a/mcp")
        .call("nowhere-none", &json!({}), None)
        .await
        .error();
    for mut client in selections {
        client.initialize().await;
        for name in ["b-secret", "secret"] {
            let error = client.call(name, &json!({}), None).await.error();
            assert_eq!(error.code, -32602, "{error:?}");
            // The same words as for a tool that does not exist at all.
            assert_eq!(error.message, unknown.message.replace("nowhere-none", name));
            assert_eq!(error.data, unknown.data);
        }
    }
    for (server, name) in [("a", "secret"), ("a", "b-secret")] {
        let body = json!({"server_id": server, "name": name, "arguments": {}});
        let reply = gateway
            .client()
            .post("/mcp-rest/tools/call", &body)
            .await
            .expect_status(403);
        assert!(reply.text().contains("Unknown tool"), "{}", reply.text());
    }
    assert_eq!(b.requests().len(), 0, "{}", b.everything());
}

#[tokio::test]
async fn b38_two_aliases_of_one_url_keep_their_credentials_apart() {
    let (first, second) = (Canary::new("first"), Canary::new("second"));
    let upstream = ScriptedUpstream::start().await;
    let entry = |alias: &str, key: &Canary| {
        format!(
            "alias: {alias}\nauth_type: bearer_token\nauthentication_token: {}",
            key.value()
        )
    };
    let gateway = Config::default()
        .server("server_one", &upstream, &entry("one", &first))
        .server("server_two", &upstream, &entry("two", &second))
        .start()
        .await;
    listed(&gateway, "one").await;
    listed(&gateway, "two").await;
    assert_eq!(gateway.mcp().tool_names().await, ["one-echo", "two-echo"]);
    for (alias, own, other) in [("one", &first, &second), ("two", &second, &first)] {
        for path in [format!("/{alias}/mcp"), format!("/mcp/{alias}")] {
            let mut client = gateway.mcp_at(&path);
            let hello = client.initialize().await.result();
            assert_eq!(hello["serverInfo"]["name"], alias, "{path}");
            upstream.clear();
            let name = format!("{alias}-echo");
            assert_eq!(said(&client.call(&name, &message("hi"), None).await), "hi");
            assert!(own.find(upstream.everything()).is_some(), "{alias}");
            other.assert_absent(&[("the requests of the other alias", upstream.everything())]);
        }
    }
    // Together, each session is used with the credential that opened it.
    let mut client = gateway.mcp();
    client.initialize().await;
    upstream.clear();
    for name in ["one-echo", "two-echo", "one-echo", "two-echo"] {
        client.call(name, &message(name), None).await.result();
    }
    let mut credential_of = std::collections::HashMap::new();
    for request in upstream
        .requests()
        .iter()
        .filter(|request| request.session.is_some())
    {
        let authorization = request.header("authorization").unwrap_or_default().to_owned();
        let before = credential_of.insert(request.session.clone(), authorization.clone());
        assert!(
            before.is_none_or(|before| before == authorization),
            "a session under two credentials"
        );
    }
    let sent: Vec<Value> = upstream
        .requests()
        .iter()
        .filter(|request| request.is("tools/call"))
        .map(|request| {
            json!([
                request.json()["params"]["arguments"]["message"],
                request.header("authorization")
            ])
        })
        .collect();
    let bearer = |key: &Canary| format!("Bearer {}", key.value());
    let expected = [
        json!(["one-echo", bearer(&first)]),
        json!(["two-echo", bearer(&second)]),
        json!(["one-echo", bearer(&first)]),
        json!(["two-echo", bearer(&second)]),
    ];
    assert_eq!(sent, expected);
    let list = client.request("tools/list", &Value::Null).await.result();
    assert_eq!(names(&list), ["one-echo", "two-echo"]);
}
