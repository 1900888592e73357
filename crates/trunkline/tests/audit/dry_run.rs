//! What a change would do to the calls that were recorded; and it does nothing.

use serde_json::{Value, json};
use trunkline_testkit::{TestGateway, eventually};

use crate::support::{PATIENCE, Way, generate, post, with};
use crate::world::{World, denied as denied_rows, last, rows, send};

const PATH: &str = "/v1/mcp/policy/dry-run";

async fn tried(gateway: &TestGateway, changes: Value) -> Value {
    post(gateway, PATH, json!({"changes": changes})).await
}

#[tokio::test]
async fn a_dry_run_decides_recorded_calls_again_and_changes_nothing_on_sqlite() {
    tries(World::new().await).await;
}

#[tokio::test]
async fn a_dry_run_decides_recorded_calls_again_and_changes_nothing_on_postgres() {
    if let Some((world, _database)) = World::on_postgres().await {
        tries(world).await;
    }
}

async fn tries(world: World) {
    let gateway = &world.gateway;
    let grant = json!({"mcp_servers": ["files"]});
    post(
        gateway,
        "/team/new",
        json!({"team_id": "t", "object_permission": grant}),
    )
    .await;
    let of_team = generate(
        gateway,
        json!({"key_alias": "a", "team_id": "t", "object_permission": grant}),
    )
    .await;
    let narrow = json!({"mcp_servers": ["files"], "mcp_tool_permissions": {"files": ["nothing"]}});
    let denied = generate(gateway, json!({"key_alias": "b", "object_permission": narrow})).await;
    let call = json!({"name": "files-echo", "arguments": {"message": "hi"}});
    for (made, times) in [(&of_team, 3), (&denied, 2)] {
        for _ in 0..times {
            Way::Bare
                .ask(
                    &with(gateway, made["key"].as_str().unwrap()),
                    None,
                    "tools/call",
                    &call,
                )
                .await;
        }
    }
    eventually("the calls are recorded", PATIENCE, async || {
        tried(gateway, json!([{"team_id": "t", "object_permission": {}}])).await["calls"] == 5
    })
    .await;
    // Those of the denied calls are written a little later than the calls are answered.
    denied_rows(gateway, 2).await;
    let before = last(gateway).await;
    let nothing = tried(gateway, json!([{"team_id": "t", "object_permission": {}}])).await;
    assert_eq!(
        (&nothing["different"], &nothing["complete"], &nothing["hours"]),
        (&json!(0), &json!(true), &json!(24))
    );

    let both = json!([
        {"team_id": "t", "object_permission": {"mcp_servers": ["other"]}},
        {"key": "b", "object_permission": {"mcp_tool_permissions": {"files": ["echo"]}}},
    ]);
    let answer = tried(gateway, both).await;
    assert_eq!(
        (
            &answer["newly_denied"],
            &answer["newly_allowed"],
            &answer["different"]
        ),
        (&json!(3), &json!(2), &json!(2))
    );
    let [first, second] = &answer["differences"].as_array().unwrap()[..] else {
        panic!("{answer}");
    };
    assert_eq!(
        (
            &first["key_alias"],
            &first["tool"],
            &first["server"],
            &first["calls"]
        ),
        (&json!("a"), &json!("echo"), &json!("files"), &json!(3))
    );
    assert_eq!(first["now"], json!({"allowed": true}));
    assert_eq!(
        first["then"],
        json!({"allowed": false, "reason": "no_grant", "level": "team", "rule": "mcp_servers"})
    );
    assert_eq!(
        (&second["now"]["rule"], &second["then"]),
        (&json!("mcp_tool_permissions"), &json!({"allowed": true}))
    );

    of_a_server(gateway).await;

    // Nothing was changed, and nothing is in the log.
    assert_eq!(rows(gateway, before).await, [Value::Null; 0]);
    let (_, reply) = Way::Bare
        .ask(
            &with(gateway, of_team["key"].as_str().unwrap()),
            None,
            "tools/call",
            &call,
        )
        .await;
    assert!(reply["result"].is_object(), "{reply}");
    refused(gateway, of_team["key"].as_str().unwrap()).await;
}

async fn of_a_server(gateway: &TestGateway) {
    let server = tried(
        gateway,
        json!([{"server": "files", "disallowed_tools": ["echo"]}]),
    )
    .await;
    assert_eq!(
        (&server["newly_denied"], &server["newly_allowed"]),
        (&json!(3), &json!(0))
    );
    let listed = post(
        gateway,
        PATH,
        json!({"changes": [{"server": "files", "allowed_tools": ["x"]}], "limit": 1, "hours": 1}),
    )
    .await;
    assert_eq!(
        (
            listed["differences"].as_array().unwrap().len(),
            &listed["newly_denied"]
        ),
        (1, &json!(3))
    );
}

async fn refused(gateway: &TestGateway, plain: &str) {
    let change = json!([{"team_id": "t", "object_permission": {}}]);
    for (body, status) in [
        (json!({}), 422),
        (json!({"changes": []}), 422),
        (json!({"changes": change, "nonsense": 1}), 422),
        (json!({"changes": change, "hours": 0}), 422),
        (json!({"changes": change, "limit": "x"}), 422),
        (json!({"changes": [{"team_id": "t"}]}), 422),
        (
            json!({"changes": [{"team_id": "t", "user_id": "u", "object_permission": {}}]}),
            422,
        ),
        (json!({"changes": [{"server": "files"}]}), 422),
        (json!({"changes": [{"server": "files", "url": "x"}]}), 422),
        (
            json!({"changes": [{"key": "a", "object_permission": {"nonsense": 1}}]}),
            422,
        ),
        (
            json!({"changes": [{"team_id": "nobody", "object_permission": {}}]}),
            404,
        ),
        (
            json!({"changes": [{"key": "nobody", "object_permission": {}}]}),
            404,
        ),
        (
            json!({"changes": [{"server": "nobody", "allowed_tools": null}]}),
            404,
        ),
    ] {
        let reply = send(&gateway.client(), "POST", PATH, &body).await;
        assert_eq!(reply.status.as_u16(), status, "{body}: {}", reply.text());
    }
    let body = json!({"changes": change});
    send(&with(gateway, plain), "POST", PATH, &body)
        .await
        .expect_status(403);
    gateway.anonymous().post(PATH, &body).await.expect_status(401);
}
