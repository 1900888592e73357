//! Documents that change, break, move; and what people are told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline_testkit::{Said, TestGateway, eventually};

use crate::support::{Api, PATIENCE, becomes, call, entry, gateway, names, pets, row};

/// A file that is replaced as editors do it.
fn write(path: &std::path::Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

fn without(mut document: Value, path: &str) -> Value {
    document["paths"].as_object_mut().unwrap().remove(path);
    document
}

async fn has(gateway: &TestGateway, expected: usize) {
    eventually(&format!("{expected} tools"), PATIENCE, async || {
        names(gateway).await.len() == expected
    })
    .await;
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_kept_while_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zoo.yaml");
    write(&path, &without(pets(), "/pets/{petId}").to_string());
    let api = Api::start(|_| Said::json(200, "{}")).await;
    let text = format!(
        "mcp_servers:\n  zoo:\n    spec_path: {}\n    url: {}\n",
        path.display(),
        api.origin()
    );
    let gateway = TestGateway::start(&text).await;
    becomes(&gateway, "zoo", "ok").await;
    let mut client = gateway.mcp();
    client.initialize().await;
    assert_eq!(client.tool_names().await.len(), 2);
    let mut stream = client.get_stream().await;

    write(&path, &pets().to_string());
    let changed = stream.expect_next(PATIENCE).await;
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    assert_eq!(client.tool_names().await.len(), 4);

    write(&path, "openapi: 3.0.0\npaths: [");
    let outcome = becomes(&gateway, "zoo", "protocol_error").await;
    assert_eq!(outcome["step"], "parse");
    assert!(
        outcome["message"]
            .as_str()
            .unwrap()
            .contains("last good document"),
        "{outcome}"
    );
    assert_eq!(
        names(&gateway).await.len(),
        4,
        "the tools of the last good one stay"
    );
    assert_ne!(call(&gateway, "zoo-listpets", &json!({})).await["isError"], true);

    write(&path, &without(pets(), "/pets").to_string());
    becomes(&gateway, "zoo", "ok").await;
    has(&gateway, 2).await;
}

#[tokio::test]
async fn a_path_is_relative_to_the_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zoo.json"), pets().to_string()).unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(
        &config,
        "mcp_servers:\n  zoo: {spec_path: zoo.json, url: 'http://127.0.0.1:9'}\n",
    )
    .unwrap();
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let (config, data) = (config.to_str().unwrap(), gateway.data_dir());
    let output = gateway
        .run(&[
            "doctor",
            "--config",
            config,
            "--data-dir",
            data.to_str().unwrap(),
            "zoo",
        ])
        .await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && printed.contains("=> ok, 4 tools"),
        "{printed}"
    );
}

/// Nothing of it changes with the description: not even a document whose place is away is asked for again.
#[tokio::test]
async fn an_edit_of_the_description_keeps_the_document() {
    let is_away = Arc::new(AtomicBool::new(false));
    let away = is_away.clone();
    let api = Api::start(move |seen| match seen.target.as_str() {
        "/openapi.json" if away.load(Ordering::SeqCst) => Said::json(503, "{}"),
        "/openapi.json" => Said::json(200, pets().to_string()),
        _ => Said::json(200, "{}"),
    })
    .await;
    let gateway = TestGateway::start("").await;
    let http = gateway.client();
    let body = json!({"server_name": "zoo", "spec_path": format!("{}/openapi.json", api.origin()), "url": api.origin()});
    let made = http.post("/v1/mcp/server", &body).await.expect_status(201).json();
    becomes(&gateway, "zoo", "ok").await;
    is_away.store(true, Ordering::SeqCst);
    api.clear();
    let edit = json!({"server_id": made["server_id"], "description": "another text"});
    http.put("/v1/mcp/server", &edit).await.expect_status(202);
    assert_eq!(names(&gateway).await.len(), 4);
    assert_ne!(call(&gateway, "zoo-listpets", &json!({})).await["isError"], true);
    let targets: Vec<String> = api.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/pets"]);

    // Which operations are tools is another matter: then it is read anew, or said that it cannot be.
    let edit = json!({"server_id": made["server_id"], "openapi": {"include": {"tags": ["read"]}}});
    http.put("/v1/mcp/server", &edit).await.expect_status(202);
    becomes(&gateway, "zoo", "upstream_error").await;
    is_away.store(false, Ordering::SeqCst);
    becomes(&gateway, "zoo", "ok").await;
    has(&gateway, 2).await;
}

#[tokio::test]
async fn doctor_shows_the_document_and_what_it_makes() {
    let mut document = pets();
    document["paths"]["/broken"] =
        json!({"get": {"operationId": "broken", "parameters": [{"$ref": "#/nowhere"}]}});
    document["components"] =
        json!({"securitySchemes": {"k": {"type": "apiKey", "in": "header", "name": "X-Zoo"}}});
    let api = {
        let text = document.to_string();
        Api::start(move |_| Said::json(200, text.clone())).await
    };
    let text = format!(
        "mcp_servers:\n  zoo:\n    spec_path: {}/openapi.json\n",
        api.origin()
    );
    let gateway = TestGateway::start(&text).await;
    becomes(&gateway, "zoo", "ok").await;
    let trace = gateway
        .client()
        .post(
            "/mcp-rest/test/tools/list",
            &json!({"spec_path": format!("{}/openapi.json", api.origin())}),
        )
        .await
        .expect_status(200)
        .json();
    let steps: Vec<&str> = trace["trace"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(
        steps,
        ["configuration", "dns", "tcp", "document", "parse", "list"],
        "{trace}"
    );
    let parse = trace["trace"][4]["detail"].as_str().unwrap();
    assert!(
        parse.contains("OpenAPI 3.0, 5 operations, 4 tools, 1 left out with reasons"),
        "{parse}"
    );
    assert_eq!(trace["outcome"]["rejected"][0]["name"], "broken");
    let hint = trace["outcome"]["hint"].as_str().unwrap();
    assert!(hint.contains("X-Zoo") && hint.contains("api_key"), "{hint}");
    let outcome = row(&gateway.client(), "zoo").await["outcome"].clone();
    assert!(
        outcome["rejected"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("leads nowhere"),
        "{outcome}"
    );
    assert!(
        api.seen().iter().all(|seen| seen.target == "/openapi.json"),
        "{:?}",
        api.seen()
    );
}

#[tokio::test]
async fn mistakes_of_documents_have_a_place_and_advice() {
    for (text, words) in [
        ("<html>", "HTML"),
        ("{}", "neither `openapi` nor `swagger`"),
        (r#"{"openapi":"3.0.0","paths":[]}"#, "(at #/paths)"),
        (r#"{"swagger":"1.2"}"#, "(at #/swagger)"),
    ] {
        let api = Api::start(move |_| Said::json(200, text)).await;
        let found = gateway_of(&format!("{}/a.json", api.origin())).await;
        let outcome = becomes(&found, "zoo", "protocol_error").await;
        assert_eq!(outcome["step"], "parse");
        assert!(outcome["message"].as_str().unwrap().contains(words), "{outcome}");
        assert!(
            outcome["hint"].as_str().unwrap().contains("mend the document"),
            "{outcome}"
        );
    }
    let api = Api::start(|_| Said::status(404)).await;
    let found = gateway_of(&format!("{}/a.json", api.origin())).await;
    let outcome = becomes(&found, "zoo", "misconfigured").await;
    assert_eq!(
        (&outcome["step"], &outcome["http_status"]),
        (&json!("document"), &json!(404))
    );
}

async fn gateway_of(spec_path: &str) -> TestGateway {
    TestGateway::start(&format!("mcp_servers:\n  zoo:\n    spec_path: {spec_path}\n")).await
}

#[tokio::test]
async fn documents_through_the_api_are_urls_or_the_document_itself() {
    let api = Api::start(|seen| match seen.target.as_str() {
        "/openapi.json" => Said::json(200, pets().to_string()),
        _ => Said::json(200, "{}"),
    })
    .await;
    let gateway = TestGateway::start("mcp_servers: {}\n").await;
    let http = gateway.client();
    let body = json!({"server_name": "web", "spec_path": format!("{}/openapi.json", api.origin()), "transport": "http"});
    http.post("/v1/mcp/server", &body).await.expect_status(201);
    becomes(&gateway, "web", "ok").await;
    let body = json!({"server_name": "own", "spec": pets(), "url": api.origin(), "openapi": {"include": {"tags": ["read"]}}});
    let made = http.post("/v1/mcp/server", &body).await.expect_status(201).json();
    becomes(&gateway, "own", "ok").await;
    assert_eq!(names(&gateway).await.len(), 6);
    // The address of the API is that of the document where nothing else is said.
    api.clear();
    assert_ne!(call(&gateway, "web-listpets", &json!({})).await["isError"], true);
    assert_eq!(api.seen()[0].target, "/pets");
    let id = made["server_id"].as_str().unwrap();
    http.put("/v1/mcp/server", &json!({"server_id": id, "openapi": null}))
        .await
        .expect_status(202);
    eventually("the filter is gone", PATIENCE, async || {
        names(&gateway).await.len() == 8
    })
    .await;
    let both = json!({"server_name": "both", "spec": pets(), "spec_path": "http://x.example/a"});
    http.post("/v1/mcp/server", &both).await.expect_status(400);
}

#[tokio::test]
async fn a_document_is_fetched_once_however_many_wait_and_only_its_change_is_sent() {
    let fetched = Arc::new(AtomicUsize::new(0));
    let text = Arc::new(Mutex::new(pets().to_string()));
    let (count, current) = (fetched.clone(), text.clone());
    let api = Api::start(move |seen| {
        if seen.target != "/openapi.json" {
            return Said::json(200, "{}");
        }
        count.fetch_add(1, Ordering::Relaxed);
        Said::json(200, current.lock().unwrap().clone()).with_header("etag", "\"1\"")
    })
    .await;
    let gateway = gateway_of(&format!("{}/openapi.json", api.origin())).await;
    becomes(&gateway, "zoo", "ok").await;
    let clients = (0..8).map(|_| names(&gateway));
    let listed = futures_util::future::join_all(clients).await;
    assert!(listed.iter().all(|names| names.len() == 4));
    for _ in 0..4 {
        call(&gateway, "zoo-listpets", &json!({})).await;
    }
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
    drop(text);
}

#[tokio::test]
async fn a_server_without_an_address_says_so() {
    let gateway = gateway(&entry("zoo", &pets(), "")).await;
    let outcome = becomes(&gateway, "zoo", "misconfigured").await;
    assert!(outcome["hint"].as_str().unwrap().contains("set url"), "{outcome}");
    let named = gateway_named(&json!([{"url": "http://127.0.0.1:9/v1"}])).await;
    becomes(&named, "zoo", "ok").await;
    let mut client = named.mcp();
    client.initialize().await;
    let reply = client.call("zoo-listpets", &json!({}), None).await;
    assert!(
        reply.everything().contains("unreachable"),
        "{}",
        reply.everything()
    );
    becomes(&named, "zoo", "unreachable").await;
}

async fn gateway_named(servers: &Value) -> TestGateway {
    let mut document = pets();
    document["servers"] = servers.clone();
    gateway(&entry("zoo", &document, "")).await
}
