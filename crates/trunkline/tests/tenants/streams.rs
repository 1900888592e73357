//! What stays open ends with the team that is blocked, and with whom it is for; a changed list of either is told.

use std::time::Duration;

use serde_json::json;
use trunkline_testkit::{EventStream, HttpClient, McpClient, TestGateway};

use crate::support::{MODERN, PATIENCE, key, post, with};
use crate::world::World;

/// From the answer to the change to its effect.
const SOON: Duration = Duration::from_secs(1);

async fn standing(http: HttpClient) -> EventStream {
    let mut client = McpClient::over(http, "/mcp");
    client.initialize().await;
    let stream = client.get_stream().await;
    assert_eq!(stream.status(), 200);
    stream
}

/// `subscriptions/listen` of the new era.
async fn subscription(http: HttpClient) -> EventStream {
    let http = http
        .with_header("mcp-protocol-version", MODERN)
        .with_header("mcp-method", "subscriptions/listen");
    let params = json!({
        "notifications": {"toolsListChanged": true},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let mut stream = McpClient::over(http, "/mcp")
        .open("subscriptions/listen", &params)
        .await;
    let first = stream.expect_next(PATIENCE).await;
    assert_eq!(
        first["method"], "notifications/subscriptions/acknowledged",
        "{first}"
    );
    stream
}

async fn ends(what: &str, streams: Vec<EventStream>) {
    for stream in streams {
        let rest = tokio::time::timeout(SOON, stream.rest()).await;
        let (_, broken) = rest.unwrap_or_else(|_| panic!("{what}: the stream ends within a second"));
        assert!(broken.is_none(), "{what}: in order: {broken:?}");
    }
}

async fn told(streams: &mut [EventStream]) {
    for stream in streams {
        let told = stream.expect_next(SOON).await;
        assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    }
}

async fn quiet(stream: &mut EventStream) {
    let quiet = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

async fn make_team(gateway: &TestGateway) {
    let team = json!({"team_id": "t", "object_permission": {"mcp_servers": ["files"]}});
    post(gateway, "/team/new", team).await;
}

#[tokio::test]
async fn s21_b28_the_streams_of_a_teams_keys_follow_it_and_end_when_it_is_blocked() {
    let world = World::new().await;
    let gateway = &world.gateway;
    make_team(gateway).await;
    let mine = with(gateway, &world.team_key("t").await);
    let other = with(gateway, &key(gateway, json!({"mcp_servers": ["files"]})).await);
    let mut others = standing(other).await;
    let mut streams = vec![standing(mine.clone()).await, subscription(mine.clone()).await];
    let change = json!({"team_id": "t", "object_permission": {"mcp_servers": ["files", "notes"]}});
    post(gateway, "/team/update", change).await;
    told(&mut streams).await;
    post(gateway, "/team/block", json!({"team_id": "t"})).await;
    ends("a blocked team", streams).await;
    assert_eq!(mine.get("/mcp-rest/tools/list").await.status, 401);
    post(gateway, "/team/unblock", json!({"team_id": "t"})).await;
    let streams = vec![standing(mine.clone()).await, subscription(mine).await];
    post(gateway, "/team/delete", json!({"team_ids": ["t"]})).await;
    ends("a deleted team", streams).await;
    quiet(&mut others).await;
}

#[tokio::test]
async fn s21_b28_streams_for_an_end_user_follow_it_and_end_when_it_is_blocked() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let key = key(gateway, json!({"mcp_servers": ["files", "notes"]})).await;
    let http = with(gateway, &key);
    let for_one = |http: &HttpClient| http.clone().with_header("x-litellm-end-user-id", "c");
    let mut others = standing(http.clone()).await;
    let mut streams = vec![
        standing(for_one(&http)).await,
        subscription(for_one(&http)).await,
        standing(for_one(&gateway.client())).await,
    ];
    // A label becomes somebody who has less.
    let body = json!({"user_id": "c", "object_permission": {"mcp_servers": ["files"]}});
    post(gateway, "/customer/new", body).await;
    told(&mut streams).await;
    post(gateway, "/customer/block", json!({"user_ids": ["c"]})).await;
    ends("a blocked end user", streams).await;
    quiet(&mut others).await;
}
