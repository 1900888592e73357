//! The export: lines of JSON, whole, in order, read on where it ended.

use serde_json::{Value, json};

use crate::support::{Way, generate, key, post, with};
use crate::world::{World, denied, rows};

#[tokio::test]
async fn an_export_is_complete_while_rows_are_added_on_sqlite() {
    complete(World::new().await).await;
}

#[tokio::test]
async fn an_export_is_complete_while_rows_are_added_on_postgres() {
    if let Some((world, _database)) = World::on_postgres().await {
        complete(world).await;
    }
}

async fn complete(world: World) {
    const KEYS: usize = 130;
    let gateway = &world.gateway;
    let plain = key(gateway, json!({})).await;
    let write = async {
        for n in 0..KEYS {
            generate(gateway, json!({"key_alias": n.to_string()})).await;
            if n % 4 == 0 {
                with(gateway, &plain).get("/audit").await.expect_status(403);
            }
        }
    };
    let expected = 1 + KEYS + KEYS.div_ceil(4);
    let read = async {
        let mut seen: Vec<Value> = Vec::new();
        while seen.len() < expected {
            let after = seen
                .last()
                .map_or(0, |row| row["id"].as_str().unwrap().parse().unwrap());
            seen.extend(rows(gateway, after).await);
        }
        seen
    };
    let ((), seen) = tokio::join!(write, read);
    // In parts that were read while others wrote, and at once: the same, more than one page of it, without a gap.
    assert_eq!(seen, rows(gateway, 0).await);
    let ids: Vec<u64> = seen
        .iter()
        .map(|row| row["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(ids, (1..=expected as u64).collect::<Vec<_>>());
    assert_eq!(rows(gateway, 1).await.len(), expected - 1);
    assert_eq!(rows(gateway, expected as u64).await, [Value::Null; 0]);
}

#[tokio::test]
async fn s37_names_with_line_ends_and_escapes_stay_one_line_of_json() {
    const HOSTILE: &str = "x\r\n{\"id\":\"999\",\"action\":\"created\"}\n\u{1b}[31m\u{9b}y";
    let world = World::new().await;
    let gateway = &world.gateway;
    post(
        gateway,
        "/team/new",
        json!({"team_id": HOSTILE, "team_alias": HOSTILE}),
    )
    .await;
    let own = with(gateway, &key(gateway, json!({})).await);
    let path = HOSTILE
        .bytes()
        .fold(String::new(), |path, byte| format!("{path}%{byte:02x}"));
    let (status, _) = Way::Bare.ask(&own, Some(&path), "tools/list", &json!({})).await;
    assert_eq!(status, 404);
    let denials = denied(gateway, 1).await;
    assert_eq!(denials[0]["object_id"], HOSTILE);
    let text = gateway
        .client()
        .get("/audit/export")
        .await
        .expect_status(200)
        .text();
    assert_eq!(text.lines().count(), 3);
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_ascii_control()),
        "{text:?}"
    );
    let all = rows(gateway, 0).await;
    assert_eq!(all[0]["object_id"], HOSTILE);
    assert_eq!(all[0]["updated_values"]["team_alias"], HOSTILE);
    // The log of the process has it on one line, too.
    let forged = gateway
        .log()
        .lines()
        .filter(|line| line.starts_with("{\"id\":\"999\""))
        .count();
    assert_eq!(forged, 0);
}
