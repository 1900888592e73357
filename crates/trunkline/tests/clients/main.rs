//! The official clients of both eras, before real servers one by one, and before a gateway that has all of them under one
//! URL: what a client sees is the same, JSON for JSON.
//!
//! - [`servers`]: the servers, and what is asked of each
//! - [`reports`]: the clients of `python/` and `node/`, and what they print
//! - [`expected`]: what a direct answer is through the gateway: names under their prefix, URIs where two servers have them
//!
//! To add a client: its file (see `python/plan.py`), and a row in [`CLIENTS`]. To add a server: a row in [`servers::all`].
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod expected;
mod reports;
mod servers;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use trunkline_testkit::{Canary, TestGateway, eventually};

use expected::Scope;
use reports::{Client, Program, Report, Session};
use servers::{PATIENCE, Server, Step};

/// Every client that stays, with its modes.
const CLIENTS: [Client; 5] = [
    Client::new(Program::Python("sdk1"), "python/sdk1.py", &["legacy"]),
    Client::new(Program::Python("sdk2"), "python/sdk2.py", &["legacy", "auto"]),
    Client::new(
        Program::Python("sdk2"),
        "python/fastmcp_client.py",
        &["legacy", "auto"],
    ),
    Client::new(Program::Node, "node/v1.mjs", &["legacy"]),
    Client::new(Program::NewNode, "node/v2.mjs", &["legacy", "auto"]),
];
/// The one that is a process for each step.
const INSPECTOR: Client = Client::new(Program::Inspector, "node/inspector.mjs", &["legacy"]);

/// A gateway before all servers, which has listed them.
async fn gateway_before(servers: &[Server]) -> TestGateway {
    let entries: String = servers.iter().map(Server::entry).collect();
    let gateway = TestGateway::start(&format!("mcp_servers:\n{entries}")).await;
    let client = gateway.client();
    eventually("all servers are listed", PATIENCE, async || {
        let rows = client.get("/v1/mcp/server").await.expect_status(200).json();
        let rows = rows.as_array().unwrap();
        rows.len() == servers.len() && rows.iter().all(|row| row["outcome"]["status"] == "ok")
    })
    .await;
    gateway
}

/// One client in all its modes: each server directly, then all of them at once.
async fn check(client: &Client, servers: &[Server], gateway: &TestGateway) -> Vec<String> {
    let Some(mut running) = client.start() else {
        return Vec::new();
    };
    let servers: Vec<&Server> = servers
        .iter()
        .filter(|server| !client.steps(server).is_empty())
        .collect();
    let direct: Vec<Session> = client
        .modes
        .iter()
        .flat_map(|mode| servers.iter().map(|server| alone(client, mode, server)))
        .collect();
    let direct = running.reports(&direct).await;
    let direct: Vec<&[Report]> = direct.chunks(servers.len()).collect();
    let through: Vec<Session> = client
        .modes
        .iter()
        .zip(&direct)
        .map(|(mode, direct)| together(client, mode, &servers, direct, gateway))
        .collect();
    let through = running.reports(&through).await;
    let modes = client.modes.iter().zip(direct).zip(&through);
    modes
        .flat_map(|((mode, direct), through)| differences(client, mode, &servers, direct, through))
        .collect()
}

/// The lists of a server and then its steps.
fn alone(client: &Client, mode: &str, server: &Server) -> Session {
    Session {
        name: server.name,
        url: server.url(),
        mode: mode.to_owned(),
        headers: server.headers(),
        steps: Step::lists().into_iter().chain(client.steps(server)).collect(),
    }
}

/// The lists of the gateway and then the steps of each server, under the names that they have there.
fn together(
    client: &Client,
    mode: &str,
    servers: &[&Server],
    direct: &[Report],
    gateway: &TestGateway,
) -> Session {
    let scope = Scope::of(direct);
    let steps = servers.iter().flat_map(|server| {
        let steps = client.steps(server).into_iter();
        steps.map(|step| scope.step(server.name, &step))
    });
    let names: Vec<&str> = servers.iter().map(|server| server.name).collect();
    Session {
        name: "all",
        url: format!("{}/mcp/{}", gateway.url(), names.join(",")),
        mode: mode.to_owned(),
        headers: json!({"x-litellm-api-key": gateway.master_key()}),
        steps: Step::lists().into_iter().chain(steps).collect(),
    }
}

/// What is not through the gateway as the servers answer it directly.
fn differences(
    client: &Client,
    mode: &str,
    servers: &[&Server],
    direct: &[Report],
    through: &Report,
) -> Vec<String> {
    let scope = Scope::of(direct);
    let mut found = Vec::new();
    let mut answers = through.answers.iter();
    let mut compare = |what: String, expected: &Value, seen: &Value| {
        let difference = expected::difference("", expected, seen);
        found.extend(difference.map(|difference| format!("{} {mode}: {what}: {difference}", client.script)));
    };
    for (number, list) in Step::lists().iter().enumerate() {
        let seen = answers.next().expect("an answer to each list");
        let expected = scope.list(number, through);
        compare(list.what.to_string(), &expected, &seen.result);
    }
    for (server, direct) in servers.iter().zip(direct) {
        let before = direct.answers.iter().skip(Step::lists().len());
        for (step, before) in client.steps(server).iter().zip(before) {
            let seen = answers.next().expect("an answer to each step");
            let expected = scope.answer(step, direct, before);
            let what = format!("{} {}", server.name, step.what);
            compare(what, &expected, &expected::seen(step, direct, through, seen));
        }
    }
    assert!(answers.next().is_none(), "{}", client.script);
    found
}

/// # Panics
/// When a client sees something else through the gateway.
async fn check_all(clients: &[Client], names: &[&'static str]) {
    let key = Canary::new("backend-key");
    let Some(servers) = servers::start(names, &key).await else {
        return;
    };
    let gateway = gateway_before(&servers).await;
    // Two at a time, so that none of them waits for its turn until a server has given its connection up.
    let checks = stream::iter(clients).map(|client| check(client, &servers, &gateway));
    let differences: Vec<Vec<String>> = checks.buffer_unordered(2).collect().await;
    assert!(
        differences.iter().all(Vec::is_empty),
        "{}",
        differences.concat().join("\n")
    );
    for word in ["panicked", "backtrace", "ERROR"] {
        assert!(!gateway.log().contains(word), "{}", gateway.log());
    }
    key.assert_absent(&[("the log", gateway.log())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_every_client_sees_what_it_sees_without_a_gateway() {
    check_all(&CLIENTS, &servers::ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b62_the_inspector_sees_what_it_sees_without_a_gateway() {
    // Not server-everything: it has tools for clients that declare roots, as this one does, and the gateway lists what
    // everybody may use.
    check_all(&[INSPECTOR], &["fast", "two"]).await;
}
