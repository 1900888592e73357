//! What rows say of a change, what the log is asked, and that rows and changes are one thing when the gateway is killed.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{ScratchDatabase, TestGateway};

use crate::support::{generate, post, with};
use crate::world::{World, last, rows, send};

/// The row that was written after one.
async fn row_after(gateway: &TestGateway, before: u64) -> Value {
    let mut rows = rows(gateway, before).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

#[tokio::test]
async fn a_row_has_what_was_there_before_and_after() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let made = generate(
        gateway,
        json!({"key_alias": "one", "object_permission": {"mcp_servers": ["files"]}}),
    )
    .await;
    let (key, hash) = (&made["key"], &made["token"]);
    let before = last(gateway).await;
    post(
        gateway,
        "/key/update",
        json!({"key": key, "key_alias": "two", "duration": "30d"}),
    )
    .await;
    let row = row_after(gateway, before).await;
    assert_eq!(row["before_value"], json!({"key_alias": "one", "expires": null}));
    assert_eq!(row["updated_values"]["key_alias"], "two");
    assert!(
        row["updated_values"]["expires"].as_str().unwrap().ends_with('Z'),
        "{row}"
    );

    let before = last(gateway).await;
    let permission = json!({"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["echo"]}});
    post(
        gateway,
        "/key/update",
        json!({"key": key, "object_permission": permission}),
    )
    .await;
    let row = row_after(gateway, before).await;
    let of = |side: &str| row[side]["object_permission"]["mcp_tool_permissions"].clone();
    assert_eq!(
        (of("before_value"), of("updated_values")),
        (json!({}), json!({"files": ["echo"]}))
    );

    let before = last(gateway).await;
    post(gateway, "/key/block", json!({"key": key})).await;
    let row = row_after(gateway, before).await;
    assert_eq!(
        (&row["before_value"], &row["updated_values"]),
        (&json!({"blocked": false}), &json!({"blocked": true}))
    );

    let before = last(gateway).await;
    let renewed = post(gateway, "/key/regenerate", json!({"key": key})).await;
    let row = row_after(gateway, before).await;
    assert_eq!((&row["object_id"], &row["before_value"]["token"]), (hash, hash));
    assert_eq!(row["updated_values"]["token"], renewed["token"]);

    let before = last(gateway).await;
    post(gateway, "/key/delete", json!({"key_aliases": ["two"]})).await;
    let row = row_after(gateway, before).await;
    assert_eq!(
        (&row["before_value"]["key_alias"], &row["updated_values"]),
        (&json!("two"), &Value::Null)
    );

    // A refused change leaves none, and several objects leave one each.
    let before = last(gateway).await;
    send(
        &gateway.client(),
        "POST",
        "/key/update",
        &json!({"key": hash, "key_alias": "x"}),
    )
    .await
    .expect_status(404);
    send(
        &gateway.client(),
        "POST",
        "/key/generate",
        &json!({"nonsense": 1}),
    )
    .await
    .expect_status(422);
    assert_eq!(rows(gateway, before).await, [Value::Null; 0]);
    post(
        gateway,
        "/team/new",
        json!({"team_id": "t", "members_with_roles": [{"user_id": "m"}]}),
    )
    .await;
    let made = rows(gateway, before).await;
    let tables: Vec<_> = made
        .iter()
        .map(|row| row["table_name"].as_str().unwrap())
        .collect();
    assert_eq!(tables, ["LiteLLM_UserTable", "LiteLLM_TeamTable"]);
}

#[tokio::test]
async fn who_it_was_is_the_user_and_the_key_and_not_what_the_caller_says() {
    let world = World::new().await;
    let gateway = &world.gateway;
    post(
        gateway,
        "/user/new",
        json!({"user_id": "boss", "user_role": "proxy_admin", "auto_create_key": false}),
    )
    .await;
    let made = generate(gateway, json!({"user_id": "boss"})).await;
    let before = last(gateway).await;
    let boss =
        with(gateway, made["key"].as_str().unwrap()).with_header("litellm-changed-by", "somebody else");
    send(&boss, "POST", "/team/new", &json!({"team_id": "t"}))
        .await
        .expect_status(200);
    let row = row_after(gateway, before).await;
    assert_eq!(
        (&row["changed_by"], &row["changed_by_api_key"], &row["claimed_by"]),
        (&json!("boss"), &made["token"], &json!("somebody else"))
    );
}

#[tokio::test]
async fn the_log_is_asked_as_litellms_and_only_by_who_may_see_it() {
    let world = World::new().await;
    let gateway = &world.gateway;
    for n in 0..12 {
        post(gateway, "/team/new", json!({"team_id": format!("t{n}")})).await;
    }
    post(gateway, "/team/block", json!({"team_id": "t3"})).await;
    let get = async |query: &str| {
        let path = format!("/audit{query}");
        gateway.client().get(&path).await.expect_status(200).json()
    };
    let first = get("").await;
    assert_eq!(
        (
            &first["total"],
            &first["page"],
            &first["page_size"],
            &first["total_pages"]
        ),
        (&json!(13), &json!(1), &json!(10), &json!(2))
    );
    assert_eq!(first["audit_logs"][0]["action"], "blocked", "newest first");
    assert_eq!(get("?page=2").await["audit_logs"].as_array().unwrap().len(), 3);
    let of = async |query: &str| {
        let page = get(query).await;
        let rows = page["audit_logs"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| row["object_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("?object_id=t3").await, ["t3", "t3"]);
    assert_eq!(of("?action=blocked&table_name=LiteLLM_TeamTable").await, ["t3"]);
    assert_eq!(of("?changed_by=nobody").await, [""; 0]);
    assert_eq!(
        of("?sort_by=object_id&sort_order=asc&page_size=2").await,
        ["t0", "t1"]
    );
    assert_eq!(of("?end_date=2020-01-01").await, [""; 0]);
    assert_eq!(
        of("?start_date=2020-01-01&sort_order=asc&page_size=1").await,
        ["t0"]
    );
    for wrong in [
        "?nonsense=1",
        "?sort_by=seq",
        "?sort_order=up",
        "?page=0",
        "?page_size=1000",
        "?start_date=soon",
    ] {
        gateway
            .client()
            .get(&format!("/audit{wrong}"))
            .await
            .expect_status(422);
    }
    gateway
        .client()
        .get("/audit/export?after=x")
        .await
        .expect_status(422);
    gateway
        .client()
        .get("/audit/export?page=1")
        .await
        .expect_status(422);
    for nobody in ["/audit/999", "/audit/x"] {
        gateway.client().get(nobody).await.expect_status(404);
    }
    post(
        gateway,
        "/user/new",
        json!({"user_id": "v", "user_role": "proxy_admin_viewer", "auto_create_key": false}),
    )
    .await;
    let viewer = generate(gateway, json!({"user_id": "v"})).await;
    let plain = generate(gateway, json!({})).await;
    for path in ["/audit", "/audit/1", "/audit/export"] {
        let of = |made: &Value| with(gateway, made["key"].as_str().unwrap());
        of(&viewer).get(path).await.expect_status(200);
        of(&plain).get(path).await.expect_status(403);
        gateway.anonymous().get(path).await.expect_status(401);
    }
    // Nothing of the API changes or deletes a row.
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for path in ["/audit", "/audit/1", "/audit/export"] {
            send(&gateway.client(), method, path, &json!({}))
                .await
                .expect_status(405);
        }
    }
}

#[tokio::test]
async fn rows_are_changes_after_kill_9_on_sqlite() {
    let (mut world, folder) = (None, tempfile::tempdir().unwrap());
    let builder = TestGateway::builder().data_dir(folder.path());
    killed(world.insert(World::of(builder).await)).await;
}

#[tokio::test]
async fn rows_are_changes_after_kill_9_on_postgres() {
    if let Some(database) = ScratchDatabase::create() {
        let folder = tempfile::tempdir().unwrap();
        let builder = TestGateway::builder()
            .data_dir(folder.path())
            .database_url(&database.url());
        killed(&mut World::of(builder).await).await;
    }
}

async fn killed(world: &mut World) {
    for round in 0..4 {
        let http = world.gateway.client();
        let answered = Cell::new(0_u32);
        let writer = async |name: &str| {
            for n in 0.. {
                let body = json!({"key_alias": format!("{round}{name}{n}")});
                let request = axum::http::Request::builder()
                    .method("POST")
                    .uri("/key/generate")
                    .header("content-type", "application/json")
                    .body(axum::body::Bytes::from(body.to_string()))
                    .unwrap();
                if http.try_send(request).await.is_err() {
                    return;
                }
                answered.set(answered.get() + 1);
            }
        };
        let kill = async {
            // In the middle of it, however slow the machine is.
            while answered.get() < 4 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(300 + 170 * round)).await;
        };
        tokio::select! {
            () = async { tokio::join!(writer("a"), writer("b"), writer("c")); } => panic!("the writers ended"),
            () = kill => {}
        }
        world.gateway.kill9().await;
        world.gateway.restart().await;
        let made: BTreeSet<String> = rows(&world.gateway, 0)
            .await
            .iter()
            .map(|row| row["object_id"].to_string())
            .collect();
        let mut keys = BTreeSet::new();
        for page in 1.. {
            let path = format!("/key/list?size=100&page={page}");
            let answer = world.gateway.client().get(&path).await.expect_status(200).json();
            let found = answer["keys"].as_array().unwrap().clone();
            if found.is_empty() {
                break;
            }
            keys.extend(found.iter().map(Value::to_string));
        }
        assert_eq!(made, keys);
        assert!(keys.len() > usize::try_from(round).unwrap() * 3, "{}", keys.len());
    }
}
