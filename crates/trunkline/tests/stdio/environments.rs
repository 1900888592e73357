//! Whose child it is: one for each environment, and what fills an environment in.

use std::time::Duration;

use serde_json::json;

use crate::support::{Entry, client, gateway, is, said};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_clients_fill_environments_in_and_equal_ones_share_a_child() {
    let entry = Entry::new("prog")
        .line("env_vars: [{name: BASE, value: base, scope: global}]")
        .line("env: {TOKEN: '${X-Token}', BOTH: '${BASE}/${x-token}'}");
    let gateway = gateway(&[&entry]).await;
    // Without the header there is nothing to start.
    let row = is(&gateway, "prog", "auth_required").await;
    let message = row["outcome"]["message"].as_str().unwrap().to_lowercase();
    assert!(message.contains("x-token"), "{row}");
    assert_eq!(entry.processes().len(), 0);

    let with = async |token: &str| {
        let mut client = gateway
            .mcp_at("/prog/mcp")
            .with_protocol("2025-11-25")
            .with_header("x-token", token);
        client.initialize().await;
        client
    };
    let (mut ann, mut bob, mut ann_again) = (with("ann").await, with("bob").await, with("ann").await);
    assert_eq!(said(&mut ann, "env", &json!({"name": "TOKEN"})).await, "ann");
    assert_eq!(said(&mut bob, "env", &json!({"name": "TOKEN"})).await, "bob");
    assert_eq!(said(&mut bob, "env", &json!({"name": "BOTH"})).await, "base/bob");
    let pids = [
        said(&mut ann, "pid", &json!({})).await,
        said(&mut ann_again, "pid", &json!({})).await,
        said(&mut bob, "pid", &json!({})).await,
    ];
    assert_eq!(pids[0], pids[1]);
    assert_ne!(pids[0], pids[2]);
    assert_eq!(entry.processes().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_gets_nothing_of_the_gateway_s_own_environment() {
    let entry = Entry::new("prog").line("env: {OWN: value}");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut client = client(&gateway, "prog").await;
    assert_eq!(said(&mut client, "env", &json!({"name": "OWN"})).await, "value");
    assert_eq!(
        said(&mut client, "env", &json!({"name": "LITELLM_MASTER_KEY"})).await,
        "(not set)"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b22_with_session_per_client_every_client_has_a_child() {
    let entry = Entry::new("prog").line("session: per_client");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let (mut ann, mut bob) = (client(&gateway, "prog").await, client(&gateway, "prog").await);
    said(&mut ann, "set", &json!({"value": "of ann"})).await;
    said(&mut bob, "set", &json!({"value": "of bob"})).await;
    assert_eq!(said(&mut ann, "get", &json!({})).await, "of ann");
    assert_eq!(said(&mut bob, "get", &json!({})).await, "of bob");
    // Theirs, and the one that is listed with.
    assert_eq!(entry.processes().len(), 3);
    ann.delete().await;
    entry.becomes(2, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_server_is_another_program() {
    let entry = Entry::new("prog").line("env: {WHAT: before}");
    let mut gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut before = client(&gateway, "prog").await;
    assert_eq!(said(&mut before, "env", &json!({"name": "WHAT"})).await, "before");
    gateway.set_config(&crate::support::config(&[&entry]).replace("before", "after"));
    gateway.restart().await;
    is(&gateway, "prog", "ok").await;
    assert_eq!(said(&mut before, "env", &json!({"name": "WHAT"})).await, "after");
    assert_eq!(entry.processes().len(), 1);
}
