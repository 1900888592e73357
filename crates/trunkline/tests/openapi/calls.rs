//! What is sent, and what becomes of the answers.

use serde_json::{Value, json};
use trunkline_testkit::{Canary, Said};

use crate::support::{Api, Seen, becomes, call, entry, gateway, modern, names, pets, text};

fn answer(seen: &Seen) -> Said {
    match (seen.method.as_str(), seen.target.split('?').next().unwrap()) {
        ("GET", "/v1/pets") => Said::json(200, r#"[{"id":1,"name":"Tom"}]"#),
        ("POST", "/v1/pets") => Said::json(201, r#"{"id":2}"#),
        ("GET", "/v1/pets/1") => Said::json(200, r#"{"id":1,"name":null,"weight":4.50}"#),
        ("DELETE", _) => Said::status(204),
        _ => Said::json(404, r#"{"message":"no such pet"}"#),
    }
}

#[tokio::test]
async fn b67_clients_of_both_eras_list_and_call() {
    let api = Api::start(answer).await;
    let gateway = gateway(&entry("zoo", &pets(), &format!("url: {}/v1", api.origin()))).await;
    assert_eq!(
        names(&gateway).await,
        ["zoo-listpets", "zoo-createpet", "zoo-getpet", "zoo-deletepet"]
    );
    let http = gateway.client();
    let listed = modern(&http, "/mcp", "tools/list", json!({})).await.result();
    let tools = listed["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 4);
    assert_eq!(tools[0]["annotations"]["readOnlyHint"], true);
    assert_eq!(tools[3]["annotations"]["destructiveHint"], true);
    assert_eq!(tools[2]["outputSchema"]["type"], "object");
    let properties = &tools[1]["inputSchema"]["properties"];
    assert!(
        properties["name"].is_object() && properties["id"].is_null(),
        "{properties}"
    );
    api.clear();

    // A falsy value is a value; a list is wrapped for clients that know no other structure.
    let pets = call(&gateway, "zoo-listpets", &json!({"limit": 0, "X-Trace": ""})).await;
    assert_eq!(text(&pets), r#"[{"id":1,"name":"Tom"}]"#);
    assert_eq!(
        pets["structuredContent"],
        json!({"result": [{"id": 1, "name": "Tom"}]})
    );
    let params = json!({"name": "zoo-listpets", "arguments": {"limit": 5}});
    let pets = modern(&http, "/mcp", "tools/call", params).await.result();
    assert_eq!(pets["structuredContent"], json!([{"id": 1, "name": "Tom"}]));
    let seen = api.seen();
    assert_eq!(
        (seen[0].target.as_str(), seen[0].header("x-trace")),
        ("/v1/pets?limit=0", Some(""))
    );
    assert_eq!(seen[1].target, "/v1/pets?limit=5");
    assert!(
        seen[0].header("mcp-protocol-version").is_none(),
        "an API is told nothing of MCP: {seen:?}"
    );
    assert!(seen[0].header("accept").unwrap().starts_with("application/json"));

    // Numbers keep their spelling; what the document says of an answer is no reason to refuse it.
    let pet = call(&gateway, "zoo-getpet", &json!({"petId": "1"})).await;
    assert_eq!(text(&pet), r#"{"id":1,"name":null,"weight":4.50}"#);
    assert_eq!(pet["structuredContent"]["name"], Value::Null);
    api.clear();
    call(&gateway, "zoo-createpet", &json!({"name": "", "age": 0})).await;
    let seen = api.seen();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].header("content-type")),
        ("POST", Some("application/json"))
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&seen[0].body).unwrap(),
        json!({"name": "", "age": 0})
    );
    let gone = call(&gateway, "zoo-deletepet", &json!({"petId": "a/b c"})).await;
    assert_eq!(text(&gone), "HTTP 204: no content");
    assert_eq!(api.seen()[1].target, "/v1/pets/a%2Fb%20c");
}

#[tokio::test]
async fn an_error_keeps_its_status_and_words_and_loses_secrets() {
    let key = Canary::key("zoo");
    let repeated = format!(r#"{{"message":"no pet for {}"}}"#, key.value());
    let api = Api::start(move |_| Said::json(404, repeated.clone())).await;
    let more = format!(
        "url: {}\nauth_type: bearer_token\nauthentication_token: {}",
        api.origin(),
        key.value()
    );
    let gateway = gateway(&entry("zoo", &pets(), &more)).await;
    let missing = call(&gateway, "zoo-getpet", &json!({"petId": "9"})).await;
    assert_eq!(missing["isError"], true);
    assert_eq!(
        text(&missing),
        r#"HTTP 404 (Not Found): {"message":"no pet for [redacted]"}"#
    );
    assert_eq!(
        api.seen()[0].header("authorization"),
        Some(format!("Bearer {}", key.value()).as_str())
    );
    // Mistakes that a model can mend are said to it, and nothing is sent.
    for (arguments, words) in [
        (json!({}), "missing: petId"),
        (json!({"petId": "1", "id": 1}), "no argument \"id\""),
    ] {
        let result = call(&gateway, "zoo-getpet", &arguments).await;
        assert!(
            result["isError"] == true && text(&result).contains(words),
            "{result}"
        );
    }
    assert_eq!(api.seen().len(), 1);
    key.assert_absent(&[("the log", gateway.log())]);
}

#[tokio::test]
async fn b69_health_is_that_of_real_use() {
    let wrong = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = wrong.clone();
    let api = Api::start(move |seen| {
        if seen.target == "/" {
            return Said::status(405);
        }
        if flag.load(std::sync::atomic::Ordering::Relaxed) {
            return Said::json(401, r#"{"error":"bad key"}"#);
        }
        Said::json(200, "{}")
    })
    .await;
    let mut document = pets();
    document["components"] = json!({"securitySchemes": {"k": {"type": "http", "scheme": "bearer"}}});
    let gateway = gateway(&entry("zoo", &document, &format!("url: {}", api.origin()))).await;
    becomes(&gateway, "zoo", "ok").await;
    let health = gateway
        .client()
        .get("/v1/mcp/server/health")
        .await
        .expect_status(200)
        .json();
    assert_eq!(health[0]["status"], "healthy", "{health}");
    assert!(
        api.seen().is_empty(),
        "nothing is asked only to see whether it answers: {:?}",
        api.seen()
    );
    call(&gateway, "zoo-listpets", &json!({})).await;

    wrong.store(true, std::sync::atomic::Ordering::Relaxed);
    let refused = call(&gateway, "zoo-listpets", &json!({})).await;
    assert!(
        refused["isError"] == true && text(&refused).contains("bad key"),
        "{refused}"
    );
    let outcome = becomes(&gateway, "zoo", "auth_required").await;
    assert_eq!(
        (&outcome["step"], &outcome["http_status"]),
        (&json!("call"), &json!(401))
    );
    assert!(
        outcome["hint"].as_str().unwrap().contains("bearer_token"),
        "{outcome}"
    );
    assert_eq!(
        names(&gateway).await.len(),
        4,
        "the tools are still there to be tried"
    );
    wrong.store(false, std::sync::atomic::Ordering::Relaxed);
    call(&gateway, "zoo-listpets", &json!({})).await;
    becomes(&gateway, "zoo", "ok").await;
}

#[tokio::test]
async fn an_api_key_goes_where_the_document_wants_it() {
    let key = Canary::key("key");
    for (scheme, more, expected) in [
        (
            json!({"type": "apiKey", "in": "header", "name": "X-Zoo-Key"}),
            "",
            "header x-zoo-key",
        ),
        (
            json!({"type": "apiKey", "in": "query", "name": "zoo key"}),
            "",
            "query",
        ),
        (
            json!({"type": "apiKey", "in": "cookie", "name": "zoo"}),
            "",
            "header cookie",
        ),
        (
            json!({"type": "http", "scheme": "bearer"}),
            "",
            "header x-api-key",
        ),
        (
            json!({"type": "apiKey", "in": "query", "name": "zoo"}),
            "static_headers: {X-API-Key: on-purpose}",
            "static",
        ),
    ] {
        let api = Api::start(|_| Said::json(200, "{}")).await;
        let mut document = pets();
        document["components"] = json!({"securitySchemes": {"k": scheme}});
        document["security"] = json!([{"k": []}]);
        let more = format!(
            "url: {}\nauth_type: api_key\nauthentication_token: {}\n{more}",
            api.origin(),
            key.value()
        );
        let gateway = gateway(&entry("zoo", &document, &more)).await;
        call(&gateway, "zoo-listpets", &json!({"limit": 1})).await;
        let seen = api.seen().remove(0);
        let held: Vec<&str> = seen
            .headers
            .iter()
            .filter(|(_, value)| value.contains(key.value()))
            .map(|(name, _)| name.as_str())
            .collect();
        match expected.strip_prefix("header ") {
            Some(name) => assert_eq!(
                (held, seen.target.as_str()),
                (vec![name], "/pets?limit=1"),
                "{scheme}"
            ),
            None if expected == "query" => {
                assert!(held.is_empty());
                assert_eq!(seen.target, format!("/pets?limit=1&zoo%20key={}", key.value()));
            }
            None => assert_eq!((held.len(), seen.header("x-api-key")), (0, Some("on-purpose"))),
        }
        key.assert_absent(&[("the log", gateway.log())]);
    }
}

#[tokio::test]
async fn clients_headers_reach_the_api_as_they_reach_any_server() {
    let api = Api::start(|_| Said::json(200, "{}")).await;
    let more = format!(
        "url: {}\nextra_headers: [x-tenant]\nstatic_headers: {{X-Fixed: f}}",
        api.origin()
    );
    let gateway = gateway(&entry("zoo", &pets(), &more)).await;
    let mut client = gateway
        .mcp()
        .with_header("x-tenant", "t")
        .with_header("x-mcp-zoo-authorization", "Bearer own");
    client.initialize().await;
    let result = client
        .call("zoo-listpets", &json!({"X-Trace": "from the model"}), None)
        .await
        .result();
    assert_ne!(result["isError"], true, "{result}");
    let seen = api.seen().remove(0);
    for (name, value) in [
        ("x-tenant", "t"),
        ("x-fixed", "f"),
        ("authorization", "Bearer own"),
        ("x-trace", "from the model"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn filters_choose_operations() {
    let filter = "openapi: {include: {tags: [read, write]}, exclude: {methods: [delete], paths: ['/pets/*/x'], operations: ['create*']}}";
    let gateway = gateway(&entry(
        "zoo",
        &pets(),
        &format!("url: http://127.0.0.1:9\n{filter}"),
    ))
    .await;
    assert_eq!(names(&gateway).await, ["zoo-listpets", "zoo-getpet"]);
    let unknown = gateway
        .client()
        .post("/v1/mcp/server", &json!({"server_name": "bad", "spec": pets(), "url": "http://127.0.0.1:9", "openapi": {"include": {"tag": []}}}))
        .await
        .expect_status(422);
    assert!(unknown.text().contains("tags"), "{}", unknown.text());
}
