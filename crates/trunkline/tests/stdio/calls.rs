//! Many calls on one child.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Entry, PATIENCE, client, gateway, is, row, said, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_listed_called_and_read() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    let row = is(&gateway, "prog", "ok").await;
    assert_eq!(row["programs"][0]["state"], "running", "{row}");
    assert_eq!(row["programs"][0]["restarts"], 0, "{row}");
    assert_eq!(
        row["programs"][0]["pid"].as_u64(),
        Some(u64::from(entry.processes()[0])),
        "{row}"
    );

    let mut client = client(&gateway, "prog").await;
    let names = client.tool_names().await;
    assert!(names.contains(&"echo".to_owned()), "{names:?}");
    assert_eq!(
        said(&mut client, "echo", &json!({"text": "h\u{e9}llo\n"})).await,
        "h\u{e9}llo\n"
    );
    let prompts = client.request("prompts/list", &json!({})).await.result();
    assert_eq!(prompts["prompts"][0]["name"], "hello", "{prompts}");
    let read = client
        .request("resources/read", &json!({"uri": "memo://one"}))
        .await
        .result();
    assert_eq!(read["contents"][0]["text"], "one", "{read}");
    let error = client.call("error", &json!({}), None).await.error();
    assert_eq!((error.code, error.message.as_str()), (-32000, "no such luck"));
    assert_eq!(error.data, json!({"why": 1}));
    assert_eq!(entry.processes().len(), 1);
    assert!(!gateway.log().contains("ERROR"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b76_ten_thousand_calls_of_many_clients_are_one_process() {
    const CLIENTS: usize = 20;
    const EACH: usize = 500;
    let entry = Entry::new("prog").confined();
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let before = entry.processes();
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|number| {
        let gateway = &gateway;
        async move {
            let mut client = client(gateway, "prog").await;
            for call in 0..EACH {
                let own = format!("{number}-{call}");
                assert_eq!(said(&mut client, "echo", &json!({"text": own})).await, own);
            }
        }
    });
    join_all(clients).await;
    println!("{} calls in {:?}", CLIENTS * EACH, began.elapsed());
    assert_eq!(entry.processes(), before, "the process that was there before");
    assert_eq!(before.len(), 1);
    let row = row(&gateway, "prog").await;
    assert_eq!(row["programs"].as_array().map(Vec::len), Some(1), "{row}");
    assert_eq!(row["programs"][0]["restarts"], 0, "{row}");
    assert_eq!(
        row["programs"][0]["pid"].as_u64(),
        Some(u64::from(before[0])),
        "{row}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b05_a_fast_call_is_not_behind_a_slow_one() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut one = client(&gateway, "prog").await;
    let mut other = client(&gateway, "prog").await;
    let began = Instant::now();
    let slow = tokio::spawn(async move { said(&mut one, "slow", &json!({"seconds": 3})).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(said(&mut other, "echo", &json!({"text": "now"})).await, "now");
    assert!(
        began.elapsed() < Duration::from_millis(2500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(slow.await.unwrap(), "slept");
    assert_eq!(entry.processes().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b06_as_many_at_once_as_the_server_may_have() {
    let entry = Entry::new("prog").line("max_concurrent_requests: 2");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let began = Instant::now();
    let calls = (0..4).map(|_| async {
        let mut client = client(&gateway, "prog").await;
        said(&mut client, "slow", &json!({"seconds": 1})).await
    });
    join_all(calls).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b01_others_do_not_wait_for_a_program_that_does_not_come_up() {
    let slow = Entry::new("slow").option("silent");
    let fast = Entry::new("fast");
    let gateway = gateway(&[&slow, &fast]).await;
    is(&gateway, "fast", "ok").await;
    let mut client = gateway.mcp().with_protocol("2025-11-25");
    let began = Instant::now();
    client.initialize().await;
    let names = client.tool_names().await;
    assert!(names.contains(&"fast-echo".to_owned()), "{names:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b76_replies_of_twenty_megabytes_and_requests_of_five() {
    let entry = Entry::new("prog");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut big = client(&gateway, "prog").await;
    let mut small = client(&gateway, "prog").await;
    let long = tokio::spawn(async move {
        let reply = big.call("big", &json!({"bytes": 20 * 1024 * 1024}), None).await;
        let length = text(&reply.result()).len();
        let sent = "y".repeat(5 * 1024 * 1024);
        let back = said(&mut big, "echo", &json!({"text": sent})).await;
        (length, back.len())
    });
    for _ in 0..20 {
        assert_eq!(
            said(&mut small, "echo", &json!({"text": "meanwhile"})).await,
            "meanwhile"
        );
    }
    assert_eq!(long.await.unwrap(), (20 * 1024 * 1024, 5 * 1024 * 1024));
    assert_eq!(entry.processes().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_beyond_the_bound_is_an_error_and_no_silence() {
    let entry = Entry::new("prog").line("timeout: 20");
    let text = format!(
        "{}general_settings:\n  mcp_max_upstream_bytes: 1048576\n",
        crate::support::config(&[&entry])
    );
    let gateway = trunkline_testkit::TestGateway::start(&text).await;
    is(&gateway, "prog", "ok").await;
    let mut client = client(&gateway, "prog").await;
    let began = Instant::now();
    let error = client
        .call("big", &json!({"bytes": 3_000_000}), None)
        .await
        .error();
    assert!(error.message.contains("larger than 1048576"), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(
        said(&mut client, "echo", &json!({"text": "still"})).await,
        "still"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_is_cancelled_and_leaves_the_others() {
    let entry = Entry::new("prog").line("timeout: 1");
    let gateway = gateway(&[&entry]).await;
    is(&gateway, "prog", "ok").await;
    let mut client = client(&gateway, "prog").await;
    let reply = client.call("slow", &json!({"seconds": 30}), None).await;
    let error = reply.everything();
    assert!(error.contains("no answer within 1.0 s"), "{error}");
    trunkline_testkit::eventually("the program was told", PATIENCE, async || {
        let mut other = crate::support::client(&gateway, "prog").await;
        said(&mut other, "cancelled", &json!({})).await != "[]"
    })
    .await;
    let row = row(&gateway, "prog").await;
    assert_eq!(row["programs"][0]["in_flight"], 0, "{row}");
    assert_eq!(entry.processes().len(), 1);
}
