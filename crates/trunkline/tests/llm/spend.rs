//! What was spent: by key, user, team, organisation, end user, tag and day; who sees it; and what is refused when it is all spent.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, eventually};

use crate::cost::{logged, priced};
use crate::support::chat;

const CHAT: &str = "/v1/chat/completions";
/// Of the usual answer: 5 · 3 + 3 · 7 millionths of a dollar.
const ONE: f64 = 0.000_036;

async fn post(admin: &HttpClient, path: &str, body: Value) -> Value {
    admin.post(path, &body).await.expect_status(200).json()
}

fn near(value: &Value, wanted: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - wanted).abs() < 1e-12)
}

#[tokio::test]
async fn everybody_whose_call_it_is_has_spent_it() {
    let world = priced("").await;
    let admin = world.gateway.client();
    post(
        &admin,
        "/organization/new",
        json!({"organization_id": "o", "organization_alias": "o"}),
    )
    .await;
    post(
        &admin,
        "/team/new",
        json!({"team_id": "t", "organization_id": "o", "models": ["mine"]}),
    )
    .await;
    post(
        &admin,
        "/user/new",
        json!({"user_id": "u", "auto_create_key": false}),
    )
    .await;
    post(&admin, "/customer/new", json!({"user_id": "e"})).await;
    let own = world
        .key(json!({"team_id": "t", "user_id": "u", "metadata": {"tags": ["always"]}}))
        .await;
    let mut body = chat("mine");
    body["user"] = "e".into();
    let asked = own.clone().with_header("x-litellm-tags", "sometimes");
    asked.post(CHAT, &body).await.expect_status(200);
    own.clone()
        .with_header("x-litellm-call-id", "last")
        .post(CHAT, &chat("mine"))
        .await
        .expect_status(200);
    logged(&admin, "last").await;
    let get = async |path: &str| admin.get(path).await.expect_status(200).json();
    for (path, at, times) in [
        ("/team/info?team_id=t", "/team_info/spend", 2.0),
        ("/user/info?user_id=u", "/user_info/spend", 2.0),
        ("/organization/info?organization_id=o", "/spend", 2.0),
        ("/customer/info?end_user_id=e", "/spend", 1.0),
        ("/end_user/info?end_user_id=e", "/total_spend", 1.0),
    ] {
        let answer = get(path).await;
        assert!(near(answer.pointer(at).unwrap(), times * ONE), "{path}: {answer}");
    }
    let info = own.get("/key/info").await.expect_status(200).json();
    assert!(near(&info["info"]["spend"], 2.0 * ONE), "{info}");
    let tags = get("/spend/tags").await;
    assert_eq!(tags[0]["individual_request_tag"], "always", "{tags}");
    assert_eq!(
        (&tags[0]["log_count"], &tags[1]["log_count"]),
        (&json!(2), &json!(1)),
        "{tags}"
    );
    let today = jiff_today(&get("/spend/logs?request_id=last").await);
    let range = format!("start_date={today}&end_date={today}");
    let days = get(&format!("/spend/logs?{range}")).await;
    assert!(near(&days[0]["spend"], 2.0 * ONE), "{days}");
    assert!(
        near(&days[0]["users"]["u"], 2.0 * ONE) && near(&days[0]["models"]["gpt-x"], 2.0 * ONE),
        "{days}"
    );
    see_days(&admin, &today).await;
    let page = get(&format!(
        "/spend/logs/v2?{range}&page_size=1&sort_order=asc&team_id=t"
    ))
    .await;
    assert_eq!(
        (&page["total"], &page["total_pages"]),
        (&json!(2), &json!(2)),
        "{page}"
    );
    assert_eq!(
        (&page["data"][0]["end_user"], &page["data"][0]["organization_id"]),
        (&json!("e"), &json!("o")),
        "{page}"
    );
    let none = get(&format!("/spend/logs/v2?{range}&min_spend=1")).await;
    assert_eq!(none["total"], 0, "{none}");
    // Another secret is the same key; another team of the same name is another team.
    let hash = info["key"].as_str().unwrap();
    let rotated = post(&admin, "/key/regenerate", json!({"key": hash})).await;
    assert!(near(&rotated["spend"], 2.0 * ONE), "{rotated}");
    post(&admin, "/team/delete", json!({"team_ids": ["t"]})).await;
    post(&admin, "/team/new", json!({"team_id": "t"})).await;
    assert_eq!(get("/team/info?team_id=t").await["team_info"]["spend"], 0.0);
}

/// What each of them has spent, by day.
async fn see_days(admin: &HttpClient, today: &str) {
    for (path, entity, times) in [
        ("/user/daily/activity", "u", 2.0),
        ("/user/daily/activity/aggregated", "u", 2.0),
        ("/team/daily/activity", "t", 2.0),
        ("/organization/daily/activity", "o", 2.0),
        ("/customer/daily/activity", "e", 1.0),
        ("/tag/daily/activity", "always", 2.0),
    ] {
        let path = format!("{path}?start_date={today}&end_date={today}");
        let answer = admin.get(&path).await.expect_status(200).json();
        let day = &answer["results"][0];
        assert_eq!(day["date"], today, "{path}: {answer}");
        assert!(
            near(
                &day["breakdown"]["entities"][entity]["metrics"]["spend"],
                times * ONE
            ),
            "{path}: {answer}"
        );
        assert_eq!(
            day["breakdown"]["models"]["gpt-x"]["metrics"]["prompt_tokens"].as_f64(),
            day["metrics"]["prompt_tokens"].as_f64()
        );
        assert!(
            day["breakdown"]["endpoints"]["/chat/completions"].is_object(),
            "{path}: {answer}"
        );
        assert_eq!(answer["metadata"]["has_more"], false, "{path}: {answer}");
    }
}

/// The day of a call, as a date.
fn jiff_today(rows: &Value) -> String {
    rows[0]["startTime"].as_str().unwrap().chars().take(10).collect()
}

#[tokio::test]
async fn a_user_sees_its_own_and_who_manages_a_team_all_of_the_team() {
    let world = priced("").await;
    let admin = world.gateway.client();
    for user in ["boss", "member", "other"] {
        post(
            &admin,
            "/user/new",
            json!({"user_id": user, "auto_create_key": false}),
        )
        .await;
    }
    let members = json!([{"user_id": "boss", "role": "admin"}, {"user_id": "member", "role": "user"}]);
    post(
        &admin,
        "/team/new",
        json!({"team_id": "t", "models": ["mine"], "members_with_roles": members}),
    )
    .await;
    let of = async |body: Value| world.key(body).await;
    let (boss, member, other) = (
        of(json!({"user_id": "boss", "models": ["mine"]})).await,
        of(json!({"user_id": "member", "models": ["mine"]})).await,
        of(json!({"user_id": "other", "models": ["mine"]})).await,
    );
    let of_team = of(json!({"team_id": "t", "user_id": "member"})).await;
    for (client, id) in [
        (&boss, "by-boss"),
        (&member, "by-member"),
        (&other, "by-other"),
        (&of_team, "by-team"),
    ] {
        client
            .clone()
            .with_header("x-litellm-call-id", id)
            .post(CHAT, &chat("mine"))
            .await
            .expect_status(200);
        logged(&admin, id).await;
    }
    let seen = async |client: &HttpClient, query: &str| {
        let reply = client.get(&format!("/spend/logs/v2?{query}")).await;
        let status = reply.status.as_u16();
        if status != 200 {
            return vec![status.to_string()];
        }
        let rows = reply.json()["data"].as_array().unwrap().clone();
        let models = rows.iter().filter(|row| row["call_type"] == "acompletion");
        let mut ids: Vec<String> = models
            .map(|row| row["request_id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(
        seen(&admin, "").await,
        ["by-boss", "by-member", "by-other", "by-team"]
    );
    assert_eq!(seen(&other, "").await, ["by-other"]);
    assert_eq!(seen(&other, "user_id=member").await, ["403"]);
    assert_eq!(
        seen(&other, "team_id=t").await,
        Vec::<String>::new(),
        "what is its own and the team's"
    );
    assert_eq!(seen(&member, "").await, ["by-member", "by-team"]);
    assert_eq!(seen(&of_team, "").await, ["by-team"], "not its user's others");
    assert_eq!(seen(&boss, "team_id=t").await, ["by-team"]);
    assert_eq!(seen(&boss, "").await, ["by-boss"]);
    let range = "start_date=2020-01-01&end_date=2020-01-02";
    for (client, path, status) in [
        (&other, "/tag/daily/activity", 403),
        (&other, "/organization/daily/activity", 401),
        (&other, "/user/daily/activity", 200),
        (&other, "/user/daily/activity/aggregated", 200),
        (&boss, "/team/daily/activity", 200),
    ] {
        client.get(&format!("{path}?{range}")).await.expect_status(status);
    }
    boss.get(&format!("/team/daily/activity?{range}&team_ids=t"))
        .await
        .expect_status(200);
    member
        .get(&format!("/team/daily/activity?{range}&team_ids=t"))
        .await
        .expect_status(403);
    other.get("/spend/tags").await.expect_status(403);
    sees_days_in_one_piece(&admin, &other).await;
}

/// What pages show one after the other, at once: of everybody for an administrator, of a user's own for a user.
async fn sees_days_in_one_piece(admin: &HttpClient, other: &HttpClient) {
    let today = jiff_today(&admin.get("/spend/logs?request_id=by-other").await.json());
    let range = format!("start_date={today}&end_date={today}");
    let get = async |client: &HttpClient, path: &str, more: &str| {
        let reply = client.get(&format!("{path}?{range}{more}")).await;
        reply.expect_status(200).json()
    };
    let (pages, whole) = ("/user/daily/activity", "/user/daily/activity/aggregated");
    let first = get(admin, pages, "&page_size=1").await;
    assert_eq!(first["metadata"]["has_more"], true, "{first}");
    let everything = get(admin, pages, "&page_size=1000").await;
    let aggregated = get(admin, whole, "").await;
    assert_eq!(aggregated, everything);
    for (name, value) in [
        ("page", json!(1)),
        ("total_pages", json!(1)),
        ("has_more", json!(false)),
    ] {
        assert_eq!(aggregated["metadata"][name], value, "{name}: {aggregated}");
    }
    let entities = |answer: &Value| {
        let entities = answer["results"][0]["breakdown"]["entities"].as_object();
        entities.map(|own| own.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(
        entities(&aggregated),
        Some(vec!["boss".into(), "member".into(), "other".into()])
    );
    let only = get(admin, whole, "&user_id=member").await;
    assert_eq!(entities(&only), Some(vec!["member".into()]), "{only}");
    let own = get(other, whole, "").await;
    assert_eq!(entities(&own), Some(vec!["other".into()]), "{own}");
    let none = get(admin, whole, "&user_id=nobody").await;
    assert_eq!(
        (&none["results"], &none["metadata"]["total_pages"]),
        (&json!([]), &json!(1)),
        "one page of nothing"
    );
    for (client, query, status) in [
        (other, format!("{range}&user_id=member"), 403),
        (admin, format!("{range}&page=2"), 422),
        (admin, "start_date=2020-01-01".to_owned(), 422),
        (admin, "start_date=2020-01-01&end_date=2026-01-01".to_owned(), 400),
    ] {
        let reply = client.get(&format!("{whole}?{query}")).await;
        assert_eq!(reply.status.as_u16(), status, "{query}: {}", reply.text());
    }
}

#[tokio::test]
async fn what_is_spent_is_refused_until_the_period_is_over() {
    let world = priced("").await;
    let admin = world.gateway.client();
    let refused = async |client: &HttpClient| {
        let reply = client.post(CHAT, &chat("mine")).await.expect_status(422);
        let error = reply.json()["error"].clone();
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("budget_exceeded"), &json!("422")),
            "{error}"
        );
        error["message"].as_str().unwrap().to_owned()
    };
    let body = json!({"models": ["mine"], "max_budget": 0.000_05, "budget_duration": "2s"});
    let own = world.key(body).await;
    own.post(CHAT, &chat("mine")).await.expect_status(200);
    own.post(CHAT, &chat("mine")).await.expect_status(200);
    let words = refused(&own).await;
    assert!(
        words.contains("Current cost: 0.000072, Max budget: 0.00005"),
        "{words}"
    );
    eventually("the next period has begun", Duration::from_secs(10), async || {
        own.post(CHAT, &chat("mine")).await.status == 200
    })
    .await;
    let info = own.get("/key/info").await.expect_status(200).json();
    let info = &info["info"];
    assert!(near(&info["total_spend"], 3.0 * ONE), "{info}");
    assert_eq!(
        (&info["max_budget"], &info["budget_duration"]),
        (&json!(0.000_05), &json!("2s"))
    );
    assert!(info["budget_reset_at"].is_string());
    // All keys of a team, a user, an organisation, and for an end user.
    post(
        &admin,
        "/team/new",
        json!({"team_id": "t", "models": ["mine"], "max_budget": 0.000_05}),
    )
    .await;
    let (one, two) = (
        world.key(json!({"team_id": "t"})).await,
        world.key(json!({"team_id": "t"})).await,
    );
    one.post(CHAT, &chat("mine")).await.expect_status(200);
    two.post(CHAT, &chat("mine")).await.expect_status(200);
    assert!(refused(&one).await.contains("of this team"));
    post(
        &admin,
        "/user/new",
        json!({"user_id": "u", "max_budget": 0, "auto_create_key": false}),
    )
    .await;
    let of_user = world.key(json!({"user_id": "u", "models": ["mine"]})).await;
    assert!(refused(&of_user).await.contains("of this user"));
    post(
        &admin,
        "/user/update",
        json!({"user_id": "u", "max_budget": null}),
    )
    .await;
    of_user.post(CHAT, &chat("mine")).await.expect_status(200);
    post(
        &admin,
        "/budget/new",
        json!({"budget_id": "b", "max_budget": 0.000_03}),
    )
    .await;
    post(&admin, "/customer/new", json!({"user_id": "e", "budget_id": "b"})).await;
    let all = world
        .key(json!({"models": ["mine"]}))
        .await
        .with_header("x-litellm-end-user-id", "e");
    all.post(CHAT, &chat("mine")).await.expect_status(200);
    assert!(refused(&all).await.contains("of this end user"));
    // What limits tokens of a day is not kept yet, and not passed over.
    post(
        &admin,
        "/budget/new",
        json!({"budget_id": "tokens", "tpd_limit": 5}),
    )
    .await;
    let limited = world
        .key(json!({"models": ["mine"], "budget_id": "tokens"}))
        .await;
    assert!(refused(&limited).await.contains("not counted"));
    let asked = world.provider.requests().len();
    assert_eq!(asked, 7, "what was refused was not sent");
}

#[tokio::test]
async fn what_was_spent_is_there_after_a_restart() {
    let mut world = priced("").await;
    let made = world
        .gateway
        .client()
        .post(
            "/key/generate",
            &json!({"models": ["mine"], "max_budget": 0.000_03}),
        )
        .await;
    let key = made.expect_status(200).json()["key"].as_str().unwrap().to_owned();
    let own = |gateway: &trunkline_testkit::TestGateway| {
        gateway
            .anonymous()
            .with_header("authorization", &format!("Bearer {key}"))
    };
    own(&world.gateway)
        .post(CHAT, &chat("mine"))
        .await
        .expect_status(200);
    // At once: the last records are written when it stops.
    world.gateway.restart().await;
    let info = own(&world.gateway)
        .get("/key/info")
        .await
        .expect_status(200)
        .json();
    assert!(near(&info["info"]["spend"], ONE), "{info}");
    own(&world.gateway)
        .post(CHAT, &chat("mine"))
        .await
        .expect_status(422);
}

/// Holds the database's only lock for writing until its input ends.
const HOLD: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
connection.execute('BEGIN EXCLUSIVE')
print('held', flush=True)
sys.stdin.read()
connection.execute('ROLLBACK')
";

#[tokio::test]
async fn records_wait_for_the_database_and_are_counted_once() {
    let Some(python) = trunkline_testkit::tools::python("backend") else {
        return;
    };
    let world = priced("").await;
    let own = world.key(json!({"models": ["mine"]})).await;
    let file = world.gateway.data_dir().join("trunkline.db");
    let mut holder = std::process::Command::new(python)
        .args(["-c", HOLD])
        .arg(file)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 4];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    for n in 0..20 {
        let asked = own
            .clone()
            .with_header("x-litellm-call-id", &format!("waits-{n}"));
        asked.post(CHAT, &chat("mine")).await.expect_status(200);
    }
    // What is charged counts, written or not.
    let info = own.get("/key/info").await.expect_status(200).json();
    assert!(near(&info["info"]["spend"], 20.0 * ONE), "{info}");
    eventually(
        "the log says that they wait",
        Duration::from_secs(30),
        async || world.gateway.log().contains("call records cannot be written"),
    )
    .await;
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let admin = world.gateway.client();
    eventually("all are written", Duration::from_secs(30), async || {
        let page = admin
            .get("/spend/logs/v2?model=mine")
            .await
            .expect_status(200)
            .json();
        page["total"] == 20
    })
    .await;
    let metrics = admin.get("/metrics").await.text();
    assert!(metrics.contains("trunkline_call_records_lost 0"), "{metrics}");
    let info = own.get("/key/info").await.expect_status(200).json();
    assert!(near(&info["info"]["spend"], 20.0 * ONE), "{info}");
    let log = world.gateway.log();
    assert!(log.contains("call records are written again"), "{log}");
}

#[tokio::test]
async fn what_a_key_has_spent_is_said_anew() {
    let world = priced("").await;
    let admin = world.gateway.client();
    let own = world
        .key(json!({"models": ["mine"], "max_budget": 0.000_05, "budget_duration": "30d"}))
        .await;
    for id in ["one", "two"] {
        let asked = own.clone().with_header("x-litellm-call-id", id);
        asked.post(CHAT, &chat("mine")).await.expect_status(200);
        logged(&admin, id).await;
    }
    own.post(CHAT, &chat("mine")).await.expect_status(422);
    let info = own.get("/key/info").await.expect_status(200).json();
    let path = format!("/key/{}/reset_spend", info["key"].as_str().unwrap());
    for (body, status) in [
        (json!({"reset_to": -1}), 400),
        (json!({"reset_to": 0.000_073}), 400),
        // It is spent, and more than may be.
        (json!({"reset_to": 0.000_072}), 400),
        (json!({"reset_to": "much"}), 422),
        (json!({"reset_to": true}), 422),
        (json!({"reset_to": null}), 422),
        (json!({}), 422),
        (json!({"reset_to": 0, "spend": 0}), 422),
    ] {
        admin.post(&path, &body).await.expect_status(status);
    }
    let unknown = format!("/key/{}/reset_spend", "0".repeat(64));
    for path in [unknown.as_str(), "/key/none/reset_spend"] {
        admin.post(path, &json!({"reset_to": 0})).await.expect_status(404);
    }
    own.post(CHAT, &chat("mine")).await.expect_status(422);
    let said = post(&admin, &path, json!({"reset_to": 0.000_02})).await;
    assert_eq!(said["key_hash"], info["key"], "{said}");
    assert!(
        near(&said["spend"], 0.000_02) && near(&said["previous_spend"], 2.0 * ONE),
        "{said}"
    );
    assert_eq!(
        (&said["max_budget"], &said["budget_reset_at"]),
        (&json!(0.000_05), &info["info"]["budget_reset_at"])
    );
    // It may spend again, and what it spends counts from there.
    let asked = own.clone().with_header("x-litellm-call-id", "three");
    let reply = asked.post(CHAT, &chat("mine")).await.expect_status(200);
    assert_eq!(reply.header("x-litellm-key-spend"), Some("0.000056"));
    own.post(CHAT, &chat("mine")).await.expect_status(422);
    logged(&admin, "three").await;
    let info = own.get("/key/info").await.expect_status(200).json()["info"].clone();
    assert!(
        near(&info["spend"], 0.000_02 + ONE) && near(&info["total_spend"], 3.0 * ONE),
        "{info}"
    );
    // By the key itself, as LiteLLM's client would, and not repeated in the log.
    let made = post(&admin, "/key/generate", json!({"models": ["mine"]})).await;
    let key = made["key"].as_str().unwrap();
    post(&admin, &format!("/key/{key}/reset_spend"), json!({"reset_to": 0})).await;
    assert!(!world.gateway.log().contains(key));
    let rows = admin.get("/audit?action=updated").await.expect_status(200).json();
    let row = &rows["audit_logs"].as_array().unwrap()[1];
    assert_eq!(
        (&row["before_value"], &row["updated_values"]),
        (&json!({"spend": 72_000}), &json!({"spend": 20_000})),
        "{row}"
    );
    assert_eq!(row["operation"], "POST /key/{key}/reset_spend");
}

#[tokio::test]
async fn each_users_part_of_what_a_team_spent_is_seen_by_who_may_see_it() {
    let world = priced("").await;
    let admin = world.gateway.client();
    for user in ["boss", "member", "other"] {
        let body = json!({"user_id": user, "user_alias": user.to_uppercase(), "auto_create_key": false});
        post(&admin, "/user/new", body).await;
    }
    let members = json!([{"user_id": "boss", "role": "admin"}, {"user_id": "member", "role": "user"}]);
    for team in ["t", "empty"] {
        let body =
            json!({"team_id": team, "team_alias": "T", "models": ["mine"], "members_with_roles": members});
        post(&admin, "/team/new", body).await;
    }
    let of = async |body: Value| world.key(body).await;
    let (boss, member, robot) = (
        of(json!({"team_id": "t", "user_id": "boss"})).await,
        of(json!({"team_id": "t", "user_id": "member"})).await,
        of(json!({"team_id": "t"})).await,
    );
    let other = of(json!({"user_id": "other", "models": ["mine"]})).await;
    for (client, id) in [
        (&member, "m1"),
        (&member, "m2"),
        (&boss, "b"),
        (&robot, "r"),
        (&other, "o"),
    ] {
        let asked = client.clone().with_header("x-litellm-call-id", id);
        asked.post(CHAT, &chat("mine")).await.expect_status(200);
        logged(&admin, id).await;
    }
    let today = jiff_today(&admin.get("/spend/logs?request_id=r").await.json());
    let path = format!("/team/spend/by_user?start_date={today}&end_date={today}&team_ids=");
    let all = admin
        .get(&format!("{path}t,empty,t"))
        .await
        .expect_status(200)
        .json();
    assert_eq!(
        (&all["start_date"], &all["end_date"]),
        (&json!(today), &json!(today))
    );
    let rows = all["results"].as_array().unwrap();
    let users: Vec<_> = rows.iter().map(|row| row["user_id"].as_str().unwrap()).collect();
    assert_eq!(users, ["member", "", "boss"], "the most first: {all}");
    assert!(near(&rows[0]["spend"], 2.0 * ONE), "{all}");
    let wanted = [
        ("team_id", json!("t")),
        ("team_alias", json!("T")),
        ("user_alias", json!("MEMBER")),
        ("user_email", Value::Null),
        ("prompt_tokens", json!(10)),
        ("completion_tokens", json!(6)),
        ("total_tokens", json!(16)),
        ("api_requests", json!(2)),
        ("successful_requests", json!(2)),
        ("failed_requests", json!(0)),
    ];
    for (name, value) in wanted {
        assert_eq!(rows[0][name], value, "{name}: {all}");
    }
    let seen = boss.get(&format!("{path}t")).await.expect_status(200).json();
    assert_eq!(seen["results"], all["results"]);
    let own = member.get(&format!("{path}t")).await.expect_status(200).json();
    assert_eq!(own["results"], json!([rows[0]]), "a member sees its own");
    for (client, query, status) in [
        (&other, "t", 403),
        (&other, "none", 403),
        (&robot, "t", 401),
        (&boss, "t,none", 403),
        (&admin, "none", 200),
        (&admin, "", 422),
        // Named, and no team among the names.
        (&admin, ",", 400),
        (&admin, "%20,%20", 400),
        (&member, ",", 400),
        (&admin, "t&page=1", 422),
    ] {
        let reply = client.get(&format!("{path}{query}")).await;
        assert_eq!(reply.status.as_u16(), status, "{query}: {}", reply.text());
    }
    let long = "/team/spend/by_user?team_ids=t&start_date=2020-01-01&end_date=2026-01-01";
    admin.get(long).await.expect_status(400);
    let many: Vec<String> = (0..101).map(|n| format!("t{n}")).collect();
    admin
        .get(&format!("{path}{}", many.join(",")))
        .await
        .expect_status(400);
}

#[tokio::test]
async fn a_refused_request_is_recorded_with_the_model_that_was_asked_for() {
    let world = priced("").await;
    let admin = world.gateway.client();
    let own = world.key(json!({"models": ["mine"]})).await;
    for (id, model) in [("denied", "other"), ("unknown", "nobodys")] {
        let client = if id == "denied" { &own } else { &admin };
        let asked = client.clone().with_header("x-litellm-call-id", id);
        let reply = asked.post(CHAT, &chat(model)).await;
        assert!(reply.status.is_client_error(), "{}", reply.text());
        let row = logged(&admin, id).await;
        assert_eq!(
            (&row["model"], &row["model_group"], &row["status"]),
            (&json!(model), &json!(model), &json!("failure")),
            "{row}"
        );
        assert_eq!(row["custom_llm_provider"], "", "{row}");
    }
}
