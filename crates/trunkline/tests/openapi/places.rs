//! What a document, an argument, or whoever may use the management API must not reach.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, Said, ScriptedUpstream, TestGateway};

use crate::support::{Api, becomes, call, entry, gateway, names, pets, row, text};

#[tokio::test]
async fn b68_s24_an_argument_stays_where_it_is_put() {
    let api = Api::start(|_| Said::json(200, "{}")).await;
    let document = json!({"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {"/base/{p}/end": {"post": {"operationId": "put",
        "parameters": [
            {"name": "p", "in": "path", "required": true, "schema": {"type": "string"}},
            {"name": "q", "in": "query", "schema": {"type": "string"}},
            {"name": "X-H", "in": "header", "schema": {"type": "string"}},
            {"name": "c", "in": "cookie", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": {"f": {"type": "string"}}}}}}}}}});
    let gateway = gateway(&entry("zoo", &document, &format!("url: {}/api", api.origin()))).await;
    let hostile = [
        "../../admin?x=1#",
        "..",
        ".",
        "%2e%2e",
        "%2e%2e%2fadmin",
        "..%5cadmin",
        "..\\admin",
        "/../../admin",
        "a\r\nX-Evil: 1",
        "a\0b",
        "%00",
        "a?x=1",
        "a#b",
        "a&admin=1",
        "a;admin=1",
        "//evil.example/",
        "http://evil.example/",
        "@evil.example",
        "\u{ff0e}\u{ff0e}/",
        "a b",
        "ä",
        "%c0%ae%c0%ae/",
    ];
    let mut sent = 0;
    for value in hostile {
        for argument in ["p", "q", "X-H", "c", "f"] {
            let mut arguments = json!({"p": "x"});
            arguments[argument] = json!(value);
            api.clear();
            let result = call(&gateway, "zoo-put", &arguments).await;
            let seen = api.seen();
            if result["isError"] == true {
                assert!(
                    seen.is_empty() && text(&result).contains(argument),
                    "{argument}={value:?}: {result}"
                );
                continue;
            }
            sent += 1;
            assert_eq!(seen.len(), 1, "{argument}={value:?}: one request");
            let path = seen[0].target.split('?').next().unwrap();
            let inner = path
                .strip_prefix("/api/base/")
                .and_then(|rest| rest.strip_suffix("/end"));
            let inner = inner.unwrap_or_else(|| panic!("{argument}={value:?} left its path: {path}"));
            assert!(!inner.contains(['/', '\\', ';', '?', '#']), "{path}");
            assert!(seen[0].header("x-evil").is_none());
            let query = seen[0].target.split_once('?').map_or("", |(_, query)| query);
            assert!(!query.contains(['&', '#', ';']), "{query}");
            if argument == "X-H" {
                assert_eq!(seen[0].header("x-h"), Some(value));
            }
        }
    }
    assert!(sent > 60, "{sent}");
}

#[tokio::test]
async fn s11_the_gateways_files_are_not_read_through_the_api() {
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let http = gateway.client();
    for place in [
        "/etc/passwd",
        "openapi.yaml",
        "../config.yaml",
        "file:///etc/passwd",
        "C:/a.json",
        "\\\\host\\a",
    ] {
        for route in [
            "/v1/mcp/server",
            "/mcp-rest/test/tools/list",
            "/mcp-rest/test/connection",
        ] {
            let reply = http
                .post(route, &json!({"server_name": "x", "spec_path": place}))
                .await;
            assert!(
                [400, 422].contains(&reply.status.as_u16()),
                "{route} {place}: {}",
                reply.everything()
            );
        }
    }
}

#[tokio::test]
async fn s11_documents_are_fetched_under_the_rules_of_egress() {
    let forbidden = ScriptedUpstream::start().await;
    let port = forbidden.port();
    let text = format!(
        "general_settings:\n  mcp_egress_allow: [public]\nmcp_servers:\n  file: {{spec_path: 'http://127.0.0.1:{port}/openapi.json'}}\n"
    );
    let gateway = TestGateway::start(&text).await;
    becomes(&gateway, "file", "misconfigured").await;
    let http = gateway.client();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0x7f.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
    ] {
        let url = format!("http://{host}:{port}/openapi.json");
        let tested = http
            .post("/mcp-rest/test/tools/list", &json!({"spec_path": url}))
            .await;
        assert!(
            !tested.text().contains("\"status\":\"ok\""),
            "{host}: {}",
            tested.text()
        );
        // Where the API is, by the document or by `url`.
        for body in [json!({"url": url}), json!({"spec": with_servers(&url)})] {
            let mut body = body;
            body["server_name"] = json!("zoo");
            body.as_object_mut().unwrap().entry("spec").or_insert_with(pets);
            let made = http.post("/v1/mcp/server", &body).await.expect_status(201).json();
            becomes(&gateway, "zoo", "ok").await;
            let mut client = gateway.mcp();
            client.initialize().await;
            let reply = client.call("zoo-listpets", &json!({}), None).await;
            assert!(
                reply.everything().contains("not allowed") || reply.everything().contains("misconfigured"),
                "{host}: {}",
                reply.everything()
            );
            let id = made["server_id"].as_str().unwrap();
            http.delete(&format!("/v1/mcp/server/{id}"))
                .await
                .expect_status(202);
        }
    }
    assert_eq!(forbidden.connections(), 0, "not one packet");
}

fn with_servers(url: &str) -> Value {
    let mut document = pets();
    document["servers"] = json!([{"url": url}]);
    document
}

#[tokio::test]
async fn s11_redirects_carry_nothing_to_other_origins() {
    let key = Canary::key("zoo");
    let elsewhere = Api::start(|_| Said::json(200, pets().to_string())).await;
    let there = format!("{}/openapi.json", elsewhere.origin());
    let api = Api::start(move |seen| match seen.target.as_str() {
        "/moved.json" | "/pets" => Said::status(302).with_header("location", &there),
        "/pets/1" => Said::status(307).with_header("location", "/other"),
        _ => Said::json(200, pets().to_string()),
    })
    .await;
    let credential = format!("auth_type: bearer_token, authentication_token: {}", key.value());
    let config = format!(
        "mcp_servers:\n  moved: {{spec_path: {origin}/moved.json, url: {origin}, {credential}}}\n  zoo: {{spec_path: {origin}/openapi.json, url: {origin}, {credential}}}\n",
        origin = api.origin()
    );
    let gateway = TestGateway::start(&config).await;
    becomes(&gateway, "moved", "misconfigured").await;
    becomes(&gateway, "zoo", "ok").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    let reply = client.call("zoo-listpets", &json!({}), None).await;
    assert!(
        reply.everything().contains("redirects to another origin"),
        "{}",
        reply.everything()
    );
    api.clear();
    // Within the origin it is followed; a request that changes something is not sent again by a 302.
    assert_ne!(
        call(&gateway, "zoo-getpet", &json!({"petId": "1"})).await["isError"],
        true
    );
    assert_eq!(api.seen().len(), 2);
    api.clear();
    let created = call(&gateway, "zoo-createpet", &json!({"name": "x"})).await;
    assert!(
        created["isError"] == true && text(&created).contains("not followed"),
        "{created}"
    );
    assert_eq!(api.seen().len(), 1);
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
}

#[tokio::test]
async fn s11_the_credential_goes_to_the_api_and_not_to_where_its_document_is() {
    let key = Canary::key("zoo");
    let host = Api::start(|_| Said::json(200, pets().to_string())).await;
    let api = Api::start(|_| Said::json(200, "{}")).await;
    let text = format!(
        "mcp_servers:\n  zoo:\n    spec_path: {}/openapi.json\n    url: {}\n    auth_type: bearer_token\n    authentication_token: {}\n",
        host.origin(),
        api.origin(),
        key.value()
    );
    let gateway = TestGateway::start(&text).await;
    becomes(&gateway, "zoo", "ok").await;
    assert_ne!(call(&gateway, "zoo-listpets", &json!({})).await["isError"], true);
    assert!(api.seen()[0].header("authorization").is_some());
    assert!(
        !host.seen().is_empty()
            && host
                .seen()
                .iter()
                .all(|seen| seen.header("authorization").is_none())
    );
    assert_eq!(
        row(&gateway.client(), "zoo").await["spec_path"],
        format!("{}/openapi.json", host.origin())
    );
}

#[tokio::test]
async fn s24_a_document_is_data() {
    let api = Api::start(|_| Said::json(200, "{}")).await;
    let hostile = "__import__('os').system('touch /tmp/x')\u{202e}${jndi:ldap://x}";
    let document = json!({"openapi": "3.0.0", "info": {"title": hostile, "version": hostile}, "paths": {
        "/a": {"get": {"operationId": hostile, "summary": hostile, "parameters": [{"name": hostile, "in": "query", "schema": {"type": "string", "default": hostile}}]}},
        "/b\r\nX-Evil: 1": {"get": {"operationId": "b"}},
        "/../../admin": {"get": {"operationId": "c"}},
        "/d": {"get": {"operationId": "d", "parameters": [{"name": "X\r\nEvil", "in": "header", "schema": {}}, {"name": "Host", "in": "header", "schema": {}}]}},
        "/e": {"get": {"operationId": "e", "parameters": [{"name": "Host", "in": "header", "schema": {}}, {"name": "Authorization", "in": "header", "schema": {}}]}}}});
    let gateway = gateway(&entry("zoo", &document, &format!("url: {}", api.origin()))).await;
    let listed = names(&gateway).await;
    assert_eq!(listed.len(), 3, "{listed:?}");
    for tool in &listed {
        call(&gateway, tool, &json!({})).await;
    }
    let seen = api.seen();
    let targets: Vec<&str> = seen.iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(targets, ["/a", "/b%0D%0AX-Evil:%201", "/e"]);
    assert!(seen.iter().all(|seen| seen.header("x-evil").is_none()));
    let refused = call(&gateway, &listed[2], &json!({"Host": "evil.example"})).await;
    assert_eq!(refused["isError"], true, "{refused}");
}
